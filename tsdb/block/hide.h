/* Deleting from blocks: matchers and a range become tombstones of every block that has such samples.
 *
 *   1. for each block: series by its own index, what of them lies in the range and is not hidden yet is
 *      counted, and new tombstones are made in memory; whatever fails until here changes nothing
 *      also for blocks that were replaced and are still there for readers of older views: a start after
 *      a death would show them again
 *   2. the files of the tombstones are written, one durable replacement each
 *   3. the next view has them; blocks that are hidden as a whole leave it, and their files go
 *
 * Threads: the block thread, or whoever holds its lock (struct blocks).
 */
#ifndef TSDB_BLOCK_HIDE_H
#define TSDB_BLOCK_HIDE_H

#include "tsdb/block/blocks.h"

/* Series match all of the matchers. */
struct hide_selector {
    const struct index_matcher *const *matchers;
    uint32_t count;
};
struct hide_request {
    const struct hide_selector *any; /* a series matches one of these at least */
    uint32_t count;
    struct tsdb_time_range range;
    const _Atomic(uint32_t) *cancel; /* not 0: stop with CANCELLED; NULL: never */
    /* Only blocks for which it says so, each asked once; NULL: all that overlap the range. */
    bool (*wanted)(void *arg, struct live_block *b);
    void *arg;
};
struct hide_result {
    uint64_t blocks;  /* that had some of it */
    uint64_t series;  /* of each block, added up */
    uint64_t samples; /* that are hidden now and were not before */
    uint64_t bytes;   /* of the chunks that are so as a whole */
};
/* OK also when there was nothing. LIMIT, CORRUPT, IO, NOMEM, CANCELLED: nothing has changed, unless a
 * file could not be written: then what was written before it holds, and *out says how much. */
enum tsdb_status blocks_hide(struct blocks *b, const struct hide_request *r,
                             struct hide_result *out, struct tsdb_error *err) TSDB_WUR;

#endif
