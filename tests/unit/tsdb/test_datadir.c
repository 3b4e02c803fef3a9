#include "tests/support/test.h"

#include "base/crc32c.h"
#include "tsdb/recovery/datadir.h"

#include <stdio.h>

struct disk {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_prng prng;
    struct tsdb_random random;
};

static int setup(void **state)
{
    struct disk *d = test_calloc(1, sizeof *d);
    tsdb_prng_init(&d->prng, 7);
    d->random = tsdb_random_seeded(&d->prng);
    *state = d;
    return tsdb_fs_sim_create(1, &d->sim, &d->fs) == TSDB_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct disk *d = *state;
    tsdb_fs_sim_destroy(d->sim);
    test_free(d);
    return 0;
}

static void put_file(struct disk *d, const char *path, const void *data, size_t len)
{
    struct tsdb_file *f = NULL;
    assert_ok(d->fs.ops->open(d->fs.ctx, path,
                              TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &f, NULL));
    assert_ok(d->fs.ops->pwrite(d->fs.ctx, f, data, len, 0, NULL));
    d->fs.ops->close(d->fs.ctx, f);
}

static bool exists(struct disk *d, const char *path)
{
    struct tsdb_file_info info;
    return d->fs.ops->stat(d->fs.ctx, path, &info, NULL) == TSDB_OK;
}

static void datadir_version_print__known_seed__golden_text(void **state)
{
    (void)state;
    uint8_t seed[TSDB_HASH_SEED_BYTES], back[TSDB_HASH_SEED_BYTES];
    for (uint8_t i = 0; i < sizeof seed; i++) {
        seed[i] = i;
    }
    char text[DATADIR_VERSION_MAX];
    size_t len = datadir_version_print(seed, text);
    /* The bytes of docs/format/data-directory.md. */
    static const char golden[] =
        "tidalite data directory\n"
        "format 2\n"
        "partitions 64\n"
        "placement 1\n"
        "hash_seed 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
        "crc32c f200be76\n";
    assert_int_equal(len, sizeof golden - 1);
    assert_memory_equal(text, golden, len);
    assert_ok(datadir_version_parse((const uint8_t *)golden, sizeof golden - 1, back, NULL));
    assert_memory_equal(back, seed, sizeof seed);
}

static void datadir_version_parse__every_byte_changed_or_cut__refused(void **state)
{
    (void)state;
    uint8_t seed[TSDB_HASH_SEED_BYTES] = {9}, back[TSDB_HASH_SEED_BYTES];
    char text[DATADIR_VERSION_MAX];
    size_t len = datadir_version_print(seed, text);
    for (size_t i = 0; i < len; i++) {
        assert_int_not_equal(datadir_version_parse((uint8_t *)text, i, back, NULL), TSDB_OK);
        for (unsigned bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ (1 << bit));
            assert_int_not_equal(datadir_version_parse((uint8_t *)text, len, back, NULL), TSDB_OK);
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    }
    text[len] = 'x';
    assert_int_not_equal(datadir_version_parse((uint8_t *)text, len + 1, back, NULL), TSDB_OK);
}

static void datadir_version_parse__later_format__unsupported_whatever_follows(void **state)
{
    (void)state;
    static const char text[] = "tidalite data directory\nformat 12\nanything at all\n";
    uint8_t back[TSDB_HASH_SEED_BYTES];
    struct tsdb_error err;
    assert_int_equal(datadir_version_parse((const uint8_t *)text, sizeof text - 1, back, &err),
                     TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "format 12"));
}

/* The text of VERSION with one of its lines replaced and the CRC made anew; the length. */
static size_t version_with(const char *line, const char *other, char *out)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES] = {9};
    char text[DATADIR_VERSION_MAX];
    size_t len = datadir_version_print(seed, text);
    text[len] = 0;
    char *at = strstr(text, line);
    char *crc_line = strstr(text, "crc32c ");
    assert_non_null(at);
    assert_non_null(crc_line);
    *at = *crc_line = 0;
    int n = snprintf(out, DATADIR_VERSION_MAX, "%s%s%s", text, other, at + strlen(line));
    uint32_t crc = tsdb_crc32c(0, out, (size_t)n);
    n += snprintf(out + n, DATADIR_VERSION_MAX - (size_t)n, "crc32c %08x\n", (unsigned)crc);
    return (size_t)n;
}

static void datadir_version_parse__other_rule_of_placement__unsupported(void **state)
{
    (void)state;
    static const char *const others[] = {"placement 0\n", "placement 2\n", "placement 999999999\n"};
    char text[DATADIR_VERSION_MAX];
    uint8_t back[TSDB_HASH_SEED_BYTES];
    struct tsdb_error err;
    size_t len = version_with("placement 1\n", "placement 1\n", text);
    assert_ok(datadir_version_parse((const uint8_t *)text, len, back, NULL));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(others); i++) {
        len = version_with("placement 1\n", others[i], text);
        assert_int_equal(datadir_version_parse((const uint8_t *)text, len, back, &err),
                         TSDB_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "placed in partitions by rule"));
    }
    len = version_with("placement 1\n", "", text);
    assert_int_equal(datadir_version_parse((const uint8_t *)text, len, back, &err), TSDB_CORRUPT);
}

static void datadir_version_parse__format_1__says_that_it_was_never_released(void **state)
{
    (void)state;
    char text[DATADIR_VERSION_MAX];
    uint8_t back[TSDB_HASH_SEED_BYTES];
    struct tsdb_error err;
    size_t len = version_with("format 2\n", "format 1\n", text);
    assert_int_equal(datadir_version_parse((const uint8_t *)text, len, back, &err),
                     TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "never released"));
}

/* Not even what an interrupted write left there is removed. */
static void datadir_open__unknown_rule_of_placement__refused_and_untouched(void **state)
{
    struct disk *d = *state;
    struct datadir a;
    struct tsdb_error err;
    char text[DATADIR_VERSION_MAX];
    size_t len = version_with("placement 1\n", "placement 2\n", text);
    put_file(d, "VERSION", text, len);
    put_file(d, "VERSION.tmp", "x", 1);
    assert_ok(d->fs.ops->mkdir(d->fs.ctx, "checkpoint", NULL));
    put_file(d, "checkpoint/00000007.tmp", "x", 1);
    assert_int_equal(datadir_open(&d->fs, &d->random, &a, &err), TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "rule 2"));
    assert_true(exists(d, "VERSION.tmp"));
    assert_true(exists(d, "checkpoint/00000007.tmp"));
    assert_false(exists(d, "wal"));
}

static void datadir_open__empty_directory__created_and_same_seed_after(void **state)
{
    struct disk *d = *state;
    struct datadir a, b;
    assert_ok(datadir_open(&d->fs, &d->random, &a, NULL));
    assert_true(a.created);
    assert_true(exists(d, "wal") && exists(d, "checkpoint"));
    datadir_close(&a);
    tsdb_fs_sim_crash(d->sim); /* what open returned is durable */
    assert_ok(datadir_open(&d->fs, &d->random, &b, NULL));
    assert_false(b.created);
    assert_memory_equal(a.hash_seed, b.hash_seed, sizeof a.hash_seed);
    datadir_close(&b);
}

static void datadir_open__twice__busy_until_closed(void **state)
{
    struct disk *d = *state;
    struct datadir a, b;
    struct tsdb_error err;
    assert_ok(datadir_open(&d->fs, &d->random, &a, NULL));
    assert_int_equal(datadir_open(&d->fs, &d->random, &b, &err), TSDB_BUSY);
    assert_non_null(strstr(err.msg, "another process"));
    datadir_close(&a);
    datadir_close(&a); /* once more is fine */
    assert_ok(datadir_open(&d->fs, &d->random, &b, NULL));
    datadir_close(&b);
}

static void datadir_sweep__leftover_tmp_files__removed(void **state)
{
    struct disk *d = *state;
    struct datadir a;
    assert_ok(datadir_open(&d->fs, &d->random, &a, NULL));
    datadir_close(&a);
    put_file(d, "VERSION.tmp", "x", 1);
    put_file(d, "checkpoint/00000007.tmp", "x", 1);
    put_file(d, "checkpoint/00000006.tmp", "x", 1);
    put_file(d, "checkpoint/00000005", "x", 1);
    assert_ok(datadir_open(&d->fs, &d->random, &a, NULL));
    assert_true(exists(d, "VERSION.tmp")); /* there may be files of a newer version */
    assert_ok(datadir_sweep(&d->fs, NULL));
    datadir_close(&a);
    assert_false(exists(d, "VERSION.tmp"));
    assert_false(exists(d, "checkpoint/00000007.tmp"));
    assert_false(exists(d, "checkpoint/00000006.tmp"));
    assert_true(exists(d, "checkpoint/00000005"));
}

static void datadir_open__data_without_version__refused_and_untouched(void **state)
{
    struct disk *d = *state;
    struct datadir a;
    struct tsdb_error err;
    assert_ok(d->fs.ops->mkdir(d->fs.ctx, "wal", NULL));
    put_file(d, "wal/00000001", "x", 1);
    assert_int_equal(datadir_open(&d->fs, &d->random, &a, &err), TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "VERSION"));
    assert_false(exists(d, "VERSION"));
    /* The lock is free again. */
    assert_int_equal(datadir_open(&d->fs, &d->random, &a, &err), TSDB_CORRUPT);
}

static void datadir_open__empty_version__corrupt(void **state)
{
    struct disk *d = *state;
    struct datadir a;
    struct tsdb_error err;
    put_file(d, "VERSION", "", 0);
    assert_int_equal(datadir_open(&d->fs, &d->random, &a, &err), TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "first line"));
}

static void datadir_open__killed_at_every_operation__opens_afterwards(void **state)
{
    (void)state;
    for (uint64_t op = 1;; op++) {
        struct disk d = {0};
        tsdb_prng_init(&d.prng, op);
        d.random = tsdb_random_seeded(&d.prng);
        assert_ok(tsdb_fs_sim_create(op, &d.sim, &d.fs));
        tsdb_fs_sim_fault(d.sim, TSDB_FAULT_HALT, op, 1);
        struct datadir a;
        enum tsdb_status status = datadir_open(&d.fs, &d.random, &a, NULL);
        if (status == TSDB_OK) {
            datadir_close(&a);
        }
        tsdb_fs_sim_crash(d.sim);
        struct tsdb_error err;
        assert_ok_err(datadir_open(&d.fs, &d.random, &a, &err), &err);
        datadir_close(&a);
        tsdb_fs_sim_destroy(d.sim);
        if (status == TSDB_OK) {
            assert_true(op > 5);
            return;
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(datadir_version_print__known_seed__golden_text),
    cmocka_unit_test(datadir_version_parse__every_byte_changed_or_cut__refused),
    cmocka_unit_test(datadir_version_parse__later_format__unsupported_whatever_follows),
    cmocka_unit_test(datadir_version_parse__other_rule_of_placement__unsupported),
    cmocka_unit_test(datadir_version_parse__format_1__says_that_it_was_never_released),
    cmocka_unit_test_setup_teardown(datadir_open__unknown_rule_of_placement__refused_and_untouched,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(datadir_open__empty_directory__created_and_same_seed_after,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(datadir_open__twice__busy_until_closed, setup, teardown),
    cmocka_unit_test_setup_teardown(datadir_sweep__leftover_tmp_files__removed, setup, teardown),
    cmocka_unit_test_setup_teardown(datadir_open__empty_version__corrupt, setup, teardown),
    cmocka_unit_test_setup_teardown(datadir_open__data_without_version__refused_and_untouched,
                                    setup, teardown),
    cmocka_unit_test(datadir_open__killed_at_every_operation__opens_afterwards),
};

TEST_MAIN(tests)
