/* What functions compute. Values are worked out by hand from the definitions in Prometheus's
 * documentation. */
#include "tests/unit/query/expect.h"

static void rate__counter__extrapolated_to_the_range(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "up_total 0+1x100");           /* fills any range */
    query_fixture_load(f, 10000, "young_total _ _ _ 100+10x3"); /* 30 s .. 60 s */
    query_fixture_load(f, 10000, "zero_total _ _ _ 1+10x3");    /* cannot have been below zero */
    query_fixture_load(f, 10000, "reset_total 0 10 20 5 15");
    query_fixture_load(f, 10000, "one_total 5");
    query_fixture_load(f, 10000, "g 50 40 45 30");
    static const struct ask asks[] = {
        {"rate(up_total[1m])", 600, 0, 0, "{} 0.1@600"},
        {"increase(up_total[1m])", 600, 0, 0, "{} 6@600"},
        /* In (0, 60]: 4 samples at 30..60, 30 apart from the start: further than 1.1 * 10, so half
           an interval is added there. */
        {"increase(young_total[1m])", 60, 0, 0, "{} 35@60"},
        /* ... but not beyond where the counter would have been zero: 3 s before 30. */
        {"round(increase(zero_total[1m]))", 60, 0, 0, "{} 31@60"},
        /* Rise 10 + 10 + 5 + 10 = 35 over 40 s of samples; the first lies 10 s after the start but
           had value 0 there. */
        {"increase(reset_total[50s])", 40, 0, 0, "{} 35@40"},
        {"increase(one_total[1m])", 0, 0, 0, ""},
        {"delta(g[40s]) # rises may be negative", 30, 0, 0, "{} -26.666666666666664@30"},
        {"irate(up_total[1m])", 600, 0, 0, "{} 0.1@600"},
        {"irate(reset_total[1m])", 30, 0, 0, "{} 0.5@30"},
        {"idelta(g[1m])", 30, 0, 0, "{} -15@30"},
        {"idelta(one_total[1m])", 0, 0, 0, ""},
    };
    EXPECT_ALL(f, asks);
}

static void over_time__simple__as_defined(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 3 1 4 1 5");
    query_fixture_load(f, 10000, "n NaN 2 NaN 1");
    static const struct ask asks[] = {
        {"sum_over_time(x[1m])", 40, 0, 0, "{} 14@40"},
        {"avg_over_time(x[1m])", 40, 0, 0, "{} 2.8@40"},
        {"min_over_time(x[1m])", 40, 0, 0, "{} 1@40"},
        {"max_over_time(x[1m])", 40, 0, 0, "{} 5@40"},
        {"count_over_time(x[1m])", 40, 0, 0, "{} 5@40"},
        {"last_over_time(x[1m])", 40, 0, 0, "x 5@40"},
        {"first_over_time(x[1m])", 40, 0, 0, "x 3@40"},
        {"present_over_time(x[1m])", 40, 0, 0, "{} 1@40"},
        {"stdvar_over_time(x[1m])", 40, 0, 0, "{} 2.56@40"},
        {"stddev_over_time(x[1m])", 40, 0, 0, "{} 1.6@40"},
        {"quantile_over_time(0.5, x[1m])", 40, 0, 0, "{} 3@40"},
        {"quantile_over_time(0.75, x[1m])", 40, 0, 0, "{} 4@40"},
        {"quantile_over_time(0.9, x[1m])", 40, 0, 0, "{} 4.6@40"},
        {"quantile_over_time(-1, x[1m])", 40, 0, 0,
         "{} -Inf@40 # PromQL warning: quantile value should be between 0 and 1, got -1 (1:20)"},
        {"mad_over_time(x[1m])", 40, 0, 0, "{} 2@40"},
        {"ts_of_min_over_time(x[1m])", 40, 0, 0, "{} 30@40"}, /* the last of equals */
        {"ts_of_max_over_time(x[1m])", 40, 0, 0, "{} 40@40"},
        {"ts_of_first_over_time(x[1m])", 40, 0, 0, "{} 0@40"},
        {"ts_of_last_over_time(x[1m])", 44, 0, 0, "{} 40@44"},
        {"changes(x[1m])", 40, 0, 0, "{} 4@40"},
        {"resets(x[1m])", 40, 0, 0, "{} 2@40"},
        {"min_over_time(n[1m])", 30, 0, 0, "{} 1@30"}, /* NaN loses */
        {"max_over_time(n[1m])", 30, 0, 0, "{} 2@30"},
        {"sum_over_time(n[1m])", 30, 0, 0, "{} NaN@30"},
        {"changes(n[1m])", 30, 0, 0, "{} 3@30"},
        {"mad_over_time(n[1m])", 30, 0, 0, "{} NaN@30"},
        {"absent_over_time(x[20s])", 0, 80, 20, "{} 1@60 1@80"},
        {"absent_over_time(nope{a=\"1\",b=~\"2\",c=\"3\",c=\"4\"}[20s])", 0, 0, 0, "{a=\"1\"} 1@0"},
    };
    EXPECT_ALL(f, asks);
}

static void regression__line__slope_and_forecast(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "line 5+2x9");
    query_fixture_load(f, 10000, "flat 7x9");
    query_fixture_load(f, 10000, "infinite Inf Inf");
    static const struct ask asks[] = {
        {"deriv(line[2m])", 90, 0, 0, "{} 0.2@90"},
        {"predict_linear(line[2m], 60)", 90, 0, 0, "{} 35@90"},
        {"predict_linear(line[2m] @ 90, 0)", 90, 110, 10, "{} 23@90 25@100 27@110"},
        {"deriv(flat[2m])", 90, 0, 0, "{} 0@90"},
        {"deriv(infinite[2m])", 90, 0, 0, "{} NaN@90"},
        {"deriv(line[10s])", 90, 0, 0, ""}, /* one sample */
        {"double_exponential_smoothing(line[2m], 0.5, 0.5)", 90, 0, 0, "{} 23@90"},
        {"double_exponential_smoothing(line[2m], 0, 0.5)", 90, 0, 0,
         "invalid: invalid smoothing factor. Expected: 0 < sf < 1, got: 0.000000"},
        {"double_exponential_smoothing(line[2m], 0.5, 1)", 90, 0, 0,
         "invalid: invalid trend factor. Expected: 0 < tf < 1, got: 1.000000"},
    };
    EXPECT_ALL(f, asks);
}

/* Sums keep what plain addition loses, and averages do not overflow. */
static void sums__hard_numbers__compensated(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{a=\"1\"} 5e30 5e30");
    query_fixture_load(f, 10000, "x{a=\"2\"} 1 1e308");
    query_fixture_load(f, 10000, "x{a=\"3\"} -5e30 1e308");
    query_fixture_load(f, 10000, "y 1e100 1 -1e100");
    query_fixture_load(f, 10000, "z 1e308 1e308 1e308");
    query_fixture_load(f, 10000, "i Inf 1 -Inf");
    static const struct ask asks[] = {
        {"sum(x)", 0, 0, 0, "{} 1@0"},
        {"avg(x) * 3", 0, 0, 0, "{} 1@0"},
        {"sum_over_time(y[1m])", 20, 0, 0, "{} 1@20"},
        {"avg_over_time(y[1m]) * 3", 20, 0, 0, "{} 1@20"},
        {"avg_over_time(z[1m])", 20, 0, 0, "{} 1e+308@20"},
        {"sum_over_time(z[1m])", 20, 0, 0, "{} +Inf@20"},
        {"avg(x{a!=\"1\"})", 10, 0, 0, "{} 1e+308@10"},
        {"sum_over_time(i[1m])", 20, 0, 0, "{} NaN@20"},
        {"sum_over_time(i[1m])", 10, 0, 0, "{} +Inf@10"},
    };
    EXPECT_ALL(f, asks);
}

static void math__edge_values__as_go(void **state)
{
    static const struct ask asks[] = {
        {"round(vector(2.5))", 0, 0, 0, "{} 3@0"},
        {"round(vector(-2.5))", 0, 0, 0, "{} -2@0"},
        {"round(vector(2.34), 0.1)", 0, 0, 0, "{} 2.3@0"},
        {"round(vector(7), 5)", 0, 0, 0, "{} 5@0"},
        {"ceil(vector(1.2)) + floor(vector(-1.2)) + abs(vector(-3))", 0, 0, 0, "{} 3@0"},
        {"sqrt(vector(-1))", 0, 0, 0, "{} NaN@0"},
        {"ln(vector(0))", 0, 0, 0, "{} -Inf@0"},
        {"log2(vector(8)) + log10(vector(1000)) + exp(vector(0))", 0, 0, 0, "{} 7@0"},
        {"sgn(vector(-0.1)) + sgn(vector(5)) + sgn(vector(0))", 0, 0, 0, "{} 0@0"},
        {"sgn(vector(NaN))", 0, 0, 0, "{} NaN@0"},
        {"clamp(vector(5), 1, 3)", 0, 0, 0, "{} 3@0"},
        {"clamp(vector(5), 3, 1)", 0, 0, 0, ""},
        {"clamp_min(vector(5), 7) + clamp_max(vector(5), 4)", 0, 0, 0, "{} 11@0"},
        {"clamp_min(vector(5), NaN)", 0, 0, 0, "{} NaN@0"},
        {"deg(vector(pi())) + rad(vector(180)) - pi()", 0, 0, 0, "{} 180@0"},
        {"sin(vector(0)) + cos(vector(0)) + tan(vector(0)) + asin(vector(0)) + acos(vector(1)) + "
         "atan(vector(0))",
         0, 0, 0, "{} 1@0"},
        {"sinh(vector(0)) + cosh(vector(0)) + tanh(vector(0)) + asinh(vector(0)) + "
         "acosh(vector(1)) + atanh(vector(0))",
         0, 0, 0, "{} 1@0"},
        {"vector(1) atan2 vector(1)", 0, 0, 0, "{} 0.7853981633974483@0"},
        {"min_of(1, NaN) + max_of(1, 2)", 0, 0, 0, "NaN@0"},
        {"max_of(1, 2) * min_of(3, 4)", 0, 0, 0, "6@0"},
        {"-5 % 3", 0, 0, 0, "-2@0"},
    };
    EXPECT_ALL(*state, asks);
}

static void dates__known_days__taken_apart(void **state)
{
    static const struct ask asks[] = {
        {"minute() + 100 * hour()", 3723, 0, 0, "{} 102@3723"},
        {"year(vector(951782400))", 0, 0, 0, "{} 2000@0"}, /* 2000-02-29 */
        {"month(vector(951782400)) * 100 + day_of_month(vector(951782400))", 0, 0, 0, "{} 229@0"},
        {"days_in_month(vector(951782400)) + day_of_year(vector(951782400))", 0, 0, 0, "{} 89@0"},
        {"day_of_week(vector(951782400))", 0, 0, 0, "{} 2@0"},
        {"days_in_month(vector(4107456000))", 0, 0, 0, "{} 28@0"}, /* 2100 is no leap year */
        {"year(vector(-1)) + month(vector(-1)) + day_of_month(vector(-1)) + hour(vector(-1)) + "
         "minute(vector(-1))",
         0, 0, 0, "{} 2094@0"}, /* 1969-12-31 23:59 */
        {"day_of_week(vector(-1))", 0, 0, 0, "{} 3@0"},
        {"day_of_year(vector(1735603200))", 0, 0, 0, "{} 366@0"}, /* 2024-12-31 */
        {"hour(vector(1e300)) < bool 24", 0, 0, 0, "{} 1@0"},
    };
    EXPECT_ALL(*state, asks);
}

static void scalar_vector_absent__present_or_not(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{a=\"1\"} 5 stale");
    query_fixture_load(f, 10000, "y{a=\"1\"} 5 5");
    query_fixture_load(f, 10000, "y{a=\"2\"} 5 _ _");
    static const struct ask asks[] = {
        {"scalar(x)", 0, 10, 10, "{} 5@0 NaN@10"},
        {"scalar(y)", 0, 0, 0, "NaN@0"},
        {"absent(x)", 0, 10, 10, "{} 1@10"},
        {"absent(x{a=\"1\"})", 10, 0, 0, "{a=\"1\"} 1@10"},
        {"absent(x{a=\"1\",a!=\"2\",b=\"3\"})", 10, 0, 0, "{b=\"3\"} 1@10"},
        {"absent(sum(x{a=\"1\"}))", 10, 0, 0, "{} 1@10"},
        {"absent(y)", 0, 0, 0, ""},
    };
    EXPECT_ALL(f, asks);
}

static void label_functions__labels_change_values_stay(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{src=\"a-1\",dst=\"old\"} 1");
    query_fixture_load(f, 10000, "x{src=\"b-2\",dst=\"old\"} 2");
    static const struct ask asks[] = {
        {"label_replace(x, \"dst\", \"$2:${1}\", \"src\", \"(.*)-(.*)\")", 0, 0, 0,
         "x{dst=\"1:a\", src=\"a-1\"} 1@0; x{dst=\"2:b\", src=\"b-2\"} 2@0"},
        {"label_replace(x, \"dst\", \"new\", \"src\", \"a\")", 0, 0,
         0, /* anchored: no match, no change */
         "x{dst=\"old\", src=\"a-1\"} 1@0; x{dst=\"old\", src=\"b-2\"} 2@0"},
        {"label_replace(x, \"dst\", \"\", \"src\", \".*\")", 0, 0, 0,
         "x{src=\"a-1\"} 1@0; x{src=\"b-2\"} 2@0"},
        {"label_replace(x, \"src\", \"same\", \"\", \"\")", 0, 0, 0,
         "invalid: vector cannot contain metrics with the same labelset"},
        {"label_replace(x, \"d\", \"$1\", \"src\", \"(\")", 0, 0, 0,
         "invalid: invalid regular expression in label_replace(): ("},
        {"label_replace(x, \"\", \"a\", \"src\", \".*\")", 0, 0, 0,
         "invalid: invalid destination label name in label_replace(): "},
        {"label_join(x, \"j\", \"/\", \"src\", \"none\", \"dst\")", 0, 0, 0,
         "x{dst=\"old\", j=\"a-1//old\", src=\"a-1\"} 1@0; x{dst=\"old\", j=\"b-2//old\", "
         "src=\"b-2\"} 2@0"},
        {"label_join(x, \"dst\", \",\")", 0, 0, 0, "x{src=\"a-1\"} 1@0; x{src=\"b-2\"} 2@0"},
    };
    EXPECT_ALL(f, asks);
}

static void sort__values_and_labels__nan_last(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{i=\"a10\"} 3");
    query_fixture_load(f, 10000, "x{i=\"a9\"} NaN");
    query_fixture_load(f, 10000, "x{i=\"b\"} 1");
    query_fixture_load(f, 10000, "x{i=\"a1\"} 2");
    static const struct ask asks[] = {
        {"sort(x)", 0, 0, 0,
         "x{i=\"b\"} 1@0; x{i=\"a1\"} 2@0; x{i=\"a10\"} 3@0; x{i=\"a9\"} NaN@0"},
        {"sort_desc(x)", 0, 0, 0,
         "x{i=\"a10\"} 3@0; x{i=\"a1\"} 2@0; x{i=\"b\"} 1@0; x{i=\"a9\"} NaN@0"},
        {"sort_by_label(x, \"i\")", 0, 0, 0,
         "x{i=\"a1\"} 2@0; x{i=\"a9\"} NaN@0; x{i=\"a10\"} 3@0; x{i=\"b\"} 1@0"},
        {"sort_by_label_desc(x, \"i\")", 0, 0, 0,
         "x{i=\"b\"} 1@0; x{i=\"a10\"} 3@0; x{i=\"a9\"} NaN@0; x{i=\"a1\"} 2@0"},
        {"sort_desc(x) * 2", 0, 0, 0,
         "{i=\"a10\"} 6@0; {i=\"a1\"} 4@0; {i=\"b\"} 2@0; {i=\"a9\"} NaN@0"},
    };
    EXPECT_ALL(f, asks);
}

static void histogram_quantile__classic_buckets__interpolated(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "h_bucket{a=\"1\",le=\"1\"} 10");
    query_fixture_load(f, 10000, "h_bucket{a=\"1\",le=\"2\"} 30");
    query_fixture_load(f, 10000, "h_bucket{a=\"1\",le=\"4\"} 40");
    query_fixture_load(f, 10000, "h_bucket{a=\"1\",le=\"+Inf\"} 50");
    query_fixture_load(f, 10000, "h_bucket{a=\"2\",le=\"0.5\"} 1");
    query_fixture_load(f, 10000, "h_bucket{a=\"3\",le=\"-1\"} 5");
    query_fixture_load(f, 10000, "h_bucket{a=\"3\",le=\"Inf\"} 6");
    query_fixture_load(f, 10000, "m_bucket{le=\"1\"} 10");
    query_fixture_load(f, 10000, "m_bucket{le=\"2\"} 5");
    query_fixture_load(f, 10000, "m_bucket{le=\"+Inf\"} 20");
    query_fixture_load(f, 10000, "bad{le=\"x\"} 1");
    static const struct ask asks[] = {
        {"histogram_quantile(0.4, h_bucket{a=\"1\"})", 0, 0, 0, "{a=\"1\"} 1.5@0"},
        {"histogram_quantile(0.1, h_bucket{a=\"1\"})", 0, 0, 0, "{a=\"1\"} 0.5@0"},
        {"histogram_quantile(0.9, h_bucket{a=\"1\"})", 0, 0, 0,
         "{a=\"1\"} 4@0"}, /* in the last bucket: its lower bound */
        {"histogram_quantile(0.5, h_bucket)", 0, 0, 0,
         "{a=\"1\"} 1.75@0; {a=\"2\"} NaN@0; {a=\"3\"} -1@0"},
        {"histogram_quantile(1.5, h_bucket{a=\"1\"})", 0, 0, 0,
         "{a=\"1\"} +Inf@0 # PromQL warning: quantile value should be between 0 and 1, got 1.5 "
         "(1:20)"},
        {"histogram_quantile(0.5, sum by (le) (h_bucket{a=\"1\"} * 2))", 0, 0, 0, "{} 1.75@0"},
        {"histogram_quantile(0.9, m_bucket)", 0, 0, 0,
         "{} 2@0 # PromQL info: input to histogram_quantile needed to be fixed for monotonicity "
         "(see "
         "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), "
         "from buckets 2 to 2, with a max diff of "
         "5, over 1 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:00:00Z (1:25)"},
        {"histogram_fraction(1, 2, h_bucket{a=\"1\"})", 0, 0, 0, "{a=\"1\"} 0.4@0"},
        {"histogram_fraction(-Inf, 1.5, h_bucket{a=\"1\"})", 0, 0, 0, "{a=\"1\"} 0.4@0"},
        {"histogram_fraction(3, +Inf, h_bucket{a=\"1\"})", 0, 0, 0, "{a=\"1\"} 0.3@0"},
        {"histogram_fraction(2, 1, h_bucket{a=\"1\"})", 0, 0, 0, "{a=\"1\"} 0@0"},
        {"histogram_fraction(-5, -1, h_bucket{a=\"3\"})", 0, 0, 0, "{a=\"3\"} 0@0"},
        {"histogram_quantile(0.5, bad)", 0, 0, 0,
         " # PromQL warning: bucket label \"le\" is missing or has a malformed value of \"x\" "
         "(1:25)"},
    };
    EXPECT_ALL(f, asks);
}

static void anchored_and_smoothed__ends_taken_from_neighbours(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x 0+10x10");
    static const struct ask asks[] = {
        {"increase(x[25s])", 50, 0, 0,
         "{} 25@50 # PromQL info: metric might not be a counter, name does not end in "
         "_total/_sum/_count/_bucket: \"x\" (1:10)"},
        /* anchored: from the sample at or before 25 s (value 20) to 50 */
        {"delta(x[25s] anchored)", 50, 0, 0, "{} 30@50"},
        /* smoothed: the value at 25 s itself, 25 */
        {"delta(x[25s] smoothed)", 50, 0, 0, "{} 25@50"},
        {"x[25s] anchored", 50, 0, 0, "x 20@25 30@30 40@40 50@50"},
        {"x[25s] smoothed", 52, 0, 0, "x 27@27 30@30 40@40 50@50 52@52"},
        {"x smoothed", 0, 150, 25, "x 0@0 25@25 50@50 75@75 100@100 100@125 100@150"},
        {"x[5s] anchored", 1000, 0, 0, ""},
        {"changes(x[25s] anchored)", 50, 0, 0, "{} 3@50"},
        {"resets(x[25s] anchored)", 50, 0, 0, "{} 0@50"},
        {"sum_over_time(x[25s] anchored)", 50, 0, 0,
         "invalid: anchored modifier can only be used with: changes, delta, increase, rate, resets "
         "- not with sum_over_time"},
        {"changes(x[25s] smoothed)", 50, 0, 0,
         "invalid: smoothed modifier can only be used with: delta, increase, rate - not with "
         "changes"},
    };
    EXPECT_ALL(f, asks);
}

static const struct CMUnitTest tests[] = {
    FIXTURE_TEST(rate__counter__extrapolated_to_the_range),
    FIXTURE_TEST(over_time__simple__as_defined),
    FIXTURE_TEST(regression__line__slope_and_forecast),
    FIXTURE_TEST(sums__hard_numbers__compensated),
    FIXTURE_TEST(math__edge_values__as_go),
    FIXTURE_TEST(dates__known_days__taken_apart),
    FIXTURE_TEST(scalar_vector_absent__present_or_not),
    FIXTURE_TEST(label_functions__labels_change_values_stay),
    FIXTURE_TEST(sort__values_and_labels__nan_last),
    FIXTURE_TEST(histogram_quantile__classic_buckets__interpolated),
    FIXTURE_TEST(anchored_and_smoothed__ends_taken_from_neighbours),
};
TEST_MAIN(tests)
