/* One suite of behaviours over two tables: the real one in a fresh temporary directory, and the
 * simulated disk. What holds for both here is what the engine may rely on. */
#include "tests/support/test.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/file_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define RW (TSDB_OPEN_READ | TSDB_OPEN_WRITE)

struct table {
    struct tsdb_fs fs;
    struct tsdb_fs_sim *sim; /* NULL: the real one */
    char root[64];
};

static int setup_real(void **state)
{
    static struct table t;
    t = (struct table){.root = "/tmp/tsdb-test-file-XXXXXX"};
    if (!mkdtemp(t.root) || tsdb_fs_real_create(t.root, &t.fs, NULL) != TSDB_OK) {
        return -1;
    }
    *state = &t;
    return 0;
}

static int setup_sim(void **state)
{
    static struct table t;
    t = (struct table){.sim = NULL};
    if (tsdb_fs_sim_create(1, &t.sim, &t.fs) != TSDB_OK) {
        return -1;
    }
    *state = &t;
    return 0;
}

struct wipe {
    const struct tsdb_fs *fs;
    const char *dir;
};

static enum tsdb_status wipe_one(void *arg, const char *name, bool is_dir)
{
    const struct wipe *w = arg;
    char path[256];
    snprintf(path, sizeof path, "%s%s%s", w->dir, w->dir[0] ? "/" : "", name);
    if (!is_dir) {
        return w->fs->ops->unlink(w->fs->ctx, path, NULL);
    }
    struct wipe below = {.fs = w->fs, .dir = path};
    enum tsdb_status status = w->fs->ops->list(w->fs->ctx, path, wipe_one, &below, NULL);
    return status == TSDB_OK ? w->fs->ops->rmdir(w->fs->ctx, path, NULL) : status;
}

/* Removes what the case left behind, through the table itself. */
static int teardown(void **state)
{
    struct table *t = *state;
    struct wipe w = {.fs = &t->fs, .dir = ""};
    if (t->fs.ops->list(t->fs.ctx, "", wipe_one, &w, NULL) != TSDB_OK) {
        return -1;
    }
    if (t->sim) {
        tsdb_fs_sim_destroy(t->sim);
        return 0;
    }
    tsdb_fs_real_destroy(&t->fs);
    return rmdir(t->root);
}

static struct tsdb_file *open_ok(const struct table *t, const char *path, unsigned flags)
{
    struct tsdb_file *f = NULL;
    struct tsdb_error err = {0};
    assert_ok_err(t->fs.ops->open(t->fs.ctx, path, flags, &f, &err), &err);
    return f;
}

static void put(const struct table *t, const char *path, const char *text)
{
    struct tsdb_error err = {0};
    struct tsdb_file *f = open_ok(t, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE);
    assert_ok_err(t->fs.ops->pwrite(t->fs.ctx, f, text, strlen(text), 0, &err), &err);
    t->fs.ops->close(t->fs.ctx, f);
}

static void assert_content(const struct table *t, const char *path, const char *text)
{
    struct tsdb_error err = {0};
    uint8_t *data = NULL;
    size_t len = 0;
    assert_ok_err(tsdb_file_read_all(&t->fs, path, 1 << 20, TSDB_MEM_OTHER, &data, &len, &err),
                  &err);
    assert_int_equal(len, strlen(text));
    if (len > 0) {
        assert_memory_equal(data, text, len);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

static enum tsdb_status try_open(const struct table *t, const char *path, unsigned flags)
{
    struct tsdb_file *f = NULL;
    enum tsdb_status status = t->fs.ops->open(t->fs.ctx, path, flags, &f, NULL);
    assert_true((status == TSDB_OK) == (f != NULL));
    t->fs.ops->close(t->fs.ctx, f);
    return status;
}

static enum tsdb_status try_stat(const struct table *t, const char *path)
{
    struct tsdb_file_info info;
    return t->fs.ops->stat(t->fs.ctx, path, &info, NULL);
}

static uint64_t size_of(const struct table *t, const char *path)
{
    struct tsdb_file_info info;
    assert_ok(t->fs.ops->stat(t->fs.ctx, path, &info, NULL));
    assert_false(info.is_dir);
    return info.size_bytes;
}

static void open__flags__as_documented(void **state)
{
    const struct table *t = *state;
    assert_int_equal(try_open(t, "a", TSDB_OPEN_READ), TSDB_NOT_FOUND);
    assert_int_equal(try_open(t, "a", RW), TSDB_NOT_FOUND);
    assert_ok(try_open(t, "a", RW | TSDB_OPEN_CREATE));
    put(t, "a", "hello");
    assert_int_equal(try_open(t, "a", RW | TSDB_OPEN_CREATE | TSDB_OPEN_EXCL), TSDB_INVALID);
    assert_ok(try_open(t, "a", RW | TSDB_OPEN_CREATE)); /* keeps the content */
    assert_content(t, "a", "hello");
    assert_ok(try_open(t, "a", TSDB_OPEN_WRITE | TSDB_OPEN_TRUNCATE));
    assert_content(t, "a", "");
    assert_ok(try_open(t, "b", TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_EXCL));
    assert_int_equal(try_open(t, "a", 0), TSDB_INVALID);
    assert_int_equal(try_open(t, "a", TSDB_OPEN_CREATE), TSDB_INVALID);
    assert_int_equal(try_open(t, "a", TSDB_OPEN_READ | TSDB_OPEN_TRUNCATE), TSDB_INVALID);
    assert_int_equal(try_open(t, "a", RW | TSDB_OPEN_EXCL), TSDB_INVALID);
    assert_int_equal(try_open(t, "a", RW | 64), TSDB_INVALID);
    t->fs.ops->close(t->fs.ctx, NULL);
}

static void open__directory_or_file_as_directory__invalid(void **state)
{
    const struct table *t = *state;
    assert_ok(t->fs.ops->mkdir(t->fs.ctx, "d", NULL));
    put(t, "f", "x");
    assert_int_equal(try_open(t, "d", TSDB_OPEN_READ), TSDB_INVALID);
    assert_int_equal(try_open(t, "d", RW | TSDB_OPEN_CREATE), TSDB_INVALID);
    assert_int_equal(try_open(t, "f/x", RW | TSDB_OPEN_CREATE), TSDB_INVALID);
    assert_int_equal(try_open(t, "nowhere/x", RW | TSDB_OPEN_CREATE), TSDB_NOT_FOUND);
}

/* Every operation that takes a path refuses what could leave the root. */
static void paths__outside_or_odd__invalid_everywhere(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    char long_name[TSDB_FILE_NAME_BYTES_MAX + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    char long_path[TSDB_FILE_PATH_BYTES_MAX + 2];
    for (size_t i = 0; i < sizeof long_path - 1; i++) {
        long_path[i] = i % 2 ? '/' : 'p';
    }
    long_path[sizeof long_path - 1] = '\0';
    const char *bad[] = {"/etc/passwd", "..",   "../x", "a/../b", "a/..", ".",       "./a",
                         "a/./b",       "a//b", "a/",   "/",      "//",   long_name, long_path};
    put(t, "good", "x");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        struct tsdb_error err = {0};
        struct tsdb_file *f = NULL;
        assert_int_equal(ops->open(ctx, bad[i], RW | TSDB_OPEN_CREATE, &f, &err), TSDB_INVALID);
        assert_int_equal(err.status, TSDB_INVALID);
        assert_int_equal(ops->lock(ctx, bad[i], &f, NULL), TSDB_INVALID);
        assert_null(f);
        assert_int_equal(try_stat(t, bad[i]), TSDB_INVALID);
        assert_int_equal(ops->rename(ctx, "good", bad[i], NULL), TSDB_INVALID);
        assert_int_equal(ops->rename(ctx, bad[i], "good", NULL), TSDB_INVALID);
        assert_int_equal(ops->unlink(ctx, bad[i], NULL), TSDB_INVALID);
        assert_int_equal(ops->mkdir(ctx, bad[i], NULL), TSDB_INVALID);
        assert_int_equal(ops->rmdir(ctx, bad[i], NULL), TSDB_INVALID);
        assert_int_equal(ops->list(ctx, bad[i], wipe_one, NULL, NULL), TSDB_INVALID);
        assert_int_equal(ops->sync_dir(ctx, bad[i], NULL), TSDB_INVALID);
        assert_int_equal(tsdb_file_replace(&t->fs, bad[i], "x", 1, NULL), TSDB_INVALID);
    }
    assert_int_equal(try_open(t, "", TSDB_OPEN_READ), TSDB_INVALID);
    assert_int_equal(ops->unlink(ctx, "", NULL), TSDB_INVALID);
    assert_int_equal(ops->rmdir(ctx, "", NULL), TSDB_INVALID);
    /* Names that only look like it. */
    put(t, "..x", "1");
    put(t, "...", "2");
    assert_ok(ops->mkdir(ctx, ".h", NULL));
    put(t, ".h/y..", "3");
    assert_content(t, ".h/y..", "3");
    assert_content(t, "good", "x");
}

static void pwrite__holes_overlaps_and_end__read_back(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    static uint8_t model[40000];
    static uint8_t got[40000];
    memset(model, 0, sizeof model);
    struct tsdb_file *f = open_ok(t, "f", RW | TSDB_OPEN_CREATE);
    size_t end = 0;
    unsigned seed = 1;
    for (int i = 0; i < 200; i++) {
        seed = seed * 1103515245u + 12345u;
        size_t offset = (seed >> 8) % 30000;
        seed = seed * 1103515245u + 12345u;
        size_t len = (seed >> 8) % 9000;
        memset(model + offset, i + 1, len);
        assert_ok(ops->pwrite(ctx, f, model + offset, len, offset, NULL));
        end = len > 0 ? TSDB_MAX(end, offset + len) : end;
    }
    size_t n = 0;
    assert_ok(ops->pread(ctx, f, got, sizeof got, 0, &n, NULL));
    assert_int_equal(n, end);
    assert_memory_equal(got, model, end);
    assert_ok(ops->pread(ctx, f, got, 100, end - 10, &n, NULL));
    assert_int_equal(n, 10);
    assert_ok(ops->pread(ctx, f, got, 100, end + 10, &n, NULL));
    assert_int_equal(n, 0);
    assert_ok(ops->sync(ctx, f, NULL));
    ops->close(ctx, f);
    assert_int_equal(size_of(t, "f"), end);
}

static void pwrite__offset_beyond_any_file__refused(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    struct tsdb_file *f = open_ok(t, "f", RW | TSDB_OPEN_CREATE);
    size_t n;
    char c;
    assert_int_equal(ops->pwrite(ctx, f, "x", 1, UINT64_MAX, NULL), TSDB_INVALID);
    assert_int_equal(ops->pwrite(ctx, f, "x", 1, INT64_MAX, NULL), TSDB_INVALID);
    assert_int_equal(ops->pread(ctx, f, &c, 1, UINT64_MAX - 1, &n, NULL), TSDB_INVALID);
    assert_int_equal(ops->truncate(ctx, f, UINT64_MAX, NULL), TSDB_INVALID);
    assert_int_equal(ops->preallocate(ctx, f, UINT64_MAX, NULL), TSDB_INVALID);
    assert_ok(ops->pwrite(ctx, f, "x", 1, 0, NULL));
    struct tsdb_error err = {0};
    if (t->sim) { /* some real ones (tmpfs, XFS) hold a file of 8 EiB */
        assert_int_equal(ops->pwrite(ctx, f, "x", 1, INT64_MAX - 1, &err), TSDB_IO);
        assert_int_equal(err.sys_errno, EFBIG);
        ops->close(ctx, f);
        f = open_ok(t, "f", RW);
        assert_int_equal(ops->truncate(ctx, f, INT64_MAX, &err), TSDB_IO);
    }
    ops->close(ctx, f);
    assert_content(t, "f", "x");
}

static void pwrite__handle_for_reading__io_and_poisoned(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    put(t, "f", "text");
    struct tsdb_error err = {0};
    struct tsdb_file *f = open_ok(t, "f", TSDB_OPEN_READ);
    assert_int_equal(ops->pwrite(ctx, f, "x", 1, 0, &err), TSDB_IO);
    assert_int_equal(err.sys_errno, EBADF);
    assert_non_null(strstr(err.msg, "write f"));
    assert_int_equal(ops->sync(ctx, f, &err),
                     TSDB_IO); /* would succeed if the write had not failed */
    ops->close(ctx, f);
    f = open_ok(t, "f", TSDB_OPEN_WRITE);
    char c;
    size_t n = 0;
    assert_int_equal(ops->pread(ctx, f, &c, 1, 0, &n, NULL), TSDB_IO);
    assert_ok(ops->pwrite(ctx, f, "T", 1, 0, NULL)); /* a failed read poisons nothing */
    ops->close(ctx, f);
    assert_content(t, "f", "Text");
}

static void truncate__shrink_and_grow__zeroes_between(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    static uint8_t data[6000];
    static uint8_t got[20000];
    static uint8_t want[20000];
    memset(data, 0xee, sizeof data);
    memset(want, 0, sizeof want);
    memset(want, 0xee, 100);
    struct tsdb_file *f = open_ok(t, "f", RW | TSDB_OPEN_CREATE);
    assert_ok(ops->pwrite(ctx, f, data, sizeof data, 0, NULL));
    assert_ok(ops->truncate(ctx, f, 100, NULL));
    assert_int_equal(size_of(t, "f"), 100);
    assert_ok(ops->truncate(ctx, f, sizeof want, NULL));
    size_t n = 0;
    assert_ok(ops->pread(ctx, f, got, sizeof got, 0, &n, NULL));
    assert_int_equal(n, sizeof want);
    assert_memory_equal(got, want, sizeof want);
    ops->close(ctx, f);
}

static void preallocate__larger_than_the_file__old_content_then_zeroes(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    const uint64_t size = (1u << 20) + 12345;
    put(t, "f", "old content");
    struct tsdb_file *f = open_ok(t, "f", RW);
    assert_ok(ops->preallocate(ctx, f, 0, NULL));
    assert_ok(ops->preallocate(ctx, f, size, NULL));
    assert_int_equal(size_of(t, "f"), size);
    uint8_t *got = malloc(size);
    size_t n = 0;
    assert_ok(ops->pread(ctx, f, got, size, 0, &n, NULL));
    assert_int_equal(n, size);
    assert_memory_equal(got, "old content", 11);
    size_t others = 0;
    for (size_t i = 11; i < n; i++) {
        others += got[i] != 0;
    }
    free(got);
    assert_int_equal(others, 0);
    assert_ok(ops->preallocate(ctx, f, 3, NULL)); /* a file is never cut */
    assert_int_equal(size_of(t, "f"), size);
    ops->close(ctx, f);
}

static void rename__targets_of_all_kinds__as_rename_2(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    assert_int_equal(ops->rename(ctx, "a", "b", NULL), TSDB_NOT_FOUND);
    put(t, "a", "A");
    put(t, "b", "B");
    struct tsdb_file *old_b = open_ok(t, "b", TSDB_OPEN_READ);
    assert_ok(ops->rename(ctx, "a", "b", NULL)); /* replaces */
    assert_int_equal(try_stat(t, "a"), TSDB_NOT_FOUND);
    assert_content(t, "b", "A");
    char c = 0;
    size_t n = 0;
    assert_ok(ops->pread(ctx, old_b, &c, 1, 0, &n, NULL)); /* who has it open keeps it */
    assert_int_equal(c, 'B');
    ops->close(ctx, old_b);
    assert_ok(ops->rename(ctx, "b", "b", NULL));
    assert_ok(ops->mkdir(ctx, "d", NULL));
    assert_ok(ops->mkdir(ctx, "e", NULL));
    assert_ok(ops->rename(ctx, "b", "d/b", NULL)); /* between directories */
    assert_content(t, "d/b", "A");
    put(t, "f", "F");
    assert_int_equal(ops->rename(ctx, "f", "d", NULL), TSDB_INVALID);
    assert_int_equal(ops->rename(ctx, "d", "f", NULL), TSDB_INVALID);
    assert_int_equal(ops->rename(ctx, "d", "d/x", NULL), TSDB_INVALID); /* into itself */
    struct tsdb_error err = {0};
    assert_int_equal(ops->rename(ctx, "e", "d", &err), TSDB_IO);
    assert_true(err.sys_errno == ENOTEMPTY || err.sys_errno == EEXIST);
    assert_ok(ops->rename(ctx, "d", "e", NULL)); /* over an empty one, with what is in it */
    assert_content(t, "e/b", "A");
    assert_int_equal(try_stat(t, "d"), TSDB_NOT_FOUND);
    assert_int_equal(ops->rename(ctx, "f", "gone/f", NULL), TSDB_NOT_FOUND);
}

static void link__a_second_name__one_file_until_the_last_goes(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    assert_int_equal(ops->link(ctx, "a", "b", NULL), TSDB_NOT_FOUND);
    put(t, "a", "A");
    put(t, "b", "B");
    assert_ok(ops->mkdir(ctx, "d", NULL));
    assert_int_equal(ops->link(ctx, "a", "b", NULL), TSDB_INVALID); /* replaces nothing */
    assert_int_equal(ops->link(ctx, "d", "e", NULL), TSDB_INVALID);
    assert_int_equal(ops->link(ctx, "a", "../a", NULL), TSDB_INVALID);
    assert_int_equal(ops->link(ctx, "a", "gone/a", NULL), TSDB_NOT_FOUND);
    assert_ok(ops->link(ctx, "a", "d/a", NULL));
    assert_content(t, "d/a", "A");
    struct tsdb_file *f = open_ok(t, "a", RW);
    assert_ok(ops->pwrite(ctx, f, "A+", 2, 0, NULL));
    ops->close(ctx, f);
    assert_content(t, "d/a", "A+"); /* it is one file */
    assert_ok(ops->unlink(ctx, "a", NULL));
    assert_content(t, "d/a", "A+");
    assert_ok(ops->rename(ctx, "b", "d/a", NULL));
    assert_content(t, "d/a", "B");
}

static void file_copy__prefix_and_whole__new_file_or_refused(void **state)
{
    const struct table *t = *state;
    struct tsdb_error err = {0};
    put(t, "a", "0123456789");
    assert_ok_err(tsdb_file_copy(&t->fs, "a", "b", 4, &err), &err);
    assert_content(t, "b", "0123");
    assert_ok_err(tsdb_file_copy(&t->fs, "a", "empty", 0, &err), &err);
    assert_content(t, "empty", "");
    assert_int_equal(tsdb_file_copy(&t->fs, "a", "b", 4, &err), TSDB_INVALID);
    assert_int_equal(tsdb_file_copy(&t->fs, "a", "c", 11, &err), TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "ends at byte 10"));
    assert_int_equal(tsdb_file_copy(&t->fs, "none", "e", 1, &err), TSDB_NOT_FOUND);
}

static void file_checksum__several_slices__as_of_the_whole(void **state)
{
    const struct table *t = *state;
    const size_t len = (600u << 10) + 7;
    _Atomic(uint32_t) cancel;
    atomic_init(&cancel, 0);
    uint8_t *data = malloc(len);
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)(i * 7 + i / 251);
    }
    struct tsdb_file *f = open_ok(t, "f", RW | TSDB_OPEN_CREATE);
    assert_ok(t->fs.ops->pwrite(t->fs.ctx, f, data, len, 0, NULL));
    t->fs.ops->close(t->fs.ctx, f);
    uint64_t bytes = 0;
    uint32_t crc = 0;
    assert_ok(tsdb_file_checksum(&t->fs, "f", &cancel, &bytes, &crc, NULL));
    assert_int_equal(bytes, len);
    assert_int_equal(crc, tsdb_crc32c(0, data, len));
    free(data);
    atomic_store(&cancel, 1);
    assert_int_equal(tsdb_file_checksum(&t->fs, "f", &cancel, &bytes, &crc, NULL), TSDB_CANCELLED);
}

static void file_tree_remove__files_and_directories__all_gone_or_too_deep(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    struct tsdb_error err = {0};
    assert_ok(ops->mkdir(ctx, "keep", NULL));
    assert_ok(ops->mkdir(ctx, "keep/t", NULL));
    assert_ok(ops->mkdir(ctx, "keep/t/a", NULL));
    assert_ok(ops->mkdir(ctx, "keep/t/a/b", NULL));
    put(t, "keep/x", "x");
    put(t, "keep/t/1", "1");
    put(t, "keep/t/a/2", "2");
    put(t, "keep/t/a/b/3", "3");
    assert_ok_err(tsdb_file_tree_remove(&t->fs, "keep/t", &err), &err);
    assert_int_equal(try_stat(t, "keep/t"), TSDB_NOT_FOUND);
    assert_ok_err(tsdb_file_tree_remove(&t->fs, "keep/t", &err), &err); /* again: nothing to do */
    assert_content(t, "keep/x", "x");
    assert_ok(tsdb_file_tree_remove(&t->fs, "keep/x", NULL)); /* a file */
    assert_int_equal(try_stat(t, "keep/x"), TSDB_NOT_FOUND);
    assert_ok(ops->mkdir(ctx, "top", NULL));
    assert_ok(tsdb_file_tree_remove(&t->fs, "top", NULL)); /* in the root */
    char path[64] = "deep";
    for (int i = 0; i <= TSDB_FILE_TREE_DEPTH; i++) {
        assert_ok(ops->mkdir(ctx, path, NULL));
        strcat(path, "/d");
    }
    assert_int_equal(tsdb_file_tree_remove(&t->fs, "deep", &err), TSDB_LIMIT);
    assert_int_equal(tsdb_file_tree_remove(&t->fs, "", &err), TSDB_INVALID);
}

static void directories__make_and_remove__as_documented(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    struct tsdb_file_info info;
    assert_ok(ops->stat(ctx, "", &info, NULL));
    assert_true(info.is_dir);
    assert_ok(ops->mkdir(ctx, "d", NULL));
    assert_ok(ops->mkdir(ctx, "d", NULL));
    assert_int_equal(ops->mkdir(ctx, "x/y", NULL), TSDB_NOT_FOUND);
    put(t, "f", "");
    assert_int_equal(ops->mkdir(ctx, "f", NULL), TSDB_INVALID);
    put(t, "d/g", "");
    struct tsdb_error err = {0};
    assert_int_equal(ops->rmdir(ctx, "d", &err), TSDB_IO);
    assert_int_equal(err.sys_errno, ENOTEMPTY);
    assert_int_equal(ops->rmdir(ctx, "f", NULL), TSDB_INVALID);
    assert_int_equal(ops->unlink(ctx, "d", NULL), TSDB_INVALID);
    assert_int_equal(ops->unlink(ctx, "none", NULL), TSDB_NOT_FOUND);
    assert_ok(ops->sync_dir(ctx, "d", NULL));
    assert_ok(ops->sync_dir(ctx, "", NULL));
    assert_int_equal(ops->sync_dir(ctx, "none", NULL), TSDB_NOT_FOUND);
    assert_int_equal(ops->sync_dir(ctx, "f", NULL), TSDB_INVALID);
    assert_ok(ops->unlink(ctx, "d/g", NULL));
    assert_ok(ops->rmdir(ctx, "d", NULL));
    assert_int_equal(ops->rmdir(ctx, "d", NULL), TSDB_NOT_FOUND);
}

struct listing {
    unsigned files;
    unsigned dirs;
    unsigned stop_after; /* 0 = never */
    const struct table *table;
};

static enum tsdb_status list_one(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    unsigned *count = is_dir ? &l->dirs : &l->files;
    assert_true(name[0] != '.');
    (*count)++;
    (void)try_stat(l->table, name); /* coming back to the table is allowed */
    return l->files + l->dirs == l->stop_after ? TSDB_CANCELLED : TSDB_OK;
}

static void list__entries__each_once_and_stops_when_told(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    char name[32];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "f%d", i);
        put(t, name, "");
    }
    assert_ok(ops->mkdir(ctx, "d", NULL));
    put(t, "d/inner", "");
    struct listing l = {.table = t};
    assert_ok(ops->list(ctx, "", list_one, &l, NULL));
    assert_int_equal(l.files, 40);
    assert_int_equal(l.dirs, 1);
    l = (struct listing){.table = t, .stop_after = 3};
    assert_int_equal(ops->list(ctx, "", list_one, &l, NULL), TSDB_CANCELLED);
    assert_int_equal(l.files + l.dirs, 3);
    assert_int_equal(ops->list(ctx, "none", list_one, &l, NULL), TSDB_NOT_FOUND);
    assert_int_equal(ops->list(ctx, "f0", list_one, &l, NULL), TSDB_INVALID);
}

static void lock__second_taker__busy_until_closed(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    struct tsdb_file *first = NULL;
    struct tsdb_file *second = NULL;
    struct tsdb_error err = {0};
    assert_ok(ops->lock(ctx, "LOCK", &first, NULL));
    assert_int_equal(ops->lock(ctx, "LOCK", &second, &err), TSDB_BUSY);
    assert_int_equal(err.status, TSDB_BUSY);
    assert_null(second);
    assert_ok(try_open(t, "LOCK", TSDB_OPEN_READ)); /* somebody who only looks must not free it */
    assert_int_equal(ops->lock(ctx, "LOCK", &second, &err), TSDB_BUSY);
    ops->close(ctx, first);
    assert_ok(ops->lock(ctx, "LOCK", &second, NULL));
    assert_ok(ops->pwrite(ctx, second, "pid", 3, 0, NULL)); /* its holder may write into it */
    ops->close(ctx, second);
    assert_content(t, "LOCK", "pid");
}

static void lock__its_file_removed__still_busy(void **state)
{
    const struct table *t = *state;
    const struct tsdb_fs_ops *ops = t->fs.ops;
    void *ctx = t->fs.ctx;
    struct tsdb_file *first = NULL;
    struct tsdb_file *second = NULL;
    assert_ok(ops->lock(ctx, "LOCK", &first, NULL));
    assert_ok(ops->unlink(ctx, "LOCK", NULL));
    assert_int_equal(ops->lock(ctx, "LOCK", &second, NULL), TSDB_BUSY);
    assert_null(second);
    ops->close(ctx, first);
    assert_ok(ops->lock(ctx, "LOCK", &second, NULL));
    ops->close(ctx, second);
}

static void space__plain__free_within_total(void **state)
{
    const struct table *t = *state;
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    assert_ok(t->fs.ops->space(t->fs.ctx, &free_bytes, &total_bytes, NULL));
    assert_true(total_bytes > 0);
    assert_true(free_bytes <= total_bytes);
}

static void file_read_all__limits_and_memory__clean_errors(void **state)
{
    const struct table *t = *state;
    uint8_t *data = NULL;
    size_t len = 77;
    put(t, "f", "12345");
    put(t, "empty", "");
    struct tsdb_error err = {0};
    assert_int_equal(tsdb_file_read_all(&t->fs, "f", 4, TSDB_MEM_OTHER, &data, &len, &err),
                     TSDB_LIMIT);
    assert_int_equal(tsdb_file_read_all(&t->fs, "no", 4, TSDB_MEM_OTHER, &data, &len, &err),
                     TSDB_NOT_FOUND);
    assert_null(data);
    assert_int_equal(len, 77); /* untouched on failure */
    assert_content(t, "empty", "");
    uint64_t used = tsdb_mem_used(TSDB_MEM_OTHER);
    bool passed = false;
    for (uint64_t nth = 1; !passed && nth < 20; nth++) {
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status =
            tsdb_file_read_all(&t->fs, "f", 5, TSDB_MEM_OTHER, &data, &len, &err);
        tsdb_alloc_ops_set(NULL);
        passed = status == TSDB_OK;
        assert_true(passed || status == TSDB_NOMEM);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_OTHER), used + (passed ? 5 : 0));
    }
    assert_true(passed);
    assert_int_equal(len, 5);
    assert_memory_equal(data, "12345", 5);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

static void file_replace__new_and_existing__content_and_no_tmp(void **state)
{
    const struct table *t = *state;
    assert_ok(t->fs.ops->mkdir(t->fs.ctx, "d", NULL));
    assert_ok(tsdb_file_replace(&t->fs, "top", "first", 5, NULL));
    assert_content(t, "top", "first");
    put(t, "d/x.tmp", "left over from a crash, and longer than what comes");
    assert_ok(tsdb_file_replace(&t->fs, "d/x", "one", 3, NULL));
    assert_ok(tsdb_file_replace(&t->fs, "d/x", "second", 6, NULL));
    assert_content(t, "d/x", "second");
    assert_ok(tsdb_file_replace(&t->fs, "d/x", NULL, 0, NULL));
    assert_content(t, "d/x", "");
    assert_int_equal(try_stat(t, "d/x.tmp"), TSDB_NOT_FOUND);
    assert_int_equal(tsdb_file_replace(&t->fs, "none/x", "1", 1, NULL), TSDB_NOT_FOUND);
    /* A target that cannot be replaced: the error comes through and the temporary file is gone. */
    assert_int_equal(tsdb_file_replace(&t->fs, "d", "1", 1, NULL), TSDB_INVALID);
    assert_int_equal(try_stat(t, "d.tmp"), TSDB_NOT_FOUND);
}

static void fs_real_create__missing_parent_or_file__error(void **state)
{
    const struct table *t = *state;
    struct tsdb_fs fs = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/a/b", t->root);
    assert_int_equal(tsdb_fs_real_create(path, &fs, NULL), TSDB_NOT_FOUND); /* one level only */
    put(t, "f", "");
    snprintf(path, sizeof path, "%s/f", t->root);
    struct tsdb_error err = {0};
    assert_int_equal(tsdb_fs_real_create(path, &fs, &err), TSDB_IO);
    assert_int_equal(err.sys_errno, ENOTDIR);
    assert_null(fs.ops);
    snprintf(path, sizeof path, "%s/sub", t->root);
    assert_ok(tsdb_fs_real_create(path, &fs, NULL));
    tsdb_fs_real_destroy(&fs);
    assert_ok(tsdb_fs_real_create(path, &fs, NULL)); /* again, now that it is there */
    tsdb_fs_real_destroy(&fs);
    tsdb_fs_real_destroy(&fs);
}

static void modes__what_is_made__is_for_its_owner_alone(void **state)
{
    const struct table *t = *state;
    struct tsdb_fs fs = {0};
    struct stat st;
    char path[128];
    snprintf(path, sizeof path, "%s/private", t->root);
    assert_ok(tsdb_fs_real_create(path, &fs, NULL));
    tsdb_fs_real_destroy(&fs);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    put(t, "file", "x");
    snprintf(path, sizeof path, "%s/file", t->root);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* Readers leave descriptors to those who write. */
static void fs_real_open__descriptors_run_out__writers_have_some_left(void **state)
{
    const struct table *t = *state;
    struct rlimit old, low = {.rlim_cur = 64};
    struct tsdb_fs fs = {0};
    struct tsdb_file *readers[64], *f = NULL;
    uint32_t n = 0;
    struct tsdb_error err = {0};
    put(t, "f", "x");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_ok(tsdb_fs_real_create(t->root, &fs, NULL));
    while (n < 64 && fs.ops->open(fs.ctx, "f", TSDB_OPEN_READ, &readers[n], &err) == TSDB_OK) {
        n++;
    }
    assert_int_equal(err.sys_errno, EMFILE);
    assert_in_range(n, 16, 48);
    unsigned flags = TSDB_OPEN_WRITE | TSDB_OPEN_CREATE;
    assert_ok_err(fs.ops->open(fs.ctx, "g", flags, &f, &err), &err);
    fs.ops->close(fs.ctx, f);
    fs.ops->close(fs.ctx, readers[--n]);
    assert_ok(fs.ops->open(fs.ctx, "f", TSDB_OPEN_READ, &readers[n++], &err)); /* counted down */
    while (n > 0) {
        fs.ops->close(fs.ctx, readers[--n]);
    }
    tsdb_fs_real_destroy(&fs);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

#define BOTH(f)                                                                                    \
    {"real: " #f, f, setup_real, teardown, NULL},                                                  \
    {                                                                                              \
        "sim: " #f, f, setup_sim, teardown, NULL                                                   \
    }

static const struct CMUnitTest tests[] = {
    BOTH(open__flags__as_documented),
    BOTH(open__directory_or_file_as_directory__invalid),
    BOTH(paths__outside_or_odd__invalid_everywhere),
    BOTH(pwrite__holes_overlaps_and_end__read_back),
    BOTH(pwrite__offset_beyond_any_file__refused),
    BOTH(pwrite__handle_for_reading__io_and_poisoned),
    BOTH(truncate__shrink_and_grow__zeroes_between),
    BOTH(preallocate__larger_than_the_file__old_content_then_zeroes),
    BOTH(rename__targets_of_all_kinds__as_rename_2),
    BOTH(link__a_second_name__one_file_until_the_last_goes),
    BOTH(file_copy__prefix_and_whole__new_file_or_refused),
    BOTH(file_checksum__several_slices__as_of_the_whole),
    BOTH(file_tree_remove__files_and_directories__all_gone_or_too_deep),
    BOTH(directories__make_and_remove__as_documented),
    BOTH(list__entries__each_once_and_stops_when_told),
    BOTH(lock__second_taker__busy_until_closed),
    BOTH(lock__its_file_removed__still_busy),
    BOTH(space__plain__free_within_total),
    BOTH(file_read_all__limits_and_memory__clean_errors),
    BOTH(file_replace__new_and_existing__content_and_no_tmp),
    {"fs_real_create__missing_parent_or_file__error", fs_real_create__missing_parent_or_file__error,
     setup_real, teardown, NULL},
    {"modes__what_is_made__is_for_its_owner_alone", modes__what_is_made__is_for_its_owner_alone,
     setup_real, teardown, NULL},
    {"fs_real_open__descriptors_run_out__writers_have_some_left",
     fs_real_open__descriptors_run_out__writers_have_some_left, setup_real, teardown, NULL},
};

TEST_MAIN(tests)
