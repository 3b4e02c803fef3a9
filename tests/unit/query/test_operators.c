/* Binary operators between vectors, and aggregations. */
#include "tests/unit/query/expect.h"

static void join__one_to_one__matches_equal_labels(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "a{x=\"1\",y=\"1\"} 10 10 10");
    query_fixture_load(f, 10000, "a{x=\"2\",y=\"1\"} 20 20 20");
    query_fixture_load(f, 10000, "b{x=\"1\",y=\"1\"} 1 _ stale");
    query_fixture_load(f, 10000, "b{x=\"3\",y=\"1\"} 3 3 3");
    query_fixture_load(f, 10000, "c{x=\"1\",z=\"9\"} 5 5 5");
    static const struct ask asks[] = {
        {"a + b", 0, 20, 10, "{x=\"1\", y=\"1\"} 11@0 11@10"},
        {"a - on (x) c", 0, 0, 0, "{x=\"1\"} 5@0"},
        {"a * ignoring (y, z) c", 0, 0, 0, "{x=\"1\"} 50@0"},
        {"a > b", 0, 0, 0, "a{x=\"1\", y=\"1\"} 10@0"},
        {"a < b", 0, 0, 0, ""},
        {"a < bool b", 0, 0, 0, "{x=\"1\", y=\"1\"} 0@0"},
        {"a > on (x) c", 0, 0, 0, "{x=\"1\"} 10@0"},
        {"a + on (y) b", 20, 0, 0,
         "invalid: multiple matches for labels: many-to-one matching must be explicit "
         "(group_left/group_right)"},
        {"a + on (y) c{nope=\"\"}", 0, 0, 0, ""},
        {"a{x=\"1\"} + on (y) (a or b * 1)", 0, 0, 0,
         "invalid: found duplicate series for the match group {y=\"1\"} on the right hand-side of "
         "the operation: [{__name__=\"a\", x=\"1\", y=\"1\"}, {__name__=\"a\", x=\"2\", "
         "y=\"1\"}];many-to-many matching not allowed: matching labels must be unique on one side"},
        {"a + on (y) b{x=\"3\"}", 0, 0, 0,
         "invalid: multiple matches for labels: many-to-one matching must be explicit "
         "(group_left/group_right)"},
        {"a + nothing", 0, 0, 0, ""},
        {"nothing + on () (a or b)", 0, 0, 0,
         ""}, /* the left side is empty: nobody looks at the duplicates */
        {"a / 0", 0, 0, 0, "{x=\"1\", y=\"1\"} +Inf@0; {x=\"2\", y=\"1\"} +Inf@0"},
        {"2 - a", 0, 0, 0, "{x=\"1\", y=\"1\"} -8@0; {x=\"2\", y=\"1\"} -18@0"},
        {"15 < a", 0, 0, 0, "a{x=\"2\", y=\"1\"} 20@0"},
        {"15 < bool a", 0, 0, 0, "{x=\"1\", y=\"1\"} 0@0; {x=\"2\", y=\"1\"} 1@0"},
        {"a == NaN", 0, 0, 0, ""},
        {"a != NaN", 0, 0, 0, "a{x=\"1\", y=\"1\"} 10@0; a{x=\"2\", y=\"1\"} 20@0"},
    };
    EXPECT_ALL(f, asks);
}

/* A series on the one side that takes over from another within the range. */
static void join__group__labels_follow_the_one_side(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "cpu{host=\"h\",core=\"0\"} 1x3");
    query_fixture_load(f, 10000, "cpu{host=\"h\",core=\"1\"} 2x3");
    query_fixture_load(f, 10000, "info{host=\"h\",version=\"1\"} 1 1 stale");
    query_fixture_load(f, 10000, "info{host=\"h\",version=\"2\"} _ _ 1 1");
    static const struct ask asks[] = {
        {"cpu * on (host) group_left (version) info", 0, 30, 10,
         "{core=\"0\", host=\"h\", version=\"1\"} 1@0 1@10; {core=\"0\", host=\"h\", "
         "version=\"2\"} 1@20 1@30; "
         "{core=\"1\", host=\"h\", version=\"1\"} 2@0 2@10; {core=\"1\", host=\"h\", "
         "version=\"2\"} 2@20 2@30"},
        {"info - on (host) group_right (version) cpu", 0, 30, 10,
         "{core=\"0\", host=\"h\", version=\"1\"} 0@0 0@10; {core=\"0\", host=\"h\", "
         "version=\"2\"} 0@20 0@30; "
         "{core=\"1\", host=\"h\", version=\"1\"} -1@0 -1@10; {core=\"1\", host=\"h\", "
         "version=\"2\"} -1@20 -1@30"},
        {"cpu * on (host) group_left () info", 0, 30, 10,
         "{core=\"0\", host=\"h\"} 1@0 1@10 1@20 1@30; {core=\"1\", host=\"h\"} 2@0 2@10 2@20 "
         "2@30"},
        {"cpu * on (host) group_left (core) info", 0, 0, 0,
         "invalid: multiple matches for labels: grouping labels must ensure unique matches"},
        {"sum by (version) (cpu * on (host) group_left (version) info)", 0, 30, 10,
         "{version=\"1\"} 3@0 3@10; {version=\"2\"} 3@20 3@30"},
    };
    EXPECT_ALL(f, asks);
}

static void join__fill__stands_in_for_what_is_missing(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "l{x=\"1\"} 1 1");
    query_fixture_load(f, 10000, "l{x=\"2\"} 2 2");
    query_fixture_load(f, 10000, "r{x=\"1\"} 10 stale");
    query_fixture_load(f, 10000, "r{x=\"3\"} 30 30");
    static const struct ask asks[] = {
        {"l + fill(0) r", 0, 10, 10,
         "{x=\"1\"} 11@0 1@10; {x=\"2\"} 2@0 2@10; {x=\"3\"} 30@0 30@10"},
        {"l - fill_left(5) r", 0, 0, 0, "{x=\"1\"} -9@0; {x=\"3\"} -25@0"},
        {"l - fill_right(5) r", 0, 0, 0, "{x=\"1\"} -9@0; {x=\"2\"} -3@0"},
        {"l + fill(1) nothing", 0, 0, 0, "{x=\"1\"} 2@0; {x=\"2\"} 3@0"},
        {"nothing + fill(1) r", 0, 0, 0, "{x=\"1\"} 11@0; {x=\"3\"} 31@0"},
    };
    EXPECT_ALL(f, asks);
}

static void set__operators__decide_by_step(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "a{x=\"1\"} 1 1 1");
    query_fixture_load(f, 10000, "a{x=\"2\"} 2 2 2");
    query_fixture_load(f, 10000, "b{x=\"1\"} 5 stale");
    query_fixture_load(f, 10000, "b{x=\"3\"} _ 6 6");
    static const struct ask asks[] = {
        {"a and b", 0, 20, 10, "a{x=\"1\"} 1@0"},
        {"a unless b", 0, 20, 10, "a{x=\"1\"} 1@10 1@20; a{x=\"2\"} 2@0 2@10 2@20"},
        {"a or b", 0, 20, 10,
         "a{x=\"1\"} 1@0 1@10 1@20; a{x=\"2\"} 2@0 2@10 2@20; b{x=\"3\"} 6@10 6@20"},
        {"b or a", 0, 20, 10,
         "a{x=\"1\"} 1@10 1@20; a{x=\"2\"} 2@0 2@10 2@20; b{x=\"1\"} 5@0; b{x=\"3\"} 6@10 6@20"},
        {"a and on () b", 0, 20, 10, "a{x=\"1\"} 1@0 1@10 1@20; a{x=\"2\"} 2@0 2@10 2@20"},
        {"a unless on () nothing", 0, 0, 0, "a{x=\"1\"} 1@0; a{x=\"2\"} 2@0"},
        {"a and nothing", 0, 0, 0, ""},
        {"a or a", 0, 0, 0, "a{x=\"1\"} 1@0; a{x=\"2\"} 2@0"},
        {"(a * 2) or (a * 3)", 0, 0, 0, "{x=\"1\"} 2@0; {x=\"2\"} 4@0"},
    };
    EXPECT_ALL(f, asks);
}

static void aggregate__groups__by_and_without(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{g=\"a\",i=\"1\"} 1 NaN 3");
    query_fixture_load(f, 10000, "x{g=\"a\",i=\"2\"} 2 5 Inf");
    query_fixture_load(f, 10000, "x{g=\"b\",i=\"1\"} 4 stale");
    static const struct ask asks[] = {
        {"sum(x)", 0, 20, 10, "{} 7@0 NaN@10 +Inf@20"},
        {"sum by (g) (x)", 0, 10, 10, "{g=\"a\"} 3@0 NaN@10; {g=\"b\"} 4@0"},
        {"sum without (i) (x)", 0, 0, 0, "{g=\"a\"} 3@0; {g=\"b\"} 4@0"},
        {"sum by (nope) (x)", 0, 0, 0, "{} 7@0"},
        {"sum by (__name__) (x)", 0, 0, 0, "x 7@0"},
        {"sum without () (x)", 0, 0, 0,
         "{g=\"a\", i=\"1\"} 1@0; {g=\"a\", i=\"2\"} 2@0; {g=\"b\", i=\"1\"} 4@0"},
        {"min(x)", 0, 20, 10, "{} 1@0 5@10 3@20"},
        {"max(x)", 0, 20, 10, "{} 4@0 5@10 +Inf@20"},
        {"avg by (g) (x)", 0, 0, 0, "{g=\"a\"} 1.5@0; {g=\"b\"} 4@0"},
        {"avg(x)", 20, 0, 0, "{} +Inf@20"},
        {"count by (i) (x)", 0, 0, 0, "{i=\"1\"} 2@0; {i=\"2\"} 1@0"},
        {"group(x)", 0, 0, 0, "{} 1@0"},
        {"stdvar(x{g=\"a\"})", 0, 20, 10, "{} 0.25@0 NaN@10 NaN@20"},
        {"stddev(x{g=\"a\"})", 0, 0, 0, "{} 0.5@0"},
        {"quantile(0.5, x)", 0, 0, 0, "{} 2@0"},
        {"quantile(0.25, x)", 0, 0, 0, "{} 1.5@0"},
        {"quantile(NaN, x)", 0, 0, 0,
         "{} NaN@0 # PromQL warning: quantile value should be between 0 and 1, got NaN (1:10)"},
        {"count_values(\"v\", x > bool 1)", 0, 0, 0, "{v=\"0\"} 1@0; {v=\"1\"} 2@0"},
        {"count_values by (g) (\"v\", x)", 0, 0, 0,
         "{g=\"a\", v=\"1\"} 1@0; {g=\"a\", v=\"2\"} 1@0; {g=\"b\", v=\"4\"} 1@0"},
        {"count_values without (i) (\"g\", x)", 0, 0, 0,
         "{g=\"1\"} 1@0; {g=\"2\"} 1@0; {g=\"4\"} 1@0"},
        {"count_values(\"\", x)", 0, 0, 0, "invalid: invalid label name \"\""},
        {"sum(nothing)", 0, 0, 0, ""},
        {"count(nothing) or vector(0)", 0, 0, 0, "{} 0@0"},
    };
    EXPECT_ALL(f, asks);
}

static void topk__steps__decided_one_by_one(void **state)
{
    struct query_fixture *f = *state;
    query_fixture_load(f, 10000, "x{g=\"a\",i=\"1\"} 1 6 NaN");
    query_fixture_load(f, 10000, "x{g=\"a\",i=\"2\"} 2 5 1");
    query_fixture_load(f, 10000, "x{g=\"b\",i=\"1\"} 3 4 2");
    static const struct ask asks[] = {
        {"topk(2, x)", 0, 0, 0, "x{g=\"b\", i=\"1\"} 3@0; x{g=\"a\", i=\"2\"} 2@0"}, /* in order */
        {"bottomk(2, x)", 0, 0, 0, "x{g=\"a\", i=\"1\"} 1@0; x{g=\"a\", i=\"2\"} 2@0"},
        {"topk(1, x)", 0, 20, 10, "x{g=\"a\", i=\"1\"} 6@10; x{g=\"b\", i=\"1\"} 3@0 2@20"},
        {"topk(3, x)", 20, 0, 0,
         "x{g=\"b\", i=\"1\"} 2@20; x{g=\"a\", i=\"2\"} 1@20; x{g=\"a\", i=\"1\"} NaN@20"},
        {"topk by (g) (1, x)", 0, 0, 0, "x{g=\"a\", i=\"2\"} 2@0; x{g=\"b\", i=\"1\"} 3@0"},
        {"topk(0, x)", 0, 0, 0, ""},
        {"topk(-5, x)", 0, 0, 0, ""},
        {"topk(1e6, x{g=\"b\"})", 0, 0, 0, "x{g=\"b\", i=\"1\"} 3@0"},
        {"topk(scalar(x{g=\"b\"}) - 2, x)", 0, 20, 10,
         "x{g=\"a\", i=\"1\"} 6@10; x{g=\"a\", i=\"2\"} 5@10; x{g=\"b\", i=\"1\"} 3@0"},
        {"topk(NaN, x)", 0, 0, 0, "invalid: Parameter value is NaN"},
        {"topk(1e30, x)", 0, 0, 0, "invalid: Scalar value 1e+30 overflows int64"},
        {"topk(Inf, x)", 0, 0, 0, "invalid: Scalar value +Inf overflows int64"},
        {"limitk(2, x)", 0, 0, 0, "x{g=\"a\", i=\"1\"} 1@0; x{g=\"a\", i=\"2\"} 2@0"},
        {"limitk by (g) (1, x)", 0, 0, 0, "x{g=\"a\", i=\"1\"} 1@0; x{g=\"b\", i=\"1\"} 3@0"},
    };
    EXPECT_ALL(f, asks);
}

static void limit_ratio__complements__share_nothing_and_miss_nothing(void **state)
{
    struct query_fixture *f = *state;
    char line[64];
    for (int i = 0; i < 200; i++) {
        snprintf(line, sizeof line, "x{i=\"%d\"} 1 1", i);
        query_fixture_load(f, 10000, line);
    }
    static const struct ask asks[] = {
        {"count(limit_ratio(0.3, x) or limit_ratio(-0.7, x))", 0, 0, 0, "{} 200@0"},
        {"count(limit_ratio(0.3, x) and limit_ratio(-0.7, x))", 0, 0, 0, ""},
        {"count(limit_ratio(0.3, x)) > bool 40 < bool 80", 0, 0, 0, "{} 1@0"},
        {"count(limit_ratio(1, x)) + count(limit_ratio(-1, x))", 0, 0, 0, "{} 400@0"},
        {"limit_ratio(0, x)", 0, 0, 0, ""},
        {"count(limit_ratio(2, x))", 0, 0, 0,
         "{} 200@0 # PromQL warning: ratio value should be between -1 and 1, got 2, capping to 1 "
         "(1:19)"},
        {"limit_ratio(NaN, x)", 0, 0, 0, "invalid: Ratio value is NaN"},
        {"count(limit_ratio(time() / 20, x)) > bool 0", 0, 20, 10, "{} 1@10 1@20"},
    };
    EXPECT_ALL(f, asks);
}

static const struct CMUnitTest tests[] = {
    FIXTURE_TEST(join__one_to_one__matches_equal_labels),
    FIXTURE_TEST(join__group__labels_follow_the_one_side),
    FIXTURE_TEST(join__fill__stands_in_for_what_is_missing),
    FIXTURE_TEST(set__operators__decide_by_step),
    FIXTURE_TEST(aggregate__groups__by_and_without),
    FIXTURE_TEST(topk__steps__decided_one_by_one),
    FIXTURE_TEST(limit_ratio__complements__share_nothing_and_miss_nothing),
};
TEST_MAIN(tests)
