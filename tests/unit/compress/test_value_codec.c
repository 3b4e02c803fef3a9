#include "tests/support/test.h"

#include "compress/value_codec.h"
#include "tests/support/guard.h"
#include "tests/unit/compress/columns.h"

#include <math.h>
#include <stdbool.h>

#define N_MAX COLUMN_COUNT_MAX

static uint64_t v_in[N_MAX], v_out[N_MAX];
static uint8_t bytes[8 * N_MAX + 64];

/* Encodes v_in[0..n), checks the round trip at the end of memory, returns the length. */
static size_t round_trip_hint(uint32_t n, struct value_hint *hint)
{
    struct test_guard g;
    struct tsdb_error err;
    size_t max = value_codec_bytes_max(n);
    memset(bytes + max, 0x77, 16);
    size_t len = value_codec_encode(v_in, n, hint, bytes);
    assert_true(len >= 2 && len <= max);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(bytes[max + i], 0x77);
    }
    test_guard_init(&g, len);
    const uint8_t *src = test_guard_at_end(&g, bytes, len);
    memset(v_out, 0x55, 8 * (size_t)n);
    assert_ok_err(value_codec_decode(src, len, n, v_out, &err), &err);
    assert_memory_equal(v_in, v_out, 8 * (size_t)n);
    test_guard_deinit(&g);
    return len;
}
static size_t round_trip(uint32_t n)
{
    return round_trip_hint(n, NULL);
}
static uint32_t codec(void)
{
    return bytes[0] & VALUE_COLUMN_CODEC;
}
static void put(uint32_t i, double v)
{
    v_in[i] = tsdb_double_bits(v);
}

static void value_codec_encode__one_value_again_and_again__const(void **state)
{
    (void)state;
    for (size_t e = 0; e < EDGE_COUNT; e++) {
        for (uint32_t n = 1; n <= N_MAX; n = n * 3 + 1) {
            for (uint32_t i = 0; i < n; i++) {
                v_in[i] = edge_bits[e];
            }
            assert_true(round_trip(n) <= 10);
            assert_int_equal(bytes[0], VALUE_CODEC_CONST);
        }
    }
}

static void value_codec_encode__constant_difference__linear(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < N_MAX; i++) {
        put(i, 1e6 + 15.0 * i);
    }
    assert_true(round_trip(N_MAX) <= 8);
    assert_int_equal(codec(), VALUE_CODEC_LINEAR);
    for (uint32_t i = 0; i < 500; i++) {
        put(i, (1234 - 25.0 * i) / 100); /* with two digits, through zero */
    }
    assert_true(round_trip(500) <= 8);
    assert_int_equal(codec(), VALUE_CODEC_LINEAR);
    for (uint32_t i = 0; i < 200; i++) {
        put(i, 0x1p53 + 4.0 * i); /* beyond 2^53 every integer that is there is exact */
    }
    round_trip(200);
    assert_int_equal(codec(), VALUE_CODEC_LINEAR);
}

static void value_codec_encode__counter_with_reset__small_deltas(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 1);
    double v = 1e9;
    for (uint32_t i = 0; i < 1000; i++) {
        v = i == 700 ? 3 : v + (double)tsdb_prng_below(&r, 64);
        put(i, v);
    }
    assert_true(round_trip(1000) <= 1000 * 6 / 8 + 40);
    assert_int_equal(codec(), VALUE_CODEC_DEC_DELTA);
}

static void value_codec_encode__multiples__factor_costs_nothing_per_value(void **state)
{
    (void)state;
    static const double factors[] = {4096, 1000, 3, 1 << 30};
    struct tsdb_prng r;
    tsdb_prng_init(&r, 2);
    for (size_t f = 0; f < 4; f++) {
        for (uint32_t i = 0; i < 500; i++) {
            put(i, factors[f] * ((double)tsdb_prng_below(&r, 32) - 16));
        }
        assert_true(round_trip(500) <= 500 * 5 / 8 + 24);
        assert_int_equal(codec(), VALUE_CODEC_DEC);
    }
}

static void value_codec_encode__decimals__scaled_integers(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 3);
    double scale = 1;
    for (uint32_t digits = 0; digits <= 15; digits++, scale *= 10) {
        for (uint32_t i = 0; i < 300; i++) {
            put(i, ((double)tsdb_prng_below(&r, 256) - 100) / scale);
        }
        assert_true(round_trip(300) <= 300 + 16);
        assert_int_equal(codec(), VALUE_CODEC_DEC);
    }
}

static void value_codec_encode__exceptions_among_decimals__listed(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 4);
    for (uint32_t i = 0; i < 1000; i++) {
        put(i, (double)tsdb_prng_below(&r, 1000) / 10);
    }
    v_in[0] = UINT64_C(0x7ff0000000000000);
    v_in[1] = UINT64_C(0x7ff8000000000001);
    v_in[2] = UINT64_C(0x7ff8000000000001);
    v_in[500] = tsdb_double_bits(-0.0);
    v_in[999] = tsdb_double_bits(0.1 + 0.2);
    assert_true(round_trip(1000) <= 1250 + 16 + 40);
    assert_int_equal(codec(), VALUE_CODEC_DEC);
}

static void value_codec_encode__stale_markers__beside_the_values(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        put(i, 100 + i);
    }
    v_in[999] = STALE;
    assert_true(round_trip(1000) <= 16);
    assert_int_equal(bytes[0], VALUE_CODEC_LINEAR | VALUE_COLUMN_STALE);
    struct tsdb_prng r;
    tsdb_prng_init(&r, 5);
    for (uint32_t round = 0; round < 500; round++) {
        uint32_t n = 2 + (uint32_t)tsdb_prng_below(&r, 600), odds = 1 + round % 20;
        for (uint32_t i = 0; i < n; i++) {
            bool stale = i > 0 && v_in[i - 1] == STALE ? tsdb_prng_below(&r, 3) > 0
                                                       : tsdb_prng_below(&r, odds) == 0;
            put(i, (double)(i / 10));
            v_in[i] = stale ? STALE : v_in[i];
        }
        round_trip(n);
    }
}

static void value_codec_encode__few_changes__runs(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 6);
    double v = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        v = tsdb_prng_below(&r, 100) == 0 ? tsdb_prng_double(&r) : v;
        put(i, v);
        v_in[i] = i % 1000 == 17 ? STALE : v_in[i];
    }
    assert_true(round_trip(4000) <= 50 * 10);
    assert_true(bytes[0] & VALUE_COLUMN_RUNS);
    assert_true(bytes[0] & VALUE_COLUMN_STALE);
}

static void value_codec_encode__full_mantissa__bit_patterns(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 7);
    double v = 70;
    for (uint32_t i = 0; i < 2000; i++) {
        v += (tsdb_prng_double(&r) - 0.5) / 16;
        put(i, v);
    }
    assert_true(round_trip(2000) * 8 <= 2000 * 48);
    assert_int_equal(codec(), VALUE_CODEC_BITS_DELTA);
    for (uint32_t i = 0; i < 2000; i++) {
        put(i, (double)((float)tsdb_prng_double(&r) + 1)); /* 29 low zero bits */
    }
    assert_true(round_trip(2000) * 8 <= 2000 * 24);
    assert_int_equal(codec(), VALUE_CODEC_BITS);
}

static void value_codec_encode__any_bits__raw_at_worst(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 8);
    for (uint32_t n = 1; n <= N_MAX; n = n < 300 ? n + 1 : n * 2 - 100) {
        for (uint32_t i = 0; i < n; i++) {
            v_in[i] = tsdb_prng_next(&r);
        }
        assert_true(round_trip(n) <= 8 * (size_t)n + 2);
    }
}

/* Mixtures: every codec meets values that it cannot code well, in every order. */
static void value_codec_decode__random_mixtures__same_bits(void **state)
{
    (void)state;
    struct tsdb_prng r;
    uint32_t seen = 0, flags = 0;
    tsdb_prng_init(&r, 9);
    for (uint32_t round = 0; round < 6000; round++) {
        uint32_t n = 1 + (uint32_t)tsdb_prng_below(&r, round % 100 == 0 ? N_MAX : 300);
        uint32_t odds = 1u << tsdb_prng_below(&r, 12), kind = round % 6;
        double v = (double)tsdb_prng_below(&r, 1000), walk = v, rate = 0;
        struct value_hint hint = {.digits_known = (uint8_t)tsdb_prng_next(&r)};
        for (uint32_t i = 0; i < n; i++) {
            walk += tsdb_prng_double(&r);
            rate += (double)tsdb_prng_below(&r, 3) - 0.9;
            v += kind < 2 ? (double)tsdb_prng_below(&r, 1 + kind * 100) : floor(rate);
            put(i, kind == 3 ? walk : kind == 4 ? v / 1000 : kind == 5 ? -v / 4 : v);
            v_in[i] = tsdb_prng_below(&r, odds) == 0 ? random_bits(&r) : v_in[i];
            v_in[i] = i > 0 && round % 7 == 0 && tsdb_prng_below(&r, 8) > 0 ? v_in[i - 1] : v_in[i];
        }
        round_trip_hint(n, round % 2 ? &hint : NULL);
        seen |= 1u << codec();
        flags |= bytes[0];
    }
    assert_int_equal(seen, (1u << VALUE_CODEC_COUNT) - 1); /* each codec won somewhere */
    assert_true((flags & VALUE_COLUMN_STALE) && (flags & VALUE_COLUMN_RUNS));
}

static void value_codec_encode__hint__spares_the_search_keeps_the_bits(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct value_hint hint = {0};
    tsdb_prng_init(&r, 10);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 120; i++) {
            put(i, (double)tsdb_prng_below(&r, 1000) / 1000);
        }
        round_trip_hint(120, &hint);
        assert_int_equal(hint.digits_known, 3 + 1);
    }
    for (uint32_t i = 0; i < 120; i++) {
        put(i, sqrt(2 + i));
    }
    round_trip_hint(120, &hint);
    assert_int_equal(hint.digits_known, VALUE_HINT_NO_DECIMAL);
    for (uint32_t i = 0; i < 120; i++) {
        put(i, (double)i * i / 100); /* decimal again */
    }
    round_trip_hint(120, &hint);
    assert_int_equal(hint.digits_known, 2 + 1);
}

/* One column per codec and flag; sets v_in. Returns n. */
static uint32_t column_of_kind(uint32_t kind, struct tsdb_prng *r)
{
    uint32_t n = kind == 5 ? 60 : 300;
    for (uint32_t i = 0; i < n; i++) {
        put(i, kind == 0   ? 7
               : kind == 1 ? 3.0 * i
               : kind == 2 ? (double)tsdb_prng_below(r, 4000) / 100
               : kind == 3 ? 1e6 + 100.0 * i + (double)tsdb_prng_below(r, 9)
               : kind == 4 ? tsdb_prng_double(r)
               : kind == 5 ? ((i & 7) ? 0.5 : 1 / (1.0 + i))
               : kind == 6 ? sqrt(i / 20)
                           : i * 0.5 * (i % 150));
        bool special = kind == 7 || kind == 2;
        v_in[i] = special && i % 97 == 5 ? STALE : special && i % 89 == 3 ? ~i : v_in[i];
    }
    return n;
}

static void value_codec_decode__cut__corrupt(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    struct tsdb_error err;
    tsdb_prng_init(&r, 11);
    test_guard_init(&g, 4096);
    for (uint32_t kind = 0; kind < 8; kind++) {
        uint32_t n = column_of_kind(kind, &r);
        size_t len = value_codec_encode(v_in, n, NULL, bytes);
        for (size_t cut = 0; cut < len; cut++) {
            const uint8_t *src = test_guard_at_end(&g, bytes, cut);
            assert_int_equal(value_codec_decode(src, cut, n, v_out, &err), TSDB_CORRUPT);
            assert_true(err.pos <= cut);
        }
        bytes[len] = 0;
        assert_int_equal(value_codec_decode(bytes, len + 1, n, v_out, NULL), TSDB_CORRUPT);
    }
    test_guard_deinit(&g);
}

static void value_codec_decode__damaged__ok_or_corrupt(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    tsdb_prng_init(&r, 12);
    test_guard_init(&g, 4096);
    for (uint32_t kind = 0; kind < 8; kind++) {
        uint32_t n = column_of_kind(kind, &r);
        size_t len = value_codec_encode(v_in, n, NULL, bytes);
        for (uint32_t round = 0; round < 20000; round++) {
            uint8_t *src = test_guard_at_end(&g, bytes, len);
            size_t reach = round % 2 ? len : TSDB_MIN(len, 32);
            for (uint64_t i = 0; i <= tsdb_prng_below(&r, 3); i++) {
                src[tsdb_prng_below(&r, reach)] = (uint8_t)tsdb_prng_next(&r);
            }
            enum tsdb_status status = value_codec_decode(src, len, n, v_out, NULL);
            assert_true(status == TSDB_OK || status == TSDB_CORRUPT);
        }
    }
    test_guard_deinit(&g);
}

static void value_codec_decode__lists_that_do_not_fit__corrupt(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[12];
        size_t len;
    } bad[] = {
        {{0}, 0},
        {{9, 0}, 2},                           /* unknown codec */
        {{0x20, 0}, 2},                        /* unknown flag */
        {{VALUE_COLUMN_STALE, 0, 0}, 3},       /* no markers, but flagged */
        {{VALUE_COLUMN_STALE, 2, 0, 4, 0}, 5}, /* five markers in five values */
        {{VALUE_COLUMN_STALE, 2, 5, 0, 0}, 5}, /* gap and marker are six */
        {{VALUE_COLUMN_STALE, 1, 0, 0}, 4},    /* half a pair */
        {{VALUE_COLUMN_STALE, 9, 0, 0}, 4},    /* list beyond the end */
        {{VALUE_COLUMN_RUNS, 1, 3, 0}, 4},     /* four of five values */
        {{VALUE_COLUMN_RUNS, 2, 3, 1, 0}, 5},  /* six */
        {{VALUE_COLUMN_RUNS, 0, 0}, 3},        /* none */
        {{0, 10}, 2},                          /* pattern of ten bytes */
        {{0, 8, 1, 2, 3}, 5},                  /* pattern cut */
        {{1, 19, 0, 0}, 4},                    /* 19 digits */
        {{2, 0x80, 0, 0}, 4},                  /* unknown bit */
        {{2, 0x40, 6, 0, 0}, 5},               /* six exceptions in five values */
        {{2, 0x40, 1, 5, 0, 0, 0}, 7},         /* exception behind the end */
        {{5, 64, 0, 0}, 4},                    /* shift of 64 */
        {{8, 1, 2, 3}, 4},                     /* raw of three bytes */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tsdb_error err = {0};
        if (value_codec_decode(bad[i].bytes, bad[i].len, 5, v_out, &err) != TSDB_CORRUPT) {
            fail_msg("case %zu was accepted", i);
        }
        assert_true(err.msg[0] != 0);
    }
}

static void value_codec_name__every_codec__named(void **state)
{
    (void)state;
    for (uint8_t c = 0; c < VALUE_CODEC_COUNT; c++) {
        assert_non_null(value_codec_name(c));
    }
    assert_null(value_codec_name(VALUE_CODEC_COUNT));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(value_codec_encode__one_value_again_and_again__const),
    cmocka_unit_test(value_codec_encode__constant_difference__linear),
    cmocka_unit_test(value_codec_encode__counter_with_reset__small_deltas),
    cmocka_unit_test(value_codec_encode__multiples__factor_costs_nothing_per_value),
    cmocka_unit_test(value_codec_encode__decimals__scaled_integers),
    cmocka_unit_test(value_codec_encode__exceptions_among_decimals__listed),
    cmocka_unit_test(value_codec_encode__stale_markers__beside_the_values),
    cmocka_unit_test(value_codec_encode__few_changes__runs),
    cmocka_unit_test(value_codec_encode__full_mantissa__bit_patterns),
    cmocka_unit_test(value_codec_encode__any_bits__raw_at_worst),
    cmocka_unit_test(value_codec_decode__random_mixtures__same_bits),
    cmocka_unit_test(value_codec_encode__hint__spares_the_search_keeps_the_bits),
    cmocka_unit_test(value_codec_decode__cut__corrupt),
    cmocka_unit_test(value_codec_decode__damaged__ok_or_corrupt),
    cmocka_unit_test(value_codec_decode__lists_that_do_not_fit__corrupt),
    cmocka_unit_test(value_codec_name__every_codec__named),
};
TEST_MAIN(tests)
