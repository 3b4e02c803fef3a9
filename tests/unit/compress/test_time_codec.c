#include "tests/support/test.h"

#include "base/random.h"
#include "compress/time_codec.h"
#include "tests/support/guard.h"

#include <stdbool.h>

#define T0    INT64_C(1700000000000)
#define N_MAX COLUMN_COUNT_MAX

static int64_t t_in[N_MAX], t_out[N_MAX];
static uint8_t bytes[8 * N_MAX + 64];

/* Encodes t_in[0..n), checks the round trip at the end of memory, returns the length. */
static size_t round_trip(uint32_t n, bool rising)
{
    struct test_guard g;
    struct tsdb_error err;
    size_t max = time_codec_bytes_max(n);
    memset(bytes + max, 0x77, 16);
    size_t len = time_codec_encode(t_in, n, bytes);
    assert_true(len >= 1 && len <= max);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(bytes[max + i], 0x77);
    }
    test_guard_init(&g, len);
    const uint8_t *src = test_guard_at_end(&g, bytes, len);
    memset(t_out, 0x55, 8 * (size_t)n);
    assert_ok_err(rising ? time_codec_decode(src, len, n, t_out, &err)
                         : time_codec_decode_any(src, len, n, t_out, &err),
                  &err);
    assert_memory_equal(t_in, t_out, 8 * (size_t)n);
    test_guard_deinit(&g);
    return len;
}

static void fill_grid(uint32_t n, int64_t step, int64_t jitter, struct tsdb_prng *r)
{
    for (uint32_t i = 0; i < n; i++) {
        t_in[i] = T0 + (int64_t)i * step;
        t_in[i] += jitter > 0 ? (int64_t)tsdb_prng_below(r, (uint64_t)jitter) : 0;
    }
}

static void time_codec_encode__regular__no_payload(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= N_MAX; n += n < 300 ? 1 : 1571) {
        fill_grid(n, 15000, 0, NULL);
        assert_true(round_trip(n, true) <= 1 + 6 + 3);
        assert_int_equal(bytes[0], TIME_CODEC_REGULAR);
    }
}

static void time_codec_encode__jitter__grid_of_jitter_width(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 1);
    for (uint32_t n = 100; n <= N_MAX; n += 899) {
        fill_grid(n, 5000, 8, &r);
        assert_true(round_trip(n, true) <= 16 + (3 * n + 7) / 8);
        assert_int_equal(bytes[0], TIME_CODEC_GRID);
    }
}

static void time_codec_encode__missed_scrapes__grid_with_shifts(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 2);
    fill_grid(1000, 5000, 8, &r);
    for (uint32_t i = 300; i < 1000; i++) {
        t_in[i] += 7 * 5000;
    }
    for (uint32_t i = 900; i < 1000; i++) {
        t_in[i] += 3600000;
    }
    assert_true(round_trip(1000, true) <= 32 + 3 * 1000 / 8);
    assert_int_equal(bytes[0], TIME_CODEC_GRID);
    for (uint32_t i = 500; i < 1000; i++) {
        t_in[i] += 1234; /* begun anew, in another phase */
    }
    assert_true(round_trip(1000, true) <= 40 + 5 * 1000 / 8);
}

static void time_codec_encode__odd_steps__round_trip(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 3);
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t n = 1 + (uint32_t)tsdb_prng_below(&r, 400);
        uint32_t wild = (uint32_t)tsdb_prng_below(&r, 5);
        int64_t t = (int64_t)tsdb_prng_below(&r, 1u << 30) - (1 << 29);
        for (uint32_t i = 0; i < n; i++) {
            t_in[i] = t;
            uint64_t width = wild == 0 ? 1 : tsdb_prng_below(&r, wild * 10) + 1;
            t += 1 + (int64_t)(tsdb_prng_next(&r) >> (64 - width));
        }
        round_trip(n, true);
    }
}

static void time_codec_encode__extremes__round_trip(void **state)
{
    (void)state;
    static const int64_t x[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
    memcpy(t_in, x, sizeof x);
    for (uint32_t n = 1; n <= 7; n++) {
        round_trip(n, true);
    }
    for (uint32_t i = 0; i < 6; i++) {
        t_in[0] = x[i];
        t_in[1] = x[i + 1];
        round_trip(2, true);
    }
}

static void time_codec_decode_any__not_rising__round_trip(void **state)
{
    (void)state;
    struct tsdb_prng r;
    tsdb_prng_init(&r, 4);
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t n = 1 + (uint32_t)tsdb_prng_below(&r, 300);
        uint32_t shift = (uint32_t)tsdb_prng_below(&r, 64);
        for (uint32_t i = 0; i < n; i++) {
            bool again = i > 0 && tsdb_prng_below(&r, 4) > 0;
            t_in[i] = again ? t_in[i - 1] : (int64_t)tsdb_prng_next(&r) >> shift;
        }
        round_trip(n, false);
    }
    fill_grid(8192, 0, 0, NULL); /* start timestamps: one and the same */
    assert_true(round_trip(8192, false) <= 8);
}

static void time_codec_decode__not_rising__corrupt(void **state)
{
    (void)state;
    struct tsdb_error err;
    fill_grid(100, 10, 0, NULL);
    t_in[60] = t_in[59];
    size_t len = time_codec_encode(t_in, 100, bytes);
    assert_int_equal(time_codec_decode(bytes, len, 100, t_out, &err), TSDB_CORRUPT);
    assert_int_equal(err.status, TSDB_CORRUPT);
    fill_grid(100, -10, 0, NULL);
    len = time_codec_encode(t_in, 100, bytes);
    assert_int_equal(time_codec_decode(bytes, len, 100, t_out, NULL), TSDB_CORRUPT);
}

static void time_codec_at__regular_grid_raw__value_alone(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct tsdb_error err;
    int64_t t;
    tsdb_prng_init(&r, 5);
    for (uint32_t kind = 0; kind < 3; kind++) {
        fill_grid(500, 1000, kind == 0 ? 0 : 50, &r);
        for (uint32_t i = 0; i < 500 && kind == 1; i++) {
            t_in[i] += (i > 100 ? 5000 : 0) + (i > 480 ? 123000 : 0);
        }
        for (uint32_t i = 0; i < 500 && kind == 2; i++) {
            t_in[i] = (int64_t)tsdb_prng_next(&r);
        }
        size_t len = time_codec_encode(t_in, 500, bytes);
        static const uint8_t codec[] = {TIME_CODEC_REGULAR, TIME_CODEC_GRID, TIME_CODEC_RAW};
        assert_int_equal(bytes[0], codec[kind]);
        for (uint32_t i = 0; i < 500; i++) {
            assert_ok_err(time_codec_at(bytes, len, 500, i, &t, &err), &err);
            assert_int_equal(t, t_in[i]);
        }
        assert_int_equal(time_codec_at(bytes, len - 1, 500, 0, &t, NULL), TSDB_CORRUPT);
    }
    bytes[0] = TIME_CODEC_DELTA;
    assert_int_equal(time_codec_at(bytes, 10, 500, 0, &t, NULL), TSDB_UNSUPPORTED);
    assert_int_equal(time_codec_at(bytes, 0, 500, 0, &t, NULL), TSDB_CORRUPT);
}

/* Cut everywhere, then with random bytes changed: no read outside, and OK or CORRUPT only. */
static void time_codec_decode__damaged__ok_or_corrupt(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    int64_t t;
    tsdb_prng_init(&r, 6);
    test_guard_init(&g, 4096);
    for (uint32_t kind = 0; kind < 4; kind++) {
        fill_grid(300, 1000, kind * 20, &r);
        for (uint32_t i = 0; i < 300 && kind == 2; i++) {
            t_in[i] += i * i * 10; /* second differences are small */
        }
        for (uint32_t i = 150; i < 300 && kind == 3; i++) {
            t_in[i] += 90000;
        }
        size_t len = time_codec_encode(t_in, 300, bytes);
        for (size_t cut = 0; cut < len; cut++) {
            const uint8_t *src = test_guard_at_end(&g, bytes, cut);
            assert_int_equal(time_codec_decode(src, cut, 300, t_out, NULL), TSDB_CORRUPT);
        }
        for (uint32_t round = 0; round < 20000; round++) {
            uint8_t *src = test_guard_at_end(&g, bytes, len);
            for (uint64_t i = 0; i <= tsdb_prng_below(&r, 3); i++) {
                src[tsdb_prng_below(&r, TSDB_MIN(len, 24))] = (uint8_t)tsdb_prng_next(&r);
            }
            enum tsdb_status status = time_codec_decode(src, len, 300, t_out, NULL);
            assert_true(status == TSDB_OK || status == TSDB_CORRUPT);
            status = time_codec_at(src, len, 300, 299, &t, NULL);
            assert_true(status != TSDB_OK || time_codec_decode_any(src, len, 300, t_out, NULL) ||
                        t == t_out[299]);
        }
    }
    test_guard_deinit(&g);
}

/* A grid of n = 8 values by hand: first 0, step 1, shifts, base 0, width, payload. */
static enum tsdb_status grid_decode(uint8_t shifts, uint8_t gap, uint8_t width, size_t payload)
{
    struct tsdb_error err;
    size_t len = 0;
    bytes[len++] = TIME_CODEC_GRID;
    bytes[len++] = 0;
    bytes[len++] = 2;
    bytes[len++] = shifts;
    for (uint8_t i = 0; i < shifts; i++) {
        bytes[len++] = gap;
        bytes[len++] = 2;
    }
    bytes[len++] = 0;
    bytes[len++] = width;
    memset(bytes + len, 0, payload);
    return time_codec_decode_any(bytes, len + payload, shifts == 33 ? 100 : 8, t_out, &err);
}

static void time_codec_decode__grid_out_of_bounds__corrupt(void **state)
{
    (void)state;
    assert_ok(grid_decode(0, 0, 8, 8));
    assert_ok(grid_decode(1, 7, 8, 8)); /* at the last value */
    assert_int_equal(t_out[6], 6);
    assert_int_equal(t_out[7], 8);
    assert_int_equal(grid_decode(1, 8, 8, 8), TSDB_CORRUPT); /* behind it */
    assert_int_equal(grid_decode(1, 0, 8, 8), TSDB_CORRUPT);
    assert_int_equal(grid_decode(2, 4, 8, 8), TSDB_CORRUPT);
    assert_int_equal(grid_decode(0, 0, 8, 7), TSDB_CORRUPT);
    assert_int_equal(grid_decode(0, 0, 65, 65), TSDB_CORRUPT);
    assert_int_equal(grid_decode(33, 1, 0, 0), TSDB_CORRUPT); /* more shifts than any has */
}

static void time_codec_decode__bytes_left_over__corrupt(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind < 3; kind++) {
        struct tsdb_prng r;
        tsdb_prng_init(&r, 7);
        fill_grid(200, 1000, kind * 30, &r);
        for (uint32_t i = 0; i < 200 && kind == 2; i++) {
            t_in[i] += i * i * 100;
        }
        size_t len = time_codec_encode(t_in, 200, bytes);
        assert_ok(time_codec_decode(bytes, len, 200, t_out, NULL));
        bytes[len] = 0;
        assert_int_equal(time_codec_decode(bytes, len + 1, 200, t_out, NULL), TSDB_CORRUPT);
    }
}

static void time_codec_name__every_codec__named(void **state)
{
    (void)state;
    for (uint8_t c = 0; c < TIME_CODEC_COUNT; c++) {
        assert_non_null(time_codec_name(c));
    }
    assert_null(time_codec_name(TIME_CODEC_COUNT));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(time_codec_encode__regular__no_payload),
    cmocka_unit_test(time_codec_encode__jitter__grid_of_jitter_width),
    cmocka_unit_test(time_codec_encode__missed_scrapes__grid_with_shifts),
    cmocka_unit_test(time_codec_encode__odd_steps__round_trip),
    cmocka_unit_test(time_codec_encode__extremes__round_trip),
    cmocka_unit_test(time_codec_decode_any__not_rising__round_trip),
    cmocka_unit_test(time_codec_decode__not_rising__corrupt),
    cmocka_unit_test(time_codec_at__regular_grid_raw__value_alone),
    cmocka_unit_test(time_codec_decode__damaged__ok_or_corrupt),
    cmocka_unit_test(time_codec_decode__grid_out_of_bounds__corrupt),
    cmocka_unit_test(time_codec_decode__bytes_left_over__corrupt),
    cmocka_unit_test(time_codec_name__every_codec__named),
};
TEST_MAIN(tests)
