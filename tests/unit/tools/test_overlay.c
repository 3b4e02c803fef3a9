/* The overlay over the simulated disk: what is written is read back, and the disk stays as it was. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tools/cmd/overlay.h"

#include <stdio.h>

#define PAGE 65536u

static struct tsdb_fs disk, fs;
static struct tsdb_fs_sim *sim;

static void write_at(const struct tsdb_fs *to, const char *path, unsigned more, const void *data,
                     size_t len, uint64_t offset)
{
    struct tsdb_file *f;
    assert_ok(to->ops->open(to->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | more, &f, NULL));
    assert_ok(to->ops->pwrite(to->ctx, f, data, len, offset, NULL));
    to->ops->close(to->ctx, f);
}

static bool content_is(const struct tsdb_fs *of, const char *path, const void *data, size_t len)
{
    uint8_t *got = NULL;
    size_t got_len = 0;
    if (tsdb_file_read_all(of, path, 1u << 24, TSDB_MEM_OTHER, &got, &got_len, NULL) != TSDB_OK) {
        return false;
    }
    bool same = got_len == len && (len == 0 || memcmp(got, data, len) == 0);
    tsdb_mem_free(TSDB_MEM_OTHER, got, got_len);
    return same;
}

static int with_disk(void **state)
{
    (void)state;
    if (tsdb_fs_sim_create(1, &sim, &disk) != TSDB_OK ||
        overlay_create(&disk, &fs, NULL) != TSDB_OK) {
        return 1;
    }
    assert_ok(disk.ops->mkdir(disk.ctx, "d", NULL));
    write_at(&disk, "d/a", 0, "alpha", 5, 0);
    write_at(&disk, "d/b", 0, "beta", 4, 0);
    write_at(&disk, "top", 0, "top", 3, 0);
    return 0;
}

static int without_disk(void **state)
{
    (void)state;
    overlay_destroy(&fs);
    tsdb_fs_sim_destroy(sim);
    return 0;
}

static enum tsdb_status gather(void *arg, const char *name, bool is_dir)
{
    char *text = arg;
    char piece[64];
    snprintf(piece, sizeof piece, "%s%s ", name, is_dir ? "/" : "");
    /* sorted by insertion: names are few */
    char *at = text;
    while (*at && strncmp(at, piece, strcspn(at, " ")) < 0) {
        at += strcspn(at, " ") + 1;
    }
    memmove(at + strlen(piece), at, strlen(at) + 1);
    memcpy(at, piece, strlen(piece));
    return TSDB_OK;
}

static const char *names(const struct tsdb_fs *of, const char *dir)
{
    static char text[1024];
    text[0] = 0;
    enum tsdb_status status = of->ops->list(of->ctx, dir, gather, text, NULL);
    return status == TSDB_OK ? text : tsdb_status_name(status);
}

static void expect_disk_untouched(void)
{
    assert_string_equal(names(&disk, ""), "d/ top ");
    assert_string_equal(names(&disk, "d"), "a b ");
    assert_true(content_is(&disk, "d/a", "alpha", 5));
    assert_true(content_is(&disk, "d/b", "beta", 4));
    assert_true(content_is(&disk, "top", "top", 3));
}

static void overlay_write__into_a_file_below__only_seen_above(void **state)
{
    (void)state;
    write_at(&fs, "d/a", 0, "LP", 2, 1);
    assert_true(content_is(&fs, "d/a", "aLPha", 5));
    write_at(&fs, "d/a", 0, "!", 1, 6);
    assert_true(content_is(&fs, "d/a", "aLPha\0!", 7));
    write_at(&fs, "d/b", TSDB_OPEN_TRUNCATE, "x", 1, 0);
    assert_true(content_is(&fs, "d/b", "x", 1));
    expect_disk_untouched();
}

static void overlay_truncate__then_longer__what_was_cut_is_zeroes(void **state)
{
    (void)state;
    struct tsdb_file *f;
    assert_ok(fs.ops->open(fs.ctx, "d/a", TSDB_OPEN_READ | TSDB_OPEN_WRITE, &f, NULL));
    assert_ok(fs.ops->truncate(fs.ctx, f, 2, NULL));
    assert_true(content_is(&fs, "d/a", "al", 2));
    assert_ok(fs.ops->truncate(fs.ctx, f, 4, NULL));
    assert_true(content_is(&fs, "d/a", "al\0\0", 4));
    assert_ok(fs.ops->pwrite(fs.ctx, f, "z", 1, 4, NULL));
    assert_ok(fs.ops->sync(fs.ctx, f, NULL));
    fs.ops->close(fs.ctx, f);
    assert_true(content_is(&fs, "d/a", "al\0\0z", 5));
    expect_disk_untouched();
}

static void overlay_preallocate__large__costs_no_memory(void **state)
{
    (void)state;
    struct tsdb_file *f;
    struct tsdb_file_info info;
    uint64_t before = tsdb_mem_used(TSDB_MEM_OTHER);
    assert_ok(fs.ops->open(fs.ctx, "d/log", TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, NULL));
    assert_ok(fs.ops->preallocate(fs.ctx, f, UINT64_C(1) << 36, NULL));
    assert_ok(fs.ops->pwrite(fs.ctx, f, "x", 1, 10, NULL));
    assert_ok(fs.ops->stat(fs.ctx, "d/log", &info, NULL));
    assert_int_equal(info.size_bytes, UINT64_C(1) << 36);
    assert_true(tsdb_mem_used(TSDB_MEM_OTHER) - before < 4 * PAGE);
    char text[3] = "???";
    size_t got = 0;
    assert_ok(fs.ops->pread(fs.ctx, f, text, 3, 9, &got, NULL));
    assert_int_equal(got, 3);
    assert_memory_equal(text, "\0x\0", 3);
    fs.ops->close(fs.ctx, f);
    expect_disk_untouched();
}

static void overlay_unlink__and_create_again__the_new_one(void **state)
{
    (void)state;
    assert_ok(fs.ops->unlink(fs.ctx, "d/a", NULL));
    assert_string_equal(names(&fs, "d"), "b ");
    struct tsdb_file *f;
    assert_int_equal(fs.ops->open(fs.ctx, "d/a", TSDB_OPEN_READ, &f, NULL), TSDB_NOT_FOUND);
    write_at(&fs, "d/a", TSDB_OPEN_EXCL, "n", 1, 0);
    assert_true(content_is(&fs, "d/a", "n", 1));
    assert_string_equal(names(&fs, "d"), "a b ");
    assert_int_equal(
        fs.ops->open(fs.ctx, "d/a", TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_EXCL, &f, NULL),
        TSDB_INVALID);
    expect_disk_untouched();
}

static void overlay_rename__directory__moves_what_is_in_it(void **state)
{
    (void)state;
    struct tsdb_file *open;
    assert_ok(fs.ops->open(fs.ctx, "d/a", TSDB_OPEN_READ, &open, NULL));
    write_at(&fs, "d/c", 0, "gamma", 5, 0);
    assert_ok(fs.ops->mkdir(fs.ctx, "q", NULL));
    assert_ok(fs.ops->rename(fs.ctx, "d", "q/e", NULL));
    assert_string_equal(names(&fs, ""), "q/ top ");
    assert_string_equal(names(&fs, "d"), "not_found");
    assert_string_equal(names(&fs, "q"), "e/ ");
    assert_string_equal(names(&fs, "q/e"), "a b c ");
    assert_true(content_is(&fs, "q/e/a", "alpha", 5));
    assert_true(content_is(&fs, "q/e/c", "gamma", 5));
    char text[5];
    size_t got = 0;
    assert_ok(fs.ops->pread(fs.ctx, open, text, 5, 0, &got, NULL));
    assert_memory_equal(text, "alpha", 5);
    fs.ops->close(fs.ctx, open);
    assert_ok(fs.ops->mkdir(fs.ctx, "d", NULL));
    assert_string_equal(names(&fs, "d"), ""); /* what is below it does not come back */
    expect_disk_untouched();
}

static void overlay_rmdir__only_when_empty(void **state)
{
    (void)state;
    assert_int_equal(fs.ops->rmdir(fs.ctx, "d", NULL), TSDB_INVALID);
    assert_ok(fs.ops->unlink(fs.ctx, "d/a", NULL));
    assert_ok(fs.ops->unlink(fs.ctx, "d/b", NULL));
    assert_ok(fs.ops->rmdir(fs.ctx, "d", NULL));
    assert_string_equal(names(&fs, ""), "top ");
    expect_disk_untouched();
}

/* Random writes, cuts and reads beside an array. */
static void overlay__random_operations__as_a_plain_array(void **state)
{
    (void)state;
    static uint8_t model[4 * PAGE];
    static uint8_t piece[PAGE];
    struct tsdb_prng r;
    tsdb_prng_init(&r, 7);
    size_t len = 3 * PAGE - 100;
    for (size_t i = 0; i < len; i++) {
        model[i] = (uint8_t)tsdb_prng_next(&r);
    }
    write_at(&disk, "r", 0, model, len, 0);
    struct tsdb_file *f;
    assert_ok(fs.ops->open(fs.ctx, "r", TSDB_OPEN_READ | TSDB_OPEN_WRITE, &f, NULL));
    for (int i = 0; i < 300; i++) {
        size_t n = tsdb_prng_next(&r) % sizeof piece, at = tsdb_prng_next(&r) % (3 * PAGE);
        if (i % 20 == 19) {
            size_t to = tsdb_prng_next(&r) % sizeof model;
            memset(model + TSDB_MIN(len, to), 0, sizeof model - TSDB_MIN(len, to));
            len = to;
            assert_ok(fs.ops->truncate(fs.ctx, f, to, NULL));
        } else if (i % 2 == 0) {
            memset(piece, i, n);
            memcpy(model + at, piece, n);
            len = n > 0 ? TSDB_MAX(len, at + n) : len;
            assert_ok(fs.ops->pwrite(fs.ctx, f, piece, n, at, NULL));
        } else {
            size_t got = 0;
            assert_ok(fs.ops->pread(fs.ctx, f, piece, n, at, &got, NULL));
            assert_int_equal(got, at >= len ? 0 : TSDB_MIN(n, len - at));
            assert_memory_equal(piece, model + at, got);
        }
    }
    fs.ops->close(fs.ctx, f);
    assert_true(content_is(&fs, "r", model, len));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, with_disk, without_disk)
static const struct CMUnitTest tests[] = {
    CASE(overlay_write__into_a_file_below__only_seen_above),
    CASE(overlay_truncate__then_longer__what_was_cut_is_zeroes),
    CASE(overlay_preallocate__large__costs_no_memory),
    CASE(overlay_unlink__and_create_again__the_new_one),
    CASE(overlay_rename__directory__moves_what_is_in_it),
    CASE(overlay_rmdir__only_when_empty),
    CASE(overlay__random_operations__as_a_plain_array),
};
TEST_MAIN(tests)
