/* The pipeline from body to stored samples, over the real engine on a simulated disk, stepped by
 * hand. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "ingest/ingest.h"
#include "tests/support/ingest/encode.h"

#include <math.h>
#include <stdio.h>

#define T0             INT64_C(1700000000000)
#define INFLIGHT_BYTES (32u << 20)

struct fixture {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_clock_sim clock;
    struct tsdb *db;
    struct ingest *in;
    struct tsdb_arena arena;
};

static void open_db(struct fixture *f)
{
    struct tsdb_error err;
    struct tsdb_options o;
    tsdb_options_default(&o);
    o.fs = f->fs;
    o.clock = tsdb_clock_sim_table(&f->clock);
    o.owner_count = 2;
    o.manual_steps = true;
    o.retention_ms = 15 * 24 * INT64_C(3600000);
    o.wal_segment_bytes = 1u << 20;
    o.wal_epoch_bytes = 1u << 18;
    o.exemplars_max = 100;
    assert_ok_err(tsdb_open(&o, &f->db, &err), &err);
    struct ingest_options io;
    ingest_options_default(&io);
    io.clock = o.clock;
    io.decoded_bytes_max = 1u << 20;
    io.body_bytes_max = 1u << 20;
    io.inflight_bytes_max = INFLIGHT_BYTES;
    io.labels_max = 256;
    io.label_name_bytes_max = 100;
    io.label_value_bytes_max = 65536;
    assert_ok_err(ingest_create(&io, f->db, &f->in, &err), &err);
}

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    f.clock.wall_ms = T0 + 60000;
    f.clock.mono_ns = 1;
    assert_ok(tsdb_fs_sim_create(7, &f.sim, &f.fs));
    tsdb_arena_init(&f.arena, TSDB_MEM_OTHER, 1u << 16, NULL);
    open_db(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ingest_destroy(f->in);
    assert_ok(tsdb_close(f->db, NULL));
    tsdb_arena_deinit(&f->arena);
    tsdb_fs_sim_destroy(f->sim);
    return 0;
}

static void on_done(void *arg)
{
    *(int *)arg += 1;
}

static void run_steps(struct fixture *f, const int *done)
{
    for (int i = 0; i < 100 && *done == 0; i++) {
        for (uint32_t o = 0; o < tsdb_owner_count(f->db); o++) {
            tsdb_owner_step(f->db, o, f->clock.mono_ns);
        }
        tsdb_wal_write_step(f->db, f->clock.mono_ns);
        tsdb_wal_sync_step(f->db, f->clock.mono_ns);
    }
    assert_int_equal(*done, 1);
}

static struct ingest_answer send_body(struct fixture *f, const void *body, size_t len,
                                      enum ingest_protocol protocol, enum ingest_encoding encoding)
{
    struct tsdb_error err = {0};
    struct ingest_request *r = NULL;
    struct ingest_answer a = {0};
    int done = 0;
    a.status = ingest_begin(f->in, len, &r, &err);
    if (a.status == TSDB_OK) {
        a.status = ingest_body(r, body, len, &err);
    }
    if (a.status != TSDB_OK) {
        ingest_end(r);
        return a;
    }
    ingest_submit(r, protocol, encoding, on_done, &done);
    run_steps(f, &done);
    assert_true(ingest_answer(r, &a));
    ingest_end(r);
    return a;
}

static struct ingest_answer send_raw(struct fixture *f, struct tsdb_buf *raw,
                                     enum ingest_protocol protocol)
{
    struct tsdb_buf body;
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    assert_ok(encode_snappy(raw, &body));
    struct ingest_answer a = send_body(f, body.data, body.len, protocol, INGEST_ENCODING_SNAPPY);
    tsdb_buf_deinit(&body);
    return a;
}

static struct ingest_answer send_series(struct fixture *f, const struct encode_series *series,
                                        uint32_t count, enum ingest_protocol protocol)
{
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    if (protocol == INGEST_REMOTE_WRITE_1) {
        for (uint32_t i = 0; i < count; i++) {
            encode_v1_series(&series[i], &raw);
        }
    } else {
        assert_ok(encode_v2_request(series, count, &raw));
    }
    struct ingest_answer a = send_raw(f, &raw, protocol);
    tsdb_buf_deinit(&raw);
    return a;
}

static struct ingest_answer send_one(struct fixture *f, struct tsdb_label *labels,
                                     uint32_t label_count, int64_t t_ms, double v)
{
    struct encode_sample sample = {t_ms, tsdb_double_bits(v), 0};
    struct encode_series s = {
        .labels = {labels, label_count}, .samples = &sample, .sample_count = 1};
    return send_series(f, &s, 1, INGEST_REMOTE_WRITE_1);
}

/* The samples of the one series with this name. */
static struct tsdb_columns read_series(struct fixture *f, const char *name)
{
    struct tsdb_error err = {0};
    struct tsdb_request request;
    struct tsdb_clock clock = tsdb_clock_sim_table(&f->clock);
    tsdb_request_init(&request, &clock, TSDB_SCOPE_READ);
    struct tsdb_querier *q = NULL;
    struct tsdb_columns c = {0};
    assert_ok_err(tsdb_querier_open(f->db, &request, TSDB_TIME_ALL, &q, &err), &err);
    struct tsdb_matcher m = {TSDB_MATCH_EQ, "__name__", name, 8, (uint32_t)strlen(name)};
    struct tsdb_series_set set;
    assert_ok_err(tsdb_select(q, &m, 1, &set, &err), &err);
    assert_int_equal(set.count, 1);
    assert_ok_err(tsdb_series_read(q, set.refs[0], TSDB_TIME_ALL, &f->arena, &c, &err), &err);
    tsdb_querier_close(q);
    return c;
}

static void ingest_submit__floats_in_both_protocols__same_series_bit_for_bit(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label sorted[] = {tsdb_label_make("__name__", "m"), tsdb_label_make("a", "1"),
                                  tsdb_label_make("b", "2")};
    struct tsdb_label unsorted[] = {tsdb_label_make("b", "2"), tsdb_label_make("a", "1"),
                                    tsdb_label_make("__name__", "m")};
    uint64_t bits[] = {TSDB_STALE_NAN_BITS,   UINT64_C(0x7ff8dead00000001),
                       UINT64_C(1) << 63,     1,
                       tsdb_double_bits(0.1), 0};
    for (uint32_t i = 0; i < 6; i++) {
        struct encode_sample sample = {T0 + i * 1000, bits[i], i == 5 ? T0 - 5000 : 0};
        struct encode_series s = {
            .labels = {i % 2 ? unsorted : sorted, 3}, .samples = &sample, .sample_count = 1};
        struct ingest_answer a =
            send_series(f, &s, 1, i < 3 ? INGEST_REMOTE_WRITE_1 : INGEST_REMOTE_WRITE_2);
        assert_string_equal(a.text, "");
        assert_int_equal(a.status, TSDB_OK);
        assert_int_equal(a.samples_written, 1);
    }
    struct tsdb_columns c = read_series(f, "m");
    assert_int_equal(c.count, 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(c.t_ms[i], T0 + i * 1000);
        assert_int_equal(c.bits[i], bits[i]);
    }
    assert_non_null(c.start_ms);
    assert_int_equal(c.start_ms[5], T0 - 5000);
}

static void ingest_submit__known_series__found_by_alias(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m"), tsdb_label_make("a", "1")};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(send_one(f, labels, 2, T0 + i, i).status, TSDB_OK);
    }
    struct ingest_stats st;
    ingest_stats_read(f->in, &st);
    assert_int_equal(st.series_misses, 1);
    assert_int_equal(st.series_hits, 3);
    assert_int_equal(st.inflight_bytes, 0);
}

static void ingest_submit__bad_and_good_series__partial_commit(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label good[] = {tsdb_label_make("__name__", "good")};
    struct tsdb_label nameless[] = {tsdb_label_make("a", "1")};
    struct tsdb_label empty_name[] = {tsdb_label_make("__name__", "")};
    struct tsdb_label twice[] = {tsdb_label_make("__name__", "x"), tsdb_label_make("a", "1"),
                                 tsdb_label_make("a", "2")};
    struct tsdb_label utf8[] = {tsdb_label_make("__name__", "x"), tsdb_label_make("a", "\xff")};
    struct encode_sample sample = {T0, tsdb_double_bits(1), 0};
    struct encode_series s[] = {{.labels = {nameless, 1}, .samples = &sample, .sample_count = 1},
                                {.labels = {good, 1}, .samples = &sample, .sample_count = 1},
                                {.labels = {twice, 3}, .samples = &sample, .sample_count = 1},
                                {.labels = {utf8, 2}, .samples = &sample, .sample_count = 1},
                                {.labels = {empty_name, 1}, .samples = &sample, .sample_count = 1}};
    for (enum ingest_protocol p = INGEST_REMOTE_WRITE_1; p <= INGEST_REMOTE_WRITE_2; p++) {
        struct ingest_answer a = send_series(f, s, 5, p);
        assert_int_equal(a.status, TSDB_INVALID);
        assert_int_equal(a.samples_written, 1); /* the second time as an exact duplicate */
        assert_int_equal(a.rejected, 4);
    }
    assert_int_equal(read_series(f, "good").count, 1);
}

static void ingest_submit__conflict_old_and_new__refused_with_known_phrases(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    static const struct {
        int64_t t_ms;
        double v;
        const char *phrase;
    } cases[] = {{T0, 1, NULL},
                 {T0, 2, "duplicate sample for timestamp"},
                 {T0 + 60000 + TSDB_FUTURE_MS_MAX + 1, 1, "out of bounds"},
                 {T0 - 16 * 24 * INT64_C(3600000), 1, "out of bounds"},
                 {T0 - 1000, 5, NULL},
                 {T0, 1, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ingest_answer a = send_one(f, labels, 1, cases[i].t_ms, cases[i].v);
        assert_int_equal(a.status, cases[i].phrase ? TSDB_INVALID : TSDB_OK);
        if (cases[i].phrase) {
            assert_non_null(strstr(a.text, cases[i].phrase));
            assert_non_null(strstr(a.text, "(series m"));
        }
    }
    struct tsdb_columns c = read_series(f, "m");
    assert_int_equal(c.count, 2);
    assert_int_equal(c.t_ms[0], T0 - 1000);
    assert_int_equal(c.bits[1], tsdb_double_bits(1));
}

static void ingest_submit__histograms__stored_and_validated(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "h")};
    struct tsdb_span span = {0, 2};
    int64_t deltas[] = {1, 2};
    struct encode_histogram h[2] = {{.t_ms = T0}, {.t_ms = T0 + 1}};
    h[0].histogram = (struct tsdb_histogram){.schema = 2,
                                             .sum = 3.5,
                                             .count_int = 4,
                                             .positive_span_count = 1,
                                             .positive_spans = &span,
                                             .positive_bucket_count = 2,
                                             .positive_deltas = deltas,
                                             .zero_threshold = 1e-128};
    h[1].histogram = h[0].histogram;
    h[1].histogram.count_int = 5; /* the buckets say 4 */
    struct encode_series s = {.labels = {labels, 1}, .histograms = h, .histogram_count = 2};
    struct ingest_answer a = send_series(f, &s, 1, INGEST_REMOTE_WRITE_2);
    assert_int_equal(a.status, TSDB_INVALID);
    assert_int_equal(a.histograms_written, 1);
    assert_int_equal(a.rejected, 1);
    struct tsdb_columns c = read_series(f, "h");
    assert_int_equal(c.count, 1);
    assert_int_equal(c.kind[0], TSDB_SAMPLE_HISTOGRAM_INT);
    assert_int_equal(c.histograms[c.bits[0]].count_int, 4);
    assert_int_equal(c.histograms[c.bits[0]].positive_deltas[1], 2);
}

static void ingest_submit__malformed_bodies__refused_whole(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    struct encode_sample sample = {T0, 1, 0};
    struct encode_series s = {.labels = {labels, 1}, .samples = &sample, .sample_count = 1};
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    encode_v1_series(&s, &raw);
    raw.len--; /* truncated protobuf */
    assert_int_equal(send_raw(f, &raw, INGEST_REMOTE_WRITE_1).status, TSDB_INVALID);
    tsdb_buf_deinit(&raw);
    static const uint8_t garbage[] = {0x05, 0xff, 0xff, 0xff};
    assert_int_equal(
        send_body(f, garbage, sizeof garbage, INGEST_REMOTE_WRITE_1, INGEST_ENCODING_SNAPPY).status,
        TSDB_INVALID);
    static const uint8_t bomb[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0x00};
    enum tsdb_status status =
        send_body(f, bomb, sizeof bomb, INGEST_REMOTE_WRITE_1, INGEST_ENCODING_SNAPPY).status;
    assert_true(status == TSDB_INVALID || status == TSDB_LIMIT);
    struct tsdb_stats stats;
    tsdb_stats_read(f->db, &stats);
    assert_int_equal(stats.series, 0);
    assert_int_equal(send_body(f, "", 0, INGEST_REMOTE_WRITE_1, INGEST_ENCODING_SNAPPY).status,
                     TSDB_OK);
}

static void ingest_submit__plain_protobuf_without_encoding__taken(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "plain")};
    struct encode_sample sample = {T0, 1, 0};
    struct encode_series s = {.labels = {labels, 1}, .samples = &sample, .sample_count = 1};
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    encode_v1_series(&s, &raw);
    struct ingest_answer a =
        send_body(f, raw.data, raw.len, INGEST_REMOTE_WRITE_1, INGEST_ENCODING_NONE);
    assert_int_equal(a.status, TSDB_OK);
    assert_int_equal(a.samples_written, 1);
    tsdb_buf_deinit(&raw);
}

static void ingest_body__over_the_limit__refused(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    struct ingest_request *r = NULL;
    assert_int_equal(ingest_begin(f->in, (1u << 20) + 1, &r, &err), TSDB_LIMIT);
    assert_ok(ingest_begin(f->in, 0, &r, &err));
    static uint8_t chunk[1u << 16];
    for (int i = 0; i < 16; i++) {
        assert_ok(ingest_body(r, chunk, sizeof chunk, &err));
    }
    assert_int_equal(ingest_body(r, chunk, 1, &err), TSDB_LIMIT);
    ingest_end(r);
    struct ingest_stats st;
    ingest_stats_read(f->in, &st);
    assert_int_equal(st.inflight_bytes, 0);
}

/* ---- what senders of 2.0 do ---- */

static uint32_t exemplars_of(struct fixture *f, const char *name)
{
    struct tsdb_error err = {0};
    struct tsdb_request request;
    struct tsdb_clock clock = tsdb_clock_sim_table(&f->clock);
    tsdb_request_init(&request, &clock, TSDB_SCOPE_READ);
    struct tsdb_querier *q = NULL;
    assert_ok_err(tsdb_querier_open(f->db, &request, TSDB_TIME_ALL, &q, &err), &err);
    struct tsdb_matcher m = {TSDB_MATCH_EQ, "__name__", name, 8, (uint32_t)strlen(name)};
    struct tsdb_selector selector = {&m, 1};
    struct tsdb_exemplar_series *list = NULL;
    uint32_t count = 0;
    uint32_t n = 0;
    assert_ok_err(tsdb_exemplars(q, &selector, 1, TSDB_TIME_ALL, &f->arena, &list, &count, &err),
                  &err);
    for (uint32_t i = 0; i < count; i++) {
        n += list[i].count;
    }
    tsdb_querier_close(q);
    return n;
}

static void ingest_submit__exemplar_in_a_series_of_its_own__taken_where_the_series_is(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label m[] = {tsdb_label_make("__name__", "m")};
    struct tsdb_label stranger[] = {tsdb_label_make("__name__", "stranger")};
    struct tsdb_label trace[] = {tsdb_label_make("trace_id", "a")};
    struct encode_sample sample = {T0, 1, 0};
    struct tsdb_exemplar x = {.labels = {trace, 1}, .bits = 5, .t_ms = T0};
    struct encode_series s[] = {
        {.labels = {m, 1}, .exemplars = &x, .exemplar_count = 1},
        {.labels = {m, 1}, .samples = &sample, .sample_count = 1},
    };
    struct ingest_answer a = send_series(f, s, 2, INGEST_REMOTE_WRITE_2);
    assert_string_equal(a.text, "");
    assert_int_equal(a.samples_written, 1);
    assert_int_equal(a.exemplars_written, 1);
    x.t_ms++;
    a = send_series(f, s, 1, INGEST_REMOTE_WRITE_2);
    assert_int_equal(a.status, TSDB_OK);
    assert_int_equal(a.exemplars_written, 1);
    assert_int_equal(exemplars_of(f, "m"), 2);
    s[0].labels = (struct tsdb_labels){stranger, 1};
    a = send_series(f, s, 1, INGEST_REMOTE_WRITE_2);
    assert_int_equal(a.status, TSDB_OK);
    assert_int_equal(a.exemplars_written, 0);
    struct tsdb_stats stats;
    tsdb_stats_read(f->db, &stats);
    assert_int_equal(stats.series, 1);
    assert_int_equal(stats.rejected[TSDB_REJECT_EXEMPLAR], 1);
}

static bool copy_metadata(void *arg, const struct tsdb_metadata *m)
{
    snprintf(arg, 64, "%s|%.*s|%.*s", tsdb_metric_type_name(m->type), (int)m->help.len,
             m->help.len ? (const char *)m->help.data : "", (int)m->unit.len,
             m->unit.len ? (const char *)m->unit.data : "");
    return true;
}

/* Send one sample with the metadata; what the table then says. */
static const char *metadata_after(struct fixture *f, int64_t t_ms, const char *instance,
                                  enum tsdb_metric_type type, const char *help, const char *unit)
{
    static char text[64];
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m"),
                                  tsdb_label_make("instance", instance)};
    struct encode_sample sample = {t_ms, 1, 0};
    struct tsdb_metadata md = {.help = {(const uint8_t *)help, strlen(help)},
                               .unit = {(const uint8_t *)unit, strlen(unit)},
                               .type = type};
    struct encode_series s = {
        .labels = {labels, 2}, .samples = &sample, .sample_count = 1, .metadata = &md};
    assert_int_equal(send_series(f, &s, 1, INGEST_REMOTE_WRITE_2).status, TSDB_OK);
    text[0] = '\0';
    tsdb_metadata_visit(f->db, "m", copy_metadata, text);
    return text;
}

static void ingest_submit__metadata_of_2_0__changes_are_taken_and_empty_is_none(void **state)
{
    struct fixture *f = *state;
    enum tsdb_metric_type none = TSDB_METRIC_UNKNOWN;
    assert_string_equal(metadata_after(f, T0, "1", none, "", ""), "");
    assert_string_equal(metadata_after(f, T0 + 1, "1", TSDB_METRIC_COUNTER, "late", "s"),
                        "counter|late|s");
    assert_string_equal(metadata_after(f, T0 + 2, "1", TSDB_METRIC_GAUGE, "new", "s"),
                        "gauge|new|s");
    assert_string_equal(metadata_after(f, T0 + 3, "1", none, "", ""), "gauge|new|s");
    assert_string_equal(metadata_after(f, T0 + 3, "2", none, "", ""), "gauge|new|s");
    assert_string_equal(metadata_after(f, T0 + 4, "2", none, "only help", ""),
                        "unknown|only help|");
}

/* Metadata of a series `metric` with one sample, or one histogram; what is then known of `family`. */
static const char *family_after(struct fixture *f, const char *metric, enum tsdb_metric_type type,
                                bool native, const char *family)
{
    static char text[64];
    static int64_t t_ms = T0;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", metric)};
    struct encode_sample sample = {t_ms++, 1, 0};
    struct encode_histogram h = {.t_ms = t_ms};
    struct tsdb_metadata md = {.help = {(const uint8_t *)metric, strlen(metric)}, .type = type};
    struct encode_series s = {.labels = {labels, 1},
                              .samples = &sample,
                              .sample_count = !native,
                              .histograms = &h,
                              .histogram_count = native,
                              .metadata = &md};
    assert_int_equal(send_series(f, &s, 1, INGEST_REMOTE_WRITE_2).status, TSDB_OK);
    text[0] = '\0';
    tsdb_metadata_visit(f->db, family, copy_metadata, text);
    return text;
}

static void ingest_submit__metadata_of_histograms_and_summaries__under_the_family(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *metric, *family, *says;
        enum tsdb_metric_type type;
        bool native;
    } cases[] = {
        {"h_bucket", "h", "histogram|h_bucket|", TSDB_METRIC_HISTOGRAM, false},
        {"h_sum", "h", "histogram|h_sum|", TSDB_METRIC_HISTOGRAM, false},
        {"h_count", "h", "histogram|h_count|", TSDB_METRIC_HISTOGRAM, false},
        {"g_gcount", "g", "gaugehistogram|g_gcount|", TSDB_METRIC_GAUGEHISTOGRAM, false},
        {"s", "s", "summary|s|", TSDB_METRIC_SUMMARY, false},
        {"s_count", "s", "summary|s_count|", TSDB_METRIC_SUMMARY, false},
        {"c_sum", "c_sum", "counter|c_sum|", TSDB_METRIC_COUNTER, false},
        {"c_sum", "c", "", TSDB_METRIC_COUNTER, false},
        {"n_count", "n_count", "histogram|n_count|", TSDB_METRIC_HISTOGRAM, true},
        {"_sum", "_sum", "summary|_sum|", TSDB_METRIC_SUMMARY, false},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        assert_string_equal(
            family_after(f, cases[i].metric, cases[i].type, cases[i].native, cases[i].family),
            cases[i].says);
    }
}

static void ingest_submit__metadata_of_1_0_that_says_nothing__wipes_nothing(void **state)
{
    struct fixture *f = *state;
    char text[64] = "";
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    struct tsdb_metadata md = {.metric = {(const uint8_t *)"m", 1},
                               .help = {(const uint8_t *)"good", 4},
                               .type = TSDB_METRIC_GAUGE};
    encode_v1_metadata(&md, &raw);
    md = (struct tsdb_metadata){.metric = md.metric};
    encode_v1_metadata(&md, &raw);
    assert_int_equal(send_raw(f, &raw, INGEST_REMOTE_WRITE_1).status, TSDB_OK);
    tsdb_buf_deinit(&raw);
    tsdb_metadata_visit(f->db, "m", copy_metadata, text);
    assert_string_equal(text, "gauge|good|");
}

static void ingest_submit__created_timestamp_of_older_senders__start_of_samples(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    struct encode_sample samples[] = {{T0, 1, 0}, {T0 + 1, 2, T0 - 7}};
    struct encode_histogram h = {.t_ms = T0 + 2};
    struct encode_series s = {.labels = {labels, 1},
                              .samples = samples,
                              .sample_count = 2,
                              .histograms = &h,
                              .histogram_count = 1,
                              .created_ms = T0 - 5000};
    assert_int_equal(send_series(f, &s, 1, INGEST_REMOTE_WRITE_2).status, TSDB_OK);
    struct tsdb_columns c = read_series(f, "m");
    assert_int_equal(c.count, 3);
    assert_non_null(c.start_ms);
    assert_int_equal(c.start_ms[0], T0 - 5000);
    assert_int_equal(c.start_ms[1], T0 - 7); /* a sample's own wins */
    assert_int_equal(c.start_ms[2], T0 - 5000);
}

static void ingest_submit__refused_while_decoding__text_names_the_series(void **state)
{
    struct fixture *f = *state;
    static char long_value[70000];
    static struct tsdb_label many[301];
    static char names[300][8];
    memset(long_value, 'x', sizeof long_value - 1);
    many[0] = tsdb_label_make("__name__", "named");
    for (int i = 0; i < 300; i++) {
        snprintf(names[i], sizeof names[i], "l%03d", i);
        many[i + 1] = tsdb_label_make(names[i], "v");
    }
    struct tsdb_label twice[] = {tsdb_label_make("__name__", "named"), tsdb_label_make("a", "1"),
                                 tsdb_label_make("a", "2")};
    struct tsdb_label longer[] = {tsdb_label_make("__name__", "named"),
                                  tsdb_label_make("a", long_value)};
    struct tsdb_label long_name[] = {tsdb_label_make("__name__", "named"),
                                     {long_value, "v", 101, 1}};
    struct encode_sample sample = {T0, 1, 0};
    struct tsdb_span span = {0, 1};
    int64_t deltas[] = {1, 1};
    struct encode_histogram h = {.t_ms = T0,
                                 .histogram = {.count_int = 3,
                                               .positive_spans = &span,
                                               .positive_span_count = 1,
                                               .positive_deltas = deltas,
                                               .positive_bucket_count = 2}};
    struct encode_series s[] = {
        {.labels = {twice, 3}, .samples = &sample, .sample_count = 1},
        {.labels = {longer, 2}, .samples = &sample, .sample_count = 1},
        {.labels = {many, 301}, .samples = &sample, .sample_count = 1},
        {.labels = {twice, 2}, .histograms = &h, .histogram_count = 1},
        {.labels = {long_name, 2}, .samples = &sample, .sample_count = 1},
    };
    for (enum ingest_protocol p = INGEST_REMOTE_WRITE_1; p <= INGEST_REMOTE_WRITE_2; p++) {
        for (int i = 0; i < 5; i++) {
            struct ingest_answer a = send_series(f, &s[i], 1, p);
            assert_int_equal(a.status, TSDB_INVALID);
            assert_non_null(strstr(a.text, "(series named"));
            assert_true(i != 1 || strstr(a.text, "65536 are allowed (--storage.max-label-value"));
            assert_true(i != 2 || strstr(a.text, "256 are allowed (--storage.max-labels)"));
            assert_true(i != 4 || strstr(a.text, "100 are allowed (--storage.max-label-name"));
            assert_non_null(strstr(a.text, "1 samples of this request were refused"));
        }
    }
    struct ingest_stats st;
    ingest_stats_read(f->in, &st);
    assert_int_equal(st.rejected_labels, 8);
    assert_int_equal(st.rejected_histograms, 2);
}

static void ingest_submit__zero_threshold_that_is_none__refused(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "h")};
    double bad[] = {tsdb_bits_double(TSDB_NORMAL_NAN_BITS), HUGE_VAL, -1, -HUGE_VAL};
    for (int i = 0; i < 5; i++) {
        struct encode_histogram h = {
            .t_ms = T0, .histogram = {.zero_threshold = i < 4 ? bad[i] : 0.001, .sum = 1}};
        struct encode_series s = {.labels = {labels, 1}, .histograms = &h, .histogram_count = 1};
        struct ingest_answer a = send_series(f, &s, 1, INGEST_REMOTE_WRITE_2);
        assert_int_equal(a.status, i < 4 ? TSDB_INVALID : TSDB_OK);
        assert_int_equal(a.histograms_written, i < 4 ? 0 : 1);
    }
}

static void ingest_submit__message_of_the_other_version__refused(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    struct encode_sample sample = {T0, 1, 0};
    struct encode_series s = {.labels = {labels, 1}, .samples = &sample, .sample_count = 1};
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    encode_v1_series(&s, &raw);
    assert_int_equal(send_raw(f, &raw, INGEST_REMOTE_WRITE_2).status, TSDB_INVALID);
    tsdb_buf_clear(&raw);
    assert_ok(encode_v2_request(&s, 1, &raw));
    assert_int_equal(send_raw(f, &raw, INGEST_REMOTE_WRITE_1).status, TSDB_INVALID);
    tsdb_buf_deinit(&raw);
}

/* ---- imports ---- */

/* Submit `bytes` of text as a stretch, and go on until all of it is stored. False: *a is the answer. */
static bool import_stretch(struct fixture *f, struct ingest_request *r, const uint8_t *text,
                           size_t bytes, enum ingest_protocol protocol, struct ingest_answer *a)
{
    struct tsdb_error err = {0};
    int done = 0;
    assert_ok_err(ingest_body(r, text, bytes, &err), &err);
    ingest_submit_stretch(r, protocol, INGEST_ENCODING_NONE, on_done, &done);
    for (;; done = 0) {
        run_steps(f, &done);
        bool rests = ingest_rests(r);
        if (ingest_answer(r, a)) {
            return false;
        }
        if (rests) {
            return true;
        }
    }
}

static size_t stretch_bytes; /* of import_text; 0: all at once */

/* Send text and go on until the last piece is answered. */
static struct ingest_answer import_text(struct fixture *f, const struct tsdb_buf *text,
                                        enum ingest_protocol protocol, int *out_pieces)
{
    struct tsdb_error err = {0};
    struct ingest_request *r = NULL;
    struct ingest_answer a;
    int done = 0;
    size_t at = 0;
    *out_pieces = 1;
    assert_ok_err(ingest_begin(f->in, 0, &r, &err), &err);
    for (; stretch_bytes > 0 && at + stretch_bytes < text->len; at += stretch_bytes) {
        if (!import_stretch(f, r, text->data + at, stretch_bytes, protocol, &a)) {
            ingest_end(r);
            return a;
        }
    }
    assert_ok_err(ingest_body(r, text->data + at, text->len - at, &err), &err);
    ingest_submit(r, protocol, INGEST_ENCODING_NONE, on_done, &done);
    run_steps(f, &done);
    for (done = 0; !ingest_answer(r, &a); done = 0) {
        run_steps(f, &done);
        ++*out_pieces;
    }
    ingest_end(r);
    return a;
}

static void ingest_submit__import_of_many_pieces__all_stored_and_summed(void **state)
{
    struct fixture *f = *state;
    enum {
        LINES = 40001
    };
    struct tsdb_buf text;
    int pieces = 0;
    tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
    for (int i = 0; i < LINES; i++) { /* ten series; a line of each piece is wrong */
        tsdb_buf_printf(&text, i == 7 || i == 35000 ? "m{s=\"%d\" %d\n" : "m{s=\"%d\"} %d %lld\n",
                        i % 10, i % 10, (long long)(T0 - LINES + i));
    }
    for (int round = 0; round < 2; round++) { /* the second time by aliases, and nothing is new */
        struct ingest_answer a = import_text(f, &text, INGEST_TEXT, &pieces);
        assert_int_equal(pieces, 2);
        assert_int_equal(a.status, TSDB_INVALID);
        assert_int_equal(a.samples_written, LINES - 2);
        assert_int_equal(a.rejected, 2);
        assert_int_equal(a.reason, TSDB_REJECT_SYNTAX);
        assert_int_equal(a.lines, LINES);
        assert_string_equal(a.text, "line 8, column 9: expected a comma or }; 2 samples of this "
                                    "request were refused, the others stored");
    }
    tsdb_buf_deinit(&text);
    struct ingest_stats st;
    ingest_stats_read(f->in, &st);
    assert_int_equal(st.rejected_syntax, 4);
    assert_int_equal(st.samples, 2 * (LINES - 2));
}

/* However the body is cut, lines, columns and counts are the same, and a line is never read in halves. */
static void ingest_submit_stretch__cut_anywhere__as_in_one_piece(void **state)
{
    struct fixture *f = *state;
    static const size_t cuts[] = {1, 2, 3, 17, 64, 1000};
    static const char text[] =
        "# HELP m größe\nm{s=\"1\"} 1 1700000000000\n\r\n  \n"
        "m{s=\"2\",w=\"a \\\"b\\\" c\"} 2e0 1700000000000\r\n"
        "m{s=\"3\" 3\nm{s=\"4\"} 4 1700000000000\nm{s=\"5\"} 5 1700000000000";
    struct tsdb_buf buf;
    int pieces = 0;
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_str(&buf, text);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cuts); i++) {
        stretch_bytes = cuts[i];
        struct ingest_answer a = import_text(f, &buf, INGEST_TEXT, &pieces);
        assert_int_equal(a.samples_written, 4);
        assert_int_equal(a.rejected, 1);
        assert_int_equal(a.lines, 8);
        assert_non_null(strstr(a.text, "line 6, column 9: "));
    }
    stretch_bytes = 0;
    tsdb_buf_deinit(&buf);
}

static void ingest_submit__import__metadata_time_exemplars_and_refused_series(void **state)
{
    struct fixture *f = *state;
    static const char openmetrics[] = "# TYPE h histogram\n# UNIT h s\n# HELP h how \\\\ long\n"
                                      "h_bucket{le=\"1\"} 5 1699999999.5 # {trace_id=\"q\"} 0.5\n"
                                      "now 7\n# EOF\n";
    static const char refused[] = "ok 1 1700000000000\n{a=\"b\"} 1\nold 1 1000\n";
    struct tsdb_buf text;
    char metadata[64] = "";
    int pieces = 0;
    tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_str(&text, openmetrics);
    struct ingest_answer a = import_text(f, &text, INGEST_OPENMETRICS, &pieces);
    assert_string_equal(a.text, "");
    assert_int_equal(a.samples_written, 2);
    assert_int_equal(a.exemplars_written, 1);
    tsdb_metadata_visit(f->db, "h", copy_metadata, metadata);
    assert_string_equal(metadata, "histogram|how \\ long|s");
    assert_int_equal(read_series(f, "h_bucket").t_ms[0], T0 - 500);
    assert_int_equal(read_series(f, "now").t_ms[0], f->clock.wall_ms); /* no time: when it came */
    tsdb_buf_clear(&text);
    tsdb_buf_put_str(&text, refused);
    a = import_text(f, &text, INGEST_TEXT, &pieces);
    assert_int_equal(a.status, TSDB_INVALID);
    assert_int_equal(a.samples_written, 1);
    assert_int_equal(a.rejected, 2);
    assert_non_null(strstr(a.text, "line 2: "));
    assert_non_null(strstr(a.text, "series without __name__ (series {a=\"b\"})"));
    tsdb_buf_deinit(&text);
}

/* ---- memory ---- */

/* Clients that say how much they will send, and send nothing. */
static void ingest_begin__announced_and_not_sent__holds_nothing(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    struct ingest_request *idle[64];
    uint64_t before = tsdb_mem_used(TSDB_MEM_INGEST);
    for (int i = 0; i < 64; i++) { /* 64 MiB in all, twice the budget */
        assert_ok_err(ingest_begin(f->in, 1u << 20, &idle[i], &err), &err);
    }
    assert_true(tsdb_mem_used(TSDB_MEM_INGEST) - before < 3u << 20);
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    assert_int_equal(send_one(f, labels, 1, T0, 1).status, TSDB_OK);
    for (int i = 0; i < 64; i++) {
        ingest_end(idle[i]);
    }
}

/* `part` again and again until the body is full: the least bytes for the most of one thing. */
static void put_repeated(struct tsdb_buf *raw, const void *part, size_t len, size_t bytes)
{
    while (raw->len + len <= bytes) {
        tsdb_buf_put(raw, part, len);
    }
}

/* A TimeSeries of 1.0 around fields: head is its tag, its length has 3 bytes. */
static void put_series_of(struct tsdb_buf *raw, const void *labels, size_t labels_len,
                          const void *field, size_t field_len, size_t bytes)
{
    size_t times = (bytes - labels_len - 16) / field_len;
    tsdb_buf_put(raw, "\x0a", 1);
    tsdb_buf_put_uvarint(raw, labels_len + times * field_len);
    tsdb_buf_put(raw, labels, labels_len);
    for (size_t i = 0; i < times; i++) {
        tsdb_buf_put(raw, field, field_len);
    }
}

/* Send it, and say what all of the pipeline held at its most, in bytes of decoded body. */
static double send_hostile(struct fixture *f, struct tsdb_buf *raw, enum ingest_protocol protocol,
                           struct ingest_answer *out)
{
    struct tsdb_buf body;
    struct tsdb_error err = {0};
    struct ingest_request *r = NULL;
    int done = 0;
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    assert_ok(encode_snappy(raw, &body));
    uint64_t before = tsdb_mem_used(TSDB_MEM_INGEST);
    assert_ok_err(ingest_begin(f->in, body.len, &r, &err), &err);
    assert_ok_err(ingest_body(r, body.data, body.len, &err), &err);
    ingest_submit(r, protocol, INGEST_ENCODING_SNAPPY, on_done, &done);
    uint64_t held = tsdb_mem_used(TSDB_MEM_INGEST) - before;
    run_steps(f, &done);
    assert_true(ingest_answer(r, out));
    ingest_end(r);
    double factor = (double)held / (double)raw->len;
    tsdb_buf_deinit(&body);
    tsdb_buf_deinit(raw);
    tsdb_buf_init(raw, TSDB_MEM_OTHER, 0);
    return factor;
}

static const char hostile_labels[] = "\x0a\x0d\x0a\x08__name__\x12\x01m";

static void ingest_submit__a_million_empty_parts__held_in_relation_to_the_body(void **state)
{
    struct fixture *f = *state;
    struct ingest_answer a;
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    put_series_of(&raw, hostile_labels, sizeof hostile_labels - 1, "\x1a\x00", 2, 1000000);
    assert_true(send_hostile(f, &raw, INGEST_REMOTE_WRITE_1, &a) < 16); /* exemplars */
    put_repeated(&raw, "\x1a\x00", 2, 1000000);
    assert_true(send_hostile(f, &raw, INGEST_REMOTE_WRITE_1, &a) < 4); /* metadata */
    put_repeated(&raw, "\x0a\x00", 2, 1000000);
    assert_true(send_hostile(f, &raw, INGEST_REMOTE_WRITE_1, &a) < 4); /* series */
    /* 2.0: "", __name__, m; exemplars, each of a series of its own that is known */
    tsdb_buf_put(&raw, "\x22\x00\x22\x08__name__\x22\x01m", 15);
    put_repeated(&raw, "\x2a\x06\x0a\x02\x01\x02\x22\x00", 8, 1000000);
    assert_true(send_hostile(f, &raw, INGEST_REMOTE_WRITE_2, &a) < 24);
    tsdb_buf_deinit(&raw);
}

/* Empty samples of one series: 2 bytes each and 32 and more in memory. The bound is the account. */
static void ingest_submit__more_memory_than_a_request_may_hold__too_large(void **state)
{
    struct fixture *f = *state;
    struct ingest_answer a;
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    uint64_t before = tsdb_mem_used(TSDB_MEM_INGEST);
    put_series_of(&raw, hostile_labels, sizeof hostile_labels - 1, "\x12\x00", 2, 1000000);
    assert_true(send_hostile(f, &raw, INGEST_REMOTE_WRITE_1, &a) * 1e6 <= INFLIGHT_BYTES / 2);
    assert_int_equal(a.status, TSDB_LIMIT);
    assert_non_null(strstr(a.text, "--web.max-inflight-bytes"));
    tsdb_buf_deinit(&raw);
    struct ingest_stats st;
    ingest_stats_read(f->in, &st);
    assert_int_equal(st.inflight_bytes, 0);
    assert_true(tsdb_mem_used(TSDB_MEM_INGEST) - before <= INFLIGHT_BYTES / 4); /* the pool */
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    assert_int_equal(send_one(f, labels, 1, T0, 1).status, TSDB_OK);
}

/* Eight requests at once, then one at a time: one is kept, until none comes. */
static void ingest_trim__pool_after_a_burst__what_was_not_needed_goes(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    struct ingest_request *r[8];
    struct ingest_stats st;
    uint64_t empty = tsdb_mem_used(TSDB_MEM_INGEST);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(r); i++) {
        assert_ok_err(ingest_begin(f->in, 0, &r[i], &err), &err);
        assert_ok_err(ingest_body(r[i], "x", 1, &err), &err);
    }
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(r); i++) {
        ingest_end(r[i]);
    }
    ingest_stats_read(f->in, &st);
    uint64_t each = st.pool_bytes / TSDB_ARRAY_LEN(r);
    assert_true(each > 0);
    ingest_trim(f->in); /* all were needed */
    ingest_stats_read(f->in, &st);
    assert_int_equal(st.pool_bytes, 8 * each);
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    assert_int_equal(send_one(f, labels, 1, T0, 1).status, TSDB_OK);
    ingest_trim(f->in);
    ingest_stats_read(f->in, &st);
    assert_true(st.pool_bytes >= each && tsdb_mem_used(TSDB_MEM_INGEST) > empty);
    uint64_t one = st.pool_bytes;
    ingest_trim(f->in);
    ingest_stats_read(f->in, &st);
    assert_true(one > 0);
    assert_int_equal(st.pool_bytes, 0);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INGEST), empty);
    assert_int_equal(send_one(f, labels, 1, T0 + 1, 1).status, TSDB_OK);
}

/* A sender whose bodies come slowly, and do not end, holds its half and no more: others are served. */
static void ingest_body__slow_sender_holds_its_share__others_go_on(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    struct ingest_request *slow[64];
    static const uint8_t half_a_body[1u << 19];
    uint32_t held = 0;
    uint32_t busy = 0;
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(slow); i++) { /* 32 MiB: all that there is */
        assert_ok_err(ingest_begin(f->in, 0, &slow[i], &err), &err);
        ingest_sender_set(slow[i], "192.0.2.1");
        enum tsdb_status status = ingest_body(slow[i], half_a_body, sizeof half_a_body, &err);
        held += status == TSDB_OK;
        busy += status == TSDB_BUSY;
    }
    assert_int_equal(held, INFLIGHT_BYTES / 2 / sizeof half_a_body);
    assert_int_equal(held + busy, TSDB_ARRAY_LEN(slow));
    struct ingest_request *r = NULL;
    assert_ok_err(ingest_begin(f->in, 0, &r, &err), &err);
    ingest_sender_set(r, "192.0.2.2");
    assert_ok_err(ingest_body(r, half_a_body, sizeof half_a_body, &err), &err);
    ingest_end(r);
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    assert_int_equal(send_one(f, labels, 1, T0, 1).status, TSDB_OK);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(slow); i++) {
        ingest_end(slow[i]);
    }
    struct ingest_stats st;
    ingest_stats_read(f->in, &st);
    assert_int_equal(st.inflight_bytes, 0);
    assert_ok_err(ingest_begin(f->in, 0, &r, &err), &err); /* and has it again when they are over */
    ingest_sender_set(r, "192.0.2.1");
    assert_ok_err(ingest_body(r, half_a_body, sizeof half_a_body, &err), &err);
    ingest_end(r);
}

/* Others hold the budget: the same request is refused for now, not for good. */
static void ingest_submit__budget_held_by_others__busy(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    struct ingest_request *others[64] = {NULL};
    static uint8_t chunk[1u << 20];
    enum tsdb_status status = TSDB_OK;
    int n = 0;
    for (; n < 64 && status == TSDB_OK; n++) {
        assert_ok_err(ingest_begin(f->in, 0, &others[n], &err), &err);
        status = ingest_body(others[n], chunk, sizeof chunk, &err);
    }
    assert_int_equal(status, TSDB_BUSY);
    assert_true(n >= 16);
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "m")};
    assert_int_equal(send_one(f, labels, 1, T0, 1).status, TSDB_BUSY);
    while (n > 0) {
        ingest_end(others[--n]);
    }
    assert_int_equal(send_one(f, labels, 1, T0, 1).status, TSDB_OK);
    struct ingest_stats st;
    ingest_stats_read(f->in, &st);
    assert_true(st.busy >= 2);
}

static void ingest_add__self_scrape__stored(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    struct ingest_request *r = NULL;
    struct tsdb_label up[] = {tsdb_label_make("job", "tidalite"),
                              tsdb_label_make("__name__", "up")};
    struct tsdb_labels labels = {up, 2};
    int done = 0;
    assert_ok(ingest_begin(f->in, 0, &r, &err));
    assert_ok_err(ingest_add(r, &labels, T0, tsdb_double_bits(1), &err), &err);
    ingest_submit_added(r, on_done, &done);
    run_steps(f, &done);
    struct ingest_answer a;
    assert_true(ingest_answer(r, &a));
    assert_int_equal(a.status, TSDB_OK);
    assert_int_equal(a.samples_written, 1);
    ingest_end(r);
    assert_int_equal(read_series(f, "up").count, 1);
}

static void ingest_submit__many_series__survive_a_kill(void **state)
{
    struct fixture *f = *state;
    enum {
        N = 500
    };
    static struct encode_series s[N];
    static struct encode_sample samples[N];
    static struct tsdb_label labels[N][2];
    static char values[N][16];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(values[i], sizeof values[i], "v%d", i);
            labels[i][0] = tsdb_label_make("__name__", values[i]);
            labels[i][1] = tsdb_label_make("i", values[i]);
            samples[i] =
                (struct encode_sample){T0 + round * 1000, tsdb_double_bits(i * 1.5 + round), 0};
            s[i] = (struct encode_series){
                .labels = {labels[i], 2}, .samples = &samples[i], .sample_count = 1};
        }
        struct ingest_answer a = send_series(f, s, N, INGEST_REMOTE_WRITE_1);
        assert_int_equal(a.status, TSDB_OK);
        assert_int_equal(a.samples_written, N);
    }
    ingest_destroy(f->in);
    tsdb_abandon(f->db);
    tsdb_fs_sim_kill(f->sim);
    open_db(f);
    for (int i = 0; i < N; i++) {
        struct tsdb_columns c = read_series(f, values[i]);
        assert_int_equal(c.count, 3);
        assert_int_equal(c.bits[2], tsdb_double_bits(i * 1.5 + 2));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
/* ---- after a start ---- */

static void put_two(struct tsdb_buf *raw, int64_t t_ms)
{
    struct tsdb_label a[] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "node")};
    static char wide[300];
    memset(wide, 'w', sizeof wide - 1);
    struct tsdb_label b[] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "node"),
                             tsdb_label_make("wide", wide)};
    struct encode_sample sample = {t_ms, tsdb_double_bits(1), 0};
    struct encode_series s = {.labels = {a, 2}, .samples = &sample, .sample_count = 1};
    encode_v1_series(&s, raw);
    s.labels = (struct tsdb_labels){b, 3};
    encode_v1_series(&s, raw);
}

/* Senders that spell a series otherwise reach the same one, by an alias of their own. */
static void ingest_submit__labels_in_other_orders_and_2_0__one_series(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label labels[][3] = {
        {tsdb_label_make("__name__", "up"), tsdb_label_make("a", "1"), tsdb_label_make("b", "2")},
        {tsdb_label_make("b", "2"), tsdb_label_make("__name__", "up"), tsdb_label_make("a", "1")},
        {tsdb_label_make("a", "1"), tsdb_label_make("b", "2"), tsdb_label_make("__name__", "up")},
    };
    struct tsdb_stats st;
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            struct encode_sample sample = {T0 + (int64_t)(round * 4 + i), tsdb_double_bits(1), 0};
            struct encode_series s = {
                .labels = {labels[i % 3], 3}, .samples = &sample, .sample_count = 1};
            tsdb_buf_clear(&raw);
            if (i < 3) {
                encode_v1_series(&s, &raw);
            } else {
                assert_ok(encode_v2_request(&s, 1, &raw));
            }
            assert_ok(
                send_raw(f, &raw, i < 3 ? INGEST_REMOTE_WRITE_1 : INGEST_REMOTE_WRITE_2).status);
            tsdb_stats_read(f->db, &st);
            assert_int_equal(st.series, 1);
            assert_int_equal(st.aliases, round == 0 ? i + 1 : 4);
            assert_int_equal(st.alias_misses, round == 0 ? i + 1 : 4);
        }
    }
    assert_int_equal(st.samples_appended, 8);
    tsdb_buf_deinit(&raw);
}

/* The first scrape after a start finds what was loaded, as if it were not the first. */
static void tsdb_alias_step__after_a_start__first_scrape_hits(void **state)
{
    struct fixture *f = *state;
    struct tsdb_stats before;
    struct tsdb_stats after;
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    put_two(&raw, T0);
    assert_ok(send_raw(f, &raw, INGEST_REMOTE_WRITE_1).status);
    ingest_destroy(f->in);
    assert_ok(tsdb_close(f->db, NULL));
    open_db(f);
    tsdb_stats_read(f->db, &before);
    assert_int_equal(before.aliases, 0);
    size_t looked_at = 0;
    for (size_t n; (n = tsdb_alias_step(f->db)) > 0;) {
        looked_at += n;
    }
    assert_int_equal(looked_at, 2);
    tsdb_stats_read(f->db, &before);
    assert_int_equal(before.aliases, 2);
    tsdb_buf_clear(&raw);
    put_two(&raw, T0 + 1000);
    assert_ok(send_raw(f, &raw, INGEST_REMOTE_WRITE_1).status);
    tsdb_stats_read(f->db, &after);
    assert_int_equal(after.aliases, 2);
    assert_int_equal(after.alias_misses, before.alias_misses);
    assert_int_equal(after.series, 2);
    assert_int_equal(after.samples_appended - before.samples_appended, 2);
    tsdb_buf_deinit(&raw);
}

static const struct CMUnitTest tests[] = {
    CASE(ingest_submit__floats_in_both_protocols__same_series_bit_for_bit),
    CASE(ingest_submit__known_series__found_by_alias),
    CASE(ingest_submit__bad_and_good_series__partial_commit),
    CASE(ingest_submit__conflict_old_and_new__refused_with_known_phrases),
    CASE(ingest_submit__histograms__stored_and_validated),
    CASE(ingest_submit__malformed_bodies__refused_whole),
    CASE(ingest_submit__plain_protobuf_without_encoding__taken),
    CASE(ingest_body__over_the_limit__refused),
    CASE(ingest_submit__exemplar_in_a_series_of_its_own__taken_where_the_series_is),
    CASE(ingest_submit__metadata_of_2_0__changes_are_taken_and_empty_is_none),
    CASE(ingest_submit__metadata_of_histograms_and_summaries__under_the_family),
    CASE(ingest_submit__metadata_of_1_0_that_says_nothing__wipes_nothing),
    CASE(ingest_submit__created_timestamp_of_older_senders__start_of_samples),
    CASE(ingest_submit__refused_while_decoding__text_names_the_series),
    CASE(ingest_submit__zero_threshold_that_is_none__refused),
    CASE(ingest_submit__message_of_the_other_version__refused),
    CASE(ingest_submit__import_of_many_pieces__all_stored_and_summed),
    CASE(ingest_submit_stretch__cut_anywhere__as_in_one_piece),
    CASE(ingest_submit__import__metadata_time_exemplars_and_refused_series),
    CASE(ingest_begin__announced_and_not_sent__holds_nothing),
    CASE(ingest_submit__a_million_empty_parts__held_in_relation_to_the_body),
    CASE(ingest_submit__more_memory_than_a_request_may_hold__too_large),
    CASE(ingest_trim__pool_after_a_burst__what_was_not_needed_goes),
    CASE(ingest_body__slow_sender_holds_its_share__others_go_on),
    CASE(ingest_submit__budget_held_by_others__busy),
    CASE(ingest_add__self_scrape__stored),
    CASE(ingest_submit__many_series__survive_a_kill),
    CASE(ingest_submit__labels_in_other_orders_and_2_0__one_series),
    CASE(tsdb_alias_step__after_a_start__first_scrape_hits),
};
TEST_MAIN(tests)
