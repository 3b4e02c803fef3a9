/* The syncer: fdatasync for all who wait, and the zeroes ahead of the writer. */
#include "base/assert.h"
#include "base/latency.h"
#include "base/log.h"
#include "wal/wal_private.h"

void wal_failure_note_locked(struct wal *w, const struct tsdb_error *err)
{
    if (!wal_read_only(w, NULL)) {
        w->cause = *err;
        w->rewrite_due = true;
        tsdb_cond_signal(&w->write_cond);
    }
}

int64_t wal_sync_due_in_locked(const struct wal *w, int64_t now_ns)
{
    TSDB_ASSERT(w->synced_lpos <= w->written_lpos);
    uint64_t unsynced = w->written_lpos - w->synced_lpos;
    if (unsynced == 0) {
        return w->strict.head ? 0 : -1;
    }
    if (w->strict.head || w->sync_urgent || w->unsynced_samples >= w->o.flush_samples ||
        unsynced >= w->o.unsynced_bytes_max / 2 || w->unsynced_since_ns == WAL_NO_TIME) {
        return 0;
    }
    int64_t until = w->unsynced_since_ns + (int64_t)w->o.flush_interval_ms * 1000000;
    return now_ns >= until ? 0 : until - now_ns;
}

bool wal_sync_stalled_locked(const struct wal *w)
{
    return w->rewrite_due || !w->files_tail || w->files_tail->dead;
}

/* What one sync covers, and what to put back if it fails. */
struct sync_run {
    struct wal_file *first, *last; /* the files to sync, oldest first */
    uint64_t target_lpos, generation, samples;
    int64_t since_ns;
    bool dir;
    struct wal_batch_list strict;
};

static void run_begin_locked(struct wal *w, struct sync_run *run) TSDB_REQUIRES(w->lock)
{
    struct wal_file *first = w->files;
    while (first->dead) {
        first = first->next; /* the newest is alive: wal_sync_stalled_locked */
    }
    TSDB_ASSERT(first->lpos_begin <= w->synced_lpos); /* no byte between durable and this sync */
    *run = (struct sync_run){
        .first = first,
        .last = w->files_tail,
        .target_lpos = w->written_lpos,
        .generation = w->generation,
        .samples = w->unsynced_samples,
        .since_ns = w->unsynced_since_ns,
        .dir = w->dir_dirty,
        .strict = w->strict,
    };
    w->strict = (struct wal_batch_list){0};
    w->unsynced_samples = 0;
    w->unsynced_since_ns = WAL_NO_TIME;
    w->sync_urgent = false;
    w->dir_dirty = false;
}

/* It did not count: the batches wait on, in front of those that came meanwhile. */
static void run_undo_locked(struct wal *w, struct sync_run *run) TSDB_REQUIRES(w->lock)
{
    wal_batch_list_join(&run->strict, &w->strict);
    w->strict = run->strict;
    w->unsynced_samples += run->samples;
    w->unsynced_since_ns = run->since_ns;
    w->dir_dirty = w->dir_dirty || run->dir;
    TSDB_ASSERT(!w->strict.head == !w->strict.tail);
}

/* Names first, then the segments from old to new: nothing counts as durable before what stands in
 * front of it. The files' links up to `last` do not change any more, and only the syncer closes
 * files, so this needs no lock. */
static enum tsdb_status run_sync(struct wal *w, const struct sync_run *run, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = w->o.fs;
    enum tsdb_status status = run->dir ? fs->ops->sync_dir(fs->ctx, w->dir, err) : TSDB_OK;
    for (struct wal_file *f = run->first; status == TSDB_OK; f = f->next) {
        uint64_t begin = tsdb_perf_now();
        status = fs->ops->sync(fs->ctx, f->handle, err);
        tsdb_perf_end(TSDB_LAYER_WAL_FSYNC, begin);
        if (f == run->last) {
            break;
        }
    }
    return status;
}

/* Chunks whose bytes are all durable go to the pool or back to the heap; the newest stays, the
 * writer is in it. */
static struct wal_chunk *chunks_release_locked(struct wal *w) TSDB_REQUIRES(w->lock)
{
    struct wal_chunk *extra = NULL;
    while (w->chunks && w->chunks->next && w->chunks->next->lpos <= w->synced_lpos) {
        struct wal_chunk *c = w->chunks;
        w->chunks = c->next;
        if (c->cap == WAL_CHUNK_BYTES && w->pool_count < WAL_CHUNK_POOL_MAX) {
            c->next = w->pool;
            w->pool = c;
            w->pool_count++;
        } else {
            c->next = extra;
            extra = c;
        }
    }
    return extra;
}

/* Files that nobody needs: poisoned, or durable and left by the writer. Returns them as a list, to
 * be closed. */
static struct wal_file *files_release_locked(struct wal *w) TSDB_REQUIRES(w->lock)
{
    struct wal_file *gone = NULL;
    while (w->files && w->files->next &&
           (w->files->dead || w->files->next->lpos_begin <= w->synced_lpos)) {
        struct wal_file *f = w->files;
        w->files = f->next;
        f->next = gone;
        gone = f;
    }
    return gone;
}

static void release(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    struct wal_chunk *chunks = chunks_release_locked(w);
    struct wal_file *files = files_release_locked(w);
    tsdb_mutex_unlock(&w->lock);
    while (chunks) {
        struct wal_chunk *next = chunks->next;
        wal_chunk_destroy(chunks);
        chunks = next;
    }
    while (files) {
        struct wal_file *next = files->next;
        wal_segment_destroy(w, files);
        files = next;
    }
}

/* Where the log is durable now. A segment that holds no frame yet says nothing. */
static void position_note_locked(struct wal *w, const struct sync_run *run) TSDB_REQUIRES(w->lock)
{
    const struct wal_file *found = NULL;
    for (const struct wal_file *f = run->first; f; f = f == run->last ? NULL : f->next) {
        found = f->lpos_begin < run->target_lpos ? f : found;
    }
    if (found) {
        uint64_t end = WAL_SEGMENT_HEADER_BYTES + (run->target_lpos - found->lpos_begin);
        w->position_synced.segment = found->segment;
        w->position_synced.offset = end;
    }
}

/* The sync is over. True if it counts; then run->strict may be completed. */
static bool run_end(struct wal *w, struct sync_run *run, enum tsdb_status status,
                    const struct tsdb_error *err)
{
    bool counts = false;
    tsdb_mutex_lock(&w->lock);
    w->stats.syncs++;
    if (run->generation != w->generation || wal_read_only(w, NULL)) {
        /* The bytes have moved meanwhile: their new place was not synced. */
        run_undo_locked(w, run);
    } else if (status != TSDB_OK) {
        w->stats.sync_failures++;
        run_undo_locked(w, run);
        wal_failure_note_locked(w, err);
    } else {
        TSDB_ASSERT(run->target_lpos >= w->synced_lpos && run->target_lpos <= w->written_lpos);
        w->synced_lpos = run->target_lpos;
        position_note_locked(w, run);
        w->recovering = false;
        counts = true;
        tsdb_cond_signal(&w->write_cond); /* it may wait for room */
    }
    tsdb_mutex_unlock(&w->lock);
    return counts;
}

/* What waits for a sync will not get one soon: whoever waits learns it. */
static size_t strict_fail(struct wal *w, enum tsdb_status status)
{
    tsdb_mutex_lock(&w->lock);
    struct wal_batch_list strict = w->strict;
    w->strict = (struct wal_batch_list){0};
    tsdb_mutex_unlock(&w->lock);
    wal_batch_list_complete(&strict, status);
    return 0;
}

size_t wal_sync_step(struct wal *w, int64_t now_ns)
{
    struct sync_run run;
    struct tsdb_error err;
    if (wal_read_only(w, NULL)) {
        return strict_fail(w, TSDB_READ_ONLY);
    }
    release(w); /* poisoned files, should there be some */
    tsdb_mutex_lock(&w->lock);
    bool stalled = wal_sync_stalled_locked(w);
    bool hopeless = stalled && !w->rewrite_due && wal_state(w, NULL) == WAL_RETRYING;
    bool due = !stalled && wal_sync_due_in_locked(w, now_ns) == 0;
    if (due) {
        run_begin_locked(w, &run);
    }
    tsdb_mutex_unlock(&w->lock);
    if (hopeless) {
        return strict_fail(w, TSDB_BUSY);
    }
    bool counts = false;
    if (due) {
        enum tsdb_status status = run_sync(w, &run, &err);
        counts = run_end(w, &run, status, &err);
    }
    if (counts) {
        wal_batch_list_complete(&run.strict, TSDB_OK);
        wal_position_step(w, now_ns, false); /* nobody waits for it */
        release(w);
    }
    wal_segment_grow(w);
    wal_reserve_step(w, now_ns);
    return counts ? 1 : 0;
}
