/* The shortest decimal that reads back as a given double: what base/format.c prints.
 *
 * Source: R. Giulietti 2020, "The Schubfach way to render doubles", without its rule of at least
 * two digits.
 */
#ifndef BASE_SHORTEST_PRIVATE_H
#define BASE_SHORTEST_PRIVATE_H

#include <stdint.h>

/* 10^e = (hi * 2^64 + lo) * 2^(floor(log2 10^e) - 127), rounded up. */
struct tsdb_power_of_ten {
    uint64_t hi;
    uint64_t lo;
};
#define TSDB_POWER_OF_TEN_MIN (-292)
#define TSDB_POWER_OF_TEN_MAX 324
extern const struct tsdb_power_of_ten
    tsdb_powers_of_ten[TSDB_POWER_OF_TEN_MAX - TSDB_POWER_OF_TEN_MIN + 1];

/* digits * 10^exponent; digits < 10^17 and may end in zeroes. */
struct tsdb_decimal {
    uint64_t digits;
    int exponent;
};

/* Of all decimals that round to v, one of the fewest digits, and of these the nearest to v.
 *   v   finite and > 0
 * Threads: pure, any. Cost: three 64 x 128 bit products and two divisions, no allocation. */
struct tsdb_decimal tsdb_shortest_decimal(double v);

#endif
