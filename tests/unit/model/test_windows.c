/* Windows beside counting them one by one. */
#include "tests/support/test.h"

#include "base/random.h"
#include "model/windows.h"

static bool naive(const struct tsdb_time_windows *w, int64_t min_ms, int64_t max_ms)
{
    for (int64_t t = w->first_ms; t - w->width_ms < max_ms || t < min_ms; t += w->step_ms) {
        if (t >= min_ms && t - w->width_ms < max_ms) {
            return true;
        }
    }
    return false;
}

static void time_windows_meet__random__as_counted(void **state)
{
    (void)state;
    struct tsdb_prng p;
    uint32_t met = 0;
    tsdb_prng_init(&p, 5);
    for (uint32_t i = 0; i < 200000; i++) {
        const struct tsdb_time_windows w = {(int64_t)tsdb_prng_below(&p, 100) - 50,
                                            1 + (int64_t)tsdb_prng_below(&p, 30),
                                            1 + (int64_t)tsdb_prng_below(&p, 20)};
        int64_t min = (int64_t)tsdb_prng_below(&p, 300) - 150;
        int64_t max = min + (int64_t)tsdb_prng_below(&p, i % 2 ? 3 : 40);
        bool want = naive(&w, min, max);
        met += want;
        if (tsdb_time_windows_meet(&w, min, max) != want) {
            fail_msg("first %lld step %lld width %lld, %lld to %lld", (long long)w.first_ms,
                     (long long)w.step_ms, (long long)w.width_ms, (long long)min, (long long)max);
        }
    }
    assert_true(met > 50000 && met < 150000);
}

static void time_windows_meet__ends_of_time__defined(void **state)
{
    (void)state;
    const struct tsdb_time_windows late = {INT64_MAX - 5, 1000, 10};
    const struct tsdb_time_windows early = {INT64_MIN + 20, INT64_MAX, 10};
    assert_false(tsdb_time_windows_meet(&late, INT64_MIN, INT64_MAX - 15));
    assert_true(tsdb_time_windows_meet(&late, INT64_MIN, INT64_MAX - 14));
    assert_true(tsdb_time_windows_meet(&late, INT64_MIN, INT64_MAX));
    assert_true(tsdb_time_windows_meet(&early, INT64_MIN + 20, INT64_MIN + 20));
    assert_false(tsdb_time_windows_meet(&early, INT64_MIN, INT64_MIN + 10));
    assert_false(tsdb_time_windows_meet(&early, INT64_MIN + 21, -1000));
    assert_true(tsdb_time_windows_meet(&early, INT64_MIN + 21, INT64_MAX));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(time_windows_meet__random__as_counted),
    cmocka_unit_test(time_windows_meet__ends_of_time__defined),
};
TEST_MAIN(tests)
