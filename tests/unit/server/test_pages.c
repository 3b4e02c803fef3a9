/* Pages outside of the API, unknown paths, lifecycle, stopping. */
#include "tests/unit/server/server_rig.h"

static void pages__each__answers(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *type;
        const char *has;
    } pages[] = {
        {"/-/healthy", "text/plain; charset=utf-8", "Healthy"},
        {"/-/ready", "text/plain; charset=utf-8", "Ready"},
        {"/metrics", "text/plain; version=0.0.4; charset=utf-8", "# TYPE "},
        {"/", "text/html; charset=utf-8", "<title>Tidalite</title>"},
        {"/version", "application/json", "{\"version\":\""},
        {"/api/v1/status/buildinfo", "application/json", "\"version\":\""},
        {"/api/v1/status/flags", "application/json", "\"storage.tsdb.path\":\""},
        {"/api/v1/status/config", "application/json", "\"yaml\":\""},
        {"/api/v1/status/runtimeinfo", "application/json", "\"startTime\":\""},
        {"/api/v1/status/walreplay", "application/json", "\"current\":"},
    };
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(pages); i++) {
        struct http_answer a;
        char v[64];
        http_client_once(port, "GET", pages[i].path, NULL, NULL, 0, &a);
        assert_int_equal(a.status, 200);
        assert_true(http_answer_header(&a, "Content-Type", v, sizeof v));
        assert_string_equal(v, pages[i].type);
        if (!strstr(a.body, pages[i].has)) {
            fail_msg("%s: no %s in: %s", pages[i].path, pages[i].has, a.body);
        }
        http_answer_free(&a);
    }
}

static void paths__unknown_or_wrong_method__are_404_and_405(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        const char *allow; /* NULL: 404 */
    } cases[] = {
        {"GET", "/nope", NULL},
        {"GET", "/api/v1/nope", NULL},
        {"GET", "/debug/pprof", NULL}, /* not wanted: there is no Go runtime to profile */
        {"GET", "/debug/pprof/heap", NULL},
        {"POST", "/version", "GET, HEAD, OPTIONS"},
        {"GET", "/api/v1/query/", NULL},
        {"POST", "/api/v1/", NULL},
        {"GET", "/api/v1/queryx", NULL},
        {"GET", "//nope", NULL},
        {"DELETE", "/api/v1/query", "GET, HEAD, POST, OPTIONS"},
        {"PUT", "/api/v1/series", "GET, HEAD, POST, OPTIONS"},
        {"POST", "/api/v1/label/a/values", "GET, HEAD, OPTIONS"},
        {"GET", "/api/v1/write", "POST, OPTIONS"},
        {"PATCH", "/api/v1/write", "POST, OPTIONS"},
        {"GET", "/-/reload", "POST, PUT, OPTIONS"},
        {"GET", "/-/quit", "POST, PUT, OPTIONS"},
        {"POST", "/-/healthy", "GET, HEAD, OPTIONS"},
        {"DELETE", "/metrics", "GET, HEAD, OPTIONS"},
    };
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct http_answer a;
        char v[64];
        http_client_once(port, cases[i].method, cases[i].path, NULL, NULL, 0, &a);
        assert_int_equal(a.status, cases[i].allow ? 405 : 404);
        if (cases[i].allow) {
            assert_true(http_answer_header(&a, "Allow", v, sizeof v));
            assert_string_equal(v, cases[i].allow);
        } else {
            assert_string_equal(a.body, "404 page not found\n");
        }
        http_answer_free(&a);
    }
}

static void lifecycle__reload_and_quit__follow_the_flag(void **state)
{
    (void)state;
    start();
    assert_false(server.options.lifecycle); /* off by default */
    expect("POST", "/-/reload", NULL, NULL, 403, NULL);
    expect("POST", "/-/quit", NULL, NULL, 403, NULL);
    assert_int_equal(atomic_load(&server.stopping), 0);
    server.options.lifecycle = true;
    expect("POST", "/-/reload", NULL, NULL, 200, "");
    expect("PUT", "/-/reload", NULL, NULL, 200, "");
    snprintf(server.options.config_file, sizeof server.options.config_file, "/no/such/file.yml");
    expect("POST", "/-/reload", NULL, NULL, 500, NULL);
    expect("POST", "/-/quit", NULL, NULL, 200, NULL);
    assert_int_equal(atomic_load(&server.stopping), 1);
}

static void changes__pages_from_elsewhere__are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        bool foreign;
    } cases[] = {
        {"Origin: http://evil.example\r\n", true},
        {"Origin: null\r\n", true},
        {"Origin: file://127.0.0.1\r\n", true},
        {"Origin: http://127.0.0.1\r\n", true}, /* another port is another origin */
        {"Sec-Fetch-Site: cross-site\r\n", true},
        {"Sec-Fetch-Site: same-site\r\n", true},
        {"Sec-Fetch-Site: same-origin\r\n", false},
        {"Sec-Fetch-Site: none\r\n", false},
        {"", false},
    };
    static const char cross[] = "Sec-Fetch-Site: cross-site\r\n";
    start();
    server.options.lifecycle = true;
    snprintf(server.options.cors_origin, sizeof server.options.cors_origin, ".*");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct http_answer a;
        expect("POST", "/-/reload", cases[i].headers, NULL, cases[i].foreign ? 403 : 200, NULL);
        send_write(cases[i].headers, "", 1, &a); /* an empty request */
        assert_int_equal(a.status, cases[i].foreign ? 403 : 204);
        expect_counts(&a, "0", "0", "0");
        http_answer_free(&a);
    }
    expect("POST", "/-/quit", cross, NULL, 403, NULL);
    assert_int_equal(atomic_load(&server.stopping), 0);
    expect("GET", "/api/v1/query?query=1", cross, NULL, 200, NULL); /* reading changes nothing */
}

static void stopping__api_and_ready__say_so(void **state)
{
    (void)state;
    static const char *const paths[] = {"/-/ready", "/api/v1/query?query=1", "/api/v1/labels",
                                        "/api/v1/status/flags"};
    start();
    atomic_store(&server.stopping, 1);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(paths); i++) {
        struct http_answer a;
        char v[16];
        http_client_once(port, "GET", paths[i], NULL, NULL, 0, &a);
        assert_int_equal(a.status, 503);
        assert_true(http_answer_header(&a, "X-Prometheus-Stopping", v, sizeof v));
        assert_string_equal(v, "true");
        http_answer_free(&a);
    }
    expect_part("/-/ready", 503, "Service Unavailable: closing");
    expect_get("/-/healthy", 200, NULL);
    expect_get("/api/v1/status/walreplay", 200, NULL);
    expect_get("/metrics", 200, NULL);
}

static const struct CMUnitTest tests[] = {
    CASE(pages__each__answers),
    CASE(paths__unknown_or_wrong_method__are_404_and_405),
    CASE(lifecycle__reload_and_quit__follow_the_flag),
    CASE(changes__pages_from_elsewhere__are_refused),
    CASE(stopping__api_and_ready__say_so),
};

TEST_MAIN(tests)
