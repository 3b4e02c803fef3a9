/* The engine, as the layers above see it: ingest/, query/, server/, tools/ include this and no
 * other header of tsdb/.
 *
 *  - write: alias look-up (any thread) -> submit -> owner rings -> owners -> WAL -> write.done
 *  - read: querier open -> select -> series read -> querier close
 *
 * Invariants:
 *  1. 64 partitions; partition p belongs to owner p * owner_count / 64 for the life of the process,
 *     and only that owner changes it. Readers take no lock and make no writer wait.
 *  2. A write whose `done` was called with OK is visible to every select that starts later, in
 *     every durability mode.
 *  3. submit takes credits on every owner ring it needs or refuses with BUSY, nothing applied.
 *  4. Bit-exact: the bits that were written are the bits that are read.
 *  5. Every actor is a step (tsdb_owner_step, ...): production threads call them in loops; with
 *     `manual_steps` nothing runs by itself and a test calls them in any order over simulated disk
 *     and clock.
 *
 * Threads: everything may be called from any thread unless a function says otherwise.
 */
#ifndef TSDB_TSDB_H
#define TSDB_TSDB_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "model/batch.h"
#include "model/matcher.h"
#include "model/metadata.h"
#include "model/windows.h"

struct tsdb;

struct tsdb_options {
    struct tsdb_fs fs; /* rooted at the data directory; outlives the db */
    struct tsdb_clock clock;
    struct tsdb_random random;
    enum tsdb_durability durability;
    uint32_t owner_count;       /* 0 = min(cores, 4) */
    uint32_t ring_slots;        /* batches waiting per owner; 0 = TSDB_RING_SLOTS */
    uint32_t flush_interval_ms; /* buffered: longest time before fdatasync; 0 = 100 */
    uint64_t flush_samples;     /* buffered: most samples before fdatasync; 0 = 1,000,000 */
    uint64_t wal_segment_bytes; /* 0 = TSDB_WAL_SEGMENT_BYTES */
    uint64_t wal_epoch_bytes;   /* 0 = TSDB_WAL_EPOCH_BYTES */
    /* Checkpoint when the log has grown by this much, and by half of the last checkpoint;
     * 0 = 256 MiB. */
    uint64_t checkpoint_wal_bytes;
    int64_t retention_ms;     /* older than now - this is refused and dropped; 0 = never */
    uint64_t retention_bytes; /* of all files; beyond, the oldest blocks are dropped; 0 = none */
    /* Of the disk: flush, merges, checkpoints, snapshots leave so much of it to the log. 0 = nothing;
     * TSDB_DISK_RESERVE_AUTO = 256 MiB, at most a twentieth of the disk. */
#define TSDB_DISK_RESERVE_AUTO UINT64_MAX
    uint64_t disk_reserve_bytes;
    /* Beyond them new series are refused and known ones go on; 0 = none: series in all, bytes of heads,
     * index and aliases (of the process), series of one metric. */
    uint64_t series_max, head_bytes_max, metric_series_max;
    /* A series whose samples are all in blocks leaves memory when its last one is a stale marker or so
     * old; 0 = at once. */
    int64_t series_idle_ms;
    uint32_t exemplars_max; /* kept in memory; 0 = none kept */
    /* Windows of old samples, and blocks of sparse ones, are at most so long; 0 = as long as blocks
     * become, sparse ones longer; less than block_range_ms = all windows are as long. */
    int64_t old_range_max_ms;
    /* Chunks, tails and late samples of windows that are over: so many are flushed at once; 0 = 65536. */
    uint32_t overdue_chunks;
    /* An open chunk of floats is sealed at so many; 0 = 480, the most. */
    uint32_t head_chunk_samples;
    /* What open chunks of floats have together before they are sealed, if that is more than
     * TSDB_HEAD_BUNDLE_BYTES for 64 series; 0 = TSDB_HEAD_OPEN_BYTES. */
    uint64_t head_open_bytes;
    uint32_t
        head_bundle_bytes; /* for tests: so much for 64 series, whatever there are; 0 = as above */
    uint32_t block_files_max;     /* files of blocks that are open at once; 0 = 128 */
    int64_t block_range_ms;       /* windows of the head, length of the first blocks; 0 = 2 h */
    uint64_t cache_l1_bytes;      /* decoded chunks; 0 = 64 MiB */
    uint64_t cache_l2_bytes;      /* pages of files; 0 = 256 MiB */
    uint64_t head_file_bytes_max; /* a head file that is larger gets a successor; 0 = 128 MiB */
    uint32_t replay_seal_chunks;  /* full ones that recovery gathers before it seals; 0 = 4096 */
    bool manual_steps;
};
void tsdb_options_default(struct tsdb_options *o);

/* ---- life ---- */
/* Takes the lock file, reads VERSION, loads the checkpoint, replays the log. With manual_steps all
 * of that happens here; else open returns as soon as the directory is locked and sane, and recovery
 * goes on in the background (tsdb_state). */
enum tsdb_status tsdb_open(const struct tsdb_options *options, struct tsdb **out,
                           struct tsdb_error *err) TSDB_WUR;
/* Finish what is in the rings, sync the log, write a checkpoint, release the lock. Not concurrent
 * with other calls. After an error the directory is still consistent (the log covers what the
 * checkpoint lacks). NULL is fine. */
enum tsdb_status tsdb_close(struct tsdb *db, struct tsdb_error *err);
/* The same but for the memory: for a process that ends while readers are stuck in here, who must
 * not find it gone. Then nothing but the end of the process may follow. */
enum tsdb_status tsdb_stop(struct tsdb *db, struct tsdb_error *err);
/* Tests: drop everything as kill -9 would, without any file operation. Writes under way are done
 * with READ_ONLY. */
void tsdb_abandon(struct tsdb *db);

enum tsdb_state {
    TSDB_STATE_RECOVERING = 0, /* reads and writes answer BUSY */
    TSDB_STATE_READY,
    TSDB_STATE_RETRYING, /* the log cannot be written just now: writes answer BUSY, reads go on */
    TSDB_STATE_OUT_OF_SPACE, /* the same, because the disk is full */
    TSDB_STATE_READ_ONLY,    /* the log failed: writes answer READ_ONLY, reads go on */
    TSDB_STATE_FAILED,       /* recovery failed; err of tsdb_state says why */
    TSDB_STATE_CLOSING,
    TSDB_STATE_COUNT
};
/* err: the cause of RETRYING, OUT_OF_SPACE, READ_ONLY and FAILED; may be NULL. */
enum tsdb_state tsdb_state(const struct tsdb *db, struct tsdb_error *err);
/* "ready", "log_retrying", ...: for logs, metrics and answers. Never NULL. */
const char *tsdb_state_name(enum tsdb_state state);
/* tsdb_state, and a log line if it is another one than at the last look. For whoever looks every now and
 * then; any thread. */
enum tsdb_state tsdb_state_look(struct tsdb *db, struct tsdb_error *err);
/* Are the files of the directory still there? NOT_FOUND: somebody removed them. A disk that does not say is
 * no reason. */
enum tsdb_status tsdb_files_check(const struct tsdb *db, struct tsdb_error *err) TSDB_WUR;
void tsdb_replay_progress(const struct tsdb *db, uint64_t *out_min, uint64_t *out_max,
                          uint64_t *out_current);
/* While RECOVERING: what it does ("labels of series", "checkpoint", "log"; static) and how far that is, 0 to 100. Any
 * thread. */
const char *tsdb_recovery_step(const struct tsdb *db, uint32_t *out_percent);

/* What is kept free on the disk: the option, or what it became. Any thread. */
uint64_t tsdb_disk_reserve(const struct tsdb *db);
/* Was less than that free, at the last look? */
bool tsdb_disk_low(const struct tsdb *db);

/* ---- writing ---- */
const struct tsdb_hash_key *tsdb_hash_key(const struct tsdb *db);
uint32_t tsdb_owner_count(const struct tsdb *db);
uint32_t tsdb_owner_of(const struct tsdb *db, uint32_t partition);
/* The same as a table, [TSDB_PARTITIONS]; for the life of the db. */
const uint8_t *tsdb_owner_map(const struct tsdb *db);
enum tsdb_durability tsdb_durability(const struct tsdb *db);

/* The alias table: raw label bytes as a sender wrote them -> series. Look-ups take no lock; call
 * them between tsdb_alias_begin and _end (an epoch guard), prefetching a group ahead. */
struct tsdb_alias_guard {
    uint64_t opaque[2];
};
struct tsdb_alias_hit {
    tsdb_series_ref ref; /* TSDB_SERIES_NEW: not known */
    uint32_t generation;
};
void tsdb_alias_begin(struct tsdb *db, struct tsdb_alias_guard *out);
void tsdb_alias_end(struct tsdb *db, struct tsdb_alias_guard *g);
void tsdb_alias_prefetch(struct tsdb *db, struct tsdb_hash128 alias);
struct tsdb_alias_hit tsdb_alias_find(struct tsdb *db, struct tsdb_hash128 alias);
/* Pull the series' hot struct towards this core: only useful when this thread is also the owner. */
void tsdb_series_prefetch(struct tsdb *db, tsdb_series_ref ref);

/* WAL bytes that a batch of these contents may need at most: to be reserved for batch.wal_bytes. */
size_t tsdb_batch_wal_bytes_max(const struct tsdb_write *w, const struct tsdb_batch *b);

/* Hand over a write (tsdb/batch_build.h makes one; model/batch.h says what it is). durability is
 * max(the database's, the request's). Returns
 *  - OK: w->done will be called, exactly once, maybe before this returns. w->status then says OK,
 *    READ_ONLY (nothing promised), or NOMEM (part of it may be stored: send it again).
 *  - BUSY: rings full, recovering or closing; nothing was applied, done is not called.
 *  - READ_ONLY: likewise, for good. */
enum tsdb_status tsdb_write_submit(struct tsdb *db, struct tsdb_write *w,
                                   struct tsdb_error *err) TSDB_WUR;
/* The same, and returns when it is done; done and done_arg are used for that. What owners and the log's writer would have to be woken
 * for, the caller does itself where they are not at work: for who has nothing else to do. */
enum tsdb_status tsdb_write_run(struct tsdb *db, struct tsdb_write *w,
                                struct tsdb_error *err) TSDB_WUR;

/* Metadata of metrics; last one wins, but that an empty one (unknown type, no help, no unit) is
 * none. Kept in memory and, some seconds later, in a file. Where there are too many, those go
 * that were told of longest ago. first_seen_ms: 0, or when that was. Cold path, takes a lock. LIMIT for
 * one that is larger than all may be. */
enum tsdb_status tsdb_metadata_put(struct tsdb *db, const struct tsdb_metadata *m) TSDB_WUR;
typedef bool (*tsdb_metadata_fn)(void *arg, const struct tsdb_metadata *m);
void tsdb_metadata_visit(struct tsdb *db, const char *metric /* NULL = all */, tsdb_metadata_fn fn,
                         void *arg);

/* ---- reading ---- */
/* A querier pins one consistent state: every sample of writes answered before open is there. */
struct tsdb_querier;
enum tsdb_status tsdb_querier_open(struct tsdb *db, struct tsdb_request *request,
                                   struct tsdb_time_range range, struct tsdb_querier **out,
                                   struct tsdb_error *err) TSDB_WUR;
void tsdb_querier_close(struct tsdb_querier *q); /* NULL is fine; frees every set of it */

struct tsdb_series_set {
    struct tsdb_querier *querier;
    /* Ordered by partition, then by the low half of the hash of the labels (the top bits may have
     * chosen the partition), then by labels: the order in which aggregations accumulate. It follows
     * from labels and the directory's secret alone, so that a sum is the same to the last bit wherever
     * the samples are, and after a series has left memory and come back. */
    const tsdb_series_ref *refs;
    uint32_t count;
};
/* Series of the head and of the blocks that the querier's range touches; one that both know is one.
 * Matchers: at least one, any kind. The set may hold series without samples in the range. Lives
 * until the querier closes. INVALID for a bad regex; LIMIT, CANCELLED, TIMEOUT, NOMEM. */
enum tsdb_status tsdb_select(struct tsdb_querier *q, const struct tsdb_matcher *matchers,
                             uint32_t matcher_count, struct tsdb_series_set *out,
                             struct tsdb_error *err) TSDB_WUR;
/* Labels of a series of one of the querier's sets, canonical; array from the arena, strings borrowed
 * until the querier closes. */
enum tsdb_status tsdb_series_labels(struct tsdb_querier *q, tsdb_series_ref ref,
                                    struct tsdb_arena *arena, struct tsdb_labels *out,
                                    struct tsdb_error *err) TSDB_WUR;
/* refs[0] is read next, and the others after it: begin to fetch what their reading will wait for.
 * For each series that is read; costs a little, does nothing else. */
void tsdb_series_read_ahead(struct tsdb_querier *q, const tsdb_series_ref *refs, uint32_t count);
void tsdb_series_newest_ahead(struct tsdb_querier *q, const tsdb_series_ref *refs, uint32_t count);
/* Where series lie, by rising numbers: who reads them in that order touches each page of the blocks once. False: it does
 * not matter, the cache has room for the pages of the largest selection. */
bool tsdb_series_places(const struct tsdb_querier *q, const tsdb_series_ref *refs, uint32_t count,
                        uint64_t *out_places);
/* Samples with range.min_ms <= t <= range.max_ms, strictly rising; columns from the arena (copies:
 * valid as long as it). ref: of one of the querier's sets. range must lie within the querier's. Stale markers are included, bit for
 * bit. */
enum tsdb_status tsdb_series_read(struct tsdb_querier *q, tsdb_series_ref ref,
                                  struct tsdb_time_range range, struct tsdb_arena *arena,
                                  struct tsdb_columns *out, struct tsdb_error *err) TSDB_WUR;

/* The same for who looks at some windows of the range only (NULL: all of it): samples between them are left
 * out, or not. Adds to *counts what became of chunks. */
enum tsdb_status tsdb_series_read_windows(struct tsdb_querier *q, tsdb_series_ref ref,
                                          struct tsdb_time_range range,
                                          const struct tsdb_time_windows *windows,
                                          struct tsdb_arena *arena, struct tsdb_columns *out,
                                          struct tsdb_chunk_counts *counts,
                                          struct tsdb_error *err) TSDB_WUR;
/* The same of the newest sample alone, for who wants no other: mostly told without reading any. Where it
 * is not, all of the range comes. */
enum tsdb_status tsdb_series_newest(struct tsdb_querier *q, tsdb_series_ref ref,
                                    struct tsdb_time_range range, struct tsdb_arena *arena,
                                    struct tsdb_columns *out, struct tsdb_chunk_counts *counts,
                                    struct tsdb_error *err) TSDB_WUR;

/* How many of the series that match have a newest sample in the range that is no stale marker, by the values of
 * label `by` (len 0: all together): as who selects them and asks tsdb_series_newest of each would count them, for much
 * less. range must lie within the querier's. */
struct tsdb_count_group {
    struct tsdb_slice
        value; /* len 0: the series have no such label. Borrowed until the querier closes */
    uint64_t series;
};
struct tsdb_series_count {
    bool
        told; /* false: it takes as long as asking each: times before the newest samples, histograms */
    /* From the arena, in the order of their first series in the set; those of series without samples, too. */
    const struct tsdb_count_group *groups;
    uint32_t count;
    uint64_t read; /* samples that were looked at, stale markers included */
};
enum tsdb_status tsdb_series_count(struct tsdb_querier *q, const struct tsdb_matcher *matchers,
                                   uint32_t matcher_count, struct tsdb_time_range range,
                                   struct tsdb_slice by, struct tsdb_arena *arena,
                                   struct tsdb_series_count *out, struct tsdb_error *err) TSDB_WUR;

/* Distinct label names / values / label sets, sorted bytewise, of series that match ANY of the
 * selectors (each a conjunction of matchers; no selectors = all series). The time range may be
 * taken coarsely (a superset is allowed: names and values without selectors are all that the blocks
 * have). limit 0 = none; *out_truncated says whether there was
 * more. With selectors, and for series, the search ends one beyond the limit: some of the strings
 * (series), sorted; names and values without selectors are the first ones, in memory that goes by the
 * limit. Strings from the arena or borrowed until the querier closes. */
struct tsdb_selector {
    const struct tsdb_matcher *matchers;
    uint32_t count;
};
enum tsdb_status tsdb_label_names(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                  uint32_t selector_count, uint32_t limit, struct tsdb_arena *arena,
                                  struct tsdb_slice **out, uint32_t *out_count, bool *out_truncated,
                                  struct tsdb_error *err) TSDB_WUR;
enum tsdb_status tsdb_label_values(struct tsdb_querier *q, const char *name, uint32_t name_len,
                                   const struct tsdb_selector *selectors, uint32_t selector_count,
                                   uint32_t limit, struct tsdb_arena *arena,
                                   struct tsdb_slice **out, uint32_t *out_count,
                                   bool *out_truncated, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status tsdb_series_list(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                  uint32_t selector_count, uint32_t limit, struct tsdb_arena *arena,
                                  struct tsdb_labels **out, uint32_t *out_count,
                                  bool *out_truncated, struct tsdb_error *err) TSDB_WUR;

/* The same one by one, where there may be too many to be held: sorted only if they are, or the limit is, at most
 * sorted_max, else in the order of tsdb_series_set. The walk, and labels that are sorted, in `arena`; ends before the querier. */
struct tsdb_series_walk;
enum tsdb_status tsdb_series_walk_open(struct tsdb_querier *q,
                                       const struct tsdb_selector *selectors,
                                       uint32_t selector_count, uint32_t limit, uint32_t sorted_max,
                                       struct tsdb_arena *arena, struct tsdb_series_walk **out,
                                       struct tsdb_error *err) TSDB_WUR;
/* *out: its array in `scratch`, or the walk's. *out_found false: that was all. */
enum tsdb_status tsdb_series_walk_next(struct tsdb_series_walk *w, struct tsdb_arena *scratch,
                                       struct tsdb_labels *out, bool *out_found,
                                       struct tsdb_error *err) TSDB_WUR;
bool tsdb_series_walk_truncated(const struct tsdb_series_walk *w); /* known at its end */
void tsdb_series_walk_close(struct tsdb_series_walk *w);           /* NULL is fine */

/* Exemplars of matching series in the range, oldest first per series. */
struct tsdb_exemplar_series {
    struct tsdb_labels labels;
    const struct tsdb_exemplar *items;
    uint32_t count;
};
enum tsdb_status tsdb_exemplars(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                uint32_t selector_count, struct tsdb_time_range range,
                                struct tsdb_arena *arena, struct tsdb_exemplar_series **out,
                                uint32_t *out_count, struct tsdb_error *err) TSDB_WUR;

/* ---- results that are kept ---- */
/* A moment, for who keeps what came out of selects that began after it. */
struct tsdb_stamp {
    bool valid;                 /* the database could be read then */
    uint64_t view, lost, drops; /* of blocks; chunks given up; retention of the head */
    uint64_t written[TSDB_OWNERS_MAX], late[TSDB_OWNERS_MAX]; /* batches, by owner */
};
void tsdb_stamp_take(const struct tsdb *db, struct tsdb_stamp *out);
/* The times at which a select that begins now sees the samples that one saw which began when the stamp
 * was taken, or later; min_ms > max_ms: none that is known. Where both what is early and what is new has changed,
 * it is what lies between. Of writes under way either may be seen, as by
 * any select. Blocks that only took over what the head had change nothing. */
struct tsdb_time_range tsdb_unchanged_since(const struct tsdb *db, const struct tsdb_stamp *stamp);

/* The same for who keeps lists of names, values or series: which series there are, and which blocks. */
struct tsdb_label_stamp {
    struct tsdb_stamp samples;
    uint64_t view, ids,
        left; /* number of the view; series that heads ever had; those that have left them */
};
void tsdb_label_stamp_take(struct tsdb *db, struct tsdb_label_stamp *out);
/* Is a list for the range that was asked for after the stamp was taken still right? It is if the range has the same samples
 * (lists are taken coarsely, so that one that is made now need not have the same bytes); without a range (TSDB_TIME_ALL),
 * if there are the same series: then its bytes are the same. */
bool tsdb_labels_unchanged(struct tsdb *db, const struct tsdb_label_stamp *stamp,
                           struct tsdb_time_range range);

/* What there is much of: for each question the `limit` (> 0) greatest, greatest first, equal ones
 * by name. Of the series that the head knows. Walks every label pair there is; memory and time are
 * the request's (may be NULL). BUSY while storage is
 * not ready; NOMEM, LIMIT, CANCELLED, TIMEOUT. */
struct tsdb_cardinality_item {
    struct tsdb_slice name, value; /* value: of pairs only */
    uint64_t count;
};
struct tsdb_cardinality_list {
    const struct tsdb_cardinality_item *items; /* from the arena */
    uint32_t count;
};
struct tsdb_cardinality {
    uint64_t label_pairs;                       /* distinct ones */
    struct tsdb_cardinality_list metric_series; /* series per metric name */
    struct tsdb_cardinality_list name_values;   /* values per label name */
    struct tsdb_cardinality_list name_bytes;    /* memory of the index per label name, about */
    struct tsdb_cardinality_list pair_series;   /* series per label pair */
};
enum tsdb_status tsdb_cardinality_read(struct tsdb *db, struct tsdb_request *request,
                                       uint32_t limit, struct tsdb_arena *arena,
                                       struct tsdb_cardinality *out,
                                       struct tsdb_error *err) TSDB_WUR;

/* Why new series were refused. */
enum tsdb_series_limit {
    TSDB_SERIES_LIMIT_ALL = 0,
    TSDB_SERIES_LIMIT_MEMORY,
    TSDB_SERIES_LIMIT_METRIC,
    TSDB_SERIES_LIMIT_REQUEST, /* series_max of the request */
    TSDB_SERIES_LIMIT_COUNT
};
/* Refusals of samples of new series since the start, by metric and by the label whose values were new
 * (len 0: none was); at most `limit`, most first; the heavy ones are all there, and a count is too high by
 * `error` at most. From the arena. NOMEM, LIMIT. */
struct tsdb_refused_series {
    struct tsdb_slice metric, label; /* cut to 128 bytes each */
    uint64_t count, error;
};
enum tsdb_status tsdb_refused_series_list(struct tsdb *db, uint32_t limit, struct tsdb_arena *arena,
                                          struct tsdb_refused_series **out,
                                          uint32_t *out_count) TSDB_WUR;
/* "limit of 1000 series (--storage.head.max-series) reached, metric m has most of its refused series for
 * new values of label l": why a series with these labels is refused now, into out[cap]. Its length. */
size_t tsdb_series_limit_text(struct tsdb *db, const struct tsdb_labels *labels, char *out,
                              size_t cap);

/* The wall clock, Unix ms, as far as it is believed: one that has jumped ahead is not for some hours, in
 * which what cannot be taken back (deleting, publishing) goes by the time that should be. */
int64_t tsdb_believed_ms(const struct tsdb *db);

/* The blocks that a query would see now, oldest first. From the arena. BUSY while storage is not
 * ready; NOMEM, LIMIT. */
struct tsdb_block_info {
    char ulid[27];
    int64_t min_ms, max_ms; /* [min, max) */
    uint64_t series, samples, float_samples, histogram_samples, chunks, bytes;
    uint32_t level; /* 1 = from the head, more = compacted */
};
enum tsdb_status tsdb_blocks_list(struct tsdb *db, struct tsdb_arena *arena,
                                  struct tsdb_block_info **out, uint32_t *out_count,
                                  struct tsdb_error *err) TSDB_WUR;

/* ---- background actors as steps ----
 * `now_ns` on the monotonic clock. Each returns the amount of work it did. */
size_t tsdb_owner_step(struct tsdb *db, uint32_t owner, int64_t now_ns);
size_t tsdb_wal_write_step(struct tsdb *db, int64_t now_ns);
size_t tsdb_wal_sync_step(struct tsdb *db, int64_t now_ns);
/* A whole checkpoint when one is due. */
size_t tsdb_checkpoint_step(struct tsdb *db, int64_t now_ns);
/* After a start: enter the aliases of some series that were loaded, as Prometheus's remote write 1.0 spells their
 * labels; how many were looked at, 0: there are no more. */
size_t tsdb_alias_step(struct tsdb *db);
/* Write the metadata of metrics, if it changed some seconds ago. */
size_t tsdb_metadata_step(struct tsdb *db, int64_t now_ns);
/* Chunks of the head that are older than the retention go; returns how many. With manual_steps it
 * runs the owner steps that it needs. */
size_t tsdb_retention_step(struct tsdb *db, int64_t now_ns);
/* Encode what owners have sealed and write it to a head file, one batch; owners swap it in with
 * their next step. */
size_t tsdb_seal_step(struct tsdb *db, int64_t now_ns);
/* Write the block of the oldest window that is due (it ended half a block range ago), or, when the
 * round is over, let what is in blocks leave the head, and then series that have nothing left there. Returns the number of blocks written, 0 or 1.
 * With manual_steps it runs the owner and seal steps that it needs. */
size_t tsdb_flush_step(struct tsdb *db, int64_t now_ns);
/* Delete blocks older than the retention, merge blocks (one merge), delete files that no reader
 * needs any more. */
size_t tsdb_compact_step(struct tsdb *db, int64_t now_ns);
/* Write everything that was answered until now to blocks, open windows too (tests, tools). */
enum tsdb_status tsdb_flush(struct tsdb *db, struct tsdb_error *err) TSDB_WUR;
/* Write a checkpoint now (also: tests, admin). With manual_steps it runs the owner steps that it
 * needs. */
enum tsdb_status tsdb_checkpoint(struct tsdb *db, struct tsdb_error *err) TSDB_WUR;

/* ---- deletes; flush and compaction on demand ---- */
/* Delete the samples in the range of the series that match any of the selectors, as far as their writes
 * were answered before the call. Every select that starts after it does not see them, whatever happens to
 * the process; what is written later, of the same series and times too, shows. The head's windows of
 * the range go to blocks first, so this takes as long as a flush and a checkpoint. What is deleted
 * leaves the files when blocks are merged, when much of a block is deleted, or by
 * tsdb_clean_tombstones. OK also when there is no such sample. BUSY while storage is not ready; INVALID
 * (a bad regex, no selector, one without a matcher); LIMIT, CORRUPT, IO, NOMEM, CANCELLED: nothing is deleted, or (IO)
 * a part: do it again. */
struct tsdb_delete_info {
    uint64_t number; /* of the delete, in this life: 1, 2, ... */
    int64_t at_ms;   /* Unix ms */
    char text[256];  /* the selectors, cut to fit */
    struct tsdb_time_range range;
    uint64_t blocks, series, samples, bytes; /* hidden by it; series counted block by block */
};
enum tsdb_status tsdb_delete_series(struct tsdb *db, const struct tsdb_selector *selectors,
                                    uint32_t count, struct tsdb_time_range range,
                                    struct tsdb_delete_info *out, struct tsdb_error *err) TSDB_WUR;
/* The last deletes of this life, newest first, and what of all deletes is still in the files of blocks.
 * From the arena. BUSY, NOMEM, LIMIT. */
struct tsdb_deletes {
    const struct tsdb_delete_info *items;
    uint32_t count;
    uint64_t blocks, series, samples, bytes; /* not cleaned yet */
};
enum tsdb_status tsdb_deletes_list(struct tsdb *db, struct tsdb_arena *arena,
                                   struct tsdb_deletes *out, struct tsdb_error *err) TSDB_WUR;
struct tsdb_work_done {
    uint64_t blocks;  /* written by a flush; read by a compaction or cleaning */
    uint64_t samples; /* written */
};
/* As tsdb_flush, and says how much. */
enum tsdb_status tsdb_flush_count(struct tsdb *db, struct tsdb_work_done *out,
                                  struct tsdb_error *err) TSDB_WUR;
/* Write every block anew of which something was deleted; merge until nothing is left to merge. Blocks
 * that fail are left out, and the last error is answered when the rest is done. BUSY, CORRUPT, IO,
 * NOMEM, CANCELLED. */
enum tsdb_status tsdb_clean_tombstones(struct tsdb *db, struct tsdb_work_done *out,
                                       struct tsdb_error *err) TSDB_WUR;
enum tsdb_status tsdb_compact(struct tsdb *db, struct tsdb_work_done *out,
                              struct tsdb_error *err) TSDB_WUR;

/* Retention by matcher: series that match a rule are kept for its time only, block by block: a block that
 * ended so long ago loses them. Some blocks a round, every ten minutes; times count as those of
 * retention_ms. Replaces the rules before; a copy is taken. INVALID (a bad regex, a selector without a
 * matcher, a time that is not positive), LIMIT (too many), NOMEM. */
#define TSDB_RETENTION_RULES_MAX 64u
struct tsdb_retention_rule {
    struct tsdb_selector selector;
    int64_t keep_ms;
};
enum tsdb_status tsdb_retention_rules_set(struct tsdb *db, const struct tsdb_retention_rule *rules,
                                          uint32_t count, struct tsdb_error *err) TSDB_WUR;

/* ---- snapshots ---- */
/* A data directory snapshots/<name>/ that holds every write answered before the call: of hard links,
 * with copies of what still grows, and a MANIFEST (docs/format/snapshot.md). skip_head: blocks only.
 * Made while everything goes on, but flushing, compaction and checkpoints wait until the links stand;
 * then it reads all of it for the checksums. Durable when it returns; after a failure nothing of it is
 * left, at worst until the next open. BUSY while storage is not ready; IO, NOMEM, CANCELLED. */
#define TSDB_SNAPSHOT_NAME_BYTES 40
enum tsdb_status tsdb_snapshot(struct tsdb *db, bool skip_head,
                               char out_name[TSDB_SNAPSHOT_NAME_BYTES],
                               struct tsdb_error *err) TSDB_WUR;

/* ---- figures ---- */
struct tsdb_stats {
    uint64_t series, series_created, chunks, label_pairs, symbols;
    uint64_t samples_appended, histograms_appended, exemplars_appended, duplicates, out_of_order;
    uint64_t rejected[TSDB_REJECT_COUNT];
    uint64_t series_refused[TSDB_SERIES_LIMIT_COUNT]; /* times that a new one was */
    uint64_t series_max, head_bytes_max, metric_series_max, head_bytes; /* limits; held now */
    uint64_t aliases, alias_misses;
    int64_t min_time_ms, max_time_ms; /* INT64_MAX, INT64_MIN when empty */
    uint64_t ring_depth, ring_full;
    uint64_t wal_segment, wal_bytes_written, wal_samples_written, wal_writes, wal_syncs;
    uint64_t wal_failures, wal_retries, wal_disk_bytes, wal_unsynced_bytes;
    uint64_t wal_state;          /* 0 takes writes, 1 tries to open a segment again, 2 takes none */
    uint64_t wal_reserve_bytes;  /* 0: it is used, or not made yet */
    uint64_t disk_reserve_bytes; /* what is to be kept free */
    uint64_t disk_free_bytes, disk_total_bytes; /* at the last look, a second ago */
    uint64_t disk_low; /* 1: less than the reserve is free, and work that can wait does */
    uint64_t head_files, head_file_bytes, head_read_failures;            /* of head/ */
    uint64_t sealed_chunks, sealed_samples, sealed_bytes, seal_failures; /* written to head/ */
    uint64_t seal_pending; /* sealed chunks in memory, not in a file yet */
    uint64_t blocks, block_bytes, blocks_deleted, blocks_expired, blocks_quarantined;
    uint64_t tombstones_damaged; /* moved to quarantine: what they hid shows again */
    /* What blocks in quarantine had, of those that say it: so many of blocks_quarantined. Series are
     * counted block by block; times [min, max), 0 without blocks. */
    uint64_t lost_blocks, lost_block_series, lost_block_samples;
    int64_t lost_block_min_ms, lost_block_max_ms;
    uint64_t tombstones_samples;                 /* deleted, and still in the files of blocks */
    uint64_t blocks_damaged, head_files_damaged; /* given up after failing to be read */
    uint64_t flushes, flush_failures, flush_samples, flush_chunks_lost;
    uint64_t compactions, compaction_failures;
    uint64_t l1_bytes, l1_bytes_used, l1_hits, l1_misses, l1_evictions;
    uint64_t l2_bytes, l2_frames_used, l2_frames_pinned;
    uint64_t l2_hits, l2_misses, l2_evictions, l2_bypasses;
    uint64_t checkpoints, checkpoint_failures, checkpoint_last_bytes;
    int64_t checkpoint_last_ms; /* wall time; 0 = never */
    uint64_t replay_frames, replay_samples, replay_damage, replay_lost_frames;
    uint64_t replay_lost_log_segments, replay_lost_log_bytes; /* synced once, missing at its end */
    uint64_t replay_dropped_samples; /* whose series was lost with a frame */
    uint64_t replay_lost_chunks;     /* of head files that are not readable */
    /* Series whose labels series.log has lost, with so many samples in the head; stretches of checkpoints that no
     * other copy makes good, of at most so many series, with samples from before replay_written_ms. */
    uint64_t replay_lost_series, replay_lost_series_samples;
    uint64_t replay_lost_ranges, replay_lost_range_bytes, replay_lost_range_series;
    uint32_t replay_fell_back_partitions; /* loaded from an older checkpoint, or from parts */
    int64_t replay_written_ms;            /* of the newest checkpoint; 0: there was none */
    int64_t replay_duration_ns;
    uint64_t quarantine_files, quarantine_bytes; /* looked at every ten seconds */
    int64_t open_ms;                             /* wall time of open */
};
void tsdb_stats_read(struct tsdb *db, struct tsdb_stats *out);

#endif
