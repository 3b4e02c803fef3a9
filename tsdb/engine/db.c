/* The life of a database: options, open, recovery, close. */
#include "base/assert.h"
#include "base/cpu.h"
#include "base/log.h"
#include "tsdb/engine/db_private.h"

#include <stdio.h>
#include <string.h>

/* A start that could not write: how often it is tried again, and looked whether it is over. */
#define START_AGAIN_NS       (INT64_C(5) * 1000 * 1000 * 1000)
#define START_LOOK_NS        (INT64_C(500) * 1000 * 1000)
#define OWNERS_EACH_CORE     4u
#define OWNERS_DEFAULT_MAX   32u
#define FLUSH_INTERVAL_MS    100u
#define FLUSH_SAMPLES        UINT64_C(1000000)
#define CHECKPOINT_WAL_BYTES (UINT64_C(256) << 20)
#define BLOCK_RANGE_MS       (INT64_C(2) * 60 * 60 * 1000)
#define CACHE_L1_BYTES       (UINT64_C(64) << 20)
#define CACHE_L2_BYTES       (UINT64_C(256) << 20)
#define HEAD_FILE_BYTES_MAX  (UINT64_C(128) << 20)
#define OVERDUE_CHUNKS       65536u
#define BLOCK_FILES_MAX      128u
#define REPLAY_SEAL_CHUNKS   4096u /* some 8 MB in memory; a sync for so many */
/* Copies kept in memory while a slow disk syncs. */
#define WAL_UNSYNCED_BYTES_MAX (UINT64_C(64) << 20)
#define EPOCH_READERS_MAX      256u /* guards open at once: HTTP workers, queries, checkpoint */
/* 24 bytes each; beyond, the slow path still finds a series. */
#define ALIASES_MAX (UINT64_C(1) << 25)

void tsdb_options_default(struct tsdb_options *o)
{
    *o = (struct tsdb_options){
        .clock = tsdb_clock_real,
        .random = tsdb_random_system,
        .durability = TSDB_DURABILITY_BUFFERED,
    };
}

/* A sample costs threads of HTTP twice what it costs owners, and each more makes batches smaller
 * (docs/decisions/0020-one-sealer-and-threads-by-cores.md). */
static uint32_t owners_default(void)
{
    uint32_t cores = tsdb_cpu_count();
    return cores <= OWNERS_EACH_CORE
               ? cores
               : TSDB_MIN(TSDB_MAX(cores / 2, OWNERS_EACH_CORE), OWNERS_DEFAULT_MAX);
}

static enum tsdb_status options_fill(const struct tsdb_options *in, struct tsdb_options *out,
                                     struct tsdb_error *err)
{
    *out = *in;
    out->owner_count = in->owner_count ? in->owner_count : owners_default();
    out->ring_slots = in->ring_slots ? in->ring_slots : TSDB_RING_SLOTS;
    out->flush_interval_ms = in->flush_interval_ms ? in->flush_interval_ms : FLUSH_INTERVAL_MS;
    out->flush_samples = in->flush_samples ? in->flush_samples : FLUSH_SAMPLES;
    out->wal_segment_bytes = in->wal_segment_bytes ? in->wal_segment_bytes : TSDB_WAL_SEGMENT_BYTES;
    out->wal_epoch_bytes = in->wal_epoch_bytes ? in->wal_epoch_bytes : TSDB_WAL_EPOCH_BYTES;
    out->checkpoint_wal_bytes =
        in->checkpoint_wal_bytes ? in->checkpoint_wal_bytes : CHECKPOINT_WAL_BYTES;
    out->head_open_bytes = in->head_open_bytes ? in->head_open_bytes : TSDB_HEAD_OPEN_BYTES;
    out->head_chunk_samples =
        in->head_chunk_samples ? in->head_chunk_samples : TSDB_HEAD_CHUNK_SAMPLES_MAX;
    out->block_range_ms = in->block_range_ms ? in->block_range_ms : BLOCK_RANGE_MS;
    out->cache_l1_bytes = in->cache_l1_bytes ? in->cache_l1_bytes : CACHE_L1_BYTES;
    out->cache_l2_bytes = in->cache_l2_bytes ? in->cache_l2_bytes : CACHE_L2_BYTES;
    out->overdue_chunks = in->overdue_chunks ? in->overdue_chunks : OVERDUE_CHUNKS;
    out->block_files_max = in->block_files_max ? in->block_files_max : BLOCK_FILES_MAX;
    out->head_file_bytes_max = in->head_file_bytes_max
                                   ? TSDB_MIN(in->head_file_bytes_max, SEALED_FILE_BYTES_MAX)
                                   : HEAD_FILE_BYTES_MAX;
    out->replay_seal_chunks = in->replay_seal_chunks ? in->replay_seal_chunks : REPLAY_SEAL_CHUNKS;
    if (out->owner_count > TSDB_OWNERS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "%u owners, at most %d",
                              (unsigned)out->owner_count, TSDB_OWNERS_MAX);
    }
    if (!out->fs.ops || !out->clock.mono_ns || !out->random.next || out->retention_ms < 0 ||
        out->block_range_ms < 0 || out->old_range_max_ms < 0 ||
        out->head_chunk_samples > TSDB_HEAD_CHUNK_SAMPLES_MAX) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "options need files, clock and randomness, no negative retention or block range, and "
            "chunks of at most %d samples",
            TSDB_HEAD_CHUNK_SAMPLES_MAX);
    }
    return TSDB_OK;
}

/* ---- building and taking apart ---- */
static enum tsdb_status out_of_memory(struct tsdb_error *err)
{
    return tsdb_error_set(err, TSDB_NOMEM, "no memory to open the database");
}

static enum tsdb_status owners_create(struct tsdb *db)
{
    uint32_t n = db->options.owner_count;
    size_t bytes = n * sizeof *db->owners;
    db->owners = tsdb_mem_alloc_aligned(TSDB_MEM_OTHER, TSDB_CACHELINE, bytes);
    if (!db->owners) {
        return TSDB_NOMEM;
    }
    memset(db->owners, 0, bytes);
    db->owner_count = n;
    for (uint32_t i = 0; i < n; i++) {
        struct owner *o = &db->owners[i];
        o->late_ms = WRITTEN_LATE_MS;
        o->index = i;
        o->aliases = db->aliases;
        o->partitions = db->partitions;
        o->partition_begin = (i * TSDB_PARTITIONS + n - 1) / n;
        o->partition_end = ((i + 1) * TSDB_PARTITIONS + n - 1) / n;
        o->options = &db->options;
        o->clock = db->options.clock;
        o->series_total = &db->series_total;
        o->limits = db->series_limits;
        for (uint32_t p = o->partition_begin; p < o->partition_end; p++) {
            TSDB_ASSERT(p * n / TSDB_PARTITIONS == i);
            db->owner_of[p] = (uint8_t)i;
        }
        db->life->owners[i].db = db;
        db->life->owners[i].index = i;
        enum tsdb_status status = tsdb_ring_init(&o->ring, db->options.ring_slots);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

/* The arena of L2 is address space until pages are read. */
static enum tsdb_status sealing_create(struct tsdb *db)
{
    enum tsdb_status status = cache_l2_create(db->options.cache_l2_bytes, &db->cache_l2, NULL);
    if (status == TSDB_OK) {
        status = head_files_create(
            &db->life->room.fs, db->cache_l2, db->epoch, datadir_mark(db->life->dir.hash_seed),
            db->options.random.next(db->options.random.ctx), &db->head_files);
    }
    if (status == TSDB_OK) {
        struct sealer_options o = {
            .files = db->head_files,
            .heads = db->heads,
            .owners = db->owners,
            .owner_of = db->owner_of,
            .file_bytes_max = db->options.head_file_bytes_max,
        };
        status = sealer_create(&o, &db->sealer);
    }
    return status;
}

static enum tsdb_status parts_create(struct tsdb *db)
{
    enum tsdb_status status = tsdb_epoch_create(EPOCH_READERS_MAX, &db->epoch);
    if (status == TSDB_OK) {
        status = alias_table_create(db->epoch, ALIASES_MAX, &db->aliases);
    }
    if (status == TSDB_OK) {
        status = metadata_table_create(&db->hash_key, &db->options.clock, METADATA_ENTRIES_MAX,
                                       METADATA_BYTES_MAX, &db->metadata);
    }
    if (status == TSDB_OK) {
        status = head_exemplar_store_create(db->options.exemplars_max, &db->exemplars);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < TSDB_PARTITIONS; i++) {
        status = head_partition_create(i, db->epoch, 0, &db->heads[i]);
        if (status == TSDB_OK) {
            db->partitions[i].head = db->heads[i];
            head_exemplars_share(db->heads[i], db->exemplars);
            head_partition_configure(db->heads[i], db->options.block_range_ms, db_old_range_max(db),
                                     true);
            head_chunk_samples_set(db->heads[i], db->options.head_chunk_samples);
            head_bundle_bytes_set(db->heads[i], db->options.head_bundle_bytes,
                                  db->options.head_open_bytes / TSDB_PARTITIONS);
        }
    }
    if (status == TSDB_OK) {
        status = series_limits_create(&db->options, &db->hash_key, db->heads, db->epoch,
                                      &db->series_limits);
    }
    if (status == TSDB_OK) {
        status = owners_create(db);
    }
    return status == TSDB_OK ? sealing_create(db) : status;
}

static struct tsdb *db_create(void)
{
    struct tsdb *db = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *db);
    struct db_life *life = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *life);
    if (!db || !life) {
        tsdb_mem_free(TSDB_MEM_OTHER, db, sizeof *db);
        tsdb_mem_free(TSDB_MEM_OTHER, life, sizeof *life);
        return NULL;
    }
    db->life = life;
    tsdb_mutex_init(&life->pause_lock, TSDB_RANK_TSDB_METADATA, "tsdb pause");
    tsdb_cond_init(&life->pause_cond);
    tsdb_mutex_init(&life->deletes_lock, TSDB_RANK_TSDB_METADATA, "tsdb deletes");
    tsdb_mutex_init(&life->admin, TSDB_RANK_TSDB_ADMIN, "tsdb admin");
    tsdb_mutex_init(&life->block_work, TSDB_RANK_TSDB_BLOCKS, "tsdb blocks");
    atomic_init(&life->progress.min, 1);
    atomic_init(&life->progress.max, 0);
    return db;
}

/* No thread runs any more and the log is closed. */
static void db_destroy(struct tsdb *db)
{
    struct db_life *life = db->life;
    TSDB_ASSERT(!db->wal);
    db_flush_forget(db);
    sealer_destroy(db->sealer);
    for (uint32_t i = 0; i < db->owner_count; i++) {
        owner_mailbox_apply(&db->owners[i]);
        tsdb_ring_deinit(&db->owners[i].ring);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, db->owners, db->options.owner_count * sizeof *db->owners);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_partition_destroy(db->heads[i]);
    }
    head_exemplar_store_destroy(db->exemplars);
    head_files_destroy(db->head_files);
    blocks_close(&db->blocks);
    cache_l2_destroy(db->cache_l2);
    metadata_table_destroy(db->metadata);
    series_limits_destroy(db->series_limits);
    alias_table_destroy(db->aliases);
    tsdb_epoch_destroy(db->epoch);
    series_log_deinit(&life->series_log);
    db_room_close(db);
    datadir_close(&life->dir);
    tsdb_mutex_deinit(&life->block_work);
    tsdb_mutex_deinit(&life->admin);
    tsdb_mutex_deinit(&life->deletes_lock);
    db_rules_free(life->rules_next);
    db_rules_free(life->rules);
    tsdb_cond_deinit(&life->pause_cond);
    tsdb_mutex_deinit(&life->pause_lock);
    tsdb_mem_free(TSDB_MEM_OTHER, life, sizeof *life);
    tsdb_mem_free(TSDB_MEM_OTHER, db, sizeof *db);
}

/* ---- recovery ---- */
/* Without the last checkpoint nothing tells what the head files and the log mean. With none at all,
 * and the log there from its first segment and whole, it has all that they have; otherwise a
 * checkpoint was lost, taken away or left out, and they may hold what nothing else does. */
static bool checkpoint_missing(const struct tsdb *db)
{
    const struct recovery_result *r = &db->life->recovered;
    return r->checkpoints_left_out > 0 || (db->life->last.number == 0 && r->wal_segment_first != 1);
}

/* Was anything of the log left out? A person may still read it. */
static bool log_damaged(const struct tsdb *db)
{
    const struct recovery_result *r = &db->life->recovered;
    return r->damage + r->lost_frames + r->dropped_samples > 0;
}

static enum tsdb_status open_wal(struct tsdb *db, struct tsdb_error *err)
{
    const struct tsdb_options *o = &db->options;
    struct wal_options options = {
        .fs = &o->fs,
        .dir = DATADIR_WAL,
        .clock = o->clock,
        .believed_ms = &db->life->retention.believed_ms,
        .mark = datadir_mark(db->life->dir.hash_seed),
        .owner_count = db->owner_count,
        .ring_slots = o->ring_slots,
        .segment_bytes = o->wal_segment_bytes,
        .epoch_bytes = o->wal_epoch_bytes,
        .flush_interval_ms = o->flush_interval_ms,
        .flush_samples = o->flush_samples,
        .unsynced_bytes_max = WAL_UNSYNCED_BYTES_MAX,
        .segment_first = db->life->recovered.wal_segment_next,
        .reserve_bytes = db_room_log_reserve(db),
        .reserve_above_bytes = db->life->room.reserve_bytes,
    };
    if ((checkpoint_missing(db) || log_damaged(db)) && db->life->recovered.wal_segment_first > 0) {
        options.quarantine = DATADIR_QUARANTINE;
        options.quarantine_stamp = (uint64_t)tsdb_clock_wall_ms(&o->clock);
    }
    enum tsdb_status status = wal_open(&options, &db->wal, err);
    for (uint32_t i = 0; status == TSDB_OK && i < db->owner_count; i++) {
        db->owners[i].wal = db->wal;
    }
    return status;
}

/* While recovery fills the heads, nobody else runs: seal as soon as it is worth a batch. A file that
 * cannot be written is no reason not to start; the chunks stay in memory until it can be. */
static void seal_while_recovering(void *arg)
{
    struct tsdb *db = arg;
    uint64_t pending = 0;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        pending += head_raw_pending(db->heads[i]);
    }
    while (pending >= db->options.replay_seal_chunks) {
        size_t n = sealer_step(db->sealer, tsdb_clock_mono_ns(&db->options.clock));
        for (uint32_t i = 0; i < db->owner_count; i++) {
            owner_mailbox_apply(&db->owners[i]);
        }
        for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
            head_reclaim(db->heads[i], 0);
        }
        if (n == 0 || n > pending) {
            break;
        }
        pending -= n;
    }
}

/* What a newer version wrote is refused before anything is touched. */
static enum tsdb_status look_first(struct tsdb *db, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = &db->options.fs;
    enum tsdb_status status = recovery_versions_check(fs, err);
    if (status == TSDB_OK) {
        status = blocks_versions_check(fs, err);
    }
    return status == TSDB_OK ? datadir_sweep(fs, err) : status;
}

/* Nothing else is to be done yet: every core, where owners have a part of them. */
static uint32_t recovery_workers(const struct tsdb *db)
{
    uint32_t cores = TSDB_MIN(tsdb_cpu_count(), (uint32_t)TSDB_OWNERS_MAX);
    return db->options.manual_steps ? 1 : TSDB_MAX(cores, db->owner_count);
}

static enum tsdb_status load(struct tsdb *db, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    int64_t begin_ns = tsdb_clock_mono_ns(&db->options.clock);
    struct recovery r = {
        .fs = &db->options.fs,
        .hash_key = &db->hash_key,
        .partitions = db->partitions,
        .series_log = &life->series_log,
        .head_files = db->head_files,
        .mark = datadir_mark(life->dir.hash_seed),
        .stamp = (uint64_t)tsdb_clock_wall_ms(&db->options.clock),
        .worker_count = recovery_workers(db),
        .cancel = &life->cancel,
        .progress = &life->progress,
        .relieve = seal_while_recovering,
        .relieve_arg = db,
    };
    enum tsdb_status status = look_first(db, err);
    if (status == TSDB_OK) {
        db_retention_clock_begin(db);
        status = db_windows_age(db, err);
    }
    if (status == TSDB_OK) {
        status = recovery_run(&r, &life->recovered, err);
    }
    /* Blocks that streams have outgrown, windows of files: of no use to what comes next. */
    tsdb_alloc_give_back();
    if (status == TSDB_OK) {
        status = db_blocks_open(db, err);
    }
    if (status == TSDB_OK) {
        status = db_metadata_load(db, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t series = 0;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        series += index_mem_series_count(head_index(db->heads[i]));
    }
    atomic_store_explicit(&db->series_total, series, memory_order_relaxed);
    life->last = life->recovered.base;
    life->older = life->recovered.older;
    life->older_view = UINT64_MAX;
    life->next_number = life->recovered.checkpoint_number_max + 1;
    life->dirty = life->recovered.frames > 0 || life->recovered.ids_moved ||
                  life->recovered.checkpoints_left_out > 0;
    if (life->recovered.checkpoints_left_out > 0) { /* so that there are two again */
        atomic_store_explicit(&life->checkpoint_wanted, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&life->checkpoint_last_bytes, life->recovered.checkpoint_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&life->checkpoint_last_ms, life->last.created_ms, memory_order_relaxed);
    db_retention_clock_init(db, life->recovered.written_ms -
                                    (int64_t)life->recovered.written_ahead_s * 1000);
    life->replay_duration_ns = tsdb_clock_mono_ns(&db->options.clock) - begin_ns;
    return TSDB_OK;
}

/* Then head files without references move to quarantine/ at once, and segments when the next
 * checkpoint covers them (open_wal). */
static enum tsdb_status keep_what_may_be_needed(struct tsdb *db, struct tsdb_error *err)
{
    struct recovery_result *r = &db->life->recovered;
    const struct checkpoint_info *older = &db->life->older;
    uint32_t moved = 0;
    if (older->head_file_first > 0) {
        struct head_files_kept kept = {older->head_file_first, older->head_file_next};
        head_files_keep(db->head_files, db->life->last.number, &kept);
    }
    if (!checkpoint_missing(db)) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        head_files_set_aside(db->head_files, BLOCKS_DIR_QUARANTINE,
                             (uint64_t)tsdb_clock_wall_ms(&db->options.clock), &moved, err);
    r->damage += moved;
    if (moved > 0) {
        tsdb_log(TSDB_LOG_ERROR, "recovery",
                 "a checkpoint is missing: head files to which nothing else refers are moved to "
                 "quarantine",
                 TSDB_U("files", moved), TSDB_U("log_from", r->wal_segment_first));
    }
    return status;
}

/* What a crash between a checkpoint and its clean-up left behind. Best effort: the next checkpoint
 * tries again. */
static void clean_up(struct tsdb *db)
{
    head_files_remove_unused(db->head_files);
    if (db->life->last.number > 0) {
        db_checkpoint_remove_old(db);
    }
}

/* Frames with the new ids make no sense beside the old ones, so a checkpoint comes first. Where the disk
 * has no room for one it is tried again, as a segment would be. */
static enum tsdb_status settle_ids(struct tsdb *db, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    tsdb_log(TSDB_LOG_INFO, "tsdb", "writing a checkpoint first",
             TSDB_S("reason", life->recovered.ids_moved
                                  ? "series ids differ from those in the log"
                                  : "what was loaded is on disk in parts only"));
    enum tsdb_status status = db_checkpoint_write(db, true, err);
    if (status == TSDB_IO) {
        tsdb_log(TSDB_LOG_ERROR, "tsdb", "no writes are taken until the checkpoint is written",
                 TSDB_S("err", err->msg));
        life->error = *err;
        atomic_store_explicit(&life->checkpoint_first, 1, memory_order_relaxed);
        return TSDB_OK;
    }
    if (status != TSDB_OK) {
        (void)wal_close(db->wal, NULL);
        db->wal = NULL;
    }
    return status;
}

bool db_checkpoint_first(const struct tsdb *db, struct tsdb_error *err)
{
    /* Acquire: partner is the checkpoint. */
    if (!atomic_load_explicit(&db->life->checkpoint_first, memory_order_acquire)) {
        return false;
    }
    tsdb_error_set(err, TSDB_BUSY, "a checkpoint must be written first, and is tried again: %s",
                   db->life->error.msg);
    return true;
}

/* Make the loaded heads writable. A failure of the disk leaves the database readable: READ_ONLY,
 * not FAILED. */
static enum tsdb_status start_writing(struct tsdb *db, struct tsdb_error *err)
{
    enum tsdb_status status = keep_what_may_be_needed(db, err);
    if (status == TSDB_OK) {
        status = open_wal(db, err);
    }
    if (status == TSDB_OK &&
        (db->life->recovered.ids_moved || db->life->recovered.checkpoint_first)) {
        status = settle_ids(db, err);
    } else if (status == TSDB_OK) {
        clean_up(db);
    }
    db_room_keep(db, true);
    return status;
}

static void log_recovered(const struct tsdb *db)
{
    const struct recovery_result *r = &db->life->recovered;
    tsdb_log(TSDB_LOG_INFO, "tsdb", "recovered", TSDB_U("checkpoint", r->base.number),
             TSDB_U("log_from", r->base.wal_segment), TSDB_U("log_next", r->wal_segment_next),
             TSDB_U("series", atomic_load_explicit(&db->series_total, memory_order_relaxed)),
             TSDB_U("replayed_frames", r->frames), TSDB_U("replayed_samples", r->samples),
             TSDB_U("lost_frames", r->lost_frames), TSDB_U("conflicts", r->conflicts),
             TSDB_I("duration_ms", db->life->replay_duration_ns / 1000000));
}

/* Recover and become READY, READ_ONLY or FAILED: in open (manual steps) or in its own thread. */
static enum tsdb_status recover(struct tsdb *db, struct tsdb_error *err)
{
    enum tsdb_state state = TSDB_STATE_READY;
    enum tsdb_status status = load(db, err);
    if (status == TSDB_OK) {
        log_recovered(db);
        status = start_writing(db, err);
        if (status == TSDB_IO) {
            tsdb_log(TSDB_LOG_ERROR, "tsdb", "the log cannot be written; reads only",
                     TSDB_S("err", err->msg));
            db->life->error = *err;
            state = TSDB_STATE_READ_ONLY;
            status = TSDB_OK;
        }
    }
    if (status == TSDB_OK && !db->options.manual_steps && db->wal) {
        status = db_threads_start(db, err);
    }
    if (status != TSDB_OK) {
        db->life->error = *err;
        state = TSDB_STATE_FAILED;
    }
    db_quarantine_measure(db);
    /* Release: partner is every load of state; whoever sees it sees all that recovery wrote. */
    atomic_store_explicit(&db->state, state, memory_order_release);
    return status;
}

/* The heads are there and the disk did not let the log begin: now and then that is tried again. False:
 * nothing was done. */
static bool start_again(struct tsdb *db, int64_t now_ns)
{
    struct db_life *life = db->life;
    struct tsdb_error err = {0};
    if (now_ns < life->start_next_ns || db->wal ||
        atomic_load_explicit(&db->state, memory_order_relaxed) != TSDB_STATE_READ_ONLY) {
        return false;
    }
    life->start_next_ns = now_ns + START_AGAIN_NS;
    enum tsdb_status status = start_writing(db, &err);
    if (status == TSDB_OK && !db->options.manual_steps) {
        status = db_threads_start(db, &err);
    }
    if (status != TSDB_OK) { /* the cause that is shown stays the first */
        return false;
    }
    tsdb_log(TSDB_LOG_INFO, "tsdb", "the log can be written after all");
    atomic_store_explicit(&db->state, TSDB_STATE_READY, memory_order_release); /* as in recover */
    return true;
}

static void *recovery_main(void *arg)
{
    struct tsdb *db = arg;
    struct tsdb_error err;
    tsdb_error_clear(&err);
    enum tsdb_status status = recover(db, &err);
    if (status != TSDB_OK && status != TSDB_CANCELLED) {
        tsdb_log(TSDB_LOG_ERROR, "tsdb", "recovery failed", TSDB_S("err", err.msg));
    }
    while (atomic_load(&db->state) == TSDB_STATE_READ_ONLY && !atomic_load(&db->life->cancel)) {
        if (!start_again(db, tsdb_clock_mono_ns(&db->options.clock))) {
            db_pause(db, START_LOOK_NS);
        }
    }
    return NULL;
}

/* ---- open ---- */
static enum tsdb_status open_steps(struct tsdb *db, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    enum tsdb_status status = datadir_open(&db->options.fs, &db->options.random, &life->dir, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_hash_key_init(&db->hash_key, life->dir.hash_seed);
    if (db_room_open(db) != TSDB_OK) {
        return out_of_memory(err);
    }
    series_log_init(&life->series_log, &life->room.fs, db->options.random);
    if (parts_create(db) != TSDB_OK) {
        return out_of_memory(err);
    }
    if (db->options.manual_steps) {
        return recover(db, err);
    }
    status = tsdb_thread_start(&life->recovery, "tsdb-recovery", recovery_main, db, err);
    life->recovery_started = status == TSDB_OK;
    return status;
}

enum tsdb_status tsdb_open(const struct tsdb_options *options, struct tsdb **out,
                           struct tsdb_error *err)
{
    struct tsdb_error own;
    struct tsdb_error *e = err ? err : &own; /* recovery keeps a copy of it */
    struct tsdb *db = db_create();
    if (!db) {
        return out_of_memory(e);
    }
    db->life->open_ms = 0;
    enum tsdb_status status = options_fill(options, &db->options, e);
    if (status == TSDB_OK) {
        db->life->open_ms = tsdb_clock_wall_ms(&db->options.clock);
        status = open_steps(db, e);
    }
    if (status != TSDB_OK) {
        if (db->wal) {
            wal_abandon(db->wal);
            db->wal = NULL;
        }
        db_destroy(db);
        return status;
    }
    *out = db;
    return TSDB_OK;
}

/* ---- close ---- */
static void recovery_stop(struct tsdb *db)
{
    struct db_life *life = db->life;
    if (life->recovery_started) {
        atomic_store(&life->cancel, 1);
        pthread_join(life->recovery, NULL);
        life->recovery_started = false;
    }
}

/* Apply what is in the rings and let the log take it, with nobody else running. */
static void drain(struct tsdb *db)
{
    size_t work = 1;
    while (work > 0) {
        int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
        work = 0;
        for (uint32_t i = 0; i < db->owner_count; i++) {
            work += owner_step(&db->owners[i], now_ns);
        }
        work += wal_write_step(db->wal, now_ns);
    }
}

enum tsdb_status tsdb_stop(struct tsdb *db, struct tsdb_error *err)
{
    if (!db) {
        return TSDB_OK;
    }
    struct db_life *life = db->life;
    recovery_stop(db);
    atomic_store_explicit(&db->state, TSDB_STATE_CLOSING, memory_order_release);
    (void)tsdb_state_look(db, NULL);
    atomic_store(&life->cancel,
                 1); /* a checkpoint that runs is cut short: a later one follows here */
    db_threads_stop(db);
    atomic_store(&life->cancel, 0);
    db_room_keep(db, false);
    enum tsdb_status status = TSDB_OK, wal_status = TSDB_OK;
    if (db->wal) {
        drain(db);
        if (db_checkpoint_wanted(db)) {
            status = db_checkpoint_write(db, true, err);
        }
        (void)db_metadata_save(db);
        wal_status = wal_close(db->wal, status == TSDB_OK ? err : NULL);
        db->wal = NULL;
        (void)blocks_collect(&db->blocks);
    }
    return status != TSDB_OK ? status : wal_status;
}

enum tsdb_status tsdb_close(struct tsdb *db, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_stop(db, err);
    if (db) {
        db_destroy(db);
    }
    return status;
}

/* Batches that no owner has taken: their memory is the sender's, who must learn that they are over.
 */
static void give_back_batches(struct owner *o)
{
    void *b = NULL;
    for (uint32_t i = 0; i < o->backlog_count; i++) {
        tsdb_batch_complete(o->backlog[o->backlog_begin + i], TSDB_READ_ONLY);
    }
    while (tsdb_ring_drain(&o->ring, &b, 1) > 0) {
        tsdb_batch_complete(b, TSDB_READ_ONLY);
    }
}

void tsdb_abandon(struct tsdb *db)
{
    if (!db) {
        return;
    }
    atomic_store(&db->life->abandoned, 1);
    atomic_store(&db->life->cancel, 1);
    recovery_stop(db);
    db_threads_stop(db);
    for (uint32_t i = 0; i < db->owner_count; i++) {
        give_back_batches(&db->owners[i]);
    }
    wal_abandon(db->wal);
    db->wal = NULL;
    db_destroy(db);
}

/* ---- state ---- */
enum tsdb_state tsdb_state(const struct tsdb *db, struct tsdb_error *err)
{
    /* Acquire: partner is the release at the end of recovery. */
    enum tsdb_state state = (enum tsdb_state)atomic_load_explicit(&db->state, memory_order_acquire);
    if (state == TSDB_STATE_READY && db_checkpoint_first(db, err)) {
        return tsdb_error_is_no_space(&db->life->error) ? TSDB_STATE_OUT_OF_SPACE
                                                        : TSDB_STATE_RETRYING;
    }
    if (state == TSDB_STATE_READY) {
        switch (wal_state(db->wal, err)) {
        case WAL_READY:
            return TSDB_STATE_READY;
        case WAL_RETRYING:
            return wal_out_of_space(db->wal) ? TSDB_STATE_OUT_OF_SPACE : TSDB_STATE_RETRYING;
        case WAL_READ_ONLY:
            return TSDB_STATE_READ_ONLY;
        }
    }
    if ((state == TSDB_STATE_READ_ONLY || state == TSDB_STATE_FAILED) && err) {
        *err = db->life->error;
    }
    return state;
}

const char *tsdb_state_name(enum tsdb_state state)
{
    static const char *const names[] = {"recovering", "ready",  "log_retrying", "out_of_space",
                                        "read_only",  "failed", "closing"};
    static_assert(TSDB_ARRAY_LEN(names) == TSDB_STATE_COUNT, "every state has a name");
    TSDB_ASSERT((uint32_t)state < TSDB_STATE_COUNT);
    return names[state];
}

enum tsdb_state tsdb_state_look(struct tsdb *db, struct tsdb_error *err)
{
    struct tsdb_error own;
    struct tsdb_error *why = err ? err : &own;
    tsdb_error_clear(why);
    enum tsdb_state now = tsdb_state(db, why);
    /* Of two that look at once, one says it. Orders nothing. */
    uint32_t before =
        atomic_exchange_explicit(&db->life->state_said, (uint32_t)now, memory_order_relaxed);
    if (before != (uint32_t)now) {
        bool well = now == TSDB_STATE_READY || now == TSDB_STATE_CLOSING;
        tsdb_log(well ? TSDB_LOG_INFO : TSDB_LOG_ERROR, "tsdb", "state changed",
                 TSDB_S("from", tsdb_state_name((enum tsdb_state)before)),
                 TSDB_S("to", tsdb_state_name(now)), TSDB_S("reason", why->msg));
    }
    return now;
}

enum tsdb_status tsdb_files_check(const struct tsdb *db, struct tsdb_error *err)
{
    /* Written before open returned, and never again. */
    const struct tsdb_fs *fs = &db->options.fs;
    struct tsdb_file_info info;
    return fs->ops->stat(fs->ctx, DATADIR_VERSION, &info, NULL) == TSDB_NOT_FOUND
               ? tsdb_error_set(err, TSDB_NOT_FOUND, DATADIR_VERSION " is gone")
               : TSDB_OK;
}

void tsdb_replay_progress(const struct tsdb *db, uint64_t *out_min, uint64_t *out_max,
                          uint64_t *out_current)
{
    const struct recovery_progress *p = &db->life->progress;
    *out_min = atomic_load_explicit(&p->min, memory_order_relaxed);
    *out_max = atomic_load_explicit(&p->max, memory_order_relaxed);
    *out_current = atomic_load_explicit(&p->current, memory_order_relaxed);
}

const char *tsdb_recovery_step(const struct tsdb *db, uint32_t *out_percent)
{
    static const char *const names[] = {"labels of series", "checkpoint", "log"};
    static_assert(TSDB_ARRAY_LEN(names) == RECOVERY_STEP_COUNT, "every step has a name");
    const struct recovery_progress *p = &db->life->progress;
    uint64_t total = atomic_load_explicit(&p->total, memory_order_relaxed);
    uint64_t done = TSDB_MIN(atomic_load_explicit(&p->done, memory_order_relaxed), total);
    *out_percent = total > 0 ? (uint32_t)((double)done / (double)total * 100) : 0;
    return names[atomic_load_explicit(&p->step, memory_order_relaxed)];
}

const struct tsdb_hash_key *tsdb_hash_key(const struct tsdb *db)
{
    return &db->hash_key;
}

uint32_t tsdb_owner_count(const struct tsdb *db)
{
    return db->owner_count;
}

uint32_t tsdb_owner_of(const struct tsdb *db, uint32_t partition)
{
    TSDB_ASSERT(partition < TSDB_PARTITIONS);
    return db->owner_of[partition];
}

const uint8_t *tsdb_owner_map(const struct tsdb *db)
{
    return db->owner_of;
}

enum tsdb_durability tsdb_durability(const struct tsdb *db)
{
    return db->options.durability;
}

/* ---- steps ---- */
size_t tsdb_owner_step(struct tsdb *db, uint32_t owner, int64_t now_ns)
{
    TSDB_ASSERT(owner < db->owner_count);
    return owner_step(&db->owners[owner], now_ns);
}

size_t tsdb_seal_step(struct tsdb *db, int64_t now_ns)
{
    return db_ready(db) ? sealer_step(db->sealer, now_ns) : 0;
}

size_t tsdb_wal_write_step(struct tsdb *db, int64_t now_ns)
{
    if (!db->wal) {
        return db->options.manual_steps && start_again(db, now_ns) ? 1 : 0;
    }
    return wal_write_step(db->wal, now_ns);
}

size_t tsdb_wal_sync_step(struct tsdb *db, int64_t now_ns)
{
    return db->wal ? wal_sync_step(db->wal, now_ns) : 0;
}
