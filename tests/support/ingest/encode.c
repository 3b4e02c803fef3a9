#include "tests/support/ingest/encode.h"

#include "base/assert.h"
#include "ingest/wire.h"

#include <snappy-c.h>

/* A nested message has its length in front: it is written behind a gap of this size, then moved up.
 * The longest length of an int32 has 5 bytes. */
#define LENGTH_BYTES_MAX 5

static void put_tag(struct tsdb_buf *b, uint32_t field, enum wire_type type)
{
    tsdb_buf_put_uvarint(b, (uint64_t)field << 3 | type);
}

/* Scalars that are zero are left out. */
static void put_varint_field(struct tsdb_buf *b, uint32_t field, uint64_t v)
{
    if (v != 0) {
        put_tag(b, field, WIRE_VARINT);
        tsdb_buf_put_uvarint(b, v);
    }
}

static void put_bits_field(struct tsdb_buf *b, uint32_t field, uint64_t bits)
{
    if (bits != 0) {
        put_tag(b, field, WIRE_FIXED64);
        tsdb_buf_put_le64(b, bits);
    }
}

static void put_double_field(struct tsdb_buf *b, uint32_t field, double v)
{
    put_bits_field(b, field, tsdb_double_bits(v));
}

static void put_bytes_field(struct tsdb_buf *b, uint32_t field, const void *data, size_t len)
{
    put_tag(b, field, WIRE_LEN);
    tsdb_buf_put_uvarint(b, len);
    if (len > 0) {
        tsdb_buf_put(b, data, len);
    }
}

/* Open a nested message; the result goes to message_end. */
static size_t message_begin(struct tsdb_buf *b, uint32_t field)
{
    static const uint8_t gap[LENGTH_BYTES_MAX];
    put_tag(b, field, WIRE_LEN);
    tsdb_buf_put(b, gap, sizeof gap);
    return b->len;
}

static void message_end(struct tsdb_buf *b, size_t begin)
{
    if (b->failed) {
        return;
    }
    size_t len = b->len - begin;
    TSDB_ASSERT(len <= INT32_MAX);
    uint8_t *at = b->data + begin - LENGTH_BYTES_MAX;
    uint8_t length[TSDB_VARINT64_BYTES_MAX];
    size_t length_bytes = (size_t)(tsdb_put_uvarint(length, len) - length);
    memcpy(at, length, length_bytes);
    memmove(at + length_bytes, b->data + begin, len);
    b->len -= LENGTH_BYTES_MAX - length_bytes;
}

/* ---- histograms, the same in both versions but for the start timestamp ---- */

static void put_spans(struct tsdb_buf *b, uint32_t field, const struct tsdb_span *spans,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t at = message_begin(b, field);
        put_varint_field(b, 1, (uint32_t)tsdb_zigzag(spans[i].offset));
        put_varint_field(b, 2, spans[i].length);
        message_end(b, at);
    }
}

static void put_deltas(struct tsdb_buf *b, uint32_t field, const int64_t *deltas, uint32_t count)
{
    if (count == 0) {
        return;
    }
    size_t at = message_begin(b, field);
    for (uint32_t i = 0; i < count; i++) {
        tsdb_buf_put_varint(b, deltas[i]);
    }
    message_end(b, at);
}

static void put_doubles(struct tsdb_buf *b, uint32_t field, const double *values, uint32_t count)
{
    if (count > 0) {
        put_bytes_field(b, field, values, (size_t)count * sizeof *values);
    }
}

/* Members of a oneof are written even if zero: they say which kind it is. */
static void put_counts(struct tsdb_buf *b, const struct tsdb_histogram *h)
{
    if (h->is_float) {
        put_tag(b, 2, WIRE_FIXED64);
        tsdb_buf_put_le64(b, tsdb_double_bits(h->count_float));
    } else {
        put_tag(b, 1, WIRE_VARINT);
        tsdb_buf_put_uvarint(b, h->count_int);
    }
    put_double_field(b, 3, h->sum);
    put_varint_field(b, 4, (uint32_t)tsdb_zigzag(h->schema));
    put_double_field(b, 5, h->zero_threshold);
    if (h->is_float) {
        put_tag(b, 7, WIRE_FIXED64);
        tsdb_buf_put_le64(b, tsdb_double_bits(h->zero_count_float));
    } else {
        put_tag(b, 6, WIRE_VARINT);
        tsdb_buf_put_uvarint(b, h->zero_count_int);
    }
}

static void put_histogram(struct tsdb_buf *b, uint32_t field, const struct encode_histogram *e,
                          bool has_start)
{
    const struct tsdb_histogram *h = &e->histogram;
    size_t at = message_begin(b, field);
    put_counts(b, h);
    put_spans(b, 8, h->negative_spans, h->negative_span_count);
    if (h->is_float) {
        put_doubles(b, 10, h->negative_counts, h->negative_bucket_count);
    } else {
        put_deltas(b, 9, h->negative_deltas, h->negative_bucket_count);
    }
    put_spans(b, 11, h->positive_spans, h->positive_span_count);
    if (h->is_float) {
        put_doubles(b, 13, h->positive_counts, h->positive_bucket_count);
    } else {
        put_deltas(b, 12, h->positive_deltas, h->positive_bucket_count);
    }
    put_varint_field(b, 14, (uint64_t)h->reset_hint);
    put_varint_field(b, 15, (uint64_t)e->t_ms);
    put_doubles(b, 16, h->custom_values, h->custom_count);
    if (has_start) {
        put_varint_field(b, 17, (uint64_t)e->start_ms);
    }
    message_end(b, at);
}

static void put_sample(struct tsdb_buf *b, const struct encode_sample *s, bool has_start)
{
    size_t at = message_begin(b, 2);
    put_bits_field(b, 1, s->bits);
    put_varint_field(b, 2, (uint64_t)s->t_ms);
    if (has_start) {
        put_varint_field(b, 3, (uint64_t)s->start_ms);
    }
    message_end(b, at);
}

/* ---- 1.0 ---- */

static void put_v1_labels(struct tsdb_buf *b, const struct tsdb_labels *labels)
{
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        size_t at = message_begin(b, 1);
        put_bytes_field(b, 1, l->name, l->name_len);
        put_bytes_field(b, 2, l->value, l->value_len);
        message_end(b, at);
    }
}

void encode_v1_series(const struct encode_series *series, struct tsdb_buf *out)
{
    size_t at = message_begin(out, 1);
    put_v1_labels(out, &series->labels);
    for (uint32_t i = 0; i < series->sample_count; i++) {
        put_sample(out, &series->samples[i], false);
    }
    for (uint32_t i = 0; i < series->exemplar_count; i++) {
        const struct tsdb_exemplar *e = &series->exemplars[i];
        size_t exemplar = message_begin(out, 3);
        put_v1_labels(out, &e->labels);
        put_bits_field(out, 2, e->bits);
        put_varint_field(out, 3, (uint64_t)e->t_ms);
        message_end(out, exemplar);
    }
    for (uint32_t i = 0; i < series->histogram_count; i++) {
        put_histogram(out, 4, &series->histograms[i], false);
    }
    message_end(out, at);
}

static void put_optional_bytes(struct tsdb_buf *b, uint32_t field, struct tsdb_slice s)
{
    if (s.len > 0) {
        put_bytes_field(b, field, s.data, s.len);
    }
}

void encode_v1_metadata(const struct tsdb_metadata *metadata, struct tsdb_buf *out)
{
    size_t at = message_begin(out, 3);
    put_varint_field(out, 1, (uint64_t)metadata->type);
    put_optional_bytes(out, 2, metadata->metric);
    put_optional_bytes(out, 4, metadata->help);
    put_optional_bytes(out, 5, metadata->unit);
    message_end(out, at);
}

/* ---- 2.0 ---- */

/* The symbol table: open addressing over symbols in the order of their first use. */
struct symbols {
    struct tsdb_slice *items;
    uint32_t count;
    uint32_t cap;
    uint32_t *slots; /* index + 1, 0 = free; twice cap */
    bool failed;
};

static void symbols_deinit(struct symbols *t)
{
    tsdb_mem_free(TSDB_MEM_OTHER, t->items, t->cap * sizeof *t->items);
    tsdb_mem_free(TSDB_MEM_OTHER, t->slots, sizeof *t->slots * 2 * t->cap);
}

static uint32_t *symbols_slot(const struct symbols *t, struct tsdb_slice s)
{
    uint32_t mask = 2 * t->cap - 1;
    uint32_t i = (uint32_t)tsdb_hash64_plain(s.data, s.len) & mask;
    while (t->slots[i] != 0) {
        const struct tsdb_slice *have = &t->items[t->slots[i] - 1];
        if (have->len == s.len && (s.len == 0 || memcmp(have->data, s.data, s.len) == 0)) {
            break;
        }
        i = (i + 1) & mask;
    }
    return &t->slots[i];
}

static bool symbols_grow(struct symbols *t)
{
    struct symbols bigger = {.count = t->count, .cap = t->cap == 0 ? 256 : t->cap * 2};
    bigger.items = tsdb_mem_alloc(TSDB_MEM_OTHER, bigger.cap * sizeof *bigger.items);
    bigger.slots = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *bigger.slots * 2 * bigger.cap);
    if (!bigger.items || !bigger.slots) {
        symbols_deinit(&bigger);
        return false;
    }
    if (t->count > 0) {
        memcpy(bigger.items, t->items, t->count * sizeof *t->items);
    }
    for (uint32_t i = 0; i < t->count; i++) {
        *symbols_slot(&bigger, bigger.items[i]) = i + 1;
    }
    symbols_deinit(t);
    *t = bigger;
    return true;
}

static uint32_t symbols_ref(struct symbols *t, const void *data, size_t len)
{
    if (t->failed || (t->count == t->cap && !symbols_grow(t))) {
        t->failed = true;
        return 0;
    }
    struct tsdb_slice s = {data, len};
    uint32_t *slot = symbols_slot(t, s);
    if (*slot == 0) {
        t->items[t->count++] = s;
        *slot = t->count;
    }
    return *slot - 1;
}

static void put_v2_refs(struct tsdb_buf *b, struct symbols *t, const struct tsdb_labels *labels)
{
    if (labels->count == 0) {
        return;
    }
    size_t at = message_begin(b, 1);
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        tsdb_buf_put_uvarint(b, symbols_ref(t, l->name, l->name_len));
        tsdb_buf_put_uvarint(b, symbols_ref(t, l->value, l->value_len));
    }
    message_end(b, at);
}

static void put_v2_series(struct tsdb_buf *b, struct symbols *t, const struct encode_series *series)
{
    size_t at = message_begin(b, 5);
    put_v2_refs(b, t, &series->labels);
    for (uint32_t i = 0; i < series->sample_count; i++) {
        put_sample(b, &series->samples[i], true);
    }
    for (uint32_t i = 0; i < series->histogram_count; i++) {
        put_histogram(b, 3, &series->histograms[i], true);
    }
    for (uint32_t i = 0; i < series->exemplar_count; i++) {
        const struct tsdb_exemplar *e = &series->exemplars[i];
        size_t exemplar = message_begin(b, 4);
        put_v2_refs(b, t, &e->labels);
        put_bits_field(b, 2, e->bits);
        put_varint_field(b, 3, (uint64_t)e->t_ms);
        message_end(b, exemplar);
    }
    if (series->metadata != NULL) {
        const struct tsdb_metadata *m = series->metadata;
        size_t metadata = message_begin(b, 5);
        put_varint_field(b, 1, (uint64_t)m->type);
        put_varint_field(b, 3, symbols_ref(t, m->help.data, m->help.len));
        put_varint_field(b, 4, symbols_ref(t, m->unit.data, m->unit.len));
        message_end(b, metadata);
    }
    if (series->created_ms != 0) {
        put_varint_field(b, 6, (uint64_t)series->created_ms);
    }
    message_end(b, at);
}

enum tsdb_status encode_v2_request(const struct encode_series *series, uint32_t series_count,
                                   struct tsdb_buf *out)
{
    /* Series first, into a buffer of their own: only then are all symbols known, which go in front.
     */
    struct symbols t = {0};
    struct tsdb_buf body;
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    symbols_ref(&t, "", 0);
    for (uint32_t i = 0; i < series_count; i++) {
        put_v2_series(&body, &t, &series[i]);
    }
    for (uint32_t i = 0; i < t.count; i++) {
        put_bytes_field(out, 4, t.items[i].data, t.items[i].len);
    }
    tsdb_buf_put(out, body.data, body.len);
    enum tsdb_status status = body.failed || t.failed || out->failed ? TSDB_NOMEM : TSDB_OK;
    tsdb_buf_deinit(&body);
    symbols_deinit(&t);
    return status;
}

enum tsdb_status encode_snappy(const struct tsdb_buf *raw, struct tsdb_buf *out)
{
    if (raw->failed) {
        return TSDB_NOMEM;
    }
    size_t len = snappy_max_compressed_length(raw->len);
    uint8_t *to = tsdb_buf_reserve(out, len);
    if (!to) {
        return TSDB_NOMEM;
    }
    snappy_status s =
        snappy_compress(raw->len > 0 ? (const char *)raw->data : "", raw->len, (char *)to, &len);
    TSDB_ASSERT(s == SNAPPY_OK); /* the room is what it asked for */
    out->len += len;
    return TSDB_OK;
}
