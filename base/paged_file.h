/* Files in pages of 64 KiB, each packed by itself and with a CRC: what the index and the chunks of a
 * block are written to.
 *
 *   page 0                 page 1     ...   directory                     trailer, 28 bytes
 *   u8 method | bytes |    likewise         uvarint per page: its bytes   u64 bytes of all pages |
 *   u32 CRC                                                               u32 bytes of the directory |
 *                                                                         "TDLPAGES" | u32 version |
 *                                                                         u32 CRC of both
 *
 * Every page but the last stands for 65536 bytes, so above, a file is one row of bytes addressed by
 * logical offset. A page is as large as a frame of the L2 cache: it is checked and unpacked once,
 * when a frame is filled, and then read without further checks. Method 0: as they are; 1: a zstd
 * frame. The CRC-32C is taken over the page's number (u64), method and bytes, so that a page is
 * valid in one place only; all CRCs go on from the mark of what the file is part of, so that a file is,
 * too. Byte by byte: docs/format/pages.md.
 *
 * Threads: a writer belongs to one thread; a directory is immutable after open; reading is pure.
 */
#ifndef BASE_PAGED_FILE_H
#define BASE_PAGED_FILE_H

#include "base/bytes.h"
#include "base/file.h"

#define PAGED_PAGE_BYTES    65536u
#define PAGED_VERSION       1u
#define PAGED_CRC_BYTES     4u
#define PAGED_TRAILER_BYTES 28u
/* What a page takes in the file at most: method, its bytes as they are, CRC. */
#define PAGED_STORED_BYTES_MAX (1u + PAGED_PAGE_BYTES + PAGED_CRC_BYTES)
/* Pages of fewer bytes are never packed: there is little to win, and they can be read in a dump. */
#define PAGED_PACK_BYTES_MIN 1024u

enum paged_method {
    PAGED_PLAIN = 0,
    PAGED_ZSTD = 1,
};

/* ---- writing ---- */
/* Takes the file's bytes in order. */
struct paged_sink {
    enum tsdb_status (*write)(void *ctx, const void *data, size_t len, struct tsdb_error *err);
    void *ctx;
    uint32_t mark; /* of what the file is part of; 0: of nothing */
};
struct paged_writer {
    struct paged_sink sink;
    uint8_t *page; /* PAGED_PAGE_BYTES, then room for the same packed */
    void *packer;  /* libzstd's */
    struct tsdb_buf directory;
    uint32_t used;
    uint64_t page_number;
};
/* NOMEM. */
enum tsdb_status paged_writer_init(struct paged_writer *w, struct paged_sink sink) TSDB_WUR;
void paged_writer_deinit(struct paged_writer *w); /* all zero is fine */
/* Append. NOMEM, what the sink says; after a failure the file is of no use. */
enum tsdb_status paged_put(struct paged_writer *w, const void *data, size_t len,
                           struct tsdb_error *err) TSDB_WUR;
/* Write the last page, the directory and the trailer. */
enum tsdb_status paged_finish(struct paged_writer *w, struct tsdb_error *err) TSDB_WUR;
/* Logical offset of what is put next. */
static inline uint64_t paged_offset(const struct paged_writer *w)
{
    return w->page_number * PAGED_PAGE_BYTES + w->used;
}

/* ---- reading: a row of bytes ---- */
/* read gives logical bytes [offset, offset + len), all of them below `bytes`. Any thread. */
struct paged_source {
    enum tsdb_status (*read)(void *ctx, uint64_t offset, void *out, size_t len,
                             struct tsdb_error *err);
    void *ctx;
    uint64_t bytes;
};
/* CORRUPT beyond the end; what the source says. */
enum tsdb_status paged_read(const struct paged_source *src, uint64_t offset, void *out, size_t len,
                            struct tsdb_error *err) TSDB_WUR;

/* ---- reading: pages ---- */
struct paged_directory {
    const struct tsdb_fs *fs; /* borrowed, as is file */
    struct tsdb_file *file;
    uint64_t bytes;  /* logical */
    uint64_t *begin; /* [pages + 1]: where each begins in the file, and where the last one ends */
    uint32_t pages;
    uint32_t mark;
};
/* Read trailer and directory of a file of file_bytes, which was written with that mark. CORRUPT,
 * UNSUPPORTED, IO, NOMEM. */
enum tsdb_status paged_open(const struct tsdb_fs *fs, struct tsdb_file *file, uint64_t file_bytes,
                            uint32_t mark, struct paged_directory *out,
                            struct tsdb_error *err) TSDB_WUR;
void paged_close(struct paged_directory *d); /* all zero is fine */
/* Read, check and unpack a page. *out_len is PAGED_PAGE_BYTES but for the last page. NOT_FOUND
 * beyond the end, CORRUPT (names the page), IO, NOMEM. */
enum tsdb_status paged_load(const struct paged_directory *d, uint64_t page,
                            uint8_t out[PAGED_PAGE_BYTES], uint32_t *out_len,
                            struct tsdb_error *err) TSDB_WUR;

#endif
