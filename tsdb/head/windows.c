/* Counts per window of a partition: what the flusher asks before it looks at any series. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

#define CAP_FIRST 8u

/* ---- which window ---- */

static struct head_span span_of(const struct head_windows *w, int64_t t_ms)
{
    int64_t old_before_ms = atomic_load_explicit(&w->old_before_ms, memory_order_relaxed);
    int64_t range_ms = w->range_ms;
    struct head_span span = {sealed_window(t_ms, range_ms), sealed_window_last(t_ms, range_ms)};
    while (span.last_ms < old_before_ms && range_ms <= w->most_ms / 3) {
        range_ms *= 3;
        int64_t last_ms = sealed_window_last(t_ms, range_ms);
        if (last_ms >= old_before_ms) {
            break;
        }
        span = (struct head_span){sealed_window(t_ms, range_ms), last_ms};
    }
    return span;
}

struct head_span head_window_of(const struct head_partition *p, int64_t t_ms)
{
    return span_of(&p->windows, t_ms);
}

/* ---- counts ---- */

void head_windows_init(struct head_windows *w)
{
    w->range_ms = INT64_MAX;
    w->most_ms = INT64_MAX;
    atomic_init(&w->old_before_ms, INT64_MIN);
    tsdb_mutex_init(&w->lock, TSDB_RANK_TSDB_WINDOWS, "head windows");
    tsdb_mutex_lock(&w->lock);
    w->items = NULL;
    w->cap = 0;
    w->used = 0;
    tsdb_mutex_unlock(&w->lock);
}

void head_windows_deinit(struct head_windows *w)
{
    tsdb_mutex_lock(&w->lock);
    tsdb_mem_free(TSDB_MEM_HEAD, w->items, w->cap * sizeof w->items[0]);
    w->items = NULL;
    tsdb_mutex_unlock(&w->lock);
    tsdb_mutex_deinit(&w->lock);
}

/* The window's place, or the free one where it would go. cap > used. */
static struct head_window *place(struct head_window *items, uint32_t cap, int64_t begin_ms)
{
    uint64_t x = (uint64_t)begin_ms * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(x >> 32) & (cap - 1);
    while (items[at].used && items[at].begin_ms != begin_ms) {
        at = (at + 1) & (cap - 1);
    }
    return &items[at];
}

/* Make room for one more; windows that are empty by now are left behind. */
static enum tsdb_status grow_locked(struct head_windows *w) TSDB_REQUIRES(w->lock)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < w->cap; i++) {
        live += w->items[i].count > 0;
    }
    uint32_t cap = TSDB_MAX(w->cap, CAP_FIRST);
    while (live >= cap / 2) {
        cap *= 2;
    }
    struct head_window *items = tsdb_mem_alloc_zero(TSDB_MEM_HEAD, cap * sizeof items[0]);
    if (!items) {
        return TSDB_NOMEM;
    }
    for (uint32_t i = 0; i < w->cap; i++) {
        if (w->items[i].count > 0) {
            *place(items, cap, w->items[i].begin_ms) = w->items[i];
        }
    }
    tsdb_mem_free(TSDB_MEM_HEAD, w->items, w->cap * sizeof w->items[0]);
    TSDB_ASSERT((cap & (cap - 1)) == 0 && live < cap);
    w->items = items;
    w->cap = cap;
    w->used = live;
    return TSDB_OK;
}

enum tsdb_status head_windows_add(struct head_windows *w, int64_t t_ms, uint32_t n)
{
    enum tsdb_status status = TSDB_OK;
    tsdb_mutex_lock(&w->lock);
    int64_t begin_ms = span_of(w, t_ms).begin_ms;
    struct head_window *x = w->cap > 0 ? place(w->items, w->cap, begin_ms) : NULL;
    if (!x || (!x->used && w->used + 1 > w->cap / 4 * 3)) {
        status = grow_locked(w);
        x = status == TSDB_OK ? place(w->items, w->cap, begin_ms) : NULL;
    }
    if (x) {
        w->used += !x->used;
        x->used = true;
        x->begin_ms = begin_ms;
        x->count += n;
        x->fresh = true;
        x->quiet = false;
        TSDB_ASSERT(w->used < w->cap);
    }
    tsdb_mutex_unlock(&w->lock);
    return status;
}

void head_windows_sub(struct head_windows *w, int64_t t_ms, uint32_t n)
{
    if (n == 0) {
        return;
    }
    tsdb_mutex_lock(&w->lock);
    TSDB_ASSERT(w->cap > 0);
    struct head_window *x = place(w->items, w->cap, span_of(w, t_ms).begin_ms);
    TSDB_ASSERT(x->used && x->count >= n);
    x->count -= n;
    tsdb_mutex_unlock(&w->lock);
}

bool head_windows_age(struct head_partition *p, int64_t before_ms)
{
    struct head_windows *w = &p->windows;
    bool ok = true;
    tsdb_mutex_lock(&w->lock);
    int64_t was_ms = atomic_load_explicit(&w->old_before_ms, memory_order_relaxed);
    struct head_window *items = NULL;
    if (before_ms > was_ms && w->cap > 0) {
        items = tsdb_mem_alloc_zero(TSDB_MEM_HEAD, w->cap * sizeof items[0]);
        ok = items != NULL;
    }
    if (ok && before_ms > was_ms) {
        atomic_store_explicit(&w->old_before_ms, before_ms, memory_order_relaxed);
        w->used = 0;
    }
    for (uint32_t i = 0; items && i < w->cap; i++) {
        if (w->items[i].count > 0) {
            int64_t begin_ms = span_of(w, w->items[i].begin_ms).begin_ms;
            struct head_window *x = place(items, w->cap, begin_ms);
            w->used += !x->used;
            *x = (struct head_window){begin_ms, x->count + w->items[i].count, true,
                                      x->fresh || w->items[i].fresh,
                                      (!x->used || x->quiet) && w->items[i].quiet};
        }
    }
    if (items) {
        tsdb_mem_free(TSDB_MEM_HEAD, w->items, w->cap * sizeof w->items[0]);
        w->items = items;
    }
    tsdb_mutex_unlock(&w->lock);
    return ok;
}

/* ---- what is due ---- */

static bool is_due(const struct head_windows *w, const struct head_window *x, int64_t from_ms,
                   int64_t before_ms, struct head_span *out)
{
    if (x->count == 0 || x->begin_ms >= before_ms) {
        return false;
    }
    *out = span_of(w, x->begin_ms);
    return out->last_ms >= from_ms;
}

bool head_window_next(struct head_partition *p, int64_t from_ms, int64_t before_ms,
                      struct head_span *out)
{
    struct head_windows *w = &p->windows;
    bool found = false;
    struct head_span least = {0};
    tsdb_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < w->cap; i++) {
        struct head_span span;
        if (is_due(w, &w->items[i], from_ms, before_ms, &span) &&
            (!found || span.begin_ms < least.begin_ms)) {
            found = true;
            least = span;
        }
    }
    tsdb_mutex_unlock(&w->lock);
    if (found) {
        *out = least;
    }
    return found;
}

uint32_t head_windows_due(struct head_partition *p, int64_t from_ms, int64_t before_ms, bool quiet,
                          struct head_window_due *out, uint32_t cap)
{
    struct head_windows *w = &p->windows;
    uint32_t n = 0;
    tsdb_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < w->cap; i++) {
        struct head_span span;
        if (!is_due(w, &w->items[i], from_ms, before_ms, &span) || (quiet && !w->items[i].quiet)) {
            continue;
        }
        if (n < cap) {
            out[n] = (struct head_window_due){span, w->items[i].count};
        }
        n++;
    }
    tsdb_mutex_unlock(&w->lock);
    return n;
}

struct head_overdue head_windows_overdue(struct head_partition *p, int64_t from_ms,
                                         int64_t before_ms)
{
    struct head_windows *w = &p->windows;
    struct head_overdue sum = {0};
    tsdb_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < w->cap; i++) {
        struct head_span span;
        if (is_due(w, &w->items[i], from_ms, before_ms, &span)) {
            sum.all += w->items[i].count;
            w->items[i].quiet = !w->items[i].fresh;
            w->items[i].fresh = false;
            sum.quiet += w->items[i].quiet ? w->items[i].count : 0;
        }
    }
    tsdb_mutex_unlock(&w->lock);
    return sum;
}
