/* The owner's way into a head, inlined: what an append of a plain, newer float touches.
 *
 *   directory ─ slab[local >> 12] ─ struct head_series, one cache line
 *                                     ├─ tail     newest samples, in order; replaced by a larger
 *                                     │           one as it fills
 *                                     ├─ ooo      samples that came late, unsorted; NULL for
 *                                     │           nearly every series
 *                                     └─ chunks   list of head_sealed: tails as they were, or
 *                                                 where they are in a head file
 *
 *   tail   pointer | count << 48 ──▶ head_tail: t_ms[cap] | value[cap] | start_ms[cap], if any
 *
 * For tsdb/head and the owner's batch (engine/apply.c) only: everybody else goes through head.h.
 * Threads: the owner; readers follow invariants 2 and 3 of head.h.
 */
#ifndef TSDB_HEAD_OWNER_PATH_H
#define TSDB_HEAD_OWNER_PATH_H

#include "base/assert.h"
#include "tsdb/head/head.h"

#include <stdatomic.h>

/* 4096 series, 256 KiB: large enough that the directory stays small. */
#define HEAD_SLAB_SHIFT  12u
#define HEAD_SLAB_SERIES (1u << HEAD_SLAB_SHIFT)
#define HEAD_EPOCH_NONE  UINT64_MAX /* nothing of the series was logged yet */

/* A block of samples in columns. Its data is written before its count is published and never
 * changes afterwards; all else is immutable after creation. Capacities fill jemalloc's size
 * classes: 16 + 16 * 4 = 80, 160, 320, 640, 1280, and a full one. */
struct head_tail {
    /* Late and sealed blocks. That of the open tail stands in the hot struct, so that an append
     * does not touch this cache line; it comes here when the tail is sealed. */
    _Atomic(uint32_t) count;
    uint16_t cap;
    uint8_t kind;  /* enum tsdb_sample_kind */
    uint8_t flags; /* HEAD_TAIL_* */
    /* Of an out-of-order buffer, and of the sorted chunk made of it: how readers tell that they are
     * the same. */
    uint32_t seq;
    uint32_t reserved;
    uint64_t data[]; /* t_ms[cap], value[cap], and start_ms[cap] with HEAD_TAIL_STARTS */
};
#define HEAD_TAIL_STARTS 1u
#define HEAD_TAIL_LATE   2u /* an out-of-order buffer or chunk */
#define HEAD_TAIL_SORTED 4u

struct head_list;

/* Zones: tail, ooo, chunks are published by the owner (release) to readers (acquire); the rest is
 * the owner's. */
struct head_series {
    /* Pointer to the open tail in the low 48 bits (user space ends there), its count above: one
     * store publishes a sample or a new tail. 0: no tail yet. */
    _Alignas(TSDB_CACHELINE) _Atomic(uint64_t) tail;
    _Atomic(struct head_tail *) ooo;
    _Atomic(struct head_list *) chunks;
    int64_t last_t_ms; /* newest sample; only with HEAD_SERIES_HAS_SAMPLES */
    uint64_t wal_bits; /* last float logged, in wal_epoch */
    uint64_t wal_epoch;
    uint32_t generation;
    uint32_t ooo_seq;
    uint8_t fast_left; /* plain floats that the tail takes without a look at its header */
    uint8_t tail_cap;
    uint8_t flags; /* HEAD_SERIES_* */
    uint8_t reserved;
    uint32_t window_left_ms; /* from last_t_ms to the end of its window, or less */
};
#define HEAD_TAIL_COUNT_SHIFT     48u
#define HEAD_TAIL_COUNT_ONE       (UINT64_C(1) << HEAD_TAIL_COUNT_SHIFT)
#define HEAD_SERIES_HAS_SAMPLES   1u
#define HEAD_SERIES_LABELS_LOGGED 2u
#define HEAD_SERIES_HOLE          4u
/* Chunks were loaded: samples may share a time, the first counts. */
#define HEAD_SERIES_FROM_FILES 8u
/* Left out of the index that is being made; a sender that asks for it by its labels keeps it. */
#define HEAD_SERIES_LEAVING 16u
#define HEAD_SLAB_BYTES       (HEAD_SLAB_SERIES * sizeof(struct head_series))
static_assert(sizeof(struct head_series) == 64, "one cache line a series");
static_assert(TSDB_CHUNK_SAMPLES <= UINT8_MAX, "tail_cap and fast_left are bytes");

/* A slab whose series have all left is head_slab_gone: all zero, never written. Relaxed: a series is
 * published with its index, and of a slab that is gone nothing is read but zeros. */
struct head_directory {
    uint32_t cap;
    _Atomic(struct head_series *) slabs[];
};
extern struct head_series head_slab_gone[HEAD_SLAB_SERIES];
static inline struct head_series *head_directory_slab(struct head_directory *d, uint32_t slab)
{
    return atomic_load_explicit(&d->slabs[slab], memory_order_relaxed);
}

/* What the fast path needs of a partition: its front part. */
struct head_front {
    _Atomic(struct head_directory *) directory; /* grows; published by the index's series count */
    uint32_t series_count;                      /* owner; ids given out */
    _Alignas(TSDB_CACHELINE) struct head_counters counters;
};
struct head_front *head_front(struct head_partition *p);

/* A series' hot struct; local < series count. Owner, or a reader that learned of the series from
 * the index or an alias. */
static inline struct head_series *head_front_series(const struct head_front *f, uint32_t local)
{
    /* Acquire: partner is the release when the directory grows. */
    struct head_directory *d = atomic_load_explicit(&f->directory, memory_order_acquire);
    return &head_directory_slab(d, local >> HEAD_SLAB_SHIFT)[local & (HEAD_SLAB_SERIES - 1)];
}

static inline struct head_tail *head_word_tail(uint64_t word)
{
    return (struct head_tail *)(uintptr_t)(word & (HEAD_TAIL_COUNT_ONE - 1));
}
static inline uint32_t head_word_count(uint64_t word)
{
    return (uint32_t)(word >> HEAD_TAIL_COUNT_SHIFT);
}

static inline void head_hot_prefetch(const struct head_series *s)
{
    __builtin_prefetch(s, 1);
}
/* Second stage, once the hot struct has arrived: where the next sample goes. */
static inline void head_tail_prefetch(const struct head_series *s)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    /* Of a series without samples this is some address near 0, which a prefetch may name. */
    uintptr_t next = (uintptr_t)head_word_tail(word) + sizeof(struct head_tail) +
                     head_word_count(word) * sizeof(uint64_t);
    __builtin_prefetch((const void *)next, 1);
    __builtin_prefetch((const void *)(next + s->tail_cap * sizeof(uint64_t)), 1);
}

/* Append a plain float that is newer than all and finds room; false: take head_append. Counts
 * nothing. */
static inline bool head_append_fast(struct head_series *s, int64_t t_ms, uint64_t bits)
{
    /* One comparison for "newer" and "of the same window": what is not newer wraps to a large
     * number. window_left_ms never reaches beyond INT64_MAX, so a sum cannot wrap. */
    uint64_t ahead = (uint64_t)t_ms - (uint64_t)s->last_t_ms;
    if (TSDB_UNLIKELY(ahead - 1 >= s->window_left_ms || s->fast_left == 0)) {
        return false;
    }
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed); /* own store */
    struct head_tail *t = head_word_tail(word);
    uint32_t n = head_word_count(word);
    TSDB_DASSERT(t && n + s->fast_left == s->tail_cap);
    t->data[n] = (uint64_t)t_ms;
    t->data[s->tail_cap + n] = bits;
    /* Release: partner is the load of tail in head/read.c. */
    atomic_store_explicit(&s->tail, word + HEAD_TAIL_COUNT_ONE, memory_order_release);
    s->fast_left--;
    s->last_t_ms = t_ms;
    s->window_left_ms -= (uint32_t)ahead;
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
