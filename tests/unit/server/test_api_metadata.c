/* Metadata, cardinality, and the lists of what there is none of. */
#include "tests/unit/server/server_rig.h"

static void put_metadata(const char *metric, enum tsdb_metric_type type, const char *help,
                         const char *unit)
{
    struct tsdb_metadata m = {.metric = {(const uint8_t *)metric, strlen(metric)},
                              .help = {(const uint8_t *)help, strlen(help)},
                              .unit = {(const uint8_t *)unit, strlen(unit)},
                              .type = type};
    struct body b;
    struct http_answer a;
    body_init(&b);
    encode_v1_metadata(&m, &b.raw);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 204);
    http_answer_free(&a);
    body_deinit(&b);
}

#define META_A "\"a\":[{\"type\":\"unknown\",\"unit\":\"\",\"help\":\"of a\"}]"
#define META_B "\"b\":[{\"type\":\"gauge\",\"unit\":\"bytes\",\"help\":\"is \\\"b\\\"\"}]"
#define META_C "\"c\":[{\"type\":\"counter\",\"unit\":\"\",\"help\":\"h\"}]"

static void metadata__parameters__choose(void **state)
{
    (void)state;
    start();
    expect_get("/api/v1/metadata", 200, OK_DATA("{}"));
    put_metadata("c", TSDB_METRIC_COUNTER, "h", "");
    put_metadata("b", TSDB_METRIC_GAUGE, "is \"b\"", "bytes");
    put_metadata("a", TSDB_METRIC_UNKNOWN, "of a", "");
    expect_get("/api/v1/metadata", 200, OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?limit=40000&limit_per_metric=1", 200,
               OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?limit=-1&limit_per_metric=0", 200,
               OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?limit=2", 200, OK_DATA("{" META_A "," META_B "}"));
    expect_get("/api/v1/metadata?limit=0", 200, OK_DATA("{}")); /* as Prometheus */
    expect_get("/api/v1/metadata?metric=b", 200, OK_DATA("{" META_B "}"));
    expect_get("/api/v1/metadata?metric=b&limit=0", 200, OK_DATA("{}"));
    expect_get("/api/v1/metadata?metric=", 200, OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?metric=nope", 200, OK_DATA("{}"));
    expect_get("/api/v1/metadata?metric=b%00", 200, OK_DATA("{}"));
    expect_get("/api/v1/metadata?limit=x", 400, BAD_DATA("limit must be a number"));
    expect_get("/api/v1/metadata?limit_per_metric=1.5", 400,
               BAD_DATA("limit_per_metric must be a number"));
}

static void metadata__first_seen__is_shown_to_who_asks(void **state)
{
    (void)state;
    start();
    struct tsdb_metadata m = {.metric = {(const uint8_t *)"m", 1},
                              .type = TSDB_METRIC_GAUGE,
                              .first_seen_ms = 1700000000500};
    assert_ok(tsdb_metadata_put(server.db, &m));
    static const char plain[] = "{\"m\":[{\"type\":\"gauge\",\"unit\":\"\",\"help\":\"\"";
    char expected[160];
    snprintf(expected, sizeof expected, "%s}]}", plain);
    char body[200];
    snprintf(body, sizeof body, OK_DATA("%s"), expected);
    expect_get("/api/v1/metadata", 200, body);
    expect_get("/api/v1/metadata?first_seen=false", 200, body);
    snprintf(expected, sizeof expected, "%s,\"firstSeen\":1700000000.500}]}", plain);
    snprintf(body, sizeof body, OK_DATA("%s"), expected);
    expect_get("/api/v1/metadata?first_seen=true", 200, body);
}

static void metadata__more_than_one_page__is_sorted(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%03d", (i * 77) % 200);
        struct tsdb_metadata m = {.metric = {(const uint8_t *)name, strlen(name)},
                                  .type = TSDB_METRIC_GAUGE};
        assert_ok(tsdb_metadata_put(server.db, &m));
    }
    http_client_once(port, "GET", "/api/v1/metadata", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    const char *p = a.body;
    for (int i = 0; i < 200; i++) {
        char name[24];
        snprintf(name, sizeof name, "\"m%03d\":[{", i);
        p = strstr(p, name);
        assert_non_null(p);
    }
    http_answer_free(&a);
}

#define STORAGE_WELL                                                                               \
    "\"storage\":{\"state\":\"ready\",\"reason\":\"\",\"lostAtStart\":{\"frames\":0,\"samples\":"  \
    "0,"                                                                                           \
    "\"chunks\":0,\"damagedRanges\":0,\"logSegments\":0,\"logBytes\":0,\"blocks\":0,"              \
    "\"tombstones\":0,\"series\":0,"                                                               \
    "\"seriesSamples\":0,\"checkpointRanges\":0,\"checkpointBytes\":0,"                            \
    "\"checkpointSeriesAtMost\":0,\"partitionsFromOlder\":0},"                                     \
    "\"quarantine\":{\"files\":0,\"bytes\":0},\"lostBlocks\":{\"blocks\":0,\"series\":0,"          \
    "\"samples\":0}}"

static void status_tsdb__after_writes__counts(void **state)
{
    (void)state;
    start();
    expect_get(
        "/api/v1/status/tsdb", 200,
        OK_DATA("{\"headStats\":{\"numSeries\":0,\"numLabelPairs\":0,\"chunkCount\":0,"
                "\"minTime\":9223372036854775807,\"maxTime\":-9223372036854775808},"
                "\"seriesCountByMetricName\":[],\"labelValueCountByLabelName\":[],"
                "\"memoryInBytesByLabelName\":[],\"seriesCountByLabelValuePair\":[]," STORAGE_WELL
                "}"));
    write_some();
    struct http_answer a;
    http_client_once(port, "GET", "/api/v1/status/tsdb", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    static const char *const parts[] = {
        "{\"headStats\":{\"numSeries\":2,\"numLabelPairs\":3,\"chunkCount\":",
        "\"minTime\":1699999990000,\"maxTime\":1700000000000}",
        "\"seriesCountByMetricName\":[{\"name\":\"a\",\"value\":1},{\"name\":\"b\",\"value\":1}]",
        "\"labelValueCountByLabelName\":[{\"name\":\"__name__\",\"value\":2},"
        "{\"name\":\"job\",\"value\":1}]",
        "\"memoryInBytesByLabelName\":[{\"name\":\"",
        "\"seriesCountByLabelValuePair\":[{\"name\":\"job=j\",\"value\":2},"
        "{\"name\":\"__name__=a\",\"value\":1},{\"name\":\"__name__=b\",\"value\":1}]," STORAGE_WELL
        "}",
    };
    const char *p = a.body;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(parts); i++) {
        p = strstr(p, parts[i]);
        if (!p) {
            fail_msg("no %s in: %s", parts[i], a.body);
        }
    }
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/status/tsdb?limit=1", NULL, NULL, 0, &a);
    assert_non_null(strstr(a.body, "\"seriesCountByLabelValuePair\":[{\"name\":\"job=j\",\"value\":"
                                   "2}]," STORAGE_WELL "}"));
    http_answer_free(&a);
    expect_get("/api/v1/status/tsdb?limit=10000", 200, NULL);
    expect_get("/api/v1/status/tsdb?limit=10001", 400, BAD_DATA("limit must not exceed 10000"));
    expect_get("/api/v1/status/tsdb?limit=0", 400, BAD_DATA("limit must be a positive number"));
    expect_get("/api/v1/status/tsdb?limit=x", 400, BAD_DATA("limit must be a positive number"));
}

#define BAD_PARAM(name, text) BAD_DATA("invalid parameter \\\"" name "\\\": " text)

static void discovery__nothing_there__lists_are_empty(void **state)
{
    (void)state;
    static const char groups[] = OK_DATA("{\"groups\":[]}");
    static const struct path_case cases[] = {
        {"/api/v1/rules", 200, groups},
        {"/api/v1/rules?type=Alert&exclude_alerts=TRUE&group_limit=5&match[]=up&rule_name[]=x"
         "&rule_group[]=y&file[]=z",
         200, groups},
        {"/api/v1/rules?type=record&exclude_alerts=f", 200, groups},
        {"/api/v1/rules?type=both", 400, BAD_PARAM("type", "not supported value \\\"both\\\"")},
        {"/api/v1/rules?exclude_alerts=yes", 400,
         BAD_PARAM("exclude_alerts", "error converting exclude_alerts: strconv.ParseBool: parsing "
                                     "\\\"yes\\\": invalid syntax")},
        {"/api/v1/rules?group_limit=0", 400,
         BAD_PARAM("group_limit", "group_limit needs to be greater than 0")},
        {"/api/v1/rules?group_limit=ten", 400,
         BAD_PARAM("group_limit", "group_limit needs to be a valid number: strconv.ParseInt: "
                                  "parsing \\\"ten\\\": invalid syntax")},
        {"/api/v1/rules?group_limit=2147483648", 400,
         BAD_PARAM("group_limit", "group_limit needs to be a valid number: strconv.ParseInt: "
                                  "parsing \\\"2147483648\\\": value out of range")},
        {"/api/v1/rules?group_next_token=abc", 400,
         BAD_PARAM("group_next_token",
                   "group_limit needs to be present in order to paginate over the groups")},
        {"/api/v1/rules?group_next_token=abc&group_limit=1", 400,
         BAD_PARAM("group_next_token",
                   "invalid group_next_token 'abc'. were rule groups changed?")},
        {"/api/v1/rules?match[]=%7B%7D", 400,
         BAD_DATA("match[] must contain at least one non-empty matcher")},
        {"/api/v1/rules?match[]=sum(", 400, NULL},
        {"/api/v1/alerts", 200, OK_DATA("{\"alerts\":[]}")},
        {"/api/v1/targets", 200,
         OK_DATA("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}")},
        {"/api/v1/targets?state=ANY&scrapePool=x", 200,
         OK_DATA("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}")},
        {"/api/v1/targets?state=active", 200,
         OK_DATA("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":null}")},
        {"/api/v1/targets/metadata", 200, OK_DATA("[]")},
        {"/api/v1/targets/metadata?match_target=%7B%7D&metric=up&limit=2", 200, OK_DATA("[]")},
        {"/api/v1/targets/metadata?limit=x", 400, BAD_DATA("limit must be a number")},
        {"/api/v1/targets/metadata?match_target=sum(", 400, NULL},
        {"/api/v1/scrape_pools", 200, OK_DATA("{\"scrapePools\":[]}")},
        {"/api/v1/alertmanagers", 200,
         OK_DATA("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}")},
        {"/api/v1/notifications", 200, OK_DATA("[]")},
    };
    start();
    expect_paths(cases, TSDB_ARRAY_LEN(cases));
}

static void features__flags__are_followed(void **state)
{
    (void)state;
    static const char *const off[] = {"\"remote_write_receiver\":true",
                                      "\"otlp_write_receiver\":true",
                                      "\"rate\":true",
                                      "\"sort_by_label\":false",
                                      "\"limitk\":false",
                                      "\"and\":true",
                                      "\"group_left\":true",
                                      "\"anchored\":false",
                                      "\"scrape\":{}",
                                      "\"exemplar_storage\":true"};
    struct http_answer a;
    start();
    http_client_once(port, "GET", "/api/v1/features", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(off); i++) {
        if (!strstr(a.body, off[i])) {
            fail_msg("no %s in: %s", off[i], a.body);
        }
    }
    assert_memory_equal(a.body, "{\"status\":\"success\",\"data\":{\"api\":{\"admin\":", 43);
    http_answer_free(&a);
    server.options.feature_experimental_functions = true;
    server.options.feature_extended_range_selectors = true;
    server.options.feature_otlp_delta = true;
    server.options.exemplars_max = 0;
    http_client_once(port, "GET", "/api/v1/features", NULL, NULL, 0, &a);
    assert_non_null(strstr(a.body, "\"sort_by_label\":true"));
    assert_non_null(strstr(a.body, "\"limitk\":true"));
    assert_non_null(strstr(a.body, "\"native_delta_ingestion\":true"));
    assert_non_null(strstr(a.body, "\"anchored\":true"));
    assert_non_null(strstr(a.body, "\"exemplar_storage\":false"));
    http_answer_free(&a);
}

static const struct CMUnitTest tests[] = {
    CASE(metadata__parameters__choose),
    CASE(metadata__first_seen__is_shown_to_who_asks),
    CASE(metadata__more_than_one_page__is_sorted),
    CASE(status_tsdb__after_writes__counts),
    CASE(discovery__nothing_there__lists_are_empty),
    CASE(features__flags__are_followed),
};

TEST_MAIN(tests)
