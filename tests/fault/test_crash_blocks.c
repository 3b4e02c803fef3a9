/* Random schedules of writes, flushes, compactions, retention and checkpoints over the simulated
 * disk and clock, with deaths in between; short windows, so that blocks come and go. Then one fixed
 * flush and merge, stopped at every file operation. */
#include "tests/support/test.h"

#include "tests/support/tsdb/schedule.h"
#include "tsdb/engine/db_private.h"

static uint64_t flushes, compactions, unreadable; /* over all lives of all schedules */
static bool was_unreadable;                       /* in this life */

static void configure(struct schedule *r, uint64_t seed)
{
    tsdb_prng_init(&r->s.prng, seed ^ 0xb10c);
    struct tsdb_options *o = &r->s.h.options;
    o->durability = below(r, 4) == 0 ? TSDB_DURABILITY_STRICT : TSDB_DURABILITY_BUFFERED;
    o->owner_count = 1 + (uint32_t)below(r, 3);
    o->wal_segment_bytes = UINT64_C(1) << (15 + below(r, 3));
    o->wal_epoch_bytes = UINT64_C(1) << (10 + below(r, 4));
    o->head_bundle_bytes = 100u << below(r, 5);
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
    /* A power cut or retention may take the first value before the conflicting one, which is then
     * all that is left: the model could not tell. Conflicts are for test_compact. */
    r->s.m.no_conflicts = true;
}

static void check_blocks(struct schedule *r)
{
    was_unreadable = false;
    if (atomic_load(&r->s.h.db->blocks.quarantined) > 0) {
        mx_fail(&r->s.m, "a block is taken for damaged");
    }
}

static void count_lives(struct schedule *r)
{
    flushes += atomic_load(&r->s.h.db->life->flushes);
    compactions += atomic_load(&r->s.h.db->life->compactions);
}

static void step_checkpoint(struct schedule *r)
{
    mx_reap(&r->s.m);
    if (tsdb_checkpoint_step(r->s.h.db, r->s.h.clock.mono_ns) > 0) {
        mx_durable(&r->s.m, true);
    }
}

/* One of the background actors, or a write. */
static void step_work(struct schedule *r)
{
    struct tsdb *db = r->s.h.db;
    int64_t now_ns = r->s.h.clock.mono_ns;
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
        tsdb_clock_sim_advance(&r->s.h.clock, (int64_t)below(r, 3000));
        break;
    default:
        schedule_write(r);
        for (uint32_t i = 0; i < r->s.h.options.owner_count; i++) {
            tsdb_owner_step(db, i, now_ns);
        }
        tsdb_wal_write_step(db, now_ns);
        break;
    }
    mx_reap(&r->s.m);
}

/* The machine stops in the middle of some operation; what follows has no effect. */
static void step_halt(struct schedule *r)
{
    tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_HALT, 1 + below(r, 40), 1);
    for (uint32_t i = 0; i < 20; i++) {
        step_work(r);
    }
    schedule_die(r);
}

struct pick {
    struct schedule *r;
    uint32_t seen;
    char name[64];
};

static enum tsdb_status pick_one(void *arg, const char *name, bool is_dir)
{
    struct pick *p = arg;
    (void)is_dir;
    if (name[0] != '.' && !strchr(name, '.') && below(p->r, ++p->seen) == 0) {
        snprintf(p->name, sizeof p->name, "%s", name);
    }
    return TSDB_OK;
}

/* A head file or a block cannot be read for a while, and then again. Once in a life, so that it does
 * not count as damaged. */
static void step_unreadable(struct schedule *r)
{
    const struct tsdb_fs *fs = &r->s.h.options.fs;
    struct pick p = {.r = r};
    char path[128];
    bool head = below(r, 2) == 0;
    if (was_unreadable || fs->ops->list(fs->ctx, head ? "head" : "blocks", pick_one, &p, NULL) ||
        p.seen == 0) {
        return;
    }
    was_unreadable = true;
    snprintf(path, sizeof path, head ? "head/%s" : "blocks/%s/chunks", p.name);
    uint64_t from = 32 + below(r, 200);
    tsdb_fs_sim_bad(r->s.h.sim, path, from, from + 1);
    for (uint32_t i = 0; i < 20; i++) {
        step_work(r);
    }
    unreadable += r->s.h.db->life->flush_held > 0;
    tsdb_fs_sim_mend_all(r->s.h.sim);
}

static void step(struct schedule *r)
{
    uint64_t dice = below(r, 100);
    if (dice < 84) {
        step_work(r);
    } else if (dice < 86) {
        step_unreadable(r);
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

static void flush_and_merge_all(struct schedule *r)
{
    tsdb_clock_sim_advance(&r->s.h.clock, 60000);
    (void)!tsdb_flush(r->s.h.db, NULL);
    while (tsdb_compact_step(r->s.h.db, r->s.h.clock.mono_ns) > 0) {
    }
    mx_check(&r->s.m, MX_RUNNING);
}

static void blocks__random_schedules_and_deaths__nothing_lost_nothing_twice(void **state)
{
    static const struct schedule_ops ops = {.configure = configure,
                                            .opened = check_blocks,
                                            .dying = count_lives,
                                            .step = step,
                                            .last = flush_and_merge_all,
                                            .steps = 150,
                                            .open_fault_ops = 16};
    uint64_t count = schedule_run_all(*state, &ops, 100, 20);
    if (count > 0) { /* the schedules do what they are about */
        assert_true(flushes > 5 * count);
        assert_true(compactions > count);
        assert_true(count < 20 || unreadable > 0);
    }
}

/* ---- a fixed run, stopped everywhere ---- */

static void fixed_begin(struct scene *s)
{
    scene_begin(s, 43);
    s->h.options.block_range_ms = 10000;
    s->h.options.head_file_bytes_max = 1u << 11;
    s->h.options.retention_ms = 3600000;
}

static void fixed_put(struct scene *s)
{
    scene_put(s, 24, 10, 30, TSDB_DURABILITY_STRICT);
}

/* Writes, a flush, late writes, a flush, merges, a checkpoint, a close and a second life. */
static void fixed_run(struct scene *s)
{
    if (hx_open(&s->h, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < 4; k++) {
            fixed_put(s);
        }
        (void)!tsdb_flush(s->h.db, NULL);
        tsdb_checkpoint_step(s->h.db, s->h.clock.mono_ns);
    }
    tsdb_compact_step(s->h.db, s->h.clock.mono_ns);
    tsdb_compact_step(s->h.db, s->h.clock.mono_ns);
    fixed_put(s);
    scene_close(s);
    if (hx_open(&s->h, NULL) != TSDB_OK) {
        return;
    }
    (void)!tsdb_flush(s->h.db, NULL);
    tsdb_compact_step(s->h.db, s->h.clock.mono_ns);
}

static void fixed_check(struct scene *s, bool cut)
{
    struct tsdb_error err = {0};
    if (!scene_reopen(s, cut)) {
        return;
    }
    if (atomic_load(&s->h.db->blocks.quarantined) > 0) {
        mx_fail(&s->m, "a block is taken for damaged");
    }
    if (tsdb_flush(s->h.db, &err) != TSDB_OK) {
        mx_fail(&s->m, "flush: %s", err.msg);
    }
    while (tsdb_compact_step(s->h.db, s->h.clock.mono_ns) > 0) {
    }
    mx_check(&s->m, MX_RUNNING);
    mx_die(&s->m, true);
    scene_reopen(s, true);
}

static void blocks__stopped_at_every_file_operation__opens_and_holds_everything(void **state)
{
    static const struct scene_play play = {fixed_begin, fixed_run, fixed_check};
    struct scene *s = *state;
    uint64_t ops = scene_play_whole(s, &play);
    assert_true(atomic_load(&s->h.db->life->flushes) > 0);
    scene_end(s);
    assert_true(ops > 200);
    scene_play_stopped(s, &play, ops);
}

/* One operation fails, or ten do, and the machine goes on: so does the work, later; nothing is lost. */
static void blocks__each_file_operation_fails__done_later_and_nothing_lost(void **state)
{
    struct scene *s = *state;
    static const struct scene_play play = {fixed_begin, fixed_run, fixed_check};
    uint64_t ops = scene_play_whole(s, &play);
    scene_end(s);
    for (uint64_t op = 1; op <= ops; op += 2) {
        for (int kind = TSDB_FAULT_EIO; kind <= TSDB_FAULT_EMFILE; kind++) {
            fixed_begin(s);
            s->m.io_faults = true;
            tsdb_fs_sim_fault(s->h.sim, (enum tsdb_fs_fault)kind, op, op % 4 == 1 ? 1 : 10);
            fixed_run(s);
            tsdb_fs_sim_fault(s->h.sim, TSDB_FAULT_NONE, 1, 0);
            if (s->h.db && tsdb_state(s->h.db, NULL) != TSDB_STATE_READ_ONLY) {
                tsdb_clock_sim_advance(&s->h.clock, 40000);
                hx_settle(&s->h);
                mx_reap(&s->m);
                assert_int_equal(tsdb_state(s->h.db, NULL), TSDB_STATE_READY);
                mx_check(&s->m, MX_RUNNING);
            }
            mx_die(&s->m, op % 3 == 0);
            fixed_check(s, op % 3 == 0);
            scene_end_checked(s, "fault %d at operation %llu of %llu", kind, (unsigned long long)op,
                              (unsigned long long)ops);
        }
    }
}

/* ---- a round over many windows, stopped everywhere ---- */

static void round_begin(struct scene *s)
{
    scene_begin(s, 44);
    s->h.options.block_range_ms = 6000;
    s->h.options.old_range_max_ms = 1; /* all windows are as long */
    s->h.options.head_file_bytes_max = 1u << 10;
    s->h.options.checkpoint_wal_bytes = 1u << 11; /* one in the middle, too */
}

/* Writes over many windows, then the background's steps until the round is over. */
static void round_run(struct scene *s)
{
    if (hx_open(&s->h, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t k = 0; k < 3; k++) {
        scene_put(s, 24, 4, 50, TSDB_DURABILITY_STRICT);
    }
    tsdb_clock_sim_advance(&s->h.clock, 70000);
    for (uint32_t idle = 0; idle < 2; idle++) {
        size_t work = tsdb_flush_step(s->h.db, s->h.clock.mono_ns);
        work += tsdb_checkpoint_step(s->h.db, s->h.clock.mono_ns);
        idle = work > 0 ? 0 : idle;
    }
}

static void round__stopped_at_every_file_operation__each_sample_once(void **state)
{
    static const struct scene_play play = {round_begin, round_run, fixed_check};
    struct scene *s = *state;
    uint64_t ops = scene_play_whole(s, &play);
    uint64_t written = atomic_load(&s->h.db->life->flushes);
    uint64_t checkpoints = atomic_load(&s->h.db->life->checkpoints);
    mx_check(&s->m, MX_RUNNING);
    scene_end_checked(s, "not stopped");
    assert_true(written > 6);
    assert_true(checkpoints > 0 && checkpoints < written / 2);
    scene_play_stopped(s, &play, ops);
}

/* ---- old samples, in long windows and in blocks of several, stopped everywhere ---- */

static void wide_begin(struct scene *s)
{
    round_begin(s);
    s->h.options.block_range_ms = 2000;
    s->h.options.old_range_max_ms = 0;
}

static void wide_run(struct scene *s)
{
    round_run(s);
    if (s->h.db) { /* and more of the same time, which a merge brings together */
        scene_put(s, 24, 4, 50, TSDB_DURABILITY_STRICT);
        (void)!tsdb_flush(s->h.db, NULL);
        tsdb_compact_step(s->h.db, s->h.clock.mono_ns);
    }
}

static int64_t longest_block(struct scene *s)
{
    int64_t longest = 0;
    struct view *v = view_acquire(&s->h.db->blocks.views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct block_meta *m = block_meta(v->blocks[i]->block);
        longest = TSDB_MAX(longest, m->max_ms - m->min_ms);
    }
    view_release(&s->h.db->blocks.views, v);
    return longest;
}

static void wide__stopped_at_every_file_operation__each_sample_once(void **state)
{
    static const struct scene_play play = {wide_begin, wide_run, fixed_check};
    struct scene *s = *state;
    uint64_t ops = scene_play_whole(s, &play);
    uint64_t written = atomic_load(&s->h.db->life->flushes);
    int64_t longest = longest_block(s);
    mx_check(&s->m, MX_RUNNING);
    scene_end_checked(s, "not stopped");
    assert_true(written > 0 && written < 12);
    assert_true(longest >= 9 * 2000);
    scene_play_stopped(s, &play, ops);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(blocks__random_schedules_and_deaths__nothing_lost_nothing_twice,
                                    schedule_setup, scene_teardown),
    cmocka_unit_test_setup_teardown(
        blocks__stopped_at_every_file_operation__opens_and_holds_everything, scene_setup,
        scene_teardown),
    cmocka_unit_test_setup_teardown(blocks__each_file_operation_fails__done_later_and_nothing_lost,
                                    scene_setup, scene_teardown),
    cmocka_unit_test_setup_teardown(round__stopped_at_every_file_operation__each_sample_once,
                                    scene_setup, scene_teardown),
    cmocka_unit_test_setup_teardown(wide__stopped_at_every_file_operation__each_sample_once,
                                    scene_setup, scene_teardown),
};

TEST_MAIN(tests)
