/* How a partition's head lies in memory: shared by head*.c, owner.c (which inlines the fast append)
 * and tests.
 *
 *   directory ─ slab[local >> 12] ─ struct head_series, one cache line
 *                                     ├─ tail     newest samples, in order; replaced by a larger
 * one as it fills ├─ ooo      samples that came late, unsorted; NULL for nearly every series └─
 * chunks   list of head_sealed: tails as they were, or where they are in a head file
 */
#ifndef TSDB_HEAD_HEAD_PRIVATE_H
#define TSDB_HEAD_HEAD_PRIVATE_H

#include "base/mutex.h"
#include "tsdb/head/head.h"
#include "tsdb/head/sealed.h"

#include <stdatomic.h>

#define HEAD_SLAB_SHIFT                                                                            \
    12u /* 4096 series, 256 KiB: large enough that the directory stays small                       \
         */
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
    uint32_t seq; /* of an out-of-order buffer, and of the sorted chunk made of it: how readers tell
                     that they are the same */
    uint32_t reserved;
    uint64_t data[]; /* t_ms[cap], value[cap], and start_ms[cap] with HEAD_TAIL_STARTS */
};
#define HEAD_TAIL_STARTS 1u
#define HEAD_TAIL_LATE   2u /* an out-of-order buffer or chunk */
#define HEAD_TAIL_SORTED 4u

struct head_list {
    _Atomic(uint32_t) count;
    uint32_t cap;
    _Atomic(struct head_sealed *) items[]; /* replaced in place when a chunk has reached a file */
};

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
#define HEAD_SERIES_FROM_FILES                                                                     \
    8u /* chunks were loaded: samples may share a time, the first counts */
static_assert(sizeof(struct head_series) == 64, "one cache line a series");
static_assert(TSDB_CHUNK_SAMPLES <= UINT8_MAX, "tail_cap and fast_left are bytes");

struct head_directory {
    uint32_t cap;
    struct head_series *slabs[];
};

/* Exemplars of a partition: a ring, the oldest is overwritten. */
struct head_exemplar_slot {
    uint32_t local;
    uint32_t label_bytes;
    uint8_t *labels; /* as tsdb_labels_encode writes them, owned */
    uint64_t bits;
    int64_t t_ms;
};
struct head_exemplar_ring {
    struct tsdb_mutex lock;                        /* rank TSDB_METADATA; guards the rest */
    struct head_exemplar_slot *slots TSDB_GUARDED; /* allocated with the first exemplar */
    uint32_t cap;                                  /* immutable */
    uint32_t begin TSDB_GUARDED, count TSDB_GUARDED;
};

/* How much of a partition lies in which window: one for every tail, out-of-order sample and sealed
 * chunk that no block has. Open addressing by the window's begin; a count of 0 keeps its place
 * until the table grows. */
struct head_window {
    int64_t begin_ms;
    uint32_t count;
    bool used;
};
struct head_windows {
    struct tsdb_mutex lock; /* rank TSDB_WINDOWS; the owner, the flusher; guards the rest */
    struct head_window *items TSDB_GUARDED;
    uint32_t cap TSDB_GUARDED, used TSDB_GUARDED;
};

struct head_partition {
    _Atomic(struct head_directory *) directory; /* grows; published by the index's series count */
    uint32_t series_count;                      /* owner */
    uint32_t id;                                /* immutable, as are epoch and index */
    struct tsdb_epoch *epoch;
    struct index_mem *index;
    struct tsdb_epoch_limbo limbo; /* owner */
    _Atomic(uint32_t) holes;
    int64_t range_ms; /* immutable after configure, as is seal */
    bool seal;
    _Atomic(struct head_sealed *) seal_queue; /* raw chunks, newest first: owner to sealer */
    _Atomic(uint32_t) raw_pending;
    struct head_windows windows;
    _Alignas(TSDB_CACHELINE) struct head_counters counters;
    struct head_exemplar_ring exemplars;
};

static inline int64_t *head_tail_t(struct head_tail *t)
{
    return (int64_t *)t->data;
}
static inline uint64_t *head_tail_value(struct head_tail *t)
{
    return t->data + t->cap;
}
static inline int64_t *head_tail_start(struct head_tail *t)
{
    return (int64_t *)(t->data + 2u * t->cap);
}
static inline size_t head_tail_bytes(uint32_t cap, uint32_t flags)
{
    return sizeof(struct head_tail) + cap * ((flags & HEAD_TAIL_STARTS) ? 24u : 16u);
}

static inline struct head_tail *head_word_tail(uint64_t word)
{
    return (struct head_tail *)(uintptr_t)(word & (HEAD_TAIL_COUNT_ONE - 1));
}
static inline uint32_t head_word_count(uint64_t word)
{
    return (uint32_t)(word >> HEAD_TAIL_COUNT_SHIFT);
}

/* A series' hot struct; local < series count. Owner, or a reader that learned of the series from
 * the index or an alias. */
static inline struct head_series *head_hot(const struct head_partition *p, uint32_t local)
{
    /* Acquire: partner is the release when the directory grows. */
    struct head_directory *d = atomic_load_explicit(&p->directory, memory_order_acquire);
    return &d->slabs[local >> HEAD_SLAB_SHIFT][local & (HEAD_SLAB_SERIES - 1)];
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
    t->data[n] = (uint64_t)t_ms;
    t->data[s->tail_cap + n] = bits;
    /* Release: partner is the load of tail in head_read.c. */
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

/* head_windows.c. Any thread. */
void head_windows_init(struct head_windows *w);
void head_windows_deinit(struct head_windows *w);
/* n more in the window. NOMEM changes nothing. */
enum tsdb_status head_windows_add(struct head_windows *w, int64_t begin_ms, uint32_t n) TSDB_WUR;
void head_windows_sub(struct head_windows *w, int64_t begin_ms, uint32_t n);

/* head.c */
/* Free a block of samples: at once (no reader ever saw it), or when no reader can hold it. */
void head_tail_release(struct head_partition *p, struct head_tail *t, bool with_values,
                       bool at_once);
struct head_tail *head_tail_create(uint32_t cap, enum tsdb_sample_kind kind, uint32_t flags);
void head_tail_copy_row(struct head_tail *to, uint32_t to_at, struct head_tail *from, uint32_t at);
static inline uint32_t head_tail_count(const struct head_tail *t)
{
    return atomic_load_explicit(&t->count, memory_order_relaxed); /* own store, or published */
}
static inline void head_tail_count_set(struct head_tail *t, uint32_t n)
{
    atomic_store_explicit(&t->count, n, memory_order_relaxed); /* published otherwise */
}
static inline struct head_sealed *head_list_at(struct head_list *l, uint32_t i)
{
    /* Acquire: partner is the owner's release when it swaps a chunk. */
    return atomic_load_explicit(&l->items[i], memory_order_acquire);
}

/* head_sealed.c: the owner, but for what says otherwise. */
/* A raw chunk of the samples of `tail` (sorted, not empty, of one window), not yet in any list. */
struct head_sealed *head_sealed_create(struct head_partition *p, uint32_t local,
                                       struct head_tail *tail, uint32_t count);
void head_sealed_discard(struct head_sealed *s); /* never published; leaves the tail alone */
/* A list with room for `more`: the series' own, or a larger copy (*out_copied). */
struct head_list *head_list_ensure(struct head_series *s, uint32_t more, bool *out_copied);
/* Publish chunks at the end of `list`, which head_list_ensure gave, and queue raw ones for the
 * sealer. */
void head_list_publish(struct head_partition *p, struct head_series *s, struct head_list *list,
                       bool copied, struct head_sealed *const *chunks, uint32_t n);
void head_list_destroy(struct head_partition *p, struct head_list *l);
void head_list_discard(struct head_list *l); /* a larger copy that was not published */
/* The sealer: take all that is queued, oldest first. Any one thread. */
struct head_sealed *head_seal_queue_take(struct head_partition *p);
/* Give a chunk back that was taken and not sealed: the owner of the process' last steps. */
void head_seal_queue_push(struct head_partition *p, struct head_sealed *s);
/* Swap item in for item->raw (the mailbox). */
void head_sealed_swap(struct head_partition *p, struct head_sealed *item);
/* Recovery: a chunk that lies in a file, behind what the series has already. Acquires the file. */
enum tsdb_status head_sealed_load(struct head_partition *p,
                                  const struct head_sealed *chunk) TSDB_WUR;
/* Recovery: samples of a chunk (at most TSDB_CHUNK_SAMPLES) that lies in several windows of today's
 * range, as raw chunks in its place of the list; copies. NOMEM ends recovery. */
enum tsdb_status head_sealed_load_split(struct head_partition *p, uint32_t local, bool late,
                                        const struct chunk_samples *c) TSDB_WUR;
/* Chunks up to max_ms have been loaded. A later sample that is not newer goes to the out-of-order
 * buffer, and so behind them in the order of writing. */
static inline void head_series_reached(struct head_series *s, int64_t max_ms)
{
    if (!(s->flags & HEAD_SERIES_HAS_SAMPLES) || s->last_t_ms < max_ms) {
        s->last_t_ms = max_ms;
        s->window_left_ms = 0;
    }
    s->flags |= HEAD_SERIES_HAS_SAMPLES | HEAD_SERIES_FROM_FILES;
}
/* head.c: seal the open tail, the open out-of-order buffer; true if there is none any more. */
bool head_series_seal_tail(struct head_partition *p, struct head_series *s, uint32_t local);
bool head_series_seal_late(struct head_partition *p, struct head_series *s, uint32_t local);

/* head_exemplar.c */
void head_exemplar_ring_init(struct head_exemplar_ring *r, uint32_t cap);
void head_exemplar_ring_deinit(struct head_exemplar_ring *r);

#endif
