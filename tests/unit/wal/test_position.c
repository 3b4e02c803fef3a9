/* wal/POSITION: a last segment that is missing or cut is noticed. */
#include "tests/support/test.h"

#include "tests/unit/wal/log_harness.h"

#define BUFFERED TSDB_DURABILITY_BUFFERED
#define STRICT   TSDB_DURABILITY_STRICT

/* Read the whole log; is something lost? */
static bool lost(struct log_harness *h, uint64_t from, struct wal_lost *out, uint64_t *out_next)
{
    struct wal_replay_options o = {.fs = &h->fs, .dir = "wal", .segment_from = from};
    struct wal_replay *r = NULL;
    struct wal_segment_view view;
    enum tsdb_status status = TSDB_OK;
    assert_ok(wal_replay_open(&o, &r, NULL));
    while (status == TSDB_OK) {
        status = wal_replay_segment(r, &view, NULL);
    }
    assert_int_equal(status, TSDB_NOT_FOUND);
    bool is = wal_replay_lost(r, out);
    *out_next = wal_replay_next(r);
    wal_replay_close(r);
    return is;
}

static void put(struct log_harness *h, uint32_t batches)
{
    for (uint32_t i = 0; i < batches; i++) {
        log_submit(h, 0, STRICT, 600);
        log_write(h);
        log_sync(h);
    }
}

static struct wal_position position(struct log_harness *h)
{
    struct wal_position p;
    assert_ok(wal_position_read(&h->fs, "wal", &p, NULL));
    return p;
}

static void cut(struct log_harness *h, uint64_t segment, uint64_t size)
{
    char path[WAL_PATH_MAX];
    struct tsdb_file *f = NULL;
    wal_segment_path(path, "wal", segment);
    assert_ok(h->fs.ops->open(h->fs.ctx, path, TSDB_OPEN_WRITE, &f, NULL));
    assert_ok(h->fs.ops->truncate(h->fs.ctx, f, size, NULL));
    h->fs.ops->close(h->fs.ctx, f);
}

static void remove_segment(struct log_harness *h, uint64_t segment)
{
    char path[WAL_PATH_MAX];
    wal_segment_path(path, "wal", segment);
    assert_ok(h->fs.ops->unlink(h->fs.ctx, path, NULL));
}

static void closed_log(struct log_harness *h)
{
    log_init(h, 1);
    log_open(h);
    put(h, 20); /* some four segments */
    assert_ok(wal_close(h->wal, NULL));
    h->wal = NULL;
}

static void wal_replay_lost__whole_log__nothing(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_lost l;
    uint64_t next;
    closed_log(&h);
    struct wal_position p = position(&h);
    assert_true(p.segment >= 3 && p.offset > 48);
    assert_false(lost(&h, 0, &l, &next));
    assert_int_equal(next, p.segment + 1);
    assert_false(lost(&h, p.segment + 1, &l, &next)); /* a checkpoint covers all */
    log_deinit(&h);
}

static void wal_replay_lost__last_segment_cut_anywhere__the_stretch_is_named(void **state)
{
    (void)state;
    struct log_harness h;
    closed_log(&h);
    struct wal_position p = position(&h);
    for (uint64_t size = p.offset; size-- > 0;) {
        struct wal_lost l;
        uint64_t next;
        cut(&h, p.segment, size);
        assert_true(lost(&h, 0, &l, &next));
        assert_int_equal(l.segment_from, p.segment);
        assert_int_equal(l.segment_to, p.segment);
        assert_true(l.from <= size || l.from == 48);
        assert_int_equal(l.to, p.offset);
        assert_int_equal(l.wall_ms, p.wall_ms);
        assert_int_equal(next, p.segment + 1);
    }
    log_deinit(&h);
}

static void wal_replay_lost__last_segments_missing__they_are_named(void **state)
{
    (void)state;
    struct log_harness h;
    closed_log(&h);
    struct wal_position p = position(&h);
    for (uint64_t gone = p.segment; gone > 0; gone--) {
        struct wal_lost l;
        uint64_t next;
        remove_segment(&h, gone);
        assert_true(lost(&h, 0, &l, &next));
        assert_int_equal(l.segment_from, gone);
        assert_int_equal(l.segment_to, p.segment);
        assert_int_equal(l.from, 0);
        assert_int_equal(l.to, p.offset);
        assert_int_equal(next, p.segment + 1); /* the number is not used again */
    }
    log_deinit(&h);
}

/* A kill or a power cut at any file operation: nothing that was synced is missing, so nothing may be
 * said to be. */
static void wal_position_step__stopped_anywhere__never_leads(void **state)
{
    (void)state;
    bool more = true;
    for (uint64_t op = 1; more; op++) {
        for (int power = 0; power < 2; power++) {
            struct log_harness h;
            struct wal_lost l;
            uint64_t next;
            log_init(&h, op);
            log_open(&h);
            uint64_t begin = tsdb_fs_sim_op_count(h.sim);
            tsdb_fs_sim_fault(h.sim, TSDB_FAULT_HALT, op, 1);
            for (uint32_t i = 0; i < 14; i++) {
                log_submit(&h, i % 2, i % 3 ? STRICT : BUFFERED, 600);
                log_write(&h);
                log_sync(&h);
                h.clock.mono_ns += 400000000;
            }
            more = tsdb_fs_sim_op_count(h.sim) - begin >= op;
            wal_abandon(h.wal);
            h.wal = NULL;
            if (power) {
                tsdb_fs_sim_crash(h.sim);
            } else {
                tsdb_fs_sim_kill(h.sim);
            }
            assert_false(lost(&h, 0, &l, &next));
            log_deinit(&h);
        }
    }
}

/* It is not written for each sync; and one that fails costs the notice only. */
static void wal_position_step__many_syncs__once_a_second_and_at_a_turn(void **state)
{
    (void)state;
    struct log_harness h;
    log_init(&h, 3);
    h.options.segment_bytes = 1 << 16;
    log_open(&h);
    put(&h, 1);
    struct wal_position first = position(&h);
    assert_int_equal(first.sequence, 1);
    put(&h, 10);
    assert_int_equal(position(&h).sequence, 1);
    h.clock.mono_ns += 1000000000;
    put(&h, 10);
    struct wal_position p = position(&h);
    assert_int_equal(p.sequence, 2);
    assert_true(p.offset > first.offset);
    wal_rotate(h.wal);
    put(&h, 2);
    assert_int_equal(position(&h).sequence, 3);
    assert_int_equal(position(&h).segment, p.segment + 1);
    assert_ok(wal_close(h.wal, NULL));
    h.wal = NULL;
    assert_int_equal(position(&h).sequence, 4);
    log_deinit(&h);
}

static void wal_position_read__slots_torn_or_newer__the_other_or_unsupported(void **state)
{
    (void)state;
    struct log_harness h;
    closed_log(&h);
    struct wal_position p = position(&h);
    uint8_t *data = NULL;
    size_t len = 0;
    assert_ok(tsdb_file_read_all(&h.fs, "wal/POSITION", 4096, TSDB_MEM_OTHER, &data, &len, NULL));
    uint8_t *slot = data + p.sequence % 2 * 512;
    for (uint32_t i = 0; i < 64; i++) {
        slot[i] ^= 0x10;
        assert_ok(tsdb_file_replace(&h.fs, "wal/POSITION", data, len, NULL));
        assert_int_equal(position(&h).sequence, p.sequence - 1);
        slot[i] ^= 0x10;
    }
    slot[8]++;
    tsdb_store_le32(slot + 60, tsdb_crc32c(0, slot, 60));
    assert_ok(tsdb_file_replace(&h.fs, "wal/POSITION", data, len, NULL));
    struct wal_replay_options o = {.fs = &h.fs, .dir = "wal"};
    struct wal_replay *r = NULL;
    struct tsdb_error err;
    assert_int_equal(wal_replay_open(&o, &r, &err), TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "version 2"));
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    log_deinit(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal_replay_lost__whole_log__nothing),
    cmocka_unit_test(wal_replay_lost__last_segment_cut_anywhere__the_stretch_is_named),
    cmocka_unit_test(wal_replay_lost__last_segments_missing__they_are_named),
    cmocka_unit_test(wal_position_step__stopped_anywhere__never_leads),
    cmocka_unit_test(wal_position_step__many_syncs__once_a_second_and_at_a_turn),
    cmocka_unit_test(wal_position_read__slots_torn_or_newer__the_other_or_unsupported),
};

TEST_MAIN(tests)
