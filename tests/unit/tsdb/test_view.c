/* Views over real, tiny blocks: who sees what, and when a block may go. */
#include "tests/support/test.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "tsdb/block/view.h"

#include <stdlib.h>

static const uint8_t identity[BLOCK_REFS_IDENTITY_BYTES] = {1};
static const struct block_refs_basis basis = {{2, 3, 4}};

struct fixture {
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
    struct block_ref_pair pair = {9, 0};
    assert_ok(block_writer_open(&o, &w, NULL));
    assert_ok(block_writer_series(w, &labels, NULL));
    assert_ok(block_writer_chunk(w, &samples, NULL, 0, NULL));
    assert_ok(block_writer_finish(w, 0, 10, &meta, NULL));
    assert_ok(block_refs_write(&f->fs, meta.ulid, identity, &basis, &pair, 1, NULL));
    assert_ok(block_open(&f->fs, "blocks", meta.ulid, f->l2, &block, NULL));
    assert_ok(block_refs_open(&f->fs, meta.ulid, identity, f->l2, &refs, NULL));
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

static void block_refs__many_pairs__found_by_ref_none_invented(void **state)
{
    struct fixture *f = *state;
    publish(f, f->b, 4, NULL, 0);
    enum {
        N = 20000
    };
    struct block_ref_pair *pairs = test_malloc(N * sizeof *pairs);
    for (uint32_t i = 0; i < N; i++) {
        pairs[i] = (struct block_ref_pair){i * 3 + 5, N - i};
    }
    struct block_refs *r = NULL;
    assert_ok(block_refs_write(&f->fs, "X", identity, &basis, pairs, N, NULL));
    assert_ok(block_refs_open(&f->fs, "X", identity, f->l2, &r, NULL));
    assert_memory_equal(block_refs_basis(r), &basis, sizeof basis);
    assert_int_equal(block_refs_count(r), N);
    for (uint32_t ref = 0; ref < 3 * N + 20; ref++) {
        uint32_t id = 0;
        enum tsdb_status status = block_refs_find(r, ref, &id, NULL);
        bool there = ref >= 5 && (ref - 5) % 3 == 0 && (ref - 5) / 3 < N;
        assert_int_equal(status, there ? TSDB_OK : TSDB_NOT_FOUND);
        assert_int_equal(id, there ? N - (ref - 5) / 3 : 0);
    }
    uint32_t id = 0;
    assert_int_equal(block_refs_find(r, UINT32_MAX, &id, NULL), TSDB_NOT_FOUND);
    struct block_ref_pair *all = test_malloc(N * sizeof *all);
    assert_ok(block_refs_read(r, all, NULL));
    assert_memory_equal(all, pairs, N * sizeof *all);
    block_refs_close(r);
    test_free(all);
    test_free(pairs);
}

/* Every pair that was written and nothing else, whatever the gaps. */
static void refs_check(struct fixture *f, const struct block_ref_pair *pairs, uint32_t n,
                       uint64_t bytes_max)
{
    struct block_refs *r = NULL;
    struct tsdb_error err = {0};
    struct tsdb_file_info info;
    struct block_ref_pair *all = test_malloc((n + 1) * sizeof *all);
    assert_ok_err(block_refs_write(&f->fs, "X", identity, &basis, pairs, n, &err), &err);
    assert_ok(f->fs.ops->stat(f->fs.ctx, "refs/X", &info, NULL));
    assert_in_range(info.size_bytes, 1, bytes_max);
    assert_ok_err(block_refs_open(&f->fs, "X", identity, f->l2, &r, &err), &err);
    assert_int_equal(block_refs_count(r), n);
    assert_ok_err(block_refs_read(r, all, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = 0;
        assert_true(all[i].ref == pairs[i].ref && all[i].id == pairs[i].id);
        assert_ok_err(block_refs_find(r, pairs[i].ref, &id, &err), &err);
        assert_int_equal(id, pairs[i].id);
        if (pairs[i].ref < UINT32_MAX && (i + 1 == n || pairs[i + 1].ref != pairs[i].ref + 1)) {
            assert_int_equal(block_refs_find(r, pairs[i].ref + 1, &id, NULL), TSDB_NOT_FOUND);
        }
    }
    block_refs_close(r);
    test_free(all);
}

static void block_refs__any_gaps_and_ids__read_back(void **state)
{
    struct fixture *f = *state;
    publish(f, f->b, 4, NULL, 0);
    enum {
        N = 70000
    };
    struct tsdb_prng prng;
    struct block_ref_pair *pairs = test_malloc(N * sizeof *pairs);
    tsdb_prng_init(&prng, 3);
    refs_check(f, pairs, 0, 100);
    /* As they are: partitions of refs that follow each other, ids in label order. */
    for (uint32_t i = 0; i < 1008; i++) {
        pairs[i] = (struct block_ref_pair){(i / 16) << 26 | i % 16, i * 5 % 1008};
    }
    refs_check(f, pairs, 1, 100);
    refs_check(f, pairs, 1008, 1800);
    for (uint32_t gap = 0; gap < 3; gap++) {
        uint32_t ref = 0;
        for (uint32_t i = 0; i < N; i++) {
            ref += i == 0 ? 0 : 1 + (uint32_t)tsdb_prng_below(&prng, gap * 10 + 1);
            pairs[i] = (struct block_ref_pair){ref, (uint32_t)tsdb_prng_below(&prng, N)};
        }
        refs_check(f, pairs, N, gap == 0 ? 160000 : 720000);
    }
    pairs[0] = (struct block_ref_pair){0, UINT32_MAX};
    pairs[1] = (struct block_ref_pair){UINT32_MAX - 1, 0};
    pairs[2] = (struct block_ref_pair){UINT32_MAX, 1};
    refs_check(f, pairs, 3, 120);
    test_free(pairs);
}

static void block_refs_open__foreign_short_or_damaged__says_so(void **state)
{
    struct fixture *f = *state;
    publish(f, f->b, 4, NULL, 0);
    static const uint8_t other[BLOCK_REFS_IDENTITY_BYTES] = {2};
    struct block_ref_pair pairs[2] = {{1, 0}, {2, 1}};
    struct block_refs *r = NULL;
    struct tsdb_error err;
    struct tsdb_file *file = NULL;
    struct tsdb_file_info info;
    assert_int_equal(block_refs_open(&f->fs, "X", identity, f->l2, &r, &err), TSDB_NOT_FOUND);
    assert_ok(block_refs_write(&f->fs, "X", identity, &basis, pairs, 2, NULL));
    assert_int_equal(block_refs_open(&f->fs, "X", other, f->l2, &r, &err), TSDB_NOT_FOUND);
    assert_ok(f->fs.ops->stat(f->fs.ctx, "refs/X", &info, NULL));
    for (uint64_t len = 0; len < info.size_bytes + 70000; len += len < info.size_bytes ? 1 : 997) {
        assert_ok(block_refs_write(&f->fs, "X", identity, &basis, pairs, 2, NULL));
        assert_ok(
            f->fs.ops->open(f->fs.ctx, "refs/X", TSDB_OPEN_READ | TSDB_OPEN_WRITE, &file, NULL));
        assert_ok(
            f->fs.ops->truncate(f->fs.ctx, file, len == info.size_bytes ? len + 1 : len, NULL));
        f->fs.ops->close(f->fs.ctx, file);
        assert_int_equal(block_refs_open(&f->fs, "X", identity, f->l2, &r, &err), TSDB_CORRUPT);
    }
    for (uint64_t at = 0; at < info.size_bytes; at++) {
        assert_ok(block_refs_write(&f->fs, "X", identity, &basis, pairs, 2, NULL));
        tsdb_fs_sim_flip(f->sim, "refs/X", at, at + 1, 1);
        assert_int_not_equal(block_refs_open(&f->fs, "X", identity, f->l2, &r, &err), TSDB_OK);
    }
    assert_ok(block_refs_remove(&f->fs, "X", NULL));
    assert_ok(block_refs_remove(&f->fs, "X", NULL)); /* it is gone: fine */
}

/* Bytes that no CRC finds: what opens is asked, bounds alone must hold. */
static void block_refs__hostile_bytes__never_crash(void **state)
{
    struct fixture *f = *state;
    publish(f, f->b, 4, NULL, 0);
    enum {
        N = 40
    };
    struct block_ref_pair pairs[N];
    struct block_ref_pair all[N];
    struct tsdb_prng prng;
    uint8_t good[512];
    uint8_t page[512];
    size_t len = 0;
    uint32_t refused = 0;
    struct tsdb_file *file = NULL;
    static const uint8_t seed[4];
    for (uint32_t i = 0; i < N; i++) {
        pairs[i] = (struct block_ref_pair){i / 4 * 1000 + i, N - i};
    }
    tsdb_prng_init(&prng, 9);
    assert_ok(block_refs_write(&f->fs, "X", identity, &basis, pairs, N, NULL));
    assert_ok(f->fs.ops->open(f->fs.ctx, "refs/X", TSDB_OPEN_READ | TSDB_OPEN_WRITE, &file, NULL));
    assert_ok(f->fs.ops->pread(f->fs.ctx, file, good, sizeof good, 0, &len, NULL));
    for (uint32_t round = 0; round < 5000; round++) {
        struct block_refs *r = NULL;
        memcpy(page, good, len);
        for (uint32_t i = 0; i <= round % 3; i++) {
            size_t at = 24 + (size_t)tsdb_prng_below(&prng, len - 28);
            page[at] = round % 2 ? (uint8_t)(page[at] + 1) : (uint8_t)tsdb_prng_next(&prng);
        }
        tsdb_store_le32(page + len - 4, tsdb_crc32c(tsdb_crc32c(0, seed, 4), page, len - 4));
        assert_ok(f->fs.ops->pwrite(f->fs.ctx, file, page, len, 0, NULL));
        if (block_refs_open(&f->fs, "X", identity, f->l2, &r, NULL) != TSDB_OK) {
            refused++;
            continue;
        }
        assert_int_equal(block_refs_count(r), N);
        (void)!block_refs_read(r, all, NULL);
        for (uint32_t i = 0; i < N; i++) {
            uint32_t id = 0;
            (void)!block_refs_find(r, pairs[i].ref, &id, NULL);
        }
        block_refs_close(r);
    }
    f->fs.ops->close(f->fs.ctx, file);
    assert_in_range(refused, 1000, 4900);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(view_publish__any_order__sorted_by_sequence),
    T(view_publish__removed__goes_with_the_last_reader),
    T(block_refs__many_pairs__found_by_ref_none_invented),
    T(block_refs__any_gaps_and_ids__read_back),
    T(block_refs_open__foreign_short_or_damaged__says_so),
    T(block_refs__hostile_bytes__never_crash),
};

TEST_MAIN(tests)
