/* The head files of a data directory: who has which open, and when they go.
 *
 *   sealer: head_files_next ─ appends, syncs ─▶ head_sealed refer to it ─▶ references drop to 0
 *   checkpoint n: head_files_mark(n) (before it looks at the heads) ─ ... ─ n is the oldest durable
 *   one that is kept: head_files_doom(n) ─ every guard of then is closed: head_files_collect closes
 *   and deletes
 *
 * Invariants:
 *  1. Numbers rise and are never used twice in the life of a data directory: the next one stands in
 *     every checkpoint.
 *  2. A file without references never gets one again, but from readers that found it before; those
 *     hold a guard or a reference. So: marked at 0 references with the number of the checkpoint that
 *     begins then, doomed when no older one is kept (nothing durable refers to it any more), deleted
 *     when the guards open at that time are closed and no reader holds it.
 *
 *  3. A file of which a chunk was given up is moved aside when it would be deleted: what a machine
 *     could not read a person may.
 *
 * Format: docs/format/head-chunks.md. Locks: one (rank TSDB_HEAD_FILES) around the list; never held
 * over I/O. Threads: next by the sealer; mark, doom, collect, next_number under the admin lock (or
 * alone); find, read any.
 */
#ifndef TSDB_HEAD_FILES_H
#define TSDB_HEAD_FILES_H

#include "base/epoch.h"
#include "base/random.h"
#include "tsdb/head/sealed.h"

#define HEAD_FILES_DIR         "head" /* in the data directory */
#define HEAD_FILE_HEADER_BYTES 32u
#define HEAD_FILE_FRAME_BYTES  8u /* length before a chunk, CRC behind it */

struct head_files;
/* mark: of the data directory; a file of another one does not verify. seed: random, of this life; from it new files get
 * their identities, by which references know them from those of a copy of the directory that went on by itself. */
enum tsdb_status head_files_create(const struct tsdb_fs *fs, struct cache_l2 *cache,
                                   struct tsdb_epoch *epoch, uint32_t mark, uint64_t seed,
                                   struct head_files **out) TSDB_WUR;
/* Closes all; no reader is left. NULL is fine. Deletes nothing. */
void head_files_destroy(struct head_files *f);

/* Recovery: open every file of the directory that has a valid header; others are reported in the
 * log and counted. number_min: the next number is at least this. IO, NOMEM. */
enum tsdb_status head_files_load(struct head_files *f, uint64_t number_min, uint32_t *out_damaged,
                                 struct tsdb_error *err) TSDB_WUR;
/* The first bytes of such a file: OK; UNSUPPORTED for another format version; CORRUPT. */
enum tsdb_status head_file_version_check(const uint8_t *data, size_t len,
                                         struct tsdb_error *err) TSDB_WUR;
/* NULL: none with that number (or it is not readable). Adds no reference. */
struct head_file *head_files_find(struct head_files *f, uint64_t number);
/* The same, if the newest checkpoint may refer to it. */
struct head_file *head_files_find_live(struct head_files *f, uint64_t number);
/* A new file, header written, its name durable. The caller (the sealer) has a reference. IO,
 * NOMEM. */
enum tsdb_status head_files_next(struct head_files *f, struct head_file **out,
                                 struct tsdb_error *err) TSDB_WUR;
/* Append bytes that the caller framed (head_file_frame_end) and make them durable. After a failure
 * the file takes no more; what it had stays readable. */
enum tsdb_status head_file_append(struct head_file *f, const void *data, size_t len,
                                  struct tsdb_error *err) TSDB_WUR;
/* Fill in length and CRC around the chunk of `len` bytes at frame + 4, which will lie at `offset`
 * of the file. */
void head_file_frame_end(const struct head_file *f, uint64_t offset, uint8_t *frame, uint32_t len);

uint64_t head_files_next_number(struct head_files *f);
/* checkpoint: number of the one that is about to look at the heads. */
void head_files_mark(struct head_files *f, uint64_t checkpoint);
/* checkpoint: number of the oldest durable one that is kept. */
void head_files_doom(struct head_files *f, uint64_t checkpoint);
/* Returns the number of files deleted, or moved to dir as head_files_set_aside does. Cheap when none
 * is doomed. */
uint32_t head_files_collect(struct head_files *f, const char *dir, uint64_t stamp);
/* What an older checkpoint that is kept may refer to: files with first <= number < before. */
struct head_files_kept {
    uint64_t first, before; /* 0, 0: nothing */
};
/* Recovery, before the two below: of these files those to which the loaded checkpoint (its number) does not refer
 * stay until the older one goes. */
void head_files_keep(struct head_files *f, uint64_t loaded, const struct head_files_kept *kept);
/* Recovery, when what was loaded is to stay: delete every file that the loaded checkpoint does not
 * refer to (it may, and no chunk of the head: then the next checkpoint lets it go). */
uint32_t head_files_remove_unused(struct head_files *f);
/* Recovery without a checkpoint: move every such file out of the way, to <dir>/head-<stamp>-<number>.
 * dir: of the data directory, made if need be. stamp: what no earlier call had. *out_moved counts,
 * on failure too; then the rest is where it was, but no longer open. IO. */
enum tsdb_status head_files_set_aside(struct head_files *f, const char *dir, uint64_t stamp,
                                      uint32_t *out_moved, struct tsdb_error *err) TSDB_WUR;

struct head_files_stats {
    uint64_t files, bytes, read_failures;
    uint64_t marked_bytes; /* of files that only an older checkpoint refers to */
    uint64_t damaged;      /* files of which a chunk was given up, in this life */
};
void head_files_stats(struct head_files *f, struct head_files_stats *out);
uint64_t head_files_damaged(const struct head_files *f); /* the same; takes no lock */

#endif
