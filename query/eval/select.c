/* Selectors: which times they read, and their series and samples out of the source. */
#include "query/eval/select.h"

#include "query/eval/histogram.h"

int64_t time_add(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_add_overflow(a, b, &r)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return r;
}

int64_t time_sub(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_sub_overflow(a, b, &r)) {
        return a < 0 ? INT64_MIN : INT64_MAX;
    }
    return r;
}

bool time_windows(const struct grid *grid, int64_t end_ms, bool fixed, int64_t range_ms,
                  struct kernel_windows *out)
{
    int64_t span;
    int64_t edge;
    *out = (struct kernel_windows){.count = grid->count,
                                   .end_ms = end_ms,
                                   .step_ms = fixed ? 0 : grid->step_ms,
                                   .range_ms = range_ms};
    return !__builtin_mul_overflow((int64_t)grid->count, out->step_ms, &span) &&
           !__builtin_add_overflow(end_ms, span, &edge) &&
           !__builtin_sub_overflow(end_ms, range_ms, &edge);
}

const struct tsdb_time_windows *select_windows(const struct grid *grid, int64_t end_ms, bool fixed,
                                               int64_t width_ms, struct tsdb_time_windows *out)
{
    *out = (struct tsdb_time_windows){end_ms, grid->step_ms, width_ms};
    return !fixed && grid->count > 1 && grid->step_ms > width_ms && width_ms > 0 ? out : NULL;
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

bool exec_at_ms(const struct exec *x, const struct query_shift *s, int64_t *out)
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

/* ---- the time at which info series are looked at ---- */

/* Of the first selector in e and the subqueries around it: the innermost @, and the offsets up to
 * there. *out_found: there is a selector. */
static enum tsdb_status info_shift(struct exec *x, const struct query_expr *e,
                                   struct query_shift *out, bool *out_found)
{
    const struct query_shift *shift = NULL;
    enum tsdb_status status = TSDB_OK;
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_DURATION:
        return TSDB_OK;
    case EXPR_VECTOR:
        *out_found = true;
        shift = &e->u.vector.shift;
        break;
    case EXPR_MATRIX:
        return info_shift(x, e->u.matrix.selector, out, out_found);
    case EXPR_PAREN:
        return info_shift(x, e->u.paren, out, out_found);
    case EXPR_UNARY:
        return info_shift(x, e->u.unary.body, out, out_found);
    case EXPR_SUBQUERY:
        status = info_shift(x, e->u.subquery.body, out, out_found);
        shift = *out_found ? &e->u.subquery.shift : NULL;
        break;
    case EXPR_BINARY:
        status = info_shift(x, e->u.binary.left, out, out_found);
        return status != TSDB_OK || *out_found ? status
                                               : info_shift(x, e->u.binary.right, out, out_found);
    case EXPR_AGGREGATE:
        status = info_shift(x, e->u.aggregate.body, out, out_found);
        return status != TSDB_OK || *out_found || !e->u.aggregate.param
                   ? status
                   : info_shift(x, e->u.aggregate.param, out, out_found);
    case EXPR_CALL:
        for (uint32_t i = 0; i < e->u.call.arg_count && status == TSDB_OK && !*out_found; i++) {
            status = info_shift(x, e->u.call.args[i], out, out_found);
        }
        return status;
    }
    if (status != TSDB_OK || !shift || out->at == QUERY_AT_TIME) {
        return status;
    }
    int64_t offset;
    status = exec_offset_ms(x, shift, &offset);
    if (status == TSDB_OK) {
        out->offset_ms = time_add(out->offset_ms, offset);
        out->at = exec_at_ms(x, shift, &out->at_ms) ? QUERY_AT_TIME : QUERY_AT_NONE;
    }
    return status;
}

enum tsdb_status exec_info_shift(struct exec *x, const struct query_expr *call,
                                 struct query_shift *out)
{
    bool found = false;
    *out = (struct query_shift){0};
    return info_shift(x, call->u.call.args[0], out, &found);
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
        back = time_add(back, v->u.vector.smoothed || v->u.vector.anchored ? x->lookback_ms : 0);
    }
    if (x->in_stats > 0) {
        back = time_add(back, x->lookback_ms); /* see read_hints */
    }
    if (status != TSDB_OK) {
        return status;
    }
    int64_t at;
    if (exec_at_ms(x, &v->u.vector.shift, &at)) {
        start = end = at;
    }
    start = time_add(time_sub(time_sub(start, offset), back), 1);
    end = time_add(time_sub(end, offset), ahead);
    range->min_ms = TSDB_MIN(range->min_ms, start);
    range->max_ms = TSDB_MAX(range->max_ms, TSDB_MAX(start, end));
    return TSDB_OK;
}

/* The info series of info(): no selector of the query names the times at which they are read. */
static enum tsdb_status widen_info(struct exec *x, const struct query_expr *call, int64_t start,
                                   int64_t end, struct tsdb_time_range *range)
{
    struct query_expr v = {.kind = EXPR_VECTOR};
    enum tsdb_status status = exec_info_shift(x, call, &v.u.vector.shift);
    return status == TSDB_OK ? widen_selector(x, &v, NULL, start, end, range) : status;
}

static enum tsdb_status widen_subquery(struct exec *x, const struct query_expr *e, int64_t start,
                                       int64_t end, struct tsdb_time_range *range, bool *any)
{
    int64_t offset;
    int64_t length;
    int64_t at;
    enum tsdb_status status = exec_offset_ms(x, &e->u.subquery.shift, &offset);
    if (status == TSDB_OK) {
        status = exec_range_ms(x, e->u.subquery.range_ms, e->u.subquery.range_expr, &length);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (exec_at_ms(x, &e->u.subquery.shift, &at)) {
        start = end = at;
    }
    start = time_sub(time_sub(start, offset), length);
    return exec_time_range(x, e->u.subquery.body, start, time_sub(end, offset), range, any);
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
        x->in_stats += e->u.call.function->leaves_buckets;
        for (uint32_t i = 0; i < e->u.call.arg_count && status == TSDB_OK; i++) {
            status = exec_time_range(x, e->u.call.args[i], start_ms, end_ms, range, any);
        }
        x->in_stats -= e->u.call.function->leaves_buckets;
        if (status == TSDB_OK && e->u.call.function->second_is_labels) {
            *any = true;
            status = widen_info(x, e, start_ms, end_ms, range);
        }
        return status;
    }
    return status;
}

/* ---- reading ---- */

enum tsdb_status select_series(struct exec *x, const struct query_expr *v,
                               struct query_series_set *set, struct op_series **out)
{
    exec_crew_quiet(x); /* several threads may read at once, and do nothing else */
    enum tsdb_status status = x->source->ops->select(x->source->ctx, v->u.vector.matchers,
                                                     v->u.vector.matcher_count, set, x->err);
    if (status != TSDB_OK) {
        return exec_stopped(x, status);
    }
    struct op_series *series =
        TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(set->count, 1));
    if (!series) {
        return exec_nomem(x);
    }
    memset(series, 0, set->count * sizeof *series);
    *out = series;
    if (x->labels_unused || x->labels_late) {
        x->late = *set;
        return TSDB_OK;
    }
    size_t before = tsdb_arena_used(x->arena);
    for (uint32_t i = 0; i < set->count && status == TSDB_OK; i++) {
        status = exec_poll(x);
        if (status == TSDB_OK) {
            status = exec_foresee(x, before, i, set->count);
        }
        if (status == TSDB_OK) {
            status = x->source->ops->labels(x->source->ctx, set->refs[i], x->arena,
                                            &series[i].labels, x->err);
        }
    }
    return status;
}

void select_ahead(const struct exec *x, const struct query_series_set *set, uint32_t pos,
                  select_read_fn *by)
{
    if (x->source->ops->read_ahead && !x->scattered) {
        x->source->ops->read_ahead(x->source->ctx, set->refs + pos, set->count - pos,
                                   by == select_newest);
    }
}

typedef enum tsdb_status source_read_fn(void *ctx, const struct query_read *r,
                                        struct tsdb_arena *arena, struct tsdb_columns *out,
                                        struct tsdb_error *err);

static enum tsdb_status read_by(source_read_fn *fn, struct exec *x, uint32_t ref,
                                const struct select_span *span, struct tsdb_arena *scratch,
                                struct tsdb_columns *out)
{
    struct tsdb_chunk_counts counts = {0};
    const struct query_read r = {ref, {span->min_ms, span->max_ms}, span->windows, &counts};
    tsdb_arena_reset(scratch);
    enum tsdb_status status = fn(x->source->ctx, &r, scratch, out, x->err);
    if (status == TSDB_OK) {
        x->samples_read += out->count;
        for (struct query_plan *p = x->plan; p; p = p->parent) {
            p->samples += out->count;
            p->chunks.read += counts.read;
            p->chunks.cached += counts.cached;
            p->chunks.skipped += counts.skipped;
        }
    }
    return exec_stopped(x, status);
}

enum tsdb_status select_read(struct exec *x, uint32_t ref, const struct select_span *span,
                             struct tsdb_arena *scratch, struct tsdb_columns *out)
{
    return read_by(x->source->ops->read, x, ref, span, scratch, out);
}

enum tsdb_status select_newest(struct exec *x, uint32_t ref, const struct select_span *span,
                               struct tsdb_arena *scratch, struct tsdb_columns *out)
{
    const struct query_source_ops *ops = x->source->ops;
    return read_by(ops->newest ? ops->newest : ops->read, x, ref, span, scratch, out);
}

/* The histograms of a series, in an array that may be changed. */
static struct tsdb_histogram *own_histograms(struct tsdb_columns *c, struct tsdb_arena *scratch)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        count += !sample_is_float(c, i);
    }
    struct tsdb_histogram *own = TSDB_ARENA_ARRAY(scratch, struct tsdb_histogram, count);
    uint64_t *bits = TSDB_ARENA_ARRAY(scratch, uint64_t, c->count);
    if (!own || !bits) {
        return NULL;
    }
    memcpy(bits, c->bits, c->count * sizeof *bits);
    count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!sample_is_float(c, i)) {
            own[count] = c->histograms[c->bits[i]];
            bits[i] = count++;
        }
    }
    c->bits = bits;
    c->histograms = own;
    return own;
}

/* min_ms: a reset of the first sample from there on is not told. Prometheus reads it at the
 * beginning of a chunk, which knows nothing of what was before; within a chunk there is none. */
static enum tsdb_status hints_fill(struct exec *x, struct tsdb_columns *c, int64_t min_ms,
                                   struct tsdb_arena *scratch)
{
    struct tsdb_histogram *own = c->kind ? own_histograms(c, scratch) : NULL;
    if (!own) {
        return c->kind && c->count > 0 ? exec_nomem(x) : TSDB_OK;
    }
    struct hist before;
    bool any = false;      /* there is one before */
    bool adjacent = false; /* and nothing between */
    bool inside = false;   /* and it is at or after min_ms */
    for (uint32_t i = 0; i < c->count; i++) {
        if (sample_is_float(c, i) || sample_is_stale(c, i)) {
            adjacent = false;
            continue;
        }
        struct tsdb_histogram *m = &own[c->bits[i]];
        struct hist now;
        enum tsdb_status status = histogram_view(x, m, scratch, &now);
        if (status == TSDB_OK) {
            status = exec_poll(x);
        }
        if (status != TSDB_OK) {
            return status;
        }
        if (any && m->reset_hint == TSDB_RESET_UNKNOWN && c->t_ms[i] >= min_ms) {
            bool reset = hist_detect_reset(&now, &before);
            if (inside) {
                m->reset_hint = reset ? TSDB_RESET_YES : TSDB_RESET_NO;
            } else if (adjacent && !reset && before.reset_hint != TSDB_RESET_GAUGE) {
                m->reset_hint = TSDB_RESET_NO;
            }
        }
        before = now;
        any = true;
        adjacent = true;
        inside = c->t_ms[i] >= min_ms;
    }
    return TSDB_OK;
}

/* For the hint of the first one, the samples of a lookback before min_ms are read as well. */
static enum tsdb_status read_hints(struct exec *x, uint32_t ref, const struct select_span *span,
                                   struct tsdb_arena *scratch, struct tsdb_columns *out)
{
    int64_t min_ms = span->min_ms;
    const struct select_span wider = {time_sub(min_ms, x->lookback_ms), span->max_ms, NULL};
    struct tsdb_columns c;
    enum tsdb_status status = select_read(x, ref, &wider, scratch, &c);
    if (status == TSDB_OK) {
        status = hints_fill(x, &c, min_ms, scratch);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t early = 0;
    while (early < c.count && c.t_ms[early] < min_ms) {
        early++;
    }
    x->samples_read -= early; /* they only serve the first one */
    *out = c;
    if (early > 0) {
        *out = (struct tsdb_columns){
            .count = c.count - early,
            .t_ms = c.t_ms + early,
            .bits = c.bits + early,
            .start_ms = c.start_ms ? c.start_ms + early : NULL,
            .kind = c.kind ? c.kind + early : NULL,
            .histograms = c.histograms,
            .histogram_count = c.histogram_count,
        };
    }
    return TSDB_OK;
}

select_read_fn *select_reader(const struct exec *x)
{
    return x->in_stats > 0 && x->in_buckets == 0 ? read_hints : select_read;
}
