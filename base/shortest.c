#include "base/shortest_private.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <stdbool.h>

/* floor(log10(2^q)) and floor(log10(3/4 * 2^q)) and floor(log2(10^e)), exact over the exponents of
 * doubles: fixed-point logarithms, checked for each exponent by the unit test. Right shifts of
 * negative numbers round down on gcc and clang.
 */
static int floor_log10_pow2(int q)
{
    return (q * 1262611) >> 22;
}
static int floor_log10_three_quarters_pow2(int q)
{
    return (q * 1262611 - 524031) >> 22;
}
static int floor_log2_pow10(int e)
{
    return (e * 1741647) >> 19;
}

/* floor(g * x / 2^128) with the lowest bit set if anything was cut off ("round to odd"):
 * comparisons with even numbers then come out as they would for the exact product. g is up to 1 too
 * large, which x < 2^63 keeps below 2 in the middle word; so "anything" begins at 2. */
static uint64_t multiply_round_to_odd(const struct tsdb_power_of_ten *g, uint64_t x)
{
    unsigned __int128 low = (unsigned __int128)g->lo * x;
    unsigned __int128 high = (unsigned __int128)g->hi * x + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* Scaled by 4 * 10^-k, so that the half-way points to the neighbours are integers before rounding.
 * `value` is v; [lower, upper] holds what rounds to v. */
struct interval {
    uint64_t lower;
    uint64_t value;
    uint64_t upper;
};

/* The multiple of 4 * step just below the value, or the one above, if exactly one of them is
 * within. */
static bool pick_only_one(const struct interval *i, uint64_t floor, uint64_t step, uint64_t *out)
{
    bool below = i->lower <= 4 * step * floor;
    bool above = 4 * step * (floor + 1) <= i->upper;
    *out = above ? floor + 1 : floor;
    return below != above;
}

struct tsdb_decimal tsdb_shortest_decimal(double v)
{
    uint64_t bits = tsdb_double_bits(v);
    uint64_t fraction = bits & ((1ull << 52) - 1);
    int biased = (int)(bits >> 52);
    TSDB_ASSERT(bits != 0);
    TSDB_ASSERT(biased < 0x7ff);

    /* v = c * 2^q. At a power of two the neighbour below is half as far as the one above. */
    uint64_t c = biased == 0 ? fraction : fraction | (1ull << 52);
    int q = (biased == 0 ? 1 : biased) - 1075;
    bool is_lower_closer = fraction == 0 && biased > 1;

    int k = is_lower_closer ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    int h = q + floor_log2_pow10(-k) + 1;
    const struct tsdb_power_of_ten *g = &tsdb_powers_of_ten[-k - TSDB_POWER_OF_TEN_MIN];
    TSDB_ASSERT(h >= 1 && h <= 4);
    struct interval i = {
        .lower = multiply_round_to_odd(g, (4 * c - (is_lower_closer ? 1 : 2)) << h),
        .value = multiply_round_to_odd(g, (4 * c) << h),
        .upper = multiply_round_to_odd(g, (4 * c + 2) << h),
    };
    /* Ties round to even: the half-way points belong to v only if its last bit is 0. */
    i.lower += c & 1;
    i.upper -= c & 1;

    uint64_t s = i.value / 4;
    uint64_t chosen;
    if (s >= 10 && pick_only_one(&i, s / 10, 10, &chosen)) {
        return (struct tsdb_decimal){chosen, k + 1};
    }
    if (!pick_only_one(&i, s, 1, &chosen)) {
        /* Both are within: the nearer one, the even one at a tie. */
        uint64_t middle = 4 * s + 2;
        bool up = i.value > middle || (i.value == middle && (s & 1) != 0);
        chosen = s + (up ? 1 : 0);
    }
    return (struct tsdb_decimal){chosen, k};
}
