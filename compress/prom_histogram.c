/* Reading histogram chunks, with and without start times. */
#include "compress/prom_chunk_private.h"

/* Fewest bits of a later sample: time, count, zero count and sum, unchanged. */
#define NEXT_BITS_MIN 4u
#define ST_COUNT_MASK 0x3fffu

struct reader {
    struct bit_reader r;
    unsigned encoding;
    bool is_float;
    enum prom_header header;
    struct prom_start start;
    struct tsdb_arena *arena;
    struct prom_layout layout;
    uint64_t t, t_delta, observations, observations_delta, zero, zero_delta;
    struct window sum, observations_window, zero_window;
    int64_t *deltas, *changes; /* integer, per bucket of the layout */
    struct window *windows;    /* float, per bucket */
};

static bool is_start(unsigned encoding)
{
    return encoding == PROM_CHUNK_HISTOGRAM_ST || encoding == PROM_CHUNK_FLOAT_HISTOGRAM_ST;
}

static uint64_t add(uint64_t a, int64_t b)
{
    return a + (uint64_t)b;
}

/* Layout and state: once. */
static enum tsdb_status read_layout(struct reader *x, struct tsdb_error *err)
{
    enum tsdb_status status =
        prom_layout_get(&x->r, x->is_float ? 64 : 1, x->arena, &x->layout, err);
    if (status != TSDB_OK || x->r.failed) {
        return status;
    }
    size_t buckets = prom_layout_buckets(&x->layout);
    struct window *windows = NULL;
    int64_t *deltas = NULL;
    if (x->is_float) {
        windows = TSDB_ARENA_ARRAY(x->arena, struct window, buckets + 1);
    } else {
        deltas = TSDB_ARENA_ARRAY(x->arena, int64_t, 2 * buckets + 1);
    }
    if (!windows && !deltas) {
        return tsdb_error_set(err, tsdb_arena_status(x->arena),
                              "histogram chunk: no memory for %zu buckets", buckets);
    }
    for (size_t i = 0; windows && i < buckets; i++) {
        windows[i] = WINDOW_OF_A_READER;
    }
    if (deltas) {
        memset(deltas, 0, 2 * buckets * sizeof *deltas);
        x->changes = deltas + buckets;
    }
    x->windows = windows;
    x->deltas = deltas;
    return TSDB_OK;
}

static void read_scalars(struct reader *x, bool first)
{
    struct bit_reader *r = &x->r;
    if (first) {
        x->t = (uint64_t)prom_get_varbit_int(r);
    } else {
        x->t_delta = add(x->t_delta, prom_get_varbit_int(r));
        x->t += x->t_delta;
    }
    if (first && x->is_float) {
        x->observations_window.value = get_bits(r, 64);
        x->zero_window.value = get_bits(r, 64);
    } else if (first) {
        x->observations = prom_get_varbit_uint(r);
        x->zero = prom_get_varbit_uint(r);
    } else if (x->is_float) {
        get_value(r, &x->observations_window);
        get_value(r, &x->zero_window);
    } else {
        x->observations_delta = add(x->observations_delta, prom_get_varbit_int(r));
        x->observations += x->observations_delta;
        x->zero_delta = add(x->zero_delta, prom_get_varbit_int(r));
        x->zero += x->zero_delta;
    }
    if (first) {
        x->sum.value = get_bits(r, 64);
    } else {
        get_value(r, &x->sum);
    }
}

static void read_buckets(struct reader *x, bool first)
{
    size_t buckets = prom_layout_buckets(&x->layout);
    for (size_t i = 0; i < buckets && !x->r.failed; i++) {
        if (x->is_float && first) {
            x->windows[i].value = get_bits(&x->r, 64);
        } else if (x->is_float) {
            get_value(&x->r, &x->windows[i]);
        } else if (first) {
            x->deltas[i] = prom_get_varbit_int(&x->r);
        } else {
            x->changes[i] = (int64_t)add((uint64_t)x->changes[i], prom_get_varbit_int(&x->r));
            x->deltas[i] = (int64_t)add((uint64_t)x->deltas[i], x->changes[i]);
        }
    }
}

/* Copies of the buckets, into the arena. */
static enum tsdb_status give_buckets(struct reader *x, struct tsdb_histogram *h)
{
    size_t buckets = prom_layout_buckets(&x->layout), positive = h->positive_bucket_count;
    if (buckets == 0) {
        return TSDB_OK;
    }
    void *copy = tsdb_arena_alloc_array(x->arena, buckets, 8, 8);
    if (!copy) {
        return tsdb_arena_status(x->arena);
    }
    if (x->is_float) {
        double *counts = copy;
        for (size_t i = 0; i < buckets; i++) {
            counts[i] = tsdb_bits_double(x->windows[i].value);
        }
        h->positive_counts = counts;
        h->negative_counts = counts + positive;
    } else {
        int64_t *deltas = copy;
        memcpy(deltas, x->deltas, 8 * buckets);
        h->positive_deltas = deltas;
        h->negative_deltas = deltas + positive;
    }
    return TSDB_OK;
}

static enum tsdb_status give(struct reader *x, bool first, struct tsdb_histogram *out)
{
    struct tsdb_histogram h = {.is_float = x->is_float, .sum = tsdb_bits_double(x->sum.value)};
    if (tsdb_is_stale_bits(x->sum.value)) {
        *out = h;
        return TSDB_OK;
    }
    h.reset_hint = x->header == PROM_HEADER_GAUGE ? TSDB_RESET_GAUGE
                   : first                        ? TSDB_RESET_UNKNOWN
                                                  : TSDB_RESET_NO;
    h.schema = x->layout.schema;
    h.zero_threshold = x->layout.zero_threshold;
    if (x->is_float) {
        h.count_float = tsdb_bits_double(x->observations_window.value);
        h.zero_count_float = tsdb_bits_double(x->zero_window.value);
    } else {
        h.count_int = x->observations;
        h.zero_count_int = x->zero;
    }
    h.positive_spans = x->layout.side[0].spans;
    h.positive_span_count = x->layout.side[0].span_count;
    h.positive_bucket_count = x->layout.side[0].bucket_count;
    h.negative_spans = x->layout.side[1].spans;
    h.negative_span_count = x->layout.side[1].span_count;
    h.negative_bucket_count = x->layout.side[1].bucket_count;
    h.custom_values = x->layout.custom_values;
    h.custom_count = x->layout.custom_count;
    enum tsdb_status status = give_buckets(x, &h);
    if (status == TSDB_OK) {
        status = tsdb_histogram_reduce(&h, x->arena);
    }
    if (status == TSDB_OK) {
        *out = h;
    }
    return status;
}

/* One sample. Its buckets are on the stream unless its sum is the stale marker; the first sample of
 * a chunk has them in any case. */
static enum tsdb_status read_sample(struct reader *x, uint32_t i, struct tsdb_histogram *out,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = i == 0 ? read_layout(x, err) : TSDB_OK;
    if (status != TSDB_OK || x->r.failed) {
        return status;
    }
    read_scalars(x, i == 0);
    if (i == 0 || !tsdb_is_stale_bits(x->sum.value)) {
        read_buckets(x, i == 0);
    }
    if (x->r.failed) {
        return TSDB_OK;
    }
    status = give(x, i == 0, out);
    if (status != TSDB_OK) {
        status = tsdb_error_set(err, status, "histogram chunk: no memory for its buckets");
    }
    return status;
}

static enum tsdb_status read_all(struct reader *x, uint32_t n, struct tsdb_columns *out,
                                 struct tsdb_error *err)
{
    int64_t *t_ms = TSDB_ARENA_ARRAY(x->arena, int64_t, n + 1);
    uint64_t *bits = TSDB_ARENA_ARRAY(x->arena, uint64_t, n + 1);
    uint8_t *kind = TSDB_ARENA_ARRAY(x->arena, uint8_t, n + 1);
    int64_t *start_ms = NULL;
    struct tsdb_histogram *histograms = TSDB_ARENA_ARRAY(x->arena, struct tsdb_histogram, n + 1);
    bool full = t_ms && bits && kind && histograms;
    if (full && prom_start_any(&x->start)) {
        start_ms = TSDB_ARENA_ARRAY(x->arena, int64_t, n + 1);
        full = start_ms;
    }
    if (!full) {
        return tsdb_error_set(err, tsdb_arena_status(x->arena),
                              "histogram chunk: no memory for %u samples", n);
    }
    for (uint32_t i = 0; i < n && !x->r.failed; i++) {
        uint64_t t_before = x->t;
        enum tsdb_status status = read_sample(x, i, &histograms[i], err);
        if (status != TSDB_OK) {
            return status;
        }
        t_ms[i] = (int64_t)x->t;
        bits[i] = i;
        kind[i] = x->is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT;
        if (start_ms) {
            start_ms[i] = prom_start_read(&x->start, &x->r, i, x->t, t_before);
        }
    }
    if (x->r.failed) {
        return prom_corrupt(&x->r, x->encoding, "damaged or cut short", err);
    }
    *out = (struct tsdb_columns){.count = n,
                                 .t_ms = t_ms,
                                 .bits = bits,
                                 .kind = kind,
                                 .start_ms = start_ms,
                                 .histograms = histograms,
                                 .histogram_count = n};
    return TSDB_OK;
}

enum tsdb_status prom_histogram_decode(unsigned encoding, const uint8_t *src, size_t len,
                                       struct tsdb_arena *arena, struct tsdb_columns *out,
                                       struct tsdb_error *err)
{
    struct reader x = {
        .r = {.src = src, .len = len},
        .encoding = encoding,
        .is_float =
            encoding == PROM_CHUNK_FLOAT_HISTOGRAM || encoding == PROM_CHUNK_FLOAT_HISTOGRAM_ST,
        .arena = arena,
        .sum = WINDOW_OF_A_READER,
        .observations_window = WINDOW_OF_A_READER,
        .zero_window = WINDOW_OF_A_READER,
    };
    if (len < PROM_HISTOGRAM_HEADER_BYTES) {
        return prom_corrupt(&x.r, encoding, "too short for its header", err);
    }
    uint32_t n = (uint32_t)src[0] << 8 | src[1];
    uint8_t flags = src[2];
    if (is_start(encoding)) { /* the header is above the count, the third byte is of start times */
        flags = src[0];
        n &= ST_COUNT_MASK;
        x.start = prom_start_init(src[2]);
    }
    x.header = (enum prom_header)(flags >> PROM_HEADER_SHIFT);
    x.r.bit = 8 * (size_t)PROM_HISTOGRAM_HEADER_BYTES;
    if (n > 0 && (uint64_t)(n - 1) * NEXT_BITS_MIN > prom_bits_left(&x.r)) {
        return prom_corrupt(&x.r, encoding, "more samples than its bytes can hold", err);
    }
    return read_all(&x, n, out, err);
}
