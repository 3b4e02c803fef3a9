#include "base/file.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/file_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum tsdb_status tsdb_file_path_check(const char *path, bool root_allowed, struct tsdb_error *err)
{
    size_t len = strlen(path);
    if (len == 0) {
        return root_allowed ? TSDB_OK : tsdb_error_set(err, TSDB_INVALID, "path is empty");
    }
    if (len > TSDB_FILE_PATH_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "path of %zu bytes, at most %d: %.40s...", len,
                              TSDB_FILE_PATH_BYTES_MAX, path);
    }
    for (const char *name = path;;) {
        size_t name_len = strcspn(name, "/");
        if (name_len == 0 || (name_len == 1 && name[0] == '.') ||
            (name_len == 2 && name[0] == '.' && name[1] == '.')) {
            return tsdb_error_set_at(err, TSDB_INVALID, (uint64_t)(name - path),
                                     "path '%s': absolute, or with an empty, '.' or '..' component",
                                     path);
        }
        if (name_len > TSDB_FILE_NAME_BYTES_MAX) {
            return tsdb_error_set_at(err, TSDB_INVALID, (uint64_t)(name - path),
                                     "file name of %zu bytes, at most %d", name_len,
                                     TSDB_FILE_NAME_BYTES_MAX);
        }
        if (name[name_len] == '\0') {
            return TSDB_OK;
        }
        name += name_len + 1;
    }
}

enum tsdb_status tsdb_file_open_check(const char *path, unsigned flags, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK) {
        return status;
    }
    const unsigned known =
        TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_EXCL | TSDB_OPEN_TRUNCATE;
    bool bad = (flags & ~known) != 0 || (flags & (TSDB_OPEN_READ | TSDB_OPEN_WRITE)) == 0 ||
               ((flags & TSDB_OPEN_TRUNCATE) && !(flags & TSDB_OPEN_WRITE)) ||
               ((flags & TSDB_OPEN_EXCL) && !(flags & TSDB_OPEN_CREATE));
    return bad ? tsdb_error_set(err, TSDB_INVALID, "open %s: flags %#x make no sense", path, flags)
               : TSDB_OK;
}

enum tsdb_status tsdb_file_rename_check(const char *from, const char *to, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(from, false, err);
    return status == TSDB_OK ? tsdb_file_path_check(to, false, err) : status;
}

enum tsdb_status tsdb_file_range_check(const char *path, uint64_t offset, uint64_t len,
                                       struct tsdb_error *err)
{
    if (offset <= INT64_MAX && len <= INT64_MAX - offset) {
        return TSDB_OK;
    }
    return tsdb_error_set_at(err, TSDB_INVALID, offset,
                             "%s: %llu bytes at byte %llu are beyond any file", path,
                             (unsigned long long)len, (unsigned long long)offset);
}

enum tsdb_status tsdb_file_fail(struct tsdb_error *err, int sys_errno, const char *verb,
                                const char *path)
{
    const char *shown = path[0] ? path : "the root directory";
    switch (sys_errno) {
    case EEXIST:
    case EISDIR:
    case ENOTDIR:
    case ENAMETOOLONG:
    case EINVAL: {
        char text[96];
        return tsdb_error_set(err, TSDB_INVALID, "%s %s: %s", verb, shown,
                              strerror_r(sys_errno, text, sizeof text));
    }
    default:
        return tsdb_error_set_errno(err, sys_errno, "%s %s", verb, shown);
    }
}

static enum tsdb_status read_open_file(const struct tsdb_fs *fs, struct tsdb_file *f,
                                       const char *path, size_t len,
                                       enum tsdb_mem_category category, uint8_t **out_data,
                                       struct tsdb_error *err)
{
    uint8_t *data = NULL;
    if (len > 0) {
        data = tsdb_mem_alloc(category, len);
        if (!data) {
            return tsdb_error_nomem(err, "a whole file");
        }
        size_t got = 0;
        enum tsdb_status status = fs->ops->pread(fs->ctx, f, data, len, 0, &got, err);
        if (status == TSDB_OK && got != len) {
            status =
                tsdb_error_set_errno(err, EIO, "read %s: %zu bytes, expected %zu", path, got, len);
        }
        if (status != TSDB_OK) {
            tsdb_mem_free(category, data, len);
            return status;
        }
    }
    *out_data = data;
    return TSDB_OK;
}

enum tsdb_status tsdb_file_read_all(const struct tsdb_fs *fs, const char *path, size_t bytes_max,
                                    enum tsdb_mem_category category, uint8_t **out_data,
                                    size_t *out_len, struct tsdb_error *err)
{
    struct tsdb_file *f = NULL;
    enum tsdb_status status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_file_info info;
    status = fs->ops->stat(fs->ctx, path, &info, err);
    if (status == TSDB_OK && info.size_bytes > bytes_max) {
        status = tsdb_error_set(err, TSDB_LIMIT, "%s has %llu bytes, at most %zu are read", path,
                                (unsigned long long)info.size_bytes, bytes_max);
    }
    if (status == TSDB_OK) {
        status = read_open_file(fs, f, path, (size_t)info.size_bytes, category, out_data, err);
        if (status == TSDB_OK) {
            *out_len = (size_t)info.size_bytes;
        }
    }
    fs->ops->close(fs->ctx, f);
    return status;
}

static enum tsdb_status write_synced(const struct tsdb_fs *fs, const char *path, const void *data,
                                     size_t len, struct tsdb_error *err)
{
    struct tsdb_file *f = NULL;
    enum tsdb_status status = fs->ops->open(
        fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = fs->ops->pwrite(fs->ctx, f, data, len, 0, err);
    if (status == TSDB_OK) {
        status = fs->ops->sync(fs->ctx, f, err);
    }
    fs->ops->close(fs->ctx, f);
    return status;
}

enum tsdb_status tsdb_file_replace(const struct tsdb_fs *fs, const char *path, const void *data,
                                   size_t len, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK) {
        return status;
    }
    char tmp[TSDB_FILE_PATH_BYTES_MAX + 8];
    char dir[TSDB_FILE_PATH_BYTES_MAX + 1] = "";
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    const char *slash = strrchr(path, '/');
    if (slash) {
        memcpy(dir, path, (size_t)(slash - path));
        dir[slash - path] = '\0';
    }
    status = write_synced(fs, tmp, data, len, err);
    if (status == TSDB_OK) {
        status = fs->ops->rename(fs->ctx, tmp, path, err);
    }
    if (status != TSDB_OK) {
        (void)fs->ops->unlink(fs->ctx, tmp,
                              NULL); /* tidying; the next replace truncates it anyway */
        return status;
    }
    return fs->ops->sync_dir(fs->ctx, dir, err);
}

/* ---- whole files, a slice at a time ---- */

#define SLICE_BYTES (256u << 10)

typedef enum tsdb_status (*slice_fn)(void *arg, const uint8_t *data, size_t len, uint64_t at,
                                     struct tsdb_error *err);

/* Hand the first `bytes` bytes to fn, or as many as there are. */
static enum tsdb_status read_slices(const struct tsdb_fs *fs, const char *path, uint64_t bytes,
                                    slice_fn fn, void *arg, struct tsdb_error *err)
{
    struct tsdb_file *f = NULL;
    uint8_t *buf = tsdb_mem_alloc(TSDB_MEM_OTHER, SLICE_BYTES);
    if (!buf) {
        return tsdb_error_nomem(err, "a slice of a file");
    }
    enum tsdb_status status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &f, err);
    uint64_t at = 0;
    size_t got = 1;
    while (status == TSDB_OK && at < bytes && got > 0) {
        size_t want = (size_t)TSDB_MIN(bytes - at, (uint64_t)SLICE_BYTES);
        status = fs->ops->pread(fs->ctx, f, buf, want, at, &got, err);
        if (status == TSDB_OK && got > 0) {
            status = fn(arg, buf, got, at, err);
            at += got;
        }
    }
    fs->ops->close(fs->ctx, f);
    tsdb_mem_free(TSDB_MEM_OTHER, buf, SLICE_BYTES);
    return status;
}

struct copying {
    const struct tsdb_fs *fs;
    struct tsdb_file *to;
    uint64_t bytes;
};

static enum tsdb_status copy_slice(void *arg, const uint8_t *data, size_t len, uint64_t at,
                                   struct tsdb_error *err)
{
    struct copying *c = arg;
    c->bytes = at + len;
    return c->fs->ops->pwrite(c->fs->ctx, c->to, data, len, at, err);
}

enum tsdb_status tsdb_file_copy(const struct tsdb_fs *fs, const char *from, const char *to,
                                uint64_t bytes, struct tsdb_error *err)
{
    struct copying c = {.fs = fs};
    enum tsdb_status status =
        fs->ops->open(fs->ctx, to, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_EXCL, &c.to, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = read_slices(fs, from, bytes, copy_slice, &c, err);
    if (status == TSDB_OK && c.bytes < bytes) {
        status = tsdb_error_set_at(err, TSDB_CORRUPT, c.bytes,
                                   "copy %s: it ends at byte %llu, expected %llu", from,
                                   (unsigned long long)c.bytes, (unsigned long long)bytes);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync(fs->ctx, c.to, err);
    }
    fs->ops->close(fs->ctx, c.to);
    return status;
}

struct summing {
    const _Atomic(uint32_t) *cancel;
    uint64_t bytes;
    uint32_t crc;
};

static enum tsdb_status sum_slice(void *arg, const uint8_t *data, size_t len, uint64_t at,
                                  struct tsdb_error *err)
{
    struct summing *s = arg;
    s->crc = tsdb_crc32c(s->crc, data, len);
    s->bytes = at + len;
    return s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed) != 0
               ? tsdb_error_set(err, TSDB_CANCELLED, "cancelled while a file was read")
               : TSDB_OK;
}

enum tsdb_status tsdb_file_checksum(const struct tsdb_fs *fs, const char *path,
                                    const _Atomic(uint32_t) *cancel, uint64_t *out_bytes,
                                    uint32_t *out_crc, struct tsdb_error *err)
{
    struct summing s = {.cancel = cancel};
    enum tsdb_status status = read_slices(fs, path, UINT64_MAX, sum_slice, &s, err);
    if (status == TSDB_OK) {
        *out_bytes = s.bytes;
        *out_crc = s.crc;
    }
    return status;
}

/* ---- trees ---- */

/* One name at a time: nothing vanishes from a directory while it is listed. */
struct tree_first {
    char name[TSDB_FILE_NAME_BYTES_MAX + 1];
    bool found, is_dir;
};

static enum tsdb_status tree_take_first(void *arg, const char *name, bool is_dir)
{
    struct tree_first *f = arg;
    if (!f->found && strlen(name) < sizeof f->name) {
        memcpy(f->name, name, strlen(name) + 1);
        f->is_dir = is_dir;
        f->found = true;
    }
    return TSDB_OK;
}

/* The first entry of the path's last directory; an empty directory goes, and the path becomes that of
 * its parent. A walk instead of a recursion: path names where it is. */
static enum tsdb_status tree_step(const struct tsdb_fs *fs, char path[], size_t *depth,
                                  struct tsdb_error *err)
{
    struct tree_first first = {.found = false};
    size_t len = strlen(path);
    enum tsdb_status status = fs->ops->list(fs->ctx, path, tree_take_first, &first, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (!first.found) {
        status = fs->ops->rmdir(fs->ctx, path, err);
        char *slash = strrchr(path, '/');
        *(slash ? slash : path) = '\0';
        --*depth;
        return status;
    }
    if (len + 1 + strlen(first.name) > TSDB_FILE_PATH_BYTES_MAX || *depth == TSDB_FILE_TREE_DEPTH) {
        return tsdb_error_set(err, TSDB_LIMIT, "remove %s: the tree is too deep", path);
    }
    snprintf(path + len, TSDB_FILE_PATH_BYTES_MAX + 1 - len, "/%s", first.name);
    if (first.is_dir) {
        ++*depth;
        return TSDB_OK;
    }
    status = fs->ops->unlink(fs->ctx, path, err);
    path[len] = '\0';
    return status;
}

enum tsdb_status tsdb_file_tree_remove(const struct tsdb_fs *fs, const char *path,
                                       struct tsdb_error *err)
{
    struct tsdb_file_info info;
    char at[TSDB_FILE_PATH_BYTES_MAX + 1];
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status == TSDB_OK) {
        status = fs->ops->stat(fs->ctx, path, &info, err);
    }
    if (status != TSDB_OK || !info.is_dir) {
        return status == TSDB_OK ? fs->ops->unlink(fs->ctx, path, err)
                                 : (status == TSDB_NOT_FOUND ? TSDB_OK : status);
    }
    size_t depth = 1;
    memcpy(at, path, strlen(path) + 1);
    while (status == TSDB_OK && depth > 0) {
        status = tree_step(fs, at, &depth, err);
    }
    return status;
}
