/* What of the pieces of a series lies in a range: against a look at every sample. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/chunk/pieces.h"

enum {
    N = 300
};

/* Rising times: at a pace, with gaps, or anywhere between the ends of time. */
static void times_make(struct tsdb_prng *prng, int64_t *t_ms, uint32_t n)
{
    uint64_t kind = tsdb_prng_below(prng, 4);
    uint64_t t = kind == 3 ? (uint64_t)INT64_MIN + 1 : tsdb_prng_below(prng, 100000);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t ahead[4] = {
            1000,
            1000 + tsdb_prng_below(prng, 10),
            tsdb_prng_below(prng, 20) == 0 ? 1000000 : 1 + tsdb_prng_below(prng, 5),
            1 + tsdb_prng_next(prng) / 2 / N,
        };
        t_ms[i] = (int64_t)t;
        t += ahead[kind];
    }
}

/* At a sample, beside one, or anywhere. */
static int64_t time_pick(struct tsdb_prng *prng, const int64_t *t_ms, uint32_t n)
{
    int64_t near = t_ms[tsdb_prng_below(prng, n)];
    const int64_t picks[6] = {near,      near - 1,  near + (near < INT64_MAX),
                              INT64_MIN, INT64_MAX, (int64_t)tsdb_prng_next(prng)};
    return picks[tsdb_prng_below(prng, 6)];
}

static void assert_part(const struct piece_columns *c, const int64_t *t_ms, const uint64_t *value,
                        uint32_t n, struct tsdb_time_range range)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (range.min_ms <= t_ms[i] && t_ms[i] <= range.max_ms) {
            assert_true(at < c->count);
            assert_true(c->t_ms[at] == t_ms[i] && c->value[at] == value[i]);
            at++;
        }
    }
    assert_int_equal(at, c->count);
}

static void pieces__any_times_and_range__as_a_look_at_each(void **state)
{
    static int64_t t_ms[N];
    static uint64_t value[N];
    struct tsdb_arena arena;
    struct tsdb_prng prng;
    (void)state;
    tsdb_prng_init(&prng, 7);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t n = 1 + (uint32_t)tsdb_prng_below(&prng, N);
        times_make(&prng, t_ms, n);
        for (uint32_t i = 0; i < n; i++) {
            value[i] = i;
        }
        struct tsdb_time_range range = {time_pick(&prng, t_ms, n), time_pick(&prng, t_ms, n)};
        uint32_t cut = (uint32_t)tsdb_prng_below(&prng, n);
        struct piece pieces[2] = {
            {.sorted = true, .count = n - cut, .t_ms = t_ms + cut, .value = value + cut},
            {.sorted = true, .count = cut, .t_ms = t_ms, .value = value}};
        struct piece_columns c;
        tsdb_arena_reset(&arena);
        assert_ok(pieces_merge(pieces, cut > 0 ? 2 : 1, range, &arena, &c, NULL));
        assert_part(&c, t_ms, value, n, range);
        assert_true(pieces_take(t_ms, value, n, range, &c));
        assert_part(&c, t_ms, value, n, range);
    }
    tsdb_arena_deinit(&arena);
}

static void pieces_take__times_that_do_not_rise__are_not_taken(void **state)
{
    int64_t t_ms[4] = {1000, 2000, 2000, 3000};
    uint64_t value[4] = {0};
    struct piece_columns c;
    (void)state;
    assert_false(pieces_take(t_ms, value, 4, TSDB_TIME_ALL, &c));
    assert_true(pieces_take(t_ms, value, 2, TSDB_TIME_ALL, &c));
    t_ms[2] = 1500;
    assert_false(pieces_take(t_ms, value, 3, TSDB_TIME_ALL, &c));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(pieces__any_times_and_range__as_a_look_at_each),
    cmocka_unit_test(pieces_take__times_that_do_not_rise__are_not_taken),
};
TEST_MAIN(tests)
