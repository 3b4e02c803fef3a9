#include "tests/support/test.h"

#include "base/random.h"
#include "compress/bitpack.h"
#include "tests/support/guard.h"

#define N_MAX 257

/* Bit by bit, as the header says. */
static void naive_pack(const uint64_t *in, size_t n, uint32_t w, uint8_t *out)
{
    memset(out, 0, bitpack_bytes(n, w));
    for (size_t i = 0; i < n; i++) {
        for (uint32_t b = 0; b < w; b++) {
            size_t at = i * w + b;
            out[at / 8] = (uint8_t)(out[at / 8] | (in[i] >> b & 1) << (at % 8));
        }
    }
}

static void fill(struct tsdb_prng *r, uint64_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = tsdb_prng_next(r);
    }
}

static void bitpack_pack__all_widths_and_lengths__bits_in_order(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    uint64_t in[N_MAX];
    uint8_t want[N_MAX * 8];
    tsdb_prng_init(&r, 1);
    test_guard_init(&g, sizeof want);
    for (uint32_t w = 0; w <= 64; w++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            fill(&r, in, n); /* bits above w are ignored */
            size_t bytes = bitpack_bytes(n, w);
            naive_pack(in, n, w, want);
            uint8_t *out = test_guard_at_end(&g, want, bytes);
            memset(out, 0xa5, bytes);
            bitpack_pack(in, n, w, out);
            assert_memory_equal(out, want, bytes);
        }
    }
    test_guard_deinit(&g);
}

static void bitpack_unpack__all_widths_and_lengths__values_plus_base(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    uint64_t in[N_MAX], out[N_MAX + 1];
    uint8_t packed[N_MAX * 8];
    tsdb_prng_init(&r, 2);
    test_guard_init(&g, sizeof packed);
    for (uint32_t w = 0; w <= 64; w++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            fill(&r, in, n);
            size_t bytes = bitpack_bytes(n, w);
            uint64_t base = tsdb_prng_next(&r);
            naive_pack(in, n, w, packed);
            const uint8_t *src = test_guard_at_end(&g, packed, bytes);
            out[n] = 42;
            bitpack_unpack(src, bytes, n, w, base, out);
            assert_int_equal(out[n], 42);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(out[i], (in[i] & bitpack_mask(w)) + base);
            }
        }
    }
    test_guard_deinit(&g);
}

static void bitpack_unpack__bytes_behind__no_influence(void **state)
{
    (void)state;
    uint64_t in[5] = {1, 2, 3, 4, 5}, out[5];
    uint8_t packed[64];
    memset(packed, 0xff, sizeof packed);
    bitpack_pack(in, 5, 3, packed);
    bitpack_unpack(packed, sizeof packed, 5, 3, 0, out);
    assert_memory_equal(in, out, sizeof in);
}

static void bitpack_get__every_position__value_alone(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    uint64_t in[70];
    uint8_t packed[70 * 8];
    tsdb_prng_init(&r, 3);
    test_guard_init(&g, sizeof packed);
    fill(&r, in, 70);
    for (uint32_t w = 0; w <= 64; w++) {
        bitpack_pack(in, 70, w, packed);
        const uint8_t *src = test_guard_at_end(&g, packed, bitpack_bytes(70, w));
        for (size_t i = 0; i < 70; i++) {
            assert_int_equal(bitpack_get(src, bitpack_bytes(70, w), i, w), in[i] & bitpack_mask(w));
        }
    }
    test_guard_deinit(&g);
}

static void bitpack_width__edges__bits_needed(void **state)
{
    (void)state;
    assert_int_equal(bitpack_width(0), 0);
    assert_int_equal(bitpack_width(1), 1);
    assert_int_equal(bitpack_width(255), 8);
    assert_int_equal(bitpack_width(256), 9);
    assert_int_equal(bitpack_width(UINT64_MAX), 64);
    assert_int_equal(bitpack_mask(0), 0);
    assert_int_equal(bitpack_mask(64), UINT64_MAX);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bitpack_pack__all_widths_and_lengths__bits_in_order),
    cmocka_unit_test(bitpack_unpack__all_widths_and_lengths__values_plus_base),
    cmocka_unit_test(bitpack_unpack__bytes_behind__no_influence),
    cmocka_unit_test(bitpack_get__every_position__value_alone),
    cmocka_unit_test(bitpack_width__edges__bits_needed),
};
TEST_MAIN(tests)
