#include "tsdb/chunk/chunk.h"

#include "base/assert.h"
#include "base/limits.h"
#include "compress/time_codec.h"
#include "compress/value_codec.h"
#include "tsdb/chunk/histograms.h"

#include <inttypes.h>
#include <math.h>

#define VERSION       1
#define FLAG_KIND     3u /* mask: enum tsdb_sample_kind */
#define FLAG_STARTS   4u
#define FLAG_DETACHED 8u  /* the time column is elsewhere */
#define FLAG_PACKED   16u /* histograms: as columns */
#define COLUMNS_MAX   3u
#define EXACT_DOUBLE  9007199254740992.0 /* 2^53: below it every integer is a double */
/* version, flags, count, a length per column */
#define HEADER_BYTES_MAX (2u + TSDB_VARINT64_BYTES_MAX * (1u + COLUMNS_MAX))

static_assert(CHUNK_SAMPLES_MAX <= COLUMN_COUNT_MAX, "a chunk is one column of each sort");
static_assert(sizeof(struct value_hint) == sizeof(struct chunk_hint), "the one holds the other");

/* Where the parts of a chunk lie; columns borrow from the source. */
struct layout {
    struct chunk_info info;
    bool packed; /* histograms */
    struct tsdb_slice times, values, starts;
};

/* ---- histograms ---- */

static const struct tsdb_raw_histogram *raw_histogram(uint64_t value)
{
    return (const struct tsdb_raw_histogram *)(uintptr_t)value;
}

/* Of one raw form after the other. */
static size_t histograms_raw_bytes(const struct chunk_samples *s)
{
    uint8_t length[TSDB_VARINT64_BYTES_MAX];
    size_t bytes = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t len = raw_histogram(s->value[i])->len;
        bytes += (size_t)(tsdb_put_uvarint(length, len) - length) + len;
    }
    return bytes;
}

static size_t histograms_encode_raw(const struct chunk_samples *s, uint8_t *out)
{
    uint8_t *p = out;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tsdb_raw_histogram *h = raw_histogram(s->value[i]);
        TSDB_ASSERT(h->len > 0 && h->len <= TSDB_HISTOGRAM_BYTES_MAX);
        p = tsdb_put_uvarint(p, h->len);
        memcpy(p, h->data, h->len);
        p += h->len;
    }
    return (size_t)(p - out);
}

/* Packed, if that is shorter than one raw form after the other. */
static size_t histograms_encode(const struct chunk_samples *s, bool *out_packed, uint8_t *out)
{
    size_t packed = histograms_pack(s->value, s->count, histograms_raw_bytes(s), out);
    *out_packed = packed > 0;
    return packed > 0 ? packed : histograms_encode_raw(s, out);
}

/* The column is copied whole, the raw forms then point into the copy. */
static enum tsdb_status histograms_decode(struct tsdb_slice src, uint32_t n,
                                          struct tsdb_arena *arena, uint64_t *out,
                                          struct tsdb_error *err)
{
    if ((size_t)n * 2 > src.len) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0, "%zu bytes for %u histograms", src.len, n);
    }
    struct tsdb_raw_histogram *raw = TSDB_ARENA_ARRAY(arena, struct tsdb_raw_histogram, n);
    uint8_t *copy = raw ? tsdb_arena_alloc(arena, src.len, 1) : NULL;
    if (!copy) {
        return tsdb_error_set(err, arena->failure, "no memory for %u histograms of a chunk", n);
    }
    TSDB_ASSERT(src.data != NULL);
    memcpy(copy, src.data, src.len);
    const uint8_t *p = copy, *end = copy + src.len;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t len = 0;
        const uint8_t *data = tsdb_get_uvarint(p, end, &len);
        if (!data || len == 0 || len > TSDB_HISTOGRAM_BYTES_MAX || len > (uint64_t)(end - data)) {
            return tsdb_error_set_at(
                err, TSDB_CORRUPT, (uint64_t)(p - copy),
                "length of histogram %u of %u is not within 1 and what is left", i, n);
        }
        raw[i] = (struct tsdb_raw_histogram){(uint32_t)len, data};
        out[i] = (uint64_t)(uintptr_t)&raw[i];
        p = data + len;
    }
    if (p != end) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, (uint64_t)(p - copy),
                                 "%zu bytes after the last histogram", (size_t)(end - p));
    }
    return TSDB_OK;
}

/* ---- encode ---- */

size_t chunk_encoded_bytes_max(const struct chunk_samples *s)
{
    size_t values = s->kind == TSDB_SAMPLE_FLOAT
                        ? value_codec_bytes_max(s->count)
                        : histograms_raw_bytes(s) + histograms_pack_room(s->count);
    size_t starts = s->start_ms ? time_codec_bytes_max(s->count) : 0;
    return HEADER_BYTES_MAX + time_codec_bytes_max(s->count) + values + starts;
}

static size_t floats_encode(const struct chunk_samples *s, struct chunk_hint *hint, uint8_t *out)
{
    struct value_hint value_hint = {0};
    if (hint) {
        memcpy(&value_hint, hint, sizeof value_hint);
    }
    size_t len = value_codec_encode(s->value, s->count, &value_hint, out);
    if (hint) {
        memcpy(hint, &value_hint, sizeof value_hint);
    }
    return len;
}

/* What stands in front of the columns; the columns' lengths are known. Returns the byte after. */
static uint8_t *header_put(const struct chunk_info *info, bool packed, size_t times, size_t values,
                           size_t starts, uint8_t *out)
{
    uint8_t *p = out;
    *p++ = VERSION;
    *p++ = (uint8_t)((uint32_t)info->kind | (info->has_starts ? FLAG_STARTS : 0) |
                     (info->times_detached ? FLAG_DETACHED : 0) | (packed ? FLAG_PACKED : 0));
    p = tsdb_put_uvarint(p, info->count);
    if (!info->times_detached) {
        p = tsdb_put_uvarint(p, times);
    }
    p = tsdb_put_uvarint(p, values);
    if (info->has_starts) {
        p = tsdb_put_uvarint(p, starts);
    }
    return p;
}

size_t chunk_encode(const struct chunk_samples *s, struct chunk_hint *hint, uint8_t *out)
{
    TSDB_ASSERT(s->count > 0 && s->count <= CHUNK_SAMPLES_MAX);
    /* The columns' lengths stand in front of them, and are known after: encode behind the largest
     * header, then close the gap. */
    uint8_t *columns = out + HEADER_BYTES_MAX;
    size_t times = time_codec_encode(s->t_ms, s->count, columns);
    uint8_t *values_at = columns + times;
    bool packed = false;
    size_t values = s->kind == TSDB_SAMPLE_FLOAT ? floats_encode(s, hint, values_at)
                                                 : histograms_encode(s, &packed, values_at);
    size_t starts = s->start_ms ? time_codec_encode(s->start_ms, s->count, values_at + values) : 0;
    struct chunk_info info = {
        .kind = s->kind, .count = s->count, .has_starts = s->start_ms != NULL};
    uint8_t *p = header_put(&info, packed, times, values, starts, out);
    memmove(p, columns, times + values + starts);
    return (size_t)(p - out) + times + values + starts;
}

/* ---- decode ---- */

static enum tsdb_status layout_read(const uint8_t *src, size_t len, struct layout *out,
                                    struct tsdb_error *err)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, src, len);
    uint8_t version = tsdb_reader_u8(&r);
    uint8_t flags = tsdb_reader_u8(&r);
    uint64_t count = tsdb_reader_uvarint(&r);
    if (r.failed) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0, "chunk of %zu bytes has no header", len);
    }
    if (version != VERSION) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0, "chunk version %u, expected %u", version,
                                 VERSION);
    }
    if (flags > (FLAG_PACKED | FLAG_DETACHED | FLAG_STARTS | FLAG_KIND) ||
        (flags & FLAG_KIND) > (unsigned)TSDB_SAMPLE_HISTOGRAM_FLOAT ||
        ((flags & FLAG_PACKED) && (flags & FLAG_KIND) == (unsigned)TSDB_SAMPLE_FLOAT)) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 1, "chunk flags 0x%02x are unknown", flags);
    }
    if (count == 0 || count > CHUNK_SAMPLES_MAX) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 2,
                                 "chunk of %" PRIu64 " samples, expected 1 to %u", count,
                                 CHUNK_SAMPLES_MAX);
    }
    out->info.kind = (enum tsdb_sample_kind)(flags & FLAG_KIND);
    out->info.count = (uint32_t)count;
    out->info.has_starts = flags & FLAG_STARTS;
    out->info.times_detached = flags & FLAG_DETACHED;
    out->packed = flags & FLAG_PACKED;
    uint64_t times = out->info.times_detached ? 0 : tsdb_reader_uvarint(&r);
    uint64_t values = tsdb_reader_uvarint(&r);
    uint64_t starts = out->info.has_starts ? tsdb_reader_uvarint(&r) : 0;
    size_t left = tsdb_reader_left(&r);
    if (r.failed || times > left || values > left - times || starts != left - times - values) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, (uint64_t)(r.pos - r.begin),
                                 "chunk columns of %" PRIu64 ", %" PRIu64 ", %" PRIu64
                                 " bytes do not make up its %zu bytes",
                                 times, values, starts, len);
    }
    out->times = tsdb_reader_bytes(&r, times);
    out->values = tsdb_reader_bytes(&r, values);
    out->starts = tsdb_reader_bytes(&r, starts);
    return TSDB_OK;
}

enum tsdb_status chunk_peek(const uint8_t *src, size_t len, struct chunk_info *out,
                            struct tsdb_error *err)
{
    struct layout layout = {0};
    enum tsdb_status status = layout_read(src, len, &layout, err);
    if (status == TSDB_OK) {
        *out = layout.info;
    }
    return status;
}

/* A column failed to decode: say which, and where in the chunk. */
static enum tsdb_status column_failed(enum tsdb_status status, const char *name, size_t offset,
                                      struct tsdb_error *err)
{
    if (err) {
        err->pos += offset;
    }
    return tsdb_error_prefix(err, status, "chunk, %s", name);
}

static enum tsdb_status values_decode(const struct layout *layout, struct tsdb_arena *arena,
                                      uint64_t *out, struct tsdb_error *err)
{
    struct tsdb_slice src = layout->values;
    if (layout->info.kind == TSDB_SAMPLE_FLOAT) {
        return value_codec_decode(src.data, src.len, layout->info.count, out, err);
    }
    return layout->packed ? histograms_unpack(src, layout->info.count, arena, out, err)
                          : histograms_decode(src, layout->info.count, arena, out, err);
}

static enum tsdb_status columns_decode(const uint8_t *src, const struct layout *layout,
                                       struct tsdb_arena *arena, struct chunk_samples *out,
                                       struct tsdb_error *err)
{
    uint32_t n = layout->info.count;
    uint64_t *cells =
        TSDB_ARENA_ARRAY(arena, uint64_t, (size_t)n * (layout->info.has_starts ? 3 : 2));
    if (!cells) {
        return tsdb_error_set(err, arena->failure, "no memory for %u samples of a chunk", n);
    }
    int64_t *t_ms = (int64_t *)cells;
    uint64_t *value = cells + n;
    int64_t *start_ms = layout->info.has_starts ? (int64_t *)(cells + 2 * (size_t)n) : NULL;
    enum tsdb_status status =
        time_codec_decode(layout->times.data, layout->times.len, n, t_ms, err);
    if (status != TSDB_OK) { /* a detached column has positions of its own */
        size_t offset = layout->info.times_detached ? 0 : (size_t)(layout->times.data - src);
        return column_failed(status, "times", offset, err);
    }
    status = values_decode(layout, arena, value, err);
    if (status != TSDB_OK) {
        return column_failed(status, "values", (size_t)(layout->values.data - src), err);
    }
    if (start_ms) {
        status = time_codec_decode_any(layout->starts.data, layout->starts.len, n, start_ms, err);
        if (status != TSDB_OK) {
            return column_failed(status, "starts", (size_t)(layout->starts.data - src), err);
        }
    }
    *out = (struct chunk_samples){layout->info.kind, n, t_ms, value, start_ms};
    return TSDB_OK;
}

enum tsdb_status chunk_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                              struct chunk_samples *out, struct tsdb_error *err)
{
    struct layout layout = {0};
    enum tsdb_status status = layout_read(src, len, &layout, err);
    if (status == TSDB_OK && layout.info.times_detached) {
        status = tsdb_error_set_at(err, TSDB_CORRUPT, 1, "chunk without its times");
    }
    return status == TSDB_OK ? columns_decode(src, &layout, arena, out, err) : status;
}

/* ---- times kept elsewhere ---- */

enum tsdb_status chunk_detach_times(const uint8_t *src, size_t len, uint8_t *out, size_t *out_len,
                                    struct tsdb_slice *out_times, struct tsdb_error *err)
{
    struct layout layout = {0};
    enum tsdb_status status = layout_read(src, len, &layout, err);
    if (status == TSDB_OK && layout.info.times_detached) {
        status = tsdb_error_set_at(err, TSDB_CORRUPT, 1, "chunk without its times");
    }
    if (status != TSDB_OK) {
        return status;
    }
    *out_times = layout.times;
    layout.info.times_detached = true;
    uint8_t header[HEADER_BYTES_MAX];
    size_t header_len = (size_t)(header_put(&layout.info, layout.packed, 0, layout.values.len,
                                            layout.starts.len, header) -
                                 header);
    /* Values and starts follow each other in the source. */
    size_t columns = layout.values.len + layout.starts.len;
    TSDB_ASSERT(header_len + columns < len);
    TSDB_ASSERT(layout.values.data != NULL);
    memcpy(out, header, header_len);
    memcpy(out + header_len, layout.values.data, columns);
    *out_len = header_len + columns;
    return TSDB_OK;
}

enum tsdb_status chunk_decode_detached(const uint8_t *src, size_t len, struct tsdb_slice times,
                                       struct tsdb_arena *arena, struct chunk_samples *out,
                                       struct tsdb_error *err)
{
    struct layout layout = {0};
    enum tsdb_status status = layout_read(src, len, &layout, err);
    if (status == TSDB_OK && !layout.info.times_detached) {
        status = tsdb_error_set_at(err, TSDB_CORRUPT, 1, "chunk has times of its own");
    }
    layout.times = times;
    return status == TSDB_OK ? columns_decode(src, &layout, arena, out, err) : status;
}

/* ---- summary ---- */

static bool is_exact_int(double v)
{
    return fabs(v) < EXACT_DOUBLE && v == (double)(int64_t)v;
}

static void summarize_floats(const uint64_t *bits, uint32_t n, struct chunk_summary *out)
{
    double previous = (double)NAN; /* compares false with everything: the first value is no reset */
    for (uint32_t i = 0; i < n; i++) {
        if (tsdb_is_stale_bits(bits[i])) {
            out->stale++;
            continue;
        }
        double v = tsdb_bits_double(bits[i]);
        out->resets += v < previous;
        out->all_int = out->all_int && is_exact_int(v);
        out->min = !(out->min <= v) && v == v ? v : out->min;
        out->max = !(out->max >= v) && v == v ? v : out->max;
        previous = v;
    }
}

void chunk_summarize(const struct chunk_samples *s, struct chunk_summary *out)
{
    TSDB_ASSERT(s->count > 0);
    *out = (struct chunk_summary){.min_ms = s->t_ms[0],
                                  .max_ms = s->t_ms[s->count - 1],
                                  .min = (double)NAN,
                                  .max = (double)NAN,
                                  .count = s->count};
    if (s->kind == TSDB_SAMPLE_FLOAT) {
        out->first_bits = s->value[0];
        out->last_bits = s->value[s->count - 1];
        out->all_int = true;
        summarize_floats(s->value, s->count, out);
    }
}
