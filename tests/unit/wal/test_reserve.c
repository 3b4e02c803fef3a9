/* The log's reserve on a simulated disk that fills up: writes go on in its room, nothing acknowledged is
 * lost, and it comes back when there is room. */
#include "tests/support/test.h"

#include "tests/unit/wal/log_harness.h"

#define RESERVE UINT64_C(100000)
#define ABOVE   UINT64_C(20000)

static struct log_harness *begin(void **state, uint64_t seed)
{
    struct log_harness *h = *state;
    log_init(h, seed);
    h->options.reserve_bytes = RESERVE;
    h->options.reserve_above_bytes = ABOVE;
    return h;
}

static int setup(void **state)
{
    static struct log_harness h;
    *state = &h;
    return 0;
}

static int teardown(void **state)
{
    log_deinit(*state);
    return 0;
}

static uint64_t reserve(struct log_harness *h)
{
    struct wal_stats s;
    wal_stats(h->wal, &s);
    return s.reserve_bytes;
}

/* 0: there is no such file. */
static uint64_t reserve_on_disk(struct log_harness *h)
{
    struct tsdb_file_info info = {0};
    return h->fs.ops->stat(h->fs.ctx, "wal/" WAL_RESERVE_NAME, &info, NULL) == TSDB_OK
               ? info.size_bytes
               : 0;
}

/* Is a strict batch acknowledged? */
static bool put(struct log_harness *h)
{
    struct log_batch *b = log_submit(h, h->batch_count % 2, TSDB_DURABILITY_STRICT, 700);
    for (int i = 0; i < 4 && b->done == 0; i++) {
        log_write(h);
        log_sync(h);
    }
    tsdb_clock_sim_advance(&h->clock, 100);
    return b->done == 1 && b->status == TSDB_OK;
}

static void check_all_found(struct log_harness *h, bool power_cut)
{
    struct log_found f;
    log_die(h, power_cut);
    log_replay(h, 0, &f);
    assert_null(f.wrong);
    for (uint32_t i = 0; i < h->batch_count; i++) {
        const struct log_batch *b = &h->batches[i];
        assert_true(b->status != TSDB_OK || f.found[b->owner][b->seq]);
    }
    log_found_deinit(&f);
}

static void full(void **state, uint64_t seed, bool power_cut)
{
    struct log_harness *h = begin(state, seed);
    uint32_t in_reserve = 0;
    log_open(h);
    log_settle(h);
    assert_int_equal(reserve(h), RESERVE);
    tsdb_fs_sim_capacity(h->sim, tsdb_fs_sim_used(h->sim) + 3000);
    while (put(h)) {
        in_reserve += reserve(h) == 0;
    }
    /* Segments of 4 KiB with five batches; some of the room goes to zeroes ahead. */
    assert_in_range(in_reserve, RESERVE / 2 / 800, RESERVE / 700);
    assert_int_equal(reserve_on_disk(h), 0);
    assert_true(wal_out_of_space(h->wal));
    assert_false(put(h));
    /* Room for a header, and not for more: it does not go to and fro. */
    tsdb_fs_sim_capacity(h->sim, tsdb_fs_sim_used(h->sim) + h->options.segment_bytes - 1);
    for (int i = 0; i < 20; i++) {
        tsdb_clock_sim_advance(&h->clock, 10000);
        log_write(h);
        log_sync(h);
        assert_true(wal_out_of_space(h->wal));
    }
    /* Room for the log alone: no reserve yet. */
    tsdb_fs_sim_capacity(h->sim, tsdb_fs_sim_used(h->sim) + RESERVE);
    tsdb_clock_sim_advance(&h->clock, 10000);
    log_write(h);
    assert_int_equal(wal_state(h->wal, NULL), WAL_READY);
    assert_true(put(h));
    log_settle(h);
    assert_int_equal(reserve(h), 0);
    tsdb_fs_sim_capacity(h->sim, tsdb_fs_sim_used(h->sim) + RESERVE + ABOVE);
    log_settle(h);
    assert_int_equal(reserve(h), RESERVE);
    assert_true(put(h));
    check_all_found(h, power_cut);
    log_deinit(h);
}

static void wal__disk_full__goes_on_in_the_reserve_and_heals(void **state)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        full(state, seed, seed % 2 != 0);
    }
    begin(state, 1);
}

/* A start on a full disk takes writes, too. */
static void wal_open__disk_full__reserve_of_a_killed_process_is_used(void **state)
{
    struct log_harness *h = begin(state, 3);
    log_open(h);
    log_settle(h);
    assert_true(put(h));
    log_die(h, false);
    tsdb_fs_sim_capacity(h->sim, tsdb_fs_sim_used(h->sim));
    h->options.segment_first = 100;
    log_open(h);
    assert_int_equal(wal_state(h->wal, NULL), WAL_READY);
    assert_int_equal(reserve_on_disk(h), 0);
    assert_true(put(h));
}

static enum tsdb_status takes_no_room(void *ctx, struct tsdb_file *f, uint64_t size,
                                      struct tsdb_error *err)
{
    (void)ctx;
    (void)f;
    (void)size;
    return tsdb_error_set(err, TSDB_UNSUPPORTED, "not offered");
}

/* And by writing it, a MiB a step, where the file system takes no room otherwise. */
static void wal_open__reserve_of_another_size__made_anew(void **state)
{
    struct log_harness *h = begin(state, 4);
    struct tsdb_fs_ops ops = *h->options.fs->ops;
    struct tsdb_fs fs = {&ops, h->options.fs->ctx};
    ops.preallocate = takes_no_room;
    log_open(h);
    log_settle(h);
    log_die(h, false);
    assert_int_equal(reserve_on_disk(h), RESERVE);
    h->options.segment_first = 100;
    h->options.reserve_bytes = 3 * WAL_GROW_BYTES;
    h->options.fs = &fs;
    log_open(h);
    assert_int_equal(reserve(h), 0);
    log_sync(h);
    log_sync(h);
    assert_int_equal(reserve_on_disk(h), WAL_GROW_BYTES);
    assert_int_equal(reserve(h), 0);
    log_settle(h);
    assert_int_equal(reserve(h), 3 * WAL_GROW_BYTES);
    log_die(h, false);
    h->options.segment_first = 200;
    h->options.reserve_bytes = 0;
    log_open(h);
    assert_int_equal(reserve_on_disk(h), 0);
    log_die(h, false); /* before its file table goes */
}

static void wal_close__reserve_is_gone(void **state)
{
    struct log_harness *h = begin(state, 5);
    log_open(h);
    log_settle(h);
    assert_int_equal(reserve_on_disk(h), RESERVE);
    assert_ok(wal_close(h->wal, NULL));
    h->wal = NULL;
    assert_int_equal(reserve_on_disk(h), 0);
}

/* Making it fails in the middle: the log does not notice, and it is made later. */
static void wal_sync_step__no_room_while_it_is_made__tried_again(void **state)
{
    struct log_harness *h = begin(state, 6);
    h->options.reserve_bytes = 4 * WAL_GROW_BYTES;
    log_open(h);
    assert_true(put(h));
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_ENOSPC, 3, 1);
    log_settle(h);
    assert_int_equal(reserve(h), 4 * WAL_GROW_BYTES);
    assert_int_equal(wal_state(h->wal, NULL), WAL_READY);
    assert_true(put(h));
    check_all_found(h, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    TEST(wal__disk_full__goes_on_in_the_reserve_and_heals),
    TEST(wal_open__disk_full__reserve_of_a_killed_process_is_used),
    TEST(wal_open__reserve_of_another_size__made_anew),
    TEST(wal_close__reserve_is_gone),
    TEST(wal_sync_step__no_room_while_it_is_made__tried_again),
};

TEST_MAIN(tests)
