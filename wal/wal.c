#include "wal/wal.h"

#include "base/assert.h"
#include "wal/wal_private.h"

#include <stdio.h>

/* ---- life ---- */

/* mkdir, and make the name durable in the parent. */
static enum tsdb_status dir_make(const struct wal *w, struct tsdb_error *err)
{
    char parent[WAL_PATH_MAX];
    snprintf(parent, sizeof parent, "%s", w->dir);
    char *slash = strrchr(parent, '/');
    *(slash ? slash : parent) = 0;
    enum tsdb_status status = w->o.fs->ops->mkdir(w->o.fs->ctx, w->dir, err);
    return status == TSDB_OK ? w->o.fs->ops->sync_dir(w->o.fs->ctx, parent, err) : status;
}

static enum tsdb_status rings_make(struct wal *w, struct tsdb_error *err)
{
    w->rings =
        tsdb_mem_alloc_aligned(TSDB_MEM_WAL, TSDB_CACHELINE, w->o.owner_count * sizeof *w->rings);
    if (!w->rings) {
        return tsdb_error_nomem(err, "the log's rings");
    }
    memset(w->rings, 0, w->o.owner_count * sizeof *w->rings);
    for (uint32_t i = 0; i < w->o.owner_count; i++) {
        enum tsdb_status status = tsdb_ring_init(&w->rings[i], w->o.ring_slots);
        if (status != TSDB_OK) {
            return tsdb_error_nomem(err, "a ring of the log");
        }
    }
    return TSDB_OK;
}

static enum tsdb_status options_check(const struct wal_options *o, struct tsdb_error *err)
{
    TSDB_ASSERT(o->owner_count > 0 && o->owner_count <= TSDB_OWNERS_MAX);
    TSDB_ASSERT(o->epoch_bytes > 0 && o->unsynced_bytes_max > 0 && o->segment_first > 0);
    if (o->segment_bytes < 4 * WAL_SEGMENT_HEADER_BYTES) {
        return tsdb_error_set(err, TSDB_INVALID, "wal: segments of %llu bytes are too small",
                              (unsigned long long)o->segment_bytes);
    }
    if (strlen(o->dir) + 32 > WAL_PATH_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "wal: the directory's name is too long");
    }
    return TSDB_OK;
}

static enum tsdb_status start(struct wal *w, struct tsdb_error *err) TSDB_NO_TSA
{
    enum tsdb_status status = rings_make(w, err);
    if (status == TSDB_OK) {
        status = dir_make(w, err);
    }
    if (status == TSDB_OK) {
        status = wal_segment_list(w, err);
    }
    if (status == TSDB_OK && w->live_count > 0 &&
        w->live[w->live_count - 1].segment >= w->o.segment_first) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "wal: segment %08llu exists, the log cannot begin at %08llu",
                              (unsigned long long)w->live[w->live_count - 1].segment,
                              (unsigned long long)w->o.segment_first);
    }
    if (status == TSDB_OK) {
        wal_position_start(w);
        wal_reserve_start(w);
        status = wal_writer_start(w, err);
    }
    return status;
}

static void destroy(struct wal *w) TSDB_NO_TSA
{
    for (struct wal_file *f = w->files, *next; f; f = next) {
        next = f->next;
        wal_segment_destroy(w, f);
    }
    wal_position_stop(w);
    wal_reserve_stop(w, false);
    struct wal_chunk *lists[] = {w->chunks, w->pool};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(lists); i++) {
        for (struct wal_chunk *c = lists[i], *next; c; c = next) {
            next = c->next;
            wal_chunk_destroy(c);
        }
    }
    for (uint32_t i = 0; w->rings && i < w->o.owner_count; i++) {
        tsdb_ring_deinit(&w->rings[i]);
    }
    tsdb_mem_free(TSDB_MEM_WAL, w->rings, w->o.owner_count * sizeof *w->rings);
    tsdb_mem_free(TSDB_MEM_WAL, w->live, w->live_cap * sizeof *w->live);
    tsdb_cond_deinit(&w->write_cond);
    tsdb_cond_deinit(&w->sync_cond);
    tsdb_mutex_deinit(&w->lock);
    tsdb_mem_free(TSDB_MEM_WAL, w, sizeof *w);
}

enum tsdb_status wal_open(const struct wal_options *options, struct wal **out,
                          struct tsdb_error *err) TSDB_NO_TSA
{
    enum tsdb_status status = options_check(options, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct wal *w = tsdb_mem_alloc_zero(TSDB_MEM_WAL, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "the log");
    }
    w->o = *options;
    snprintf(w->dir, sizeof w->dir, "%s", options->dir);
    w->o.dir = w->dir;
    w->epochs_per_segment = TSDB_MAX(options->segment_bytes / options->epoch_bytes, UINT64_C(1));
    w->unsynced_since_ns = WAL_NO_TIME;
    w->stats.segment = options->segment_first - 1;
    w->step_ns = tsdb_clock_mono_ns(&options->clock);
    tsdb_mutex_init(&w->lock, TSDB_RANK_WAL_CONTROL, "wal");
    tsdb_cond_init(&w->write_cond);
    tsdb_cond_init(&w->sync_cond);
    status = start(w, err);
    if (status != TSDB_OK) {
        destroy(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

/* Ask for a sync of all that is written, unless there is nothing. False: nothing left to do. */
static bool close_urge(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    bool left = w->pending.head || w->rewrite_due || w->strict.head || w->lpos != w->synced_lpos;
    w->sync_urgent = true;
    tsdb_mutex_unlock(&w->lock);
    return left || atomic_load(&w->submits) != w->drained;
}

enum tsdb_status wal_close(struct wal *w, struct tsdb_error *err)
{
    if (!w) {
        return TSDB_OK;
    }
    /* Ends: each round writes, syncs, or answers a failure, and of those two in a row make the log
     * read-only now. */
    w->closing = true;
    while (!wal_read_only(w, NULL) && close_urge(w)) {
        int64_t now_ns = tsdb_clock_mono_ns(&w->o.clock);
        wal_write_step(w, now_ns);
        wal_sync_step(w, now_ns);
    }
    enum tsdb_status status = wal_read_only(w, err) ? TSDB_READ_ONLY : TSDB_OK;
    if (status != TSDB_OK) {
        while (wal_write_step(w, 0) > 0) {
        }
        wal_sync_step(w, 0);
    }
    wal_position_step(w, tsdb_clock_mono_ns(&w->o.clock), true);
    wal_reserve_stop(w, true);
    destroy(w);
    return status;
}

void wal_abandon(struct wal *w) TSDB_NO_TSA
{
    if (!w) {
        return;
    }
    wal_batch_list_complete(&w->strict, TSDB_READ_ONLY);
    wal_batch_list_complete(&w->pending, TSDB_READ_ONLY);
    for (uint32_t i = 0; i < w->o.owner_count; i++) {
        void *b = NULL;
        while (tsdb_ring_drain(&w->rings[i], &b, 1) > 0) {
            tsdb_batch_complete(b, TSDB_READ_ONLY);
        }
    }
    destroy(w);
}

/* ---- owners ---- */

struct tsdb_ring *wal_ring(struct wal *w, uint32_t owner)
{
    TSDB_ASSERT(owner < w->o.owner_count);
    return &w->rings[owner];
}

void wal_submit_quietly(struct wal *w, uint32_t owner, struct tsdb_batch *b)
{
    TSDB_ASSERT(b->wal_len > 0 && b->wal_len % WAL_FRAME_ALIGN == 0);
    TSDB_ASSERT(b->durability != TSDB_DURABILITY_MEMORY);
    tsdb_ring_publish(wal_ring(w, owner), b);
    atomic_fetch_add(&w->submits, 1);
}

void wal_tell(struct wal *w)
{
    if (atomic_load(&w->writer_sleeping)) {
        tsdb_mutex_lock(&w->lock);
        tsdb_cond_signal(&w->write_cond);
        tsdb_mutex_unlock(&w->lock);
    }
}

void wal_submit(struct wal *w, uint32_t owner, struct tsdb_batch *b)
{
    wal_submit_quietly(w, owner, b);
    wal_tell(w);
}

uint64_t wal_epoch(const struct wal *w)
{
    return atomic_load(&w->epoch);
}

/* ---- sleeping ---- */

static bool write_due_locked(const struct wal *w) TSDB_REQUIRES(w->lock)
{
    if (w->write_woken || w->rewrite_due) {
        return true;
    }
    enum wal_state state = wal_state(w, NULL);
    if (state == WAL_READ_ONLY) {
        return w->pending.head || atomic_load(&w->submits) != w->drained;
    }
    if (state == WAL_RETRYING) { /* what stays pending waits for memory, until the next attempt */
        return !w->pending.head && atomic_load(&w->submits) != w->drained;
    }
    if (w->rotate_to > w->cur->segment) {
        return true;
    }
    /* A blocked writer has room only after a sync, which signals. */
    return !wal_writer_blocked_locked(w) &&
           (w->pending.head || atomic_load(&w->submits) != w->drained);
}

void wal_write_wait(struct wal *w, int64_t timeout_ns)
{
    tsdb_turn_take(&w->turn); /* to look at what is the writer's */
    tsdb_mutex_lock(&w->lock);
    atomic_store(&w->writer_sleeping, 1); /* before submits is read; partner: wal_tell */
    if (wal_state(w, NULL) == WAL_RETRYING) {
        int64_t in_ns = wal_writer_retry_in(w, tsdb_clock_mono_ns(&w->o.clock));
        timeout_ns = timeout_ns < 0 ? in_ns : TSDB_MIN(timeout_ns, in_ns);
    }
    bool due = timeout_ns == 0 || write_due_locked(w);
    uint64_t drained = w->drained;
    bool stuck = w->pending.head != NULL; /* what comes meanwhile has to wait, too */
    tsdb_turn_give(&w->turn);
    due |= !stuck &&
           atomic_load(&w->submits) != drained; /* who could not help just now has told nobody */
    if (!due) {
        tsdb_cond_wait(&w->write_cond, &w->lock, timeout_ns);
    }
    atomic_store(&w->writer_sleeping, 0);
    w->write_woken = false;
    tsdb_mutex_unlock(&w->lock);
}

void wal_sync_wait(struct wal *w, int64_t timeout_ns)
{
    tsdb_mutex_lock(&w->lock);
    int64_t wait_ns = wal_sync_due_in_locked(w, tsdb_clock_mono_ns(&w->o.clock));
    if (wal_read_only(w, NULL)) {
        wait_ns = w->strict.head ? 0 : -1;
    } else if (wal_sync_stalled_locked(w)) {
        /* The writer's turn, and it signals; but who waits is told when that may take long. */
        bool hopeless = !w->rewrite_due && wal_state(w, NULL) == WAL_RETRYING;
        wait_ns = hopeless && w->strict.head ? 0 : -1;
    } else if (wal_segment_grow_due_locked(w)) {
        wait_ns = 0;
    }
    if (timeout_ns >= 0 && (wait_ns < 0 || wait_ns > timeout_ns)) {
        wait_ns = timeout_ns;
    }
    if (wait_ns != 0 && !w->sync_woken) {
        tsdb_cond_wait(&w->sync_cond, &w->lock, wait_ns);
    }
    w->sync_woken = false;
    tsdb_mutex_unlock(&w->lock);
}

void wal_wake(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    w->write_woken = true;
    w->sync_woken = true;
    tsdb_cond_broadcast(&w->write_cond);
    tsdb_cond_broadcast(&w->sync_cond);
    tsdb_mutex_unlock(&w->lock);
}

/* ---- control ---- */

uint64_t wal_rotate(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    w->rotate_to = w->stats.segment + 1;
    uint64_t segment = w->rotate_to, epoch = segment * w->epochs_per_segment;
    tsdb_cond_signal(&w->write_cond);
    tsdb_mutex_unlock(&w->lock);
    /* At once: a batch that is encoded from now on may need nothing of the segments before. */
    uint64_t now = atomic_load(&w->epoch);
    while (now < epoch && !atomic_compare_exchange_weak(&w->epoch, &now, epoch)) {
    }
    return segment;
}

/* The lock is the one field that a reader changes. */
static struct tsdb_mutex *lock_of(const struct wal *w)
{
    return (struct tsdb_mutex *)(uintptr_t)&w->lock;
}

static void cause_copy(const struct wal *w, struct tsdb_error *out) TSDB_NO_TSA
{
    tsdb_mutex_lock(lock_of(w));
    *out = w->cause;
    tsdb_mutex_unlock(lock_of(w));
}

enum wal_state wal_state(const struct wal *w, struct tsdb_error *err)
{
    enum wal_state state = (enum wal_state)atomic_load_explicit(&w->state, memory_order_acquire);
    if (state == WAL_READY || !err) {
        return state;
    }
    struct tsdb_error cause;
    cause_copy(w, &cause);
    if (state == WAL_READ_ONLY) {
        tsdb_error_set(err, TSDB_READ_ONLY,
                       "the write-ahead log failed and takes no more writes: %s", cause.msg);
    } else {
        tsdb_error_set(err, TSDB_BUSY,
                       "the write-ahead log has no segment to write to and tries again: %s",
                       cause.msg);
    }
    return state;
}

bool wal_out_of_space(const struct wal *w)
{
    if (wal_state(w, NULL) != WAL_RETRYING) {
        return false;
    }
    struct tsdb_error cause;
    cause_copy(w, &cause);
    return tsdb_error_is_no_space(&cause);
}

bool wal_read_only(const struct wal *w, struct tsdb_error *err)
{
    return wal_state(w, NULL) == WAL_READ_ONLY && wal_state(w, err) == WAL_READ_ONLY;
}

void wal_stats(const struct wal *w, struct wal_stats *out)
{
    struct tsdb_mutex *lock = lock_of(w);
    tsdb_mutex_lock(lock);
    *out = w->stats;
    out->disk_bytes = 0;
    for (uint32_t i = 0; i < w->live_count; i++) {
        out->disk_bytes += w->live[i].bytes;
    }
    out->disk_bytes += w->spare_count * w->o.segment_bytes;
    out->reserve_bytes = w->reserve_state == WAL_RESERVE_THERE ? w->o.reserve_bytes : 0;
    out->unsynced_bytes = w->written_lpos - w->synced_lpos;
    tsdb_mutex_unlock(lock);
    out->epoch = wal_epoch(w);
    out->state = wal_state(w, NULL);
}
