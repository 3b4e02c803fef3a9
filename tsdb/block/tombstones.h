/* Tombstones: what was deleted of a block, and is still in its files.
 *
 *   blocks/<ULID>/tombstones     which times of which series (ids of this block) are hidden
 *
 * On the read path: blocks_read leaves out what is hidden; a merge, or a cleaning, writes the block anew
 * without it. The file belongs to one block and speaks of what the block holds, so a sample that is
 * written after the delete, which goes to a later block, is not hidden.
 *
 * Invariants:
 *  1. Runs of ids are disjoint and rise; the intervals of a run are disjoint, not adjacent, and rise.
 *  2. Tombstones are immutable; a delete makes new ones, the old stay for readers of older views
 *     (struct live_block).
 *
 * The file is untrusted: everything is checked, every count bounded by the bytes left. Format:
 * docs/format/tombstones.md. Threads: pure, but for load, store, remove.
 */
#ifndef TSDB_BLOCK_TOMBSTONES_H
#define TSDB_BLOCK_TOMBSTONES_H

#include "base/file.h"
#include "model/matcher.h"
#include "tsdb/chunk/piece.h"

#define TOMBSTONES_NAME      "tombstones"
#define TOMBSTONES_RUNS_MAX  (1u << 21)   /* of a block, and as many intervals: 64 MiB */
#define TOMBSTONES_BYTES_MAX (128u << 20) /* of the file */

struct tombstone_run {
    uint32_t first, last; /* ids */
    uint32_t at, count;   /* its intervals */
};
struct tombstones {
    uint64_t from_view;       /* the first view that they hold for: see struct live_block */
    struct tombstones *older; /* of the views before; owned */
    uint64_t samples;         /* hidden, and the bytes of the chunks that are so as a whole */
    uint64_t bytes;
    struct tsdb_buf runs, intervals; /* struct tombstone_run, struct tsdb_time_range */
};

/* What is hidden of one series; count 0: nothing. */
struct tombstone_cuts {
    const struct tsdb_time_range *items;
    uint32_t count;
};

/* `old` (may be NULL) and the range for ids[count], which rise. samples and bytes are those of old.
 * LIMIT: more than TOMBSTONES_RUNS_MAX; NOMEM. */
enum tsdb_status tombstones_add(const struct tombstones *old, const uint32_t *ids, uint32_t count,
                                struct tsdb_time_range range, struct tombstones **out,
                                struct tsdb_error *err) TSDB_WUR;
void tombstones_free(struct tombstones *t); /* the older ones too; NULL is fine */
uint32_t tombstones_run_count(const struct tombstones *t);
/* Series that have something hidden. t may be NULL. */
uint64_t tombstones_series(const struct tombstones *t);
/* t may be NULL. Valid as long as t. */
struct tombstone_cuts tombstones_find(const struct tombstones *t, uint32_t id);

/* Is all of [min_ms, max_ms] hidden, or some of it? */
bool tombstone_cuts_cover(const struct tombstone_cuts *c, int64_t min_ms, int64_t max_ms);
bool tombstone_cuts_touch(const struct tombstone_cuts *c, int64_t min_ms, int64_t max_ms);
/* The next stretch of a sorted piece that is not hidden: begin with *pos 0. False: there is none. */
bool tombstone_cuts_next(const struct tombstone_cuts *c, const struct piece *whole, uint32_t *pos,
                         struct piece *out);
/* The decoded samples without what is hidden, in arrays from the arena where something is; count 0: nothing is
 * left. NOMEM, LIMIT from the arena. */
enum tsdb_status tombstone_cuts_apply(const struct tombstone_cuts *c, struct tsdb_arena *arena,
                                      struct chunk_samples *s) TSDB_WUR;

/* ---- the file ---- */
void tombstones_encode(const struct tombstones *t, const char *ulid, uint32_t series,
                       struct tsdb_buf *out);
/* series: of the block. CORRUPT (err->pos: byte), UNSUPPORTED (another version), NOMEM. */
enum tsdb_status tombstones_decode(const uint8_t *src, size_t len, const char *ulid,
                                   uint32_t series, struct tombstones **out,
                                   struct tsdb_error *err) TSDB_WUR;
/* A whole file: OK; UNSUPPORTED for another version, under a good CRC, which every version has at its end;
 * CORRUPT. */
enum tsdb_status tombstones_version_check(const uint8_t *data, size_t len,
                                          struct tsdb_error *err) TSDB_WUR;
/* UNSUPPORTED if the block's tombstones are certainly of another version; no news is OK. */
enum tsdb_status tombstones_version_look(const struct tsdb_fs *fs, const char *path,
                                         struct tsdb_error *err) TSDB_WUR;
/* *out NULL: the block has none. As decode, and IO. */
enum tsdb_status tombstones_load(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                 uint32_t series, struct tombstones **out,
                                 struct tsdb_error *err) TSDB_WUR;
/* What a process before this one stored may not be durable yet: whoever finds nothing left to delete
 * relies on it. */
enum tsdb_status tombstones_settle(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                   struct tsdb_error *err) TSDB_WUR;
/* Durable when it returns OK; else the old ones are, or these. IO, NOMEM. */
enum tsdb_status tombstones_store(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                  uint32_t series, const struct tombstones *t,
                                  struct tsdb_error *err) TSDB_WUR;

#endif
