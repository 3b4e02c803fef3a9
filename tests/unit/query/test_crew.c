/* The crew: every job once, lanes of their own, several who want help at the same time. */
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
    uint32_t written[JOBS_MAX]; /* not atomic: seen after run */
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

static bool task_run(struct query_crew *c, uint32_t jobs, uint32_t lanes)
{
    struct task *t = calloc(1, sizeof *t);
    if (!t) {
        return false;
    }
    t->lanes = lanes;
    query_crew_run(c, job, t, jobs, lanes);
    bool good = t->clashes == 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        good = good && t->runs[i] == (i < jobs) && t->written[i] == (i < jobs ? i + 1 : 0);
    }
    free(t);
    return good;
}

static void query_crew_run__any_numbers__each_job_once(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 2, 4, 7};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(threads); i++) {
        struct query_crew *c = NULL;
        assert_ok(query_crew_create(threads[i], &c, NULL));
        assert_int_equal(query_crew_threads(c), threads[i]);
        for (uint32_t jobs = 0; jobs <= JOBS_MAX; jobs += 1 + jobs / 3) {
            assert_true(task_run(c, jobs, 1));
            assert_true(task_run(c, jobs, 3));
            assert_true(task_run(c, jobs, LANES_MAX));
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
        a->good = task_run(a->crew, i, 1 + i % 5) && a->good;
    }
    return NULL;
}

static void query_crew_run__several_at_once__all_done(void **state)
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
    cmocka_unit_test(query_crew_run__any_numbers__each_job_once),
    cmocka_unit_test(query_crew_run__several_at_once__all_done),
};
TEST_MAIN(tests)
