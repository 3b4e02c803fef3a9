/* Random schedules over all actors at once: writes, log, sealer, flush, merges, checkpoints, retention,
 * deletes, cleaning and snapshots, over a simulated disk that fails, fills up, is slow and loses what
 * was not synced, with a wall clock that jumps, and with deaths in between. Nothing acknowledged is
 * lost, nothing deleted comes back, and a snapshot holds what there was. */
#include "tests/support/test.h"

#include "tests/support/tsdb/restore.h"
#include "tests/support/tsdb/schedule.h"
#include "tsdb/engine/db_private.h"

#define DAY_MS (INT64_C(24) * 60 * 60 * 1000)

/* What was asked for and not answered with OK yet: it is asked for again, as an operator would. */
static struct {
    bool pending;
    uint32_t name;
    struct tsdb_time_range range;
} deletion;

static int64_t jumped_ms; /* how far the wall clock is off */

static struct {
    uint64_t deletes, snapshots, restored, full, out_of_space, jumps, flushes, compactions;
} seen; /* over all schedules */

static void configure(struct schedule *r, uint64_t seed)
{
    struct tsdb_options *o = &r->s.h.options;
    tsdb_prng_init(&r->s.prng, seed ^ 0xa11);
    deletion.pending = false;
    jumped_ms = 0;
    o->durability = below(r, 3) == 0 ? TSDB_DURABILITY_STRICT : TSDB_DURABILITY_BUFFERED;
    o->owner_count = 1 + (uint32_t)below(r, 3);
    o->wal_segment_bytes = UINT64_C(1) << (14 + below(r, 3));
    o->wal_epoch_bytes = UINT64_C(1) << (10 + below(r, 4));
    o->checkpoint_wal_bytes = UINT64_C(1) << (12 + below(r, 4));
    o->block_range_ms = 2000 + (int64_t)below(r, 9) * 1000;
    o->head_file_bytes_max = UINT64_C(1) << (8 + below(r, 6));
    o->disk_reserve_bytes = below(r, 2) ? UINT64_C(1) << (13 + below(r, 3)) : 0;
    if (below(r, 4) == 0) {
        o->retention_ms = 60000;
    }
    r->span_s = o->retention_ms > 0 ? 50 : 120;
    r->series = 4 + (uint32_t)below(r, 30);
    r->io_faults_allowed = below(r, 4) == 0;
    r->s.m.no_conflicts = true; /* as in test_crash_blocks */
}

/* ---- deletes ---- */

static void delete_again(struct schedule *r)
{
    char name[16];
    struct tsdb_delete_info info;
    snprintf(name, sizeof name, "m%u", (unsigned)deletion.name);
    struct tsdb_matcher matcher = {TSDB_MATCH_EQ, "__name__", name, 8, (uint32_t)strlen(name)};
    if (deletion.name == MX_ANY) {
        matcher = (struct tsdb_matcher){TSDB_MATCH_RE, "__name__", ".+", 8, 2};
    }
    struct tsdb_selector selector = {&matcher, 1};
    mx_delete_begin(&r->s.m, deletion.name, deletion.range);
    deletion.pending =
        tsdb_delete_series(r->s.h.db, &selector, 1, deletion.range, &info, NULL) != 0;
    if (!deletion.pending) {
        mx_delete_done(&r->s.m);
        seen.deletes += info.samples > 0;
    }
}

/* Nothing under way: what a delete is about must be certain. False: a write has no answer. */
static bool settled(struct schedule *r)
{
    hx_settle(&r->s.h);
    mx_reap(&r->s.m);
    return !r->s.m.writes;
}

static void step_delete(struct schedule *r)
{
    if (!settled(r)) {
        return;
    }
    if (!deletion.pending) {
        int64_t now_ms = r->s.h.clock.wall_ms;
        deletion.name = below(r, 4) ? (uint32_t)below(r, 7) : MX_ANY;
        deletion.range.min_ms = now_ms - (int64_t)below(r, r->span_s) * 1000;
        deletion.range.max_ms = deletion.range.min_ms + (int64_t)below(r, 30000);
        if (below(r, 6) == 0) {
            deletion.range = (struct tsdb_time_range){INT64_MIN, INT64_MAX};
        }
    }
    delete_again(r);
}

static void opened(struct schedule *r)
{
    if (atomic_load(&r->s.h.db->blocks.quarantined) > 0) {
        mx_fail(&r->s.m, "a block is taken for damaged");
    }
    for (uint32_t i = 0; deletion.pending && i < 3; i++) {
        delete_again(r);
    }
}

/* ---- snapshots ---- */

static bool take_snapshot(struct schedule *r, char name[TSDB_SNAPSHOT_NAME_BYTES])
{
    mx_reap(&r->s.m); /* only what was answered before is sure to be in it */
    if (tsdb_snapshot(r->s.h.db, false, name, NULL) != TSDB_OK) {
        return false;
    }
    mx_durable(&r->s.m, true); /* its checkpoint is */
    (void)restore_verify(&r->s.h, name);
    seen.snapshots++;
    return true;
}

static void step_snapshot(struct schedule *r)
{
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    if (take_snapshot(r, name)) {
        char path[64];
        snprintf(path, sizeof path, "snapshots/%s", name);
        (void)!tsdb_file_tree_remove(&r->s.h.options.fs, path, NULL);
    }
}

/* ---- the disk and the clock ---- */

static void step_disk(struct schedule *r)
{
    struct tsdb_fs_sim *sim = r->s.h.sim;
    switch (below(r, 5)) {
    case 0:
        tsdb_fs_sim_capacity(sim, tsdb_fs_sim_used(sim) + 1 + below(r, 60000));
        seen.full++;
        break;
    case 1:
        tsdb_fs_sim_slow(sim, &r->s.h.clock, (uint32_t)below(r, 800));
        break;
    case 2:
        tsdb_fs_sim_slow(sim, NULL, 0);
        break;
    default: /* somebody made room */
        tsdb_fs_sim_capacity(sim, 0);
        break;
    }
}

/* The wall clock alone; and back. What is under way is answered by the clock at which it was sent. */
static void step_jump(struct schedule *r)
{
    if (!settled(r)) {
        return;
    }
    int64_t to_ms = below(r, 2) ? 0 : (int64_t)below(r, 40 * (uint64_t)DAY_MS) - 20 * DAY_MS;
    to_ms = jumped_ms != 0 ? 0 : to_ms; /* no further off than that */
    mx_clock(&r->s.m);
    r->s.h.clock.wall_ms += to_ms - jumped_ms;
    mx_clock(&r->s.m);
    seen.jumps += to_ms != jumped_ms;
    jumped_ms = to_ms;
}

/* ---- all of them ---- */

static void step_checkpoint(struct schedule *r)
{
    mx_reap(&r->s.m);
    if (tsdb_checkpoint_step(r->s.h.db, r->s.h.clock.mono_ns) > 0) {
        mx_durable(&r->s.m, true);
    }
}

static void step_background(struct schedule *r, uint64_t dice)
{
    struct tsdb *db = r->s.h.db;
    int64_t now_ns = r->s.h.clock.mono_ns;
    struct tsdb_work_done done;
    switch (dice) {
    case 0:
        (void)tsdb_seal_step(db, now_ns);
        break;
    case 1:
        (void)tsdb_flush_step(db, now_ns);
        break;
    case 2:
        (void)!tsdb_flush(db, NULL);
        break;
    case 3:
    case 4:
        (void)tsdb_compact_step(db, now_ns);
        break;
    case 5:
        step_checkpoint(r);
        break;
    case 6:
        (void)tsdb_wal_sync_step(db, now_ns);
        break;
    case 7:
        (void)tsdb_retention_step(db, now_ns);
        break;
    default:
        (void)!tsdb_clean_tombstones(db, &done, NULL);
        break;
    }
}

static void step_work(struct schedule *r)
{
    uint64_t dice = below(r, 20);
    if (dice < 9) {
        step_background(r, dice);
    } else if (dice == 9) {
        step_delete(r);
    } else if (dice < 12) {
        tsdb_clock_sim_advance(&r->s.h.clock, (int64_t)below(r, 3000));
        mx_clock(&r->s.m);
    } else {
        schedule_write(r);
        for (uint32_t i = 0; i < r->s.h.options.owner_count; i++) {
            (void)tsdb_owner_step(r->s.h.db, i, r->s.h.clock.mono_ns);
        }
        (void)tsdb_wal_write_step(r->s.h.db, r->s.h.clock.mono_ns);
    }
    mx_reap(&r->s.m);
    seen.out_of_space += tsdb_state(r->s.h.db, NULL) == TSDB_STATE_OUT_OF_SPACE;
}

/* The machine stops in the middle of some operation; what follows has no effect. */
static void step_halt(struct schedule *r)
{
    tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_HALT, 1 + below(r, 60), 1);
    for (uint32_t i = 0; i < 16; i++) {
        step_work(r);
    }
    if (below(r, 4) == 0) {
        step_snapshot(r);
    }
    schedule_die(r);
}

static void step(struct schedule *r)
{
    uint64_t dice = below(r, 100);
    if (dice < 76) {
        step_work(r);
    } else if (dice < 79) {
        step_snapshot(r);
    } else if (dice < 84) {
        step_disk(r);
    } else if (dice < 86) {
        step_jump(r);
    } else if (dice < 90) {
        mx_check(&r->s.m, MX_RUNNING);
    } else if (dice < 92) {
        schedule_io_fault(r, 30);
    } else if (dice < 93) {
        schedule_close(r);
    } else if (dice < 96) {
        schedule_die(r);
    } else {
        step_halt(r);
    }
    mx_reap(&r->s.m);
}

static void count_lives(struct schedule *r)
{
    seen.flushes += atomic_load(&r->s.h.db->life->flushes);
    seen.compactions += atomic_load(&r->s.h.db->life->compactions);
}

/* The background goes on for some minutes. */
static void heal(struct schedule *r)
{
    for (uint32_t i = 0; i < 12 && tsdb_state(r->s.h.db, NULL) != TSDB_STATE_READY; i++) {
        tsdb_clock_sim_advance(&r->s.h.clock, 20000);
        step_checkpoint(r);
        hx_settle(&r->s.h);
    }
    mx_clock(&r->s.m);
}

/* Room and a sound disk again: everything goes on by itself, and what a snapshot holds is what there is. */
static void last(struct schedule *r)
{
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_NONE, 1, 0);
    tsdb_fs_sim_capacity(r->s.h.sim, 0);
    tsdb_fs_sim_slow(r->s.h.sim, NULL, 0);
    heal(r);
    if (!settled(r)) {
        mx_fail(&r->s.m, "a write is not answered");
    } else if (tsdb_state(r->s.h.db, NULL) != TSDB_STATE_READY) {
        mx_fail(&r->s.m, "%s with nothing wrong any more",
                tsdb_state_name(tsdb_state(r->s.h.db, NULL)));
    } else if (deletion.pending) {
        step_delete(r);
    }
    mx_check(&r->s.m, MX_RUNNING);
    if (r->s.m.failure[0] || below(r, 4) != 0 || !take_snapshot(r, name)) {
        return;
    }
    mx_die(&r->s.m, false);
    restore_take(&r->s.h, name);
    (void)scene_reopen(&r->s, false);
    seen.restored++;
}

static void engine__random_schedules_of_all_actors__nothing_lost_nothing_comes_back(void **state)
{
    static const struct schedule_ops ops = {.configure = configure,
                                            .opened = opened,
                                            .dying = count_lives,
                                            .step = step,
                                            .last = last,
                                            .steps = 120,
                                            .open_fault_ops = 16};
    uint64_t count = schedule_run_all(*state, &ops, 1000, 100);
    if (count >= 500) { /* the schedules do what they are about */
        assert_true(seen.deletes > count);
        assert_true(seen.snapshots > count);
        assert_true(seen.restored > count / 10);
        assert_true(seen.full > count / 2);
        assert_true(seen.out_of_space > count / 4);
        assert_true(seen.jumps > count);
        assert_true(seen.flushes > 5 * count);
        assert_true(seen.compactions > count);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        engine__random_schedules_of_all_actors__nothing_lost_nothing_comes_back, schedule_setup,
        scene_teardown),
};

TEST_MAIN(tests)
