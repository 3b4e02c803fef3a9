/* The builder of writes alone: order, batches, and work that grows with the input. */
#include "tests/support/test.h"

#include "tsdb/batch_build.h"

struct fixture {
    struct tsdb_hash_key key;
    struct tsdb_arena arena;
    struct tsdb_batch_build b;
    struct tsdb_write w;
    uint8_t owner_of[TSDB_PARTITIONS];
};

static int setup(void **state)
{
    static struct fixture f;
    static const uint8_t seed[TSDB_HASH_SEED_BYTES] = {7};
    memset(&f, 0, sizeof f);
    tsdb_hash_key_init(&f.key, seed);
    tsdb_arena_init(&f.arena, TSDB_MEM_OTHER, 1u << 16, NULL);
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        f.owner_of[p] = (uint8_t)(p * 3 / TSDB_PARTITIONS);
    }
    tsdb_build_init(&f.b, &f.arena, &f.key, f.owner_of);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tsdb_arena_deinit(&f->arena);
    return 0;
}

static struct tsdb_build_target target_of(uint32_t partition)
{
    struct tsdb_alias_hit hit = {tsdb_series_make(partition, 0), 1};
    return tsdb_build_known(hit);
}

static void tsdb_build_finish__any_order__sorted_stable_and_cut_by_owner(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 1000; i++) {
        struct tsdb_build_target t = target_of((i * 37) % TSDB_PARTITIONS);
        assert_ok(tsdb_build_reserve(&f->b, 1));
        tsdb_build_add(&f->b, &t, TSDB_SAMPLE_FLOAT, i, i * 2);
        if (i % 10 == 3) {
            assert_ok(tsdb_build_start(&f->b, i + 7));
        }
        struct tsdb_exemplar x = {.bits = i, .t_ms = i};
        assert_ok(tsdb_build_exemplar(&f->b, &t, &x));
    }
    assert_ok(tsdb_build_finish(&f->b, TSDB_DURABILITY_BUFFERED, &f->w));
    assert_int_equal(f->w.entry_count, 1000);
    assert_int_equal(f->w.exemplar_count, 1000);
    assert_int_equal(f->w.batch_count, 3);
    uint32_t entry = 0;
    uint32_t exemplar = 0;
    for (uint32_t k = 0; k < f->w.batch_count; k++) {
        const struct tsdb_batch *b = &f->w.batches[k];
        assert_int_equal(b->entry_begin, entry);
        assert_int_equal(b->exemplar_begin, exemplar);
        assert_true(b->wal_cap > 0 && b->wal_bytes);
        for (; entry < b->entry_end; entry++) {
            const struct tsdb_entry *e = &f->w.entries[entry];
            assert_int_equal(f->owner_of[e->partition], b->owner);
            assert_int_equal(e->value, 2 * e->t_ms);
            bool has_start = e->flags & TSDB_ENTRY_HAS_START;
            assert_int_equal(has_start, e->t_ms % 10 == 3);
            assert_int_equal(f->w.starts[entry], has_start ? e->t_ms + 7 : 0);
            assert_true(entry == b->entry_begin || e[-1].partition < e->partition ||
                        e[-1].t_ms < e->t_ms);
        }
        for (; exemplar < b->exemplar_end; exemplar++) {
            const struct tsdb_write_exemplar *x = &f->w.exemplars[exemplar];
            assert_int_equal(f->owner_of[x->partition], b->owner);
            assert_true(exemplar == b->exemplar_begin || x[-1].partition < x->partition ||
                        x[-1].exemplar.t_ms < x->exemplar.t_ms);
        }
    }
    assert_int_equal(entry, 1000);
    assert_int_equal(exemplar, 1000);
}

/* Falling partitions, the worst case of an insertion sort: this many would take it hours. */
static void tsdb_build_finish__a_million_exemplars__linear(void **state)
{
    struct fixture *f = *state;
    enum {
        N = 1000000
    };
    for (uint32_t i = 0; i < N; i++) {
        struct tsdb_build_target t = target_of(TSDB_PARTITIONS - 1 - i * TSDB_PARTITIONS / N);
        struct tsdb_exemplar x = {.t_ms = i};
        assert_ok(tsdb_build_exemplar(&f->b, &t, &x));
    }
    assert_ok(tsdb_build_finish(&f->b, TSDB_DURABILITY_MEMORY, &f->w));
    for (uint32_t i = 1; i < N; i++) {
        const struct tsdb_write_exemplar *x = &f->w.exemplars[i];
        assert_true(x[-1].partition <= x->partition);
    }
}

static void tsdb_build_finish__nothing__no_batch(void **state)
{
    struct fixture *f = *state;
    assert_ok(tsdb_build_finish(&f->b, TSDB_DURABILITY_STRICT, &f->w));
    assert_int_equal(f->w.batch_count, 0);
}

static void tsdb_build__account_exhausted__limit(void **state)
{
    struct fixture *f = *state;
    struct tsdb_account account;
    struct tsdb_arena small;
    tsdb_account_init(&account, 1u << 20, NULL);
    tsdb_arena_init(&small, TSDB_MEM_OTHER, 4096, &account);
    tsdb_build_init(&f->b, &small, &f->key, f->owner_of);
    struct tsdb_build_target t = target_of(5);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < 100000 && status == TSDB_OK; i++) {
        status = tsdb_build_reserve(&f->b, 1);
        if (status == TSDB_OK) {
            tsdb_build_add(&f->b, &t, TSDB_SAMPLE_FLOAT, i, i);
        }
    }
    assert_int_equal(status, TSDB_LIMIT);
    tsdb_arena_deinit(&small);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(tsdb_build_finish__any_order__sorted_stable_and_cut_by_owner),
    T(tsdb_build_finish__a_million_exemplars__linear),
    T(tsdb_build_finish__nothing__no_batch),
    T(tsdb_build__account_exhausted__limit),
};

TEST_MAIN(tests)
