/* Reading a block. meta.json says how long the files are; both are packed pages, which are checked
 * and unpacked when the L2 cache takes them in. */
#include "tsdb/block/block.h"

#include "base/paged_file.h"
#include "compress/time_codec.h"
#include "index/disk/index_disk.h"
#include "tsdb/block/block_private.h"
#include "tsdb/block/ulid.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>

#define VERIFY_CACHE_BYTES (64u * CACHE_L2_FRAME_BYTES)
#define VERIFY_ARENA_BYTES (256u << 10)

static_assert(CACHE_L2_FRAME_BYTES == PAGED_PAGE_BYTES, "a frame of the cache holds a page");

struct block_file {
    const struct tsdb_fs *fs;
    struct cache_l2 *cache;
    struct tsdb_file *file;
    uint64_t cache_id;
    struct paged_directory pages;
};
/* Immutable after open. */
struct block {
    struct block_meta meta;
    struct block_file_sizes sizes;
    uint64_t id;
    char dir[BLOCK_PATH_BYTES];
    struct block_file index_file, chunks_file;
    struct index_disk *index;
};

static _Atomic(uint64_t) next_block_id = 1;

static enum tsdb_status named(const struct block *b, enum tsdb_status status,
                              struct tsdb_error *err)
{
    return status == TSDB_OK ? TSDB_OK : tsdb_error_prefix(err, status, "block %s", b->meta.ulid);
}

/* ---- files ---- */

static enum tsdb_status page_load(void *arg, uint64_t page, uint8_t *data, uint32_t *out_len,
                                  struct tsdb_error *err)
{
    const struct block_file *f = arg;
    return paged_load(&f->pages, page, data, out_len, err);
}

static enum tsdb_status pages_read(void *ctx, uint64_t offset, void *out, size_t len,
                                   struct tsdb_error *err)
{
    struct block_file *f = ctx;
    return cache_l2_read_made(f->cache, f->cache_id, offset, out, len, page_load, f, err);
}

static struct paged_source pages_source(const struct block_file *f)
{
    union {
        const struct block_file *in;
        void *out;
    } ctx = {f}; /* pages_read changes nothing in it */
    return (struct paged_source){pages_read, ctx.out, f->pages.bytes};
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
        status = paged_open(fs, out->file, bytes, block_mark(b->meta.ulid), &out->pages, err);
    }
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "%s", name);
}

static void file_close(struct block_file *f)
{
    if (f->file != NULL) {
        cache_l2_drop(f->cache, f->cache_id);
        paged_close(&f->pages);
        f->fs->ops->close(f->fs->ctx, f->file);
    }
}

/* ---- open ---- */

static enum tsdb_status meta_load(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                  struct block_meta *out, struct block_file_sizes *out_sizes,
                                  struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status = block_path(path, dir, ulid, "", BLOCK_META_NAME, err);
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
    status = block_meta_parse(data, len, &meta, out_sizes, err);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    if (status == TSDB_OK && strcmp(meta.ulid, ulid) != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, BLOCK_META_NAME " belongs to block %s", meta.ulid);
    }
    if (status == TSDB_OK) {
        *out = meta;
        out->bytes = out_sizes->index + out_sizes->chunks + len;
    }
    return status;
}

enum tsdb_status block_meta_read(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                 struct block_meta *out, struct tsdb_error *err)
{
    struct block_file_sizes unused;
    return meta_load(fs, dir, ulid, out, &unused, err);
}

static enum tsdb_status files_open(const struct tsdb_fs *fs, struct block *b,
                                   struct cache_l2 *cache, struct tsdb_error *err)
{
    enum tsdb_status status =
        file_open(fs, b, cache, BLOCK_INDEX_NAME, b->sizes.index, &b->index_file, err);
    if (status == TSDB_OK) {
        status = file_open(fs, b, cache, BLOCK_CHUNKS_NAME, b->sizes.chunks, &b->chunks_file, err);
    }
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
    enum tsdb_status status = meta_load(fs, b->dir, ulid, &b->meta, &b->sizes, err);
    status = status == TSDB_OK ? files_open(fs, b, cache, err) : status;
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

enum tsdb_status block_labels_next(const struct block *b, struct index_disk_cursor **c, uint32_t id,
                                   struct tsdb_labels *out, struct tsdb_error *err)
{
    enum tsdb_status status = *c ? TSDB_OK : index_disk_cursor_create(b->index, c, err);
    status = status == TSDB_OK ? index_disk_cursor_labels(*c, id, out, err) : status;
    return named(b, status, err);
}

void block_labels_end(struct index_disk_cursor **c)
{
    index_disk_cursor_destroy(*c);
    *c = NULL;
}

enum tsdb_status block_find(const struct block *b, const struct tsdb_labels *labels,
                            uint32_t *out_id, struct tsdb_error *err)
{
    return named(b, index_disk_find(b->index, labels, out_id, err), err);
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

uint64_t block_pages_bytes(const struct block *b)
{
    return b->index_file.pages.bytes + b->chunks_file.pages.bytes;
}

/* ---- chunks ---- */

static enum tsdb_status chunk_convert(const struct block *b, const struct index_disk_chunk *c,
                                      uint32_t id, struct block_chunk *out, struct tsdb_error *err)
{
    uint64_t bytes = b->chunks_file.pages.bytes;
    if (c->count > CHUNK_SAMPLES_MAX || c->offset > bytes || c->len > BLOCK_RECORD_BYTES_MAX ||
        c->len > bytes - c->offset) {
        return named(b,
                     tsdb_error_set(err, TSDB_CORRUPT,
                                    "a chunk of series %u is not within the chunks file", id),
                     err);
    }
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
    return TSDB_OK;
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
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        status = chunk_convert(b, &found[i], id, &chunks[i], err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    *out = chunks;
    *out_count = count;
    return TSDB_OK;
}

enum tsdb_status block_newest_next(const struct block *b, struct index_disk_newest **c, uint32_t id,
                                   struct tsdb_time_range range, bool *out_any,
                                   struct block_chunk *out, struct tsdb_error *err)
{
    struct index_disk_chunk found;
    enum tsdb_status status = *c ? TSDB_OK : index_disk_newest_create(b->index, c, err);
    if (status == TSDB_OK) {
        status = index_disk_newest_at(*c, id, range, out_any, &found, err);
    }
    if (status != TSDB_OK) {
        return named(b, status, err);
    }
    return *out_any ? chunk_convert(b, &found, id, out, err) : TSDB_OK;
}

void block_newest_end(struct index_disk_newest **c)
{
    index_disk_newest_destroy(*c);
    *c = NULL;
}

/* Bytes of the chunks file, in memory of their own. */
struct stretch {
    uint8_t *data;
    size_t len;
};

static void stretch_free(struct stretch *s)
{
    tsdb_mem_free(TSDB_MEM_QUERY, s->data, s->len);
    s->data = NULL;
}

static enum tsdb_status stretch_read(const struct block *b, uint64_t offset, size_t len,
                                     struct stretch *out, struct tsdb_error *err)
{
    const struct paged_source source = pages_source(&b->chunks_file);
    if (len == 0 || offset > source.bytes || len > source.bytes - offset) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "chunk at byte %" PRIu64 " is empty or goes beyond the end",
                                 offset);
    }
    struct stretch s = {tsdb_mem_alloc(TSDB_MEM_QUERY, len), len};
    if (!s.data) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory for a chunk of %zu bytes", len);
    }
    enum tsdb_status status = paged_read(&source, offset, s.data, len, err);
    if (status != TSDB_OK) {
        stretch_free(&s);
        return status;
    }
    *out = s;
    return TSDB_OK;
}

/* A chunk whose times are part of an earlier record. */
static enum tsdb_status shared_decode(const struct block *b, const struct stretch *record,
                                      uint64_t offset, struct tsdb_arena *arena,
                                      struct chunk_samples *out, struct tsdb_error *err)
{
    struct tsdb_reader r;
    struct stretch times = {0};
    tsdb_reader_init(&r, record->data + 1, record->len - 1);
    uint64_t distance = tsdb_reader_uvarint(&r);
    uint64_t bytes = tsdb_reader_uvarint(&r);
    if (r.failed || distance > offset || bytes > distance ||
        bytes > time_codec_bytes_max(CHUNK_SAMPLES_MAX)) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "chunk at byte %" PRIu64 ": its times are nowhere", offset);
    }
    enum tsdb_status status = stretch_read(b, offset - distance, (size_t)bytes, &times, err);
    if (status == TSDB_OK) {
        struct tsdb_slice column = {times.data, times.len};
        status = chunk_decode_detached(r.pos, tsdb_reader_left(&r), column, arena, out, err);
        stretch_free(&times);
    }
    return status;
}

static enum tsdb_status record_decode(const struct block *b, const struct stretch *record,
                                      uint64_t offset, struct tsdb_arena *arena,
                                      struct chunk_samples *out, struct tsdb_error *err)
{
    switch (record->data[0]) {
    case BLOCK_RECORD_WHOLE:
        return chunk_decode(record->data + 1, record->len - 1, arena, out, err);
    case BLOCK_RECORD_SHARED:
        return shared_decode(b, record, offset, arena, out, err);
    default:
        return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                 "chunk at byte %" PRIu64 " begins with %u", offset,
                                 record->data[0]);
    }
}

enum tsdb_status block_chunk_record(const struct block *b, const struct block_chunk *c,
                                    struct tsdb_arena *arena, struct tsdb_slice *out,
                                    struct tsdb_error *err)
{
    struct stretch record;
    enum tsdb_status status = stretch_read(b, c->offset, c->len, &record, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t *copy = tsdb_arena_alloc(arena, record.len, 1);
    if (copy) {
        memcpy(copy, record.data, record.len);
        *out = (struct tsdb_slice){copy, record.len};
    } else {
        status = tsdb_error_set(err, tsdb_arena_status(arena), "no memory for a chunk's record");
    }
    stretch_free(&record);
    return status;
}

enum tsdb_status block_chunk_read(const struct block *b, const struct block_chunk *c,
                                  struct tsdb_arena *arena, struct chunk_samples *out,
                                  struct tsdb_error *err)
{
    struct stretch record;
    struct chunk_samples s;
    enum tsdb_status status = stretch_read(b, c->offset, c->len, &record, err);
    if (status != TSDB_OK) {
        return named(b, status, err);
    }
    status = record_decode(b, &record, c->offset, arena, &s, err);
    stretch_free(&record);
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
static enum tsdb_status pages_verify(const struct block *b, struct block_file *f,
                                     struct tsdb_error *err)
{
    for (uint64_t i = 0; i < f->pages.pages; i++) {
        struct cache_l2_page page;
        enum tsdb_status status =
            cache_l2_get_made(f->cache, f->cache_id, i, page_load, f, &page, err);
        if (status != TSDB_OK) {
            return named(b, status, err);
        }
        cache_l2_release(f->cache, &page);
    }
    return TSDB_OK;
}

static enum tsdb_status verify_run(struct block *b, struct tsdb_error *err)
{
    struct tsdb_arena arena;
    struct totals t = {0};
    enum tsdb_status status = pages_verify(b, &b->index_file, err);
    status = status == TSDB_OK ? pages_verify(b, &b->chunks_file, err) : status;
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
