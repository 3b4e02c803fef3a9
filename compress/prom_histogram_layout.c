/* The layout of a histogram chunk: zero threshold, schema, spans, custom bounds. */
#include "base/limits.h"
#include "compress/prom_chunk_private.h"

#include <math.h>

#define THRESHOLD_RAW      255u
#define THRESHOLD_EXPONENT 244 /* byte b in 1..254 is 2^(b - 244) */
/* A bound of at most this many thousandths is written as that many, and one. */
#define BOUND_THOUSANDTHS_MAX 33554430.0
/* Prometheus takes these schemas (reserved ones too); model/histogram.h reduces those above 8. */
#define SCHEMA_READ_MAX 52

struct prom_layout prom_layout_of(const struct tsdb_histogram *h)
{
    struct prom_layout l = {
        .schema = h->schema,
        .zero_threshold = h->zero_threshold,
        .side = {{h->positive_spans, h->positive_span_count, h->positive_bucket_count},
                 {h->negative_spans, h->negative_span_count, h->negative_bucket_count}},
    };
    if (h->schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM) {
        l.custom_values = h->custom_values;
        l.custom_count = h->custom_count;
    }
    return l;
}

size_t prom_layout_bytes_max(const struct prom_layout *l)
{
    size_t spans = (size_t)l->side[0].span_count + l->side[1].span_count;
    return 9 + PROM_VARBIT_BYTES_MAX * (4 + 2 * spans + l->custom_count);
}

/* ---- numbers ---- */
static void put_threshold(struct bit_writer *w, double threshold)
{
    int exponent = 0;
    double fraction = frexp(threshold, &exponent); /* 2^k is 0.5 * 2^(k + 1) */
    int byte = exponent - 1 + THRESHOLD_EXPONENT;
    if (tsdb_double_bits(threshold) == 0) { /* -0 goes the long way */
        put_bits(w, 0, 8);
    } else if (fraction == 0.5 && byte >= 1 && byte < (int)THRESHOLD_RAW) {
        put_bits(w, (uint64_t)byte, 8);
    } else {
        put_bits(w, THRESHOLD_RAW, 8);
        put_bits(w, tsdb_double_bits(threshold), 64);
    }
}

static double get_threshold(struct bit_reader *r)
{
    uint32_t byte = (uint32_t)get_some(r, 8);
    if (byte == 0) {
        return 0;
    }
    return byte == THRESHOLD_RAW ? tsdb_bits_double(get_bits(r, 64))
                                 : ldexp(1, (int)byte - THRESHOLD_EXPONENT);
}

static void put_bound(struct bit_writer *w, double bound)
{
    double thousandths = bound * 1000;
    if (thousandths >= 0 && thousandths <= BOUND_THOUSANDTHS_MAX &&
        tsdb_double_bits((double)(uint64_t)round(thousandths) / 1000) == tsdb_double_bits(bound)) {
        prom_put_varbit_uint(w, (uint64_t)round(thousandths) + 1);
    } else {
        put_bits(w, 0, 1);
        put_bits(w, tsdb_double_bits(bound), 64);
    }
}

static double get_bound(struct bit_reader *r)
{
    uint64_t v = prom_get_varbit_uint(r);
    return v == 0 ? tsdb_bits_double(get_bits(r, 64)) : (double)(v - 1) / 1000;
}

/* ---- writing ---- */
static void put_spans(struct bit_writer *w, const struct prom_side *s)
{
    prom_put_varbit_uint(w, s->span_count);
    for (uint32_t i = 0; i < s->span_count; i++) {
        prom_put_varbit_uint(w, s->spans[i].length);
        prom_put_varbit_int(w, s->spans[i].offset);
    }
}

void prom_layout_put(struct bit_writer *w, const struct prom_layout *l)
{
    put_threshold(w, l->zero_threshold);
    prom_put_varbit_int(w, l->schema);
    put_spans(w, &l->side[0]);
    put_spans(w, &l->side[1]);
    if (l->schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM) {
        prom_put_varbit_uint(w, l->custom_count);
        for (uint32_t i = 0; i < l->custom_count; i++) {
            put_bound(w, l->custom_values[i]);
        }
    }
}

/* ---- reading ---- */
/* A count of things of at least bits_min bits each, which allocates nothing before it fits. */
static uint32_t get_count(struct bit_reader *r, size_t bits_min)
{
    uint64_t count = prom_get_varbit_uint(r);
    if (r->failed || count > prom_bits_left(r) / bits_min) {
        r->failed = true;
        return 0;
    }
    return (uint32_t)TSDB_MIN(count, UINT32_MAX);
}

static enum tsdb_status get_spans(struct bit_reader *r, struct tsdb_arena *arena,
                                  struct prom_side *out)
{
    uint32_t count = get_count(r, 2);
    if (r->failed || count == 0) {
        return TSDB_OK;
    }
    if (count > TSDB_HISTOGRAM_BUCKETS_MAX) {
        return TSDB_LIMIT;
    }
    struct tsdb_span *spans = TSDB_ARENA_ARRAY(arena, struct tsdb_span, count);
    if (!spans) {
        return tsdb_arena_status(arena);
    }
    uint64_t buckets = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t length = prom_get_varbit_uint(r);
        int64_t offset = prom_get_varbit_int(r);
        if (length > UINT32_MAX || offset < INT32_MIN || offset > INT32_MAX) {
            r->failed = true;
            return TSDB_OK;
        }
        spans[i] = (struct tsdb_span){(int32_t)offset, (uint32_t)length};
        buckets += length;
    }
    out->spans = spans;
    out->span_count = count;
    out->bucket_count = (uint32_t)TSDB_MIN(buckets, UINT32_MAX);
    return TSDB_OK;
}

static enum tsdb_status get_bounds(struct bit_reader *r, struct tsdb_arena *arena,
                                   struct prom_layout *out)
{
    uint32_t count = get_count(r, 5); /* the shortest is '10' and 3 bits */
    if (r->failed || count == 0) {
        return TSDB_OK;
    }
    if (count > TSDB_HISTOGRAM_BUCKETS_MAX) {
        return TSDB_LIMIT;
    }
    double *values = TSDB_ARENA_ARRAY(arena, double, count);
    if (!values) {
        return tsdb_arena_status(arena);
    }
    for (uint32_t i = 0; i < count; i++) {
        values[i] = get_bound(r);
    }
    out->custom_values = values;
    out->custom_count = count;
    return TSDB_OK;
}

/* Everything together, and against the bits that the first sample must have for it. */
static enum tsdb_status check_counts(struct bit_reader *r, size_t bucket_bits_min,
                                     const struct prom_layout *l)
{
    uint64_t buckets = (uint64_t)l->side[0].bucket_count + l->side[1].bucket_count;
    if (r->failed || buckets > prom_bits_left(r) / bucket_bits_min) {
        r->failed = true;
        return TSDB_OK;
    }
    uint64_t elements = buckets + l->side[0].span_count + l->side[1].span_count + l->custom_count;
    return elements > TSDB_HISTOGRAM_BUCKETS_MAX ? TSDB_LIMIT : TSDB_OK;
}

enum tsdb_status prom_layout_get(struct bit_reader *r, size_t bucket_bits_min,
                                 struct tsdb_arena *arena, struct prom_layout *out,
                                 struct tsdb_error *err)
{
    struct prom_layout l = {.zero_threshold = get_threshold(r)};
    int64_t schema = prom_get_varbit_int(r);
    if (!r->failed && schema != TSDB_HISTOGRAM_SCHEMA_CUSTOM &&
        (schema < TSDB_HISTOGRAM_SCHEMA_MIN || schema > SCHEMA_READ_MAX)) {
        return tsdb_error_set_at(err, TSDB_UNSUPPORTED, r->bit / 8,
                                 "histogram chunk: schema %lld, expected -4 to %d or %d",
                                 (long long)schema, SCHEMA_READ_MAX, TSDB_HISTOGRAM_SCHEMA_CUSTOM);
    }
    l.schema = (int32_t)schema;
    enum tsdb_status status = get_spans(r, arena, &l.side[0]);
    if (status == TSDB_OK) {
        status = get_spans(r, arena, &l.side[1]);
    }
    if (status == TSDB_OK && l.schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM) {
        status = get_bounds(r, arena, &l);
    }
    if (status == TSDB_OK) {
        status = check_counts(r, bucket_bits_min, &l);
    }
    if (status != TSDB_OK) {
        return tsdb_error_set_at(err, status, r->bit / 8,
                                 "histogram chunk: its buckets exceed a limit or memory");
    }
    *out = l;
    return TSDB_OK;
}

/* ---- indices ---- */
struct prom_walk prom_walk_init(const struct prom_side *side)
{
    struct prom_walk w = {.spans = side->spans, .span_count = side->span_count};
    w.next = w.span_count > 0 ? w.spans[0].offset : 0;
    return w;
}

bool prom_walk_next(struct prom_walk *w, int64_t *out_index)
{
    while (w->span < w->span_count && w->done == w->spans[w->span].length) {
        w->span++;
        w->done = 0;
        w->next += w->span < w->span_count ? w->spans[w->span].offset : 0;
    }
    if (w->span == w->span_count) {
        return false;
    }
    w->done++;
    *out_index = w->next++;
    return true;
}
