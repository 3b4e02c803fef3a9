/* What the files of the database's life share.
 *
 *   db.c              options, open, recovery, close, state
 *   threads.c         the production threads
 *   asking.c          jobs for the owners, and waiting for them
 *   checkpointing.c   when and how a checkpoint is written
 *   block_work.c      flush, compaction and retention of blocks
 *   retention.c       retention of the head
 *   rules.c           retention by matcher
 *   deletes.c         series deleted, blocks cleaned and compacted on demand
 *   snapshot.c        a data directory of hard links, made while serving
 *   metadata.c        what is known of metrics, and its file
 *   leaving.c         series without samples in the head leave it
 *   stamp.c           what changed since: for results that are kept
 *   room.c            room on the disk: what may begin, and how low it may go
 *   stats.c           figures
 */
#ifndef TSDB_ENGINE_DB_PRIVATE_H
#define TSDB_ENGINE_DB_PRIVATE_H

#include "base/file_floor.h"
#include "base/mutex.h"
#include "tsdb/engine/flush.h"
#include "tsdb/engine/tsdb_private.h"
#include "tsdb/recovery/datadir.h"
#include "tsdb/recovery/recovery.h"

#include <pthread.h>

struct db_owner_thread {
    struct tsdb *db;
    uint32_t index;
    pthread_t thread;
    bool started;
};

/* The time that retention counts from, as far as the wall clock is believed (retention.c). Guarded
 * by admin, or owned by whoever opens; believed_ms and mono_ns: any thread reads them. */
struct retention_clock {
    _Atomic(int64_t) believed_ms;
    _Atomic(int64_t) mono_ns; /* when believed_ms was set */
    int64_t ahead_from_ns;    /* since then the wall clock is not believed; 0: it is */
    uint32_t rounds;          /* in which the believed time has followed it */
};

/* Room on the disk (room.c). */
struct db_room {
    uint64_t reserve_bytes;      /* immutable once open; 0: nothing is kept */
    struct tsdb_fs fs;           /* for work that can wait; immutable once open */
    struct tsdb_fs_floor *floor; /* what it is; NULL: the database's own */
    _Atomic(uint32_t) low;       /* relaxed, as all of these: less than the reserve is free */
    _Atomic(uint64_t) free_bytes, total_bytes; /* at the last look */
    _Atomic(int64_t) say_ns;                   /* failures for want of room are said again then */
};

struct db_rules;
struct db_life {
    /* immutable once open returned */
    struct datadir dir;
    int64_t open_ms;

    struct db_room room;

    /* written by recovery before `state` is stored (release) */
    struct recovery_result recovered;
    int64_t replay_duration_ns;
    int64_t start_next_ns;   /* READ_ONLY: the start is tried again then; by whoever does */
    struct tsdb_error error; /* cause of FAILED, of READ_ONLY without a log, of checkpoint_first */
    /* Ids have moved and no checkpoint says so yet: until one does, no write is taken. Set by
     * recovery; cleared (release) by the checkpoint. */
    _Atomic(uint32_t) checkpoint_first;
    _Atomic(uint32_t) state_said; /* enum tsdb_state, of the last log line about it */

    struct recovery_progress progress;     /* atomics */
    _Atomic(uint32_t) cancel;              /* recovery and checkpoints stop early */
    uint32_t alias_partition, alias_local; /* tsdb_alias_step: the next series to look at */

    /* threads; touched by whoever opens, recovers, closes: one after the other */
    struct db_owner_thread owners[TSDB_OWNERS_MAX];
    pthread_t recovery, writer, syncer, background, seal, block;
    bool recovery_started, writer_started, syncer_started;
    bool background_started, seal_started, block_started;
    _Atomic(uint32_t) stop_background, stop_owners, stop_wal;
    _Atomic(uint32_t) abandoned;  /* threads leave at once, draining nothing */
    struct tsdb_mutex pause_lock; /* guards nothing but the wait of db_pause */
    struct tsdb_cond pause_cond;

    /* checkpoints: one at a time. Guarded by admin, or owned by whoever opens or closes. */
    struct tsdb_mutex admin;
    struct series_log series_log;
    struct checkpoint_info last;  /* the newest durable one; number 0: none */
    struct checkpoint_info older; /* the one before, should `last` be damaged; number 0: none */
    uint64_t older_view;          /* flushed_view, when it was written; UINT64_MAX: not known */
    uint64_t next_number;
    uint64_t wal_bytes_covered; /* of wal_stats.bytes_written, when `last` was written */
    int64_t retry_ns;           /* after a failure no earlier than this */
    struct retention_clock retention;
    _Atomic(int64_t) dropped_ms; /* chunks of the head that end before it have been dropped... */
    _Atomic(uint64_t) drops;     /* ...so often; both stored (release) under admin */
    uint64_t metadata_saved;     /* changes of the table that its file has */
    int64_t metadata_next_ns;    /* it is not written before that */
    bool dirty; /* the log holds frames that `last` does not cover, from before this process */

    /* Flush, compaction and retention of blocks: one at a time. Guarded by block_work, or owned by
     * whoever opens or closes. */
    struct tsdb_mutex block_work;
    int64_t flush_next_ns, compact_next_ns; /* not before that: a round, or a failure */
    int64_t flush_look_ns;                  /* the next look whether much is overdue */
    struct flush_source flush_source;       /* of the round */
    struct flush_round *flush_round;        /* windows found and not written yet; NULL: none */
    bool flush_round_on;                    /* what is due has been sealed */
    int64_t flush_from_ms, flush_before_ms; /* windows of the round that are not found yet */
    uint64_t flush_held;                    /* series of the round that wait for a file */
    int64_t flush_held_ns;                  /* until then, the first of them */
    struct tsdb_error flush_held_by;
    uint64_t swept_bytes;              /* flushed_bytes, when the last sweep was over */
    int64_t drop_next_ns;              /* the next round of retention */
    int64_t drop_size_next_ns;         /* the same, by size */
    int64_t leave_next_ns;             /* series that are idle leave no earlier than this */
    _Atomic(uint32_t) leave_wanted;    /* chunks have left the head: some may be idle now */
    uint64_t swept_view;               /* chunks in blocks of views up to this have left the head */
    _Atomic(uint64_t) flushed_view;    /* the last one that has a block from the head */
    _Atomic(uint64_t) checkpoint_view; /* flushed_view, when the last checkpoint was written */
    _Atomic(uint32_t) checkpoint_wanted; /* head files and log can go */
    _Atomic(uint64_t) flushed_bytes;     /* of head files: what went into blocks, in this life */
    _Atomic(uint64_t) checkpoint_flushed_bytes; /* flushed_bytes, of the last checkpoint */
    _Atomic(uint64_t) flush_looked_at; /* chunks of the head, to find those of the windows */
    _Atomic(uint64_t) flushes, flush_failures, flush_samples, flush_chunks_lost;
    _Atomic(uint64_t) compactions, compaction_failures, blocks_expired;

    /* The last deletes, newest at (delete_count - 1) % DB_DELETES_KEPT; guarded by deletes_lock. */
#define DB_DELETES_KEPT 64u
    struct tsdb_mutex deletes_lock;
    struct tsdb_delete_info deletes[DB_DELETES_KEPT];
    uint64_t delete_count;       /* in this life */
    struct db_rules *rules_next; /* guarded by deletes_lock: set and not taken over yet */
    struct db_rules *rules;      /* block_work: retention by matcher; NULL: none */
    int64_t rules_next_ns;       /* block_work: the next round */

    /* figures, relaxed atomics */
    _Atomic(uint64_t) checkpoints, checkpoint_failures, checkpoint_last_bytes;
    _Atomic(int64_t) checkpoint_last_ms;
    _Atomic(uint64_t) quarantine_files, quarantine_bytes;
};

/* ---- threads.c ---- */
/* Sleep, or until db_wake_all. */
void db_pause(struct tsdb *db, int64_t ns);
void db_wake_all(struct tsdb *db);
enum tsdb_status db_threads_start(struct tsdb *db, struct tsdb_error *err) TSDB_WUR;
/* Ask them to finish what is queued and join them: background, owners, log. Those that were not
 * started are skipped. */
void db_threads_stop(struct tsdb *db);

/* ---- asking.c ---- */
bool db_ready(const struct tsdb *db);    /* TSDB_STATE_READY */
bool db_stopping(const struct tsdb *db); /* long work is to end with CANCELLED */
/* A step of every owner, here: with manual steps, or when no thread of theirs runs. */
void db_owners_step(struct tsdb *db);
/* Ask all owners and wait until they are done. out_work: the sum of theirs; may be NULL.
 * inline_owners: run their steps here (no owner threads); else CANCELLED when the database stops.
 * One asker at a time for each kind: mark and drop under admin, all others under block_work, or
 * alone. */
enum tsdb_status db_owners_ask(struct tsdb *db, enum owner_job_kind kind, uint64_t argument,
                               bool inline_owners, uint64_t *out_work,
                               struct tsdb_error *err) TSDB_WUR;

/* ---- retention.c ---- */
/* What is older is about to be dropped; INT64_MIN: nothing. Counts from the least of wall clock,
 * believed clock and newest sample. Ready, or whoever opens; any thread. */
int64_t db_retention_min(struct tsdb *db);
/* Look at the clocks. Caller holds admin, or is alone. Returns the believed time, Unix ms. */
int64_t db_retention_clock_step(struct tsdb *db);
/* Before anything is loaded: the time of which the log tells, if it does. Caller is alone. */
void db_retention_clock_begin(struct tsdb *db);
/* All is loaded. last_ms: what the last checkpoint says, 0: there is none. Caller is alone. */
void db_retention_clock_init(struct tsdb *db, int64_t last_ms);

/* The time that tells which windows are over and which series are silent: the wall clock, as far as it is
 * believed or what is stored speaks for it. Ready, or whoever opens; any thread. */
int64_t db_data_now(struct tsdb *db);

/* What is older than keep_ms, by the same clocks; INT64_MIN: nothing. */
int64_t db_older_than(struct tsdb *db, int64_t keep_ms);

/* ---- rules.c ---- */
struct db_rules;
/* A round of retention by matcher, if one is due. Caller holds block_work. */
enum tsdb_status db_rules_step(struct tsdb *db, int64_t now_ns, struct tsdb_error *err) TSDB_WUR;
void db_rules_free(struct db_rules *r); /* NULL is fine */

/* ---- room.c ---- */
enum db_room_kind {
    DB_ROOM_FREES, /* log, head files or memory go after it: down to half of the reserve */
    DB_ROOM_GROWS  /* nothing does at once: down to the reserve */
};
enum tsdb_status db_room_open(struct tsdb *db) TSDB_WUR; /* NOMEM. Caller is alone */
void db_room_close(struct tsdb *db);
/* From now on the reserve is kept, or is no more: a start and a clean end write what they have to. */
void db_room_keep(struct tsdb *db, bool keep);
/* How much of the reserve is a file of the log's. */
uint64_t db_room_log_reserve(const struct tsdb *db);
/* Measure; a log line when it has become low, or is no more. False: the disk does not say. Any thread. */
bool db_room_look(struct tsdb *db, uint64_t *out_free_bytes);
/* May work begin that writes some `bytes`? IO, tsdb_error_is_no_space and a text if not. Any thread. */
enum tsdb_status db_room_check(struct tsdb *db, const char *what, enum db_room_kind kind,
                               uint64_t bytes, struct tsdb_error *err) TSDB_WUR;
/* The same for a checkpoint as large as the last. */
enum tsdb_status db_room_for_checkpoint(struct tsdb *db, struct tsdb_error *err) TSDB_WUR;
/* A failure for want of room that was said some minutes ago: not again. Any thread. */
bool db_room_quiet(struct tsdb *db, const struct tsdb_error *err);

/* ---- stats.c ---- */
/* Look how much lies in quarantine/. Where that fails the old figures stay. One caller at a time. */
void db_quarantine_measure(struct tsdb *db);

/* ---- db.c ---- */
/* Does a write have to wait for the first checkpoint? Then err is BUSY and says why; may be NULL. */
bool db_checkpoint_first(const struct tsdb *db, struct tsdb_error *err);

/* ---- checkpointing.c ---- */
/* Write a checkpoint. Caller holds admin, or is alone. inline_owners: run the owners' steps here
 * (no owner threads). */
enum tsdb_status db_checkpoint_write(struct tsdb *db, bool inline_owners,
                                     struct tsdb_error *err) TSDB_WUR;
/* The same, once or twice if need be, until none that is kept has what was flushed before this call. */
enum tsdb_status db_checkpoint_forget_flushed(struct tsdb *db, bool inline_owners,
                                              struct tsdb_error *err) TSDB_WUR;
/* Remove what the last two checkpoints make superfluous: older ones, the log before them, head files. Logs a
 * failure; the next one tries again. */
void db_checkpoint_remove_old(struct tsdb *db);
/* Is there anything that the last checkpoint lacks? Caller is alone. */
bool db_checkpoint_wanted(struct tsdb *db);

/* ---- metadata.c ---- */
/* Fill the table from its file. What is damaged is left out and logged: senders tell it again. NOMEM.
 * Caller is alone. */
enum tsdb_status db_metadata_load(struct tsdb *db, struct tsdb_error *err) TSDB_WUR;
/* Write the file if it is behind the table. Caller holds admin, or is alone. False: it was not, or could
 * not be written, which is logged. */
bool db_metadata_save(struct tsdb *db);

/* ---- leaving.c ---- */
/* Idle series leave the head, if it is time. Caller holds block_work: a flush borrows labels. */
enum tsdb_status db_leave_step(struct tsdb *db, int64_t now_ns, struct tsdb_error *err) TSDB_WUR;

/* ---- block_work.c ---- */
/* Open the blocks; recovery has loaded the heads, nobody else runs. */
enum tsdb_status db_blocks_open(struct tsdb *db, struct tsdb_error *err) TSDB_WUR;
/* How long a window of old samples is at most: as blocks become, a month or a tenth of the retention,
 * or as the options say. */
int64_t db_old_range_max(const struct tsdb *db);
/* What is old by now lies in longer windows of the heads. Caller holds block_work, or is alone. NOMEM. */
enum tsdb_status db_windows_age(struct tsdb *db, struct tsdb_error *err) TSDB_WUR;
/* Every block of the head's windows that begin in [from_ms, before_ms): *out_blocks rises by how many. IO
 * also when some series stay in the head. Caller holds block_work. */
enum tsdb_status db_flush_windows(struct tsdb *db, int64_t from_ms, int64_t before_ms,
                                  size_t *out_blocks, struct tsdb_error *err) TSDB_WUR;
enum db_compact_kind {
    DB_COMPACT_ANY, /* a merge, else a block of which much was deleted */
    DB_COMPACT_MERGE,
    DB_COMPACT_CLEAN, /* a block of which anything was deleted */
};
/* The next compaction, if there is one: done->blocks rises by its sources, done->samples by what they
 * hold now. *out_source: it failed for a block that the next plan leaves out. Caller holds
 * block_work. */
enum tsdb_status db_compact_one(struct tsdb *db, int64_t now_ns, enum db_compact_kind kind,
                                struct tsdb_work_done *done, bool *out_source,
                                struct tsdb_error *err) TSDB_WUR;
/* Count and log that. */
void db_compact_source_failed(struct tsdb *db, const struct tsdb_error *err);
/* Forget a round of flushing that is under way: what it has not written is found again. Caller holds
 * block_work, or is alone. */
void db_flush_forget(struct tsdb *db);

#endif
