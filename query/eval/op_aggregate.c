/* sum, avg, min, max, count, group, stddev, stdvar, quantile: many series into one per group. Only
 * the groups are held. */
#include "query/eval/operators.h"

#include "base/assert.h"
#include "query/num.h"

/* The histograms of a cell of sum or avg. */
struct histograms {
    struct hist_mean mean; /* sum: only its .h */
    struct hist_effects effects;
    struct histogram_hints hints;
    bool any, incompatible;
};

/* quantile keeps the values themselves. */
struct values {
    double *items;
    uint32_t count, cap;
};

struct op_aggregate {
    struct op op;
    struct op *child;
    uint32_t *group;                /* per child series */
    struct kernel_cells cells;      /* group by group, step by step */
    kernel_fold_fn *fold;           /* of floats; NULL: quantile */
    struct values *values;          /* the same, for quantile */
    struct histograms **histograms; /* the same, for sum and avg; NULL: no histogram yet */
    struct tsdb_arena *sums;        /* of the sums in them */
    struct tsdb_arena *views;       /* of one series */
    const double *param;            /* quantile: per step */
    struct column scratch;
    bool done;
};

/* ---- one series into its group ---- */

static kernel_fold_fn *fold_of(const struct query_kernels *k, enum token_type op)
{
    switch ((int)op) {
    case TOKEN_SUM:
        return k->fold_sum;
    case TOKEN_AVG:
        return k->fold_avg;
    case TOKEN_MIN:
        return k->fold_min;
    case TOKEN_MAX:
        return k->fold_max;
    case TOKEN_STDDEV:
    case TOKEN_STDVAR:
        return k->fold_variance;
    case TOKEN_QUANTILE:
        return NULL;
    default: /* count, group */
        return k->fold_count;
    }
}

/* The cells of a group. */
static struct kernel_cells cells_at(const struct op_aggregate *o, size_t base)
{
    const struct kernel_cells *c = &o->cells;
    return (struct kernel_cells){c->a + base, c->b + base, c->count + base, c->seen + base};
}

static enum tsdb_status start_histograms(struct op_aggregate *o, size_t at, struct histograms **out)
{
    struct exec *x = o->op.x;
    if (!o->histograms) {
        size_t n = (size_t)o->op.series_count * o->op.grid.count;
        o->histograms = TSDB_ARENA_ARRAY(x->arena, struct histograms *, n);
        if (!o->histograms) {
            return exec_nomem(x);
        }
        memset(o->histograms, 0, n * sizeof *o->histograms);
    }
    if (!o->histograms[at]) {
        struct histograms *hs = TSDB_ARENA_NEW(o->sums, struct histograms);
        if (!hs) {
            return exec_nomem(x);
        }
        memset(hs, 0, sizeof *hs);
        o->histograms[at] = hs;
    }
    *out = o->histograms[at];
    return TSDB_OK;
}

/* A histogram into the sum or mean of a cell. Of a cell that has a float, too, nothing will be made
 * anyway. */
static enum tsdb_status sum_histogram(struct op_aggregate *o, size_t at, const struct point *p)
{
    struct exec *x = o->op.x;
    struct histograms *hs = NULL;
    struct hist h;
    enum tsdb_status status = start_histograms(o, at, &hs);
    if (status != TSDB_OK || hs->incompatible) {
        return status;
    }
    o->cells.seen[at] |= CELL_HISTOGRAM;
    status = histogram_view(x, p->h, o->views, &h);
    if (status != TSDB_OK || (!hs->any && o->cells.seen[at] & CELL_FLOAT)) {
        return status;
    }
    histogram_hints_add(&hs->hints, h.reset_hint);
    if (o->op.expr->u.aggregate.op == TOKEN_AVG) {
        status = hist_mean_add(&hs->mean, &h, o->sums, &hs->effects);
    } else if (!hs->any) {
        status = hist_copy(&hs->mean.h, &h, o->sums);
    } else {
        status = hist_add_compensated(&hs->mean.h, &h, o->sums, &hs->effects);
    }
    hs->any = true;
    if (status == TSDB_INVALID) {
        hs->incompatible = true;
        histogram_note_schemas(x, o->op.expr->u.aggregate.body->start,
                               &o->child->series[o->child->pos - 1].labels);
        return TSDB_OK;
    }
    return histogram_status(x, status);
}

/* A histogram: counted by some (their kernel has done it), summed by some, ignored with a note by
 * others. */
static enum tsdb_status add_histogram(struct op_aggregate *o, size_t at, const struct point *p)
{
    struct exec *x = o->op.x;
    enum token_type op = o->op.expr->u.aggregate.op;
    if (op == TOKEN_COUNT || op == TOKEN_GROUP) {
        return TSDB_OK;
    }
    if (op == TOKEN_SUM || op == TOKEN_AVG) {
        return sum_histogram(o, at, p);
    }
    exec_note(x, true, o->op.expr->u.aggregate.body->start, "ignored histogram in %s aggregation",
              token_type_text(op));
    return TSDB_OK;
}

static enum tsdb_status add_value(struct op_aggregate *o, struct values *vs, double v)
{
    struct exec *x = o->op.x;
    if (vs->count == vs->cap) {
        double *grown = exec_grow(x, vs->items, vs->count, &vs->cap, 4, sizeof *grown);
        if (!grown) {
            return exec_nomem(x);
        }
        vs->items = grown;
    }
    vs->items[vs->count++] = v;
    return TSDB_OK;
}

/* The floats of a column that quantile keeps. */
static enum tsdb_status add_values(struct op_aggregate *o, size_t base, const struct column *c)
{
    uint32_t steps = o->op.grid.count;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
        if (c->kind[i] == POINT_FLOAT) {
            status = add_value(o, &o->values[base + i], c->v[i]);
        }
    }
    return status == TSDB_OK ? exec_hold(o->op.x, column_count(c, steps)) : status;
}

static enum tsdb_status add_column(struct op_aggregate *o, uint32_t group, const struct column *c)
{
    uint32_t steps = o->op.grid.count;
    size_t base = (size_t)group * steps;
    enum tsdb_status status = TSDB_OK;
    tsdb_arena_reset(o->views);
    for (uint32_t i = 0; c->h && i < steps && status == TSDB_OK; i++) {
        if (c->kind[i] == POINT_HISTOGRAM) {
            const struct point p = column_point(c, i);
            status = add_histogram(o, base + i, &p);
        }
    }
    if (status == TSDB_OK && !o->fold) {
        return add_values(o, base, c);
    }
    if (status == TSDB_OK) {
        const struct kernel_cells cells = cells_at(o, base);
        o->fold(&cells, c->v, c->kind, steps);
    }
    return status;
}

/* ---- output ---- */

static double cell_value(enum token_type op, const struct kernel_cells *c, size_t at)
{
    switch ((int)op) {
    case TOKEN_SUM:
        return c->a[at] + c->b[at];
    case TOKEN_AVG: {
        struct num_mean m = {c->a[at], c->b[at], c->count[at], c->seen[at] & CELL_INCREMENTAL};
        return num_mean_value(&m);
    }
    case TOKEN_COUNT:
        return c->count[at];
    case TOKEN_GROUP:
        return 1;
    case TOKEN_STDVAR:
        return c->b[at] / c->count[at];
    case TOKEN_STDDEV:
        return sqrt(c->b[at] / c->count[at]);
    default:
        return c->a[at];
    }
}

static enum tsdb_status aggregate_all(struct op_aggregate *o)
{
    enum tsdb_status status = TSDB_OK;
    o->done = true;
    for (uint32_t i = 0; i < o->child->series_count && status == TSDB_OK; i++) {
        status = op_next(o->child, &o->scratch);
        if (status == TSDB_OK) {
            status = add_column(o, o->group[i], &o->scratch);
        }
    }
    return status;
}

/* A cell of sum or avg that saw histograms. */
static enum tsdb_status put_histograms(struct op_aggregate *o, struct column *out, size_t base,
                                       uint32_t i)
{
    struct exec *x = o->op.x;
    uint32_t pos = o->op.expr->u.aggregate.body->start;
    struct histograms *hs = o->histograms[base + i];
    if (hs->effects.bounds_reconciled) {
        histogram_note_bounds(x, pos, "aggregation");
    }
    if (o->cells.seen[base + i] & CELL_FLOAT) {
        exec_note(x, false, pos, "encountered a mix of histograms and floats for aggregation");
        return TSDB_OK;
    }
    if (hs->incompatible) {
        return TSDB_OK;
    }
    enum tsdb_status status = TSDB_OK;
    if (o->op.expr->u.aggregate.op == TOKEN_AVG) {
        status = hist_mean_finish(&hs->mean, o->sums);
    } else {
        hist_settle(&hs->mean.h);
    }
    if (status == TSDB_OK) {
        status = hist_compact(&hs->mean.h, o->sums);
    }
    if (status != TSDB_OK) {
        return histogram_status(x, status);
    }
    if (hs->hints.reset && hs->hints.no_reset) {
        histogram_note_conflict(x, pos, "aggregation");
    }
    struct point p;
    status = histogram_point(x, &hs->mean.h, o->sums, &p);
    return status == TSDB_OK ? column_put(x, out, o->op.grid.count, i, p) : status;
}

static enum tsdb_status aggregate_next(struct op *op, struct column *out)
{
    struct op_aggregate *o = (struct op_aggregate *)op;
    enum token_type type = op->expr->u.aggregate.op;
    enum tsdb_status status = o->done ? TSDB_OK : aggregate_all(o);
    size_t base = (size_t)op->pos * op->grid.count;
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        out->kind[i] = POINT_NONE;
        if (type == TOKEN_QUANTILE) {
            struct values *vs = &o->values[base + i];
            if (vs->count > 0) {
                out->kind[i] = POINT_FLOAT;
                out->v[i] = num_quantile(o->param[i], vs->items, vs->count);
            }
        } else if (o->cells.seen[base + i] & CELL_HISTOGRAM) {
            status = put_histograms(o, out, base, i);
        } else if (o->cells.seen[base + i]) {
            out->kind[i] = POINT_FLOAT;
            out->v[i] = cell_value(type, &o->cells, base + i);
        }
    }
    return status;
}

/* ---- building ---- */

enum tsdb_status aggregate_group(struct exec *x, const struct query_expr *e, const struct op *child,
                                 uint32_t **out_group, struct op_series **out_series,
                                 uint32_t *out_count)
{
    const struct query_names names = e->u.aggregate.grouping;
    bool without = e->u.aggregate.without;
    const struct label_key key = {.only = !without, .drop_name = without, .names = names};
    struct label_map map;
    label_map_init(&map, x->arena);
    uint32_t n = TSDB_MAX(child->series_count, 1);
    uint32_t *group = TSDB_ARENA_ARRAY(x->arena, uint32_t, n);
    uint32_t cap = 0;
    struct op_series *series = NULL;
    if (!group) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < child->series_count; i++) {
        const struct tsdb_labels *labels = &child->series[i].labels;
        bool is_new;
        enum tsdb_status status = exec_poll(x);
        if (status != TSDB_OK) {
            return status;
        }
        if (i > 0 && !without && names.count == 0) { /* there is but one group */
            group[i] = group[0];
            is_new = false;
        } else if (!label_map_put(&map, labels, &key, &group[i], &is_new)) {
            return exec_nomem(x);
        }
        if (is_new && group[i] == cap) {
            struct op_series *grown = exec_grow(x, series, cap, &cap, 16, sizeof *grown);
            if (!grown) {
                return exec_nomem(x);
            }
            series = grown;
        }
        TSDB_ASSERT(series && group[i] < cap); /* the first of a group is new */
        struct op_series *g = &series[group[i]];
        if (is_new) {
            *g = (struct op_series){0};
            bool ok = without ? labels_drop(x->arena, labels, names, true, &g->labels)
                              : labels_keep(x->arena, labels, names, &g->labels);
            if (!ok) {
                return exec_nomem(x);
            }
        }
        g->drop_name |= child->series[i].drop_name;
    }
    *out_group = group;
    *out_series = series;
    *out_count = map.count;
    return TSDB_OK;
}

static enum tsdb_status alloc_cells(struct op_aggregate *o)
{
    struct exec *x = o->op.x;
    uint64_t count = (uint64_t)o->op.series_count * o->op.grid.count;
    enum tsdb_status status = exec_hold(x, count);
    if (status != TSDB_OK) {
        return status;
    }
    size_t n = TSDB_MAX(count, 1);
    o->cells = (struct kernel_cells){
        TSDB_ARENA_ARRAY(x->arena, double, n), TSDB_ARENA_ARRAY(x->arena, double, n),
        TSDB_ARENA_ARRAY(x->arena, double, n), TSDB_ARENA_ARRAY(x->arena, uint8_t, n)};
    if (!o->cells.a || !o->cells.b || !o->cells.count || !o->cells.seen) {
        return exec_nomem(x);
    }
    enum token_type type = o->op.expr->u.aggregate.op;
    o->fold = fold_of(x->kernels, type);
    kernel_cells_start(&o->cells, n, type == TOKEN_MIN || type == TOKEN_MAX);
    if (type == TOKEN_QUANTILE) {
        o->values = TSDB_ARENA_ARRAY(x->arena, struct values, n);
        if (!o->values) {
            return exec_nomem(x);
        }
        memset(o->values, 0, n * sizeof *o->values);
    }
    return column_init(x, &o->scratch, o->op.grid.count);
}

static enum tsdb_status quantile_param(struct op_aggregate *o)
{
    struct exec *x = o->op.x;
    const struct query_expr *e = o->op.expr;
    if (e->u.aggregate.op != TOKEN_QUANTILE) {
        return TSDB_OK;
    }
    enum tsdb_status status = exec_scalar(x, e->u.aggregate.param, &o->op.grid, &o->param);
    double min = (double)INFINITY;
    double max = (double)-INFINITY;
    bool nan = false;
    for (uint32_t i = 0; i < o->op.grid.count && status == TSDB_OK; i++) {
        nan |= isnan(o->param[i]) != 0;
        min = o->param[i] < min ? o->param[i] : min;
        max = o->param[i] > max ? o->param[i] : max;
    }
    if (status == TSDB_OK && o->op.grid.count > 0) {
        uint32_t pos = e->u.aggregate.param->start;
        if (nan) {
            exec_note_quantile(x, (double)NAN, pos);
        }
        if (max > 1) {
            exec_note_quantile(x, max, pos);
        }
        if (min < 0) {
            exec_note_quantile(x, min, pos);
        }
    }
    return status;
}

/* count(up): of how many series there are, no label is asked for. */
static bool labels_unused(const struct exec *x, const struct query_expr *e)
{
    const struct query_expr *body = query_expr_unwrap(e->u.aggregate.body);
    bool counts = e->u.aggregate.op == TOKEN_COUNT || e->u.aggregate.op == TOKEN_GROUP;
    return counts && !e->u.aggregate.without && e->u.aggregate.grouping.count == 0 &&
           body->kind == EXPR_VECTOR && !body->u.vector.smoothed &&
           !x->options->delayed_name_removal;
}

static enum tsdb_status groups_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op **out)
{
    struct op_aggregate *o = (struct op_aggregate *)op_new(x, sizeof *o, e, grid, aggregate_next);
    struct tsdb_arena *sums = exec_scratch(x);
    struct tsdb_arena *views = exec_scratch(x);
    if (!o || !sums || !views) {
        return exec_nomem(x);
    }
    o->sums = sums;
    o->views = views;
    *out = &o->op;
    enum tsdb_status status = quantile_param(o);
    if (status == TSDB_OK) {
        x->labels_unused = labels_unused(x, e);
        status = exec_build(x, e->u.aggregate.body, grid, &o->child);
        x->labels_unused = false;
    }
    if (status == TSDB_OK) {
        status = aggregate_group(x, e, o->child, &o->group, &o->op.series, &o->op.series_count);
    }
    return status == TSDB_OK ? alloc_cells(o) : status;
}

enum tsdb_status op_aggregate_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out)
{
    enum tsdb_status status = op_count_build(x, e, grid, out);
    return status == TSDB_OK && !*out ? groups_build(x, e, grid, out) : status;
}
