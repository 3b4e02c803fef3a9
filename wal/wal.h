/* The write-ahead log: one log for all owners.
 *
 * On the data path: owners hand over batches whose WAL bytes are already encoded (wal/record.h);
 * the writer copies them into one segment sequence, one write for all who wait, and one fdatasync
 * for all who want it; then completes them.
 *
 *   owner 0 ─ring─┐                            ┌─ buffered: complete after write(2)
 *   owner 1 ─ring─┼─ wal_write_step ─ segment ─┤
 *   owner n ─ring─┘                            └─ wal_sync_step: fdatasync ─ complete strict
 *
 * Invariants:
 *  1. Bytes of one owner appear in the log in the order in which the owner submitted them.
 *  2. A batch is completed OK only after its bytes were accepted by write(2) (buffered) or synced
 *     (strict).
 *  3. Un-synced bytes are at most flush_interval_ms old and at most flush_samples many, plus what
 *     arrived during the sync that runs; their copy stays in memory until synced.
 *  4. A failed write or sync poisons its segment: it is never written again. The un-synced bytes go
 *     again, re-sealed, into a new segment. A segment that cannot be opened poisons nothing.
 *  5. Where there is no segment to write to, one is tried again and again, with growing pauses:
 *
 *       READY --a write, sync or creation failed, and so did its repetition--> RETRYING
 *       RETRYING --a segment with all un-synced bytes stands--> READY
 *       RETRYING --wal_close, and a last attempt failed--> READ_ONLY
 *
 *     While RETRYING, a batch completes with BUSY, but its bytes stay in memory and go to the log
 *     before all later ones: owners have applied it and later frames build upon it. Senders are
 *     turned away before (wal_state), so this memory is bounded by what was under way.
 *     On a full disk the log's reserve is given back first, and the log goes on in its room.
 *  6. Where senders wait for syncs, zeroes are written ahead; a frame's CRC is seeded with the directory's mark,
 *     segment number and offset, so old bytes of a recycled segment, or of another directory's, never
 *     verify.
 *
 * Threads: wal_submit: owner i only with index i. wal_write_step: the writer, and in its place, one at a time
 * (base/turn.h), who helps. wal_sync_step: one syncer, may be the same. Others as said. Format: docs/format/wal.md.
 */
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include "base/clock.h"
#include "base/file.h"
#include "model/batch.h"

struct wal;

struct wal_options {
    const struct tsdb_fs *fs; /* outlives the log */
    const char *dir;          /* "wal" */
    struct tsdb_clock clock;
    /* The wall time as far as it is believed (0: not known yet), for POSITION; NULL: as it is. */
    const _Atomic(int64_t) *believed_ms;
    uint32_t mark; /* of the data directory: what another one wrote does not verify */
    uint32_t owner_count;
    uint32_t ring_slots;    /* batches waiting per owner */
    uint64_t segment_bytes; /* a batch larger than a segment gets a segment of its size */
    uint64_t epoch_bytes;
    uint32_t flush_interval_ms;
    uint64_t flush_samples;
    uint64_t unsynced_bytes_max; /* beyond: sync before more is written */
    uint64_t segment_first; /* number of the first segment to write: after the last one on disk */
    /* A file of so many bytes, whose room the log takes when the disk is full; 0: none. It is made when
     * the disk has so much and reserve_above_bytes besides. */
    uint64_t reserve_bytes, reserve_above_bytes;
    /* Not NULL: segments below segment_first may be needed by a person. They are not removed but
     * moved to <quarantine>/wal-<quarantine_stamp>-<number>. */
    const char *quarantine;
    uint64_t quarantine_stamp;
};

/* Creates the directory if need be and opens the first segment; where the disk refuses that, the log is
 * open and RETRYING. */
enum tsdb_status wal_open(const struct wal_options *options, struct wal **out,
                          struct tsdb_error *err) TSDB_WUR;
/* Writes and syncs what was submitted (unless read-only), closes. Batches still waiting are
 * completed. NULL is fine. */
enum tsdb_status wal_close(struct wal *w, struct tsdb_error *err);
/* Tests: free everything as the death of the process would: nothing is written. Waiting batches are
 * completed with READ_ONLY, because their memory is somebody's. NULL is fine. */
void wal_abandon(struct wal *w);

/* Hand a batch with b->wal_bytes/wal_len to the log. The caller holds a credit of wal_ring(owner).
 * A batch with wal_len 0 (all rejected) or durability MEMORY needs no log: the caller completes it
 * itself. */
struct tsdb_ring *wal_ring(struct wal *w, uint32_t owner);
void wal_submit(struct wal *w, uint32_t owner, struct tsdb_batch *b);
/* The same in two steps, for who may help the writer instead: then it is not told. */
void wal_submit_quietly(struct wal *w, uint32_t owner, struct tsdb_batch *b);
void wal_tell(struct wal *w);

/* The epoch that owners must use for the batches they encode from now on. Rises every epoch_bytes
 * of log. Any thread. */
uint64_t wal_epoch(const struct wal *w);

/* Take what is in the rings, write it, complete buffered batches, pass strict ones on. Returns
 * batches that were completed or passed on; 0 with batches waiting: the bound on un-synced bytes is
 * reached, a sync must come first. */
size_t wal_write_step(struct wal *w, int64_t now_ns);
/* Any thread that waits for *done, of a batch submitted quietly: the same. Not where somebody else is at it, and stays for
 * some microseconds: he sees it. */
void wal_write_help(struct wal *w, const _Atomic(uint32_t) *done);
/* fdatasync if somebody waits for it or the window is used up. Completes strict batches. Returns 1
 * if it synced. */
size_t wal_sync_step(struct wal *w, int64_t now_ns);
/* Sleep until there is work for the step, at most timeout_ns. */
void wal_write_wait(struct wal *w, int64_t timeout_ns);
void wal_sync_wait(struct wal *w, int64_t timeout_ns);
void wal_wake(struct wal *w); /* both; for shutdown */

/* Start a new segment at the next write step, and say its number: every batch submitted after this
 * call returns lands in a segment >= *out_segment. Any thread; waits for nothing. */
uint64_t wal_rotate(struct wal *w);
/* Remove (or recycle) segments with a lower number. They must be covered by a durable checkpoint.
 * Any one thread at a time. */
enum tsdb_status wal_truncate_before(struct wal *w, uint64_t segment,
                                     struct tsdb_error *err) TSDB_WUR;

enum wal_state {
    WAL_READY = 0,
    WAL_RETRYING, /* no segment can be written; one is tried again: answer BUSY */
    WAL_READ_ONLY /* no more writes */
};
/* The state and, unless READY, why (err filled: BUSY or READ_ONLY; may be NULL). Any thread. */
enum wal_state wal_state(const struct wal *w, struct tsdb_error *err);
/* RETRYING, and the last attempt failed because the disk is full. Any thread. */
bool wal_out_of_space(const struct wal *w);
/* Is the log read-only, and why (err filled)? Any thread. */
bool wal_read_only(const struct wal *w, struct tsdb_error *err);

struct wal_stats {
    uint64_t segment; /* current number */
    uint64_t bytes_written, frames_written, samples_written;
    uint64_t writes, syncs, write_failures, sync_failures, segments_created, segments_poisoned;
    uint64_t disk_bytes;     /* of all live segments, preallocation included */
    uint64_t reserve_bytes;  /* of the reserve; 0: it is not there */
    uint64_t unsynced_bytes; /* while RETRYING those in memory only, too */
    uint64_t epoch;
    uint64_t retries; /* attempts to open a segment while RETRYING */
    enum wal_state state;
};
void wal_stats(const struct wal *w, struct wal_stats *out); /* any thread */

/* Before wal_open: give the room of a reserve that a killed process left back to whoever starts. */
void wal_reserve_remove(const struct tsdb_fs *fs, const char *dir);
/* Before anything is done to the log: is every segment, and POSITION, of a version that this one
 * knows, as far as it can be read? UNSUPPORTED names one that is not. */
enum tsdb_status wal_versions_check(const struct tsdb_fs *fs, const char *dir,
                                    struct tsdb_error *err) TSDB_WUR;

/* When the log was last synced, as POSITION has it, in time as it was believed; 0: nothing tells. */
int64_t wal_last_ms(const struct tsdb_fs *fs, const char *dir);

/* ---- replay: before wal_open, from the same directory ---- */
struct wal_replay_options {
    const struct tsdb_fs *fs;
    const char *dir;
    uint64_t segment_from; /* segments below are ignored: the checkpoint covers them */
    uint32_t mark;         /* as in wal_options */
    bool any_mark;         /* tools: each segment by its own header, whosever it is */
#define WAL_REPLAY_WINDOW_MIN 64u
    uint32_t window_bytes; /* read so much of a segment at once; 0: all of it */
};
/* A group of a frame: what one partition has in it. After a double fault (a failed write, and the
 * process killed while it wrote the bytes again) a frame may come twice: skip a log_seq that its
 * partition has had already. */
struct wal_frame {
    uint8_t type; /* enum wal_record_type */
    uint8_t partition;
    uint32_t len;
    uint32_t bytes; /* of log: the group with its head, the first one with the frame's header, the
                       last one with its padding */
    const uint8_t *payload; /* the group's body; valid as long as the view */
    int64_t time_ms;        /* for wal_decode_head */
    uint64_t offset;        /* of the frame in the segment, for messages */
};
struct wal_segment_view {
    uint64_t segment;
    const struct wal_frame *frames; /* of whole, CRC-checked frames, in log order */
    uint32_t frame_count;
    uint64_t from, to, bytes; /* what was looked at of the segment, which has so many bytes */
};
/* A stretch of log that could not be read. Reported, never silently skipped. */
struct wal_damage {
    uint64_t segment;
    uint64_t from,
        to;         /* bytes; 0, 0: this segment, the first of a gap in the numbers, is missing */
    bool torn_tail; /* of the last segment: an interrupted write, nothing acknowledged is lost */
};
/* What was synced once (wal/POSITION says so) and is not there: the end of a segment, or the last
 * segments. Nothing in the log itself shows that. */
struct wal_lost {
    uint64_t segment_from, segment_to; /* the same: `from` is where its good frames end; else those
                                          before segment_to are missing as a whole, from is 0 */
    uint64_t from, to;                 /* bytes of segment_to */
    int64_t wall_ms;                   /* when the last of it was synced, at most a second before */
};
struct wal_replay;
/* UNSUPPORTED for a segment or POSITION of another format version. */
enum tsdb_status wal_replay_open(const struct wal_replay_options *options, struct wal_replay **out,
                                 struct tsdb_error *err) TSDB_WUR;
/* Read and check the next segment, or with window_bytes the next window of it: then there may be no frame in it. A
 * view is valid until the next call, with window_bytes until the one after that; close ends all. Memory: a
 * segment; or two windows, and as much as is left of a segment behind damage. NOT_FOUND after the last. Damage
 * is noted and skipped. One thread at a time. */
enum tsdb_status wal_replay_segment(struct wal_replay *r, struct wal_segment_view *out,
                                    struct tsdb_error *err) TSDB_WUR;
uint32_t wal_replay_damage(const struct wal_replay *r, const struct wal_damage **out);
/* After the last segment: is anything lost that had been synced? */
bool wal_replay_lost(const struct wal_replay *r, struct wal_lost *out);
/* The first number that is certainly unused. */
uint64_t wal_replay_next(const struct wal_replay *r);
/* min, max: segment numbers found (max < min: none); current: being read. For
 * /api/v1/status/walreplay. */
void wal_replay_progress(const struct wal_replay *r, uint64_t *out_min, uint64_t *out_max,
                         uint64_t *out_current);
void wal_replay_close(struct wal_replay *r);

#endif
