/* The crew: every job once, those that are needed done, lanes of their own, several who want help at the same time. */
#include "tests/support/test.h"

#include "query/crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define JOBS_MAX  500u
#define LANES_MAX 16u

struct task {
    _Atomic(uint32_t) runs[JOBS_MAX];
    _Atomic(uint32_t) in_lane[LANES_MAX];
    _Atomic(uint32_t) clashes;
    uint32_t lanes;
    uint32_t written[JOBS_MAX]; /* not atomic: seen after need, or end */
};

static void job(void *arg, uint32_t number, uint32_t lane)
{
    struct task *t = arg;
    if (lane >= t->lanes || atomic_fetch_add(&t->in_lane[lane], 1) != 0) {
        atomic_fetch_add(&t->clashes, 1);
    }
    volatile uint32_t spin = 0;
    while (spin < number % 100) {
        spin = spin + 1;
    }
    t->written[number] = number + 1;
    atomic_fetch_add(&t->runs[number], 1);
    atomic_fetch_sub(&t->in_lane[lane], 1);
}

/* All jobs in order, `ahead` at most before they are needed; with a pause now and then. At `stop` it ends. */
static bool task_run(struct query_crew *c, uint32_t jobs, uint32_t lanes, uint32_t ahead,
                     uint32_t stop)
{
    struct query_crew_group g;
    struct task *t = calloc(1, sizeof *t);
    if (!t) {
        return false;
    }
    bool good = true;
    t->lanes = lanes;
    query_crew_begin(c, &g, job, t, lanes);
    for (uint32_t i = 0; i < TSDB_MIN(jobs, stop); i++) {
        query_crew_allow(c, &g, TSDB_MIN(i + ahead, jobs));
        query_crew_need(c, &g, i);
        good = good && t->written[i] == i + 1;
        if (i % 50 == 49) {
            query_crew_quiet(c, &g);
            for (uint32_t l = 0; l < LANES_MAX; l++) {
                good = good && t->in_lane[l] == 0;
            }
        }
    }
    query_crew_end(c, &g);
    good = good && t->clashes == 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        uint32_t least = i < TSDB_MIN(jobs, stop);
        uint32_t most = i < TSDB_MIN(jobs, stop + ahead);
        good = good && least <= t->runs[i] && t->runs[i] <= most &&
               t->written[i] == (t->runs[i] ? i + 1 : 0);
    }
    free(t);
    return good;
}

static void query_crew__any_numbers__each_job_once_and_in_order(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 2, 4, 7};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(threads); i++) {
        struct query_crew *c = NULL;
        assert_ok(query_crew_create(threads[i], &c, NULL));
        assert_int_equal(query_crew_threads(c), threads[i]);
        for (uint32_t jobs = 0; jobs <= JOBS_MAX; jobs += 1 + jobs / 3) {
            assert_true(task_run(c, jobs, 1, 1, JOBS_MAX));
            assert_true(task_run(c, jobs, 3, 12, JOBS_MAX));
            assert_true(task_run(c, jobs, LANES_MAX, QUERY_CREW_AHEAD_MAX, JOBS_MAX));
            assert_true(task_run(c, jobs, 3, 1 + jobs % QUERY_CREW_AHEAD_MAX, jobs / 2));
        }
        query_crew_destroy(c);
    }
    assert_int_equal(query_crew_threads(NULL), 1);
    query_crew_destroy(NULL);
}

struct asker {
    struct query_crew *crew;
    pthread_t thread;
    bool good;
};

static void *ask(void *arg)
{
    struct asker *a = arg;
    a->good = true;
    for (uint32_t i = 0; i < 100; i++) {
        a->good = task_run(a->crew, i, 1 + i % 5, 1 + i % 60, 80) && a->good;
    }
    return NULL;
}

static void query_crew__several_at_once__all_done(void **state)
{
    (void)state;
    struct query_crew *c = NULL;
    struct asker askers[5];
    assert_ok(query_crew_create(4, &c, NULL));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(askers); i++) {
        askers[i].crew = c;
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(askers); i++) {
        assert_int_equal(pthread_join(askers[i].thread, NULL), 0);
        assert_true(askers[i].good);
    }
    query_crew_destroy(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(query_crew__any_numbers__each_job_once_and_in_order),
    cmocka_unit_test(query_crew__several_at_once__all_done),
};
TEST_MAIN(tests)
