/* Checkpoints: the procedure over owners, log, series.log and the checkpoint file.
 *
 *   1. rotate the log: what is submitted from now on lands in segment S or later
 *   2. owners note their sequences (marks) and begin a new packing epoch: a frame after the mark
 *      was encoded, and so submitted, after 1., and needs nothing from before
 *   3. append new series to series.log, sync; or write a successor, when a quarter of its series have
 *      left, which takes its place after 4.
 *   4. write the heads (possibly newer than the marks: replaying those frames is a no-op), sync,
 *      rename, sync the directory
 *   5. keep the one before, too, should this one turn out to be damaged: with the log from its S and the head
 *      files that it refers to. Remove older checkpoints, then segments below the S of the one that is kept: a
 *      checkpoint never outlives the log it needs; then head files that the kept ones do not refer to.
 *
 * Where the one before is of no use (series.log was made anew, or it still has what was deleted), a second one
 * follows at once. Until there is a second one, no log goes; unless the disk is nearly full: then one is kept.
 */
#include "base/assert.h"
#include "base/log.h"
#include "tsdb/engine/db_private.h"

#include <string.h>

#define RETRY_NS  (INT64_C(30) * 1000 * 1000 * 1000)
#define VIEW_NONE UINT64_MAX
/* Less is not worth a checkpoint. */
#define WAITING_BYTES_MIN (UINT64_C(1) << 20)
/* Series of a partition in a row in series.log, a megabyte or so: a quarter of what a start reads at once. */
#define SERIES_A_TURN 4096u

/* ---- 2. ---- */
static enum tsdb_status take_marks(struct tsdb *db, bool inline_owners,
                                   struct checkpoint_info *info, struct tsdb_error *err)
{
    enum tsdb_status status = db_owners_ask(db, OWNER_JOB_MARK, 0, inline_owners, NULL, err);
    if (status != TSDB_OK) {
        return status;
    }
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        info->marks[i] = db->owners[db->owner_of[i]].marks[i];
    }
    return TSDB_OK;
}

/* ---- 3. ---- */
static uint32_t ids_end(struct tsdb *db, uint32_t partition)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(db->epoch, &guard);
    uint32_t end = index_mem_ids_end(head_index(db->heads[partition]));
    tsdb_epoch_exit(db->epoch, &guard);
    return end;
}

/* The partition's next series that the log lacks, up to `end`, a turn of them. At the end a hole, if the last ids are
 * of series that have left: so that they are not given out again. */
static TSDB_NOINLINE enum tsdb_status log_partition_series(struct tsdb *db, struct series_log *log,
                                                           uint32_t partition, uint32_t end,
                                                           struct tsdb_error *err)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    struct index_mem *index = head_index_pin(db->heads[partition]);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < SERIES_A_TURN && log->appended[partition] < end;
         i++) {
        uint32_t local = index_mem_next(index, log->appended[partition]);
        local = TSDB_MIN(local, end - 1);
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(db->epoch, &guard);
        struct tsdb_labels labels = {items, index_mem_labels(index, local, items, TSDB_LABELS_MAX)};
        tsdb_epoch_exit(db->epoch, &guard);
        series_log_skip(log, partition, local);
        status = series_log_append(log, partition, &labels, err);
    }
    index_mem_unpin(index);
    return status;
}

/* Partitions take turns: a start reads some of the file at once, and finds work for all cores in it. */
static enum tsdb_status log_all_series(struct tsdb *db, struct series_log *log,
                                       struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint32_t end[TSDB_PARTITIONS];
    uint64_t left = 0; /* partitions that the log lacks some of */
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        end[i] = ids_end(db, i);
        left |= (uint64_t)(log->appended[i] < end[i]) << i;
    }
    while (status == TSDB_OK && left != 0) {
        for (uint64_t turn = left; status == TSDB_OK && turn != 0; turn &= turn - 1) {
            uint32_t i = (uint32_t)__builtin_ctzll(turn);
            status = log_partition_series(db, log, i, end[i], err);
            left &= ~((uint64_t)(log->appended[i] >= end[i]) << i);
        }
    }
    return status;
}

static enum tsdb_status log_new_series(struct tsdb *db, struct series_log *log,
                                       struct checkpoint_info *info, struct tsdb_error *err)
{
    enum tsdb_status status = log_all_series(db, log, err);
    if (status == TSDB_OK) {
        status = series_log_commit(log, err);
    }
    if (status == TSDB_OK) {
        info->series_log = log->durable_mark;
        memcpy(info->series, log->durable, sizeof info->series);
    }
    return status;
}

/* Is so much of series.log of series that have left, or is it damaged, that it is worth a successor? One
 * that still waits to take its place comes first. */
static bool series_log_is_old(struct tsdb *db)
{
    const struct series_log *log = &db->life->series_log;
    if (log->damaged) {
        return true;
    }
    uint64_t living = atomic_load_explicit(&db->series_total, memory_order_relaxed);
    uint64_t left = log->records_durable > living ? log->records_durable - living : 0;
    bool many_left =
        left > 0 && (left >= log->records_durable / 4 || db->life->recovered.ids_moved);
    /* One a partition is as it should be; a checkpoint adds as many at most. */
    bool many_holes = log->holes_durable > UINT64_C(4) * TSDB_PARTITIONS;
    return (many_left || many_holes) && strcmp(log->name, DATADIR_SERIES_LOG) == 0;
}

/* Best effort: where it is now, the next start finds it, too. */
static void series_log_move(struct series_log *log)
{
    struct tsdb_error err;
    if (series_log_settle(log, &err) != TSDB_OK) {
        tsdb_log(TSDB_LOG_WARN, "checkpoint", "the new series.log could not be renamed yet",
                 TSDB_S("err", err.msg));
    }
}

/* ---- 5. ---- */
void db_checkpoint_remove_old(struct tsdb *db)
{
    struct db_life *life = db->life;
    struct tsdb_error err;
    bool low = tsdb_disk_low(db); /* then the room is worth more */
    if (low) {
        life->older = (struct checkpoint_info){0};
        life->older_view = VIEW_NONE;
    }
    const struct checkpoint_info *kept = life->older.number > 0 ? &life->older : &life->last;
    enum tsdb_status status = recovery_set_aside(
        &db->options.fs, (uint64_t)tsdb_clock_wall_ms(&db->options.clock), &life->recovered, &err);
    if (status == TSDB_OK) {
        status = checkpoint_remove_before(&db->options.fs, kept->number, &err);
    }
    if (status == TSDB_OK && (low || kept == &life->older)) {
        status = wal_truncate_before(db->wal, kept->wal_segment, &err);
    }
    if (status != TSDB_OK) {
        /* Harmless: the next checkpoint tries again. */
        tsdb_log(TSDB_LOG_WARN, "checkpoint", "old files stay for now", TSDB_S("err", err.msg));
    }
    head_files_doom(db->head_files, kept->number);
}

static void collect_head_files(struct tsdb *db)
{
    head_files_collect(db->head_files, BLOCKS_DIR_QUARANTINE,
                       (uint64_t)tsdb_clock_wall_ms(&db->options.clock));
}

/* ---- the whole ---- */
static enum tsdb_status write_steps(struct tsdb *db, struct series_log *log, bool inline_owners,
                                    struct checkpoint_info *info, uint64_t *out_bytes,
                                    struct tsdb_error *err)
{
    struct db_life *life = db->life;
    info->wal_segment = wal_rotate(db->wal);
    enum tsdb_status status = take_marks(db, inline_owners, info, err);
    if (status == TSDB_OK) {
        status = log_new_series(db, log, info, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    info->number = life->next_number++; /* a failed number is not used again */
    /* Before the heads are looked at: a file without references now is not in this checkpoint. */
    head_files_mark(db->head_files, info->number);
    info->head_file_next = head_files_next_number(db->head_files);
    struct checkpoint_source source = {&life->room.fs, db->epoch, db->heads, &life->cancel};
    return checkpoint_write(&source, info, out_bytes, err);
}

/* With series.log as it is, or with a successor that has the living alone: *out_anew. */
static enum tsdb_status write_with_log(struct tsdb *db, bool inline_owners,
                                       struct checkpoint_info *info, uint64_t *out_bytes,
                                       bool *out_anew, struct tsdb_error *err)
{
    struct series_log *log = &db->life->series_log;
    struct series_log next;
    series_log_move(log);
    *out_anew = false;
    if (!series_log_is_old(db)) {
        return write_steps(db, log, inline_owners, info, out_bytes, err);
    }
    series_log_init_next(&next, log);
    enum tsdb_status status = write_steps(db, &next, inline_owners, info, out_bytes, err);
    if (status != TSDB_OK) {
        series_log_deinit(&next); /* the next one begins anew, a start removes it */
        return status;
    }
    tsdb_log(TSDB_LOG_INFO, "checkpoint", "series.log is made anew without series that have left",
             TSDB_U("records", next.records_durable), TSDB_U("before", log->records_durable));
    series_log_deinit(log);
    *log = next;
    *out_anew = true;
    series_log_move(log);
    return TSDB_OK;
}

static void failure_note(struct db_life *life, const struct tsdb_clock *clock)
{
    atomic_fetch_add_explicit(&life->checkpoint_failures, 1, memory_order_relaxed);
    life->retry_ns = tsdb_clock_mono_ns(clock) + RETRY_NS;
}

static enum tsdb_status write_one(struct tsdb *db, bool inline_owners, bool *out_anew,
                                  struct tsdb_error *err)
{
    struct db_life *life = db->life;
    if (!db->wal) {
        return tsdb_error_set(err, TSDB_READ_ONLY, "checkpoint: storage is read-only");
    }
    struct wal_stats before;
    wal_stats(db->wal, &before);
    struct checkpoint_info info = {.created_ms = tsdb_clock_wall_ms(&db->options.clock)};
    int64_t ahead_s = (info.created_ms - db_retention_clock_step(db)) / 1000;
    info.ahead_s = (uint32_t)TSDB_MIN(TSDB_MAX(ahead_s, 0), (int64_t)UINT32_MAX);
    uint64_t bytes = 0;
    /* Before the heads are looked at: what is flushed meanwhile asks for another one. Acquire:
     * partner is the flush. */
    uint64_t flushed = atomic_load_explicit(&life->flushed_view, memory_order_acquire);
    uint64_t flushed_bytes = atomic_load_explicit(&life->flushed_bytes, memory_order_relaxed);
    atomic_store_explicit(&life->checkpoint_wanted, 0, memory_order_relaxed);
    enum tsdb_status status = write_with_log(db, inline_owners, &info, &bytes, out_anew, err);
    if (status != TSDB_OK) {
        failure_note(life, &db->options.clock);
        atomic_store_explicit(&life->checkpoint_wanted, 1, memory_order_relaxed);
        return status;
    }
    life->older = *out_anew ? (struct checkpoint_info){0} : life->last;
    life->older_view =
        *out_anew ? VIEW_NONE : atomic_load_explicit(&life->checkpoint_view, memory_order_relaxed);
    life->last = info;
    life->dirty = false;
    /* Release: partner is db_checkpoint_first. */
    if (atomic_exchange_explicit(&life->checkpoint_first, 0, memory_order_acq_rel) != 0) {
        tsdb_log(TSDB_LOG_INFO, "checkpoint", "written; writes are taken again");
    }
    atomic_store_explicit(&life->checkpoint_view, flushed, memory_order_relaxed);
    atomic_store_explicit(&life->checkpoint_flushed_bytes, flushed_bytes, memory_order_relaxed);
    life->wal_bytes_covered = before.bytes_written;
    atomic_fetch_add_explicit(&life->checkpoints, 1, memory_order_relaxed);
    atomic_store_explicit(&life->checkpoint_last_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&life->checkpoint_last_ms, info.created_ms, memory_order_relaxed);
    db_checkpoint_remove_old(db);
    collect_head_files(db);
    return TSDB_OK;
}

enum tsdb_status db_checkpoint_write(struct tsdb *db, bool inline_owners, struct tsdb_error *err)
{
    bool anew = false;
    enum tsdb_status status = write_one(db, inline_owners, &anew, err);
    if (status == TSDB_OK && anew) {
        status = write_one(db, inline_owners, &anew, err);
    }
    return status;
}

enum tsdb_status db_checkpoint_forget_flushed(struct tsdb *db, bool inline_owners,
                                              struct tsdb_error *err)
{
    struct db_life *life = db->life;
    uint64_t flushed = atomic_load_explicit(&life->flushed_view, memory_order_relaxed);
    enum tsdb_status status = TSDB_OK;
    for (int i = 0; i < 2 && status == TSDB_OK && life->older_view != flushed; i++) {
        status = db_checkpoint_write(db, inline_owners, err);
    }
    return status;
}

bool db_checkpoint_wanted(struct tsdb *db)
{
    const struct db_life *life = db->life;
    if (life->dirty || atomic_load_explicit(&life->flushed_view, memory_order_relaxed) !=
                           atomic_load_explicit(&life->checkpoint_view, memory_order_relaxed)) {
        return true;
    }
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        uint64_t write_seq =
            atomic_load_explicit(&db->partitions[i].write_seq, memory_order_relaxed);
        if (write_seq != life->last.marks[i].write_seq || ids_end(db, i) != life->last.series[i]) {
            return true;
        }
    }
    return false;
}

/* ---- steps ---- */
/* Do head files wait for the older checkpoint to go that are larger than one more would be? */
static bool much_waits(struct tsdb *db)
{
    struct head_files_stats s;
    head_files_stats(db->head_files, &s);
    uint64_t last = atomic_load_explicit(&db->life->checkpoint_last_bytes, memory_order_relaxed);
    return s.marked_bytes >= TSDB_MAX(last, WAITING_BYTES_MIN);
}

static bool due(struct tsdb *db, int64_t now_ns)
{
    struct db_life *life = db->life;
    if (now_ns < life->retry_ns || !db->wal) {
        return false;
    }
    if (atomic_load_explicit(&life->checkpoint_wanted, memory_order_acquire) != 0 ||
        much_waits(db)) {
        return true;
    }
    struct wal_stats s;
    wal_stats(db->wal, &s);
    uint64_t replayed = life->dirty ? life->recovered.wal_bytes : 0;
    uint64_t grown = s.bytes_written - life->wal_bytes_covered + replayed;
    uint64_t last_bytes = atomic_load_explicit(&life->checkpoint_last_bytes, memory_order_relaxed);
    return grown >= TSDB_MAX(db->options.checkpoint_wal_bytes, last_bytes / 2);
}

/* One that waits for room is a failure like others. Caller holds admin. */
static enum tsdb_status checkpoint_if_room(struct tsdb *db, struct tsdb_error *err)
{
    enum tsdb_status status = db_room_for_checkpoint(db, err);
    if (status != TSDB_OK) {
        failure_note(db->life, &db->options.clock);
        return status;
    }
    return db_checkpoint_write(db, db->options.manual_steps, err);
}

size_t tsdb_checkpoint_step(struct tsdb *db, int64_t now_ns)
{
    struct db_life *life = db->life;
    if (!db_ready(db)) {
        return 0;
    }
    struct tsdb_error err;
    enum tsdb_status status = TSDB_NOT_FOUND;
    tsdb_mutex_lock(&life->admin);
    collect_head_files(db);
    if (due(db, now_ns)) {
        status = checkpoint_if_room(db, &err);
    }
    tsdb_mutex_unlock(&life->admin);
    if (status == TSDB_NOT_FOUND || status == TSDB_CANCELLED) {
        return 0;
    }
    if (status != TSDB_OK) {
        if (!db_room_quiet(db, &err)) {
            tsdb_log(TSDB_LOG_ERROR, "checkpoint", "failed; the log is kept, next try in 30 s",
                     TSDB_S("err", err.msg));
        }
        return 0;
    }
    return 1;
}

enum tsdb_status tsdb_checkpoint(struct tsdb *db, struct tsdb_error *err)
{
    if (!db_ready(db)) {
        return tsdb_error_set(err, TSDB_BUSY, "checkpoint: the database is not ready");
    }
    tsdb_mutex_lock(&db->life->admin);
    enum tsdb_status status = checkpoint_if_room(db, err);
    tsdb_mutex_unlock(&db->life->admin);
    return status;
}
