/* Invariants checked: a postings list is the array of what was appended, whatever its form; set
 * operations agree with naive ones. */
#include "tests/unit/index/owner_rig.h"

#include "base/limits.h"
#include "base/random.h"
#include "index/postings/postings.h"

#include <stdlib.h>

struct list {
    struct owner_rig *rig;
    struct index_pages blocks;
    struct index_postings p;
};

static void list_init(struct list *l, struct owner_rig *r)
{
    memset(l, 0, sizeof *l);
    l->rig = r;
    index_pages_init(&l->blocks, &r->owner, UINT32_MAX, false);
}

static void list_deinit(struct list *l)
{
    index_pages_deinit(&l->blocks);
    (void)tsdb_epoch_reclaim(l->rig->epoch, &l->rig->limbo);
}

static void list_add(struct list *l, uint32_t id)
{
    assert_ok(index_postings_reserve(&l->p, &l->blocks, id));
    index_postings_append(&l->p, &l->blocks, id);
}

static void is_prefix(const struct list *l, const uint32_t *ids, uint32_t count, uint32_t bound)
{
    static uint32_t back[1024];
    uint32_t expected = 0;
    while (expected < count && ids[expected] < bound) {
        expected++;
    }
    assert_in_range(expected, 0, TSDB_ARRAY_LEN(back));
    assert_int_equal(index_postings_count(&l->p, &l->blocks, bound), expected);
    assert_int_equal(index_postings_copy(&l->p, &l->blocks, bound, back), expected);
    assert_memory_equal(back, ids, expected * sizeof *ids);
    assert_int_equal(index_postings_any(&l->p, &l->blocks, bound), expected > 0);
}

static void postings_append__random_gaps_and_runs__reads_back_every_prefix(void **state)
{
    struct tsdb_prng prng;
    uint32_t ids[400];
    tsdb_prng_init(&prng, 11);
    /* Around what one and two words hold, and beyond. */
    static const uint32_t gaps[] = {1, 2, 50, 16383, 16385, 32767, 32769, 100000};
    for (int round = 0; round < 200; round++) {
        struct list l;
        list_init(&l, *state);
        uint64_t gap_max = gaps[tsdb_prng_below(&prng, TSDB_ARRAY_LEN(gaps))];
        uint64_t run_max = 1 + tsdb_prng_below(&prng, 20);
        uint32_t id = (uint32_t)tsdb_prng_below(&prng, 1000);
        uint32_t n = (uint32_t)tsdb_prng_below(&prng, round % 2 ? 8 : TSDB_ARRAY_LEN(ids));
        for (uint32_t i = 0; i < n; i++) {
            ids[i] = id;
            assert_ok(index_postings_reserve(&l.p, &l.blocks, id));
            is_prefix(&l, ids, i, UINT32_MAX); /* reserving adds nothing */
            index_postings_append(&l.p, &l.blocks, id);
            is_prefix(&l, ids, i + 1, UINT32_MAX);
            id +=
                tsdb_prng_below(&prng, run_max) ? 1 : 1 + (uint32_t)tsdb_prng_below(&prng, gap_max);
        }
        for (int i = 0; i < 20; i++) {
            is_prefix(&l, ids, n, (uint32_t)tsdb_prng_below(&prng, id + 2));
        }
        list_deinit(&l);
    }
}

static void postings_append__largest_ids__stay_exact(void **state)
{
    uint32_t max = TSDB_SERIES_LOCAL_MAX - 1;
    uint32_t ids[] = {0, 1, max - 2048 * 3, max - 2048 * 2, max - 2049, max - 1, max};
    for (uint32_t from = 0; from < TSDB_ARRAY_LEN(ids); from++) {
        struct list l;
        list_init(&l, *state);
        for (uint32_t i = from; i < TSDB_ARRAY_LEN(ids); i++) {
            list_add(&l, ids[i]);
            is_prefix(&l, ids + from, i - from + 1, UINT32_MAX);
            is_prefix(&l, ids + from, i - from + 1, ids[i]);
        }
        list_deinit(&l);
    }
}

static void postings_append__one_run__needs_no_block(void **state)
{
    struct list l;
    list_init(&l, *state);
    for (uint32_t i = 0; i < 100000; i++) {
        list_add(&l, 77 + i);
    }
    assert_int_equal(l.rig->used, tsdb_mem_used(TSDB_MEM_INDEX));
    assert_int_equal(index_postings_count(&l.p, &l.blocks, UINT32_MAX), 100000);
    list_deinit(&l);
}

static void postings_reserve__allocation_fails__list_is_as_before(void **state)
{
    struct list l;
    static uint32_t ids[1000];
    int failures = 0;
    list_init(&l, *state);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(ids); i++) {
        ids[i] = i * 300;
        enum tsdb_status status = TSDB_NOMEM;
        for (uint64_t nth = 1; status != TSDB_OK; nth++) {
            tsdb_alloc_fail_nth(nth, 0);
            status = index_postings_reserve(&l.p, &l.blocks, ids[i]);
            tsdb_alloc_ops_set(NULL);
            failures += status != TSDB_OK;
            assert_true(status == TSDB_OK || status == TSDB_NOMEM);
            is_prefix(&l, ids, i, UINT32_MAX);
        }
        index_postings_append(&l.p, &l.blocks, ids[i]);
    }
    assert_in_range(failures, 2, 40);
    is_prefix(&l, ids, TSDB_ARRAY_LEN(ids), UINT32_MAX);
    list_deinit(&l);
}

/* A reservation that came to nothing: the id that is appended is a later one. */
static void postings_append__after_other_reserve__is_what_was_appended(void **state)
{
    struct list l;
    uint32_t ids[300];
    list_init(&l, *state);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(ids); i++) {
        ids[i] = i * 9 + (i % 3 == 0);
        assert_ok(index_postings_reserve(&l.p, &l.blocks, i * 9));
        list_add(&l, ids[i]);
    }
    is_prefix(&l, ids, TSDB_ARRAY_LEN(ids), UINT32_MAX);
    list_deinit(&l);
}

/* What a reader that began earlier finds: the runs that were there, whatever has come since. */
static void runs_next__list_grows_meanwhile__is_what_was_there(void **state)
{
    struct list l;
    list_init(&l, *state);
    for (uint32_t had = 1; had < 200; had += 3) {
        struct index_runs r;
        struct index_run run;
        uint32_t n = 0;
        list_deinit(&l);
        list_init(&l, *state);
        for (uint32_t i = 0; i < had; i++) {
            list_add(&l, i * 2);
        }
        index_runs_begin(&r, &l.p, &l.blocks, UINT32_MAX);
        for (uint32_t i = had; i < had + 400; i++) {
            list_add(&l, i * 2);
        }
        for (; index_runs_next(&r, &run); n++) {
            assert_int_equal(run.first, n * 2);
            assert_int_equal(run.count, 1);
        }
        assert_int_equal(n, had);
        assert_false(index_runs_next(&r, &run));
    }
    list_deinit(&l);
}

static void runs_begin_newest__many_blocks__reads_the_end(void **state)
{
    struct list l;
    struct index_runs r;
    struct index_run run = {0, 0};
    uint32_t n = 0;
    list_init(&l, *state);
    for (uint32_t i = 0; i < 3000; i++) {
        list_add(&l, i * 2);
    }
    index_runs_begin_newest(&r, &l.p, &l.blocks, UINT32_MAX);
    for (uint32_t expected = 0; index_runs_next(&r, &run); n++) {
        expected = n == 0 ? run.first : expected + 2;
        assert_int_equal(run.first, expected);
    }
    assert_int_equal(run.first, 2999 * 2);
    assert_in_range(n, 2, 256);
    list_deinit(&l);
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

static void postings_filter_and_mark__random_lists__agree_with_naive(void **state)
{
    static struct set a;
    static struct set b;
    static uint32_t out[UNIVERSE];
    static bool want[UNIVERSE];
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 21);
    for (int round = 0; round < 1000; round++) {
        struct list l;
        uint64_t bits[(UNIVERSE + 63) / 64] = {0};
        uint32_t bound = round % 3 == 0 ? UNIVERSE : 1 + (uint32_t)tsdb_prng_below(&prng, UNIVERSE);
        list_init(&l, *state);
        set_random(&prng, &a);
        set_random(&prng, &b);
        for (uint32_t i = 0; i < b.count; i++) {
            list_add(&l, b.ids[i]);
        }
        uint32_t count = index_ids_seek(a.ids, a.count, 0, bound);
        for (int keep = 0; keep < 2; keep++) {
            for (uint32_t i = 0; i < UNIVERSE; i++) {
                want[i] = i < bound && a.has[i] && b.has[i] == (bool)keep;
            }
            memcpy(out, a.ids, sizeof out);
            set_is(out, index_postings_filter(&l.p, &l.blocks, bound, keep, out, count), want);
        }
        for (uint32_t i = 0; i < UNIVERSE; i++) {
            want[i] = i < bound && b.has[i];
        }
        index_postings_mark(&l.p, &l.blocks, bound, bits);
        set_is(out, index_bits_extract(bits, bound, true, out), want);
        list_deinit(&l);
    }
}

static const struct CMUnitTest tests[] = {
    OWNER_TEST(postings_append__random_gaps_and_runs__reads_back_every_prefix),
    OWNER_TEST(postings_append__largest_ids__stay_exact),
    OWNER_TEST(postings_append__one_run__needs_no_block),
    OWNER_TEST(postings_append__after_other_reserve__is_what_was_appended),
    OWNER_TEST(postings_reserve__allocation_fails__list_is_as_before),
    OWNER_TEST(runs_next__list_grows_meanwhile__is_what_was_there),
    OWNER_TEST(runs_begin_newest__many_blocks__reads_the_end),
    OWNER_TEST(postings_filter_and_mark__random_lists__agree_with_naive),
    cmocka_unit_test(ids_seek__every_start_and_target__is_first_not_less),
    cmocka_unit_test(bits__union_of_random_sets__extracts_and_filters),
};
TEST_MAIN(tests)
