/* Packing one float against the previous one of its series: a mode (0..57) and 0 to 8 bytes.
 *
 * On the data path: owner -> wal/record.c -> here. Samples of a frame belong to different series,
 * so each value is coded alone; what it is packed against (the base) is known to both sides by
 * other means. Lossless to the last bit: NaN payloads, -0 and infinities included.
 *
 * Modes, the smallest is taken; n is the number of bytes that follow, little-endian:
 *   SAME              0 bytes  the base again
 *   STALE             0 bytes  Prometheus's stale marker
 *   INT_DELTA + n-1   1..6     both are integers below 2^53 (and not -0): zigzag of the difference
 *   INT_RAW + n       0..6     an integer, zigzag; no base needed
 *   XOR + n-1         1..7     low bytes of bits XOR base; the high ones are zero
 *   XOR_F32 + n-1     1..4     the same shifted right by three bytes: values that were float32 once
 *   RAW_TOP + n-1     1..8     high bytes of the bits, the low ones are zero; no base needed
 *   DEC + 8k + 0..3   1..4     decimal digits 2, 3 or 9 (k = 0, 1, 2): both are an integer /
 *                              10^digits, to the last bit: zigzag of the integers' difference
 *                              (2..5 bytes for 9 digits)
 *   DEC + 8k + 4..7   1..4     the same of the integer itself; no base needed
 * Byte-exact description: docs/format/wal.md.
 *
 * Threads: pure. No allocation.
 */
#ifndef COMPRESS_VALUE_PACK_H
#define COMPRESS_VALUE_PACK_H

#include "base/assert.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define VALUE_PACK_BYTES_MAX 8

enum value_pack_mode {
    VALUE_PACK_SAME = 0,
    VALUE_PACK_STALE = 1,
    VALUE_PACK_INT_DELTA = 2,
    VALUE_PACK_INT_RAW = 8,
    VALUE_PACK_XOR = 15,
    VALUE_PACK_XOR_F32 = 22,
    VALUE_PACK_RAW_TOP = 26,
    VALUE_PACK_DEC = 34,
    VALUE_PACK_MODE_COUNT = 58,
};
static_assert(VALUE_PACK_MODE_COUNT < 64,
              "a mode fits six bits, and leaves some to whoever stores it");

struct value_packed {
    uint64_t packed; /* the low `bytes` bytes count, the rest is zero */
    uint32_t mode;   /* enum value_pack_mode plus width */
    uint32_t bytes;
};

/* Pack `bits` (IEEE-754) against `base_bits`, or alone when has_base is false (then base_bits is
 * ignored and the mode needs no base). Cost: about 5 ns. */
struct value_packed value_pack(uint64_t bits, bool has_base, uint64_t base_bits);

/* Bytes that follow mode < VALUE_PACK_MODE_COUNT, and whether unpacking needs the base. */
extern const uint8_t value_pack_mode_bytes[VALUE_PACK_MODE_COUNT];
static inline uint32_t value_pack_bytes(uint32_t mode)
{
    TSDB_ASSERT(mode < VALUE_PACK_MODE_COUNT);
    return value_pack_mode_bytes[mode];
}
bool value_pack_needs_base(uint32_t mode);

/* The reverse. mode < VALUE_PACK_MODE_COUNT (checked by the caller for bytes from outside); any
 * `packed` and any base give some value, never undefined behaviour. */
uint64_t value_unpack(uint32_t mode, uint64_t packed, uint64_t base_bits);

/* The integer that a value is, or is a power of ten of, as the one before left it: values of a series that
 * are unpacked one against the other need not find it again each time, which takes longer than all else. */
struct value_whole {
    int64_t whole;
    uint32_t scale; /* enum value_scale, or that of decimals */
};
enum value_scale {
    VALUE_SCALE_UNKNOWN = 0, /* look at the value */
    VALUE_SCALE_ONE          /* it is `whole` */
};
/* A value is its whole divided by this. */
double value_scale_of(uint32_t scale);
/* The same as value_unpack; *w is of the base, then of the result. */
uint64_t value_unpack_next(uint32_t mode, uint64_t packed, uint64_t base_bits,
                           struct value_whole *w);

#endif
