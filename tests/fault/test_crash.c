/* Random schedules of owners, log, sealer, checkpoint and retention over the simulated disk and
 * clock, with deaths in between. */
#include "tests/support/test.h"

#include "tests/support/tsdb/schedule.h"
#include "tsdb/engine/db_private.h"

static bool seals; /* in this schedule chunks go to files */

static void choose_range(struct schedule *r)
{
    static const int64_t ranges[] = {0, 1000, 7000, 60000};
    r->s.h.options.block_range_ms = ranges[below(r, TSDB_ARRAY_LEN(ranges))];
}

static void configure(struct schedule *r, uint64_t seed)
{
    (void)seed;
    struct tsdb_options *o = &r->s.h.options;
    uint64_t mode = below(r, 5);
    o->durability = mode == 0   ? TSDB_DURABILITY_MEMORY
                    : mode == 1 ? TSDB_DURABILITY_STRICT
                                : TSDB_DURABILITY_BUFFERED;
    o->owner_count = 1 + (uint32_t)below(r, 4);
    o->wal_segment_bytes = UINT64_C(1) << (15 + below(r, 3));
    o->wal_epoch_bytes = UINT64_C(1) << (10 + below(r, 4));
    o->head_bundle_bytes = 100u << below(r, 5);
    o->flush_samples = 20 + below(r, 400);
    o->flush_interval_ms = 100;
    o->checkpoint_wal_bytes = UINT64_C(1) << (12 + below(r, 4));
    o->ring_slots = 1u << (2 + below(r, 4));
    r->span_s = 600;
    if (below(r, 4) == 0) {
        o->retention_ms = 120000;
        r->span_s = 100;
    }
    r->series = 4 + (uint32_t)below(r, 60);
    r->io_faults_allowed = below(r, 3) == 0;
    choose_range(r);
    o->head_file_bytes_max = UINT64_C(1) << (8 + below(r, 6));
    seals = below(r, 4) != 0;
    r->s.m.conflicts_pass = seals;
    r->s.m.no_conflicts = seals && o->durability == TSDB_DURABILITY_MEMORY;
}

/* What the model cannot see: the heads' own structure, that no checkpoint refers to a head file that
 * is gone, and that the log's position never leads. */
static void check_structure(struct schedule *r)
{
    struct tsdb_error err;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        if (head_validate(r->s.h.db->heads[i], &err) != TSDB_OK) {
            mx_fail(&r->s.m, "heads: %s", err.msg);
        }
    }
    if (r->s.h.db->life->recovered.lost_chunks > 0) {
        mx_fail(&r->s.m, "a checkpoint refers to %llu chunks that are not there",
                (unsigned long long)r->s.h.db->life->recovered.lost_chunks);
    }
    /* No schedule takes away what was synced. */
    if (r->s.h.db->life->recovered.lost_log_segments + r->s.h.db->life->recovered.lost_log_bytes >
        0) {
        mx_fail(&r->s.m, "the log is said to end too early");
    }
}

static bool log_synced(struct schedule *r)
{
    struct wal_stats s;
    if (!r->s.h.db->wal) {
        return false;
    }
    wal_stats(r->s.h.db->wal, &s);
    return s.unsynced_bytes == 0;
}

static void step_sync(struct schedule *r)
{
    tsdb_wal_sync_step(r->s.h.db, r->s.h.clock.mono_ns);
    mx_reap(&r->s.m);
    if (log_synced(r)) {
        mx_durable(&r->s.m, false);
    } else if (!r->s.m.io_faults && tsdb_state(r->s.h.db, NULL) == TSDB_STATE_READY) {
        int64_t age_ns;
        uint32_t n = mx_at_risk(&r->s.m, &age_ns);
        if (n >= r->s.h.options.flush_samples ||
            age_ns >= (int64_t)r->s.h.options.flush_interval_ms * 1000000) {
            mx_fail(&r->s.m, "after a sync step %u samples are at risk, the oldest for %lld ms",
                    (unsigned)n, (long long)(age_ns / 1000000));
        }
    }
}

static void step_checkpoint(struct schedule *r, bool forced)
{
    mx_reap(&r->s.m); /* only what was answered before is sure to be in it */
    bool done = forced ? tsdb_checkpoint(r->s.h.db, NULL) == TSDB_OK
                       : tsdb_checkpoint_step(r->s.h.db, r->s.h.clock.mono_ns) > 0;
    if (done) {
        mx_durable(&r->s.m, true);
    }
    mx_reap(&r->s.m);
}

/* The sealer, and now and then the flusher's wish that everything up to some window be sealed. */
static void step_seal(struct schedule *r)
{
    if (!seals) {
        return;
    }
    if (below(r, 3) == 0) {
        uint32_t owner = (uint32_t)below(r, r->s.h.options.owner_count);
        owner_job_request(&r->s.h.db->owners[owner], OWNER_JOB_SEAL,
                          (uint64_t)(r->s.h.clock.wall_ms - (int64_t)below(r, 20000) + 1000));
    }
    tsdb_seal_step(r->s.h.db, r->s.h.clock.mono_ns);
}

/* The machine stops in the middle of some operation; what follows has no effect. */
static void step_halt(struct schedule *r)
{
    tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_HALT, 1 + below(r, 12), 1);
    for (uint32_t i = 0; i < 12; i++) {
        switch (below(r, 6)) {
        case 5:
            step_seal(r);
            break;
        case 0:
            schedule_write(r);
            break;
        case 1:
            tsdb_owner_step(r->s.h.db, (uint32_t)below(r, r->s.h.options.owner_count),
                            r->s.h.clock.mono_ns);
            break;
        case 2:
            tsdb_wal_write_step(r->s.h.db, r->s.h.clock.mono_ns);
            break;
        case 3:
            tsdb_wal_sync_step(r->s.h.db, r->s.h.clock.mono_ns);
            break;
        case 4:
            step_checkpoint(r, true);
            break;
        }
        mx_reap(&r->s.m);
    }
    schedule_die(r);
}

static void step(struct schedule *r)
{
    struct tsdb *db = r->s.h.db;
    uint64_t dice = below(r, 1000);
    if (dice < 250) {
        schedule_write(r);
    } else if (dice < 500) {
        tsdb_owner_step(db, (uint32_t)below(r, r->s.h.options.owner_count), r->s.h.clock.mono_ns);
    } else if (dice < 680) {
        tsdb_wal_write_step(db, r->s.h.clock.mono_ns);
    } else if (dice < 790) {
        step_sync(r);
    } else if (dice < 900) {
        bool far = r->s.h.options.retention_ms > 0 && below(r, 10) == 0;
        tsdb_clock_sim_advance(&r->s.h.clock, far ? 20000 : (int64_t)below(r, 2000));
    } else if (dice < 920) {
        step_checkpoint(r, below(r, 3) == 0);
    } else if (dice < 930 || (dice < 960 && below(r, 2))) {
        step_seal(r);
    } else if (dice < 940) {
        tsdb_retention_step(db, r->s.h.clock.mono_ns);
    } else if (dice < 955) {
        mx_check(&r->s.m, MX_RUNNING);
        check_structure(r);
    } else if (dice < 965) {
        schedule_io_fault(r, 10);
    } else if (dice < 972) {
        schedule_close(r);
    } else if (dice < 987) {
        schedule_die(r);
    } else {
        step_halt(r);
    }
    mx_reap(&r->s.m);
}

/* Somebody may have changed the flag before the next start. */
static void dying(struct schedule *r)
{
    if (below(r, 4) == 0) {
        choose_range(r);
    }
}

static void
engine__random_schedules_and_deaths__nothing_acknowledged_lost_nothing_invented(void **state)
{
    static const struct schedule_ops ops = {.configure = configure,
                                            .opened = check_structure,
                                            .dying = dying,
                                            .step = step,
                                            .steps = 160,
                                            .open_fault_ops = 12};
    schedule_run_all(*state, &ops, 1000, 300);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        engine__random_schedules_and_deaths__nothing_acknowledged_lost_nothing_invented,
        schedule_setup, scene_teardown),
};

TEST_MAIN(tests)
