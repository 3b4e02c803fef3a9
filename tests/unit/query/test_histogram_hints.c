/* Which reset hints the functions see that leave the buckets of histograms out: they show in the
 * warning about contradicting ones. */
#include "tests/unit/query/expect.h"

#define CONFLICT " # PromQL warning: conflicting counter resets during histogram aggregation (1:31)"

static void histogram_count__first_of_the_range__knows_the_one_before(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 60000,
                       "h {{count:5 buckets:[5]}} {{count:8 buckets:[8]}} {{count:4 buckets:[4]}} "
                       "{{count:6 buckets:[6]}}");
    static const struct ask asks[] = {
        /* 8 is no reset after 5, which lies before the range; 4 is one */
        {"histogram_count(sum_over_time(h[2m]))", 120, 0, 0, "{} 12@120" CONFLICT},
        {"histogram_count(avg_over_time(h[2m]))", 120, 0, 0, "{} 6@120" CONFLICT},
        /* the first of a range is no reset: it begins a chunk, which does not know */
        {"histogram_count(sum_over_time(h[2m]))", 180, 0, 0, "{} 10@180"},
        {"histogram_count(sum_over_time(h[1m]))", 120, 0, 0, "{} 4@120"},
        /* with their buckets nothing is told while reading */
        {"histogram_stddev(sum_over_time(h[2m])) * 0", 120, 0, 0, "{} 0@120"},
        {"sum_over_time(h[2m])", 120, 0, 0, "{} h12@120"},
    };
    EXPECT_ALL(f, asks);
}

static void histogram_count__first_of_the_range__not_after_what_is_no_counter(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 60000,
                       "gauge {{count:5 counter_reset_hint:gauge buckets:[5]}} "
                       "{{count:8 buckets:[8]}} {{count:4 buckets:[4]}}");
    query_fixture_load(f, 60000,
                       "stale {{count:5 buckets:[5]}} stale {{count:8 buckets:[8]}} "
                       "{{count:4 buckets:[4]}}");
    query_fixture_load(f, 60000,
                       "mixed {{count:5 buckets:[5]}} 1 {{count:8 buckets:[8]}} "
                       "{{count:4 buckets:[4]}}");
    static const struct ask asks[] = {
        {"histogram_count(sum_over_time(gauge[2m]))", 120, 0, 0, "{} 12@120"},
        {"histogram_count(sum_over_time(stale[2m]))", 180, 0, 0, "{} 12@180"},
        {"histogram_count(sum_over_time(mixed[2m]))", 180, 0, 0, "{} 12@180"},
    };
    EXPECT_ALL(f, asks);
}

static void histogram_count__samples_before_the_range__are_not_counted(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 60000, "h {{count:5 buckets:[5]}} {{count:8 buckets:[8]}}");
    query_fixture_load(f, 60000, "x 1 2");
    struct query_result r = {0};
    struct tsdb_error err = {0};
    const struct query_params params = {.start_ms = 60000, .end_ms = 60000};
    assert_ok(query_fixture_eval(f, "sum_over_time(h[1m])", &params, &r, &err));
    uint64_t one = r.stats.samples_read; /* a histogram counts as many as fit into it */
    assert_true(one > 0);
    assert_ok(query_fixture_eval(f, "histogram_count(sum_over_time(h[1m]))", &params, &r, &err));
    assert_int_equal(r.stats.samples_read, one);
    assert_ok(query_fixture_eval(f, "histogram_count(x)", &params, &r, &err));
    assert_int_equal(r.series_count, 0);
}

static const struct CMUnitTest tests[] = {
    FIXTURE_TEST(histogram_count__first_of_the_range__knows_the_one_before),
    FIXTURE_TEST(histogram_count__first_of_the_range__not_after_what_is_no_counter),
    FIXTURE_TEST(histogram_count__samples_before_the_range__are_not_counted),
};
TEST_MAIN(tests)
