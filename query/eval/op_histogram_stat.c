/* histogram_count, histogram_sum, histogram_avg, histogram_stddev and histogram_stdvar. */
#include "query/eval/operators.h"

struct op_stat {
    struct op op;
    struct op *child;
    struct tsdb_arena *scratch; /* of one histogram */
};

static double stat_value(enum query_variant variant, const struct hist *h)
{
    switch ((int)variant) {
    case QUERY_STAT_COUNT:
        return h->count;
    case QUERY_STAT_SUM:
        return h->sum;
    case QUERY_STAT_AVG:
        return hist_avg(h);
    case QUERY_STAT_STDDEV:
        return hist_stddev(h);
    default:
        return hist_stdvar(h);
    }
}

static enum tsdb_status stat_next(struct op *op, struct column *out)
{
    struct op_stat *o = (struct op_stat *)op;
    enum query_variant variant = op->expr->u.call.function->variant;
    enum tsdb_status status = op_next(o->child, out);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (out->kind[i] != POINT_HISTOGRAM) {
            out->kind[i] = POINT_NONE;
            continue;
        }
        struct hist h = {0};
        tsdb_arena_reset(o->scratch);
        status = histogram_view(op->x, out->h[i], o->scratch, &h);
        out->kind[i] = POINT_FLOAT;
        out->v[i] = status == TSDB_OK ? stat_value(variant, &h) : 0;
    }
    return status;
}

enum tsdb_status op_histogram_stat_build(struct exec *x, const struct query_expr *e,
                                         const struct grid *grid, struct op **out)
{
    struct op_stat *o = (struct op_stat *)op_new(x, sizeof *o, e, grid, stat_next);
    struct tsdb_arena *scratch = exec_scratch(x);
    if (!o || !scratch) {
        return exec_nomem(x);
    }
    o->scratch = scratch;
    x->in_stats += e->u.call.function->leaves_buckets;
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &o->child);
    x->in_stats -= e->u.call.function->leaves_buckets;
    return status == TSDB_OK ? op_series_unnamed(&o->op, o->child, false, out) : status;
}
