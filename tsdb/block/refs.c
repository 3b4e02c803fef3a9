#include "tsdb/block/refs.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "compress/bitpack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REFS_MAGIC   0x53465254u /* "TRFS" */
#define REFS_VERSION 3u
#define BASIS_AT     32
#define PAGE_BYTES   CACHE_L2_FRAME_BYTES
#define CRC_BYTES    4u
#define HEADER_BYTES 72u /* of page 0 */
#define HEAD_BYTES   5u  /* of what every page holds: runs, pairs, bits */
#define RUN_BYTES    6u
#define PATH_BYTES   64
/* Pairs and runs of a page are counted in 16 bits. */
#define PAIRS_A_PAGE 65535u

struct block_refs {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    struct cache_l2 *cache;
    uint64_t cache_id;
    uint32_t count, page_count;
    struct block_refs_basis basis;
    uint32_t first[]; /* [page_count]: first ref of page i */
};

static void path_of(char out[PATH_BYTES], const char *ulid)
{
    snprintf(out, PATH_BYTES, BLOCK_REFS_DIR "/%.40s", ulid);
}

/* ---- a page, checked ---- */

struct page_view {
    uint32_t runs, pairs, width;
    const uint8_t *run; /* [runs] of RUN_BYTES */
    const uint8_t *ids; /* [pairs] of `width` bits */
    size_t ids_bytes;
};

static uint32_t page_crc(uint64_t number, const uint8_t *page, size_t len)
{
    uint8_t seed[4];
    tsdb_store_le32(seed, (uint32_t)number);
    return tsdb_crc32c(tsdb_crc32c(0, seed, 4), page, len);
}

static uint32_t run_ref(const struct page_view *v, uint32_t run)
{
    return tsdb_load_le32(v->run + (size_t)run * RUN_BYTES);
}

/* Number of the run's first pair in the page; of the run after the last: the number of pairs. */
static uint32_t run_begin(const struct page_view *v, uint32_t run)
{
    return run < v->runs ? tsdb_load_le16(v->run + (size_t)run * RUN_BYTES + 4) : v->pairs;
}

/* Of a page that was checked. */
static struct page_view page_open(uint64_t number, const uint8_t *data, uint32_t len)
{
    uint32_t at = number == 0 ? HEADER_BYTES : 0;
    struct page_view v = {.runs = tsdb_load_le16(data + at),
                          .pairs = tsdb_load_le16(data + at + 2),
                          .width = data[at + 4],
                          .run = data + at + HEAD_BYTES};
    v.ids = v.run + (size_t)v.runs * RUN_BYTES;
    v.ids_bytes = (size_t)(data + len - CRC_BYTES - v.ids);
    return v;
}

/* Runs rise and do not touch each other, each has a pair, and together they have all. */
static bool runs_valid(const struct page_view *v)
{
    for (uint32_t i = 0; i < v->runs; i++) {
        uint32_t begin = run_begin(v, i);
        uint64_t end = run_begin(v, i + 1);
        if (begin >= end || (i == 0 && begin != 0) ||
            run_ref(v, i) + (end - begin) >
                (i + 1 < v->runs ? run_ref(v, i + 1) : UINT64_C(1) << 32)) {
            return false;
        }
    }
    return v->runs > 0 || v->pairs == 0;
}

static enum tsdb_status check_page(void *arg, uint64_t number, const uint8_t *data, uint32_t len,
                                   struct tsdb_error *err)
{
    (void)arg;
    uint32_t at = number == 0 ? HEADER_BYTES : 0;
    if (len < at + HEAD_BYTES + CRC_BYTES ||
        tsdb_load_le32(data + len - CRC_BYTES) != page_crc(number, data, len - CRC_BYTES)) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "series references, page %" PRIu64 ": crc does not match", number);
    }
    size_t room = len - at - HEAD_BYTES - CRC_BYTES;
    uint32_t runs = tsdb_load_le16(data + at);
    if ((size_t)runs * RUN_BYTES <= room) {
        const struct page_view v = page_open(number, data, len);
        if (v.width <= 32 && bitpack_bytes(v.pairs, v.width) <= v.ids_bytes && runs_valid(&v)) {
            return TSDB_OK;
        }
    }
    return tsdb_error_set(err, TSDB_CORRUPT,
                          "series references, page %" PRIu64 ": runs and ids do not make it up",
                          number);
}

/* ---- writing ---- */

static void fill_header(uint8_t *page, const uint8_t *identity,
                        const struct block_refs_basis *basis, uint32_t count)
{
    memset(page, 0, HEADER_BYTES);
    tsdb_store_le32(page, REFS_MAGIC);
    tsdb_store_le32(page + 4, REFS_VERSION);
    memcpy(page + 8, identity, BLOCK_REFS_IDENTITY_BYTES);
    tsdb_store_le64(page + 24, count);
    memcpy(page + BASIS_AT, basis->bytes, sizeof basis->bytes);
}

/* How many of the pairs fit into `room` bytes, and how many runs these are. */
static uint32_t pairs_fit(const struct block_ref_pair *pairs, uint32_t count, uint32_t width,
                          size_t room, uint32_t *out_runs)
{
    uint32_t n = 0;
    uint32_t runs = 0;
    while (n < count && n < PAIRS_A_PAGE) {
        uint32_t more = n == 0 || pairs[n].ref != pairs[n - 1].ref + 1;
        if ((size_t)(runs + more) * RUN_BYTES + bitpack_bytes((size_t)n + 1, width) > room) {
            break;
        }
        runs += more;
        n++;
    }
    *out_runs = runs;
    return n;
}

static void fill_pairs(uint8_t *page, uint32_t at, const struct block_ref_pair *pairs, uint32_t n,
                       uint32_t runs, uint32_t width)
{
    uint8_t *run = page + at + HEAD_BYTES;
    uint8_t *ids = run + (size_t)runs * RUN_BYTES;
    tsdb_store_le16(page + at, (uint16_t)runs);
    tsdb_store_le16(page + at + 2, (uint16_t)n);
    page[at + 4] = (uint8_t)width;
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || pairs[i].ref != pairs[i - 1].ref + 1) {
            tsdb_store_le32(run, pairs[i].ref);
            tsdb_store_le16(run + 4, (uint16_t)i);
            run += RUN_BYTES;
        }
    }
    TSDB_ASSERT(run == ids);
    /* Eight values begin at a byte boundary. */
    for (uint32_t i = 0; i < n; i += 8) {
        uint64_t eight[8];
        uint32_t k = TSDB_MIN(n - i, 8u);
        for (uint32_t j = 0; j < k; j++) {
            eight[j] = pairs[i + j].id;
        }
        bitpack_pack(eight, k, width, ids + (size_t)(i / 8) * width);
    }
}

/* Every page is full to the last byte but for the last one: what is left over is no byte of an id,
 * so it stands between the ids and the CRC and is 0. */
static enum tsdb_status write_pages(const struct tsdb_fs *fs, struct tsdb_file *f,
                                    const uint8_t *identity, const struct block_refs_basis *basis,
                                    const struct block_ref_pair *pairs, uint32_t count,
                                    uint8_t *page, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint32_t id_max = 0;
    for (uint32_t i = 0; i < count; i++) {
        id_max = TSDB_MAX(id_max, pairs[i].id);
    }
    uint32_t width = bitpack_width(id_max);
    uint32_t done = 0;
    uint32_t number = 0;
    do {
        uint32_t runs = 0;
        uint32_t at = number == 0 ? HEADER_BYTES : 0;
        memset(page, 0, PAGE_BYTES);
        if (number == 0) {
            fill_header(page, identity, basis, count);
        }
        uint32_t n = pairs_fit(pairs + done, count - done, width,
                               PAGE_BYTES - at - HEAD_BYTES - CRC_BYTES, &runs);
        fill_pairs(page, at, pairs + done, n, runs, width);
        done += n;
        size_t len = at + HEAD_BYTES + (size_t)runs * RUN_BYTES + bitpack_bytes(n, width);
        len = done < count ? PAGE_BYTES - CRC_BYTES : len;
        tsdb_store_le32(page + len, page_crc(number, page, len));
        status =
            fs->ops->pwrite(fs->ctx, f, page, len + CRC_BYTES, (uint64_t)number * PAGE_BYTES, err);
        number++;
    } while (status == TSDB_OK && done < count);
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

/* Every version has its CRC at the end of page 0, and magic and version at its begin. */
enum tsdb_status block_refs_version_check(const uint8_t *page, size_t len, struct tsdb_error *err)
{
    if (len < HEADER_BYTES + CRC_BYTES ||
        page_crc(0, page, len - CRC_BYTES) != tsdb_load_le32(page + len - CRC_BYTES) ||
        tsdb_load_le32(page) != REFS_MAGIC) {
        return tsdb_error_set(err, TSDB_CORRUPT, "does not begin as such a file");
    }
    if (tsdb_load_le32(page + 4) != REFS_VERSION) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "version %u, this program knows %u",
                              tsdb_load_le32(page + 4), REFS_VERSION);
    }
    return TSDB_OK;
}

/* The header's pair count, when the file is of this directory. */
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

static enum tsdb_status read_page(const struct block_refs *r, uint32_t number, uint8_t *page,
                                  struct page_view *out, struct tsdb_error *err)
{
    size_t len = 0;
    enum tsdb_status status = r->fs->ops->pread(r->fs->ctx, r->file, page, PAGE_BYTES,
                                                (uint64_t)number * PAGE_BYTES, &len, err);
    status = status == TSDB_OK ? check_page(NULL, number, page, (uint32_t)len, err) : status;
    if (status == TSDB_OK) {
        *out = page_open(number, page, (uint32_t)len);
    }
    return status;
}

/* Read every page once: checks it, and learns its first ref. */
static enum tsdb_status read_firsts(struct block_refs *r, const char *path, uint8_t *page,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint64_t next = 0; /* the least ref that may follow */
    uint64_t pairs = 0;
    for (uint32_t i = 0; i < r->page_count && status == TSDB_OK; i++) {
        struct page_view v = {0};
        status = read_page(r, i, page, &v, err);
        if (status == TSDB_OK && v.runs > 0) {
            r->first[i] = run_ref(&v, 0);
            if (r->first[i] < next) {
                status = tsdb_error_set(err, TSDB_CORRUPT, "page %u is out of order", i);
            }
            next = run_ref(&v, v.runs - 1) + (uint64_t)(v.pairs - run_begin(&v, v.runs - 1));
        } else if (status == TSDB_OK && r->count > 0) {
            status = tsdb_error_set(err, TSDB_CORRUPT, "page %u has nothing", i);
        }
        pairs += v.pairs;
    }
    if (status == TSDB_OK && pairs != r->count) {
        status =
            tsdb_error_set(err, TSDB_CORRUPT, "%" PRIu64 " pairs, expected %u", pairs, r->count);
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
    struct tsdb_file_info info = {0};
    uint32_t count = 0;
    enum tsdb_status status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t *page = tsdb_mem_alloc(TSDB_MEM_OTHER, PAGE_BYTES);
    status = page ? fs->ops->stat(fs->ctx, path, &info, err)
                  : tsdb_error_set(err, TSDB_NOMEM, "%s: out of memory", path);
    status = status == TSDB_OK ? read_header(fs, f, path, identity, page, &count, err) : status;
    uint64_t pages = info.size_bytes / PAGE_BYTES + (info.size_bytes % PAGE_BYTES != 0);
    if (status == TSDB_OK && pages > (uint64_t)count + 1) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "%s: %" PRIu64 " pages for %u pairs", path,
                                pages, count);
    }
    if (status != TSDB_OK) {
        tsdb_mem_free(TSDB_MEM_OTHER, page, PAGE_BYTES);
        fs->ops->close(fs->ctx, f);
        return status;
    }
    struct block_refs *r = tsdb_mem_alloc_zero(TSDB_MEM_INDEX, refs_bytes((uint32_t)pages));
    if (r) {
        *r = (struct block_refs){.fs = fs,
                                 .file = f,
                                 .cache = cache,
                                 .cache_id = cache_l2_file_id(cache),
                                 .count = count,
                                 .page_count = (uint32_t)pages};
        memcpy(r->basis.bytes, page + BASIS_AT, sizeof r->basis.bytes);
        status = read_firsts(r, path, page, err);
    } else {
        status = tsdb_error_set(err, TSDB_NOMEM, "%s: out of memory", path);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, page, PAGE_BYTES);
    if (status != TSDB_OK) {
        tsdb_mem_free(TSDB_MEM_INDEX, r, refs_bytes((uint32_t)pages));
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

/* How many pages begin at or before ref: the last of them may hold it. */
static uint32_t pages_before(const struct block_refs *r, tsdb_series_ref ref)
{
    uint32_t lo = 0;
    uint32_t hi = r->count > 0 ? r->page_count : 0;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (r->first[mid] <= ref) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static bool find_in(const struct page_view *v, tsdb_series_ref ref, uint32_t *out_id)
{
    uint32_t lo = 0;
    uint32_t hi = v->runs;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (run_ref(v, mid) <= ref) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo == 0) {
        return false;
    }
    uint32_t begin = run_begin(v, lo - 1);
    uint32_t within = ref - run_ref(v, lo - 1);
    if (within >= run_begin(v, lo) - begin) {
        return false;
    }
    *out_id = (uint32_t)bitpack_get(v->ids, v->ids_bytes, begin + within, v->width);
    return true;
}

enum tsdb_status block_refs_find(const struct block_refs *r, tsdb_series_ref ref, uint32_t *out_id,
                                 struct tsdb_error *err)
{
    uint32_t before = pages_before(r, ref);
    if (before == 0) {
        return TSDB_NOT_FOUND;
    }
    struct cache_l2_page page;
    enum tsdb_status status = cache_l2_get(r->cache, r->cache_id, r->fs, r->file, before - 1,
                                           check_page, NULL, &page, err);
    if (status != TSDB_OK) {
        return status == TSDB_NOT_FOUND
                   ? tsdb_error_set(err, TSDB_CORRUPT, "series references end before page %u",
                                    before - 1)
                   : status;
    }
    const struct page_view v = page_open(before - 1, page.data, page.len);
    bool found = find_in(&v, ref, out_id);
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
    uint32_t at = 0;
    for (uint32_t number = 0; number < r->page_count && status == TSDB_OK; number++) {
        struct page_view v = {0};
        status = read_page(r, number, page, &v, err);
        if (status == TSDB_OK && v.pairs > r->count - at) {
            status =
                tsdb_error_set(err, TSDB_CORRUPT, "page %u has more pairs than before", number);
        }
        for (uint32_t run = 0; status == TSDB_OK && run < v.runs; run++) {
            uint32_t begin = run_begin(&v, run);
            for (uint32_t i = begin; i < run_begin(&v, run + 1); i++) {
                uint32_t id = (uint32_t)bitpack_get(v.ids, v.ids_bytes, i, v.width);
                out[at++] = (struct block_ref_pair){run_ref(&v, run) + (i - begin), id};
            }
        }
    }
    if (status == TSDB_OK && at != r->count) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "%u pairs, expected %u", at, r->count);
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
