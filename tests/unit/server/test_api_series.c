/* /api/v1/series, /labels, /label/<name>/values and /search over a whole server. */
#include "tests/unit/server/server_rig.h"

static void names__series_labels_values__are_listed(void **state)
{
    (void)state;
    static const struct path_case cases[] = {
        {"/api/v1/labels", 200, OK_DATA("[\"__name__\",\"job\"]")},
        {"/api/v1/labels?match[]=nothing", 200, OK_DATA("[]")},
        {"/api/v1/labels?limit=1", 200,
         "{\"status\":\"success\",\"data\":[\"__name__\"],\"warnings\":[\"results truncated due to "
         "limit\"]}"},
        {"/api/v1/label/job/values", 200, OK_DATA("[\"j\"]")},
        {"/api/v1/label/__name__/values", 200, OK_DATA("[\"a\",\"b\",\"c.d\"]")},
        {"/api/v1/label/__name__/values?match[]=a&match[]=%7B__name__=%22b%22%7D", 200,
         OK_DATA("[\"a\",\"b\"]")},
        {"/api/v1/label/unknown/values", 200, OK_DATA("[]")},
        {"/api/v1/label/%6Aob/values", 200, OK_DATA("[\"j\"]")},
        {"/api/v1/label/U__j_6f_b/values", 200, OK_DATA("[\"j\"]")},
        {"/api/v1/label/U__/values", 400, BAD_DATA("invalid label name: \\\"\\\"")},
        {"/api/v1/label/%zz/values", 400, BAD_DATA("invalid label name: \\\"%zz\\\"")},
        {"/api/v1/label/%ff/values", 400, NULL},
        {"/api/v1/label//values", 404, "404 page not found\n"},
        {"/api/v1/label/a/b/values", 404, "404 page not found\n"},
        {"/api/v1/label/a/values/", 404, "404 page not found\n"},
        {"/api/v1/series", 400, BAD_DATA("no match[] parameter provided")},
        {"/api/v1/series?match[]=a&match[]=a", 200,
         OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]")},
        {"/api/v1/series?match[]=%7B%22c.d%22%7D", 200,
         OK_DATA("[{\"__name__\":\"c.d\",\"job\":\"j\"}]")},
        {"/api/v1/series?match[]=%7Bnosuch=%22x%22%7D", 200, OK_DATA("[]")},
        {"/api/v1/series?match[]=a&limit=1", 200, OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]")},
        {"/api/v1/series?match[]=%7Ba=%22%22%7D", 400,
         BAD_DATA("invalid parameter \\\"match[]\\\": match[] must contain at least one non-empty "
                  "matcher")},
        {"/api/v1/labels?match[]=%7Ba=~%22.*%22%7D", 400,
         BAD_DATA("match[] must contain at least one non-empty matcher")},
        {"/api/v1/labels?match[]=sum(a)", 400, NULL},
        {"/api/v1/labels?match[]=%7Ba=~%22(%22%7D", 400, NULL},
        {"/api/v1/labels?start=x", 400, NULL},
        {"/api/v1/labels?start=1700000000&end=1699999999", 200, NULL},
        {"/api/v1/labels?start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54.999999999Z",
         200, OK_DATA("[\"__name__\",\"job\"]")},
    };
    start();
    write_some();
    write_sample("c.d", T0, 1, 204, NULL);
    expect_paths(cases, TSDB_ARRAY_LEN(cases));
    struct http_answer a;
    http_client_once(port, "GET", "/api/v1/series?match[]=%7Bjob=%22j%22%7D&limit=1", NULL, NULL, 0,
                     &a);
    assert_int_equal(a.status, 200); /* which one of the three is the engine's choice */
    assert_non_null(strstr(a.body, "\"data\":[{\"__name__\":\""));
    assert_null(strstr(a.body, "},{"));
    assert_non_null(strstr(a.body, "\"warnings\":[\"results truncated due to limit\"]"));
    http_answer_free(&a);
    expect("POST", "/api/v1/series?match[]=b", FORM, "match%5B%5D=a", 200,
           OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"},{\"__name__\":\"b\",\"job\":\"j\"}]"));
    expect("POST", "/api/v1/labels", FORM, "match%5B%5D=a&start=0", 200,
           OK_DATA("[\"__name__\",\"job\"]"));
}

#define SEARCH "/api/v1/search/"
#define MORE   "{\"status\":\"success\",\"has_more\":true}\n"
#define DONE   "{\"status\":\"success\",\"has_more\":false}\n"

static void search__names_that_fit__as_lines(void **state)
{
    (void)state;
    static const struct path_case cases[] = {
        {SEARCH "metric_names", 200,
         "{\"results\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"http_requests\"},{\"name\":"
         "\"other_http\"}]}\n" DONE},
        {SEARCH "metric_names?limit=2&batch_size=1&sort_by=alpha&sort_dir=dsc", 200,
         "{\"results\":[{\"name\":\"other_http\"}]}\n{\"results\":[{\"name\":\"http_requests\"}]}"
         "\n" MORE},
        {SEARCH "metric_names?search[]=http&include_score=true&sort_by=score", 200,
         "{\"results\":[{\"name\":\"http_requests\",\"score\":1},{\"name\":\"other_http\","
         "\"score\":"
         "0.9625}]}\n" DONE},
        {SEARCH "metric_names?search[]=HTTP", 200, "{\"results\":[]}\n" DONE},
        {SEARCH "metric_names?search[]=HTTP&case_sensitive=false&fuzz_threshold=97", 200,
         "{\"results\":[{\"name\":\"http_requests\"}]}\n" DONE},
        {SEARCH "metric_names?search[]=htpt&fuzz_alg=jarowinkler", 200, "{\"results\":[]}\n" DONE},
        {SEARCH
         "metric_names?search[]=http_requets&search[]=a&fuzz_alg=jarowinkler&fuzz_threshold=90",
         200, "{\"results\":[{\"name\":\"a\"},{\"name\":\"http_requests\"}]}\n" DONE},
        {SEARCH "metric_names?match[]=a", 200, "{\"results\":[{\"name\":\"a\"}]}\n" DONE},
        {SEARCH "metric_names?search[]=http_r&include_metadata=1", 200,
         "{\"results\":[{\"name\":\"http_requests\",\"type\":\"counter\",\"help\":\"Asked.\"}]}"
         "\n" DONE},
        {SEARCH "label_names?search[]=o", 200, "{\"results\":[{\"name\":\"job\"}]}\n" DONE},
        {SEARCH "label_values?label=job", 200, "{\"results\":[{\"name\":\"j\"}]}\n" DONE},
        {SEARCH "label_values", 400, BAD_DATA("missing required parameter \\\"label\\\"")},
        {SEARCH "label_names?fuzz_threshold=101", 400,
         BAD_DATA("invalid fuzz_threshold \\\"101\\\": must be 0-100")},
        {SEARCH "label_names?fuzz_alg=x", 400,
         BAD_DATA("unsupported fuzz_alg \\\"x\\\": must be one of [subsequence jarowinkler]")},
        {SEARCH "label_names?case_sensitive=maybe", 400,
         BAD_DATA("invalid case_sensitive \\\"maybe\\\": must be boolean")},
        {SEARCH "label_names?sort_dir=asc", 400,
         BAD_DATA("sort_dir is only valid when sort_by is set")},
        {SEARCH "label_names?sort_by=score", 400,
         BAD_DATA("sort_by=score requires search[] to be set")},
        {SEARCH "label_names?sort_by=size", 400, NULL},
        {SEARCH "label_names?limit=-1", 400, NULL},
        {SEARCH "label_names?limit=10001", 400, NULL},
        {SEARCH "label_names?start=x", 400, NULL},
        {SEARCH "nothing", 404, NULL},
    };
    static const struct tsdb_metadata metadata = {.metric = {(const uint8_t *)"http_requests", 13},
                                                  .help = {(const uint8_t *)"Asked.", 6},
                                                  .type = TSDB_METRIC_COUNTER};
    server.options.feature_search_api = true;
    start();
    write_some();
    write_sample("http_requests", T0, 1, 204, NULL);
    write_sample("other_http", T0, 1, 204, NULL);
    assert_ok(tsdb_metadata_put(server.db, &metadata));
    expect_paths(cases, TSDB_ARRAY_LEN(cases));
    expect("POST", SEARCH "metric_names", FORM, "search%5B%5D=other", 200,
           "{\"results\":[{\"name\":\"other_http\"}]}\n" DONE);
}

static void search__not_enabled__is_unavailable(void **state)
{
    (void)state;
    start();
    expect_get(
        SEARCH "metric_names", 500,
        "{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"search API disabled\"}");
}

/* A day apart: lists have what lived in the range, by the head and, once flushed, by blocks. */
static void lists__start_and_end__what_lived_then(void **state)
{
    (void)state;
    static const struct path_case cases[] = {
        {"/api/v1/label/__name__/values?start=1699999000&end=1700000500", 200,
         OK_DATA("[\"a\",\"b\"]")},
        {"/api/v1/label/__name__/values?start=1699910000&end=1699920000", 200,
         OK_DATA("[\"old\"]")},
        {"/api/v1/label/__name__/values?start=1699913600", 200, OK_DATA("[\"a\",\"b\",\"old\"]")},
        {"/api/v1/label/__name__/values?start=1699920000&end=1699930000", 200, OK_DATA("[]")},
        {"/api/v1/label/__name__/values?end=1699000000", 200, OK_DATA("[]")},
        {"/api/v1/labels?start=1699920000&end=1699930000", 200, OK_DATA("[]")},
        {"/api/v1/labels?start=1699910000&end=1699920000", 200, OK_DATA("[\"__name__\",\"job\"]")},
        {"/api/v1/series?match[]=%7Bjob=%22j%22%7D&start=1699910000&end=1699920000", 200,
         OK_DATA("[{\"__name__\":\"old\",\"job\":\"j\"}]")},
        {"/api/v1/series?match[]=%7Bjob=%22j%22%7D&start=1699999000&limit=5", 200,
         OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"},{\"__name__\":\"b\",\"job\":\"j\"}]")},
        {"/api/v1/label/job/values?match[]=old&start=1699999000", 200, OK_DATA("[]")},
        {"/api/v1/label/job/values?match[]=old&end=1699913600", 200, OK_DATA("[\"j\"]")},
    };
    start();
    write_some();
    write_sample("old", T0 - INT64_C(86400000), 1, 204, NULL);
    expect_paths(cases, TSDB_ARRAY_LEN(cases));
    assert_ok(tsdb_flush(server.db, NULL));
    expect_paths(cases, TSDB_ARRAY_LEN(cases));
}

/* 3 MiB of values, sent in pieces. */
static void lists__larger_than_a_piece__come_whole(void **state)
{
    (void)state;
    enum {
        SERIES = 1500
    };
    static char value[SERIES][2049];
    static const char *const paths[] = {"/api/v1/series?match[]=wide", "/api/v1/label/v/values",
                                        "/api/v1/label/v/values?match[]=wide"};
    start();
    for (int first = 0; first < SERIES; first += 300) {
        struct body b;
        struct http_answer a;
        body_init(&b);
        for (int i = first; i < first + 300; i++) {
            memset(value[i], 'a' + i % 26, 2048);
            value[i][snprintf(value[i], 2049, "%06d", i)] = 'x';
            struct tsdb_label labels[] = {tsdb_label_make("__name__", "wide"),
                                          tsdb_label_make("v", value[i])};
            body_add(&b, labels, 2, T0, 1);
        }
        body_pack(&b);
        send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
        assert_int_equal(a.status, 204);
        http_answer_free(&a);
        body_deinit(&b);
    }
    for (size_t p = 0; p < TSDB_ARRAY_LEN(paths); p++) {
        struct http_answer a;
        http_client_once(port, "GET", paths[p], NULL, NULL, 0, &a);
        assert_int_equal(a.status, 200);
        const char *at = strstr(a.body, "\"data\":[");
        assert_non_null(at);
        at += strlen("\"data\":[");
        for (int i = 0; i < SERIES; i++) {
            static const char begin[] = "{\"__name__\":\"wide\",\"v\":";
            at += i > 0 && *at == ',';
            if (p == 0) {
                assert_memory_equal(at, begin, sizeof begin - 1);
                at += sizeof begin - 1;
            }
            assert_int_equal(*at, '"');
            assert_memory_equal(at + 1, value[i], 2048);
            at += 2050;
            at += p == 0 && *at == '}';
        }
        assert_string_equal(at, "]}");
        http_answer_free(&a);
    }
}

static const struct CMUnitTest tests[] = {
    CASE(lists__larger_than_a_piece__come_whole),  CASE(lists__start_and_end__what_lived_then),
    CASE(names__series_labels_values__are_listed), CASE(search__names_that_fit__as_lines),
    CASE(search__not_enabled__is_unavailable),
};

TEST_MAIN(tests)
