#include "tests/support/test.h"

#include "server/parts/workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#define WAIT_TRIES 30000 /* of a millisecond */

struct item {
    struct work work;
    _Atomic(uint32_t) *gate; /* NULL: does not wait */
    _Atomic(uint32_t) *started;
    _Atomic(uint32_t) ran;
};

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void run_item(struct work *w)
{
    struct item *it = (struct item *)(void *)((char *)w - offsetof(struct item, work));
    if (it->started) {
        atomic_fetch_add(it->started, 1);
    }
    for (int i = 0; it->gate && !atomic_load(it->gate) && i < WAIT_TRIES; i++) {
        nap();
    }
    atomic_fetch_add(&it->ran, 1);
}

static enum tsdb_status create(uint32_t threads, uint32_t kept, uint32_t queue_max,
                               struct workers **out)
{
    return workers_create(&(struct workers_options){"test-worker", threads, kept, 0, queue_max, 0},
                          out, NULL);
}

static void item_init(struct item *it, _Atomic(uint32_t) *gate, _Atomic(uint32_t) *started)
{
    memset(it, 0, sizeof *it);
    it->work.run = run_item;
    it->gate = gate;
    it->started = started;
}

static void workers__many_items__each_runs_once(void **state)
{
    (void)state;
    static struct item items[5000];
    struct workers *w = NULL;
    struct workers_stats s;
    assert_ok(create(4, 0, 10000, &w));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(items); i++) {
        item_init(&items[i], NULL, NULL);
        assert_true(workers_submit(w, &items[i].work));
    }
    workers_stats_read(w, &s);
    assert_int_equal(s.submitted, TSDB_ARRAY_LEN(items));
    assert_int_equal(s.threads, 4);
    workers_destroy(w); /* what is queued still runs */
    for (size_t i = 0; i < TSDB_ARRAY_LEN(items); i++) {
        assert_int_equal(atomic_load(&items[i].ran), 1);
    }
}

static void workers_submit__queue_full__refuses_and_takes_again_later(void **state)
{
    (void)state;
    static struct item items[6];
    _Atomic(uint32_t) gate = 0;
    _Atomic(uint32_t) started = 0;
    struct workers *w = NULL;
    struct workers_stats s;
    assert_ok(create(2, 0, 3, &w));
    for (int i = 0; i < 6; i++) {
        item_init(&items[i], &gate, &started);
    }
    assert_true(workers_submit(w, &items[0].work));
    assert_true(workers_submit(w, &items[1].work));
    for (int i = 0; i < WAIT_TRIES && atomic_load(&started) < 2; i++) {
        nap();
    }
    assert_int_equal(atomic_load(&started), 2);
    for (int i = 2; i < 5; i++) {
        assert_true(workers_submit(w, &items[i].work));
    }
    assert_false(workers_submit(w, &items[5].work));
    workers_stats_read(w, &s);
    assert_int_equal(s.refused, 1);
    assert_int_equal(s.waiting, 3);
    assert_int_equal(s.running, 2);
    atomic_store(&gate, 1);
    for (int i = 0; i < WAIT_TRIES && atomic_load(&started) < 5; i++) {
        nap();
    }
    assert_true(workers_submit(w, &items[5].work));
    workers_destroy(w);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(atomic_load(&items[i].ran), 1);
    }
}

static void workers_submit__no_queue__still_runs_one_per_thread(void **state)
{
    (void)state;
    static struct item items[3];
    _Atomic(uint32_t) gate = 0;
    struct workers *w = NULL;
    assert_ok(create(2, 0, 0, &w));
    for (int i = 0; i < 3; i++) {
        item_init(&items[i], &gate, NULL);
    }
    assert_true(workers_submit(w, &items[0].work));
    assert_true(workers_submit(w, &items[1].work));
    assert_false(workers_submit(w, &items[2].work));
    atomic_store(&gate, 1);
    workers_destroy(w);
    assert_int_equal(atomic_load(&items[0].ran) + atomic_load(&items[1].ran), 2);
    assert_int_equal(atomic_load(&items[2].ran), 0);
}

static void wait_for(_Atomic(uint32_t) *n, uint32_t value)
{
    for (int i = 0; i < WAIT_TRIES && atomic_load(n) < value; i++) {
        nap();
    }
    assert_int_equal(atomic_load(n), value);
}

/* Costly items at a closed gate, as many as are taken. */
static uint32_t submit_blocked(struct workers *w, enum work_kind kind, struct item *items,
                               uint32_t n, _Atomic(uint32_t) *gate, _Atomic(uint32_t) *started)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < n; i++) {
        item_init(&items[i], gate, started);
        items[i].work.kind = kind;
        taken += workers_submit(w, &items[i].work);
    }
    return taken;
}

static void workers_submit__heavy_ones_everywhere__cheap_ones_run_at_once(void **state)
{
    (void)state;
    static struct item heavy[40];
    static struct item unknown[40];
    static struct item cheap[20];
    _Atomic(uint32_t) gate = 0;
    _Atomic(uint32_t) heavy_started = 0;
    _Atomic(uint32_t) unknown_started = 0;
    _Atomic(uint32_t) cheap_started = 0;
    struct workers *w = NULL;
    struct workers_stats s;
    assert_ok(create(8, 4, 40, &w));
    /* four run, thirty wait, a quarter of the queue is not theirs */
    assert_int_equal(submit_blocked(w, WORK_HEAVY, heavy, 40, &gate, &heavy_started), 34);
    wait_for(&heavy_started, 4);
    /* of two more threads they have the use: in the queue there is no room for more than those */
    assert_int_equal(submit_blocked(w, WORK_UNKNOWN, unknown, 40, &gate, &unknown_started), 2);
    wait_for(&unknown_started, 2);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(cheap); i++) {
        item_init(&cheap[i], NULL, &cheap_started);
        assert_true(workers_submit(w, &cheap[i].work)); /* with two threads: no more than 10 wait */
        wait_for(&cheap_started, i + 1);
    }
    workers_stats_read(w, &s);
    assert_int_equal(s.kinds[WORK_HEAVY].running, 4);
    assert_int_equal(s.kinds[WORK_HEAVY].waiting, 30);
    assert_int_equal(s.kinds[WORK_HEAVY].refused, 6);
    assert_int_equal(s.kinds[WORK_UNKNOWN].running, 2);
    assert_int_equal(s.kinds[WORK_UNKNOWN].waiting, 0);
    assert_int_equal(s.kinds[WORK_CHEAP].submitted, 20);
    assert_int_equal(s.submitted, 34 + 2 + 20);
    atomic_store(&gate, 1);
    workers_destroy(w); /* what could not run before runs now */
    assert_int_equal(atomic_load(&heavy_started), 34);
}

/* Two at once, in threads of their own: whatever is costly, the other threads are free. */
static void workers_submit__more_heavy_ones_than_may__wait_while_others_run(void **state)
{
    (void)state;
    static struct item heavy[40];
    static struct item others[20];
    _Atomic(uint32_t) gate = 0;
    _Atomic(uint32_t) heavy_started = 0;
    _Atomic(uint32_t) others_started = 0;
    struct workers *w = NULL;
    struct workers_stats s;
    assert_ok(workers_create(&(struct workers_options){"test-worker", 8, 2, 2, 20, 0}, &w, NULL));
    /* two run; with the four that ran if they might, and three quarters of the queue, nineteen wait */
    assert_int_equal(submit_blocked(w, WORK_HEAVY, heavy, 40, &gate, &heavy_started), 2 + 4 + 15);
    wait_for(&heavy_started, 2);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(others); i++) {
        item_init(&others[i], NULL, &others_started);
        assert_true(workers_submit(w, &others[i].work));
        wait_for(&others_started, i + 1);
    }
    workers_stats_read(w, &s);
    assert_int_equal(s.kinds[WORK_HEAVY].running, 2);
    assert_int_equal(s.kinds[WORK_HEAVY].waiting, 19);
    atomic_store(&gate, 1);
    workers_destroy(w);
    assert_int_equal(atomic_load(&heavy_started), 21);
}

struct polite {
    struct work work;
    _Atomic(uint32_t) *gate; /* NULL: does not wait */
    int nice;                /* of the thread that ran it */
    _Atomic(uint32_t) ran;
};

static void run_polite(struct work *w)
{
    struct polite *p = (struct polite *)(void *)((char *)w - offsetof(struct polite, work));
    p->nice = getpriority(PRIO_PROCESS, 0);
    for (int i = 0; p->gate && !atomic_load(p->gate) && i < WAIT_TRIES; i++) {
        nap();
    }
    atomic_store(&p->ran, 1);
}

/* Heavy ones run in threads that give way, beside what the process does itself; cheap ones beside them do not. */
static void workers_submit__heavy_ones__give_way_to_cheap_ones(void **state)
{
    (void)state;
    static struct polite heavy[4];
    static struct polite cheap[6];
    const int before = getpriority(PRIO_PROCESS, 0);
    const int after = TSDB_MIN(before + 7, 19);
    _Atomic(uint32_t) gate = 0;
    struct workers *w = NULL;
    assert_ok(workers_create(&(struct workers_options){"test-worker", 4, 2, 2, 40, 7}, &w, NULL));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(heavy); i++) {
        heavy[i] = (struct polite){.work = {.run = run_polite, .kind = WORK_HEAVY}, .gate = &gate};
        assert_true(workers_submit(w, &heavy[i].work));
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cheap); i++) {
        cheap[i] = (struct polite){.work = {.run = run_polite, .kind = WORK_CHEAP}};
        assert_true(workers_submit(w, &cheap[i].work));
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cheap); i++) {
        wait_for(&cheap[i].ran, 1);
    }
    atomic_store(&gate, 1);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(heavy); i++) {
        wait_for(&heavy[i].ran, 1);
        assert_int_equal(heavy[i].nice, after);
    }
    workers_destroy(w);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
}

/* All threads have gone back to wait: what runs is counted until then. */
static void wait_idle(struct workers *w)
{
    struct workers_stats s;
    workers_stats_read(w, &s);
    for (int i = 0; i < WAIT_TRIES && s.running + s.waiting > 0; i++) {
        nap();
        workers_stats_read(w, &s);
    }
    assert_int_equal(s.running + s.waiting, 0);
}

static void workers_submit__a_thread_is_idle_that_does_not_give_way__runs_cheap_ones(void **state)
{
    (void)state;
    static struct item all[4];
    static struct polite cheap[50];
    const int before = getpriority(PRIO_PROCESS, 0);
    _Atomic(uint32_t) gate = 0;
    _Atomic(uint32_t) started = 0;
    struct workers *w = NULL;
    assert_ok(workers_create(&(struct workers_options){"test-worker", 4, 2, 2, 40, 7}, &w, NULL));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(all); i++) { /* all threads are up */
        item_init(&all[i], &gate, &started);
        assert_true(workers_submit(w, &all[i].work));
    }
    wait_for(&started, TSDB_ARRAY_LEN(all));
    atomic_store(&gate, 1);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cheap); i++) {
        wait_idle(w);
        cheap[i] = (struct polite){.work = {.run = run_polite, .kind = WORK_CHEAP}};
        assert_true(workers_submit(w, &cheap[i].work));
        wait_for(&cheap[i].ran, 1);
        assert_int_equal(cheap[i].nice, before);
    }
    struct polite unknown = {.work = {.run = run_polite, .kind = WORK_UNKNOWN}};
    assert_true(workers_submit(w, &unknown.work));
    workers_destroy(w);
    assert_int_equal(unknown.nice, TSDB_MIN(before + 7, 19));
}

struct ordered {
    struct work work;
    uint32_t number;
};
static struct {
    _Atomic(uint32_t) gate;
    uint32_t ran[64]; /* in which order; one thread */
    uint32_t count;
} order;

static void run_ordered(struct work *w)
{
    struct ordered *o = (struct ordered *)(void *)((char *)w - offsetof(struct ordered, work));
    for (int i = 0; !atomic_load(&order.gate) && i < WAIT_TRIES; i++) {
        nap();
    }
    order.ran[order.count++] = o->number;
}

static void workers_submit__one_thread__all_kinds_in_the_order_they_came(void **state)
{
    (void)state;
    static struct ordered items[64];
    struct workers *w = NULL;
    memset(&order, 0, sizeof order);
    assert_ok(create(1, 1, 1000, &w)); /* nothing can be kept: one must be left */
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(items); i++) {
        items[i] = (struct ordered){
            .work = {.run = run_ordered, .kind = (enum work_kind)(i * 7 % 5 % WORK_KINDS)},
            .number = i};
        assert_true(workers_submit(w, &items[i].work));
    }
    atomic_store(&order.gate, 1);
    workers_destroy(w);
    assert_int_equal(order.count, TSDB_ARRAY_LEN(items));
    for (uint32_t i = 0; i < order.count; i++) {
        assert_int_equal(order.ran[i], i);
    }
}

struct submitter {
    struct workers *w;
    struct item items[500];
    uint32_t taken;
};

static void *submit_main(void *arg)
{
    struct submitter *s = arg;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(s->items); i++) {
        item_init(&s->items[i], NULL, NULL);
        s->items[i].work.kind = (enum work_kind)(i % WORK_KINDS);
        s->taken += workers_submit(s->w, &s->items[i].work);
    }
    return NULL;
}

static void workers_submit__from_many_threads__loses_nothing(void **state)
{
    (void)state;
    static struct submitter submitters[4];
    pthread_t threads[4];
    struct workers *w = NULL;
    assert_ok(create(3, 1, 20, &w)); /* small: refusals happen, too */
    for (int i = 0; i < 4; i++) {
        submitters[i].w = w;
        assert_int_equal(pthread_create(&threads[i], NULL, submit_main, &submitters[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    workers_destroy(w);
    for (int i = 0; i < 4; i++) {
        uint32_t ran = 0;
        for (size_t k = 0; k < TSDB_ARRAY_LEN(submitters[i].items); k++) {
            uint32_t n = atomic_load(&submitters[i].items[k].ran);
            assert_true(n <= 1);
            ran += n;
        }
        assert_int_equal(ran, submitters[i].taken);
    }
}

static void workers_create__out_of_memory__leaves_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct workers *w = NULL;
        tsdb_alloc_fail_nth(n, 0);
        enum tsdb_status status = create(2, 0, 2, &w);
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, TSDB_NOMEM);
        assert_null(w);
    }
    workers_destroy(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(workers__many_items__each_runs_once),
    cmocka_unit_test(workers_submit__queue_full__refuses_and_takes_again_later),
    cmocka_unit_test(workers_submit__no_queue__still_runs_one_per_thread),
    cmocka_unit_test(workers_submit__heavy_ones_everywhere__cheap_ones_run_at_once),
    cmocka_unit_test(workers_submit__more_heavy_ones_than_may__wait_while_others_run),
    cmocka_unit_test(workers_submit__heavy_ones__give_way_to_cheap_ones),
    cmocka_unit_test(workers_submit__a_thread_is_idle_that_does_not_give_way__runs_cheap_ones),
    cmocka_unit_test(workers_submit__one_thread__all_kinds_in_the_order_they_came),
    cmocka_unit_test(workers_submit__from_many_threads__loses_nothing),
    cmocka_unit_test(workers_create__out_of_memory__leaves_nothing),
};

TEST_MAIN(tests)
