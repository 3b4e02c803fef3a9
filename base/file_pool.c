/* Files for reading, so many of them open at most: a list by the time of the last read. */
#include "base/file_pool.h"

#include "base/assert.h"
#include "base/mutex.h"

#include <string.h>

#define CATEGORY TSDB_MEM_OTHER

/* Known to its reader for as long as that likes; open as long as `inner` is set, and then in the list. */
struct tsdb_file {
    struct tsdb_file *newer, *older; /* guarded by the pool's lock, as are inner and readers */
    struct tsdb_file *inner;         /* of the table beneath */
    uint32_t readers;
    size_t path_bytes; /* with NUL */
    char path[];
};

struct tsdb_file_pool {
    const struct tsdb_fs *fs;
    uint32_t files_max; /* immutable, as is fs */
    struct tsdb_mutex lock;
    struct tsdb_file *newest TSDB_GUARDED, *oldest TSDB_GUARDED; /* of the open ones */
    uint32_t open TSDB_GUARDED, known TSDB_GUARDED;
    uint64_t opened TSDB_GUARDED;
};

/* ---- the list ---- */

static void unlink_file(struct tsdb_file_pool *p, struct tsdb_file *f) TSDB_REQUIRES(p->lock)
{
    *(f->newer ? &f->newer->older : &p->newest) = f->older;
    *(f->older ? &f->older->newer : &p->oldest) = f->newer;
    f->newer = NULL;
    f->older = NULL;
}

static void link_newest(struct tsdb_file_pool *p, struct tsdb_file *f) TSDB_REQUIRES(p->lock)
{
    f->older = p->newest;
    *(p->newest ? &p->newest->newer : &p->oldest) = f;
    p->newest = f;
}

/* Takes a handle of nobody's off the list when there are too many; the caller closes it. */
static struct tsdb_file *take_surplus(struct tsdb_file_pool *p) TSDB_REQUIRES(p->lock)
{
    if (p->open <= p->files_max) {
        return NULL;
    }
    struct tsdb_file *f = p->oldest;
    while (f && f->readers > 0) {
        f = f->newer;
    }
    if (!f) {
        return NULL;
    }
    struct tsdb_file *inner = f->inner;
    unlink_file(p, f);
    f->inner = NULL;
    p->open--;
    return inner;
}

static void close_inner(const struct tsdb_file_pool *p, struct tsdb_file *inner)
{
    if (inner) {
        p->fs->ops->close(p->fs->ctx, inner);
    }
}

/* f has a handle now, this one unless another reader was faster; one reader more. */
static void adopt(struct tsdb_file_pool *p, struct tsdb_file *f, struct tsdb_file *inner)
{
    tsdb_mutex_lock(&p->lock);
    p->opened++;
    f->readers++;
    if (!f->inner) {
        f->inner = inner;
        inner = NULL;
        link_newest(p, f);
        p->open++;
    }
    struct tsdb_file *surplus = take_surplus(p);
    tsdb_mutex_unlock(&p->lock);
    close_inner(p, inner);
    close_inner(p, surplus);
}

static void leave(struct tsdb_file_pool *p, struct tsdb_file *f)
{
    tsdb_mutex_lock(&p->lock);
    TSDB_ASSERT(f->readers > 0 && f->inner);
    f->readers--;
    struct tsdb_file *surplus = take_surplus(p);
    tsdb_mutex_unlock(&p->lock);
    close_inner(p, surplus);
}

/* ---- the table ---- */

static enum tsdb_status pool_open(void *ctx, const char *path, unsigned flags,
                                  struct tsdb_file **out, struct tsdb_error *err)
{
    struct tsdb_file_pool *p = ctx;
    struct tsdb_file *inner = NULL;
    size_t bytes = strlen(path) + 1;
    if (flags != TSDB_OPEN_READ) {
        return tsdb_error_set(err, TSDB_INVALID, "%s: opened for reading only", path);
    }
    struct tsdb_file *f = tsdb_mem_alloc_zero(CATEGORY, sizeof *f + bytes);
    if (!f) {
        return tsdb_error_nomem(err, "a file");
    }
    enum tsdb_status status = p->fs->ops->open(p->fs->ctx, path, flags, &inner, err);
    if (status != TSDB_OK) {
        tsdb_mem_free(CATEGORY, f, sizeof *f + bytes);
        return status;
    }
    f->path_bytes = bytes;
    memcpy(f->path, path, bytes);
    adopt(p, f, inner);
    leave(p, f);
    tsdb_mutex_lock(&p->lock);
    p->known++;
    tsdb_mutex_unlock(&p->lock);
    *out = f;
    return TSDB_OK;
}

static void pool_close(void *ctx, struct tsdb_file *f)
{
    struct tsdb_file_pool *p = ctx;
    if (!f) {
        return;
    }
    tsdb_mutex_lock(&p->lock);
    TSDB_ASSERT(f->readers == 0 && p->known > 0);
    p->known--;
    if (f->inner) {
        unlink_file(p, f);
        p->open--;
    }
    tsdb_mutex_unlock(&p->lock);
    close_inner(p, f->inner);
    tsdb_mem_free(CATEGORY, f, sizeof *f + f->path_bytes);
}

/* The handle, open and held until `leave`. */
static enum tsdb_status enter(struct tsdb_file_pool *p, struct tsdb_file *f, struct tsdb_error *err)
{
    tsdb_mutex_lock(&p->lock);
    bool open = f->inner != NULL;
    if (open) {
        f->readers++;
        unlink_file(p, f);
        link_newest(p, f);
    }
    tsdb_mutex_unlock(&p->lock);
    if (open) {
        return TSDB_OK;
    }
    struct tsdb_file *inner = NULL;
    enum tsdb_status status = p->fs->ops->open(p->fs->ctx, f->path, TSDB_OPEN_READ, &inner, err);
    if (status == TSDB_NOT_FOUND) {
        return tsdb_error_set(err, TSDB_IO, "%s is not there any more", f->path);
    }
    if (status == TSDB_OK) {
        adopt(p, f, inner);
    }
    return status;
}

static enum tsdb_status pool_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                   uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    struct tsdb_file_pool *p = ctx;
    enum tsdb_status status = enter(p, f, err);
    if (status == TSDB_OK) {
        /* A file that has a reader keeps its handle. */
        status = p->fs->ops->pread(p->fs->ctx, f->inner, buf, len, offset, out_len, err);
        leave(p, f);
    }
    return status;
}

static enum tsdb_status pool_stat(void *ctx, const char *path, struct tsdb_file_info *out,
                                  struct tsdb_error *err)
{
    const struct tsdb_file_pool *p = ctx;
    return p->fs->ops->stat(p->fs->ctx, path, out, err);
}

static enum tsdb_status pool_list(void *ctx, const char *dir, tsdb_fs_list_fn fn, void *arg,
                                  struct tsdb_error *err)
{
    const struct tsdb_file_pool *p = ctx;
    return p->fs->ops->list(p->fs->ctx, dir, fn, arg, err);
}

static const struct tsdb_fs_ops pool_ops = {
    .open = pool_open,
    .close = pool_close,
    .pread = pool_pread,
    .stat = pool_stat,
    .list = pool_list,
};

/* ---- the pool ---- */

enum tsdb_status tsdb_file_pool_create(const struct tsdb_fs *fs, uint32_t files_max,
                                       struct tsdb_file_pool **out, struct tsdb_fs *out_fs)
{
    TSDB_ASSERT(files_max > 0);
    struct tsdb_file_pool *p = tsdb_mem_alloc_zero(CATEGORY, sizeof *p);
    if (!p) {
        return TSDB_NOMEM;
    }
    p->fs = fs;
    p->files_max = files_max;
    tsdb_mutex_init(&p->lock, TSDB_RANK_FILE_POOL, "file pool");
    *out = p;
    *out_fs = (struct tsdb_fs){&pool_ops, p};
    return TSDB_OK;
}

void tsdb_file_pool_destroy(struct tsdb_file_pool *p)
{
    if (p) {
        tsdb_mutex_lock(&p->lock);
        TSDB_ASSERT(p->known == 0 && p->open == 0);
        tsdb_mutex_unlock(&p->lock);
        tsdb_mutex_deinit(&p->lock);
        tsdb_mem_free(CATEGORY, p, sizeof *p);
    }
}

void tsdb_file_pool_stats(struct tsdb_file_pool *p, struct tsdb_file_pool_stats *out)
{
    tsdb_mutex_lock(&p->lock);
    *out = (struct tsdb_file_pool_stats){p->known, p->open, p->opened};
    tsdb_mutex_unlock(&p->lock);
}
