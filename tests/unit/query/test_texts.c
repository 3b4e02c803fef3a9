/* Errors and notes say all, however long the names in them are; and of equal notes the one that
 * Prometheus would give last is kept. */
#include "tests/unit/query/expect.h"

#define LONG 3000 /* more than an error holds by itself */

/* format with its "%s" (one or more) filled with LONG times 'x', at 20 s. */
static void expect_long(struct query_fixture *f, const char *query, const char *want)
{
    char *x = malloc(LONG + 1);
    assert_non_null(x);
    memset(x, 'x', LONG);
    x[LONG] = '\0';
    struct tsdb_buf texts[3];
    const char *const formats[] = {query, want};
    for (int i = 0; i < 3; i++) {
        tsdb_buf_init(&texts[i], TSDB_MEM_OTHER, 0);
    }
    for (int i = 0; i < 2; i++) {
        const char *rest = formats[i];
        for (const char *hole; (hole = strstr(rest, "%s")) != NULL; rest = hole + 2) {
            tsdb_buf_put(&texts[i], rest, (size_t)(hole - rest));
            tsdb_buf_put(&texts[i], x, LONG);
        }
        tsdb_buf_put_str(&texts[i], rest);
        tsdb_buf_put_u8(&texts[i], 0);
    }
    query_fixture_text(f, (const char *)texts[0].data, 20000, 20000, 0, &texts[2]);
    if (strcmp((const char *)texts[2].data, (const char *)texts[1].data) != 0) {
        fail_msg("%s\n got      %s\n expected %s", query, (const char *)texts[2].data,
                 (const char *)texts[1].data);
    }
    for (int i = 0; i < 3; i++) {
        tsdb_buf_deinit(&texts[i]);
    }
    free(x);
}

static void error__long_names__whole(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "a{x=\"1\",y=\"1\"} 1 2 3");
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"no_%s(a)", "invalid: 1:1: parse error: unknown function with name \"no_%s\""},
        {"a{b=\"%s\"", "invalid: 1:3007: parse error: unexpected end of input inside braces"},
        {"sum by (\"\\xff%s\") (a)",
         "invalid: 1:9: parse error: invalid label name for grouping: \"\\xff%s\""},
        {"a + on(l%s) group_left(l%s) a",
         "invalid: 1:3: parse error: label \"l%s\" must not occur in ON and GROUP clause at once"},
        {"a{__name__=\"%s\"}",
         "invalid: 1:1: parse error: metric name must not be set twice: \"a\" or \"%s\""},
        {"label_replace(a, \"\", \"$1\", \"y\", \"%s(\")",
         "invalid: invalid regular expression in label_replace(): %s("},
        {"label_replace(a, \"\\xff%s\", \"$1\", \"y\", \".*\")",
         "invalid: invalid destination label name in label_replace(): \xff%s"},
        {"a * on(z) (label_replace(a, \"v\", \"%s\", \"y\", \".*\") or a)",
         "invalid: found duplicate series for the match group {} on the right hand-side of the "
         "operation: [{__name__=\"a\", v=\"%s\", x=\"1\", y=\"1\"}, {__name__=\"a\", x=\"1\", "
         "y=\"1\"}];many-to-many matching not allowed: matching labels must be unique on one "
         "side"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        expect_long(f, cases[i].query, cases[i].want);
    }
}

static void note__long_names__whole(void **state)
{
    struct query_fixture *f = *state;
    char line[2 * LONG];
    memset(line, 'x', LONG);
    strcpy(line + LONG, " 1 1 1");
    query_fixture_load(f, 10000, line);
    expect_long(f, "rate(%s[20s])",
                "{} 0@20 # PromQL info: metric might not be a counter, name does not end in "
                "_total/_sum/_count/_bucket: \"%s\" (1:6)");
}

static void note__equal_ones__position_of_the_last_evaluated(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "g 1 2 3 4");
    query_fixture_load(f, 10000, "h {{count:1 buckets:[1]}}x3");
#define NOTE                                                                                       \
    " # PromQL info: metric might not be a counter, name does not end in "                         \
    "_total/_sum/_count/_bucket: \"g\""
    static const struct ask asks[] = {
        {"rate(g[20s]) + rate(g[21s])", 30, 0, 0, "{} 0.2@30" NOTE " (1:21)"},
        {"rate(g[20s]) - (rate(g[21s]) - rate(g[22s]))", 30, 0, 0, "{} 0.1@30" NOTE " (1:37)"},
        {"sum(rate(g[20s])) or rate(g[21s])", 30, 0, 0, "{} 0.1@30" NOTE " (1:27)"},
        {"rate(g[20s]) and on() (rate(g[21s]) < 0)", 30, 0, 0, "" NOTE " (1:29)"},
        {"clamp_max(rate(g[20s]), scalar(rate(g[21s])))", 30, 0, 0, "{} 0.1@30" NOTE " (1:37)"},
        /* what is made of others comes after them, wherever it stands */
        {"min(min(h))", 30, 0, 0, " # PromQL info: ignored histogram in min aggregation (1:9)"},
        {"min(h or min(h))", 30, 0, 0,
         " # PromQL info: ignored histogram in min aggregation (1:5)"},
    };
    EXPECT_ALL(f, asks);
#undef NOTE
}

static const struct CMUnitTest tests[] = {
    FIXTURE_TEST(error__long_names__whole),
    FIXTURE_TEST(note__long_names__whole),
    FIXTURE_TEST(note__equal_ones__position_of_the_last_evaluated),
};
TEST_MAIN(tests)
