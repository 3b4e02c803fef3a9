#include "compress/value_pack.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <math.h>

/* model/sample.h has the name; compress/ stands below model/. wal/record.c asserts that they agree.
 */
#define STALE_BITS UINT64_C(0x7ff0000000000002)

#define DEC_KINDS 3
/* 2: percentages, CPU seconds; 3: milliseconds; 9: nanoseconds, and with that 4..8 at a few bytes
 * more. Each further kind costs every full-mantissa value one multiplication. */
static const double dec_scale[DEC_KINDS] = {1e2, 1e3, 1e9};
static const uint8_t dec_bytes_min[DEC_KINDS] = {1, 1, 2};

const uint8_t value_pack_mode_bytes[VALUE_PACK_MODE_COUNT] = {
    0, 0,                   /* SAME, STALE */
    1, 2, 3, 4, 5, 6,       /* INT_DELTA */
    0, 1, 2, 3, 4, 5, 6,    /* INT_RAW */
    1, 2, 3, 4, 5, 6, 7,    /* XOR */
    1, 2, 3, 4,             /* XOR_F32 */
    1, 2, 3, 4, 5, 6, 7, 8, /* RAW_TOP */
    1, 2, 3, 4, 1, 2, 3, 4, /* DEC, 2 digits */
    1, 2, 3, 4, 1, 2, 3, 4, /* DEC, 3 digits */
    2, 3, 4, 5, 2, 3, 4, 5, /* DEC, 9 digits */
};

/* Significant bytes of v: 0 for 0, else 1..8. */
static inline uint32_t bytes_of(uint64_t v)
{
    return v == 0 ? 0 : (71 - (uint32_t)__builtin_clzll(v)) / 8;
}

/* Is it an integer that a double holds exactly, with room for the difference of two? -0, NaN and
 * infinities are not. */
static inline bool int_of(uint64_t bits, int64_t *out)
{
    double d = tsdb_bits_double(bits);
    if (!(fabs(d) < 0x1p53)) {
        return false;
    }
    int64_t i = (int64_t)d;
    *out = i;
    return tsdb_double_bits((double)i) == bits;
}

/* The integer nearest to x, of at most 51 bits: adding and subtracting 1.5 * 2^52 rounds. */
static inline bool nearest(double x, int64_t *out)
{
    if (!(fabs(x) < 0x1p51)) {
        return false;
    }
    *out = (int64_t)((x + 0x1.8p52) - 0x1.8p52);
    return true;
}

/* Is it i / scale to the last bit? The tolerance only spares most values the division; the division
 * decides. */
static inline bool dec_of(uint64_t bits, double scale, int64_t *out)
{
    double x = tsdb_bits_double(bits) * scale;
    int64_t i;
    if (!nearest(x, &i) || fabs(x - (double)i) > fabs(x) * 0x1p-50) {
        return false;
    }
    *out = i;
    return tsdb_double_bits((double)i / scale) == bits;
}

static inline struct value_packed packed_make(uint64_t packed, uint32_t mode, uint32_t bytes)
{
    return (struct value_packed){packed, mode, bytes};
}

/* Integers: difference if that is not longer than the integer itself. Leaves `best` alone if
 * neither fits. */
static inline void pack_int(int64_t v, bool has_base, uint64_t base_bits, struct value_packed *best)
{
    int64_t base;
    uint64_t z = tsdb_zigzag(v);
    uint32_t n = bytes_of(z);
    uint32_t mode = VALUE_PACK_INT_RAW + n;
    if (has_base && n > 0 && int_of(base_bits, &base)) {
        uint64_t z_delta = tsdb_zigzag(v - base);
        uint32_t n_delta = bytes_of(z_delta);
        if (n_delta <= n) {
            z = z_delta;
            n = n_delta;
            mode = VALUE_PACK_INT_DELTA + n - 1;
        }
    }
    if (n <= 6 && n < best->bytes) {
        *best = packed_make(z, mode, n);
    }
}

/* Bit patterns: XOR with the base, or the bits alone without their low zero bytes. */
static inline void pack_bits(uint64_t bits, bool has_base, uint64_t base_bits,
                             struct value_packed *best)
{
    uint32_t n = bits == 0 ? 1 : 8 - (uint32_t)__builtin_ctzll(bits) / 8;
    if (n < best->bytes) {
        *best = packed_make(bits >> (64 - 8 * n), VALUE_PACK_RAW_TOP + n - 1, n);
    }
    if (has_base) {
        uint64_t x = bits ^ base_bits;
        n = bytes_of(x);
        if ((x & 0xffffff) == 0 && n >= 4 && n <= 7 && n - 3 < best->bytes) {
            *best = packed_make(x >> 24, VALUE_PACK_XOR_F32 + n - 4, n - 3);
        } else if (n >= 1 && n < 8 && n < best->bytes) {
            *best = packed_make(x, VALUE_PACK_XOR + n - 1, n);
        }
    }
}

static inline void pack_dec(uint64_t bits, bool has_base, uint64_t base_bits,
                            struct value_packed *best)
{
    for (uint32_t k = 0; k < DEC_KINDS; k++) {
        int64_t v, base;
        if (!dec_of(bits, dec_scale[k], &v)) {
            continue;
        }
        uint64_t z = tsdb_zigzag(v);
        uint32_t raw = 4;
        bool base_fits = has_base && dec_of(base_bits, dec_scale[k], &base);
        if (base_fits) {
            uint64_t z_delta = tsdb_zigzag(v - base);
            if (z_delta <= z) {
                z = z_delta;
                raw = 0;
            }
        }
        uint32_t n = TSDB_MAX(bytes_of(z), (uint32_t)dec_bytes_min[k]);
        uint32_t width = n - dec_bytes_min[k];
        if (width < 4 && n < best->bytes) {
            *best = packed_make(z, VALUE_PACK_DEC + 8 * k + raw + width, n);
        }
        if (base_fits || !has_base) {
            return; /* what has 2 digits has 3 and 9 as well, but with longer integers */
        }
    }
}

struct value_packed value_pack(uint64_t bits, bool has_base, uint64_t base_bits)
{
    struct value_packed best = {0, VALUE_PACK_SAME, 0};
    if (has_base && bits == base_bits) {
        return best;
    }
    if (TSDB_UNLIKELY(bits == STALE_BITS)) {
        best.mode = VALUE_PACK_STALE;
        return best;
    }
    best.bytes = VALUE_PACK_BYTES_MAX + 1;
    int64_t v;
    if (int_of(bits, &v)) {
        pack_int(v, has_base, base_bits, &best);
        if (best.bytes > 2) {
            pack_bits(bits, has_base, base_bits, &best);
        }
        if (best.bytes > 2 && has_base && best.mode >= VALUE_PACK_INT_RAW) {
            pack_dec(bits, has_base, base_bits, &best); /* a decimal series that meets an integer */
        }
        return best;
    }
    pack_bits(bits, has_base, base_bits, &best);
    if (best.bytes > 1) {
        pack_dec(bits, has_base, base_bits, &best);
    }
    return best;
}

bool value_pack_needs_base(uint32_t mode)
{
    if (mode >= VALUE_PACK_DEC) {
        return ((mode - VALUE_PACK_DEC) & 4) == 0;
    }
    return mode == VALUE_PACK_SAME || (mode >= VALUE_PACK_INT_DELTA && mode < VALUE_PACK_INT_RAW) ||
           (mode >= VALUE_PACK_XOR && mode < VALUE_PACK_RAW_TOP);
}

double value_scale_of(uint32_t scale)
{
    TSDB_ASSERT(VALUE_SCALE_ONE <= scale && scale <= VALUE_SCALE_ONE + DEC_KINDS);
    return scale == VALUE_SCALE_ONE ? 1 : dec_scale[scale - VALUE_SCALE_ONE - 1];
}

static uint64_t unpack_dec(uint32_t mode, uint64_t packed, uint64_t base_bits,
                           struct value_whole *w)
{
    uint32_t k = (mode - VALUE_PACK_DEC) / 8;
    int64_t base = 0;
    TSDB_ASSERT(k < DEC_KINDS);
    if (value_pack_needs_base(mode)) {
        /* Whoever packed against the base has found that it is that integer, to the last bit. */
        bool known = w->scale == VALUE_SCALE_ONE + 1 + k;
        if (known) {
            base = w->whole;
        } else if (!nearest(tsdb_bits_double(base_bits) * dec_scale[k], &base)) {
            base = 0;
        }
    }
    *w = (struct value_whole){base + tsdb_unzigzag(packed), VALUE_SCALE_ONE + 1 + k};
    return tsdb_double_bits((double)w->whole / dec_scale[k]);
}

uint64_t value_unpack(uint32_t mode, uint64_t packed, uint64_t base_bits)
{
    struct value_whole unknown = {0, VALUE_SCALE_UNKNOWN};
    return value_unpack_next(mode, packed, base_bits, &unknown);
}

uint64_t value_unpack_next(uint32_t mode, uint64_t packed, uint64_t base_bits,
                           struct value_whole *w)
{
    TSDB_ASSERT(mode < VALUE_PACK_MODE_COUNT);
    uint32_t n = value_pack_mode_bytes[mode];
    packed &= n == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * n)) - 1;
    if (mode == VALUE_PACK_SAME) {
        return base_bits;
    }
    if (mode >= VALUE_PACK_DEC) {
        return unpack_dec(mode, packed, base_bits, w);
    }
    w->scale = VALUE_SCALE_UNKNOWN;
    if (mode == VALUE_PACK_STALE) {
        return STALE_BITS;
    }
    if (mode < VALUE_PACK_INT_RAW) {
        int64_t base;
        if (!int_of(base_bits, &base)) {
            base = 0; /* cannot come from value_pack; any answer will do */
        }
        return tsdb_double_bits((double)(base + tsdb_unzigzag(packed)));
    }
    if (mode < VALUE_PACK_XOR) {
        return tsdb_double_bits((double)tsdb_unzigzag(packed));
    }
    if (mode < VALUE_PACK_XOR_F32) {
        return base_bits ^ packed;
    }
    if (mode < VALUE_PACK_RAW_TOP) {
        return base_bits ^ (packed << 24);
    }
    return packed << (64 - 8 * n);
}
