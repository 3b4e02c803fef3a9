#include "tests/support/test.h"

#include "index/match/regex.h"

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

static const struct CMUnitTest tests[] = {
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
