/* Writing what index_disk_writer.c collected: symbols are sorted, which makes ids of symbols and
 * ranks of names final; then labels, symbols, postings, values and names follow each other. */
#include "index/disk/index_disk_writer_private.h"

#include "model/version.h"

#include <stdlib.h>

/* All arrays are by the number that the element had while collecting, unless they say sorted. */
struct finish {
    struct index_disk_writer *w;
    struct tsdb_error *err;
    struct tsdb_buf buf; /* what is written next */
    uint32_t symbol_count, pair_count, series_count, name_count;
    uint32_t *symbols_sorted; /* rank -> symbol */
    uint32_t *names;          /* rank -> rank of its symbol */
    uint32_t *pairs_order;    /* sorted -> pair */
    uint64_t *cursors;        /* pair -> where its next id goes in ids */
    uint32_t *ids;            /* postings of all pairs, sorted */
};

/* At least one element, so that NULL always means no memory. */
static void *finish_alloc(size_t count, size_t bytes_each)
{
    return tsdb_mem_alloc(TSDB_MEM_INDEX, TSDB_MAX(count, (size_t)1) * bytes_each);
}

static void finish_free(void *p, size_t count, size_t bytes_each)
{
    tsdb_mem_free(TSDB_MEM_INDEX, p, TSDB_MAX(count, (size_t)1) * bytes_each);
}

static enum tsdb_status flush(struct finish *f)
{
    if (f->buf.failed) {
        return tsdb_error_nomem(f->err, "sorting the index of a block");
    }
    enum tsdb_status status = paged_put(&f->w->out, f->buf.data, f->buf.len, f->err);
    tsdb_buf_clear(&f->buf);
    return status;
}

static enum tsdb_status flush_when_large(struct finish *f)
{
    return f->buf.len >= PAGED_PAGE_BYTES || f->buf.failed ? flush(f) : TSDB_OK;
}

static void section_begin(struct finish *f, enum disk_section_id section)
{
    f->w->sections[section] = paged_offset(&f->w->out);
}

static enum tsdb_status ends_put(struct finish *f, enum disk_section_id section,
                                 const struct writer_array *ends)
{
    section_begin(f, section);
    const uint64_t *e = ends->data;
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < ends->count && status == TSDB_OK; i++) {
        tsdb_buf_put_le64(&f->buf, e[i]);
        status = flush_when_large(f);
    }
    return status == TSDB_OK ? flush(f) : status;
}

/* The group that lies in f->buf is complete: write it and note its end. */
static enum tsdb_status group_put(struct finish *f, enum disk_section_id section,
                                  struct writer_array *ends)
{
    enum tsdb_status status = flush(f);
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t *end = writer_array_push(ends);
    if (!end) {
        return tsdb_error_nomem(f->err, "sorting the index of a block");
    }
    *end = paged_offset(&f->w->out) - f->w->sections[section];
    return TSDB_OK;
}

/* ---- sorting ---- */

static int symbol_order(const void *a, const void *b, void *arg)
{
    const struct writer_symbol *symbols = arg;
    const struct writer_symbol *x = &symbols[*(const uint32_t *)a];
    const struct writer_symbol *y = &symbols[*(const uint32_t *)b];
    return tsdb_str_compare(x->s, x->len, y->s, y->len);
}

static int u64_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int pair_order(const void *a, const void *b, void *arg)
{
    const struct writer_pair *pairs = arg;
    const struct writer_pair *x = &pairs[*(const uint32_t *)a];
    const struct writer_pair *y = &pairs[*(const uint32_t *)b];
    uint64_t p = (uint64_t)x->name << 32 | x->value;
    uint64_t q = (uint64_t)y->name << 32 | y->value;
    return u64_order(&p, &q);
}

/* Ranks of symbols and names; pairs are rewritten to (rank of the name, rank of the value). */
static enum tsdb_status sort_symbols(struct finish *f)
{
    struct writer_symbol *symbols = writer_symbols(f->w);
    f->symbols_sorted = finish_alloc(f->symbol_count, sizeof *f->symbols_sorted);
    f->names = finish_alloc(f->symbol_count, sizeof *f->names);
    uint32_t *rank = finish_alloc(f->symbol_count, sizeof *rank);
    uint32_t *name_rank = finish_alloc(f->symbol_count, sizeof *name_rank);
    bool ok = f->symbols_sorted && f->names && rank && name_rank;
    for (uint32_t i = 0; ok && i < f->symbol_count; i++) {
        f->symbols_sorted[i] = i;
    }
    if (ok && f->symbol_count > 0) {
        qsort_r(f->symbols_sorted, f->symbol_count, sizeof *f->symbols_sorted, symbol_order,
                symbols);
    }
    for (uint32_t i = 0; ok && i < f->symbol_count; i++) {
        uint32_t symbol = f->symbols_sorted[i];
        rank[symbol] = i;
        if (symbols[symbol].is_name) {
            name_rank[symbol] = f->name_count;
            f->names[f->name_count++] = i;
        }
    }
    for (uint32_t i = 0; ok && i < f->pair_count; i++) {
        struct writer_pair *p = &writer_pairs(f->w)[i];
        p->name = name_rank[p->name];
        p->value = rank[p->value];
    }
    finish_free(rank, f->symbol_count, sizeof *rank);
    finish_free(name_rank, f->symbol_count, sizeof *name_rank);
    return ok ? TSDB_OK : tsdb_error_nomem(f->err, "sorting the index of a block");
}

static enum tsdb_status sort_pairs(struct finish *f)
{
    f->pairs_order = finish_alloc(f->pair_count, sizeof *f->pairs_order);
    f->cursors = finish_alloc(f->pair_count, sizeof *f->cursors);
    f->ids = finish_alloc(f->w->label_pairs.count, sizeof *f->ids);
    if (!f->pairs_order || !f->cursors || !f->ids) {
        return tsdb_error_nomem(f->err, "sorting the index of a block");
    }
    for (uint32_t i = 0; i < f->pair_count; i++) {
        f->pairs_order[i] = i;
    }
    if (f->pair_count > 0) {
        qsort_r(f->pairs_order, f->pair_count, sizeof *f->pairs_order, pair_order,
                writer_pairs(f->w));
    }
    uint64_t at = 0;
    for (uint32_t i = 0; i < f->pair_count; i++) {
        f->cursors[f->pairs_order[i]] = at;
        at += writer_pairs(f->w)[f->pairs_order[i]].series;
    }
    return TSDB_OK;
}

/* ---- sections ---- */

/* Labels by series; on the way every series goes into the postings of its pairs. */
static enum tsdb_status labels_put(struct finish *f, struct writer_array *ends)
{
    const struct writer_pair *pairs = writer_pairs(f->w);
    const uint32_t *label = f->w->label_pairs.data;
    const uint16_t *counts = f->w->label_counts.data;
    struct disk_labels l[2];
    enum tsdb_status status = TSDB_OK;
    section_begin(f, DISK_LABEL_GROUPS);
    l[1].count = 0;
    for (uint32_t id = 0; id < f->series_count && status == TSDB_OK; id++) {
        struct disk_labels *now = &l[id % 2];
        if (id % DISK_GROUP == 0) {
            l[(id + 1) % 2].count = 0;
        }
        now->count = counts[id];
        for (uint32_t i = 0; i < now->count; i++, label++) {
            now->name[i] = pairs[*label].name;
            now->value[i] = pairs[*label].value;
            f->ids[f->cursors[*label]++] = id;
        }
        disk_labels_put(&f->buf, &l[(id + 1) % 2], now);
        if (id % DISK_GROUP == DISK_GROUP - 1 || id == f->series_count - 1) {
            status = group_put(f, DISK_LABEL_GROUPS, ends);
        }
    }
    return status == TSDB_OK ? ends_put(f, DISK_LABEL_ENDS, ends) : status;
}

static void symbol_put(struct tsdb_buf *out, const struct writer_symbol *previous,
                       const struct writer_symbol *s)
{
    uint32_t shared = 0;
    if (previous) {
        while (shared < s->len && shared < previous->len && s->s[shared] == previous->s[shared]) {
            shared++;
        }
        tsdb_buf_put_uvarint(out, shared);
    }
    tsdb_buf_put_uvarint(out, s->len - shared);
    tsdb_buf_put(out, s->s + shared, s->len - shared);
}

static enum tsdb_status symbols_put(struct finish *f, struct writer_array *ends)
{
    const struct writer_symbol *symbols = writer_symbols(f->w);
    const struct writer_symbol *previous = NULL;
    enum tsdb_status status = TSDB_OK;
    section_begin(f, DISK_SYMBOL_GROUPS);
    for (uint32_t i = 0; i < f->symbol_count && status == TSDB_OK; i++) {
        const struct writer_symbol *s = &symbols[f->symbols_sorted[i]];
        symbol_put(&f->buf, i % DISK_GROUP == 0 ? NULL : previous, s);
        previous = s;
        if (i % DISK_GROUP == DISK_GROUP - 1 || i == f->symbol_count - 1) {
            status = group_put(f, DISK_SYMBOL_GROUPS, ends);
        }
    }
    return status == TSDB_OK ? ends_put(f, DISK_SYMBOL_ENDS, ends) : status;
}

static enum tsdb_status postings_put(struct finish *f)
{
    enum tsdb_status status = TSDB_OK;
    /* Of a pair that was written: its cursor is not needed any more. */
    uint64_t *where = f->cursors;
    section_begin(f, DISK_POSTINGS);
    for (uint32_t i = 0; i < f->pair_count && status == TSDB_OK; i++) {
        uint32_t pair = f->pairs_order[i];
        uint32_t count = writer_pairs(f->w)[pair].series;
        const uint32_t *ids = f->ids + (f->cursors[pair] - count);
        if (count == 1) {
            where[pair] = ids[0];
        } else {
            where[pair] = paged_offset(&f->w->out) + f->buf.len - f->w->sections[DISK_POSTINGS];
            disk_postings_put(&f->buf, ids, count);
            status = flush_when_large(f);
        }
    }
    return status == TSDB_OK ? flush(f) : status;
}

static enum tsdb_status values_put(struct finish *f)
{
    enum tsdb_status status = TSDB_OK;
    section_begin(f, DISK_VALUES);
    for (uint32_t i = 0; i < f->pair_count && status == TSDB_OK; i++) {
        const struct writer_pair *p = &writer_pairs(f->w)[f->pairs_order[i]];
        tsdb_buf_put_le32(&f->buf, p->value);
        tsdb_buf_put_le32(&f->buf, p->series);
        tsdb_buf_put_le64(&f->buf, f->cursors[f->pairs_order[i]]);
        status = flush_when_large(f);
    }
    return status == TSDB_OK ? flush(f) : status;
}

static enum tsdb_status names_put(struct finish *f)
{
    uint32_t at = 0;
    section_begin(f, DISK_NAMES);
    for (uint32_t rank = 0; rank < f->name_count; rank++) {
        uint32_t first = at;
        while (at < f->pair_count && writer_pairs(f->w)[f->pairs_order[at]].name == rank) {
            at++;
        }
        tsdb_buf_put_le32(&f->buf, f->names[rank]);
        tsdb_buf_put_le32(&f->buf, at - first);
        tsdb_buf_put_le64(&f->buf, first);
    }
    return flush(f);
}

static enum tsdb_status toc_put(struct finish *f)
{
    struct index_disk_writer *w = f->w;
    uint8_t toc[DISK_TOC_BYTES] = DISK_TOC_MAGIC;
    tsdb_store_le32(toc + DISK_TOC_VERSION, TSDB_FORMAT_INDEX);
    tsdb_store_le32(toc + DISK_TOC_SERIES, f->series_count);
    tsdb_store_le32(toc + DISK_TOC_SYMBOLS, f->symbol_count);
    tsdb_store_le32(toc + DISK_TOC_NAMES, f->name_count);
    tsdb_store_le64(toc + DISK_TOC_PAIRS, f->pair_count);
    tsdb_store_le64(toc + DISK_TOC_CHUNKS, w->chunk_total);
    tsdb_store_le64(toc + DISK_TOC_TIME_BASE, (uint64_t)w->time_base);
    tsdb_store_le64(toc + DISK_TOC_LABELS, w->label_pairs.count);
    for (uint32_t i = 0; i < DISK_SECTION_COUNT; i++) {
        tsdb_store_le64(toc + DISK_TOC_SECTIONS + (size_t)8 * i, w->sections[i]);
    }
    tsdb_store_le64(toc + DISK_TOC_TOTAL, paged_offset(&w->out) + sizeof toc);
    enum tsdb_status status = paged_put(&w->out, toc, sizeof toc, f->err);
    return status == TSDB_OK ? paged_finish(&w->out, f->err) : status;
}

static enum tsdb_status write_all(struct finish *f)
{
    struct writer_array label_ends = {.bytes_each = sizeof(uint64_t)};
    struct writer_array symbol_ends = {.bytes_each = sizeof(uint64_t)};
    enum tsdb_status status = sort_symbols(f);
    if (status == TSDB_OK) {
        status = sort_pairs(f);
    }
    if (status == TSDB_OK) {
        status = ends_put(f, DISK_CHUNK_ENDS, &f->w->chunk_ends);
    }
    if (status == TSDB_OK) {
        status = labels_put(f, &label_ends);
    }
    if (status == TSDB_OK) {
        status = symbols_put(f, &symbol_ends);
    }
    if (status == TSDB_OK) {
        status = postings_put(f);
    }
    if (status == TSDB_OK) {
        status = values_put(f);
    }
    if (status == TSDB_OK) {
        status = names_put(f);
    }
    if (status == TSDB_OK) {
        status = toc_put(f);
    }
    writer_array_deinit(&label_ends);
    writer_array_deinit(&symbol_ends);
    return status;
}

enum tsdb_status index_disk_writer_finish(struct index_disk_writer *w, struct tsdb_error *err)
{
    struct finish f = {.w = w,
                       .err = err,
                       .symbol_count = (uint32_t)w->symbols.count,
                       .pair_count = (uint32_t)w->pairs.count,
                       .series_count = (uint32_t)w->label_counts.count};
    enum tsdb_status status = writer_group_close(w, true, err);
    tsdb_buf_init(&f.buf, TSDB_MEM_INDEX, 0);
    if (status == TSDB_OK) {
        status = write_all(&f);
    }
    finish_free(f.symbols_sorted, f.symbol_count, sizeof *f.symbols_sorted);
    finish_free(f.names, f.symbol_count, sizeof *f.names);
    finish_free(f.pairs_order, f.pair_count, sizeof *f.pairs_order);
    finish_free(f.cursors, f.pair_count, sizeof *f.cursors);
    finish_free(f.ids, w->label_pairs.count, sizeof *f.ids);
    tsdb_buf_deinit(&f.buf);
    return status;
}
