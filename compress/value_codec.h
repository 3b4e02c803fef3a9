/* Floats to a column of bytes and back, to the last bit.
 *
 * On the data path: tsdb/chunk/chunk.c puts one such column into each float chunk.
 *
 * A column is u8 codec + flags, then what the flags say, parameters, payload:
 *   flag STALE  stale markers stand in a list of runs; the codec sees the other values only
 *   flag RUNS   repeated values stand once, with a list of run lengths; the codec sees the changes
 * and the codec, of which the encoder takes the one with the smallest result:
 *   CONST       one value
 *   LINEAR      integers / 10^digits with a constant difference
 *   DEC         integers * factor / 10^digits in frames (compress/frame.h)
 *   DEC_DELTA   their differences in frames: counters
 *   DEC_DELTA2  the differences of those
 *   BITS        bit patterns, without common low zero bits, in frames
 *   BITS_DELTA  their differences: slow floats with full mantissa
 *   XOR         Gorilla bit stream (compress/xor_codec.h); up to 256 values only, as it is slow to
 *               read
 *   RAW         8 bytes each
 * DEC* keep what is no decimal (NaN, infinities, -0, noise) in a list of exceptions. A decimal is
 * what one division gives back exactly; that is decided by dividing, never by a tolerance. Byte by
 * byte: docs/format/columns.md.
 *
 *  1. decode(encode(v)) = v bit for bit, for every v.
 *  2. encode's bytes depend on v and the hint only, not on the processor.
 *  3. The decoder reads nothing outside src[len], for any bytes.
 *
 * Threads: pure. No allocation; below 16 KiB of stack.
 */
#ifndef COMPRESS_VALUE_CODEC_H
#define COMPRESS_VALUE_CODEC_H

#include "base/status.h"
#include "compress/column.h"

#include <stddef.h>
#include <stdint.h>

/* Never renumber: they are on disk, in the low 4 bits of a column's first byte. */
enum value_codec {
    VALUE_CODEC_CONST = 0,
    VALUE_CODEC_LINEAR = 1,
    VALUE_CODEC_DEC = 2,
    VALUE_CODEC_DEC_DELTA = 3,
    VALUE_CODEC_DEC_DELTA2 = 4,
    VALUE_CODEC_BITS = 5,
    VALUE_CODEC_BITS_DELTA = 6,
    VALUE_CODEC_XOR = 7,
    VALUE_CODEC_RAW = 8,
    VALUE_CODEC_COUNT
};
#define VALUE_COLUMN_CODEC 0x0fu
#define VALUE_COLUMN_RUNS  0x40u
#define VALUE_COLUMN_STALE 0x80u
/* "const", "linear", ...; NULL if unknown. */
const char *value_codec_name(uint8_t codec);

/* What was found out about a series by its last chunk; spares the next one the search. All zero
 * knows nothing. Kept by the caller, at most 8 bytes. */
struct value_hint {
    uint8_t digits_known; /* decimal digits + 1; VALUE_HINT_NO_DECIMAL; 0: unknown */
    uint8_t reserved[7];
};
#define VALUE_HINT_NO_DECIMAL 255u

/* Room that encoding n values needs. */
size_t value_codec_bytes_max(uint32_t n);
/* Encode bits[0..n), 1 <= n <= COLUMN_COUNT_MAX, into out (room for value_codec_bytes_max(n)).
 * hint: read and brought up to date; may be NULL. Returns the length.
 * Cost: 5 to 20 ns per value, depending on what they are (bench/codec.c). */
size_t value_codec_encode(const uint64_t *bits, uint32_t n, struct value_hint *hint, uint8_t *out);

/* Decode a column of exactly n values, 1 <= n <= COLUMN_COUNT_MAX.
 *   src[len]   the column, all of it, untrusted
 *   out[n]     IEEE-754 bits
 * Returns OK; CORRUPT (err->pos: where in src; out then holds anything).
 * Cost: about 1 ns per value or less, XOR about 4 ns. */
enum tsdb_status value_codec_decode(const uint8_t *src, size_t len, uint32_t n, uint64_t *out,
                                    struct tsdb_error *err) TSDB_WUR;

#endif
