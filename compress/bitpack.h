/* Bit packing: n values of w bits each, w 0..64, any n.
 *
 * Value i stands at bit i * w of the bytes, least significant bit first, byte 0 first; bits of the
 * last byte that belong to no value are zero when written and ignored when read. So the packed form
 * is a little-endian number, any value can be read alone, and 8 values begin at a byte boundary.
 *
 * On the data path: below compress/frame.h and the time grid. The loops are kernels.
 *
 * Threads: pure. No allocation. Never touches a byte outside of what is stated.
 */
#ifndef COMPRESS_BITPACK_H
#define COMPRESS_BITPACK_H

#include <stddef.h>
#include <stdint.h>

#define BITPACK_WIDTH_MAX 64u

/* Bytes that n values of w bits take. */
static inline size_t bitpack_bytes(size_t n, uint32_t w)
{
    return (n * w + 7) / 8;
}
/* Bits that v needs, 0 for 0. */
static inline uint32_t bitpack_width(uint64_t v)
{
    return v == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(v);
}
/* w low bits set. */
static inline uint64_t bitpack_mask(uint32_t w)
{
    return w == 0 ? 0 : UINT64_MAX >> (64 - w);
}

/* Write the low w bits of in[0..n) to out[bitpack_bytes(n, w)]. */
void bitpack_pack(const uint64_t *in, size_t n, uint32_t w, uint8_t *out);
/* out[i] = value i + add, wrapping. src[len] with len >= bitpack_bytes(n, w); what lies between
 * that and len may be read, and has no influence. */
void bitpack_unpack(const uint8_t *src, size_t len, size_t n, uint32_t w, uint64_t add,
                    uint64_t *out);
/* Value i alone; len >= bitpack_bytes(i + 1, w). */
uint64_t bitpack_get(const uint8_t *src, size_t len, size_t i, uint32_t w);

#endif
