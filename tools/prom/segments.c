#include "tools/prom/segments.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "tools/prom/prom_file_private.h"

#include <stdio.h>
#include <stdlib.h>

#define MAGIC            0x85BD40DDu
#define VERSION          1
#define HEADER_BYTES     8u
#define NAME_BYTES       16u
#define SEGMENTS_MAX     1000000u
#define EXTRA_BYTES_MAX  (5u + 1u + 4u) /* around the data of a chunk */
#define LENGTH_BYTES_MAX 10u

/* ---- writing ---- */
struct prom_segments_writer {
    const struct tsdb_fs *fs;
    char dir[PROM_PATH_BYTES];
    uint32_t bytes_max;
    uint32_t count; /* files begun */
    struct prom_sink sink;
};

enum tsdb_status prom_segments_writer_create(const struct tsdb_fs *fs, const char *dir,
                                             uint32_t segment_bytes_max,
                                             struct prom_segments_writer **out,
                                             struct tsdb_error *err)
{
    TSDB_ASSERT(segment_bytes_max >= PROM_SEGMENT_BYTES_MIN);
    struct prom_segments_writer *w = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "a chunk writer");
    }
    w->fs = fs;
    w->bytes_max = segment_bytes_max;
    enum tsdb_status status = prom_path(w->dir, dir, NULL, err);
    if (status == TSDB_OK) {
        status = fs->ops->mkdir(fs->ctx, dir, err);
    }
    if (status != TSDB_OK) {
        prom_segments_writer_destroy(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

void prom_segments_writer_destroy(struct prom_segments_writer *w)
{
    if (w) {
        prom_sink_close(&w->sink);
        tsdb_mem_free(TSDB_MEM_OTHER, w, sizeof *w);
    }
}

static enum tsdb_status end_segment(struct prom_segments_writer *w, struct tsdb_error *err)
{
    enum tsdb_status status = w->sink.file ? prom_sink_sync(&w->sink, err) : TSDB_OK;
    if (status == TSDB_OK) {
        prom_sink_close(&w->sink);
    }
    return status;
}

static enum tsdb_status begin_segment(struct prom_segments_writer *w, struct tsdb_error *err)
{
    char name[NAME_BYTES], path[PROM_PATH_BYTES];
    if (w->count == SEGMENTS_MAX - 1) {
        return tsdb_error_set(err, TSDB_LIMIT, "more than %u files of chunks", SEGMENTS_MAX - 1);
    }
    snprintf(name, sizeof name, "%06u", w->count + 1);
    enum tsdb_status status = end_segment(w, err);
    if (status == TSDB_OK) {
        status = prom_path(path, w->dir, name, err);
    }
    if (status == TSDB_OK) {
        status = prom_sink_open(w->fs, path, &w->sink, err);
    }
    if (status == TSDB_OK) {
        w->count++;
        prom_buf_put_be32(&w->sink.buf, MAGIC);
        tsdb_buf_put_u8(&w->sink.buf, VERSION);
        tsdb_buf_put(&w->sink.buf, "\0\0\0", 3);
    }
    return status;
}

enum tsdb_status prom_segments_append(struct prom_segments_writer *w, uint8_t encoding,
                                      const uint8_t *data, size_t len, uint64_t *out_ref,
                                      struct tsdb_error *err)
{
    if (len > UINT32_MAX / 2) {
        return tsdb_error_set(err, TSDB_LIMIT, "chunk of %zu bytes", len);
    }
    uint64_t offset = w->sink.file ? prom_sink_offset(&w->sink) : 0;
    if (!w->sink.file || (offset > HEADER_BYTES && offset + len + EXTRA_BYTES_MAX > w->bytes_max)) {
        enum tsdb_status status = begin_segment(w, err);
        if (status != TSDB_OK) {
            return status;
        }
        offset = HEADER_BYTES;
    }
    struct tsdb_buf *b = &w->sink.buf;
    tsdb_buf_put_uvarint(b, len);
    tsdb_buf_put_u8(b, encoding);
    tsdb_buf_put(b, data, len);
    prom_buf_put_be32(b, tsdb_crc32c(tsdb_crc32c(0, &encoding, 1), data, len));
    enum tsdb_status status = prom_sink_put(&w->sink, err);
    if (status == TSDB_OK) {
        *out_ref = (uint64_t)(w->count - 1) << 32 | offset;
    }
    return status;
}

enum tsdb_status prom_segments_finish(struct prom_segments_writer *w, struct tsdb_error *err)
{
    enum tsdb_status status = end_segment(w, err);
    return status == TSDB_OK ? w->fs->ops->sync_dir(w->fs->ctx, w->dir, err) : status;
}

/* ---- reading ---- */
struct prom_segments {
    const struct tsdb_fs *fs;
    uint32_t count, cap;
    uint32_t *numbers; /* of the files, sorted */
    struct prom_window *windows;
};

static enum tsdb_status note_name(void *arg, const char *name, bool is_dir)
{
    struct prom_segments *s = arg;
    uint64_t number = 0;
    size_t digits = 0;
    for (; name[digits] >= '0' && name[digits] <= '9' && digits < 8; digits++) {
        number = number * 10 + (uint64_t)(name[digits] - '0');
    }
    if (is_dir || digits < 6 || name[digits] != '\0') {
        return TSDB_OK;
    }
    if (s->count == s->cap) {
        uint32_t cap = s->cap == 0 ? 16 : 2 * s->cap;
        uint32_t *grown = tsdb_mem_realloc(TSDB_MEM_OTHER, s->numbers, s->cap * sizeof *grown,
                                           cap * sizeof *grown);
        if (!grown) {
            return TSDB_NOMEM;
        }
        s->numbers = grown;
        s->cap = cap;
    }
    s->numbers[s->count++] = (uint32_t)number;
    return TSDB_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static enum tsdb_status open_one(struct prom_segments *s, const char *dir, uint32_t i,
                                 struct tsdb_error *err)
{
    char name[NAME_BYTES], path[PROM_PATH_BYTES];
    const uint8_t *p;
    struct prom_window *w = &s->windows[i];
    snprintf(name, sizeof name, "%06u", s->numbers[i]);
    enum tsdb_status status = prom_path(path, dir, name, err);
    if (status == TSDB_OK) {
        status = prom_window_open(s->fs, path, "chunks", w, err);
    }
    if (status == TSDB_OK) {
        status = prom_window_need(w, 0, HEADER_BYTES, &p, err);
    }
    if (status == TSDB_OK && prom_load_be32(p) != MAGIC) {
        status = tsdb_error_set_at(err, TSDB_CORRUPT, 0, "magic %08x, expected %08x",
                                   prom_load_be32(p), MAGIC);
    } else if (status == TSDB_OK && p[4] != VERSION) {
        status =
            tsdb_error_set_at(err, TSDB_UNSUPPORTED, 4, "version %u, expected %u", p[4], VERSION);
    }
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "chunks %s", name);
}

enum tsdb_status prom_segments_open(const struct tsdb_fs *fs, const char *dir,
                                    struct prom_segments **out, struct tsdb_error *err)
{
    struct prom_segments *s = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *s);
    if (!s) {
        return tsdb_error_nomem(err, "a chunk reader");
    }
    s->fs = fs;
    enum tsdb_status status = fs->ops->list(fs->ctx, dir, note_name, s, err);
    if (status == TSDB_OK && s->count > 0) {
        qsort(s->numbers, s->count, sizeof *s->numbers, compare_numbers);
        s->windows = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, s->count * sizeof *s->windows);
        status = s->windows ? TSDB_OK : tsdb_error_nomem(err, "a chunk reader");
    }
    for (uint32_t i = 0; i < s->count && status == TSDB_OK; i++) {
        status = open_one(s, dir, i, err);
    }
    if (status != TSDB_OK) {
        prom_segments_close(s);
        return status;
    }
    *out = s;
    return TSDB_OK;
}

void prom_segments_close(struct prom_segments *s)
{
    if (!s) {
        return;
    }
    for (uint32_t i = 0; s->windows && i < s->count; i++) {
        prom_window_close(&s->windows[i]);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, s->windows, s->count * sizeof *s->windows);
    tsdb_mem_free(TSDB_MEM_OTHER, s->numbers, s->cap * sizeof *s->numbers);
    tsdb_mem_free(TSDB_MEM_OTHER, s, sizeof *s);
}

static enum tsdb_status corrupt(const struct prom_segments *s, uint64_t ref, const char *what,
                                struct tsdb_error *err)
{
    uint32_t i = (uint32_t)(ref >> 32);
    return tsdb_error_set_at(err, TSDB_CORRUPT, (uint32_t)ref, "chunks %06u at byte %u: %s",
                             i < s->count ? s->numbers[i] : i + 1, (uint32_t)ref, what);
}

enum tsdb_status prom_segments_read(struct prom_segments *s, uint64_t ref, uint8_t *out_encoding,
                                    struct tsdb_slice *out_data, struct tsdb_error *err)
{
    uint64_t i = ref >> 32, offset = (uint32_t)ref, len;
    const uint8_t *p;
    size_t got;
    if (i >= s->count || offset < HEADER_BYTES) {
        return corrupt(s, ref, "no such place for a chunk", err);
    }
    struct prom_window *w = &s->windows[i];
    enum tsdb_status status = prom_window_some(w, offset, LENGTH_BYTES_MAX, &p, &got, err);
    if (status != TSDB_OK) {
        return status;
    }
    const uint8_t *end = tsdb_get_uvarint(p, p + got, &len);
    size_t head = end ? (size_t)(end - p) : 0;
    if (!end || len > w->size - offset - head || w->size - offset - head - len < 5) {
        return corrupt(s, ref, "a length that is malformed or leads beyond the end", err);
    }
    status = prom_window_need(w, offset + head, (size_t)len + 5, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t crc = tsdb_crc32c(0, p, 1 + (size_t)len);
    if (crc != prom_load_be32(p + 1 + len)) {
        return corrupt(s, ref, "its crc does not fit", err);
    }
    *out_encoding = p[0];
    *out_data = (struct tsdb_slice){p + 1, (size_t)len};
    return TSDB_OK;
}
