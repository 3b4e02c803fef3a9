/* A start whose directory cannot be written to: reads are answered, and its thread takes writes when it can. */
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(open__directory_not_writable_for_a_while__takes_writes_after_all),
    cmocka_unit_test(close__not_writable__ends),
};

TEST_MAIN(tests)
