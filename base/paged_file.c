#include "base/paged_file.h"

#include "base/alloc.h"
#include "base/crc32c.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <zstd.h>

#define TRAILER_MAGIC "TDLPAGES"
/* Above this level chunks and indexes get 1 % smaller and take three times as long. */
#define LEVEL 3
/* Method and CRC of a page, and no byte. */
#define STORED_BYTES_MIN 5u

enum trailer_at {
    AT_BYTES = 0,
    AT_DIRECTORY = 8,
    AT_MAGIC = 12,
    AT_VERSION = 20,
    AT_CRC = 24,
};
static_assert((unsigned)AT_CRC + 4 == PAGED_TRAILER_BYTES, "docs/format/pages.md says so");

static uint32_t page_crc(uint32_t mark, uint64_t page, const uint8_t *data, size_t len)
{
    uint8_t number[8];
    tsdb_store_le64(number, page);
    return tsdb_crc32c(tsdb_crc32c(mark, number, sizeof number), data, len);
}

static uint32_t directory_crc(uint32_t mark, const uint8_t *directory, size_t len,
                              const uint8_t *trailer)
{
    return tsdb_crc32c(tsdb_crc32c(mark, directory, len), trailer, AT_CRC);
}

/* ---- writing ---- */

/* A page, and room for it as it is stored. */
#define ROOM_BYTES ((size_t)PAGED_PAGE_BYTES + PAGED_STORED_BYTES_MAX)

enum tsdb_status paged_writer_init(struct paged_writer *w, struct paged_sink sink)
{
    *w = (struct paged_writer){.sink = sink};
    tsdb_buf_init(&w->directory, TSDB_MEM_INDEX, 0);
    w->page = tsdb_mem_alloc(TSDB_MEM_INDEX, ROOM_BYTES);
    ZSTD_CCtx *packer = ZSTD_createCCtx();
    w->packer = packer;
    if (!w->page || !packer ||
        ZSTD_isError(ZSTD_CCtx_setParameter(packer, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(packer, ZSTD_c_contentSizeFlag, 0))) {
        paged_writer_deinit(w);
        return TSDB_NOMEM;
    }
    return TSDB_OK;
}

void paged_writer_deinit(struct paged_writer *w)
{
    tsdb_mem_free(TSDB_MEM_INDEX, w->page, ROOM_BYTES);
    ZSTD_freeCCtx(w->packer);
    tsdb_buf_deinit(&w->directory);
    w->page = NULL;
    w->packer = NULL;
}

/* Pack the page into out[1 + PAGED_PAGE_BYTES]; returns the bytes, method included. */
static size_t page_pack(struct paged_writer *w, uint8_t *out)
{
    if (w->used >= PAGED_PACK_BYTES_MIN) {
        /* Less room than the page itself: what does not shrink fails, and is kept as it is. */
        size_t n = ZSTD_compress2(w->packer, out + 1, w->used - 1, w->page, w->used);
        if (!ZSTD_isError(n)) {
            out[0] = PAGED_ZSTD;
            return 1 + n;
        }
    }
    out[0] = PAGED_PLAIN;
    memcpy(out + 1, w->page, w->used);
    return 1 + (size_t)w->used;
}

static enum tsdb_status page_flush(struct paged_writer *w, struct tsdb_error *err)
{
    uint8_t *stored = w->page + PAGED_PAGE_BYTES;
    size_t n = page_pack(w, stored);
    tsdb_store_le32(stored + n, page_crc(w->sink.mark, w->page_number, stored, n));
    n += PAGED_CRC_BYTES;
    tsdb_buf_put_uvarint(&w->directory, n);
    if (w->directory.failed) {
        return tsdb_error_nomem(err, "a page's place");
    }
    enum tsdb_status status = w->sink.write(w->sink.ctx, stored, n, err);
    w->page_number++;
    w->used = 0;
    return status;
}

enum tsdb_status paged_put(struct paged_writer *w, const void *data, size_t len,
                           struct tsdb_error *err)
{
    const uint8_t *p = data;
    while (len > 0) {
        size_t n = TSDB_MIN(len, (size_t)(PAGED_PAGE_BYTES - w->used));
        memcpy(w->page + w->used, p, n);
        w->used += (uint32_t)n;
        p += n;
        len -= n;
        enum tsdb_status status = w->used == PAGED_PAGE_BYTES ? page_flush(w, err) : TSDB_OK;
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

enum tsdb_status paged_finish(struct paged_writer *w, struct tsdb_error *err)
{
    uint8_t trailer[PAGED_TRAILER_BYTES];
    tsdb_store_le64(trailer + AT_BYTES, paged_offset(w));
    enum tsdb_status status = w->used > 0 ? page_flush(w, err) : TSDB_OK;
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_store_le32(trailer + AT_DIRECTORY, (uint32_t)w->directory.len);
    memcpy(trailer + AT_MAGIC, TRAILER_MAGIC, 8);
    tsdb_store_le32(trailer + AT_VERSION, PAGED_VERSION);
    tsdb_store_le32(trailer + AT_CRC,
                    directory_crc(w->sink.mark, w->directory.data, w->directory.len, trailer));
    tsdb_buf_put(&w->directory, trailer, sizeof trailer);
    return w->directory.failed
               ? tsdb_error_nomem(err, "the places of pages")
               : w->sink.write(w->sink.ctx, w->directory.data, w->directory.len, err);
}

/* ---- reading: a row of bytes ---- */

enum tsdb_status paged_read(const struct paged_source *src, uint64_t offset, void *out, size_t len,
                            struct tsdb_error *err)
{
    if (offset > src->bytes || len > src->bytes - offset) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "%zu bytes at offset %" PRIu64 " lie beyond the end at %" PRIu64,
                                 len, offset, src->bytes);
    }
    return len > 0 ? src->read(src->ctx, offset, out, len, err) : TSDB_OK;
}

/* ---- reading: pages ---- */

/* Exactly len bytes of the file at `offset`. */
static enum tsdb_status read_exact(const struct paged_directory *d, uint64_t offset, uint8_t *out,
                                   size_t len, struct tsdb_error *err)
{
    size_t got = 0;
    enum tsdb_status status = d->fs->ops->pread(d->fs->ctx, d->file, out, len, offset, &got, err);
    if (status == TSDB_OK && got != len) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset + got,
                                 "file ends at byte %" PRIu64 ", expected %zu more", offset + got,
                                 len - got);
    }
    return status;
}

static enum tsdb_status trailer_check(struct paged_directory *d, uint64_t file_bytes,
                                      const uint8_t *t, uint32_t *out_directory,
                                      struct tsdb_error *err)
{
    if (memcmp(t + AT_MAGIC, TRAILER_MAGIC, 8) != 0) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, file_bytes, "does not end as pages do");
    }
    uint64_t bytes = tsdb_load_le64(t + AT_BYTES);
    uint32_t directory = tsdb_load_le32(t + AT_DIRECTORY);
    uint64_t pages = bytes / PAGED_PAGE_BYTES + (bytes % PAGED_PAGE_BYTES != 0);
    /* A page has a byte of the directory at least, so `pages` is bounded by the file's size. */
    if (directory > file_bytes - PAGED_TRAILER_BYTES || pages > directory) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, file_bytes,
                                 "%" PRIu64 " pages in a directory of %u bytes", pages, directory);
    }
    d->bytes = bytes;
    d->pages = (uint32_t)pages;
    *out_directory = directory;
    return TSDB_OK;
}

/* Where pages begin, from their lengths; they end where the directory begins. */
static bool begins_load(struct paged_directory *d, const uint8_t *src, uint32_t len, uint64_t end)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, src, len);
    d->begin[0] = 0;
    for (uint32_t i = 0; i < d->pages; i++) {
        uint64_t n = tsdb_reader_uvarint(&r);
        if (r.failed || n <= STORED_BYTES_MIN || n > PAGED_STORED_BYTES_MAX) {
            return false;
        }
        d->begin[i + 1] = d->begin[i] + n;
    }
    return tsdb_reader_left(&r) == 0 && d->begin[d->pages] == end;
}

static enum tsdb_status directory_read(struct paged_directory *d, uint64_t file_bytes, uint32_t len,
                                       const uint8_t *trailer, uint8_t *room,
                                       struct tsdb_error *err)
{
    uint64_t at = file_bytes - PAGED_TRAILER_BYTES - len;
    enum tsdb_status status = read_exact(d, at, room, len, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (directory_crc(d->mark, room, len, trailer) != tsdb_load_le32(trailer + AT_CRC)) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, at,
                                 "directory of pages at byte %" PRIu64 ": crc does not match", at);
    }
    /* Every version has number and CRC here: a number is believed when the CRC is good. */
    if (tsdb_load_le32(trailer + AT_VERSION) != PAGED_VERSION) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "pages of version %u; this version knows %u",
                              tsdb_load_le32(trailer + AT_VERSION), PAGED_VERSION);
    }
    return begins_load(d, room, len, at) ? TSDB_OK
                                         : tsdb_error_set_at(err, TSDB_CORRUPT, at,
                                                             "directory of pages at byte %" PRIu64
                                                             " does not make up the file",
                                                             at);
}

static size_t begins_bytes(uint32_t pages)
{
    return ((size_t)pages + 1) * sizeof(uint64_t);
}

enum tsdb_status paged_open(const struct tsdb_fs *fs, struct tsdb_file *file, uint64_t file_bytes,
                            uint32_t mark, struct paged_directory *out, struct tsdb_error *err)
{
    struct paged_directory d = {.fs = fs, .file = file, .mark = mark};
    uint8_t trailer[PAGED_TRAILER_BYTES];
    uint32_t len = 0;
    if (file_bytes < sizeof trailer) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%" PRIu64 " bytes are too few", file_bytes);
    }
    enum tsdb_status status =
        read_exact(&d, file_bytes - sizeof trailer, trailer, sizeof trailer, err);
    status = status == TSDB_OK ? trailer_check(&d, file_bytes, trailer, &len, err) : status;
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t *room = tsdb_mem_alloc(TSDB_MEM_INDEX, (size_t)len + 1);
    d.begin = tsdb_mem_alloc(TSDB_MEM_INDEX, begins_bytes(d.pages));
    status = room && d.begin ? directory_read(&d, file_bytes, len, trailer, room, err)
                             : tsdb_error_nomem(err, "the places of pages");
    tsdb_mem_free(TSDB_MEM_INDEX, room, (size_t)len + 1);
    if (status != TSDB_OK) {
        paged_close(&d);
        return status;
    }
    *out = d;
    return TSDB_OK;
}

void paged_close(struct paged_directory *d)
{
    tsdb_mem_free(TSDB_MEM_INDEX, d->begin, begins_bytes(d->pages));
    d->begin = NULL;
}

static enum tsdb_status page_corrupt(uint64_t page, uint64_t at, const char *what,
                                     struct tsdb_error *err)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, at, "page %" PRIu64 " at byte %" PRIu64 ": %s",
                             page, at, what);
}

/* stored[n]: method and bytes, checked. They must give out[want], to the byte. */
static enum tsdb_status page_unpack(uint64_t page, uint64_t at, const uint8_t *stored, size_t n,
                                    uint8_t *out, uint32_t want, struct tsdb_error *err)
{
    if (stored[0] == PAGED_PLAIN && n - 1 == want) {
        memcpy(out, stored + 1, want);
        return TSDB_OK;
    }
    if (stored[0] != PAGED_ZSTD) {
        return page_corrupt(page, at, "neither plain nor packed", err);
    }
    ZSTD_DCtx *unpacker = ZSTD_createDCtx();
    if (!unpacker) {
        return tsdb_error_nomem(err, "unpacking a page");
    }
    size_t got = ZSTD_decompressDCtx(unpacker, out, want, stored + 1, n - 1);
    ZSTD_freeDCtx(unpacker);
    return got == want ? TSDB_OK : page_corrupt(page, at, "does not unpack to its length", err);
}

enum tsdb_status paged_load(const struct paged_directory *d, uint64_t page,
                            uint8_t out[PAGED_PAGE_BYTES], uint32_t *out_len,
                            struct tsdb_error *err)
{
    if (page >= d->pages) {
        return tsdb_error_set(err, TSDB_NOT_FOUND, "page %" PRIu64 " is beyond the end of the file",
                              page);
    }
    uint64_t at = d->begin[page];
    size_t n = (size_t)(d->begin[page + 1] - at);
    uint8_t *stored = tsdb_mem_alloc(TSDB_MEM_CACHE, n);
    if (!stored) {
        return tsdb_error_nomem(err, "a page as it is stored");
    }
    uint32_t want = (uint32_t)TSDB_MIN(d->bytes - page * PAGED_PAGE_BYTES, PAGED_PAGE_BYTES);
    enum tsdb_status status = read_exact(d, at, stored, n, err);
    if (status == TSDB_OK && tsdb_load_le32(stored + n - PAGED_CRC_BYTES) !=
                                 page_crc(d->mark, page, stored, n - PAGED_CRC_BYTES)) {
        status = page_corrupt(page, at, "crc does not match", err);
    }
    if (status == TSDB_OK) {
        status = page_unpack(page, at, stored, n - PAGED_CRC_BYTES, out, want, err);
    }
    tsdb_mem_free(TSDB_MEM_CACHE, stored, n);
    if (status == TSDB_OK) {
        *out_len = want;
    }
    return status;
}
