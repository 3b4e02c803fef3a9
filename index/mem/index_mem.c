#include "index/mem/index_mem.h"

#include "base/assert.h"
#include "index/mem/index_mem_private.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(struct index_pair) == 24,
              "most pairs belong to one target: their size is the index's size");
static_assert(sizeof(struct index_series) == 16, "dense pages want a power of two");
static_assert(TSDB_PARTITION_SHIFT < INDEX_HANDLE_BITS, "id + 1 fits a slot");

/* ---- life ---- */

static enum tsdb_status mem_init(struct index_mem *ix)
{
    uint64_t handles = (uint64_t)INDEX_HANDLE_MAX + 1;
    index_pages_init(&ix->names, &ix->owner, handles, false);
    index_pages_init(&ix->pairs, &ix->owner, handles, false);
    index_pages_init(&ix->labels, &ix->owner, UINT32_MAX, false);
    index_pages_init(&ix->series, &ix->owner, handles, true);
    if (index_symbols_init(&ix->symbols, &ix->owner) != TSDB_OK ||
        index_slots_init(&ix->name_slots, &ix->owner) != TSDB_OK ||
        index_slots_init(&ix->pair_slots, &ix->owner) != TSDB_OK ||
        index_slots_init(&ix->series_slots, &ix->owner) != TSDB_OK) {
        return TSDB_NOMEM;
    }
    return TSDB_OK;
}

enum tsdb_status index_mem_create(struct tsdb_epoch *epoch, struct tsdb_epoch_limbo *limbo,
                                  struct index_mem **out)
{
    struct index_mem *ix = tsdb_mem_alloc_zero(TSDB_MEM_INDEX, sizeof *ix);
    if (!ix) {
        return TSDB_NOMEM;
    }
    ix->owner.epoch = epoch;
    ix->owner.limbo = limbo;
    enum tsdb_status status = mem_init(ix);
    if (status != TSDB_OK) {
        index_mem_destroy(ix);
        return status;
    }
    *out = ix;
    return TSDB_OK;
}

static void postings_deinit_all(struct index_mem *ix)
{
    uint32_t name = atomic_load_explicit(&ix->names_newest, memory_order_relaxed);
    while (name != INDEX_NONE) {
        struct index_name *n = index_name_at(ix, name);
        uint32_t pair = atomic_load_explicit(&n->newest, memory_order_relaxed);
        while (pair != INDEX_NONE) {
            struct index_pair *p = index_pair_at(ix, pair);
            index_postings_deinit(&p->postings, &ix->owner);
            pair = p->next;
        }
        name = n->next;
    }
}

void index_mem_destroy(struct index_mem *ix)
{
    if (!ix) {
        return;
    }
    postings_deinit_all(ix);
    index_slots_deinit(&ix->series_slots);
    index_slots_deinit(&ix->pair_slots);
    index_slots_deinit(&ix->name_slots);
    index_pages_deinit(&ix->series);
    index_pages_deinit(&ix->labels);
    index_pages_deinit(&ix->pairs);
    index_pages_deinit(&ix->names);
    index_symbols_deinit(&ix->symbols);
    tsdb_mem_free(TSDB_MEM_INDEX, ix->kept, ix->kept_cap * sizeof *ix->kept);
    tsdb_mem_free(TSDB_MEM_INDEX, ix, sizeof *ix);
}

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

/* Find or add the name of the label at `position`. */
static enum tsdb_status name_intern(struct index_mem *ix, uint32_t position, const char *name,
                                    uint32_t len, uint32_t *out_name)
{
    uint32_t *hint = position < INDEX_NAME_HINTS ? &ix->name_hints[position] : NULL;
    if (hint && *hint != INDEX_NONE &&
        index_symbols_equal(&ix->symbols, index_name_at(ix, *hint)->symbol, name, len)) {
        *out_name = *hint;
        return TSDB_OK;
    }
    uint32_t hash = index_symbols_hash(&ix->symbols, name, len);
    uint32_t handle = name_find_hashed(ix, name, len, hash);
    if (handle == INDEX_NONE) {
        enum tsdb_status status = name_add(ix, name, len, hash, &handle);
        if (status != TSDB_OK) {
            return status;
        }
    }
    if (hint) {
        *hint = handle;
    }
    *out_name = handle;
    return TSDB_OK;
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
        if (p->hash == hash && p->name == name &&
            index_symbols_equal(&ix->symbols, p->value, value, len)) {
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
            index_slots_table_put(table, index_pair_at(ix, handle)->hash, handle);
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
    atomic_store_explicit(&p->postings.word, 0, memory_order_relaxed);
    p->name = name;
    p->value = symbol;
    p->next = atomic_load_explicit(&n->newest, memory_order_relaxed);
    p->hash = pair_hash(name, value_hash);
    index_slots_put(&ix->pair_slots, p->hash, handle);
    uint32_t value_count = atomic_load_explicit(&n->value_count, memory_order_relaxed);
    atomic_store_explicit(&n->value_count, value_count + 1, memory_order_relaxed);
    atomic_store_explicit(&n->newest, handle, memory_order_release);
    index_counter_add(&ix->pair_count, 1);
    *out_pair = handle;
    return TSDB_OK;
}

/* What is known so far of one label of the series to add. */
struct label_work {
    uint32_t name;
    uint32_t value_hash;
    uint32_t hash; /* of the pair */
    uint32_t pair; /* a guess by the tag, then the pair */
};

static bool pair_is(const struct index_mem *ix, uint32_t pair, const struct label_work *w,
                    const struct tsdb_label *l)
{
    const struct index_pair *p = index_pair_at(ix, pair);
    return p->hash == w->hash && p->name == w->name &&
           index_symbols_equal(&ix->symbols, p->value, l->value, l->value_len);
}

/* A new series costs mostly cache misses: slot, pair, string, postings, for every label. Each is
 * asked for in a pass of its own over all labels before anything waits for it. Measured with 1M
 * series in 64 partitions: see README.md. */
static void labels_prefetch(const struct index_mem *ix, struct label_work *work, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct index_slots_cursor c;
        index_slots_find(&ix->pair_slots, work[i].hash, &c);
        work[i].pair = index_slots_next(&c);
        if (work[i].pair != INDEX_NONE) {
            __builtin_prefetch(index_pair_at(ix, work[i].pair));
        } else {
            index_slots_prefetch(&ix->symbols.slots, work[i].value_hash);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct index_pair *p =
            work[i].pair != INDEX_NONE ? index_pair_at(ix, work[i].pair) : NULL;
        if (p && p->hash == work[i].hash) {
            __builtin_prefetch(index_symbols_at(&ix->symbols, p->value));
            index_postings_prefetch(&p->postings);
        }
    }
}

/* The pairs of all labels, found or made. */
static enum tsdb_status pairs_intern(struct index_mem *ix, const struct tsdb_labels *labels,
                                     uint32_t *pairs)
{
    struct label_work work[TSDB_LABELS_MAX];
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        status = name_intern(ix, i, l->name, l->name_len, &work[i].name);
        if (status != TSDB_OK) {
            return status;
        }
        work[i].value_hash = index_symbols_hash(&ix->symbols, l->value, l->value_len);
        work[i].hash = pair_hash(work[i].name, work[i].value_hash);
        index_slots_prefetch(&ix->pair_slots, work[i].hash);
    }
    labels_prefetch(ix, work, labels->count);
    for (uint32_t i = 0; i < labels->count && status == TSDB_OK; i++) {
        const struct tsdb_label *l = &labels->items[i];
        if (work[i].pair != INDEX_NONE && !pair_is(ix, work[i].pair, &work[i], l)) {
            work[i].pair = pair_find_hashed(ix, work[i].name, l->value, l->value_len, work[i].hash);
        }
        if (work[i].pair == INDEX_NONE) {
            status = pair_add(ix, work[i].name, l->value, l->value_len, work[i].value_hash,
                              &work[i].pair);
        }
        pairs[i] = work[i].pair;
    }
    return status;
}

/* ---- series ---- */

static bool labels_are(const struct index_mem *ix, const struct index_series *s,
                       const struct tsdb_labels *labels)
{
    if (s->label_count != labels->count) {
        return false;
    }
    const uint32_t *pairs = labels->count > 0 ? index_series_pairs(ix, s) : NULL;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        const struct index_pair *p = index_pair_at(ix, pairs[i]);
        if (!index_symbols_equal(&ix->symbols, p->value, l->value, l->value_len) ||
            !index_symbols_equal(&ix->symbols, index_name_at(ix, p->name)->symbol, l->name,
                                 l->name_len)) {
            return false;
        }
    }
    return true;
}

uint32_t index_mem_find(const struct index_mem *ix, const struct tsdb_labels *labels, uint64_t hash)
{
    struct index_slots_cursor c;
    uint32_t handle;
    /* The low half: the top bits chose the partition, so that they are the same for all series
     * here. */
    index_slots_find(&ix->series_slots, (uint32_t)hash, &c);
    while ((handle = index_slots_next(&c)) != INDEX_NONE) {
        const struct index_series *s = index_series_at(ix, handle - 1);
        if (s->hash == hash && labels_are(ix, s, labels)) {
            return index_row_local(ix, handle - 1);
        }
    }
    return UINT32_MAX;
}

static enum tsdb_status series_grow(struct index_mem *ix)
{
    struct index_slots_table *table = index_slots_grow_begin(&ix->series_slots);
    if (!table) {
        return TSDB_NOMEM;
    }
    uint32_t count = atomic_load_explicit(&ix->series_count, memory_order_relaxed);
    for (uint32_t row = 0; row < count; row++) {
        index_slots_table_put(table, (uint32_t)index_series_at(ix, row)->hash, row + 1);
    }
    index_slots_grow_end(&ix->series_slots, table);
    return TSDB_OK;
}

/* Everything that can fail, before anything of the series is visible. */
static enum tsdb_status series_reserve(struct index_mem *ix, uint32_t row, const uint32_t *pairs,
                                       uint32_t count, struct index_series **out_series)
{
    for (uint32_t i = 0; i < count; i++) {
        if (index_postings_reserve(&index_pair_at(ix, pairs[i])->postings, &ix->owner, row) !=
            TSDB_OK) {
            return TSDB_NOMEM;
        }
    }
    if (index_slots_full(&ix->series_slots) && series_grow(ix) != TSDB_OK) {
        return TSDB_NOMEM;
    }
    void *list = NULL;
    uint32_t list_handle = INDEX_NONE;
    if (count > 0) {
        enum tsdb_status status =
            index_pages_alloc(&ix->labels, count * sizeof *pairs, &list, &list_handle);
        if (status != TSDB_OK) {
            return status;
        }
        memcpy(list, pairs, count * sizeof *pairs);
    }
    void *piece;
    uint32_t handle;
    enum tsdb_status status =
        index_pages_alloc(&ix->series, sizeof(struct index_series), &piece, &handle);
    if (status != TSDB_OK) {
        if (count > 0) {
            index_pages_trim(&ix->labels, list_handle);
        }
        return status;
    }
    *out_series = piece;
    TSDB_ASSERT(*out_series == index_series_at(ix, row));
    (*out_series)->labels = list_handle;
    (*out_series)->label_count = count;
    return TSDB_OK;
}

static enum tsdb_status series_add(struct index_mem *ix, const struct tsdb_labels *labels,
                                   uint64_t hash, uint32_t row, struct tsdb_error *err)
{
    TSDB_ASSERT(labels->count <= TSDB_LABELS_MAX);
    TSDB_DASSERT(index_mem_find(ix, labels, hash) == UINT32_MAX);
    uint32_t pairs[TSDB_LABELS_MAX];
    struct index_series *series = NULL;
    enum tsdb_status status = pairs_intern(ix, labels, pairs);
    if (status == TSDB_OK) {
        status = series_reserve(ix, row, pairs, labels->count, &series);
    }
    if (status == TSDB_LIMIT) {
        return tsdb_error_set(err, status,
                              "index: the label strings of a partition exceed their address space");
    }
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "index: out of memory for series %u", row);
    }
    series->hash = hash;
    for (uint32_t i = 0; i < labels->count; i++) {
        index_postings_append(&index_pair_at(ix, pairs[i])->postings, row);
    }
    index_slots_put(&ix->series_slots, (uint32_t)hash, row + 1);
    /* Release: whoever sees the count sees all of the above. */
    atomic_store_explicit(&ix->series_count, row + 1, memory_order_release);
    return TSDB_OK;
}

static enum tsdb_status ids_used_up(struct tsdb_error *err)
{
    return tsdb_error_set(err, TSDB_LIMIT, "index: a partition has at most %u ids for series",
                          TSDB_SERIES_IDS_MAX - 1);
}

enum tsdb_status index_mem_add(struct index_mem *ix, const struct tsdb_labels *labels,
                               uint64_t hash, uint32_t *out_local, struct tsdb_error *err)
{
    uint32_t row = atomic_load_explicit(&ix->series_count, memory_order_relaxed);
    uint32_t local = row + ix->shift;
    TSDB_ASSERT(row >= ix->kept_count);
    if (local >= TSDB_SERIES_IDS_MAX - 1) {
        return ids_used_up(err);
    }
    enum tsdb_status status = series_add(ix, labels, hash, row, err);
    if (status == TSDB_OK) {
        *out_local = local;
    }
    return status;
}

/* ---- ids that are not rows ---- */

enum tsdb_status index_mem_ids_skip(struct index_mem *ix, uint32_t end)
{
    uint32_t rows = atomic_load_explicit(&ix->series_count, memory_order_relaxed);
    TSDB_ASSERT(end >= rows + ix->shift);
    if (end == rows + ix->shift) {
        return TSDB_OK;
    }
    if (rows > ix->kept_cap) {
        uint32_t cap = TSDB_MAX(rows, TSDB_MAX(ix->kept_cap * 2, 16u));
        uint32_t *kept = tsdb_mem_realloc(TSDB_MEM_INDEX, ix->kept, ix->kept_cap * sizeof *kept,
                                          cap * sizeof *kept);
        if (!kept) {
            return TSDB_NOMEM;
        }
        ix->kept = kept;
        ix->kept_cap = cap;
    }
    for (; ix->kept_count < rows; ix->kept_count++) {
        ix->kept[ix->kept_count] = ix->kept_count + ix->shift;
    }
    ix->shift = end - rows;
    return TSDB_OK;
}

enum tsdb_status index_mem_add_at(struct index_mem *ix, const struct tsdb_labels *labels,
                                  uint64_t hash, uint32_t local, struct tsdb_error *err)
{
    if (local >= TSDB_SERIES_IDS_MAX - 1) {
        return ids_used_up(err);
    }
    if (index_mem_ids_skip(ix, local) != TSDB_OK) {
        return tsdb_error_nomem(err, "ids of series");
    }
    uint32_t got = 0;
    return index_mem_add(ix, labels, hash, &got, err);
}

/* ---- pins ---- */

void index_mem_pin(struct index_mem *ix)
{
    /* Relaxed: the guard keeps the index until then; reap looks after the guard. */
    atomic_fetch_add_explicit(&ix->pins, 1, memory_order_relaxed);
}

void index_mem_unpin(struct index_mem *ix)
{
    if (ix) {
        /* Release: partner is index_mem_reap. */
        uint32_t before = atomic_fetch_sub_explicit(&ix->pins, 1, memory_order_release);
        TSDB_ASSERT(before > 0);
    }
}

void index_mem_retire(struct index_mem *ix, struct index_mem **list)
{
    ix->retired_at = tsdb_epoch_stamp(ix->owner.epoch);
    ix->next_retired = *list;
    *list = ix;
}

void index_mem_reap(struct index_mem **list)
{
    while (*list) {
        struct index_mem *ix = *list;
        ix->unseen = ix->unseen || tsdb_epoch_passed(ix->owner.epoch, ix->retired_at);
        if (ix->unseen && atomic_load_explicit(&ix->pins, memory_order_acquire) == 0) {
            *list = ix->next_retired;
            index_mem_destroy(ix);
        } else {
            list = &ix->next_retired;
        }
    }
}

void index_mem_retired_destroy(struct index_mem **list)
{
    while (*list) {
        struct index_mem *ix = *list;
        *list = ix->next_retired;
        index_mem_destroy(ix);
    }
}
