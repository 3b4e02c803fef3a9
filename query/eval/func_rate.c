/* How much a counter or gauge went up in a window: rate, increase, delta, irate, idelta; and how often
 * it was reset or changed. Floats here, histograms in func_rate_histogram.c. */
#include "query/eval/rate.h"

#include <math.h>

/* ---- anchored and smoothed ---- */

static double interpolate(const struct points *w, uint32_t i, int64_t t, bool counter)
{
    double y1 = w->v[i];
    double y2 = w->v[i + 1];
    if (counter && y2 < y1) {
        y1 = 0;
    }
    return y1 + (y2 - y1) * (double)(t - w->t[i]) / (double)(w->t[i + 1] - w->t[i]);
}

/* The values at the very ends of the range are taken from the samples around them. */
static bool extended_rate(struct range_call *c, const struct points *w, struct kernel_rate kind,
                          struct point *out)
{
    bool smoothed = rate_selector(c)->u.vector.smoothed;
    uint32_t first;
    uint32_t last;
    if (!rate_span(c, w->t, w->count, &first, &last)) {
        return false;
    }
    double left = smoothed && w->t[first] < c->begin_ms
                      ? interpolate(w, first, c->begin_ms, kind.counter)
                      : w->v[first];
    double right = smoothed && last > 0 && w->t[last] > c->end_ms
                       ? interpolate(w, last - 1, c->end_ms, kind.counter)
                       : w->v[last];
    double result = right - left;
    if (kind.counter) {
        uint32_t i = w->t[first] <= c->begin_ms ? first + 1 : first;
        uint32_t end = w->t[last] >= c->end_ms ? last : last + 1;
        double previous = left;
        for (; i < end; i++) {
            result += w->v[i] < previous ? previous : 0;
            previous = w->v[i];
        }
        result += right < previous ? previous : 0;
    }
    out->v = kind.per_second ? result / ((double)c->range_ms / 1000) : result;
    return true;
}

/* ---- rate, increase, delta ---- */

/* How much the value rose between the first and the last sample; a counter's resets are made up
 * for. */
static double rise(struct range_call *c, const struct points *w, bool counter)
{
    double result = w->v[w->count - 1] - w->v[0];
    if (!counter) {
        return result;
    }
    rate_note_overlap(c, w->start, w->t, w->count);
    for (uint32_t i = 1; i < w->count; i++) {
        if (w->v[i] < w->v[i - 1] || rate_started_anew(w->start, w->t, i)) {
            result += w->v[i - 1];
        }
    }
    return result;
}

/* The rise is extrapolated to the ends of the range: all the way if samples are as dense as if the
 * series went on there, else by half the average distance of samples, and never below zero for a
 * counter. A counter that is known to have started from zero within the range is not extrapolated
 * to the left. */
static bool extrapolated_rate(struct range_call *c, const struct points *w, struct kernel_rate kind,
                              struct point *out)
{
    if (range_mixed(c, w)) {
        return false;
    }
    const struct query_expr *selector = rate_selector(c);
    bool extended = selector && (selector->u.vector.anchored || selector->u.vector.smoothed);
    if (w->h_count > 0) {
        return extended ? rate_histograms_extended(c, w, kind, selector->u.vector.smoothed, out)
                        : rate_histograms(c, w, kind, out);
    }
    if (extended) {
        return extended_rate(c, w, kind, out);
    }
    struct kernel_rate_ends e = rate_ends_of(c, w->t, w->start, w->count, kind);
    if (w->count < 2 && !e.from_start) {
        return false;
    }
    e.first = w->v[0];
    e.rise = rise(c, w, kind.counter) + (e.from_start ? w->v[0] : 0);
    out->v = e.rise * kernel_rate_factor(&e, c->begin_ms, c->end_ms, kind, c->range_ms);
    return true;
}

bool func_rate(struct range_call *c, const struct points *w, struct point *out)
{
    return extrapolated_rate(c, w, (struct kernel_rate){true, true}, out);
}
bool func_increase(struct range_call *c, const struct points *w, struct point *out)
{
    return extrapolated_rate(c, w, (struct kernel_rate){true, false}, out);
}
bool func_delta(struct range_call *c, const struct points *w, struct point *out)
{
    return extrapolated_rate(c, w, (struct kernel_rate){false, false}, out);
}

/* Between the last two samples, of whichever kind. */
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
            return histograms_last ? rate_histograms_last(c, w, rate, out) : !range_mixed(c, w);
        }
    }
    uint32_t i = w->count - 1;
    double v = w->v[i];
    if (!rate || !(w->v[i] < w->v[i - 1] || rate_started_anew(w->start, w->t, i))) {
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

/* An anchored selector begins with the last sample at or before the range, of whichever kind. False:
 * nothing lies in the range. */
static bool anchor(const struct range_call *c, const struct points *w, uint32_t *out_f,
                   uint32_t *out_h)
{
    const struct query_expr *selector = rate_selector(c);
    *out_f = *out_h = 0;
    if (!selector || !selector->u.vector.anchored) {
        return true;
    }
    uint32_t f = rate_first_after(w->t, w->count, c->begin_ms);
    uint32_t h = rate_first_after(w->ht, w->h_count, c->begin_ms);
    bool float_anchors = f > 0 && (h == 0 || w->t[f - 1] >= w->ht[h - 1]);
    *out_f = float_anchors ? f - 1 : f;
    *out_h = !float_anchors && h > 0 ? h - 1 : h;
    return f < w->count || h < w->h_count;
}

static bool float_counts(const struct points *w, uint32_t i, bool resets)
{
    double a = w->v[i - 1];
    double b = w->v[i];
    if (resets) {
        return b < a || rate_started_anew(w->start, w->t, i);
    }
    return b != a && !(isnan(b) && isnan(a));
}

/* How many samples stand so to the one before them: a reset, a change. A change of kind is both. */
static bool count_steps(struct range_call *c, const struct points *w, bool resets,
                        struct point *out)
{
    uint32_t f;
    uint32_t h;
    if (!anchor(c, w, &f, &h)) {
        return false;
    }
    enum point_kind before = POINT_NONE;
    while (f < w->count || h < w->h_count) {
        bool is_float = h >= w->h_count || (f < w->count && w->t[f] < w->ht[h]);
        enum point_kind kind = is_float ? POINT_FLOAT : POINT_HISTOGRAM;
        bool counts = before != POINT_NONE && before != kind;
        if (before == kind && is_float) {
            counts = float_counts(w, f, resets);
        } else if (before == kind && !rate_histogram_counts(c, w, h, resets, &counts)) {
            return false;
        }
        out->v += counts;
        before = kind;
        f += is_float;
        h += !is_float;
    }
    return true;
}

bool func_resets(struct range_call *c, const struct points *w, struct point *out)
{
    return count_steps(c, w, true, out);
}

bool func_changes(struct range_call *c, const struct points *w, struct point *out)
{
    return count_steps(c, w, false, out);
}
