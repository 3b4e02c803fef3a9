/* One fixed run of the engine, stopped at its 1st, 2nd, ... Nth file operation, once by a kill and
 * once by a power cut. Each time the directory must open and hold what was acknowledged. The run
 * has all kinds of samples, new series, rotation, chunks that go to head files, two checkpoints, a
 * clean close and a second life.
 */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb_model.h"
#include "tsdb/engine/tsdb_private.h"

struct fixed {
    struct hx h;
    struct mx m;
    struct tsdb_prng prng;
};

static void settle(struct fixed *f)
{
    hx_settle(&f->h);
    mx_reap(&f->m);
}

static void put(struct fixed *f, uint32_t series_count, enum tsdb_durability durability)
{
    struct hx_sample samples[12];
    uint8_t raws[12];
    for (uint32_t i = 0; i < 12; i++) {
        samples[i] = mx_random_sample(&f->m, &f->prng, series_count, 50, &raws[i]);
    }
    if (mx_submit(&f->m, samples, raws, 12, durability)) {
        settle(f);
    }
}

/* Stops early where the disk does; the database stays open, to be abandoned. False: could not even
 * open. */
static bool life(struct fixed *f, uint32_t series_count)
{
    if (hx_open(&f->h, NULL) != TSDB_OK) {
        return false;
    }
    for (uint32_t i = 0; i < 6; i++) {
        put(f, series_count + 4 * i, (enum tsdb_durability)(i % 3));
        tsdb_clock_sim_advance(&f->h.clock, 1500);
        for (uint32_t o = 0; i % 2 == 0 && o < tsdb_owner_count(f->h.db); o++) {
            owner_job_request(&f->h.db->owners[o], OWNER_JOB_SEAL, (uint64_t)(f->h.clock.wall_ms));
        }
        settle(f);
        tsdb_seal_step(f->h.db, f->h.clock.mono_ns);
        settle(f);
        if (i % 3 == 1 && tsdb_checkpoint(f->h.db, NULL) == TSDB_OK) {
            mx_durable(&f->m, true);
        }
    }
    return true;
}

static void fixed_run(struct fixed *f)
{
    if (!life(f, 4) || tsdb_state(f->h.db, NULL) != TSDB_STATE_READY) {
        return;
    }
    if (hx_close(&f->h, NULL) == TSDB_OK) {
        mx_durable(&f->m, true);
        life(f, 30);
    }
}

static void begin(struct fixed *f)
{
    memset(f, 0, sizeof *f);
    hx_init(&f->h, 42);
    f->h.options.wal_segment_bytes = 1u << 12;
    f->h.options.wal_epoch_bytes = 1u << 10;
    tsdb_prng_init(&f->prng, 42);
    f->h.options.block_range_ms = 2000;
    f->h.options.head_file_bytes_max = 400;
    mx_init(&f->m, &f->h);
    f->m.conflicts_pass = true;
}

static void end(struct fixed *f)
{
    if (f->h.db) {
        mx_die(&f->m, false);
    }
    hx_deinit(&f->h);
}

/* After the death: opens, holds everything, takes writes, and holds those after a power cut. */
static void check_after(struct fixed *f, bool cut)
{
    struct tsdb_error err;
    tsdb_error_clear(&err);
    if (hx_open(&f->h, &err) != TSDB_OK) {
        mx_fail(&f->m, "open: %s", err.msg);
        return;
    }
    mx_check(&f->m, cut ? MX_CUT : MX_KILLED);
    put(f, 60, TSDB_DURABILITY_STRICT);
    if (f->m.writes) {
        mx_fail(&f->m, "a strict write is not done");
    }
    mx_die(&f->m, true);
    if (hx_open(&f->h, &err) != TSDB_OK) {
        mx_fail(&f->m, "second open: %s", err.msg);
        return;
    }
    mx_check(&f->m, MX_CUT);
}

static void
engine__stopped_at_every_file_operation__opens_and_holds_what_was_acknowledged(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct fixed *f = malloc(sizeof *f);
    assert_non_null(f);
    begin(f);
    fixed_run(f);
    uint64_t ops = tsdb_fs_sim_op_count(f->h.sim);
    end(f);
    assert_true(ops > 60);
    for (uint64_t op = 1; op <= ops; op++) {
        for (int cut = 0; cut < 2; cut++) {
            begin(f);
            tsdb_fs_sim_fault(f->h.sim, TSDB_FAULT_HALT, op, 1);
            fixed_run(f);
            if (f->h.db) {
                mx_die(&f->m, cut);
            } else if (cut) {
                tsdb_fs_sim_crash(f->h.sim);
            } else {
                tsdb_fs_sim_kill(f->h.sim);
            }
            mx_reap(&f->m);
            check_after(f, cut);
            char failure[sizeof f->m.failure];
            memcpy(failure, f->m.failure, sizeof failure);
            end(f);
            if (failure[0]) {
                free(f);
                fail_msg("stopped at operation %llu of %llu, %s: %s", (unsigned long long)op,
                         (unsigned long long)ops, cut ? "power cut" : "kill", failure);
            }
        }
    }
    free(f);
}

/* One operation fails with EIO or ENOSPC and the machine goes on: writes go on too, or are refused
 * with READ_ONLY and a text; reads go on; nothing acknowledged is lost. */
static void engine__each_file_operation_fails_once__goes_on_or_read_only(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct fixed *f = malloc(sizeof *f);
    assert_non_null(f);
    uint32_t went_on = 0;
    for (uint64_t op = 1; op < 130; op++) {
        for (int kind = TSDB_FAULT_EIO; kind <= TSDB_FAULT_ENOSPC; kind++) {
            begin(f);
            f->m.io_faults = true;
            tsdb_fs_sim_fault(f->h.sim, (enum tsdb_fs_fault)kind, op, 1);
            if (life(f, 10)) {
                struct tsdb_error err;
                tsdb_error_clear(&err);
                enum tsdb_state s = tsdb_state(f->h.db, &err);
                assert_true(s == TSDB_STATE_READY || (s == TSDB_STATE_READ_ONLY && err.msg[0]));
                went_on += s == TSDB_STATE_READY;
                mx_check(&f->m, MX_RUNNING);
                mx_die(&f->m, true);
            } else {
                tsdb_fs_sim_crash(f->h.sim);
            }
            check_after(f, true);
            char failure[sizeof f->m.failure];
            memcpy(failure, f->m.failure, sizeof failure);
            end(f);
            if (failure[0]) {
                free(f);
                fail_msg("%s at operation %llu: %s", kind == TSDB_FAULT_EIO ? "EIO" : "ENOSPC",
                         (unsigned long long)op, failure);
            }
        }
    }
    free(f);
    assert_true(went_on > 60); /* most failures are survived */
}

/* The disk is full for good: writes are refused, with a text; what was there is read. */
static void engine__disk_full_for_good__read_only_with_a_text_and_reads_go_on(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct hx h;
    hx_init(&h, 1);
    assert_ok(hx_open(&h, NULL));
    struct hx_sample s = hx_float(1, HX_WALL_MS, 1);
    assert_ok(hx_put(&h, &s, 1, TSDB_DURABILITY_STRICT, NULL));
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_ENOSPC, 1, UINT64_MAX / 2);
    s = hx_float(1, HX_WALL_MS + 1, 2);
    assert_int_not_equal(hx_put(&h, &s, 1, TSDB_DURABILITY_STRICT, NULL), TSDB_OK);
    struct tsdb_error err;
    assert_int_equal(tsdb_state(h.db, &err), TSDB_STATE_READ_ONLY);
    assert_non_null(strstr(err.msg, "No space left"));
    assert_int_equal(hx_put(&h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL), TSDB_READ_ONLY);
    assert_true(hx_count(&h) >= 1);
    assert_int_not_equal(hx_close(&h, &err), TSDB_OK);
    /* A full disk at start: what is there can be read. */
    assert_ok(hx_open(&h, &err));
    assert_int_equal(tsdb_state(h.db, &err), TSDB_STATE_READ_ONLY);
    assert_non_null(strstr(err.msg, "No space left"));
    assert_int_equal(hx_put(&h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL), TSDB_READ_ONLY);
    assert_int_equal(tsdb_checkpoint(h.db, &err), TSDB_BUSY);
    assert_true(hx_count(&h) >= 1); /* what was refused may have reached the disk */
    assert_ok(hx_close(&h, NULL));
    /* And with room again all is well. */
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 0);
    assert_ok(hx_open(&h, NULL));
    assert_ok(hx_put(&h, &s, 1, TSDB_DURABILITY_STRICT, NULL));
    assert_int_equal(hx_count(&h), 2);
    assert_ok(hx_close(&h, NULL));
    hx_deinit(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(
        engine__stopped_at_every_file_operation__opens_and_holds_what_was_acknowledged),
    cmocka_unit_test(engine__each_file_operation_fails_once__goes_on_or_read_only),
    cmocka_unit_test(engine__disk_full_for_good__read_only_with_a_text_and_reads_go_on),
};

TEST_MAIN(tests)
