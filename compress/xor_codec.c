#include "compress/xor_codec.h"

#include "base/assert.h"
#include "base/bytes.h"

/* ---- bits out ---- */
struct bit_writer {
    uint8_t *p;
    uint64_t acc;  /* the upper `fill` bits are waiting */
    uint32_t fill; /* 0..63 */
};

static void put_be64(uint8_t *p, uint64_t v)
{
    tsdb_store_le64(p, __builtin_bswap64(v));
}

/* The low n bits of v, 1 <= n <= 64. */
static inline void put_bits(struct bit_writer *w, uint64_t v, uint32_t n)
{
    v <<= 64 - n;
    w->acc |= v >> (w->fill & 63); /* masks are free, and tell the analyzer */
    if (w->fill + n < 64) {
        w->fill += n;
        return;
    }
    put_be64(w->p, w->acc);
    w->p += 8;
    w->acc = w->fill == 0 ? 0 : v << ((64 - w->fill) & 63);
    w->fill = w->fill + n - 64;
}

static void put_bytes(struct bit_writer *w, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        put_bits(w, data[i], 8);
    }
}

static uint8_t *put_end(struct bit_writer *w)
{
    for (; w->fill > 0; w->fill = w->fill > 8 ? w->fill - 8 : 0) {
        *w->p++ = (uint8_t)(w->acc >> 56);
        w->acc <<= 8;
    }
    return w->p;
}

/* ---- bits in ---- */
struct bit_reader {
    const uint8_t *src;
    size_t len, bit;
    bool failed; /* sticky; reads give 0 from then on */
};

/* 1 <= n <= 57. */
static inline uint64_t get_some(struct bit_reader *r, uint32_t n)
{
    size_t at = r->bit / 8;
    uint64_t v = 0;
    if (TSDB_LIKELY(at + 8 <= r->len)) {
        v = __builtin_bswap64(tsdb_load_le64(r->src + at));
    } else {
        for (size_t i = 0; i < 8; i++) {
            v = v << 8 | (at + i < r->len ? r->src[at + i] : 0);
        }
        if (r->bit + n > 8 * r->len) {
            r->failed = true;
            return 0;
        }
    }
    v <<= r->bit & 7;
    r->bit += n;
    return v >> (64 - n);
}

/* 1 <= n <= 64. */
static inline uint64_t get_bits(struct bit_reader *r, uint32_t n)
{
    if (n <= 57) {
        return get_some(r, n);
    }
    uint64_t high = get_some(r, 32);
    return high << (n - 32) | get_some(r, n - 32);
}

static uint64_t get_uvarint(struct bit_reader *r)
{
    uint8_t bytes[TSDB_VARINT64_BYTES_MAX];
    uint64_t v = 0;
    size_t n = 0;
    do {
        bytes[n] = (uint8_t)get_some(r, 8);
    } while (bytes[n++] >= 0x80 && n < sizeof bytes);
    r->failed = r->failed || tsdb_get_uvarint(bytes, bytes + n, &v) == NULL;
    return v;
}

/* ---- one value ---- */
struct window {
    uint64_t value;
    uint32_t leading, trailing;
    bool set;
};

/* Does d fit the window? If not, the window is made for it. d != 0. */
static inline bool window_fits(struct window *w, uint64_t d)
{
    uint32_t leading = (uint32_t)__builtin_clzll(d), trailing = (uint32_t)__builtin_ctzll(d);
    leading = leading > 31 ? 31 : leading;
    if (w->set && leading >= w->leading && trailing >= w->trailing) {
        return true;
    }
    w->leading = leading;
    w->trailing = trailing;
    w->set = true;
    return false;
}

static inline void put_value(struct bit_writer *b, struct window *w, uint64_t value)
{
    uint64_t d = value ^ w->value;
    w->value = value;
    if (d == 0) {
        put_bits(b, 0, 1);
        return;
    }
    if (window_fits(w, d)) {
        put_bits(b, 2, 2);
    } else {
        uint32_t significant = 64 - w->leading - w->trailing;
        put_bits(b, UINT64_C(3) << 11 | (uint64_t)w->leading << 6 | (significant & 63), 13);
    }
    put_bits(b, d >> w->trailing, 64 - w->leading - w->trailing);
}

static inline uint64_t get_value(struct bit_reader *r, struct window *w)
{
    if (get_some(r, 1) == 0) {
        return w->value;
    }
    if (get_some(r, 1) == 1) {
        uint64_t head = get_some(r, 11);
        uint32_t significant = (uint32_t)(head & 63);
        significant = significant == 0 ? 64 : significant;
        w->leading = (uint32_t)(head >> 6);
        w->set = w->leading + significant <= 64;
        w->trailing = w->set ? 64 - w->leading - significant : 0;
    }
    if (!w->set) { /* a window that was never opened, or is wider than a value */
        r->failed = true;
        return 0;
    }
    w->value ^= get_bits(r, 64 - w->leading - w->trailing) << w->trailing;
    return w->value;
}

/* ---- values only ---- */
size_t xor_values_bytes(const uint64_t *values, size_t n)
{
    TSDB_ASSERT(n >= 1);
    struct window w = {.value = values[0]};
    size_t bits = 64;
    for (size_t i = 1; i < n; i++) {
        uint64_t d = values[i] ^ w.value;
        w.value = values[i];
        if (d == 0) {
            bits++;
            continue;
        }
        bits += window_fits(&w, d) ? 2 : 13;
        bits += 64 - w.leading - w.trailing;
    }
    return (bits + 7) / 8;
}

size_t xor_values_encode(const uint64_t *values, size_t n, uint8_t *out)
{
    TSDB_ASSERT(n >= 1);
    struct bit_writer b = {.p = out};
    struct window w = {.value = values[0]};
    put_bits(&b, values[0], 64);
    for (size_t i = 1; i < n; i++) {
        put_value(&b, &w, values[i]);
    }
    return (size_t)(put_end(&b) - out);
}

enum tsdb_status xor_values_decode(const uint8_t *src, size_t len, size_t n, uint64_t *out,
                                   struct tsdb_error *err)
{
    TSDB_ASSERT(n >= 1);
    struct bit_reader r = {.src = src, .len = len};
    struct window w = {.value = get_bits(&r, 64)};
    out[0] = w.value;
    for (size_t i = 1; i < n; i++) {
        out[i] = get_value(&r, &w);
        if (r.failed) {
            break;
        }
    }
    if (r.failed || (r.bit + 7) / 8 != len) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, r.bit / 8, "xor stream at bit %zu of %zu: %s",
                                 r.bit, 8 * len, r.failed ? "damaged" : "bytes left over");
    }
    return TSDB_OK;
}

/* ---- Prometheus's chunk ---- */
/* Widths of a difference of differences, after its prefix of that many ones; a field of n bits
 * holds
 * -(2^(n-1) - 1) to 2^(n-1), which is not two's complement. */
#define DOD_KINDS 3u
static const uint32_t dod_width[DOD_KINDS] = {14, 17, 20};

static void put_dod(struct bit_writer *b, uint64_t dod)
{
    if (dod == 0) {
        put_bits(b, 0, 1);
        return;
    }
    for (uint32_t k = 0; k < DOD_KINDS; k++) {
        int64_t half = INT64_C(1) << (dod_width[k] - 1);
        if ((int64_t)dod >= -half + 1 && (int64_t)dod <= half) {
            put_bits(b, (UINT64_C(4) << k) - 2, k + 2); /* 10, 110, 1110 */
            put_bits(b, dod, dod_width[k]);
            return;
        }
    }
    put_bits(b, 15, 4);
    put_bits(b, dod, 64);
}

static uint64_t get_dod(struct bit_reader *r)
{
    uint32_t ones = 0;
    for (; ones < DOD_KINDS + 1 && get_some(r, 1) == 1; ones++) {
    }
    if (ones == 0) {
        return 0;
    }
    if (ones == DOD_KINDS + 1) {
        return get_bits(r, 64);
    }
    uint32_t width = dod_width[ones - 1];
    uint64_t v = get_some(r, width);
    return v > UINT64_C(1) << (width - 1) ? v - (UINT64_C(1) << width) : v;
}

size_t xor_chunk_encode(const int64_t *t, const uint64_t *values, size_t n, uint8_t *out)
{
    TSDB_ASSERT(n >= 1 && n <= XOR_CHUNK_SAMPLES_MAX);
    uint8_t varint[TSDB_VARINT64_BYTES_MAX];
    struct window w = {.value = values[0]};
    uint64_t delta = 0;
    bool same = false;
    out[0] = (uint8_t)(n >> 8);
    out[1] = (uint8_t)n;
    struct bit_writer b = {.p = out + 2};
    put_bytes(&b, varint, (size_t)(tsdb_put_varint(varint, t[0]) - varint));
    put_bits(&b, values[0], 64);
    for (size_t i = 1; i < n; i++) {
        uint64_t d = (uint64_t)t[i] - (uint64_t)t[i - 1];
        if (i == 1) {
            put_bytes(&b, varint, (size_t)(tsdb_put_uvarint(varint, d) - varint));
        } else {
            put_dod(&b, d - delta);
        }
        delta = d;
        same = values[i] == w.value;
        put_value(&b, &w, values[i]);
    }
    /* Prometheus's writer opens the next byte whenever it writes whole bytes, so a stream that ends
     * at a byte with such a write has a zero byte more. */
    uint32_t last = n == 1 ? 64 : same ? 1 : 64 - w.leading - w.trailing;
    bool opened = b.fill % 8 == 0 && last % 8 == 0;
    uint8_t *end = put_end(&b);
    *end = 0;
    return (size_t)(end - out) + opened;
}

enum tsdb_status xor_chunk_decode(const uint8_t *src, size_t len, size_t cap, int64_t *out_t,
                                  uint64_t *out_values, size_t *out_n, struct tsdb_error *err)
{
    if (len < 2) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0, "xor chunk: %zu bytes, expected 2", len);
    }
    size_t n = (size_t)src[0] << 8 | src[1];
    if (n > cap) {
        return tsdb_error_set_at(err, TSDB_LIMIT, 0, "xor chunk: %zu samples, at most %zu", n, cap);
    }
    struct bit_reader r = {.src = src, .len = len, .bit = 16};
    struct window w = {0};
    uint64_t delta = 0, t = 0;
    for (size_t i = 0; i < n && !r.failed; i++) {
        if (i == 0) {
            t = (uint64_t)tsdb_unzigzag(get_uvarint(&r));
            w.value = get_bits(&r, 64);
            out_values[0] = w.value;
        } else {
            delta = i == 1 ? get_uvarint(&r) : delta + get_dod(&r);
            t += delta;
            out_values[i] = get_value(&r, &w);
        }
        out_t[i] = (int64_t)t;
    }
    if (r.failed) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, r.bit / 8,
                                 "xor chunk at bit %zu of %zu: damaged, %zu samples expected",
                                 r.bit, 8 * len, n);
    }
    *out_n = n;
    return TSDB_OK;
}
