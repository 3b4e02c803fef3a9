/* Columns, and what operators have in common. */
#include "query/eval/op.h"

#include "base/assert.h"

/* ---- columns ---- */

enum tsdb_status column_init(struct exec *x, struct column *c, uint32_t steps)
{
    size_t n = TSDB_MAX(steps, 1);
    *c = (struct column){TSDB_ARENA_ARRAY(x->arena, double, n),
                         TSDB_ARENA_ARRAY(x->arena, uint8_t, n), NULL};
    if (!c->v || !c->kind) {
        return exec_nomem(x);
    }
    memset(c->kind, POINT_NONE, n);
    return TSDB_OK;
}

/* Make room for histograms. */
static enum tsdb_status column_histograms(struct exec *x, struct column *c, uint32_t steps)
{
    if (c->h) {
        return TSDB_OK;
    }
    c->h = TSDB_ARENA_ARRAY(x->arena, const struct tsdb_histogram *, TSDB_MAX(steps, 1));
    return c->h ? TSDB_OK : exec_nomem(x);
}

void column_clear(struct column *c, uint32_t steps)
{
    memset(c->kind, POINT_NONE, steps);
}

uint32_t column_count(const struct column *c, uint32_t steps)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < steps; i++) {
        n += c->kind[i] != POINT_NONE;
    }
    return n;
}

enum tsdb_status column_put(struct exec *x, struct column *c, uint32_t steps, uint32_t i,
                            struct point p)
{
    TSDB_ASSERT(i < steps);
    c->kind[i] = p.h ? POINT_HISTOGRAM : POINT_FLOAT;
    c->v[i] = p.v;
    if (!p.h) {
        return TSDB_OK;
    }
    enum tsdb_status status = column_histograms(x, c, steps);
    if (status == TSDB_OK) {
        c->h[i] = p.h;
    }
    return status;
}

enum tsdb_status column_keep_point(struct exec *x, struct column *c, uint32_t steps, uint32_t i,
                                   struct point p)
{
    if (p.h) {
        p.h = exec_keep_histogram(x, p.h);
        if (!p.h) {
            return exec_nomem(x);
        }
    }
    return column_put(x, c, steps, i, p);
}

enum tsdb_status column_keep_all(struct exec *x, struct column *c, uint32_t steps)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; c->h && i < steps && status == TSDB_OK; i++) {
        if (c->kind[i] == POINT_HISTOGRAM) {
            status = column_keep_point(x, c, steps, i, column_point(c, i));
        }
    }
    return status;
}

enum tsdb_status column_copy(struct exec *x, struct column *dst, const struct column *src,
                             uint32_t steps)
{
    memcpy(dst->v, src->v, steps * sizeof *dst->v);
    memcpy(dst->kind, src->kind, steps);
    if (!src->h) {
        return TSDB_OK;
    }
    enum tsdb_status status = column_histograms(x, dst, steps);
    if (status == TSDB_OK) {
        memcpy(dst->h, src->h, steps * sizeof *dst->h);
    }
    return status;
}

enum tsdb_status column_keep(struct exec *x, struct column *dst, const struct column *src,
                             uint32_t steps)
{
    enum tsdb_status status = column_copy(x, dst, src, steps);
    return status == TSDB_OK ? column_keep_all(x, dst, steps) : status;
}

/* ---- operators in general ---- */

enum tsdb_status exec_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                            struct op **out)
{
    enum tsdb_status status = TSDB_OK;
    struct query_plan *plan = exec_plan_new(x, query_expr_unwrap(e), &status);
    if (status != TSDB_OK) {
        return status;
    }
    struct exec_work work = exec_work_begin(x, plan);
    status = x->build(x, e, grid, out);
    exec_work_end(x, plan, &work);
    if (status == TSDB_OK) {
        (*out)->turn = ++x->turns;
        (*out)->plan = plan;
        if (plan) {
            plan->series = (*out)->series_count;
        }
    }
    return status;
}

struct op *op_new(struct exec *x, size_t bytes, const struct query_expr *e, const struct grid *grid,
                  enum tsdb_status (*next)(struct op *, struct column *))
{
    TSDB_ASSERT(bytes >= sizeof(struct op) && grid->step_ms > 0);
    struct op *op = tsdb_arena_alloc(x->arena, bytes, 16);
    if (op) {
        memset(op, 0, bytes);
        op->next = next;
        op->x = x;
        op->grid = *grid;
        op->expr = e;
    }
    return op;
}

struct op *op_copy(const struct op *op, size_t bytes, struct exec *x)
{
    struct op *copy = tsdb_arena_alloc(op->x->arena, bytes, 16);
    if (copy) {
        memcpy(copy, op, bytes);
        copy->x = x;
        copy->plan = NULL;
        copy->pos = 0;
    }
    return copy;
}

enum tsdb_status op_next(struct op *op, struct column *out)
{
    TSDB_ASSERT(op->pos < op->series_count);
    uint32_t outer = op->x->turn;
    enum tsdb_status status = exec_poll(op->x);
    if (status == TSDB_OK) {
        op->x->turn = op->turn > 0 ? op->turn : outer; /* 0: part of the one around it */
        const struct exec_work work = exec_work_begin(op->x, op->plan);
        status = op->next(op, out);
        exec_work_end(op->x, op->plan, &work);
        op->x->turn = outer;
    }
    op->pos++;
    return status;
}

enum tsdb_status op_series_single(struct op *op)
{
    op->series = TSDB_ARENA_NEW(op->x->arena, struct op_series);
    if (!op->series) {
        return exec_nomem(op->x);
    }
    *op->series = (struct op_series){0};
    op->series_count = 1;
    return TSDB_OK;
}

void op_series_share(struct op *op, const struct op *child)
{
    op->series = child->series;
    op->series_count = child->series_count;
}

enum tsdb_status exec_discard(struct op *op)
{
    struct column c;
    enum tsdb_status status =
        op->pos < op->series_count ? column_init(op->x, &c, op->grid.count) : TSDB_OK;
    while (status == TSDB_OK && op->pos < op->series_count) {
        status = op_next(op, &c);
    }
    return status;
}

enum tsdb_status exec_drain(struct op *op, struct column **out)
{
    struct exec *x = op->x;
    struct column *columns =
        TSDB_ARENA_ARRAY(x->arena, struct column, TSDB_MAX(op->series_count, 1));
    struct column scratch;
    if (!columns) {
        return exec_nomem(x);
    }
    enum tsdb_status status = column_init(x, &scratch, op->grid.count);
    for (uint32_t i = 0; i < op->series_count && status == TSDB_OK; i++) {
        columns[i] = (struct column){0};
        status = op_next(op, &scratch);
        if (status == TSDB_OK && column_count(&scratch, op->grid.count) > 0) {
            status = exec_hold(x, op->grid.count);
            if (status == TSDB_OK) {
                status = column_init(x, &columns[i], op->grid.count);
            }
            if (status == TSDB_OK) {
                status = column_keep(x, &columns[i], &scratch, op->grid.count);
            }
        }
    }
    *out = columns;
    return status;
}

enum tsdb_status exec_scalar(struct exec *x, const struct query_expr *e, const struct grid *grid,
                             const double **out)
{
    struct op *op;
    struct column c;
    enum tsdb_status status = exec_build(x, e, grid, &op);
    if (status == TSDB_OK) {
        status = column_init(x, &c, grid->count);
    }
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(op->series_count == 1 && op->pos == 0);
    status = op_next(op, &c);
    *out = c.v;
    return status;
}

struct op_values {
    struct op op;
    const double *values; /* NULL: `constant` at every step */
    double constant;
};

static enum tsdb_status values_next(struct op *op, struct column *out)
{
    const struct op_values *v = (const struct op_values *)op;
    for (uint32_t i = 0; i < op->grid.count; i++) {
        out->v[i] = v->values ? v->values[i] : v->constant;
    }
    memset(out->kind, POINT_FLOAT, op->grid.count);
    return TSDB_OK;
}

static enum tsdb_status values_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, const double *values, double constant,
                                     struct op **out)
{
    struct op_values *v = (struct op_values *)op_new(x, sizeof *v, e, grid, values_next);
    if (!v) {
        return exec_nomem(x);
    }
    v->values = values;
    v->constant = constant;
    *out = &v->op;
    return op_series_single(&v->op);
}

enum tsdb_status op_values_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, const double *values, struct op **out)
{
    return values_build(x, e, grid, values, 0, out);
}

enum tsdb_status op_constant_build(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, double value, struct op **out)
{
    return values_build(x, e, grid, NULL, value, out);
}
