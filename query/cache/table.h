/* Entries by key, bounded in bytes; the one that was not used for longest goes.
 *
 * Several entries may have the same key: of different times. Threads: any; one lock, rank QUERY_CACHE, never
 * held while an entry is made, read or freed. */
#ifndef QUERY_CACHE_TABLE_H
#define QUERY_CACHE_TABLE_H

#include "base/hash.h"
#include "base/mutex.h"
#include "query/cache/entry.h"

#define CACHE_SLOTS 1024u

struct cache_table {
    uint64_t bytes_max; /* immutable, as is the next */
    struct tsdb_hash_key hash_key;
    struct tsdb_mutex lock;
    struct cache_entry *slots[CACHE_SLOTS] TSDB_GUARDED;
    struct cache_entry *newest TSDB_GUARDED, *oldest TSDB_GUARDED;
    uint64_t bytes TSDB_GUARDED, entries TSDB_GUARDED, evicted TSDB_GUARDED;
};

void cache_table_init(struct cache_table *t, uint64_t bytes_max);
void cache_table_deinit(struct cache_table *t); /* no references may be out */

/* How many steps of this entry serve? 0: none, UINT32_MAX: nor anybody, ever again. */
typedef uint32_t cache_serves_fn(void *arg, const struct cache_entry *e);
/* The entry of the key that serves most, with a reference; NULL: none. Those that serve nobody are dropped;
 * *out_dropped: how many. */
struct cache_entry *cache_table_take(struct cache_table *t, const struct tsdb_buf *key,
                                     cache_serves_fn *serves, void *arg, uint32_t *out_dropped);
void cache_table_release(struct cache_table *t, struct cache_entry *e); /* NULL is fine */
/* Takes e over and a copy of the key. Entries of the key with no step that e lacks go. */
void cache_table_put(struct cache_table *t, const struct tsdb_buf *key, struct cache_entry *e);
void cache_table_stats(struct cache_table *t, uint64_t *out_bytes, uint64_t *out_entries,
                       uint64_t *out_evicted);

#endif
