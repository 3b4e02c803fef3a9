/* A run of samples of one series and one kind, as it lies in memory: a tail or chunk of the head,
 * or a chunk that was decoded from a file. Borrowed, immutable up to count. */
#ifndef TSDB_CHUNK_PIECE_H
#define TSDB_CHUNK_PIECE_H

#include "model/matcher.h"
#include "model/windows.h"
#include "tsdb/chunk/chunk.h"

struct piece {
    enum tsdb_sample_kind kind;
    bool sorted; /* false: an out-of-order buffer */
    uint32_t count;
    const int64_t *t_ms;
    const uint64_t *value;   /* float bits, or pointer to struct tsdb_raw_histogram */
    const int64_t *start_ms; /* NULL: none */
};

/* What a read wants of a series' chunks, and what became of them. */
struct chunk_want {
    struct tsdb_time_range range;
    const struct tsdb_time_windows *windows; /* NULL: all of the range */
    struct tsdb_chunk_counts counts;
};
static inline bool chunk_want_range(const struct chunk_want *w, int64_t min_ms, int64_t max_ms)
{
    return min_ms <= w->range.max_ms && w->range.min_ms <= max_ms;
}
/* A chunk with these bounds: is it to be read? Counted if not, though it lies in the range. */
static inline bool chunk_want(struct chunk_want *w, int64_t min_ms, int64_t max_ms)
{
    if (!chunk_want_range(w, min_ms, max_ms)) {
        return false;
    }
    bool met = !w->windows || tsdb_time_windows_meet(w->windows, min_ms, max_ms);
    w->counts.skipped += !met;
    return met;
}

static inline struct piece piece_of_chunk(const struct chunk_samples *s)
{
    return (struct piece){
        .kind = s->kind,
        .sorted = true,
        .count = s->count,
        .t_ms = s->t_ms,
        .value = s->value,
        .start_ms = s->start_ms,
    };
}

#endif
