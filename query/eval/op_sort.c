/* sort and its relatives: an order for instant queries. */
#include "query/eval/operators.h"

#include <math.h>
#include <stdlib.h>

struct sort_item {
    const struct query_expr *call;
    const struct op_series *series;
    struct point p;
    uint32_t index;
};

struct op_sort {
    struct op op;
    struct op *child; /* range queries: no order */
    bool floats_only;
    struct sort_item *items; /* instant queries: in their order */
};

static int compare_values(const struct sort_item *a, const struct sort_item *b, bool descending)
{
    double x = a->p.v;
    double y = b->p.v;
    if (isnan(x) || isnan(y)) {
        return (int)isnan(x) - (int)isnan(y); /* NaN last, either way */
    }
    int c = (x > y) - (x < y);
    return descending ? -c : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A run of digits or of non-digits from s[*pos]. */
static struct query_str chunk(struct query_str s, uint32_t *pos)
{
    uint32_t begin = *pos;
    while (*pos < s.len && is_digit(s.data[*pos]) == is_digit(s.data[begin])) {
        (*pos)++;
    }
    return (struct query_str){s.data + begin, *pos - begin};
}

/* "a2" before "a10": runs of digits compare as numbers. */
static int compare_natural(struct query_str a, struct query_str b)
{
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a.len && j < b.len) {
        struct query_str x = chunk(a, &i);
        struct query_str y = chunk(b, &j);
        if (is_digit(x.data[0]) && is_digit(y.data[0])) {
            while (x.len > 1 && x.data[0] == '0') {
                x.data++;
                x.len--;
            }
            while (y.len > 1 && y.data[0] == '0') {
                y.data++;
                y.len--;
            }
            if (x.len != y.len) {
                return x.len < y.len ? -1 : 1;
            }
        }
        int c = tsdb_str_compare(x.data, x.len, y.data, y.len);
        if (c != 0) {
            return c;
        }
    }
    return (i < a.len) - (j < b.len);
}

static int compare_labels(const struct sort_item *a, const struct sort_item *b)
{
    for (uint32_t i = 1; i < a->call->u.call.arg_count; i++) {
        struct query_str name = query_expr_unwrap(a->call->u.call.args[i])->u.string;
        struct query_str x = labels_value(&a->series->labels, name.data, name.len);
        struct query_str y = labels_value(&b->series->labels, name.data, name.len);
        int c = compare_natural(x, y);
        if (c != 0) {
            return c;
        }
    }
    return tsdb_labels_compare(&a->series->labels, &b->series->labels);
}

static int compare_items(const void *pa, const void *pb)
{
    const struct sort_item *a = pa;
    const struct sort_item *b = pb;
    enum query_variant order = a->call->u.call.function->variant;
    bool by_label = order == QUERY_SORT_LABELS || order == QUERY_SORT_LABELS_DESC;
    bool descending = order == QUERY_SORT_VALUES_DESC || order == QUERY_SORT_LABELS_DESC;
    int c = by_label ? (descending ? compare_labels(b, a) : compare_labels(a, b))
                     : compare_values(a, b, descending);
    return c != 0 ? c : (a->index > b->index) - (a->index < b->index);
}

static enum tsdb_status sort_next(struct op *op, struct column *out)
{
    struct op_sort *o = (struct op_sort *)op;
    if (!o->child) {
        return column_put(op->x, out, 1, 0, o->items[op->pos].p);
    }
    enum tsdb_status status = op_next(o->child, out);
    for (uint32_t i = 0; i < op->grid.count && o->floats_only; i++) {
        out->kind[i] = out->kind[i] == POINT_FLOAT ? (uint8_t)POINT_FLOAT : (uint8_t)POINT_NONE;
    }
    return status;
}

static enum tsdb_status sort_instant(struct op_sort *o, struct op *child)
{
    struct exec *x = o->op.x;
    struct column c;
    enum tsdb_status status = column_init(x, &c, 1);
    size_t n = TSDB_MAX(child->series_count, 1);
    o->items = TSDB_ARENA_ARRAY(x->arena, struct sort_item, n);
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, n);
    if (!o->items || !o->op.series) {
        return exec_nomem(x);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < child->series_count && status == TSDB_OK; i++) {
        status = op_next(child, &c);
        if (status != TSDB_OK || c.kind[0] == POINT_NONE ||
            (c.kind[0] == POINT_HISTOGRAM && o->floats_only)) {
            continue;
        }
        struct point p = column_point(&c, 0);
        if (p.h) {
            p.h = exec_keep_histogram(x, p.h);
            if (!p.h) {
                return exec_nomem(x);
            }
        }
        o->items[count] = (struct sort_item){o->op.expr, &child->series[i], p, count};
        count++;
    }
    if (status == TSDB_OK) {
        status = exec_sort(x, o->items, count, sizeof *o->items, compare_items);
    }
    if (status != TSDB_OK) {
        return status;
    }
    for (uint32_t i = 0; i < count; i++) {
        o->op.series[i] = *o->items[i].series;
    }
    o->op.series_count = count;
    return exec_hold(x, count);
}

enum tsdb_status op_sort_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_sort *o = (struct op_sort *)op_new(x, sizeof *o, e, grid, sort_next);
    struct op *child;
    if (!o) {
        return exec_nomem(x);
    }
    *out = &o->op;
    enum query_variant order = e->u.call.function->variant;
    o->floats_only = order == QUERY_SORT_VALUES || order == QUERY_SORT_VALUES_DESC;
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &child);
    if (status != TSDB_OK) {
        return status;
    }
    if (grid->count == 1) {
        return sort_instant(o, child);
    }
    exec_note(x, false, e->start,
              "sort is ineffective for range queries since results are always ordered by labels");
    o->child = child;
    op_series_share(&o->op, child);
    return TSDB_OK;
}
