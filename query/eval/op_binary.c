/* Unary minus, binary operators with at least one scalar, and what all binary operators share. */
#include "query/eval/operators.h"

#include "base/assert.h"

#include <math.h>

bool binary_changes_metric(enum token_type op)
{
    return op >= TOKEN_ADD && op <= TOKEN_ATAN2;
}

static bool compare(enum token_type op, double l, double r)
{
    switch ((int)op) {
    case TOKEN_EQLC:
        return l == r;
    case TOKEN_NEQ:
        return l != r;
    case TOKEN_GTR:
        return l > r;
    case TOKEN_LSS:
        return l < r;
    case TOKEN_GTE:
        return l >= r;
    default:
        return l <= r;
    }
}

static double binary_scalar(enum token_type op, double l, double r)
{
    switch ((int)op) {
    case TOKEN_ADD:
        return l + r;
    case TOKEN_SUB:
        return l - r;
    case TOKEN_MUL:
        return l * r;
    case TOKEN_DIV:
        return l / r;
    case TOKEN_POW:
        return pow(l, r);
    case TOKEN_MOD:
        return fmod(l, r);
    case TOKEN_ATAN2:
        return atan2(l, r);
    default:
        return compare(op, l, r) ? 1 : 0;
    }
}

bool binary_element(enum token_type op, double l, double r, double *out)
{
    if (token_is_comparison(op)) {
        *out = l;
        return compare(op, l, r);
    }
    *out = binary_scalar(op, l, r);
    return true;
}

bool binary_is_trim(enum token_type op)
{
    return op == TOKEN_TRIM_LOWER || op == TOKEN_TRIM_UPPER;
}

void binary_note_types(struct exec *x, const struct query_expr *e, bool left_histogram,
                       bool right_histogram)
{
    const char *op = token_type_text(e->u.binary.op);
    exec_note(x, true, e->start,
              "incompatible sample types encountered for binary operator \"%s\": %s %s %s", op,
              left_histogram ? "histogram" : "float", op, right_histogram ? "histogram" : "float");
}

enum tsdb_status binary_unsupported(struct exec *x, enum token_type op)
{
    return tsdb_error_set(x->err, TSDB_UNSUPPORTED,
                          "operator \"%s\" on native histograms is not supported yet",
                          token_type_text(op));
}

enum tsdb_status binary_group(struct exec *x, const struct query_matching *m, struct label_map *map,
                              const struct op *side, uint32_t **out)
{
    const struct label_key key = {.only = m->on, .drop_name = !m->on, .names = m->labels};
    uint32_t *groups = TSDB_ARENA_ARRAY(x->arena, uint32_t, TSDB_MAX(side->series_count, 1));
    if (!groups) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < side->series_count; i++) {
        if (!label_map_put(map, &side->series[i].labels, &key, &groups[i], NULL)) {
            return exec_nomem(x);
        }
    }
    *out = groups;
    return TSDB_OK;
}

/* ---- unary ---- */

struct op_scalar_side {
    struct op op;
    struct op *child; /* the vector */
    const double *scalar;
    bool scalar_left;
};

static enum tsdb_status minus_next(struct op *op, struct column *out)
{
    enum tsdb_status status = op_next(((struct op_scalar_side *)op)->child, out);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (out->kind[i] == POINT_HISTOGRAM) {
            return binary_unsupported(op->x, TOKEN_SUB);
        }
        out->v[i] = out->kind[i] == POINT_FLOAT ? -out->v[i] : 0;
    }
    return status;
}

enum tsdb_status op_unary_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out)
{
    if (e->u.unary.op == TOKEN_ADD) {
        return exec_build(x, e->u.unary.body, grid, out);
    }
    struct op_scalar_side *u = (struct op_scalar_side *)op_new(x, sizeof *u, e, grid, minus_next);
    if (!u) {
        return exec_nomem(x);
    }
    enum tsdb_status status = exec_build(x, e->u.unary.body, grid, &u->child);
    return status == TSDB_OK ? op_series_unnamed(&u->op, u->child, false, out) : status;
}

/* ---- scalar and scalar ---- */

enum tsdb_status op_scalars_build(struct exec *x, const struct query_expr *e,
                                  const struct grid *grid, struct op **out)
{
    const double *l;
    const double *r;
    enum tsdb_status status = exec_scalar(x, e->u.binary.left, grid, &l);
    if (status == TSDB_OK) {
        status = exec_scalar(x, e->u.binary.right, grid, &r);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (binary_is_trim(e->u.binary.op)) {
        return tsdb_error_set(x->err, TSDB_INVALID,
                              "operator \"%s\" not allowed for Scalar operations",
                              token_type_text(e->u.binary.op));
    }
    double *values = TSDB_ARENA_ARRAY(x->arena, double, TSDB_MAX(grid->count, 1));
    if (!values) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < grid->count; i++) {
        values[i] = binary_scalar(e->u.binary.op, l[i], r[i]);
    }
    return op_values_build(x, e, grid, values, out);
}

/* ---- vector and scalar ---- */

/* A histogram and a number: not supported yet where it means something, dropped with a note where
 * it does not. */
static enum tsdb_status histogram_element(struct op_scalar_side *b, struct column *out, uint32_t i)
{
    struct exec *x = b->op.x;
    enum token_type op = b->op.expr->u.binary.op;
    if (op == TOKEN_MUL || (!b->scalar_left && (op == TOKEN_DIV || binary_is_trim(op)))) {
        return binary_unsupported(x, op);
    }
    binary_note_types(x, b->op.expr, !b->scalar_left, b->scalar_left);
    out->kind[i] = POINT_NONE;
    return TSDB_OK;
}

static enum tsdb_status side_next(struct op *op, struct column *out)
{
    struct op_scalar_side *b = (struct op_scalar_side *)op;
    const struct query_expr *e = op->expr;
    enum token_type type = e->u.binary.op;
    enum tsdb_status status = op_next(b->child, out);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (out->kind[i] == POINT_NONE) {
            continue;
        }
        if (out->kind[i] == POINT_HISTOGRAM) {
            status = histogram_element(b, out, i);
            continue;
        }
        if (binary_is_trim(type)) {
            binary_note_types(op->x, e, false, false);
            out->kind[i] = POINT_NONE;
            continue;
        }
        double v = out->v[i];
        double l = b->scalar_left ? b->scalar[i] : v;
        double r = b->scalar_left ? v : b->scalar[i];
        bool keep = binary_element(type, l, r, &out->v[i]);
        if (token_is_comparison(type)) {
            out->v[i] = v; /* the vector's element, on whichever side it stands */
        }
        if (e->u.binary.returns_bool) {
            out->v[i] = keep ? 1 : 0;
        } else if (!keep) {
            out->kind[i] = POINT_NONE;
        }
    }
    return status;
}

enum tsdb_status op_side_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_scalar_side *b = (struct op_scalar_side *)op_new(x, sizeof *b, e, grid, side_next);
    if (!b) {
        return exec_nomem(x);
    }
    const struct query_expr *l = e->u.binary.left;
    const struct query_expr *r = e->u.binary.right;
    b->scalar_left = l->type == QUERY_TYPE_SCALAR;
    enum tsdb_status status = exec_scalar(x, b->scalar_left ? l : r, grid, &b->scalar);
    if (status == TSDB_OK) {
        status = exec_build(x, b->scalar_left ? r : l, grid, &b->child);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (!binary_changes_metric(e->u.binary.op) && !e->u.binary.returns_bool) {
        *out = &b->op;
        op_series_share(&b->op, b->child);
        return TSDB_OK;
    }
    return op_series_unnamed(&b->op, b->child, false, out);
}
