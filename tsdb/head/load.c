/* Recovery: chunks that the checkpoint refers to, back in the lists of their series. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

/* Chunks up to max_ms have been loaded. A later sample that is not newer goes to the out-of-order
 * buffer, and so behind them in the order of writing. */
static void series_reached(struct head_series *s, int64_t max_ms)
{
    if (!(s->flags & HEAD_SERIES_HAS_SAMPLES) || head_last_ms(s) < max_ms) {
        head_last_ms_set(s, max_ms);
        s->window_left_ms = 0;
    }
    s->flags |= HEAD_SERIES_HAS_SAMPLES | HEAD_SERIES_FROM_FILES;
    TSDB_ASSERT(head_last_ms(s) >= max_ms);
}

/* What came before a chunk lies before it in the list, never open beside it: the first one wins
 * where they share a time. */
static bool series_end_open(struct head_partition *p, struct head_series *s, uint32_t local)
{
    return head_series_seal_tail(p, s, local) && head_series_seal_late(p, s, local);
}

/* A copy of the chunk at the end of a list that has room for it; false: nothing is changed. */
static bool load_into(struct head_partition *p, _Atomic(struct head_list *) *slot,
                      struct head_list *list, bool copied, const struct head_sealed *chunk)
{
    struct head_sealed *own = tsdb_mem_alloc_zero(HEAD_CATEGORY, sizeof *own);
    if (!own || !head_window_count(p, chunk->min_ms)) {
        if (copied) {
            head_list_discard(list);
        }
        head_sealed_discard(own);
        return false;
    }
    own->min_ms = chunk->min_ms;
    own->max_ms = chunk->max_ms;
    own->count = chunk->count;
    own->kind = chunk->kind;
    own->late = chunk->late;
    own->mask = chunk->mask;
    own->file = chunk->file;
    own->offset = chunk->offset;
    own->len = chunk->len;
    head_file_acquire(own->file);
    head_list_publish(p, slot, list, copied, &own, 1);
    return true;
}

enum tsdb_status head_sealed_load(struct head_partition *p, uint32_t local,
                                  const struct head_sealed *chunk)
{
    TSDB_ASSERT(local < p->front.series_count && chunk->file && chunk->count > 0);
    struct head_series *s = head_hot(p, local);
    if (!series_end_open(p, s, local)) {
        return TSDB_NOMEM;
    }
    TSDB_ASSERT(head_window_holds(p, chunk->min_ms, chunk->max_ms));
    bool copied = false;
    struct head_list *list = head_series_list_ensure(p, local, 1, &copied);
    if (!list || !load_into(p, &head_side(p, local)->chunks, list, copied, chunk)) {
        return TSDB_NOMEM;
    }
    series_reached(s, chunk->max_ms);
    return TSDB_OK;
}

bool head_series_has_own(const struct head_partition *p, uint32_t local)
{
    const struct head_series *s = head_hot(p, local);
    return atomic_load_explicit(&s->tail, memory_order_relaxed) != 0 || head_own_late(p, local) ||
           head_list_count(head_own_list(p, local)) > 0;
}

enum tsdb_status head_series_reached(struct head_partition *p, uint32_t local, int64_t last_ms)
{
    TSDB_ASSERT(local < p->front.series_count);
    struct head_series *s = head_hot(p, local);
    /* What is open came late, or ends where its samples do. */
    if (head_last_ms(s) <= last_ms && !head_series_seal_tail(p, s, local)) {
        return TSDB_NOMEM;
    }
    series_reached(s, last_ms);
    return TSDB_OK;
}

enum tsdb_status head_bundle_load(struct head_partition *p, uint32_t local,
                                  const struct head_sealed *chunk)
{
    uint32_t first = head_bundle_first(local);
    TSDB_ASSERT(chunk->file && chunk->mask != 0 && chunk->kind == TSDB_SAMPLE_FLOAT);
    TSDB_ASSERT(head_window_holds(p, chunk->min_ms, chunk->max_ms));
    bool copied = false;
    _Atomic(struct head_list *) *slot = &head_bundle(p, local)->chunks;
    struct head_list *list = head_list_ensure(slot, 1, &copied);
    if (!list || !load_into(p, slot, list, copied, chunk)) {
        return TSDB_NOMEM;
    }
    for (uint64_t left = chunk->mask; left != 0; left &= left - 1) {
        uint32_t bit = (uint32_t)__builtin_ctzll(left);
        TSDB_ASSERT(first + bit < p->front.series_count);
        head_hot(p, first + bit)->flags |= HEAD_SERIES_FROM_FILES;
    }
    return TSDB_OK;
}

/* ---- a chunk of two windows, back in memory ---- */

/* The samples as a sorted block that owns its histograms. */
static struct head_tail *tail_of_chunk(struct head_partition *p, const struct chunk_samples *c,
                                       bool late)
{
    uint32_t flags =
        (late ? HEAD_TAIL_LATE | HEAD_TAIL_SORTED : 0) | (c->start_ms ? HEAD_TAIL_STARTS : 0);
    struct head_tail *t = head_tail_create(c->count, c->kind, flags);
    for (uint32_t i = 0; t && i < c->count; i++) {
        struct head_row x = {c->t_ms[i], c->value[i], c->start_ms ? c->start_ms[i] : 0};
        if (c->kind != TSDB_SAMPLE_FLOAT) {
            struct tsdb_raw_histogram *copy = head_raw_copy(head_raw_of(c->value[i]));
            if (!copy) {
                head_tail_release(p, t, true, true);
                return NULL;
            }
            x.value = (uint64_t)(uintptr_t)copy;
        }
        head_tail_put(t, i, &x);
        head_tail_count_set(t, i + 1);
    }
    return t;
}

/* Late samples are in memory again. */
static bool late_known(struct head_partition *p, uint32_t local, struct head_tail *t)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < head_tail_count(t); i++) {
        struct head_row x = {head_tail_t(t)[i], head_tail_value(t)[i], 0};
        ok = head_late_set_add(&p->late, local, t->kind, &x);
    }
    if (!ok) {
        head_late_set_leave(&p->late, local, t);
    }
    return ok;
}

enum tsdb_status head_sealed_load_split(struct head_partition *p, uint32_t local, bool late,
                                        const struct chunk_samples *c)
{
    struct head_sealed *parts[TSDB_HEAD_CHUNK_SAMPLES_MAX];
    struct head_series *s = head_hot(p, local);
    TSDB_ASSERT(local < p->front.series_count);
    TSDB_ASSERT(c->count > 0 && c->count <= TSDB_HEAD_CHUNK_SAMPLES_MAX);
    if (!series_end_open(p, s, local)) {
        return TSDB_NOMEM;
    }
    struct head_tail *whole = tail_of_chunk(p, c, late);
    uint32_t n = whole ? head_late_split(p, local, whole, parts) : 0;
    bool copied = false;
    struct head_list *list = n > 0 ? head_series_list_ensure(p, local, n, &copied) : NULL;
    for (uint32_t i = 0; list && i < n; i++) {
        if (!head_window_count(p, parts[i]->min_ms)) {
            if (copied) {
                head_list_discard(list);
            }
            list = NULL; /* the counts do not matter any more: recovery ends */
        }
    }
    if (list && late && !late_known(p, local, whole)) {
        if (copied) {
            head_list_discard(list);
        }
        list = NULL;
    }
    if (!list) {
        head_parts_discard(p, parts, n);
        head_tail_release(p, whole, true, true);
        return TSDB_NOMEM;
    }
    head_tail_release(p, whole, false, true); /* the parts own the histograms */
    head_list_publish(p, &head_side(p, local)->chunks, list, copied, parts, n);
    series_reached(s, c->t_ms[c->count - 1]);
    return TSDB_OK;
}
