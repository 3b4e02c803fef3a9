/* The writer: one pass of statistics, then the sizes of the codecs that may win, then the winner.
 * value_codec_read.c reads. */
#include "compress/value_codec.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "compress/bitpack.h"
#include "compress/frame_column.h"
#include "compress/kernels_private.h"
#include "compress/value_codec_private.h"
#include "compress/value_source.h"
#include "compress/xor_codec.h"

/* Values looked at to find the number of decimal digits; and how many first, because a series of
 * noise is best recognized quickly. */
#define SEARCH_SAMPLE 16u
#define SEARCH_QUICK  4u
/* What an exception costs, about: a pattern and a position. */
#define EXCEPTION_BITS 80u
/* DEC with fewer bits per value than this beats bit patterns. */
#define BITS_WORTH_TRYING 20u
/* XOR as well. */
#define XOR_WORTH_TRYING 10u

/* How a column's values (those that value_source gives) are coded. */
struct plan {
    enum value_codec codec;
    uint32_t n;
    size_t bytes; /* parameters and payload */
    uint32_t digits;
    uint64_t factor;
    uint32_t exceptions;
    uint32_t shift;
    uint64_t first, step; /* LINEAR */
    struct frame_column frames;
};

const char *value_codec_name(uint8_t codec)
{
    static const char *const names[VALUE_CODEC_COUNT] = {
        "const", "linear", "dec", "dec_delta", "dec_delta2", "bits", "bits_delta", "xor", "raw"};
    return codec < VALUE_CODEC_COUNT ? names[codec] : NULL;
}

/* RAW, a list of stale markers that is shorter than the markers, and its length. */
size_t value_codec_bytes_max(uint32_t n)
{
    return 8 + 8 * (size_t)n;
}

static size_t uvarint_bytes(uint64_t v)
{
    return v == 0 ? 1 : (bitpack_width(v) + 6) / 7;
}
static size_t varint_bytes(uint64_t v)
{
    return uvarint_bytes(tsdb_zigzag((int64_t)v));
}

/* Bytes of a pattern without its low zero bytes. */
static uint32_t pattern_bytes(uint64_t v)
{
    return v == 0 ? 0 : 8 - (uint32_t)__builtin_ctzll(v) / 8;
}
static uint8_t *pattern_put(uint8_t *out, uint64_t v)
{
    uint32_t n = pattern_bytes(v);
    *out++ = (uint8_t)n;
    for (uint32_t i = 8 - n; i < 8; i++) {
        *out++ = (uint8_t)(v >> (8 * i));
    }
    return out;
}

/* ---- integers ---- */
/* Integers of a source in blocks. An exception repeats the integer before, so that it disturbs
 * neither range nor differences. */
struct int_source {
    struct value_source values;
    uint32_t digits, shift_out;
    uint64_t odd; /* factor = odd << shift_out */
    int64_t last;
    bool patterns; /* bit patterns >> shift_out instead */
};

static void int_source_init(struct int_source *s, const struct value_source *values,
                            const struct plan *p, bool patterns)
{
    *s = (struct int_source){.values = *values, .patterns = patterns, .digits = p->digits};
    s->shift_out = patterns ? p->shift : (uint32_t)__builtin_ctzll(p->factor);
    s->odd = patterns ? 1 : p->factor >> s->shift_out;
}

static uint32_t int_source_next(struct int_source *s, uint32_t want, int64_t *out)
{
    uint64_t buf[FRAME_VALUES];
    uint32_t n;
    const uint64_t *bits = value_source_next(&s->values, want, buf, &n);
    if (s->patterns) {
        for (uint32_t i = 0; i < n; i++) {
            out[i] = (int64_t)(bits[i] >> s->shift_out);
        }
        return n;
    }
    if (kernels_get()->ints_of_doubles(bits, n, s->digits, out) > 0) {
        for (uint32_t i = 0; i < n; i++) {
            out[i] = out[i] == KERNELS_NO_INT ? s->last : out[i];
            s->last = out[i];
        }
    }
    if (n > 0) {
        s->last = out[n - 1];
    }
    for (uint32_t i = 0; s->shift_out > 0 && i < n; i++) {
        out[i] >>= s->shift_out;
    }
    for (uint32_t i = 0; s->odd > 1 && i < n; i++) {
        out[i] /= (int64_t)s->odd;
    }
    return n;
}

/* Frames of differences of the given order. p->n > order. Gives up when their size has reached
 * limit. */
static void frames_plan(const struct value_source *values, struct plan *p, bool patterns,
                        uint32_t order, size_t limit)
{
    struct int_source s;
    int64_t block[FRAME_VALUES];
    int_source_init(&s, values, p, patterns);
    int_source_next(&s, order, block);
    frame_column_init(&p->frames, order, (const uint64_t *)block);
    for (uint32_t n;
         p->frames.bytes < limit && (n = int_source_next(&s, FRAME_VALUES, block)) > 0;) {
        frame_column_plan(&p->frames, (uint64_t *)block, n);
    }
}

static uint8_t *frames_encode(const struct value_source *values, struct plan *p, bool patterns,
                              uint8_t *out)
{
    struct int_source s;
    int64_t block[FRAME_VALUES];
    int_source_init(&s, values, p, patterns);
    int_source_next(&s, p->frames.order, block);
    out = frame_column_begin(&p->frames, out);
    for (uint32_t n; (n = int_source_next(&s, FRAME_VALUES, block)) > 0;) {
        out = frame_column_encode(&p->frames, (uint64_t *)block, n, out);
    }
    return out;
}

/* ---- decimals: digits, factor, exceptions ---- */
static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* Greatest common divisor of g and all integers of the block. */
static uint64_t factor_narrow(uint64_t g, const int64_t *x, uint32_t n)
{
    for (uint32_t i = 0; i < n && g != 1; i++) {
        uint64_t v = x[i] < 0 ? -(uint64_t)x[i] : (uint64_t)x[i];
        if (g == 0 || v % g != 0) {
            g = gcd(g, v);
        }
    }
    return g;
}

/* Bytes of the exceptions among bits[n], whose integers are x, without their count. */
static size_t exceptions_bytes(const uint64_t *bits, const int64_t *x, uint32_t n, uint32_t begin,
                               uint32_t *next, uint64_t *last, uint32_t *count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (x[i] != KERNELS_NO_INT) {
            continue;
        }
        bytes += uvarint_bytes(begin + i - *next) + 1;
        bytes += *count > 0 && bits[i] == *last ? 0 : pattern_bytes(bits[i]);
        *next = begin + i + 1;
        *last = bits[i];
        (*count)++;
    }
    return bytes;
}

/* Try a number of digits on all values. False if more than `exceptions_max` are no such decimals;
 * else p's digits, factor, exceptions and bytes (of the parameters) are set. */
static bool digits_try(const struct value_source *values, uint32_t digits, uint32_t exceptions_max,
                       struct plan *p)
{
    struct value_source s = *values;
    uint64_t buf[FRAME_VALUES], last = 0, g = 0;
    int64_t x[FRAME_VALUES];
    uint32_t n, begin = 0, next = 0, count = 0;
    size_t bytes = 0;
    for (;; begin += n) {
        const uint64_t *bits = value_source_next(&s, FRAME_VALUES, buf, &n);
        if (n == 0) {
            break;
        }
        if (kernels_get()->ints_of_doubles(bits, n, digits, x) > 0) {
            bytes += exceptions_bytes(bits, x, n, begin, &next, &last, &count);
            if (count > exceptions_max) {
                return false;
            }
            for (uint32_t i = 0; i < n; i++) {
                x[i] = x[i] == KERNELS_NO_INT ? 0 : x[i];
            }
        }
        g = factor_narrow(g, x, n);
    }
    p->digits = digits;
    p->factor = g == 0 ? 1 : g;
    p->exceptions = count;
    p->bytes = 1 + (p->factor > 1 ? uvarint_bytes(p->factor) : 0) +
               (count > 0 ? uvarint_bytes(count) + bytes : 0);
    return true;
}

/* The number of digits that covers most of a sample; KERNELS_DIGITS_MAX + 1 if none covers three
 * quarters. */
static uint32_t digits_search(const uint64_t *sample, uint32_t n)
{
    uint32_t best = KERNELS_DIGITS_MAX + 1, best_covered = 0, candidates = 0, tried = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t d = 0;
        while (d <= KERNELS_DIGITS_MAX && kernels_int_of_double(sample[i], d) == KERNELS_NO_INT) {
            d++;
        }
        candidates |= d <= KERNELS_DIGITS_MAX ? UINT32_C(1) << d : 0;
        if (i + 1 == SEARCH_QUICK && candidates == 0) {
            return best; /* noise */
        }
    }
    for (uint32_t d = 0; candidates >> d != 0; d++) {
        if ((candidates >> d & 1) == 0) {
            continue;
        }
        uint32_t covered = 0;
        for (uint32_t i = 0; i < n; i++) {
            covered += kernels_int_of_double(sample[i], d) != KERNELS_NO_INT;
        }
        tried++;
        if (covered > best_covered) {
            best = d;
            best_covered = covered;
        }
    }
    return tried > 0 && best_covered * 4 >= n * 3 ? best : KERNELS_DIGITS_MAX + 1;
}

/* Some finite values other than zero, which has any number of digits. */
static uint32_t sample_take(const struct value_source *values, uint64_t *out)
{
    uint32_t step = values->n / (2 * SEARCH_SAMPLE) + 1, count = 0;
    for (uint32_t i = 0; i < values->n && count < SEARCH_SAMPLE; i += step) {
        uint64_t v = values->bits[i];
        if ((v << 1) != 0 && (v << 1) < UINT64_C(0x7ff) << 53) {
            out[count++] = v;
        }
    }
    return count;
}

/* What fitted the last chunk, if it does so without exceptions: whole numbers only make its factor
 * larger. Then integers, then a search. False if the values are no decimals. */
static bool digits_choose(const struct value_source *values, uint32_t n, struct value_hint *hint,
                          struct plan *p)
{
    struct plan other = {.n = n};
    uint64_t sample[SEARCH_SAMPLE];
    uint32_t known = hint->digits_known;
    if (known >= 2 && known <= KERNELS_DIGITS_MAX + 1 && digits_try(values, known - 1, 0, p)) {
        return true;
    }
    bool found = digits_try(values, 0, n / 4, p);
    if (found && p->exceptions == 0) {
        return true; /* the hint stays: the series may just be at large whole numbers */
    }
    uint32_t count = sample_take(values, sample);
    count = known == VALUE_HINT_NO_DECIMAL && count > SEARCH_QUICK ? SEARCH_QUICK : count;
    uint32_t digits = digits_search(sample, count);
    if (digits == 0 || digits > KERNELS_DIGITS_MAX || !digits_try(values, digits, n / 4, &other)) {
        hint->digits_known = (uint8_t)(found ? known : VALUE_HINT_NO_DECIMAL);
        return found;
    }
    hint->digits_known = (uint8_t)(digits + 1);
    /* More digits make all integers longer, by 3.4 bits each. */
    if (!found || (uint64_t)p->exceptions * EXCEPTION_BITS >
                      (uint64_t)other.exceptions * EXCEPTION_BITS + n * 17 * digits / 5) {
        *p = other;
    }
    return true;
}

/* ---- choosing ---- */
static void plan_take(struct plan *best, const struct plan *p, enum value_codec codec, size_t bytes)
{
    if (bytes < best->bytes) {
        *best = *p;
        best->codec = codec;
        best->bytes = bytes;
    }
}

static void plan_decimals(const struct value_source *values, struct value_hint *hint,
                          struct plan *best)
{
    struct plan p = {.n = best->n};
    if (!digits_choose(values, p.n, hint, &p)) {
        return;
    }
    size_t parameters = p.bytes;
    frames_plan(values, &p, false, 1, best->bytes);
    bool whole = p.frames.count == (p.n - 1 + FRAME_VALUES - 1) / FRAME_VALUES;
    if (whole && p.frames.linear && p.exceptions == 0) {
        p.first = p.frames.seed[0] * p.factor;
        p.step = p.frames.plan[0].base * p.factor;
        plan_take(best, &p, VALUE_CODEC_LINEAR, 1 + varint_bytes(p.first) + varint_bytes(p.step));
        return;
    }
    size_t delta = parameters + p.frames.bytes;
    plan_take(best, &p, VALUE_CODEC_DEC_DELTA, delta);
    frames_plan(values, &p, false, 0, best->bytes);
    size_t plain = parameters + p.frames.bytes;
    plan_take(best, &p, VALUE_CODEC_DEC, plain);
    if (p.n > 2 && delta < plain) {
        frames_plan(values, &p, false, 2, best->bytes);
        plan_take(best, &p, VALUE_CODEC_DEC_DELTA2, parameters + p.frames.bytes);
    }
}

static void plan_patterns(const struct value_source *values, uint64_t all, struct plan *best)
{
    struct plan p = {.n = best->n, .factor = 1};
    uint64_t buf[XOR_COUNT_MAX];
    p.shift = all == 0 ? 0 : (uint32_t)__builtin_ctzll(all);
    if (best->bytes * 8 >= (size_t)p.n * BITS_WORTH_TRYING) {
        frames_plan(values, &p, true, 0, best->bytes);
        plan_take(best, &p, VALUE_CODEC_BITS, 1 + p.frames.bytes);
        frames_plan(values, &p, true, 1, best->bytes);
        plan_take(best, &p, VALUE_CODEC_BITS_DELTA, 1 + p.frames.bytes);
    }
    if (p.n <= XOR_COUNT_MAX && best->bytes * 8 >= (size_t)p.n * XOR_WORTH_TRYING) {
        struct value_source s = *values;
        uint32_t n;
        const uint64_t *bits = value_source_next(&s, p.n, buf, &n);
        plan_take(best, &p, VALUE_CODEC_XOR, xor_values_bytes(bits, n));
    }
}

/* The shortest way to code the n values of a source; `all` is their OR. */
static void plan_make(const struct value_source *values, uint32_t n, uint64_t all,
                      struct value_hint *hint, struct plan *out)
{
    struct value_source s = *values;
    uint64_t buf[1];
    uint32_t got;
    *out = (struct plan){.codec = VALUE_CODEC_RAW, .n = n, .bytes = 8 * (size_t)n, .factor = 1};
    if (n == 1) {
        out->first = *value_source_next(&s, 1, buf, &got);
        out->codec = VALUE_CODEC_CONST;
        out->bytes = 1 + pattern_bytes(out->first);
        return;
    }
    plan_decimals(values, hint, out);
    plan_patterns(values, all, out);
}

/* ---- writing ---- */
static uint8_t *exceptions_put(const struct value_source *values, const struct plan *p,
                               uint8_t *out)
{
    struct value_source s = *values;
    uint64_t buf[FRAME_VALUES], last = 0;
    int64_t x[FRAME_VALUES];
    uint32_t n, begin = 0, next = 0, count = 0;
    out = tsdb_put_uvarint(out, p->exceptions);
    for (; count < p->exceptions; begin += n) {
        const uint64_t *bits = value_source_next(&s, FRAME_VALUES, buf, &n);
        TSDB_ASSERT(n > 0);
        if (kernels_get()->ints_of_doubles(bits, n, p->digits, x) == 0) {
            continue;
        }
        for (uint32_t i = 0; i < n; i++) {
            if (x[i] != KERNELS_NO_INT) {
                continue;
            }
            out = tsdb_put_uvarint(out, begin + i - next);
            if (count > 0 && bits[i] == last) {
                *out++ = PATTERN_SAME;
            } else {
                out = pattern_put(out, bits[i]);
            }
            next = begin + i + 1;
            last = bits[i];
            count++;
        }
    }
    return out;
}

static uint8_t *raw_put(const struct value_source *values, uint8_t *out)
{
    struct value_source s = *values;
    uint64_t buf[FRAME_VALUES];
    for (uint32_t n;;) {
        const uint64_t *bits = value_source_next(&s, FRAME_VALUES, buf, &n);
        if (n == 0) {
            return out;
        }
        memcpy(out, bits, 8 * (size_t)n);
        out += 8 * (size_t)n;
    }
}

static uint8_t *xor_put(const struct value_source *values, uint8_t *out)
{
    struct value_source s = *values;
    uint64_t buf[XOR_COUNT_MAX];
    uint32_t n;
    const uint64_t *bits = value_source_next(&s, XOR_COUNT_MAX, buf, &n);
    return out + xor_values_encode(bits, n, out);
}

/* Parameters and payload. */
static uint8_t *plan_put(const struct value_source *values, struct plan *p, uint8_t *out)
{
    switch (p->codec) {
    case VALUE_CODEC_CONST:
        return pattern_put(out, p->first);
    case VALUE_CODEC_LINEAR:
        *out++ = (uint8_t)p->digits;
        out = tsdb_put_varint(out, (int64_t)p->first);
        return tsdb_put_varint(out, (int64_t)p->step);
    case VALUE_CODEC_DEC:
    case VALUE_CODEC_DEC_DELTA:
    case VALUE_CODEC_DEC_DELTA2:
        *out++ = (uint8_t)(p->digits | (p->factor > 1 ? DEC_HAS_FACTOR : 0) |
                           (p->exceptions > 0 ? DEC_HAS_EXCEPTIONS : 0));
        out = p->factor > 1 ? tsdb_put_uvarint(out, p->factor) : out;
        out = p->exceptions > 0 ? exceptions_put(values, p, out) : out;
        return frames_encode(values, p, false, out);
    case VALUE_CODEC_BITS:
    case VALUE_CODEC_BITS_DELTA:
        *out++ = (uint8_t)p->shift;
        return frames_encode(values, p, true, out);
    case VALUE_CODEC_XOR:
        return xor_put(values, out);
    case VALUE_CODEC_RAW:
        return raw_put(values, out);
    case VALUE_CODEC_COUNT:
        break;
    }
    TSDB_ASSERT(false);
    return out;
}

/* Both lists are written from the end, because the reader spreads the values out from the end.
 * out == NULL: only the size. */
static size_t list_item(uint8_t **out, uint64_t v)
{
    if (*out) {
        *out = tsdb_put_uvarint(*out, v);
    }
    return uvarint_bytes(v);
}

/* Pairs: values between this run of markers and the next (or the end); its length - 1. */
static size_t stale_list(const uint64_t *bits, uint32_t n, uint8_t *out)
{
    size_t bytes = 0;
    uint32_t gap = 0;
    for (uint32_t i = n; i > 0;) {
        uint32_t run = 0;
        for (; i > 0 && bits[i - 1] == VALUE_STALE_BITS; i--) {
            run++;
        }
        if (run > 0) {
            bytes += list_item(&out, gap);
            bytes += list_item(&out, run - 1);
            gap = 0;
        }
        for (; i > 0 && bits[i - 1] != VALUE_STALE_BITS; i--) {
            gap++;
        }
    }
    return bytes;
}

/* Lengths - 1 of the runs of equal values; markers between them do not count. */
static size_t runs_list(const uint64_t *bits, uint32_t n, uint8_t *out)
{
    size_t bytes = 0;
    uint32_t run = 0;
    uint64_t last = 0;
    for (uint32_t i = n; i > 0; i--) {
        if (bits[i - 1] == VALUE_STALE_BITS) {
            continue;
        }
        if (run > 0 && bits[i - 1] != last) {
            bytes += list_item(&out, run - 1);
            run = 0;
        }
        last = bits[i - 1];
        run++;
    }
    return bytes + list_item(&out, run - 1);
}

static uint8_t *list_put(size_t (*list)(const uint64_t *, uint32_t, uint8_t *),
                         const uint64_t *bits, uint32_t n, size_t bytes, uint8_t *out)
{
    out = tsdb_put_uvarint(out, bytes);
    list(bits, n, out);
    return out + bytes;
}

size_t value_codec_encode(const uint64_t *bits, uint32_t n, struct value_hint *hint, uint8_t *out)
{
    TSDB_ASSERT(n >= 1 && n <= COLUMN_COUNT_MAX);
    struct value_hint unknown = {0};
    struct value_stats stats;
    struct plan plan;
    uint8_t *p = out + 1;
    hint = hint ? hint : &unknown;
    value_stats_make(bits, n, &stats);
    bool stale = stats.stale > 0 && stats.stale < n;
    struct value_source source = {.bits = bits, .n = n, .skip_stale = stale};
    uint32_t others = stale ? n - stats.stale : n;
    bool runs = others > 1 && stats.changes <= 1; /* all the same (or all markers) */
    size_t runs_bytes = 0;
    if (runs) {
        source.skip_repeats = true;
        plan_make(&source, 1, stats.all, hint, &plan);
        runs = false; /* CONST needs no list: it stands for any number of values */
    } else {
        plan_make(&source, others, stats.all, hint, &plan);
        if (others > 2 && stats.changes <= others / 4) {
            struct plan with_runs;
            size_t bytes = runs_list(bits, n, NULL);
            source.skip_repeats = true;
            plan_make(&source, stats.changes, stats.all, hint, &with_runs);
            runs_bytes = bytes;
            runs = with_runs.bytes + bytes + uvarint_bytes(bytes) < plan.bytes;
            source.skip_repeats = runs;
            plan = runs ? with_runs : plan;
        }
    }
    *out =
        (uint8_t)(plan.codec | (stale ? VALUE_COLUMN_STALE : 0) | (runs ? VALUE_COLUMN_RUNS : 0));
    p = stale ? list_put(stale_list, bits, n, stale_list(bits, n, NULL), p) : p;
    p = runs ? list_put(runs_list, bits, n, runs_bytes, p) : p;
    uint8_t *body = p;
    p = plan_put(&source, &plan, p);
    TSDB_ASSERT((size_t)(p - body) == plan.bytes);
    return (size_t)(p - out);
}
