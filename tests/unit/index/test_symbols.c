/* Invariants checked: a string has one symbol for ever, with its bytes; pages keep pieces whole and
 * handles dense. */
#include "tests/unit/index/owner_rig.h"

#include "base/limits.h"
#include "base/random.h"
#include "index/mem/symbols.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t intern(struct index_symbols *sy, const char *s, size_t len)
{
    uint32_t symbol = INDEX_NONE;
    assert_ok(index_symbols_intern(sy, s, len, index_symbols_hash(sy, s, len), &symbol));
    assert_int_not_equal(symbol, INDEX_NONE);
    return symbol;
}

static uint32_t find(const struct index_symbols *sy, const char *s, size_t len)
{
    return index_symbols_find(sy, s, len, index_symbols_hash(sy, s, len));
}

static void symbols_intern__many_strings__one_symbol_each(void **state)
{
    enum {
        STRINGS = 20000
    };
    static uint32_t symbols[STRINGS];
    struct owner_rig *r = *state;
    struct index_symbols sy;
    char text[32];
    assert_ok(index_symbols_init(&sy, &r->owner));
    for (uint32_t i = 0; i < STRINGS; i++) {
        size_t len = (size_t)snprintf(text, sizeof text, "s%.*u", (int)(i % 20), i);
        assert_int_equal(find(&sy, text, len), INDEX_NONE);
        symbols[i] = intern(&sy, text, len);
        assert_int_equal(intern(&sy, text, len), symbols[i]);
        (void)tsdb_epoch_reclaim(r->epoch, &r->limbo);
    }
    assert_int_equal(index_counter_get(&sy.count), STRINGS);
    for (uint32_t i = 0; i < STRINGS; i++) {
        size_t len = (size_t)snprintf(text, sizeof text, "s%.*u", (int)(i % 20), i);
        assert_int_equal(find(&sy, text, len), symbols[i]);
        assert_true(index_symbols_equal(&sy, symbols[i], text, len));
        assert_false(index_symbols_equal(&sy, symbols[i], text, len - 1));
    }
    index_symbols_deinit(&sy);
}

static void symbols_intern__every_length_up_to_the_limit__keeps_bytes(void **state)
{
    static char text[TSDB_LABEL_VALUE_BYTES_MAX];
    struct owner_rig *r = *state;
    struct index_symbols sy;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 8);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (char)tsdb_prng_next(&prng);
    }
    assert_ok(index_symbols_init(&sy, &r->owner));
    for (size_t len = 1; len <= sizeof text; len += 1 + len / 16) {
        uint32_t symbol = intern(&sy, text, len);
        const struct index_symbol *s = index_symbols_at(&sy, symbol);
        assert_int_equal(s->len, len);
        assert_memory_equal(s->bytes, text, len);
    }
    uint32_t largest = intern(&sy, text, sizeof text);
    assert_int_equal(find(&sy, text, sizeof text), largest);
    index_symbols_deinit(&sy);
}

static void symbols_intern__allocation_fails__nothing_changes(void **state)
{
    struct owner_rig *r = *state;
    struct index_symbols sy;
    char text[32];
    uint32_t failures = 0;
    assert_ok(index_symbols_init(&sy, &r->owner));
    for (uint32_t i = 0; i < 2000; i++) {
        size_t len = (size_t)snprintf(text, sizeof text, "symbol-%u", i);
        uint32_t symbol = INDEX_NONE;
        enum tsdb_status status = TSDB_NOMEM;
        for (uint64_t nth = 1; status != TSDB_OK; nth++) {
            tsdb_alloc_fail_nth(nth, 0);
            status =
                index_symbols_intern(&sy, text, len, index_symbols_hash(&sy, text, len), &symbol);
            tsdb_alloc_ops_set(NULL);
            failures += status != TSDB_OK;
            assert_int_equal(index_counter_get(&sy.count), i + (status == TSDB_OK));
        }
        assert_int_equal(find(&sy, text, len), symbol);
    }
    assert_true(failures > 10);
    index_symbols_deinit(&sy);
}

static void pages_alloc__dense__handles_count_up(void **state)
{
    struct owner_rig *r = *state;
    struct index_pages p;
    index_pages_init(&p, &r->owner, 1u << 27, true);
    for (uint32_t i = 0; i < 50000; i++) {
        void *piece;
        uint32_t handle;
        assert_ok(index_pages_alloc(&p, 16, &piece, &handle));
        assert_int_equal(handle, i * 2);
        assert_ptr_equal(piece, index_pages_at(&p, handle));
        memset(piece, (int)(i & 0xff), 16);
        if (i % 7 == 0) {
            index_pages_trim(&p, handle); /* as if it had failed later */
            uint32_t again;
            assert_ok(index_pages_alloc(&p, 16, &piece, &again));
            assert_int_equal(again, handle);
        }
    }
    for (uint32_t i = 0; i < 50000; i++) {
        const uint8_t *piece = index_pages_at(&p, i * 2);
        assert_int_equal(piece[0], i & 0xff);
        assert_int_equal(piece[15], i & 0xff);
    }
    index_pages_deinit(&p);
}

/* A reader may hold a table, or a directory, that the writer has replaced (asan sees if it is
 * freed). */
static void slots_next__table_held_under_guard__survives_growth(void **state)
{
    struct owner_rig *r = *state;
    struct index_symbols sy;
    struct tsdb_epoch_guard guard;
    struct index_slots_cursor c;
    char text[32];
    assert_ok(index_symbols_init(&sy, &r->owner));
    uint32_t first = intern(&sy, "first", 5);
    uint32_t hash = index_symbols_hash(&sy, "first", 5);
    tsdb_epoch_enter(r->epoch, &guard);
    index_slots_find(&sy.slots, hash, &c);
    uint8_t **dir = atomic_load(&sy.pages.dir);
    const uint8_t *page = dir[0];
    for (uint32_t i = 0; i < 3000; i++) {
        size_t len = (size_t)snprintf(text, sizeof text, "symbol-%u", i);
        (void)intern(&sy, text, len);
        (void)tsdb_epoch_reclaim(r->epoch, &r->limbo);
    }
    assert_ptr_not_equal(c.table, atomic_load(&sy.slots.table));
    assert_int_equal(index_slots_next(&c), first);
    assert_ptr_not_equal(dir, atomic_load(&sy.pages.dir));
    assert_ptr_equal(dir[0], page);
    tsdb_epoch_exit(r->epoch, &guard);
    index_symbols_deinit(&sy);
}

static void pages_alloc__handles_used_up__is_limit(void **state)
{
    struct owner_rig *r = *state;
    struct index_pages p;
    void *piece;
    uint32_t handle = 0;
    uint32_t last = 0;
    uint32_t n = 0;
    enum tsdb_status status;
    index_pages_init(&p, &r->owner, 16384, false);
    while ((status = index_pages_alloc(&p, 24, &piece, &handle)) == TSDB_OK) {
        assert_true(handle > last || n == 0);
        assert_true(handle + 3 <= 16384 && handle > 0);
        last = handle;
        n++;
    }
    assert_int_equal(status, TSDB_LIMIT);
    assert_in_range(n, 16384 / 3 - 64, 16384 / 3);
    assert_int_equal(index_pages_alloc(&p, 1 << 20, &piece, &handle), TSDB_LIMIT);
    index_pages_deinit(&p);
}

static const struct CMUnitTest tests[] = {
    OWNER_TEST(symbols_intern__many_strings__one_symbol_each),
    OWNER_TEST(symbols_intern__every_length_up_to_the_limit__keeps_bytes),
    OWNER_TEST(symbols_intern__allocation_fails__nothing_changes),
    OWNER_TEST(pages_alloc__dense__handles_count_up),
    OWNER_TEST(slots_next__table_held_under_guard__survives_growth),
    OWNER_TEST(pages_alloc__handles_used_up__is_limit),
};
TEST_MAIN(tests)
