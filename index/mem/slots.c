#include "index/mem/slots.h"

#include "base/assert.h"

#include <string.h>

#define SLOTS_MIN 16u
/* Grow beyond 13/16, by three eighths: five to seven bytes an entry. With tags, a probe of a missing key then reads
 * some fifteen slots, one or two cache lines. */
#define LOAD_NUMERATOR   13u
#define LOAD_DENOMINATOR 16u

static size_t table_bytes(uint32_t slot_count)
{
    return sizeof(struct index_slots_table) + (size_t)slot_count * sizeof(uint32_t);
}

/* Written here: a look-up reads a slot before it is written, and of a page that the system has yet to make that
 * costs a fault for reading, and another one, with a word to every core, for writing. */
static struct index_slots_table *table_create(uint32_t slot_count)
{
    struct index_slots_table *table = tsdb_mem_alloc(TSDB_MEM_INDEX, table_bytes(slot_count));
    if (table) {
        memset(table, 0, table_bytes(slot_count));
        table->count = slot_count;
    }
    return table;
}

enum tsdb_status index_slots_init(struct index_slots *s, struct index_owner *owner)
{
    memset(s, 0, sizeof *s);
    s->owner = owner;
    struct index_slots_table *table = table_create(SLOTS_MIN);
    if (!table) {
        return TSDB_NOMEM;
    }
    atomic_store_explicit(&s->table, table, memory_order_release);
    index_counter_add(&s->bytes, table_bytes(SLOTS_MIN));
    return TSDB_OK;
}

void index_slots_deinit(struct index_slots *s)
{
    struct index_slots_table *table = atomic_load_explicit(&s->table, memory_order_relaxed);
    if (table) {
        tsdb_mem_free(TSDB_MEM_INDEX, table, table_bytes(table->count));
    }
    memset(s, 0, sizeof *s);
}

bool index_slots_full(const struct index_slots *s)
{
    const struct index_slots_table *table = atomic_load_explicit(&s->table, memory_order_relaxed);
    return (uint64_t)s->used + 1 > (uint64_t)table->count * LOAD_NUMERATOR / LOAD_DENOMINATOR;
}

struct index_slots_table *index_slots_grow_begin(const struct index_slots *s)
{
    const struct index_slots_table *table = atomic_load_explicit(&s->table, memory_order_relaxed);
    TSDB_ASSERT(table->count <= INDEX_HANDLE_MAX); /* a handle an entry */
    return table_create(table->count + table->count / 8 * 3);
}

void index_slots_table_put(struct index_slots_table *table, uint32_t hash, uint32_t handle)
{
    TSDB_ASSERT(handle != INDEX_NONE && handle <= INDEX_HANDLE_MAX);
    uint32_t pos = index_slots_place(table, hash);
    while (atomic_load_explicit(&table->slot[pos], memory_order_relaxed) != 0) {
        pos = pos + 1 < table->count ? pos + 1 : 0;
    }
    uint32_t tag = index_slots_tag(hash);
    /* Release: pairs with the acquire in index_slots_next, for what the handle leads to. */
    atomic_store_explicit(&table->slot[pos], tag << INDEX_HANDLE_BITS | handle,
                          memory_order_release);
}

void index_slots_grow_end(struct index_slots *s, struct index_slots_table *table)
{
    struct index_slots_table *old = atomic_load_explicit(&s->table, memory_order_relaxed);
    size_t old_bytes = table_bytes(old->count);
    atomic_store_explicit(&s->table, table, memory_order_release);
    tsdb_epoch_retire(s->owner->epoch, s->owner->limbo, TSDB_MEM_INDEX, old, old_bytes);
    index_counter_add(&s->bytes, table_bytes(table->count) - old_bytes);
}

void index_slots_put(struct index_slots *s, uint32_t hash, uint32_t handle)
{
    TSDB_ASSERT(!index_slots_full(s));
    index_slots_table_put(atomic_load_explicit(&s->table, memory_order_relaxed), hash, handle);
    s->used++;
}
