#include "tests/support/test.h"

#include "compress/xor_codec.h"
#include "tests/support/guard.h"
#include "tests/support/hex.h"
#include "tests/unit/compress/columns.h"

#define N_MAX 300

static uint64_t v_in[N_MAX], v_out[N_MAX];
static int64_t t_in[N_MAX], t_out[N_MAX];
static uint8_t bytes[XOR_CHUNK_BYTES_MAX(N_MAX)];

static void fill_values(struct tsdb_prng *r, size_t n)
{
    uint32_t kind = (uint32_t)tsdb_prng_below(r, 4);
    double walk = 50;
    for (size_t i = 0; i < n; i++) {
        walk += tsdb_prng_double(r) - 0.5;
        v_in[i] = kind == 0   ? random_bits(r)
                  : kind == 1 ? tsdb_double_bits(walk)
                  : kind == 2 ? tsdb_double_bits((double)tsdb_prng_below(r, 3))
                              : v_in[0] ^ tsdb_prng_next(r) >> tsdb_prng_below(r, 64);
    }
}

/* Widths of all fields of the time stream, at their edges. */
static void fill_times(struct tsdb_prng *r, size_t n)
{
    static const int64_t dods[] = {0,       1,      -1,      8192,    -8191,  8193,
                                   -8192,   65536,  -65535,  65537,   -65536, 524288,
                                   -524287, 524289, -524288, 1 << 30, -99999, INT64_C(1) << 40};
    int64_t delta = 1 << 20;
    t_in[0] = (int64_t)tsdb_prng_next(r) >> tsdb_prng_below(r, 40);
    t_in[0] /= 4;
    for (size_t i = 1; i < n; i++) {
        int64_t next = delta + dods[tsdb_prng_below(r, sizeof dods / sizeof dods[0])];
        delta = next > 0 ? next : delta;
        t_in[i] = t_in[i - 1] + delta;
    }
}

static void xor_values_decode__what_was_encoded__same_bits(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    tsdb_prng_init(&r, 1);
    test_guard_init(&g, sizeof bytes);
    for (uint32_t round = 0; round < 3000; round++) {
        size_t n = 1 + tsdb_prng_below(&r, N_MAX);
        fill_values(&r, n);
        size_t len = xor_values_encode(v_in, n, bytes);
        assert_int_equal(len, xor_values_bytes(v_in, n));
        assert_true(len <= XOR_VALUES_BYTES_MAX(n));
        const uint8_t *src = test_guard_at_end(&g, bytes, len);
        assert_ok(xor_values_decode(src, len, n, v_out, NULL));
        assert_memory_equal(v_in, v_out, 8 * n);
    }
    test_guard_deinit(&g);
}

static void xor_values_decode__cut_or_longer__corrupt(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    struct tsdb_error err;
    tsdb_prng_init(&r, 2);
    test_guard_init(&g, sizeof bytes);
    for (size_t i = 0; i < 100; i++) {
        v_in[i] = random_bits(&r);
    }
    size_t len = xor_values_encode(v_in, 100, bytes);
    for (size_t cut = 0; cut < len; cut++) {
        const uint8_t *src = test_guard_at_end(&g, bytes, cut);
        assert_int_equal(xor_values_decode(src, cut, 100, v_out, &err), TSDB_CORRUPT);
    }
    bytes[len] = 0;
    assert_int_equal(xor_values_decode(bytes, len + 1, 100, v_out, NULL), TSDB_CORRUPT);
    test_guard_deinit(&g);
}

static void xor_values_decode__window_never_opened_or_too_wide__corrupt(void **state)
{
    (void)state;
    uint8_t src[32] = {0};
    src[8] = 0x80; /* '10' without a window before */
    assert_int_equal(xor_values_decode(src, 17, 2, v_out, NULL), TSDB_CORRUPT);
    src[8] = 0xff; /* '11', 31 leading zeroes, 63 significant bits */
    src[9] = 0xff;
    assert_int_equal(xor_values_decode(src, 18, 2, v_out, NULL), TSDB_CORRUPT);
}

/* Made by Prometheus 2.42. */
static void xor_chunk_encode__known_samples__prometheus_bytes(void **state)
{
    (void)state;
    static const int64_t t[] = {1700000000000, 1700000015000, 1700000030000, 1700000046500};
    static const double v[] = {1, 2, 4, 7.25};
    uint8_t want[64];
    size_t want_len = test_hex("000480a0abfef9623ff00000000000009875c25fff40061773609a", want), n;
    for (size_t i = 0; i < 4; i++) {
        v_in[i] = tsdb_double_bits(v[i]);
    }
    assert_int_equal(xor_chunk_encode(t, v_in, 4, bytes), want_len);
    assert_memory_equal(bytes, want, want_len);
    assert_ok(xor_chunk_decode(want, want_len, 4, t_out, v_out, &n, NULL));
    assert_int_equal(n, 4);
    assert_memory_equal(t_out, t, sizeof t);
    assert_memory_equal(v_out, v_in, 8 * n);
}

/* Made by Prometheus 3.5: nothing behind a stream that ends with a byte. (2.42 left a zero byte.) */
static void xor_chunk_encode__one_sample__prometheus_bytes(void **state)
{
    (void)state;
    static const int64_t t = 1700006400000;
    uint8_t want[64];
    size_t want_len = test_hex("000180c0b884fa624008000000000000", want), n;
    v_in[0] = tsdb_double_bits(3);
    assert_int_equal(xor_chunk_encode(&t, v_in, 1, bytes), want_len);
    assert_memory_equal(bytes, want, want_len);
    want[want_len] = 0;
    assert_ok(xor_chunk_decode(want, want_len + 1, 1, t_out, v_out, &n, NULL));
    assert_int_equal(n, 1);
}

/* When Prometheus goes on with a chunk whose values never changed, its writer starts from the window
 * of a reader: all 64 bits. */
static void xor_chunk_decode__window_never_opened__is_64_bits(void **state)
{
    (void)state;
    /* t 0, value 0; step 1, '10' and 64 bits of 1 */
    static const uint8_t src[] = {0, 2,    0, 0, 0, 0, 0, 0, 0, 0,   0,
                                  1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x40};
    size_t n;
    assert_ok(xor_chunk_decode(src, sizeof src, 2, t_out, v_out, &n, NULL));
    assert_int_equal(n, 2);
    assert_int_equal(t_out[1], 1);
    assert_int_equal(v_out[1], 1);
}

static void xor_chunk_decode__what_was_encoded__same_samples(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    size_t got;
    tsdb_prng_init(&r, 3);
    test_guard_init(&g, sizeof bytes);
    for (uint32_t round = 0; round < 3000; round++) {
        size_t n = 1 + tsdb_prng_below(&r, N_MAX);
        fill_values(&r, n);
        fill_times(&r, n);
        size_t len = xor_chunk_encode(t_in, v_in, n, bytes);
        assert_true(len <= XOR_CHUNK_BYTES_MAX(n));
        const uint8_t *src = test_guard_at_end(&g, bytes, len);
        assert_ok(xor_chunk_decode(src, len, N_MAX, t_out, v_out, &got, NULL));
        assert_int_equal(got, n);
        assert_memory_equal(v_in, v_out, 8 * n);
        assert_memory_equal(t_in, t_out, 8 * n);
        assert_int_equal(xor_chunk_decode(src, len, n - 1, t_out, v_out, &got, NULL), TSDB_LIMIT);
    }
    test_guard_deinit(&g);
}

static void xor_chunk_decode__damaged__ok_or_corrupt(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    size_t got;
    tsdb_prng_init(&r, 4);
    test_guard_init(&g, sizeof bytes);
    fill_values(&r, 50);
    fill_times(&r, 50);
    size_t len = xor_chunk_encode(t_in, v_in, 50, bytes);
    for (size_t cut = 0; cut + 1 < len; cut++) {
        const uint8_t *src = test_guard_at_end(&g, bytes, cut);
        assert_int_equal(xor_chunk_decode(src, cut, N_MAX, t_out, v_out, &got, NULL), TSDB_CORRUPT);
    }
    for (uint32_t round = 0; round < 50000; round++) {
        uint8_t *src = test_guard_at_end(&g, bytes, len);
        src[2 + tsdb_prng_below(&r, len - 2)] ^= (uint8_t)(1u << tsdb_prng_below(&r, 8));
        src[2 + tsdb_prng_below(&r, len - 2)] = (uint8_t)tsdb_prng_next(&r);
        enum tsdb_status status = xor_chunk_decode(src, len, N_MAX, t_out, v_out, &got, NULL);
        assert_true(status == TSDB_OK || status == TSDB_CORRUPT);
    }
    test_guard_deinit(&g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(xor_values_decode__what_was_encoded__same_bits),
    cmocka_unit_test(xor_values_decode__cut_or_longer__corrupt),
    cmocka_unit_test(xor_values_decode__window_never_opened_or_too_wide__corrupt),
    cmocka_unit_test(xor_chunk_encode__known_samples__prometheus_bytes),
    cmocka_unit_test(xor_chunk_encode__one_sample__prometheus_bytes),
    cmocka_unit_test(xor_chunk_decode__window_never_opened__is_64_bits),
    cmocka_unit_test(xor_chunk_decode__what_was_encoded__same_samples),
    cmocka_unit_test(xor_chunk_decode__damaged__ok_or_corrupt),
};
TEST_MAIN(tests)
