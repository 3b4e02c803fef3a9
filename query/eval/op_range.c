/* Functions over range vectors: one series at a time, one window per step. */
#include "query/eval/func.h"
#include "query/eval/operators.h"

#include "base/assert.h"
#include "query/eval/matrix.h"

#define WORK_PER_CHECK 65536u /* samples in windows; a fraction of a millisecond to a few */

struct op_range {
    struct op op;
    struct matrix *matrix;
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

static struct points window_of(const struct points *p, const struct cut *c, bool rising)
{
    return (struct points){.t = p->t + c->lo,
                           .v = p->v + c->lo,
                           .start = p->start ? p->start + c->lo : NULL,
                           .count = c->hi - c->lo,
                           .ht = p->ht + c->h_lo,
                           .h_start = p->h_start ? p->h_start + c->h_lo : NULL,
                           .h = p->h + c->h_lo,
                           .h_count = c->h_hi - c->h_lo,
                           .rising = rising};
}

/* One look at the series spares a look at every sample of every window. */
static bool is_rising(const struct points *p)
{
    uint32_t falls = 0;
    for (uint32_t i = 1; i < p->count; i++) {
        falls += p->v[i] < p->v[i - 1];
    }
    return falls == 0;
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

static enum tsdb_status range_next(struct op *op, struct column *out)
{
    struct op_range *r = (struct op_range *)op;
    const struct matrix *m = r->matrix;
    struct points p;
    struct range_call call = {.x = op->x,
                              .call = op->expr,
                              .arg = m->expr,
                              .series = &m->series[op->pos],
                              .range_ms = m->range_ms,
                              .scratch = r->scratch,
                              .turns = {r->turns[0], r->turns[1]},
                              .results = r->results};
    enum tsdb_status status = matrix_next(r->matrix, &p);
    struct cut cut = {0};
    const bool by_step = op->x->tally.step_queryable != NULL;
    uint64_t queryable = 0;
    uint64_t read = 0;
    uint64_t work = 0;
    bool any_float = false;
    bool rising = status == TSDB_OK && r->is_counter_rate && is_rising(&p);
    column_clear(out, op->grid.count);
    tsdb_arena_reset(r->results);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        double args[QUERY_FUNCTION_ARGS] = {0};
        call.t_ms = grid_time(&op->grid, i);
        call.end_ms = matrix_window_end(m, i);
        call.begin_ms = call.end_ms - m->range_ms;
        cut_window(m, &p, call.end_ms, &cut);
        const struct points w = window_of(&p, &cut, rising);
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
            any_float |= !result.h;
            status = column_put(op->x, out, op->grid.count, i, result);
        }
        if (status == TSDB_OK) {
            status = poll_work(op->x, &w, &work);
        }
    }
    tally_add(&op->x->tally, &op->grid, 0, r->inside, queryable, m->body ? 0 : read);
    if (any_float && r->is_counter_rate) {
        note_non_counter(r, &m->series[op->pos]);
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

enum tsdb_status op_range_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                func_range_fn *range, struct op **out)
{
    struct op_range *r = (struct op_range *)op_new(x, sizeof *r, e, grid, range_next);
    struct tsdb_arena *scratch = exec_scratch(x);
    struct tsdb_arena *results = exec_scratch(x);
    struct tsdb_arena *turns[2] = {exec_scratch(x), exec_scratch(x)};
    if (!r || !scratch || !results || !turns[0] || !turns[1]) {
        return exec_nomem(x);
    }
    r->results = results;
    r->turns[0] = turns[0];
    r->turns[1] = turns[1];
    const struct query_function *f = e->u.call.function;
    r->range = range;
    r->scratch = scratch;
    r->inside = x->tally.in_subquery > 0;
    r->is_counter_rate = f->is_counter_rate;
    enum tsdb_status status = range_args(r, e, grid);
    if (status == TSDB_OK) {
        status = matrix_check_extension(r->matrix, f);
    }
    if (status != TSDB_OK) {
        return status;
    }
    const struct op child = {.series = r->matrix->series, .series_count = r->matrix->series_count};
    if (f->keeps_name) {
        *out = &r->op;
        op_series_share(&r->op, &child);
        return TSDB_OK;
    }
    return op_series_unnamed(&r->op, &child, true, out);
}
