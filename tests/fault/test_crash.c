/* Random schedules of owners, log, sealer, checkpoint and retention over the simulated disk and
 * clock, with deaths in between. A failing seed is printed; TSDB_SEED=<n> runs that one alone,
 * TSDB_SEEDS=<n> that many. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb_model.h"
#include "tsdb/engine/db_private.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SEEDS_DEFAULT 300u
#endif
#endif
#if !defined(SEEDS_DEFAULT)
#define SEEDS_DEFAULT 1000u
#endif
#define STEPS 160u

struct run {
    struct hx h;
    struct mx m;
    struct tsdb_prng prng;
    uint32_t series;
    uint32_t span_s;
    bool io_faults_allowed;
    bool seals;          /* chunks go to files */
    uint32_t opens_left; /* of a failing open: how often to try */
};

static uint64_t below(struct run *r, uint64_t n)
{
    return tsdb_prng_below(&r->prng, n);
}

static void choose_range(struct run *r)
{
    static const int64_t ranges[] = {0, 1000, 7000, 60000};
    r->h.options.block_range_ms = ranges[below(r, TSDB_ARRAY_LEN(ranges))];
}

static void configure(struct run *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    tsdb_prng_init(&r->prng, seed);
    hx_init(&r->h, seed);
    struct tsdb_options *o = &r->h.options;
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
    mx_init(&r->m, &r->h);
    r->seals = below(r, 4) != 0;
    r->m.conflicts_pass = r->seals;
    r->m.no_conflicts = r->seals && o->durability == TSDB_DURABILITY_MEMORY;
}

/* What the model cannot see: the heads' own structure, and that no checkpoint refers to a head file
 * that is gone. */
static void check_structure(struct run *r)
{
    struct tsdb_error err;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        if (head_validate(r->h.db->heads[i], &err) != TSDB_OK) {
            mx_fail(&r->m, "heads: %s", err.msg);
        }
    }
    if (r->h.db->life->recovered.lost_chunks > 0) {
        mx_fail(&r->m, "a checkpoint refers to %llu chunks that are not there",
                (unsigned long long)r->h.db->life->recovered.lost_chunks);
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
        if (hx_open(&r->h, &err) == TSDB_OK) {
            check_structure(r);
            return;
        }
        if (!err.msg[0]) {
            mx_fail(&r->m, "open failed without a word");
        }
        tsdb_fs_sim_kill(r->h.sim); /* also disarms */
    }
    mx_fail(&r->m, "open: %s", err.msg);
}

static void step_write(struct run *r)
{
    struct hx_sample samples[24];
    uint8_t raws[24];
    uint32_t count = 1 + (uint32_t)below(r, 24), n = 0;
    for (uint32_t i = 0; i < count; i++) {
        samples[n] = mx_random_sample(&r->m, &r->prng, r->series, r->span_s, &raws[n]);
        n++;
    }
    mx_submit(&r->m, samples, raws, n, (enum tsdb_durability)below(r, 3));
}

static bool log_synced(struct run *r)
{
    struct wal_stats s;
    if (!r->h.db->wal) {
        return false;
    }
    wal_stats(r->h.db->wal, &s);
    return s.unsynced_bytes == 0;
}

static void step_sync(struct run *r)
{
    tsdb_wal_sync_step(r->h.db, r->h.clock.mono_ns);
    mx_reap(&r->m);
    if (log_synced(r)) {
        mx_durable(&r->m, false);
    } else if (!r->m.io_faults && tsdb_state(r->h.db, NULL) == TSDB_STATE_READY) {
        int64_t age_ns;
        uint32_t n = mx_at_risk(&r->m, &age_ns);
        if (n >= r->h.options.flush_samples ||
            age_ns >= (int64_t)r->h.options.flush_interval_ms * 1000000) {
            mx_fail(&r->m, "after a sync step %u samples are at risk, the oldest for %lld ms",
                    (unsigned)n, (long long)(age_ns / 1000000));
        }
    }
}

static void step_checkpoint(struct run *r, bool forced)
{
    mx_reap(&r->m); /* only what was answered before is sure to be in it */
    bool done = forced ? tsdb_checkpoint(r->h.db, NULL) == TSDB_OK
                       : tsdb_checkpoint_step(r->h.db, r->h.clock.mono_ns) > 0;
    if (done) {
        mx_durable(&r->m, true);
    }
    mx_reap(&r->m);
}

/* The sealer, and now and then the flusher's wish that everything up to some window be sealed. */
static void step_seal(struct run *r)
{
    if (!r->seals) {
        return;
    }
    if (below(r, 3) == 0) {
        uint32_t owner = (uint32_t)below(r, r->h.options.owner_count);
        owner_job_request(&r->h.db->owners[owner], OWNER_JOB_SEAL,
                          (uint64_t)(r->h.clock.wall_ms - (int64_t)below(r, 20000) + 1000));
    }
    tsdb_seal_step(r->h.db, r->h.clock.mono_ns);
}

static void step_close(struct run *r)
{
    struct tsdb_error err;
    if (hx_close(&r->h, &err) == TSDB_OK) {
        mx_reap(&r->m);
        if (r->m.writes) {
            mx_fail(&r->m, "closed with a write not done");
        }
        mx_durable(&r->m, true);
    }
    mx_reap(&r->m);
    if (below(r, 2)) {
        tsdb_fs_sim_crash(r->h.sim);
        open_db(r);
        mx_check(&r->m, MX_CUT);
    } else {
        tsdb_fs_sim_kill(r->h.sim);
        open_db(r);
        mx_check(&r->m, MX_KILLED);
    }
}

static void step_die(struct run *r)
{
    bool cut = below(r, 2) != 0;
    mx_die(&r->m, cut);
    if (r->io_faults_allowed && below(r, 4) == 0) {
        r->m.io_faults = true; /* a failed sync of the log drops what a kill would have left */
        tsdb_fs_sim_fault(r->h.sim, TSDB_FAULT_EIO, 1 + below(r, 12), 1);
    }
    open_db(r);
    tsdb_fs_sim_fault(r->h.sim, TSDB_FAULT_NONE, 1, 0);
    if (r->h.db) {
        mx_check(&r->m, cut ? MX_CUT : MX_KILLED);
    }
}

/* The machine stops in the middle of some operation; what follows has no effect. */
static void step_halt(struct run *r)
{
    tsdb_fs_sim_fault(r->h.sim, TSDB_FAULT_HALT, 1 + below(r, 12), 1);
    for (uint32_t i = 0; i < 12; i++) {
        switch (below(r, 6)) {
        case 5:
            step_seal(r);
            break;
        case 0:
            step_write(r);
            break;
        case 1:
            tsdb_owner_step(r->h.db, (uint32_t)below(r, r->h.options.owner_count),
                            r->h.clock.mono_ns);
            break;
        case 2:
            tsdb_wal_write_step(r->h.db, r->h.clock.mono_ns);
            break;
        case 3:
            tsdb_wal_sync_step(r->h.db, r->h.clock.mono_ns);
            break;
        case 4:
            step_checkpoint(r, true);
            break;
        }
        mx_reap(&r->m);
    }
    step_die(r);
}

static void step_fault(struct run *r)
{
    if (r->io_faults_allowed) {
        r->m.io_faults = true;
        tsdb_fs_sim_fault(r->h.sim, below(r, 2) ? TSDB_FAULT_EIO : TSDB_FAULT_ENOSPC,
                          1 + below(r, 10), 1 + below(r, 3));
    }
}

static void step(struct run *r)
{
    struct tsdb *db = r->h.db;
    uint64_t dice = below(r, 1000);
    if (dice < 250) {
        step_write(r);
    } else if (dice < 500) {
        tsdb_owner_step(db, (uint32_t)below(r, r->h.options.owner_count), r->h.clock.mono_ns);
    } else if (dice < 680) {
        tsdb_wal_write_step(db, r->h.clock.mono_ns);
    } else if (dice < 790) {
        step_sync(r);
    } else if (dice < 900) {
        bool far = r->h.options.retention_ms > 0 && below(r, 10) == 0;
        tsdb_clock_sim_advance(&r->h.clock, far ? 20000 : (int64_t)below(r, 2000));
    } else if (dice < 920) {
        step_checkpoint(r, below(r, 3) == 0);
    } else if (dice < 930 || (dice < 960 && below(r, 2))) {
        step_seal(r);
    } else if (dice < 940) {
        tsdb_retention_step(db, r->h.clock.mono_ns);
    } else if (dice < 955) {
        mx_check(&r->m, MX_RUNNING);
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
    mx_reap(&r->m);
}

static void one_seed(uint64_t seed)
{
    struct run *r = malloc(sizeof *r);
    assert_non_null(r);
    configure(r, seed);
    open_db(r);
    uint32_t i = 0;
    for (; i < STEPS && r->h.db && !r->m.failure[0]; i++) {
        step(r);
    }
    if (r->h.db && !r->m.failure[0]) {
        step_die(r);
    }
    if (r->h.db && !r->m.failure[0]) {
        mx_reap(&r->m);
        step_close(r);
    }
    char failure[sizeof r->m.failure];
    memcpy(failure, r->m.failure, sizeof failure);
    if (r->h.db) {
        mx_die(&r->m, false);
    }
    hx_deinit(&r->h);
    free(r);
    if (failure[0]) {
        fail_msg("TSDB_SEED=%llu, step %u: %s", (unsigned long long)seed, (unsigned)i, failure);
    }
}

static void
engine__random_schedules_and_deaths__nothing_acknowledged_lost_nothing_invented(void **state)
{
    (void)state;
    const char *one = getenv("TSDB_SEED"), *many = getenv("TSDB_SEEDS");
    if (one) {
        tsdb_log_configure(TSDB_LOG_DEBUG, TSDB_LOG_LOGFMT);
        one_seed(strtoull(one, NULL, 10));
        return;
    }
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT); /* deaths are what this is about */
    uint64_t count = many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
    const char *from = getenv("TSDB_SEED_FROM");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        one_seed(seed);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(
        engine__random_schedules_and_deaths__nothing_acknowledged_lost_nothing_invented),
};

TEST_MAIN(tests)
