/* The real file table: the *at family below the descriptor of the root directory. */
#include "base/assert.h"
#include "base/file.h"
#include "base/file_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILE_CATEGORY       TSDB_MEM_OTHER
#define IO_BYTES_MAX        (1u << 30) /* Linux moves at most 2 GiB - 4 KiB in one call */
#define RESERVE_SHARE       4u   /* of the descriptors: connections, the log, files that are made */
#define DIR_MODE            0700 /* what is stored is for its owner alone */
#define FILE_MODE           0600
#define PATH_OF(dir_or_dot) ((dir_or_dot)[0] ? (dir_or_dot) : ".")

struct tsdb_file {
    int fd;
    int root_fd;            /* of a lock: the root, locked too; -1: none */
    bool reader;            /* counted in real_fs.readers */
    _Atomic(bool) poisoned; /* a write or sync failed; the log's writer and syncer share a handle */
    size_t path_bytes;      /* with NUL */
    char path[];            /* for messages */
};

struct real_fs {
    int root_fd;
    /* Descriptors: files that are only read may use so many at once; the rest is for the log, other
     * writes, and whoever knocks. */
    uint32_t readers_max;
    _Atomic(uint32_t) readers; /* relaxed: a number, orders nothing */
};

/* Never written: no const, so that it costs no room in the binary. */

static enum tsdb_status file_create(int fd, const char *path, struct tsdb_file **out,
                                    struct tsdb_error *err)
{
    size_t path_bytes = strlen(path) + 1;
    struct tsdb_file *f = tsdb_mem_alloc(FILE_CATEGORY, sizeof *f + path_bytes);
    if (!f) {
        close(fd);
        return tsdb_error_nomem(err, "an open file");
    }
    f->fd = fd;
    f->root_fd = -1;
    f->reader = false;
    f->poisoned = false;
    f->path_bytes = path_bytes;
    memcpy(f->path, path, path_bytes);
    *out = f;
    return TSDB_OK;
}

static int open_retry(int dir_fd, const char *path, int flags)
{
    int fd;
    do {
        fd = openat(dir_fd, path, flags | O_CLOEXEC | O_NOCTTY, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static int flags_to_system(unsigned flags)
{
    int system = O_RDONLY;
    if (flags & TSDB_OPEN_WRITE) {
        system = flags & TSDB_OPEN_READ ? O_RDWR : O_WRONLY;
    }
    system |= flags & TSDB_OPEN_CREATE ? O_CREAT : 0;
    system |= flags & TSDB_OPEN_EXCL ? O_EXCL : 0;
    system |= flags & TSDB_OPEN_TRUNCATE ? O_TRUNC : 0;
    /* A FIFO that somebody put there must not hang us; regular files do not care. */
    return system | O_NONBLOCK;
}

static bool reader_enter(struct real_fs *fs)
{
    if (atomic_fetch_add_explicit(&fs->readers, 1, memory_order_relaxed) < fs->readers_max) {
        return true;
    }
    atomic_fetch_sub_explicit(&fs->readers, 1, memory_order_relaxed);
    return false;
}

static void reader_exit(struct real_fs *fs)
{
    uint32_t before = atomic_fetch_sub_explicit(&fs->readers, 1, memory_order_relaxed);
    TSDB_ASSERT(before > 0);
}

static enum tsdb_status open_checked(const struct real_fs *fs, const char *path, unsigned flags,
                                     struct tsdb_file **out, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_open_check(path, flags, err);
    if (status != TSDB_OK) {
        return status;
    }
    int fd = open_retry(fs->root_fd, path, flags_to_system(flags));
    if (fd < 0) {
        return tsdb_file_fail(err, errno, "open", path);
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        status = tsdb_file_fail(err, errno, "stat", path);
    } else if (!S_ISREG(st.st_mode)) {
        status = tsdb_error_set(err, TSDB_INVALID, "open %s: not a regular file", path);
    }
    if (status != TSDB_OK) {
        close(fd);
        return status;
    }
    return file_create(fd, path, out, err);
}

static enum tsdb_status real_open(void *ctx, const char *path, unsigned flags,
                                  struct tsdb_file **out, struct tsdb_error *err)
{
    struct real_fs *fs = ctx;
    bool reader = !(flags & TSDB_OPEN_WRITE);
    if (reader && !reader_enter(fs)) {
        return tsdb_file_fail(err, EMFILE, "open", path);
    }
    enum tsdb_status status = open_checked(fs, path, flags, out, err);
    if (status == TSDB_OK) {
        (*out)->reader = reader;
    } else if (reader) {
        reader_exit(fs);
    }
    return status;
}

static void real_close(void *ctx, struct tsdb_file *f)
{
    if (f) {
        if (f->reader) {
            reader_exit(ctx);
        }
        /* Linux frees the descriptor whatever close answers, and errors of old writes are sync's to
         * report. */
        close(f->fd);
        if (f->root_fd >= 0) {
            close(f->root_fd);
        }
        tsdb_mem_free(FILE_CATEGORY, f, sizeof *f + f->path_bytes);
    }
}

static enum tsdb_status real_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                   uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    (void)ctx;
    enum tsdb_status status = tsdb_file_range_check(f->path, offset, len, err);
    if (status != TSDB_OK) {
        return status;
    }
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(f->fd, (uint8_t *)buf + done, TSDB_MIN(len - done, IO_BYTES_MAX),
                          (off_t)(offset + done));
        if (n == 0) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            return tsdb_file_fail(err, errno, "read", f->path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    *out_len = done;
    return TSDB_OK;
}

static enum tsdb_status poisoned_check(const struct tsdb_file *f, const char *verb,
                                       struct tsdb_error *err)
{
    return f->poisoned ? tsdb_error_set_errno(err, EIO, "%s %s: an earlier write or sync failed",
                                              verb, f->path)
                       : TSDB_OK;
}

static enum tsdb_status poison(struct tsdb_file *f, int sys_errno, const char *verb,
                               struct tsdb_error *err)
{
    f->poisoned = true;
    return tsdb_error_set_errno(err, sys_errno, "%s %s", verb, f->path);
}

static enum tsdb_status real_pwrite(void *ctx, struct tsdb_file *f, const void *buf, size_t len,
                                    uint64_t offset, struct tsdb_error *err)
{
    (void)ctx;
    enum tsdb_status status = tsdb_file_range_check(f->path, offset, len, err);
    if (status == TSDB_OK) {
        status = poisoned_check(f, "write", err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    size_t done = 0;
    while (done < len) {
        ssize_t n = pwrite(f->fd, (const uint8_t *)buf + done, TSDB_MIN(len - done, IO_BYTES_MAX),
                           (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return poison(f, n < 0 ? errno : EIO, "write", err);
        }
        done += (size_t)n;
    }
    return TSDB_OK;
}

static enum tsdb_status real_sync(void *ctx, struct tsdb_file *f, struct tsdb_error *err)
{
    (void)ctx;
    enum tsdb_status status = poisoned_check(f, "sync", err);
    if (status != TSDB_OK) {
        return status;
    }
    /* Not repeated upon any error, EINTR included: the second call may answer OK for pages that the
     * first one lost. */
    return fdatasync(f->fd) == 0 ? TSDB_OK : poison(f, errno, "sync", err);
}

static enum tsdb_status real_truncate(void *ctx, struct tsdb_file *f, uint64_t size,
                                      struct tsdb_error *err)
{
    (void)ctx;
    enum tsdb_status status = tsdb_file_range_check(f->path, size, 0, err);
    if (status == TSDB_OK) {
        status = poisoned_check(f, "truncate", err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    int rc;
    do {
        rc = ftruncate(f->fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? TSDB_OK : poison(f, errno, "truncate", err);
}

static enum tsdb_status real_preallocate(void *ctx, struct tsdb_file *f, uint64_t size,
                                         struct tsdb_error *err)
{
    (void)ctx;
    enum tsdb_status status = tsdb_file_range_check(f->path, 0, size, err);
    if (status == TSDB_OK) {
        status = poisoned_check(f, "preallocate", err);
    }
    if (status != TSDB_OK || size == 0) {
        return status;
    }
    /* The system call and not posix_fallocate, which would write byte by byte where the file system
     * cannot. */
    int rc;
    do {
        rc = fallocate(f->fd, 0, 0, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "%s: no room can be taken ahead", f->path);
    }
    return rc == 0 ? TSDB_OK : poison(f, errno, "preallocate", err);
}

static enum tsdb_status real_stat(void *ctx, const char *path, struct tsdb_file_info *out,
                                  struct tsdb_error *err)
{
    const struct real_fs *fs = ctx;
    enum tsdb_status status = tsdb_file_path_check(path, true, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct stat st;
    if (fstatat(fs->root_fd, PATH_OF(path), &st, 0) != 0) {
        return tsdb_file_fail(err, errno, "stat", path);
    }
    out->is_dir = S_ISDIR(st.st_mode);
    out->size_bytes = out->is_dir ? 0 : (uint64_t)st.st_size;
    return TSDB_OK;
}

static enum tsdb_status real_rename(void *ctx, const char *from, const char *to,
                                    struct tsdb_error *err)
{
    const struct real_fs *fs = ctx;
    enum tsdb_status status = tsdb_file_rename_check(from, to, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (renameat(fs->root_fd, from, fs->root_fd, to) != 0) {
        status = tsdb_file_fail(err, errno, "rename to", to);
        return tsdb_error_prefix(err, status, "%s", from);
    }
    return TSDB_OK;
}

static enum tsdb_status real_link(void *ctx, const char *from, const char *to,
                                  struct tsdb_error *err)
{
    const struct real_fs *fs = ctx;
    enum tsdb_status status = tsdb_file_rename_check(from, to, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct stat st;
    bool dir = fstatat(fs->root_fd, from, &st, 0) == 0 && S_ISDIR(st.st_mode);
    if (dir || linkat(fs->root_fd, from, fs->root_fd, to, 0) != 0) {
        status = tsdb_file_fail(err, dir ? EISDIR : errno, "link to", to);
        return tsdb_error_prefix(err, status, "%s", from);
    }
    return TSDB_OK;
}

static enum tsdb_status remove_at(void *ctx, const char *path, int flags, const char *verb,
                                  struct tsdb_error *err)
{
    const struct real_fs *fs = ctx;
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK) {
        return status;
    }
    return unlinkat(fs->root_fd, path, flags) == 0 ? TSDB_OK
                                                   : tsdb_file_fail(err, errno, verb, path);
}

static enum tsdb_status real_unlink(void *ctx, const char *path, struct tsdb_error *err)
{
    return remove_at(ctx, path, 0, "unlink", err);
}

static enum tsdb_status real_rmdir(void *ctx, const char *path, struct tsdb_error *err)
{
    return remove_at(ctx, path, AT_REMOVEDIR, "remove directory", err);
}

static enum tsdb_status real_mkdir(void *ctx, const char *path, struct tsdb_error *err)
{
    const struct real_fs *fs = ctx;
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK || mkdirat(fs->root_fd, path, DIR_MODE) == 0) {
        return status;
    }
    int mkdir_errno = errno;
    struct stat st;
    if (mkdir_errno == EEXIST && fstatat(fs->root_fd, path, &st, 0) == 0 && S_ISDIR(st.st_mode)) {
        return TSDB_OK;
    }
    return tsdb_file_fail(err, mkdir_errno, "make directory", path);
}

static enum tsdb_status list_one(int dir_fd, const struct dirent *entry, const char *dir,
                                 tsdb_fs_list_fn fn, void *arg, struct tsdb_error *err)
{
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
        return TSDB_OK;
    }
    bool is_dir = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN || entry->d_type == DT_LNK) {
        struct stat st;
        if (fstatat(dir_fd, entry->d_name, &st, 0) == 0) {
            is_dir = S_ISDIR(st.st_mode);
        } else if (errno != ENOENT) { /* gone meanwhile, or a dangling link: listed as a file */
            return tsdb_file_fail(err, errno, "list", dir);
        }
    }
    return fn(arg, entry->d_name, is_dir);
}

static enum tsdb_status open_dir(const struct real_fs *fs, const char *dir, const char *verb,
                                 int *out, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(dir, true, err);
    if (status != TSDB_OK) {
        return status;
    }
    *out = open_retry(fs->root_fd, PATH_OF(dir), O_RDONLY | O_DIRECTORY);
    return *out < 0 ? tsdb_file_fail(err, errno, verb, dir) : TSDB_OK;
}

static enum tsdb_status real_list(void *ctx, const char *dir, tsdb_fs_list_fn fn, void *arg,
                                  struct tsdb_error *err)
{
    int fd;
    enum tsdb_status status = open_dir(ctx, dir, "list", &fd, err);
    if (status != TSDB_OK) {
        return status;
    }
    DIR *stream = fdopendir(fd);
    if (!stream) {
        int open_errno = errno;
        close(fd);
        return tsdb_file_fail(err, open_errno, "list", dir);
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry) {
            status = errno ? tsdb_file_fail(err, errno, "list", dir) : TSDB_OK;
            break;
        }
        status = list_one(fd, entry, dir, fn, arg, err);
        if (status != TSDB_OK) {
            break;
        }
    }
    closedir(stream);
    return status;
}

static enum tsdb_status real_sync_dir(void *ctx, const char *dir, struct tsdb_error *err)
{
    int fd;
    enum tsdb_status status = open_dir(ctx, dir, "sync directory", &fd, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (fsync(fd) != 0) {
        status = tsdb_file_fail(err, errno, "sync directory", dir);
    }
    close(fd);
    return status;
}

/* flock: the lock belongs to the open file and ends with it, however the process ends; and unlike
 * fcntl's older locks it excludes a second opening by the same process too. 0 or errno. */
static int lock_fd(int fd)
{
    int rc;
    do {
        rc = flock(fd, LOCK_EX | LOCK_NB);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno;
}

/* The root, opened once more: the lock is to end with f. A file system that cannot lock a directory (NFS
 * wants it open for writing) is one on which the file alone must do. */
static enum tsdb_status lock_root(const struct real_fs *fs, struct tsdb_file *f,
                                  struct tsdb_error *err)
{
    int fd = open_retry(fs->root_fd, ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return tsdb_file_fail(err, errno, "lock", "");
    }
    int rc = lock_fd(fd);
    if (rc == EWOULDBLOCK) {
        close(fd);
        return tsdb_error_set(err, TSDB_BUSY, "lock %s: another process holds its directory",
                              f->path);
    }
    f->root_fd = fd;
    return TSDB_OK;
}

static enum tsdb_status real_lock(void *ctx, const char *path, struct tsdb_file **out,
                                  struct tsdb_error *err)
{
    const struct real_fs *fs = ctx;
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK) {
        return status;
    }
    int fd = open_retry(fs->root_fd, path, O_RDWR | O_CREAT | O_NONBLOCK);
    if (fd < 0) {
        return tsdb_file_fail(err, errno, "lock", path);
    }
    int rc = lock_fd(fd);
    if (rc != 0) {
        status = rc == EWOULDBLOCK
                     ? tsdb_error_set(err, TSDB_BUSY, "lock %s: another process holds it", path)
                     : tsdb_file_fail(err, rc, "lock", path);
        close(fd);
        return status;
    }
    struct tsdb_file *f = NULL;
    status = file_create(fd, path, &f, err);
    if (status == TSDB_OK) {
        status = lock_root(fs, f, err);
    }
    if (status == TSDB_OK) {
        *out = f;
    } else {
        real_close(ctx, f);
    }
    return status;
}

static enum tsdb_status real_space(void *ctx, uint64_t *out_free_bytes, uint64_t *out_total_bytes,
                                   struct tsdb_error *err)
{
    const struct real_fs *fs = ctx;
    struct statvfs st;
    if (fstatvfs(fs->root_fd, &st) != 0) {
        return tsdb_file_fail(err, errno, "measure free space of", "");
    }
    *out_free_bytes =
        (uint64_t)st.f_bavail * st.f_frsize; /* without what is kept back for the superuser */
    *out_total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    return TSDB_OK;
}

static const struct tsdb_fs_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .sync = real_sync,
    .truncate = real_truncate,
    .preallocate = real_preallocate,
    .stat = real_stat,
    .rename = real_rename,
    .link = real_link,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .rmdir = real_rmdir,
    .list = real_list,
    .sync_dir = real_sync_dir,
    .lock = real_lock,
    .space = real_space,
};

/* A new root is an entry of its parent, and must survive a power cut like the rest. */
static enum tsdb_status sync_parent(int root_fd, const char *root, struct tsdb_error *err)
{
    int fd = open_retry(root_fd, "..", O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        /* The parent may be a directory that we may pass but not read. */
        return errno == EACCES ? TSDB_OK
                               : tsdb_error_set_errno(err, errno, "open the parent of %s", root);
    }
    enum tsdb_status status = TSDB_OK;
    if (fsync(fd) != 0 && errno != EINVAL) { /* EINVAL: a file system without directory syncs */
        status = tsdb_error_set_errno(err, errno, "sync the parent of %s", root);
    }
    close(fd);
    return status;
}

/* A quarter of the descriptors is kept from readers. */
static uint32_t readers_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT32_MAX) {
        return UINT32_MAX - UINT32_MAX / RESERVE_SHARE;
    }
    uint32_t all = (uint32_t)limit.rlim_cur;
    return all - all / RESERVE_SHARE;
}

enum tsdb_status tsdb_fs_real_create(const char *root, struct tsdb_fs *out, struct tsdb_error *err)
{
    bool created = mkdir(root, DIR_MODE) == 0;
    if (!created && errno != EEXIST) {
        return tsdb_error_set_errno(err, errno, "make directory %s", root);
    }
    int fd = open_retry(AT_FDCWD, root, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return tsdb_error_set_errno(err, errno, "open directory %s", root);
    }
    enum tsdb_status status = created ? sync_parent(fd, root, err) : TSDB_OK;
    struct real_fs *fs = NULL;
    if (status == TSDB_OK) {
        fs = tsdb_mem_alloc(FILE_CATEGORY, sizeof *fs);
        if (!fs) {
            status = tsdb_error_nomem(err, "the table of files");
        }
    }
    if (!fs) {
        close(fd);
        return status;
    }
    *fs = (struct real_fs){.root_fd = fd, .readers_max = readers_max()};
    out->ops = &real_ops;
    out->ctx = fs;
    return TSDB_OK;
}

enum tsdb_status tsdb_fs_real_check(const struct tsdb_fs *fs, const char *root,
                                    struct tsdb_error *err)
{
    const struct real_fs *real = fs->ctx;
    struct stat ours;
    struct stat there;
    if (stat(root, &there) != 0) {
        return errno == ENOENT || errno == ENOTDIR
                   ? tsdb_error_set(err, TSDB_NOT_FOUND, "%s is gone", root)
                   : TSDB_OK;
    }
    if (fstat(real->root_fd, &ours) != 0 ||
        (ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)) {
        return TSDB_OK;
    }
    return tsdb_error_set(err, TSDB_NOT_FOUND, "%s is another directory now", root);
}

void tsdb_fs_real_destroy(struct tsdb_fs *fs)
{
    struct real_fs *real = fs->ctx;
    if (real) {
        close(real->root_fd);
        tsdb_mem_free(FILE_CATEGORY, real, sizeof *real);
    }
    *fs = (struct tsdb_fs){0};
}
