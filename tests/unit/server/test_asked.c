/* What queries asked for: order, counts, bounds, and the endpoint. */
#include "server/parts/asked.h"
#include "tests/unit/server/server_rig.h"

#define MATCHER(o, n, v)                                                                           \
    {                                                                                              \
        .op = (o), .name = (n), .value = (v), .name_len = sizeof(n) - 1,                           \
        .value_len = sizeof(v) - 1                                                                 \
    }

struct seen {
    char text[512];
};

static void see(void *arg, const struct asked_name *n)
{
    struct seen *s = arg;
    size_t used = strlen(s->text);
    snprintf(s->text + used, sizeof s->text - used, "%s%.*s:%u@%d ", n->is_regex ? "~" : "",
             (int)n->text_bytes, n->text, (unsigned)n->count, (int)n->last_ms);
}

static void assert_seen(struct asked *a, const char *text, uint64_t unnamed, uint64_t forgotten)
{
    struct seen s = {""};
    struct asked_totals t = asked_visit(a, see, &s);
    assert_string_equal(s.text, text);
    assert_int_equal(t.unnamed, unnamed);
    assert_int_equal(t.forgotten, forgotten);
}

static void asked_note__names_and_patterns__in_order_with_counts(void **state)
{
    (void)state;
    static const struct tsdb_matcher b[] = {MATCHER(TSDB_MATCH_EQ, "__name__", "b")};
    static const struct tsdb_matcher ab[] = {MATCHER(TSDB_MATCH_EQ, "job", "x"),
                                             MATCHER(TSDB_MATCH_EQ, "__name__", "ab")};
    static const struct tsdb_matcher both[] = {MATCHER(TSDB_MATCH_RE, "__name__", "a.*"),
                                               MATCHER(TSDB_MATCH_EQ, "__name__", "a")};
    static const struct tsdb_matcher regex[] = {MATCHER(TSDB_MATCH_RE, "__name__", "a")};
    static const struct tsdb_matcher unnamed[] = {MATCHER(TSDB_MATCH_EQ, "job", "x"),
                                                  MATCHER(TSDB_MATCH_NE, "__name__", "a")};
    struct asked a;
    asked_init(&a, 100);
    asked_note(&a, b, 1, 1);
    asked_note(&a, ab, 2, 2);
    asked_note(&a, both, 2, 3);
    asked_note(&a, regex, 1, 4);
    asked_note(&a, b, 1, 5);
    asked_note(&a, unnamed, 2, 6);
    assert_seen(&a, "a:1@3 ab:1@2 b:2@5 ~a:1@4 ", 1, 0);
    asked_deinit(&a);
}

static void asked_note__full_or_too_long__is_counted_as_forgotten(void **state)
{
    (void)state;
    static const struct tsdb_matcher x[] = {MATCHER(TSDB_MATCH_EQ, "__name__", "x")};
    static const struct tsdb_matcher y[] = {MATCHER(TSDB_MATCH_EQ, "__name__", "y")};
    static char text[ASKED_NAME_BYTES_MAX + 1];
    memset(text, 'z', sizeof text);
    struct tsdb_matcher z = MATCHER(TSDB_MATCH_EQ, "__name__", "");
    z.value = text;
    z.value_len = sizeof text;
    struct asked a;
    asked_init(&a, 1);
    asked_note(&a, &z, 1, 1);
    asked_note(&a, x, 1, 2);
    asked_note(&a, y, 1, 3);
    asked_note(&a, x, 1, 4);
    assert_seen(&a, "x:2@4 ", 0, 2);
    asked_deinit(&a);
    asked_init(&a, 0); /* off: nothing is kept, nothing counted */
    asked_note(&a, x, 1, 5);
    assert_seen(&a, "", 0, 0);
    asked_deinit(&a);
}

static void asked_note__many_names__all_are_found_again(void **state)
{
    (void)state;
    enum {
        NAMES = 1000
    };
    struct asked a;
    asked_init(&a, NAMES);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < NAMES; i++) {
            char text[16];
            struct tsdb_matcher m = MATCHER(TSDB_MATCH_EQ, "__name__", "");
            m.value_len = (uint32_t)snprintf(text, sizeof text, "m%u", i * 7919 % NAMES);
            m.value = text;
            asked_note(&a, &m, 1, round);
        }
    }
    struct seen s = {""};
    struct asked_totals t = asked_visit(&a, see, &s);
    assert_int_equal(t.forgotten, 0);
    assert_int_equal(strncmp(s.text, "m0:2@1 m1:2@1 m10:2@1 m100:2@1 m101:2@1 ", 40), 0);
    asked_deinit(&a);
}

static void metric_names_stats__after_queries__tells_them(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    expect_get("/api/v1/query?query=sum(rate(seen%5B5m%5D))/seen", 200, NULL);
    expect_get("/api/v1/query?query=quiet&track_names=0", 200, NULL);
    expect_get("/api/v1/query?query=%7B__name__=~%22a.%2A%22%7D", 200, NULL);
    expect_get("/api/v1/query?query=%7Bjob=%22x%22%7D", 200, NULL);
    expect_get("/api/v1/query?query=broken(", 400, NULL);
    http_client_once(port, "GET", "/api/v1/status/metric_names_stats", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"data\":{\"statsCollectedSince\":"));
    assert_non_null(strstr(a.body, "\"records\":[{\"metricName\":\"seen\",\"requestsCount\":2,"));
    assert_non_null(strstr(a.body, ",{\"metricNamePattern\":\"a.*\",\"requestsCount\":1,"));
    assert_non_null(strstr(a.body, "],\"unnamedRequestsCount\":1,\"forgottenRequestsCount\":0}"));
    assert_null(strstr(a.body, "quiet"));
    http_answer_free(&a);
}

static const struct CMUnitTest tests[] = {
    CASE(asked_note__names_and_patterns__in_order_with_counts),
    CASE(asked_note__full_or_too_long__is_counted_as_forgotten),
    CASE(asked_note__many_names__all_are_found_again),
    CASE(metric_names_stats__after_queries__tells_them),
};

TEST_MAIN(tests)
