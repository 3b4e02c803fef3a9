/* Which series of the head the series of a block are, as far as somebody has found out: a memo.
 *
 * A block knows its series by labels, and so it is asked. What was found out by labels once, or known
 * when the block was written, stands here, so that a query need not decode labels to join a block's
 * series with the head's. In memory only: a ref means one series as long as this process lives, ids
 * are never used again, and so an entry is right or leads to a series that has left the head.
 *
 * Memory: 4 bytes a series, allocated with the first note, and no more than the budget for all blocks
 * together: without room nothing is noted. Threads: any; entries are relaxed atomics.
 */
#ifndef TSDB_BLOCK_REFS_H
#define TSDB_BLOCK_REFS_H

#include "model/batch.h"

#include <stdatomic.h>

/* 16 million series of blocks, each block's counted. */
#define BLOCK_REFS_BYTES_MAX (UINT64_C(64) << 20)

/* A series of a block and the head's. */
struct block_ref_pair {
    uint32_t ref, id;
};
/* Of all blocks together; outlives their refs. */
struct block_refs_budget {
    uint64_t bytes_max;
    _Atomic(uint64_t) bytes;
};
struct block_refs;

/* Of a block of `count` series, nothing known. NOMEM. */
enum tsdb_status block_refs_create(uint32_t count, struct block_refs_budget *budget,
                                   struct block_refs **out) TSDB_WUR;
void block_refs_destroy(struct block_refs *r); /* NULL is fine */
/* TSDB_SERIES_NEW: not known. id < count. */
tsdb_series_ref block_refs_at(const struct block_refs *r, uint32_t id);
/* Best effort. */
void block_refs_note(struct block_refs *r, uint32_t id, tsdb_series_ref ref);
uint32_t block_refs_count(const struct block_refs *r);

#endif
