#include "query/crew.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/mutex.h"

#include <stdbool.h>

/* What one call of run has to do. On the stack of its caller, in the list while there are jobs that
 * nobody has taken. Guarded by the lock, but for what never changes. */
struct group {
    query_crew_fn *fn;
    void *arg;
    uint32_t jobs, lanes;
    uint32_t next;    /* job */
    uint32_t joined;  /* lanes given out */
    uint32_t helpers; /* at work */
    struct tsdb_cond done;
    struct group *after;
};

struct query_crew {
    struct tsdb_mutex lock;
    struct tsdb_cond work;
    struct group *first TSDB_GUARDED;
    bool stop TSDB_GUARDED;
    unsigned nice TSDB_GUARDED;
    uint32_t threads; /* immutable */
    uint32_t started;
    pthread_t helpers[];
};

static void group_append(struct query_crew *c, struct group *g) TSDB_REQUIRES(c->lock)
{
    struct group **at = &c->first;
    while (*at) {
        at = &(*at)->after;
    }
    *at = g;
}

static void group_remove(struct query_crew *c, const struct group *g) TSDB_REQUIRES(c->lock)
{
    for (struct group **at = &c->first; *at; at = &(*at)->after) {
        if (*at == g) {
            *at = g->after;
            return;
        }
    }
}

/* Jobs of a group until none is left. */
static void work_in(struct query_crew *c, struct group *g, uint32_t lane) TSDB_REQUIRES(c->lock)
{
    while (g->next < g->jobs) {
        uint32_t job = g->next++;
        tsdb_mutex_unlock(&c->lock);
        g->fn(g->arg, job, lane);
        tsdb_mutex_lock(&c->lock);
    }
    group_remove(c, g);
}

/* The oldest group that wants help. */
static struct group *group_to_join(const struct query_crew *c) TSDB_REQUIRES(c->lock)
{
    struct group *g = c->first;
    while (g && (g->next == g->jobs || g->joined == g->lanes)) {
        g = g->after;
    }
    return g;
}

static void *helper_main(void *arg)
{
    struct query_crew *c = arg;
    unsigned nice = 0;
    tsdb_mutex_lock(&c->lock);
    while (!c->stop) {
        if (nice != c->nice) {
            nice = c->nice;
            tsdb_thread_give_way(nice);
        }
        struct group *g = group_to_join(c);
        if (!g) {
            tsdb_cond_wait(&c->work, &c->lock, -1);
            continue;
        }
        uint32_t lane = g->joined++;
        g->helpers++;
        work_in(c, g, lane);
        if (--g->helpers == 0) {
            tsdb_cond_signal(&g->done);
        }
    }
    tsdb_mutex_unlock(&c->lock);
    return NULL;
}

enum tsdb_status query_crew_create(uint32_t threads, struct query_crew **out,
                                   struct tsdb_error *err) TSDB_NO_TSA
{
    TSDB_ASSERT(threads >= 1);
    struct query_crew *c =
        tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *c + (threads - 1) * sizeof c->helpers[0]);
    if (!c) {
        return tsdb_error_nomem(err, "the crew of queries");
    }
    c->threads = threads;
    tsdb_mutex_init(&c->lock, TSDB_RANK_QUERY_CREW, "query crew");
    tsdb_cond_init(&c->work);
    while (c->started < threads - 1) {
        enum tsdb_status status =
            tsdb_thread_start(&c->helpers[c->started], "query-crew", helper_main, c, err);
        if (status != TSDB_OK) {
            query_crew_destroy(c);
            return status;
        }
        c->started++;
    }
    *out = c;
    return TSDB_OK;
}

void query_crew_nice(struct query_crew *c, unsigned nice)
{
    tsdb_mutex_lock(&c->lock);
    c->nice = nice;
    tsdb_mutex_unlock(&c->lock);
}

void query_crew_destroy(struct query_crew *c)
{
    if (!c) {
        return;
    }
    tsdb_mutex_lock(&c->lock);
    TSDB_ASSERT(!c->first);
    c->stop = true;
    tsdb_cond_broadcast(&c->work);
    tsdb_mutex_unlock(&c->lock);
    for (uint32_t i = 0; i < c->started; i++) {
        pthread_join(c->helpers[i], NULL);
    }
    tsdb_cond_deinit(&c->work);
    tsdb_mutex_deinit(&c->lock);
    tsdb_mem_free(TSDB_MEM_QUERY, c, sizeof *c + (c->threads - 1) * sizeof c->helpers[0]);
}

uint32_t query_crew_threads(const struct query_crew *c)
{
    return c ? c->threads : 1;
}

void query_crew_run(struct query_crew *c, query_crew_fn *fn, void *arg, uint32_t jobs,
                    uint32_t lanes)
{
    struct group g = {.fn = fn, .arg = arg, .jobs = jobs, .lanes = lanes, .joined = 1};
    TSDB_ASSERT(lanes >= 1);
    tsdb_cond_init(&g.done);
    tsdb_mutex_lock(&c->lock);
    group_append(c, &g);
    for (uint32_t i = 1; i < TSDB_MIN(jobs, lanes); i++) {
        tsdb_cond_signal(&c->work);
    }
    work_in(c, &g, 0);
    while (g.helpers > 0) {
        tsdb_cond_wait(&g.done, &c->lock, -1);
    }
    tsdb_mutex_unlock(&c->lock);
    tsdb_cond_deinit(&g.done);
}
