/* Matchers to series in memory: what index/postings/select.h asks of this index. */
#include "base/assert.h"
#include "index/mem/index_mem_private.h"
#include "index/postings/select.h"

#include <string.h>

#define CANDIDATE_BATCH 16u

struct source {
    const struct index_mem *ix;
    uint32_t bound; /* series with ids below: the prefix that this selection sees */
    uint32_t place; /* where the last candidate had the label */
};

static struct index_postings_view
postings(const struct source *src, const struct index_select_value *value, uint32_t *scratch)
{
    return index_postings_get(&index_pair_at(src->ix, value->id)->postings, src->bound, scratch);
}

static enum tsdb_status name_find(void *ctx, const char *name, size_t len,
                                  struct index_select_name *out, struct tsdb_error *err)
{
    const struct source *src = ctx;
    (void)err;
    uint32_t handle = index_name_find(src->ix, name, (uint32_t)len);
    if (handle == INDEX_NONE) {
        return TSDB_NOT_FOUND;
    }
    const struct index_name *n = index_name_at(src->ix, handle);
    *out = (struct index_select_name){
        .id = handle,
        .value_count = atomic_load_explicit(&n->value_count, memory_order_relaxed),
    };
    return TSDB_OK;
}

static enum tsdb_status value_find(void *ctx, const struct index_select_name *name,
                                   struct tsdb_slice value, struct index_select_value *out,
                                   struct tsdb_error *err)
{
    const struct source *src = ctx;
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    (void)err;
    *out = (struct index_select_value){
        .id = index_pair_find(src->ix, name->id, (const char *)value.data, value.len)};
    if (out->id == INDEX_NONE) {
        return TSDB_NOT_FOUND;
    }
    out->series = postings(src, out, scratch).count;
    return TSDB_OK;
}

/* The string of a pair's value. */
static struct tsdb_slice pair_string(const struct index_mem *ix, const struct index_pair *p)
{
    const struct index_symbol *value = index_symbols_at(&ix->symbols, p->value);
    return (struct tsdb_slice){(const uint8_t *)value->bytes, value->len};
}

/* The cursor is the pair to be given next, and one bit above all handles once there was a first. */
static enum tsdb_status value_next(void *ctx, const struct index_select_name *name,
                                   uint64_t *cursor, struct index_select_value *out,
                                   struct tsdb_slice *out_string, struct tsdb_error *err)
{
    static const uint64_t begun = UINT64_C(1) << 32;
    const struct source *src = ctx;
    uint32_t pair =
        *cursor & begun
            ? (uint32_t)*cursor
            : atomic_load_explicit(&index_name_at(src->ix, name->id)->newest, memory_order_acquire);
    (void)err;
    if (pair == INDEX_NONE) {
        return TSDB_NOT_FOUND;
    }
    const struct index_pair *p = index_pair_at(src->ix, pair);
    *out = (struct index_select_value){.id = pair};
    *out_string = pair_string(src->ix, p);
    *cursor = begun | p->next;
    return TSDB_OK;
}

static enum tsdb_status postings_all(void *ctx, const struct index_select_value *value,
                                     uint32_t *ids, struct tsdb_error *err)
{
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    struct index_postings_view v = postings(ctx, value, scratch);
    (void)err;
    TSDB_ASSERT(v.count == value->series); /* the bound is the same: invariant 2 of index_mem.h */
    if (v.count > 0) {
        memcpy(ids, v.ids, v.count * sizeof *v.ids);
    }
    return TSDB_OK;
}

static enum tsdb_status postings_filter(void *ctx, const struct index_select_value *value,
                                        bool keep, uint32_t *ids, uint32_t *count,
                                        struct tsdb_error *err)
{
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    struct index_postings_view v = postings(ctx, value, scratch);
    struct index_postings_view own = {ids, *count};
    (void)err;
    *count = keep ? index_ids_intersect(own, v, ids) : index_ids_subtract(own, v, ids);
    return TSDB_OK;
}

static enum tsdb_status postings_mark(void *ctx, const struct index_select_value *value,
                                      uint64_t *bits, struct tsdb_error *err)
{
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    (void)err;
    index_bits_add(bits, postings(ctx, value, scratch));
    return TSDB_OK;
}

/* A candidate's value is four cache misses away, one behind the other. Fetch those of a batch side
 * by side. */
static void candidates_prefetch(const struct source *src, const uint32_t *ids, uint32_t n)
{
    const struct index_mem *ix = src->ix;
    uint32_t place = src->place;
    for (uint32_t i = 0; i < n; i++) {
        __builtin_prefetch(index_series_at(ix, ids[i]));
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct index_series *s = index_series_at(ix, ids[i]);
        if (place < s->label_count) {
            __builtin_prefetch(index_series_pairs(ix, s) + place);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct index_series *s = index_series_at(ix, ids[i]);
        if (place < s->label_count) {
            __builtin_prefetch(index_pair_at(ix, index_series_pairs(ix, s)[place]));
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct index_series *s = index_series_at(ix, ids[i]);
        if (place < s->label_count) {
            const struct index_pair *p = index_pair_at(ix, index_series_pairs(ix, s)[place]);
            __builtin_prefetch(index_symbols_at(&ix->symbols, p->value));
        }
    }
}

/* The number of a value is its pair. Mostly the next series has the name in the same place as the
 * last one, and then one pair is read instead of all up to it. */
static enum tsdb_status series_value(void *ctx, const struct index_select_name *name,
                                     const uint32_t *ids, uint32_t count, uint32_t i,
                                     uint32_t *out_value, struct tsdb_error *err)
{
    struct source *src = ctx;
    (void)err;
    if (i % CANDIDATE_BATCH == 0) {
        src->place = i == 0 ? 0 : src->place;
        candidates_prefetch(src, ids + i, TSDB_MIN(count - i, CANDIDATE_BATCH));
    }
    const struct index_series *s = index_series_at(src->ix, ids[i]);
    const uint32_t *pairs = s->label_count > 0 ? index_series_pairs(src->ix, s) : NULL;
    *out_value = INDEX_SELECT_NO_VALUE;
    if (src->place < s->label_count &&
        index_pair_at(src->ix, pairs[src->place])->name == name->id) {
        *out_value = pairs[src->place];
        return TSDB_OK;
    }
    for (uint32_t k = 0; k < s->label_count; k++) {
        if (index_pair_at(src->ix, pairs[k])->name == name->id) {
            src->place = k;
            *out_value = pairs[k];
            return TSDB_OK;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status value_string(void *ctx, uint32_t value, struct tsdb_slice *out,
                                     struct tsdb_error *err)
{
    const struct source *src = ctx;
    (void)err;
    *out = pair_string(src->ix, index_pair_at(src->ix, value));
    return TSDB_OK;
}

enum tsdb_status index_mem_select(const struct index_mem *ix,
                                  const struct index_matcher *const *matchers,
                                  uint32_t matcher_count, const struct tsdb_request *request,
                                  struct tsdb_arena *arena, uint32_t **out_locals,
                                  uint32_t *out_count, struct tsdb_error *err)
{
    static const struct index_select_ops ops = {
        .name_find = name_find,
        .value_find = value_find,
        .value_next = value_next,
        .postings_all = postings_all,
        .postings_filter = postings_filter,
        .postings_mark = postings_mark,
        .series_value = series_value,
        .value_string = value_string,
    };
    /* The count before all else: see invariant 2 in index_mem.h. */
    struct source src = {.ix = ix, .bound = index_mem_series_count(ix)};
    struct index_select_source source = {&ops, &src, src.bound};
    enum tsdb_status status =
        index_select(&source, matchers, matcher_count, request, arena, out_locals, out_count, err);
    for (uint32_t i = 0; status == TSDB_OK && ix->shift > 0 && i < *out_count; i++) {
        (*out_locals)[i] = index_row_local(ix, (*out_locals)[i]);
    }
    return status;
}
