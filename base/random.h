/* Randomness as a table: the system's, or a seeded generator that replays. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct tsdb_random {
    uint64_t (*next)(void *ctx);
    void *ctx;
};
extern const struct tsdb_random tsdb_random_system; /* getrandom(2) */

/* xoshiro256**, seeded through splitmix64. Threads: owned by one. */
struct tsdb_prng {
    uint64_t s[4];
};
void tsdb_prng_init(struct tsdb_prng *p, uint64_t seed);
uint64_t tsdb_prng_next(struct tsdb_prng *p);
/* Uniform in [0, n); n > 0. */
uint64_t tsdb_prng_below(struct tsdb_prng *p, uint64_t n);
double tsdb_prng_double(struct tsdb_prng *p); /* [0, 1) */
struct tsdb_random tsdb_random_seeded(struct tsdb_prng *p);
void tsdb_random_fill(const struct tsdb_random *r, void *out, size_t len);

#endif
