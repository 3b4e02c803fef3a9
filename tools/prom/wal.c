/* Segments of a Prometheus's log, and files of its head chunks. */
#include "tools/prom/wal.h"

#include "base/crc32c.h"
#include "base/format.h"
#include "ingest/snappy.h"
#include "ingest/unpack.h"
#include "tools/prom/prom_file_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES       32768u
#define FRAGMENT_HEAD    7u
#define FRAGMENT_TYPE    7u /* bits */
#define FRAGMENT_SNAPPY  8u
#define FRAGMENT_ZSTD    16u
#define FILES_MAX        (1u << 20)
#define CHUNKS_MAGIC     0x0130BC91u
#define CHUNKS_HEADER    8u
#define CHUNK_HEAD       25u /* series, times, encoding */
#define CHUNK_LENGTH_MAX 10u
#define OUT_OF_ORDER     0x80u
#define ARENA_BYTES      65536u

enum fragment {
    FRAGMENT_EMPTY = 0,
    FRAGMENT_WHOLE = 1,
    FRAGMENT_FIRST = 2,
    FRAGMENT_MIDDLE = 3,
    FRAGMENT_LAST = 4,
};

void prom_log_deinit(struct prom_log *log)
{
    tsdb_buf_deinit(&log->record);
}

static void note_damage(struct prom_log *log, const char *path, const struct tsdb_error *why)
{
    if (log->damaged++ == 0) {
        snprintf(log->damage, sizeof log->damage, "%.80s: %.160s", path, why->msg);
    }
}

/* ---- files by their numbers ---- */
struct numbers {
    uint64_t *items;
    uint32_t count, cap;
    int64_t checkpoint; /* the newest; -1: none */
    bool nomem;
};

static bool number_of(const char *name, uint64_t *out)
{
    size_t len = strlen(name);
    return len > 0 && len <= 12 && strspn(name, "0123456789") == len &&
           tsdb_parse_u64(name, len, out);
}

static enum tsdb_status take_name(void *arg, const char *name, bool is_dir)
{
    struct numbers *n = arg;
    uint64_t v = 0;
    if (is_dir && strncmp(name, "checkpoint.", 11) == 0 && number_of(name + 11, &v)) {
        n->checkpoint = TSDB_MAX(n->checkpoint, (int64_t)v);
    }
    if (is_dir || !number_of(name, &v)) {
        return TSDB_OK;
    }
    if (n->count == n->cap) {
        uint32_t cap = n->cap ? 2 * n->cap : 64;
        uint64_t *items = cap <= FILES_MAX
                              ? tsdb_mem_realloc(TSDB_MEM_OTHER, n->items, n->cap * sizeof *items,
                                                 cap * sizeof *items)
                              : NULL;
        n->nomem = !items;
        if (!items) {
            return TSDB_NOMEM;
        }
        n->items = items;
        n->cap = cap;
    }
    n->items[n->count++] = v;
    return TSDB_OK;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void numbers_deinit(struct numbers *n)
{
    tsdb_mem_free(TSDB_MEM_OTHER, n->items, n->cap * sizeof *n->items);
}

/* A folder that is not there has none. */
static enum tsdb_status list_numbers(const struct tsdb_fs *fs, const char *dir, struct numbers *out,
                                     struct tsdb_error *err)
{
    *out = (struct numbers){.checkpoint = -1};
    enum tsdb_status status = fs->ops->list(fs->ctx, dir, take_name, out, err);
    if (out->nomem) {
        return tsdb_error_nomem(err, "the names of the segments");
    }
    if (out->count > 1) {
        qsort(out->items, out->count, sizeof *out->items, by_number);
    }
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* ---- a segment ---- */
struct segment {
    struct prom_window w;
    struct prom_log *log;
    const struct prom_log_sink *sink;
    struct tsdb_arena *arena;
    struct tsdb_buf unpacked;
    bool open;     /* a record has begun and has not ended */
    bool resync;   /* behind damage: what does not begin a record is the rest of a lost one */
    uint8_t flags; /* of it */
};

static enum tsdb_status grow(struct ingest_sink *s, size_t cap)
{
    struct tsdb_buf *b = s->arg;
    b->len = s->len;
    uint8_t *room = tsdb_buf_reserve(b, cap - s->len);
    s->data = room ? b->data : s->data;
    s->cap = room ? cap : s->cap;
    return room ? TSDB_OK : TSDB_LIMIT;
}

static enum tsdb_status unpack(struct segment *s, struct tsdb_slice *out, struct tsdb_error *err)
{
    const struct tsdb_buf *in = &s->log->record;
    size_t len = 0;
    tsdb_buf_clear(&s->unpacked);
    if (s->flags & FRAGMENT_ZSTD) {
        struct ingest_sink sink = {.grow = grow, .arg = &s->unpacked};
        enum tsdb_status status =
            ingest_zstd_decode(in->data, in->len, PROM_RECORD_BYTES_MAX, &sink, err);
        *out = (struct tsdb_slice){sink.data, sink.len};
        return status;
    }
    enum tsdb_status status =
        ingest_snappy_decoded_bytes(in->data, in->len, PROM_RECORD_BYTES_MAX, &len, err);
    uint8_t *room = status == TSDB_OK ? tsdb_buf_reserve(&s->unpacked, len + 1) : NULL;
    if (status == TSDB_OK && !room) {
        return tsdb_error_nomem(err, "a record");
    }
    *out = (struct tsdb_slice){room, len};
    return status == TSDB_OK ? ingest_snappy_decode(in->data, in->len, room, len, err) : status;
}

static enum tsdb_status take_record(struct segment *s, struct tsdb_error *err)
{
    struct tsdb_slice data = {s->log->record.data, s->log->record.len};
    enum tsdb_status status = TSDB_OK;
    if (s->log->record.failed) {
        return tsdb_error_set(err, TSDB_LIMIT, "a record of more than %u bytes",
                              PROM_RECORD_BYTES_MAX);
    }
    if (data.len > 0 && (s->flags & (FRAGMENT_SNAPPY | FRAGMENT_ZSTD))) {
        status = unpack(s, &data, err);
        status = status == TSDB_INVALID || status == TSDB_LIMIT ? TSDB_CORRUPT : status;
    }
    if (status == TSDB_OK) {
        s->log->records++;
        status = prom_record_decode(data.data, data.len, s->sink, s->arena, err);
    }
    return status;
}

static enum tsdb_status take_fragment(struct segment *s, uint8_t type, const uint8_t *data,
                                      size_t len, struct tsdb_error *err)
{
    enum fragment part = (enum fragment)(type & FRAGMENT_TYPE);
    bool begins = part == FRAGMENT_WHOLE || part == FRAGMENT_FIRST;
    if (s->resync && !begins && part <= FRAGMENT_LAST) {
        return TSDB_OK;
    }
    s->resync = false;
    if (part > FRAGMENT_LAST || begins == s->open) {
        return tsdb_error_set(err, TSDB_CORRUPT, "fragment of type %u where it cannot be", type);
    }
    if (begins) {
        tsdb_buf_clear(&s->log->record);
        s->flags = type;
    }
    tsdb_buf_put(&s->log->record, data, len);
    s->open = part == FRAGMENT_FIRST || part == FRAGMENT_MIDDLE;
    return s->open ? TSDB_OK : take_record(s, err);
}

/* *at moves behind the fragment; NOT_FOUND: there is none any more. */
static enum tsdb_status next_fragment(struct segment *s, uint64_t *at, struct tsdb_error *err)
{
    const uint8_t *p = NULL;
    size_t in_page = PAGE_BYTES - (size_t)(*at % PAGE_BYTES);
    if (in_page < FRAGMENT_HEAD) {
        *at += in_page;
        in_page = PAGE_BYTES;
    }
    if (*at >= s->w.size) {
        return TSDB_NOT_FOUND;
    }
    enum tsdb_status status = prom_window_need(&s->w, *at, 1, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (p[0] == 0) { /* the rest of the page is empty */
        *at += in_page;
        return TSDB_OK;
    }
    status = prom_window_need(&s->w, *at, FRAGMENT_HEAD, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t type = p[0];
    size_t len = (size_t)p[1] << 8 | p[2];
    uint32_t crc = prom_load_be32(p + 3);
    if (len > in_page - FRAGMENT_HEAD) {
        return tsdb_error_set(err, TSDB_CORRUPT, "byte %llu: %zu bytes, the page has %zu",
                              (unsigned long long)*at, len, in_page - FRAGMENT_HEAD);
    }
    status = prom_window_need(&s->w, *at + FRAGMENT_HEAD, len, &p, err);
    if (status == TSDB_OK && tsdb_crc32c(0, p, len) != crc) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "byte %llu: crc %08x, expected %08x",
                                (unsigned long long)*at, tsdb_crc32c(0, p, len), crc);
    }
    if (status == TSDB_OK) {
        status = take_fragment(s, type, p, len, err);
        *at += FRAGMENT_HEAD + len;
    }
    return status;
}

/* Does the file end where the fragment at `at` should go on, or is nothing but zeroes left of it? */
static bool is_torn(struct segment *s, uint64_t at)
{
    const uint8_t *p = NULL;
    size_t len = 0;
    uint64_t end = s->w.size - at;
    if (end >= PAGE_BYTES || prom_window_some(&s->w, at, PAGE_BYTES, &p, &len, NULL) != TSDB_OK ||
        len == 0) {
        return end < PAGE_BYTES;
    }
    size_t need = len >= 3 ? FRAGMENT_HEAD + ((size_t)p[1] << 8 | p[2]) : FRAGMENT_HEAD;
    return need >= len; /* it reaches to the end, or beyond */
}

static enum tsdb_status read_segment(const struct tsdb_fs *fs, const char *path, bool newest,
                                     const struct prom_log_sink *sink, struct prom_log *log,
                                     struct tsdb_arena *arena, struct tsdb_error *err)
{
    struct segment s = {.log = log, .sink = sink, .arena = arena};
    uint64_t at = 0;
    struct tsdb_error why = {0};
    enum tsdb_status status = prom_window_open(fs, path, "segment", &s.w, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_buf_init(&s.unpacked, TSDB_MEM_OTHER, PROM_RECORD_BYTES_MAX);
    log->record.len_max = PROM_RECORD_BYTES_MAX;
    while (status == TSDB_OK) {
        status = next_fragment(&s, &at, &why);
        if (status == TSDB_CORRUPT && !(newest && is_torn(&s, TSDB_MIN(at, s.w.size)))) {
            note_damage(log, path, &why);
            at = (at / PAGE_BYTES + 1) * PAGE_BYTES;
            s.open = false;
            s.resync = true;
            status = TSDB_OK;
        }
    }
    if (status == TSDB_NOT_FOUND && s.open && !newest) {
        (void)tsdb_error_set(&why, TSDB_CORRUPT, "it ends within a record");
        note_damage(log, path, &why);
    }
    log->bytes += s.w.size;
    if (status != TSDB_CORRUPT && status != TSDB_NOT_FOUND) {
        *err = why;
    }
    tsdb_buf_deinit(&s.unpacked);
    prom_window_close(&s.w);
    return status == TSDB_CORRUPT || status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* Segments from the first number on. */
static enum tsdb_status read_folder(const struct tsdb_fs *fs, const char *dir,
                                    const struct numbers *n, int64_t first, bool newest,
                                    const struct prom_log_sink *sink, struct prom_log *log,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    for (uint32_t i = 0; i < n->count && status == TSDB_OK; i++) {
        char path[PROM_PATH_BYTES], name[32];
        if ((int64_t)n->items[i] < first) {
            continue;
        }
        snprintf(name, sizeof name, "%08llu", (unsigned long long)n->items[i]);
        status = prom_path(path, dir, name, err);
        if (status == TSDB_OK) {
            status = read_segment(fs, path, newest && i + 1 == n->count, sink, log, &arena, err);
        }
    }
    tsdb_arena_deinit(&arena);
    return status;
}

enum tsdb_status prom_log_read(const struct tsdb_fs *fs, const char *dir,
                               const struct prom_log_sink *sink, struct prom_log *log,
                               struct tsdb_error *err)
{
    struct numbers segments, kept;
    char path[PROM_PATH_BYTES], name[40];
    enum tsdb_status status = list_numbers(fs, dir, &segments, err);
    if (status == TSDB_OK && segments.checkpoint >= 0) {
        snprintf(name, sizeof name, "checkpoint.%08lld", (long long)segments.checkpoint);
        status = prom_path(path, dir, name, err);
        if (status == TSDB_OK) {
            status = list_numbers(fs, path, &kept, err);
            if (status == TSDB_OK) {
                status = read_folder(fs, path, &kept, 0, false, sink, log, err);
            }
            numbers_deinit(&kept);
        }
    }
    if (status == TSDB_OK) {
        status = read_folder(fs, dir, &segments, segments.checkpoint + 1, true, sink, log, err);
    }
    numbers_deinit(&segments);
    return status;
}

/* ---- head chunks ---- */
/* The chunk at *at, which moves behind it. NOT_FOUND: zeroes, or the end. */
static enum tsdb_status next_chunk(struct prom_window *w, uint64_t *at, prom_head_chunk_fn fn,
                                   void *arg, struct tsdb_error *err)
{
    const uint8_t *p = NULL;
    uint64_t len = 0;
    size_t got = 0;
    enum tsdb_status status =
        prom_window_some(w, *at, CHUNK_HEAD + CHUNK_LENGTH_MAX, &p, &got, err);
    if (status != TSDB_OK) {
        return status;
    }
    bool empty = true;
    for (size_t i = 0; i < got && i < CHUNK_HEAD; i++) {
        empty = empty && p[i] == 0;
    }
    if (empty) {
        return TSDB_NOT_FOUND;
    }
    const uint8_t *q = got > CHUNK_HEAD ? tsdb_get_uvarint(p + CHUNK_HEAD, p + got, &len) : NULL;
    if (!q || len > w->size - *at) {
        return tsdb_error_set(err, TSDB_CORRUPT, "byte %llu: not a whole chunk",
                              (unsigned long long)*at);
    }
    struct prom_head_chunk c = {
        .ref = prom_load_be64(p),
        .t_min = (int64_t)prom_load_be64(p + 8),
        .t_max = (int64_t)prom_load_be64(p + 16),
        .encoding = (uint8_t)(p[24] & ~OUT_OF_ORDER),
        .out_of_order = p[24] & OUT_OF_ORDER,
    };
    size_t head = (size_t)(q - p);
    status = prom_window_need(w, *at, head + (size_t)len + 4, &p, err);
    if (status == TSDB_OK &&
        tsdb_crc32c(0, p, head + (size_t)len) != prom_load_be32(p + head + len)) {
        status =
            tsdb_error_set(err, TSDB_CORRUPT, "byte %llu: crc is wrong", (unsigned long long)*at);
    }
    if (status == TSDB_OK) {
        c.data = (struct tsdb_slice){p + head, (size_t)len};
        *at += head + len + 4;
        status = fn(arg, &c, err);
    }
    return status;
}

static enum tsdb_status read_chunks(const struct tsdb_fs *fs, const char *path, bool newest,
                                    prom_head_chunk_fn fn, void *arg, struct prom_log *log,
                                    struct tsdb_error *err)
{
    struct prom_window w;
    const uint8_t *p = NULL;
    struct tsdb_error why = {0};
    uint64_t at = CHUNKS_HEADER;
    enum tsdb_status status = prom_window_open(fs, path, "head chunks", &w, err);
    if (status != TSDB_OK) {
        return status;
    }
    log->bytes += w.size;
    if (w.size > 0 || !newest) { /* a new file has no byte yet */
        status = prom_window_need(&w, 0, CHUNKS_HEADER, &p, &why);
        if (status == TSDB_OK && prom_load_be32(p) != CHUNKS_MAGIC) {
            status = tsdb_error_set(&why, TSDB_CORRUPT, "begins with %08x", prom_load_be32(p));
        } else if (status == TSDB_OK && p[4] != 1) {
            status = tsdb_error_set(&why, TSDB_UNSUPPORTED, "head chunks of version %u", p[4]);
        }
        while (status == TSDB_OK) {
            status = next_chunk(&w, &at, fn, arg, &why);
        }
    }
    if (status == TSDB_CORRUPT &&
        !newest) { /* a death leaves the newest one as it was written to */
        note_damage(log, path, &why);
    } else if (status != TSDB_CORRUPT && status != TSDB_NOT_FOUND && status != TSDB_OK) {
        *err = why;
    }
    prom_window_close(&w);
    return status == TSDB_CORRUPT || status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

enum tsdb_status prom_head_chunks_read(const struct tsdb_fs *fs, prom_head_chunk_fn fn, void *arg,
                                       struct prom_log *log, struct tsdb_error *err)
{
    struct numbers n;
    enum tsdb_status status = list_numbers(fs, "chunks_head", &n, err);
    for (uint32_t i = 0; i < n.count && status == TSDB_OK; i++) {
        char path[64];
        snprintf(path, sizeof path, "chunks_head/%06llu", (unsigned long long)n.items[i]);
        status = read_chunks(fs, path, i + 1 == n.count, fn, arg, log, err);
    }
    numbers_deinit(&n);
    return status;
}
