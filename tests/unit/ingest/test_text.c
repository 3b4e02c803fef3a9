/* The text formats. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "ingest/text/text.h"
#include "model/sample.h"
#include "tests/support/guard.h"

#include <stdio.h>
#include <string.h>

static struct tsdb_label labels[8];
static struct tsdb_label exemplar_labels[4];
static struct tsdb_arena arena;
static struct tsdb_buf said;

static int setup(void **state)
{
    (void)state;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    tsdb_buf_init(&said, TSDB_MEM_OTHER, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tsdb_arena_deinit(&arena);
    tsdb_buf_deinit(&said);
    return 0;
}

static void say_value(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    tsdb_buf_printf(&said, " %g", bits == TSDB_NORMAL_NAN_BITS ? 777 : v);
}

static void say_sample(const struct text_sample *s)
{
    struct tsdb_labels all = {labels, s->label_count};
    tsdb_labels_print(&all, &said);
    say_value(s->bits);
    if (s->has_time) {
        tsdb_buf_printf(&said, " @%lld", (long long)s->t_ms);
    }
    if (s->has_exemplar) {
        tsdb_buf_printf(&said, " # ");
        tsdb_labels_print(&s->exemplar.labels, &said);
        say_value(s->exemplar.bits);
        tsdb_buf_printf(&said, " @%lld", (long long)s->exemplar.t_ms);
    }
}

static void say_slice(const char *before, struct tsdb_slice s)
{
    tsdb_buf_put_str(&said, before);
    tsdb_buf_put(&said, s.data, s.len);
}

/* All items of a text, a line each. */
static void read_all(const void *text, size_t len, bool openmetrics)
{
    struct text_parser p;
    struct text_out out = {.labels = labels,
                           .label_cap = TSDB_ARRAY_LEN(labels),
                           .exemplar_labels = exemplar_labels,
                           .exemplar_cap = TSDB_ARRAY_LEN(exemplar_labels),
                           .arena = &arena};
    enum text_item item;
    tsdb_buf_clear(&said);
    text_init(&p, text, len, openmetrics);
    do {
        struct tsdb_error err = {0};
        const uint8_t *before = p.pos;
        item = text_next(&p, &out, &err);
        assert_true(p.pos > before || item == TEXT_END);
        assert_true(item != TEXT_NOMEM);
        if (item == TEXT_SAMPLE) {
            say_sample(&out.sample);
        } else if (item == TEXT_FAULT) {
            tsdb_buf_printf(&said, "! %s", err.msg);
        } else if (item != TEXT_END && item != TEXT_NOTHING) {
            say_slice("# ", out.metadata.metric);
            tsdb_buf_printf(&said, " %s", tsdb_metric_type_name(out.metadata.type));
            say_slice(" ", out.metadata.unit);
            say_slice("|", out.metadata.help);
        }
        tsdb_buf_put_str(&said, item == TEXT_END || item == TEXT_NOTHING ? "" : "\n");
    } while (item != TEXT_END);
    assert_ptr_equal(p.pos, p.end);
    tsdb_buf_put_u8(&said, 0);
}

struct text_case {
    const char *text, *want;
};
static void check(const struct text_case *cases, size_t count, bool openmetrics)
{
    for (size_t i = 0; i < count; i++) {
        read_all(cases[i].text, strlen(cases[i].text), openmetrics);
        if (strcmp((const char *)said.data, cases[i].want) != 0) {
            fail_msg("%s\n--- got\n%s--- want\n%s", cases[i].text, (const char *)said.data,
                     cases[i].want);
        }
    }
}

static void text_next__prometheus__samples_and_comments(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {"", ""},
        {"\n  \t\n\r\n", ""},
        {"up 1", "up 1\n"},
        {"up 1\n", "up 1\n"},
        {"up 1 1700000000000\r\n", "up 1 @1700000000000\n"},
        {"  a:b\t{x=\"1\",\ty=\"2\",} -2.5e3 -5 \n", "a:b{x=\"1\", y=\"2\"} -2500 @-5\n"},
        {"a{} NaN\na{x=\"\"} +Inf\n", "a 777\na{x=\"\"} inf\n"},
        {"a{x=\"q\\\"\\\\\\n\\t{}\"} 1\n", "a{x=\"q\\\"\\\\\\n\\\\t{}\"} 1\n"},
        {"{\"utf 8\",\"l 1\"=\"v\"} 1\n", "{\"utf 8\", \"l 1\"=\"v\"} 1\n"},
        {"{__name__=\"a\",x=\"1\"} 1\n", "a{x=\"1\"} 1\n"},
        {"# HELP a some\\nhelp  \\\\ \n# TYPE a counter\n# UNIT a s\n# any comment\n#\na 1\n",
         "# a unknown |some\nhelp  \\ \n# a counter |\na 1\n"},
        {"# TYPE a untyped\n# TYPE \"utf 8\" summary \n", "# a unknown |\n# utf 8 summary |\n"},
        {"# EOF\na 1\n", "a 1\n"},
    };
    check(cases, TSDB_ARRAY_LEN(cases), false);
}

static void text_next__openmetrics__seconds_exemplars_and_eof(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {"# TYPE a counter\n# UNIT a seconds\n# HELP a x\\\"\na_total 1 1700000000.123\n# EOF\n",
         "# a counter |\n# a unknown seconds|\n# a unknown |x\"\na_total 1 @1700000000123\n"},
        {"b{le=\"1\"} 5 2 # {trace_id=\"q\"} 0.5 1.5\n",
         "b{le=\"1\"} 5 @2000 # {trace_id=\"q\"} 0.5 "
         "@1500\n"},
        {"b 5 # {} 0.5\n", "b 5 # {} 0.5 @0\n"},
        {"# EOF\n\n", ""},
        {"# EOF\na 1\nb 1\n", "! line 2, column 1: nothing may follow # EOF\n"},
    };
    check(cases, TSDB_ARRAY_LEN(cases), true);
}

static void text_next__wrong_lines__named_by_line_and_column_and_passed_over(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {"a\nb 1\n", "! line 1, column 2: expected a value\nb 1\n"},
        {"\n9a 1\n", "! line 2, column 1: expected a name\n"},
        {"a{x} 1\n", "! line 1, column 4: expected =\n"},
        {"a{x=1} 1\n", "! line 1, column 5: expected a string in double quotes\n"},
        {"a{x=\"1} 1\n", "! line 1, column 10: string does not end\n"},
        {"a{x=\"1\" y=\"2\"} 1\n", "! line 1, column 9: expected a comma or }\n"},
        {"a{x=\"\xc3\xbc\"} y\n", "! line 1, column 10: expected a value\n"}, /* characters */
        {"a 1 x\n", "! line 1, column 5: expected a time in milliseconds\n"},
        {"a 1 1.5\n", "! line 1, column 5: expected a time in milliseconds\n"},
        {"a 1 2 3\n", "! line 1, column 7: expected the end of the line\n"},
        {"a 1 2 # {} 1\n", "! line 1, column 7: expected the end of the line\n"},
        {"a 0x\n", "! line 1, column 3: expected a value\n"},
        {"# TYPE a strange\n", "! line 1, column 10: unknown type of a metric\n"},
        {"# HELP 5\n", "! line 1, column 8: expected a name\n"},
        {"a{\"b\"} 1\n", "! line 1, column 6: expected =\n"},
        {"a{a=\"\",b=\"\",c=\"\",d=\"\",e=\"\",f=\"\",g=\"\",h=\"\"} 1\nb 1",
         "! line 1, column 39: too many labels\nb 1\n"},
    };
    check(cases, TSDB_ARRAY_LEN(cases), false);
}

static void text_next__cut_anywhere__never_outside(void **state)
{
    (void)state;
    static const char text[] =
        "# HELP a h\\\\elp\n# TYPE a counter\na{x=\"\\\"\",y=\"\\\\\"} 1 5 # "
        "{t=\"u\"} 2 3\n{\"q\",z=\"\"} -Inf\r\n# EOF\n";
    struct test_guard g;
    test_guard_init(&g, sizeof text);
    for (size_t len = 0; len < sizeof text; len++) {
        tsdb_arena_reset(&arena);
        read_all(test_guard_at_end(&g, text, len), len, len % 2 == 0);
    }
    test_guard_deinit(&g);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(text_next__prometheus__samples_and_comments),
    CASE(text_next__openmetrics__seconds_exemplars_and_eof),
    CASE(text_next__wrong_lines__named_by_line_and_column_and_passed_over),
    CASE(text_next__cut_anywhere__never_outside),
};
TEST_MAIN(tests)
