/* Arrays that are hard on codecs, shared by the suites of this folder. */
#ifndef TESTS_UNIT_COMPRESS_COLUMNS_H
#define TESTS_UNIT_COMPRESS_COLUMNS_H

#include "base/bytes.h"
#include "base/random.h"

#define STALE UINT64_C(0x7ff0000000000002)

/* Bit patterns at the edges of everything that a codec assumes. */
static const uint64_t edge_bits[] = {
    0,                            /* 0 */
    UINT64_C(0x8000000000000000), /* -0 */
    1,                            /* smallest denormal */
    UINT64_C(0x8000000000000001),
    UINT64_C(0x000fffffffffffff), /* largest denormal */
    UINT64_C(0x0010000000000000), /* smallest normal */
    UINT64_C(0x7fefffffffffffff), /* largest */
    UINT64_C(0xffefffffffffffff),
    UINT64_C(0x7ff0000000000000), /* infinities */
    UINT64_C(0xfff0000000000000),
    STALE,
    UINT64_C(0x7ff8000000000001), /* Go's NaN */
    UINT64_C(0x7ff8000000000000),
    UINT64_C(0x7ff0000000000001), /* signalling, other payloads */
    UINT64_C(0xffffffffffffffff),
    UINT64_C(0xfff8000000001234),
    UINT64_C(0x3ff0000000000000), /* 1 */
    UINT64_C(0xbff0000000000000), /* -1 */
    UINT64_C(0x4340000000000000), /* 2^53 */
    UINT64_C(0x4340000000000001), /* 2^53 + 2 */
    UINT64_C(0x433fffffffffffff), /* 2^53 - 1 */
    UINT64_C(0xc340000000000000), /* -2^53 */
    UINT64_C(0x4320000000000000), /* 2^51 */
    UINT64_C(0x4320000000000001), /* 2^51 + 0.5 */
    UINT64_C(0x431fffffffffffff), /* 2^51 - 0.25 */
    UINT64_C(0xc320000000000000), /* -2^51 */
    UINT64_C(0x43dfffffffffffff), /* largest below 2^63 */
    UINT64_C(0x43e0000000000000), /* 2^63 */
    UINT64_C(0xc3e0000000000000), /* -2^63 */
    UINT64_C(0xc3dfffffffffffff),
    UINT64_C(0x3fb999999999999a), /* 0.1 */
    UINT64_C(0x3fb999999999999b), /* 0.1 and a bit */
    UINT64_C(0x3fd3333333333334), /* 0.1 + 0.2 */
    UINT64_C(0x3c32725dd1d243ac), /* 1e-18 */
    UINT64_C(0x3c07a07d7a9d0000), /* near 1e-19 */
    UINT64_C(0x40c3880000000000), /* 10000 */
    UINT64_C(0x4415af1d78b58c40), /* 1e20 */
};
#define EDGE_COUNT (sizeof edge_bits / sizeof edge_bits[0])

static inline uint64_t random_bits(struct tsdb_prng *r)
{
    double d = (double)((int64_t)tsdb_prng_below(r, 2000001) - 1000000);
    switch (tsdb_prng_below(r, 8)) {
    case 0:
        return edge_bits[tsdb_prng_below(r, EDGE_COUNT)];
    case 1:
        return tsdb_prng_next(r);
    case 2:
        return tsdb_double_bits(d);
    case 3:
        return tsdb_double_bits(d / 100);
    case 4:
        return tsdb_double_bits(d / 1e9);
    case 5:
        return tsdb_double_bits(tsdb_prng_double(r));
    case 6:
        return tsdb_double_bits((double)(int64_t)tsdb_prng_next(r));
    default:
        return tsdb_double_bits(d * 4096);
    }
}

#endif
