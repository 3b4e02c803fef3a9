/* POST /api/v1/write over a whole server. */
#include "tests/unit/server/server_rig.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

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
        {"Content-Encoding: Snappy \r\n", 204},
        {"Content-Encoding: zstd\r\n", 204},
        {"Content-Encoding: identity\r\n", 204},
        {"Content-Encoding: gzip\r\n", 415}, /* without --web.accept-gzip-writes */
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

static size_t pack_gzip(uint8_t *src, size_t len, uint8_t *out, size_t cap)
{
    z_stream z = {.next_in = src, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)cap};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

static void write__every_path_and_encoding_of_senders__is_stored(void **state)
{
    (void)state;
    static const struct {
        const char *path, *encoding;
        int packing; /* 0 none, 1 snappy, 2 zstd, 3 gzip */
    } cases[] = {
        {"/api/v1/push", "snappy", 1},    {"/api/v1/receive", "snappy", 1},
        {"/api/v1/write/", "snappy", 1},  {"/api/v1/push/", "zstd", 2},
        {"/api/v1/write", "zstd", 2},     {"/api/v1/write", "zstd", 1}, /* old vmagents mislabel */
        {"/api/v1/write", "snappy", 2},   {"/api/v1/write", NULL, 2},
        {"/api/v1/write", "identity", 0}, {"/api/v1/write", "gzip", 3},
    };
    start();
    server.options.accept_gzip = true;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        char name[32];
        char headers[128] = "";
        char text[128];
        struct body b;
        struct http_answer a;
        snprintf(name, sizeof name, "way_%zu", i);
        if (cases[i].encoding) {
            snprintf(headers, sizeof headers, "Content-Encoding: %s\r\n", cases[i].encoding);
        }
        struct tsdb_label labels[] = {tsdb_label_make("__name__", name)};
        body_init(&b);
        body_add(&b, labels, 1, T0, 3);
        body_pack(&b);
        uint8_t other[1024];
        size_t len = cases[i].packing == 2
                         ? ZSTD_compress(other, sizeof other, b.raw.data, b.raw.len, 1)
                         : pack_gzip(b.raw.data, b.raw.len, other, sizeof other);
        const struct tsdb_buf *plain = cases[i].packing == 0 ? &b.raw : &b.packed;
        http_client_once(port, "POST", cases[i].path, headers,
                         cases[i].packing < 2 ? plain->data : other,
                         cases[i].packing < 2 ? plain->len : len, &a);
        if (a.status != 204) {
            fail_msg("case %zu: %d %.*s", i, a.status, (int)a.body_len, a.body);
        }
        expect_counts(&a, "1", "0", "0");
        http_answer_free(&a);
        body_deinit(&b);
        snprintf(text, sizeof text, "/api/v1/query?query=count(%s)&time=1700000000", name);
        expect_get(text, 200,
                   OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{},"
                           "\"value\":[1700000000,\"1\"]}]}"));
    }
}

static void paths__of_other_systems__404_names_what_to_use(void **state)
{
    (void)state;
    static const struct {
        const char *path, *says;
    } cases[] = {
        {"/write?db=x", "remote write at /api/v1/write"},
        {"/api/v2/write", "InfluxDB"},
        {"/api/v1/import/native", "remote write"},
        {"/insert/0/prometheus", "remote write"},
        {"/api/put", "OpenTSDB"},
        {"/render", "Graphite"},
        {"/v1/logs", "metrics only"},
        {"/nothing", "404 page not found\n"},
        {"/api/v1/query/", "404 page not found\n"},
    };
    start();
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct http_answer a;
        http_client_once(port, "POST", cases[i].path, "", "x", 1, &a);
        assert_int_equal(a.status, 404);
        if (!strstr(a.body, cases[i].says)) {
            fail_msg("%s: %s", cases[i].path, a.body);
        }
        http_answer_free(&a);
    }
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
        {"\x80\x80\x80\x80\x01", 5, 400},         /* five bytes that say 256 MiB */
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

static void write__body_over_the_limit__is_400_with_counts(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    start();
    assert_int_equal(http_client_open(&c, port), 0);
    assert_true(http_client_send_text(
        &c, "POST /api/v1/write HTTP/1.1\r\nHost: t\r\nContent-Length: 1048577\r\n\r\n"));
    http_client_read(&c, false, &a);
    assert_int_equal(a.status, 400);
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
        assert_int_equal(a.status, 400);
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

static void write__decoded_size_over_the_limit__is_400(void **state)
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
    assert_int_equal(a.status, 400);
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
    struct http_client clients[3];
    struct http_answer a;
    static uint8_t part[600u << 10]; /* takes a buffer of a MiB */
    char v[16];
    server.options.inflight_bytes_max = 6u << 20; /* of which a sender may hold half */
    start();
    /* clients hold all of it with what they have sent of bodies that they do not finish */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(http_client_open(&clients[i], port), 0);
        assert_true(http_client_send_text(&clients[i], "POST /api/v1/write HTTP/1.1\r\nHost: t\r\n"
                                                       "Content-Length: 700000\r\n\r\n"));
        assert_true(http_client_send(&clients[i], part, sizeof part));
    }
    struct ingest_stats stats = {0};
    for (int i = 0; i < WAIT_TRIES && stats.inflight_bytes < 3u << 20; i++) {
        nap();
        ingest_stats_read(server.ingest, &stats);
    }
    assert_int_equal(stats.inflight_bytes, 3u << 20);
    send_write(V1_HEADERS, "0123456789", 10, &a);
    assert_int_equal(a.status, 503);
    expect_counts(&a, "0", "0", "0");
    assert_true(http_answer_header(&a, "Retry-After", v, sizeof v));
    assert_string_equal(v, "1");
    http_answer_free(&a);
    for (int i = 0; i < 3; i++) {
        http_client_close(&clients[i]); /* gives it back */
    }
    for (int i = 0; i < WAIT_TRIES && stats.inflight_bytes != 0; i++) {
        nap();
        ingest_stats_read(server.ingest, &stats);
    }
    write_sample("later", T0, 1, 204, NULL);
}

/* The end comes together with the last bytes, in the middle of a body: what was held goes back long
 * before the body's deadline, and the next sender finds room. */
static void write__client_ends_with_its_last_bytes__budget_is_given_back(void **state)
{
    (void)state;
    static uint8_t part[100u << 10];
    struct ingest_stats stats = {0};
    start();
    for (int i = 0; i < 40; i++) {
        struct http_client c;
        assert_int_equal(http_client_open(&c, port), 0);
        assert_true(http_client_send_text(&c, "POST /api/v1/write HTTP/1.1\r\nHost: t\r\n"
                                              "Content-Length: 700000\r\n\r\n"));
        assert_true(http_client_send(&c, part, sizeof part));
        http_client_close(&c);
    }
    for (int i = 0; i < WAIT_TRIES; i++) {
        struct http_stats http;
        http_stats_read(server.http, &http);
        if (http.connections_open == 0 && http.connections == 40) {
            break;
        }
        nap();
    }
    struct http_stats http;
    http_stats_read(server.http, &http);
    assert_int_equal(http.connections_open, 0);
    ingest_stats_read(server.ingest, &stats);
    assert_true(stats.inflight_bytes <= server.options.inflight_bytes_max / 8); /* the pool's */
    write_sample("next", T0, 1, 204, NULL);
}

static void write__disk_fails_for_a_while__is_503_and_heals(void **state)
{
    (void)state;
    struct body b;
    struct http_answer a;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "lost")};
    start();
    write_some();
    tsdb_fs_sim_fault(disk, TSDB_FAULT_ENOSPC, 1, 1000000);
    body_init(&b);
    body_add(&b, labels, 1, T0, 1);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 503);
    char v[16];
    assert_true(http_answer_header(&a, "Retry-After", v, sizeof v));
    assert_true(strlen(a.body) > 10);
    http_answer_free(&a);
    expect_get("/api/v1/query?query=b", 200, NULL);
    expect_part("/-/ready", 503, "storage is out_of_space and takes no writes");
    expect_part("/-/ready", 503, "No space left");
    expect_part("/metrics", 200, "\ntidalite_state{state=\"out_of_space\"} 1\n");
    expect_part("/metrics", 200, "\ntidalite_state{state=\"ready\"} 0\n");
    expect_part("/metrics", 200, "\ntidalite_wal_state 1\n");
    /* Room again: nobody restarts anything. */
    tsdb_fs_sim_fault(disk, TSDB_FAULT_NONE, 1, 1);
    for (int status = 0; status != 204;) {
        usleep(10000);
        send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
        status = (int)a.status;
        http_answer_free(&a);
    }
    body_deinit(&b);
    expect_get("/-/ready", 200, NULL);
    expect_part("/metrics", 200, "\ntidalite_wal_state 0\n");
    expect_part("/metrics", 200, "\ntidalite_state{state=\"out_of_space\"} 0\n");
    expect_part("/metrics", 200, "\ntidalite_state{state=\"ready\"} 1\n");
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
        w->wrong += encode_snappy(&b.raw, &b.packed) != TSDB_OK;
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

/* ---- large bodies ---- */

/* A work item that stays in its thread until the gate opens. */
struct gate {
    struct work work;
    const _Atomic(uint32_t) *open;
    _Atomic(uint32_t) over;
};

static void gate_run(struct work *w)
{
    struct gate *g = (struct gate *)(void *)w;
    while (atomic_load(g->open) == 0) {
        nap();
    }
    atomic_store(&g->over, 1);
}

static void wait_for_decoders(uint32_t running, uint32_t waiting)
{
    struct workers_stats s = {0};
    for (int i = 0; i < WAIT_TRIES && (s.running != running || s.waiting != waiting); i++) {
        nap();
        workers_stats_read(server.decoders, &s);
    }
    assert_int_equal(s.running, running);
    assert_int_equal(s.waiting, waiting);
}

static void gates_close(struct gate *gates, uint32_t count, const _Atomic(uint32_t) *open)
{
    for (uint32_t i = 0; i < count; i++) {
        gates[i].work.run = gate_run;
        gates[i].open = open;
        atomic_init(&gates[i].over, 0);
        assert_true(workers_submit(server.decoders, &gates[i].work));
    }
    wait_for_decoders(TSDB_MIN(count, 2u), count > 2 ? count - 2 : 0);
}

static void gates_wait(struct gate *gates, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while (atomic_load(&gates[i].over) == 0) {
            nap();
        }
    }
}

static void large_body(struct body *b, uint32_t series)
{
    char value[16];
    body_init(b);
    for (uint32_t i = 0; i < series; i++) {
        snprintf(value, sizeof value, "%u", i);
        struct tsdb_label labels[] = {tsdb_label_make("__name__", "large"),
                                      tsdb_label_make("i", value)};
        body_add(b, labels, 2, T0, i);
    }
    body_pack(b);
}

static bool send_large(struct http_client *c, const struct body *b)
{
    char head[256];
    snprintf(head, sizeof head,
             "POST /api/v1/write HTTP/1.1\r\nHost: t\r\n" V1_HEADERS "Content-Length: %zu\r\n\r\n",
             b->packed.len);
    return http_client_send_text(c, head) && http_client_send(c, b->packed.data, b->packed.len);
}

/* A large body waits for its decoder: everybody else, on the same daemons, is served meanwhile. */
static void write__large_bodies_wait__other_connections_go_on(void **state)
{
    (void)state;
    static struct gate gates[2];
    _Atomic(uint32_t) open = 0;
    struct http_client large[2];
    struct http_answer a;
    struct body b;
    server.options.large_write_bytes = 1024;
    start();
    gates_close(gates, 2, &open);
    large_body(&b, 500);
    for (uint32_t i = 0; i < 2; i++) { /* one for each daemon */
        assert_int_equal(http_client_open(&large[i], port), 0);
        assert_true(send_large(&large[i], &b));
        wait_for_decoders(2, i + 1);
    }
    for (int i = 0; i < 8; i++) {
        write_sample("small", T0 + i, i, 204, NULL);
        expect_get("/-/healthy", 200, NULL);
    }
    wait_for_decoders(2, 2);
    expect_get("/api/v1/query?query=count(large)", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[]}"));
    atomic_store(&open, 1);
    for (uint32_t i = 0; i < 2; i++) {
        http_client_read(&large[i], false, &a);
        assert_int_equal(a.status, 204);
        expect_counts(&a, "500", "0", "0");
        http_answer_free(&a);
        http_client_close(&large[i]);
    }
    gates_wait(gates, 2);
    body_deinit(&b);
    expect_get("/api/v1/query?query=count(large)", 200,
               OK_DATA("{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":"
                       "[1700000000,\"500\"]}]}"));
}

/* Clients that leave while theirs waits: the decoder still finds what it works on. */
static void write__client_leaves_while_its_large_body_waits__nothing_is_lost(void **state)
{
    (void)state;
    static struct gate gates[2];
    _Atomic(uint32_t) open = 0;
    struct http_client c;
    struct body b;
    server.options.large_write_bytes = 1024;
    start();
    gates_close(gates, 2, &open);
    large_body(&b, 200);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(http_client_open(&c, port), 0);
        assert_true(send_large(&c, &b));
        wait_for_decoders(2, i + 1);
        http_client_close(&c);
    }
    atomic_store(&open, 1);
    wait_for_decoders(0, 0);
    gates_wait(gates, 2);
    body_deinit(&b);
    expect_get("/-/healthy", 200, NULL);
}

static void write__too_many_large_bodies_wait__is_503(void **state)
{
    (void)state;
    static struct gate gates[10];
    _Atomic(uint32_t) open = 0;
    struct http_answer a;
    struct body b;
    server.options.large_write_bytes = 1024;
    start();
    gates_close(gates, 10, &open); /* two run, eight wait: the rig has no more room */
    large_body(&b, 100);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 503);
    expect_counts(&a, "0", "0", "0");
    http_answer_free(&a);
    /* small ones do not need a decoder, nor what is refused for its size */
    write_sample("small", T0, 1, 204, NULL);
    send_write(V1_HEADERS, "\x80\x80\x80\x80\x01", 5, &a);
    assert_int_equal(a.status, 400);
    http_answer_free(&a);
    atomic_store(&open, 1);
    gates_wait(gates, 10);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 204);
    expect_counts(&a, "100", "0", "0");
    http_answer_free(&a);
    body_deinit(&b);
}

static const struct CMUnitTest tests[] = {
    CASE(write__v1_body__is_stored_and_read_back),
    CASE(write__v2_body__counts_every_kind),
    CASE(write__content_type_and_encoding__are_negotiated),
    CASE(write__no_encoding__takes_plain_protobuf_too),
    CASE(write__every_path_and_encoding_of_senders__is_stored),
    CASE(paths__of_other_systems__404_names_what_to_use),
    CASE(write__damaged_bodies__are_refused_on_a_living_connection),
    CASE(write__some_bad_series__stores_the_others),
    CASE(write__body_over_the_limit__is_400_with_counts),
    CASE(write__refused_by_the_http_layer__has_counts_too),
    CASE(write__decoded_size_over_the_limit__is_400),
    CASE(write__chunked__is_stored),
    CASE(write__budget_used_up__is_503_and_nothing_stored),
    CASE(write__client_ends_with_its_last_bytes__budget_is_given_back),
    CASE(write__disk_fails_for_a_while__is_503_and_heals),
    CASE(write__many_connections__all_acknowledged_samples_are_there),
    CASE(write__large_bodies_wait__other_connections_go_on),
    CASE(write__client_leaves_while_its_large_body_waits__nothing_is_lost),
    CASE(write__too_many_large_bodies_wait__is_503),
};

TEST_MAIN(tests)
