#include "tsdb/recovery/metadata_file.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "model/version.h"

#include <assert.h>

#define MAGIC UINT64_C(0x0a0d4154454d4454) /* "TDMETA\r\n" */
enum {
    AT_MAGIC = 0,    /* u64 */
    AT_VERSION = 8,  /* u32 TSDB_FORMAT_METADATA */
    AT_BYTES = 12,   /* u32 bytes of this header */
    AT_RECORDS = 16, /* u32 */
    AT_ZERO = 20,    /* 8 zero bytes */
    AT_CRC = 28,     /* u32 crc32c of the 28 bytes before */
};
static_assert(AT_CRC + 4 == METADATA_FILE_HEADER_BYTES, "the CRC is the header's end");

/* A record that was moved does not verify. */
static uint32_t record_crc(uint64_t offset, const uint8_t *payload, size_t len)
{
    uint8_t place[8];
    tsdb_store_le64(place, offset);
    return tsdb_crc32c(tsdb_crc32c(0, place, sizeof place), payload, len);
}

/* ---- writing ---- */

void metadata_file_begin(struct tsdb_buf *out)
{
    uint8_t header[METADATA_FILE_HEADER_BYTES] = {0};
    TSDB_ASSERT(out->len == 0);
    tsdb_buf_put(out, header, sizeof header);
}

static void put_text(struct tsdb_buf *out, struct tsdb_slice s)
{
    tsdb_buf_put_uvarint(out, s.len);
    tsdb_buf_put(out, s.data, s.len);
}

void metadata_file_put(struct tsdb_buf *out, const struct tsdb_metadata *m)
{
    size_t at = out->len;
    tsdb_buf_put_le64(out, 0); /* length and CRC */
    tsdb_buf_put_varint(out, m->first_seen_ms);
    tsdb_buf_put_u8(out, (uint8_t)m->type);
    put_text(out, m->metric);
    put_text(out, m->help);
    put_text(out, m->unit);
    if (!out->failed) {
        uint8_t *payload = out->data + at + METADATA_FILE_RECORD_BYTES;
        size_t len = out->len - at - METADATA_FILE_RECORD_BYTES;
        tsdb_store_le32(out->data + at, (uint32_t)len);
        tsdb_store_le32(out->data + at + 4, record_crc(at, payload, len));
    }
}

void metadata_file_end(struct tsdb_buf *out, uint32_t records)
{
    if (!out->failed) {
        TSDB_ASSERT(out->len >= METADATA_FILE_HEADER_BYTES);
        tsdb_store_le64(out->data + AT_MAGIC, MAGIC);
        tsdb_store_le32(out->data + AT_VERSION, TSDB_FORMAT_METADATA);
        tsdb_store_le32(out->data + AT_BYTES, METADATA_FILE_HEADER_BYTES);
        tsdb_store_le32(out->data + AT_RECORDS, records);
        tsdb_store_le32(out->data + AT_CRC, tsdb_crc32c(0, out->data, AT_CRC));
    }
}

/* ---- reading ---- */

enum tsdb_status metadata_file_version_check(const uint8_t *data, size_t len,
                                             struct tsdb_error *err)
{
    if (len < METADATA_FILE_HEADER_BYTES || tsdb_load_le64(data + AT_MAGIC) != MAGIC ||
        tsdb_load_le32(data + AT_CRC) != tsdb_crc32c(0, data, AT_CRC)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "the header is damaged");
    }
    uint32_t version = tsdb_load_le32(data + AT_VERSION);
    if (version != TSDB_FORMAT_METADATA ||
        tsdb_load_le32(data + AT_BYTES) != METADATA_FILE_HEADER_BYTES ||
        tsdb_load_le64(data + AT_ZERO) != 0) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "format version %u, this program reads %u",
                              version, (unsigned)TSDB_FORMAT_METADATA);
    }
    return TSDB_OK;
}

static struct tsdb_slice get_text(struct tsdb_reader *r)
{
    return tsdb_reader_bytes(r, tsdb_reader_count(r, 1));
}

static bool record_get(struct tsdb_slice payload, struct tsdb_metadata *out)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, payload.data, payload.len);
    out->first_seen_ms = tsdb_reader_varint(&r);
    uint8_t type = tsdb_reader_u8(&r);
    out->type = (enum tsdb_metric_type)type;
    out->metric = get_text(&r);
    out->help = get_text(&r);
    out->unit = get_text(&r);
    return !r.failed && tsdb_reader_left(&r) == 0 && type < TSDB_METRIC_TYPE_COUNT;
}

/* The record at the reader's place; false: it is damaged. */
static bool record_next(struct tsdb_reader *r, uint64_t offset, struct tsdb_metadata *out)
{
    uint32_t len = tsdb_reader_le32(r);
    uint32_t crc = tsdb_reader_le32(r);
    struct tsdb_slice payload = tsdb_reader_bytes(r, len);
    return !r->failed && crc == record_crc(offset, payload.data, payload.len) &&
           record_get(payload, out);
}

static enum tsdb_status damaged_at(uint64_t offset, struct tsdb_error *err)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                             METADATA_FILE_NAME " at byte %llu: a damaged record, or none",
                             (unsigned long long)offset);
}

enum tsdb_status metadata_file_parse(const uint8_t *data, size_t len, metadata_file_fn fn,
                                     void *arg, struct tsdb_error *err)
{
    enum tsdb_status status = metadata_file_version_check(data, len, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_reader r;
    tsdb_reader_init(&r, data, len);
    (void)tsdb_reader_bytes(&r, METADATA_FILE_HEADER_BYTES);
    for (uint32_t left = tsdb_load_le32(data + AT_RECORDS); left > 0; left--) {
        uint64_t offset = (uint64_t)(r.pos - r.begin);
        struct tsdb_metadata m;
        if (!record_next(&r, offset, &m)) {
            return damaged_at(offset, err);
        }
        status = fn(arg, &m);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return tsdb_reader_left(&r) == 0 ? TSDB_OK : damaged_at((uint64_t)(r.pos - r.begin), err);
}
