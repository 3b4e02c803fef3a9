/* Which blocks are merged, and that merging changes nothing that is read. */
#include "tests/unit/tsdb/blocks_rig.h"

#include "tests/support/tsdb/model.h"
#include "tsdb/block/compact.h"

#define T0 (HX_WALL_MS / (27 * RANGE) * (27 * RANGE) - 27 * RANGE)

static uint64_t compact_all(struct hx *h)
{
    uint64_t before = atomic_load(&h->db->life->compactions);
    while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
    }
    return atomic_load(&h->db->life->compactions) - before;
}

struct shape {
    uint32_t count;
    int64_t min[64], max[64]; /* in ranges after T0 */
    uint32_t level[64];
    uint64_t samples;
};
static struct shape shape_of(struct hx *h)
{
    struct shape s = {0};
    struct view *v = view_acquire(&h->db->blocks.views);
    for (uint32_t i = 0; i < v->block_count && i < 64; i++) {
        const struct block_meta *m = block_meta(v->blocks[i]->block);
        s.min[i] = (m->min_ms - T0) / RANGE;
        s.max[i] = (m->max_ms - T0) / RANGE;
        s.level[i] = m->level;
        s.samples += m->samples;
        s.count++;
    }
    view_release(&h->db->blocks.views, v);
    return s;
}

static void tsdb_compact_step__neighbours__longer_by_threes_when_complete(void **state)
{
    struct hx *h = *state;
    for (uint32_t w = 0; w < 11; w++) {
        for (uint32_t i = 0; i < 8; i++) {
            put_many(h, w + i, T0 + w * RANGE + i, 1000, 60);
        }
    }
    uint64_t before = hash_all(h);
    flush(h);
    assert_int_equal(blocks(h), 11);
    assert_int_equal(compact_all(h), 4); /* 3 + 3 + 3, then 9 */
    assert_int_equal(blocks(h), 3);
    struct shape s = shape_of(h);
    assert_int_equal(s.min[0], 0);
    assert_int_equal(s.max[0], 9);
    assert_int_equal(s.level[0], 3);
    assert_int_equal(s.samples, 11 * 8 * 60);
    assert_int_equal(hash_all(h), before);
    assert_int_equal(compact_all(h), 0);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(blocks(h), 3);
    assert_int_equal(hash_all(h), before);
    assert_int_equal(compact_all(h), 0);
}

static void tsdb_compact_step__retention__bounds_the_range(void **state)
{
    struct hx *h = *state;
    h->options.retention_ms = 50 * RANGE; /* a tenth: 5 ranges */
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    for (uint32_t w = 0; w < 11; w++) {
        put_many(h, 1, T0 + w * RANGE, 1000, 60);
    }
    flush(h);
    assert_int_equal(compact_all(h), 3);
    assert_int_equal(blocks(h), 5);
}

static void tsdb_compact_step__overlaps__one_block_first_written_wins(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 1000, 50);
    put_many(h, 2, T0, 1000, 50);
    flush(h);
    put_many(h, 1, T0 + 500, 1000, 50);
    flush(h);
    struct hx_sample s[2] = {hx_float(1, T0 + 3000, 42), hx_float(1, T0 + 3500, 43)};
    assert_ok(hx_put(h, s, 2, TSDB_DURABILITY_BUFFERED, NULL));
    put_many(h, 3, T0, 1000, 50);
    uint64_t before = hash_all(h);
    flush(h);
    assert_int_equal(blocks(h), 3);
    assert_int_equal(hash_all(h), before);
    assert_int_equal(compact_all(h), 1);
    struct shape shape = shape_of(h);
    assert_int_equal(shape.count, 1);
    assert_int_equal(shape.samples, 200);
    assert_int_equal(hash_all(h), before);
    s[0].bits = 7; /* against what was merged */
    assert_ok(hx_put(h, s, 1, TSDB_DURABILITY_BUFFERED, NULL));
    flush(h);
    assert_int_equal(hash_all(h), before);
}

/* A few late samples do not rewrite a large block; many of them are merged among themselves. */
static void tsdb_compact_step__small_beside_large__large_is_left_alone(void **state)
{
    struct hx *h = *state;
    for (uint32_t i = 0; i < 400; i++) {
        static struct hx_sample s[200];
        for (uint32_t k = 0; k < 200; k++) {
            s[k] = hx_float(i, T0 + k * 250 + i % 7, (double)(i * 7919 + k * k * 31) / 1.7);
        }
        assert_ok(hx_put(h, s, 200, TSDB_DURABILITY_BUFFERED, NULL));
    }
    flush(h);
    for (uint32_t i = 0; i < 8; i++) {
        put_many(h, 1, T0 + 100 + i, 1000, 1);
        flush(h);
        assert_int_equal(compact_all(h), i < 7 ? 0 : 1);
    }
    struct shape s = shape_of(h);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.level[0], 1);
    assert_int_equal(s.level[1], 2);
    assert_int_equal(s.samples, 400 * 200 + 8);
}

static void compact__source_damaged__left_alone_the_rest_goes_on(void **state)
{
    struct hx *h = *state;
    for (uint32_t w = 0; w < 4; w++) {
        for (uint32_t i = 0; i < 20; i++) {
            put_many(h, i, T0 + w * RANGE, 1000, 60);
        }
    }
    flush(h);
    char path[128];
    struct view *v = view_acquire(&h->db->blocks.views);
    snprintf(path, sizeof path, "blocks/%s/chunks", block_meta(v->blocks[1]->block)->ulid);
    view_release(&h->db->blocks.views, v);
    struct tsdb_file_info info;
    assert_ok(h->options.fs.ops->stat(h->options.fs.ctx, path, &info, NULL));
    tsdb_fs_sim_flip(h->sim, path, 100, 200, 4);
    assert_int_equal(compact_all(h), 0);
    assert_int_equal(atomic_load(&h->db->life->compaction_failures), 1);
    tsdb_clock_sim_advance(&h->clock, 60000);
    assert_int_equal(compact_all(h), 1); /* without it */
    assert_int_equal(atomic_load(&h->db->life->compaction_failures), 1);
    assert_int_equal(blocks(h), 3);
}

static void compact__disk_or_memory_fails__nothing_changes_and_the_next_works(void **state)
{
    struct hx *h = *state;
    for (uint32_t w = 0; w < 4; w++) {
        put_many(h, 1, T0 + w * RANGE, 1000, 60);
        put_many(h, w + 2, T0 + w * RANGE, 1000, 60);
    }
    flush(h);
    uint64_t before = hash_all(h);
    uint32_t failures = 0;
    for (uint64_t nth = 1; blocks(h) == 4; nth++) {
        if (nth % 2) {
            tsdb_fs_sim_fault(h->sim, TSDB_FAULT_EIO, nth / 2 + 1, 1);
        } else {
            tsdb_alloc_fail_nth(nth, 0);
        }
        tsdb_compact_step(h->db, h->clock.mono_ns);
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 0);
        tsdb_alloc_ops_set(NULL);
        tsdb_clock_sim_advance(&h->clock, 60000);
        assert_int_equal(hash_all(h), before);
        failures = (uint32_t)atomic_load(&h->db->life->compaction_failures);
    }
    assert_true(failures > 15);
    assert_int_equal(blocks(h), 2);
    assert_ok(hx_close(h, NULL));
    tsdb_fs_sim_crash(h->sim);
    rig_open(h);
    assert_int_equal(hash_all(h), before);
    compact_all(h); /* a source that could not be deleted is merged in again */
    assert_int_equal(blocks(h), 2);
    assert_int_equal(hash_all(h), before);
}

/* Random writes of any age, flushes, merges and restarts, beside the model. */
static void engine__random_flushes_and_merges__agrees_with_the_model(void **state)
{
    struct hx *h = *state;
    struct mx *m = test_calloc(1, sizeof *m);
    struct tsdb_prng p;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        tsdb_prng_init(&p, seed);
        hx_deinit(h);
        hx_init(h, seed);
        h->options.block_range_ms = 10000;
        h->options.cache_l1_bytes = seed % 3 ? 1u << 18 : 1;
        rig_open(h);
        mx_init(m, h);
        m->conflicts_pass = true;
        for (uint32_t i = 0; i < 120 && !m->failure[0]; i++) {
            struct hx_sample samples[24];
            uint8_t raws[24];
            for (uint32_t k = 0; k < 24; k++) {
                samples[k] = mx_random_sample(m, &p, 12, 200, &raws[k]);
            }
            assert_true(mx_submit(m, samples, raws, 24, TSDB_DURABILITY_BUFFERED));
            hx_settle(h);
            mx_reap(m);
            tsdb_clock_sim_advance(&h->clock, (int64_t)tsdb_prng_below(&p, 4000));
            switch (tsdb_prng_below(&p, 12)) {
            case 0:
                flush(h);
                break;
            case 1:
            case 2:
                tsdb_flush_step(h->db, h->clock.mono_ns);
                break;
            case 3:
                tsdb_compact_step(h->db, h->clock.mono_ns);
                break;
            case 4:
                mx_check(m, MX_RUNNING);
                break;
            case 5:
                if (tsdb_prng_below(&p, 4) == 0) {
                    assert_ok(hx_close(h, NULL));
                    rig_open(h);
                    mx_check(m, MX_KILLED);
                }
                break;
            default:
                break;
            }
        }
        mx_check(m, MX_RUNNING);
        flush(h);
        compact_all(h);
        mx_check(m, MX_RUNNING);
        if (m->failure[0]) {
            fail_msg("seed %u: %s", (unsigned)seed, m->failure);
        }
        assert_true(atomic_load(&h->db->life->compactions) > 0);
    }
    test_free(m);
}

/* One step with limits of the test's; false: there is nothing to do. */
static bool compact_with(struct hx *h, const struct compact_limits *limits, uint32_t *out_cuts)
{
    struct compact_plan plan = {0};
    struct block_meta made;
    bool source = false;
    struct tsdb_error err = {0};
    const struct compact_source s = {.blocks = &h->db->blocks, .now_ns = h->clock.mono_ns};
    struct view *v = view_acquire(&h->db->blocks.views);
    enum tsdb_status status = compact_plan(v, limits, &plan, &err);
    if (status == TSDB_OK) {
        *out_cuts += plan.cut_count;
        assert_ok_err(compact_run(&s, &plan, &made, &source, &err), &err);
        assert_true(made.samples > 0);
    }
    view_release(&h->db->blocks.views, v);
    blocks_collect(&h->db->blocks);
    return status == TSDB_OK;
}

/* It is cut where the others end, so that no large block becomes as long, and nothing is lost. */
static void compact_plan__long_sparse_block_under_dense_ones__is_cut(void **state)
{
    struct hx *h = *state;
    int64_t old = HX_WALL_MS / RANGE * RANGE - 3000 * RANGE;
    struct compact_limits limits = {
        .range_ms = RANGE, .range_max_ms = 100 * RANGE, .sparse_chunks = 15};
    assert_ok(hx_close(h, NULL));
    h->options.old_range_max_ms = 0;
    rig_open(h);
    put_many(h, 1, old, 17 * RANGE, 150);
    flush(h);
    assert_int_equal(blocks(h), 1);
    assert_ok(hx_close(h, NULL));
    h->options.old_range_max_ms = 27 * RANGE; /* no long ones from here on */
    rig_open(h);
    for (uint32_t i = 0; i < 20; i++) {
        put_many(h, i, old + 500 * RANGE + 1, RANGE / 3, 200);
        put_many(h, i, old + 900 * RANGE + 1, RANGE / 3, 200);
        put_many(h, i, old + 1500 * RANGE + 1, RANGE / 3, 200);
        if (i % 7 == 6) {
            flush(h);
        }
    }
    flush(h);
    uint64_t before = hash_all(h);
    uint32_t cuts = 0;
    uint32_t steps = 0;
    while (compact_with(h, &limits, &cuts)) {
        assert_int_equal(hash_all(h), before);
        assert_true(++steps < 100);
    }
    assert_true(cuts >= 6); /* three stretches of others */
    struct view *v = view_acquire(&h->db->blocks.views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct block_meta *m = block_meta(v->blocks[i]->block);
        assert_true(m->max_ms - m->min_ms <= limits.range_max_ms ||
                    m->chunks <= limits.sparse_chunks);
    }
    view_release(&h->db->blocks.views, v);
    limits.sparse_chunks = 0; /* what is long is not sparse, and is halved */
    cuts = 0;
    while (compact_with(h, &limits, &cuts)) {
        assert_int_equal(hash_all(h), before);
    }
    assert_true(cuts > 0);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

#define T(name) RIG_CASE(name)

static const struct CMUnitTest tests[] = {
    T(compact_plan__long_sparse_block_under_dense_ones__is_cut),
    T(tsdb_compact_step__neighbours__longer_by_threes_when_complete),
    T(tsdb_compact_step__retention__bounds_the_range),
    T(tsdb_compact_step__overlaps__one_block_first_written_wins),
    T(tsdb_compact_step__small_beside_large__large_is_left_alone),
    T(compact__source_damaged__left_alone_the_rest_goes_on),
    T(compact__disk_or_memory_fails__nothing_changes_and_the_next_works),
    T(engine__random_flushes_and_merges__agrees_with_the_model),
};

TEST_MAIN(tests)
