/* The checkpoints to begin with: which of those that there are can be opened, which of their ids mean what
 * series.log says, and, for each partition, the best one whose pages are whole. */
#include "base/log.h"
#include "tsdb/recovery/datadir.h"
#include "tsdb/recovery/recovery_private.h"

#include <stdio.h>
#include <string.h>

/* ---- opening ---- */
static void leave_out(struct recovery_run *run, uint64_t number)
{
    if (run->left_out_count < RECOVERY_LEFT_OUT_MAX) {
        run->left_out[run->left_out_count++] = number;
    }
}

/* Every checkpoint, newest first. */
enum tsdb_status recovery_bases_open(struct recovery_run *run, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = run->r->fs;
    uint64_t number = UINT64_MAX;
    while (run->base_count < RECOVERY_BASES_MAX) {
        enum tsdb_status status = checkpoint_newest(fs, number, &number, err);
        if (status != TSDB_OK) {
            return status == TSDB_NOT_FOUND ? TSDB_OK : status;
        }
        struct recovery_result *result = run->result;
        result->checkpoint_number_max = TSDB_MAX(result->checkpoint_number_max, number);
        struct recovery_base *base = &run->bases[run->base_count];
        struct tsdb_error why;
        *base = (struct recovery_base){0};
        status = checkpoint_open(fs, number, &base->reader, &why);
        if (status == TSDB_OK) {
            base->info = *checkpoint_info(base->reader);
            run->head_file_next = TSDB_MAX(run->head_file_next, base->info.head_file_next);
            run->base_count++;
        } else if (recovery_is_damage(status, &why)) {
            result->damage++;
            tsdb_log(TSDB_LOG_ERROR, "recovery", "checkpoint is damaged, looking for an older one",
                     TSDB_U("checkpoint", number), TSDB_S("err", why.msg));
            leave_out(run, number);
        } else {
            return tsdb_error_set(err, status, "%s", why.msg);
        }
    }
    return TSDB_OK;
}

void recovery_bases_close(struct recovery_run *run)
{
    for (uint32_t i = 0; i < run->base_count; i++) {
        checkpoint_close(run->bases[i].reader);
    }
    run->base_count = 0;
}

/* ---- what their ids mean ---- */
/* series.log is loaded. Those of its own past first; of the others, which another moment or another life left, each
 * id is believed by its name only. */
enum tsdb_status recovery_bases_rank(struct recovery_run *run, struct tsdb_error *err)
{
    struct recovery_base ranked[RECOVERY_BASES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->base_count; i++) {
        struct recovery_base *base = &run->bases[i];
        struct tsdb_error why;
        enum tsdb_status status = series_log_fits(run->r->series_log, &base->info.series_log, &why);
        base->exact = status == TSDB_OK;
        if (status == TSDB_NOT_FOUND) {
            run->result->damage++;
            tsdb_log(
                TSDB_LOG_ERROR, "recovery",
                "checkpoint and series.log are not of one moment: series count where both name the "
                "same labels",
                TSDB_U("checkpoint", base->info.number), TSDB_S("err", why.msg));
        } else if (status != TSDB_OK) {
            return tsdb_error_set(err, status, "%s", why.msg);
        }
    }
    for (int exact = 1; exact >= 0; exact--) {
        for (uint32_t i = 0; i < run->base_count; i++) {
            if (run->bases[i].exact == (exact == 1)) {
                ranked[count++] = run->bases[i];
            }
        }
    }
    memcpy(run->bases, ranked, count * sizeof ranked[0]);
    return TSDB_OK;
}

static enum tsdb_status sink_name(void *arg, uint32_t local, uint32_t name, struct tsdb_error *err)
{
    struct replay_partition *p = arg;
    const struct index_mem *index = head_index(p->partition->head);
    uint32_t mine = replay_map_find(&p->map, local);
    mine = mine == UINT32_MAX ? local : mine;
    bool same = index_mem_has(index, mine) && checkpoint_name(index_mem_hash(index, mine)) == name;
    p->lost_series += !same;
    p->named += same;
    return same == p->doubt.believe || replay_doubt_flip(&p->doubt, local) == TSDB_OK
               ? TSDB_OK
               : tsdb_error_nomem(err, "ids of series");
}

/* ---- samples ---- */
static enum tsdb_status sink_run(void *arg, const struct checkpoint_run *c, struct tsdb_error *err)
{
    struct replay_partition *p = arg;
    uint32_t local = replay_local(p, c->local);
    if (local == UINT32_MAX) {
        p->lost_series_samples += c->count;
        return TSDB_OK;
    }
    head_reclaim(p->partition->head, RECOVERY_RECLAIM_BYTES_MIN);
    uint32_t i = 0;
    if (c->kind == TSDB_SAMPLE_FLOAT && !c->start_ms) {
        i = head_floats_load(p->partition->head, local, c->t_ms, c->value, c->count);
    }
    for (; i < c->count; i++) {
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
static enum tsdb_status split_chunk(struct replay_partition *p, uint32_t local, uint32_t stored,
                                    const struct checkpoint_chunk *c, struct head_file *file,
                                    struct tsdb_error *err)
{
    const struct head_place place = {c->offset, c->len, c->mask != 0, c->partition, stored};
    struct chunk_samples s;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    enum tsdb_status status = head_file_read(file, &place, &arena, &s, err);
    if (status == TSDB_OK && c->mask == 0 && s.count != c->count) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "%u samples, expected %u", s.count, c->count);
    }
    if (status == TSDB_OK) {
        status = head_sealed_load_split(p->partition->head, local, c->late, &s);
    } else if (status == TSDB_CORRUPT) {
        tsdb_log(TSDB_LOG_ERROR, "recovery", "a chunk is damaged and was left out",
                 TSDB_U("partition", p->id), TSDB_U("series", stored), TSDB_I("from", c->min_ms),
                 TSDB_I("to", c->max_ms), TSDB_S("err", err ? err->msg : ""));
        p->lost_chunks++;
        status = TSDB_OK;
    }
    tsdb_arena_deinit(&arena);
    return status;
}

#define LABELS_LOST "series whose labels are lost"

/* Samples of a series whose labels are lost lie in the file, or of somebody else: it is moved to quarantine when
 * nothing refers to it any more, not deleted. */
static void keep_file(struct replay_partition *p, struct head_file *file, const char *what)
{
    struct tsdb_error why = {0};
    tsdb_error_set(&why, TSDB_CORRUPT, "partition %u: %s", p->id, what);
    head_file_give_up(file, &why);
}

/* The file of a chunk, which is referred to from now on; NULL: it is not there, too short, or another one of
 * that number, as a copy of this directory has that went on by itself. */
static struct head_file *file_of(struct replay_partition *p, const struct checkpoint_chunk *c)
{
    uint64_t frame = c->mask != 0 ? 0 : HEAD_FILE_FRAME_BYTES;
    struct head_file *file = p->head_files ? head_files_find(p->head_files, c->file) : NULL;
    bool other = file && file->identity != c->identity;
    if (file) {
        atomic_store_explicit(&file->in_checkpoint, true, memory_order_relaxed);
    }
    if (other) {
        keep_file(p, file, "the checkpoint speaks of another file of that number");
    }
    if (!file || other ||
        c->offset + c->len + frame > atomic_load_explicit(&file->bytes, memory_order_relaxed)) {
        p->lost_chunks++;
        return NULL;
    }
    return file;
}

/* A bundle stays one for those of its series that have the ids they had, if its window still holds it; the
 * samples of the others are cut anew, and so are those of a series of which some were, so that they stay
 * in the order in which they came. */
static enum tsdb_status sink_bundle(struct replay_partition *p, const struct checkpoint_chunk *c,
                                    struct head_file *file, struct tsdb_error *err)
{
    bool holds = head_window_holds(p->partition->head, c->min_ms, c->max_ms);
    struct head_sealed s = {.min_ms = c->min_ms,
                            .max_ms = c->max_ms,
                            .count = (uint16_t)c->count,
                            .file = file,
                            .offset = (uint32_t)c->offset,
                            .len = c->len};
    enum tsdb_status status = TSDB_OK;
    for (uint64_t left = c->mask; status == TSDB_OK && left != 0; left &= left - 1) {
        uint64_t bit = left & -left;
        uint32_t stored = c->local + (uint32_t)__builtin_ctzll(left);
        uint32_t local = replay_local(p, stored);
        if (local == stored && holds && !head_series_has_own(p->partition->head, local)) {
            s.mask |= bit;
        } else if (local != UINT32_MAX) {
            status = split_chunk(p, local, stored, c, file, err);
        } else {
            p->lost_series_samples += c->count; /* at most */
            keep_file(p, file, LABELS_LOST);
        }
    }
    if (status == TSDB_OK && s.mask != 0 &&
        head_bundle_load(p->partition->head, c->local, &s) != TSDB_OK) {
        status = tsdb_error_set(err, TSDB_NOMEM, "recovery: no memory for bundles");
    }
    return status;
}

static enum tsdb_status sink_last(void *arg, uint32_t local, int64_t t_ms, struct tsdb_error *err)
{
    struct replay_partition *p = arg;
    uint32_t mine = replay_local(p, local);
    if (mine == UINT32_MAX) {
        return TSDB_OK; /* its series has left */
    }
    return head_series_reached(p->partition->head, mine, t_ms) == TSDB_OK
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_NOMEM, "recovery: no memory for chunks");
}

static enum tsdb_status sink_chunk(void *arg, const struct checkpoint_chunk *c,
                                   struct tsdb_error *err)
{
    struct replay_partition *p = arg;
    uint32_t local = replay_local(p, c->local);
    if (local == UINT32_MAX && c->mask == 0) {
        struct head_file *holder = p->head_files ? head_files_find(p->head_files, c->file) : NULL;
        p->lost_series_samples += c->count;
        if (holder) {
            keep_file(p, holder, LABELS_LOST);
        }
        return TSDB_OK;
    }
    struct head_file *file = file_of(p, c);
    if (!file) {
        return TSDB_OK;
    }
    if (c->mask != 0) {
        return sink_bundle(p, c, file, err);
    }
    if (!head_window_holds(p->partition->head, c->min_ms, c->max_ms)) {
        return split_chunk(p, local, c->local, c, file, err);
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

/* ---- damage inside ---- */
static void sink_damage(void *arg, const struct checkpoint_damage *d)
{
    struct replay_partition *p = arg;
    const struct index_mem *index = head_index(p->partition->head);
    uint64_t series = 0;
    for (uint32_t local = index_mem_next(index, d->local_first);
         local != UINT32_MAX && local <= d->local_last; local = index_mem_next(index, local + 1)) {
        series++;
    }
    p->lost_ranges++;
    p->lost_range_bytes += d->to - d->from;
    p->lost_range_series += series;
    tsdb_log(
        TSDB_LOG_ERROR, "recovery",
        "a stretch of a checkpoint is damaged, and of those before it, too: samples may be missing",
        TSDB_U("partition", p->id), TSDB_U("from", d->from), TSDB_U("to", d->to),
        TSDB_U("series_at_most", series), TSDB_S("why", d->why));
}

/* ---- loading ---- */
static void begin_from(struct recovery_run *run, struct replay_partition *p, uint32_t base)
{
    replay_partition_init(p, p->id, &run->r->partitions[p->id], run->r->hash_key,
                          &run->bases[base].info);
    p->head_files = run->r->head_files;
    p->doubt.believe = run->bases[base].exact;
    p->base = base;
    p->from = run->bases[base].info.wal_segment;
}

static void load_from(struct recovery_run *run, struct replay_partition *p, uint32_t base,
                      bool salvage)
{
    struct checkpoint_sink sink = {.arg = p,
                                   .run = sink_run,
                                   .chunk = sink_chunk,
                                   .last = sink_last,
                                   .exemplar = sink_exemplar,
                                   .name = sink_name,
                                   .damage = salvage ? sink_damage : NULL};
    p->status = checkpoint_load(run->bases[base].reader, p->id, &sink, &p->err);
    head_reclaim(p->partition->head, 0);
}

static uint32_t oldest_base(const struct recovery_run *run)
{
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < run->base_count; i++) {
        oldest = run->bases[i].info.number < run->bases[oldest].info.number ? i : oldest;
    }
    return oldest;
}

/* Labels that series.log lacks may stand in the log, which goes back to the oldest checkpoint: frames that are in
 * this one, too, are no-ops. */
static void replay_from_oldest(struct recovery_run *run, struct replay_partition *p)
{
    uint32_t oldest = oldest_base(run);
    const struct partition_mark *mark = &run->bases[oldest].info.marks[p->id];
    p->log_seq = TSDB_MIN(p->log_seq, mark->log_seq);
    p->decode_epoch = TSDB_MAX(p->decode_epoch, p->frame_epoch) + 1;
    p->frame_epoch = mark->epoch;
    p->from = run->bases[oldest].info.wal_segment;
}

/* Of no checkpoint is the partition whole: what there is of any, the oldest one first, and the log from there. */
static void load_salvage(struct recovery_run *run, struct replay_partition *p)
{
    begin_from(run, p, oldest_base(run));
    for (uint32_t i = 0; i < run->base_count && p->status == TSDB_OK; i++) {
        p->identity = TSDB_MAX(p->identity, run->bases[i].info.series[p->id]);
    }
    for (uint32_t i = run->base_count; i > 0 && p->status == TSDB_OK; i--) {
        replay_doubt_deinit(&p->doubt);
        p->doubt.believe = run->bases[i - 1].exact;
        load_from(run, p, i - 1, true);
    }
    p->salvaged = true;
}

static void load_partition(struct recovery_run *run, struct replay_partition *p)
{
    for (uint32_t i = 0; i < run->base_count; i++) {
        struct tsdb_error why;
        struct recovery_base *base = &run->bases[i];
        enum tsdb_status status = checkpoint_verify_partition(base->reader, p->id, &why);
        if (status == TSDB_OK) {
            begin_from(run, p, i);
            load_from(run, p, i, false);
            if (p->lost_series > 0) {
                replay_from_oldest(run, p);
            }
            return;
        }
        if (!recovery_is_damage(status, &why)) {
            p->err = why;
            p->status = status;
            return;
        }
        atomic_fetch_add_explicit(&base->damaged, 1, memory_order_relaxed);
        tsdb_log(TSDB_LOG_ERROR, "recovery", "a page of a checkpoint is damaged",
                 TSDB_U("partition", p->id), TSDB_S("err", why.msg));
    }
    load_salvage(run, p);
}

/* Whoever is free takes the next one: some have more than others, and some cores are slower. */
void recovery_bases_load(void *arg, uint32_t worker)
{
    struct recovery_run *run = arg;
    (void)worker;
    while (!recovery_cancelled(run)) {
        uint32_t i = atomic_fetch_add_explicit(&run->base_next, 1, memory_order_relaxed);
        if (i >= TSDB_PARTITIONS) {
            return;
        }
        load_partition(run, &run->partitions[i]);
        recovery_step_done(run, 1);
    }
}

/* ---- which of them stay ---- */
/* Is it of any use for a later start? The best one has been read as a whole; one that takes its place has to be whole,
 * too. */
static bool stays(const struct recovery_run *run, uint32_t i)
{
    const struct recovery_base *base = &run->bases[i];
    if (!base->exact || run->r->series_log->damaged ||
        atomic_load_explicit(&base->damaged, memory_order_relaxed) > 0) {
        return false;
    }
    return i == 0 || run->result->base.number > 0 ||
           checkpoint_verify(base->reader, NULL) == TSDB_OK;
}

/* The newest that is whole counts from now on, with the one before it. Those that are damaged, or of another moment,
 * go to quarantine/: what they have is loaded, and a checkpoint with it must come first. */
static void choose_kept(struct recovery_run *run)
{
    struct recovery_result *out = run->result;
    for (uint32_t i = 0; i < run->base_count; i++) {
        const struct recovery_base *base = &run->bases[i];
        if (!stays(run, i)) {
            leave_out(run, base->info.number);
        } else if (out->base.number == 0) {
            out->base = base->info;
            out->checkpoint_bytes = checkpoint_bytes(base->reader);
        } else if (out->older.number == 0) {
            out->older = base->info;
        }
    }
}

/* What goes to quarantine/ goes at once if what stays, and the log, have all of it; else, or where the disk does
 * not let it go, when a checkpoint that has it is durable, and before any id is given out. */
enum tsdb_status recovery_bases_settle(struct recovery_run *run, struct tsdb_error *err)
{
    struct recovery_result *out = run->result;
    choose_kept(run);
    for (uint32_t i = 0; run->base_count > 0 && i < TSDB_PARTITIONS; i++) {
        const struct replay_partition *p = &run->partitions[i];
        out->fell_back_partitions += p->base != 0 || p->salvaged;
    }
    for (uint32_t i = 0; i < run->base_count; i++) {
        out->damage += atomic_load_explicit(&run->bases[i].damaged, memory_order_relaxed);
    }
    out->aside_count = run->left_out_count;
    memcpy(out->aside, run->left_out, sizeof out->aside);
    out->checkpoint_first = run->base_count > 0 && out->base.number == 0;
    out->checkpoints_left_out = out->aside_count;
    if (out->checkpoint_first) {
        return TSDB_OK;
    }
    struct tsdb_error why;
    enum tsdb_status status = recovery_set_aside(run->r->fs, run->r->stamp, out, &why);
    if (status != TSDB_IO) {
        return status == TSDB_OK ? status : tsdb_error_set(err, status, "%s", why.msg);
    }
    tsdb_log(TSDB_LOG_WARN, "recovery", "a checkpoint could not be moved to quarantine yet",
             TSDB_S("err", why.msg));
    out->checkpoint_first = true;
    return TSDB_OK;
}

enum tsdb_status recovery_set_aside(const struct tsdb_fs *fs, uint64_t stamp,
                                    struct recovery_result *r, struct tsdb_error *err)
{
    while (r->aside_count > 0) {
        uint64_t number = r->aside[r->aside_count - 1];
        enum tsdb_status status = checkpoint_set_aside(fs, number, stamp, err);
        if (status != TSDB_OK && status != TSDB_NOT_FOUND) {
            return status;
        }
        r->aside_count--;
        tsdb_log(TSDB_LOG_ERROR, "recovery", "a checkpoint is moved to quarantine",
                 TSDB_U("checkpoint", number), TSDB_U("taken", r->base.number));
    }
    return TSDB_OK;
}
