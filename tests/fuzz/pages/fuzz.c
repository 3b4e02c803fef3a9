/* A file of packed pages: whatever its bytes are, opening and loading give bytes or an error.
 * Invariants checked: what opens has as many pages as its length says, a page has the length that
 * its place says; what was packed comes back (the input itself is packed as well). Run with the
 * CRCs put right, so that the readers behind them are reached. */
#include "base/crc32c.h"
#include "tests/support/paged.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define BYTES_MAX (256u << 10)

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void pages_reseal(struct tsdb_buf *file, const struct paged_directory *d)
{
    for (uint32_t i = 0; i < d->pages; i++) {
        uint8_t number[8];
        size_t at = (size_t)d->begin[i];
        size_t n = (size_t)(d->begin[i + 1] - d->begin[i]) - PAGED_CRC_BYTES;
        tsdb_store_le64(number, i);
        uint32_t crc = tsdb_crc32c(tsdb_crc32c(0, number, sizeof number), file->data + at, n);
        tsdb_store_le32(file->data + at + n, crc);
    }
}

static void trailer_reseal(struct tsdb_buf *file)
{
    uint8_t *t = file->data + file->len - PAGED_TRAILER_BYTES;
    size_t directory = TSDB_MIN((size_t)tsdb_load_le32(t + 8), (size_t)(t - file->data));
    uint32_t crc = tsdb_crc32c(0, t - directory, directory);
    tsdb_store_le32(t + 24, tsdb_crc32c(crc, t, 24));
}

static void hostile(const uint8_t *data, size_t len)
{
    static uint8_t page[PAGED_PAGE_BYTES];
    struct tsdb_buf file;
    struct paged_memory m;
    tsdb_buf_init(&file, TSDB_MEM_OTHER, 0);
    tsdb_buf_put(&file, data, len);
    trailer_reseal(&file);
    if (paged_memory_open(&m, &file, NULL) == TSDB_OK) {
        must(m.pages.pages == (m.pages.bytes + PAGED_PAGE_BYTES - 1) / PAGED_PAGE_BYTES);
        pages_reseal(&file, &m.pages);
        for (uint32_t i = 0; i < m.pages.pages; i++) {
            uint32_t n = 0;
            uint64_t want = TSDB_MIN(m.pages.bytes - (uint64_t)i * PAGED_PAGE_BYTES,
                                     (uint64_t)PAGED_PAGE_BYTES);
            must(paged_load(&m.pages, i, page, &n, NULL) != TSDB_OK || n == want);
        }
        paged_memory_close(&m);
    }
    tsdb_buf_deinit(&file);
}

static void round_trip(const uint8_t *data, size_t len)
{
    struct tsdb_buf file, back;
    struct paged_writer w;
    struct paged_memory m;
    tsdb_buf_init(&file, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&back, TSDB_MEM_OTHER, 0);
    must(paged_writer_init(&w, (struct paged_sink){paged_memory_write, &file, 0}) == TSDB_OK);
    must(paged_put(&w, data, len, NULL) == TSDB_OK && paged_finish(&w, NULL) == TSDB_OK);
    paged_writer_deinit(&w);
    must(paged_memory_open(&m, &file, NULL) == TSDB_OK);
    must(paged_memory_unpack(&m, &back, NULL) == TSDB_OK);
    must(back.len == len && memcmp(back.data, data, len) == 0);
    paged_memory_close(&m);
    tsdb_buf_deinit(&file);
    tsdb_buf_deinit(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < PAGED_TRAILER_BYTES || len > BYTES_MAX) {
        return 0;
    }
    hostile(data, len);
    round_trip(data, len);
    return 0;
}
