/* One fixed run of the engine, stopped at its 1st, 2nd, ... Nth file operation, once by a kill and
 * once by a power cut. Each time the directory must open and hold what was acknowledged. The run
 * has all kinds of samples, new series, rotation, chunks that go to head files, two checkpoints, a
 * clean close and a second life.
 */
#include "tests/support/test.h"

#include "tests/support/tsdb/scene.h"
#include "tsdb/engine/db_private.h"

/* Stops early where the disk does; the database stays open, to be abandoned. False: could not even
 * open. */
static bool life(struct scene *s, uint32_t series_count)
{
    if (hx_open(&s->h, NULL) != TSDB_OK) {
        return false;
    }
    for (uint32_t i = 0; i < 6; i++) {
        scene_put(s, 12, series_count + 4 * i, 50, (enum tsdb_durability)(i % 3));
        tsdb_clock_sim_advance(&s->h.clock, 1500);
        for (uint32_t o = 0; i % 2 == 0 && o < tsdb_owner_count(s->h.db); o++) {
            owner_job_request(&s->h.db->owners[o], OWNER_JOB_SEAL, (uint64_t)s->h.clock.wall_ms);
        }
        hx_settle(&s->h);
        tsdb_seal_step(s->h.db, s->h.clock.mono_ns);
        hx_settle(&s->h);
        if (i % 3 == 1 && tsdb_checkpoint(s->h.db, NULL) == TSDB_OK) {
            mx_durable(&s->m, true);
        }
    }
    return true;
}

static void run(struct scene *s)
{
    if (!life(s, 4) || tsdb_state(s->h.db, NULL) != TSDB_STATE_READY) {
        return;
    }
    if (hx_close(&s->h, NULL) == TSDB_OK) {
        mx_durable(&s->m, true);
        life(s, 30);
    }
}

static void begin(struct scene *s)
{
    scene_begin(s, 42);
    s->h.options.wal_segment_bytes = 1u << 12;
    s->h.options.wal_epoch_bytes = 1u << 10;
    s->h.options.head_bundle_bytes = 200;
    s->h.options.block_range_ms = 2000;
    s->h.options.head_file_bytes_max = 400;
}

/* After the death: opens, holds everything, takes writes, and holds those after a power cut. */
static void check(struct scene *s, bool cut)
{
    if (scene_reopen(s, cut)) {
        scene_put(s, 12, 60, 50, TSDB_DURABILITY_STRICT);
        if (s->m.writes) {
            mx_fail(&s->m, "a strict write is not done");
        }
        mx_die(&s->m, true);
        scene_reopen(s, true);
    }
}

static void
engine__stopped_at_every_file_operation__opens_and_holds_what_was_acknowledged(void **state)
{
    static const struct scene_play play = {begin, run, check};
    uint64_t ops = scene_play_whole(*state, &play);
    scene_end(*state);
    assert_true(ops > 60);
    scene_play_stopped(*state, &play, ops);
}

/* ---- a start that seals what the log fills, stopped everywhere ---- */

static void sealing_begin(struct scene *s)
{
    begin(s);
    s->h.options.replay_seal_chunks = 1;
}

static void sealing_run(struct scene *s)
{
    if (hx_open(&s->h, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t i = 0; i < 5; i++) {
        scene_put(s, 24, 6, 40, TSDB_DURABILITY_STRICT);
        if (i == 1 && tsdb_checkpoint(s->h.db, NULL) == TSDB_OK) {
            mx_durable(&s->m, true);
        }
    }
    mx_die(&s->m, false);
    (void)!hx_open(&s->h, NULL);
}

static void recovery__stopped_while_it_seals__opens_and_holds_what_was_acknowledged(void **state)
{
    static const struct scene_play play = {sealing_begin, sealing_run, check};
    struct scene *s = *state;
    uint64_t ops = scene_play_whole(s, &play);
    struct tsdb_stats stats;
    tsdb_stats_read(s->h.db, &stats);
    assert_true(stats.sealed_chunks > 10); /* this process did it, before it took any write */
    scene_end(s);
    scene_play_stopped(s, &play, ops);
}

/* ---- series leave and come back, series.log is made anew, stopped everywhere ---- */

static void leaving_begin(struct scene *s)
{
    begin(s);
    s->h.options.old_range_max_ms = 1; /* all windows are short */
}

static void leaving_run(struct scene *s)
{
    if (hx_open(&s->h, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t i = 0; i < 4; i++) {
        /* Others than the last time but for some, then the first ones again. */
        scene_put(s, 12, 4 + 8 * (i % 3), 30, (enum tsdb_durability)(1 + i % 2));
        tsdb_clock_sim_advance(&s->h.clock, 1500);
        if (tsdb_checkpoint(s->h.db, NULL) == TSDB_OK) {
            mx_durable(&s->m, true);
        }
        (void)!tsdb_flush(s->h.db, NULL); /* then they leave */
        if (tsdb_checkpoint(s->h.db, NULL) == TSDB_OK) {
            mx_durable(&s->m, true);
        }
    }
    scene_put(s, 12, 20, 30, TSDB_DURABILITY_BUFFERED);
}

static void leaving__stopped_at_every_file_operation__nothing_is_lost_or_mislabelled(void **state)
{
    static const struct scene_play play = {leaving_begin, leaving_run, check};
    struct scene *s = *state;
    uint64_t ops = scene_play_whole(s, &play);
    struct tsdb_stats stats;
    tsdb_stats_read(s->h.db, &stats);
    assert_true(stats.series < stats.series_created / 2);
    uint64_t records = s->h.db->life->series_log.records_durable;
    assert_true(records < stats.series_created / 2); /* it was made anew */
    scene_end(s);
    scene_play_stopped(s, &play, ops);
}

/* One operation fails with EIO, ENOSPC or EMFILE and the machine goes on: writes go on too, or are refused
 * with READ_ONLY and a text; reads go on; nothing acknowledged is lost. */
static void engine__each_file_operation_fails_once__goes_on_or_read_only(void **state)
{
    struct scene *s = *state;
    uint32_t went_on = 0;
    for (uint64_t op = 1; op < 130; op++) {
        for (int kind = TSDB_FAULT_EIO; kind <= TSDB_FAULT_EMFILE; kind++) {
            begin(s);
            s->m.io_faults = true;
            tsdb_fs_sim_fault(s->h.sim, (enum tsdb_fs_fault)kind, op, 1);
            if (life(s, 10)) {
                struct tsdb_error err = {0};
                enum tsdb_state is = tsdb_state(s->h.db, &err);
                assert_true(is == TSDB_STATE_READY || (is == TSDB_STATE_RETRYING && err.msg[0]) ||
                            (is == TSDB_STATE_OUT_OF_SPACE && err.msg[0]) ||
                            (is == TSDB_STATE_READ_ONLY && err.msg[0]));
                went_on += is == TSDB_STATE_READY;
                mx_check(&s->m, MX_RUNNING);
            }
            mx_die(&s->m, true);
            check(s, true);
            scene_end_checked(s, "fault %d at operation %llu", kind, (unsigned long long)op);
        }
    }
    assert_true(went_on > 60); /* most failures are survived */
}

/* The disk is full: writes are refused, with a text; what was there is read. When there is room
 * again, writes are taken without a restart. */
static void engine__disk_full_then_freed__refuses_reads_on_and_heals(void **state)
{
    struct hx *h = &((struct scene *)*state)->h;
    scene_begin(*state, 1);
    assert_ok(hx_open(h, NULL));
    struct hx_sample s = hx_float(1, HX_WALL_MS, 1);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_STRICT, NULL));
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_ENOSPC, 1, UINT64_MAX / 2);
    s = hx_float(1, HX_WALL_MS + 1, 2);
    assert_int_not_equal(hx_put(h, &s, 1, TSDB_DURABILITY_STRICT, NULL), TSDB_OK);
    struct tsdb_error err;
    assert_int_equal(tsdb_state(h->db, &err), TSDB_STATE_OUT_OF_SPACE);
    assert_non_null(strstr(err.msg, "No space left"));
    assert_int_equal(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL), TSDB_BUSY);
    assert_true(hx_count(h) >= 1);
    assert_int_not_equal(hx_close(h, &err), TSDB_OK);
    /* A full disk at start: what is there can be read. */
    assert_ok(hx_open(h, &err));
    assert_int_equal(tsdb_state(h->db, &err), TSDB_STATE_OUT_OF_SPACE);
    assert_non_null(strstr(err.msg, "No space left"));
    assert_int_equal(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL), TSDB_BUSY);
    assert_int_not_equal(tsdb_checkpoint(h->db, &err), TSDB_OK);
    assert_true(hx_count(h) >= 1); /* what was refused may have reached the disk */
    /* And with room again all is well. */
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 0);
    tsdb_clock_sim_advance(&h->clock, 10000);
    tsdb_wal_write_step(h->db, h->clock.mono_ns);
    assert_int_equal(tsdb_state(h->db, &err), TSDB_STATE_READY);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_STRICT, NULL));
    assert_int_equal(hx_count(h), 2);
    assert_ok(hx_close(h, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

static const struct CMUnitTest tests[] = {
    TEST(engine__stopped_at_every_file_operation__opens_and_holds_what_was_acknowledged),
    TEST(recovery__stopped_while_it_seals__opens_and_holds_what_was_acknowledged),
    TEST(leaving__stopped_at_every_file_operation__nothing_is_lost_or_mislabelled),
    TEST(engine__each_file_operation_fails_once__goes_on_or_read_only),
    TEST(engine__disk_full_then_freed__refuses_reads_on_and_heals),
};

TEST_MAIN(tests)
