/* Invariants checked: one at a time; what one did the next one sees; who waits for a turn gets one (a lost wake-up
 * hangs the test). */
#include "tests/support/test.h"

#include "base/turn.h"

#include <pthread.h>

#define TURNS   20000
#define HELPERS 3

static struct tsdb_turn turn;
static uint64_t value, sum; /* of who has the turn */
static _Atomic(uint32_t) inside, done;

static void one_turn(uint64_t n)
{
    assert_int_equal(atomic_fetch_add(&inside, 1), 0);
    value += n;
    sum++;
    atomic_fetch_sub(&inside, 1);
    tsdb_turn_give(&turn);
}

static void *help(void *arg)
{
    uint64_t *taken = arg;
    while (atomic_load(&done) == 0) {
        if (*taken % 2 == 0 ? tsdb_turn_try(&turn) : tsdb_turn_try_for_a_while(&turn, &done)) {
            ++*taken;
            one_turn(1);
        }
    }
    return NULL;
}

static void turn__its_thread_and_others__one_at_a_time(void **state)
{
    (void)state;
    pthread_t threads[HELPERS];
    uint64_t taken[HELPERS] = {0};
    uint64_t all = 0;
    for (int i = 0; i < HELPERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, help, &taken[i]), 0);
    }
    for (int i = 0; i < TURNS; i++) {
        tsdb_turn_take(&turn);
        one_turn(1000000);
    }
    atomic_store(&done, 1);
    for (int i = 0; i < HELPERS; i++) {
        pthread_join(threads[i], NULL);
        all += taken[i];
    }
    assert_int_equal(value, TURNS * UINT64_C(1000000) + all);
    assert_int_equal(sum, TURNS + all);
    assert_int_equal(atomic_load(&turn.state), 0);
}

static void turn__taken__others_do_not_get_it(void **state)
{
    (void)state;
    _Atomic(uint32_t) working = 0;
    _Atomic(uint32_t) ready = 1;
    struct tsdb_turn t = {0};
    tsdb_turn_take(&t);
    assert_false(tsdb_turn_try(&t));
    assert_false(tsdb_turn_try_for_a_while(&t, &working));
    assert_false(tsdb_turn_try_for_a_while(&t, &ready));
    tsdb_turn_give(&t);
    assert_true(tsdb_turn_try_for_a_while(&t, &ready)); /* once in any case */
    assert_false(tsdb_turn_try(&t));
    tsdb_turn_give(&t);
    assert_true(tsdb_turn_try_for_a_while(&t, &working));
    tsdb_turn_give(&t);
    assert_true(tsdb_turn_try(&t));
    tsdb_turn_give(&t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(turn__taken__others_do_not_get_it),
    cmocka_unit_test(turn__its_thread_and_others__one_at_a_time),
};

TEST_MAIN(tests)
