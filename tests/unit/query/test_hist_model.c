/* Arithmetic of histograms beside a naive model (maps from bucket to count), on random ones; and
 * shapes that no sane writer sends. Counts are whole numbers, so that every order of adding gives
 * the same. */
#include "tests/support/test.h"

#include "query/hist/bound.h"
#include "query/hist/hist.h"
#include "query/hist/walk.h"

#include "base/random.h"

#include <float.h>
#include <math.h>

#define ROUNDS 4000
#define REACH  48 /* bucket indices are within -REACH..REACH */

struct map {
    bool has[2 * REACH + 1];
    double count[2 * REACH + 1];
};

struct model {
    int32_t schema;
    double zero_threshold, zero_count, count, sum;
    struct map side[2]; /* positive, negative */
};

static struct tsdb_arena arena;
static struct tsdb_prng prng;

static uint32_t below(uint32_t n)
{
    return (uint32_t)tsdb_prng_below(&prng, n);
}

/* ---- random histograms ---- */

static void random_map(struct map *m)
{
    *m = (struct map){0};
    uint32_t count = below(4) == 0 ? 0 : below(20);
    int from = (int)below(60) - 40;
    for (uint32_t i = 0; i < count; i++) {
        int at = REACH + from + (int)below(25);
        m->has[at] = true;
        m->count[at] = below(3) == 0 ? 0 : 1 + below(100);
    }
}

static struct model random_model(void)
{
    struct model m = {.schema = (int32_t)below(6) - 2};
    random_map(&m.side[0]);
    random_map(&m.side[1]);
    m.zero_count = below(2) * below(50);
    uint32_t kind = below(4);
    m.zero_threshold = kind == 0   ? 0
                       : kind == 1 ? hist_bound(m.schema, (int64_t)below(30) - 28)
                       : kind == 2 ? tsdb_prng_double(&prng) * 3
                                   : 1e-9;
    m.count = m.zero_count;
    for (int i = 0; i <= 2 * REACH; i++) {
        m.count += m.side[0].count[i] + m.side[1].count[i];
    }
    m.sum = (double)below(1000) - 500;
    return m;
}

static struct hist_side side_of(const struct map *m)
{
    struct hist_side s = {0};
    struct tsdb_span *spans = TSDB_ARENA_ARRAY(&arena, struct tsdb_span, (size_t)4 * REACH + 8);
    double *counts = TSDB_ARENA_ARRAY(&arena, double, (size_t)2 * REACH + 1);
    assert_true(spans && counts);
    int end = -REACH;
    for (int i = -REACH; i <= REACH; i++) {
        if (!m->has[i + REACH]) {
            continue;
        }
        int offset = s.span_count == 0 ? i : i - end;
        if (below(8) == 0) { /* a span of no length, and a touching one */
            spans[s.span_count++] = (struct tsdb_span){offset, 0};
            offset = 0;
        }
        if (s.span_count == 0 || offset != 0 || spans[s.span_count - 1].length == 0 ||
            below(8) == 0) {
            spans[s.span_count++] = (struct tsdb_span){offset, 0};
        }
        spans[s.span_count - 1].length++;
        counts[s.bucket_count++] = m->count[i + REACH];
        end = i + 1;
    }
    s.spans = spans;
    s.counts = counts;
    return s;
}

static struct hist hist_of(const struct model *m)
{
    struct hist h = {.schema = m->schema,
                     .zero_threshold = m->zero_threshold,
                     .zero_count = m->zero_count,
                     .count = m->count,
                     .sum = m->sum};
    h.positive = side_of(&m->side[0]);
    h.negative = side_of(&m->side[1]);
    struct hist view;
    struct tsdb_histogram stored;
    hist_model(&h, &stored);
    assert_ok(hist_view(&stored, &arena, &view));
    assert_ok(hist_validate(&view, NULL));
    return view;
}

/* ---- the naive operations ---- */

static int coarse(int index, int32_t from, int32_t to)
{
    int width = 1 << (from - to);
    int i = index - 1;
    return (i >= 0 ? i / width : -((-i + width - 1) / width)) + 1;
}

/* The narrowest zero bucket from `at` on that cuts no populated bucket of m. */
static double uncut(const struct model *m, double at)
{
    for (bool again = true; again;) {
        again = false;
        for (int i = -REACH; i <= REACH; i++) {
            double upper = hist_bound(m->schema, i);
            bool populated = m->side[0].count[i + REACH] > 0 || m->side[1].count[i + REACH] > 0;
            if (populated && hist_bound(m->schema, i - 1) < at && upper > at) {
                at = upper;
                again = true;
            }
        }
    }
    return at;
}

static double zero_within(const struct model *m, double threshold)
{
    double count = m->zero_count;
    for (int i = -REACH; i <= REACH && threshold > m->zero_threshold; i++) {
        if (hist_bound(m->schema, i - 1) < threshold) {
            count += m->side[0].count[i + REACH] + m->side[1].count[i + REACH];
        }
    }
    return count;
}

/* a + sign * b. Of a, what its zero bucket takes in is gone before buckets are joined; of b, joined
 * buckets that reach beyond the zero bucket stay whole: so does Prometheus. */
static struct model naive_add(const struct model *a, const struct model *b, double sign)
{
    struct model r = {.count = a->count + sign * b->count, .sum = a->sum + sign * b->sum};
    r.schema = a->schema < b->schema ? a->schema : b->schema;
    double threshold = fmax(a->zero_threshold, b->zero_threshold);
    bool widened = a->zero_threshold != b->zero_threshold;
    for (double before = -1; widened && threshold != before;) {
        before = threshold;
        threshold = threshold > a->zero_threshold ? uncut(a, threshold) : threshold;
        threshold = threshold > b->zero_threshold ? uncut(b, threshold) : threshold;
    }
    r.zero_threshold = threshold;
    r.zero_count = zero_within(a, threshold) + sign * zero_within(b, threshold);
    for (int side = 0; side < 2; side++) {
        for (int i = -REACH; i <= REACH; i++) {
            double x = a->side[side].count[i + REACH];
            double y = b->side[side].count[i + REACH];
            int at = coarse(i, a->schema, r.schema);
            if (threshold == a->zero_threshold || hist_bound(a->schema, i - 1) >= threshold) {
                r.side[side].count[at + REACH] += x;
            }
            at = coarse(i, b->schema, r.schema);
            if (hist_bound(r.schema, at) > threshold) {
                r.side[side].count[at + REACH] += sign * y;
            }
        }
    }
    return r;
}

static bool naive_reset(const struct model *now, const struct model *before)
{
    double threshold = now->zero_threshold;
    if (now->count < before->count || now->schema > before->schema ||
        threshold < before->zero_threshold) {
        return true;
    }
    if ((threshold > before->zero_threshold && uncut(before, threshold) != threshold) ||
        now->zero_count < zero_within(before, threshold)) {
        return true;
    }
    for (int side = 0; side < 2; side++) {
        struct map joined = {0};
        for (int i = -REACH; i <= REACH; i++) {
            int at = coarse(i, before->schema, now->schema);
            joined.count[at + REACH] += before->side[side].count[i + REACH];
        }
        for (int i = -REACH; i <= REACH; i++) {
            if ((threshold == 0 || hist_bound(now->schema, i) > threshold) &&
                now->side[side].count[i + REACH] < joined.count[i + REACH]) {
                return true;
            }
        }
    }
    return false;
}

/* ---- comparing ---- */

static void expect_side(const struct hist_side *s, const struct map *m, uint32_t round)
{
    struct map got = {0};
    int64_t index = 0;
    uint32_t bucket = 0;
    for (uint32_t i = 0; i < s->span_count; i++) {
        index += s->spans[i].offset;
        assert_true(s->spans[i].length > 0 && (i == 0 || s->spans[i].offset > 0));
        for (uint32_t k = 0; k < s->spans[i].length; k++, index++) {
            assert_in_range(index + REACH, 0, 2 * REACH);
            assert_true(s->counts[bucket] != 0);
            got.count[index + REACH] = s->counts[bucket++];
        }
    }
    assert_int_equal(bucket, s->bucket_count);
    for (int i = 0; i <= 2 * REACH; i++) {
        if (got.count[i] != m->count[i]) {
            fail_msg("round %u: bucket %d: %g, expected %g", round, i - REACH, got.count[i],
                     m->count[i]);
        }
    }
}

static void expect_model(struct hist *h, const struct model *m, uint32_t round)
{
    assert_ok(hist_compact(h, &arena));
    assert_int_equal(h->schema, m->schema);
    assert_double_bits_equal(h->zero_threshold, m->zero_threshold);
    if (h->zero_count != m->zero_count) {
        fail_msg("round %u: zero count %g, expected %g", round, h->zero_count, m->zero_count);
    }
    assert_true(h->count == m->count && h->sum == m->sum);
    expect_side(&h->positive, &m->side[0], round);
    expect_side(&h->negative, &m->side[1], round);
}

static void each_round(void (*check)(uint32_t round))
{
    tsdb_prng_init(&prng, 20260101);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        tsdb_arena_init(&arena, TSDB_MEM_QUERY, 16384, NULL);
        check(round);
        tsdb_arena_deinit(&arena);
    }
}

/* ---- the cases ---- */

static void check_add(uint32_t round)
{
    struct model a = random_model();
    struct model b = random_model();
    if (below(2) == 0) {
        b.zero_threshold = a.zero_threshold;
    }
    struct hist x = hist_of(&a);
    struct hist y = hist_of(&b);
    struct model sum = naive_add(&a, &b, 1);
    struct model difference = naive_add(&a, &b, -1);
    struct hist h = {0};
    assert_ok(hist_copy(&h, &x, &arena));
    assert_ok(hist_add(&h, &y, &arena, NULL));
    assert_ok(hist_validate(&h, NULL));
    expect_model(&h, &sum, round);
    h = x;
    assert_ok(hist_sub(&h, &y, &arena, NULL));
    expect_model(&h, &difference, round);
    h = x;
    assert_ok(hist_add_compensated(&h, &y, &arena, NULL));
    hist_settle(&h);
    expect_model(&h, &sum, round);
}

static void hist_add_sub__random__as_the_model(void **state)
{
    (void)state;
    each_round(check_add);
}

static void check_reset(uint32_t round)
{
    struct model before = random_model();
    struct model now = before;
    uint32_t kind = below(4);
    if (kind == 0) {
        now = random_model();
    } else { /* mostly something grew */
        for (int i = 0; i < 5; i++) {
            double more = 1 + below(9);
            struct map *m = &now.side[below(2)];
            uint32_t at = REACH - 30 + below(40);
            m->has[at] = true;
            m->count[at] += more;
            now.count += more;
        }
        now.count += kind == 1 ? 20 : 0;
        now.zero_count += kind == 1 ? 20 : 0;
    }
    if (kind == 2 && now.schema < 3) { /* the one before was finer: as if it were */
        before.schema++;
    }
    if (kind == 3) {
        now.zero_threshold *= 1 + below(3);
    }
    struct hist x = hist_of(&now);
    struct hist y = hist_of(&before);
    if (hist_detect_reset(&x, &y) != naive_reset(&now, &before)) {
        fail_msg("round %u: expected %d", round, naive_reset(&now, &before));
    }
}

static void hist_detect_reset__random__as_the_model(void **state)
{
    (void)state;
    each_round(check_reset);
}

static void check_walk(uint32_t round)
{
    (void)round;
    static struct hist_bucket up[4 * REACH + 8];
    struct model m = random_model();
    struct hist h = hist_of(&m);
    struct hist_walk w;
    uint32_t count = 0;
    for (hist_walk_init(&w, &h, HIST_ASCENDING); hist_walk_next(&w);) {
        up[count] = hist_walk_bucket(&w);
        assert_true(up[count].lower <= up[count].upper || up[count].count == 0 ||
                    up[count].upper == h.zero_threshold || up[count].lower == -h.zero_threshold ||
                    fabs(up[count].lower) == h.zero_threshold ||
                    fabs(up[count].upper) == h.zero_threshold);
        count++;
    }
    assert_false(hist_walk_next(&w));
    assert_int_equal(count, h.positive.bucket_count + h.negative.bucket_count + (h.zero_count > 0));
    for (hist_walk_init(&w, &h, HIST_DESCENDING); hist_walk_next(&w);) {
        struct hist_bucket b = hist_walk_bucket(&w);
        assert_memory_equal(&b.lower, &up[--count].lower, 3 * sizeof(double));
    }
    assert_int_equal(count, 0);
    static const enum hist_order pairs[2][2] = {{HIST_POSITIVE, HIST_POSITIVE_INWARDS},
                                                {HIST_NEGATIVE, HIST_NEGATIVE_INWARDS}};
    for (int i = 0; i < 2; i++) {
        const struct map *map = &m.side[i];
        struct hist_walk in;
        hist_walk_init(&w, &h, pairs[i][0]);
        for (int k = -REACH; k <= REACH; k++) {
            if (map->has[k + REACH]) {
                assert_true(hist_walk_next(&w));
                assert_int_equal(w.index, k);
                assert_double_bits_equal(w.count, map->count[k + REACH]);
            }
        }
        assert_false(hist_walk_next(&w));
        hist_walk_init(&in, &h, pairs[i][1]);
        for (int k = REACH; k >= -REACH; k--) {
            if (map->has[k + REACH]) {
                assert_true(hist_walk_next(&in));
                assert_int_equal(in.index, k);
                assert_double_bits_equal(in.count, map->count[k + REACH]);
            }
        }
        assert_false(hist_walk_next(&in));
    }
}

static void hist_walk__random__both_ways_the_same(void **state)
{
    (void)state;
    each_round(check_walk);
}

static void check_quantile(uint32_t round)
{
    struct model m = random_model();
    m.zero_threshold = below(2) * 1e-60; /* below every bucket */
    struct hist h = hist_of(&m);
    assert_ok(hist_compact(&h, &arena));
    enum hist_nan_note note;
    bool nan_excluded;
    double before = -(double)INFINITY;
    for (double q = 0.01; q < 1 && h.count > 0; q += 0.07) {
        double v = hist_quantile(q, &h, &note);
        double share = hist_fraction(-(double)INFINITY, v, &h, &nan_excluded);
        bool in_zero = fabs(v) <= m.zero_threshold; /* of no width, perhaps */
        assert_true(v >= before && note == HIST_NAN_NONE && !nan_excluded);
        if (!in_zero && fabs(share - q) > 1e-9) {
            fail_msg("round %u: quantile %g is %.17g, with %.17g below", round, q, v, share);
        }
        before = v;
        struct hist lower = {0};
        struct hist upper = {0};
        assert_ok(hist_copy(&lower, &h, &arena));
        assert_ok(hist_copy(&upper, &h, &arena));
        assert_ok(hist_trim(&lower, v, false, &arena));
        assert_ok(hist_trim(&upper, v, true, &arena));
        if (!in_zero && fabs(upper.count / h.count - share) > 1e-9) {
            fail_msg("round %u: trimmed at %g to %g of %g", round, v, upper.count, h.count);
        }
        if (fabs(lower.count + upper.count - h.count) > 1e-9 * h.count) {
            fail_msg("round %u: %g and %g of %g", round, lower.count, upper.count, h.count);
        }
        assert_ok(hist_validate(&lower, NULL));
        assert_ok(hist_validate(&upper, NULL));
    }
}

static void hist_quantile_fraction_trim__random__agree(void **state)
{
    (void)state;
    each_round(check_quantile);
}

/* Nothing is rounded in these sums, so both ways give the same bits. */
static void check_mean(uint32_t round)
{
    (void)round;
    struct hist_mean mean = {0};
    struct hist sum = {0};
    uint32_t count = 1 + below(6);
    for (uint32_t i = 0; i < count; i++) {
        struct model m = random_model();
        m.zero_threshold = 1e-9;
        struct hist h = hist_of(&m);
        assert_ok(hist_mean_add(&mean, &h, &arena, NULL));
        assert_ok(i == 0 ? hist_copy(&sum, &h, &arena) : hist_add(&sum, &h, &arena, NULL));
    }
    assert_ok(hist_mean_finish(&mean, &arena));
    assert_ok(hist_div(&sum, count, &arena));
    assert_ok(hist_compact(&sum, &arena));
    assert_ok(hist_compact(&mean.h, &arena));
    assert_true(hist_equal(&sum, &mean.h));
}

static void hist_mean__random__sum_divided(void **state)
{
    (void)state;
    each_round(check_mean);
}

/* ---- hostile shapes ---- */

static double odd_number(void)
{
    static const double odd[] = {0,
                                 -0.0,
                                 1,
                                 -1,
                                 1e308,
                                 -1e308,
                                 5e-324,
                                 DBL_MAX,
                                 (double)INFINITY,
                                 -(double)INFINITY,
                                 (double)NAN,
                                 1e-9,
                                 1e16,
                                 0.5};
    return odd[below(sizeof odd / sizeof odd[0])];
}

static void odd_side(const struct tsdb_span **spans, uint32_t *span_count, const double **counts,
                     uint32_t *bucket_count)
{
    static const int32_t offsets[] = {
        INT32_MIN, INT32_MIN + 1, -300000, -1075,         -1,       0, 1, 2, 1024,
        1025,      262144,        262145,  INT32_MAX - 3, INT32_MAX};
    struct tsdb_span *s = TSDB_ARENA_ARRAY(&arena, struct tsdb_span, 5);
    double *c = TSDB_ARENA_ARRAY(&arena, double, 16);
    assert_true(s && c);
    *span_count = below(5);
    *bucket_count = 0;
    for (uint32_t i = 0; i < *span_count; i++) {
        s[i] = (struct tsdb_span){offsets[below(14)], below(4)};
        if (i > 0 && s[i].offset < 0 && below(8) > 0) {
            s[i].offset = (int32_t)below(3);
        }
        s[i].length = below(200) == 0 ? UINT32_MAX : s[i].length;
        *bucket_count += s[i].length < 4 ? s[i].length : 0;
    }
    *bucket_count += below(50) == 0;
    for (uint32_t i = 0; i < 16; i++) {
        c[i] = odd_number();
    }
    *spans = s;
    *counts = c;
}

static enum tsdb_status odd_hist(struct hist *out)
{
    struct tsdb_histogram m = {.is_float = true,
                               .schema = below(3) == 0 ? TSDB_HISTOGRAM_SCHEMA_CUSTOM
                                                       : (int32_t)below(14) - 4,
                               .reset_hint = (enum tsdb_reset_hint)below(4),
                               .count_float = odd_number(),
                               .sum = odd_number(),
                               .zero_count_float = odd_number(),
                               .zero_threshold = odd_number()};
    double *custom = TSDB_ARENA_ARRAY(&arena, double, 6);
    assert_non_null(custom);
    m.custom_count = below(6);
    for (uint32_t i = 0; i < m.custom_count; i++) {
        custom[i] = below(3) == 0 ? odd_number() : i;
    }
    m.custom_values = custom;
    odd_side(&m.positive_spans, &m.positive_span_count, &m.positive_counts,
             &m.positive_bucket_count);
    odd_side(&m.negative_spans, &m.negative_span_count, &m.negative_counts,
             &m.negative_bucket_count);
    return hist_view(&m, &arena, out);
}

static void expect_sound(const struct hist *h)
{
    struct tsdb_histogram m;
    struct hist again;
    hist_model(h, &m);
    assert_ok(hist_view(&m, &arena, &again));
}

static void ask_everything(const struct hist *h)
{
    enum hist_nan_note note;
    bool nan_excluded;
    hist_quantile(odd_number(), h, &note);
    hist_quantile(tsdb_prng_double(&prng), h, &note);
    hist_fraction(odd_number(), odd_number(), h, &nan_excluded);
    hist_stddev(h);
    assert_true(hist_equal(h, h) || h->zero_threshold != h->zero_threshold || h->custom_count > 0);
}

static void check_odd(uint32_t round)
{
    (void)round;
    struct hist a;
    struct hist b;
    if (odd_hist(&a) != TSDB_OK || odd_hist(&b) != TSDB_OK) {
        return;
    }
    ask_everything(&a);
    hist_detect_reset(&a, &b);
    struct hist h = {0};
    struct hist_mean mean = {0};
    assert_ok(hist_copy(&h, &a, &arena));
    bool mixed = hist_is_custom(&a) != hist_is_custom(&b);
    enum tsdb_status want = mixed ? TSDB_INVALID : TSDB_OK;
    assert_int_equal(
        below(2) == 0 ? hist_add(&h, &b, &arena, NULL) : hist_sub(&h, &b, &arena, NULL), want);
    expect_sound(&h);
    assert_int_equal(hist_add_compensated(&h, &b, &arena, NULL), want);
    assert_ok(hist_mul(&h, odd_number(), &arena));
    if (!hist_is_custom(&h)) {
        assert_ok(hist_reduce(&h, TSDB_HISTOGRAM_SCHEMA_MIN, &arena));
    }
    assert_ok(hist_compact(&h, &arena));
    hist_settle(&h);
    expect_sound(&h);
    assert_ok(hist_trim(&h, odd_number(), below(2) == 0, &arena));
    assert_ok(hist_div(&h, odd_number(), &arena));
    expect_sound(&h);
    ask_everything(&h);
    assert_ok(hist_mean_add(&mean, &a, &arena, NULL));
    assert_int_equal(hist_mean_add(&mean, &b, &arena, NULL), want);
    assert_ok(hist_mean_finish(&mean, &arena));
    expect_sound(&mean.h);
}

static void hist_operations__hostile_shapes__safe(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        each_round(check_odd);
    }
}

/* The ends of the index range, put together. */
static void hist_add__ends_of_the_index_range__bridged(void **state)
{
    (void)state;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    const struct tsdb_span low = {INT32_MIN, 1};
    const struct tsdb_span high = {INT32_MAX, 1};
    const double one = 1;
    struct hist a = {
        .positive = {.spans = &high, .span_count = 1, .counts = &one, .bucket_count = 1}};
    struct hist b = {
        .positive = {.spans = &low, .span_count = 1, .counts = &one, .bucket_count = 1}};
    b.zero_threshold = a.zero_threshold = -1; /* no bucket is in it, not even those that end at 0 */
    assert_ok(hist_add(&a, &b, &arena, NULL));
    expect_sound(&a);
    struct hist_walk w;
    hist_walk_init(&w, &a, HIST_POSITIVE);
    assert_true(hist_walk_next(&w));
    assert_int_equal(w.index, INT32_MIN);
    assert_true(hist_walk_next(&w));
    assert_int_equal(w.index, INT32_MAX);
    assert_ok(hist_compact(&a, &arena));
    assert_ok(hist_sub(&a, &b, &arena, NULL));
    assert_ok(hist_compact(&a, &arena));
    assert_int_equal(a.positive.bucket_count, 1);
    assert_int_equal(a.positive.spans[0].offset, INT32_MAX);
    tsdb_arena_deinit(&arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(hist_add_sub__random__as_the_model),
    cmocka_unit_test(hist_detect_reset__random__as_the_model),
    cmocka_unit_test(hist_walk__random__both_ways_the_same),
    cmocka_unit_test(hist_quantile_fraction_trim__random__agree),
    cmocka_unit_test(hist_mean__random__sum_divided),
    cmocka_unit_test(hist_operations__hostile_shapes__safe),
    cmocka_unit_test(hist_add__ends_of_the_index_range__bridged),
};
TEST_MAIN(tests)
