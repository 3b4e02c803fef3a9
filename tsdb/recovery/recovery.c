#include "tsdb/recovery/recovery.h"

#include "base/assert.h"
#include "base/log.h"
#include "tsdb/recovery/datadir.h"
#include "tsdb/recovery/recovery_private.h"

#include <stdio.h>
#include <string.h>

/* Log that is read at once, and applied between two looks at what is full: a million samples, so that the barrier is
 * nothing, and what was read is still in the caches when it is applied. */
#define STRETCH_BYTES (4u << 20)

/* Windows of series.log that may be under way: what they hold of some partitions is done while others have their
 * turn. */
#define LANE_WINDOWS_MIN 4u
static_assert(SERIES_LOG_WINDOWS_MAX <= RECOVERY_LANE_WINDOWS_MAX, "a lane window each");

bool recovery_cancelled(const struct recovery_run *run)
{
    return run->r->cancel && atomic_load_explicit(run->r->cancel, memory_order_relaxed) != 0;
}

void recovery_step_begin(struct recovery_run *run, enum recovery_step step, uint64_t total)
{
    struct recovery_progress *p = run->r->progress;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store_explicit(&p->total, total, memory_order_relaxed);
    atomic_store_explicit(&p->step, (uint32_t)step, memory_order_relaxed);
}

void recovery_step_done(struct recovery_run *run, uint64_t more)
{
    atomic_fetch_add_explicit(&run->r->progress->done, more, memory_order_relaxed);
}

static enum tsdb_status first_failure(const struct recovery_run *run, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        const struct replay_partition *p = &run->partitions[i];
        if (p->status != TSDB_OK) {
            if (err) {
                *err = p->err;
            }
            return p->status;
        }
    }
    return recovery_cancelled(run) ? tsdb_error_set(err, TSDB_CANCELLED, "recovery: cancelled")
                                   : TSDB_OK;
}

/* Run fn on every partition, in parallel, and report the first failure. */
static enum tsdb_status run_all(struct recovery_run *run, recovery_work_fn fn,
                                struct tsdb_error *err)
{
    recovery_pool_run(run->pool, fn, run);
    return first_failure(run, err);
}

/* While no worker runs. */
static void relieve(const struct recovery_run *run)
{
    if (run->r->relieve) {
        run->r->relieve(run->r->relieve_arg);
    }
}

/* The worker's own partitions: nobody reads yet, so what was replaced can be freed. */
static void reclaim(const struct recovery_run *run, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        head_reclaim(run->r->partitions[i].head, RECOVERY_RECLAIM_BYTES_MIN);
    }
}

static enum tsdb_status load_head_files(struct recovery_run *run, struct tsdb_error *err)
{
    uint32_t damaged = 0;
    if (!run->r->head_files) {
        return TSDB_OK;
    }
    return head_files_load(run->r->head_files, run->head_file_next, &damaged, err);
}

/* ---- series.log ---- */
static enum tsdb_status take_record(struct replay_partition *p, const struct recovery_series *s,
                                    struct tsdb_error *err)
{
    struct head_partition *head = p->partition->head;
    uint32_t local = s->stored;
    enum tsdb_status status = head_ids_skip(head, s->stored);
    if (status == TSDB_OK) {
        status = recovery_series_take(head, s, &local, err);
    }
    if (status == TSDB_OK && local != s->stored) {
        /* It left memory and came back: what is stored under either id is the same series. */
        status = replay_map_put(&p->map, s->stored, local) == TSDB_OK
                     ? TSDB_OK
                     : tsdb_error_nomem(err, "ids of series");
    }
    return status == TSDB_OK ? head_ids_skip(head, s->stored + 1) : status;
}

static enum tsdb_status record_failed(const struct replay_partition *p, uint32_t stored,
                                      enum tsdb_status status, struct tsdb_error *err)
{
    return tsdb_error_prefix(err, status, DATADIR_SERIES_LOG ": partition %u, series %u",
                             (unsigned)p->id, (unsigned)stored);
}

/* The series of the group, into the head. */
static enum tsdb_status take_group(struct replay_partition *p, struct recovery_group *g,
                                   struct tsdb_error *err)
{
    for (uint32_t i = 0; i < g->count; i++) {
        enum tsdb_status status = take_record(p, &g->series[i], err);
        if (status != TSDB_OK) {
            return record_failed(p, g->series[i].stored, status, err);
        }
    }
    recovery_group_clear(g);
    return TSDB_OK;
}

static enum tsdb_status apply_record(struct replay_partition *p, struct recovery_group *g,
                                     const struct series_log_record *record, struct tsdb_error *err)
{
    struct tsdb_error why;
    if (record->labels.len == 0) { /* a hole: what came before it has to be there */
        enum tsdb_status status = take_group(p, g, err);
        return status == TSDB_OK ? head_ids_skip(p->partition->head, record->local + 1) : status;
    }
    enum tsdb_status status = recovery_group_add(g, p, record->local, record->labels, &why);
    if (status == TSDB_OK) {
        return TSDB_OK;
    }
    enum tsdb_status taken = take_group(p, g, err);
    if (taken == TSDB_OK && status == TSDB_LIMIT) {
        status = recovery_group_add(g, p, record->local, record->labels, &why);
    }
    if (taken != TSDB_OK || status == TSDB_OK) {
        return taken;
    }
    tsdb_error_set(err, status, "%s", why.msg);
    return record_failed(p, record->local, status, err);
}

/* A lane: the partition's records of a window. */
static void load_records(void *arg, uint32_t number, uint32_t partition)
{
    struct recovery_run *run = arg;
    const struct series_log_window *window = run->windows[number];
    struct replay_partition *p = &run->partitions[partition];
    struct recovery_group group;
    recovery_group_init(&group);
    for (uint32_t i = window->first[partition]; i != UINT32_MAX && p->status == TSDB_OK;
         i = window->records[i].next) {
        p->status = apply_record(p, &group, &window->records[i], &p->err);
    }
    if (p->status == TSDB_OK) {
        p->status = take_group(p, &group, &p->err);
    }
    if (p->status != TSDB_OK) {
        atomic_store_explicit(&run->failed, true, memory_order_relaxed); /* a hint: no hurry */
    }
    reclaim(run, partition, partition + 1);
}

/* OK: go on. The window's failures are told at the end: which partition failed first is chance. */
static enum tsdb_status may_go_on(const struct recovery_run *run, struct tsdb_error *err)
{
    bool failed = atomic_load_explicit(&run->failed, memory_order_relaxed);
    return failed || recovery_cancelled(run)
               ? tsdb_error_set(err, TSDB_CANCELLED, "recovery: cancelled")
               : TSDB_OK;
}

static enum tsdb_status take_window(void *arg, const struct series_log_window *window,
                                    struct tsdb_error *err)
{
    struct recovery_run *run = arg;
    const struct series_log_record *last = &window->records[window->count - 1];
    const uint8_t *end = last->labels.data + last->labels.len;
    run->windows[window->number] = window; /* the lanes' lock orders it */
    recovery_lanes_put(run->lanes, window->number, window->partitions);
    recovery_step_done(run, (uint64_t)(end - window->records[0].bytes));
    return may_go_on(run, err);
}

static enum tsdb_status wait_window(void *arg, uint32_t number, struct tsdb_error *err)
{
    struct recovery_run *run = arg;
    recovery_lanes_wait(run->lanes, number);
    return may_go_on(run, err);
}

/* Labels are read by the caller, and applied by all. */
struct series_log_work {
    struct recovery_run *run;
    const struct series_log_sink *sink;
    struct series_log_found found;
    enum tsdb_status status;
    struct tsdb_error err;
};

static void load_series(void *arg, uint32_t worker)
{
    struct series_log_work *w = arg;
    struct recovery_run *run = w->run;
    struct series_log_mark marks[RECOVERY_BASES_MAX];
    if (worker > 0) {
        recovery_lanes_work(run->lanes);
        return;
    }
    for (uint32_t i = 0; i < run->base_count; i++) {
        marks[i] = run->bases[i].info.series_log;
    }
    w->status = series_log_load(run->r->series_log, marks, run->base_count, run->r->stamp, w->sink,
                                &w->found, &w->err);
    recovery_lanes_close(run->lanes);
}

static enum tsdb_status read_series_log(struct recovery_run *run, struct series_log_found *out,
                                        struct tsdb_error *err)
{
    uint32_t windows =
        TSDB_MIN(TSDB_MAX(run->r->worker_count, LANE_WINDOWS_MIN), SERIES_LOG_WINDOWS_MAX);
    struct series_log_sink sink = {
        .arg = run, .apply = take_window, .wait = wait_window, .windows = windows};
    struct series_log_work work = {.run = run, .sink = &sink};
    enum tsdb_status status = recovery_lanes_create(windows, load_records, run, &run->lanes, err);
    if (status != TSDB_OK) {
        return status;
    }
    recovery_pool_run(run->pool, load_series, &work);
    recovery_lanes_destroy(run->lanes);
    *out = work.found;
    status = first_failure(run, err);
    if (status == TSDB_OK && work.status != TSDB_OK) {
        status = tsdb_error_set(err, work.status, "%s", work.err.msg);
    }
    return status;
}

static enum tsdb_status load_series_log(struct recovery_run *run, struct tsdb_error *err)
{
    struct series_log_found found;
    struct recovery_result *out = run->result;
    struct tsdb_file_info info = {0};
    const struct tsdb_fs *fs = run->r->fs;
    (void)!fs->ops->stat(fs->ctx, DATADIR_SERIES_LOG, &info, NULL); /* for the progress only */
    recovery_step_begin(run, RECOVERY_SERIES, info.size_bytes);
    enum tsdb_status status = read_series_log(run, &found, err);
    if (status != TSDB_OK) {
        return status;
    }
    out->damage += found.damaged_ranges + (found.missing_bytes > 0);
    out->lost_series_log_bytes = found.damaged_bytes + found.missing_bytes;
    if (found.cut_bytes > 0) {
        tsdb_log(TSDB_LOG_INFO, "recovery", "series.log: cut off an interrupted append",
                 TSDB_U("bytes", found.cut_bytes));
    }
    return TSDB_OK;
}

/* Ids that a checkpoint relies on are not given out again, whether series.log has them or not. */
static enum tsdb_status keep_ids(const struct recovery_run *run, struct tsdb_error *err)
{
    for (uint32_t k = 0; k < run->base_count; k++) {
        for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
            struct head_partition *head = run->r->partitions[i].head;
            if (head_ids_skip(head, run->bases[k].info.series[i]) != TSDB_OK) {
                return tsdb_error_nomem(err, "ids of series");
            }
        }
    }
    return TSDB_OK;
}

/* A record beyond what the checkpoint relies on may be missing after the next crash: the log has
 * the labels, or must get them with the next sample. */
static void note_relied(const struct recovery_run *run)
{
    for (uint32_t i = 0; run->base_count > 0 && i < TSDB_PARTITIONS; i++) {
        uint32_t relied = run->bases[run->partitions[i].base].info.series[i];
        struct head_partition *head = run->r->partitions[i].head;
        const struct index_mem *index = head_index(head);
        for (uint32_t local = index_mem_next(index, 0); local < relied;
             local = index_mem_next(index, local + 1)) {
            head_labels_logged_set(head, local);
        }
    }
}

/* ---- the log ---- */
/* The window behind the one being applied: whoever is done with its partitions first reads it. */
static void read_ahead(struct recovery_run *run)
{
    if (!atomic_exchange_explicit(&run->ahead.taken, true, memory_order_relaxed)) {
        run->ahead.status = wal_replay_segment(run->replay, &run->ahead.view, &run->ahead.err);
    }
}

/* A partition's frames of the stretch one after the other: what its index and series lie in stays in the caches.
 * Whoever is free takes the next partition. */
static void apply_frames(void *arg, uint32_t worker)
{
    struct recovery_run *run = arg;
    const struct wal_segment_view *view = &run->view;
    (void)worker;
    while (!recovery_cancelled(run)) {
        uint32_t i =
            atomic_fetch_add_explicit(&run->frames.partition_next, 1, memory_order_relaxed);
        if (i >= TSDB_PARTITIONS) {
            read_ahead(run);
            return;
        }
        for (uint32_t at = run->frames.first[i]; at != UINT32_MAX;
             at = run->frames.next[at - run->frame_from]) {
            replay_frame(&run->partitions[i], view->segment, &view->frames[at]);
        }
        reclaim(run, i, i + 1);
    }
}

/* The frames of the stretch by their partitions. */
static enum tsdb_status chain_frames(struct recovery_run *run, struct tsdb_error *err)
{
    struct recovery_frames *f = &run->frames;
    uint32_t count = run->frame_to - run->frame_from;
    if (count > f->cap) {
        uint32_t cap = TSDB_MAX(count, 2 * f->cap);
        uint32_t *next =
            tsdb_mem_realloc(TSDB_MEM_OTHER, f->next, f->cap * sizeof *next, cap * sizeof *next);
        if (!next) {
            return tsdb_error_nomem(err, "frames of the log");
        }
        f->next = next;
        f->cap = cap;
    }
    memset(f->first, 0xff, sizeof f->first);
    for (uint32_t i = run->frame_to; i > run->frame_from; i--) {
        uint32_t partition = run->view.frames[i - 1].partition;
        f->next[i - 1 - run->frame_from] = f->first[partition];
        f->first[partition] = i - 1;
    }
    atomic_store_explicit(&f->partition_next, 0, memory_order_relaxed);
    return TSDB_OK;
}

#define SEGMENT_UNITS 1024u /* of progress */

static void log_step_show(struct recovery_run *run)
{
    struct recovery_progress *p = run->r->progress;
    const struct wal_segment_view *view = &run->view;
    uint64_t before = view->segment - atomic_load_explicit(&p->min, memory_order_relaxed);
    uint64_t within = (uint64_t)SEGMENT_UNITS * view->to / TSDB_MAX(view->bytes, UINT64_C(1));
    atomic_store_explicit(&p->done, before * SEGMENT_UNITS + within, memory_order_relaxed);
}

/* Stretch by stretch: behind damage a view is the rest of a segment. */
static enum tsdb_status apply_view(struct recovery_run *run, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    const struct wal_segment_view *view = &run->view;
    run->frame_to = 0;
    do {
        size_t bytes = 0;
        run->frame_from = run->frame_to;
        while (run->frame_to < view->frame_count && bytes < STRETCH_BYTES) {
            bytes += view->frames[run->frame_to++].len;
        }
        status = chain_frames(run, err);
        if (status == TSDB_OK) {
            status = run_all(run, apply_frames, err);
            relieve(run);
        }
    } while (status == TSDB_OK && run->frame_to < view->frame_count);
    log_step_show(run);
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

static void report_damage(struct recovery_run *run, const struct wal_replay *replay)
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

static void report_lost(struct recovery_run *run, const struct wal_replay *replay)
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
             TSDB_I("written_after_ms", out->written_ms), TSDB_I("written_until_ms", lost.wall_ms));
}

static void log_step_begin(struct recovery_run *run)
{
    struct recovery_progress *progress = run->r->progress;
    struct recovery_result *out = run->result;
    show_progress(progress, run->replay);
    uint64_t min = atomic_load_explicit(&progress->min, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&progress->max, memory_order_relaxed);
    out->wal_segment_first = min <= max ? min : 0;
    recovery_step_begin(run, RECOVERY_LOG, min <= max ? (max - min + 1) * SEGMENT_UNITS : 0);
    out->wal_segment_next = wal_replay_next(run->replay);
    for (uint32_t i = 0; i < run->base_count; i++) {
        out->wal_segment_next = TSDB_MAX(out->wal_segment_next, run->bases[i].info.wal_segment);
    }
}

static void log_view_begin(struct recovery_run *run)
{
    struct recovery_progress *progress = run->r->progress;
    if (run->view.from == 0) {
        show_progress(progress, run->replay);
        tsdb_log(TSDB_LOG_INFO, "recovery", "log segment", TSDB_U("segment", run->view.segment),
                 TSDB_U("to", atomic_load_explicit(&progress->max, memory_order_relaxed)),
                 TSDB_U("bytes", run->view.bytes));
    }
}

static enum tsdb_status replay_windows(struct recovery_run *run, struct tsdb_error *err)
{
    log_step_begin(run);
    for (;;) {
        read_ahead(run); /* the first one; the others have been */
        if (run->ahead.status == TSDB_NOT_FOUND) {
            return TSDB_OK;
        }
        if (run->ahead.status != TSDB_OK) {
            return tsdb_error_set(err, run->ahead.status, "%s", run->ahead.err.msg);
        }
        run->view = run->ahead.view;
        atomic_store_explicit(&run->ahead.taken, false, memory_order_relaxed);
        log_view_begin(run);
        enum tsdb_status status = apply_view(run, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
}

/* The first segment that any partition needs. */
static uint64_t replay_from(const struct recovery_run *run)
{
    uint64_t from = run->base_count > 0 ? UINT64_MAX : 0;
    for (uint32_t i = 0; run->base_count > 0 && i < TSDB_PARTITIONS; i++) {
        from = TSDB_MIN(from, run->partitions[i].from);
    }
    return from;
}

static enum tsdb_status replay_log(struct recovery_run *run, struct tsdb_error *err)
{
    struct wal_replay_options options = {
        .fs = run->r->fs,
        .dir = DATADIR_WAL,
        .segment_from = replay_from(run),
        .mark = run->r->mark,
        .window_bytes = STRETCH_BYTES,
    };
    enum tsdb_status status = wal_replay_open(&options, &run->replay, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = replay_windows(run, err);
    report_damage(run, run->replay);
    if (status == TSDB_OK) {
        report_lost(run, run->replay);
    }
    wal_replay_close(run->replay);
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

static enum tsdb_status make_durable(const struct recovery_run *run, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = run->r->fs;
    enum tsdb_status status = TSDB_OK;
    if (run->base_count > 0) {
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
static void sum_up(struct recovery_run *run)
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
        out->lost_series += p->lost_series;
        out->lost_series_samples += p->lost_series_samples;
        out->lost_ranges += p->lost_ranges;
        out->lost_range_bytes += p->lost_range_bytes;
        out->lost_range_series += p->lost_range_series;
        out->ids_moved = out->ids_moved || p->map.count > 0;
        atomic_store_explicit(&partition->write_seq, p->write_seq, memory_order_relaxed);
        partition->log_seq = p->log_seq;
        partition->epoch = TSDB_MAX(p->decode_epoch, p->frame_epoch) + 1;
    }
    out->damage += out->lost_chunks + out->lost_ranges;
    if (out->lost_series > 0) {
        tsdb_log(TSDB_LOG_ERROR, "recovery",
                 "series are lost: series.log does not have the labels that a checkpoint relies on",
                 TSDB_U("series", out->lost_series), TSDB_U("samples", out->lost_series_samples));
    }
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

static void partitions_init(struct recovery_run *run)
{
    static const struct checkpoint_info none;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        struct replay_partition *p = &run->partitions[i];
        replay_partition_init(p, i, &run->r->partitions[i], run->r->hash_key, &none);
        p->doubt.believe = true;
        p->head_files = run->r->head_files;
    }
}

/* The checkpoints to begin with, and what their ids mean. */
static enum tsdb_status run_base(struct recovery_run *run, struct tsdb_error *err)
{
    struct series_log_mark mark = {.bytes = 0};
    partitions_init(run);
    enum tsdb_status status = recovery_bases_open(run, err);
    if (status == TSDB_OK && run->base_count > 0) {
        mark = run->bases[0].info.series_log;
        run->result->written_ms = run->bases[0].info.created_ms;
        run->result->written_ahead_s = run->bases[0].info.ahead_s;
    }
    if (status == TSDB_OK) {
        status = series_log_choose(run->r->fs, &mark, run->result->damage > 0, run->r->stamp, err);
    }
    if (status == TSDB_OK) {
        status = load_series_log(run, err);
    }
    if (status == TSDB_OK) {
        status = keep_ids(run, err);
    }
    return status == TSDB_OK ? recovery_bases_rank(run, err) : status;
}

static enum tsdb_status run_checkpoints(struct recovery_run *run, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    if (run->base_count > 0) {
        recovery_step_begin(run, RECOVERY_CHECKPOINT, TSDB_PARTITIONS);
        status = run_all(run, recovery_bases_load, err);
        head_exemplars_settle(run->r->partitions[0].head);
        note_relied(run);
        relieve(run);
    }
    return status == TSDB_OK ? recovery_bases_settle(run, err) : status;
}

static enum tsdb_status run_phases(struct recovery_run *run, struct tsdb_error *err)
{
    enum tsdb_status status = run_base(run, err);
    if (status == TSDB_OK) {
        status = load_head_files(run, err);
    }
    if (status == TSDB_OK) {
        status = run_checkpoints(run, err);
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
    struct recovery_run *run = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *run);
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
    recovery_bases_close(run);
    tsdb_mem_free(TSDB_MEM_OTHER, run->frames.next, run->frames.cap * sizeof *run->frames.next);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        replay_partition_deinit(&run->partitions[i]);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, run, sizeof *run);
    if (status == TSDB_OK) {
        *out = result;
    }
    return status;
}
