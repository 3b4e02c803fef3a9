#include "base/crc32c.h"
#include "tools/prom/prom_file_private.h"

#include <stdio.h>

enum tsdb_status prom_path(char out[PROM_PATH_BYTES], const char *dir, const char *name,
                           struct tsdb_error *err)
{
    bool both = name && dir[0] != '\0';
    int len = snprintf(out, PROM_PATH_BYTES, "%s%s%s", dir, both ? "/" : "", name ? name : "");
    if (len < 0 || (uint32_t)len >= PROM_PATH_BYTES) {
        return tsdb_error_set(err, TSDB_INVALID, "path of %d bytes, at most %u", len,
                              PROM_PATH_BYTES - 1);
    }
    return TSDB_OK;
}

/* ---- writing ---- */
enum tsdb_status prom_sink_open(const struct tsdb_fs *fs, const char *path, struct prom_sink *out,
                                struct tsdb_error *err)
{
    struct tsdb_file *file;
    enum tsdb_status status = fs->ops->open(
        fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &file, err);
    if (status == TSDB_OK) {
        *out = (struct prom_sink){.fs = fs, .file = file};
        tsdb_buf_init(&out->buf, TSDB_MEM_OTHER, 0);
    }
    return status;
}

void prom_sink_close(struct prom_sink *s)
{
    if (s->file) {
        s->fs->ops->close(s->fs->ctx, s->file);
        tsdb_buf_deinit(&s->buf);
        *s = (struct prom_sink){0};
    }
}

enum tsdb_status prom_sink_flush(struct prom_sink *s, struct tsdb_error *err)
{
    if (s->buf.failed) {
        return tsdb_error_nomem(err, "a write buffer");
    }
    if (s->buf.len == 0) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        s->fs->ops->pwrite(s->fs->ctx, s->file, s->buf.data, s->buf.len, s->written, err);
    if (status == TSDB_OK) {
        s->written += s->buf.len;
        tsdb_buf_clear(&s->buf);
    }
    return status;
}

enum tsdb_status prom_sink_put(struct prom_sink *s, struct tsdb_error *err)
{
    return s->buf.failed || s->buf.len >= PROM_WINDOW_BYTES ? prom_sink_flush(s, err) : TSDB_OK;
}

enum tsdb_status prom_sink_sync(struct prom_sink *s, struct tsdb_error *err)
{
    enum tsdb_status status = prom_sink_flush(s, err);
    return status == TSDB_OK ? s->fs->ops->sync(s->fs->ctx, s->file, err) : status;
}

void prom_buf_put_be32(struct tsdb_buf *b, uint32_t v)
{
    tsdb_buf_put_le32(b, __builtin_bswap32(v));
}

void prom_buf_put_be64(struct tsdb_buf *b, uint64_t v)
{
    tsdb_buf_put_le64(b, __builtin_bswap64(v));
}

/* ---- reading ---- */
enum tsdb_status prom_window_open(const struct tsdb_fs *fs, const char *path, const char *what,
                                  struct prom_window *out, struct tsdb_error *err)
{
    struct tsdb_file_info info;
    struct tsdb_file *file;
    enum tsdb_status status = fs->ops->stat(fs->ctx, path, &info, err);
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &file, err);
    }
    if (status == TSDB_OK) {
        *out = (struct prom_window){.fs = fs, .file = file, .what = what, .size = info.size_bytes};
    }
    return status;
}

void prom_window_close(struct prom_window *w)
{
    if (w->file) {
        w->fs->ops->close(w->fs->ctx, w->file);
        tsdb_mem_free(TSDB_MEM_OTHER, w->data, w->cap);
        *w = (struct prom_window){0};
    }
}

static enum tsdb_status move(struct prom_window *w, uint64_t offset, size_t len,
                             struct tsdb_error *err)
{
    uint64_t left = w->size - offset;
    size_t want = len > PROM_WINDOW_BYTES ? len : PROM_WINDOW_BYTES;
    want = want > left ? (size_t)left : want;
    if (want > w->cap) {
        tsdb_mem_free(TSDB_MEM_OTHER, w->data, w->cap);
        w->len = 0;
        w->cap = 0;
        w->data = tsdb_mem_alloc(TSDB_MEM_OTHER, want);
        if (!w->data) {
            return tsdb_error_nomem(err, "a read buffer");
        }
        w->cap = want;
    }
    size_t got = 0;
    w->len = 0;
    enum tsdb_status status =
        w->fs->ops->pread(w->fs->ctx, w->file, w->data, want, offset, &got, err);
    if (status == TSDB_OK && got < len) {
        uint64_t end = offset + got;
        status = tsdb_error_set_at(err, TSDB_CORRUPT, end, "%s ends at byte %llu", w->what,
                                   (unsigned long long)end);
    }
    if (status == TSDB_OK) {
        w->at = offset;
        w->len = got;
    }
    return status;
}

enum tsdb_status prom_window_need(struct prom_window *w, uint64_t offset, size_t len,
                                  const uint8_t **out, struct tsdb_error *err)
{
    static const uint8_t nothing[1];
    if (offset > w->size || len > w->size - offset) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "%s of %llu bytes: %zu bytes wanted at byte %llu", w->what,
                                 (unsigned long long)w->size, len, (unsigned long long)offset);
    }
    if (len == 0) {
        *out = nothing;
        return TSDB_OK;
    }
    if (offset < w->at || offset - w->at > w->len || len > w->len - (size_t)(offset - w->at)) {
        enum tsdb_status status = move(w, offset, len, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    *out = w->data + (offset - w->at);
    return TSDB_OK;
}

enum tsdb_status prom_window_some(struct prom_window *w, uint64_t offset, size_t max,
                                  const uint8_t **out, size_t *out_len, struct tsdb_error *err)
{
    uint64_t left = offset < w->size ? w->size - offset : 0;
    size_t len = max < left ? max : (size_t)left;
    enum tsdb_status status = prom_window_need(w, offset, len, out, err);
    if (status == TSDB_OK) {
        *out_len = len;
    }
    return status;
}

enum tsdb_status prom_window_check(struct prom_window *w, uint64_t offset, uint64_t len,
                                   const char *part, struct tsdb_error *err)
{
    static const uint8_t nothing[4];
    uint32_t crc = 0;
    const uint8_t *p = nothing;
    enum tsdb_status status = TSDB_OK;
    if (offset > w->size || len > w->size - offset || w->size - offset - len < 4) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset, "%s, %s at byte %llu: beyond the end",
                                 w->what, part, (unsigned long long)offset);
    }
    for (uint64_t done = 0; done < len;) {
        size_t n = len - done > PROM_WINDOW_BYTES ? PROM_WINDOW_BYTES : (size_t)(len - done);
        status = prom_window_need(w, offset + done, n, &p, err);
        if (status != TSDB_OK) {
            return status;
        }
        crc = tsdb_crc32c(crc, p, n);
        done += n;
    }
    status = prom_window_need(w, offset + len, 4, &p, err);
    if (status == TSDB_OK && prom_load_be32(p) != crc) {
        status = tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                   "%s, %s at byte %llu: crc %08x, expected %08x", w->what, part,
                                   (unsigned long long)offset, prom_load_be32(p), crc);
    }
    return status;
}
