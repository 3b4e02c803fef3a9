/* Room on the disk: what waits for it, in which order, and that it goes on. */
#include "tests/support/test.h"

#include "tests/support/tsdb/scene.h"
#include "tsdb/engine/db_private.h"

#define RESERVE (UINT64_C(32) << 10)

static void begin(struct scene *s)
{
    scene_begin(s, 5);
    s->h.options.block_range_ms = 10000;
    s->h.options.wal_segment_bytes = 1u << 14;
    s->h.options.wal_epoch_bytes = 1u << 12;
    s->h.options.disk_reserve_bytes = RESERVE;
    s->h.options.checkpoint_wal_bytes = 1u << 12;
    assert_ok(hx_open(&s->h, NULL));
}

static void put(struct scene *s)
{
    scene_put(s, 24, 20, 30, TSDB_DURABILITY_STRICT);
    tsdb_clock_sim_advance(&s->h.clock, 1000);
}

/* Exactly so much is free from now on. */
static void leave_free(struct scene *s, uint64_t bytes)
{
    tsdb_fs_sim_capacity(s->h.sim, tsdb_fs_sim_used(s->h.sim) + bytes);
}

static struct tsdb_stats stats_of(struct scene *s)
{
    struct tsdb_stats stats;
    tsdb_stats_read(s->h.db, &stats);
    return stats;
}

/* The steps of the background, some minutes of them. */
static void background(struct scene *s)
{
    for (uint32_t i = 0; i < 12; i++) {
        int64_t now_ns = s->h.clock.mono_ns;
        (void)tsdb_checkpoint_step(s->h.db, now_ns);
        (void)tsdb_retention_step(s->h.db, now_ns);
        (void)tsdb_seal_step(s->h.db, now_ns);
        for (uint32_t k = 0; k < 8; k++) {
            (void)tsdb_flush_step(s->h.db, now_ns);
            (void)tsdb_compact_step(s->h.db, now_ns);
        }
        hx_settle(&s->h);
        tsdb_clock_sim_advance(&s->h.clock, 31000);
    }
}

static void assert_no_room(enum tsdb_status status, const struct tsdb_error *err)
{
    assert_int_equal(status, TSDB_IO);
    assert_true(tsdb_error_is_no_space(err));
    assert_non_null(strstr(err->msg, "kept for the log"));
}

static void room__below_the_reserve__what_grows_waits_what_frees_does_not(void **state)
{
    struct scene *s = *state;
    struct tsdb_error err = {0};
    struct tsdb_work_done done;
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    begin(s);
    put(s);
    assert_ok(tsdb_flush(s->h.db, NULL));
    put(s);
    leave_free(s, RESERVE - 100);
    assert_no_room(tsdb_snapshot(s->h.db, false, name, &err), &err);
    assert_ok(tsdb_flush(s->h.db, &err));
    assert_no_room(tsdb_compact(s->h.db, &done, &err), &err);
    assert_ok(tsdb_checkpoint(s->h.db, &err));
    assert_int_equal(stats_of(s).disk_low, 1);
    assert_true(tsdb_disk_low(s->h.db));
    leave_free(s, 4 * RESERVE);
    assert_ok(tsdb_compact(s->h.db, &done, &err));
    assert_true(done.blocks > 0);
    assert_ok(tsdb_snapshot(s->h.db, false, name, &err));
    assert_int_equal(stats_of(s).disk_low, 0);
    assert_int_equal(stats_of(s).disk_reserve_bytes, RESERVE);
    mx_check(&s->m, MX_RUNNING);
    scene_end_checked(s, "with room again");
}

static void room__below_half__only_the_log_writes(void **state)
{
    struct scene *s = *state;
    struct tsdb_error err = {0};
    begin(s);
    put(s);
    leave_free(s, RESERVE / 2 - 100);
    assert_no_room(tsdb_flush(s->h.db, &err), &err);
    assert_no_room(tsdb_checkpoint(s->h.db, &err), &err);
    struct tsdb_stats before = stats_of(s);
    background(s);
    struct tsdb_stats after = stats_of(s);
    assert_int_equal(after.blocks, 0);
    assert_int_equal(after.checkpoints, before.checkpoints);
    assert_true(after.flush_failures > before.flush_failures); /* it is said, and counted */
    put(s);
    assert_int_equal(tsdb_state(s->h.db, NULL), TSDB_STATE_READY);
    leave_free(s, 4 * RESERVE);
    background(s);
    assert_true(stats_of(s).blocks > 0);
    mx_check(&s->m, MX_RUNNING);
    scene_end_checked(s, "with room again");
}

/* Whatever runs, the log is the last to find no room; then it takes its reserve, then it waits; and when
 * there is room all goes on by itself. Nothing acknowledged is lost to a kill or a power cut. */
static void full_and_freed(struct scene *s, uint64_t seed)
{
    uint32_t writes = 0;
    begin(s);
    tsdb_prng_init(&s->prng, seed);
    hx_settle(&s->h);
    background(s);
    assert_int_equal(stats_of(s).wal_reserve_bytes, RESERVE / 4);
    leave_free(s, RESERVE / 2 + tsdb_prng_below(&s->prng, 4000));
    while (tsdb_state(s->h.db, NULL) == TSDB_STATE_READY) {
        put(s);
        if (++writes % 8 == 0) {
            uint64_t free_bytes = 0;
            assert_true(db_room_look(s->h.db, &free_bytes));
            background(s);
            uint64_t after = 0;
            assert_true(db_room_look(s->h.db, &after));
            /* It took nothing from the log, which may have begun a segment. */
            assert_true(free_bytes >= RESERVE / 2 || after + 4096 >= free_bytes);
        }
    }
    assert_in_range(writes, 20, 200);
    assert_int_equal(tsdb_state(s->h.db, NULL), TSDB_STATE_OUT_OF_SPACE);
    assert_int_equal(stats_of(s).wal_reserve_bytes, 0);
    mx_check(&s->m, MX_RUNNING); /* queries go on */
    leave_free(s, 8 * RESERVE);
    background(s);
    assert_int_equal(tsdb_state(s->h.db, NULL), TSDB_STATE_READY);
    assert_int_equal(stats_of(s).wal_reserve_bytes, RESERVE / 4);
    assert_true(stats_of(s).checkpoints > 0);
    put(s);
    mx_check(&s->m, MX_RUNNING);
    mx_die(&s->m, seed % 2 != 0);
    (void)scene_reopen(s, seed % 2 != 0);
    scene_end_checked(s, "seed %u", (unsigned)seed);
}

static void room__disk_fills_and_is_freed__nothing_lost_goes_on_by_itself(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        full_and_freed(*state, seed);
    }
}

/* Retention needs no room: a start on a full disk runs it. */
static void room__start_on_a_full_disk__retention_makes_room(void **state)
{
    struct scene *s = *state;
    begin(s);
    for (uint32_t i = 0; i < 12; i++) {
        put(s);
        tsdb_clock_sim_advance(&s->h.clock, 20000);
        assert_ok(tsdb_flush(s->h.db, NULL));
    }
    assert_ok(tsdb_checkpoint(s->h.db, NULL));
    uint64_t blocks = stats_of(s).blocks;
    assert_true(blocks > 6);
    mx_die(&s->m, false);
    tsdb_fs_sim_capacity(s->h.sim, tsdb_fs_sim_used(s->h.sim));
    s->h.options.retention_ms = 40000;
    assert_ok(hx_open(&s->h, NULL));
    for (uint32_t i = 0; i < 20; i++) {
        tsdb_clock_sim_advance(&s->h.clock, 600001);
        background(s);
    }
    assert_true(stats_of(s).blocks_expired > 3);
    assert_int_equal(tsdb_state(s->h.db, NULL), TSDB_STATE_READY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

static const struct CMUnitTest tests[] = {
    TEST(room__below_the_reserve__what_grows_waits_what_frees_does_not),
    TEST(room__below_half__only_the_log_writes),
    TEST(room__disk_fills_and_is_freed__nothing_lost_goes_on_by_itself),
    TEST(room__start_on_a_full_disk__retention_makes_room),
};

TEST_MAIN(tests)
