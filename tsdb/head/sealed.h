/* Sealed chunks of the head: first raw in memory, then encoded in a head file, then in a block.
 *
 *   tail full ─ owner seals ─▶ head_raw_chunk ─ sealer encodes, appends to head/NNNNNNNN
 *     ─▶ owner swaps in head_sealed {file} ─ flusher writes the window's block
 *     ─▶ flushed_in = view ─ sweep, when no older view is open ─▶ gone from the head
 *
 * Invariants:
 *  1. A sealed chunk lies in one window: tails are sealed when a sample crosses a boundary,
 *     out-of-order buffers are split when they are sealed. A window is block_range_ms long (floor
 *     division of time); what is old lies in the longest one of the ladder of ranges (three times as
 *     long each, as compaction has them) that is old as a whole. So windows only ever become parts
 *     of longer ones, and what lay in one still does.
 *  2. Only the owner changes a series' list of sealed chunks. The sealer and the flusher ask
 *     through the owner's mailbox and jobs.
 *  3. A head_sealed is immutable but for flushed_in; what is replaced or dropped goes to the
 *     partition's limbo list.
 *  4. A querier with view V reads the chunks with flushed_in == 0 or flushed_in > V, and the blocks
 *     of V: a sample is never in both, never in neither.
 *  5. A head file's chunks are durable (file synced, name synced) before a head_sealed refers to
 *     them: until the swap the samples stay in memory, so that a failed sync loses nothing. A head
 *     file is deleted when no chunk of the head and no checkpoint refers to it.
 *  6. The raw chunk that waits for the sealer is the sealer's to read and the owner's to free: the
 *     owner that drops it marks it as an orphan and frees it when the sealer gives it back.
 *  7. Plain floats in order, which are nearly all samples, are sealed by bundles of 64 series: one chunk
 *     for the streams of one window, in the list of the bundle. It is flushed when the samples of
 *     all its series are in blocks.
 *  8. Chunks of a series stand in its list in the order in which their samples were accepted where
 *     they share a time: the first one wins. Conflicts are refused against what is in memory only.
 */
#ifndef TSDB_HEAD_SEALED_H
#define TSDB_HEAD_SEALED_H

#include "base/assert.h"
#include "tsdb/chunk/bundle.h"
#include "tsdb/chunk/cache_l2.h"
#include "tsdb/chunk/chunk.h"
#include "tsdb/chunk/error_budget.h"
#include "tsdb/head/head.h"

struct head_tail;

/* head/NNNNNNNN: header, then chunks: u32 length | chunk bytes | u32 CRC-32C
 * (docs/format/head-chunks.md). Append-only, one writer (the sealer).
 *
 * References are counted: one per head_sealed that points in, one per reader that copied such a
 * reference, one while it is the sealer's current. A count of zero frees nothing: tsdb/head/files.h
 * closes and deletes, when no guard is open any more that may have found the file. */
struct head_file {
    _Atomic(uint64_t) refs;
    uint64_t number;
    uint32_t identity; /* random: of this file alone, as references have it */
    uint32_t mark;     /* of data directory and identity: what CRCs go on from */
    uint64_t cache_id; /* in the L2 cache */
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    struct cache_l2 *cache;           /* NULL: none */
    _Atomic(uint64_t) bytes;          /* durable */
    _Atomic(uint64_t) *read_failures; /* chunks that did not verify; a metric */
    _Atomic(bool) in_checkpoint;      /* the one that was loaded refers to it */
    struct error_budget budget;       /* the flusher's */
    _Atomic(bool) damaged;            /* of the flusher: a chunk was given up; it is not deleted */
    _Atomic(uint64_t) *damaged_files; /* how many are; a metric */
    struct head_file *next;           /* guarded by the list's lock, as are the two below */
    uint64_t not_in;                  /* when marked: this checkpoint and later ones lack it */
    uint32_t state;
};
/* Where samples of a series lie in a head file. */
struct head_place {
    uint64_t offset;
    uint32_t len;
    bool bundle;
    uint8_t partition; /* of a bundle, as local */
    uint32_t local;
};
void head_file_acquire(struct head_file *f);
void head_file_release(struct head_file *f);
/* Read, check and decode a chunk (through the L2 cache where the page is full); arrays from the
 * arena. Not under an epoch guard: it may read the disk. CORRUPT names file and offset. */
enum tsdb_status head_file_read(const struct head_file *f, const struct head_place *place,
                                struct tsdb_arena *arena, struct chunk_samples *out,
                                struct tsdb_error *err) TSDB_WUR;
/* A stream of a bundle, found, neither checked nor decoded: for who reads several at once. */
struct head_found {
    struct bundle_place place;
    struct bundle_stream stream;
    const uint8_t *tokens;     /* in the page, or in the arena */
    struct cache_l2_page page; /* pinned until it is released; data NULL: none */
};
/* place->bundle. As head_file_read, but the tokens are only on their way into the processor's cache, to be checked
 * (bundle_tokens_check). What was found is to be released. */
enum tsdb_status head_file_find(const struct head_file *f, const struct head_place *place,
                                struct tsdb_arena *arena, struct head_found *out,
                                struct tsdb_error *err) TSDB_WUR;
void head_file_found_release(const struct head_file *f, struct head_found *x);
/* Why what was found turned out not to be right: counted, with the name of file and offset. */
enum tsdb_status head_file_found_bad(const struct head_file *f, const struct head_place *place,
                                     enum tsdb_status status, struct tsdb_error *err);
/* The same past the cache: for who reads everything once. */
enum tsdb_status head_file_read_once(const struct head_file *f, const struct head_place *place,
                                     struct tsdb_arena *arena, struct chunk_samples *out,
                                     struct tsdb_error *err) TSDB_WUR;
/* A head file that is larger gets a successor: an offset is 32 bits, and what is appended at once is
 * far less than the other half. */
#define SEALED_FILE_BYTES_MAX (UINT64_C(1) << 31)
#define SEALED_GONE           UINT64_MAX /* flushed_in of a chunk that retention has dropped */

enum sealed_state {
    SEALED_IDLE = 0,
    SEALED_QUEUED, /* raw: the sealer has it, or will */
    SEALED_ORPHAN, /* raw: dropped by the owner while the sealer had it */
};
/* What stays of a chunk in memory once it is in a file, and so for hours: no field more than readers,
 * the flusher and checkpoints ask for. */
struct head_sealed {
    _Atomic(uint64_t) flushed_in; /* 0: not in a block */
    int64_t min_ms, max_ms;
    struct head_file
        *file;       /* holds a reference; NULL: raw, and the front part of a head_raw_chunk */
    uint32_t offset; /* of the length field; SEALED_FILE_BYTES_MAX bounds a file */
    uint32_t len;    /* of the chunk bytes */
    uint32_t seq;    /* late: number of the out-of-order buffer that it was; 0 after a restart */
    uint16_t count;  /* of all series, in a bundle */
    uint8_t kind;    /* enum tsdb_sample_kind */
    bool late;       /* from the out-of-order buffer: may overlap other chunks */
    uint64_t mask;   /* of a bundle: which of its series are in it; else 0 */
    uint64_t taken;  /* the flusher's, of a bundle: which of them are in blocks */
};
static_assert(sizeof(struct head_sealed) == 64, "a size class of jemalloc, and no padding");
static_assert(BUNDLE_SERIES * TSDB_HEAD_CHUNK_SAMPLES_MAX <= UINT16_MAX, "samples of a bundle");

/* A stream of a bundle. */
struct head_raw_stream {
    struct head_tail *tail;
    int64_t last_ms;
    uint16_t count, used; /* samples, bytes of tokens */
};
/* A chunk whose samples are still in memory: on its way to the sealer and back. */
struct head_raw_chunk {
    struct head_sealed sealed;
    struct head_raw_chunk *next; /* link of the queue to the sealer, or of the owner's mailbox */
    struct head_tail *tail;      /* the samples, in columns; NULL: a bundle */
    struct head_sealed *replacement; /* in the mailbox */
    uint32_t local;                  /* of a bundle: its first */
    uint8_t partition;
    uint8_t state; /* owner: enum sealed_state */
    struct {
        uint32_t at;      /* its place in the list */
        uint32_t ordered; /* that of the in-order chunk which it is, or which is the last one
                             before it; SEALED_NOWHERE: there is none */
    } place;              /* the owner's */
    struct head_raw_stream streams[]; /* of a bundle: one for each bit of the mask */
};
static inline uint32_t head_bundle_streams(const struct head_sealed *s)
{
    return (uint32_t)__builtin_popcountll(s->mask);
}
/* Which of the streams has the series of that bit; it is in the mask. */
static inline uint32_t head_bundle_rank(const struct head_sealed *s, uint32_t bit)
{
    TSDB_ASSERT(bit < BUNDLE_SERIES && (s->mask >> bit & 1));
    return (uint32_t)__builtin_popcountll(s->mask & ((UINT64_C(1) << bit) - 1));
}
static inline uint32_t head_bundle_bit(uint32_t local)
{
    return local & (BUNDLE_SERIES - 1);
}
static inline bool head_sealed_has(const struct head_sealed *s, uint32_t local)
{
    return s->mask == 0 || (s->mask >> head_bundle_bit(local) & 1);
}
static inline struct head_raw_chunk *head_raw_chunk_of(struct head_sealed *s)
{
    TSDB_ASSERT(!s->file);
    return (struct head_raw_chunk *)s;
}
#define SEALED_NOWHERE UINT32_MAX

/* Of a chunk that is in a file. */
static inline struct head_place head_sealed_place(const struct head_sealed *s, uint8_t partition,
                                                  uint32_t local)
{
    TSDB_ASSERT(s->file);
    return (struct head_place){s->offset, s->len, s->mask != 0, partition, local};
}

/* ---- windows ---- */

/* How far into its window a time lies. */
static inline int64_t sealed_window_offset(int64_t t_ms, int64_t range_ms)
{
    int64_t r = t_ms % range_ms;
    return r < 0 ? r + range_ms : r;
}
/* Begin of the window, also for negative times; the first window begins at INT64_MIN. */
static inline int64_t sealed_window(int64_t t_ms, int64_t range_ms)
{
    int64_t r = sealed_window_offset(t_ms, range_ms);
    return t_ms < INT64_MIN + r ? INT64_MIN : t_ms - r;
}
/* Last time of the window that t_ms lies in; the last window ends at INT64_MAX. */
static inline int64_t sealed_window_last(int64_t t_ms, int64_t range_ms)
{
    int64_t room = range_ms - 1 - sealed_window_offset(t_ms, range_ms);
    return t_ms > INT64_MAX - room ? INT64_MAX : t_ms + room;
}

/* The window of a time, as windows are now. */
struct head_span {
    int64_t begin_ms, last_ms;
};
struct head_span head_window_of(const struct head_partition *p, int64_t t_ms);
/* Do both times lie in one window? */
static inline bool head_window_holds(const struct head_partition *p, int64_t min_ms, int64_t max_ms)
{
    return max_ms <= head_window_of(p, min_ms).last_ms;
}
/* What ends before before_ms is old from now on; earlier calls may have said more. Any thread, one at
 * a time. False: no memory, nothing has changed. */
bool head_windows_age(struct head_partition *p, int64_t before_ms);

/* ---- the sealer: any one thread ---- */

/* Take all that is queued, oldest first. */
struct head_raw_chunk *head_seal_queue_take(struct head_partition *p);
/* Give a chunk back that was taken and not sealed: at the end of the process. */
void head_seal_queue_push(struct head_partition *p, struct head_raw_chunk *c);
/* The samples of a raw chunk that is no bundle: borrowed, the sealer's to read until it gives the chunk
 * back. */
struct chunk_samples head_raw_samples(const struct head_raw_chunk *raw);
/* The streams of one that is, likewise; returns how many. */
uint32_t head_raw_streams(const struct head_raw_chunk *raw,
                          struct bundle_stream out[BUNDLE_SERIES]);
/* What is to replace a raw chunk: its samples lie in `file`, which is not acquired. For the owner's
 * mailbox (head_sealed_swap), or to be discarded. NULL: no memory. */
struct head_sealed *head_sealed_in_file(const struct head_raw_chunk *raw, struct head_file *file,
                                        uint64_t offset, uint32_t len);
/* Free one that nobody else has seen; leaves tail and file alone. NULL is fine. */
void head_sealed_discard(struct head_sealed *s);
/* Raw chunks on their way through the sealer and back: 0 = all that was sealed is in files. Any
 * thread. */
uint32_t head_raw_pending(const struct head_partition *p);

/* ---- the owner ---- */

/* Swap the chunk's replacement in for it. */
void head_sealed_swap(struct head_partition *p, struct head_raw_chunk *raw);

/* ---- recovery ---- */

/* A chunk that lies in a file, behind what the series has already. Acquires the file. NOMEM ends
 * recovery. */
enum tsdb_status head_sealed_load(struct head_partition *p, uint32_t local,
                                  const struct head_sealed *chunk) TSDB_WUR;
/* A bundle that lies in a file, behind what the bundle of `local` has already. Acquires the file. NOMEM
 * ends recovery. */
enum tsdb_status head_bundle_load(struct head_partition *p, uint32_t local,
                                  const struct head_sealed *chunk) TSDB_WUR;
/* Does it have samples that are in no bundle? */
bool head_series_has_own(const struct head_partition *p, uint32_t local);
/* The newest sample of the series that was sealed is of last_ms. NOMEM. */
enum tsdb_status head_series_reached(struct head_partition *p, uint32_t local,
                                     int64_t last_ms) TSDB_WUR;
/* For a checkpoint, any thread: the same of a series that has no open tail; false: it has one, or no
 * samples. */
bool head_series_sealed_ms(const struct head_partition *p, uint32_t local, int64_t *out_ms);
/* Visit the bundles of the series [local, local + 64) that are in a file and in no block, if they came after
 * the one with the number `after` (HEAD_BUNDLE_ALL: all), from the oldest on; takes a guard of its own.
 * Returns the number after which those come that were not. */
#define HEAD_BUNDLE_ALL UINT32_MAX
typedef void (*bundle_fn)(void *arg, const struct head_sealed *s);
uint32_t head_bundle_visit(const struct head_partition *p, struct tsdb_epoch *epoch, uint32_t local,
                           uint32_t after, bundle_fn fn, void *arg);
/* Samples of a chunk (at most TSDB_HEAD_CHUNK_SAMPLES_MAX) that lies in several windows of today's range, as
 * raw chunks in its place of the list; copies. NOMEM ends recovery. */
enum tsdb_status head_sealed_load_split(struct head_partition *p, uint32_t local, bool late,
                                        const struct chunk_samples *c) TSDB_WUR;

/* ---- the flusher: any thread; takes guards of its own, short ones ---- */

/* Visit every sealed chunk that is in a file and not flushed, of the series [from, to), series by series,
 * their bundles first, in the order of the lists. at: its place in the list (of the series, or of bundles),
 * which only falls as chunks before it leave. fn runs under the guard and must not block. */
typedef void (*sealed_fn)(void *arg, tsdb_series_ref series, uint32_t at, struct head_sealed *s);
void head_sealed_visit(struct head_partition *p, struct tsdb_epoch *epoch, uint32_t from,
                       uint32_t to, sealed_fn fn, void *arg);
/* The same of one series, from the newest of the first `upto` places of its lists back, its own list before
 * that of bundles, until fn says false. */
struct head_upto {
    uint32_t own, bundles;
};
typedef bool (*sealed_back_fn)(void *arg, struct head_sealed *s);
void head_sealed_visit_back(struct head_partition *p, struct tsdb_epoch *epoch, uint32_t local,
                            struct head_upto upto, sealed_back_fn fn, void *arg);
/* A chunk of the file is given up: it could not be read again and again, or does not verify. The file
 * will go to quarantine instead of being deleted; why is logged once a file. */
void head_file_give_up(struct head_file *f, const struct tsdb_error *why);
/* The chunk's samples (of a bundle: those of the series) are in the blocks of view `view` (> 0). False: retention
 * has dropped it meanwhile, it was marked before, or others of the bundle wait. Under the guard of a
 * visit. */
bool head_sealed_flushed(struct head_partition *p, uint32_t local, struct head_sealed *s,
                         uint64_t view);
/* Windows that end at from_ms or later, begin before before_ms, and have an unflushed sealed chunk, tail
 * or out-of-order sample: the first of them; false: none. From counts per window, so that it touches
 * no series. */
bool head_window_next(struct head_partition *p, int64_t from_ms, int64_t before_ms,
                      struct head_span *out);
/* All windows of that kind (quiet: those that got nothing since the look before the last one), in no
 * order, each with how much of it there is. Returns how many there are, which may exceed cap: then
 * cap of them are in out. */
struct head_window_due {
    struct head_span span;
    uint64_t count;
};
uint32_t head_windows_due(struct head_partition *p, int64_t from_ms, int64_t before_ms, bool quiet,
                          struct head_window_due *out, uint32_t cap);
/* How much there is in such windows, and how much of that in those which got nothing since the last
 * look. One thread looks. */
struct head_overdue {
    uint64_t all, quiet;
};
struct head_overdue head_windows_overdue(struct head_partition *p, int64_t from_ms,
                                         int64_t before_ms);

#endif
