#include "model/histogram.h"

#include "base/assert.h"
#include "base/limits.h"
#include "model/sample.h"
#include "model/version.h"

#include <math.h>

#define SCHEMA_REDUCIBLE_MAX 52 /* Prometheus's ExponentialSchemaMaxReserved */

#define FLAG_FLOAT       0x01u
#define FLAG_RESET_SHIFT 1
#define FLAGS_KNOWN      0x07u

/* version, flags, schema, zero_threshold, sum, count, zero_count, five counts */
#define RAW_FIXED_BYTES_MAX 128
/* An element (a span, a bucket, a custom value) has at most 10 bytes: two varints of 32 bits, or
 * one of 64. */
static_assert((TSDB_HISTOGRAM_BUCKETS_MAX * 10u) + RAW_FIXED_BYTES_MAX <= TSDB_HISTOGRAM_BYTES_MAX,
              "whatever validates can be encoded");

/* One side of a histogram: what is done to the positive buckets is done to the negative ones. */
struct side {
    const char *name;
    const struct tsdb_span *spans;
    const int64_t *deltas;
    const double *counts;
    uint32_t span_count;
    uint32_t bucket_count;
};

static struct side side_positive(const struct tsdb_histogram *h)
{
    return (struct side){"positive",         h->positive_spans,      h->positive_deltas,
                         h->positive_counts, h->positive_span_count, h->positive_bucket_count};
}

static struct side side_negative(const struct tsdb_histogram *h)
{
    return (struct side){"negative",         h->negative_spans,      h->negative_deltas,
                         h->negative_counts, h->negative_span_count, h->negative_bucket_count};
}

bool tsdb_histogram_is_stale(const struct tsdb_histogram *h)
{
    return tsdb_is_stale_bits(tsdb_double_bits(h->sum));
}

/* ---- validation ---- */

static enum tsdb_status check_spans(const struct side *s, bool custom, struct tsdb_error *err)
{
    const char *what = custom ? "custom buckets" : s->name;
    const char *side = custom ? "" : " side";
    uint64_t buckets = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < s->span_count; i++) {
        const struct tsdb_span *span = &s->spans[i];
        if (span->offset < 0 && (i > 0 || custom)) {
            return tsdb_error_set(err, TSDB_INVALID,
                                  "%s%s: span number %u with offset %d: histogram has a span whose "
                                  "offset is negative",
                                  what, side, i + 1, span->offset);
        }
        index += span->offset;
        index += span->length;
        buckets += span->length;
        /* Readers count bucket indices in 32 bits. */
        if (index > INT32_MAX) {
            return tsdb_error_set(err, TSDB_INVALID,
                                  "%s%s: span number %u leads to bucket index %lld", what, side,
                                  i + 1, (long long)index);
        }
    }
    if (buckets != s->bucket_count) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "%s%s: spans need %llu buckets, have %u buckets: histogram spans specify different "
            "number of buckets than provided",
            what, side, (unsigned long long)buckets, s->bucket_count);
    }
    return TSDB_OK;
}

/* Adds the side's observations to *total, which sticks at UINT64_MAX when they do not fit. */
static enum tsdb_status check_buckets_int(const struct side *s, uint64_t *total,
                                          struct tsdb_error *err)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        if (__builtin_add_overflow(count, s->deltas[i], &count) || count < 0) {
            return tsdb_error_set(
                err, TSDB_INVALID,
                "%s side: bucket number %u has observation count of %lld: histogram has a bucket "
                "whose observation count is negative",
                s->name, i + 1, (long long)count);
        }
        if (__builtin_add_overflow(*total, (uint64_t)count, total)) {
            *total = UINT64_MAX;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status check_buckets_float(const struct side *s, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        if (s->counts[i] < 0) {
            return tsdb_error_set(
                err, TSDB_INVALID,
                "%s side: bucket number %u has observation count of %g: histogram has a bucket "
                "whose observation count is negative",
                s->name, i + 1, s->counts[i]);
        }
    }
    return TSDB_OK;
}

static enum tsdb_status check_custom_values(const struct tsdb_histogram *h, struct tsdb_error *err)
{
    double before = -HUGE_VAL;
    for (uint32_t i = 0; i < h->custom_count; i++) {
        double v = h->custom_values[i];
        if (isnan(v)) {
            return tsdb_error_set(err, TSDB_INVALID,
                                  "custom buckets: histogram custom bounds must not be NaN");
        }
        if (v <= before) {
            return tsdb_error_set(
                err, TSDB_INVALID,
                "custom buckets: previous bound is %f and current is %f: histogram custom bounds "
                "must be in strictly increasing order",
                before, v);
        }
        before = v;
    }
    if (before == HUGE_VAL) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "custom buckets: last +Inf bound must not be explicitly defined: histogram custom "
            "bounds must be finite");
    }
    return TSDB_OK;
}

static enum tsdb_status check_custom(const struct tsdb_histogram *h, struct tsdb_error *err)
{
    struct side positive = side_positive(h);
    enum tsdb_status status = check_custom_values(h, err);
    if (status == TSDB_OK) {
        status = check_spans(&positive, true, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t reach = 0;
    for (uint32_t i = 0; i < h->positive_span_count; i++) {
        reach += (uint64_t)h->positive_spans[i].offset + h->positive_spans[i].length;
    }
    if (reach > (uint64_t)h->custom_count + 1) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "custom buckets: only %u custom bounds defined which is insufficient to cover total "
            "span length of %llu: histogram custom bounds are too few",
            h->custom_count, (unsigned long long)reach);
    }
    bool zero_count = h->is_float ? h->zero_count_float == 0 : h->zero_count_int == 0;
    if (!zero_count) {
        return tsdb_error_set(err, TSDB_INVALID, "custom buckets: must have zero count of 0");
    }
    if (h->zero_threshold != 0) {
        return tsdb_error_set(err, TSDB_INVALID, "custom buckets: must have zero threshold of 0");
    }
    if (h->negative_span_count > 0) {
        return tsdb_error_set(err, TSDB_INVALID, "custom buckets: must not have negative spans");
    }
    if (h->negative_bucket_count > 0) {
        return tsdb_error_set(err, TSDB_INVALID, "custom buckets: must not have negative buckets");
    }
    return TSDB_OK;
}

static bool schema_is_exponential(int32_t schema)
{
    return schema >= TSDB_HISTOGRAM_SCHEMA_MIN && schema <= TSDB_HISTOGRAM_SCHEMA_MAX;
}

static bool schema_is_valid(int32_t schema)
{
    return schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM || schema_is_exponential(schema);
}

static enum tsdb_status check_layout(const struct tsdb_histogram *h, struct tsdb_error *err)
{
    if (h->schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM) {
        return check_custom(h, err);
    }
    if (!schema_is_exponential(h->schema)) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "histogram has an invalid schema, which must be between %d and %d for exponential "
            "buckets, or %d for custom buckets, got schema %d",
            TSDB_HISTOGRAM_SCHEMA_MIN, TSDB_HISTOGRAM_SCHEMA_MAX, TSDB_HISTOGRAM_SCHEMA_CUSTOM,
            h->schema);
    }
    /* Not checked by Prometheus, whose sum() over a NaN here does not end. */
    if (!(h->zero_threshold >= 0 && h->zero_threshold < HUGE_VAL)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "histogram has a zero threshold of %g, which must be finite and not "
                              "negative",
                              h->zero_threshold);
    }
    struct side positive = side_positive(h);
    struct side negative = side_negative(h);
    enum tsdb_status status = check_spans(&positive, false, err);
    if (status == TSDB_OK) {
        status = check_spans(&negative, false, err);
    }
    if (status == TSDB_OK && h->custom_count > 0) {
        status = tsdb_error_set(err, TSDB_INVALID,
                                "histogram with exponential schema must not have custom bounds");
    }
    return status;
}

static enum tsdb_status check_counts_int(const struct tsdb_histogram *h, struct tsdb_error *err)
{
    struct side positive = side_positive(h);
    struct side negative = side_negative(h);
    uint64_t total = h->zero_count_int;
    enum tsdb_status status = check_buckets_int(&negative, &total, err);
    if (status == TSDB_OK) {
        status = check_buckets_int(&positive, &total, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    bool nan_sum = isnan(h->sum); /* observations of NaN count, and lie in no bucket */
    if (nan_sum ? total > h->count_int : total != h->count_int) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "%llu observations found in buckets, but the Count field is %llu: histogram's "
            "observation count should %s the number of observations found in the buckets%s",
            (unsigned long long)total, (unsigned long long)h->count_int,
            nan_sum ? "be at least" : "equal", nan_sum ? "" : " (in absence of NaN)");
    }
    return TSDB_OK;
}

static enum tsdb_status check_counts_float(const struct tsdb_histogram *h, struct tsdb_error *err)
{
    struct side positive = side_positive(h);
    struct side negative = side_negative(h);
    enum tsdb_status status = check_buckets_float(&negative, err);
    if (status == TSDB_OK) {
        status = check_buckets_float(&positive, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (h->zero_count_float < 0) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "zero bucket has observation count of %g: histogram has a bucket whose observation "
            "count is negative",
            h->zero_count_float);
    }
    if (h->count_float < 0) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "observation count is %g: histogram's observation count is negative",
                              h->count_float);
    }
    return TSDB_OK;
}

enum tsdb_status tsdb_histogram_validate(const struct tsdb_histogram *h, struct tsdb_error *err)
{
    if (tsdb_histogram_is_stale(h)) {
        return TSDB_OK;
    }
    uint64_t elements = (uint64_t)h->positive_span_count + h->negative_span_count +
                        h->positive_bucket_count + h->negative_bucket_count + h->custom_count;
    if (elements > TSDB_HISTOGRAM_BUCKETS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "histogram has %llu spans, buckets and custom bounds, at most %u",
                              (unsigned long long)elements, (unsigned)TSDB_HISTOGRAM_BUCKETS_MAX);
    }
    enum tsdb_status status = check_layout(h, err);
    if (status != TSDB_OK) {
        return status;
    }
    return h->is_float ? check_counts_float(h, err) : check_counts_int(h, err);
}

/* ---- reduction ---- */

/* What one side becomes; arrays have room for as many as there were. */
struct reduced {
    struct tsdb_span *spans;
    int64_t *ints; /* absolute counts, then deltas */
    double *floats;
    uint32_t span_count;
    uint32_t bucket_count;
};

static bool spans_fit_buckets(const struct side *s)
{
    uint64_t buckets = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < s->span_count; i++) {
        index += s->spans[i].offset;
        if (index < INT32_MIN || (i > 0 && s->spans[i].offset < 0)) {
            return false;
        }
        index += s->spans[i].length;
        buckets += s->spans[i].length;
        if (index > INT32_MAX) {
            return false;
        }
    }
    return buckets == s->bucket_count;
}

static void reduced_add(struct reduced *r, int64_t index, int64_t *last, int64_t count_int,
                        double count_float)
{
    if (r->bucket_count == 0 || index != *last) {
        if (r->bucket_count > 0 && index == *last + 1) {
            r->spans[r->span_count - 1].length++;
        } else {
            int64_t offset = r->bucket_count == 0 ? index : index - *last - 1;
            r->spans[r->span_count++] = (struct tsdb_span){(int32_t)offset, 1};
        }
        if (r->ints) {
            r->ints[r->bucket_count] = 0;
        }
        if (r->floats) {
            r->floats[r->bucket_count] = 0;
        }
        r->bucket_count++;
        *last = index;
    }
    if (r->ints) {
        /* Unsigned: hostile counts may wrap; validation then finds that the sum does not fit. */
        r->ints[r->bucket_count - 1] =
            (int64_t)((uint64_t)r->ints[r->bucket_count - 1] + (uint64_t)count_int);
    }
    if (r->floats) {
        r->floats[r->bucket_count - 1] += count_float;
    }
}

static void reduced_to_deltas(struct reduced *r)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < r->bucket_count; i++) {
        uint64_t count = (uint64_t)r->ints[i];
        r->ints[i] = (int64_t)(count - before);
        before = count;
    }
}

/* Merge 2^shift neighbouring buckets. Bucket i of a schema ends at base^i, so that i goes to ((i -
 * 1) >> shift) + 1. */
static enum tsdb_status reduce_side(const struct side *s, bool is_float, unsigned shift,
                                    struct tsdb_arena *arena, struct reduced *out)
{
    *out = (struct reduced){0};
    if (s->bucket_count == 0) {
        return TSDB_OK;
    }
    /* A span of the result begins with a bucket of its own: as many spans as buckets at most. */
    out->spans = TSDB_ARENA_ARRAY(arena, struct tsdb_span, s->bucket_count);
    if (!out->spans) {
        return arena->failure;
    }
    void *counts = tsdb_arena_alloc_array(arena, s->bucket_count, 8, 8);
    if (!counts) {
        return arena->failure;
    }
    if (is_float) {
        out->floats = counts;
    } else {
        out->ints = counts;
    }
    int64_t index = 0;
    int64_t last = 0;
    uint64_t count = 0;
    uint32_t bucket = 0;
    for (uint32_t i = 0; i < s->span_count; i++) {
        index += s->spans[i].offset;
        for (uint32_t j = 0; j < s->spans[i].length; j++, index++, bucket++) {
            count += is_float ? 0 : (uint64_t)s->deltas[bucket];
            reduced_add(out, ((index - 1) >> shift) + 1, &last, (int64_t)count,
                        is_float ? s->counts[bucket] : 0);
        }
    }
    TSDB_ASSERT(bucket == s->bucket_count);
    if (!is_float) {
        reduced_to_deltas(out);
    }
    return TSDB_OK;
}

enum tsdb_status tsdb_histogram_reduce(struct tsdb_histogram *h, struct tsdb_arena *arena)
{
    if (h->schema <= TSDB_HISTOGRAM_SCHEMA_MAX || h->schema > SCHEMA_REDUCIBLE_MAX) {
        return TSDB_OK;
    }
    struct side positive = side_positive(h);
    struct side negative = side_negative(h);
    unsigned shift = (unsigned)(h->schema - TSDB_HISTOGRAM_SCHEMA_MAX);
    if (spans_fit_buckets(&positive) && spans_fit_buckets(&negative)) {
        struct reduced p;
        struct reduced n;
        enum tsdb_status status = reduce_side(&positive, h->is_float, shift, arena, &p);
        if (status == TSDB_OK) {
            status = reduce_side(&negative, h->is_float, shift, arena, &n);
        }
        if (status != TSDB_OK) {
            return status;
        }
        h->positive_spans = p.spans;
        h->positive_span_count = p.span_count;
        h->positive_bucket_count = p.bucket_count;
        h->positive_deltas = p.ints;
        h->positive_counts = p.floats;
        h->negative_spans = n.spans;
        h->negative_span_count = n.span_count;
        h->negative_bucket_count = n.bucket_count;
        h->negative_deltas = n.ints;
        h->negative_counts = n.floats;
    }
    h->schema = TSDB_HISTOGRAM_SCHEMA_MAX;
    return TSDB_OK;
}

/* ---- raw form ---- */

size_t tsdb_histogram_encoded_bytes_max(const struct tsdb_histogram *h)
{
    size_t elements = (size_t)h->positive_span_count + h->negative_span_count +
                      h->positive_bucket_count + h->negative_bucket_count + h->custom_count;
    return RAW_FIXED_BYTES_MAX + elements * TSDB_VARINT64_BYTES_MAX;
}

static uint8_t *put_double(uint8_t *p, double v)
{
    tsdb_store_le64(p, tsdb_double_bits(v));
    return p + 8;
}

static uint8_t *put_spans(uint8_t *p, const struct side *s)
{
    p = tsdb_put_uvarint(p, s->span_count);
    for (uint32_t i = 0; i < s->span_count; i++) {
        p = tsdb_put_varint(p, s->spans[i].offset);
        p = tsdb_put_uvarint(p, s->spans[i].length);
    }
    return p;
}

static uint8_t *put_buckets(uint8_t *p, const struct side *s, bool is_float)
{
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        p = is_float ? put_double(p, s->counts[i]) : tsdb_put_varint(p, s->deltas[i]);
    }
    return p;
}

size_t tsdb_histogram_encode(const struct tsdb_histogram *h, uint8_t *out)
{
    TSDB_ASSERT((unsigned)h->reset_hint <= TSDB_RESET_GAUGE);
    /* Nobody has checked the buckets of a stale one, and nobody reads them. */
    bool bare = tsdb_histogram_is_stale(h);
    struct side positive = bare ? (struct side){0} : side_positive(h);
    struct side negative = bare ? (struct side){0} : side_negative(h);
    uint32_t custom_count = bare ? 0 : h->custom_count;
    uint8_t *p = out;
    *p++ = TSDB_FORMAT_HISTOGRAM;
    *p++ = (uint8_t)((h->is_float ? FLAG_FLOAT : 0) | (unsigned)h->reset_hint << FLAG_RESET_SHIFT);
    p = tsdb_put_varint(p, bare && !schema_is_valid(h->schema) ? 0 : h->schema);
    p = put_double(p, h->zero_threshold);
    p = put_double(p, h->sum);
    if (h->is_float) {
        p = put_double(p, h->count_float);
        p = put_double(p, h->zero_count_float);
    } else {
        p = tsdb_put_uvarint(p, h->count_int);
        p = tsdb_put_uvarint(p, h->zero_count_int);
    }
    p = put_spans(p, &positive);
    p = put_spans(p, &negative);
    p = put_buckets(p, &positive, h->is_float);
    p = put_buckets(p, &negative, h->is_float);
    p = tsdb_put_uvarint(p, custom_count);
    for (uint32_t i = 0; i < custom_count; i++) {
        p = put_double(p, h->custom_values[i]);
    }
    return (size_t)(p - out);
}

static double get_double(struct tsdb_reader *r)
{
    return tsdb_bits_double(tsdb_reader_le64(r));
}

/* Spans, and the number of buckets that they imply, bounded by the bytes that those would need. */
static enum tsdb_status get_spans(struct tsdb_reader *r, struct tsdb_arena *arena,
                                  size_t bucket_bytes_min, const struct tsdb_span **out_spans,
                                  uint32_t *out_count, uint32_t *out_buckets)
{
    uint64_t count = tsdb_reader_count(r, 2);
    if (r->failed || count == 0) {
        return TSDB_OK;
    }
    struct tsdb_span *spans = TSDB_ARENA_ARRAY(arena, struct tsdb_span, count);
    if (!spans) {
        return arena->failure;
    }
    uint64_t buckets = 0;
    for (uint64_t i = 0; i < count; i++) {
        int64_t offset = tsdb_reader_varint(r);
        uint64_t length = tsdb_reader_uvarint(r);
        if (offset < INT32_MIN || offset > INT32_MAX || length > UINT32_MAX) {
            r->failed = true;
        }
        if (r->failed) {
            return TSDB_OK;
        }
        spans[i] = (struct tsdb_span){(int32_t)offset, (uint32_t)length};
        buckets += length; /* at most 2^20 / 2 spans of 2^32 */
    }
    if (buckets > tsdb_reader_left(r) / bucket_bytes_min) {
        r->failed = true;
        return TSDB_OK;
    }
    *out_spans = spans;
    *out_count = (uint32_t)count;
    *out_buckets = (uint32_t)buckets;
    return TSDB_OK;
}

static enum tsdb_status get_doubles(struct tsdb_reader *r, struct tsdb_arena *arena, uint64_t count,
                                    const double **out)
{
    if (r->failed || count == 0) {
        return TSDB_OK;
    }
    double *values = TSDB_ARENA_ARRAY(arena, double, count);
    if (!values) {
        return arena->failure;
    }
    for (uint64_t i = 0; i < count; i++) {
        values[i] = get_double(r);
    }
    *out = values;
    return TSDB_OK;
}

static enum tsdb_status get_deltas(struct tsdb_reader *r, struct tsdb_arena *arena, uint32_t count,
                                   const int64_t **out)
{
    if (r->failed || count == 0) {
        return TSDB_OK;
    }
    int64_t *deltas = TSDB_ARENA_ARRAY(arena, int64_t, count);
    if (!deltas) {
        return arena->failure;
    }
    for (uint32_t i = 0; i < count; i++) {
        deltas[i] = tsdb_reader_varint(r);
    }
    *out = deltas;
    return TSDB_OK;
}

static void get_scalars(struct tsdb_reader *r, struct tsdb_histogram *h)
{
    uint8_t flags = tsdb_reader_u8(r);
    int64_t schema = tsdb_reader_varint(r);
    if ((flags & ~FLAGS_KNOWN) != 0 || schema < INT32_MIN || schema > INT32_MAX ||
        !schema_is_valid((int32_t)schema)) {
        r->failed = true;
        return;
    }
    h->is_float = (flags & FLAG_FLOAT) != 0;
    h->reset_hint = (enum tsdb_reset_hint)(flags >> FLAG_RESET_SHIFT);
    h->schema = (int32_t)schema;
    h->zero_threshold = get_double(r);
    h->sum = get_double(r);
    if (h->is_float) {
        h->count_float = get_double(r);
        h->zero_count_float = get_double(r);
    } else {
        h->count_int = tsdb_reader_uvarint(r);
        h->zero_count_int = tsdb_reader_uvarint(r);
    }
}

static enum tsdb_status get_arrays(struct tsdb_reader *r, struct tsdb_arena *arena,
                                   struct tsdb_histogram *h)
{
    size_t min = h->is_float ? 8 : 1;
    enum tsdb_status status = get_spans(r, arena, min, &h->positive_spans, &h->positive_span_count,
                                        &h->positive_bucket_count);
    if (status == TSDB_OK) {
        status = get_spans(r, arena, min, &h->negative_spans, &h->negative_span_count,
                           &h->negative_bucket_count);
    }
    if ((uint64_t)h->positive_bucket_count + h->negative_bucket_count > tsdb_reader_left(r) / min) {
        r->failed = true;
    }
    if (status == TSDB_OK) {
        status = h->is_float ? get_doubles(r, arena, h->positive_bucket_count, &h->positive_counts)
                             : get_deltas(r, arena, h->positive_bucket_count, &h->positive_deltas);
    }
    if (status == TSDB_OK) {
        status = h->is_float ? get_doubles(r, arena, h->negative_bucket_count, &h->negative_counts)
                             : get_deltas(r, arena, h->negative_bucket_count, &h->negative_deltas);
    }
    if (status == TSDB_OK) {
        h->custom_count = (uint32_t)tsdb_reader_count(r, 8);
        status = get_doubles(r, arena, h->custom_count, &h->custom_values);
    }
    return status;
}

enum tsdb_status tsdb_histogram_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                                       struct tsdb_histogram *out, struct tsdb_error *err)
{
    if (len > TSDB_HISTOGRAM_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "raw histogram: %zu bytes, at most %u", len,
                              (unsigned)TSDB_HISTOGRAM_BYTES_MAX);
    }
    struct tsdb_histogram h = {0};
    struct tsdb_reader r;
    tsdb_reader_init(&r, src, len);
    uint8_t version = tsdb_reader_u8(&r);
    if (!r.failed && version != TSDB_FORMAT_HISTOGRAM) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "raw histogram: version %u, expected %u",
                              version, (unsigned)TSDB_FORMAT_HISTOGRAM);
    }
    get_scalars(&r, &h);
    enum tsdb_status status = r.failed ? TSDB_OK : get_arrays(&r, arena, &h);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "raw histogram: no memory for its buckets");
    }
    if (r.failed || tsdb_reader_left(&r) != 0) {
        uint64_t at = (uint64_t)(r.pos - r.begin);
        return tsdb_error_set_at(err, TSDB_CORRUPT, at,
                                 "raw histogram of %zu bytes: %s at byte %llu", len,
                                 r.failed ? "malformed" : "trailing bytes", (unsigned long long)at);
    }
    *out = h;
    return TSDB_OK;
}

/* ---- copies ---- */

static const void *array_dup(struct tsdb_arena *arena, const void *items, size_t count,
                             size_t bytes_each, bool *ok)
{
    if (count == 0 || !items) {
        return NULL;
    }
    void *copy = tsdb_arena_alloc_array(arena, count, bytes_each, 8);
    if (!copy) {
        *ok = false;
        return NULL;
    }
    memcpy(copy, items, count * bytes_each);
    return copy;
}
#define ARRAY_DUP(items, count) array_dup(arena, h->items, h->count, sizeof *h->items, &ok)

const struct tsdb_histogram *tsdb_histogram_dup(const struct tsdb_histogram *h,
                                                struct tsdb_arena *arena)
{
    struct tsdb_histogram *c = TSDB_ARENA_NEW(arena, struct tsdb_histogram);
    bool ok = c != NULL;
    if (!ok) {
        return NULL;
    }
    *c = *h;
    c->positive_spans = ARRAY_DUP(positive_spans, positive_span_count);
    c->negative_spans = ARRAY_DUP(negative_spans, negative_span_count);
    c->positive_deltas = ARRAY_DUP(positive_deltas, positive_bucket_count);
    c->negative_deltas = ARRAY_DUP(negative_deltas, negative_bucket_count);
    c->positive_counts = ARRAY_DUP(positive_counts, positive_bucket_count);
    c->negative_counts = ARRAY_DUP(negative_counts, negative_bucket_count);
    c->custom_values = ARRAY_DUP(custom_values, custom_count);
    return ok ? c : NULL;
}
