/* A window of a database as a Prometheus block.
 *
 *   tool_walk: series in label order ─ samples of the window ─▶ prom_block_writer ─▶ <ULID>/
 *
 * Two passes over the series: their symbols, then their samples. Start timestamps are left out: chunks that every Prometheus reads
 * have no room for them. Memory: the samples of one series in the window. Threads: one.
 */
#ifndef TOOLS_EXPORT_CUT_H
#define TOOLS_EXPORT_CUT_H

#include "tools/cmd/walk.h"
#include "tools/prom/block.h"

struct cut_span {
    int64_t min_ms, max_ms; /* min > max: no sample */
};
struct cut {
    struct tool_walk *walk;
    const struct tsdb_fs *fs; /* where the block goes */
    const struct cut_span
        *spans;    /* of the walk's items: where their samples lie; NULL: not known */
    uint8_t *used; /* [walk->count], working memory */
    struct tool_progress *progress; /* may be NULL */
};
/* Begin of the aligned window that t_ms lies in. */
int64_t cut_window_of(int64_t t_ms, int64_t range_ms);
/* The samples of [begin_ms, end_ms) and of `take`, as a new block of that range. *out_starts_dropped adds up. NOT_FOUND: there is
 * none, and no block. What walking and prom_block_writer say. */
enum tsdb_status cut_window(const struct cut *c, int64_t begin_ms, int64_t end_ms,
                            struct tsdb_time_range take, struct prom_meta *out,
                            uint64_t *out_starts_dropped, struct tsdb_error *err) TSDB_WUR;

#endif
