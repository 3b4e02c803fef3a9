/* Instant vectors: of a selector at every step the newest sample, or one drawn between two. */
#include "query/eval/operators.h"

#include "query/eval/select.h"

struct op_vector {
    struct op op;
    struct query_series_set set;
    struct tsdb_arena *scratch;
    int64_t offset_ms;
    int64_t at_ms;
    bool fixed;     /* @ */
    bool timestamp; /* give the time of the sample, not its value */
};

static int64_t reference_time(const struct op_vector *v, uint32_t i)
{
    return time_sub(v->fixed ? v->at_ms : grid_time(&v->op.grid, i), v->offset_ms);
}

static enum tsdb_status put_sample(struct op_vector *v, const struct tsdb_columns *c, uint32_t i,
                                   uint32_t step, struct column *out)
{
    struct point p =
        v->timestamp ? (struct point){(double)c->t_ms[i] / 1000, NULL} : sample_point(c, i);
    return column_put(v->op.x, out, v->op.grid.count, step, p);
}

static enum tsdb_status vector_next(struct op *op, struct column *out)
{
    struct op_vector *v = (struct op_vector *)op;
    struct exec *x = op->x;
    uint32_t steps = op->grid.count;
    struct tsdb_columns c;
    if (steps == 0) {
        return TSDB_OK;
    }
    int64_t first = time_add(time_sub(reference_time(v, 0), x->lookback_ms), 1);
    enum tsdb_status status =
        select_read(x, v->set.refs[op->pos], first, reference_time(v, steps - 1), v->scratch, &c);
    uint32_t next = 0; /* first sample later than the reference time */
    for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
        int64_t t = reference_time(v, i);
        while (next < c.count && c.t_ms[next] <= t) {
            next++;
        }
        out->kind[i] = POINT_NONE;
        if (next > 0 && c.t_ms[next - 1] > time_sub(t, x->lookback_ms) &&
            !sample_is_stale(&c, next - 1)) {
            status = put_sample(v, &c, next - 1, i, out);
        }
    }
    return status;
}

/* The value at t on the line between the sample at or before it and the one after it, both within
 * the lookback; behind the last sample its value. Stale markers do not count. *from: the first
 * sample that may matter, only grows. */
static enum tsdb_status smooth_value(struct op_vector *v, const struct tsdb_columns *c, int64_t t,
                                     uint32_t *from, double *out, bool *out_any)
{
    int64_t lookback = v->op.x->lookback_ms;
    uint32_t before = UINT32_MAX;
    while (*from < c->count && c->t_ms[*from] <= time_sub(t, lookback)) {
        (*from)++;
    }
    *out_any = false;
    for (uint32_t k = *from; k < c->count && c->t_ms[k] <= time_add(t, lookback); k++) {
        if (sample_is_stale(c, k)) {
            continue;
        }
        if (!sample_is_float(c, k)) {
            return tsdb_error_set(
                v->op.x->err, TSDB_UNSUPPORTED,
                "the smoothed modifier on native histograms is not supported yet");
        }
        double y = tsdb_bits_double(c->bits[k]);
        if (c->t_ms[k] <= t) {
            before = k;
            *out = y;
            *out_any = true;
        } else {
            if (before != UINT32_MAX && c->t_ms[before] != t) {
                *out += (y - *out) * (double)(t - c->t_ms[before]) /
                        (double)(c->t_ms[k] - c->t_ms[before]);
            }
            break;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status smooth_next(struct op *op, struct column *out)
{
    struct op_vector *v = (struct op_vector *)op;
    struct exec *x = op->x;
    uint32_t steps = op->grid.count;
    uint32_t from = 0;
    struct tsdb_columns c;
    if (steps == 0) {
        return TSDB_OK;
    }
    int64_t first = time_add(time_sub(reference_time(v, 0), x->lookback_ms), 1);
    int64_t last = time_add(reference_time(v, steps - 1), x->lookback_ms);
    enum tsdb_status status = select_read(x, v->set.refs[op->pos], first, last, v->scratch, &c);
    for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
        bool any = false;
        status = smooth_value(v, &c, reference_time(v, i), &from, &out->v[i], &any);
        out->kind[i] = any ? POINT_FLOAT : POINT_NONE;
    }
    return status;
}

static enum tsdb_status vector_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, bool timestamp, struct op **out)
{
    bool smooth = e->u.vector.smoothed && !timestamp;
    struct op_vector *v =
        (struct op_vector *)op_new(x, sizeof *v, e, grid, smooth ? smooth_next : vector_next);
    struct tsdb_arena *scratch = exec_scratch(x);
    if (!v || !scratch) {
        return exec_nomem(x);
    }
    *out = &v->op;
    v->scratch = scratch;
    v->timestamp = timestamp;
    v->fixed = exec_at_ms(x, &e->u.vector.shift, &v->at_ms);
    enum tsdb_status status = exec_offset_ms(x, &e->u.vector.shift, &v->offset_ms);
    if (status != TSDB_OK) {
        return status;
    }
    status = select_series(x, e, &v->set, &v->op.series);
    v->op.series_count = v->set.count;
    return status;
}

enum tsdb_status op_vector_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out)
{
    return vector_build(x, e, grid, false, out);
}

/* timestamp(selector) */
enum tsdb_status op_timestamp_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out)
{
    struct op *op = NULL;
    enum tsdb_status status =
        vector_build(x, query_expr_unwrap(e->u.call.args[0]), grid, true, &op);
    return status == TSDB_OK ? op_series_unnamed(op, op, false, out) : status;
}
