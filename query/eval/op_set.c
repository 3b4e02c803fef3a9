/* and, or, unless: presence of one side decides about the other, step by step. */
#include "query/eval/exec_private.h"

#include "query/eval/labels.h"

struct label_key binary_label_key(const struct query_matching *m)
{
    return (struct label_key){.only = m->on, .drop_name = !m->on, .names = m->labels};
}

struct op_set {
    struct op op;
    struct op *left, *right;
    uint32_t *left_group, *right_group; /* per series the number of its key */
    uint32_t group_count;
    uint8_t **present; /* per group and step: is there a sample on the deciding side (or: the left,
                          else the right); NULL: nowhere */
    bool decided;      /* `present` is complete */
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
        status = status == TSDB_OK ? mark(o, o->right_group[i], &c) : status;
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
    status = status == TSDB_OK ? op_next(o->left, out) : status;
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

static enum tsdb_status group_series(struct op_set *o, struct label_map *map, const struct op *side,
                                     uint32_t **out)
{
    struct exec *x = o->op.x;
    const struct label_key key = binary_label_key(&o->op.expr->u.binary.matching);
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
    status = status == TSDB_OK ? exec_build(x, e->u.binary.right, grid, &o->right) : status;
    status = status == TSDB_OK ? group_series(o, &map, o->left, &o->left_group) : status;
    status = status == TSDB_OK ? group_series(o, &map, o->right, &o->right_group) : status;
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
    o->op.series = o->left->series;
    o->op.series_count = o->left->series_count;
    return o->left->series_count == 0 ? exec_discard(o->right) : TSDB_OK;
}
