/* info(): which info series gives its labels, at which time, and to which series. */
#include "tests/unit/query/expect.h"

static void info__labels__from_the_series_of_the_same_job_and_instance(void **state)
{
    struct query_fixture *f = *state;
    f->options.experimental_functions = true;
    query_fixture_load(f, 10000, "m{instance=\"a\",job=\"1\"} 1 2");
    query_fixture_load(f, 10000, "m{instance=\"b\",job=\"1\",data=\"own\"} 3 4");
    query_fixture_load(f, 10000, "alone 5 6");
    query_fixture_load(f, 10000, "target_info{instance=\"a\",job=\"1\",data=\"x\",more=\"y\"} 1 1");
    query_fixture_load(f, 10000, "target_info{instance=\"b\",job=\"1\",data=\"z\"} 1 1");
    query_fixture_load(f, 10000, "target_info{instance=\"a+b|c\",job=\"1\",data=\"q\"} 1 1");
    query_fixture_load(f, 10000, "build_info{instance=\"a\",job=\"1\",built=\"b\"} 1 1");
    query_fixture_load(f, 10000, "bad_info{instance=\"a\",job=\"1\",more=\"other\"} 1 1");
    query_fixture_load(f, 10000, "odd{instance=\"a+b|c\",job=\"1\"} 7");
    static const struct ask asks[] = {
        {"info(m)", 0, 0, 0,
         "m{data=\"own\", instance=\"b\", job=\"1\"} 3@0; "
         "m{data=\"x\", instance=\"a\", job=\"1\", more=\"y\"} 1@0"},
        {"info(m, {more=~\".+\"})", 0, 0, 0, "m{instance=\"a\", job=\"1\", more=\"y\"} 1@0"},
        {"info(m, {more=~\".*\"})", 0, 0, 0,
         "m{data=\"own\", instance=\"b\", job=\"1\"} 3@0; "
         "m{instance=\"a\", job=\"1\", more=\"y\"} 1@0"},
        {"info(m{instance=\"a\"}, {__name__=~\"(target|build)_info\"})", 0, 0, 0,
         "m{built=\"b\", data=\"x\", instance=\"a\", job=\"1\", more=\"y\"} 1@0"},
        {"info(m, {__name__=~\".+_info\"})", 0, 0, 0, "invalid: conflicting label: more"},
        {"info(m{instance=\"a\"}, {__name__!=\"target_info\", __name__!=\"bad_info\"})", 0, 0, 0,
         "m{built=\"b\", instance=\"a\", job=\"1\"} 1@0"},
        {"info(alone)", 0, 10, 10, "alone 5@0 6@10"},
        {"info(build_info, {__name__=\"build_info\", built=\"no\"})", 0, 0, 0,
         "build_info{built=\"b\", instance=\"a\", job=\"1\"} 1@0"},
        {"info(odd)", 0, 0, 0, "odd{data=\"q\", instance=\"a+b|c\", job=\"1\"} 7@0"},
        {"info(none)", 0, 0, 0, ""},
        {"sum(info(m))", 0, 10, 10, "{} 4@0 6@10"},
    };
    EXPECT_ALL(f, asks);
}

static void info__churn__newest_sample_at_the_time_of_the_argument(void **state)
{
    struct query_fixture *f = *state;
    f->options.experimental_functions = true;
    query_fixture_load(f, 10000, "m{instance=\"a\"} 1 2 3 4 5");
    query_fixture_load(f, 10000, "target_info{instance=\"a\",v=\"old\"} 1 1");
    query_fixture_load(f, 10000, "target_info{instance=\"a\",v=\"new\"} _ _ 1 1 stale");
    static const struct ask asks[] = {
        {"info(m)", 0, 30, 10,
         "m{instance=\"a\", v=\"new\"} 3@20 4@30; m{instance=\"a\", v=\"old\"} 1@0 2@10"},
        {"info(m offset 20s)", 20, 40, 10,
         "m{instance=\"a\", v=\"new\"} 3@40; m{instance=\"a\", v=\"old\"} 1@20 2@30"},
        {"info(m @ 10)", 20, 40, 10, "m{instance=\"a\", v=\"old\"} 2@20 2@30 2@40"},
        {"info(max_over_time((m offset 10s)[20s:10s] @ 30))", 1000, 0, 0,
         "{instance=\"a\", v=\"new\"} 3@1000"},
        {"info(m, {v=\"new\"})", 40, 0, 0, ""},
        {"info(m)", 40, 0, 0, "m{instance=\"a\", v=\"old\"} 5@40"},
    };
    EXPECT_ALL(f, asks);
}

static void info__two_newest__is_an_error_where_there_is_a_base(void **state)
{
    struct query_fixture *f = *state;
    f->options.experimental_functions = true;
    query_fixture_load(f, 10000, "m{instance=\"a\"} _ 1");
    query_fixture_load(f, 10000, "target_info{instance=\"a\",v=\"1\"} 1 _ 1");
    query_fixture_load(f, 10000, "target_info{instance=\"a\",v=\"2\"} 1 1 1");
    static const struct ask asks[] = {
        {"info(m)", 0, 10, 10, "m{instance=\"a\", v=\"2\"} 1@10"},
        {"info(m)", 0, 20, 10,
         "invalid: found duplicate series for info metric: existing {__name__=\"target_info\", "
         "instance=\"a\", v=\"1\"} @ 20000, new {__name__=\"target_info\", instance=\"a\", "
         "v=\"2\"} @ 20000"},
    };
    EXPECT_ALL(f, asks);
}

static const struct CMUnitTest tests[] = {
    FIXTURE_TEST(info__labels__from_the_series_of_the_same_job_and_instance),
    FIXTURE_TEST(info__churn__newest_sample_at_the_time_of_the_argument),
    FIXTURE_TEST(info__two_newest__is_an_error_where_there_is_a_base),
};
TEST_MAIN(tests)
