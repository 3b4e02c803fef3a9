/* Pieces of one series, from wherever they lie, merged to one run of samples with rising times.
 *
 * Pieces are given in the order in which their samples were written: blocks by sequence, then the
 * head. Of two samples with the same time the first one given wins: "first written wins" (tsdb.h).
 * Used by select, flush and compaction. Threads: pure; memory from the caller's arena.
 */
#ifndef TSDB_CHUNK_PIECES_H
#define TSDB_CHUNK_PIECES_H

#include "model/matcher.h"
#include "tsdb/chunk/piece.h"

/* Columns being built. */
struct piece_columns {
    uint32_t count;
    int64_t *t_ms;
    uint64_t *value;   /* float bits, or pointer to struct tsdb_raw_histogram: the pieces' own */
    uint8_t *kind;     /* NULL: all floats */
    int64_t *start_ms; /* NULL: none */
};

/* Samples of the pieces within the range; copies, but for histograms' bytes. NOMEM, LIMIT from the
 * arena. */
enum tsdb_status pieces_merge(const struct piece *pieces, uint32_t count,
                              struct tsdb_time_range range, struct tsdb_arena *arena,
                              struct piece_columns *out, struct tsdb_error *err) TSDB_WUR;
/* Pieces that are floats and lie one behind the other: their part within the range, as it lies. False: their times do not
 * rise from each to the next, so they are to be merged. */
bool pieces_take(int64_t *t_ms, uint64_t *value, uint32_t count, struct tsdb_time_range range,
                 struct piece_columns *out) TSDB_WUR;
/* What a select gives: histograms decoded. NOMEM, LIMIT, CORRUPT. */
enum tsdb_status pieces_decode(struct piece_columns *c, struct tsdb_arena *arena,
                               struct tsdb_columns *out, struct tsdb_error *err) TSDB_WUR;

#endif
