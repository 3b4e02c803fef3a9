#include "server/parts/workers.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mutex.h"

#include <pthread.h>
#include <stdatomic.h>

/* Work of one kind. */
struct lane {
    struct work *head, *tail;
    struct workers_kind_stats stats;
};

struct workers {
    /* immutable after create */
    uint32_t run_max[WORK_KINDS];  /* of a kind and the costlier ones together */
    uint32_t wait_max[WORK_KINDS]; /* likewise */
    pthread_t *threads;
    uint32_t thread_cap;
    uint32_t
        heavy_threads; /* so many of them, the first ones, take what is heavy, too, and give way */
    unsigned nice;
    _Atomic(uint32_t) begun; /* threads; relaxed: a number for each */
    /* guarded by lock */
    struct tsdb_mutex lock; /* rank SERVER_QUEUE */
    /* What idle threads wait for: those that take no heavy work, and those that do. */
    struct tsdb_cond ready[2];
    uint32_t idle[2] TSDB_GUARDED;
    struct lane lanes[WORK_KINDS] TSDB_GUARDED;
    uint64_t next_number TSDB_GUARDED;
    bool stopping TSDB_GUARDED;
    /* owned by whoever creates and destroys */
    uint32_t thread_count;
};

/* How many of a kind and of the costlier ones wait and run. */
struct load {
    uint32_t waiting, running;
};

static struct load load_from(const struct workers *w, uint32_t kind) TSDB_REQUIRES(w->lock)
{
    struct load l = {0};
    for (uint32_t k = kind; k < WORK_KINDS; k++) {
        l.waiting += w->lanes[k].stats.waiting;
        l.running += w->lanes[k].stats.running;
    }
    return l;
}

static bool may_run(const struct workers *w, uint32_t kind) TSDB_REQUIRES(w->lock)
{
    for (uint32_t k = 0; k <= kind; k++) {
        if (load_from(w, k).running >= w->run_max[k]) {
            return false;
        }
    }
    return true;
}

/* An idle thread counts as room: with no queue there is still one item per thread. */
static bool may_wait(const struct workers *w, uint32_t kind) TSDB_REQUIRES(w->lock)
{
    for (uint32_t k = 0; k <= kind; k++) {
        struct load l = load_from(w, k);
        if (l.waiting >= w->wait_max[k] + (w->run_max[k] - l.running)) {
            return false;
        }
    }
    return true;
}

/* The lane of the oldest item that may run in such a thread; NULL: none may. What is not heavy is left to a
 * thread that does not give way, while one is idle: it is woken for it. */
static struct lane *lane_next(struct workers *w, bool heavy) TSDB_REQUIRES(w->lock)
{
    struct lane *next = NULL;
    bool left = heavy && w->idle[0] > 0 && !w->stopping;
    for (uint32_t k = 0; k < (heavy ? WORK_KINDS : WORK_HEAVY) && may_run(w, k); k++) {
        struct lane *l = &w->lanes[k];
        bool mine = k == WORK_HEAVY || !left;
        if (mine && l->head && (!next || l->head->number < next->head->number)) {
            next = l;
        }
    }
    return next;
}

/* Wake a thread for what may run now: one that takes no heavy work, if that is enough and one is idle. */
static void wake(struct workers *w) TSDB_REQUIRES(w->lock)
{
    bool light = w->idle[0] > 0 && lane_next(w, false) != NULL;
    if (light || (w->idle[1] > 0 && lane_next(w, true) != NULL)) {
        tsdb_cond_signal(&w->ready[!light]);
    }
}

/* The next item, or NULL when it is time to go. finished: the kind that the caller has just run;
 * WORK_KINDS for none. heavy: the caller takes what is heavy, too. At the end, what may not run here runs in
 * the threads that are busy now: it is those that keep it from running. */
static struct work *take(struct workers *w, uint32_t finished, bool heavy)
{
    tsdb_mutex_lock(&w->lock);
    if (finished < WORK_KINDS) {
        w->lanes[finished].stats.running--;
    }
    struct lane *lane = lane_next(w, heavy || w->stopping);
    for (; !lane && !w->stopping; lane = lane_next(w, heavy || w->stopping)) {
        wake(w); /* what is barred to this one */
        w->idle[heavy]++;
        (void)tsdb_cond_wait(&w->ready[heavy], &w->lock, -1);
        w->idle[heavy]--;
    }
    struct work *item = lane ? lane->head : NULL;
    if (item) {
        lane->head = item->next;
        lane->tail = lane->head ? lane->tail : NULL;
        lane->stats.waiting--;
        lane->stats.running++;
        wake(w); /* whom its submit woke may have found it barred */
    }
    tsdb_mutex_unlock(&w->lock);
    return item;
}

static void *worker_main(void *arg)
{
    struct workers *w = arg;
    uint32_t kind = WORK_KINDS;
    bool heavy = atomic_fetch_add_explicit(&w->begun, 1, memory_order_relaxed) < w->heavy_threads;
    if (heavy) {
        tsdb_thread_give_way(w->nice);
    }
    for (struct work *item = take(w, kind, heavy); item; item = take(w, kind, heavy)) {
        kind = item->kind; /* the item is gone when it has run */
        item->run(item);
    }
    return NULL;
}

static void set_bounds(struct workers *w, const struct workers_options *o)
{
    uint32_t kept = TSDB_MIN(o->kept, o->threads - 1);
    const uint32_t kept_from[WORK_KINDS] = {0, kept - kept / 2, kept};
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        w->run_max[k] = o->threads - kept_from[k];
        w->wait_max[k] = o->queue_max - (k > 0 && kept > 0 ? o->queue_max / 4 : 0);
    }
    if (o->heavy > 0 && o->heavy < w->run_max[WORK_HEAVY]) {
        w->wait_max[WORK_HEAVY] += w->run_max[WORK_HEAVY] - o->heavy;
        w->run_max[WORK_HEAVY] = o->heavy;
    }
    w->heavy_threads = w->run_max[WORK_HEAVY];
}

enum tsdb_status workers_create(const struct workers_options *o, struct workers **out,
                                struct tsdb_error *err)
{
    TSDB_ASSERT(o->threads >= 1);
    struct workers *w = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "worker threads");
    }
    set_bounds(w, o);
    w->thread_cap = o->threads;
    w->nice = o->nice;
    tsdb_mutex_init(&w->lock, TSDB_RANK_SERVER_QUEUE, "workers");
    tsdb_cond_init(&w->ready[0]);
    tsdb_cond_init(&w->ready[1]);
    w->threads = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w->threads * o->threads);
    enum tsdb_status status = w->threads ? TSDB_OK : tsdb_error_nomem(err, "worker threads");
    while (status == TSDB_OK && w->thread_count < o->threads) {
        status = tsdb_thread_start_with(&w->threads[w->thread_count], o->name,
                                        TSDB_QUERY_STACK_BYTES, worker_main, w, err);
        w->thread_count += status == TSDB_OK;
    }
    if (status != TSDB_OK) {
        workers_destroy(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

void workers_destroy(struct workers *w)
{
    if (!w) {
        return;
    }
    tsdb_mutex_lock(&w->lock);
    w->stopping = true;
    tsdb_cond_broadcast(&w->ready[0]);
    tsdb_cond_broadcast(&w->ready[1]);
    tsdb_mutex_unlock(&w->lock);
    for (uint32_t i = 0; i < w->thread_count; i++) {
        pthread_join(w->threads[i], NULL);
    }
    tsdb_cond_deinit(&w->ready[0]);
    tsdb_cond_deinit(&w->ready[1]);
    tsdb_mutex_deinit(&w->lock);
    tsdb_mem_free(TSDB_MEM_SERVER, w->threads, sizeof *w->threads * w->thread_cap);
    tsdb_mem_free(TSDB_MEM_SERVER, w, sizeof *w);
}

bool workers_submit(struct workers *w, struct work *item)
{
    TSDB_ASSERT(item->kind < WORK_KINDS);
    item->next = NULL;
    tsdb_mutex_lock(&w->lock);
    TSDB_ASSERT(!w->stopping);
    struct lane *lane = &w->lanes[item->kind];
    bool taken = may_wait(w, item->kind);
    if (taken) {
        item->number = w->next_number++;
        if (lane->tail) {
            lane->tail->next = item;
        } else {
            lane->head = item;
        }
        lane->tail = item;
        lane->stats.waiting++;
        lane->stats.submitted++;
    } else {
        lane->stats.refused++;
    }
    if (taken) {
        wake(w);
    }
    tsdb_mutex_unlock(&w->lock);
    return taken;
}

void workers_stats_read(struct workers *w, struct workers_stats *out)
{
    *out = (struct workers_stats){.threads = w->thread_cap};
    tsdb_mutex_lock(&w->lock);
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        out->kinds[k] = w->lanes[k].stats;
    }
    tsdb_mutex_unlock(&w->lock);
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        const struct workers_kind_stats *s = &out->kinds[k];
        out->submitted += s->submitted;
        out->refused += s->refused;
        out->waiting += s->waiting;
        out->running += s->running;
    }
}
