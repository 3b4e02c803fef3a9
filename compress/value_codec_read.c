/* The reader of value columns: bytes nobody has checked. */
#include "base/assert.h"
#include "base/bytes.h"
#include "compress/bitpack.h"
#include "compress/frame_column.h"
#include "compress/kernels.h"
#include "compress/value_codec_private.h"
#include "compress/xor_codec.h"

/* A column being read; `begin` is for positions in errors only. */
struct column {
    const uint8_t *begin, *p, *end;
    struct tsdb_error *err;
};

static enum tsdb_status corrupt(const struct column *c, const char *what)
{
    size_t pos = (size_t)(c->p - c->begin);
    return tsdb_error_set_at(c->err, TSDB_CORRUPT, pos, "value column at byte %zu: %s", pos, what);
}

/* A byte count and that many bytes. */
static bool list_open(struct column *c, struct column *list)
{
    uint64_t bytes;
    const uint8_t *p = tsdb_get_uvarint(c->p, c->end, &bytes);
    if (!p || bytes > (uint64_t)(c->end - p)) {
        return false;
    }
    *list = *c;
    list->p = p;
    list->end = p + bytes;
    c->p = list->end;
    return true;
}

static bool list_next(struct column *list, uint64_t *out)
{
    const uint8_t *p = tsdb_get_uvarint(list->p, list->end, out);
    list->p = p ? p : list->p;
    return p;
}

/* The number of markers in the list, if they fit n values and leave one; else 0. */
static uint32_t stale_count(struct column list, uint32_t n)
{
    uint64_t gap, run, stale = 0, total = 0;
    while (list.p < list.end) {
        if (!list_next(&list, &gap) || !list_next(&list, &run) || gap > n || run >= n) {
            return 0;
        }
        stale += run + 1;
        total += gap + run + 1;
        if (total > n) {
            return 0;
        }
    }
    return stale < n ? (uint32_t)stale : 0;
}

/* Spread out[0..n - stale) to out[0..n), from the end. */
static void stale_expand(struct column list, uint32_t n, uint32_t stale, uint64_t *out)
{
    uint32_t from = n - stale, to = n;
    for (uint64_t gap, run; list_next(&list, &gap) && list_next(&list, &run);) {
        from -= (uint32_t)gap;
        to -= (uint32_t)gap;
        memmove(out + to, out + from, 8 * gap);
        for (uint64_t i = 0; i <= run; i++) {
            out[--to] = VALUE_STALE_BITS;
        }
    }
}

/* The number of runs, if their lengths make n; else 0. */
static uint32_t runs_count(struct column list, uint32_t n)
{
    uint64_t run, total = 0;
    uint32_t count = 0;
    while (list.p < list.end) {
        if (!list_next(&list, &run) || run >= n) {
            return 0;
        }
        total += run + 1;
        count++;
        if (total > n) {
            return 0;
        }
    }
    return total == n ? count : 0;
}

static void runs_expand(struct column list, uint32_t n, uint32_t count, uint64_t *out)
{
    for (uint64_t run; count > 0 && list_next(&list, &run);) {
        uint64_t v = out[--count];
        for (uint64_t i = 0; i <= run; i++) {
            out[--n] = v;
        }
    }
}

/* A bit pattern without its low zero bytes. */
static bool pattern_read(struct column *c, uint64_t last, uint64_t *out)
{
    if (c->p >= c->end) {
        return false;
    }
    uint32_t bytes = *c->p;
    if (bytes == PATTERN_SAME) {
        c->p++;
        *out = last;
        return true;
    }
    if (bytes > 8 || bytes >= (size_t)(c->end - c->p)) {
        return false;
    }
    uint64_t v = 0;
    memcpy((uint8_t *)&v + 8 - bytes, c->p + 1, bytes);
    *out = v;
    c->p += 1 + bytes;
    return true;
}

static enum tsdb_status const_decode(struct column *c, uint32_t n, uint64_t *out)
{
    uint64_t v;
    if (!pattern_read(c, 0, &v)) {
        return corrupt(c, "damaged constant");
    }
    for (uint32_t i = 0; i < n; i++) {
        out[i] = v;
    }
    return TSDB_OK;
}

static enum tsdb_status linear_decode(struct column *c, uint32_t n, uint64_t *out)
{
    int64_t first, step;
    if (c->p >= c->end || *c->p > KERNELS_DIGITS_MAX) {
        return corrupt(c, "damaged digits");
    }
    uint32_t digits = *c->p++;
    const uint8_t *p = tsdb_get_varint(c->p, c->end, &first);
    p = p ? tsdb_get_varint(p, c->end, &step) : NULL;
    if (!p) {
        return corrupt(c, "damaged first or step");
    }
    c->p = p;
    memset(out, 0, 8 * (size_t)n);
    kernels_get()->ramp_add(out, n, (uint64_t)first, (uint64_t)step);
    kernels_get()->doubles_of_ints(out, n, digits, 1.0);
    return TSDB_OK;
}

/* Check the list (out == NULL) or put its patterns over the decoded values. */
static bool exceptions_read(struct column *c, uint32_t n, uint64_t *out)
{
    uint64_t count, gap, at = 0, v = 0;
    if (!list_next(c, &count) || count > n) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++, at++) {
        if (!list_next(c, &gap) || gap >= n - at || !pattern_read(c, v, &v)) {
            return false;
        }
        at += gap;
        if (out) {
            out[at] = v;
        }
    }
    return true;
}

/* What becomes of the integers: patterns shifted left, or decimals. */
struct finish {
    bool patterns;
    uint32_t shift, digits;
    double factor;
};

static void finish_block(const struct finish *f, uint64_t *x, uint32_t n)
{
    if (!f->patterns) {
        kernels_get()->doubles_of_ints(x, n, f->digits, f->factor);
        return;
    }
    for (uint32_t i = 0; f->shift > 0 && i < n; i++) {
        x[i] <<= f->shift;
    }
}

static enum tsdb_status frames_decode(struct column *c, uint32_t order, uint32_t n,
                                      const struct finish *f, uint64_t *out)
{
    struct frame_column_reader r;
    int got = frame_column_open(&r, c->p, c->end, order, n, out);
    if (got < 0) {
        return corrupt(c, "damaged first values");
    }
    finish_block(f, out, (uint32_t)got);
    for (out += got; (got = frame_column_next(&r, out)) > 0; out += got) {
        finish_block(f, out, (uint32_t)got);
    }
    c->p = r.p;
    return got < 0 ? corrupt(c, "damaged frame") : TSDB_OK;
}

static enum tsdb_status dec_decode(struct column *c, uint32_t codec, uint32_t n, uint64_t *out)
{
    struct finish f = {.factor = 1.0};
    uint64_t factor;
    if (c->p >= c->end) {
        return corrupt(c, "no digits");
    }
    uint32_t head = *c->p++;
    f.digits = head & DEC_DIGITS;
    if (f.digits > KERNELS_DIGITS_MAX || (head & 0x80) != 0) {
        return corrupt(c, "damaged digits");
    }
    if ((head & DEC_HAS_FACTOR) != 0) {
        if (!list_next(c, &factor)) {
            return corrupt(c, "damaged factor");
        }
        f.factor = (double)factor;
    }
    struct column exceptions = *c;
    if ((head & DEC_HAS_EXCEPTIONS) != 0 && !exceptions_read(c, n, NULL)) {
        return corrupt(c, "damaged exceptions");
    }
    enum tsdb_status status = frames_decode(c, value_codec_order(codec), n, &f, out);
    if (status == TSDB_OK && (head & DEC_HAS_EXCEPTIONS) != 0) {
        exceptions_read(&exceptions, n, out);
    }
    return status;
}

static enum tsdb_status patterns_decode(struct column *c, uint32_t codec, uint32_t n, uint64_t *out)
{
    struct finish f = {.patterns = true};
    if (c->p >= c->end || *c->p > 63) {
        return corrupt(c, "damaged shift");
    }
    f.shift = *c->p++;
    return frames_decode(c, value_codec_order(codec), n, &f, out);
}

static enum tsdb_status rest_decode(struct column *c, uint32_t codec, uint32_t n, uint64_t *out)
{
    size_t len = (size_t)(c->end - c->p);
    if (codec == VALUE_CODEC_XOR) {
        if (xor_values_decode(c->p, len, n, out, NULL) != TSDB_OK) {
            return corrupt(c, "damaged xor stream");
        }
    } else {
        if (len != 8 * (size_t)n) {
            return corrupt(c, "wrong length");
        }
        memcpy(out, c->p, len);
    }
    c->p = c->end;
    return TSDB_OK;
}

static enum tsdb_status body_decode(struct column *c, uint32_t codec, uint32_t n, uint64_t *out)
{
    switch (codec) {
    case VALUE_CODEC_CONST:
        return const_decode(c, n, out);
    case VALUE_CODEC_LINEAR:
        return linear_decode(c, n, out);
    case VALUE_CODEC_DEC:
    case VALUE_CODEC_DEC_DELTA:
    case VALUE_CODEC_DEC_DELTA2:
        return dec_decode(c, codec, n, out);
    case VALUE_CODEC_BITS:
    case VALUE_CODEC_BITS_DELTA:
        return patterns_decode(c, codec, n, out);
    case VALUE_CODEC_XOR:
    case VALUE_CODEC_RAW:
        return rest_decode(c, codec, n, out);
    }
    c->p = c->begin;
    return corrupt(c, "unknown codec");
}

enum tsdb_status value_codec_decode(const uint8_t *src, size_t len, uint32_t n, uint64_t *out,
                                    struct tsdb_error *err)
{
    TSDB_ASSERT(n >= 1 && n <= COLUMN_COUNT_MAX);
    if (len == 0) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0, "value column: empty");
    }
    struct column c = {.begin = src, .p = src, .end = src + len, .err = err};
    struct column stale_list = c, runs_list = c;
    uint32_t stale = 0, runs = 0, count = n;
    uint32_t head = *c.p++;
    if ((head & VALUE_COLUMN_STALE) != 0) {
        stale = list_open(&c, &stale_list) ? stale_count(stale_list, count) : 0;
        if (stale == 0) {
            return corrupt(&c, "damaged stale markers");
        }
        count -= stale;
    }
    uint32_t others = count;
    if ((head & VALUE_COLUMN_RUNS) != 0) {
        runs = list_open(&c, &runs_list) ? runs_count(runs_list, count) : 0;
        if (runs == 0) {
            return corrupt(&c, "damaged runs");
        }
        count = runs;
    }
    enum tsdb_status status =
        body_decode(&c, head & ~(VALUE_COLUMN_STALE | VALUE_COLUMN_RUNS), count, out);
    if (status != TSDB_OK) {
        return status;
    }
    if (c.p != c.end) {
        return corrupt(&c, "bytes left over");
    }
    if (runs > 0) {
        runs_expand(runs_list, others, runs, out);
    }
    if (stale > 0) {
        stale_expand(stale_list, n, stale, out);
    }
    return TSDB_OK;
}
