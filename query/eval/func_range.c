/* What the functions over range vectors compute in one window. */
#include "query/eval/func.h"

#include "query/num.h"

static bool range_unsupported(struct range_call *call)
{
    call->status = tsdb_error_set(call->x->err, TSDB_UNSUPPORTED,
                                  "function \"%s\" over native histograms is not supported yet",
                                  call->call->u.call.function->name);
    return false;
}

/* ---- notes that several share ---- */

static bool mixed(struct range_call *c, const struct points *w)
{
    if (w->count == 0 || w->h_count == 0) {
        return false;
    }
    exec_note_metric(c->x, false, c->arg->start,
                     "encountered a mix of histograms and floats for metric name",
                     &c->series->labels);
    return true;
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

/* ---- rate, increase, delta ---- */

static uint32_t first_after(const int64_t *t, uint32_t count, int64_t bound)
{
    uint32_t lo = 0;
    uint32_t hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t[mid] > bound) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

static double interpolate(const struct points *w, uint32_t i, int64_t t, bool counter)
{
    double y1 = w->v[i];
    double y2 = w->v[i + 1];
    if (counter && y2 < y1) {
        y1 = 0;
    }
    return y1 + (y2 - y1) * (double)(t - w->t[i]) / (double)(w->t[i + 1] - w->t[i]);
}

static const struct query_expr *selector_of(const struct range_call *c)
{
    return c->arg->kind == EXPR_MATRIX ? c->arg->u.matrix.selector : NULL;
}

/* anchored and smoothed: the values at the very ends of the range, taken from the samples around
 * them. */
static bool extended_rate(struct range_call *c, const struct points *w, bool counter,
                          bool per_second, struct point *out)
{
    bool smoothed = selector_of(c)->u.vector.smoothed;
    uint32_t last = w->count - 1;
    uint32_t after = first_after(w->t, last, c->begin_ms);
    uint32_t first = after > 0 ? after - 1 : 0;
    if (smoothed) {
        last = first_after(w->t, last, c->end_ms - 1);
    }
    if (w->t[last] <= c->begin_ms || (smoothed && w->t[first] > c->end_ms)) {
        return false;
    }
    double left = smoothed && w->t[first] < c->begin_ms
                      ? interpolate(w, first, c->begin_ms, counter)
                      : w->v[first];
    double right = smoothed && last > 0 && w->t[last] > c->end_ms
                       ? interpolate(w, last - 1, c->end_ms, counter)
                       : w->v[last];
    double result = right - left;
    if (counter) {
        uint32_t i = w->t[first] <= c->begin_ms ? first + 1 : first;
        uint32_t end = w->t[last] >= c->end_ms ? last : last + 1;
        double previous = left;
        for (; i < end; i++) {
            result += w->v[i] < previous ? previous : 0;
            previous = w->v[i];
        }
        result += right < previous ? previous : 0;
    }
    out->v = per_second ? result / ((double)c->range_ms / 1000) : result;
    return true;
}

/* How much the value rose between the first and the last sample; a counter's resets are made up
 * for. */
static double rise(const struct points *w, bool counter)
{
    double result = w->v[w->count - 1] - w->v[0];
    for (uint32_t i = 1; counter && !w->rising && i < w->count; i++) {
        if (w->v[i] < w->v[i - 1]) {
            result += w->v[i - 1];
        }
    }
    return result;
}

/* The rise is extrapolated to the ends of the range: all the way if samples are as dense as if the
 * series went on there, else by half the average distance of samples, and never below zero for a
 * counter. */
static bool extrapolated_rate(struct range_call *c, const struct points *w, bool counter,
                              bool per_second, struct point *out)
{
    if (mixed(c, w)) {
        return false;
    }
    if (w->h_count > 0) {
        return range_unsupported(c);
    }
    const struct query_expr *selector = selector_of(c);
    if (selector && (selector->u.vector.anchored || selector->u.vector.smoothed)) {
        return extended_rate(c, w, counter, per_second, out);
    }
    if (w->count < 2) {
        return false;
    }
    double result = rise(w, counter);
    double to_start = (double)(w->t[0] - c->begin_ms) / 1000;
    double to_end = (double)(c->end_ms - w->t[w->count - 1]) / 1000;
    double sampled = (double)(w->t[w->count - 1] - w->t[0]) / 1000;
    double average = sampled / (double)(w->count - 1);
    double threshold = average * 1.1;
    if (to_start >= threshold) {
        to_start = average / 2;
    }
    if (counter && result > 0 && w->v[0] >= 0) {
        double to_zero = sampled * (w->v[0] / result);
        if (to_zero < to_start) {
            to_start = to_zero;
        }
    }
    if (to_end >= threshold) {
        to_end = average / 2;
    }
    double factor = sampled != 0 ? (sampled + to_start + to_end) / sampled : 1;
    if (per_second) {
        factor /= (double)c->range_ms / 1000;
    }
    out->v = result * factor;
    return true;
}

bool func_rate(struct range_call *c, const struct points *w, struct point *out)
{
    return extrapolated_rate(c, w, true, true, out);
}
bool func_increase(struct range_call *c, const struct points *w, struct point *out)
{
    return extrapolated_rate(c, w, true, false, out);
}
bool func_delta(struct range_call *c, const struct points *w, struct point *out)
{
    return extrapolated_rate(c, w, false, false, out);
}

static bool instant_value(struct range_call *c, const struct points *w, bool rate,
                          struct point *out)
{
    if (w->count + w->h_count < 2) {
        return false;
    }
    if (w->h_count > 0) {
        bool floats_last = w->count >= 2 && w->t[w->count - 2] > w->ht[w->h_count - 1];
        if (!floats_last) {
            bool histograms_last =
                w->h_count >= 2 && (w->count == 0 || w->ht[w->h_count - 2] > w->t[w->count - 1]);
            return histograms_last ? range_unsupported(c) : !mixed(c, w);
        }
    }
    uint32_t i = w->count - 1;
    double v = w->v[i];
    if (!rate || !(w->v[i] < w->v[i - 1])) {
        v -= w->v[i - 1];
    }
    out->v = rate ? v / ((double)(w->t[i] - w->t[i - 1]) / 1000) : v;
    return true;
}

bool func_irate(struct range_call *c, const struct points *w, struct point *out)
{
    return instant_value(c, w, true, out);
}
bool func_idelta(struct range_call *c, const struct points *w, struct point *out)
{
    return instant_value(c, w, false, out);
}

/* ---- resets, changes ---- */

/* An anchored selector begins with the last sample at or before the range. False: nothing lies in
 * the range. */
static bool anchor(const struct range_call *c, const struct points *w, uint32_t *out_first)
{
    *out_first = 0;
    const struct query_expr *selector = selector_of(c);
    if (selector && selector->u.vector.anchored) {
        uint32_t after = first_after(w->t, w->count, c->begin_ms);
        *out_first = after > 0 ? after - 1 : 0;
        return after < w->count;
    }
    return true;
}

static bool is_reset(double before, double v)
{
    return v < before;
}

static bool is_change(double before, double v)
{
    return v != before && !(isnan(v) && isnan(before));
}

/* How many samples stand so to the one before them. */
static bool count_steps(struct range_call *c, const struct points *w,
                        bool (*counts)(double, double), struct point *out)
{
    uint32_t first;
    if (w->h_count > 0) {
        return range_unsupported(c);
    }
    if (!anchor(c, w, &first)) {
        return false;
    }
    for (uint32_t i = first + 1; i < w->count; i++) {
        out->v += counts(w->v[i - 1], w->v[i]);
    }
    return true;
}

bool func_resets(struct range_call *c, const struct points *w, struct point *out)
{
    return count_steps(c, w, is_reset, out);
}

bool func_changes(struct range_call *c, const struct points *w, struct point *out)
{
    return count_steps(c, w, is_change, out);
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
        c->status = tsdb_error_set(c->x->err, TSDB_INVALID,
                                   "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", sf);
        return false;
    }
    if (tf <= 0 || tf >= 1) {
        c->status = tsdb_error_set(c->x->err, TSDB_INVALID,
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

bool func_sum_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    if (mixed(c, w)) {
        return false;
    }
    if (w->h_count > 0) {
        return range_unsupported(c);
    }
    double sum = 0;
    double comp = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        num_kahan(w->v[i], &sum, &comp);
    }
    out->v = isinf(sum) ? sum : sum + comp;
    return true;
}

bool func_avg_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    if (mixed(c, w)) {
        return false;
    }
    if (w->h_count > 0) {
        return range_unsupported(c);
    }
    struct num_mean m = {w->v[0], 0, 1, 0};
    for (uint32_t i = 1; i < w->count; i++) {
        num_mean_add(&m, w->v[i]);
    }
    out->v = num_mean_value(&m);
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

/* Like extreme, but an equal later value does not replace an earlier one: 0 and -0 are equal. */
static bool extreme_value(struct range_call *c, const struct points *w, bool max, double *out)
{
    if (w->count == 0) {
        return false;
    }
    note_ignored(c, w);
    double best = w->v[0];
    for (uint32_t i = 1; i < w->count; i++) {
        double v = w->v[i];
        if (isnan(best) || (max ? v > best : v < best)) {
            best = v;
        }
    }
    *out = best;
    return true;
}

bool func_max_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    return extreme_value(c, w, true, &out->v);
}
bool func_min_over_time(struct range_call *c, const struct points *w, struct point *out)
{
    return extreme_value(c, w, false, &out->v);
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
