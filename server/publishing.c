#include "server/publishing.h"

#include "base/log.h"
#include "base/mutex.h"
#include "server/parts/server.h"
#include "tools/export/publish.h"

#define LOOKS_A_WINDOW 20 /* how often it is looked whether one is due */
#define PAUSE_MIN_MS   100
#define PAUSE_MAX_MS   30000

struct publishing {
    struct server *server;
    struct publisher publisher; /* of the thread, once it runs */
    pthread_t thread;
    _Atomic(uint32_t) stop;
    struct tsdb_mutex lock; /* rank SERVER_QUEUE: wakes the thread */
    struct tsdb_cond changed;
};

static bool wait_ms(struct publishing *p, int64_t ms)
{
    tsdb_mutex_lock(&p->lock);
    if (atomic_load(&p->stop) == 0) {
        tsdb_cond_wait(&p->changed, &p->lock, ms * 1000000);
    }
    tsdb_mutex_unlock(&p->lock);
    return atomic_load(&p->stop) == 0;
}

static void tell(struct server *s, const struct publish_result *r)
{
    atomic_fetch_add(&s->blocks_published, r->ulid[0] != 0);
    atomic_fetch_add(&s->blocks_published_removed, r->removed);
    if (r->ulid[0]) {
        tsdb_log(TSDB_LOG_INFO, "publish", "block published", TSDB_S("block", r->ulid),
                 TSDB_I("from_ms", r->min_ms), TSDB_I("to_ms", r->max_ms),
                 TSDB_U("series", r->series), TSDB_U("samples", r->samples));
    }
    if (r->removed > 0) {
        tsdb_log(TSDB_LOG_INFO, "publish", "shipped or expired blocks removed",
                 TSDB_U("blocks", r->removed));
    }
}

static void *publishing_main(void *arg)
{
    struct publishing *p = arg;
    struct server *s = p->server;
    int64_t pause_ms =
        TSDB_MIN(TSDB_MAX(p->publisher.range_ms / LOOKS_A_WINDOW, PAUSE_MIN_MS), PAUSE_MAX_MS);
    while (wait_ms(p, pause_ms)) {
        struct tsdb_error err = {0};
        struct publish_result r = {.more = tsdb_state(s->db, NULL) != TSDB_STATE_RECOVERING};
        enum tsdb_status status = TSDB_OK;
        while (r.more && status == TSDB_OK && atomic_load(&p->stop) == 0) {
            /* Windows that a wrong clock passes over would never be published. */
            status = publish_step(&p->publisher, tsdb_believed_ms(s->db), &r, &err);
            if (status == TSDB_OK) {
                tell(s, &r);
            }
        }
        if (status != TSDB_OK && status != TSDB_CANCELLED && status != TSDB_BUSY) {
            atomic_fetch_add(&s->publish_failures, 1);
            tsdb_log(TSDB_LOG_ERROR, "publish", "failed; the same window is tried again",
                     TSDB_S("err", err.msg));
            (void)wait_ms(p, PAUSE_MAX_MS);
        }
    }
    return NULL;
}

static void destroy(struct publishing *p)
{
    publisher_close(&p->publisher);
    tsdb_cond_deinit(&p->changed);
    tsdb_mutex_deinit(&p->lock);
    tsdb_mem_free(TSDB_MEM_SERVER, p, sizeof *p);
}

enum tsdb_status publishing_start(struct server *s, struct publishing **out, struct tsdb_error *err)
{
    if (!s->options.published_path[0]) {
        return TSDB_OK;
    }
    struct publishing *p = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *p);
    if (!p) {
        return tsdb_error_nomem(err, "publishing");
    }
    p->server = s;
    p->publisher = (struct publisher){.db = s->db,
                                      .range_ms = s->options.block_range_ms,
                                      .delay_ms = s->options.published_delay_ms,
                                      .retention_ms = s->options.retention_ms,
                                      .keep_free_bytes = tsdb_disk_reserve(s->db),
                                      .cancel = &p->stop};
    tsdb_mutex_init(&p->lock, TSDB_RANK_SERVER_QUEUE, "publishing");
    tsdb_cond_init(&p->changed);
    enum tsdb_status status = publisher_open(&p->publisher, s->options.published_path, err);
    if (status == TSDB_OK) {
        status = tsdb_thread_start(&p->thread, "publish", publishing_main, p, err);
    }
    if (status != TSDB_OK) {
        destroy(p);
        return tsdb_error_prefix(err, status, "--storage.prometheus-blocks.path");
    }
    *out = p;
    return TSDB_OK;
}

void publishing_stop(struct publishing *p)
{
    if (!p) {
        return;
    }
    tsdb_mutex_lock(&p->lock);
    atomic_store(&p->stop, 1);
    tsdb_cond_broadcast(&p->changed);
    tsdb_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    destroy(p);
}
