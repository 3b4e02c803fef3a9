/* Which new series may come in, and who is to blame when one may not.
 *
 *   owner: series_limits_admit ──▶ yes ──▶ the head
 *                              └─▶ no: series_limits_refused counts whom to blame ──▶ answers, status/tsdb
 *
 * Three limits, each 0 for none: series in all, memory of heads and index, series of one metric. Known series
 * are never asked about. What is counted of a metric is a cache over the index, which knows best: a count
 * that has reached the limit is taken anew from there, at most once a second, so that series which have
 * gone make room by themselves.
 *
 * Whom to blame: a refused series has labels whose values no series of its partition has yet. Those are
 * counted by (metric, label) in a space-saving sketch (Metwally et al. 2005): the heavy ones are never
 * missed, a count is too high by `error` at most.
 *
 * Threads: any; a lock (rank TSDB_METADATA) for each of the two tables.
 */
#ifndef TSDB_ENGINE_SERIES_LIMITS_H
#define TSDB_ENGINE_SERIES_LIMITS_H

#include "base/epoch.h"
#include "tsdb/head/head.h"
#include "tsdb/tsdb.h"

struct series_limits;

/* options, hash key, heads[TSDB_PARTITIONS], epoch outlive it. NOMEM. */
enum tsdb_status series_limits_create(const struct tsdb_options *options,
                                      const struct tsdb_hash_key *key,
                                      struct head_partition *const *heads, struct tsdb_epoch *epoch,
                                      struct series_limits **out) TSDB_WUR;
void series_limits_destroy(struct series_limits *l); /* NULL is fine */

/* Is the memory of heads and index over its limit? Once a batch. l may be NULL. */
bool series_limits_memory_full(const struct series_limits *l);
/* May the metric of a new series have one more? True: it is counted. Owner. l may be NULL. */
bool series_limits_metric_admit(struct series_limits *l, const struct tsdb_labels *labels);
/* A new series of the partition was refused. Its owner. l may be NULL. */
void series_limits_refused(struct series_limits *l, enum tsdb_series_limit limit,
                           struct head_partition *head, const struct tsdb_labels *labels);
/* Limits, what is held, what was refused. */
void series_limits_stats(const struct series_limits *l, struct tsdb_stats *out);

#endif
