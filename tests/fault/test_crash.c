/* Random schedules of owners, log, sealer, checkpoint and retention over the simulated disk and
 * clock, with deaths in between. A failing seed is printed; TSDB_SEED=<n> runs that one alone,
 * TSDB_SEEDS=<n> that many. */
#include "tests/support/test.h"

#include "tests/support/tsdb/scene.h"
#include "tsdb/engine/db_private.h"

#define STEPS 160u

struct run {
    struct scene s; /* first: what scene_teardown gets */
    uint32_t series;
    uint32_t span_s;
    bool io_faults_allowed;
    bool seals; /* chunks go to files */
};

static uint64_t below(struct run *r, uint64_t n)
{
    return tsdb_prng_below(&r->s.prng, n);
}

static void choose_range(struct run *r)
{
    static const int64_t ranges[] = {0, 1000, 7000, 60000};
    r->s.h.options.block_range_ms = ranges[below(r, TSDB_ARRAY_LEN(ranges))];
}

static void configure(struct run *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    scene_begin(&r->s, seed);
    struct tsdb_options *o = &r->s.h.options;
    uint64_t mode = below(r, 5);
    o->durability = mode == 0   ? TSDB_DURABILITY_MEMORY
                    : mode == 1 ? TSDB_DURABILITY_STRICT
                                : TSDB_DURABILITY_BUFFERED;
    o->owner_count = 1 + (uint32_t)below(r, 4);
    o->wal_segment_bytes = UINT64_C(1) << (15 + below(r, 3));
    o->wal_epoch_bytes = UINT64_C(1) << (10 + below(r, 4));
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
    r->seals = below(r, 4) != 0;
    r->s.m.conflicts_pass = r->seals;
    r->s.m.no_conflicts = r->seals && o->durability == TSDB_DURABILITY_MEMORY;
}

/* What the model cannot see: the heads' own structure, and that no checkpoint refers to a head file
 * that is gone. */
static void check_structure(struct run *r)
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
}

/* Open; a fault that is still armed may fail it, cleanly, and then it works once the fault is used
 * up. */
static void open_db(struct run *r)
{
    struct tsdb_error err;
    tsdb_error_clear(&err);
    if (below(r, 4) == 0) {
        choose_range(r); /* somebody has changed the flag */
    }
    for (uint32_t i = 0; i < 10; i++) {
        if (hx_open(&r->s.h, &err) == TSDB_OK) {
            check_structure(r);
            return;
        }
        if (!err.msg[0]) {
            mx_fail(&r->s.m, "open failed without a word");
        }
        tsdb_fs_sim_kill(r->s.h.sim); /* also disarms */
    }
    mx_fail(&r->s.m, "open: %s", err.msg);
}

static void step_write(struct run *r)
{
    uint32_t count = 1 + (uint32_t)below(r, 24);
    scene_submit(&r->s, count, r->series, r->span_s, (enum tsdb_durability)below(r, 3));
}

static bool log_synced(struct run *r)
{
    struct wal_stats s;
    if (!r->s.h.db->wal) {
        return false;
    }
    wal_stats(r->s.h.db->wal, &s);
    return s.unsynced_bytes == 0;
}

static void step_sync(struct run *r)
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

static void step_checkpoint(struct run *r, bool forced)
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
static void step_seal(struct run *r)
{
    if (!r->seals) {
        return;
    }
    if (below(r, 3) == 0) {
        uint32_t owner = (uint32_t)below(r, r->s.h.options.owner_count);
        owner_job_request(&r->s.h.db->owners[owner], OWNER_JOB_SEAL,
                          (uint64_t)(r->s.h.clock.wall_ms - (int64_t)below(r, 20000) + 1000));
    }
    tsdb_seal_step(r->s.h.db, r->s.h.clock.mono_ns);
}

static void step_close(struct run *r)
{
    scene_close(&r->s);
    bool cut = below(r, 2) != 0;
    mx_die(&r->s.m, cut);
    open_db(r);
    if (r->s.h.db) {
        mx_check(&r->s.m, cut ? MX_CUT : MX_KILLED);
    }
}

static void step_die(struct run *r)
{
    bool cut = below(r, 2) != 0;
    mx_die(&r->s.m, cut);
    if (r->io_faults_allowed && below(r, 4) == 0) {
        r->s.m.io_faults = true; /* a failed sync of the log drops what a kill would have left */
        tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_EIO, 1 + below(r, 12), 1);
    }
    open_db(r);
    tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_NONE, 1, 0);
    if (r->s.h.db) {
        mx_check(&r->s.m, cut ? MX_CUT : MX_KILLED);
    }
}

/* The machine stops in the middle of some operation; what follows has no effect. */
static void step_halt(struct run *r)
{
    tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_HALT, 1 + below(r, 12), 1);
    for (uint32_t i = 0; i < 12; i++) {
        switch (below(r, 6)) {
        case 5:
            step_seal(r);
            break;
        case 0:
            step_write(r);
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
    step_die(r);
}

static void step_fault(struct run *r)
{
    if (r->io_faults_allowed) {
        r->s.m.io_faults = true;
        tsdb_fs_sim_fault(r->s.h.sim, below(r, 2) ? TSDB_FAULT_EIO : TSDB_FAULT_ENOSPC,
                          1 + below(r, 10), 1 + below(r, 3));
    }
}

static void step(struct run *r)
{
    struct tsdb *db = r->s.h.db;
    uint64_t dice = below(r, 1000);
    if (dice < 250) {
        step_write(r);
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
        step_fault(r);
    } else if (dice < 972) {
        step_close(r);
    } else if (dice < 987) {
        step_die(r);
    } else {
        step_halt(r);
    }
    mx_reap(&r->s.m);
}

static void one_seed(struct run *r, uint64_t seed)
{
    configure(r, seed);
    open_db(r);
    uint32_t i = 0;
    for (; i < STEPS && r->s.h.db && !r->s.m.failure[0]; i++) {
        step(r);
    }
    if (r->s.h.db && !r->s.m.failure[0]) {
        step_die(r);
    }
    if (r->s.h.db && !r->s.m.failure[0]) {
        mx_reap(&r->s.m);
        step_close(r);
    }
    scene_end_checked(&r->s, "TSDB_SEED=%llu, step %u", (unsigned long long)seed, (unsigned)i);
}

static void
engine__random_schedules_and_deaths__nothing_acknowledged_lost_nothing_invented(void **state)
{
    struct scene_seeds seeds = scene_seeds(1000, 300);
    for (uint64_t i = 0; i < seeds.count; i++) {
        one_seed(*state, seeds.first + i);
    }
}

static int setup(void **state)
{
    return scene_setup_of(state, sizeof(struct run));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        engine__random_schedules_and_deaths__nothing_acknowledged_lost_nothing_invented, setup,
        scene_teardown),
};

TEST_MAIN(tests)
