#include "tsdb/recovery/checkpoint.h"

#include "base/assert.h"
#include "base/latency.h"
#include "base/numbered.h"
#include "compress/value_pack.h"
#include "model/version.h"
#include "tsdb/head/sealed.h"
#include "tsdb/recovery/checkpoint_private.h"
#include "tsdb/recovery/datadir.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So that the last sync, and the log's syncs beside it, stay short. */
#define SYNC_EVERY_BYTES (32u << 20)

void checkpoint_path(uint64_t number, char *out)
{
    tsdb_numbered_name(out, CHECKPOINT_PATH_MAX, DATADIR_CHECKPOINT "/", number);
}

/* ---- the writer ---- */
struct partition_entry {
    uint64_t offset, bytes, samples;
    uint64_t head_file_first; /* 0: none */
    uint32_t pages;
};
struct writer {
    const struct checkpoint_source *source;
    struct checkpoint_info *info;
    struct tsdb_file *file;
    uint64_t offset; /* of buf.data[0] in the file */
    uint64_t unsynced_bytes;
    struct tsdb_buf buf; /* whole pages, then the open one */
    bool page_open;
    size_t page_begin; /* in buf */
    uint32_t page_items;
    enum checkpoint_page_kind page_kind;
    uint32_t partition;
    uint64_t sealed; /* of the 64 series under way: those with a time in */
    int64_t sealed_ms[BUNDLE_SERIES];
    struct partition_entry entries[TSDB_PARTITIONS];
    struct tsdb_arena arena; /* pieces of one series */
};

static enum tsdb_status out_of_memory(struct tsdb_error *err)
{
    return tsdb_error_set(err, TSDB_NOMEM, "checkpoint: no memory for a page");
}

static enum tsdb_status flush(struct writer *w, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = w->source->fs;
    TSDB_ASSERT(!w->page_open);
    if (w->buf.failed) {
        return out_of_memory(err);
    }
    if (w->buf.len == 0) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        fs->ops->pwrite(fs->ctx, w->file, w->buf.data, w->buf.len, w->offset, err);
    if (status != TSDB_OK) {
        return status;
    }
    w->offset += w->buf.len;
    w->unsynced_bytes += w->buf.len;
    tsdb_buf_clear(&w->buf);
    if (w->unsynced_bytes >= SYNC_EVERY_BYTES) {
        w->unsynced_bytes = 0;
        status = fs->ops->sync(fs->ctx, w->file, err);
    }
    return status;
}

static void page_begin(struct writer *w, enum checkpoint_page_kind kind)
{
    static const uint8_t zeroes[CHECKPOINT_PAGE_HEADER_BYTES];
    w->page_open = true;
    w->page_begin = w->buf.len;
    w->page_items = 0;
    w->page_kind = kind;
    tsdb_buf_put(&w->buf, zeroes, sizeof zeroes);
}

/* Fill the header in. Nothing is written here: this runs under a guard. */
static void page_end(struct writer *w)
{
    w->page_open = false;
    if (w->buf.failed) {
        return;
    }
    uint8_t *head = w->buf.data + w->page_begin;
    size_t len = w->buf.len - w->page_begin - CHECKPOINT_PAGE_HEADER_BYTES;
    TSDB_ASSERT(len <= CHECKPOINT_PAGE_BYTES_MAX);
    tsdb_store_le32(head, CHECKPOINT_PAGE_MAGIC);
    head[4] = (uint8_t)w->page_kind;
    head[5] = (uint8_t)w->partition;
    tsdb_store_le32(head + 8, (uint32_t)len);
    tsdb_store_le32(head + 12, w->page_items);
    uint32_t crc = checkpoint_crc(w->info->number, w->offset + w->page_begin, head, 20,
                                  head + CHECKPOINT_PAGE_HEADER_BYTES, len);
    tsdb_store_le32(head + 20, crc);
    w->entries[w->partition].pages++;
}

static void item_begin(struct writer *w, enum checkpoint_page_kind kind)
{
    if (!w->page_open) {
        page_begin(w, kind);
    }
}

static void item_end(struct writer *w)
{
    w->page_items++;
    if (w->buf.len - w->page_begin >= CHECKPOINT_PAGE_BYTES) {
        page_end(w);
    }
}

/* ---- runs ---- */
/* Differences wrap: any two times have one, and the reader adds it back the same way. */
static uint8_t *put_times(uint8_t *p, const int64_t *t, uint32_t count)
{
    uint64_t previous = 0, delta = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t d = (uint64_t)t[i] - previous;
        uint64_t coded = i < 2 ? d : d - delta;
        p = tsdb_put_varint(p, (int64_t)coded);
        previous = (uint64_t)t[i];
        delta = d;
    }
    return p;
}

static uint8_t *put_starts(uint8_t *p, const int64_t *start, uint32_t count)
{
    uint64_t previous = 0;
    for (uint32_t i = 0; i < count; i++) {
        p = tsdb_put_varint(p, (int64_t)((uint64_t)start[i] - previous));
        previous = (uint64_t)start[i];
    }
    return p;
}

static uint8_t *put_floats(uint8_t *p, const uint64_t *bits, uint32_t count)
{
    uint64_t base = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct value_packed v = value_pack(bits[i], i > 0, base);
        *p++ = (uint8_t)v.mode;
        for (uint32_t k = 0; k < v.bytes; k++) {
            *p++ = (uint8_t)(v.packed >> (8 * k));
        }
        base = bits[i];
    }
    return p;
}

static const struct tsdb_raw_histogram *raw_of(uint64_t value)
{
    return (const struct tsdb_raw_histogram *)(uintptr_t)value;
}

/* How many samples of the piece from `begin` go into one run. */
static uint32_t run_count(const struct piece *piece, uint32_t begin, size_t *out_raw_bytes)
{
    uint32_t count = piece->count - begin;
    if (count > CHECKPOINT_RUN_SAMPLES_MAX) {
        count = CHECKPOINT_RUN_SAMPLES_MAX;
    }
    *out_raw_bytes = 0;
    if (piece->kind == TSDB_SAMPLE_FLOAT) {
        return count;
    }
    for (uint32_t i = 0; i < count; i++) {
        *out_raw_bytes += raw_of(piece->value[begin + i])->len;
        if (*out_raw_bytes >= CHECKPOINT_RUN_RAW_BYTES) {
            return i + 1;
        }
    }
    return count;
}

static void put_run(struct writer *w, uint32_t local, const struct piece *piece, uint32_t begin,
                    uint32_t count, size_t raw_bytes)
{
    item_begin(w, CHECKPOINT_PAGE_SAMPLES);
    uint8_t *room = tsdb_buf_reserve(&w->buf, 3 * TSDB_VARINT64_BYTES_MAX + raw_bytes +
                                                  (size_t)count * (3 * TSDB_VARINT64_BYTES_MAX));
    if (!room) {
        return;
    }
    uint8_t *p = tsdb_put_uvarint(room, local);
    *p++ = (uint8_t)((unsigned)piece->kind | (piece->start_ms ? CHECKPOINT_RUN_HAS_STARTS : 0));
    p = tsdb_put_uvarint(p, count);
    p = put_times(p, piece->t_ms + begin, count);
    if (piece->start_ms) {
        p = put_starts(p, piece->start_ms + begin, count);
    }
    if (piece->kind == TSDB_SAMPLE_FLOAT) {
        p = put_floats(p, piece->value + begin, count);
    }
    for (uint32_t i = 0; piece->kind != TSDB_SAMPLE_FLOAT && i < count; i++) {
        const struct tsdb_raw_histogram *h = raw_of(piece->value[begin + i]);
        p = tsdb_put_uvarint(p, h->len);
        memcpy(p, h->data, h->len);
        p += h->len;
    }
    w->buf.len += (size_t)(p - room);
    w->entries[w->partition].samples += count;
    item_end(w);
}

/* The rest of an item that says where a chunk is. */
static void put_place(struct writer *w, const struct head_sealed *c)
{
    tsdb_buf_put_uvarint(&w->buf, c->count);
    tsdb_buf_put_varint(&w->buf, c->min_ms);
    tsdb_buf_put_uvarint(&w->buf, (uint64_t)c->max_ms - (uint64_t)c->min_ms);
    tsdb_buf_put_uvarint(&w->buf, c->file->number);
    tsdb_buf_put_le32(&w->buf, c->file->identity);
    tsdb_buf_put_uvarint(&w->buf, c->offset);
    tsdb_buf_put_uvarint(&w->buf, c->len);
    struct partition_entry *e = &w->entries[w->partition];
    e->samples += c->count;
    if (e->head_file_first == 0 || c->file->number < e->head_file_first) {
        e->head_file_first = c->file->number;
    }
    item_end(w);
}

/* Where the samples are, instead of the samples. */
static void put_chunk(struct writer *w, uint32_t local, const struct head_sealed *c)
{
    item_begin(w, CHECKPOINT_PAGE_SAMPLES);
    unsigned flags = c->kind | CHECKPOINT_RUN_IN_FILE | (c->late ? CHECKPOINT_RUN_LATE : 0);
    tsdb_buf_put_uvarint(&w->buf, local);
    tsdb_buf_put_u8(&w->buf, (uint8_t)flags);
    put_place(w, c);
}

/* The series of a bundle that the header has. */
static uint64_t mask_within(const struct writer *w, uint32_t first)
{
    uint32_t n = w->info->series[w->partition] - first;
    return n >= BUNDLE_SERIES ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

struct bundles_put {
    struct writer *w;
    uint32_t first;
    uint64_t mask; /* of all */
};

static void put_bundle(void *arg, const struct head_sealed *c)
{
    struct bundles_put *b = arg;
    struct writer *w = b->w;
    uint64_t mask = c->mask & mask_within(w, b->first);
    if (mask == 0) {
        return;
    }
    b->mask |= mask;
    item_begin(w, CHECKPOINT_PAGE_SAMPLES);
    tsdb_buf_put_uvarint(&w->buf, b->first);
    tsdb_buf_put_u8(&w->buf, CHECKPOINT_RUN_IN_FILE | CHECKPOINT_RUN_BUNDLE);
    tsdb_buf_put_le64(&w->buf, mask);
    put_place(w, c);
}

/* When a series has no open tail, what it has newest was sealed: that time, noted before what it has is
 * looked at, so that the checkpoint has all samples up to it. */
static void note_last_time(struct writer *w, uint32_t local)
{
    uint32_t bit = local % BUNDLE_SERIES;
    w->sealed = bit == 0 ? 0 : w->sealed;
    w->sealed |=
        (uint64_t)head_series_sealed_ms(w->source->heads[w->partition], local, &w->sealed_ms[bit])
        << bit;
}

/* Of those of the mask that have such a time. */
static void put_last_times(struct writer *w, uint32_t first, uint64_t mask)
{
    if ((mask & w->sealed) == 0) {
        return;
    }
    item_begin(w, CHECKPOINT_PAGE_SAMPLES);
    tsdb_buf_put_uvarint(&w->buf, first);
    tsdb_buf_put_u8(&w->buf, CHECKPOINT_RUN_BUNDLE);
    tsdb_buf_put_le64(&w->buf, mask & w->sealed);
    uint64_t before = 0;
    for (uint64_t left = mask & w->sealed; left != 0; left &= left - 1) {
        uint64_t t_ms = (uint64_t)w->sealed_ms[__builtin_ctzll(left)];
        tsdb_buf_put_varint(&w->buf, (int64_t)(t_ms - before));
        before = t_ms;
    }
    item_end(w);
}

/* Encode one series under a guard. Bundles in files are not its alone. */
static enum tsdb_status put_series(struct writer *w, uint32_t local, struct tsdb_error *err)
{
    struct head_pieces pieces = {0};
    struct tsdb_epoch_guard guard;
    tsdb_arena_reset(&w->arena);
    tsdb_epoch_enter(w->source->epoch, &guard);
    enum tsdb_status status =
        head_pieces(w->source->heads[w->partition], local, HEAD_VIEW_ALL, &w->arena, &pieces);
    for (uint32_t i = 0; status == TSDB_OK && i < pieces.count; i++) {
        const struct piece *piece = &pieces.items[i];
        if (pieces.in_file[i]) {
            if (pieces.in_file[i]->mask == 0) {
                put_chunk(w, local, pieces.in_file[i]);
            }
            continue;
        }
        for (uint32_t begin = 0; begin < piece->count && !w->buf.failed;) {
            size_t raw_bytes = 0;
            uint32_t count = run_count(piece, begin, &raw_bytes);
            put_run(w, local, piece, begin, count, raw_bytes);
            begin += count;
        }
    }
    tsdb_epoch_exit(w->source->epoch, &guard);
    return status == TSDB_OK && !w->buf.failed ? TSDB_OK : out_of_memory(err);
}

/* 64 series from `first` on, or those that there are: bundles in files, what each series has, bundles
 * that came to files meanwhile, last times. */
static enum tsdb_status put_neighbours(struct writer *w, uint32_t first, struct tsdb_error *err)
{
    const struct head_partition *head = w->source->heads[w->partition];
    uint32_t end = TSDB_MIN(w->info->series[w->partition], first + BUNDLE_SERIES);
    struct bundles_put b = {w, first, 0};
    enum tsdb_status status = TSDB_OK;
    uint32_t newest =
        head_bundle_visit(head, w->source->epoch, first, HEAD_BUNDLE_ALL, put_bundle, &b);
    for (uint32_t local = first; status == TSDB_OK && local < end; local++) {
        note_last_time(w, local);
        status = put_series(w, local, err);
        if (status == TSDB_OK && !w->page_open && w->buf.len >= CHECKPOINT_PAGE_BYTES) {
            status = flush(w, err);
        }
    }
    head_bundle_visit(head, w->source->epoch, first, newest, put_bundle, &b);
    put_last_times(w, first, b.mask);
    return status;
}

/* ---- exemplars ---- */
static bool put_exemplar(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    struct writer *w = arg;
    if (local >= w->info->series[w->partition]) {
        return true;
    }
    item_begin(w, CHECKPOINT_PAGE_EXEMPLARS);
    tsdb_buf_put_uvarint(&w->buf, local);
    tsdb_buf_put_varint(&w->buf, x->t_ms);
    tsdb_buf_put_le64(&w->buf, x->bits);
    tsdb_buf_put_uvarint(&w->buf, x->labels.count);
    for (uint32_t i = 0; i < x->labels.count; i++) {
        const struct tsdb_label *l = &x->labels.items[i];
        tsdb_buf_put_uvarint(&w->buf, l->name_len);
        tsdb_buf_put(&w->buf, l->name, l->name_len);
        tsdb_buf_put_uvarint(&w->buf, l->value_len);
        tsdb_buf_put(&w->buf, l->value, l->value_len);
    }
    item_end(w);
    return !w->buf.failed;
}

/* ---- names ---- */
/* So that a series.log of another moment, or one that lost records, gives no sample the labels of
 * another. */
/* A page of them, from *inout_next on; index is pinned. False: there were none left. */
static bool put_names_page(struct writer *w, const struct index_mem *index, uint32_t *inout_next)
{
    uint32_t series = w->info->series[w->partition], before = 0;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(w->source->epoch, &guard);
    uint32_t local = index_mem_next(index, *inout_next);
    bool any = local < series;
    if (any) {
        page_begin(w, CHECKPOINT_PAGE_NAMES);
    }
    while (local < series && w->page_open) {
        tsdb_buf_put_uvarint(&w->buf, local - before);
        tsdb_buf_put_le32(&w->buf, checkpoint_name(index_mem_hash(index, local)));
        item_end(w);
        before = local + 1;
        local = index_mem_next(index, before);
    }
    tsdb_epoch_exit(w->source->epoch, &guard);
    if (w->page_open) {
        page_end(w);
    }
    *inout_next = before;
    return any;
}

static enum tsdb_status put_names(struct writer *w, struct tsdb_error *err)
{
    struct index_mem *index = head_index_pin(w->source->heads[w->partition]);
    uint32_t next = 0;
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK && put_names_page(w, index, &next)) {
        status = flush(w, err);
    }
    index_mem_unpin(index);
    return status;
}

static enum tsdb_status put_partition(struct writer *w, struct tsdb_error *err)
{
    struct partition_entry *entry = &w->entries[w->partition];
    entry->offset = w->offset + w->buf.len;
    enum tsdb_status status = put_names(w, err);
    uint32_t series = w->info->series[w->partition];
    for (uint32_t first = 0; status == TSDB_OK && first < series; first += BUNDLE_SERIES) {
        if (w->source->cancel && atomic_load_explicit(w->source->cancel, memory_order_relaxed)) {
            return tsdb_error_set(err, TSDB_CANCELLED, "checkpoint: cancelled");
        }
        status = put_neighbours(w, first, err);
    }
    if (w->page_open) {
        page_end(w);
    }
    if (status == TSDB_OK) {
        head_exemplars(w->source->heads[w->partition], put_exemplar, w);
        if (w->page_open) {
            page_end(w);
        }
        status = w->buf.failed ? out_of_memory(err) : TSDB_OK;
    }
    entry->bytes = w->offset + w->buf.len - entry->offset;
    uint64_t *first = &w->info->head_file_first;
    if (entry->head_file_first != 0 && (*first == 0 || entry->head_file_first < *first)) {
        *first = entry->head_file_first;
    }
    return status;
}

/* ---- the frame around the pages ---- */
static void put_header(struct writer *w)
{
    uint8_t header[CHECKPOINT_HEADER_BYTES] = {0};
    memcpy(header, CHECKPOINT_MAGIC, 8);
    tsdb_store_le32(header + 8, TSDB_FORMAT_CHECKPOINT);
    tsdb_store_le32(header + 12, TSDB_PARTITIONS);
    tsdb_store_le64(header + 16, w->info->number);
    tsdb_store_le64(header + 24, w->info->wal_segment);
    tsdb_store_le64(header + 32, w->info->series_log.bytes);
    tsdb_store_le64(header + 40, (uint64_t)w->info->created_ms);
    tsdb_store_le64(header + 48, w->info->head_file_next);
    tsdb_store_le32(header + 56, w->info->ahead_s);
    tsdb_store_le32(header + CHECKPOINT_HEADER_CRC_AT,
                    tsdb_crc32c(0, header, CHECKPOINT_HEADER_CRC_AT));
    uint8_t *mark = header + CHECKPOINT_MARK_AT;
    memcpy(mark, w->info->series_log.identity, SERIES_LOG_IDENTITY_BYTES);
    tsdb_store_le64(mark + 16, w->info->series_log.last_at);
    tsdb_store_le32(mark + 24, w->info->series_log.last_crc);
    tsdb_store_le32(header + CHECKPOINT_MARK_CRC_AT,
                    tsdb_crc32c(0, mark, CHECKPOINT_MARK_CRC_AT - CHECKPOINT_MARK_AT));
    tsdb_buf_put(&w->buf, header, sizeof header);
}

static void put_directory(struct writer *w)
{
    uint64_t offset = w->offset + w->buf.len;
    uint8_t *dir = tsdb_buf_reserve(&w->buf, CHECKPOINT_DIRECTORY_BYTES + CHECKPOINT_FOOTER_BYTES);
    if (!dir) {
        return;
    }
    memset(dir, 0, CHECKPOINT_DIRECTORY_BYTES + CHECKPOINT_FOOTER_BYTES);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        uint8_t *e = dir + (size_t)i * CHECKPOINT_ENTRY_BYTES;
        tsdb_store_le64(e, w->info->marks[i].write_seq);
        tsdb_store_le64(e + 8, w->info->marks[i].log_seq);
        tsdb_store_le64(e + 16, w->info->marks[i].epoch);
        tsdb_store_le64(e + 24, w->entries[i].offset);
        tsdb_store_le64(e + 32, w->entries[i].bytes);
        tsdb_store_le64(e + 40, w->entries[i].samples);
        tsdb_store_le32(e + 48, w->info->series[i]);
        tsdb_store_le32(e + 52, w->entries[i].pages);
        tsdb_store_le64(e + 56, w->entries[i].head_file_first);
    }
    uint8_t *footer = dir + CHECKPOINT_DIRECTORY_BYTES;
    memcpy(footer, CHECKPOINT_FOOTER_MAGIC, 8);
    tsdb_store_le64(footer + 8, offset);
    tsdb_store_le32(footer + 16, CHECKPOINT_DIRECTORY_BYTES);
    tsdb_store_le32(footer + 20, checkpoint_crc(w->info->number, offset, dir,
                                                CHECKPOINT_DIRECTORY_BYTES, NULL, 0));
    tsdb_store_le32(footer + 28, tsdb_crc32c(0, footer, 28));
    w->buf.len += CHECKPOINT_DIRECTORY_BYTES + CHECKPOINT_FOOTER_BYTES;
}

static enum tsdb_status write_all(struct writer *w, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = w->source->fs;
    enum tsdb_status status = TSDB_OK;
    put_header(w);
    for (uint32_t i = 0; status == TSDB_OK && i < TSDB_PARTITIONS; i++) {
        w->partition = i;
        status = put_partition(w, err);
    }
    if (status == TSDB_OK) {
        put_directory(w);
        status = flush(w, err);
    }
    return status == TSDB_OK ? fs->ops->sync(fs->ctx, w->file, err) : status;
}

enum tsdb_status checkpoint_write(const struct checkpoint_source *source,
                                  struct checkpoint_info *info, uint64_t *out_bytes,
                                  struct tsdb_error *err)
{
    const struct tsdb_fs *fs = source->fs;
    char path[CHECKPOINT_PATH_MAX], tmp[CHECKPOINT_PATH_MAX + sizeof DATADIR_TMP_SUFFIX];
    checkpoint_path(info->number, path);
    snprintf(tmp, sizeof tmp, "%s" DATADIR_TMP_SUFFIX, path);
    struct writer *w = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *w);
    if (!w) {
        return out_of_memory(err);
    }
    uint64_t begin = tsdb_perf_now();
    w->source = source;
    w->info = info;
    info->head_file_first = 0;
    tsdb_buf_init(&w->buf, TSDB_MEM_OTHER, 0);
    tsdb_arena_init(&w->arena, TSDB_MEM_OTHER, 16u << 10, NULL);
    enum tsdb_status status = fs->ops->open(
        fs->ctx, tmp, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &w->file, err);
    if (status == TSDB_OK) {
        status = write_all(w, err);
        fs->ops->close(fs->ctx, w->file);
        if (status == TSDB_OK) {
            status = fs->ops->rename(fs->ctx, tmp, path, err);
        }
        if (status != TSDB_OK) {
            /* Best effort: the next open removes what stays. The first error is reported. */
            (void)fs->ops->unlink(fs->ctx, tmp, NULL);
        }
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, DATADIR_CHECKPOINT, err);
        *out_bytes = w->offset;
    }
    tsdb_arena_deinit(&w->arena);
    tsdb_buf_deinit(&w->buf);
    tsdb_mem_free(TSDB_MEM_OTHER, w, sizeof *w);
    tsdb_perf_end(TSDB_LAYER_CHECKPOINT, begin);
    return status == TSDB_OK ? TSDB_OK : tsdb_error_prefix(err, status, "checkpoint %s", path);
}

/* ---- the directory of checkpoints ---- */
struct listing {
    uint64_t below;
    uint64_t newest; /* 0: none */
};

static enum tsdb_status listed(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    uint64_t number;
    if (!is_dir && tsdb_numbered_parse(name, &number) && number < l->below && number > l->newest) {
        l->newest = number;
    }
    return TSDB_OK;
}

enum tsdb_status checkpoint_newest(const struct tsdb_fs *fs, uint64_t below, uint64_t *out_number,
                                   struct tsdb_error *err)
{
    struct listing l = {.below = below};
    enum tsdb_status status = fs->ops->list(fs->ctx, DATADIR_CHECKPOINT, listed, &l, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (l.newest == 0) {
        return TSDB_NOT_FOUND;
    }
    *out_number = l.newest;
    return TSDB_OK;
}

enum tsdb_status checkpoint_set_aside(const struct tsdb_fs *fs, uint64_t number, uint64_t stamp,
                                      struct tsdb_error *err)
{
    char path[CHECKPOINT_PATH_MAX], to[96];
    checkpoint_path(number, path);
    snprintf(to, sizeof to, DATADIR_QUARANTINE "/checkpoint-%" PRIu64 "-%08" PRIu64, stamp, number);
    enum tsdb_status status = datadir_quarantine_make(fs, err);
    if (status == TSDB_OK) {
        status = fs->ops->rename(fs->ctx, path, to, err);
    }
    /* The new name first: a power cut in between leaves two, not none. */
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, DATADIR_QUARANTINE, err);
    }
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, DATADIR_CHECKPOINT, err) : status;
}

enum tsdb_status checkpoint_remove_before(const struct tsdb_fs *fs, uint64_t number,
                                          struct tsdb_error *err)
{
    bool removed = false;
    for (;;) {
        uint64_t old = 0;
        enum tsdb_status status = checkpoint_newest(fs, number, &old, err);
        if (status == TSDB_NOT_FOUND) {
            return removed ? fs->ops->sync_dir(fs->ctx, DATADIR_CHECKPOINT, err) : TSDB_OK;
        }
        char path[CHECKPOINT_PATH_MAX];
        checkpoint_path(old, path);
        if (status == TSDB_OK) {
            status = fs->ops->unlink(fs->ctx, path, err);
        }
        if (status != TSDB_OK) {
            return status;
        }
        removed = true;
    }
}
