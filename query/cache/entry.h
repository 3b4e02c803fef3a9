/* Steps of a range query that are kept: series in columns, in one arena of their own.
 *
 *   step        0   1   2   3        start_ms + i * step_ms
 *   present     1   1   0   1        a bit each
 *   values      a   b       c        one for each bit, and a histogram or NULL if the series has any
 *
 * Series lie in the order of their labels, no two alike, as those of a result do. What a result says of
 * steps may be taken apart and put together only where stepwise.h says so.
 *
 * Threads: immutable once it is made; who has a reference may read. */
#ifndef QUERY_CACHE_ENTRY_H
#define QUERY_CACHE_ENTRY_H

#include "base/bytes.h"
#include "query/query.h"

struct cache_entry;
/* Guarded by the table's lock, the key aside. */
struct cache_place {
    struct tsdb_buf key;
    uint64_t hash;
    uint32_t refs; /* the table's among them */
    bool listed;
    struct cache_entry *chain, *newer, *older;
};

struct cache_series {
    struct tsdb_labels labels;
    const uint64_t *present;
    const double *values;
    const struct tsdb_histogram *const *histograms; /* NULL: none */
};
struct cache_entry {
    int64_t start_ms, step_ms;
    uint32_t steps;
    struct tsdb_time_range reach; /* of a step, relative to it */
    struct tsdb_stamp stamp;      /* no step was computed before it */
    struct cache_series *series;
    uint32_t series_count;
    const struct query_note *notes; /* that computing the steps gave */
    uint32_t note_count;
    struct tsdb_arena arena; /* all of it, the struct aside */
    struct tsdb_account account;
    struct cache_place place; /* of the table */
};

/* Steps [from, from + count) of an entry. count 0: none, then the entry may be NULL. */
struct cache_part {
    const struct cache_entry *entry;
    uint32_t from, count;
};

/* out's series are the part's steps followed by what fresh has, whose steps come right after; in the arena,
 * nothing borrowed from the entry. out may not be fresh. NOMEM, LIMIT. */
enum tsdb_status cache_join(const struct cache_part *part, const struct query_result *fresh,
                            struct tsdb_arena *arena, struct query_result *out) TSDB_WUR;
/* Its notes are out's. */
enum tsdb_status cache_notes(const struct cache_entry *e, struct tsdb_arena *arena,
                             struct query_result *out) TSDB_WUR;
/* The same as an entry, whose fresh steps are `steps` from start_ms on. bytes_max: LIMIT beyond. NOMEM. */
struct cache_fresh {
    const struct query_result *result;
    int64_t start_ms, step_ms;
    uint32_t steps;
};
enum tsdb_status cache_entry_make(const struct cache_part *part, const struct cache_fresh *fresh,
                                  uint64_t bytes_max, struct cache_entry **out) TSDB_WUR;
void cache_entry_free(struct cache_entry *e); /* NULL is fine */
uint64_t cache_entry_bytes(const struct cache_entry *e);

#endif
