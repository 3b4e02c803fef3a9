#include "tests/support/test.h"

#include "base/random.h"
#include "compress/value_pack.h"

#include <math.h>

/* Values at the edges of every mode. */
static const uint64_t edges[] = {
    0,                  /* +0 */
    0x8000000000000000, /* -0 */
    0x7ff0000000000000, /* +Inf */
    0xfff0000000000000, /* -Inf */
    0x7ff0000000000002, /* the stale marker */
    0x7ff8000000000001, /* Prometheus's own NaN */
    0x7ff0000000000001, /* signalling NaNs, */
    0xfff0000000000002, /* the stale marker's negative */
    0x7fffffffffffffff, /* a NaN with all bits */
    0xffffffffffffffff, /* */
    1,                  /* the smallest denormal */
    0x000fffffffffffff, /* the largest */
    0x0010000000000000, /* the smallest normal */
    0x7fefffffffffffff, /* the largest */
    0x3ff0000000000000, /* 1 */
    0xbff0000000000000, /* -1 */
    0x4340000000000000, /* 2^53 */
    0x433fffffffffffff, /* 2^53 - 1 */
    0xc33fffffffffffff, /* 1 - 2^53 */
    0x4320000000000000, /* 2^51 */
    0x4330000000000001, /* 2^52 + 1 */
    0x3fb999999999999a, /* 0.1 */
    0x3f847ae147ae147b, /* 0.01 */
    0x3f50624dd2f1a9fc, /* 0.001 */
    0x3e112e0be826d695, /* 1e-9 */
    0x40c81cd6e631f8a1, /* 12345.6789 */
    0x40091eb851eb851f, /* 3.14 */
    0x400921fb54442d18, /* pi */
    0x400921fb60000000, /* pi as a float32 */
    0x43abc16d674ec800, /* 1e18 */
    0x7e37e43c8800759c, /* 1e300 */
};

static void assert_round_trip(uint64_t bits, bool has_base, uint64_t base)
{
    struct value_packed v = value_pack(bits, has_base, base);
    assert_true(v.mode < VALUE_PACK_MODE_COUNT);
    assert_int_equal(v.bytes, value_pack_bytes(v.mode));
    assert_true(v.bytes <= VALUE_PACK_BYTES_MAX);
    assert_true(v.bytes == 8 || v.packed >> (8 * v.bytes) == 0);
    assert_true(has_base || !value_pack_needs_base(v.mode));
    uint64_t seen_base =
        value_pack_needs_base(v.mode) ? base : ~base; /* a mode without base must not look at it */
    uint64_t back = value_unpack(v.mode, v.packed, seen_base);
    if (back != bits) {
        fail_msg("%016llx against %016llx (%d): mode %u gives %016llx", (unsigned long long)bits,
                 (unsigned long long)base, has_base, v.mode, (unsigned long long)back);
    }
}

static void value_pack__edge_values__every_pair_bit_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(edges); i++) {
        assert_round_trip(edges[i], false, 0);
        for (size_t j = 0; j < TSDB_ARRAY_LEN(edges); j++) {
            assert_round_trip(edges[i], true, edges[j]);
        }
    }
}

/* A value of one of the kinds that monitoring brings. */
static uint64_t value_make(struct tsdb_prng *p, uint64_t kind, uint64_t prev)
{
    double scale[] = {10, 100, 1000, 1e4, 1e6, 1e9, 1e12};
    double d = tsdb_bits_double(prev);
    switch (kind) {
    case 0:
        return prev;
    case 1:
        return tsdb_double_bits(
            (double)(int64_t)(tsdb_prng_next(p) >> (11 + tsdb_prng_below(p, 53))));
    case 2:
        return tsdb_double_bits(
            -(double)(int64_t)(tsdb_prng_next(p) >> (11 + tsdb_prng_below(p, 53))));
    case 3:
        return tsdb_double_bits(d + (double)tsdb_prng_below(p, 100000));
    case 4:
        return tsdb_double_bits(
            (double)(int64_t)(tsdb_prng_next(p) >> (20 + tsdb_prng_below(p, 44))) /
            scale[tsdb_prng_below(p, TSDB_ARRAY_LEN(scale))]);
    case 5:
        return tsdb_double_bits(d * (1 + tsdb_prng_double(p) / 100));
    case 6:
        return tsdb_double_bits((double)(float)tsdb_prng_double(p));
    case 7:
        return tsdb_prng_next(p);
    default:
        return prev ^ (UINT64_C(1) << tsdb_prng_below(p, 64));
    }
}

static void value_pack__random_values__bit_exact_and_every_mode_used(void **state)
{
    (void)state;
    struct tsdb_prng p;
    uint32_t used[VALUE_PACK_MODE_COUNT] = {0};
    uint64_t prev = 0;
    tsdb_prng_init(&p, 42);
    for (int i = 0; i < 1000000; i++) {
        uint64_t bits = value_make(&p, tsdb_prng_below(&p, 9), prev);
        bool has_base = tsdb_prng_below(&p, 8) != 0;
        assert_round_trip(bits, has_base, prev);
        used[value_pack(bits, has_base, prev).mode]++;
        prev = bits;
    }
    used[VALUE_PACK_STALE]++; /* see the edges */
    for (uint32_t mode = 0; mode < VALUE_PACK_MODE_COUNT; mode++) {
        if (used[mode] == 0) {
            fail_msg("mode %u was never used", mode);
        }
    }
}

static void value_pack__known_values__smallest_form(void **state)
{
    (void)state;
    const struct {
        double base, value;
        uint32_t bytes;
    } cases[] = {
        {5, 5, 0},
        {5, 0, 0},
        {5, 6, 1},
        {1000000, 1000063, 1},
        {1000000, 1000200, 2},
        {1e15, 1e15 + 1, 1},
        {12.34, 12.35, 1},
        {12.34, 13.00, 1},
        {0.123, 0.124, 1},
        {99.99, 12.34, 2},
        {0.012345678, 0.012345999, 2},
        {12.345, 12.35, 1},
        {123456.78, 123457, 1},
        {0.5, 0.25, 1},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct value_packed v =
            value_pack(tsdb_double_bits(cases[i].value), true, tsdb_double_bits(cases[i].base));
        if (v.bytes > cases[i].bytes) {
            fail_msg("%.17g against %.17g: %u bytes (mode %u), expected %u", cases[i].value,
                     cases[i].base, v.bytes, v.mode, cases[i].bytes);
        }
    }
    assert_int_equal(value_pack(tsdb_double_bits(7), false, 0).bytes, 1);
    assert_int_equal(value_pack(0, false, 0).bytes, 0);
    assert_int_equal(value_pack(tsdb_double_bits(3.14), false, 0).bytes, 2);
}

/* Bytes from a damaged disk: any mode with any payload and any base gives some value. Sanitizers
 * watch. */
static void value_unpack__any_bytes__some_value(void **state)
{
    (void)state;
    struct tsdb_prng p;
    uint64_t sum = 0;
    tsdb_prng_init(&p, 7);
    for (int i = 0; i < 200000; i++) {
        uint32_t mode = (uint32_t)tsdb_prng_below(&p, VALUE_PACK_MODE_COUNT);
        uint64_t base =
            i % 3 ? tsdb_prng_next(&p) : edges[tsdb_prng_below(&p, TSDB_ARRAY_LEN(edges))];
        sum += value_unpack(mode, tsdb_prng_next(&p), base);
        sum += value_unpack(mode, UINT64_MAX, base);
    }
    assert_true(sum != 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(value_pack__edge_values__every_pair_bit_exact),
    cmocka_unit_test(value_pack__random_values__bit_exact_and_every_mode_used),
    cmocka_unit_test(value_pack__known_values__smallest_form),
    cmocka_unit_test(value_unpack__any_bytes__some_value),
};
TEST_MAIN(tests)
