#define XXH_INLINE_ALL
#include "base/hash.h"

#include "base/bytes.h"
#include "base/random.h"

#include <xxhash.h>

_Static_assert(sizeof(((struct tsdb_hash_key *)0)->secret) >= XXH3_SECRET_SIZE_MIN,
               "XXH3 reads at least this much of the secret");

/* The expansion is ours and not XXH3_generateSecret, so that a library update cannot change what a
 * seed means. */
void tsdb_hash_key_init(struct tsdb_hash_key *key, const uint8_t seed[TSDB_HASH_SEED_BYTES])
{
    struct tsdb_prng prng;
    uint64_t folded = 0;
    for (size_t i = 0; i < 4; i++) {
        prng.s[i] = tsdb_load_le64(seed + 8 * i);
        folded |= prng.s[i];
    }
    if (folded == 0) {
        tsdb_prng_init(&prng, 0); /* the generator's one forbidden state */
    }
    for (size_t i = 0; i < 8; i++) {
        (void)tsdb_prng_next(&prng); /* a seed of few set bits needs a few rounds to spread */
    }
    for (size_t i = 0; i < sizeof key->secret; i += 8) {
        tsdb_store_le64(key->secret + i, tsdb_prng_next(&prng));
    }
}

struct tsdb_hash128 tsdb_hash128(const struct tsdb_hash_key *key, const void *data, size_t len)
{
    XXH128_hash_t h = XXH3_128bits_withSecret(data, len, key->secret, sizeof key->secret);
    return (struct tsdb_hash128){.lo = h.low64, .hi = h.high64};
}

uint64_t tsdb_hash64(const struct tsdb_hash_key *key, const void *data, size_t len)
{
    return XXH3_64bits_withSecret(data, len, key->secret, sizeof key->secret);
}

uint64_t tsdb_hash64_plain(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}
