/* Compaction: blocks that overlap become one, neighbours become longer ones.
 *
 * Which blocks (compact_plan), over the blocks of a view:
 *  1. A group of blocks whose times overlap, when what is small in it is worth it: more than an
 *     eighth of the largest, or many. Where rewriting a large block for a few late samples is not,
 *     the small ones are merged among themselves.
 *     A block that is longer than range_max_ms is one of sparse samples. Where merging it would make a
 *     large one as long, it is cut instead, at the ends of the others: each part is then merged, or
 *     not, like any small block. One that is not sparse any more is halved.
 *  2. Else the blocks of an aligned range three times the base range, then nine times, ... up to
 *     range_max_ms, when all of it has been flushed (there is a later block).
 *
 * How (compact_run): the sources are walked side by side in label order; the samples of a series
 * are merged by time and written as long chunks. The new block is durable before the view without
 * the sources is published; their files go when the last reader of an older view is done.
 *
 * A source that cannot be read does not hold the rest up: one that is CORRUPT, or whose error
 * budget is spent, is left out of plans for good, one that failed to be read until its time.
 *
 * Invariant: the sources of a merge are neighbours in sequence among the blocks that overlap them,
 * those that are left out too, so that "the first written wins" means the same after as before; the
 * result has the sequence of the first. Threads: one at a time (struct blocks).
 */
#ifndef TSDB_BLOCK_COMPACT_H
#define TSDB_BLOCK_COMPACT_H

#include "tsdb/block/blocks.h"

#define COMPACT_SOURCES_MAX 64u
#define COMPACT_CUTS_MAX    64u

struct compact_limits {
    int64_t range_ms;       /* of blocks that come from the head */
    int64_t range_max_ms;   /* of blocks that are merged without overlap */
    uint64_t sparse_chunks; /* a longer block has no more of them, if that can be helped */
    int64_t now_ns;         /* monotonic */
};
struct compact_plan {
    struct live_block *sources[COMPACT_SOURCES_MAX]; /* by sequence */
    uint32_t count;
    int64_t min_ms, max_ms; /* [min, max) of the result */
    /* Rising, between them: so many results and one more, each up to the next cut. */
    int64_t cuts[COMPACT_CUTS_MAX];
    uint32_t cut_count;
};
/* What to do next. NOT_FOUND: nothing (err untouched); NOMEM. The sources stay valid as long as the
 * view is pinned. */
enum tsdb_status compact_plan(const struct view *v, const struct compact_limits *l,
                              struct compact_plan *out, struct tsdb_error *err) TSDB_WUR;

/* A block of which at least this part (one of `share`; UINT32_MAX: anything) was deleted: to be written
 * anew without that. NOT_FOUND: there is none. */
enum tsdb_status compact_plan_clean(const struct view *v, int64_t now_ns, uint32_t share,
                                    struct compact_plan *out) TSDB_WUR;

struct compact_source {
    struct blocks *blocks;
    int64_t now_ns;                  /* monotonic */
    const _Atomic(uint32_t) *cancel; /* not 0: stop with CANCELLED */
};
/* Do it; what tombstones hide is not in the result (samples 0: nothing was left, and there is no new
 * block). CORRUPT, IO, NOMEM, CANCELLED; after a failure the view is as it was. *out_source: whether
 * a source was to blame; the next plan is another one then. */
enum tsdb_status compact_run(const struct compact_source *s, const struct compact_plan *plan,
                             struct block_meta *out, bool *out_source,
                             struct tsdb_error *err) TSDB_WUR;

#endif
