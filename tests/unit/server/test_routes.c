/* The routes over a whole server: real sockets, real engine with its threads, simulated disk. */
#include "tests/support/test.h"

#include "base/format.h"
#include "ingest/encode.h"
#include "server/api/routes.h"
#include "server/config_file.h"
#include "tests/support/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zlib.h>

#define T0         INT64_C(1700000000000)
#define WAIT_TRIES 30000 /* of a millisecond */
#define V2_TYPE    "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n"
#define V1_HEADERS "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
#define V2_HEADERS V2_TYPE "Content-Encoding: snappy\r\n"
#define FORM       "Content-Type: application/x-www-form-urlencoded\r\n"

static struct server server;
static struct tsdb_fs_sim *disk;
static struct http_handlers handlers;
static uint16_t port;

/* The wall stands still, so that answers can be compared; deadlines run. */
static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return T0;
}

static int64_t mono_ns(void *ctx)
{
    (void)ctx;
    return tsdb_clock_mono_ns(&tsdb_clock_real);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void open_engine(void)
{
    struct tsdb_error err = {0};
    struct tsdb_options o;
    tsdb_options_default(&o);
    assert_ok(tsdb_fs_sim_create(11, &disk, &server.fs));
    o.fs = server.fs;
    o.clock = server.clock;
    o.owner_count = 2;
    o.exemplars_max = 100;
    o.retention_ms = server.options.retention_ms;
    assert_ok_err(tsdb_open(&o, &server.db, &err), &err);
    for (int i = 0; i < WAIT_TRIES && tsdb_state(server.db, NULL) != TSDB_STATE_READY; i++) {
        nap();
    }
    assert_int_equal(tsdb_state(server.db, NULL), TSDB_STATE_READY);
    struct ingest_options io;
    ingest_options_default(&io);
    io.clock = server.clock;
    io.body_bytes_max = server.options.body_bytes_max;
    io.decoded_bytes_max = server.options.decoded_bytes_max;
    io.inflight_bytes_max = server.options.inflight_bytes_max;
    assert_ok_err(ingest_create(&io, server.db, &server.ingest, &err), &err);
}

static void open_http(uint32_t workers, uint32_t queue_max)
{
    struct tsdb_error err = {0};
    handlers = server_handlers_template;
    handlers.arg = &server;
    struct http_options o = {.listen_address = "127.0.0.1:0",
                             .threads = 2,
                             .connections_max = 64,
                             .read_timeout_ms = 60000,
                             .body_bytes_max = server.options.body_bytes_max};
    assert_ok_err(workers_create(workers, queue_max, &server.workers, &err), &err);
    assert_ok_err(http_start(&o, &handlers, &server.http, &err), &err);
    port = http_port(server.http);
}

/* A server of its own for every test; `workers` query threads. */
static void start_with(uint32_t workers, uint32_t queue_max) TSDB_NO_TSA
{
    server.clock = (struct tsdb_clock){wall_ms, mono_ns, NULL};
    server.start_ms = T0;
    tsdb_mutex_init(&server.config_lock, TSDB_RANK_SERVER_CONFIG, "config");
    tsdb_account_init(&server.queries, 0, NULL);
    server.query_options = (struct query_options){.lookback_ms = server.options.lookback_ms,
                                                  .samples_max = server.options.query_samples_max,
                                                  .default_step_ms = 60000};
    open_engine();
    open_http(workers, queue_max);
}

static int setup(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR, TSDB_LOG_LOGFMT);
    memset(&server, 0, sizeof server);
    server_options_default(&server.options);
    server.options.body_bytes_max = 1u << 20;
    server.options.decoded_bytes_max = 4u << 20;
    server.options.inflight_bytes_max = 64u << 20;
    return 0;
}

static void start(void)
{
    start_with(4, 100);
}

static int teardown(void **state) TSDB_NO_TSA
{
    (void)state;
    http_stop(server.http, 10000);
    workers_destroy(server.workers);
    assert_int_equal(atomic_load(&server.queries.used_bytes), 0); /* queries gave it all back */
    ingest_destroy(server.ingest);
    if (server.db) {
        (void)tsdb_close(server.db, NULL); /* not OK after the test's disk fault */
        tsdb_fs_sim_destroy(disk);
        config_file_destroy(server.config);
        tsdb_mutex_deinit(&server.config_lock);
    }
    return 0;
}

/* ---- bodies ---- */

struct body {
    struct tsdb_buf raw;
    struct tsdb_buf packed;
};

static void body_init(struct body *b)
{
    tsdb_buf_init(&b->raw, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&b->packed, TSDB_MEM_OTHER, 0);
}

static void body_deinit(struct body *b)
{
    tsdb_buf_deinit(&b->raw);
    tsdb_buf_deinit(&b->packed);
}

static void body_add(struct body *b, const struct tsdb_label *labels, uint32_t label_count,
                     int64_t t_ms, double value)
{
    struct encode_sample sample = {.t_ms = t_ms, .bits = tsdb_double_bits(value)};
    struct encode_series series = {
        .labels = {labels, label_count}, .samples = &sample, .sample_count = 1};
    encode_v1_series(&series, &b->raw);
}

static void body_pack(struct body *b)
{
    assert_false(b->raw.failed);
    assert_ok(ingest_snappy_encode(&b->raw, &b->packed));
}

static void send_write(const char *headers, const void *data, size_t len, struct http_answer *a)
{
    http_client_once(port, "POST", "/api/v1/write", headers, data, len, a);
}

static void expect_counts(const struct http_answer *a, const char *samples, const char *histograms,
                          const char *exemplars)
{
    char v[32];
    assert_true(http_answer_header(a, "X-Prometheus-Remote-Write-Samples-Written", v, sizeof v));
    assert_string_equal(v, samples);
    assert_true(http_answer_header(a, "X-Prometheus-Remote-Write-Histograms-Written", v, sizeof v));
    assert_string_equal(v, histograms);
    assert_true(http_answer_header(a, "X-Prometheus-Remote-Write-Exemplars-Written", v, sizeof v));
    assert_string_equal(v, exemplars);
}

/* One sample of name{job="j"}. */
static void write_sample(const char *name, int64_t t_ms, double value, int want_status,
                         const char *want_text)
{
    struct body b;
    struct http_answer a;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", name), tsdb_label_make("job", "j")};
    body_init(&b);
    body_add(&b, labels, 2, t_ms, value);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, want_status);
    expect_counts(&a, want_status == 204 ? "1" : "0", "0", "0");
    if (want_text) {
        assert_non_null(strstr(a.body, want_text));
    }
    http_answer_free(&a);
    body_deinit(&b);
}

/* ---- reading ---- */

static void expect(const char *method, const char *path, const char *headers, const char *form,
                   int status, const char *body)
{
    struct http_answer a;
    http_client_once(port, method, path, headers, form, form ? strlen(form) : 0, &a);
    if (a.status != status || (body && strcmp(a.body, body) != 0)) {
        fail_msg("%s %s %s\n  got %d %s\n want %d %s", method, path, form ? form : "", a.status,
                 a.body ? a.body : "", status, body ? body : "(any)");
    }
    http_answer_free(&a);
}

static void expect_get(const char *path, int status, const char *body)
{
    expect("GET", path, NULL, NULL, status, body);
}

#define OK_DATA(data)  "{\"status\":\"success\",\"data\":" data "}"
#define BAD_DATA(text) "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"" text "\"}"

/* a{job="j"} 1.5 at T0 - 10 s and 2.5 at T0, b{job="j"} 7 at T0. */
static void write_some(void)
{
    write_sample("a", T0 - 10000, 1.5, 204, NULL);
    write_sample("a", T0, 2.5, 204, NULL);
    write_sample("b", T0, 7, 204, NULL);
}

/* ---- writes ---- */

static void write__v1_body__is_stored_and_read_back(void **state)
{
    (void)state;
    start();
    write_some();
    expect_get("/api/v1/query?query=a&time=1700000000", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"a\","
                       "\"job\":\"j\"},\"value\":[1700000000,\"2.5\"]}]}"));
    expect_get("/api/v1/query?query=a%5B1m%5D", 200, /* time is now */
               OK_DATA("{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"a\","
                       "\"job\":\"j\"},\"values\":[[1699999990,\"1.5\"],[1700000000,\"2.5\"]]}]}"));
    write_sample("a", T0, 2.5, 204, NULL); /* the same again is a no-op, and counts */
    write_sample("a", T0, 3.5, 400, "duplicate sample for timestamp");
    write_sample("a", T0 + 11 * 60000, 1, 400, "out of bounds");
    write_sample("a", T0 - 16 * INT64_C(86400000), 1, 400, "out of bounds");
}

static void write__v2_body__counts_every_kind(void **state)
{
    (void)state;
    start();
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "h"), tsdb_label_make("job", "j")};
    struct tsdb_label trace[] = {tsdb_label_make("trace_id", "abc")};
    struct encode_sample samples[2] = {{.t_ms = T0 - 1, .bits = TSDB_STALE_NAN_BITS},
                                       {.t_ms = T0, .bits = tsdb_double_bits(4)}};
    struct tsdb_exemplar exemplar = {
        .labels = {trace, 1}, .bits = tsdb_double_bits(0.5), .t_ms = T0};
    struct tsdb_span span = {.offset = 0, .length = 2};
    int64_t deltas[2] = {1, 1};
    struct encode_histogram histogram = {.t_ms = T0,
                                         .histogram = {.schema = 0,
                                                       .sum = 5,
                                                       .count_int = 3,
                                                       .positive_span_count = 1,
                                                       .positive_spans = &span,
                                                       .positive_bucket_count = 2,
                                                       .positive_deltas = deltas}};
    struct tsdb_label labels2[] = {tsdb_label_make("__name__", "i")};
    struct encode_series series[2] = {
        {.labels = {labels, 2},
         .samples = samples,
         .sample_count = 2,
         .exemplars = &exemplar,
         .exemplar_count = 1},
        {.labels = {labels2, 1}, .histograms = &histogram, .histogram_count = 1}};
    struct body b;
    struct http_answer a;
    body_init(&b);
    assert_ok(encode_v2_request(series, 2, &b.raw));
    body_pack(&b);
    send_write(V2_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 204);
    expect_counts(&a, "2", "1", "1");
    http_answer_free(&a);
    body_deinit(&b);
    expect_get("/api/v1/query_exemplars?query=h&start=1699999999&end=1700000001", 200,
               OK_DATA("[{\"seriesLabels\":{\"__name__\":\"h\",\"job\":\"j\"},\"exemplars\":[{"
                       "\"labels\":{\"trace_id\":\"abc\"},\"value\":\"0.5\",\"timestamp\":"
                       "1700000000}]}]"));
    expect_get("/api/v1/query_exemplars?query=h&end=1600000000", 200, OK_DATA("[]"));
    expect_get("/api/v1/query_exemplars?query=1%2B1", 204, "");
    expect_get("/api/v1/query?query=i", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"i\"},"
                       "\"histogram\":[1700000000,{\"count\":\"3\",\"sum\":\"5\",\"buckets\":[[0,"
                       "\"0.5\",\"1\",\"1\"],[0,\"1\",\"2\",\"2\"]]}]}]}"));
}

static void write__content_type_and_encoding__are_negotiated(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        int status;
    } cases[] = {
        {"", 204},
        {"Content-Type: application/x-protobuf\r\n", 204},
        {"Content-Type: application/x-protobuf; charset=utf-8\r\n", 204},
        {"Content-Type: Application/X-Protobuf;proto=prometheus.WriteRequest\r\n", 204},
        {"Content-Type: application/x-protobuf; proto=io.prometheus.write.v2.Request\r\n", 204},
        {"Content-Type: application/x-protobuf;proto=io.prometheus.write.V2.Request\r\n", 415},
        {"Content-Type: application/x-protobuf;proto=\r\n", 415},
        {"Content-Type: application/x-protobuf;proto=foo.Bar\r\n", 415},
        {"Content-Type: application/json\r\n", 415},
        {"Content-Type: text/plain; proto=prometheus.WriteRequest\r\n", 415},
        {"Content-Type: application/x-protobufx\r\n", 415},
        {"Content-Encoding: snappy\r\n", 204},
        {"Content-Encoding: gzip\r\n", 415},
        {"Content-Encoding: deflate\r\n", 415},
        {"Content-Encoding: snappy, gzip\r\n", 415},
        {"X-Tidalite-Durability: strict\r\n", 204},
        {"X-Tidalite-Durability: memory\r\n", 204},
        {"X-Tidalite-Durability: best-effort\r\n", 400},
    };
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        /* an empty request is legal; refusals must not depend on the body */
        struct http_answer a;
        send_write(cases[i].headers, NULL, 0, &a);
        if (a.status != cases[i].status) {
            fail_msg("%s: %d, expected %d", cases[i].headers, a.status, cases[i].status);
        }
        expect_counts(&a, "0", "0", "0");
        http_answer_free(&a);
        if (cases[i].status == 415) {
            send_write(cases[i].headers, "broken", 6, &a);
            assert_int_equal(a.status, 415);
            http_answer_free(&a);
        }
    }
}

static void write__no_encoding__takes_plain_protobuf_too(void **state)
{
    (void)state;
    struct body b;
    struct http_answer a;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "plain")};
    start();
    body_init(&b);
    body_add(&b, labels, 1, T0, 3);
    body_pack(&b);
    send_write("", b.raw.data, b.raw.len, &a);
    assert_int_equal(a.status, 204);
    expect_counts(&a, "1", "0", "0");
    http_answer_free(&a);
    send_write("", b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 204);
    http_answer_free(&a);
    body_deinit(&b);
}

static void write__damaged_bodies__are_refused_on_a_living_connection(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t len;
        int status;
    } cases[] = {
        {"\xff\xff\xff\xff\xff\xff\xff", 7, 400}, /* no length */
        {"\x05hel", 4, 400},                      /* torn */
        {"\x80\x80\x80\x80\x01", 5, 413},         /* five bytes that say 256 MiB */
        {"\x03\x08\x0a\xff\x01", 5, 400},         /* a label set that goes beyond the end */
        {"\x00", 1, 204},                         /* nothing at all */
    };
    struct http_client c;
    start();
    assert_int_equal(http_client_open(&c, port), 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct http_answer a;
        http_client_call(&c, "POST", "/api/v1/write", V1_HEADERS, cases[i].data, cases[i].len, &a);
        if (a.status != cases[i].status) {
            fail_msg("case %zu: %d %s", i, a.status, a.body);
        }
        expect_counts(&a, "0", "0", "0");
        http_answer_free(&a);
    }
    http_client_close(&c);
    write_sample("still_here", T0, 1, 204, NULL);
}

static void write__some_bad_series__stores_the_others(void **state)
{
    (void)state;
    static const char bad_utf8[] = "\xff\xfe";
    struct tsdb_label good[] = {tsdb_label_make("z", "unsorted"),
                                tsdb_label_make("__name__", "ok")};
    struct tsdb_label nameless[] = {tsdb_label_make("a", "b")};
    struct tsdb_label twice[] = {tsdb_label_make("__name__", "x"), tsdb_label_make("a", "1"),
                                 tsdb_label_make("a", "2")};
    struct tsdb_label invalid[] = {tsdb_label_make("__name__", "x"),
                                   tsdb_label_make("a", bad_utf8)};
    struct body b;
    struct http_answer a;
    start();
    body_init(&b);
    body_add(&b, nameless, 1, T0, 1);
    body_add(&b, good, 2, T0, 2);
    body_add(&b, twice, 3, T0, 3);
    body_add(&b, invalid, 2, T0, 4);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 400);
    expect_counts(&a, "1", "0", "0");
    assert_true(strlen(a.body) > 10);
    http_answer_free(&a);
    body_deinit(&b);
    expect_get("/api/v1/query?query=count(%7B__name__!=%22%22%7D)", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":"
                       "[1700000000,\"1\"]}]}"));
    expect_get("/api/v1/series?match[]=ok", 200,
               OK_DATA("[{\"__name__\":\"ok\",\"z\":\"unsorted\"}]"));
}

static void write__body_over_the_limit__is_413_with_counts(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    start();
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(
        &c, "POST /api/v1/write HTTP/1.1\r\nHost: t\r\nContent-Length: 1048577\r\n\r\n"));
    http_client_read(&c, false, &a);
    assert_int_equal(a.status, 413);
    expect_counts(&a, "0", "0", "0");
    assert_non_null(strstr(a.body, "--web.max-body-size"));
    http_answer_free(&a);
    assert_true(http_client_closed(&c));
    http_client_close(&c);
}

static void write__refused_by_the_http_layer__has_counts_too(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    start();
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(&c, "POST /api/v1/write HTTP/1.1\r\nHost: t\r\n"
                                          "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"));
    http_client_read(&c, false, &a);
    assert_int_equal(a.status, 400);
    expect_counts(&a, "0", "0", "0");
    http_answer_free(&a);
    http_client_close(&c);
    /* a chunk too many */
    char *chunk = calloc(1, 600001);
    assert_non_null(chunk);
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(
        &c, "POST /api/v1/write HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 2; i++) {
        bool sent = http_client_send_text(&c, "927c0\r\n") && http_client_send(&c, chunk, 600000) &&
                    http_client_send_text(&c, "\r\n");
        assert_true(sent || i > 0); /* the second one may find the connection closed */
    }
    free(chunk);
    http_client_read(&c, false, &a);
    if (a.status != 0) { /* the answer is lost where a reset overtakes it */
        assert_int_equal(a.status, 413);
        expect_counts(&a, "0", "0", "0");
    }
    http_answer_free(&a);
    http_client_close(&c);
    /* other routes do not have them */
    char v[8];
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(&c, "POST /api/v1/query HTTP/1.1\r\nHost: t\r\n"
                                          "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"));
    http_client_read(&c, false, &a);
    assert_int_equal(a.status, 400);
    assert_false(http_answer_header(&a, "X-Prometheus-Remote-Write-Samples-Written", v, sizeof v));
    http_answer_free(&a);
    http_client_close(&c);
}

static void write__decoded_size_over_the_limit__is_413(void **state)
{
    (void)state;
    struct body b;
    struct http_answer a;
    start();
    body_init(&b);
    uint8_t *zeroes = tsdb_buf_reserve(&b.raw, (4u << 20) + 1);
    assert_non_null(zeroes);
    memset(zeroes, 0, (4u << 20) + 1);
    b.raw.len = (4u << 20) + 1;
    body_pack(&b);
    assert_true(b.packed.len < (1u << 20)); /* a bomb: the body itself is well within its limit */
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 413);
    expect_counts(&a, "0", "0", "0");
    http_answer_free(&a);
    body_deinit(&b);
}

static void write__chunked__is_stored(void **state)
{
    (void)state;
    struct body b;
    struct http_client c;
    struct http_answer a;
    char size[32];
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "chunked")};
    start();
    body_init(&b);
    body_add(&b, labels, 1, T0, 3);
    body_pack(&b);
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(&c, "POST /api/v1/write HTTP/1.1\r\nHost: t\r\n" V1_HEADERS
                                          "Transfer-Encoding: chunked\r\n\r\n"));
    snprintf(size, sizeof size, "%zx\r\n", b.packed.len);
    assert_true(http_client_send_text(&c, size));
    assert_true(http_client_send(&c, b.packed.data, b.packed.len));
    assert_true(http_client_send_text(&c, "\r\n0\r\n\r\n"));
    http_client_read(&c, false, &a);
    assert_int_equal(a.status, 204);
    expect_counts(&a, "1", "0", "0");
    http_answer_free(&a);
    http_client_close(&c);
    body_deinit(&b);
}

static void write__budget_used_up__is_503_and_nothing_stored(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    char v[16];
    server.options.inflight_bytes_max = 2000;
    start();
    /* one client holds the budget with a body that it does not finish */
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(
        &c, "POST /api/v1/write HTTP/1.1\r\nHost: t\r\nContent-Length: 1999\r\n\r\n"));
    struct ingest_stats stats = {0};
    for (int i = 0; i < WAIT_TRIES && stats.inflight_bytes == 0; i++) {
        nap();
        ingest_stats_read(server.ingest, &stats);
    }
    assert_int_equal(stats.inflight_bytes, 1999);
    send_write(V1_HEADERS, "0123456789", 10, &a);
    assert_int_equal(a.status, 503);
    expect_counts(&a, "0", "0", "0");
    assert_true(http_answer_header(&a, "Retry-After", v, sizeof v));
    assert_string_equal(v, "1");
    http_answer_free(&a);
    http_client_close(&c); /* gives it back */
    for (int i = 0; i < WAIT_TRIES && stats.inflight_bytes != 0; i++) {
        nap();
        ingest_stats_read(server.ingest, &stats);
    }
    write_sample("later", T0, 1, 204, NULL);
}

static void write__disk_fails__is_503_and_reads_go_on(void **state)
{
    (void)state;
    struct body b;
    struct http_answer a;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "lost")};
    start();
    write_some();
    tsdb_fs_sim_fault(disk, TSDB_FAULT_HALT, 1, 1);
    body_init(&b);
    body_add(&b, labels, 1, T0, 1);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 503);
    char v[16];
    assert_true(http_answer_header(&a, "Retry-After", v, sizeof v));
    assert_true(strlen(a.body) > 10);
    http_answer_free(&a);
    body_deinit(&b);
    expect_get("/api/v1/query?query=b", 200, NULL);
    expect_get("/-/ready", 200, NULL);
}

/* Several connections write at once, each its own series; all that was acknowledged is there. */
struct writer {
    uint32_t index;
    uint32_t wrong;
};

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    char name[32];
    struct http_client c;
    snprintf(name, sizeof name, "%u", w->index);
    if (http_client_open(&c, port) != 0) {
        w->wrong++;
        return NULL;
    }
    for (int i = 0; i < 100; i++) {
        struct body b;
        struct http_answer a;
        struct tsdb_label labels[] = {tsdb_label_make("__name__", "storm"),
                                      tsdb_label_make("w", name)};
        body_init(&b);
        body_add(&b, labels, 2, T0 - 100000 + i * 1000, i);
        w->wrong += ingest_snappy_encode(&b.raw, &b.packed) != TSDB_OK;
        http_client_call(&c, "POST", "/api/v1/write", V1_HEADERS, b.packed.data, b.packed.len, &a);
        w->wrong += a.status != 204;
        http_answer_free(&a);
        http_client_call(&c, "GET", "/api/v1/query?query=storm", NULL, NULL, 0, &a);
        w->wrong += a.status != 200;
        http_answer_free(&a);
        body_deinit(&b);
    }
    http_client_close(&c);
    return NULL;
}

static void write__many_connections__all_acknowledged_samples_are_there(void **state)
{
    (void)state;
    struct writer writers[4];
    pthread_t threads[4];
    start();
    for (uint32_t i = 0; i < 4; i++) {
        writers[i] = (struct writer){i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, &writers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].wrong, 0);
    }
    expect_get("/api/v1/query?query=sum(count_over_time(storm%5B1h%5D))", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":"
                       "[1700000000,\"400\"]}]}"));
}

/* ---- queries ---- */

static void query__parameters__as_prometheus_reads_them(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int status;
        const char *body;
    } cases[] = {
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
    };
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        expect_get(cases[i].path, cases[i].status, cases[i].body);
    }
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
    /* as large as allowed: the query is too long, but understood */
    memcpy(form, "query=", 6);
    http_client_once(port, "POST", "/api/v1/query", FORM, form, len - 1, &a);
    assert_int_equal(a.status, 400);
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

/* ---- metadata, cardinality, what there is none of ---- */

static void put_metadata(const char *metric, enum tsdb_metric_type type, const char *help,
                         const char *unit)
{
    struct tsdb_metadata m = {.metric = {(const uint8_t *)metric, strlen(metric)},
                              .help = {(const uint8_t *)help, strlen(help)},
                              .unit = {(const uint8_t *)unit, strlen(unit)},
                              .type = type};
    struct body b;
    struct http_answer a;
    body_init(&b);
    encode_v1_metadata(&m, &b.raw);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 204);
    http_answer_free(&a);
    body_deinit(&b);
}

#define META_A "\"a\":[{\"type\":\"unknown\",\"unit\":\"\",\"help\":\"\"}]"
#define META_B "\"b\":[{\"type\":\"gauge\",\"unit\":\"bytes\",\"help\":\"is \\\"b\\\"\"}]"
#define META_C "\"c\":[{\"type\":\"counter\",\"unit\":\"\",\"help\":\"h\"}]"

static void metadata__parameters__choose(void **state)
{
    (void)state;
    start();
    expect_get("/api/v1/metadata", 200, OK_DATA("{}"));
    put_metadata("c", TSDB_METRIC_COUNTER, "h", "");
    put_metadata("b", TSDB_METRIC_GAUGE, "is \"b\"", "bytes");
    put_metadata("a", TSDB_METRIC_UNKNOWN, "", "");
    expect_get("/api/v1/metadata", 200, OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?limit=40000&limit_per_metric=1", 200,
               OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?limit=-1&limit_per_metric=0", 200,
               OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?limit=2", 200, OK_DATA("{" META_A "," META_B "}"));
    expect_get("/api/v1/metadata?limit=0", 200, OK_DATA("{}")); /* as Prometheus */
    expect_get("/api/v1/metadata?metric=b", 200, OK_DATA("{" META_B "}"));
    expect_get("/api/v1/metadata?metric=b&limit=0", 200, OK_DATA("{}"));
    expect_get("/api/v1/metadata?metric=", 200, OK_DATA("{" META_A "," META_B "," META_C "}"));
    expect_get("/api/v1/metadata?metric=nope", 200, OK_DATA("{}"));
    expect_get("/api/v1/metadata?metric=b%00", 200, OK_DATA("{}"));
    expect_get("/api/v1/metadata?limit=x", 400, BAD_DATA("limit must be a number"));
    expect_get("/api/v1/metadata?limit_per_metric=1.5", 400,
               BAD_DATA("limit_per_metric must be a number"));
}

static void metadata__more_than_one_page__is_sorted(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%03d", (i * 77) % 200);
        struct tsdb_metadata m = {.metric = {(const uint8_t *)name, strlen(name)},
                                  .type = TSDB_METRIC_GAUGE};
        assert_ok(tsdb_metadata_put(server.db, &m));
    }
    http_client_once(port, "GET", "/api/v1/metadata", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    const char *p = a.body;
    for (int i = 0; i < 200; i++) {
        char name[24];
        snprintf(name, sizeof name, "\"m%03d\":[{", i);
        p = strstr(p, name);
        assert_non_null(p);
    }
    http_answer_free(&a);
}

static void status_tsdb__after_writes__counts(void **state)
{
    (void)state;
    start();
    expect_get("/api/v1/status/tsdb", 200,
               OK_DATA("{\"headStats\":{\"numSeries\":0,\"numLabelPairs\":0,\"chunkCount\":0,"
                       "\"minTime\":9223372036854775807,\"maxTime\":-9223372036854775808},"
                       "\"seriesCountByMetricName\":[],\"labelValueCountByLabelName\":[],"
                       "\"memoryInBytesByLabelName\":[],\"seriesCountByLabelValuePair\":[]}"));
    write_some();
    struct http_answer a;
    http_client_once(port, "GET", "/api/v1/status/tsdb", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    static const char *const parts[] = {
        "{\"headStats\":{\"numSeries\":2,\"numLabelPairs\":3,\"chunkCount\":",
        "\"minTime\":1699999990000,\"maxTime\":1700000000000}",
        "\"seriesCountByMetricName\":[{\"name\":\"a\",\"value\":1},{\"name\":\"b\",\"value\":1}]",
        "\"labelValueCountByLabelName\":[{\"name\":\"__name__\",\"value\":2},"
        "{\"name\":\"job\",\"value\":1}]",
        "\"memoryInBytesByLabelName\":[{\"name\":\"",
        "\"seriesCountByLabelValuePair\":[{\"name\":\"job=j\",\"value\":2},"
        "{\"name\":\"__name__=a\",\"value\":1},{\"name\":\"__name__=b\",\"value\":1}]}",
    };
    const char *p = a.body;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(parts); i++) {
        p = strstr(p, parts[i]);
        if (!p) {
            fail_msg("no %s in: %s", parts[i], a.body);
        }
    }
    http_answer_free(&a);
    http_client_once(port, "GET", "/api/v1/status/tsdb?limit=1", NULL, NULL, 0, &a);
    assert_non_null(strstr(a.body, "\"seriesCountByLabelValuePair\":[{\"name\":\"job=j\",\"value\":"
                                   "2}]}"));
    http_answer_free(&a);
    expect_get("/api/v1/status/tsdb?limit=10000", 200, NULL);
    expect_get("/api/v1/status/tsdb?limit=10001", 400, BAD_DATA("limit must not exceed 10000"));
    expect_get("/api/v1/status/tsdb?limit=0", 400, BAD_DATA("limit must be a positive number"));
    expect_get("/api/v1/status/tsdb?limit=x", 400, BAD_DATA("limit must be a positive number"));
}

#define BAD_PARAM(name, text) BAD_DATA("invalid parameter \\\"" name "\\\": " text)

static void discovery__nothing_there__lists_are_empty(void **state)
{
    (void)state;
    static const char groups[] = OK_DATA("{\"groups\":[]}");
    static const struct {
        const char *path;
        int status;
        const char *body;
    } cases[] = {
        {"/api/v1/rules", 200, groups},
        {"/api/v1/rules?type=Alert&exclude_alerts=TRUE&group_limit=5&match[]=up&rule_name[]=x"
         "&rule_group[]=y&file[]=z",
         200, groups},
        {"/api/v1/rules?type=record&exclude_alerts=f", 200, groups},
        {"/api/v1/rules?type=both", 400, BAD_PARAM("type", "not supported value \\\"both\\\"")},
        {"/api/v1/rules?exclude_alerts=yes", 400,
         BAD_PARAM("exclude_alerts", "error converting exclude_alerts: strconv.ParseBool: parsing "
                                     "\\\"yes\\\": invalid syntax")},
        {"/api/v1/rules?group_limit=0", 400,
         BAD_PARAM("group_limit", "group_limit needs to be greater than 0")},
        {"/api/v1/rules?group_limit=ten", 400,
         BAD_PARAM("group_limit", "group_limit needs to be a valid number: strconv.ParseInt: "
                                  "parsing \\\"ten\\\": invalid syntax")},
        {"/api/v1/rules?group_limit=2147483648", 400,
         BAD_PARAM("group_limit", "group_limit needs to be a valid number: strconv.ParseInt: "
                                  "parsing \\\"2147483648\\\": value out of range")},
        {"/api/v1/rules?group_next_token=abc", 400,
         BAD_PARAM("group_next_token",
                   "group_limit needs to be present in order to paginate over the groups")},
        {"/api/v1/rules?group_next_token=abc&group_limit=1", 400,
         BAD_PARAM("group_next_token",
                   "invalid group_next_token 'abc'. were rule groups changed?")},
        {"/api/v1/rules?match[]=%7B%7D", 400,
         BAD_DATA("match[] must contain at least one non-empty matcher")},
        {"/api/v1/rules?match[]=sum(", 400, NULL},
        {"/api/v1/alerts", 200, OK_DATA("{\"alerts\":[]}")},
        {"/api/v1/targets", 200,
         OK_DATA("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}")},
        {"/api/v1/targets?state=ANY&scrapePool=x", 200,
         OK_DATA("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}")},
        {"/api/v1/targets?state=active", 200,
         OK_DATA("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":null}")},
        {"/api/v1/scrape_pools", 200, OK_DATA("{\"scrapePools\":[]}")},
        {"/api/v1/alertmanagers", 200,
         OK_DATA("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}")},
        {"/api/v1/notifications", 200, OK_DATA("[]")},
    };
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        expect_get(cases[i].path, cases[i].status, cases[i].body);
    }
}

static void features__flags__are_followed(void **state)
{
    (void)state;
    static const char *const off[] = {"\"remote_write_receiver\":true",
                                      "\"otlp_write_receiver\":false",
                                      "\"rate\":true",
                                      "\"sort_by_label\":false",
                                      "\"limitk\":false",
                                      "\"and\":true",
                                      "\"group_left\":true",
                                      "\"anchored\":false",
                                      "\"scrape\":{}",
                                      "\"exemplar_storage\":true"};
    struct http_answer a;
    start();
    http_client_once(port, "GET", "/api/v1/features", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(off); i++) {
        if (!strstr(a.body, off[i])) {
            fail_msg("no %s in: %s", off[i], a.body);
        }
    }
    assert_memory_equal(a.body, "{\"status\":\"success\",\"data\":{\"api\":{\"admin\":", 43);
    http_answer_free(&a);
    server.options.feature_experimental_functions = true;
    server.options.feature_extended_range_selectors = true;
    server.options.exemplars_max = 0;
    http_client_once(port, "GET", "/api/v1/features", NULL, NULL, 0, &a);
    assert_non_null(strstr(a.body, "\"sort_by_label\":true"));
    assert_non_null(strstr(a.body, "\"limitk\":true"));
    assert_non_null(strstr(a.body, "\"anchored\":true"));
    assert_non_null(strstr(a.body, "\"exemplar_storage\":false"));
    http_answer_free(&a);
}

/* ---- answers ---- */

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

/* ---- names ---- */

static void names__series_labels_values__are_listed(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int status;
        const char *body;
    } cases[] = {
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
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        expect_get(cases[i].path, cases[i].status, cases[i].body);
    }
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

/* ---- the rest ---- */

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
        {"/", "text/html; charset=utf-8", "<h1>Tidalite</h1>"},
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
        {"GET", "/api/v1/query/", NULL},
        {"POST", "/api/v1/", NULL},
        {"GET", "/api/v1/queryx", NULL},
        {"GET", "//", NULL},
        {"DELETE", "/api/v1/query", "GET, HEAD, POST, OPTIONS"},
        {"PUT", "/api/v1/series", "GET, HEAD, POST, OPTIONS"},
        {"POST", "/api/v1/label/a/values", "GET, HEAD, OPTIONS"},
        {"GET", "/api/v1/write", "POST, OPTIONS"},
        {"PATCH", "/api/v1/write", "POST, OPTIONS"},
        {"GET", "/-/reload", "POST, PUT"},
        {"GET", "/-/quit", "POST, PUT"},
        {"POST", "/-/healthy", "GET, HEAD"},
        {"OPTIONS", "/metrics", "GET, HEAD"},
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
    server.options.lifecycle = false;
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
    expect_get("/-/healthy", 200, NULL);
    expect_get("/api/v1/status/walreplay", 200, NULL);
    expect_get("/metrics", 200, NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    CASE(write__v1_body__is_stored_and_read_back),
    CASE(write__v2_body__counts_every_kind),
    CASE(write__content_type_and_encoding__are_negotiated),
    CASE(write__no_encoding__takes_plain_protobuf_too),
    CASE(write__damaged_bodies__are_refused_on_a_living_connection),
    CASE(write__some_bad_series__stores_the_others),
    CASE(write__body_over_the_limit__is_413_with_counts),
    CASE(write__refused_by_the_http_layer__has_counts_too),
    CASE(write__decoded_size_over_the_limit__is_413),
    CASE(write__chunked__is_stored),
    CASE(write__budget_used_up__is_503_and_nothing_stored),
    CASE(write__disk_fails__is_503_and_reads_go_on),
    CASE(write__many_connections__all_acknowledged_samples_are_there),
    CASE(query__parameters__as_prometheus_reads_them),
    CASE(query__parse_and_evaluation_errors__have_their_status),
    CASE(query__form_post__body_wins_over_url),
    CASE(query__form_too_large__is_refused),
    CASE(query__limit__cuts_and_warns),
    CASE(query__lookback_delta__is_taken),
    CASE(query__stats__are_added),
    CASE(query__memory_limit__is_an_error_and_gives_all_back),
    CASE(query__queue_full__is_503_and_health_goes_on),
    CASE(query__time_runs_out_in_the_queue__is_a_timeout),
    CASE(query__timeout__stops_the_work),
    CASE(query__client_goes_away__stops_the_work),
    CASE(query__duration_expression_without_a_duration__is_bad_data),
    CASE(metadata__parameters__choose),
    CASE(metadata__more_than_one_page__is_sorted),
    CASE(status_tsdb__after_writes__counts),
    CASE(discovery__nothing_there__lists_are_empty),
    CASE(features__flags__are_followed),
    CASE(answer__gzip__only_when_asked_and_worth_it),
    CASE(answer__cors__follows_the_pattern),
    CASE(answer__head__has_no_body),
    CASE(names__series_labels_values__are_listed),
    CASE(pages__each__answers),
    CASE(paths__unknown_or_wrong_method__are_404_and_405),
    CASE(lifecycle__reload_and_quit__follow_the_flag),
    CASE(stopping__api_and_ready__say_so),
};

TEST_MAIN(tests)
