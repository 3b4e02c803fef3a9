/* What the server tells of itself: blocks and its own metrics. */
#include "tests/unit/server/server_rig.h"

static void status_blocks__before_and_after_a_flush__as_meta_json(void **state)
{
    (void)state;
    struct http_answer a;
    struct tsdb_error err = {0};
    start();
    expect_get("/api/v1/status/tsdb/blocks", 200, OK_DATA("{\"blocks\":[]}"));
    write_some();
    assert_ok_err(tsdb_flush(server.db, &err), &err);
    http_client_once(port, "GET", "/api/v1/status/tsdb/blocks", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    /* T0 lies in the window of two hours that begins at 1699999200 s. */
    const char *ulid = strstr(a.body, "{\"blocks\":[{\"ulid\":\"");
    assert_non_null(ulid);
    assert_non_null(strstr(a.body, "\"stats\":{\"numSamples\":3,\"numFloatSamples\":3,"
                                   "\"numHistogramSamples\":0,\"numSeries\":2,\"numChunks\":2,"
                                   "\"numBytes\":"));
    assert_non_null(strstr(a.body, "},\"compaction\":{\"level\":1,\"sources\":[\""));
    assert_non_null(strstr(a.body, "\"minTime\":1699999200000,\"maxTime\":1700006400000"));
    assert_non_null(strstr(a.body, "\"]},\"version\":1}]}}"));
    http_answer_free(&a);
}

static void self_metrics__all_or_some__as_families(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    write_some();
    expect_get("/api/v1/status/self_metrics?metric_name_pattern=%5Ehead_series", 200,
               OK_DATA("[]"));
    expect_get("/api/v1/status/self_metrics?metric_name_pattern=head_seri.s$", 200,
               OK_DATA("[{\"name\":\"tidalite_head_series\",\"help\":\"Series in memory.\","
                       "\"type\":\"GAUGE\",\"metric\":[{\"label\":[],\"gauge\":{\"value\":2}}]}]"));
    expect_get("/api/v1/status/self_metrics?metric_name_pattern=nosuch", 200, OK_DATA("[]"));
    expect_get("/api/v1/status/self_metrics?metric_name_pattern=(", 400, NULL);
    http_client_once(port, "GET", "/api/v1/status/self_metrics", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "{\"name\":\"tidalite_build_info\","));
    assert_non_null(
        strstr(a.body, "\"type\":\"COUNTER\",\"metric\":[{\"label\":[],\"counter\":{\"value\":"));
    assert_non_null(strstr(a.body, "{\"label\":[{\"name\":\"layer\",\"value\":\"decode\"}],"
                                   "\"histogram\":{\"sampleCount\":\""));
    assert_non_null(strstr(a.body, "\",\"upperBound\":\"Infinity\"}]}}"));
    http_answer_free(&a);
}

static const struct CMUnitTest tests[] = {
    CASE(status_blocks__before_and_after_a_flush__as_meta_json),
    CASE(self_metrics__all_or_some__as_families),
};

TEST_MAIN(tests)
