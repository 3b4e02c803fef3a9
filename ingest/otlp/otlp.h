/* OTLP metrics to samples, as Prometheus's OTLP receiver translates them.
 *
 *   bytes -> (JSON: json.h) -> protobuf-c -> otlp_translate -> a sink: samples with their labels
 *
 * Place: between the body and the batch builder. This room knows neither; it makes labels and values
 * and hands each to the sink. Names: names.h. Labels of a data point, sorted and unique:
 *
 *   its attributes (names that become the same are joined by ";"), promoted attributes of the resource
 *   where there is none of that name, those of the scope, job = service.namespace/service.name,
 *   instance = service.instance.id, and what the translation adds: __name__, le, quantile.
 *
 * Sums are one sample, as are gauges; a monotonic cumulative sum is a counter. Explicit histograms are
 * _bucket, _sum, _count (or one native histogram with custom buckets), exponential ones a native
 * histogram. Each resource with an attribute beside its identity gets target_info = 1.
 *
 * Threads: pure. Memory: the arenas of the caller; hostile sizes end in LIMIT there.
 */
#ifndef INGEST_OTLP_OTLP_H
#define INGEST_OTLP_OTLP_H

#include "model/exemplar.h"
#include "model/histogram.h"
#include "model/labels.h"
#include "model/metadata.h"

#define OTLP_ATTRIBUTES_MAX      128 /* of the configuration */
#define OTLP_ATTRIBUTE_BYTES_MAX 128

enum otlp_strategy {
    OTLP_UNDERSCORES_WITH_SUFFIXES = 0,
    OTLP_UNDERSCORES,
    OTLP_UTF8_WITH_SUFFIXES,
    OTLP_UTF8 /* names as they come */
};

/* The otlp: block of the configuration file; zero is Prometheus's default. */
struct otlp_options {
    enum otlp_strategy strategy;
    bool promote_all;        /* then `attributes` are those left out */
    bool keep_identifying;   /* service.* stay labels of target_info */
    bool histograms_to_nhcb; /* explicit histograms become native ones with custom buckets */
    bool promote_scope;      /* otel_scope_* labels */
    bool no_target_info;
    bool no_key_prefix;       /* "_x" stays, and does not become "key_x" */
    bool join_underscores;    /* "a..b" is "a_b", not "a__b" */
    bool delta;               /* take delta temporality, as gauges; a flag */
    int64_t lookback_ms;      /* target_info is repeated so often that selectors see it; 0: 5 min */
    uint32_t attribute_count; /* of the resource: promoted */
    char attributes[OTLP_ATTRIBUTES_MAX][OTLP_ATTRIBUTE_BYTES_MAX];
};

enum otlp_reject {
    OTLP_REJECT_LABELS,
    OTLP_REJECT_HISTOGRAM,
    OTLP_REJECT_UNSUPPORTED
};

/* What takes the translation. A series is opened by `series`, then its value and exemplars follow;
 * *out_target is handed back to them. Statuses: OK; INVALID from `series`: refused and counted by
 * the sink, its values are left out; others end the translation. All arguments are borrowed for the
 * call. */
struct otlp_sink {
    void *arg;
    enum tsdb_status (*series)(void *arg, const struct tsdb_labels *labels, void *out_target,
                               struct tsdb_error *err);
    enum tsdb_status (*sample)(void *arg, const void *target, int64_t t_ms, int64_t start_ms,
                               uint64_t bits, struct tsdb_error *err);
    /* h may have any buckets: the sink validates, counts what it refuses, and returns OK. */
    enum tsdb_status (*histogram)(void *arg, const void *target, struct tsdb_histogram *h,
                                  int64_t t_ms, int64_t start_ms, struct tsdb_error *err);
    enum tsdb_status (*exemplar)(void *arg, const void *target, const struct tsdb_exemplar *x,
                                 struct tsdb_error *err);
    enum tsdb_status (*metadata)(void *arg, const struct tsdb_metadata *m, struct tsdb_error *err);
    /* `points` data points are refused; *why is cleared. */
    void (*reject)(void *arg, enum otlp_reject reason, struct tsdb_slice metric, uint32_t points,
                   struct tsdb_error *why);
};
/* Room for a target; the sink says that its own fits. */
#define OTLP_TARGET_BYTES_MAX 64

/* body[len]: an ExportMetricsServiceRequest.
 *   arena     the message, until the caller resets it
 *   scratch   reset for every data point
 *   out_points   data points seen, refused ones too
 * Returns OK; CORRUPT: no such message; LIMIT, NOMEM: of an arena; and what the sink returns. */
enum tsdb_status otlp_translate(const uint8_t *body, size_t len, const struct otlp_options *options,
                                const struct otlp_sink *sink, struct tsdb_arena *arena,
                                struct tsdb_arena *scratch, uint32_t *out_points,
                                struct tsdb_error *err) TSDB_WUR;

#endif
