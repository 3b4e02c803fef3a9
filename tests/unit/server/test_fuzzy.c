/* The scores of the search API: by hand from their formulas, and the classical examples. */
#include "tests/support/test.h"

#include "server/api/fuzzy.h"

#include <math.h>

static struct tsdb_arena arena;

static struct fuzzy_text text(const char *s, bool fold)
{
    struct fuzzy_text out;
    assert_ok(
        fuzzy_text_make((struct tsdb_slice){(const uint8_t *)s, strlen(s)}, fold, &arena, &out));
    return out;
}

static void expect_near(double got, double want)
{
    if (fabs(got - want) > 1e-9) {
        fail_msg("got %.12g, want %.12g", got, want);
    }
}

static void fuzzy_subsequence__runs_and_gaps__by_the_formula(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        double want;
    } cases[] = {
        {"", "abc", 1},
        {"abc", "abc", 1},
        {"abc", "ab", 0},
        {"abc", "acb", 0},
        {"abd", "abc", 0},
        {"ab", "abc", (4 - 1 / 3.0 / 2) / 4},
        {"ac", "abc", (1 - 1 / 3.0 + 1) / 4},
        {"bc", "abc", (4 - 1 / 3.0) / 4},
        /* the second place to begin is the better one */
        {"ab", "axab", (4 - 2 / 4.0) / 4},
        {"x", "", 0},
        {"\xc3\xa9", "caf\xc3\xa9!", (1 - 3 / 5.0 - 1 / 5.0 / 2) / 1},
    };
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct fuzzy_text p = text(cases[i].pattern, false);
        struct fuzzy_text t = text(cases[i].text, false);
        expect_near(fuzzy_subsequence(&p, &t), cases[i].want);
    }
    struct fuzzy_text p = text("HTTP", true);
    struct fuzzy_text t = text("My_http_x", true);
    assert_true(fuzzy_contains(&p, &t));
    assert_false(fuzzy_is_prefix(&p, &t));
    t = text("hTTp", true);
    assert_true(fuzzy_is_prefix(&p, &t));
    tsdb_arena_deinit(&arena);
}

static void fuzzy_jaro_winkler__known_pairs(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        double want;
    } cases[] = {
        {"martha", "marhta", 0.961111111111},
        {"dixon", "dicksonx", 0.813333333333},
        {"dwayne", "duane", 0.84},
        {"same", "same", 1},
        {"", "", 1},
        {"", "a", 0},
        {"a", "b", 0},
        {"na\xc3\xafve", "naive", 0.893333333333},
    };
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        uint8_t scratch[64];
        struct fuzzy_text a = text(cases[i].a, false);
        struct fuzzy_text b = text(cases[i].b, false);
        expect_near(fuzzy_jaro_winkler(&a, &b, scratch), cases[i].want);
        expect_near(fuzzy_jaro_winkler(&b, &a, scratch), cases[i].want);
    }
    tsdb_arena_deinit(&arena);
}

static void fuzzy_text_make__long_and_broken__bounded(void **state)
{
    (void)state;
    struct fuzzy_text out;
    static uint8_t bytes[3 * FUZZY_RUNES_MAX];
    memset(bytes, 0xe2, sizeof bytes); /* heads without tails */
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(fuzzy_text_make((struct tsdb_slice){bytes, sizeof bytes}, true, &arena, &out));
    assert_int_equal(out.count, FUZZY_RUNES_MAX);
    assert_int_equal(out.runes[0], 0xe2);
    for (size_t len = 0; len < 8; len++) { /* cut anywhere */
        assert_ok(fuzzy_text_make((struct tsdb_slice){bytes, len}, true, &arena, &out));
        assert_int_equal(out.count, len);
    }
    tsdb_arena_deinit(&arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fuzzy_subsequence__runs_and_gaps__by_the_formula),
    cmocka_unit_test(fuzzy_jaro_winkler__known_pairs),
    cmocka_unit_test(fuzzy_text_make__long_and_broken__bounded),
};

TEST_MAIN(tests)
