#include "server/shutdown.h"

#include "base/log.h"
#include "query/cache/cache.h"
#include "query/crew.h"
#include "server/config/config_file.h"
#include "server/parts/kept_lists.h"
#include "server/parts/server.h"
#include "server/parts/workers.h"
#include "server/publishing.h"
#include "server/self_scrape.h"

/* Says what a shutdown waits for, again and again while it takes long. */
struct watch {
    struct tsdb_mutex lock; /* rank SERVER_QUEUE: stage, over */
    struct tsdb_cond changed;
    const char *stage TSDB_GUARDED;
    bool over TSDB_GUARDED;
    int64_t period_ns; /* immutable */
    pthread_t thread;
    bool running;
};

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    tsdb_mutex_lock(&w->lock);
    while (!w->over) {
        const char *before = w->stage;
        bool in_time = tsdb_cond_wait(&w->changed, &w->lock, w->period_ns);
        if (!in_time && !w->over && w->stage == before) {
            tsdb_log(TSDB_LOG_WARN, "server", "stopping takes long", TSDB_S("waits_for", before));
        }
    }
    tsdb_mutex_unlock(&w->lock);
    return NULL;
}

static void watch_begin(struct watch *w, int64_t period_ms) TSDB_NO_TSA
{
    *w = (struct watch){.stage = "self-scrape", .period_ns = period_ms * 1000000};
    tsdb_mutex_init(&w->lock, TSDB_RANK_SERVER_QUEUE, "shutdown");
    tsdb_cond_init(&w->changed);
    /* Without it a shutdown is as good, only less talkative. */
    w->running = tsdb_thread_start(&w->thread, "shutdown", watch_main, w, NULL) == TSDB_OK;
}

static void watch_stage(struct watch *w, const char *stage)
{
    tsdb_mutex_lock(&w->lock);
    w->stage = stage;
    tsdb_cond_signal(&w->changed);
    tsdb_mutex_unlock(&w->lock);
}

static void watch_end(struct watch *w)
{
    tsdb_mutex_lock(&w->lock);
    w->over = true;
    tsdb_cond_signal(&w->changed);
    tsdb_mutex_unlock(&w->lock);
    if (w->running) {
        pthread_join(w->thread, NULL);
    }
    tsdb_cond_deinit(&w->changed);
    tsdb_mutex_deinit(&w->lock);
}

static enum tsdb_status free_all(struct server *s, struct watch *w,
                                 struct tsdb_error *err) TSDB_NO_TSA
{
    watch_stage(w, "queries");
    workers_destroy(s->workers);
    workers_destroy(s->readers);
    query_crew_destroy(s->query_options.crew);
    query_cache_destroy(s->query_cache);
    kept_lists_destroy(s->kept_lists);
    active_deinit(&s->active);
    asked_deinit(&s->asked);
    workers_destroy(s->decoders);
    workers_destroy(s->senders);
    ingest_destroy(s->ingest);
    watch_stage(w, "storage: sync and checkpoint");
    enum tsdb_status status = tsdb_close(s->db, err);
    config_file_destroy(s->config);
    door_destroy(s->door);
    if (s->fs.ops) {
        tsdb_fs_real_destroy(&s->fs);
    }
    tsdb_mutex_deinit(&s->config_lock);
    return status;
}

enum tsdb_status server_shutdown(struct server *s, struct self_scrape *scrape,
                                 struct publishing *publishing, bool *out_left_behind,
                                 struct tsdb_error *err)
{
    struct watch w;
    watch_begin(&w, s->options.shutdown_timeout_ms);
    atomic_store(&s->stopping, 1);
    self_scrape_stop(scrape);
    watch_stage(&w, "publishing");
    publishing_stop(publishing);
    watch_stage(&w, "requests");
    *out_left_behind = !http_stop(s->http, s->options.shutdown_timeout_ms);
    enum tsdb_status status = TSDB_OK;
    if (*out_left_behind) {
        watch_stage(&w, "storage: sync and checkpoint");
        status = tsdb_stop(s->db, err);
    } else {
        status = free_all(s, &w, err);
    }
    watch_end(&w);
    return status;
}
