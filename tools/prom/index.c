#include "tools/prom/index.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "tools/prom/prom_index_private.h"

#define OFFSET_ENTRY_BYTES_MAX                                                                     \
    (1u << 20) /* read at once while looking for the list of all series */

struct prom_index {
    struct prom_window file, list; /* two windows on one file: series, and the list of their ids */
    uint64_t contents[PROM_PART_COUNT];
    uint64_t series_end;
    uint8_t *symbol_bytes; /* the section without its length and CRC */
    uint32_t symbol_bytes_len, symbol_count;
    uint32_t *symbols; /* offset of each in symbol_bytes, at its length */
    uint64_t list_at;  /* of the first id */
    uint32_t series_count, next, id_before;
};

static enum tsdb_status corrupt(uint64_t at, const char *what, struct tsdb_error *err)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, at, "index at byte %llu: %s",
                             (unsigned long long)at, what);
}

/* ---- opening ---- */
static enum tsdb_status read_contents(struct prom_index *x, struct tsdb_error *err)
{
    const uint8_t *p;
    enum tsdb_status status = prom_window_need(&x->file, 0, PROM_INDEX_HEADER_BYTES, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (prom_load_be32(p) != PROM_INDEX_MAGIC) {
        return corrupt(0, "no magic number of an index", err);
    }
    if (p[4] < PROM_INDEX_VERSION || p[4] > PROM_INDEX_VERSION_MAX) {
        return tsdb_error_set_at(err, TSDB_UNSUPPORTED, 4, "index: version %u, expected %u or %u",
                                 p[4], PROM_INDEX_VERSION, PROM_INDEX_VERSION_MAX);
    }
    if (x->file.size < PROM_INDEX_HEADER_BYTES + PROM_INDEX_CONTENTS_BYTES) {
        return corrupt(x->file.size, "too short for a table of contents", err);
    }
    uint64_t at = x->file.size - PROM_INDEX_CONTENTS_BYTES;
    status = prom_window_check(&x->file, at, 8 * PROM_PART_COUNT, "contents", err);
    if (status == TSDB_OK) {
        status = prom_window_need(&x->file, at, 8 * PROM_PART_COUNT, &p, err);
    }
    for (uint32_t i = 0; i < PROM_PART_COUNT && status == TSDB_OK; i++) {
        x->contents[i] = prom_load_be64(p + 8 * (size_t)i);
        if (x->contents[i] > at) {
            status = corrupt(at + 8 * (uint64_t)i, "a part beyond the table of contents", err);
        }
    }
    /* Series end where whatever comes next begins; older files have label indices there. */
    x->series_end = at;
    for (uint32_t i = PROM_PART_LABEL_INDICES; i < PROM_PART_COUNT; i++) {
        if (x->contents[i] >= x->contents[PROM_PART_SERIES] && x->contents[i] < x->series_end) {
            x->series_end = x->contents[i];
        }
    }
    return status;
}

static enum tsdb_status index_symbols(struct prom_index *x, uint64_t at, struct tsdb_error *err)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, x->symbol_bytes, x->symbol_bytes_len);
    uint32_t count = __builtin_bswap32(tsdb_reader_le32(&r));
    if (r.failed || count > tsdb_reader_left(&r)) {
        return corrupt(at, "more symbols than bytes", err);
    }
    x->symbols = tsdb_mem_alloc(TSDB_MEM_OTHER, ((size_t)count + 1) * sizeof *x->symbols);
    if (!x->symbols) {
        return tsdb_error_nomem(err, "the symbols of an index");
    }
    x->symbol_count = count;
    for (uint32_t i = 0; i < count && !r.failed; i++) {
        x->symbols[i] = (uint32_t)(r.pos - r.begin);
        uint64_t len = tsdb_reader_uvarint(&r);
        tsdb_reader_bytes(&r, len > SIZE_MAX ? SIZE_MAX : (size_t)len);
    }
    return r.failed ? corrupt(at, "symbols cut short", err) : TSDB_OK;
}

static enum tsdb_status read_symbols(struct prom_index *x, struct tsdb_error *err)
{
    const uint8_t *p;
    uint64_t at = x->contents[PROM_PART_SYMBOLS];
    enum tsdb_status status = prom_window_need(&x->file, at, 4, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t len = prom_load_be32(p);
    status = prom_window_check(&x->file, at + 4, len, "symbols", err); /* they are there, too */
    if (status != TSDB_OK) {
        return status;
    }
    x->symbol_bytes = tsdb_mem_alloc(TSDB_MEM_OTHER, (size_t)len + 1);
    if (!x->symbol_bytes) {
        return tsdb_error_nomem(err, "the symbols of an index");
    }
    x->symbol_bytes_len = len;
    for (uint32_t done = 0; done < len && status == TSDB_OK;) {
        uint32_t n = len - done < PROM_WINDOW_BYTES ? len - done : PROM_WINDOW_BYTES;
        status = prom_window_need(&x->file, at + 4 + done, n, &p, err);
        if (status == TSDB_OK) {
            memcpy(x->symbol_bytes + done, p, n);
        }
        done += n;
    }
    return status == TSDB_OK ? index_symbols(x, at, err) : status;
}

/* One entry of the table of postings: its list's offset if it is that of all series, else 0. */
static enum tsdb_status read_offset(struct prom_window *w, uint64_t *at, uint64_t end,
                                    uint64_t *out_all, struct tsdb_error *err)
{
    const uint8_t *p;
    size_t got,
        max = end - *at < OFFSET_ENTRY_BYTES_MAX ? (size_t)(end - *at) : OFFSET_ENTRY_BYTES_MAX;
    enum tsdb_status status = prom_window_some(w, *at, max, &p, &got, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_reader r;
    tsdb_reader_init(&r, p, got);
    uint64_t keys = tsdb_reader_uvarint(&r);
    uint64_t name_len = tsdb_reader_uvarint(&r);
    tsdb_reader_bytes(&r, (size_t)name_len);
    uint64_t value_len = tsdb_reader_uvarint(&r);
    tsdb_reader_bytes(&r, (size_t)value_len);
    uint64_t offset = tsdb_reader_uvarint(&r);
    if (r.failed || keys != 2) {
        return corrupt(*at, "an entry of the table of postings is malformed", err);
    }
    *out_all = name_len == 0 && value_len == 0 ? offset : 0;
    *at += (uint64_t)(r.pos - r.begin);
    return TSDB_OK;
}

static enum tsdb_status find_all(struct prom_index *x, uint64_t *out_all, struct tsdb_error *err)
{
    const uint8_t *p;
    uint64_t at = x->contents[PROM_PART_POSTING_OFFSETS];
    enum tsdb_status status = prom_window_need(&x->file, at, 4, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t len = prom_load_be32(p);
    uint64_t end = at + 4 + len;
    status = prom_window_check(&x->file, at + 4, len, "table of postings", err);
    *out_all = 0;
    for (at += 8; status == TSDB_OK && at < end && *out_all == 0;) {
        status = read_offset(&x->file, &at, end, out_all, err);
    }
    if (status == TSDB_OK && *out_all == 0) {
        status = corrupt(x->contents[PROM_PART_POSTING_OFFSETS], "no list of all series", err);
    }
    return status;
}

static enum tsdb_status read_list(struct prom_index *x, struct tsdb_error *err)
{
    const uint8_t *p;
    uint64_t at;
    enum tsdb_status status = find_all(x, &at, err);
    if (status == TSDB_OK) {
        status = prom_window_need(&x->file, at, 8, &p, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t len = prom_load_be32(p), count = prom_load_be32(p + 4);
    if (len != UINT64_C(4) + 4 * (uint64_t)count) {
        return corrupt(at, "a list whose length does not fit its count", err);
    }
    x->list_at = at + 8;
    x->series_count = count;
    return prom_window_check(&x->list, at + 4, len, "list of all series", err);
}

enum tsdb_status prom_index_open(const struct tsdb_fs *fs, const char *path,
                                 struct prom_index **out, struct tsdb_error *err)
{
    struct prom_index *x = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *x);
    if (!x) {
        return tsdb_error_nomem(err, "an index reader");
    }
    enum tsdb_status status = prom_window_open(fs, path, "index", &x->file, err);
    if (status == TSDB_OK) {
        status = prom_window_open(fs, path, "index", &x->list, err);
    }
    if (status == TSDB_OK) {
        status = read_contents(x, err);
    }
    if (status == TSDB_OK) {
        status = read_symbols(x, err);
    }
    if (status == TSDB_OK) {
        status = read_list(x, err);
    }
    if (status != TSDB_OK) {
        prom_index_close(x);
        return status;
    }
    *out = x;
    return TSDB_OK;
}

void prom_index_close(struct prom_index *x)
{
    if (!x) {
        return;
    }
    prom_window_close(&x->file);
    prom_window_close(&x->list);
    if (x->symbol_bytes) {
        tsdb_mem_free(TSDB_MEM_OTHER, x->symbol_bytes, (size_t)x->symbol_bytes_len + 1);
    }
    if (x->symbols) {
        tsdb_mem_free(TSDB_MEM_OTHER, x->symbols, ((size_t)x->symbol_count + 1) * sizeof(uint32_t));
    }
    tsdb_mem_free(TSDB_MEM_OTHER, x, sizeof *x);
}

uint32_t prom_index_series_count(const struct prom_index *x)
{
    return x->series_count;
}

void prom_index_rewind(struct prom_index *x)
{
    x->next = 0;
    x->id_before = 0;
}

/* ---- series ---- */
static bool symbol(const struct prom_index *x, uint64_t i, const char **out, uint32_t *out_len)
{
    uint64_t len;
    if (i >= x->symbol_count) {
        return false;
    }
    const uint8_t *end = x->symbol_bytes + x->symbol_bytes_len;
    const uint8_t *p = tsdb_get_uvarint(x->symbol_bytes + x->symbols[i], end, &len);
    TSDB_ASSERT(p && len <= (size_t)(end - p)); /* as index_symbols has seen */
    *out = (const char *)p;
    *out_len = (uint32_t)len;
    return true;
}

static enum tsdb_status get_labels(const struct prom_index *x, struct tsdb_reader *r,
                                   struct tsdb_arena *arena, struct tsdb_labels *out)
{
    uint64_t count = tsdb_reader_count(r, 2);
    if (r->failed) {
        return TSDB_OK;
    }
    struct tsdb_label *items = TSDB_ARENA_ARRAY(arena, struct tsdb_label, count + 1);
    if (!items) {
        return tsdb_arena_status(arena);
    }
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        uint64_t name = tsdb_reader_uvarint(r), value = tsdb_reader_uvarint(r);
        if (!symbol(x, name, &items[i].name, &items[i].name_len) ||
            !symbol(x, value, &items[i].value, &items[i].value_len)) {
            r->failed = true;
        }
    }
    *out = (struct tsdb_labels){items, (uint32_t)count};
    return TSDB_OK;
}

static enum tsdb_status get_chunks(struct tsdb_reader *r, struct tsdb_arena *arena,
                                   struct prom_series *out)
{
    uint64_t count = tsdb_reader_count(r, 3);
    if (r->failed) {
        return TSDB_OK;
    }
    struct prom_chunk_place *c = TSDB_ARENA_ARRAY(arena, struct prom_chunk_place, count + 1);
    if (!c) {
        return tsdb_arena_status(arena);
    }
    uint64_t t = 0, ref = 0;
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        t += i == 0 ? (uint64_t)tsdb_reader_varint(r) : tsdb_reader_uvarint(r);
        c[i].t_min = (int64_t)t;
        t += tsdb_reader_uvarint(r);
        c[i].t_max = (int64_t)t;
        ref += i == 0 ? tsdb_reader_uvarint(r) : (uint64_t)tsdb_reader_varint(r);
        c[i].ref = ref;
        r->failed = r->failed || c[i].t_max < c[i].t_min;
    }
    out->chunks = c;
    out->chunk_count = (uint32_t)count;
    return TSDB_OK;
}

/* The bytes of the series with this id, its CRC checked. */
static enum tsdb_status get_body(struct prom_index *x, uint32_t id, struct tsdb_slice *out,
                                 struct tsdb_error *err)
{
    const uint8_t *p;
    size_t got;
    uint64_t len, at = (uint64_t)id * PROM_INDEX_SERIES_ALIGN;
    if (at < x->contents[PROM_PART_SERIES] || at >= x->series_end) {
        return corrupt(at, "a series outside the part of series", err);
    }
    enum tsdb_status status =
        prom_window_some(&x->file, at, TSDB_VARINT64_BYTES_MAX, &p, &got, err);
    if (status != TSDB_OK) {
        return status;
    }
    const uint8_t *body = tsdb_get_uvarint(p, p + got, &len);
    size_t head = body ? (size_t)(body - p) : 0;
    if (!body || at + head > x->series_end || len > x->series_end - at - head ||
        x->series_end - at - head - len < 4) {
        return corrupt(at, "a series whose length is malformed or too large", err);
    }
    status = prom_window_need(&x->file, at + head, (size_t)len + 4, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (prom_load_be32(p + len) != tsdb_crc32c(0, p, (size_t)len)) {
        return corrupt(at, "a series whose crc does not fit", err);
    }
    *out = (struct tsdb_slice){p, (size_t)len};
    return TSDB_OK;
}

enum tsdb_status prom_index_next(struct prom_index *x, struct tsdb_arena *arena,
                                 struct prom_series *out, struct tsdb_error *err)
{
    const uint8_t *p;
    struct tsdb_slice body = {0};
    if (x->next == x->series_count) {
        return TSDB_NOT_FOUND;
    }
    uint64_t at = x->list_at + 4 * (uint64_t)x->next;
    enum tsdb_status status = prom_window_need(&x->list, at, 4, &p, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct prom_series s = {.id = prom_load_be32(p)};
    if (x->next > 0 && s.id <= x->id_before) {
        return corrupt(at, "ids that do not rise", err);
    }
    status = get_body(x, s.id, &body, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_reader r;
    tsdb_reader_init(&r, body.data, body.len);
    status = get_labels(x, &r, arena, &s.labels);
    if (status == TSDB_OK) {
        status = get_chunks(&r, arena, &s);
    }
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "index: no memory for a series");
    }
    if (r.failed) {
        return corrupt((uint64_t)s.id * PROM_INDEX_SERIES_ALIGN, "a series that is malformed", err);
    }
    x->next++;
    x->id_before = s.id;
    *out = s;
    return TSDB_OK;
}
