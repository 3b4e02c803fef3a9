#include "query/buckets.h"

#include "query/hist/bound.h"

static bool is_custom(const struct tsdb_histogram *h)
{
    return h->schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM;
}

double bucket_bound(const struct tsdb_histogram *h, int64_t index)
{
    return is_custom(h) ? hist_custom_bound(h->custom_values, h->custom_count, index)
                        : hist_bound(h->schema, index);
}

/* The negative side is stored from zero outwards, and walked the other way round: start behind its
 * last bucket. */
static void start_negative(struct bucket_walk *w)
{
    const struct tsdb_histogram *h = w->h;
    w->stage = 0;
    w->bucket = h->negative_bucket_count;
    w->span = h->negative_span_count;
    w->in_span = 0;
    w->index = 0;
    for (uint32_t i = 0; i < h->negative_span_count; i++) {
        w->index += (int64_t)h->negative_spans[i].offset + h->negative_spans[i].length;
    }
    w->running = 0;
    for (uint32_t i = 0; i < h->negative_bucket_count && !h->is_float; i++) {
        w->running += h->negative_deltas[i];
    }
}

static void start_positive(struct bucket_walk *w)
{
    w->stage = 2;
    w->bucket = w->span = w->in_span = 0;
    w->running = 0;
    w->index = w->h->positive_span_count > 0 ? w->h->positive_spans[0].offset : 0;
}

void bucket_walk_init(struct bucket_walk *w, const struct tsdb_histogram *h)
{
    *w = (struct bucket_walk){.h = h};
    start_negative(w);
}

static bool next_negative(struct bucket_walk *w, struct bucket_view *out)
{
    const struct tsdb_histogram *h = w->h;
    while (w->in_span == 0) {
        if (w->span == 0 || w->bucket == 0) {
            return false;
        }
        w->span--;
        if (w->span + 1 < h->negative_span_count) {
            w->index -= h->negative_spans[w->span + 1].offset;
        }
        w->in_span = h->negative_spans[w->span].length;
    }
    w->in_span--;
    w->index--;
    w->bucket--;
    double count = h->is_float ? h->negative_counts[w->bucket] : (double)w->running;
    w->running -= h->is_float ? 0 : h->negative_deltas[w->bucket];
    *out = (struct bucket_view){-bucket_bound(h, w->index), -bucket_bound(h, w->index - 1), count,
                                true, false};
    out->lower_inclusive = out->lower < 0;
    out->upper_inclusive = out->upper > 0;
    if (out->upper < 0 && out->upper > -h->zero_threshold) {
        out->upper = -h->zero_threshold;
    }
    return true;
}

static bool next_positive(struct bucket_walk *w, struct bucket_view *out)
{
    const struct tsdb_histogram *h = w->h;
    while (w->span < h->positive_span_count && w->in_span == h->positive_spans[w->span].length) {
        w->span++;
        w->in_span = 0;
        if (w->span < h->positive_span_count) {
            w->index += h->positive_spans[w->span].offset;
        }
    }
    if (w->span == h->positive_span_count || w->bucket == h->positive_bucket_count) {
        return false;
    }
    w->running += h->is_float ? 0 : h->positive_deltas[w->bucket];
    double count = h->is_float ? h->positive_counts[w->bucket] : (double)w->running;
    *out = (struct bucket_view){bucket_bound(h, w->index - 1), bucket_bound(h, w->index), count,
                                false, true};
    out->lower_inclusive = is_custom(h) ? w->index == 0 : out->lower < 0;
    out->upper_inclusive = is_custom(h) || out->upper > 0;
    if (out->lower > 0 && out->lower < h->zero_threshold) {
        out->lower = h->zero_threshold;
    }
    w->in_span++;
    w->index++;
    w->bucket++;
    return true;
}

bool bucket_walk_next(struct bucket_walk *w, struct bucket_view *out)
{
    const struct tsdb_histogram *h = w->h;
    if (w->stage == 0) {
        if (next_negative(w, out)) {
            return true;
        }
        start_positive(w);
        double zero = h->is_float ? h->zero_count_float : (double)h->zero_count_int;
        if (zero > 0) {
            *out = (struct bucket_view){-h->zero_threshold, h->zero_threshold, zero, true, true};
            return true;
        }
    }
    return next_positive(w, out);
}
