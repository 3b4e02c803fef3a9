/* Records of a Prometheus's log. */
#include "base/limits.h"
#include "tools/prom/prom_file_private.h"
#include "tools/prom/wal.h"

#include <string.h>

#define SPAN_BYTES_MIN  2u
#define SCHEMA_CUSTOM   (-53)
#define LABEL_BYTES_MIN 2u

enum prom_record {
    PROM_RECORD_SERIES = 1,
    PROM_RECORD_SAMPLES = 2,
    PROM_RECORD_TOMBSTONES = 3,
    PROM_RECORD_EXEMPLARS = 4,
    PROM_RECORD_MARKERS = 5,
    PROM_RECORD_METADATA = 6,
    PROM_RECORD_HISTOGRAMS = 7,
    PROM_RECORD_FLOAT_HISTOGRAMS = 8,
    PROM_RECORD_CUSTOM_HISTOGRAMS = 9, /* the same bytes; older versions shall not read them */
    PROM_RECORD_CUSTOM_FLOAT_HISTOGRAMS = 10,
};

struct in {
    const uint8_t *p, *end;
    bool failed;
};

static uint64_t be64(struct in *r)
{
    if (r->end - r->p < 8) {
        r->failed = true;
        return 0;
    }
    r->p += 8;
    return prom_load_be64(r->p - 8);
}

static uint64_t uvarint(struct in *r)
{
    uint64_t v = 0;
    const uint8_t *p = r->failed ? NULL : tsdb_get_uvarint(r->p, r->end, &v);
    r->failed = r->failed || !p;
    r->p = p ? p : r->p;
    return p ? v : 0;
}

static int64_t varint(struct in *r)
{
    int64_t v = 0;
    const uint8_t *p = r->failed ? NULL : tsdb_get_varint(r->p, r->end, &v);
    r->failed = r->failed || !p;
    r->p = p ? p : r->p;
    return p ? v : 0;
}

/* A count of things of so many bytes each at least. */
static uint32_t count(struct in *r, size_t bytes_min)
{
    uint64_t n = uvarint(r);
    if (n > (uint64_t)(r->end - r->p) / bytes_min || n > UINT32_MAX) {
        r->failed = true;
    }
    return r->failed ? 0 : (uint32_t)n;
}

static double number(struct in *r)
{
    uint64_t bits = be64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static bool more(const struct in *r)
{
    return !r->failed && r->p < r->end;
}

/* ---- series ---- */
static struct tsdb_slice text(struct in *r)
{
    uint64_t len = uvarint(r);
    if (r->failed || len > (uint64_t)(r->end - r->p)) {
        r->failed = true;
        return (struct tsdb_slice){r->p, 0};
    }
    r->p += len;
    return (struct tsdb_slice){r->p - len, (size_t)len};
}

static enum tsdb_status series(struct in *r, const struct prom_log_sink *sink,
                               struct tsdb_arena *arena, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    while (more(r) && status == TSDB_OK) {
        uint64_t ref = be64(r);
        uint32_t n = count(r, LABEL_BYTES_MIN);
        tsdb_arena_reset(arena);
        struct tsdb_label *items = TSDB_ARENA_ARRAY(arena, struct tsdb_label, n + 1u);
        if (!items) {
            return tsdb_error_nomem(err, "the labels of a series");
        }
        for (uint32_t i = 0; i < n; i++) {
            struct tsdb_slice name = text(r), value = text(r);
            items[i] = (struct tsdb_label){(const char *)name.data, (const char *)value.data,
                                           (uint32_t)TSDB_MIN(name.len, UINT32_MAX),
                                           (uint32_t)TSDB_MIN(value.len, UINT32_MAX)};
        }
        if (!r->failed && sink->series) {
            status = sink->series(sink->arg, ref, &(struct tsdb_labels){items, n}, err);
        }
    }
    return status;
}

/* ---- samples ---- */
static enum tsdb_status samples(struct in *r, const struct prom_log_sink *sink,
                                struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint64_t ref = more(r) ? be64(r) : 0, time = more(r) ? be64(r) : 0;
    while (more(r) && status == TSDB_OK) {
        uint64_t delta_ref = (uint64_t)varint(r), delta_time = (uint64_t)varint(r), bits = be64(r);
        if (!r->failed && sink->sample) {
            status =
                sink->sample(sink->arg, ref + delta_ref, (int64_t)(time + delta_time), bits, err);
        }
    }
    return status;
}

static enum tsdb_status tombstones(struct in *r, const struct prom_log_sink *sink,
                                   struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    while (more(r) && status == TSDB_OK) {
        uint64_t ref = be64(r);
        int64_t min_ms = varint(r), max_ms = varint(r);
        if (!r->failed && sink->deletion) {
            status = sink->deletion(sink->arg, ref, min_ms, max_ms, err);
        }
    }
    return status;
}

/* ---- histograms ---- */
static const struct tsdb_span *spans(struct in *r, struct tsdb_arena *arena, uint32_t *out_count)
{
    *out_count = count(r, SPAN_BYTES_MIN);
    struct tsdb_span *items = TSDB_ARENA_ARRAY(arena, struct tsdb_span, *out_count + 1u);
    for (uint32_t i = 0; items && i < *out_count; i++) {
        int64_t offset = varint(r);
        uint64_t length = uvarint(r);
        r->failed = r->failed || offset < INT32_MIN || offset > INT32_MAX || length > UINT32_MAX;
        items[i] = (struct tsdb_span){(int32_t)offset, (uint32_t)length};
    }
    return items;
}

static const int64_t *deltas(struct in *r, struct tsdb_arena *arena, uint32_t *out_count)
{
    *out_count = count(r, 1);
    int64_t *items = TSDB_ARENA_ARRAY(arena, int64_t, *out_count + 1u);
    for (uint32_t i = 0; items && i < *out_count; i++) {
        items[i] = varint(r);
    }
    return items;
}

static const double *numbers(struct in *r, struct tsdb_arena *arena, uint32_t *out_count)
{
    *out_count = count(r, 8);
    double *items = TSDB_ARENA_ARRAY(arena, double, *out_count + 1u);
    for (uint32_t i = 0; items && i < *out_count; i++) {
        items[i] = number(r);
    }
    return items;
}

/* False: no memory. */
static bool histogram(struct in *r, bool is_float, struct tsdb_arena *arena,
                      struct tsdb_histogram *h)
{
    *h = (struct tsdb_histogram){.is_float = is_float};
    uint8_t hint = more(r) ? *r->p++ : 0;
    int64_t schema = varint(r);
    r->failed = r->failed || hint > TSDB_RESET_GAUGE || schema < INT32_MIN || schema > INT32_MAX;
    h->reset_hint = r->failed ? TSDB_RESET_UNKNOWN : (enum tsdb_reset_hint)hint;
    h->schema = r->failed ? 0 : (int32_t)schema;
    h->zero_threshold = number(r);
    if (is_float) {
        h->zero_count_float = number(r);
        h->count_float = number(r);
    } else {
        h->zero_count_int = uvarint(r);
        h->count_int = uvarint(r);
    }
    h->sum = number(r);
    h->positive_spans = spans(r, arena, &h->positive_span_count);
    h->negative_spans = spans(r, arena, &h->negative_span_count);
    bool ok = h->positive_spans && h->negative_spans;
    if (is_float) {
        h->positive_counts = numbers(r, arena, &h->positive_bucket_count);
        h->negative_counts = numbers(r, arena, &h->negative_bucket_count);
        ok = ok && h->positive_counts && h->negative_counts;
    } else {
        h->positive_deltas = deltas(r, arena, &h->positive_bucket_count);
        h->negative_deltas = deltas(r, arena, &h->negative_bucket_count);
        ok = ok && h->positive_deltas && h->negative_deltas;
    }
    if (h->schema == SCHEMA_CUSTOM) {
        h->custom_values = numbers(r, arena, &h->custom_count);
        ok = ok && h->custom_values;
    }
    return ok;
}

static enum tsdb_status histograms(struct in *r, bool is_float, const struct prom_log_sink *sink,
                                   struct tsdb_arena *arena, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint64_t ref = more(r) ? be64(r) : 0, time = more(r) ? be64(r) : 0;
    while (more(r) && status == TSDB_OK) {
        struct tsdb_histogram h;
        uint64_t delta_ref = (uint64_t)varint(r), delta_time = (uint64_t)varint(r);
        tsdb_arena_reset(arena);
        if (!histogram(r, is_float, arena, &h)) {
            return tsdb_error_nomem(err, "a histogram");
        }
        if (!r->failed && sink->histogram) {
            status =
                sink->histogram(sink->arg, ref + delta_ref, (int64_t)(time + delta_time), &h, err);
        }
    }
    return status;
}

enum tsdb_status prom_record_decode(const uint8_t *src, size_t len,
                                    const struct prom_log_sink *sink, struct tsdb_arena *arena,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    if (len == 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, "a record without a byte");
    }
    struct in r = {src + 1, src + len, false};
    switch (src[0]) {
    case PROM_RECORD_SERIES:
        status = series(&r, sink, arena, err);
        break;
    case PROM_RECORD_SAMPLES:
        status = samples(&r, sink, err);
        break;
    case PROM_RECORD_TOMBSTONES:
        status = tombstones(&r, sink, err);
        break;
    case PROM_RECORD_HISTOGRAMS:
    case PROM_RECORD_CUSTOM_HISTOGRAMS:
        status = histograms(&r, false, sink, arena, err);
        break;
    case PROM_RECORD_FLOAT_HISTOGRAMS:
    case PROM_RECORD_CUSTOM_FLOAT_HISTOGRAMS:
        status = histograms(&r, true, sink, arena, err);
        break;
    case PROM_RECORD_EXEMPLARS:
    case PROM_RECORD_MARKERS:
    case PROM_RECORD_METADATA:
        break;
    default:
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "records of kind %u are not known", src[0]);
    }
    if (status == TSDB_OK && r.failed) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, (uint64_t)(r.p - src),
                                 "record of kind %u, %zu bytes: broken at byte %zu", src[0], len,
                                 (size_t)(r.p - src));
    }
    return status;
}
