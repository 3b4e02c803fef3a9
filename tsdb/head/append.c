/* A sample arrives: newer than all, late, or there already. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

/* The sample of the series at t_ms, wherever in memory it lies: an owner waits for no disk. */
static struct head_tail *series_find(struct head_series *s, int64_t t_ms, uint32_t *out_at)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    *out_at = word ? head_tail_find(head_word_tail(word), head_word_count(word), t_ms) : UINT32_MAX;
    if (*out_at != UINT32_MAX) {
        return head_word_tail(word);
    }
    struct head_tail *late = atomic_load_explicit(&s->ooo, memory_order_relaxed);
    *out_at = late ? head_tail_find(late, head_tail_count(late), t_ms) : UINT32_MAX;
    if (*out_at != UINT32_MAX) {
        return late;
    }
    struct head_list *l = atomic_load_explicit(&s->chunks, memory_order_relaxed);
    uint32_t n = l ? atomic_load_explicit(&l->count, memory_order_relaxed) : 0;
    for (uint32_t i = n; i-- > 0;) {
        const struct head_sealed *c = head_list_at(l, i);
        if (!c->file && c->min_ms <= t_ms && t_ms <= c->max_ms) {
            *out_at = head_tail_find(c->tail, c->count, t_ms);
            if (*out_at != UINT32_MAX) {
                return c->tail;
            }
        }
    }
    return NULL;
}

static bool same_value(struct head_tail *t, uint32_t at, enum tsdb_sample_kind kind, uint64_t value)
{
    TSDB_ASSERT(at < t->cap);
    if (t->kind != kind) {
        return false;
    }
    uint64_t have = head_tail_value(t)[at];
    if (kind == TSDB_SAMPLE_FLOAT) {
        return have == value;
    }
    const struct tsdb_raw_histogram *a = head_raw_of(have);
    const struct tsdb_raw_histogram *b = head_raw_of(value);
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static TSDB_NOINLINE enum head_append_outcome
append_slow(struct head_partition *p, struct head_series *s, uint32_t local, int64_t t_ms,
            int64_t start_ms, enum tsdb_sample_kind kind, uint64_t value)
{
    bool late = (s->flags & HEAD_SERIES_HAS_SAMPLES) && t_ms <= s->last_t_ms;
    uint32_t at;
    struct head_tail *there = late ? series_find(s, t_ms, &at) : NULL;
    if (there) {
        if (!same_value(there, at, kind, value)) {
            return HEAD_DUPLICATE_CONFLICT;
        }
        head_count(&p->front.counters.duplicates, 1);
        return HEAD_DUPLICATE_SAME;
    }
    struct head_row x = {t_ms, value, start_ms};
    struct tsdb_raw_histogram *copy = NULL;
    if (kind != TSDB_SAMPLE_FLOAT) {
        copy = head_raw_copy(head_raw_of(value));
        if (!copy) {
            return HEAD_NOMEM;
        }
        x.value = (uint64_t)(uintptr_t)copy;
    }
    if (!(late ? head_append_late(p, s, local, kind, &x)
               : head_append_in_order(p, s, local, kind, &x))) {
        if (copy) {
            head_raw_free(copy);
        }
        return HEAD_NOMEM;
    }
    if (late) {
        head_count(&p->front.counters.out_of_order, 1);
    }
    return late ? HEAD_APPENDED_OUT_OF_ORDER : HEAD_APPENDED;
}

enum head_append_outcome head_append(struct head_partition *p, uint32_t local, int64_t t_ms,
                                     int64_t start_ms, enum tsdb_sample_kind kind, uint64_t value)
{
    TSDB_ASSERT(local < p->front.series_count);
    struct head_series *s = head_hot(p, local);
    bool plain = kind == TSDB_SAMPLE_FLOAT && start_ms == 0;
    enum head_append_outcome outcome = HEAD_APPENDED;
    if (!(plain && head_append_fast(s, t_ms, value))) {
        outcome = append_slow(p, s, local, t_ms, start_ms, kind, value);
    }
    if (outcome == HEAD_APPENDED || outcome == HEAD_APPENDED_OUT_OF_ORDER) {
        bool is_float = kind == TSDB_SAMPLE_FLOAT;
        head_count(is_float ? &p->front.counters.samples : &p->front.counters.histograms, 1);
        head_count_times(&p->front.counters, t_ms, t_ms);
    }
    return outcome;
}
