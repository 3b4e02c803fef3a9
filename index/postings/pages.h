/* Append-only memory with 32-bit handles: where the index keeps everything that never moves and
 * never dies before it.
 *
 *   handle (in units of 8 bytes) = page number (23 bits) : unit within the page (9 bits)
 *   directory[page] -> 4 KiB inside a region;  a region is one allocation of many pages
 *
 * A 32-bit handle instead of a pointer halves the cost of every reference. Regions grow with the
 * total (an eighth of it, 4 KiB to 1 MiB), so that a partition with ten series costs little and a
 * large one wastes at most an eighth.
 *
 * Invariants:
 *  1. A piece lies within one region, so that it is contiguous in memory.
 *  2. Handle 0 is never given out unless the pages were made with `dense`, where the n-th piece of
 *     b bytes (b a power of two, 8 <= b <= 4096, always the same) has handle n * b / 8.
 *  3. A directory entry never changes; the directory is replaced by a longer copy and the old one
 *     retired.
 *
 * Threads: one writer (init, alloc, trim, walk); index_pages_at by any reader under an epoch guard,
 * with a handle that it loaded from a place published after the piece was written.
 */
#ifndef INDEX_POSTINGS_PAGES_H
#define INDEX_POSTINGS_PAGES_H

#include "base/epoch.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INDEX_PAGE_SHIFT 12 /* bytes: 4 KiB, what the kernel hands out */
#define INDEX_UNIT_SHIFT 3

/* What the writer of one partition's index shares with its parts. */
struct index_owner {
    struct tsdb_epoch *epoch;
    struct tsdb_epoch_limbo *limbo;
};

struct index_region {
    uint8_t *base;
    uint32_t first; /* handle of the first unit */
    uint32_t pages;
    uint32_t used; /* units given out; of the newest region only after index_pages_walk_begin */
};

struct index_pages {
    struct index_owner *owner;
    _Atomic(uint8_t **) dir; /* page -> address */
    uint32_t dir_cap;
    uint32_t page_count;
    uint32_t next;  /* the next free unit */
    uint32_t limit; /* the first unit behind the newest region */
    uint64_t units_max;
    struct index_region *regions;
    uint32_t region_count;
    uint32_t region_cap;
    bool dense;
    _Atomic(uint64_t) bytes; /* allocated, with directory; only the writer stores */
};

/* Cannot fail; allocates nothing. Handles stay below `units_max` (<= 2^32). */
void index_pages_init(struct index_pages *p, struct index_owner *owner, uint64_t units_max,
                      bool dense);
/* No reader may exist. */
void index_pages_deinit(struct index_pages *p);

/* A new piece of `bytes` (> 0), aligned to 8, not zeroed. Returns OK; NOMEM; LIMIT when the handles
 * are used up. */
enum tsdb_status index_pages_alloc(struct index_pages *p, size_t bytes, void **out_piece,
                                   uint32_t *out_handle) TSDB_WUR;
/* Give the newest piece back, before it was published. */
void index_pages_trim(struct index_pages *p, uint32_t handle);
/* Make `regions[].used` current, so that the writer can walk all pieces in the order of creation.
 */
void index_pages_walk_begin(struct index_pages *p);

static inline void *index_pages_at(const struct index_pages *p, uint32_t handle)
{
    /* Acquire: the entries of a replaced directory were written before it was published. */
    uint8_t **dir = atomic_load_explicit(&p->dir, memory_order_acquire);
    uint32_t page = handle >> (INDEX_PAGE_SHIFT - INDEX_UNIT_SHIFT);
    uint32_t unit = handle & ((1u << (INDEX_PAGE_SHIFT - INDEX_UNIT_SHIFT)) - 1);
    return dir[page] + ((size_t)unit << INDEX_UNIT_SHIFT);
}

/* A counter that one thread changes and any may read: no locked instruction is needed. */
static inline void index_counter_add(_Atomic(uint64_t) *counter, uint64_t delta)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, v + delta, memory_order_relaxed);
}
static inline uint64_t index_counter_get(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
