/* The roof over all operators: which one evaluates an expression. */
#include "query/eval/build.h"

#include "base/assert.h"
#include "query/eval/func.h"
#include "query/eval/operators.h"

/* The value of a subtree that does not depend on the step, computed once and handed out at every
 * step. */
struct op_repeat {
    struct op op;
    struct op *child;
    struct column one;
};

static enum tsdb_status repeat_next(struct op *op, struct column *out)
{
    struct op_repeat *r = (struct op_repeat *)op;
    enum tsdb_status status = op_next(r->child, &r->one);
    if (status != TSDB_OK) {
        return status;
    }
    if (r->one.kind[0] == POINT_NONE) {
        column_clear(out, op->grid.count);
        return TSDB_OK;
    }
    struct point p = column_point(&r->one, 0);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        status = column_put(op->x, out, op->grid.count, i, p);
    }
    return status;
}

/* timestamp(selector) is the time of a sample, timestamp(f(...)) that of the step. */
static bool is_of_samples(const struct query_expr *e)
{
    return e->u.call.function->tells_sample_time &&
           query_expr_unwrap(e->u.call.args[0])->kind == EXPR_VECTOR;
}

/* Does e have the same value at every step? Numbers do, selectors with @ do, most functions of such
 * arguments do. */
static bool is_constant(const struct query_expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_DURATION:
        return true;
    case EXPR_VECTOR:
        return e->u.vector.shift.at != QUERY_AT_NONE;
    case EXPR_MATRIX:
        return is_constant(e->u.matrix.selector);
    case EXPR_SUBQUERY:
        return e->u.subquery.shift.at != QUERY_AT_NONE;
    case EXPR_PAREN:
        return is_constant(e->u.paren);
    case EXPR_UNARY:
        return is_constant(e->u.unary.body);
    case EXPR_BINARY:
        return is_constant(e->u.binary.left) && is_constant(e->u.binary.right);
    case EXPR_AGGREGATE:
        return is_constant(e->u.aggregate.body) &&
               (!e->u.aggregate.param || is_constant(e->u.aggregate.param));
    case EXPR_CALL:
        break;
    }
    if (e->u.call.function->time_dependent && !is_of_samples(e)) {
        return false;
    }
    for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
        if (!is_constant(e->u.call.args[i])) {
            return false;
        }
    }
    return true;
}

static enum tsdb_status build_node(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out);

static enum tsdb_status repeat_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op **out)
{
    const struct grid once = {grid->start_ms, grid->step_ms, 1};
    struct op *child = NULL;
    enum tsdb_status status = build_node(x, e, &once, &child);
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(child != NULL);
    struct op_repeat *r = (struct op_repeat *)op_new(x, sizeof *r, e, grid, repeat_next);
    if (!r) {
        return exec_nomem(x);
    }
    r->child = child;
    op_series_share(&r->op, child);
    *out = &r->op;
    return column_init(x, &r->one, 1);
}

/* What computes a function: one of these, none if it is not supported. */
struct implementation {
    func_map_fn *map;
    func_range_fn *range;
    op_build_fn *build;
};

#define MAP(f)   .map = (f)
#define RANGE(f) .range = (f)
#define BUILD(f) .build = (f)
#define NOT_YET  .build = NULL

#define FUNCTION(name, implementation, ...) [QUERY_FUNCTION_##name] = {implementation},

static const struct implementation implementations[QUERY_FUNCTION_COUNT] = {
#include "query/lang/functions.def"
};

static enum tsdb_status call_build(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out)
{
    const struct query_function *f = e->u.call.function;
    const struct implementation *i = &implementations[f->id];
    if (is_of_samples(e)) {
        return op_timestamp_build(x, e, grid, out);
    }
    if (i->build) {
        return i->build(x, e, grid, out);
    }
    if (i->map) {
        return op_map_build(x, e, grid, i->map, out);
    }
    if (i->range) {
        return op_range_build(x, e, grid, i->range, out);
    }
    TSDB_ASSERT(!f->supported);
    return exec_fail(x, TSDB_UNSUPPORTED, "function \"%s\" is not supported yet", f->name);
}

static enum tsdb_status operands_build(struct exec *x, const struct query_expr *e,
                                       const struct grid *grid, struct op **out)
{
    if (e->u.binary.has_matching) {
        return token_is_set_operator(e->u.binary.op) ? op_set_build(x, e, grid, out)
                                                     : op_join_build(x, e, grid, out);
    }
    return e->type == QUERY_TYPE_SCALAR ? op_scalars_build(x, e, grid, out)
                                        : op_side_build(x, e, grid, out);
}

static enum tsdb_status binary_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op **out)
{
    bool trims = e->u.binary.op == TOKEN_TRIM_LOWER || e->u.binary.op == TOKEN_TRIM_UPPER;
    x->in_buckets += trims;
    enum tsdb_status status = operands_build(x, e, grid, out);
    x->in_buckets -= trims;
    return status;
}

static enum tsdb_status aggregate_build(struct exec *x, const struct query_expr *e,
                                        const struct grid *grid, struct op **out)
{
    switch ((int)e->u.aggregate.op) {
    case TOKEN_TOPK:
    case TOKEN_BOTTOMK:
    case TOKEN_LIMITK:
        return op_topk_build(x, e, grid, out);
    case TOKEN_LIMIT_RATIO:
        return op_ratio_build(x, e, grid, out);
    case TOKEN_COUNT_VALUES:
        return op_count_values_build(x, e, grid, out);
    default:
        return op_aggregate_build(x, e, grid, out);
    }
}

static enum tsdb_status build_node(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out)
{
    switch (e->kind) {
    case EXPR_NUMBER:
        return op_constant_build(x, e, grid, e->u.number.value, out);
    case EXPR_VECTOR:
        return op_vector_build(x, e, grid, out);
    case EXPR_UNARY:
        return op_unary_build(x, e, grid, out);
    case EXPR_BINARY:
        return binary_build(x, e, grid, out);
    case EXPR_AGGREGATE:
        return aggregate_build(x, e, grid, out);
    case EXPR_CALL:
        return call_build(x, e, grid, out);
    case EXPR_PAREN:
    case EXPR_STRING:
    case EXPR_MATRIX:
    case EXPR_SUBQUERY:
    case EXPR_DURATION:
        break;
    }
    TSDB_ASSERT(e->type == QUERY_TYPE_SCALAR || e->type == QUERY_TYPE_VECTOR);
    return exec_fail(x, TSDB_UNSUPPORTED, "expression of an unknown kind");
}

enum tsdb_status build_expr(struct exec *x, const struct query_expr *e, const struct grid *grid,
                            struct op **out)
{
    e = query_expr_unwrap(e);
    if (grid->count > 1 && e->kind != EXPR_NUMBER && is_constant(e)) {
        return repeat_build(x, e, grid, out);
    }
    enum tsdb_status status = build_node(x, e, grid, out);
    return status == TSDB_OK ? op_ahead_wrap(out) : status;
}
