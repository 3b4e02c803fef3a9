#include "tsdb/chunk/histograms.h"

#include "base/assert.h"
#include "base/limits.h"
#include "compress/time_codec.h"
#include "compress/value_codec.h"
#include "model/histogram.h"
#include "model/version.h"

#include <inttypes.h>
#include <string.h>

#define FLAG_FLOAT     1u
#define SCALARS        3u                                  /* sum, count, zero count */
#define HEAD_BYTES_MAX (1u + TSDB_VARINT64_BYTES_MAX + 8u) /* flags, schema, zero threshold */

/* Where the parts of a raw form lie. Head, spans and custom bounds are its layout. */
struct parts {
    struct tsdb_slice head, spans, custom;
    uint64_t sum, count, zero_count;
    const uint8_t *buckets; /* behind the spans */
    uint32_t positive, negative;
    bool is_float;
};

/* ---- raw forms, read ---- */

static const struct tsdb_raw_histogram *raw_histogram(uint64_t value)
{
    return (const struct tsdb_raw_histogram *)(uintptr_t)value;
}

static size_t uvarint_bytes(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7) {
        n++;
    }
    return n;
}

/* Written as short as it can be: another form would not come back. */
static uint64_t shortest_uvarint(struct tsdb_reader *r)
{
    const uint8_t *begin = r->pos;
    uint64_t v = tsdb_reader_uvarint(r);
    r->failed = r->failed || (size_t)(r->pos - begin) != uvarint_bytes(v);
    return v;
}

/* How many buckets the spans describe. */
static uint32_t spans_buckets(struct tsdb_reader *r)
{
    uint64_t count = tsdb_reader_uvarint(r);
    uint64_t buckets = 0;
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        (void)tsdb_reader_varint(r);
        uint64_t length = tsdb_reader_uvarint(r);
        r->failed = r->failed || length > TSDB_HISTOGRAM_BUCKETS_MAX - buckets;
        buckets += r->failed ? 0 : length;
    }
    return (uint32_t)buckets;
}

static struct tsdb_slice between(const uint8_t *from, const uint8_t *to)
{
    return (struct tsdb_slice){from, (size_t)(to - from)};
}

static uint64_t number_read(struct tsdb_reader *r, bool is_float)
{
    return is_float ? tsdb_reader_le64(r) : shortest_uvarint(r);
}

/* Everything in front of the buckets. False: no raw form of a version that is known, or one that
 * would not come back. */
static bool front_read(struct tsdb_reader *r, struct parts *p)
{
    if (tsdb_reader_u8(r) != TSDB_FORMAT_HISTOGRAM || r->failed) {
        return false;
    }
    const uint8_t *at = r->pos;
    p->is_float = tsdb_reader_u8(r) & FLAG_FLOAT;
    (void)tsdb_reader_varint(r);
    (void)tsdb_reader_le64(r);
    p->head = between(at, r->pos);
    p->sum = tsdb_reader_le64(r);
    p->count = number_read(r, p->is_float);
    p->zero_count = number_read(r, p->is_float);
    at = r->pos;
    p->positive = spans_buckets(r);
    p->negative = spans_buckets(r);
    p->spans = between(at, r->pos);
    p->buckets = r->pos;
    return !r->failed;
}

static bool parts_read(const struct tsdb_raw_histogram *raw, struct parts *p)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, raw->data, raw->len);
    bool ok = front_read(&r, p);
    for (uint32_t i = 0; ok && i < p->positive + p->negative && !r.failed; i++) {
        (void)number_read(&r, p->is_float);
    }
    p->custom = between(r.pos, raw->data + raw->len);
    return ok && !r.failed;
}

static bool slices_equal(struct tsdb_slice a, struct tsdb_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool layouts_equal(const struct parts *a, const struct parts *b)
{
    return slices_equal(a->head, b->head) && slices_equal(a->spans, b->spans) &&
           slices_equal(a->custom, b->custom);
}

/* ---- packing ---- */

struct packer {
    uint8_t *out, *at;
    size_t limit;
    size_t cells; /* so far */
    /* [n] each, behind the limit: a column; where each sample's next bucket is; its last count. */
    uint64_t *column;
    const uint8_t **next;
    uint64_t *last;
    bool failed;
};

static size_t column_bytes_max(uint32_t n)
{
    return TSDB_VARINT64_BYTES_MAX + TSDB_MAX(time_codec_bytes_max(n), value_codec_bytes_max(n));
}

size_t histograms_pack_room(uint32_t n)
{
    return column_bytes_max(n) + (size_t)n * 3 * sizeof(uint64_t) + sizeof(uint64_t);
}

static void packer_init(struct packer *p, uint32_t n, size_t limit, uint8_t *out)
{
    uintptr_t from = (uintptr_t)(out + limit + column_bytes_max(n));
    uint8_t *scratch = out + limit + column_bytes_max(n) + (-from & (sizeof(uint64_t) - 1));
    void *column = scratch;
    void *next = scratch + (size_t)n * sizeof(uint64_t);
    void *last = scratch + (size_t)n * 2 * sizeof(uint64_t);
    static_assert(sizeof(uint8_t *) == sizeof(uint64_t), "the room has three of the same size");
    *p = (struct packer){
        .out = out, .at = out, .limit = limit, .column = column, .next = next, .last = last};
}

/* Is there still something to win? Each column begins below the limit, so it ends in the room. */
static bool packer_goes_on(struct packer *p)
{
    p->failed = p->failed || (size_t)(p->at - p->out) >= p->limit;
    return !p->failed;
}

static void column_put(struct packer *p, uint32_t n, bool floats)
{
    if (!packer_goes_on(p)) {
        return;
    }
    uint8_t *body = p->at + TSDB_VARINT64_BYTES_MAX;
    size_t len = floats ? value_codec_encode(p->column, n, NULL, body)
                        : time_codec_encode((const int64_t *)p->column, n, body);
    p->at = tsdb_put_uvarint(p->at, len);
    memmove(p->at, body, len);
    p->at += len;
}

static void slice_put(struct packer *p, struct tsdb_slice s)
{
    size_t used = (size_t)(p->at - p->out);
    p->failed = p->failed || used >= p->limit || s.len >= p->limit - used;
    if (!p->failed) {
        p->at = tsdb_put_uvarint(p->at, s.len);
        if (s.len > 0) {
            memcpy(p->at, s.data, s.len);
        }
        p->at += s.len;
    }
}

/* The next bucket of every sample: floats as they are, integers as counts. */
static void bucket_column_fill(struct packer *p, uint32_t n, bool is_float)
{
    for (uint32_t i = 0; i < n; i++) {
        if (is_float) {
            p->column[i] = tsdb_load_le64(p->next[i]);
            p->next[i] += sizeof(uint64_t);
            continue;
        }
        int64_t delta = 0;
        p->next[i] = tsdb_get_varint(p->next[i], p->next[i] + TSDB_VARINT64_BYTES_MAX, &delta);
        TSDB_ASSERT(p->next[i] != NULL); /* parts_read was here */
        p->last[i] += (uint64_t)delta;
        p->column[i] = p->last[i];
    }
}

static void side_put(struct packer *p, uint32_t n, uint32_t buckets, bool is_float)
{
    memset(p->last, 0, n * sizeof *p->last);
    for (uint32_t b = 0; b < buckets && packer_goes_on(p); b++) {
        bucket_column_fill(p, n, is_float);
        column_put(p, n, is_float);
    }
}

/* value[0..n) have the layout of `first`. */
static void stretch_put(struct packer *p, const uint64_t *value, uint32_t n,
                        const struct parts *first)
{
    struct parts x = {0};
    p->cells += (size_t)n * (SCALARS + first->positive + first->negative);
    p->failed = p->failed || p->cells > HISTOGRAMS_CELLS_MAX;
    if (!packer_goes_on(p)) {
        return;
    }
    p->at = tsdb_put_uvarint(p->at, n);
    slice_put(p, first->head);
    slice_put(p, first->spans);
    slice_put(p, first->custom);
    for (uint32_t k = 0; k < SCALARS && packer_goes_on(p); k++) {
        for (uint32_t i = 0; i < n; i++) {
            struct tsdb_reader r;
            tsdb_reader_init(&r, raw_histogram(value[i])->data, raw_histogram(value[i])->len);
            bool ok = front_read(&r, &x);
            TSDB_ASSERT(ok); /* parts_read was here */
            p->column[i] = k == 0 ? x.sum : k == 1 ? x.count : x.zero_count;
            p->next[i] = x.buckets;
        }
        column_put(p, n, k == 0 || first->is_float);
    }
    side_put(p, n, first->positive, first->is_float);
    side_put(p, n, first->negative, first->is_float);
}

size_t histograms_pack(const uint64_t *value, uint32_t n, size_t limit, uint8_t *out)
{
    struct packer p;
    size_t bytes = 0;
    packer_init(&p, n, limit, out);
    for (uint32_t begin = 0; begin < n && packer_goes_on(&p);) {
        struct parts first = {0};
        struct parts x = {0};
        if (!parts_read(raw_histogram(value[begin]), &first)) {
            return 0;
        }
        uint32_t end = begin + 1;
        while (end < n && parts_read(raw_histogram(value[end]), &x) && layouts_equal(&first, &x)) {
            end++;
        }
        for (uint32_t i = begin; i < end; i++) {
            bytes += raw_histogram(value[i])->len;
        }
        stretch_put(&p, value + begin, end - begin, &first);
        begin = end;
    }
    return packer_goes_on(&p) && bytes <= HISTOGRAMS_BYTES_MAX ? (size_t)(p.at - out) : 0;
}

/* ---- unpacking ---- */

struct unpacker {
    struct tsdb_reader r;
    struct tsdb_arena *arena;
    uint64_t *out;
    size_t cells, bytes; /* so far */
};
/* A stretch of n samples. */
struct layout {
    uint32_t n, positive, negative;
    bool is_float;
    struct tsdb_slice head, spans, custom;
    uint64_t *cells; /* column by column */
};

static enum tsdb_status corrupt(const struct unpacker *u, const char *what, struct tsdb_error *err)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, (uint64_t)(u->r.pos - u->r.begin),
                             "packed histograms: %s", what);
}

static struct tsdb_slice slice_get(struct unpacker *u)
{
    uint64_t len = tsdb_reader_uvarint(&u->r);
    return len <= tsdb_reader_left(&u->r) ? tsdb_reader_bytes(&u->r, (size_t)len)
                                          : tsdb_reader_bytes(&u->r, SIZE_MAX);
}

static enum tsdb_status layout_get(struct unpacker *u, uint32_t left, struct layout *l,
                                   struct tsdb_error *err)
{
    struct tsdb_reader spans;
    uint64_t n = tsdb_reader_uvarint(&u->r);
    l->head = slice_get(u);
    l->spans = slice_get(u);
    l->custom = slice_get(u);
    if (u->r.failed || n == 0 || n > left || l->head.len == 0 || l->head.len > HEAD_BYTES_MAX) {
        return corrupt(u, "no layout", err);
    }
    l->n = (uint32_t)n;
    l->is_float = l->head.data[0] & FLAG_FLOAT;
    tsdb_reader_init(&spans, l->spans.data, l->spans.len);
    l->positive = spans_buckets(&spans);
    l->negative = spans_buckets(&spans);
    if (spans.failed || tsdb_reader_left(&spans) > 0) {
        return corrupt(u, "no spans", err);
    }
    u->cells += (size_t)l->n * (SCALARS + l->positive + l->negative);
    return u->cells <= HISTOGRAMS_CELLS_MAX ? TSDB_OK : corrupt(u, "too many numbers", err);
}

static enum tsdb_status columns_get(struct unpacker *u, struct layout *l, struct tsdb_error *err)
{
    uint32_t columns = SCALARS + l->positive + l->negative;
    l->cells = TSDB_ARENA_ARRAY(u->arena, uint64_t, (size_t)columns * l->n);
    if (!l->cells) {
        return tsdb_error_set(err, tsdb_arena_status(u->arena),
                              "no memory for the columns of %u histograms", l->n);
    }
    for (uint32_t k = 0; k < columns; k++) {
        uint64_t *column = l->cells + (size_t)k * l->n;
        struct tsdb_slice s = slice_get(u);
        if (u->r.failed || s.len == 0) {
            return corrupt(u, "a column is missing", err);
        }
        enum tsdb_status status =
            k == 0 || l->is_float
                ? value_codec_decode(s.data, s.len, l->n, column, err)
                : time_codec_decode_any(s.data, s.len, l->n, (int64_t *)column, err);
        if (status != TSDB_OK) {
            if (err) {
                err->pos += (uint64_t)(s.data - u->r.begin);
            }
            return tsdb_error_prefix(err, status, "packed histograms, column %u", k);
        }
    }
    return TSDB_OK;
}

/* Counts become differences to the bucket before, as the raw form has them, zigzagged. */
static void buckets_to_deltas(const struct layout *l, uint32_t first, uint32_t buckets)
{
    for (uint32_t k = buckets; k > 0; k--) {
        uint64_t *column = l->cells + (size_t)(first + k - 1) * l->n;
        const uint64_t *before = k > 1 ? column - l->n : NULL;
        for (uint32_t i = 0; i < l->n; i++) {
            column[i] = tsdb_zigzag((int64_t)(column[i] - (before ? before[i] : 0)));
        }
    }
}

static size_t raw_bytes(const struct layout *l, uint32_t i)
{
    uint32_t columns = SCALARS + l->positive + l->negative;
    size_t bytes = 1 + l->head.len + l->spans.len + l->custom.len + sizeof(uint64_t);
    if (l->is_float) {
        return bytes + (size_t)(columns - 1) * sizeof(uint64_t);
    }
    for (uint32_t k = 1; k < columns; k++) {
        bytes += uvarint_bytes(l->cells[(size_t)k * l->n + i]);
    }
    return bytes;
}

static uint8_t *slice_copy(uint8_t *p, struct tsdb_slice s)
{
    if (s.len > 0) {
        memcpy(p, s.data, s.len);
    }
    return p + s.len;
}

static uint8_t *number_copy(uint8_t *p, const struct layout *l, uint32_t column, uint32_t i)
{
    uint64_t v = l->cells[(size_t)column * l->n + i];
    if (column == 0 || l->is_float) {
        tsdb_store_le64(p, v);
        return p + sizeof v;
    }
    return tsdb_put_uvarint(p, v);
}

static uint8_t *raw_make(uint8_t *p, const struct layout *l, uint32_t i)
{
    *p++ = TSDB_FORMAT_HISTOGRAM;
    p = slice_copy(p, l->head);
    for (uint32_t k = 0; k < SCALARS; k++) {
        p = number_copy(p, l, k, i);
    }
    p = slice_copy(p, l->spans);
    for (uint32_t k = SCALARS; k < SCALARS + l->positive + l->negative; k++) {
        p = number_copy(p, l, k, i);
    }
    return slice_copy(p, l->custom);
}

/* The raw forms of a stretch, in one piece of memory. */
static enum tsdb_status raws_make(struct unpacker *u, const struct layout *l,
                                  struct tsdb_error *err)
{
    size_t bytes = 0;
    if (!l->is_float) {
        buckets_to_deltas(l, SCALARS, l->positive);
        buckets_to_deltas(l, SCALARS + l->positive, l->negative);
    }
    for (uint32_t i = 0; i < l->n; i++) {
        bytes += raw_bytes(l, i);
        if (bytes > HISTOGRAMS_BYTES_MAX - u->bytes) {
            return corrupt(u, "too many bytes", err);
        }
    }
    u->bytes += bytes;
    struct tsdb_raw_histogram *raw = TSDB_ARENA_ARRAY(u->arena, struct tsdb_raw_histogram, l->n);
    uint8_t *p = raw ? tsdb_arena_alloc(u->arena, bytes, 1) : NULL;
    if (!p) {
        return tsdb_error_set(err, tsdb_arena_status(u->arena), "no memory for %u histograms",
                              l->n);
    }
    for (uint32_t i = 0; i < l->n; i++) {
        uint8_t *end = raw_make(p, l, i);
        if ((size_t)(end - p) > TSDB_HISTOGRAM_BYTES_MAX) {
            return corrupt(u, "a histogram is too long", err);
        }
        raw[i] = (struct tsdb_raw_histogram){(uint32_t)(end - p), p};
        u->out[i] = (uint64_t)(uintptr_t)&raw[i];
        p = end;
    }
    u->out += l->n;
    return TSDB_OK;
}

enum tsdb_status histograms_unpack(struct tsdb_slice src, uint32_t n, struct tsdb_arena *arena,
                                   uint64_t *out, struct tsdb_error *err)
{
    struct unpacker u = {.arena = arena, .out = out};
    uint32_t left = n;
    tsdb_reader_init(&u.r, src.data, src.len);
    while (left > 0) {
        struct layout l = {0};
        enum tsdb_status status = layout_get(&u, left, &l, err);
        status = status == TSDB_OK ? columns_get(&u, &l, err) : status;
        status = status == TSDB_OK ? raws_make(&u, &l, err) : status;
        if (status != TSDB_OK) {
            return status;
        }
        left -= l.n;
    }
    return tsdb_reader_left(&u.r) == 0 ? TSDB_OK : corrupt(&u, "bytes after the last one", err);
}
