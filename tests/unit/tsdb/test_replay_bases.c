/* What floats of the log are packed against, where the head that replays them has newer ones. */
#include "tests/support/test.h"

#include "tsdb/head/head_private.h"
#include "tsdb/recovery/checkpoint.h"
#include "tsdb/recovery/recovery_private.h"
#include "wal/wal_format.h"

#include <stdlib.h>

enum {
    PARTITION = 3
};

struct fixture {
    struct tsdb_epoch *epoch;
    struct partition partition;
    struct tsdb_hash_key key;
    struct checkpoint_info base;
    struct replay_partition replay;
    struct tsdb_arena arena;
    uint64_t log_seq;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_ok(tsdb_epoch_create(4, &f->epoch));
    assert_ok(head_partition_create(PARTITION, f->epoch, 0, &f->partition.head));
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 1u << 16, NULL);
    struct tsdb_label items[1] = {tsdb_label_make(TSDB_METRIC_NAME, "a")};
    struct tsdb_labels labels = {items, 1};
    uint32_t local = 1;
    assert_ok(head_series_create(f->partition.head, &labels, 7, &local, NULL));
    assert_int_equal(local, 0);
    f->base.series[PARTITION] = 1;
    replay_partition_init(&f->replay, PARTITION, &f->partition, &f->key, &f->base);
    f->replay.doubt.believe = true;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    replay_partition_deinit(&f->replay);
    tsdb_arena_deinit(&f->arena);
    head_partition_destroy(f->partition.head);
    tsdb_epoch_destroy(f->epoch);
    free(f);
    return 0;
}

struct item {
    int64_t t_ms;
    double value;
};

/* One frame: each float is packed against the one before; the first against *base, if there is one. */
static void replay(struct fixture *f, uint64_t epoch, const double *base, const struct item *items,
                   uint32_t n)
{
    uint8_t bytes[WAL_FRAME_OVERHEAD_MAX + 16 * WAL_SAMPLE_BYTES_MAX];
    struct wal_encoder e;
    assert_true(n <= 16);
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    f->log_seq++;
    wal_group_begin(&e, WAL_RECORD_SAMPLES, PARTITION, items[0].t_ms, f->log_seq, f->log_seq,
                    epoch);
    for (uint32_t i = 0; i < n; i++) {
        const double *before = i > 0 ? &items[i - 1].value : base;
        wal_encode_float(&e, 0, items[i].t_ms, 0, tsdb_double_bits(items[i].value), before != NULL,
                         before ? tsdb_double_bits(*before) : 0);
    }
    wal_frame_end(&e);
    struct wal_groups groups = {.pos = bytes + WAL_FRAME_HEADER_BYTES,
                                .end = bytes + WAL_FRAME_HEADER_BYTES +
                                       tsdb_load_le32(bytes + WAL_FRAME_AT_LEN)};
    struct wal_group g;
    assert_true(wal_groups_next(&groups, &g));
    struct wal_frame frame = {.type = WAL_RECORD_SAMPLES,
                              .partition = PARTITION,
                              .len = (uint32_t)g.body.len,
                              .payload = g.body.data,
                              .time_ms = g.time_ms};
    replay_frame(&f->replay, 1, &frame);
    assert_ok(f->replay.status);
}

static void assert_has(struct fixture *f, const struct item *items, uint32_t n)
{
    struct tsdb_columns c = {0};
    struct tsdb_error err = {0};
    assert_ok_err(
        head_read(f->partition.head, 0, TSDB_TIME_ALL, HEAD_VIEW_NONE, &f->arena, &c, &err), &err);
    assert_int_equal(c.count, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(c.t_ms[i], items[i].t_ms);
        assert_true(c.bits[i] == tsdb_double_bits(items[i].value));
    }
}

static const struct item in_order[] = {{1000, 0.1}, {2000, 1e300}, {3000, 7}};

static void replay__late_between_packed_ones__all_are_what_they_were(void **state)
{
    struct fixture *f = *state;
    static const struct item late[] = {{1500, 123.456789}, {1600, 123.456788}, {4000, 123.456787}};
    static const struct item again[] = {{1700, 0.3}};
    static const struct item all[] = {{1000, 0.1},        {1500, 123.456789}, {1600, 123.456788},
                                      {1700, 0.3},        {2000, 1e300},      {3000, 7},
                                      {4000, 123.456787}, {5000, 0.5}};
    replay(f, 1, NULL, in_order, 3);
    replay(f, 1, &in_order[2].value, late, 3);
    replay(f, 1, &late[2].value, again, 1);
    replay(f, 1, &again[0].value, &all[7], 1);
    assert_has(f, all, 8);
    assert_int_equal(f->replay.dropped_samples, 0);
}

static void replay__head_has_newer_ones__repeats_are_bases(void **state)
{
    struct fixture *f = *state;
    static const struct item all[] = {{1000, 0.1}, {2000, 1e300}, {3000, 7}, {4000, 7.25}};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(head_append(f->partition.head, 0, in_order[i].t_ms, 0, TSDB_SAMPLE_FLOAT,
                                     tsdb_double_bits(in_order[i].value)),
                         HEAD_APPENDED);
    }
    replay(f, 1, NULL, all, 4);
    assert_has(f, all, 4);
    assert_int_equal(f->replay.conflicts, 0);
    assert_int_equal(f->replay.dropped_samples, 0);
}

static void replay__base_of_another_epoch__is_none(void **state)
{
    struct fixture *f = *state;
    static const struct item late[] = {{1500, 123.456789}};
    static const struct item next[] = {{1600, 123.456788}};
    replay(f, 1, NULL, in_order, 3);
    replay(f, 1, &in_order[2].value, late, 1);
    replay(f, 2, &late[0].value, next, 1);
    assert_int_equal(f->replay.dropped_samples, 1);
    replay(f, 2, NULL, next, 1);
    assert_int_equal(f->replay.dropped_samples, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(replay__late_between_packed_ones__all_are_what_they_were),
        T(replay__head_has_newer_ones__repeats_are_bases),
        T(replay__base_of_another_epoch__is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
