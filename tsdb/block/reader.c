/* Reading a block. meta.json says how long the files are; the index and the bloom filter are pages
 * that the L2 cache checks when it reads them; a chunk has a CRC of its own. */
#include "tsdb/block/block.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "index/disk/index_disk.h"
#include "model/version.h"
#include "tsdb/block/block_private.h"
#include "tsdb/block/bloom.h"
#include "tsdb/block/ulid.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>

#define VERIFY_CACHE_BYTES (64u * CACHE_L2_FRAME_BYTES)
#define VERIFY_ARENA_BYTES (256u << 10)

static_assert(CACHE_L2_FRAME_BYTES == PAGED_PAGE_BYTES, "the cache checks a page when it reads it");

struct block_file {
    const struct tsdb_fs *fs;
    struct cache_l2 *cache;
    struct tsdb_file *file;
    uint64_t cache_id;
    uint64_t bytes;
};
/* Immutable after open. */
struct block {
    struct block_meta meta;
    struct block_file_sizes sizes;
    uint64_t id;
    char dir[BLOCK_PATH_BYTES];
    struct block_file index_file, chunks_file, bloom_file;
    struct index_disk *index;
    struct bloom bloom; /* block_count 0: damaged or not readable, so every series may be there */
};

static _Atomic(uint64_t) next_block_id = 1;

static enum tsdb_status named(const struct block *b, enum tsdb_status status,
                              struct tsdb_error *err)
{
    return status == TSDB_OK ? TSDB_OK : tsdb_error_prefix(err, status, "block %s", b->meta.ulid);
}

/* ---- files ---- */

static enum tsdb_status page_check(void *arg, uint64_t page, const uint8_t *data, uint32_t len,
                                   struct tsdb_error *err)
{
    (void)arg;
    return paged_check(page, data, len, err);
}

static enum tsdb_status pages_read(void *ctx, uint64_t offset, void *out, size_t len,
                                   struct tsdb_error *err)
{
    const struct block_file *f = ctx;
    return cache_l2_read(f->cache, f->cache_id, f->fs, f->file, offset, out, len, page_check, NULL,
                         err);
}

static struct paged_source pages_source(struct block_file *f)
{
    return (struct paged_source){pages_read, f, f->bytes};
}

static enum tsdb_status file_open(const struct tsdb_fs *fs, const struct block *b,
                                  struct cache_l2 *cache, const char *name, uint64_t bytes,
                                  struct block_file *out, struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    struct tsdb_file_info info = {0};
    enum tsdb_status status = block_path(path, b->dir, b->meta.ulid, "", name, err);
    status = status == TSDB_OK ? fs->ops->stat(fs->ctx, path, &info, err) : status;
    if (status == TSDB_NOT_FOUND || (status == TSDB_OK && info.size_bytes != bytes)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%s: %" PRIu64 " bytes, expected %" PRIu64, name,
                              info.size_bytes, bytes);
    }
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &out->file, err);
    }
    if (status == TSDB_OK) {
        out->fs = fs;
        out->cache = cache;
        out->cache_id = cache_l2_file_id(cache);
        out->bytes = bytes;
    }
    return status;
}

static void file_close(struct block_file *f)
{
    if (f->file != NULL) {
        cache_l2_drop(f->cache, f->cache_id);
        f->fs->ops->close(f->fs->ctx, f->file);
    }
}

/* ---- open ---- */

static enum tsdb_status meta_load(const struct tsdb_fs *fs, struct block *b, const char *ulid,
                                  struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status = block_path(path, b->dir, ulid, "", BLOCK_META_NAME, err);
    if (status == TSDB_OK) {
        status =
            tsdb_file_read_all(fs, path, BLOCK_META_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, err);
    }
    if (status != TSDB_OK) {
        return status == TSDB_NOT_FOUND
                   ? tsdb_error_set(err, TSDB_CORRUPT, BLOCK_META_NAME " is missing")
                   : status;
    }
    struct block_meta meta;
    status = block_meta_parse(data, len, &meta, &b->sizes, err);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    if (status == TSDB_OK && strcmp(meta.ulid, ulid) != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, BLOCK_META_NAME " belongs to block %s", meta.ulid);
    }
    if (status == TSDB_OK) {
        b->meta = meta;
        b->meta.bytes = b->sizes.index + b->sizes.chunks + b->sizes.bloom + len;
    }
    return status;
}

enum tsdb_status block_chunks_version_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len < BLOCK_CHUNKS_HEADER_BYTES || memcmp(data, BLOCK_CHUNKS_MAGIC, 8) != 0 ||
        tsdb_load_le32(data + 12) != tsdb_crc32c(0, data, 12)) {
        return tsdb_error_set(err, TSDB_CORRUPT, BLOCK_CHUNKS_NAME ": no valid header");
    }
    uint32_t version = tsdb_load_le32(data + 8);
    if (version != TSDB_FORMAT_BLOCK) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              BLOCK_CHUNKS_NAME ": format version %u; this version knows %d",
                              version, TSDB_FORMAT_BLOCK);
    }
    return TSDB_OK;
}

/* The header is read past the cache: it alone must not cost a page. */
static enum tsdb_status chunks_header_check(const struct block_file *f, struct tsdb_error *err)
{
    uint8_t h[BLOCK_CHUNKS_HEADER_BYTES];
    size_t len = 0;
    enum tsdb_status status = f->fs->ops->pread(f->fs->ctx, f->file, h, sizeof h, 0, &len, err);
    return status == TSDB_OK ? block_chunks_version_check(h, len, err) : status;
}

static enum tsdb_status files_open(const struct tsdb_fs *fs, struct block *b,
                                   struct cache_l2 *cache, struct tsdb_error *err)
{
    enum tsdb_status status =
        file_open(fs, b, cache, BLOCK_INDEX_NAME, b->sizes.index, &b->index_file, err);
    if (status == TSDB_OK) {
        status = file_open(fs, b, cache, BLOCK_CHUNKS_NAME, b->sizes.chunks, &b->chunks_file, err);
    }
    status = status == TSDB_OK ? chunks_header_check(&b->chunks_file, err) : status;
    if (status == TSDB_OK) {
        status = index_disk_open(pages_source(&b->index_file), &b->index, err);
    }
    if (status == TSDB_OK && index_disk_series_count(b->index) != b->meta.series) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "the index has %u series, " BLOCK_META_NAME " says %" PRIu64,
                              index_disk_series_count(b->index), b->meta.series);
    }
    return status;
}

/* The filter only saves work, so without it the block serves as before. What a newer version wrote
 * is not damage. */
static enum tsdb_status filter_open(const struct tsdb_fs *fs, struct block *b,
                                    struct cache_l2 *cache, struct tsdb_error *err)
{
    struct tsdb_error why;
    enum tsdb_status status =
        file_open(fs, b, cache, BLOCK_BLOOM_NAME, b->sizes.bloom, &b->bloom_file, &why);
    if (status == TSDB_OK) {
        status = bloom_open(pages_source(&b->bloom_file), &b->bloom, &why);
    }
    if (status == TSDB_CORRUPT || status == TSDB_IO) {
        tsdb_log(TSDB_LOG_WARN, "tsdb", "a block's bloom filter is damaged; searches do without",
                 TSDB_S("block", b->meta.ulid), TSDB_S("err", why.msg));
        return TSDB_OK;
    }
    if (status != TSDB_OK && err) {
        *err = why;
    }
    return status;
}

enum tsdb_status block_open(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                            struct cache_l2 *cache, struct block **out, struct tsdb_error *err)
{
    if (!ulid_valid(ulid) || strlen(dir) >= BLOCK_PATH_BYTES) {
        return tsdb_error_set(err, TSDB_INVALID, "%s is not the name of a block", ulid);
    }
    struct block *b = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *b);
    if (!b) {
        return tsdb_error_set(err, TSDB_NOMEM, "block %s: out of memory", ulid);
    }
    memcpy(b->dir, dir, strlen(dir) + 1);
    b->id = atomic_fetch_add_explicit(&next_block_id, 1, memory_order_relaxed);
    enum tsdb_status status = meta_load(fs, b, ulid, err);
    status = status == TSDB_OK ? files_open(fs, b, cache, err) : status;
    status = status == TSDB_OK ? filter_open(fs, b, cache, err) : status;
    if (status != TSDB_OK) {
        block_close(b);
        return tsdb_error_prefix(err, status, "block %s", ulid);
    }
    *out = b;
    return TSDB_OK;
}

void block_close(struct block *b)
{
    if (!b) {
        return;
    }
    index_disk_close(b->index);
    file_close(&b->index_file);
    file_close(&b->chunks_file);
    file_close(&b->bloom_file);
    tsdb_mem_free(TSDB_MEM_OTHER, b, sizeof *b);
}

const struct block_meta *block_meta(const struct block *b)
{
    return &b->meta;
}

uint64_t block_id(const struct block *b)
{
    return b->id;
}

/* ---- series ---- */

bool block_may_have(const struct block *b, uint64_t hash)
{
    return b->bloom.block_count == 0 || bloom_may_have(&b->bloom, hash);
}

enum tsdb_status block_select(const struct block *b, const struct index_matcher *const *matchers,
                              uint32_t matcher_count, const struct tsdb_request *request,
                              struct tsdb_arena *arena, uint32_t **out_ids, uint32_t *out_count,
                              struct tsdb_error *err)
{
    return named(b,
                 index_disk_select(b->index, matchers, matcher_count, request, arena, out_ids,
                                   out_count, err),
                 err);
}

enum tsdb_status block_labels(const struct block *b, uint32_t id, struct tsdb_arena *arena,
                              struct tsdb_labels *out, struct tsdb_error *err)
{
    return named(b, index_disk_labels(b->index, id, arena, out, err), err);
}

enum tsdb_status block_find(const struct block *b, const struct tsdb_labels *labels, uint64_t hash,
                            struct tsdb_arena *arena, uint32_t *out_id, struct tsdb_error *err)
{
    (void)arena; /* finding needs no memory of the caller's so far */
    enum tsdb_status status =
        block_may_have(b, hash) ? index_disk_find(b->index, labels, out_id, err)
                                : tsdb_error_set(err, TSDB_NOT_FOUND, "no series has these labels");
    return named(b, status, err);
}

enum tsdb_status block_names(const struct block *b, block_string_fn fn, void *arg,
                             struct tsdb_error *err)
{
    return named(b, index_disk_names(b->index, fn, arg, err), err);
}

enum tsdb_status block_values(const struct block *b, const char *name, uint32_t name_len,
                              block_string_fn fn, void *arg, struct tsdb_error *err)
{
    return named(b, index_disk_values(b->index, name, name_len, fn, arg, err), err);
}

/* ---- chunks ---- */

static bool chunk_convert(const struct block *b, const struct index_disk_chunk *c,
                          struct block_chunk *out)
{
    *out = (struct block_chunk){.summary = {.min_ms = c->min_ms,
                                            .max_ms = c->max_ms,
                                            .first_bits = c->first_bits,
                                            .last_bits = c->last_bits,
                                            .min = c->min,
                                            .max = c->max,
                                            .count = c->count,
                                            .resets = c->resets,
                                            .stale = c->stale,
                                            .all_int = c->all_int},
                                .kind = c->kind,
                                .offset = c->offset,
                                .len = c->len};
    return c->count <= CHUNK_SAMPLES_MAX && c->offset >= BLOCK_CHUNKS_HEADER_BYTES &&
           c->offset <= b->sizes.chunks && c->len <= BLOCK_RECORD_BYTES_MAX &&
           (uint64_t)c->len + BLOCK_RECORD_EXTRA_BYTES <= b->sizes.chunks - c->offset;
}

enum tsdb_status block_chunks(const struct block *b, uint32_t id, struct tsdb_time_range range,
                              struct tsdb_arena *arena, struct block_chunk **out,
                              uint32_t *out_count, struct tsdb_error *err)
{
    struct index_disk_chunk *found;
    uint32_t count = 0;
    enum tsdb_status status = index_disk_chunks(b->index, id, range, arena, &found, &count, err);
    if (status != TSDB_OK) {
        return named(b, status, err);
    }
    struct block_chunk *chunks = TSDB_ARENA_ARRAY(arena, struct block_chunk, (size_t)count + 1);
    if (!chunks) {
        return named(b, tsdb_error_set(err, arena->failure, "over the memory limit"), err);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!chunk_convert(b, &found[i], &chunks[i])) {
            return named(b,
                         tsdb_error_set(err, TSDB_CORRUPT,
                                        "chunk %u of series %u is not within the chunks file", i,
                                        id),
                         err);
        }
    }
    *out = chunks;
    *out_count = count;
    return TSDB_OK;
}

/* A record as it was read: length, payload, CRC. */
struct record {
    uint8_t *data;
    size_t bytes;
    const uint8_t *payload;
    uint32_t len;
    bool shared;
};

static void record_free(struct record *r)
{
    tsdb_mem_free(TSDB_MEM_QUERY, r->data, r->bytes);
    r->data = NULL;
}

static enum tsdb_status record_check(struct record *r, uint64_t offset, struct tsdb_error *err)
{
    uint32_t length = tsdb_load_le32(r->data);
    uint32_t want = tsdb_load_le32(r->data + r->bytes - 4);
    r->payload = r->data + 4;
    r->shared = (length & BLOCK_RECORD_SHARED) != 0;
    if ((length & ~BLOCK_RECORD_SHARED) != r->len) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "chunk at byte %" PRIu64 ": length %u, expected %u", offset,
                                 length & ~BLOCK_RECORD_SHARED, r->len);
    }
    uint32_t got = block_record_crc(offset, r->data, r->payload, r->len);
    if (got != want) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "chunk at byte %" PRIu64 ": crc %08x, expected %08x", offset, got,
                                 want);
    }
    return TSDB_OK;
}

static enum tsdb_status record_read(const struct block *b, uint64_t offset, uint32_t len,
                                    struct record *out, struct tsdb_error *err)
{
    const struct block_file *f = &b->chunks_file;
    struct record r = {.bytes = (size_t)len + BLOCK_RECORD_EXTRA_BYTES, .len = len};
    if (offset < BLOCK_CHUNKS_HEADER_BYTES || offset > f->bytes || len > BLOCK_RECORD_BYTES_MAX ||
        r.bytes > f->bytes - offset) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "chunk at byte %" PRIu64 " goes beyond the end", offset);
    }
    r.data = tsdb_mem_alloc(TSDB_MEM_QUERY, r.bytes);
    if (!r.data) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory for a chunk of %u bytes", len);
    }
    enum tsdb_status status = cache_l2_read(f->cache, f->cache_id, f->fs, f->file, offset, r.data,
                                            r.bytes, NULL, NULL, err);
    status = status == TSDB_OK ? record_check(&r, offset, err) : status;
    if (status != TSDB_OK) {
        record_free(&r);
        return status;
    }
    *out = r;
    return TSDB_OK;
}

/* The record at this place, whose length is not known otherwise. */
static enum tsdb_status record_read_any(const struct block *b, uint64_t offset, struct record *out,
                                        struct tsdb_error *err)
{
    const struct block_file *f = &b->chunks_file;
    uint8_t length[4];
    if (offset < BLOCK_CHUNKS_HEADER_BYTES || offset > f->bytes ||
        f->bytes - offset < sizeof length) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "times at byte %" PRIu64 " lie outside of the file", offset);
    }
    enum tsdb_status status = cache_l2_read(f->cache, f->cache_id, f->fs, f->file, offset, length,
                                            sizeof length, NULL, NULL, err);
    return status == TSDB_OK
               ? record_read(b, offset, tsdb_load_le32(length) & ~BLOCK_RECORD_SHARED, out, err)
               : status;
}

/* A chunk whose times stand in an earlier record. */
static enum tsdb_status shared_decode(const struct block *b, const struct record *r,
                                      uint64_t offset, struct tsdb_arena *arena,
                                      struct chunk_samples *out, struct tsdb_error *err)
{
    uint64_t distance = 0;
    const uint8_t *end = r->payload + r->len;
    const uint8_t *chunk = tsdb_get_uvarint(r->payload, end, &distance);
    if (!chunk || distance == 0 || distance >= offset) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "chunk at byte %" PRIu64 ": no distance to its times", offset);
    }
    struct record other = {0};
    struct tsdb_slice times = {NULL, 0};
    size_t cut_len = 0;
    enum tsdb_status status = record_read_any(b, offset - distance, &other, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t *cut = tsdb_mem_alloc(TSDB_MEM_QUERY, (size_t)other.len + 1);
    if (!cut) {
        status = tsdb_error_set(err, TSDB_NOMEM, "no memory for a chunk of %u bytes", other.len);
    } else if (other.shared) {
        status =
            tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                              "chunk at byte %" PRIu64 ": its times are elsewhere again", offset);
    } else {
        status = chunk_detach_times(other.payload, other.len, cut, &cut_len, &times, err);
    }
    if (status == TSDB_OK) {
        status = chunk_decode_detached(chunk, (size_t)(end - chunk), times, arena, out, err);
    }
    tsdb_mem_free(TSDB_MEM_QUERY, cut, (size_t)other.len + 1);
    record_free(&other);
    return status;
}

enum tsdb_status block_chunk_read(const struct block *b, const struct block_chunk *c,
                                  struct tsdb_arena *arena, struct chunk_samples *out,
                                  struct tsdb_error *err)
{
    struct record r;
    struct chunk_samples s;
    enum tsdb_status status = record_read(b, c->offset, c->len, &r, err);
    if (status != TSDB_OK) {
        return named(b, status, err);
    }
    status = r.shared ? shared_decode(b, &r, c->offset, arena, &s, err)
                      : chunk_decode(r.payload, r.len, arena, &s, err);
    record_free(&r);
    if (status == TSDB_OK &&
        (s.kind != c->kind || s.count != c->summary.count || s.t_ms[0] != c->summary.min_ms ||
         s.t_ms[s.count - 1] != c->summary.max_ms)) {
        status =
            tsdb_error_set_at(err, TSDB_CORRUPT, c->offset,
                              "chunk at byte %" PRIu64 " is not the one of the index", c->offset);
    }
    if (status != TSDB_OK) {
        return named(b, status, err);
    }
    *out = s;
    return TSDB_OK;
}

/* ---- verify ---- */

static bool doubles_equal(double a, double b)
{
    return (isnan(a) && isnan(b)) || tsdb_double_bits(a) == tsdb_double_bits(b);
}

static bool summaries_equal(const struct chunk_summary *a, const struct chunk_summary *b)
{
    return a->min_ms == b->min_ms && a->max_ms == b->max_ms && a->first_bits == b->first_bits &&
           a->last_bits == b->last_bits && doubles_equal(a->min, b->min) &&
           doubles_equal(a->max, b->max) && a->count == b->count && a->resets == b->resets &&
           a->stale == b->stale && a->all_int == b->all_int;
}

struct totals {
    uint64_t chunks, floats, histograms;
};

static enum tsdb_status chunk_verify(const struct block *b, const struct block_chunk *c,
                                     struct tsdb_arena *arena, struct totals *t,
                                     struct tsdb_error *err)
{
    struct chunk_samples s = {0};
    struct chunk_summary summary;
    enum tsdb_status status = block_chunk_read(b, c, arena, &s, err);
    if (status != TSDB_OK) {
        return status;
    }
    chunk_summarize(&s, &summary);
    bool inside = summary.min_ms >= b->meta.min_ms &&
                  (summary.max_ms < b->meta.max_ms || b->meta.max_ms == INT64_MAX);
    if (!inside || !summaries_equal(&summary, &c->summary)) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, c->offset,
                                 "block %s: the index contradicts the chunk at byte %" PRIu64,
                                 b->meta.ulid, c->offset);
    }
    t->chunks++;
    *(s.kind == TSDB_SAMPLE_FLOAT ? &t->floats : &t->histograms) += s.count;
    return TSDB_OK;
}

static enum tsdb_status chunks_verify(const struct block *b, struct tsdb_arena *arena,
                                      struct totals *t, struct tsdb_error *err)
{
    for (uint32_t id = 0; id < index_disk_series_count(b->index); id++) {
        struct block_chunk *chunks;
        uint32_t count = 0;
        enum tsdb_status status = block_chunks(b, id, TSDB_TIME_ALL, arena, &chunks, &count, err);
        for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
            status = chunk_verify(b, &chunks[i], arena, t, err);
        }
        if (status != TSDB_OK) {
            return status;
        }
        tsdb_arena_reset(arena);
    }
    return TSDB_OK;
}

/* Every page, those too that nothing refers to. */
static enum tsdb_status pages_verify(const struct block *b, const struct block_file *f,
                                     struct tsdb_error *err)
{
    for (uint64_t at = 0; at < f->bytes; at += PAGED_PAGE_BYTES) {
        struct cache_l2_page page;
        enum tsdb_status status = cache_l2_get(f->cache, f->cache_id, f->fs, f->file,
                                               at / PAGED_PAGE_BYTES, page_check, NULL, &page, err);
        if (status != TSDB_OK) {
            return named(b, status, err);
        }
        cache_l2_release(f->cache, &page);
    }
    return TSDB_OK;
}

static enum tsdb_status verify_run(const struct block *b, struct tsdb_error *err)
{
    struct tsdb_arena arena;
    struct totals t = {0};
    enum tsdb_status status =
        b->bloom.block_count > 0
            ? pages_verify(b, &b->bloom_file, err)
            : tsdb_error_set(err, TSDB_CORRUPT, "block %s: no bloom filter", b->meta.ulid);
    status = status == TSDB_OK ? pages_verify(b, &b->index_file, err) : status;
    status = status == TSDB_OK ? named(b, index_disk_verify(b->index, err), err) : status;
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, VERIFY_ARENA_BYTES, NULL);
    status = chunks_verify(b, &arena, &t, err);
    tsdb_arena_deinit(&arena);
    if (status == TSDB_OK &&
        (t.chunks != b->meta.chunks || t.floats != b->meta.float_samples ||
         t.histograms != b->meta.histogram_samples || t.floats + t.histograms != b->meta.samples)) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "block %s: " BLOCK_META_NAME " counts other samples than there are",
                              b->meta.ulid);
    }
    return status;
}

enum tsdb_status block_verify(const struct block *b, struct tsdb_error *err)
{
    struct cache_l2 *cache = NULL;
    struct block *again = NULL;
    enum tsdb_status status = cache_l2_create(VERIFY_CACHE_BYTES, &cache, err);
    if (status == TSDB_OK) {
        status = block_open(b->index_file.fs, b->dir, b->meta.ulid, cache, &again, err);
    }
    status = again != NULL ? verify_run(again, err) : status;
    block_close(again);
    cache_l2_destroy(cache);
    return status;
}
