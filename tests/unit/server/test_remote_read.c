/* The wire of remote read beside protobuf-c: what the walker takes of a request, and what another
 * decoder reads of the answers. */
#include "tests/support/test.h"

#include "base/crc32c.h"
#include "compress/prom_chunk.h"
#include "ingest/proto/remote_read.pb-c.h"
#include "ingest/wire.h"
#include "server/remote/read_wire.h"
#include "tests/support/histogram_same.h"

#include <stdlib.h>

static struct tsdb_arena arena;
static struct tsdb_error err;

static int setup(void **state)
{
    (void)state;
    err = (struct tsdb_error){0};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tsdb_arena_deinit(&arena);
    return 0;
}

/* ---- requests ---- */

#define BYTES(text) ((ProtobufCBinaryData){sizeof(text) - 1, (uint8_t *)(uintptr_t)(text)})

static void read_request_decode__queries_matchers_hints__as_sent(void **state)
{
    (void)state;
    Rr__LabelMatcher m1 = RR__LABEL_MATCHER__INIT;
    Rr__LabelMatcher m2 = RR__LABEL_MATCHER__INIT;
    Rr__ReadHints hints = RR__READ_HINTS__INIT;
    Rr__Query q1 = RR__QUERY__INIT;
    Rr__Query q2 = RR__QUERY__INIT;
    Rr__ReadRequest r = RR__READ_REQUEST__INIT;
    m1.name = BYTES("__name__");
    m1.value = BYTES("up");
    m2.type = RR__LABEL_MATCHER__TYPE__NRE;
    m2.name = BYTES("job");
    m2.value = BYTES("a|b");
    Rr__LabelMatcher *matchers[] = {&m1, &m2};
    Rr__LabelMatcher *one[] = {&m1};
    hints.start_ms = -5;
    hints.end_ms = 70;
    hints.func = BYTES("series");
    hints.step_ms = 15;
    q1.start_timestamp_ms = 1000;
    q1.end_timestamp_ms = 2000;
    q1.matchers = matchers;
    q1.n_matchers = 2;
    q2.matchers = one;
    q2.n_matchers = 1;
    q2.hints = &hints;
    Rr__Query *queries[] = {&q1, &q2};
    Rr__ReadRequest__ResponseType types[] = {(Rr__ReadRequest__ResponseType)7,
                                             RR__READ_REQUEST__RESPONSE_TYPE__STREAMED_XOR_CHUNKS,
                                             RR__READ_REQUEST__RESPONSE_TYPE__SAMPLES};
    r.queries = queries;
    r.n_queries = 2;
    r.accepted_response_types = types;
    r.n_accepted_response_types = 3;
    uint8_t bytes[256];
    size_t len = rr__read_request__pack(&r, bytes);
    struct read_request got;
    assert_ok_err(read_request_decode(bytes, len, &arena, &got, &err), &err);
    assert_true(got.streamed); /* the first that is known */
    assert_int_equal(got.query_count, 2);
    assert_int_equal(got.queries[0].range.min_ms, 1000);
    assert_int_equal(got.queries[0].range.max_ms, 2000);
    assert_int_equal(got.queries[0].matcher_count, 2);
    assert_int_equal(got.queries[0].matchers[1].op, TSDB_MATCH_NRE);
    assert_memory_equal(got.queries[0].matchers[1].value, "a|b", 3);
    assert_false(got.queries[0].names_only);
    assert_int_equal(got.queries[1].range.min_ms, -5); /* of the hints */
    assert_int_equal(got.queries[1].range.max_ms, 70);
    assert_true(got.queries[1].names_only);
    /* Cut anywhere, it is refused or shorter, never read beyond. */
    for (size_t i = 0; i < len; i++) {
        uint8_t *copy = malloc(i + 1);
        memcpy(copy, bytes, i);
        enum tsdb_status status = read_request_decode(copy, i, &arena, &got, &err);
        assert_true(status == TSDB_OK || status == TSDB_INVALID);
        free(copy);
    }
}

static void read_request_decode__what_nobody_knows__is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *text;
    } cases[] = {
        {"\x12\x01\x09", 3, "any of the requested response types"},
        {"\x10\x05", 2, "any of the requested response types"},
        {"\x0a\x04\x1a\x02\x08\x04", 6, "invalid matcher type"},
        {"\x0a\x02\x1a\x05", 4, "malformed query"},
        {"\x0a\x04\x1a\x02\x10\x04", 6, "malformed matcher"},
        {"\x08\x01", 2, "malformed request"},
        {"\x0a\xff\xff\xff\xff\x0f", 6, "malformed request"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct read_request got;
        err = (struct tsdb_error){0};
        assert_int_equal(
            read_request_decode((const uint8_t *)cases[i].bytes, cases[i].len, &arena, &got, &err),
            TSDB_INVALID);
        assert_non_null(strstr(err.msg, cases[i].text));
    }
    struct read_request got;
    /* Hints in two pieces add up. */
    static const uint8_t split[] = "\x0a\x08\x22\x02\x18\x05\x22\x02\x20\x06";
    assert_ok(read_request_decode(split, sizeof split - 1, &arena, &got, &err));
    assert_int_equal(got.queries[0].range.min_ms, 5);
    assert_int_equal(got.queries[0].range.max_ms, 6);
    assert_ok(read_request_decode(NULL, 0, &arena, &got, &err));
    assert_int_equal(got.query_count, 0);
    assert_false(got.streamed);
}

/* ---- answers ---- */

#define SAMPLES 400u

struct data {
    int64_t t_ms[SAMPLES];
    uint64_t bits[SAMPLES];
    uint8_t kind[SAMPLES];
    struct tsdb_histogram histograms[SAMPLES];
    int64_t deltas[SAMPLES][2];
    double counts[SAMPLES][2];
    struct tsdb_columns columns;
};
static const struct tsdb_span spans[] = {{-3, 1}, {4, 1}};

/* Floats with a stale marker and a NaN, then integer histograms, then float histograms. */
static void fill(struct data *d)
{
    uint32_t histograms = 0;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        d->t_ms[i] = INT64_C(1700000000000) + (int64_t)i * 15000;
        d->kind[i] = i < 200   ? TSDB_SAMPLE_FLOAT
                     : i < 300 ? TSDB_SAMPLE_HISTOGRAM_INT
                               : TSDB_SAMPLE_HISTOGRAM_FLOAT;
        if (i < 200) {
            d->bits[i] = i == 7   ? TSDB_STALE_NAN_BITS
                         : i == 8 ? TSDB_NORMAL_NAN_BITS
                         : i == 9 ? 0
                                  : tsdb_double_bits(i * 1.25);
            continue;
        }
        bool is_float = i >= 300;
        int64_t *deltas = d->deltas[i];
        double *counts = d->counts[i];
        deltas[0] = 2 + i;
        deltas[1] = -1;
        counts[0] = 2 + i;
        counts[1] = 1 + i;
        d->bits[i] = histograms;
        d->histograms[histograms++] =
            (struct tsdb_histogram){.is_float = is_float,
                                    .schema = 3,
                                    .zero_threshold = 1e-3,
                                    .sum = i * 0.5,
                                    .count_int = is_float ? 0 : 2 * i + 3 + i,
                                    .zero_count_int = is_float ? 0 : i,
                                    .count_float = is_float ? 3.0 * i + 3 : 0,
                                    .zero_count_float = is_float ? i : 0,
                                    .positive_span_count = 2,
                                    .positive_bucket_count = 2,
                                    .positive_spans = spans,
                                    .positive_deltas = is_float ? NULL : deltas,
                                    .positive_counts = is_float ? counts : NULL};
    }
    d->columns = (struct tsdb_columns){.count = SAMPLES,
                                       .t_ms = d->t_ms,
                                       .bits = d->bits,
                                       .kind = d->kind,
                                       .histograms = d->histograms,
                                       .histogram_count = histograms};
}

static struct tsdb_labels merged_labels(void)
{
    static const struct tsdb_label own[] = {{"__name__", "x", 8, 1}, {"job", "j", 3, 1}};
    static const struct tsdb_label external[] = {
        {"cluster", "c", 7, 1}, {"job", "other", 3, 5}, {"zone", "z", 4, 1}};
    struct tsdb_labels out;
    assert_ok(read_labels_merge(&(struct tsdb_labels){own, 2}, &(struct tsdb_labels){external, 3},
                                &arena, &out));
    return out;
}

static void check_labels(Prom__Label **labels, size_t count)
{
    static const char *const want[][2] = {
        {"__name__", "x"}, {"cluster", "c"}, {"job", "j"}, {"zone", "z"}};
    assert_int_equal(count, TSDB_ARRAY_LEN(want));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(labels[i]->name.len, strlen(want[i][0]));
        assert_memory_equal(labels[i]->name.data, want[i][0], labels[i]->name.len);
        assert_int_equal(labels[i]->value.len, strlen(want[i][1]));
        assert_memory_equal(labels[i]->value.data, want[i][1], labels[i]->value.len);
    }
}

static void check_histogram(const Prom__Histogram *got, const struct tsdb_histogram *want)
{
    assert_int_equal(got->count_case, want->is_float ? PROM__HISTOGRAM__COUNT_COUNT_FLOAT
                                                     : PROM__HISTOGRAM__COUNT_COUNT_INT);
    assert_int_equal(got->zero_count_case, want->is_float
                                               ? PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_FLOAT
                                               : PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT);
    if (want->is_float) {
        assert_double_bits_equal(got->count_float, want->count_float);
        assert_int_equal(got->n_positive_counts, 2);
        assert_int_equal(got->n_positive_deltas, 0);
        assert_double_bits_equal(got->positive_counts[1], want->positive_counts[1]);
    } else {
        assert_int_equal(got->count_int, want->count_int);
        assert_int_equal(got->zero_count_int, want->zero_count_int);
        assert_int_equal(got->n_positive_deltas, 2);
        assert_int_equal(got->positive_deltas[1], -1);
    }
    assert_double_bits_equal(got->sum, want->sum);
    assert_double_bits_equal(got->zero_threshold, want->zero_threshold);
    assert_int_equal(got->schema, want->schema);
    assert_int_equal(got->n_positive_spans, 2);
    assert_int_equal(got->positive_spans[0]->offset, -3);
    assert_int_equal(got->positive_spans[1]->length, 1);
    assert_int_equal(got->n_negative_spans, 0);
}

static void read_result__every_kind__read_back_by_another_decoder(void **state)
{
    (void)state;
    static struct data d;
    fill(&d);
    struct tsdb_labels labels = merged_labels();
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    for (int i = 0; i < 2; i++) {
        size_t begin = read_result_begin(&out);
        if (i == 1) {
            read_result_series(&out, &labels, &d.columns);
        }
        read_result_end(&out, begin);
    }
    Rr__ReadResponse *r = rr__read_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->n_results, 2);
    assert_int_equal(r->results[0]->n_timeseries, 0);
    assert_int_equal(r->results[1]->n_timeseries, 1);
    const Rr__TimeSeries *s = r->results[1]->timeseries[0];
    check_labels(s->labels, s->n_labels);
    assert_int_equal(s->n_samples, 200);
    assert_int_equal(s->n_histograms, 200);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(s->samples[i]->timestamp, d.t_ms[i]);
        assert_int_equal(tsdb_double_bits(s->samples[i]->value), d.bits[i]);
        assert_int_equal(s->histograms[i]->timestamp, d.t_ms[200 + i]);
        check_histogram(s->histograms[i], &d.histograms[i]);
    }
    rr__read_response__free_unpacked(r, NULL);
    tsdb_buf_deinit(&out);
}

/* Compare one chunk's samples with those from *at on. */
static void check_chunk(const Rr__Chunk *c, const struct data *d, uint32_t *at)
{
    struct tsdb_columns got;
    assert_ok_err(prom_chunk_decode(c->type, c->data.data, c->data.len, &arena, &got, &err), &err);
    assert_true(got.count > 0 && got.count <= PROM_CHUNK_SAMPLES_DEFAULT);
    assert_int_equal(c->min_time_ms, d->t_ms[*at]);
    assert_int_equal(c->max_time_ms, d->t_ms[*at + got.count - 1]);
    for (uint32_t i = 0; i < got.count; i++) {
        uint32_t k = *at + i;
        assert_int_equal(got.t_ms[i], d->t_ms[k]);
        if (d->kind[k] == TSDB_SAMPLE_FLOAT) {
            assert_int_equal(c->type, PROM_CHUNK_XOR);
            assert_int_equal(got.bits[i], d->bits[k]);
        } else {
            assert_int_equal(c->type, d->kind[k] == TSDB_SAMPLE_HISTOGRAM_INT
                                          ? PROM_CHUNK_HISTOGRAM
                                          : PROM_CHUNK_FLOAT_HISTOGRAM);
            assert_true(
                test_histogram_same(&got.histograms[got.bits[i]], &d->histograms[d->bits[k]]));
        }
    }
    *at += got.count;
}

/* Frames until the end of the bytes; returns how many. */
static uint32_t check_frames(const struct tsdb_buf *out, const struct data *d, int64_t query_index,
                             uint32_t *samples)
{
    const uint8_t *p = out->data;
    const uint8_t *end = p + out->len;
    uint32_t frames = 0;
    while (p < end) {
        uint64_t len = 0;
        p = wire_varint(p, end, &len);
        assert_non_null(p);
        assert_true(len + 4 <= (uint64_t)(end - p));
        uint32_t crc = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        p += 4;
        assert_int_equal(crc, tsdb_crc32c_table(0, p, len));
        Rr__ChunkedReadResponse *r = rr__chunked_read_response__unpack(NULL, len, p);
        assert_non_null(r);
        assert_int_equal(r->query_index, query_index);
        assert_int_equal(r->n_chunked_series, 1);
        check_labels(r->chunked_series[0]->labels, r->chunked_series[0]->n_labels);
        for (size_t i = 0; i < r->chunked_series[0]->n_chunks; i++) {
            check_chunk(r->chunked_series[0]->chunks[i], d, samples);
        }
        rr__chunked_read_response__free_unpacked(r, NULL);
        p += len;
        frames++;
    }
    return frames;
}

static void read_stream__every_kind__frames_hold_it(void **state)
{
    (void)state;
    static struct data d;
    fill(&d);
    struct tsdb_labels labels = merged_labels();
    static const size_t frame_bytes[] = {1, 300, 1 << 20};
    uint32_t frames[3] = {0};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(frame_bytes); i++) {
        struct tsdb_buf out;
        struct read_stream s;
        uint32_t samples = 0;
        tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
        read_stream_init(&s, &out, frame_bytes[i]);
        struct tsdb_columns none = {0};
        assert_ok_err(read_stream_series(&s, 3, &labels, &none, &err), &err);
        assert_int_equal(out.len, 0); /* nothing to say: no frame */
        assert_ok_err(read_stream_series(&s, (int64_t)i, &labels, &d.columns, &err), &err);
        frames[i] = check_frames(&out, &d, (int64_t)i, &samples);
        assert_int_equal(samples, SAMPLES);
        read_stream_deinit(&s);
        tsdb_buf_deinit(&out);
    }
    assert_int_equal(frames[2], 1);
    assert_true(frames[0] > frames[1] && frames[1] > frames[2]); /* one chunk each at least */
}

/* Every allocation fails once: an error, or the whole answer; and nothing is left behind. */
static void read_wire__no_memory__is_an_error(void **state)
{
    (void)state;
    static struct data d;
    static const uint8_t request[] = "\x0a\x08\x1a\x06\x12\x01\x61\x1a\x01\x62\x10\x01";
    fill(&d);
    struct tsdb_labels labels = merged_labels();
    uint32_t failed = 0;
    bool whole = false;
    for (uint64_t nth = 1; !whole; nth++) {
        struct tsdb_arena small;
        struct tsdb_buf out;
        struct tsdb_buf frames;
        struct read_request r;
        struct read_stream s;
        tsdb_arena_init(&small, TSDB_MEM_OTHER, 64, NULL);
        tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
        tsdb_buf_init(&frames, TSDB_MEM_OTHER, 0);
        read_stream_init(&s, &frames, 300);
        tsdb_alloc_fail_nth(nth, 1);
        enum tsdb_status status =
            read_request_decode(request, sizeof request - 1, &small, &r, &err);
        read_result_series(&out, &labels, &d.columns);
        read_result_end(&out, 0);
        enum tsdb_status streamed = read_stream_series(&s, 0, &labels, &d.columns, &err);
        tsdb_alloc_fail_nth(0, 0);
        whole = status == TSDB_OK && !out.failed && streamed == TSDB_OK;
        failed += !whole;
        assert_true(whole || streamed != TSDB_OK); /* it is the last: memory fails for good */
        read_stream_deinit(&s);
        tsdb_buf_deinit(&frames);
        tsdb_buf_deinit(&out);
        tsdb_arena_deinit(&small);
    }
    assert_true(failed > 5);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(read_request_decode__queries_matchers_hints__as_sent, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(read_request_decode__what_nobody_knows__is_refused, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(read_result__every_kind__read_back_by_another_decoder, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(read_stream__every_kind__frames_hold_it, setup, teardown),
    cmocka_unit_test_setup_teardown(read_wire__no_memory__is_an_error, setup, teardown),
};

TEST_MAIN(tests)
