/* Every table of kernels beside the specification, bit by bit, on arrays that end where memory does. */
#include "tests/support/test.h"

#include "base/bytes.h"
#include "base/random.h"
#include "query/kernels/kernels.h"
#include "tests/support/guard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES_MAX 600u
#define STEPS_MAX   300u
#define ROUNDS      4000u

struct rig {
    struct tsdb_prng prng;
    const struct query_kernels *k; /* what is compared with the scalar ones */
    uint32_t n, steps;
    int64_t t[SAMPLES_MAX];
    double v[SAMPLES_MAX];
    double scratch[2][SAMPLES_MAX + 1];
    uint32_t bounds[4][STEPS_MAX];
    double out[2][STEPS_MAX];
    uint8_t kind[2][STEPS_MAX];
    struct test_guard times, values;
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->k = query_kernels_of(TSDB_CPU_AVX2);
    test_guard_init(&r->times, sizeof r->t);
    test_guard_init(&r->values, sizeof r->v);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    test_guard_deinit(&r->times);
    test_guard_deinit(&r->values);
    free(r);
    return 0;
}

static uint64_t below(struct rig *r, uint64_t n)
{
    return tsdb_prng_below(&r->prng, n);
}

static double odd_value(struct rig *r)
{
    const double values[] = {0.0, -0.0, 1e308, -1e308, 1e-310, (double)INFINITY, -(double)INFINITY};
    uint64_t which = below(r, TSDB_ARRAY_LEN(values) + 2);
    return which < TSDB_ARRAY_LEN(values) ? values[which]
                                          : tsdb_bits_double(UINT64_C(0x7ff8000000000000) +
                                                             below(r, 1000) + (below(r, 2) << 63));
}

/* One kind of values: counters with and without resets, integers, fractions, odd ones among them. */
static double next_value(struct rig *r, uint64_t kind, double before)
{
    switch (kind) {
    case 0:
        return below(r, 30) == 0 ? (double)below(r, 5) : before + (double)below(r, 100);
    case 1:
        return before + (double)below(r, 1000) / 7;
    case 2:
        return (double)below(r, 2000) - 1000;
    case 3:
        return tsdb_prng_double(&r->prng) * 1e6 - 5e5;
    case 4:
        return below(r, 10) == 0 ? odd_value(r) : (double)below(r, 100) / 3;
    default:
        return below(r, 200) == 0 ? odd_value(r) : before + (double)below(r, 3);
    }
}

/* Regular times, or with jitter, or with gaps. */
static void random_samples(struct rig *r, int64_t dt)
{
    uint64_t kind = below(r, 6);
    uint64_t times = below(r, 4);
    double v = kind == 1 && below(r, 2) == 0 ? 0 : (double)below(r, 100000);
    int64_t t = (int64_t)below(r, 100) * dt / 2;
    r->n = (uint32_t)below(r, SAMPLES_MAX + 1);
    for (uint32_t i = 0; i < r->n; i++) {
        v = next_value(r, kind, v);
        if (isnan(v) && kind != 4) {
            v = 0;
        }
        r->t[i] = t;
        r->v[i] = v;
        t += dt + (times == 1 ? (int64_t)below(r, 5) : 0);
        t += times == 2 && below(r, 40) == 0 ? dt * (int64_t)below(r, 20) : 0;
    }
}

static struct kernel_windows random_windows(struct rig *r, int64_t dt)
{
    const int64_t steps[] = {dt, 4 * dt, dt / 2, 7 * dt, dt + 3, 0};
    const int64_t ranges[] = {dt, 2 * dt, 5 * dt, 20 * dt, 21 * dt + 1, 100 * dt, dt / 2};
    r->steps = (uint32_t)below(r, STEPS_MAX + 1);
    return (struct kernel_windows){.count = r->steps,
                                   .end_ms = (int64_t)below(r, 400) * dt / 2 - 30 * dt,
                                   .step_ms = steps[below(r, TSDB_ARRAY_LEN(steps))],
                                   .range_ms = ranges[below(r, TSDB_ARRAY_LEN(ranges))]};
}

static void assert_values(const struct rig *r, const char *name, uint64_t round)
{
    for (uint32_t i = 0; i < r->steps; i++) {
        if (r->kind[0][i] == POINT_FLOAT &&
            tsdb_double_bits(r->out[0][i]) != tsdb_double_bits(r->out[1][i])) {
            fail_msg("%s, round %llu, window %u: %.17g, specified %.17g", name,
                     (unsigned long long)round, i, r->out[1][i], r->out[0][i]);
        }
    }
}

static void compare_windows(struct rig *r, const struct kernel_run *run,
                            const struct kernel_windows *w, uint64_t round)
{
    const struct query_kernels *s = &query_kernels_scalar;
    const struct {
        const char *name;
        kernel_window_fn *specified, *other;
    } functions[] = {
        {"sum", s->sum, r->k->sum},
        {"avg", s->avg, r->k->avg},
        {"min", s->min, r->k->min},
        {"max", s->max, r->k->max},
    };
    for (size_t f = 0; f < TSDB_ARRAY_LEN(functions); f++) {
        functions[f].specified(&run[0], &w[0], r->out[0]);
        functions[f].other(&run[1], &w[1], r->out[1]);
        assert_values(r, functions[f].name, round);
    }
    const struct kernel_rate rates[] = {{true, true}, {true, false}, {false, false}};
    s->kinds(&w[0], 2, 0, r->kind[0]);
    for (size_t f = 0; f < TSDB_ARRAY_LEN(rates); f++) {
        s->rate(&run[0], &w[0], rates[f], r->out[0]);
        r->k->rate(&run[1], &w[1], rates[f], r->out[1]);
        assert_values(r, "rate", round);
    }
}

static void windows__random_series__same_bits(void **state)
{
    struct rig *r = *state;
    for (uint64_t round = 0; round < ROUNDS && r->k; round++) {
        tsdb_prng_init(&r->prng, round);
        const int64_t dt = below(r, 2) ? 15000 : 1000;
        random_samples(r, dt);
        struct kernel_windows w[2] = {random_windows(r, dt)};
        w[1] = w[0];
        const int64_t *t =
            (const int64_t *)(const void *)test_guard_at_end(&r->times, r->t, 8 * (size_t)r->n);
        const double *v =
            (const double *)(const void *)test_guard_at_end(&r->values, r->v, 8 * (size_t)r->n);
        const struct kernel_run run[2] = {{t, v, r->n, r->scratch[0]}, {t, v, r->n, r->scratch[1]}};
        query_kernels_scalar.bounds(t, r->n, &w[0], r->bounds[0], r->bounds[1]);
        r->k->bounds(t, r->n, &w[1], r->bounds[2], r->bounds[3]);
        assert_memory_equal(r->bounds[0], r->bounds[2], r->steps * sizeof r->bounds[0][0]);
        assert_memory_equal(r->bounds[1], r->bounds[3], r->steps * sizeof r->bounds[0][0]);
        struct kernel_counts a = query_kernels_scalar.kinds(&w[0], 1, 0, r->kind[0]);
        struct kernel_counts b = r->k->kinds(&w[1], 1, 0, r->kind[1]);
        assert_memory_equal(r->kind[0], r->kind[1], r->steps);
        assert_true(a.samples == b.samples && a.fresh == b.fresh);
        compare_windows(r, run, w, round);
    }
}

/* A rate that is one step away from being extrapolated below zero, on either side of it. */
static void rate__at_the_zero_clamp__same_bits(void **state)
{
    struct rig *r = *state;
    r->n = 100;
    r->steps = 60;
    for (uint64_t round = 0; round < ROUNDS && r->k; round++) {
        tsdb_prng_init(&r->prng, round);
        double up = 1 + (double)below(r, 1000);
        double from = up * (double)below(r, 40) / 20 * (1 + ((double)below(r, 5) - 2) * 0x1p-52);
        for (uint32_t i = 0; i < r->n; i++) {
            r->t[i] = 7 + (int64_t)i * 1000;
            r->v[i] = from + (i % 20) * up;
        }
        struct kernel_windows w[2] = {
            {.count = r->steps, .end_ms = 20000, .step_ms = 1000, .range_ms = 20000}};
        w[1] = w[0];
        query_kernels_scalar.bounds(r->t, r->n, &w[0], r->bounds[0], r->bounds[1]);
        r->k->bounds(r->t, r->n, &w[1], r->bounds[2], r->bounds[3]);
        assert_true(w[1].even_end > w[1].even_first); /* or nothing is tested */
        const struct kernel_run run[2] = {{r->t, r->v, r->n, r->scratch[0]},
                                          {r->t, r->v, r->n, r->scratch[1]}};
        compare_windows(r, run, w, round);
    }
}

static void folds__random_columns__same_bits(void **state)
{
    struct rig *r = *state;
    static double cells[2][3][STEPS_MAX];
    static uint8_t seen[2][STEPS_MAX];
    for (uint64_t round = 0; round < ROUNDS && r->k; round++) {
        tsdb_prng_init(&r->prng, round);
        const struct query_kernels *const k[2] = {&query_kernels_scalar, r->k};
        kernel_fold_fn *const folds[2][6] = {
            {k[0]->fold_sum, k[0]->fold_avg, k[0]->fold_min, k[0]->fold_max, k[0]->fold_count,
             k[0]->fold_variance},
            {k[1]->fold_sum, k[1]->fold_avg, k[1]->fold_min, k[1]->fold_max, k[1]->fold_count,
             k[1]->fold_variance}};
        uint32_t n = (uint32_t)below(r, STEPS_MAX + 1);
        size_t f = (size_t)below(r, TSDB_ARRAY_LEN(folds[0]));
        uint64_t kind = below(r, 6);
        for (size_t i = 0; i < 2; i++) {
            const struct kernel_cells c = {cells[i][0], cells[i][1], cells[i][2], seen[i]};
            kernel_cells_start(&c, STEPS_MAX, f == 2 || f == 3);
        }
        for (int column = 0; column < 20; column++) {
            bool full = below(r, 2) == 0;
            for (uint32_t i = 0; i < n; i++) {
                r->out[0][i] = next_value(r, kind, 10);
                r->kind[0][i] = full ? POINT_FLOAT : (uint8_t)below(r, 3);
            }
            const double *v = (const double *)(const void *)test_guard_at_end(&r->values, r->out[0],
                                                                              8 * (size_t)n);
            const uint8_t *kinds = test_guard_at_end(&r->times, r->kind[0], n);
            for (size_t i = 0; i < 2; i++) {
                const struct kernel_cells c = {cells[i][0], cells[i][1], cells[i][2], seen[i]};
                folds[i][f](&c, v, kinds, n);
            }
        }
        assert_memory_equal(seen[0], seen[1], n);
        assert_memory_equal(cells[0][0], cells[1][0], n * sizeof cells[0][0][0]);
        assert_memory_equal(cells[0][1], cells[1][1], n * sizeof cells[0][0][0]);
        assert_memory_equal(cells[0][2], cells[1][2], n * sizeof cells[0][0][0]);
    }
}

static void has_bits__any_place__found(void **state)
{
    struct rig *r = *state;
    uint64_t x[40] = {0};
    for (uint32_t n = 0; n <= TSDB_ARRAY_LEN(x) && r->k; n++) {
        assert_false(r->k->has_bits(x, n, 7));
        for (uint32_t i = 0; i < n; i++) {
            x[i] = 7;
            assert_true(r->k->has_bits(x, n, 7));
            assert_false(r->k->has_bits(x, i, 7));
            x[i] = 0;
        }
    }
}

static void query_kernels_of__levels__scalar_always(void **state)
{
    (void)state;
    assert_ptr_equal(query_kernels_of(TSDB_CPU_SCALAR), &query_kernels_scalar);
    const struct query_kernels *best = query_kernels_of(TSDB_CPU_AVX2);
    assert_ptr_equal(query_kernels_get(), best ? best : &query_kernels_scalar);
}

#define RIG_CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    RIG_CASE(windows__random_series__same_bits),
    RIG_CASE(rate__at_the_zero_clamp__same_bits),
    RIG_CASE(folds__random_columns__same_bits),
    RIG_CASE(has_bits__any_place__found),
    cmocka_unit_test(query_kernels_of__levels__scalar_always),
};
TEST_MAIN(tests)
