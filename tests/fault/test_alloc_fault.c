/* The Nth allocation fails, for every N: open, ingest, select, checkpoint, recovery, close either
 * succeed or say NOMEM, leak nothing (the sanitizers see to that) and leave a directory that opens
 * with all that was acknowledged. */
#include "tests/support/test.h"

#include "tests/support/tsdb/scene.h"
#include "tsdb/engine/tsdb_private.h"

#define STEP_MAX 100000u

static void put(struct scene *s, uint32_t series)
{
    scene_put(s, 16, series, 50, TSDB_DURABILITY_STRICT);
    tsdb_clock_sim_advance(&s->h.clock, 6000); /* past the sealer's pause after a failure */
    tsdb_seal_step(s->h.db, s->h.clock.mono_ns);
    hx_settle(&s->h);
}

/* After the fault: whatever it hit, nothing acknowledged is lost, now and after a power cut. */
static void check(struct scene *s)
{
    tsdb_alloc_ops_set(NULL);
    if (s->h.db) {
        mx_check(&s->m, MX_RUNNING);
    }
    mx_die(&s->m, true);
    if (scene_reopen(s, true)) {
        put(s, 40);
        assert_null(s->m.writes);
        mx_check(&s->m, MX_RUNNING);
    }
}

/* Some series, a checkpoint, and a log behind it. */
static void fill(struct scene *s)
{
    assert_ok(hx_open(&s->h, NULL));
    put(s, 20);
    put(s, 20);
    assert_ok(tsdb_checkpoint(s->h.db, NULL));
    put(s, 30);
}

enum target {
    OPEN_EMPTY,
    INGEST,
    SELECT,
    SEAL,
    CHECKPOINT,
    RECOVER,
    CLOSE
};

/* Runs the target with the fault armed. True if it ended well. */
static bool run(struct scene *s, enum target target)
{
    struct tsdb_error err;
    enum tsdb_status status = TSDB_OK;
    uint32_t n = 0;
    switch (target) {
    case OPEN_EMPTY:
    case RECOVER:
        status = hx_open(&s->h, &err);
        assert_true(status == TSDB_OK || status == TSDB_NOMEM);
        break;
    case INGEST:
        put(s, 60);
        assert_null(s->m.writes);
        break;
    case SELECT:
        status = hx_visit(&s->h, hx_count_one, &n, &err);
        assert_true(status == TSDB_OK || status == TSDB_NOMEM);
        break;
    case SEAL:
        for (uint32_t i = 0; i < tsdb_owner_count(s->h.db); i++) {
            owner_job_request(&s->h.db->owners[i], OWNER_JOB_SEAL, (uint64_t)(INT64_MAX));
        }
        hx_settle(&s->h);
        tsdb_seal_step(s->h.db, s->h.clock.mono_ns);
        hx_settle(&s->h);
        break;
    case CHECKPOINT:
        status = tsdb_checkpoint(s->h.db, &err);
        assert_true(status == TSDB_OK || status == TSDB_NOMEM);
        break;
    case CLOSE:
        status = hx_close(&s->h, &err);
        break;
    }
    return status == TSDB_OK;
}

static int teardown(void **state)
{
    tsdb_alloc_ops_set(NULL); /* a test that failed leaves it armed */
    return scene_teardown(state);
}

static void fail_each(struct scene *s, enum target target)
{
    bool hit = true;
    uint32_t rounds = 0;
    for (uint64_t nth = 1; hit && nth < STEP_MAX; rounds++) {
        scene_begin(s, 3);
        s->h.options.block_range_ms = 2000;
        if (target != OPEN_EMPTY) {
            fill(s);
        }
        if (target == RECOVER) {
            mx_die(&s->m, false);
        }
        tsdb_alloc_fail_nth(nth, nth % 3 == 0); /* every third: all later ones fail as well */
        run(s, target);
        hit = tsdb_alloc_fail_count() >= nth;
        check(s);
        scene_end_checked(s, "allocation %llu", (unsigned long long)nth);
        /* The loops that a run repeats 64 times are sampled. */
        nth += nth < 40 ? 1 : 1 + nth / 16;
    }
    assert_false(hit); /* the last round needed fewer */
    assert_true(rounds > 2);
}

static void tsdb_open__each_allocation_fails_on_empty_directory__nomem_or_ok(void **state)
{
    fail_each(*state, OPEN_EMPTY);
}
static void tsdb_write__each_allocation_fails__nothing_acknowledged_lost(void **state)
{
    fail_each(*state, INGEST);
}
static void tsdb_select__each_allocation_fails__nomem_or_ok(void **state)
{
    fail_each(*state, SELECT);
}
static void tsdb_seal__each_allocation_fails__nothing_acknowledged_lost(void **state)
{
    fail_each(*state, SEAL);
}
static void tsdb_checkpoint__each_allocation_fails__nomem_or_ok(void **state)
{
    fail_each(*state, CHECKPOINT);
}
static void tsdb_open__each_allocation_of_recovery_fails__nomem_or_ok(void **state)
{
    fail_each(*state, RECOVER);
}
static void tsdb_close__each_allocation_fails__directory_consistent(void **state)
{
    fail_each(*state, CLOSE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, teardown)

static const struct CMUnitTest tests[] = {
    TEST(tsdb_open__each_allocation_fails_on_empty_directory__nomem_or_ok),
    TEST(tsdb_write__each_allocation_fails__nothing_acknowledged_lost),
    TEST(tsdb_select__each_allocation_fails__nomem_or_ok),
    TEST(tsdb_seal__each_allocation_fails__nothing_acknowledged_lost),
    TEST(tsdb_checkpoint__each_allocation_fails__nomem_or_ok),
    TEST(tsdb_open__each_allocation_of_recovery_fails__nomem_or_ok),
    TEST(tsdb_close__each_allocation_fails__directory_consistent),
};

TEST_MAIN(tests)
