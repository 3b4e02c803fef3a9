/* Matchers to series in the index file: what index/postings/select.h asks of this index. */
#include "index/disk/index_disk_private.h"

#include "index/postings/select.h"

struct source {
    const struct index_disk *ix;
    struct disk_symbols symbols;
    struct disk_series series;
};

/* The planner's words and the file's. A name is its rank; its symbol is not asked for again. */
static struct disk_name name_of(const struct index_select_name *name)
{
    return (struct disk_name){.value_count = name->value_count, .value_first = name->where};
}

static struct index_select_value value_from(const struct disk_value *v)
{
    return (struct index_select_value){.id = v->symbol, .series = v->series, .where = v->where};
}

static void postings_begin(struct disk_postings *p, const struct source *src,
                           const struct index_select_value *value)
{
    struct disk_value v = {.symbol = value->id, .series = value->series, .where = value->where};
    disk_postings_init(p, src->ix, &v);
}

static enum tsdb_status name_find(void *ctx, const char *name, size_t len,
                                  struct index_select_name *out, struct tsdb_error *err)
{
    struct source *src = ctx;
    struct disk_name n;
    uint32_t rank = 0;
    enum tsdb_status status = disk_name_find(&src->symbols, name, len, &rank, &n, err);
    if (status == TSDB_OK) {
        *out = (struct index_select_name){rank, n.value_count, n.value_first};
    }
    return status;
}

static enum tsdb_status value_find(void *ctx, const struct index_select_name *name,
                                   struct tsdb_slice value, struct index_select_value *out,
                                   struct tsdb_error *err)
{
    struct source *src = ctx;
    struct disk_name n = name_of(name);
    struct disk_value v;
    uint32_t symbol = 0;
    enum tsdb_status status =
        disk_symbols_find(&src->symbols, (const char *)value.data, value.len, &symbol, err);
    if (status == TSDB_OK) {
        status = disk_value_find(src->ix, &n, symbol, &v, err);
    }
    if (status == TSDB_OK) {
        *out = value_from(&v);
    }
    return status;
}

static enum tsdb_status value_string(void *ctx, uint32_t value, struct tsdb_slice *out,
                                     struct tsdb_error *err)
{
    struct disk_symbols *c = &((struct source *)ctx)->symbols;
    enum tsdb_status status = disk_symbols_at(c, value, err);
    if (status == TSDB_OK) {
        *out = (struct tsdb_slice){c->string.data, c->len};
    }
    return status;
}

static enum tsdb_status value_next(void *ctx, const struct index_select_name *name,
                                   uint64_t *cursor, struct index_select_value *out,
                                   struct tsdb_slice *out_string, struct tsdb_error *err)
{
    struct source *src = ctx;
    struct disk_name n = name_of(name);
    struct disk_value v;
    if (*cursor >= n.value_count) {
        return TSDB_NOT_FOUND;
    }
    enum tsdb_status status = disk_value_at(src->ix, &n, (uint32_t)*cursor, &v, err);
    if (status == TSDB_OK) {
        ++*cursor;
        *out = value_from(&v);
        status = value_string(src, v.symbol, out_string, err);
    }
    return status;
}

static enum tsdb_status postings_all(void *ctx, const struct index_select_value *value,
                                     uint32_t *ids, struct tsdb_error *err)
{
    struct disk_postings p;
    postings_begin(&p, ctx, value);
    return disk_postings_all(&p, ids, err);
}

static enum tsdb_status postings_filter(void *ctx, const struct index_select_value *value,
                                        bool keep, uint32_t *ids, uint32_t *count,
                                        struct tsdb_error *err)
{
    struct disk_postings p;
    postings_begin(&p, ctx, value);
    return disk_postings_filter(&p, keep, ids, count, err);
}

static enum tsdb_status postings_mark(void *ctx, const struct index_select_value *value,
                                      uint64_t *bits, struct tsdb_error *err)
{
    struct disk_postings p;
    postings_begin(&p, ctx, value);
    for (uint32_t b = 0; b < disk_postings_blocks(&p); b++) {
        enum tsdb_status status = disk_postings_load(&p, b, err);
        if (status != TSDB_OK) {
            return status;
        }
        index_bits_add(bits, (struct index_postings_view){p.ids, p.count});
    }
    return TSDB_OK;
}

static enum tsdb_status series_value(void *ctx, const struct index_select_name *name,
                                     const uint32_t *ids, uint32_t count, uint32_t i,
                                     uint32_t *out_value, struct tsdb_error *err)
{
    struct source *src = ctx;
    (void)count;
    *out_value = INDEX_SELECT_NO_VALUE;
    enum tsdb_status status = disk_series_at(&src->series, ids[i], err);
    const struct disk_labels *l = &src->series.labels;
    for (uint32_t k = 0; status == TSDB_OK && k < l->count; k++) {
        if (l->name[k] == name->id) {
            *out_value = l->value[k];
            break;
        }
    }
    return status;
}

enum tsdb_status index_disk_select(const struct index_disk *ix,
                                   const struct index_matcher *const *matchers,
                                   uint32_t matcher_count, const struct tsdb_request *request,
                                   struct tsdb_arena *arena, uint32_t **out_ids,
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
    struct source src = {.ix = ix};
    struct index_select_source source = {&ops, &src, ix->series_count};
    disk_symbols_init(&src.symbols, ix);
    disk_series_init(&src.series, ix);
    enum tsdb_status status =
        index_select(&source, matchers, matcher_count, request, arena, out_ids, out_count, err);
    disk_series_deinit(&src.series);
    disk_symbols_deinit(&src.symbols);
    return status;
}
