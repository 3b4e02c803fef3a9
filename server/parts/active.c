#include "server/parts/active.h"

#include "base/assert.h"

void active_init(struct active_list *l) TSDB_NO_TSA
{
    *l = (struct active_list){0};
    tsdb_mutex_init(&l->lock, TSDB_RANK_SERVER_QUEUE, "active-queries");
}

void active_deinit(struct active_list *l) TSDB_NO_TSA
{
    TSDB_ASSERT(!l->oldest);
    tsdb_mutex_deinit(&l->lock);
}

void active_join(struct active_list *l, struct active_query *q)
{
    tsdb_mutex_lock(&l->lock);
    q->id = ++l->last_id;
    q->next = NULL;
    q->prev = l->newest;
    if (l->newest) {
        l->newest->next = q;
    } else {
        l->oldest = q;
    }
    l->newest = q;
    tsdb_mutex_unlock(&l->lock);
}

void active_leave(struct active_list *l, struct active_query *q)
{
    tsdb_mutex_lock(&l->lock);
    if (q->prev) {
        q->prev->next = q->next;
    } else {
        TSDB_ASSERT(l->oldest == q);
        l->oldest = q->next;
    }
    if (q->next) {
        q->next->prev = q->prev;
    } else {
        TSDB_ASSERT(l->newest == q);
        l->newest = q->prev;
    }
    tsdb_mutex_unlock(&l->lock);
}

void active_visit(struct active_list *l, active_fn fn, void *arg)
{
    tsdb_mutex_lock(&l->lock);
    for (const struct active_query *q = l->oldest; q; q = q->next) {
        fn(arg, q);
    }
    tsdb_mutex_unlock(&l->lock);
}

bool active_cancel(struct active_list *l, uint64_t id)
{
    bool found = false;
    tsdb_mutex_lock(&l->lock);
    for (const struct active_query *q = l->oldest; q && !found; q = q->next) {
        if (q->id == id) {
            atomic_store(q->cancelled, 1);
            found = true;
        }
    }
    tsdb_mutex_unlock(&l->lock);
    return found;
}
