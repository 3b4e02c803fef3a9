#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mutex.h"
#include "tsdb/recovery/recovery_private.h"

static_assert(TSDB_PARTITIONS <= 64, "a bit for each");

struct recovery_lanes {
    uint32_t window_count; /* immutable, as are fn and arg */
    recovery_lane_fn fn;
    void *arg;
    struct tsdb_mutex lock; /* guards all below; nothing else is locked under it */
    struct tsdb_cond changed;
    struct {
        uint64_t waiting; /* partitions that nobody has taken yet */
        uint32_t running;
    } windows[RECOVERY_LANE_WINDOWS_MAX] TSDB_GUARDED;
    uint32_t oldest TSDB_GUARDED; /* the window that is given next, and so was given first */
    uint64_t busy TSDB_GUARDED;   /* partitions that somebody works on */
    bool closed TSDB_GUARDED;
};

enum tsdb_status recovery_lanes_create(uint32_t window_count, recovery_lane_fn fn, void *arg,
                                       struct recovery_lanes **out, struct tsdb_error *err)
{
    TSDB_ASSERT(window_count >= 1 && window_count <= RECOVERY_LANE_WINDOWS_MAX);
    struct recovery_lanes *l = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *l);
    if (!l) {
        return tsdb_error_nomem(err, "lanes of recovery");
    }
    l->window_count = window_count;
    l->fn = fn;
    l->arg = arg;
    tsdb_mutex_init(&l->lock, TSDB_RANK_TSDB_METADATA, "recovery lanes");
    tsdb_cond_init(&l->changed);
    *out = l;
    return TSDB_OK;
}

void recovery_lanes_destroy(struct recovery_lanes *l)
{
    if (l) {
        tsdb_cond_deinit(&l->changed);
        tsdb_mutex_deinit(&l->lock);
        tsdb_mem_free(TSDB_MEM_OTHER, l, sizeof *l);
    }
}

/* The oldest there is to do of a partition that nobody works on. */
static bool take_locked(struct recovery_lanes *l, uint32_t *out_window, uint32_t *out_partition)
    TSDB_REQUIRES(l->lock)
{
    uint64_t later = l->busy; /* partitions whose turn it is not */
    for (uint32_t i = 0; i < l->window_count; i++) {
        uint32_t window = (l->oldest + i) % l->window_count;
        uint64_t waiting = l->windows[window].waiting;
        uint64_t now = waiting & ~later;
        if (now != 0) {
            l->windows[window].waiting &= ~(now & -now);
            l->windows[window].running++;
            l->busy |= now & -now;
            *out_window = window;
            *out_partition = (uint32_t)__builtin_ctzll(now);
            return true;
        }
        later |= waiting;
    }
    return false;
}

/* Do one thing that there is to do; false: there is nothing. The lock is free meanwhile. */
static bool work_locked(struct recovery_lanes *l) TSDB_REQUIRES(l->lock)
{
    uint32_t window = 0;
    uint32_t partition = 0;
    if (!take_locked(l, &window, &partition)) {
        return false;
    }
    tsdb_mutex_unlock(&l->lock);
    l->fn(l->arg, window, partition);
    tsdb_mutex_lock(&l->lock);
    l->windows[window].running--;
    l->busy &= ~(UINT64_C(1) << partition);
    tsdb_cond_broadcast(&l->changed);
    return true;
}

void recovery_lanes_put(struct recovery_lanes *l, uint32_t window, uint64_t partitions)
{
    tsdb_mutex_lock(&l->lock);
    TSDB_ASSERT(window < l->window_count);
    TSDB_ASSERT(l->windows[window].waiting == 0 && l->windows[window].running == 0);
    l->windows[window].waiting = partitions;
    l->oldest = (window + 1) % l->window_count;
    tsdb_cond_broadcast(&l->changed);
    tsdb_mutex_unlock(&l->lock);
}

void recovery_lanes_wait(struct recovery_lanes *l, uint32_t window)
{
    tsdb_mutex_lock(&l->lock);
    while (l->windows[window].waiting != 0 || l->windows[window].running > 0) {
        if (!work_locked(l)) {
            tsdb_cond_wait(&l->changed, &l->lock, -1);
        }
    }
    tsdb_mutex_unlock(&l->lock);
}

void recovery_lanes_close(struct recovery_lanes *l)
{
    tsdb_mutex_lock(&l->lock);
    l->closed = true;
    tsdb_cond_broadcast(&l->changed);
    tsdb_mutex_unlock(&l->lock);
}

void recovery_lanes_work(struct recovery_lanes *l)
{
    tsdb_mutex_lock(&l->lock);
    while (!l->closed) {
        if (!work_locked(l)) {
            tsdb_cond_wait(&l->changed, &l->lock, -1);
        }
    }
    tsdb_mutex_unlock(&l->lock);
}
