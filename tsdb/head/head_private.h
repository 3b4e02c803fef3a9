/* What the files of tsdb/head share beside owner_path.h (which draws a series), and their tests.
 *
 *   series.c    partition and series: create, find, destroy
 *   leave.c     series that leave: idle ones, the index of the others, slabs
 *   tail.c      blocks of samples; the open tail: begin, grow, seal
 *   bundle.c    streams of neighbouring series, sealed together
 *   late.c      out-of-order buffers: append, seal, split by window
 *   late_set.c  which late samples are in memory
 *   append.c    a sample: newer, late, there already
 *   load.c      recovery: chunks from files
 *   sealed.c    lists of sealed chunks, to the sealer and back, sweep and drop
 *   windows.c   counts per window
 *   exemplar.c  the store of exemplars
 *   read.c      what a reader sees
 *   validate.c  the whole-structure check
 *   files.c     head files
 */
#ifndef TSDB_HEAD_HEAD_PRIVATE_H
#define TSDB_HEAD_HEAD_PRIVATE_H

#include "base/hash.h"
#include "base/mutex.h"
#include "tsdb/head/head.h"
#include "tsdb/head/owner_path.h"
#include "tsdb/head/sealed.h"

#define HEAD_CATEGORY TSDB_MEM_HEAD

struct head_list {
    _Atomic(uint32_t) count;
    uint32_t cap;
    _Atomic(struct head_sealed *) items[]; /* replaced in place when a chunk has reached a file */
};

/* Exemplars of all partitions that share the store: a ring, the oldest is overwritten, whosever it
 * is. An exemplar has a number, counted from 0; number n is in slot n % cap while it is one of the
 * last `count`.
 *
 *   heads: series -> its newest      slot.older: the one before of that series, if still there
 *   first, last of a partition       slot.next:  the one after of that partition
 */
struct head_exemplar_slot {
    tsdb_series_ref series;
    uint32_t label_bytes;
    uint8_t *labels; /* as tsdb_labels_encode writes them, owned */
    uint64_t bits;
    int64_t t_ms;
    uint64_t older, next; /* numbers */
};
struct head_exemplar_head {
    uint64_t newest;
    tsdb_series_ref series; /* TSDB_SERIES_NEW: free */
};
struct head_exemplar_store {
    struct tsdb_mutex lock; /* rank TSDB_METADATA; guards the rest */
    uint32_t cap;           /* immutable; 0: none is kept */
    /* allocated with the first exemplar */
    struct head_exemplar_slot *slots TSDB_GUARDED;
    struct head_exemplar_head *heads TSDB_GUARDED; /* open addressing, head_mask + 1 places */
    uint32_t head_mask TSDB_GUARDED;
    uint32_t count TSDB_GUARDED;
    uint64_t end TSDB_GUARDED; /* number of the next one */
    uint64_t first[TSDB_PARTITIONS] TSDB_GUARDED, last[TSDB_PARTITIONS] TSDB_GUARDED;
    uint32_t partition_count[TSDB_PARTITIONS] TSDB_GUARDED;
};

/* How much of a partition lies in which window: one for every tail, out-of-order sample and sealed
 * chunk that no block has. Open addressing by the window's begin; a count of 0 keeps its place
 * until the table grows. */
struct head_window {
    int64_t begin_ms;
    uint32_t count;
    bool used;
    bool fresh; /* more came since head_windows_overdue looked, */
    bool quiet; /* and neither between its last two looks nor since */
};
struct head_windows {
    int64_t range_ms, most_ms; /* the shortest and the longest; immutable after configure */
    /* What ends before is old. Relaxed: it rises under the lock, and what lay in one window before
     * still does after. */
    _Atomic(int64_t) old_before_ms;
    struct tsdb_mutex lock; /* rank TSDB_WINDOWS; the owner, the flusher; guards the rest */
    struct head_window *items TSDB_GUARDED;
    uint32_t cap TSDB_GUARDED, used TSDB_GUARDED;
};

/* The late samples of a partition that are in memory, by series and time: open addressing. The
 * owner's. A histogram belongs to the block of samples that it lies in. */
struct head_late_entry {
    int64_t t_ms;
    uint64_t value;
    uint32_t local;
    uint8_t kind;
    bool used;
};
struct head_late_set {
    struct tsdb_hash_key key;
    struct head_late_entry *items;
    uint32_t cap, used;
};

/* Series on their way out (leave.c): the index of those that stay is made slice by slice. */
struct head_leaving {
    struct index_mem *next;    /* being made; NULL: none is */
    struct index_mem *retired; /* those that were replaced and may still be read */
    uint32_t idle;             /* found by the last count */
    bool failed;               /* no memory, or one that was left out is wanted again */
    int64_t begin_ns;
    int64_t end_ns, cost_ns; /* of the last time */
};

struct head_partition {
    struct head_front front;
    uint32_t id; /* immutable, as is epoch */
    struct tsdb_epoch *epoch;
    _Atomic(struct index_mem *) index; /* replaced by the owner (leave.c) */
    struct head_leaving leaving;       /* owner */
    struct tsdb_epoch_limbo limbo;     /* owner */
    uint64_t open_bytes; /* immutable: what bundles share; 0: bundle_bytes stays as it is */
    bool seal;           /* immutable after configure */
    _Atomic(struct head_raw_chunk *) seal_queue; /* raw chunks, newest first: owner to sealer */
    _Atomic(uint32_t) raw_pending;
    struct head_windows windows;
    struct head_late_set late;             /* owner */
    struct head_exemplar_store *exemplars; /* own_exemplars, or one that partitions share */
    struct head_exemplar_store *own_exemplars;
};

/* The owner's view of the index. */
static inline struct index_mem *head_own_index(const struct head_partition *p)
{
    return atomic_load_explicit(&p->index, memory_order_relaxed); /* own store */
}
/* The first id from `local` on whose slab is there; may be the series count. */
uint32_t head_there(const struct head_partition *p, uint32_t local);

static inline struct head_series *head_hot(const struct head_partition *p, uint32_t local)
{
    return head_front_series(&p->front, local);
}

static inline struct head_bundle *head_bundle(const struct head_partition *p, uint32_t local)
{
    return head_front_bundle(&p->front, local);
}
static inline uint32_t head_bundle_first(uint32_t local)
{
    return local & ~(BUNDLE_SERIES - 1);
}
/* Of a series that has one: else NULL. A reader, or the owner. */
static inline struct head_side *head_side(const struct head_partition *p, uint32_t local)
{
    /* Acquire, both: partners are the releases of head_side_ensure. */
    struct head_sides *sides =
        atomic_load_explicit(&head_bundle(p, local)->sides, memory_order_acquire);
    return sides ? atomic_load_explicit(&sides->of[head_bundle_bit(local)], memory_order_acquire)
                 : NULL;
}
/* NULL: no memory. */
struct head_side *head_side_ensure(struct head_partition *p, uint32_t local);
/* The owner's view of what it has. */
static inline struct head_tail *head_own_late(const struct head_partition *p, uint32_t local)
{
    struct head_side *side = head_side(p, local);
    return side ? atomic_load_explicit(&side->ooo, memory_order_relaxed) : NULL;
}
static inline struct head_list *head_own_list(const struct head_partition *p, uint32_t local)
{
    struct head_side *side = head_side(p, local);
    return side ? atomic_load_explicit(&side->chunks, memory_order_relaxed) : NULL;
}

/* ---- blocks of samples (tail.c) ---- */

/* A row of a block. */
struct head_row {
    int64_t t_ms;
    uint64_t value; /* float bits, or a pointer to a histogram that the block will own */
    int64_t start_ms;
};

static inline bool head_tail_is_stream(const struct head_tail *t)
{
    return (t->flags & HEAD_TAIL_STREAM) != 0;
}
/* Columns; but the first time of a stream stands there as well. */
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
static inline uint32_t head_tail_count(const struct head_tail *t)
{
    return atomic_load_explicit(&t->count, memory_order_relaxed); /* own store, or published */
}
static inline void head_tail_count_set(struct head_tail *t, uint32_t n)
{
    TSDB_ASSERT(head_tail_is_stream(t) || n <= t->cap);
    atomic_store_explicit(&t->count, n, memory_order_relaxed); /* published otherwise */
}
static inline bool head_tail_has_form(const struct head_tail *t, enum tsdb_sample_kind kind,
                                      uint32_t starts)
{
    return t->kind == kind && (t->flags & HEAD_TAIL_STARTS) == starts;
}

static inline int64_t head_tail_first_ms(struct head_tail *t)
{
    return head_tail_t(t)[0];
}
static_assert(HEAD_STREAM_FIRST_T == 0, "both forms begin with their first time");
/* Bytes of the block. */
size_t head_tail_size(const struct head_tail *t);
static inline const uint8_t *head_stream_tokens(const struct head_tail *t)
{
    return (const uint8_t *)(t->data + HEAD_STREAM_TOKENS);
}
/* The samples of a stream in columns: the first `count`, `used` bytes of tokens, of the word that
 * published them, or of the sealed chunk. t_ms[count], value[count]. */
void head_stream_decode(const struct head_tail *t, uint32_t count, uint32_t used, int64_t *t_ms,
                        uint64_t *value);
/* A stream as it is to be decoded: as above. */
static inline struct head_stream head_stream_of(const struct head_tail *t, uint32_t count,
                                                uint32_t used)
{
    TSDB_ASSERT(head_tail_is_stream(t) && count <= TSDB_HEAD_CHUNK_SAMPLES_MAX);
    return (struct head_stream){head_stream_tokens(t), used, count,
                                (int64_t)t->data[HEAD_STREAM_FIRST_T],
                                t->data[HEAD_STREAM_FIRST_VALUE]};
}
#define HEAD_TAIL_CAP_FIRST 4u
struct head_tail *head_tail_create(uint32_t cap, enum tsdb_sample_kind kind, uint32_t flags);
/* Free a block of samples: at once (no reader ever saw it), or when no reader can hold it. NULL is
 * fine. */
void head_tail_release(struct head_partition *p, struct head_tail *t, bool with_values,
                       bool at_once);
/* The n-th row; the caller publishes it. There is room. */
void head_tail_put(struct head_tail *t, uint32_t n, const struct head_row *row);
void head_tail_copy_row(struct head_tail *to, uint32_t to_at, struct head_tail *from, uint32_t at);
/* A larger copy of the first n samples, or NULL. */
struct head_tail *head_tail_grow(struct head_tail *t, uint32_t n);
/* Position of t_ms among the first n of a block, or UINT32_MAX. */
uint32_t head_tail_find(struct head_tail *t, uint32_t n, int64_t t_ms);

/* A raw histogram: header and bytes in one allocation, owned by the block that it is put in. */
static inline struct tsdb_raw_histogram *head_raw_of(uint64_t value)
{
    return (struct tsdb_raw_histogram *)(uintptr_t)value;
}
struct tsdb_raw_histogram *head_raw_copy(const struct tsdb_raw_histogram *h); /* NULL: no memory */
void head_raw_free(struct tsdb_raw_histogram *h);                             /* NULL is fine */

/* ---- the open tail, the open out-of-order buffer (tail.c, late.c): the owner ---- */

/* False: no memory, nothing has changed. */
bool head_append_in_order(struct head_partition *p, struct head_series *s, uint32_t local,
                          enum tsdb_sample_kind kind, const struct head_row *row);
bool head_append_late(struct head_partition *p, struct head_series *s, uint32_t local,
                      enum tsdb_sample_kind kind, const struct head_row *row);
/* Seal what is open; true if there is nothing open any more. */
bool head_series_seal_tail(struct head_partition *p, struct head_series *s, uint32_t local);
bool head_series_seal_late(struct head_partition *p, struct head_series *s, uint32_t local);
/* A chunk for each window of a sorted block in columns, each with memory of its own; the block keeps
 * its own. Histograms are then the parts', of which there may be one a sample. 0: no memory. */
uint32_t head_late_split(struct head_partition *p, uint32_t local, struct head_tail *sorted,
                         struct head_sealed **parts);
void head_parts_discard(struct head_partition *p, struct head_sealed **parts, uint32_t n);

/* ---- late samples in memory (late_set.c): the owner ---- */

void head_late_set_init(struct head_late_set *s);
void head_late_set_deinit(struct head_late_set *s);
/* NULL: there is none. Valid until the set changes. */
const struct head_late_entry *head_late_set_find(const struct head_late_set *s, uint32_t local,
                                                 int64_t t_ms);
/* One that is there stays. False: no memory, nothing has changed. */
bool head_late_set_add(struct head_late_set *s, uint32_t local, uint8_t kind,
                       const struct head_row *x);
void head_late_set_remove(struct head_late_set *s, uint32_t local, int64_t t_ms);
/* The samples of a late block leave memory, or are in no list any more. */
void head_late_set_leave(struct head_late_set *s, uint32_t local, struct head_tail *t);

/* ---- lists of sealed chunks (sealed.c): the owner ---- */

static inline uint32_t head_list_count(const struct head_list *l)
{
    return l ? atomic_load_explicit(&l->count, memory_order_relaxed) : 0; /* own store */
}
static inline struct head_sealed *head_list_at(struct head_list *l, uint32_t i)
{
    /* Acquire: partner is the owner's release when it swaps a chunk. */
    return atomic_load_explicit(&l->items[i], memory_order_acquire);
}
/* A raw chunk (its front part) of the samples of `tail` (columns, sorted, not empty, of one window), not yet
 * in any list. */
struct head_sealed *head_sealed_create(struct head_partition *p, uint32_t local,
                                       struct head_tail *tail, uint32_t count);
/* A list with room for `more`: the one that `slot` has, or a larger copy (*out_copied). NULL: no memory. */
struct head_list *head_list_ensure(_Atomic(struct head_list *) *slot, uint32_t more,
                                   bool *out_copied);
/* The same of a series' own. */
struct head_list *head_series_list_ensure(struct head_partition *p, uint32_t local, uint32_t more,
                                          bool *out_copied);
void head_list_discard(struct head_list *l); /* a larger copy that was not published */
/* Publish chunks at the end of `list`, which head_list_ensure gave, and queue raw ones for the
 * sealer. */
void head_list_publish(struct head_partition *p, _Atomic(struct head_list *) *slot,
                       struct head_list *list, bool copied, struct head_sealed *const *chunks,
                       uint32_t n);
void head_list_destroy(struct head_partition *p, struct head_list *l);
/* The in-order chunk in memory in whose bounds t_ms lies, or NULL. */
struct head_sealed *head_list_find_ordered(struct head_list *l, int64_t t_ms);
/* Take away a list that has no chunks. */
void head_list_drop(struct head_partition *p, _Atomic(struct head_list *) *slot);
/* What a raw chunk that is in no list has, and itself: at once. */
void head_raw_destroy(struct head_partition *p, struct head_raw_chunk *raw);

/* ---- bundles (bundle.c): the owner ---- */

/* Masks over the bundle of `local`: all its open streams; those of the window in which that of `local`
 * lies; those of windows that begin before before_ms. */
uint64_t head_bundle_open(const struct head_partition *p, uint32_t local);
uint64_t head_bundle_beside(const struct head_partition *p, uint32_t local);
uint64_t head_bundle_before(const struct head_partition *p, uint32_t local, int64_t before_ms);
/* Seal the open streams of a mask, as one chunk for each window. False: no memory, some are still
 * open. Returns in *out_chunks (may be NULL) how many chunks. */
bool head_bundle_seal(struct head_partition *p, uint32_t local, uint64_t mask,
                      uint64_t *out_chunks);
/* Seal them all if they have reached the partition's budget; if there is no memory, later. */
void head_bundle_settle(struct head_partition *p, uint32_t local);
/* The stream of the series among those that wait for the sealer in whose bounds t_ms lies, or NULL. */
const struct head_raw_stream *head_bundle_find(const struct head_partition *p, uint32_t local,
                                               int64_t t_ms);
/* How far a stream may reach beyond its first time, so that times of a bundle fit 32 bits. */
#define HEAD_STREAM_SPAN_MAX ((uint64_t)INT32_MAX)

/* ---- what a reader saw of a series (read.c): invariant 3 of head.h ---- */

struct head_snapshot {
    struct head_tail *tail, *ooo; /* NULL: none, or found among the chunks */
    uint32_t tail_count, tail_used, ooo_count;
    int64_t last_ms;           /* no sample of the tail is newer */
    struct head_list *list;    /* the series' own */
    struct head_list *bundles; /* not all of them have it */
    uint32_t list_count, bundle_count;
};
void head_snapshot_take(const struct head_partition *p, uint32_t local, struct head_snapshot *sn);

/* ---- windows.c: any thread ---- */

void head_windows_init(struct head_windows *w);
void head_windows_deinit(struct head_windows *w);
/* n more in the window of t_ms. NOMEM changes nothing. */
enum tsdb_status head_windows_add(struct head_windows *w, int64_t t_ms, uint32_t n) TSDB_WUR;
void head_windows_sub(struct head_windows *w, int64_t t_ms, uint32_t n);
/* The window of a sample gets one more, one less, of what keeps it from being empty. */
static inline bool head_window_count(struct head_partition *p, int64_t t_ms)
{
    return head_windows_add(&p->windows, t_ms, 1) == TSDB_OK;
}
static inline void head_window_uncount(struct head_partition *p, int64_t t_ms)
{
    head_windows_sub(&p->windows, t_ms, 1);
}

#endif
