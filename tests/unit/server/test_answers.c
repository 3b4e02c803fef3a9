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

/* Larger than a piece, made while it is sent: the same packed and plain, and valid to its end. */
static void answer__in_pieces__the_same_packed(void **state)
{
    (void)state;
    static const char path[] = "/api/v1/query_range?query=%7Bjob%3D%22j%22%7D&start=1700000000&end="
                               "1700011000&step=1&lookback_delta=4h&limit=9&stats=all";
    static const char *const packings[] = {"gzip", "deflate"};
    struct http_answer plain;
    char v[64];
    start();
    for (char name[] = "m_a"; name[2] < 'a' + 10; name[2]++) {
        write_sample(name, T0, 1.0625, 204, NULL);
    }
    http_client_once(port, "GET", path, NULL, NULL, 0, &plain);
    assert_int_equal(plain.status, 200);
    assert_false(http_answer_header(&plain, "Content-Length", v, sizeof v));
    const char *stats = strstr(plain.body, "\"stats\":");
    assert_true(stats && plain.body_len > 2000000);
    static const char end[] = "\"warnings\":[\"results truncated due to limit\"]}";
    assert_string_equal(plain.body + plain.body_len - (sizeof end - 1), end);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(packings); i++) {
        struct http_answer packed;
        char header[64];
        snprintf(header, sizeof header, "Accept-Encoding: %s\r\n", packings[i]);
        http_client_once(port, "GET", path, header, NULL, 0, &packed);
        assert_true(http_answer_header(&packed, "Content-Encoding", v, sizeof v));
        assert_string_equal(v, packings[i]);
        char *back = malloc(plain.body_len + 100000);
        z_stream z = {.avail_in = (unsigned)packed.body_len,
                      .avail_out = (unsigned)plain.body_len + 100000};
        z.next_in = (uint8_t *)packed.body;
        z.next_out = (uint8_t *)back;
        assert_int_equal(inflateInit2(&z, 15 + (i == 0 ? 16 : 0)), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        /* but for the times that it took */
        assert_memory_equal(back, plain.body, (size_t)(stats - plain.body));
        assert_memory_equal(back + z.total_out - (sizeof end - 1), end, sizeof end - 1);
        inflateEnd(&z);
        free(back);
        http_answer_free(&packed);
    }
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
    CASE(answer__in_pieces__the_same_packed),
    CASE(answer__cors__follows_the_pattern),
    CASE(answer__head__has_no_body),
};

TEST_MAIN(tests)
