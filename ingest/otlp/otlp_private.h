/* Shared by the files of the translation:
 *   translate.c    resources, scopes, metrics, number points, summaries, target_info
 *   histograms.c   explicit and exponential ones
 *   labels.c       attributes and what is added, to sorted unique labels
 *   value.c        AnyValue as text
 */
#ifndef INGEST_OTLP_OTLP_PRIVATE_H
#define INGEST_OTLP_OTLP_PRIVATE_H

#include "ingest/otlp/otlp.h"
#include "ingest/proto/otlp.pb-c.h"

#define OTLP_NS_PER_MS           1000000u
#define OTLP_FLAG_NO_VALUE       1u /* DataPointFlags: a gap, Prometheus's stale marker */
#define OTLP_TARGET_INFO_MAX     1000u
#define OTLP_VALUE_DEPTH_MAX     16u /* values in values; deeper ones are "..." */
#define OTLP_LOOKBACK_MS_DEFAULT INT64_C(300000)

/* Who put a label there; of one name the highest wins. */
enum otlp_rank {
    OTLP_RANK_PROMOTED = 0, /* the first one */
    OTLP_RANK_ATTRIBUTE,    /* all of them, joined */
    OTLP_RANK_SCOPE,        /* the last one, from here on */
    OTLP_RANK_IDENTITY,
    OTLP_RANK_ADDED
};
struct otlp_label {
    struct tsdb_label label;
    struct tsdb_slice key; /* the attribute's, as sent: the order of those that are joined */
    enum otlp_rank rank;
    uint32_t order;
};
/* Labels under construction: items[count] of `cap`. */
struct otlp_labels {
    struct otlp_label *items;
    uint32_t count, cap;
};

struct otlp_walk {
    const struct otlp_options *options;
    const struct otlp_sink *sink;
    struct tsdb_arena *arena, *scratch;
    struct otlp_labels resource_labels;
    struct otlp_labels base;    /* and those of the scope: what all its data points have */
    uint64_t first_ns, last_ns; /* data points of the resource; first > last: none */
    uint32_t points;
    /* of the metric */
    struct tsdb_slice metric; /* its name here */
    bool starts;              /* data points have a start that means something */
    bool is_delta;
};

/* Never NULL, so that nobody reckons with a null pointer. */
static inline struct tsdb_slice otlp_slice(ProtobufCBinaryData b)
{
    return (struct tsdb_slice){b.data ? b.data : (const uint8_t *)"", b.len};
}

/* ---- value.c ---- */
/* The text of a value, as Go's pdata prints it: numbers and booleans, bytes as base64, lists and maps
 * as JSON. In the arena, or in the message. NOMEM, LIMIT. */
enum tsdb_status otlp_value_text(const Otlp__AnyValue *v, struct tsdb_arena *arena,
                                 struct tsdb_slice *out) TSDB_WUR;

/* ---- labels.c ---- */
/* Room for `cap` labels in the arena, and the labels of `from` in it (NULL: none). INVALID: too many. */
enum tsdb_status otlp_labels_begin(struct otlp_labels *l, size_t cap,
                                   const struct otlp_labels *from, struct tsdb_arena *arena,
                                   struct tsdb_error *err) TSDB_WUR;
/* Room was made. */
void otlp_labels_add(struct otlp_labels *l, struct tsdb_slice name, struct tsdb_slice value,
                     enum otlp_rank rank);
/* Attributes with their names translated; without: up to three keys that are left out. */
enum tsdb_status otlp_labels_add_attributes(struct otlp_labels *l, const struct otlp_options *o,
                                            Otlp__KeyValue *const *items, size_t count,
                                            const char *const without[3], struct tsdb_arena *arena,
                                            struct tsdb_error *err) TSDB_WUR;
/* Promoted ones, job, instance of a resource, in w->arena. */
enum tsdb_status otlp_labels_of_resource(struct otlp_walk *w, const Otlp__Resource *resource,
                                         bool promote, struct otlp_labels *out,
                                         struct tsdb_error *err) TSDB_WUR;
/* w->resource_labels and those of the scope, where it is promoted. */
enum tsdb_status otlp_labels_of_scope(struct otlp_walk *w, const Otlp__ScopeMetrics *scope,
                                      struct otlp_labels *out, struct tsdb_error *err) TSDB_WUR;
/* Sorted by name, one label a name. The array is in the arena. */
enum tsdb_status otlp_labels_finish(struct otlp_labels *l, struct tsdb_arena *arena,
                                    struct tsdb_label **out, uint32_t *out_count) TSDB_WUR;

/* ---- translate.c ---- */
/* The labels of a data point, sorted: base and attributes, in scratch, with one more free place behind
 * each end for what is added. INVALID: this point is refused. */
struct otlp_point {
    struct tsdb_label *labels; /* room for count + 2 */
    uint32_t count;
    int64_t t_ms, start_ms;
    bool no_value;
};
enum tsdb_status otlp_point_begin(struct otlp_walk *w, Otlp__KeyValue *const *attributes,
                                  size_t count, uint64_t t_ns, uint64_t start_ns, uint32_t flags,
                                  struct otlp_point *out, struct tsdb_error *err) TSDB_WUR;
/* Open the series metric+suffix{point's labels, added="value"}; added may be NULL. *out_refused: its
 * values are to be left out. */
enum tsdb_status otlp_series(struct otlp_walk *w, const struct otlp_point *p, const char *suffix,
                             const char *added, const char *value, void *out_target,
                             bool *out_refused, struct tsdb_error *err) TSDB_WUR;
/* One sample of such a series; a stale marker where the point has no value. out_target may be NULL. */
enum tsdb_status otlp_sample(struct otlp_walk *w, const struct otlp_point *p, const char *suffix,
                             const char *added, const char *value, double v, void *out_target,
                             bool *out_refused, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status otlp_exemplar(struct otlp_walk *w, const void *target, const Otlp__Exemplar *e,
                               struct tsdb_error *err) TSDB_WUR;
/* INVALID becomes a refusal of `points` points. */
enum tsdb_status otlp_refuse(struct otlp_walk *w, enum tsdb_status status, enum otlp_reject reason,
                             uint32_t points, struct tsdb_error *err) TSDB_WUR;

/* ---- histograms.c: one data point, whose labels are there ---- */
enum tsdb_status otlp_add_explicit(struct otlp_walk *w, const struct otlp_point *p,
                                   const Otlp__HistogramDataPoint *d,
                                   struct tsdb_error *err) TSDB_WUR;
enum tsdb_status otlp_add_custom(struct otlp_walk *w, const struct otlp_point *p,
                                 const Otlp__HistogramDataPoint *d,
                                 struct tsdb_error *err) TSDB_WUR;
enum tsdb_status otlp_add_exponential(struct otlp_walk *w, const struct otlp_point *p,
                                      const Otlp__ExponentialHistogramDataPoint *d,
                                      struct tsdb_error *err) TSDB_WUR;

#endif
