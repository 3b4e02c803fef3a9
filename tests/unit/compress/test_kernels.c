/* Every table of kernels gives the same bytes and bits as the scalar one: lengths 0..257, arrays
 * that end where memory ends, input that no encoder makes. */
#include "tests/support/test.h"

#include "compress/bitpack.h"
#include "compress/kernels.h"
#include "tests/support/guard.h"
#include "tests/unit/compress/columns.h"

#include <stdbool.h>

#define N_MAX 257

struct fixture {
    const struct kernels *k; /* under test */
    struct test_guard in, out;
    struct tsdb_prng prng;
    uint64_t x[N_MAX], want[N_MAX];
};

/* False if the processor has no other table. */
static bool setup(struct fixture *f, uint64_t seed)
{
    f->k = kernels_of(TSDB_CPU_AVX2);
    tsdb_prng_init(&f->prng, seed);
    test_guard_init(&f->in, 8 * (N_MAX + 1));
    test_guard_init(&f->out, 8 * (N_MAX + 1));
    return f->k != NULL;
}
static void teardown(struct fixture *f)
{
    test_guard_deinit(&f->in);
    test_guard_deinit(&f->out);
}

static void fill_random(struct fixture *f, size_t n)
{
    uint32_t shift = (uint32_t)tsdb_prng_below(&f->prng, 64);
    for (size_t i = 0; i < n; i++) {
        f->x[i] = tsdb_prng_next(&f->prng) >> shift;
    }
}

static void same(const struct fixture *f, const uint64_t *got, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (got[i] != f->want[i]) {
            fail_msg("%s: n %zu at %zu: %llx, scalar %llx, from %llx", what, n, i,
                     (unsigned long long)got[i], (unsigned long long)f->want[i],
                     (unsigned long long)f->x[i]);
        }
    }
}

static void kernels_pack__any_level__as_scalar(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t want[8 * N_MAX];
    bool other = setup(&f, 1);
    for (uint32_t w = 0; other && w <= 64; w++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            size_t bytes = bitpack_bytes(n, w);
            fill_random(&f, n);
            kernels_scalar.pack(f.x, n, w, want);
            const uint64_t *in =
                (const uint64_t *)(const void *)test_guard_at_end(&f.in, f.x, 8 * n);
            uint8_t *out = test_guard_at_end(&f.out, want, bytes);
            memset(out, 0x5a, bytes);
            f.k->pack(in, n, w, out);
            assert_memory_equal(out, want, bytes);
        }
    }
    teardown(&f);
}

static void kernels_unpack__any_level__as_scalar(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t src[8 * N_MAX];
    bool other = setup(&f, 2);
    for (uint32_t w = 0; other && w <= 64; w++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            size_t bytes = bitpack_bytes(n, w);
            for (size_t i = 0; i < bytes; i++) {
                src[i] = (uint8_t)tsdb_prng_next(&f.prng);
            }
            uint64_t add = tsdb_prng_next(&f.prng);
            kernels_scalar.unpack(src, bytes, n, w, add, f.want);
            const uint8_t *at = test_guard_at_end(&f.in, src, bytes);
            uint64_t *out = (uint64_t *)(void *)test_guard_at_end(&f.out, f.want, 8 * n);
            memset(out, 0x5a, 8 * n);
            f.k->unpack(at, bytes, n, w, add, out);
            same(&f, out, n, "unpack");
        }
    }
    teardown(&f);
}

static void kernels_sums__any_level__as_scalar(void **state)
{
    (void)state;
    struct fixture f;
    bool other = setup(&f, 3);
    for (size_t round = 0; other && round < 20; round++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            fill_random(&f, n);
            uint64_t prev = tsdb_prng_next(&f.prng), step = tsdb_prng_next(&f.prng);
            uint64_t *out = (uint64_t *)(void *)test_guard_at_end(&f.out, f.x, 8 * n);
            kernels_scalar.delta(f.x, n, prev, f.want);
            f.k->delta(out, n, prev, out); /* in place */
            same(&f, out, n, "delta");
            f.k->prefix_sum(out, n, prev);
            assert_true(n == 0 || memcmp(out, f.x, 8 * n) == 0);

            out = (uint64_t *)(void *)test_guard_at_begin(&f.out, f.x, 8 * n);
            memcpy(f.want, f.x, 8 * n);
            kernels_scalar.prefix_sum(f.want, n, prev);
            f.k->prefix_sum(out, n, prev);
            same(&f, out, n, "prefix_sum");
            memcpy(out, f.x, 8 * n);
            memcpy(f.want, f.x, 8 * n);
            kernels_scalar.ramp_add(f.want, n, prev, step);
            f.k->ramp_add(out, n, prev, step);
            same(&f, out, n, "ramp_add");
        }
    }
    teardown(&f);
}

static void kernels_min_max__any_level__as_scalar(void **state)
{
    (void)state;
    struct fixture f;
    int64_t want[2], got[2];
    bool other = setup(&f, 7);
    for (size_t round = 0; other && round < 50; round++) {
        for (size_t n = 1; n <= N_MAX; n++) {
            fill_random(&f, n);
            const int64_t *x = (const int64_t *)(const void *)test_guard_at_end(&f.in, f.x, 8 * n);
            kernels_scalar.min_max(x, n, &want[0], &want[1]);
            f.k->min_max(x, n, &got[0], &got[1]);
            assert_memory_equal(got, want, sizeof want);
        }
    }
    const int64_t x[] = {5, INT64_MAX, -3, INT64_MIN, 7};
    kernels_scalar.min_max(x, 5, &want[0], &want[1]);
    assert_true(want[0] == INT64_MIN && want[1] == INT64_MAX);
    teardown(&f);
}

static void kernels_rising__one_step_back__no(void **state)
{
    (void)state;
    struct fixture f;
    int64_t x[N_MAX];
    bool other = setup(&f, 4);
    for (size_t n = 0; n <= N_MAX; n++) {
        for (size_t i = 0; i < n; i++) {
            x[i] = (int64_t)i * 3 - 100;
        }
        assert_int_equal(kernels_scalar.rising(x, n, -101), 1);
        assert_true(!other || f.k->rising(x, n, -101) == 1);
        for (size_t i = 0; i < n; i++) {
            int64_t keep = x[i];
            x[i] = i > 0 ? x[i - 1] : -101; /* equal is not rising */
            assert_int_equal(kernels_scalar.rising(x, n, -101), 0);
            assert_true(!other || f.k->rising(x, n, -101) == 0);
            x[i] = keep;
        }
    }
    x[0] = INT64_MIN; /* signed, and without overflow */
    x[1] = INT64_MAX;
    assert_int_equal(kernels_scalar.rising(x + 1, 1, x[0]), 1);
    assert_true(!other || f.k->rising(x + 1, 1, x[0]) == 1);
    teardown(&f);
}

static void kernels_ints_of_doubles__any_level__as_scalar(void **state)
{
    (void)state;
    struct fixture f;
    bool other = setup(&f, 5);
    for (uint32_t digits = 0; other && digits <= KERNELS_DIGITS_MAX; digits++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            bool quiet = tsdb_prng_below(&f.prng, 2) == 0; /* all four lanes good */
            for (size_t i = 0; i < n; i++) {
                double d = (double)tsdb_prng_below(&f.prng, 1000000) / 1000;
                f.x[i] = quiet ? tsdb_double_bits(d) : random_bits(&f.prng);
            }
            const uint64_t *in =
                (const uint64_t *)(const void *)test_guard_at_end(&f.in, f.x, 8 * n);
            int64_t *out = (int64_t *)(void *)test_guard_at_end(&f.out, f.x, 8 * n);
            size_t without = kernels_scalar.ints_of_doubles(f.x, n, digits, (int64_t *)f.want);
            assert_int_equal(f.k->ints_of_doubles(in, n, digits, out), without);
            same(&f, (const uint64_t *)out, n, "ints_of_doubles");
        }
    }
    teardown(&f);
}

static void kernels_ints_of_doubles__edges__exact_or_none(void **state)
{
    (void)state;
    int64_t out;
    uint64_t bits = tsdb_double_bits(12.34);
    assert_int_equal(kernels_scalar.ints_of_doubles(&bits, 1, 2, &out), 0);
    assert_int_equal(out, 1234);
    assert_int_equal(kernels_scalar.ints_of_doubles(&bits, 1, 1, &out), 1);
    bits = tsdb_double_bits(-0.0);
    assert_int_equal(kernels_scalar.ints_of_doubles(&bits, 1, 0, &out), 1);
    assert_int_equal(kernels_scalar.ints_of_doubles(&bits, 1, 3, &out), 1);
    bits = tsdb_double_bits(-0x1p63);
    assert_int_equal(kernels_scalar.ints_of_doubles(&bits, 1, 0, &out), 1);
    bits = tsdb_double_bits(0x1.fffffffffffffp62);
    assert_int_equal(kernels_scalar.ints_of_doubles(&bits, 1, 0, &out), 0);
    assert_int_equal(out, INT64_C(0x7ffffffffffffc00));
    bits = tsdb_double_bits(0.1 + 0.2);
    assert_int_equal(kernels_scalar.ints_of_doubles(&bits, 1, 1, &out), 1);
}

static void kernels_doubles_of_ints__any_level__as_scalar(void **state)
{
    (void)state;
    static const double factors[] = {1, 3, 4096, 1e18, 0x1p63};
    struct fixture f;
    bool other = setup(&f, 6);
    for (uint32_t digits = 0; other && digits <= KERNELS_DIGITS_MAX; digits++) {
        for (size_t n = 0; n <= N_MAX; n++) {
            double factor = factors[n % 5];
            fill_random(&f, n);
            for (size_t i = 0; i < n; i++) {
                f.x[i] = i % 2 ? 0 - f.x[i] : f.x[i];
            }
            uint64_t *out = (uint64_t *)(void *)test_guard_at_end(&f.out, f.x, 8 * n);
            memcpy(f.want, f.x, 8 * n);
            kernels_scalar.doubles_of_ints(f.want, n, digits, factor);
            f.k->doubles_of_ints(out, n, digits, factor);
            same(&f, out, n, "doubles_of_ints");
        }
    }
    teardown(&f);
}

static void kernels_of__levels__scalar_always(void **state)
{
    (void)state;
    assert_ptr_equal(kernels_of(TSDB_CPU_SCALAR), &kernels_scalar);
    const struct kernels *best = kernels_of(TSDB_CPU_AVX2);
    assert_ptr_equal(kernels_get(), best != NULL ? best : &kernels_scalar);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(kernels_pack__any_level__as_scalar),
    cmocka_unit_test(kernels_unpack__any_level__as_scalar),
    cmocka_unit_test(kernels_sums__any_level__as_scalar),
    cmocka_unit_test(kernels_min_max__any_level__as_scalar),
    cmocka_unit_test(kernels_rising__one_step_back__no),
    cmocka_unit_test(kernels_ints_of_doubles__any_level__as_scalar),
    cmocka_unit_test(kernels_ints_of_doubles__edges__exact_or_none),
    cmocka_unit_test(kernels_doubles_of_ints__any_level__as_scalar),
    cmocka_unit_test(kernels_of__levels__scalar_always),
};
TEST_MAIN(tests)
