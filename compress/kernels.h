/* The loops of the codecs, one table of functions per instruction set.
 *
 * simd/kernels_scalar.c is the specification: every other table gives the same bytes and the same
 * bits for any input, also for input that no encoder makes (test_kernels). The table is chosen by
 * tsdb_cpu_level(), which TSDB_KERNELS pins. Codecs call the table once per group of values, so
 * that the indirect call costs nothing.
 *
 * Arithmetic on uint64_t wraps. Floating point is IEEE-754, round to nearest, no contraction.
 * Threads: pure. No allocation. No function touches memory outside of its arguments.
 */
#ifndef COMPRESS_KERNELS_H
#define COMPRESS_KERNELS_H

#include "base/cpu.h"

#include <stddef.h>
#include <stdint.h>

/* Powers of ten by which decimals are scaled: all of them are exact doubles. 18 digits are all that
 * a nanosecond-based ratio ever showed; more would only slow the search down. */
#define KERNELS_DIGITS_MAX 18u
extern const double kernels_power_of_ten[KERNELS_DIGITS_MAX + 1];

/* What ints_of_doubles writes where there is no integer. */
#define KERNELS_NO_INT INT64_MIN

struct kernels {
    /* See bitpack_pack and bitpack_unpack. */
    void (*pack)(const uint64_t *in, size_t n, uint32_t w, uint8_t *out);
    void (*unpack)(const uint8_t *src, size_t len, size_t n, uint32_t w, uint64_t add,
                   uint64_t *out);
    /* out[i] = in[i] - in[i - 1], with in[-1] = prev. out may be in. */
    void (*delta)(const uint64_t *in, size_t n, uint64_t prev, uint64_t *out);
    /* x[i] = prev + x[0] + ... + x[i]: the reverse of delta. */
    void (*prefix_sum)(uint64_t *x, size_t n, uint64_t prev);
    /* x[i] += start + i * step. */
    void (*ramp_add)(uint64_t *x, size_t n, uint64_t start, uint64_t step);
    /* Smallest and largest of x[0..n), signed, n >= 1. */
    void (*min_max)(const int64_t *x, size_t n, int64_t *out_min, int64_t *out_max);
    /* Every x[i] (signed) greater than the one before, x[0] greater than prev? 1 or 0. */
    int (*rising)(const int64_t *x, size_t n, int64_t prev);
    /* out[i] = the integer whose quotient by 10^digits is bits[i], to the last bit, or
     * KERNELS_NO_INT; returns how many have none. Integers reach to +-2^63 (exclusive) for digits
     * 0, to +-2^51 otherwise. -0, infinities and NaN have none. out may not be bits. */
    size_t (*ints_of_doubles)(const uint64_t *bits, size_t n, uint32_t digits, int64_t *out);
    /* x[i] = bits of (double)(signed x[i]) * factor / 10^digits, each step rounded. */
    void (*doubles_of_ints)(uint64_t *x, size_t n, uint32_t digits, double factor);
};

extern const struct kernels kernels_scalar;
/* The table of a level, or NULL if this build or this processor has none of its own. */
const struct kernels *kernels_of(enum tsdb_cpu_level level);
/* The table in use. Cost: two loads. */
const struct kernels *kernels_get(void);

#endif
