#include "tsdb/chunk/cache_l2.h"

#include "base/assert.h"
#include "base/mutex.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#define SHARDS_MAX     16u
#define FRAMES_A_SHARD 64u /* fewer frames than this per shard, and fewer shards are made */
#define NO_FRAME       UINT32_MAX
#define MARK_WORDS     (CACHE_L2_FRAME_BYTES / CACHE_L2_MARK_BYTES / 64u)
#define BYPASS         (UINT64_C(1) << 63) /* opaque: the page lies in memory of its own */

struct frame {
    uint64_t file_id, page;
    uint32_t len;
    uint32_t pins;
    uint32_t next;   /* of the hash chain */
    uint8_t used;    /* holds a page */
    uint8_t touched; /* CLOCK's second chance */
};
struct shard {
    struct tsdb_mutex lock; /* rank CACHE_SHARD; guards all that follows */
    struct frame *frames TSDB_GUARDED;
    uint32_t *table TSDB_GUARDED; /* heads of chains */
    uint32_t hand TSDB_GUARDED;
    uint32_t used TSDB_GUARDED, pinned TSDB_GUARDED;
    uint64_t hits TSDB_GUARDED, misses TSDB_GUARDED, evictions TSDB_GUARDED;
};
struct cache_l2 {
    uint8_t *arena; /* a frame's bytes change only while nobody else can see them */
    _Atomic(uint64_t)
        *marks; /* MARK_WORDS a frame; relaxed: about bytes that the shard's lock ordered */
    uint64_t bytes;
    uint32_t shard_count, shard_frames, table_mask;
    _Atomic(uint64_t) next_file_id;
    _Atomic(uint64_t) bypasses; /* relaxed: a figure, orders nothing */
    struct shard shards[SHARDS_MAX];
};

static uint64_t mix(uint64_t file_id, uint64_t page)
{
    uint64_t h = (file_id * UINT64_C(0x9e3779b97f4a7c15)) ^ (page * UINT64_C(0xc2b2ae3d27d4eb4f));
    h ^= h >> 29;
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 32;
}

static uint8_t *frame_data(const struct cache_l2 *c, uint32_t shard, uint32_t frame)
{
    return c->arena + ((uint64_t)shard * c->shard_frames + frame) * CACHE_L2_FRAME_BYTES;
}

static _Atomic(uint64_t) *frame_marks(const struct cache_l2 *c, uint32_t shard, uint32_t frame)
{
    return c->marks + ((size_t)shard * c->shard_frames + frame) * MARK_WORDS;
}

static size_t marks_bytes(const struct cache_l2 *c)
{
    return c->bytes / CACHE_L2_FRAME_BYTES * MARK_WORDS * sizeof c->marks[0];
}

static enum tsdb_status shard_init(struct cache_l2 *c, struct shard *s) TSDB_NO_TSA
{
    tsdb_mutex_init(&s->lock, TSDB_RANK_CACHE_SHARD, "cache-l2");
    s->frames = tsdb_mem_alloc_zero(TSDB_MEM_CACHE, c->shard_frames * sizeof *s->frames);
    s->table = tsdb_mem_alloc(TSDB_MEM_CACHE, (c->table_mask + 1) * sizeof *s->table);
    if (!s->frames || !s->table) {
        return TSDB_NOMEM;
    }
    for (uint32_t i = 0; i <= c->table_mask; i++) {
        s->table[i] = NO_FRAME;
    }
    return TSDB_OK;
}

static void size_shards(struct cache_l2 *c, uint64_t frames)
{
    uint32_t shards = 1;
    while (shards < SHARDS_MAX && frames / (shards * 2) >= FRAMES_A_SHARD) {
        shards *= 2;
    }
    c->shard_count = shards;
    c->shard_frames = (uint32_t)TSDB_MIN(frames / shards, (uint64_t)UINT32_MAX / 2);
    uint32_t table = 16;
    while (table < c->shard_frames) {
        table *= 2;
    }
    c->table_mask = table - 1;
    c->bytes = (uint64_t)c->shard_frames * shards * CACHE_L2_FRAME_BYTES;
}

enum tsdb_status cache_l2_create(uint64_t bytes, struct cache_l2 **out, struct tsdb_error *err)
{
    struct cache_l2 *c = tsdb_mem_alloc_zero(TSDB_MEM_CACHE, sizeof *c);
    if (!c) {
        return tsdb_error_set(err, TSDB_NOMEM, "L2 cache: out of memory");
    }
    atomic_store(&c->next_file_id, 1);
    size_shards(c, bytes / CACHE_L2_FRAME_BYTES);
    enum tsdb_status status = TSDB_OK;
    if (c->bytes > 0) {
        void *p = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            status = TSDB_NOMEM;
        } else {
            c->arena = p;
            tsdb_mem_note(TSDB_MEM_CACHE, (int64_t)c->bytes);
            c->marks = tsdb_mem_alloc_zero(TSDB_MEM_CACHE, marks_bytes(c));
            status = c->marks ? TSDB_OK : TSDB_NOMEM;
        }
        for (uint32_t i = 0; i < c->shard_count && status == TSDB_OK; i++) {
            status = shard_init(c, &c->shards[i]);
        }
    }
    if (status != TSDB_OK) {
        cache_l2_destroy(c);
        return tsdb_error_set(err, status, "L2 cache: no memory for %" PRIu64 " bytes", bytes);
    }
    *out = c;
    return TSDB_OK;
}

void cache_l2_destroy(struct cache_l2 *c) TSDB_NO_TSA
{
    if (!c) {
        return;
    }
    for (uint32_t i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        TSDB_ASSERT(s->pinned == 0);
        tsdb_mem_free(TSDB_MEM_CACHE, s->frames, c->shard_frames * sizeof *s->frames);
        tsdb_mem_free(TSDB_MEM_CACHE, s->table, (c->table_mask + 1) * sizeof *s->table);
        if (s->lock.name) {
            tsdb_mutex_deinit(&s->lock);
        }
    }
    tsdb_mem_free(TSDB_MEM_CACHE, c->marks, marks_bytes(c));
    if (c->arena) {
        munmap(c->arena, c->bytes);
        tsdb_mem_note(TSDB_MEM_CACHE, -(int64_t)c->bytes);
    }
    tsdb_mem_free(TSDB_MEM_CACHE, c, sizeof *c);
}

uint64_t cache_l2_file_id(struct cache_l2 *c)
{
    return atomic_fetch_add(&c->next_file_id, 1);
}

static uint32_t find_locked(const struct cache_l2 *c, struct shard *s, uint64_t hash,
                            uint64_t file_id, uint64_t page) TSDB_REQUIRES(s->lock)
{
    for (uint32_t f = s->table[hash & c->table_mask]; f != NO_FRAME; f = s->frames[f].next) {
        if (s->frames[f].file_id == file_id && s->frames[f].page == page) {
            return f;
        }
    }
    return NO_FRAME;
}

static void unlink_locked(const struct cache_l2 *c, struct shard *s, uint32_t f)
    TSDB_REQUIRES(s->lock)
{
    uint32_t *link = &s->table[mix(s->frames[f].file_id, s->frames[f].page) & c->table_mask];
    TSDB_ASSERT(s->frames[f].used && s->used > 0);
    TSDB_ASSERT(s->frames[f].pins == 0);
    while (*link != f) {
        TSDB_ASSERT(*link != NO_FRAME); /* a used frame is in its chain */
        link = &s->frames[*link].next;
    }
    *link = s->frames[f].next;
    s->frames[f].used = 0;
    s->used--;
}

/* CLOCK: the first frame that nobody pins and nobody touched since the hand came by. It is taken
 * out and pinned for the caller. */
static uint32_t evict_locked(const struct cache_l2 *c, struct shard *s) TSDB_REQUIRES(s->lock)
{
    for (uint32_t step = 0; step < 2 * c->shard_frames; step++) {
        uint32_t f = s->hand;
        s->hand = f + 1 < c->shard_frames ? f + 1 : 0;
        struct frame *frame = &s->frames[f];
        if (frame->pins > 0) {
            continue;
        }
        if (frame->used && frame->touched) {
            frame->touched = 0;
            continue;
        }
        if (frame->used) {
            unlink_locked(c, s, f);
            s->evictions++;
        }
        frame->pins = 1;
        s->pinned++;
        TSDB_ASSERT(!frame->used && s->pinned <= c->shard_frames);
        return f;
    }
    return NO_FRAME;
}

static void unpin_locked(struct shard *s, uint32_t f) TSDB_REQUIRES(s->lock)
{
    TSDB_ASSERT(s->frames[f].pins > 0);
    TSDB_ASSERT(s->pinned > 0);
    if (--s->frames[f].pins == 0) {
        s->pinned--;
    }
}

/* A file whose pages are its bytes as they lie. */
struct plain_file {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    cache_l2_check_fn check;
    void *arg;
};

static enum tsdb_status plain_load(void *arg, uint64_t page, uint8_t *data, uint32_t *out_len,
                                   struct tsdb_error *err)
{
    const struct plain_file *f = arg;
    size_t len = 0;
    enum tsdb_status status = f->fs->ops->pread(f->fs->ctx, f->file, data, CACHE_L2_FRAME_BYTES,
                                                page * CACHE_L2_FRAME_BYTES, &len, err);
    if (status == TSDB_OK && len == 0) {
        status = tsdb_error_set(err, TSDB_NOT_FOUND,
                                "page %" PRIu64 " is beyond the end of the file", page);
    }
    if (status == TSDB_OK && f->check) {
        status = f->check(f->arg, page, data, (uint32_t)len, err);
    }
    *out_len = (uint32_t)len;
    return status;
}

static enum tsdb_status read_bypass(struct cache_l2 *c, uint64_t page, cache_l2_load_fn load,
                                    void *arg, struct cache_l2_page *out, struct tsdb_error *err)
{
    atomic_fetch_add_explicit(&c->bypasses, 1, memory_order_relaxed);
    uint8_t *data = tsdb_mem_alloc(TSDB_MEM_CACHE, CACHE_L2_FRAME_BYTES);
    if (!data) {
        return tsdb_error_set(err, TSDB_NOMEM, "L2 cache: no memory for a page beside the arena");
    }
    uint32_t len = 0;
    enum tsdb_status status = load(arg, page, data, &len, err);
    if (status != TSDB_OK) {
        tsdb_mem_free(TSDB_MEM_CACHE, data, CACHE_L2_FRAME_BYTES);
        return status;
    }
    *out = (struct cache_l2_page){data, len, BYPASS, NULL};
    return TSDB_OK;
}

/* Publish a filled frame, unless another reader was faster: then its copy is used, ours given back.
 */
static uint32_t publish_locked(const struct cache_l2 *c, struct shard *s, uint32_t f,
                               uint64_t file_id, uint64_t page, uint32_t len) TSDB_REQUIRES(s->lock)
{
    uint64_t hash = mix(file_id, page);
    uint32_t other = find_locked(c, s, hash, file_id, page);
    if (other != NO_FRAME) {
        unpin_locked(s, f);
        if (s->frames[other].pins++ == 0) {
            s->pinned++;
        }
        return other;
    }
    struct frame *frame = &s->frames[f];
    TSDB_ASSERT(frame->pins == 1 && !frame->used); /* ours alone since evict_locked */
    TSDB_ASSERT(len > 0 && len <= CACHE_L2_FRAME_BYTES);
    frame->file_id = file_id;
    frame->page = page;
    frame->len = len;
    frame->used = 1;
    frame->touched =
        0; /* a page read once is the first to go: a scan does not flush what is in use */
    frame->next = s->table[hash & c->table_mask];
    s->table[hash & c->table_mask] = f;
    s->used++;
    TSDB_ASSERT(s->used <= c->shard_frames);
    return f;
}

/* Of a frame that nobody else can see. */
static void marks_clear(_Atomic(uint64_t) *marks)
{
    for (uint32_t i = 0; i < MARK_WORDS; i++) {
        atomic_store_explicit(&marks[i], 0, memory_order_relaxed);
    }
}

static uint64_t mark_bit(uint32_t offset)
{
    TSDB_ASSERT(offset < CACHE_L2_FRAME_BYTES);
    return UINT64_C(1) << (offset / CACHE_L2_MARK_BYTES % 64);
}

bool cache_l2_is_marked(const struct cache_l2_page *page, uint32_t offset)
{
    uint64_t bit = mark_bit(offset);
    const uint32_t word = offset / CACHE_L2_MARK_BYTES / 64;
    return page->marks &&
           (atomic_load_explicit(&page->marks[word], memory_order_relaxed) & bit) != 0;
}

void cache_l2_mark(const struct cache_l2_page *page, uint32_t offset)
{
    uint64_t bit = mark_bit(offset);
    if (page->marks) {
        atomic_fetch_or_explicit(&page->marks[offset / CACHE_L2_MARK_BYTES / 64], bit,
                                 memory_order_relaxed);
    }
}

enum tsdb_status cache_l2_get_made(struct cache_l2 *c, uint64_t file_id, uint64_t page,
                                   cache_l2_load_fn load, void *arg, struct cache_l2_page *out,
                                   struct tsdb_error *err)
{
    uint64_t hash = mix(file_id, page);
    uint32_t shard = (uint32_t)(hash >> 40) & (c->shard_count - 1);
    struct shard *s = &c->shards[shard];
    if (c->bytes == 0) {
        return read_bypass(c, page, load, arg, out, err);
    }
    tsdb_mutex_lock(&s->lock);
    uint32_t f = find_locked(c, s, hash, file_id, page);
    bool hit = f != NO_FRAME;
    uint32_t len = 0;
    if (hit) {
        s->hits++;
        s->frames[f].touched = 1;
        s->pinned += s->frames[f].pins++ == 0;
        len = s->frames[f].len;
    } else {
        s->misses++;
        f = evict_locked(c, s);
    }
    tsdb_mutex_unlock(&s->lock);
    if (f == NO_FRAME) {
        return read_bypass(c, page, load, arg, out, err);
    }
    if (!hit) {
        marks_clear(frame_marks(c, shard, f));
        enum tsdb_status status = load(arg, page, frame_data(c, shard, f), &len, err);
        tsdb_mutex_lock(&s->lock);
        if (status == TSDB_OK) {
            f = publish_locked(c, s, f, file_id, page, len);
            len = s->frames[f].len;
        } else {
            unpin_locked(s, f);
        }
        tsdb_mutex_unlock(&s->lock);
        if (status != TSDB_OK) {
            return status;
        }
    }
    *out = (struct cache_l2_page){frame_data(c, shard, f), len, (uint64_t)shard << 32 | f,
                                  frame_marks(c, shard, f)};
    return TSDB_OK;
}

enum tsdb_status cache_l2_get(struct cache_l2 *c, uint64_t file_id, const struct tsdb_fs *fs,
                              struct tsdb_file *file, uint64_t page, cache_l2_check_fn check,
                              void *arg, struct cache_l2_page *out, struct tsdb_error *err)
{
    struct plain_file f = {fs, file, check, arg};
    return cache_l2_get_made(c, file_id, page, plain_load, &f, out, err);
}

void cache_l2_release(struct cache_l2 *c, struct cache_l2_page *page)
{
    if (!page->data) {
        return;
    }
    if (page->opaque & BYPASS) {
        union {
            const uint8_t *in;
            uint8_t *out;
        } data = {page->data}; /* allocated by read_bypass, shown as const */
        tsdb_mem_free(TSDB_MEM_CACHE, data.out, CACHE_L2_FRAME_BYTES);
    } else {
        TSDB_ASSERT(page->opaque >> 32 < c->shard_count);
        TSDB_ASSERT((uint32_t)page->opaque < c->shard_frames);
        struct shard *s = &c->shards[page->opaque >> 32];
        tsdb_mutex_lock(&s->lock);
        unpin_locked(s, (uint32_t)page->opaque);
        tsdb_mutex_unlock(&s->lock);
    }
    page->data = NULL;
}

enum tsdb_status cache_l2_read_made(struct cache_l2 *c, uint64_t file_id, uint64_t offset,
                                    void *out, size_t len, cache_l2_load_fn load, void *arg,
                                    struct tsdb_error *err)
{
    uint8_t *to = out;
    while (len > 0) {
        struct cache_l2_page page = {0};
        uint64_t number = offset / CACHE_L2_FRAME_BYTES;
        uint32_t from = (uint32_t)(offset % CACHE_L2_FRAME_BYTES);
        enum tsdb_status status = cache_l2_get_made(c, file_id, number, load, arg, &page, err);
        if (status == TSDB_NOT_FOUND || (status == TSDB_OK && page.len <= from)) {
            if (status == TSDB_OK) {
                cache_l2_release(c, &page);
            }
            return tsdb_error_set_at(err, TSDB_CORRUPT, offset, "file ends before byte %" PRIu64,
                                     offset + len);
        }
        if (status != TSDB_OK) {
            return status;
        }
        size_t n = TSDB_MIN(len, (size_t)(page.len - from));
        memcpy(to, page.data + from, n);
        cache_l2_release(c, &page);
        to += n;
        offset += n;
        len -= n;
    }
    return TSDB_OK;
}

enum tsdb_status cache_l2_read(struct cache_l2 *c, uint64_t file_id, const struct tsdb_fs *fs,
                               struct tsdb_file *file, uint64_t offset, void *out, size_t len,
                               cache_l2_check_fn check, void *arg, struct tsdb_error *err)
{
    struct plain_file f = {fs, file, check, arg};
    return cache_l2_read_made(c, file_id, offset, out, len, plain_load, &f, err);
}

void cache_l2_drop(struct cache_l2 *c, uint64_t file_id)
{
    for (uint32_t i = 0; c->bytes > 0 && i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        tsdb_mutex_lock(&s->lock);
        for (uint32_t f = 0; f < c->shard_frames; f++) {
            if (s->frames[f].used && s->frames[f].file_id == file_id && s->frames[f].pins == 0) {
                unlink_locked(c, s, f);
            }
        }
        tsdb_mutex_unlock(&s->lock);
    }
}

void cache_l2_stats(struct cache_l2 *c, struct cache_l2_stats *out)
{
    memset(out, 0, sizeof *out);
    out->bytes = c->bytes;
    out->frames = (uint64_t)c->shard_count * c->shard_frames;
    out->bypasses = atomic_load_explicit(&c->bypasses, memory_order_relaxed);
    for (uint32_t i = 0; c->bytes > 0 && i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        tsdb_mutex_lock(&s->lock);
        out->frames_used += s->used;
        out->frames_pinned += s->pinned;
        out->hits += s->hits;
        out->misses += s->misses;
        out->evictions += s->evictions;
        tsdb_mutex_unlock(&s->lock);
    }
}
