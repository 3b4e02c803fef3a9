/* Invariants checked: credits bound what is in the ring; nothing is lost, doubled or re-ordered per
 * producer; a sleeping consumer is always woken (the multi-threaded cases wait without a time
 * limit, so a lost wake-up hangs them). */
#include "tests/support/test.h"

#include "base/mutex.h"
#include "base/ring.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct tsdb_ring ring;

static void ring_init__odd_capacity__rounded_to_power_of_two(void **state)
{
    (void)state;
    const uint32_t asked[] = {0, 1, 2, 3, 5, 1024, 1025};
    const uint32_t got[] = {2, 2, 2, 4, 8, 1024, 2048};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(asked); i++) {
        assert_ok(tsdb_ring_init(&ring, asked[i]));
        assert_int_equal(ring.capacity, got[i]);
        tsdb_ring_deinit(&ring);
    }
}

static void ring_init__no_memory__nomem(void **state)
{
    (void)state;
    tsdb_alloc_fail_nth(1, 0);
    enum tsdb_status status = tsdb_ring_init(&ring, 8);
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(status, TSDB_NOMEM);
}

static void ring_reserve__credits__all_or_none(void **state)
{
    (void)state;
    assert_ok(tsdb_ring_init(&ring, 8));
    assert_false(tsdb_ring_reserve(&ring, 9));
    assert_true(tsdb_ring_reserve(&ring, 5));
    assert_false(tsdb_ring_reserve(&ring, 4)); /* and takes none of the three */
    assert_true(tsdb_ring_reserve(&ring, 3));
    assert_true(tsdb_ring_reserve(&ring, 0));
    assert_false(tsdb_ring_reserve(&ring, 1));
    tsdb_ring_release(&ring, 2);
    assert_true(tsdb_ring_reserve(&ring, 2));
    assert_false(tsdb_ring_reserve(&ring, 1));
    tsdb_ring_release(&ring, 8);
    tsdb_ring_deinit(&ring);
}

static void ring_drain__many_laps__in_order_and_credits_come_back(void **state)
{
    (void)state;
    static int items[1000];
    assert_ok(tsdb_ring_init(&ring, 4));
    size_t published = 0;
    size_t drained = 0;
    while (drained < TSDB_ARRAY_LEN(items)) {
        while (published < TSDB_ARRAY_LEN(items) && tsdb_ring_reserve(&ring, 1)) {
            tsdb_ring_publish(&ring, &items[published++]);
        }
        assert_int_equal(tsdb_ring_depth(&ring), published - drained);
        assert_true(published - drained <= 4);
        void *out[3];
        size_t n = tsdb_ring_drain(&ring, out, 3);
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            assert_ptr_equal(out[i], &items[drained + i]);
        }
        drained += n;
    }
    void *none;
    assert_int_equal(tsdb_ring_drain(&ring, &none, 1), 0);
    assert_int_equal(tsdb_ring_depth(&ring), 0);
    assert_true(tsdb_ring_reserve(&ring, 4));
    tsdb_ring_deinit(&ring);
}

static void ring_wait__item_there_or_woken_before__returns_at_once(void **state)
{
    (void)state;
    int item = 0;
    assert_ok(tsdb_ring_init(&ring, 2));
    assert_true(tsdb_ring_reserve(&ring, 1));
    tsdb_ring_publish(&ring, &item);
    tsdb_ring_wait(&ring, -1);
    void *out;
    assert_int_equal(tsdb_ring_drain(&ring, &out, 1), 1);
    tsdb_ring_wake(&ring);
    tsdb_ring_wait(&ring, -1);
    tsdb_ring_wait(&ring, 0);       /* the wake was used up, but no time means no sleep */
    tsdb_ring_wait(&ring, 1000000); /* ends by its time */
    tsdb_ring_deinit(&ring);
}

#define PRODUCERS  4
#define ITEMS_EACH 20000

struct item {
    uint32_t producer;
    uint32_t number; /* plain: publishing must make it visible */
};
struct producer {
    pthread_t thread;
    struct tsdb_ring *ring;
    uint32_t id;
    uint32_t burst; /* credits taken at once */
    struct item *items;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    uint32_t sent = 0;
    while (sent < ITEMS_EACH) {
        uint32_t want = TSDB_MIN(p->burst, ITEMS_EACH - sent);
        if (!tsdb_ring_reserve(p->ring, want)) {
            sched_yield();
            continue;
        }
        uint32_t used = want;
        if (sent % 7 == 3 &&
            want > 1) { /* change of mind, as a request that another ring refused */
            tsdb_ring_release(p->ring, 1);
            used--;
        }
        for (uint32_t i = 0; i < used; i++) {
            p->items[sent].producer = p->id;
            p->items[sent].number = sent;
            tsdb_ring_publish(p->ring, &p->items[sent]);
            sent++;
        }
    }
    return NULL;
}

/* Returns the number of items that came out of order. */
static unsigned consume_all(struct tsdb_ring *r, size_t batch)
{
    uint32_t next[PRODUCERS] = {0};
    unsigned wrong = 0;
    void *out[64];
    for (size_t left = (size_t)PRODUCERS * ITEMS_EACH; left > 0;) {
        size_t n = tsdb_ring_drain(r, out, batch);
        if (n == 0) {
            tsdb_ring_wait(r, -1);
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            const struct item *item = out[i];
            wrong += item->number != next[item->producer]++;
        }
        left -= n;
    }
    return wrong;
}

static void run_producers(uint32_t capacity, size_t batch)
{
    assert_ok(tsdb_ring_init(&ring, capacity));
    struct producer producers[PRODUCERS];
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        struct producer *p = &producers[i];
        *p = (struct producer){.ring = &ring, .id = i, .burst = 1 + i % capacity};
        p->items = tsdb_mem_alloc(TSDB_MEM_OTHER, ITEMS_EACH * sizeof p->items[0]);
        assert_non_null(p->items);
        assert_ok(tsdb_thread_start(&p->thread, "producer", produce, p, NULL));
    }
    unsigned wrong = consume_all(&ring, batch);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i].thread, NULL);
        tsdb_mem_free(TSDB_MEM_OTHER, producers[i].items,
                      ITEMS_EACH * sizeof producers[i].items[0]);
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(tsdb_ring_depth(&ring), 0);
    assert_true(tsdb_ring_reserve(&ring, ring.capacity)); /* every credit came back */
    tsdb_ring_deinit(&ring);
}

static void ring_publish__four_producers_small_ring__nothing_lost(void **state)
{
    (void)state;
    run_producers(2, 1);
    run_producers(4, 64);
}

static void ring_publish__four_producers_large_ring__nothing_lost(void **state)
{
    (void)state;
    run_producers(256, 64);
}

/* Hand one item back and forth, each side asleep in between: every round is a chance to lose the
 * wake-up. */
#define PINGS 20000

struct ping {
    struct tsdb_ring there;
    struct tsdb_ring back;
};
static struct ping ping;

static void *echo(void *arg)
{
    struct ping *p = arg;
    for (int i = 0; i < PINGS; i++) {
        void *item;
        while (tsdb_ring_drain(&p->there, &item, 1) == 0) {
            tsdb_ring_wait(&p->there, -1);
        }
        while (!tsdb_ring_reserve(&p->back, 1)) {
            sched_yield();
        }
        tsdb_ring_publish(&p->back, item);
    }
    return NULL;
}

static void ring_wait__ping_pong__no_wake_up_lost(void **state)
{
    (void)state;
    assert_ok(tsdb_ring_init(&ping.there, 2));
    assert_ok(tsdb_ring_init(&ping.back, 2));
    pthread_t thread;
    assert_ok(tsdb_thread_start(&thread, "echo", echo, &ping, NULL));
    int ball;
    unsigned wrong = 0;
    for (int i = 0; i < PINGS; i++) {
        wrong += !tsdb_ring_reserve(&ping.there, 1);
        tsdb_ring_publish(&ping.there, &ball);
        void *item;
        while (tsdb_ring_drain(&ping.back, &item, 1) == 0) {
            tsdb_ring_wait(&ping.back, -1);
        }
        wrong += item != &ball;
    }
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
    tsdb_ring_deinit(&ping.there);
    tsdb_ring_deinit(&ping.back);
}

struct stopper {
    struct tsdb_ring *ring;
    _Atomic(int) stop;
    _Atomic(int) stopped;
};

static void *sleep_until_stopped(void *arg)
{
    struct stopper *s = arg;
    while (!atomic_load(&s->stop)) {
        tsdb_ring_wait(s->ring, -1);
    }
    atomic_store(&s->stopped, 1);
    return NULL;
}

static void ring_wake__stop_flag__seen_wherever_the_consumer_is(void **state)
{
    (void)state;
    assert_ok(tsdb_ring_init(&ring, 2));
    for (int round = 0; round < 300; round++) {
        struct stopper s = {.ring = &ring};
        pthread_t thread;
        assert_ok(tsdb_thread_start(&thread, "sleeper", sleep_until_stopped, &s, NULL));
        for (int i = 0; i < round % 5; i++) {
            sched_yield(); /* meet it before, in and after its first sleep */
        }
        atomic_store(&s.stop, 1);
        tsdb_ring_wake(&ring);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&s.stopped), 1);
    }
    tsdb_ring_deinit(&ring);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ring_init__odd_capacity__rounded_to_power_of_two),
    cmocka_unit_test(ring_init__no_memory__nomem),
    cmocka_unit_test(ring_reserve__credits__all_or_none),
    cmocka_unit_test(ring_drain__many_laps__in_order_and_credits_come_back),
    cmocka_unit_test(ring_wait__item_there_or_woken_before__returns_at_once),
    cmocka_unit_test(ring_publish__four_producers_small_ring__nothing_lost),
    cmocka_unit_test(ring_publish__four_producers_large_ring__nothing_lost),
    cmocka_unit_test(ring_wait__ping_pong__no_wake_up_lost),
    cmocka_unit_test(ring_wake__stop_flag__seen_wherever_the_consumer_is),
};

TEST_MAIN(tests)
