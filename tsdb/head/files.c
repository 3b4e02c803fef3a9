#include "tsdb/head/files.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/numbered.h"
#include "model/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CATEGORY       TSDB_MEM_OTHER
#define MAGIC          "TDLHEADC"
#define PATH_MAX_BYTES 48
#define AT_IDENTITY    12 /* in the header */
#define LINE_BYTES     64u

enum state {
    LIVE = 0,
    MARKED,
    DOOMED
};

struct head_files {
    const struct tsdb_fs *fs;
    struct cache_l2 *cache;
    struct tsdb_epoch *epoch;
    uint32_t mark;
    _Atomic(uint64_t) read_failures;
    _Atomic(uint64_t) damaged;
    struct tsdb_epoch_limbo limbo; /* owned by whoever checkpoints: stands for guards of the past */
    struct tsdb_mutex lock;        /* rank TSDB_HEAD_FILES; guards the rest */
    struct head_file *first TSDB_GUARDED;
    uint64_t next_number TSDB_GUARDED;
    struct tsdb_prng identities TSDB_GUARDED;
    uint32_t doomed TSDB_GUARDED;
};

static void path_of(uint64_t number, char *out)
{
    tsdb_numbered_name(out, PATH_MAX_BYTES, HEAD_FILES_DIR "/", number);
}

enum tsdb_status head_files_create(const struct tsdb_fs *fs, struct cache_l2 *cache,
                                   struct tsdb_epoch *epoch, uint32_t mark, uint64_t seed,
                                   struct head_files **out)
{
    struct head_files *f = tsdb_mem_alloc_zero(CATEGORY, sizeof *f);
    if (!f) {
        return TSDB_NOMEM;
    }
    f->fs = fs;
    f->cache = cache;
    f->epoch = epoch;
    f->mark = mark;
    tsdb_epoch_limbo_init(&f->limbo);
    tsdb_mutex_init(&f->lock, TSDB_RANK_TSDB_HEAD_FILES, "head files");
    tsdb_mutex_lock(&f->lock);
    f->next_number = 1;
    tsdb_prng_init(&f->identities, seed);
    tsdb_mutex_unlock(&f->lock);
    *out = f;
    return TSDB_OK;
}

static void file_close(struct head_file *h)
{
    h->fs->ops->close(h->fs->ctx, h->file);
    tsdb_mem_free(CATEGORY, h, sizeof *h);
}

void head_files_destroy(struct head_files *f)
{
    if (!f) {
        return;
    }
    tsdb_mutex_lock(&f->lock);
    struct head_file *h = f->first;
    f->first = NULL;
    tsdb_mutex_unlock(&f->lock);
    while (h) {
        struct head_file *next = h->next;
        file_close(h);
        h = next;
    }
    tsdb_epoch_limbo_deinit(&f->limbo);
    tsdb_mutex_deinit(&f->lock);
    tsdb_mem_free(CATEGORY, f, sizeof *f);
}

/* ---- references ---- */

void head_file_acquire(struct head_file *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void head_file_release(struct head_file *f)
{
    /* Release: partner is the load in head_files_mark and collect; the holder's reads are over. */
    uint64_t before = atomic_fetch_sub_explicit(&f->refs, 1, memory_order_release);
    TSDB_ASSERT(before > 0);
}

void head_file_give_up(struct head_file *f, const struct tsdb_error *why)
{
    if (!atomic_exchange_explicit(&f->damaged, true, memory_order_relaxed)) {
        atomic_fetch_add_explicit(f->damaged_files, 1, memory_order_relaxed);
        tsdb_log(TSDB_LOG_ERROR, "head files",
                 "a file counts as damaged: what cannot be read is lost", TSDB_U("file", f->number),
                 TSDB_S("err", why->msg));
    }
}

static bool unused(const struct head_file *h)
{
    return atomic_load_explicit(&h->refs, memory_order_acquire) == 0;
}

/* ---- one file ---- */

static void header_put(uint64_t number, uint32_t identity, uint32_t mark,
                       uint8_t out[HEAD_FILE_HEADER_BYTES])
{
    memset(out, 0, HEAD_FILE_HEADER_BYTES);
    memcpy(out, MAGIC, 8);
    tsdb_store_le32(out + 8, TSDB_FORMAT_HEAD_CHUNKS);
    tsdb_store_le32(out + AT_IDENTITY, identity);
    tsdb_store_le64(out + 16, number);
    tsdb_store_le32(out + 24, mark);
    tsdb_store_le32(out + 28, tsdb_crc32c(0, out, 28));
}

/* Seeded by directory, number and offset: bytes that belong elsewhere do not verify. */
static uint32_t chunk_crc(const struct head_file *f, uint64_t offset, const uint8_t *frame,
                          uint32_t len)
{
    uint8_t seed[16];
    tsdb_store_le64(seed, f->number);
    tsdb_store_le64(seed + 8, offset);
    return tsdb_crc32c(tsdb_crc32c(f->mark, seed, sizeof seed), frame, 4 + (size_t)len);
}

void head_file_frame_end(const struct head_file *f, uint64_t offset, uint8_t *frame, uint32_t len)
{
    tsdb_store_le32(frame, len);
    tsdb_store_le32(frame + 4 + len, chunk_crc(f, offset, frame, len));
}

enum tsdb_status head_file_append(struct head_file *f, const void *data, size_t len,
                                  struct tsdb_error *err)
{
    uint64_t at = atomic_load_explicit(&f->bytes, memory_order_relaxed); /* own store */
    TSDB_ASSERT(len > 0 && at >= HEAD_FILE_HEADER_BYTES);
    enum tsdb_status status = f->fs->ops->pwrite(f->fs->ctx, f->file, data, len, at, err);
    if (status == TSDB_OK) {
        status = f->fs->ops->sync(f->fs->ctx, f->file, err);
    }
    if (status == TSDB_OK) {
        /* Release: partner is the load in head_file_read. */
        atomic_store_explicit(&f->bytes, at + len, memory_order_release);
    }
    return status;
}

static enum tsdb_status bytes_read(const struct head_file *f, bool cached, uint64_t offset,
                                   void *out, size_t len, struct tsdb_error *err)
{
    uint64_t bytes = atomic_load_explicit(&f->bytes, memory_order_acquire);
    uint64_t end = offset + len;
    if (end < offset || end > bytes) {
        return tsdb_error_set(err, TSDB_CORRUPT, "the file ends before byte %" PRIu64, end);
    }
    /* The cache keeps pages as they are, so only those that the file has grown past. */
    uint64_t page_end =
        (end + CACHE_L2_FRAME_BYTES - 1) / CACHE_L2_FRAME_BYTES * (uint64_t)CACHE_L2_FRAME_BYTES;
    if (cached && f->cache && page_end <= bytes) {
        return cache_l2_read(f->cache, f->cache_id, f->fs, f->file, offset, out, len, NULL, NULL,
                             err);
    }
    size_t got = 0;
    enum tsdb_status status = f->fs->ops->pread(f->fs->ctx, f->file, out, len, offset, &got, err);
    if (status == TSDB_OK && got < len) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "the file ends before byte %" PRIu64, end);
    }
    return status;
}

static enum tsdb_status chunk_check(const struct head_file *f, bool cached, uint64_t offset,
                                    uint32_t len, struct tsdb_arena *arena,
                                    struct chunk_samples *out, struct tsdb_error *err)
{
    if (len > UINT32_MAX - HEAD_FILE_FRAME_BYTES ||
        len > atomic_load_explicit(&f->bytes, memory_order_relaxed)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "a chunk of %u bytes", len);
    }
    uint8_t *frame = tsdb_arena_alloc(arena, (size_t)len + HEAD_FILE_FRAME_BYTES, 8);
    if (!frame) {
        return tsdb_error_set(err, arena->failure, "no memory for a chunk of %u bytes", len);
    }
    enum tsdb_status status =
        bytes_read(f, cached, offset, frame, (size_t)len + HEAD_FILE_FRAME_BYTES, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t crc = chunk_crc(f, offset, frame, len);
    if (tsdb_load_le32(frame) != len || tsdb_load_le32(frame + 4 + len) != crc) {
        return tsdb_error_set(err, TSDB_CORRUPT, "length %u crc %08x, expected %u %08x",
                              tsdb_load_le32(frame), tsdb_load_le32(frame + 4 + len), len, crc);
    }
    return chunk_decode(frame + 4, len, arena, out, err);
}

/* ---- bundles ---- */

/* The first bytes of a bundle: its head, and maybe more. Where the cache's page has them, they are read as they
 * lie there, and their checksum is worked out once as long as the page stays: a head is that of 64 series, each
 * of which is read alone. */
struct bundle_front {
    struct bundle_place place;
    struct bundle_head head;
    const uint8_t *src;
    size_t have;
    struct cache_l2_page page; /* pinned; data NULL: they are in `bytes` */
    uint8_t bytes[BUNDLE_HEAD_BYTES_MAX];
};
static_assert(CACHE_L2_MARK_BYTES <= BUNDLE_HEAD_BYTES_MIN, "no two bundles have one mark");

/* Are `len` bytes from there on on one page, which the file has grown past? */
static bool on_one_page(const struct head_file *f, uint64_t offset, size_t len)
{
    uint64_t page = offset / CACHE_L2_FRAME_BYTES;
    return offset + len <= (page + 1) * CACHE_L2_FRAME_BYTES &&
           (page + 1) * CACHE_L2_FRAME_BYTES <=
               atomic_load_explicit(&f->bytes, memory_order_acquire);
}

/* At least the first `least` bytes of the bundle. */
static enum tsdb_status front_read(const struct head_file *f, bool cached,
                                   const struct head_place *at, size_t least,
                                   struct bundle_front *b, struct tsdb_error *err)
{
    b->src = b->bytes;
    b->have = least;
    if (!cached || !f->cache || !on_one_page(f, at->offset, least)) {
        return bytes_read(f, cached, at->offset, b->bytes, least, err);
    }
    uint64_t page = at->offset / CACHE_L2_FRAME_BYTES;
    uint32_t from = (uint32_t)(at->offset % CACHE_L2_FRAME_BYTES);
    enum tsdb_status status =
        cache_l2_get(f->cache, f->cache_id, f->fs, f->file, page, NULL, NULL, &b->page, err);
    if (status != TSDB_OK) {
        return status == TSDB_NOT_FOUND ? tsdb_error_set(err, TSDB_CORRUPT, "the file ends before")
                                        : status;
    }
    b->src = b->page.data + from;
    b->have = b->page.len > from ? TSDB_MIN((size_t)at->len, (size_t)(b->page.len - from)) : 0;
    return b->have >= least
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_CORRUPT, "the file ends before byte %" PRIu64,
                                at->offset + least);
}

static void bundle_close(const struct head_file *f, struct bundle_front *b)
{
    if (b->page.data) {
        cache_l2_release(f->cache, &b->page);
    }
}

/* Whatever comes of it is to be closed. */
static enum tsdb_status bundle_open(const struct head_file *f, bool cached,
                                    const struct head_place *at, struct bundle_front *b,
                                    struct tsdb_error *err)
{
    uint32_t from = (uint32_t)(at->offset % CACHE_L2_FRAME_BYTES);
    b->page = (struct cache_l2_page){0};
    b->place = (struct bundle_place){f->mark, f->number, at->offset,
                                     at->local & ~(BUNDLE_SERIES - 1), at->partition};
    enum tsdb_status status =
        front_read(f, cached, at, TSDB_MIN(sizeof b->bytes, (size_t)at->len), b, err);
    if (status != TSDB_OK) {
        return status;
    }
    bool known = b->page.data && cache_l2_is_marked(&b->page, from);
    status = bundle_head_open(b->src, b->have, at->len, &b->place, known, &b->head, err);
    if (status == TSDB_OK && b->page.data && !known) {
        cache_l2_mark(&b->page, from);
    }
    return status;
}

/* The tokens of a stream: what the page has, else a copy in the arena. */
static enum tsdb_status tokens_read(const struct head_file *f, bool cached,
                                    const struct bundle_front *b, const struct bundle_stream *s,
                                    struct tsdb_arena *arena, const uint8_t **out,
                                    struct tsdb_error *err)
{
    bool there = s->at + s->bytes <= b->have;
    if (there && b->page.data) {
        *out = b->src + s->at;
        return TSDB_OK;
    }
    uint8_t *room = tsdb_arena_alloc(arena, s->bytes + 1u, 1);
    if (!room) {
        return tsdb_error_set(err, arena->failure, "no memory for %u samples", s->count);
    }
    *out = room;
    if (there) {
        memcpy(room, b->src + s->at, s->bytes);
        return TSDB_OK;
    }
    return bytes_read(f, cached, b->place.offset + s->at, room, s->bytes, err);
}

static enum tsdb_status stream_find(const struct bundle_front *b, const struct head_place *at,
                                    struct bundle_stream *out, struct tsdb_error *err)
{
    enum tsdb_status status = bundle_head_find(&b->head, at->local & (BUNDLE_SERIES - 1), out, err);
    return status == TSDB_NOT_FOUND ? TSDB_CORRUPT : status;
}

static enum tsdb_status bundle_check(const struct head_file *f, bool cached,
                                     const struct head_place *at, struct tsdb_arena *arena,
                                     struct chunk_samples *out, struct tsdb_error *err)
{
    struct bundle_front b;
    struct bundle_stream s = {0};
    const uint8_t *tokens = NULL;
    int64_t *t_ms = NULL;
    uint64_t *value = NULL;
    enum tsdb_status status = bundle_open(f, cached, at, &b, err);
    if (status == TSDB_OK) {
        status = stream_find(&b, at, &s, err);
    }
    if (status == TSDB_OK) {
        status = tokens_read(f, cached, &b, &s, arena, &tokens, err);
    }
    if (status == TSDB_OK) {
        t_ms = TSDB_ARENA_ARRAY(arena, int64_t, s.count);
        value = t_ms ? TSDB_ARENA_ARRAY(arena, uint64_t, s.count) : NULL;
        status = value ? bundle_stream_decode(&b.place, &s, tokens, t_ms, value, err)
                       : tsdb_error_set(err, arena->failure, "no memory for %u samples", s.count);
    }
    bundle_close(f, &b);
    *out = (struct chunk_samples){
        .kind = TSDB_SAMPLE_FLOAT, .count = s.count, .t_ms = t_ms, .value = value};
    return status;
}

/* ---- either ---- */

static enum tsdb_status place_read(const struct head_file *f, bool cached,
                                   const struct head_place *at, struct tsdb_arena *arena,
                                   struct chunk_samples *out, struct tsdb_error *err)
{
    struct chunk_samples samples = {0};
    enum tsdb_status status =
        at->bundle ? bundle_check(f, cached, at, arena, &samples, err)
                   : chunk_check(f, cached, at->offset, at->len, arena, &samples, err);
    if (status != TSDB_OK) {
        return head_file_found_bad(f, at, status, err);
    }
    *out = samples;
    return TSDB_OK;
}

enum tsdb_status head_file_found_bad(const struct head_file *f, const struct head_place *place,
                                     enum tsdb_status status, struct tsdb_error *err)
{
    if (status == TSDB_CORRUPT || status == TSDB_IO) {
        atomic_fetch_add_explicit(f->read_failures, 1, memory_order_relaxed);
    }
    return tsdb_error_prefix(err, status, HEAD_FILES_DIR "/%08" PRIu64 " at byte %" PRIu64,
                             f->number, place->offset);
}

enum tsdb_status head_file_find(const struct head_file *f, const struct head_place *place,
                                struct tsdb_arena *arena, struct head_found *out,
                                struct tsdb_error *err)
{
    struct bundle_front b;
    TSDB_ASSERT(place->bundle);
    enum tsdb_status status = bundle_open(f, true, place, &b, err);
    if (status == TSDB_OK) {
        status = stream_find(&b, place, &out->stream, err);
    }
    if (status == TSDB_OK) {
        status = tokens_read(f, true, &b, &out->stream, arena, &out->tokens, err);
    }
    if (status != TSDB_OK) {
        bundle_close(f, &b);
        return head_file_found_bad(f, place, status, err);
    }
    for (uint32_t i = 0; i < out->stream.bytes; i += LINE_BYTES) {
        __builtin_prefetch(out->tokens + i);
    }
    out->place = b.place;
    out->page = b.page;
    return TSDB_OK;
}

void head_file_found_release(const struct head_file *f, struct head_found *x)
{
    if (x->page.data) {
        cache_l2_release(f->cache, &x->page);
    }
}

enum tsdb_status head_file_read(const struct head_file *f, const struct head_place *place,
                                struct tsdb_arena *arena, struct chunk_samples *out,
                                struct tsdb_error *err)
{
    return place_read(f, true, place, arena, out, err);
}

enum tsdb_status head_file_read_once(const struct head_file *f, const struct head_place *place,
                                     struct tsdb_arena *arena, struct chunk_samples *out,
                                     struct tsdb_error *err)
{
    return place_read(f, false, place, arena, out, err);
}

/* ---- the list ---- */

static struct head_file *file_make(struct head_files *f, uint64_t number, uint32_t identity,
                                   struct tsdb_file *file, uint64_t bytes)
{
    uint8_t id[4];
    struct head_file *h = tsdb_mem_alloc_zero(CATEGORY, sizeof *h);
    if (!h) {
        return NULL;
    }
    h->number = number;
    h->identity = identity;
    tsdb_store_le32(id, identity);
    h->mark = tsdb_crc32c(f->mark, id, sizeof id);
    h->cache = f->cache;
    h->cache_id = f->cache ? cache_l2_file_id(f->cache) : 0;
    h->fs = f->fs;
    h->file = file;
    h->read_failures = &f->read_failures;
    h->damaged_files = &f->damaged;
    atomic_init(&h->bytes, bytes);
    return h;
}

static void list_add(struct head_files *f, struct head_file *h)
{
    tsdb_mutex_lock(&f->lock);
    h->next = f->first;
    f->first = h;
    tsdb_mutex_unlock(&f->lock);
}

struct head_file *head_files_find(struct head_files *f, uint64_t number)
{
    tsdb_mutex_lock(&f->lock);
    struct head_file *h = f->first;
    while (h && h->number != number) {
        h = h->next;
    }
    tsdb_mutex_unlock(&f->lock);
    return h;
}

struct head_file *head_files_find_live(struct head_files *f, uint64_t number)
{
    struct head_file *h = head_files_find(f, number);
    tsdb_mutex_lock(&f->lock);
    bool live = h && h->state == LIVE;
    tsdb_mutex_unlock(&f->lock);
    return live ? h : NULL;
}

uint64_t head_files_next_number(struct head_files *f)
{
    tsdb_mutex_lock(&f->lock);
    uint64_t number = f->next_number;
    tsdb_mutex_unlock(&f->lock);
    return number;
}

static void number_at_least(struct head_files *f, uint64_t number)
{
    tsdb_mutex_lock(&f->lock);
    f->next_number = TSDB_MAX(f->next_number, number);
    tsdb_mutex_unlock(&f->lock);
}

static enum tsdb_status begin_file(struct head_files *f, struct tsdb_file *file, uint64_t number,
                                   uint32_t identity, struct tsdb_error *err)
{
    uint8_t header[HEAD_FILE_HEADER_BYTES];
    header_put(number, identity, f->mark, header);
    enum tsdb_status status = f->fs->ops->pwrite(f->fs->ctx, file, header, sizeof header, 0, err);
    if (status == TSDB_OK) {
        status = f->fs->ops->sync(f->fs->ctx, file, err);
    }
    return status == TSDB_OK ? f->fs->ops->sync_dir(f->fs->ctx, HEAD_FILES_DIR, err) : status;
}

enum tsdb_status head_files_next(struct head_files *f, struct head_file **out,
                                 struct tsdb_error *err)
{
    char path[PATH_MAX_BYTES];
    tsdb_mutex_lock(&f->lock);
    uint64_t number = f->next_number++; /* one that failed is not used again */
    uint32_t identity = (uint32_t)tsdb_prng_next(&f->identities);
    tsdb_mutex_unlock(&f->lock);
    path_of(number, path);
    struct tsdb_file *file = NULL;
    unsigned flags = TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE;
    enum tsdb_status status = f->fs->ops->open(f->fs->ctx, path, flags, &file, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = begin_file(f, file, number, identity, err);
    struct head_file *h = NULL;
    if (status == TSDB_OK) {
        h = file_make(f, number, identity, file, HEAD_FILE_HEADER_BYTES);
        status = h ? TSDB_OK : tsdb_error_set(err, TSDB_NOMEM, "no memory for a head file");
    }
    if (status != TSDB_OK) {
        f->fs->ops->close(f->fs->ctx, file);
        (void)f->fs->ops->unlink(f->fs->ctx, path, NULL); /* else the next start does */
        return status;
    }
    head_file_acquire(h);
    list_add(f, h);
    *out = h;
    return TSDB_OK;
}

/* ---- loading ---- */

struct listing {
    uint64_t above, least; /* least: UINT64_MAX: none */
};

static enum tsdb_status listed(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    uint64_t number;
    if (!is_dir && tsdb_numbered_parse(name, &number) && number > l->above && number < l->least) {
        l->least = number;
    }
    return TSDB_OK;
}

enum tsdb_status head_file_version_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len < HEAD_FILE_HEADER_BYTES || memcmp(data, MAGIC, 8) != 0 ||
        tsdb_load_le32(data + 28) != tsdb_crc32c(0, data, 28)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "no valid header");
    }
    if (tsdb_load_le32(data + 8) != TSDB_FORMAT_HEAD_CHUNKS) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "format version %u; this version knows %d",
                              tsdb_load_le32(data + 8), TSDB_FORMAT_HEAD_CHUNKS);
    }
    return TSDB_OK;
}

static enum tsdb_status header_check(struct head_files *f, struct tsdb_file *file, uint64_t number,
                                     uint32_t *out_identity, struct tsdb_error *err)
{
    uint8_t have[HEAD_FILE_HEADER_BYTES] = {0};
    uint8_t want[HEAD_FILE_HEADER_BYTES];
    size_t got = 0;
    enum tsdb_status status = f->fs->ops->pread(f->fs->ctx, file, have, sizeof have, 0, &got, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = head_file_version_check(have, got, err);
    if (status == TSDB_UNSUPPORTED) {
        return status;
    }
    header_put(number, tsdb_load_le32(have + AT_IDENTITY), f->mark, want);
    if (status == TSDB_OK && tsdb_load_le32(have + 24) != f->mark) {
        return tsdb_error_set(err, TSDB_CORRUPT, "of another data directory");
    }
    if (got != sizeof have || memcmp(have, want, sizeof want) != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, "no valid header");
    }
    *out_identity = tsdb_load_le32(have + AT_IDENTITY);
    return TSDB_OK;
}

static enum tsdb_status load_one(struct head_files *f, uint64_t number, struct tsdb_error *err)
{
    char path[PATH_MAX_BYTES];
    path_of(number, path);
    struct tsdb_file *file = NULL;
    struct tsdb_file_info info;
    enum tsdb_status status = f->fs->ops->open(f->fs->ctx, path, TSDB_OPEN_READ, &file, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t identity = 0;
    status = header_check(f, file, number, &identity, err);
    if (status == TSDB_OK) {
        status = f->fs->ops->stat(f->fs->ctx, path, &info, err);
    }
    struct head_file *h =
        status == TSDB_OK ? file_make(f, number, identity, file, info.size_bytes) : NULL;
    if (!h) {
        f->fs->ops->close(f->fs->ctx, file);
        return status != TSDB_OK ? tsdb_error_prefix(err, status, "%s", path)
                                 : tsdb_error_set(err, TSDB_NOMEM, "no memory for a head file");
    }
    list_add(f, h);
    return TSDB_OK;
}

enum tsdb_status head_files_load(struct head_files *f, uint64_t number_min, uint32_t *out_damaged,
                                 struct tsdb_error *err)
{
    struct listing l = {.above = 0};
    *out_damaged = 0;
    number_at_least(f, number_min);
    for (;;) {
        l.least = UINT64_MAX;
        enum tsdb_status status = f->fs->ops->list(f->fs->ctx, HEAD_FILES_DIR, listed, &l, err);
        if (status != TSDB_OK || l.least == UINT64_MAX) {
            return status;
        }
        struct tsdb_error why;
        status = load_one(f, l.least, &why);
        if (status == TSDB_CORRUPT) {
            /* A header is synced before anything refers to the file: most likely it was being made
             * when the power went. If not, whoever looks for its chunks will tell. */
            ++*out_damaged;
            tsdb_log(TSDB_LOG_WARN, "head files", "not readable", TSDB_S("err", why.msg));
        } else if (status != TSDB_OK) {
            if (err) {
                *err = why;
            }
            return status;
        }
        l.above = l.least;
        number_at_least(f, l.least + 1);
    }
}

/* ---- going ---- */

void head_files_mark(struct head_files *f, uint64_t checkpoint)
{
    tsdb_mutex_lock(&f->lock);
    for (struct head_file *h = f->first; h; h = h->next) {
        if (h->state == LIVE && unused(h)) {
            h->state = MARKED;
            h->not_in = checkpoint;
        }
    }
    tsdb_mutex_unlock(&f->lock);
}

void head_files_doom(struct head_files *f, uint64_t checkpoint)
{
    uint32_t doomed = 0;
    /* When this is freed, no guard is open any more that was when the files were doomed. Without
     * memory for it they stay marked, and the next checkpoint dooms them. */
    void *token = tsdb_mem_alloc(CATEGORY, 16);
    if (!token) {
        return;
    }
    tsdb_mutex_lock(&f->lock);
    for (struct head_file *h = f->first; h; h = h->next) {
        if (h->state == MARKED && h->not_in <= checkpoint) {
            h->state = DOOMED;
            doomed++;
        }
    }
    f->doomed += doomed;
    tsdb_mutex_unlock(&f->lock);
    if (doomed > 0) {
        tsdb_epoch_retire(f->epoch, &f->limbo, CATEGORY, token, 16);
    } else {
        tsdb_mem_free(CATEGORY, token, 16);
    }
}

/* Of those that recovery loaded: nothing refers to it. */
static bool may_go(const struct head_file *h)
{
    return h->state == LIVE && unused(h) &&
           !atomic_load_explicit(&h->in_checkpoint, memory_order_relaxed);
}

/* Take the files off the list that may go, or NULL. */
static struct head_file *take(struct head_files *f, enum state state)
{
    struct head_file *gone = NULL;
    tsdb_mutex_lock(&f->lock);
    for (struct head_file **at = &f->first; *at;) {
        struct head_file *h = *at;
        bool goes = state == LIVE ? may_go(h) : h->state == (uint32_t)state && unused(h);
        if (!goes) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        h->next = gone;
        gone = h;
        f->doomed -= state == DOOMED;
    }
    tsdb_mutex_unlock(&f->lock);
    return gone;
}

static enum tsdb_status set_aside(struct head_files *f, struct head_file *h, const char *dir,
                                  uint64_t stamp, struct tsdb_error *err)
{
    char from[PATH_MAX_BYTES];
    char to[128];
    path_of(h->number, from);
    int n = snprintf(to, sizeof to, "%s/head-%" PRIu64 "-%08" PRIu64, dir, stamp, h->number);
    TSDB_ASSERT(n > 0 && (size_t)n < sizeof to);
    return f->fs->ops->rename(f->fs->ctx, from, to, err);
}

/* The folder for what is set aside, its name durable. */
static enum tsdb_status aside_prepare(struct head_files *f, const char *dir, struct tsdb_error *err)
{
    enum tsdb_status status = f->fs->ops->mkdir(f->fs->ctx, dir, err);
    return status == TSDB_OK ? f->fs->ops->sync_dir(f->fs->ctx, "", err) : status;
}

/* To where a person may look at it. */
static enum tsdb_status keep_damaged(struct head_files *f, struct head_file *h, const char *dir,
                                     uint64_t stamp, struct tsdb_error *err)
{
    enum tsdb_status status = aside_prepare(f, dir, err);
    if (status == TSDB_OK) {
        status = set_aside(f, h, dir, stamp, err);
    }
    return status == TSDB_OK ? f->fs->ops->sync_dir(f->fs->ctx, dir, err) : status;
}

/* Close, and delete; dir not NULL: or move there what is damaged. */
static uint32_t remove_all(struct head_files *f, struct head_file *h, const char *dir,
                           uint64_t stamp)
{
    uint32_t n = 0;
    while (h) {
        struct head_file *next = h->next;
        struct tsdb_error err;
        char path[PATH_MAX_BYTES];
        path_of(h->number, path);
        bool aside = dir && atomic_load_explicit(&h->damaged, memory_order_relaxed);
        enum tsdb_status status = aside ? keep_damaged(f, h, dir, stamp, &err)
                                        : f->fs->ops->unlink(f->fs->ctx, path, &err);
        if (h->cache) {
            cache_l2_drop(h->cache, h->cache_id);
        }
        file_close(h);
        if (status != TSDB_OK) {
            /* Harmless: the next start deletes it. */
            tsdb_log(TSDB_LOG_WARN, "head files", "an unused file stays for now",
                     TSDB_S("err", err.msg));
        }
        n++;
        h = next;
    }
    return n;
}

uint32_t head_files_collect(struct head_files *f, const char *dir, uint64_t stamp)
{
    tsdb_mutex_lock(&f->lock);
    uint32_t doomed = f->doomed;
    tsdb_mutex_unlock(&f->lock);
    if (doomed == 0) {
        return 0;
    }
    tsdb_epoch_reclaim(f->epoch, &f->limbo);
    return f->limbo.count == 0 ? remove_all(f, take(f, DOOMED), dir, stamp) : 0;
}

void head_files_keep(struct head_files *f, uint64_t loaded, const struct head_files_kept *kept)
{
    tsdb_mutex_lock(&f->lock);
    for (struct head_file *h = f->first; h; h = h->next) {
        if (h->number >= kept->first && h->number < kept->before && may_go(h)) {
            h->state = MARKED;
            h->not_in = loaded;
        }
    }
    tsdb_mutex_unlock(&f->lock);
}

uint32_t head_files_remove_unused(struct head_files *f)
{
    return remove_all(f, take(f, LIVE), NULL, 0);
}

enum tsdb_status head_files_set_aside(struct head_files *f, const char *dir, uint64_t stamp,
                                      uint32_t *out_moved, struct tsdb_error *err)
{
    struct head_file *h = take(f, LIVE);
    *out_moved = 0;
    if (!h) {
        return TSDB_OK;
    }
    enum tsdb_status status = aside_prepare(f, dir, err);
    while (h) {
        struct head_file *next = h->next;
        if (status == TSDB_OK) {
            status = set_aside(f, h, dir, stamp, err);
            *out_moved += status == TSDB_OK;
        }
        if (h->cache) {
            cache_l2_drop(h->cache, h->cache_id);
        }
        file_close(h);
        h = next;
    }
    /* The new names first: a power cut in between leaves two, not none. */
    if (status == TSDB_OK) {
        status = f->fs->ops->sync_dir(f->fs->ctx, dir, err);
    }
    return status == TSDB_OK ? f->fs->ops->sync_dir(f->fs->ctx, HEAD_FILES_DIR, err) : status;
}

uint64_t head_files_damaged(const struct head_files *f)
{
    return atomic_load_explicit(&f->damaged, memory_order_relaxed);
}

void head_files_stats(struct head_files *f, struct head_files_stats *out)
{
    *out = (struct head_files_stats){
        .read_failures = atomic_load_explicit(&f->read_failures, memory_order_relaxed),
        .damaged = atomic_load_explicit(&f->damaged, memory_order_relaxed)};
    tsdb_mutex_lock(&f->lock);
    for (struct head_file *h = f->first; h; h = h->next) {
        out->files++;
        uint64_t bytes = atomic_load_explicit(&h->bytes, memory_order_relaxed);
        out->bytes += bytes;
        out->marked_bytes += h->state == MARKED ? bytes : 0;
    }
    tsdb_mutex_unlock(&f->lock);
}
