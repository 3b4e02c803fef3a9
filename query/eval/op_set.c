/* and, or, unless: presence of one side decides about the other, step by step. */
#include "query/eval/operators.h"

struct op_set {
    struct op op;
    struct op *left, *right;
    uint32_t *left_group, *right_group; /* per series the number of its key */
    uint32_t group_count;
    /* Per group and step: is there a sample on the deciding side (of "or" the left, else the
     * right)? NULL: nowhere. */
    uint8_t **present;
    bool decided; /* `present` is complete */
};

static enum tsdb_status mark(struct op_set *o, uint32_t group, const struct column *c)
{
    uint32_t steps = o->op.grid.count;
    if (column_count(c, steps) == 0) {
        return TSDB_OK;
    }
    uint8_t *p = o->present[group];
    if (!p) {
        p = TSDB_ARENA_ARRAY(o->op.x->arena, uint8_t, TSDB_MAX(steps, 1));
        if (!p) {
            return exec_nomem(o->op.x);
        }
        memset(p, 0, steps);
        o->present[group] = p;
    }
    for (uint32_t i = 0; i < steps; i++) {
        p[i] |= c->kind[i] != POINT_NONE;
    }
    return TSDB_OK;
}

static enum tsdb_status decide(struct op_set *o)
{
    struct column c;
    enum tsdb_status status = column_init(o->op.x, &c, o->op.grid.count);
    for (uint32_t i = 0; i < o->right->series_count && status == TSDB_OK; i++) {
        status = op_next(o->right, &c);
        if (status == TSDB_OK) {
            status = mark(o, o->right_group[i], &c);
        }
    }
    o->decided = true;
    return status;
}

/* and, unless */
static enum tsdb_status filter_next(struct op *op, struct column *out)
{
    struct op_set *o = (struct op_set *)op;
    bool want = op->expr->u.binary.op == TOKEN_LAND;
    enum tsdb_status status = o->decided ? TSDB_OK : decide(o);
    if (status == TSDB_OK) {
        status = op_next(o->left, out);
    }
    if (status != TSDB_OK) {
        return status;
    }
    const uint8_t *p = o->present[o->left_group[op->pos]];
    for (uint32_t i = 0; i < op->grid.count; i++) {
        bool there = p && p[i];
        if (there != want) {
            out->kind[i] = POINT_NONE;
        }
    }
    return TSDB_OK;
}

/* or: first everything of the left side, then what the right side adds. */
static enum tsdb_status or_next(struct op *op, struct column *out)
{
    struct op_set *o = (struct op_set *)op;
    if (op->pos < o->left->series_count) {
        enum tsdb_status status = op_next(o->left, out);
        return status == TSDB_OK ? mark(o, o->left_group[op->pos], out) : status;
    }
    uint32_t i = op->pos - o->left->series_count;
    enum tsdb_status status = op_next(o->right, out);
    const uint8_t *p = o->present[o->right_group[i]];
    for (uint32_t k = 0; p && k < op->grid.count && status == TSDB_OK; k++) {
        if (p[k]) {
            out->kind[k] = POINT_NONE;
        }
    }
    return status;
}

static enum tsdb_status or_series(struct op_set *o)
{
    struct exec *x = o->op.x;
    uint32_t n = o->left->series_count;
    uint32_t m = o->right->series_count;
    o->op.series_count = n + m;
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX((size_t)n + m, 1));
    if (!o->op.series) {
        return exec_nomem(x);
    }
    if (n > 0) {
        memcpy(o->op.series, o->left->series, n * sizeof *o->op.series);
    }
    if (m > 0) {
        memcpy(o->op.series + n, o->right->series, m * sizeof *o->op.series);
    }
    return TSDB_OK;
}

enum tsdb_status op_set_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              struct op **out)
{
    bool is_or = e->u.binary.op == TOKEN_LOR;
    struct op_set *o =
        (struct op_set *)op_new(x, sizeof *o, e, grid, is_or ? or_next : filter_next);
    if (!o) {
        return exec_nomem(x);
    }
    struct label_map map;
    label_map_init(&map, x->arena);
    enum tsdb_status status = exec_build(x, e->u.binary.left, grid, &o->left);
    if (status == TSDB_OK) {
        status = exec_build(x, e->u.binary.right, grid, &o->right);
    }
    const struct query_matching *m = &e->u.binary.matching;
    if (status == TSDB_OK) {
        status = binary_group(x, m, &map, o->left, &o->left_group);
    }
    if (status == TSDB_OK) {
        status = binary_group(x, m, &map, o->right, &o->right_group);
    }
    if (status != TSDB_OK) {
        return status;
    }
    o->group_count = map.count;
    o->present = TSDB_ARENA_ARRAY(x->arena, uint8_t *, TSDB_MAX(map.count, 1));
    if (!o->present) {
        return exec_nomem(x);
    }
    memset(o->present, 0, TSDB_MAX(map.count, 1) * sizeof *o->present);
    *out = &o->op;
    if (is_or) {
        status = or_series(o);
        /* Both sides may have the same series; at a step only one of them may be there. */
        return status == TSDB_OK ? op_merge_equal(out, false) : status;
    }
    op_series_share(&o->op, o->left);
    return o->left->series_count == 0 ? exec_discard(o->right) : TSDB_OK;
}
