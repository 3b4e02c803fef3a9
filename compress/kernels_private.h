/* What the tables of compress/simd/ share. */
#ifndef COMPRESS_KERNELS_PRIVATE_H
#define COMPRESS_KERNELS_PRIVATE_H

#include "base/bytes.h"
#include "compress/bitpack.h"
#include "compress/kernels.h"

extern const struct kernels kernels_avx2; /* all NULL where the compiler was not asked for AVX2 */

/* Adding and subtracting it rounds to an integer; good below 2^51. */
#define KERNELS_ROUND 0x1.8p52

/* The specification of ints_of_doubles for one value. */
static inline int64_t kernels_int_of_double(uint64_t bits, uint32_t digits)
{
    double x = tsdb_bits_double(bits);
    if (digits == 0) {
        if (!(x > -0x1p63 && x < 0x1p63)) {
            return KERNELS_NO_INT;
        }
        int64_t i = (int64_t)x;
        return tsdb_double_bits((double)i) == bits ? i : KERNELS_NO_INT;
    }
    double scaled = x * kernels_power_of_ten[digits];
    if (!(scaled > -0x1p51 && scaled < 0x1p51)) {
        return KERNELS_NO_INT;
    }
    int64_t i = (int64_t)((scaled + KERNELS_ROUND) - KERNELS_ROUND);
    return tsdb_double_bits((double)i / kernels_power_of_ten[digits]) == bits ? i : KERNELS_NO_INT;
}

/* 8 bytes at src + at, zeroes beyond len. */
static inline uint64_t kernels_load_tail(const uint8_t *src, size_t len, size_t at)
{
    uint64_t v = 0;
    if (at + 8 <= len) {
        return tsdb_load_le64(src + at);
    }
    for (size_t i = at; i < len; i++) {
        v |= (uint64_t)src[i] << (8 * (i - at));
    }
    return v;
}

/* The specification of unpack for one value. */
static inline uint64_t kernels_unpack_one(const uint8_t *src, size_t len, size_t i, uint32_t w)
{
    size_t bit = i * w;
    uint32_t shift = (uint32_t)(bit & 7);
    uint64_t v = kernels_load_tail(src, len, bit / 8) >> shift;
    if (shift + w > 64) {
        v |= (uint64_t)src[bit / 8 + 8] << (64 - shift);
    }
    return v & bitpack_mask(w);
}

#endif
