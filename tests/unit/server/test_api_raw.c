/* Remote read and federation over a whole server: statuses, headers, external labels; and that all memory comes
 * back (teardown). */
#include "tests/unit/server/server_rig.h"

#include "ingest/proto/remote_read.pb-c.h"
#include "ingest/snappy.h"

#define BINARY(text) ((ProtobufCBinaryData){sizeof(text) - 1, (uint8_t *)(uintptr_t)(text)})

/* {job=~pattern} over all time; `type` of the answer. */
static void read_job(ProtobufCBinaryData pattern, int type, struct http_answer *a)
{
    Rr__LabelMatcher m = RR__LABEL_MATCHER__INIT;
    Rr__Query q = RR__QUERY__INIT;
    Rr__ReadRequest r = RR__READ_REQUEST__INIT;
    m.type = RR__LABEL_MATCHER__TYPE__RE;
    m.name = BINARY("job");
    m.value = pattern;
    Rr__LabelMatcher *matchers[] = {&m};
    q.start_timestamp_ms = INT64_MIN;
    q.end_timestamp_ms = INT64_MAX;
    q.matchers = matchers;
    q.n_matchers = 1;
    Rr__Query *queries[] = {&q};
    Rr__ReadRequest__ResponseType types[] = {(Rr__ReadRequest__ResponseType)type};
    r.queries = queries;
    r.n_queries = 1;
    r.accepted_response_types = types;
    r.n_accepted_response_types = 1;
    uint8_t bytes[256];
    struct tsdb_buf packed;
    tsdb_buf_init(&packed, TSDB_MEM_OTHER, 0);
    assert_ok(ingest_snappy_encode(bytes, rr__read_request__pack(&r, bytes), &packed, NULL));
    http_client_once(port, "POST", "/api/v1/read", "Accept-Encoding: gzip\r\n", packed.data,
                     packed.len, a);
    tsdb_buf_deinit(&packed);
}

static void load_config(const char *text)
{
    struct tsdb_error err = {0};
    struct config_file *fresh = NULL;
    assert_ok_err(config_file_parse("test.yml", text, strlen(text), &fresh, &err), &err);
    tsdb_mutex_lock(&server.config_lock);
    struct config_file *old = server.config;
    server.config = fresh;
    tsdb_mutex_unlock(&server.config_lock);
    config_file_destroy(old);
}

static void expect_header(const struct http_answer *a, const char *name, const char *want)
{
    char v[128];
    bool there = http_answer_header(a, name, v, sizeof v);
    if (!want) {
        assert_false(there);
        return;
    }
    assert_true(there);
    assert_string_equal(v, want);
}

static void read__samples__series_in_order_with_external_labels(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    write_some();
    load_config("global: {external_labels: {zone: z}}");
    read_job(BINARY("j"), 0, &a);
    assert_int_equal(a.status, 200);
    expect_header(&a, "Content-Type", "application/x-protobuf");
    expect_header(&a, "Content-Encoding", "snappy");
    size_t len = 0;
    assert_ok(ingest_snappy_decoded_bytes(a.body, a.body_len, 1u << 20, &len, NULL));
    uint8_t *raw = malloc(len + 1);
    assert_ok(ingest_snappy_decode(a.body, a.body_len, raw, len, NULL));
    Rr__ReadResponse *r = rr__read_response__unpack(NULL, len, raw);
    assert_non_null(r);
    assert_int_equal(r->n_results, 1);
    assert_int_equal(r->results[0]->n_timeseries, 2);
    const Rr__TimeSeries *s = r->results[0]->timeseries[0];
    assert_int_equal(s->n_labels, 3);
    assert_memory_equal(s->labels[0]->value.data, "a", 1);
    assert_memory_equal(s->labels[2]->name.data, "zone", 4);
    assert_int_equal(s->n_samples, 2);
    assert_int_equal(s->samples[1]->timestamp, T0);
    assert_double_bits_equal(s->samples[1]->value, 2.5);
    rr__read_response__free_unpacked(r, NULL);
    free(raw);
    http_answer_free(&a);
}

static void read__streamed_and_refused__status_and_headers(void **state)
{
    (void)state;
    struct http_answer a;
    server.options.read_samples_max = 2;
    start();
    write_some();
    read_job(BINARY("j"), 1, &a);
    assert_int_equal(a.status, 200);
    expect_header(&a, "Content-Type",
                  "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    expect_header(&a, "Content-Encoding", NULL);
    assert_true(a.body_len > 40);
    http_answer_free(&a);
    read_job(BINARY("j"), 0, &a);
    assert_int_equal(a.status, 400);
    expect_header(&a, "Content-Encoding", NULL);
    assert_string_equal(a.body, "exceeded sample limit (2)\n");
    http_answer_free(&a);
    read_job(BINARY("("), 1, &a);
    assert_int_equal(a.status, 400);
    http_answer_free(&a);
    read_job(BINARY("nothing"), 1, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body_len, 0);
    http_answer_free(&a);
    expect("POST", "/api/v1/read", NULL, "junk", 400, NULL);
    expect_get("/api/v1/read", 405, NULL);
}

static void read__answer_beyond_the_memory_of_a_query__is_an_error(void **state)
{
    (void)state;
    struct http_answer a;
    server.options.query_bytes_max = 1u << 20;
    start();
    char name[32];
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m"), tsdb_label_make("job", "j"),
                                  tsdb_label_make("n", name)};
    struct body b;
    body_init(&b);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "%05d", i);
        labels[2] = tsdb_label_make("n", name);
        body_add(&b, labels, 3, T0, i);
    }
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    assert_int_equal(a.status, 204);
    http_answer_free(&a);
    body_deinit(&b);
    for (int type = 0; type < 2; type++) {
        read_job(BINARY("j"), type, &a);
        assert_int_equal(a.status, 500);
        http_answer_free(&a);
    }
}

/* a at T0 - 5 min and again at T0, b, and what must not be there: what is too old, what ended, what
 * is to come. */
static void federate__newest_within_lookback__as_text(void **state)
{
    (void)state;
    struct http_answer a;
    start();
    write_sample("zzz:r", T0 - 300000, 1e6, 204, NULL); /* as old as the lookback: still there */
    write_some();
    write_sample("old", T0 - 300001, 1, 204, NULL);
    write_sample("ended", T0 - 15000, 1, 204, NULL);
    write_sample("ended", T0, tsdb_bits_double(TSDB_STALE_NAN_BITS), 204, NULL);
    write_sample("later", T0 + 1, 1, 204, NULL);
    write_sample("c.d", T0, 0.1, 204, NULL);
    static const char all[] = "# TYPE a untyped\n"
                              "a{job=\"j\",instance=\"\"} 2.5 1700000000000\n"
                              "# TYPE b untyped\n"
                              "b{job=\"j\",instance=\"\"} 7 1700000000000\n"
                              "# TYPE c_d untyped\n"
                              "c_d{job=\"j\",instance=\"\"} 0.1 1700000000000\n"
                              "# TYPE zzz:r untyped\n"
                              "zzz:r{job=\"j\",instance=\"\"} 1e+06 1699999700000\n";
    expect_get("/federate?match[]=%7Bjob=%22j%22%7D&match[]=a", 200, all);
    expect_get("/federate?match[]=%7Bx=%22%22%7D", 200, all); /* may match everything */
    expect_get("/federate", 200, "");
    expect_get("/federate?match[]=nosuch", 200, "");
    expect_get("/federate?match[]=a%7B", 400, NULL);
    expect_get("/federate?match[]=%7Ba=~%22(%22%7D", 400, NULL);
    http_client_once(port, "GET", "/federate?match[]=%7B%22c.d%22%7D",
                     "Accept: text/plain;version=0.0.4;escaping=allow-utf-8\r\n", NULL, 0, &a);
    assert_string_equal(a.body, "# TYPE \"c.d\" untyped\n"
                                "{\"c.d\",job=\"j\",instance=\"\"} 0.1 1700000000000\n");
    expect_header(&a, "Content-Type",
                  "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8");
    http_answer_free(&a);
    load_config("global: {external_labels: {job: mine, aa: \"q\\\"\", zone: z}}");
    expect_get("/federate?match[]=a", 200,
               "# TYPE a untyped\n"
               "a{job=\"j\",aa=\"q\\\"\",instance=\"\",zone=\"z\"} 2.5 1700000000000\n");
    load_config("global: {external_labels: {instance: me}}");
    expect_get("/federate?match[]=a", 200,
               "# TYPE a untyped\na{job=\"j\",instance=\"me\"} 2.5 1700000000000\n");
}

static const struct CMUnitTest tests[] = {
    CASE(read__samples__series_in_order_with_external_labels),
    CASE(read__streamed_and_refused__status_and_headers),
    CASE(read__answer_beyond_the_memory_of_a_query__is_an_error),
    CASE(federate__newest_within_lookback__as_text),
};

TEST_MAIN(tests)
