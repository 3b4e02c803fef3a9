/* The reading half of checkpoint.h. Everything that is read is checked before it is used. */
#include "tsdb/recovery/checkpoint.h"

#include "base/assert.h"
#include "compress/value_pack.h"
#include "model/version.h"
#include "tsdb/recovery/checkpoint_private.h"

#include <string.h>

struct checkpoint_reader {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    char path[CHECKPOINT_PATH_MAX];
    uint64_t bytes;
    struct checkpoint_info info;
    struct extent {
        uint64_t offset, bytes;
    } pages[TSDB_PARTITIONS];
};

static enum tsdb_status corrupt(const struct checkpoint_reader *r, uint64_t offset,
                                struct tsdb_error *err, const char *what)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, offset, "%s at byte %llu: %s", r->path,
                             (unsigned long long)offset, what);
}

static enum tsdb_status read_exact(const struct checkpoint_reader *r, void *out, size_t len,
                                   uint64_t offset, struct tsdb_error *err)
{
    size_t got = 0;
    enum tsdb_status status = r->fs->ops->pread(r->fs->ctx, r->file, out, len, offset, &got, err);
    if (status == TSDB_OK && got != len) {
        return corrupt(r, offset + got, err, "the file ends too early");
    }
    return status;
}

/* ---- header, directory, footer ---- */
enum tsdb_status checkpoint_version_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len < CHECKPOINT_MARK_AT || memcmp(data, CHECKPOINT_MAGIC, 8) != 0 ||
        tsdb_load_le32(data + CHECKPOINT_HEADER_CRC_AT) !=
            tsdb_crc32c(0, data, CHECKPOINT_HEADER_CRC_AT)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "no valid header");
    }
    uint32_t version = tsdb_load_le32(data + 8);
    if (version != TSDB_FORMAT_CHECKPOINT) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "format version %u; this version knows %d",
                              (unsigned)version, TSDB_FORMAT_CHECKPOINT);
    }
    return TSDB_OK;
}

/* Whose header this is, by what every version has in one place. */
static enum tsdb_status read_version(struct checkpoint_reader *r,
                                     uint8_t out[CHECKPOINT_HEADER_BYTES], struct tsdb_error *err)
{
    struct tsdb_error why;
    size_t got = 0;
    enum tsdb_status status =
        r->fs->ops->pread(r->fs->ctx, r->file, out, CHECKPOINT_HEADER_BYTES, 0, &got, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = checkpoint_version_check(out, got, &why);
    if (status == TSDB_CORRUPT) {
        return corrupt(r, 0, err, why.msg);
    }
    return status == TSDB_OK ? status : tsdb_error_set(err, status, "%s: %s", r->path, why.msg);
}

static enum tsdb_status read_header(struct checkpoint_reader *r, uint64_t number,
                                    struct tsdb_error *err)
{
    uint8_t h[CHECKPOINT_HEADER_BYTES];
    const uint8_t *mark = h + CHECKPOINT_MARK_AT;
    enum tsdb_status status = read_version(r, h, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (r->bytes < CHECKPOINT_HEADER_BYTES + CHECKPOINT_DIRECTORY_BYTES + CHECKPOINT_FOOTER_BYTES) {
        return corrupt(r, r->bytes, err, "the file ends too early");
    }
    if (tsdb_load_le32(h + 12) != TSDB_PARTITIONS || tsdb_load_le64(h + 16) != number) {
        return corrupt(r, 12, err, "partition count or number is not as expected");
    }
    if (tsdb_load_le32(h + CHECKPOINT_MARK_CRC_AT) !=
        tsdb_crc32c(0, mark, CHECKPOINT_MARK_CRC_AT - CHECKPOINT_MARK_AT)) {
        return corrupt(r, CHECKPOINT_MARK_AT, err, "crc of the mark does not match");
    }
    r->info.number = number;
    r->info.wal_segment = tsdb_load_le64(h + 24);
    r->info.created_ms = (int64_t)tsdb_load_le64(h + 40);
    r->info.head_file_next = tsdb_load_le64(h + 48);
    r->info.ahead_s = tsdb_load_le32(h + 56);
    r->info.series_log.bytes = tsdb_load_le64(h + 32);
    memcpy(r->info.series_log.identity, mark, SERIES_LOG_IDENTITY_BYTES);
    r->info.series_log.last_at = tsdb_load_le64(mark + 16);
    r->info.series_log.last_crc = tsdb_load_le32(mark + 24);
    return TSDB_OK;
}

static enum tsdb_status parse_directory(struct checkpoint_reader *r, const uint8_t *dir,
                                        uint64_t dir_offset, struct tsdb_error *err)
{
    uint64_t expected = CHECKPOINT_HEADER_BYTES;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        const uint8_t *e = dir + (size_t)i * CHECKPOINT_ENTRY_BYTES;
        r->info.marks[i].write_seq = tsdb_load_le64(e);
        r->info.marks[i].log_seq = tsdb_load_le64(e + 8);
        r->info.marks[i].epoch = tsdb_load_le64(e + 16);
        r->pages[i] = (struct extent){tsdb_load_le64(e + 24), tsdb_load_le64(e + 32)};
        r->info.series[i] = tsdb_load_le32(e + 48);
        if (r->pages[i].offset != expected || r->pages[i].bytes > dir_offset - expected ||
            r->info.series[i] >= TSDB_SERIES_LOCAL_MAX) {
            return corrupt(r, dir_offset, err, "the directory contradicts itself");
        }
        expected += r->pages[i].bytes;
    }
    return expected == dir_offset ? TSDB_OK
                                  : corrupt(r, expected, err,
                                            "bytes that the directory does not "
                                            "name");
}

static enum tsdb_status read_directory(struct checkpoint_reader *r, struct tsdb_error *err)
{
    uint8_t footer[CHECKPOINT_FOOTER_BYTES], dir[CHECKPOINT_DIRECTORY_BYTES];
    uint64_t footer_offset = r->bytes - sizeof footer;
    enum tsdb_status status = read_exact(r, footer, sizeof footer, footer_offset, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t dir_offset = footer_offset - sizeof dir;
    if (memcmp(footer, CHECKPOINT_FOOTER_MAGIC, 8) != 0 ||
        tsdb_load_le32(footer + 28) != tsdb_crc32c(0, footer, 28) ||
        tsdb_load_le64(footer + 8) != dir_offset || tsdb_load_le32(footer + 16) != sizeof dir) {
        return corrupt(r, footer_offset, err, "no valid footer");
    }
    status = read_exact(r, dir, sizeof dir, dir_offset, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t crc = checkpoint_crc(r->info.number, dir_offset, dir, sizeof dir, NULL, 0);
    if (crc != tsdb_load_le32(footer + 20)) {
        return corrupt(r, dir_offset, err, "crc of the directory does not match");
    }
    return parse_directory(r, dir, dir_offset, err);
}

enum tsdb_status checkpoint_open(const struct tsdb_fs *fs, uint64_t number,
                                 struct checkpoint_reader **out, struct tsdb_error *err)
{
    struct checkpoint_reader *r = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *r);
    if (!r) {
        return tsdb_error_set(err, TSDB_NOMEM, "checkpoint: no memory to open it");
    }
    r->fs = fs;
    checkpoint_path(number, r->path);
    struct tsdb_file_info info;
    enum tsdb_status status = fs->ops->open(fs->ctx, r->path, TSDB_OPEN_READ, &r->file, err);
    if (status == TSDB_OK) {
        status = fs->ops->stat(fs->ctx, r->path, &info, err);
    }
    if (status == TSDB_OK) {
        r->bytes = info.size_bytes;
        status = read_header(r, number, err);
    }
    if (status == TSDB_OK) {
        status = read_directory(r, err);
    }
    if (status != TSDB_OK) {
        checkpoint_close(r);
        return status;
    }
    *out = r;
    return TSDB_OK;
}

void checkpoint_close(struct checkpoint_reader *r)
{
    if (r) {
        if (r->file) {
            r->fs->ops->close(r->fs->ctx, r->file);
        }
        tsdb_mem_free(TSDB_MEM_OTHER, r, sizeof *r);
    }
}

const struct checkpoint_info *checkpoint_info(const struct checkpoint_reader *r)
{
    return &r->info;
}

uint64_t checkpoint_bytes(const struct checkpoint_reader *r)
{
    return r->bytes;
}

/* ---- pages ---- */
struct page {
    enum checkpoint_page_kind kind;
    uint32_t items;
    uint64_t offset;
    const uint8_t *payload;
    size_t len;
};
struct cursor {
    const struct checkpoint_reader *r;
    uint32_t partition;
    uint64_t offset, end;
    uint8_t *data; /* of one page; grows */
    size_t cap;
};

static void cursor_deinit(struct cursor *c)
{
    tsdb_mem_free(TSDB_MEM_OTHER, c->data, c->cap);
}

static enum tsdb_status cursor_reserve(struct cursor *c, size_t len, struct tsdb_error *err)
{
    if (len <= c->cap) {
        return TSDB_OK;
    }
    cursor_deinit(c);
    c->data = tsdb_mem_alloc(TSDB_MEM_OTHER, len);
    c->cap = c->data ? len : 0;
    return c->data ? TSDB_OK
                   : tsdb_error_set(err, TSDB_NOMEM, "%s: no memory for a page", c->r->path);
}

static void cursor_seek(struct cursor *c, uint32_t partition)
{
    c->partition = partition;
    c->offset = c->r->pages[partition].offset;
    c->end = c->offset + c->r->pages[partition].bytes;
}

/* The next page of the partition, CRC-checked. NOT_FOUND at the end. */
static enum tsdb_status cursor_next(struct cursor *c, struct page *out, struct tsdb_error *err)
{
    uint8_t h[CHECKPOINT_PAGE_HEADER_BYTES];
    if (c->offset == c->end) {
        return TSDB_NOT_FOUND;
    }
    if (c->end - c->offset < sizeof h) {
        return corrupt(c->r, c->offset, err, "page header is cut off");
    }
    enum tsdb_status status = read_exact(c->r, h, sizeof h, c->offset, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t len = tsdb_load_le32(h + 8);
    if (tsdb_load_le32(h) != CHECKPOINT_PAGE_MAGIC || len > CHECKPOINT_PAGE_BYTES_MAX ||
        len > c->end - c->offset - sizeof h) {
        return corrupt(c->r, c->offset, err, "not a page header");
    }
    status = cursor_reserve(c, len, err);
    if (status == TSDB_OK) {
        status = read_exact(c->r, c->data, len, c->offset + sizeof h, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t crc = checkpoint_crc(c->r->info.number, c->offset, h, 20, c->data, len);
    if (crc != tsdb_load_le32(h + 20)) {
        return corrupt(c->r, c->offset, err, "crc of the page does not match");
    }
    if ((h[4] != CHECKPOINT_PAGE_SAMPLES && h[4] != CHECKPOINT_PAGE_EXEMPLARS) ||
        h[5] != c->partition) {
        return corrupt(c->r, c->offset, err, "page of an unknown kind or another partition");
    }
    *out = (struct page){(enum checkpoint_page_kind)h[4], tsdb_load_le32(h + 12), c->offset,
                         c->data, len};
    c->offset += sizeof h + len;
    return TSDB_OK;
}

enum tsdb_status checkpoint_verify(const struct checkpoint_reader *r, struct tsdb_error *err)
{
    struct cursor c = {.r = r};
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < TSDB_PARTITIONS; i++) {
        struct page page = {0};
        cursor_seek(&c, i);
        while (status == TSDB_OK) {
            status = cursor_next(&c, &page, err);
        }
        status = status == TSDB_NOT_FOUND ? TSDB_OK : status;
    }
    cursor_deinit(&c);
    return status;
}

/* ---- runs ---- */
struct columns {
    int64_t t_ms[CHECKPOINT_RUN_SAMPLES_MAX];
    int64_t start_ms[CHECKPOINT_RUN_SAMPLES_MAX];
    uint64_t value[CHECKPOINT_RUN_SAMPLES_MAX];
    struct tsdb_raw_histogram raw[CHECKPOINT_RUN_SAMPLES_MAX];
};

static void get_times(struct tsdb_reader *r, int64_t *t, uint32_t count)
{
    uint64_t previous = 0, delta = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t coded = (uint64_t)tsdb_reader_varint(r);
        delta = i < 2 ? coded : coded + delta;
        previous += delta;
        t[i] = (int64_t)previous;
    }
}

static void get_starts(struct tsdb_reader *r, int64_t *start, uint32_t count)
{
    uint64_t previous = 0;
    for (uint32_t i = 0; i < count; i++) {
        previous += (uint64_t)tsdb_reader_varint(r);
        start[i] = (int64_t)previous;
    }
}

static void get_floats(struct tsdb_reader *r, uint64_t *bits, uint32_t count)
{
    uint64_t base = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t mode = tsdb_reader_u8(r);
        if (mode >= VALUE_PACK_MODE_COUNT || (i == 0 && value_pack_needs_base(mode))) {
            r->failed = true;
            return;
        }
        struct tsdb_slice bytes = tsdb_reader_bytes(r, value_pack_bytes(mode));
        uint64_t packed = 0;
        for (size_t k = 0; k < bytes.len; k++) {
            packed |= (uint64_t)bytes.data[k] << (8 * k);
        }
        base = bits[i] = value_unpack(mode, packed, base);
    }
}

static void get_histograms(struct tsdb_reader *r, struct columns *c, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t len = tsdb_reader_count(r, 1);
        if (len > TSDB_HISTOGRAM_BYTES_MAX) {
            r->failed = true;
            return;
        }
        struct tsdb_slice raw = tsdb_reader_bytes(r, (size_t)len);
        c->raw[i] = (struct tsdb_raw_histogram){(uint32_t)raw.len, raw.data};
        c->value[i] = (uint64_t)(uintptr_t)&c->raw[i];
    }
}

/* The rest of an item that says where a chunk is. False: malformed. */
static bool get_chunk(struct tsdb_reader *r, uint32_t local, uint32_t flags,
                      struct checkpoint_chunk *out)
{
    uint64_t count = tsdb_reader_uvarint(r);
    int64_t min_ms = tsdb_reader_varint(r);
    uint64_t span = tsdb_reader_uvarint(r);
    uint64_t file = tsdb_reader_uvarint(r);
    uint64_t offset = tsdb_reader_uvarint(r);
    uint64_t len = tsdb_reader_uvarint(r);
    if (r->failed || count == 0 || count > TSDB_HEAD_CHUNK_SAMPLES_MAX || len == 0 ||
        len > UINT32_MAX || span > (uint64_t)INT64_MAX - (uint64_t)min_ms || file == 0 ||
        offset > UINT32_MAX) {
        return false;
    }
    *out = (struct checkpoint_chunk){
        .local = local,
        .count = (uint32_t)count,
        .kind = (enum tsdb_sample_kind)(flags & CHECKPOINT_RUN_KIND_MASK),
        .late = (flags & CHECKPOINT_RUN_LATE) != 0,
        .min_ms = min_ms,
        .max_ms = (int64_t)((uint64_t)min_ms + span),
        .file = file,
        .offset = offset,
        .len = (uint32_t)len,
    };
    return true;
}

/* What every item begins with. False: malformed. */
static bool get_item(const struct checkpoint_reader *cr, uint32_t partition, struct tsdb_reader *r,
                     uint32_t *out_local, uint32_t *out_flags)
{
    uint64_t local = tsdb_reader_uvarint(r);
    uint32_t flags = tsdb_reader_u8(r);
    uint32_t other =
        (flags & CHECKPOINT_RUN_IN_FILE) ? CHECKPOINT_RUN_LATE : CHECKPOINT_RUN_HAS_STARTS;
    *out_local = (uint32_t)local;
    *out_flags = flags;
    return !r->failed && local < cr->info.series[partition] &&
           (flags & CHECKPOINT_RUN_KIND_MASK) <= TSDB_SAMPLE_HISTOGRAM_FLOAT &&
           (flags & ~(CHECKPOINT_RUN_KIND_MASK | CHECKPOINT_RUN_IN_FILE | other)) == 0;
}

/* False: malformed. */
static bool get_run(struct tsdb_reader *r, uint32_t local, uint32_t flags, struct columns *c,
                    struct checkpoint_run *out)
{
    uint64_t count = tsdb_reader_count(r, 2); /* a time and a value take a byte each */
    uint32_t kind = flags & CHECKPOINT_RUN_KIND_MASK;
    if (r->failed || count == 0 || count > CHECKPOINT_RUN_SAMPLES_MAX) {
        return false;
    }
    get_times(r, c->t_ms, (uint32_t)count);
    if (flags & CHECKPOINT_RUN_HAS_STARTS) {
        get_starts(r, c->start_ms, (uint32_t)count);
    }
    if (kind == TSDB_SAMPLE_FLOAT) {
        get_floats(r, c->value, (uint32_t)count);
    } else {
        get_histograms(r, c, (uint32_t)count);
    }
    *out = (struct checkpoint_run){
        .local = local,
        .kind = (enum tsdb_sample_kind)kind,
        .count = (uint32_t)count,
        .t_ms = c->t_ms,
        .start_ms = (flags & CHECKPOINT_RUN_HAS_STARTS) ? c->start_ms : NULL,
        .value = c->value,
    };
    return !r->failed;
}

static bool get_string(struct tsdb_reader *r, const char **out, uint32_t *out_len)
{
    uint64_t len = tsdb_reader_count(r, 1);
    struct tsdb_slice s = tsdb_reader_bytes(r, (size_t)len);
    *out = (const char *)s.data;
    *out_len = (uint32_t)s.len;
    return !r->failed;
}

/* items has room for TSDB_LABELS_MAX. */
static bool get_exemplar(const struct checkpoint_reader *cr, uint32_t partition,
                         struct tsdb_reader *r, struct tsdb_label *items, uint32_t *out_local,
                         struct tsdb_exemplar *out)
{
    uint64_t local = tsdb_reader_uvarint(r);
    out->t_ms = tsdb_reader_varint(r);
    out->bits = tsdb_reader_le64(r);
    uint64_t count = tsdb_reader_count(r, 2);
    if (r->failed || local >= cr->info.series[partition] || count > TSDB_LABELS_MAX) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!get_string(r, &items[i].name, &items[i].name_len) ||
            !get_string(r, &items[i].value, &items[i].value_len)) {
            return false;
        }
    }
    out->labels = (struct tsdb_labels){items, (uint32_t)count};
    *out_local = (uint32_t)local;
    return true;
}

struct scratch {
    struct columns columns;
    struct tsdb_label labels[TSDB_LABELS_MAX];
};

static enum tsdb_status load_item(const struct checkpoint_reader *cr, uint32_t partition,
                                  const struct page *page, struct tsdb_reader *r, struct scratch *s,
                                  const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    uint32_t local, flags;
    struct checkpoint_run run;
    struct checkpoint_chunk chunk;
    bool ok = get_item(cr, partition, r, &local, &flags);
    if (ok && (flags & CHECKPOINT_RUN_IN_FILE)) {
        if (sink->chunk && get_chunk(r, local, flags, &chunk)) {
            return sink->chunk(sink->arg, &chunk, err);
        }
        return corrupt(cr, page->offset, err, "malformed reference to a head file");
    }
    if (ok && get_run(r, local, flags, &s->columns, &run)) {
        return sink->run(sink->arg, &run, err);
    }
    return corrupt(cr, page->offset, err, "malformed run");
}

static enum tsdb_status load_page(const struct checkpoint_reader *cr, uint32_t partition,
                                  const struct page *page, struct scratch *s,
                                  const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, page->payload, page->len);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < page->items; i++) {
        if (page->kind == CHECKPOINT_PAGE_SAMPLES) {
            status = load_item(cr, partition, page, &r, s, sink, err);
        } else {
            struct tsdb_exemplar x;
            uint32_t local;
            if (!get_exemplar(cr, partition, &r, s->labels, &local, &x)) {
                return corrupt(cr, page->offset, err, "malformed exemplar");
            }
            status = sink->exemplar(sink->arg, local, &x, err);
        }
    }
    if (status == TSDB_OK && tsdb_reader_left(&r) > 0) {
        return corrupt(cr, page->offset, err, "bytes behind the last item of the page");
    }
    return status;
}

enum tsdb_status checkpoint_load(const struct checkpoint_reader *r, uint32_t partition,
                                 const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    TSDB_ASSERT(partition < TSDB_PARTITIONS);
    if (r->pages[partition].bytes == 0) {
        return TSDB_OK;
    }
    struct scratch *s = tsdb_mem_alloc(TSDB_MEM_OTHER, sizeof *s);
    if (!s) {
        return tsdb_error_set(err, TSDB_NOMEM, "%s: no memory to load it", r->path);
    }
    struct cursor c = {.r = r};
    enum tsdb_status status = TSDB_OK;
    cursor_seek(&c, partition);
    while (status == TSDB_OK) {
        struct page page = {0};
        status = cursor_next(&c, &page, err);
        if (status == TSDB_OK) {
            status = load_page(r, partition, &page, s, sink, err);
        }
    }
    cursor_deinit(&c);
    tsdb_mem_free(TSDB_MEM_OTHER, s, sizeof *s);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}
