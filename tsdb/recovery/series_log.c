#include "tsdb/recovery/series_log.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "model/version.h"
#include "tsdb/recovery/datadir.h"

#include <string.h>

#define FLUSH_BYTES      (1u << 20)
#define RECORD_BYTES_MIN (SERIES_LOG_RECORD_BYTES + 2u)

static const uint8_t magic[8] = {'T', 'D', 'L', 'S', 'E', 'R', 'L', 'G'};

void series_log_init(struct series_log *s, const struct tsdb_fs *fs)
{
    *s = (struct series_log){.fs = fs};
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

/* The CRC is seeded with the record's offset: bytes that ended up elsewhere do not verify. */
static uint32_t record_crc(uint64_t offset, const uint8_t *len_bytes, const uint8_t *payload,
                           size_t len)
{
    uint8_t where[8];
    tsdb_store_le64(where, offset);
    uint32_t crc = tsdb_crc32c(0, where, sizeof where);
    crc = tsdb_crc32c(crc, len_bytes, 4);
    return tsdb_crc32c(crc, payload, len);
}

/* ---- reading ---- */
struct load {
    struct series_log *s;
    struct tsdb_file *file;
    uint64_t file_bytes, bytes_relied;
    uint64_t offset; /* of data[0] in the file */
    uint8_t *data;   /* window_bytes */
    size_t window_bytes, len;
    struct series_log_record *records; /* window_records */
    uint32_t window_records;
    uint32_t count;
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

static enum tsdb_status check_header(const struct load *l, struct tsdb_error *err)
{
    if (l->len < SERIES_LOG_HEADER_BYTES || memcmp(l->data, magic, sizeof magic) != 0 ||
        tsdb_load_le32(l->data + 12) != tsdb_crc32c(0, l->data, 12)) {
        return bad_at(l, 0, err, "no valid header");
    }
    uint32_t version = tsdb_load_le32(l->data + 8);
    if (version != TSDB_FORMAT_SERIES_LOG) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              DATADIR_SERIES_LOG ": format version %u; this version knows %d",
                              (unsigned)version, TSDB_FORMAT_SERIES_LOG);
    }
    return TSDB_OK;
}

/* Parse the record at data + pos. OK with *inout_pos after it; NOT_FOUND: not a whole good record;
 * CORRUPT. */
static enum tsdb_status parse_record(struct load *l, size_t *inout_pos, struct tsdb_error *err)
{
    size_t pos = *inout_pos, left = l->len - pos;
    uint64_t offset = l->offset + pos;
    if (left < SERIES_LOG_RECORD_BYTES) {
        return bad_at(l, offset, err, "record header is cut off");
    }
    const uint8_t *p = l->data + pos;
    uint32_t len = tsdb_load_le32(p);
    if (len < 2 || len > SERIES_LOG_PAYLOAD_MAX) {
        return bad_at(l, offset, err, "impossible record length");
    }
    if (left - SERIES_LOG_RECORD_BYTES < len) {
        return bad_at(l, offset, err, "record is cut off");
    }
    if (tsdb_load_le32(p + 4) != record_crc(offset, p, p + SERIES_LOG_RECORD_BYTES, len)) {
        return bad_at(l, offset, err, "crc does not match");
    }
    struct tsdb_reader r;
    tsdb_reader_init(&r, p + SERIES_LOG_RECORD_BYTES, len);
    uint32_t partition = tsdb_reader_u8(&r);
    uint64_t local = tsdb_reader_uvarint(&r);
    if (r.failed || partition >= TSDB_PARTITIONS || local != l->s->appended[partition] ||
        local >= TSDB_SERIES_LOCAL_MAX - 1) {
        return bad_at(l, offset, err, "not the next series of its partition");
    }
    size_t labels_len = tsdb_reader_left(&r);
    l->records[l->count++] =
        (struct series_log_record){partition, (uint32_t)local, tsdb_reader_bytes(&r, labels_len)};
    l->s->appended[partition]++;
    *inout_pos = pos + SERIES_LOG_RECORD_BYTES + len;
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
    if (status != TSDB_NOT_FOUND) {
        return status;
    }
    if (l->offset < l->bytes_relied) {
        return bad_at(l, l->offset, err, "the file ends too early");
    }
    return TSDB_OK;
}

/* Cut the torn tail off and make what stays durable: after a kill it may be in the page cache
 * only. */
static enum tsdb_status settle(struct load *l, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    enum tsdb_status status = TSDB_OK;
    if (l->offset < l->file_bytes) {
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

enum tsdb_status series_log_load(struct series_log *s, uint64_t bytes_relied, series_log_fn fn,
                                 void *arg, uint64_t *out_cut_bytes, struct tsdb_error *err)
{
    TSDB_ASSERT(!s->file && s->bytes_appended == 0);
    const struct tsdb_fs *fs = s->fs;
    struct load l = {.s = s, .bytes_relied = bytes_relied};
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
        return status;
    }
    s->bytes_durable = s->bytes_appended = l.offset;
    memcpy(s->durable, s->appended, sizeof s->durable);
    *out_cut_bytes = l.file_bytes - l.offset;
    return TSDB_OK;
}

/* ---- appending ---- */
static enum tsdb_status roll_back(struct series_log *s, enum tsdb_status status)
{
    close_file(s);
    tsdb_buf_clear(&s->buf);
    s->bytes_appended = s->bytes_durable;
    memcpy(s->appended, s->durable, sizeof s->appended);
    return status;
}

/* Open for appending at bytes_durable, cutting off what an earlier failure left behind it. */
static enum tsdb_status open_file(struct series_log *s, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = s->fs;
    enum tsdb_status status =
        fs->ops->open(fs->ctx, DATADIR_SERIES_LOG,
                      TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &s->file, err);
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
    size_t begin = s->buf.len;
    tsdb_buf_put(&s->buf, magic, sizeof magic);
    tsdb_buf_put_le32(&s->buf, TSDB_FORMAT_SERIES_LOG);
    if (!s->buf.failed) {
        tsdb_buf_put_le32(&s->buf, tsdb_crc32c(0, s->buf.data + begin, 12));
        s->bytes_appended += SERIES_LOG_HEADER_BYTES;
    }
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
        tsdb_store_le32(record + 4, record_crc(s->bytes_appended, record, payload, len));
        s->buf.len += SERIES_LOG_RECORD_BYTES + len;
        s->bytes_appended += SERIES_LOG_RECORD_BYTES + len;
        s->appended[partition]++;
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
    memcpy(s->durable, s->appended, sizeof s->durable);
    return TSDB_OK;
}
