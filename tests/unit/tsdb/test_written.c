/* How far back writes reach: beside a list of all of them; asked while they are noted. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/engine/written.h"

#include <stdlib.h>

#define BATCHES 4000

static int64_t least_of(const int64_t *times, uint32_t count, uint32_t since)
{
    int64_t least = INT64_MAX;
    for (uint32_t i = since; i < count; i++) {
        least = TSDB_MIN(least, times[i]);
    }
    return least;
}

static void written_least_since__nothing_noted__no_time(void **state)
{
    (void)state;
    static struct written w;
    assert_true(written_least_since(&w, 0) == INT64_MAX);
    written_note(&w, 5000);
    assert_true(written_least_since(&w, 1) == INT64_MAX);
    assert_true(written_least_since(&w, 0) == 5000);
}

static void written_least_since__ends_of_time__rounded_down(void **state)
{
    (void)state;
    static struct written w;
    written_note(&w, INT64_MAX - 1);
    assert_true(written_least_since(&w, 0) <= INT64_MAX - 1);
    written_note(&w, -1);
    assert_true(written_least_since(&w, 0) == -1000);
    assert_true(written_least_since(&w, 1) == -1000);
    written_note(&w, INT64_MIN);
    assert_true(written_least_since(&w, 2) == INT64_MIN);
    assert_true(written_least_since(&w, 3) == INT64_MAX);
}

/* late: one batch in so many reaches back. */
static void beside_list(uint64_t seed, uint32_t late)
{
    struct written *w = calloc(1, sizeof *w);
    int64_t *times = calloc(BATCHES, sizeof *times);
    struct tsdb_prng p;
    assert_non_null(w);
    assert_non_null(times);
    tsdb_prng_init(&p, seed);
    int64_t now = (int64_t)tsdb_prng_below(&p, 1000000);
    for (uint32_t n = 0; n < BATCHES; n++) {
        now += (int64_t)tsdb_prng_below(&p, 900);
        bool is_late = late > 0 && tsdb_prng_below(&p, late) == 0;
        times[n] = now - (int64_t)tsdb_prng_below(&p, is_late ? 1000000 : 3000);
        written_note(w, times[n]);
        assert_true(written_number(w) == n + 1);
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t since = (uint32_t)tsdb_prng_below(&p, n + 2);
            int64_t want = least_of(times, n + 1, since);
            int64_t have = written_least_since(w, since);
            assert_true(have <= want);
            assert_true((have == INT64_MAX) == (want == INT64_MAX));
        }
        /* What is recent is told to the second. */
        uint32_t since = n > 20 ? n - 20 : 0;
        assert_true(written_least_since(w, since) > least_of(times, n + 1, since) - 1000);
    }
    free(times);
    free(w);
}

static void written_least_since__beside_all_batches__never_later(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        beside_list(seed, (uint32_t)(seed % 4) * 50);
    }
}

/* An hour of batches in order: an answer about half an hour ago may be off, by less than half of that. */
static void written_least_since__an_hour_in_order__coarser_the_older(void **state)
{
    (void)state;
    static struct written w;
    for (int64_t s = 1; s <= 3600; s++) {
        written_note(&w, s * 1000);
    }
    for (uint64_t ago = 1; ago < 3600; ago += 7) {
        int64_t least = written_least_since(&w, 3600 - ago);
        int64_t want = (int64_t)(3600 - ago + 1) * 1000;
        assert_true(least <= want);
        assert_true(least >= want - 1000 - (int64_t)ago * 500);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(written_least_since__nothing_noted__no_time),
    cmocka_unit_test(written_least_since__ends_of_time__rounded_down),
    cmocka_unit_test(written_least_since__beside_all_batches__never_later),
    cmocka_unit_test(written_least_since__an_hour_in_order__coarser_the_older),
};

TEST_MAIN(tests)
