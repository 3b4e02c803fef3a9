/* The owner's way into a head, inlined: what an append of a plain, newer float touches.
 *
 *   directory ─ slab[local >> 12] ─┬─ struct head_series, 40 bytes
 *                                  │    └─ tail   newest samples, in order; replaced by a larger
 *                                  │              one as it fills
 *                                  └─ struct head_bundle, one for 64 series
 *                                       ├─ chunks  list of head_sealed: their streams, sealed
 *                                       │          together
 *                                       └─ sides   NULL for nearly every bundle, else of each series,
 *                                            │     NULL for nearly all
 *                                            ├─ ooo     samples that came late, unsorted
 *                                            └─ chunks  list of head_sealed: late ones, columns
 *
 * A head_sealed has the samples in memory as they were, or says where they are in a head file.
 *
 *   tail   pointer / 16 | count << 44 | bytes of tokens << 53 ──▶ head_tail, of one of two forms:
 *            stream    first time | first value | tokens of compress/sample_stream.h
 *            columns   t_ms[cap] | value[cap] | start_ms[cap], if any
 *
 * For tsdb/head, the owner's batch (engine/apply.c) and replay (recovery/frame.c) only: everybody else goes
 * through head.h.
 * Threads: the owner; readers follow invariants 2 and 3 of head.h.
 */
#ifndef TSDB_HEAD_OWNER_PATH_H
#define TSDB_HEAD_OWNER_PATH_H

#include "base/assert.h"
#include "compress/value_pack.h"
#include "tsdb/chunk/bundle.h"
#include "tsdb/head/head.h"

#include <stdatomic.h>

/* 4096 series, 162 KiB: large enough that the directory stays small. */
#define HEAD_SLAB_SHIFT  12u
#define HEAD_SLAB_SERIES (1u << HEAD_SLAB_SHIFT)
#define HEAD_EPOCH_NONE  UINT32_MAX /* nothing of the series was logged yet */

/* A block of samples. What readers look at is written before the count (and the bytes) that cover it
 * are published and never changes afterwards; all else is immutable after creation, or the owner's.
 *
 * In columns: histograms, samples with start timestamps, late samples. Capacities fill jemalloc's
 * size classes: 16 + 16 * 4 = 80, 160, 320, 640, 1280, and a full one.
 *
 * As a stream (HEAD_TAIL_STREAM): plain floats in order. */
struct head_tail {
    union {
        /* Late and sealed columns. That of the open tail stands in the hot struct; it comes here when
         * the tail is sealed. */
        _Atomic(uint32_t) count;
        /* Stream: the first bundle that may have it. Immutable. */
        uint32_t bundle_seq;
    };
    union {
        uint16_t cap; /* samples */
        struct {
            uint8_t units; /* stream: the block takes so many times 16 bytes */
            int8_t off_ms; /* stream, owner: see struct sample_stream_end, as pace_ms and run */
        };
    };
    uint8_t kind;  /* enum tsdb_sample_kind */
    uint8_t flags; /* HEAD_TAIL_* */
    union {
        /* Of an out-of-order buffer, and of the sorted chunk made of it: how readers tell that they
         * are the same. */
        uint32_t seq;
        uint32_t pace_ms; /* stream, owner */
    };
    uint16_t run; /* stream, owner; so are the two below */
    uint8_t offs;
    uint8_t unused;
    /* Columns: t_ms[cap], value[cap], and start_ms[cap] with HEAD_TAIL_STARTS. Stream: first time,
     * first value, tokens. */
    uint64_t data[];
};
#define HEAD_TAIL_STARTS 1u
#define HEAD_TAIL_LATE   2u /* an out-of-order buffer or chunk */
#define HEAD_TAIL_SORTED 4u
#define HEAD_TAIL_STREAM 8u
enum {
    HEAD_STREAM_FIRST_T,
    HEAD_STREAM_FIRST_VALUE,
    HEAD_STREAM_TOKENS
};

struct head_list;

/* What few series have: samples that came late, or are no plain floats. Made when it is needed, there
 * until the series leaves. Published by the owner (release) to readers (acquire). */
struct head_side {
    _Atomic(struct head_tail *) ooo;
    _Atomic(struct head_list *) chunks;
    uint32_t ooo_seq; /* owner */
};

/* Zones: tail, last_t_ms, last_bits are published by the owner to readers; the rest is the owner's. */
struct head_series {
    /* The open tail: a sixteenth of its address in the low 44 bits (user space ends at 2^48, and
     * allocations are aligned), its count in 9 bits, the bytes of its tokens in 11: one store
     * publishes a sample or a new tail. 0: no tail yet. */
    _Atomic(uint64_t) tail;
    /* Newest sample; only with HEAD_SERIES_HAS_SAMPLES. Stored before the word that publishes the
     * sample, so that a reader finds it no older than what the word shows. */
    _Atomic(int64_t) last_t_ms;
    /* While there is a stream: its newest value. Else the last float that was logged, or was in a stream. */
    _Atomic(uint64_t) last_bits;
    /* The epoch in which last_bits was the last float of the series that was logged: what the log may pack the
     * next one against. Its low half: the log ends before it comes round. */
    uint32_t wal_epoch;
    uint32_t generation;
    uint32_t window_left_ms; /* from last_t_ms to the end of its window, or less */
    bool stream;             /* there is a tail, and it is one */
    uint8_t flags;           /* HEAD_SERIES_* */
    /* Set while the owner changes tail, newest time and the chunks of lists: see head_change_begin. */
    _Atomic(bool) changing;
    uint8_t reserved;
};
#define HEAD_TAIL_COUNT_SHIFT     44u
#define HEAD_TAIL_USED_SHIFT      53u
#define HEAD_TAIL_COUNT_ONE       (UINT64_C(1) << HEAD_TAIL_COUNT_SHIFT)
#define HEAD_TAIL_COUNT_MAX       511u
#define HEAD_TAIL_USED_MAX        2047u
#define HEAD_SERIES_HAS_SAMPLES   1u
#define HEAD_SERIES_LABELS_LOGGED 2u
/* Chunks were loaded: samples may share a time, the first counts. */
#define HEAD_SERIES_FROM_FILES 8u
/* Left out of the index that is being made; a sender that asks for it by its labels keeps it. */
#define HEAD_SERIES_LEAVING 16u
static_assert(sizeof(struct head_series) == 40, "eight in five cache lines");

/* Of the series of a bundle; made for the first that needs one, there until the slab goes. */
struct head_sides {
    _Atomic(struct head_side *) of[BUNDLE_SERIES];
};

/* 64 series with consecutive ids, whose streams are sealed together: those of one window make one
 * chunk, and take one reference. */
struct head_bundle {
    _Atomic(struct head_list *) chunks;
    _Atomic(struct head_sides *) sides;
    uint32_t bytes; /* owner: of the blocks of their open streams */
    uint32_t seq;   /* owner: of the next bundle that is sealed; they begin with 1 */
};

static_assert(TSDB_CHUNK_SAMPLES <= HEAD_TAIL_COUNT_MAX, "a count fits the word");
static_assert(TSDB_HEAD_CHUNK_SAMPLES_MAX <= HEAD_TAIL_COUNT_MAX, "likewise");

struct head_slab {
    _Alignas(TSDB_CACHELINE) struct head_series series[HEAD_SLAB_SERIES];
    struct head_bundle bundles[HEAD_SLAB_SERIES / BUNDLE_SERIES];
};

/* A slab whose series have all left is head_slab_gone: all zero, never written. Relaxed: a series is
 * published with its index, and of a slab that is gone nothing is read but zeros. */
struct head_directory {
    uint32_t cap;
    _Atomic(struct head_slab *) slabs[];
};
extern struct head_slab head_slab_gone;
static inline struct head_slab *head_directory_slab(struct head_directory *d, uint32_t slab)
{
    return atomic_load_explicit(&d->slabs[slab], memory_order_relaxed);
}

/* What the fast path needs of a partition: its front part. */
struct head_front {
    _Atomic(struct head_directory *) directory; /* grows; published by the index's series count */
    uint32_t series_count;                      /* owner; ids given out */
    uint32_t chunk_samples;                     /* immutable: of a stream */
    uint32_t bundle_bytes; /* owner: open streams of a bundle are sealed at this; 0: never */
    _Alignas(TSDB_CACHELINE) struct head_counters counters;
};
struct head_front *head_front(struct head_partition *p);

static inline struct head_slab *head_front_slab(const struct head_front *f, uint32_t local)
{
    /* Acquire: partner is the release when the directory grows. */
    struct head_directory *d = atomic_load_explicit(&f->directory, memory_order_acquire);
    return head_directory_slab(d, local >> HEAD_SLAB_SHIFT);
}
/* A series' hot struct, and its bundle; local < series count. Owner, or a reader that learned of the
 * series from the index or an alias. */
static inline struct head_series *head_front_series(const struct head_front *f, uint32_t local)
{
    return &head_front_slab(f, local)->series[local & (HEAD_SLAB_SERIES - 1)];
}
static inline struct head_bundle *head_front_bundle(const struct head_front *f, uint32_t local)
{
    return &head_front_slab(f, local)->bundles[(local & (HEAD_SLAB_SERIES - 1)) >> BUNDLE_SHIFT];
}

static inline struct head_tail *head_word_tail(uint64_t word)
{
    return (struct head_tail *)(uintptr_t)((word & (HEAD_TAIL_COUNT_ONE - 1)) << 4);
}
static inline uint32_t head_word_count(uint64_t word)
{
    return (uint32_t)(word >> HEAD_TAIL_COUNT_SHIFT) & HEAD_TAIL_COUNT_MAX;
}
static inline uint32_t head_word_used(uint64_t word)
{
    return (uint32_t)(word >> HEAD_TAIL_USED_SHIFT);
}

static inline int64_t head_last_ms(const struct head_series *s)
{
    return atomic_load_explicit(&s->last_t_ms, memory_order_relaxed);
}
static inline void head_last_ms_set(struct head_series *s, int64_t t_ms)
{
    /* Release: partner is the load in head_newest_float. */
    atomic_store_explicit(&s->last_t_ms, t_ms, memory_order_release);
}
static inline uint64_t head_last_bits(const struct head_series *s)
{
    return atomic_load_explicit(&s->last_bits, memory_order_relaxed); /* own store */
}
static inline void head_last_bits_set(struct head_series *s, uint64_t bits)
{
    /* Release: partner is the load in head_newest_float. */
    atomic_store_explicit(&s->last_bits, bits, memory_order_release);
}

/* A float was logged, after it was appended. False: it is not the newest of a stream, so that the base of the
 * next one is not here; the log does without. */
static inline bool head_logged(struct head_series *s, uint64_t epoch, uint64_t bits)
{
    if (s->stream && head_last_bits(s) != bits) {
        s->wal_epoch = HEAD_EPOCH_NONE;
        return false;
    }
    if (!s->stream) {
        head_last_bits_set(s, bits);
    }
    s->wal_epoch = (uint32_t)epoch;
    return true;
}

/* What the owner does between the two, readers may see half of: newest time and value before the word that
 * publishes them, a chunk in the list before its tail has left. A reader who loads the word, then what it
 * wants, then finds `changing` not set and the word still the same, has seen what was there with that word:
 * had the owner begun, whatever the reader saw of it (stored with release) would show `changing`; had he
 * ended, the word would be another one, and under the reader's guard no word comes again. */
static inline void head_change_begin(struct head_series *s)
{
    atomic_store_explicit(&s->changing, true, memory_order_relaxed);
}
static inline void head_change_end(struct head_series *s)
{
    /* Release: partner is the load in head_unchanged. */
    atomic_store_explicit(&s->changing, false, memory_order_release);
}
/* Is the open tail still the one of the word, and what was loaded after it the word's? */
static inline bool head_unchanged(const struct head_series *s, uint64_t word)
{
    return !atomic_load_explicit(&s->changing, memory_order_acquire) &&
           atomic_load_explicit(&s->tail, memory_order_relaxed) == word;
}

static inline void head_hot_prefetch(const struct head_series *s)
{
    __builtin_prefetch(s, 1);
    __builtin_prefetch(&s->window_left_ms, 1); /* half of them lie in two lines */
}
/* Second stage, once the hot struct has arrived: the tail's header, and where the next sample goes. */
static inline void head_tail_prefetch(const struct head_series *s)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    /* Of a series without samples this is some address near 0, which a prefetch may name. */
    uintptr_t tail = (uintptr_t)head_word_tail(word);
    __builtin_prefetch((const void *)tail, 1);
    size_t tokens = sizeof(struct head_tail) + HEAD_STREAM_TOKENS * sizeof(uint64_t);
    __builtin_prefetch((const void *)(tail + tokens + head_word_used(word)), 1);
}

/* The word with one more sample, which is not one more of the open run, in the stream of the series or in a
 * larger copy of it: then the caller says so, once the new word is published. The newest value is set.
 * 0: it would be too large, or there is no memory (*out_failed). (tail.c) */
uint64_t head_stream_put(struct head_series *s, uint32_t ahead_ms, uint64_t bits,
                         struct value_packed packed, bool *out_failed);
void head_stream_grown(struct head_front *f, uint32_t local, struct head_tail *from,
                       const struct head_tail *to);

/* Append a plain float that is newer than all and of the open chunk; false: take head_append. Counts
 * nothing. *out: packed against the newest before it. */
static inline bool head_append_fast(struct head_front *f, struct head_series *s, uint32_t local,
                                    int64_t t_ms, uint64_t bits, struct value_packed *out)
{
    /* One comparison for "newer" and "of the same window": what is not newer wraps to a large
     * number. window_left_ms never reaches beyond INT64_MAX, so a sum cannot wrap. */
    uint64_t ahead = (uint64_t)t_ms - (uint64_t)head_last_ms(s);
    if (TSDB_UNLIKELY(ahead - 1 >= s->window_left_ms || !s->stream)) {
        return false;
    }
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed); /* own store */
    if (TSDB_UNLIKELY(head_word_count(word) >= f->chunk_samples)) {
        return false;
    }
    struct head_tail *t = head_word_tail(word);
    uint64_t next = word + HEAD_TAIL_COUNT_ONE;
    uint64_t base_bits = head_last_bits(s);
    *out = (struct value_packed){0, VALUE_PACK_SAME, 0};
    if (bits != base_bits) {
        *out = value_pack(bits, true, base_bits);
    }
    head_change_begin(s);
    if (ahead == t->pace_ms && bits == base_bits) {
        t->run++; /* of at most TSDB_HEAD_CHUNK_SAMPLES_MAX samples */
    } else {
        bool failed = false; /* head_append will find the same */
        next = head_stream_put(s, (uint32_t)ahead, bits, *out, &failed);
        if (TSDB_UNLIKELY(next == 0)) {
            head_change_end(s);
            return false;
        }
    }
    head_last_ms_set(s, t_ms);
    /* Release: partner is the load of tail in head/read.c. */
    atomic_store_explicit(&s->tail, next, memory_order_release);
    head_change_end(s);
    s->window_left_ms -= (uint32_t)ahead;
    if (TSDB_UNLIKELY(head_word_tail(next) != t)) {
        head_stream_grown(f, local, t, head_word_tail(next));
    }
    return true;
}

/* A counter with one writer needs no locked instruction. */
static inline void head_count(_Atomic(uint64_t) *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void head_count_times(struct head_counters *c, int64_t min_ms, int64_t max_ms)
{
    if (min_ms < atomic_load_explicit(&c->min_time_ms, memory_order_relaxed)) {
        atomic_store_explicit(&c->min_time_ms, min_ms, memory_order_relaxed);
    }
    if (max_ms > atomic_load_explicit(&c->max_time_ms, memory_order_relaxed)) {
        atomic_store_explicit(&c->max_time_ms, max_ms, memory_order_relaxed);
    }
}

#endif
