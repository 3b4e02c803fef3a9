#include "tests/support/test.h"

#include "base/hash.h"

#include <stdlib.h>

static void key_of(uint8_t first, struct tsdb_hash_key *out)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES] = {first};
    tsdb_hash_key_init(out, seed);
}

static void hash__same_key_and_bytes__same_hash_at_any_address(void **state)
{
    (void)state;
    struct tsdb_hash_key key;
    struct tsdb_hash_key again;
    key_of(1, &key);
    key_of(1, &again);
    uint8_t bytes[1100];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    for (size_t len = 0; len <= 1024; len++) {
        struct tsdb_hash128 a = tsdb_hash128(&key, bytes, len);
        uint64_t b = tsdb_hash64(&key, bytes, len);
        uint8_t *copy = malloc(len + 1); /* exact bounds for the address sanitizer, odd address */
        assert_non_null(copy);
        memcpy(copy + 1, bytes, len);
        struct tsdb_hash128 c = tsdb_hash128(&again, copy + 1, len);
        assert_int_equal(a.lo, c.lo);
        assert_int_equal(a.hi, c.hi);
        assert_int_equal(tsdb_hash64(&again, copy + 1, len), b);
        free(copy);
    }
}

/* All lengths, including the short ones for which XXH3 has code of its own: the key must matter in
 * each. */
static void hash__other_key__other_hash(void **state)
{
    (void)state;
    struct tsdb_hash_key zero;
    struct tsdb_hash_key one;
    key_of(0, &zero); /* the all-zero seed, which the generator cannot start from */
    key_of(1, &one);
    uint8_t bytes[600] = {0};
    assert_memory_not_equal(zero.secret, bytes, sizeof zero.secret);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        assert_int_not_equal(tsdb_hash64(&zero, bytes, len), tsdb_hash64(&one, bytes, len));
        assert_int_not_equal(tsdb_hash128(&zero, bytes, len).lo, tsdb_hash128(&one, bytes, len).lo);
        assert_int_not_equal(tsdb_hash128(&zero, bytes, len).hi, tsdb_hash128(&one, bytes, len).hi);
    }
}

static void hash__one_bit_changed__changes_about_half_the_hash(void **state)
{
    (void)state;
    struct tsdb_hash_key key;
    key_of(3, &key);
    uint8_t bytes[100] = {0};
    uint64_t changed = 0;
    struct tsdb_hash128 base = tsdb_hash128(&key, bytes, sizeof bytes);
    for (size_t bit = 0; bit < 800; bit++) {
        bytes[bit / 8] = (uint8_t)(1u << bit % 8);
        struct tsdb_hash128 h = tsdb_hash128(&key, bytes, sizeof bytes);
        bytes[bit / 8] = 0;
        changed += (uint64_t)__builtin_popcountll(h.lo ^ base.lo);
        changed += (uint64_t)__builtin_popcountll(h.hi ^ base.hi);
    }
    assert_in_range(changed / 800, 60, 68);
}

/* Persisted structures are addressed by these: neither a compiler nor a library update may change
 * them. */
static void hash__fixed_seed__pinned_values(void **state)
{
    (void)state;
    struct tsdb_hash_key key;
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    for (size_t i = 0; i < sizeof seed; i++) {
        seed[i] = (uint8_t)(i + 1);
    }
    tsdb_hash_key_init(&key, seed);
    struct tsdb_hash128 h = tsdb_hash128(&key, "tidalite", 8);
    assert_int_equal(h.lo, 0xb5f39a72f904212d);
    assert_int_equal(h.hi, 0xa9be59ace18d7f33);
    assert_int_equal(tsdb_hash64(&key, "tidalite", 8), 0xff589b0fb85a7b07);
    assert_int_equal(tsdb_hash64_plain("", 0), 0x2d06800538d394c2); /* XXH3's own test vector */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(hash__same_key_and_bytes__same_hash_at_any_address),
    cmocka_unit_test(hash__other_key__other_hash),
    cmocka_unit_test(hash__one_bit_changed__changes_about_half_the_hash),
    cmocka_unit_test(hash__fixed_seed__pinned_values),
};
TEST_MAIN(tests)
