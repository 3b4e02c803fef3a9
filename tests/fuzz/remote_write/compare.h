/* The walkers beside protobuf-c, on the same bytes: whatever protobuf-c accepts, the walker accepts
 * with the same content. Used by the fuzz target and, with seeded random messages, by the unit
 * tests.
 *
 * compare_v1 and compare_v2 return NULL, or what differs. They also walk what protobuf-c refuses:
 * then only the bounds count.
 */
#ifndef TESTS_FUZZ_REMOTE_WRITE_COMPARE_H
#define TESTS_FUZZ_REMOTE_WRITE_COMPARE_H

#include "base/limits.h"
#include "ingest/histogram_wire.h"
#include "ingest/metadata_wire.h"
#include "ingest/proto/remote_write_v1.pb-c.h"
#include "ingest/proto/remote_write_v2.pb-c.h"
#include "ingest/remote_write.h"
#include "ingest/remote_write_v2.h"

#include <stdlib.h>

struct compare {
    const char *fault; /* the first difference */
    bool oracle;       /* protobuf-c accepted: content is compared and nothing may be malformed */
    struct tsdb_arena arena;
};

static void expect(struct compare *c, bool ok, const char *what)
{
    if (!ok && c->oracle && !c->fault) {
        c->fault = what;
    }
}

static bool same_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool same_doubles(const double *a, size_t a_len, const double *b, size_t b_len)
{
    return same_bytes(a, a_len * 8, b, b_len * 8);
}

static struct tsdb_label *labels_alloc(struct compare *c, size_t count)
{
    return TSDB_ARENA_ARRAY(&c->arena, struct tsdb_label, count + 1);
}

static void compare_spans(struct compare *c, const struct tsdb_span *got, size_t got_count,
                          Prom__BucketSpan *const *want, size_t want_count)
{
    expect(c, got_count == want_count, "number of spans");
    for (size_t i = 0; !c->fault && i < want_count; i++) {
        expect(c, got[i].offset == want[i]->offset && got[i].length == want[i]->length, "a span");
    }
}

static void compare_counts(struct compare *c, const struct tsdb_histogram *h,
                           const Prom__Histogram *o)
{
    bool has_count = o->count_case == PROM__HISTOGRAM__COUNT_COUNT_INT;
    bool zero_int = o->zero_count_case == PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT;
    expect(c, h->count_int == (has_count ? o->count_int : 0), "count");
    expect(c, h->zero_count_int == (zero_int ? o->zero_count_int : 0), "zero count");
    expect(c,
           same_bytes(h->positive_deltas, h->positive_bucket_count * sizeof(int64_t),
                      o->positive_deltas, o->n_positive_deltas * sizeof(int64_t)) &&
               same_bytes(h->negative_deltas, h->negative_bucket_count * sizeof(int64_t),
                          o->negative_deltas, o->n_negative_deltas * sizeof(int64_t)),
           "integer buckets");
}

static void compare_float_counts(struct compare *c, const struct tsdb_histogram *h,
                                 const Prom__Histogram *o)
{
    bool zero_float = o->zero_count_case == PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_FLOAT;
    double zero = zero_float ? o->zero_count_float : 0;
    expect(c, same_doubles(&h->count_float, 1, &o->count_float, 1), "count");
    expect(c, same_doubles(&h->zero_count_float, 1, &zero, 1), "zero count");
    expect(c,
           same_doubles(h->positive_counts, h->positive_bucket_count, o->positive_counts,
                        o->n_positive_counts) &&
               same_doubles(h->negative_counts, h->negative_bucket_count, o->negative_counts,
                            o->n_negative_counts),
           "float buckets");
}

static void compare_histogram(struct compare *c, const struct tsdb_histogram *h, int64_t t_ms,
                              const Prom__Histogram *o)
{
    expect(c, h->is_float == (o->count_case == PROM__HISTOGRAM__COUNT_COUNT_FLOAT),
           "kind of histogram");
    expect(c, t_ms == o->timestamp, "histogram timestamp");
    expect(c, h->schema == o->schema, "schema");
    expect(c, (uint32_t)h->reset_hint == (uint32_t)o->reset_hint, "reset hint");
    expect(c, same_doubles(&h->sum, 1, &o->sum, 1), "sum");
    expect(c, same_doubles(&h->zero_threshold, 1, &o->zero_threshold, 1), "zero threshold");
    compare_spans(c, h->positive_spans, h->positive_span_count, o->positive_spans,
                  o->n_positive_spans);
    compare_spans(c, h->negative_spans, h->negative_span_count, o->negative_spans,
                  o->n_negative_spans);
    expect(c, same_doubles(h->custom_values, h->custom_count, o->custom_values, o->n_custom_values),
           "custom values");
    if (h->is_float) {
        compare_float_counts(c, h, o);
    } else {
        compare_counts(c, h, o);
    }
}

/* What comes after the wire must stand whatever it decodes: checks, reduction and the raw form. */
static void exercise_histogram(struct compare *c, struct tsdb_histogram *h)
{
    if (tsdb_histogram_reduce(h, &c->arena) != TSDB_OK ||
        tsdb_histogram_validate(h, NULL) != TSDB_OK) {
        return;
    }
    uint8_t *raw = tsdb_arena_alloc(&c->arena, tsdb_histogram_encoded_bytes_max(h), 1);
    struct tsdb_histogram again;
    if (raw != NULL) {
        size_t len = tsdb_histogram_encode(h, raw);
        expect(c, tsdb_histogram_decode(raw, len, &c->arena, &again, NULL) == TSDB_OK,
               "a valid histogram does not decode from its raw form");
        expect(c, tsdb_histogram_is_stale(h) || tsdb_histogram_validate(&again, NULL) == TSDB_OK,
               "a valid histogram is not valid after its raw form");
    }
}

static void compare_samples(struct compare *c, const struct remote_write_walker *w,
                            const struct remote_write_series *s, bool starts,
                            Prom__Sample *const *want, size_t want_count)
{
    struct remote_write_cursor cursor = remote_write_samples(w, s);
    int64_t t_ms = 0;
    int64_t start_ms = 0;
    uint64_t bits = 0;
    size_t n = 0;
    while (remote_write_next_sample(&cursor, &t_ms, &start_ms, &bits)) {
        if (n < want_count) {
            expect(c,
                   t_ms == want[n]->timestamp && bits == tsdb_double_bits(want[n]->value) &&
                       start_ms == (starts ? want[n]->start_timestamp : 0),
                   "a sample");
        }
        n++;
    }
    expect(c, !cursor.failed, "samples fail");
    expect(c, n == s->sample_count && n == want_count, "number of samples");
}

static void compare_histograms(struct compare *c, const struct remote_write_walker *w,
                               const struct remote_write_series *s, bool starts,
                               Prom__Histogram *const *want, size_t want_count)
{
    struct remote_write_cursor cursor = remote_write_histograms(w, s);
    struct tsdb_slice message;
    size_t n = 0;
    while (remote_write_next_message(&cursor, &message)) {
        struct tsdb_histogram h;
        int64_t t_ms = 0;
        int64_t start_ms = 0;
        enum tsdb_status status =
            histogram_wire_decode(message, starts, &c->arena, &h, &t_ms, &start_ms, NULL);
        expect(c, status != TSDB_CORRUPT, "a histogram fails");
        if (status == TSDB_OK && n < want_count) {
            compare_histogram(c, &h, t_ms, want[n]);
            expect(c, start_ms == (starts ? want[n]->start_timestamp : 0), "start of a histogram");
        }
        if (status == TSDB_OK) {
            exercise_histogram(c, &h);
        }
        n++;
    }
    expect(c, !cursor.failed, "histograms fail");
    expect(c, n == s->histogram_count && n == want_count, "number of histograms");
}

/* ---- 1.0 ---- */

static void compare_labels_v1(struct compare *c, const struct tsdb_label *items, uint32_t count,
                              Prom__Label *const *want, size_t want_count)
{
    expect(c, count == want_count, "number of labels");
    for (size_t i = 0; c->oracle && !c->fault && i < want_count; i++) {
        const Prom__Label *o = want[i];
        expect(c,
               same_bytes(items[i].name, items[i].name_len, o->name.data, o->name.len) &&
                   same_bytes(items[i].value, items[i].value_len, o->value.data, o->value.len),
               "a label");
    }
}

/* If the labels are said to stand together, their bytes alone must be the labels and nothing else.
 */
static void compare_label_bytes_v1(struct compare *c, const struct remote_write_series *s)
{
    if (!s->labels_contiguous) {
        return;
    }
    Rw1__TimeSeries *alone = rw1__time_series__unpack(NULL, s->labels.len, s->labels.data);
    expect(c,
           alone != NULL && alone->n_labels == s->label_count && alone->n_samples == 0 &&
               alone->n_exemplars == 0 && alone->n_histograms == 0 &&
               alone->base.n_unknown_fields == 0,
           "contiguous labels hold something else");
    if (alone != NULL) {
        rw1__time_series__free_unpacked(alone, NULL);
    }
}

static void compare_exemplars_v1(struct compare *c, const struct remote_write_walker *w,
                                 const struct remote_write_series *s, const Rw1__TimeSeries *o)
{
    struct remote_write_cursor cursor = remote_write_exemplars(w, s);
    struct tsdb_slice message;
    size_t n = 0;
    while (remote_write_next_message(&cursor, &message)) {
        size_t cap = message.len / 2; /* a label has 2 bytes at least */
        struct tsdb_label *items = labels_alloc(c, cap);
        struct tsdb_exemplar e = {0};
        enum tsdb_status status =
            remote_write_read_exemplar(w, message, items, (uint32_t)cap, &e, NULL);
        expect(c, status == TSDB_OK, "an exemplar fails");
        if (status == TSDB_OK && o != NULL && n < o->n_exemplars) {
            const Rw1__Exemplar *x = o->exemplars[n];
            compare_labels_v1(c, items, e.labels.count, x->labels, x->n_labels);
            expect(c, e.t_ms == x->timestamp && e.bits == tsdb_double_bits(x->value),
                   "an exemplar");
        }
        n++;
    }
    expect(c, !cursor.failed, "exemplars fail");
    expect(c, n == s->exemplar_count && o != NULL && n == o->n_exemplars, "number of exemplars");
}

static void compare_series_v1(struct compare *c, const struct remote_write_walker *w,
                              const struct remote_write_series *s, const Rw1__TimeSeries *o)
{
    struct tsdb_label *items = labels_alloc(c, s->label_count);
    uint32_t count = 0;
    enum tsdb_status status = remote_write_read_labels(w, s, items, s->label_count, &count, NULL);
    expect(c, status == TSDB_OK, "labels fail");
    if (status == TSDB_OK && o != NULL) {
        compare_labels_v1(c, items, count, o->labels, o->n_labels);
    }
    compare_label_bytes_v1(c, s);
    compare_samples(c, w, s, false, o ? o->samples : NULL, o ? o->n_samples : 0);
    compare_exemplars_v1(c, w, s, o);
    compare_histograms(c, w, s, false, o ? o->histograms : NULL, o ? o->n_histograms : 0);
}

static void compare_metadata_v1(struct compare *c, struct tsdb_slice message,
                                const Rw1__MetricMetadata *o)
{
    struct tsdb_metadata m;
    enum tsdb_status status = metadata_wire_decode(message, &c->arena, &m, NULL);
    expect(c, status != TSDB_CORRUPT, "metadata fails");
    if (status == TSDB_OK && o != NULL) {
        expect(c,
               same_bytes(m.metric.data, m.metric.len, o->metric_family_name.data,
                          o->metric_family_name.len) &&
                   same_bytes(m.help.data, m.help.len, o->help.data, o->help.len) &&
                   same_bytes(m.unit.data, m.unit.len, o->unit.data, o->unit.len),
               "metadata");
    }
}

TSDB_UNUSED static const char *compare_v1(const uint8_t *data, size_t len)
{
    struct compare c = {0};
    tsdb_arena_init(&c.arena, TSDB_MEM_OTHER, 4096, NULL);
    Rw1__WriteRequest *o = rw1__write_request__unpack(NULL, len, data);
    c.oracle = o != NULL;
    struct remote_write_walker w;
    struct remote_write_series s;
    size_t series = 0;
    size_t metadata = 0;
    enum remote_write_item item = REMOTE_WRITE_END;
    remote_write_init(&w, data, len);
    while ((item = remote_write_next(&w, &s)) > REMOTE_WRITE_END) {
        if (item == REMOTE_WRITE_METADATA) {
            compare_metadata_v1(&c, s.message,
                                o != NULL && metadata < o->n_metadata ? o->metadata[metadata]
                                                                      : NULL);
            metadata++;
        } else {
            compare_series_v1(&c, &w, &s,
                              o != NULL && series < o->n_timeseries ? o->timeseries[series] : NULL);
            series++;
        }
    }
    expect(&c, item == REMOTE_WRITE_END, "malformed, though protobuf-c accepts it");
    expect(&c, o != NULL && series == o->n_timeseries, "number of series");
    expect(&c, o != NULL && metadata == o->n_metadata, "number of metadata");
    if (o != NULL) {
        rw1__write_request__free_unpacked(o, NULL);
    }
    tsdb_arena_deinit(&c.arena);
    return c.fault;
}

/* ---- 2.0 ---- */

static bool refs_resolve(const Rw2__Request *o, const uint32_t *refs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (refs[i] >= o->n_symbols) {
            return false;
        }
    }
    return count % 2 == 0;
}

static void compare_refs(struct compare *c, enum tsdb_status status, const struct tsdb_label *items,
                         uint32_t count, const Rw2__Request *o, const uint32_t *refs,
                         size_t ref_count)
{
    if (!o) {
        return;
    }
    bool ok = refs_resolve(o, refs, ref_count);
    expect(c, status == (ok ? TSDB_OK : TSDB_INVALID), "status of references");
    if (!ok || status != TSDB_OK) {
        return;
    }
    expect(c, count == ref_count / 2, "number of labels");
    for (size_t i = 0; !c->fault && i < count; i++) {
        const ProtobufCBinaryData *name = &o->symbols[refs[2 * i]];
        const ProtobufCBinaryData *value = &o->symbols[refs[2 * i + 1]];
        expect(c,
               same_bytes(items[i].name, items[i].name_len, name->data, name->len) &&
                   same_bytes(items[i].value, items[i].value_len, value->data, value->len),
               "a label");
    }
}

static void compare_exemplars_v2(struct compare *c, const struct remote_write_v2_walker *w,
                                 const struct remote_write_series *s, const Rw2__Request *r,
                                 const Rw2__TimeSeries *o)
{
    struct remote_write_cursor cursor = remote_write_exemplars(&w->at, s);
    struct tsdb_slice message;
    size_t n = 0;
    while (remote_write_next_message(&cursor, &message)) {
        size_t cap = message.len; /* a reference has a byte at least */
        struct tsdb_label *items = labels_alloc(c, cap);
        struct tsdb_exemplar e = {0};
        enum tsdb_status status =
            remote_write_v2_read_exemplar(w, message, items, (uint32_t)cap, &e, NULL);
        expect(c, status == TSDB_OK || status == TSDB_INVALID, "an exemplar fails");
        if (o != NULL && n < o->n_exemplars) {
            const Rw2__Exemplar *x = o->exemplars[n];
            compare_refs(c, status, items, e.labels.count, r, x->labels_refs, x->n_labels_refs);
            expect(c,
                   status != TSDB_OK ||
                       (e.t_ms == x->timestamp && e.bits == tsdb_double_bits(x->value)),
                   "an exemplar");
        }
        n++;
    }
    expect(c, !cursor.failed, "exemplars fail");
    expect(c, n == s->exemplar_count && o != NULL && n == o->n_exemplars, "number of exemplars");
}

/* protobuf-c merges repeated metadata in a way of its own (a zero does not override): only one is
 * compared. */
static void compare_metadata_v2(struct compare *c, const struct remote_write_v2_walker *w,
                                const struct remote_write_series *s, const Rw2__Request *r,
                                const Rw2__TimeSeries *o)
{
    struct tsdb_metadata m;
    enum tsdb_status status = remote_write_v2_read_metadata(w, s, &m, NULL);
    if (!o || s->metadata_count > 1) {
        return;
    }
    expect(c, (s->metadata_count == 1) == (o->metadata != NULL), "presence of metadata");
    if (!o->metadata) {
        return;
    }
    const Rw2__Metadata *x = o->metadata;
    bool ok = x->help_ref < r->n_symbols && x->unit_ref < r->n_symbols;
    expect(c, status == (ok ? TSDB_OK : TSDB_INVALID), "status of metadata");
    if (ok && status == TSDB_OK) {
        const ProtobufCBinaryData *help = &r->symbols[x->help_ref];
        const ProtobufCBinaryData *unit = &r->symbols[x->unit_ref];
        uint32_t type = (uint32_t)x->type;
        expect(c,
               same_bytes(m.help.data, m.help.len, help->data, help->len) &&
                   same_bytes(m.unit.data, m.unit.len, unit->data, unit->len) &&
                   (uint32_t)m.type == (type < TSDB_METRIC_TYPE_COUNT ? type : 0),
               "metadata");
    }
}

static void compare_series_v2(struct compare *c, const struct remote_write_v2_walker *w,
                              const struct remote_write_series *s, const Rw2__Request *r,
                              const Rw2__TimeSeries *o)
{
    struct tsdb_label *items = labels_alloc(c, s->message.len);
    uint32_t count = 0;
    enum tsdb_status status =
        remote_write_v2_read_labels(w, s, items, (uint32_t)s->message.len, &count, NULL);
    if (o != NULL) {
        compare_refs(c, status, items, count, r, o->labels_refs, o->n_labels_refs);
    }
    compare_samples(c, &w->at, s, true, o ? o->samples : NULL, o ? o->n_samples : 0);
    compare_histograms(c, &w->at, s, true, o ? o->histograms : NULL, o ? o->n_histograms : 0);
    compare_exemplars_v2(c, w, s, r, o);
    expect(c, o == NULL || s->start_ms == o->created_timestamp, "created timestamp");
    compare_metadata_v2(c, w, s, r, o);
}

TSDB_UNUSED static const char *compare_v2(const uint8_t *data, size_t len)
{
    struct compare c = {0};
    tsdb_arena_init(&c.arena, TSDB_MEM_OTHER, 4096, NULL);
    Rw2__Request *o = rw2__request__unpack(NULL, len, data);
    c.oracle = o != NULL;
    struct remote_write_v2_walker w;
    enum tsdb_status status = remote_write_v2_open(&w, data, len, &c.arena, NULL);
    bool first_empty = !o || o->n_symbols == 0 || o->symbols[0].len == 0;
    bool few = !o || o->n_symbols <= REMOTE_WRITE_V2_SYMBOLS_MAX;
    enum tsdb_status want = !few ? TSDB_LIMIT : !first_empty ? TSDB_INVALID : TSDB_OK;
    expect(&c, status == want, "status of the symbols");
    size_t n = 0;
    struct remote_write_series s;
    enum remote_write_item item = REMOTE_WRITE_END;
    while (status == TSDB_OK && (item = remote_write_v2_next(&w, &s)) == REMOTE_WRITE_SERIES) {
        bool beside = o != NULL && n < o->n_timeseries;
        compare_series_v2(&c, &w, &s, o, beside ? o->timeseries[n] : NULL);
        n++;
    }
    expect(&c, item == REMOTE_WRITE_END, "malformed, though protobuf-c accepts it");
    expect(&c, status != TSDB_OK || (o != NULL && n == o->n_timeseries), "number of series");
    if (o != NULL) {
        rw2__request__free_unpacked(o, NULL);
    }
    tsdb_arena_deinit(&c.arena);
    return c.fault;
}

#endif
