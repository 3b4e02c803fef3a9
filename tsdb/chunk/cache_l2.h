/* L2: one arena of fixed size, mapped once, in frames of 64 KiB keyed by (file, page).
 *
 * Never a mapping of the files themselves: a torn file or a full disk is an error of one read, not
 * a SIGBUS of the process. Frames are filled by pread and checked once by the caller's function, or
 * made by it (packed files), evicted by CLOCK per shard, pinned by readers.
 *
 * Invariants:
 *  1. The arena never grows. When every frame of a shard is pinned a read goes to memory of its own
 *     (a bypass, counted) and succeeds.
 *  2. A frame that is pinned is never changed. A page is checked before anybody else sees it; a
 *     page that fails its check is not kept.
 *  3. The file is read outside of locks; two readers that miss the same page at once may both read
 *     it, one copy stays.
 *
 * Threads: any. Locks: one per shard (rank CACHE_SHARD), held for table and clock only.
 */
#ifndef TSDB_CHUNK_CACHE_L2_H
#define TSDB_CHUNK_CACHE_L2_H

#include "base/file.h"

#include <stdatomic.h>

#define CACHE_L2_FRAME_BYTES 65536u
#define CACHE_L2_MARK_BYTES  32u /* offsets with marks of their own are so far apart at least */

struct cache_l2;
struct cache_l2_page {
    const uint8_t *data;
    uint32_t len;             /* CACHE_L2_FRAME_BYTES but for the last page of a file */
    uint64_t opaque;          /* for release */
    _Atomic(uint64_t) *marks; /* see cache_l2_mark; NULL: a bypass, which is not marked */
};
/* Make a page: its bytes into data[CACHE_L2_FRAME_BYTES], their number (1 at least) into *out_len.
 * NOT_FOUND beyond the end; not OK: the read fails with that, nothing is kept. */
typedef enum tsdb_status (*cache_l2_load_fn)(void *arg, uint64_t page, uint8_t *data,
                                             uint32_t *out_len, struct tsdb_error *err);
/* Check a freshly read page; not OK: the read fails with that, nothing is kept. May be NULL. */
typedef enum tsdb_status (*cache_l2_check_fn)(void *arg, uint64_t page, const uint8_t *data,
                                              uint32_t len, struct tsdb_error *err);

/* bytes: rounded down to whole frames; 0: no cache, every read bypasses. */
enum tsdb_status cache_l2_create(uint64_t bytes, struct cache_l2 **out,
                                 struct tsdb_error *err) TSDB_WUR;
void cache_l2_destroy(struct cache_l2 *c); /* no page may be pinned; NULL is fine */
/* A number for a file, never used again in this process. A file that has one does not change any
 * more: a page at its end would be kept as short as it was. */
uint64_t cache_l2_file_id(struct cache_l2 *c);
/* Pin a page of the file. IO, NOMEM (a bypass without memory), what check says; NOT_FOUND beyond
 * the end. */
enum tsdb_status cache_l2_get(struct cache_l2 *c, uint64_t file_id, const struct tsdb_fs *fs,
                              struct tsdb_file *file, uint64_t page, cache_l2_check_fn check,
                              void *arg, struct cache_l2_page *out,
                              struct tsdb_error *err) TSDB_WUR;
/* The same of a file whose pages are not its bytes as they lie: `load` makes them. */
enum tsdb_status cache_l2_get_made(struct cache_l2 *c, uint64_t file_id, uint64_t page,
                                   cache_l2_load_fn load, void *arg, struct cache_l2_page *out,
                                   struct tsdb_error *err) TSDB_WUR;
void cache_l2_release(struct cache_l2 *c, struct cache_l2_page *page);
/* Of a page that is pinned: what begins at this offset has been found to be right, which all who read the
 * page need not find again. Goes with the page; another read of the file is to be checked anew. Whoever marks
 * a file says what a mark means for it. */
bool cache_l2_is_marked(const struct cache_l2_page *page, uint32_t offset);
void cache_l2_mark(const struct cache_l2_page *page, uint32_t offset);
/* Copy [offset, offset + len) of the file, over as many pages as it takes. CORRUPT when the file
 * ends before. */
enum tsdb_status cache_l2_read(struct cache_l2 *c, uint64_t file_id, const struct tsdb_fs *fs,
                               struct tsdb_file *file, uint64_t offset, void *out, size_t len,
                               cache_l2_check_fn check, void *arg, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status cache_l2_read_made(struct cache_l2 *c, uint64_t file_id, uint64_t offset,
                                    void *out, size_t len, cache_l2_load_fn load, void *arg,
                                    struct tsdb_error *err) TSDB_WUR;
/* Forget a file's pages (it was deleted). */
void cache_l2_drop(struct cache_l2 *c, uint64_t file_id);

struct cache_l2_stats {
    uint64_t bytes, frames, frames_used, frames_pinned, hits, misses, evictions, bypasses;
};
void cache_l2_stats(struct cache_l2 *c, struct cache_l2_stats *out);

#endif
