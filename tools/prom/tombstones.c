#include "tools/prom/tombstones.h"

#include "base/crc32c.h"
#include "tools/prom/prom_file_private.h"

#include <stdlib.h>

#define MAGIC           0x0130BA30u
#define VERSION         1u
#define HEADER_BYTES    5u
#define ENTRY_BYTES_MIN 3u

void prom_tombstones_deinit(struct prom_tombstones *t)
{
    tsdb_mem_free(TSDB_MEM_OTHER, t->items, t->cap * sizeof *t->items);
    *t = (struct prom_tombstones){0};
}

static int compare(const void *a, const void *b)
{
    const struct prom_tombstone *x = a, *y = b;
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    return (x->t_min > y->t_min) - (x->t_min < y->t_min);
}

/* Intervals of a series that touch become one, so that one search answers. */
static void merge(struct prom_tombstones *t)
{
    size_t n = 0;
    if (t->count > 0) {
        qsort(t->items, t->count, sizeof *t->items, compare);
    }
    for (size_t i = 0; i < t->count; i++) {
        struct prom_tombstone *last = n > 0 ? &t->items[n - 1] : NULL, now = t->items[i];
        if (last && last->id == now.id && now.t_min <= last->t_max) {
            last->t_max = now.t_max > last->t_max ? now.t_max : last->t_max;
        } else {
            t->items[n++] = now;
        }
    }
    t->count = n;
}

static enum tsdb_status parse(const uint8_t *data, size_t len, struct prom_tombstones *t,
                              struct tsdb_error *err)
{
    if (len < HEADER_BYTES + 4 || prom_load_be32(data) != MAGIC) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0, "tombstones: no magic number");
    }
    if (data[4] != VERSION) {
        return tsdb_error_set_at(err, TSDB_UNSUPPORTED, 4, "tombstones: version %u, expected %u",
                                 data[4], VERSION);
    }
    struct tsdb_reader r;
    tsdb_reader_init(&r, data + HEADER_BYTES, len - HEADER_BYTES - 4);
    uint32_t crc = tsdb_crc32c(0, r.begin, tsdb_reader_left(&r));
    if (crc != prom_load_be32(r.end)) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, len - 4, "tombstones: crc %08x, expected %08x",
                                 prom_load_be32(r.end), crc);
    }
    size_t cap = tsdb_reader_left(&r) / ENTRY_BYTES_MIN + 1;
    t->items = tsdb_mem_alloc(TSDB_MEM_OTHER, cap * sizeof *t->items);
    if (!t->items) {
        return tsdb_error_nomem(err, "tombstones");
    }
    t->cap = cap;
    while (tsdb_reader_left(&r) > 0 && !r.failed) {
        struct prom_tombstone now = {.id = tsdb_reader_uvarint(&r)};
        now.t_min = tsdb_reader_varint(&r);
        now.t_max = tsdb_reader_varint(&r);
        if (!r.failed) {
            t->items[t->count++] = now;
        }
    }
    if (r.failed) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, HEADER_BYTES + (uint64_t)(r.pos - r.begin),
                                 "tombstones: entry %zu is malformed", t->count);
    }
    merge(t);
    return TSDB_OK;
}

enum tsdb_status prom_tombstones_read(const struct tsdb_fs *fs, const char *path,
                                      struct prom_tombstones *out, struct tsdb_error *err)
{
    struct prom_tombstones t = {0};
    struct tsdb_file_info info;
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status = fs->ops->stat(fs->ctx, path, &info, NULL);
    if (status == TSDB_NOT_FOUND) {
        *out = t;
        return TSDB_OK;
    }
    status =
        tsdb_file_read_all(fs, path, PROM_TOMBSTONES_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = parse(data, len, &t, err);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    if (status == TSDB_OK) {
        *out = t;
    } else {
        prom_tombstones_deinit(&t);
    }
    return status;
}

bool prom_tombstones_has(const struct prom_tombstones *t, uint64_t id, int64_t t_ms)
{
    size_t from = 0, to = t->count; /* the last one that begins at or before (id, t_ms) */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        const struct prom_tombstone *m = &t->items[mid];
        if (m->id < id || (m->id == id && m->t_min <= t_ms)) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    return from > 0 && t->items[from - 1].id == id && t->items[from - 1].t_max >= t_ms;
}

enum tsdb_status prom_tombstones_write(const struct tsdb_fs *fs, const char *path,
                                       const struct prom_tombstone *items, size_t count,
                                       struct tsdb_error *err)
{
    struct prom_sink s;
    uint32_t crc = 0;
    enum tsdb_status status = prom_sink_open(fs, path, &s, err);
    if (status != TSDB_OK) {
        return status;
    }
    prom_buf_put_be32(&s.buf, MAGIC);
    tsdb_buf_put_u8(&s.buf, VERSION);
    for (size_t i = 0; i < count && status == TSDB_OK; i++) {
        size_t from = s.buf.len;
        tsdb_buf_put_uvarint(&s.buf, items[i].id);
        tsdb_buf_put_varint(&s.buf, items[i].t_min);
        tsdb_buf_put_varint(&s.buf, items[i].t_max);
        if (!s.buf.failed) {
            crc = tsdb_crc32c(crc, s.buf.data + from, s.buf.len - from);
        }
        status = prom_sink_put(&s, err);
    }
    prom_buf_put_be32(&s.buf, crc);
    if (status == TSDB_OK) {
        status = prom_sink_sync(&s, err);
    }
    prom_sink_close(&s);
    return status;
}
