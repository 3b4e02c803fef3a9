/* Leaves: instant vectors and range vectors out of storage, range vectors out of subqueries. */
#include "query/eval/exec_private.h"

#include "base/assert.h"
#include "query/eval/labels.h"

static int64_t add_clamped(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_add_overflow(a, b, &r)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return r;
}

static int64_t sub_clamped(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_sub_overflow(a, b, &r)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return r;
}

/* ---- durations of a node ---- */

static double step_seconds(const struct exec *x)
{
    return (double)x->step_ms / 1000;
}

static double range_seconds(const struct exec *x)
{
    return (double)(x->end_ms - x->start_ms) / 1000;
}

enum tsdb_status exec_range_ms(struct exec *x, int64_t ms, const struct query_expr *e, int64_t *out)
{
    *out = ms;
    return e ? query_duration_eval(e, step_seconds(x), range_seconds(x), false, out, x->err)
             : TSDB_OK;
}

enum tsdb_status exec_offset_ms(struct exec *x, const struct query_shift *s, int64_t *out)
{
    *out = s->offset_ms;
    return s->offset_expr ? query_duration_eval(s->offset_expr, step_seconds(x), range_seconds(x),
                                                true, out, x->err)
                          : TSDB_OK;
}

/* The time that @ fixes. */
static bool at_time(const struct exec *x, const struct query_shift *s, int64_t *out)
{
    switch (s->at) {
    case QUERY_AT_NONE:
        return false;
    case QUERY_AT_TIME:
        *out = s->at_ms;
        return true;
    case QUERY_AT_START:
        *out = x->start_ms;
        return true;
    case QUERY_AT_END:
        *out = x->end_ms;
        return true;
    }
    return false;
}

/* ---- time range of the whole query ---- */

static enum tsdb_status widen_selector(struct exec *x, const struct query_expr *v,
                                       const struct query_expr *m, int64_t start, int64_t end,
                                       struct tsdb_time_range *range)
{
    int64_t offset;
    int64_t back = x->lookback_ms;
    int64_t ahead = v->u.vector.smoothed ? x->lookback_ms : 0;
    enum tsdb_status status = exec_offset_ms(x, &v->u.vector.shift, &offset);
    if (status == TSDB_OK && m) {
        status = exec_range_ms(x, m->u.matrix.range_ms, m->u.matrix.range_expr, &back);
        back = add_clamped(back, v->u.vector.smoothed || v->u.vector.anchored ? x->lookback_ms : 0);
    }
    if (status != TSDB_OK) {
        return status;
    }
    int64_t at;
    if (at_time(x, &v->u.vector.shift, &at)) {
        start = end = at;
    }
    start = add_clamped(sub_clamped(sub_clamped(start, offset), back), 1);
    end = add_clamped(sub_clamped(end, offset), ahead);
    range->min_ms = TSDB_MIN(range->min_ms, start);
    range->max_ms = TSDB_MAX(range->max_ms, TSDB_MAX(start, end));
    return TSDB_OK;
}

static enum tsdb_status widen_subquery(struct exec *x, const struct query_expr *e, int64_t start,
                                       int64_t end, struct tsdb_time_range *range, bool *any)
{
    int64_t offset;
    int64_t length;
    int64_t at;
    enum tsdb_status status = exec_offset_ms(x, &e->u.subquery.shift, &offset);
    status = status == TSDB_OK
                 ? exec_range_ms(x, e->u.subquery.range_ms, e->u.subquery.range_expr, &length)
                 : status;
    if (status != TSDB_OK) {
        return status;
    }
    if (at_time(x, &e->u.subquery.shift, &at)) {
        start = end = at;
    }
    start = sub_clamped(sub_clamped(start, offset), length);
    return exec_time_range(x, e->u.subquery.body, start, sub_clamped(end, offset), range, any);
}

enum tsdb_status exec_time_range(struct exec *x, const struct query_expr *e, int64_t start_ms,
                                 int64_t end_ms, struct tsdb_time_range *range, bool *any)
{
    enum tsdb_status status = TSDB_OK;
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_DURATION:
        return TSDB_OK;
    case EXPR_VECTOR:
        *any = true;
        return widen_selector(x, e, NULL, start_ms, end_ms, range);
    case EXPR_MATRIX:
        *any = true;
        return widen_selector(x, e->u.matrix.selector, e, start_ms, end_ms, range);
    case EXPR_SUBQUERY:
        return widen_subquery(x, e, start_ms, end_ms, range, any);
    case EXPR_PAREN:
        return exec_time_range(x, e->u.paren, start_ms, end_ms, range, any);
    case EXPR_UNARY:
        return exec_time_range(x, e->u.unary.body, start_ms, end_ms, range, any);
    case EXPR_BINARY:
        status = exec_time_range(x, e->u.binary.left, start_ms, end_ms, range, any);
        return status == TSDB_OK
                   ? exec_time_range(x, e->u.binary.right, start_ms, end_ms, range, any)
                   : status;
    case EXPR_AGGREGATE:
        status = exec_time_range(x, e->u.aggregate.body, start_ms, end_ms, range, any);
        return status == TSDB_OK && e->u.aggregate.param
                   ? exec_time_range(x, e->u.aggregate.param, start_ms, end_ms, range, any)
                   : status;
    case EXPR_CALL:
        for (uint32_t i = 0; i < e->u.call.arg_count && status == TSDB_OK; i++) {
            status = exec_time_range(x, e->u.call.args[i], start_ms, end_ms, range, any);
        }
        return status;
    }
    return status;
}

/* ---- selecting ---- */

static enum tsdb_status select_series(struct exec *x, const struct query_expr *v,
                                      struct query_series_set *set, struct op_series **out)
{
    enum tsdb_status status = x->source->ops->select(x->source->ctx, v->u.vector.matchers,
                                                     v->u.vector.matcher_count, set, x->err);
    if (status != TSDB_OK) {
        return status;
    }
    struct op_series *series =
        TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(set->count, 1));
    if (!series) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < set->count && status == TSDB_OK; i++) {
        series[i] = (struct op_series){0};
        status = exec_poll(x);
        status = status == TSDB_OK ? x->source->ops->labels(x->source->ctx, set->refs[i], x->arena,
                                                            &series[i].labels, x->err)
                                   : status;
    }
    *out = series;
    return status;
}

static enum tsdb_status read_series(struct exec *x, uint32_t ref, int64_t min_ms, int64_t max_ms,
                                    struct tsdb_arena *scratch, struct tsdb_columns *out)
{
    const struct tsdb_time_range range = {min_ms, max_ms};
    tsdb_arena_reset(scratch);
    enum tsdb_status status =
        x->source->ops->read(x->source->ctx, ref, range, scratch, out, x->err);
    if (status == TSDB_OK) {
        x->samples_read += out->count;
    }
    return status;
}

static bool is_float(const struct tsdb_columns *c, uint32_t i)
{
    return !c->kind || c->kind[i] == TSDB_SAMPLE_FLOAT;
}

static bool is_stale(const struct tsdb_columns *c, uint32_t i)
{
    return is_float(c, i) ? tsdb_is_stale_bits(c->bits[i])
                          : tsdb_histogram_is_stale(&c->histograms[c->bits[i]]);
}

/* ---- instant vectors ---- */

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
    return sub_clamped(v->fixed ? v->at_ms : grid_time(&v->op.grid, i), v->offset_ms);
}

static enum tsdb_status put_sample(struct op_vector *v, const struct tsdb_columns *c, uint32_t i,
                                   uint32_t step, struct column *out)
{
    if (v->timestamp) {
        out->kind[step] = POINT_FLOAT;
        out->v[step] = (double)c->t_ms[i] / 1000;
        return TSDB_OK;
    }
    if (is_float(c, i)) {
        out->kind[step] = POINT_FLOAT;
        out->v[step] = tsdb_bits_double(c->bits[i]);
        return TSDB_OK;
    }
    enum tsdb_status status = column_histograms(v->op.x, out, v->op.grid.count);
    if (status == TSDB_OK) {
        out->kind[step] = POINT_HISTOGRAM;
        out->v[step] = 0;
        out->h[step] = &c->histograms[c->bits[i]];
    }
    return status;
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
    int64_t first = add_clamped(sub_clamped(reference_time(v, 0), x->lookback_ms), 1);
    enum tsdb_status status =
        read_series(x, v->set.refs[op->pos], first, reference_time(v, steps - 1), v->scratch, &c);
    uint32_t next = 0; /* first sample later than the reference time */
    for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
        int64_t t = reference_time(v, i);
        while (next < c.count && c.t_ms[next] <= t) {
            next++;
        }
        out->kind[i] = POINT_NONE;
        if (next > 0 && c.t_ms[next - 1] > sub_clamped(t, x->lookback_ms) &&
            !is_stale(&c, next - 1)) {
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
    while (*from < c->count && c->t_ms[*from] <= sub_clamped(t, lookback)) {
        (*from)++;
    }
    *out_any = false;
    for (uint32_t k = *from; k < c->count && c->t_ms[k] <= add_clamped(t, lookback); k++) {
        if (is_stale(c, k)) {
            continue;
        }
        if (!is_float(c, k)) {
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
    int64_t first = add_clamped(sub_clamped(reference_time(v, 0), x->lookback_ms), 1);
    int64_t last = add_clamped(reference_time(v, steps - 1), x->lookback_ms);
    enum tsdb_status status = read_series(x, v->set.refs[op->pos], first, last, v->scratch, &c);
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
    v->scratch = scratch;
    v->timestamp = timestamp;
    v->fixed = at_time(x, &e->u.vector.shift, &v->at_ms);
    enum tsdb_status status = exec_offset_ms(x, &e->u.vector.shift, &v->offset_ms);
    status = status == TSDB_OK ? select_series(x, e, &v->set, &v->op.series) : status;
    v->op.series_count = v->set.count;
    *out = &v->op;
    return status;
}

enum tsdb_status op_vector_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out)
{
    return vector_build(x, e, grid, false, out);
}

enum tsdb_status op_timestamp_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out)
{
    return vector_build(x, e, grid, true, out);
}

/* ---- range vectors ---- */

int64_t matrix_window_end(const struct matrix *m, uint32_t i)
{
    return m->fixed ? m->fixed_end_ms : sub_clamped(grid_time(&m->grid, i), m->offset_ms);
}

static enum tsdb_status selector_points(struct matrix *m, const struct tsdb_columns *c,
                                        struct points *out)
{
    uint32_t floats = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        floats += is_float(c, i);
    }
    uint32_t histograms = c->count - floats;
    int64_t *t = TSDB_ARENA_ARRAY(m->scratch, int64_t, TSDB_MAX(floats, 1));
    double *v = TSDB_ARENA_ARRAY(m->scratch, double, TSDB_MAX(floats, 1));
    int64_t *start = TSDB_ARENA_ARRAY(m->scratch, int64_t, TSDB_MAX(floats, 1));
    int64_t *ht = TSDB_ARENA_ARRAY(m->scratch, int64_t, TSDB_MAX(histograms, 1));
    const struct tsdb_histogram **h =
        TSDB_ARENA_ARRAY(m->scratch, const struct tsdb_histogram *, TSDB_MAX(histograms, 1));
    if (!t || !v || !start || !ht || !h) {
        return exec_nomem(m->x);
    }
    uint32_t n = 0;
    uint32_t hn = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (is_stale(c, i)) {
            continue;
        }
        if (is_float(c, i)) {
            t[n] = c->t_ms[i];
            v[n] = tsdb_bits_double(c->bits[i]);
            start[n++] = c->start_ms ? c->start_ms[i] : 0;
        } else {
            ht[hn] = c->t_ms[i];
            h[hn++] = &c->histograms[c->bits[i]];
        }
    }
    *out = (struct points){t, v, c->start_ms ? start : NULL, n, ht, h, hn};
    return TSDB_OK;
}

static enum tsdb_status subquery_points(struct matrix *m, struct points *out)
{
    enum tsdb_status status = op_next(m->body, &m->column);
    const struct grid *g = &m->body->grid;
    uint32_t n = 0;
    uint32_t hn = 0;
    for (uint32_t i = 0; i < g->count && status == TSDB_OK; i++) {
        if (m->column.kind[i] == POINT_FLOAT) {
            m->t[n] = grid_time(g, i);
            m->v[n++] = m->column.v[i];
        } else if (m->column.kind[i] == POINT_HISTOGRAM) {
            m->ht[hn] = grid_time(g, i);
            m->h[hn++] = m->column.h[i];
        }
    }
    *out = (struct points){m->t, m->v, NULL, n, m->ht, m->h, hn};
    return status;
}

enum tsdb_status matrix_next(struct matrix *m, struct points *out)
{
    TSDB_ASSERT(m->pos < m->series_count);
    uint32_t pos = m->pos++;
    enum tsdb_status status = exec_poll(m->x);
    if (status != TSDB_OK) {
        return status;
    }
    if (m->body) {
        return subquery_points(m, out);
    }
    *out = (struct points){0};
    if (m->grid.count == 0) {
        return TSDB_OK;
    }
    int64_t min_ms = sub_clamped(matrix_window_end(m, 0), add_clamped(m->range_ms, m->before_ms));
    int64_t max_ms = add_clamped(matrix_window_end(m, m->grid.count - 1), m->after_ms);
    struct tsdb_columns c;
    status = read_series(m->x, m->set.refs[pos], add_clamped(min_ms, 1), max_ms, m->scratch, &c);
    status = status == TSDB_OK ? exec_hold(m->x, c.count) : status;
    status = status == TSDB_OK ? selector_points(m, &c, out) : status;
    if (status == TSDB_OK) {
        exec_release(m->x, c.count); /* held while this series is worked on */
    }
    return status;
}

/* The points of an anchored or smoothed range as a result: its two ends with the values that they
 * have there, and what lies between. */
enum tsdb_status matrix_extend(struct matrix *m, struct points *p)
{
    struct exec *x = m->x;
    bool smoothed = m->after_ms != 0;
    int64_t end = matrix_window_end(m, 0);
    int64_t begin = sub_clamped(end, m->range_ms);
    if (p->h_count > 0) {
        return tsdb_error_set(x->err, TSDB_INVALID, "%s modifier is not supported with histograms",
                              smoothed ? "smoothed" : "anchored");
    }
    uint32_t n = p->count;
    uint32_t first = 0; /* the last one at or before the beginning, if there is one */
    while (first + 1 < n && p->t[first + 1] <= begin) {
        first++;
    }
    uint32_t last = n > 0 ? n - 1 : 0;
    if (smoothed) {
        last = 0; /* the first one at or after the end, if there is one */
        while (last + 1 < n && p->t[last] < end) {
            last++;
        }
    }
    if (n == 0 || p->t[last] <= begin) {
        p->count = 0;
        return TSDB_OK;
    }
    int64_t *t = TSDB_ARENA_ARRAY(x->arena, int64_t, (size_t)n + 2);
    double *v = TSDB_ARENA_ARRAY(x->arena, double, (size_t)n + 2);
    if (!t || !v) {
        return exec_nomem(x);
    }
    uint32_t count = 1;
    t[0] = begin;
    v[0] = p->v[first];
    if (smoothed && p->t[first] < begin) {
        v[0] += (p->v[first + 1] - v[0]) * (double)(begin - p->t[first]) /
                (double)(p->t[first + 1] - p->t[first]);
    }
    for (uint32_t i = first; i <= last; i++) {
        if (p->t[i] > begin && p->t[i] < end) {
            t[count] = p->t[i];
            v[count++] = p->v[i];
        }
    }
    double right = p->v[last];
    if (smoothed && last > 0 && p->t[last] > end) {
        double left = p->v[last - 1];
        right = left + (right - left) * (double)(end - p->t[last - 1]) /
                           (double)(p->t[last] - p->t[last - 1]);
    }
    t[count] = end;
    v[count++] = right;
    *p = (struct points){.t = t, .v = v, .count = count, .ht = p->ht, .h = p->h};
    return TSDB_OK;
}

static enum tsdb_status selector_matrix(struct matrix *m, const struct query_expr *e)
{
    struct exec *x = m->x;
    const struct query_expr *v = e->u.matrix.selector;
    m->scratch = exec_scratch(x);
    if (!m->scratch) {
        return exec_nomem(x);
    }
    int64_t at;
    enum tsdb_status status = exec_offset_ms(x, &v->u.vector.shift, &m->offset_ms);
    status = status == TSDB_OK
                 ? exec_range_ms(x, e->u.matrix.range_ms, e->u.matrix.range_expr, &m->range_ms)
                 : status;
    if (status != TSDB_OK) {
        return status;
    }
    m->fixed = at_time(x, &v->u.vector.shift, &at);
    m->fixed_end_ms = m->fixed ? sub_clamped(at, m->offset_ms) : 0;
    m->before_ms = v->u.vector.anchored || v->u.vector.smoothed ? x->lookback_ms : 0;
    m->after_ms = v->u.vector.smoothed ? x->lookback_ms : 0;
    status = select_series(x, v, &m->set, &m->series);
    m->series_count = m->set.count;
    return status;
}

/* The steps of a subquery are multiples of its step, whatever the evaluation time. */
static enum tsdb_status subquery_grid(struct matrix *m, int64_t step_ms, struct grid *out)
{
    struct exec *x = m->x;
    if (step_ms < 1) {
        return tsdb_error_set(x->err, TSDB_INVALID, "subquery step must be at least 1ms");
    }
    *out = (struct grid){0, step_ms, 0};
    if (m->grid.count == 0) {
        return TSDB_OK;
    }
    int64_t begin = sub_clamped(matrix_window_end(m, 0), m->range_ms);
    int64_t end = matrix_window_end(m, m->grid.count - 1);
    if (begin < INT64_MIN / 4 || end > INT64_MAX / 4) {
        return tsdb_error_set(x->err, TSDB_INVALID, "subquery reaches beyond the range of time");
    }
    out->start_ms = begin / step_ms * step_ms;
    if (out->start_ms <= begin) {
        out->start_ms += step_ms;
    }
    if (end < out->start_ms) {
        return TSDB_OK;
    }
    uint64_t count = (uint64_t)(end - out->start_ms) / (uint64_t)step_ms + 1;
    if (count > UINT32_MAX || (x->options->samples_max > 0 && count > x->options->samples_max)) {
        return tsdb_error_set(
            x->err, TSDB_LIMIT,
            "query processing would load too many samples into memory in query execution");
    }
    out->count = (uint32_t)count;
    return TSDB_OK;
}

static enum tsdb_status subquery_matrix(struct matrix *m, const struct query_expr *e)
{
    struct exec *x = m->x;
    int64_t step_ms;
    int64_t at;
    struct grid grid;
    enum tsdb_status status = exec_offset_ms(x, &e->u.subquery.shift, &m->offset_ms);
    status = status == TSDB_OK
                 ? exec_range_ms(x, e->u.subquery.range_ms, e->u.subquery.range_expr, &m->range_ms)
                 : status;
    status = status == TSDB_OK
                 ? exec_range_ms(x, e->u.subquery.step_ms, e->u.subquery.step_expr, &step_ms)
                 : status;
    if (status != TSDB_OK) {
        return status;
    }
    if (step_ms == 0 && !e->u.subquery.step_expr) {
        step_ms = x->options->default_step_ms > 0 ? x->options->default_step_ms : 60000;
    }
    m->fixed = at_time(x, &e->u.subquery.shift, &at);
    m->fixed_end_ms = m->fixed ? sub_clamped(at, m->offset_ms) : 0;
    status = subquery_grid(m, step_ms, &grid);
    status = status == TSDB_OK ? exec_build(x, e->u.subquery.body, &grid, &m->body) : status;
    status = status == TSDB_OK ? exec_hold(x, grid.count) : status;
    status = status == TSDB_OK ? column_init(x, &m->column, grid.count) : status;
    if (status != TSDB_OK) {
        return status;
    }
    size_t n = TSDB_MAX(grid.count, 1);
    m->t = TSDB_ARENA_ARRAY(x->arena, int64_t, n);
    m->v = TSDB_ARENA_ARRAY(x->arena, double, n);
    m->ht = TSDB_ARENA_ARRAY(x->arena, int64_t, n);
    m->h = TSDB_ARENA_ARRAY(x->arena, const struct tsdb_histogram *, n);
    m->series = m->body->series;
    m->series_count = m->body->series_count;
    return m->t && m->v && m->ht && m->h ? TSDB_OK : exec_nomem(x);
}

enum tsdb_status matrix_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              struct matrix **out)
{
    struct matrix *m = TSDB_ARENA_NEW(x->arena, struct matrix);
    if (!m) {
        return exec_nomem(x);
    }
    e = query_expr_unwrap(e);
    *m = (struct matrix){.x = x, .expr = e, .grid = *grid};
    *out = m;
    TSDB_ASSERT(e->kind == EXPR_MATRIX || e->kind == EXPR_SUBQUERY);
    return e->kind == EXPR_MATRIX ? selector_matrix(m, e) : subquery_matrix(m, e);
}
