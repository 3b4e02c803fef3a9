/* topk, bottomk, limitk, limit_ratio: some of the series as they are; count_values: one series per
 * value. All look at every series before they know which ones they give, so they evaluate their
 * input while they are built. */
#include "query/eval/operators.h"

#include "base/format.h"

#include <math.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct candidate {
    struct point p;
    uint32_t series; /* of the input */
};

/* The best k of a group at one step. items[0] is the worst of them. */
struct heap {
    struct candidate *items;
    uint32_t count, cap;
};

struct op_topk {
    struct op op;
    struct op *child;
    uint32_t *group;
    uint32_t group_count;
    struct heap *heaps;     /* group by group, step by step */
    const double *param;    /* k per step */
    struct column *columns; /* results, per output series */
    uint32_t *output;       /* per input series: its output + 1 */
};

/* Does a come before b in the result? NaN comes last. */
static bool better(enum token_type op, double a, double b)
{
    if (isnan(a) || isnan(b)) {
        return !isnan(a) && isnan(b);
    }
    return op == TOKEN_TOPK ? a > b : a < b;
}

/* In ties the series that came first stays ahead. */
static bool ahead(enum token_type op, const struct candidate *a, const struct candidate *b)
{
    if (better(op, a->p.v, b->p.v) || better(op, b->p.v, a->p.v)) {
        return better(op, a->p.v, b->p.v);
    }
    return a->series < b->series;
}

static void sift_down(enum token_type op, struct heap *h)
{
    uint32_t i = 0;
    for (;;) {
        uint32_t worst = i;
        for (uint32_t c = 2 * i + 1; c <= 2 * i + 2 && c < h->count; c++) {
            if (ahead(op, &h->items[worst], &h->items[c])) {
                worst = c;
            }
        }
        if (worst == i) {
            return;
        }
        struct candidate t = h->items[i];
        h->items[i] = h->items[worst];
        h->items[worst] = t;
        i = worst;
    }
}

static void sift_up(enum token_type op, struct heap *h)
{
    for (uint32_t i = h->count - 1; i > 0;) {
        uint32_t parent = (i - 1) / 2;
        if (!ahead(op, &h->items[parent], &h->items[i])) {
            return;
        }
        struct candidate t = h->items[i];
        h->items[i] = h->items[parent];
        h->items[parent] = t;
        i = parent;
    }
}

static enum tsdb_status heap_put(struct op_topk *o, struct heap *h, uint32_t k, struct candidate c)
{
    struct exec *x = o->op.x;
    enum token_type op = o->op.expr->u.aggregate.op;
    if (h->count == k) {
        if (op != TOKEN_LIMITK && better(op, c.p.v, h->items[0].p.v)) {
            h->items[0] = c;
            sift_down(op, h);
        }
        return TSDB_OK;
    }
    if (h->count == h->cap) {
        struct candidate *grown =
            exec_grow(x, h->items, h->count, &h->cap, TSDB_MIN(k, 4), sizeof *grown);
        if (!grown) {
            return exec_nomem(x);
        }
        h->items = grown;
    }
    h->items[h->count++] = c;
    if (op != TOKEN_LIMITK) {
        sift_up(op, h);
    }
    return exec_hold(x, 1);
}

static enum tsdb_status offer(struct op_topk *o, uint32_t series, const struct column *c)
{
    struct exec *x = o->op.x;
    enum token_type op = o->op.expr->u.aggregate.op;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < o->op.grid.count && status == TSDB_OK; i++) {
        double k = o->param[i];
        if (c->kind[i] == POINT_NONE || !(k >= 1)) {
            continue;
        }
        struct candidate cand = {column_point(c, i), series};
        struct heap *h = &o->heaps[(size_t)o->group[series] * o->op.grid.count + i];
        uint32_t most = k < (double)o->child->series_count ? (uint32_t)k : o->child->series_count;
        if (cand.p.h) {
            if (op != TOKEN_LIMITK) {
                exec_note(x, true, o->op.expr->start, "ignored histogram in %s aggregation",
                          token_type_text(op));
                continue;
            }
            if (h->count == most) {
                continue;
            }
            cand.p.h = exec_keep_histogram(x, cand.p.h);
            if (!cand.p.h) {
                return exec_nomem(x);
            }
        }
        status = heap_put(o, h, most, cand);
    }
    return status;
}

/* k must be a number that fits; all below one means an empty result. */
static enum tsdb_status check_param(struct op_topk *o, bool *out_empty)
{
    struct exec *x = o->op.x;
    double min = (double)INFINITY;
    double max = (double)-INFINITY;
    bool nan = false;
    for (uint32_t i = 0; i < o->op.grid.count; i++) {
        double k = o->param[i];
        nan |= isnan(k) != 0;
        min = k < min ? k : min;
        max = k > max ? k : max;
    }
    *out_empty = !nan && !(max >= 1);
    if (*out_empty) {
        return TSDB_OK;
    }
    if (nan) {
        return exec_fail(x, TSDB_INVALID, "Parameter value is NaN");
    }
    char text[TSDB_FORMAT_FLOAT_MAX];
    if (min <= -9223372036854775808.0) {
        return exec_fail(x, TSDB_INVALID, "Scalar value %.*s underflows int64",
                         (int)tsdb_format_float_go_g(text, min), text);
    }
    if (max >= 9223372036854774784.0) {
        return exec_fail(x, TSDB_INVALID, "Scalar value %.*s overflows int64",
                         (int)tsdb_format_float_go_g(text, max), text);
    }
    return TSDB_OK;
}

static int compare_topk(const void *a, const void *b)
{
    return ahead(TOKEN_TOPK, a, b) ? -1 : 1;
}

static int compare_bottomk(const void *a, const void *b)
{
    return ahead(TOKEN_BOTTOMK, a, b) ? -1 : 1;
}

/* Winners of a heap in the order of the result. */
static enum tsdb_status sort_heap(const struct op_topk *o, struct heap *h)
{
    enum token_type op = o->op.expr->u.aggregate.op;
    return op == TOKEN_LIMITK ? TSDB_OK
                              : exec_sort(o->op.x, h->items, h->count, sizeof *h->items,
                                          op == TOKEN_TOPK ? compare_topk : compare_bottomk);
}

static enum tsdb_status topk_put(struct op_topk *o, const struct candidate *c, uint32_t step)
{
    struct exec *x = o->op.x;
    if (o->output[c->series] == 0) {
        uint32_t n = o->op.series_count++;
        o->output[c->series] = n + 1;
        o->op.series[n] = o->child->series[c->series];
        enum tsdb_status status = column_init(x, &o->columns[n], o->op.grid.count);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return column_put(x, &o->columns[o->output[c->series] - 1], o->op.grid.count, step, c->p);
}

static enum tsdb_status topk_collect(struct op_topk *o)
{
    struct exec *x = o->op.x;
    size_t n = TSDB_MAX(o->child->series_count, 1);
    o->output = TSDB_ARENA_ARRAY(x->arena, uint32_t, n);
    o->columns = TSDB_ARENA_ARRAY(x->arena, struct column, n);
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, n);
    if (!o->output || !o->columns || !o->op.series) {
        return exec_nomem(x);
    }
    memset(o->output, 0, n * sizeof *o->output);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t g = 0; g < o->group_count; g++) {
        for (uint32_t i = 0; i < o->op.grid.count; i++) {
            struct heap *h = &o->heaps[(size_t)g * o->op.grid.count + i];
            status = status == TSDB_OK ? sort_heap(o, h) : status;
            for (uint32_t k = 0; k < h->count && status == TSDB_OK; k++) {
                status = topk_put(o, &h->items[k], i);
            }
        }
    }
    return status;
}

static enum tsdb_status columns_next(struct op *op, struct column *out)
{
    return column_copy(op->x, out, &((struct op_topk *)op)->columns[op->pos], op->grid.count);
}

/* ---- limit_ratio ---- */

struct op_ratio {
    struct op op;
    struct op *child;
    const double *ratio; /* per step */
};

static void hash_string(XXH64_state_t *h, const char *s, uint32_t len)
{
    uint8_t size[4] = {(uint8_t)len};
    if (len >= 255) {
        tsdb_store_le32(size, len << 8 | 255);
    }
    XXH64_update(h, size, len < 255 ? 1 : 4);
    XXH64_update(h, s, len);
}

/* Where a series lies in [0, 1]: the hash of its labels as Prometheus has them in memory (each
 * string with its length in one byte, or 255 and three bytes), so that both take the same. */
static double ratio_offset(const struct tsdb_labels *labels)
{
    XXH64_state_t h;
    XXH64_reset(&h, 0);
    for (uint32_t i = 0; i < labels->count; i++) {
        hash_string(&h, labels->items[i].name, labels->items[i].name_len);
        hash_string(&h, labels->items[i].value, labels->items[i].value_len);
    }
    return (double)XXH64_digest(&h) / 18446744073709551615.0;
}

/* r takes the lower r of the series, -r the upper r: -(1 - r) is the complement of r. */
static enum tsdb_status ratio_next(struct op *op, struct column *out)
{
    struct op_ratio *o = (struct op_ratio *)op;
    double offset = ratio_offset(&op->series[op->pos].labels);
    enum tsdb_status status = op_next(o->child, out);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        double r = o->ratio[i];
        bool take = r >= 0 ? offset < r : offset >= 1.0 + r;
        if (!take) {
            out->kind[i] = POINT_NONE;
        }
    }
    return status;
}

enum tsdb_status op_ratio_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out)
{
    struct op_ratio *o = (struct op_ratio *)op_new(x, sizeof *o, e, grid, ratio_next);
    if (!o) {
        return exec_nomem(x);
    }
    enum tsdb_status status = exec_scalar(x, e->u.aggregate.param, grid, &o->ratio);
    if (status == TSDB_OK) {
        status = exec_build(x, e->u.aggregate.body, grid, &o->child);
    }
    double min = 0;
    double max = 0;
    for (uint32_t i = 0; i < grid->count && status == TSDB_OK; i++) {
        if (isnan(o->ratio[i])) {
            return exec_fail(x, TSDB_INVALID, "Ratio value is NaN");
        }
        min = TSDB_MIN(min, o->ratio[i]);
        max = TSDB_MAX(max, o->ratio[i]);
    }
    if (status == TSDB_OK && max > 1) {
        exec_note(x, false, e->u.aggregate.param->start,
                  "ratio value should be between -1 and 1, got %s, capping to 1",
                  number_text(max).text);
    }
    if (status == TSDB_OK && min < -1) {
        exec_note(x, false, e->u.aggregate.param->start,
                  "ratio value should be between -1 and 1, got %s, capping to -1",
                  number_text(min).text);
    }
    *out = &o->op;
    if (status == TSDB_OK) {
        op_series_share(&o->op, o->child);
    }
    return status;
}

enum tsdb_status op_topk_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_topk *o = (struct op_topk *)op_new(x, sizeof *o, e, grid, columns_next);
    if (!o) {
        return exec_nomem(x);
    }
    *out = &o->op;
    bool empty = true;
    struct op_series *series;
    struct column c;
    enum tsdb_status status = exec_scalar(x, e->u.aggregate.param, grid, &o->param);
    if (status == TSDB_OK) {
        status = exec_build(x, e->u.aggregate.body, grid, &o->child);
    }
    if (status == TSDB_OK) {
        status = check_param(o, &empty);
    }
    if (status != TSDB_OK || empty) {
        return status == TSDB_OK ? exec_discard(o->child) : status;
    }
    status = aggregate_group(x, e, o->child, &o->group, &series, &o->group_count);
    if (status == TSDB_OK) {
        status = column_init(x, &c, grid->count);
    }
    if (status != TSDB_OK) {
        return status;
    }
    size_t cells = (size_t)o->group_count * grid->count;
    o->heaps = TSDB_ARENA_ARRAY(x->arena, struct heap, TSDB_MAX(cells, 1));
    if (!o->heaps) {
        return exec_nomem(x);
    }
    memset(o->heaps, 0, TSDB_MAX(cells, 1) * sizeof *o->heaps);
    for (uint32_t i = 0; i < o->child->series_count && status == TSDB_OK; i++) {
        status = op_next(o->child, &c);
        if (status == TSDB_OK) {
            status = offer(o, i, &c);
        }
    }
    return status == TSDB_OK ? topk_collect(o) : status;
}

/* ---- count_values ---- */

struct op_count_values {
    struct op_topk base; /* only op and columns are used */
    struct label_map map;
    uint32_t series_cap, columns_cap;
    struct tsdb_arena *scratch; /* of one histogram */
};

/* The grouping with the new label among the kept ones. */
static bool value_grouping(struct exec *x, const struct query_expr *e, struct query_str label,
                           struct query_names *out)
{
    *out = e->u.aggregate.grouping;
    if (e->u.aggregate.without) {
        return true;
    }
    struct query_str *items = TSDB_ARENA_ARRAY(x->arena, struct query_str, (size_t)out->count + 1);
    if (!items) {
        return false;
    }
    if (out->count > 0) {
        memcpy(items, out->items, out->count * sizeof *items);
    }
    items[out->count] = label;
    *out = (struct query_names){items, out->count + 1};
    return true;
}

static enum tsdb_status count_text(struct op_count_values *o, const struct tsdb_labels *labels,
                                   struct query_str label, struct query_names grouping,
                                   uint32_t step, const char *text, size_t len)
{
    struct op *op = &o->base.op;
    struct exec *x = op->x;
    bool without = op->expr->u.aggregate.without;
    const struct label_key key = {.only = !without, .drop_name = without, .names = grouping};
    struct tsdb_labels with;
    struct tsdb_labels group;
    uint32_t id;
    bool is_new;
    char *copy = tsdb_arena_strndup(x->arena, text, len);
    if (!copy ||
        !labels_set(x->arena, labels, label, (struct query_str){copy, (uint32_t)len}, &with) ||
        !label_map_put(&o->map, &with, &key, &id, &is_new)) {
        return exec_nomem(x);
    }
    if (is_new) {
        if (id == o->series_cap) {
            struct op_series *series =
                exec_grow(x, op->series, id, &o->series_cap, 16, sizeof *series);
            struct column *columns =
                exec_grow(x, o->base.columns, id, &o->columns_cap, 16, sizeof *columns);
            if (!series || !columns) {
                return exec_nomem(x);
            }
            op->series = series;
            o->base.columns = columns;
        }
        bool ok = without ? labels_drop(x->arena, &with, grouping, true, &group)
                          : labels_keep(x->arena, &with, grouping, &group);
        if (!ok) {
            return exec_nomem(x);
        }
        op->series[id] = (struct op_series){group, false};
        op->series_count = id + 1;
        enum tsdb_status status = exec_hold(x, op->grid.count);
        if (status == TSDB_OK) {
            status = column_init(x, &o->base.columns[id], op->grid.count);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    struct column *c = &o->base.columns[id];
    c->v[step] = c->kind[step] == POINT_NONE ? 1 : c->v[step] + 1;
    c->kind[step] = POINT_FLOAT;
    return TSDB_OK;
}

static enum tsdb_status count_value(struct op_count_values *o, const struct tsdb_labels *labels,
                                    struct query_str label, struct query_names grouping,
                                    uint32_t step, double v)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    size_t len = tsdb_format_float_fixed(text, v);
    return count_text(o, labels, label, grouping, step, text, len);
}

static enum tsdb_status count_histogram(struct op_count_values *o, const struct tsdb_labels *labels,
                                        struct query_str label, struct query_names grouping,
                                        uint32_t step, const struct tsdb_histogram *m)
{
    struct exec *x = o->base.op.x;
    struct hist h;
    tsdb_arena_reset(o->scratch);
    enum tsdb_status status = histogram_view(x, m, o->scratch, &h);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    histogram_print(&h, &b);
    status = b.failed ? exec_nomem(x)
                      : count_text(o, labels, label, grouping, step, (const char *)b.data, b.len);
    tsdb_buf_deinit(&b);
    return status;
}

static enum tsdb_status bad_label_name(struct exec *x, struct query_str label)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    query_quote(&b, label.data, label.len, 0);
    enum tsdb_status status = b.failed ? exec_nomem(x)
                                       : exec_fail(x, TSDB_INVALID, "invalid label name %.*s",
                                                   (int)b.len, (const char *)b.data);
    tsdb_buf_deinit(&b);
    return status;
}

enum tsdb_status op_count_values_build(struct exec *x, const struct query_expr *e,
                                       const struct grid *grid, struct op **out)
{
    struct op_count_values *o =
        (struct op_count_values *)op_new(x, sizeof *o, e, grid, columns_next);
    struct query_str label = query_expr_unwrap(e->u.aggregate.param)->u.string;
    struct query_names grouping;
    struct op *child;
    struct column c;
    struct tsdb_arena *scratch = exec_scratch(x);
    if (!o || !scratch) {
        return exec_nomem(x);
    }
    o->scratch = scratch;
    if (label.len == 0 || !tsdb_utf8_valid(label.data, label.len)) {
        return bad_label_name(x, label);
    }
    label_map_init(&o->map, x->arena);
    if (!value_grouping(x, e, label, &grouping)) {
        return exec_nomem(x);
    }
    enum tsdb_status status = exec_build(x, e->u.aggregate.body, grid, &child);
    if (status == TSDB_OK) {
        status = column_init(x, &c, grid->count);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < child->series_count; i++) {
        status = op_next(child, &c);
        for (uint32_t k = 0; status == TSDB_OK && k < grid->count; k++) {
            if (c.kind[k] == POINT_HISTOGRAM) {
                status = count_histogram(o, &child->series[i].labels, label, grouping, k, c.h[k]);
            } else if (c.kind[k] == POINT_FLOAT) {
                status = count_value(o, &child->series[i].labels, label, grouping, k, c.v[k]);
            }
        }
    }
    *out = &o->base.op;
    return status;
}
