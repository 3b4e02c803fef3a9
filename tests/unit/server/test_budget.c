#include "tests/support/test.h"

#include "server/parts/budget.h"

#include <time.h>

#define MIB        (UINT64_C(1) << 20)
#define WAIT_TRIES 30000 /* of a millisecond */

static struct budget budget;

/* Of everybody: stands still unless a test says how far it goes with every look. */
static _Atomic(int64_t) now_ns;
static _Atomic(int64_t) step_ns;

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return 0;
}

static int64_t mono_ns(void *ctx)
{
    (void)ctx;
    return atomic_fetch_add(&now_ns, atomic_load(&step_ns));
}

static const struct tsdb_clock test_clock = {wall_ms, mono_ns, NULL};

/* A query that holds `held` and asks for a share. */
struct query {
    struct tsdb_request request;
    struct budget_share share;
    uint64_t bytes;
    enum tsdb_status status;
    _Atomic(bool) done;
    pthread_t thread;
};

static void query_init(struct query *q, uint64_t held, uint64_t bytes)
{
    memset(q, 0, sizeof *q);
    tsdb_request_init(&q->request, &test_clock, TSDB_SCOPE_READ);
    tsdb_account_init(&q->request.account, 0, &budget.costly);
    assert_ok(tsdb_account_charge(&q->request.account, held));
    q->bytes = bytes;
}

static void *query_main(void *arg)
{
    struct query *q = arg;
    q->status = budget_begin(&budget, &q->share, &q->request, q->bytes);
    atomic_store(&q->done, true);
    return NULL;
}

static void wait_until_waiting(uint32_t count)
{
    for (int i = 0; i < WAIT_TRIES && atomic_load(&budget.waiting_count) != count; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(atomic_load(&budget.waiting_count), count);
}

/* In a thread of its own, until it waits behind `before` others. */
static void query_start(struct query *q, uint32_t before)
{
    assert_int_equal(pthread_create(&q->thread, NULL, query_main, q), 0);
    wait_until_waiting(before + 1);
}

static void query_join(struct query *q, enum tsdb_status want)
{
    pthread_join(q->thread, NULL);
    assert_int_equal(q->status, want);
}

static void give_back(struct query *q)
{
    tsdb_account_release(&q->request.account, atomic_load(&q->request.account.used_bytes));
    budget_freed(&budget);
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&now_ns, 0);
    atomic_store(&step_ns, 0);
    budget_init(&budget, 80 * MIB);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(atomic_load(&budget.total.used_bytes), 0);
    budget_deinit(&budget);
    return 0;
}

static void budget_begin__room_for_all__nobody_waits(void **state)
{
    (void)state;
    struct query q[3];
    for (int i = 0; i < 3; i++) {
        query_init(&q[i], MIB, 20 * MIB);
        query_main(&q[i]);
        assert_ok(q[i].status);
    }
    for (int i = 0; i < 3; i++) {
        budget_end(&budget, &q[i].share);
        give_back(&q[i]);
    }
    assert_int_equal(atomic_load(&budget.waited), 0);
}

static void budget_begin__promised_to_others__waits_for_their_end(void **state)
{
    (void)state;
    struct query a;
    struct query b;
    query_init(&a, MIB, 60 * MIB); /* holds a little yet */
    query_main(&a);
    assert_ok(a.status);
    query_init(&b, MIB, 20 * MIB);
    query_start(&b, 0);
    assert_false(atomic_load(&b.done));
    budget_end(&budget, &a.share);
    query_join(&b, TSDB_OK);
    budget_end(&budget, &b.share);
    give_back(&a);
    give_back(&b);
    assert_int_equal(atomic_load(&budget.waited), 1);
    assert_int_equal(atomic_load(&budget.gave_up), 0);
}

static void budget_begin__answers_hold_it__waits_until_they_are_sent(void **state)
{
    (void)state;
    struct query a;
    struct query b;
    query_init(&a, 60 * MIB, 60 * MIB);
    query_main(&a);
    budget_end(&budget, &a.share); /* its answer is being sent */
    query_init(&b, MIB, 20 * MIB);
    query_start(&b, 0);
    give_back(&a);
    query_join(&b, TSDB_OK);
    budget_end(&budget, &b.share);
    give_back(&b);
}

static void budget_begin__small_behind_large__comes_after_it(void **state)
{
    (void)state;
    struct query a;
    struct query large;
    struct query small;
    query_init(&a, MIB, 40 * MIB);
    query_main(&a);
    query_init(&large, MIB, 60 * MIB);
    query_start(&large, 0);
    query_init(&small, MIB, 2 * MIB); /* would fit */
    query_start(&small, 1);
    budget_end(&budget, &a.share);
    give_back(&a);
    query_join(&large, TSDB_OK);
    query_join(&small, TSDB_OK);
    budget_end(&budget, &large.share);
    budget_end(&budget, &small.share);
    give_back(&large);
    give_back(&small);
}

static void budget_begin__nothing_is_given_back__is_busy_in_the_end(void **state)
{
    (void)state;
    struct query a;
    struct query b;
    struct query c;
    query_init(&a, 60 * MIB, 60 * MIB);
    query_main(&a);
    query_init(&b, MIB, 20 * MIB);
    query_start(&b, 0);
    query_init(&c, MIB, 20 * MIB);
    query_start(&c, 1);
    atomic_store(&c.request.cancelled, 1);
    query_join(&c, TSDB_CANCELLED);
    atomic_store(&step_ns, BUDGET_WAIT_NS);
    query_join(&b, TSDB_BUSY);
    assert_int_equal(atomic_load(&budget.gave_up), 1);
    budget_end(&budget, &a.share);
    give_back(&a);
    give_back(&b);
    give_back(&c);
}

static void budget_begin__more_than_there_is__fits_when_alone(void **state)
{
    (void)state;
    struct query a;
    query_init(&a, MIB, UINT64_MAX);
    query_main(&a);
    assert_ok(a.status);
    budget_end(&budget, &a.share);
    give_back(&a);
}

static void budget_begin__costly_hold_all_they_may__the_cheap_have_an_eighth(void **state)
{
    (void)state;
    struct query a;
    struct tsdb_account cheap;
    query_init(&a, 70 * MIB, 0);
    tsdb_account_init(&cheap, 0, &budget.total);
    assert_int_equal(tsdb_account_charge(&a.request.account, 1), TSDB_LIMIT);
    assert_int_equal(atomic_load(&a.request.account.refusals_above), 1);
    assert_int_equal(atomic_load(&a.request.account.refusals), 0);
    assert_ok(tsdb_account_charge(&cheap, 10 * MIB));
    assert_int_equal(tsdb_account_charge(&cheap, 1), TSDB_LIMIT);
    tsdb_account_release(&cheap, 10 * MIB);
    give_back(&a);
}

static void budget_begin__no_limit__nobody_waits(void **state)
{
    (void)state;
    struct query a;
    struct query b;
    budget_deinit(&budget);
    budget_init(&budget, 0);
    query_init(&a, 1000 * MIB, UINT64_MAX);
    query_init(&b, 1000 * MIB, UINT64_MAX);
    query_main(&a);
    query_main(&b);
    assert_ok(a.status);
    assert_ok(b.status);
    budget_end(&budget, &a.share);
    budget_end(&budget, &b.share);
    give_back(&a);
    give_back(&b);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(budget_begin__room_for_all__nobody_waits),
    CASE(budget_begin__promised_to_others__waits_for_their_end),
    CASE(budget_begin__answers_hold_it__waits_until_they_are_sent),
    CASE(budget_begin__small_behind_large__comes_after_it),
    CASE(budget_begin__nothing_is_given_back__is_busy_in_the_end),
    CASE(budget_begin__more_than_there_is__fits_when_alone),
    CASE(budget_begin__costly_hold_all_they_may__the_cheap_have_an_eighth),
    CASE(budget_begin__no_limit__nobody_waits),
};
TEST_MAIN(tests)
