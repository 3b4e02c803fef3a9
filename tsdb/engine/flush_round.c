/* Which chunks of the heads a round of flushing is about: one pass for many windows. */
#include "base/assert.h"
#include "tsdb/engine/flush_private.h"

#include <stdlib.h>
#include <string.h>

#define SLICE       4096u /* series looked at under one guard */
#define WINDOWS_MAX 4096u

bool flush_grow(void **items, size_t *cap, size_t count, size_t bytes_each)
{
    if (count <= *cap) {
        return true;
    }
    size_t more = TSDB_MAX(count, *cap + *cap / 2);
    void *p = tsdb_mem_realloc(FLUSH_CATEGORY, *items, *cap * bytes_each, more * bytes_each);
    if (!p) {
        return false;
    }
    *items = p;
    *cap = more;
    return true;
}

bool flush_cancelled(const struct flush_source *s)
{
    return s->cancel && atomic_load_explicit(s->cancel, memory_order_relaxed) != 0;
}

enum tsdb_status flush_no_memory(struct tsdb_error *err)
{
    return tsdb_error_nomem(err, "a flush");
}

struct tsdb_labels flush_labels(const struct flush_source *s, tsdb_series_ref ref,
                                struct tsdb_label labels[TSDB_LABELS_MAX])
{
    struct head_partition *p = s->heads[tsdb_series_partition(ref)];
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(s->epoch, &guard);
    uint32_t n = index_mem_labels(head_index(p), tsdb_series_local(ref), labels, TSDB_LABELS_MAX);
    tsdb_epoch_exit(s->epoch, &guard);
    return (struct tsdb_labels){labels, n};
}

/* ---- the windows ---- */

static bool windows_ensure(struct flush_round *r, size_t count)
{
    void *p = r->windows;
    size_t cap = r->window_cap;
    bool ok = count <= UINT32_MAX && flush_grow(&p, &cap, count, sizeof *r->windows);
    r->windows = p;
    r->window_cap = (uint32_t)TSDB_MIN(cap, UINT32_MAX);
    return ok;
}

static int by_begin(const void *a, const void *b)
{
    const struct head_window_due *x = a;
    const struct head_window_due *y = b;
    return (x->span.begin_ms > y->span.begin_ms) - (x->span.begin_ms < y->span.begin_ms);
}

/* Would a block of the time from a to b lie beside no block on disk that is large? What overlaps is
 * merged some day, and a long block must not make one of many. */
static bool only_small(const struct view *v, const struct head_span *a, const struct head_span *b,
                       uint64_t sparse_chunks)
{
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct block_meta *m = block_meta(v->blocks[i]->block);
        if (m->min_ms <= b->last_ms && a->begin_ms < m->max_ms && m->chunks > sparse_chunks) {
            return false;
        }
    }
    return true;
}

/* May two windows, one behind the other, become one block? */
static bool may_join(const struct flush_round *r, const struct view *v,
                     const struct head_window_due *a, const struct head_window_due *b)
{
    uint64_t long_ms = (uint64_t)b->span.last_ms - (uint64_t)a->span.begin_ms;
    return b->span.last_ms < r->s->join_before_ms && long_ms < (uint64_t)r->s->join_ms &&
           a->count + b->count <= r->s->sparse_chunks &&
           only_small(v, &a->span, &b->span, r->s->sparse_chunks);
}

/* Sparse old windows become one. */
static void windows_join(struct flush_round *r)
{
    uint32_t n = 0;
    struct view *v = view_acquire(&r->s->blocks->views);
    for (uint32_t i = 0; i < r->window_count; i++) {
        if (n > 0 && may_join(r, v, &r->windows[n - 1], &r->windows[i])) {
            r->windows[n - 1].span.last_ms = r->windows[i].span.last_ms;
            r->windows[n - 1].count += r->windows[i].count;
        } else {
            r->windows[n++] = r->windows[i];
        }
    }
    view_release(&r->s->blocks->views, v);
    r->window_count = n;
}

/* Of all partitions, each window once: one may have it as a part of a longer one already. */
static void windows_unite(struct flush_round *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->window_count; i++) {
        const struct head_window_due *w = &r->windows[i];
        if (n > 0 && w->span.begin_ms <= r->windows[n - 1].span.last_ms) {
            struct head_span *span = &r->windows[n - 1].span;
            span->last_ms = TSDB_MAX(span->last_ms, w->span.last_ms);
            r->windows[n - 1].count += w->count;
        } else {
            r->windows[n++] = *w;
        }
    }
    r->window_count = n;
}

/* And no more of them than the bound lets in. */
static void windows_settle(struct flush_round *r)
{
    uint64_t chunks = 0;
    if (r->window_count > 1) {
        qsort(r->windows, r->window_count, sizeof *r->windows, by_begin);
    }
    windows_unite(r);
    uint32_t n = 0;
    while (n < TSDB_MIN(r->window_count, WINDOWS_MAX)) {
        chunks += r->windows[n].count;
        if (n > 0 && chunks > FLUSH_ROUND_CHUNKS_MAX) {
            break;
        }
        n++;
    }
    r->window_count = n;
    if (n > 1) {
        windows_join(r);
    }
}

static enum tsdb_status windows_find(struct flush_round *r, int64_t from_ms, int64_t before_ms,
                                     struct tsdb_error *err)
{
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        uint32_t room = r->window_cap - r->window_count;
        uint32_t n = head_windows_due(r->s->heads[p], from_ms, before_ms, r->s->quiet,
                                      r->windows ? r->windows + r->window_count : NULL, room);
        while (n > room) { /* and again: there may be more of them by now */
            if (!windows_ensure(r, (size_t)r->window_count + n)) {
                return flush_no_memory(err);
            }
            room = r->window_cap - r->window_count;
            n = head_windows_due(r->s->heads[p], from_ms, before_ms, r->s->quiet,
                                 r->windows + r->window_count, room);
        }
        r->window_count += n;
    }
    windows_settle(r);
    return TSDB_OK;
}

/* The window that a chunk lies in; UINT32_MAX: none of this round. */
static uint32_t window_index(const struct flush_round *r, const struct head_sealed *c)
{
    uint32_t low = 0;
    uint32_t high = r->window_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (r->windows[mid].span.last_ms < c->min_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < r->window_count && flush_holds(&r->windows[low].span, c) ? low : UINT32_MAX;
}

/* ---- the entries ---- */

struct gather {
    struct flush_round *r;
    uint32_t *slots; /* [window_count] the newest entry of the window, if it is of the series */
    uint32_t missed; /* chunks for which there was no room */
    uint64_t looked_at;
};

static void entry_add(struct flush_entry *e, uint32_t at, const struct head_sealed *s)
{
    *(s->mask != 0 ? &e->upto.bundles : &e->upto.own) = at + 1;
    e->chunks++;
}

static void note_chunk(void *arg, tsdb_series_ref ref, uint32_t at, struct head_sealed *s)
{
    struct gather *g = arg;
    struct flush_round *r = g->r;
    uint32_t window = window_index(r, s);
    g->looked_at++;
    if (window == UINT32_MAX) {
        return;
    }
    uint32_t slot = g->slots[window];
    if (slot < r->entry_count && r->entries[slot].ref == ref && r->entries[slot].window == window) {
        entry_add(&r->entries[slot], at, s);
    } else if (r->entry_count < r->entry_cap) {
        g->slots[window] = r->entry_count;
        r->entries[r->entry_count] = (struct flush_entry){.ref = ref, .window = window};
        entry_add(&r->entries[r->entry_count++], at, s);
    } else {
        g->missed++;
    }
}

static bool entries_ensure(struct flush_round *r, size_t count)
{
    void *p = r->entries;
    size_t cap = r->entry_cap;
    bool ok = count <= UINT32_MAX && flush_grow(&p, &cap, count, sizeof *r->entries);
    r->entries = p;
    r->entry_cap = (uint32_t)TSDB_MIN(cap, UINT32_MAX);
    return ok;
}

static bool gather_slice(struct gather *g, struct head_partition *p, uint32_t from)
{
    struct flush_round *r = g->r;
    uint32_t begin = r->entry_count;
    for (;;) {
        g->missed = 0;
        g->looked_at = 0;
        head_sealed_visit(p, r->s->epoch, from, from + SLICE, note_chunk, g);
        if (g->missed == 0) {
            r->looked_at += g->looked_at;
            return true;
        }
        size_t need = (size_t)r->entry_count + g->missed;
        r->entry_count = begin;
        if (!entries_ensure(r, need)) {
            return false;
        }
    }
}

static enum tsdb_status gather_partition(struct gather *g, uint32_t partition,
                                         struct tsdb_error *err)
{
    const struct flush_source *s = g->r->s;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(s->epoch, &guard);
    uint32_t count = index_mem_ids_end(head_index(s->heads[partition]));
    tsdb_epoch_exit(s->epoch, &guard);
    for (uint32_t from = 0; from < count; from += SLICE) {
        if (!gather_slice(g, s->heads[partition], from)) {
            return flush_no_memory(err);
        }
        if (flush_cancelled(s)) {
            return tsdb_error_set(err, TSDB_CANCELLED, "flush: cancelled");
        }
    }
    return TSDB_OK;
}

static enum tsdb_status gather(struct flush_round *r, struct tsdb_error *err)
{
    int64_t first = r->windows[0].span.begin_ms;
    int64_t last = flush_round_last_ms(r);
    struct gather g = {.r = r};
    g.slots = tsdb_mem_alloc_zero(FLUSH_CATEGORY, r->window_count * sizeof *g.slots);
    if (!g.slots) {
        return flush_no_memory(err);
    }
    enum tsdb_status status = TSDB_OK;
    for (uint32_t p = 0; status == TSDB_OK && p < TSDB_PARTITIONS; p++) {
        struct head_span window;
        if (head_window_next(r->s->heads[p], first, INT64_MAX, &window) &&
            window.begin_ms <= last) {
            status = gather_partition(&g, p, err);
        }
    }
    tsdb_mem_free(FLUSH_CATEGORY, g.slots, r->window_count * sizeof *g.slots);
    return status;
}

/* ---- their order ---- */

/* A series has its entries one behind the other. */
struct series {
    tsdb_series_ref ref;
    uint32_t first, count;
};
struct sorting {
    const struct flush_source *s;
    struct tsdb_label labels[2][TSDB_LABELS_MAX];
};

static int by_labels(const void *a, const void *b, void *arg)
{
    const struct series *x = a;
    const struct series *y = b;
    struct sorting *sorting = arg;
    struct tsdb_labels lx = flush_labels(sorting->s, x->ref, sorting->labels[0]);
    struct tsdb_labels ly = flush_labels(sorting->s, y->ref, sorting->labels[1]);
    return tsdb_labels_compare(&lx, &ly);
}

static uint32_t series_list(const struct flush_round *r, struct series *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        if (n == 0 || out[n - 1].ref != r->entries[i].ref) {
            out[n++] = (struct series){r->entries[i].ref, i, 0};
        }
        out[n - 1].count++;
    }
    return n;
}

/* The series in their order, each entry to the end of its window. */
static void order_fill(struct flush_round *r, const struct series *series, uint32_t count)
{
    uint32_t begin = 0;
    for (uint32_t i = 0; i < r->entry_count; i++) {
        r->ends[r->entries[i].window]++;
    }
    for (uint32_t w = 0; w < r->window_count; w++) {
        uint32_t n = r->ends[w];
        r->ends[w] = begin;
        begin += n;
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < series[i].count; k++) {
            uint32_t e = series[i].first + k;
            r->order[r->ends[r->entries[e].window]++] = e;
        }
    }
    TSDB_ASSERT(r->window_count == 0 || r->ends[r->window_count - 1] == r->entry_count);
}

static enum tsdb_status put_in_order(struct flush_round *r, struct tsdb_error *err)
{
    size_t bytes = r->entry_count * sizeof(struct series);
    struct series *series = tsdb_mem_alloc(FLUSH_CATEGORY, bytes);
    struct sorting *sorting = tsdb_mem_alloc(FLUSH_CATEGORY, sizeof *sorting);
    r->order = tsdb_mem_alloc(FLUSH_CATEGORY, r->entry_count * sizeof *r->order);
    r->ends = tsdb_mem_alloc_zero(FLUSH_CATEGORY, r->window_count * sizeof *r->ends);
    bool ok = series && sorting && r->order && r->ends;
    if (ok) {
        sorting->s = r->s;
        uint32_t n = series_list(r, series);
        if (n > 1) {
            qsort_r(series, n, sizeof *series, by_labels, sorting);
        }
        order_fill(r, series, n);
    }
    tsdb_mem_free(FLUSH_CATEGORY, sorting, sizeof *sorting);
    tsdb_mem_free(FLUSH_CATEGORY, series, bytes);
    return ok ? TSDB_OK : flush_no_memory(err);
}

/* ---- the round ---- */

enum tsdb_status flush_round_begin(const struct flush_source *s, int64_t from_ms, int64_t before_ms,
                                   struct flush_round **out, struct tsdb_error *err)
{
    struct flush_round *r = tsdb_mem_alloc_zero(FLUSH_CATEGORY, sizeof *r);
    if (!r) {
        return flush_no_memory(err);
    }
    r->s = s;
    enum tsdb_status status = windows_find(r, from_ms, before_ms, err);
    if (status == TSDB_OK && r->window_count > 0) {
        status = gather(r, err);
    }
    if (status == TSDB_OK && r->entry_count > 0) {
        status = put_in_order(r, err);
    }
    if (status != TSDB_OK || r->window_count == 0) {
        flush_round_end(r);
        r = NULL;
    }
    *out = r;
    return status;
}

enum tsdb_status flush_round_step(struct flush_round *r, struct flush_result *out,
                                  struct tsdb_error *err)
{
    while (r->entry_count > 0 && r->next < r->window_count) {
        uint32_t window = r->next++;
        if (r->ends[window] > (window > 0 ? r->ends[window - 1] : 0)) {
            return flush_window(r, window, out, err);
        }
    }
    return TSDB_NOT_FOUND;
}

int64_t flush_round_last_ms(const struct flush_round *r)
{
    TSDB_ASSERT(r->window_count > 0);
    return r->windows[r->window_count - 1].span.last_ms;
}

uint64_t flush_round_looked_at(const struct flush_round *r)
{
    return r->looked_at;
}

void flush_round_end(struct flush_round *r)
{
    if (!r) {
        return;
    }
    tsdb_mem_free(FLUSH_CATEGORY, r->order, r->entry_count * sizeof *r->order);
    tsdb_mem_free(FLUSH_CATEGORY, r->ends, r->window_count * sizeof *r->ends);
    tsdb_mem_free(FLUSH_CATEGORY, r->entries, r->entry_cap * sizeof *r->entries);
    tsdb_mem_free(FLUSH_CATEGORY, r->windows, r->window_cap * sizeof *r->windows);
    tsdb_mem_free(FLUSH_CATEGORY, r, sizeof *r);
}
