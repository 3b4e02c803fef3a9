/* From sealed chunks of the head to blocks: a round of windows that are due, a block of each.
 *
 * On the data path: sealer -> head files -> here -> block. Whoever calls has had the owners seal
 * the windows and the sealer write them out; what is not in a file yet stays in the head, and
 * becomes a further block in a later round.
 *
 *   once for many windows (flush_round.c)
 *   0. which windows: those with few chunks that are old share a block with their neighbours, unless
 *      that would lie across a large one on disk
 *   1. one pass over the heads: which series have how many unflushed chunks in which window, and
 *      where in their lists; the series are sorted by labels
 *   for each window (flush.c)
 *   2. for each of its series: read its chunks, merge them by time (first written wins), write long
 *      chunks
 *   3. the block is durable, its refs too
 *   4. mark every chunk that went in with the number of the next view, then make that current
 *
 * Invariants:
 *  1. A chunk is marked only when its samples are in a durable block (so that a checkpoint may
 *     leave it out), and only if it was read in 2: what arrived meanwhile stays.
 *  2. A reader of the next view finds the samples in the block, one of an older view in the head.
 *  3. A chunk that does not verify is left out, reported and marked: it would be read in vain for
 *     ever. When one cannot be read (IO), all of its series in the window waits in the head, and
 *     whatever else needs its file, until that is to be tried again; the rest goes on. When the
 *     file's error budget is spent, chunks of it that cannot be read are left out likewise.
 *  4. What is in files is the first part of a list (owner_mailbox_apply), so what came after 1
 *     stands behind what 1 has seen: of a series and window the first written goes into a block
 *     first.
 *
 * Guards are held for one series, or a slice of them. Threads: one at a time (struct blocks).
 */
#ifndef TSDB_ENGINE_FLUSH_H
#define TSDB_ENGINE_FLUSH_H

#include "tsdb/block/blocks.h"
#include "tsdb/head/sealed.h"

struct flush_source {
    struct blocks *blocks;
    struct head_partition *const *heads; /* [TSDB_PARTITIONS] */
    struct tsdb_epoch *epoch;
    int64_t range_ms;       /* a block's ends are multiples of it */
    int64_t join_before_ms; /* sparse windows that end before may share a block */
    int64_t join_ms;        /* which is not longer than that, */
    uint64_t sparse_chunks; /* and has no more chunks than that */
    struct tsdb_clock clock;
    bool quiet;   /* only windows that get no more just now */
    bool patient; /* files that failed are left alone until their time; false: tried now */
    const _Atomic(uint32_t) *cancel; /* not 0: stop with CANCELLED */
};
struct flush_result {
    uint64_t chunks; /* that left the head, damaged ones included */
    uint64_t damaged;
    uint64_t held;             /* series of the window that wait for a file */
    int64_t held_ns;           /* held > 0: monotonic, when the first of them is tried again */
    struct tsdb_error held_by; /* held > 0: why */
    uint64_t bytes;            /* of the head files that those chunks take */
    uint64_t view; /* the number of the view that has the block; 0: there was nothing to do */
    struct block_meta block; /* samples 0: no block was written */
};

/* What step 1 found. Memory: FLUSH_ROUND_CHUNKS_MAX bounds it, or the oldest window alone. */
struct flush_round;
#define FLUSH_ROUND_CHUNKS_MAX (UINT64_C(1) << 20) /* 20 bytes each at most, 32 while sorting */

/* Windows that end at from_ms or later and begin before before_ms, oldest first, as many as the bound lets in. *out NULL:
 * there are none. *s outlives the round. NOMEM, CANCELLED. */
enum tsdb_status flush_round_begin(const struct flush_source *s, int64_t from_ms, int64_t before_ms,
                                   struct flush_round **out, struct tsdb_error *err) TSDB_WUR;
/* Write the block of the next window. NOT_FOUND: it has no further one. IO, NOMEM, CANCELLED:
 * nothing has changed, and the window is not tried again in this round. */
enum tsdb_status flush_round_step(struct flush_round *r, struct flush_result *out,
                                  struct tsdb_error *err) TSDB_WUR;
int64_t flush_round_last_ms(const struct flush_round *r);    /* end of the last window */
uint64_t flush_round_looked_at(const struct flush_round *r); /* chunks, in step 1 */
void flush_round_end(struct flush_round *r);                 /* NULL is fine */

#endif
