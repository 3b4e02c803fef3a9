/* A snapshot in the middle of other work, stopped at every file operation, by a kill and by a power
 * cut: the directory opens and holds what was acknowledged, and what has the name of a snapshot is
 * whole. */
#include "tests/support/test.h"

#include "tests/support/tsdb/restore.h"

static void begin(struct scene *s)
{
    scene_begin(s, 77);
    s->h.options.wal_segment_bytes = 1u << 12;
    s->h.options.wal_epoch_bytes = 1u << 10;
    s->h.options.block_range_ms = 4000;
    s->h.options.head_file_bytes_max = 600;
}

static void run(struct scene *s)
{
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    if (hx_open(&s->h, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t i = 0; i < 4; i++) {
        scene_put(s, 20, 10, 30, (enum tsdb_durability)(i % 3));
        tsdb_clock_sim_advance(&s->h.clock, 4000);
        if (i % 2 == 0) {
            (void)!tsdb_flush(s->h.db, NULL);
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (tsdb_snapshot(s->h.db, i == 1, name, NULL) == TSDB_OK && i == 0) {
            mx_durable(&s->m, true); /* its checkpoint is */
        }
        scene_put(s, 20, 10, 30, TSDB_DURABILITY_BUFFERED);
    }
}

static enum tsdb_status take_name(void *arg, const char *name, bool is_dir)
{
    struct scene *s = arg;
    if (!is_dir || strstr(name, ".tmp")) {
        mx_fail(&s->m, "snapshots/%s is left over", name);
    } else {
        restore_verify(&s->h, name);
    }
    return TSDB_OK;
}

static void check(struct scene *s, bool cut)
{
    const struct tsdb_fs *fs = &s->h.options.fs;
    if (scene_reopen(s, cut)) {
        (void)!fs->ops->list(fs->ctx, "snapshots", take_name, s, NULL);
    }
}

static void snapshot__stopped_at_every_file_operation__whole_or_not_there(void **state)
{
    static const struct scene_play play = {begin, run, check};
    uint64_t ops = scene_play_whole(*state, &play);
    struct scene *s = *state;
    assert_int_equal(restore_count(&s->h), 2);
    scene_end(s);
    assert_true(ops > 100);
    scene_play_stopped(*state, &play, ops);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

static const struct CMUnitTest tests[] = {
    TEST(snapshot__stopped_at_every_file_operation__whole_or_not_there),
};

TEST_MAIN(tests)
