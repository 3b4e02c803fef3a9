/* From sealed chunks of the head to a block: one window at a time.
 *
 * On the data path: sealer -> head files -> here -> block. Whoever calls has had the owners seal
 * the window and the sealer write it out; what is not in a file yet stays in the head, and becomes
 * a further block later.
 *
 *   1. gather the series that have unflushed chunks in the window, sort them by labels
 *   2. for each: read its chunks, merge them by time (first written wins), write long chunks
 *   3. the block is durable, its refs too
 *   4. mark every chunk that went in with the number of the next view, then make that current
 *
 * Invariants:
 *  1. A chunk is marked only when its samples are in a durable block (so that a checkpoint may
 *     leave it out), and only if it was read in 2: what arrived meanwhile stays.
 *  2. A reader of the next view finds the samples in the block, one of an older view in the head.
 *  3. A chunk that does not verify is left out, reported and marked: it would be read in vain for
 *     ever. One that cannot be read now (IO) fails the flush, nothing is marked.
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
    const struct tsdb_hash_key *hash_key;
    int64_t range_ms;
    const _Atomic(uint32_t) *cancel; /* not 0: stop with CANCELLED */
};
struct flush_result {
    uint64_t chunks; /* that left the head, damaged ones included */
    uint64_t damaged;
    uint64_t view; /* the number of the view that has the block; 0: there was nothing to do */
    struct block_meta block; /* samples 0: no block was written */
};
/* Flush the window that begins at window_ms. IO, NOMEM, CANCELLED: nothing has changed. */
enum tsdb_status flush_window(const struct flush_source *s, int64_t window_ms,
                              struct flush_result *out, struct tsdb_error *err) TSDB_WUR;

#endif
