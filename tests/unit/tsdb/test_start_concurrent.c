/* A start whose directory cannot be written to: reads are answered, and its thread takes writes when it can. One with
 * several workers. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/harness.h"

#include <time.h>

static struct hx h;

static void nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static enum tsdb_state leave(enum tsdb_state state)
{
    while (tsdb_state(h.db, NULL) == state) {
        nap();
    }
    return tsdb_state(h.db, NULL);
}

/* With one sample, closed. */
static void begin(void)
{
    hx_init(&h, 3);
    assert_ok(hx_open(&h, NULL));
    struct hx_sample s = hx_float(1, HX_WALL_MS, 1);
    assert_ok(hx_put(&h, &s, 1, TSDB_DURABILITY_STRICT, NULL));
    assert_ok(hx_close(&h, NULL));
    h.options.clock = tsdb_clock_real;
    h.options.manual_steps = false;
}

/* Everything that changes the disk fails from operation `op` of the start on. True: it was read-only. */
static bool start(uint64_t op)
{
    begin();
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EIO, op, UINT64_MAX / 2);
    bool held =
        hx_open(&h, NULL) == TSDB_OK && leave(TSDB_STATE_RECOVERING) == TSDB_STATE_READ_ONLY;
    if (held) {
        struct tsdb_stats stats;
        tsdb_stats_read(h.db, &stats);
        tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 0);
        assert_int_equal(leave(TSDB_STATE_READ_ONLY), TSDB_STATE_READY);
        tsdb_stats_read(h.db, &stats);
        assert_true(stats.wal_segment > 0);
    }
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 0);
    if (h.db) {
        assert_ok(hx_close(&h, NULL));
    }
    hx_deinit(&h);
    return held;
}

static void open__directory_not_writable_for_a_while__takes_writes_after_all(void **state)
{
    (void)state;
    uint32_t held = 0;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    for (uint64_t op = 1; op <= 20 && held < 2; op++) {
        held += start(op);
    }
    assert_true(held > 0);
}

/* One that waits to try again ends when it is told to. */
static void close__not_writable__ends(void **state)
{
    (void)state;
    for (uint64_t op = 1; op <= 20; op++) {
        begin();
        tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EIO, op, UINT64_MAX / 2);
        if (hx_open(&h, NULL) == TSDB_OK) {
            (void)leave(TSDB_STATE_RECOVERING);
            (void)!hx_close(&h, NULL);
        }
        tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 0);
        hx_deinit(&h);
    }
}

/* ---- several workers ---- */
#define MANY_SERIES  500u
#define MANY_SAMPLES 60u /* a series */
#define WORKERS      4u

static uint32_t wrong;

static void look(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                 enum tsdb_sample_kind kind, uint64_t bits, const struct tsdb_histogram *histogram)
{
    (void)start_ms;
    (void)histogram;
    *(uint32_t *)arg += 1;
    wrong += kind != TSDB_SAMPLE_FLOAT || bits != tsdb_double_bits(hx_value_of(series, t_ms));
}

static void write_many(void)
{
    static struct hx_sample samples[MANY_SERIES / 2];
    for (uint32_t i = 0; i < MANY_SAMPLES * 2; i++) {
        int64_t t_ms = HX_WALL_MS + (int64_t)(i / 2) * 1000;
        for (uint32_t k = 0; k < MANY_SERIES / 2; k++) {
            uint32_t series = k + i % 2 * (MANY_SERIES / 2);
            samples[k] = hx_float(series, t_ms, hx_value_of(series, t_ms));
        }
        assert_ok(hx_put(&h, samples, MANY_SERIES / 2, TSDB_DURABILITY_BUFFERED, NULL));
    }
}

static void expect_all(void)
{
    uint32_t count = 0;
    wrong = 0;
    assert_ok(hx_open(&h, NULL));
    (void)leave(TSDB_STATE_RECOVERING);
    assert_ok(hx_visit(&h, look, &count, NULL));
    assert_int_equal(count, MANY_SERIES * MANY_SAMPLES);
    assert_int_equal(wrong, 0);
}

static void open__several_workers__all_samples_from_log_and_from_checkpoint(void **state)
{
    (void)state;
    hx_init(&h, 5);
    assert_ok(hx_open(&h, NULL));
    write_many();
    hx_die(&h, false);
    h.options.clock = tsdb_clock_real;
    h.options.manual_steps = false;
    h.options.owner_count = WORKERS;
    expect_all();
    assert_ok(hx_close(&h, NULL)); /* with a checkpoint */
    expect_all();
    assert_ok(hx_close(&h, NULL));
    hx_deinit(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(open__directory_not_writable_for_a_while__takes_writes_after_all),
    cmocka_unit_test(close__not_writable__ends),
    cmocka_unit_test(open__several_workers__all_samples_from_log_and_from_checkpoint),
};

TEST_MAIN(tests)
