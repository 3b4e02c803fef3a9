/* A hash table of handles, open addressing, 4 bytes a slot: for symbols, label names, label pairs
 * and series.
 *
 *   slot = tag (low 5 bits of the hash) : handle (27 bits, 0 = empty)
 *
 * A place follows from the high bits of the hash by a multiplication, so that a table has any size. The
 * keys lie elsewhere, behind the handles; the tag spares 31 of 32 look-ups of a key that differs. Nothing is
 * ever removed, so that a probe ends at the first empty slot, and a reader that misses an entry put at the
 * same time sees the table as it was before.
 *
 * Threads: one writer; readers probe under an epoch guard. A slot is stored with release after what
 * it leads to.
 */
#ifndef INDEX_MEM_SLOTS_H
#define INDEX_MEM_SLOTS_H

#include "index/postings/pages.h"

#define INDEX_HANDLE_BITS 27
#define INDEX_HANDLE_MAX  ((1u << INDEX_HANDLE_BITS) - 1)
#define INDEX_NONE        0u

struct index_slots_table {
    uint32_t count;
    uint32_t reserved;
    _Atomic(uint32_t) slot[];
};
struct index_slots {
    struct index_owner *owner;
    _Atomic(struct index_slots_table *) table;
    uint32_t used;
    _Atomic(uint64_t) bytes; /* only the writer stores */
};
struct index_slots_cursor {
    const struct index_slots_table *table;
    uint32_t pos;
    uint32_t tag;
};

/* Makes the first small table. Returns OK or NOMEM. */
enum tsdb_status index_slots_init(struct index_slots *s, struct index_owner *owner) TSDB_WUR;
/* No reader may exist; a zeroed struct is fine. */
void index_slots_deinit(struct index_slots *s);
/* Is a larger table wanted before one more put? */
bool index_slots_full(const struct index_slots *s);
/* Growing, in three steps, because only the caller knows its entries in the order of creation,
 * which is far kinder to the caches than the order of the old table: make a table three eighths larger
 * (NULL: no memory), put every entry into it, publish it (the old one is retired). */
struct index_slots_table *index_slots_grow_begin(const struct index_slots *s) TSDB_WUR;
void index_slots_table_put(struct index_slots_table *table, uint32_t hash, uint32_t handle);
void index_slots_grow_end(struct index_slots *s, struct index_slots_table *table);
/* Add an entry that is not there; the table must not be full. */
void index_slots_put(struct index_slots *s, uint32_t hash, uint32_t handle);

static inline uint32_t index_slots_place(const struct index_slots_table *table, uint32_t hash)
{
    return (uint32_t)((uint64_t)hash * table->count >> 32);
}
static inline uint32_t index_slots_tag(uint32_t hash)
{
    return hash & ((1u << (32 - INDEX_HANDLE_BITS)) - 1);
}
static inline void index_slots_find(const struct index_slots *s, uint32_t hash,
                                    struct index_slots_cursor *out)
{
    out->table = atomic_load_explicit(&s->table, memory_order_acquire);
    out->pos = index_slots_place(out->table, hash);
    out->tag = index_slots_tag(hash);
}
/* The next handle whose key may be the one looked for; INDEX_NONE at the end. */
static inline uint32_t index_slots_next(struct index_slots_cursor *c)
{
    for (;;) {
        uint32_t v = atomic_load_explicit(&c->table->slot[c->pos], memory_order_acquire);
        if (v == 0) {
            return INDEX_NONE;
        }
        c->pos = c->pos + 1 < c->table->count ? c->pos + 1 : 0;
        if (v >> INDEX_HANDLE_BITS == c->tag) {
            return v & INDEX_HANDLE_MAX;
        }
    }
}
static inline void index_slots_prefetch(const struct index_slots *s, uint32_t hash)
{
    const struct index_slots_table *table = atomic_load_explicit(&s->table, memory_order_relaxed);
    __builtin_prefetch(&table->slot[index_slots_place(table, hash)]);
}

#endif
