#include "query/cache/table.h"

#include "base/assert.h"
#include "base/random.h"

#include <string.h>

void cache_table_init(struct cache_table *t, uint64_t bytes_max) TSDB_NO_TSA
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    memset(t, 0, sizeof *t);
    t->bytes_max = bytes_max;
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&t->hash_key, seed);
    tsdb_mutex_init(&t->lock, TSDB_RANK_QUERY_CACHE, "query cache");
}

static void entry_free(struct cache_entry *e)
{
    tsdb_buf_deinit(&e->place.key);
    cache_entry_free(e);
}

static uint64_t weight(const struct cache_entry *e)
{
    return cache_entry_bytes(e) + e->place.key.cap;
}

/* ---- the list of use ---- */

static void list_add(struct cache_table *t, struct cache_entry *e) TSDB_REQUIRES(t->lock)
{
    e->place.newer = NULL;
    e->place.older = t->newest;
    *(t->newest ? &t->newest->place.newer : &t->oldest) = e;
    t->newest = e;
}

static void list_remove(struct cache_table *t, struct cache_entry *e) TSDB_REQUIRES(t->lock)
{
    *(e->place.newer ? &e->place.newer->place.older : &t->newest) = e->place.older;
    *(e->place.older ? &e->place.older->place.newer : &t->oldest) = e->place.newer;
}

/* ---- references ---- */

/* The last one is gone: onto the list of those that are freed when the lock is given back. */
static void unref(struct cache_entry *e, struct cache_entry **dead)
{
    TSDB_ASSERT(e->place.refs > 0);
    if (--e->place.refs == 0) {
        e->place.chain = *dead;
        *dead = e;
    }
}

static void free_dead(struct cache_entry *dead)
{
    while (dead) {
        struct cache_entry *next = dead->place.chain;
        entry_free(dead);
        dead = next;
    }
}

/* Out of the table. */
static void drop(struct cache_table *t, struct cache_entry *e, struct cache_entry **dead)
    TSDB_REQUIRES(t->lock)
{
    struct cache_entry **at = &t->slots[e->place.hash % CACHE_SLOTS];
    while (*at != e) {
        at = &(*at)->place.chain;
    }
    *at = e->place.chain;
    list_remove(t, e);
    t->bytes -= weight(e);
    t->entries--;
    unref(e, dead);
}

void cache_table_release(struct cache_table *t, struct cache_entry *e)
{
    struct cache_entry *dead = NULL;
    if (!e) {
        return;
    }
    tsdb_mutex_lock(&t->lock);
    unref(e, &dead);
    tsdb_mutex_unlock(&t->lock);
    free_dead(dead);
}

void cache_table_deinit(struct cache_table *t)
{
    struct cache_entry *dead = NULL;
    tsdb_mutex_lock(&t->lock);
    while (t->oldest) {
        TSDB_ASSERT(t->oldest->place.refs == 1);
        drop(t, t->oldest, &dead);
    }
    tsdb_mutex_unlock(&t->lock);
    free_dead(dead);
    tsdb_mutex_deinit(&t->lock);
}

/* ---- by key ---- */

static bool key_is(const struct cache_entry *e, uint64_t hash, const struct tsdb_buf *key)
{
    return e->place.hash == hash && e->place.key.len == key->len &&
           memcmp(e->place.key.data, key->data, key->len) == 0;
}

struct cache_entry *cache_table_take(struct cache_table *t, const struct tsdb_buf *key,
                                     cache_serves_fn *serves, void *arg, uint32_t *out_dropped)
{
    uint64_t hash = tsdb_hash64(&t->hash_key, key->data, key->len);
    struct cache_entry *best = NULL;
    struct cache_entry *dead = NULL;
    struct cache_entry *next = NULL;
    uint32_t most = 0;
    *out_dropped = 0;
    tsdb_mutex_lock(&t->lock);
    for (struct cache_entry *e = t->slots[hash % CACHE_SLOTS]; e; e = next) {
        next = e->place.chain;
        if (!key_is(e, hash, key)) {
            continue;
        }
        uint32_t steps = serves(arg, e);
        if (steps == UINT32_MAX) {
            drop(t, e, &dead);
            ++*out_dropped;
        } else if (steps > most) {
            most = steps;
            best = e;
        }
    }
    if (best) {
        best->place.refs++;
        list_remove(t, best);
        list_add(t, best);
    }
    tsdb_mutex_unlock(&t->lock);
    free_dead(dead);
    return best;
}

static bool is_within(const struct cache_entry *e, const struct cache_entry *of)
{
    return of->start_ms <= e->start_ms && e->start_ms + (int64_t)e->steps * e->step_ms <=
                                              of->start_ms + (int64_t)of->steps * of->step_ms;
}

void cache_table_put(struct cache_table *t, const struct tsdb_buf *key, struct cache_entry *e)
{
    struct cache_entry *dead = NULL;
    struct cache_entry *next = NULL;
    e->place.hash = tsdb_hash64(&t->hash_key, key->data, key->len);
    e->place.refs = 1;
    tsdb_buf_init(&e->place.key, TSDB_MEM_CACHE, 0);
    tsdb_buf_put(&e->place.key, key->data, key->len);
    if (e->place.key.failed || weight(e) > t->bytes_max) {
        entry_free(e);
        return;
    }
    tsdb_mutex_lock(&t->lock);
    struct cache_entry **slot = &t->slots[e->place.hash % CACHE_SLOTS];
    for (struct cache_entry *o = *slot; o; o = next) {
        next = o->place.chain;
        if (key_is(o, e->place.hash, key) && is_within(o, e)) {
            drop(t, o, &dead);
        }
    }
    while (t->bytes + weight(e) > t->bytes_max) {
        TSDB_ASSERT(t->oldest);
        drop(t, t->oldest, &dead);
        t->evicted++;
    }
    e->place.chain = *slot;
    *slot = e;
    list_add(t, e);
    t->bytes += weight(e);
    t->entries++;
    tsdb_mutex_unlock(&t->lock);
    free_dead(dead);
}

void cache_table_stats(struct cache_table *t, uint64_t *out_bytes, uint64_t *out_entries,
                       uint64_t *out_evicted)
{
    tsdb_mutex_lock(&t->lock);
    *out_bytes = t->bytes;
    *out_entries = t->entries;
    *out_evicted = t->evicted;
    tsdb_mutex_unlock(&t->lock);
}
