#include "compress/bitpack.h"

#include "base/assert.h"
#include "compress/kernels.h"

#include <string.h>

void bitpack_pack(const uint64_t *in, size_t n, uint32_t w, uint8_t *out)
{
    TSDB_ASSERT(w <= BITPACK_WIDTH_MAX);
    kernels_get()->pack(in, n, w, out);
}

void bitpack_unpack(const uint8_t *src, size_t len, size_t n, uint32_t w, uint64_t add,
                    uint64_t *out)
{
    TSDB_ASSERT(w <= BITPACK_WIDTH_MAX);
    TSDB_ASSERT(len >= bitpack_bytes(n, w));
    kernels_get()->unpack(src, len, n, w, add, out);
}

uint64_t bitpack_get(const uint8_t *src, size_t len, size_t i, uint32_t w)
{
    TSDB_ASSERT(w <= BITPACK_WIDTH_MAX);
    TSDB_ASSERT(len >= bitpack_bytes(i + 1, w));
    uint64_t v;
    size_t bit = i * w;
    uint8_t bytes[9] = {0};
    size_t left = len - bit / 8;
    memcpy(bytes, src + bit / 8, left < sizeof bytes ? left : sizeof bytes);
    memcpy(&v, bytes, sizeof v);
    v >>= bit % 8;
    if (bit % 8 != 0) {
        v |= (uint64_t)bytes[8] << (64 - bit % 8);
    }
    return v & bitpack_mask(w);
}
