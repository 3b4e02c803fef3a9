/* The data directory: who has it, which format it is in, and the secret of its hashes.
 *
 *   LOCK        held (advisory) by the one process that uses the directory
 *   VERSION     format, partition count, rule of placement, hash seed, CRC; text, written once
 *   series.log  labels of all series                     tsdb/recovery/series_log.h
 *   metadata    type, help, unit of metrics              tsdb/recovery/metadata_file.h
 *   checkpoint/ snapshots of the head                    tsdb/recovery/checkpoint.h
 *   head/       sealed chunks of the head                tsdb/head/files.h
 *   wal/        the log since the last checkpoint        wal/wal.h
 *   blocks/     blocks, one directory each               tsdb/block/block.h
 *   snapshots/  data directories of hard links           tsdb/recovery/manifest.h
 *   quarantine/ what was damaged or did not fit, for a person to look at
 *
 * VERSION is the last thing that the first start writes, so a directory either has it or holds no
 * data. A directory that holds data without it is refused: without the seed no series would be
 * found again. Format: docs/format/data-directory.md.
 *
 * Threads: the opener.
 */
#ifndef TSDB_RECOVERY_DATADIR_H
#define TSDB_RECOVERY_DATADIR_H

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"

#define DATADIR_LOCK       "LOCK"
#define DATADIR_VERSION    "VERSION"
#define DATADIR_SERIES_LOG "series.log"
#define DATADIR_SERIES_NEXT                                                                        \
    "series.log.next" /* its successor, until the checkpoint that relies on it */
#define DATADIR_WAL         "wal"
#define DATADIR_CHECKPOINT  "checkpoint"
#define DATADIR_QUARANTINE  "quarantine"
#define DATADIR_SNAPSHOTS   "snapshots"
#define DATADIR_TMP_SUFFIX  ".tmp"
#define DATADIR_VERSION_MAX 4096 /* bytes of VERSION; ours are under 200 */

struct datadir {
    const struct tsdb_fs *fs;
    struct tsdb_file *lock; /* NULL: not held */
    uint8_t hash_seed[TSDB_HASH_SEED_BYTES];
    bool created; /* this open wrote VERSION */
};

/* Take the lock, read VERSION (or create the layout). fs: rooted at the directory; outlives `out`. OK;
 * BUSY if another process has the lock; UNSUPPORTED for a format, partition count or rule of placement
 * that this version does not know, CORRUPT for a damaged VERSION, or data without one: then nothing was
 * touched; IO, NOMEM. On failure nothing is held. */
enum tsdb_status datadir_open(const struct tsdb_fs *fs, const struct tsdb_random *random,
                              struct datadir *out, struct tsdb_error *err) TSDB_WUR;
/* The directory's mark, which its log and its head files carry: a file of another one does not verify. */
uint32_t datadir_mark(const uint8_t hash_seed[TSDB_HASH_SEED_BYTES]);
/* Remove leftovers of interrupted writes and snapshots (*.tmp). After it is known that no file is of a newer
 * version. */
enum tsdb_status datadir_sweep(const struct tsdb_fs *fs, struct tsdb_error *err) TSDB_WUR;
/* Release the lock. A zeroed or closed one is fine. Touches no file content. */
void datadir_close(struct datadir *d);

/* Make quarantine/, durably. */
enum tsdb_status datadir_quarantine_make(const struct tsdb_fs *fs, struct tsdb_error *err) TSDB_WUR;

/* VERSION as text, for tests and tools: out has DATADIR_VERSION_MAX bytes. Returns the length. */
size_t datadir_version_print(const uint8_t hash_seed[TSDB_HASH_SEED_BYTES], char *out);
/* Parse VERSION, untrusted. Returns OK, UNSUPPORTED (the format line is looked at before anything
 * else), CORRUPT. */
enum tsdb_status datadir_version_parse(const uint8_t *src, size_t len,
                                       uint8_t out_hash_seed[TSDB_HASH_SEED_BYTES],
                                       struct tsdb_error *err) TSDB_WUR;

#endif
