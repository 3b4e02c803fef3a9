#include "base/format.h"
#include "base/limits.h"
#include "ingest/arena_allocator.h"
#include "ingest/otlp/names.h"
#include "ingest/otlp/otlp_private.h"
#include "model/sample.h"

#include <assert.h>
#include <string.h>

static struct tsdb_slice text_of(const char *s)
{
    return (struct tsdb_slice){(const uint8_t *)s, strlen(s)};
}

/* ---- data points ---- */

enum tsdb_status otlp_refuse(struct otlp_walk *w, enum tsdb_status status, enum otlp_reject reason,
                             uint32_t points, struct tsdb_error *err)
{
    if (status != TSDB_INVALID) {
        return status;
    }
    w->sink->reject(w->sink->arg, reason, w->metric, points, err);
    return TSDB_OK;
}

enum tsdb_status otlp_point_begin(struct otlp_walk *w, Otlp__KeyValue *const *attributes,
                                  size_t count, uint64_t t_ns, uint64_t start_ns, uint32_t flags,
                                  struct otlp_point *out, struct tsdb_error *err)
{
    struct otlp_labels l;
    w->points++;
    w->first_ns = TSDB_MIN(w->first_ns, t_ns);
    w->last_ns = TSDB_MAX(w->last_ns, t_ns);
    tsdb_arena_reset(w->scratch);
    int64_t t_ms = (int64_t)(t_ns / OTLP_NS_PER_MS);
    int64_t start_ms = w->starts ? (int64_t)(start_ns / OTLP_NS_PER_MS) : 0;
    *out = (struct otlp_point){.t_ms = t_ms,
                               .start_ms = start_ms < t_ms ? start_ms : 0, /* the same: unknown */
                               .no_value = flags & OTLP_FLAG_NO_VALUE};
    enum tsdb_status status = otlp_labels_begin(&l, count, &w->base, w->scratch, err);
    if (status == TSDB_OK) {
        status =
            otlp_labels_add_attributes(&l, w->options, attributes, count, NULL, w->scratch, err);
    }
    return status == TSDB_OK ? otlp_labels_finish(&l, w->scratch, &out->labels, &out->count)
                             : status;
}

/* Put name=value in its place among sorted labels, over what has that name. */
static void insert(struct tsdb_label *labels, uint32_t *count, const char *name,
                   struct tsdb_slice value)
{
    size_t len = strlen(name);
    uint32_t i = *count;
    int c = 1;
    while (i > 0 &&
           (c = tsdb_str_compare(labels[i - 1].name, labels[i - 1].name_len, name, len)) > 0) {
        i--;
    }
    struct tsdb_label label = {name, (const char *)value.data, (uint32_t)len, (uint32_t)value.len};
    if (i > 0 && c == 0) {
        labels[i - 1] = label;
        return;
    }
    memmove(&labels[i + 1], &labels[i], (*count - i) * sizeof *labels);
    labels[i] = label;
    ++*count;
}

enum tsdb_status otlp_series(struct otlp_walk *w, const struct otlp_point *p, const char *suffix,
                             const char *added, const char *value, void *out_target,
                             bool *out_refused, struct tsdb_error *err)
{
    size_t suffix_len = strlen(suffix);
    struct tsdb_label *labels =
        TSDB_ARENA_ARRAY(w->scratch, struct tsdb_label, (size_t)p->count + 2);
    uint8_t *name = tsdb_arena_alloc(w->scratch, w->metric.len + suffix_len + 1, 1);
    if (!labels || !name) {
        return tsdb_arena_status(w->scratch);
    }
    memcpy(name, w->metric.data, w->metric.len);
    memcpy(name + w->metric.len, suffix, suffix_len);
    memcpy(labels, p->labels, p->count * sizeof *labels);
    struct tsdb_labels view = {labels, p->count};
    insert(labels, &view.count, TSDB_METRIC_NAME,
           (struct tsdb_slice){name, w->metric.len + suffix_len});
    if (added) {
        insert(labels, &view.count, added, text_of(value));
    }
    enum tsdb_status status = w->sink->series(w->sink->arg, &view, out_target, err);
    *out_refused = status == TSDB_INVALID;
    return *out_refused ? TSDB_OK : status;
}

enum tsdb_status otlp_sample(struct otlp_walk *w, const struct otlp_point *p, const char *suffix,
                             const char *added, const char *value, double v, void *out_target,
                             bool *out_refused, struct tsdb_error *err)
{
    _Alignas(16) uint8_t target[OTLP_TARGET_BYTES_MAX];
    bool refused = false;
    void *to = out_target ? out_target : target;
    enum tsdb_status status = otlp_series(w, p, suffix, added, value, to, &refused, err);
    if (status == TSDB_OK && !refused) {
        status = w->sink->sample(w->sink->arg, to, p->t_ms, p->start_ms,
                                 p->no_value ? TSDB_STALE_NAN_BITS : tsdb_double_bits(v), err);
    }
    if (out_refused) {
        *out_refused = refused;
    }
    return status;
}

/* ---- exemplars ---- */

static void put_hex(char *out, ProtobufCBinaryData id)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < id.len; i++) {
        out[2 * i] = digits[id.data[i] >> 4];
        out[2 * i + 1] = digits[id.data[i] & 15];
    }
}

/* An id of `bytes` bytes that is not all zero. */
static bool is_id(ProtobufCBinaryData id, size_t bytes)
{
    uint8_t any = 0;
    for (size_t i = 0; i < id.len; i++) {
        any |= id.data[i];
    }
    return id.len == bytes && any != 0;
}

/* Attributes, unless they make the labels longer than exemplars may be: then the ids alone. */
static enum tsdb_status add_filtered(const Otlp__Exemplar *e, struct tsdb_label *labels,
                                     uint32_t *count, uint32_t cap, struct tsdb_arena *scratch)
{
    uint32_t ids = *count;
    for (size_t i = 0; i < e->n_filtered_attributes; i++) {
        const Otlp__KeyValue *kv = e->filtered_attributes[i];
        struct tsdb_slice value;
        enum tsdb_status status = otlp_value_text(kv->value, scratch, &value);
        if (status != TSDB_OK) {
            return status;
        }
        if (*count == cap || kv->key.len > TSDB_EXEMPLAR_LABEL_CHARS_MAX * 4 ||
            value.len > TSDB_EXEMPLAR_LABEL_CHARS_MAX * 4) {
            *count = ids;
            return TSDB_OK;
        }
        labels[(*count)++] =
            (struct tsdb_label){(const char *)kv->key.data, (const char *)value.data,
                                (uint32_t)kv->key.len, (uint32_t)value.len};
    }
    struct tsdb_exemplar x = {.labels = {labels, *count}};
    if (tsdb_exemplar_validate(&x, NULL) != TSDB_OK) {
        *count = ids;
    }
    return TSDB_OK;
}

enum tsdb_status otlp_exemplar(struct otlp_walk *w, const void *target, const Otlp__Exemplar *e,
                               struct tsdb_error *err)
{
    struct tsdb_label labels[TSDB_EXEMPLAR_LABEL_CHARS_MAX];
    char trace[32];
    char span[16];
    uint32_t count = 0;
    double v = e->value_case == OTLP__EXEMPLAR__VALUE_AS_INT ? (double)e->as_int : e->as_double;
    if (e->value_case == OTLP__EXEMPLAR__VALUE__NOT_SET) {
        return TSDB_OK;
    }
    if (is_id(e->trace_id, 16)) {
        put_hex(trace, e->trace_id);
        labels[count++] = (struct tsdb_label){"trace_id", trace, 8, 32};
    }
    if (is_id(e->span_id, 8)) {
        put_hex(span, e->span_id);
        labels[count++] = (struct tsdb_label){"span_id", span, 7, 16};
    }
    enum tsdb_status status = add_filtered(e, labels, &count, TSDB_ARRAY_LEN(labels), w->scratch);
    struct tsdb_exemplar x = {.labels = {labels, count},
                              .bits = tsdb_double_bits(v),
                              .t_ms = (int64_t)(e->time_unix_nano / OTLP_NS_PER_MS)};
    return status == TSDB_OK ? w->sink->exemplar(w->sink->arg, target, &x, err) : status;
}

/* ---- metrics ---- */

static enum tsdb_status add_numbers(struct otlp_walk *w, Otlp__NumberDataPoint *const *points,
                                    size_t count, bool exemplars, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < count && status == TSDB_OK; i++) {
        _Alignas(16) uint8_t target[OTLP_TARGET_BYTES_MAX];
        const Otlp__NumberDataPoint *d = points[i];
        double v = d->value_case == OTLP__NUMBER_DATA_POINT__VALUE_AS_INT      ? (double)d->as_int
                   : d->value_case == OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE ? d->as_double
                                                                               : 0;
        struct otlp_point p;
        bool refused = false;
        status = otlp_point_begin(w, d->attributes, d->n_attributes, d->time_unix_nano,
                                  d->start_time_unix_nano, d->flags, &p, err);
        if (status == TSDB_OK) {
            status = otlp_sample(w, &p, "", NULL, NULL, v, target, &refused, err);
        }
        for (size_t k = 0; status == TSDB_OK && exemplars && !refused && k < d->n_exemplars; k++) {
            status = otlp_exemplar(w, target, d->exemplars[k], err);
        }
        status = otlp_refuse(w, status, OTLP_REJECT_LABELS, 1, err);
    }
    return status;
}

static enum tsdb_status add_summary(struct otlp_walk *w, const struct otlp_point *p,
                                    const Otlp__SummaryDataPoint *d, struct tsdb_error *err)
{
    enum tsdb_status status = otlp_sample(w, p, "_sum", NULL, NULL, d->sum, NULL, NULL, err);
    if (status == TSDB_OK) {
        status = otlp_sample(w, p, "_count", NULL, NULL, (double)d->count, NULL, NULL, err);
    }
    for (size_t i = 0; i < d->n_quantile_values && status == TSDB_OK; i++) {
        char quantile[TSDB_FORMAT_FLOAT_MAX];
        tsdb_format_float_fixed(quantile, d->quantile_values[i]->quantile);
        status = otlp_sample(w, p, "", "quantile", quantile, d->quantile_values[i]->value, NULL,
                             NULL, err);
    }
    return status;
}

static enum tsdb_status add_summaries(struct otlp_walk *w, const Otlp__Summary *s,
                                      struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < s->n_data_points && status == TSDB_OK; i++) {
        const Otlp__SummaryDataPoint *d = s->data_points[i];
        struct otlp_point p;
        status = otlp_point_begin(w, d->attributes, d->n_attributes, d->time_unix_nano,
                                  d->start_time_unix_nano, d->flags, &p, err);
        if (status == TSDB_OK) {
            status = add_summary(w, &p, d, err);
        }
        status = otlp_refuse(w, status, OTLP_REJECT_LABELS, 1, err);
    }
    return status;
}

static enum tsdb_status add_histograms(struct otlp_walk *w, const Otlp__Histogram *h,
                                       struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < h->n_data_points && status == TSDB_OK; i++) {
        const Otlp__HistogramDataPoint *d = h->data_points[i];
        struct otlp_point p;
        status = otlp_point_begin(w, d->attributes, d->n_attributes, d->time_unix_nano,
                                  d->start_time_unix_nano, d->flags, &p, err);
        status = otlp_refuse(w, status, OTLP_REJECT_LABELS, 1, err);
        if (status == TSDB_OK && p.labels) {
            status = w->options->histograms_to_nhcb ? otlp_add_custom(w, &p, d, err)
                                                    : otlp_add_explicit(w, &p, d, err);
        }
        status = otlp_refuse(w, status, OTLP_REJECT_HISTOGRAM, 1, err);
    }
    return status;
}

static enum tsdb_status add_exponentials(struct otlp_walk *w, const Otlp__ExponentialHistogram *h,
                                         struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < h->n_data_points && status == TSDB_OK; i++) {
        const Otlp__ExponentialHistogramDataPoint *d = h->data_points[i];
        struct otlp_point p;
        status = otlp_point_begin(w, d->attributes, d->n_attributes, d->time_unix_nano,
                                  d->start_time_unix_nano, d->flags, &p, err);
        status = otlp_refuse(w, status, OTLP_REJECT_LABELS, 1, err);
        if (status == TSDB_OK && p.labels) {
            status = otlp_add_exponential(w, &p, d, err);
        }
        status = otlp_refuse(w, status, OTLP_REJECT_HISTOGRAM, 1, err);
    }
    return status;
}

/* What a metric is, before its points are looked at. */
struct kind {
    enum tsdb_metric_type type;
    bool has_temporality, gauge, counter;
    Otlp__AggregationTemporality temporality;
    size_t points;
};

static struct kind kind_of(const Otlp__Metric *m)
{
    struct kind k = {.type = TSDB_METRIC_UNKNOWN};
    switch (m->data_case) {
    case OTLP__METRIC__DATA_GAUGE:
        k = (struct kind){
            .type = TSDB_METRIC_GAUGE, .gauge = true, .points = m->gauge->n_data_points};
        break;
    case OTLP__METRIC__DATA_SUM:
        k = (struct kind){.type = m->sum->is_monotonic ? TSDB_METRIC_COUNTER : TSDB_METRIC_GAUGE,
                          .has_temporality = true,
                          .counter = m->sum->is_monotonic,
                          .temporality = m->sum->aggregation_temporality,
                          .points = m->sum->n_data_points};
        break;
    case OTLP__METRIC__DATA_HISTOGRAM:
        k = (struct kind){.type = TSDB_METRIC_HISTOGRAM,
                          .has_temporality = true,
                          .temporality = m->histogram->aggregation_temporality,
                          .points = m->histogram->n_data_points};
        break;
    case OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM:
        k = (struct kind){.type = TSDB_METRIC_HISTOGRAM,
                          .has_temporality = true,
                          .temporality = m->exponential_histogram->aggregation_temporality,
                          .points = m->exponential_histogram->n_data_points};
        break;
    case OTLP__METRIC__DATA_SUMMARY:
        k = (struct kind){.type = TSDB_METRIC_SUMMARY, .points = m->summary->n_data_points};
        break;
    case OTLP__METRIC__DATA__NOT_SET:
    case _OTLP__METRIC__DATA__CASE_IS_INT_SIZE:
        break;
    }
    return k;
}

static enum tsdb_status add_points(struct otlp_walk *w, const Otlp__Metric *m,
                                   struct tsdb_error *err)
{
    switch (m->data_case) {
    case OTLP__METRIC__DATA_GAUGE:
        return add_numbers(w, m->gauge->data_points, m->gauge->n_data_points, false, err);
    case OTLP__METRIC__DATA_SUM:
        return add_numbers(w, m->sum->data_points, m->sum->n_data_points, true, err);
    case OTLP__METRIC__DATA_HISTOGRAM:
        return add_histograms(w, m->histogram, err);
    case OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM:
        return add_exponentials(w, m->exponential_histogram, err);
    case OTLP__METRIC__DATA_SUMMARY:
        return add_summaries(w, m->summary, err);
    case OTLP__METRIC__DATA__NOT_SET:
    case _OTLP__METRIC__DATA__CASE_IS_INT_SIZE:
        break;
    }
    return TSDB_OK;
}

/* Nothing here can add up what delta temporality sends, unless it is asked to store it as it is. */
static enum tsdb_status check_temporality(const struct otlp_options *o, const struct kind *k,
                                          struct tsdb_error *err)
{
    if (!k->has_temporality ||
        k->temporality == OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE) {
        return TSDB_OK;
    }
    if (k->temporality == OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_DELTA) {
        return o->delta ? TSDB_OK
                        : tsdb_error_set(err, TSDB_INVALID,
                                         "delta temporality is not taken: set the exporter to "
                                         "cumulative, or start the server with "
                                         "--enable-feature=otlp-native-delta-ingestion");
    }
    return tsdb_error_set(err, TSDB_INVALID, "invalid temporality and type combination");
}

static enum tsdb_status add_metric(struct otlp_walk *w, const Otlp__Metric *m,
                                   struct tsdb_error *err)
{
    struct kind k = kind_of(m);
    uint32_t points = (uint32_t)TSDB_MIN(k.points, (size_t)UINT32_MAX);
    w->metric = otlp_slice(m->name);
    w->is_delta = k.has_temporality &&
                  k.temporality == OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_DELTA;
    w->starts = k.counter || k.type == TSDB_METRIC_HISTOGRAM || k.type == TSDB_METRIC_SUMMARY;
    enum tsdb_status status = check_temporality(w->options, &k, err);
    if (status == TSDB_INVALID) {
        w->points += points;
        return otlp_refuse(w, status, OTLP_REJECT_UNSUPPORTED, points, err);
    }
    status = otlp_metric_name(w->options, otlp_slice(m->name), otlp_slice(m->unit), k.gauge,
                              k.counter, w->arena, &w->metric, err);
    if (status == TSDB_INVALID) {
        w->points += points;
        return otlp_refuse(w, status, OTLP_REJECT_LABELS, points, err);
    }
    if (status == TSDB_OK && points > 0) {
        struct tsdb_metadata md = {.metric = w->metric,
                                   .help = otlp_slice(m->description),
                                   .unit = otlp_slice(m->unit),
                                   .type = w->is_delta ? TSDB_METRIC_UNKNOWN : k.type};
        status = w->sink->metadata(w->sink->arg, &md, err);
    }
    return status == TSDB_OK ? add_points(w, m, err) : status;
}

/* ---- resources ---- */

/* The times of target_info: as often as a selector looks back, so that joins find it everywhere. */
static enum tsdb_status add_target_samples(struct otlp_walk *w, const struct otlp_point *first,
                                           struct tsdb_error *err)
{
    _Alignas(16) uint8_t target[OTLP_TARGET_BYTES_MAX];
    bool refused = false;
    int64_t lookback =
        w->options->lookback_ms > 1 ? w->options->lookback_ms : OTLP_LOOKBACK_MS_DEFAULT;
    int64_t step = lookback / 2;
    int64_t last = (int64_t)(w->last_ns / OTLP_NS_PER_MS);
    int64_t t = (int64_t)(w->first_ns / OTLP_NS_PER_MS);
    if ((last - t) / step > (int64_t)OTLP_TARGET_INFO_MAX) {
        t = last - step * (int64_t)OTLP_TARGET_INFO_MAX; /* one point has no time, most likely */
    }
    enum tsdb_status status = otlp_series(w, first, "", NULL, NULL, target, &refused, err);
    for (; status == TSDB_OK && !refused && t < last; t += step) {
        status = w->sink->sample(w->sink->arg, target, t, 0, tsdb_double_bits(1), err);
    }
    if (status == TSDB_OK && !refused) {
        status = w->sink->sample(w->sink->arg, target, last, 0, tsdb_double_bits(1), err);
    }
    return status;
}

static bool is_identity(struct tsdb_slice key)
{
    static const char *const names[] = {"service.namespace", "service.name", "service.instance.id"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        if (key.len == strlen(names[i]) && memcmp(key.data, names[i], key.len) == 0) {
            return true;
        }
    }
    return false;
}

/* target_info, where a resource says more than who it is, and who it is. */
static enum tsdb_status add_target_info(struct otlp_walk *w, const Otlp__Resource *resource,
                                        struct tsdb_error *err)
{
    static const char *const left_out[3] = {"service.namespace", "service.name",
                                            "service.instance.id"};
    size_t others = 0;
    for (size_t i = 0; resource && i < resource->n_attributes; i++) {
        others += !is_identity(otlp_slice(resource->attributes[i]->key));
    }
    if (w->options->no_target_info || others == 0 || w->first_ns > w->last_ns) {
        return TSDB_OK;
    }
    struct otlp_labels identity;
    struct otlp_labels l;
    struct otlp_point p = {0};
    tsdb_arena_reset(w->scratch);
    w->metric = text_of("target_info");
    enum tsdb_status status = otlp_labels_of_resource(w, resource, false, &identity, err);
    if (status != TSDB_OK || identity.count == 0) {
        return status;
    }
    status = otlp_labels_begin(&l, resource->n_attributes, &identity, w->scratch, err);
    if (status == TSDB_OK) {
        status = otlp_labels_add_attributes(
            &l, w->options, resource->attributes, resource->n_attributes,
            w->options->keep_identifying ? NULL : left_out, w->scratch, err);
    }
    if (status == TSDB_OK) {
        status = otlp_labels_finish(&l, w->scratch, &p.labels, &p.count);
    }
    return status == TSDB_OK ? add_target_samples(w, &p, err) : status;
}

static size_t points_of(const Otlp__ResourceMetrics *r)
{
    size_t points = 0;
    for (size_t i = 0; i < r->n_scope_metrics; i++) {
        for (size_t k = 0; k < r->scope_metrics[i]->n_metrics; k++) {
            points += kind_of(r->scope_metrics[i]->metrics[k]).points;
        }
    }
    return points;
}

static enum tsdb_status add_scope(struct otlp_walk *w, const Otlp__ScopeMetrics *s,
                                  struct tsdb_error *err)
{
    enum tsdb_status status = otlp_labels_of_scope(w, s, &w->base, err);
    if (status == TSDB_INVALID) {
        w->metric = text_of("");
        return otlp_refuse(w, status, OTLP_REJECT_LABELS, 1, err);
    }
    for (size_t k = 0; k < s->n_metrics && status == TSDB_OK; k++) {
        status = add_metric(w, s->metrics[k], err);
    }
    return status;
}

static enum tsdb_status add_resource(struct otlp_walk *w, const Otlp__ResourceMetrics *r,
                                     struct tsdb_error *err)
{
    w->first_ns = UINT64_MAX;
    w->last_ns = 0;
    enum tsdb_status status =
        otlp_labels_of_resource(w, r->resource, true, &w->resource_labels, err);
    if (status == TSDB_INVALID) {
        uint32_t points = (uint32_t)TSDB_MIN(points_of(r), (size_t)UINT32_MAX);
        w->metric = text_of("");
        w->points += points;
        return otlp_refuse(w, status, OTLP_REJECT_LABELS, points, err);
    }
    for (size_t i = 0; i < r->n_scope_metrics && status == TSDB_OK; i++) {
        status = add_scope(w, r->scope_metrics[i], err);
    }
    if (status == TSDB_OK) {
        status = add_target_info(w, r->resource, err);
        status = otlp_refuse(w, status, OTLP_REJECT_LABELS, 1, err);
    }
    return status;
}

enum tsdb_status otlp_translate(const uint8_t *body, size_t len, const struct otlp_options *options,
                                const struct otlp_sink *sink, struct tsdb_arena *arena,
                                struct tsdb_arena *scratch, uint32_t *out_points,
                                struct tsdb_error *err)
{
    struct arena_allocator a = {arena, false};
    ProtobufCAllocator allocator = {arena_allocator_alloc, arena_allocator_free, &a};
    Otlp__ExportMetricsServiceRequest *m =
        otlp__export_metrics_service_request__unpack(&allocator, len, body);
    *out_points = 0;
    if (!m && a.failed) {
        return arena->failure;
    }
    if (!m) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "OTLP: the body is no ExportMetricsServiceRequest");
    }
    struct otlp_walk w = {.options = options, .sink = sink, .arena = arena, .scratch = scratch};
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < m->n_resource_metrics && status == TSDB_OK; i++) {
        status = add_resource(&w, m->resource_metrics[i], err);
    }
    *out_points = w.points;
    return status;
}
