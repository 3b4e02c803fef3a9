/* /api/v1/admin/tsdb/...: gates, methods, parameters, answers. */
#include "tests/unit/server/server_rig.h"

#define ADMIN "/api/v1/admin/tsdb/"
#define DISABLED                                                                                   \
    "{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"admin APIs disabled\"}"
#define FROM_A_PAGE "Origin: http://elsewhere.example\r\n"

static void start_admin(void)
{
    server.options.admin_api = true;
    start();
}

static const char *const paths[] = {ADMIN "snapshot", ADMIN "delete_series",
                                    ADMIN "clean_tombstones", ADMIN "flush", ADMIN "compact"};

static void admin__off__says_so(void **state)
{
    (void)state;
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(paths); i++) {
        expect("POST", paths[i], NULL, NULL, 500, DISABLED);
        expect("PUT", paths[i], NULL, NULL, 500, DISABLED);
    }
    expect_get(ADMIN "deletes", 500, DISABLED);
}

/* A link, an image or a page of another origin must not be able to do any of this. */
static void admin__get_and_pages_from_elsewhere__refused(void **state)
{
    (void)state;
    start_admin();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(paths); i++) {
        expect("GET", paths[i], NULL, NULL, 405, NULL);
        expect("POST", paths[i], FROM_A_PAGE, NULL, 403, NULL);
        expect("POST", paths[i], "Sec-Fetch-Site: cross-site\r\n", NULL, 403, NULL);
    }
}

static uint32_t files_of(const char *answer)
{
    struct tsdb_file_info info;
    char path[256];
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    static const char begin[] = "{\"status\":\"success\",\"data\":{\"name\":\"";
    static const char *const files[] = {"MANIFEST", "VERSION", "checkpoint/00000001", "series.log"};
    uint32_t n = 0;
    assert_memory_equal(answer, begin, sizeof begin - 1);
    size_t len = strcspn(answer + sizeof begin - 1, "\"");
    assert_int_equal(len, sizeof "20231114T221320Z-0123456789abcdef" - 1);
    (void)snprintf(name, sizeof name, "%.*s", (int)len, answer + sizeof begin - 1);
    assert_memory_equal(name, "20231114T221320Z-", 17);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        (void)snprintf(path, sizeof path, "snapshots/%s/%s", name, files[i]);
        n += server.fs.ops->stat(server.fs.ctx, path, &info, NULL) == TSDB_OK;
    }
    return n;
}

static void snapshot__with_and_without_head__named_and_there(void **state)
{
    (void)state;
    struct http_answer a;
    start_admin();
    write_some();
    http_client_once(port, "POST", ADMIN "snapshot", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(files_of(a.body), 4);
    http_answer_free(&a);
    http_client_once(port, "PUT", ADMIN "snapshot?skip_head=true", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(files_of(a.body), 2);
    http_answer_free(&a);
    expect(
        "POST", ADMIN "snapshot", FORM, "skip_head=maybe", 400,
        BAD_DATA("invalid parameter \\\"skip_head\\\": strconv.ParseBool: parsing \\\"maybe\\\": "
                 "invalid syntax"));
}

#define QUERY(what) "/api/v1/query?query=" what "&time=1700000000"
#define FOUND(metric, value)                                                                       \
    OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":" metric                           \
            ",\"value\":[1700000000,\"" value "\"]}]}")
#define NOTHING OK_DATA("{\"resultType\":\"vector\",\"result\":[]}")

static void delete_series__by_name_and_range__gone_at_once_and_rewritten(void **state)
{
    (void)state;
    struct http_answer a;
    start_admin();
    write_some();
    expect_get(QUERY("a"), 200, FOUND("{\"__name__\":\"a\",\"job\":\"j\"}", "2.5"));
    expect("POST", ADMIN "delete_series", FORM, "match[]=a&start=1699999995", 204, "");
    expect_get(QUERY("a"), 200, FOUND("{\"__name__\":\"a\",\"job\":\"j\"}", "1.5"));
    expect_get(QUERY("b"), 200, FOUND("{\"__name__\":\"b\",\"job\":\"j\"}", "7"));
    http_client_once(port, "GET", ADMIN "deletes", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(
        a.body,
        "{\"deletes\":[{\"id\":1,\"time\":1700000000,\"match\":\"{__name__=\\\"a\\\"}\","
        "\"minTime\":1699999995000,\"maxTime\":9223372036854775807,"
        "\"blocks\":1,\"series\":1,\"samples\":1,\"bytes\":0}],\"tombstones\":{\"blocks\":"));
    http_answer_free(&a);
    write_sample("a", T0, 9, 204, NULL); /* the same time, later */
    expect_get(QUERY("a"), 200, FOUND("{\"__name__\":\"a\",\"job\":\"j\"}", "9"));
    expect("POST", ADMIN "clean_tombstones", NULL, NULL, 204, "");
    expect_get(QUERY("a"), 200, FOUND("{\"__name__\":\"a\",\"job\":\"j\"}", "9"));
    expect("PUT", ADMIN "delete_series?match[]=%7Bjob%3D%22j%22%7D", NULL, NULL, 204, "");
    expect_get(QUERY("a"), 200, NOTHING);
    expect_get(QUERY("b"), 200, NOTHING);
    expect("POST", ADMIN "delete_series?match[]=nothing_like_it", NULL, NULL, 204, "");
}

static void delete_series__bad_parameters__refused_and_nothing_deleted(void **state)
{
    (void)state;
    static const struct {
        const char *form, *body;
    } cases[] = {
        {"", BAD_DATA("no match[] parameter provided")},
        {"start=1", BAD_DATA("no match[] parameter provided")},
        {"match[]=%7B%7D", NULL},
        {"match[]=%7Bx%3D~%22.*%22%7D",
         BAD_DATA("invalid parameter \\\"match[]\\\": match[] must contain at least one non-empty "
                  "matcher")},
        {"match[]=%7Bx%3D~%22(%22%7D", NULL},
        {"match[]=a&match[]=rate(a[5m])", NULL},
        {"match[]=a&start=yesterday",
         BAD_DATA("invalid parameter \\\"start\\\": invalid time value for 'start': cannot parse "
                  "\\\"yesterday\\\" to a valid "
                  "timestamp")},
    };
    start_admin();
    write_some();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        expect("POST", ADMIN "delete_series", FORM, cases[i].form, 400, cases[i].body);
    }
    expect("POST", ADMIN "delete_series", FORM, "match[]=a&start=200&end=100", 204, "");
    expect_get(QUERY("a"), 200, FOUND("{\"__name__\":\"a\",\"job\":\"j\"}", "2.5"));
}

static void flush_and_compact__on_demand__counts(void **state)
{
    (void)state;
    start_admin();
    write_some();
    expect("POST", ADMIN "flush", NULL, NULL, 200, OK_DATA("{\"blocks\":1,\"samples\":3}"));
    expect("POST", ADMIN "flush", NULL, NULL, 200, OK_DATA("{\"blocks\":0,\"samples\":0}"));
    expect("POST", ADMIN "compact", NULL, NULL, 200, NULL);
    expect("POST", ADMIN "compact", NULL, NULL, 200, OK_DATA("{\"blocks\":0,\"samples\":0}"));
    expect_get(QUERY("a"), 200, FOUND("{\"__name__\":\"a\",\"job\":\"j\"}", "2.5"));
}

static const struct CMUnitTest tests[] = {
    CASE(admin__off__says_so),
    CASE(admin__get_and_pages_from_elsewhere__refused),
    CASE(snapshot__with_and_without_head__named_and_there),
    CASE(delete_series__by_name_and_range__gone_at_once_and_rewritten),
    CASE(delete_series__bad_parameters__refused_and_nothing_deleted),
    CASE(flush_and_compact__on_demand__counts),
};

TEST_MAIN(tests)
