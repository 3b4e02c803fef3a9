/* What answers share: compression, CORS, HEAD. */
#include "tests/unit/server/server_rig.h"

#include <zlib.h>

static void answer__gzip__only_when_asked_and_worth_it(void **state)
{
    (void)state;
    static const char path[] = "/api/v1/query_range?query=1&start=0&end=1000&step=1";
    struct http_answer plain;
    struct http_answer packed;
    char v[64];
    start();
    http_client_once(port, "GET", path, NULL, NULL, 0, &plain);
    assert_false(http_answer_header(&plain, "Content-Encoding", v, sizeof v));
    http_client_once(port, "GET", path, "Accept-Encoding: gzip, deflate\r\n", NULL, 0, &packed);
    assert_true(http_answer_header(&packed, "Content-Encoding", v, sizeof v));
    assert_string_equal(v, "gzip");
    assert_true(http_answer_header(&packed, "Vary", v, sizeof v));
    assert_non_null(strstr(v, "Accept-Encoding"));
    char *back = malloc(plain.body_len + 1);
    z_stream z = {.avail_in = (unsigned)packed.body_len, .avail_out = (unsigned)plain.body_len + 1};
    z.next_in = (uint8_t *)packed.body;
    z.next_out = (uint8_t *)back;
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, plain.body_len);
    assert_memory_equal(back, plain.body, plain.body_len);
    inflateEnd(&z);
    free(back);
    http_answer_free(&plain);
    http_answer_free(&packed);
    http_client_once(port, "GET", "/api/v1/query?query=1", "Accept-Encoding: gzip\r\n", NULL, 0,
                     &plain);
    assert_false(http_answer_header(&plain, "Content-Encoding", v, sizeof v));
    http_answer_free(&plain);
}

static void answer__cors__follows_the_pattern(void **state)
{
    (void)state;
    static const char origin[] = "Origin: http://grafana.example\r\n";
    struct http_answer a;
    char v[128];
    start();
    /* nothing is open unless asked for */
    http_client_once(port, "GET", "/api/v1/query?query=1", origin, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_false(http_answer_header(&a, "Access-Control-Allow-Origin", v, sizeof v));
    http_answer_free(&a);
    http_client_once(port, "OPTIONS", "/api/v1/query", origin, NULL, 0, &a);
    assert_int_equal(a.status, 204);
    assert_false(http_answer_header(&a, "Access-Control-Allow-Origin", v, sizeof v));
    http_answer_free(&a);
    snprintf(server.options.cors_origin, sizeof server.options.cors_origin, ".*");
    http_client_once(port, "OPTIONS", "/api/v1/write", origin, NULL, 0, &a);
    assert_false(http_answer_header(&a, "Access-Control-Allow-Origin", v, sizeof v));
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/query?query=1", origin, NULL, 0, &a);
    assert_true(http_answer_header(&a, "Access-Control-Allow-Origin", v, sizeof v));
    assert_string_equal(v, "*");
    assert_true(http_answer_header(&a, "Access-Control-Allow-Headers", v, sizeof v));
    assert_string_equal(v, "Accept, Authorization, Content-Type, Origin");
    assert_true(http_answer_header(&a, "Vary", v, sizeof v));
    assert_non_null(strstr(v, "Origin"));
    http_answer_free(&a);
    http_client_once(port, "OPTIONS", "/api/v1/query_range", origin, NULL, 0, &a);
    assert_int_equal(a.status, 204);
    assert_true(http_answer_header(&a, "Access-Control-Allow-Methods", v, sizeof v));
    assert_string_equal(v, "GET, POST, OPTIONS");
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/query?query=1", NULL, NULL, 0, &a);
    assert_false(http_answer_header(&a, "Access-Control-Allow-Origin", v, sizeof v));
    http_answer_free(&a);
    /* the longest origin that is taken fits beside everything else */
    char longest[200] = "Origin: http://";
    memset(longest + 15, 'o', 151);
    memcpy(longest + 15 + 151, "\r\n", 3);
    snprintf(server.options.cors_origin, sizeof server.options.cors_origin, "http://o+");
    http_client_once(port, "GET", "/api/v1/query_range?query=1&start=0&end=1000&step=1", longest,
                     NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_true(http_answer_header(&a, "Access-Control-Allow-Origin", v, sizeof v));
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/query?query=1", origin, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_false(http_answer_header(&a, "Access-Control-Allow-Origin", v, sizeof v));
    http_answer_free(&a);
}

static void answer__head__has_no_body(void **state)
{
    (void)state;
    struct http_answer a;
    char v[32];
    start();
    http_client_once(port, "HEAD", "/api/v1/query?query=1&time=1", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_true(http_answer_header(&a, "Content-Length", v, sizeof v));
    assert_true(atoi(v) > 10);
    http_answer_free(&a);
    http_client_once(port, "HEAD", "/-/ready", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    http_answer_free(&a);
}

static const struct CMUnitTest tests[] = {
    CASE(answer__gzip__only_when_asked_and_worth_it),
    CASE(answer__cors__follows_the_pattern),
    CASE(answer__head__has_no_body),
};

TEST_MAIN(tests)
