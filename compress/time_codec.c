#include "compress/time_codec.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "compress/bitpack.h"
#include "compress/frame_column.h"
#include "compress/kernels.h"

#define SHIFTS_MAX 32u
/* Deltas looked at to guess the step: an odd number, so that the median is one of them. */
#define STEP_SAMPLE 31u
/* A scrape interval of up to 34 years; keeps i * step far from wrapping. */
#define STEP_MAX (INT64_C(1) << 40)

/* t[i] = first + i * step + shifts up to i + base + packed(i). */
struct grid {
    uint64_t first, step, base;
    uint32_t width;
    uint32_t shift_count;
    uint32_t shift_at[SHIFTS_MAX]; /* rising, 1..n-1 */
    uint64_t shift_by[SHIFTS_MAX];
};

const char *time_codec_name(uint8_t codec)
{
    static const char *const names[TIME_CODEC_COUNT] = {"regular", "grid", "delta", "delta2",
                                                        "raw"};
    return codec < TIME_CODEC_COUNT ? names[codec] : NULL;
}

size_t time_codec_bytes_max(uint32_t n)
{
    return 1 + 8 * (size_t)n; /* RAW; whatever is longer is not chosen */
}

static size_t uvarint_bytes(uint64_t v)
{
    return v == 0 ? 1 : (bitpack_width(v) + 6) / 7;
}
static size_t varint_bytes(uint64_t v)
{
    return uvarint_bytes(tsdb_zigzag((int64_t)v));
}

/* ---- finding the grid ---- */
/* The median of some differences. */
static uint64_t step_guess(const int64_t *t, uint32_t n)
{
    int64_t s[STEP_SAMPLE];
    uint32_t count = n - 1 < STEP_SAMPLE ? n - 1 : STEP_SAMPLE;
    for (uint32_t i = 0; i < count; i++) {
        size_t at = (size_t)i * (n - 1) / count, k = i;
        int64_t d = (int64_t)((uint64_t)t[at + 1] - (uint64_t)t[at]);
        for (; k > 0 && s[k - 1] > d; k--) {
            s[k] = s[k - 1];
        }
        s[k] = d;
    }
    return (uint64_t)s[count / 2];
}

/* Where a difference is off by more than half a step, scrapes were missed, or the sender began
 * anew. The shift is a multiple of the step if that is near: then both sides keep one phase.
 * Returns false if that happens too often. */
static bool grid_shifts(const int64_t *t, uint32_t n, struct grid *g, uint64_t *out_sum)
{
    int64_t step = (int64_t)g->step;
    *out_sum = 0;
    g->shift_count = 0;
    for (uint32_t i = 1; i < n; i++) {
        int64_t off = (int64_t)((uint64_t)t[i] - (uint64_t)t[i - 1] - g->step);
        if (off >= -step / 2 && off <= step / 2) {
            continue;
        }
        if (g->shift_count == SHIFTS_MAX) {
            return false;
        }
        int64_t phase = off % step;
        phase = phase > step / 2 ? phase - step : phase < -step / 2 ? phase + step : phase;
        if (phase >= -step / 16 && phase <= step / 16) {
            off = (int64_t)((uint64_t)off - (uint64_t)phase);
        }
        g->shift_at[g->shift_count] = i;
        g->shift_by[g->shift_count++] = (uint64_t)off;
        *out_sum += (uint64_t)off;
    }
    return true;
}

static bool grid_find(const int64_t *t, uint32_t n, struct grid *g)
{
    uint64_t sum;
    g->first = (uint64_t)t[0];
    g->step = step_guess(t, n);
    if ((int64_t)g->step <= 0 || (int64_t)g->step > STEP_MAX || !grid_shifts(t, n, g, &sum)) {
        return false;
    }
    /* Over a long chunk a median that is off by one drifts away; the mean does not. */
    int64_t span = (int64_t)((uint64_t)t[n - 1] - g->first - sum);
    int64_t mean = (int64_t)(((uint64_t)span + (n - 1) / 2) / (n - 1));
    if (span > 0 && mean != (int64_t)g->step && mean <= STEP_MAX) {
        g->step = (uint64_t)mean;
        return mean > 0 && grid_shifts(t, n, g, &sum);
    }
    return true;
}

/* Residuals t[i] - first - i * step - shifts for i in [begin, begin + n). */
static void grid_residuals(const struct grid *g, const int64_t *t, uint32_t begin, uint32_t n,
                           uint64_t *out)
{
    uint64_t start = g->first;
    uint32_t next = 0;
    for (; next < g->shift_count && g->shift_at[next] <= begin; next++) {
        start += g->shift_by[next];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (next < g->shift_count && g->shift_at[next] == begin + i) {
            start += g->shift_by[next++];
        }
        out[i] = (uint64_t)t[begin + i] - start - (begin + i) * g->step;
    }
}

/* Base and width of the residuals. Returns the size of the column. */
static size_t grid_measure(struct grid *g, const int64_t *t, uint32_t n)
{
    uint64_t block[FRAME_VALUES];
    int64_t lo = INT64_MAX, hi = INT64_MIN;
    for (uint32_t begin = 0; begin < n; begin += FRAME_VALUES) {
        uint32_t count = n - begin < FRAME_VALUES ? n - begin : FRAME_VALUES;
        grid_residuals(g, t, begin, count, block);
        int64_t block_lo, block_hi;
        kernels_get()->min_max((const int64_t *)block, count, &block_lo, &block_hi);
        lo = block_lo < lo ? block_lo : lo;
        hi = block_hi > hi ? block_hi : hi;
    }
    g->base = (uint64_t)lo;
    g->width = bitpack_width((uint64_t)hi - (uint64_t)lo);
    size_t bytes = 1 + varint_bytes(g->first) + varint_bytes(g->step) +
                   uvarint_bytes(g->shift_count) + varint_bytes(g->base) + 1 +
                   bitpack_bytes(n, g->width);
    for (uint32_t i = 0; i < g->shift_count; i++) {
        bytes += uvarint_bytes(g->shift_at[i] - (i == 0 ? 0 : g->shift_at[i - 1]));
        bytes += varint_bytes(g->shift_by[i]);
    }
    return bytes;
}

/* ---- writing ---- */
static uint8_t *grid_encode(const struct grid *g, const int64_t *t, uint32_t n, uint8_t *out)
{
    uint64_t block[FRAME_VALUES];
    *out++ = TIME_CODEC_GRID;
    out = tsdb_put_varint(out, (int64_t)g->first);
    out = tsdb_put_varint(out, (int64_t)g->step);
    out = tsdb_put_uvarint(out, g->shift_count);
    for (uint32_t i = 0; i < g->shift_count; i++) {
        out = tsdb_put_uvarint(out, g->shift_at[i] - (i == 0 ? 0 : g->shift_at[i - 1]));
        out = tsdb_put_varint(out, (int64_t)g->shift_by[i]);
    }
    out = tsdb_put_varint(out, (int64_t)g->base);
    *out++ = (uint8_t)g->width;
    for (uint32_t begin = 0; begin < n; begin += FRAME_VALUES) {
        uint32_t count = n - begin < FRAME_VALUES ? n - begin : FRAME_VALUES;
        grid_residuals(g, t, begin, count, block);
        for (uint32_t i = 0; i < count; i++) {
            block[i] -= g->base;
        }
        bitpack_pack(block, count, g->width, out); /* 256 values end at a byte */
        out += bitpack_bytes(count, g->width);
    }
    return out;
}

static void frames_plan(const int64_t *t, uint32_t n, uint32_t order, struct frame_column *c)
{
    uint64_t block[FRAME_VALUES];
    memcpy(block, t, order * sizeof *t);
    frame_column_init(c, order, block);
    for (uint32_t begin = order; begin < n; begin += FRAME_VALUES) {
        uint32_t count = n - begin < FRAME_VALUES ? n - begin : FRAME_VALUES;
        memcpy(block, t + begin, count * sizeof *t);
        frame_column_plan(c, block, count);
    }
    c->bytes++; /* the codec */
}

static uint8_t *frames_encode(const int64_t *t, uint32_t n, struct frame_column *c, uint8_t *out)
{
    uint64_t block[FRAME_VALUES];
    *out++ = c->order == 1 ? TIME_CODEC_DELTA : TIME_CODEC_DELTA2;
    out = frame_column_begin(c, out);
    for (uint32_t begin = c->order; begin < n; begin += FRAME_VALUES) {
        uint32_t count = n - begin < FRAME_VALUES ? n - begin : FRAME_VALUES;
        memcpy(block, t + begin, count * sizeof *t);
        out = frame_column_encode(c, block, count, out);
    }
    return out;
}

static bool is_regular(const int64_t *t, uint32_t n, uint64_t step)
{
    for (uint32_t i = 1; i < n; i++) {
        if ((uint64_t)t[i] - (uint64_t)t[i - 1] != step) {
            return false;
        }
    }
    return true;
}

/* Not regular, n >= 3: the shortest of the others. */
static size_t encode_irregular(const int64_t *t, uint32_t n, uint8_t *out)
{
    struct grid g;
    struct frame_column c;
    size_t raw = time_codec_bytes_max(n);
    size_t grid = grid_find(t, n, &g) ? grid_measure(&g, t, n) : SIZE_MAX;
    uint32_t order = 2;
    frames_plan(t, n, 2, &c);
    size_t frames = c.bytes;
    if (frames < grid + grid / 4) { /* it did not lose clearly, so the other may win */
        frames_plan(t, n, 1, &c);
        order = c.bytes <= frames ? 1 : 2;
        frames = c.bytes <= frames ? c.bytes : frames;
    }
    if (grid <= frames && grid < raw) {
        return (size_t)(grid_encode(&g, t, n, out) - out);
    }
    if (frames < raw) {
        if (c.order != order) {
            frames_plan(t, n, order, &c);
        }
        return (size_t)(frames_encode(t, n, &c, out) - out);
    }
    *out = TIME_CODEC_RAW;
    memcpy(out + 1, t, 8 * (size_t)n);
    return raw;
}

size_t time_codec_encode(const int64_t *t, uint32_t n, uint8_t *out)
{
    TSDB_ASSERT(n >= 1 && n <= COLUMN_COUNT_MAX);
    uint64_t step = n > 1 ? (uint64_t)t[1] - (uint64_t)t[0] : 0;
    if (!is_regular(t, n, step)) {
        return encode_irregular(t, n, out);
    }
    if (1 + varint_bytes((uint64_t)t[0]) + varint_bytes(step) > time_codec_bytes_max(n)) {
        *out = TIME_CODEC_RAW;
        memcpy(out + 1, t, 8 * (size_t)n);
        return time_codec_bytes_max(n);
    }
    uint8_t *p = out;
    *p++ = TIME_CODEC_REGULAR;
    p = tsdb_put_varint(p, t[0]);
    p = tsdb_put_varint(p, (int64_t)step);
    return (size_t)(p - out);
}

/* ---- reading ---- */
static enum tsdb_status corrupt(struct tsdb_error *err, size_t pos, const char *what)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, pos, "time column at byte %zu: %s", pos, what);
}

/* Parameters of a grid, up to its packed bits. Returns the byte after, NULL if damaged. */
static const uint8_t *grid_read(const uint8_t *p, const uint8_t *end, uint32_t n, struct grid *g)
{
    int64_t first, step, by, base;
    uint64_t count, gap, at = 0;
    p = tsdb_get_varint(p, end, &first);
    p = p ? tsdb_get_varint(p, end, &step) : NULL;
    p = p ? tsdb_get_uvarint(p, end, &count) : NULL;
    if (!p || count > SHIFTS_MAX) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        p = tsdb_get_uvarint(p, end, &gap);
        p = p ? tsdb_get_varint(p, end, &by) : NULL;
        if (!p || gap == 0 || gap >= n - at) {
            return NULL;
        }
        at += gap;
        g->shift_at[i] = (uint32_t)at;
        g->shift_by[i] = (uint64_t)by;
    }
    p = tsdb_get_varint(p, end, &base);
    if (!p || p >= end || *p > BITPACK_WIDTH_MAX) {
        return NULL;
    }
    g->first = (uint64_t)first;
    g->step = (uint64_t)step;
    g->base = (uint64_t)base;
    g->shift_count = (uint32_t)count;
    g->width = *p++;
    return (size_t)(end - p) == bitpack_bytes(n, g->width) ? p : NULL;
}

static void grid_decode(const struct grid *g, const uint8_t *p, uint32_t n, uint64_t *out)
{
    const struct kernels *k = kernels_get();
    uint64_t start = g->first;
    k->unpack(p, bitpack_bytes(n, g->width), n, g->width, g->base, out);
    for (uint32_t i = 0, begin = 0; i <= g->shift_count; i++) {
        uint32_t end = i < g->shift_count ? g->shift_at[i] : n;
        k->ramp_add(out + begin, end - begin, start + begin * g->step, g->step);
        start += i < g->shift_count ? g->shift_by[i] : 0;
        begin = end;
    }
}

static enum tsdb_status regular_read(const uint8_t *src, size_t len, uint64_t *first,
                                     uint64_t *step, struct tsdb_error *err)
{
    const uint8_t *end = src + len;
    int64_t t0 = 0, by = 0;
    const uint8_t *p = tsdb_get_varint(src + 1, end, &t0);
    p = p ? tsdb_get_varint(p, end, &by) : NULL;
    if (p != end) {
        return corrupt(err, !p ? 1 : (size_t)(p - src), "damaged first or step");
    }
    *first = (uint64_t)t0;
    *step = (uint64_t)by;
    return TSDB_OK;
}

static enum tsdb_status frames_decode(const uint8_t *src, size_t len, uint32_t order, uint32_t n,
                                      uint64_t *out, struct tsdb_error *err)
{
    struct frame_column_reader r;
    int got = frame_column_open(&r, src + 1, src + len, order, n, out);
    if (got < 0) {
        return corrupt(err, 1, "damaged first values");
    }
    for (out += got; (got = frame_column_next(&r, out)) > 0;) {
        out += got;
    }
    if (got < 0 || r.p != r.end) {
        return corrupt(err, (size_t)(r.p - src), got < 0 ? "damaged frame" : "bytes left over");
    }
    return TSDB_OK;
}

enum tsdb_status time_codec_decode_any(const uint8_t *src, size_t len, uint32_t n, int64_t *out_t,
                                       struct tsdb_error *err)
{
    TSDB_ASSERT(n >= 1 && n <= COLUMN_COUNT_MAX);
    uint64_t *out = (uint64_t *)out_t, first = 0, step = 0;
    struct grid g;
    const uint8_t *p;
    enum tsdb_status status;
    if (len == 0) {
        return corrupt(err, 0, "empty");
    }
    switch (src[0]) {
    case TIME_CODEC_REGULAR:
        status = regular_read(src, len, &first, &step, err);
        if (status == TSDB_OK) {
            memset(out, 0, 8 * (size_t)n);
            kernels_get()->ramp_add(out, n, first, step);
        }
        return status;
    case TIME_CODEC_GRID:
        p = grid_read(src + 1, src + len, n, &g);
        if (!p) {
            return corrupt(err, 1, "damaged grid");
        }
        grid_decode(&g, p, n, out);
        return TSDB_OK;
    case TIME_CODEC_DELTA:
        return frames_decode(src, len, 1, n, out, err);
    case TIME_CODEC_DELTA2:
        return frames_decode(src, len, 2, n, out, err);
    case TIME_CODEC_RAW:
        if (len - 1 != 8 * (size_t)n) {
            return corrupt(err, 1, "wrong length");
        }
        memcpy(out, src + 1, 8 * (size_t)n);
        return TSDB_OK;
    }
    return corrupt(err, 0, "unknown codec");
}

enum tsdb_status time_codec_decode(const uint8_t *src, size_t len, uint32_t n, int64_t *out,
                                   struct tsdb_error *err)
{
    enum tsdb_status status = time_codec_decode_any(src, len, n, out, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (!kernels_get()->rising(out + 1, n - 1, out[0])) {
        return corrupt(err, 0, "times do not rise");
    }
    return TSDB_OK;
}

enum tsdb_status time_codec_at(const uint8_t *src, size_t len, uint32_t n, uint32_t i, int64_t *out,
                               struct tsdb_error *err)
{
    TSDB_ASSERT(n <= COLUMN_COUNT_MAX && i < n);
    uint64_t first = 0, step = 0, v;
    struct grid g;
    const uint8_t *p;
    switch (len > 0 ? src[0] : TIME_CODEC_COUNT) {
    case TIME_CODEC_REGULAR:
        if (regular_read(src, len, &first, &step, err) != TSDB_OK) {
            return TSDB_CORRUPT;
        }
        *out = (int64_t)(first + i * step);
        return TSDB_OK;
    case TIME_CODEC_GRID:
        p = grid_read(src + 1, src + len, n, &g);
        if (!p) {
            return corrupt(err, 1, "damaged grid");
        }
        v = g.first + i * g.step + g.base + bitpack_get(p, (size_t)(src + len - p), i, g.width);
        for (uint32_t s = 0; s < g.shift_count && g.shift_at[s] <= i; s++) {
            v += g.shift_by[s];
        }
        *out = (int64_t)v;
        return TSDB_OK;
    case TIME_CODEC_RAW:
        if (len - 1 != 8 * (size_t)n) {
            return corrupt(err, 1, "wrong length");
        }
        *out = (int64_t)tsdb_load_le64(src + 1 + 8 * (size_t)i);
        return TSDB_OK;
    case TIME_CODEC_DELTA:
    case TIME_CODEC_DELTA2:
        return tsdb_error_set_at(err, TSDB_UNSUPPORTED, 0,
                                 "time column: codec %s has no random access",
                                 time_codec_name(src[0]));
    }
    return corrupt(err, 0, "unknown codec");
}
