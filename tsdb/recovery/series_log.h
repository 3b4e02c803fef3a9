/* series.log: the labels of every series, appended once, in the order of local ids.
 *
 * On the data path: checkpoint (a series that is new since the last one) -> here; recovery reads it
 * before anything else. The log's SERIES frames cover a series until the checkpoint that relies on
 * its record here.
 *
 *   header | record | record | ...     a record: length, CRC, partition, local id, canonical labels
 *
 * Invariants:
 *  1. Per partition, ids are 0, 1, 2, ... without gaps. Records are never changed or removed.
 *  2. Bytes that a checkpoint relies on were synced before it was renamed into place: damage there
 *     is an error. What follows is an interrupted append: its good records are kept, the rest is
 *     cut off.
 *  3. A failed write or sync drops the handle; the next append opens the file anew and cuts it to
 *     what is known durable.
 *
 * Format: docs/format/series-log.md. Threads: one at a time (recovery, then whoever writes the
 * checkpoint).
 */
#ifndef TSDB_RECOVERY_SERIES_LOG_H
#define TSDB_RECOVERY_SERIES_LOG_H

#include "base/file.h"
#include "base/limits.h"
#include "model/labels.h"

#define SERIES_LOG_HEADER_BYTES   16
#define SERIES_LOG_RECORD_BYTES   8 /* length and CRC in front of a payload */
#define SERIES_LOG_PAYLOAD_MAX    (1u + 5u + TSDB_LABELS_BYTES_MAX)
#define SERIES_LOG_WINDOW_BYTES   (4u << 20) /* read at once; a record always fits */
#define SERIES_LOG_WINDOW_RECORDS 65536

struct series_log {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;             /* open for appending, or NULL */
    uint64_t bytes_durable;             /* synced; 0: the file need not exist */
    uint64_t bytes_appended;            /* buffered bytes included */
    uint32_t durable[TSDB_PARTITIONS];  /* series per partition within bytes_durable */
    uint32_t appended[TSDB_PARTITIONS]; /* within bytes_appended */
    struct tsdb_buf buf;
};

/* fs: rooted at the data directory, outlives `s`. */
void series_log_init(struct series_log *s, const struct tsdb_fs *fs);
void series_log_deinit(struct series_log *s); /* closes; writes nothing */

struct series_log_record {
    uint32_t partition;
    uint32_t local;
    /* Canonical bytes, unchecked beyond the CRC; empty: a hole (labels lost). */
    struct tsdb_slice labels;
};
/* A window of records in file order; slices are valid during the call. */
typedef enum tsdb_status (*series_log_fn)(void *arg, const struct series_log_record *records,
                                          uint32_t count, struct tsdb_error *err);
/* Read the file from the beginning, cut a torn tail, make the rest durable, and be ready to append.
 *   bytes_relied   length that the checkpoint relies on; 0: none does
 *   out_cut_bytes  bytes of an interrupted append that were cut off
 * Returns OK (also when there is no file and nobody relies on it); CORRUPT (err->pos: the offset)
 * for damage below bytes_relied; UNSUPPORTED for another format version; whatever fn returns; IO,
 * NOMEM. */
enum tsdb_status series_log_load(struct series_log *s, uint64_t bytes_relied, series_log_fn fn,
                                 void *arg, uint64_t *out_cut_bytes,
                                 struct tsdb_error *err) TSDB_WUR;

/* Append the next series of the partition (its local id is s->appended[partition]); labels->count 0
 * records a hole. Buffered. On failure everything since the last commit is forgotten, here and, by
 * the next append, in the file. */
enum tsdb_status series_log_append(struct series_log *s, uint32_t partition,
                                   const struct tsdb_labels *labels,
                                   struct tsdb_error *err) TSDB_WUR;
/* Write and sync what was appended; s->bytes_durable is then what a checkpoint may rely on. Nothing
 * appended costs nothing. On failure as series_log_append. */
enum tsdb_status series_log_commit(struct series_log *s, struct tsdb_error *err) TSDB_WUR;

#endif
