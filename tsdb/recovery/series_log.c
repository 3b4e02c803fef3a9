#include "tsdb/recovery/series_log_private.h"

#include "base/assert.h"
#include "base/log.h"
#include "model/version.h"
#include "tsdb/recovery/datadir.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FLUSH_BYTES (1u << 20)
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

void series_log_header_put(const uint8_t identity[SERIES_LOG_IDENTITY_BYTES],
                           uint8_t out[SERIES_LOG_HEADER_BYTES])
{
    memcpy(out, SERIES_LOG_MAGIC, 8);
    tsdb_store_le32(out + SERIES_LOG_AT_VERSION, TSDB_FORMAT_SERIES_LOG);
    tsdb_store_le32(out + SERIES_LOG_AT_VERSION_CRC,
                    tsdb_crc32c(0, out, SERIES_LOG_AT_VERSION_CRC));
    memcpy(out + SERIES_LOG_AT_IDENTITY, identity, SERIES_LOG_IDENTITY_BYTES);
    tsdb_store_le32(out + SERIES_LOG_AT_CRC, tsdb_crc32c(0, out, SERIES_LOG_AT_CRC));
}

static void put_header(struct series_log *s)
{
    struct series_log_mark mark = {.bytes = SERIES_LOG_HEADER_BYTES};
    uint8_t header[SERIES_LOG_HEADER_BYTES];
    tsdb_random_fill(&s->random, mark.identity, sizeof mark.identity);
    series_log_header_put(mark.identity, header);
    mark.last_crc = tsdb_load_le32(header + SERIES_LOG_AT_CRC);
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
    TSDB_ASSERT(partition < TSDB_PARTITIONS && !s->damaged);
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
        mark->last_crc =
            series_log_record_crc(mark->last_crc, s->bytes_appended, record, payload, len);
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
           memcmp(header + SERIES_LOG_AT_IDENTITY, mark->identity, sizeof mark->identity) == 0;
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
    if (status == TSDB_OK && has) {
        return take_place(fs, err);
    }
    if (status == TSDB_OK) {
        struct tsdb_error why;
        status = next_remove(fs, keep, stamp, &why);
        if (status == TSDB_IO && keep) { /* a full disk: nobody reads it where it is */
            tsdb_log(TSDB_LOG_WARN, "recovery", "a successor of series.log stays where it is",
                     TSDB_S("err", why.msg));
            return TSDB_OK;
        }
        status = status == TSDB_OK ? status : tsdb_error_set(err, status, "%s", why.msg);
    }
    return status;
}
