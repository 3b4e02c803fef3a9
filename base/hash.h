/* Keyed hashing: XXH3 (Debian's libxxhash, header-only) with a secret of the data directory, so
 * that a sender cannot aim for collisions.
 *
 * Threads: pure; the secret is immutable after init. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define TSDB_HASH_SEED_BYTES 32

struct tsdb_hash_key {
    uint8_t secret[192]; /* derived from the seed; XXH3 wants >= 136 bytes of good entropy */
};
struct tsdb_hash128 {
    uint64_t lo;
    uint64_t hi;
};

void tsdb_hash_key_init(struct tsdb_hash_key *key, const uint8_t seed[TSDB_HASH_SEED_BYTES]);
struct tsdb_hash128 tsdb_hash128(const struct tsdb_hash_key *key, const void *data, size_t len);
uint64_t tsdb_hash64(const struct tsdb_hash_key *key, const void *data, size_t len);
/* Un-keyed, for tables whose keys nobody outside chooses. */
uint64_t tsdb_hash64_plain(const void *data, size_t len);

#endif
