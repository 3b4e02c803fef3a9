#include "server/parts/budget.h"

#include "base/assert.h"

/* Clients that go away and deadlines do not wake who waits: it looks by itself. */
#define LOOK_EVERY_NS INT64_C(50000000)

void budget_init(struct budget *b, uint64_t bytes)
{
    *b = (struct budget){.wait_ns = BUDGET_WAIT_NS};
    tsdb_account_init(&b->total, bytes, NULL);
    tsdb_account_init(&b->costly, bytes - bytes / 8, &b->total);
    tsdb_mutex_init(&b->lock, TSDB_RANK_SERVER_BUDGET, "query-budget");
    tsdb_cond_init(&b->changed);
}

void budget_deinit(struct budget *b) TSDB_NO_TSA
{
    TSDB_ASSERT(!b->running.first && !b->waiting.first);
    tsdb_cond_deinit(&b->changed);
    tsdb_mutex_deinit(&b->lock);
}

static void list_append(struct budget_list *l, struct budget_share *s)
{
    s->next = NULL;
    s->prev = l->last;
    *(l->last ? &l->last->next : &l->first) = s;
    l->last = s;
}

static void list_remove(struct budget_list *l, struct budget_share *s)
{
    *(s->prev ? &s->prev->next : &l->first) = s->next;
    *(s->next ? &s->next->prev : &l->last) = s->prev;
}

static uint64_t used(const struct tsdb_account *a)
{
    return atomic_load_explicit(&a->used_bytes, memory_order_relaxed);
}

/* Beside what is held, and what those that run are still to take. Who is alone always fits: to wait for nobody helps
 * nobody. */
static bool fits(const struct budget *b, const struct budget_share *s) TSDB_REQUIRES(b->lock)
{
    uint64_t own = used(s->account);
    uint64_t held = used(&b->costly);
    uint64_t more = TSDB_MAX(s->bytes, own) - own;
    if (held <= own && !b->running.first) {
        return true;
    }
    for (const struct budget_share *r = b->running.first; r; r = r->next) {
        uint64_t has = used(r->account);
        more += TSDB_MAX(r->bytes, has) - has;
    }
    return held <= b->costly.limit_bytes && more <= b->costly.limit_bytes - held;
}

/* Until it is the oldest that waits, and fits. */
static enum tsdb_status wait_turn(struct budget *b, const struct budget_share *share,
                                  const struct tsdb_request *request) TSDB_REQUIRES(b->lock)
{
    int64_t until_ns = tsdb_clock_mono_ns(request->clock) + b->wait_ns;
    while (b->waiting.first != share || !fits(b, share)) {
        enum tsdb_status status = tsdb_request_check(request);
        if (status != TSDB_OK) {
            return status;
        }
        if (tsdb_clock_mono_ns(request->clock) >= until_ns) {
            return TSDB_BUSY;
        }
        (void)tsdb_cond_wait(&b->changed, &b->lock, LOOK_EVERY_NS);
    }
    return TSDB_OK;
}

enum tsdb_status budget_begin(struct budget *b, struct budget_share *share,
                              const struct tsdb_request *request, uint64_t bytes)
{
    enum tsdb_status status = TSDB_OK;
    *share = (struct budget_share){.account = &request->account,
                                   .bytes = TSDB_MIN(bytes, b->costly.limit_bytes)};
    tsdb_mutex_lock(&b->lock);
    if (b->costly.limit_bytes > 0 && (b->waiting.first || !fits(b, share))) {
        list_append(&b->waiting, share);
        atomic_fetch_add_explicit(&b->waiting_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&b->waited, 1, memory_order_relaxed);
        status = wait_turn(b, share, request);
        atomic_fetch_add_explicit(&b->gave_up, status == TSDB_BUSY, memory_order_relaxed);
        atomic_fetch_sub_explicit(&b->waiting_count, 1, memory_order_relaxed);
        list_remove(&b->waiting, share);
        tsdb_cond_broadcast(&b->changed); /* the next one is the oldest now */
    }
    if (status == TSDB_OK) {
        list_append(&b->running, share);
    }
    tsdb_mutex_unlock(&b->lock);
    return status;
}

void budget_end(struct budget *b, struct budget_share *share)
{
    tsdb_mutex_lock(&b->lock);
    list_remove(&b->running, share);
    tsdb_cond_broadcast(&b->changed);
    tsdb_mutex_unlock(&b->lock);
}

void budget_freed(struct budget *b)
{
    /* Relaxed: who is overlooked looks by itself. */
    if (atomic_load_explicit(&b->waiting_count, memory_order_relaxed) > 0) {
        tsdb_cond_broadcast(&b->changed);
    }
}
