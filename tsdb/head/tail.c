/* Blocks of samples, and the open tail of a series: begun, grown, sealed. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"
#include "compress/sample_stream.h"

#include <string.h>

/* Capacities of columns: few steps, because each costs an allocation, a copy and a retirement (some
 * 300 ns). After a series has filled a chunk it will fill the next one as well: start larger. */
#define TAIL_CAP_SECOND     9u
#define TAIL_CAP_THIRD      39u
#define TAIL_CAP_AFTER_SEAL TAIL_CAP_THIRD

/* Blocks of streams fill size classes of jemalloc. The first has room for the token that tells the
 * pace, and so for all of a constant. The last bounds what a series holds, and so how many chunks
 * (each with its reference) its samples are cut into: measured in docs/decisions/0012. */
#define STREAM_UNIT        16u
#define STREAM_HEAD_BYTES  (sizeof(struct head_tail) + HEAD_STREAM_TOKENS * sizeof(uint64_t))
#define STREAM_BYTES_FIRST 64u
#define STREAM_BYTES_WIDE  128u /* the first block, where values take so many bytes or more: */
#define WIDE_VALUE_BYTES   6u
#define STREAM_BYTES_MAX   768u
static_assert(STREAM_BYTES_MAX - STREAM_HEAD_BYTES <= HEAD_TAIL_USED_MAX, "bytes fit the word");
static_assert(STREAM_BYTES_MAX <= BUNDLE_TOKENS_MAX, "bytes fit a bundle");
static_assert(STREAM_BYTES_MAX / STREAM_UNIT <= UINT8_MAX, "units are a byte");
static_assert(TSDB_HEAD_CHUNK_SAMPLES_MAX <= SAMPLE_STREAM_RUN_MAX, "a run of all");

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
    TSDB_ASSERT(cap > 0 && cap <= TSDB_HEAD_CHUNK_SAMPLES_MAX);
    struct head_tail *t = tsdb_mem_alloc(HEAD_CATEGORY, head_tail_bytes(cap, flags));
    if (!t) {
        return NULL;
    }
    atomic_init(&t->count, 0);
    t->cap = (uint16_t)cap;
    t->kind = (uint8_t)kind;
    t->flags = (uint8_t)flags;
    t->seq = 0;
    t->run = 0;
    return t;
}

size_t head_tail_size(const struct head_tail *t)
{
    return head_tail_is_stream(t) ? t->units * (size_t)STREAM_UNIT
                                  : head_tail_bytes(t->cap, t->flags);
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
    uint32_t cap = t->cap < TAIL_CAP_SECOND      ? TAIL_CAP_SECOND
                   : t->cap < TAIL_CAP_THIRD     ? TAIL_CAP_THIRD
                   : t->cap < TSDB_CHUNK_SAMPLES ? (uint32_t)TSDB_CHUNK_SAMPLES
                                                 : (uint32_t)TSDB_HEAD_CHUNK_SAMPLES_MAX; /* late */
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
    uint32_t n = head_tail_is_stream(t) ? 0 : head_tail_count(t);
    TSDB_ASSERT(head_tail_is_stream(t) || n <= t->cap);
    bool owns_values = with_values && t->kind != TSDB_SAMPLE_FLOAT;
    for (uint32_t i = 0; owns_values && i < n; i++) {
        struct tsdb_raw_histogram *h = head_raw_of(head_tail_value(t)[i]);
        if (at_once) {
            tsdb_mem_free(HEAD_CATEGORY, h, raw_bytes(h));
        } else {
            tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, h, raw_bytes(h));
        }
    }
    size_t bytes = head_tail_size(t);
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

/* ---- streams ---- */

static uint8_t *stream_tokens(struct head_tail *t)
{
    return (uint8_t *)(t->data + HEAD_STREAM_TOKENS);
}

static struct head_tail *stream_alloc(size_t bytes, uint32_t bundle_seq)
{
    struct head_tail *t = tsdb_mem_alloc(HEAD_CATEGORY, bytes);
    if (!t) {
        return NULL;
    }
    TSDB_ASSERT((uintptr_t)t % STREAM_UNIT == 0 && (uintptr_t)t >> 4 < HEAD_TAIL_COUNT_ONE);
    t->bundle_seq = bundle_seq;
    t->units = (uint8_t)(bytes / STREAM_UNIT);
    t->off_ms = 0;
    t->kind = TSDB_SAMPLE_FLOAT;
    t->flags = HEAD_TAIL_STREAM;
    t->pace_ms = 0;
    t->run = 0;
    t->offs = 0;
    return t;
}

/* A first block that is left soon is a hole that only another first block can fill. Values of many bytes leave it
 * after the third sample: known by this one against the newest before it, or by itself (decision 0028). */
static size_t stream_bytes_first(const struct head_series *s, uint64_t bits)
{
    bool known = s->flags & HEAD_SERIES_HAS_SAMPLES;
    uint32_t bytes = value_pack(bits, known, known ? head_last_bits(s) : 0).bytes;
    return bytes >= WIDE_VALUE_BYTES ? STREAM_BYTES_WIDE : STREAM_BYTES_FIRST;
}

static struct head_tail *stream_create(const struct head_series *s, const struct head_row *x,
                                       uint32_t bundle_seq)
{
    struct head_tail *t = stream_alloc(stream_bytes_first(s, x->value), bundle_seq);
    if (t) {
        t->data[HEAD_STREAM_FIRST_T] = (uint64_t)x->t_ms;
        t->data[HEAD_STREAM_FIRST_VALUE] = x->value;
    }
    return t;
}

static struct sample_stream_end stream_end(const struct head_series *s, const struct head_tail *t)
{
    return (struct sample_stream_end){head_last_bits(s), t->pace_ms, t->run, t->off_ms, t->offs};
}

/* What the block has of it: all but the value. */
static void stream_end_set(struct head_tail *t, const struct sample_stream_end *end)
{
    t->pace_ms = end->pace_ms;
    t->run = end->run;
    t->off_ms = end->off_ms;
    t->offs = end->offs;
}

/* The size of the next block: 64, 128, 192, 384, 768, which are size classes. Not all of them:
 * a step costs an allocation, a copy and a retirement, and leaves a hole of the old size (decision 0012). */
static size_t stream_bytes_next(size_t bytes)
{
    return bytes + (bytes < 192 ? 64 : bytes);
}

/* A copy with the first `used` bytes of tokens, and room for n more; NULL if that would be too large, or there
 * is no memory (*out_failed). */
static struct head_tail *stream_grow(const struct head_tail *t, uint32_t used, uint32_t n,
                                     bool *out_failed)
{
    size_t bytes = head_tail_size(t);
    while (bytes < STREAM_HEAD_BYTES + used + n) {
        bytes = stream_bytes_next(bytes);
    }
    if (bytes > STREAM_BYTES_MAX) {
        return NULL;
    }
    struct head_tail *grown = stream_alloc(bytes, t->bundle_seq);
    if (!grown) {
        *out_failed = true;
        return NULL;
    }
    memcpy(grown->data, t->data, HEAD_STREAM_TOKENS * sizeof t->data[0] + used);
    return grown;
}

uint64_t head_stream_put(struct head_series *s, uint32_t ahead_ms, uint64_t bits,
                         struct value_packed packed, bool *out_failed)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed); /* own store */
    struct head_tail *t = head_word_tail(word);
    uint32_t used = head_word_used(word);
    struct sample_stream_end end = stream_end(s, t);
    uint8_t token[SAMPLE_STREAM_BYTES_MAX];
    TSDB_ASSERT(head_tail_is_stream(t) && head_word_count(word) < TSDB_HEAD_CHUNK_SAMPLES_MAX);
    size_t room = head_tail_size(t) - STREAM_HEAD_BYTES - used;
    bool in_place = room >= sizeof token;
    uint32_t n =
        sample_stream_put(&end, ahead_ms, bits, packed, in_place ? stream_tokens(t) + used : token);
    uint64_t next = word + HEAD_TAIL_COUNT_ONE + ((uint64_t)n << HEAD_TAIL_USED_SHIFT);
    if (n > room) {
        t = stream_grow(t, used, n, out_failed);
        if (!t) {
            return 0;
        }
        next = (next & ~(HEAD_TAIL_COUNT_ONE - 1)) | (uint64_t)(uintptr_t)t >> 4;
    }
    if (!in_place) {
        memcpy(stream_tokens(t) + used, token, n);
    }
    head_last_bits_set(s, end.value);
    stream_end_set(t, &end);
    return next;
}

void head_stream_grown(struct head_front *f, uint32_t local, struct head_tail *from,
                       const struct head_tail *to)
{
    /* The front part of a partition, as head_front() gave it. */
    struct head_partition *p = (struct head_partition *)f;
    struct head_bundle *b = head_bundle(p, local);
    b->bytes += (uint32_t)(head_tail_size(to) - head_tail_size(from));
    head_tail_release(p, from, false, false);
    head_bundle_settle(p, local);
}

void head_stream_decode(const struct head_tail *t, uint32_t count, uint32_t used, int64_t *t_ms,
                        uint64_t *value)
{
    const struct head_stream s = head_stream_of(t, count, used);
    t_ms[0] = s.first_ms;
    value[0] = s.first_bits;
    bool ok = sample_stream_decode(s.tokens, s.bytes, s.count, t_ms, value);
    TSDB_ASSERT(ok);
}

/* ---- the open tail ---- */

/* Publish the tail with its first n samples. */
static void word_publish(struct head_series *s, uint64_t word)
{
    struct head_tail *t = head_word_tail(word);
    TSDB_ASSERT(t && head_word_count(word) > 0);
    TSDB_ASSERT(!(t->flags & HEAD_TAIL_LATE));
    s->stream = head_tail_is_stream(t);
    /* Release: partner is the load of tail in head/read.c. */
    atomic_store_explicit(&s->tail, word, memory_order_release);
}

static void tail_publish(struct head_series *s, struct head_tail *t, uint32_t n)
{
    TSDB_ASSERT((uintptr_t)t % STREAM_UNIT == 0 && (uintptr_t)t >> 4 < HEAD_TAIL_COUNT_ONE);
    TSDB_ASSERT(n <= HEAD_TAIL_COUNT_MAX);
    word_publish(s, (uint64_t)(uintptr_t)t >> 4 | (uint64_t)n << HEAD_TAIL_COUNT_SHIFT);
}

/* Move columns that the word names to the list. Their count in the window is the chunk's from now on.
 * All or nothing; the caller publishes the next tail, or none. */
static bool columns_to_list(struct head_partition *p, struct head_series *s, uint32_t local,
                            uint64_t word)
{
    struct head_tail *full = head_word_tail(word);
    uint32_t n = head_word_count(word);
    TSDB_ASSERT(head_hot(p, local) == s && !head_tail_is_stream(full));
    struct head_sealed *chunk = head_sealed_create(p, local, full, n);
    bool copied = false;
    struct head_list *list = chunk ? head_series_list_ensure(p, local, 1, &copied) : NULL;
    if (!list) {
        head_sealed_discard(chunk);
        return false;
    }
    head_tail_count_set(full, n);
    head_list_publish(p, &head_side(p, local)->chunks, list, copied, &chunk, 1);
    return true;
}

/* Is it alone that the stream ends, or its bundle that is full? */
static uint64_t streams_ending(const struct head_partition *p, uint32_t local,
                               struct head_tail *tail, bool same_form, int64_t t_ms)
{
    if (!same_form) {
        return UINT64_C(1) << head_bundle_bit(local);
    }
    return head_window_holds(p, head_tail_first_ms(tail), t_ms) ? head_bundle_open(p, local)
                                                                : head_bundle_beside(p, local);
}

/* Seal the tail that the word names: a stream with others of its bundle, before a sample at t_ms. All or
 * nothing, but for the others. */
static bool tail_to_list(struct head_partition *p, struct head_series *s, uint32_t local,
                         uint64_t word, bool same_form, int64_t t_ms)
{
    struct head_tail *tail = head_word_tail(word);
    if (!head_tail_is_stream(tail)) {
        return columns_to_list(p, s, local, word);
    }
    /* If others find no memory, this one may still have. */
    return head_bundle_seal(p, local, streams_ending(p, local, tail, same_form, t_ms), NULL) ||
           head_bundle_seal(p, local, UINT64_C(1) << head_bundle_bit(local), NULL);
}

/* A tail that holds x alone, not yet published. NULL: no memory. */
static struct head_tail *tail_of_row(const struct head_partition *p, const struct head_series *s,
                                     uint32_t local, uint32_t cap, enum tsdb_sample_kind kind,
                                     uint32_t starts, const struct head_row *x)
{
    if (kind == TSDB_SAMPLE_FLOAT && !starts) {
        return stream_create(s, x, head_bundle(p, local)->seq);
    }
    struct head_tail *t = head_tail_create(cap, kind, starts);
    if (t) {
        head_tail_put(t, 0, x);
    }
    return t;
}

/* Begin a tail with x; the one that the word names, if any, is sealed: the list first, then the new
 * tail. All or nothing. */
static bool tail_begin(struct head_partition *p, struct head_series *s, uint32_t local,
                       uint64_t word, enum tsdb_sample_kind kind, uint32_t starts,
                       const struct head_row *x)
{
    bool was_full = word && head_word_count(word) == TSDB_CHUNK_SAMPLES;
    struct head_tail *next = tail_of_row(
        p, s, local, was_full ? TAIL_CAP_AFTER_SEAL : HEAD_TAIL_CAP_FIRST, kind, starts, x);
    if (!next || !head_window_count(p, x->t_ms)) {
        head_tail_release(p, next, false, true);
        return false;
    }
    bool same_form = word && head_tail_has_form(head_word_tail(word), kind, starts);
    if (word && !tail_to_list(p, s, local, word, same_form, x->t_ms)) {
        head_window_uncount(p, x->t_ms);
        head_tail_release(p, next, false, true);
        return false;
    }
    head_last_ms_set(s, x->t_ms);
    if (head_tail_is_stream(next)) {
        head_last_bits_set(s, x->value);
        next->bundle_seq = head_bundle(p, local)->seq; /* which sealing the one before has raised */
        head_bundle(p, local)->bytes += (uint32_t)head_tail_size(next);
    }
    tail_publish(s, next, 1);
    return true;
}

bool head_series_seal_tail(struct head_partition *p, struct head_series *s, uint32_t local)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (word == 0) {
        return true;
    }
    if (head_tail_is_stream(head_word_tail(word))) {
        return head_bundle_seal(p, local, UINT64_C(1) << head_bundle_bit(local), NULL);
    }
    head_change_begin(s);
    bool done = columns_to_list(p, s, local, word);
    if (done) {
        atomic_store_explicit(&s->tail, 0, memory_order_release); /* partner: head/read.c */
    }
    head_change_end(s);
    return done;
}

/* One more sample for a stream; seals it if it may not grow. */
static bool stream_append(struct head_partition *p, struct head_series *s, uint32_t local,
                          uint64_t word, const struct head_row *x)
{
    uint64_t ahead = (uint64_t)x->t_ms - (uint64_t)head_last_ms(s);
    uint64_t next = 0;
    bool failed = false;
    if (head_word_count(word) < p->front.chunk_samples && ahead <= HEAD_STREAM_SPAN_MAX) {
        struct value_packed packed = value_pack(x->value, true, head_last_bits(s));
        next = head_stream_put(s, (uint32_t)ahead, x->value, packed, &failed);
    }
    if (failed) {
        return false;
    }
    if (next == 0) {
        return tail_begin(p, s, local, word, TSDB_SAMPLE_FLOAT, 0, x);
    }
    head_last_ms_set(s, x->t_ms);
    word_publish(s, next);
    if (head_word_tail(next) != head_word_tail(word)) {
        head_stream_grown(&p->front, local, head_word_tail(word), head_word_tail(next));
    }
    return true;
}

/* One more row for columns, which are not full. */
static bool columns_append(struct head_partition *p, struct head_series *s, uint64_t word,
                           const struct head_row *x)
{
    struct head_tail *t = head_word_tail(word);
    uint32_t n = head_word_count(word);
    struct head_tail *to = n < t->cap ? t : head_tail_grow(t, n);
    if (!to) {
        return false;
    }
    head_tail_put(to, n, x);
    head_last_ms_set(s, x->t_ms);
    tail_publish(s, to, n + 1);
    if (to != t) {
        head_tail_release(p, t, false, false);
    }
    return true;
}

/* Must x go into another tail than the one that the word names? */
static bool tail_ends(const struct head_partition *p, uint64_t word, enum tsdb_sample_kind kind,
                      uint32_t starts, int64_t t_ms)
{
    struct head_tail *t = head_word_tail(word);
    bool stream = head_tail_is_stream(t);
    uint64_t span = (uint64_t)t_ms - (uint64_t)head_tail_first_ms(t);
    return !head_tail_has_form(t, kind, starts) || (stream && span > HEAD_STREAM_SPAN_MAX) ||
           (!stream && head_word_count(word) == TSDB_CHUNK_SAMPLES) ||
           !head_window_holds(p, head_tail_first_ms(t), t_ms);
}

/* From t_ms, which the tail's last sample has, to where the window or what a stream may span ends. */
static uint32_t window_left(const struct head_partition *p, const struct head_series *s,
                            int64_t t_ms)
{
    struct head_tail *t = head_word_tail(atomic_load_explicit(&s->tail, memory_order_relaxed));
    /* The difference in unsigned arithmetic: a window may be longer than INT64_MAX. */
    uint64_t left = (uint64_t)head_window_of(p, t_ms).last_ms - (uint64_t)t_ms;
    uint64_t span = t ? (uint64_t)t_ms - (uint64_t)head_tail_first_ms(t) : 0;
    return (uint32_t)TSDB_MIN(left, HEAD_STREAM_SPAN_MAX - TSDB_MIN(span, HEAD_STREAM_SPAN_MAX));
}

bool head_append_in_order(struct head_partition *p, struct head_series *s, uint32_t local,
                          enum tsdb_sample_kind kind, const struct head_row *x)
{
    uint32_t starts = x->start_ms != 0 ? HEAD_TAIL_STARTS : 0;
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    TSDB_ASSERT(!(s->flags & HEAD_SERIES_HAS_SAMPLES) || head_last_ms(s) < x->t_ms);
    head_change_begin(s);
    bool done = !word || tail_ends(p, word, kind, starts, x->t_ms)
                    ? tail_begin(p, s, local, word, kind, starts, x)
                : head_tail_is_stream(head_word_tail(word)) ? stream_append(p, s, local, word, x)
                                                            : columns_append(p, s, word, x);
    head_change_end(s);
    if (!done) {
        return false;
    }
    s->window_left_ms = window_left(p, s, x->t_ms);
    s->flags |= HEAD_SERIES_HAS_SAMPLES;
    head_bundle_settle(p, local);
    return true;
}

/* ---- many at once ---- */
/* Samples coded before there is a block for them. */
struct stream_draft {
    struct sample_stream_end end;
    uint32_t count, used;
    uint8_t tokens[STREAM_BYTES_MAX - STREAM_HEAD_BYTES + SAMPLE_STREAM_BYTES_MAX];
};

/* As many of them as one open chunk may have, as if each had been appended; one at least. */
static void draft_fill(const struct head_partition *p, struct stream_draft *d, const int64_t *t_ms,
                       const uint64_t *value, uint32_t count)
{
    uint64_t left = (uint64_t)head_window_of(p, t_ms[0]).last_ms - (uint64_t)t_ms[0];
    uint32_t n = TSDB_MIN(count, p->front.chunk_samples);
    left = TSDB_MIN(left, HEAD_STREAM_SPAN_MAX);
    d->end = (struct sample_stream_end){.value = value[0]};
    d->used = 0;
    for (d->count = 1; d->count < n; d->count++) {
        uint32_t i = d->count;
        /* One comparison for "newer" and "of the same chunk": see head_append_fast. */
        uint64_t ahead = (uint64_t)t_ms[i] - (uint64_t)t_ms[i - 1];
        if (ahead - 1 >= left) {
            return;
        }
        left -= ahead;
        if (ahead == d->end.pace_ms && value[i] == d->end.value) {
            d->end.run++;
            continue;
        }
        struct sample_stream_end before = d->end;
        uint32_t bytes =
            sample_stream_put(&d->end, (uint32_t)ahead, value[i],
                              value_pack(value[i], true, before.value), d->tokens + d->used);
        if (d->used + bytes > STREAM_BYTES_MAX - STREAM_HEAD_BYTES) {
            d->end = before;
            return;
        }
        d->used += bytes;
    }
}

/* The block that these would have grown to. NULL: no memory. */
static struct head_tail *draft_block(const struct stream_draft *d, int64_t first_ms,
                                     uint64_t first_value, uint32_t bundle_seq)
{
    size_t bytes = STREAM_BYTES_FIRST;
    while (bytes < STREAM_HEAD_BYTES + d->used) {
        bytes = stream_bytes_next(bytes);
    }
    struct head_tail *t = stream_alloc(bytes, bundle_seq);
    if (t) {
        t->data[HEAD_STREAM_FIRST_T] = (uint64_t)first_ms;
        t->data[HEAD_STREAM_FIRST_VALUE] = first_value;
        stream_end_set(t, &d->end);
        memcpy(stream_tokens(t), d->tokens, d->used);
    }
    return t;
}

uint32_t head_floats_load(struct head_partition *p, uint32_t local, const int64_t *t_ms,
                          const uint64_t *value, uint32_t count)
{
    TSDB_ASSERT(local < p->front.series_count && count > 0);
    struct head_series *s = head_hot(p, local);
    struct stream_draft d;
    if (atomic_load_explicit(&s->tail, memory_order_relaxed) != 0 ||
        ((s->flags & HEAD_SERIES_HAS_SAMPLES) && t_ms[0] <= head_last_ms(s))) {
        return 0;
    }
    draft_fill(p, &d, t_ms, value, count);
    struct head_bundle *bundle = head_bundle(p, local);
    struct head_tail *t = draft_block(&d, t_ms[0], value[0], bundle->seq);
    if (!t || !head_window_count(p, t_ms[0])) {
        head_tail_release(p, t, false, true);
        return 0;
    }
    int64_t last_ms = t_ms[d.count - 1];
    head_change_begin(s);
    head_last_ms_set(s, last_ms);
    head_last_bits_set(s, d.end.value);
    bundle->bytes += (uint32_t)head_tail_size(t);
    word_publish(s, (uint64_t)(uintptr_t)t >> 4 | (uint64_t)d.count << HEAD_TAIL_COUNT_SHIFT |
                        (uint64_t)d.used << HEAD_TAIL_USED_SHIFT);
    head_change_end(s);
    s->window_left_ms = window_left(p, s, last_ms);
    s->flags |= HEAD_SERIES_HAS_SAMPLES;
    head_count(&p->front.counters.samples, d.count);
    head_count_times(&p->front.counters, t_ms[0], last_ms);
    head_bundle_settle(p, local);
    return d.count;
}
