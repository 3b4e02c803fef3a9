/* Where a series lives: its partition follows from its labels and the directory's secret, nothing
 * else, so that whoever meets a label set (a sender's request, the log, series.log, a block) comes
 * to the same partition, on any run.
 *
 *     partition = spread (2 bits) << 4 | home (4 bits)
 *
 *   spread  the top bits of the keyed hash of all labels (tsdb_labels_hash)
 *   home    the next bits of the keyed hash of the target: of the labels instance and job, or of the
 *           one of the two that is there; without both, of the hash of all labels
 *
 * A target is in 4 partitions of 64, not in all: its strings are stored 4 times instead of 37, its
 * samples of one scrape make 4 runs of neighbouring ids. It is in 4 and not in one, because labels do
 * not tell how large their target is: one of a million series, or all that a sender without
 * `instance` has, would leave all owners but one without work. Owners have contiguous ranges of
 * partitions, so that those 4 lie with different owners, as many as there are up to 4.
 *
 * The rule has a number, which the data directory's VERSION holds. Any change of the rule is a new
 * number. Figures, and what else was tried: docs/decisions/0008-partitions-by-target.md.
 *
 * Threads: pure.
 */
#ifndef MODEL_PLACEMENT_H
#define MODEL_PLACEMENT_H

#include "base/hash.h"
#include "model/labels.h"

#define TSDB_PLACEMENT_HOME_BITS   4u
#define TSDB_PLACEMENT_SPREAD_BITS 2u

/* The partition, below TSDB_PARTITIONS, of a canonical label set. hash: tsdb_labels_hash of it with
 * the same key. */
uint32_t tsdb_labels_partition(const struct tsdb_hash_key *key, const struct tsdb_labels *labels,
                               uint64_t hash);

#endif
