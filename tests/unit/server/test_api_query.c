/* The query endpoints over a whole server: parameters, errors, limits, the queue. */
#include "tests/unit/server/server_rig.h"

#include <sys/socket.h>

static void query__parameters__as_prometheus_reads_them(void **state)
{
    (void)state;
    static const struct path_case cases[] = {
        {"/api/v1/query?query=1%2B1&time=4", 200,
         OK_DATA("{\"resultType\":\"scalar\",\"result\":[4,\"2\"]}")},
        {"/api/v1/query?query=%22x%22&time=4.5", 200,
         OK_DATA("{\"resultType\":\"string\",\"result\":[4.5,\"x\"]}")},
        {"/api/v1/query?query=nothing", 200, OK_DATA("{\"resultType\":\"vector\",\"result\":[]}")},
        {"/api/v1/query?query=1&time=2023-11-14T22:13:20Z&unknown=x", 200,
         OK_DATA("{\"resultType\":\"scalar\",\"result\":[1700000000,\"1\"]}")},
        {"/api/v1/query?query=1&time=bad", 400,
         BAD_DATA("invalid parameter \\\"time\\\": invalid time value for 'time': cannot parse "
                  "\\\"bad\\\" to a valid timestamp")},
        {"/api/v1/query?query=1&timeout=x", 400,
         BAD_DATA("invalid parameter \\\"timeout\\\": cannot parse \\\"x\\\" to a valid duration")},
        {"/api/v1/query?query=1&limit=-1", 400,
         BAD_DATA("invalid parameter \\\"limit\\\": limit must be non-negative")},
        {"/api/v1/query?query=1&limit=ten", 400,
         BAD_DATA("invalid parameter \\\"limit\\\": strconv.Atoi: parsing \\\"ten\\\": invalid "
                  "syntax")},
        {"/api/v1/query?query=1&lookback_delta=x", 400,
         BAD_DATA("error parsing lookback delta duration: cannot parse \\\"x\\\" to a valid "
                  "duration")},
        {"/api/v1/query?query=1&timeout=1e99", 400,
         BAD_DATA("invalid parameter \\\"timeout\\\": cannot parse \\\"1e99\\\" to a valid "
                  "duration. It overflows int64")},
        {"/api/v1/query?query=%zz", 400,
         BAD_DATA("error parsing form values: invalid URL escape \\\"%zz\\\"")},
        {"/api/v1/query_range?query=1&end=1&step=1", 400,
         BAD_DATA("invalid parameter \\\"start\\\": cannot parse \\\"\\\" to a valid timestamp")},
        {"/api/v1/query_range?query=1&start=1&step=1", 400,
         BAD_DATA("invalid parameter \\\"end\\\": cannot parse \\\"\\\" to a valid timestamp")},
        {"/api/v1/query_range?query=1&start=2&end=1&step=1", 400,
         BAD_DATA("invalid parameter \\\"end\\\": end timestamp must not be before start time")},
        {"/api/v1/query_range?query=1&start=1&end=2", 400,
         BAD_DATA("invalid parameter \\\"step\\\": cannot parse \\\"\\\" to a valid duration")},
        {"/api/v1/query_range?query=1&start=1&end=2&step=0", 400,
         BAD_DATA("invalid parameter \\\"step\\\": zero or negative query resolution step widths "
                  "are not accepted. Try a positive integer")},
        {"/api/v1/query_range?query=1&start=1&end=2&step=-5", 400, NULL},
        {"/api/v1/query_range?query=1&start=1&end=2&step=0.0001", 400, NULL},
        {"/api/v1/query_range?query=1&start=0&end=11001&step=1", 400,
         BAD_DATA("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing "
                  "the query resolution (?step=XX)")},
        {"/api/v1/query_range?query=1&start=0&end=11000&step=1", 200, NULL},
        {"/api/v1/query_range?query=1&start=-1e30&end=1e30&step=1", 400, NULL},
        {"/api/v1/query_range?query=a%5B1m%5D&start=1&end=2&step=1", 400,
         BAD_DATA("invalid parameter \\\"query\\\": invalid expression type \\\"range vector\\\" "
                  "for range query, must be Scalar or instant Vector")},
        {"/api/v1/query_range?query=2&start=5&end=6&step=1", 200,
         OK_DATA("{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":[[5,\"2\"],[6,"
                 "\"2\"]]}]}")},
        {"/api/v1/query_range?query=2&start=5&end=5&step=15s", 200,
         OK_DATA(
             "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":[[5,\"2\"]]}]}")},
        {"/api/v1/format_query?query=sum(a)by(b)", 200, OK_DATA("\"sum by (b) (a)\"")},
        {"/api/v1/parse_query?query=-1", 200,
         OK_DATA("{\"type\":\"numberLiteral\",\"val\":\"-1\"}")},
        {"/api/v1/parse_query?query=sum(", 400,
         BAD_DATA("invalid parameter \\\"query\\\": 1:5: parse error: unclosed left parenthesis")},
    };
    start();
    expect_paths(cases, TSDB_ARRAY_LEN(cases));
}

static void query__parse_and_evaluation_errors__have_their_status(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    write_some();
    http_client_once(port, "GET", "/api/v1/query?query=sum(", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 400);
    assert_non_null(strstr(a.body, "\"errorType\":\"bad_data\""));
    assert_non_null(strstr(a.body, "invalid parameter \\\"query\\\": 1:"));
    assert_non_null(strstr(a.body, "parse error:"));
    http_answer_free(&a);
    expect_get("/api/v1/query?query=", 400, NULL);
    expect_get("/api/v1/query", 400, NULL);
    expect_get("/api/v1/query?query=%7B__name__=~%22.*%22%7D", 400, NULL);
    /* duplicate label sets are the user's fault, seen while evaluating */
    http_client_once(port, "GET", "/api/v1/query?query=-%7Bjob=%22j%22%7D", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 422);
    assert_non_null(strstr(a.body, "\"errorType\":\"execution\""));
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/query?query=a&timeout=0", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "\"errorType\":\"timeout\",\"error\":\"query timed out in "));
    http_answer_free(&a);
}

static void query__long_label_sets__do_not_cut_the_cause(void **state)
{
    (void)state;
    char instance[120];
    struct body b;
    struct http_answer a;
    memset(instance, 'w', sizeof instance - 1);
    instance[sizeof instance - 1] = '\0';
    start();
    body_init(&b);
    for (int i = 0; i < 2; i++) {
        struct tsdb_label labels[] = {tsdb_label_make("__name__", "one"),
                                      tsdb_label_make("instance", instance),
                                      tsdb_label_make("job", i ? "x" : "y")};
        body_add(&b, labels, 3, T0, 1);
    }
    struct tsdb_label many[] = {tsdb_label_make("__name__", "many"),
                                tsdb_label_make("instance", instance)};
    body_add(&b, many, 2, T0, 1);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 204);
    http_answer_free(&a);
    body_deinit(&b);
    http_client_once(port, "GET", "/api/v1/query?query=many*on(instance)group_left()one", NULL,
                     NULL, 0, &a);
    assert_int_equal(a.status, 422);
    assert_non_null(strstr(a.body, "many-to-many matching not allowed: matching labels must be "
                                   "unique on one side"));
    http_answer_free(&a);
}

static void query__form_post__body_wins_over_url(void **state)
{
    (void)state;
    static const char two[] = OK_DATA("{\"resultType\":\"scalar\",\"result\":[7,\"2\"]}");
    static const char one[] = OK_DATA("{\"resultType\":\"scalar\",\"result\":[9,\"1\"]}");
    start();
    expect("POST", "/api/v1/query?query=1&time=9", FORM, "query=2&time=7", 200, two);
    expect("POST", "/api/v1/query?query=1&time=9",
           "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n", "query=2&time=7",
           200, two);
    /* only forms are read */
    expect("POST", "/api/v1/query?query=1&time=9", "Content-Type: text/plain\r\n", "query=2&time=7",
           200, one);
    expect("POST", "/api/v1/query?query=1&time=9", NULL, "query=2&time=7", 200, one);
    expect("POST", "/api/v1/query", FORM, "query=1&time=%", 400, NULL);
}

static void query__form_too_large__is_refused(void **state)
{
    (void)state;
    struct http_answer a;
    server.options.body_bytes_max = 16u << 20;
    start();
    size_t len = PARAMS_FORM_BYTES_MAX + 1;
    char *form = malloc(len + 1);
    assert_non_null(form);
    memset(form, 'a', len);
    form[len] = '\0';
    http_client_once(port, "POST", "/api/v1/query", FORM, form, len, &a);
    assert_int_equal(a.status, 400);
    http_answer_free(&a);
    /* as large as allowed: a name of ten million letters */
    memcpy(form, "query=", 6);
    http_client_once(port, "POST", "/api/v1/query", FORM, form, len - 1, &a);
    assert_int_equal(a.status, 200);
    http_answer_free(&a);
    free(form);
}

static void query__limit__cuts_and_warns(void **state)
{
    (void)state;
    start();
    write_some();
    expect_get(
        "/api/v1/query?query=%7Bjob=%22j%22%7D&limit=1", 200,
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":"
        "{\"__name__\":\"a\",\"job\":\"j\"},\"value\":[1700000000,\"2.5\"]}]},"
        "\"warnings\":[\"results truncated due to limit\"]}");
    expect_get("/api/v1/query?query=b&limit=1", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"b\","
                       "\"job\":\"j\"},\"value\":[1700000000,\"7\"]}]}"));
}

static void query__lookback_delta__is_taken(void **state)
{
    (void)state;
    start();
    write_some();
    expect_get("/api/v1/query?query=count(b)&time=1700000100", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":"
                       "[1700000100,\"1\"]}]}"));
    expect_get("/api/v1/query?query=count(b)&time=1700000100&lookback_delta=1m", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[]}"));
}

static void query__stats__are_added(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    write_some();
    http_client_once(port, "GET", "/api/v1/query?query=a&stats=true", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "]}],\"stats\"") ? a.body : strstr(a.body, "],\"stats\":{"));
    assert_non_null(strstr(a.body, "\"timings\":{\"evalTotalTime\":"));
    assert_non_null(strstr(a.body, "\"samples\":{\"totalQueryableSamples\":"));
    assert_string_equal(a.body + a.body_len - 4, "}}}}");
    http_answer_free(&a);
}

/* Whether the answer's plan has this part, times left out. */
static void assert_plan_has(const char *body, const char *part)
{
    char plain[4096];
    size_t n = 0;
    const char *p = strstr(body, "\"explain\":");
    assert_non_null(p);
    while (*p && n + 1 < sizeof plain) {
        if (strncmp(p, "\"seconds\":", 10) == 0) {
            p += strcspn(p, ",") + 1;
            continue;
        }
        plain[n++] = *p++;
    }
    plain[n] = '\0';
    if (!strstr(plain, part)) {
        fail_msg("%s lacks %s", plain, part);
    }
}

static void query__explain__tree_of_operators(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    write_some();
    http_client_once(port, "GET",
                     "/api/v1/query_range?start=1700000000&end=1700000060&step=30&explain=1&stats=1"
                     "&query=sum(a)%2Bmax_over_time(sum(a)%5B1m:30s%5D)",
                     NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, ",\"stats\":{"));
    assert_plan_has(a.body, "\"explain\":{\"operator\":\"+\",\"expr\":\"sum(a)+max_over_time("
                            "sum(a)[1m:30s])\",\"series\":1,\"samples\":4,"
                            "\"chunks\":{\"read\":2,\"cached\":0,\"skipped\":0},\"children\":["
                            "{\"operator\":\"sum\",\"expr\":\"sum(a)\",\"series\":1,\"samples\":2,"
                            "\"chunks\":{\"read\":1,\"cached\":0,\"skipped\":0},\"children\":[{"
                            "\"operator\":\"selector\",\"expr\":\"a\",\"series\":1,"
                            "\"samples\":2,\"chunks\":{\"read\":1,\"cached\":0,\"skipped\":0},"
                            "\"children\":[]}]}");
    assert_plan_has(a.body, "{\"operator\":\"subquery\",\"expr\":\"sum(a)[1m:30s]\",");
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/query?query=rate(a%5B1m%5D)&time=1700000000&explain=1",
                     NULL, NULL, 0, &a);
    assert_plan_has(a.body, "{\"operator\":\"rate\",\"expr\":\"rate(a[1m])\",");
    assert_plan_has(a.body, "\"operator\":\"range selector\",\"expr\":\"a[1m]\",");
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/query?query=a", NULL, NULL, 0, &a);
    assert_null(strstr(a.body, "explain"));
    http_answer_free(&a);
}

static void ask_range(const char *more, struct http_answer *a)
{
    char path[256];
    snprintf(path, sizeof path,
             "/api/v1/query_range?start=1700000000&end=1700000060&step=5&query=sum(a)%s", more);
    http_client_once(port, "GET", path, NULL, NULL, 0, a);
    assert_int_equal(a->status, 200);
}

static void query_range__asked_again__steps_are_kept(void **state)
{
    (void)state;
    struct http_answer first;
    struct http_answer a;
    start();
    write_some();
    ask_range("", &first);
    ask_range("", &a);
    assert_string_equal(a.body, first.body);
    http_answer_free(&a);
    ask_range("&explain=1&stats=1", &a);
    assert_non_null(strstr(a.body, "\"samples\":{\"cachedSteps\":13,"));
    assert_non_null(strstr(a.body, "\"children\":[]},\"cachedSteps\":13}"));
    http_answer_free(&a);
    static const char *const without[] = {"&nocache=1", "&nocache=true", "&nocache=yes"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(without); i++) {
        char more[64];
        snprintf(more, sizeof more, "%s&stats=1", without[i]);
        ask_range(more, &a);
        assert_null(strstr(a.body, "cachedSteps"));
        http_answer_free(&a);
    }
    ask_range("&nocache=0&stats=1", &a);
    assert_non_null(strstr(a.body, "cachedSteps"));
    http_answer_free(&a);
    http_client_once(port, "GET", "/metrics", NULL, NULL, 0, &a);
    assert_non_null(strstr(a.body, "tidalite_query_cache_requests_total{result=\"hit\"} 3\n"));
    assert_non_null(strstr(a.body, "tidalite_query_cache_requests_total{result=\"miss\"} 1\n"));
    assert_non_null(strstr(a.body, "tidalite_query_cache_steps_total{source=\"kept\"} 39\n"));
    assert_non_null(strstr(a.body, "tidalite_query_cache_entries 1\n"));
    http_answer_free(&a);
    http_answer_free(&first);
}

static void expect_status(const char *path, int status)
{
    struct http_answer a;
    http_client_once(port, "GET", path, NULL, NULL, 0, &a);
    if (a.status != status) {
        fail_msg("%s: %d, %s", path, a.status, a.body);
    }
    http_answer_free(&a);
}

/* x and y are equal without their names, and share no step. */
static void query_range__error_of_steps_together__also_where_some_are_kept(void **state)
{
    (void)state;
    static const char early[] = "/api/v1/query_range?start=1699999900&end=1699999960&step=10&query="
                                "sum_over_time(%7B__name__%3D~%22a%7Cb%22%7D%5B15s%5D)";
    static const char both[] = "/api/v1/query_range?start=1699999900&end=1700000060&step=10&query="
                               "sum_over_time(%7B__name__%3D~%22a%7Cb%22%7D%5B15s%5D)";
    start();
    for (int i = 0; i < 5; i++) {
        write_sample("a", T0 - 95000 + i * 10000, 1, 204, NULL);
    }
    expect_status(early, 200);
    expect_status(early, 200);
    write_sample("b", T0 + 5000, 7, 204, NULL);
    expect_status(early, 200); /* no sample of it is there */
    expect_status(both, 422);
    expect_status(early, 200);
}

/* What `samples` of the answer's stats says. */
static void expect_samples(const char *path, const char *want)
{
    struct http_answer a;
    http_client_once(port, "GET", path, NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    const char *samples = strstr(a.body, "\"samples\":{");
    if (!samples || strncmp(samples + 10, want, strlen(want)) != 0) {
        fail_msg("%s\n  got %s\n want %s", path, samples ? samples : a.body, want);
    }
    http_answer_free(&a);
}

#define RANGE_QUERY "/api/v1/query_range?start=1699999990&end=1700000010&step=10&stats=all&query="

static void query__stats_all__samples_by_step(void **state)
{
    (void)state;
    server.options.feature_per_step_stats = true;
    start();
    write_some(); /* a at 1699999990 and 1700000000, b at 1700000000 */
    static const char *const cases[][2] = {
        {RANGE_QUERY "a%2Bon(job)b",
         "{\"totalQueryableSamplesPerStep\":[[1699999990,1],[1700000000,2],[1700000010,2]],"
         "\"samplesReadPerStep\":[[1699999990,1],[1700000000,2],[1700000010,2]],"
         "\"totalQueryableSamples\":5,\"samplesRead\":5,"},
        {RANGE_QUERY "count_over_time(a%5B20s%5D)",
         "{\"totalQueryableSamplesPerStep\":[[1699999990,1],[1700000000,2],[1700000010,1]],"
         "\"samplesReadPerStep\":[[1699999990,1],[1700000000,1],[1700000010,0]],"
         "\"totalQueryableSamples\":4,\"samplesRead\":2,"},
        /* the same at every step: read once */
        {RANGE_QUERY "a%20@%201700000000",
         "{\"totalQueryableSamplesPerStep\":[[1699999990,1],[1700000000,1],[1700000010,1]],"
         "\"samplesReadPerStep\":[[1699999990,1],[1700000000,0],[1700000010,0]],"
         "\"totalQueryableSamples\":3,\"samplesRead\":1,"},
        /* the windows of a subquery count, its inside is what is read */
        {RANGE_QUERY "max_over_time(a%5B20s:10s%5D)",
         "{\"totalQueryableSamplesPerStep\":[[1699999990,1],[1700000000,2],[1700000010,2]],"
         "\"samplesReadPerStep\":[[1699999990,1],[1700000000,1],[1700000010,1]],"
         "\"totalQueryableSamples\":5,\"samplesRead\":3,"},
        {RANGE_QUERY "absent_over_time(a%5B10s%5D)",
         "{\"totalQueryableSamplesPerStep\":[[1699999990,1],[1700000000,1],[1700000010,0]],"
         "\"samplesReadPerStep\":[[1699999990,1],[1700000000,1],[1700000010,0]],"
         "\"totalQueryableSamples\":2,\"samplesRead\":2,"},
        {"/api/v1/query?query=a%5B1m%5D&time=1700000000&stats=all",
         "{\"totalQueryableSamplesPerStep\":[[1700000000,2]],\"samplesReadPerStep\":[[1700000000,2]"
         "],"
         "\"totalQueryableSamples\":2,\"samplesRead\":2,"},
        {"/api/v1/query?query=a&stats=true", "{\"totalQueryableSamples\":1,\"samplesRead\":1,"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        expect_samples(cases[i][0], cases[i][1]);
    }
    server.options.feature_per_step_stats = false;
    expect_samples("/api/v1/query?query=a&stats=all",
                   "{\"totalQueryableSamples\":1,\"samplesRead\":1,");
}

static void query__memory_limit__is_an_error_and_gives_all_back(void **state)
{
    (void)state;
    struct http_answer a;
    server.options.query_bytes_max = 100000;
    start();
    http_client_once(port, "GET", "/api/v1/query_range?query=1&start=0&end=11000&step=1", NULL,
                     NULL, 0, &a);
    assert_int_equal(a.status, 422);
    assert_non_null(strstr(a.body, "\"errorType\":\"execution\""));
    http_answer_free(&a);
    expect_get("/api/v1/query?query=1&time=1", 200, NULL);
}

static void *one_query(void *arg)
{
    int *status = arg;
    struct http_answer a;
    http_client_once(port, "GET", "/api/v1/query?query=1", NULL, NULL, 0, &a);
    *status = a.status;
    http_answer_free(&a);
    return NULL;
}

static void wait_for_workers(uint32_t running, uint32_t waiting)
{
    struct workers_stats s = {0};
    for (int i = 0; i < WAIT_TRIES && (s.running != running || s.waiting != waiting); i++) {
        nap();
        workers_stats_read(server.workers, &s);
    }
    assert_int_equal(s.running, running);
    assert_int_equal(s.waiting, waiting);
}

static void query__queue_full__is_503_and_health_goes_on(void **state)
{
    (void)state;
    int status[2] = {0, 0};
    pthread_t threads[2];
    struct http_answer a;
    char v[16];
    start_with(1, 1);
    /* a query takes this lock at its start: the only worker stops there */
    tsdb_mutex_lock(&server.config_lock);
    assert_int_equal(pthread_create(&threads[0], NULL, one_query, &status[0]), 0);
    wait_for_workers(1, 0);
    assert_int_equal(pthread_create(&threads[1], NULL, one_query, &status[1]), 0);
    wait_for_workers(1, 1);
    http_client_once(port, "GET", "/api/v1/query?query=1", NULL, NULL, 0, &a);
    expect_get("/-/healthy", 200, NULL);
    write_sample("meanwhile", T0, 1, 204, NULL);
    tsdb_mutex_unlock(&server.config_lock);
    assert_int_equal(a.status, 503);
    assert_true(http_answer_header(&a, "Retry-After", v, sizeof v));
    assert_non_null(strstr(a.body, "\"status\":\"error\""));
    http_answer_free(&a);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(status[i], 200);
    }
}

static void expect_kind(const char *path, enum work_kind kind)
{
    struct workers_stats before;
    struct workers_stats after;
    workers_stats_read(server.workers, &before);
    expect_get(path, 200, NULL);
    workers_stats_read(server.workers, &after);
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        assert_int_equal(after.kinds[k].submitted - before.kinds[k].submitted, k == kind);
    }
}

static void query__again__is_known_to_be_cheap_whenever_it_is_asked_for(void **state)
{
    (void)state;
    start();
    write_sample("a", T0, 1, 204, NULL);
    expect_kind("/api/v1/query?query=a&time=1700000000", WORK_UNKNOWN);
    expect_kind("/api/v1/query?query=a&time=1700000060&timeout=5", WORK_CHEAP);
    expect_kind("/api/v1/query?query=a%2B1&time=1700000000", WORK_UNKNOWN);
    /* a day by minutes, a minute later; half a year; by hours */
    expect_kind("/api/v1/query_range?query=a&start=0&end=86400&step=60", WORK_HEAVY);
    expect_kind("/api/v1/query_range?query=a&start=60&end=86460&step=60", WORK_CHEAP);
    expect_kind("/api/v1/query_range?query=a&start=0&end=15000000&step=3600", WORK_HEAVY);
    expect_kind("/api/v1/query_range?query=a&start=0&end=86400&step=3600", WORK_UNKNOWN);
    expect_kind("/api/v1/labels", WORK_UNKNOWN);
    expect_kind("/api/v1/labels?start=1600000000&end=1700000100", WORK_UNKNOWN);
    expect_kind("/api/v1/labels?start=1600000030&end=1700000130", WORK_CHEAP);
    expect_kind("/api/v1/label/job/values?nocache=1", WORK_UNKNOWN);
    expect_kind("/api/v1/label/job/values?nocache=1", WORK_CHEAP);
    expect_kind("/api/v1/label/instance/values", WORK_UNKNOWN);
}

/* Steps that are kept cost nothing, until a write or a delete takes them away. */
static void query_range__from_kept_steps__is_not_taken_for_cheap(void **state)
{
    (void)state;
    static const char day[] =
        "/api/v1/query_range?query=sum(a)&start=1699950000&end=1700036400&step=60";
    struct http_answer a;
    start();
    write_some();
    expect_kind(day, WORK_HEAVY);
    expect_kind(day, WORK_CHEAP); /* as it was as a whole */
    costs_init(&server.costs);    /* forgotten */
    expect_kind(day, WORK_HEAVY);
    expect_kind(day, WORK_HEAVY);
    http_client_once(port, "GET", "/metrics", NULL, NULL, 0, &a);
    assert_non_null(strstr(a.body, "tidalite_query_cache_requests_total{result=\"hit\"} 3\n"));
    http_answer_free(&a);
}

static void *one_long_query(void *arg)
{
    int *status = arg;
    struct http_answer a;
    http_client_once(port, "GET", "/api/v1/query_range?query=1&start=0&end=86400&step=60", NULL,
                     NULL, 0, &a);
    *status = a.status;
    http_answer_free(&a);
    return NULL;
}

/* 11,001 points of each of them, 264 kB. */
#define MANY_POINTS                                                                                \
    "/api/v1/query_range?query=%7Bjob%3D%22j%22%7D&start=1700000000&end=1700011000&step=1"         \
    "&lookback_delta=4h"

static void *many_points(void *arg)
{
    int *status = arg;
    struct http_answer a;
    http_client_once(port, "GET", MANY_POINTS, NULL, NULL, 0, &a);
    *status = a.status;
    http_answer_free(&a);
    return NULL;
}

static void query__all_together_hold_what_they_may__is_503_and_the_cheap_go_on(void **state)
{
    (void)state;
    struct http_answer a;
    char v[16];
    pthread_t thread;
    int status = 0;
    server.options.query_total_bytes = 32u << 20;
    start();
    expect_get("/api/v1/query?query=1&time=1", 200, NULL); /* known to be cheap from now on */
    for (char name[] = "m_a"; name[2] < 'a' + 20; name[2]++) {
        write_sample(name, T0, 1, 204, NULL);
    }
    struct tsdb_account *costly = &server.budget.costly;
    uint64_t held = costly->limit_bytes - (64u << 10);
    assert_ok(tsdb_account_charge(costly, held)); /* answers that nobody takes */
    assert_int_equal(pthread_create(&thread, NULL, one_long_query, &status), 0);
    for (int i = 0; i < WAIT_TRIES && atomic_load(&server.budget.waiting_count) == 0; i++) {
        nap();
    }
    expect_get("/api/v1/query?query=1&time=2", 200, NULL);
    assert_int_equal(atomic_load(&server.budget.waiting_count), 1);
    /* There is room for what nobody asked yet, but not for as much as this one takes. */
    held -= (9u << 19) - (64u << 10);
    tsdb_account_release(costly, (9u << 19) - (64u << 10));
    pthread_join(thread, NULL);
    assert_int_equal(status, 200);
    server.budget.wait_ns = 100000000; /* it asks for more, in vain */
    http_client_once(port, "GET", MANY_POINTS, NULL, NULL, 0, &a);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "--query.total-memory"));
    assert_true(http_answer_header(&a, "Retry-After", v, sizeof v));
    http_answer_free(&a);
    /* With more time it runs again when there is room. */
    server.budget.wait_ns = BUDGET_WAIT_NS;
    assert_int_equal(pthread_create(&thread, NULL, many_points, &status), 0);
    for (int i = 0; i < WAIT_TRIES && atomic_load(&server.budget.waiting_count) == 0; i++) {
        nap();
    }
    tsdb_account_release(costly, held);
    pthread_join(thread, NULL);
    assert_int_equal(status, 200);
    expect_get(MANY_POINTS, 200, NULL);
    assert_true(atomic_load(&server.budget.waited) >= 1);
}

static void wait_for_zero(_Atomic(uint64_t) *bytes)
{
    for (int i = 0; i < WAIT_TRIES && atomic_load(bytes) > 0; i++) {
        nap();
    }
    assert_int_equal(atomic_load(bytes), 0);
}

/* What a reader that stands still holds counts until it is gone, and is less than the answer: a piece, and what the
 * rest is made from. No worker waits for it. */
static void query__reader_stands_still__holds_a_piece_and_no_worker(void **state)
{
    (void)state;
    struct http_client c;
    struct workers_stats s = {.running = 1};
    struct http_answer a;
    const int small = 65536; /* and the other side's is 4 MiB at most, of the 8 that come */
    start_with(1, 10);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "m_%d", i);
        write_sample(name, T0, 1, 204, NULL);
    }
    _Atomic(uint64_t) *used = &server.budget.total.used_bytes;
    assert_int_equal(http_client_open(&c, port), 0);
    assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_true(http_client_send_text(&c, "GET " MANY_POINTS " HTTP/1.1\r\nHost: t\r\n\r\n"));
    expect_get("/api/v1/query?query=1&time=1", 200, NULL); /* behind it, on the one worker */
    for (int i = 0; i < WAIT_TRIES && (s.running > 0 || s.waiting > 0); i++) {
        nap();
        workers_stats_read(server.workers, &s);
    }
    assert_int_equal(s.running + s.waiting, 0);
    /* 40 * 11,001 points of 24 bytes, and not their text */
    assert_in_range(atomic_load(used), 10560960, 20000000);
    http_client_read(&c, false, &a); /* it goes on */
    assert_int_equal(a.status, 200);
    http_answer_free(&a);
    wait_for_zero(used);
    assert_true(http_client_send_text(&c, "GET " MANY_POINTS " HTTP/1.1\r\nHost: t\r\n\r\n"));
    for (int i = 0; i < WAIT_TRIES && atomic_load(used) == 0; i++) {
        nap();
    }
    http_client_close(&c);
    wait_for_zero(used);
}

/* Wherever it is that there is no room for, the parameters, what is parsed, the answer: it is not the client's fault. */
static void query__all_held_by_others__is_503_wherever_it_is_met(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/api/v1/query?time=1&query=", "/api/v1/series?match[]=",
        "/api/v1/targets/metadata?match_target=", "/federate?match[]="};
    char braces[6000];
    char path[sizeof braces + 64];
    size_t len = 0;
    braces[len++] = '{';
    while (len < sizeof braces - 32) {
        len += (size_t)snprintf(braces + len, 32, "%sl%zu=~%%22x%%22", len > 1 ? "," : "", len);
    }
    snprintf(braces + len, 2, "}");
    server.options.query_total_bytes = 8u << 20;
    start();
    struct tsdb_account *total = &server.budget.total;
    for (size_t f = 0; f < TSDB_ARRAY_LEN(paths); f++) {
        unsigned whole = 0;
        unsigned refused = 0;
        snprintf(path, sizeof path, "%sa%s", paths[f], braces);
        for (uint64_t room = 0; room < total->limit_bytes; room += 2048 + room / 8) {
            struct http_answer a;
            char v[16];
            uint64_t held = total->limit_bytes - room;
            assert_ok(tsdb_account_charge(total, held));
            http_client_once(port, "GET", path, NULL, NULL, 0, &a);
            tsdb_account_release(total, held);
            if (a.status == 200) {
                whole++;
            } else {
                refused++;
                assert_int_equal(a.status, 503);
                assert_non_null(strstr(a.body, "--query.total-memory"));
                assert_true(http_answer_header(&a, "Retry-After", v, sizeof v));
            }
            http_answer_free(&a);
            wait_for_zero(&total->used_bytes);
        }
        assert_true(whole > 0 && refused > 2);
    }
}

static void query__more_than_one_may_have__is_422_that_names_the_flag(void **state)
{
    (void)state;
    server.options.query_bytes_max = 1u << 20;
    start();
    for (char name[] = "m_a"; name[2] < 'a' + 20; name[2]++) {
        write_sample(name, T0, 1, 204, NULL);
    }
    expect_part(MANY_POINTS, 422, "--query.max-memory");
    server.options.query_bytes_max = 1u << 30;
    expect_get(MANY_POINTS, 200, NULL);
}

static void query__long_ones_everywhere__a_cheap_one_does_not_wait(void **state)
{
    (void)state;
    int status[6] = {0};
    pthread_t threads[6];
    server.options.query_cheap_slots = 2;
    start_with(4, 100);
    expect_kind("/api/v1/labels?nocache=1", WORK_UNKNOWN);
    /* queries take this lock at their start, label names do not */
    tsdb_mutex_lock(&server.config_lock);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, one_long_query, &status[i]), 0);
    }
    wait_for_workers(2, 4);
    expect_kind("/api/v1/labels?nocache=1", WORK_CHEAP);
    wait_for_workers(2, 4);
    tsdb_mutex_unlock(&server.config_lock);
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(status[i], 200);
    }
}

static void query__time_runs_out_in_the_queue__is_a_timeout(void **state)
{
    (void)state;
    int status[2] = {0, 0};
    pthread_t threads[2];
    server.options.query_timeout_ms = 30;
    start_with(1, 1);
    tsdb_mutex_lock(&server.config_lock);
    assert_int_equal(pthread_create(&threads[0], NULL, one_query, &status[0]), 0);
    wait_for_workers(1, 0);
    assert_int_equal(pthread_create(&threads[1], NULL, one_query, &status[1]), 0);
    wait_for_workers(1, 1);
    for (int i = 0; i < 60; i++) {
        nap();
    }
    tsdb_mutex_unlock(&server.config_lock);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(status[i], 503);
    }
}

/* Hours of work, as long as nothing stops it. */
#define ENDLESS                                                                                    \
    "/api/v1/query_range?query=quantile_over_time(0.5,vector(time())%5B55h:1s%5D)"                 \
    "&start=1700000000&end=1700011000&step=1"

static void query__timeout__stops_the_work(void **state)
{
    (void)state;
    struct http_answer a;
    server.options.query_timeout_ms = 24 * INT64_C(3600000);
    start_with(1, 4);
    http_client_once(port, "GET", ENDLESS "&timeout=50ms", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "\"errorType\":\"timeout\",\"error\":\"query timed out in "));
    http_answer_free(&a);
    wait_for_workers(0, 0);
    expect_get("/api/v1/query?query=1", 200, NULL); /* the only worker is free again */
}

static void query__client_goes_away__stops_the_work(void **state)
{
    (void)state;
    struct http_client c;
    server.options.query_timeout_ms = 24 * INT64_C(3600000);
    start_with(1, 4);
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(&c, "GET " ENDLESS " HTTP/1.1\r\nHost: t\r\n\r\n"));
    wait_for_workers(1, 0);
    http_client_close(&c);
    wait_for_workers(0, 0);
    expect_get("/api/v1/query?query=1", 200, NULL);
}

#define ACTIVE "/api/v1/status/active_queries"

/* Run ENDLESS until the list shows it; returns its id. */
static uint64_t wait_for_listed(const char *path)
{
    for (int i = 0; i < WAIT_TRIES; i++) {
        struct http_answer a;
        http_client_once(port, "GET", path, NULL, NULL, 0, &a);
        assert_int_equal(a.status, 200);
        const char *id = strstr(a.body, "\"id\":\"");
        uint64_t n = id ? strtoull(id + 6, NULL, 10) : 0;
        if (n > 0) {
            assert_non_null(strstr(a.body,
                                   "\"query\":\"quantile_over_time(0.5,vector(time())[55h:1s])\""
                                   ",\"start\":1700000000,\"end\":1700011000,\"step\":1,"
                                   "\"startTime\":\"2023-11-14T22:13:20Z\""));
        }
        http_answer_free(&a);
        if (n > 0) {
            return n;
        }
        nap();
    }
    fail_msg("the query is not listed");
    return 0;
}

static void *endless_query(void *arg)
{
    http_client_once(port, "GET", ENDLESS, NULL, NULL, 0, arg);
    return NULL;
}

static void active_queries__listed_and_cancelled__answer_as_cancelled(void **state)
{
    (void)state;
    static const char *const ways[][2] = {{"DELETE", ACTIVE "/%d"},
                                          {"POST", ACTIVE "/%d"},
                                          {"DELETE", ACTIVE "?id=%d"},
                                          {"POST", ACTIVE "?id=%d"}};
    server.options.query_timeout_ms = 24 * INT64_C(3600000);
    start_with(1, 4);
    expect_get(ACTIVE, 200, OK_DATA("[]"));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(ways); i++) {
        pthread_t thread;
        struct http_answer a;
        char path[128];
        char want[128];
        assert_int_equal(pthread_create(&thread, NULL, endless_query, &a), 0);
        int id = (int)wait_for_listed(ACTIVE);
        assert_int_equal(id, i + 1);
        expect("DELETE", ACTIVE "/99", NULL, NULL, 404, NULL);
        expect("DELETE", ACTIVE "/x", NULL, NULL, 400, NULL);
        expect("DELETE", ACTIVE, NULL, NULL, 400, NULL);
        snprintf(path, sizeof path, ACTIVE "/%d", id);
        expect("DELETE", path, "Sec-Fetch-Site: cross-site\r\n", NULL, 403, NULL);
        expect("GET", path, NULL, NULL, 405, NULL);
        (void)wait_for_listed(ACTIVE); /* still there */
        snprintf(path, sizeof path, strstr(ways[i][1], "?") ? ACTIVE "?id=%d" : ACTIVE "/%d", id);
        snprintf(want, sizeof want, OK_DATA("{\"id\":\"%d\"}"), id);
        expect(ways[i][0], path, NULL, NULL, 200, want);
        pthread_join(thread, NULL);
        assert_int_equal(a.status, 499);
        assert_non_null(
            strstr(a.body, "\"errorType\":\"canceled\",\"error\":\"query was canceled in "));
        http_answer_free(&a);
        wait_for_workers(0, 0);
        expect_get(ACTIVE, 200, OK_DATA("[]"));
        expect(ways[i][0], path, NULL, NULL, 404, NULL); /* it is gone */
    }
}

static void query__duration_expression_without_a_duration__is_bad_data(void **state)
{
    (void)state;
    start();
    expect_get("/api/v1/query?query=up%5B1s-2s%5D", 400,
               BAD_DATA("invalid parameter \\\"query\\\": 3:8: duration must be greater than 0"));
    expect_get("/api/v1/query_range?query=sum(rate(up%5Bstep()-5s%5D))&start=1&end=2&step=5", 400,
               NULL);
    expect_get("/api/v1/query_range?query=sum(rate(up%5Bstep()-5s%5D))&start=1&end=2&step=6", 200,
               NULL);
}

static const struct CMUnitTest tests[] = {
    CASE(query__parameters__as_prometheus_reads_them),
    CASE(query__parse_and_evaluation_errors__have_their_status),
    CASE(query__long_label_sets__do_not_cut_the_cause),
    CASE(query__form_post__body_wins_over_url),
    CASE(query__form_too_large__is_refused),
    CASE(query__limit__cuts_and_warns),
    CASE(query__lookback_delta__is_taken),
    CASE(query__stats__are_added),
    CASE(query__stats_all__samples_by_step),
    CASE(query__explain__tree_of_operators),
    CASE(query_range__asked_again__steps_are_kept),
    CASE(query_range__error_of_steps_together__also_where_some_are_kept),
    CASE(query__memory_limit__is_an_error_and_gives_all_back),
    CASE(query__all_together_hold_what_they_may__is_503_and_the_cheap_go_on),
    CASE(query__reader_stands_still__holds_a_piece_and_no_worker),
    CASE(query__all_held_by_others__is_503_wherever_it_is_met),
    CASE(query__more_than_one_may_have__is_422_that_names_the_flag),
    CASE(query__again__is_known_to_be_cheap_whenever_it_is_asked_for),
    CASE(query_range__from_kept_steps__is_not_taken_for_cheap),
    CASE(query__long_ones_everywhere__a_cheap_one_does_not_wait),
    CASE(query__queue_full__is_503_and_health_goes_on),
    CASE(query__time_runs_out_in_the_queue__is_a_timeout),
    CASE(query__timeout__stops_the_work),
    CASE(query__client_goes_away__stops_the_work),
    CASE(active_queries__listed_and_cancelled__answer_as_cancelled),
    CASE(query__duration_expression_without_a_duration__is_bad_data),
};

TEST_MAIN(tests)
