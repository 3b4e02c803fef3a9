/* Invariants checked: a postings list is the array of what was appended, whatever its form; set
 * operations agree with naive ones. */
#include "tests/unit/index/owner_rig.h"

#include "base/limits.h"
#include "base/random.h"
#include "index/postings/postings.h"

#include <stdlib.h>

static void is_prefix(const struct index_postings *p, const uint32_t *ids, uint32_t count,
                      uint32_t bound)
{
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    struct index_postings_view v = index_postings_get(p, bound, scratch);
    uint32_t expected = 0;
    while (expected < count && ids[expected] < bound) {
        expected++;
    }
    assert_int_equal(v.count, expected);
    assert_memory_equal(v.ids, ids, expected * sizeof *ids);
    assert_int_equal(index_postings_any(p, bound), expected > 0);
}

static void postings_append__random_gaps__reads_back_every_prefix(void **state)
{
    struct owner_rig *r = *state;
    struct tsdb_prng prng;
    uint32_t ids[400];
    tsdb_prng_init(&prng, 11);
    /* Around the largest distance that an inline list can hold, and beyond. */
    static const uint32_t gaps[] = {1, 2, 50, 2047, 2048, 2049, 5000, 100000};
    for (int round = 0; round < 200; round++) {
        struct index_postings p = {0};
        uint32_t gap_max = gaps[tsdb_prng_below(&prng, TSDB_ARRAY_LEN(gaps))];
        uint32_t id = (uint32_t)tsdb_prng_below(&prng, 1000);
        uint32_t n = (uint32_t)tsdb_prng_below(&prng, round % 2 ? 8 : TSDB_ARRAY_LEN(ids));
        for (uint32_t i = 0; i < n; i++) {
            ids[i] = id;
            assert_ok(index_postings_reserve(&p, &r->owner, id));
            is_prefix(&p, ids, i, UINT32_MAX); /* reserving adds nothing */
            index_postings_append(&p, id);
            is_prefix(&p, ids, i + 1, UINT32_MAX);
            id += 1 + (uint32_t)tsdb_prng_below(&prng, gap_max);
        }
        for (int i = 0; i < 20; i++) {
            is_prefix(&p, ids, n, (uint32_t)tsdb_prng_below(&prng, id + 2));
        }
        index_postings_deinit(&p, &r->owner);
        (void)tsdb_epoch_reclaim(r->epoch, &r->limbo);
    }
}

static void postings_append__largest_ids__stay_exact(void **state)
{
    struct owner_rig *r = *state;
    struct index_postings p = {0};
    uint32_t max = TSDB_SERIES_LOCAL_MAX - 1;
    uint32_t ids[] = {0, max - 2048 * 3, max - 2048 * 2, max - 2049, max - 1, max};
    for (uint32_t from = 0; from < TSDB_ARRAY_LEN(ids); from++) {
        for (uint32_t i = from; i < TSDB_ARRAY_LEN(ids); i++) {
            assert_ok(index_postings_reserve(&p, &r->owner, ids[i]));
            index_postings_append(&p, ids[i]);
            is_prefix(&p, ids + from, i - from + 1, UINT32_MAX);
            is_prefix(&p, ids + from, i - from + 1, ids[i]);
        }
        index_postings_deinit(&p, &r->owner);
    }
}

static void postings_append__few_near_ids__need_no_block(void **state)
{
    struct owner_rig *r = *state;
    struct index_postings p = {0};
    for (uint32_t i = 0; i < INDEX_POSTINGS_INLINE_MAX; i++) {
        assert_ok(index_postings_reserve(&p, &r->owner, i * 2047));
        index_postings_append(&p, i * 2047);
    }
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX), r->used);
    index_postings_deinit(&p, &r->owner);
}

static void postings_reserve__allocation_fails__list_is_as_before(void **state)
{
    struct owner_rig *r = *state;
    struct index_postings p = {0};
    uint32_t ids[200];
    int failures = 0;
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(ids); i++) {
        ids[i] = i * 3;
        tsdb_alloc_fail_nth(1, 0);
        enum tsdb_status status = index_postings_reserve(&p, &r->owner, ids[i]);
        tsdb_alloc_ops_set(NULL);
        if (status != TSDB_OK) {
            assert_int_equal(status, TSDB_NOMEM);
            failures++;
            is_prefix(&p, ids, i, UINT32_MAX);
            assert_ok(index_postings_reserve(&p, &r->owner, ids[i]));
        }
        index_postings_append(&p, ids[i]);
    }
    assert_in_range(failures, 5, 20);
    is_prefix(&p, ids, TSDB_ARRAY_LEN(ids), UINT32_MAX);
    index_postings_deinit(&p, &r->owner);
}

static void postings_get__view_held_under_guard__survives_growth(void **state)
{
    struct owner_rig *r = *state;
    struct index_postings p = {0};
    struct tsdb_epoch_guard guard;
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    for (uint32_t i = 0; i < 6; i++) {
        assert_ok(index_postings_reserve(&p, &r->owner, i));
        index_postings_append(&p, i);
    }
    tsdb_epoch_enter(r->epoch, &guard);
    struct index_postings_view v = index_postings_get(&p, UINT32_MAX, scratch);
    for (uint32_t i = 6; i < 1000; i++) {
        assert_ok(index_postings_reserve(&p, &r->owner, i));
        index_postings_append(&p, i);
        (void)tsdb_epoch_reclaim(r->epoch, &r->limbo);
    }
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(v.ids[i], i); /* under asan: not freed */
    }
    tsdb_epoch_exit(r->epoch, &guard);
    index_postings_deinit(&p, &r->owner);
}

/* ---- sets ---- */

#define UNIVERSE 600u

struct set {
    uint32_t ids[UNIVERSE];
    uint32_t count;
    bool has[UNIVERSE];
};

static void set_random(struct tsdb_prng *prng, struct set *s)
{
    /* From almost empty to almost full, and in clusters, so that galloping takes long and short
     * steps. */
    uint64_t one_in = 1 + tsdb_prng_below(prng, 40);
    bool clustered = tsdb_prng_below(prng, 2);
    bool on = false;
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < UNIVERSE; i++) {
        on = clustered && tsdb_prng_below(prng, 16) != 0 ? on : tsdb_prng_below(prng, one_in) == 0;
        if (on) {
            s->has[i] = true;
            s->ids[s->count++] = i;
        }
    }
}

static struct index_postings_view view_of(const struct set *s)
{
    return (struct index_postings_view){s->ids, s->count};
}

static void set_is(const uint32_t *ids, uint32_t count, const bool *expected)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < UNIVERSE; i++) {
        if (expected[i]) {
            assert_true(n < count);
            assert_int_equal(ids[n++], i);
        }
    }
    assert_int_equal(count, n);
}

static void ids_operations__random_sets__agree_with_naive(void **state)
{
    (void)state;
    static struct set a;
    static struct set b;
    static uint32_t out[UNIVERSE];
    static bool both[UNIVERSE];
    static bool only_a[UNIVERSE];
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 3);
    for (int round = 0; round < 2000; round++) {
        set_random(&prng, &a);
        set_random(&prng, &b);
        for (uint32_t i = 0; i < UNIVERSE; i++) {
            both[i] = a.has[i] && b.has[i];
            only_a[i] = a.has[i] && !b.has[i];
        }
        set_is(out, index_ids_intersect(view_of(&a), view_of(&b), out), both);
        set_is(out, index_ids_subtract(view_of(&a), view_of(&b), out), only_a);
        memcpy(out, a.ids, sizeof out); /* in place */
        struct index_postings_view own = {out, a.count};
        set_is(out, index_ids_intersect(own, view_of(&b), out), both);
        memcpy(out, a.ids, sizeof out);
        set_is(out, index_ids_subtract(own, view_of(&b), out), only_a);
    }
}

static void ids_seek__every_start_and_target__is_first_not_less(void **state)
{
    (void)state;
    static struct set s;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 5);
    for (int round = 0; round < 30; round++) {
        set_random(&prng, &s);
        for (uint32_t from = 0; from <= s.count; from += 1 + from / 8) {
            for (uint32_t id = 0; id < UNIVERSE + 1; id += 7) {
                uint32_t expected = from;
                while (expected < s.count && s.ids[expected] < id) {
                    expected++;
                }
                assert_int_equal(index_ids_seek(s.ids, s.count, from, id), expected);
            }
        }
    }
}

static void bits__union_of_random_sets__extracts_and_filters(void **state)
{
    (void)state;
    static struct set sets[3];
    static uint32_t out[UNIVERSE];
    static bool any[UNIVERSE];
    static bool none[UNIVERSE];
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 9);
    for (int round = 0; round < 300; round++) {
        uint64_t bits[(UNIVERSE + 63) / 64] = {0};
        uint32_t id_count =
            round % 3 == 0 ? UNIVERSE : 1 + (uint32_t)tsdb_prng_below(&prng, UNIVERSE);
        memset(any, 0, sizeof any);
        for (size_t k = 0; k < TSDB_ARRAY_LEN(sets); k++) {
            set_random(&prng, &sets[k]);
            struct index_postings_view v = view_of(&sets[k]);
            v.count = index_ids_seek(v.ids, v.count, 0, id_count);
            index_bits_add(bits, v);
            for (uint32_t i = 0; i < id_count; i++) {
                any[i] = any[i] || sets[k].has[i];
            }
        }
        for (uint32_t i = 0; i < UNIVERSE; i++) {
            none[i] = i < id_count && !any[i];
        }
        set_is(out, index_bits_extract(bits, id_count, true, out), any);
        set_is(out, index_bits_extract(bits, id_count, false, out), none);
        for (uint32_t i = 0; i < id_count; i++) {
            out[i] = i;
        }
        set_is(out, index_bits_filter(bits, true, out, id_count), any);
    }
    assert_int_equal(index_bits_extract(NULL, 0, false, out), 0);
}

static const struct CMUnitTest tests[] = {
    OWNER_TEST(postings_append__random_gaps__reads_back_every_prefix),
    OWNER_TEST(postings_append__largest_ids__stay_exact),
    OWNER_TEST(postings_append__few_near_ids__need_no_block),
    OWNER_TEST(postings_reserve__allocation_fails__list_is_as_before),
    OWNER_TEST(postings_get__view_held_under_guard__survives_growth),
    cmocka_unit_test(ids_operations__random_sets__agree_with_naive),
    cmocka_unit_test(ids_seek__every_start_and_target__is_first_not_less),
    cmocka_unit_test(bits__union_of_random_sets__extracts_and_filters),
};
TEST_MAIN(tests)
