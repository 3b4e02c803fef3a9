#include "tests/support/test.h"

#include "base/alloc.h"
#include "base/random.h"
#include "compress/prom_chunk.h"
#include "tests/support/histogram_same.h"

#define CHUNKS_MAX  512
#define SAMPLES_MAX 2048

/* What a writer handed over: chunks, and their samples decoded one after the other. */
struct got {
    struct tsdb_arena arena;
    struct prom_chunk_writer *w;
    uint32_t chunks, samples;
    struct prom_chunk chunk[CHUNKS_MAX];
    uint32_t header[CHUNKS_MAX];
    int64_t t_ms[SAMPLES_MAX];
    uint64_t bits[SAMPLES_MAX];
    struct tsdb_histogram h[SAMPLES_MAX];
};
static struct got got;

static enum tsdb_status take(void *ctx, const struct prom_chunk *chunk, struct tsdb_error *err)
{
    struct tsdb_columns c;
    (void)ctx;
    assert_true(got.chunks < CHUNKS_MAX);
    got.chunk[got.chunks] = *chunk;
    got.header[got.chunks++] = chunk->encoding == PROM_CHUNK_XOR ? 0 : chunk->data[2] >> 6;
    enum tsdb_status status =
        prom_chunk_decode(chunk->encoding, chunk->data, chunk->len, &got.arena, &c, err);
    if (status != TSDB_OK) {
        return status;
    }
    assert_int_equal(c.count, chunk->samples);
    assert_int_equal(c.t_ms[0], chunk->t_min);
    assert_int_equal(c.t_ms[c.count - 1], chunk->t_max);
    for (uint32_t i = 0; i < c.count; i++, got.samples++) {
        assert_true(got.samples < SAMPLES_MAX);
        got.t_ms[got.samples] = c.t_ms[i];
        got.bits[got.samples] = c.kind ? 0 : c.bits[i];
        if (c.kind) {
            got.h[got.samples] = c.histograms[c.bits[i]];
        }
    }
    return TSDB_OK;
}

static void writer_begin(uint32_t samples_max, size_t bytes_max)
{
    memset(&got, 0, sizeof got);
    tsdb_arena_init(&got.arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(prom_chunk_writer_create(samples_max, bytes_max, (struct prom_chunk_sink){take, NULL},
                                       &got.w));
}

static void writer_end(void)
{
    assert_ok(prom_chunk_writer_finish(got.w, NULL));
    prom_chunk_writer_destroy(got.w);
}

static void free_got(void)
{
    tsdb_arena_deinit(&got.arena);
}

/* ---- floats ---- */
static void prom_chunk_writer_float__limit__cut_there(void **state)
{
    (void)state;
    writer_begin(120, PROM_CHUNK_BYTES_DEFAULT);
    for (uint32_t i = 0; i < 250; i++) {
        assert_ok(
            prom_chunk_writer_float(got.w, 1000 * i, UINT64_C(0x7ff0000000000002) + i % 3, NULL));
    }
    writer_end();
    assert_int_equal(got.chunks, 3);
    assert_int_equal(got.chunk[0].samples, 120);
    assert_int_equal(got.chunk[1].t_min, 120000);
    assert_int_equal(got.chunk[2].samples, 10);
    for (uint32_t i = 0; i < 250; i++) {
        assert_int_equal(got.t_ms[i], 1000 * i);
        assert_int_equal(got.bits[i], UINT64_C(0x7ff0000000000002) + i % 3);
    }
    free_got();
}

static void prom_chunk_writer_float__not_later__out_of_order(void **state)
{
    (void)state;
    writer_begin(120, 1024);
    assert_ok(prom_chunk_writer_float(got.w, 5, 0, NULL));
    assert_int_equal(prom_chunk_writer_float(got.w, 5, 0, NULL), TSDB_OUT_OF_ORDER);
    assert_int_equal(prom_chunk_writer_float(got.w, 4, 0, NULL), TSDB_OUT_OF_ORDER);
    assert_ok(prom_chunk_writer_finish(got.w, NULL));
    assert_ok(prom_chunk_writer_float(got.w, -7, 0, NULL)); /* another series */
    writer_end();
    assert_int_equal(got.chunks, 2);
    free_got();
}

static void prom_chunk_writer_finish__nothing_in_it__no_chunk(void **state)
{
    (void)state;
    writer_begin(120, 1024);
    writer_end();
    assert_int_equal(got.chunks, 0);
    prom_chunk_writer_destroy(NULL);
    free_got();
}

/* ---- histograms ---- */
/* Buckets from `first` on; a negative number ends them. */
struct sample {
    int32_t first;
    int counts[6];
    enum tsdb_reset_hint hint;
    int32_t schema; /* 0 unless said */
    double threshold;
    bool is_float, stale;
    double bound; /* custom: bounds bound and bound + 1 */
};

static void add(const struct sample *s, int64_t t_ms)
{
    static struct tsdb_span span;
    static int64_t deltas[8];
    static double counts[8], bounds[2];
    struct tsdb_histogram h = {.is_float = s->is_float,
                               .reset_hint = s->hint,
                               .schema = s->bound != 0 ? TSDB_HISTOGRAM_SCHEMA_CUSTOM : s->schema,
                               .zero_threshold = s->threshold,
                               .sum =
                                   s->stale ? tsdb_bits_double(UINT64_C(0x7ff0000000000002)) : 1};
    int before = 0;
    span = (struct tsdb_span){s->first, 0};
    for (; span.length < 6 && s->counts[span.length] >= 0 && !s->stale; span.length++) {
        int now = s->counts[span.length];
        deltas[span.length] = now - before;
        counts[span.length] = now;
        before = now;
        h.count_int += s->is_float ? 0 : (uint64_t)now;
        h.count_float += s->is_float ? now : 0;
    }
    bounds[0] = s->bound;
    bounds[1] = s->bound + 1;
    h.custom_count = s->bound != 0 ? 2 : 0;
    h.custom_values = bounds;
    h.positive_span_count = span.length > 0;
    h.positive_bucket_count = span.length;
    h.positive_spans = &span;
    h.positive_deltas = s->is_float ? NULL : deltas;
    h.positive_counts = s->is_float ? counts : NULL;
    assert_ok(tsdb_histogram_validate(&h, NULL));
    assert_ok(prom_chunk_writer_histogram(got.w, t_ms, &h, NULL));
    uint32_t i = (uint32_t)(t_ms / 1000);
    assert_true(i < SAMPLES_MAX);
}

enum {
    UNKNOWN,
    NO_RESET,
    RESET,
    GAUGE
};
#define END            -1
#define B(first_, ...) .first = (first_), .counts = {__VA_ARGS__, END}

/* Sample b after sample a: chunks, and the header of the last one. */
static const struct pair {
    const char *what;
    struct sample a, b;
    uint32_t chunks;
    uint32_t header;
} pairs[] = {
    {"same", {B(0, 1, 2)}, {B(0, 1, 2)}, 1, UNKNOWN},
    {"grown", {B(0, 1, 2)}, {B(0, 1, 5)}, 1, UNKNOWN},
    {"new buckets on both sides", {B(0, 1, 2)}, {B(-1, 4, 1, 2, 7)}, 1, UNKNOWN},
    {"a bucket fell, the count did not", {B(0, 1, 2)}, {B(0, 0, 9)}, 2, RESET},
    {"the count fell", {B(0, 1, 2)}, {B(0, 1, 1)}, 2, RESET},
    {"a bucket is gone", {B(0, 1, 2)}, {B(1, 9)}, 2, RESET},
    {"an empty bucket is gone", {B(0, 0, 2)}, {B(1, 9)}, 1, UNKNOWN},
    {"one gone, others new", {B(0, 0, 2)}, {B(1, 9, 3)}, 1, UNKNOWN},
    {"hint", {B(0, 1)}, {B(0, 2), .hint = TSDB_RESET_YES}, 2, RESET},
    {"hint of the first", {B(0, 1), .hint = TSDB_RESET_YES}, {B(0, 2)}, 1, RESET},
    {"schema", {B(0, 1)}, {B(0, 2), .schema = 1}, 2, UNKNOWN},
    {"threshold", {B(0, 1)}, {B(0, 2), .threshold = 0.5}, 2, UNKNOWN},
    {"bounds", {B(0, 1), .bound = 1}, {B(0, 2), .bound = 2}, 2, RESET},
    {"same bounds", {B(0, 1), .bound = 1}, {B(0, 2), .bound = 1}, 1, UNKNOWN},
    {"kind", {B(0, 1)}, {B(0, 2), .is_float = true}, 2, UNKNOWN},
    {"gauge after counter", {B(0, 1)}, {B(0, 2), .hint = TSDB_RESET_GAUGE}, 2, GAUGE},
    {"counter after gauge", {B(0, 1), .hint = TSDB_RESET_GAUGE}, {B(0, 2)}, 2, UNKNOWN},
    {"gauge falls",
     {B(0, 4, 4), .hint = TSDB_RESET_GAUGE},
     {B(1, 2, 1), .hint = TSDB_RESET_GAUGE},
     1,
     GAUGE},
    {"gauge's threshold",
     {B(0, 4), .hint = TSDB_RESET_GAUGE},
     {B(0, 5), .hint = TSDB_RESET_GAUGE, .threshold = 0.5},
     2,
     GAUGE},
    {"stale", {B(0, 1)}, {.counts = {END}, .stale = true}, 1, UNKNOWN},
    {"stale after gauge",
     {B(0, 1), .hint = TSDB_RESET_GAUGE},
     {.counts = {END}, .stale = true},
     1,
     GAUGE},
    {"after stale", {.counts = {END}, .stale = true}, {B(0, 1)}, 2, UNKNOWN},
    {"stale twice", {.counts = {END}, .stale = true}, {.counts = {END}, .stale = true}, 1, UNKNOWN},
    {"indices farther apart than a span may say",
     {B(INT32_MIN, 1), .hint = TSDB_RESET_GAUGE},
     {B(INT32_MAX - 8, 2), .hint = TSDB_RESET_GAUGE},
     2,
     GAUGE},
    {"an empty one farther away", {B(INT32_MIN, 0)}, {B(INT32_MAX - 8, 2)}, 2, NO_RESET},
};

static void prom_chunk_writer_histogram__pairs__cut_and_header_as_prometheus(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        for (uint32_t is_float = 0; is_float < 2; is_float++) {
            struct pair p = pairs[i];
            p.a.is_float ^= is_float;
            p.b.is_float ^= is_float;
            writer_begin(120, 1024);
            add(&p.a, 1000);
            add(&p.b, 2000);
            writer_end();
            if (got.chunks != p.chunks || got.header[got.chunks - 1] != p.header) {
                fail_msg("%s: %u chunks, header %u, expected %u, %u", p.what, got.chunks,
                         got.header[got.chunks - 1], p.chunks, p.header);
            }
            assert_int_equal(got.samples, 2);
            free_got();
        }
    }
}

static void prom_chunk_writer_histogram__full__next_is_no_reset(void **state)
{
    (void)state;
    writer_begin(5, SIZE_MAX);
    for (int i = 0; i < 12; i++) {
        add(&(struct sample){B(0, i, 2 * i)}, 1000 * i);
    }
    writer_end();
    assert_int_equal(got.chunks, 3);
    assert_int_equal(got.header[0], UNKNOWN);
    assert_int_equal(got.header[1], NO_RESET);
    assert_int_equal(got.chunk[1].samples, 5);
    free_got();
}

static void prom_chunk_writer_histogram__bytes__cut_after_ten(void **state)
{
    (void)state;
    writer_begin(120, 1);
    for (int i = 0; i < 25; i++) {
        add(&(struct sample){B(0, i, 2 * i), .hint = TSDB_RESET_GAUGE}, 1000 * i);
    }
    writer_end();
    assert_int_equal(got.chunks, 3);
    assert_int_equal(got.chunk[0].samples, 10);
    assert_int_equal(got.header[1], GAUGE);
    free_got();
}

static void prom_chunk_writer__kinds_alternate__chunk_each(void **state)
{
    (void)state;
    writer_begin(120, 1024);
    for (int i = 0; i < 8; i++) {
        if (i % 2 == 0) {
            assert_ok(prom_chunk_writer_float(got.w, 1000 * i, (uint64_t)i, NULL));
        } else {
            add(&(struct sample){B(0, i), .is_float = i % 4 == 1}, 1000 * i);
        }
    }
    writer_end();
    assert_int_equal(got.chunks, 8);
    assert_int_equal(got.chunk[1].encoding, PROM_CHUNK_FLOAT_HISTOGRAM);
    assert_int_equal(got.chunk[3].encoding, PROM_CHUNK_HISTOGRAM);
    assert_int_equal(got.chunk[4].encoding, PROM_CHUNK_XOR);
    free_got();
}

/* ---- anything ---- */
static struct tsdb_histogram wanted[SAMPLES_MAX];

static void random_side(struct tsdb_prng *r, struct tsdb_arena *a, bool is_float, uint32_t side,
                        struct tsdb_histogram *h)
{
    uint32_t spans = (uint32_t)tsdb_prng_below(r, 4), buckets = 0;
    struct tsdb_span *s = TSDB_ARENA_ARRAY(a, struct tsdb_span, 4);
    int64_t *deltas = TSDB_ARENA_ARRAY(a, int64_t, 16), before = 0;
    double *counts = TSDB_ARENA_ARRAY(a, double, 16);
    for (uint32_t i = 0; i < spans; i++) {
        s[i].length = (uint32_t)tsdb_prng_below(r, 4);
        s[i].offset = i == 0 ? (int32_t)tsdb_prng_below(r, 9) - 4 : (int32_t)tsdb_prng_below(r, 3);
        for (uint32_t k = 0; k < s[i].length; k++, buckets++) {
            int64_t now = tsdb_prng_below(r, 3) == 0
                              ? 0
                              : (int64_t)(tsdb_prng_next(r) >> 4 >> tsdb_prng_below(r, 60));
            deltas[buckets] = now - before;
            counts[buckets] = (double)now / 3;
            h->count_int += is_float ? 0 : (uint64_t)now;
            before = now;
        }
    }
    if (side == 0) {
        h->positive_spans = s;
        h->positive_span_count = spans;
        h->positive_bucket_count = buckets;
        h->positive_deltas = is_float ? NULL : deltas;
        h->positive_counts = is_float ? counts : NULL;
    } else {
        h->negative_spans = s;
        h->negative_span_count = spans;
        h->negative_bucket_count = buckets;
        h->negative_deltas = is_float ? NULL : deltas;
        h->negative_counts = is_float ? counts : NULL;
    }
}

static struct tsdb_histogram random_histogram(struct tsdb_prng *r, struct tsdb_arena *a, bool gauge)
{
    struct tsdb_histogram h = {.is_float = tsdb_prng_below(r, 30) == 0,
                               .reset_hint = gauge ? TSDB_RESET_GAUGE : TSDB_RESET_UNKNOWN,
                               .schema = tsdb_prng_below(r, 20) == 0 ? 3 : 2,
                               .zero_threshold = tsdb_prng_below(r, 20) == 0 ? 0.3 : 0x1p-128};
    h.sum = tsdb_prng_below(r, 20) == 0 ? tsdb_bits_double(UINT64_C(0x7ff0000000000002))
                                        : tsdb_prng_double(r);
    random_side(r, a, h.is_float, 0, &h);
    random_side(r, a, h.is_float, 1, &h);
    uint64_t zero = tsdb_prng_below(r, 5);
    if (h.is_float) {
        h.count_float = tsdb_prng_double(r);
        h.zero_count_float = (double)zero;
    } else {
        h.zero_count_int = zero;
        h.count_int += zero;
    }
    return h;
}

static void prom_chunk_writer_histogram__random__comes_back(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct tsdb_arena a;
    uint32_t widened = 0;
    tsdb_prng_init(&r, 5);
    tsdb_arena_init(&a, TSDB_MEM_OTHER, 65536, NULL);
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t n = 1 + (uint32_t)tsdb_prng_below(&r, 150);
        int64_t t = -5000000;
        tsdb_arena_reset(&a);
        writer_begin(1 + (uint32_t)tsdb_prng_below(&r, 120), 1 + tsdb_prng_below(&r, 4000));
        for (uint32_t i = 0; i < n; i++) {
            wanted[i] = random_histogram(&r, &a, round % 2 == 0);
            assert_ok(tsdb_histogram_validate(&wanted[i], NULL));
            t += 1 + (int64_t)(tsdb_prng_below(&r, 4) == 0 ? tsdb_prng_next(&r) >> 30 : 15000);
            assert_ok(prom_chunk_writer_histogram(got.w, t, &wanted[i], NULL));
        }
        writer_end();
        assert_int_equal(got.samples, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(test_histogram_same(&wanted[i], &got.h[i]));
            widened += got.h[i].positive_bucket_count > wanted[i].positive_bucket_count;
        }
        free_got();
    }
    assert_true(widened > 1000);
    tsdb_arena_deinit(&a);
}

static enum tsdb_status refuse(void *ctx, const struct prom_chunk *chunk, struct tsdb_error *err)
{
    (void)ctx;
    (void)chunk;
    return tsdb_error_set(err, TSDB_IO, "full");
}

static void prom_chunk_writer__sink_fails__its_status(void **state)
{
    (void)state;
    struct prom_chunk_writer *w;
    struct tsdb_error err;
    assert_ok(prom_chunk_writer_create(1, 1, (struct prom_chunk_sink){refuse, NULL}, &w));
    assert_ok(prom_chunk_writer_float(w, 1, 1, &err));
    assert_int_equal(prom_chunk_writer_float(w, 2, 1, &err), TSDB_IO);
    assert_string_equal(err.msg, "full");
    prom_chunk_writer_destroy(w);
}

static enum tsdb_status ignore(void *ctx, const struct prom_chunk *chunk, struct tsdb_error *err)
{
    (void)ctx;
    (void)chunk;
    (void)err;
    return TSDB_OK;
}

static enum tsdb_status write_some(const struct tsdb_histogram *h, uint32_t n)
{
    struct prom_chunk_writer *w;
    enum tsdb_status status =
        prom_chunk_writer_create(120, SIZE_MAX, (struct prom_chunk_sink){ignore, NULL}, &w);
    if (status != TSDB_OK) {
        return status;
    }
    status = prom_chunk_writer_float(w, 0, 1, NULL);
    for (uint32_t i = 0; i < n && status == TSDB_OK; i++) {
        status = prom_chunk_writer_histogram(w, 1 + i, &h[i], NULL);
    }
    if (status == TSDB_OK) {
        status = prom_chunk_writer_finish(w, NULL);
    }
    prom_chunk_writer_destroy(w);
    return status;
}

static void prom_chunk_writer__nth_allocation_fails__nomem_and_no_leak(void **state)
{
    (void)state;
    struct tsdb_prng r;
    struct tsdb_arena a;
    tsdb_prng_init(&r, 6);
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 65536, NULL);
    for (uint32_t i = 0; i < 60; i++) {
        wanted[i] = random_histogram(&r, &a, true);
    }
    uint64_t used = tsdb_mem_used(TSDB_MEM_OTHER);
    enum tsdb_status status = TSDB_NOMEM;
    uint64_t nth = 1;
    for (; status != TSDB_OK; nth++) {
        tsdb_alloc_fail_nth(nth, 0);
        status = write_some(wanted, 60);
        tsdb_alloc_ops_set(NULL);
        assert_true(status == TSDB_OK || status == TSDB_NOMEM);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_OTHER), used);
    }
    assert_true(nth > 5);
    tsdb_arena_deinit(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(prom_chunk_writer_float__limit__cut_there),
    cmocka_unit_test(prom_chunk_writer_float__not_later__out_of_order),
    cmocka_unit_test(prom_chunk_writer_finish__nothing_in_it__no_chunk),
    cmocka_unit_test(prom_chunk_writer_histogram__pairs__cut_and_header_as_prometheus),
    cmocka_unit_test(prom_chunk_writer_histogram__full__next_is_no_reset),
    cmocka_unit_test(prom_chunk_writer_histogram__bytes__cut_after_ten),
    cmocka_unit_test(prom_chunk_writer__kinds_alternate__chunk_each),
    cmocka_unit_test(prom_chunk_writer_histogram__random__comes_back),
    cmocka_unit_test(prom_chunk_writer__sink_fails__its_status),
    cmocka_unit_test(prom_chunk_writer__nth_allocation_fails__nomem_and_no_leak),
};
TEST_MAIN(tests)
