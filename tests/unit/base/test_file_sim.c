/* The simulated disk must lose what a real one may lose, and never what it may not. Each case that
 * depends on fate runs over many seeds: first it states what must hold for every seed, then that
 * both outcomes were seen. */
#include "tests/support/test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mutex.h"

#include <errno.h>
#include <stdio.h>

#define SEEDS  400
#define SECTOR 512
#define RW     (TSDB_OPEN_READ | TSDB_OPEN_WRITE)

struct disk {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
};

static struct disk disk_create(uint64_t seed)
{
    struct disk d = {0};
    assert_ok(tsdb_fs_sim_create(seed, &d.sim, &d.fs));
    return d;
}

static struct tsdb_file *open_ok(const struct disk *d, const char *path, unsigned flags)
{
    struct tsdb_file *f = NULL;
    struct tsdb_error err = {0};
    assert_ok_err(d->fs.ops->open(d->fs.ctx, path, flags, &f, &err), &err);
    return f;
}

static void close_file(const struct disk *d, struct tsdb_file *f)
{
    d->fs.ops->close(d->fs.ctx, f);
}

static enum tsdb_status write_at(const struct disk *d, struct tsdb_file *f, const void *data,
                                 size_t len, uint64_t offset)
{
    return d->fs.ops->pwrite(d->fs.ctx, f, data, len, offset, NULL);
}

static enum tsdb_status sync_file(const struct disk *d, struct tsdb_file *f)
{
    return d->fs.ops->sync(d->fs.ctx, f, NULL);
}

static enum tsdb_status sync_dir(const struct disk *d, const char *dir)
{
    return d->fs.ops->sync_dir(d->fs.ctx, dir, NULL);
}

static bool exists(const struct disk *d, const char *path)
{
    struct tsdb_file_info info;
    enum tsdb_status status = d->fs.ops->stat(d->fs.ctx, path, &info, NULL);
    assert_true(status == TSDB_OK || status == TSDB_NOT_FOUND);
    return status == TSDB_OK;
}

/* The whole file, NUL-terminated. Returns its length. */
static size_t slurp(const struct disk *d, const char *path, char *out, size_t cap)
{
    struct tsdb_file *f = open_ok(d, path, TSDB_OPEN_READ);
    size_t n = 0;
    assert_ok(d->fs.ops->pread(d->fs.ctx, f, out, cap - 1, 0, &n, NULL));
    out[n] = '\0';
    close_file(d, f);
    return n;
}

/* Durable: content and name. */
static void put_synced(const struct disk *d, const char *path, const void *data, size_t len)
{
    struct tsdb_file *f = open_ok(d, path, RW | TSDB_OPEN_CREATE);
    assert_ok(write_at(d, f, data, len, 0));
    assert_ok(sync_file(d, f));
    close_file(d, f);
    assert_ok(sync_dir(d, ""));
}

static void crash__synced_write_and_name__always_there(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", "durable", 7);
        for (int i = 0; i < 3; i++) { /* and through repeated cuts */
            tsdb_fs_sim_crash(d.sim);
            char got[32];
            assert_int_equal(slurp(&d, "f", got, sizeof got), 7);
            assert_string_equal(got, "durable");
        }
        tsdb_fs_sim_destroy(d.sim);
    }
}

static void crash__overwrite_not_synced__sectors_old_or_new_never_mixed(void **state)
{
    (void)state;
    static uint8_t old_bytes[16 * SECTOR];
    static uint8_t new_bytes[16 * SECTOR];
    static uint8_t got[16 * SECTOR + 1];
    memset(old_bytes, 'o', sizeof old_bytes);
    memset(new_bytes, 'n', sizeof new_bytes);
    unsigned all_old = 0;
    unsigned all_new = 0;
    unsigned torn = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", old_bytes, sizeof old_bytes);
        struct tsdb_file *f = open_ok(&d, "f", RW);
        assert_ok(write_at(&d, f, new_bytes, sizeof new_bytes, 0));
        tsdb_fs_sim_crash(d.sim);
        close_file(&d, f);
        assert_int_equal(slurp(&d, "f", (char *)got, sizeof got), sizeof old_bytes);
        unsigned fresh = 0;
        for (size_t s = 0; s < 16; s++) {
            const uint8_t *sector = got + s * SECTOR;
            fresh += sector[0] == 'n';
            assert_memory_equal(sector, sector[0] == 'n' ? new_bytes : old_bytes, SECTOR);
        }
        all_old += fresh == 0;
        all_new += fresh == 16;
        torn += fresh > 0 && fresh < 16;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(all_old > 20);
    assert_true(all_new > 20);
    assert_true(torn > 20);
}

static void crash__appends_into_one_sector__a_prefix_of_them(void **state)
{
    (void)state;
    bool seen[5] = {false};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", "0", 1);
        struct tsdb_file *f = open_ok(&d, "f", RW);
        for (unsigned i = 1; i <= 4; i++) {
            assert_ok(write_at(&d, f, &"01234"[i], 1, i));
        }
        tsdb_fs_sim_crash(d.sim);
        close_file(&d, f);
        char got[16];
        size_t n = slurp(&d, "f", got, sizeof got);
        assert_true(n >= 1 && n <= 5);
        size_t data = strlen(got); /* a longer file goes on with zeroes: size without data */
        assert_memory_equal(got, "01234", data);
        for (size_t i = data; i < n; i++) {
            assert_int_equal(got[i], 0);
        }
        seen[data - 1] = true;
        tsdb_fs_sim_destroy(d.sim);
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(seen); i++) {
        assert_true(seen[i]);
    }
}

static void crash__append_not_synced__size_between_old_and_new(void **state)
{
    (void)state;
    static uint8_t bytes[8 * SECTOR];
    static char got[16 * SECTOR];
    memset(bytes, 'x', sizeof bytes);
    unsigned kept = 0;
    unsigned lost = 0;
    unsigned holes = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", bytes, 100);
        struct tsdb_file *f = open_ok(&d, "f", RW);
        assert_ok(write_at(&d, f, bytes, sizeof bytes, 100));
        tsdb_fs_sim_crash(d.sim);
        close_file(&d, f);
        size_t n = slurp(&d, "f", got, sizeof got);
        assert_true(n >= 100 && n <= 100 + sizeof bytes);
        size_t zeroes = 0;
        for (size_t i = 0; i < n; i++) {
            zeroes += got[i] == 0;
            assert_true(got[i] == 'x' || (got[i] == 0 && i >= 100));
        }
        kept += n == 100 + sizeof bytes && zeroes == 0;
        lost += n == 100;
        holes += zeroes > 0;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(kept > 20);
    assert_true(lost > 20);
    assert_true(holes > 20);
}

static void crash__truncate_not_synced__old_or_new_size(void **state)
{
    (void)state;
    static uint8_t bytes[10000]; /* ends inside a page, which the shorter file has no more */
    static char got[sizeof bytes + 1];
    memset(bytes, 'x', sizeof bytes);
    unsigned old_size = 0;
    unsigned new_size = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", bytes, sizeof bytes);
        struct tsdb_file *f = open_ok(&d, "f", RW);
        assert_ok(d.fs.ops->truncate(d.fs.ctx, f, 4, NULL));
        tsdb_fs_sim_crash(d.sim);
        close_file(&d, f);
        size_t n = slurp(&d, "f", got, sizeof got);
        assert_true(n == sizeof bytes || n == 4);
        assert_memory_equal(got, bytes, n);
        old_size += n == sizeof bytes;
        new_size += n == 4;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(old_size > 5);
    assert_true(new_size > 5);
}

static void crash__name_not_synced__file_may_be_gone_though_its_data_was(void **state)
{
    (void)state;
    unsigned there = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct disk d = disk_create(seed);
        struct tsdb_file *f = open_ok(&d, "f", RW | TSDB_OPEN_CREATE);
        assert_ok(write_at(&d, f, "data", 4, 0));
        assert_ok(sync_file(&d, f));
        close_file(&d, f);
        tsdb_fs_sim_crash(d.sim);
        if (exists(&d, "f")) {
            char got[8];
            there++;
            assert_int_equal(slurp(&d, "f", got, sizeof got), 4);
            assert_string_equal(got, "data");
        }
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(there > 10);
    assert_true(there < 90);
}

static void crash__unlink_and_rmdir_not_synced__may_come_back(void **state)
{
    (void)state;
    unsigned file_back = 0;
    unsigned dir_back = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct disk d = disk_create(seed);
        assert_ok(d.fs.ops->mkdir(d.fs.ctx, "d", NULL));
        put_synced(&d, "f", "data", 4);
        assert_ok(d.fs.ops->unlink(d.fs.ctx, "f", NULL));
        assert_ok(d.fs.ops->rmdir(d.fs.ctx, "d", NULL));
        assert_false(exists(&d, "f"));
        tsdb_fs_sim_crash(d.sim);
        dir_back += exists(&d, "d");
        if (exists(&d, "f")) {
            char got[8];
            file_back++;
            assert_int_equal(slurp(&d, "f", got, sizeof got), 4);
        }
        assert_ok(sync_dir(&d, ""));
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(file_back > 10 && file_back < 90);
    assert_true(dir_back > 10 && dir_back < 90);
}

static void crash__unlink_synced__stays_gone(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", "data", 4);
        assert_ok(d.fs.ops->unlink(d.fs.ctx, "f", NULL));
        assert_ok(sync_dir(&d, ""));
        tsdb_fs_sim_crash(d.sim);
        assert_false(exists(&d, "f"));
        tsdb_fs_sim_destroy(d.sim);
    }
}

static void crash__directory_name_not_synced__takes_what_is_in_it_along(void **state)
{
    (void)state;
    unsigned there = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct disk d = disk_create(seed);
        assert_ok(d.fs.ops->mkdir(d.fs.ctx, "d", NULL));
        struct tsdb_file *f = open_ok(&d, "d/f", RW | TSDB_OPEN_CREATE);
        assert_ok(write_at(&d, f, "data", 4, 0));
        assert_ok(sync_file(&d, f));
        assert_ok(sync_dir(&d, "d")); /* but not "" */
        close_file(&d, f);
        tsdb_fs_sim_crash(d.sim);
        there += exists(&d, "d");
        assert_int_equal(exists(&d, "d"), exists(&d, "d/f"));
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(there > 10);
    assert_true(there < 90);
}

/* A rename without sync_dir: the name has the old content or the new one, whole; with it: the new
 * one. */
static void crash__rename_over_a_file__old_or_new_and_new_if_synced(void **state)
{
    (void)state;
    unsigned fresh = 0;
    unsigned stale = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        bool synced = seed % 2;
        struct disk d = disk_create(seed);
        put_synced(&d, "f", "old", 3);
        struct tsdb_file *f = open_ok(&d, "f.tmp", RW | TSDB_OPEN_CREATE);
        assert_ok(write_at(&d, f, "fresh", 5, 0));
        assert_ok(sync_file(&d, f));
        close_file(&d, f);
        assert_ok(d.fs.ops->rename(d.fs.ctx, "f.tmp", "f", NULL));
        if (synced) {
            assert_ok(sync_dir(&d, ""));
        }
        tsdb_fs_sim_crash(d.sim);
        char got[16];
        slurp(&d, "f", got, sizeof got);
        bool is_new = strcmp(got, "fresh") == 0;
        assert_true(is_new || (!synced && strcmp(got, "old") == 0));
        assert_false(is_new && exists(&d, "f.tmp")); /* one file, one name */
        fresh += !synced && is_new;
        stale += !synced && !is_new;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(fresh > 10);
    assert_true(stale > 10);
}

static void crash__rename_of_file_that_was_not_synced__name_new_content_not(void **state)
{
    (void)state;
    unsigned damaged = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", "old", 3);
        struct tsdb_file *f = open_ok(&d, "f.tmp", RW | TSDB_OPEN_CREATE);
        assert_ok(write_at(&d, f, "fresh", 5, 0)); /* the sync is forgotten */
        close_file(&d, f);
        assert_ok(d.fs.ops->rename(d.fs.ctx, "f.tmp", "f", NULL));
        assert_ok(sync_dir(&d, ""));
        tsdb_fs_sim_crash(d.sim);
        char got[16];
        slurp(&d, "f", got, sizeof got);
        assert_string_not_equal(got, "old");
        damaged += strcmp(got, "fresh") != 0;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(damaged > 10); /* the bug that this disk is there to find */
}

static void crash__rename_between_directories__in_exactly_one(void **state)
{
    (void)state;
    unsigned moved = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct disk d = disk_create(seed);
        assert_ok(d.fs.ops->mkdir(d.fs.ctx, "a", NULL));
        assert_ok(d.fs.ops->mkdir(d.fs.ctx, "b", NULL));
        assert_ok(d.fs.ops->mkdir(d.fs.ctx, "a/block", NULL));
        struct tsdb_file *f = open_ok(&d, "a/block/f", RW | TSDB_OPEN_CREATE);
        close_file(&d, f);
        assert_ok(sync_dir(&d, "a/block"));
        assert_ok(sync_dir(&d, "a"));
        assert_ok(sync_dir(&d, ""));
        assert_ok(d.fs.ops->rename(d.fs.ctx, "a/block", "b/block", NULL));
        if (seed % 3 > 0) {
            assert_ok(sync_dir(&d, seed % 3 == 1 ? "a" : "b"));
        }
        tsdb_fs_sim_crash(d.sim);
        bool in_b = exists(&d, "b/block/f");
        assert_true(in_b != exists(&d, "a/block/f"));
        assert_true(in_b || seed % 3 == 0);
        moved += in_b && seed % 3 == 0;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(moved > 5);
    assert_true(moved < 45);
}

static void crash__renamed_twice__has_exactly_one_of_its_names(void **state)
{
    (void)state;
    unsigned at[3] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "a", "data", 4);
        assert_ok(d.fs.ops->rename(d.fs.ctx, "a", "b", NULL));
        assert_ok(d.fs.ops->rename(d.fs.ctx, "b", "c", NULL));
        tsdb_fs_sim_crash(d.sim);
        bool there[3] = {exists(&d, "a"), exists(&d, "b"), exists(&d, "c")};
        assert_int_equal(there[0] + there[1] + there[2], 1);
        for (size_t i = 0; i < 3; i++) {
            at[i] += there[i];
        }
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(at[0] > 10 && at[1] > 10 && at[2] > 10);
}

/* A second name that was not synced may be lost; the first one, and what is in the file, never. */
static void crash__link_not_synced__the_first_name_stays(void **state)
{
    (void)state;
    unsigned linked = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct disk d = disk_create(seed);
        char got[16];
        put_synced(&d, "f", "content", 7);
        assert_ok(d.fs.ops->link(d.fs.ctx, "f", "g", NULL));
        if (seed % 2) {
            assert_ok(sync_dir(&d, ""));
        }
        tsdb_fs_sim_crash(d.sim);
        slurp(&d, "f", got, sizeof got);
        assert_string_equal(got, "content");
        bool there = exists(&d, "g");
        assert_true(there || seed % 2 == 0);
        if (there) {
            slurp(&d, "g", got, sizeof got);
            assert_string_equal(got, "content");
        }
        linked += seed % 2 == 0 && there;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_in_range(linked, 10, SEEDS / 2 - 10);
}

static void sync_dir__rename_of_new_file__brings_what_it_builds_upon(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct disk d = disk_create(seed);
        assert_ok(d.fs.ops->mkdir(d.fs.ctx, "a", NULL));
        assert_ok(sync_dir(&d, ""));
        close_file(&d, open_ok(&d, "a/tmp", RW | TSDB_OPEN_CREATE));
        assert_ok(d.fs.ops->rename(d.fs.ctx, "a/tmp", "f", NULL));
        assert_ok(sync_dir(&d, "")); /* the creation in "a" was never synced itself */
        tsdb_fs_sim_crash(d.sim);
        assert_true(exists(&d, "f"));
        assert_false(exists(&d, "a/tmp")); /* and must not come back */
        tsdb_fs_sim_destroy(d.sim);
    }
}

static void kill__written_not_synced__all_kept_then_still_not_synced(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct disk d = disk_create(seed);
        struct tsdb_file *f = open_ok(&d, "f", RW | TSDB_OPEN_CREATE);
        assert_ok(write_at(&d, f, "written", 7, 0));
        tsdb_fs_sim_kill(d.sim);
        char c;
        size_t n = 0;
        struct tsdb_error err = {0};
        assert_int_equal(d.fs.ops->pread(d.fs.ctx, f, &c, 1, 0, &n, &err), TSDB_IO);
        assert_int_equal(write_at(&d, f, "x", 1, 0), TSDB_IO); /* that process is gone */
        assert_int_equal(sync_file(&d, f), TSDB_IO);
        close_file(&d, f);
        char got[16];
        assert_int_equal(slurp(&d, "f", got, sizeof got), 7);
        assert_string_equal(got, "written");
        tsdb_fs_sim_crash(d.sim);
        lost += !exists(&d, "f") || slurp(&d, "f", got, sizeof got) < 7;
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(lost > 20);
}

static void lock__kill_or_crash__free_again(void **state)
{
    (void)state;
    struct disk d = disk_create(1);
    for (int i = 0; i < 4; i++) {
        struct tsdb_file *first = NULL;
        struct tsdb_file *second = NULL;
        assert_ok(d.fs.ops->lock(d.fs.ctx, "LOCK", &first, NULL));
        assert_int_equal(d.fs.ops->lock(d.fs.ctx, "LOCK", &second, NULL), TSDB_BUSY);
        (i % 2 ? tsdb_fs_sim_crash : tsdb_fs_sim_kill)(d.sim);
        assert_ok(d.fs.ops->lock(d.fs.ctx, "LOCK", &second, NULL));
        close_file(&d, first); /* the old holder's close must not free the new holder's lock */
        first = NULL;
        assert_int_equal(d.fs.ops->lock(d.fs.ctx, "LOCK", &first, NULL), TSDB_BUSY);
        close_file(&d, second);
    }
    tsdb_fs_sim_destroy(d.sim);
}

static void fault__eio_on_write__prefix_at_most_and_handle_poisoned(void **state)
{
    (void)state;
    bool partial = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", "..........", 10);
        struct tsdb_file *f = open_ok(&d, "f", RW);
        struct tsdb_error err = {0};
        tsdb_fs_sim_fault(d.sim, TSDB_FAULT_EIO, 1, 1);
        assert_int_equal(d.fs.ops->pwrite(d.fs.ctx, f, "0123456789", 10, 0, &err), TSDB_IO);
        assert_int_equal(err.sys_errno, EIO);
        assert_int_equal(write_at(&d, f, "x", 1, 0), TSDB_IO); /* poisoned, not faulty any more */
        assert_int_equal(sync_file(&d, f), TSDB_IO);
        assert_int_equal(d.fs.ops->truncate(d.fs.ctx, f, 0, NULL), TSDB_IO);
        close_file(&d, f);
        char got[16];
        assert_int_equal(slurp(&d, "f", got, sizeof got), 10);
        size_t n = strspn(got, "0123456789");
        assert_memory_equal(got, "0123456789", n);
        assert_int_equal(strspn(got + n, "."), 10 - n);
        partial = partial || (n > 0 && n < 10);
        f = open_ok(&d, "f", RW); /* a new handle works */
        assert_ok(write_at(&d, f, "0123456789", 10, 0));
        close_file(&d, f);
        tsdb_fs_sim_destroy(d.sim);
    }
    assert_true(partial);
}

static void fault__eio_on_sync__dirty_pages_gone_and_forgotten(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct disk d = disk_create(seed);
        put_synced(&d, "f", "old", 3);
        struct tsdb_file *f = open_ok(&d, "f", RW);
        assert_ok(write_at(&d, f, "newer", 5, 0));
        tsdb_fs_sim_fault(d.sim, TSDB_FAULT_EIO, 1, 1);
        assert_int_equal(sync_file(&d, f), TSDB_IO);
        assert_int_equal(sync_file(&d, f), TSDB_IO); /* the handle is poisoned */
        close_file(&d, f);
        f = open_ok(&d, "f", RW);
        assert_ok(sync_file(&d, f)); /* the trap: says OK, and the data are not there */
        close_file(&d, f);
        char got[16];
        tsdb_fs_sim_crash(d.sim);
        assert_int_equal(slurp(&d, "f", got, sizeof got), 3);
        assert_string_equal(got, "old");
        tsdb_fs_sim_destroy(d.sim);
    }
}

static void fault__enospc__hinders_what_needs_room_only(void **state)
{
    (void)state;
    struct disk d = disk_create(7);
    const struct tsdb_fs_ops *ops = d.fs.ops;
    put_synced(&d, "f", "data", 4);
    struct tsdb_file *f = open_ok(&d, "f", RW);
    struct tsdb_file *g = open_ok(&d, "f", RW);
    struct tsdb_file *none = NULL;
    struct tsdb_error err = {0};
    tsdb_fs_sim_fault(d.sim, TSDB_FAULT_ENOSPC, 1, 1000);
    assert_int_equal(ops->pwrite(d.fs.ctx, f, "x", 1, 4, &err), TSDB_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_int_equal(ops->preallocate(d.fs.ctx, g, 4096, &err), TSDB_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_int_equal(ops->open(d.fs.ctx, "g", RW | TSDB_OPEN_CREATE, &none, &err), TSDB_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_int_equal(ops->mkdir(d.fs.ctx, "d", &err), TSDB_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_false(exists(&d, "g"));
    assert_false(exists(&d, "d"));
    close_file(&d, f);
    close_file(&d, g);
    f = open_ok(&d, "f", RW | TSDB_OPEN_CREATE); /* it exists */
    assert_ok(sync_file(&d, f));
    assert_ok(ops->truncate(d.fs.ctx, f, 0, NULL));
    close_file(&d, f);
    assert_ok(ops->rename(d.fs.ctx, "f", "h", NULL));
    assert_ok(ops->unlink(d.fs.ctx, "h", NULL));
    assert_ok(sync_dir(&d, ""));
    tsdb_fs_sim_fault(d.sim, TSDB_FAULT_NONE, 0, 0);
    put_synced(&d, "g", "room", 4);
    tsdb_fs_sim_destroy(d.sim);
}

static void fault__index_and_count__exactly_those_operations(void **state)
{
    (void)state;
    struct disk d = disk_create(3);
    tsdb_fs_sim_fault(d.sim, TSDB_FAULT_EIO, 3, 2);
    const enum tsdb_status want[] = {TSDB_OK, TSDB_OK, TSDB_IO, TSDB_IO, TSDB_OK, TSDB_OK};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(want); i++) {
        char name[8];
        snprintf(name, sizeof name, "d%zu", i);
        assert_int_equal(d.fs.ops->mkdir(d.fs.ctx, name, NULL), want[i]);
        assert_int_equal(exists(&d, name), want[i] == TSDB_OK);
    }
    tsdb_fs_sim_destroy(d.sim);
}

static void fault__halt__nothing_works_or_changes_until_reboot(void **state)
{
    (void)state;
    struct disk d = disk_create(5);
    const struct tsdb_fs_ops *ops = d.fs.ops;
    put_synced(&d, "f", "data", 4);
    struct tsdb_file *f = open_ok(&d, "f", RW);
    struct tsdb_file *none = NULL;
    tsdb_fs_sim_fault(d.sim, TSDB_FAULT_HALT, 2, 1);
    assert_ok(ops->mkdir(d.fs.ctx, "before", NULL));
    assert_int_equal(ops->mkdir(d.fs.ctx, "d", NULL), TSDB_IO);
    uint64_t ops_done = tsdb_fs_sim_op_count(d.sim);
    assert_int_equal(ops->mkdir(d.fs.ctx, "d", NULL), TSDB_IO);
    assert_int_equal(write_at(&d, f, "xxxx", 4, 0), TSDB_IO);
    assert_int_equal(sync_file(&d, f), TSDB_IO);
    assert_int_equal(ops->unlink(d.fs.ctx, "f", NULL), TSDB_IO);
    assert_int_equal(ops->rename(d.fs.ctx, "f", "g", NULL), TSDB_IO);
    assert_int_equal(sync_dir(&d, ""), TSDB_IO);
    assert_int_equal(ops->open(d.fs.ctx, "f", TSDB_OPEN_READ, &none, NULL), TSDB_IO);
    char c;
    size_t n = 0;
    assert_int_equal(ops->pread(d.fs.ctx, f, &c, 1, 0, &n, NULL), TSDB_IO);
    struct tsdb_file_info info;
    assert_int_equal(ops->stat(d.fs.ctx, "f", &info, NULL), TSDB_IO);
    assert_int_equal(tsdb_fs_sim_op_count(d.sim), ops_done);
    tsdb_fs_sim_kill(d.sim);
    close_file(&d, f);
    char got[8];
    assert_true(exists(&d, "before"));
    assert_false(exists(&d, "d"));
    assert_int_equal(slurp(&d, "f", got, sizeof got), 4);
    assert_string_equal(got, "data");
    assert_ok(ops->mkdir(d.fs.ctx, "d", NULL)); /* works again */
    tsdb_fs_sim_destroy(d.sim);
}

static void op_count__mutations__counted_and_nothing_else(void **state)
{
    (void)state;
    struct disk d = disk_create(5);
    const struct tsdb_fs_ops *ops = d.fs.ops;
    void *ctx = d.fs.ctx;
    struct tsdb_file_info info;
    char c;
    size_t n;
    uint64_t free_bytes;
    uint64_t total_bytes;
    assert_int_equal(tsdb_fs_sim_op_count(d.sim), 0);
    struct tsdb_file *f = open_ok(&d, "f", RW | TSDB_OPEN_CREATE); /* 1 */
    assert_ok(write_at(&d, f, "x", 1, 0));                         /* 2 */
    assert_ok(sync_file(&d, f));                                   /* 3 */
    assert_ok(ops->truncate(ctx, f, 0, NULL));                     /* 4 */
    assert_ok(ops->preallocate(ctx, f, 10, NULL));                 /* 5 */
    assert_ok(ops->rename(ctx, "f", "g", NULL));                   /* 6 */
    assert_ok(ops->mkdir(ctx, "d", NULL));                         /* 7 */
    assert_ok(sync_dir(&d, ""));                                   /* 8 */
    assert_ok(ops->rmdir(ctx, "d", NULL));                         /* 9 */
    assert_ok(ops->unlink(ctx, "g", NULL));                        /* 10 */
    close_file(&d, f);
    close_file(&d, open_ok(&d, "h", RW | TSDB_OPEN_CREATE)); /* 11 */
    assert_int_equal(tsdb_fs_sim_op_count(d.sim), 11);
    f = open_ok(&d, "h", RW | TSDB_OPEN_CREATE);
    assert_ok(ops->pread(ctx, f, &c, 1, 0, &n, NULL));
    assert_ok(ops->stat(ctx, "h", &info, NULL));
    assert_ok(ops->space(ctx, &free_bytes, &total_bytes, NULL));
    assert_int_equal(ops->unlink(ctx, "none", NULL), TSDB_NOT_FOUND);
    close_file(&d, f);
    assert_int_equal(tsdb_fs_sim_op_count(d.sim), 11);
    tsdb_fs_sim_destroy(d.sim);
}

static void capacity__full__enospc_until_there_is_room(void **state)
{
    (void)state;
    struct disk d = disk_create(6);
    const struct tsdb_fs_ops *ops = d.fs.ops;
    struct tsdb_error err;
    struct tsdb_file_info info;
    uint64_t free_bytes = 0, total_bytes = 0;
    char data[100] = {1};
    put_synced(&d, "first", data, 60);
    tsdb_fs_sim_capacity(d.sim, 150);
    struct tsdb_file *f = open_ok(&d, "f", RW | TSDB_OPEN_CREATE);
    assert_ok(write_at(&d, f, data, 80, 0));
    assert_ok(write_at(&d, f, data, 80, 0)); /* in place */
    assert_ok(ops->space(d.fs.ctx, &free_bytes, &total_bytes, NULL));
    assert_int_equal(free_bytes, 10);
    assert_int_equal(total_bytes, 150);
    assert_int_equal(ops->pwrite(d.fs.ctx, f, data, 11, 80, &err), TSDB_IO);
    assert_true(tsdb_error_is_no_space(&err));
    assert_int_equal(write_at(&d, f, data, 1, 0), TSDB_IO); /* the handle is poisoned */
    close_file(&d, f);
    assert_ok(ops->stat(d.fs.ctx, "f", &info, NULL));
    assert_in_range(info.size_bytes, 80, 90);
    assert_ok(ops->unlink(d.fs.ctx, "first", NULL)); /* and nobody has it open */
    f = open_ok(&d, "f", RW);
    assert_ok(write_at(&d, f, data, 60, 80));
    assert_int_equal(tsdb_fs_sim_used(d.sim), 140);
    close_file(&d, f);
    tsdb_fs_sim_destroy(d.sim);
}

static void slow__every_change__takes_time_and_reads_none(void **state)
{
    (void)state;
    struct disk d = disk_create(7);
    struct tsdb_clock_sim clock = {0};
    char c = 0;
    size_t n = 0;
    tsdb_fs_sim_slow(d.sim, &clock, 1000);
    struct tsdb_file *f = open_ok(&d, "f", RW | TSDB_OPEN_CREATE);
    assert_ok(write_at(&d, f, "x", 1, 0));
    assert_ok(sync_file(&d, f));
    int64_t then = clock.wall_ms;
    assert_in_range(then, 1, 3000);
    assert_ok(d.fs.ops->pread(d.fs.ctx, f, &c, 1, 0, &n, NULL));
    tsdb_fs_sim_slow(d.sim, &clock, 0);
    assert_ok(write_at(&d, f, "x", 1, 0));
    assert_int_equal(clock.wall_ms, then);
    close_file(&d, f);
    tsdb_fs_sim_destroy(d.sim);
}

static void flip__range__that_many_bits_there_and_nowhere_else(void **state)
{
    (void)state;
    static uint8_t zeroes[10000];
    static uint8_t got[10001];
    struct disk d = disk_create(11);
    put_synced(&d, "f", zeroes, sizeof zeroes);
    tsdb_fs_sim_flip(d.sim, "f", 4000, 4100, 37);
    tsdb_fs_sim_flip(d.sim, "f", 9999, 20000,
                     100); /* cut to what is there: one byte, its eight bits */
    tsdb_fs_sim_flip(d.sim, "f", 10000, 20000, 100);
    for (int cut = 0; cut < 2; cut++) {
        assert_int_equal(slurp(&d, "f", (char *)got, sizeof got), sizeof zeroes);
        unsigned inside = 0;
        unsigned outside = 0;
        for (size_t i = 0; i < 9999; i++) {
            unsigned bits = (unsigned)__builtin_popcount(got[i]);
            *(i >= 4000 && i < 4100 ? &inside : &outside) += bits;
        }
        assert_int_equal(inside, 37);
        assert_int_equal(outside, 0);
        assert_int_equal(got[9999], 0xff);
        tsdb_fs_sim_crash(d.sim); /* it is on the disk, not in a cache */
    }
    tsdb_fs_sim_destroy(d.sim);
}

static enum tsdb_status read_at(struct disk *d, struct tsdb_file *f, uint64_t offset, size_t len)
{
    char buf[64];
    size_t got = 0;
    assert_true(len <= sizeof buf);
    return d->fs.ops->pread(d->fs.ctx, f, buf, len, offset, &got, NULL);
}

static void bad__stretch__reads_that_touch_it_fail_until_mended(void **state)
{
    (void)state;
    static const uint8_t zeroes[100];
    struct disk d = disk_create(12);
    struct tsdb_file *f = NULL;
    put_synced(&d, "f", zeroes, sizeof zeroes);
    put_synced(&d, "g", zeroes, sizeof zeroes);
    assert_int_equal(d.fs.ops->open(d.fs.ctx, "f", TSDB_OPEN_READ | TSDB_OPEN_WRITE, &f, NULL),
                     TSDB_OK);
    tsdb_fs_sim_bad(d.sim, "f", 40, 42);
    tsdb_fs_sim_bad(d.sim, "g", 0, 100);
    assert_int_equal(read_at(&d, f, 20, 20), TSDB_OK);
    assert_int_equal(read_at(&d, f, 42, 20), TSDB_OK);
    assert_int_equal(read_at(&d, f, 20, 21), TSDB_IO);
    assert_int_equal(read_at(&d, f, 41, 1), TSDB_IO);
    assert_int_equal(d.fs.ops->pwrite(d.fs.ctx, f, zeroes, 10, 38, NULL), TSDB_OK);
    assert_int_equal(read_at(&d, f, 41, 1), TSDB_IO); /* a write does not mend it */
    tsdb_fs_sim_bad(d.sim, "f", 0, 0);
    assert_int_equal(read_at(&d, f, 0, 60), TSDB_OK);
    d.fs.ops->close(d.fs.ctx, f);
    assert_int_equal(d.fs.ops->open(d.fs.ctx, "g", TSDB_OPEN_READ, &f, NULL), TSDB_OK);
    assert_int_equal(d.fs.ops->unlink(d.fs.ctx, "g", NULL), TSDB_OK);
    assert_int_equal(read_at(&d, f, 0, 1), TSDB_IO);
    tsdb_fs_sim_mend_all(d.sim);
    assert_int_equal(read_at(&d, f, 0, 1), TSDB_OK);
    d.fs.ops->close(d.fs.ctx, f);
    tsdb_fs_sim_destroy(d.sim);
}

/* ---- the same seed, the same outcome; and the engine's own pattern at every crash point ---- */

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * 1099511628211u;
    }
    return h;
}

/* A workload with a bit of everything, errors ignored; returns a hash of what is left after the
 * cut. */
static uint64_t outcome(uint64_t seed)
{
    static uint8_t data[3000];
    struct disk d = disk_create(seed);
    const struct tsdb_fs_ops *ops = d.fs.ops;
    void *ctx = d.fs.ctx;
    char name[16];
    char other[16];
    for (unsigned i = 0; i < 40; i++) {
        struct tsdb_file *f = NULL;
        memset(data, (int)i + 1, sizeof data);
        snprintf(name, sizeof name, "f%u", i % 7);
        snprintf(other, sizeof other, "f%u", i % 5);
        if (i == 30) {
            tsdb_fs_sim_fault(d.sim, TSDB_FAULT_EIO, 3, 2);
        }
        if (ops->open(ctx, name, RW | TSDB_OPEN_CREATE, &f, NULL) == TSDB_OK) {
            (void)ops->pwrite(ctx, f, data, 100 + i * 61, i * 97, NULL);
            (void)(i % 3 ? TSDB_OK : ops->sync(ctx, f, NULL));
            ops->close(ctx, f);
        }
        (void)(i % 4 ? TSDB_OK : ops->rename(ctx, name, other, NULL));
        (void)(i % 11 ? TSDB_OK : ops->sync_dir(ctx, "", NULL));
    }
    tsdb_fs_sim_crash(d.sim);
    static uint8_t got[8000];
    uint64_t h = 14695981039346656037u;
    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "f%u", i);
        if (exists(&d, name)) {
            h = mix(h, name, strlen(name));
            h = mix(h, got, slurp(&d, name, (char *)got, sizeof got));
        }
    }
    tsdb_fs_sim_destroy(d.sim);
    return h;
}

static void crash__same_seed__same_outcome(void **state)
{
    (void)state;
    unsigned differ = 0;
    for (uint64_t seed = 0; seed < 30; seed++) {
        assert_int_equal(outcome(seed), outcome(seed));
        differ += outcome(seed) != outcome(seed + 1);
    }
    assert_true(differ > 20);
}

static void file_replace__halt_at_every_operation__old_or_new_content(void **state)
{
    (void)state;
    unsigned old_seen = 0;
    unsigned new_seen = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        for (uint64_t at = 1; at <= 6; at++) { /* five operations: the sixth never comes */
            struct disk d = disk_create(seed * 100 + at);
            put_synced(&d, "f", "old", 3);
            tsdb_fs_sim_fault(d.sim, TSDB_FAULT_HALT, at, 1);
            enum tsdb_status status = tsdb_file_replace(&d.fs, "f", "fresh", 5, NULL);
            assert_int_equal(status, at <= 5 ? TSDB_IO : TSDB_OK);
            tsdb_fs_sim_crash(d.sim);
            char got[16];
            slurp(&d, "f", got, sizeof got);
            bool is_new = strcmp(got, "fresh") == 0;
            assert_true(is_new || strcmp(got, "old") == 0);
            assert_true(is_new || status != TSDB_OK);
            old_seen += !is_new;
            new_seen += is_new && status != TSDB_OK;
            tsdb_fs_sim_destroy(d.sim);
        }
    }
    assert_true(old_seen > 0);
    assert_true(new_seen > 0);
}

static void fs_sim__failing_allocations__are_the_engines_not_the_disks(void **state)
{
    (void)state;
    struct disk d = disk_create(1);
    tsdb_alloc_fail_nth(1, 1);
    struct tsdb_file *f = NULL;
    enum tsdb_status open_status = d.fs.ops->open(d.fs.ctx, "f", RW | TSDB_OPEN_CREATE, &f, NULL);
    enum tsdb_status write_status = f ? write_at(&d, f, "x", 1, 0) : TSDB_NOMEM;
    tsdb_alloc_ops_set(NULL);
    assert_ok(open_status);
    assert_ok(write_status);
    close_file(&d, f);
    tsdb_fs_sim_destroy(d.sim);
    tsdb_fs_sim_destroy(NULL);
}

#define THREADS 3
#define ROUNDS  200

struct worker {
    pthread_t thread;
    const struct disk *disk;
    unsigned id;
    unsigned failed;
};

static void *replace_often(void *arg)
{
    struct worker *w = arg;
    char path[16];
    char text[32];
    snprintf(path, sizeof path, "f%u", w->id);
    for (unsigned i = 0; i < ROUNDS; i++) {
        int len = snprintf(text, sizeof text, "%u of %u", i, w->id);
        w->failed += tsdb_file_replace(&w->disk->fs, path, text, (size_t)len, NULL) != TSDB_OK;
    }
    return NULL;
}

static void fs_sim__several_threads__all_operations_done(void **state)
{
    (void)state;
    struct disk d = disk_create(1);
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.disk = &d, .id = i};
        assert_ok(
            tsdb_thread_start(&workers[i].thread, "replace", replace_often, &workers[i], NULL));
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, 0);
    }
    assert_int_equal(tsdb_fs_sim_op_count(d.sim), THREADS * ROUNDS * 5);
    tsdb_fs_sim_crash(d.sim);
    char got[32];
    assert_int_equal(slurp(&d, "f2", got, sizeof got), strlen("199 of 2"));
    assert_string_equal(got, "199 of 2");
    tsdb_fs_sim_destroy(d.sim);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(crash__synced_write_and_name__always_there),
    cmocka_unit_test(crash__overwrite_not_synced__sectors_old_or_new_never_mixed),
    cmocka_unit_test(crash__appends_into_one_sector__a_prefix_of_them),
    cmocka_unit_test(crash__append_not_synced__size_between_old_and_new),
    cmocka_unit_test(crash__truncate_not_synced__old_or_new_size),
    cmocka_unit_test(crash__name_not_synced__file_may_be_gone_though_its_data_was),
    cmocka_unit_test(crash__unlink_and_rmdir_not_synced__may_come_back),
    cmocka_unit_test(crash__unlink_synced__stays_gone),
    cmocka_unit_test(crash__directory_name_not_synced__takes_what_is_in_it_along),
    cmocka_unit_test(crash__rename_over_a_file__old_or_new_and_new_if_synced),
    cmocka_unit_test(crash__rename_of_file_that_was_not_synced__name_new_content_not),
    cmocka_unit_test(crash__rename_between_directories__in_exactly_one),
    cmocka_unit_test(crash__renamed_twice__has_exactly_one_of_its_names),
    cmocka_unit_test(crash__link_not_synced__the_first_name_stays),
    cmocka_unit_test(sync_dir__rename_of_new_file__brings_what_it_builds_upon),
    cmocka_unit_test(kill__written_not_synced__all_kept_then_still_not_synced),
    cmocka_unit_test(lock__kill_or_crash__free_again),
    cmocka_unit_test(fault__eio_on_write__prefix_at_most_and_handle_poisoned),
    cmocka_unit_test(fault__eio_on_sync__dirty_pages_gone_and_forgotten),
    cmocka_unit_test(fault__enospc__hinders_what_needs_room_only),
    cmocka_unit_test(fault__index_and_count__exactly_those_operations),
    cmocka_unit_test(fault__halt__nothing_works_or_changes_until_reboot),
    cmocka_unit_test(op_count__mutations__counted_and_nothing_else),
    cmocka_unit_test(capacity__full__enospc_until_there_is_room),
    cmocka_unit_test(slow__every_change__takes_time_and_reads_none),
    cmocka_unit_test(flip__range__that_many_bits_there_and_nowhere_else),
    cmocka_unit_test(bad__stretch__reads_that_touch_it_fail_until_mended),
    cmocka_unit_test(crash__same_seed__same_outcome),
    cmocka_unit_test(file_replace__halt_at_every_operation__old_or_new_content),
    cmocka_unit_test(fs_sim__failing_allocations__are_the_engines_not_the_disks),
    cmocka_unit_test(fs_sim__several_threads__all_operations_done),
};

TEST_MAIN(tests)
