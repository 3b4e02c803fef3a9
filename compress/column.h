/* What all columns have in common. A column is the bytes of one array: u8 codec (and flags), then
 * whatever the codec says, to the last byte. Its number of values is not in it; whoever stores
 * columns knows it. Layouts: docs/format/columns.md. */
#ifndef COMPRESS_COLUMN_H
#define COMPRESS_COLUMN_H

/* Most values of one column: those of a compacted chunk, 64 KiB decoded. */
#define COLUMN_COUNT_MAX 8192u

#endif
