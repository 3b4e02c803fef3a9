#include "base/assert.h"
#include "base/crc32c.h"
#include "tools/prom/prom_index_private.h"

#include <stdlib.h>

/* Label pairs with their series that are sorted at a time; one name at least. */
#define BATCH_ENTRIES_MIN (1u << 20)

struct entry { /* series `id` has the label name=value */
    uint32_t name, value, id;
};
struct list { /* postings of a label pair */
    uint32_t name, value;
    uint64_t offset;
};

struct prom_index_writer {
    const struct tsdb_fs *fs;
    char path[PROM_PATH_BYTES];
    struct prom_sink sink;
    struct prom_symbols symbols;
    bool series_begun;
    uint64_t contents[PROM_PART_COUNT];
    uint32_t *ids; /* of the series so far */
    uint32_t id_count, id_cap;
    uint32_t *uses;            /* per symbol: series that have it as a label name */
    uint32_t *labels, *before; /* of this series and the one before: name, value, ... */
    uint32_t labels_cap;       /* of each, in pairs */
    uint32_t before_count;     /* pairs */
    struct tsdb_buf body;      /* of one series */
    struct list *lists;
    size_t list_count, list_cap;
};

enum tsdb_status prom_index_writer_create(const struct tsdb_fs *fs, const char *path,
                                          struct prom_index_writer **out, struct tsdb_error *err)
{
    struct prom_index_writer *w = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "an index writer");
    }
    w->fs = fs;
    prom_symbols_init(&w->symbols);
    tsdb_buf_init(&w->body, TSDB_MEM_OTHER, 0);
    enum tsdb_status status = prom_path(w->path, path, NULL, err);
    if (status == TSDB_OK) {
        status = prom_sink_open(fs, path, &w->sink, err);
    }
    if (status != TSDB_OK) {
        prom_index_writer_destroy(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

void prom_index_writer_destroy(struct prom_index_writer *w)
{
    if (!w) {
        return;
    }
    if (w->uses) {
        tsdb_mem_free(TSDB_MEM_OTHER, w->uses, (w->symbols.count + 1) * sizeof *w->uses);
    }
    prom_sink_close(&w->sink);
    prom_symbols_deinit(&w->symbols);
    tsdb_buf_deinit(&w->body);
    tsdb_mem_free(TSDB_MEM_OTHER, w->ids, w->id_cap * sizeof *w->ids);
    tsdb_mem_free(TSDB_MEM_OTHER, w->labels, 8 * (size_t)w->labels_cap);
    tsdb_mem_free(TSDB_MEM_OTHER, w->before, 8 * (size_t)w->labels_cap);
    tsdb_mem_free(TSDB_MEM_OTHER, w->lists, w->list_cap * sizeof *w->lists);
    tsdb_mem_free(TSDB_MEM_OTHER, w, sizeof *w);
}

enum tsdb_status prom_index_writer_symbols(struct prom_index_writer *w,
                                           const struct tsdb_labels *labels, struct tsdb_error *err)
{
    TSDB_ASSERT(!w->series_begun);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < labels->count && status == TSDB_OK; i++) {
        const struct tsdb_label *l = &labels->items[i];
        status = prom_symbols_add(&w->symbols, l->name, l->name_len, err);
        if (status == TSDB_OK) {
            status = prom_symbols_add(&w->symbols, l->value, l->value_len, err);
        }
    }
    return status;
}

/* ---- pieces ---- */
/* Zeroes up to a multiple of n. */
static void align(struct prom_sink *s, uint32_t n)
{
    static const uint8_t zeroes[PROM_INDEX_SERIES_ALIGN];
    uint32_t over = (uint32_t)(prom_sink_offset(s) % n);
    tsdb_buf_put(&s->buf, zeroes, over == 0 ? 0 : n - over);
}

/* What was put into the buffer counts for the CRC of a section. */
static enum tsdb_status put_counted(struct prom_sink *s, size_t from, uint32_t *crc,
                                    struct tsdb_error *err)
{
    if (!s->buf.failed) {
        *crc = tsdb_crc32c(*crc, s->buf.data + from, s->buf.len - from);
    }
    return prom_sink_put(s, err);
}

static struct tsdb_slice symbol_text(const struct prom_index_writer *w, uint32_t i)
{
    struct prom_string t = w->symbols.strings[i];
    return (struct tsdb_slice){w->symbols.bytes.data + t.at, t.len};
}

static size_t uvarint_bytes(uint64_t v)
{
    uint8_t bytes[TSDB_VARINT64_BYTES_MAX];
    return (size_t)(tsdb_put_uvarint(bytes, v) - bytes);
}

static void put_text(struct tsdb_buf *b, struct tsdb_slice text)
{
    tsdb_buf_put_uvarint(b, text.len);
    tsdb_buf_put(b, text.data, text.len);
}

/* ---- symbols ---- */
static enum tsdb_status write_symbols(struct prom_index_writer *w, struct tsdb_error *err)
{
    struct prom_sink *s = &w->sink;
    uint64_t len = 4;
    uint32_t crc = 0;
    prom_symbols_sort(&w->symbols);
    for (uint32_t i = 0; i < w->symbols.count; i++) {
        len += uvarint_bytes(w->symbols.strings[i].len) + w->symbols.strings[i].len;
    }
    if (len > UINT32_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "more than 4 GiB of label names and values");
    }
    prom_buf_put_be32(&s->buf, PROM_INDEX_MAGIC);
    tsdb_buf_put_u8(&s->buf, PROM_INDEX_VERSION);
    w->contents[PROM_PART_SYMBOLS] = prom_sink_offset(s);
    prom_buf_put_be32(&s->buf, (uint32_t)len);
    size_t from = s->buf.len;
    prom_buf_put_be32(&s->buf, w->symbols.count);
    enum tsdb_status status = put_counted(s, from, &crc, err);
    for (uint32_t i = 0; i < w->symbols.count && status == TSDB_OK; i++) {
        from = s->buf.len;
        put_text(&s->buf, symbol_text(w, i));
        status = put_counted(s, from, &crc, err);
    }
    prom_buf_put_be32(&s->buf, crc);
    align(s, PROM_INDEX_SERIES_ALIGN);
    w->contents[PROM_PART_SERIES] = prom_sink_offset(s);
    return status;
}

/* ---- series ---- */
static enum tsdb_status begin_series(struct prom_index_writer *w, struct tsdb_error *err)
{
    enum tsdb_status status = write_symbols(w, err);
    if (status == TSDB_OK) {
        w->uses = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, (w->symbols.count + 1) * sizeof *w->uses);
        status = w->uses ? TSDB_OK : tsdb_error_nomem(err, "an index writer");
    }
    w->series_begun = true;
    return status;
}

static enum tsdb_status reserve(struct prom_index_writer *w, uint32_t pairs, struct tsdb_error *err)
{
    if (w->id_count == w->id_cap) {
        uint32_t cap = w->id_cap == 0 ? 1024 : 2 * w->id_cap;
        uint32_t *grown = tsdb_mem_realloc(TSDB_MEM_OTHER, w->ids, w->id_cap * sizeof *grown,
                                           cap * sizeof *grown);
        if (!grown) {
            return tsdb_error_nomem(err, "the ids of series");
        }
        w->ids = grown;
        w->id_cap = cap;
    }
    if (pairs > w->labels_cap) {
        uint32_t cap = pairs + 32;
        uint32_t *labels = tsdb_mem_alloc(TSDB_MEM_OTHER, 8 * (size_t)cap);
        uint32_t *before = tsdb_mem_alloc(TSDB_MEM_OTHER, 8 * (size_t)cap);
        if (!labels || !before) {
            tsdb_mem_free(TSDB_MEM_OTHER, labels, 8 * (size_t)cap);
            tsdb_mem_free(TSDB_MEM_OTHER, before, 8 * (size_t)cap);
            return tsdb_error_nomem(err, "labels");
        }
        if (w->before_count > 0) {
            memcpy(before, w->before, 8 * (size_t)w->before_count);
        }
        tsdb_mem_free(TSDB_MEM_OTHER, w->labels, 8 * (size_t)w->labels_cap);
        tsdb_mem_free(TSDB_MEM_OTHER, w->before, 8 * (size_t)w->labels_cap);
        w->labels = labels;
        w->before = before;
        w->labels_cap = cap;
    }
    return TSDB_OK;
}

/* Symbols are in order, so their numbers are. */
static bool is_after(const struct prom_index_writer *w, uint32_t count)
{
    uint32_t common = count < w->before_count ? count : w->before_count;
    for (uint32_t i = 0; i < 2 * common; i++) {
        if (w->labels[i] != w->before[i]) {
            return w->labels[i] > w->before[i];
        }
    }
    return w->id_count == 0 || count > w->before_count;
}

static enum tsdb_status look_up(struct prom_index_writer *w, const struct tsdb_labels *labels,
                                struct tsdb_error *err)
{
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        w->labels[2 * i] = prom_symbols_find(&w->symbols, l->name, l->name_len);
        w->labels[2 * i + 1] = prom_symbols_find(&w->symbols, l->value, l->value_len);
        if (w->labels[2 * i] == UINT32_MAX || w->labels[2 * i + 1] == UINT32_MAX) {
            return tsdb_error_set(err, TSDB_INVALID, "index: a label that is no symbol");
        }
        if (i > 0 && w->labels[2 * i] <= w->labels[2 * i - 2]) {
            return tsdb_error_set(err, TSDB_INVALID, "index: labels of a series not in order");
        }
    }
    if (!is_after(w, labels->count)) {
        return tsdb_error_set(err, TSDB_INVALID, "index: series not in the order of their labels");
    }
    return TSDB_OK;
}

static enum tsdb_status put_chunks(struct tsdb_buf *b, const struct prom_chunk_place *c,
                                   uint32_t count, struct tsdb_error *err)
{
    tsdb_buf_put_uvarint(b, count);
    for (uint32_t i = 0; i < count; i++) {
        if (c[i].t_max < c[i].t_min || (i > 0 && c[i].t_min <= c[i - 1].t_max)) {
            return tsdb_error_set(err, TSDB_INVALID, "index: chunks of a series overlap");
        }
        if (i == 0) {
            tsdb_buf_put_varint(b, c[i].t_min);
        } else {
            tsdb_buf_put_uvarint(b, (uint64_t)c[i].t_min - (uint64_t)c[i - 1].t_max);
        }
        tsdb_buf_put_uvarint(b, (uint64_t)c[i].t_max - (uint64_t)c[i].t_min);
        if (i == 0) {
            tsdb_buf_put_uvarint(b, c[i].ref);
        } else {
            tsdb_buf_put_varint(b, (int64_t)(c[i].ref - c[i - 1].ref));
        }
    }
    return TSDB_OK;
}

static enum tsdb_status put_series(struct prom_index_writer *w, uint32_t pairs,
                                   struct tsdb_error *err)
{
    struct prom_sink *s = &w->sink;
    align(s, PROM_INDEX_SERIES_ALIGN);
    uint64_t id = prom_sink_offset(s) / PROM_INDEX_SERIES_ALIGN;
    if (id > UINT32_MAX || w->body.failed) {
        return id > UINT32_MAX ? tsdb_error_set(err, TSDB_LIMIT, "index: more than 64 GiB")
                               : tsdb_error_nomem(err, "a series of an index");
    }
    put_text(&s->buf, (struct tsdb_slice){w->body.data, w->body.len});
    prom_buf_put_be32(&s->buf, tsdb_crc32c(0, w->body.data, w->body.len));
    enum tsdb_status status = prom_sink_put(s, err);
    if (status != TSDB_OK) {
        return status;
    }
    w->ids[w->id_count++] = (uint32_t)id;
    for (uint32_t i = 0; i < pairs; i++) {
        w->uses[w->labels[2 * i]]++;
    }
    uint32_t *labels = w->labels;
    w->labels = w->before;
    w->before = labels;
    w->before_count = pairs;
    return TSDB_OK;
}

enum tsdb_status prom_index_writer_series(struct prom_index_writer *w,
                                          const struct tsdb_labels *labels,
                                          const struct prom_chunk_place *chunks, uint32_t count,
                                          struct tsdb_error *err)
{
    TSDB_ASSERT(count >= 1);
    enum tsdb_status status = w->series_begun ? TSDB_OK : begin_series(w, err);
    if (status == TSDB_OK) {
        status = reserve(w, labels->count, err);
    }
    if (status == TSDB_OK) {
        status = look_up(w, labels, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_buf_clear(&w->body);
    tsdb_buf_put_uvarint(&w->body, labels->count);
    for (uint32_t i = 0; i < 2 * labels->count; i++) {
        tsdb_buf_put_uvarint(&w->body, w->labels[i]);
    }
    status = put_chunks(&w->body, chunks, count, err);
    return status == TSDB_OK ? put_series(w, labels->count, err) : status;
}

/* ---- postings ---- */
static enum tsdb_status note_list(struct prom_index_writer *w, uint32_t name, uint32_t value,
                                  uint64_t offset, struct tsdb_error *err)
{
    if (w->list_count == w->list_cap) {
        size_t cap = w->list_cap == 0 ? 1024 : 2 * w->list_cap;
        struct list *grown = tsdb_mem_realloc(TSDB_MEM_OTHER, w->lists, w->list_cap * sizeof *grown,
                                              cap * sizeof *grown);
        if (!grown) {
            return tsdb_error_nomem(err, "the offsets of postings");
        }
        w->lists = grown;
        w->list_cap = cap;
    }
    w->lists[w->list_count++] = (struct list){name, value, offset};
    return TSDB_OK;
}

/* n ids, `stride` u32 apart. */
static enum tsdb_status put_list(struct prom_index_writer *w, const uint32_t *ids, uint32_t n,
                                 size_t stride, uint64_t *out_offset, struct tsdb_error *err)
{
    struct prom_sink *s = &w->sink;
    uint32_t crc = 0;
    align(s, PROM_INDEX_LIST_ALIGN);
    *out_offset = prom_sink_offset(s);
    if (n > (UINT32_MAX - 4) / 4) {
        return tsdb_error_set(err, TSDB_LIMIT, "index: %u series in one list", n);
    }
    prom_buf_put_be32(&s->buf, 4 + 4 * n);
    size_t from = s->buf.len;
    prom_buf_put_be32(&s->buf, n);
    enum tsdb_status status = put_counted(s, from, &crc, err);
    for (uint32_t i = 0; i < n && status == TSDB_OK; i++) {
        from = s->buf.len;
        prom_buf_put_be32(&s->buf, ids[i * stride]);
        status = put_counted(s, from, &crc, err);
    }
    prom_buf_put_be32(&s->buf, crc);
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->name != y->name) {
        return x->name < y->name ? -1 : 1;
    }
    if (x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

static enum tsdb_status put_entries(struct prom_index_writer *w, struct entry *entries, size_t n,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    qsort(entries, n, sizeof *entries, compare_entries);
    for (size_t from = 0, to; from < n && status == TSDB_OK; from = to) {
        const struct entry *e = &entries[from];
        uint64_t offset;
        for (to = from + 1; to < n && entries[to].name == e->name && entries[to].value == e->value;
             to++) {
        }
        status = put_list(w, &e->id, (uint32_t)(to - from), sizeof *e / 4, &offset, err);
        if (status == TSDB_OK) {
            status = note_list(w, e->name, e->value, offset, err);
        }
    }
    return status;
}

/* Labels of the series at id, of names [name, end), appended to entries[*n]. What is read is what
 * was written; a disk that lies is found by the caller's count. */
static enum tsdb_status collect_series(struct prom_window *in, uint32_t id, uint32_t name,
                                       uint32_t end, struct entry *entries, size_t cap, size_t *n,
                                       struct tsdb_error *err)
{
    const uint8_t *p;
    size_t got;
    uint64_t len, offset = (uint64_t)id * PROM_INDEX_SERIES_ALIGN;
    enum tsdb_status status = prom_window_some(in, offset, TSDB_VARINT64_BYTES_MAX, &p, &got, err);
    if (status != TSDB_OK) {
        return status;
    }
    const uint8_t *body = tsdb_get_uvarint(p, p + got, &len);
    if (body && len <= in->size) {
        size_t head = (size_t)(body - p);
        status = prom_window_need(in, offset + head, (size_t)len, &p, err);
    }
    if (!body || len > in->size || status != TSDB_OK) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset, "index: a series reads back damaged");
    }
    struct tsdb_reader r;
    tsdb_reader_init(&r, p, (size_t)len);
    uint64_t labels = tsdb_reader_count(&r, 2);
    for (uint64_t i = 0; i < labels; i++) {
        uint64_t a = tsdb_reader_uvarint(&r), b = tsdb_reader_uvarint(&r);
        if (a >= name && a < end && *n < cap) {
            entries[(*n)++] = (struct entry){(uint32_t)a, (uint32_t)b, id};
        }
    }
    return TSDB_OK;
}

/* Postings of the names from *name on, as many as fit a batch: one pass over the series. */
static enum tsdb_status put_batch(struct prom_index_writer *w, struct prom_window *in,
                                  uint32_t *name, struct tsdb_error *err)
{
    uint32_t end = *name;
    size_t cap = 0, n = 0,
           cap_max = w->id_count > BATCH_ENTRIES_MIN ? w->id_count : BATCH_ENTRIES_MIN;
    for (; end < w->symbols.count && (cap == 0 || cap + w->uses[end] <= cap_max); end++) {
        cap += w->uses[end];
    }
    uint32_t begin = *name;
    *name = end;
    if (cap == 0) { /* label values only */
        return TSDB_OK;
    }
    struct entry *entries = tsdb_mem_alloc(TSDB_MEM_OTHER, cap * sizeof *entries);
    if (!entries) {
        return tsdb_error_nomem(err, "the postings of an index");
    }
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < w->id_count && status == TSDB_OK; i++) {
        status = collect_series(in, w->ids[i], begin, end, entries, cap, &n, err);
    }
    if (status == TSDB_OK && n != cap) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "index: series read back with other labels");
    }
    if (status == TSDB_OK) {
        status = put_entries(w, entries, n, err);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, entries, cap * sizeof *entries);
    return status;
}

static enum tsdb_status write_postings(struct prom_index_writer *w, uint64_t *out_all,
                                       struct tsdb_error *err)
{
    struct prom_window in = {0};
    enum tsdb_status status = prom_sink_flush(&w->sink, err);
    if (status == TSDB_OK) {
        status = prom_window_open(w->fs, w->path, "index", &in, err);
    }
    if (status == TSDB_OK) {
        status = put_list(w, w->ids, w->id_count, 1, out_all, err);
    }
    w->contents[PROM_PART_POSTINGS] = *out_all;
    for (uint32_t name = 0; name < w->symbols.count && status == TSDB_OK;) {
        status = put_batch(w, &in, &name, err);
    }
    prom_window_close(&in);
    return status;
}

static void put_offset(struct tsdb_buf *b, struct tsdb_slice name, struct tsdb_slice value,
                       uint64_t offset)
{
    tsdb_buf_put_uvarint(b, 2);
    put_text(b, name);
    put_text(b, value);
    tsdb_buf_put_uvarint(b, offset);
}

static size_t offset_bytes(struct tsdb_slice name, struct tsdb_slice value, uint64_t offset)
{
    return 1 + uvarint_bytes(name.len) + name.len + uvarint_bytes(value.len) + value.len +
           uvarint_bytes(offset);
}

static enum tsdb_status write_offsets(struct prom_index_writer *w, uint64_t all,
                                      struct tsdb_error *err)
{
    static const struct tsdb_slice empty = {(const uint8_t *)"", 0};
    struct prom_sink *s = &w->sink;
    uint64_t len = 4 + offset_bytes(empty, empty, all);
    uint32_t crc = 0;
    for (size_t i = 0; i < w->list_count; i++) {
        const struct list *l = &w->lists[i];
        len += offset_bytes(symbol_text(w, l->name), symbol_text(w, l->value), l->offset);
    }
    if (len > UINT32_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "index: more than 4 GiB of label pairs");
    }
    w->contents[PROM_PART_POSTING_OFFSETS] = prom_sink_offset(s);
    prom_buf_put_be32(&s->buf, (uint32_t)len);
    size_t from = s->buf.len;
    prom_buf_put_be32(&s->buf, (uint32_t)w->list_count + 1);
    put_offset(&s->buf, empty, empty, all);
    enum tsdb_status status = put_counted(s, from, &crc, err);
    for (size_t i = 0; i < w->list_count && status == TSDB_OK; i++) {
        const struct list *l = &w->lists[i];
        from = s->buf.len;
        put_offset(&s->buf, symbol_text(w, l->name), symbol_text(w, l->value), l->offset);
        status = put_counted(s, from, &crc, err);
    }
    prom_buf_put_be32(&s->buf, crc);
    return status;
}

enum tsdb_status prom_index_writer_finish(struct prom_index_writer *w, struct tsdb_error *err)
{
    uint64_t all = 0;
    uint8_t contents[PROM_INDEX_CONTENTS_BYTES];
    enum tsdb_status status = w->series_begun ? TSDB_OK : begin_series(w, err);
    if (status == TSDB_OK) { /* no label indices: nobody reads them any more */
        w->contents[PROM_PART_LABEL_INDICES] = prom_sink_offset(&w->sink);
        status = write_postings(w, &all, err);
    }
    if (status == TSDB_OK) {
        status = write_offsets(w, all, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    w->contents[PROM_PART_LABEL_OFFSETS] = w->contents[PROM_PART_POSTING_OFFSETS];
    for (uint32_t i = 0; i < PROM_PART_COUNT; i++) {
        prom_store_be64(contents + 8 * (size_t)i, w->contents[i]);
    }
    prom_store_be32(contents + 8 * PROM_PART_COUNT, tsdb_crc32c(0, contents, 8 * PROM_PART_COUNT));
    tsdb_buf_put(&w->sink.buf, contents, sizeof contents);
    return prom_sink_sync(&w->sink, err);
}
