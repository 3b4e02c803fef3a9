#include "index/mem/index_mem.h"

#include "base/assert.h"
#include "index/mem/index_mem_private.h"

#include <assert.h>
#include <string.h>

static_assert(TSDB_PARTITION_SHIFT < INDEX_HANDLE_BITS, "id + 1 fits a slot");

/* ---- life ---- */

static enum tsdb_status mem_init(struct index_mem *ix)
{
    uint64_t handles = (uint64_t)INDEX_HANDLE_MAX + 1;
    index_pages_init(&ix->names, &ix->owner, handles, false);
    index_pages_init(&ix->pairs, &ix->owner, handles, false);
    index_pages_init(&ix->sets, &ix->owner, 1u << INDEX_SET_HANDLE_BITS, false);
    index_pages_init(&ix->blocks, &ix->owner, UINT32_MAX, false);
    index_pages_init(&ix->rows, &ix->owner, handles, true);
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

void index_mem_destroy(struct index_mem *ix)
{
    if (!ix) {
        return;
    }
    index_slots_deinit(&ix->series_slots);
    index_slots_deinit(&ix->pair_slots);
    index_slots_deinit(&ix->name_slots);
    index_pages_deinit(&ix->rows);
    index_pages_deinit(&ix->blocks);
    index_pages_deinit(&ix->sets);
    index_pages_deinit(&ix->pairs);
    index_pages_deinit(&ix->names);
    index_symbols_deinit(&ix->symbols);
    tsdb_mem_free(TSDB_MEM_INDEX, ix->kept, ix->kept_cap * sizeof *ix->kept);
    tsdb_mem_free(TSDB_MEM_INDEX, ix, sizeof *ix);
}

/* ---- series ---- */

static bool labels_are(const struct index_mem *ix, uint32_t row, const struct tsdb_labels *labels)
{
    uint32_t pairs[TSDB_LABELS_MAX];
    if (index_set_read(ix, index_row_at(ix, row)->set, pairs, labels->count) != labels->count) {
        return false;
    }
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        const struct index_pair *p = index_pair_at(ix, pairs[i]);
        if (!index_symbols_equal(&ix->symbols, p->value, l->value, l->value_len) ||
            !index_symbols_equal(&ix->symbols, index_name_at(ix, index_pair_name(p))->symbol,
                                 l->name, l->name_len)) {
            return false;
        }
    }
    return true;
}

uint32_t index_mem_find(const struct index_mem *ix, const struct tsdb_labels *labels, uint64_t hash)
{
    struct index_slots_cursor c;
    uint32_t handle;
    index_slots_find(&ix->series_slots, (uint32_t)hash, &c);
    while ((handle = index_slots_next(&c)) != INDEX_NONE) {
        if (index_row_at(ix, handle - 1)->hash == (uint32_t)hash &&
            labels_are(ix, handle - 1, labels)) {
            return index_row_local(ix, handle - 1);
        }
    }
    return UINT32_MAX;
}

void index_mem_find_prefetch(const struct index_mem *ix, uint64_t hash)
{
    index_slots_prefetch(&ix->series_slots, (uint32_t)hash);
}

static enum tsdb_status series_grow(struct index_mem *ix)
{
    struct index_slots_table *table = index_slots_grow_begin(&ix->series_slots);
    if (!table) {
        return TSDB_NOMEM;
    }
    uint32_t count = atomic_load_explicit(&ix->series_count, memory_order_relaxed);
    for (uint32_t row = 0; row < count; row++) {
        index_slots_table_put(table, index_row_at(ix, row)->hash, row + 1);
    }
    index_slots_grow_end(&ix->series_slots, table);
    return TSDB_OK;
}

static enum tsdb_status row_reserve(struct index_mem *ix, uint32_t row)
{
    void *piece;
    uint32_t handle;
    enum tsdb_status status =
        index_pages_alloc(&ix->rows, sizeof(struct index_row), &piece, &handle);
    TSDB_ASSERT(status != TSDB_OK || handle == row);
    return status;
}

/* Everything that can fail, before anything of the series is visible. */
static enum tsdb_status series_reserve(struct index_mem *ix, uint32_t row, const uint32_t *pairs,
                                       uint32_t count, uint32_t differ, uint32_t *out_set,
                                       uint32_t *out_base)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        status = index_postings_reserve(&index_pair_at(ix, pairs[i])->postings, &ix->blocks, row);
    }
    if (status == TSDB_OK && index_slots_full(&ix->series_slots)) {
        status = series_grow(ix);
    }
    if (status == TSDB_OK) {
        status = index_set_add(ix, pairs, count, differ, out_set, out_base);
    }
    if (status == TSDB_OK) {
        status = row_reserve(ix, row);
        if (status != TSDB_OK && *out_set != INDEX_NONE) {
            index_pages_trim(&ix->sets, *out_set);
        }
    }
    return status;
}

static enum tsdb_status series_add(struct index_mem *ix, const struct tsdb_labels *labels,
                                   uint64_t hash, uint32_t row, struct tsdb_error *err)
{
    TSDB_ASSERT(labels->count <= TSDB_LABELS_MAX);
    TSDB_DASSERT(index_mem_find(ix, labels, hash) == UINT32_MAX);
    uint32_t pairs[TSDB_LABELS_MAX];
    uint32_t differ = 0;
    uint32_t set = INDEX_NONE;
    uint32_t base = INDEX_NONE;
    enum tsdb_status status = index_pairs_intern(ix, labels, pairs, &differ);
    if (status == TSDB_OK) {
        status = series_reserve(ix, row, pairs, labels->count, differ, &set, &base);
    }
    if (status == TSDB_LIMIT) {
        return tsdb_error_set(err, status,
                              "index: the label strings of a partition exceed their address space");
    }
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "index: out of memory for series %u", row);
    }
    *index_row_at(ix, row) = (struct index_row){set, (uint32_t)hash};
    ix->base = base;
    index_pairs_remember(ix, pairs, labels->count);
    for (uint32_t i = 0; i < labels->count; i++) {
        index_postings_append(&index_pair_at(ix, pairs[i])->postings, &ix->blocks, row);
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
