/* Writing a block: chunks and the index stream into <ULID>.tmp while series come; finish adds
 * meta.json, makes all of it durable and renames. */
#include "tsdb/block/block_private.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/paged_file.h"
#include "base/random.h"
#include "index/disk/index_disk.h"
#include "tsdb/block/ulid.h"

#include <inttypes.h>

#define FLUSH_BYTES (256u << 10)
/* All series of a scrape have the same times, and series come sorted by name, so the same times
 * come again and again, far apart. The table remembers where they were seen: buckets of 8, the
 * oldest goes first. 64 Ki columns are 8 chunks of each of 8 Ki targets. */
#define SHARE_WAYS      8u
#define SHARE_BUCKETS   (1u << 13)
#define SHARE_BYTES_MIN 16u /* below, a reference and a second read save too little */

struct share_entry {
    struct tsdb_hash128 times; /* of the encoded column, keyed: equal means the same */
    uint64_t offset;           /* where it begins; 0: none, as a record begins with its sort */
};
struct out_file {
    struct tsdb_file *file;
    struct tsdb_buf buf;
    uint64_t written; /* without what is in buf */
};
struct block_writer {
    struct block_writer_options o; /* dir points to `dir` */
    char dir[BLOCK_PATH_BYTES];
    struct block_meta meta;
    struct block_file_sizes sizes;
    struct index_disk_writer *index;
    struct out_file chunks_out, index_out;
    struct paged_writer chunks;
    struct tsdb_buf encoded; /* a chunk */
    struct tsdb_buf cut;     /* a chunk without its times */
    struct chunk_hint hint;
    struct tsdb_hash_key share_key;
    struct share_entry *share; /* SHARE_BUCKETS * SHARE_WAYS */
    int64_t min_ms, max_ms;    /* of the samples; meaningful with chunks */
    enum tsdb_status failed;   /* the first failure; TSDB_OK: none */
    bool in_sight;             /* it has its name, and finish failed */
};

/* ---- files ---- */

static enum tsdb_status out_open(struct block_writer *w, struct out_file *f, const char *name,
                                 struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    const struct tsdb_fs *fs = w->o.fs;
    enum tsdb_status status = block_path(path, w->dir, w->meta.ulid, BLOCK_TMP_SUFFIX, name, err);
    f->written = 0;
    tsdb_buf_init(&f->buf, TSDB_MEM_OTHER, 0);
    return status == TSDB_OK
               ? fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_EXCL,
                               &f->file, err)
               : status;
}

static enum tsdb_status out_flush(const struct block_writer *w, struct out_file *f,
                                  struct tsdb_error *err)
{
    const struct tsdb_fs *fs = w->o.fs;
    if (f->buf.failed) {
        return tsdb_error_set(err, TSDB_NOMEM, "block %s: out of memory", w->meta.ulid);
    }
    if (f->buf.len == 0) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        fs->ops->pwrite(fs->ctx, f->file, f->buf.data, f->buf.len, f->written, err);
    f->written += f->buf.len;
    tsdb_buf_clear(&f->buf);
    return status;
}

static void out_close(const struct block_writer *w, struct out_file *f)
{
    if (f->file != NULL) {
        w->o.fs->ops->close(w->o.fs->ctx, f->file);
        f->file = NULL;
    }
    tsdb_buf_deinit(&f->buf);
}

/* What is left goes out, is synced and closed. */
static enum tsdb_status out_finish(const struct block_writer *w, struct out_file *f,
                                   uint64_t *out_bytes, struct tsdb_error *err)
{
    enum tsdb_status status = out_flush(w, f, err);
    if (status == TSDB_OK) {
        status = w->o.fs->ops->sync(w->o.fs->ctx, f->file, err);
    }
    *out_bytes = f->written;
    out_close(w, f);
    return status;
}

static enum tsdb_status page_write(const struct block_writer *w, struct out_file *f,
                                   const void *data, size_t len, struct tsdb_error *err)
{
    tsdb_buf_put(&f->buf, data, len);
    return f->buf.failed || f->buf.len >= FLUSH_BYTES ? out_flush(w, f, err) : TSDB_OK;
}

static enum tsdb_status chunks_page_write(void *ctx, const void *data, size_t len,
                                          struct tsdb_error *err)
{
    struct block_writer *w = ctx;
    return page_write(w, &w->chunks_out, data, len, err);
}

static enum tsdb_status index_page_write(void *ctx, const void *data, size_t len,
                                         struct tsdb_error *err)
{
    struct block_writer *w = ctx;
    return page_write(w, &w->index_out, data, len, err);
}

/* ---- open and abort ---- */

/* "blocks" itself: made, and durable as a name, when it is not there. */
static enum tsdb_status dir_ensure(const struct tsdb_fs *fs, const char *dir,
                                   struct tsdb_error *err)
{
    struct tsdb_file_info info;
    enum tsdb_status status = fs->ops->stat(fs->ctx, dir, &info, err);
    if (status != TSDB_NOT_FOUND) {
        return status;
    }
    char parent[BLOCK_PATH_BYTES] = "";
    const char *slash = strrchr(dir, '/');
    if (slash != NULL) {
        memcpy(parent, dir, (size_t)(slash - dir));
    }
    status = fs->ops->mkdir(fs->ctx, dir, err);
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, parent, err) : status;
}

static enum tsdb_status files_open(struct block_writer *w, struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    const struct tsdb_fs *fs = w->o.fs;
    enum tsdb_status status = dir_ensure(fs, w->dir, err);
    if (status == TSDB_OK) {
        status = block_path(path, w->dir, w->meta.ulid, BLOCK_TMP_SUFFIX, NULL, err);
    }
    status = status == TSDB_OK ? fs->ops->mkdir(fs->ctx, path, err) : status;
    status = status == TSDB_OK ? out_open(w, &w->chunks_out, BLOCK_CHUNKS_NAME, err) : status;
    status = status == TSDB_OK ? out_open(w, &w->index_out, BLOCK_INDEX_NAME, err) : status;
    if (status != TSDB_OK) {
        return status;
    }
    const uint32_t mark = block_mark(w->meta.ulid);
    if (paged_writer_init(&w->chunks, (struct paged_sink){chunks_page_write, w, mark}) != TSDB_OK) {
        return tsdb_error_nomem(err, "a block's pages");
    }
    return index_disk_writer_create((struct paged_sink){index_page_write, w, mark}, &w->index, err);
}

static void writer_free(struct block_writer *w)
{
    index_disk_writer_destroy(w->index);
    out_close(w, &w->chunks_out);
    out_close(w, &w->index_out);
    paged_writer_deinit(&w->chunks);
    tsdb_buf_deinit(&w->encoded);
    tsdb_buf_deinit(&w->cut);
    tsdb_mem_free(TSDB_MEM_OTHER, w->share, SHARE_BUCKETS * SHARE_WAYS * sizeof *w->share);
    tsdb_mem_free(TSDB_MEM_OTHER, w, sizeof *w);
}

enum tsdb_status block_writer_open(const struct block_writer_options *o, struct block_writer **out,
                                   struct tsdb_error *err)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    struct block_writer *w = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *w);
    if (!w) {
        return tsdb_error_set(err, TSDB_NOMEM, "block writer: out of memory");
    }
    w->o = *o;
    tsdb_buf_init(&w->encoded, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&w->cut, TSDB_MEM_OTHER, 0);
    ulid_format(o->wall_ms, o->random, w->meta.ulid);
    w->meta.level = o->level;
    w->meta.sequence = o->sequence;
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&w->share_key, seed);
    w->share = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, SHARE_BUCKETS * SHARE_WAYS * sizeof *w->share);
    enum tsdb_status status = TSDB_OK;
    if (!w->share) {
        status = tsdb_error_set(err, TSDB_NOMEM, "block writer: out of memory");
    } else if (strlen(o->dir) >= sizeof w->dir) {
        status = tsdb_error_set(err, TSDB_INVALID, "block writer: the path is too long");
    } else {
        memcpy(w->dir, o->dir, strlen(o->dir) + 1);
        status = files_open(w, err);
    }
    if (status != TSDB_OK) {
        block_writer_abort(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

void block_writer_abort(struct block_writer *w)
{
    char path[BLOCK_PATH_BYTES];
    if (!w) {
        return;
    }
    out_close(w, &w->chunks_out);
    out_close(w, &w->index_out);
    /* What cannot be removed now, block_dir_clean removes at the next start. */
    if (w->dir[0] != 0 &&
        block_path(path, w->dir, w->meta.ulid, BLOCK_TMP_SUFFIX, NULL, NULL) == TSDB_OK) {
        (void)!tsdb_file_tree_remove(w->o.fs, path, NULL);
    }
    writer_free(w);
}

/* ---- series and chunks ---- */

static enum tsdb_status fail(struct block_writer *w, enum tsdb_status status,
                             struct tsdb_error *err)
{
    if (status != TSDB_OK) {
        w->failed = w->failed == TSDB_OK ? status : w->failed;
        return tsdb_error_prefix(err, status, "block %s", w->meta.ulid);
    }
    return TSDB_OK;
}

static enum tsdb_status failed_before(const struct block_writer *w, struct tsdb_error *err)
{
    return w->failed == TSDB_OK
               ? TSDB_OK
               : tsdb_error_set(err, w->failed, "block %s: writing failed before", w->meta.ulid);
}

enum tsdb_status block_writer_series(struct block_writer *w, const struct tsdb_labels *labels,
                                     struct tsdb_error *err)
{
    enum tsdb_status status = failed_before(w, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = index_disk_writer_series(w->index, labels, err);
    w->hint = (struct chunk_hint){0};
    w->meta.series++;
    return fail(w, status, err);
}

/* Where a column with these times begins, 0 if none is remembered; then *out_slot is where to
 * remember one. */
static uint64_t share_find(struct block_writer *w, struct tsdb_slice times,
                           struct share_entry **out_slot, struct tsdb_hash128 *out_hash)
{
    struct tsdb_hash128 h = tsdb_hash128(&w->share_key, times.data, times.len);
    struct share_entry *bucket = w->share + (h.lo % SHARE_BUCKETS) * SHARE_WAYS;
    struct share_entry *oldest = bucket;
    for (uint32_t i = 0; i < SHARE_WAYS; i++) {
        if (bucket[i].offset != 0 && bucket[i].times.lo == h.lo && bucket[i].times.hi == h.hi) {
            return bucket[i].offset;
        }
        oldest = bucket[i].offset < oldest->offset ? &bucket[i] : oldest;
    }
    *out_slot = oldest;
    *out_hash = h;
    return 0;
}

static enum tsdb_status record_put(struct block_writer *w, const uint8_t *head, size_t head_len,
                                   const uint8_t *chunk, size_t chunk_len, uint32_t *out_len,
                                   struct tsdb_error *err)
{
    enum tsdb_status status = paged_put(&w->chunks, head, head_len, err);
    *out_len = (uint32_t)(head_len + chunk_len);
    return status == TSDB_OK ? paged_put(&w->chunks, chunk, chunk_len, err) : status;
}

/* Write the chunk at `offset`, without its times if an earlier record has them. */
static enum tsdb_status chunk_write(struct block_writer *w, const uint8_t *encoded, size_t len,
                                    uint64_t offset, uint32_t *out_len, struct tsdb_error *err)
{
    struct tsdb_slice times;
    struct share_entry *slot = NULL;
    struct tsdb_hash128 hash = {0, 0};
    uint8_t head[BLOCK_RECORD_HEAD_MAX] = {BLOCK_RECORD_WHOLE};
    size_t cut_len = 0;
    if (len == 0 || len > BLOCK_RECORD_BYTES_MAX - sizeof head) {
        return tsdb_error_set(err, TSDB_INVALID, "a chunk of %zu bytes", len);
    }
    tsdb_buf_clear(&w->cut);
    uint8_t *cut = tsdb_buf_reserve(&w->cut, len);
    if (!cut) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory for a chunk of %zu bytes", len);
    }
    enum tsdb_status status = chunk_detach_times(encoded, len, cut, &cut_len, &times, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t from = times.len >= SHARE_BYTES_MIN ? share_find(w, times, &slot, &hash) : 0;
    if (from != 0) {
        head[0] = BLOCK_RECORD_SHARED;
        uint8_t *end = tsdb_put_uvarint(head + 1, offset - from);
        end = tsdb_put_uvarint(end, times.len);
        return record_put(w, head, (size_t)(end - head), cut, cut_len, out_len, err);
    }
    if (slot != NULL) {
        *slot = (struct share_entry){hash, offset + 1 + (uint64_t)(times.data - encoded)};
    }
    return record_put(w, head, 1, encoded, len, out_len, err);
}

static enum tsdb_status index_put(struct block_writer *w, const struct chunk_samples *samples,
                                  uint64_t offset, uint32_t len, struct tsdb_error *err)
{
    struct chunk_summary s;
    chunk_summarize(samples, &s);
    const struct index_disk_chunk c = {.min_ms = s.min_ms,
                                       .max_ms = s.max_ms,
                                       .first_bits = s.first_bits,
                                       .last_bits = s.last_bits,
                                       .min = s.min,
                                       .max = s.max,
                                       .offset = offset,
                                       .len = len,
                                       .count = s.count,
                                       .resets = s.resets,
                                       .stale = s.stale,
                                       .kind = samples->kind,
                                       .all_int = s.all_int};
    enum tsdb_status status = index_disk_writer_chunk(w->index, &c, err);
    w->min_ms = w->meta.chunks == 0 ? s.min_ms : TSDB_MIN(w->min_ms, s.min_ms);
    w->max_ms = w->meta.chunks == 0 ? s.max_ms : TSDB_MAX(w->max_ms, s.max_ms);
    w->meta.chunks++;
    w->meta.samples += s.count;
    *(samples->kind == TSDB_SAMPLE_FLOAT ? &w->meta.float_samples : &w->meta.histogram_samples) +=
        s.count;
    return status;
}

enum tsdb_status block_writer_chunk(struct block_writer *w, const struct chunk_samples *samples,
                                    const uint8_t *encoded, size_t encoded_len,
                                    struct tsdb_error *err)
{
    uint32_t len = 0;
    uint64_t offset = paged_offset(&w->chunks);
    enum tsdb_status status = failed_before(w, err);
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(w->meta.series > 0);
    if (!encoded) {
        tsdb_buf_clear(&w->encoded);
        uint8_t *out = tsdb_buf_reserve(&w->encoded, chunk_encoded_bytes_max(samples));
        if (!out) {
            return fail(w, tsdb_error_set(err, TSDB_NOMEM, "no memory to encode a chunk"), err);
        }
        encoded_len = chunk_encode(samples, &w->hint, out);
        encoded = out;
    }
    status = chunk_write(w, encoded, encoded_len, offset, &len, err);
    status = status == TSDB_OK ? index_put(w, samples, offset, len, err) : status;
    return fail(w, status, err);
}

bool block_writer_times(const struct block_writer *w, int64_t *out_min_ms, int64_t *out_max_ms)
{
    if (w->meta.chunks > 0) {
        *out_min_ms = w->min_ms;
        *out_max_ms = w->max_ms;
    }
    return w->meta.chunks > 0;
}

/* ---- finish ---- */

static enum tsdb_status meta_file_write(struct block_writer *w, struct tsdb_error *err)
{
    struct out_file f = {0};
    uint64_t bytes = 0;
    enum tsdb_status status = out_open(w, &f, BLOCK_META_NAME, err);
    if (status != TSDB_OK) {
        out_close(w, &f);
        return status;
    }
    block_meta_print(&w->meta, &w->sizes, &f.buf);
    status = out_finish(w, &f, &bytes, err);
    w->meta.bytes = bytes + w->sizes.index + w->sizes.chunks;
    return status;
}

/* All files are written: make the directory durable and visible. */
static enum tsdb_status publish(struct block_writer *w, struct tsdb_error *err)
{
    char tmp[BLOCK_PATH_BYTES];
    char path[BLOCK_PATH_BYTES];
    const struct tsdb_fs *fs = w->o.fs;
    enum tsdb_status status = block_path(tmp, w->dir, w->meta.ulid, BLOCK_TMP_SUFFIX, NULL, err);
    status = status == TSDB_OK ? block_path(path, w->dir, w->meta.ulid, "", NULL, err) : status;
    status = status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, tmp, err) : status;
    status = status == TSDB_OK ? fs->ops->rename(fs->ctx, tmp, path, err) : status;
    if (status != TSDB_OK) {
        return status;
    }
    status = fs->ops->sync_dir(fs->ctx, w->dir, err);
    if (status != TSDB_OK) {
        /* Nobody may rely on it: take it out of sight again, abort removes it. */
        w->in_sight = fs->ops->rename(fs->ctx, path, tmp, NULL) != TSDB_OK;
    }
    return status;
}

static enum tsdb_status finish_check(const struct block_writer *w, struct tsdb_error *err)
{
    if (w->meta.series == 0) {
        return tsdb_error_set(err, TSDB_NOT_FOUND, "no series to write");
    }
    if (w->meta.min_ms > w->meta.max_ms ||
        (w->meta.chunks > 0 && (w->min_ms < w->meta.min_ms ||
                                (w->max_ms >= w->meta.max_ms && w->meta.max_ms != INT64_MAX)))) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "samples of %" PRId64 " to %" PRId64
                              " do not lie in the range of %" PRId64 " to %" PRId64,
                              w->min_ms, w->max_ms, w->meta.min_ms, w->meta.max_ms);
    }
    return TSDB_OK;
}

enum tsdb_status block_writer_finish(struct block_writer *w, int64_t min_ms, int64_t max_ms,
                                     struct block_meta *out, struct tsdb_error *err)
{
    w->meta.min_ms = min_ms;
    w->meta.max_ms = max_ms;
    out->ulid[0] = 0;
    enum tsdb_status status = failed_before(w, err);
    if (status != TSDB_OK) {
        block_writer_abort(w);
        return status;
    }
    status = finish_check(w, err);
    status = status == TSDB_OK ? index_disk_writer_finish(w->index, err) : status;
    status = status == TSDB_OK ? out_finish(w, &w->index_out, &w->sizes.index, err) : status;
    status = status == TSDB_OK ? paged_finish(&w->chunks, err) : status;
    status = status == TSDB_OK ? out_finish(w, &w->chunks_out, &w->sizes.chunks, err) : status;
    status = status == TSDB_OK ? meta_file_write(w, err) : status;
    status = status == TSDB_OK ? publish(w, err) : status;
    if (status != TSDB_OK) {
        if (w->in_sight) {
            memcpy(out->ulid, w->meta.ulid, sizeof out->ulid);
        }
        status = fail(w, status, err);
        block_writer_abort(w);
        return status;
    }
    *out = w->meta;
    writer_free(w);
    return TSDB_OK;
}
