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

static bool binary_element(enum token_type op, double l, double r, double *out)
{
    if (token_is_comparison(op)) {
        *out = l;
        return compare(op, l, r);
    }
    *out = binary_scalar(op, l, r);
    return true;
}

static bool binary_is_trim(enum token_type op)
{
    return op == TOKEN_TRIM_LOWER || op == TOKEN_TRIM_UPPER;
}

static void binary_note_types(struct exec *x, const struct query_expr *e, bool left_histogram,
                              bool right_histogram)
{
    const char *op = token_type_text(e->u.binary.op);
    exec_note(x, true, e->start,
              "incompatible sample types encountered for binary operator \"%s\": %s %s %s", op,
              left_histogram ? "histogram" : "float", op, right_histogram ? "histogram" : "float");
}

/* h + h and h - h */
static enum tsdb_status combine(struct exec *x, const struct query_expr *e, const struct hist *l,
                                const struct hist *r, struct tsdb_arena *arena, struct pair *out)
{
    bool add = e->u.binary.op == TOKEN_ADD;
    const char *operation = add ? "addition" : "subtraction";
    struct hist sum = *l;
    struct hist_effects effects = {0};
    enum tsdb_status status =
        add ? hist_add(&sum, r, arena, &effects) : hist_sub(&sum, r, arena, &effects);
    if (status == TSDB_INVALID) {
        exec_note(x, false, e->start,
                  "incompatible bucket layout encountered for binary operator %s",
                  token_type_text(e->u.binary.op));
        return TSDB_OK;
    }
    if (effects.hint_conflict) { /* and there is no result */
        histogram_note_conflict(x, e->start, operation);
        return histogram_status(x, status);
    }
    if (effects.bounds_reconciled) {
        histogram_note_bounds(x, e->start, operation);
    }
    if (!add) {
        sum.reset_hint = TSDB_RESET_GAUGE;
    }
    if (status == TSDB_OK) {
        status = hist_compact(&sum, arena);
    }
    if (status != TSDB_OK) {
        return histogram_status(x, status);
    }
    out->matched = out->keep = true;
    return histogram_point(x, &sum, arena, &out->value);
}

static enum tsdb_status two_histograms(struct exec *x, const struct query_expr *e, struct point l,
                                       struct point r, struct tsdb_arena *arena, struct pair *out)
{
    enum token_type op = e->u.binary.op;
    bool compares = op == TOKEN_EQLC || op == TOKEN_NEQ;
    if (!compares && op != TOKEN_ADD && op != TOKEN_SUB) {
        binary_note_types(x, e, true, true);
        return TSDB_OK;
    }
    struct hist a;
    struct hist b;
    enum tsdb_status status = histogram_view(x, l.h, arena, &a);
    if (status == TSDB_OK) {
        status = histogram_view(x, r.h, arena, &b);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (!compares) {
        return combine(x, e, &a, &b, arena, out);
    }
    *out = (struct pair){l, true, hist_equal(&a, &b) == (op == TOKEN_EQLC)};
    return TSDB_OK;
}

static enum tsdb_status trim_above(struct hist *h, double at, struct tsdb_arena *arena)
{
    return hist_trim(h, at, true, arena);
}

static enum tsdb_status trim_below(struct hist *h, double at, struct tsdb_arena *arena)
{
    return hist_trim(h, at, false, arena);
}

/* A histogram and a number, on whichever side. */
static enum tsdb_status scaled(struct exec *x, const struct query_expr *e, struct point l,
                               struct point r, struct tsdb_arena *arena, struct pair *out)
{
    enum token_type op = e->u.binary.op;
    histogram_change_fn *change = op == TOKEN_MUL          ? hist_mul
                                  : !l.h                   ? NULL
                                  : op == TOKEN_DIV        ? hist_div
                                  : op == TOKEN_TRIM_UPPER ? trim_above
                                  : op == TOKEN_TRIM_LOWER ? trim_below
                                                           : NULL;
    if (!change) {
        binary_note_types(x, e, l.h != NULL, r.h != NULL);
        return TSDB_OK;
    }
    *out = (struct pair){l.h ? l : r, true, true};
    return histogram_change(x, &out->value, change, l.h ? r.v : l.v, !binary_is_trim(op), arena);
}

enum tsdb_status binary_pair(struct exec *x, const struct query_expr *e, struct point l,
                             struct point r, struct tsdb_arena *arena, struct pair *out)
{
    enum token_type op = e->u.binary.op;
    enum tsdb_status status = TSDB_OK;
    *out = (struct pair){0};
    if (l.h && r.h) {
        status = two_histograms(x, e, l, r, arena, out);
    } else if (l.h || r.h) {
        status = scaled(x, e, l, r, arena, out);
    } else if (binary_is_trim(op)) {
        binary_note_types(x, e, false, false);
    } else {
        out->matched = true;
        out->keep = binary_element(op, l.v, r.v, &out->value.v);
    }
    if (out->matched && e->u.binary.returns_bool) {
        out->value = (struct point){out->keep ? 1 : 0, NULL};
        out->keep = true;
    }
    return status;
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
    struct tsdb_arena *scratch; /* of one series' histograms */
    bool scalar_left;
};

static enum tsdb_status minus_next(struct op *op, struct column *out)
{
    struct op_scalar_side *u = (struct op_scalar_side *)op;
    enum tsdb_status status = op_next(u->child, out);
    tsdb_arena_reset(u->scratch);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        struct point p = {0};
        if (out->kind[i] == POINT_HISTOGRAM) {
            p.h = out->h[i];
            status = histogram_change(op->x, &p, hist_mul, -1, false, u->scratch);
            out->h[i] = p.h;
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
    struct tsdb_arena *scratch = exec_scratch(x);
    if (!u || !scratch) {
        return exec_nomem(x);
    }
    u->scratch = scratch;
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
        return exec_fail(x, TSDB_INVALID, "operator \"%s\" not allowed for Scalar operations",
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

static enum tsdb_status side_next(struct op *op, struct column *out)
{
    struct op_scalar_side *b = (struct op_scalar_side *)op;
    const struct query_expr *e = op->expr;
    bool filters = token_is_comparison(e->u.binary.op) && !e->u.binary.returns_bool;
    enum tsdb_status status = op_next(b->child, out);
    tsdb_arena_reset(b->scratch);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (out->kind[i] == POINT_NONE) {
            continue;
        }
        struct pair pair;
        struct point v = column_point(out, i);
        struct point scalar = {b->scalar[i], NULL};
        status = binary_pair(op->x, e, b->scalar_left ? scalar : v, b->scalar_left ? v : scalar,
                             b->scratch, &pair);
        if (!pair.keep) {
            out->kind[i] = POINT_NONE;
        } else if (!filters && status == TSDB_OK) { /* a filter keeps the vector's element */
            status = column_put(op->x, out, op->grid.count, i, pair.value);
        }
    }
    return status;
}

enum tsdb_status op_side_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_scalar_side *b = (struct op_scalar_side *)op_new(x, sizeof *b, e, grid, side_next);
    struct tsdb_arena *scratch = exec_scratch(x);
    if (!b || !scratch) {
        return exec_nomem(x);
    }
    b->scratch = scratch;
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
