/* A run with deletes, flushes, cleanings and merges, stopped at every file operation by a kill and by a
 * power cut, and with every file operation failing once: what was answered as deleted never shows
 * again, and nothing else goes. Of what was under way each cell is as before it or as after it; done
 * again, a delete is whole. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/grid.h"

struct run {
    struct hx h;
    struct grid sure, after; /* what was answered; and with what is under way */
    struct grid_delete pending;
    bool deleting; /* that is under way */
};

static void begin(struct run *r)
{
    memset(r, 0, sizeof *r);
    hx_init(&r->h, 21);
    r->h.options.block_range_ms = 50000;
    r->h.options.wal_segment_bytes = 1u << 14;
    r->h.options.wal_epoch_bytes = 1u << 12;
    grid_init(&r->sure, &r->h, HX_WALL_MS - GRID_TIMES * GRID_STEP);
    r->after = r->sure;
}

static bool answered(struct run *r, enum tsdb_status status)
{
    if (status == TSDB_OK) {
        r->sure = r->after;
        r->deleting = false;
    }
    return status == TSDB_OK;
}

static bool delete_one(struct run *r, struct tsdb_prng *p)
{
    if (p) { /* else the same again */
        r->pending = grid_random_delete(&r->sure, p);
    }
    r->deleting = true;
    return answered(r, grid_delete(&r->after, &r->pending, NULL, NULL));
}

/* As far as the disk lets it. */
static bool play(struct run *r)
{
    struct tsdb_prng p;
    struct tsdb_work_done done;
    tsdb_prng_init(&p, 5);
    bool ok = hx_open(&r->h, NULL) == TSDB_OK;
    for (uint32_t i = 0; ok && i < 4; i++) {
        ok = answered(r, grid_put(&r->after, &p, 60));
        tsdb_clock_sim_advance(&r->h.clock, 1000);
        ok = ok && delete_one(r, &p) && (i != 1 || tsdb_flush(r->h.db, NULL) == TSDB_OK) &&
             (i != 2 || tsdb_clean_tombstones(r->h.db, &done, NULL) == TSDB_OK);
    }
    return ok && tsdb_compact(r->h.db, &done, NULL) == TSDB_OK;
}

static const char *check(struct run *r)
{
    const char *wrong = grid_settle(&r->sure, &r->after);
    if (!wrong && r->deleting) {
        r->after = r->sure;
        wrong = delete_one(r, NULL) ? grid_compare(&r->sure) : "it cannot be done again";
    }
    return wrong;
}

static uint64_t ops_of_all(struct run *r)
{
    begin(r);
    assert_true(play(r));
    uint64_t ops = tsdb_fs_sim_op_count(r->h.sim);
    assert_true(ops > 150);
    hx_deinit(&r->h);
    return ops;
}

static void deletes__stopped_at_every_file_operation__never_come_back(void **state)
{
    (void)state;
    static struct run r;
    uint64_t ops = ops_of_all(&r);
    for (uint64_t at = 1; at <= 2 * ops; at++) {
        struct tsdb_error err = {0};
        bool cut = at > ops;
        begin(&r);
        tsdb_fs_sim_fault(r.h.sim, TSDB_FAULT_HALT, cut ? at - ops : at, 1);
        (void)play(&r);
        hx_die(&r.h, cut);
        assert_ok_err(hx_open(&r.h, &err), &err);
        const char *wrong = check(&r);
        if (!wrong) { /* what was found after the death is durable, and so is what was not */
            hx_die(&r.h, true);
            assert_ok_err(hx_open(&r.h, &err), &err);
            wrong = grid_compare(&r.sure);
        }
        if (wrong) {
            fail_msg("stopped at %u%s: %s", (unsigned)at, cut ? ", power cut" : "", wrong);
        }
        hx_deinit(&r.h);
    }
}

static void deletes__each_file_operation_fails_once__as_before_or_after(void **state)
{
    (void)state;
    static struct run r;
    uint64_t ops = ops_of_all(&r);
    uint32_t failed = 0;
    for (uint64_t at = 1; at <= ops; at++) {
        struct tsdb_error err = {0};
        begin(&r);
        tsdb_fs_sim_fault(r.h.sim, TSDB_FAULT_EIO, at, 1);
        bool whole = play(&r);
        failed += !whole;
        const char *wrong = !r.h.db || whole ? NULL : grid_settle(&r.sure, &r.after);
        hx_die(&r.h, false);
        assert_ok_err(hx_open(&r.h, &err), &err);
        wrong = wrong ? wrong : check(&r);
        if (wrong) {
            fail_msg("operation %u failed: %s", (unsigned)at, wrong);
        }
        hx_deinit(&r.h);
    }
    assert_true(failed > 20);
}

/* A block that a flush could not finish, nor take out of sight again, must not come back with what was
 * deleted meanwhile. */
static void deletes__flush_failed_before__gone_after_a_start(void **state)
{
    (void)state;
    static struct run r;
    const struct grid_delete all = {.name = GRID_ANY, .range = {INT64_MIN, INT64_MAX}};
    uint32_t failed = 0;
    for (uint64_t at = 1; at <= 60; at++) {
        for (uint64_t count = 1; count <= 3; count++) {
            struct tsdb_error err = {0};
            struct tsdb_prng p;
            tsdb_prng_init(&p, at);
            begin(&r);
            assert_ok_err(hx_open(&r.h, &err), &err);
            assert_ok(grid_put(&r.after, &p, 60));
            tsdb_fs_sim_fault(r.h.sim, TSDB_FAULT_EIO, at, count);
            failed += tsdb_flush(r.h.db, NULL) != TSDB_OK;
            tsdb_fs_sim_fault(r.h.sim, TSDB_FAULT_NONE, 1, 0);
            tsdb_clock_sim_advance(&r.h.clock, 31000);
            assert_ok_err(grid_delete(&r.after, &all, NULL, &err), &err);
            hx_die(&r.h, false);
            assert_ok_err(hx_open(&r.h, &err), &err);
            if (hx_count(&r.h) > 0) {
                fail_msg("flush failed %u times from operation %u on: what was deleted is there",
                         (unsigned)count, (unsigned)at);
            }
            hx_deinit(&r.h);
        }
    }
    assert_true(failed > 20);
}

static int quiet(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(deletes__stopped_at_every_file_operation__never_come_back, quiet),
    cmocka_unit_test_setup(deletes__flush_failed_before__gone_after_a_start, quiet),
    cmocka_unit_test_setup(deletes__each_file_operation_fails_once__as_before_or_after, quiet),
};

TEST_MAIN(tests)
