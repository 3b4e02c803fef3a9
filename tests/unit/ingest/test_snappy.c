#include "tests/support/test.h"

#include "base/random.h"
#include "ingest/snappy.h"
#include "tests/support/guard.h"
#include "tests/support/ingest/encode.h"

#define BYTES_MAX ((size_t)1 << 20)

static enum tsdb_status declared(const void *src, size_t len, size_t *out)
{
    struct tsdb_error err = {0};
    enum tsdb_status status = ingest_snappy_decoded_bytes(src, len, BYTES_MAX, out, &err);
    assert_int_equal(err.status, status);
    return status;
}

/* Half noise, half repetition, so that literals and copies of all kinds occur. */
static void fill(uint8_t *data, size_t len, uint64_t seed)
{
    struct tsdb_prng r;
    tsdb_prng_init(&r, seed);
    for (size_t i = 0; i < len;) {
        size_t n = 1 + tsdb_prng_below(&r, 100);
        uint64_t back = tsdb_prng_below(&r, 5000);
        for (; n > 0 && i < len; n--, i++) {
            data[i] = back % 2 == 0 && back < i ? data[i - 1 - back] : (uint8_t)tsdb_prng_next(&r);
        }
    }
}

static void decode__encoded_bodies__the_same_bytes(void **state)
{
    (void)state;
    const size_t lens[] = {0, 1, 2, 15, 16, 17, 59, 60, 61, 255, 256, 4095, 65536, 65537, 300000};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct tsdb_buf raw;
        struct tsdb_buf body;
        tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
        tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
        uint8_t *p = tsdb_buf_reserve(&raw, lens[i] + 1);
        fill(p, lens[i], i);
        raw.len = lens[i];
        assert_ok(encode_snappy(&raw, &body));
        size_t bytes = 77;
        assert_ok(declared(body.data, body.len, &bytes));
        assert_int_equal(bytes, lens[i]);
        struct test_guard g;
        test_guard_init(&g, bytes + 1);
        uint8_t *to = bytes > 0 ? test_guard_at_end(&g, p, bytes) : NULL;
        if (bytes > 0) {
            memset(to, 0, bytes);
        }
        assert_ok(ingest_snappy_decode(body.data, body.len, to, bytes, NULL));
        if (bytes > 0) {
            assert_memory_equal(to, raw.data, bytes);
        }
        test_guard_deinit(&g);
        tsdb_buf_deinit(&raw);
        tsdb_buf_deinit(&body);
    }
}

static void decoded_bytes__bombs_and_limits__refused(void **state)
{
    (void)state;
    size_t bytes = 77;
    assert_int_equal(declared("", 0, &bytes), TSDB_INVALID);
    assert_int_equal(declared("\x80", 1, &bytes), TSDB_INVALID);
    assert_int_equal(declared("\xff\xff\xff\xff\xff\xff", 6, &bytes), TSDB_INVALID);
    /* 4 GiB - 1 in five bytes; over the limit by one. */
    assert_int_equal(declared("\xff\xff\xff\xff\x0f", 5, &bytes), TSDB_LIMIT);
    assert_int_equal(declared("\x81\x80\x40", 3, &bytes), TSDB_LIMIT);
    /* Under the limit, but a body of three bytes cannot hold a mebibyte. */
    assert_int_equal(declared("\x80\x80\x40", 3, &bytes), TSDB_INVALID);
    assert_int_equal(bytes, 77);
    assert_ok(declared("\x00", 1, &bytes));
    assert_int_equal(bytes, 0);
}

/* The densest body there is must pass the plausibility check: zeroes, as long copies. */
static void decoded_bytes__densest_real_body__accepted(void **state)
{
    (void)state;
    struct tsdb_buf raw;
    struct tsdb_buf body;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    for (size_t len = 1; len <= BYTES_MAX; len = len * 3 / 2 + 1) {
        raw.len = 0;
        body.len = 0;
        uint8_t *p = tsdb_buf_reserve(&raw, len);
        memset(p, 0, len);
        raw.len = len;
        assert_ok(encode_snappy(&raw, &body));
        size_t bytes = 0;
        assert_ok(declared(body.data, body.len, &bytes));
        assert_int_equal(bytes, len);
    }
    tsdb_buf_deinit(&raw);
    tsdb_buf_deinit(&body);
    /* And by hand: a literal byte, then copies of 64. */
    uint8_t dense[4 + 3 * 100];
    uint8_t *p = tsdb_put_uvarint(dense, 1 + 64 * 99);
    *p++ = 0;
    *p++ = 'x';
    for (int i = 0; i < 99; i++) {
        *p++ = 63 << 2 | 2;
        *p++ = 1;
        *p++ = 0;
    }
    size_t bytes = 0;
    assert_ok(declared(dense, (size_t)(p - dense), &bytes));
    uint8_t *to = test_malloc(bytes);
    assert_ok(ingest_snappy_decode(dense, (size_t)(p - dense), to, bytes, NULL));
    assert_int_equal(to[bytes - 1], 'x');
    test_free(to);
}

static void decode__truncated_and_damaged__invalid_and_inside(void **state)
{
    (void)state;
    struct tsdb_buf raw;
    struct tsdb_buf body;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    size_t len = 1500;
    fill(tsdb_buf_reserve(&raw, len), len, 5);
    raw.len = len;
    assert_ok(encode_snappy(&raw, &body));
    struct test_guard in;
    struct test_guard out;
    test_guard_init(&in, body.len);
    test_guard_init(&out, len);
    for (size_t cut = 2; cut < body.len; cut++) {
        uint8_t *src = test_guard_at_end(&in, body.data, cut);
        uint8_t *dst = test_guard_at_end(&out, raw.data, len);
        struct tsdb_error err = {0};
        assert_int_equal(ingest_snappy_decode(src, cut, dst, len, &err), TSDB_INVALID);
        assert_non_null(strstr(err.msg, "snappy"));
    }
    int refused = 0;
    for (size_t at = 2; at < body.len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t *src = test_guard_at_end(&in, body.data, body.len);
            uint8_t *dst = test_guard_at_end(&out, raw.data, len);
            src[at] ^= (uint8_t)(1u << bit);
            refused += ingest_snappy_decode(src, body.len, dst, len, NULL) != TSDB_OK;
        }
    }
    assert_true(refused > 0);
    /* A destination of another size than declared. */
    assert_int_equal(ingest_snappy_decode(body.data, body.len, raw.data, len - 1, NULL),
                     TSDB_INVALID);
    test_guard_deinit(&in);
    test_guard_deinit(&out);
    tsdb_buf_deinit(&raw);
    tsdb_buf_deinit(&body);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(decode__encoded_bodies__the_same_bytes),
    cmocka_unit_test(decoded_bytes__bombs_and_limits__refused),
    cmocka_unit_test(decoded_bytes__densest_real_body__accepted),
    cmocka_unit_test(decode__truncated_and_damaged__invalid_and_inside),
};
TEST_MAIN(tests)
