/* A round of flushing: many windows, one look at the heads, one checkpoint. */
#include "tests/unit/tsdb/blocks_rig.h"

#include "tsdb/engine/flush_private.h"

#define T0      (HX_WALL_MS / RANGE * RANGE - 100 * RANGE)
#define WINDOWS 60u
#define SERIES  20u

/* Samples that come late, some in each of many windows, after newer ones. */
static void put_history(struct hx *h)
{
    for (uint32_t i = 0; i < SERIES; i++) {
        put_many(h, i, HX_WALL_MS, 1000, 1);
        for (uint32_t w = 0; w < WINDOWS; w++) {
            put_many(h, i, T0 + w * RANGE + i, 7000, 3);
        }
    }
}

/* The background threads' loops, until nobody finds anything to do. */
static void run_steps(struct hx *h)
{
    for (uint32_t idle = 0; idle < 3; idle++) {
        size_t work = tsdb_flush_step(h->db, h->clock.mono_ns);
        work += tsdb_checkpoint_step(h->db, h->clock.mono_ns);
        hx_settle(h);
        idle = work > 0 ? 0 : idle;
    }
}

static uint64_t checkpoints(struct hx *h)
{
    return atomic_load(&h->db->life->checkpoints);
}

static void tsdb_flush_step__many_windows__one_checkpoint(void **state)
{
    struct hx *h = *state;
    put_history(h);
    uint64_t before = hash_all(h);
    uint64_t had = checkpoints(h);
    run_steps(h);
    assert_int_equal(blocks(h), WINDOWS);
    assert_int_equal(checkpoints(h) - had, 1);
    assert_int_equal(hash_all(h), before);
    uint64_t looked_at = atomic_load(&h->db->life->flush_looked_at);
    assert_int_equal(looked_at, SERIES * WINDOWS);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(h->db->life->recovered.samples, 0);
    assert_int_equal(hash_all(h), before);
}

/* So that a trickle of late samples does not write everything that the head holds again and again. */
static void tsdb_flush_step__few_bytes_in_blocks__no_checkpoint(void **state)
{
    struct hx *h = *state;
    for (uint32_t i = 0; i < 200; i++) {
        put_many(h, i, HX_WALL_MS + i, 10, 100);
    }
    assert_ok(tsdb_checkpoint(h->db, NULL));
    uint64_t had = checkpoints(h);
    for (uint32_t round = 0; round < 8; round++) {
        put_many(h, round, T0 + round * RANGE, 1000, 2);
        run_steps(h);
        assert_int_equal(blocks(h), round + 1);
        tsdb_clock_sim_advance(&h->clock, RANGE / 8);
    }
    assert_int_equal(checkpoints(h), had);
    uint64_t before = hash_all(h);
    hx_die(h, true); /* they are in the head again, and in blocks */
    rig_open(h);
    assert_int_equal(hash_all(h), before);
    for (uint32_t i = 0; i < 200; i++) { /* and with enough beside them one comes */
        put_many(h, i, T0 + 50 * RANGE + i, 100, 200);
    }
    before = hash_all(h);
    had = checkpoints(h);
    run_steps(h);
    assert_int_equal(checkpoints(h) - had, 1);
    assert_int_equal(hash_all(h), before);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

/* A long round does not hold all of its head files until its end. */
static void tsdb_flush_step__many_bytes_in_blocks__checkpoint_in_the_middle(void **state)
{
    struct hx *h = *state;
    h->options.checkpoint_wal_bytes = 1;
    h->options.head_file_bytes_max = 1;
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    for (uint32_t w = 0; w < 24; w++) {
        for (uint32_t i = 0; i < SERIES; i++) {
            put_many(h, i, T0 + w * RANGE + i, 250, 230);
        }
        while (tsdb_seal_step(h->db, h->clock.mono_ns) > 0) {
            hx_settle(h);
        }
    }
    uint64_t before = hash_all(h);
    struct head_files_stats s;
    head_files_stats(h->db->head_files, &s);
    uint64_t most = s.files;
    uint64_t least_before_the_end = UINT64_MAX;
    for (uint32_t i = 0; i < 22; i++) {
        assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 1);
        tsdb_checkpoint_step(h->db, h->clock.mono_ns);
        hx_settle(h);
        head_files_stats(h->db->head_files, &s);
        least_before_the_end = TSDB_MIN(least_before_the_end, s.files);
    }
    assert_true(h->db->life->flush_round_on);
    assert_true(least_before_the_end < most * 3 / 4);
    assert_int_equal(hash_all(h), before);
}

/* What leaves the heads between finding and writing is not missed, nor taken twice. */
static void tsdb_flush_step__retention_in_the_middle__the_rest_is_written(void **state)
{
    struct hx *h = *state;
    put_history(h);
    assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 1);
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        head_drop_before(h->db->heads[p], 0, UINT32_MAX, T0 + 30 * RANGE);
    }
    put_many(h, 3, T0 + 40 * RANGE + 555, 1000, 1); /* for the next round */
    run_steps(h);
    assert_int_equal(blocks(h), 1 + 30);
    uint32_t kept = SERIES * (1 + 3 + 30 * 3) + 1;
    assert_int_equal(hx_count(h), kept);
    tsdb_clock_sim_advance(&h->clock, RANGE / 8);
    run_steps(h);
    assert_int_equal(blocks(h), 1 + 30 + 1);
    assert_int_equal(hx_count(h), kept);
}

/* A round a quarter of an hour is for what trickles in; a backfill does not gather that long. */
static void tsdb_flush_step__much_is_overdue__a_round_at_once(void **state)
{
    enum {
        AT_ONCE = 5,
        OVER = 50
    };
    struct hx *h = *state;
    h->options.overdue_chunks = AT_ONCE;
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        put_many(h, i, HX_WALL_MS, 1000, 1);
    }
    run_steps(h); /* the round of this quarter is over */
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        assert_int_equal(blocks(h), 0);
        put_many(h, i, T0 + i % 2 * RANGE, 1, 1);
        run_steps(h);
        tsdb_clock_sim_advance(&h->clock, 1001); /* as often as it is looked at */
        run_steps(h);
    }
    assert_int_equal(blocks(h), 0); /* samples come */
    put_many(h, 1, T0 + OVER * RANGE, 1, 1);
    tsdb_clock_sim_advance(&h->clock, 1001);
    run_steps(h);
    assert_int_equal(blocks(h), 2);
    uint64_t before = hash_all(h);
    struct head_span span;
    assert_true(head_window_next(h->db->heads[tsdb_series_partition(h->refs[1])], INT64_MIN,
                                 INT64_MAX, &span));
    assert_int_equal(span.begin_ms, T0 + OVER * RANGE); /* what was not quiet waits */
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

/* However many blocks there are. */
static void blocks__more_files_than_may_be_open__few_are(void **state)
{
    struct hx *h = *state;
    h->options.block_files_max = 3;
    put_history(h);
    flush(h);
    uint64_t before = hash_all(h);
    assert_true(blocks(h) >= WINDOWS);
    for (uint32_t life = 0; life < 2; life++) {
        assert_ok(hx_close(h, NULL));
        rig_open(h);
        struct tsdb_file_pool_stats s;
        assert_int_equal(hash_all(h), before);
        tsdb_file_pool_stats(h->db->blocks.pool, &s);
        assert_true(s.known >= 2 * WINDOWS);
        assert_true(s.open <= 3);
    }
}

/* ---- old samples ---- */

#define OLD (HX_WALL_MS / RANGE * RANGE - 3000 * RANGE)

static void wide_open(struct hx *h)
{
    assert_ok(hx_close(h, NULL));
    h->options.old_range_max_ms = 0;
    rig_open(h);
}

static int64_t block_length(struct hx *h, uint32_t at)
{
    struct view *v = view_acquire(&h->db->blocks.views);
    assert_true(at < v->block_count);
    const struct block_meta *m = block_meta(v->blocks[at]->block);
    int64_t length = m->max_ms - m->min_ms;
    view_release(&h->db->blocks.views, v);
    return length;
}

static uint64_t flushes(struct hx *h)
{
    return atomic_load(&h->db->life->flushes);
}

/* Full chunks whatever the distance of samples, and blocks as long as merging would make them. */
static void tsdb_flush_step__old_samples__long_windows(void **state)
{
    struct hx *h = *state;
    wide_open(h);
    for (uint32_t i = 0; i < SERIES; i++) {
        put_many(h, i, OLD, 12 * RANGE, 240); /* one in 12 of the short windows, 2880 in all */
    }
    uint64_t before = hash_all(h);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    hx_die(h, false); /* chunks of long windows come back as they are */
    rig_open(h);
    assert_int_equal(hash_all(h), before);
    run_steps(h);
    assert_true(flushes(h) <= 8);
    assert_true(atomic_load(&h->db->life->flush_looked_at) <= SERIES * 10);
    assert_true(block_length(h, 0) > 500 * RANGE);
    assert_int_equal(hash_all(h), before);
    while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
    }
    assert_int_equal(hash_all(h), before);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(h->db->life->recovered.samples, 0);
    assert_int_equal(hash_all(h), before);
}

/* In whatever order they come. */
static void tsdb_flush_step__few_samples_of_many_years__few_blocks(void **state)
{
    enum {
        SAMPLES = 2000
    };
    static struct hx_sample s[HX_SAMPLES_MAX];
    struct hx *h = *state;
    wide_open(h);
    put_many(h, 1, HX_WALL_MS, 1000, 1);
    for (uint32_t from = 0; from < SAMPLES; from += HX_SAMPLES_MAX) {
        for (uint32_t i = 0; i < HX_SAMPLES_MAX; i++) {
            int64_t t = HX_WALL_MS / 4 * 3 / SAMPLES * ((from + i) * 7919 % SAMPLES) - 1000;
            s[i] = hx_float(1, t, (double)t);
        }
        assert_ok(hx_put(h, s, HX_SAMPLES_MAX, TSDB_DURABILITY_BUFFERED, NULL));
    }
    uint64_t before = hash_all(h);
    run_steps(h);
    assert_true(blocks(h) <= 4);
    assert_int_equal(hash_all(h), before);
    for (uint32_t round = 0; round < 3; round++) { /* a second time of them lies beside the first */
        put_many(h, 2, 1000000 + round, HX_WALL_MS / 200, 100);
        tsdb_clock_sim_advance(&h->clock, RANGE / 8);
        before = hash_all(h);
        run_steps(h);
        while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
        }
        assert_int_equal(hash_all(h), before);
    }
    assert_true(blocks(h) <= 4);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

/* Blocks of several windows end where a large block of the disk lies between. */
static void flush_round_begin__large_block_between__two_blocks(void **state)
{
    struct hx *h = *state;
    wide_open(h);
    for (uint32_t i = 0; i < SERIES; i++) {
        put_many(h, i, OLD + 1000 * RANGE, 1000, 100);
    }
    flush(h);
    assert_int_equal(blocks(h), 1);
    put_many(h, SERIES, OLD, 100, 100);
    put_many(h, SERIES, OLD + 2000 * RANGE, 100, 100);
    struct flush_source source = h->db->life->flush_source;
    uint32_t windows[2];
    for (uint32_t k = 0; k < 2; k++) {
        struct flush_round *r = NULL;
        source.sparse_chunks = k == 0 ? SERIES : SERIES - 1;
        assert_ok(flush_round_begin(&source, INT64_MIN, INT64_MAX, &r, NULL));
        assert_non_null(r);
        windows[k] = r->window_count;
        flush_round_end(r);
    }
    assert_int_equal(windows[0], 1);
    assert_int_equal(windows[1], 2);
}

#define T(name) RIG_CASE(name)

static const struct CMUnitTest tests[] = {
    T(tsdb_flush_step__many_windows__one_checkpoint),
    T(tsdb_flush_step__few_bytes_in_blocks__no_checkpoint),
    T(tsdb_flush_step__many_bytes_in_blocks__checkpoint_in_the_middle),
    T(tsdb_flush_step__retention_in_the_middle__the_rest_is_written),
    T(tsdb_flush_step__much_is_overdue__a_round_at_once),
    T(blocks__more_files_than_may_be_open__few_are),
    T(tsdb_flush_step__old_samples__long_windows),
    T(tsdb_flush_step__few_samples_of_many_years__few_blocks),
    T(flush_round_begin__large_block_between__two_blocks),
};

TEST_MAIN(tests)
