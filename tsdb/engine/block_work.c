/* Flush, compaction and retention of blocks as steps: when, and what stands around them.
 *
 * A round of flushing begins every quarter of an hour, or at once when much is overdue (a
 * backfill). It asks the owners to seal what they have of the due windows, waits until the
 * sealer has written that, and makes a block of each window, one a step. Chunks that are in blocks
 * leave the head once a round, when no reader of an older view is left; then a checkpoint lets head
 * files and log go. Both pass over everything that the head holds, so they come
 *   - at the end of the round, a checkpoint only if what went into blocks is worth its bytes (the
 *     rest waits for the next one: until then a death leaves it in the head and in a block, where a
 *     reader sees it once and the next flush and merge settle it);
 *   - in its middle, when that much has gone into blocks that the space matters.
 */
#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "tsdb/block/compact.h"
#include "tsdb/engine/db_private.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_NS         (INT64_C(30) * 1000 * 1000 * 1000)
#define PAUSE_NS         (INT64_C(2) * 1000 * 1000)
#define SEAL_PATIENCE_NS (INT64_C(60) * 1000 * 1000 * 1000) /* a disk in trouble: then later */
#define ROUND_MS_MAX     (INT64_C(15) * 60 * 1000)
/* A checkpoint after a round may write so many times the bytes of head files that it lets go: those
 * are encoded to a byte a sample or less, open tails in a checkpoint to five. */
#define CHECKPOINT_WORTH 16
/* Retention deletes at most this part of the blocks a round, and one at least: whatever is wrong
 * with clocks, data or settings, a person has an hour to see it before most of the history is gone. */
#define DROP_SHARE 8
/* By size: the disk fills while it waits. */
#define DROP_SIZE_EVERY_NS (INT64_C(60) * 1000 * 1000 * 1000)
#define DROP_EVERY_NS      (INT64_C(10) * 60 * 1000 * 1000 * 1000)
/* A block is written anew when this part of it was deleted, one of so many: less waits for a merge. */
#define CLEAN_SHARE  20u
#define RANGE_MS_MAX (INT64_C(31) * 24 * 60 * 60 * 1000)
/* Overdue chunks begin a round at once when no more come to their windows, so many times as many also while
 * they do. */
#define OVERDUE_ALL   4u
#define LOOK_EVERY_NS (INT64_C(1000) * 1000 * 1000)
/* Samples are old when their window ended so many ranges ago. */
#define OLD_RANGES 3
/* Sparse blocks are at most this part of the retention long: so much longer are some samples kept. */
#define JOIN_PART 8
/* So many chunks make a block of some hundreds of KiB, which is cheap to write again. */
#define SPARSE_CHUNKS 4096u

/* ---- opening ---- */

enum tsdb_status db_blocks_open(struct tsdb *db, struct tsdb_error *err)
{
    struct blocks_options o = {
        .fs = &db->life->room.fs,
        .random = db->options.random,
        .clock = db->options.clock,
        .l2 = db->cache_l2,
        .l1_bytes = db->options.cache_l1_bytes,
        .open_files_max = db->options.block_files_max,
    };
    return blocks_open(&db->blocks, &o, err);
}

/* ---- what a step needs of others ---- */

static struct sealer_stats sealed(const struct tsdb *db)
{
    struct sealer_stats s;
    sealer_stats(db->sealer, &s);
    return s;
}

/* Let the owners and the sealer get on: here, or in their threads. False: the sealer rests, and
 * here is nobody to wait for. */
static bool others_step(struct tsdb *db)
{
    if (!db->options.manual_steps) {
        db_wake_all(db); /* the sealer may be waiting for more */
        db_pause(db, PAUSE_NS);
        return true;
    }
    uint64_t drained = sealed(db).drained;
    db_owners_step(db);
    return sealer_step(db->sealer, tsdb_clock_mono_ns(&db->options.clock)) > 0 ||
           sealed(db).drained > drained;
}

static enum tsdb_status owners_seal(struct tsdb *db, int64_t before_ms, struct tsdb_error *err)
{
    return db_owners_ask(db, OWNER_JOB_SEAL, (uint64_t)before_ms, db->options.manual_steps, NULL,
                         err);
}

/* All samples of windows that begin before before_ms, of writes answered until now, are in head
 * files and in the owners' lists. */
static enum tsdb_status seal_before(struct tsdb *db, int64_t before_ms, struct tsdb_error *err)
{
    uint64_t failures = sealed(db).failures;
    enum tsdb_status status = owners_seal(db, before_ms, err);
    /* A drain that is under way may have begun before the owners were done; the second has not. */
    uint64_t until = sealed(db).drained + 2;
    int64_t deadline_ns = tsdb_clock_mono_ns(&db->options.clock) + SEAL_PATIENCE_NS;
    while (status == TSDB_OK && sealed(db).drained < until) {
        if (db_stopping(db)) {
            status = tsdb_error_set(err, TSDB_CANCELLED, "flush: cancelled");
        } else if (!others_step(db) || sealed(db).failures > failures ||
                   tsdb_clock_mono_ns(&db->options.clock) > deadline_ns) {
            status = tsdb_error_set(err, TSDB_IO, "flush: the sealer cannot write");
        }
    }
    /* A step of every owner takes what is in its mailbox. */
    return status == TSDB_OK ? owners_seal(db, before_ms, err) : status;
}

/* ---- windows ---- */

static int64_t range_max(const struct tsdb *db)
{
    int64_t keep_ms = db->options.retention_ms;
    return keep_ms > 0 ? TSDB_MIN(RANGE_MS_MAX, keep_ms / 10) : RANGE_MS_MAX;
}

int64_t db_old_range_max(const struct tsdb *db)
{
    int64_t most = db->options.old_range_max_ms;
    return most > 0 ? TSDB_MIN(most, range_max(db)) : range_max(db);
}

/* Sparse old windows share a block of up to so much time. */
static int64_t join_max(const struct tsdb *db)
{
    int64_t keep_ms = db->options.retention_ms;
    if (db->options.old_range_max_ms > 0) {
        return db_old_range_max(db);
    }
    return keep_ms > 0 ? TSDB_MAX(db_old_range_max(db), keep_ms / JOIN_PART) : INT64_MAX;
}

/* What ends before is old. Later than due: a window that is flushed in time is not part of a longer
 * one yet. A clock that has jumped ahead is not believed. */
static int64_t old_before(const struct tsdb *db)
{
    return tsdb_believed_ms(db) - db->options.block_range_ms * OLD_RANGES;
}

enum tsdb_status db_windows_age(struct tsdb *db, struct tsdb_error *err)
{
    int64_t before_ms = old_before(db);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        if (!head_windows_age(db->heads[i], before_ms)) {
            return tsdb_error_nomem(err, "windows of the head");
        }
    }
    return TSDB_OK;
}

/* ---- flush ---- */

void db_flush_forget(struct tsdb *db)
{
    flush_round_end(db->life->flush_round);
    db->life->flush_round = NULL;
    db->life->flush_round_on = false;
}

static void note_block(struct tsdb *db, const struct flush_result *r, int64_t begin_ns)
{
    struct db_life *life = db->life;
    atomic_fetch_add_explicit(&life->flushed_bytes, r->bytes, memory_order_relaxed);
    /* Release: partner is the checkpoint that is to leave the chunks out. */
    atomic_store_explicit(&life->flushed_view, r->view, memory_order_release);
    atomic_fetch_add_explicit(&life->flushes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&life->flush_chunks_lost, r->damaged, memory_order_relaxed);
    atomic_fetch_add_explicit(&life->flush_samples, r->block.samples, memory_order_relaxed);
    tsdb_log(TSDB_LOG_INFO, "flush", "block written", TSDB_S("block", r->block.ulid),
             TSDB_I("from_ms", r->block.min_ms), TSDB_I("to_ms", r->block.max_ms),
             TSDB_U("series", r->block.series), TSDB_U("samples", r->block.samples),
             TSDB_U("bytes", r->block.bytes),
             TSDB_I("duration_ms", (tsdb_clock_mono_ns(&db->options.clock) - begin_ns) / 1000000));
}

/* Windows that end before are about to be dropped. */
static int64_t kept_from(struct tsdb *db)
{
    return sealed_window(db_retention_min(db), db->options.block_range_ms);
}

static bool anything_in(const struct tsdb *db, int64_t from_ms, int64_t before_ms)
{
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        struct head_span w;
        if (head_window_next(db->heads[i], from_ms, before_ms, &w)) {
            return true;
        }
    }
    return false;
}

static void note_held(struct db_life *life, const struct flush_result *r)
{
    if (r->held > 0) {
        life->flush_held_ns =
            life->flush_held == 0 ? r->held_ns : TSDB_MIN(life->flush_held_ns, r->held_ns);
        life->flush_held_by =
            life->flush_held_by.status == TSDB_OK ? r->held_by : life->flush_held_by;
        life->flush_held += r->held;
    }
}

struct round_kind {
    bool patient, quiet; /* as in struct flush_source */
};

/* Begin a round for the windows that begin in [from_ms, before_ms): all that the head has of them by now
 * is sealed. Stays off if there is nothing. */
static enum tsdb_status round_begin(struct tsdb *db, int64_t from_ms, int64_t before_ms,
                                    struct round_kind kind, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    if (!anything_in(db, from_ms, before_ms)) {
        return TSDB_OK;
    }
    enum tsdb_status status = db_room_check(db, "flush", DB_ROOM_FREES, 0, err);
    if (status == TSDB_OK) {
        status = db_windows_age(db, err);
    }
    if (status == TSDB_OK) {
        status = seal_before(db, before_ms, err);
    }
    if (status == TSDB_OK) {
        life->flush_source = (struct flush_source){
            .blocks = &db->blocks,
            .heads = db->heads,
            .epoch = db->epoch,
            .range_ms = db->options.block_range_ms,
            .join_before_ms = old_before(db),
            .join_ms = join_max(db),
            .sparse_chunks = SPARSE_CHUNKS,
            .clock = db->options.clock,
            .quiet = kind.quiet,
            .patient = kind.patient,
            .cancel = &life->stop_background,
        };
        life->flush_held = 0;
        tsdb_error_clear(&life->flush_held_by);
        life->flush_from_ms = from_ms;
        life->flush_before_ms = before_ms;
        life->flush_round_on = true;
    }
    return status;
}

/* Find the next windows of the round. None: the round is over. */
static enum tsdb_status round_find(struct tsdb *db, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    enum tsdb_status status = flush_round_begin(&life->flush_source, life->flush_from_ms,
                                                life->flush_before_ms, &life->flush_round, err);
    if (status != TSDB_OK || !life->flush_round) {
        life->flush_round_on = false;
        return status;
    }
    int64_t last_ms = flush_round_last_ms(life->flush_round);
    life->flush_from_ms = last_ms < INT64_MAX ? last_ms + 1 : INT64_MAX;
    atomic_fetch_add_explicit(&life->flush_looked_at, flush_round_looked_at(life->flush_round),
                              memory_order_relaxed);
    return TSDB_OK;
}

/* Write the next block of the round: *out_count is one more, or the round is over. */
static enum tsdb_status round_step(struct tsdb *db, size_t *out_count, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    enum tsdb_status status = db_room_check(db, "flush", DB_ROOM_FREES, 0, err);
    if (status != TSDB_OK) {
        return status;
    }
    while (life->flush_round_on) {
        struct flush_result r = {0};
        int64_t begin_ns = tsdb_clock_mono_ns(&db->options.clock);
        status = life->flush_round ? flush_round_step(life->flush_round, &r, err) : TSDB_NOT_FOUND;
        note_held(life, &r);
        if (status == TSDB_OK && r.view != 0) {
            note_block(db, &r, begin_ns);
            ++*out_count;
            return TSDB_OK;
        }
        if (status == TSDB_NOT_FOUND) {
            flush_round_end(life->flush_round);
            life->flush_round = NULL;
            status = round_find(db, err);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

/* Chunks that are in blocks leave the head, as far as no reader needs them. */
static enum tsdb_status sweep(struct tsdb *db, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    uint64_t oldest = view_oldest(&db->blocks.views);
    uint64_t flushed = atomic_load_explicit(&life->flushed_view, memory_order_relaxed);
    if (life->swept_view >= flushed || oldest <= life->swept_view) {
        return TSDB_OK;
    }
    uint64_t bytes = atomic_load_explicit(&life->flushed_bytes, memory_order_relaxed);
    enum tsdb_status status =
        db_owners_ask(db, OWNER_JOB_SWEEP, oldest, db->options.manual_steps, NULL, err);
    if (status == TSDB_OK) {
        life->swept_view = oldest;
        atomic_store_explicit(&life->leave_wanted, 1, memory_order_relaxed);
        if (oldest >= flushed) {
            uint64_t covered =
                atomic_load_explicit(&life->checkpoint_flushed_bytes, memory_order_relaxed);
            uint64_t last =
                atomic_load_explicit(&life->checkpoint_last_bytes, memory_order_relaxed);
            life->swept_bytes = bytes;
            if (bytes - covered >= last / CHECKPOINT_WORTH) {
                /* Release: partner is the checkpoint step. */
                atomic_store_explicit(&life->checkpoint_wanted, 1, memory_order_release);
            }
        }
    }
    return status;
}

/* In the middle of a round: has so much gone into blocks since the last sweep that a checkpoint is
 * no more than doubling it? */
static bool much_flushed(const struct tsdb *db)
{
    const struct db_life *life = db->life;
    uint64_t last = atomic_load_explicit(&life->checkpoint_last_bytes, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&life->flushed_bytes, memory_order_relaxed);
    return bytes - life->swept_bytes >= TSDB_MAX(db->options.checkpoint_wal_bytes, last);
}

/* A window is due half a range after its end; late samples of older ones gather until the next
 * round. */
static int64_t due_before(struct tsdb *db)
{
    int64_t range = db->options.block_range_ms;
    return db_data_now(db) - range - range / 2 + 1;
}

static void failed(struct tsdb *db, const char *what, const struct tsdb_error *err,
                   _Atomic(uint64_t) *counter, int64_t *retry_ns)
{
    *retry_ns = tsdb_clock_mono_ns(&db->options.clock) + RETRY_NS;
    if (err->status == TSDB_CANCELLED) {
        return;
    }
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    if (!db_room_quiet(db, err)) {
        tsdb_log(TSDB_LOG_ERROR, what, "failed; nothing is lost, next try in 30 s",
                 TSDB_S("err", err->msg));
    }
}

static int64_t round_next_ns(const struct tsdb *db, int64_t now_ns)
{
    return now_ns + TSDB_MIN(db->options.block_range_ms / 8, ROUND_MS_MAX) * 1000000;
}

/* A backfill, say: is so much due that it is not to wait for the next round? What still gets samples
 * is left until it has them all, within bounds. */
static bool much_overdue(struct tsdb *db, int64_t now_ns, bool *out_quiet)
{
    struct head_overdue sum = {0};
    if (now_ns < db->life->flush_look_ns) {
        return false;
    }
    db->life->flush_look_ns = now_ns + LOOK_EVERY_NS;
    int64_t from_ms = kept_from(db);
    int64_t before_ms = due_before(db);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        struct head_overdue x = head_windows_overdue(db->heads[i], from_ms, before_ms);
        sum.all += x.all;
        sum.quiet += x.quiet;
    }
    uint64_t most = db->options.overdue_chunks;
    *out_quiet = sum.quiet >= most;
    return *out_quiet || sum.all >= most * OVERDUE_ALL;
}

/* At the end of a round: what waits for a file is tried again when that is. */
static void round_report_held(struct tsdb *db)
{
    struct db_life *life = db->life;
    if (life->flush_round_on || life->flush_held == 0) {
        return;
    }
    life->flush_next_ns = TSDB_MIN(life->flush_next_ns, life->flush_held_ns);
    life->flush_look_ns = life->flush_next_ns;   /* what is held would always be too much */
    if (life->flush_held_by.status != TSDB_OK) { /* else it was said when the wait began */
        atomic_fetch_add_explicit(&life->flush_failures, 1, memory_order_relaxed);
        tsdb_log(TSDB_LOG_ERROR, "flush", "series stay in the head until their file can be read",
                 TSDB_U("series", life->flush_held), TSDB_S("err", life->flush_held_by.msg));
    }
}

size_t tsdb_flush_step(struct tsdb *db, int64_t now_ns)
{
    struct db_life *life = db->life;
    struct tsdb_error err = {0};
    size_t count = 0;
    if (!db_ready(db)) {
        return 0;
    }
    tsdb_mutex_lock(&life->block_work);
    enum tsdb_status status = TSDB_OK;
    bool due = now_ns >= life->flush_next_ns;
    bool quiet = false;
    if (!life->flush_round_on && (due || much_overdue(db, now_ns, &quiet))) {
        status =
            round_begin(db, kept_from(db), due_before(db), (struct round_kind){true, quiet}, &err);
        life->flush_next_ns = due ? round_next_ns(db, now_ns) : life->flush_next_ns;
    }
    if (status == TSDB_OK && life->flush_round_on) {
        status = round_step(db, &count, &err);
        round_report_held(db);
    }
    if (status == TSDB_OK && (!life->flush_round_on || much_flushed(db))) {
        status = sweep(db, &err);
    }
    if (status == TSDB_OK && !life->flush_round_on) {
        status = db_leave_step(db, now_ns, &err);
    }
    if (status != TSDB_OK) {
        db_flush_forget(db);
        failed(db, "flush", &err, &life->flush_failures, &life->flush_next_ns);
        life->flush_look_ns = life->flush_next_ns;
    }
    tsdb_mutex_unlock(&life->block_work);
    return count;
}

enum tsdb_status db_flush_windows(struct tsdb *db, int64_t from_ms, int64_t before_ms,
                                  size_t *out_blocks, struct tsdb_error *err)
{
    db_flush_forget(db);
    enum tsdb_status status =
        round_begin(db, from_ms, before_ms, (struct round_kind){false, false}, err);
    while (status == TSDB_OK && db->life->flush_round_on) {
        status = round_step(db, out_blocks, err);
    }
    if (status == TSDB_OK) {
        status = sweep(db, err);
    }
    if (status == TSDB_OK) {
        status = db_leave_step(db, tsdb_clock_mono_ns(&db->options.clock), err);
    }
    if (status == TSDB_OK && db->life->flush_held > 0) {
        status = tsdb_error_set(err, TSDB_IO, "flush: some series stay in the head: %s",
                                db->life->flush_held_by.msg);
    }
    db->life->flush_held = 0;
    db_flush_forget(db);
    return status;
}

enum tsdb_status tsdb_flush_count(struct tsdb *db, struct tsdb_work_done *out,
                                  struct tsdb_error *err)
{
    struct db_life *life = db->life;
    size_t blocks = 0;
    if (!db_ready(db)) {
        return tsdb_error_set(err, TSDB_BUSY, "flush: the database is not ready");
    }
    tsdb_mutex_lock(&life->block_work);
    uint64_t before = atomic_load_explicit(&life->flush_samples, memory_order_relaxed);
    enum tsdb_status status = db_flush_windows(db, kept_from(db), INT64_MAX, &blocks, err);
    *out = (struct tsdb_work_done){
        .blocks = blocks,
        .samples = atomic_load_explicit(&life->flush_samples, memory_order_relaxed) - before};
    tsdb_mutex_unlock(&life->block_work);
    return status;
}

enum tsdb_status tsdb_flush(struct tsdb *db, struct tsdb_error *err)
{
    struct tsdb_work_done unused;
    return tsdb_flush_count(db, &unused, err);
}

/* ---- retention, compaction ---- */

static int by_end(const void *a, const void *b)
{
    int64_t x = block_meta((*(struct live_block *const *)a)->block)->max_ms;
    int64_t y = block_meta((*(struct live_block *const *)b)->block)->max_ms;
    return (x > y) - (x < y);
}

/* The oldest of the blocks that end at min_ms or before, at most the share of one round. */
static uint32_t choose_old(const struct view *v, int64_t min_ms,
                           struct live_block *old[COMPACT_SOURCES_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->block_count && n < COMPACT_SOURCES_MAX; i++) {
        if (block_meta(v->blocks[i]->block)->max_ms <= min_ms) {
            old[n++] = v->blocks[i];
        }
    }
    if (n > 1) {
        qsort(old, n, sizeof old[0], by_end);
    }
    return TSDB_MIN(n, TSDB_MAX(v->block_count / DROP_SHARE, 1u));
}

static int64_t retention_min(struct tsdb *db)
{
    tsdb_mutex_lock(&db->life->admin);
    (void)db_retention_clock_step(db);
    tsdb_mutex_unlock(&db->life->admin);
    return db_retention_min(db);
}

/* Blocks that end before what is kept leave the view; their files go with their last reader. */
static enum tsdb_status drop_old(struct tsdb *db, int64_t now_ns, size_t *out_count,
                                 struct tsdb_error *err)
{
    struct live_block *old[COMPACT_SOURCES_MAX];
    if (db->options.retention_ms <= 0 || now_ns < db->life->drop_next_ns) {
        return TSDB_OK;
    }
    int64_t min_ms = retention_min(db);
    struct view *v = view_acquire(&db->blocks.views);
    uint32_t n = choose_old(v, min_ms, old);
    enum tsdb_status status =
        n > 0 ? blocks_publish(&db->blocks, NULL, 0, old, n, NULL, NULL, err) : TSDB_OK;
    view_release(&db->blocks.views, v);
    if (status == TSDB_OK && n > 0) {
        *out_count += n;
        db->life->drop_next_ns = now_ns + DROP_EVERY_NS;
        atomic_fetch_add_explicit(&db->life->blocks_expired, n, memory_order_relaxed);
        tsdb_log(TSDB_LOG_INFO, "tsdb", "blocks older than the retention are deleted",
                 TSDB_U("blocks", n), TSDB_I("before_ms", min_ms));
    }
    return status;
}

/* ---- by size ---- */

/* What the retention by size counts. */
static uint64_t stored_bytes(const struct tsdb *db, const struct view *v)
{
    struct head_files_stats head;
    struct wal_stats wal;
    uint64_t bytes = atomic_load_explicit(&db->life->checkpoint_last_bytes, memory_order_relaxed);
    head_files_stats(db->head_files, &head);
    wal_stats(db->wal, &wal);
    for (uint32_t i = 0; i < v->block_count; i++) {
        bytes += block_meta(v->blocks[i]->block)->bytes;
    }
    return bytes + head.bytes + wal.disk_bytes;
}

/* The oldest blocks, until that many bytes are freed, at most the share of one round. sorted: room for all
 * of the view. Returns how many, at its front. */
static uint32_t choose_excess(const struct view *v, uint64_t excess, struct live_block **sorted)
{
    uint32_t most = TSDB_MAX(v->block_count / DROP_SHARE, 1u);
    uint64_t freed = 0;
    uint32_t n = 0;
    memcpy(sorted, v->blocks, v->block_count * sizeof(struct live_block *));
    qsort(sorted, v->block_count, sizeof(struct live_block *), by_end);
    while (n < most && freed < excess) {
        freed += block_meta(sorted[n++]->block)->bytes;
    }
    return n;
}

static enum tsdb_status drop_excess_of(struct tsdb *db, const struct view *v, uint64_t excess,
                                       uint32_t *out_dropped, struct tsdb_error *err)
{
    size_t bytes = v->block_count * sizeof(struct live_block *);
    struct live_block **sorted = tsdb_mem_alloc(TSDB_MEM_OTHER, bytes);
    if (!sorted) {
        return tsdb_error_nomem(err, "the list of blocks");
    }
    uint32_t n = choose_excess(v, excess, sorted);
    enum tsdb_status status = blocks_publish(&db->blocks, NULL, 0, sorted, n, NULL, NULL, err);
    tsdb_mem_free(TSDB_MEM_OTHER, sorted, bytes);
    *out_dropped = status == TSDB_OK ? n : 0;
    return status;
}

/* Blocks that are too much leave the view, the oldest first. */
static enum tsdb_status drop_excess(struct tsdb *db, int64_t now_ns, size_t *out_count,
                                    struct tsdb_error *err)
{
    uint64_t most = db->options.retention_bytes;
    if (most == 0 || now_ns < db->life->drop_size_next_ns) {
        return TSDB_OK;
    }
    uint32_t dropped = 0;
    enum tsdb_status status = TSDB_OK;
    struct view *v = view_acquire(&db->blocks.views);
    uint64_t bytes = stored_bytes(db, v);
    if (bytes > most && v->block_count > 0) {
        status = drop_excess_of(db, v, bytes - most, &dropped, err);
    }
    view_release(&db->blocks.views, v);
    if (dropped > 0) {
        *out_count += dropped;
        db->life->drop_size_next_ns = now_ns + DROP_SIZE_EVERY_NS;
        atomic_fetch_add_explicit(&db->life->blocks_expired, dropped, memory_order_relaxed);
        tsdb_log(TSDB_LOG_INFO, "tsdb", "the oldest blocks are deleted: too many bytes are stored",
                 TSDB_U("blocks", dropped), TSDB_U("bytes", bytes), TSDB_U("bytes_max", most));
    }
    return status;
}

static struct compact_limits limits_of(const struct tsdb *db, int64_t now_ns)
{
    return (struct compact_limits){db->options.block_range_ms, range_max(db), SPARSE_CHUNKS,
                                   now_ns};
}

/* The next merge, or cleaning. NOT_FOUND: nothing to do. */
static enum tsdb_status plan_next(struct tsdb *db, const struct view *v, int64_t now_ns,
                                  enum db_compact_kind kind, struct compact_plan *out,
                                  struct tsdb_error *err)
{
    struct compact_limits limits = limits_of(db, now_ns);
    enum tsdb_status status = TSDB_NOT_FOUND;
    if (kind != DB_COMPACT_CLEAN) {
        status = compact_plan(v, &limits, out, err);
    }
    if (status == TSDB_NOT_FOUND && kind != DB_COMPACT_MERGE) {
        uint32_t share = kind == DB_COMPACT_CLEAN ? UINT32_MAX : CLEAN_SHARE;
        status = compact_plan_clean(v, now_ns, share, out);
    }
    return status;
}

static uint64_t plan_bytes(const struct compact_plan *plan)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        bytes += block_meta(plan->sources[i]->block)->bytes;
    }
    return bytes;
}

enum tsdb_status db_compact_one(struct tsdb *db, int64_t now_ns, enum db_compact_kind kind,
                                struct tsdb_work_done *done, bool *out_source,
                                struct tsdb_error *err)
{
    struct db_life *life = db->life;
    struct compact_plan plan = {0};
    struct block_meta made;
    struct compact_source s = {
        .blocks = &db->blocks,
        .now_ns = now_ns,
        .cancel = &life->stop_background,
    };
    int64_t begin_ns = tsdb_clock_mono_ns(&db->options.clock);
    struct view *v = view_acquire(&db->blocks.views);
    enum tsdb_status status = plan_next(db, v, now_ns, kind, &plan, err);
    if (status == TSDB_OK) {
        status = db_room_check(db, plan.count > 1 ? "merge" : "cleaning", DB_ROOM_GROWS,
                               plan_bytes(&plan), err);
    }
    if (status == TSDB_OK) {
        status = compact_run(&s, &plan, &made, out_source, err);
    } else if (status == TSDB_NOT_FOUND) {
        plan.count = 0;
        status = TSDB_OK;
    }
    view_release(&db->blocks.views, v);
    if (status != TSDB_OK || plan.count == 0) {
        return status;
    }
    done->blocks += plan.count;
    done->samples += made.samples;
    atomic_fetch_add_explicit(&life->compactions, 1, memory_order_relaxed);
    tsdb_log(TSDB_LOG_INFO, "compact",
             plan.count > 1 ? "blocks merged" : "block written without what was deleted",
             TSDB_U("sources", plan.count), TSDB_S("block", made.ulid),
             TSDB_I("from_ms", made.min_ms), TSDB_I("to_ms", made.max_ms),
             TSDB_U("series", made.series), TSDB_U("samples", made.samples),
             TSDB_U("bytes", made.bytes),
             TSDB_I("duration_ms", (tsdb_clock_mono_ns(&db->options.clock) - begin_ns) / 1000000));
    return TSDB_OK;
}

void db_compact_source_failed(struct tsdb *db, const struct tsdb_error *err)
{
    atomic_fetch_add_explicit(&db->life->compaction_failures, 1, memory_order_relaxed);
    tsdb_log(TSDB_LOG_ERROR, "compact", "failed; goes on without the block",
             TSDB_S("err", err->msg));
}

size_t tsdb_compact_step(struct tsdb *db, int64_t now_ns)
{
    struct db_life *life = db->life;
    struct tsdb_error err = {0};
    size_t count = 0;
    if (!db_ready(db)) {
        return 0;
    }
    tsdb_mutex_lock(&life->block_work);
    if (now_ns >= life->compact_next_ns) {
        enum tsdb_status status = drop_old(db, now_ns, &count, &err);
        if (status == TSDB_OK) {
            status = drop_excess(db, now_ns, &count, &err);
        }
        if (status == TSDB_OK) {
            status = db_rules_step(db, now_ns, &err);
        }
        bool source = false;
        struct tsdb_work_done done = {0};
        if (status == TSDB_OK) {
            status = db_compact_one(db, now_ns, DB_COMPACT_ANY, &done, &source, &err);
            count += done.blocks > 0;
        }
        if (source) {
            db_compact_source_failed(db, &err);
        } else if (status != TSDB_OK) {
            failed(db, "compact", &err, &life->compaction_failures, &life->compact_next_ns);
        }
    }
    count += blocks_collect(&db->blocks);
    tsdb_mutex_unlock(&life->block_work);
    return count;
}
