/* Recovery needs no more memory than what it recovers needed, and leaves it as it was. */
#include "tests/unit/tsdb/blocks_rig.h"

#include <stdlib.h>

#define T0     (HX_WALL_MS / RANGE * RANGE)
#define SERIES 40u
#define WRITES 60u
#define EACH   40u

/* A table of allocations that notes how much the heads hold at most. */
static uint64_t peak_bytes;

static void note(void)
{
    uint64_t used = tsdb_mem_used(TSDB_MEM_HEAD);
    peak_bytes = used > peak_bytes ? used : peak_bytes;
}

static void *note_alloc(void *ctx, size_t align, size_t bytes)
{
    (void)ctx;
    note();
    return align > 16 ? aligned_alloc(align, (bytes + align - 1) / align * align) : malloc(bytes);
}

static void *note_realloc(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    note();
    return realloc(p, bytes);
}

static void note_free(void *ctx, void *p)
{
    (void)ctx;
    note();
    free(p);
}

static void note_begin(void)
{
    static const struct tsdb_alloc_ops ops = {note_alloc, note_realloc, note_free, NULL};
    peak_bytes = 0;
    tsdb_alloc_ops_set(&ops);
}

static uint64_t note_end(void)
{
    tsdb_alloc_ops_set(NULL);
    return peak_bytes;
}

static void open_small(struct hx *h)
{
    h->options.wal_segment_bytes = 32u << 10;
    h->options.replay_seal_chunks = 16;
    assert_ok(hx_close(h, NULL));
    rig_open(h);
}

/* As time goes on: every series, again and again, the sealer behind. */
static void fill(struct hx *h)
{
    for (uint32_t w = 0; w < WRITES; w++) {
        for (uint32_t i = 0; i < SERIES; i++) {
            put_many(h, i, T0 + w * EACH * 100 + i, 100, EACH);
        }
        while (tsdb_seal_step(h->db, h->clock.mono_ns) > 0) {
            hx_settle(h);
        }
    }
}

static uint32_t raw_pending(struct hx *h)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        n += head_raw_pending(h->db->heads[i]);
    }
    return n;
}

static void tsdb_open__long_log__peak_as_while_it_was_written(void **state)
{
    struct hx *h = *state;
    open_small(h);
    note_begin();
    fill(h);
    uint64_t peak_before = note_end();
    uint64_t used_before = tsdb_mem_used(TSDB_MEM_HEAD);
    uint64_t before = hash_all(h);
    for (int i = 0; i < 2;
         i++) { /* from the log alone, with head files of before that lie around */
        hx_die(h, i == 1);
        note_begin();
        rig_open(h);
        uint64_t peak = note_end();
        assert_true(peak < peak_before + peak_before / 5);
        assert_true(tsdb_mem_used(TSDB_MEM_HEAD) < used_before + used_before / 5);
        assert_true(raw_pending(h) < 16 + SERIES);
        assert_int_equal(hash_all(h), before);
    }
    assert_ok(tsdb_checkpoint(h->db, NULL));
    hx_die(h, true);
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

static void tsdb_open__long_log_head_files_not_writable__starts_all_the_same(void **state)
{
    struct hx *h = *state;
    open_small(h);
    fill(h);
    uint64_t before = hash_all(h);
    for (uint64_t op = 1; op < 30; op++) {
        hx_die(h, false);
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_ENOSPC, op, 3);
        struct tsdb_error err = {0};
        enum tsdb_status status = hx_open(h, &err);
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 0);
        if (status == TSDB_OK) {
            assert_int_equal(hash_all(h), before);
        }
    }
    hx_die(h, false);
    rig_open(h);
    assert_int_equal(hash_all(h), before);
    flush(h);
    assert_int_equal(hash_all(h), before);
}

#define T(name) RIG_CASE(name)

static const struct CMUnitTest tests[] = {
    T(tsdb_open__long_log__peak_as_while_it_was_written),
    T(tsdb_open__long_log_head_files_not_writable__starts_all_the_same),
};

TEST_MAIN(tests)
