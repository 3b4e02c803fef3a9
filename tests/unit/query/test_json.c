#include "tests/unit/query/rig.h"

#include "query/hist/bound.h"
#include "query/json.h"
#include "query/query.h"

#include <float.h>
#include <math.h>

static void json_string__any_bytes__valid_json(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\n\r\t\b\x01\x1f\x7f", 7, "\"\\n\\r\\t\\u0008\\u0001\\u001f\x7f\""},
        {"\0x", 2, "\"\\u0000x\""},
        {"\xc3\xa4\xf0\x9f\x98\x80", 6, "\"\xc3\xa4\xf0\x9f\x98\x80\""},
        {"\xff\xc3", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
        {"<>&", 3, "\"<>&\""},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        json_string(&r->out, cases[i].in, cases[i].len);
        assert_string_equal(rig_text(r), cases[i].out);
    }
}

static void json_float__extremes__as_prometheus(void **state)
{
    struct rig *r = *state;
    static const struct {
        double v;
        const char *out;
    } cases[] = {
        {0, "\"0\""},
        {-0.0, "\"-0\""},
        {1.5, "\"1.5\""},
        {1e20, "\"100000000000000000000\""},
        {1e21, "\"1e+21\""},
        {1e-6, "\"0.000001\""},
        {1e-7, "\"1e-07\""},
        {(double)INFINITY, "\"+Inf\""},
        {-(double)INFINITY, "\"-Inf\""},
        {(double)NAN, "\"NaN\""},
        {0.1, "\"0.1\""},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        json_float(&r->out, cases[i].v);
        assert_string_equal(rig_text(r), cases[i].out);
    }
}

static void json_timestamp__fractions__three_digits(void **state)
{
    struct rig *r = *state;
    static const struct {
        int64_t ms;
        const char *out;
    } cases[] = {{0, "0"},       {1500, "1.500"}, {1050, "1.050"},
                 {-1, "-0.001"}, {-61000, "-61"}, {1700000000123, "1700000000.123"}};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        json_timestamp(&r->out, cases[i].ms);
        assert_string_equal(rig_text(r), cases[i].out);
    }
}

static void expect_histogram(struct rig *r, const struct tsdb_histogram *h, const char *want)
{
    json_histogram(&r->out, h);
    assert_string_equal(rig_text(r), want);
}

static void json_histogram__exponential__bounds_and_rules(void **state)
{
    static const struct tsdb_span positive[] = {{-1, 2}, {1, 1}}; /* buckets -1, 0, 2 */
    static const struct tsdb_span negative[] = {{1, 2}};          /* buckets 1, 2 */
    static const int64_t positive_deltas[] = {1, 1, 1};           /* 1, 2, 3 */
    static const int64_t negative_deltas[] = {4, 1};              /* 4, 5 */
    const struct tsdb_histogram h = {.schema = 0,
                                     .zero_threshold = 0.001,
                                     .zero_count_int = 2,
                                     .count_int = 17,
                                     .sum = -3.5,
                                     .positive_spans = positive,
                                     .positive_span_count = 2,
                                     .positive_bucket_count = 3,
                                     .positive_deltas = positive_deltas,
                                     .negative_spans = negative,
                                     .negative_span_count = 1,
                                     .negative_bucket_count = 2,
                                     .negative_deltas = negative_deltas};
    expect_histogram(*state, &h,
                     "{\"count\":\"17\",\"sum\":\"-3.5\",\"buckets\":[[1,\"-4\",\"-2\",\"5\"],["
                     "1,\"-2\",\"-1\",\"4\"],"
                     "[3,\"-0.001\",\"0.001\",\"2\"],[0,\"0.25\",\"0.5\",\"1\"],[0,\"0.5\","
                     "\"1\",\"2\"],[0,\"2\",\"4\",\"3\"]]}");
}

static void json_histogram__negative_gaps__walked_from_the_far_end(void **state)
{
    static const struct tsdb_span negative[] = {{0, 1}, {2, 2}, {0, 0}, {1, 1}}; /* 0, 3, 4, 6 */
    static const double counts[] = {1, 0, 3, 4};
    const struct tsdb_histogram h = {.is_float = true,
                                     .count_float = 8,
                                     .sum = -1,
                                     .negative_spans = negative,
                                     .negative_span_count = 4,
                                     .negative_bucket_count = 4,
                                     .negative_counts = counts};
    /* The empty bucket 3 is left out. */
    expect_histogram(*state, &h,
                     "{\"count\":\"8\",\"sum\":\"-1\",\"buckets\":[[1,\"-64\",\"-32\",\"4\"],["
                     "1,\"-16\",\"-8\",\"3\"],"
                     "[1,\"-1\",\"-0.5\",\"1\"]]}");
}

static void json_histogram__custom_buckets__first_and_last_are_infinite(void **state)
{
    static const struct tsdb_span spans[] = {{0, 3}};
    static const double counts[] = {1, 2, 3};
    static const double bounds[] = {5, 10};
    const struct tsdb_histogram h = {.is_float = true,
                                     .schema = TSDB_HISTOGRAM_SCHEMA_CUSTOM,
                                     .count_float = 6,
                                     .sum = 42,
                                     .positive_spans = spans,
                                     .positive_span_count = 1,
                                     .positive_bucket_count = 3,
                                     .positive_counts = counts,
                                     .custom_values = bounds,
                                     .custom_count = 2};
    expect_histogram(*state, &h,
                     "{\"count\":\"6\",\"sum\":\"42\",\"buckets\":[[3,\"-Inf\",\"5\",\"1\"],[0,"
                     "\"5\",\"10\",\"2\"],"
                     "[0,\"10\",\"+Inf\",\"3\"]]}");
}

/* Arithmetic makes such: they are shown where a positive one would stand. */
static void json_histogram__negative_or_nan_zero_bucket__shown(void **state)
{
    static const struct tsdb_span span = {0, 1};
    static const double counts[] = {-3};
    struct tsdb_histogram h = {.is_float = true,
                               .count_float = -5,
                               .sum = -1,
                               .zero_count_float = -2,
                               .zero_threshold = 0.5,
                               .positive_span_count = 1,
                               .positive_bucket_count = 1,
                               .positive_spans = &span,
                               .positive_counts = counts};
    expect_histogram(*state, &h,
                     "{\"count\":\"-5\",\"sum\":\"-1\",\"buckets\":[[3,\"-0.5\",\"0.5\",\"-2\"],"
                     "[0,\"0.5\",\"1\",\"-3\"]]}");
    h.zero_count_float = (double)NAN;
    h.positive_span_count = 0;
    h.positive_bucket_count = 0;
    expect_histogram(*state, &h,
                     "{\"count\":\"-5\",\"sum\":\"-1\",\"buckets\":[[3,\"-0.5\",\"0.5\","
                     "\"NaN\"]]}");
}

static void json_histogram__empty__no_buckets_key(void **state)
{
    const struct tsdb_histogram h = {0};
    expect_histogram(*state, &h, "{\"count\":\"0\",\"sum\":\"0\"}");
}

static void hist_bound__schemas__powers_of_the_base(void **state)
{
    (void)state;
    for (int32_t schema = TSDB_HISTOGRAM_SCHEMA_MIN; schema <= TSDB_HISTOGRAM_SCHEMA_MAX;
         schema++) {
        double base = pow(2, pow(2, -schema));
        assert_true(fabs(hist_bound(schema, 0) - 1) < 1e-15);
        for (int64_t i = -3; i <= 3; i++) {
            assert_true(fabs(hist_bound(schema, i) / pow(base, (double)i) - 1) < 1e-14);
        }
        /* The last bucket of numbers ends at the largest number; the next one is infinite. */
        int64_t last = schema >= 0 ? (int64_t)1024 << schema : 1024 >> -schema;
        assert_double_bits_equal(hist_bound(schema, last), DBL_MAX);
        assert_true(isinf(hist_bound(schema, last + 1)));
        assert_double_bits_equal(hist_bound(schema, INT32_MIN), 0);
    }
}

static void query_result_json__every_type__as_the_api_gives_it(void **state)
{
    struct rig *r = *state;
    const struct tsdb_label items[] = {tsdb_label_make("__name__", "up"),
                                       tsdb_label_make("job", "a")};
    const struct tsdb_histogram h = {.count_int = 1, .sum = 2};
    const struct query_point points[] = {{1000, 1, NULL}, {1500, 0, &h}, {2000, -2.5, NULL}};
    struct query_series series[] = {{{items, 2}, points, 3}, {{NULL, 0}, &points[1], 1}};
    const struct {
        struct query_result r;
        const char *out;
    } cases[] = {
        {{.type = QUERY_TYPE_SCALAR, .scalar = {1500, 1e21, NULL}},
         "{\"resultType\":\"scalar\",\"result\":[1.5,\"1000000000000000000000\"]}"},
        {{.type = QUERY_TYPE_STRING, .string = "a\"b", .string_len = 3, .string_t_ms = 2000},
         "{\"resultType\":\"string\",\"result\":[2,\"a\\\"b\"]}"},
        {{.type = QUERY_TYPE_VECTOR}, "{\"resultType\":\"vector\",\"result\":[]}"},
        {{.type = QUERY_TYPE_MATRIX}, "{\"resultType\":\"matrix\",\"result\":[]}"},
        {{.type = QUERY_TYPE_VECTOR, .series = series, .series_count = 2},
         "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},"
         "\"value\":[1,\"1\"]},"
         "{\"metric\":{},\"histogram\":[1.500,{\"count\":\"1\",\"sum\":\"2\"}]}]}"},
        {{.type = QUERY_TYPE_MATRIX, .series = series, .series_count = 2},
         "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},"
         "\"values\":[[1,\"1\"],[2,\"-2.5\"]],"
         "\"histograms\":[[1.500,{\"count\":\"1\",\"sum\":\"2\"}]]},{\"metric\":{},\"histograms\":["
         "[1.500,{\"count\":\"1\",\"sum\":\"2\"}]]}]}"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        assert_ok(query_result_json(&cases[i].r, NULL, &r->out));
        assert_string_equal(rig_text(r), cases[i].out);
    }
}

static void query_result_json__many_series__each_with_its_times(void **state)
{
    struct rig *r = *state;
    enum {
        SERIES = 6,
        POINTS = 1500
    };
    static struct query_point points[SERIES][POINTS];
    struct query_series series[SERIES] = {{.point_count = 0}};
    struct tsdb_buf want;
    tsdb_buf_init(&want, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_str(&want, "{\"resultType\":\"matrix\",\"result\":[");
    for (int i = 0; i < SERIES; i++) {
        tsdb_buf_printf(&want, "%s{\"metric\":{},\"values\":[", i > 0 ? "," : "");
        for (int k = 0; k < POINTS; k++) {
            int64_t t = (i % 3 == 2 ? -7 : 1700000000) + k * (i % 2 + 1);
            points[i][k] = (struct query_point){t * 1000, i * k, NULL};
            tsdb_buf_printf(&want, "%s[%lld,\"%d\"]", k > 0 ? "," : "", (long long)t, i * k);
        }
        tsdb_buf_put_str(&want, "]}");
        series[i] = (struct query_series){.points = points[i], .point_count = POINTS};
    }
    tsdb_buf_put_str(&want, "]}");
    tsdb_buf_put_u8(&want, 0);
    const struct query_result result = {
        .type = QUERY_TYPE_MATRIX, .series = series, .series_count = SERIES};
    assert_ok(query_result_json(&result, NULL, &r->out));
    assert_string_equal(rig_text(r), (const char *)want.data);
    /* the same in parts, which end anywhere */
    for (size_t enough = 1; enough < 30000; enough = enough * 5 + 1) {
        struct query_json j;
        struct tsdb_buf part;
        bool done = false;
        tsdb_buf_init(&part, TSDB_MEM_OTHER, 0);
        tsdb_buf_clear(&r->out);
        query_json_begin(&j, &result, NULL, NULL);
        while (!done) {
            tsdb_buf_clear(&part);
            assert_ok(query_json_put(&j, enough, &part, &done));
            assert_in_range(part.len, 0, enough + 200);
            tsdb_buf_put(&r->out, part.data, part.len);
        }
        query_json_end(&j);
        tsdb_buf_deinit(&part);
        assert_string_equal(rig_text(r), (const char *)want.data);
    }
    tsdb_buf_deinit(&want);
}

/* The points of one kind, one by one. */
static void put_kind(struct tsdb_buf *out, const struct query_point *points, uint32_t n,
                     bool histograms)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        if ((points[i].histogram != NULL) == histograms) {
            tsdb_buf_put_str(out, any ? ",[" : "[");
            json_timestamp(out, points[i].t_ms);
            tsdb_buf_put_u8(out, ',');
            if (histograms) {
                json_histogram(out, points[i].histogram);
            } else {
                json_float(out, points[i].value);
            }
            tsdb_buf_put_u8(out, ']');
            any = true;
        }
    }
}

/* Floats come many at once: up to the next histogram, and up to what there is room for. */
static void query_result_json__floats_between_histograms__each_in_its_list(void **state)
{
    struct rig *r = *state;
    enum {
        POINTS = 200
    };
    static struct query_point points[POINTS];
    const struct tsdb_histogram h = {.schema = 0, .sum = 1.5};
    struct query_series series = {.points = points, .point_count = POINTS};
    const struct query_result result = {
        .type = QUERY_TYPE_MATRIX, .series = &series, .series_count = 1};
    for (uint32_t every = 1; every < POINTS; every += every / 3 + 1) {
        struct tsdb_buf want;
        struct tsdb_buf tight;
        tsdb_buf_init(&want, TSDB_MEM_OTHER, 0);
        tsdb_buf_put_str(&want, "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{}");
        for (uint32_t i = 0; i < POINTS; i++) {
            points[i] =
                (struct query_point){i * 250, 1.0 / (i + 1), i % every == every - 1 ? &h : NULL};
        }
        tsdb_buf_put_str(&want, every > 1 ? ",\"values\":[" : "");
        put_kind(&want, points, POINTS, false);
        tsdb_buf_put_str(&want, every > 1 ? "],\"histograms\":[" : ",\"histograms\":[");
        put_kind(&want, points, POINTS, true);
        tsdb_buf_put_str(&want, "]}]}");
        tsdb_buf_put_u8(&want, 0);
        tsdb_buf_clear(&r->out);
        assert_ok(query_result_json(&result, NULL, &r->out));
        assert_string_equal(rig_text(r), (const char *)want.data);
        /* the same where there is hardly more room than it takes */
        tsdb_buf_init(&tight, TSDB_MEM_OTHER, want.len + 128);
        assert_ok(query_result_json(&result, NULL, &tight));
        assert_false(tight.failed);
        assert_int_equal(tight.len, want.len - 1);
        assert_memory_equal(tight.data, want.data, tight.len);
        tsdb_buf_deinit(&tight);
        tsdb_buf_deinit(&want);
    }
}

/* Every byte at every place among plain ones. */
static void json_string__one_odd_byte__escaped_wherever_it_is(void **state)
{
    struct rig *r = *state;
    for (int c = 0; c < 128; c++) {
        bool plain = c >= 0x20 && c != '"' && c != '\\';
        for (size_t at = 0; at < 20; at++) {
            char s[21] = "abcdefghijklmnopqrst";
            s[at] = (char)c;
            json_string(&r->out, s, 20);
            const char *text = rig_text(r);
            assert_int_equal(strlen(text) == 22, plain);
            assert_memory_equal(text + 1, s, at);
            assert_string_equal(text + strlen(text) - (20 - at),
                                (char[]){"bcdefghijklmnopqrst\""} + at);
        }
    }
}

static void query_result_json__cancelled__stops(void **state)
{
    struct rig *r = *state;
    struct tsdb_request request;
    static struct query_point points[10000];
    struct query_series series = {.points = points, .point_count = 10000};
    const struct query_result result = {
        .type = QUERY_TYPE_MATRIX, .series = &series, .series_count = 1};
    tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
    assert_ok(query_result_json(&result, &request, &r->out));
    size_t whole = r->out.len;
    tsdb_buf_clear(&r->out);
    tsdb_request_cancel(&request);
    assert_int_equal(query_result_json(&result, &request, &r->out), TSDB_CANCELLED);
    assert_true(r->out.len < whole / 2);
}

static const struct CMUnitTest tests[] = {
    RIG_TEST(query_result_json__cancelled__stops),
    RIG_TEST(query_result_json__many_series__each_with_its_times),
    RIG_TEST(query_result_json__floats_between_histograms__each_in_its_list),
    RIG_TEST(json_string__one_odd_byte__escaped_wherever_it_is),
    RIG_TEST(json_string__any_bytes__valid_json),
    RIG_TEST(json_float__extremes__as_prometheus),
    RIG_TEST(json_timestamp__fractions__three_digits),
    RIG_TEST(json_histogram__exponential__bounds_and_rules),
    RIG_TEST(json_histogram__negative_or_nan_zero_bucket__shown),
    RIG_TEST(json_histogram__negative_gaps__walked_from_the_far_end),
    RIG_TEST(json_histogram__custom_buckets__first_and_last_are_infinite),
    RIG_TEST(json_histogram__empty__no_buckets_key),
    cmocka_unit_test(hist_bound__schemas__powers_of_the_base),
    RIG_TEST(query_result_json__every_type__as_the_api_gives_it),
};
TEST_MAIN(tests)
