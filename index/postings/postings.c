#include "index/postings/postings.h"

#include "base/assert.h"
#include "base/limits.h"

#include <string.h>

#define DELTA_BITS 11
#define DELTA_MAX  ((1u << DELTA_BITS) - 1)
#define ID_SHIFT   3
#define FIRST_MAX  (TSDB_SERIES_LOCAL_MAX - 1)
/* Block sizes are a heap's: 32, 64, ... 256 bytes, then half as much again, so that at most a third
 * lies idle. */
#define BLOCK_BYTES_FIRST  32u
#define BLOCK_BYTES_DOUBLE 256u

static_assert(ID_SHIFT + TSDB_PARTITION_SHIFT + (INDEX_POSTINGS_INLINE_MAX - 1) * DELTA_BITS <= 64,
              "ids fit the word");

struct index_postings_block {
    uint32_t cap;
    _Atomic(uint32_t) count;
    uint32_t ids[];
};

static size_t block_bytes(uint32_t cap)
{
    return sizeof(struct index_postings_block) + (size_t)cap * sizeof(uint32_t);
}

static struct index_postings_block *block_of(uint64_t word)
{
    return (struct index_postings_block *)(uintptr_t)word; /* NOLINT(performance-no-int-to-ptr) */
}

static bool is_inline(uint64_t word)
{
    return word & 1;
}

static uint32_t inline_count(uint64_t word)
{
    return ((uint32_t)(word >> 1) & 3) + 1;
}

static uint32_t inline_unpack(uint64_t word, uint32_t *ids)
{
    uint32_t count = inline_count(word);
    ids[0] = (uint32_t)(word >> ID_SHIFT) & FIRST_MAX;
    for (uint32_t i = 1; i < count; i++) {
        uint32_t shift = ID_SHIFT + TSDB_PARTITION_SHIFT + (i - 1) * DELTA_BITS;
        ids[i] = ids[i - 1] + ((uint32_t)(word >> shift) & DELTA_MAX);
    }
    return count;
}

/* The word with one more id, or 0 if that does not fit inline. */
static uint64_t inline_with(uint64_t word, uint32_t id)
{
    if (word == 0) {
        return 1 | (uint64_t)id << ID_SHIFT;
    }
    uint32_t ids[INDEX_POSTINGS_INLINE_MAX];
    uint32_t count = inline_unpack(word, ids);
    uint32_t delta = id - ids[count - 1];
    if (count == INDEX_POSTINGS_INLINE_MAX || delta > DELTA_MAX) {
        return 0;
    }
    uint32_t shift = ID_SHIFT + TSDB_PARTITION_SHIFT + (count - 1) * DELTA_BITS;
    return (word + 2) | (uint64_t)delta << shift;
}

void index_postings_prefetch(const struct index_postings *p)
{
    uint64_t word = atomic_load_explicit(&p->word, memory_order_relaxed);
    if (!is_inline(word)) {
        __builtin_prefetch(block_of(word)); /* of address 0 it does nothing */
    }
}

static enum tsdb_status block_replace(struct index_postings *p, struct index_owner *owner,
                                      uint32_t cap, const uint32_t *ids, uint32_t count)
{
    struct index_postings_block *block = tsdb_mem_alloc(TSDB_MEM_INDEX, block_bytes(cap));
    if (!block) {
        return TSDB_NOMEM;
    }
    block->cap = cap;
    memcpy(block->ids, ids, count * sizeof *ids);
    atomic_store_explicit(&block->count, count, memory_order_relaxed);
    /* Release: a reader that follows the word finds the ids and the count. */
    atomic_store_explicit(&p->word, (uint64_t)(uintptr_t)block, memory_order_release);
    index_counter_add(&owner->postings_bytes, block_bytes(cap));
    return TSDB_OK;
}

static uint32_t cap_next(uint32_t cap)
{
    size_t bytes = block_bytes(cap);
    bytes = bytes < BLOCK_BYTES_DOUBLE ? bytes * 2 : (bytes + bytes / 2 + 63) & ~(size_t)63;
    return (uint32_t)((bytes - sizeof(struct index_postings_block)) / sizeof(uint32_t));
}

enum tsdb_status index_postings_reserve(struct index_postings *p, struct index_owner *owner,
                                        uint32_t id)
{
    TSDB_ASSERT(id <= FIRST_MAX);
    uint64_t word = atomic_load_explicit(&p->word, memory_order_relaxed);
    if (word == 0 || is_inline(word)) {
        if (inline_with(word, id) != 0) {
            return TSDB_OK;
        }
        uint32_t ids[INDEX_POSTINGS_INLINE_MAX];
        uint32_t count = inline_unpack(word, ids);
        uint32_t cap = (BLOCK_BYTES_FIRST - sizeof(struct index_postings_block)) / sizeof(uint32_t);
        return block_replace(p, owner, cap, ids, count);
    }
    struct index_postings_block *old = block_of(word);
    uint32_t count = atomic_load_explicit(&old->count, memory_order_relaxed);
    if (count < old->cap) {
        __builtin_prefetch(&old->ids[count], 1); /* append writes there next */
        return TSDB_OK;
    }
    size_t old_bytes = block_bytes(old->cap);
    enum tsdb_status status = block_replace(p, owner, cap_next(old->cap), old->ids, count);
    if (status == TSDB_OK) {
        tsdb_epoch_retire(owner->epoch, owner->limbo, TSDB_MEM_INDEX, old, old_bytes);
        index_counter_add(&owner->postings_bytes, (uint64_t)0 - old_bytes);
    }
    return status;
}

void index_postings_append(struct index_postings *p, uint32_t id)
{
    uint64_t word = atomic_load_explicit(&p->word, memory_order_relaxed);
    if (word == 0 || is_inline(word)) {
        uint64_t next = inline_with(word, id);
        TSDB_ASSERT(next != 0);
        atomic_store_explicit(&p->word, next, memory_order_release);
        return;
    }
    struct index_postings_block *block = block_of(word);
    uint32_t count = atomic_load_explicit(&block->count, memory_order_relaxed);
    TSDB_ASSERT(count < block->cap);
    TSDB_DASSERT(block->ids[count - 1] < id);
    block->ids[count] = id;
    atomic_store_explicit(&block->count, count + 1, memory_order_release);
}

void index_postings_deinit(struct index_postings *p, struct index_owner *owner)
{
    uint64_t word = atomic_load_explicit(&p->word, memory_order_relaxed);
    if (word != 0 && !is_inline(word)) {
        size_t bytes = block_bytes(block_of(word)->cap);
        tsdb_mem_free(TSDB_MEM_INDEX, block_of(word), bytes);
        index_counter_add(&owner->postings_bytes, (uint64_t)0 - bytes);
    }
    atomic_store_explicit(&p->word, 0, memory_order_relaxed);
}

struct index_postings_view index_postings_get(const struct index_postings *p, uint32_t bound,
                                              uint32_t *scratch)
{
    struct index_postings_view v = {scratch, 0};
    uint64_t word = atomic_load_explicit(&p->word, memory_order_acquire);
    if (word == 0) {
        return v;
    }
    if (is_inline(word)) {
        v.count = inline_unpack(word, scratch);
        while (v.count > 0 && scratch[v.count - 1] >= bound) {
            v.count--;
        }
        return v;
    }
    const struct index_postings_block *block = block_of(word);
    v.ids = block->ids;
    v.count = atomic_load_explicit(&block->count, memory_order_acquire);
    if (v.count > 0 && v.ids[v.count - 1] >= bound) {
        v.count = index_ids_seek(v.ids, v.count, 0, bound);
    }
    return v;
}

bool index_postings_any(const struct index_postings *p, uint32_t bound)
{
    uint64_t word = atomic_load_explicit(&p->word, memory_order_acquire);
    if (word == 0) {
        return false;
    }
    uint32_t first =
        is_inline(word) ? (uint32_t)(word >> ID_SHIFT) & FIRST_MAX : block_of(word)->ids[0];
    return first < bound;
}

uint32_t index_ids_seek(const uint32_t *ids, uint32_t count, uint32_t from, uint32_t id)
{
    if (from >= count || ids[from] >= id) {
        return from;
    }
    /* Invariant: ids[low] < id; high is count or ids[high] >= id. */
    uint32_t low = from;
    uint32_t step = 1;
    while (step < count - low && ids[low + step] < id) {
        low += step;
        step *= 2;
    }
    uint32_t high = step < count - low ? low + step : count;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (ids[mid] < id) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return high;
}

uint32_t index_ids_intersect(struct index_postings_view a, struct index_postings_view b,
                             uint32_t *out)
{
    uint32_t n = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a.count && j < b.count) {
        uint32_t id = a.ids[i];
        if (id == b.ids[j]) {
            out[n++] = id;
            i++;
            j++;
        } else if (id < b.ids[j]) {
            i = index_ids_seek(a.ids, a.count, i, b.ids[j]);
        } else {
            j = index_ids_seek(b.ids, b.count, j, id);
        }
    }
    return n;
}

uint32_t index_ids_subtract(struct index_postings_view a, struct index_postings_view b,
                            uint32_t *out)
{
    uint32_t n = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a.count) {
        /* The run of a before the next id of b stays as it is. */
        j = index_ids_seek(b.ids, b.count, j, a.ids[i]);
        uint32_t end = j < b.count ? index_ids_seek(a.ids, a.count, i, b.ids[j]) : a.count;
        memmove(out + n, a.ids + i, (end - i) * sizeof *out);
        n += end - i;
        i = end + (end < a.count && a.ids[end] == b.ids[j]);
    }
    return n;
}

void index_bits_add(uint64_t *bits, struct index_postings_view v)
{
    for (uint32_t i = 0; i < v.count; i++) {
        bits[v.ids[i] >> 6] |= (uint64_t)1 << (v.ids[i] & 63);
    }
}

uint32_t index_bits_extract(const uint64_t *bits, uint32_t id_count, bool value, uint32_t *out)
{
    uint32_t n = 0;
    size_t words = index_bits_words(id_count);
    for (size_t w = 0; w < words; w++) {
        uint64_t left = value ? bits[w] : ~bits[w];
        if (w + 1 == words && id_count % 64 != 0) {
            left &= ((uint64_t)1 << (id_count % 64)) - 1;
        }
        for (; left != 0; left &= left - 1) {
            out[n++] = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(left);
        }
    }
    return n;
}

uint32_t index_bits_filter(const uint64_t *bits, bool value, uint32_t *ids, uint32_t count)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = ids[i];
        ids[n] = id;
        n += index_bits_test(bits, id) == value;
    }
    return n;
}
