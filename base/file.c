#include "base/file.h"

#include "base/assert.h"
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
