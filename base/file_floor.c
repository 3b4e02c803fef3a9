#include "base/file_floor.h"

#include <errno.h>
#include <stdatomic.h>

struct tsdb_fs_floor {
    struct tsdb_fs below;
    _Atomic(uint64_t) floor_bytes; /* relaxed */
    /* Bytes that may be written before it is measured again; below 0: measure. Relaxed: orders
     * nothing. */
    _Atomic(int64_t) allowance;
};

static const struct tsdb_fs *below(void *ctx)
{
    return &((struct tsdb_fs_floor *)ctx)->below;
}

/* ---- the floor ---- */

enum tsdb_status tsdb_fs_floor_error(struct tsdb_error *err, const char *what, uint64_t free_bytes,
                                     uint64_t floor_bytes)
{
    return tsdb_error_set_errno(err, ENOSPC, "%s: %llu bytes are free, %llu are kept for the log",
                                what, (unsigned long long)free_bytes,
                                (unsigned long long)floor_bytes);
}

/* A disk that does not say how full it is hinders nobody. */
static enum tsdb_status room_check(struct tsdb_fs_floor *f, uint64_t len, struct tsdb_error *err)
{
    uint64_t floor_bytes = atomic_load_explicit(&f->floor_bytes, memory_order_relaxed);
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    if (floor_bytes == 0 || atomic_fetch_sub_explicit(&f->allowance, (int64_t)len,
                                                      memory_order_relaxed) >= (int64_t)len) {
        return TSDB_OK;
    }
    if (f->below.ops->space(f->below.ctx, &free_bytes, &total_bytes, NULL) != TSDB_OK) {
        return TSDB_OK;
    }
    if (free_bytes < floor_bytes || free_bytes - floor_bytes < len) {
        return tsdb_fs_floor_error(err, "write", free_bytes, floor_bytes);
    }
    /* Others write meanwhile: the nearer the floor, the oftener it is looked at. */
    uint64_t left = (free_bytes - floor_bytes - len) / 4;
    atomic_store_explicit(&f->allowance, (int64_t)TSDB_MIN(left, (uint64_t)TSDB_FS_FLOOR_SLACK),
                          memory_order_relaxed);
    return TSDB_OK;
}

void tsdb_fs_floor_set(struct tsdb_fs_floor *f, uint64_t floor_bytes)
{
    atomic_store_explicit(&f->floor_bytes, floor_bytes, memory_order_relaxed);
    atomic_store_explicit(&f->allowance, 0, memory_order_relaxed);
}

static enum tsdb_status floor_pwrite(void *ctx, struct tsdb_file *f, const void *buf, size_t len,
                                     uint64_t offset, struct tsdb_error *err)
{
    enum tsdb_status status = room_check(ctx, len, err);
    return status == TSDB_OK ? below(ctx)->ops->pwrite(below(ctx)->ctx, f, buf, len, offset, err)
                             : status;
}

static enum tsdb_status floor_preallocate(void *ctx, struct tsdb_file *f, uint64_t size,
                                          struct tsdb_error *err)
{
    enum tsdb_status status = room_check(ctx, size, err);
    return status == TSDB_OK ? below(ctx)->ops->preallocate(below(ctx)->ctx, f, size, err) : status;
}

/* ---- the rest, as it is ---- */

static enum tsdb_status floor_open(void *ctx, const char *path, unsigned flags,
                                   struct tsdb_file **out, struct tsdb_error *err)
{
    return below(ctx)->ops->open(below(ctx)->ctx, path, flags, out, err);
}

static void floor_close(void *ctx, struct tsdb_file *f)
{
    below(ctx)->ops->close(below(ctx)->ctx, f);
}

static enum tsdb_status floor_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                    uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    return below(ctx)->ops->pread(below(ctx)->ctx, f, buf, len, offset, out_len, err);
}

static enum tsdb_status floor_sync(void *ctx, struct tsdb_file *f, struct tsdb_error *err)
{
    return below(ctx)->ops->sync(below(ctx)->ctx, f, err);
}

static enum tsdb_status floor_truncate(void *ctx, struct tsdb_file *f, uint64_t size,
                                       struct tsdb_error *err)
{
    return below(ctx)->ops->truncate(below(ctx)->ctx, f, size, err);
}

static enum tsdb_status floor_stat(void *ctx, const char *path, struct tsdb_file_info *out,
                                   struct tsdb_error *err)
{
    return below(ctx)->ops->stat(below(ctx)->ctx, path, out, err);
}

static enum tsdb_status floor_rename(void *ctx, const char *from, const char *to,
                                     struct tsdb_error *err)
{
    return below(ctx)->ops->rename(below(ctx)->ctx, from, to, err);
}

static enum tsdb_status floor_link(void *ctx, const char *from, const char *to,
                                   struct tsdb_error *err)
{
    return below(ctx)->ops->link(below(ctx)->ctx, from, to, err);
}

static enum tsdb_status floor_unlink(void *ctx, const char *path, struct tsdb_error *err)
{
    return below(ctx)->ops->unlink(below(ctx)->ctx, path, err);
}

static enum tsdb_status floor_mkdir(void *ctx, const char *path, struct tsdb_error *err)
{
    return below(ctx)->ops->mkdir(below(ctx)->ctx, path, err);
}

static enum tsdb_status floor_rmdir(void *ctx, const char *path, struct tsdb_error *err)
{
    return below(ctx)->ops->rmdir(below(ctx)->ctx, path, err);
}

static enum tsdb_status floor_list(void *ctx, const char *dir, tsdb_fs_list_fn fn, void *arg,
                                   struct tsdb_error *err)
{
    return below(ctx)->ops->list(below(ctx)->ctx, dir, fn, arg, err);
}

static enum tsdb_status floor_sync_dir(void *ctx, const char *dir, struct tsdb_error *err)
{
    return below(ctx)->ops->sync_dir(below(ctx)->ctx, dir, err);
}

static enum tsdb_status floor_lock(void *ctx, const char *path, struct tsdb_file **out,
                                   struct tsdb_error *err)
{
    return below(ctx)->ops->lock(below(ctx)->ctx, path, out, err);
}

static enum tsdb_status floor_space(void *ctx, uint64_t *out_free_bytes, uint64_t *out_total_bytes,
                                    struct tsdb_error *err)
{
    return below(ctx)->ops->space(below(ctx)->ctx, out_free_bytes, out_total_bytes, err);
}

static const struct tsdb_fs_ops floor_ops = {
    .open = floor_open,
    .close = floor_close,
    .pread = floor_pread,
    .pwrite = floor_pwrite,
    .sync = floor_sync,
    .truncate = floor_truncate,
    .preallocate = floor_preallocate,
    .stat = floor_stat,
    .rename = floor_rename,
    .link = floor_link,
    .unlink = floor_unlink,
    .mkdir = floor_mkdir,
    .rmdir = floor_rmdir,
    .list = floor_list,
    .sync_dir = floor_sync_dir,
    .lock = floor_lock,
    .space = floor_space,
};

enum tsdb_status tsdb_fs_floor_create(const struct tsdb_fs *below_fs, uint64_t floor_bytes,
                                      struct tsdb_fs_floor **out, struct tsdb_fs *out_fs)
{
    struct tsdb_fs_floor *f = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *f);
    if (!f) {
        return TSDB_NOMEM;
    }
    f->below = *below_fs;
    tsdb_fs_floor_set(f, floor_bytes);
    *out = f;
    *out_fs = (struct tsdb_fs){.ops = &floor_ops, .ctx = f};
    return TSDB_OK;
}

void tsdb_fs_floor_destroy(struct tsdb_fs_floor *f)
{
    tsdb_mem_free(TSDB_MEM_OTHER, f, sizeof *f);
}
