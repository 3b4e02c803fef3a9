#include "tests/support/test.h"

#include "base/limits.h"
#include "base/random.h"
#include "model/histogram.h"
#include "model/sample.h"
#include "model/version.h"
#include "tests/support/guard.h"

#include <math.h>
#include <stdio.h>

#define ARENA_BYTES (64u << 10)

/* ---- examples ---- */

static const struct tsdb_span two_spans[] = {{0, 2}, {1, 2}};
static const int64_t four_deltas[] = {1, 1, -1, 0}; /* 1 2 1 1 */
static const double four_counts[] = {1, 2, 1, 1};
static const double three_bounds[] = {0.1, 1, 10};

/* The example of docs/format/histogram.md. */
static struct tsdb_histogram example_int(void)
{
    return (struct tsdb_histogram){
        .schema = 1,
        .zero_threshold = 0.001,
        .sum = 18.4,
        .count_int = 12,
        .zero_count_int = 2,
        .positive_span_count = 2,
        .positive_spans = two_spans,
        .positive_bucket_count = 4,
        .positive_deltas = four_deltas,
        .negative_span_count = 2,
        .negative_spans = two_spans,
        .negative_bucket_count = 4,
        .negative_deltas = four_deltas,
    };
}

static struct tsdb_histogram example_float(void)
{
    struct tsdb_histogram h = example_int();
    h.is_float = true;
    h.reset_hint = TSDB_RESET_GAUGE;
    h.count_int = h.zero_count_int = 0;
    h.count_float = 12;
    h.zero_count_float = 2;
    h.positive_deltas = h.negative_deltas = NULL;
    h.positive_counts = h.negative_counts = four_counts;
    return h;
}

static const struct tsdb_span custom_span[] = {{0, 4}};
static struct tsdb_histogram example_custom(void)
{
    return (struct tsdb_histogram){
        .schema = TSDB_HISTOGRAM_SCHEMA_CUSTOM,
        .sum = 7,
        .count_int = 5,
        .positive_span_count = 1,
        .positive_spans = custom_span,
        .positive_bucket_count = 4,
        .positive_deltas = four_deltas,
        .custom_count = 3,
        .custom_values = three_bounds,
    };
}

/* ---- comparison, bit by bit ---- */

static void expect_bytes(const void *a, const void *b, size_t len)
{
    if (len > 0) {
        assert_memory_equal(a, b, len);
    }
}

static void expect_equal(const struct tsdb_histogram *a, const struct tsdb_histogram *b)
{
    assert_int_equal(a->is_float, b->is_float);
    assert_int_equal(a->reset_hint, b->reset_hint);
    assert_int_equal(a->schema, b->schema);
    assert_double_bits_equal(a->zero_threshold, b->zero_threshold);
    assert_double_bits_equal(a->sum, b->sum);
    assert_int_equal(a->count_int, b->count_int);
    assert_int_equal(a->zero_count_int, b->zero_count_int);
    assert_double_bits_equal(a->count_float, b->count_float);
    assert_double_bits_equal(a->zero_count_float, b->zero_count_float);
    assert_int_equal(a->positive_span_count, b->positive_span_count);
    assert_int_equal(a->negative_span_count, b->negative_span_count);
    assert_int_equal(a->positive_bucket_count, b->positive_bucket_count);
    assert_int_equal(a->negative_bucket_count, b->negative_bucket_count);
    assert_int_equal(a->custom_count, b->custom_count);
    expect_bytes(a->positive_spans, b->positive_spans,
                 a->positive_span_count * sizeof *a->positive_spans);
    expect_bytes(a->negative_spans, b->negative_spans,
                 a->negative_span_count * sizeof *a->negative_spans);
    if (a->is_float) {
        expect_bytes(a->positive_counts, b->positive_counts, a->positive_bucket_count * 8);
        expect_bytes(a->negative_counts, b->negative_counts, a->negative_bucket_count * 8);
    } else {
        expect_bytes(a->positive_deltas, b->positive_deltas, a->positive_bucket_count * 8);
        expect_bytes(a->negative_deltas, b->negative_deltas, a->negative_bucket_count * 8);
    }
    expect_bytes(a->custom_values, b->custom_values, a->custom_count * 8);
}

static void expect_round_trip(const struct tsdb_histogram *h)
{
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    size_t max = tsdb_histogram_encoded_bytes_max(h);
    uint8_t *raw = test_malloc(max);
    size_t len = tsdb_histogram_encode(h, raw);
    assert_true(len <= max);
    struct tsdb_histogram got;
    struct tsdb_error err;
    assert_ok_err(tsdb_histogram_decode(raw, len, &arena, &got, &err), &err);
    expect_equal(h, &got);
    test_free(raw);
    tsdb_arena_deinit(&arena);
}

static void decode__examples__round_trip(void **state)
{
    (void)state;
    struct tsdb_histogram all[] = {example_int(), example_float(), example_custom()};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(all); i++) {
        struct tsdb_error err;
        assert_ok_err(tsdb_histogram_validate(&all[i], &err), &err);
        expect_round_trip(&all[i]);
        for (int hint = 0; hint <= TSDB_RESET_GAUGE; hint++) {
            all[i].reset_hint = (enum tsdb_reset_hint)hint;
            expect_round_trip(&all[i]);
        }
    }
}

/* Anything that has as many buckets as its spans say, valid or not: all bit patterns, all widths of
 * varints. */
static void decode__random_histograms__round_trip(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 4711);
    for (int round = 0; round < 3000; round++) {
        struct tsdb_span spans[2][8];
        uint64_t buckets[2][32];
        uint64_t custom[8];
        uint32_t bucket_count[2] = {0, 0};
        uint32_t span_count[2];
        for (int side = 0; side < 2; side++) {
            span_count[side] = (uint32_t)tsdb_prng_below(&r, 9);
            for (uint32_t i = 0; i < span_count[side]; i++) {
                uint32_t len = (uint32_t)tsdb_prng_below(&r, 5);
                spans[side][i].offset = (int32_t)(tsdb_prng_next(&r) >> tsdb_prng_below(&r, 64));
                spans[side][i].length = len;
                bucket_count[side] += len;
            }
            for (uint32_t i = 0; i < bucket_count[side]; i++) {
                buckets[side][i] = tsdb_prng_next(&r) >> tsdb_prng_below(&r, 64);
            }
        }
        uint32_t custom_count = (uint32_t)tsdb_prng_below(&r, 9);
        for (uint32_t i = 0; i < custom_count; i++) {
            custom[i] = tsdb_prng_next(&r);
        }
        bool is_float = tsdb_prng_below(&r, 2) == 0;
        int32_t schema = (int32_t)tsdb_prng_below(&r, 13) - 4;
        struct tsdb_histogram h = {
            .is_float = is_float,
            .reset_hint = (enum tsdb_reset_hint)tsdb_prng_below(&r, 4),
            .schema = custom_count > 0 ? TSDB_HISTOGRAM_SCHEMA_CUSTOM : schema,
            .zero_threshold = tsdb_bits_double(tsdb_prng_next(&r)),
            .sum = tsdb_bits_double(tsdb_prng_next(&r) >> tsdb_prng_below(&r, 2)),
            .count_int = is_float ? 0 : tsdb_prng_next(&r) >> tsdb_prng_below(&r, 64),
            .zero_count_int = is_float ? 0 : tsdb_prng_next(&r) >> tsdb_prng_below(&r, 64),
            .count_float = is_float ? tsdb_bits_double(tsdb_prng_next(&r)) : 0,
            .zero_count_float = is_float ? tsdb_bits_double(tsdb_prng_next(&r)) : 0,
            .negative_span_count = span_count[0],
            .positive_span_count = span_count[1],
            .negative_bucket_count = bucket_count[0],
            .positive_bucket_count = bucket_count[1],
            .custom_count = custom_count,
            .negative_spans = spans[0],
            .positive_spans = spans[1],
            .negative_deltas = (const int64_t *)buckets[0],
            .positive_deltas = (const int64_t *)buckets[1],
            .negative_counts = (const double *)(const void *)buckets[0],
            .positive_counts = (const double *)(const void *)buckets[1],
            .custom_values = (const double *)(const void *)custom,
        };
        expect_round_trip(&h);
    }
}

/* ---- the document ---- */

/* Bytes of the first hex dump ("0000  01 00 ...") in docs/format/histogram.md. */
static size_t read_dump(uint8_t *out, size_t cap)
{
    FILE *f = fopen("docs/format/histogram.md", "r");
    if (!f) {
        fail_msg("run the tests from the root of the tree: docs/format/histogram.md not found");
        return 0;
    }
    char line[256];
    size_t len = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned at = 0;
        int used = 0;
        if (sscanf(line, "%4x %n", &at, &used) != 1 || used < 6 || at != len) {
            continue;
        }
        unsigned byte = 0;
        int step = 0;
        for (const char *p = line + used; len < cap && sscanf(p, "%2x%n", &byte, &step) == 1 &&
                                          step == 2 && (p[2] == ' ' || p[2] == '\n');
             p += 3) {
            out[len++] = (uint8_t)byte;
            if (p[2] == '\n' || (p[2] == ' ' && p[3] == ' ')) {
                break;
            }
        }
    }
    fclose(f);
    return len;
}

static void encode__example_of_the_document__its_hex_dump(void **state)
{
    (void)state;
    uint8_t dump[256];
    size_t dump_len = read_dump(dump, sizeof dump);
    struct tsdb_histogram h = example_int();
    uint8_t raw[512];
    size_t len = tsdb_histogram_encode(&h, raw);
    assert_int_equal(dump_len, len);
    assert_memory_equal(dump, raw, len);
}

/* ---- hostile bytes ---- */

static enum tsdb_status decode_only(const uint8_t *raw, size_t len)
{
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    struct tsdb_histogram h = {.schema = 12345};
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_histogram_decode(raw, len, &arena, &h, &err);
    assert_int_equal(err.status, status);
    assert_true(status == TSDB_OK || h.schema == 12345);
    tsdb_arena_deinit(&arena);
    return status;
}

static void decode__every_truncation_at_a_guard_page__corrupt(void **state)
{
    (void)state;
    struct tsdb_histogram all[] = {example_int(), example_float(), example_custom()};
    struct test_guard g;
    test_guard_init(&g, 1024);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(all); i++) {
        uint8_t raw[512];
        size_t len = tsdb_histogram_encode(&all[i], raw);
        for (size_t cut = 0; cut < len; cut++) {
            assert_int_equal(decode_only(test_guard_at_end(&g, raw, cut), cut), TSDB_CORRUPT);
        }
        assert_int_equal(decode_only(test_guard_at_end(&g, raw, len), len), TSDB_OK);
        raw[len] = 0;
        assert_int_equal(decode_only(raw, len + 1), TSDB_CORRUPT);
    }
    test_guard_deinit(&g);
}

static void decode__every_byte_changed__inside_and_consistent(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_int();
    uint8_t raw[512];
    size_t len = tsdb_histogram_encode(&h, raw);
    struct test_guard g;
    test_guard_init(&g, 1024);
    for (size_t i = 0; i < len; i++) {
        for (unsigned v = 0; v < 256; v++) {
            uint8_t *p = test_guard_at_end(&g, raw, len);
            p[i] = (uint8_t)v;
            enum tsdb_status status = decode_only(p, len);
            assert_true(status == TSDB_OK || status == TSDB_CORRUPT ||
                        (i == 0 && status == TSDB_UNSUPPORTED));
        }
    }
    test_guard_deinit(&g);
}

static void decode__fields_out_of_range__corrupt(void **state)
{
    (void)state;
    struct tsdb_histogram h = {.schema = 3};
    uint8_t raw[512];
    size_t len = tsdb_histogram_encode(&h, raw);
    assert_int_equal(decode_only(raw, len), TSDB_OK);
    raw[0] = TSDB_FORMAT_HISTOGRAM + 1;
    assert_int_equal(decode_only(raw, len), TSDB_UNSUPPORTED);
    raw[0] = TSDB_FORMAT_HISTOGRAM;
    raw[1] = 0x08; /* a flag that nobody defined */
    assert_int_equal(decode_only(raw, len), TSDB_CORRUPT);
    raw[1] = 0;
    raw[2] = 18; /* schema 9 */
    assert_int_equal(decode_only(raw, len), TSDB_CORRUPT);
    raw[2] = 16; /* schema 8 */
    assert_int_equal(decode_only(raw, len), TSDB_OK);
}

/* A few bytes that announce many spans, or spans that announce many buckets: refused before memory
 * is asked for. */
static void decode__absurd_counts__corrupt_without_memory(void **state)
{
    (void)state;
    struct tsdb_histogram h = {.schema = 3};
    uint8_t raw[512];
    size_t len = tsdb_histogram_encode(&h, raw);
    uint8_t *counts = raw + len - 3; /* positive spans, negative spans, custom values */
    tsdb_alloc_fail_nth(1, 1);       /* any allocation would give NOMEM */
    for (int i = 0; i < 3; i++) {
        uint8_t hostile[512];
        size_t before = (size_t)(counts - raw) + (size_t)i;
        memcpy(hostile, raw, before);
        uint8_t *p = tsdb_put_uvarint(hostile + before, UINT64_C(1) << 60);
        memset(p, 0, 20);
        assert_int_equal(decode_only(hostile, (size_t)(p - hostile) + 20), TSDB_CORRUPT);
    }
    tsdb_alloc_ops_set(NULL);
    uint8_t hostile[512];
    size_t before = (size_t)(counts - raw);
    memcpy(hostile, raw, before);
    hostile[before] = 1; /* one span */
    hostile[before + 1] = 0;
    uint8_t *p = tsdb_put_uvarint(hostile + before + 2, UINT32_MAX);
    memset(p, 0, 20);
    assert_int_equal(decode_only(hostile, (size_t)(p - hostile) + 20), TSDB_CORRUPT);
}

static void decode__each_allocation_fails__nomem(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_int();
    uint8_t raw[512];
    size_t len = tsdb_histogram_encode(&h, raw);
    struct tsdb_arena arena;
    for (uint64_t nth = 1; nth < 10; nth++) {
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 16, NULL); /* tiny: many chunks */
        tsdb_alloc_fail_nth(nth, 0);
        struct tsdb_histogram got;
        enum tsdb_status status = tsdb_histogram_decode(raw, len, &arena, &got, NULL);
        uint64_t seen = tsdb_alloc_fail_count();
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, seen >= nth ? TSDB_NOMEM : TSDB_OK);
        assert_true(nth > 1 || status == TSDB_NOMEM);
        tsdb_arena_deinit(&arena);
    }
}

static void decode__arena_over_its_account__limit(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_int();
    uint8_t raw[512];
    size_t len = tsdb_histogram_encode(&h, raw);
    struct tsdb_account account;
    tsdb_account_init(&account, 8, NULL);
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1024, &account);
    struct tsdb_histogram got;
    assert_int_equal(tsdb_histogram_decode(raw, len, &arena, &got, NULL), TSDB_LIMIT);
    tsdb_arena_deinit(&arena);
}

/* ---- stale ---- */

static void stale__unchecked_buckets__valid_and_written_without_them(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_float();
    h.sum = tsdb_bits_double(TSDB_STALE_NAN_BITS);
    h.positive_bucket_count = 3; /* not what the spans say */
    h.schema = 77;
    assert_true(tsdb_histogram_is_stale(&h));
    assert_ok(tsdb_histogram_validate(&h, NULL));
    uint8_t raw[512];
    size_t len = tsdb_histogram_encode(&h, raw);
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    struct tsdb_histogram got;
    assert_ok(tsdb_histogram_decode(raw, len, &arena, &got, NULL));
    assert_true(tsdb_histogram_is_stale(&got));
    assert_true(got.is_float);
    assert_int_equal(got.positive_span_count + got.positive_bucket_count + got.custom_count, 0);
    tsdb_arena_deinit(&arena);
    h.sum = tsdb_bits_double(TSDB_NORMAL_NAN_BITS);
    assert_false(tsdb_histogram_is_stale(&h));
}

/* ---- validation ---- */

static void expect_refused(const struct tsdb_histogram *h, const char *text)
{
    struct tsdb_error err = {0};
    assert_int_equal(tsdb_histogram_validate(h, &err), TSDB_INVALID);
    if (!strstr(err.msg, text)) {
        fail_msg("'%s' is not in '%s'", text, err.msg);
    }
}

static void validate__layout_faults__invalid_with_prometheus_text(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_int();
    h.schema = 9;
    expect_refused(&h, "invalid schema, which must be between -4 and 8 for exponential buckets, or "
                       "-53 for custom buckets, got schema 9");
    h.schema = -5;
    expect_refused(&h, "got schema -5");
    h = example_int();
    h.positive_bucket_count = 3;
    expect_refused(&h, "positive side: spans need 4 buckets, have 3 buckets: histogram spans "
                       "specify different number of buckets than provided");
    h = example_int();
    const struct tsdb_span backwards[] = {{0, 2}, {-1, 2}};
    h.negative_spans = backwards;
    expect_refused(&h, "negative side: span number 2 with offset -1: histogram has a span whose "
                       "offset is negative");
    h = example_int();
    const struct tsdb_span first_negative[] = {{-7, 4}};
    h.negative_spans = first_negative;
    h.negative_span_count = 1;
    assert_ok(tsdb_histogram_validate(&h, NULL));
    const struct tsdb_span far[] = {{INT32_MAX - 1, 2}, {0, 2}};
    h.negative_spans = far;
    h.negative_span_count = 2;
    expect_refused(&h, "leads to bucket index");
    h = example_int();
    h.custom_count = 3;
    h.custom_values = three_bounds;
    expect_refused(&h, "histogram with exponential schema must not have custom bounds");
    h = example_int();
    h.positive_bucket_count = TSDB_HISTOGRAM_BUCKETS_MAX;
    expect_refused(&h, "at most 65536");
}

static void validate__integer_counts__must_add_up(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_int();
    h.count_int = 13;
    expect_refused(&h, "12 observations found in buckets, but the Count field is 13: histogram's "
                       "observation count should equal the number of observations found in the "
                       "buckets (in absence of NaN)");
    h.sum = (double)NAN;
    assert_ok(tsdb_histogram_validate(&h, NULL)); /* one observation was NaN */
    h.count_int = 11;
    expect_refused(&h, "should be at least the number of observations found in the buckets");
    h = example_int();
    const int64_t below[] = {1, -2, 3, 0};
    h.negative_deltas = below;
    expect_refused(&h, "negative side: bucket number 2 has observation count of -1: histogram has "
                       "a bucket whose observation count is negative");
    const int64_t overflow[] = {INT64_MAX, 1, 0, 0};
    h.negative_deltas = overflow;
    expect_refused(&h, "negative side: bucket number 2");
    const int64_t huge[] = {INT64_MAX, 0, 0, 0}; /* the total wraps past 2^64 */
    h.negative_deltas = huge;
    expect_refused(&h, "observations found in buckets");
}

static void validate__float_counts__not_negative_and_not_compared(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_float();
    h.count_float = 3;
    assert_ok(tsdb_histogram_validate(&h, NULL));
    const double below[] = {1, -0.5, 0, 0};
    h.positive_counts = below;
    expect_refused(&h, "positive side: bucket number 2 has observation count of -0.5");
    h = example_float();
    h.zero_count_float = -1;
    expect_refused(&h, "zero bucket has observation count of -1");
    h = example_float();
    h.count_float = -1;
    expect_refused(&h, "histogram's observation count is negative");
    h = example_float();
    const double nans[] = {(double)NAN, 0, 0, 0};
    h.positive_counts = nans;
    assert_ok(tsdb_histogram_validate(&h, NULL));
}

static void validate__custom_buckets__bounds_and_nothing_else(void **state)
{
    (void)state;
    struct tsdb_histogram h = example_custom();
    assert_ok(tsdb_histogram_validate(&h, NULL));
    h.custom_count = 2;
    expect_refused(&h,
                   "custom buckets: only 2 custom bounds defined which is insufficient to cover "
                   "total span length of 4: histogram custom bounds are too few");
    h = example_custom();
    const double falling[] = {1, 1, 2};
    h.custom_values = falling;
    expect_refused(&h, "must be in strictly increasing order");
    const double infinite[] = {1, 2, (double)INFINITY};
    h.custom_values = infinite;
    expect_refused(&h, "histogram custom bounds must be finite");
    const double nan_bound[] = {1, (double)NAN, 3};
    h.custom_values = nan_bound;
    expect_refused(&h, "must not be NaN");
    h = example_custom();
    h.zero_count_int = 1;
    expect_refused(&h, "custom buckets: must have zero count of 0");
    h = example_custom();
    h.zero_threshold = 1;
    expect_refused(&h, "custom buckets: must have zero threshold of 0");
    h = example_custom();
    h.negative_spans = custom_span;
    h.negative_span_count = 1;
    expect_refused(&h, "custom buckets: must not have negative spans");
    h.negative_span_count = 0;
    h.negative_bucket_count = 1;
    h.negative_deltas = four_deltas;
    expect_refused(&h, "custom buckets: must not have negative buckets");
    h = example_custom();
    const struct tsdb_span before[] = {{-1, 4}};
    h.positive_spans = before;
    expect_refused(&h, "custom buckets: span number 1 with offset -1");
}

/* ---- reduction ---- */

/* The bucket of schema 8 that holds bucket `index` of `schema`: one halving at a time. */
static int64_t naive_target(int64_t index, int schema)
{
    for (; schema > TSDB_HISTOGRAM_SCHEMA_MAX; schema--) {
        /* Two neighbours (2k - 1, 2k] become k. */
        index = index % 2 == 0 ? index / 2 : (index + 1) / 2;
    }
    return index;
}

/* Counts by bucket index, for small indices. */
#define INDEX_ZERO  2048
#define INDEX_COUNT 4096
static void spread(const struct tsdb_histogram *h, int schema, double *by_index)
{
    int64_t index = 0;
    int64_t count = 0;
    uint32_t bucket = 0;
    memset(by_index, 0, INDEX_COUNT * sizeof *by_index);
    for (uint32_t i = 0; i < h->positive_span_count; i++) {
        index += h->positive_spans[i].offset;
        for (uint32_t j = 0; j < h->positive_spans[i].length; j++, index++, bucket++) {
            count += h->is_float ? 0 : h->positive_deltas[bucket];
            by_index[INDEX_ZERO + naive_target(index, schema)] +=
                h->is_float ? h->positive_counts[bucket] : (double)count;
        }
    }
    assert_int_equal(bucket, h->positive_bucket_count);
}

static void reduce__random_schemas__same_counts_as_halving(void **state)
{
    (void)state;
    static double before[INDEX_COUNT];
    static double after[INDEX_COUNT];
    struct tsdb_prng r;
    tsdb_prng_init(&r, 99);
    for (int round = 0; round < 2000; round++) {
        struct tsdb_span spans[6];
        int64_t deltas[64];
        double counts[64];
        uint32_t n = 0;
        uint32_t span_count = (uint32_t)tsdb_prng_below(&r, 7);
        uint64_t total = 0;
        int64_t last = 0;
        for (uint32_t i = 0; i < span_count; i++) {
            int32_t low = i == 0 ? -100 : 0;
            spans[i] = (struct tsdb_span){(int32_t)tsdb_prng_below(&r, 200) + low,
                                          (uint32_t)tsdb_prng_below(&r, 10)};
            for (uint32_t j = 0; j < spans[i].length; j++, n++) {
                int64_t count = (int64_t)tsdb_prng_below(&r, 1000);
                deltas[n] = count - last;
                counts[n] = (double)count;
                last = count;
                total += (uint64_t)count;
            }
        }
        int schema = 9 + (int)tsdb_prng_below(&r, 44);
        struct tsdb_histogram h = {.is_float = round % 2 == 1,
                                   .schema = schema,
                                   .count_int = total,
                                   .count_float = (double)total,
                                   .positive_span_count = span_count,
                                   .positive_spans = spans,
                                   .positive_bucket_count = n,
                                   .positive_deltas = deltas,
                                   .positive_counts = counts};
        spread(&h, schema, before);
        struct tsdb_arena arena;
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
        assert_ok(tsdb_histogram_reduce(&h, &arena));
        assert_int_equal(h.schema, TSDB_HISTOGRAM_SCHEMA_MAX);
        struct tsdb_error err;
        assert_ok_err(tsdb_histogram_validate(&h, &err), &err);
        spread(&h, TSDB_HISTOGRAM_SCHEMA_MAX, after);
        assert_memory_equal(before, after, sizeof before);
        tsdb_arena_deinit(&arena);
    }
}

static void reduce__other_schemas__left_alone(void **state)
{
    (void)state;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    const int schemas[] = {8, -4, TSDB_HISTOGRAM_SCHEMA_CUSTOM, 53, -9};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(schemas); i++) {
        struct tsdb_histogram h = example_int();
        h.schema = schemas[i];
        struct tsdb_histogram was = h;
        assert_ok(tsdb_histogram_reduce(&h, &arena));
        expect_equal(&was, &h);
    }
    tsdb_arena_deinit(&arena);
}

static void reduce__spans_and_buckets_disagree__validation_names_it(void **state)
{
    (void)state;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    struct tsdb_histogram h = example_int();
    h.schema = 20;
    h.positive_bucket_count = 2;
    assert_ok(tsdb_histogram_reduce(&h, &arena));
    expect_refused(&h, "spans need 4 buckets, have 2 buckets");
    tsdb_arena_deinit(&arena);
}

static void reduce__each_allocation_fails__nomem_and_untouched(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct tsdb_arena arena;
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 16, NULL);
        struct tsdb_histogram h = example_int();
        h.schema = 12;
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = tsdb_histogram_reduce(&h, &arena);
        uint64_t seen = tsdb_alloc_fail_count();
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, seen >= nth ? TSDB_NOMEM : TSDB_OK);
        assert_true(nth > 1 || status == TSDB_NOMEM);
        assert_true(status == TSDB_OK || h.schema == 12);
        tsdb_arena_deinit(&arena);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(decode__examples__round_trip),
    cmocka_unit_test(decode__random_histograms__round_trip),
    cmocka_unit_test(encode__example_of_the_document__its_hex_dump),
    cmocka_unit_test(decode__every_truncation_at_a_guard_page__corrupt),
    cmocka_unit_test(decode__every_byte_changed__inside_and_consistent),
    cmocka_unit_test(decode__fields_out_of_range__corrupt),
    cmocka_unit_test(decode__absurd_counts__corrupt_without_memory),
    cmocka_unit_test(decode__each_allocation_fails__nomem),
    cmocka_unit_test(decode__arena_over_its_account__limit),
    cmocka_unit_test(stale__unchecked_buckets__valid_and_written_without_them),
    cmocka_unit_test(validate__layout_faults__invalid_with_prometheus_text),
    cmocka_unit_test(validate__integer_counts__must_add_up),
    cmocka_unit_test(validate__float_counts__not_negative_and_not_compared),
    cmocka_unit_test(validate__custom_buckets__bounds_and_nothing_else),
    cmocka_unit_test(reduce__random_schemas__same_counts_as_halving),
    cmocka_unit_test(reduce__other_schemas__left_alone),
    cmocka_unit_test(reduce__spans_and_buckets_disagree__validation_names_it),
    cmocka_unit_test(reduce__each_allocation_fails__nomem_and_untouched),
};
TEST_MAIN(tests)
