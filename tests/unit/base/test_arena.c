#include "tests/support/test.h"

#include "base/arena.h"
#include "base/random.h"

/* Random sizes and alignments; every block keeps its own pattern, so an overlap shows. */
static void arena_alloc__random_sizes__blocks_do_not_overlap(void **state)
{
    (void)state;
    enum {
        BLOCKS = 4000
    };
    static uint8_t *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    struct tsdb_prng prng;
    struct tsdb_arena a;
    uint64_t before = tsdb_mem_used(TSDB_MEM_QUERY);
    tsdb_prng_init(&prng, 1);
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 1000, NULL);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t align = (size_t)1 << tsdb_prng_below(&prng, 7);
            size_t limit = tsdb_prng_below(&prng, 500) == 0 ? 3u << 20 : 300;
            sizes[i] = tsdb_prng_below(&prng, limit);
            blocks[i] = tsdb_arena_alloc(&a, sizes[i], align);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % align, 0);
            memset(blocks[i], (int)(i & 0xff), sizes[i]);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            if (sizes[i] > 0) {
                assert_int_equal(blocks[i][0], (uint8_t)i);
                assert_int_equal(blocks[i][sizes[i] - 1], (uint8_t)i);
                assert_int_equal(blocks[i][sizes[i] / 2], (uint8_t)i);
            }
        }
        assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY) - before, a.total_bytes);
        tsdb_arena_reset(&a);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY) - before, 1000 + 64);
    }
    tsdb_arena_deinit(&a);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), before);
}

static void arena_reset__steady_state__allocates_nothing(void **state)
{
    (void)state;
    struct tsdb_arena a;
    tsdb_arena_init(&a, TSDB_MEM_INGEST, 4096, NULL);
    tsdb_alloc_fail_nth(0, 0); /* counts only */
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 16; k++) {
            assert_non_null(tsdb_arena_alloc(&a, 200, 8));
        }
        tsdb_arena_reset(&a);
    }
    uint64_t allocations = tsdb_alloc_fail_count();
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(allocations, 1);
    tsdb_arena_deinit(&a);
}

static void arena_alloc__larger_than_a_chunk__keeps_the_current_one_in_use(void **state)
{
    (void)state;
    struct tsdb_arena a;
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 4096, NULL);
    uint8_t *p = tsdb_arena_alloc(&a, 16, 16);
    assert_non_null(tsdb_arena_alloc(&a, 5u << 20, 64));
    uint8_t *q = tsdb_arena_alloc(&a, 16, 16);
    assert_ptr_equal(q, p + 16);
    tsdb_arena_deinit(&a);
    tsdb_arena_deinit(&a); /* harmless */
    /* The first request of all may be the large one. */
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 4096, NULL);
    assert_non_null(tsdb_arena_alloc(&a, 5u << 20, 64));
    tsdb_arena_reset(&a);
    assert_int_equal(a.total_bytes, 0);
    tsdb_arena_deinit(&a);
}

static void arena_alloc__account_limit__says_limit_and_recovers(void **state)
{
    (void)state;
    struct tsdb_account account;
    struct tsdb_arena a;
    tsdb_account_init(&account, 10000, NULL);
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 1024, &account);
    assert_non_null(tsdb_arena_alloc(&a, 100, 1));
    assert_null(tsdb_arena_alloc(&a, 20000, 1));
    assert_int_equal(a.failure, TSDB_LIMIT);
    assert_non_null(tsdb_arena_alloc(&a, 100, 1));
    assert_int_equal(account.used_bytes, a.total_bytes);
    tsdb_arena_reset(&a);
    assert_int_equal(a.failure, TSDB_OK);
    tsdb_arena_deinit(&a);
    assert_int_equal(account.used_bytes, 0);
}

static void arena_alloc__no_memory__says_so_and_gives_the_charge_back(void **state)
{
    (void)state;
    struct tsdb_account account;
    struct tsdb_arena a;
    tsdb_account_init(&account, 0, NULL);
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 1024, &account);
    tsdb_alloc_fail_nth(1, 1);
    assert_null(tsdb_arena_alloc(&a, 10, 1));
    assert_int_equal(a.failure, TSDB_NOMEM);
    assert_null(tsdb_arena_alloc(&a, 5000, 1));
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(account.used_bytes, 0);
    assert_null(tsdb_arena_alloc(&a, SIZE_MAX, 1));
    assert_null(tsdb_arena_alloc(&a, SIZE_MAX - 63, 64));
    assert_null(tsdb_arena_alloc_array(&a, SIZE_MAX / 8, 16, 8));
    assert_int_equal(a.failure, TSDB_NOMEM);
    assert_null(tsdb_arena_strndup(&a, "", SIZE_MAX));
    tsdb_arena_deinit(&a);
}

static void arena_strndup__bytes__terminated_copy(void **state)
{
    (void)state;
    struct tsdb_arena a;
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 0, NULL);
    assert_string_equal(tsdb_arena_strndup(&a, "abcdef", 3), "abc");
    assert_string_equal(tsdb_arena_strndup(&a, NULL, 0), "");
    uint64_t *numbers = TSDB_ARENA_ARRAY(&a, uint64_t, 1000);
    assert_non_null(numbers);
    assert_int_equal((uintptr_t)numbers % _Alignof(uint64_t), 0);
    tsdb_arena_deinit(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(arena_alloc__random_sizes__blocks_do_not_overlap),
    cmocka_unit_test(arena_reset__steady_state__allocates_nothing),
    cmocka_unit_test(arena_alloc__larger_than_a_chunk__keeps_the_current_one_in_use),
    cmocka_unit_test(arena_alloc__account_limit__says_limit_and_recovers),
    cmocka_unit_test(arena_alloc__no_memory__says_so_and_gives_the_charge_back),
    cmocka_unit_test(arena_strndup__bytes__terminated_copy),
};
TEST_MAIN(tests)
