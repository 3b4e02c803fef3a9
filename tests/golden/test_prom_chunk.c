/* Chunks that Prometheus 3.14 wrote (its tsdb/chunkenc, all six encodings) and what it reads in them:
 * tests/golden/prom_chunk/v1/chunks.txt. Ours must read the same, and write the same bytes where it
 * writes at all. Run from the repository's root.
 *
 *   chunk ENCODING HEX
 *   f TIME VALUE START
 *   i TIME START HINT SCHEMA THRESHOLD COUNT ZERO SUM spans spans buckets custom     integer
 *   g ...                                                                            float
 * spans and custom are a count and that many; all floats are bits. */
#include "tests/support/test.h"

#include "compress/prom_chunk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define GOLDEN_PATH "tests/golden/prom_chunk/v1/chunks.txt"
#define LINE_MAX_   65536

static char line[LINE_MAX_];
static uint8_t chunk[LINE_MAX_ / 2];

static size_t hex(const char *s, uint8_t *out)
{
    size_t n = 0;
    unsigned v;
    while (sscanf(s + 2 * n, "%2x", &v) == 1 && s[2 * n] != '\n') {
        out[n++] = (uint8_t)v;
    }
    return n;
}

static void print_spans(struct tsdb_buf *b, const struct tsdb_span *spans, uint32_t n)
{
    tsdb_buf_printf(b, " %u", n);
    for (uint32_t i = 0; i < n; i++) {
        tsdb_buf_printf(b, " %d %u", spans[i].offset, spans[i].length);
    }
}

static void print_buckets(struct tsdb_buf *b, const int64_t *deltas, const double *counts,
                          uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (counts) {
            tsdb_buf_printf(b, " %016" PRIx64, tsdb_double_bits(counts[i]));
        } else {
            tsdb_buf_printf(b, " %" PRId64, deltas[i]);
        }
    }
}

static void print_histogram(struct tsdb_buf *b, const struct tsdb_histogram *h)
{
    tsdb_buf_printf(b, " %d %d %016" PRIx64, (int)h->reset_hint, h->schema,
                    tsdb_double_bits(h->zero_threshold));
    if (h->is_float) {
        tsdb_buf_printf(b, " %016" PRIx64 " %016" PRIx64, tsdb_double_bits(h->count_float),
                        tsdb_double_bits(h->zero_count_float));
    } else {
        tsdb_buf_printf(b, " %" PRIu64 " %" PRIu64, h->count_int, h->zero_count_int);
    }
    tsdb_buf_printf(b, " %016" PRIx64, tsdb_double_bits(h->sum));
    print_spans(b, h->positive_spans, h->positive_span_count);
    print_spans(b, h->negative_spans, h->negative_span_count);
    print_buckets(b, h->positive_deltas, h->positive_counts, h->positive_bucket_count);
    print_buckets(b, h->negative_deltas, h->negative_counts, h->negative_bucket_count);
    tsdb_buf_printf(b, " %u", h->custom_count);
    for (uint32_t i = 0; i < h->custom_count; i++) {
        tsdb_buf_printf(b, " %016" PRIx64, tsdb_double_bits(h->custom_values[i]));
    }
}

/* Sample i, as the file has it. */
static void print_sample(struct tsdb_buf *b, const struct tsdb_columns *c, uint32_t i)
{
    int64_t start = c->start_ms ? c->start_ms[i] : 0;
    tsdb_buf_clear(b);
    if (!c->kind) {
        tsdb_buf_printf(b, "f %" PRId64 " %016" PRIx64 " %" PRId64, c->t_ms[i], c->bits[i], start);
    } else {
        const struct tsdb_histogram *h = &c->histograms[c->bits[i]];
        tsdb_buf_printf(b, "%c %" PRId64 " %" PRId64, h->is_float ? 'g' : 'i', c->t_ms[i], start);
        print_histogram(b, h);
    }
    tsdb_buf_put(b, "\n", 2);
    assert_false(b->failed);
}

struct wanted {
    const uint8_t *data;
    size_t len;
    uint32_t chunks;
};

static enum tsdb_status compare(void *ctx, const struct prom_chunk *c, struct tsdb_error *err)
{
    struct wanted *w = ctx;
    (void)err;
    assert_int_equal(c->len, w->len);
    assert_memory_equal(c->data, w->data, w->len);
    w->chunks++;
    return TSDB_OK;
}

/* The header of the first sample is what the reader does not tell and the writer knew. */
static void write_again(unsigned encoding, const uint8_t *data, size_t len, struct tsdb_columns c)
{
    struct wanted w = {.data = data, .len = len};
    struct prom_chunk_sink sink = {compare, &w};
    struct prom_chunk_writer *writer;
    struct tsdb_histogram first;
    assert_ok(prom_chunk_writer_create(PROM_CHUNK_SAMPLES_MAX, SIZE_MAX, sink, &writer));
    for (uint32_t i = 0; i < c.count; i++) {
        if (encoding == PROM_CHUNK_XOR) {
            assert_ok(prom_chunk_writer_float(writer, c.t_ms[i], c.bits[i], NULL));
            continue;
        }
        first = c.histograms[c.bits[i]];
        if (i == 0 && data[2] >> 6 >= 2) {
            first.reset_hint = data[2] >> 6 == 2 ? TSDB_RESET_YES : TSDB_RESET_GAUGE;
        }
        assert_ok(prom_chunk_writer_histogram(writer, c.t_ms[i], &first, NULL));
    }
    assert_ok(prom_chunk_writer_finish(writer, NULL));
    assert_int_equal(w.chunks, 1);
    prom_chunk_writer_destroy(writer);
}

static void prom_chunk_decode__golden__what_prometheus_reads_and_writes(void **state)
{
    (void)state;
    FILE *f = fopen(GOLDEN_PATH, "r");
    struct tsdb_arena arena;
    struct tsdb_buf text;
    struct tsdb_columns c = {0};
    struct tsdb_error err;
    uint32_t seen[7] = {0}, at = 0;
    assert_non_null(f);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
    while (fgets(line, sizeof line, f)) {
        unsigned encoding;
        int from;
        if (sscanf(line, "chunk %u %n", &encoding, &from) == 1) {
            assert_int_equal(at, c.count);
            size_t len = hex(line + from, chunk);
            assert_in_range(encoding, 1, 6);
            seen[encoding]++;
            at = 0;
            tsdb_arena_reset(&arena);
            assert_ok_err(prom_chunk_decode(encoding, chunk, len, &arena, &c, &err), &err);
            if (encoding <= PROM_CHUNK_FLOAT_HISTOGRAM) {
                write_again(encoding, chunk, len, c);
            }
            continue;
        }
        assert_true(at < c.count);
        print_sample(&text, &c, at++);
        assert_string_equal((const char *)text.data, line);
    }
    assert_int_equal(at, c.count);
    for (uint32_t e = 1; e <= 6; e++) {
        assert_true(seen[e] >= 3);
    }
    tsdb_buf_deinit(&text);
    tsdb_arena_deinit(&arena);
    fclose(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(prom_chunk_decode__golden__what_prometheus_reads_and_writes),
};
TEST_MAIN(tests)
