/* Submitting writes to a whole database, its actors stepped by hand. */
#include "tests/support/test.h"

#include "model/placement.h"
#include "tests/unit/tsdb/builder.h"
#include "tsdb/engine/tsdb_private.h"

#define NOW_MS INT64_C(1700000000000)
#define OWNERS 4u

struct fixture {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_clock_sim clock_sim;
    struct tsdb_prng prng;
    struct tsdb *db;
    struct tsdb_request request;
    struct tsdb_clock clock;
    struct builder b[4];
};

static void builder_open(struct fixture *f, struct builder *b)
{
    b->epoch = f->db->epoch;
    b->aliases = f->db->aliases;
    b->key = tsdb_hash_key(f->db);
    b->owner_of = f->db->owner_of;
    b->durability = TSDB_DURABILITY_BUFFERED;
    builder_reset(b);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_ok(tsdb_fs_sim_create(1, &f->sim, &f->fs));
    f->clock_sim = (struct tsdb_clock_sim){.wall_ms = NOW_MS, .mono_ns = 1};
    f->clock = tsdb_clock_sim_table(&f->clock_sim);
    tsdb_prng_init(&f->prng, 1);
    struct tsdb_options o;
    tsdb_options_default(&o);
    o.fs = f->fs;
    o.clock = f->clock;
    o.random = tsdb_random_seeded(&f->prng);
    o.owner_count = OWNERS;
    o.ring_slots = 2;
    o.manual_steps = true;
    struct tsdb_error err = {0};
    assert_ok_err(tsdb_open(&o, &f->db, &err), &err);
    tsdb_request_init(&f->request, &f->clock, TSDB_SCOPE_READ);
    for (uint32_t i = 0; i < 4; i++) {
        builder_open(f, &f->b[i]);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tsdb_fs_sim_fault(f->sim, TSDB_FAULT_NONE, 0, 0);
    (void)tsdb_close(f->db, NULL);
    for (uint32_t i = 0; i < 4; i++) {
        builder_reset(&f->b[i]);
    }
    tsdb_fs_sim_destroy(f->sim);
    free(f);
    return 0;
}

static struct tsdb_labels labels_of(uint32_t i)
{
    static char names[1024][16];
    static struct tsdb_label items[1024][2];
    snprintf(names[i], sizeof names[i], "v%u", i);
    items[i][0] = tsdb_label_make(TSDB_METRIC_NAME, "metric");
    items[i][1] = tsdb_label_make("instance", names[i]);
    return (struct tsdb_labels){items[i], 2};
}

static void step_all(struct fixture *f)
{
    for (uint32_t i = 0; i < OWNERS; i++) {
        tsdb_owner_step(f->db, i, 0);
    }
    tsdb_wal_write_step(f->db, f->clock_sim.mono_ns);
    tsdb_wal_sync_step(f->db, f->clock_sim.mono_ns);
}

/* n series; `owner` OWNERS: any, else only those of that owner. */
static void fill(struct fixture *f, struct builder *b, uint32_t n, uint32_t owner, int64_t t)
{
    for (uint32_t i = 0; i < n; i++) {
        struct tsdb_labels l = labels_of(i);
        uint32_t partition = tsdb_labels_partition(b->key, &l, tsdb_labels_hash(b->key, &l));
        if (owner == OWNERS || tsdb_owner_of(f->db, partition) == owner) {
            builder_add_float(b, &l, t, i);
        }
    }
    builder_finish(b);
}

static uint32_t count_series(struct fixture *f)
{
    struct tsdb_matcher m = {TSDB_MATCH_EQ, TSDB_METRIC_NAME, "metric", 8, 6};
    struct tsdb_querier *q;
    struct tsdb_series_set set;
    struct tsdb_error err = {0};
    assert_ok_err(tsdb_querier_open(f->db, &f->request, TSDB_TIME_ALL, &q, &err), &err);
    assert_ok_err(tsdb_select(q, &m, 1, &set, &err), &err);
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    uint32_t with_samples = 0;
    for (uint32_t i = 0; i < set.count; i++) {
        struct tsdb_columns c;
        assert_ok(tsdb_series_read(q, set.refs[i], TSDB_TIME_ALL, &arena, &c, NULL));
        with_samples += c.count > 0;
        assert_true(i == 0 ||
                    tsdb_series_partition(set.refs[i - 1]) <= tsdb_series_partition(set.refs[i]));
    }
    tsdb_arena_deinit(&arena);
    tsdb_querier_close(q);
    return with_samples;
}

static void tsdb_write_submit__batches_for_all_owners__done_once_and_visible(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b[0];
    fill(f, b, 200, OWNERS, NOW_MS);
    assert_int_equal(b->write.batch_count, OWNERS);
    struct tsdb_error err = {0};
    assert_ok_err(tsdb_write_submit(f->db, &b->write, &err), &err);
    assert_int_equal(atomic_load(&b->write.pending), OWNERS);
    for (uint32_t i = 0; i < OWNERS; i++) {
        assert_int_equal(tsdb_owner_step(f->db, i, 0), 1);
    }
    assert_int_equal(b->done, 0);
    tsdb_wal_write_step(f->db, f->clock_sim.mono_ns);
    assert_int_equal(b->done, 1);
    struct tsdb_write_result r;
    tsdb_write_result_sum(&b->write, &r);
    assert_int_equal(r.samples_written, 200);
    assert_int_equal(count_series(f), 200);
    assert_int_equal(atomic_load(&f->db->alias_misses), 200);
    /* Known now. */
    builder_reset(b);
    fill(f, b, 200, OWNERS, NOW_MS + 1);
    assert_int_equal(b->write.new_series_count, 0);
    assert_ok_err(tsdb_write_submit(f->db, &b->write, &err), &err);
    step_all(f);
    assert_int_equal(b->done, 1);
    assert_int_equal(atomic_load(&f->db->alias_misses), 200);
}

static void tsdb_write_submit__one_ring_full__applies_nothing_and_keeps_no_credit(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    for (uint32_t i = 0; i < 2; i++) {
        fill(f, &f->b[i], 50, OWNERS - 1, NOW_MS + i);
        assert_ok_err(tsdb_write_submit(f->db, &f->b[i].write, &err), &err);
    }
    fill(f, &f->b[2], 50, OWNERS, NOW_MS + 10);
    for (uint32_t turn = 0; turn < 5; turn++) { /* more often than a ring has slots */
        assert_int_equal(tsdb_write_submit(f->db, &f->b[2].write, &err), TSDB_BUSY);
    }
    assert_int_equal(err.status, TSDB_BUSY);
    assert_int_equal(atomic_load(&f->db->ring_full), 5);
    assert_int_equal(f->b[2].done, 0);
    step_all(f);
    assert_int_equal(f->b[0].done, 1);
    assert_int_equal(f->b[1].done, 1);
    assert_ok_err(tsdb_write_submit(f->db, &f->b[2].write, &err), &err);
    step_all(f);
    assert_int_equal(f->b[2].done, 1);
    assert_int_equal(count_series(f), 50);
}

static void tsdb_write_submit__nothing_in_it__is_done_at_once(void **state)
{
    struct fixture *f = *state;
    builder_finish(&f->b[0]);
    assert_ok(tsdb_write_submit(f->db, &f->b[0].write, NULL));
    assert_int_equal(f->b[0].done, 1);
    assert_int_equal(atomic_load(&f->b[0].write.status), TSDB_OK);
}

/* Nobody else makes a step here: what it needs it does itself. */
static void tsdb_write_run__nobody_at_work__applies_and_logs_by_itself(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    for (uint32_t i = 0; i < 2; i++) {
        fill(f, &f->b[i], 50, OWNERS, NOW_MS + i);
        assert_true(f->b[i].write.batch_count > 1);
        assert_ok_err(tsdb_write_run(f->db, &f->b[i].write, &err), &err);
        assert_int_equal(atomic_load(&f->b[i].write.status), TSDB_OK);
        assert_int_equal(count_series(f), 50);
    }
    struct wal_stats s;
    wal_stats(f->db->wal, &s);
    assert_int_equal(s.samples_written, 100);
    assert_int_equal(s.writes, 2);
    for (uint32_t i = 0; i < OWNERS; i++) {
        assert_int_equal(tsdb_ring_depth(&f->db->owners[i].ring), 0);
        assert_int_equal(atomic_load(&f->db->owners[i].turn.state), 0);
    }
    builder_finish(&f->b[2]); /* nothing in it */
    assert_ok(tsdb_write_run(f->db, &f->b[2].write, NULL));
    assert_int_equal(atomic_load(&f->b[2].write.status), TSDB_OK);
}

static void tsdb_write_run__behind_others__takes_theirs_along(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    fill(f, &f->b[0], 50, OWNERS, NOW_MS);
    assert_ok_err(tsdb_write_submit(f->db, &f->b[0].write, &err), &err);
    fill(f, &f->b[1], 50, OWNERS, NOW_MS + 1);
    assert_ok_err(tsdb_write_run(f->db, &f->b[1].write, &err), &err);
    assert_int_equal(f->b[0].done, 1);
    assert_int_equal(atomic_load(&f->b[0].write.status), TSDB_OK);
}

/* What a helper has taken along of others must not wait because his own is done: nobody else knows of it. */
static void owner_help__own_is_done__others_still_get_theirs(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    _Atomic(uint32_t) done = 1;
    bool logged = false;
    fill(f, &f->b[0], 50, OWNERS, NOW_MS);
    assert_ok_err(tsdb_write_submit(f->db, &f->b[0].write, &err), &err);
    for (uint32_t i = 0; i < OWNERS; i++) {
        logged |= owner_help(&f->db->owners[i], &done);
    }
    assert_true(logged);
    assert_int_equal(f->b[0].done, 0);
    wal_write_help(f->db->wal, &done);
    assert_int_equal(f->b[0].done, 1);
}

static void tsdb_write_run__not_ready_or_full__is_refused(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    fill(f, &f->b[0], 5, OWNERS, NOW_MS);
    atomic_store(&f->db->state, TSDB_STATE_CLOSING);
    assert_int_equal(tsdb_write_run(f->db, &f->b[0].write, &err), TSDB_BUSY);
    atomic_store(&f->db->state, TSDB_STATE_READY);
    struct tsdb_ring *ring = &f->db->owners[f->b[0].write.batches[0].owner].ring;
    assert_true(tsdb_ring_reserve(ring, ring->capacity));
    assert_int_equal(tsdb_write_run(f->db, &f->b[0].write, &err), TSDB_BUSY);
    tsdb_ring_release(ring, ring->capacity);
    assert_ok_err(tsdb_write_run(f->db, &f->b[0].write, &err), &err);
    assert_int_equal(count_series(f), 5);
}

/* The write that fails is the caller's own: it is told, and the log's writer goes on trying. */
static void tsdb_write_run__log_fails__says_busy(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    tsdb_fs_sim_fault(f->sim, TSDB_FAULT_EIO, 1, 1000000);
    fill(f, &f->b[0], 5, OWNERS, NOW_MS);
    assert_ok_err(tsdb_write_run(f->db, &f->b[0].write, &err), &err);
    assert_int_equal(atomic_load(&f->b[0].write.status), TSDB_BUSY);
    assert_int_equal(tsdb_state(f->db, NULL), TSDB_STATE_RETRYING);
    fill(f, &f->b[1], 5, OWNERS, NOW_MS + 1);
    assert_int_equal(tsdb_write_run(f->db, &f->b[1].write, &err), TSDB_BUSY);
}

static void tsdb_write_submit__not_ready__is_refused(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    fill(f, &f->b[0], 5, OWNERS, NOW_MS);
    atomic_store(&f->db->state, TSDB_STATE_RECOVERING);
    assert_int_equal(tsdb_write_submit(f->db, &f->b[0].write, &err), TSDB_BUSY);
    atomic_store(&f->db->state, TSDB_STATE_CLOSING);
    assert_int_equal(tsdb_write_submit(f->db, &f->b[0].write, &err), TSDB_BUSY);
    atomic_store(&f->db->state, TSDB_STATE_READY);
    assert_int_equal(f->b[0].done, 0);
    assert_ok(tsdb_write_submit(f->db, &f->b[0].write, &err));
    step_all(f);
    assert_int_equal(f->b[0].done, 1);
}

static void tsdb_write_submit__log_failed__says_busy_and_reads_go_on(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    fill(f, &f->b[0], 5, OWNERS, NOW_MS);
    assert_ok(tsdb_write_submit(f->db, &f->b[0].write, &err));
    step_all(f);
    tsdb_fs_sim_fault(f->sim, TSDB_FAULT_EIO, 1, 1000000);
    fill(f, &f->b[1], 50, OWNERS, NOW_MS + 1);
    assert_ok(tsdb_write_submit(f->db, &f->b[1].write, &err));
    for (uint32_t i = 0; i < 20 && f->b[1].done == 0; i++) {
        step_all(f);
    }
    assert_int_equal(f->b[1].done, 1);
    assert_int_equal(atomic_load(&f->b[1].write.status), TSDB_BUSY);
    fill(f, &f->b[2], 5, OWNERS, NOW_MS + 2);
    assert_int_equal(tsdb_write_submit(f->db, &f->b[2].write, &err), TSDB_BUSY);
    assert_int_equal(err.status, TSDB_BUSY);
    assert_true(strlen(err.msg) > 0);
    assert_int_equal(f->b[2].done, 0);
    assert_int_equal(tsdb_state(f->db, NULL), TSDB_STATE_RETRYING); /* and not OUT_OF_SPACE */
    assert_true(count_series(f) >= 5);
}

static void tsdb_alias_find__after_a_write__knows_the_series(void **state)
{
    struct fixture *f = *state;
    fill(f, &f->b[0], 20, OWNERS, NOW_MS);
    assert_ok(tsdb_write_submit(f->db, &f->b[0].write, NULL));
    step_all(f);
    struct tsdb_alias_guard guard;
    tsdb_alias_begin(f->db, &guard);
    for (uint32_t i = 0; i < f->b[0].write.new_series_count; i++) {
        const struct tsdb_new_series *ns = &f->b[0].write.new_series[i];
        tsdb_alias_prefetch(f->db, ns->alias);
        struct tsdb_alias_hit hit = tsdb_alias_find(f->db, ns->alias);
        assert_int_equal(hit.ref, ns->ref);
        assert_int_equal(tsdb_series_partition(hit.ref), ns->partition);
        tsdb_series_prefetch(f->db, hit.ref);
    }
    struct tsdb_hash128 stranger = {.lo = 1, .hi = 2};
    assert_int_equal(tsdb_alias_find(f->db, stranger).ref, TSDB_SERIES_NEW);
    tsdb_alias_end(f->db, &guard);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(tsdb_write_submit__batches_for_all_owners__done_once_and_visible),
    T(tsdb_write_submit__one_ring_full__applies_nothing_and_keeps_no_credit),
    T(tsdb_write_submit__nothing_in_it__is_done_at_once),
    T(tsdb_write_submit__not_ready__is_refused),
    T(tsdb_write_submit__log_failed__says_busy_and_reads_go_on),
    T(tsdb_write_run__nobody_at_work__applies_and_logs_by_itself),
    T(tsdb_write_run__behind_others__takes_theirs_along),
    T(owner_help__own_is_done__others_still_get_theirs),
    T(tsdb_write_run__not_ready_or_full__is_refused),
    T(tsdb_write_run__log_fails__says_busy),
    T(tsdb_alias_find__after_a_write__knows_the_series),
};

TEST_MAIN(tests)
