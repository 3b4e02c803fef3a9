#include "base/paged_file.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <inttypes.h>

static uint32_t page_crc(uint64_t page, const uint8_t *data, size_t len)
{
    uint8_t number[8];
    tsdb_store_le64(number, page);
    return tsdb_crc32c(tsdb_crc32c(0, number, sizeof number), data, len);
}

/* ---- writing ---- */

enum tsdb_status paged_writer_init(struct paged_writer *w, struct paged_sink sink)
{
    *w = (struct paged_writer){.sink = sink};
    w->page = tsdb_mem_alloc(TSDB_MEM_INDEX, PAGED_PAGE_BYTES);
    return w->page ? TSDB_OK : TSDB_NOMEM;
}

void paged_writer_deinit(struct paged_writer *w)
{
    tsdb_mem_free(TSDB_MEM_INDEX, w->page, PAGED_PAGE_BYTES);
    w->page = NULL;
}

static enum tsdb_status page_flush(struct paged_writer *w, struct tsdb_error *err)
{
    tsdb_store_le32(w->page + w->used, page_crc(w->page_number, w->page, w->used));
    enum tsdb_status status =
        w->sink.write(w->sink.ctx, w->page, w->used + (size_t)PAGED_CRC_BYTES, err);
    w->page_number++;
    w->used = 0;
    return status;
}

enum tsdb_status paged_put(struct paged_writer *w, const void *data, size_t len,
                           struct tsdb_error *err)
{
    const uint8_t *p = data;
    while (len > 0) {
        size_t n = TSDB_MIN(len, (size_t)(PAGED_PAYLOAD_BYTES - w->used));
        memcpy(w->page + w->used, p, n);
        w->used += (uint32_t)n;
        p += n;
        len -= n;
        enum tsdb_status status = w->used == PAGED_PAYLOAD_BYTES ? page_flush(w, err) : TSDB_OK;
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

enum tsdb_status paged_finish(struct paged_writer *w, struct tsdb_error *err)
{
    return w->used > 0 ? page_flush(w, err) : TSDB_OK;
}

/* ---- reading ---- */

enum tsdb_status paged_check(uint64_t page, const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len <= PAGED_CRC_BYTES || len > PAGED_PAGE_BYTES) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, page * PAGED_PAGE_BYTES,
                                 "page %" PRIu64 " has %zu bytes", page, len);
    }
    uint32_t want = tsdb_load_le32(data + len - PAGED_CRC_BYTES);
    uint32_t got = page_crc(page, data, len - PAGED_CRC_BYTES);
    if (got != want) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, page * PAGED_PAGE_BYTES,
                                 "page %" PRIu64 " at byte %" PRIu64 ": crc %08x, expected %08x",
                                 page, page * PAGED_PAGE_BYTES, got, want);
    }
    return TSDB_OK;
}

bool paged_logical_bytes(uint64_t file_bytes, uint64_t *out)
{
    uint64_t pages = file_bytes / PAGED_PAGE_BYTES;
    uint64_t rest = file_bytes % PAGED_PAGE_BYTES;
    if (rest > 0 && rest <= PAGED_CRC_BYTES) {
        return false;
    }
    *out = pages * PAGED_PAYLOAD_BYTES + (rest > 0 ? rest - PAGED_CRC_BYTES : 0);
    return true;
}

enum tsdb_status paged_read(const struct paged_source *src, uint64_t offset, void *out, size_t len,
                            struct tsdb_error *err)
{
    uint64_t bytes = 0;
    if (!paged_logical_bytes(src->file_bytes, &bytes) || offset > bytes || len > bytes - offset) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "%zu bytes at offset %" PRIu64 " lie beyond the end at %" PRIu64,
                                 len, offset, bytes);
    }
    uint8_t *to = out;
    while (len > 0) {
        uint64_t within = offset % PAGED_PAYLOAD_BYTES;
        size_t n = TSDB_MIN(len, (size_t)(PAGED_PAYLOAD_BYTES - within));
        uint64_t at = offset / PAGED_PAYLOAD_BYTES * PAGED_PAGE_BYTES + within;
        enum tsdb_status status = src->read(src->ctx, at, to, n, err);
        if (status != TSDB_OK) {
            return status;
        }
        to += n;
        offset += n;
        len -= n;
    }
    return TSDB_OK;
}
