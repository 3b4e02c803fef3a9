/* The Nth allocation fails, for every N: open, ingest, select, checkpoint, recovery, close either
 * succeed or say NOMEM, leak nothing (the sanitizers see to that) and leave a directory that opens
 * with all that was acknowledged. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb_model.h"
#include "tsdb/engine/tsdb_private.h"

#define STEP_MAX 100000u

struct scene {
    struct hx h;
    struct mx m;
    struct tsdb_prng prng;
};

static void begin(struct scene *s)
{
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    memset(s, 0, sizeof *s);
    hx_init(&s->h, 3);
    tsdb_prng_init(&s->prng, 3);
    s->h.options.block_range_ms = 2000;
    mx_init(&s->m, &s->h);
    s->m.conflicts_pass = true;
}

static void end(struct scene *s)
{
    tsdb_alloc_ops_set(NULL);
    if (s->h.db) {
        mx_die(&s->m, false);
    }
    hx_deinit(&s->h);
}

static void put(struct scene *s, uint32_t series_count)
{
    struct hx_sample samples[16];
    uint8_t raws[16];
    for (uint32_t i = 0; i < 16; i++) {
        samples[i] = mx_random_sample(&s->m, &s->prng, series_count, 50, &raws[i]);
    }
    if (mx_submit(&s->m, samples, raws, 16, TSDB_DURABILITY_STRICT)) {
        hx_settle(&s->h);
        mx_reap(&s->m);
    }
    tsdb_clock_sim_advance(&s->h.clock, 6000); /* past the sealer's pause after a failure */
    tsdb_seal_step(s->h.db, s->h.clock.mono_ns);
    hx_settle(&s->h);
}

/* After the fault: whatever it hit, nothing acknowledged is lost, now and after a power cut. */
static void check(struct scene *s)
{
    struct tsdb_error err;
    tsdb_alloc_ops_set(NULL);
    if (s->h.db) {
        mx_check(&s->m, MX_RUNNING);
        mx_die(&s->m, true);
    } else {
        tsdb_fs_sim_crash(s->h.sim);
    }
    assert_ok_err(hx_open(&s->h, &err), &err);
    mx_check(&s->m, MX_CUT);
    put(s, 40);
    assert_null(s->m.writes);
    mx_check(&s->m, MX_RUNNING);
    if (s->m.failure[0]) {
        fail_msg("%s", s->m.failure);
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

static void fail_each(enum target target)
{
    struct scene *s = malloc(sizeof *s);
    assert_non_null(s);
    bool hit = true;
    uint32_t rounds = 0;
    for (uint64_t nth = 1; hit && nth < STEP_MAX; rounds++) {
        begin(s);
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
        end(s);
        /* The loops that a run repeats 64 times are sampled. */
        nth += nth < 40 ? 1 : 1 + nth / 16;
    }
    free(s);
    assert_false(hit); /* the last round needed fewer */
    assert_true(rounds > 2);
}

static void tsdb_open__each_allocation_fails_on_empty_directory__nomem_or_ok(void **state)
{
    (void)state;
    fail_each(OPEN_EMPTY);
}
static void tsdb_write__each_allocation_fails__nothing_acknowledged_lost(void **state)
{
    (void)state;
    fail_each(INGEST);
}
static void tsdb_select__each_allocation_fails__nomem_or_ok(void **state)
{
    (void)state;
    fail_each(SELECT);
}
static void tsdb_seal__each_allocation_fails__nothing_acknowledged_lost(void **state)
{
    (void)state;
    fail_each(SEAL);
}
static void tsdb_checkpoint__each_allocation_fails__nomem_or_ok(void **state)
{
    (void)state;
    fail_each(CHECKPOINT);
}
static void tsdb_open__each_allocation_of_recovery_fails__nomem_or_ok(void **state)
{
    (void)state;
    fail_each(RECOVER);
}
static void tsdb_close__each_allocation_fails__directory_consistent(void **state)
{
    (void)state;
    fail_each(CLOSE);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tsdb_open__each_allocation_fails_on_empty_directory__nomem_or_ok),
    cmocka_unit_test(tsdb_write__each_allocation_fails__nothing_acknowledged_lost),
    cmocka_unit_test(tsdb_select__each_allocation_fails__nomem_or_ok),
    cmocka_unit_test(tsdb_seal__each_allocation_fails__nothing_acknowledged_lost),
    cmocka_unit_test(tsdb_checkpoint__each_allocation_fails__nomem_or_ok),
    cmocka_unit_test(tsdb_open__each_allocation_of_recovery_fails__nomem_or_ok),
    cmocka_unit_test(tsdb_close__each_allocation_fails__directory_consistent),
};

TEST_MAIN(tests)
