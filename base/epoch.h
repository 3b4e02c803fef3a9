/* Epoch-based reclamation: readers without locks, writers that free late.
 *
 * Structures with one writer (head, index, alias stripes) replace a piece by publishing a new
 * pointer and retiring the old one. A reader between enter and exit may hold any pointer it loaded
 * in between. Reads must be short: an open guard stops all reclamation.
 *
 * Proof sketch: a guard announces the global epoch it saw before it loads any pointer (seq_cst). A
 * piece retired at epoch e is freed only when the global epoch is >= e + 2, and the epoch moves
 * from g to g+1 only when every open guard announces g. So a guard that could have loaded the piece
 * announces <= e, and holds the epoch at <= e + 1.
 *
 *   epoch     e          e + 1             e + 2
 *   writer    retire     |                 free
 *   guard     enter(e)---+----> exit       : the epoch cannot pass e + 1 before this exit
 *
 * Pointers are published with release and loaded with acquire, or stronger.
 *
 * Threads: enter/exit any; a limbo list belongs to one writer; advance any.
 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include "base/alloc.h"

#include <stdbool.h>

struct tsdb_epoch;
struct tsdb_epoch_guard {
    uint32_t slot;
};

/* readers_max: guards open at once, over all threads; a further enter waits (yielding). */
enum tsdb_status tsdb_epoch_create(uint32_t readers_max, struct tsdb_epoch **out) TSDB_WUR;
void tsdb_epoch_destroy(struct tsdb_epoch *e); /* no guard may be open; NULL is fine */
void tsdb_epoch_enter(struct tsdb_epoch *e, struct tsdb_epoch_guard *out_guard);
void tsdb_epoch_exit(struct tsdb_epoch *e, struct tsdb_epoch_guard *guard);

/* What one writer has retired and not yet freed. Owned by that writer. */
struct tsdb_epoch_limbo {
    struct tsdb_epoch_retired *items; /* a growing FIFO; a large one goes when it is empty */
    uint32_t head, count, cap;
    uint64_t bytes;
};
void tsdb_epoch_limbo_init(struct tsdb_epoch_limbo *l);
/* Frees everything at once; only when no reader can exist any more. */
void tsdb_epoch_limbo_deinit(struct tsdb_epoch_limbo *l);
/* Hand p (allocated with tsdb_mem_*, `bytes` long) over. If the list cannot grow for lack of
 * memory, waits for readers and frees p itself: retiring never fails. p may be NULL. The caller has
 * unlinked p, and holds no guard (it might wait for itself). */
void tsdb_epoch_retire(struct tsdb_epoch *e, struct tsdb_epoch_limbo *l,
                       enum tsdb_mem_category category, void *p, size_t bytes);
/* For what is freed by other means than a limbo list: after unlinking it take a stamp; once that has
 * passed, no guard can be open that has seen it. */
uint64_t tsdb_epoch_stamp(struct tsdb_epoch *e);
bool tsdb_epoch_passed(struct tsdb_epoch *e, uint64_t stamp);
/* Try to advance the epoch and free what is safe. Returns the bytes freed. Cheap when nothing is
 * retired. */
uint64_t tsdb_epoch_reclaim(struct tsdb_epoch *e, struct tsdb_epoch_limbo *l);

#endif
