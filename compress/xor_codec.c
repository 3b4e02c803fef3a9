#include "compress/xor_codec.h"

#include "base/assert.h"
#include "compress/bit_stream_private.h"

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
        put_value(&b, &w, values[i]);
    }
    return (size_t)(put_end(&b) - out);
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
    struct window w = WINDOW_OF_A_READER;
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
