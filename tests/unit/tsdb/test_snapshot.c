/* Snapshots: what they hold, opened as a data directory, beside a model of the moment; faults in
 * the middle leave nothing behind. */
#include "tests/support/test.h"

#include "tests/support/tsdb/restore.h"
#include "tsdb/engine/tsdb_private.h"

#define RANGE INT64_C(20000)

static void begin(struct scene *s, uint64_t seed)
{
    scene_begin(s, seed);
    s->h.options.block_range_ms = RANGE;
    s->h.options.wal_segment_bytes = 1u << 14;
    s->h.options.wal_epoch_bytes = 1u << 12;
    s->h.options.head_file_bytes_max = 2000;
    assert_ok(hx_open(&s->h, NULL));
}

/* Some of everything that moves files. */
static void churn(struct scene *s, uint32_t turns)
{
    for (uint32_t i = 0; i < turns; i++) {
        scene_put(s, 20, 12, 60, (enum tsdb_durability)tsdb_prng_below(&s->prng, 3));
        tsdb_clock_sim_advance(&s->h.clock, 3000);
        switch (tsdb_prng_below(&s->prng, 5)) {
        case 0:
            assert_ok(tsdb_flush(s->h.db, NULL));
            break;
        case 1:
            assert_ok(tsdb_checkpoint(s->h.db, NULL));
            break;
        case 2:
            tsdb_compact_step(s->h.db, s->h.clock.mono_ns);
            break;
        default:
            tsdb_seal_step(s->h.db, s->h.clock.mono_ns);
            hx_settle(&s->h);
            break;
        }
    }
}

static void snapshot__opened_as_a_data_directory__holds_what_was_answered(void **state)
{
    struct scene *s = *state;
    static struct mx then;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        char name[TSDB_SNAPSHOT_NAME_BYTES];
        struct tsdb_error err = {0};
        begin(s, seed);
        churn(s, 12);
        assert_ok_err(tsdb_snapshot(s->h.db, false, name, &err), &err);
        then = s->m;
        assert_null(then.writes);
        mx_durable(&then, true); /* whatever becomes of the directory that it was made in */
        churn(s, 12);
        assert_string_equal(s->m.failure, "");
        mx_die(&s->m, true);
        assert_true(restore_verify(&s->h, name) > 3);
        restore_take(&s->h, name);
        assert_ok_err(hx_open(&s->h, &err), &err);
        s->m = then;
        mx_check(&s->m, MX_CUT);
        scene_put(s, 20, 12, 60, TSDB_DURABILITY_STRICT); /* and it is one that goes on */
        assert_string_equal(s->m.failure, "");
        scene_end_checked(s, "seed %u", (unsigned)seed);
    }
}

/* What whoever opens a snapshot writes does not reach the directory that it was made of. */
static void snapshot__opened_and_written_to__the_first_directory_is_untouched(void **state)
{
    struct scene *s = *state;
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    struct tsdb_error err = {0};
    begin(s, 5);
    churn(s, 8);
    assert_ok_err(tsdb_snapshot(s->h.db, false, name, &err), &err);
    uint32_t before = hx_count(&s->h);
    mx_die(&s->m, false);
    restore_set_aside(&s->h, "first");
    restore_take_from(&s->h, "first/snapshots", name);
    assert_ok_err(hx_open(&s->h, &err), &err);
    assert_int_equal(hx_count(&s->h), before);
    churn(s, 8);
    for (uint32_t i = 100; i < 120; i++) { /* new series: series.log grows */
        const struct hx_sample x = hx_float(i, s->h.clock.wall_ms, i);
        assert_ok(hx_put(&s->h, &x, 1, TSDB_DURABILITY_STRICT, NULL));
    }
    assert_ok(tsdb_checkpoint(s->h.db, NULL));
    assert_true(hx_count(&s->h) > before);
    hx_die(&s->h, false);
    restore_clear(&s->h, "first");
    restore_take_from(&s->h, "", "first");
    assert_ok_err(hx_open(&s->h, &err), &err);
    assert_int_equal(hx_count(&s->h), before);
    scene_end(s);
}

static void snapshot__without_head__blocks_only(void **state)
{
    struct scene *s = *state;
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    struct tsdb_error err = {0};
    begin(s, 7);
    for (uint32_t i = 0; i < 30; i++) {
        const struct hx_sample x = hx_float(i, s->h.clock.wall_ms - 1000, i);
        assert_ok(hx_put(&s->h, &x, 1, TSDB_DURABILITY_STRICT, NULL));
    }
    assert_ok(tsdb_flush(s->h.db, NULL));
    for (uint32_t i = 0; i < 30; i++) {
        const struct hx_sample x = hx_float(i, s->h.clock.wall_ms, i);
        assert_ok(hx_put(&s->h, &x, 1, TSDB_DURABILITY_STRICT, NULL));
    }
    assert_ok_err(tsdb_snapshot(s->h.db, true, name, &err), &err);
    mx_die(&s->m, false);
    restore_verify(&s->h, name);
    restore_take(&s->h, name);
    assert_ok_err(hx_open(&s->h, &err), &err);
    assert_int_equal(hx_count(&s->h), 30);
    scene_end(s);
}

static void snapshot__each_operation_fails__nothing_is_left_and_the_next_one_works(void **state)
{
    struct scene *s = *state;
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    uint64_t failed = 0;
    for (uint64_t op = 1;; op++) {
        struct tsdb_error err = {0};
        begin(s, 9);
        churn(s, 6);
        assert_ok(tsdb_flush(s->h.db, NULL));
        tsdb_fs_sim_fault(s->h.sim, TSDB_FAULT_EIO, op, 1);
        s->m.io_faults = true;
        enum tsdb_status status = tsdb_snapshot(s->h.db, false, name, &err);
        tsdb_fs_sim_fault(s->h.sim, TSDB_FAULT_NONE, 1, 0);
        if (status != TSDB_OK) {
            failed++;
            assert_int_equal(restore_count(&s->h), 0);
        }
        assert_ok_err(tsdb_snapshot(s->h.db, false, name, &err), &err);
        restore_verify(&s->h, name);
        mx_check(&s->m, MX_RUNNING);
        scene_end_checked(s, "operation %u", (unsigned)op);
        if (status == TSDB_OK && op > 40) {
            break; /* beyond the last one; in front of it some are a checkpoint's tidying */
        }
    }
    assert_true(failed > 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

static const struct CMUnitTest tests[] = {
    TEST(snapshot__opened_as_a_data_directory__holds_what_was_answered),
    TEST(snapshot__opened_and_written_to__the_first_directory_is_untouched),
    TEST(snapshot__without_head__blocks_only),
    TEST(snapshot__each_operation_fails__nothing_is_left_and_the_next_one_works),
};

TEST_MAIN(tests)
