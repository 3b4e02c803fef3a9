/* Streams of bits, most significant bit first, and a value XORed with the one before: what the
 * Gorilla codec and Prometheus's chunks are made of. Threads: pure, on the caller's memory. */
#ifndef COMPRESS_BIT_STREAM_PRIVATE_H
#define COMPRESS_BIT_STREAM_PRIVATE_H

#include "base/bytes.h"

/* ---- bits out ----
 * put_bits writes eight bytes at a time: at the end of a stream put_end writes the rest. */
struct bit_writer {
    uint8_t *p;
    uint64_t acc;  /* the upper `fill` bits are waiting */
    uint32_t fill; /* 0..63 */
};

static inline void put_be64(uint8_t *p, uint64_t v)
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

static inline void put_bytes(struct bit_writer *w, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        put_bits(w, data[i], 8);
    }
}

static inline uint8_t *put_end(struct bit_writer *w)
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

static inline uint64_t get_uvarint(struct bit_reader *r)
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
/* A reader of Prometheus's begins with a window of all 64 bits, and so does its writer when it goes
 * on with a chunk that holds no window yet. */
#define WINDOW_OF_A_READER ((struct window){.set = true})

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

#endif
