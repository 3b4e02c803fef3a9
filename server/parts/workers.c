#include "server/parts/workers.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mutex.h"

#include <pthread.h>

/* Work of one kind. */
struct lane {
    struct work *head, *tail;
    struct workers_kind_stats stats;
};

/* immutable once its thread runs */
struct worker {
    struct workers *all;
    pthread_t thread;
    enum work_kind costliest; /* that it runs */
    unsigned nice;
};

struct workers {
    /* immutable after create */
    uint32_t run_max[WORK_KINDS];  /* of a kind and the costlier ones: as many threads run those */
    uint32_t wait_max[WORK_KINDS]; /* likewise */
    struct worker *threads;
    uint32_t thread_cap;
    /* guarded by lock */
    struct tsdb_mutex lock; /* rank SERVER_QUEUE */
    /* What idle threads wait for, by the costliest that they run. */
    struct tsdb_cond ready[WORK_KINDS];
    uint32_t idle[WORK_KINDS] TSDB_GUARDED; /* woken ones included, until they have the lock */
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

/* The idle threads nearest to a kind, by the costliest that they run. WORK_KINDS: none is idle. */
static uint32_t idle_for(const struct workers *w, uint32_t kind) TSDB_REQUIRES(w->lock)
{
    uint32_t k = kind;
    while (k < WORK_KINDS && w->idle[k] == 0) {
        k++;
    }
    return k;
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

/* The lane of the oldest item that a thread may run; NULL: none. What an idle thread nearer to it may
 * run is left to that one, which is woken for it. */
static struct lane *lane_next(struct workers *w, uint32_t costliest) TSDB_REQUIRES(w->lock)
{
    struct lane *next = NULL;
    for (uint32_t k = 0; k <= costliest; k++) {
        struct lane *l = &w->lanes[k];
        bool older = l->head && (!next || l->head->number < next->head->number);
        if (older && idle_for(w, k) >= costliest) {
            next = l;
        }
    }
    return next;
}

/* For every kind that waits, wake one of the idle threads nearest to it. After each submit and each
 * take, so that who is woken and takes something else passes it on. */
static void wake(struct workers *w) TSDB_REQUIRES(w->lock)
{
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        uint32_t nearest = w->lanes[k].head ? idle_for(w, k) : WORK_KINDS;
        if (nearest < WORK_KINDS) {
            tsdb_cond_signal(&w->ready[nearest]);
        }
    }
}

/* The next item, or NULL when it is time to go. finished: the kind that the caller has just run;
 * WORK_KINDS for none. */
static struct work *take(struct workers *w, uint32_t costliest, uint32_t finished)
{
    tsdb_mutex_lock(&w->lock);
    if (finished < WORK_KINDS) {
        w->lanes[finished].stats.running--;
    }
    struct lane *lane = lane_next(w, costliest);
    for (; !lane && !w->stopping; lane = lane_next(w, costliest)) {
        w->idle[costliest]++;
        (void)tsdb_cond_wait(&w->ready[costliest], &w->lock, -1);
        w->idle[costliest]--;
    }
    struct work *item = lane ? lane->head : NULL;
    if (item) {
        lane->head = item->next;
        lane->tail = lane->head ? lane->tail : NULL;
        lane->stats.waiting--;
        lane->stats.running++;
        wake(w);
    }
    tsdb_mutex_unlock(&w->lock);
    return item;
}

static void *worker_main(void *arg)
{
    const struct worker *me = arg;
    uint32_t kind = WORK_KINDS;
    tsdb_thread_give_way(me->nice);
    for (struct work *item = take(me->all, me->costliest, kind); item;
         item = take(me->all, me->costliest, kind)) {
        kind = item->kind; /* the item is gone when it has run */
        item->run(item);
    }
    return NULL;
}

/* Who runs what. The threads that run everything come last, and are one at least. */
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
    for (uint32_t i = 0; i < o->threads; i++) {
        uint32_t left = o->threads - i; /* this one included */
        enum work_kind costliest = left <= w->run_max[WORK_HEAVY]     ? WORK_HEAVY
                                   : left <= w->run_max[WORK_UNKNOWN] ? WORK_UNKNOWN
                                                                      : WORK_CHEAP;
        w->threads[i] = (struct worker){
            .all = w, .costliest = costliest, .nice = costliest == WORK_CHEAP ? 0 : o->nice};
    }
}

enum tsdb_status workers_create(const struct workers_options *o, struct workers **out,
                                struct tsdb_error *err)
{
    TSDB_ASSERT(o->threads >= 1);
    struct workers *w = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "worker threads");
    }
    w->thread_cap = o->threads;
    tsdb_mutex_init(&w->lock, TSDB_RANK_SERVER_QUEUE, "workers");
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        tsdb_cond_init(&w->ready[k]);
    }
    w->threads = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w->threads * o->threads);
    enum tsdb_status status = w->threads ? TSDB_OK : tsdb_error_nomem(err, "worker threads");
    if (status == TSDB_OK) {
        set_bounds(w, o);
    }
    while (status == TSDB_OK && w->thread_count < o->threads) {
        struct worker *next = &w->threads[w->thread_count];
        status = tsdb_thread_start_with(&next->thread, o->name, TSDB_QUERY_STACK_BYTES, worker_main,
                                        next, err);
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
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        tsdb_cond_broadcast(&w->ready[k]);
    }
    tsdb_mutex_unlock(&w->lock);
    for (uint32_t i = 0; i < w->thread_count; i++) {
        pthread_join(w->threads[i].thread, NULL);
    }
    for (uint32_t k = 0; k < WORK_KINDS; k++) {
        tsdb_cond_deinit(&w->ready[k]);
    }
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
