#include "tsdb/block/refs.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REFS_MAGIC   0x53465254u /* "TRFS" */
#define REFS_VERSION 2u
#define BASIS_AT     32
#define PAGE_BYTES   CACHE_L2_FRAME_BYTES
#define PAGE_CRC_AT  (PAGE_BYTES - 4)
#define PAIRS_A_PAGE 8190u
#define PATH_BYTES   64

static_assert(PAIRS_A_PAGE * 8 + 16 == PAGE_BYTES, "pairs, padding and CRC fill a page");

struct block_refs {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    struct cache_l2 *cache;
    uint64_t cache_id;
    uint32_t count, page_count;
    struct block_refs_basis basis;
    uint32_t first[]; /* [page_count]: first ref of page 1 + i */
};

static void path_of(char out[PATH_BYTES], const char *ulid)
{
    snprintf(out, PATH_BYTES, BLOCK_REFS_DIR "/%.40s", ulid);
}

static void seal_page(uint8_t *page, uint32_t number)
{
    uint8_t seed[4];
    tsdb_store_le32(seed, number);
    tsdb_store_le32(page + PAGE_CRC_AT, tsdb_crc32c(tsdb_crc32c(0, seed, 4), page, PAGE_CRC_AT));
}

static enum tsdb_status check_page(void *arg, uint64_t number, const uint8_t *data, uint32_t len,
                                   struct tsdb_error *err)
{
    (void)arg;
    uint8_t seed[4];
    tsdb_store_le32(seed, (uint32_t)number);
    if (len != PAGE_BYTES || tsdb_load_le32(data + PAGE_CRC_AT) !=
                                 tsdb_crc32c(tsdb_crc32c(0, seed, 4), data, PAGE_CRC_AT)) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "series references, page %" PRIu64 ": crc does not match", number);
    }
    return TSDB_OK;
}

static void fill_header(uint8_t *page, const uint8_t *identity,
                        const struct block_refs_basis *basis, uint32_t count)
{
    memset(page, 0, PAGE_BYTES);
    tsdb_store_le32(page, REFS_MAGIC);
    tsdb_store_le32(page + 4, REFS_VERSION);
    memcpy(page + 8, identity, BLOCK_REFS_IDENTITY_BYTES);
    tsdb_store_le64(page + 24, count);
    memcpy(page + BASIS_AT, basis->bytes, sizeof basis->bytes);
    seal_page(page, 0);
}

static void fill_pairs(uint8_t *page, uint32_t number, const struct block_ref_pair *pairs,
                       uint32_t n)
{
    memset(page, 0xff, PAIRS_A_PAGE * 8);
    memset(page + PAIRS_A_PAGE * 8, 0, 16);
    for (uint32_t i = 0; i < n; i++) {
        tsdb_store_le32(page + i * 8, pairs[i].ref);
        tsdb_store_le32(page + i * 8 + 4, pairs[i].id);
    }
    seal_page(page, number);
}

static enum tsdb_status write_pages(const struct tsdb_fs *fs, struct tsdb_file *f,
                                    const uint8_t *identity, const struct block_refs_basis *basis,
                                    const struct block_ref_pair *pairs, uint32_t count,
                                    uint8_t *page, struct tsdb_error *err)
{
    fill_header(page, identity, basis, count);
    enum tsdb_status status = fs->ops->pwrite(fs->ctx, f, page, PAGE_BYTES, 0, err);
    for (uint32_t at = 0, number = 1; status == TSDB_OK && at < count;
         at += PAIRS_A_PAGE, number++) {
        fill_pairs(page, number, pairs + at, TSDB_MIN(count - at, PAIRS_A_PAGE));
        status = fs->ops->pwrite(fs->ctx, f, page, PAGE_BYTES, (uint64_t)number * PAGE_BYTES, err);
    }
    return status == TSDB_OK ? fs->ops->sync(fs->ctx, f, err) : status;
}

enum tsdb_status block_refs_write(const struct tsdb_fs *fs, const char *ulid,
                                  const uint8_t identity[BLOCK_REFS_IDENTITY_BYTES],
                                  const struct block_refs_basis *basis,
                                  const struct block_ref_pair *pairs, uint32_t count,
                                  struct tsdb_error *err)
{
    char path[PATH_BYTES];
    path_of(path, ulid);
    uint8_t *page = tsdb_mem_alloc(TSDB_MEM_OTHER, PAGE_BYTES);
    if (!page) {
        return tsdb_error_set(err, TSDB_NOMEM, "%s: out of memory", path);
    }
    struct tsdb_file *f = NULL;
    enum tsdb_status status = fs->ops->mkdir(fs->ctx, BLOCK_REFS_DIR, err);
    if (status == TSDB_OK) {
        status = fs->ops->open(
            fs->ctx, path, TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE,
            &f, err);
    }
    if (status == TSDB_OK) {
        status = write_pages(fs, f, identity, basis, pairs, count, page, err);
        fs->ops->close(fs->ctx, f);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, BLOCK_REFS_DIR, err);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, page, PAGE_BYTES);
    return status;
}

static size_t refs_bytes(uint32_t page_count)
{
    return sizeof(struct block_refs) + page_count * sizeof(uint32_t);
}

enum tsdb_status block_refs_version_check(const uint8_t *page, size_t len, struct tsdb_error *err)
{
    enum tsdb_status status = check_page(NULL, 0, page, (uint32_t)len, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (tsdb_load_le32(page) != REFS_MAGIC) {
        return tsdb_error_set(err, TSDB_CORRUPT, "does not begin as such a file");
    }
    if (tsdb_load_le32(page + 4) != REFS_VERSION) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "version %u, this program knows %u",
                              tsdb_load_le32(page + 4), REFS_VERSION);
    }
    return TSDB_OK;
}

/* The header's pair count, when the file is of this directory and as long as it says. */
static enum tsdb_status read_header(const struct tsdb_fs *fs, struct tsdb_file *f, const char *path,
                                    const uint8_t *identity, uint8_t *page, uint32_t *out_count,
                                    struct tsdb_error *err)
{
    size_t len = 0;
    enum tsdb_status status = fs->ops->pread(fs->ctx, f, page, PAGE_BYTES, 0, &len, err);
    if (status == TSDB_OK) {
        status = block_refs_version_check(page, len, err);
    }
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "%s", path);
    }
    if (memcmp(page + 8, identity, BLOCK_REFS_IDENTITY_BYTES) != 0) {
        return tsdb_error_set(err, TSDB_NOT_FOUND, "%s: of another data directory", path);
    }
    uint64_t count = tsdb_load_le64(page + 24);
    if (count > UINT32_MAX) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%s: %" PRIu64 " pairs", path, count);
    }
    *out_count = (uint32_t)count;
    return TSDB_OK;
}

/* Read every page once: checks it, and learns its first ref. */
static enum tsdb_status read_firsts(struct block_refs *r, const char *path, uint8_t *page,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < r->page_count && status == TSDB_OK; i++) {
        size_t len = 0;
        status = r->fs->ops->pread(r->fs->ctx, r->file, page, PAGE_BYTES,
                                   (uint64_t)(i + 1) * PAGE_BYTES, &len, err);
        if (status == TSDB_OK) {
            status = check_page(NULL, i + 1, page, (uint32_t)len, err);
        }
        if (status == TSDB_OK) {
            r->first[i] = tsdb_load_le32(page);
            if (i > 0 && r->first[i] <= r->first[i - 1]) {
                status = tsdb_error_set(err, TSDB_CORRUPT, "page %u is out of order", i + 1);
            }
        }
    }
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "%s", path);
}

enum tsdb_status block_refs_open(const struct tsdb_fs *fs, const char *ulid,
                                 const uint8_t identity[BLOCK_REFS_IDENTITY_BYTES],
                                 struct cache_l2 *cache, struct block_refs **out,
                                 struct tsdb_error *err)
{
    char path[PATH_BYTES];
    path_of(path, ulid);
    struct tsdb_file *f = NULL;
    enum tsdb_status status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t *page = tsdb_mem_alloc(TSDB_MEM_OTHER, PAGE_BYTES);
    uint32_t count = 0;
    struct block_refs *r = NULL;
    status = page ? read_header(fs, f, path, identity, page, &count, err)
                  : tsdb_error_set(err, TSDB_NOMEM, "%s: out of memory", path);
    uint32_t pages = (uint32_t)(((uint64_t)count + PAIRS_A_PAGE - 1) / PAIRS_A_PAGE);
    if (status == TSDB_OK) {
        r = tsdb_mem_alloc_zero(TSDB_MEM_INDEX,
                                refs_bytes(pages)); /* at most 2 MiB, whatever the count says */
        status = r ? TSDB_OK : tsdb_error_set(err, TSDB_NOMEM, "%s: out of memory", path);
    }
    if (status == TSDB_OK && r) {
        *r = (struct block_refs){.fs = fs,
                                 .file = f,
                                 .cache = cache,
                                 .cache_id = cache_l2_file_id(cache),
                                 .count = count,
                                 .page_count = pages};
        memcpy(r->basis.bytes, page + BASIS_AT, sizeof r->basis.bytes);
        status = read_firsts(r, path, page, err);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, page, PAGE_BYTES);
    if (status != TSDB_OK) {
        /* A count that the file does not have ends in CORRUPT at the first page that is missing. */
        tsdb_mem_free(TSDB_MEM_INDEX, r, refs_bytes(pages));
        fs->ops->close(fs->ctx, f);
        return status;
    }
    *out = r;
    return TSDB_OK;
}

void block_refs_close(struct block_refs *r)
{
    if (!r) {
        return;
    }
    cache_l2_drop(r->cache, r->cache_id);
    r->fs->ops->close(r->fs->ctx, r->file);
    tsdb_mem_free(TSDB_MEM_INDEX, r, refs_bytes(r->page_count));
}

const struct block_refs_basis *block_refs_basis(const struct block_refs *r)
{
    return &r->basis;
}

uint32_t block_refs_count(const struct block_refs *r)
{
    return r->count;
}

/* The page that holds ref, if any does. */
static uint32_t page_of(const struct block_refs *r, tsdb_series_ref ref)
{
    uint32_t lo = 0;
    uint32_t hi = r->page_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (r->first[mid] <= ref) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    /* Pages are numbered from 1: this is the last one that begins at or before ref; 0: none. */
    return lo;
}

static bool find_in(const uint8_t *page, uint32_t n, tsdb_series_ref ref, uint32_t *out_id)
{
    uint32_t lo = 0;
    uint32_t hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (tsdb_load_le32(page + mid * 8) < ref) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo == n || tsdb_load_le32(page + lo * 8) != ref) {
        return false;
    }
    *out_id = tsdb_load_le32(page + lo * 8 + 4);
    return true;
}

enum tsdb_status block_refs_find(const struct block_refs *r, tsdb_series_ref ref, uint32_t *out_id,
                                 struct tsdb_error *err)
{
    uint32_t number = page_of(r, ref);
    if (number == 0) {
        return TSDB_NOT_FOUND;
    }
    struct cache_l2_page page;
    enum tsdb_status status =
        cache_l2_get(r->cache, r->cache_id, r->fs, r->file, number, check_page, NULL, &page, err);
    if (status != TSDB_OK) {
        return status == TSDB_NOT_FOUND
                   ? tsdb_error_set(err, TSDB_CORRUPT, "series references end before page %u",
                                    number)
                   : status;
    }
    uint32_t n = TSDB_MIN(r->count - (number - 1) * PAIRS_A_PAGE, PAIRS_A_PAGE);
    bool found = find_in(page.data, n, ref, out_id);
    cache_l2_release(r->cache, &page);
    return found ? TSDB_OK : TSDB_NOT_FOUND;
}

enum tsdb_status block_refs_read(const struct block_refs *r, struct block_ref_pair *out,
                                 struct tsdb_error *err)
{
    uint8_t *page = tsdb_mem_alloc(TSDB_MEM_OTHER, PAGE_BYTES);
    if (!page) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory to read series references");
    }
    enum tsdb_status status = TSDB_OK;
    for (uint32_t at = 0, number = 1; at < r->count && status == TSDB_OK; number++) {
        size_t len = 0;
        status = r->fs->ops->pread(r->fs->ctx, r->file, page, PAGE_BYTES,
                                   (uint64_t)number * PAGE_BYTES, &len, err);
        if (status == TSDB_OK) {
            status = check_page(NULL, number, page, (uint32_t)len, err);
        }
        uint32_t n = TSDB_MIN(r->count - at, PAIRS_A_PAGE);
        for (uint32_t i = 0; status == TSDB_OK && i < n; i++) {
            out[at++] = (struct block_ref_pair){tsdb_load_le32(page + i * 8),
                                                tsdb_load_le32(page + i * 8 + 4)};
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, page, PAGE_BYTES);
    return status;
}

enum tsdb_status block_refs_remove(const struct tsdb_fs *fs, const char *ulid,
                                   struct tsdb_error *err)
{
    char path[PATH_BYTES];
    path_of(path, ulid);
    enum tsdb_status status = fs->ops->unlink(fs->ctx, path, err);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}
