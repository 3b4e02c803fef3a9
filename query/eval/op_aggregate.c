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

/* What a group has seen at one step. */
struct cell {
    double a, b; /* sum and compensation; mean and sum of squares; extreme value */
    double count;
    uint8_t seen;  /* 0 nothing yet */
    uint8_t flags; /* CELL_* */
};
enum {
    CELL_FLOAT = 1,
    CELL_HISTOGRAM = 2,
    CELL_INCREMENTAL = 4
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
    struct cell *cells;             /* group by group, step by step */
    struct values *values;          /* the same, for quantile */
    struct histograms **histograms; /* the same, for sum and avg; NULL: no histogram yet */
    struct tsdb_arena *sums;        /* of the sums in them */
    struct tsdb_arena *views;       /* of one series */
    const double *param;            /* quantile: per step */
    struct column scratch;
    bool done;
};

/* ---- one sample into a cell ---- */

static void add_variance(struct cell *c, double v)
{
    c->count++;
    if (!c->seen) {
        c->seen = 1;
        c->a = v;
        c->b = isnan(v) || isinf(v) ? (double)NAN : 0;
        return;
    }
    double delta = v - c->a;
    c->a += delta / c->count;
    c->b += delta * (v - c->a);
}

static void add_mean(struct cell *c, double v)
{
    if (!(c->flags & CELL_FLOAT)) {
        *c = (struct cell){v, 0, 1, 1, c->flags | CELL_FLOAT};
        return;
    }
    struct num_mean m = {c->a, c->b, c->count, c->flags & CELL_INCREMENTAL};
    num_mean_add(&m, v);
    c->a = m.sum;
    c->b = m.c;
    c->count = m.count;
    c->flags |= CELL_FLOAT | (m.incremental ? CELL_INCREMENTAL : 0);
}

static void add_sum(struct cell *c, double v)
{
    if (!c->seen) {
        c->seen = 1;
        c->a = v;
    } else {
        num_kahan(v, &c->a, &c->b);
    }
    c->flags |= CELL_FLOAT;
}

static void add_float(enum token_type op, struct cell *c, double v)
{
    switch ((int)op) {
    case TOKEN_SUM:
        add_sum(c, v);
        break;
    case TOKEN_AVG:
        add_mean(c, v);
        break;
    case TOKEN_MIN:
        c->a = !c->seen || c->a > v || isnan(c->a) ? v : c->a;
        c->seen = 1;
        break;
    case TOKEN_MAX:
        c->a = !c->seen || c->a < v || isnan(c->a) ? v : c->a;
        c->seen = 1;
        break;
    case TOKEN_STDDEV:
    case TOKEN_STDVAR:
        add_variance(c, v);
        break;
    default: /* count, group */
        c->seen = 1;
        c->count++;
        break;
    }
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
    o->cells[at].flags |= CELL_HISTOGRAM;
    o->cells[at].seen = 1;
    status = histogram_view(x, p->h, o->views, &h);
    if (status != TSDB_OK || (!hs->any && o->cells[at].flags & CELL_FLOAT)) {
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

/* A histogram: counted by some, summed by some, ignored with a note by others. */
static enum tsdb_status add_histogram(struct op_aggregate *o, size_t at, const struct point *p)
{
    struct exec *x = o->op.x;
    enum token_type op = o->op.expr->u.aggregate.op;
    struct cell *c = &o->cells[at];
    if (op == TOKEN_COUNT || op == TOKEN_GROUP) {
        c->seen = 1;
        c->count++;
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

static enum tsdb_status add_column(struct op_aggregate *o, uint32_t group, const struct column *c)
{
    enum token_type op = o->op.expr->u.aggregate.op;
    size_t base = (size_t)group * o->op.grid.count;
    enum tsdb_status status = TSDB_OK;
    tsdb_arena_reset(o->views);
    for (uint32_t i = 0; i < o->op.grid.count && status == TSDB_OK; i++) {
        struct cell *cell = &o->cells[base + i];
        if (c->kind[i] == POINT_HISTOGRAM) {
            const struct point p = column_point(c, i);
            status = add_histogram(o, base + i, &p);
        } else if (c->kind[i] == POINT_FLOAT && op == TOKEN_QUANTILE) {
            status = add_value(o, &o->values[base + i], c->v[i]);
        } else if (c->kind[i] == POINT_FLOAT) {
            add_float(op, cell, c->v[i]);
        }
    }
    if (status == TSDB_OK && op == TOKEN_QUANTILE) {
        status = exec_hold(o->op.x, column_count(c, o->op.grid.count));
    }
    return status;
}

/* ---- output ---- */

static double cell_value(enum token_type op, const struct cell *c)
{
    switch ((int)op) {
    case TOKEN_SUM:
        return c->a + c->b;
    case TOKEN_AVG: {
        struct num_mean m = {c->a, c->b, c->count, c->flags & CELL_INCREMENTAL};
        return num_mean_value(&m);
    }
    case TOKEN_COUNT:
        return c->count;
    case TOKEN_GROUP:
        return 1;
    case TOKEN_STDVAR:
        return c->b / c->count;
    case TOKEN_STDDEV:
        return sqrt(c->b / c->count);
    default:
        return c->a;
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
    if (o->cells[base + i].flags & CELL_FLOAT) {
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
        } else if (o->cells[base + i].flags & CELL_HISTOGRAM) {
            status = put_histograms(o, out, base, i);
        } else if (o->cells[base + i].seen) {
            out->kind[i] = POINT_FLOAT;
            out->v[i] = cell_value(type, &o->cells[base + i]);
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
        if (!label_map_put(&map, labels, &key, &group[i], &is_new)) {
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
    o->cells = TSDB_ARENA_ARRAY(x->arena, struct cell, n);
    if (!o->cells) {
        return exec_nomem(x);
    }
    memset(o->cells, 0, n * sizeof *o->cells);
    if (o->op.expr->u.aggregate.op == TOKEN_QUANTILE) {
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

enum tsdb_status op_aggregate_build(struct exec *x, const struct query_expr *e,
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
        status = exec_build(x, e->u.aggregate.body, grid, &o->child);
    }
    if (status == TSDB_OK) {
        status = aggregate_group(x, e, o->child, &o->group, &o->op.series, &o->op.series_count);
    }
    return status == TSDB_OK ? alloc_cells(o) : status;
}
