/* Rates of native histograms. Source: Prometheus promql/functions.go. */
#include "query/eval/rate.h"

static bool fail(struct range_call *c, enum tsdb_status status)
{
    c->status = histogram_status(c->x, status);
    return false;
}

static bool is_custom(const struct tsdb_histogram *h)
{
    return h->schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM;
}

static void note(struct range_call *c, const char *text)
{
    exec_note_metric(c->x, false, c->arg->start, text, &c->series->labels);
}

static void note_not_counter(struct range_call *c)
{
    note(c, "this native histogram metric is not a counter:");
}

static void note_not_gauge(struct range_call *c)
{
    note(c, "this native histogram metric is not a gauge:");
}

static struct histogram_place place_of(const struct range_call *c)
{
    return (struct histogram_place){c->x, c->arg->start, &c->series->labels, c->results};
}

static bool combine(struct range_call *c, struct hist *h, const struct hist *other, bool add)
{
    const struct histogram_place place = place_of(c);
    bool fits;
    c->status = histogram_combine(&place, h, other, add, &fits);
    return c->status == TSDB_OK && fits;
}

/* Histogram i for arithmetic, to be kept: in the arena of results. */
static bool keep_view(struct range_call *c, const struct points *w, uint32_t i, struct hist *out)
{
    c->status = histogram_view(c->x, w->h[i], c->results, out);
    return c->status == TSDB_OK;
}

static bool finish(struct range_call *c, struct hist *h, bool compact, struct point *out)
{
    enum tsdb_status status = compact ? hist_compact(h, c->results) : TSDB_OK;
    if (status != TSDB_OK) {
        return fail(c, status);
    }
    c->status = histogram_point(c->x, h, c->results, out);
    return c->status == TSDB_OK;
}

/* ---- rate, increase, delta ---- */

/* Do the layouts go together, from histogram `from` on? *schema: the lowest resolution. Of a gauge
 * only the ends are looked at. */
static bool check_layouts(struct range_call *c, const struct points *w, bool counter, uint32_t from,
                          int32_t *schema)
{
    uint32_t last = w->h_count - 1;
    bool custom = is_custom(w->h[from]);
    bool gauge =
        w->h[0]->reset_hint == TSDB_RESET_GAUGE || w->h[last]->reset_hint == TSDB_RESET_GAUGE;
    bool fits = is_custom(w->h[last]) == custom;
    *schema = TSDB_MIN(w->h[last]->schema, w->h[from]->schema);
    for (uint32_t i = 1; fits && counter && i < last; i++) {
        gauge |= w->h[i]->reset_hint == TSDB_RESET_GAUGE;
        *schema = TSDB_MIN(*schema, w->h[i]->schema);
        if (is_custom(w->h[i]) != custom) {
            histogram_note_schemas(c->x, c->arg->start, &c->series->labels);
            return false;
        }
    }
    if (counter && gauge) {
        note_not_counter(c);
    }
    if (!fits) {
        histogram_note_schemas(c->x, c->arg->start, &c->series->labels);
    }
    return fits;
}

/* Was there a reset just before histogram i? before, now: views of the two. */
static bool is_reset(const struct points *w, uint32_t i, const struct hist *before,
                     const struct hist *now)
{
    return rate_started_anew(w->h_start, w->ht, i) || hist_detect_reset(now, before);
}

/* Add what was lost at every reset. before: what counts as the first one. */
static bool make_up_for_resets(struct range_call *c, const struct points *w, struct hist before,
                               struct hist *h)
{
    rate_note_overlap(c, w->h_start, w->ht, w->h_count);
    for (uint32_t i = 1; i < w->h_count; i++) {
        struct hist now;
        if (!range_view(c, w, i, &now) ||
            (is_reset(w, i, &before, &now) && !combine(c, h, &before, true))) {
            return false;
        }
        before = now;
    }
    return true;
}

/* How much the histogram rose from the first to the last of at least two. */
static bool rise(struct range_call *c, const struct points *w, bool counter, struct hist *out)
{
    uint32_t last = w->h_count - 1;
    int32_t schema;
    struct hist first;
    struct hist second;
    if (!range_view(c, w, 0, &first) || !range_view(c, w, 1, &second)) {
        return false;
    }
    /* Of what was before a reset right at the beginning not even the layout matters. */
    bool drop_first = counter && is_reset(w, 1, &first, &second);
    if (!check_layouts(c, w, counter, drop_first, &schema) || !keep_view(c, w, last, out)) {
        return false;
    }
    struct hist before = drop_first ? hist_empty_like(&second) : first;
    if (!hist_is_custom(out) && schema < out->schema) {
        enum tsdb_status status = hist_reduce(out, schema, c->results);
        if (status != TSDB_OK) {
            return fail(c, status);
        }
    }
    if (!combine(c, out, &before, false) || (counter && !make_up_for_resets(c, w, before, out))) {
        return false;
    }
    if (!counter &&
        (w->h[0]->reset_hint != TSDB_RESET_GAUGE || w->h[last]->reset_hint != TSDB_RESET_GAUGE)) {
        note_not_gauge(c);
    }
    out->reset_hint = TSDB_RESET_GAUGE;
    enum tsdb_status status = hist_compact(out, c->results);
    return status == TSDB_OK || fail(c, status);
}

bool rate_histograms(struct range_call *c, const struct points *w, struct kernel_rate kind,
                     struct point *out)
{
    struct kernel_rate_ends e = rate_ends_of(c, w->ht, w->h_start, w->h_count, kind);
    struct hist h;
    struct hist first;
    if (w->h_count < 2 && !e.from_start) {
        return false;
    }
    if (w->h_count > 1 && !rise(c, w, kind.counter, &h)) {
        return false;
    }
    if (!keep_view(c, w, 0, &first)) {
        return false;
    }
    if (w->h_count < 2) {
        h = first;
    } else if (e.from_start && !combine(c, &h, &first, true)) {
        return false;
    }
    e.first = first.count;
    e.rise = h.count;
    enum tsdb_status status =
        hist_mul(&h, kernel_rate_factor(&e, c->begin_ms, c->end_ms, kind, c->range_ms), c->results);
    return status == TSDB_OK ? finish(c, &h, false, out) : fail(c, status);
}

/* ---- anchored and smoothed ---- */

/* The histogram at time t on the line between i and i + 1. */
static bool interpolate(struct range_call *c, const struct points *w, uint32_t i, int64_t t,
                        bool counter, struct hist *out)
{
    const struct histogram_place place = place_of(c);
    struct hist before;
    struct hist after;
    bool fits;
    if (!keep_view(c, w, i, &before) || !keep_view(c, w, i + 1, &after)) {
        return false;
    }
    c->status =
        histogram_between(&place, &before, w->ht[i], &after, w->ht[i + 1], t, counter, out, &fits);
    return c->status == TSDB_OK && fits;
}

/* Of the histograms first..last no layout is foreign; gauges among counters are noted. */
static bool check_range(struct range_call *c, const struct points *w, uint32_t first, uint32_t last,
                        bool counter)
{
    for (uint32_t i = first; i <= last; i++) {
        if (is_custom(w->h[i]) != is_custom(w->h[first])) {
            histogram_note_schemas(c->x, c->arg->start, &c->series->labels);
            return false;
        }
        if (counter && w->h[i]->reset_hint == TSDB_RESET_GAUGE) {
            note_not_counter(c);
        }
    }
    return true;
}

/* Add what was lost at resets between the two ends. Those within the stretches over which the ends
 * were interpolated are accounted for already. */
static bool make_up_between(struct range_call *c, const struct points *w, uint32_t first,
                            uint32_t last, bool smoothed, const struct hist *left,
                            const struct hist *right, struct hist *h)
{
    struct hist before = *left;
    uint32_t i = first + 1;
    if (smoothed && w->ht[first] < c->begin_ms) {
        struct hist a;
        struct hist b;
        if (!range_view(c, w, first, &a) || !range_view(c, w, first + 1, &b)) {
            return false;
        }
        if (hist_detect_reset(&b, &a)) {
            before = b;
            i++;
        }
    }
    if (i > last) {
        return true;
    }
    for (; i < last; i++) {
        struct hist now;
        if (!range_view(c, w, i, &now) ||
            (hist_detect_reset(&now, &before) && !combine(c, h, &before, true))) {
            return false;
        }
        before = now;
    }
    return !hist_detect_reset(right, &before) || combine(c, h, &before, true);
}

bool rate_histograms_extended(struct range_call *c, const struct points *w, struct kernel_rate kind,
                              bool smoothed, struct point *out)
{
    uint32_t first;
    uint32_t last;
    struct hist left;
    struct hist right;
    struct hist h = {0};
    if (!rate_span(c, w->ht, w->h_count, &first, &last) ||
        !check_range(c, w, first, last, kind.counter)) {
        return false;
    }
    bool ok = smoothed && w->ht[first] < c->begin_ms
                  ? interpolate(c, w, first, c->begin_ms, kind.counter, &left)
                  : keep_view(c, w, first, &left);
    if (ok) {
        ok = smoothed && last > 0 && w->ht[last] > c->end_ms
                 ? interpolate(c, w, last - 1, c->end_ms, kind.counter, &right)
                 : keep_view(c, w, last, &right);
    }
    if (!ok) {
        return false;
    }
    if (!kind.counter &&
        (left.reset_hint != TSDB_RESET_GAUGE || right.reset_hint != TSDB_RESET_GAUGE)) {
        note_not_gauge(c);
    }
    enum tsdb_status status = hist_copy(&h, &right, c->results);
    if (status != TSDB_OK) {
        return fail(c, status);
    }
    if (!combine(c, &h, &left, false) ||
        (kind.counter && !make_up_between(c, w, first, last, smoothed, &left, &right, &h))) {
        return false;
    }
    if (kind.per_second) {
        status = hist_div(&h, (double)c->range_ms / 1000, c->results);
    }
    h.reset_hint = TSDB_RESET_GAUGE;
    return status == TSDB_OK ? finish(c, &h, true, out) : fail(c, status);
}

/* ---- irate, idelta, resets, changes ---- */

bool rate_histograms_last(struct range_call *c, const struct points *w, bool rate,
                          struct point *out)
{
    uint32_t i = w->h_count - 1;
    struct hist before;
    struct hist h;
    if (!keep_view(c, w, i - 1, &before) || !keep_view(c, w, i, &h)) {
        return false;
    }
    bool any = before.reset_hint == TSDB_RESET_GAUGE || h.reset_hint == TSDB_RESET_GAUGE;
    bool both = before.reset_hint == TSDB_RESET_GAUGE && h.reset_hint == TSDB_RESET_GAUGE;
    if (rate && any) {
        note_not_counter(c);
    }
    if (!rate && !both) {
        note_not_gauge(c);
    }
    if ((!rate || !is_reset(w, i, &before, &h)) && !combine(c, &h, &before, false)) {
        return false;
    }
    h.reset_hint = TSDB_RESET_GAUGE;
    enum tsdb_status status = hist_compact(&h, c->results);
    if (status == TSDB_OK && rate) {
        status = hist_div(&h, (double)(w->ht[i] - w->ht[i - 1]) / 1000, c->results);
    }
    return status == TSDB_OK ? finish(c, &h, false, out) : fail(c, status);
}

bool rate_histogram_counts(struct range_call *c, const struct points *w, uint32_t i, bool resets,
                           bool *out)
{
    struct hist before;
    struct hist h;
    if (!range_view(c, w, i - 1, &before) || !range_view(c, w, i, &h)) {
        return false;
    }
    *out = resets ? is_reset(w, i, &before, &h) : !hist_equal(&before, &h);
    return true;
}
