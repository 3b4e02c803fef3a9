/* What flush_round.c and flush.c share. */
#ifndef TSDB_ENGINE_FLUSH_PRIVATE_H
#define TSDB_ENGINE_FLUSH_PRIVATE_H

#include "tsdb/engine/flush.h"

#define FLUSH_CATEGORY TSDB_MEM_OTHER

/* The chunks of one series in one window. */
struct flush_entry {
    tsdb_series_ref ref;
    uint32_t window;       /* index */
    struct head_upto upto; /* the lists up to the newest of them, when it was found */
    uint32_t chunks;
};
struct flush_round {
    const struct flush_source *s;
    struct head_window_due *windows; /* oldest first; a block each, sparse ones joined */
    uint32_t window_count, window_cap;
    uint32_t next;               /* window to be written */
    struct flush_entry *entries; /* by ref */
    uint32_t entry_count, entry_cap;
    uint32_t *order; /* [entry_count] entries of the first window by labels, of the second, ... */
    uint32_t *ends;  /* [window_count] where in order each window ends */
    uint64_t looked_at;
};

/* Room for `count` items, growing by half at least. False: no memory. */
bool flush_grow(void **items, size_t *cap, size_t count, size_t bytes_each);
/* Does all of the chunk lie in the window? */
static inline bool flush_holds(const struct head_span *window, const struct head_sealed *c)
{
    return window->begin_ms <= c->min_ms && c->max_ms <= window->last_ms;
}
bool flush_cancelled(const struct flush_source *s);
enum tsdb_status flush_no_memory(struct tsdb_error *err);
/* Strings live as long as the index; the array is the caller's. */
struct tsdb_labels flush_labels(const struct flush_source *s, tsdb_series_ref ref,
                                struct tsdb_label labels[TSDB_LABELS_MAX]);
/* flush.c: the block of a window. */
enum tsdb_status flush_window(struct flush_round *round, uint32_t window, struct flush_result *out,
                              struct tsdb_error *err) TSDB_WUR;

#endif
