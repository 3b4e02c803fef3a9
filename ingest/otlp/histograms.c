#include "base/format.h"
#include "base/limits.h"
#include "ingest/otlp/otlp_private.h"
#include "model/sample.h"

#include <math.h>
#include <string.h>

/* A larger gap between buckets is a span of its own: a span costs what so many empty buckets do. */
#define SPAN_GAP_MAX           2
#define ZERO_THRESHOLD_DEFAULT 1e-128 /* of Prometheus's translation */

/* ---- explicit ---- */

/* An exemplar goes to the first bucket that holds its value; bounds rise. */
static size_t bucket_of(const double *bounds, size_t count, double v)
{
    size_t low = 0;
    for (size_t high = count; low < high;) {
        size_t mid = low + (high - low) / 2;
        if (v <= bounds[mid]) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return low;
}

static double exemplar_value(const Otlp__Exemplar *e)
{
    return e->value_case == OTLP__EXEMPLAR__VALUE_AS_INT ? (double)e->as_int : e->as_double;
}

static enum tsdb_status add_buckets(struct otlp_walk *w, const struct otlp_point *p,
                                    const Otlp__HistogramDataPoint *d, size_t count,
                                    uint8_t *targets, bool *refused, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint64_t cumulative = 0;
    for (size_t i = 0; i <= count && status == TSDB_OK; i++) {
        char le[TSDB_FORMAT_FLOAT_MAX] = "+Inf";
        if (i < count) {
            tsdb_format_float_fixed(le, d->explicit_bounds[i]);
            cumulative += d->bucket_counts[i];
        } else {
            cumulative = d->count;
        }
        status = otlp_sample(w, p, "_bucket", "le", le, (double)cumulative,
                             targets + i * OTLP_TARGET_BYTES_MAX, &refused[i], err);
    }
    return status;
}

enum tsdb_status otlp_add_explicit(struct otlp_walk *w, const struct otlp_point *p,
                                   const Otlp__HistogramDataPoint *d, struct tsdb_error *err)
{
    size_t count = TSDB_MIN(d->n_explicit_bounds, d->n_bucket_counts);
    if (count > TSDB_HISTOGRAM_BUCKETS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "histogram has %zu buckets, at most %u", count,
                              TSDB_HISTOGRAM_BUCKETS_MAX);
    }
    uint8_t *targets = tsdb_arena_alloc_array(w->scratch, count + 1, OTLP_TARGET_BYTES_MAX, 16);
    bool *refused = TSDB_ARENA_ARRAY(w->scratch, bool, count + 1);
    if (!targets || !refused) {
        return tsdb_arena_status(w->scratch);
    }
    enum tsdb_status status = TSDB_OK;
    if (d->has_sum) {
        status = otlp_sample(w, p, "_sum", NULL, NULL, d->sum, NULL, NULL, err);
    }
    if (status == TSDB_OK) {
        status = otlp_sample(w, p, "_count", NULL, NULL, (double)d->count, NULL, NULL, err);
    }
    if (status == TSDB_OK) {
        status = add_buckets(w, p, d, count, targets, refused, err);
    }
    for (size_t i = 0; i < d->n_exemplars && status == TSDB_OK; i++) {
        size_t at = bucket_of(d->explicit_bounds, count, exemplar_value(d->exemplars[i]));
        if (!refused[at]) {
            status = otlp_exemplar(w, targets + at * OTLP_TARGET_BYTES_MAX, d->exemplars[i], err);
        }
    }
    return status;
}

/* ---- buckets of native histograms ---- */

/* Spans and deltas under construction; there is room. */
struct layout {
    struct tsdb_span *spans;
    int64_t *deltas;
    uint32_t span_count, bucket_count;
    int64_t next, last; /* the index behind the last bucket, and its count */
};

static void put_bucket(struct layout *l, int64_t count)
{
    l->spans[l->span_count - 1].length++;
    l->deltas[l->bucket_count++] = count - l->last;
    l->last = count;
    l->next++;
}

static void put_at(struct layout *l, int64_t index, int64_t count)
{
    if (l->span_count == 0 || index - l->next > SPAN_GAP_MAX) {
        l->spans[l->span_count++] = (struct tsdb_span){(int32_t)(index - l->next), 0};
        l->next = index;
    }
    while (l->next < index) {
        put_bucket(l, 0);
    }
    put_bucket(l, count);
}

/* Dense counts from `offset` on, 2^shift of them merged into one, as spans. */
static enum tsdb_status make_layout(const uint64_t *counts, size_t count, int64_t offset,
                                    unsigned shift, int64_t first, struct tsdb_arena *scratch,
                                    struct layout *out, struct tsdb_error *err)
{
    *out = (struct layout){0};
    if (count == 0) {
        return TSDB_OK;
    }
    if (count > TSDB_HISTOGRAM_BUCKETS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "histogram has %zu buckets, at most %u", count,
                              TSDB_HISTOGRAM_BUCKETS_MAX);
    }
    out->spans = TSDB_ARENA_ARRAY(scratch, struct tsdb_span, count);
    out->deltas = TSDB_ARENA_ARRAY(scratch, int64_t, count);
    if (!out->spans || !out->deltas) {
        return tsdb_arena_status(scratch);
    }
    for (size_t i = 0; i < count;) {
        int64_t index = (offset + (int64_t)i) >> shift;
        uint64_t sum = 0;
        for (; i < count && (offset + (int64_t)i) >> shift == index; i++) {
            if (__builtin_add_overflow(sum, counts[i], &sum) || sum > INT64_MAX) {
                return tsdb_error_set(err, TSDB_INVALID, "histogram: counts overflow");
            }
        }
        if (index + first > INT32_MAX) {
            return tsdb_error_set(err, TSDB_INVALID, "histogram: a bucket has no index");
        }
        if (sum > 0) {
            put_at(out, index + first, (int64_t)sum);
        }
    }
    return TSDB_OK;
}

static void set_sum(struct tsdb_histogram *h, const struct otlp_walk *w, const struct otlp_point *p,
                    double sum, uint64_t count)
{
    h->reset_hint = w->is_delta ? TSDB_RESET_GAUGE : TSDB_RESET_UNKNOWN;
    h->count_int = count;
    h->sum = sum;
    if (p->no_value) {
        uint64_t stale = TSDB_STALE_NAN_BITS;
        memcpy(&h->sum, &stale, sizeof stale);
    }
}

/* The series, the histogram and its exemplars. */
static enum tsdb_status add_native(struct otlp_walk *w, const struct otlp_point *p,
                                   struct tsdb_histogram *h, Otlp__Exemplar *const *exemplars,
                                   size_t exemplar_count, struct tsdb_error *err)
{
    _Alignas(16) uint8_t target[OTLP_TARGET_BYTES_MAX];
    bool refused = false;
    enum tsdb_status status = otlp_series(w, p, "", NULL, NULL, target, &refused, err);
    if (status != TSDB_OK || refused) {
        return status;
    }
    status = w->sink->histogram(w->sink->arg, target, h, p->t_ms, p->start_ms, err);
    for (size_t i = 0; i < exemplar_count && status == TSDB_OK; i++) {
        status = otlp_exemplar(w, target, exemplars[i], err);
    }
    return status;
}

enum tsdb_status otlp_add_custom(struct otlp_walk *w, const struct otlp_point *p,
                                 const Otlp__HistogramDataPoint *d, struct tsdb_error *err)
{
    struct layout l;
    if (d->n_explicit_bounds > TSDB_HISTOGRAM_BUCKETS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "histogram has %zu bounds, at most %u",
                              d->n_explicit_bounds, TSDB_HISTOGRAM_BUCKETS_MAX);
    }
    enum tsdb_status status =
        make_layout(d->bucket_counts, d->n_bucket_counts, 0, 0, 0, w->scratch, &l, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_histogram h = {.schema = TSDB_HISTOGRAM_SCHEMA_CUSTOM,
                               .positive_spans = l.spans,
                               .positive_span_count = l.span_count,
                               .positive_deltas = l.deltas,
                               .positive_bucket_count = l.bucket_count,
                               .custom_values = d->explicit_bounds,
                               .custom_count = (uint32_t)d->n_explicit_bounds};
    set_sum(&h, w, p, d->has_sum ? d->sum : 0, d->count);
    return add_native(w, p, &h, d->exemplars, d->n_exemplars, err);
}

/* Bucket 0 of OTLP is (1, base], of Prometheus (1/base, 1]: one on. */
static enum tsdb_status make_side(const Otlp__Buckets *b, unsigned shift,
                                  struct tsdb_arena *scratch, struct layout *out,
                                  struct tsdb_error *err)
{
    *out = (struct layout){0};
    return b ? make_layout(b->bucket_counts, b->n_bucket_counts, b->offset, shift, 1, scratch, out,
                           err)
             : TSDB_OK;
}

enum tsdb_status otlp_add_exponential(struct otlp_walk *w, const struct otlp_point *p,
                                      const Otlp__ExponentialHistogramDataPoint *d,
                                      struct tsdb_error *err)
{
    if (d->scale < TSDB_HISTOGRAM_SCHEMA_MIN) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "exponential histogram: scale must be >= %d, was %d",
                              TSDB_HISTOGRAM_SCHEMA_MIN, (int)d->scale);
    }
    int64_t down = (int64_t)d->scale - TSDB_HISTOGRAM_SCHEMA_MAX;
    unsigned shift = down > 0 ? (unsigned)TSDB_MIN(down, (int64_t)62) : 0;
    struct layout positive;
    struct layout negative = {0};
    enum tsdb_status status = make_side(d->positive, shift, w->scratch, &positive, err);
    if (status == TSDB_OK) {
        status = make_side(d->negative, shift, w->scratch, &negative, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_histogram h = {
        .schema = (int32_t)TSDB_MIN((int64_t)d->scale, (int64_t)TSDB_HISTOGRAM_SCHEMA_MAX),
        .zero_threshold = d->zero_threshold > 0 ? d->zero_threshold : ZERO_THRESHOLD_DEFAULT,
        .zero_count_int = d->zero_count,
        .positive_spans = positive.spans,
        .positive_span_count = positive.span_count,
        .positive_deltas = positive.deltas,
        .positive_bucket_count = positive.bucket_count,
        .negative_spans = negative.spans,
        .negative_span_count = negative.span_count,
        .negative_deltas = negative.deltas,
        .negative_bucket_count = negative.bucket_count};
    set_sum(&h, w, p, d->has_sum ? d->sum : 0, d->count);
    return add_native(w, p, &h, d->exemplars, d->n_exemplars, err);
}
