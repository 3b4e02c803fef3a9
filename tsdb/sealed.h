/* Sealed chunks of the head: first raw in memory, then encoded in a head file, then in a block.
 *
 *   tail full ─ owner seals ─▶ head_sealed {raw} ─ sealer encodes, appends to head/NNNNNN ─▶ owner
 * swaps in head_sealed {file} ─ flusher writes the window's block ─▶ flushed_in = view ─ sweep,
 * when no older view is open ─▶ gone from the head
 *
 * Invariants:
 *  1. A sealed chunk lies in one window of block_range_ms (floor division of time): tails are
 * sealed when a sample crosses a boundary, out-of-order buffers are split when they are sealed.
 *  2. Only the owner changes a series' list of sealed chunks. The sealer and the flusher ask
 * through the owner's mailbox.
 *  3. A head_sealed is immutable but for flushed_in; what is replaced or dropped goes to the
 * partition's limbo list.
 *  4. A querier with view V reads the chunks with flushed_in == 0 or flushed_in > V, and the blocks
 * of V: a sample is never in both, never in neither.
 *  5. A head file's chunks are durable (file synced) before a checkpoint that refers to them is;
 * until then log or older checkpoint cover the samples. A head file is deleted when no chunk of the
 * head and no checkpoint refers to it.
 */
#ifndef TSDB_SEALED_H
#define TSDB_SEALED_H

#include "tsdb/cache_l2.h"
#include "tsdb/chunk.h"
#include "tsdb/head.h"

struct head_tail;

/* head/NNNNNN: header, then chunks: u32 length | chunk bytes | u32 CRC32C
 * (docs/format/head-chunks.md). Append-only, one writer (the sealer). Counted references: one per
 * head_sealed that points in, one per reader that copied such a reference, one while it is the
 * sealer's current. */
struct head_file {
    _Atomic(uint64_t) refs;
    uint64_t number;
    uint64_t cache_id; /* in the L2 cache */
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    struct cache_l2 *cache;
    _Atomic(uint64_t) bytes;
};
void head_file_acquire(struct head_file *f);
void head_file_release(
    struct head_file *f); /* the last one closes it; deleting is the checkpointer's business */
/* Read, check and decode a chunk (through the L2 cache); arrays from the arena. Not under an epoch
 * guard: it may read the disk. */
enum tsdb_status head_file_read(const struct head_file *f, uint64_t offset, uint32_t len,
                                struct tsdb_arena *arena, struct chunk_samples *out,
                                struct tsdb_error *err) TSDB_WUR;

struct head_sealed {
    struct head_sealed *next; /* link of the queue to the sealer (raw), or of the owner's mailbox */
    _Atomic(uint64_t) flushed_in; /* 0: not in a block */
    int64_t min_ms, max_ms;
    uint32_t count;
    uint32_t local;
    uint8_t partition;
    uint8_t kind;           /* enum tsdb_sample_kind */
    bool late;              /* from the out-of-order buffer: may overlap other chunks */
    struct head_tail *tail; /* raw; NULL when in a file */
    struct head_file *file; /* holds a reference */
    uint64_t offset;        /* of the length field */
    uint32_t len;           /* of the chunk bytes */
};

static inline int64_t sealed_window(int64_t t_ms, int64_t range_ms)
{
    int64_t q = t_ms / range_ms;
    return (q - (t_ms % range_ms < 0)) *
           range_ms; /* begin of the window, also for negative times */
}

/* A reference that a reader copied under a guard and may use after it. */
struct sealed_ref {
    struct head_file *file; /* acquired */
    uint64_t offset;
    uint32_t len, count;
    int64_t min_ms, max_ms;
    bool late;
};
/* ---- the flusher's view of a partition (any thread; takes guards of its own, short ones) ---- */
/* Visit every sealed chunk that is in a file, not flushed, and lies in the window that begins at
 * window_ms; `from` .. `to` are local ids. fn runs under the guard and must not block. */
typedef void (*sealed_fn)(void *arg, uint32_t local, struct head_sealed *s);
void head_sealed_visit(struct head_partition *p, struct tsdb_epoch *epoch, uint32_t from,
                       uint32_t to, int64_t window_ms, int64_t range_ms, sealed_fn fn, void *arg);
/* The smallest window that has an unflushed sealed chunk, tail or out-of-order sample with a begin
 * below `before_ms`; false: none. Kept up to date by the owner as counts per window, so that it
 * costs nothing. */
bool head_oldest_window(const struct head_partition *p, int64_t before_ms, int64_t *out_window_ms);

#endif
