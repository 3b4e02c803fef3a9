/* Which queries may be put together from steps, and what a step of them reads. */
#include "tests/unit/query/rig.h"

#include "query/cache/stepwise.h"
#include "tests/support/query/fixture.h"

#include <string.h>

static const struct query_options every_feature = {.lookback_ms = 300000,
                                                   .default_step_ms = 60000,
                                                   .experimental_functions = true,
                                                   .extended_range_selectors = true,
                                                   .fill_modifiers = true};

static bool stepwise(struct rig *r, const struct query_options *o, const char *text,
                     struct stepwise *out)
{
    struct query_expr *e = NULL;
    struct tsdb_error err = {0};
    const struct query_params p = {.start_ms = 0, .end_ms = 60000, .step_ms = 15000};
    assert_ok_err(query_parse(text, strlen(text), o, &r->arena, &e, &err), &err);
    return query_stepwise(e, o, &p, out);
}

static void query_stepwise__what_has_a_reach__what_it_reads(void **state)
{
    static const struct {
        const char *text;
        int64_t min_ms, max_ms;
        bool selects_all;
    } cases[] = {
        {"x", -299999, 0, false},
        {"sum by (a) (rate(x[1m]))", -59999, 0, false},
        {"x offset 10s", -309999, -10000, false},
        {"x offset -10s", -289999, 10000, false},
        {"x + rate(y[1h])", -3599999, 0, false},
        {"x offset 1h - x", -3899999, 0, false},
        {"max_over_time(x[10m:1m])", -899999, 0, false},
        {"max_over_time(rate(x[5m])[10m:] offset 1m)", -959999, -60000, false},
        {"max_over_time(max_over_time(x[1m:10s])[10m:1m])", -959999, 0, false},
        {"topk(3, x)", -299999, 0, false},
        {"histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", -299999, 0, false},
        {"label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")", -299999, 0, false},
        {"last_over_time({a=\"b\"}[1m])", -59999, 0, false},
        {"sum_over_time((sum({a=\"b\"}))[1m:1s])", -359999, 0, false},
        {"vector(time()) + x", -299999, 0, false},
        {"{__name__=\"x\"} or absent_over_time({a=~\".+\"}[1h])", -3599999, 0, true},
        {"sum(increase({a=\"b\"}[1m]))", -59999, 0, true},
        {"rate({__name__=~\"x|y\"}[1m])", -59999, 0, true},
    };
    struct rig *r = *state;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct stepwise out;
        if (!stepwise(r, &every_feature, cases[i].text, &out)) {
            fail_msg("%s: not stepwise", cases[i].text);
        }
        if (out.reach.min_ms != cases[i].min_ms || out.reach.max_ms != cases[i].max_ms ||
            out.selects_all != cases[i].selects_all) {
            fail_msg("%s: %lld to %lld", cases[i].text, (long long)out.reach.min_ms,
                     (long long)out.reach.max_ms);
        }
    }
}

static void query_stepwise__what_is_not_proven__no(void **state)
{
    static const char *const cases[] = {
        "1 + 1",
        "time()",
        "x @ 10",
        "x @ end()",
        "sum(rate(x[1m] @ start()))",
        "max_over_time(x[10m:1m] @ 100)",
        "rate(x[step()])",
        "x offset step()",
        "max_over_time({a=\"b\"}[10m:1m])",
        "max_over_time((x or y)[10m:1m])",
        "max_over_time((sum by (__name__) (x))[10m:1m])",
        "max_over_time(x[14s:1s])",                         /* steps are 15 s apart */
        "max_over_time(max_over_time(x[50s:10s])[10m:1m])", /* inner windows a minute */
        "max_over_time(sum_over_time(x[50s:10s])[10m:])",
        "histogram_count(x)",
        "histogram_sum(rate(x[1m]))",
        "histogram_avg(x)",
        "info(x)",
        "x * end()",
        "limitk(1, x)",
        "limit_ratio(0.5, x)",
        "rate(x[1m] smoothed)",
        "rate(x[1m] anchored)",
        "x + fill(0) y",
        "mad_over_time(x[1m])",
    };
    struct rig *r = *state;
    struct stepwise out;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        if (stepwise(r, &every_feature, cases[i], &out)) {
            fail_msg("%s: stepwise", cases[i]);
        }
    }
}

static void query_stepwise__instant_or_features__no(void **state)
{
    struct rig *r = *state;
    struct stepwise out;
    struct query_options o = every_feature;
    assert_true(stepwise(r, &o, "x", &out));
    o.delayed_name_removal = true;
    assert_false(stepwise(r, &o, "x", &out));
    o = every_feature;
    o.use_start_timestamps = true;
    assert_false(stepwise(r, &o, "x", &out));
    struct query_expr *e = NULL;
    const struct query_params instant = {0};
    assert_ok(query_parse("x", 1, &every_feature, &r->arena, &e, NULL));
    assert_false(query_stepwise(e, &every_feature, &instant, &out));
}

/* ---- what only the series tell ---- */

static bool entangled(const char *one, const char *other, const char *text)
{
    struct query_fixture *f = calloc(1, sizeof *f);
    struct query_result result = {0};
    struct tsdb_error err = {0};
    const struct query_params p = {.start_ms = 60000, .end_ms = 120000, .step_ms = 15000};
    assert_non_null(f);
    query_fixture_init(f);
    query_fixture_load(f, 15000, one);
    if (other) {
        query_fixture_load(f, 15000, other);
    }
    assert_ok_err(query_fixture_eval(f, text, &p, &result, &err), &err);
    bool is = result.entangled;
    query_fixture_deinit(f);
    free(f);
    return is;
}

static void query_eval__series_that_lose_more_than_a_name__entangled(void **state)
{
    (void)state;
    assert_false(entangled("x{a=\"1\"} 1+1x20", NULL, "rate(x[1m])"));
    assert_true(entangled("x{__type__=\"counter\",a=\"1\"} 1+1x20", NULL, "rate(x[1m])"));
    assert_true(entangled("x{__unit__=\"s\"} 1+1x20", NULL, "sum(rate(x[1m]))"));
    /* By steps, this is an error where both have a sample. */
    assert_false(entangled("x{__unit__=\"s\"} 1+1x20", NULL, "-x"));
}

static void query_eval__series_that_become_equal_over_ranges__entangled(void **state)
{
    (void)state;
    static const char early[] = "x{a=\"1\"} 1+1x3";
    static const char late[] = "y{a=\"1\"} _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ 1 2";
    static const char other[] = "y{a=\"2\"} 1+1x20";
    assert_true(entangled(early, late, "rate({a=\"1\"}[1m])"));
    assert_false(entangled(early, late, "rate(x[1m])"));
    assert_false(entangled(early, other, "rate({a=~\".\"}[1m])"));
}

static void query_eval__select_before__series_of_an_earlier_start(void **state)
{
    (void)state;
    struct query_fixture *f = calloc(1, sizeof *f);
    struct query_result result = {0};
    const struct query_params p = {
        .start_ms = 60000, .end_ms = 120000, .step_ms = 15000, .select_before_ms = 45000};
    assert_non_null(f);
    query_fixture_init(f);
    query_fixture_load(f, 15000, "x 1+1x20");
    assert_ok(query_fixture_eval(f, "rate(x[10s])", &p, &result, NULL));
    assert_true(f->range.min_ms == 60000 - 45000 - 10000 + 1);
    assert_true(f->range.max_ms == 120000);
    query_fixture_deinit(f);
    free(f);
}

static const struct CMUnitTest tests[] = {
    RIG_TEST(query_stepwise__what_has_a_reach__what_it_reads),
    RIG_TEST(query_stepwise__what_is_not_proven__no),
    RIG_TEST(query_stepwise__instant_or_features__no),
    cmocka_unit_test(query_eval__series_that_lose_more_than_a_name__entangled),
    cmocka_unit_test(query_eval__series_that_become_equal_over_ranges__entangled),
    cmocka_unit_test(query_eval__select_before__series_of_an_earlier_start),
};

TEST_MAIN(tests)
