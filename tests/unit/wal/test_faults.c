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

/* NULL, or what is wrong with what a new process finds. strict_only: buffered batches may be lost.
 */
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
    bool read_only = wal_read_only(h.wal, &err);
    if (read_only) {
        assert_int_equal(err.status, TSDB_READ_ONLY);
        assert_non_null(strstr(err.msg, "takes no more writes"));
        assert_non_null(strstr(err.msg, "wal")); /* and names the file that failed */
    }
    bool working = !read_only;
    for (uint32_t i = 0; i < h.batch_count; i++) {
        working = working && h.batches[i].status == TSDB_OK;
    }
    log_die(&h, power_cut);
    log_replay(&h, 0, &f);
    /* When a sync fails, the kernel may drop the pages; when the copy cannot be written elsewhere
     * either, buffered batches are gone even without a power cut. That is what read-only says. */
    const char *wrong = judge(&h, &f, power_cut || (read_only && fault == TSDB_FAULT_EIO));
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

static void wal__all_operations_fail__read_only_with_a_reason(void **state)
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

/* Moved once, and not durable there either: no third place is tried. */
static void wal_sync_step__second_sync_fails_too__read_only(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_error err;
    log_init(&h, 8);
    log_open(&h);
    struct log_batch *b = log_submit(&h, 0, STRICT, 50);
    for (int i = 0; i < 2; i++) {
        log_write(&h);
        assert_false(wal_read_only(h.wal, NULL));
        tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EIO, 1, 1);
        assert_int_equal(log_sync(&h), 0);
        assert_int_equal(b->done, 0);
    }
    log_write(&h);
    assert_true(wal_read_only(h.wal, &err));
    log_sync(&h);
    assert_int_equal(b->status, TSDB_READ_ONLY);
    log_deinit(&h);
}

static void wal_write_step__read_only__every_batch_completes_with_it(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_error err;
    log_init(&h, 6);
    log_open(&h);
    struct log_batch *first = log_submit(&h, 0, STRICT, 50);
    log_write(&h);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_EIO, 1, 100000);
    assert_int_equal(log_sync(&h), 0);
    assert_false(wal_read_only(h.wal, NULL));
    struct log_batch *second = log_submit(&h, 1, BUFFERED, 50);
    assert_int_equal(log_write(&h), 1);
    assert_true(wal_read_only(h.wal, &err));
    assert_int_equal(second->status, TSDB_READ_ONLY);
    assert_int_equal(log_sync(&h), 0);
    assert_int_equal(first->status, TSDB_READ_ONLY);
    tsdb_fs_sim_fault(h.sim, TSDB_FAULT_NONE, 1, 1);
    struct log_batch *third = log_submit(&h, 0, STRICT, 50);
    log_settle(&h);
    assert_int_equal(third->status, TSDB_READ_ONLY); /* for good, even if the disk works again */
    assert_int_equal(wal_close(h.wal, &err), TSDB_READ_ONLY);
    h.wal = NULL;
    log_deinit(&h);
}

static void wal_write_step__no_memory_for_the_copy__bounded_and_clean(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_error err;
    log_init(&h, 7);
    log_open(&h);
    struct log_batch *small = log_submit(&h, 0, STRICT, 50);
    log_settle(&h);
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
    /* ... and a batch that needs more than there is must not leave a hole in the log. */
    struct log_batch *large = log_submit(&h, 0, STRICT, 2 * WAL_CHUNK_BYTES);
    tsdb_alloc_fail_nth(1, 1);
    log_settle(&h);
    tsdb_alloc_ops_set(NULL);
    assert_int_equal(large->status, TSDB_READ_ONLY);
    assert_true(wal_read_only(h.wal, &err));
    log_deinit(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal__machine_stops_at_every_operation__acknowledged_batches_are_found),
    cmocka_unit_test(wal__one_operation_fails__written_again_elsewhere),
    cmocka_unit_test(wal__all_operations_fail__read_only_with_a_reason),
    cmocka_unit_test(wal_sync_step__sync_fails__segment_poisoned_and_batches_complete_later),
    cmocka_unit_test(wal_sync_step__second_sync_fails_too__read_only),
    cmocka_unit_test(wal_write_step__read_only__every_batch_completes_with_it),
    cmocka_unit_test(wal_write_step__no_memory_for_the_copy__bounded_and_clean),
};
TEST_MAIN(tests)
