#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mutex.h"
#include "tsdb/recovery/recovery_private.h"

struct pool_thread {
    struct recovery_pool *pool;
    uint32_t index;
    pthread_t thread;
};
struct recovery_pool {
    uint32_t worker_count; /* immutable, as is thread_count after create */
    uint32_t thread_count; /* workers 1 .. that have a thread, the others are the caller's */
    struct pool_thread threads[TSDB_OWNERS_MAX];
    struct tsdb_mutex lock; /* guards all below; nothing else is locked under it */
    struct tsdb_cond changed;
    recovery_work_fn fn TSDB_GUARDED;
    void *arg TSDB_GUARDED;
    uint64_t round TSDB_GUARDED;
    uint32_t running TSDB_GUARDED;
    bool stop TSDB_GUARDED;
};

static void *pool_main(void *arg)
{
    struct pool_thread *t = arg;
    struct recovery_pool *p = t->pool;
    uint64_t round = 0;
    tsdb_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->round == round) {
            tsdb_cond_wait(&p->changed, &p->lock, -1);
        }
        if (p->stop) {
            break;
        }
        round = p->round;
        recovery_work_fn fn = p->fn;
        void *work = p->arg;
        tsdb_mutex_unlock(&p->lock);
        fn(work, t->index);
        tsdb_mutex_lock(&p->lock);
        p->running--;
        tsdb_cond_broadcast(&p->changed);
    }
    tsdb_mutex_unlock(&p->lock);
    return NULL;
}

enum tsdb_status recovery_pool_create(uint32_t worker_count, struct recovery_pool **out,
                                      struct tsdb_error *err)
{
    TSDB_ASSERT(worker_count >= 1 && worker_count <= TSDB_OWNERS_MAX);
    struct recovery_pool *p = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *p);
    if (!p) {
        return tsdb_error_set(err, TSDB_NOMEM, "recovery: no memory for workers");
    }
    p->worker_count = worker_count;
    tsdb_mutex_init(&p->lock, TSDB_RANK_TSDB_METADATA, "recovery pool");
    tsdb_cond_init(&p->changed);
    for (uint32_t i = 1; i < worker_count; i++) {
        struct pool_thread *t = &p->threads[i];
        *t = (struct pool_thread){.pool = p, .index = i};
        if (tsdb_thread_start(&t->thread, "tsdb-replay", pool_main, t, NULL) != TSDB_OK) {
            break;
        }
        p->thread_count++;
    }
    *out = p;
    return TSDB_OK;
}

void recovery_pool_run(struct recovery_pool *p, recovery_work_fn fn, void *arg)
{
    tsdb_mutex_lock(&p->lock);
    p->fn = fn;
    p->arg = arg;
    p->running = p->thread_count;
    p->round++;
    tsdb_cond_broadcast(&p->changed);
    tsdb_mutex_unlock(&p->lock);
    fn(arg, 0);
    for (uint32_t i = p->thread_count + 1; i < p->worker_count; i++) {
        fn(arg, i);
    }
    tsdb_mutex_lock(&p->lock);
    while (p->running > 0) {
        tsdb_cond_wait(&p->changed, &p->lock, -1);
    }
    tsdb_mutex_unlock(&p->lock);
}

void recovery_pool_destroy(struct recovery_pool *p)
{
    if (!p) {
        return;
    }
    tsdb_mutex_lock(&p->lock);
    p->stop = true;
    tsdb_cond_broadcast(&p->changed);
    tsdb_mutex_unlock(&p->lock);
    for (uint32_t i = 1; i <= p->thread_count; i++) {
        pthread_join(p->threads[i].thread, NULL);
    }
    tsdb_cond_deinit(&p->changed);
    tsdb_mutex_deinit(&p->lock);
    tsdb_mem_free(TSDB_MEM_OTHER, p, sizeof *p);
}
