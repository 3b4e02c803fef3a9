#include "tests/support/test.h"

#include "base/random.h"
#include "compress/bitpack.h"
#include "compress/frame_column.h"
#include "tests/support/guard.h"

static uint8_t encoded[FRAME_BYTES_MAX(FRAME_VALUES)];

static size_t frame_make(const uint64_t *x, size_t n, uint64_t base_prev, struct frame_plan *p)
{
    frame_plan(x, n, base_prev, p);
    uint8_t *end = frame_encode(x, n, base_prev, p, encoded);
    assert_int_equal(end - encoded, p->bytes);
    return p->bytes;
}

static void assert_round_trip(struct test_guard *g, const uint64_t *x, size_t n, uint64_t base_prev)
{
    struct frame_plan p;
    uint64_t out[FRAME_VALUES], base = base_prev;
    size_t len = frame_make(x, n, base_prev, &p);
    const uint8_t *src = test_guard_at_end(g, encoded, len);
    assert_ptr_equal(frame_decode(src, src + len, n, &base, out), src + len);
    assert_memory_equal(out, x, 8 * n);
    assert_int_equal(base, p.base);
}

/* `outliers` values far off among small ones, above, below or both. */
static void fill(struct tsdb_prng *r, uint64_t *x, size_t n, uint64_t spread, size_t outliers)
{
    uint64_t at = tsdb_prng_next(r);
    for (size_t i = 0; i < n; i++) {
        x[i] = at + (spread > 0 ? tsdb_prng_below(r, spread) : 0);
    }
    for (size_t i = 0; i < outliers; i++) {
        x[tsdb_prng_below(r, n)] = tsdb_prng_next(r) >> tsdb_prng_below(r, 64);
    }
}

static void frame_decode__what_was_encoded__same_values(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    uint64_t x[FRAME_VALUES];
    tsdb_prng_init(&r, 1);
    test_guard_init(&g, sizeof encoded);
    for (size_t n = 1; n <= FRAME_VALUES; n++) {
        for (uint32_t spread = 0; spread < 64; spread += 7) {
            for (size_t outliers = 0; outliers < 6; outliers++) {
                fill(&r, x, n, UINT64_C(1) << spread, outliers * outliers);
                assert_round_trip(&g, x, n, tsdb_prng_next(&r));
            }
        }
    }
    test_guard_deinit(&g);
}

static void frame_plan__outliers_on_both_sides__do_not_widen_the_rest(void **state)
{
    (void)state;
    struct frame_plan p;
    uint64_t x[120];
    for (uint64_t i = 0; i < 120; i++) {
        x[i] = 1000 + i * 7 % 16;
    }
    assert_true(frame_make(x, 120, 0, &p) <= 60 + 3);
    x[50] = 0 - UINT64_C(1000000000000); /* a counter's reset */
    x[70] = 5000000;
    size_t len = frame_make(x, 120, 0, &p);
    assert_int_equal(p.width, 4);
    assert_int_equal(p.exceptions, 2);
    assert_true(len <= 60 + 3 + 1 + 2 + 10 + 4);
}

static void frame_plan__one_value__no_payload(void **state)
{
    (void)state;
    struct frame_plan p;
    uint64_t x[FRAME_VALUES];
    for (size_t i = 0; i < FRAME_VALUES; i++) {
        x[i] = UINT64_MAX - 3;
    }
    assert_int_equal(frame_make(x, FRAME_VALUES, UINT64_MAX - 4, &p), 2);
    assert_int_equal(p.width, 0);
}

static void frame_decode__cut_anywhere__null(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct test_guard g;
    struct frame_plan p;
    uint64_t x[100], out[100], base = 0;
    tsdb_prng_init(&r, 2);
    test_guard_init(&g, sizeof encoded);
    fill(&r, x, 100, 1000, 5);
    size_t len = frame_make(x, 100, 0, &p);
    assert_true(p.exceptions > 0);
    for (size_t cut = 0; cut < len; cut++) {
        const uint8_t *src = test_guard_at_end(&g, encoded, cut);
        assert_null(frame_decode(src, src + cut, 100, &base, out));
        assert_int_equal(base, 0);
    }
    test_guard_deinit(&g);
}

static void frame_decode__damaged_fields__null(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[8];
        size_t len;
    } bad[] = {
        {{0, 65}, 2},                  /* wider than a value */
        {{0, 0x80, 0}, 3},             /* no exceptions, but flagged */
        {{0, 0x80, 1, 4, 1}, 5},       /* position outside of 4 values */
        {{0, 0x80, 200, 0, 1}, 5},     /* more exceptions than a frame has */
        {{0, 0x80, 2, 0, 1, 1}, 6},    /* second value missing */
        {{0xff, 0xff, 0xff, 0xff}, 4}, /* varint without end */
    };
    uint8_t full[5 + 32] = {0, 0x80 | 64, 1, 0, 1}; /* exceptions to full width */
    uint64_t out[4], base = 7;
    assert_null(frame_decode(full, full + sizeof full, 4, &base, out));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(frame_decode(bad[i].bytes, bad[i].bytes + bad[i].len, 4, &base, out));
        assert_int_equal(base, 7);
    }
}

static void frame_column_next__orders_and_lengths__same_values(void **state)
{
    (void)state;
    static uint64_t x[1100], out[1100];
    static uint8_t bytes[10000];
    struct tsdb_prng r;
    tsdb_prng_init(&r, 3);
    for (uint32_t n = 3; n <= 1100; n += n < 10 ? 1 : 97) {
        for (uint32_t order = 0; order <= FRAME_ORDER_MAX; order++) {
            struct frame_column c;
            struct frame_column_reader reader;
            uint64_t block[FRAME_VALUES];
            fill(&r, x, n, 100, n / 50);
            frame_column_init(&c, order, x);
            for (uint32_t i = order; i < n; i += FRAME_VALUES) {
                uint32_t count = TSDB_MIN(n - i, FRAME_VALUES);
                memcpy(block, x + i, 8 * (size_t)count);
                frame_column_plan(&c, block, count);
            }
            uint8_t *end = frame_column_begin(&c, bytes);
            for (uint32_t i = order; i < n; i += FRAME_VALUES) {
                uint32_t count = TSDB_MIN(n - i, FRAME_VALUES);
                memcpy(block, x + i, 8 * (size_t)count);
                end = frame_column_encode(&c, block, count, end);
            }
            assert_int_equal(end - bytes, c.bytes);
            int got = frame_column_open(&reader, bytes, end, order, n, out);
            assert_int_equal(got, order);
            uint32_t at = order;
            while ((got = frame_column_next(&reader, out + at)) > 0) {
                at += (uint32_t)got;
            }
            assert_int_equal(got, 0);
            assert_int_equal(at, n);
            assert_ptr_equal(reader.p, end);
            assert_memory_equal(out, x, 8 * (size_t)n);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(frame_decode__what_was_encoded__same_values),
    cmocka_unit_test(frame_plan__outliers_on_both_sides__do_not_widen_the_rest),
    cmocka_unit_test(frame_plan__one_value__no_payload),
    cmocka_unit_test(frame_decode__cut_anywhere__null),
    cmocka_unit_test(frame_decode__damaged_fields__null),
    cmocka_unit_test(frame_column_next__orders_and_lengths__same_values),
};
TEST_MAIN(tests)
