/* Arithmetic of histograms: worked values, and every rule that has a name. */
#include "tests/support/test.h"

#include "query/hist/bound.h"
#include "query/hist/go_math.h"
#include "query/hist/hist.h"
#include "query/hist/walk.h"

#include "tests/support/query/hist_text.h"

#include "base/alloc.h"

#include <float.h>
#include <math.h>

static struct tsdb_arena arena;

static int setup(void **state)
{
    (void)state;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tsdb_arena_deinit(&arena);
    return 0;
}

static struct hist parse(const char *text)
{
    return hist_text_parse(text, &arena);
}

/* The same content: compacts both. */
static void expect_hist(struct hist *got, const char *text)
{
    struct hist want = parse(text);
    assert_ok(hist_compact(got, &arena));
    assert_ok(hist_compact(&want, &arena));
    if (!hist_equal(got, &want)) {
        fail_msg("count %g sum %g zero %g, %u and %u buckets; expected {%s}", got->count, got->sum,
                 got->zero_count, got->positive.bucket_count, got->negative.bucket_count, text);
    }
    assert_int_equal(got->reset_hint, want.reset_hint);
}

/* ---- bounds ---- */

static void hist_bound__table__prometheus_doubles(void **state)
{
    (void)state;
    static const struct {
        int32_t schema;
        int64_t index;
        double bound;
    } cases[] = {
        {0, 0, 1},
        {0, -1, 0.5},
        {1, 1, 1.414213562373095},
        {1, 2, 2},
        {3, 1, 1.0905077326652577},
        {3, 2, 1.189207115002721},
        {3, 3, 1.2968395546510096},
        {3, 4, 1.414213562373095},
        {8, 1, 2 * 0.5013556375251013},
        {8, 255, 2 * 0.9972960560854698},
        {8, -1, 0.9972960560854698},
        {-1, 1, 4},
        {-4, -1, 1.0 / 65536},
        {0, 1024, DBL_MAX},
        {0, 1025, (double)INFINITY},
        {8, 1024 * 256, DBL_MAX},
        {8, 1024 * 256 + 1, (double)INFINITY},
        {-4, 64, DBL_MAX},
        {-4, 65, (double)INFINITY},
        {0, -1074, 4.9406564584124654e-324},
        {0, -1075, 0},
        {8, INT32_MIN, 0},
        {-4, INT32_MAX, (double)INFINITY},
        {-4, INT64_C(1) << 33, (double)INFINITY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_double_bits_equal(hist_bound(cases[i].schema, cases[i].index), cases[i].bound);
    }
    assert_double_bits_equal(hist_bound(3, 1), 1.0905077326652577);
}

/* All 256, hashed (FNV-1a over the bits), as they stand in Prometheus's source. */
static void hist_bound__whole_table__hash_of_prometheus(void **state)
{
    (void)state;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int64_t i = 0; i < 256; i++) {
        hash = (hash ^ tsdb_double_bits(hist_bound(8, i))) * UINT64_C(0x100000001b3);
    }
    assert_int_equal(hash, UINT64_C(0xc39489a2c419aae6));
}

static void hist_bound__lower_schema__every_other_bound(void **state)
{
    (void)state;
    for (int32_t schema = TSDB_HISTOGRAM_SCHEMA_MIN; schema < TSDB_HISTOGRAM_SCHEMA_MAX; schema++) {
        for (int64_t i = -600; i <= 600; i++) {
            assert_double_bits_equal(hist_bound(schema, i), hist_bound(schema + 1, 2 * i));
            assert_true(hist_bound(schema, i) <= hist_bound(schema, i + 1));
        }
    }
}

static void hist_custom_bound__ends__infinite(void **state)
{
    (void)state;
    const double custom[] = {5, 10};
    assert_double_bits_equal(hist_custom_bound(custom, 2, -1), -(double)INFINITY);
    assert_double_bits_equal(hist_custom_bound(custom, 2, 0), 5);
    assert_double_bits_equal(hist_custom_bound(custom, 2, 1), 10);
    assert_double_bits_equal(hist_custom_bound(custom, 2, 2), (double)INFINITY);
    assert_double_bits_equal(hist_custom_bound(NULL, 0, 0), (double)INFINITY);
}

static void go_math__powers_of_two__exact_and_near_libm(void **state)
{
    (void)state;
    for (int i = -1074; i < 1024; i++) {
        assert_double_bits_equal(go_log2(ldexp(1, i)), i);
        assert_double_bits_equal(go_exp2(i), ldexp(1, i));
    }
    for (double x = 0.001; x < 1e6; x *= 1.0137) {
        assert_true(fabs(go_log2(x) - log2(x)) <= 4e-16 * fmax(1, fabs(log2(x))));
        double y = go_log2(x);
        assert_true(fabs(go_exp2(y) / exp2(y) - 1) < 4e-16);
    }
    assert_double_bits_equal(go_exp2(0.5), 1.414213562373095); /* the C library: ...0951 */
    assert_double_bits_equal(go_log2(0), -(double)INFINITY);
    assert_double_bits_equal(go_log2((double)INFINITY), (double)INFINITY);
    assert_true(isnan(go_log2(-1)) && isnan(go_log2((double)NAN)) && isnan(go_exp2((double)NAN)));
    assert_double_bits_equal(go_exp2((double)INFINITY), (double)INFINITY);
    assert_double_bits_equal(go_exp2(-(double)INFINITY), 0);
    assert_double_bits_equal(go_exp2(1024), (double)INFINITY);
    assert_double_bits_equal(go_exp2(-1075), 0);
}

/* ---- view, model, copy ---- */

static void hist_view__integer__counts_added_up(void **state)
{
    (void)state;
    const struct tsdb_span spans[] = {{-1, 2}, {3, 1}};
    const int64_t deltas[] = {1, 2, -1};
    const struct tsdb_histogram m = {.schema = 2,
                                     .sum = 7,
                                     .count_int = 9,
                                     .zero_count_int = 3,
                                     .zero_threshold = 0.5,
                                     .reset_hint = TSDB_RESET_NO,
                                     .positive_spans = spans,
                                     .positive_span_count = 2,
                                     .positive_deltas = deltas,
                                     .positive_bucket_count = 3};
    struct hist h;
    assert_ok(hist_view(&m, &arena, &h));
    assert_ok(hist_validate(&h, NULL));
    expect_hist(&h, "schema:2 sum:7 count:9 z_bucket:3 z_bucket_w:0.5 offset:-1 "
                    "buckets:[1 3 0 0 0 2] counter_reset_hint:not_reset");
    struct tsdb_histogram back;
    hist_model(&h, &back);
    assert_true(back.is_float && back.count_float == 9 && back.zero_count_float == 3);
    assert_int_equal(back.positive_bucket_count, 3);
    assert_double_bits_equal(back.positive_counts[1], 3);
}

static void hist_view__float__never_written_to(void **state)
{
    (void)state;
    struct tsdb_span spans[] = {{0, 2}};
    double counts[] = {1, 2};
    const struct tsdb_histogram m = {.is_float = true,
                                     .count_float = 3,
                                     .positive_spans = spans,
                                     .positive_span_count = 1,
                                     .positive_counts = counts,
                                     .positive_bucket_count = 2};
    struct hist h;
    assert_ok(hist_view(&m, &arena, &h));
    struct hist kept = h; /* both borrow */
    struct hist other = parse("count:9 offset:-2 buckets:[4 0 0 5]");
    assert_ok(hist_add(&h, &other, &arena, NULL));
    assert_ok(hist_mul(&h, 10, &arena));
    assert_ok(hist_trim(&h, 1, true, &arena));
    assert_double_bits_equal(counts[0], 1);
    assert_double_bits_equal(counts[1], 2);
    assert_int_equal(spans[0].length, 2);
    expect_hist(&kept, "count:3 buckets:[1 2]");
}

static void hist_view__spans_and_buckets_disagree__corrupt(void **state)
{
    (void)state;
    static const struct {
        struct tsdb_span spans[2];
        uint32_t bucket_count;
        int32_t schema;
    } cases[] = {
        {{{0, 1}, {0, 1}}, 1, 0},         {{{0, 1}, {0, 2}}, 2, 0},
        {{{0, 1}, {-1, 1}}, 2, 0},        {{{0, UINT32_MAX}, {0, 3}}, 2, 0},
        {{{INT32_MAX, 1}, {0, 1}}, 2, 0}, {{{INT32_MAX, 0}, {INT32_MAX, 2}}, 2, 0},
        {{{0, 1}, {0, 1}}, 2, 9},         {{{0, 1}, {0, 1}}, 2, -5},
        {{{0, 1}, {0, 1}}, 2, INT32_MIN},
    };
    double counts[2] = {1, 2};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hist untouched = {.count = 42};
        const struct tsdb_histogram m = {.is_float = true,
                                         .schema = cases[i].schema,
                                         .negative_spans = cases[i].spans,
                                         .negative_span_count = 2,
                                         .negative_counts = counts,
                                         .negative_bucket_count = cases[i].bucket_count};
        assert_int_equal(hist_view(&m, &arena, &untouched), TSDB_CORRUPT);
        assert_double_bits_equal(untouched.count, 42);
    }
}

static void hist_copy__used_again__independent(void **state)
{
    (void)state;
    struct hist a = parse("schema:1 count:6 sum:3 buckets:[1 2 3] n_buckets:[4]");
    struct hist c = parse("schema:-53 count:3 custom_values:[1 2] buckets:[1 2]");
    struct hist copy = {0};
    assert_ok(hist_copy(&copy, &a, &arena));
    assert_ok(hist_add_compensated(&copy, &a, &arena, NULL));
    assert_ok(hist_copy(&copy, &c, &arena));
    assert_false(copy.compensated);
    assert_ok(hist_mul(&copy, 2, &arena));
    expect_hist(&copy, "schema:-53 count:6 custom_values:[1 2] buckets:[2 4]");
    assert_ok(hist_copy(&copy, &a, &arena));
    expect_hist(&copy, "schema:1 count:6 sum:3 buckets:[1 2 3] n_buckets:[4]");
    expect_hist(&c, "schema:-53 count:3 custom_values:[1 2] buckets:[1 2]");
}

/* ---- equality, scaling ---- */

static void hist_equal__one_thing_differs__not_equal(void **state)
{
    (void)state;
    static const char *const different[] = {
        "schema:1 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[3] x",
        "schema:0 count:4 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[3]",
        "schema:0 count:3 sum:5 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:2 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.6 buckets:[1 0 2] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 3] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 -0 2] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2 0] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 offset:1 buckets:[1 0 2] n_buckets:[3]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[4]",
        "schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2]",
        "schema:0 count:3 sum:NaN z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[3]",
    };
    struct hist a =
        parse("schema:0 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] n_buckets:[3] "
              "counter_reset_hint:gauge");
    for (size_t i = 0; i < sizeof different / sizeof different[0]; i++) {
        struct hist b = parse(different[i]);
        assert_int_equal(hist_equal(&a, &b), i == 1); /* the hint does not matter */
        assert_int_equal(hist_equal(&b, &a), i == 1);
        assert_true(hist_equal(&b, &b)); /* NaN too: bits */
    }
    struct hist c = parse("schema:-53 count:1 custom_values:[1 2] buckets:[1]");
    struct hist d = parse("schema:-53 count:1 custom_values:[1 3] buckets:[1]");
    assert_false(hist_equal(&c, &d));
    assert_true(hist_equal(&c, &c));
}

static void hist_equal__empty_spans__overlooked(void **state)
{
    (void)state;
    const double counts[] = {1, 2};
    const struct tsdb_span many[] = {{0, 0}, {2, 1}, {1, 0}, {2, 0}, {0, 1}, {7, 0}};
    const struct tsdb_span few[] = {{2, 1}, {3, 1}};
    const struct tsdb_span other[] = {{2, 1}, {4, 1}};
    struct hist a = {
        .positive = {.spans = many, .span_count = 6, .counts = counts, .bucket_count = 2}};
    struct hist b = {
        .positive = {.spans = few, .span_count = 2, .counts = counts, .bucket_count = 2}};
    struct hist c = {
        .positive = {.spans = other, .span_count = 2, .counts = counts, .bucket_count = 2}};
    assert_true(hist_equal(&a, &b) && hist_equal(&b, &a));
    assert_false(hist_equal(&a, &c) || hist_equal(&c, &a));
    assert_ok(hist_compact(&a, &arena));
    assert_int_equal(a.positive.span_count, 2);
    assert_true(hist_equal(&a, &b));
}

static void hist_mul_div__signs_and_zero__gauge_and_no_buckets(void **state)
{
    (void)state;
    const char *text = "count:4 sum:8 z_bucket:2 z_bucket_w:0.1 buckets:[2 4] n_buckets:[6]";
    struct hist h = parse(text);
    assert_ok(hist_mul(&h, -1, &arena));
    expect_hist(&h, "count:-4 sum:-8 z_bucket:-2 z_bucket_w:0.1 buckets:[-2 -4] n_buckets:[-6] "
                    "counter_reset_hint:gauge");
    h = parse(text);
    assert_ok(hist_div(&h, 2, &arena));
    expect_hist(&h, "count:2 sum:4 z_bucket:1 z_bucket_w:0.1 buckets:[1 2] n_buckets:[3]");
    assert_ok(hist_div(&h, -1, &arena));
    assert_int_equal(h.reset_hint, TSDB_RESET_GAUGE);
    h = parse(text);
    assert_ok(hist_div(&h, 0, &arena));
    expect_hist(&h, "count:Inf sum:Inf z_bucket:Inf z_bucket_w:0.1");
    assert_true(hist_has_overflow(&h));
    h = parse(text);
    assert_false(hist_has_overflow(&h));
    assert_ok(hist_mul(&h, 0, &arena));
    expect_hist(&h, "z_bucket_w:0.1");
}

/* ---- layout ---- */

static void hist_compact__holes__canonical_spans(void **state)
{
    (void)state;
    const struct tsdb_span spans[] = {{-3, 2}, {0, 0}, {0, 3}, {2, 1}, {0, 1}};
    const double counts[] = {0, 1, 2, 0, 3, 0, 4};
    struct hist h = {
        .positive = {.spans = spans, .span_count = 5, .counts = counts, .bucket_count = 7}};
    assert_ok(hist_compact(&h, &arena));
    const struct tsdb_span want[] = {{-2, 2}, {1, 1}, {3, 1}};
    assert_int_equal(h.positive.span_count, 3);
    assert_memory_equal(h.positive.spans, want, sizeof want);
    assert_int_equal(h.positive.bucket_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_double_bits_equal(h.positive.counts[i], i + 1);
    }
    assert_int_equal(spans[0].offset, -3);
}

static void hist_reduce__neighbours__joined(void **state)
{
    (void)state;
    struct hist h = parse("schema:2 count:1 offset:-3 buckets:[1 2 3 4 5 6 7 8 9] n_buckets:[1 2]");
    assert_ok(hist_reduce(&h, 1, &arena));
    expect_hist(&h, "schema:1 count:1 offset:-1 buckets:[3 7 11 15 9] n_buckets:[1 2]");
    assert_ok(hist_reduce(&h, -4, &arena));
    expect_hist(&h, "schema:-4 count:1 buckets:[10 35] n_buckets:[1 2]");
    assert_ok(hist_reduce(&h, -4, &arena));
    expect_hist(&h, "schema:-4 count:1 buckets:[10 35] n_buckets:[1 2]");
}

/* ---- adding ---- */

static void hist_add__buckets_interleave__spans_as_prometheus(void **state)
{
    (void)state;
    static const struct {
        const char *b;
        struct tsdb_span spans[5];
        uint32_t span_count;
    } cases[] = {
        /* to buckets 0 1, 5 6, 9 */
        {"offset:2 buckets:[1]", {{0, 3}, {2, 2}, {2, 1}}, 3},
        {"offset:4 buckets:[1]", {{0, 2}, {2, 3}, {2, 1}}, 3},
        {"offset:3 buckets:[1]", {{0, 2}, {1, 1}, {1, 2}, {2, 1}}, 4},
        {"offset:2 buckets:[1 1 1]", {{0, 5}, {0, 2}, {2, 1}}, 3},
        {"offset:3 buckets:[1 1]", {{0, 2}, {1, 2}, {0, 2}, {2, 1}}, 4},
        {"offset:-1 buckets:[1]", {{-1, 3}, {3, 2}, {2, 1}}, 3},
        {"offset:-3 buckets:[1]", {{-3, 1}, {2, 2}, {3, 2}, {2, 1}}, 4},
        {"offset:-2 buckets:[1 1]", {{-2, 2}, {0, 2}, {3, 2}, {2, 1}}, 4},
        {"offset:10 buckets:[1 1]", {{0, 2}, {3, 2}, {2, 3}}, 3},
        {"offset:12 buckets:[1]", {{0, 2}, {3, 2}, {2, 1}, {2, 1}}, 4},
        {"offset:0 buckets:[1 1]", {{0, 2}, {3, 2}, {2, 1}}, 3},
    };
    const struct tsdb_span spans[] = {{0, 2}, {3, 2}, {2, 1}};
    const double counts[] = {10, 11, 15, 16, 19};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hist h = {
            .negative = {.spans = spans, .span_count = 3, .counts = counts, .bucket_count = 5}};
        struct hist other = parse(cases[i].b);
        other.negative = other.positive;
        other.positive = (struct hist_side){0};
        assert_ok(hist_add(&h, &other, &arena, NULL));
        assert_int_equal(h.negative.span_count, cases[i].span_count);
        assert_memory_equal(h.negative.spans, cases[i].spans,
                            cases[i].span_count * sizeof(struct tsdb_span));
        assert_ok(hist_validate(&h, NULL));
    }
}

static void hist_sub__new_buckets__negated(void **state)
{
    (void)state;
    struct hist a = parse("count:3 sum:10 buckets:[1 2]");
    struct hist b = parse("count:4 sum:4 buckets:[1 0 3] n_buckets:[2]");
    assert_ok(hist_sub(&a, &b, &arena, NULL));
    expect_hist(&a, "count:-1 sum:6 buckets:[0 2 -3] n_buckets:[-2]");
    struct hist self = parse("count:3 sum:10 z_bucket:1 buckets:[1 2]");
    assert_ok(hist_add(&self, &self, &arena, NULL));
    expect_hist(&self, "count:6 sum:20 z_bucket:2 buckets:[2 4]");
    assert_ok(hist_sub(&self, &self, &arena, NULL));
    expect_hist(&self, "");
}

static void hist_add__different_schemas__coarser_wins(void **state)
{
    (void)state;
    struct hist a = parse("schema:1 count:6 sum:1 buckets:[1 2 3]");
    struct hist b = parse("schema:0 count:5 sum:2 buckets:[1 4]");
    struct hist ab = a;
    assert_ok(hist_add(&ab, &b, &arena, NULL));
    expect_hist(&ab, "schema:0 count:11 sum:3 buckets:[2 9]");
    assert_ok(hist_add(&b, &a, &arena, NULL));
    expect_hist(&b, "schema:0 count:11 sum:3 buckets:[2 9]");
}

static void hist_add__different_zero_buckets__wide_enough_for_both(void **state)
{
    (void)state;
    /* 0.75 cuts (0.5, 1] of a, which is populated: the zero bucket ends at 1. */
    struct hist a = parse("count:9 z_bucket:1 z_bucket_w:0.25 offset:-1 buckets:[2 3 4]");
    struct hist b = parse("count:7 z_bucket:5 z_bucket_w:0.75 offset:1 buckets:[2]");
    struct hist ab = a;
    assert_ok(hist_add(&ab, &b, &arena, NULL));
    expect_hist(&ab, "count:16 z_bucket:11 z_bucket_w:1 offset:1 buckets:[6]");
    struct hist ba = b;
    assert_ok(hist_add(&ba, &a, &arena, NULL));
    expect_hist(&ba, "count:16 z_bucket:11 z_bucket_w:1 offset:1 buckets:[6]");
    /* An empty bucket may be cut. */
    struct hist c = parse("count:4 z_bucket:1 z_bucket_w:0.25 offset:-1 buckets:[0 0 3]");
    assert_ok(hist_add(&c, &b, &arena, NULL));
    expect_hist(&c, "count:11 z_bucket:6 z_bucket_w:0.75 offset:1 buckets:[5]");
    /* The negative side raises it as well. */
    struct hist n = parse("count:4 z_bucket:1 n_buckets:[3]");
    assert_ok(hist_sub(&n, &b, &arena, NULL));
    expect_hist(&n, "count:-3 z_bucket:-1 z_bucket_w:1 offset:1 buckets:[-2]");
}

static void hist_add__custom_bounds_differ__common_ones_remain(void **state)
{
    (void)state;
    struct hist_effects effects = {0};
    struct hist a = parse("schema:-53 count:10 sum:1 custom_values:[1 2 3 5] buckets:[1 2 3 4 5]");
    struct hist b = parse("schema:-53 count:10 sum:2 custom_values:[1 3 4] buckets:[10 20 30 40]");
    assert_ok(hist_add(&a, &b, &arena, &effects));
    assert_true(effects.bounds_reconciled && !effects.hint_conflict);
    expect_hist(&a, "schema:-53 count:20 sum:3 custom_values:[1 3] buckets:[11 25 79]");
    effects.bounds_reconciled = false;
    struct hist same = parse("schema:-53 count:1 custom_values:[1 3] buckets:[1]");
    assert_ok(hist_sub(&a, &same, &arena, &effects));
    assert_false(effects.bounds_reconciled);
    expect_hist(&a, "schema:-53 count:19 sum:3 custom_values:[1 3] buckets:[10 25 79]");
    struct hist none = parse("schema:-53 count:1 custom_values:[7] buckets:[1 2]");
    assert_ok(hist_sub(&a, &none, &arena, &effects));
    assert_true(effects.bounds_reconciled);
    expect_hist(&a, "schema:-53 count:18 sum:3 buckets:[111]");
}

static void hist_add__exponential_with_custom__invalid_and_unchanged(void **state)
{
    (void)state;
    struct hist a = parse("count:1 buckets:[1] counter_reset_hint:reset");
    struct hist b = parse("schema:-53 count:1 custom_values:[1] buckets:[1]");
    struct hist_effects effects = {0};
    struct hist_mean mean = {0};
    assert_int_equal(hist_add(&a, &b, &arena, &effects), TSDB_INVALID);
    assert_int_equal(hist_sub(&b, &a, &arena, &effects), TSDB_INVALID);
    assert_int_equal(hist_add_compensated(&a, &b, &arena, &effects), TSDB_INVALID);
    assert_ok(hist_mean_add(&mean, &a, &arena, &effects));
    assert_int_equal(hist_mean_add(&mean, &b, &arena, &effects), TSDB_INVALID);
    assert_false(effects.hint_conflict || effects.bounds_reconciled || a.compensated);
    expect_hist(&a, "count:1 buckets:[1] counter_reset_hint:reset");
}

static void hist_join_hints__every_pair__as_prometheus(void **state)
{
    (void)state;
    enum {
        U = TSDB_RESET_UNKNOWN,
        Y = TSDB_RESET_YES,
        N = TSDB_RESET_NO,
        G = TSDB_RESET_GAUGE
    };
    static const int want[4][4] = {
        [U] = {[U] = U, [Y] = U, [N] = U, [G] = G},
        [Y] = {[U] = U, [Y] = Y, [N] = U, [G] = G},
        [N] = {[U] = U, [Y] = U, [N] = N, [G] = G},
        [G] = {[U] = G, [Y] = G, [N] = G, [G] = G},
    };
    for (int a = 0; a < 4; a++) {
        for (int b = 0; b < 4; b++) {
            bool conflict = false;
            assert_int_equal(
                hist_join_hints((enum tsdb_reset_hint)a, (enum tsdb_reset_hint)b, &conflict),
                want[a][b]);
            assert_int_equal(conflict, (a == Y && b == N) || (a == N && b == Y));
            struct hist h = {.reset_hint = (enum tsdb_reset_hint)a};
            struct hist other = {.reset_hint = (enum tsdb_reset_hint)b};
            struct hist_effects effects = {0};
            assert_ok(hist_sub(&h, &other, &arena, &effects));
            assert_int_equal(h.reset_hint, want[a][b]);
            assert_int_equal(effects.hint_conflict, conflict);
        }
    }
}

static void hist_add_compensated__small_beside_large__not_lost(void **state)
{
    (void)state;
    struct hist large = parse("count:1e16 sum:1e16 z_bucket:1e16 buckets:[1e16] n_buckets:[1e16]");
    struct hist one = parse("count:1 sum:1 z_bucket:1 buckets:[1] n_buckets:[1]");
    struct hist minus =
        parse("count:-1e16 sum:-1e16 z_bucket:-1e16 buckets:[-1e16] n_buckets:[-1e16]");
    struct hist h = large;
    assert_ok(hist_add_compensated(&h, &one, &arena, NULL));
    assert_ok(hist_add_compensated(&h, &one, &arena, NULL));
    assert_ok(hist_add_compensated(&h, &minus, &arena, NULL));
    hist_settle(&h);
    hist_settle(&h); /* once is enough */
    expect_hist(&h, "count:2 sum:2 z_bucket:2 buckets:[2] n_buckets:[2]");
    h = large;
    assert_ok(hist_add_compensated(&h, &one, &arena, NULL));
    assert_ok(hist_mul(&h, 2, &arena));
    assert_ok(hist_div(&h, 4, &arena));
    struct hist half =
        parse("count:-5e15 sum:-5e15 z_bucket:-5e15 buckets:[-5e15] n_buckets:[-5e15]");
    assert_ok(hist_add_compensated(&h, &half, &arena, NULL));
    hist_settle(&h);
    expect_hist(&h, "count:0.5 sum:0.5 z_bucket:0.5 buckets:[0.5] n_buckets:[0.5]");
}

static void hist_add_compensated__layout_changes__residues_follow(void **state)
{
    (void)state;
    struct hist h = parse("schema:1 count:1 offset:-1 buckets:[1e16 1e16 1e16]");
    struct hist one = parse("schema:1 count:1 offset:-1 buckets:[1 1 1]");
    struct hist wider = parse("schema:0 count:1 z_bucket_w:0.5 offset:3 buckets:[7]");
    struct hist minus = parse("schema:0 count:1 z_bucket_w:0.5 buckets:[-2e16 -1e16]");
    assert_ok(hist_add_compensated(&h, &one, &arena, NULL));
    assert_ok(hist_add_compensated(&h, &wider, &arena, NULL));
    assert_ok(hist_add_compensated(&h, &minus, &arena, NULL));
    hist_settle(&h);
    expect_hist(&h, "schema:0 count:4 z_bucket_w:0.5 buckets:[2 1 0 7]");
    /* What is lost when buckets are joined is kept too: of h and of what is added. */
    struct hist fine = parse("schema:1 count:1 offset:1 buckets:[1e16 1]");
    struct hist twice = parse("schema:0 count:-2 offset:1 buckets:[-2e16]");
    h = parse("schema:1 count:0 offset:1 buckets:[1e16 1]");
    struct hist zero = parse("schema:0 count:0");
    assert_ok(hist_add_compensated(&h, &zero, &arena, NULL));
    assert_ok(hist_add_compensated(&h, &fine, &arena, NULL));
    assert_ok(hist_add_compensated(&h, &twice, &arena, NULL));
    hist_settle(&h);
    expect_hist(&h, "schema:0 count:-1 offset:1 buckets:[2]");
    struct hist c = parse("schema:-53 count:1 custom_values:[1 2 3] buckets:[1e16 1e16 1e16 0]");
    struct hist d = parse("schema:-53 count:1 custom_values:[1 2 3] buckets:[1 1 1 1]");
    struct hist e = parse("schema:-53 count:1 custom_values:[2] buckets:[-2e16 -1e16]");
    assert_ok(hist_add_compensated(&c, &d, &arena, NULL));
    assert_ok(hist_add_compensated(&c, &e, &arena, NULL));
    hist_settle(&c);
    expect_hist(&c, "schema:-53 count:3 custom_values:[2] buckets:[2 2]");
}

static void hist_mean__sum_would_overflow__incremental(void **state)
{
    (void)state;
    struct hist h = parse("count:4 sum:1e308 buckets:[1.6e308 4]");
    struct hist_mean m = {0};
    for (int i = 0; i < 5; i++) {
        assert_ok(hist_mean_add(&m, &h, &arena, NULL));
    }
    assert_ok(hist_mean_finish(&m, &arena));
    assert_true(m.incremental);
    assert_true(fabs(m.h.sum / 1e308 - 1) < 1e-15);
    assert_true(fabs(m.h.positive.counts[0] / 1.6e308 - 1) < 1e-15);
    assert_true(fabs(m.h.positive.counts[1] / 4 - 1) < 1e-15);
    struct hist_mean single = {0};
    struct hist inf = parse("count:Inf sum:Inf buckets:[Inf]");
    assert_ok(hist_mean_add(&single, &inf, &arena, NULL));
    assert_ok(hist_mean_finish(&single, &arena));
    expect_hist(&single.h, "count:Inf sum:Inf buckets:[Inf]");
    struct hist_mean none = {0};
    assert_ok(hist_mean_finish(&none, &arena));
}

static void hist_add__many_of_one_layout__no_allocation(void **state)
{
    (void)state;
    struct hist h = parse("schema:3 count:1 buckets:[1 2 3]");
    struct hist fine = parse("schema:5 count:1 buckets:[1 2 3 4 5 6 7 8 9]");
    struct hist custom = parse("schema:-53 count:1 custom_values:[1 2 3] buckets:[1 2 3 4]");
    struct hist other = parse("schema:-53 count:1 custom_values:[1 3] buckets:[1 2 3]");
    struct hist_mean m = {0};
    assert_ok(hist_add_compensated(&h, &fine, &arena, NULL));
    assert_ok(hist_add_compensated(&other, &custom, &arena, NULL));
    assert_ok(hist_mean_add(&m, &fine, &arena, NULL));
    assert_ok(hist_mean_add(&m, &h, &arena, NULL));
    size_t before = arena.total_bytes;
    uint8_t *pos = arena.pos;
    for (int i = 0; i < 1000; i++) {
        assert_ok(hist_add_compensated(&h, &fine, &arena, NULL));
        assert_ok(hist_add_compensated(&other, &custom, &arena, NULL));
        assert_ok(hist_mean_add(&m, &fine, &arena, NULL));
    }
    assert_int_equal(arena.total_bytes, before);
    assert_ptr_equal(arena.pos, pos);
}

static void hist_operations__no_memory__status_and_no_crash(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct tsdb_arena a;
        struct hist h = parse("schema:2 count:9 sum:1 z_bucket:1 buckets:[1 2 3] n_buckets:[1]");
        struct hist b = parse("schema:1 count:9 z_bucket_w:1 offset:-9 buckets:[1 2] n_offset:7 "
                              "n_buckets:[1]");
        struct hist c = parse("schema:-53 count:1 custom_values:[1 2 3] buckets:[1 2 3 4]");
        struct hist d = parse("schema:-53 count:1 custom_values:[1 3] buckets:[1 2 3]");
        tsdb_arena_init(&a, TSDB_MEM_QUERY, 8, NULL); /* every allocation is one of the system's */
        tsdb_alloc_fail_nth(nth, 0);
        struct hist_mean m = {0};
        enum tsdb_status status = hist_add(&h, &b, &a, NULL);
        status = status == TSDB_OK ? hist_compact(&h, &a) : status;
        status = status == TSDB_OK ? hist_mean_add(&m, &h, &a, NULL) : status;
        status = status == TSDB_OK ? hist_mean_add(&m, &b, &a, NULL) : status;
        status = status == TSDB_OK ? hist_mean_finish(&m, &a) : status;
        status = status == TSDB_OK ? hist_trim(&m.h, 3, true, &a) : status;
        status = status == TSDB_OK ? hist_add_compensated(&c, &d, &a, NULL) : status;
        uint64_t seen = tsdb_alloc_fail_count();
        tsdb_alloc_fail_nth(0, 0);
        tsdb_arena_deinit(&a);
        if (status == TSDB_OK) {
            assert_true(seen < nth);
            return;
        }
        assert_int_equal(status, TSDB_NOMEM);
    }
}

/* ---- resets ---- */

static void hist_detect_reset__rules__as_prometheus(void **state)
{
    (void)state;
    static const struct {
        const char *before, *now;
        bool reset;
    } cases[] = {
        {"count:3 buckets:[1 2]", "count:3 buckets:[1 2]", false},
        {"count:3 buckets:[1 2]", "count:4 buckets:[1 3]", false},
        {"count:3 buckets:[1 2]", "count:2 buckets:[1 2]", true},
        {"count:3 buckets:[1 2]", "count:3 buckets:[2 1]", true},
        {"count:3 buckets:[1 2]", "count:3 buckets:[3]", true},
        {"count:3 buckets:[1 0]", "count:3 buckets:[3]", false},
        {"count:3 buckets:[1 2]", "count:3", true},
        {"count:3 buckets:[0 0]", "count:3", false},
        {"count:3 offset:-4 buckets:[1]", "count:3 buckets:[3]", true},
        {"count:3 n_buckets:[2]", "count:3 n_buckets:[1]", true},
        {"count:3 n_buckets:[2]", "count:3 buckets:[2]", true},
        {"count:3 sum:9 buckets:[3]", "count:3 sum:1 buckets:[3]", false},
        {"count:3 z_bucket:2", "count:3 z_bucket:1", true},
        /* hints */
        {"count:3 buckets:[3]", "count:9 buckets:[9] counter_reset_hint:reset", true},
        {"count:9 buckets:[9]", "count:3 buckets:[3] counter_reset_hint:not_reset", false},
        {"count:9 buckets:[9]", "count:3 buckets:[3] counter_reset_hint:gauge", true},
        {"count:3 buckets:[3]", "count:9 buckets:[9] counter_reset_hint:gauge", false},
        /* schemas */
        {"schema:0 count:3 buckets:[3]", "schema:1 count:3 buckets:[3]", true},
        {"schema:1 count:6 buckets:[1 2 3]", "schema:0 count:6 buckets:[1 5]", false},
        {"schema:1 count:6 buckets:[1 2 3]", "schema:0 count:6 buckets:[2 4]", true},
        /* zero buckets */
        {"count:3 z_bucket:1 z_bucket_w:1", "count:3 z_bucket:1 z_bucket_w:0.5", true},
        {"count:3 z_bucket:1 buckets:[2]", "count:3 z_bucket:3 z_bucket_w:1", false},
        {"count:3 z_bucket:1 buckets:[2]", "count:3 z_bucket:2 z_bucket_w:1", true},
        {"count:3 z_bucket:1 buckets:[2]", "count:3 z_bucket:3 z_bucket_w:0.7", true},
        {"count:3 z_bucket:1 buckets:[0 2]", "count:3 z_bucket:1 z_bucket_w:0.7 buckets:[0 2]",
         false},
        {"count:3 z_bucket:1 n_buckets:[2]", "count:3 z_bucket:3 z_bucket_w:0.7", true},
        /* custom buckets */
        {"schema:-53 count:3 custom_values:[1 2] buckets:[1 2]",
         "schema:-53 count:3 custom_values:[1 2] buckets:[1 2]", false},
        {"schema:-53 count:3 custom_values:[1 2] buckets:[1 2]",
         "schema:-53 count:3 custom_values:[1 2] buckets:[2 1]", true},
        {"count:3 buckets:[3]", "schema:-53 count:3 custom_values:[1 2] buckets:[3]", true},
        {"schema:-53 count:3 custom_values:[1 2] buckets:[3]", "count:3 buckets:[3]", true},
        {"schema:-53 count:6 custom_values:[1 2 3] buckets:[1 2 3]",
         "schema:-53 count:6 custom_values:[1 3] buckets:[1 5]", false},
        {"schema:-53 count:6 custom_values:[1 2 3] buckets:[1 2 3]",
         "schema:-53 count:6 custom_values:[1 3] buckets:[2 4]", true},
        {"schema:-53 count:6 custom_values:[1 2 3] buckets:[1 2 3]",
         "schema:-53 count:6 custom_values:[5] buckets:[0 6]", false},
        {"schema:-53 count:6 custom_values:[1] buckets:[1 5]",
         "schema:-53 count:6 custom_values:[2] buckets:[1 4]", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hist before = parse(cases[i].before);
        struct hist now = parse(cases[i].now);
        if (hist_detect_reset(&now, &before) != cases[i].reset) {
            fail_msg("{%s} after {%s}", cases[i].now, cases[i].before);
        }
    }
}

/* ---- quantiles ---- */

static void hist_quantile__nan_observations__notes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double q, want;
        enum hist_nan_note note;
    } cases[] = {
        {"count:15 sum:NaN buckets:[12]", 0.4, 0.7071067811865475, HIST_NAN_SKEWED},
        {"count:15 sum:NaN buckets:[12]", 0.81, (double)NAN, HIST_NAN_RESULT},
        {"count:3 sum:NaN", 0.4, (double)NAN, HIST_NAN_RESULT},
        /* +Inf and -Inf observed: the sum is NaN, but nothing is missing */
        {"count:12 sum:NaN buckets:[12]", 1, 1, HIST_NAN_NONE},
        {"count:12 sum:5 buckets:[12]", 1, 1, HIST_NAN_NONE},
        /* Prometheus goes on with the last bucket after counting the rest */
        {"count:20 sum:NaN buckets:[8 4]", 0.2, 2, HIST_NAN_SKEWED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hist h = parse(cases[i].text);
        enum hist_nan_note note;
        double got = hist_quantile(cases[i].q, &h, &note);
        assert_int_equal(note, cases[i].note);
        if (isnan(cases[i].want) ? !isnan(got) : fabs(got - cases[i].want) > 1e-15) {
            fail_msg("quantile %g of {%s}: %.17g", cases[i].q, cases[i].text, got);
        }
    }
    struct hist h = parse("count:15 sum:NaN buckets:[12]");
    bool excluded = false;
    assert_true(fabs(hist_fraction(-(double)INFINITY, (double)INFINITY, &h, &excluded) - 0.8) <
                1e-15);
    assert_true(excluded);
    h = parse("count:12 sum:NaN buckets:[12]");
    hist_fraction(0, 1, &h, &excluded);
    assert_false(excluded);
}

static void hist_quantile__outside_0_to_1__infinite(void **state)
{
    (void)state;
    struct hist h = parse("count:3 sum:1 buckets:[3]");
    struct hist empty = {0};
    enum hist_nan_note note;
    assert_double_bits_equal(hist_quantile(-0.1, &h, &note), -(double)INFINITY);
    assert_double_bits_equal(hist_quantile(1.1, &empty, &note), (double)INFINITY);
    assert_true(isnan(hist_quantile((double)NAN, &h, &note)));
    assert_true(isnan(hist_quantile(0.5, &empty, &note)));
    assert_double_bits_equal(hist_avg(&h), 1.0 / 3);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(hist_bound__table__prometheus_doubles),
    cmocka_unit_test(hist_bound__whole_table__hash_of_prometheus),
    cmocka_unit_test(hist_bound__lower_schema__every_other_bound),
    cmocka_unit_test(hist_custom_bound__ends__infinite),
    cmocka_unit_test(go_math__powers_of_two__exact_and_near_libm),
    cmocka_unit_test_setup_teardown(hist_view__integer__counts_added_up, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_view__float__never_written_to, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_view__spans_and_buckets_disagree__corrupt, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_copy__used_again__independent, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_equal__one_thing_differs__not_equal, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_equal__empty_spans__overlooked, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_mul_div__signs_and_zero__gauge_and_no_buckets, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_compact__holes__canonical_spans, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_reduce__neighbours__joined, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_add__buckets_interleave__spans_as_prometheus, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_sub__new_buckets__negated, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_add__different_schemas__coarser_wins, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_add__different_zero_buckets__wide_enough_for_both, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_add__custom_bounds_differ__common_ones_remain, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_add__exponential_with_custom__invalid_and_unchanged, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_join_hints__every_pair__as_prometheus, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_add_compensated__small_beside_large__not_lost, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_add_compensated__layout_changes__residues_follow, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_mean__sum_would_overflow__incremental, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_add__many_of_one_layout__no_allocation, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_operations__no_memory__status_and_no_crash, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(hist_detect_reset__rules__as_prometheus, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_quantile__nan_observations__notes, setup, teardown),
    cmocka_unit_test_setup_teardown(hist_quantile__outside_0_to_1__infinite, setup, teardown),
};
TEST_MAIN(tests)
