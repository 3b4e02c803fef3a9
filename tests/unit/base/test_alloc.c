#include "tests/support/test.h"

#include "base/alloc.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void alloc__sizes__aligned_and_accounted(void **state)
{
    (void)state;
    uint64_t before = tsdb_mem_used(TSDB_MEM_WAL);
    assert_null(tsdb_mem_alloc(TSDB_MEM_WAL, 0));
    assert_null(tsdb_mem_alloc(TSDB_MEM_WAL, SIZE_MAX));
    assert_null(tsdb_mem_alloc_zero(TSDB_MEM_WAL, 0));
    assert_null(tsdb_mem_alloc_zero(TSDB_MEM_WAL, SIZE_MAX));
    for (size_t bytes = 1; bytes < 5000; bytes = bytes * 3 + 1) {
        void *p = tsdb_mem_alloc(TSDB_MEM_WAL, bytes);
        uint8_t *z = tsdb_mem_alloc_zero(TSDB_MEM_WAL, bytes);
        assert_non_null(p);
        assert_non_null(z);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_int_equal((uintptr_t)z % 16, 0);
        memset(p, 0xee, bytes);
        for (size_t i = 0; i < bytes; i++) {
            assert_int_equal(z[i], 0);
        }
        assert_int_equal(tsdb_mem_used(TSDB_MEM_WAL), before + 2 * bytes);
        tsdb_mem_free(TSDB_MEM_WAL, p, bytes);
        tsdb_mem_free(TSDB_MEM_WAL, z, bytes);
    }
    tsdb_mem_free(TSDB_MEM_WAL, NULL, 0);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_WAL), before);
}

static void alloc_aligned__powers__are_aligned(void **state)
{
    (void)state;
    for (size_t align = 16; align <= 8192; align *= 2) {
        void *p = tsdb_mem_alloc_aligned(TSDB_MEM_HEAD, align, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        memset(p, 1, 100);
        tsdb_mem_free(TSDB_MEM_HEAD, p, 100);
    }
}

static void realloc__grow_shrink__keeps_content_and_accounts(void **state)
{
    (void)state;
    uint64_t before = tsdb_mem_used(TSDB_MEM_QUERY);
    uint8_t *p = tsdb_mem_realloc(TSDB_MEM_QUERY, NULL, 0, 10);
    assert_non_null(p);
    memset(p, 7, 10);
    p = tsdb_mem_realloc(TSDB_MEM_QUERY, p, 10, 100000);
    assert_non_null(p);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), before + 100000);
    assert_int_equal(p[9], 7);
    assert_null(tsdb_mem_realloc(TSDB_MEM_QUERY, p, 100000, SIZE_MAX)); /* p stays valid */
    p = tsdb_mem_realloc(TSDB_MEM_QUERY, p, 100000, 5);
    assert_non_null(p);
    assert_int_equal(p[4], 7);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), before + 5);
    tsdb_mem_free(TSDB_MEM_QUERY, p, 5);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), before);
}

#ifdef TSDB_JEMALLOC
static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %llu", &pages), 1);
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void alloc_give_back__what_was_freed__is_not_resident(void **state)
{
    (void)state;
    enum {
        COUNT = 512,
        BYTES = 32768
    };
    static void *blocks[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        blocks[i] = tsdb_mem_alloc(TSDB_MEM_OTHER, BYTES);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, BYTES);
    }
    uint64_t before = resident_bytes();
    for (uint32_t i = 0; i < COUNT; i++) {
        tsdb_mem_free(TSDB_MEM_OTHER, blocks[i], BYTES);
    }
    tsdb_alloc_give_back();
    assert_true(resident_bytes() + (uint64_t)COUNT * BYTES / 2 < before);
}
#endif

static void fail_nth__once_and_sticky__fails_exactly_those(void **state)
{
    (void)state;
    uint64_t before = tsdb_mem_used(TSDB_MEM_OTHER);
    for (int sticky = 0; sticky <= 1; sticky++) {
        for (uint64_t nth = 1; nth <= 4; nth++) {
            tsdb_alloc_fail_nth(nth, sticky);
            uint8_t *kept = NULL;
            for (uint64_t i = 1; i <= 4; i++) {
                bool want_null = sticky ? i >= nth : i == nth;
                void *p;
                switch (i) {
                case 1:
                    p = tsdb_mem_alloc(TSDB_MEM_OTHER, 8);
                    break;
                case 2:
                    p = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, 8);
                    break;
                case 3:
                    p = tsdb_mem_alloc_aligned(TSDB_MEM_OTHER, 64, 8);
                    break;
                default:
                    p = tsdb_mem_realloc(TSDB_MEM_OTHER, kept, kept != NULL ? 8 : 0, 8);
                    kept = p != NULL ? NULL : kept;
                    break;
                }
                assert_int_equal(!p, want_null);
                if (i == 3) {
                    kept = p;
                } else {
                    tsdb_mem_free(TSDB_MEM_OTHER, p, 8);
                }
            }
            assert_int_equal(tsdb_alloc_fail_count(), 4);
            tsdb_mem_free(TSDB_MEM_OTHER, kept, 8);
        }
    }
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(tsdb_alloc_fail_count(), 0);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_OTHER), before);
}

static void category_name__each__distinct(void **state)
{
    (void)state;
    assert_string_equal(tsdb_mem_category_name(TSDB_MEM_HEAD), "head");
    for (int i = 0; i < TSDB_MEM_CATEGORY_COUNT; i++) {
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(tsdb_mem_category_name((enum tsdb_mem_category)i),
                                    tsdb_mem_category_name((enum tsdb_mem_category)j));
        }
    }
}

static void account_charge__beyond_own_limit__charges_nothing(void **state)
{
    (void)state;
    struct tsdb_account parent;
    struct tsdb_account a;
    tsdb_account_init(&parent, 0, NULL);
    tsdb_account_init(&a, 100, &parent);
    assert_ok(tsdb_account_charge(&a, 60));
    assert_int_equal(tsdb_account_charge(&a, 41), TSDB_LIMIT);
    assert_int_equal(tsdb_account_charge(&a, UINT64_MAX), TSDB_LIMIT);
    assert_int_equal(a.used_bytes, 60);
    assert_int_equal(parent.used_bytes, 60);
    assert_ok(tsdb_account_charge(&a, 40));
    tsdb_account_release(&a, 100);
    assert_int_equal(a.used_bytes, 0);
    assert_int_equal(parent.used_bytes, 0);
    assert_int_equal(a.peak_bytes, 100);
}

static void account_left__of_all_above__the_least(void **state)
{
    (void)state;
    struct tsdb_account root;
    struct tsdb_account middle;
    struct tsdb_account a;
    tsdb_account_init(&root, 50, NULL);
    tsdb_account_init(&middle, 0, &root);
    tsdb_account_init(&a, 100, &middle);
    assert_int_equal(tsdb_account_left(&a), 50);
    assert_ok(tsdb_account_charge(&a, 30));
    assert_int_equal(tsdb_account_left(&a), 20);
    root.limit_bytes = 10; /* less than is held */
    assert_int_equal(tsdb_account_left(&a), 0);
    root.limit_bytes = 0;
    assert_int_equal(tsdb_account_left(&a), 70);
    assert_int_equal(tsdb_account_left(&middle), UINT64_MAX);
    assert_int_equal(tsdb_account_left(NULL), UINT64_MAX);
    assert_int_equal(atomic_load(&a.refusals) + atomic_load(&a.refusals_above), 0);
}

static void account_charge__beyond_parent_limit__undoes_the_child(void **state)
{
    (void)state;
    struct tsdb_account root;
    struct tsdb_account middle;
    struct tsdb_account a;
    tsdb_account_init(&root, 50, NULL);
    tsdb_account_init(&middle, 0, &root);
    tsdb_account_init(&a, 100, &middle);
    assert_int_equal(tsdb_account_charge(&a, 51), TSDB_LIMIT);
    assert_int_equal(a.used_bytes, 0);
    assert_int_equal(middle.used_bytes, 0);
    assert_int_equal(root.used_bytes, 0);
    assert_ok(tsdb_account_charge(NULL, UINT64_MAX));
    tsdb_account_release(NULL, UINT64_MAX);
}

static void account_foresees__beyond_a_limit__counts_and_charges_nothing(void **state)
{
    (void)state;
    struct tsdb_account root;
    struct tsdb_account a;
    tsdb_account_init(&root, 50, NULL);
    tsdb_account_init(&a, 100, &root);
    assert_ok(tsdb_account_charge(&a, 40));
    assert_false(tsdb_account_foresees(&a, 10));
    assert_true(tsdb_account_foresees(&a, 11));
    assert_int_equal(a.refusals, 0);
    assert_int_equal(a.refusals_above, 1);
    assert_int_equal(root.refusals, 1);
    assert_true(tsdb_account_foresees(&a, UINT64_MAX));
    assert_int_equal(a.refusals, 1);
    assert_int_equal(a.refusals_above, 1);
    assert_int_equal(a.used_bytes, 40);
    assert_false(tsdb_account_foresees(NULL, UINT64_MAX));
    tsdb_account_release(&a, 40);
    assert_int_equal(root.used_bytes, 0);
}

#define CHARGES 20000
struct charger {
    struct tsdb_account *account;
    uint64_t refused;
    uint64_t most_seen;
};
static void *charge_and_release(void *arg)
{
    struct charger *c = arg;
    for (int i = 0; i < CHARGES; i++) {
        if (tsdb_account_charge(c->account, 30) == TSDB_OK) {
            uint64_t now = c->account->parent->used_bytes;
            c->most_seen = now > c->most_seen ? now : c->most_seen;
            tsdb_account_release(c->account, 30);
        } else {
            c->refused++;
        }
    }
    return NULL;
}

/* Four threads of 30 each against 100: the limit holds at every moment, and all is given back. */
static void account_charge__four_threads__never_exceeds_the_limit(void **state)
{
    (void)state;
    struct tsdb_account parent;
    struct tsdb_account accounts[4];
    struct charger chargers[4];
    pthread_t threads[4];
    tsdb_account_init(&parent, 100, NULL);
    for (int i = 0; i < 4; i++) {
        tsdb_account_init(&accounts[i], 0, &parent);
        chargers[i] = (struct charger){.account = &accounts[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, charge_and_release, &chargers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(chargers[i].most_seen <= 100);
        assert_int_equal(accounts[i].used_bytes, 0);
    }
    assert_int_equal(parent.used_bytes, 0);
    assert_true(parent.peak_bytes >= 30);
    assert_true(parent.peak_bytes <= 100);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(alloc__sizes__aligned_and_accounted),
    cmocka_unit_test(alloc_aligned__powers__are_aligned),
    cmocka_unit_test(realloc__grow_shrink__keeps_content_and_accounts),
#ifdef TSDB_JEMALLOC
    cmocka_unit_test(alloc_give_back__what_was_freed__is_not_resident),
#endif
    cmocka_unit_test(fail_nth__once_and_sticky__fails_exactly_those),
    cmocka_unit_test(category_name__each__distinct),
    cmocka_unit_test(account_charge__beyond_own_limit__charges_nothing),
    cmocka_unit_test(account_left__of_all_above__the_least),
    cmocka_unit_test(account_charge__beyond_parent_limit__undoes_the_child),
    cmocka_unit_test(account_foresees__beyond_a_limit__counts_and_charges_nothing),
    cmocka_unit_test(account_charge__four_threads__never_exceeds_the_limit),
};
TEST_MAIN(tests)
