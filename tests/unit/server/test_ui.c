/* The files of the page: how they are found, packed, kept and guarded. Holds for a build without the
 * page, too, whose table is empty. */
#include "server/api/ui_files.h"
#include "tests/unit/server/server_rig.h"

#include <zlib.h>

#define GZIP "Accept-Encoding: gzip\r\n"

static void get(const char *path, const char *headers, struct http_answer *out)
{
    http_client_once(port, "GET", path, headers, NULL, 0, out);
}

static void assert_header(const struct http_answer *a, const char *name, const char *value)
{
    char v[256];
    assert_true(http_answer_header(a, name, v, sizeof v));
    assert_string_equal(v, value);
}

static void assert_guarded(const struct http_answer *a)
{
    char v[256];
    assert_true(http_answer_header(a, "Content-Security-Policy", v, sizeof v));
    assert_non_null(strstr(v, "default-src 'none'; script-src 'self'; style-src 'self';"));
    assert_non_null(strstr(v, "frame-ancestors 'none'"));
    assert_null(strstr(v, "unsafe"));
    assert_header(a, "X-Content-Type-Options", "nosniff");
}

static void root__each_way_to_it__is_a_guarded_page(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/graph", "/query", "/graph?g0.expr=up&g0.tab=0"};
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(paths); i++) {
        struct http_answer a;
        get(paths[i], NULL, &a);
        assert_int_equal(a.status, 200);
        assert_header(&a, "Content-Type", "text/html; charset=utf-8");
        assert_guarded(&a);
        assert_non_null(strstr(a.body, "<title>Tidalite</title>"));
        assert_null(strstr(a.body, "=\"/")); /* every link works behind a prefix */
        assert_null(strstr(a.body, "=\"http"));
        http_answer_free(&a);
    }
}

static void file__packed_or_not__is_what_the_table_says(void **state)
{
    (void)state;
    start();
    for (size_t i = 0; i < ui_file_count; i++) {
        const struct ui_file *f = &ui_files[i];
        struct http_answer packed;
        struct http_answer plain;
        char path[256];
        snprintf(path, sizeof path, "/ui/%s", f->name);
        get(path, GZIP, &packed);
        get(path, NULL, &plain);
        assert_int_equal(packed.status, 200);
        assert_header(&packed, "Content-Encoding", "gzip");
        assert_header(&packed, "Content-Type", f->type);
        assert_header(&packed, "ETag", f->etag);
        assert_header(&packed, "Vary", "Accept-Encoding");
        assert_guarded(&packed);
        assert_int_equal(packed.body_len, f->gzip_bytes);
        assert_memory_equal(packed.body, f->gzip, f->gzip_bytes);
        assert_int_equal(plain.body_len, f->bytes);
        /* The last eight bytes of a gzip member: the CRC of what is inside, and its length. */
        uint32_t crc = 0;
        memcpy(&crc, f->gzip + f->gzip_bytes - 8, sizeof crc);
        assert_int_equal(crc32(0, (const Bytef *)plain.body, (uInt)plain.body_len), crc);
        http_answer_free(&packed);
        http_answer_free(&plain);
    }
}

static void file__kept_by_the_browser__is_not_sent_again(void **state)
{
    (void)state;
    start();
    for (size_t i = 0; i < ui_file_count; i++) {
        const struct ui_file *f = &ui_files[i];
        struct http_answer a;
        char path[256];
        char known[128];
        bool index = strcmp(f->name, "index.html") == 0;
        snprintf(path, sizeof path, "%s%s", index ? "/" : "/ui/", index ? "" : f->name);
        snprintf(known, sizeof known, "If-None-Match: \"other\", W/%s\r\n", f->etag);
        get(path, known, &a);
        assert_int_equal(a.status, 304);
        assert_int_equal(a.body_len, 0);
        assert_header(&a, "ETag", f->etag);
        assert_header(&a, "Cache-Control",
                      index ? "no-cache" : "public, max-age=31536000, immutable");
        http_answer_free(&a);
        get(path, "If-None-Match: \"other\"\r\n", &a);
        assert_int_equal(a.status, 200);
        http_answer_free(&a);
    }
}

static void file__unknown__is_404_and_nothing_else_is_opened(void **state)
{
    (void)state;
    static const char *const paths[] = {"/ui/",
                                        "/ui",
                                        "/ui/nothing.js",
                                        "/ui/index.htm",
                                        "/ui/..%2f..%2fetc%2fpasswd",
                                        "/ui/../../etc/passwd",
                                        "/ui/a/b"};
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(paths); i++) {
        expect_get(paths[i], 404, "404 page not found\n");
    }
    expect("POST", "/", NULL, NULL, 405, NULL);
    expect("POST", "/ui/index.html", NULL, NULL, 405, NULL);
}

static const struct CMUnitTest tests[] = {
    CASE(root__each_way_to_it__is_a_guarded_page),
    CASE(file__packed_or_not__is_what_the_table_says),
    CASE(file__kept_by_the_browser__is_not_sent_again),
    CASE(file__unknown__is_404_and_nothing_else_is_opened),
};

TEST_MAIN(tests)
