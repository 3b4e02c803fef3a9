#include "base/random.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static void system_fill(void *out, size_t len)
{
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0) {
            /* Interrupted before the pool was ready; nothing else can go wrong with these
             * arguments. */
            TSDB_ASSERT(errno == EINTR);
            continue;
        }
        p += n;
        len -= (size_t)n;
    }
}

static uint64_t system_next(void *ctx)
{
    (void)ctx;
    uint64_t v;
    system_fill(&v, sizeof v);
    return v;
}

const struct tsdb_random tsdb_random_system = {system_next, NULL};

/* Source: Steele, Lea, Flood 2014 (splitmix64). */
static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void tsdb_prng_init(struct tsdb_prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        p->s[i] = splitmix64(&seed);
    }
}

static uint64_t rotl(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

/* Source: Blackman, Vigna 2018 (xoshiro256**). */
uint64_t tsdb_prng_next(struct tsdb_prng *p)
{
    uint64_t *s = p->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* Multiply and reject (Lemire 2019): unbiased, and almost never a division. */
uint64_t tsdb_prng_below(struct tsdb_prng *p, uint64_t n)
{
    TSDB_ASSERT(n > 0);
    unsigned __int128 m = (unsigned __int128)tsdb_prng_next(p) * n;
    if ((uint64_t)m < n) {
        uint64_t reject_below = (0 - n) % n;
        while ((uint64_t)m < reject_below) {
            m = (unsigned __int128)tsdb_prng_next(p) * n;
        }
    }
    return (uint64_t)(m >> 64);
}

double tsdb_prng_double(struct tsdb_prng *p)
{
    return (double)(tsdb_prng_next(p) >> 11) * 0x1p-53;
}

static uint64_t seeded_next(void *ctx)
{
    return tsdb_prng_next(ctx);
}

struct tsdb_random tsdb_random_seeded(struct tsdb_prng *p)
{
    return (struct tsdb_random){seeded_next, p};
}

void tsdb_random_fill(const struct tsdb_random *r, void *out, size_t len)
{
    if (r->next == system_next) {
        system_fill(out, len); /* one call instead of one for each eight bytes */
        return;
    }
    uint8_t *p = out;
    while (len > 0) {
        uint64_t v = r->next(r->ctx);
        size_t n = len < sizeof v ? len : sizeof v;
        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}
