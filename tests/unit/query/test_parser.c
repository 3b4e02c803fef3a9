/* Queries that parse, and how they are printed again. Most of them, and their printed forms, are
 * those of Prometheus's own tests (3.14, promql/parser: parse_test.go, printer_test.go). */
#include "tests/unit/query/rig.h"

#include "query/lang/ast.h"
#include "query/lang/functions.h"

struct good {
    const char *query;
    const char *printed; /* NULL: as it stands */
};

static const struct good cases[] = {
    {"sum by() (task:errors:rate10s{job=\"s\"})", "sum(task:errors:rate10s{job=\"s\"})"},
    {"sum by(code) (task:errors:rate10s{job=\"s\"})",
     "sum by (code) (task:errors:rate10s{job=\"s\"})"},
    {"sum without() (task:errors:rate10s{job=\"s\"})",
     "sum without () (task:errors:rate10s{job=\"s\"})"},
    {"sum without(instance) (task:errors:rate10s{job=\"s\"})",
     "sum without (instance) (task:errors:rate10s{job=\"s\"})"},
    {"sum by(\"foo.bar\") (task:errors:rate10s{job=\"s\"})",
     "sum by (\"foo.bar\") (task:errors:rate10s{job=\"s\"})"},
    {"sum without(\"foo.bar\") (task:errors:rate10s{job=\"s\"})",
     "sum without (\"foo.bar\") (task:errors:rate10s{job=\"s\"})"},
    {"topk(5, task:errors:rate10s{job=\"s\"})", NULL},
    {"count_values(\"value\", task:errors:rate10s{job=\"s\"})", NULL},
    {"a - on() c", "a - on () c"},
    {"a - on(b) c", "a - on (b) c"},
    {"a - on(b) group_left(x) c", "a - on (b) group_left (x) c"},
    {"a - on(b) group_left(x, y) c", "a - on (b) group_left (x, y) c"},
    {"a - on(b) group_left c", "a - on (b) group_left () c"},
    {"a - on(b) group_left() (c)", "a - on (b) group_left () (c)"},
    {"a - ignoring(b) c", "a - ignoring (b) c"},
    {"a - ignoring() c", "a - c"},
    {"a - ignoring() group_left(__metric__) c", "a - ignoring () group_left (__metric__) c"},
    {"a - ignoring() group_left c", "a - ignoring () group_left () c"},
    {"a + fill(-23) b", "a + fill (-23) b"},
    {"a + fill_left(-23) b", "a + fill_left (-23) b"},
    {"a + fill_right(42) b", "a + fill_right (42) b"},
    {"a + fill_left(-23) fill_right(42) b", "a + fill_left (-23) fill_right (42) b"},
    {"a + fill_left(5) fill_right(5) b", "a + fill (5) b"},
    {"a + on(b) group_left fill(-23) c", "a + on (b) group_left () fill (-23) c"},
    {"up > bool 0", NULL},
    {"a offset 1m", NULL},
    {"a offset -7m", NULL},
    {"a{c=\"d\"}[5m] offset 1m", NULL},
    {"a[5m] offset 1m", NULL},
    {"a[12m] offset -3m", NULL},
    {"a[1h:5m] offset 1m", NULL},
    {"a anchored", NULL},
    {"a[5m] anchored", NULL},
    {"a{b=\"c\"}[5m] anchored", NULL},
    {"a{b=\"c\"}[5m] anchored offset 1m", NULL},
    {"a{b=\"c\"}[5m] anchored @ start() offset 1m", NULL},
    {"a smoothed", NULL},
    {"a[5m] smoothed", NULL},
    {"a{b=\"c\"}[5m] smoothed", NULL},
    {"a{b=\"c\"}[5m] smoothed offset 1m", NULL},
    {"a{b=\"c\"}[5m] smoothed @ start() offset 1m", NULL},
    {"{__name__=\"a\"}", NULL},
    {"a{b!=\"c\"}[1m]", NULL},
    {"a{b=~\"c\"}[1m]", NULL},
    {"a{b!~\"c\"}[1m]", NULL},
    {"a @ 10", "a @ 10.000"},
    {"a[1m] @ 10", "a[1m] @ 10.000"},
    {"a @ start()", NULL},
    {"a @ end()", NULL},
    {"a[1m] @ start()", NULL},
    {"a[1m] @ end()", NULL},
    {"{__name__=\"\",a=\"x\"}", NULL},
    {"{\"a.b\"=\"c\"}", NULL},
    {"{\"0\"=\"1\"}", NULL},
    {"{\"_0\"=\"1\"}", "{_0=\"1\"}"},
    {"{\"\"=\"0\"}", NULL},
    {"{``=\"0\"}", "{\"\"=\"0\"}"},
    {"1048576", NULL},
    {"foo[step()]", NULL},
    {"foo[-step()]", NULL},
    {"foo[(step())]", NULL},
    {"foo[-(step())]", NULL},
    {"foo offset step()", NULL},
    {"foo offset -step()", NULL},
    {"foo offset (step())", NULL},
    {"foo offset -(step())", NULL},
    {"foo offset +(5)", "foo offset (5)"},
    {"foo offset -(5)", NULL},
    {"foo offset (5)", NULL},
    {"foo offset (5m)", NULL},
    {"foo[(5s)]", NULL},
    {"foo[(5m):(1m)]", NULL},
    {"foo offset +min_of(10s, 20s)", "foo offset min_of(10s, 20s)"},
    {"foo offset -min_of(10s, 20s)", NULL},
    {"foo offset -min_of(10s, +max_of(step() ^ 2, 2))",
     "foo offset -min_of(10s, max_of(step() ^ 2, 2))"},
    {"foo[200-min_of(-step()^+step(),1)]", "foo[200 - min_of(-step() ^ step(), 1)]"},
    {"foo[200 - min_of(step() + 10s, -max_of(step() ^ 2, 3))]", NULL},
    {"foo[range()]", NULL},
    {"foo[-range()]", NULL},
    {"foo offset range()", NULL},
    {"foo offset -range()", NULL},
    {"foo[max_of(range(), 5s)]", NULL},
    {"predict_linear(foo[1h], 3000)", NULL},
    {"sum by(\"\303\274\303\274\303\274\") (foo)", "sum by (\"\303\274\303\274\303\274\") (foo)"},
    {"sum without(\"\303\244\303\244\303\244\") (foo)",
     "sum without (\"\303\244\303\244\303\244\") (foo)"},
    {"count by(\"\303\266\303\266\303\266\", job) (foo)",
     "count by (\"\303\266\303\266\303\266\", job) (foo)"},
    {"1", NULL},
    {"+Inf", NULL},
    {"-Inf", NULL},
    {".5", "0.5"},
    {"5.", "5"},
    {"123.4567", NULL},
    {"5e-3", "0.005"},
    {"5e3", "5000"},
    {"0xc", "12"},
    {"0755", "493"},
    {"+5.5e-3", "0.0055"},
    {"-0755", "-493"},
    {"1 + 1", NULL},
    {"1 - 1", NULL},
    {"1 * 1", NULL},
    {"1 % 1", NULL},
    {"1 / 1", NULL},
    {"1 == bool 1", NULL},
    {"1 != bool 1", NULL},
    {"1 > bool 1", NULL},
    {"1 >= bool 1", NULL},
    {"1 < bool 1", NULL},
    {"1 <= bool 1", NULL},
    {"-1^2", "-1 ^ 2"},
    {"-1*2", "-1 * 2"},
    {"-1+2", "-1 + 2"},
    {"-1^-2", "-1 ^ -2"},
    {"+1 + -2 * 1", "1 + -2 * 1"},
    {"1 + 2/(3*1)", "1 + 2 / (3 * 1)"},
    {"1 < bool 2 - 1 * 2", NULL},
    {"-some_metric", NULL},
    {"+some_metric", NULL},
    {" +some_metric", "+some_metric"},
    {" +{\"some_metric\"}", "+{__name__=\"some_metric\"}"},
    {"offset{step=\"1s\"}[5m]", NULL},
    {"step{offset=\"1s\"}[5m]", NULL},
    {"anchored{job=\"test\"}", NULL},
    {"smoothed{job=\"test\"}", NULL},
    {"foo * bar", NULL},
    {"foo * sum", NULL},
    {"foo == 1", NULL},
    {"foo == bool 1", NULL},
    {"2.5 / bar", NULL},
    {"foo and bar", NULL},
    {"foo or bar", NULL},
    {"foo unless bar", NULL},
    {"foo * on(test,blub) bar", "foo * on (test, blub) bar"},
    {"foo * on(test,blub) group_left bar", "foo * on (test, blub) group_left () bar"},
    {"foo and on(test,blub) bar", "foo and on (test, blub) bar"},
    {"foo and on() bar", "foo and on () bar"},
    {"foo and ignoring(test,blub) bar", "foo and ignoring (test, blub) bar"},
    {"foo and ignoring() bar", "foo and bar"},
    {"foo unless on(bar) baz", "foo unless on (bar) baz"},
    {"foo / on(test,blub) group_left(bar) bar", "foo / on (test, blub) group_left (bar) bar"},
    {"foo / ignoring(test,blub) group_left(blub) bar",
     "foo / ignoring (test, blub) group_left (blub) bar"},
    {"foo / ignoring(test,blub) group_left(bar) bar",
     "foo / ignoring (test, blub) group_left (bar) bar"},
    {"foo - on(test,blub) group_right(bar,foo) bar",
     "foo - on (test, blub) group_right (bar, foo) bar"},
    {"foo - ignoring(test,blub) group_right(bar,foo) bar",
     "foo - ignoring (test, blub) group_right (bar, foo) bar"},
    {"foo", NULL},
    {"min", NULL},
    {"foo offset 5m", NULL},
    {"foo offset -7m", NULL},
    {"foo OFFSET 1h30m", "foo offset 1h30m"},
    {"foo OFFSET 1m30ms", "foo offset 1m30ms"},
    {"foo @ 1603774568", "foo @ 1603774568.000"},
    {"foo @ -100", "foo @ -100.000"},
    {"foo @ .3", "foo @ 0.300"},
    {"foo @ 3.", "foo @ 3.000"},
    {"foo @ 3.33", "foo @ 3.330"},
    {"foo @ 3e2", "foo @ 300.000"},
    {"foo @ 3e-1", "foo @ 0.300"},
    {"foo @ 0xA", "foo @ 10.000"},
    {"foo @ -3.3e1", "foo @ -33.000"},
    {"foo:bar{a=\"bc\"}", NULL},
    {"{\"foo\"}", "{__name__=\"foo\"}"},
    {"{'foo\\'bar', 'a\\\\dos\\\\path'='boo\\\\urns'}",
     "{\"a\\\\dos\\\\path\"=\"boo\\\\urns\",__name__=\"foo'bar\"}"},
    {"{\"foo\", a=\"bc\"}", "{__name__=\"foo\",a=\"bc\"}"},
    {"foo{NaN='bc'}", "foo{NaN=\"bc\"}"},
    {"foo{bar='}'}", "foo{bar=\"}\"}"},
    {"foo{a=\"b\", foo!=\"bar\", test=~\"test\", bar!~\"baz\"}",
     "foo{a=\"b\",bar!~\"baz\",foo!=\"bar\",test=~\"test\"}"},
    {"foo{a=\"b\", foo!=\"bar\", test=~\"test\", bar!~\"baz\",}",
     "foo{a=\"b\",bar!~\"baz\",foo!=\"bar\",test=~\"test\"}"},
    {"test[1000ms]", "test[1s]"},
    {"test[1001ms]", "test[1s1ms]"},
    {"test[1002ms]", "test[1s2ms]"},
    {"test[5s]", NULL},
    {"test[5m]", NULL},
    {"foo[5m30s]", NULL},
    {"test[5h] OFFSET 5m", "test[5h] offset 5m"},
    {"test[5d] OFFSET 10s", "test[5d] offset 10s"},
    {"test[5w] offset 2w", NULL},
    {"test{a=\"b\"}[5y] OFFSET 3d", "test{a=\"b\"}[5y] offset 3d"},
    {"test{a=\"b\"}[5m] OFFSET 3600", "test{a=\"b\"}[5m] offset 1h"},
    {"foo[3ms] @ 2.345", NULL},
    {"foo[4s180ms] @ 2.345", NULL},
    {"foo[4.18] @ 2.345", "foo[4s180ms] @ 2.345"},
    {"foo[4s18ms] @ 2.345", NULL},
    {"foo[4.018] @ 2.345", "foo[4s18ms] @ 2.345"},
    {"test{a=\"b\"}[5y] @ 1603774699", "test{a=\"b\"}[5y] @ 1603774699.000"},
    {"test[5]", "test[5s]"},
    {"some_metric[5m] @ 1m", "some_metric[5m] @ 60.000"},
    {"sum by (foo)(some_metric)", "sum by (foo) (some_metric)"},
    {"sum by (anchored)(some_metric)", "sum by (anchored) (some_metric)"},
    {"sum by (smoothed)(some_metric)", "sum by (smoothed) (some_metric)"},
    {"sum by (\"foo bar\")({\"some.metric\"})",
     "sum by (\"foo bar\") ({__name__=\"some.metric\"})"},
    {"sum by (\"foo\", bar, 'baz')({\"some.metric\"})",
     "sum by (foo, bar, baz) ({__name__=\"some.metric\"})"},
    {"avg by (foo)(some_metric)", "avg by (foo) (some_metric)"},
    {"max by (foo)(some_metric)", "max by (foo) (some_metric)"},
    {"sum without (foo) (some_metric)", NULL},
    {"sum (some_metric) without (foo)", "sum without (foo) (some_metric)"},
    {"stddev(some_metric)", NULL},
    {"stdvar by (foo)(some_metric)", "stdvar by (foo) (some_metric)"},
    {"sum by ()(some_metric)", "sum(some_metric)"},
    {"sum by (foo,bar,)(some_metric)", "sum by (foo, bar) (some_metric)"},
    {"sum by (foo,)(some_metric)", "sum by (foo) (some_metric)"},
    {"topk(5, some_metric)", NULL},
    {"count_values(\"value\", some_metric)", NULL},
    {"time()", NULL},
    {"floor(some_metric{foo!=\"bar\"})", NULL},
    {"rate(some_metric[5m])", NULL},
    {"round(some_metric)", NULL},
    {"round(some_metric, 5)", NULL},
    {"sum(sum)", NULL},
    {"a + sum", NULL},
    {"\"double-quoted string \\\" with escaped quote\"", NULL},
    {"'single-quoted string \\' with escaped quote'",
     "\"single-quoted string ' with escaped quote\""},
    {"`backtick-quoted string`", "\"backtick-quoted string\""},
    {"\"\\a\\b\\f\\n\\r\\t\\v\\\\\\\" - \\xFF\\377\\u1234\\U00010111\\U0001011111\342\230\272\"",
     "\"\\a\\b\\f\\n\\r\\t\\v\\\\\\\" - "
     "\\xff\\xff\341\210\264\360\220\204\221\360\220\204\22111\342\230\272\""},
    {"'\\a\\b\\f\\n\\r\\t\\v\\\\\\' - \\xFF\\377\\u1234\\U00010111\\U0001011111\342\230\272'",
     "\"\\a\\b\\f\\n\\r\\t\\v\\\\' - "
     "\\xff\\xff\341\210\264\360\220\204\221\360\220\204\22111\342\230\272\""},
    {"foo{bar=\"baz\"}[10m:6s]", NULL},
    {"foo{bar=\"baz\"}[10m5s:1h6ms]", NULL},
    {"foo[10m:]", NULL},
    {"min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:5s])", NULL},
    {"min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:])[4m:3s]", NULL},
    {"min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:] offset 4m)[4m:3s]", NULL},
    {"min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:] @ 1603775091)[4m:3s]",
     "min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:] @ 1603775091.000)[4m:3s]"},
    {"min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:] @ -160377509)[4m:3s]",
     "min_over_time(rate(foo{bar=\"baz\"}[2s])[5m:] @ -160377509.000)[4m:3s]"},
    {"sum without(and, by, avg, count, alert, annotations)(some_metric) [30m:10s]",
     "sum without (and, by, avg, count, alert, annotations) (some_metric)[30m:10s]"},
    {"some_metric OFFSET 1m [10m:5s]", "some_metric offset 1m[10m:5s]"},
    {"some_metric @ 123 [10m:5s]", "some_metric @ 123.000[10m:5s]"},
    {"some_metric @ 123 offset 1m [10m:5s]", "some_metric @ 123.000 offset 1m[10m:5s]"},
    {"some_metric offset 1m @ 123 [10m:5s]", "some_metric @ 123.000 offset 1m[10m:5s]"},
    {"some_metric[10m:5s] offset 1m @ 123", "some_metric[10m:5s] @ 123.000 offset 1m"},
    {"(foo + bar{nm=\"val\"})[5m:]", NULL},
    {"(foo + bar{nm=\"val\"})[5m:] offset 10m", NULL},
    {"(foo + bar{nm=\"val\"} @ 1234)[5m:] @ 1603775019",
     "(foo + bar{nm=\"val\"} @ 1234.000)[5m:] @ 1603775019.000"},
    {"foo @ start()", NULL},
    {"foo @ end()", NULL},
    {"test[5y] @ start()", NULL},
    {"test[5y] @ end()", NULL},
    {"foo[10m:6s] @ start()", NULL},
    {"foo[10m:6s] @ end()", NULL},
    {"start()", NULL},
    {"end()", NULL},
    {"start", NULL},
    {"end", NULL},
    {"start{end=\"foo\"}", NULL},
    {"end{start=\"foo\"}", NULL},
    {"foo unless on(start) bar", "foo unless on (start) bar"},
    {"foo unless on(end) bar", "foo unless on (end) bar"},
    {"info(rate(http_request_counter_total{}[5m]))", "info(rate(http_request_counter_total[5m]))"},
    {"info(http_request_counter_total{namespace=\"zzz\"}, {foo=\"bar\", bar=\"baz\"})",
     "info(http_request_counter_total{namespace=\"zzz\"}, {bar=\"baz\",foo=\"bar\"})"},
    {"foo[11s+10s-5*2^2]", "foo[11s + 10s - 5 * 2 ^ 2]"},
    {"foo[-(10s-5s)+20s]", "foo[-(10s - 5s) + 20s]"},
    {"foo[-10s+15s]", "foo[-10s + 15s]"},
    {"foo[  -  step  (  )  ]", "foo[-step()]"},
    {"foo[   step  (  )  ]", "foo[step()]"},
    {"foo[max_of(step(),5s)]", "foo[max_of(step(), 5s)]"},
    {"foo offset max_of(step(),5s)", "foo offset max_of(step(), 5s)"},
    {"foo offset -min_of(5s,step()+8s)", "foo offset -min_of(5s, step() + 8s)"},
    {"foo[2m/range()]", "foo[2m / range()]"},
    {"foo[max_of(range(),5s)]", "foo[max_of(range(), 5s)]"},
    {"foo[4s+4s:1s*2] offset (5s-8)", "foo[4s + 4s:1s * 2] offset (5s - 8)"},
    {"foo offset 5s-8", "foo offset 5s - 8"},
    {"rate(foo[2m+2m])", "rate(foo[2m + 2m])"},
    {"foo offset -1^1", "foo offset -1s ^ 1"},
    {"foo offset -(1^2)", "foo offset -(1 ^ 2)"},
    {"foo offset (-1^2)", "foo offset (-1 ^ 2)"},
    {"foo[-2^2]", "foo[-2 ^ 2]"},
    {"foo[0+-2^2]", "foo[0 + -2 ^ 2]"},
    {"(sum(foo))", NULL},
    {"(sum(foo) )", "(sum(foo))"},
    {"(sum(foo) by (bar))", "(sum by (bar) (foo))"},
    {"(sum by (bar) (foo))", NULL},
    {"sum by (job)(rate(http_requests_total[30m]))",
     "sum by (job) (rate(http_requests_total[30m]))"},
    /* Ours. */
    {"Inf ^ 2", NULL},
    {"-1 ^ 2", NULL},
    {"2 ^ -1 ^ 2", NULL},
    {"-a offset 5m", NULL},
    {"a * -b + c", NULL},
    {"0x1F + 017 + 1_000", "31 + 15 + 1000"},
    {"1h30m", NULL},
    {"- 1h", "-1h"},
    {"foo offset (5m) * 2", "foo offset (5m) * 2"},
    {"foo offset -(5m) * 2", "foo offset -(5m) * 2"},
    {"foo offset 5m * 2", "foo offset 5m * 2"},
    {"sum(x) # comment\n  by (a)", "sum by (a) (x)"},
    {"{\"a b\", \"c d\"!~\"e\"}", "{\"c d\"!~\"e\",__name__=\"a b\"}"},
    {"sum(a) + on () group_left () b", "sum(a) + on () group_left () b"},
    {"foo[300] offset 50 @ 1m40s", "foo[5m] @ 100.000 offset 50s"},
    {"'a\\x41\\u00e4'", "\"aA\303\244\""},
    {"fill + fill", NULL},
    {"min_of + step", NULL},
    {"by", NULL},
};

static const struct query_options all_on = {
    .experimental_functions = true, .extended_range_selectors = true, .fill_modifiers = true};

static struct query_expr *parse(struct tsdb_arena *arena, const char *query)
{
    struct query_expr *e = NULL;
    struct tsdb_error err = {0};
    enum tsdb_status status = query_parse(query, strlen(query), &all_on, arena, &e, &err);
    if (status != TSDB_OK) {
        fail_msg("%s: %s", query, err.msg);
    }
    return e;
}

static const char *print(struct rig *r, const struct query_expr *e, bool pretty)
{
    if (pretty) {
        query_expr_pretty(e, &r->out);
    } else {
        query_expr_print(e, &r->out);
    }
    return rig_text(r);
}

static void query_expr_print__good_query__as_prometheus_and_stable(void **state)
{
    struct rig *r = *state;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        const char *want = cases[i].printed ? cases[i].printed : cases[i].query;
        const struct query_expr *e = parse(&r->arena, cases[i].query);
        const char *printed = print(r, e, false);
        if (strcmp(printed, want) != 0) {
            fail_msg("%s\n printed  %s\n expected %s", cases[i].query, printed, want);
        }
        /* What is printed, on one line or many, means the same. */
        const struct query_expr *again = parse(&r->arena, printed);
        assert_int_equal(e->type, again->type);
        assert_string_equal(print(r, again, false), want);
        again = parse(&r->arena, print(r, e, true));
        assert_string_equal(print(r, again, false), want);
        tsdb_arena_reset(&r->arena);
    }
}

static void query_expr_pretty__long_query__one_level_a_line(void **state)
{
    struct rig *r = *state;
    static const struct good pretty[] = {
        {"sum(x)", NULL},
        {"sum by (instance, job) (rate(a_rather_long_metric_name_total{job=\"api\", "
         "instance=~\"host.*\"}[5m]) / 100) > 0.5",
         "  sum by (instance, job) (\n"
         "    rate(a_rather_long_metric_name_total{instance=~\"host.*\",job=\"api\"}[5m]) / 100\n"
         "  )\n"
         ">\n"
         "  0.5"},
        {"histogram_quantile(0.99, sum by (le) "
         "(rate(http_request_duration_seconds_bucket{job=\"api-server\", "
         "handler=\"/api/v1/query\"}[5m])))",
         "histogram_quantile(\n"
         "  0.99,\n"
         "  sum by (le) (\n"
         "    "
         "rate(http_request_duration_seconds_bucket{handler=\"/api/v1/"
         "query\",job=\"api-server\"}[5m])\n"
         "  )\n"
         ")"},
        {"-(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + "
         "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb)",
         "-(\n"
         "    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
         "  +\n"
         "    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n"
         ")"},
        {"topk(5, max_over_time(rate(some_quite_long_counter_name_total{job=\"x\"}[5m])[1h:5m] "
         "offset 1d)) by (instance, job, pod)",
         "topk by (instance, job, pod) (\n"
         "  5,\n"
         "  max_over_time(rate(some_quite_long_counter_name_total{job=\"x\"}[5m])[1h:5m] offset "
         "1d)\n"
         ")"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(pretty); i++) {
        assert_string_equal(print(r, parse(&r->arena, pretty[i].query), true),
                            pretty[i].printed ? pretty[i].printed : pretty[i].query);
        tsdb_arena_reset(&r->arena);
    }
}

static void query_parse__types__derived(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *query;
        enum query_type type;
    } types[] = {
        {"1", QUERY_TYPE_SCALAR},
        {"1 + 2", QUERY_TYPE_SCALAR},
        {"-(1)", QUERY_TYPE_SCALAR},
        {"\"a\"", QUERY_TYPE_STRING},
        {"(\"a\")", QUERY_TYPE_STRING},
        {"up", QUERY_TYPE_VECTOR},
        {"up + 1", QUERY_TYPE_VECTOR},
        {"up[5m]", QUERY_TYPE_MATRIX},
        {"(up[5m])", QUERY_TYPE_MATRIX},
        {"up[5m:]", QUERY_TYPE_MATRIX},
        {"sum(up)", QUERY_TYPE_VECTOR},
        {"scalar(up)", QUERY_TYPE_SCALAR},
        {"1 > bool 2", QUERY_TYPE_SCALAR},
        {"time()", QUERY_TYPE_SCALAR},
        {"vector(1)", QUERY_TYPE_VECTOR},
        {"up > bool up", QUERY_TYPE_VECTOR},
        {"rate(up[5m])", QUERY_TYPE_VECTOR},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(types); i++) {
        assert_int_equal(query_expr_type(parse(&r->arena, types[i].query)), types[i].type);
        tsdb_arena_reset(&r->arena);
    }
}

static void query_parse__tree__holds_what_was_written(void **state)
{
    struct rig *r = *state;
    const struct query_expr *e =
        parse(&r->arena, "  sum without (a) (rate(x{b!=\"c\"}[5m] offset -1h)) ^ 2 ^ 3");
    assert_int_equal(e->kind, EXPR_BINARY);
    assert_int_equal(e->start, 2);
    assert_int_equal(e->u.binary.op, TOKEN_POW);
    assert_int_equal(e->u.binary.right->kind, EXPR_BINARY); /* right associative */
    const struct query_expr *sum = e->u.binary.left;
    assert_int_equal(sum->kind, EXPR_AGGREGATE);
    assert_true(sum->u.aggregate.without);
    assert_int_equal(sum->u.aggregate.grouping.count, 1);
    const struct query_expr *rate = sum->u.aggregate.body;
    assert_string_equal(rate->u.call.function->name, "rate");
    const struct query_expr *m = rate->u.call.args[0];
    assert_int_equal(m->kind, EXPR_MATRIX);
    assert_int_equal(m->u.matrix.range_ms, 300000);
    const struct query_expr *v = m->u.matrix.selector;
    assert_int_equal(v->u.vector.shift.offset_ms, -3600000);
    assert_int_equal(v->u.vector.matcher_count, 2);
    assert_int_equal(v->u.vector.matchers[0].op, TSDB_MATCH_NE);
    assert_memory_equal(v->u.vector.matchers[1].value, "x", 1);
}

static void query_duration_eval__expressions__in_milliseconds(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *query;
        int64_t ms;
        const char *error;
    } durations[] = {
        {"x[2*5m]", 600000, NULL},
        {"x[1h/7]", 514285, NULL},
        {"x[step()+1]", 31000, NULL},
        {"x[range()]", 3600000, NULL},
        {"x[min_of(step(), 5s)]", 5000, NULL},
        {"x[max_of(-step(), 5s)^2]", 25000, NULL},
        {"x[10s%3s]", 1000, NULL},
        {"x[5s-step()]", 0, "2:11: duration must be greater than 0"},
        {"x[5s/(step()-30)]", 0, "2:15: division by zero"},
        {"x[5s%(step()-30)]", 0, "2:15: modulo by zero"},
        {"x[9e9*range()]", 0, "2:13: duration is out of range"},
        {"x[(step()-31)^0.5]", 0, "3:17: duration is NaN or infinite"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(durations); i++) {
        struct tsdb_error err = {0};
        int64_t ms = 0;
        const struct query_expr *e = parse(&r->arena, durations[i].query);
        assert_non_null(e->u.matrix.range_expr);
        enum tsdb_status status =
            query_duration_eval(e->u.matrix.range_expr, 30, 3600, false, &ms, &err);
        if (durations[i].error) {
            assert_int_equal(status, TSDB_INVALID);
            assert_string_equal(err.msg, durations[i].error);
        } else {
            assert_ok_err(status, &err);
            assert_int_equal(ms, durations[i].ms);
        }
        tsdb_arena_reset(&r->arena);
    }
}

static void query_parse_selector__match_parameter__matchers(void **state)
{
    struct rig *r = *state;
    struct tsdb_selector s;
    struct tsdb_error err = {0};
    bool non_empty;
    static const char full[] = "up{job=~\"a|b\", x!=\"\"}";
    assert_ok_err(query_parse_selector(full, sizeof full - 1, &r->arena, &s, &non_empty, &err),
                  &err);
    assert_int_equal(s.count, 3);
    assert_true(non_empty);
    static const char *const empty[] = {"{}", "{a=\"\"}", "{a=~\".*\"}", "{a!~\".+\"}"};
    for (size_t i = 0; i < 4; i++) {
        assert_ok_err(
            query_parse_selector(empty[i], strlen(empty[i]), &r->arena, &s, &non_empty, &err),
            &err);
        assert_false(non_empty);
    }
    static const struct good refused[] = {
        {"", "unknown position: parse error: unexpected end of input"},
        {"up[5m]", "1:3: parse error: unexpected \"[\""},
        {"sum(up)", "1:4: parse error: unexpected \"(\""},
        {"1", "1:1: parse error: unexpected number \"1\""},
        {"up offset 5m", "1:4: parse error: unexpected <offset>"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(refused); i++) {
        assert_int_equal(query_parse_selector(refused[i].query, strlen(refused[i].query), &r->arena,
                                              &s, &non_empty, &err),
                         TSDB_INVALID);
        assert_string_equal(err.msg, refused[i].printed);
    }
}

static void query_expr_selectors__nested__all_found(void **state)
{
    struct rig *r = *state;
    struct tsdb_selector *s;
    uint32_t count;
    const struct query_expr *e =
        parse(&r->arena, "topk(scalar(a), rate(b[5m])) + max_over_time((c > d)[1h:]) or -e");
    assert_ok(query_expr_selectors(e, &r->arena, &s, &count));
    assert_int_equal(count, 5);
    assert_ok(query_expr_selectors(parse(&r->arena, "1 + time()"), &r->arena, &s, &count));
    assert_int_equal(count, 0);
}

/* All functions of Prometheus 3.14, in their order. */
static const char function_names[] =
    "abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes "
    "clamp clamp_max clamp_min cos cosh count_over_time day_of_month day_of_week day_of_year "
    "days_in_month deg delta deriv double_exponential_smoothing end exp first_over_time "
    "floor histogram_avg histogram_count histogram_fraction histogram_quantile "
    "histogram_quantiles histogram_stddev histogram_stdvar histogram_sum hour idelta "
    "increase info irate label_join label_replace last_over_time ln log10 log2 mad_over_time "
    "max_of max_over_time min_of min_over_time minute month pi predict_linear "
    "present_over_time quantile_over_time rad range rate resets round scalar sgn sin sinh "
    "sort sort_by_label sort_by_label_desc sort_desc sqrt start start_timestamp "
    "stddev_over_time stdvar_over_time step sum_over_time tan tanh time timestamp "
    "ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time "
    "vector year ";

static void query_functions__table__sorted_and_whole(void **state)
{
    (void)state;
    uint32_t count;
    const struct query_function *f = query_functions(&count);
    const char *names = function_names;
    for (uint32_t i = 0; i < count; i++) {
        size_t len = strcspn(names, " ");
        assert_int_equal(strlen(f[i].name), len);
        assert_memory_equal(f[i].name, names, len);
        names += len + 1;
        assert_true(i == 0 || strcmp(f[i - 1].name, f[i].name) < 0);
        assert_int_equal(f[i].id, i);
        assert_ptr_equal(query_function_find(f[i].name, strlen(f[i].name)), &f[i]);
        assert_true(f[i].variadic == 0 || f[i].arg_count > 0);
        assert_in_range(f[i].arg_count, 0, QUERY_FUNCTION_ARGS);
        /* Only ranges are anchored or smoothed, only results with series have a name or an order. */
        bool of_range = f[i].args[0] == QUERY_TYPE_MATRIX;
        assert_true(of_range ||
                    !(f[i].takes_anchored || f[i].takes_smoothed || f[i].is_counter_rate));
        assert_true(f[i].returns == QUERY_TYPE_VECTOR || !(f[i].keeps_name || f[i].sorts));
    }
    assert_string_equal(names, "");
    static const char *const unknown[] = {"", "rat", "rates", "RATE", "aaa", "zzz"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(unknown); i++) {
        assert_null(query_function_find(unknown[i], strlen(unknown[i])));
    }
}

/* Keys and values as web/api/v1/translate_ast_test.go has them, for the same kinds of node. */
static void query_expr_json__every_node__as_parse_query_gives_it(void **state)
{
    struct rig *r = *state;
    static const struct good asks[] = {
        {"1.50", "{\"type\":\"numberLiteral\",\"val\":\"1.5\"}"},
        {"\"a\\\"\"", "{\"type\":\"stringLiteral\",\"val\":\"a\\\"\"}"},
        {"-(1)", "{\"expr\":{\"expr\":{\"type\":\"numberLiteral\",\"val\":\"1\"},"
                 "\"type\":\"parenExpr\"},\"op\":\"-\",\"type\":\"unaryExpr\"}"},
        {"up{a!~\"b\"} offset 1m @ 2.5",
         "{\"anchored\":false,\"matchers\":[{\"name\":\"a\",\"type\":\"!~\",\"value\":\"b\"},"
         "{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"up\"}],\"name\":\"up\",\"offset\":"
         "60000,"
         "\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":2500,"
         "\"type\":\"vectorSelector\"}"},
        {"time()", "{\"args\":[],\"func\":{\"argTypes\":[],\"name\":\"time\",\"returnType\":"
                   "\"scalar\",\"variadic\":0},\"type\":\"call\"}"},
        {"max_over_time(a[5m:1m])",
         "{\"args\":[{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":"
         "\"=\",\"value\":\"a\"}],\"name\":\"a\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":"
         "false,"
         "\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},\"offset\":0,"
         "\"offsetExpr\":null,\"range\":300000,\"rangeExpr\":null,\"startOrEnd\":null,\"step\":"
         "60000,"
         "\"stepExpr\":null,\"timestamp\":null,\"type\":\"subquery\"}],\"func\":{\"argTypes\":["
         "\"matrix\"],\"name\":\"max_over_time\",\"returnType\":\"vector\",\"variadic\":0},"
         "\"type\":"
         "\"call\"}"},
        {"a[2m * step()] @ end()",
         "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"a\"}]"
         ","
         "\"name\":\"a\",\"offset\":0,\"offsetExpr\":null,\"range\":0,\"rangeExpr\":{\"lhs\":{"
         "\"duration\":true,\"type\":\"numberLiteral\",\"val\":\"120\"},\"op\":\"*\",\"rhs\":{"
         "\"lhs\":"
         "null,\"op\":\"step\",\"rhs\":null,\"type\":\"durationExpr\",\"wrapped\":false},\"type\":"
         "\"durationExpr\",\"wrapped\":false},\"smoothed\":false,\"startOrEnd\":\"end\","
         "\"timestamp\":"
         "null,\"type\":\"matrixSelector\"}"},
        {"topk without (x) (2, 1 + vector(0))",
         "{\"expr\":{\"bool\":false,\"lhs\":{\"type\":\"numberLiteral\",\"val\":\"1\"},"
         "\"matching\":"
         "null,\"op\":\"+\",\"rhs\":{\"args\":[{\"type\":\"numberLiteral\",\"val\":\"0\"}],"
         "\"func\":{"
         "\"argTypes\":[\"scalar\"],\"name\":\"vector\",\"returnType\":\"vector\",\"variadic\":0},"
         "\"type\":\"call\"},\"type\":\"binaryExpr\"},\"grouping\":[\"x\"],\"op\":\"topk\","
         "\"param\":{"
         "\"type\":\"numberLiteral\",\"val\":\"2\"},\"type\":\"aggregation\",\"without\":true}"},
        {"vector(1) * on (x) group_left (y) fill_left (-2) vector(2)",
         "{\"bool\":false,\"lhs\":{\"args\":[{\"type\":\"numberLiteral\",\"val\":\"1\"}],\"func\":{"
         "\"argTypes\":[\"scalar\"],\"name\":\"vector\",\"returnType\":\"vector\",\"variadic\":0},"
         "\"type\":\"call\"},\"matching\":{\"card\":\"many-to-one\",\"fillValues\":{\"lhs\":-2,"
         "\"rhs\":null},\"include\":[\"y\"],\"labels\":[\"x\"],\"on\":true},\"op\":\"*\",\"rhs\":{"
         "\"args\":[{\"type\":\"numberLiteral\",\"val\":\"2\"}],\"func\":{\"argTypes\":[\"scalar\"]"
         ","
         "\"name\":\"vector\",\"returnType\":\"vector\",\"variadic\":0},\"type\":\"call\"},"
         "\"type\":"
         "\"binaryExpr\"}"},
        {"1 < bool 2",
         "{\"bool\":true,\"lhs\":{\"type\":\"numberLiteral\",\"val\":\"1\"},\"matching\":null,"
         "\"op\":\"<\",\"rhs\":{\"type\":\"numberLiteral\",\"val\":\"2\"},\"type\":"
         "\"binaryExpr\"}"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(asks); i++) {
        query_expr_json(parse(&r->arena, asks[i].query), &r->out);
        assert_string_equal(rig_text(r), asks[i].printed);
    }
}

static const struct CMUnitTest tests[] = {
    RIG_TEST(query_expr_print__good_query__as_prometheus_and_stable),
    RIG_TEST(query_expr_pretty__long_query__one_level_a_line),
    RIG_TEST(query_parse__types__derived),
    RIG_TEST(query_parse__tree__holds_what_was_written),
    RIG_TEST(query_duration_eval__expressions__in_milliseconds),
    RIG_TEST(query_parse_selector__match_parameter__matchers),
    RIG_TEST(query_expr_selectors__nested__all_found),
    RIG_TEST(query_expr_json__every_node__as_parse_query_gives_it),
    cmocka_unit_test(query_functions__table__sorted_and_whole),
};
TEST_MAIN(tests)
