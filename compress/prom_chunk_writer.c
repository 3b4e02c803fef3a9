/* From the samples of a series to chunks: where one ends, and what its header says. */
#include "base/assert.h"
#include "compress/prom_chunk_private.h"
#include "compress/xor_codec.h"

struct prom_chunk_writer {
    uint32_t samples_max;
    size_t bytes_max;
    struct prom_chunk_sink sink;
    enum prom_chunk_encoding open; /* 0: no chunk is */
    uint32_t count;                /* samples in it */
    int64_t t_min, t_last;
    bool any; /* the series has a sample */
    /* floats wait here; allocated with the first one, samples_max each */
    int64_t *t_ms;
    uint64_t *bits;
    uint8_t *out;
    struct prom_encoder histograms;
};

enum tsdb_status prom_chunk_writer_create(uint32_t samples_max, size_t bytes_max,
                                          struct prom_chunk_sink sink,
                                          struct prom_chunk_writer **out)
{
    TSDB_ASSERT(samples_max >= 1 && samples_max <= PROM_CHUNK_SAMPLES_MAX);
    struct prom_chunk_writer *w = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *w);
    if (!w) {
        return TSDB_NOMEM;
    }
    w->samples_max = samples_max;
    w->bytes_max = bytes_max;
    w->sink = sink;
    prom_encoder_init(&w->histograms);
    *out = w;
    return TSDB_OK;
}

void prom_chunk_writer_destroy(struct prom_chunk_writer *w)
{
    if (!w) {
        return;
    }
    prom_encoder_deinit(&w->histograms);
    tsdb_mem_free(TSDB_MEM_OTHER, w->t_ms, 8 * (size_t)w->samples_max);
    tsdb_mem_free(TSDB_MEM_OTHER, w->bits, 8 * (size_t)w->samples_max);
    tsdb_mem_free(TSDB_MEM_OTHER, w->out, XOR_CHUNK_BYTES_MAX(w->samples_max));
    tsdb_mem_free(TSDB_MEM_OTHER, w, sizeof *w);
}

/* Hand over the open chunk. */
static enum tsdb_status cut(struct prom_chunk_writer *w, struct tsdb_error *err)
{
    struct prom_chunk chunk = {
        .encoding = w->open, .samples = w->count, .t_min = w->t_min, .t_max = w->t_last};
    if (w->open == 0) {
        return TSDB_OK;
    }
    if (w->open == PROM_CHUNK_XOR) {
        chunk.data = w->out;
        chunk.len = xor_chunk_encode(w->t_ms, w->bits, w->count, w->out);
    } else {
        chunk.data = prom_encoder_data(&w->histograms, &chunk.len);
        if (!chunk.data) {
            return tsdb_error_nomem(err, "a histogram chunk");
        }
    }
    w->open = 0;
    w->count = 0;
    return w->sink.write(w->sink.ctx, &chunk, err);
}

static enum tsdb_status check_time(const struct prom_chunk_writer *w, int64_t t_ms,
                                   struct tsdb_error *err)
{
    if (w->any && t_ms <= w->t_last) {
        return tsdb_error_set(err, TSDB_OUT_OF_ORDER, "sample at %lld ms, expected after %lld",
                              (long long)t_ms, (long long)w->t_last);
    }
    return TSDB_OK;
}

static void note(struct prom_chunk_writer *w, enum prom_chunk_encoding encoding, int64_t t_ms)
{
    if (w->count == 0) {
        w->t_min = t_ms;
    }
    w->open = encoding;
    w->count++;
    w->t_last = t_ms;
    w->any = true;
}

/* ---- floats ---- */
static enum tsdb_status floats_reserve(struct prom_chunk_writer *w, struct tsdb_error *err)
{
    if (!w->t_ms) {
        w->t_ms = tsdb_mem_alloc(TSDB_MEM_OTHER, 8 * (size_t)w->samples_max);
    }
    if (!w->bits) {
        w->bits = tsdb_mem_alloc(TSDB_MEM_OTHER, 8 * (size_t)w->samples_max);
    }
    if (!w->out) {
        w->out = tsdb_mem_alloc(TSDB_MEM_OTHER, XOR_CHUNK_BYTES_MAX(w->samples_max));
    }
    return w->t_ms && w->bits && w->out ? TSDB_OK : tsdb_error_nomem(err, "an XOR chunk");
}

enum tsdb_status prom_chunk_writer_float(struct prom_chunk_writer *w, int64_t t_ms, uint64_t bits,
                                         struct tsdb_error *err)
{
    enum tsdb_status status = check_time(w, t_ms, err);
    if (status == TSDB_OK && (w->open != PROM_CHUNK_XOR || w->count == w->samples_max)) {
        status = cut(w, err);
    }
    if (status == TSDB_OK) {
        status = floats_reserve(w, err);
    }
    if (status == TSDB_OK) {
        w->t_ms[w->count] = t_ms;
        w->bits[w->count] = bits;
        note(w, PROM_CHUNK_XOR, t_ms);
    }
    return status;
}

/* ---- histograms ---- */
static bool is_full(const struct prom_chunk_writer *w)
{
    return w->count >= w->samples_max || (w->count >= PROM_CHUNK_HISTOGRAMS_MIN &&
                                          prom_encoder_bytes(&w->histograms) >= w->bytes_max);
}

/* Of the first chunk of a series, or after one of another kind. */
static enum prom_header header_of_first(const struct tsdb_histogram *h)
{
    return h->reset_hint == TSDB_RESET_GAUGE ? PROM_HEADER_GAUGE
           : h->reset_hint == TSDB_RESET_YES ? PROM_HEADER_RESET
                                             : PROM_HEADER_UNKNOWN;
}

/* Of a chunk that h begins where another one was. */
static enum prom_header header_of_next(enum prom_fit fit, const struct tsdb_histogram *h)
{
    switch (fit) {
    case PROM_FIT_CUT_RESET:
        return PROM_HEADER_RESET;
    case PROM_FIT_CUT_GAUGE:
        return PROM_HEADER_GAUGE;
    case PROM_FIT_CUT_NO_RESET:
        return PROM_HEADER_NO_RESET;
    case PROM_FIT_CUT_UNKNOWN:
        return header_of_first(h);
    case PROM_FIT_JOIN: /* the chunk was full */
    case PROM_FIT_WIDEN:
        break;
    }
    if (tsdb_histogram_is_stale(h)) {
        return header_of_first(h);
    }
    return h->reset_hint == TSDB_RESET_GAUGE ? PROM_HEADER_GAUGE : PROM_HEADER_NO_RESET;
}

/* Make the open chunk one that h can be added to. */
static enum tsdb_status make_room(struct prom_chunk_writer *w, enum prom_chunk_encoding encoding,
                                  const struct tsdb_histogram *h, struct tsdb_error *err)
{
    enum prom_header header = header_of_first(h);
    if (w->open == encoding) {
        enum prom_fit fit;
        struct prom_layout wider;
        enum tsdb_status status = prom_encoder_fit(&w->histograms, h, &fit, &wider, err);
        if (status != TSDB_OK) {
            return status;
        }
        if (!is_full(w) && fit == PROM_FIT_JOIN) {
            return TSDB_OK;
        }
        if (!is_full(w) && fit == PROM_FIT_WIDEN) {
            return prom_encoder_widen(&w->histograms, &wider, err);
        }
        header = header_of_next(fit, h);
    }
    enum tsdb_status status = cut(w, err);
    return status == TSDB_OK ? prom_encoder_begin(&w->histograms, h, header, err) : status;
}

enum tsdb_status prom_chunk_writer_histogram(struct prom_chunk_writer *w, int64_t t_ms,
                                             const struct tsdb_histogram *h, struct tsdb_error *err)
{
    enum prom_chunk_encoding encoding =
        h->is_float ? PROM_CHUNK_FLOAT_HISTOGRAM : PROM_CHUNK_HISTOGRAM;
    enum tsdb_status status = check_time(w, t_ms, err);
    if (status == TSDB_OK) {
        status = make_room(w, encoding, h, err);
    }
    if (status == TSDB_OK) {
        status = prom_encoder_add(&w->histograms, t_ms, h, err);
    }
    if (status == TSDB_OK) {
        note(w, encoding, t_ms);
    }
    return status;
}

/* ---- series ---- */
enum tsdb_status prom_chunk_writer_columns(struct prom_chunk_writer *w,
                                           const struct tsdb_columns *columns,
                                           struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < columns->count && status == TSDB_OK; i++) {
        if (columns->kind && columns->kind[i] != TSDB_SAMPLE_FLOAT) {
            status = prom_chunk_writer_histogram(w, columns->t_ms[i],
                                                 &columns->histograms[columns->bits[i]], err);
        } else {
            status = prom_chunk_writer_float(w, columns->t_ms[i], columns->bits[i], err);
        }
    }
    return status;
}

enum tsdb_status prom_chunk_writer_finish(struct prom_chunk_writer *w, struct tsdb_error *err)
{
    enum tsdb_status status = cut(w, err);
    w->any = false;
    return status;
}
