/* Allocation: one table (real or faulty) and accounting by category.
 *
 * All heap memory of the engine goes through here, so that (1) a test can fail the Nth allocation,
 * (2) /metrics and the memory limit know where memory is. Frees are sized: the caller knows what it
 * asked for. Hot paths do not come here at all; they use arenas and slabs, which do.
 *
 * Threads: any. Counters are relaxed atomics.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include "base/compiler.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tsdb_mem_category {
    TSDB_MEM_HEAD = 0, /* hot structs, tails, chunks in memory */
    TSDB_MEM_INDEX,    /* symbols, postings, series labels */
    TSDB_MEM_ALIAS,    /* raw label bytes -> series */
    TSDB_MEM_WAL,      /* write buffers, replay buffers */
    TSDB_MEM_INGEST,   /* request arenas, body buffers */
    TSDB_MEM_QUERY,    /* evaluation, results */
    TSDB_MEM_CACHE,    /* L1 and L2 */
    TSDB_MEM_SERVER,   /* connections, routes, configuration */
    TSDB_MEM_OTHER,
    TSDB_MEM_CATEGORY_COUNT
};
const char *tsdb_mem_category_name(enum tsdb_mem_category category); /* "head", ... */

/* NULL when memory is exhausted (or a test says so); never aborts. bytes == 0 gives NULL. Aligned
 * to 16. */
void *tsdb_mem_alloc(enum tsdb_mem_category category, size_t bytes);
void *tsdb_mem_alloc_zero(enum tsdb_mem_category category, size_t bytes);
/* Aligned to `align` (a power of two >= 16); release with tsdb_mem_free. */
void *tsdb_mem_alloc_aligned(enum tsdb_mem_category category, size_t align, size_t bytes);
/* On failure the old block stays valid and NULL is returned. p may be NULL with bytes_old 0. */
void *tsdb_mem_realloc(enum tsdb_mem_category category, void *p, size_t bytes_old,
                       size_t bytes_new);
void tsdb_mem_free(enum tsdb_mem_category category, void *p, size_t bytes); /* p may be NULL */
/* Account for memory got otherwise (mmap). bytes may be negative. */
void tsdb_mem_note(enum tsdb_mem_category category, int64_t bytes);
uint64_t tsdb_mem_used(enum tsdb_mem_category category);

/* Let memory that is free go back to the system also while nobody allocates: from a thread of the
 * allocator, where it has such a thing. False: it has not, and memory goes back as others are
 * allocated. Once, at the start of the program. */
bool tsdb_alloc_background(void);

/* Memory that is free goes back to the system now: after work that needed much and is over. What frees next to it in
 * other threads' caches stays. Any thread. */
void tsdb_alloc_give_back(void);

/* The table behind. Swap only while no other thread runs (tests). */
struct tsdb_alloc_ops {
    void *(*alloc)(void *ctx, size_t align, size_t bytes); /* align 0 = default */
    void *(*realloc)(void *ctx, void *p, size_t bytes_new);
    void (*free)(void *ctx, void *p);
    void *ctx;
};
void tsdb_alloc_ops_set(const struct tsdb_alloc_ops *ops); /* NULL = the real one */
/* A faulty table over the real one: the nth (1-based) allocation from now fails, and all after it
 * if `sticky`. nth 0 fails none and only counts. */
void tsdb_alloc_fail_nth(uint64_t nth, int sticky);
/* Allocations seen since tsdb_alloc_fail_nth; 0 when the real table is set. */
uint64_t tsdb_alloc_fail_count(void);

/* A memory account with a limit: what one request, or all queries together, may hold.
 * Zones: limit_bytes immutable after init, parent too but for tsdb_account_move; the rest atomic. */
struct tsdb_account {
    _Atomic(uint64_t) used_bytes;
    _Atomic(uint64_t) peak_bytes;
    _Atomic(uint64_t) refusals;       /* charges that this account (and not a parent) refused */
    _Atomic(uint64_t) refusals_above; /* charges of it that a parent refused */
    uint64_t limit_bytes;             /* 0 = none */
    struct tsdb_account *parent;
};
void tsdb_account_init(struct tsdb_account *a, uint64_t limit_bytes, struct tsdb_account *parent);
/* TSDB_LIMIT when this account or a parent would exceed its limit; nothing is charged then. a may
 * be NULL (no limit). */
enum tsdb_status tsdb_account_charge(struct tsdb_account *a, uint64_t bytes) TSDB_WUR;
/* Would so much be refused? Counted as if it had been. Charges nothing: what is only foreseen takes nobody's room. */
bool tsdb_account_foresees(struct tsdb_account *a, uint64_t bytes);
/* How much could be charged just now, for who can do without. UINT64_MAX: any. Counts nothing. */
uint64_t tsdb_account_left(const struct tsdb_account *a);
void tsdb_account_release(struct tsdb_account *a, uint64_t bytes);
/* Charge what a holds to `parent` from now on, instead of to the one before. TSDB_LIMIT: it has no room, and
 * all is as it was. Nobody charges a meanwhile. */
enum tsdb_status tsdb_account_move(struct tsdb_account *a, struct tsdb_account *parent) TSDB_WUR;

#endif
