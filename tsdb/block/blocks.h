/* The blocks of a data directory: opening them, reading a series out of a view, publishing and
 * deleting.
 *
 * On the read path: tsdb_series_read -> blocks_read (pieces of the view's blocks, then of the head)
 * -> pieces_merge; without what tombstones hide. A block answers for itself: its series are found by its own index, and joined with
 * those of the head by labels (tsdb/engine/join.c).
 *
 * Threads: blocks_open, _publish, _collect: one at a time (the opener, then the block thread).
 * blocks_read: any, with a pinned view. Counters atomic.
 */
#ifndef TSDB_BLOCK_BLOCKS_H
#define TSDB_BLOCK_BLOCKS_H

#include "base/file_pool.h"
#include "base/random.h"
#include "tsdb/block/view.h"
#include "tsdb/chunk/cache_l1.h"
#include "tsdb/chunk/pieces.h"

#define BLOCKS_DIR            "blocks"
#define BLOCKS_DIR_QUARANTINE "quarantine"

/* Blocks that were moved to quarantine, of which meta.json can be read. */
struct blocks_lost {
    _Atomic(uint64_t) blocks, series, samples; /* series: counted block by block */
    _Atomic(int64_t) min_ms, max_ms;           /* [min, max); of no meaning without blocks */
};

struct blocks {
    const struct tsdb_fs *fs; /* immutable, as is all above views */
    struct tsdb_fs files;     /* for readers: so many open at most */
    struct tsdb_file_pool *pool;
    struct tsdb_random random;
    struct tsdb_clock clock;
    struct cache_l1 *l1;
    struct cache_l2 *l2; /* borrowed */
    struct block_refs_budget refs_budget;
    struct view_set views;
    uint64_t next_sequence; /* block thread, as are the leftovers */
    /* Blocks in no view whose files could not be deleted: ULIDs. A start would read them again. */
    struct tsdb_buf leftovers;
    bool leftovers_lost; /* there was no memory to note one */
    _Atomic(uint64_t) count, bytes, quarantined, deleted;
    struct blocks_lost lost;   /* what those in quarantine had, as far as they say */
    _Atomic(uint64_t) damaged; /* found by compactions, in this life */
    _Atomic(uint64_t) hidden;  /* samples of the current view that tombstones hide */
    /* The last view that may show less than, or other than, the one before: blocks went, or something
     * of them was hidden. Stored (release) when it is current. */
    _Atomic(uint64_t) changed_view;
    _Atomic(uint64_t) tombstones_damaged; /* moved to quarantine when they were read */
};

struct blocks_options {
    const struct tsdb_fs *fs;
    struct tsdb_random random;
    struct tsdb_clock clock;
    struct cache_l2 *l2; /* outlives the blocks */
    uint64_t l1_bytes;
    uint32_t open_files_max; /* > 0: what is opened again when it is read */
};
/* Before anything else is done to the directory: is every file of blocks/ of a version that this
 * one knows, as far as it can be read? UNSUPPORTED names one that is not; IO, NOMEM. */
enum tsdb_status blocks_versions_check(const struct tsdb_fs *fs, struct tsdb_error *err) TSDB_WUR;
/* Removes what was left unfinished and opens every block. A damaged one is moved to quarantine/,
 * with a line in the log, and the rest serves. NOMEM, IO. */
enum tsdb_status blocks_open(struct blocks *b, const struct blocks_options *o,
                             struct tsdb_error *err) TSDB_WUR;
void blocks_close(struct blocks *b); /* no view may be pinned; a zeroed struct is fine */

/* Options for a writer of the next block. */
struct block_writer_options blocks_writer_options(struct blocks *b, uint32_t level,
                                                  uint64_t sequence);
uint64_t blocks_sequence(struct blocks *b); /* a fresh one, later than all */
/* Open a block that was just finished; pairs: whose series its series are, as far as known. After a
 * failure the block is gone again. */
enum tsdb_status blocks_adopt(struct blocks *b, const char *ulid,
                              const struct block_ref_pair *pairs, uint32_t pair_count,
                              struct live_block **out, struct tsdb_error *err) TSDB_WUR;
/* Delete the files of a block that no view lists; a failure is logged, and it is tried again. */
void blocks_disown(struct blocks *b, const char *ulid);
/* Try that again now. OK: no file of a block is there that no view lists. */
enum tsdb_status blocks_leftovers_remove(struct blocks *b, struct tsdb_error *err) TSDB_WUR;
/* Swap in a view with `added` and without `removed`. on_publish (may be NULL) runs with the number
 * of the new view just before it becomes current: whoever marks what moved into the added blocks
 * does it there. NOMEM: nothing changed. */
typedef void (*blocks_publish_fn)(void *arg, uint64_t view_number);
enum tsdb_status blocks_publish(struct blocks *b, struct live_block *const *added,
                                uint32_t added_count, struct live_block *const *removed,
                                uint32_t removed_count, blocks_publish_fn on_publish, void *arg,
                                struct tsdb_error *err) TSDB_WUR;
/* Close blocks that no view lists any more and delete the doomed ones. Returns how many. */
size_t blocks_collect(struct blocks *b);

/* Pieces being gathered, and the cache entries that they borrow from. */
struct piece_list {
    struct tsdb_arena *arena;
    struct piece *items;
    struct cache_l1_entry **pins; /* parallel to items, NULL where nothing is pinned */
    uint32_t count, cap;
};
void piece_list_init(struct piece_list *l, struct tsdb_arena *arena);
void piece_list_release(struct piece_list *l,
                        struct blocks *b); /* unpins; the pieces are then not to be touched */
enum tsdb_status piece_list_add(struct piece_list *l, const struct piece *p,
                                struct cache_l1_entry *pin) TSDB_WUR;
/* The stretches of a piece that are not hidden; the first one takes the pin: *pin is NULL then. */
enum tsdb_status piece_list_add_visible(struct piece_list *l, const struct tombstone_cuts *cuts,
                                        const struct piece *whole,
                                        struct cache_l1_entry **pin) TSDB_WUR;
/* Of these chunks those that are not hidden as a whole, moved to the front. Returns how many. */
uint32_t block_chunks_visible(const struct tombstone_cuts *cuts, struct block_chunk *chunks,
                              uint32_t count);
/* Add the pieces of a block's series that are wanted, as the view sees it. CORRUPT, IO, NOMEM,
 * LIMIT. */
enum tsdb_status blocks_read(struct blocks *b, const struct view *v, const struct live_block *l,
                             uint32_t id, struct chunk_want *want, struct piece_list *out,
                             struct tsdb_error *err) TSDB_WUR;
/* Has the series a chunk that overlaps the range and is not hidden in the view? scratch: for chunk headers. CORRUPT, IO, NOMEM,
 * LIMIT. */
enum tsdb_status blocks_may_have(const struct view *v, const struct live_block *l, uint32_t id,
                                 struct tsdb_time_range range, struct tsdb_arena *scratch,
                                 bool *out, struct tsdb_error *err) TSDB_WUR;
/* The newest sample of the series in the range, by the headers of its chunks. As blocks_may_have. */
enum blocks_newest {
    BLOCKS_NEWEST_NONE,
    BLOCKS_NEWEST_LAST, /* a float, the last of the chunk *out_chunk */
    BLOCKS_NEWEST_UNSURE, /* only the samples tell: of a chunk that goes on, has something hidden, or holds
                             histograms */
};
enum tsdb_status blocks_newest(const struct view *v, const struct live_block *l, uint32_t id,
                               struct tsdb_time_range range, struct tsdb_arena *scratch,
                               enum blocks_newest *out, struct block_chunk *out_chunk,
                               struct tsdb_error *err) TSDB_WUR;
/* The same of many, going up, with a cursor as block_newest_next has it. */
enum tsdb_status blocks_newest_next(const struct view *v, const struct live_block *l,
                                    struct index_disk_newest **c, uint32_t id,
                                    struct tsdb_time_range range, struct tsdb_arena *scratch,
                                    enum blocks_newest *out, struct block_chunk *out_chunk,
                                    struct tsdb_error *err) TSDB_WUR;
/* Does the block, does any block of the view overlap the range? */
bool blocks_overlaps(const struct live_block *l, struct tsdb_time_range range);
bool blocks_overlap(const struct view *v, struct tsdb_time_range range);

#endif
