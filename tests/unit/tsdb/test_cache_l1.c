/* Decoded chunks: copies that stay as they are while pinned, within the bound. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/chunk/cache_l1.h"

#define SAMPLES_MAX 512u
/* What an entry takes beside its samples: not known here, less than this. */
#define OVERHEAD_MAX 256u

struct fixture {
    uint64_t mem_before;
    int64_t t_ms[SAMPLES_MAX], start_ms[SAMPLES_MAX];
    uint64_t value[SAMPLES_MAX];
};

static int setup(void **state)
{
    static struct fixture x;
    x.mem_before = tsdb_mem_used(TSDB_MEM_CACHE);
    *state = &x;
    return 0;
}
static int teardown(void **state)
{
    struct fixture *x = *state;
    tsdb_alloc_ops_set(NULL);
    return tsdb_mem_used(TSDB_MEM_CACHE) == x->mem_before ? 0 : 1;
}

/* The samples that belong under a key: whoever gets others has been given the wrong entry. */
static struct chunk_samples make(struct fixture *x, uint64_t block_id, uint64_t offset,
                                 uint32_t count, bool starts)
{
    for (uint32_t i = 0; i < count; i++) {
        x->t_ms[i] = (int64_t)(block_id * 1000003 + offset * 31 + i);
        x->value[i] = (uint64_t)x->t_ms[i] * UINT64_C(0x9e3779b97f4a7c15);
        x->start_ms[i] = x->t_ms[i] - 7;
    }
    return (struct chunk_samples){.kind = TSDB_SAMPLE_FLOAT,
                                  .count = count,
                                  .t_ms = x->t_ms,
                                  .value = x->value,
                                  .start_ms = starts ? x->start_ms : NULL};
}

static void assert_samples(struct fixture *x, const struct chunk_samples *got, uint64_t block_id,
                           uint64_t offset, uint32_t count, bool starts)
{
    struct chunk_samples want = make(x, block_id, offset, count, starts);
    assert_int_equal(got->kind, TSDB_SAMPLE_FLOAT);
    assert_int_equal(got->count, count);
    assert_ptr_not_equal(got->t_ms, x->t_ms); /* a copy */
    assert_memory_equal(got->t_ms, want.t_ms, count * sizeof *want.t_ms);
    assert_memory_equal(got->value, want.value, count * sizeof *want.value);
    assert_int_equal(got->start_ms != NULL, starts);
    if (starts) {
        assert_memory_equal(got->start_ms, want.start_ms, count * sizeof *want.start_ms);
    }
}

static struct cache_l1 *create(uint64_t bytes)
{
    struct cache_l1 *c;
    assert_ok(cache_l1_create(bytes, &c));
    return c;
}
static struct cache_l1_stats stats(struct cache_l1 *c)
{
    struct cache_l1_stats s;
    cache_l1_stats(c, &s);
    return s;
}

static struct cache_l1_entry *put(struct fixture *x, struct cache_l1 *c, uint64_t block_id,
                                  uint64_t offset, uint32_t count)
{
    const struct chunk_samples *out = NULL;
    struct chunk_samples s = make(x, block_id, offset, count, false);
    struct cache_l1_entry *e = cache_l1_put(c, block_id, offset, &s, &out);
    if (e) {
        assert_samples(x, out, block_id, offset, count, false);
    }
    return e;
}
static bool has(struct fixture *x, struct cache_l1 *c, uint64_t block_id, uint64_t offset,
                uint32_t count)
{
    const struct chunk_samples *out = NULL;
    struct cache_l1_entry *e = cache_l1_get(c, block_id, offset, &out);
    if (e) {
        assert_samples(x, out, block_id, offset, count, false);
        cache_l1_release(c, e);
    }
    return e != NULL;
}

static void cache_l1_get__after_put__the_same_samples(void **state)
{
    struct fixture *x = *state;
    struct cache_l1 *c = create(1 << 20);
    for (int starts = 0; starts < 2; starts++) {
        uint64_t block = 5 + (uint64_t)starts;
        const struct chunk_samples *first = NULL, *second = NULL;
        assert_null(cache_l1_get(c, block, 100, &first));
        struct chunk_samples s = make(x, block, 100, 120, starts);
        struct cache_l1_entry *a = cache_l1_put(c, block, 100, &s, &first);
        struct cache_l1_entry *b = cache_l1_get(c, block, 100, &second);
        assert_non_null(a);
        assert_ptr_equal(a, b);
        assert_ptr_equal(first, second);
        assert_samples(x, first, block, 100, 120, starts);
        assert_null(cache_l1_get(c, block, 101, &second));
        assert_null(cache_l1_get(c, block + 50, 100, &second));
        cache_l1_release(c, a);
        cache_l1_release(c, b);
    }
    cache_l1_release(c, NULL);
    assert_int_equal(stats(c).hits, 2);
    assert_int_equal(stats(c).misses, 6);
    assert_int_equal(stats(c).entries, 2);
    cache_l1_destroy(c);
}

static void cache_l1_put__twice__one_copy(void **state)
{
    struct fixture *x = *state;
    struct cache_l1 *c = create(1 << 20);
    struct cache_l1_entry *a = put(x, c, 1, 2, 10);
    uint64_t used = stats(c).bytes_used;
    struct cache_l1_entry *b = put(x, c, 1, 2, 10);
    assert_non_null(a);
    assert_ptr_equal(a, b);
    assert_int_equal(stats(c).entries, 1);
    assert_int_equal(stats(c).bytes_used, used);
    cache_l1_release(c, a);
    cache_l1_release(c, b);
    cache_l1_destroy(c);
}

static void cache_l1_put__full__evicts_within_the_bound(void **state)
{
    struct fixture *x = *state;
    const uint64_t bytes = 10 * (100 * 16 + OVERHEAD_MAX);
    struct cache_l1 *c = create(bytes);
    uint64_t empty = tsdb_mem_used(TSDB_MEM_CACHE);
    for (uint64_t i = 0; i < 100; i++) {
        cache_l1_release(c, put(x, c, 1, i, 100));
        assert_true(stats(c).bytes_used <= bytes);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_CACHE) - empty, stats(c).bytes_used);
        assert_true(has(x, c, 1, i, 100));
    }
    assert_true(stats(c).entries >= 10);
    assert_int_equal(stats(c).entries + stats(c).evictions, 100);
    assert_int_equal(stats(c).bytes, bytes);
    cache_l1_destroy(c);
}

static void cache_l1_put__scan__what_is_in_use_stays(void **state)
{
    struct fixture *x = *state;
    struct cache_l1 *c = create(6 * (100 * 16 + OVERHEAD_MAX));
    cache_l1_release(c, put(x, c, 9, 9, 100));
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(has(x, c, 9, 9, 100));
        cache_l1_release(c, put(x, c, 1, i, 100));
    }
    cache_l1_destroy(c);
}

static void cache_l1_put__all_pinned__null_and_pins_untouched(void **state)
{
    struct fixture *x = *state;
    struct cache_l1 *c = create(3 * (50 * 16 + OVERHEAD_MAX));
    struct cache_l1_entry *pins[64];
    uint32_t n = 0;
    while (n < 64 && (pins[n] = put(x, c, 1, n, 50)) != NULL) {
        n++;
    }
    assert_true(n >= 3 && n < 64);
    assert_null(put(x, c, 2, 0, 50));
    assert_int_equal(stats(c).evictions, 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(has(x, c, 1, i, 50));
    }
    cache_l1_release(c, pins[1]);
    pins[1] = put(x, c, 2, 0, 50);
    assert_non_null(pins[1]);
    assert_false(has(x, c, 1, 1, 50));
    assert_true(has(x, c, 1, 0, 50));
    for (uint32_t i = 0; i < n; i++) {
        cache_l1_release(c, pins[i]);
    }
    cache_l1_destroy(c);
}

static void cache_l1_put__larger_than_the_cache__null_and_others_stay(void **state)
{
    struct fixture *x = *state;
    struct cache_l1 *c = create(SAMPLES_MAX * 16);
    cache_l1_release(c, put(x, c, 1, 1, 10));
    assert_null(put(x, c, 1, 2, SAMPLES_MAX));
    assert_true(has(x, c, 1, 1, 10));
    cache_l1_destroy(c);
}

static void cache_l1_put__size_zero_or_histograms__never_holds(void **state)
{
    struct fixture *x = *state;
    const struct chunk_samples *out = NULL;
    struct cache_l1 *c = create(0);
    assert_null(put(x, c, 1, 1, 1));
    assert_null(cache_l1_get(c, 1, 1, &out));
    assert_int_equal(stats(c).bytes_used, 0);
    cache_l1_destroy(c);
    c = create(1 << 20);
    struct chunk_samples s = make(x, 1, 1, 1, false);
    s.kind = TSDB_SAMPLE_HISTOGRAM_INT;
    assert_null(cache_l1_put(c, 1, 1, &s, &out));
    assert_int_equal(stats(c).entries, 0);
    cache_l1_destroy(c);
    cache_l1_destroy(NULL);
}

static void cache_l1_create__nth_allocation_fails__no_memory_and_nothing_left(void **state)
{
    struct fixture *x = *state;
    enum tsdb_status status = TSDB_NOMEM;
    uint32_t failures = 0;
    for (uint64_t n = 1; status != TSDB_OK; n++) {
        struct cache_l1 *c = NULL;
        tsdb_alloc_fail_nth(n, 0);
        status = cache_l1_create(2 << 20, &c);
        tsdb_alloc_ops_set(NULL);
        failures += status == TSDB_NOMEM;
        assert_int_equal(!c, status != TSDB_OK);
        cache_l1_destroy(c);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_CACHE), x->mem_before);
    }
    assert_int_equal(failures, 3); /* the cache and two tables */
}

static void cache_l1_put__no_memory__null_and_room_given_back(void **state)
{
    struct fixture *x = *state;
    struct cache_l1 *c = create(1 << 20);
    tsdb_alloc_fail_nth(1, 0);
    assert_null(put(x, c, 1, 1, 10));
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(stats(c).bytes_used, 0);
    struct cache_l1_entry *e = put(x, c, 1, 1, 10);
    assert_non_null(e);
    tsdb_alloc_fail_nth(1, 0); /* a copy that is there needs no second one */
    struct cache_l1_entry *again = put(x, c, 1, 1, 10);
    tsdb_alloc_ops_set(NULL);
    assert_ptr_equal(e, again);
    cache_l1_release(c, e);
    cache_l1_release(c, again);
    cache_l1_destroy(c);
}

/* Several shards, chunks of all sizes, pins held for a while. */
static void cache_l1__random_walk__right_samples_within_the_bound(void **state)
{
    struct fixture *x = *state;
    const uint64_t seed = 77, bytes = 4 << 20;
    struct cache_l1 *c = create(bytes);
    struct {
        struct cache_l1_entry *e;
        const struct chunk_samples *s;
        uint64_t block, offset;
    } held[50] = {{0}};
    struct tsdb_prng p;
    print_message("seed %llu\n", (unsigned long long)seed);
    tsdb_prng_init(&p, seed);
    for (int step = 0; step < 20000; step++) {
        size_t i = tsdb_prng_below(&p, TSDB_ARRAY_LEN(held));
        if (held[i].e) {
            uint32_t count = 1 + (uint32_t)(held[i].offset * 37 % SAMPLES_MAX);
            assert_samples(x, held[i].s, held[i].block, held[i].offset, count, count % 2);
            cache_l1_release(c, held[i].e);
            held[i].e = NULL;
            continue;
        }
        held[i].block = tsdb_prng_below(&p, 8);
        held[i].offset = tsdb_prng_below(&p, 300);
        uint32_t count = 1 + (uint32_t)(held[i].offset * 37 % SAMPLES_MAX);
        held[i].e = cache_l1_get(c, held[i].block, held[i].offset, &held[i].s);
        if (!held[i].e) {
            struct chunk_samples s = make(x, held[i].block, held[i].offset, count, count % 2);
            held[i].e = cache_l1_put(c, held[i].block, held[i].offset, &s, &held[i].s);
        }
        assert_true(stats(c).bytes_used <= bytes);
    }
    assert_true(stats(c).hits > 0 && stats(c).evictions > 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(held); i++) {
        cache_l1_release(c, held[i].e);
    }
    cache_l1_destroy(c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static const struct CMUnitTest tests[] = {
    CASE(cache_l1_get__after_put__the_same_samples),
    CASE(cache_l1_put__twice__one_copy),
    CASE(cache_l1_put__full__evicts_within_the_bound),
    CASE(cache_l1_put__scan__what_is_in_use_stays),
    CASE(cache_l1_put__all_pinned__null_and_pins_untouched),
    CASE(cache_l1_put__larger_than_the_cache__null_and_others_stay),
    CASE(cache_l1_put__size_zero_or_histograms__never_holds),
    CASE(cache_l1_create__nth_allocation_fails__no_memory_and_nothing_left),
    CASE(cache_l1_put__no_memory__null_and_room_given_back),
    CASE(cache_l1__random_walk__right_samples_within_the_bound),
};

TEST_MAIN(tests)
