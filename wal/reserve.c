/* The log's reserve: a file without content beside the segments. When the disk is full it is removed, and the
 * log writes on in its room, while flush, checkpoint and retention make more.
 *
 *   NONE ──the syncer finds room──▶ MAKING ──all written──▶ THERE ──the writer finds the disk full──▶ NONE
 */
#include "base/log.h"
#include "wal/wal_private.h"

#include <stdio.h>

#define LOOK_EVERY_NS (INT64_C(5) * 1000 * 1000 * 1000)

static void path_of(const char *dir, char *out)
{
    (void)snprintf(out, WAL_PATH_MAX, "%.*s/" WAL_RESERVE_NAME, (int)(WAL_PATH_MAX - 32), dir);
}

static void state_set(struct wal *w, enum wal_reserve_state state)
{
    tsdb_mutex_lock(&w->lock);
    w->reserve_state = state;
    tsdb_mutex_unlock(&w->lock);
}

static enum wal_reserve_state state_get(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    enum wal_reserve_state state = w->reserve_state;
    tsdb_mutex_unlock(&w->lock);
    return state;
}

void wal_reserve_remove(const struct tsdb_fs *fs, const char *dir)
{
    char path[WAL_PATH_MAX];
    path_of(dir, path);
    /* Best effort: the next look finds what is left. */
    (void)!fs->ops->unlink(fs->ctx, path, NULL);
}

static void file_remove(struct wal *w)
{
    wal_reserve_remove(w->o.fs, w->dir);
}

void wal_reserve_start(struct wal *w)
{
    char path[WAL_PATH_MAX];
    struct tsdb_file_info info;
    path_of(w->dir, path);
    if (w->o.fs->ops->stat(w->o.fs->ctx, path, &info, NULL) != TSDB_OK) {
        return;
    }
    if (w->o.reserve_bytes > 0 && info.size_bytes == w->o.reserve_bytes) {
        state_set(w, WAL_RESERVE_THERE); /* of a process that was killed */
    } else {
        file_remove(w);
    }
}

bool wal_reserve_release(struct wal *w)
{
    tsdb_mutex_lock(&w->lock);
    bool there = w->reserve_state == WAL_RESERVE_THERE;
    if (there) {
        w->reserve_state = WAL_RESERVE_NONE;
        w->reserve_look_ns = w->step_ns + LOOK_EVERY_NS;
    }
    tsdb_mutex_unlock(&w->lock);
    if (there) {
        file_remove(w);
        tsdb_log(TSDB_LOG_WARN, "wal",
                 "the disk is full: the log goes on in the room of its reserve",
                 TSDB_U("bytes", w->o.reserve_bytes));
    }
    return there;
}

/* ---- making; threads: the syncer ---- */

static void making_end(struct wal *w, bool made)
{
    w->o.fs->ops->close(w->o.fs->ctx, w->reserve_file);
    w->reserve_file = NULL;
    if (!made) {
        file_remove(w);
    }
    state_set(w, made ? WAL_RESERVE_THERE : WAL_RESERVE_NONE);
}

/* Is there room for it, beside what others may use? */
static bool look(struct wal *w, int64_t now_ns)
{
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    tsdb_mutex_lock(&w->lock);
    bool due = now_ns >= w->reserve_look_ns;
    if (due) {
        w->reserve_look_ns = now_ns + LOOK_EVERY_NS;
    }
    tsdb_mutex_unlock(&w->lock);
    return due && wal_state(w, NULL) == WAL_READY &&
           w->o.fs->ops->space(w->o.fs->ctx, &free_bytes, &total_bytes, NULL) == TSDB_OK &&
           free_bytes >= w->o.reserve_above_bytes &&
           free_bytes - w->o.reserve_above_bytes >= w->o.reserve_bytes;
}

static void making_begin(struct wal *w)
{
    char path[WAL_PATH_MAX];
    path_of(w->dir, path);
    if (w->o.fs->ops->open(w->o.fs->ctx, path,
                           TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE,
                           &w->reserve_file, NULL) == TSDB_OK) {
        w->reserve_written = 0;
        state_set(w, WAL_RESERVE_MAKING);
        enum tsdb_status status =
            w->o.fs->ops->preallocate(w->o.fs->ctx, w->reserve_file, w->o.reserve_bytes, NULL);
        if (status != TSDB_UNSUPPORTED) { /* else it is written, a piece at a time */
            making_end(w, status == TSDB_OK);
        }
    }
}

void wal_reserve_step(struct wal *w, int64_t now_ns)
{
    if (w->o.reserve_bytes == 0) {
        return;
    }
    if (w->reserve_file) {
        uint64_t to = TSDB_MIN(w->reserve_written + WAL_GROW_BYTES, w->o.reserve_bytes);
        bool ok = wal_state(w, NULL) == WAL_READY &&
                  wal_zeroes_write(w, w->reserve_file, w->reserve_written, to, NULL) == TSDB_OK;
        w->reserve_written = to;
        if (!ok || to == w->o.reserve_bytes) {
            making_end(w, ok);
        }
    } else if (state_get(w) == WAL_RESERVE_NONE && look(w, now_ns)) {
        making_begin(w);
    }
}

void wal_reserve_stop(struct wal *w, bool remove)
{
    if (w->reserve_file) {
        w->o.fs->ops->close(w->o.fs->ctx, w->reserve_file);
        w->reserve_file = NULL;
    }
    if (remove && w->o.reserve_bytes > 0) {
        file_remove(w);
    }
}
