/* Frames: up to 256 integers as a base, a width and packed differences, with exceptions.
 *
 *   varint base - base of the frame before | u8 width + 128 if there are exceptions |
 *   [u8 count | u8 position each | uvarint each] | packed
 *
 * x[i] - base (wrapping) stands in `width` packed bits; of an exception only the low bits do, the
 * others follow as a uvarint. So one outlier does not widen the rest, on either side: values below
 * the base wrap to large differences. Layout byte by byte: docs/format/columns.md.
 *
 * On the data path: time_codec and value_codec cut their integers, deltas or bit patterns into
 * frames; each frame is unpacked, summed and converted while it is in the L1 cache.
 *
 * Threads: pure. No allocation.
 */
#ifndef COMPRESS_FRAME_H
#define COMPRESS_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* Values of one frame: 2 KiB decoded, and a position is one byte. */
#define FRAME_VALUES 256u
/* Upper bound of what n <= FRAME_VALUES values take. */
#define FRAME_BYTES_MAX(n) (10 + 1 + 8 * (size_t)(n))

struct frame_plan {
    uint64_t base;
    uint32_t width;
    uint32_t exceptions;
    uint32_t bytes; /* exact size */
};

/* The cheapest frame for x[0..n), 1 <= n <= FRAME_VALUES, after a frame with base base_prev (0 for
 * the first). Cost: two passes over x, four if it has outliers. */
void frame_plan(const uint64_t *x, size_t n, uint64_t base_prev, struct frame_plan *out);
/* Write plan->bytes bytes at out; returns the byte after. */
uint8_t *frame_encode(const uint64_t *x, size_t n, uint64_t base_prev,
                      const struct frame_plan *plan, uint8_t *out);

/* Read a frame of n <= FRAME_VALUES values from [p, end), untrusted.
 *   base   in: of the frame before; out: of this one
 * Returns the byte after, or NULL if it is damaged (out then holds anything, base is unchanged). */
const uint8_t *frame_decode(const uint8_t *p, const uint8_t *end, size_t n, uint64_t *base,
                            uint64_t *out);

#endif
