#include "tsdb/chunk/cache_l1.h"

#include "base/assert.h"
#include "base/mutex.h"

#include <string.h>

#define SHARDS_MAX        16u
#define SHARD_BYTES_MIN   (1u << 20) /* five of the largest chunks; fewer shards for less */
#define TABLE_BYTES_ENTRY 2048u /* of the cache per head of a chain: entries are 0.6 to 192 KiB */
#define TABLE_MIN         16u

struct cache_l1_entry {
    /* Immutable once it is in the table. */
    uint64_t block_id, offset;
    size_t bytes; /* of the allocation */
    struct chunk_samples samples;
    /* Guarded by the shard's lock. */
    struct cache_l1_entry *chain;
    struct cache_l1_entry *clock_next, *clock_prev; /* a ring */
    uint32_t pins;
    bool touched; /* CLOCK's second chance */
    uint64_t cells[];
};
struct shard {
    struct tsdb_mutex lock; /* rank CACHE_SHARD; guards all that follows */
    struct cache_l1_entry **table TSDB_GUARDED;
    struct cache_l1_entry *hand TSDB_GUARDED; /* the next to be looked at; NULL: none at all */
    uint64_t bytes_used TSDB_GUARDED; /* entries, and room promised to copies on their way */
    uint64_t entries TSDB_GUARDED;
    uint64_t hits TSDB_GUARDED, misses TSDB_GUARDED, evictions TSDB_GUARDED;
};
struct cache_l1 { /* immutable but for the shards */
    uint64_t bytes, shard_bytes;
    uint32_t shard_count, table_mask;
    struct shard shards[SHARDS_MAX];
};

static uint64_t mix(uint64_t block_id, uint64_t offset)
{
    uint64_t h =
        (block_id * UINT64_C(0x9e3779b97f4a7c15)) ^ (offset * UINT64_C(0xc2b2ae3d27d4eb4f));
    h ^= h >> 29;
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 32;
}

static struct shard *shard_of(struct cache_l1 *c, uint64_t hash)
{
    return &c->shards[hash >> 40 & (c->shard_count - 1)];
}

enum tsdb_status cache_l1_create(uint64_t bytes, struct cache_l1 **out) TSDB_NO_TSA
{
    struct cache_l1 *c = tsdb_mem_alloc_zero(TSDB_MEM_CACHE, sizeof *c);
    if (!c) {
        return TSDB_NOMEM;
    }
    c->bytes = bytes;
    c->shard_count = 1;
    while (c->shard_count < SHARDS_MAX && bytes / (c->shard_count * 2) >= SHARD_BYTES_MIN) {
        c->shard_count *= 2;
    }
    c->shard_bytes = bytes / c->shard_count;
    uint32_t table = TABLE_MIN;
    while (table < (1u << 28) && table < c->shard_bytes / TABLE_BYTES_ENTRY) {
        table *= 2;
    }
    c->table_mask = table - 1;
    for (uint32_t i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        tsdb_mutex_init(&s->lock, TSDB_RANK_CACHE_SHARD, "cache-l1");
        s->table = tsdb_mem_alloc_zero(TSDB_MEM_CACHE, table * sizeof *s->table);
        if (!s->table) {
            cache_l1_destroy(c);
            return TSDB_NOMEM;
        }
    }
    *out = c;
    return TSDB_OK;
}

static void entry_free(struct cache_l1_entry *e)
{
    tsdb_mem_free(TSDB_MEM_CACHE, e, e->bytes);
}

/* Take an entry out of table and clock; its memory is the caller's. */
static void unlink_locked(const struct cache_l1 *c, struct shard *s, struct cache_l1_entry *e)
    TSDB_REQUIRES(s->lock)
{
    TSDB_ASSERT(s->table && e->pins == 0);
    struct cache_l1_entry **link = &s->table[mix(e->block_id, e->offset) & c->table_mask];
    TSDB_ASSERT(s->entries > 0 && s->bytes_used >= e->bytes);
    while (*link != e) {
        TSDB_ASSERT(*link); /* an entry is in its chain */
        link = &(*link)->chain;
    }
    *link = e->chain;
    e->clock_prev->clock_next = e->clock_next;
    e->clock_next->clock_prev = e->clock_prev;
    if (s->hand == e) {
        s->hand = e->clock_next == e ? NULL : e->clock_next;
    }
    s->entries--;
    s->bytes_used -= e->bytes;
}

void cache_l1_destroy(struct cache_l1 *c) TSDB_NO_TSA
{
    if (!c) {
        return;
    }
    for (uint32_t i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        while (s->hand) {
            struct cache_l1_entry *e = s->hand;
            TSDB_ASSERT(e->pins == 0);
            unlink_locked(c, s, e);
            entry_free(e);
        }
        TSDB_ASSERT(s->bytes_used == 0);
        tsdb_mem_free(TSDB_MEM_CACHE, s->table,
                      (c->table_mask + 1) * sizeof(struct cache_l1_entry *));
        if (s->lock.name) {
            tsdb_mutex_deinit(&s->lock);
        }
    }
    tsdb_mem_free(TSDB_MEM_CACHE, c, sizeof *c);
}

static struct cache_l1_entry *find_locked(const struct cache_l1 *c, struct shard *s, uint64_t hash,
                                          uint64_t block_id, uint64_t offset) TSDB_REQUIRES(s->lock)
{
    struct cache_l1_entry *e = s->table[hash & c->table_mask];
    while (e && (e->block_id != block_id || e->offset != offset)) {
        e = e->chain;
    }
    return e;
}

struct cache_l1_entry *cache_l1_get(struct cache_l1 *c, uint64_t block_id, uint64_t offset,
                                    const struct chunk_samples **out)
{
    if (c->bytes == 0) {
        return NULL;
    }
    uint64_t hash = mix(block_id, offset);
    struct shard *s = shard_of(c, hash);
    tsdb_mutex_lock(&s->lock);
    struct cache_l1_entry *e = find_locked(c, s, hash, block_id, offset);
    if (e) {
        s->hits++;
        e->touched = true;
        e->pins++;
    } else {
        s->misses++;
    }
    tsdb_mutex_unlock(&s->lock);
    if (e) {
        *out = &e->samples;
    }
    return e;
}

/* CLOCK until `bytes` fit, then promise them. What was evicted is chained in *garbage, to be freed
 * outside of the lock. False when too much is pinned. */
static bool reserve_locked(const struct cache_l1 *c, struct shard *s, size_t bytes,
                           struct cache_l1_entry **garbage) TSDB_REQUIRES(s->lock)
{
    /* Twice around: the first time may only take second chances away. */
    uint64_t steps = 2 * s->entries;
    while (c->shard_bytes - s->bytes_used < bytes) {
        struct cache_l1_entry *e = s->hand;
        if (!e || steps-- == 0) {
            return false;
        }
        s->hand = e->clock_next;
        if (e->pins > 0) {
            continue;
        }
        if (e->touched) {
            e->touched = false;
            continue;
        }
        unlink_locked(c, s, e);
        s->evictions++;
        e->chain = *garbage;
        *garbage = e;
    }
    s->bytes_used += bytes;
    TSDB_ASSERT(s->bytes_used <= c->shard_bytes);
    return true;
}

static bool reserve(const struct cache_l1 *c, struct shard *s, size_t bytes)
{
    struct cache_l1_entry *garbage = NULL;
    tsdb_mutex_lock(&s->lock);
    bool ok = reserve_locked(c, s, bytes, &garbage);
    tsdb_mutex_unlock(&s->lock);
    while (garbage) {
        struct cache_l1_entry *next = garbage->chain;
        entry_free(garbage);
        garbage = next;
    }
    return ok;
}

static struct cache_l1_entry *copy_create(const struct chunk_samples *from, size_t bytes)
{
    struct cache_l1_entry *e = tsdb_mem_alloc(TSDB_MEM_CACHE, bytes);
    if (!e) {
        return NULL;
    }
    size_t column = (size_t)from->count * sizeof(uint64_t);
    memset(e, 0, sizeof *e);
    e->bytes = bytes;
    memcpy(e->cells, from->t_ms, column);
    memcpy(e->cells + from->count, from->value, column);
    if (from->start_ms) {
        memcpy(e->cells + 2 * (size_t)from->count, from->start_ms, column);
    }
    e->samples = (struct chunk_samples){
        .kind = from->kind,
        .count = from->count,
        .t_ms = (const int64_t *)e->cells,
        .value = e->cells + from->count,
        .start_ms = from->start_ms ? (const int64_t *)(e->cells + 2 * (size_t)from->count) : NULL};
    return e;
}

/* Into the table, and into the clock behind the hand: the last to be looked at. A chunk that was
 * read once has no second chance: a scan does not flush what is in use. */
static void insert_locked(const struct cache_l1 *c, struct shard *s, struct cache_l1_entry *e,
                          uint64_t hash) TSDB_REQUIRES(s->lock)
{
    struct cache_l1_entry **head = &s->table[hash & c->table_mask];
    TSDB_ASSERT(e->bytes <= s->bytes_used); /* reserve_locked counted them */
    TSDB_ASSERT(hash == mix(e->block_id, e->offset));
    e->chain = *head;
    *head = e;
    if (s->hand) {
        e->clock_next = s->hand;
        e->clock_prev = s->hand->clock_prev;
        e->clock_prev->clock_next = e;
        e->clock_next->clock_prev = e;
    } else {
        e->clock_next = e->clock_prev = e;
        s->hand = e;
    }
    s->entries++;
    TSDB_ASSERT(s->hand && e->clock_next->clock_prev == e && e->clock_prev->clock_next == e);
}

struct cache_l1_entry *cache_l1_put(struct cache_l1 *c, uint64_t block_id, uint64_t offset,
                                    const struct chunk_samples *samples,
                                    const struct chunk_samples **out)
{
    uint64_t hash = mix(block_id, offset);
    struct shard *s = shard_of(c, hash);
    size_t bytes = sizeof(struct cache_l1_entry) +
                   (size_t)samples->count * sizeof(uint64_t) * (samples->start_ms ? 3 : 2);
    if (samples->kind != TSDB_SAMPLE_FLOAT || bytes > c->shard_bytes || !reserve(c, s, bytes)) {
        return NULL;
    }
    struct cache_l1_entry *mine = copy_create(samples, bytes);
    tsdb_mutex_lock(&s->lock);
    /* Somebody may have put the same chunk since our miss: then that copy serves both. */
    struct cache_l1_entry *e = find_locked(c, s, hash, block_id, offset);
    if (e || !mine) {
        TSDB_ASSERT(s->bytes_used >= bytes);
        s->bytes_used -= bytes;
    } else {
        mine->block_id = block_id;
        mine->offset = offset;
        insert_locked(c, s, mine, hash);
        e = mine;
    }
    if (e) {
        e->pins++;
    }
    tsdb_mutex_unlock(&s->lock);
    if (mine && e != mine) {
        entry_free(mine);
    }
    if (e) {
        *out = &e->samples;
    }
    return e;
}

void cache_l1_release(struct cache_l1 *c, struct cache_l1_entry *e)
{
    if (!e) {
        return;
    }
    struct shard *s = shard_of(c, mix(e->block_id, e->offset));
    tsdb_mutex_lock(&s->lock);
    TSDB_ASSERT(e->pins > 0);
    e->pins--;
    tsdb_mutex_unlock(&s->lock);
}

void cache_l1_stats(struct cache_l1 *c, struct cache_l1_stats *out)
{
    *out = (struct cache_l1_stats){.bytes = c->bytes};
    for (uint32_t i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        tsdb_mutex_lock(&s->lock);
        out->bytes_used += s->bytes_used;
        out->entries += s->entries;
        out->hits += s->hits;
        out->misses += s->misses;
        out->evictions += s->evictions;
        tsdb_mutex_unlock(&s->lock);
    }
}
