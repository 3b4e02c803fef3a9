/* The blocks of a data directory: opening them, reading a series out of a view, publishing and
 * deleting.
 *
 * On the read path: tsdb_series_read -> blocks_read (pieces of the view's blocks, then of the head)
 * -> pieces_merge. Opening also maps every series of a block to a ref of this directory: from
 * refs/<ULID>, or by labels when that is missing, foreign, or of another moment than what gives refs
 * their meaning.
 *
 * Threads: blocks_open, _publish, _collect: one at a time (the opener, then the block thread).
 * blocks_read: any, with a pinned view. Counters atomic.
 */
#ifndef TSDB_BLOCK_BLOCKS_H
#define TSDB_BLOCK_BLOCKS_H

#include "base/random.h"
#include "tsdb/block/view.h"
#include "tsdb/chunk/cache_l1.h"
#include "tsdb/chunk/pieces.h"

#define BLOCKS_DIR            "blocks"
#define BLOCKS_DIR_QUARANTINE "quarantine"

/* Make the refs that were handed out durable, and say where they stand: called before a file with
 * refs is written, so that no ref on the disk ever comes to mean another series. */
typedef enum tsdb_status (*blocks_commit_fn)(void *arg, struct block_refs_basis *out,
                                             struct tsdb_error *err);
/* Do refs that were written upon this basis mean the same today? OK; NOT_FOUND if not; IO. */
typedef enum tsdb_status (*blocks_fits_fn)(void *arg, const struct block_refs_basis *basis,
                                           struct tsdb_error *err);

struct blocks {
    const struct tsdb_fs *fs; /* immutable, as is all above views */
    struct tsdb_random random;
    struct tsdb_clock clock;
    struct cache_l1 *l1;
    struct cache_l2 *l2; /* borrowed */
    blocks_commit_fn commit;
    blocks_fits_fn fits;
    void *commit_arg;
    uint8_t identity[BLOCK_REFS_IDENTITY_BYTES];
    struct view_set views;
    uint64_t next_sequence; /* block thread */
    _Atomic(uint64_t) count, bytes, quarantined, deleted;
    _Atomic(uint64_t) damaged; /* found by compactions, in this life */
};

/* Find the series with these labels, or make it known: called while opening, before anybody else
 * looks. */
typedef enum tsdb_status (*blocks_resolve_fn)(void *arg, const struct tsdb_labels *labels,
                                              uint64_t hash, tsdb_series_ref *out_ref,
                                              struct tsdb_error *err);
struct blocks_options {
    const struct tsdb_fs *fs;
    struct tsdb_random random;
    struct tsdb_clock clock;
    const struct tsdb_hash_key *hash_key;
    struct cache_l2 *l2; /* outlives the blocks */
    uint64_t l1_bytes;
    blocks_resolve_fn resolve;
    void *resolve_arg;
    blocks_commit_fn commit; /* NULL: refs are good for ever (tests) */
    blocks_fits_fn fits;     /* NULL only together with commit */
    void *commit_arg;        /* of both */
};
/* Before anything else is done to the directory: is every file of blocks/ and refs/ of a version that
 * this one knows, as far as it can be read? UNSUPPORTED names one that is not; IO, NOMEM. */
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
/* Write the refs of a block that was just finished (pairs are sorted here) and open it. After a
 * failure the block is gone again. */
enum tsdb_status blocks_adopt(struct blocks *b, const char *ulid, struct block_ref_pair *pairs,
                              uint32_t pair_count, struct live_block **out,
                              struct tsdb_error *err) TSDB_WUR;
/* Delete the files of a block that no view lists; a failure is logged. */
void blocks_disown(struct blocks *b, const char *ulid);
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
/* Add the pieces of a series in the view's blocks that overlap the range, in block order. CORRUPT,
 * IO, NOMEM, LIMIT. */
enum tsdb_status blocks_read(struct blocks *b, const struct view *v, tsdb_series_ref ref,
                             struct tsdb_time_range range, struct piece_list *out,
                             struct tsdb_error *err) TSDB_WUR;
/* Has the series a chunk in the view's blocks that overlaps the range? scratch: for chunk headers.
 * CORRUPT, IO, NOMEM, LIMIT. */
enum tsdb_status blocks_may_have(const struct view *v, tsdb_series_ref ref,
                                 struct tsdb_time_range range, struct tsdb_arena *scratch,
                                 bool *out, struct tsdb_error *err) TSDB_WUR;
/* Does any block of the view overlap the range? */
bool blocks_overlap(const struct view *v, struct tsdb_time_range range);

#endif
