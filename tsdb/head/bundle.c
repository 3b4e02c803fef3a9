/* Bundles: the open streams of 64 neighbouring series, sealed together. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

static uint64_t word_of(const struct head_series *s)
{
    return atomic_load_explicit(&s->tail, memory_order_relaxed); /* own store */
}

static struct head_tail *stream_of(const struct head_partition *p, uint32_t local)
{
    return head_word_tail(word_of(head_hot(p, local)));
}

static uint32_t lowest(uint64_t mask)
{
    TSDB_ASSERT(mask != 0);
    return (uint32_t)__builtin_ctzll(mask);
}

/* ---- which ---- */

uint64_t head_bundle_open(const struct head_partition *p, uint32_t local)
{
    uint32_t first = head_bundle_first(local);
    uint32_t n = TSDB_MIN(BUNDLE_SERIES, p->front.series_count - first);
    uint64_t mask = 0;
    for (uint32_t i = 0; i < n; i++) {
        mask |= (uint64_t)head_hot(p, first + i)->stream << i;
    }
    return mask;
}

/* Those of the mask whose first sample lies in the span. */
static uint64_t begun_in(const struct head_partition *p, uint32_t first, uint64_t mask,
                         struct head_span span)
{
    uint64_t in = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        uint32_t bit = lowest(left);
        int64_t t_ms = head_tail_first_ms(stream_of(p, first + bit));
        in |= (uint64_t)(span.begin_ms <= t_ms && t_ms <= span.last_ms) << bit;
    }
    return in;
}

uint64_t head_bundle_beside(const struct head_partition *p, uint32_t local)
{
    struct head_span window = head_window_of(p, head_tail_first_ms(stream_of(p, local)));
    return begun_in(p, head_bundle_first(local), head_bundle_open(p, local), window);
}

uint64_t head_bundle_before(const struct head_partition *p, uint32_t local, int64_t before_ms)
{
    uint64_t before = 0;
    uint32_t first = head_bundle_first(local);
    for (uint64_t left = head_bundle_open(p, local); left != 0; left &= left - 1) {
        uint32_t bit = lowest(left);
        int64_t t_ms = head_tail_first_ms(stream_of(p, first + bit));
        before |= (uint64_t)(head_window_of(p, t_ms).begin_ms < before_ms) << bit;
    }
    return before;
}

/* Of the mask, what makes one chunk: one window, and times that fit 32 bits whatever is first. */
static uint64_t group_of(const struct head_partition *p, uint32_t first, uint64_t mask)
{
    int64_t t_ms = head_tail_first_ms(stream_of(p, first + lowest(mask)));
    struct head_span span = head_window_of(p, t_ms);
    if (span.begin_ms < t_ms &&
        (uint64_t)t_ms - (uint64_t)span.begin_ms > HEAD_STREAM_SPAN_MAX / 2) {
        span.begin_ms = t_ms - (int64_t)HEAD_STREAM_SPAN_MAX / 2;
    }
    if ((uint64_t)span.last_ms - (uint64_t)t_ms > HEAD_STREAM_SPAN_MAX / 2) {
        span.last_ms = t_ms + (int64_t)HEAD_STREAM_SPAN_MAX / 2;
    }
    return begun_in(p, first, mask, span);
}

/* ---- sealing ---- */

static void raw_fill(const struct head_partition *p, uint32_t first, struct head_raw_chunk *raw)
{
    struct head_sealed *c = &raw->sealed;
    struct head_raw_stream *to = raw->streams;
    c->min_ms = INT64_MAX;
    c->max_ms = INT64_MIN;
    for (uint64_t left = c->mask; left != 0; left &= left - 1, to++) {
        struct head_series *s = head_hot(p, first + lowest(left));
        uint64_t word = word_of(s);
        *to = (struct head_raw_stream){head_word_tail(word), head_last_ms(s),
                                       (uint16_t)head_word_count(word),
                                       (uint16_t)head_word_used(word)};
        TSDB_ASSERT(head_tail_is_stream(to->tail) && to->count > 0);
        c->min_ms = TSDB_MIN(c->min_ms, head_tail_first_ms(to->tail));
        c->max_ms = TSDB_MAX(c->max_ms, to->last_ms);
        c->count = (uint16_t)(c->count + to->count);
    }
    TSDB_ASSERT((uint64_t)c->max_ms - (uint64_t)c->min_ms <= UINT32_MAX);
    TSDB_ASSERT(head_window_holds(p, c->min_ms, c->max_ms));
}

/* The series have no tail any more; their blocks are the chunk's. */
static void words_clear(struct head_partition *p, uint32_t first, const struct head_raw_chunk *raw)
{
    struct head_bundle *b = head_bundle(p, first);
    uint32_t i = 0;
    for (uint64_t left = raw->sealed.mask; left != 0; left &= left - 1) {
        struct head_series *s = head_hot(p, first + lowest(left));
        uint32_t bytes = (uint32_t)head_tail_size(raw->streams[i++].tail);
        TSDB_ASSERT(b->bytes >= bytes);
        b->bytes -= bytes;
        s->stream = false;
        s->window_left_ms = 0;
        atomic_store_explicit(&s->tail, 0, memory_order_release); /* partner: head/read.c */
    }
}

/* Readers who find half of it look at the list. Those of the mask that were changing already stay so. */
static uint64_t change_begin(struct head_partition *p, uint32_t first, uint64_t mask)
{
    uint64_t begun = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        uint32_t bit = lowest(left);
        struct head_series *s = head_hot(p, first + bit);
        begun |= (uint64_t)!atomic_load_explicit(&s->changing, memory_order_relaxed) << bit;
        head_change_begin(s);
    }
    return begun;
}
static void change_end(struct head_partition *p, uint32_t first, uint64_t begun)
{
    for (; begun != 0; begun &= begun - 1) {
        head_change_end(head_hot(p, first + lowest(begun)));
    }
}

static bool group_seal(struct head_partition *p, uint32_t first, uint64_t mask)
{
    struct head_bundle *b = head_bundle(p, first);
    uint32_t n = (uint32_t)__builtin_popcountll(mask);
    struct head_raw_chunk *raw =
        tsdb_mem_alloc_zero(HEAD_CATEGORY, sizeof *raw + n * sizeof raw->streams[0]);
    if (!raw) {
        return false;
    }
    struct head_sealed *c = &raw->sealed;
    c->mask = mask;
    bool copied = false;
    struct head_list *list = head_list_ensure(&b->chunks, 1, &copied);
    if (!list) {
        head_sealed_discard(c);
        return false;
    }
    c->kind = TSDB_SAMPLE_FLOAT;
    c->seq = b->seq++;
    raw->local = first;
    raw->partition = (uint8_t)p->id;
    raw_fill(p, first, raw);
    /* Counted by stream until now, by chunk from now on. */
    head_windows_sub(&p->windows, c->min_ms, n - 1);
    uint64_t begun = change_begin(p, first, mask);
    head_list_publish(p, &b->chunks, list, copied, &c, 1);
    words_clear(p, first, raw);
    change_end(p, first, begun);
    return true;
}

bool head_bundle_seal(struct head_partition *p, uint32_t local, uint64_t mask, uint64_t *out_chunks)
{
    uint32_t first = head_bundle_first(local);
    bool ok = true;
    while (ok && mask != 0) {
        uint64_t group = group_of(p, first, mask);
        TSDB_ASSERT(group != 0);
        ok = group_seal(p, first, group);
        mask &= ~group;
        if (ok && out_chunks) {
            ++*out_chunks;
        }
    }
    return ok;
}

void head_bundle_settle(struct head_partition *p, uint32_t local)
{
    uint32_t budget = p->front.bundle_bytes;
    if (budget > 0 && head_bundle(p, local)->bytes >= budget) {
        (void)head_bundle_seal(p, local, head_bundle_open(p, local), NULL);
    }
}

/* ---- looking ---- */

const struct head_raw_stream *head_bundle_find(const struct head_partition *p, uint32_t local,
                                               int64_t t_ms)
{
    struct head_list *l =
        atomic_load_explicit(&head_bundle(p, local)->chunks, memory_order_relaxed);
    /* What is in files stands before what is not. */
    for (uint32_t i = head_list_count(l); i-- > 0;) {
        struct head_sealed *c = head_list_at(l, i);
        if (c->file) {
            break;
        }
        if (head_sealed_has(c, local) && c->min_ms <= t_ms && t_ms <= c->max_ms) {
            const struct head_raw_stream *s =
                &head_raw_chunk_of(c)->streams[head_bundle_rank(c, head_bundle_bit(local))];
            if (head_tail_first_ms(s->tail) <= t_ms && t_ms <= s->last_ms) {
                return s;
            }
        }
    }
    return NULL;
}

bool head_series_sealed_ms(const struct head_partition *p, uint32_t local, int64_t *out_ms)
{
    const struct head_series *s = head_hot(p, local);
    /* The time first: what it says was sealed before the word is found empty. */
    int64_t last_ms = head_last_ms(s);
    if (last_ms == INT64_MIN || atomic_load_explicit(&s->tail, memory_order_acquire) != 0) {
        return false;
    }
    *out_ms = last_ms;
    return true;
}

uint32_t head_bundle_visit(const struct head_partition *p, struct tsdb_epoch *epoch, uint32_t local,
                           uint32_t after, bundle_fn fn, void *arg)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(epoch, &guard);
    /* Acquire, both: partner is head_list_publish. */
    struct head_list *l =
        atomic_load_explicit(&head_bundle(p, local)->chunks, memory_order_acquire);
    uint32_t n = l ? atomic_load_explicit(&l->count, memory_order_acquire) : 0;
    bool all = after == HEAD_BUNDLE_ALL;
    bool waits = false;
    uint32_t newest = all ? 0 : after;
    for (uint32_t i = 0; i < n; i++) {
        const struct head_sealed *s = head_list_at(l, i);
        waits = waits || !s->file;
        /* The owner may have swapped one that was seen to wait, and this one, since then: both are left to the
         * next visit, which finds those only that came after. Those of an earlier life have no numbers. */
        if (s->file && (s->seq == 0 ? all : !waits && s->seq > newest) &&
            atomic_load_explicit(&s->flushed_in, memory_order_relaxed) == 0) {
            fn(arg, s);
            newest = TSDB_MAX(newest, s->seq);
        }
    }
    tsdb_epoch_exit(epoch, &guard);
    return newest;
}

uint32_t head_raw_streams(const struct head_raw_chunk *raw, struct bundle_stream out[BUNDLE_SERIES])
{
    uint32_t n = head_bundle_streams(&raw->sealed);
    for (uint32_t i = 0; i < n; i++) {
        const struct head_raw_stream *s = &raw->streams[i];
        out[i] = (struct bundle_stream){
            .first_ms = head_tail_first_ms(s->tail),
            .last_ms = s->last_ms,
            .first_bits = s->tail->data[HEAD_STREAM_FIRST_VALUE],
            .count = s->count,
            .bytes = s->used,
            .tokens = head_stream_tokens(s->tail),
        };
    }
    return n;
}
