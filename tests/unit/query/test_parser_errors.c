/* Queries that must be refused, and with which words: the text and position of the first error are
 * Prometheus's, as its own parser tests (3.14, promql/parser/parse_test.go) state them. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "query/query.h"

#include <stdio.h>
#include <stdlib.h>

struct bad {
    const char *query;
    const char *error; /* position and text, without "parse error: " between them */
};

static const struct bad cases[] = {
    {"", "unknown position: no expression found in input"},
    {"# just a comment\n\n", "1:1: no expression found in input"},
    {"1+", "1:3: unexpected end of input"},
    {".", "1:1: unexpected character: '.'"},
    {"2.5.", "1:1: bad number or duration syntax: \"2.5.\""},
    {"100..4", "1:1: bad number or duration syntax: \"100..\""},
    {"0deadbeef", "1:1: bad number or duration syntax: \"0de\""},
    {"1 /", "1:4: unexpected end of input"},
    {"*1", "1:1: unexpected <op:*>"},
    {"(1))", "1:5: unexpected right parenthesis ')'"},
    {"((1)", "1:5: unclosed left parenthesis"},
    {"(", "1:2: unclosed left parenthesis"},
    {"1 and 1", "1:1: set operator \"and\" not allowed in binary scalar expression"},
    {"1 == 1", "1:3: comparisons between scalars must use BOOL modifier"},
    {"1 or 1", "1:1: set operator \"or\" not allowed in binary scalar expression"},
    {"1 unless 1", "1:1: set operator \"unless\" not allowed in binary scalar expression"},
    {"1 !~ 1", "1:3: unexpected character after '!': '~'"},
    {"1 =~ 1", "1:3: unexpected character after '=': '~'"},
    {"-\"string\"", "1:1: unary expression only allowed on expressions of type scalar or instant "
                    "vector, got \"string\""},
    {"-test[5m]", "1:1: unary expression only allowed on expressions of type scalar or instant "
                  "vector, got \"range vector\""},
    {"*test", "1:1: unexpected <op:*>"},
    {"@@", "1:1: unexpected <op:@>"},
    {"1 offset 1d", "1:1: offset modifier must be preceded by an instant vector selector or range "
                    "vector selector or a subquery"},
    {"foo offset 1s offset 2s", "1:1: offset may not be set multiple times"},
    {"a - on(b) ignoring(c) d", "1:11: unexpected <ignoring>"},
    {"foo and 1", "1:1: set operator \"and\" not allowed in binary scalar expression"},
    {"1 and foo", "1:1: set operator \"and\" not allowed in binary scalar expression"},
    {"foo or 1", "1:1: set operator \"or\" not allowed in binary scalar expression"},
    {"1 or foo", "1:1: set operator \"or\" not allowed in binary scalar expression"},
    {"foo unless 1", "1:1: set operator \"unless\" not allowed in binary scalar expression"},
    {"1 unless foo", "1:1: set operator \"unless\" not allowed in binary scalar expression"},
    {"1 or on(bar) foo", "1:1: vector matching only allowed between instant vectors"},
    {"foo == on(bar) 10", "1:1: vector matching only allowed between instant vectors"},
    {"foo + group_left(baz) bar", "1:7: unexpected <group_left>"},
    {"foo and on(bar) group_left(baz) bar", "1:1: no grouping allowed for \"and\" operation"},
    {"foo and on(bar) group_right(baz) bar", "1:1: no grouping allowed for \"and\" operation"},
    {"foo or on(bar) group_left(baz) bar", "1:1: no grouping allowed for \"or\" operation"},
    {"foo or on(bar) group_right(baz) bar", "1:1: no grouping allowed for \"or\" operation"},
    {"foo unless on(bar) group_left(baz) bar", "1:1: no grouping allowed for \"unless\" operation"},
    {"foo unless on(bar) group_right(baz) bar",
     "1:1: no grouping allowed for \"unless\" operation"},
    {"http_requests{group=\"production\"} + on(instance) group_left(job,instance) "
     "cpu_count{type=\"smp\"}",
     "1:35: label \"instance\" must not occur in ON and GROUP clause at once"},
    {"foo + bool bar", "1:5: bool modifier can only be used on comparison operators"},
    {"foo + bool 10", "1:5: bool modifier can only be used on comparison operators"},
    {"foo and bool 10", "1:5: bool modifier can only be used on comparison operators"},
    {"foo @ +Inf", "1:1: timestamp out of bounds for @ modifier: +Inf"},
    {"foo @ -Inf", "1:1: timestamp out of bounds for @ modifier: -Inf"},
    {"foo @ NaN", "1:1: timestamp out of bounds for @ modifier: NaN"},
    {"{", "1:2: unexpected end of input inside braces"},
    {"}", "1:1: unexpected character: '}'"},
    {"some{", "1:6: unexpected end of input inside braces"},
    {"some}", "1:5: unexpected character: '}'"},
    {"some_metric{a=b}", "1:15: unexpected identifier \"b\" in label matching, expected string"},
    {"some_metric{a:b=\"b\"}", "1:14: unexpected character inside braces: ':'"},
    {"foo{a*\"b\"}", "1:6: unexpected character inside braces: '*'"},
    {"foo{a>=\"b\"}", "1:6: unexpected character inside braces: '>'"},
    {"some_metric{a=\"\377\"}", "1:15: invalid UTF-8 rune"},
    {"foo{gibberish}",
     "1:14: unexpected \"}\" in label matching, expected label matching operator"},
    {"foo{1}", "1:5: unexpected character inside braces: '1'"},
    {"{}", "1:1: vector selector must contain at least one non-empty matcher"},
    {"{x=\"\"}", "1:1: vector selector must contain at least one non-empty matcher"},
    {"{x=~\".*\"}", "1:1: vector selector must contain at least one non-empty matcher"},
    {"{x!~\".+\"}", "1:1: vector selector must contain at least one non-empty matcher"},
    {"{x!=\"a\"}", "1:1: vector selector must contain at least one non-empty matcher"},
    {"foo{__name__=\"bar\"}", "1:1: metric name must not be set twice: \"foo\" or \"bar\""},
    {"foo{__name__= =}", "1:15: unexpected \"=\" in label matching, expected string"},
    {"foo{,}", "1:5: unexpected \",\" in label matching, expected identifier or \"}\""},
    {"foo{__name__ == \"bar\"}", "1:15: unexpected \"=\" in label matching, expected string"},
    {"foo{__name__=\"bar\" lol}",
     "1:20: unexpected identifier \"lol\" in label matching, expected \",\" or \"}\""},
    {"foo{\"a\"=}", "1:9: unexpected \"}\" in label matching, expected string"},
    {"foo[5mm]", "1:5: bad number or duration syntax: \"5mm\""},
    {"foo[5m1]", "1:5: bad number or duration syntax: \"5m1\""},
    {"foo[5m:1m1]", "1:8: bad number or duration syntax: \"1m1\""},
    {"foo[5y1hs]", "1:5: unknown unit \"hs\" in duration \"5y1hs\""},
    {"foo[5m1h]", "1:5: not a valid duration string: \"5m1h\""},
    {"foo[5m1m]", "1:5: not a valid duration string: \"5m1m\""},
    {"foo[0m]", "1:5: duration must be greater than 0"},
    {"foo[\"5m\"]", "1:5: unexpected character in duration expression: '\"'"},
    {"foo[]", "1:5: unexpected \"]\" in subquery or range selector, expected number, duration, "
              "step(), or range()"},
    {"foo[-1]", "1:5: duration must be greater than 0"},
    {"some_metric[5m] OFFSET 1mm", "1:24: bad number or duration syntax: \"1mm\""},
    {"some_metric[5m] OFFSET",
     "1:23: unexpected end of input in offset, expected number, duration, step(), or range()"},
    {"some_metric OFFSET 1m[5m]", "1:22: no offset modifiers allowed before range"},
    {"some_metric[5m] @", "1:18: unexpected end of input in @, expected timestamp"},
    {"some_metric @ 1234 [5m]", "1:20: no @ modifiers allowed before range"},
    {"some_metric @ start() [5m]", "1:23: no @ modifiers allowed before range"},
    {"some_metric @ end()[5m]", "1:20: no @ modifiers allowed before range"},
    {"some_metric offset step()[5m]", "1:26: no offset modifiers allowed before range"},
    {"(foo + bar)[5m]", "1:12: ranges only allowed for vector selectors"},
    {"sum by (\"foo)(some_metric{})", "1:9: unterminated quoted string"},
    {"sum without(==)(some_metric)", "1:13: unexpected <op:==> in grouping opts, expected label"},
    {"sum without(,)(some_metric)", "1:13: unexpected \",\" in grouping opts, expected label"},
    {"sum without(foo,,)(some_metric)", "1:17: unexpected \",\" in grouping opts, expected label"},
    {"sum some_metric by (test)", "1:5: unexpected identifier \"some_metric\""},
    {"sum (some_metric) by test",
     "1:22: unexpected identifier \"test\" in grouping opts, expected \"(\""},
    {"sum () by (test)", "1:1: no arguments for aggregate expression provided"},
    {"MIN keep_common (some_metric)", "1:5: unexpected identifier \"keep_common\""},
    {"MIN (some_metric) keep_common", "1:19: unexpected identifier \"keep_common\""},
    {"sum (some_metric) without (test) by (test)", "1:34: unexpected <by>"},
    {"sum without (test) (some_metric) by (test)", "1:34: unexpected <by>"},
    {"topk(some_metric)",
     "1:1: wrong number of arguments for aggregate expression provided, expected 2, got 1"},
    {"topk(some_metric,)", "1:17: trailing commas not allowed in function call args"},
    {"topk(some_metric, other_metric)",
     "1:6: expected type scalar in aggregation parameter, got instant vector"},
    {"count_values(5, other_metric)",
     "1:14: expected type string in aggregation parameter, got scalar"},
    {"rate(some_metric[5m]) @ 1234", "1:1: @ modifier must be preceded by an instant vector "
                                     "selector or range vector selector or a subquery"},
    {"floor()", "1:1: expected 1 argument(s) in call to \"floor\", got 0"},
    {"floor(some_metric, other_metric)", "1:1: expected 1 argument(s) in call to \"floor\", got 2"},
    {"floor(some_metric, 1)", "1:1: expected 1 argument(s) in call to \"floor\", got 2"},
    {"floor(1)", "1:7: expected type instant vector in call to function \"floor\", got scalar"},
    {"hour(some_metric, some_metric, some_metric)",
     "1:1: expected at most 1 argument(s) in call to \"hour\", got 3"},
    {"time(some_metric)", "1:1: expected 0 argument(s) in call to \"time\", got 1"},
    {"non_existent_function_far_bar()",
     "1:1: unknown function with name \"non_existent_function_far_bar\""},
    {"rate(some_metric)",
     "1:6: expected type range vector in call to function \"rate\", got instant vector"},
    {"label_replace(a, `b`, `c\377`, `d`, `.*`)", "1:23: invalid UTF-8 rune"},
    {"-=", "1:2: unexpected \"=\""},
    {"++-++-+-+-<", "1:11: unexpected <op:<>"},
    {"e-+=/(0)", "1:4: unexpected \"=\""},
    {"a>b()", "1:3: unknown function with name \"b\""},
    {"rate(avg)",
     "1:6: expected type range vector in call to function \"rate\", got instant vector"},
    {"`\\``", "1:4: unterminated raw string"},
    {"\"\\", "1:1: escape sequence not terminated"},
    {"\"\\c\"", "1:1: unknown escape sequence U+0063 'c'"},
    {"\"\\x.\"", "1:1: illegal character U+002E '.' in escape sequence"},
    {"foo{bar=\"baz\"}[", "1:16: unexpected end of input in duration expression"},
    {"test[5d] OFFSET 10s [10m:5s]",
     "1:1: subquery is only allowed on instant vector, got matrix instead"},
    {"(foo + bar{nm=\"val\"})[5m:][10m:5s]",
     "1:1: subquery is only allowed on instant vector, got matrix instead"},
    {"rate(food[1m])[1h] offset 1h", "1:15: ranges only allowed for vector selectors"},
    {"rate(food[1m])[1h] @ 100", "1:15: ranges only allowed for vector selectors"},
    {"info(rate(http_request_counter_total{}[5m]), target_info{foo=\"bar\"})",
     "1:46: expected label selectors only, got vector selector instead"},
    {"info(http_request_counter_total{namespace=\"zzz\"}, {foo=\"bar\"} == 1)",
     "1:51: expected label selectors only"},
    {"foo[step]", "1:9: unexpected \"]\" in subquery or range selector, expected number, duration, "
                  "step(), or range()"},
    {"foo[step()/0d]", "1:11: division by zero"},
    {"foo[5s/0d]", "1:7: division by zero"},
    {"foo offset (4d/0)", "1:15: division by zero"},
    {"foo[5s%0d]", "1:7: modulo by zero"},
    {"foo offset 9.5e10", "1:12: duration out of range"},
    {"foo[9.5e10]", "1:5: duration out of range"},
    {"sum(", "1:5: unclosed left parenthesis"},
    {"sum(rate(", "1:10: unclosed left parenthesis"},
    {"foo[5s x 5s]", "1:8: unexpected character: 'x', expected ':'"},
    {"foo[5s s 5s]", "1:8: unexpected character: 's', expected ':'"},
    {"1[5m] smoothed", "1:2: ranges only allowed for vector selectors"},
    {"1[5m] anchored", "1:2: ranges only allowed for vector selectors"},
    /* Ours: what their table leaves out. */
    {"rate(foo[5m) $", "1:12: unexpected \")\" in subquery or range, expected \":\" or \"]\""},
    {"sum(foo bar)", "1:9: unexpected identifier \"bar\" in aggregation"},
    {"rate(foo bar)", "1:10: unexpected identifier \"bar\""},
    {"foo{a=\"b\" c=\"d\"}",
     "1:11: unexpected identifier \"c\" in label matching, expected \",\" or \"}\""},
    {"foo{a=~\"(\"}", "1:5: error parsing regexp: missing closing ): `(`"},
    {"foo +\n\n  bar)", "3:7: unexpected right parenthesis ')'"},
    {"bad(x) $", "1:1: unknown function with name \"bad\""},
    {"foo offset (5m) + bar", "1:19: unexpected identifier \"bar\" in offset, expected number, "
                              "duration, step(), or range()"},
    {"foo @ start", "1:12: unexpected end of input in @, expected timestamp"},
    {"sum by (a b) (x)",
     "1:11: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\""},
    {"sum by (a) x", "1:12: unexpected identifier \"x\" in aggregation"},
    {"a + on(b", "1:9: unclosed left parenthesis"},
    {"1_", "1:1: bad number or duration syntax: \"1_\""},
    {"(1_)", "1:2: error parsing number: strconv.ParseFloat: parsing \"1_\": invalid syntax"},
    {"1e999",
     "1:1: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range"},
    {"label_replace(up, \"a\")", "1:1: expected 5 argument(s) in call to \"label_replace\", got 2"},
    {"label_join(up, \"a\")",
     "1:1: expected at least 3 argument(s) in call to \"label_join\", got 2"},
    {"sum by (\"\") (x)", "1:9: invalid label name for grouping: \"\""},
    {"a and on(x) group_left b", "1:1: no grouping allowed for \"and\" operation"},
    {"a or fill(1) b", "1:1: filling in missing series not allowed for set operators"},
    {"a + fill(1) 2", "1:1: filling in missing series only allowed between instant vectors"},
};

static const struct query_options all_on = {
    .experimental_functions = true, .extended_range_selectors = true, .fill_modifiers = true};

static void expect_error(const char *query, size_t len, const struct query_options *options,
                         enum tsdb_status status, const char *error)
{
    struct tsdb_arena arena;
    struct query_expr *e = NULL;
    struct tsdb_error err = {0};
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    enum tsdb_status s = query_parse(query, len, options, &arena, &e, &err);
    if (s != status || strcmp(err.msg, error) != 0 || e != NULL) {
        fail_msg("%s: %s: %s\n expected %s: %s", query, tsdb_status_name(s), err.msg,
                 tsdb_status_name(status), error);
    }
    tsdb_arena_deinit(&arena);
}

static void query_parse__bad_query__says_what_prometheus_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        const char *colon = strstr(cases[i].error, ": ");
        assert_non_null(colon);
        char want[512];
        snprintf(want, 240, "%.*s: parse error%s", (int)(colon - cases[i].error), cases[i].error,
                 colon);
        expect_error(cases[i].query, strlen(cases[i].query), &all_on, TSDB_INVALID, want);
    }
}

static void query_parse__feature_off__refused(void **state)
{
    (void)state;
    static const struct query_options off;
    static const struct bad gated[] = {
        {"mad_over_time(x[5m])", "1:1: parse error: function \"mad_over_time\" is not enabled"},
        {"limitk(1, x)", "1:1: parse error: limitk() is experimental and must be enabled with "
                         "--enable-feature=promql-experimental-functions"},
        {"x[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled"},
        {"x smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"},
        {"a + fill(1) b",
         "1:1: parse error: binop fill modifiers are experimental and not enabled"},
        {"start()", "1:1: parse error: function \"start\" is not enabled"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(gated); i++) {
        expect_error(gated[i].query, strlen(gated[i].query), &off, TSDB_INVALID, gated[i].error);
    }
}

static void query_parse__text_with_nul__refused(void **state)
{
    (void)state;
    expect_error("up\0", 3, &all_on, TSDB_INVALID,
                 "1:3: parse error: unexpected character: '\\x00'");
    expect_error("up{a=\"b\"\0}", 10, &all_on, TSDB_INVALID,
                 "1:9: parse error: unexpected character inside braces: '\\x00'");
}

static char *repeat(const char *head, const char *unit, size_t count, const char *tail)
{
    size_t unit_len = strlen(unit);
    size_t len = strlen(head) + count * unit_len + strlen(tail);
    char *s = malloc(len + 1);
    assert_non_null(s);
    char *p = stpcpy(s, head);
    for (size_t i = 0; i < count; i++) {
        p = stpcpy(p, unit);
    }
    strcpy(p, tail);
    return s;
}

static enum tsdb_status parse_only(const char *text, size_t len)
{
    struct tsdb_arena arena;
    struct query_expr *e;
    struct tsdb_error err;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    enum tsdb_status status = query_parse(text, len, &all_on, &arena, &e, &err);
    tsdb_arena_deinit(&arena);
    return status;
}

static void query_parse__nesting_and_length__limited(void **state)
{
    (void)state;
    static const struct {
        const char *head, *unit, *tail;
        size_t count;
        enum tsdb_status status;
    } limits[] = {
        {"", "(", "", 100000, TSDB_LIMIT},
        {"", "-", "", 100000, TSDB_LIMIT},
        {"", "abs(", "", 100000, TSDB_LIMIT},
        {"", "1^", "1", 100000, TSDB_LIMIT},
        {"x[", "(", "", 100000, TSDB_LIMIT},
        {"x[", "5m+", "5m]", 100000, TSDB_LIMIT},
        {"a", " or a", "", TSDB_QUERY_TREE_MAX - 10, TSDB_OK},
        {"a", " or a", "", 100000, TSDB_LIMIT},
        {"a{", "b=\"c\",", "}", 100000, TSDB_OK},
        {"a{", "b=\"c\",", "}", 140000, TSDB_INVALID},
        {"sum by (", "a,", ") (x)", 100000, TSDB_OK},
        {"\"", "a", "\"", TSDB_QUERY_BYTES_MAX - 2, TSDB_OK},
        {"\"", "a", "\"", TSDB_QUERY_BYTES_MAX - 1, TSDB_LIMIT},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(limits); i++) {
        char *text = repeat(limits[i].head, limits[i].unit, limits[i].count, limits[i].tail);
        enum tsdb_status s = parse_only(text, strlen(text));
        if (s != limits[i].status) {
            fail_msg("%s%s...: %s, expected %s", limits[i].head, limits[i].unit,
                     tsdb_status_name(s), tsdb_status_name(limits[i].status));
        }
        free(text);
    }
}

static void query_parse__failing_allocation__is_nomem(void **state)
{
    (void)state;
    static const char text[] = "sum by (a, \"b\") (rate(x{c=~\"d|e\\n\"}[5m:1m*2] offset 1h)) / on "
                               "(f) group_left (g) y > bool 1";
    bool passed = false;
    for (uint64_t n = 1; !passed; n++) {
        assert_true(n < 1000);
        tsdb_alloc_fail_nth(n, 1);
        enum tsdb_status status = parse_only(text, sizeof text - 1);
        bool reached = tsdb_alloc_fail_count() >= n;
        tsdb_alloc_ops_set(NULL);
        passed = !reached;
        assert_int_equal(status, passed ? TSDB_OK : TSDB_NOMEM);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(query_parse__bad_query__says_what_prometheus_says),
    cmocka_unit_test(query_parse__feature_off__refused),
    cmocka_unit_test(query_parse__text_with_nul__refused),
    cmocka_unit_test(query_parse__nesting_and_length__limited),
    cmocka_unit_test(query_parse__failing_allocation__is_nomem),
};
TEST_MAIN(tests)
