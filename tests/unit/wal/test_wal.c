#include "tests/support/test.h"

#include "tests/unit/wal/log_harness.h"

#define BUFFERED TSDB_DURABILITY_BUFFERED
#define STRICT   TSDB_DURABILITY_STRICT

/* Close, replay, and expect exactly the batches made, no damage. */
static void assert_all_found(struct log_harness *h, uint64_t segment_from)
{
    struct log_found f;
    struct tsdb_error err;
    assert_ok_err(wal_close(h->wal, &err), &err);
    h->wal = NULL;
    log_replay(h, segment_from, &f);
    assert_null(f.wrong);
    assert_int_equal(f.count, h->batch_count);
    assert_int_equal(f.duplicates, 0);
    assert_int_equal(f.damage_count, 0);
    assert_int_equal(f.torn_count, 0);
    log_found_deinit(&f);
}

static void wal_open__empty_directory__small_and_fast(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_file_info info;
    struct wal_stats stats;
    struct tsdb_error err;
    log_init(&h, 1);
    h.options.segment_bytes = TSDB_WAL_SEGMENT_BYTES;
    uint64_t ops = tsdb_fs_sim_op_count(h.sim);
    log_open(&h);
    /* What makes opening quick: a handful of operations, and nothing of the 64 MiB is written. */
    assert_true(tsdb_fs_sim_op_count(h.sim) - ops <= 4);
    assert_ok(h.fs.ops->stat(h.fs.ctx, "wal/00000001", &info, &err));
    assert_true(info.size_bytes < 128);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.segment, 1);
    assert_int_equal(stats.segments_created, 1);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_write_step__buffered_and_strict__complete_at_their_time(void **state)
{
    (void)state;
    struct log_harness h;
    log_init(&h, 2);
    log_open(&h);
    struct log_batch *strict = log_submit(&h, 0, STRICT, 10);
    struct log_batch *buffered = log_submit(&h, 0, BUFFERED, 10);
    struct log_batch *other = log_submit(&h, 1, STRICT, 10);
    assert_int_equal(buffered->done, 0);
    assert_int_equal(log_write(&h), 3);
    assert_int_equal(buffered->done, 1);
    assert_int_equal(strict->done, 0);
    assert_int_equal(log_sync(&h), 1);
    assert_int_equal(strict->done, 1);
    assert_int_equal(other->done, 1);
    assert_int_equal(strict->status, TSDB_OK);
    assert_int_equal(buffered->order, 0);
    assert_int_equal(strict->order, 1);
    assert_int_equal(other->order, 2);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_sync_step__many_owners__one_write_one_sync(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_stats stats;
    log_init(&h, 3);
    h.options.owner_count = 3;
    log_open(&h);
    for (uint32_t i = 0; i < 15; i++) {
        log_submit(&h, i % 3, STRICT, 20);
    }
    log_write(&h);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.writes, 1);
    assert_int_equal(stats.frames_written, 15);
    assert_int_equal(stats.samples_written, 15);
    assert_true(stats.unsynced_bytes > 0);
    assert_int_equal(log_sync(&h), 1);
    assert_int_equal(log_sync(&h), 0);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.syncs, 1);
    assert_int_equal(stats.unsynced_bytes, 0);
    assert_int_equal(atomic_load(&h.completions), 15);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_sync_step__flush_window__by_time_or_samples(void **state)
{
    (void)state;
    struct log_harness h;
    log_init(&h, 4);
    h.options.flush_samples = 5;
    log_open(&h);
    log_submit(&h, 0, BUFFERED, 10);
    log_write(&h);
    assert_int_equal(log_sync(&h), 0);
    tsdb_clock_sim_advance(&h.clock, 99);
    assert_int_equal(log_sync(&h), 0);
    tsdb_clock_sim_advance(&h.clock, 1);
    assert_int_equal(log_sync(&h), 1);
    tsdb_clock_sim_advance(&h.clock, 1000);
    assert_int_equal(log_sync(&h), 0); /* nothing un-synced: nothing to do */
    for (int i = 0; i < 4; i++) {
        log_submit(&h, 0, BUFFERED, 10);
    }
    log_write(&h);
    assert_int_equal(log_sync(&h), 0);
    log_submit(&h, 0, BUFFERED, 10);
    log_write(&h);
    assert_int_equal(log_sync(&h), 1);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_write_step__unsynced_bound__writes_on_after_a_sync(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_stats stats;
    log_init(&h, 5);
    h.options.unsynced_bytes_max = 1000;
    h.options.flush_interval_ms = 1000000;
    log_open(&h);
    for (int i = 0; i < 6; i++) {
        log_submit(&h, 0, BUFFERED, 300);
    }
    size_t first = log_write(&h);
    assert_true(first > 0 && first < 6);
    assert_int_equal(log_write(&h), 0);
    wal_stats(h.wal, &stats);
    assert_true(stats.unsynced_bytes <= 1000);
    assert_int_equal(log_sync(&h), 1);
    assert_true(log_write(&h) > 0);
    log_settle(&h);
    assert_int_equal(atomic_load(&h.completions), 6);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

/* Four chunks of log at once; then nothing for a while; then more. */
static void wal_write_step__quiet_after_a_burst__chunks_are_given_back(void **state)
{
    (void)state;
    struct log_harness h;
    log_init(&h, 7);
    h.options.segment_bytes = 64u << 20;
    h.options.unsynced_bytes_max = 16u << 20;
    log_open(&h);
    uint64_t empty = tsdb_mem_used(TSDB_MEM_WAL);
    for (int i = 0; i < 40; i++) {
        log_submit(&h, 0, BUFFERED, 100000);
    }
    log_write(&h);
    tsdb_clock_sim_advance(&h.clock, 1000);
    log_sync(&h);
    uint64_t burst = tsdb_mem_used(TSDB_MEM_WAL);
    assert_true(burst - empty >= 4u * WAL_CHUNK_BYTES);
    log_write(&h); /* it was in use since the last look */
    for (int i = 0; i < 2; i++) {
        tsdb_clock_sim_advance(&h.clock, WAL_TRIM_NS / 1000000);
        log_write(&h);
    }
    assert_true(tsdb_mem_used(TSDB_MEM_WAL) - empty < WAL_CHUNK_BYTES);
    log_submit(&h, 0, STRICT, 100);
    tsdb_clock_sim_advance(&h.clock, 2 * WAL_TRIM_NS / 1000000);
    assert_int_equal(log_write(&h), 1);
    log_write(&h);
    assert_true(tsdb_mem_used(TSDB_MEM_WAL) - empty >= WAL_CHUNK_BYTES); /* it is not durable */
    log_settle(&h);
    assert_int_equal(atomic_load(&h.completions), 41);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_write_step__segment_full__next_segment_in_order(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_stats stats;
    log_init(&h, 6);
    log_open(&h);
    for (int i = 0; i < 60; i++) {
        log_submit(&h, (uint32_t)i % 2, i % 3 ? BUFFERED : STRICT, (uint32_t)(i * 7) % 400);
        if (i % 5 == 0) {
            log_write(&h);
        }
        if (i % 11 == 0) {
            log_sync(&h);
        }
    }
    log_write(&h);
    wal_stats(h.wal, &stats);
    assert_true(stats.segment > 2);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

/* The old segment has un-synced bytes when a strict batch lands in the new one: one sync step makes
 * both durable. */
static void wal_sync_step__strict_in_new_segment__old_segment_first(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct log_harness h;
        struct log_found f;
        log_init(&h, seed);
        log_open(&h);
        log_submit(&h, 0, BUFFERED, 900);
        log_write(&h);
        wal_rotate(h.wal);
        struct log_batch *strict = log_submit(&h, 0, STRICT, 50);
        log_write(&h);
        assert_int_equal(log_sync(&h), 1);
        assert_int_equal(strict->status, TSDB_OK);
        log_die(&h, true);
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_int_equal(f.count, 2);
        assert_int_equal(f.damage_count, 0);
        log_found_deinit(&f);
        log_deinit(&h);
    }
}

static void wal_write_step__batch_larger_than_segment__segment_of_its_size(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_stats stats;
    log_init(&h, 7);
    log_open(&h);
    log_submit(&h, 0, STRICT, 100);
    struct log_batch *large = log_submit(&h, 1, STRICT, 50000);
    log_submit(&h, 0, BUFFERED, 100);
    log_settle(&h);
    assert_int_equal(large->status, TSDB_OK);
    struct log_batch *huge = log_submit(&h, 1, STRICT, WAL_CHUNK_BYTES + 12345);
    log_submit(&h, 0, STRICT, 100);
    log_settle(&h);
    assert_int_equal(huge->done, 1);
    assert_int_equal(huge->status, TSDB_OK);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.segment, 4); /* owner 0's come first: 2 is left for them */
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_rotate__later_batches__in_the_promised_segment_and_a_new_epoch(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    log_init(&h, 8);
    log_open(&h);
    log_submit(&h, 0, BUFFERED, 10);
    uint64_t epoch = wal_epoch(h.wal);
    uint64_t segment = wal_rotate(h.wal);
    assert_int_equal(wal_rotate(h.wal), segment); /* not begun yet: the same one */
    assert_true(wal_epoch(h.wal) > epoch);
    log_submit(&h, 1, BUFFERED, 10);
    log_write(&h);
    uint64_t second = wal_rotate(h.wal);
    assert_true(second > segment);
    log_submit(&h, 0, BUFFERED, 10);
    log_write(&h);
    log_replay(&h, 0, &f);
    assert_int_equal(f.segment_of_last[1], segment);
    assert_int_equal(f.segment_of_last[0], second);
    log_found_deinit(&f);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_epoch__log_grows_and_restarts__only_rises(void **state)
{
    (void)state;
    struct log_harness h;
    log_init(&h, 9);
    log_open(&h);
    uint64_t before = wal_epoch(h.wal), rises = 0;
    for (int i = 0; i < 40; i++) {
        log_submit(&h, 0, BUFFERED, 500);
        log_write(&h);
        assert_true(wal_epoch(h.wal) >= before);
        rises += wal_epoch(h.wal) > before;
        before = wal_epoch(h.wal);
    }
    assert_in_range(rises, 15, 25); /* 40 batches of about 550 bytes, an epoch every 1024 */
    struct wal_stats stats;
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.epoch, before);
    assert_all_found(&h, 0);
    h.options.segment_first = stats.segment + 1;
    log_open(&h);
    assert_true(wal_epoch(h.wal) > before);
    log_deinit(&h);
}

/* Zeroes spare syncs metadata, and cost as many bytes as the log: only who waits for a sync gets them. */
static void wal_sync_step__zeroes_ahead__for_strict_batches_alone(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_stats stats;
    log_init(&h, 12);
    h.options.segment_bytes = 64u << 10;
    log_open(&h);
    log_submit(&h, 0, BUFFERED, 500);
    log_settle(&h);
    wal_stats(h.wal, &stats);
    assert_in_range(stats.disk_bytes, 500, 2000);
    log_submit(&h, 0, STRICT, 500);
    log_settle(&h);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.disk_bytes, 64u << 10);
    assert_all_found(&h, 0);
    log_deinit(&h);
}

static void wal_truncate_before__old_segments__removed_or_recycled(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    struct tsdb_error err;
    struct wal_stats before, after;
    log_init(&h, 10);
    log_open(&h);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 30; i++) {
            log_submit(&h, (uint32_t)i % 2, STRICT, 300);
        }
        log_settle(&h);
        uint64_t segment = wal_rotate(h.wal);
        log_submit(&h, 0, STRICT, 60);
        log_settle(&h);
        wal_stats(h.wal, &before);
        assert_ok_err(wal_truncate_before(h.wal, segment, &err), &err);
        wal_stats(h.wal, &after);
        assert_true(after.disk_bytes <= before.disk_bytes);
        /* One segment and two spares are left. */
        assert_true(after.disk_bytes <= 3 * 4096);
        log_replay(&h, segment, &f);
        assert_null(f.wrong);
        assert_int_equal(f.count, 1);
        assert_int_equal(f.damage_count + f.torn_count, 0);
        assert_int_equal(f.segment_max, segment);
        log_found_deinit(&f);
    }
    /* Spares were used: no more files were made than segments without one. */
    assert_true(after.segments_created > 30);
    assert_ok_err(wal_close(h.wal, &err), &err);
    h.wal = NULL;
    log_deinit(&h);
}

/* A recycled file is full of old frames behind the end mark; none of them may come back, whenever
 * the machine stops. */
static void wal_replay__recycled_segments_power_cut__nothing_old_returns(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct log_harness h;
        struct log_found f;
        struct tsdb_error err;
        log_init(&h, seed);
        log_open(&h);
        uint64_t segment = 1;
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 20; i++) {
                log_submit(&h, 0, STRICT, 200 + (uint32_t)seed);
            }
            log_settle(&h);
            segment = wal_rotate(h.wal);
            log_submit(&h, 0, STRICT, 30);
            log_settle(&h);
            assert_ok(wal_truncate_before(h.wal, segment, &err));
        }
        uint32_t strict_seq = h.seq[0];
        for (uint64_t i = 0; i < seed % 7; i++) {
            log_submit(&h, 0, BUFFERED, 150);
            log_write(&h);
        }
        log_die(&h, seed % 2);
        log_replay(&h, segment, &f);
        assert_null(f.wrong);
        assert_true(f.found[0][strict_seq - 1]);
        for (uint32_t i = 0; i + 1 < strict_seq; i++) {
            assert_false(f.found[0][i]);
        }
        if (seed % 2 == 0) {
            assert_int_equal(f.count, h.seq[0] - strict_seq + 1);
            assert_int_equal(f.damage_count + f.torn_count, 0);
        }
        log_found_deinit(&f);
        log_deinit(&h);
    }
}

static void wal_open__after_restart__goes_on_behind_the_last_segment(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    struct tsdb_error err;
    struct wal *second;
    log_init(&h, 11);
    for (int life = 0; life < 5; life++) {
        log_open(&h);
        for (int i = 0; i < 9; i++) {
            log_submit(&h, (uint32_t)i % 2, STRICT, 333);
        }
        log_settle(&h);
        if (life % 2) {
            log_die(&h, false);
        }
        (void)!wal_close(h.wal, &err);
        h.wal = NULL;
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_int_equal(f.count, h.batch_count);
        assert_int_equal(f.damage_count + f.torn_count, 0);
        assert_int_equal(wal_open(&h.options, &second, &err),
                         TSDB_INVALID); /* its first segment exists */
        h.options.segment_first = f.segment_max + 1;
        log_found_deinit(&f);
    }
    log_deinit(&h);
}

/* A spare becomes segment N and gets frames; a power cut takes the name back but may leave the
 * bytes. The next process begins with N: those frames must not turn up in it. */
static void wal_open__power_cut_takes_back_a_recycled_name__nothing_old_returns(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 120; seed++) {
        struct log_harness h;
        struct log_found before, after;
        struct tsdb_error err;
        log_init(&h, seed);
        h.options.flush_interval_ms = 1000000;
        log_open(&h);
        for (int i = 0; i < 40; i++) {
            log_submit(&h, 0, STRICT, 300);
            log_write(&h);
            log_sync(&h);
        }
        uint64_t segment = wal_rotate(h.wal);
        log_settle(&h);
        assert_ok(wal_truncate_before(h.wal, segment, &err));
        wal_rotate(h.wal);
        for (int i = 0; i < 8; i++) {
            log_submit(&h, 1, BUFFERED, 300); /* into the spare, never synced */
            log_write(&h);
        }
        log_die(&h, true);
        log_replay(&h, segment, &before);
        assert_null(before.wrong);
        h.options.segment_first = TSDB_MAX(before.segment_max + 1, segment);
        log_open(&h);
        for (uint64_t i = 0; i < 1 + seed % 4; i++) {
            log_submit(&h, 0, STRICT, 300);
        }
        assert_ok_err(wal_close(h.wal, &err), &err);
        h.wal = NULL;
        log_replay(&h, segment, &after);
        assert_null(after.wrong);
        for (uint32_t i = 0; i < h.seq[1]; i++) {
            assert_true(before.found[1][i] || !after.found[1][i]);
        }
        log_found_deinit(&before);
        log_found_deinit(&after);
        log_deinit(&h);
    }
}

static void wal_close__batches_waiting__written_synced_completed(void **state)
{
    (void)state;
    struct log_harness h;
    log_init(&h, 12);
    h.options.unsynced_bytes_max = 2000;
    log_open(&h);
    for (int i = 0; i < 50; i++) {
        log_submit(&h, (uint32_t)i % 2, i % 2 ? BUFFERED : STRICT, 300);
    }
    assert_all_found(&h, 0);
    for (uint32_t i = 0; i < h.batch_count; i++) {
        assert_int_equal(h.batches[i].done, 1);
        assert_int_equal(h.batches[i].status, TSDB_OK);
    }
    log_deinit(&h);
}

static void wal_open__allocation_fails__clean_error(void **state)
{
    (void)state;
    bool opened = false;
    for (uint64_t nth = 1; !opened && nth < 50; nth++) {
        struct log_harness h;
        struct tsdb_error err = {0};
        log_init(&h, nth);
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = wal_open(&h.options, &h.wal, &err);
        opened = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        assert_true(status == TSDB_NOMEM || opened);
        if (status != TSDB_OK) {
            h.wal = NULL;
        }
        log_deinit(&h);
    }
    assert_true(opened);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal_open__empty_directory__small_and_fast),
    cmocka_unit_test(wal_write_step__buffered_and_strict__complete_at_their_time),
    cmocka_unit_test(wal_sync_step__many_owners__one_write_one_sync),
    cmocka_unit_test(wal_sync_step__flush_window__by_time_or_samples),
    cmocka_unit_test(wal_write_step__unsynced_bound__writes_on_after_a_sync),
    cmocka_unit_test(wal_write_step__quiet_after_a_burst__chunks_are_given_back),
    cmocka_unit_test(wal_write_step__segment_full__next_segment_in_order),
    cmocka_unit_test(wal_sync_step__strict_in_new_segment__old_segment_first),
    cmocka_unit_test(wal_write_step__batch_larger_than_segment__segment_of_its_size),
    cmocka_unit_test(wal_rotate__later_batches__in_the_promised_segment_and_a_new_epoch),
    cmocka_unit_test(wal_epoch__log_grows_and_restarts__only_rises),
    cmocka_unit_test(wal_sync_step__zeroes_ahead__for_strict_batches_alone),
    cmocka_unit_test(wal_truncate_before__old_segments__removed_or_recycled),
    cmocka_unit_test(wal_replay__recycled_segments_power_cut__nothing_old_returns),
    cmocka_unit_test(wal_open__after_restart__goes_on_behind_the_last_segment),
    cmocka_unit_test(wal_open__power_cut_takes_back_a_recycled_name__nothing_old_returns),
    cmocka_unit_test(wal_close__batches_waiting__written_synced_completed),
    cmocka_unit_test(wal_open__allocation_fails__clean_error),
};

TEST_MAIN(tests)
