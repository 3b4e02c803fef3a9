/* Every mutating operation of a small workload fails, or is the last one. */
#include "tests/support/test.h"

#include "tests/unit/wal/log_harness.h"

#define BUFFERED TSDB_DURABILITY_BUFFERED
#define STRICT   TSDB_DURABILITY_STRICT

/* Two owners, both durabilities, several segments; the order of the steps is the seed's choice. */
static void workload(struct log_harness *h, uint64_t seed)
{
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, seed);
    for (int i = 0; i < 40; i++) {
        uint32_t owner = (uint32_t)tsdb_prng_below(&prng, 2);
        if (tsdb_ring_depth(wal_ring(h->wal, owner)) < 32) {
            log_submit(h, owner, tsdb_prng_below(&prng, 2) ? STRICT : BUFFERED,
                       (uint32_t)tsdb_prng_below(&prng, 600));
        }
        if (tsdb_prng_below(&prng, 3) == 0) {
            log_write(h);
        }
        if (tsdb_prng_below(&prng, 4) == 0) {
            tsdb_clock_sim_advance(&h->clock, (int64_t)tsdb_prng_below(&prng, 120));
            log_sync(h);
        }
        if (i == 13 || i == 29) {
            wal_rotate(h->wal);
        }
    }
    log_settle(h);
}

static void harness_open(struct log_harness *h, uint64_t seed)
{
    log_init(h, seed);
    h->options.unsynced_bytes_max = 2500;
    log_open(h);
}

/* How many operations the workload needs when nothing fails. */
static uint64_t operations(uint64_t seed)
{
    struct log_harness h;
    harness_open(&h, seed);
    uint64_t before = tsdb_fs_sim_op_count(h.sim);
    workload(&h, seed);
    uint64_t n = tsdb_fs_sim_op_count(h.sim) - before;
    log_deinit(&h);
    return n;
}

static bool acknowledged(const struct log_batch *b, bool strict_only)
{
    return b->done == 1 && b->status == TSDB_OK &&
           (!strict_only || b->write.batches[0].durability == STRICT);
}

/* NULL, or what is wrong with what a new process finds. strict_only: buffered batches may be lost. */
static const char *judge(const struct log_harness *h, const struct log_found *f, bool strict_only)
{
    if (f->wrong) {
        return f->wrong;
    }
    for (uint32_t i = 0; i < h->batch_count; i++) {
        const struct log_batch *b = &h->batches[i];
        if (b->done != 1) {
            return "a batch was not completed exactly once";
        }
        if (acknowledged(b, strict_only) && !f->found[b->owner][b->seq]) {
            return "an acknowledged batch is gone";
        }
    }
    /* Un-synced bytes that were lost leave holes, which are reported; a killed process leaves none.
     */
    return strict_only || f->damage_count == 0 ? NULL : "damage after a kill";
}

static void run(uint64_t seed, enum tsdb_fs_fault fault, uint64_t op, uint64_t count,
                bool power_cut, bool want_working)
{
    struct log_harness h;
    struct log_found f;
    struct tsdb_error err = {0};
    harness_open(&h, seed);
    tsdb_fs_sim_fault(h.sim, fault, op, count);
    workload(&h, seed);
    bool retrying = wal_state(h.wal, &err) == WAL_RETRYING;
    assert_false(wal_read_only(h.wal, NULL));
    if (retrying) {
        assert_int_equal(err.status, TSDB_BUSY);
        assert_non_null(strstr(err.msg, "tries again"));
        assert_non_null(strstr(err.msg, "wal")); /* and names the file that failed */
    }
    bool working = !retrying;
    for (uint32_t i = 0; i < h.batch_count; i++) {
        working = working && h.batches[i].status == TSDB_OK;
    }
    log_die(&h, power_cut);
    log_replay(&h, 0, &f);
    /* When a sync fails, the kernel may drop the pages; as long as the copy cannot be written
     * elsewhere either, buffered batches are gone when the process dies, even without a power cut.
     */
    const char *wrong = judge(&h, &f, power_cut || (retrying && fault == TSDB_FAULT_EIO));
    if (!wrong && want_working && !working) {
        wrong = "one failure was not survived";
    }
    if (wrong) {
        fail_msg("seed %llu fault %d at operation %llu x %llu, %s: %s (%s)",
                 (unsigned long long)seed, fault, (unsigned long long)op, (unsigned long long)count,
                 power_cut ? "power cut" : "kill", wrong, err.msg);
    }
    log_found_deinit(&f);
    log_deinit(&h);
}

static void wal__machine_stops_at_every_operation__acknowledged_batches_are_found(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        uint64_t n = operations(seed);
        for (uint64_t op = 1; op <= n; op++) {
            run(seed, TSDB_FAULT_HALT, op, 1, true, false);
            run(seed, TSDB_FAULT_HALT, op, 1, false, false);
        }
    }
}

static void wal__one_operation_fails__written_again_elsewhere(void **state)
{
    (void)state;
    static const enum tsdb_fs_fault faults[] = {TSDB_FAULT_EIO, TSDB_FAULT_ENOSPC};
    for (uint64_t seed = 31; seed <= 38; seed++) {
        uint64_t n = operations(seed);
        for (uint64_t op = 1; op <= n; op++) {
            run(seed, faults[seed % 2], op, 1, op % 2, true);
            run(seed, faults[seed % 2], op, 1, op % 2 == 0, true);
        }
    }
}

static void wal__all_operations_fail__retrying_with_a_reason(void **state)
{
    (void)state;
    for (uint64_t seed = 61; seed <= 65; seed++) {
        uint64_t n = operations(seed);
        for (uint64_t op = 1; op <= n; op++) {
            run(seed, TSDB_FAULT_EIO, op, 100000, op % 2, false);
            run(seed, TSDB_FAULT_ENOSPC, op, 100000, op % 2, false);
            run(seed, TSDB_FAULT_EIO, op, 2, op % 2, false);
        }
    }
}

/* The bytes that a failed sync did not make durable must be in the next segment, and only count
 * there. */
static void wal_sync_step__sync_fails__segment_poisoned_and_batches_complete_later(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    struct wal_stats stats;
    log_init(&h, 5);
    log_open(&h);
    struct log_batch *durable = log_submit(&h, 0, STRICT, 50);
    log_write(&h);
    assert_int_equal(log_sync(&h), 1);
    assert_int_equal(durable->done, 1);
    struct log_batch *waiting = log_submit(&h, 0, STRICT, 100);
    struct log_batch *buffered = log_submit(&h, 1, BUFFERED, 100);
    log_write(&h);
    assert_int_equal(buffered->status, TSDB_OK);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EIO, 1, 1);
    assert_int_equal(log_sync(&h), 0);
    assert_int_equal(waiting->done, 0);
    assert_int_equal(log_sync(&h),
                     0); /* nothing to be done before the writer has moved the bytes */
    assert_int_equal(log_write(&h), 0);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.segment, 2);
    assert_int_equal(stats.segments_poisoned, 1);
    assert_int_equal(stats.sync_failures, 1);
    assert_int_equal(waiting->done, 0);
    assert_int_equal(log_sync(&h), 1);
    assert_int_equal(waiting->status, TSDB_OK);
    struct log_batch *later = log_submit(&h, 1, STRICT, 100);
    log_settle(&h);
    assert_int_equal(later->status, TSDB_OK);
    log_die(&h, true);
    log_replay(&h, 0, &f);
    assert_null(f.wrong);
    assert_int_equal(f.count, 4);
    assert_int_equal(f.duplicates, 0);
    assert_int_equal(f.damage_count, 0);
    assert_int_equal(f.segment_of_last[1], 2);
    log_found_deinit(&f);
    log_deinit(&h);
}

/* The disk refuses everything for a while, from each operation on, and then works again: the log
 * heals by itself, and holds every batch, those too that were answered BUSY. */
static void heals(uint64_t seed, enum tsdb_fs_fault fault, uint64_t op)
{
    struct log_harness h;
    struct log_found f;
    struct wal_stats stats;
    harness_open(&h, seed);
    tsdb_fs_sim_fault(h.sim, fault, op, 100000);
    workload(&h, seed);
    wal_stats(h.wal, &stats);
    bool stuck = stats.state == WAL_RETRYING;
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 1);
    log_settle(&h);
    uint32_t busy = 0;
    for (uint32_t i = 0; i < h.batch_count; i++) {
        busy += h.batches[i].status == TSDB_BUSY;
    }
    struct log_batch *later = log_submit(&h, 0, STRICT, 50);
    log_settle(&h);
    assert_int_equal(wal_state(h.wal, NULL), WAL_READY);
    assert_int_equal(later->status, TSDB_OK);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.unsynced_bytes, 0);
    assert_int_equal(stats.frames_written, h.batch_count);
    assert_true(stuck ? stats.retries > 0 : busy == 0);
    log_die(&h, true);
    log_replay(&h, 0, &f);
    if (f.wrong || f.count != h.batch_count) {
        fail_msg("seed %llu fault %d from operation %llu: %u of %u found, %u were busy (%s)",
                 (unsigned long long)seed, fault, (unsigned long long)op, f.count, h.batch_count,
                 busy, f.wrong ? f.wrong : "");
    }
    log_found_deinit(&f);
    log_deinit(&h);
}

static void wal__disk_refuses_for_a_while__heals_and_holds_every_batch(void **state)
{
    (void)state;
    static const enum tsdb_fs_fault faults[] = {TSDB_FAULT_EIO, TSDB_FAULT_ENOSPC,
                                                TSDB_FAULT_EMFILE};
    for (uint64_t seed = 91; seed <= 93; seed++) {
        uint64_t n = operations(seed);
        for (uint64_t op = 1; op <= n; op++) {
            for (size_t i = 0; i < TSDB_ARRAY_LEN(faults); i++) {
                heals(seed, faults[i], op);
            }
        }
    }
}

/* No segment can be opened, but the current one is as good as before: what is in it gets synced. */
static void wal_rotate__no_descriptor__old_segment_stays_good(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_error err;
    struct wal_stats stats;
    log_init(&h, 9);
    log_open(&h);
    struct log_batch *first = log_submit(&h, 0, STRICT, 50);
    log_write(&h);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EMFILE, 1, 100000);
    wal_rotate(h.wal);
    struct log_batch *second = log_submit(&h, 1, BUFFERED, 50);
    assert_int_equal(log_write(&h), 1);
    assert_int_equal(second->status, TSDB_BUSY);
    assert_int_equal(wal_state(h.wal, &err), WAL_RETRYING);
    assert_int_equal(log_sync(&h), 1);
    assert_int_equal(first->status, TSDB_OK);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.segments_poisoned, 0);
    assert_int_equal(stats.segment, 1);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 1);
    log_settle(&h);
    wal_stats(h.wal, &stats);
    assert_int_equal(stats.state, WAL_READY);
    assert_int_equal(stats.segment, 2);
    log_deinit(&h);
}

/* A full disk at the start: the log is open, refuses, and begins once there is room. */
static void wal_open__disk_is_full__retrying_until_it_is_not(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    log_init(&h, 10);
    log_open(&h);
    struct log_batch *old = log_submit(&h, 0, STRICT, 50);
    log_settle(&h);
    assert_int_equal(old->status, TSDB_OK);
    log_die(&h, false);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_ENOSPC, 1, 100000);
    h.options.segment_first = 2;
    log_open(&h);
    assert_int_equal(wal_state(h.wal, NULL), WAL_RETRYING);
    assert_int_equal(wal_rotate(h.wal), 2);
    struct log_batch *refused = log_submit(&h, 0, STRICT, 50);
    log_settle(&h);
    assert_int_equal(refused->status, TSDB_BUSY);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 1);
    log_settle(&h);
    struct log_batch *taken = log_submit(&h, 0, STRICT, 50);
    log_settle(&h);
    assert_int_equal(taken->status, TSDB_OK);
    log_die(&h, true);
    log_replay(&h, 0, &f);
    assert_null(f.wrong);
    assert_int_equal(f.count, 3);
    assert_int_equal(f.damage_count, 0);
    log_found_deinit(&f);
    log_deinit(&h);
}

/* Moved once, and not durable there either: whoever waits is told, and a third place comes later. */
static void wal_sync_step__second_sync_fails_too__retrying(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_error err;
    log_init(&h, 8);
    log_open(&h);
    struct log_batch *b = log_submit(&h, 0, STRICT, 50);
    for (int i = 0; i < 2; i++) {
        log_write(&h);
        assert_int_equal(wal_state(h.wal, NULL), WAL_READY);
        tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EIO, 1, 1);
        assert_int_equal(log_sync(&h), 0);
        assert_int_equal(b->done, 0);
    }
    log_write(&h);
    assert_int_equal(wal_state(h.wal, &err), WAL_RETRYING);
    log_sync(&h);
    assert_int_equal(b->status, TSDB_BUSY);
    log_settle(&h);
    assert_int_equal(wal_state(h.wal, NULL), WAL_READY);
    log_deinit(&h);
}

/* Attempts come with growing pauses, and a batch that could not be logged is answered at once. */
static void wal_write_step__retrying__pauses_grow(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_stats stats;
    log_init(&h, 6);
    log_open(&h);
    struct log_batch *first = log_submit(&h, 0, STRICT, 50);
    log_write(&h);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EIO, 1, 100000);
    assert_int_equal(log_sync(&h), 0);
    struct log_batch *second = log_submit(&h, 1, BUFFERED, 50);
    assert_int_equal(log_write(&h), 1);
    assert_int_equal(second->status, TSDB_BUSY);
    assert_int_equal(log_sync(&h), 0);
    assert_int_equal(first->status, TSDB_BUSY);
    for (int i = 0; i < 60 * 1000; i++) {
        log_write(&h);
        tsdb_clock_sim_advance(&h.clock, 1);
    }
    wal_stats(h.wal, &stats);
    assert_in_range(stats.retries, 10, 20); /* 0.1, 0.2, ... 3.2, 5, 5, ... seconds apart */
    log_deinit(&h);
}

static void wal_close__retrying__last_attempt_then_read_only(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_error err;
    for (int works = 0; works < 2; works++) {
        log_init(&h, 11);
        log_open(&h);
        tsdb_fs_sim_fault(h.sim, TSDB_FAULT_ENOSPC, 1, 100000);
        struct log_batch *b = log_submit(&h, 0, BUFFERED, 50);
        log_write(&h);
        assert_int_equal(b->status, TSDB_BUSY);
        if (works) {
            tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 1);
        }
        assert_int_equal(wal_close(h.wal, &err), works ? TSDB_OK : TSDB_READ_ONLY);
        h.wal = NULL;
        log_deinit(&h);
    }
}

static void wal_write_step__no_memory_for_the_copy__waits_and_leaves_no_hole(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    struct tsdb_error err;
    log_init(&h, 7);
    log_open(&h);
    struct log_batch *small = log_submit(&h, 0, STRICT, 50);
    log_write(&h); /* no longer: memory that nobody needs is given back */
    log_sync(&h);
    assert_int_equal(small->status, TSDB_OK);
    tsdb_alloc_fail_nth(1, 1);
    /* What fits the memory at hand goes through without an allocation... */
    uint64_t before = tsdb_alloc_fail_count();
    tsdb_alloc_ops_set(NULL);
    struct log_batch *more = log_submit(&h, 0, STRICT, 50);
    tsdb_alloc_fail_nth(1, 1);
    log_settle(&h);
    assert_int_equal(more->status, TSDB_OK);
    assert_int_equal(tsdb_alloc_fail_count(), before);
    tsdb_alloc_ops_set(NULL);
    /* ... and a batch that needs more than there is waits for it: a log that lacks it must not go
     * on. */
    struct log_batch *large = log_submit(&h, 0, STRICT, 2 * WAL_CHUNK_BYTES);
    tsdb_alloc_fail_nth(1, 1);
    log_settle(&h);
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(large->done, 0);
    assert_int_equal(wal_state(h.wal, &err), WAL_RETRYING);
    assert_non_null(strstr(err.msg, "no memory"));
    log_settle(&h);
    assert_int_equal(large->done, 1); /* with OK or BUSY: in the log it is in any case */
    assert_int_equal(wal_state(h.wal, NULL), WAL_READY);
    log_die(&h, true);
    log_replay(&h, 0, &f);
    assert_int_equal(f.count, 3);
    log_found_deinit(&f);
    log_deinit(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal__machine_stops_at_every_operation__acknowledged_batches_are_found),
    cmocka_unit_test(wal__one_operation_fails__written_again_elsewhere),
    cmocka_unit_test(wal__all_operations_fail__retrying_with_a_reason),
    cmocka_unit_test(wal_sync_step__sync_fails__segment_poisoned_and_batches_complete_later),
    cmocka_unit_test(wal__disk_refuses_for_a_while__heals_and_holds_every_batch),
    cmocka_unit_test(wal_rotate__no_descriptor__old_segment_stays_good),
    cmocka_unit_test(wal_open__disk_is_full__retrying_until_it_is_not),
    cmocka_unit_test(wal_sync_step__second_sync_fails_too__retrying),
    cmocka_unit_test(wal_write_step__retrying__pauses_grow),
    cmocka_unit_test(wal_close__retrying__last_attempt_then_read_only),
    cmocka_unit_test(wal_write_step__no_memory_for_the_copy__waits_and_leaves_no_hole),
};
TEST_MAIN(tests)
