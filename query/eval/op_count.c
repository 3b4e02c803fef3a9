/* count(selector), group(selector), and the same by one label, at one step: storage counts series without giving
 * them out one by one, where it can. */
#include "query/eval/operators.h"

#include "query/eval/select.h"
#include "tsdb/tsdb.h"

struct op_count {
    struct op op;
    const struct tsdb_count_group *groups;
};

static enum tsdb_status count_next(struct op *op, struct column *out)
{
    const struct op_count *o = (const struct op_count *)op;
    uint64_t n = o->groups[op->pos].series;
    out->kind[0] = n > 0 ? POINT_FLOAT : POINT_NONE;
    out->v[0] = op->expr->u.aggregate.op == TOKEN_GROUP ? 1 : (double)n;
    return TSDB_OK;
}

/* Explain wants to know what was done of each operator, so it is done as ever. */
static bool is_countable(const struct exec *x, const struct query_expr *e, const struct grid *grid)
{
    const struct query_expr *body = query_expr_unwrap(e->u.aggregate.body);
    bool counts = e->u.aggregate.op == TOKEN_COUNT || e->u.aggregate.op == TOKEN_GROUP;
    return counts && !e->u.aggregate.without && e->u.aggregate.grouping.count <= 1 &&
           body->kind == EXPR_VECTOR && !body->u.vector.smoothed && grid->count == 1 &&
           x->source->ops->count && !x->plan && !x->options->delayed_name_removal &&
           select_reader(x) == select_read;
}

static enum tsdb_status groups_make(struct op_count *o, const struct tsdb_series_count *found)
{
    struct exec *x = o->op.x;
    const struct query_names names = o->op.expr->u.aggregate.grouping;
    uint32_t n = TSDB_MAX(found->count, 1u);
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, n);
    struct tsdb_label *labels = TSDB_ARENA_ARRAY(x->arena, struct tsdb_label, n);
    if (!o->op.series || !labels) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < found->count; i++) {
        const struct tsdb_slice value = found->groups[i].value;
        o->op.series[i] = (struct op_series){0};
        if (value.len > 0) {
            labels[i] = (struct tsdb_label){names.items[0].data, (const char *)value.data,
                                            (uint32_t)names.items[0].len, (uint32_t)value.len};
            o->op.series[i].labels = (struct tsdb_labels){&labels[i], 1};
        }
    }
    o->groups = found->groups;
    o->op.series_count = found->count;
    return exec_hold(x, found->count);
}

static void count_samples(struct exec *x, const struct grid *grid,
                          const struct tsdb_series_count *found)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < found->count; i++) {
        n += found->groups[i].series;
    }
    tally_add(&x->tally, grid, 0, x->tally.in_subquery > 0, n, n);
    x->samples_read += found->read;
}

enum tsdb_status op_count_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out)
{
    *out = NULL;
    if (!is_countable(x, e, grid)) {
        return TSDB_OK;
    }
    const struct query_expr *v = query_expr_unwrap(e->u.aggregate.body);
    const struct query_names names = e->u.aggregate.grouping;
    struct tsdb_slice by = {NULL, 0};
    struct tsdb_series_count found;
    int64_t offset_ms;
    int64_t t = grid_time(grid, 0);
    (void)exec_at_ms(x, &v->u.vector.shift, &t);
    enum tsdb_status status = exec_offset_ms(x, &v->u.vector.shift, &offset_ms);
    if (status != TSDB_OK) {
        return status;
    }
    t = time_sub(t, offset_ms);
    if (names.count > 0) {
        by = (struct tsdb_slice){(const uint8_t *)names.items[0].data, names.items[0].len};
    }
    const struct tsdb_time_range range = {time_add(time_sub(t, x->lookback_ms), 1), t};
    status = x->source->ops->count(x->source->ctx, v->u.vector.matchers, v->u.vector.matcher_count,
                                   range, by, x->arena, &found, x->err);
    if (status != TSDB_OK || !found.told) {
        return exec_stopped(x, status);
    }
    struct op_count *o = (struct op_count *)op_new(x, sizeof *o, e, grid, count_next);
    if (!o) {
        return exec_nomem(x);
    }
    *out = &o->op;
    count_samples(x, grid, &found);
    return groups_make(o, &found);
}
