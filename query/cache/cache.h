/* A cache of range queries that is exact: the bits of every answer are those of an evaluation without it.
 *
 *   query_cache_eval
 *     | stepwise.h    may the answer be put together from steps?
 *     | table.h       steps of the same question that are kept
 *     | tsdb_unchanged_since: those of them that see the samples that they saw
 *     | query_eval    the steps after them
 *     | entry.h       both joined: the answer, and what is kept from now on
 *
 * README.md says why that is exact, and what is told otherwise (statistics, limits).
 *
 * Threads: any number of evaluations at once. */
#ifndef QUERY_CACHE_CACHE_H
#define QUERY_CACHE_CACHE_H

#include "query/query.h"

struct query_cache;
struct query_cache_options {
    uint64_t bytes_max; /* of all that is kept; one answer may take a quarter */
    /* An answer is kept if so many samples were read for it; 0: QUERY_CACHE_SAMPLES_MIN. What
     * reads less is as quick without. */
    uint64_t samples_min;
};
#define QUERY_CACHE_SAMPLES_MIN 2048u

/* bytes_max > 0. NOMEM. */
enum tsdb_status query_cache_create(const struct query_cache_options *options,
                                    struct query_cache **out, struct tsdb_error *err) TSDB_WUR;
void query_cache_destroy(struct query_cache *c); /* nobody evaluates; NULL is fine */

/* As query_eval, with the same answer. c NULL: is query_eval. */
enum tsdb_status query_cache_eval(struct query_cache *c, struct tsdb *db,
                                  const struct query_options *options, struct tsdb_request *request,
                                  const struct query_expr *expr, const struct query_params *params,
                                  struct tsdb_arena *arena, struct query_result *out,
                                  struct tsdb_error *err) TSDB_WUR;

struct query_cache_stats {
    uint64_t bytes, bytes_max, entries;
    uint64_t hits, partial, misses; /* queries that may be cached: all steps kept, some, none */
    uint64_t bypassed;              /* range queries that may not */
    uint64_t steps_kept, steps_computed;
    uint64_t voided;  /* answers of which no step was left after a write, a delete, ... */
    uint64_t evicted; /* for room */
};
void query_cache_stats(struct query_cache *c, struct query_cache_stats *out); /* c NULL: zeroes */

#endif
