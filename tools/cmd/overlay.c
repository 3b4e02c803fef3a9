#include "tools/cmd/overlay.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

#define PAGE_BYTES     65536u
#define PATH_BYTES_MAX 1024u
/* Of a file that is written here: an engine that asks for more is not reading any more. */
#define FILE_BYTES_MAX (UINT64_C(1) << 40)

/* A file's content: of the file below up to below_bytes, where no page stands. */
struct overlay_data {
    uint32_t refs; /* its node and its handles */
    uint32_t handles;
    char *below_path; /* NULL: nothing below */
    struct tsdb_file *below_file;
    uint64_t below_bytes, bytes;
    uint8_t **pages; /* NULL: as below, or zeroes */
    size_t page_count;
};

struct overlay_node {
    struct overlay_node *next;
    struct overlay_data *data; /* NULL: a directory, or nothing */
    bool gone, is_dir;
    char path[PATH_BYTES_MAX];
};

struct overlay {
    struct tsdb_fs below;
    struct overlay_node *nodes; /* few: what an opening engine touches */
};

struct tsdb_file {
    struct overlay_data *data; /* NULL: a lock */
    char path[PATH_BYTES_MAX];
};

/* ---- strings and nodes ---- */
static enum tsdb_status nomem(struct tsdb_error *err)
{
    return tsdb_error_nomem(err, "a change that is not to reach the disk");
}

static enum tsdb_status not_found(struct tsdb_error *err, const char *path)
{
    return tsdb_error_set(err, TSDB_NOT_FOUND, "%s: no such file or directory", path);
}

static bool path_fits(const char *path)
{
    return strlen(path) < PATH_BYTES_MAX;
}

static struct overlay_node *node_find(const struct overlay *o, const char *path)
{
    struct overlay_node *n = o->nodes;
    while (n && strcmp(n->path, path) != 0) {
        n = n->next;
    }
    return n;
}

/* The node of the path, made if need be; its state is the caller's to set. */
static enum tsdb_status node_make(struct overlay *o, const char *path, struct overlay_node **out,
                                  struct tsdb_error *err)
{
    struct overlay_node *n = node_find(o, path);
    if (!n) {
        if (!path_fits(path)) {
            return tsdb_error_set(err, TSDB_INVALID, "%s: the path is too long", path);
        }
        n = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *n);
        if (!n) {
            return nomem(err);
        }
        memcpy(n->path, path, strlen(path) + 1);
        n->next = o->nodes;
        o->nodes = n;
    }
    *out = n;
    return TSDB_OK;
}

/* ---- content ---- */
static void pages_free(struct overlay_data *d)
{
    for (size_t i = 0; i < d->page_count; i++) {
        tsdb_mem_free(TSDB_MEM_OTHER, d->pages[i], PAGE_BYTES);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, d->pages, d->page_count * sizeof *d->pages);
    d->pages = NULL;
    d->page_count = 0;
}

static void data_release(struct overlay *o, struct overlay_data *d)
{
    if (!d || --d->refs > 0) {
        return;
    }
    o->below.ops->close(o->below.ctx, d->below_file);
    if (d->below_path) {
        tsdb_mem_free(TSDB_MEM_OTHER, d->below_path, strlen(d->below_path) + 1);
    }
    pages_free(d);
    tsdb_mem_free(TSDB_MEM_OTHER, d, sizeof *d);
}

static enum tsdb_status data_make(const char *below_path, uint64_t bytes, struct overlay_data **out,
                                  struct tsdb_error *err)
{
    struct overlay_data *d = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *d);
    if (!d) {
        return nomem(err);
    }
    if (below_path) {
        size_t len = strlen(below_path) + 1;
        d->below_path = tsdb_mem_alloc(TSDB_MEM_OTHER, len);
        if (!d->below_path) {
            tsdb_mem_free(TSDB_MEM_OTHER, d, sizeof *d);
            return nomem(err);
        }
        memcpy(d->below_path, below_path, len);
        d->below_bytes = bytes;
        d->bytes = bytes;
    }
    d->refs = 1;
    *out = d;
    return TSDB_OK;
}

static enum tsdb_status below_read(const struct overlay *o, const struct overlay_data *d, void *buf,
                                   size_t len, uint64_t offset, size_t *out_len,
                                   struct tsdb_error *err)
{
    *out_len = 0;
    if (offset >= d->below_bytes) {
        return TSDB_OK;
    }
    len = (size_t)TSDB_MIN((uint64_t)len, d->below_bytes - offset);
    return o->below.ops->pread(o->below.ctx, d->below_file, buf, len, offset, out_len, err);
}

/* Read [offset, offset + len) of one page. */
static enum tsdb_status piece_read(const struct overlay *o, const struct overlay_data *d,
                                   uint8_t *buf, size_t len, uint64_t offset,
                                   struct tsdb_error *err)
{
    size_t page = (size_t)(offset / PAGE_BYTES), in_page = (size_t)(offset % PAGE_BYTES);
    if (page < d->page_count && d->pages[page]) {
        memcpy(buf, d->pages[page] + in_page, len);
        return TSDB_OK;
    }
    size_t got = 0;
    enum tsdb_status status = below_read(o, d, buf, len, offset, &got, err);
    if (status == TSDB_OK) {
        memset(buf + got, 0, len - got);
    }
    return status;
}

/* The page to write to, with what it had. */
static enum tsdb_status page_take(const struct overlay *o, struct overlay_data *d, size_t page,
                                  uint8_t **out, struct tsdb_error *err)
{
    if (page >= d->page_count) {
        size_t count = TSDB_MAX(page + 1, d->page_count * 2);
        uint8_t **pages = tsdb_mem_realloc(TSDB_MEM_OTHER, d->pages, d->page_count * sizeof *pages,
                                           count * sizeof *pages);
        if (!pages) {
            return nomem(err);
        }
        memset(pages + d->page_count, 0, (count - d->page_count) * sizeof *pages);
        d->pages = pages;
        d->page_count = count;
    }
    if (!d->pages[page]) {
        uint8_t *p = tsdb_mem_alloc(TSDB_MEM_OTHER, PAGE_BYTES);
        if (!p) {
            return nomem(err);
        }
        enum tsdb_status status = piece_read(o, d, p, PAGE_BYTES, (uint64_t)page * PAGE_BYTES, err);
        if (status != TSDB_OK) {
            tsdb_mem_free(TSDB_MEM_OTHER, p, PAGE_BYTES);
            return status;
        }
        d->pages[page] = p;
    }
    *out = d->pages[page];
    return TSDB_OK;
}

/* Forget what lies at `bytes` and beyond. */
static void data_cut(struct overlay_data *d, uint64_t bytes)
{
    for (size_t i = 0; i < d->page_count; i++) {
        uint64_t begin = (uint64_t)i * PAGE_BYTES;
        if (d->pages[i] && begin >= bytes) {
            tsdb_mem_free(TSDB_MEM_OTHER, d->pages[i], PAGE_BYTES);
            d->pages[i] = NULL;
        } else if (d->pages[i] && bytes - begin < PAGE_BYTES) {
            memset(d->pages[i] + (bytes - begin), 0, PAGE_BYTES - (size_t)(bytes - begin));
        }
    }
    d->below_bytes = TSDB_MIN(d->below_bytes, bytes);
}

/* ---- paths ---- */
/* What is at the path, whoever has it. */
static enum tsdb_status look(struct overlay *o, const char *path, struct tsdb_file_info *out,
                             struct tsdb_error *err)
{
    const struct overlay_node *n = node_find(o, path);
    if (!n) {
        return o->below.ops->stat(o->below.ctx, path, out, err);
    }
    if (n->gone) {
        return not_found(err, path);
    }
    *out = (struct tsdb_file_info){n->data ? n->data->bytes : 0, n->is_dir};
    return TSDB_OK;
}

/* Give the file at the path a node, of what lies below. */
static enum tsdb_status adopt(struct overlay *o, const char *path, struct overlay_node **out,
                              struct tsdb_error *err)
{
    struct tsdb_file_info info;
    enum tsdb_status status = look(o, path, &info, err);
    *out = node_find(o, path);
    if (status != TSDB_OK || *out) {
        return status;
    }
    struct overlay_data *d = NULL;
    if (!info.is_dir) {
        status = data_make(path, info.size_bytes, &d, err);
    }
    if (status == TSDB_OK) {
        status = node_make(o, path, out, err);
    }
    if (status != TSDB_OK) {
        data_release(o, d);
        return status;
    }
    (*out)->is_dir = info.is_dir;
    (*out)->data = d;
    return TSDB_OK;
}

static enum tsdb_status create(struct overlay *o, const char *path, struct overlay_node **out,
                               struct tsdb_error *err)
{
    struct overlay_data *d = NULL;
    enum tsdb_status status = data_make(NULL, 0, &d, err);
    if (status == TSDB_OK) {
        status = node_make(o, path, out, err);
    }
    if (status != TSDB_OK) {
        data_release(o, d);
        return status;
    }
    (*out)->gone = false;
    (*out)->is_dir = false;
    (*out)->data = d;
    return TSDB_OK;
}

/* ---- the table ---- */
static enum tsdb_status file_make(struct overlay_data *d, const char *path, struct tsdb_file **out,
                                  struct tsdb_error *err)
{
    struct tsdb_file *f = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *f);
    if (!f) {
        return nomem(err);
    }
    snprintf(f->path, sizeof f->path, "%s", path);
    f->data = d;
    if (d) {
        d->refs++;
        d->handles++;
    }
    *out = f;
    return TSDB_OK;
}

static enum tsdb_status overlay_open(void *ctx, const char *path, unsigned flags,
                                     struct tsdb_file **out, struct tsdb_error *err)
{
    struct overlay *o = ctx;
    struct overlay_node *n = NULL;
    if (!path_fits(path)) {
        return tsdb_error_set(err, TSDB_INVALID, "%s: the path is too long", path);
    }
    enum tsdb_status status = adopt(o, path, &n, err);
    if (status == TSDB_NOT_FOUND && (flags & TSDB_OPEN_CREATE)) {
        status = create(o, path, &n, err);
    } else if (status == TSDB_OK && (flags & TSDB_OPEN_EXCL)) {
        status = tsdb_error_set(err, TSDB_INVALID, "open %s: it exists", path);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct overlay_data *d = n->data;
    if (!d) {
        return tsdb_error_set(err, TSDB_INVALID, "open %s: it is a directory", path);
    }
    if (d->below_path && !d->below_file) {
        status =
            o->below.ops->open(o->below.ctx, d->below_path, TSDB_OPEN_READ, &d->below_file, err);
    }
    if (status == TSDB_OK && (flags & TSDB_OPEN_TRUNCATE)) {
        data_cut(d, 0);
        d->bytes = 0;
    }
    return status == TSDB_OK ? file_make(d, path, out, err) : status;
}

static void overlay_close(void *ctx, struct tsdb_file *f)
{
    struct overlay *o = ctx;
    if (!f) {
        return;
    }
    struct overlay_data *d = f->data;
    if (d && --d->handles == 0) { /* descriptors are few; it is opened again when it is needed */
        o->below.ops->close(o->below.ctx, d->below_file);
        d->below_file = NULL;
    }
    data_release(o, d);
    tsdb_mem_free(TSDB_MEM_OTHER, f, sizeof *f);
}

static enum tsdb_status overlay_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                      uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    const struct overlay *o = ctx;
    const struct overlay_data *d = f->data;
    *out_len = 0;
    if (!d || offset >= d->bytes) {
        return TSDB_OK;
    }
    if (d->page_count == 0 && d->below_bytes == d->bytes) {
        return below_read(o, d, buf, len, offset, out_len, err);
    }
    len = (size_t)TSDB_MIN((uint64_t)len, d->bytes - offset);
    for (size_t done = 0; done < len;) {
        size_t piece = TSDB_MIN(len - done, PAGE_BYTES - (size_t)((offset + done) % PAGE_BYTES));
        enum tsdb_status status =
            piece_read(o, d, (uint8_t *)buf + done, piece, offset + done, err);
        if (status != TSDB_OK) {
            return status;
        }
        done += piece;
    }
    *out_len = len;
    return TSDB_OK;
}

static enum tsdb_status check_bytes(const struct tsdb_file *f, uint64_t offset, uint64_t len,
                                    struct tsdb_error *err)
{
    return f->data && offset <= FILE_BYTES_MAX && len <= FILE_BYTES_MAX - offset
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_INVALID, "%s: not a file to write, or too long", f->path);
}

static enum tsdb_status overlay_pwrite(void *ctx, struct tsdb_file *f, const void *buf, size_t len,
                                       uint64_t offset, struct tsdb_error *err)
{
    const struct overlay *o = ctx;
    struct overlay_data *d = f->data;
    enum tsdb_status status = check_bytes(f, offset, len, err);
    for (size_t done = 0; status == TSDB_OK && done < len;) {
        size_t in_page = (size_t)((offset + done) % PAGE_BYTES);
        size_t piece = TSDB_MIN(len - done, PAGE_BYTES - in_page);
        uint8_t *page = NULL;
        status = page_take(o, d, (size_t)((offset + done) / PAGE_BYTES), &page, err);
        if (status == TSDB_OK) {
            memcpy(page + in_page, (const uint8_t *)buf + done, piece);
            done += piece;
            d->bytes = TSDB_MAX(d->bytes, offset + done);
        }
    }
    return status;
}

static enum tsdb_status overlay_sync(void *ctx, struct tsdb_file *f, struct tsdb_error *err)
{
    (void)ctx;
    (void)f;
    (void)err;
    return TSDB_OK;
}

static enum tsdb_status overlay_truncate(void *ctx, struct tsdb_file *f, uint64_t size,
                                         struct tsdb_error *err)
{
    (void)ctx;
    enum tsdb_status status = check_bytes(f, 0, size, err);
    if (status == TSDB_OK) {
        data_cut(f->data, size);
        f->data->bytes = size;
    }
    return status;
}

static enum tsdb_status overlay_preallocate(void *ctx, struct tsdb_file *f, uint64_t size,
                                            struct tsdb_error *err)
{
    (void)ctx;
    enum tsdb_status status = check_bytes(f, 0, size, err);
    if (status == TSDB_OK) {
        f->data->bytes = TSDB_MAX(size, f->data->bytes);
    }
    return status;
}

static enum tsdb_status overlay_stat(void *ctx, const char *path, struct tsdb_file_info *out,
                                     struct tsdb_error *err)
{
    return look(ctx, path, out, err);
}

/* The name of `path` right in `dir`, or NULL. */
static const char *name_in(const char *dir, const char *path)
{
    size_t len = strlen(dir);
    if (len > 0) {
        if (strncmp(path, dir, len) != 0 || path[len] != '/') {
            return NULL;
        }
        path += len + 1;
    }
    return path[0] && !strchr(path, '/') ? path : NULL;
}

struct overlay_list {
    struct overlay *o;
    const char *dir;
    tsdb_fs_list_fn fn;
    void *arg;
};

static enum tsdb_status list_below(void *arg, const char *name, bool is_dir)
{
    const struct overlay_list *l = arg;
    char path[PATH_BYTES_MAX];
    int n = snprintf(path, sizeof path, "%s%s%s", l->dir, l->dir[0] ? "/" : "", name);
    if (n > 0 && (size_t)n < sizeof path && node_find(l->o, path)) {
        return TSDB_OK; /* the node says it */
    }
    return l->fn(l->arg, name, is_dir);
}

static enum tsdb_status overlay_list(void *ctx, const char *dir, tsdb_fs_list_fn fn, void *arg,
                                     struct tsdb_error *err)
{
    struct overlay *o = ctx;
    struct overlay_node *self = node_find(o, dir);
    if (self && (self->gone || !self->is_dir)) {
        return not_found(err, dir);
    }
    struct overlay_list l = {o, dir, fn, arg};
    enum tsdb_status status = o->below.ops->list(o->below.ctx, dir, list_below, &l, err);
    if (status == TSDB_NOT_FOUND && self) {
        status = TSDB_OK; /* it was made here */
    }
    for (struct overlay_node *n = o->nodes; n && status == TSDB_OK; n = n->next) {
        const char *name = name_in(dir, n->path);
        if (name && !n->gone) {
            status = fn(arg, name, n->is_dir);
        }
    }
    return status;
}

static void node_drop(struct overlay *o, struct overlay_node *n)
{
    data_release(o, n->data);
    n->data = NULL;
    n->gone = true;
}

/* One file or directory, what is in it left out. */
static enum tsdb_status move_one(struct overlay *o, const char *from, const char *to,
                                 struct tsdb_error *err)
{
    struct overlay_node *a = NULL, *b = NULL;
    enum tsdb_status status = adopt(o, from, &a, err);
    if (status == TSDB_OK) {
        status = node_make(o, to, &b, err);
    }
    if (status == TSDB_OK && a != b) {
        data_release(o, b->data);
        b->data = a->data;
        b->is_dir = a->is_dir;
        b->gone = false;
        a->data = NULL;
        a->gone = true;
    }
    return status;
}

/* One entry that is not moved yet. */
struct overlay_first {
    char name[PATH_BYTES_MAX];
    bool found, is_dir;
};

static enum tsdb_status take_first(void *arg, const char *name, bool is_dir)
{
    struct overlay_first *f = arg;
    if (!f->found && strlen(name) < sizeof f->name) {
        snprintf(f->name, sizeof f->name, "%s", name);
        f->found = true;
        f->is_dir = is_dir;
    }
    return TSDB_OK;
}

/* Directories of the engine hold files, no further directories. */
static enum tsdb_status move_content(struct overlay *o, const char *from, const char *to,
                                     struct tsdb_error *err)
{
    for (;;) {
        struct overlay_first first = {.found = false};
        enum tsdb_status status = overlay_list(o, from, take_first, &first, err);
        if (status != TSDB_OK || !first.found) {
            return status;
        }
        char a[2 * PATH_BYTES_MAX], b[2 * PATH_BYTES_MAX];
        snprintf(a, sizeof a, "%s/%s", from, first.name);
        snprintf(b, sizeof b, "%s/%s", to, first.name);
        status = first.is_dir ? tsdb_error_set(err, TSDB_UNSUPPORTED,
                                               "rename %s: it holds a directory", from)
                              : move_one(o, a, b, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
}

static enum tsdb_status overlay_rename(void *ctx, const char *from, const char *to,
                                       struct tsdb_error *err)
{
    struct overlay *o = ctx;
    struct tsdb_file_info info;
    enum tsdb_status status = look(o, from, &info, err);
    if (status == TSDB_OK && info.is_dir) {
        status = move_content(o, from, to, err);
    }
    return status == TSDB_OK ? move_one(o, from, to, err) : status;
}

/* Two names of one file in memory would need what nobody asks of an overlay: snapshots are the
 * server's. */
static enum tsdb_status overlay_link(void *ctx, const char *from, const char *to,
                                     struct tsdb_error *err)
{
    (void)ctx;
    return tsdb_error_set(err, TSDB_UNSUPPORTED, "link %s to %s: changes are kept in memory only",
                          from, to);
}

static enum tsdb_status overlay_unlink(void *ctx, const char *path, struct tsdb_error *err)
{
    struct overlay_node *n = NULL;
    enum tsdb_status status = adopt(ctx, path, &n, err);
    if (status == TSDB_OK) {
        node_drop(ctx, n);
    }
    return status;
}

static enum tsdb_status overlay_mkdir(void *ctx, const char *path, struct tsdb_error *err)
{
    struct overlay *o = ctx;
    struct tsdb_file_info info;
    if (look(o, path, &info, NULL) == TSDB_OK) {
        return info.is_dir ? TSDB_OK
                           : tsdb_error_set(err, TSDB_INVALID, "mkdir %s: it is a file", path);
    }
    struct overlay_node *n = NULL;
    enum tsdb_status status = node_make(o, path, &n, err);
    if (status == TSDB_OK) {
        n->gone = false;
        n->is_dir = true;
    }
    return status;
}

static enum tsdb_status overlay_rmdir(void *ctx, const char *path, struct tsdb_error *err)
{
    struct overlay_first first = {.found = false};
    enum tsdb_status status = overlay_list(ctx, path, take_first, &first, err);
    if (status == TSDB_OK && first.found) {
        status = tsdb_error_set(err, TSDB_INVALID, "rmdir %s: it is not empty", path);
    }
    return status == TSDB_OK ? overlay_unlink(ctx, path, err) : status;
}

static enum tsdb_status overlay_sync_dir(void *ctx, const char *dir, struct tsdb_error *err)
{
    (void)ctx;
    (void)dir;
    (void)err;
    return TSDB_OK;
}

static enum tsdb_status overlay_lock(void *ctx, const char *path, struct tsdb_file **out,
                                     struct tsdb_error *err)
{
    (void)ctx;
    return file_make(NULL, path, out, err);
}

static enum tsdb_status overlay_space(void *ctx, uint64_t *out_free_bytes,
                                      uint64_t *out_total_bytes, struct tsdb_error *err)
{
    const struct overlay *o = ctx;
    return o->below.ops->space(o->below.ctx, out_free_bytes, out_total_bytes, err);
}

static const struct tsdb_fs_ops overlay_ops = {
    .open = overlay_open,
    .close = overlay_close,
    .pread = overlay_pread,
    .pwrite = overlay_pwrite,
    .sync = overlay_sync,
    .truncate = overlay_truncate,
    .preallocate = overlay_preallocate,
    .stat = overlay_stat,
    .rename = overlay_rename,
    .link = overlay_link,
    .unlink = overlay_unlink,
    .mkdir = overlay_mkdir,
    .rmdir = overlay_rmdir,
    .list = overlay_list,
    .sync_dir = overlay_sync_dir,
    .lock = overlay_lock,
    .space = overlay_space,
};

enum tsdb_status overlay_create(const struct tsdb_fs *below, struct tsdb_fs *out,
                                struct tsdb_error *err)
{
    struct overlay *o = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *o);
    if (!o) {
        return nomem(err);
    }
    o->below = *below;
    *out = (struct tsdb_fs){&overlay_ops, o};
    return TSDB_OK;
}

void overlay_destroy(struct tsdb_fs *fs)
{
    struct overlay *o = fs->ctx;
    if (!o) {
        return;
    }
    for (struct overlay_node *n = o->nodes, *next; n; n = next) {
        next = n->next;
        TSDB_ASSERT(!n->data || n->data->handles == 0);
        data_release(o, n->data);
        tsdb_mem_free(TSDB_MEM_OTHER, n, sizeof *n);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, o, sizeof *o);
    *fs = (struct tsdb_fs){0};
}
