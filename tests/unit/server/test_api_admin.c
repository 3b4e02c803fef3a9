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

static const char *const paths[] = {ADMIN "snapshot"};

static void admin__off__says_so(void **state)
{
    (void)state;
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(paths); i++) {
        expect("POST", paths[i], NULL, NULL, 500, DISABLED);
        expect("PUT", paths[i], NULL, NULL, 500, DISABLED);
    }
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

static const struct CMUnitTest tests[] = {
    CASE(admin__off__says_so),
    CASE(admin__get_and_pages_from_elsewhere__refused),
    CASE(snapshot__with_and_without_head__named_and_there),
};

TEST_MAIN(tests)
