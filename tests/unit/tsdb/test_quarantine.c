#include "tsdb/block/quarantine.h"

#include "tests/support/test.h"

#include <stdio.h>

static void quarantine_name_read__each_kind__what_and_when(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *why; /* a part of it; NULL: not one of ours */
        int64_t moved_ms;
    } cases[] = {
        {"01HF7YAT00ABCDEFGHJKMNPQRS", "block", INT64_MIN},
        {"tombstones-01HF7YAT00ABCDEFGHJKMNPQRS-1700000000001", "tombstones", 1700000000001},
        {"head-1700000000002-00000007", "head file", 1700000000002},
        {"checkpoint-1700000000003-00000001", "checkpoint", 1700000000003},
        {"wal-1700000000004-00000012", "log", 1700000000004},
        {"series.log-1700000000005-4096", "series.log", 1700000000005},
        {"series.log-1700000000006-next", "series.log", 1700000000006},
        {"repair-1700000000007", "repair", 1700000000007},
        {"head-", NULL, INT64_MIN},
        {"head-x-1", NULL, INT64_MIN},
        {"tombstones-", NULL, INT64_MIN},
        {"wal-99999999999999999999-1", NULL, INT64_MIN},
        {"wal-18446744073709551615-1", NULL, INT64_MIN},
        {"01hf7yat00abcdefghjkmnpqrs", NULL, INT64_MIN},
        {"notes.txt", NULL, INT64_MIN},
        {"", NULL, INT64_MIN},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct quarantine_item item = {.why = "old", .moved_ms = 1};
        snprintf(item.name, sizeof item.name, "%s", cases[i].name);
        quarantine_name_read(&item);
        if (!cases[i].why) {
            assert_null(item.why);
        } else {
            assert_non_null(item.why);
            assert_non_null(strstr(item.why, cases[i].why));
        }
        assert_int_equal(item.moved_ms, cases[i].moved_ms);
    }
}

static void put(const struct tsdb_fs *fs, const char *path, size_t len)
{
    static const uint8_t zeroes[100];
    struct tsdb_file *f = NULL;
    assert_ok(fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, NULL));
    assert_ok(fs->ops->pwrite(fs->ctx, f, zeroes, len, 0, NULL));
    fs->ops->close(fs->ctx, f);
}

static enum tsdb_status count(void *arg, const struct quarantine_item *item, struct tsdb_error *err)
{
    uint32_t *n = arg;
    (void)item;
    (*n)++;
    return *n == 2 ? tsdb_error_set(err, TSDB_CANCELLED, "enough") : TSDB_OK;
}

static void quarantine_measure__nothing_files_and_trees__adds_up(void **state)
{
    (void)state;
    struct tsdb_fs fs;
    struct tsdb_fs_sim *sim = NULL;
    uint64_t files = 9, bytes = 9;
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    assert_ok(quarantine_measure(&fs, &files, &bytes, NULL)); /* no such directory */
    assert_int_equal(files, 0);
    assert_int_equal(bytes, 0);
    assert_ok(fs.ops->mkdir(fs.ctx, "quarantine", NULL));
    put(&fs, "quarantine/head-1700000000002-00000007", 10);
    assert_ok(fs.ops->mkdir(fs.ctx, "quarantine/repair-1", NULL));
    assert_ok(fs.ops->mkdir(fs.ctx, "quarantine/repair-1/block", NULL));
    put(&fs, "quarantine/repair-1/wal-00000003", 20);
    put(&fs, "quarantine/repair-1/block/meta.json", 40);
    put(&fs, "elsewhere", 80);
    assert_ok(quarantine_measure(&fs, &files, &bytes, NULL));
    assert_int_equal(files, 3);
    assert_int_equal(bytes, 70);
    uint32_t seen = 0;
    assert_int_equal(quarantine_walk(&fs, count, &seen, NULL), TSDB_CANCELLED);
    assert_int_equal(seen, 2);
    /* Deeper than any tree of ours: an end, not a crash. */
    char path[128] = "quarantine/x";
    for (uint32_t i = 0; i < 20; i++) {
        assert_ok(fs.ops->mkdir(fs.ctx, path, NULL));
        strcat(path, "/x");
    }
    assert_ok(quarantine_measure(&fs, &files, &bytes, NULL));
    assert_int_equal(files, 3);
    tsdb_fs_sim_destroy(sim);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(quarantine_name_read__each_kind__what_and_when),
    cmocka_unit_test(quarantine_measure__nothing_files_and_trees__adds_up),
};

TEST_MAIN(tests)
