/* The server stores its own metrics, so that a first start has something to show. */
#include "server/self_scrape.h"

#include "base/log.h"
#include "server/parts/metrics.h"
#include "server/parts/server.h"

#include <stdio.h>
#include <string.h>

#define SCRAPE_LABELS_MAX 16

struct self_scrape {
    struct server *server;
    pthread_t thread;
    struct tsdb_mutex lock; /* rank SERVER_QUEUE: stop, done */
    struct tsdb_cond changed;
    bool stop TSDB_GUARDED;
    bool done TSDB_GUARDED; /* the write that is under way was answered */
};

/* One scrape being written. */
struct scrape {
    struct ingest_request *request;
    const char *instance;
    int64_t t_ms;
    uint64_t samples;
    enum tsdb_status status;
    struct tsdb_error err;
};

static void add_sample(struct scrape *sc, const char *name, const struct tsdb_labels *labels,
                       double value)
{
    if (sc->status != TSDB_OK) {
        return;
    }
    struct tsdb_label items[SCRAPE_LABELS_MAX + 3];
    uint32_t n = 0;
    items[n++] = tsdb_label_make(TSDB_METRIC_NAME, name);
    items[n++] = tsdb_label_make("instance", sc->instance);
    items[n++] = tsdb_label_make("job", "tidalite");
    for (uint32_t i = 0; labels && i < labels->count && i < SCRAPE_LABELS_MAX; i++) {
        items[n++] = labels->items[i];
    }
    struct tsdb_labels all = {items, n};
    sc->status = ingest_add(sc->request, &all, sc->t_ms, tsdb_double_bits(value), &sc->err);
    sc->samples++;
}

static void on_metric(void *arg, const struct metric_sample *m)
{
    add_sample(arg, m->name, &m->labels, m->value);
}

static void on_done(void *arg)
{
    struct self_scrape *ss = arg;
    tsdb_mutex_lock(&ss->lock);
    ss->done = true;
    tsdb_cond_signal(&ss->changed);
    tsdb_mutex_unlock(&ss->lock);
}

/* Submit and wait for the answer: this thread has nothing else to do. */
static enum tsdb_status submit(struct self_scrape *ss, struct scrape *sc, struct ingest_answer *out)
{
    bool answered = false;
    tsdb_mutex_lock(&ss->lock);
    ss->done = false;
    tsdb_mutex_unlock(&ss->lock);
    ingest_submit_added(sc->request, on_done, ss);
    while (!answered) {
        tsdb_mutex_lock(&ss->lock);
        while (!ss->done) {
            tsdb_cond_wait(&ss->changed, &ss->lock, -1);
        }
        ss->done = false;
        tsdb_mutex_unlock(&ss->lock);
        answered = ingest_answer(sc->request, out);
    }
    return out->status;
}

static void scrape_once(struct self_scrape *ss)
{
    struct server *s = ss->server;
    struct scrape sc = {.instance = s->options.listen_address,
                        .t_ms = tsdb_clock_wall_ms(&s->clock)};
    int64_t begin_ns = tsdb_clock_mono_ns(&s->clock);
    sc.status = ingest_begin(s->ingest, 0, &sc.request, &sc.err);
    if (sc.status == TSDB_BUSY) {
        return; /* replaying or overloaded: the next round comes */
    }
    struct ingest_answer answer = {0};
    if (sc.status == TSDB_OK) {
        server_metrics_visit(s, on_metric, &sc);
        double samples = (double)sc.samples;
        add_sample(&sc, "up", NULL, 1);
        add_sample(&sc, "scrape_samples_scraped", NULL, samples);
        add_sample(&sc, "scrape_duration_seconds", NULL,
                   (double)(tsdb_clock_mono_ns(&s->clock) - begin_ns) / 1e9);
    }
    if (sc.status == TSDB_OK) {
        sc.status = submit(ss, &sc, &answer);
        snprintf(sc.err.msg, sizeof sc.err.msg, "%.200s", answer.text);
    }
    if (sc.status != TSDB_OK) {
        tsdb_log(TSDB_LOG_WARN, "self-scrape", "own metrics were not stored",
                 TSDB_S("err", sc.err.msg));
    }
    ingest_end(sc.request);
}

static bool wait_interval(struct self_scrape *ss, int64_t ms)
{
    int64_t until_ns = tsdb_clock_mono_ns(&ss->server->clock) + ms * 1000000;
    tsdb_mutex_lock(&ss->lock);
    for (;;) {
        int64_t left = until_ns - tsdb_clock_mono_ns(&ss->server->clock);
        if (ss->stop || left <= 0) {
            break;
        }
        tsdb_cond_wait(&ss->changed, &ss->lock, left);
    }
    bool stop = ss->stop;
    tsdb_mutex_unlock(&ss->lock);
    return !stop;
}

static void *self_scrape_main(void *arg)
{
    struct self_scrape *ss = arg;
    const struct server *s = ss->server;
    /* The first as soon as the engine takes writes. */
    while (tsdb_state(s->db, NULL) == TSDB_STATE_RECOVERING) {
        if (!wait_interval(ss, 10)) {
            return NULL;
        }
    }
    do {
        scrape_once(ss);
    } while (wait_interval(ss, s->options.self_scrape_interval_ms));
    return NULL;
}

enum tsdb_status self_scrape_start(struct server *s, struct self_scrape **out,
                                   struct tsdb_error *err) TSDB_NO_TSA
{
    struct self_scrape *ss = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *ss);
    if (!ss) {
        return tsdb_error_nomem(err, "the self-scrape");
    }
    ss->server = s;
    tsdb_mutex_init(&ss->lock, TSDB_RANK_SERVER_QUEUE, "self-scrape");
    tsdb_cond_init(&ss->changed);
    enum tsdb_status status =
        tsdb_thread_start(&ss->thread, "self-scrape", self_scrape_main, ss, err);
    if (status != TSDB_OK) {
        tsdb_cond_deinit(&ss->changed);
        tsdb_mutex_deinit(&ss->lock);
        tsdb_mem_free(TSDB_MEM_SERVER, ss, sizeof *ss);
        return status;
    }
    *out = ss;
    return TSDB_OK;
}

void self_scrape_stop(struct self_scrape *ss)
{
    if (!ss) {
        return;
    }
    tsdb_mutex_lock(&ss->lock);
    ss->stop = true;
    tsdb_cond_broadcast(&ss->changed);
    tsdb_mutex_unlock(&ss->lock);
    pthread_join(ss->thread, NULL);
    tsdb_cond_deinit(&ss->changed);
    tsdb_mutex_deinit(&ss->lock);
    tsdb_mem_free(TSDB_MEM_SERVER, ss, sizeof *ss);
}
