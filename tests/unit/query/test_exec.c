/* Selectors, ranges, subqueries, limits: how the evaluator reaches its samples. What functions
 * compute: test_functions.c. */
#include "tests/unit/query/expect.h"

#include "base/limits.h"
#include "base/mutex.h"
#include "query/crew.h"
#include "query/eval/op.h"

#include <pthread.h>

static void eval__literals__at_every_step(void **state)
{
    static const struct ask asks[] = {
        {"1.5", 10, 0, 0, "1.5@10"},
        {"1.5", 0, 20, 10, "{} 1.5@0 1.5@10 1.5@20"},
        {"\"a\\x00b\"", 0, 0, 0, "a"},
        {"(\"text\")", 0, 0, 0, "text"},
        {"2 ^ 3 ^ 2 - -1 * 7 % 4", 0, 0, 0, "515@0"},
        {"1 / 0 - 1 / 0", 0, 0, 0, "NaN@0"},
        {"1 > bool 2", 0, 0, 0, "0@0"},
        {"-(2)", 0, 0, 0, "-2@0"},
        {"time()", 0, 20, 10, "{} 0@0 10@10 20@20"},
        {"vector(time()) * 2", 30, 0, 0, "{} 60@30"},
        {"start() + end() + range() + step()", 10, 30, 10, "{} 70@10 70@20 70@30"},
        {"step()", 10, 0, 0, "0@10"},
        {"1 + 2", 5, 4, 1, "invalid: invalid time range of the query"},
        {"\"a\"", 0, 10, 10,
         "invalid: invalid expression type \"string\" for range query, must be Scalar or instant "
         "Vector"},
    };
    EXPECT_ALL(*state, asks);
}

static void eval__selector__lookback_is_open_on_the_left(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 60000, "up{i=\"a\"} 1 2");
    query_fixture_load(f, 60000, "up{i=\"b\"} _ 3");
    query_fixture_load(f, 60000, "down 4");
    static const struct ask asks[] = {
        {"up", 0, 0, 0, "up{i=\"a\"} 1@0"},
        {"up", 59, 0, 0, "up{i=\"a\"} 1@59"},
        {"up", 60, 0, 0, "up{i=\"a\"} 2@60; up{i=\"b\"} 3@60"},
        {"up{i=\"a\"}", 359, 0, 0, "up{i=\"a\"} 2@359"},
        {"up", 360, 0, 0, ""}, /* exactly as old as the lookback */
        {"{__name__=~\".*own\"}", 0, 0, 0, "down 4@0"},
        {"up{i!=\"a\"}", 100, 0, 0, "up{i=\"b\"} 3@100"},
        {"up{j=\"\"}", 0, 0, 0, "up{i=\"a\"} 1@0"},
        {"up", -1, 0, 0, ""},
        {"up{i=\"a\"}", 0, 420, 60, "up{i=\"a\"} 1@0 2@60 2@120 2@180 2@240 2@300"},
        {"nothing", 0, 60, 60, ""},
    };
    EXPECT_ALL(f, asks);
    f->options.lookback_ms = 30000;
    static const struct ask shorter[] = {{"up", 29, 0, 0, "up{i=\"a\"} 1@29"},
                                         {"up", 30, 0, 0, ""}};
    EXPECT_ALL(f, shorter);
}

static void eval__stale_marker__ends_the_series(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 1 stale 3 NaN stale");
    static const struct ask asks[] = {
        {"x", 0, 50, 10, "x 1@0 3@20 NaN@30"},
        {"x[1m]", 50, 0, 0, "x 1@0 3@20 NaN@30"}, /* the sample at 0 lies in (-10 s, 50 s] */
        {"count_over_time(x[1m])", 50, 0, 0, "{} 3@50"},
    };
    EXPECT_ALL(f, asks);
}

static void eval__offset_and_at__shift_the_time(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 0+1x100");
    static const struct ask asks[] = {
        {"x offset 50s", 100, 0, 0, "x 5@100"},
        {"x offset -50s", 100, 0, 0, "x 15@100"},
        {"x @ 30", 100, 120, 10, "x 3@100 3@110 3@120"},
        {"x @ 30 offset 20s", 100, 0, 0, "x 1@100"},
        {"x offset 20s @ 30", 100, 0, 0, "x 1@100"},
        {"x @ start()", 100, 120, 10, "x 10@100 10@110 10@120"},
        {"x @ end() + x", 100, 120, 10, "{} 22@100 23@110 24@120"},
        {"x @ 1e12", 100, 0, 0, ""},
        {"x offset 100y", 100, 0, 0, ""},
        {"x offset -(2 * 10s)", 100, 0, 0, "x 12@100"},
        {"x offset step()", 100, 120, 10, "x 9@100 10@110 11@120"},
        {"sum_over_time(x[20s] @ 30)", 100, 110, 10, "{} 5@100 5@110"},
        {"sum_over_time(x[20s] offset 10s)", 100, 0, 0, "{} 17@100"},
        {"timestamp(x @ 35)", 100, 110, 10, "{} 30@100 30@110"},
        {"timestamp(x)", 104, 0, 0, "{} 100@104"},
        {"timestamp(x + 0)", 104, 0, 0, "{} 104@104"},
        {"timestamp((x))", 104, 0, 0, "{} 100@104"},
    };
    EXPECT_ALL(f, asks);
}

static void eval__range_selector__open_on_the_left(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 0+1x10");
    query_fixture_load(f, 10000, "y{a=\"2\"} 7");
    query_fixture_load(f, 10000, "y{a=\"1\"} 8");
    static const struct ask asks[] = {
        {"x[20s]", 40, 0, 0, "x 3@30 4@40"},
        {"x[20s]", 41, 0, 0, "x 3@30 4@40"},
        {"x[20001ms]", 40, 0, 0, "x 2@20 3@30 4@40"},
        {"(x[20s] offset 10s)", 40, 0, 0, "x 2@20 3@30"},
        {"x[2 * 10s]", 40, 0, 0, "x 3@30 4@40"},
        {"x[0.001]", 40, 0, 0, "x 4@40"},
        {"y[1m]", 0, 0, 0, "y{a=\"1\"} 8@0; y{a=\"2\"} 7@0"}, /* sorted by labels */
        {"x[1m]", 1000, 0, 0, ""},
        {"x[1m]", 0, 10, 10,
         "invalid: invalid expression type \"range vector\" for range query, must be Scalar or "
         "instant Vector"},
        {"count_over_time(x[20s])", 0, 30, 10, "{} 1@0 2@10 2@20 2@30"},
    };
    EXPECT_ALL(f, asks);
}

static void eval__subquery__steps_are_multiples(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 0+1x100");
    static const struct ask asks[] = {
        {"x[20s:10s]", 45, 0, 0, "x 3@30 4@40"},
        {"x[20s:7s]", 45, 0, 0, "x 2@28 3@35 4@42"},
        {"x[1m:]", 130, 0, 0, "x 12@120"}, /* the default step */
        {"x[20s:10s] offset 10s", 45, 0, 0, "x 2@20 3@30"},
        {"x[20s:10s] @ 45", 500, 0, 0, "x 3@30 4@40"},
        {"sum_over_time(x[20s:10s])", 40, 60, 10, "{} 7@40 9@50 11@60"},
        {"sum_over_time((x * 2)[20s:10s])", 40, 0, 0, "{} 14@40"},
        {"max_over_time(sum_over_time(x[20s:10s])[30s:10s])", 100, 0, 0, "{} 19@100"},
        {"sum_over_time(x[20s:10s] @ 40)", 100, 120, 20, "{} 7@100 7@120"},
        {"sum_over_time(vector(1)[1s:1m])", 30, 0, 0, ""}, /* no step in the range */
        {"sum_over_time(x[1m:step()])", 40, 60, 20, "{} 6@40 12@60"},
        {"sum_over_time((x @ 40)[20s:10s])", 100, 0, 0, "{} 8@100"},
        {"time()[20s:10s]", 0, 0, 0,
         "invalid: 1:1: parse error: subquery is only allowed on instant vector, got scalar "
         "instead"},
        {"sum_over_time(x[1m:step() / 1e9])", 40, 60, 20,
         "invalid: subquery step must be at least 1ms"},
        {"x[1m:step()]", 40, 0, 0, "invalid: 5:11: duration must be greater than 0"},
        {"x[100y:1ms]", 40, 0, 0,
         "limit: query processing would load too many samples into memory in query execution"},
    };
    EXPECT_ALL(f, asks);
}

static void eval__names__dropped_where_the_value_changes(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{a=\"1\"} 1 1 1");
    query_fixture_load(f, 10000, "y{a=\"1\",__type__=\"gauge\",__unit__=\"s\"} 2 2 2");
    static const struct ask asks[] = {
        {"y * 2", 20, 0, 0, "{a=\"1\"} 4@20"},
        {"-y", 20, 0, 0, "{a=\"1\"} -2@20"},
        {"+y", 20, 0, 0, "y{__type__=\"gauge\", __unit__=\"s\", a=\"1\"} 2@20"},
        {"abs(y)", 20, 0, 0, "{a=\"1\"} 2@20"},
        {"y > 1", 20, 0, 0, "y{__type__=\"gauge\", __unit__=\"s\", a=\"1\"} 2@20"},
        {"y > bool 1", 20, 0, 0, "{a=\"1\"} 1@20"},
        {"last_over_time(x[1m])", 20, 0, 0, "x{a=\"1\"} 1@20"},
        {"max_over_time(x[1m])", 20, 0, 0, "{a=\"1\"} 1@20"},
        {"{a=\"1\"} * 2", 20, 0, 0,
         "invalid: vector cannot contain metrics with the same labelset"},
        {"rate({a=\"1\"}[1m])", 20, 0, 0,
         "invalid: vector cannot contain metrics with the same labelset"},
        {"-{a=\"1\"}", 20, 0, 0, "invalid: vector cannot contain metrics with the same labelset"},
        {"-({__name__=\"x\"} > 1 or y)", 20, 0, 0, "{a=\"1\"} -2@20"},
    };
    EXPECT_ALL(f, asks);
}

/* Two metrics that take turns are one series once their names are gone. */
static void eval__same_labels_at_different_steps__merged(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{a=\"1\"} 1 2 stale");
    query_fixture_load(f, 10000, "y{a=\"1\"} _ _ 3 4");
    query_fixture_load(f, 10000, "z{a=\"2\"} 5x3");
    static const struct ask asks[] = {
        {"{a=~\".+\"} * 2", 0, 30, 10,
         "{a=\"1\"} 2@0 4@10 6@20 8@30; {a=\"2\"} 10@0 10@10 10@20 10@30"},
        {"sum_over_time({a=\"1\"}[10s])", 0, 30, 10,
         "invalid: vector cannot contain metrics with the same labelset"},
        {"label_replace({a=\"1\"}, \"__name__\", \"w\", \"\", \"\")", 0, 30, 10,
         "w{a=\"1\"} 1@0 2@10 3@20 4@30"},
    };
    EXPECT_ALL(f, asks);
}

static void eval__delayed_name_removal__names_go_at_the_end(void **state)
{
    struct query_fixture *f = *state;
    f->options.delayed_name_removal = true;
    query_fixture_load(f, 10000, "x_total{a=\"1\"} 1 1 1");
    query_fixture_load(f, 10000, "y_total{a=\"1\"} 2 2 2");
    static const struct ask asks[] = {
        {"rate(x_total[1m])", 20, 0, 0, "{a=\"1\"} 0@20"},
        {"rate({a=\"1\"}[1m])", 20, 0, 0,
         "invalid: vector cannot contain metrics with the same labelset"},
        {"sum by (__name__) (rate({a=\"1\"}[1m]))", 20, 0, 0,
         "invalid: vector cannot contain metrics with the same labelset"},
        {"count by (__name__) ({a=\"1\"})", 20, 0, 0, "x_total 1@20; y_total 1@20"},
        {"label_replace(rate({a=\"1\"}[1m]), \"n\", \"$1\", \"__name__\", \"(.*)\")", 20, 0, 0,
         "{a=\"1\", n=\"x_total\"} 0@20; {a=\"1\", n=\"y_total\"} 0@20"},
        {"label_replace(rate(x_total[1m]), \"__name__\", \"r\", \"\", \"\")", 20, 0, 0,
         "r{a=\"1\"} 0@20"},
    };
    EXPECT_ALL(f, asks);
}

static void eval__notes__have_positions(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 1 2 3");
    query_fixture_load(f, 10000, "x_total 1 2 3");
    static const struct ask asks[] = {
        {"rate(x[20s])", 20, 0, 0,
         "{} 0.1@20 # PromQL info: metric might not be a counter, name does not end in "
         "_total/_sum/_count/_bucket: \"x\" (1:6)"},
        {"1 +\n  rate(x[20s])", 20, 0, 0,
         "{} 1.1@20 # PromQL info: metric might not be a counter, name does not end in "
         "_total/_sum/_count/_bucket: \"x\" (2:8)"},
        {"rate(x_total[20s])", 20, 0, 0, "{} 0.1@20"},
        {"rate(x[1s])", 20, 0, 0, ""}, /* no result, no note */
        {"quantile(2, x)", 20, 0, 0,
         "{} +Inf@20 # PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"},
        {"sort(x)", 0, 20, 20,
         "x 1@0 3@20 # PromQL warning: sort is ineffective for range queries since results are "
         "always ordered by labels (1:1)"},
    };
    EXPECT_ALL(f, asks);
}

static void eval__samples_max__limits_what_is_held(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{a=\"1\"} 1x99");
    query_fixture_load(f, 10000, "x{a=\"2\"} 1x99");
    f->options.samples_max = 150;
    static const struct ask asks[] = {
        {"count_over_time(x{a=\"1\"}[1000s])", 990, 0, 0, "{a=\"1\"} 100@990"},
        {"sum(count_over_time(x[1000s]))", 990, 0, 0, "{} 200@990"}, /* one series at a time */
        {"x", 0, 990, 10,
         "limit: query processing would load too many samples into memory in query execution"},
        {"x[1000s]", 990, 0, 0,
         "limit: query processing would load too many samples into memory in query execution"},
        {"sum(x)", 0, 990, 10,
         "limit: query processing would load too many samples into memory in query execution"},
        {"1", 0, 1500, 10,
         "limit: query processing would load too many samples into memory in query execution"},
    };
    /* sum(x) holds one group of 100 steps and gives 100 points. */
    f->options.samples_max = 200;
    static const struct ask enough[] = {{"sum(x)", 980, 990, 10, "{} 2@980 2@990"}};
    EXPECT_ALL(f, enough);
    f->options.samples_max = 150;
    EXPECT_ALL(f, asks);
}

static void eval__limit__cuts_and_says_so(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{a=\"2\"} 1");
    query_fixture_load(f, 10000, "x{a=\"1\"} 2");
    struct query_params params = {.limit = 1};
    struct query_result r;
    struct tsdb_error err;
    assert_ok_err(query_fixture_eval(f, "x", &params, &r, &err), &err);
    assert_int_equal(r.series_count, 1);
    assert_true(r.truncated);
    assert_memory_equal(r.series[0].labels.items[1].value, "1", 1);
    params.limit = 2;
    assert_ok_err(query_fixture_eval(f, "x", &params, &r, &err), &err);
    assert_false(r.truncated);
    assert_int_equal(r.stats.samples_read, 2);
}

static void eval__cancelled_or_late__stops(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 1");
    const struct query_params params = {0};
    struct query_result r;
    struct tsdb_error err;
    f->request.deadline_ns = 1;
    assert_int_equal(query_fixture_eval(f, "x", &params, &r, &err), TSDB_TIMEOUT);
    assert_string_equal(err.msg, "query timed out in expression evaluation");
    f->request.deadline_ns = 0;
    tsdb_request_cancel(&f->request);
    assert_int_equal(query_fixture_eval(f, "x", &params, &r, &err), TSDB_CANCELLED);
    assert_string_equal(err.msg, "query was canceled in expression evaluation");
}

/* A clock whose reading cancels the request: the third look is in the middle of the work. */
struct watch {
    struct tsdb_request *request;
    int looks;
};

static int64_t watch_mono(void *ctx)
{
    struct watch *w = ctx;
    return ++w->looks > 6 ? INT64_MAX : 0;
}

static void eval__deadline_while_working__noticed_within_128_series(void **state)
{
    struct query_fixture *f = *state;
    char line[64];
    for (int i = 0; i < 250; i++) {
        snprintf(line, sizeof line, "x{i=\"%d\"} 1", i);
        query_fixture_load(f, 10000, line);
    }
    struct watch w = {&f->request, 0};
    const struct tsdb_clock clock = {watch_mono, watch_mono, &w};
    f->request.clock = &clock;
    f->request.deadline_ns = 1000;
    const struct query_params params = {0};
    struct query_result r;
    struct tsdb_error err;
    assert_int_equal(query_fixture_eval(f, "count(x + on (i) x)", &params, &r, &err), TSDB_TIMEOUT);
}

static void eval__storage_fails__error_reaches_the_caller(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{a=\"1\"} 1 2");
    query_fixture_load(f, 10000, "x{a=\"2\"} 1 2");
    static const char *const queries[] = {
        "x",
        "sum(x)",
        "x + 1",
        "x + x",
        "rate(x[1m])",
        "topk(1, x)",
        "x and x",
        "x or x",
        "x unless x",
        "scalar(x)",
        "absent(x)",
        "sum_over_time(x[1m:10s])",
        "sort(x)",
        "count_values(\"v\", x)",
        "x[1m]",
        "quantile(0.5, x)",
        "vector(scalar(x))",
        "absent_over_time(x[1m])",
        "x @ 10 + 1",
        "histogram_quantile(0.5, x)",
        "label_join(x, \"b\", \"\")",
    };
    for (uint32_t after = 0; after < 2; after++) {
        for (size_t i = 0; i < TSDB_ARRAY_LEN(queries); i++) {
            const struct query_params params = {.start_ms = 10000, .end_ms = 10000};
            struct query_result r;
            struct tsdb_error err;
            f->fail_read = TSDB_IO;
            f->fail_after = after;
            f->reads = 0;
            if (query_fixture_eval(f, queries[i], &params, &r, &err) != TSDB_IO) {
                fail_msg("%s: no error", queries[i]);
            }
            assert_string_equal(err.msg, "the disk is gone");
        }
    }
}

static void eval__failing_allocation__is_nomem_and_leaks_nothing(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x_total{a=\"1\",le=\"1\"} 1 2 3 4");
    query_fixture_load(f, 10000, "x_total{a=\"1\",le=\"+Inf\"} 1 2 3 4");
    query_fixture_load(f, 10000, "x_total{a=\"2\",le=\"+Inf\"} 1 _ 3 4");
    static const char *const queries[] = {
        "sum by (a) (rate(x_total[20s])) / on (a) group_left () sum by (a) (x_total)",
        "topk(1, x_total) or sort_desc(x_total) unless count_values(\"v\", x_total)",
        "histogram_quantile(0.9, max_over_time(x_total[20s:10s])) + quantile(0.5, x_total)",
        "label_replace(label_join(x_total, \"b\", \"-\", \"a\"), \"c\", \"$1\", \"b\", \"(.+)\")",
        "absent(y{a=\"1\"}) or absent_over_time(y[5m])",
        "{a=~\".+\"} * 2 > bool scalar(sum(x_total))",
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(queries); i++) {
        bool passed = false;
        for (uint64_t n = 1; !passed; n++) {
            const struct query_params params = {.start_ms = 0, .end_ms = 30000, .step_ms = 10000};
            struct query_result r;
            struct tsdb_error err;
            assert_true(n < 5000);
            tsdb_arena_deinit(&f->result);
            tsdb_arena_init(&f->result, TSDB_MEM_QUERY, 64, &f->request.account);
            tsdb_alloc_fail_nth(n, 1);
            enum tsdb_status status = query_fixture_eval(f, queries[i], &params, &r, &err);
            passed = tsdb_alloc_fail_count() < n;
            tsdb_alloc_ops_set(NULL);
            if (status != (passed ? TSDB_OK : TSDB_NOMEM)) {
                fail_msg("%s: allocation %u: %s", queries[i], (unsigned)n,
                         tsdb_status_name(status));
            }
        }
        tsdb_arena_deinit(&f->result);
        tsdb_arena_init(&f->result, TSDB_MEM_QUERY, 4096, &f->request.account);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), 0);
    }
}

/* What fails where a helper works is tried again by the query's own thread. */
static void eval__failing_allocation_with_helpers__ends_well_or_is_nomem(void **state)
{
    struct query_fixture *f = *state;
    for (char a = 'a'; a < 'z'; a++) {
        char series[64];
        snprintf(series, sizeof series, "x_total{a=\"%c\"} 1 2 3 4", a);
        query_fixture_load(f, 10000, series);
    }
    static const char *const queries[] = {"sum(rate(x_total[20s]))", "x_total",
                                          "rate(x_total[20s])"};
    f->options.crew_work_min = 1;
    for (size_t i = 0; i < 2 * TSDB_ARRAY_LEN(queries); i++) {
        uint64_t ended_well = 0;
        f->scattered = i >= TSDB_ARRAY_LEN(queries);
        assert_ok(query_crew_create(3, &f->options.crew, NULL)); /* its threads allocate once */
        for (uint64_t n = 1; n < 300; n++) {
            const struct query_params params = {.start_ms = 0, .end_ms = 30000, .step_ms = 10000};
            struct query_result r;
            struct tsdb_error err;
            tsdb_arena_deinit(&f->result);
            tsdb_arena_init(&f->result, TSDB_MEM_QUERY, 64, &f->request.account);
            tsdb_alloc_fail_nth(n, 1);
            enum tsdb_status status =
                query_fixture_eval(f, queries[i % TSDB_ARRAY_LEN(queries)], &params, &r, &err);
            tsdb_alloc_ops_set(NULL);
            assert_true(status == TSDB_OK || status == TSDB_NOMEM);
            ended_well += status == TSDB_OK;
        }
        assert_true(ended_well > 0);
        query_crew_destroy(f->options.crew);
        tsdb_arena_deinit(&f->result);
        tsdb_arena_init(&f->result, TSDB_MEM_QUERY, 4096, &f->request.account);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), 0);
    }
}

static void eval__account_limit__is_limit(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 1x99");
    tsdb_account_init(&f->request.account, 200000, NULL);
    const struct query_params params = {.start_ms = 0, .end_ms = 990000, .step_ms = 10};
    struct query_result r;
    struct tsdb_error err;
    assert_int_equal(query_fixture_eval(f, "x", &params, &r, &err), TSDB_LIMIT);
    assert_string_equal(err.msg, "query needs more memory than it may use");
}

/* A source of many series, one sample each, that counts what it is asked for. */
#define WIDE 40000u
struct wide {
    uint32_t refs[WIDE];
    char ids[WIDE][32];
    uint32_t labels, reads;
    struct tsdb_request *request; /* is cancelled with so many label sets and reads; NULL: is not */
    uint32_t cancel_at;
};

static void wide_turn(const struct wide *w)
{
    if (w->request && w->labels + w->reads == w->cancel_at) {
        tsdb_request_cancel(w->request);
    }
}

static enum tsdb_status wide_open(void *ctx, struct tsdb_time_range range, struct tsdb_error *err)
{
    struct wide *w = ctx;
    (void)range;
    (void)err;
    for (uint32_t i = 0; i < WIDE; i++) {
        w->refs[i] = i;
        snprintf(w->ids[i], sizeof w->ids[i], "%031u", i);
    }
    w->labels = w->reads = 0;
    return TSDB_OK;
}

static enum tsdb_status wide_select(void *ctx, const struct tsdb_matcher *matchers,
                                    uint32_t matcher_count, struct query_series_set *out,
                                    struct tsdb_error *err)
{
    struct wide *w = ctx;
    (void)matchers;
    (void)matcher_count;
    (void)err;
    *out = (struct query_series_set){w->refs, WIDE};
    return TSDB_OK;
}

static enum tsdb_status wide_labels(void *ctx, uint32_t ref, struct tsdb_arena *arena,
                                    struct tsdb_labels *out, struct tsdb_error *err)
{
    struct wide *w = ctx;
    struct tsdb_label *items = TSDB_ARENA_ARRAY(arena, struct tsdb_label, 2);
    (void)err;
    w->labels++;
    wide_turn(w);
    if (!items) {
        return tsdb_arena_status(arena);
    }
    items[0] = tsdb_label_make("__name__", "wide");
    items[1] = tsdb_label_make("id", w->ids[ref]);
    *out = (struct tsdb_labels){items, 2};
    return TSDB_OK;
}

/* Every other one has a sample. */
static enum tsdb_status wide_read(void *ctx, const struct query_read *read,
                                  struct tsdb_arena *arena, struct tsdb_columns *out,
                                  struct tsdb_error *err)
{
    static const int64_t t_ms = 0;
    static const uint64_t bits = 0;
    struct wide *w = ctx;
    (void)arena;
    (void)err;
    w->reads++;
    wide_turn(w);
    *out = (struct tsdb_columns){.count = read->ref % 2, .t_ms = &t_ms, .bits = &bits};
    return TSDB_OK;
}

static void wide_close(void *ctx)
{
    (void)ctx;
}

static enum tsdb_status wide_eval(struct query_fixture *f, struct wide *w, uint64_t limit,
                                  const char *query, struct query_result *out)
{
    static const struct query_source_ops ops = {.open = wide_open,
                                                .select = wide_select,
                                                .labels = wide_labels,
                                                .read = wide_read,
                                                .close = wide_close};
    const struct query_source source = {&ops, w};
    const struct query_params params = {0};
    struct query_expr *e;
    tsdb_arena_deinit(&f->result);
    tsdb_account_init(&f->request.account, limit, NULL);
    tsdb_arena_init(&f->result, TSDB_MEM_QUERY, 4096, &f->request.account);
    assert_ok(query_parse(query, strlen(query), &f->options, &f->result, &e, NULL));
    return query_eval_source(&source, &f->options, &f->request, e, &params, &f->result, out, NULL);
}

/* What cannot fit is refused when an eighth of it is there; what can, has all its labels, and asks for no others. */
static void eval__too_many_series__refused_early(void **state)
{
    struct query_fixture *f = *state;
    struct wide *w = calloc(1, sizeof *w);
    struct query_result r;
    assert_non_null(w);
    assert_ok(wide_eval(f, w, 0, "wide", &r));
    uint64_t whole = atomic_load(&f->request.account.peak_bytes);
    assert_int_equal(r.series_count, WIDE / 2);
    assert_int_equal(w->labels, WIDE / 2);
    for (uint32_t i = 0; i < r.series_count; i++) {
        assert_int_equal(r.series[i].labels.count, 2);
        assert_string_equal(r.series[i].labels.items[0].value, "wide");
        assert_string_equal(r.series[i].labels.items[1].value, w->ids[2 * i + 1]);
    }
    assert_int_equal(wide_eval(f, w, whole / 2, "wide", &r), TSDB_LIMIT);
    assert_int_equal(atomic_load(&f->request.account.refusals), 1);
    assert_true(w->reads <= WIDE / 4 + 1);
    assert_ok(wide_eval(f, w, whole, "wide", &r));
    assert_ok(wide_eval(f, w, 0, "-wide", &r));
    whole = atomic_load(&f->request.account.peak_bytes);
    assert_int_equal(wide_eval(f, w, whole / 4, "-wide", &r), TSDB_LIMIT);
    assert_true(w->labels <= WIDE / 2 + 1);
    assert_int_equal(w->reads, 0);
    assert_ok(wide_eval(f, w, whole, "-wide", &r));
    free(w);
}

/* Whatever it is at, a query does no more than this after its client is gone: series, of which a millisecond has some
 * hundreds. */
#define WORK_AFTER_CANCEL 256u

static void eval__cancelled_anywhere__ends_within_some_series(void **state)
{
    struct query_fixture *f = *state;
    static const char *const queries[] = {"wide",
                                          "-wide",
                                          "sum(wide)",
                                          "count(wide)",
                                          "sum by (id) (wide)",
                                          "topk(3, wide)",
                                          "wide + on(id) wide",
                                          "rate(wide[1m])",
                                          "sort(wide)",
                                          "wide[5m]",
                                          "label_replace(wide, \"a\", \"b\", \"\", \"\")"};
    struct wide *w = calloc(1, sizeof *w);
    struct query_result r;
    assert_non_null(w);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(queries); i++) {
        assert_ok(wide_eval(f, w, 0, queries[i], &r));
        uint32_t all = w->labels + w->reads;
        for (uint32_t part = 1; part < 8; part++) {
            w->request = &f->request;
            w->cancel_at = all / 8 * part;
            assert_int_equal(wide_eval(f, w, 0, queries[i], &r), TSDB_CANCELLED);
            assert_true(w->labels + w->reads <= w->cancel_at + WORK_AFTER_CANCEL);
            atomic_store(&f->request.cancelled, 0);
            w->request = NULL;
        }
    }
    free(w);
}

static int ints_compare(const void *a, const void *b)
{
    int x = *(const int *)a;
    int y = *(const int *)b;
    return (x > y) - (x < y);
}

static void exec_sort__cancelled__stops_and_says_so(void **state)
{
    (void)state;
    static int items[20000];
    struct tsdb_request request;
    struct tsdb_error err = {0};
    struct exec x = {.request = &request, .err = &err};
    tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
    for (int i = 0; i < 20000; i++) {
        items[i] = (i * 7919) % 20011;
    }
    assert_ok(exec_sort(&x, items, 20000, sizeof items[0], ints_compare));
    for (int i = 1; i < 20000; i++) {
        assert_true(items[i - 1] <= items[i]);
    }
    assert_ok(exec_sort(&x, NULL, 0, sizeof items[0], ints_compare));
    tsdb_request_cancel(&request);
    assert_int_equal(exec_sort(&x, items, 20000, sizeof items[0], ints_compare), TSDB_CANCELLED);
    assert_string_equal(err.msg, "query was canceled in expression evaluation");
}

/* A chain and brackets of thousands, as Prometheus takes them, on the stack of a query. */
static void *deep_queries(void *arg)
{
    struct query_fixture *f = arg;
    struct tsdb_buf b;
    struct tsdb_buf out;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    for (int form = 0; form < 3; form++) {
        int levels = (form == 0 ? TSDB_QUERY_TREE_MAX : TSDB_QUERY_DEPTH_MAX) / 2 - 10;
        tsdb_buf_clear(&b);
        tsdb_buf_put_str(&b, form == 0 ? "x" : "");
        for (int i = 0; i < levels; i++) {
            tsdb_buf_put_str(&b, form == 0 ? "+x" : form == 1 ? "(-" : "label_replace(");
        }
        tsdb_buf_put_str(&b, form == 0 ? "" : "x");
        for (int i = 0; i < levels && form > 0; i++) {
            tsdb_buf_put_str(&b, form == 1 ? ")" : ",\"a\",\"$1\",\"a\",\"(.*)\")");
        }
        tsdb_buf_put_u8(&b, 0);
        query_fixture_text(f, (const char *)b.data, 0, 0, 0, &out);
        if (strncmp((const char *)out.data, form == 2 ? "x 1@0" : "{} ", form == 2 ? 5 : 3) != 0) {
            fail_msg("form %d: %.200s", form, (const char *)out.data);
        }
    }
    tsdb_buf_deinit(&b);
    tsdb_buf_deinit(&out);
    return NULL;
}

static void query_eval__thousands_of_levels__evaluated(void **state)
{
    struct query_fixture *f = *state;
    pthread_t thread;
    query_fixture_load(f, 10000, "x 1");
    assert_ok(
        tsdb_thread_start_with(&thread, "deep", TSDB_QUERY_STACK_BYTES, deep_queries, f, NULL));
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(exec_sort__cancelled__stops_and_says_so),
    FIXTURE_TEST(query_eval__thousands_of_levels__evaluated),
    FIXTURE_TEST(eval__literals__at_every_step),
    FIXTURE_TEST(eval__selector__lookback_is_open_on_the_left),
    FIXTURE_TEST(eval__stale_marker__ends_the_series),
    FIXTURE_TEST(eval__offset_and_at__shift_the_time),
    FIXTURE_TEST(eval__range_selector__open_on_the_left),
    FIXTURE_TEST(eval__subquery__steps_are_multiples),
    FIXTURE_TEST(eval__names__dropped_where_the_value_changes),
    FIXTURE_TEST(eval__same_labels_at_different_steps__merged),
    FIXTURE_TEST(eval__delayed_name_removal__names_go_at_the_end),
    FIXTURE_TEST(eval__notes__have_positions),
    FIXTURE_TEST(eval__samples_max__limits_what_is_held),
    FIXTURE_TEST(eval__limit__cuts_and_says_so),
    FIXTURE_TEST(eval__cancelled_or_late__stops),
    FIXTURE_TEST(eval__deadline_while_working__noticed_within_128_series),
    FIXTURE_TEST(eval__storage_fails__error_reaches_the_caller),
    FIXTURE_TEST(eval__failing_allocation__is_nomem_and_leaks_nothing),
    FIXTURE_TEST(eval__failing_allocation_with_helpers__ends_well_or_is_nomem),
    FIXTURE_TEST(eval__account_limit__is_limit),
    FIXTURE_TEST(eval__too_many_series__refused_early),
    FIXTURE_TEST(eval__cancelled_anywhere__ends_within_some_series),
};
TEST_MAIN(tests)
