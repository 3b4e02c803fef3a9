/* Instant vectors: of a selector at every step the newest sample, or one drawn between two. */
#include "query/eval/operators.h"

#include "query/eval/select.h"

/* What is given of a sample. */
enum vector_value {
    VECTOR_VALUE,
    VECTOR_TIME,
    VECTOR_TIME_MS, /* of floats the time in ms, of histograms the histogram */
    VECTOR_START    /* its start timestamp */
};

struct op_vector {
    struct op op;
    struct query_series_set set;
    struct tsdb_arena *scratch;
    int64_t offset_ms;
    int64_t at_ms;
    bool fixed;                 /* @ */
    struct tsdb_arena *results; /* smoothed: histograms of one series */
    enum vector_value value;
    select_read_fn *read;
    bool inside;       /* of a subquery */
    uint32_t *lo, *hi; /* bounds of the lookbacks; NULL: step by step */
};

#define BOUNDS_FROM 8u /* steps, from which a kernel finds the bounds faster */

static int64_t reference_time(const struct op_vector *v, uint32_t i)
{
    return time_sub(v->fixed ? v->at_ms : grid_time(&v->op.grid, i), v->offset_ms);
}

/* What a series has at its steps, for the statistics: in one go, unless it matters where. */
static void count_column(const struct op_vector *v, const struct column *c)
{
    struct tally *t = &v->op.x->tally;
    const struct grid *grid = &v->op.grid;
    if (!t->step_queryable && !c->h) {
        uint32_t n = column_count(c, grid->count);
        tally_add(t, grid, 0, v->inside, n, n);
        return;
    }
    for (uint32_t i = 0; i < grid->count; i++) {
        if (c->kind[i] != POINT_NONE) {
            uint64_t n = c->kind[i] == POINT_HISTOGRAM ? tally_histogram(c->h[i]) : 1;
            tally_add(t, grid, i, v->inside, n, n);
        }
    }
}

static enum tsdb_status put_sample(struct op_vector *v, const struct tsdb_columns *c, uint32_t i,
                                   uint32_t step, struct column *out)
{
    struct point p = {0};
    switch (v->value) {
    case VECTOR_VALUE:
        p = sample_point(c, i);
        break;
    case VECTOR_TIME:
        p.v = (double)c->t_ms[i] / 1000;
        break;
    case VECTOR_TIME_MS:
        p = sample_point(c, i);
        if (!p.h) {
            p.v = (double)c->t_ms[i];
        }
        break;
    case VECTOR_START:
        p.v = c->start_ms ? (double)c->start_ms[i] / 1000 : 0;
        break;
    }
    return column_put(v->op.x, out, v->op.grid.count, step, p);
}

/* Floats none of which is a stale marker: the newest one of each lookback. False: not so. */
static bool put_floats(const struct op_vector *v, const struct tsdb_columns *c, struct column *out)
{
    const struct exec *x = v->op.x;
    struct kernel_windows w;
    if (!v->lo || c->kind || x->kernels->has_bits(c->bits, c->count, TSDB_STALE_NAN_BITS) ||
        !time_windows(&v->op.grid, reference_time(v, 0), v->fixed, x->lookback_ms, &w)) {
        return false;
    }
    x->kernels->bounds(c->t_ms, c->count, &w, v->lo, v->hi);
    (void)x->kernels->kinds(&w, 1, 0, out->kind);
    for (uint32_t i = 0; i < w.count; i++) {
        out->v[i] = out->kind[i] ? tsdb_bits_double(c->bits[v->hi[i] - 1]) : 0;
    }
    return true;
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
    struct tsdb_time_windows windows;
    const struct select_span span = {
        time_add(time_sub(reference_time(v, 0), x->lookback_ms), 1), reference_time(v, steps - 1),
        select_windows(&op->grid, reference_time(v, 0), v->fixed, x->lookback_ms, &windows)};
    select_ahead(x, &v->set, op->pos, v->read);
    enum tsdb_status status = v->read(x, v->set.refs[op->pos], &span, v->scratch, &c);
    uint32_t next = 0; /* first sample later than the reference time */
    bool done = status == TSDB_OK && put_floats(v, &c, out);
    for (uint32_t i = 0; !done && i < steps && status == TSDB_OK; i++) {
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
    if (status == TSDB_OK) {
        count_column(v, out);
    }
    return status;
}

/* The samples around a time, both within the lookback; stale markers do not count. */
struct neighbours {
    uint32_t before, after; /* NO_SAMPLE: none; `before` may lie at the time itself */
    bool floats, histograms;
};
#define NO_SAMPLE UINT32_MAX

/* *from: the first sample that may matter, only grows. */
static struct neighbours neighbours_of(const struct op_vector *v, const struct tsdb_columns *c,
                                       int64_t t, uint32_t *from)
{
    int64_t lookback = v->op.x->lookback_ms;
    struct neighbours n = {NO_SAMPLE, NO_SAMPLE, false, false};
    while (*from < c->count && c->t_ms[*from] <= time_sub(t, lookback)) {
        (*from)++;
    }
    for (uint32_t k = *from; k < c->count && c->t_ms[k] <= time_add(t, lookback); k++) {
        if (sample_is_stale(c, k)) {
            continue;
        }
        bool is_float = sample_is_float(c, k);
        n.floats |= is_float;
        n.histograms |= !is_float;
        if (c->t_ms[k] <= t) {
            n.before = k;
        } else if (n.after == NO_SAMPLE) {
            n.after = k;
            if (!c->kind) {
                break; /* only floats: nothing more to learn */
            }
        }
    }
    return n;
}

/* A histogram at t. The later one of two that say they are gauges is no counter. */
static enum tsdb_status smooth_histogram(struct op_vector *v, const struct tsdb_columns *c,
                                         const struct neighbours *n, int64_t t, struct point *out,
                                         bool *out_any)
{
    const struct histogram_place place = {v->op.x, v->op.expr->start,
                                          &v->op.series[v->op.pos].labels, v->results};
    struct hist before;
    struct hist after;
    struct hist h;
    enum tsdb_status status =
        histogram_view(v->op.x, sample_point(c, n->before).h, v->results, &before);
    if (status != TSDB_OK) {
        return status;
    }
    *out_any = true;
    h = before;
    if (c->t_ms[n->before] != t && n->after == NO_SAMPLE) {
        h.reset_hint = TSDB_RESET_UNKNOWN; /* it told how this sample relates to the one before */
    } else if (c->t_ms[n->before] != t) {
        status = histogram_view(v->op.x, sample_point(c, n->after).h, v->results, &after);
        if (status != TSDB_OK) {
            return status;
        }
        bool counter =
            before.reset_hint != TSDB_RESET_GAUGE || after.reset_hint != TSDB_RESET_GAUGE;
        status = hist_is_custom(&before) == hist_is_custom(&after)
                     ? histogram_between(&place, &before, c->t_ms[n->before], &after,
                                         c->t_ms[n->after], t, counter, &h, out_any)
                     : histogram_combine(&place, &after, &before, true, out_any);
    }
    return status == TSDB_OK && *out_any ? histogram_point(v->op.x, &h, v->results, out) : status;
}

/* The value at t on the line between the sample at or before it and the one after it; behind the
 * last sample its value. */
static enum tsdb_status smooth_value(struct op_vector *v, const struct tsdb_columns *c, int64_t t,
                                     uint32_t *from, struct point *out, bool *out_any)
{
    const struct neighbours n = neighbours_of(v, c, t, from);
    *out_any = false;
    if (n.floats && n.histograms) {
        exec_note_metric(v->op.x, false, v->op.expr->start,
                         "encountered a mix of histograms and floats for metric name",
                         &v->op.series[v->op.pos].labels);
        return TSDB_OK;
    }
    if (n.before == NO_SAMPLE) {
        return TSDB_OK;
    }
    if (n.histograms) {
        return smooth_histogram(v, c, &n, t, out, out_any);
    }
    *out_any = true;
    out->v = tsdb_bits_double(c->bits[n.before]);
    int64_t before = c->t_ms[n.before];
    if (before != t && n.after != NO_SAMPLE) {
        out->v += (tsdb_bits_double(c->bits[n.after]) - out->v) * (double)(t - before) /
                  (double)(c->t_ms[n.after] - before);
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
    const struct select_span span = {time_add(time_sub(reference_time(v, 0), x->lookback_ms), 1),
                                     time_add(reference_time(v, steps - 1), x->lookback_ms), NULL};
    enum tsdb_status status = v->read(x, v->set.refs[op->pos], &span, v->scratch, &c);
    tsdb_arena_reset(v->results);
    column_clear(out, steps);
    for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
        struct point p = {0};
        bool any = false;
        status = smooth_value(v, &c, reference_time(v, i), &from, &p, &any);
        if (status == TSDB_OK && any) {
            status = column_put(x, out, steps, i, p);
        }
    }
    if (status == TSDB_OK) {
        count_column(v, out);
    }
    return status;
}

/* What one operator has for itself. */
static enum tsdb_status vector_memory(struct op_vector *v, struct exec *x)
{
    uint32_t steps = v->op.grid.count;
    v->scratch = exec_scratch(x);
    v->results = exec_scratch(x);
    if (!v->scratch || !v->results) {
        return exec_nomem(x);
    }
    if (v->value == VECTOR_VALUE && steps >= BOUNDS_FROM) {
        v->lo = TSDB_ARENA_ARRAY(x->arena, uint32_t, steps);
        v->hi = v->lo ? TSDB_ARENA_ARRAY(x->arena, uint32_t, steps) : NULL;
        return v->hi ? TSDB_OK : exec_nomem(x);
    }
    return TSDB_OK;
}

static enum tsdb_status vector_clone(const struct op *op, struct exec *x, struct op **out)
{
    struct op_vector *v = (struct op_vector *)op_copy(op, sizeof *v, x);
    if (!v) {
        return exec_nomem(op->x);
    }
    *out = &v->op;
    return vector_memory(v, op->x);
}

static enum tsdb_status vector_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, enum vector_value value,
                                     struct op **out)
{
    bool smooth = e->u.vector.smoothed && value == VECTOR_VALUE;
    struct op_vector *v =
        (struct op_vector *)op_new(x, sizeof *v, e, grid, smooth ? smooth_next : vector_next);
    if (!v) {
        return exec_nomem(x);
    }
    *out = &v->op;
    v->op.clone = vector_clone;
    v->op.stored = &v->set;
    v->op.unique = true;
    v->value = value;
    v->read = value == VECTOR_VALUE ? select_reader(x) : select_read;
    /* The newest sample is told without its start timestamp. */
    if (grid->count == 1 && !smooth && v->read == select_read && value != VECTOR_START) {
        v->read = select_newest;
    }
    v->inside = x->tally.in_subquery > 0;
    v->fixed = exec_at_ms(x, &e->u.vector.shift, &v->at_ms);
    enum tsdb_status status = vector_memory(v, x);
    if (status == TSDB_OK) {
        status = exec_offset_ms(x, &e->u.vector.shift, &v->offset_ms);
    }
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
    return vector_build(x, e, grid, VECTOR_VALUE, out);
}

enum tsdb_status op_sample_times_build(struct exec *x, const struct query_expr *e,
                                       const struct grid *grid, struct op **out)
{
    return vector_build(x, e, grid, VECTOR_TIME_MS, out);
}

/* timestamp(selector) */
enum tsdb_status op_timestamp_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out)
{
    struct op *op = NULL;
    enum tsdb_status status =
        vector_build(x, query_expr_unwrap(e->u.call.args[0]), grid, VECTOR_TIME, &op);
    return status == TSDB_OK ? op_series_unnamed(op, op, false, out) : status;
}

/* start_timestamp(selector); of anything else, or where they are not asked for, nothing. */
enum tsdb_status op_start_timestamp_build(struct exec *x, const struct query_expr *e,
                                          const struct grid *grid, struct op **out)
{
    const struct query_expr *arg = query_expr_unwrap(e->u.call.args[0]);
    struct op *op;
    enum tsdb_status status;
    if (arg->kind == EXPR_VECTOR && x->options->use_start_timestamps) {
        status = vector_build(x, arg, grid, VECTOR_START, &op);
        return status == TSDB_OK ? op_series_unnamed(op, op, false, out) : status;
    }
    status = exec_build(x, arg, grid, &op);
    if (status == TSDB_OK) {
        status = exec_discard(op);
    }
    *out = op_new(x, sizeof **out, e, grid, NULL); /* no series: nobody asks for a value */
    return status != TSDB_OK || *out ? status : exec_nomem(x);
}
