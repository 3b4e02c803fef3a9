/* Pieces of one series, from wherever they lie, merged to one run of samples with rising times.
 *
 * Pieces are given in the order in which their samples were written: blocks by sequence, then the
 * head. Of two samples with the same time the first one given wins: "first written wins" (tsdb.h).
 * Used by select, flush and compaction. Threads: pure; memory from the caller's arena.
 */
#ifndef TSDB_CHUNK_PIECES_H
#define TSDB_CHUNK_PIECES_H

#include "tsdb/block/block.h"
#include "tsdb/head/head.h"

/* Columns being built. */
struct piece_columns {
    uint32_t count;
    int64_t *t_ms;
    uint64_t
        *value; /* float bits, or pointer to struct tsdb_raw_histogram, borrowed from the pieces */
    uint8_t *kind;     /* NULL: all floats */
    int64_t *start_ms; /* NULL: none */
};

/* Samples of the pieces within the range; copies, but for histograms' bytes. NOMEM, LIMIT from the
 * arena. */
enum tsdb_status pieces_merge(const struct head_piece *pieces, uint32_t count,
                              struct tsdb_time_range range, struct tsdb_arena *arena,
                              struct piece_columns *out, struct tsdb_error *err) TSDB_WUR;
/* What a select gives: histograms decoded. NOMEM, LIMIT, CORRUPT. */
enum tsdb_status pieces_decode(struct piece_columns *c, struct tsdb_arena *arena,
                               struct tsdb_columns *out, struct tsdb_error *err) TSDB_WUR;
static inline struct head_piece piece_of_chunk(const struct chunk_samples *s)
{
    return (struct head_piece){.kind = s->kind,
                               .sorted = true,
                               .sealed = true,
                               .count = s->count,
                               .t_ms = s->t_ms,
                               .value = s->value,
                               .start_ms = s->start_ms};
}
/* Write the samples as chunks of the series added last to the writer: as few and long as they may
 * be, one kind each. */
enum tsdb_status pieces_write(const struct piece_columns *c, struct block_writer *w,
                              struct tsdb_error *err) TSDB_WUR;

#endif
