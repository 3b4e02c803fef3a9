/* What the functions over range vectors compute in one window. */
#include "query/eval/func.h"
#include "query/eval/window.h"

#include "query/num.h"

/* ---- notes that several share ---- */

bool range_mixed(struct range_call *c, const struct points *w)
{
    if (w->count == 0 || w->h_count == 0) {
        return false;
    }
    exec_note_metric(c->x, false, c->arg->start,
                     "encountered a mix of histograms and floats for metric name",
                     &c->series->labels);
    return true;
}

bool range_view(struct range_call *c, const struct points *w, uint32_t i, struct hist *out)
{
    struct tsdb_arena *arena = c->turns[i % 2];
    tsdb_arena_reset(arena);
    c->status = histogram_view(c->x, w->h[i], arena, out);
    return c->status == TSDB_OK;
}

static void note_ignored_at(struct range_call *c, const struct points *w, uint32_t pos)
{
    if (w->h_count > 0) {
        exec_note_metric(
            c->x, true, pos,
            "ignored histograms in a range containing both floats and histograms for metric name",
            &c->series->labels);
    }
}

static void note_ignored(struct range_call *c, const struct points *w)
{
    note_ignored_at(c, w, c->call->u.call.args[0]->start);
}

/* ---- regression ---- */

static void linear_regression(const struct points *w, int64_t zero_ms, double *out_slope,
                              double *out_intercept)
{
    double x_sum = 0, x_c = 0, y_sum = 0, y_c = 0, xy_sum = 0, xy_c = 0, xx_sum = 0, xx_c = 0;
    bool constant = true;
    double n = w->count;
    for (uint32_t i = 0; i < w->count; i++) {
        constant = constant && !(i > 0 && w->v[i] != w->v[0]);
        double x = (double)(w->t[i] - zero_ms) / 1e3;
        num_kahan(x, &x_sum, &x_c);
        num_kahan(w->v[i], &y_sum, &y_c);
        num_kahan(x * w->v[i], &xy_sum, &xy_c);
        num_kahan(x * x, &xx_sum, &xx_c);
    }
    if (constant) {
        *out_slope = isinf(w->v[0]) ? (double)NAN : 0;
        *out_intercept = isinf(w->v[0]) ? (double)NAN : w->v[0];
        return;
    }
    x_sum += x_c;
    y_sum += y_c;
    xy_sum += xy_c;
    xx_sum += xx_c;
    double covariance = xy_sum - x_sum * y_sum / n;
    double variance = xx_sum - x_sum * x_sum / n;
    *out_slope = covariance / variance;
    *out_intercept = y_sum / n - *out_slope * x_sum / n;
}

/* At least two floats; with one float beside histograms they are said to be ignored. */
static bool two_floats(struct range_call *c, const struct points *w)
{
    if (w->count >= 1) {
        note_ignored(c, w);
    }
    return w->count >= 2;
}

bool func_deriv(struct range_call *c, const struct points *w, struct point *out)
{
    double intercept;
    if (!two_floats(c, w)) {
        return false;
    }
    linear_regression(w, w->t[0], &out->v, &intercept);
    return true;
}

bool func_predict_linear(struct range_call *c, const struct points *w, struct point *out)
{
    double slope;
    double intercept;
    if (!two_floats(c, w)) {
        return false;
    }
    linear_regression(w, c->t_ms, &slope, &intercept);
    out->v = slope * c->args[0] + intercept;
    return true;
}

bool func_double_exponential_smoothing(struct range_call *c, const struct points *w,
                                       struct point *out)
{
    double sf = c->args[0];
    double tf = c->args[1];
    if (sf <= 0 || sf >= 1) {
        c->status = exec_fail(c->x, TSDB_INVALID,
                              "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", sf);
        return false;
    }
    if (tf <= 0 || tf >= 1) {
        c->status = exec_fail(c->x, TSDB_INVALID,
                              "invalid trend factor. Expected: 0 < tf < 1, got: %f", tf);
        return false;
    }
    if (!two_floats(c, w)) {
        return false;
    }
    double s0 = 0;
    double s1 = w->v[0];
    double b = w->v[1] - w->v[0];
    for (uint32_t i = 1; i < w->count; i++) {
        double x = sf * w->v[i];
        if (i > 1) {
            b = tf * (s1 - s0) + (1 - tf) * b;
        }
        double y = (1 - sf) * (s1 + b);
        s0 = s1;
        s1 = x + y;
    }
    out->v = s1;
    return true;
}

/* ---- *_over_time ---- */

/* What a kernel gives for the floats of a window, of which there are some. */
static double one_window(kernel_window_fn *kernel, const struct points *w)
{
    const struct kernel_run run = {w->t, w->v, w->count, NULL};
    const uint32_t lo = 0;
    const struct kernel_windows one = {.lo = &lo, .hi = &w->count, .count = 1};
    double out = 0;
    kernel(&run, &one, &out);
    return out;
}

/* The result of a sum over a window; INVALID: schemas that do not go together. */
static bool put_sum(struct range_call *c, struct hist *h, const struct histogram_hints *hints,
                    const struct hist_effects *effects, enum tsdb_status status, struct point *out)
{
    struct exec *x = c->x;
    if (status == TSDB_INVALID) {
        histogram_note_schemas(x, c->arg->start, &c->series->labels);
        return false;
    }
    if (hints->reset && hints->no_reset) {
        histogram_note_conflict(x, c->arg->start, "aggregation");
    }
    if (effects->bounds_reconciled) {
        histogram_note_bounds(x, c->arg->start, "aggregation");
    }
    c->status =
        status == TSDB_OK ? histogram_point(x, h, c->results, out) : histogram_status(x, status);
    return c->status == TSDB_OK;
}

static bool sum_histograms(struct range_call *c, const struct points *w, struct point *out)
{
    struct hist sum = {0};
    struct hist_effects effects = {0};
    struct histogram_hints hints = {0};
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < w->h_count && status == TSDB_OK; i++) {
        struct hist h;
        if (!range_view(c, w, i, &h)) {
            return false;
        }
        histogram_hints_add(&hints, h.reset_hint);
        status = i == 0 ? hist_copy(&sum, &h, c->results)
                        : hist_add_compensated(&sum, &h, c->results, &effects);
    }
    hist_settle(&sum);
    return put_sum(c, &sum, &hints, &effects, status, out);
}

static bool mean_of_histograms(struct range_call *c, const struct points *w, struct point *out)
{
    struct hist_mean mean = {0};
    struct hist_effects effects = {0};
    struct histogram_hints hints = {0};
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < w->h_count && status == TSDB_OK; i++) {
        struct hist h;
        if (!range_view(c, w, i, &h)) {
            return false;
        }
        histogram_hints_add(&hints, h.reset_hint);
        status = hist_mean_add(&mean, &h, c->results, &effects);
    }
    if (status == TSDB_OK) {
        status = hist_mean_finish(&mean, c->results);
    }
    return put_sum(c, &mean.h, &hints, &effects, status, out);
}

bool func_sum_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    if (range_mixed(c, w)) {
        return false;
    }
    if (w->h_count > 0) {
        return sum_histograms(c, w, out);
    }
    out->v = one_window(query_kernels_scalar.sum, w);
    return true;
}

bool func_avg_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    if (range_mixed(c, w)) {
        return false;
    }
    if (w->h_count > 0) {
        return mean_of_histograms(c, w, out);
    }
    out->v = one_window(query_kernels_scalar.avg, w);
    return true;
}

bool func_count_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    (void)c;
    out->v = (double)w->count + w->h_count;
    return true;
}

bool func_present_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    (void)c;
    (void)w;
    out->v = 1;
    return true;
}

bool func_last_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    (void)c;
    if (w->h_count == 0 || (w->count > 0 && w->ht[w->h_count - 1] < w->t[w->count - 1])) {
        out->v = w->v[w->count - 1];
    } else {
        out->h = w->h[w->h_count - 1];
    }
    return true;
}

bool func_first_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    (void)c;
    if (w->h_count == 0 || (w->count > 0 && w->t[0] < w->ht[0])) {
        out->v = w->v[0];
    } else {
        out->h = w->h[0];
    }
    return true;
}

bool func_ts_of_first_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    (void)c;
    int64_t t = w->count > 0 ? w->t[0] : INT64_MAX;
    if (w->h_count > 0 && w->ht[0] < t) {
        t = w->ht[0];
    }
    out->v = (double)t / 1000;
    return true;
}

bool func_ts_of_last_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    (void)c;
    int64_t t = w->count > 0 ? w->t[w->count - 1] : 0;
    int64_t ht =
        w->h_count > 0 ? w->ht[w->h_count - 1] : 0; /* 0 as in Prometheus, also before 1970 */
    out->v = (double)(t > ht ? t : ht) / 1000;
    return true;
}

/* The extreme value, and the time of its last occurrence. */
static bool extreme(struct range_call *c, const struct points *w, bool max, double *out_v,
                    int64_t *out_t)
{
    if (w->count == 0) {
        return false;
    }
    note_ignored(c, w);
    double best = w->v[0];
    *out_t = w->t[0];
    for (uint32_t i = 0; i < w->count; i++) {
        double v = w->v[i];
        if (isnan(best) || (max ? v >= best : v <= best)) {
            best = v;
            *out_t = w->t[i];
        }
    }
    *out_v = best;
    return true;
}

static bool extreme_value(struct range_call *c, const struct points *w, kernel_window_fn *kernel,
                          double *out)
{
    if (w->count == 0) {
        return false;
    }
    note_ignored(c, w);
    *out = one_window(kernel, w);
    return true;
}

bool func_max_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    return extreme_value(c, w, query_kernels_scalar.max, &out->v);
}
bool func_min_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    return extreme_value(c, w, query_kernels_scalar.min, &out->v);
}
bool func_ts_of_max_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    double v;
    int64_t t;
    bool any = extreme(c, w, true, &v, &t);
    out->v = any ? (double)t / 1000 : 0;
    return any;
}
bool func_ts_of_min_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    double v;
    int64_t t;
    bool any = extreme(c, w, false, &v, &t);
    out->v = any ? (double)t / 1000 : 0;
    return any;
}

static double *copy_values(struct range_call *c, const struct points *w)
{
    tsdb_arena_reset(c->scratch);
    double *values = TSDB_ARENA_ARRAY(c->scratch, double, w->count);
    if (!values) {
        c->status = exec_nomem(c->x);
        return NULL;
    }
    memcpy(values, w->v, w->count * sizeof *values);
    return values;
}

bool func_quantile_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    if (w->count == 0) {
        return false;
    }
    double q = c->args[0];
    uint32_t pos = c->call->u.call.args[0]->start;
    exec_note_quantile(c->x, q, pos);
    note_ignored_at(c, w, pos);
    double *values = copy_values(c, w);
    if (!values) {
        return false;
    }
    out->v = num_quantile(q, values, w->count);
    return true;
}

bool func_mad_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    if (w->count == 0) {
        return false;
    }
    note_ignored(c, w);
    double *values = copy_values(c, w);
    if (!values) {
        return false;
    }
    for (uint32_t i = 0; i < w->count; i++) {
        if (isnan(values[i])) {
            out->v = (double)NAN;
            return true;
        }
    }
    double median = num_quantile(0.5, values, w->count);
    for (uint32_t i = 0; i < w->count; i++) {
        values[i] = fabs(values[i] - median);
    }
    out->v = num_quantile(0.5, values, w->count);
    return true;
}

static bool variance(struct range_call *c, const struct points *w, double *out)
{
    if (w->count == 0) {
        return false;
    }
    note_ignored(c, w);
    double count = 0, mean = 0, mean_c = 0, aux = 0, aux_c = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        count++;
        double delta = w->v[i] - (mean + mean_c);
        num_kahan(delta / count, &mean, &mean_c);
        num_kahan(delta * (w->v[i] - (mean + mean_c)), &aux, &aux_c);
    }
    *out = (aux + aux_c) / count;
    return true;
}

bool func_stdvar_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    return variance(c, w, &out->v);
}

bool func_stddev_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    bool any = variance(c, w, &out->v);
    out->v = sqrt(out->v);
    return any;
}
