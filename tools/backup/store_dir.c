/* A directory as a store: a file per name, made as <name>.tmp and renamed. */
#include "tools/backup/store.h"
#include "tools/cmd/open.h"

#include <string.h>

#define TMP ".tmp"

struct dir_store {
    struct store base;
    struct tsdb_fs fs;
};

static const struct tsdb_fs *fs_of(struct store *s)
{
    return &((struct dir_store *)s)->fs;
}

static void dir_close(struct store *s)
{
    struct dir_store *d = (struct dir_store *)s;
    tsdb_fs_real_destroy(&d->fs);
    tsdb_mem_free(TSDB_MEM_OTHER, d, sizeof *d);
}

static enum tsdb_status dir_has(struct store *s, const char *name, uint64_t bytes, bool *out,
                                struct tsdb_error *err)
{
    struct tsdb_file_info info;
    enum tsdb_status status = fs_of(s)->ops->stat(fs_of(s)->ctx, name, &info, err);
    if (status == TSDB_OK || status == TSDB_NOT_FOUND) {
        *out = status == TSDB_OK && !info.is_dir && info.size_bytes == bytes;
        return TSDB_OK;
    }
    return status;
}

static enum tsdb_status dir_put(struct store *s, const char *name, const struct store_file *from,
                                struct tsdb_error *err)
{
    const struct tsdb_fs *fs = fs_of(s);
    char tmp[STORE_NAME_MAX], folder[STORE_NAME_MAX];
    snprintf(tmp, sizeof tmp, "%s" TMP, name);
    store_folder_of(name, folder);
    enum tsdb_status status = store_make_folders(fs, name, err);
    if (status == TSDB_OK) {
        status = store_copy(from, fs, tmp, err);
        if (status == TSDB_OK) {
            status = fs->ops->rename(fs->ctx, tmp, name, err);
        } else {
            (void)fs->ops->unlink(fs->ctx, tmp, NULL);
        }
    }
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, folder, err) : status;
}

static enum tsdb_status dir_put_bytes(struct store *s, const char *name,
                                      const struct tsdb_buf *data, struct tsdb_error *err)
{
    enum tsdb_status status = store_make_folders(fs_of(s), name, err);
    return status == TSDB_OK ? tsdb_file_replace(fs_of(s), name, data->data, data->len, err)
                             : status;
}

static enum tsdb_status dir_get(struct store *s, const char *name, const struct store_file *to,
                                struct tsdb_error *err)
{
    struct store_file from = *to;
    from.fs = fs_of(s);
    from.path = name;
    return store_copy(&from, to->fs, to->path, err);
}

static enum tsdb_status dir_get_bytes(struct store *s, const char *name, struct tsdb_buf *out,
                                      struct tsdb_error *err)
{
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status =
        tsdb_file_read_all(fs_of(s), name, out->len_max, TSDB_MEM_OTHER, &data, &len, err);
    if (status == TSDB_OK) {
        tsdb_buf_put(out, data, len);
        status = out->failed ? tsdb_error_nomem(err, "a manifest") : TSDB_OK;
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
    return status;
}

struct listing {
    store_name_fn fn;
    void *arg;
    struct tsdb_error *err;
};

static enum tsdb_status list_name(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    size_t len = strlen(name), tmp = strlen(TMP);
    bool half = len > tmp && strcmp(name + len - tmp, TMP) == 0;
    return is_dir || half ? TSDB_OK : l->fn(l->arg, name, l->err);
}

static enum tsdb_status dir_list(struct store *s, const char *folder, store_name_fn fn, void *arg,
                                 struct tsdb_error *err)
{
    struct listing l = {fn, arg, err};
    enum tsdb_status status = fs_of(s)->ops->list(fs_of(s)->ctx, folder, list_name, &l, err);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

static const struct store_ops dir_ops = {
    dir_close, dir_has, dir_put, dir_put_bytes, dir_get, dir_get_bytes, dir_list,
};

enum tsdb_status store_dir_open(const char *path, bool create, struct store **out,
                                struct tsdb_error *err)
{
    enum tsdb_status status = create ? TSDB_OK : tool_must_be_dir(path, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct dir_store *d = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *d);
    if (!d) {
        return tsdb_error_nomem(err, "a store");
    }
    d->base.ops = &dir_ops;
    status = tsdb_fs_real_create(path, &d->fs, err);
    if (status != TSDB_OK) {
        tsdb_mem_free(TSDB_MEM_OTHER, d, sizeof *d);
        return status;
    }
    *out = &d->base;
    return TSDB_OK;
}
