#include "server/parts/workers.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mutex.h"

#include <pthread.h>

struct workers {
    /* immutable after create */
    uint32_t queue_max;
    pthread_t *threads;
    uint32_t thread_cap;
    /* guarded by lock */
    struct tsdb_mutex lock; /* rank SERVER_QUEUE */
    struct tsdb_cond ready;
    struct work *head TSDB_GUARDED;
    struct work *tail TSDB_GUARDED;
    uint32_t waiting TSDB_GUARDED;
    uint32_t running TSDB_GUARDED;
    uint64_t submitted TSDB_GUARDED;
    uint64_t refused TSDB_GUARDED;
    bool stopping TSDB_GUARDED;
    /* owned by whoever creates and destroys */
    uint32_t thread_count;
};

/* The next item, or NULL when it is time to go. finished: the caller has just run one. */
static struct work *take(struct workers *w, bool finished)
{
    tsdb_mutex_lock(&w->lock);
    w->running -= finished;
    while (!w->head && !w->stopping) {
        (void)tsdb_cond_wait(&w->ready, &w->lock, -1);
    }
    struct work *item = w->head;
    if (item) {
        w->head = item->next;
        w->tail = w->head ? w->tail : NULL;
        w->waiting--;
        w->running++;
    }
    tsdb_mutex_unlock(&w->lock);
    return item;
}

static void *worker_main(void *arg)
{
    struct workers *w = arg;
    for (struct work *item = take(w, false); item; item = take(w, true)) {
        item->run(item);
    }
    return NULL;
}

enum tsdb_status workers_create(const char *name, uint32_t threads, uint32_t queue_max,
                                struct workers **out, struct tsdb_error *err)
{
    TSDB_ASSERT(threads >= 1);
    struct workers *w = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "worker threads");
    }
    w->queue_max = queue_max;
    w->thread_cap = threads;
    tsdb_mutex_init(&w->lock, TSDB_RANK_SERVER_QUEUE, "workers");
    tsdb_cond_init(&w->ready);
    w->threads = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w->threads * threads);
    enum tsdb_status status = w->threads ? TSDB_OK : tsdb_error_nomem(err, "worker threads");
    while (status == TSDB_OK && w->thread_count < threads) {
        status = tsdb_thread_start_with(&w->threads[w->thread_count], name, TSDB_QUERY_STACK_BYTES,
                                        worker_main, w, err);
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
    tsdb_cond_broadcast(&w->ready);
    tsdb_mutex_unlock(&w->lock);
    for (uint32_t i = 0; i < w->thread_count; i++) {
        pthread_join(w->threads[i], NULL);
    }
    tsdb_cond_deinit(&w->ready);
    tsdb_mutex_deinit(&w->lock);
    tsdb_mem_free(TSDB_MEM_SERVER, w->threads, sizeof *w->threads * w->thread_cap);
    tsdb_mem_free(TSDB_MEM_SERVER, w, sizeof *w);
}

bool workers_submit(struct workers *w, struct work *item)
{
    item->next = NULL;
    tsdb_mutex_lock(&w->lock);
    TSDB_ASSERT(!w->stopping);
    /* An idle thread counts as room: with queue_max 0 there is still one item per thread. */
    uint32_t room = w->queue_max + (w->thread_cap - TSDB_MIN(w->running, w->thread_cap));
    bool taken = w->waiting < room;
    if (taken) {
        if (w->tail) {
            w->tail->next = item;
        } else {
            w->head = item;
        }
        w->tail = item;
        w->waiting++;
        w->submitted++;
    } else {
        w->refused++;
    }
    tsdb_mutex_unlock(&w->lock);
    if (taken) {
        tsdb_cond_signal(&w->ready); /* after unlocking: whoever wakes finds the lock free */
    }
    return taken;
}

void workers_stats_read(struct workers *w, struct workers_stats *out)
{
    tsdb_mutex_lock(&w->lock);
    *out = (struct workers_stats){.submitted = w->submitted,
                                  .refused = w->refused,
                                  .threads = w->thread_cap,
                                  .waiting = w->waiting,
                                  .running = w->running};
    tsdb_mutex_unlock(&w->lock);
}
