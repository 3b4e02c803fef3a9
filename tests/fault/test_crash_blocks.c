/* Random schedules of writes, flushes, compactions, retention and checkpoints over the simulated
 * disk and clock, with deaths in between; short windows, so that blocks come and go. Then one fixed
 * flush and merge, stopped at every file operation. TSDB_SEED=<n> runs one schedule alone,
 * TSDB_SEEDS=<n> that many. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb_model.h"
#include "tsdb/engine/db_private.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SEEDS_DEFAULT 20u
#endif
#endif
#if !defined(SEEDS_DEFAULT)
#define SEEDS_DEFAULT 100u
#endif
#define STEPS 150u

struct run {
    struct hx h;
    struct mx m;
    struct tsdb_prng prng;
    uint32_t series;
    uint32_t span_s;
    bool io_faults_allowed;
    uint64_t flushes, compactions; /* over all lives */
};

static uint64_t below(struct run *r, uint64_t n)
{
    return tsdb_prng_below(&r->prng, n);
}

static void configure(struct run *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    tsdb_prng_init(&r->prng, seed ^ 0xb10c);
    hx_init(&r->h, seed);
    struct tsdb_options *o = &r->h.options;
    o->durability = below(r, 4) == 0 ? TSDB_DURABILITY_STRICT : TSDB_DURABILITY_BUFFERED;
    o->owner_count = 1 + (uint32_t)below(r, 3);
    o->wal_segment_bytes = UINT64_C(1) << (15 + below(r, 3));
    o->wal_epoch_bytes = UINT64_C(1) << (10 + below(r, 4));
    o->checkpoint_wal_bytes = UINT64_C(1) << (12 + below(r, 4));
    o->block_range_ms = 2000 + (int64_t)below(r, 9) * 1000;
    o->cache_l1_bytes = UINT64_C(1) << (12 + below(r, 8));
    o->head_file_bytes_max = UINT64_C(1) << (8 + below(r, 6));
    r->span_s = 120;
    if (below(r, 3) == 0) {
        o->retention_ms = 60000;
        r->span_s = 50;
    }
    r->series = 4 + (uint32_t)below(r, 40);
    r->io_faults_allowed = below(r, 3) == 0;
    mx_init(&r->m, &r->h);
    r->m.conflicts_pass = true;
    /* A power cut or retention may take the first value before the conflicting one, which is then
     * all that is left: the model could not tell. Conflicts are for test_compact. */
    r->m.no_conflicts = true;
}

static void open_db(struct run *r)
{
    struct tsdb_error err;
    tsdb_error_clear(&err);
    for (uint32_t i = 0; i < 10; i++) {
        if (hx_open(&r->h, &err) == TSDB_OK) {
            if (atomic_load(&r->h.db->blocks.quarantined) > 0) {
                mx_fail(&r->m, "a block is taken for damaged");
            }
            return;
        }
        tsdb_fs_sim_kill(r->h.sim); /* also disarms */
    }
    mx_fail(&r->m, "open: %s", err.msg);
}

static void count_lives(struct run *r)
{
    r->flushes += atomic_load(&r->h.db->life->flushes);
    r->compactions += atomic_load(&r->h.db->life->compactions);
}

static void step_write(struct run *r)
{
    struct hx_sample samples[24];
    uint8_t raws[24];
    uint32_t count = 1 + (uint32_t)below(r, 24);
    for (uint32_t i = 0; i < count; i++) {
        samples[i] = mx_random_sample(&r->m, &r->prng, r->series, r->span_s, &raws[i]);
    }
    mx_submit(&r->m, samples, raws, count, (enum tsdb_durability)below(r, 3));
}

static void step_close(struct run *r)
{
    struct tsdb_error err;
    count_lives(r);
    if (hx_close(&r->h, &err) == TSDB_OK) {
        mx_reap(&r->m);
        mx_durable(&r->m, true);
    }
    mx_reap(&r->m);
    bool cut = below(r, 2) != 0;
    if (cut) {
        tsdb_fs_sim_crash(r->h.sim);
    } else {
        tsdb_fs_sim_kill(r->h.sim);
    }
    open_db(r);
    if (r->h.db) {
        mx_check(&r->m, cut ? MX_CUT : MX_KILLED);
    }
}

static void step_die(struct run *r)
{
    bool cut = below(r, 2) != 0;
    count_lives(r);
    mx_die(&r->m, cut);
    if (r->io_faults_allowed && below(r, 4) == 0) {
        r->m.io_faults = true;
        tsdb_fs_sim_fault(r->h.sim, TSDB_FAULT_EIO, 1 + below(r, 16), 1);
    }
    open_db(r);
    tsdb_fs_sim_fault(r->h.sim, TSDB_FAULT_NONE, 1, 0);
    if (r->h.db) {
        mx_check(&r->m, cut ? MX_CUT : MX_KILLED);
    }
}

static void step_checkpoint(struct run *r)
{
    mx_reap(&r->m);
    if (tsdb_checkpoint_step(r->h.db, r->h.clock.mono_ns) > 0) {
        mx_durable(&r->m, true);
    }
}

/* One of the background actors, or a write. */
static void step_work(struct run *r)
{
    struct tsdb *db = r->h.db;
    int64_t now_ns = r->h.clock.mono_ns;
    switch (below(r, 16)) {
    case 0:
        tsdb_seal_step(db, now_ns);
        break;
    case 1:
    case 2:
        tsdb_flush_step(db, now_ns);
        break;
    case 3:
        (void)!tsdb_flush(db, NULL);
        break;
    case 4:
    case 5:
        tsdb_compact_step(db, now_ns);
        break;
    case 6:
        step_checkpoint(r);
        break;
    case 7:
        tsdb_wal_sync_step(db, now_ns);
        break;
    case 8:
        tsdb_retention_step(db, now_ns);
        break;
    case 9:
    case 10:
        tsdb_clock_sim_advance(&r->h.clock, (int64_t)below(r, 3000));
        break;
    default:
        step_write(r);
        for (uint32_t i = 0; i < r->h.options.owner_count; i++) {
            tsdb_owner_step(db, i, now_ns);
        }
        tsdb_wal_write_step(db, now_ns);
        break;
    }
    mx_reap(&r->m);
}

/* The machine stops in the middle of some operation; what follows has no effect. */
static void step_halt(struct run *r)
{
    tsdb_fs_sim_fault(r->h.sim, TSDB_FAULT_HALT, 1 + below(r, 40), 1);
    for (uint32_t i = 0; i < 20; i++) {
        step_work(r);
    }
    step_die(r);
}

static void step(struct run *r)
{
    uint64_t dice = below(r, 100);
    if (dice < 86) {
        step_work(r);
    } else if (dice < 90) {
        mx_check(&r->m, MX_RUNNING);
    } else if (dice < 92) {
        if (r->io_faults_allowed) {
            r->m.io_faults = true;
            tsdb_fs_sim_fault(r->h.sim, below(r, 2) ? TSDB_FAULT_EIO : TSDB_FAULT_ENOSPC,
                              1 + below(r, 30), 1 + below(r, 3));
        }
    } else if (dice < 93) {
        step_close(r);
    } else if (dice < 96) {
        step_die(r);
    } else {
        step_halt(r);
    }
    mx_reap(&r->m);
}

static void one_seed(struct run *r, uint64_t seed, uint64_t *flushes, uint64_t *compactions)
{
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
        tsdb_clock_sim_advance(&r->h.clock, 60000);
        (void)!tsdb_flush(r->h.db, NULL);
        while (tsdb_compact_step(r->h.db, r->h.clock.mono_ns) > 0) {
        }
        mx_check(&r->m, MX_RUNNING);
        step_close(r);
    }
    *flushes += r->flushes;
    *compactions += r->compactions;
    char failure[sizeof r->m.failure];
    memcpy(failure, r->m.failure, sizeof failure);
    if (r->h.db) {
        mx_die(&r->m, false);
    }
    hx_deinit(&r->h);
    if (failure[0]) {
        fail_msg("TSDB_SEED=%llu, step %u: %s", (unsigned long long)seed, (unsigned)i, failure);
    }
}

static void blocks__random_schedules_and_deaths__nothing_lost_nothing_twice(void **state)
{
    (void)state;
    const char *one = getenv("TSDB_SEED"), *many = getenv("TSDB_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
    uint64_t flushes = 0, compactions = 0;
    tsdb_log_configure(one ? TSDB_LOG_DEBUG : TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct run *r = malloc(sizeof *r);
    assert_non_null(r);
    for (uint64_t seed = first; seed < first + count; seed++) {
        one_seed(r, seed, &flushes, &compactions);
    }
    free(r);
    if (!one) { /* the schedules do what they are about */
        assert_true(flushes > 5 * count);
        assert_true(compactions > count);
    }
}

/* ---- a fixed run, stopped everywhere ---- */

struct fixed {
    struct hx h;
    struct mx m;
    struct tsdb_prng prng;
};

static void fixed_put(struct fixed *f, uint32_t span_s)
{
    struct hx_sample samples[24];
    uint8_t raws[24];
    for (uint32_t i = 0; i < 24; i++) {
        samples[i] = mx_random_sample(&f->m, &f->prng, 10, span_s, &raws[i]);
    }
    if (mx_submit(&f->m, samples, raws, 24, TSDB_DURABILITY_STRICT)) {
        hx_settle(&f->h);
        mx_reap(&f->m);
    }
}

static void fixed_begin(struct fixed *f)
{
    memset(f, 0, sizeof *f);
    hx_init(&f->h, 43);
    f->h.options.block_range_ms = 10000;
    f->h.options.head_file_bytes_max = 1u << 11;
    f->h.options.retention_ms = 3600000;
    tsdb_prng_init(&f->prng, 43);
    mx_init(&f->m, &f->h);
    f->m.conflicts_pass = true;
}

/* Writes, a flush, late writes, a flush, merges, a checkpoint, a close and a second life. */
static void fixed_run(struct fixed *f)
{
    if (hx_open(&f->h, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < 4; k++) {
            fixed_put(f, 30);
        }
        (void)!tsdb_flush(f->h.db, NULL);
        tsdb_checkpoint_step(f->h.db, f->h.clock.mono_ns);
    }
    tsdb_compact_step(f->h.db, f->h.clock.mono_ns);
    tsdb_compact_step(f->h.db, f->h.clock.mono_ns);
    fixed_put(f, 30);
    if (hx_close(&f->h, NULL) == TSDB_OK) {
        mx_durable(&f->m, true);
    }
    mx_reap(&f->m);
    if (hx_open(&f->h, NULL) != TSDB_OK) {
        return;
    }
    (void)!tsdb_flush(f->h.db, NULL);
    tsdb_compact_step(f->h.db, f->h.clock.mono_ns);
}

static void fixed_end(struct fixed *f)
{
    if (f->h.db) {
        mx_die(&f->m, false);
    }
    hx_deinit(&f->h);
}

static void fixed_check(struct fixed *f, bool cut)
{
    struct tsdb_error err = {0};
    if (hx_open(&f->h, &err) != TSDB_OK) {
        mx_fail(&f->m, "open: %s", err.msg);
        return;
    }
    if (atomic_load(&f->h.db->blocks.quarantined) > 0) {
        mx_fail(&f->m, "a block is taken for damaged");
    }
    mx_check(&f->m, cut ? MX_CUT : MX_KILLED);
    if (tsdb_flush(f->h.db, &err) != TSDB_OK) {
        mx_fail(&f->m, "flush: %s", err.msg);
    }
    while (tsdb_compact_step(f->h.db, f->h.clock.mono_ns) > 0) {
    }
    mx_check(&f->m, MX_RUNNING);
    mx_die(&f->m, true);
    if (hx_open(&f->h, &err) != TSDB_OK) {
        mx_fail(&f->m, "second open: %s", err.msg);
        return;
    }
    mx_check(&f->m, MX_CUT);
}

static void blocks__stopped_at_every_file_operation__opens_and_holds_everything(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct fixed *f = malloc(sizeof *f);
    assert_non_null(f);
    fixed_begin(f);
    fixed_run(f);
    uint64_t ops = tsdb_fs_sim_op_count(f->h.sim);
    assert_true(atomic_load(&f->h.db->life->flushes) > 0);
    fixed_end(f);
    assert_true(ops > 200);
    for (uint64_t op = 1; op <= ops; op++) {
        for (int cut = 0; cut < 2; cut++) {
            fixed_begin(f);
            tsdb_fs_sim_fault(f->h.sim, TSDB_FAULT_HALT, op, 1);
            fixed_run(f);
            if (f->h.db) {
                mx_die(&f->m, cut != 0);
            } else if (cut) {
                tsdb_fs_sim_crash(f->h.sim);
            } else {
                tsdb_fs_sim_kill(f->h.sim);
            }
            fixed_check(f, cut != 0);
            char failure[sizeof f->m.failure];
            memcpy(failure, f->m.failure, sizeof failure);
            fixed_end(f);
            if (failure[0]) {
                fail_msg("stopped at operation %u of %u by %s: %s", (unsigned)op, (unsigned)ops,
                         cut ? "a power cut" : "a kill", failure);
            }
        }
    }
    free(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks__random_schedules_and_deaths__nothing_lost_nothing_twice),
    cmocka_unit_test(blocks__stopped_at_every_file_operation__opens_and_holds_everything),
};

TEST_MAIN(tests)
