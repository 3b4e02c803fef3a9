/* A head file or a block that cannot be read holds up nothing else, and not for ever. */
#include "tests/unit/tsdb/blocks_rig.h"

#include "tsdb/chunk/error_budget.h"

#define T0 (HX_WALL_MS / (27 * RANGE) * (27 * RANGE) - 27 * RANGE)

static void seal(struct hx *h)
{
    while (tsdb_seal_step(h->db, h->clock.mono_ns) > 0) {
        hx_settle(h);
    }
}

static void reopen(struct hx *h)
{
    assert_ok(hx_close(h, NULL));
    rig_open(h);
}

/* Two chunks of series 1 and of series 2 in head file 1, a file for each batch; open samples in the
 * next window. */
static void fill(struct hx *h)
{
    h->options.head_file_bytes_max = 1;
    reopen(h);
    put_many(h, 1, T0, 100, 240);
    put_many(h, 2, T0, 100, 240);
    put_many(h, 1, T0 + RANGE, 100, 10);
    seal(h);
}

/* The block thread and the checkpoints, for so long. */
static void run_for(struct hx *h, int64_t s)
{
    for (int64_t i = 0; i < s; i += 10) {
        for (uint32_t k = 0; k < 8; k++) {
            tsdb_flush_step(h->db, h->clock.mono_ns);
            tsdb_compact_step(h->db, h->clock.mono_ns);
            tsdb_checkpoint_step(h->db, h->clock.mono_ns);
            hx_settle(h);
        }
        tsdb_clock_sim_advance(&h->clock, 10000);
    }
}

static uint64_t lost(struct hx *h)
{
    return atomic_load(&h->db->life->flush_chunks_lost);
}

static bool exists(struct hx *h, const char *path)
{
    struct tsdb_file_info info;
    return h->options.fs.ops->stat(h->options.fs.ctx, path, &info, NULL) == TSDB_OK;
}

static enum tsdb_status count_heads(void *arg, const char *name, bool is_dir)
{
    *(uint32_t *)arg += !is_dir && strncmp(name, "head-", 5) == 0;
    return TSDB_OK;
}

static uint32_t heads_in_quarantine(struct hx *h)
{
    uint32_t n = 0;
    (void)!h->options.fs.ops->list(h->options.fs.ctx, "quarantine", count_heads, &n, NULL);
    return n;
}

static void flush__head_file_not_readable_for_a_while__waits_and_loses_nothing(void **state)
{
    struct hx *h = *state;
    fill(h);
    put_many(h, 3, T0 + 5 * RANGE, 100, 20); /* not in the file */
    uint64_t before = hash_all(h);
    tsdb_fs_sim_bad(h->sim, "head/00000001", 40, 41);
    run_for(h, 60);
    /* The rest: series 1 in its second window, series 3. */
    assert_int_equal(blocks(h), 2);
    assert_int_equal(lost(h), 0);
    uint64_t failures = atomic_load(&h->db->life->flush_failures);
    assert_true(failures >= 1 && failures <= 3); /* once a try, not once a round */
    tsdb_fs_sim_bad(h->sim, "head/00000001", 0, 0);
    assert_int_equal(hash_all(h), before);
    run_for(h, 120);
    assert_int_equal(atomic_load(&h->db->life->flush_failures), failures);
    assert_int_equal(lost(h), 0);
    assert_int_equal(hash_all(h), before);
    assert_int_equal(h->db->life->flush_held, 0);
    reopen(h);
    assert_int_equal(hash_all(h), before);
    assert_false(exists(h, "head/00000001"));
    assert_int_equal(heads_in_quarantine(h), 0);
}

static void flush__head_file_never_readable__given_up_and_put_aside(void **state)
{
    struct hx *h = *state;
    fill(h);
    tsdb_fs_sim_bad(h->sim, "head/00000001", 40, 41);
    assert_int_not_equal(tsdb_flush(h->db, NULL), TSDB_OK);
    assert_int_not_equal(tsdb_flush(h->db, NULL), TSDB_OK); /* at the same time: counts once */
    assert_int_equal(lost(h), 0);
    run_for(h, 20 * 60);
    assert_int_equal(lost(h), 1);
    assert_int_equal(hx_count(h), 490 - 120);
    struct tsdb_stats st;
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.head_files_damaged, 1);
    uint64_t failures = atomic_load(&h->db->life->flush_failures);
    assert_int_equal(failures, ERROR_BUDGET_FAILURES - 2); /* one was asked for, one gave up */
    reopen(h);
    assert_int_equal(hx_count(h), 490 - 120);
    assert_false(exists(h, "head/00000001"));
    run_for(h, 60);
    assert_int_equal(atomic_load(&h->db->life->flush_failures), 0);
}

/* The damaged file is kept for a person, also if its bytes are wrong rather than not there. */
static void flush__chunk_damaged__its_file_goes_to_quarantine(void **state)
{
    struct hx *h = *state;
    fill(h);
    tsdb_fs_sim_flip(h->sim, "head/00000001", 40, 48, 1);
    flush(h);
    assert_int_equal(lost(h), 1);
    put_many(h, 1, T0 + RANGE + 5000, 100, 240); /* the sealer's next file */
    sealer_destroy(h->db->sealer);               /* it lets go of this one */
    struct sealer_options o = {h->db->head_files, h->db->heads, h->db->owners, h->db->owner_of, 1};
    assert_ok(sealer_create(&o, &h->db->sealer));
    run_for(h, 30);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    run_for(h, 10);
    assert_false(exists(h, "head/00000001"));
    assert_int_equal(heads_in_quarantine(h), 1);
}

static void path_of_block(struct hx *h, uint32_t i, const char *file, char out[128])
{
    struct view *v = view_acquire(&h->db->blocks.views);
    assert_true(i < v->block_count);
    snprintf(out, 128, "blocks/%s/%s", block_meta(v->blocks[i]->block)->ulid, file);
    view_release(&h->db->blocks.views, v);
}

static void compact__block_not_readable__left_alone_the_rest_goes_on(void **state)
{
    struct hx *h = *state;
    char path[128];
    for (uint32_t w = 0; w < 7; w++) {
        put_many(h, 1, T0 + w * RANGE, 1000, 60);
    }
    flush(h);
    uint64_t before = hash_all(h);
    reopen(h); /* nothing is cached */
    path_of_block(h, 1, "chunks", path);
    tsdb_fs_sim_bad(h->sim, path, 0, UINT64_MAX);
    run_for(h, 10);
    assert_int_equal(blocks(h), 4); /* 0 + 2, 3 + 4 + 5, beside 1 and 6 */
    assert_int_equal(atomic_load(&h->db->life->compaction_failures), 1);
    tsdb_fs_sim_bad(h->sim, path, 0, 0);
    run_for(h, 60);
    assert_int_equal(blocks(h), 3); /* it overlaps 0 + 2 */
    assert_int_equal(hash_all(h), before);
    assert_int_equal(atomic_load(&h->db->life->compaction_failures), 1);
}

static void compact__block_never_readable__counts_as_damaged(void **state)
{
    struct hx *h = *state;
    char path[128];
    struct tsdb_stats st;
    for (uint32_t w = 0; w < 4; w++) {
        put_many(h, 1, T0 + w * RANGE, 1000, 60);
    }
    flush(h);
    path_of_block(h, 1, "chunks", path);
    tsdb_fs_sim_bad(h->sim, path, 0, UINT64_MAX);
    run_for(h, 25 * 60);
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.blocks_damaged, 1);
    assert_int_equal(st.compaction_failures, ERROR_BUDGET_FAILURES);
    assert_int_equal(st.blocks, 3);
    run_for(h, 60 * 60);
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.compaction_failures, ERROR_BUDGET_FAILURES);
}

/* What was written first stays the first, also when the block in between is left out. */
static void compact__block_in_between_left_out__first_written_wins(void **state)
{
    struct hx *h = *state;
    char path[128];
    put_many(h, 1, T0, 1000, 50);
    flush(h);
    struct hx_sample s = hx_float(2, T0 + 500, 1); /* written first */
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL));
    put_many(h, 1, T0 + 250, 1000, 40);
    flush(h);
    s = hx_float(2, T0 + 500, 2);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL));
    put_many(h, 1, T0 + 750, 1000, 40);
    flush(h);
    uint64_t before = hash_all(h);
    reopen(h); /* nothing is cached */
    path_of_block(h, 1, "chunks", path);
    tsdb_fs_sim_bad(h->sim, path, 0, UINT64_MAX);
    run_for(h, 10);
    tsdb_fs_sim_bad(h->sim, path, 0, 0);
    assert_int_equal(blocks(h), 3); /* the third may not pass the second */
    assert_int_equal(hash_all(h), before);
    run_for(h, 60);
    assert_int_equal(blocks(h), 1);
    assert_int_equal(hash_all(h), before);
}

static void error_budget__failures__wait_longer_and_are_forgotten(void **state)
{
    (void)state;
    struct error_budget b = {0};
    int64_t now_ns = 5;
    assert_false(error_budget_waits(&b, now_ns));
    for (uint32_t i = 1; i < ERROR_BUDGET_FAILURES; i++) {
        assert_false(error_budget_fail(&b, now_ns));
        assert_true(error_budget_waits(&b, now_ns));
        assert_false(error_budget_fail(&b, now_ns + 1)); /* not counted */
        assert_int_equal(b.failures, i);
        assert_int_equal(b.retry_ns - now_ns, ERROR_BUDGET_PAUSE_NS << (i - 1));
        now_ns = b.retry_ns;
        assert_false(error_budget_waits(&b, now_ns));
    }
    assert_true(error_budget_fail(&b, now_ns));
    assert_false(error_budget_waits(&b, now_ns));
    assert_true(error_budget_fail(&b, now_ns));
    now_ns += ERROR_BUDGET_FORGET_NS + 1;
    assert_false(error_budget_fail(&b, now_ns));
    assert_int_equal(b.failures, 1);
}

#define T(name) RIG_CASE(name)

static const struct CMUnitTest tests[] = {
    T(flush__head_file_not_readable_for_a_while__waits_and_loses_nothing),
    T(flush__head_file_never_readable__given_up_and_put_aside),
    T(flush__chunk_damaged__its_file_goes_to_quarantine),
    T(compact__block_not_readable__left_alone_the_rest_goes_on),
    T(compact__block_never_readable__counts_as_damaged),
    T(compact__block_in_between_left_out__first_written_wins),
    cmocka_unit_test(error_budget__failures__wait_longer_and_are_forgotten),
};

TEST_MAIN(tests)
