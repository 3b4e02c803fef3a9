#include "tests/unit/query/rig.h"

#include "query/lang/lexer.h"

#include <stdio.h>
#include <stdlib.h>

/* Types and texts of all tokens as "ident:foo (:( num:5m ...". */
static void lex(const char *text, size_t len, char *out, size_t cap)
{
    struct lexer l;
    struct token t;
    size_t n = 0;
    lexer_init(&l, text, (uint32_t)len);
    do {
        lexer_next(&l, &t);
        n += (size_t)snprintf(out + n, cap - n, "%s%d:%.*s", n > 0 ? " " : "", (int)t.type,
                              (int)t.text.len, t.text.data);
        assert_true(n < cap);
        assert_true(t.pos <= len);
    } while (t.type != TOKEN_EOF && t.type != TOKEN_ERROR);
}

static void expect_types(const char *text, const enum token_type *types, size_t count)
{
    struct lexer l;
    struct token t;
    lexer_init(&l, text, (uint32_t)strlen(text));
    for (size_t i = 0; i < count; i++) {
        lexer_next(&l, &t);
        if (t.type != types[i]) {
            fail_msg("%s: token %zu is %d, expected %d", text, i, (int)t.type, (int)types[i]);
        }
    }
    lexer_next(&l, &t);
    assert_int_equal(t.type, TOKEN_EOF);
}
#define EXPECT(text, ...)                                                                          \
    do {                                                                                           \
        static const enum token_type types_[] = {__VA_ARGS__};                                     \
        expect_types(text, types_, TSDB_ARRAY_LEN(types_));                                        \
    } while (0)

static void lexer_next__every_kind__recognized(void **state)
{
    (void)state;
    EXPECT("foo", TOKEN_IDENTIFIER);
    EXPECT("a:b", TOKEN_METRIC_IDENTIFIER);
    EXPECT(":ab", TOKEN_METRIC_IDENTIFIER);
    EXPECT("inf NaN 1 1.5e-3 0x1F 1_000 .5", TOKEN_NUMBER, TOKEN_NUMBER, TOKEN_NUMBER, TOKEN_NUMBER,
           TOKEN_NUMBER, TOKEN_NUMBER, TOKEN_NUMBER);
    EXPECT("5m 1h30m 100ms", TOKEN_DURATION, TOKEN_DURATION, TOKEN_DURATION);
    EXPECT("\"a\\n\" 'b' `c\\`", TOKEN_STRING, TOKEN_STRING, TOKEN_STRING);
    EXPECT("+ - * / % ^ == != <= < >= > </ >/ @", TOKEN_ADD, TOKEN_SUB, TOKEN_MUL, TOKEN_DIV,
           TOKEN_MOD, TOKEN_POW, TOKEN_EQLC, TOKEN_NEQ, TOKEN_LTE, TOKEN_LSS, TOKEN_GTE, TOKEN_GTR,
           TOKEN_TRIM_UPPER, TOKEN_TRIM_LOWER, TOKEN_AT);
    EXPECT("AND or Unless atan2", TOKEN_LAND, TOKEN_LOR, TOKEN_LUNLESS, TOKEN_ATAN2);
    EXPECT("sum LIMIT_RATIO bool without", TOKEN_SUM, TOKEN_LIMIT_RATIO, TOKEN_BOOL, TOKEN_WITHOUT);
}

static void lexer_next__keyword_inside_braces__is_identifier(void **state)
{
    (void)state;
    EXPECT("x{sum=~\"a\",by!=\"b\"}", TOKEN_IDENTIFIER, TOKEN_LEFT_BRACE, TOKEN_IDENTIFIER,
           TOKEN_EQL_REGEX, TOKEN_STRING, TOKEN_COMMA, TOKEN_IDENTIFIER, TOKEN_NEQ, TOKEN_STRING,
           TOKEN_RIGHT_BRACE);
}

static void lexer_next__fill__is_keyword_only_before_a_parenthesis(void **state)
{
    (void)state;
    EXPECT("fill + fill (1)", TOKEN_IDENTIFIER, TOKEN_ADD, TOKEN_FILL, TOKEN_LEFT_PAREN,
           TOKEN_NUMBER, TOKEN_RIGHT_PAREN);
    EXPECT("fill_left", TOKEN_IDENTIFIER);
}

static void lexer_next__range_and_step__colon_separates(void **state)
{
    (void)state;
    EXPECT("a[5m:1m]", TOKEN_IDENTIFIER, TOKEN_LEFT_BRACKET, TOKEN_DURATION, TOKEN_COLON,
           TOKEN_DURATION, TOKEN_RIGHT_BRACKET);
    EXPECT("a[ step() * 2 : ]", TOKEN_IDENTIFIER, TOKEN_LEFT_BRACKET, TOKEN_STEP, TOKEN_LEFT_PAREN,
           TOKEN_RIGHT_PAREN, TOKEN_MUL, TOKEN_NUMBER, TOKEN_COLON, TOKEN_RIGHT_BRACKET);
}

static void lexer_next__comments__skipped(void **state)
{
    (void)state;
    EXPECT("a # b\n + # c", TOKEN_IDENTIFIER, TOKEN_ADD);
    EXPECT("x{ # in braces }\n a='b' }", TOKEN_IDENTIFIER, TOKEN_LEFT_BRACE, TOKEN_IDENTIFIER,
           TOKEN_EQL, TOKEN_STRING, TOKEN_RIGHT_BRACE);
}

struct bad {
    const char *text;
    size_t len;
    uint32_t pos;
    const char *error;
};
#define BAD(text, pos, error)                                                                      \
    {                                                                                              \
        text, sizeof(text) - 1, pos, error                                                         \
    }

static void lexer_next__bad_input__says_what_and_where(void **state)
{
    (void)state;
    static const struct bad cases[] = {
        BAD("\"abc", 0, "unterminated quoted string"),
        BAD("'a\nb'", 0, "unterminated quoted string"),
        BAD("`abc", 0, "unterminated raw string"),
        BAD("\"\\c\"", 0, "unknown escape sequence U+0063 'c'"),
        BAD("\"\\x.\"", 0, "illegal character U+002E '.' in escape sequence"),
        BAD("\"\\xff", 0, "unterminated quoted string"),
        BAD("\"\\x", 0, "escape sequence not terminated"),
        BAD("\"\\ud800\"", 0, "escape sequence is an invalid Unicode code point"),
        BAD("\"\\U11000000\"", 0, "escape sequence is an invalid Unicode code point"),
        BAD("\"\xff\"", 0, "invalid UTF-8 rune"),
        BAD("1.5.", 0, "bad number or duration syntax: \"1.5.\""),
        BAD("5mm", 0, "bad number or duration syntax: \"5mm\""),
        BAD("1e", 0, "bad number or duration syntax: \"1e\""),
        BAD("a[5m", 4, "unclosed left bracket"),
        BAD("(a", 2, "unclosed left parenthesis"),
        BAD("a)", 2, "unexpected right parenthesis ')'"),
        BAD("a]", 1, "unexpected right bracket ']'"),
        BAD("a[5m[", 4, "unexpected left bracket '['"),
        BAD("a{b", 3, "unexpected end of input inside braces"),
        BAD("a{{", 2, "unexpected left brace '{'"),
        BAD("a{!b", 2, "unexpected character after '!' inside braces: 'b'"),
        BAD("a=~b", 1, "unexpected character after '=': '~'"),
        BAD("a!b", 1, "unexpected character after '!': 'b'"),
        BAD("a[5m::", 5, "unexpected colon ':'"),
        BAD("a[:", 3, "unexpected colon before duration in duration expression"),
        BAD("a[5s x", 5, "unexpected character: 'x', expected ':'"),
        BAD("a[#", 2, "unexpected character in duration expression: '#'"),
        BAD("a \x01", 2, "unexpected character: '\\x01'"),
        BAD("a \xc3\xa4", 2, "unexpected character: '\xc3\xa4'"),
        BAD("a \xff", 2, "unexpected character: '\xef\xbf\xbd'"),
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct lexer l;
        struct token t;
        lexer_init(&l, cases[i].text, (uint32_t)cases[i].len);
        do {
            lexer_next(&l, &t);
        } while (t.type != TOKEN_ERROR && t.type != TOKEN_EOF);
        struct tsdb_buf text;
        tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
        lexer_error_print(&l, &text);
        tsdb_buf_put_u8(&text, 0);
        assert_false(text.failed);
        if (t.type != TOKEN_ERROR || t.pos != cases[i].pos ||
            strcmp((const char *)text.data, cases[i].error) != 0) {
            fail_msg("%s: %u %s, expected %u %s", cases[i].text, t.pos, (const char *)text.data,
                     cases[i].pos, cases[i].error);
        }
        tsdb_buf_deinit(&text);
    }
}

/* Every prefix of a query that uses everything ends in EOF or an error, and reads no byte beyond
 * its end. */
static void lexer_next__every_prefix__ends(void **state)
{
    (void)state;
    static const char text[] =
        "sum by (\"a.b\") (rate(x{a=~'b\\x41',`c`!=\"\\u00e4\"}[1h30m:step()] offset -5m @ 1e3)) > "
        "bool 0x1F # end";
    char out[4096];
    for (size_t len = 0; len < sizeof text; len++) {
        char *copy = malloc(len + 1); /* exact size: a sanitizer sees an over-read */
        assert_non_null(copy);
        memcpy(copy, text, len);
        lex(copy, len, out, sizeof out);
        free(copy);
    }
}

static void token_describe__long_and_short__as_prometheus_says(void **state)
{
    struct rig *r = *state;
    static const struct {
        struct token token;
        const char *text;
    } cases[] = {
        {{TOKEN_EOF, 0, {"", 0}}, "end of input"},
        {{TOKEN_BY, 0, {"BY", 2}}, "<BY>"},
        {{TOKEN_EQLC, 0, {"==", 2}}, "<op:==>"},
        {{TOKEN_SUM, 0, {"sum", 3}}, "<aggr:sum>"},
        {{TOKEN_EQL, 0, {"=", 1}}, "\"=\""},
        {{TOKEN_IDENTIFIER, 0, {"a_rather_long_name", 18}}, "identifier \"a_rather_long_name\""},
        {{TOKEN_STRING, 0, {"\"0123456789\"", 12}}, "string \"\\\"012345678\"..."},
        {{TOKEN_NUMBER, 0, {"12", 2}}, "number \"12\""},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        token_describe(&cases[i].token, &r->out);
        assert_string_equal(rig_text(r), cases[i].text);
    }
}

static void query_quote__escapes__as_go_does(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
        {"\a\b\t\n\v\f\r\x00\x7f", 9, "\"\\a\\b\\t\\n\\v\\f\\r\\x00\\x7f\""},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xff\xc3", 2, "\"\\xff\\xc3\""},
        {"\xc2\xa0\xe2\x80\x8b\xef\xbf\xbd", 8, "\"\\u00a0\\u200b\xef\xbf\xbd\""},
        {"\xf3\xa0\x80\x81", 4, "\"\\U000e0001\""},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        query_quote(&r->out, cases[i].in, cases[i].len, 0);
        assert_string_equal(rig_text(r), cases[i].out);
    }
}

static void query_unquote__all_escapes__decoded(void **state)
{
    struct rig *r = *state;
    static const char text[] = "\"\\a\\n\\\\\\\"\\x41\\101\\u00e4\\U0001f600'\"";
    static const char want[] = "\a\n\\\"AA\xc3\xa4\xf0\x9f\x98\x80'";
    struct query_str s;
    assert_true(query_unquote(&r->arena, text, sizeof text - 1, &s));
    assert_int_equal(s.len, sizeof want - 1);
    assert_memory_equal(s.data, want, s.len);
    assert_true(query_unquote(&r->arena, "`a\\nb`", 6, &s));
    assert_int_equal(s.len, 4);
    assert_memory_equal(s.data, "a\\nb", 4);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(lexer_next__every_kind__recognized),
    cmocka_unit_test(lexer_next__keyword_inside_braces__is_identifier),
    cmocka_unit_test(lexer_next__fill__is_keyword_only_before_a_parenthesis),
    cmocka_unit_test(lexer_next__range_and_step__colon_separates),
    cmocka_unit_test(lexer_next__comments__skipped),
    cmocka_unit_test(lexer_next__bad_input__says_what_and_where),
    cmocka_unit_test(lexer_next__every_prefix__ends),
    RIG_TEST(token_describe__long_and_short__as_prometheus_says),
    RIG_TEST(query_quote__escapes__as_go_does),
    RIG_TEST(query_unquote__all_escapes__decoded),
};

TEST_MAIN(tests)
