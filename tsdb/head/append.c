/* A sample arrives: newer than all, late, or there already. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

/* A sample that is there already. */
struct found {
    enum tsdb_sample_kind kind;
    uint64_t value;
};

static bool stream_find(const struct head_tail *t, uint32_t count, uint32_t used, int64_t t_ms,
                        struct found *out)
{
    int64_t times[TSDB_HEAD_CHUNK_SAMPLES_MAX];
    uint64_t values[TSDB_HEAD_CHUNK_SAMPLES_MAX];
    head_stream_decode(t, count, used, times, values);
    uint32_t i = count;
    while (i > 0 && times[i - 1] > t_ms) {
        i--;
    }
    if (i == 0 || times[i - 1] != t_ms) {
        return false;
    }
    *out = (struct found){TSDB_SAMPLE_FLOAT, values[i - 1]};
    return true;
}

static bool columns_find(struct head_tail *t, uint32_t count, int64_t t_ms, struct found *out)
{
    uint32_t at = head_tail_find(t, count, t_ms);
    if (at == UINT32_MAX) {
        return false;
    }
    *out = (struct found){(enum tsdb_sample_kind)t->kind, head_tail_value(t)[at]};
    return true;
}

/* The sample of the open tail. The newest one is what a sender repeats. */
static bool tail_find(const struct head_series *s, int64_t t_ms, struct found *out)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    struct head_tail *t = head_word_tail(word);
    if (t && head_tail_is_stream(t) && t_ms == head_last_ms(s)) {
        *out = (struct found){TSDB_SAMPLE_FLOAT, head_last_bits(s)};
        return true;
    }
    if (!t || head_tail_first_ms(t) > t_ms) {
        return false;
    }
    return head_tail_is_stream(t)
               ? stream_find(t, head_word_count(word), head_word_used(word), t_ms, out)
               : columns_find(t, head_word_count(word), t_ms, out);
}

/* The sample of the series at t_ms, wherever in memory it lies: an owner waits for no disk, and looks
 * at no more with many samples than with few. */
static bool series_find(const struct head_partition *p, struct head_series *s, uint32_t local,
                        int64_t t_ms, struct found *out)
{
    if (tail_find(s, t_ms, out)) {
        return true;
    }
    const struct head_late_entry *e = head_late_set_find(&p->late, local, t_ms);
    if (e) {
        *out = (struct found){(enum tsdb_sample_kind)e->kind, e->value};
        return true;
    }
    const struct head_raw_stream *stream = head_bundle_find(p, local, t_ms);
    if (stream && stream_find(stream->tail, stream->count, stream->used, t_ms, out)) {
        return true;
    }
    struct head_list *l = head_own_list(p, local);
    struct head_sealed *c = l ? head_list_find_ordered(l, t_ms) : NULL;
    return c && columns_find(head_raw_chunk_of(c)->tail, c->count, t_ms, out);
}

static bool same_value(const struct found *have, enum tsdb_sample_kind kind, uint64_t value)
{
    if (have->kind != kind) {
        return false;
    }
    if (kind == TSDB_SAMPLE_FLOAT) {
        return have->value == value;
    }
    const struct tsdb_raw_histogram *a = head_raw_of(have->value);
    const struct tsdb_raw_histogram *b = head_raw_of(value);
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static TSDB_NOINLINE enum head_append_outcome
append_slow(struct head_partition *p, struct head_series *s, uint32_t local, int64_t t_ms,
            int64_t start_ms, enum tsdb_sample_kind kind, uint64_t value)
{
    bool late = (s->flags & HEAD_SERIES_HAS_SAMPLES) && t_ms <= head_last_ms(s);
    struct found there;
    if (late && series_find(p, s, local, t_ms, &there)) {
        if (!same_value(&there, kind, value)) {
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
    struct value_packed packed;
    if (!(plain && head_append_fast(&p->front, s, local, t_ms, value, &packed))) {
        outcome = append_slow(p, s, local, t_ms, start_ms, kind, value);
    }
    if (outcome == HEAD_APPENDED || outcome == HEAD_APPENDED_OUT_OF_ORDER) {
        bool is_float = kind == TSDB_SAMPLE_FLOAT;
        head_count(is_float ? &p->front.counters.samples : &p->front.counters.histograms, 1);
        head_count_times(&p->front.counters, t_ms, t_ms);
    }
    return outcome;
}
