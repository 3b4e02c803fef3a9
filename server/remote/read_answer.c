/* Answers of remote read as bytes. Nested messages are written in place; their length goes in front
 * once it is known. */
#include "server/remote/read_wire.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "compress/prom_chunk.h"
#include "ingest/wire.h"

enum {
    RESPONSE_RESULTS = 1,
    RESULT_SERIES = 1,
    SERIES_LABELS = 1,
    SERIES_SAMPLES = 2,
    SERIES_HISTOGRAMS = 4,
    SAMPLE_VALUE = 1,
    SAMPLE_TIME = 2,
    STREAM_SERIES = 1,
    STREAM_QUERY = 2,
    CHUNKED_LABELS = 1,
    CHUNKED_CHUNKS = 2,
    CHUNK_MIN = 1,
    CHUNK_MAX = 2,
    CHUNK_TYPE = 3,
    CHUNK_DATA = 4,
};
enum {
    HISTOGRAM_COUNT_INT = 1,
    HISTOGRAM_COUNT_FLOAT,
    HISTOGRAM_SUM,
    HISTOGRAM_SCHEMA,
    HISTOGRAM_ZERO_THRESHOLD,
    HISTOGRAM_ZERO_INT,
    HISTOGRAM_ZERO_FLOAT,
    HISTOGRAM_NEGATIVE, /* spans; deltas and counts are the two numbers behind */
    HISTOGRAM_POSITIVE = 11,
    HISTOGRAM_RESET_HINT = 14,
    HISTOGRAM_TIME,
    HISTOGRAM_CUSTOM,
};

/* ---- fields; zero scalars are left out, as proto3 does ---- */

static void put_tag(struct tsdb_buf *out, uint32_t field, enum wire_type type)
{
    tsdb_buf_put_uvarint(out, (uint64_t)field << 3 | (uint64_t)type);
}

static void put_varint(struct tsdb_buf *out, uint32_t field, uint64_t v)
{
    if (v != 0) {
        put_tag(out, field, WIRE_VARINT);
        tsdb_buf_put_uvarint(out, v);
    }
}

static void put_bits(struct tsdb_buf *out, uint32_t field, uint64_t bits)
{
    if (bits != 0) {
        put_tag(out, field, WIRE_FIXED64);
        tsdb_buf_put_le64(out, bits);
    }
}

static void put_bytes(struct tsdb_buf *out, uint32_t field, const void *data, size_t len)
{
    put_tag(out, field, WIRE_LEN);
    tsdb_buf_put_uvarint(out, len);
    tsdb_buf_put(out, data, len);
}

/* What was written since `begin` becomes the field. */
static void wrap(struct tsdb_buf *out, size_t begin, uint32_t field)
{
    uint8_t head[2 * TSDB_VARINT64_BYTES_MAX];
    if (out->failed) {
        return;
    }
    size_t len = out->len - begin;
    uint8_t *end = tsdb_put_uvarint(head, (uint64_t)field << 3 | WIRE_LEN);
    end = tsdb_put_uvarint(end, len);
    size_t bytes = (size_t)(end - head);
    if (tsdb_buf_reserve(out, bytes)) {
        memmove(out->data + begin + bytes, out->data + begin, len);
        memcpy(out->data + begin, head, bytes);
        out->len += bytes;
    }
}

static void put_label(struct tsdb_buf *out, uint32_t field, const struct tsdb_label *l)
{
    size_t begin = out->len;
    put_bytes(out, 1, l->name, l->name_len);
    if (l->value_len > 0) {
        put_bytes(out, 2, l->value, l->value_len);
    }
    wrap(out, begin, field);
}

static void put_labels(struct tsdb_buf *out, uint32_t field, const struct tsdb_labels *labels)
{
    for (uint32_t i = 0; i < labels->count; i++) {
        put_label(out, field, &labels->items[i]);
    }
}

enum tsdb_status read_labels_merge(const struct tsdb_labels *own,
                                   const struct tsdb_labels *external, struct tsdb_arena *arena,
                                   struct tsdb_labels *out)
{
    struct tsdb_label *items =
        TSDB_ARENA_ARRAY(arena, struct tsdb_label, own->count + external->count + 1);
    if (!items) {
        return tsdb_arena_status(arena);
    }
    uint32_t n = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < own->count || j < external->count) {
        int order = i == own->count ? 1
                    : j == external->count
                        ? -1
                        : tsdb_str_compare(own->items[i].name, own->items[i].name_len,
                                           external->items[j].name, external->items[j].name_len);
        items[n++] = order <= 0 ? own->items[i] : external->items[j];
        i += order <= 0;
        j += order >= 0;
    }
    *out = (struct tsdb_labels){items, n};
    return TSDB_OK;
}

/* ---- histograms ---- */

static void put_side(struct tsdb_buf *out, uint32_t field, const struct tsdb_span *spans,
                     uint32_t span_count, const int64_t *deltas, const double *counts,
                     uint32_t bucket_count)
{
    for (uint32_t i = 0; i < span_count; i++) {
        size_t begin = out->len;
        put_varint(out, 1, tsdb_zigzag(spans[i].offset));
        put_varint(out, 2, spans[i].length);
        wrap(out, begin, field);
    }
    if (bucket_count == 0) {
        return;
    }
    size_t begin = out->len;
    for (uint32_t i = 0; i < bucket_count; i++) {
        if (deltas) {
            tsdb_buf_put_varint(out, deltas[i]);
        } else {
            tsdb_buf_put_le64(out, tsdb_double_bits(counts[i]));
        }
    }
    wrap(out, begin, deltas ? field + 1 : field + 2);
}

static void put_histogram(struct tsdb_buf *out, int64_t t_ms, const struct tsdb_histogram *h)
{
    size_t begin = out->len;
    /* Counts are members of a oneof: written also when they are 0, for which one it is. */
    put_tag(out, h->is_float ? HISTOGRAM_COUNT_FLOAT : HISTOGRAM_COUNT_INT,
            h->is_float ? WIRE_FIXED64 : WIRE_VARINT);
    if (h->is_float) {
        tsdb_buf_put_le64(out, tsdb_double_bits(h->count_float));
    } else {
        tsdb_buf_put_uvarint(out, h->count_int);
    }
    put_bits(out, HISTOGRAM_SUM, tsdb_double_bits(h->sum));
    put_varint(out, HISTOGRAM_SCHEMA, tsdb_zigzag(h->schema));
    put_bits(out, HISTOGRAM_ZERO_THRESHOLD, tsdb_double_bits(h->zero_threshold));
    put_tag(out, h->is_float ? HISTOGRAM_ZERO_FLOAT : HISTOGRAM_ZERO_INT,
            h->is_float ? WIRE_FIXED64 : WIRE_VARINT);
    if (h->is_float) {
        tsdb_buf_put_le64(out, tsdb_double_bits(h->zero_count_float));
    } else {
        tsdb_buf_put_uvarint(out, h->zero_count_int);
    }
    put_side(out, HISTOGRAM_NEGATIVE, h->negative_spans, h->negative_span_count,
             h->is_float ? NULL : h->negative_deltas, h->negative_counts, h->negative_bucket_count);
    put_side(out, HISTOGRAM_POSITIVE, h->positive_spans, h->positive_span_count,
             h->is_float ? NULL : h->positive_deltas, h->positive_counts, h->positive_bucket_count);
    put_varint(out, HISTOGRAM_RESET_HINT, (uint64_t)h->reset_hint);
    put_varint(out, HISTOGRAM_TIME, (uint64_t)t_ms);
    if (h->custom_count > 0) {
        size_t custom = out->len;
        for (uint32_t i = 0; i < h->custom_count; i++) {
            tsdb_buf_put_le64(out, tsdb_double_bits(h->custom_values[i]));
        }
        wrap(out, custom, HISTOGRAM_CUSTOM);
    }
    wrap(out, begin, SERIES_HISTOGRAMS);
}

/* ---- SAMPLES ---- */

/* Both tags, eight bytes, a varint: its length is one byte. Most of an answer is these. */
#define SAMPLE_BYTES_MAX (2 + 1 + 8 + 1 + TSDB_VARINT64_BYTES_MAX)

static void put_sample(struct tsdb_buf *out, int64_t t_ms, uint64_t bits)
{
    uint8_t *p = tsdb_buf_reserve(out, SAMPLE_BYTES_MAX);
    if (!p) {
        return;
    }
    uint8_t *body = p + 2;
    uint8_t *end = body;
    if (bits != 0) {
        *end++ = WIRE_TAG(SAMPLE_VALUE, WIRE_FIXED64);
        tsdb_store_le64(end, bits);
        end += sizeof bits;
    }
    if (t_ms != 0) {
        *end++ = WIRE_TAG(SAMPLE_TIME, WIRE_VARINT);
        end = tsdb_put_uvarint(end, (uint64_t)t_ms);
    }
    p[0] = WIRE_TAG(SERIES_SAMPLES, WIRE_LEN);
    p[1] = (uint8_t)(end - body);
    out->len += (size_t)(end - p);
}

size_t read_result_begin(const struct tsdb_buf *out)
{
    return out->len;
}

void read_result_series(struct tsdb_buf *out, const struct tsdb_labels *labels,
                        const struct tsdb_columns *columns)
{
    size_t begin = out->len;
    put_labels(out, SERIES_LABELS, labels);
    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->kind && columns->kind[i] != TSDB_SAMPLE_FLOAT) {
            put_histogram(out, columns->t_ms[i], &columns->histograms[columns->bits[i]]);
        } else {
            put_sample(out, columns->t_ms[i], columns->bits[i]);
        }
    }
    wrap(out, begin, RESULT_SERIES);
}

void read_result_end(struct tsdb_buf *out, size_t begin)
{
    wrap(out, begin, RESPONSE_RESULTS);
}

/* ---- STREAMED_XOR_CHUNKS ---- */

void read_stream_init(struct read_stream *s, struct tsdb_buf *out, size_t frame_bytes_max)
{
    TSDB_ASSERT(frame_bytes_max > 0);
    *s = (struct read_stream){.out = out, .frame_bytes_max = frame_bytes_max};
    tsdb_buf_init(&s->message, TSDB_MEM_QUERY, out->len_max);
}

void read_stream_deinit(struct read_stream *s)
{
    tsdb_buf_deinit(&s->message);
}

/* The open frame goes out; the labels stay for the next. */
static enum tsdb_status flush_frame(struct read_stream *s)
{
    struct tsdb_buf *m = &s->message;
    uint8_t head[2 * TSDB_VARINT64_BYTES_MAX];
    uint8_t tail[2 * TSDB_VARINT64_BYTES_MAX];
    uint8_t *head_end = tsdb_put_uvarint(head, WIRE_TAG(STREAM_SERIES, WIRE_LEN));
    head_end = tsdb_put_uvarint(head_end, m->len);
    uint8_t *tail_end = tail;
    if (s->query_index != 0) {
        tail_end = tsdb_put_uvarint(tail_end, WIRE_TAG(STREAM_QUERY, WIRE_VARINT));
        tail_end = tsdb_put_uvarint(tail_end, (uint64_t)s->query_index);
    }
    size_t head_len = (size_t)(head_end - head);
    size_t tail_len = (size_t)(tail_end - tail);
    uint32_t crc = tsdb_crc32c(0, head, head_len);
    crc = tsdb_crc32c(crc, m->data, m->len);
    crc = tsdb_crc32c(crc, tail, tail_len);
    const uint8_t big_endian[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                                   (uint8_t)crc};
    tsdb_buf_put_uvarint(s->out, head_len + m->len + tail_len);
    tsdb_buf_put(s->out, big_endian, sizeof big_endian);
    tsdb_buf_put(s->out, head, head_len);
    tsdb_buf_put(s->out, m->data, m->len);
    tsdb_buf_put(s->out, tail, tail_len);
    m->len = s->labels_bytes;
    s->frame_bytes_left = (int64_t)s->frame_bytes_max - (int64_t)s->labels_bytes;
    return s->out->failed ? TSDB_LIMIT : TSDB_OK;
}

static enum tsdb_status on_chunk(void *ctx, const struct prom_chunk *chunk, struct tsdb_error *err)
{
    struct read_stream *s = ctx;
    struct tsdb_buf *m = &s->message;
    size_t begin = m->len;
    put_varint(m, CHUNK_MIN, (uint64_t)chunk->t_min);
    put_varint(m, CHUNK_MAX, (uint64_t)chunk->t_max);
    put_varint(m, CHUNK_TYPE, (uint64_t)chunk->encoding);
    put_bytes(m, CHUNK_DATA, chunk->data, chunk->len);
    s->frame_bytes_left -= (int64_t)(m->len - begin);
    wrap(m, begin, CHUNKED_CHUNKS);
    if (m->failed) {
        return tsdb_error_nomem(err, "a frame of chunks");
    }
    return s->frame_bytes_left > 0 ? TSDB_OK : flush_frame(s);
}

enum tsdb_status read_stream_series(struct read_stream *s, int64_t query_index,
                                    const struct tsdb_labels *labels,
                                    const struct tsdb_columns *columns, struct tsdb_error *err)
{
    struct prom_chunk_writer *w = NULL;
    s->query_index = query_index;
    tsdb_buf_clear(&s->message);
    put_labels(&s->message, CHUNKED_LABELS, labels);
    s->labels_bytes = s->message.len;
    s->frame_bytes_left = (int64_t)s->frame_bytes_max - (int64_t)s->labels_bytes;
    enum tsdb_status status =
        prom_chunk_writer_create(PROM_CHUNK_SAMPLES_DEFAULT, PROM_CHUNK_BYTES_DEFAULT,
                                 (struct prom_chunk_sink){on_chunk, s}, &w);
    if (status == TSDB_OK) {
        status = prom_chunk_writer_columns(w, columns, err);
    }
    if (status == TSDB_OK) {
        status = prom_chunk_writer_finish(w, err);
    }
    if (status == TSDB_OK && s->message.len > s->labels_bytes) {
        status = flush_frame(s);
    }
    prom_chunk_writer_destroy(w);
    return status;
}
