#include "tests/support/paged.h"

#include "base/assert.h"
#include "base/crc32c.h"

#include <string.h>

enum tsdb_status paged_memory_write(void *ctx, const void *data, size_t len, struct tsdb_error *err)
{
    struct tsdb_buf *b = ctx;
    tsdb_buf_put(b, data, len);
    return b->failed ? tsdb_error_set(err, TSDB_IO, "full") : TSDB_OK;
}

static enum tsdb_status memory_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                     uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    const struct paged_memory *m = ctx;
    (void)f;
    (void)err;
    size_t n = offset < m->bytes->len ? TSDB_MIN(len, m->bytes->len - (size_t)offset) : 0;
    if (n > 0) {
        memcpy(buf, m->bytes->data + offset, n);
    }
    *out_len = n;
    return TSDB_OK;
}

enum tsdb_status paged_memory_open(struct paged_memory *m, const struct tsdb_buf *bytes,
                                   struct tsdb_error *err)
{
    *m = (struct paged_memory){.ops = {.pread = memory_pread}, .bytes = bytes};
    m->fs = (struct tsdb_fs){&m->ops, m};
    return paged_open(&m->fs, NULL, bytes->len, 0, &m->pages, err);
}

enum tsdb_status paged_memory_unpack(const struct paged_memory *m, struct tsdb_buf *out,
                                     struct tsdb_error *err)
{
    static uint8_t page[PAGED_PAGE_BYTES];
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < m->pages.pages && status == TSDB_OK; i++) {
        uint32_t len = 0;
        status = paged_load(&m->pages, i, page, &len, err);
        tsdb_buf_put(out, page, len);
    }
    return status;
}

void paged_memory_close(struct paged_memory *m)
{
    paged_close(&m->pages);
}

void paged_version_add(uint8_t *data, size_t len, int by)
{
    TSDB_ASSERT(len > PAGED_TRAILER_BYTES);
    uint8_t *trailer = data + len - PAGED_TRAILER_BYTES;
    size_t directory = tsdb_load_le32(trailer + 8);
    size_t checked = directory + PAGED_TRAILER_BYTES - 4;
    uint32_t crc = tsdb_load_le32(trailer + 24) ^ tsdb_crc32c(0, trailer - directory, checked);
    trailer[20] = (uint8_t)(trailer[20] + by);
    tsdb_store_le32(trailer + 24, crc ^ tsdb_crc32c(0, trailer - directory, checked));
}
