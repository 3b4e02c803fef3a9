/* Recovery: from files to heads. Runs before anything else may touch the partitions.
 *
 *   series.log ─▶ per partition: samples of the newest checkpoint that is whole there
 *     ─▶ log frames after that checkpoint's mark
 *
 * Replay decides nothing: what is in the log was accepted then. Exact duplicates are no-ops (the
 * checkpoint may be newer than its mark); a conflict keeps the first.
 *
 * Invariants:
 *  1. Per partition, frames are applied in the order of their log sequence, each once: frames at or
 *     below the last one are copies from a segment that was re-written.
 *  2. A gap in the log sequence starts a new decode generation: packed values whose base may have
 *     been lost are dropped and counted, never decoded wrongly.
 *  3. Local ids of the log below `identity` are those of the heads. Ids beyond it are mapped: a
 *     series whose record was lost, or that was never logged (memory mode), leaves a gap that the
 *     heads do not have; one that left memory and came back has two ids and goes on with the first. Then result.ids_moved is set, and a checkpoint must be durable before a
 *     frame with the new ids is written.
 *  4. What was read was synced before recovery ends: after a kill it may have been in the page
 *     cache only, and what is written from now on builds upon it.
 *  5. A chunk in a head file is taken over as a reference, unread; what it holds that the log
 *     repeats stands twice and is merged on read. A chunk that lies in two windows (the range was
 *     another one when it was written) is read and cut anew. A chunk whose file is missing or
 *     damaged is left out and counted.
 *  6. A checkpoint whose mark series.log does not have is of another moment: of its ids only those count
 *     whose names (hashes of labels) both have. Damage in a page costs nothing as long as an older checkpoint
 *     has that partition whole, since the log goes back to that one; else the page. Both kinds of checkpoints go to
 *     quarantine/, once a durable one has what was loaded; what they refer to must be kept
 *     (result.checkpoints_left_out).
 *  7. The partitions' epochs end above every epoch and decode generation that was seen.
 *  8. It needs little more memory than what it recovers: what readers could have held is freed on the
 *     way, and what is full is sealed (relieve) after every stretch of log.
 *
 * Threads: the caller and worker_count - 1 helpers of its own, each with its range of partitions;
 * barrier per stretch of a segment.
 */
#ifndef TSDB_RECOVERY_RECOVERY_H
#define TSDB_RECOVERY_RECOVERY_H

#include "tsdb/head/files.h"
#include "tsdb/head/partition.h"
#include "tsdb/recovery/checkpoint.h"
#include "tsdb/recovery/series_log.h"

enum recovery_step {
    RECOVERY_SERIES = 0,
    RECOVERY_CHECKPOINT,
    RECOVERY_LOG,
    RECOVERY_STEP_COUNT
};
/* Written by recovery, read by any thread (relaxed). max < min: nothing to replay. */
struct recovery_progress {
    _Atomic(uint64_t) min, max, current; /* segment numbers */
    _Atomic(uint32_t) step;              /* enum recovery_step */
    _Atomic(uint64_t) done, total;       /* of the step: bytes, partitions, groups of the log */
};

struct recovery_result {
    struct checkpoint_info base;  /* of the checkpoint that was loaded; number 0: none, all zero */
    struct checkpoint_info older; /* of the one before it, which fits, too; number 0: none */
    uint64_t checkpoint_bytes;
    uint64_t checkpoint_number_max; /* highest number seen, damaged ones included */
    uint32_t checkpoints_left_out;  /* damaged, or of another moment: they go to quarantine/ */
#define RECOVERY_ASIDE_MAX 16u
    uint64_t aside[RECOVERY_ASIDE_MAX]; /* those that have not gone yet: recovery_set_aside */
    uint32_t aside_count;
    bool checkpoint_first; /* what was loaded is nowhere else as a whole: as with ids_moved */
    int64_t written_ms;    /* when the newest checkpoint that could be opened was written */
    uint32_t written_ahead_s;
    uint32_t fell_back_partitions; /* loaded from an older checkpoint, or from parts */
    uint64_t lost_series;          /* of the checkpoint: series.log lacks their labels */
    uint64_t lost_series_samples;
    uint64_t lost_series_log_bytes;
    uint64_t lost_ranges;       /* stretches of checkpoints that no other makes good */
    uint64_t lost_range_bytes;  /* of them */
    uint64_t lost_range_series; /* so many may lack samples that are older than written_ms */
    uint64_t wal_segment_first; /* that was there to replay; 0: none */
    uint64_t wal_segment_next;  /* first segment to write */
    uint64_t wal_bytes;         /* of frames that were applied */
    bool ids_moved;
    uint64_t frames, samples;
    uint64_t lost_frames;       /* missing, or malformed */
    uint64_t dropped_samples;   /* base or series lost with a frame */
    uint64_t conflicts;         /* samples whose time was taken by another value */
    uint64_t lost_chunks;       /* of head files that are not readable */
    uint64_t lost_log_segments; /* at the log's end: missing as a whole */
    uint64_t lost_log_bytes;    /* of the last segment that had been synced */
    uint64_t damage; /* damaged stretches of log that are no torn tail, damaged checkpoints */
};

struct recovery {
    const struct tsdb_fs *fs;
    const struct tsdb_hash_key *hash_key;
    struct partition *partitions;    /* [TSDB_PARTITIONS], heads empty; sequences are set */
    struct series_log *series_log;   /* initialised; loaded and ready to append afterwards */
    struct head_files *head_files;   /* empty; loaded afterwards. NULL: none in files */
    uint32_t mark;                   /* datadir_mark */
    uint64_t stamp;                  /* Unix ms: in the names of what goes to quarantine/ */
    uint32_t worker_count;           /* 1: no threads */
    const _Atomic(uint32_t) *cancel; /* not 0: stop with CANCELLED; NULL: never */
    struct recovery_progress *progress;
    /* Called again and again while the heads fill, by the caller's thread and while no worker runs:
     * to seal what is full, as when the samples came first. NULL: all stays in memory. */
    void (*relieve)(void *arg);
    void *relieve_arg;
};

/* Before anything else is done to the directory: is every file of series.log, checkpoint/, head/ and
 * wal/ of a version that this one knows, as far as it can be read? UNSUPPORTED names one that is
 * not; IO. */
enum tsdb_status recovery_versions_check(const struct tsdb_fs *fs, struct tsdb_error *err) TSDB_WUR;

/* Move those checkpoints to quarantine/ that were to stay until a durable one has what was loaded. IO. */
enum tsdb_status recovery_set_aside(const struct tsdb_fs *fs, uint64_t stamp,
                                    struct recovery_result *r, struct tsdb_error *err) TSDB_WUR;

/* Returns OK; CORRUPT (labels that do not belong to their partition: VERSION is of another directory),
 * UNSUPPORTED, IO, NOMEM, CANCELLED. After a failure the heads are good for nothing but to be destroyed. */
enum tsdb_status recovery_run(const struct recovery *r, struct recovery_result *out,
                              struct tsdb_error *err) TSDB_WUR;

#endif
