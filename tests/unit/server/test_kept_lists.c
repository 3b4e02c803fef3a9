/* Lists that are kept: given again as they were sent, until something changes what they say; in so much memory. */
#include "tests/unit/server/server_rig.h"

#define NAMES "/api/v1/label/__name__/values"

static uint64_t hits(void)
{
    struct kept_lists_stats s;
    kept_lists_stats(server.kept_lists, &s);
    return s.hits;
}

/* Asked once more, with or without what is kept. */
static void expect_asked(const char *path, bool from_memory, const char *body)
{
    uint64_t before = hits();
    expect_get(path, 200, body);
    assert_int_equal(hits() - before, from_memory);
}

static void lists__asked_again__kept_until_a_series_comes(void **state)
{
    (void)state;
    start();
    write_some();
    expect_asked(NAMES, false, OK_DATA("[\"a\",\"b\"]"));
    expect_asked(NAMES, true, OK_DATA("[\"a\",\"b\"]"));
    expect_asked(NAMES "?limit=1", false, NULL);
    expect_asked(NAMES "?nocache=1", false, OK_DATA("[\"a\",\"b\"]"));
    expect_asked("/api/v1/label/job/values", false, OK_DATA("[\"j\"]"));
    expect_asked("/api/v1/labels", false, OK_DATA("[\"__name__\",\"job\"]"));
    expect_asked("/api/v1/series?match[]=a", false,
                 OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]"));
    expect_asked("/api/v1/series?match[]=a", true, OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]"));
    write_sample("a", T0 + 1, 3, 204,
                 NULL); /* of a known series: no list without a range changes */
    expect_asked(NAMES, true, OK_DATA("[\"a\",\"b\"]"));
    write_sample("c", T0, 3, 204, NULL);
    expect_asked(NAMES, false, OK_DATA("[\"a\",\"b\",\"c\"]"));
    expect_asked(NAMES, true, OK_DATA("[\"a\",\"b\",\"c\"]"));
    struct tsdb_error err = {0};
    assert_ok_err(tsdb_flush(server.db, &err), &err);
    expect_asked(NAMES, false, OK_DATA("[\"a\",\"b\",\"c\"]"));
    expect_part("/metrics", 200, "tidalite_label_cache_requests_total{result=\"hit\"} 4\n");
}

static void lists__of_a_range__kept_until_a_sample_comes_into_it(void **state)
{
    (void)state;
    static const char path[] = NAMES "?start=1699999980&end=1700000100";
    static const char earlier[] = NAMES "?start=1699999000&end=1699999995";
    start();
    write_some();
    expect_asked(path, false, OK_DATA("[\"a\",\"b\"]"));
    expect_asked(path, true, OK_DATA("[\"a\",\"b\"]"));
    expect_asked(earlier, false, NULL);
    write_sample("b", T0 + 50000, 3, 204, NULL);
    expect_asked(path, false, OK_DATA("[\"a\",\"b\"]"));
    expect_asked(earlier, true, NULL); /* it ends before */
    write_sample("b", T0 + 200000, 3, 204, NULL);
    expect_asked(path, true, OK_DATA("[\"a\",\"b\"]")); /* behind it */
}

/* An error is none that is kept, and neither is what a delete has changed. */
static void lists__errors_and_deletes__asked_anew(void **state)
{
    (void)state;
    static const char path[] = "/api/v1/series?match[]=a&start=1699999900&end=1700000100";
    const struct tsdb_matcher a = {TSDB_MATCH_EQ, "__name__", "a", 8, 1};
    const struct tsdb_selector selector = {&a, 1};
    struct tsdb_delete_info info;
    struct tsdb_error err = {0};
    start();
    write_some();
    for (int i = 0; i < 2; i++) {
        expect("GET", "/api/v1/series?match[]=sum(a)", NULL, NULL, 400, NULL);
        expect("GET", NAMES "?start=x", NULL, NULL, 400, NULL);
    }
    assert_int_equal(hits(), 0);
    expect_asked(path, false, OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]"));
    expect_asked(path, true, OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]"));
    assert_ok_err(tsdb_delete_series(server.db, &selector, 1, TSDB_TIME_ALL, &info, &err), &err);
    expect_asked(path, false, OK_DATA("[]"));
}

/* Packed as the client takes it; another one gets its own. */
static void lists__packed__given_again_as_sent(void **state)
{
    (void)state;
    static const char gzip[] = "Accept-Encoding: gzip\r\n";
    struct http_answer first;
    struct http_answer again;
    struct http_answer plain;
    start();
    for (char i = 0; i < 60; i++) {
        char name[80];
        memset(name, 'n', sizeof name);
        (void)snprintf(name + 60, sizeof name - 60, "_%d", i);
        write_sample(name, T0, 1, 204, NULL);
    }
    http_client_once(port, "GET", NAMES, gzip, NULL, 0, &first);
    http_client_once(port, "GET", NAMES, gzip, NULL, 0, &again);
    http_client_once(port, "GET", NAMES, NULL, NULL, 0, &plain);
    assert_int_equal(hits(), 1);
    assert_non_null(strstr(again.head, "Content-Encoding: gzip\r\n"));
    assert_null(strstr(plain.head, "Content-Encoding"));
    assert_int_equal(again.body_len, first.body_len);
    assert_memory_equal(again.body, first.body, first.body_len);
    assert_true(plain.body_len > 60 * 60 && first.body_len < plain.body_len);
    http_answer_free(&first);
    http_answer_free(&again);
    http_answer_free(&plain);
}

static void kept_lists_put__more_than_fits__others_go(void **state)
{
    (void)state;
    enum {
        BYTES_MAX = 64 << 10,
        COUNT = 600
    };
    struct kept_lists *k = NULL;
    struct kept_lists_stats s;
    struct tsdb_label_stamp stamp;
    struct tsdb_buf out;
    const char *encoding = NULL;
    static const uint8_t body[BYTES_MAX] = {0};
    start();
    assert_ok(kept_lists_create(BYTES_MAX, server.db, &k, NULL));
    tsdb_label_stamp_take(server.db, &stamp);
    struct kept_list list = {.stamp = &stamp, .range = TSDB_TIME_ALL, .body = {body, 100}};
    tsdb_buf_init(&out, TSDB_MEM_SERVER, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        list.key = (struct tsdb_slice){(const uint8_t *)&i, sizeof i};
        kept_lists_put(k, &list);
        kept_lists_stats(k, &s);
        assert_true(s.bytes <= BYTES_MAX && s.entries > 0);
        tsdb_buf_clear(&out);
        assert_true(kept_lists_get(k, list.key, &out, &encoding));
        assert_int_equal(out.len, 100);
        assert_null(encoding);
    }
    assert_true(s.evicted > 0 && s.entries < COUNT);
    const uint32_t one = COUNT;
    list.key = (struct tsdb_slice){(const uint8_t *)&one, sizeof one};
    list.body.len = BYTES_MAX / 16; /* with its head it is more than one may have */
    kept_lists_put(k, &list);
    assert_false(kept_lists_get(k, list.key, &out, &encoding));
    tsdb_buf_deinit(&out);
    kept_lists_destroy(k);
}

static const struct CMUnitTest tests[] = {
    CASE(lists__asked_again__kept_until_a_series_comes),
    CASE(lists__of_a_range__kept_until_a_sample_comes_into_it),
    CASE(lists__errors_and_deletes__asked_anew),
    CASE(lists__packed__given_again_as_sent),
    CASE(kept_lists_put__more_than_fits__others_go),
};

TEST_MAIN(tests)
