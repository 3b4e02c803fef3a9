/* Invariants checked: what is packed comes back byte for byte, whatever the numbers are; what would
 * not come back is not packed; packing pays for what scrapes bring; hostile bytes are refused within
 * bounds of memory. */
#include "tests/support/test.h"

#include "base/bytes.h"
#include "base/random.h"
#include "model/histogram.h"
#include "tests/support/guard.h"
#include "tsdb/chunk/histograms.h"

enum {
    N = 120,
    BUCKETS = 40
};

struct fixture {
    struct tsdb_prng prng;
    struct tsdb_arena arena;
    struct tsdb_raw_histogram raw[N];
    uint8_t bytes[N][4096];
    uint64_t value[N];
    size_t total;
    uint8_t *out;
    size_t room;
    int64_t counts[2 * BUCKETS]; /* positive, negative */
};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    tsdb_prng_init(&f->prng, 5);
    tsdb_arena_init(&f->arena, TSDB_MEM_OTHER, 4096, NULL);
    f->room = sizeof f->bytes + histograms_pack_room(N);
    f->out = test_malloc(f->room);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tsdb_arena_deinit(&f->arena);
    test_free(f->out);
    test_free(f);
    return 0;
}

static void raw_set(struct fixture *f, uint32_t i, const struct tsdb_histogram *h)
{
    assert_true(tsdb_histogram_encoded_bytes_max(h) <= sizeof f->bytes[i]);
    f->raw[i] =
        (struct tsdb_raw_histogram){(uint32_t)tsdb_histogram_encode(h, f->bytes[i]), f->bytes[i]};
    f->value[i] = (uint64_t)(uintptr_t)&f->raw[i];
}

/* A counter that observes some values between two scrapes. From `wider` on there is a bucket more. */
static void counter_set(struct fixture *f, uint32_t i, uint32_t wider)
{
    uint32_t buckets = i < wider ? BUCKETS - 1 : BUCKETS;
    struct tsdb_span positive[2] = {{-3, 20}, {5, buckets - 20}};
    struct tsdb_span negative = {0, BUCKETS / 2};
    int64_t deltas[2 * BUCKETS];
    struct tsdb_histogram h = {.schema = 3,
                               .zero_threshold = 1e-128,
                               .sum = 0.1 * i * i,
                               .zero_count_int = i / 7,
                               .positive_span_count = 2,
                               .negative_span_count = 1,
                               .positive_bucket_count = buckets,
                               .negative_bucket_count = BUCKETS / 2,
                               .positive_spans = positive,
                               .negative_spans = &negative,
                               .positive_deltas = deltas,
                               .negative_deltas = deltas + BUCKETS};
    h.count_int = h.zero_count_int;
    for (uint32_t b = 0; b < 2 * BUCKETS; b++) {
        f->counts[b] += b % 3 ? (int64_t)tsdb_prng_below(&f->prng, b + 1) : 0;
        deltas[b] = f->counts[b] - (b % BUCKETS ? f->counts[b - 1] : 0);
        bool used = b < buckets || (b >= BUCKETS && b < BUCKETS + BUCKETS / 2);
        h.count_int += used ? (uint64_t)f->counts[b] : 0;
    }
    assert_ok(tsdb_histogram_validate(&h, NULL));
    raw_set(f, i, &h);
}

static uint64_t any_bits(struct fixture *f)
{
    static const uint64_t some[] = {0,
                                    UINT64_C(0x8000000000000000), /* -0 */
                                    UINT64_C(0x7ff0000000000002), /* the stale marker */
                                    UINT64_C(0x7ff8000000000001),
                                    UINT64_C(0xfff80000deadbeef),
                                    UINT64_C(0x7ff0000000000000),
                                    UINT64_MAX};
    uint64_t k = tsdb_prng_below(&f->prng, 10);
    return k < TSDB_ARRAY_LEN(some) ? some[k] : tsdb_prng_next(&f->prng);
}

/* Any numbers, valid or not: sums of every bit pattern, counts that wrap, any number of buckets. */
static void any_set(struct fixture *f, uint32_t i, bool is_float, uint32_t layouts)
{
    uint32_t layout = (uint32_t)tsdb_prng_below(&f->prng, layouts);
    struct tsdb_span span = {(int32_t)layout - 2, layout};
    int64_t deltas[BUCKETS];
    double counts[BUCKETS], bounds[BUCKETS];
    for (uint32_t b = 0; b < BUCKETS; b++) {
        deltas[b] = (int64_t)(tsdb_prng_next(&f->prng) >> tsdb_prng_below(&f->prng, 64));
        deltas[b] = tsdb_prng_below(&f->prng, 2) ? -deltas[b] : deltas[b];
        counts[b] = tsdb_bits_double(any_bits(f));
        bounds[b] = b;
    }
    struct tsdb_histogram h = {.is_float = is_float,
                               .reset_hint = (enum tsdb_reset_hint)(layout % 4),
                               .schema = layout % 2 ? TSDB_HISTOGRAM_SCHEMA_CUSTOM : 8,
                               .sum = tsdb_bits_double(any_bits(f)),
                               .count_int = any_bits(f),
                               .zero_count_int = any_bits(f),
                               .count_float = tsdb_bits_double(any_bits(f)),
                               .zero_count_float = tsdb_bits_double(any_bits(f)),
                               .positive_span_count = 1,
                               .negative_span_count = 1,
                               .positive_bucket_count = layout,
                               .negative_bucket_count = layout,
                               .custom_count = layout % 2 ? layout : 0,
                               .positive_spans = &span,
                               .negative_spans = &span,
                               .positive_deltas = deltas,
                               .negative_deltas = deltas + 1,
                               .positive_counts = counts,
                               .negative_counts = counts + 1,
                               .custom_values = bounds};
    raw_set(f, i, &h);
}

/* Bytes packed, 0 if not; they come back. */
static size_t round_trip(struct fixture *f, uint32_t n)
{
    struct tsdb_error err = {0};
    uint64_t back[N];
    size_t limit = 0;
    for (uint32_t i = 0; i < n; i++) {
        limit += f->raw[i].len;
    }
    f->total = limit;
    limit = limit * 2 + 400;
    assert_true(limit + histograms_pack_room(n) <= f->room);
    size_t len = histograms_pack(f->value, n, limit, f->out);
    if (len == 0) {
        return 0;
    }
    struct tsdb_slice src = {f->out, len};
    assert_ok_err(histograms_unpack(src, n, &f->arena, back, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        const struct tsdb_raw_histogram *raw = (const void *)(uintptr_t)back[i];
        assert_int_equal(raw->len, f->raw[i].len);
        assert_memory_equal(raw->data, f->raw[i].data, raw->len);
    }
    tsdb_arena_reset(&f->arena);
    return len;
}

static void histograms_pack__a_counter__a_fraction_of_the_raw_forms(void **state)
{
    struct fixture *f = *state;
    for (uint32_t wider = 0; wider <= N; wider += N / 3) {
        memset(f->counts, 0, sizeof f->counts);
        for (uint32_t i = 0; i < N; i++) {
            counter_set(f, i, wider);
        }
        size_t len = round_trip(f, N);
        assert_in_range(len, 1, f->total * 6 / 10);
    }
}

static void histograms_pack__a_quiet_counter__next_to_nothing(void **state)
{
    struct fixture *f = *state;
    counter_set(f, 0, 0);
    for (uint32_t i = 1; i < N; i++) {
        f->raw[i] = f->raw[0];
        f->value[i] = (uint64_t)(uintptr_t)&f->raw[i];
    }
    size_t len = round_trip(f, N);
    assert_in_range(len, 1, f->total / 30);
}

static void histograms_pack__any_numbers_and_layouts__come_back(void **state)
{
    struct fixture *f = *state;
    uint32_t packed = 0;
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t n = 1 + (uint32_t)tsdb_prng_below(&f->prng, N);
        for (uint32_t i = 0; i < n; i++) {
            any_set(f, i, round % 2, 1 + round % 20);
        }
        packed += round_trip(f, n) > 0;
    }
    assert_in_range(packed, 300, 400);
}

static void histograms_pack__what_would_not_come_back__is_not_packed(void **state)
{
    struct fixture *f = *state;
    counter_set(f, 0, 0);
    counter_set(f, 1, 0);
    assert_true(round_trip(f, 2) > 0);
    for (uint32_t cut = 1; cut < f->raw[1].len; cut++) {
        struct tsdb_raw_histogram whole = f->raw[1];
        f->raw[1].len -= cut;
        (void)round_trip(f, 2); /* what is left of the custom bounds is nobody's affair here */
        f->raw[1] = whole;
    }
    f->bytes[1][0] = 2; /* another version */
    assert_int_equal(round_trip(f, 2), 0);
    f->bytes[1][0] = 1;
    /* version, flags, schema, threshold, sum, then a count of 1 written in two bytes */
    uint8_t longer[4096];
    memcpy(longer, f->bytes[1], 19);
    longer[19] = 0x81;
    longer[20] = 0;
    memcpy(longer + 21, (const uint8_t[]){0, 0, 0, 0}, 4);
    longer[25] = 0;
    f->raw[1] = (struct tsdb_raw_histogram){26, longer};
    assert_int_equal(round_trip(f, 2), 0);
}

static void histograms_pack__limit__zero_and_nothing_behind_the_room(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 20; i++) {
        any_set(f, i, i % 2, 5);
    }
    size_t whole = round_trip(f, 20);
    assert_true(whole > 0);
    for (size_t limit = 0; limit <= whole + 1; limit++) {
        size_t bytes = limit + histograms_pack_room(20);
        uint8_t *exact = test_malloc(bytes); /* test_free finds what was written behind */
        assert_int_equal(histograms_pack(f->value, 20, limit, exact), limit > whole ? whole : 0);
        test_free(exact);
    }
}

static void histograms_unpack__hostile_bytes__refused_within_bounds(void **state)
{
    struct fixture *f = *state;
    uint64_t back[N];
    uint32_t refused = 0;
    struct test_guard g;
    for (uint32_t i = 0; i < N; i++) {
        counter_set(f, i, N / 2);
    }
    size_t len = round_trip(f, N);
    uint8_t *bad = test_malloc(len);
    test_guard_init(&g, len);
    for (uint32_t round = 0; round < 20000; round++) {
        struct tsdb_account account;
        struct tsdb_arena arena;
        size_t n = round % 4 == 3 ? (size_t)tsdb_prng_below(&f->prng, len) : len;
        memcpy(bad, f->out, len);
        for (uint32_t i = 0; i < 1 + round % 3; i++) {
            /* Half of them in the begin, where layout and lengths are. */
            size_t at = (size_t)tsdb_prng_below(&f->prng, i % 2 ? len : 60);
            bad[at] = (uint8_t)tsdb_prng_next(&f->prng);
        }
        tsdb_account_init(&account, 0, NULL);
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, &account);
        struct tsdb_slice src = {test_guard_at_end(&g, bad, n), n};
        enum tsdb_status status = histograms_unpack(src, N, &arena, back, NULL);
        assert_true(status == TSDB_OK || status == TSDB_CORRUPT);
        assert_in_range(atomic_load(&account.peak_bytes), 0,
                        2 * (HISTOGRAMS_BYTES_MAX + HISTOGRAMS_CELLS_MAX * sizeof(uint64_t)));
        refused += status != TSDB_OK;
        tsdb_arena_deinit(&arena);
    }
    assert_true(refused > 5000);
    test_guard_deinit(&g);
    test_free(bad);
}

/* A column of equal numbers takes four bytes, so few bytes could ask for any amount of memory. */
static void histograms_unpack__a_bomb__refused(void **state)
{
    struct fixture *f = *state;
    uint64_t back[N];
    uint8_t bomb[64];
    uint8_t spans[8];
    uint8_t *s = tsdb_put_varint(tsdb_put_uvarint(spans, 1), 0);
    s = tsdb_put_uvarint(tsdb_put_uvarint(s, 65536), 0);
    uint8_t *p = tsdb_put_uvarint(bomb, N);
    p = tsdb_put_uvarint(p, 10);
    memset(p, 0, 10);
    p = tsdb_put_uvarint(p + 10, (uint64_t)(s - spans));
    memcpy(p, spans, (size_t)(s - spans));
    p = tsdb_put_uvarint(p + (s - spans), 0);
    struct tsdb_error err = {0};
    struct tsdb_slice src = {bomb, (size_t)(p - bomb)};
    assert_int_equal(histograms_unpack(src, N, &f->arena, back, &err), TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "too many numbers"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(histograms_pack__a_counter__a_fraction_of_the_raw_forms),
    CASE(histograms_pack__a_quiet_counter__next_to_nothing),
    CASE(histograms_pack__any_numbers_and_layouts__come_back),
    CASE(histograms_pack__what_would_not_come_back__is_not_packed),
    CASE(histograms_pack__limit__zero_and_nothing_behind_the_room),
    CASE(histograms_unpack__hostile_bytes__refused_within_bounds),
    CASE(histograms_unpack__a_bomb__refused),
};
TEST_MAIN(tests)
