/* Blocks of samples, and the open tail of a series: begun, grown, sealed. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

/* Capacities of a tail: few steps, because each costs an allocation, a copy and a retirement (some
 * 300 ns). After a series has filled a chunk it will fill the next one as well: start larger. */
#define TAIL_CAP_SECOND     9u
#define TAIL_CAP_THIRD      39u
#define TAIL_CAP_AFTER_SEAL TAIL_CAP_THIRD

/* ---- raw histograms ---- */

static size_t raw_bytes(const struct tsdb_raw_histogram *h)
{
    return sizeof *h + h->len;
}

/* A copy of the raw bytes behind their header, one allocation. */
struct tsdb_raw_histogram *head_raw_copy(const struct tsdb_raw_histogram *h)
{
    struct tsdb_raw_histogram *copy = tsdb_mem_alloc(HEAD_CATEGORY, raw_bytes(h));
    if (!copy) {
        return NULL;
    }
    uint8_t *data = (uint8_t *)(copy + 1);
    memcpy(data, h->data, h->len);
    copy->len = h->len;
    copy->data = data;
    return copy;
}

void head_raw_free(struct tsdb_raw_histogram *h)
{
    if (h) {
        tsdb_mem_free(HEAD_CATEGORY, h, raw_bytes(h));
    }
}

/* ---- blocks of samples ---- */

struct head_tail *head_tail_create(uint32_t cap, enum tsdb_sample_kind kind, uint32_t flags)
{
    TSDB_ASSERT(cap > 0 && cap <= TSDB_CHUNK_SAMPLES);
    struct head_tail *t = tsdb_mem_alloc(HEAD_CATEGORY, head_tail_bytes(cap, flags));
    if (!t) {
        return NULL;
    }
    atomic_init(&t->count, 0);
    t->cap = (uint16_t)cap;
    t->kind = (uint8_t)kind;
    t->flags = (uint8_t)flags;
    t->seq = 0;
    t->reserved = 0;
    return t;
}

/* The n-th sample; the caller publishes it. There is room. */
void head_tail_put(struct head_tail *t, uint32_t n, const struct head_row *x)
{
    TSDB_ASSERT(n < t->cap);
    head_tail_t(t)[n] = x->t_ms;
    head_tail_value(t)[n] = x->value;
    if (t->flags & HEAD_TAIL_STARTS) {
        head_tail_start(t)[n] = x->start_ms;
    }
}

void head_tail_copy_row(struct head_tail *to, uint32_t to_at, struct head_tail *from, uint32_t at)
{
    TSDB_ASSERT(at < from->cap && to->kind == from->kind);
    struct head_row x = {head_tail_t(from)[at], head_tail_value(from)[at], 0};
    if (from->flags & HEAD_TAIL_STARTS) {
        x.start_ms = head_tail_start(from)[at];
    }
    head_tail_put(to, to_at, &x);
}

/* A larger copy of the first n samples, or NULL. */
struct head_tail *head_tail_grow(struct head_tail *t, uint32_t n)
{
    uint32_t cap = t->cap < TAIL_CAP_SECOND  ? TAIL_CAP_SECOND
                   : t->cap < TAIL_CAP_THIRD ? TAIL_CAP_THIRD
                                             : (uint32_t)TSDB_CHUNK_SAMPLES;
    TSDB_ASSERT(n <= t->cap && t->cap < cap);
    struct head_tail *grown = head_tail_create(cap, (enum tsdb_sample_kind)t->kind, t->flags);
    if (!grown) {
        return NULL;
    }
    grown->seq = t->seq;
    memcpy(head_tail_t(grown), head_tail_t(t), n * sizeof(int64_t));
    memcpy(head_tail_value(grown), head_tail_value(t), n * sizeof(uint64_t));
    if (t->flags & HEAD_TAIL_STARTS) {
        memcpy(head_tail_start(grown), head_tail_start(t), n * sizeof(int64_t));
    }
    return grown;
}

void head_tail_release(struct head_partition *p, struct head_tail *t, bool with_values,
                       bool at_once)
{
    if (!t) {
        return;
    }
    uint32_t n = head_tail_count(t);
    TSDB_ASSERT(n <= t->cap);
    bool owns_values = with_values && t->kind != TSDB_SAMPLE_FLOAT;
    for (uint32_t i = 0; owns_values && i < n; i++) {
        struct tsdb_raw_histogram *h = head_raw_of(head_tail_value(t)[i]);
        if (at_once) {
            tsdb_mem_free(HEAD_CATEGORY, h, raw_bytes(h));
        } else {
            tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, h, raw_bytes(h));
        }
    }
    size_t bytes = head_tail_bytes(t->cap, t->flags);
    if (at_once) {
        tsdb_mem_free(HEAD_CATEGORY, t, bytes);
    } else {
        tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, t, bytes);
    }
}

/* Position of t_ms among the first n of a block, or UINT32_MAX. */
uint32_t head_tail_find(struct head_tail *t, uint32_t n, int64_t t_ms)
{
    TSDB_ASSERT(n <= t->cap);
    const int64_t *times = head_tail_t(t);
    if ((t->flags & (HEAD_TAIL_LATE | HEAD_TAIL_SORTED)) == HEAD_TAIL_LATE) {
        for (uint32_t i = 0; i < n; i++) {
            if (times[i] == t_ms) {
                return i;
            }
        }
        return UINT32_MAX;
    }
    uint32_t low = 0;
    uint32_t high = n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (times[mid] < t_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < n && times[low] == t_ms ? low : UINT32_MAX;
}

/* ---- the open tail ---- */

/* Publish the tail with its first n samples, and note what the fast path needs to know about it. */
static void tail_publish(struct head_series *s, struct head_tail *t, uint32_t n)
{
    bool plain = t->kind == TSDB_SAMPLE_FLOAT && !(t->flags & HEAD_TAIL_STARTS);
    TSDB_ASSERT(n > 0 && n <= t->cap);
    TSDB_ASSERT(!(t->flags & HEAD_TAIL_LATE));
    s->tail_cap = (uint8_t)t->cap;
    s->fast_left = plain ? (uint8_t)(t->cap - n) : 0;
    TSDB_ASSERT((uintptr_t)t < HEAD_TAIL_COUNT_ONE);
    /* Release: partner is the load of tail in head/read.c. */
    atomic_store_explicit(&s->tail, (uint64_t)(uintptr_t)t | (uint64_t)n << HEAD_TAIL_COUNT_SHIFT,
                          memory_order_release);
}

/* Move the tail of n samples to the list. Its count in the window is the chunk's from now on. All
 * or nothing; the caller publishes the next tail, or none. */
static bool tail_to_list(struct head_partition *p, struct head_series *s, uint32_t local,
                         struct head_tail *full, uint32_t n)
{
    TSDB_ASSERT(head_hot(p, local) == s);
    struct head_sealed *chunk = head_sealed_create(p, local, full, n);
    bool copied = false;
    struct head_list *list = chunk ? head_list_ensure(s, 1, &copied) : NULL;
    if (!list) {
        head_sealed_discard(chunk);
        return false;
    }
    head_tail_count_set(full, n);
    head_list_publish(p, s, list, copied, &chunk, 1);
    return true;
}

/* Seal the tail of n samples: the list first, then a new tail that already holds x. All or
 * nothing. */
static bool tail_seal(struct head_partition *p, struct head_series *s, uint32_t local,
                      struct head_tail *full, uint32_t n, enum tsdb_sample_kind kind,
                      uint32_t starts, const struct head_row *x)
{
    uint32_t cap = n == TSDB_CHUNK_SAMPLES ? TAIL_CAP_AFTER_SEAL : HEAD_TAIL_CAP_FIRST;
    TSDB_ASSERT(head_tail_t(full)[n - 1] < x->t_ms);
    struct head_tail *next = head_tail_create(cap, kind, starts);
    if (!next || !head_window_count(p, x->t_ms)) {
        head_tail_release(p, next, false, true);
        return false;
    }
    if (!tail_to_list(p, s, local, full, n)) {
        head_window_uncount(p, x->t_ms);
        head_tail_release(p, next, false, true);
        return false;
    }
    head_tail_put(next, 0, x);
    tail_publish(s, next, 1);
    return true;
}

bool head_series_seal_tail(struct head_partition *p, struct head_series *s, uint32_t local)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (word == 0) {
        return true;
    }
    if (!tail_to_list(p, s, local, head_word_tail(word), head_word_count(word))) {
        return false;
    }
    s->fast_left = 0;
    atomic_store_explicit(&s->tail, 0, memory_order_release); /* partner: head/read.c */
    return true;
}

static bool tail_begin(struct head_partition *p, struct head_series *s, enum tsdb_sample_kind kind,
                       uint32_t starts, const struct head_row *x)
{
    struct head_tail *t = head_tail_create(HEAD_TAIL_CAP_FIRST, kind, starts);
    if (!t || !head_window_count(p, x->t_ms)) {
        head_tail_release(p, t, false, true);
        return false;
    }
    head_tail_put(t, 0, x);
    tail_publish(s, t, 1);
    return true;
}

bool head_append_in_order(struct head_partition *p, struct head_series *s, uint32_t local,
                          enum tsdb_sample_kind kind, const struct head_row *x)
{
    uint32_t starts = x->start_ms != 0 ? HEAD_TAIL_STARTS : 0;
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    struct head_tail *t = head_word_tail(word);
    uint32_t n = head_word_count(word);
    TSDB_ASSERT(!(s->flags & HEAD_SERIES_HAS_SAMPLES) || s->last_t_ms < x->t_ms);
    if (!t) {
        if (!tail_begin(p, s, kind, starts, x)) {
            return false;
        }
    } else if (!head_tail_has_form(t, kind, starts) || n == TSDB_CHUNK_SAMPLES ||
               !head_window_holds(p, head_tail_t(t)[0], x->t_ms)) {
        if (!tail_seal(p, s, local, t, n, kind, starts, x)) {
            return false;
        }
    } else if (n == t->cap) {
        struct head_tail *grown = head_tail_grow(t, n);
        if (!grown) {
            return false;
        }
        head_tail_put(grown, n, x);
        tail_publish(s, grown, n + 1);
        head_tail_release(p, t, false, false);
    } else {
        head_tail_put(t, n, x);
        tail_publish(s, t, n + 1);
    }
    /* The difference in unsigned arithmetic: a window may be longer than INT64_MAX. */
    uint64_t left = (uint64_t)head_window_of(p, x->t_ms).last_ms - (uint64_t)x->t_ms;
    s->window_left_ms = (uint32_t)TSDB_MIN(left, (uint64_t)UINT32_MAX);
    s->last_t_ms = x->t_ms;
    s->flags |= HEAD_SERIES_HAS_SAMPLES;
    return true;
}
