/* Matchers to series in memory: what index/postings/select.h asks of this index. */
#include "base/assert.h"
#include "index/mem/index_mem_private.h"
#include "index/postings/select.h"

#define CANDIDATE_BATCH 16u

struct source {
    const struct index_mem *ix;
    uint32_t bound; /* series with ids below: the prefix that this selection sees */
    uint32_t place; /* where the last candidate had the label, and what it was */
    uint32_t value;
};

static const struct index_postings *postings(const struct source *src,
                                             const struct index_select_value *value)
{
    return &index_pair_at(src->ix, value->id)->postings;
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
    (void)err;
    *out = (struct index_select_value){
        .id = index_pair_find(src->ix, name->id, (const char *)value.data, value.len)};
    if (out->id == INDEX_NONE) {
        return TSDB_NOT_FOUND;
    }
    out->series = index_postings_count(postings(src, out), &src->ix->blocks, src->bound);
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
    const struct source *src = ctx;
    (void)err;
    uint32_t n = index_postings_copy(postings(src, value), &src->ix->blocks, src->bound, ids);
    TSDB_ASSERT(n == value->series); /* the bound is the same: invariant 2 of index_mem.h */
    return TSDB_OK;
}

static enum tsdb_status postings_filter(void *ctx, const struct index_select_value *value,
                                        bool keep, uint32_t *ids, uint32_t *count,
                                        struct tsdb_error *err)
{
    const struct source *src = ctx;
    (void)err;
    *count = index_postings_filter(postings(src, value), &src->ix->blocks, src->bound, keep, ids,
                                   *count);
    return TSDB_OK;
}

static enum tsdb_status postings_mark(void *ctx, const struct index_select_value *value,
                                      uint64_t *bits, struct tsdb_error *err)
{
    const struct source *src = ctx;
    (void)err;
    index_postings_mark(postings(src, value), &src->ix->blocks, src->bound, bits);
    return TSDB_OK;
}

/* A candidate's value is some cache misses away, one behind the other. Fetch those of a batch side by
 * side. */
static void candidates_prefetch(const struct source *src, const uint32_t *ids, uint32_t n)
{
    const struct index_mem *ix = src->ix;
    for (uint32_t i = 0; i < n; i++) {
        __builtin_prefetch(index_row_at(ix, ids[i]));
    }
    for (uint32_t i = 0; i < n; i++) {
        index_set_prefetch(ix, index_row_at(ix, ids[i])->set);
    }
    for (uint32_t i = 0; i < n; i++) {
        index_set_prefetch_base(ix, index_row_at(ix, ids[i])->set);
    }
}

/* The number of a value is its pair. Mostly the next series has the name in the same place as the
 * last one, or even the same pair. */
static enum tsdb_status series_value(void *ctx, const struct index_select_name *name,
                                     const uint32_t *ids, uint32_t count, uint32_t i,
                                     uint32_t *out_value, struct tsdb_error *err)
{
    struct source *src = ctx;
    uint32_t pairs[TSDB_LABELS_MAX];
    (void)err;
    if (i % CANDIDATE_BATCH == 0) {
        src->place = i == 0 ? 0 : src->place;
        src->value = i == 0 ? INDEX_NONE : src->value;
        candidates_prefetch(src, ids + i, TSDB_MIN(count - i, CANDIDATE_BATCH));
    }
    uint32_t n =
        index_set_read(src->ix, index_row_at(src->ix, ids[i])->set, pairs, TSDB_LABELS_MAX);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t at = (src->place + k) % n;
        if (pairs[at] == src->value ||
            index_pair_name(index_pair_at(src->ix, pairs[at])) == name->id) {
            src->place = at;
            src->value = pairs[at];
            *out_value = pairs[at];
            return TSDB_OK;
        }
    }
    *out_value = INDEX_SELECT_NO_VALUE;
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

void index_mem_values_of(const struct index_mem *ix, const char *name, uint32_t name_len,
                         const uint32_t *locals, uint32_t count, uint32_t *out_values)
{
    static_assert(INDEX_MEM_NO_VALUE == INDEX_SELECT_NO_VALUE, "they are handed on");
    struct source src = {.ix = ix};
    const struct index_select_name wanted = {.id = index_name_find(ix, name, name_len)};
    for (uint32_t i = 0; i < count; i++) {
        out_values[i] = index_row_seek(ix, locals[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t value = INDEX_MEM_NO_VALUE;
        if (wanted.id != INDEX_NONE) {
            enum tsdb_status status =
                series_value(&src, &wanted, out_values, count, i, &value, NULL);
            TSDB_ASSERT(status == TSDB_OK); /* in memory nothing can fail */
        }
        out_values[i] = value;
    }
}

struct tsdb_slice index_mem_value_string(const struct index_mem *ix, uint32_t value)
{
    return pair_string(ix, index_pair_at(ix, value));
}
