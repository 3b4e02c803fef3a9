/* L1: decoded chunks of blocks, small, sharded, bounded in bytes; CLOCK. An entry is immutable and
 * shared by reference.
 *
 * Threads: any; one lock per shard (rank CACHE_SHARD), held for table and clock only. */
#ifndef TSDB_CHUNK_CACHE_L1_H
#define TSDB_CHUNK_CACHE_L1_H

#include "tsdb/chunk/chunk.h"

struct cache_l1;
struct cache_l1_entry; /* pinned */
/* bytes 0: never holds anything. */
enum tsdb_status cache_l1_create(uint64_t bytes, struct cache_l1 **out) TSDB_WUR;
void cache_l1_destroy(struct cache_l1 *c); /* nothing may be pinned */
/* NULL on a miss. */
struct cache_l1_entry *cache_l1_get(struct cache_l1 *c, uint64_t block_id, uint64_t offset,
                                    const struct chunk_samples **out);
/* Copy the samples in (float chunks only) and pin the copy; NULL when there is no room or memory:
 * use the original. */
struct cache_l1_entry *cache_l1_put(struct cache_l1 *c, uint64_t block_id, uint64_t offset,
                                    const struct chunk_samples *samples,
                                    const struct chunk_samples **out);
void cache_l1_release(struct cache_l1 *c, struct cache_l1_entry *e); /* NULL is fine */
struct cache_l1_stats {
    uint64_t bytes, bytes_used, entries, hits, misses, evictions;
};
void cache_l1_stats(struct cache_l1 *c, struct cache_l1_stats *out);

#endif
