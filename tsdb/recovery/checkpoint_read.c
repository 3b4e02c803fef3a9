/* The reading half of checkpoint.h. Everything that is read is checked before it is used. */
#include "tsdb/recovery/checkpoint.h"

#include "base/assert.h"
#include "compress/value_pack.h"
#include "model/version.h"
#include "tsdb/chunk/bundle.h"
#include "tsdb/recovery/checkpoint_private.h"

#include <stdio.h>
#include <string.h>

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
        return checkpoint_corrupt(r, 0, err, why.msg);
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
        return checkpoint_corrupt(r, r->bytes, err, "the file ends too early");
    }
    if (tsdb_load_le32(h + 12) != TSDB_PARTITIONS || tsdb_load_le64(h + 16) != number) {
        return checkpoint_corrupt(r, 12, err, "partition count or number is not as expected");
    }
    if (tsdb_load_le32(h + CHECKPOINT_MARK_CRC_AT) !=
        tsdb_crc32c(0, mark, CHECKPOINT_MARK_CRC_AT - CHECKPOINT_MARK_AT)) {
        return checkpoint_corrupt(r, CHECKPOINT_MARK_AT, err, "crc of the mark does not match");
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
        uint64_t first = tsdb_load_le64(e + 56), *least = &r->info.head_file_first;
        *least = first != 0 && (*least == 0 || first < *least) ? first : *least;
        if (r->pages[i].offset != expected || r->pages[i].bytes > dir_offset - expected ||
            r->info.series[i] >= TSDB_SERIES_LOCAL_MAX) {
            return checkpoint_corrupt(r, dir_offset, err, "the directory contradicts itself");
        }
        expected += r->pages[i].bytes;
    }
    return expected == dir_offset ? TSDB_OK
                                  : checkpoint_corrupt(r, expected, err,
                                                       "bytes that the directory does not "
                                                       "name");
}

static enum tsdb_status read_directory(struct checkpoint_reader *r, struct tsdb_error *err)
{
    uint8_t footer[CHECKPOINT_FOOTER_BYTES], dir[CHECKPOINT_DIRECTORY_BYTES];
    uint64_t footer_offset = r->bytes - sizeof footer;
    enum tsdb_status status = checkpoint_read_exact(r, footer, sizeof footer, footer_offset, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t dir_offset = footer_offset - sizeof dir;
    if (memcmp(footer, CHECKPOINT_FOOTER_MAGIC, 8) != 0 ||
        tsdb_load_le32(footer + 28) != tsdb_crc32c(0, footer, 28) ||
        tsdb_load_le64(footer + 8) != dir_offset || tsdb_load_le32(footer + 16) != sizeof dir) {
        return checkpoint_corrupt(r, footer_offset, err, "no valid footer");
    }
    status = checkpoint_read_exact(r, dir, sizeof dir, dir_offset, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t crc = checkpoint_crc(r->info.number, dir_offset, dir, sizeof dir, NULL, 0);
    if (crc != tsdb_load_le32(footer + 20)) {
        return checkpoint_corrupt(r, dir_offset, err, "crc of the directory does not match");
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

/* ---- runs ---- */
struct columns {
    int64_t t_ms[CHECKPOINT_RUN_SAMPLES_MAX];
    int64_t start_ms[CHECKPOINT_RUN_SAMPLES_MAX];
    uint64_t value[CHECKPOINT_RUN_SAMPLES_MAX];
    struct tsdb_raw_histogram raw[CHECKPOINT_RUN_SAMPLES_MAX];
};

/* As tsdb_reader_varint; most take a byte. */
static inline int64_t next_varint(struct tsdb_reader *r)
{
    return r->pos < r->end && *r->pos < 0x80 ? tsdb_unzigzag(*r->pos++) : tsdb_reader_varint(r);
}

static void get_times(struct tsdb_reader *r, int64_t *t, uint32_t count)
{
    uint64_t previous = 0, delta = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t coded = (uint64_t)next_varint(r);
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

/* A value of `bytes` bytes, read as eight where there are so many. */
static uint64_t get_packed(struct tsdb_reader *r, uint32_t bytes)
{
    if (bytes > 0 && (size_t)(r->end - r->pos) >= sizeof(uint64_t)) {
        uint64_t packed = tsdb_load_le64(r->pos) & UINT64_MAX >> (64 - 8 * bytes);
        r->pos += bytes;
        return packed;
    }
    struct tsdb_slice slice = tsdb_reader_bytes(r, bytes);
    uint64_t packed = 0;
    for (size_t k = 0; k < slice.len; k++) {
        packed |= (uint64_t)slice.data[k] << (8 * k);
    }
    return packed;
}

static void get_floats(struct tsdb_reader *r, uint64_t *bits, uint32_t count)
{
    uint64_t base = 0;
    struct value_whole whole = {.scale = VALUE_SCALE_UNKNOWN};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t mode = r->pos < r->end ? *r->pos++ : VALUE_PACK_MODE_COUNT;
        if (mode >= VALUE_PACK_MODE_COUNT || (i == 0 && value_pack_needs_base(mode))) {
            r->failed = true;
            return;
        }
        uint64_t packed = get_packed(r, value_pack_bytes(mode));
        base = bits[i] = value_unpack_next(mode, packed, base, &whole);
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

/* Which series of a bundle an item is about: floats of some that there are. False: malformed. */
static bool get_mask(struct tsdb_reader *r, uint32_t local, uint32_t flags, uint32_t series,
                     uint64_t *out)
{
    uint64_t mask = tsdb_reader_le64(r);
    if (r->failed || mask == 0 || local % BUNDLE_SERIES != 0 ||
        (flags & ~(CHECKPOINT_RUN_IN_FILE | CHECKPOINT_RUN_BUNDLE)) != 0 ||
        (uint32_t)(63 - __builtin_clzll(mask)) >= series - local) {
        return false;
    }
    *out = mask;
    return true;
}

/* The rest of an item that says where a chunk is. False: malformed. */
static bool get_chunk(struct tsdb_reader *r, uint32_t local, uint32_t flags, uint32_t series,
                      struct checkpoint_chunk *out)
{
    uint64_t mask = 0;
    if ((flags & CHECKPOINT_RUN_BUNDLE) && !get_mask(r, local, flags, series, &mask)) {
        return false;
    }
    uint64_t count_max =
        mask ? BUNDLE_SERIES * TSDB_HEAD_CHUNK_SAMPLES_MAX : TSDB_HEAD_CHUNK_SAMPLES_MAX;
    uint64_t count = tsdb_reader_uvarint(r);
    int64_t min_ms = tsdb_reader_varint(r);
    uint64_t span = tsdb_reader_uvarint(r);
    uint64_t file = tsdb_reader_uvarint(r);
    uint32_t identity = tsdb_reader_le32(r);
    uint64_t offset = tsdb_reader_uvarint(r);
    uint64_t len = tsdb_reader_uvarint(r);
    if (r->failed || count == 0 || count > count_max || len == 0 || len > UINT32_MAX ||
        span > (uint64_t)INT64_MAX - (uint64_t)min_ms || file == 0 || offset > UINT32_MAX) {
        return false;
    }
    *out = (struct checkpoint_chunk){
        .local = local,
        .mask = mask,
        .count = (uint32_t)count,
        .kind = (enum tsdb_sample_kind)(flags & CHECKPOINT_RUN_KIND_MASK),
        .late = (flags & CHECKPOINT_RUN_LATE) != 0,
        .min_ms = min_ms,
        .max_ms = (int64_t)((uint64_t)min_ms + span),
        .file = file,
        .identity = identity,
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
        CHECKPOINT_RUN_BUNDLE |
        ((flags & CHECKPOINT_RUN_IN_FILE) ? CHECKPOINT_RUN_LATE : CHECKPOINT_RUN_HAS_STARTS);
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

/* *inout_next: the least id that may come. */
static bool get_name(const struct checkpoint_reader *cr, uint32_t partition, struct tsdb_reader *r,
                     uint32_t *inout_next, uint32_t *out_name)
{
    uint64_t skipped = tsdb_reader_uvarint(r);
    *out_name = tsdb_reader_le32(r);
    uint32_t series = cr->info.series[partition];
    if (r->failed || *inout_next >= series || skipped >= series - *inout_next) {
        return false;
    }
    *inout_next += (uint32_t)skipped + 1;
    return true;
}

struct scratch {
    struct columns columns;
    struct tsdb_label labels[TSDB_LABELS_MAX];
};

static enum tsdb_status load_last_times(const struct checkpoint_reader *cr, uint32_t partition,
                                        const struct checkpoint_page *page, struct tsdb_reader *r,
                                        uint32_t local, uint32_t flags,
                                        const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    uint64_t mask = 0;
    bool ok = sink->last && get_mask(r, local, flags, cr->info.series[partition], &mask);
    uint64_t t_ms = 0;
    enum tsdb_status status = TSDB_OK;
    for (uint64_t left = mask; ok && status == TSDB_OK && left != 0; left &= left - 1) {
        t_ms += (uint64_t)tsdb_reader_varint(r);
        ok = !r->failed;
        if (ok) {
            status =
                sink->last(sink->arg, local + (uint32_t)__builtin_ctzll(left), (int64_t)t_ms, err);
        }
    }
    return ok ? status : checkpoint_corrupt(cr, page->offset, err, "malformed last times");
}

static enum tsdb_status load_item(const struct checkpoint_reader *cr, uint32_t partition,
                                  const struct checkpoint_page *page, struct tsdb_reader *r,
                                  struct scratch *s, const struct checkpoint_sink *sink,
                                  struct tsdb_error *err)
{
    uint32_t local, flags;
    struct checkpoint_run run;
    struct checkpoint_chunk chunk;
    bool ok = get_item(cr, partition, r, &local, &flags);
    if (ok && (flags & CHECKPOINT_RUN_IN_FILE)) {
        if (sink->chunk && get_chunk(r, local, flags, cr->info.series[partition], &chunk)) {
            chunk.partition = (uint8_t)partition;
            return sink->chunk(sink->arg, &chunk, err);
        }
        return checkpoint_corrupt(cr, page->offset, err, "malformed reference to a head file");
    }
    if (ok && (flags & CHECKPOINT_RUN_BUNDLE)) {
        return load_last_times(cr, partition, page, r, local, flags, sink, err);
    }
    if (ok && get_run(r, local, flags, &s->columns, &run)) {
        return sink->run(sink->arg, &run, err);
    }
    return checkpoint_corrupt(cr, page->offset, err, "malformed run");
}

static enum tsdb_status load_exemplar(const struct checkpoint_reader *cr, uint32_t partition,
                                      const struct checkpoint_page *page, struct tsdb_reader *r,
                                      struct scratch *s, const struct checkpoint_sink *sink,
                                      struct tsdb_error *err)
{
    struct tsdb_exemplar x;
    uint32_t local;
    return get_exemplar(cr, partition, r, s->labels, &local, &x)
               ? sink->exemplar(sink->arg, local, &x, err)
               : checkpoint_corrupt(cr, page->offset, err, "malformed exemplar");
}

static enum tsdb_status load_name(const struct checkpoint_reader *cr, uint32_t partition,
                                  const struct checkpoint_page *page, struct tsdb_reader *r,
                                  uint32_t *inout_next, const struct checkpoint_sink *sink,
                                  struct tsdb_error *err)
{
    uint32_t name;
    if (!get_name(cr, partition, r, inout_next, &name)) {
        return checkpoint_corrupt(cr, page->offset, err, "malformed name");
    }
    return sink->name ? sink->name(sink->arg, *inout_next - 1, name, err) : TSDB_OK;
}

static enum tsdb_status load_page(const struct checkpoint_reader *cr, uint32_t partition,
                                  const struct checkpoint_page *page, struct scratch *s,
                                  const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, page->payload, page->len);
    enum tsdb_status status = TSDB_OK;
    uint32_t next = 0;
    for (uint32_t i = 0; status == TSDB_OK && i < page->items; i++) {
        switch (page->kind) {
        case CHECKPOINT_PAGE_SAMPLES:
            status = load_item(cr, partition, page, &r, s, sink, err);
            break;
        case CHECKPOINT_PAGE_EXEMPLARS:
            status = load_exemplar(cr, partition, page, &r, s, sink, err);
            break;
        case CHECKPOINT_PAGE_NAMES:
            status = load_name(cr, partition, page, &r, &next, sink, err);
            break;
        }
    }
    if (status == TSDB_OK && tsdb_reader_left(&r) > 0) {
        return checkpoint_corrupt(cr, page->offset, err, "bytes behind the last item of the page");
    }
    return status;
}

/* A stretch without pages, until the next good one tells of which series it was. */
struct gap {
    bool open;
    struct checkpoint_damage damage;
    char why[128];
};

static void gap_begin(struct gap *g, uint64_t from, uint32_t local, const struct tsdb_error *why)
{
    if (!g->open) {
        g->open = true;
        g->damage.from = from;
        g->damage.local_first = local;
        snprintf(g->why, sizeof g->why, "%.*s", (int)sizeof g->why - 1, why->msg);
        g->damage.why = g->why;
    }
}

static void gap_end(struct gap *g, uint64_t to, uint32_t local, const struct checkpoint_sink *sink)
{
    if (g->open) {
        g->open = false;
        g->damage.to = to;
        g->damage.local_last = local;
        sink->damage(sink->arg, &g->damage);
    }
}

static uint32_t first_local(const struct checkpoint_page *page)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, page->payload, page->len);
    return (uint32_t)tsdb_reader_uvarint(&r);
}

/* What a page says that is whole, and whether a gap ends or begins at it. */
static enum tsdb_status take_page(struct checkpoint_cursor *c, const struct checkpoint_page *page,
                                  struct scratch *s, struct gap *g, uint32_t *inout_local,
                                  const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    bool samples = page->kind == CHECKPOINT_PAGE_SAMPLES;
    uint32_t last = c->r->info.series[c->partition];
    /* What neighbours share stands before and behind what each of them has. */
    uint32_t first = samples && page->items > 0 ? first_local(page) & ~(BUNDLE_SERIES - 1) : last;
    gap_end(g, page->offset, TSDB_MIN(first + BUNDLE_SERIES - 1, last), sink);
    struct tsdb_error why;
    enum tsdb_status status = load_page(c->r, c->partition, page, s, sink, &why);
    if (status == TSDB_CORRUPT && sink->damage) {
        gap_begin(g, page->offset, *inout_local, &why);
        status = TSDB_OK;
    }
    *inout_local = samples && page->items > 0 ? first : *inout_local;
    if (status != TSDB_OK && err) {
        *err = why;
    }
    return status;
}

static enum tsdb_status load_pages(struct checkpoint_cursor *c, struct scratch *s,
                                   const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    struct gap gap = {.open = false};
    uint32_t local = 0; /* where a page of samples began last */
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK) {
        struct checkpoint_page page = {0};
        struct tsdb_error why;
        uint64_t at = c->offset;
        status = checkpoint_cursor_next(c, &page, &why);
        if (status == TSDB_OK) {
            status = take_page(c, &page, s, &gap, &local, sink, err);
        } else if (sink->damage && recovery_is_damage(status, &why)) {
            gap_begin(&gap, at, local, &why);
            status = checkpoint_cursor_resync(c, err);
        } else if (status != TSDB_NOT_FOUND && err) {
            *err = why;
        }
    }
    gap_end(&gap, c->end, c->r->info.series[c->partition], sink);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
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
    struct checkpoint_cursor c = {.r = r};
    checkpoint_cursor_seek(&c, partition);
    enum tsdb_status status = load_pages(&c, s, sink, err);
    checkpoint_cursor_deinit(&c);
    tsdb_mem_free(TSDB_MEM_OTHER, s, sizeof *s);
    return status;
}
