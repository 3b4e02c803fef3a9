/* Range vectors out of storage or out of subqueries. */
#include "query/eval/matrix.h"

#include "base/assert.h"

int64_t matrix_window_end(const struct matrix *m, uint32_t i)
{
    return m->fixed ? m->fixed_end_ms : time_sub(grid_time(&m->grid, i), m->offset_ms);
}

/* Floats as they were read. The times are borrowed. */
static enum tsdb_status float_points(struct matrix *m, const struct tsdb_columns *c,
                                     struct points *out)
{
    double *v = TSDB_ARENA_ARRAY(m->scratch, double, TSDB_MAX(c->count, 1));
    if (!v) {
        return exec_nomem(m->x);
    }
    if (c->count > 0) {
        memcpy(v, c->bits, c->count * sizeof *v);
    }
    *out = (struct points){.t = c->t_ms, .v = v, .count = c->count};
    return TSDB_OK;
}

static enum tsdb_status selector_points(struct matrix *m, const struct tsdb_columns *c,
                                        struct points *out)
{
    uint32_t floats = 0;
    if (!c->kind && !c->start_ms &&
        !m->x->kernels->has_bits(c->bits, c->count, TSDB_STALE_NAN_BITS)) {
        return float_points(m, c, out);
    }
    for (uint32_t i = 0; i < c->count; i++) {
        floats += sample_is_float(c, i);
    }
    uint32_t histograms = c->count - floats;
    int64_t *t = TSDB_ARENA_ARRAY(m->scratch, int64_t, TSDB_MAX(floats, 1));
    double *v = TSDB_ARENA_ARRAY(m->scratch, double, TSDB_MAX(floats, 1));
    int64_t *start = TSDB_ARENA_ARRAY(m->scratch, int64_t, TSDB_MAX(floats, 1));
    int64_t *h_start = TSDB_ARENA_ARRAY(m->scratch, int64_t, TSDB_MAX(histograms, 1));
    int64_t *ht = TSDB_ARENA_ARRAY(m->scratch, int64_t, TSDB_MAX(histograms, 1));
    const struct tsdb_histogram **h =
        TSDB_ARENA_ARRAY(m->scratch, const struct tsdb_histogram *, TSDB_MAX(histograms, 1));
    if (!t || !v || !start || !h_start || !ht || !h) {
        return exec_nomem(m->x);
    }
    uint32_t n = 0;
    uint32_t hn = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (sample_is_stale(c, i)) {
            continue;
        }
        if (sample_is_float(c, i)) {
            t[n] = c->t_ms[i];
            v[n] = tsdb_bits_double(c->bits[i]);
            start[n++] = c->start_ms ? c->start_ms[i] : 0;
        } else {
            ht[hn] = c->t_ms[i];
            h_start[hn] = c->start_ms ? c->start_ms[i] : 0;
            h[hn++] = &c->histograms[c->bits[i]];
        }
    }
    bool starts = c->start_ms && m->x->options->use_start_timestamps;
    *out = (struct points){.t = t,
                           .v = v,
                           .start = starts ? start : NULL,
                           .count = n,
                           .ht = ht,
                           .h_start = starts ? h_start : NULL,
                           .h = h,
                           .h_count = hn};
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
    *out = (struct points){.t = m->t, .v = m->v, .count = n, .ht = m->ht, .h = m->h, .h_count = hn};
    return status;
}

static enum tsdb_status read_points(struct matrix *m, uint32_t pos, struct points *out)
{
    *out = (struct points){0};
    if (m->grid.count == 0) {
        return TSDB_OK;
    }
    int64_t end_ms = matrix_window_end(m, 0);
    bool extended = m->before_ms != 0 || m->after_ms != 0;
    struct tsdb_time_windows windows;
    const struct select_span span = {
        time_add(time_sub(end_ms, time_add(m->range_ms, m->before_ms)), 1),
        time_add(matrix_window_end(m, m->grid.count - 1), m->after_ms),
        extended ? NULL : select_windows(&m->grid, end_ms, m->fixed, m->range_ms, &windows)};
    struct tsdb_columns c;
    select_ahead(m->x, &m->set, pos, m->read);
    enum tsdb_status status = m->read(m->x, m->set.refs[pos], &span, m->scratch, &c);
    if (status == TSDB_OK) {
        status = exec_hold(m->x, c.count);
    }
    if (status == TSDB_OK) {
        status = selector_points(m, &c, out);
    }
    if (status == TSDB_OK) {
        exec_release(m->x, c.count); /* held while this series is worked on */
    }
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
    const struct exec_work work = exec_work_begin(m->x, m->plan);
    status = m->body ? subquery_points(m, out) : read_points(m, pos, out);
    exec_work_end(m->x, m->plan, &work);
    return status;
}

/* The points of an anchored or smoothed range as a result: its two ends with the values that they
 * have there, and what lies between. */
enum tsdb_status matrix_extend(struct matrix *m, struct points *p)
{
    struct exec *x = m->x;
    bool smoothed = m->after_ms != 0;
    int64_t end = matrix_window_end(m, 0);
    int64_t begin = time_sub(end, m->range_ms);
    if (p->h_count > 0) {
        return exec_fail(x, TSDB_INVALID, "%s modifier is not supported with histograms",
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

/* "changes, delta, increase": who takes it, for the error. */
static void takers_print(struct tsdb_buf *out, bool smoothed)
{
    uint32_t count;
    const struct query_function *f = query_functions(&count);
    for (uint32_t i = 0; i < count; i++) {
        if (smoothed ? f[i].takes_smoothed : f[i].takes_anchored) {
            tsdb_buf_printf(out, "%s%s", out->len > 0 ? ", " : "", f[i].name);
        }
    }
    tsdb_buf_put_u8(out, 0);
}

enum tsdb_status matrix_check_extension(const struct matrix *m, const struct query_function *f)
{
    struct exec *x = m->x;
    if (m->expr->kind != EXPR_MATRIX) {
        return TSDB_OK;
    }
    const struct query_expr *v = m->expr->u.matrix.selector;
    bool smoothed = v->u.vector.smoothed && !f->takes_smoothed;
    if (!smoothed && !(v->u.vector.anchored && !f->takes_anchored)) {
        return TSDB_OK;
    }
    struct tsdb_buf takers;
    tsdb_buf_init(&takers, TSDB_MEM_QUERY, 0);
    takers_print(&takers, smoothed);
    enum tsdb_status status =
        takers.failed
            ? exec_nomem(x)
            : exec_fail(x, TSDB_INVALID, "%s modifier can only be used with: %s - not with %s",
                        smoothed ? "smoothed" : "anchored", (const char *)takers.data, f->name);
    tsdb_buf_deinit(&takers);
    return status;
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
    if (status == TSDB_OK) {
        status = exec_range_ms(x, e->u.matrix.range_ms, e->u.matrix.range_expr, &m->range_ms);
    }
    if (status != TSDB_OK) {
        return status;
    }
    m->read = select_reader(x);
    m->fixed = exec_at_ms(x, &v->u.vector.shift, &at);
    m->fixed_end_ms = m->fixed ? time_sub(at, m->offset_ms) : 0;
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
        return exec_fail(x, TSDB_INVALID, "subquery step must be at least 1ms");
    }
    *out = (struct grid){0, step_ms, 0};
    if (m->grid.count == 0) {
        return TSDB_OK;
    }
    int64_t begin = time_sub(matrix_window_end(m, 0), m->range_ms);
    int64_t end = matrix_window_end(m, m->grid.count - 1);
    if (begin < INT64_MIN / 4 || end > INT64_MAX / 4) {
        return exec_fail(x, TSDB_INVALID, "subquery reaches beyond the range of time");
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
        return exec_fail(
            x, TSDB_LIMIT,
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
    if (status == TSDB_OK) {
        status = exec_range_ms(x, e->u.subquery.range_ms, e->u.subquery.range_expr, &m->range_ms);
    }
    if (status == TSDB_OK) {
        status = exec_range_ms(x, e->u.subquery.step_ms, e->u.subquery.step_expr, &step_ms);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (step_ms == 0 && !e->u.subquery.step_expr) {
        step_ms = x->options->default_step_ms > 0 ? x->options->default_step_ms : 60000;
    }
    m->fixed = exec_at_ms(x, &e->u.subquery.shift, &at);
    m->fixed_end_ms = m->fixed ? time_sub(at, m->offset_ms) : 0;
    status = subquery_grid(m, step_ms, &grid);
    if (status == TSDB_OK) {
        x->in_buckets++;
        x->tally.in_subquery++;
        status = exec_build(x, e->u.subquery.body, &grid, &m->body);
        x->tally.in_subquery--;
        x->in_buckets--;
    }
    if (status == TSDB_OK) {
        status = exec_hold(x, grid.count);
    }
    if (status == TSDB_OK) {
        status = column_init(x, &m->column, grid.count);
    }
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
    enum tsdb_status status = TSDB_OK;
    m->plan = exec_plan_new(x, e, &status);
    if (status != TSDB_OK) {
        return status;
    }
    const struct exec_work work = exec_work_begin(x, m->plan);
    status = e->kind == EXPR_MATRIX ? selector_matrix(m, e) : subquery_matrix(m, e);
    exec_work_end(x, m->plan, &work);
    if (m->plan) {
        m->plan->series = m->series_count;
    }
    return status;
}

enum tsdb_status matrix_clone(const struct matrix *m, struct exec *x, struct matrix **out)
{
    struct matrix *copy = TSDB_ARENA_NEW(m->x->arena, struct matrix);
    struct tsdb_arena *scratch = exec_scratch(m->x);
    TSDB_ASSERT(!m->body);
    if (!copy || !scratch) {
        return exec_nomem(m->x);
    }
    *copy = *m;
    copy->x = x;
    copy->plan = NULL;
    copy->scratch = scratch;
    *out = copy;
    return TSDB_OK;
}
