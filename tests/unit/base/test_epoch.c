/* Invariants checked: what a guard may hold is not freed while the guard is open (under asan and
 * tsan the memory itself says so; elsewhere the pattern in it does); what nobody can hold is freed.
 */
#include "tests/support/test.h"

#include "base/epoch.h"
#include "base/mutex.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define CATEGORY TSDB_MEM_OTHER

static void *piece(size_t bytes)
{
    void *p = tsdb_mem_alloc_zero(CATEGORY, bytes);
    assert_non_null(p);
    return p;
}

static void epoch_reclaim__no_guard__frees_at_once(void **state)
{
    (void)state;
    struct tsdb_epoch *e = NULL;
    struct tsdb_epoch_limbo l;
    uint64_t used = tsdb_mem_used(CATEGORY);
    assert_ok(tsdb_epoch_create(4, &e));
    tsdb_epoch_limbo_init(&l);
    assert_int_equal(tsdb_epoch_reclaim(e, &l), 0);
    tsdb_epoch_retire(e, &l, CATEGORY, NULL, 0);
    assert_int_equal(l.count, 0);
    for (size_t i = 1; i <= 200; i++) { /* more than the list's first size */
        tsdb_epoch_retire(e, &l, CATEGORY, piece(i), i);
    }
    assert_int_equal(l.count, 200);
    assert_int_equal(l.bytes, 200 * 201 / 2);
    assert_int_equal(tsdb_epoch_reclaim(e, &l), 200 * 201 / 2);
    assert_int_equal(l.count, 0);
    assert_int_equal(l.bytes, 0);
    tsdb_epoch_limbo_deinit(&l);
    tsdb_epoch_destroy(e);
    tsdb_epoch_destroy(NULL);
    assert_int_equal(tsdb_mem_used(CATEGORY), used);
}

static void epoch_reclaim__list_grown_by_a_burst__goes_when_it_is_empty(void **state)
{
    (void)state;
    struct tsdb_epoch *e = NULL;
    struct tsdb_epoch_limbo l;
    assert_ok(tsdb_epoch_create(4, &e));
    tsdb_epoch_limbo_init(&l);
    uint64_t used = tsdb_mem_used(CATEGORY);
    for (int round = 0; round < 2; round++) {
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(e, &guard);
        for (size_t i = 0; i < 1000; i++) {
            tsdb_epoch_retire(e, &l, CATEGORY, piece(8), 8);
        }
        assert_int_equal(tsdb_epoch_reclaim(e, &l), 0);
        assert_int_equal(l.count, 1000);
        tsdb_epoch_exit(e, &guard);
        assert_int_equal(tsdb_epoch_reclaim(e, &l), 8000);
        assert_int_equal(tsdb_mem_used(CATEGORY), used);
    }
    tsdb_epoch_limbo_deinit(&l);
    tsdb_epoch_destroy(e);
}

static void epoch_reclaim__older_guard_open__keeps_until_exit(void **state)
{
    (void)state;
    struct tsdb_epoch *e = NULL;
    struct tsdb_epoch_limbo l;
    struct tsdb_epoch_guard old;
    assert_ok(tsdb_epoch_create(4, &e));
    tsdb_epoch_limbo_init(&l);
    tsdb_epoch_enter(e, &old);
    tsdb_epoch_retire(e, &l, CATEGORY, piece(100), 100);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(tsdb_epoch_reclaim(e, &l), 0);
    }
    /* Readers that come and go later do not help and do not harm. */
    struct tsdb_epoch_guard young;
    tsdb_epoch_enter(e, &young);
    assert_int_equal(tsdb_epoch_reclaim(e, &l), 0);
    tsdb_epoch_exit(e, &young);
    assert_int_equal(tsdb_epoch_reclaim(e, &l), 0);
    tsdb_epoch_exit(e, &old);
    assert_int_equal(tsdb_epoch_reclaim(e, &l), 100);
    tsdb_epoch_limbo_deinit(&l);
    tsdb_epoch_destroy(e);
}

static void epoch_reclaim__guard_opened_after_retiring__pieces_before_it_go(void **state)
{
    (void)state;
    struct tsdb_epoch *e = NULL;
    struct tsdb_epoch_limbo l;
    assert_ok(tsdb_epoch_create(4, &e));
    tsdb_epoch_limbo_init(&l);
    /* Move to an epoch well after the piece's, then open a guard: it cannot hold the piece. */
    struct tsdb_epoch_limbo other;
    tsdb_epoch_limbo_init(&other);
    tsdb_epoch_retire(e, &l, CATEGORY, piece(8), 8);
    tsdb_epoch_retire(e, &other, CATEGORY, piece(16), 16);
    assert_int_equal(tsdb_epoch_reclaim(e, &other), 16);
    struct tsdb_epoch_guard g;
    tsdb_epoch_enter(e, &g);
    assert_int_equal(tsdb_epoch_reclaim(e, &l), 8);
    tsdb_epoch_exit(e, &g);
    tsdb_epoch_limbo_deinit(&l);
    tsdb_epoch_limbo_deinit(&other);
    tsdb_epoch_destroy(e);
}

static void epoch_retire__list_cannot_grow__frees_the_piece_itself(void **state)
{
    (void)state;
    struct tsdb_epoch *e = NULL;
    struct tsdb_epoch_limbo l;
    assert_ok(tsdb_epoch_create(4, &e));
    uint64_t used = tsdb_mem_used(CATEGORY);
    tsdb_epoch_limbo_init(&l);
    void *p = piece(64);
    tsdb_alloc_fail_nth(1, 1);
    tsdb_epoch_retire(e, &l, CATEGORY, p, 64);
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(l.count, 0);
    assert_int_equal(tsdb_mem_used(CATEGORY), used);
    /* A full list that can make room does so. */
    for (size_t i = 0; i < 64; i++) {
        tsdb_epoch_retire(e, &l, CATEGORY, piece(8), 8);
    }
    p = piece(8);
    tsdb_alloc_fail_nth(1, 1);
    tsdb_epoch_retire(e, &l, CATEGORY, p, 8);
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(l.count, 1);
    tsdb_epoch_limbo_deinit(&l);
    assert_int_equal(tsdb_mem_used(CATEGORY), used);
    tsdb_epoch_destroy(e);
}

static void epoch_create__no_memory__nomem_and_no_leak(void **state)
{
    (void)state;
    uint64_t used = tsdb_mem_used(CATEGORY);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        struct tsdb_epoch *e = NULL;
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = tsdb_epoch_create(4, &e);
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, TSDB_NOMEM);
        assert_null(e);
        assert_int_equal(tsdb_mem_used(CATEGORY), used);
    }
}

/* ---- stress: two writers swap pieces, readers verify them ---- */

#define CELLS        8
#define WORDS        16
#define WRITERS      2
#define READERS      3
#define SWAPS        20000 /* at least, per writer */
#define ROUNDS       2000  /* at least, per reader */
#define READERS_ROOM 2     /* fewer slots than readers: some wait for a slot */

struct box {
    uint64_t words[WORDS]; /* all equal */
};
struct stress {
    struct tsdb_epoch *epoch;
    _Atomic(struct box *) cells[WRITERS][CELLS]; /* a row belongs to one writer */
    _Atomic(int) stop;
    _Atomic(int) readers_busy; /* have not done their rounds yet: writers go on as long */
};
struct worker {
    pthread_t thread;
    struct stress *stress;
    unsigned id;
    uint64_t wrong;
    uint64_t freed_bytes;
    uint64_t rounds;
};

static struct box *box_make(uint64_t value)
{
    struct box *b = tsdb_mem_alloc(CATEGORY, sizeof *b);
    for (size_t i = 0; b && i < WORDS; i++) {
        b->words[i] = value;
    }
    return b;
}

static void *write_boxes(void *arg)
{
    struct worker *w = arg;
    struct tsdb_epoch_limbo l;
    tsdb_epoch_limbo_init(&l);
    for (uint64_t i = 1; i <= SWAPS || atomic_load(&w->stress->readers_busy) > 0; i++) {
        _Atomic(struct box *) *cell = &w->stress->cells[w->id][i % CELLS];
        struct box *fresh = box_make(i);
        if (!fresh) {
            w->wrong++;
            break;
        }
        /* Only this thread writes the cell; release: partner is the readers' acquire. */
        struct box *old = atomic_load_explicit(cell, memory_order_relaxed);
        atomic_store_explicit(cell, fresh, memory_order_release);
        tsdb_epoch_retire(w->stress->epoch, &l, CATEGORY, old, sizeof *old);
        w->rounds++;
        if (i % 16 == 0) {
            w->freed_bytes += tsdb_epoch_reclaim(w->stress->epoch, &l);
        }
    }
    while (l.count > 0) {
        w->freed_bytes += tsdb_epoch_reclaim(w->stress->epoch, &l);
        sched_yield();
    }
    tsdb_epoch_limbo_deinit(&l);
    return NULL;
}

static uint64_t verify_box(const struct box *b)
{
    uint64_t wrong = 0;
    for (size_t i = 1; i < WORDS; i++) {
        wrong += b->words[i] != b->words[0];
    }
    return wrong;
}

static void *read_boxes(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&w->stress->stop)) {
        struct tsdb_epoch_guard g;
        const struct box *held[WRITERS * CELLS];
        size_t count = 0;
        tsdb_epoch_enter(w->stress->epoch, &g);
        for (size_t i = 0; i < WRITERS; i++) {
            for (size_t j = 0; j < CELLS; j++) {
                held[count++] = atomic_load_explicit(&w->stress->cells[i][j], memory_order_acquire);
            }
        }
        uint64_t first = held[0]->words[0];
        if (w->rounds % 8 == 0) {
            sched_yield(); /* hold on while writers go on */
        }
        for (size_t i = 0; i < count; i++) {
            w->wrong += verify_box(held[i]);
        }
        w->wrong += held[0]->words[0] != first; /* the box is still the one that it was */
        tsdb_epoch_exit(w->stress->epoch, &g);
        if (++w->rounds == ROUNDS) {
            atomic_fetch_sub(&w->stress->readers_busy, 1);
        }
    }
    return NULL;
}

static void epoch__writers_swap_readers_verify__nothing_freed_early(void **state)
{
    (void)state;
    static struct stress stress;
    struct worker writers[WRITERS] = {0};
    struct worker readers[READERS] = {0};
    uint64_t used = tsdb_mem_used(CATEGORY);
    assert_ok(tsdb_epoch_create(READERS_ROOM, &stress.epoch));
    for (size_t i = 0; i < WRITERS * CELLS; i++) {
        atomic_init(&stress.cells[i / CELLS][i % CELLS], box_make(0));
    }
    atomic_init(&stress.readers_busy, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct worker){.stress = &stress, .id = i};
        assert_ok(tsdb_thread_start(&readers[i].thread, "reader", read_boxes, &readers[i], NULL));
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct worker){.stress = &stress, .id = i};
        assert_ok(tsdb_thread_start(&writers[i].thread, "writer", write_boxes, &writers[i], NULL));
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    atomic_store(&stress.stop, 1);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].wrong, 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(writers[i].wrong, 0);
        /* Everything retired was freed, each once. */
        assert_int_equal(writers[i].freed_bytes, writers[i].rounds * sizeof(struct box));
    }
    for (size_t i = 0; i < WRITERS * CELLS; i++) {
        tsdb_mem_free(CATEGORY, atomic_load(&stress.cells[i / CELLS][i % CELLS]),
                      sizeof(struct box));
    }
    tsdb_epoch_destroy(stress.epoch);
    assert_int_equal(tsdb_mem_used(CATEGORY), used);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(epoch_reclaim__no_guard__frees_at_once),
    cmocka_unit_test(epoch_reclaim__list_grown_by_a_burst__goes_when_it_is_empty),
    cmocka_unit_test(epoch_reclaim__older_guard_open__keeps_until_exit),
    cmocka_unit_test(epoch_reclaim__guard_opened_after_retiring__pieces_before_it_go),
    cmocka_unit_test(epoch_retire__list_cannot_grow__frees_the_piece_itself),
    cmocka_unit_test(epoch_create__no_memory__nomem_and_no_leak),
    cmocka_unit_test(epoch__writers_swap_readers_verify__nothing_freed_early),
};

TEST_MAIN(tests)
