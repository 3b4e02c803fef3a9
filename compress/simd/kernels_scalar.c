/* The kernels in plain C: the specification, and what runs without AVX2. */
#include "compress/kernels_private.h"

static void scalar_pack(const uint64_t *in, size_t n, uint32_t w, uint8_t *out)
{
    uint64_t mask = bitpack_mask(w), acc = 0;
    uint32_t fill = 0;
    if (w == 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t v = in[i] & mask;
        acc |= v << fill;
        fill += w;
        if (fill >= 64) {
            tsdb_store_le64(out, acc);
            out += 8;
            fill -= 64;
            acc = fill == 0 ? 0 : v >> (w - fill);
        }
    }
    for (; fill > 0; fill = fill > 8 ? fill - 8 : 0) {
        *out++ = (uint8_t)acc;
        acc >>= 8;
    }
}

static void scalar_unpack(const uint8_t *src, size_t len, size_t n, uint32_t w, uint64_t add,
                          uint64_t *out)
{
    size_t i = 0;
    if (w <= 57) { /* a value and the bits before it in its first byte fit 8 bytes */
        uint64_t mask = bitpack_mask(w);
        for (; i < n && i * w / 8 + 8 <= len; i++) {
            out[i] = ((tsdb_load_le64(src + i * w / 8) >> (i * w & 7)) & mask) + add;
        }
    }
    for (; i < n; i++) {
        out[i] = kernels_unpack_one(src, len, i, w) + add;
    }
}

static void scalar_delta(const uint64_t *in, size_t n, uint64_t prev, uint64_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = in[i];
        out[i] = v - prev;
        prev = v;
    }
}

static void scalar_prefix_sum(uint64_t *x, size_t n, uint64_t prev)
{
    for (size_t i = 0; i < n; i++) {
        prev += x[i];
        x[i] = prev;
    }
}

static void scalar_ramp_add(uint64_t *x, size_t n, uint64_t start, uint64_t step)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += start;
        start += step;
    }
}

static void scalar_min_max(const int64_t *x, size_t n, int64_t *out_min, int64_t *out_max)
{
    int64_t lo = x[0], hi = x[0];
    for (size_t i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    *out_min = lo;
    *out_max = hi;
}

static int scalar_rising(const int64_t *x, size_t n, int64_t prev)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= x[i] <= prev;
        prev = x[i];
    }
    return !bad;
}

static size_t scalar_ints_of_doubles(const uint64_t *bits, size_t n, uint32_t digits, int64_t *out)
{
    size_t without = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = kernels_int_of_double(bits[i], digits);
        without += out[i] == KERNELS_NO_INT;
    }
    return without;
}

/* Times 1 and divided by 1 change nothing, so no case is left out here. */
static void scalar_doubles_of_ints(uint64_t *x, size_t n, uint32_t digits, double factor)
{
    double divisor = kernels_power_of_ten[digits];
    for (size_t i = 0; i < n; i++) {
        x[i] = tsdb_double_bits((double)(int64_t)x[i] * factor / divisor);
    }
}

const struct kernels kernels_scalar = {
    .pack = scalar_pack,
    .unpack = scalar_unpack,
    .delta = scalar_delta,
    .prefix_sum = scalar_prefix_sum,
    .ramp_add = scalar_ramp_add,
    .min_max = scalar_min_max,
    .rising = scalar_rising,
    .ints_of_doubles = scalar_ints_of_doubles,
    .doubles_of_ints = scalar_doubles_of_ints,
};
