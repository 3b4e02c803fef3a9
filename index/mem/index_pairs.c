/* Label names and pairs of the in-memory index: found, and made as series come. A series mostly has the
 * labels of the one before but for one or two, so it is compared with that one first. */
#include "base/assert.h"
#include "base/bytes.h"
#include "index/mem/index_mem_private.h"

#include <string.h>

static_assert(sizeof(struct index_pair) == 32,
              "most pairs belong to one target: their size is the index's size");

/* ---- names ---- */

static uint32_t name_find_hashed(const struct index_mem *ix, const char *name, uint32_t len,
                                 uint32_t hash)
{
    struct index_slots_cursor c;
    uint32_t handle;
    index_slots_find(&ix->name_slots, hash, &c);
    while ((handle = index_slots_next(&c)) != INDEX_NONE) {
        if (index_symbols_equal(&ix->symbols, index_name_at(ix, handle)->symbol, name, len)) {
            return handle;
        }
    }
    return INDEX_NONE;
}

uint32_t index_name_find(const struct index_mem *ix, const char *name, uint32_t len)
{
    return name_find_hashed(ix, name, len, index_symbols_hash(&ix->symbols, name, len));
}

static enum tsdb_status names_grow(struct index_mem *ix)
{
    struct index_slots_table *table = index_slots_grow_begin(&ix->name_slots);
    if (!table) {
        return TSDB_NOMEM;
    }
    uint32_t name = atomic_load_explicit(&ix->names_newest, memory_order_relaxed);
    while (name != INDEX_NONE) {
        const struct index_name *n = index_name_at(ix, name);
        index_slots_table_put(table, index_symbols_at(&ix->symbols, n->symbol)->hash, name);
        name = n->next;
    }
    index_slots_grow_end(&ix->name_slots, table);
    return TSDB_OK;
}

static TSDB_NOINLINE enum tsdb_status name_add(struct index_mem *ix, const char *name, uint32_t len,
                                               uint32_t hash, uint32_t *out_name)
{
    uint32_t symbol;
    uint32_t handle;
    void *piece;
    enum tsdb_status status = index_symbols_intern(&ix->symbols, name, len, hash, &symbol);
    if (status == TSDB_OK && index_slots_full(&ix->name_slots)) {
        status = names_grow(ix);
    }
    if (status == TSDB_OK) {
        status = index_pages_alloc(&ix->names, sizeof(struct index_name), &piece, &handle);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct index_name *n = piece;
    n->symbol = symbol;
    n->next = atomic_load_explicit(&ix->names_newest, memory_order_relaxed);
    atomic_store_explicit(&n->newest, INDEX_NONE, memory_order_relaxed);
    atomic_store_explicit(&n->value_count, 0, memory_order_relaxed);
    index_slots_put(&ix->name_slots, hash, handle);
    atomic_store_explicit(&ix->names_newest, handle, memory_order_release);
    *out_name = handle;
    return TSDB_OK;
}

/* Find or add a name. */
static enum tsdb_status name_intern(struct index_mem *ix, const char *name, uint32_t len,
                                    uint32_t *out_name)
{
    uint32_t hash = index_symbols_hash(&ix->symbols, name, len);
    *out_name = name_find_hashed(ix, name, len, hash);
    return *out_name != INDEX_NONE ? TSDB_OK : name_add(ix, name, len, hash, out_name);
}

/* ---- pairs ---- */

/* The value's hash is keyed and well mixed; the name only has to move it elsewhere. */
static uint32_t pair_hash(uint32_t name, uint32_t value_hash)
{
    uint32_t h = (value_hash ^ (name * 0x9e3779b1u)) * 0x85ebca6bu;
    return h ^ h >> 15;
}

static uint32_t pair_find_hashed(const struct index_mem *ix, uint32_t name, const char *value,
                                 size_t len, uint32_t hash)
{
    struct index_slots_cursor c;
    uint32_t handle;
    index_slots_find(&ix->pair_slots, hash, &c);
    while ((handle = index_slots_next(&c)) != INDEX_NONE) {
        const struct index_pair *p = index_pair_at(ix, handle);
        if (index_pair_name(p) == name && index_symbols_equal(&ix->symbols, p->value, value, len)) {
            return handle;
        }
    }
    return INDEX_NONE;
}

uint32_t index_pair_find(const struct index_mem *ix, uint32_t name, const char *value, size_t len)
{
    uint32_t hash = pair_hash(name, index_symbols_hash(&ix->symbols, value, len));
    return pair_find_hashed(ix, name, value, len, hash);
}

static enum tsdb_status pairs_grow(struct index_mem *ix)
{
    struct index_slots_table *table = index_slots_grow_begin(&ix->pair_slots);
    if (!table) {
        return TSDB_NOMEM;
    }
    uint32_t units = sizeof(struct index_pair) >> INDEX_UNIT_SHIFT;
    index_pages_walk_begin(&ix->pairs);
    for (uint32_t r = 0; r < ix->pairs.region_count; r++) {
        const struct index_region *region = &ix->pairs.regions[r];
        /* The very first unit is never given out. */
        for (uint32_t unit = r == 0 ? 1 : 0; unit < region->used; unit += units) {
            uint32_t handle = region->first + unit;
            const struct index_pair *p = index_pair_at(ix, handle);
            const struct index_symbol *value = index_symbols_at(&ix->symbols, p->value);
            index_slots_table_put(table, pair_hash(index_pair_name(p), value->hash), handle);
        }
    }
    index_slots_grow_end(&ix->pair_slots, table);
    return TSDB_OK;
}

/* A pair without series: readers do not show it. If the add that wanted it fails, it stays for the
 * next one. */
static TSDB_NOINLINE enum tsdb_status pair_add(struct index_mem *ix, uint32_t name,
                                               const char *value, size_t len, uint32_t value_hash,
                                               uint32_t *out_pair)
{
    uint32_t symbol;
    uint32_t handle;
    void *piece;
    enum tsdb_status status = index_symbols_intern(&ix->symbols, value, len, value_hash, &symbol);
    if (status == TSDB_OK && index_slots_full(&ix->pair_slots)) {
        status = pairs_grow(ix);
    }
    if (status == TSDB_OK) {
        status = index_pages_alloc(&ix->pairs, sizeof(struct index_pair), &piece, &handle);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct index_name *n = index_name_at(ix, name);
    struct index_pair *p = piece;
    memset(&p->postings, 0, sizeof p->postings);
    p->postings.of = name;
    p->value = symbol;
    p->next = atomic_load_explicit(&n->newest, memory_order_relaxed);
    index_slots_put(&ix->pair_slots, pair_hash(name, value_hash), handle);
    uint32_t value_count = atomic_load_explicit(&n->value_count, memory_order_relaxed);
    atomic_store_explicit(&n->value_count, value_count + 1, memory_order_relaxed);
    atomic_store_explicit(&n->newest, handle, memory_order_release);
    index_counter_add(&ix->pair_count, 1);
    *out_pair = handle;
    return TSDB_OK;
}

/* A label of the series to add that the last series does not have. */
struct label_work {
    uint32_t place;
    uint32_t name;
    uint32_t value_hash;
    uint32_t hash; /* of the pair */
    uint32_t pair; /* a guess by the tag, then the pair */
};

static bool pair_is(const struct index_mem *ix, const struct label_work *w,
                    const struct tsdb_label *l)
{
    const struct index_pair *p = index_pair_at(ix, w->pair);
    return index_pair_name(p) == w->name &&
           index_symbols_equal(&ix->symbols, p->value, l->value, l->value_len);
}

/* Such a label costs mostly cache misses: slot, pair, string. Each is asked for in a pass of its own
 * over all labels before anything waits for it. */
static void work_prefetch(const struct index_mem *ix, struct label_work *work, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct index_slots_cursor c;
        index_slots_find(&ix->pair_slots, work[i].hash, &c);
        work[i].pair = index_slots_next(&c);
        if (work[i].pair != INDEX_NONE) {
            __builtin_prefetch(index_pair_at(ix, work[i].pair), 1);
        } else {
            index_slots_prefetch(&ix->symbols.slots, work[i].value_hash);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (work[i].pair != INDEX_NONE) {
            const struct index_pair *p = index_pair_at(ix, work[i].pair);
            __builtin_prefetch(index_symbols_at(&ix->symbols, p->value));
            index_postings_prefetch(&p->postings, &ix->blocks);
        }
    }
}

/* As memcmp, without a call: twenty short strings are compared for each new series. */
static inline bool bytes_same(const char *a, const char *b, size_t len)
{
    size_t i = 0;
    for (; i + sizeof(uint64_t) <= len; i += sizeof(uint64_t)) {
        if (tsdb_load_le64(a + i) != tsdb_load_le64(b + i)) {
            return false;
        }
    }
    if (len >= sizeof(uint64_t)) {
        i = len - sizeof(uint64_t); /* the last ones, some of them again */
        return tsdb_load_le64(a + i) == tsdb_load_le64(b + i);
    }
    while (i < len && a[i] == b[i]) {
        i++;
    }
    return i == len;
}

static inline bool symbol_is(const struct index_symbol *sym, const char *s, uint32_t len)
{
    return sym->len == len && bytes_same(sym->bytes, s, len);
}

/* The place from which on the last series' names are `l`'s or sort behind it; *out_same: which of the
 * two. */
static uint32_t last_seek(const struct index_mem *ix, uint32_t from, const struct tsdb_label *l,
                          bool *out_same)
{
    for (; from < ix->last_count; from++) {
        const struct index_symbol *name = ix->last[from].name_symbol;
        if (symbol_is(name, l->name, l->name_len)) {
            *out_same = true;
            return from;
        }
        if (tsdb_str_compare(name->bytes, name->len, l->name, l->name_len) > 0) {
            break;
        }
    }
    *out_same = false;
    return from;
}

/* The pairs that the last series has too; what is to be looked up of the others. */
static enum tsdb_status last_compare(struct index_mem *ix, const struct tsdb_labels *labels,
                                     uint32_t *pairs, struct label_work *work, uint32_t *out_count)
{
    uint32_t at = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        struct label_work *w = &work[n];
        bool same = false;
        at = last_seek(ix, at, l, &same);
        if (same && symbol_is(ix->last[at].value_symbol, l->value, l->value_len)) {
            pairs[i] = ix->last[at++].pair;
            continue;
        }
        if (same) {
            w->name = ix->last[at++].name;
        } else {
            enum tsdb_status status = name_intern(ix, l->name, l->name_len, &w->name);
            if (status != TSDB_OK) {
                return status;
            }
        }
        w->place = i;
        w->value_hash = index_symbols_hash(&ix->symbols, l->value, l->value_len);
        w->hash = pair_hash(w->name, w->value_hash);
        index_slots_prefetch(&ix->pair_slots, w->hash);
        n++;
    }
    *out_count = n;
    return TSDB_OK;
}

enum tsdb_status index_pairs_intern(struct index_mem *ix, const struct tsdb_labels *labels,
                                    uint32_t *pairs, uint32_t *out_differ)
{
    struct label_work work[TSDB_LABELS_MAX];
    uint32_t count = 0;
    enum tsdb_status status = last_compare(ix, labels, pairs, work, &count);
    if (status != TSDB_OK) {
        return status;
    }
    work_prefetch(ix, work, count);
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct label_work *w = &work[i];
        const struct tsdb_label *l = &labels->items[w->place];
        if (w->pair != INDEX_NONE && !pair_is(ix, w, l)) {
            w->pair = pair_find_hashed(ix, w->name, l->value, l->value_len, w->hash);
        }
        if (w->pair == INDEX_NONE) {
            status = pair_add(ix, w->name, l->value, l->value_len, w->value_hash, &w->pair);
        }
        pairs[w->place] = w->pair;
    }
    *out_differ = count;
    return status;
}

void index_pairs_remember(struct index_mem *ix, const uint32_t *pairs, uint32_t count)
{
    uint32_t n = TSDB_MIN(count, (uint32_t)INDEX_LAST_LABELS);
    for (uint32_t i = 0; i < n; i++) {
        struct index_last *last = &ix->last[i];
        if (i >= ix->last_count || last->pair != pairs[i]) {
            const struct index_pair *p = index_pair_at(ix, pairs[i]);
            *last = (struct index_last){
                .pair = pairs[i],
                .name = index_pair_name(p),
                .name_symbol =
                    index_symbols_at(&ix->symbols, index_name_at(ix, index_pair_name(p))->symbol),
                .value_symbol = index_symbols_at(&ix->symbols, p->value),
            };
        }
    }
    ix->last_count = n;
}
