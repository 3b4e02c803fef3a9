#include "tsdb/chunk.h"

#include "base/assert.h"
#include "base/limits.h"

#include <inttypes.h>
#include <math.h>

#define VERSION      1
#define FLAG_KIND    3u /* mask: enum tsdb_sample_kind */
#define FLAG_STARTS  4u
#define COLUMNS_MAX  3u
#define EXACT_DOUBLE 9007199254740992.0 /* 2^53: below it every integer is a double */
/* version, flags, count, a length per column */
#define HEADER_BYTES_MAX (2u + TSDB_VARINT64_BYTES_MAX * (1u + COLUMNS_MAX))

/* Where the parts of a chunk lie; columns borrow from the source. */
struct layout {
    struct chunk_info info;
    struct tsdb_slice times, values, starts;
};

/* ---- columns ---- */

static size_t times_bytes_max(uint32_t n)
{
    return (size_t)n * 8;
}
static size_t times_encode(const int64_t *t_ms, uint32_t n, uint8_t *out)
{
    memcpy(out, t_ms, (size_t)n * 8);
    return (size_t)n * 8;
}
static enum tsdb_status times_decode(struct tsdb_slice src, uint32_t n, int64_t *out,
                                     struct tsdb_error *err)
{
    if (src.len != (size_t)n * 8) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%zu bytes for %u times", src.len, n);
    }
    memcpy(out, src.data, src.len);
    return TSDB_OK;
}
static size_t values_bytes_max(uint32_t n)
{
    return (size_t)n * 8;
}
static size_t values_encode(const uint64_t *bits, uint32_t n, struct chunk_hint *hint, uint8_t *out)
{
    (void)hint;
    memcpy(out, bits, (size_t)n * 8);
    return (size_t)n * 8;
}
static enum tsdb_status values_decode(struct tsdb_slice src, uint32_t n, uint64_t *out,
                                      struct tsdb_error *err)
{
    if (src.len != (size_t)n * 8) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%zu bytes for %u values", src.len, n);
    }
    memcpy(out, src.data, src.len);
    return TSDB_OK;
}

static const struct tsdb_raw_histogram *raw_histogram(uint64_t value)
{
    return (const struct tsdb_raw_histogram *)(uintptr_t)value;
}

static size_t histograms_bytes_max(const struct chunk_samples *s)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        bytes += TSDB_VARINT64_BYTES_MAX + raw_histogram(s->value[i])->len;
    }
    return bytes;
}

static size_t histograms_encode(const struct chunk_samples *s, uint8_t *out)
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

/* The column is copied whole, the raw forms then point into the copy. */
static enum tsdb_status histograms_decode(struct tsdb_slice src, uint32_t n,
                                          struct tsdb_arena *arena, uint64_t *out,
                                          struct tsdb_error *err)
{
    if ((size_t)n * 2 > src.len) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%zu bytes for %u histograms", src.len, n);
    }
    struct tsdb_raw_histogram *raw = TSDB_ARENA_ARRAY(arena, struct tsdb_raw_histogram, n);
    uint8_t *copy = raw ? tsdb_arena_alloc(arena, src.len, 1) : NULL;
    if (!copy) {
        return tsdb_error_set(err, arena->failure, "no memory for %u histograms of a chunk", n);
    }
    memcpy(copy, src.data, src.len);
    const uint8_t *p = copy, *end = copy + src.len;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t len = 0;
        p = tsdb_get_uvarint(p, end, &len);
        if (!p || len == 0 || len > TSDB_HISTOGRAM_BYTES_MAX || len > (uint64_t)(end - p)) {
            return tsdb_error_set(err, TSDB_CORRUPT, "histogram %u of %u: bad length", i, n);
        }
        raw[i] = (struct tsdb_raw_histogram){(uint32_t)len, p};
        out[i] = (uint64_t)(uintptr_t)&raw[i];
        p += len;
    }
    if (p != end) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%zu bytes after the last histogram",
                              (size_t)(end - p));
    }
    return TSDB_OK;
}

/* ---- encode ---- */

size_t chunk_encoded_bytes_max(const struct chunk_samples *s)
{
    size_t values =
        s->kind == TSDB_SAMPLE_FLOAT ? values_bytes_max(s->count) : histograms_bytes_max(s);
    size_t starts = s->start_ms ? values_bytes_max(s->count) : 0;
    return HEADER_BYTES_MAX + times_bytes_max(s->count) + values + starts;
}

/* Start timestamps are coded as values are, by their bit patterns: one that stays the same for the
 * life of a counter is a constant, one that is the time of the sample before has small deltas. */
static size_t starts_encode(const int64_t *start_ms, uint32_t n, uint8_t *out)
{
    return values_encode((const uint64_t *)start_ms, n, NULL, out);
}

size_t chunk_encode(const struct chunk_samples *s, struct chunk_hint *hint, uint8_t *out)
{
    TSDB_ASSERT(s->count > 0 && s->count <= CHUNK_SAMPLES_MAX);
    /* The columns' lengths stand in front of them, and are known after: encode behind the largest
     * header, then close the gap. */
    uint8_t *column = out + HEADER_BYTES_MAX;
    size_t lens[COLUMNS_MAX] = {0};
    lens[0] = times_encode(s->t_ms, s->count, column);
    lens[1] = s->kind == TSDB_SAMPLE_FLOAT
                  ? values_encode(s->value, s->count, hint, column + lens[0])
                  : histograms_encode(s, column + lens[0]);
    if (s->start_ms) {
        lens[2] = starts_encode(s->start_ms, s->count, column + lens[0] + lens[1]);
    }
    uint8_t *p = out;
    *p++ = VERSION;
    *p++ = (uint8_t)((uint32_t)s->kind | (s->start_ms ? FLAG_STARTS : 0));
    p = tsdb_put_uvarint(p, s->count);
    p = tsdb_put_uvarint(p, lens[0]);
    p = tsdb_put_uvarint(p, lens[1]);
    if (s->start_ms) {
        p = tsdb_put_uvarint(p, lens[2]);
    }
    size_t columns = lens[0] + lens[1] + lens[2];
    memmove(p, column, columns);
    return (size_t)(p - out) + columns;
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
    if (flags > (FLAG_STARTS | FLAG_KIND) ||
        (flags & FLAG_KIND) > (unsigned)TSDB_SAMPLE_HISTOGRAM_FLOAT) {
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
    uint64_t times = tsdb_reader_uvarint(&r);
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
    struct layout layout;
    enum tsdb_status st = layout_read(src, len, &layout, err);
    if (st == TSDB_OK) {
        *out = layout.info;
    }
    return st;
}

static enum tsdb_status rising_check(const int64_t *t_ms, uint32_t n, struct tsdb_error *err)
{
    uint32_t falls = 0; /* no early exit: the loop is a handful of instructions without branches */
    for (uint32_t i = 1; i < n; i++) {
        falls += t_ms[i] <= t_ms[i - 1];
    }
    if (falls > 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%u of %u times do not rise", falls, n);
    }
    return TSDB_OK;
}

enum tsdb_status chunk_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                              struct chunk_samples *out, struct tsdb_error *err)
{
    struct layout layout;
    enum tsdb_status st = layout_read(src, len, &layout, err);
    if (st != TSDB_OK) {
        return st;
    }
    uint32_t n = layout.info.count;
    uint32_t columns = layout.info.has_starts ? 3 : 2;
    uint64_t *cells = TSDB_ARENA_ARRAY(arena, uint64_t, (size_t)n * columns);
    if (!cells) {
        return tsdb_error_set(err, arena->failure, "no memory for %u samples of a chunk", n);
    }
    int64_t *t_ms = (int64_t *)cells;
    uint64_t *value = cells + n;
    uint64_t *start = layout.info.has_starts ? cells + 2 * (size_t)n : NULL;
    st = times_decode(layout.times, n, t_ms, err);
    if (st == TSDB_OK) {
        st = rising_check(t_ms, n, err);
    }
    if (st == TSDB_OK) {
        st = layout.info.kind == TSDB_SAMPLE_FLOAT
                 ? values_decode(layout.values, n, value, err)
                 : histograms_decode(layout.values, n, arena, value, err);
    }
    if (st == TSDB_OK && start) {
        st = values_decode(layout.starts, n, start, err);
    }
    if (st != TSDB_OK) {
        return tsdb_error_prefix(err, st, "chunk");
    }
    *out = (struct chunk_samples){layout.info.kind, n, t_ms, value, (int64_t *)start};
    return TSDB_OK;
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
