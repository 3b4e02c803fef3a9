/* Functions over range vectors: one series at a time, one window per step. */
#include "query/eval/func.h"
#include "query/eval/operators.h"

#include "base/assert.h"
#include "query/eval/matrix.h"

#define WORK_PER_CHECK 65536u /* samples in windows; a fraction of a millisecond to a few */

/* A function that has a kernel, which computes all windows of a series at once where there is nothing
 * but floats. */
struct range_kernel {
    kernel_window_fn *window; /* NULL: a rate, if least > 0 */
    struct kernel_rate rate;
    uint32_t least; /* samples that it needs; 0: no kernel */
};

struct op_range {
    struct op op;
    struct matrix *matrix;
    struct range_kernel kernel;
    uint32_t *lo, *hi; /* with a kernel: of the windows */
    func_range_fn *range;
    const double *scalars[QUERY_FUNCTION_ARGS]; /* per scalar argument its values at all steps */
    uint32_t scalar_count;
    bool is_counter_rate;
    bool inside; /* of a subquery */
    struct tsdb_arena *scratch;
    struct tsdb_arena *turns[2];
    struct tsdb_arena *results; /* histograms of one series */
};

/* rate(requests[5m]): the name does not look like a counter's. */
static void note_non_counter(const struct op_range *r, const struct op_series *series)
{
    static const struct {
        char text[8];
        uint32_t len;
    } suffixes[] = {{"_total", 6}, {"_sum", 4}, {"_count", 6}, {"_bucket", 7}};
    struct query_str name = labels_metric_name(&series->labels);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(suffixes); i++) {
        uint32_t n = suffixes[i].len;
        if (name.len >= n && memcmp(name.data + name.len - n, suffixes[i].text, n) == 0) {
            return;
        }
    }
    if (name.len > 0) {
        exec_note_metric(
            r->op.x, true, r->matrix->expr->start,
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:",
            &series->labels);
    }
}

/* Moves [*lo, *hi) to the samples in (begin, end]; both only grow. */
static void slide(const int64_t *t, uint32_t count, int64_t begin, int64_t end, uint32_t *lo,
                  uint32_t *hi)
{
    while (*lo < count && t[*lo] <= begin) {
        (*lo)++;
    }
    *hi = TSDB_MAX(*hi, *lo);
    while (*hi < count && t[*hi] <= end) {
        (*hi)++;
    }
}

/* The window of a step within the points of a series, and how many of its samples were in none
 * before it. */
struct cut {
    uint32_t lo, hi, fresh;
    uint32_t h_lo, h_hi, h_fresh;
};

static void cut_window(const struct matrix *m, const struct points *p, int64_t end_ms,
                       struct cut *c)
{
    int64_t begin = end_ms - m->range_ms - m->before_ms;
    int64_t end = end_ms + m->after_ms;
    uint32_t seen = c->hi;
    uint32_t h_seen = c->h_hi;
    slide(p->t, p->count, begin, end, &c->lo, &c->hi);
    slide(p->ht, p->h_count, begin, end, &c->h_lo, &c->h_hi);
    c->fresh = c->hi - TSDB_MAX(c->lo, seen);
    c->h_fresh = c->h_hi - TSDB_MAX(c->h_lo, h_seen);
}

static struct points window_of(const struct points *p, const struct cut *c)
{
    struct points w = {.count = c->hi - c->lo, .h_count = c->h_hi - c->h_lo};
    if (w.count > 0) { /* else there may be no columns at all */
        w.t = p->t + c->lo;
        w.v = p->v + c->lo;
        w.start = p->start ? p->start + c->lo : NULL;
    }
    if (w.h_count > 0) {
        w.ht = p->ht + c->h_lo;
        w.h_start = p->h_start ? p->h_start + c->h_lo : NULL;
        w.h = p->h + c->h_lo;
    }
    return w;
}

/* Look at cancel and deadline by work done, not by windows: one may hold millions of samples. */
static enum tsdb_status poll_work(struct exec *x, const struct points *w, uint64_t *work)
{
    *work += 16 + w->count + UINT64_C(16) * w->h_count;
    if (*work < WORK_PER_CHECK) {
        return TSDB_OK;
    }
    *work = 0;
    return exec_check(x);
}

/* ---- all windows at once ---- */

static struct range_kernel range_kernel_of(const struct query_kernels *k, func_range_fn *range)
{
    const struct {
        func_range_fn *range;
        struct range_kernel kernel;
    } known[] = {
        {func_rate, {NULL, {true, true}, 2}},
        {func_increase, {NULL, {true, false}, 2}},
        {func_delta, {NULL, {false, false}, 2}},
        {func_sum_over_time, {.window = k->sum, .least = 1}},
        {func_avg_over_time, {.window = k->avg, .least = 1}},
        {func_min_over_time, {.window = k->min, .least = 1}},
        {func_max_over_time, {.window = k->max, .least = 1}},
        {func_count_over_time, {.window = kernel_count, .least = 1}},
        {func_last_over_time, {.window = kernel_last, .least = 1}},
        {func_first_over_time, {.window = kernel_first, .least = 1}},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(known); i++) {
        if (known[i].range == range) {
            return known[i].kernel;
        }
    }
    return (struct range_kernel){0};
}

/* Does the kernel have the windows of this series? If so, they are *out. */
static bool kernel_takes(const struct op_range *r, const struct points *p,
                         struct kernel_windows *out)
{
    const struct matrix *m = r->matrix;
    return r->kernel.least > 0 && p->h_count == 0 && !p->start &&
           time_windows(&r->op.grid, matrix_window_end(m, 0), m->fixed, m->range_ms, out);
}

/* Samples at each step, for statistics by step. */
static void tally_steps(struct op_range *r, const struct kernel_windows *w)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        uint32_t fresh = w->hi[i] - TSDB_MAX(w->lo[i], seen);
        tally_add(&r->op.x->tally, &r->op.grid, i, r->inside, w->hi[i] - w->lo[i],
                  r->matrix->body ? 0 : fresh);
        seen = w->hi[i];
    }
}

/* Windows [first, first + count) of w, which know no more whether they are alike in part only. */
static struct kernel_windows windows_part(const struct kernel_windows *w, uint32_t first,
                                          uint32_t count)
{
    struct kernel_windows part = *w;
    part.lo += first;
    part.hi += first;
    part.count = count;
    part.end_ms += (int64_t)first * w->step_ms;
    part.even_first = TSDB_MIN(TSDB_MAX(w->even_first, first) - first, count);
    part.even_end = TSDB_MIN(TSDB_MAX(w->even_end, first) - first, count);
    return part;
}

/* The values of all windows, `samples` in all; between two parts of the work, cancel and deadline are
 * looked at. */
static enum tsdb_status kernel_run(struct op_range *r, const struct kernel_run *run,
                                   const struct kernel_windows *w, uint64_t samples, double *out)
{
    uint64_t work = samples + UINT64_C(16) * w->count;
    uint64_t parts = work / WORK_PER_CHECK + 1;
    uint32_t each = TSDB_MAX((uint32_t)(w->count / parts), 1);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < w->count && status == TSDB_OK; i += each) {
        const struct kernel_windows part = windows_part(w, i, TSDB_MIN(each, w->count - i));
        if (r->kernel.window) {
            r->kernel.window(run, &part, out + i);
        } else {
            r->op.x->kernels->rate(run, &part, r->kernel.rate, out + i);
        }
        status = parts > 1 ? exec_check(r->op.x) : TSDB_OK;
    }
    return status;
}

static enum tsdb_status range_floats(struct op_range *r, const struct points *p,
                                     struct kernel_windows *w, struct column *out, bool *out_any)
{
    struct exec *x = r->op.x;
    const struct matrix *m = r->matrix;
    tsdb_arena_reset(r->scratch);
    const struct kernel_run run = {p->t, p->v, p->count,
                                   TSDB_ARENA_ARRAY(r->scratch, double, (size_t)p->count + 1)};
    if (!run.scratch) {
        return exec_nomem(x);
    }
    x->kernels->bounds(p->t, p->count, w, r->lo, r->hi);
    struct kernel_counts counts = x->kernels->kinds(w, r->kernel.least, 0, out->kind);
    if (x->tally.step_queryable) {
        tally_steps(r, w);
    } else {
        tally_add(&x->tally, &r->op.grid, 0, r->inside, counts.samples, m->body ? 0 : counts.fresh);
    }
    *out_any = memchr(out->kind, POINT_FLOAT, w->count) != NULL;
    return *out_any ? kernel_run(r, &run, w, counts.samples, out->v) : TSDB_OK;
}

/* ---- window by window ---- */

static enum tsdb_status range_windows(struct op_range *r, const struct points *p,
                                      struct column *out, bool *out_any)
{
    struct op *op = &r->op;
    const struct matrix *m = r->matrix;
    struct range_call call = {.x = op->x,
                              .call = op->expr,
                              .arg = m->expr,
                              .series = &m->series[op->pos],
                              .range_ms = m->range_ms,
                              .scratch = r->scratch,
                              .turns = {r->turns[0], r->turns[1]},
                              .results = r->results};
    enum tsdb_status status = TSDB_OK;
    struct cut cut = {0};
    const bool by_step = op->x->tally.step_queryable != NULL;
    uint64_t queryable = 0;
    uint64_t read = 0;
    uint64_t work = 0;
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        double args[QUERY_FUNCTION_ARGS] = {0};
        call.t_ms = grid_time(&op->grid, i);
        call.end_ms = matrix_window_end(m, i);
        call.begin_ms = call.end_ms - m->range_ms;
        cut_window(m, p, call.end_ms, &cut);
        const struct points w = window_of(p, &cut);
        if (w.count + w.h_count == 0) {
            continue;
        }
        for (uint32_t a = 0; a < r->scalar_count; a++) {
            args[a] = r->scalars[a][i];
        }
        call.args = args;
        if (by_step || w.h_count > 0) {
            tally_window(&op->x->tally, &op->grid, i, r->inside, m->body == NULL, &w, cut.fresh,
                         cut.h_fresh);
        } else { /* many and small: all of them at the end */
            queryable += w.count;
            read += cut.fresh;
        }
        struct point result = {0};
        bool has = r->range(&call, &w, &result);
        status = call.status;
        if (status == TSDB_OK && has) {
            *out_any |= !result.h;
            status = column_put(op->x, out, op->grid.count, i, result);
        }
        if (status == TSDB_OK) {
            status = poll_work(op->x, &w, &work);
        }
    }
    tally_add(&op->x->tally, &op->grid, 0, r->inside, queryable, m->body ? 0 : read);
    return status;
}

static enum tsdb_status range_next(struct op *op, struct column *out)
{
    struct op_range *r = (struct op_range *)op;
    struct points p;
    bool any_float = false;
    r->matrix->pos = op->pos;
    enum tsdb_status status = matrix_next(r->matrix, &p);
    column_clear(out, op->grid.count);
    tsdb_arena_reset(r->results);
    struct kernel_windows w;
    if (status == TSDB_OK) {
        status = kernel_takes(r, &p, &w) ? range_floats(r, &p, &w, out, &any_float)
                                         : range_windows(r, &p, out, &any_float);
    }
    if (any_float && r->is_counter_rate) {
        note_non_counter(r, &r->matrix->series[op->pos]);
    }
    return status;
}

/* The range argument and the values of the scalar ones. */
static enum tsdb_status range_args(struct op_range *r, const struct query_expr *e,
                                   const struct grid *grid)
{
    struct exec *x = r->op.x;
    for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
        const struct query_expr *a = e->u.call.args[i];
        enum tsdb_status status;
        if (a->type == QUERY_TYPE_MATRIX) {
            status = matrix_build(x, a, grid, &r->matrix);
        } else {
            TSDB_ASSERT(r->scalar_count < QUERY_FUNCTION_ARGS);
            status = exec_scalar(x, a, grid, &r->scalars[r->scalar_count++]);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    TSDB_ASSERT(r->matrix != NULL);
    return TSDB_OK;
}

/* What one operator has for itself. */
static enum tsdb_status range_memory(struct op_range *r, struct exec *x)
{
    struct tsdb_arena *scratch = exec_scratch(x);
    struct tsdb_arena *results = exec_scratch(x);
    struct tsdb_arena *turns[2] = {exec_scratch(x), exec_scratch(x)};
    if (!scratch || !results || !turns[0] || !turns[1]) {
        return exec_nomem(x);
    }
    r->scratch = scratch;
    r->results = results;
    r->turns[0] = turns[0];
    r->turns[1] = turns[1];
    return TSDB_OK;
}

static enum tsdb_status kernel_memory(struct op_range *r, struct exec *x)
{
    size_t steps = TSDB_MAX(r->op.grid.count, 1);
    r->lo = TSDB_ARENA_ARRAY(x->arena, uint32_t, steps);
    r->hi = TSDB_ARENA_ARRAY(x->arena, uint32_t, steps);
    return r->lo && r->hi ? TSDB_OK : exec_nomem(x);
}

static enum tsdb_status range_clone(const struct op *op, struct exec *x, struct op **out)
{
    struct exec *owner = op->x;
    struct op_range *r = (struct op_range *)op_copy(op, sizeof *r, x);
    if (!r) {
        return exec_nomem(owner);
    }
    *out = &r->op;
    enum tsdb_status status = matrix_clone(r->matrix, x, &r->matrix);
    if (status == TSDB_OK) {
        status = range_memory(r, owner);
    }
    return status == TSDB_OK && r->kernel.least > 0 ? kernel_memory(r, owner) : status;
}

/* Anchored and smoothed ranges reach beyond their windows. */
static enum tsdb_status kernel_choose(struct op_range *r)
{
    struct exec *x = r->op.x;
    if (r->matrix->before_ms != 0 || r->matrix->after_ms != 0) {
        return TSDB_OK;
    }
    r->kernel = range_kernel_of(x->kernels, r->range);
    if (r->kernel.least == 0) {
        return TSDB_OK;
    }
    return kernel_memory(r, x);
}

enum tsdb_status op_range_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                func_range_fn *range, struct op **out)
{
    struct op_range *r = (struct op_range *)op_new(x, sizeof *r, e, grid, range_next);
    if (!r) {
        return exec_nomem(x);
    }
    enum tsdb_status status = range_memory(r, x);
    if (status != TSDB_OK) {
        return status;
    }
    const struct query_function *f = e->u.call.function;
    r->range = range;
    r->inside = x->tally.in_subquery > 0;
    r->is_counter_rate = f->is_counter_rate;
    status = range_args(r, e, grid);
    if (status == TSDB_OK) {
        status = matrix_check_extension(r->matrix, f);
    }
    if (status == TSDB_OK) {
        status = kernel_choose(r);
    }
    if (status != TSDB_OK) {
        return status;
    }
    r->op.clone = r->matrix->body ? NULL : range_clone;
    r->op.stored = &r->matrix->set;
    const struct op child = {.series = r->matrix->series,
                             .series_count = r->matrix->series_count,
                             .unique = !r->matrix->body};
    if (f->keeps_name) {
        *out = &r->op;
        op_series_share(&r->op, &child);
        return TSDB_OK;
    }
    return op_series_unnamed(&r->op, &child, true, out);
}
