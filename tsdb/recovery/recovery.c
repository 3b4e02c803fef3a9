#include "tsdb/recovery/recovery.h"

#include "base/assert.h"
#include "base/log.h"
#include "tsdb/recovery/datadir.h"
#include "tsdb/recovery/recovery_private.h"

#include <stdio.h>
#include <string.h>

/* Of one partition: replaced blocks of samples wait no longer than this. */
#define RECLAIM_BYTES_MIN (64u << 10)
/* Log that is applied between two looks at what is full: some million samples, so that the barrier
 * is nothing and their raw columns are some ten megabytes. */
#define STRETCH_BYTES (8u << 20)

/* The state of one run. */
struct run {
    const struct recovery *r;
    struct recovery_result *result;
    struct recovery_pool *pool;
    struct checkpoint_reader *checkpoint; /* NULL: none */
    struct tsdb_error damaged;            /* what the first damaged one had; status OK: none */
    uint64_t head_file_next;              /* of all checkpoints that were read */
    struct replay_partition partitions[TSDB_PARTITIONS];
    const struct series_log_record *records; /* of the window being applied */
    uint32_t record_count;
    const struct wal_segment_view *view; /* of the segment being applied */
    uint32_t frame_from, frame_to;       /* of its frames */
};

static bool cancelled(const struct run *run)
{
    return run->r->cancel && atomic_load_explicit(run->r->cancel, memory_order_relaxed) != 0;
}

static uint32_t range_begin(const struct run *run, uint32_t worker)
{
    uint32_t n = run->r->worker_count;
    return (worker * TSDB_PARTITIONS + n - 1) / n;
}

/* Run fn on every partition, in parallel, and report the first failure. */
static enum tsdb_status run_all(struct run *run, recovery_work_fn fn, struct tsdb_error *err)
{
    recovery_pool_run(run->pool, fn, run);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        const struct replay_partition *p = &run->partitions[i];
        if (p->status != TSDB_OK) {
            if (err) {
                *err = p->err;
            }
            return p->status;
        }
    }
    return cancelled(run) ? tsdb_error_set(err, TSDB_CANCELLED, "recovery: cancelled") : TSDB_OK;
}

/* While no worker runs. */
static void relieve(const struct run *run)
{
    if (run->r->relieve) {
        run->r->relieve(run->r->relieve_arg);
    }
}

/* The worker's own partitions: nobody reads yet, so what was replaced can be freed. */
static void reclaim(const struct run *run, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        head_reclaim(run->r->partitions[i].head, RECLAIM_BYTES_MIN);
    }
}

/* ---- the checkpoint ---- */
static void checkpoint_leave(struct run *run)
{
    checkpoint_close(run->checkpoint);
    run->checkpoint = NULL;
    run->result->base = (struct checkpoint_info){0};
    run->result->checkpoint_bytes = 0;
}

/* Open the newest checkpoint below `below` that is whole. With none at all run->checkpoint stays
 * NULL; CORRUPT if there are only damaged ones. */
static enum tsdb_status choose_checkpoint(struct run *run, uint64_t below, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = run->r->fs;
    uint64_t number = below;
    for (;;) {
        enum tsdb_status status = checkpoint_newest(fs, number, &number, err);
        if (status == TSDB_NOT_FOUND && run->damaged.status == TSDB_OK) {
            return TSDB_OK;
        }
        if (status == TSDB_NOT_FOUND) {
            return tsdb_error_set(err, TSDB_CORRUPT, "%s; there is no older checkpoint",
                                  run->damaged.msg);
        }
        if (status != TSDB_OK) {
            return status;
        }
        run->result->checkpoint_number_max = TSDB_MAX(run->result->checkpoint_number_max, number);
        struct checkpoint_reader *c = NULL;
        struct tsdb_error why;
        status = checkpoint_open(fs, number, &c, &why);
        if (status == TSDB_OK) {
            status = checkpoint_verify(c, &why);
        }
        if (status == TSDB_OK) {
            run->checkpoint = c;
            run->result->base = *checkpoint_info(c);
            run->result->checkpoint_bytes = checkpoint_bytes(c);
            run->head_file_next = TSDB_MAX(run->head_file_next, run->result->base.head_file_next);
            return TSDB_OK;
        }
        checkpoint_close(c);
        if (status != TSDB_CORRUPT) {
            if (err) {
                *err = why;
            }
            return status;
        }
        run->result->damage++;
        tsdb_log(TSDB_LOG_ERROR, "recovery", "checkpoint is damaged, looking for an older one",
                 TSDB_U("checkpoint", number), TSDB_S("err", why.msg));
        run->damaged = run->damaged.status == TSDB_OK ? why : run->damaged;
    }
}

/* series.log is loaded: go on to older checkpoints until one fits it, or there is none. */
static enum tsdb_status choose_fitting(struct run *run, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK && run->checkpoint) {
        struct tsdb_error why;
        uint64_t number = run->result->base.number;
        status = series_log_fits(run->r->series_log, &run->result->base.series_log, &why);
        if (status == TSDB_OK) {
            return TSDB_OK;
        }
        if (status != TSDB_NOT_FOUND) {
            return tsdb_error_set(err, status, "%s", why.msg);
        }
        run->result->damage++;
        tsdb_log(TSDB_LOG_ERROR, "recovery",
                 "checkpoint does not fit series.log and is left out: its samples would get the "
                 "labels of others",
                 TSDB_U("checkpoint", number), TSDB_S("err", why.msg));
        checkpoint_leave(run);
        status = choose_checkpoint(run, number, err);
    }
    return status;
}

/* Those newer than the one that is taken were damaged, or did not fit. */
static enum tsdb_status set_newer_aside(struct run *run, struct tsdb_error *err)
{
    for (;;) {
        uint64_t number = 0;
        enum tsdb_status status = checkpoint_newest(run->r->fs, UINT64_MAX, &number, err);
        if (status == TSDB_NOT_FOUND || (status == TSDB_OK && number <= run->result->base.number)) {
            return TSDB_OK;
        }
        if (status == TSDB_OK) {
            status = checkpoint_set_aside(run->r->fs, number, run->r->stamp, err);
        }
        if (status != TSDB_OK) {
            return status;
        }
        run->result->checkpoints_left_out++;
        tsdb_log(TSDB_LOG_ERROR, "recovery",
                 "a checkpoint is moved to quarantine, what only it has is missing",
                 TSDB_U("checkpoint", number), TSDB_U("taken", run->result->base.number));
    }
}

static enum tsdb_status sink_run(void *arg, const struct checkpoint_run *c, struct tsdb_error *err)
{
    struct replay_partition *p = arg;
    uint32_t local = replay_local(p, c->local);
    if (local == UINT32_MAX) {
        p->dropped_samples += c->count;
        return TSDB_OK;
    }
    head_reclaim(p->partition->head, RECLAIM_BYTES_MIN);
    for (uint32_t i = 0; i < c->count; i++) {
        int64_t start = c->start_ms ? c->start_ms[i] : 0;
        switch (head_append(p->partition->head, local, c->t_ms[i], start, c->kind, c->value[i])) {
        case HEAD_APPENDED:
        case HEAD_APPENDED_OUT_OF_ORDER:
        case HEAD_DUPLICATE_SAME:
            break;
        case HEAD_DUPLICATE_CONFLICT:
            p->conflicts++;
            break;
        case HEAD_NOMEM:
            return tsdb_error_set(err, TSDB_NOMEM, "recovery: no memory for samples");
        }
    }
    return TSDB_OK;
}

/* A chunk that lies in two windows of today's range: read, and cut anew. */
static enum tsdb_status split_chunk(struct replay_partition *p, uint32_t local,
                                    const struct checkpoint_chunk *c, struct head_file *file,
                                    struct tsdb_error *err)
{
    struct chunk_samples s;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    enum tsdb_status status = head_file_read(file, c->offset, c->len, &arena, &s, err);
    if (status == TSDB_OK && s.count != c->count) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "%u samples, expected %u", s.count, c->count);
    }
    if (status == TSDB_OK) {
        status = head_sealed_load_split(p->partition->head, local, c->late, &s);
    } else if (status == TSDB_CORRUPT) {
        tsdb_log(TSDB_LOG_ERROR, "recovery", "a chunk is damaged and was left out",
                 TSDB_U("partition", p->id), TSDB_U("series", c->local), TSDB_I("from", c->min_ms),
                 TSDB_I("to", c->max_ms), TSDB_S("err", err ? err->msg : ""));
        p->lost_chunks++;
        status = TSDB_OK;
    }
    tsdb_arena_deinit(&arena);
    return status;
}

static enum tsdb_status sink_chunk(void *arg, const struct checkpoint_chunk *c,
                                   struct tsdb_error *err)
{
    struct replay_partition *p = arg;
    uint32_t local = replay_local(p, c->local);
    if (local == UINT32_MAX) {
        p->dropped_samples += c->count;
        return TSDB_OK;
    }
    struct head_file *file = p->head_files ? head_files_find(p->head_files, c->file) : NULL;
    if (!file || c->offset + c->len + HEAD_FILE_FRAME_BYTES >
                     atomic_load_explicit(&file->bytes, memory_order_relaxed)) {
        p->lost_chunks++;
        return TSDB_OK;
    }
    atomic_store_explicit(&file->in_checkpoint, true, memory_order_relaxed);
    if (!head_window_holds(p->partition->head, c->min_ms, c->max_ms)) {
        return split_chunk(p, local, c, file, err);
    }
    struct head_sealed s = {.min_ms = c->min_ms,
                            .max_ms = c->max_ms,
                            .count = (uint16_t)c->count,
                            .kind = (uint8_t)c->kind,
                            .late = c->late,
                            .file = file,
                            .offset = (uint32_t)c->offset,
                            .len = c->len};
    return head_sealed_load(p->partition->head, local, &s) == TSDB_OK
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_NOMEM, "recovery: no memory for chunks");
}

static enum tsdb_status sink_exemplar(void *arg, uint32_t local, const struct tsdb_exemplar *x,
                                      struct tsdb_error *err)
{
    struct replay_partition *p = arg;
    uint32_t mine = replay_local(p, local);
    if (mine == UINT32_MAX) {
        return TSDB_OK; /* its series has left */
    }
    return head_exemplar_append(p->partition->head, mine, x) == TSDB_NOMEM
               ? tsdb_error_set(err, TSDB_NOMEM, "recovery: no memory for exemplars")
               : TSDB_OK;
}

static void load_partitions(void *arg, uint32_t worker)
{
    struct run *run = arg;
    uint32_t end = range_begin(run, worker + 1);
    for (uint32_t i = range_begin(run, worker); i < end && !cancelled(run); i++) {
        struct replay_partition *p = &run->partitions[i];
        struct checkpoint_sink sink = {p, sink_run, sink_chunk, sink_exemplar};
        p->status = checkpoint_load(run->checkpoint, i, &sink, &p->err);
        head_reclaim(p->partition->head, 0);
    }
}

static enum tsdb_status load_head_files(struct run *run, struct tsdb_error *err)
{
    uint32_t damaged = 0;
    if (!run->r->head_files) {
        return TSDB_OK;
    }
    return head_files_load(run->r->head_files, run->head_file_next, &damaged, err);
}

/* ---- series.log ---- */
static enum tsdb_status apply_record(struct run *run, const struct series_log_record *record,
                                     struct tsdb_error *err)
{
    struct replay_partition *p = &run->partitions[record->partition];
    struct head_partition *head = p->partition->head;
    uint32_t local = record->local;
    enum tsdb_status status = head_ids_skip(head, record->local);
    if (status == TSDB_OK && record->labels.len > 0) {
        status =
            recovery_series(head, record->partition, run->r->hash_key, record->labels, &local, err);
    }
    if (status == TSDB_OK && local != record->local) {
        /* It left memory and came back: what is stored under either id is the same series. */
        status = replay_map_put(&p->map, record->local, local) == TSDB_OK
                     ? TSDB_OK
                     : tsdb_error_nomem(err, "ids of series");
    }
    if (status == TSDB_OK) {
        status = head_ids_skip(head, record->local + 1);
    }
    return status == TSDB_OK
               ? TSDB_OK
               : tsdb_error_prefix(err, status, DATADIR_SERIES_LOG ": partition %u, series %u",
                                   (unsigned)record->partition, (unsigned)record->local);
}

static void load_records(void *arg, uint32_t worker)
{
    struct run *run = arg;
    uint32_t begin = range_begin(run, worker), end = range_begin(run, worker + 1);
    for (uint32_t i = 0; i < run->record_count; i++) {
        const struct series_log_record *record = &run->records[i];
        if (record->partition < begin || record->partition >= end) {
            continue;
        }
        struct replay_partition *p = &run->partitions[record->partition];
        if (p->status == TSDB_OK) {
            p->status = apply_record(run, record, &p->err);
        }
    }
    reclaim(run, begin, end);
}

static enum tsdb_status load_window(void *arg, const struct series_log_record *records,
                                    uint32_t count, struct tsdb_error *err)
{
    struct run *run = arg;
    run->records = records;
    run->record_count = count;
    return run_all(run, load_records, err);
}

static enum tsdb_status load_series_log(struct run *run, struct tsdb_error *err)
{
    uint64_t cut = 0;
    enum tsdb_status status =
        series_log_load(run->r->series_log, run->result->base.series_log.bytes, run->r->stamp,
                        load_window, run, &cut, err);
    if (status == TSDB_OK && cut > 0) {
        tsdb_log(TSDB_LOG_INFO, "recovery", "series.log: cut off an interrupted append",
                 TSDB_U("bytes", cut));
    }
    return status;
}

/* A record beyond what the checkpoint relies on may be missing after the next crash: the log has
 * the labels, or must get them with the next sample. */
static enum tsdb_status note_relied(const struct run *run, struct tsdb_error *err)
{
    const struct series_log *log = run->r->series_log;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        uint32_t relied = run->result->base.series[i];
        if (log->appended[i] < relied) {
            return tsdb_error_set(err, TSDB_CORRUPT,
                                  DATADIR_SERIES_LOG
                                  ": partition %u has %u series, the checkpoint relies on %u",
                                  (unsigned)i, (unsigned)log->appended[i], (unsigned)relied);
        }
        struct head_partition *head = run->r->partitions[i].head;
        const struct index_mem *index = head_index(head);
        for (uint32_t local = index_mem_next(index, 0); local < relied;
             local = index_mem_next(index, local + 1)) {
            head_labels_logged_set(head, local);
        }
    }
    return TSDB_OK;
}

/* ---- the log ---- */
static void apply_frames(void *arg, uint32_t worker)
{
    struct run *run = arg;
    uint32_t begin = range_begin(run, worker), end = range_begin(run, worker + 1);
    const struct wal_segment_view *view = run->view;
    for (uint32_t i = run->frame_from; i < run->frame_to; i++) {
        uint32_t partition = view->frames[i].partition;
        if (begin <= partition && partition < end) {
            replay_frame(&run->partitions[partition], view->segment, &view->frames[i]);
        }
        if (i % 1024 == 0) {
            reclaim(run, begin, end);
            if (cancelled(run)) {
                return;
            }
        }
    }
    reclaim(run, begin, end);
}

/* Stretch by stretch. */
static enum tsdb_status apply_segment(struct run *run, const struct wal_segment_view *view,
                                      struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    run->view = view;
    run->frame_to = 0;
    while (status == TSDB_OK && run->frame_to < view->frame_count) {
        size_t bytes = 0;
        run->frame_from = run->frame_to;
        while (run->frame_to < view->frame_count && bytes < STRETCH_BYTES) {
            bytes += view->frames[run->frame_to++].len;
        }
        status = run_all(run, apply_frames, err);
        relieve(run);
    }
    run->view = NULL;
    return status;
}

static void show_progress(struct recovery_progress *p, const struct wal_replay *replay)
{
    uint64_t min, max, current;
    wal_replay_progress(replay, &min, &max, &current);
    atomic_store_explicit(&p->min, min, memory_order_relaxed);
    atomic_store_explicit(&p->max, max, memory_order_relaxed);
    atomic_store_explicit(&p->current, current, memory_order_relaxed);
}

static void report_damage(struct run *run, const struct wal_replay *replay)
{
    const struct wal_damage *damage = NULL;
    uint32_t count = wal_replay_damage(replay, &damage);
    for (uint32_t i = 0; i < count; i++) {
        run->result->damage += !damage[i].torn_tail;
        tsdb_log(damage[i].torn_tail ? TSDB_LOG_INFO : TSDB_LOG_WARN, "recovery",
                 damage[i].torn_tail ? "the log ends with an interrupted write"
                                     : "a stretch of the log is damaged and was skipped",
                 TSDB_U("segment", damage[i].segment), TSDB_U("from", damage[i].from),
                 TSDB_U("to", damage[i].to));
    }
}

static void report_lost(struct run *run, const struct wal_replay *replay)
{
    struct wal_lost lost;
    struct recovery_result *out = run->result;
    if (!wal_replay_lost(replay, &lost)) {
        return;
    }
    out->damage++;
    out->lost_log_segments = lost.segment_to - lost.segment_from + (lost.from == 0);
    out->lost_log_bytes = lost.to - lost.from;
    tsdb_log(TSDB_LOG_ERROR, "recovery",
             "the end of the log is missing although it had been synced: what was written until "
             "then is lost",
             TSDB_U("segment_from", lost.segment_from), TSDB_U("segment_to", lost.segment_to),
             TSDB_U("byte_from", lost.from), TSDB_U("byte_to", lost.to),
             TSDB_I("written_after_ms", out->base.created_ms),
             TSDB_I("written_until_ms", lost.wall_ms));
}

static enum tsdb_status replay_segments(struct run *run, struct wal_replay *replay,
                                        struct tsdb_error *err)
{
    struct recovery_progress *progress = run->r->progress;
    show_progress(progress, replay);
    uint64_t max = atomic_load_explicit(&progress->max, memory_order_relaxed);
    bool any = atomic_load_explicit(&progress->min, memory_order_relaxed) <= max;
    run->result->wal_segment_first =
        any ? atomic_load_explicit(&progress->min, memory_order_relaxed) : 0;
    run->result->wal_segment_next =
        TSDB_MAX(run->result->base.wal_segment, wal_replay_next(replay));
    for (;;) {
        struct wal_segment_view view;
        enum tsdb_status status = wal_replay_segment(replay, &view, err);
        if (status == TSDB_NOT_FOUND) {
            return TSDB_OK;
        }
        if (status != TSDB_OK) {
            return status;
        }
        show_progress(progress, replay);
        status = apply_segment(run, &view, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
}

static enum tsdb_status replay_log(struct run *run, struct tsdb_error *err)
{
    struct wal_replay_options options = {
        .fs = run->r->fs,
        .dir = DATADIR_WAL,
        .segment_from = run->result->base.wal_segment,
        .mark = run->r->mark,
    };
    struct wal_replay *replay = NULL;
    enum tsdb_status status = wal_replay_open(&options, &replay, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = replay_segments(run, replay, err);
    report_damage(run, replay);
    if (status == TSDB_OK) {
        report_lost(run, replay);
    }
    wal_replay_close(replay);
    return status;
}

/* ---- making durable what was read ---- */
struct sync_all {
    const struct tsdb_fs *fs;
    const char *dir;
    struct tsdb_error *err;
};

static enum tsdb_status sync_one(void *arg, const char *name, bool is_dir)
{
    const struct sync_all *s = arg;
    char path[512];
    int n = snprintf(path, sizeof path, "%s/%s", s->dir, name);
    if (is_dir || n < 0 || (size_t)n >= sizeof path) {
        return TSDB_OK;
    }
    struct tsdb_file *f = NULL;
    enum tsdb_status status =
        s->fs->ops->open(s->fs->ctx, path, TSDB_OPEN_READ | TSDB_OPEN_WRITE, &f, s->err);
    if (status == TSDB_OK) {
        status = s->fs->ops->sync(s->fs->ctx, f, s->err);
        s->fs->ops->close(s->fs->ctx, f);
    }
    return status;
}

static enum tsdb_status make_durable(const struct run *run, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = run->r->fs;
    enum tsdb_status status = TSDB_OK;
    if (run->checkpoint) {
        status = fs->ops->sync_dir(fs->ctx, DATADIR_CHECKPOINT, err);
    }
    if (status == TSDB_OK && run->result->frames > 0) {
        struct sync_all s = {fs, DATADIR_WAL, err};
        status = fs->ops->list(fs->ctx, DATADIR_WAL, sync_one, &s, err);
        if (status == TSDB_OK) {
            status = fs->ops->sync_dir(fs->ctx, DATADIR_WAL, err);
        }
    }
    return status;
}

/* ---- the whole ---- */
static void sum_up(struct run *run)
{
    struct recovery_result *out = run->result;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        const struct replay_partition *p = &run->partitions[i];
        struct partition *partition = &run->r->partitions[i];
        out->wal_bytes += p->bytes;
        out->frames += p->frames;
        out->samples += p->samples;
        out->lost_frames += p->lost_frames;
        out->dropped_samples += p->dropped_samples;
        out->conflicts += p->conflicts;
        out->lost_chunks += p->lost_chunks;
        out->ids_moved = out->ids_moved || p->map.count > 0;
        atomic_store_explicit(&partition->write_seq, p->write_seq, memory_order_relaxed);
        partition->log_seq = p->log_seq;
        partition->epoch = TSDB_MAX(p->decode_epoch, p->frame_epoch) + 1;
    }
    out->damage += out->lost_chunks;
    if (out->lost_chunks > 0) {
        tsdb_log(TSDB_LOG_ERROR, "recovery",
                 "chunks were lost: their files in " HEAD_FILES_DIR " are missing or damaged",
                 TSDB_U("chunks", out->lost_chunks));
    }
    if (out->lost_frames > 0 || out->dropped_samples > 0) {
        tsdb_log(TSDB_LOG_WARN, "recovery", "parts of the log were lost",
                 TSDB_U("frames", out->lost_frames),
                 TSDB_U("samples_without_base_or_series", out->dropped_samples));
    }
}

static void partitions_init(struct run *run)
{
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        replay_partition_init(&run->partitions[i], i, &run->r->partitions[i], run->r->hash_key,
                              &run->result->base);
        run->partitions[i].head_files = run->r->head_files;
    }
}

/* The checkpoint to begin with, and what its ids mean. */
static enum tsdb_status run_base(struct run *run, struct tsdb_error *err)
{
    enum tsdb_status status = choose_checkpoint(run, UINT64_MAX, err);
    if (status == TSDB_OK) {
        partitions_init(run);
        status = series_log_choose(run->r->fs, &run->result->base.series_log,
                                   run->result->damage > 0, run->r->stamp, err);
    }
    if (status == TSDB_OK) {
        status = load_series_log(run, err);
    }
    if (status == TSDB_OK) {
        status = choose_fitting(run, err);
    }
    if (status == TSDB_OK) {
        status = note_relied(run, err);
    }
    return status == TSDB_OK ? set_newer_aside(run, err) : status;
}

static enum tsdb_status run_phases(struct run *run, struct tsdb_error *err)
{
    enum tsdb_status status = run_base(run, err);
    if (status == TSDB_OK) {
        partitions_init(run); /* the checkpoint may be another one; maps stay */
        status = load_head_files(run, err);
    }
    if (status == TSDB_OK && run->checkpoint) {
        status = run_all(run, load_partitions, err);
        head_exemplars_settle(run->r->partitions[0].head);
        relieve(run);
    }
    if (status == TSDB_OK) {
        status = replay_log(run, err);
    }
    if (status == TSDB_OK) {
        sum_up(run);
        status = make_durable(run, err);
    }
    return status;
}

enum tsdb_status recovery_run(const struct recovery *r, struct recovery_result *out,
                              struct tsdb_error *err)
{
    TSDB_ASSERT(r->worker_count >= 1 && r->worker_count <= TSDB_OWNERS_MAX);
    struct recovery_result result = {0};
    struct run *run = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *run);
    if (!run) {
        return tsdb_error_set(err, TSDB_NOMEM, "recovery: no memory to begin");
    }
    run->r = r;
    run->result = &result;
    enum tsdb_status status = recovery_pool_create(r->worker_count, &run->pool, err);
    if (status == TSDB_OK) {
        status = run_phases(run, err);
    }
    recovery_pool_destroy(run->pool);
    checkpoint_close(run->checkpoint);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        replay_partition_deinit(&run->partitions[i]);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, run, sizeof *run);
    if (status == TSDB_OK) {
        *out = result;
    }
    return status;
}
