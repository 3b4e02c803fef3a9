/* Invariants checked: whatever shape a pattern is taken apart into, the matcher agrees with RE2 on
 * every value, and accepts exactly the patterns that RE2 accepts. */
#include "tests/support/test.h"

#include "base/random.h"
#include "index/match/matcher_private.h"
#include "index/match/regex.h"

#include <stdio.h>
#include <stdlib.h>

static struct index_matcher *compiled_bytes(enum tsdb_match_op op, const char *value, size_t len)
{
    struct tsdb_matcher source = {op, "name", value, 4, (uint32_t)len};
    struct index_matcher *m = NULL;
    struct tsdb_error err = {0};
    assert_ok_err(index_matcher_compile(&source, &m, &err), &err);
    assert_ptr_equal(index_matcher_source(m)->value, value);
    assert_int_equal(index_matcher_source(m)->op, op);
    return m;
}

static struct index_matcher *compiled(enum tsdb_match_op op, const char *value)
{
    return compiled_bytes(op, value, strlen(value));
}

static bool matches(enum tsdb_match_op op, const char *pattern, const char *value)
{
    struct index_matcher *m = compiled(op, pattern);
    bool hit = index_matcher_matches(m, value, strlen(value));
    assert_int_equal(index_matcher_matches_empty(m), index_matcher_matches(m, "", 0));
    index_matcher_destroy(m);
    return hit;
}

static void matcher_matches__each_operator__as_prometheus(void **state)
{
    (void)state;
    assert_true(matches(TSDB_MATCH_EQ, "a", "a"));
    assert_false(matches(TSDB_MATCH_EQ, "a", "ab"));
    assert_false(matches(TSDB_MATCH_EQ, "a.*", "ab")); /* no pattern */
    assert_false(matches(TSDB_MATCH_NE, "a", "a"));
    assert_true(matches(TSDB_MATCH_NE, "a", ""));
    assert_true(matches(TSDB_MATCH_RE, "a|b", "b"));
    assert_false(matches(TSDB_MATCH_NRE, "a|b", "b"));
    assert_true(matches(TSDB_MATCH_NRE, "a|b", "c"));
    assert_true(matches(TSDB_MATCH_EQ, "", ""));
    assert_false(matches(TSDB_MATCH_NE, "", ""));
    assert_true(matches(TSDB_MATCH_RE, ".+|^$", ""));
    assert_true(matches(TSDB_MATCH_RE, ".+|^$", "x"));
}

static void pattern_analyse__known_patterns__take_the_expected_shape(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        enum index_pattern_shape shape;
    } rows[] = {
        {"", INDEX_PATTERN_SET},
        {"abc", INDEX_PATTERN_SET},
        {"a|b|c", INDEX_PATTERN_SET},
        {"(a|b|c)", INDEX_PATTERN_SET},
        {"^(?:a|b|c)$", INDEX_PATTERN_SET},
        {"^a$|^b$", INDEX_PATTERN_SET},
        {"foo-(a|b(c|d))-(x|y)", INDEX_PATTERN_SET},
        {"10\\.0\\.0\\.1:9100", INDEX_PATTERN_SET},
        {"a||b", INDEX_PATTERN_SET},
        {"()", INDEX_PATTERN_SET},
        {".*", INDEX_PATTERN_GLOB},
        {".+", INDEX_PATTERN_GLOB},
        {"foo.*", INDEX_PATTERN_GLOB},
        {".*foo", INDEX_PATTERN_GLOB},
        {".*foo.*", INDEX_PATTERN_GLOB},
        {"foo.+bar.*?baz", INDEX_PATTERN_GLOB},
        {"(foo|bar).*", INDEX_PATTERN_GLOB},
        {".+|^$", INDEX_PATTERN_GLOB},
        {"(.*)", INDEX_PATTERN_GLOB},
        {".*.+", INDEX_PATTERN_GLOB},
        {".+.+", INDEX_PATTERN_RE2},
        {"a.c", INDEX_PATTERN_RE2},
        {"[ab]", INDEX_PATTERN_RE2},
        {"(?i)a", INDEX_PATTERN_RE2},
        {"ab*", INDEX_PATTERN_RE2},
        {"(a|b)+", INDEX_PATTERN_RE2},
        {"a{2}", INDEX_PATTERN_RE2},
        {"\\d", INDEX_PATTERN_RE2},
        {"\\Qa.b\\E", INDEX_PATTERN_RE2},
        {"a^b", INDEX_PATTERN_RE2},
        {"a$b", INDEX_PATTERN_RE2},
        {"(^a)", INDEX_PATTERN_RE2},
        {"b(^a)", INDEX_PATTERN_RE2},
        {"(a$|b)c", INDEX_PATTERN_RE2},
        {"^*a", INDEX_PATTERN_RE2},
        {"a$*", INDEX_PATTERN_RE2},
        {".*?+", INDEX_PATTERN_RE2},
        {"(?P<x>a)", INDEX_PATTERN_RE2},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        struct index_pattern found;
        struct tsdb_arena arena;
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 256, NULL);
        assert_ok(index_pattern_analyse(rows[i].pattern, strlen(rows[i].pattern), &arena, &found));
        if (found.shape != rows[i].shape) {
            fail_msg("%s has shape %d", rows[i].pattern, (int)found.shape);
        }
        tsdb_arena_deinit(&arena);
    }
}

static void sets_to(enum tsdb_match_op op, const char *pattern, const char *expected)
{
    const struct tsdb_slice *values;
    uint32_t count;
    char text[256] = "";
    struct index_matcher *m = compiled(op, pattern);
    assert_true(index_matcher_set(m, &values, &count));
    for (uint32_t i = 0; i < count; i++) {
        size_t at = strlen(text);
        (void)snprintf(text + at, sizeof text - at, "%s%.*s", i ? "," : "", (int)values[i].len,
                       (const char *)values[i].data);
    }
    assert_string_equal(text, expected);
    index_matcher_destroy(m);
}

static void matcher_set__literals__sorted_and_unique(void **state)
{
    (void)state;
    sets_to(TSDB_MATCH_EQ, "x", "x");
    sets_to(TSDB_MATCH_EQ, "a|b", "a|b");
    sets_to(TSDB_MATCH_RE, "c|a|b|a", "a,b,c");
    sets_to(TSDB_MATCH_RE, "x(b|a)y|xay", "xay,xby");
    sets_to(TSDB_MATCH_RE, "a|", ",a");
    sets_to(TSDB_MATCH_RE, "(a|b)(c|d)", "ac,ad,bc,bd");
    sets_to(TSDB_MATCH_RE, "a\\.b\\|c", "a.b|c");
    sets_to(TSDB_MATCH_NE, "a", "a");
    sets_to(TSDB_MATCH_NRE, "b|a", "a,b");
}

static void matcher_set__no_small_set__is_false(void **state)
{
    (void)state;
    static const struct {
        enum tsdb_match_op op;
        const char *value;
    } rows[] = {{TSDB_MATCH_RE, "a.*"},
                {TSDB_MATCH_NRE, "a.*"},
                {TSDB_MATCH_RE, "[ab]"},
                {TSDB_MATCH_NRE, "[ab]"}};
    const struct tsdb_slice *values;
    uint32_t count;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        struct index_matcher *m = compiled(rows[i].op, rows[i].value);
        assert_false(index_matcher_set(m, &values, &count));
        index_matcher_destroy(m);
    }
}

static void matcher_matches_all__only_dot_star(void **state)
{
    (void)state;
    static const struct {
        enum tsdb_match_op op;
        const char *value;
        bool all;
    } rows[] = {{TSDB_MATCH_RE, ".*", true},   {TSDB_MATCH_RE, "a|.*", true},
                {TSDB_MATCH_RE, "(.*)", true}, {TSDB_MATCH_NRE, ".*", false},
                {TSDB_MATCH_RE, ".+", false},  {TSDB_MATCH_RE, ".*a", false},
                {TSDB_MATCH_RE, "a.*", false}, {TSDB_MATCH_EQ, ".*", false},
                {TSDB_MATCH_NE, "", false},    {TSDB_MATCH_RE, ".*a.*", false}};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        struct index_matcher *m = compiled(rows[i].op, rows[i].value);
        assert_int_equal(index_matcher_matches_all(m), rows[i].all);
        index_matcher_destroy(m);
    }
}

static void matcher_compile__malformed__is_invalid(void **state)
{
    (void)state;
    static const char *const patterns[] = {"(",   ")",   "a)",  "(a", "*",    "a|*",    ".**",
                                           "a(?", "(?:", "a\\", "[",  "\xff", "a|\xc3", "x{2,1}"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(patterns); i++) {
        struct tsdb_matcher source = {TSDB_MATCH_RE, "n", patterns[i], 1,
                                      (uint32_t)strlen(patterns[i])};
        struct index_matcher *m = NULL;
        struct tsdb_error err = {0};
        assert_int_equal(index_matcher_compile(&source, &m, &err), TSDB_INVALID);
        assert_null(m);
        assert_non_null(strstr(err.msg, "error parsing regexp: "));
        source.op = TSDB_MATCH_EQ; /* not a pattern there */
        assert_ok(index_matcher_compile(&source, &m, &err));
        index_matcher_destroy(m);
    }
    index_matcher_destroy(NULL);
}

static void matcher_compile__each_allocation_fails__is_nomem_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const patterns[] = {"a|b|(c|d)e", "foo.*|bar.+baz", "a.b"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(patterns); i++) {
        struct tsdb_matcher source = {TSDB_MATCH_RE, "n", patterns[i], 1,
                                      (uint32_t)strlen(patterns[i])};
        uint64_t used = tsdb_mem_used(TSDB_MEM_QUERY);
        enum tsdb_status status = TSDB_NOMEM;
        for (uint64_t nth = 1; status != TSDB_OK; nth++) {
            struct index_matcher *m = NULL;
            tsdb_alloc_fail_nth(nth, 0);
            status = index_matcher_compile(&source, &m, NULL);
            tsdb_alloc_ops_set(NULL);
            assert_true(status == TSDB_OK || (status == TSDB_NOMEM && !m));
            index_matcher_destroy(m);
            assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), used);
            assert_true(nth < 20);
        }
    }
}

/* ---- against RE2 ---- */

struct text {
    char bytes[256];
    size_t len;
};

static void text_put(struct text *t, const char *s)
{
    size_t len = strlen(s);
    assert_true(t->len + len <= sizeof t->bytes);
    memcpy(t->bytes + t->len, s, len);
    t->len += len;
}

static void random_text(struct tsdb_prng *prng, const char *const *tokens, size_t token_count,
                        size_t max, struct text *out)
{
    out->len = 0;
    for (uint64_t n = tsdb_prng_below(prng, max + 1); n > 0; n--) {
        text_put(out, tokens[tsdb_prng_below(prng, token_count)]);
    }
}

static const char *const value_tokens[] = {
    "a", "b", "ab", "A", ".", "-", "\n", "\xc3\xa9", "\xe6\x97\xa5", "|", "\\", "\x7f", " "};

/* Compile both ways and compare on `rounds` values. Returns the shape, or -1 if the pattern is
 * malformed. */
static int differ(struct tsdb_prng *prng, const struct text *pattern, int rounds)
{
    struct index_regex *oracle = NULL;
    struct index_matcher *m = NULL;
    struct tsdb_matcher source = {TSDB_MATCH_RE, "n", pattern->bytes, 1, (uint32_t)pattern->len};
    enum tsdb_status expected = index_regex_compile(pattern->bytes, pattern->len, &oracle, NULL);
    enum tsdb_status status = index_matcher_compile(&source, &m, NULL);
    if (status != expected) {
        fail_msg("pattern '%.*s': %s, RE2 says %s", (int)pattern->len, pattern->bytes,
                 tsdb_status_name(status), tsdb_status_name(expected));
    }
    int shape = m != NULL ? (int)index_matcher_shape(m) : -1;
    for (int i = 0; i < rounds && m != NULL; i++) {
        struct text value = {.len = 0};
        if (i > 0) {
            random_text(prng, value_tokens, TSDB_ARRAY_LEN(value_tokens), 5, &value);
        }
        bool hit = index_matcher_matches(m, value.bytes, value.len);
        if (hit != index_regex_match(oracle, value.bytes, value.len)) {
            fail_msg("pattern '%.*s', value '%.*s': matcher says %d", (int)pattern->len,
                     pattern->bytes, (int)value.len, value.bytes, hit);
        }
    }
    index_matcher_destroy(m);
    index_regex_destroy(oracle);
    return shape;
}

static void matcher_matches__random_patterns__agree_with_re2(void **state)
{
    (void)state;
    static const char *const tokens[] = {
        "a",      "b",   "ab",  "\xc3\xa9", "\xe6\x97\xa5",
        "-",      "\n",  "\\.", "\\|",      "\\-",
        "|",      "|",   "(",   ")",        "(",
        ")",      "(?:", ".*",  ".+",       ".*",
        ".+",     ".*?", ".",   "*",        "+",
        "?",      "^",   "$",   "[ab]",     "(?i)",
        "(?i:a)", "{2}", "{",   "\\",       "\\d",
        "\\n",    "\\Q", "\\E", "(?P<n>a)", " ",
    };
    struct tsdb_prng prng;
    int shapes[4] = {0};
    tsdb_prng_init(&prng, 20240601);
    for (int i = 0; i < 20000; i++) {
        struct text pattern;
        random_text(&prng, tokens, TSDB_ARRAY_LEN(tokens), 7, &pattern);
        shapes[differ(&prng, &pattern, 12) + 1]++;
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(shapes); i++) {
        assert_true(shapes[i] > 500); /* malformed, sets, globs and the rest all had their share */
    }
}

/* A pattern from the grammar of the shortcuts: always well formed. */
static void simple_pattern(struct tsdb_prng *prng, int depth, struct text *out)
{
    static const char *const atoms[] = {"a",  "b",  "ab", "\xc3\xa9", "\\.", "-",
                                        "\n", ".*", ".+", ".*?",      ".+?", "A"};
    for (uint64_t alternatives = 1 + tsdb_prng_below(prng, 3); alternatives > 0; alternatives--) {
        for (uint64_t n = tsdb_prng_below(prng, 4); n > 0; n--) {
            if (depth > 0 && tsdb_prng_below(prng, 4) == 0) {
                text_put(out, tsdb_prng_below(prng, 2) ? "(" : "(?:");
                simple_pattern(prng, depth - 1, out);
                text_put(out, ")");
            } else {
                text_put(out, atoms[tsdb_prng_below(prng, TSDB_ARRAY_LEN(atoms))]);
            }
        }
        if (alternatives > 1) {
            text_put(out, "|");
        }
    }
}

static void matcher_matches__random_shortcuts__agree_with_re2(void **state)
{
    (void)state;
    struct tsdb_prng prng;
    int shapes[4] = {0};
    tsdb_prng_init(&prng, 7);
    for (int i = 0; i < 8000; i++) {
        struct text pattern = {.len = 0};
        simple_pattern(&prng, 2, &pattern);
        shapes[differ(&prng, &pattern, 40) + 1]++;
    }
    assert_int_equal(shapes[0], 0);
    assert_true(shapes[1 + INDEX_PATTERN_SET] > 500);
    assert_true(shapes[1 + INDEX_PATTERN_GLOB] > 2000);
}

static char *repeated(const char *s, size_t times, const char *tail, size_t *out_len)
{
    size_t len = strlen(s);
    char *out = malloc(len * times + strlen(tail) + 1);
    assert_non_null(out);
    for (size_t i = 0; i < times; i++) {
        memcpy(out + i * len, s, len);
    }
    memcpy(out + times * len, tail, strlen(tail) + 1);
    *out_len = len * times + strlen(tail);
    return out;
}

static void matcher_compile__long_patterns__bounded_memory_and_right(void **state)
{
    (void)state;
    size_t len;
    uint64_t used = tsdb_mem_used(TSDB_MEM_QUERY);
    /* As many alternatives as a dashboard variable may list. */
    char *pattern = repeated("target-1|", 20000, "other", &len);
    struct index_matcher *m = compiled_bytes(TSDB_MATCH_RE, pattern, len);
    assert_int_equal(index_matcher_shape(m), INDEX_PATTERN_SET);
    assert_true(index_matcher_matches(m, "other", 5));
    assert_false(index_matcher_matches(m, "target-", 7));
    assert_true(tsdb_mem_used(TSDB_MEM_QUERY) - used < 256 * 20000);
    index_matcher_destroy(m);
    free(pattern);
    /* Products of groups would be quadratic, or exponential. */
    static const char *const hostile[] = {"(a)", "(a|b)", "(a|)"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(hostile); i++) {
        pattern = repeated(hostile[i], 3000, "", &len);
        m = compiled_bytes(TSDB_MATCH_RE, pattern, len);
        assert_int_equal(index_matcher_shape(m), INDEX_PATTERN_RE2);
        assert_true(tsdb_mem_used(TSDB_MEM_QUERY) - used < 1 << 20);
        index_matcher_destroy(m);
        free(pattern);
    }
    /* Deep nesting must not use up the stack: RE2 refuses it, or not, but nobody falls over. */
    pattern = repeated("(", 100000, "", &len);
    struct tsdb_matcher source = {TSDB_MATCH_RE, "n", pattern, 1, (uint32_t)len};
    assert_int_equal(index_matcher_compile(&source, &m, NULL), TSDB_INVALID);
    free(pattern);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), used);
}

/* More globs than are tried without a look at the value's pairs of bytes first. */
static void matcher_matches__many_globs__agree_with_re2(void **state)
{
    (void)state;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 77);
    uint32_t hits = 0;
    for (int round = 0; round < 20; round++) {
        char pattern[4096];
        size_t len = 0;
        for (int i = 0; i < 60; i++) {
            static const char *const forms[] = {"%c%c%c.*", ".*%c%c%c", ".*%c%c%c.*",
                                                ".+%c.*%c%c.+", "%c.*%c.*%c"};
            int c[3];
            for (int k = 0; k < 3; k++) {
                c[k] = 'a' + (int)tsdb_prng_below(&prng, 7);
            }
            size_t form = tsdb_prng_below(&prng, TSDB_ARRAY_LEN(forms));
            if (i > 0) {
                pattern[len++] = '|';
            }
            for (const char *f = forms[form], *end = f + strlen(f); f < end; f++) {
                bool hole = *f == '%';
                pattern[len++] = hole ? (char)c[(f - forms[form]) % 3] : *f;
                f += hole;
            }
        }
        struct index_matcher *m = compiled_bytes(TSDB_MATCH_RE, pattern, len);
        struct index_regex *oracle = NULL;
        assert_int_equal(index_matcher_shape(m), INDEX_PATTERN_GLOB);
        assert_ok(index_regex_compile(pattern, len, &oracle, NULL));
        for (int i = 0; i < 500; i++) {
            char value[8];
            size_t n = tsdb_prng_below(&prng, sizeof value + 1);
            for (size_t k = 0; k < n; k++) {
                value[k] = (char)('a' + tsdb_prng_below(&prng, 9));
            }
            bool hit = index_matcher_matches(m, value, n);
            hits += hit;
            if (hit != index_regex_match(oracle, value, n)) {
                fail_msg("%.*s against %.*s", (int)n, value, (int)len, pattern);
            }
        }
        index_regex_destroy(oracle);
        index_matcher_destroy(m);
    }
    assert_true(hits > 1000 && hits < 9000);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(matcher_matches__many_globs__agree_with_re2),
    cmocka_unit_test(matcher_matches__each_operator__as_prometheus),
    cmocka_unit_test(pattern_analyse__known_patterns__take_the_expected_shape),
    cmocka_unit_test(matcher_set__literals__sorted_and_unique),
    cmocka_unit_test(matcher_set__no_small_set__is_false),
    cmocka_unit_test(matcher_matches_all__only_dot_star),
    cmocka_unit_test(matcher_compile__malformed__is_invalid),
    cmocka_unit_test(matcher_compile__each_allocation_fails__is_nomem_and_leaks_nothing),
    cmocka_unit_test(matcher_matches__random_patterns__agree_with_re2),
    cmocka_unit_test(matcher_matches__random_shortcuts__agree_with_re2),
    cmocka_unit_test(matcher_compile__long_patterns__bounded_memory_and_right),
};
TEST_MAIN(tests)
