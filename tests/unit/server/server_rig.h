/* A whole server for the tests of the handlers: real sockets, a real engine with its threads, a
 * simulated disk. setup fills the options, a test changes them and calls start, teardown takes the
 * server down and looks whether queries gave all their memory back. */
#ifndef TESTS_UNIT_SERVER_SERVER_RIG_H
#define TESTS_UNIT_SERVER_SERVER_RIG_H

#include "tests/support/test.h"

#include "base/format.h"
#include "query/cache/cache.h"
#include "query/crew.h"
#include "server/api/call.h"
#include "server/api/routes.h"
#include "server/config/config_file.h"
#include "server/parts/kept_lists.h"
#include "tests/support/ingest/encode.h"
#include "tests/support/server/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define T0         INT64_C(1700000000000)
#define WAIT_TRIES 30000 /* of a millisecond */
#define V2_TYPE    "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n"
#define V1_HEADERS "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
#define V2_HEADERS V2_TYPE "Content-Encoding: snappy\r\n"
#define FORM       "Content-Type: application/x-www-form-urlencoded\r\n"

static struct server server;
static struct tsdb_fs_sim *disk;
static uint16_t port;

/* The wall stands still, so that answers can be compared; deadlines run. */
static inline int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return T0;
}

static inline int64_t mono_ns(void *ctx)
{
    (void)ctx;
    return tsdb_clock_mono_ns(&tsdb_clock_real);
}

static inline void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static inline void open_engine(void)
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
    io.large_bytes = server.options.large_write_bytes;
    assert_ok_err(ingest_create(&io, server.db, &server.ingest, &err), &err);
}

static inline void open_http(uint32_t workers, uint32_t queue_max)
{
    struct tsdb_error err = {0};
    struct http_handlers handlers = server_handlers_template;
    handlers.arg = &server;
    struct http_options o = {.listen_address = "127.0.0.1:0",
                             .threads = 2,
                             .connections_max = 64,
                             .read_timeout_ms = 60000,
                             .body_bytes_max = server.options.body_bytes_max};
    struct door_options door = {.web_config_file = "",
                                .token_file = "",
                                .listen_address = "127.0.0.1:0",
                                .external_url = "",
                                .allowed_hosts = "*",
                                .clock = server.clock};
    assert_ok_err(door_create(&door, &server.door, &err), &err);
    const struct workers_options queries = {
        "test-worker", workers, server.options.query_cheap_slots, server.options.query_heavy_slots,
        queue_max,     0};
    const struct workers_options reads = {"test-reader", 2, 0, 0, queue_max, 0};
    const struct workers_options answers = {"test-sender", 2, 0, 0, 64, 0};
    const struct workers_options writes = {"test-decoder", 2, 0, 0, 8, 0};
    assert_ok_err(workers_create(&queries, &server.workers, &err), &err);
    assert_ok_err(workers_create(&reads, &server.readers, &err), &err);
    assert_ok_err(workers_create(&answers, &server.senders, &err), &err);
    assert_ok_err(workers_create(&writes, &server.decoders, &err), &err);
    assert_ok_err(http_start(&o, &handlers, &server.http, &err), &err);
    port = http_port(server.http);
}

/* A server of its own for every test; `workers` query threads. */
static inline void start_with(uint32_t workers, uint32_t queue_max) TSDB_NO_TSA
{
    server.clock = (struct tsdb_clock){wall_ms, mono_ns, NULL};
    server.start_ms = T0;
    tsdb_mutex_init(&server.config_lock, TSDB_RANK_SERVER_CONFIG, "config");
    active_init(&server.active);
    asked_init(&server.asked, server.options.query_names_max);
    costs_init(&server.costs);
    budget_init(&server.budget, server.options.query_total_bytes);
    server.query_options = (struct query_options){.lookback_ms = server.options.lookback_ms,
                                                  .samples_max = server.options.query_samples_max,
                                                  .default_step_ms = 60000,
                                                  .crew_work_min = 1};
    assert_ok(query_crew_create(3, &server.query_options.crew, NULL));
    const struct query_cache_options cache = {.bytes_max = 1u << 20, .samples_min = 1};
    assert_ok(query_cache_create(&cache, &server.query_cache, NULL));
    open_engine();
    assert_ok(kept_lists_create(1u << 20, server.db, &server.kept_lists, NULL));
    open_http(workers, queue_max);
}

static inline int setup(void **state)
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

static inline void start(void)
{
    start_with(4, 100);
}

static inline int teardown(void **state) TSDB_NO_TSA
{
    (void)state;
    assert_true(http_stop(server.http, 10000));
    workers_destroy(server.workers);
    workers_destroy(server.readers);
    workers_destroy(server.decoders);
    workers_destroy(server.senders);
    query_crew_destroy(server.query_options.crew);
    query_cache_destroy(server.query_cache);
    kept_lists_destroy(server.kept_lists);
    assert_int_equal(atomic_load(&server.budget.total.used_bytes),
                     0); /* queries gave it all back */
    budget_deinit(&server.budget);
    ingest_destroy(server.ingest);
    door_destroy(server.door);
    if (server.db) {
        active_deinit(&server.active);
        asked_deinit(&server.asked);
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

static inline void body_init(struct body *b)
{
    tsdb_buf_init(&b->raw, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&b->packed, TSDB_MEM_OTHER, 0);
}

static inline void body_deinit(struct body *b)
{
    tsdb_buf_deinit(&b->raw);
    tsdb_buf_deinit(&b->packed);
}

static inline void body_add(struct body *b, const struct tsdb_label *labels, uint32_t label_count,
                            int64_t t_ms, double value)
{
    struct encode_sample sample = {.t_ms = t_ms, .bits = tsdb_double_bits(value)};
    struct encode_series series = {
        .labels = {labels, label_count}, .samples = &sample, .sample_count = 1};
    encode_v1_series(&series, &b->raw);
}

static inline void body_pack(struct body *b)
{
    assert_false(b->raw.failed);
    assert_ok(encode_snappy(&b->raw, &b->packed));
}

static inline void send_write(const char *headers, const void *data, size_t len,
                              struct http_answer *a)
{
    http_client_once(port, "POST", "/api/v1/write", headers, data, len, a);
}

static inline void expect_counts(const struct http_answer *a, const char *samples,
                                 const char *histograms, const char *exemplars)
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
static inline void write_sample(const char *name, int64_t t_ms, double value, int want_status,
                                const char *want_text)
{
    struct body b;
    struct http_answer a;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", name), tsdb_label_make("job", "j")};
    body_init(&b);
    body_add(&b, labels, 2, t_ms, value);
    body_pack(&b);
    send_write(V1_HEADERS, b.packed.data, b.packed.len, &a);
    if (a.status != want_status) {
        fail_msg("%s: %d, expected %d: %s", name, a.status, want_status, a.body ? a.body : "");
    }
    expect_counts(&a, want_status == 204 ? "1" : "0", "0", "0");
    if (want_text) {
        assert_non_null(strstr(a.body, want_text));
    }
    http_answer_free(&a);
    body_deinit(&b);
}

/* ---- reading ---- */

static inline void expect(const char *method, const char *path, const char *headers,
                          const char *form, int status, const char *body)
{
    struct http_answer a;
    http_client_once(port, method, path, headers, form, form ? strlen(form) : 0, &a);
    if (a.status != status || (body && strcmp(a.body, body) != 0)) {
        fail_msg("%s %s %s\n  got %d %s\n want %d %s", method, path, form ? form : "", a.status,
                 a.body ? a.body : "", status, body ? body : "(any)");
    }
    http_answer_free(&a);
}

static inline void expect_get(const char *path, int status, const char *body)
{
    expect("GET", path, NULL, NULL, status, body);
}

/* The body has the part. */
static inline void expect_part(const char *path, int status, const char *part)
{
    struct http_answer a;
    http_client_once(port, "GET", path, NULL, NULL, 0, &a);
    if (a.status != status || !strstr(a.body, part)) {
        fail_msg("GET %s\n  got %d %s\n want %d ...%s...", path, a.status, a.body, status, part);
    }
    http_answer_free(&a);
}

struct path_case {
    const char *path;
    int status;
    const char *body; /* NULL: any */
};
static inline void expect_paths(const struct path_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        expect_get(cases[i].path, cases[i].status, cases[i].body);
    }
}

#define OK_DATA(data)  "{\"status\":\"success\",\"data\":" data "}"
#define BAD_DATA(text) "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"" text "\"}"

/* a{job="j"} 1.5 at T0 - 10 s and 2.5 at T0, b{job="j"} 7 at T0. */
static inline void write_some(void)
{
    write_sample("a", T0 - 10000, 1.5, 204, NULL);
    write_sample("a", T0, 2.5, 204, NULL);
    write_sample("b", T0, 7, 204, NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
