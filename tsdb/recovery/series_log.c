#include "tsdb/recovery/series_log.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "model/version.h"
#include "tsdb/recovery/datadir.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FLUSH_BYTES      (1u << 20)
#define RECORD_BYTES_MIN (SERIES_LOG_RECORD_BYTES + 2u)

/* Every version has its number and the CRC behind it where this one has them. */
#define AT_VERSION     8
#define AT_VERSION_CRC 12
#define AT_IDENTITY    16
#define AT_CRC         32
static_assert(AT_IDENTITY + SERIES_LOG_IDENTITY_BYTES == AT_CRC &&
                  AT_CRC + 4 == SERIES_LOG_HEADER_BYTES,
              "fields of the header");

static const uint8_t magic[8] = {'T', 'D', 'L', 'S', 'E', 'R', 'L', 'G'};

void series_log_init(struct series_log *s, const struct tsdb_fs *fs, struct tsdb_random random)
{
    *s = (struct series_log){.fs = fs, .random = random, .name = DATADIR_SERIES_LOG};
    tsdb_buf_init(&s->buf, TSDB_MEM_OTHER, 0);
}

static void close_file(struct series_log *s)
{
    if (s->file) {
        s->fs->ops->close(s->fs->ctx, s->file);
        s->file = NULL;
    }
}

void series_log_deinit(struct series_log *s)
{
    close_file(s);
    tsdb_buf_deinit(&s->buf);
}

/* The CRC continues the one of the record before, the header's for the first, and has the record's
 * offset: bytes that ended up elsewhere, or behind others, do not verify. */
static uint32_t record_crc(uint32_t before, uint64_t offset, const uint8_t *len_bytes,
                           const uint8_t *payload, size_t len)
{
    uint8_t where[8];
    tsdb_store_le64(where, offset);
    uint32_t crc = tsdb_crc32c(before, where, sizeof where);
    crc = tsdb_crc32c(crc, len_bytes, 4);
    return tsdb_crc32c(crc, payload, len);
}

/* ---- reading ---- */
struct load {
    struct series_log *s;
    struct tsdb_file *file;
    uint64_t file_bytes, bytes_relied, stamp;
    uint64_t offset; /* of data[0] in the file */
    uint8_t *data;   /* window_bytes */
    size_t window_bytes, len;
    struct series_log_record *records; /* window_records */
    uint32_t window_records;
    uint32_t count;
    struct series_log_mark at; /* behind the last good record */
};

/* Below what is relied upon a bad byte is damage; above it is where the append was interrupted
 * (NOT_FOUND: stop here). */
static enum tsdb_status bad_at(const struct load *l, uint64_t offset, struct tsdb_error *err,
                               const char *what)
{
    if (offset >= l->bytes_relied) {
        return TSDB_NOT_FOUND;
    }
    return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                             DATADIR_SERIES_LOG " at byte %llu: %s (the checkpoint relies on %llu "
                                                "bytes, the file has %llu)",
                             (unsigned long long)offset, what, (unsigned long long)l->bytes_relied,
                             (unsigned long long)l->file_bytes);
}

/* A record that the end of the file cuts: where less of it is there than relied upon, the file is of
 * an earlier moment. */
static enum tsdb_status cut_at(const struct load *l, uint64_t offset, struct tsdb_error *err,
                               const char *what)
{
    return l->file_bytes < l->bytes_relied ? TSDB_NOT_FOUND : bad_at(l, offset, err, what);
}

enum tsdb_status series_log_header_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len < AT_IDENTITY || memcmp(data, magic, sizeof magic) != 0 ||
        tsdb_load_le32(data + AT_VERSION_CRC) != tsdb_crc32c(0, data, AT_VERSION_CRC)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "no valid header");
    }
    uint32_t version = tsdb_load_le32(data + AT_VERSION);
    if (version != TSDB_FORMAT_SERIES_LOG) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "format version %u; this version knows %d",
                              (unsigned)version, TSDB_FORMAT_SERIES_LOG);
    }
    if (len < SERIES_LOG_HEADER_BYTES ||
        tsdb_load_le32(data + AT_CRC) != tsdb_crc32c(0, data, AT_CRC)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "no valid identity");
    }
    return TSDB_OK;
}

static enum tsdb_status check_header(struct load *l, struct tsdb_error *err)
{
    enum tsdb_status status = series_log_header_check(l->data, l->len, err);
    if (status == TSDB_CORRUPT) {
        return bad_at(l, 0, err, "no valid header");
    }
    if (status == TSDB_UNSUPPORTED) {
        return tsdb_error_prefix(err, status, DATADIR_SERIES_LOG);
    }
    if (status == TSDB_OK) {
        memcpy(l->at.identity, l->data + AT_IDENTITY, SERIES_LOG_IDENTITY_BYTES);
        l->at.bytes = SERIES_LOG_HEADER_BYTES;
        l->at.last_crc = tsdb_load_le32(l->data + AT_CRC);
    }
    return status;
}

/* Parse the record at data + pos. OK with *inout_pos after it; NOT_FOUND: not a whole good record;
 * CORRUPT. */
static enum tsdb_status parse_record(struct load *l, size_t *inout_pos, struct tsdb_error *err)
{
    size_t pos = *inout_pos, left = l->len - pos;
    uint64_t offset = l->offset + pos;
    if (left < SERIES_LOG_RECORD_BYTES) {
        return cut_at(l, offset, err, "record header is cut off");
    }
    const uint8_t *p = l->data + pos;
    uint32_t len = tsdb_load_le32(p);
    if (len < 2 || len > SERIES_LOG_PAYLOAD_MAX) {
        return bad_at(l, offset, err, "impossible record length");
    }
    if (left - SERIES_LOG_RECORD_BYTES < len) {
        return cut_at(l, offset, err, "record is cut off");
    }
    uint32_t crc = tsdb_load_le32(p + 4);
    if (crc != record_crc(l->at.last_crc, offset, p, p + SERIES_LOG_RECORD_BYTES, len)) {
        return bad_at(l, offset, err, "crc does not match");
    }
    struct tsdb_reader r;
    tsdb_reader_init(&r, p + SERIES_LOG_RECORD_BYTES, len);
    uint32_t partition = tsdb_reader_u8(&r);
    uint64_t local = tsdb_reader_uvarint(&r);
    if (r.failed || partition >= TSDB_PARTITIONS || local < l->s->appended[partition] ||
        local >= TSDB_SERIES_IDS_MAX - 1) {
        return bad_at(l, offset, err, "not a later series of its partition");
    }
    size_t labels_len = tsdb_reader_left(&r);
    l->records[l->count++] =
        (struct series_log_record){partition, (uint32_t)local, tsdb_reader_bytes(&r, labels_len)};
    l->s->appended[partition] = (uint32_t)local + 1;
    l->s->records_appended += labels_len > 0;
    l->s->holes_appended += labels_len == 0;
    *inout_pos = pos + SERIES_LOG_RECORD_BYTES + len;
    l->at.bytes = l->offset + *inout_pos;
    l->at.last_at = offset;
    l->at.last_crc = crc;
    return TSDB_OK;
}

/* Is the record at data + pos known to go beyond the window, so that more must be read first? */
static bool needs_more(const struct load *l, size_t pos)
{
    size_t left = l->len - pos;
    bool at_end = l->offset + l->len >= l->file_bytes;
    return !at_end && left < SERIES_LOG_RECORD_BYTES + SERIES_LOG_PAYLOAD_MAX;
}

/* Read a window at l->offset; hand over its records; advance. NOT_FOUND at the torn tail or end. */
static enum tsdb_status load_window(struct load *l, series_log_fn fn, void *arg,
                                    struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    uint64_t left = l->file_bytes - l->offset;
    size_t want = left < l->window_bytes ? (size_t)left : l->window_bytes;
    enum tsdb_status status =
        fs->ops->pread(fs->ctx, l->file, l->data, want, l->offset, &l->len, err);
    if (status != TSDB_OK) {
        return status;
    }
    size_t pos = 0;
    l->count = 0;
    if (l->offset == 0) {
        status = check_header(l, err);
        pos = status == TSDB_OK ? SERIES_LOG_HEADER_BYTES : 0;
    }
    while (status == TSDB_OK && pos < l->len && !needs_more(l, pos) &&
           l->count < l->window_records) {
        status = parse_record(l, &pos, err);
    }
    if (status != TSDB_OK && status != TSDB_NOT_FOUND) {
        return status;
    }
    enum tsdb_status fn_status = l->count > 0 ? fn(arg, l->records, l->count, err) : TSDB_OK;
    l->offset += pos;
    if (fn_status != TSDB_OK) {
        return fn_status;
    }
    return l->offset < l->file_bytes && l->len > 0 ? status : TSDB_NOT_FOUND;
}

static enum tsdb_status load_all(struct load *l, series_log_fn fn, void *arg,
                                 struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK) {
        status = load_window(l, fn, arg, err);
    }
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* Copy [l->offset, end) of the file to quarantine/, durably. l->data is free. */
static enum tsdb_status tail_copy(const struct load *l, struct tsdb_file *to,
                                  struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    enum tsdb_status status = TSDB_OK;
    for (uint64_t at = l->offset; status == TSDB_OK && at < l->file_bytes;) {
        size_t want = (size_t)TSDB_MIN(l->file_bytes - at, (uint64_t)l->window_bytes);
        size_t got = 0;
        status = fs->ops->pread(fs->ctx, l->file, l->data, want, at, &got, err);
        if (status == TSDB_OK && got == 0) {
            break; /* shorter than it was a moment ago */
        }
        if (status == TSDB_OK) {
            status = fs->ops->pwrite(fs->ctx, to, l->data, got, at - l->offset, err);
            at += got;
        }
    }
    return status == TSDB_OK ? fs->ops->sync(fs->ctx, to, err) : status;
}

static enum tsdb_status tail_set_aside(const struct load *l, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    char path[64];
    struct tsdb_file *to = NULL;
    snprintf(path, sizeof path, DATADIR_QUARANTINE "/series.log-%" PRIu64 "-%" PRIu64, l->stamp,
             l->offset);
    enum tsdb_status status = datadir_quarantine_make(fs, err);
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, path,
                               TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &to, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    status = tail_copy(l, to, err);
    fs->ops->close(fs->ctx, to);
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, DATADIR_QUARANTINE, err) : status;
}

/* Cut the torn tail off and make what stays durable: after a kill it may be in the page cache
 * only. */
static enum tsdb_status settle(struct load *l, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    enum tsdb_status status = TSDB_OK;
    bool vouched = l->bytes_relied > 0 && l->offset >= l->bytes_relied;
    if (l->offset < l->file_bytes && !vouched) {
        status = tail_set_aside(l, err);
    }
    if (status == TSDB_OK && l->offset < l->file_bytes) {
        status = fs->ops->truncate(fs->ctx, l->file, l->offset, err);
    }
    if (status == TSDB_OK && (l->offset < l->file_bytes || l->offset > l->bytes_relied)) {
        status = fs->ops->sync(fs->ctx, l->file, err);
    }
    if (status == TSDB_OK && l->bytes_relied == 0) {
        status = fs->ops->sync_dir(fs->ctx, "", err);
    }
    return status;
}

static enum tsdb_status load_open_file(struct load *l, series_log_fn fn, void *arg,
                                       struct tsdb_error *err)
{
    l->window_bytes = (size_t)TSDB_MIN(l->file_bytes + 1, (uint64_t)SERIES_LOG_WINDOW_BYTES);
    l->window_records = (uint32_t)TSDB_MIN(l->window_bytes / RECORD_BYTES_MIN + 1,
                                           (size_t)SERIES_LOG_WINDOW_RECORDS);
    l->data = tsdb_mem_alloc(TSDB_MEM_OTHER, l->window_bytes);
    l->records = tsdb_mem_alloc(TSDB_MEM_OTHER, l->window_records * sizeof *l->records);
    enum tsdb_status status = TSDB_OK;
    if (!l->data || !l->records) {
        status = tsdb_error_set(err, TSDB_NOMEM, DATADIR_SERIES_LOG ": no memory to read it");
    }
    if (status == TSDB_OK) {
        status = load_all(l, fn, arg, err);
    }
    if (status == TSDB_OK) {
        status = settle(l, err);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, l->data, l->window_bytes);
    tsdb_mem_free(TSDB_MEM_OTHER, l->records, l->window_records * sizeof *l->records);
    return status;
}

enum tsdb_status series_log_load(struct series_log *s, uint64_t bytes_relied, uint64_t stamp,
                                 series_log_fn fn, void *arg, uint64_t *out_cut_bytes,
                                 struct tsdb_error *err)
{
    TSDB_ASSERT(!s->file && s->bytes_appended == 0);
    const struct tsdb_fs *fs = s->fs;
    struct load l = {.s = s, .bytes_relied = bytes_relied, .stamp = stamp};
    struct tsdb_file_info info = {0};
    enum tsdb_status status = fs->ops->stat(fs->ctx, DATADIR_SERIES_LOG, &info, err);
    if (status == TSDB_NOT_FOUND && bytes_relied == 0) {
        *out_cut_bytes = 0;
        return TSDB_OK;
    }
    if (status == TSDB_NOT_FOUND) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              DATADIR_SERIES_LOG " is missing; the checkpoint relies on %llu bytes",
                              (unsigned long long)bytes_relied);
    }
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, DATADIR_SERIES_LOG, TSDB_OPEN_READ | TSDB_OPEN_WRITE,
                               &l.file, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    l.file_bytes = info.size_bytes;
    status = load_open_file(&l, fn, arg, err);
    fs->ops->close(fs->ctx, l.file);
    if (status != TSDB_OK) {
        memset(s->appended, 0, sizeof s->appended);
        s->records_appended = s->holes_appended = 0;
        return status;
    }
    TSDB_ASSERT(l.at.bytes == l.offset);
    s->bytes_durable = s->bytes_appended = l.offset;
    s->durable_mark = s->appended_mark = l.at;
    memcpy(s->durable, s->appended, sizeof s->durable);
    s->records_durable = s->records_appended;
    s->holes_durable = s->holes_appended;
    *out_cut_bytes = l.file_bytes - l.offset;
    return TSDB_OK;
}

/* ---- marks ---- */
static enum tsdb_status misfit(struct tsdb_error *err, const char *why, uint64_t bytes)
{
    return tsdb_error_set(err, TSDB_NOT_FOUND, "relies on %llu bytes of " DATADIR_SERIES_LOG ", %s",
                          (unsigned long long)bytes, why);
}

/* Does a record at last_at end at bytes, with that CRC? All records here are good ones. */
static enum tsdb_status record_fits(const struct series_log *s, const struct series_log_mark *mark,
                                    bool *out, struct tsdb_error *err)
{
    uint8_t head[SERIES_LOG_RECORD_BYTES];
    struct tsdb_file *f = NULL;
    size_t got = 0;
    enum tsdb_status status = s->fs->ops->open(s->fs->ctx, s->name, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = s->fs->ops->pread(s->fs->ctx, f, head, sizeof head, mark->last_at, &got, err);
    s->fs->ops->close(s->fs->ctx, f);
    *out = got == sizeof head && tsdb_load_le32(head + 4) == mark->last_crc &&
           mark->last_at + sizeof head + tsdb_load_le32(head) == mark->bytes;
    return status;
}

enum tsdb_status series_log_fits(const struct series_log *s, const struct series_log_mark *mark,
                                 struct tsdb_error *err)
{
    if (mark->bytes == 0) {
        return TSDB_OK;
    }
    if (s->bytes_durable < mark->bytes) {
        return misfit(err, "which is shorter", mark->bytes);
    }
    if (memcmp(mark->identity, s->durable_mark.identity, sizeof mark->identity) != 0) {
        return misfit(err, "but of another one", mark->bytes);
    }
    bool fits = mark->last_at == 0 && mark->bytes == SERIES_LOG_HEADER_BYTES;
    enum tsdb_status status = TSDB_OK;
    if (!fits && mark->last_at >= SERIES_LOG_HEADER_BYTES && mark->last_at < mark->bytes) {
        status = record_fits(s, mark, &fits, err);
    }
    if (status != TSDB_OK || fits) {
        return status;
    }
    return misfit(err, "which has others there", mark->bytes);
}

/* ---- appending ---- */
static enum tsdb_status roll_back(struct series_log *s, enum tsdb_status status)
{
    close_file(s);
    tsdb_buf_clear(&s->buf);
    s->bytes_appended = s->bytes_durable;
    s->appended_mark = s->durable_mark;
    memcpy(s->appended, s->durable, sizeof s->appended);
    s->records_appended = s->records_durable;
    s->holes_appended = s->holes_durable;
    return status;
}

/* Open for appending at bytes_durable, cutting off what an earlier failure left behind it. */
static enum tsdb_status open_file(struct series_log *s, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = s->fs;
    enum tsdb_status status = fs->ops->open(
        fs->ctx, s->name, TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &s->file, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = fs->ops->truncate(fs->ctx, s->file, s->bytes_durable, err);
    if (status == TSDB_OK && s->bytes_durable == 0) {
        /* The entry in the directory; the content is synced by the commit. */
        status = fs->ops->sync_dir(fs->ctx, "", err);
    }
    return status;
}

static enum tsdb_status flush(struct series_log *s, struct tsdb_error *err)
{
    if (s->buf.failed) {
        return tsdb_error_set(err, TSDB_NOMEM, DATADIR_SERIES_LOG ": no memory for a record");
    }
    if (s->buf.len == 0) {
        return TSDB_OK;
    }
    enum tsdb_status status = s->file ? TSDB_OK : open_file(s, err);
    if (status == TSDB_OK) {
        status = s->fs->ops->pwrite(s->fs->ctx, s->file, s->buf.data, s->buf.len,
                                    s->bytes_appended - s->buf.len, err);
    }
    if (status == TSDB_OK) {
        tsdb_buf_clear(&s->buf);
    }
    return status;
}

static void put_header(struct series_log *s)
{
    struct series_log_mark mark = {.bytes = SERIES_LOG_HEADER_BYTES};
    uint8_t header[SERIES_LOG_HEADER_BYTES];
    tsdb_random_fill(&s->random, mark.identity, sizeof mark.identity);
    memcpy(header, magic, sizeof magic);
    tsdb_store_le32(header + AT_VERSION, TSDB_FORMAT_SERIES_LOG);
    tsdb_store_le32(header + AT_VERSION_CRC, tsdb_crc32c(0, header, AT_VERSION_CRC));
    memcpy(header + AT_IDENTITY, mark.identity, sizeof mark.identity);
    mark.last_crc = tsdb_crc32c(0, header, AT_CRC);
    tsdb_store_le32(header + AT_CRC, mark.last_crc);
    tsdb_buf_put(&s->buf, header, sizeof header);
    if (!s->buf.failed) {
        s->bytes_appended += sizeof header;
        s->appended_mark = mark;
    }
}

void series_log_skip(struct series_log *s, uint32_t partition, uint32_t local)
{
    TSDB_ASSERT(partition < TSDB_PARTITIONS && local >= s->appended[partition]);
    s->appended[partition] = local;
}

enum tsdb_status series_log_append(struct series_log *s, uint32_t partition,
                                   const struct tsdb_labels *labels, struct tsdb_error *err)
{
    TSDB_ASSERT(partition < TSDB_PARTITIONS);
    if (s->bytes_appended == 0) {
        put_header(s);
    }
    size_t labels_len = tsdb_labels_encoded_bytes(labels);
    TSDB_ASSERT(labels_len <= TSDB_LABELS_BYTES_MAX);
    uint8_t *record = tsdb_buf_reserve(&s->buf, SERIES_LOG_RECORD_BYTES + 1 +
                                                    TSDB_VARINT64_BYTES_MAX + labels_len);
    if (record) {
        uint8_t *payload = record + SERIES_LOG_RECORD_BYTES, *p = payload;
        *p++ = (uint8_t)partition;
        p = tsdb_put_uvarint(p, s->appended[partition]);
        p += tsdb_labels_encode(labels, p);
        size_t len = (size_t)(p - payload);
        tsdb_store_le32(record, (uint32_t)len);
        struct series_log_mark *mark = &s->appended_mark;
        mark->last_crc = record_crc(mark->last_crc, s->bytes_appended, record, payload, len);
        mark->last_at = s->bytes_appended;
        tsdb_store_le32(record + 4, mark->last_crc);
        s->buf.len += SERIES_LOG_RECORD_BYTES + len;
        s->bytes_appended += SERIES_LOG_RECORD_BYTES + len;
        mark->bytes = s->bytes_appended;
        s->appended[partition]++;
        s->records_appended += labels->count > 0;
        s->holes_appended += labels->count == 0;
    }
    if (s->buf.failed || s->buf.len >= FLUSH_BYTES) {
        enum tsdb_status status = flush(s, err);
        return status == TSDB_OK ? TSDB_OK : roll_back(s, status);
    }
    return TSDB_OK;
}

enum tsdb_status series_log_commit(struct series_log *s, struct tsdb_error *err)
{
    enum tsdb_status status = flush(s, err);
    if (status == TSDB_OK && s->bytes_appended > s->bytes_durable) {
        status = s->fs->ops->sync(s->fs->ctx, s->file, err);
    }
    if (status != TSDB_OK) {
        return roll_back(s, status);
    }
    s->bytes_durable = s->bytes_appended;
    s->durable_mark = s->appended_mark;
    memcpy(s->durable, s->appended, sizeof s->durable);
    s->records_durable = s->records_appended;
    s->holes_durable = s->holes_appended;
    return TSDB_OK;
}

/* ---- a successor ---- */
void series_log_init_next(struct series_log *next, const struct series_log *s)
{
    series_log_init(next, s->fs, s->random);
    next->name = DATADIR_SERIES_NEXT;
}

static enum tsdb_status take_place(const struct tsdb_fs *fs, struct tsdb_error *err)
{
    enum tsdb_status status =
        fs->ops->rename(fs->ctx, DATADIR_SERIES_NEXT, DATADIR_SERIES_LOG, err);
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, "", err) : status;
}

enum tsdb_status series_log_settle(struct series_log *s, struct tsdb_error *err)
{
    if (strcmp(s->name, DATADIR_SERIES_LOG) == 0) {
        return TSDB_OK;
    }
    struct tsdb_file_info info;
    enum tsdb_status status = s->fs->ops->stat(s->fs->ctx, DATADIR_SERIES_NEXT, &info, err);
    /* Not there: an earlier try renamed it, and the directory could not be synced. */
    status = status == TSDB_OK          ? take_place(s->fs, err)
             : status == TSDB_NOT_FOUND ? s->fs->ops->sync_dir(s->fs->ctx, "", err)
                                        : status;
    if (status == TSDB_OK) {
        s->name = DATADIR_SERIES_LOG;
    }
    return status;
}

/* Is the mark one of the successor's? */
static enum tsdb_status next_has(const struct tsdb_fs *fs, const struct series_log_mark *mark,
                                 bool *out, struct tsdb_error *err)
{
    uint8_t header[SERIES_LOG_HEADER_BYTES];
    struct tsdb_file *f = NULL;
    size_t got = 0;
    enum tsdb_status status = fs->ops->open(fs->ctx, DATADIR_SERIES_NEXT, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = fs->ops->pread(fs->ctx, f, header, sizeof header, 0, &got, err);
    fs->ops->close(fs->ctx, f);
    *out = status == TSDB_OK && mark->bytes > 0 &&
           series_log_header_check(header, got, NULL) == TSDB_OK &&
           memcmp(header + AT_IDENTITY, mark->identity, sizeof mark->identity) == 0;
    return status;
}

static enum tsdb_status next_remove(const struct tsdb_fs *fs, bool keep, uint64_t stamp,
                                    struct tsdb_error *err)
{
    char path[64];
    if (!keep) {
        return fs->ops->unlink(fs->ctx, DATADIR_SERIES_NEXT, err);
    }
    snprintf(path, sizeof path, DATADIR_QUARANTINE "/series.log-%" PRIu64 "-next", stamp);
    enum tsdb_status status = datadir_quarantine_make(fs, err);
    if (status == TSDB_OK) {
        status = fs->ops->rename(fs->ctx, DATADIR_SERIES_NEXT, path, err);
    }
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, DATADIR_QUARANTINE, err) : status;
}

enum tsdb_status series_log_choose(const struct tsdb_fs *fs, const struct series_log_mark *mark,
                                   bool keep, uint64_t stamp, struct tsdb_error *err)
{
    bool has = false;
    struct tsdb_file_info info;
    enum tsdb_status status = fs->ops->stat(fs->ctx, DATADIR_SERIES_NEXT, &info, err);
    if (status == TSDB_NOT_FOUND) {
        return TSDB_OK;
    }
    if (status == TSDB_OK) {
        status = next_has(fs, mark, &has, err);
    }
    if (status == TSDB_OK) {
        status = has ? take_place(fs, err) : next_remove(fs, keep, stamp, err);
    }
    return status;
}
