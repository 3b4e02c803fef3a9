#include "tsdb/block/refs.h"

#include "base/alloc.h"
#include "base/assert.h"

#define CATEGORY TSDB_MEM_INDEX

/* Entries are ~ref, so that memory that nobody has touched says "not known". */
typedef _Atomic(uint32_t) entry_t;

struct block_refs {
    struct block_refs_budget *budget;
    uint32_t count;
    _Atomic(entry_t *) entries; /* [count], or NULL */
};

static size_t entries_bytes(const struct block_refs *r)
{
    return r->count * sizeof(entry_t);
}

enum tsdb_status block_refs_create(uint32_t count, struct block_refs_budget *budget,
                                   struct block_refs **out)
{
    struct block_refs *r = tsdb_mem_alloc_zero(CATEGORY, sizeof *r);
    if (!r) {
        return TSDB_NOMEM;
    }
    r->budget = budget;
    r->count = count;
    *out = r;
    return TSDB_OK;
}

static void entries_free(struct block_refs *r, entry_t *entries)
{
    tsdb_mem_free(CATEGORY, entries, entries_bytes(r));
    atomic_fetch_sub_explicit(&r->budget->bytes, entries_bytes(r), memory_order_relaxed);
}

void block_refs_destroy(struct block_refs *r)
{
    if (!r) {
        return;
    }
    entry_t *entries = atomic_load_explicit(&r->entries, memory_order_relaxed);
    if (entries) {
        entries_free(r, entries);
    }
    tsdb_mem_free(CATEGORY, r, sizeof *r);
}

tsdb_series_ref block_refs_at(const struct block_refs *r, uint32_t id)
{
    TSDB_ASSERT(id < r->count);
    /* Acquire: partner is entries_make. */
    const entry_t *entries = atomic_load_explicit(&r->entries, memory_order_acquire);
    return entries ? ~atomic_load_explicit(&entries[id], memory_order_relaxed) : TSDB_SERIES_NEW;
}

static entry_t *entries_make(struct block_refs *r)
{
    size_t bytes = entries_bytes(r);
    uint64_t before = atomic_fetch_add_explicit(&r->budget->bytes, bytes, memory_order_relaxed);
    entry_t *own =
        before + bytes <= r->budget->bytes_max ? tsdb_mem_alloc_zero(CATEGORY, bytes) : NULL;
    if (!own) {
        atomic_fetch_sub_explicit(&r->budget->bytes, bytes, memory_order_relaxed);
        return NULL;
    }
    entry_t *there = NULL;
    /* Release: partner is every load of entries. */
    if (!atomic_compare_exchange_strong_explicit(&r->entries, &there, own, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        entries_free(r, own); /* another thread was first */
        own = there;
    }
    return own;
}

void block_refs_note(struct block_refs *r, uint32_t id, tsdb_series_ref ref)
{
    TSDB_ASSERT(id < r->count);
    entry_t *entries = atomic_load_explicit(&r->entries, memory_order_acquire);
    entries = entries ? entries : entries_make(r);
    if (entries) {
        atomic_store_explicit(&entries[id], ~ref, memory_order_relaxed);
    }
}

uint32_t block_refs_count(const struct block_refs *r)
{
    return r->count;
}
