/* The writer: rings -> copies -> segment. And its answer to failures: the un-synced bytes go again,
 * elsewhere. */
#include "base/assert.h"
#include "base/latency.h"
#include "base/log.h"
#include "wal/wal_private.h"

/* How often one who helps looks for more. */
#define HELP_ROUNDS 4

/* ---- chunks ---- */

void wal_chunk_destroy(struct wal_chunk *c)
{
    tsdb_mem_free(TSDB_MEM_WAL, c, sizeof *c + c->cap + WAL_END_BYTES);
}

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
        w->pool_low = TSDB_MIN(w->pool_low, w->pool_count);
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

/* The pool's chunks that were not needed since the last time, and the one that is written to where
 * nothing came since then and all of it is durable: what a burst took is given back when it is over. */
static void chunks_trim(struct wal *w, int64_t now_ns)
{
    if (now_ns - w->trim_ns < WAL_TRIM_NS) {
        return;
    }
    struct wal_chunk *gone = NULL;
    tsdb_mutex_lock(&w->lock);
    for (; w->pool_low > 0; w->pool_low--, w->pool_count--) {
        struct wal_chunk *c = w->pool;
        w->pool = c->next;
        c->next = gone;
        gone = c;
    }
    w->pool_low = w->pool_count;
    if (w->chunks && w->chunks == w->chunks_tail && w->lpos == w->trim_lpos &&
        w->synced_lpos == w->lpos) {
        w->chunks->next = gone;
        gone = w->chunks;
        w->chunks = w->chunks_tail = NULL;
    }
    tsdb_mutex_unlock(&w->lock);
    w->trim_ns = now_ns;
    w->trim_lpos = w->lpos;
    for (struct wal_chunk *next; gone; gone = next) {
        next = gone->next;
        wal_chunk_destroy(gone);
    }
}

/* Give the frames in [data, data+len) the magic and CRC of their place. Returns their number. */
static uint64_t frames_seal(uint8_t *data, size_t len, uint64_t place, uint64_t offset)
{
    uint64_t frames = 0;
    for (size_t at = 0; at < len; frames++) {
        TSDB_ASSERT(len - at >= WAL_FRAME_HEADER_BYTES);
        uint64_t bytes = wal_frame_bytes(tsdb_load_le32(data + at + WAL_FRAME_AT_LEN));
        TSDB_ASSERT(bytes <= len - at); /* owners write whole frames */
        tsdb_store_le32(data + at + WAL_FRAME_AT_MAGIC, WAL_FRAME_MAGIC);
        tsdb_store_le32(data + at + WAL_FRAME_AT_CRC, wal_frame_crc(data + at, place, offset + at));
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
    wal_segment_header_put(head, w->o.mark, segment, prev_segment, prev_end);
    status = file_write(w, f, head, WAL_SEGMENT_HEADER_BYTES, 0, err);
    f->alloc_end = TSDB_MAX(f->alloc_end, sizeof head);
    if (status == TSDB_OK) {
        status = file_enter(w, f, w->lpos, err);
    }
    if (status != TSDB_OK) {
        wal_segment_discard(w, f);
    }
    return status;
}

/* ---- failure ---- */

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
            frames_seal(c->data + skip, len, wal_place(w->o.mark, f->segment), offset);
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
    wal_segment_header_put(head, w->o.mark, f->segment, prev_segment, prev_end);
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

/* ---- states ---- */

static void state_set(struct wal *w, enum wal_state state)
{
    atomic_store_explicit(&w->state, state, memory_order_release); /* partner: wal_state */
    tsdb_mutex_lock(&w->lock);
    tsdb_cond_broadcast(&w->sync_cond);
    tsdb_mutex_unlock(&w->lock);
}

static void cause_set(struct wal *w, const struct tsdb_error *cause)
{
    tsdb_mutex_lock(&w->lock);
    w->cause = *cause;
    tsdb_mutex_unlock(&w->lock);
}

/* There is no segment to write to, or no memory. Only the change is said. */
static void retry_later(struct wal *w, const struct tsdb_error *cause)
{
    cause_set(w, cause);
    if (w->closing) {
        tsdb_log(TSDB_LOG_ERROR, "wal", "log is read-only", TSDB_S("err", cause->msg));
        state_set(w, WAL_READ_ONLY);
        return;
    }
    w->retry_pause_ns = w->retry_pause_ns == 0 ? WAL_RETRY_FIRST_NS
                                               : TSDB_MIN(2 * w->retry_pause_ns, WAL_RETRY_LAST_NS);
    w->retry_at_ns = w->step_ns + w->retry_pause_ns;
    if (wal_state(w, NULL) != WAL_RETRYING) {
        tsdb_log(TSDB_LOG_ERROR, "wal", "log takes no writes, trying again",
                 TSDB_S("err", cause->msg));
        state_set(w, WAL_RETRYING);
    }
}

int64_t wal_writer_retry_in(const struct wal *w, int64_t now_ns)
{
    return TSDB_MAX(w->retry_at_ns - now_ns, INT64_C(0));
}

/* What was absorbed is written: the syncer may know. */
static void absorbed_publish(struct wal *w)
{
    struct wal_tally t = w->absorbed;
    if (t.bytes == 0) {
        return;
    }
    w->absorbed = (struct wal_tally){0};
    tsdb_mutex_lock(&w->lock);
    if (w->unsynced_since_ns == WAL_NO_TIME) {
        w->unsynced_since_ns = w->step_ns;
    }
    w->written_lpos = w->lpos;
    w->unsynced_samples += t.samples;
    w->stats.bytes_written += t.bytes;
    w->stats.frames_written += t.frames;
    w->stats.samples_written += t.samples;
    w->stats.writes++;
    tsdb_cond_signal(&w->sync_cond);
    tsdb_mutex_unlock(&w->lock);
}

/* ---- moving ---- */

/* Poison what is open: its un-synced bytes have to move. False: they have moved before, and nothing
 * was synced since. */
static bool poison(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    bool again = w->recovering;
    uint64_t segment = w->stats.segment;
    if (w->files_tail && !w->files_tail->dead) {
        w->move.due = true;
        w->move.from = w->synced_lpos;
        durable_end_locked(w, &w->move.prev_segment, &w->move.prev_end);
        wal_segment_poison_all_locked(w);
    }
    w->recovering = true;
    w->rewrite_due = false;
    w->generation++;
    tsdb_mutex_unlock(&w->lock);
    TSDB_ASSERT(w->move.due && w->move.from <= w->lpos);
    tsdb_log(TSDB_LOG_WARN, "wal", "segment poisoned, its un-synced bytes go again",
             TSDB_U("segment", segment), TSDB_U("bytes", w->lpos - w->move.from));
    if (!again) {
        w->retry_pause_ns = 0;
    }
    return !again;
}

/* The bytes that are due into a new segment. On failure nothing has changed. */
static enum tsdb_status move(struct wal *w, struct tsdb_error *err)
{
    TSDB_ASSERT(w->move.due);
    tsdb_mutex_lock(&w->lock);
    uint64_t segment = w->stats.segment + 1;
    tsdb_mutex_unlock(&w->lock);
    struct wal_file *f;
    uint64_t bytes = w->lpos - w->move.from;
    enum tsdb_status status =
        wal_segment_create(w, segment, capacity_for(w, bytes), false, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = segment_fill(w, f, w->move.from, w->move.prev_segment, w->move.prev_end, err);
    if (status != TSDB_OK) {
        wal_segment_discard(w, f);
        return status;
    }
    w->move.due = false;
    absorbed_publish(w);
    return TSDB_OK;
}

/* Move what is due at once; on a full disk into the reserve's room, if there is one. False: RETRYING, or read-only. */
static bool move_or_retry(struct wal *w)
{
    struct tsdb_error err;
    enum tsdb_status status = move(w, &err);
    if (status != TSDB_OK && tsdb_error_is_no_space(&err) && wal_reserve_release(w)) {
        status = move(w, &err);
    }
    if (status == TSDB_OK) {
        return true;
    }
    retry_later(w, &err);
    return false;
}

/* A write or a sync failed. One failure without a sync in between is answered at once, by moving the
 * un-synced bytes; after a second one it is waited. False: RETRYING, or read-only. */
static bool recover(struct wal *w, const struct tsdb_error *cause)
{
    tsdb_log(TSDB_LOG_WARN, "wal", "a write or sync failed", TSDB_S("err", cause->msg));
    if (poison(w) || (tsdb_error_is_no_space(cause) && wal_reserve_release(w))) {
        return move_or_retry(w);
    }
    retry_later(w, cause);
    return false;
}

static void failure_count(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    w->stats.write_failures++;
    tsdb_mutex_unlock(&w->lock);
}

/* No segment could be opened behind the current one, which is as good as before: it is synced, and
 * the next bytes go elsewhere. */
static bool create_failed(struct wal *w)
{
    failure_count(w);
    w->retry_pause_ns = 0;
    w->move =
        (struct wal_move){true, w->lpos, w->cur ? w->cur->segment : 0, w->cur ? w->offset : 0};
    return move_or_retry(w);
}

enum tsdb_status wal_writer_start(struct wal *w, struct tsdb_error *err)
{
    struct tsdb_error why;
    enum tsdb_status status = segment_begin(w, w->o.segment_first, 0, 0, 0, &why);
    if (status == TSDB_IO) {
        (void)create_failed(w);
        return TSDB_OK;
    }
    if (status != TSDB_OK && err) {
        *err = why;
    }
    return status;
}

/* ---- writing ---- */

static void tally_add(struct wal_tally *t, uint64_t bytes, uint64_t frames, uint64_t samples)
{
    t->bytes += bytes;
    t->frames += frames;
    t->samples += samples;
}

/* What a batch is told that the log could not take. */
static enum tsdb_status refusal(const struct wal *w)
{
    return wal_state(w, NULL) == WAL_READ_ONLY ? TSDB_READ_ONLY : TSDB_BUSY;
}

/* The oldest pending batch leaves the list. */
static struct tsdb_batch *pending_pop(struct wal *w)
{
    struct tsdb_batch *b = w->pending.head;
    w->pending.head = b->next;
    if (!b->next) {
        w->pending.tail = NULL;
    }
    w->pending_count--;
    return b;
}

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
        (void)pending_pop(w);
        memcpy(s->data + s->len, b->wal_bytes, b->wal_len);
        s->frames += frames_seal(s->data + s->len, b->wal_len,
                                 wal_place(w->o.mark, w->cur->segment), w->offset + s->len);
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
    if (s->strict.head) {
        w->grow_until_lpos = w->lpos + WAL_GROW_FOR;
    }
    wal_batch_list_join(&w->strict, &s->strict);
    if (first || wal_sync_due_in_locked(w, now_ns) == 0) {
        tsdb_cond_signal(&w->sync_cond);
    }
    tsdb_mutex_unlock(&w->lock);
    epoch_raise(w, w->cur->segment, w->offset);
}

/* Write one stretch into the current segment. 0: no memory, nothing happened. `*out_stuck`: the log
 * is not ready any more. */
static size_t stretch_write(struct wal *w, int64_t now_ns, uint64_t bytes_max, bool *out_stuck)
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
    if (status != TSDB_OK) {
        failure_count(w);
        if (!recover(w, &err)) {
            *out_stuck = true;
            tally_add(&w->absorbed, s.len, s.frames, s.samples);
            wal_batch_list_complete(&s.buffered, refusal(w));
            wal_batch_list_complete(&s.strict, refusal(w));
            return s.batches;
        }
    }
    stretch_publish(w, &s, now_ns);
    wal_batch_list_complete(&s.buffered, TSDB_OK);
    return s.batches;
}

/* Is the current segment to be left, before a batch of `len` bytes or because wal_rotate said so?
 * False: RETRYING, or read-only. */
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
    tsdb_log(TSDB_LOG_WARN, "wal", "segment not opened", TSDB_S("err", err.msg));
    if (!create_failed(w)) {
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

/* No memory for the copy of a large batch. When everything else is durable, waiting for syncs frees
 * none: then senders are turned away until there is some. The batch must not be left out. */
static void nomem(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    bool final = w->synced_lpos == w->lpos;
    w->sync_urgent = true;
    tsdb_cond_signal(&w->sync_cond);
    tsdb_mutex_unlock(&w->lock);
    if (final) {
        struct tsdb_error err;
        (void)tsdb_error_nomem(&err, "the log's copy of a batch");
        retry_later(w, &err);
    }
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

/* RETRYING: keep the bytes of what waits, for the segment to come, and send the senders away. What
 * finds no memory waits on. */
static size_t absorb(struct wal *w)
{
    struct wal_batch_list taken = {0};
    while (w->move.due && w->pending.head) {
        struct wal_chunk *c = chunk_for(w, w->pending.head->wal_len);
        if (!c) {
            break;
        }
        struct tsdb_batch *b = pending_pop(w);
        memcpy(c->data + c->len, b->wal_bytes, b->wal_len);
        /* For the count: the place, and with it the seal, is given when there is a segment. */
        uint64_t frames = frames_seal(c->data + c->len, b->wal_len, 0, 0);
        c->len += b->wal_len;
        w->lpos += b->wal_len;
        tally_add(&w->absorbed, b->wal_len, frames, b->wal_samples);
        wal_batch_list_push(&taken, b);
    }
    return wal_batch_list_complete(&taken, TSDB_BUSY);
}

/* After the disk was full: has it room for more than a header? Else the log would be ready for a moment,
 * again and again. A disk that does not say is tried. */
static bool room_again(struct wal *w, struct tsdb_error *cause)
{
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    uint64_t bytes = w->lpos - w->move.from;
    tsdb_mutex_lock(&w->lock);
    *cause = w->cause;
    tsdb_mutex_unlock(&w->lock);
    return !tsdb_error_is_no_space(cause) ||
           w->o.fs->ops->space(w->o.fs->ctx, &free_bytes, &total_bytes, NULL) != TSDB_OK ||
           free_bytes >= TSDB_MIN(capacity_for(w, bytes), bytes + WAL_GROW_AHEAD);
}

/* Is there a segment again, and memory for what waits? True: READY. */
static bool retry(struct wal *w)
{
    struct tsdb_error err;
    if (!w->closing && wal_writer_retry_in(w, w->step_ns) > 0) {
        return false;
    }
    tsdb_mutex_lock(&w->lock);
    w->stats.retries++;
    tsdb_mutex_unlock(&w->lock);
    if (w->move.due && !w->closing && !room_again(w, &err)) {
        retry_later(w, &err);
        return false;
    }
    if (w->move.due && !move_or_retry(w)) {
        return false;
    }
    if (w->pending.head && !chunk_for(w, w->pending.head->wal_len)) {
        (void)tsdb_error_nomem(&err, "the log's copy of a batch");
        retry_later(w, &err);
        return false;
    }
    tsdb_log(TSDB_LOG_INFO, "wal", "log takes writes again", TSDB_U("segment", w->cur->segment));
    state_set(w, WAL_READY);
    return true;
}

static size_t pending_fail(struct wal *w)
{
    w->pending_count = 0;
    return wal_batch_list_complete(&w->pending, TSDB_READ_ONLY);
}

/* A sync failed in the meantime: answer it. False: not ready. */
static bool rewrite_if_due(struct wal *w)
{
    struct tsdb_error cause;
    tsdb_mutex_lock(&w->lock);
    bool due = w->rewrite_due;
    cause = w->cause;
    tsdb_mutex_unlock(&w->lock);
    return !due || recover(w, &cause);
}

/* Can the log be written to, now or after what has to come first? */
static bool get_ready(struct wal *w)
{
    bool ready = rewrite_if_due(w);
    switch (wal_state(w, NULL)) {
    case WAL_READY:
        return ready && rotate_if_due(w, 0);
    case WAL_RETRYING:
        return retry(w) && rotate_if_due(w, 0);
    case WAL_READ_ONLY:
        break;
    }
    return false;
}

/* Every byte is written or absorbed. */
static void positions_check(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    TSDB_ASSERT(w->synced_lpos <= w->written_lpos);
    TSDB_ASSERT(w->written_lpos + w->absorbed.bytes == w->lpos);
    tsdb_mutex_unlock(&w->lock);
}

static size_t write_step(struct wal *w, int64_t now_ns)
{
    size_t done = 0;
    w->step_ns = now_ns;
    drain(w); /* before rotate_to is read: what was submitted after wal_rotate must find it */
    bool stuck = !get_ready(w);
    while (!stuck && w->pending.head) {
        uint64_t bytes_max = room(w);
        if (bytes_max == 0) {
            break;
        }
        if (!rotate_if_due(w, w->pending.head->wal_len)) {
            break;
        }
        size_t n = stretch_write(w, now_ns, bytes_max, &stuck);
        if (n == 0) {
            nomem(w);
            break;
        }
        done += n;
    }
    positions_check(w);
    chunks_trim(w, now_ns);
    switch (wal_state(w, NULL)) {
    case WAL_READY:
        break;
    case WAL_RETRYING:
        return done + absorb(w);
    case WAL_READ_ONLY:
        return done + pending_fail(w);
    }
    return done;
}

static void wake_writer(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    w->write_woken = true;
    tsdb_cond_signal(&w->write_cond);
    tsdb_mutex_unlock(&w->lock);
}

size_t wal_write_step(struct wal *w, int64_t now_ns)
{
    tsdb_turn_take(&w->turn);
    size_t done = write_step(w, now_ns);
    tsdb_turn_give(&w->turn);
    return done;
}

void wal_write_help(struct wal *w, const _Atomic(uint32_t) *done)
{
    bool left = tsdb_turn_try_for_a_while(&w->turn, done);
    for (int round = 1; left; round++) {
        write_step(w, tsdb_clock_mono_ns(&w->o.clock));
        /* Then the writer sleeps as if there were nothing to be done, or tried again. */
        bool stuck = w->pending.head || wal_state(w, NULL) != WAL_READY;
        uint64_t drained = w->drained;
        tsdb_turn_give(&w->turn);
        bool more =
            atomic_load(&w->submits) != drained; /* who could not help just now has told nobody */
        if (stuck || (more && round == HELP_ROUNDS)) {
            wake_writer(w);
            return;
        }
        left = more && tsdb_turn_try(&w->turn);
    }
}
