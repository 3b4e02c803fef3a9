#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/engine/alias.h"

#include <pthread.h>
#include <stdlib.h>

#define HASH_SECRET UINT64_C(0x9e3779b97f4a7c15)

/* Well spread, except that the high bits of lo, which choose the place, are the same for eight in
 * turn, so that probing is exercised. */
static struct tsdb_hash128 hash_of(uint64_t i)
{
    uint64_t x = (i + 1) * HASH_SECRET;
    uint64_t meet = (i / 8 + 1) * HASH_SECRET;
    return (struct tsdb_hash128){.lo = (meet & ~(uint64_t)UINT32_MAX) | (i & UINT32_MAX),
                                 .hi = (x << 16 | x >> 48) ^ (i << 40)};
}

struct fixture {
    struct tsdb_epoch *epoch;
    struct alias_table *table;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_ok(tsdb_epoch_create(16, &f->epoch));
    assert_ok(alias_table_create(f->epoch, 1u << 20, &f->table));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    alias_table_destroy(f->table);
    tsdb_epoch_destroy(f->epoch);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_ALIAS), 0);
    free(f);
    return 0;
}

static struct tsdb_alias_hit find(struct fixture *f, struct tsdb_hash128 h)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(f->epoch, &guard);
    alias_prefetch(f->table, h);
    struct tsdb_alias_hit hit = alias_find(f->table, h);
    tsdb_epoch_exit(f->epoch, &guard);
    return hit;
}

static void alias_find__growing_table__finds_each_and_no_other(void **state)
{
    struct fixture *f = *state;
    const uint32_t n = 100000;
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(find(f, hash_of(i)).ref, TSDB_SERIES_NEW);
        alias_put(f->table, hash_of(i), i, i % ALIAS_GENERATION_MAX);
    }
    assert_int_equal(alias_count(f->table), n);
    for (uint32_t i = 0; i < n; i++) {
        struct tsdb_alias_hit hit = find(f, hash_of(i));
        assert_int_equal(hit.ref, i);
        assert_int_equal(hit.generation, i % ALIAS_GENERATION_MAX);
        assert_int_equal(find(f, hash_of(i + n)).ref, TSDB_SERIES_NEW);
    }
}

static void alias_put__known_hash__is_overwritten_in_place(void **state)
{
    struct fixture *f = *state;
    struct tsdb_hash128 h = {.lo = 5, .hi = 9};
    alias_put(f->table, h, 17, 0);
    alias_put(f->table, h, 18, 4);
    assert_int_equal(alias_count(f->table), 1);
    assert_int_equal(find(f, h).ref, 18);
    assert_int_equal(find(f, h).generation, 4);
}

static void alias_find__zero_lo__is_an_ordinary_hash(void **state)
{
    struct fixture *f = *state;
    struct tsdb_hash128 zero = {.lo = 0, .hi = 7};
    assert_int_equal(find(f, zero).ref, TSDB_SERIES_NEW);
    alias_put(f->table, zero, 3, 0);
    assert_int_equal(find(f, zero).ref, 3);
    assert_int_equal(find(f, (struct tsdb_hash128){.lo = 0, .hi = 8}).ref, TSDB_SERIES_NEW);
}

static void alias_find__same_lo_other_hi__are_different(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 9; i++) {
        alias_put(f->table, (struct tsdb_hash128){.lo = 1, .hi = i}, i, 0);
    }
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(find(f, (struct tsdb_hash128){.lo = 1, .hi = i}).ref, i);
    }
}

static void alias_put__beyond_the_limit__is_not_entered(void **state)
{
    (void)state;
    struct fixture f;
    assert_ok(tsdb_epoch_create(4, &f.epoch));
    assert_ok(alias_table_create(f.epoch, 10, &f.table));
    for (uint32_t i = 0; i < 20; i++) {
        alias_put(f.table, hash_of(i), i, 0);
    }
    assert_int_equal(alias_count(f.table), 10);
    assert_int_equal(find(&f, hash_of(9)).ref, 9);
    assert_int_equal(find(&f, hash_of(10)).ref, TSDB_SERIES_NEW);
    alias_put(f.table, hash_of(9), 99, 1); /* an overwrite needs no room */
    assert_int_equal(find(&f, hash_of(9)).ref, 99);
    alias_table_destroy(f.table);
    tsdb_epoch_destroy(f.epoch);
}

static void alias_put__no_memory_to_grow__keeps_what_is_there(void **state)
{
    struct fixture *f = *state;
    uint32_t missing = 0;
    tsdb_alloc_fail_nth(1, 1);
    for (uint32_t i = 0; i < 20000; i++) {
        alias_put(f->table, hash_of(i), i, 0);
    }
    tsdb_alloc_ops_set(NULL);
    for (uint32_t i = 0; i < 20000; i++) {
        struct tsdb_alias_hit hit = find(f, hash_of(i));
        missing += hit.ref == TSDB_SERIES_NEW;
        assert_true(hit.ref == TSDB_SERIES_NEW || hit.ref == i);
    }
    assert_true(missing > 0);
    assert_int_equal(alias_count(f->table), 20000 - missing);
    for (uint32_t i = 0; i < 20000; i++) {
        alias_put(f->table, hash_of(i), i, 0);
    }
    assert_int_equal(alias_count(f->table), 20000);
}

static void alias_table_create__nth_allocation_fails__nothing_leaks(void **state)
{
    (void)state;
    struct tsdb_epoch *epoch;
    assert_ok(tsdb_epoch_create(4, &epoch));
    enum tsdb_status status = TSDB_NOMEM;
    for (uint64_t nth = 1; status != TSDB_OK; nth += 37) {
        struct alias_table *t = NULL;
        tsdb_alloc_fail_nth(nth, 0);
        status = alias_table_create(epoch, 100, &t);
        tsdb_alloc_ops_set(NULL);
        if (status == TSDB_OK) {
            alias_table_destroy(t);
        } else {
            assert_int_equal(status, TSDB_NOMEM);
            assert_null(t);
        }
        assert_int_equal(tsdb_mem_used(TSDB_MEM_ALIAS), 0);
    }
    tsdb_epoch_destroy(epoch);
}

/* ---- concurrently ---- */

#define WRITERS         2u
#define READERS         2u
#define PER_WRITER      30000u
#define KNOWN_BY_NOBODY 1000000000u

struct worker {
    struct fixture *f;
    uint32_t index;
    _Atomic(uint32_t) *done; /* how far writer `index` has come */
    _Atomic(uint32_t) *writers_left;
    uint64_t wrong;
};

static void *write_aliases(void *arg)
{
    struct worker *w = arg;
    for (uint32_t i = 0; i < PER_WRITER; i++) {
        uint32_t ref = w->index * PER_WRITER + i;
        alias_put(w->f->table, hash_of(ref), ref, 1);
        atomic_store_explicit(&w->done[w->index], i + 1, memory_order_release);
        if (i % 3 == 0) { /* a newer generation of the same ref */
            alias_put(w->f->table, hash_of(ref), ref, 2);
        }
    }
    atomic_fetch_sub(w->writers_left, 1);
    return NULL;
}

static void *find_aliases(void *arg)
{
    struct worker *w = arg;
    struct tsdb_prng r;
    tsdb_prng_init(&r, w->index + 100);
    while (atomic_load(w->writers_left) > 0) {
        uint32_t writer = (uint32_t)tsdb_prng_below(&r, WRITERS);
        uint32_t done = atomic_load_explicit(&w->done[writer], memory_order_acquire);
        for (uint32_t i = 0; done > 0 && i < 32; i++) {
            uint32_t ref = writer * PER_WRITER + (uint32_t)tsdb_prng_below(&r, done);
            struct tsdb_alias_hit hit = find(w->f, hash_of(ref));
            /* What was put before must be found, with a generation that was put with it. */
            w->wrong += hit.ref != ref || hit.generation < 1 || hit.generation > 2;
        }
        struct tsdb_alias_hit none = find(w->f, hash_of(KNOWN_BY_NOBODY + done));
        w->wrong += none.ref != TSDB_SERIES_NEW;
    }
    return NULL;
}

static void alias_find__while_others_put_and_grow__never_misses(void **state)
{
    struct fixture *f = *state;
    _Atomic(uint32_t) done[WRITERS] = {0};
    _Atomic(uint32_t) writers_left = WRITERS;
    struct worker workers[WRITERS + READERS];
    pthread_t threads[WRITERS + READERS];
    for (uint32_t i = 0; i < WRITERS + READERS; i++) {
        workers[i] = (struct worker){.f = f,
                                     .index = i < WRITERS ? i : i - WRITERS,
                                     .done = done,
                                     .writers_left = &writers_left};
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < WRITERS ? write_aliases : find_aliases, &workers[i]),
                         0);
    }
    for (uint32_t i = 0; i < WRITERS + READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    assert_int_equal(alias_count(f->table), WRITERS * PER_WRITER);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(alias_find__growing_table__finds_each_and_no_other),
    T(alias_put__known_hash__is_overwritten_in_place),
    T(alias_find__zero_lo__is_an_ordinary_hash),
    T(alias_find__same_lo_other_hi__are_different),
    T(alias_put__no_memory_to_grow__keeps_what_is_there),
    T(alias_find__while_others_put_and_grow__never_misses),
    cmocka_unit_test(alias_put__beyond_the_limit__is_not_entered),
    cmocka_unit_test(alias_table_create__nth_allocation_fails__nothing_leaks),
};

TEST_MAIN(tests)
