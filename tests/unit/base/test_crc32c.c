#include "tests/support/test.h"

#include "base/cpu.h"
#include "base/crc32c.h"
#include "base/random.h"

#include <stdlib.h>
#include <sys/mman.h>

typedef uint32_t (*crc_fn)(uint32_t crc, const void *data, size_t len);
static const crc_fn functions[] = {tsdb_crc32c, tsdb_crc32c_table};

/* RFC 3720 B.4 and the check value of the CRC catalogue. */
static void crc32c__known_vectors__match(void **state)
{
    (void)state;
    uint8_t bytes[32];
    for (size_t f = 0; f < TSDB_ARRAY_LEN(functions); f++) {
        crc_fn crc = functions[f];
        assert_int_equal(crc(0, "", 0), 0);
        assert_int_equal(crc(0, NULL, 0), 0);
        assert_int_equal(crc(0, "123456789", 9), 0xe3069283);
        memset(bytes, 0, sizeof bytes);
        assert_int_equal(crc(0, bytes, 32), 0x8a9136aa);
        memset(bytes, 0xff, sizeof bytes);
        assert_int_equal(crc(0, bytes, 32), 0x62a8ab43);
        for (size_t i = 0; i < 32; i++) {
            bytes[i] = (uint8_t)i;
        }
        assert_int_equal(crc(0, bytes, 32), 0x46dd794e);
    }
}

/* Bit by bit, from the definition. */
static uint32_t crc_naive(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

/* The last byte is the last of the page: one byte too many is a fault. */
static void crc32c__lengths_up_to_257_at_a_guard_page__equal_the_definition(void **state)
{
    (void)state;
    size_t page = 4096;
    uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 2);
    struct tsdb_random random = tsdb_random_seeded(&prng);
    tsdb_random_fill(&random, map, page);
    for (size_t len = 0; len <= 257; len++) {
        const uint8_t *p = map + page - len;
        uint32_t start = (uint32_t)tsdb_prng_next(&prng);
        uint32_t want = crc_naive(start, p, len);
        assert_int_equal(tsdb_crc32c_table(start, p, len), want);
        assert_int_equal(tsdb_crc32c(start, p, len), want);
    }
    assert_int_equal(munmap(map, 2 * page), 0);
}

/* Around the borders of the interleaved blocks (3 x 128 and 3 x 1024), at every alignment. */
static void crc32c__long_unaligned__equals_table(void **state)
{
    (void)state;
    size_t cap = 20000;
    uint8_t *bytes = malloc(cap);
    assert_non_null(bytes);
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 3);
    struct tsdb_random random = tsdb_random_seeded(&prng);
    tsdb_random_fill(&random, bytes, cap);
    static const size_t borders[] = {384, 768, 3072, 3456, 6144, 9216};
    for (size_t b = 0; b < TSDB_ARRAY_LEN(borders); b++) {
        for (size_t len = borders[b] - 9; len <= borders[b] + 9; len++) {
            for (size_t at = 0; at < 9; at++) {
                assert_int_equal(tsdb_crc32c(77, bytes + at, len),
                                 tsdb_crc32c_table(77, bytes + at, len));
            }
        }
    }
    for (int i = 0; i < 500; i++) {
        size_t at = tsdb_prng_below(&prng, 1000);
        size_t len = tsdb_prng_below(&prng, cap - at);
        assert_int_equal(tsdb_crc32c(0, bytes + at, len), tsdb_crc32c_table(0, bytes + at, len));
    }
    free(bytes);
}

static void crc32c__in_pieces__chains(void **state)
{
    (void)state;
    uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 31 + (i >> 8));
    }
    uint32_t whole = tsdb_crc32c(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 37) {
        uint32_t first = tsdb_crc32c(0, bytes, cut);
        assert_int_equal(tsdb_crc32c(first, bytes + cut, sizeof bytes - cut), whole);
    }
}

static void cpu_level__asked_twice__same_answer_in_range(void **state)
{
    (void)state;
    enum tsdb_cpu_level level = tsdb_cpu_level();
    assert_true(level >= TSDB_CPU_SCALAR && level <= TSDB_CPU_AVX512);
    assert_int_equal(tsdb_cpu_level(), level);
    const char *pin = getenv("TSDB_KERNELS");
    if (pin != NULL && strcmp(pin, "scalar") == 0) {
        assert_int_equal(level, TSDB_CPU_SCALAR);
        assert_int_equal(tsdb_cpu_has_crc32(), 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(crc32c__known_vectors__match),
    cmocka_unit_test(crc32c__lengths_up_to_257_at_a_guard_page__equal_the_definition),
    cmocka_unit_test(crc32c__long_unaligned__equals_table),
    cmocka_unit_test(crc32c__in_pieces__chains),
    cmocka_unit_test(cpu_level__asked_twice__same_answer_in_range),
};
TEST_MAIN(tests)
