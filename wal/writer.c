/* The writer: rings -> copies -> segment. And its answer to failures: the un-synced bytes go again,
 * elsewhere. */
#include "base/assert.h"
#include "base/latency.h"
#include "base/log.h"
#include "wal/wal_private.h"

/* ---- chunks ---- */

/* A chunk with room for len bytes at its end: the newest, or a new one. NULL: no memory. Either is
 * in the list. */
static struct wal_chunk *chunk_for(struct wal *w, size_t len)
{
    size_t cap = TSDB_MAX(len, (size_t)WAL_CHUNK_BYTES);
    struct wal_chunk *c = NULL;
    tsdb_mutex_lock(&w->lock);
    struct wal_chunk *tail = w->chunks_tail;
    if (tail && w->synced_lpos == w->lpos && tail->cap >= len) {
        /* All of it is durable: begin again in the same memory, which is in the cache. */
        tail->lpos = w->lpos;
        tail->len = 0;
        c = tail;
    } else if (tail && tail->cap - tail->len >= len) {
        c = tail;
    } else if (cap == WAL_CHUNK_BYTES && w->pool) {
        c = w->pool;
        w->pool = c->next;
        w->pool_count--;
    }
    tsdb_mutex_unlock(&w->lock);
    if (c && c == tail) {
        return c;
    }
    if (!c) {
        c = tsdb_mem_alloc(TSDB_MEM_WAL, sizeof *c + cap + WAL_END_BYTES);
        if (!c) {
            return NULL;
        }
        c->cap = cap;
    }
    c->next = NULL;
    c->len = 0;
    c->lpos = w->lpos;
    tsdb_mutex_lock(&w->lock);
    if (w->chunks_tail) {
        w->chunks_tail->next = c;
    } else {
        w->chunks = c;
    }
    w->chunks_tail = c;
    tsdb_mutex_unlock(&w->lock);
    return c;
}

/* Give the frames in [data, data+len) the magic and CRC of their place. Returns their number. */
static uint64_t frames_seal(uint8_t *data, size_t len, uint64_t segment, uint64_t offset)
{
    uint64_t frames = 0;
    for (size_t at = 0; at < len; frames++) {
        TSDB_ASSERT(len - at >= WAL_FRAME_HEADER_BYTES);
        uint64_t bytes = wal_frame_bytes(tsdb_load_le32(data + at + WAL_FRAME_AT_LEN));
        TSDB_ASSERT(bytes <= len - at); /* owners write whole frames */
        tsdb_store_le32(data + at + WAL_FRAME_AT_MAGIC, WAL_FRAME_MAGIC);
        tsdb_store_le32(data + at + WAL_FRAME_AT_CRC,
                        wal_frame_crc(data + at, segment, offset + at));
        at += (size_t)bytes;
    }
    return frames;
}

/* Claim the file's bytes up to `end`, so that the syncer's zeroes never land on them. */
static void file_claim(struct wal *w, struct wal_file *f, uint64_t end)
{
    tsdb_mutex_lock(&w->lock);
    while (w->growing && end > f->alloc_end) {
        tsdb_cond_wait(&w->write_cond, &w->lock, -1);
    }
    if (end > f->alloc_end) {
        wal_segment_extend_locked(w, f, end);
    }
    tsdb_mutex_unlock(&w->lock);
}

/* Write [data, data+len) at the offset and, as far as the segment goes, the end mark behind it.
 * data has room for it. */
static enum tsdb_status file_write(struct wal *w, struct wal_file *f, uint8_t *data, size_t len,
                                   uint64_t offset, struct tsdb_error *err)
{
    TSDB_ASSERT(offset + len <= f->capacity);
    size_t end = (size_t)TSDB_MIN((uint64_t)WAL_END_BYTES, f->capacity - offset - len);
    memset(data + len, 0, end);
    uint64_t begin = tsdb_perf_now();
    enum tsdb_status status =
        w->o.fs->ops->pwrite(w->o.fs->ctx, f->handle, data, len + end, offset, err);
    tsdb_perf_end(TSDB_LAYER_WAL_WRITE, begin);
    return status;
}

/* ---- segments ---- */

static void epoch_raise(struct wal *w, uint64_t segment, uint64_t offset)
{
    uint64_t within = TSDB_MIN(offset / w->o.epoch_bytes, w->epochs_per_segment - 1);
    uint64_t epoch = segment * w->epochs_per_segment + within;
    uint64_t now = atomic_load(&w->epoch);
    while (now < epoch && !atomic_compare_exchange_weak(&w->epoch, &now, epoch)) {
    }
}

/* The file becomes the current one. */
static enum tsdb_status file_enter(struct wal *w, struct wal_file *f, uint64_t lpos_begin,
                                   struct tsdb_error *err)
{
    TSDB_ASSERT(!w->cur || f->segment > w->cur->segment);
    TSDB_ASSERT(lpos_begin <= w->lpos);
    f->lpos_begin = lpos_begin;
    tsdb_mutex_lock(&w->lock);
    enum tsdb_status status = wal_segment_add_locked(w, f);
    tsdb_cond_signal(&w->sync_cond); /* a sync that stalled makes sense again */
    tsdb_mutex_unlock(&w->lock);
    if (status != TSDB_OK) {
        return tsdb_error_nomem(err, "a log segment");
    }
    w->cur = f;
    w->offset = WAL_SEGMENT_HEADER_BYTES;
    epoch_raise(w, f->segment, 0);
    return TSDB_OK;
}

static uint64_t capacity_for(const struct wal *w, uint64_t bytes)
{
    return TSDB_MAX(w->o.segment_bytes, WAL_SEGMENT_HEADER_BYTES + bytes);
}

/* Start an empty segment behind a log that ends at (prev_segment, prev_end). On failure nothing has
 * changed. */
static enum tsdb_status segment_begin(struct wal *w, uint64_t segment, uint64_t bytes,
                                      uint64_t prev_segment, uint64_t prev_end,
                                      struct tsdb_error *err)
{
    uint8_t head[WAL_SEGMENT_HEADER_BYTES + WAL_END_BYTES];
    struct wal_file *f;
    enum tsdb_status status = wal_segment_create(w, segment, capacity_for(w, bytes), true, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    wal_segment_header_put(head, segment, prev_segment, prev_end);
    status = file_write(w, f, head, WAL_SEGMENT_HEADER_BYTES, 0, err);
    f->alloc_end = TSDB_MAX(f->alloc_end, sizeof head);
    if (status == TSDB_OK) {
        status = file_enter(w, f, w->lpos, err);
    }
    if (status != TSDB_OK) {
        wal_segment_destroy(w, f);
    }
    return status;
}

enum tsdb_status wal_writer_start(struct wal *w, struct tsdb_error *err)
{
    return segment_begin(w, w->o.segment_first, 0, 0, 0, err);
}

/* ---- failure ---- */

static void read_only_set(struct wal *w, const struct tsdb_error *cause)
{
    tsdb_mutex_lock(&w->lock);
    w->cause = *cause;
    w->rewrite_due = false;
    atomic_store_explicit(&w->read_only, 1, memory_order_release); /* partner: wal_read_only */
    tsdb_cond_broadcast(&w->sync_cond);
    tsdb_mutex_unlock(&w->lock);
    tsdb_log(TSDB_LOG_ERROR, "wal", "log is read-only", TSDB_S("err", cause->msg));
}

/* Where the durable log ends: the newest open file that begins at or before synced_lpos. */
static void durable_end_locked(const struct wal *w, uint64_t *out_segment, uint64_t *out_end)
    TSDB_REQUIRES(w->lock)
{
    const struct wal_file *found = w->files;
    for (const struct wal_file *f = w->files; f; f = f->next) {
        if (!f->dead && f->lpos_begin <= w->synced_lpos) {
            found = f;
        }
    }
    TSDB_ASSERT(found && found->lpos_begin <= w->synced_lpos);
    *out_segment = found->segment;
    *out_end = WAL_SEGMENT_HEADER_BYTES + (w->synced_lpos - found->lpos_begin);
}

/* Write the un-synced bytes, all that the chunks hold from `from` on, into f behind its header. */
static enum tsdb_status bytes_again(struct wal *w, struct wal_file *f, uint64_t from,
                                    struct tsdb_error *err)
{
    tsdb_mutex_lock(&w->lock);
    struct wal_chunk *c = w->chunks; /* the syncer frees none while its generation is outdated */
    tsdb_mutex_unlock(&w->lock);
    uint64_t offset = WAL_SEGMENT_HEADER_BYTES;
    while (c) {
        size_t skip = c->lpos < from ? (size_t)TSDB_MIN(from - c->lpos, (uint64_t)c->len) : 0;
        size_t len = c->len - skip;
        if (len > 0) {
            frames_seal(c->data + skip, len, f->segment, offset);
            enum tsdb_status status = file_write(w, f, c->data + skip, len, offset, err);
            if (status != TSDB_OK) {
                return status;
            }
            offset += len;
        }
        tsdb_mutex_lock(&w->lock);
        c = c->next;
        tsdb_mutex_unlock(&w->lock);
    }
    TSDB_ASSERT(offset == WAL_SEGMENT_HEADER_BYTES + (w->lpos - from));
    return TSDB_OK;
}

/* The new segment's bytes first, its header last: the header says that what the old segments hold
 * beyond their durable end does not count any more, and that must not be readable before the same
 * bytes are here. */
static enum tsdb_status segment_fill(struct wal *w, struct wal_file *f, uint64_t from,
                                     uint64_t prev_segment, uint64_t prev_end,
                                     struct tsdb_error *err)
{
    uint8_t head[WAL_SEGMENT_HEADER_BYTES + WAL_END_BYTES] = {0};
    size_t head_len = w->lpos == from ? sizeof head : WAL_SEGMENT_HEADER_BYTES;
    enum tsdb_status status = bytes_again(w, f, from, err);
    if (status != TSDB_OK) {
        return status;
    }
    wal_segment_header_put(head, f->segment, prev_segment, prev_end);
    status = w->o.fs->ops->pwrite(w->o.fs->ctx, f->handle, head, head_len, 0, err);
    if (status != TSDB_OK) {
        return status;
    }
    f->alloc_end =
        TSDB_MIN(f->capacity, WAL_SEGMENT_HEADER_BYTES + (w->lpos - from) + WAL_END_BYTES);
    status = file_enter(w, f, from, err);
    if (status == TSDB_OK) {
        w->offset = WAL_SEGMENT_HEADER_BYTES + (w->lpos - from);
    }
    return status;
}

/* Poison what is open and move the un-synced bytes to a new segment. One failure without a sync in
 * between is all that is answered so; the second one makes the log read-only. False: it is
 * read-only now. */
static bool recover(struct wal *w, const struct tsdb_error *cause)
{
    struct tsdb_error err = *cause;
    uint64_t prev_segment, prev_end;
    tsdb_mutex_lock(&w->lock);
    bool again = w->recovering;
    uint64_t from = w->synced_lpos, segment = w->files_tail->segment + 1;
    w->recovering = true;
    w->rewrite_due = false;
    w->generation++;
    durable_end_locked(w, &prev_segment, &prev_end);
    wal_segment_poison_all_locked(w);
    tsdb_mutex_unlock(&w->lock);
    if (again) {
        read_only_set(w, &err);
        return false;
    }
    tsdb_log(TSDB_LOG_WARN, "wal", "segment poisoned, writing its un-synced bytes again",
             TSDB_U("segment", segment - 1), TSDB_U("bytes", w->lpos - from),
             TSDB_S("err", err.msg));

    struct wal_file *f;
    enum tsdb_status status =
        wal_segment_create(w, segment, capacity_for(w, w->lpos - from), false, &f, &err);
    if (status == TSDB_OK) {
        status = segment_fill(w, f, from, prev_segment, prev_end, &err);
        if (status != TSDB_OK) {
            wal_segment_destroy(w, f);
        }
    }
    if (status != TSDB_OK) {
        read_only_set(w, &err);
        return false;
    }
    return true;
}

/* A write or the creation of a segment failed in the writer itself. */
static bool write_failed(struct wal *w, const struct tsdb_error *err)
{
    tsdb_mutex_lock(&w->lock);
    w->stats.write_failures++;
    tsdb_mutex_unlock(&w->lock);
    return recover(w, err);
}

/* ---- writing ---- */

/* One stretch of batches that goes out in one write. */
struct stretch {
    struct wal_chunk *chunk;
    uint8_t *data;
    size_t len;
    uint64_t frames, samples;
    struct wal_batch_list buffered, strict;
    size_t batches;
};

/* Copy batches, the oldest first, as long as chunk, segment and the bound on un-synced bytes have
 * room. */
static void stretch_fill(struct wal *w, struct stretch *s, uint64_t bytes_max)
{
    struct tsdb_batch *b;
    while ((b = w->pending.head) != NULL) {
        if (b->wal_len > s->chunk->cap - s->chunk->len ||
            b->wal_len > w->cur->capacity - w->offset - s->len ||
            (s->len > 0 && s->len + b->wal_len > bytes_max)) {
            break;
        }
        w->pending.head = b->next;
        if (!b->next) {
            w->pending.tail = NULL;
        }
        w->pending_count--;
        memcpy(s->data + s->len, b->wal_bytes, b->wal_len);
        s->frames += frames_seal(s->data + s->len, b->wal_len, w->cur->segment, w->offset + s->len);
        s->len += b->wal_len;
        s->chunk->len += b->wal_len;
        s->samples += b->wal_samples;
        s->batches++;
        TSDB_ASSERT(s->chunk->len <= s->chunk->cap);
        wal_batch_list_push(b->durability == TSDB_DURABILITY_STRICT ? &s->strict : &s->buffered, b);
    }
}

/* The stretch is written: the syncer may know. */
static void stretch_publish(struct wal *w, struct stretch *s, int64_t now_ns)
{
    tsdb_mutex_lock(&w->lock);
    bool first = w->unsynced_since_ns == WAL_NO_TIME;
    if (first) {
        w->unsynced_since_ns = now_ns;
    }
    TSDB_ASSERT(s->chunk->lpos + s->chunk->len == w->lpos); /* the copies are the log's end */
    TSDB_ASSERT(w->written_lpos + s->len <= w->lpos);
    w->written_lpos = w->lpos;
    w->unsynced_samples += s->samples;
    w->stats.bytes_written += s->len;
    w->stats.frames_written += s->frames;
    w->stats.samples_written += s->samples;
    w->stats.writes++;
    wal_batch_list_join(&w->strict, &s->strict);
    if (first || wal_sync_due_in_locked(w, now_ns) == 0) {
        tsdb_cond_signal(&w->sync_cond);
    }
    tsdb_mutex_unlock(&w->lock);
    epoch_raise(w, w->cur->segment, w->offset);
}

/* Write one stretch into the current segment. 0: no memory, nothing happened. `*out_dead`: the log
 * is read-only now. */
static size_t stretch_write(struct wal *w, int64_t now_ns, uint64_t bytes_max, bool *out_dead)
{
    struct stretch s = {.chunk = chunk_for(w, w->pending.head->wal_len)};
    struct tsdb_error err;
    if (!s.chunk) {
        return 0;
    }
    s.data = s.chunk->data + s.chunk->len;
    stretch_fill(w, &s, bytes_max);
    TSDB_ASSERT(s.len > 0);
    file_claim(w, w->cur, TSDB_MIN(w->cur->capacity, w->offset + s.len + WAL_END_BYTES));
    enum tsdb_status status = file_write(w, w->cur, s.data, s.len, w->offset, &err);
    w->lpos += s.len; /* from here on the chunk's bytes are the log's, in whatever segment */
    w->offset += s.len;
    if (status != TSDB_OK && !write_failed(w, &err)) {
        *out_dead = true;
        wal_batch_list_complete(&s.buffered, TSDB_READ_ONLY);
        wal_batch_list_complete(&s.strict, TSDB_READ_ONLY);
        return s.batches;
    }
    stretch_publish(w, &s, now_ns);
    wal_batch_list_complete(&s.buffered, TSDB_OK);
    return s.batches;
}

/* Is the current segment to be left, before a batch of `len` bytes or because wal_rotate said so?
 * False: read-only. */
static bool rotate_if_due(struct wal *w, uint64_t len)
{
    struct tsdb_error err;
    tsdb_mutex_lock(&w->lock);
    bool due = w->rotate_to > w->cur->segment;
    tsdb_mutex_unlock(&w->lock);
    bool full = len > w->cur->capacity - w->offset;
    if (!due && !full) {
        return true;
    }
    if (segment_begin(w, w->cur->segment + 1, len, w->cur->segment, w->offset, &err) == TSDB_OK) {
        return true;
    }
    /* The bytes in the new segment that recover makes are the un-synced ones; the batch comes after
     * them. */
    if (!write_failed(w, &err)) {
        return false;
    }
    return len <= w->cur->capacity - w->offset || rotate_if_due(w, len);
}

bool wal_writer_blocked_locked(const struct wal *w)
{
    const struct tsdb_batch *b = w->pending.head;
    uint64_t unsynced = w->lpos - w->synced_lpos;
    return b && unsynced > 0 && unsynced + b->wal_len > w->o.unsynced_bytes_max;
}

/* Bytes that may be written before a sync; 0 = none, and the syncer is asked. */
static uint64_t room(struct wal *w)
{
    uint64_t bytes = 0;
    tsdb_mutex_lock(&w->lock);
    if (wal_writer_blocked_locked(w)) {
        w->sync_urgent = true;
        tsdb_cond_signal(&w->sync_cond);
    } else {
        uint64_t unsynced = w->lpos - w->synced_lpos;
        bytes = unsynced < w->o.unsynced_bytes_max ? w->o.unsynced_bytes_max - unsynced : 0;
        bytes = TSDB_MAX(bytes, (uint64_t)w->pending.head->wal_len);
    }
    tsdb_mutex_unlock(&w->lock);
    return bytes;
}

/* No memory for the copy of a large batch. When everything else is durable there is no memory to be
 * freed by waiting: the batch cannot be logged, and a log that lacks it must not go on. */
static bool nomem_is_final(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    bool final = w->synced_lpos == w->lpos;
    w->sync_urgent = true;
    tsdb_cond_signal(&w->sync_cond);
    tsdb_mutex_unlock(&w->lock);
    if (final) {
        struct tsdb_error err;
        (void)tsdb_error_nomem(&err, "the log's copy of a batch");
        read_only_set(w, &err);
    }
    return final;
}

static void drain(struct wal *w)
{
    void *items[WAL_DRAIN_MAX];
    for (uint32_t owner = 0; owner < w->o.owner_count; owner++) {
        if (w->pending_count >= w->o.owner_count * WAL_DRAIN_MAX) {
            return; /* the writer is behind: the rings' credits hold the senders back */
        }
        size_t n = tsdb_ring_drain(&w->rings[owner], items, WAL_DRAIN_MAX);
        for (size_t i = 0; i < n; i++) {
            wal_batch_list_push(&w->pending, items[i]);
        }
        w->pending_count += (uint32_t)n;
        w->drained += n;
    }
}

static size_t pending_fail(struct wal *w)
{
    w->pending_count = 0;
    return wal_batch_list_complete(&w->pending, TSDB_READ_ONLY);
}

/* A sync failed in the meantime: answer it. False: the log is read-only. */
static bool rewrite_if_due(struct wal *w)
{
    struct tsdb_error cause;
    tsdb_mutex_lock(&w->lock);
    bool due = w->rewrite_due;
    cause = w->cause;
    tsdb_mutex_unlock(&w->lock);
    return !due || recover(w, &cause);
}

size_t wal_write_step(struct wal *w, int64_t now_ns)
{
    bool dead = wal_read_only(w, NULL);
    size_t done = 0;
    drain(w); /* before rotate_to is read: what was submitted after wal_rotate must find it */
    if (!dead && (!rewrite_if_due(w) || !rotate_if_due(w, 0))) {
        dead = true;
    }
    while (!dead && w->pending.head) {
        uint64_t bytes_max = room(w);
        if (bytes_max == 0) {
            break;
        }
        if (!rotate_if_due(w, w->pending.head->wal_len)) {
            dead = true;
            break;
        }
        size_t n = stretch_write(w, now_ns, bytes_max, &dead);
        if (n == 0) {
            dead = nomem_is_final(w);
            break;
        }
        done += n;
    }
    return dead ? done + pending_fail(w) : done;
}
