/* Files in pages of 64 KiB, each with a CRC: what the index and the bloom filter of a block are
 * written to.
 *
 *   page 0                        page 1                   last page, shorter
 *   65532 bytes | u32 CRC         65532 bytes | u32 CRC    n bytes | u32 CRC
 *
 * The CRC-32C is taken over the page's number (u64) and its bytes, so that a page is valid in one
 * place only. Above, a file is one row of bytes without CRCs, addressed by logical offset. A page
 * is as large as a frame of the L2 cache: it is checked once, when a frame is filled, and then read
 * without further checks.
 *
 * Threads: a writer belongs to one thread; reading is pure.
 */
#ifndef BASE_PAGED_FILE_H
#define BASE_PAGED_FILE_H

#include "base/alloc.h"
#include "base/status.h"

#include <stdbool.h>

#define PAGED_PAGE_BYTES    65536u
#define PAGED_CRC_BYTES     4u
#define PAGED_PAYLOAD_BYTES (PAGED_PAGE_BYTES - PAGED_CRC_BYTES)

/* ---- writing ---- */
/* Takes the file's bytes in order: whole pages, the last one shorter. */
struct paged_sink {
    enum tsdb_status (*write)(void *ctx, const void *data, size_t len, struct tsdb_error *err);
    void *ctx;
};
struct paged_writer {
    struct paged_sink sink;
    uint8_t *page; /* PAGED_PAGE_BYTES */
    uint32_t used;
    uint64_t page_number;
};
enum tsdb_status paged_writer_init(struct paged_writer *w, struct paged_sink sink) TSDB_WUR;
void paged_writer_deinit(struct paged_writer *w); /* all zero is fine */
/* Append. What the sink says; after a failure the file is of no use. */
enum tsdb_status paged_put(struct paged_writer *w, const void *data, size_t len,
                           struct tsdb_error *err) TSDB_WUR;
/* Write the last page. */
enum tsdb_status paged_finish(struct paged_writer *w, struct tsdb_error *err) TSDB_WUR;
/* Logical offset of what is put next. */
static inline uint64_t paged_offset(const struct paged_writer *w)
{
    return w->page_number * PAGED_PAYLOAD_BYTES + w->used;
}

/* ---- reading ---- */
/* read gives bytes [offset, offset + len) of the file (CRCs counted), out of pages that passed
 * paged_check. Any thread. */
struct paged_source {
    enum tsdb_status (*read)(void *ctx, uint64_t offset, void *out, size_t len,
                             struct tsdb_error *err);
    void *ctx;
    uint64_t file_bytes;
};
/* Is this page whole? len: PAGED_PAGE_BYTES but for the last page. CORRUPT names the page. */
enum tsdb_status paged_check(uint64_t page, const uint8_t *data, size_t len,
                             struct tsdb_error *err) TSDB_WUR;
/* Logical bytes of a file of this size; false: no file that a writer left has this size. */
bool paged_logical_bytes(uint64_t file_bytes, uint64_t *out);
/* Read logical bytes. CORRUPT beyond the end; what the source says. */
enum tsdb_status paged_read(const struct paged_source *src, uint64_t offset, void *out, size_t len,
                            struct tsdb_error *err) TSDB_WUR;

#endif
