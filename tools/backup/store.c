#include "tools/backup/store.h"

#include "base/crc32c.h"

#include <string.h>

#define COPY_BYTES (1u << 20)

enum tsdb_status store_open(const struct tool *t, const char *where, bool create,
                            struct store **out, struct tsdb_error *err)
{
    return strncmp(where, "s3://", 5) == 0 ? store_s3_open(t, where, out, err)
                                           : store_dir_open(where, create, out, err);
}

void store_close(struct store *s)
{
    if (s) {
        s->ops->close(s);
    }
}

void store_folder_of(const char *path, char out[STORE_NAME_MAX])
{
    const char *slash = strrchr(path, '/');
    snprintf(out, STORE_NAME_MAX, "%.*s", slash ? (int)(slash - path) : 0, path);
}

enum tsdb_status store_make_folders(const struct tsdb_fs *fs, const char *path,
                                    struct tsdb_error *err)
{
    char folder[STORE_NAME_MAX], parent[STORE_NAME_MAX];
    enum tsdb_status status = TSDB_OK;
    for (const char *p = strchr(path, '/'); p && status == TSDB_OK; p = strchr(p + 1, '/')) {
        struct tsdb_file_info info;
        snprintf(folder, sizeof folder, "%.*s", (int)(p - path), path);
        if (fs->ops->stat(fs->ctx, folder, &info, NULL) == TSDB_OK) {
            continue;
        }
        status = fs->ops->mkdir(fs->ctx, folder, err);
        store_folder_of(folder, parent);
        if (status == TSDB_OK) {
            status = fs->ops->sync_dir(fs->ctx, parent, err);
        }
    }
    return status;
}

/* A file from front to back, into another one where there is one. */
struct pass {
    const struct tsdb_fs *from_fs, *to_fs;
    struct tsdb_file *from, *to; /* to: NULL, only summed */
    struct tool_progress *progress;
    uint64_t bytes_max, bytes;
    uint32_t crc;
};

static enum tsdb_status run(struct pass *p, struct tsdb_error *err)
{
    uint8_t *data = tsdb_mem_alloc(TSDB_MEM_OTHER, COPY_BYTES);
    enum tsdb_status status = data ? TSDB_OK : tsdb_error_nomem(err, "a copy");
    size_t len = COPY_BYTES;
    while (len == COPY_BYTES && p->bytes <= p->bytes_max && status == TSDB_OK) {
        status = tool_check(err);
        if (status == TSDB_OK) {
            status = p->from_fs->ops->pread(p->from_fs->ctx, p->from, data, COPY_BYTES, p->bytes,
                                            &len, err);
        }
        if (status == TSDB_OK && len > 0 && p->to) {
            status = p->to_fs->ops->pwrite(p->to_fs->ctx, p->to, data, len, p->bytes, err);
        }
        if (status == TSDB_OK) {
            p->crc = tsdb_crc32c(p->crc, data, len);
            p->bytes += len;
            tool_progress_add(p->progress, len);
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, COPY_BYTES);
    return status;
}

enum tsdb_status store_sum(const struct tsdb_fs *fs, const char *path,
                           struct tool_progress *progress, uint64_t *out_bytes, uint32_t *out_crc,
                           struct tsdb_error *err)
{
    struct pass p = {.from_fs = fs, .progress = progress, .bytes_max = UINT64_MAX};
    enum tsdb_status status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &p.from, err);
    if (status == TSDB_OK) {
        status = run(&p, err);
    }
    fs->ops->close(fs->ctx, p.from);
    if (status == TSDB_OK) {
        *out_bytes = p.bytes;
        *out_crc = p.crc;
    }
    return status;
}

enum tsdb_status store_copy(const struct store_file *from, const struct tsdb_fs *fs,
                            const char *path, struct tsdb_error *err)
{
    struct pass p = {
        .from_fs = from->fs, .to_fs = fs, .progress = from->progress, .bytes_max = from->bytes};
    enum tsdb_status status =
        from->fs->ops->open(from->fs->ctx, from->path, TSDB_OPEN_READ, &p.from, err);
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, path,
                               TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &p.to, err);
    }
    if (status == TSDB_OK) {
        status = run(&p, err);
    }
    if (status == TSDB_OK && (p.bytes != from->bytes || p.crc != from->crc)) {
        status = tsdb_error_set(
            err, TSDB_CORRUPT, "%s: crc %08x of %llu bytes, expected %08x of %llu", from->path,
            p.crc, (unsigned long long)p.bytes, from->crc, (unsigned long long)from->bytes);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync(fs->ctx, p.to, err);
    }
    from->fs->ops->close(from->fs->ctx, p.from);
    fs->ops->close(fs->ctx, p.to);
    return status;
}
