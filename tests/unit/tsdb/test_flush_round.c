/* A round of flushing: many windows, one look at the heads, one checkpoint. */
#include "tests/unit/tsdb/blocks_rig.h"

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
    for (uint32_t w = 0; w < 12; w++) {
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
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 1);
        tsdb_checkpoint_step(h->db, h->clock.mono_ns);
        hx_settle(h);
        head_files_stats(h->db->head_files, &s);
        least_before_the_end = TSDB_MIN(least_before_the_end, s.files);
    }
    assert_true(h->db->life->flush_round_on);
    assert_true(least_before_the_end < most / 2);
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

#define T(name) RIG_CASE(name)

static const struct CMUnitTest tests[] = {
    T(tsdb_flush_step__many_windows__one_checkpoint),
    T(tsdb_flush_step__few_bytes_in_blocks__no_checkpoint),
    T(tsdb_flush_step__many_bytes_in_blocks__checkpoint_in_the_middle),
    T(tsdb_flush_step__retention_in_the_middle__the_rest_is_written),
};

TEST_MAIN(tests)
