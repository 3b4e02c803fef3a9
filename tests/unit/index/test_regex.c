#include "tests/support/test.h"

#include "base/arena.h"
#include "base/bytes.h"
#include "index/match/regex.h"

#include <stdlib.h>

static struct index_regex *compiled(const char *pattern)
{
    struct index_regex *re = NULL;
    struct tsdb_error err = {0};
    assert_ok_err(index_regex_compile(pattern, strlen(pattern), &re, &err), &err);
    return re;
}

static bool match(const char *pattern, const char *s, size_t len)
{
    struct index_regex *re = compiled(pattern);
    bool hit = index_regex_match(re, s, len);
    index_regex_destroy(re);
    return hit;
}

static void regex_match__any_pattern__anchors_both_ends(void **state)
{
    (void)state;
    assert_true(match("b", "b", 1));
    assert_false(match("b", "ab", 2));
    assert_false(match("b", "bc", 2));
    assert_true(match("a|ab", "ab", 2)); /* the shorter alternative must not win */
    assert_false(match("a|b", "ab", 2)); /* the anchors hold for both alternatives */
    assert_true(match("^a$", "a", 1));
    assert_false(match("a$", "a\n", 2)); /* '$' is the end of the text, not of a line */
    assert_true(match("", "", 0));
    assert_false(match("", "a", 1));
    assert_true(match("(?i)FOO", "fOo", 3));
}

static void regex_match__dot__matches_newline_and_whole_characters(void **state)
{
    (void)state;
    assert_true(match("a.b", "a\nb", 3));
    assert_true(match(".+", "\n", 1));
    assert_false(match(".+", "", 0));
    assert_true(match(".", "\xc3\xa9", 2));
    assert_false(match("..", "\xc3\xa9", 2));
    assert_true(match("a\\x00b", "a\0b", 3));
    assert_true(match("\\pL+", "\xc3\xa9\xe6\x97\xa5", 5));
}

static void regex_match__nested_repetition__stays_linear(void **state)
{
    (void)state;
    static char s[20000];
    memset(s, 'a', sizeof s);
    assert_false(match("(a*)*b", s, sizeof s));
    assert_false(match("(a|aa)+b", s, sizeof s));
}

static void regex_compile__malformed__says_what_go_says(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *message;
    } rows[] = {
        {"(", "error parsing regexp: missing closing ): `(`"},
        {"a)(b", "error parsing regexp: unexpected ): `a)(b`"},
        {"[a", "error parsing regexp: missing closing ]: `[a`"},
        {"[z-a]", "error parsing regexp: invalid character class range: `z-a`"},
        {"*a", "error parsing regexp: missing argument to repetition operator: `*`"},
        {"a**", "error parsing regexp: invalid nested repetition operator: `**`"},
        {"a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"},
        {"a\\", "error parsing regexp: trailing backslash at end of expression: ``"},
        {"\\8", "error parsing regexp: invalid escape sequence: `\\8`"},
        {"a\\Cb", "error parsing regexp: invalid escape sequence: `\\C`"},
        {"(?<", "error parsing regexp: invalid or unsupported Perl syntax: `(?<`"},
        {"(?<=a)b", "error parsing regexp: invalid named capture: `(?<=a)b`"},
        {"(?P<\xc3\xa9>c)", "error parsing regexp: invalid named capture: `(?P<\xc3\xa9>`"},
        {"\\pX", "error parsing regexp: invalid character class range: `\\pX`"},
        {"[[:foo:]]", "error parsing regexp: invalid character class range: `[:foo:]`"},
        {"x{9876543210}", "error parsing regexp: invalid repeat count: `{9876543210}`"},
        {"(?P<a b>c)", "error parsing regexp: invalid named capture: `(?P<a b>`"},
        {"\xff", NULL},
        {"((((a{100}){100}){100}){100})", NULL},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        struct index_regex *re = NULL;
        struct tsdb_error err = {0};
        const char *p = rows[i].pattern;
        assert_int_equal(index_regex_compile(p, strlen(p), &re, &err), TSDB_INVALID);
        assert_null(re);
        assert_int_equal(err.status, TSDB_INVALID);
        assert_int_equal(strncmp(err.msg, "error parsing regexp: ", 22), 0);
        if (rows[i].message != NULL) {
            assert_string_equal(err.msg, rows[i].message);
        }
        assert_int_equal(index_regex_compile(p, strlen(p), &re, NULL), TSDB_INVALID);
    }
    index_regex_destroy(NULL);
}

static void regex_compile__quoted_byte_escape__is_literal(void **state)
{
    (void)state;
    assert_true(match("\\Q\\C\\E", "\\C", 2));
    assert_true(match("\\\\C", "\\C", 2));
    assert_true(match("\\Qa.b", "a.b", 3));
}

static void regex_compile__failing_allocation__is_nomem(void **state)
{
    (void)state;
    struct index_regex *re = NULL;
    struct tsdb_error err = {0};
    tsdb_alloc_fail_nth(1, 0);
    enum tsdb_status status = index_regex_compile("a.b", 3, &re, &err);
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(status, TSDB_NOMEM);
    assert_null(re);
}

static void expands(const char *pattern, const char *s, const char *replacement,
                    const char *expected)
{
    struct index_regex *re = compiled(pattern);
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_u8(&out, '>');
    bool hit = index_regex_expand(re, s, strlen(s), replacement, strlen(replacement), &out);
    assert_int_equal(hit, expected != NULL);
    assert_false(out.failed);
    tsdb_buf_put_u8(&out, 0);
    if (expected != NULL) {
        assert_string_equal((const char *)out.data, expected);
    } else {
        assert_string_equal((const char *)out.data, ">"); /* untouched */
    }
    tsdb_buf_deinit(&out);
    index_regex_destroy(re);
}

static void regex_expand__references__as_go_expands_them(void **state)
{
    (void)state;
    expands("(.*)-(.*)", "a-b", "$2:$1", ">b:a");
    expands("(.*)-(.*)", "a-b", "${2}x$0", ">bxa-b");
    expands("(.*)", "a", "$1x", ">"); /* the name is "1x" */
    expands("(.*)", "a", "${1}x", ">ax");
    expands("(.*)", "a", "$2", ">");  /* no such group */
    expands("(.*)", "a", "$01", ">"); /* a leading zero makes it a name */
    expands("(.*)", "a", "$00", ">");
    expands("(.*)", "a", "$999999999999999999999", ">");
    expands("(.*)", "a", "$$1 $", ">$1 $");
    expands("(.*)", "a", "$-${1", ">$-${1"); /* malformed: stands for itself */
    expands("(.*)", "a", "${}$", ">${}$");
    expands("(.*)", "a", "$1\xe2\x86\x92", ">a\xe2\x86\x92"); /* an arrow is no letter */
    expands("(.*)", "a", "$1\xc3\xa9", ">");                  /* e acute is one */
    expands("(?P<first>.)(?P<second>.*)", "abc", "${second}$first", ">bca");
    expands("(?P<first>.).*", "abc", "$firs", ">");
    expands("(?<x>.).*", "abc", "${x}!", ">a!");
    expands("(?P<n>a)|(?<n>b)", "b", "$n", ">b"); /* of one name: the first that took part */
    expands("(?P<n>a)(?P<n>b)", "ab", "$n$2", ">ab");
    expands("a", "b", "x", NULL);
    expands("a", "a", "<$0>", "><a>");
    expands("(a)|(b)", "b", "[$1][$2]", ">[][b]"); /* a group that took no part is empty */
    expands("", "", "x", ">x");
}

static void regex_expand__ambiguous_groups__leftmost_first(void **state)
{
    (void)state;
    expands("(a|ab)(c|bcd)(d*)", "abcd", "$1,$2,$3", ">a,bcd,");
    expands("(a*)(a*)", "aaa", "$1,$2", ">aaa,");
    expands("(a*?)(a*)", "aaa", "$1,$2", ">,aaa");
    expands("(.)\\Q.b", "x.b", "$1", ">x"); /* a quotation left open */
    expands("(.)|ab", "ab", "$1", ">");
}

/* Long enough that RE2 uses its general engine instead of the quick ones. */
static void regex_expand__long_text__leftmost_first(void **state)
{
    (void)state;
    static char s[50000];
    memset(s, 'x', sizeof s - 4);
    memcpy(s + sizeof s - 4, "yyy", 4);
    expands("(x*?)(x*)(y|yy)(y*)", s, "[$1][$3][$4]", ">[][y][yy]");
    expands("(x*)(x*?)(yy|y)(y*)", s, "[$2][$3][$4]", ">[][yy][y]");
    expands("(?:x|xx)*?(y+?)(y*)(z)?", s, "[$1][$2][$3]", ">[y][yy][]");
}

static void regex_expand__many_groups__fills_all(void **state)
{
    (void)state;
    char pattern[200] = "";
    for (int i = 0; i < 40; i++) {
        strcat(pattern, "(.)");
    }
    expands(pattern, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN", "$40$1$26$27", ">NazA");
}

/* `count` alternatives, # in them their number. So many that they are made into several automata. */
static char *many_alternatives(const char *before, const char *item, int count)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_str(&b, before);
    for (int i = 0; i < count; i++) {
        tsdb_buf_put_str(&b, i > 0 ? "|" : "");
        for (const char *c = item; *c; c++) {
            if (*c == '#') {
                tsdb_buf_printf(&b, "%d", i);
            } else {
                tsdb_buf_put_u8(&b, (uint8_t)*c);
            }
        }
    }
    char *text = malloc(b.len + 1);
    assert_true(text && !b.failed);
    memcpy(text, b.data, b.len);
    text[b.len] = '\0';
    tsdb_buf_deinit(&b);
    return text;
}

static void regex__many_alternatives__as_one(void **state)
{
    (void)state;
    char *plain = many_alternatives("", "(k#)-(?<v>[a-z]?#)", 500);
    char *folded = many_alternatives("(?i)(?s)a.b|", "k#-.#x", 500);
    assert_true(match(plain, "k0-0", 4));
    assert_true(match(plain, "k64-64", 6));
    assert_true(match(plain, "k499-z499", 9));
    assert_false(match(plain, "k499-z498", 9));
    assert_false(match(plain, "K1-1", 4));
    assert_true(match(folded, "K300-\n300X", 10)); /* the flags hold for all that follows */
    assert_true(match(folded, "A\nB", 3));
    expands(plain, "k0-q0", "$1/$2/$v", ">k0/q0/q0");
    expands(plain, "k300-q300", "[$0][$1][${601}][${602}][$v]", ">[k300-q300][][k300][q300][q300]");
    free(plain);
    free(folded);
}

static void regexes_get__same_expression__compiled_once(void **state)
{
    (void)state;
    struct tsdb_request r;
    tsdb_request_init(&r, &tsdb_clock_real, TSDB_SCOPE_READ);
    struct index_regexes set = {.request = &r};
    struct index_regex *a = NULL;
    struct index_regex *b = NULL;
    struct tsdb_error err = {0};
    assert_ok(index_regexes_get(&set, "a[bc]", 5, &a, &err));
    uint64_t size = r.regex_size;
    assert_true(size > 0);
    assert_ok(index_regexes_get(&set, "a[bc]", 5, &b, &err));
    assert_ptr_equal(a, b);
    assert_int_equal(r.regex_size, size);
    /* the budget is one for all of them */
    r.regex_size_max = size + 1;
    assert_int_equal(index_regexes_get(&set, "(?i)\\pL{10}", 11, &b, &err), TSDB_LIMIT);
    assert_non_null(strstr(err.msg, "--query.max-regex-size"));
    assert_ok(index_regexes_get(&set, "a[bc]", 5, &b, &err));
    tsdb_request_cancel(&r);
    assert_int_equal(index_regexes_get(&set, "x.", 2, &b, &err), TSDB_CANCELLED);
    assert_ok(index_regexes_get(&set, "a[bc]", 5, &b, &err)); /* costs nothing */
    index_regexes_deinit(&set);
}

static void regex_check__no_automaton__knows_about_the_empty_text(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "",         "a",       "a*",        "a+",     "a?",  "(a|)",   "(|a)+",  "a{0}",
        "a{0,2}b*", "a{1,}",   "^$",        "^a*$",   "\\b", "\\B",    "\\A\\z", "(?:a|b)",
        "(a*)(b?)", "(a*)(b)", "[^a]",      ".",      ".*",  "(?i)a",  "a|b|c*", "\\Q\\E",
        "\\Qa\\E",  "()",      "(()|a){3}", "(\\b)*", "$^",  "(?:^)+",
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(patterns); i++) {
        bool empty = false;
        assert_ok(index_regex_check(patterns[i], strlen(patterns[i]), NULL, &empty, NULL));
        if (empty != match(patterns[i], "", 0)) {
            fail_msg("%s: the empty text %s", patterns[i], empty ? "does not match" : "matches");
        }
    }
}

static void regex_check__long_expression__error_is_whole(void **state)
{
    (void)state;
    char pattern[4002];
    struct tsdb_arena arena;
    struct tsdb_error err;
    bool empty;
    memset(pattern, 'x', sizeof pattern);
    pattern[sizeof pattern - 1] = '(';
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 64, NULL);
    assert_int_equal(index_regex_check(pattern, sizeof pattern, &arena, &empty, &err),
                     TSDB_INVALID);
    assert_int_equal(strlen(tsdb_error_text(&err)),
                     strlen("error parsing regexp: missing closing ): ``") + sizeof pattern);
    tsdb_arena_deinit(&arena);
}

/* ((((a)))), (?:(?:a)*)*, with so many levels. */
static enum tsdb_status nested(const char *open, const char *close, int levels, char msg[80])
{
    struct tsdb_buf b;
    struct tsdb_error err = {0};
    bool empty;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    for (int i = 0; i < levels; i++) {
        tsdb_buf_put_str(&b, open);
    }
    tsdb_buf_put_u8(&b, 'a');
    for (int i = 0; i < levels; i++) {
        tsdb_buf_put_str(&b, close);
    }
    assert_false(b.failed);
    enum tsdb_status status = index_regex_check((const char *)b.data, b.len, NULL, &empty, &err);
    memcpy(msg, err.msg, 80);
    tsdb_buf_deinit(&b);
    return status;
}

static void regex_check__nesting__limits_of_go(void **state)
{
    (void)state;
    char msg[80];
    assert_ok(nested("(", ")", 998, msg));
    assert_int_equal(nested("(", ")", 999, msg), TSDB_INVALID); /* with its anchors too high */
    assert_memory_equal(msg, "error parsing regexp: expression nests too deeply: `^(?s:((", 59);
    assert_int_equal(nested("(", ")", 1000, msg), TSDB_INVALID);
    assert_memory_equal(msg, "error parsing regexp: expression nests too deeply: `((", 54);
    assert_ok(nested("(?:", ")", 5000, msg)); /* no level of its own */
    assert_ok(nested("(?:", ")*", 998, msg));
    assert_int_equal(nested("(?:", ")*", 1000, msg), TSDB_INVALID);
    assert_ok(nested("(a", ")", 499, msg));
    assert_int_equal(nested("(a", ")", 501, msg), TSDB_INVALID);
    assert_int_equal(nested("(?:", ")", 200000, msg), TSDB_INVALID); /* ours: it takes memory */
}

/* Names of classes: any spelling, aliases, what RE2 does not have. */
static void regex_match__unicode_classes__as_go_names_them(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *yes, *no;
    } rows[] = {
        {"\\p{Lu}", "A", "a"},
        {"\\P{Lu}", "a", "A"},
        {"\\p{^Lu}", "a", "A"},
        {"\\P{^Lu}", "A", "a"},
        {"\\p{letter}", "a", "5"},
        {"\\p{Uppercase-letter}", "A", "a"},
        {"\\p{greek}", "\xce\xb1", "a"},
        {"\\p{old italic}", "\xf0\x90\x8c\x80", "a"},
        {"\\p{OLD_ITALIC}", "\xf0\x90\x8c\x80", "a"},
        {"[\\p{digit}x]", "5", "y"},
        {"\\p{Any}", "\xcd\xb8", ""},
        {"\\p{ASCII}", "a", "\xc3\xa9"},
        {"[^\\p{ascii}]", "\xc3\xa9", "a"},
        {"[\\P{ascii}]", "\xc3\xa9", "a"},
        {"\\p{Assigned}", "a", "\xcd\xb8"},
        {"[\\p{Assigned}]", "a", "\xcd\xb8"},
        {"\\p{Cn}", "\xcd\xb8", "a"},
        {"\\P{Unassigned}", "a", "\xcd\xb8"},
        {"\\p{LC}", "a", "5"},
        {"[\\p{Cased_Letter}5]", "5", "6"},
        {"\\pC", "\x01", "a"},
        {"\\p{Other}", "\xcd\xb8", "a"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        if (!match(rows[i].pattern, rows[i].yes, strlen(rows[i].yes)) ||
            match(rows[i].pattern, rows[i].no, strlen(rows[i].no))) {
            fail_msg("%s", rows[i].pattern);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(regex__many_alternatives__as_one),
    cmocka_unit_test(regexes_get__same_expression__compiled_once),
    cmocka_unit_test(regex_check__no_automaton__knows_about_the_empty_text),
    cmocka_unit_test(regex_check__long_expression__error_is_whole),
    cmocka_unit_test(regex_check__nesting__limits_of_go),
    cmocka_unit_test(regex_match__unicode_classes__as_go_names_them),
    cmocka_unit_test(regex_match__any_pattern__anchors_both_ends),
    cmocka_unit_test(regex_match__dot__matches_newline_and_whole_characters),
    cmocka_unit_test(regex_match__nested_repetition__stays_linear),
    cmocka_unit_test(regex_compile__malformed__says_what_go_says),
    cmocka_unit_test(regex_compile__quoted_byte_escape__is_literal),
    cmocka_unit_test(regex_compile__failing_allocation__is_nomem),
    cmocka_unit_test(regex_expand__references__as_go_expands_them),
    cmocka_unit_test(regex_expand__ambiguous_groups__leftmost_first),
    cmocka_unit_test(regex_expand__long_text__leftmost_first),
    cmocka_unit_test(regex_expand__many_groups__fills_all),
};
TEST_MAIN(tests)
