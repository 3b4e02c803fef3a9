#include "tsdb/batch_build.h"

#include "base/assert.h"
#include "model/placement.h"

#include <string.h>

#define ENTRIES_FIRST 2048u /* a usual request of remote write */
#define OTHERS_FIRST  64u

void tsdb_build_init(struct tsdb_batch_build *b, struct tsdb_arena *arena,
                     const struct tsdb_hash_key *key, const uint8_t *owner_of)
{
    *b = (struct tsdb_batch_build){.arena = arena, .key = key, .owner_of = owner_of};
}

/* Grow an arena array by doubling: the old copy stays in the arena until reset, so the sum is at
 * most twice the need. */
static void *grow_array(struct tsdb_arena *arena, const void *old, uint32_t count, uint32_t *cap,
                        uint32_t need, size_t each, uint32_t first)
{
    uint64_t want = TSDB_MAX((uint64_t)*cap * 2, (uint64_t)first);
    while (want < (uint64_t)count + need) {
        want *= 2;
    }
    if (want > UINT32_MAX) {
        arena->failure = TSDB_LIMIT;
        return NULL;
    }
    void *p = tsdb_arena_alloc_array(arena, (size_t)want, each, 32);
    if (p) {
        if (count > 0) {
            memcpy(p, old, count * each);
        }
        *cap = (uint32_t)want;
    }
    return p;
}

enum tsdb_status tsdb_build_grow(struct tsdb_batch_build *b, uint32_t extra)
{
    struct tsdb_entry *p = grow_array(b->arena, b->entries, b->entry_count, &b->entry_cap, extra,
                                      sizeof *p, ENTRIES_FIRST);
    if (!p) {
        return tsdb_arena_status(b->arena);
    }
    b->entries = p;
    if (b->starts) {
        int64_t *s = TSDB_ARENA_ARRAY(b->arena, int64_t, b->entry_cap);
        if (!s) {
            return tsdb_arena_status(b->arena);
        }
        memcpy(s, b->starts, b->entry_count * sizeof *s);
        b->starts = s;
    }
    return TSDB_OK;
}

enum tsdb_status tsdb_build_start(struct tsdb_batch_build *b, int64_t start_ms)
{
    TSDB_ASSERT(b->entry_count > 0);
    if (!b->starts) {
        b->starts = TSDB_ARENA_ARRAY(b->arena, int64_t, b->entry_cap);
        if (!b->starts) {
            return tsdb_arena_status(b->arena);
        }
    }
    b->entries[b->entry_count - 1].flags |= TSDB_ENTRY_HAS_START;
    b->starts[b->entry_count - 1] = start_ms;
    return TSDB_OK;
}

enum tsdb_status tsdb_build_new(struct tsdb_batch_build *b, struct tsdb_labels labels,
                                struct tsdb_hash128 alias, struct tsdb_build_target *out)
{
    if (b->new_count == b->new_cap) {
        struct tsdb_new_series *p = grow_array(b->arena, b->new_series, b->new_count, &b->new_cap,
                                               1, sizeof *p, OTHERS_FIRST);
        if (!p) {
            return tsdb_arena_status(b->arena);
        }
        b->new_series = p;
    }
    uint64_t hash = tsdb_labels_hash(b->key, &labels);
    struct tsdb_new_series *n = &b->new_series[b->new_count];
    *n = (struct tsdb_new_series){.labels = labels,
                                  .hash = hash,
                                  .alias = alias,
                                  .ref = TSDB_SERIES_NEW,
                                  .partition =
                                      (uint8_t)tsdb_labels_partition(b->key, &labels, hash)};
    *out = (struct tsdb_build_target){
        .series = TSDB_SERIES_NEW, .aux = b->new_count++, .partition = n->partition};
    return TSDB_OK;
}

enum tsdb_status tsdb_build_exemplar(struct tsdb_batch_build *b,
                                     const struct tsdb_build_target *target,
                                     const struct tsdb_exemplar *x)
{
    if (b->exemplar_count == b->exemplar_cap) {
        struct tsdb_write_exemplar *p = grow_array(b->arena, b->exemplars, b->exemplar_count,
                                                   &b->exemplar_cap, 1, sizeof *p, OTHERS_FIRST);
        if (!p) {
            return tsdb_arena_status(b->arena);
        }
        b->exemplars = p;
    }
    b->exemplars[b->exemplar_count++] =
        (struct tsdb_write_exemplar){.exemplar = *x,
                                     .series = target->series,
                                     .aux = target->aux,
                                     .partition = target->partition};
    return TSDB_OK;
}

/* Counting sort: stable, one pass over the counts that adding kept. begin[p]: where partition p
 * begins in the sorted entries. */
static enum tsdb_status sort_entries(struct tsdb_batch_build *b,
                                     uint32_t begin[TSDB_PARTITIONS + 1])
{
    uint32_t next[TSDB_PARTITIONS];
    uint32_t sum = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        begin[p] = next[p] = sum;
        sum += b->entries_of[p];
    }
    begin[TSDB_PARTITIONS] = sum;
    TSDB_ASSERT(sum == b->entry_count);
    struct tsdb_entry *sorted =
        tsdb_arena_alloc_array(b->arena, TSDB_MAX(sum, 1u), sizeof *sorted, 32);
    int64_t *starts = b->starts ? TSDB_ARENA_ARRAY(b->arena, int64_t, TSDB_MAX(sum, 1u)) : NULL;
    if (!sorted || (b->starts && !starts)) {
        return tsdb_arena_status(b->arena);
    }
    for (uint32_t i = 0; i < sum; i++) {
        uint32_t to = next[b->entries[i].partition]++;
        sorted[to] = b->entries[i];
        if (starts) {
            starts[to] = b->entries[i].flags & TSDB_ENTRY_HAS_START ? b->starts[i] : 0;
        }
    }
    b->entries = sorted;
    b->starts = starts;
    return TSDB_OK;
}

/* The same for exemplars, of which there are few or none: nobody kept counts. begin as above. */
static enum tsdb_status sort_exemplars(struct tsdb_batch_build *b,
                                       uint32_t begin[TSDB_PARTITIONS + 1])
{
    uint32_t next[TSDB_PARTITIONS] = {0};
    memset(begin, 0, (TSDB_PARTITIONS + 1) * sizeof *begin);
    if (b->exemplar_count == 0) {
        return TSDB_OK;
    }
    struct tsdb_write_exemplar *sorted =
        TSDB_ARENA_ARRAY(b->arena, struct tsdb_write_exemplar, b->exemplar_count);
    if (!sorted) {
        return tsdb_arena_status(b->arena);
    }
    for (uint32_t i = 0; i < b->exemplar_count; i++) {
        begin[b->exemplars[i].partition + 1]++;
    }
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        begin[p + 1] += begin[p];
        next[p] = begin[p];
    }
    for (uint32_t i = 0; i < b->exemplar_count; i++) {
        sorted[next[b->exemplars[i].partition]++] = b->exemplars[i];
    }
    b->exemplars = sorted;
    return TSDB_OK;
}

static enum tsdb_status add_batch(struct tsdb_arena *arena, struct tsdb_write *w,
                                  const struct tsdb_batch *batch)
{
    TSDB_ASSERT(w->batch_count < TSDB_OWNERS_MAX);
    struct tsdb_batch *b = &w->batches[w->batch_count];
    *b = *batch;
    if (b->durability != TSDB_DURABILITY_MEMORY) {
        size_t cap = tsdb_batch_wal_bytes_max(w, b);
        if (cap > UINT32_MAX) {
            return TSDB_LIMIT;
        }
        b->wal_bytes = tsdb_arena_alloc(arena, cap, 16);
        if (!b->wal_bytes) {
            return tsdb_arena_status(arena);
        }
        b->wal_cap = (uint32_t)cap;
    }
    w->batch_count++;
    return TSDB_OK;
}

/* Partitions of one owner lie side by side, so that its batch is one range of each array. */
static enum tsdb_status cut_batches(const struct tsdb_batch_build *b, const uint32_t *entry_begin,
                                    const uint32_t *exemplar_begin, enum tsdb_durability durability,
                                    struct tsdb_write *w)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t p = 0, end; p < TSDB_PARTITIONS && status == TSDB_OK; p = end) {
        for (end = p; end < TSDB_PARTITIONS && b->owner_of[end] == b->owner_of[p]; end++) {
        }
        struct tsdb_batch batch = {.write = w,
                                   .owner = b->owner_of[p],
                                   .durability = durability,
                                   .entry_begin = entry_begin[p],
                                   .entry_end = entry_begin[end],
                                   .exemplar_begin = exemplar_begin[p],
                                   .exemplar_end = exemplar_begin[end]};
        if (batch.entry_begin < batch.entry_end || batch.exemplar_begin < batch.exemplar_end) {
            status = add_batch(b->arena, w, &batch);
        }
    }
    return status;
}

enum tsdb_status tsdb_build_finish(struct tsdb_batch_build *b, enum tsdb_durability durability,
                                   struct tsdb_write *w)
{
    uint32_t entry_begin[TSDB_PARTITIONS + 1];
    uint32_t exemplar_begin[TSDB_PARTITIONS + 1];
    enum tsdb_status status = sort_entries(b, entry_begin);
    if (status == TSDB_OK) {
        status = sort_exemplars(b, exemplar_begin);
    }
    if (status != TSDB_OK) {
        return status;
    }
    w->entries = b->entries;
    w->starts = b->starts;
    w->entry_count = b->entry_count;
    w->new_series = b->new_series;
    w->new_series_count = b->new_count;
    w->exemplars = b->exemplars;
    w->exemplar_count = b->exemplar_count;
    w->batch_count = 0;
    return cut_batches(b, entry_begin, exemplar_begin, durability, w);
}
