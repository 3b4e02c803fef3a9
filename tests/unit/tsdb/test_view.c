/* Views over real, tiny blocks: who sees what, and when a block may go. */
#include "tests/support/test.h"

#include "tsdb/block/view.h"

#include <stdlib.h>

struct fixture {
    struct block_refs_budget budget;
    struct tsdb_fs fs;
    struct tsdb_fs_sim *sim;
    struct cache_l2 *l2;
    struct view_set set;
    struct live_block *b[4]; /* sequences 30, 10, 20, 40 */
};

static struct live_block *make_block(struct fixture *f, uint64_t sequence)
{
    struct tsdb_label label = tsdb_label_make("a", "b");
    struct tsdb_labels labels = {&label, 1};
    int64_t t = 5;
    uint64_t v = 7;
    struct chunk_samples samples = {.count = 1, .t_ms = &t, .value = &v};
    struct block_writer_options o = {
        .fs = &f->fs, .dir = "blocks", .wall_ms = 1, .random = {sequence, 2}, .level = 1};
    o.sequence = sequence;
    struct block_writer *w = NULL;
    struct block_meta meta;
    struct block *block = NULL;
    struct block_refs *refs = NULL;
    struct live_block *live = NULL;
    assert_ok(block_writer_open(&o, &w, NULL));
    assert_ok(block_writer_series(w, &labels, NULL));
    assert_ok(block_writer_chunk(w, &samples, NULL, 0, NULL));
    assert_ok(block_writer_finish(w, 0, 10, &meta, NULL));
    assert_ok(block_open(&f->fs, "blocks", meta.ulid, f->l2, &block, NULL));
    assert_ok(block_refs_create(1, &f->budget, &refs));
    assert_ok(live_block_make(block, refs, &live));
    return live;
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    static const uint64_t sequences[4] = {30, 10, 20, 40};
    assert_ok(tsdb_fs_sim_create(1, &f->sim, &f->fs));
    assert_ok(f->fs.ops->mkdir(f->fs.ctx, "blocks", NULL));
    assert_ok(cache_l2_create(1u << 20, &f->l2, NULL));
    assert_ok(view_set_init(&f->set));
    for (uint32_t i = 0; i < 4; i++) {
        f->b[i] = make_block(f, sequences[i]);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    view_set_deinit(&f->set);
    cache_l2_destroy(f->l2);
    tsdb_fs_sim_destroy(f->sim);
    test_free(f);
    return 0;
}

static void publish(struct fixture *f, struct live_block *const *add, uint32_t add_count,
                    struct live_block *const *remove, uint32_t remove_count)
{
    struct view *v = NULL;
    assert_ok(view_prepare(&f->set, add, add_count, remove, remove_count, &v));
    view_publish(&f->set, v);
}

static void view_publish__any_order__sorted_by_sequence(void **state)
{
    struct fixture *f = *state;
    publish(f, f->b, 3, NULL, 0);
    publish(f, f->b + 3, 1, NULL, 0);
    struct view *v = view_acquire(&f->set);
    assert_int_equal(v->number, 3);
    assert_int_equal(v->block_count, 4);
    assert_ptr_equal(v->blocks[0], f->b[1]);
    assert_ptr_equal(v->blocks[1], f->b[2]);
    assert_ptr_equal(v->blocks[2], f->b[0]);
    assert_ptr_equal(v->blocks[3], f->b[3]);
    view_release(&f->set, v);
}

static void view_publish__removed__goes_with_the_last_reader(void **state)
{
    struct fixture *f = *state;
    publish(f, f->b, 4, NULL, 0);
    struct view *old = view_acquire(&f->set);
    struct view *same = view_acquire(&f->set);
    assert_int_equal(view_oldest(&f->set), 2);
    publish(f, NULL, 0, f->b, 2);
    assert_int_equal(view_number(&f->set), 3);
    assert_int_equal(view_oldest(&f->set), 2);
    assert_null(view_collect(&f->set));
    assert_int_equal(old->block_count, 4); /* as it was */
    view_release(&f->set, old);
    assert_null(view_collect(&f->set));
    view_release(&f->set, same);
    assert_int_equal(view_oldest(&f->set), 3);
    uint32_t n = 0;
    for (struct live_block *b = view_collect(&f->set); b; n++) {
        struct live_block *next = b->next_dead;
        assert_true(b->doomed);
        assert_true(b == f->b[0] || b == f->b[1]);
        live_block_free(b);
        b = next;
    }
    assert_int_equal(n, 2);
    struct view *v = view_acquire(&f->set);
    assert_int_equal(v->block_count, 2);
    assert_ptr_equal(v->blocks[0], f->b[2]);
    view_release(&f->set, v);
}

/* ---- refs ---- */

static void block_refs__noted__is_there_all_else_unknown(void **state)
{
    struct block_refs_budget budget = {.bytes_max = 400};
    struct block_refs *r = NULL;
    (void)state;
    assert_ok(block_refs_create(100, &budget, &r));
    assert_int_equal(block_refs_count(r), 100);
    assert_int_equal(block_refs_at(r, 99), TSDB_SERIES_NEW);
    assert_int_equal(atomic_load(&budget.bytes), 0); /* nobody has asked for it */
    block_refs_note(r, 99, 0);
    block_refs_note(r, 7, TSDB_SERIES_NEW - 1);
    for (uint32_t i = 0; i < 100; i++) {
        tsdb_series_ref wanted = i == 99 ? 0 : i == 7 ? TSDB_SERIES_NEW - 1 : TSDB_SERIES_NEW;
        assert_int_equal(block_refs_at(r, i), wanted);
    }
    assert_int_equal(atomic_load(&budget.bytes), 400);
    block_refs_destroy(r);
    assert_int_equal(atomic_load(&budget.bytes), 0);
}

static void block_refs_note__over_the_budget__nothing_is_known(void **state)
{
    struct block_refs_budget budget = {.bytes_max = 799};
    struct block_refs *r[2] = {NULL, NULL};
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(block_refs_create(100, &budget, &r[i]));
        block_refs_note(r[i], 1, 5);
    }
    assert_int_equal(block_refs_at(r[0], 1), 5);
    assert_int_equal(block_refs_at(r[1], 1), TSDB_SERIES_NEW);
    assert_int_equal(atomic_load(&budget.bytes), 400);
    block_refs_destroy(r[0]);
    block_refs_note(r[1], 1, 6); /* there is room again */
    assert_int_equal(block_refs_at(r[1], 1), 6);
    block_refs_destroy(r[1]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(view_publish__any_order__sorted_by_sequence),
    T(view_publish__removed__goes_with_the_last_reader),
    cmocka_unit_test(block_refs__noted__is_there_all_else_unknown),
    cmocka_unit_test(block_refs_note__over_the_budget__nothing_is_known),
};

TEST_MAIN(tests)
