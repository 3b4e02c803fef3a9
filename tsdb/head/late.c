/* Samples that come late: a buffer beside the tail, in the order of arrival; sorted and split by
 * window when it is sealed. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

/* A buffer has as many samples as an open chunk: those of plain floats are small, and a buffer that is
 * spread over many windows makes a chunk of each. */
static uint32_t late_max(const struct head_partition *p, enum tsdb_sample_kind kind)
{
    return kind == TSDB_SAMPLE_FLOAT ? p->front.chunk_samples : TSDB_CHUNK_SAMPLES;
}

/* Two runs, one behind the other in from[begin, end), to one. */
static void merge_runs(const int64_t *t_ms, const uint16_t *from, uint16_t *to, uint32_t begin,
                       uint32_t middle, uint32_t end)
{
    uint32_t a = begin;
    uint32_t b = middle;
    for (uint32_t i = begin; i < end; i++) {
        bool first = b == end || (a < middle && t_ms[from[a]] <= t_ms[from[b]]);
        to[i] = first ? from[a++] : from[b++];
    }
}

/* The places of n times in their order; equal ones as they stand. Returns one of the two arrays. */
static const uint16_t *order_by_time(const int64_t *t_ms, uint32_t n, uint16_t *order,
                                     uint16_t *other)
{
    for (uint32_t i = 0; i < n; i++) {
        order[i] = (uint16_t)i;
        other[i] = 0; /* each place is written before it is read; the analyzer cannot follow */
    }
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t begin = 0; begin < n; begin += 2 * width) {
            merge_runs(t_ms, order, other, begin, TSDB_MIN(begin + width, n),
                       TSDB_MIN(begin + 2 * width, n));
        }
        uint16_t *sorted = other;
        other = order;
        order = sorted;
    }
    return order;
}

/* The same samples in time order. */
static struct head_tail *tail_sorted(struct head_tail *t)
{
    uint32_t n = head_tail_count(t);
    TSDB_ASSERT(t->flags & HEAD_TAIL_LATE);
    TSDB_ASSERT(n > 0);
    struct head_tail *sorted =
        head_tail_create(n, (enum tsdb_sample_kind)t->kind, t->flags | HEAD_TAIL_SORTED);
    if (!sorted) {
        return NULL;
    }
    sorted->seq = t->seq;
    uint16_t places[2][TSDB_HEAD_CHUNK_SAMPLES_MAX];
    const uint16_t *order = order_by_time(head_tail_t(t), n, places[0], places[1]);
    for (uint32_t i = 0; i < n; i++) {
        head_tail_copy_row(sorted, i, t, order[i]);
    }
    head_tail_count_set(sorted, n);
    return sorted;
}

/* Publish the late buffer, new or larger, with n samples. */
static void late_publish(const struct head_partition *p, uint32_t local, struct head_tail *t,
                         uint32_t n)
{
    TSDB_ASSERT((t->flags & (HEAD_TAIL_LATE | HEAD_TAIL_SORTED)) == HEAD_TAIL_LATE);
    head_tail_count_set(t, n);
    /* Release: partner is head/read.c. Who had a buffer before, or begins one, has a side. */
    atomic_store_explicit(&head_side(p, local)->ooo, t, memory_order_release);
}

/* Samples [begin, end) of a sorted block as a chunk with a block of its own. */
static struct head_sealed *sealed_part(struct head_partition *p, uint32_t local,
                                       struct head_tail *sorted, uint32_t begin, uint32_t end)
{
    TSDB_ASSERT(begin < end && end <= head_tail_count(sorted));
    struct head_tail *part =
        head_tail_create(end - begin, (enum tsdb_sample_kind)sorted->kind, sorted->flags);
    if (!part) {
        return NULL;
    }
    part->seq = sorted->seq;
    for (uint32_t i = begin; i < end; i++) {
        head_tail_copy_row(part, i - begin, sorted, i);
    }
    head_tail_count_set(part, end - begin);
    struct head_sealed *chunk = head_sealed_create(p, local, part, end - begin);
    if (!chunk) {
        head_tail_release(p, part, false, true);
    }
    return chunk;
}

void head_parts_discard(struct head_partition *p, struct head_sealed **parts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        head_tail_release(p, head_raw_chunk_of(parts[i])->tail, false, true);
        head_sealed_discard(parts[i]);
    }
}

/* A chunk for each window of a sorted block, which keeps its own memory. 0: no memory. */
uint32_t head_late_split(struct head_partition *p, uint32_t local, struct head_tail *sorted,
                         struct head_sealed **parts)
{
    uint32_t n = head_tail_count(sorted);
    uint32_t made = 0;
    TSDB_ASSERT(n > 0 && n <= TSDB_HEAD_CHUNK_SAMPLES_MAX);
    for (uint32_t begin = 0, end = 1; begin < n; begin = end++) {
        int64_t last_ms = head_window_of(p, head_tail_t(sorted)[begin]).last_ms;
        while (end < n && head_tail_t(sorted)[end] <= last_ms) {
            end++;
        }
        parts[made] = sealed_part(p, local, sorted, begin, end);
        if (!parts[made]) {
            head_parts_discard(p, parts, made);
            return 0;
        }
        made++;
    }
    return made;
}

/* Move the out-of-order buffer to the list, sorted and split. All or nothing; the caller publishes
 * the next buffer, or none, and then releases this one. */
static bool late_to_list(struct head_partition *p, struct head_series *s, uint32_t local,
                         struct head_tail *full)
{
    struct head_sealed *parts[TSDB_HEAD_CHUNK_SAMPLES_MAX];
    TSDB_ASSERT(head_hot(p, local) == s);
    struct head_tail *sorted = tail_sorted(full);
    uint32_t n = sorted ? head_late_split(p, local, sorted, parts) : 0;
    head_tail_release(p, sorted, false, true);
    bool copied = false;
    struct head_list *list = n > 0 ? head_series_list_ensure(p, local, n, &copied) : NULL;
    if (!list) {
        head_parts_discard(p, parts, n);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) { /* counted by sample until now, by chunk from now on */
        head_windows_sub(&p->windows, parts[i]->min_ms, parts[i]->count - 1);
    }
    head_list_publish(p, &head_side(p, local)->chunks, list, copied, parts, n);
    return true;
}

bool head_series_seal_late(struct head_partition *p, struct head_series *s, uint32_t local)
{
    struct head_tail *t = head_own_late(p, local);
    if (!t) {
        return true;
    }
    if (!late_to_list(p, s, local, t)) {
        return false;
    }
    /* Release: partner is head/read.c. */
    atomic_store_explicit(&head_side(p, local)->ooo, NULL, memory_order_release);
    head_tail_release(p, t, false, false);
    return true;
}

/* Put x into the open buffer t, which may have to grow. */
static bool late_put(struct head_partition *p, uint32_t local, struct head_tail *t,
                     const struct head_row *x)
{
    uint32_t n = head_tail_count(t);
    TSDB_ASSERT(n > 0 && n < TSDB_HEAD_CHUNK_SAMPLES_MAX);
    if (n < t->cap) {
        head_tail_put(t, n, x);
        /* Release: partner is the load of count in head/read.c. */
        atomic_store_explicit(&t->count, n + 1, memory_order_release);
        return true;
    }
    struct head_tail *grown = head_tail_grow(t, n);
    if (!grown) {
        return false;
    }
    head_tail_put(grown, n, x);
    late_publish(p, local, grown, n + 1);
    head_tail_release(p, t, false, false);
    return true;
}

/* Begin a buffer with x, sealing the one before. */
static bool late_begin(struct head_partition *p, struct head_series *s, uint32_t local,
                       struct head_tail *full, struct head_tail *next, const struct head_row *x)
{
    struct head_side *side = next ? head_side_ensure(p, local) : NULL;
    if (!side) {
        head_tail_release(p, next, false, true);
        return false;
    }
    if (full && !late_to_list(p, s, local, full)) {
        head_tail_release(p, next, false, true);
        return false;
    }
    next->seq = ++side->ooo_seq;
    TSDB_ASSERT(!full || full->seq < next->seq);
    head_tail_put(next, 0, x);
    late_publish(p, local, next, 1);
    head_tail_release(p, full, false, false);
    return true;
}

bool head_append_late(struct head_partition *p, struct head_series *s, uint32_t local,
                      enum tsdb_sample_kind kind, const struct head_row *x)
{
    TSDB_ASSERT((s->flags & HEAD_SERIES_HAS_SAMPLES) && x->t_ms <= head_last_ms(s));
    uint32_t flags = HEAD_TAIL_LATE | (x->start_ms != 0 ? HEAD_TAIL_STARTS : 0);
    struct head_tail *t = head_own_late(p, local);
    bool fits = t && head_tail_has_form(t, kind, flags & HEAD_TAIL_STARTS) &&
                head_tail_count(t) < late_max(p, kind);
    if (!head_late_set_add(&p->late, local, (uint8_t)kind, x)) {
        return false;
    }
    if (!head_window_count(p, x->t_ms)) {
        head_late_set_remove(&p->late, local, x->t_ms);
        return false;
    }
    bool done =
        fits ? late_put(p, local, t, x)
             : late_begin(p, s, local, t, head_tail_create(HEAD_TAIL_CAP_FIRST, kind, flags), x);
    if (!done) {
        head_window_uncount(p, x->t_ms);
        head_late_set_remove(&p->late, local, x->t_ms);
    }
    return done;
}
