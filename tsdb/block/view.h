/* The blocks that a query sees: one immutable view, swapped as a whole, pinned by queriers.
 *
 * A live block has a count of views that list it; when the last one goes, its files are closed and,
 * if it was replaced or too old, deleted.
 *
 * Locks: `view_set.lock` (rank TSDB_VIEW) guards the current pointer, the counts and the list of
 * open views; held for a few instructions, never over I/O. Closing and deleting happen in
 * view_collect, on the block thread.
 */
#ifndef TSDB_BLOCK_VIEW_H
#define TSDB_BLOCK_VIEW_H

#include "base/mutex.h"
#include "tsdb/block/block.h"
#include "tsdb/block/refs.h"
#include "tsdb/block/tombstones.h"
#include "tsdb/chunk/error_budget.h"

struct live_block {
    struct block *block;
    struct block_refs *refs; /* of as many series as the block has */
    uint32_t views;          /* guarded by the set's lock */
    bool doomed;             /* guarded: delete the files when the last view goes */
    /* What was deleted of it, newest first, each for the views from its from_view on; NULL: nothing. The
     * block thread prepends and frees what no view needs; readers: live_block_tombstones. */
    _Atomic(struct tombstones *) tombstones;
    /* block thread: how compactions fared that read it; damaged: no other is to try */
    struct error_budget budget;
    bool damaged;
    uint64_t rules_done; /* block thread: of retention rules that have been applied, see rules_of */
    uint64_t rules_of;   /* the number of the set of rules that it speaks of */
    struct live_block *next_dead;
};
struct view {
    uint64_t number;   /* 1, 2, ... */
    uint32_t pins;     /* guarded by the set's lock; the set itself holds one on the current view */
    struct view *next; /* open views, newest first */
    uint32_t block_count;
    struct live_block *blocks[]; /* by sequence: where two have the same sample the first wins */
};
struct view_set {
    struct tsdb_mutex lock;
    struct view *current TSDB_GUARDED;
    struct view *open TSDB_GUARDED;       /* all views with pins, newest first */
    struct live_block *dead TSDB_GUARDED; /* to be closed by view_collect */
};

/* An empty first view (number 1). */
enum tsdb_status view_set_init(struct view_set *s) TSDB_WUR;
/* No view may be pinned any more. Closes all blocks. */
void view_set_deinit(struct view_set *s);

struct view *view_acquire(struct view_set *s);
void view_release(struct view_set *s, struct view *v);
uint64_t view_number(struct view_set *s);
/* The lowest number of a view that is still pinned by somebody other than the set, or the current
 * number. */
uint64_t view_oldest(struct view_set *s);

/* Prepare the next view: the current blocks without `removed`, with `added` (owned by the set from
 * publish on). Only the block thread publishes, so that nothing changes in between. NOMEM. */
enum tsdb_status view_prepare(struct view_set *s, struct live_block *const *added,
                              uint32_t added_count, struct live_block *const *removed,
                              uint32_t removed_count, struct view **out) TSDB_WUR;
/* Make it current. Removed blocks are doomed: their files go when the last view that lists them
 * does. Cannot fail. */
void view_publish(struct view_set *s, struct view *v);
/* Take the blocks that no view lists any more; the caller closes and deletes them (follow
 * next_dead; live_block_free after). */
struct live_block *view_collect(struct view_set *s);

/* Blocks that no longer are of the current view but of an older one that is open, or of none and not
 * collected: their files are still there. Returns how many; at most cap of them are in out. */
uint32_t view_doomed(struct view_set *s, struct live_block **out, uint32_t cap);

/* NOMEM leaves block and refs with the caller. */
enum tsdb_status live_block_make(struct block *block, struct block_refs *refs,
                                 struct live_block **out) TSDB_WUR;
/* What is hidden of the block in a view of that number (UINT64_MAX: by now); NULL: nothing. Valid as
 * long as the view is pinned. */
const struct tombstones *live_block_tombstones(const struct live_block *b, uint64_t view_number);
/* Takes t over. Block thread, just before the view t->from_view becomes current. */
void live_block_hide(struct live_block *b, struct tombstones *t);
/* Free the tombstones that no view needs any more. Block thread, with the number of the oldest. */
void live_block_forget(struct live_block *b, uint64_t view_oldest);
/* Close the files and free; deletes nothing. */
void live_block_free(struct live_block *b);

#endif
