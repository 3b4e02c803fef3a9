#include "query/crew.h"

#include "base/alloc.h"
#include "base/assert.h"

struct query_crew {
    struct tsdb_mutex lock; /* guards groups, too */
    struct tsdb_cond work;
    struct query_crew_group *first TSDB_GUARDED;
    bool stop TSDB_GUARDED;
    unsigned nice TSDB_GUARDED;
    uint32_t threads; /* immutable */
    uint32_t started;
    pthread_t helpers[];
};

static void group_append(struct query_crew *c, struct query_crew_group *g) TSDB_REQUIRES(c->lock)
{
    struct query_crew_group **at = &c->first;
    while (*at) {
        at = &(*at)->after;
    }
    *at = g;
}

static void group_remove(struct query_crew *c, const struct query_crew_group *g)
    TSDB_REQUIRES(c->lock)
{
    struct query_crew_group **at = &c->first;
    while (*at != g) {
        TSDB_ASSERT(*at); /* it is in the list */
        at = &(*at)->after;
    }
    *at = g->after;
}

static uint64_t done_bit(uint32_t job)
{
    return UINT64_C(1) << (job % QUERY_CREW_AHEAD_MAX);
}

/* The next job, in this lane. */
static void job_run(struct query_crew *c, struct query_crew_group *g, uint32_t lane)
    TSDB_REQUIRES(c->lock)
{
    uint32_t job = g->next++;
    TSDB_ASSERT(job < g->allowed && !(g->busy >> lane & 1));
    g->busy |= 1u << lane;
    tsdb_mutex_unlock(&c->lock);
    g->fn(g->arg, job, lane);
    tsdb_mutex_lock(&c->lock);
    g->busy &= ~(1u << lane);
    g->done |= done_bit(job);
    if (g->waits) {
        tsdb_cond_signal(&g->changed);
    }
}

/* A lane for a helper, or 0. */
static uint32_t lane_free(const struct query_crew_group *g)
{
    for (uint32_t lane = 1; lane < g->lanes; lane++) {
        if (!(g->busy >> lane & 1)) {
            return lane;
        }
    }
    return 0;
}

/* The oldest group that wants help, and a lane of it. */
static struct query_crew_group *group_to_join(const struct query_crew *c, uint32_t *out_lane)
    TSDB_REQUIRES(c->lock)
{
    struct query_crew_group *g = c->first;
    while (g && (g->next == g->allowed || (*out_lane = lane_free(g)) == 0)) {
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
        uint32_t lane = 0;
        struct query_crew_group *g = group_to_join(c, &lane);
        if (g) {
            job_run(c, g, lane);
        } else {
            tsdb_cond_wait(&c->work, &c->lock, -1);
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

void query_crew_begin(struct query_crew *c, struct query_crew_group *g, query_crew_fn *fn,
                      void *arg, uint32_t lanes)
{
    TSDB_ASSERT(1 <= lanes && lanes <= QUERY_CREW_LANES_MAX);
    *g = (struct query_crew_group){.fn = fn, .arg = arg, .lanes = lanes};
    tsdb_cond_init(&g->changed);
    tsdb_mutex_lock(&c->lock);
    group_append(c, g);
    tsdb_mutex_unlock(&c->lock);
}

void query_crew_allow(struct query_crew *c, struct query_crew_group *g, uint32_t jobs)
{
    tsdb_mutex_lock(&c->lock);
    TSDB_ASSERT(g->allowed <= jobs && jobs - g->needed <= QUERY_CREW_AHEAD_MAX);
    uint32_t more = jobs - g->allowed;
    g->allowed = jobs;
    for (uint32_t i = 0; i < TSDB_MIN(more, g->lanes - 1); i++) {
        tsdb_cond_signal(&c->work);
    }
    tsdb_mutex_unlock(&c->lock);
}

void query_crew_need(struct query_crew *c, struct query_crew_group *g, uint32_t job)
{
    tsdb_mutex_lock(&c->lock);
    TSDB_ASSERT(job == g->needed && job < g->allowed);
    while (!(g->done & done_bit(job))) {
        if (g->next < g->allowed) {
            job_run(c, g, 0);
        } else {
            g->waits = true;
            tsdb_cond_wait(&g->changed, &c->lock, -1);
            g->waits = false;
        }
    }
    g->done &= ~done_bit(job);
    g->needed++;
    tsdb_mutex_unlock(&c->lock);
}

/* Nothing of the group runs any more, if nothing is begun. */
static void group_settle(struct query_crew *c, struct query_crew_group *g) TSDB_REQUIRES(c->lock)
{
    while (g->busy != 0) {
        g->waits = true;
        tsdb_cond_wait(&g->changed, &c->lock, -1);
        g->waits = false;
    }
}

void query_crew_quiet(struct query_crew *c, struct query_crew_group *g)
{
    tsdb_mutex_lock(&c->lock);
    g->allowed = g->next;
    group_settle(c, g);
    tsdb_mutex_unlock(&c->lock);
}

void query_crew_end(struct query_crew *c, struct query_crew_group *g)
{
    tsdb_mutex_lock(&c->lock);
    group_remove(c, g);
    group_settle(c, g);
    tsdb_mutex_unlock(&c->lock);
    tsdb_cond_deinit(&g->changed);
}
