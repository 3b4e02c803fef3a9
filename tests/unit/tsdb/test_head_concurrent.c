/* One owner appends, readers read: never a sample twice, never one missing, always a prefix. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/head/head_private.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define SERIES  3u
#define READERS 3u

/* In round i of series s come a sample at i * 10 and a late one at i * 10 - 55. Values tell. */
static int64_t time_of(uint32_t i)
{
    return (int64_t)i * 10;
}
static int64_t late_time_of(uint32_t i)
{
    return (int64_t)i * 10 - 55;
}
static bool is_late(int64_t t)
{
    return (t + 55) % 10 == 0;
}
/* Any bits, a counter, runs: every form of a token. */
static uint64_t value_of(uint32_t s, int64_t t)
{
    return s == 0   ? (uint64_t)t * 2654435761u + s
           : s == 1 ? tsdb_double_bits((double)t * 2)
                    : tsdb_double_bits((double)(t / 400));
}

struct plan {
    uint32_t rounds;
    uint32_t late_every; /* a late sample in every n-th round */
    bool alternate;      /* every other sample has a start timestamp: each append seals a chunk */
    uint32_t drop_every; /* rounds; 0: the owner drops nothing */
    int64_t keep_ms;
};
struct shared {
    struct plan plan;
    struct tsdb_epoch *epoch;
    struct head_partition *head;
    _Atomic(uint32_t) done[SERIES]; /* rounds that are certainly there */
    _Atomic(uint32_t) running;
    _Atomic(uint32_t) ready; /* readers that have begun */
};
struct reader {
    struct shared *shared;
    uint64_t seed;
    uint64_t reads, newest, wrong_value, not_rising, gap, missing;
};

static bool append_round(struct shared *sh, uint32_t s, uint32_t i)
{
    const struct plan *p = &sh->plan;
    int64_t t = time_of(i);
    int64_t start = p->alternate && i % 2 ? 1 : 0;
    bool ok =
        head_append(sh->head, s, t, start, TSDB_SAMPLE_FLOAT, value_of(s, t)) == HEAD_APPENDED;
    if (i % p->late_every == 0 && i > 10) {
        int64_t late = late_time_of(i);
        start = p->alternate && (i / p->late_every) % 2 ? 1 : 0;
        ok = ok && head_append(sh->head, s, late, start, TSDB_SAMPLE_FLOAT, value_of(s, late)) ==
                       HEAD_APPENDED_OUT_OF_ORDER;
    }
    return ok;
}

struct owner_work {
    struct shared *shared;
    uint64_t failed;
};

static void *own(void *arg)
{
    struct owner_work *w = arg;
    struct shared *sh = w->shared;
    while (atomic_load(&sh->ready) < READERS) {
        sched_yield();
    }
    for (uint32_t i = 1; i <= sh->plan.rounds; i++) {
        for (uint32_t s = 0; s < SERIES; s++) {
            w->failed += !append_round(sh, s, i);
            atomic_store_explicit(&sh->done[s], i, memory_order_release);
        }
        if (sh->plan.drop_every > 0 && i % sh->plan.drop_every == 0) {
            head_drop_before(sh->head, 0, UINT32_MAX, time_of(i) - sh->plan.keep_ms);
        }
        if (i % 64 == 0) {
            head_reclaim(sh->head, 0);
        }
    }
    atomic_store(&sh->running, 0);
    return NULL;
}

/* A stretch of samples of one class, each a step after the one before. */
struct stretch {
    int64_t first, last, step;
    uint32_t count;
};

/* Before kept_ms some may be dropped already: a series' chunks lie in two lists. */
static void stretch_add(struct stretch *x, struct reader *r, int64_t t, int64_t kept_ms)
{
    r->gap += x->count > 0 && t != x->last + x->step && x->last >= kept_ms;
    x->first = x->count++ == 0 ? t : x->first;
    x->last = t;
}

/* done: rounds that were finished before the read began; so what is seen is a prefix up to there
 * or further, less what was dropped from its beginning. */
static void check_columns(struct reader *r, uint32_t s, uint32_t done, const struct tsdb_columns *c)
{
    const struct plan *p = &r->shared->plan;
    int64_t kept_ms = INT64_MIN;
    if (p->drop_every > 0) {
        kept_ms = time_of(atomic_load(&r->shared->done[s]) + 1) - p->keep_ms;
    }
    struct stretch in_order = {.step = 10};
    struct stretch late = {.step = 10 * (int64_t)p->late_every};
    int64_t previous = INT64_MIN;
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t t = c->t_ms[i];
        r->wrong_value += c->bits[i] != value_of(s, t);
        r->not_rising += t <= previous;
        previous = t;
        stretch_add(is_late(t) ? &late : &in_order, r, t, kept_ms);
    }
    uint32_t first_late = (10 / p->late_every + 1) * p->late_every;
    uint32_t last_late = done / p->late_every * p->late_every;
    if (done > 0) {
        r->missing += in_order.count == 0 || in_order.last < time_of(done);
    }
    if (last_late >= first_late) {
        r->missing += late.count == 0 || late.last < late_time_of(last_late);
    }
    if (p->drop_every == 0) {
        r->missing += in_order.count > 0 && in_order.first != time_of(1);
        r->missing += late.count > 0 && late.first != late_time_of(first_late);
    }
}

/* At least as new as the read just before it, which began when `done` rounds were finished. */
static void check_newest(struct reader *r, uint32_t s, uint32_t done)
{
    int64_t t = 0;
    uint64_t bits = 0;
    if (!head_newest_float(r->shared->head, s, &t, &bits)) {
        return;
    }
    r->newest++;
    r->wrong_value += is_late(t) || bits != value_of(s, t);
    r->missing += t < time_of(done);
}

static void *read_on(void *arg)
{
    struct reader *r = arg;
    struct shared *sh = r->shared;
    struct tsdb_prng prng;
    struct tsdb_arena arena;
    tsdb_prng_init(&prng, r->seed);
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 1u << 18, NULL);
    while (atomic_load(&sh->running)) {
        uint32_t s = (uint32_t)tsdb_prng_below(&prng, SERIES);
        uint32_t done = atomic_load_explicit(&sh->done[s], memory_order_acquire);
        struct tsdb_columns c = {0};
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(sh->epoch, &guard);
        enum tsdb_status status =
            head_read(sh->head, s, TSDB_TIME_ALL, HEAD_VIEW_NONE, &arena, &c, NULL);
        check_newest(r, s, done);
        tsdb_epoch_exit(sh->epoch, &guard);
        r->wrong_value += status != TSDB_OK;
        check_columns(r, s, done, &c);
        if (r->reads++ == 0) {
            atomic_fetch_add(&sh->ready, 1);
        }
        tsdb_arena_reset(&arena);
    }
    tsdb_arena_deinit(&arena);
    return NULL;
}

static void run(struct plan plan)
{
    struct shared sh = {.running = 1, .plan = plan};
    assert_ok(tsdb_epoch_create(16, &sh.epoch));
    assert_ok(head_partition_create(0, sh.epoch, 0, &sh.head));
    for (uint32_t s = 0; s < SERIES; s++) {
        char name[2] = {(char)('a' + s), 0};
        struct tsdb_label item = tsdb_label_make(TSDB_METRIC_NAME, name);
        struct tsdb_labels labels = {&item, 1};
        uint32_t local = 0;
        bool created = false;
        assert_ok(head_series_find_or_create(sh.head, &labels, s + 1, &local, &created, NULL));
        assert_int_equal(local, s);
    }
    struct reader readers[READERS];
    pthread_t threads[READERS + 1];
    struct owner_work work = {&sh, 0};
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.shared = &sh, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[READERS], NULL, own, &work), 0);
    for (uint32_t i = 0; i <= READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(work.failed, 0);
    for (uint32_t i = 0; i < READERS; i++) {
        assert_int_equal(readers[i].wrong_value, 0);
        assert_int_equal(readers[i].not_rising, 0);
        assert_int_equal(readers[i].gap, 0);
        assert_int_equal(readers[i].missing, 0);
        assert_true(plan.alternate || readers[i].newest > 0);
    }
    struct tsdb_error err = {0};
    assert_ok_err(head_validate(sh.head, &err), &err);
    head_partition_destroy(sh.head);
    tsdb_epoch_destroy(sh.epoch);
}

static void head_read__owner_appends_and_seals__sees_a_prefix_once(void **state)
{
    (void)state;
    run((struct plan){.rounds = 20000, .late_every = 4});
}

static void head_read__owner_drops_old_chunks__sees_a_stretch_up_to_now(void **state)
{
    (void)state;
    run((struct plan){.rounds = 20000, .late_every = 2, .drop_every = 200, .keep_ms = 3000});
}

/* Short lists, a seal with every sample: most reads fall into one. */
static void head_read__every_append_seals__sees_each_sample_once(void **state)
{
    (void)state;
    run((struct plan){
        .rounds = 60000, .late_every = 1, .alternate = true, .drop_every = 8, .keep_ms = 200});
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(head_read__owner_appends_and_seals__sees_a_prefix_once),
    cmocka_unit_test(head_read__owner_drops_old_chunks__sees_a_stretch_up_to_now),
    cmocka_unit_test(head_read__every_append_seals__sees_each_sample_once),
};

TEST_MAIN(tests)
