#include "tools/cmd/check.h"

#include "base/epoch.h"
#include "base/numbered.h"
#include "tools/cmd/overlay.h"
#include "tsdb/block/blocks.h"
#include "tsdb/head/files.h"
#include "tsdb/recovery/checkpoint.h"
#include "tsdb/recovery/metadata_file.h"
#include "tsdb/recovery/series_log.h"
#include "wal/wal.h"

#include <inttypes.h>
#include <stdarg.h>

#define CACHE_BYTES (16u << 20)

struct check {
    const struct tool_dir *d;
    const struct tsdb_fs *fs;
    struct tool_progress *progress;
    check_fn fn;
    void *arg;
    struct tsdb_arena arena;
    struct cache_l2 *cache;
    struct tsdb_hash_key key;
    uint32_t mark;                     /* of the directory */
    bool any_mark;                     /* not known: VERSION is damaged */
    uint64_t newest;                   /* checkpoint that opened and verified; 0: none */
    struct series_log_mark series_log; /* that it relies on */
    uint64_t wal_from;
};

const char *check_part_name(enum check_part part)
{
    static const char *const names[] = {"version",   "checkpoint", "series.log", "metadata",
                                        "head file", "log",        "block"};
    return names[part];
}

const char *check_state_name(enum check_state state)
{
    static const char *const names[] = {"ok", "note", "damaged"};
    return names[state];
}

/* ---- findings ---- */
/* Did a live server take away what was read: a block merged, or log and head files that a checkpoint
 * newer than the one that was looked at made superfluous? */
static bool moved_on(const struct check *c, enum check_part part, const char *path)
{
    struct tsdb_file_info info;
    uint64_t number = 0;
    if (!c->d->live || part == CHECK_VERSION) {
        return false;
    }
    if (c->fs->ops->stat(c->fs->ctx, path, &info, NULL) == TSDB_NOT_FOUND) {
        return true;
    }
    return part != CHECK_BLOCK &&
           (checkpoint_newest(c->fs, UINT64_MAX, &number, NULL) != TSDB_OK || number != c->newest);
}

static enum tsdb_status report(struct check *c, enum check_part part, enum check_state state,
                               const char *path, struct tsdb_error *err, const char *format, ...)
    TSDB_PRINTF(6, 7);
static enum tsdb_status report(struct check *c, enum check_part part, enum check_state state,
                               const char *path, struct tsdb_error *err, const char *format, ...)
{
    struct check_finding f = {.part = part, .state = state};
    va_list list;
    va_start(list, format);
    snprintf(f.path, sizeof f.path, "%s", path);
    vsnprintf(f.detail, sizeof f.detail, format, list);
    va_end(list);
    if (state == CHECK_DAMAGED && moved_on(c, part, path)) {
        f.state = CHECK_NOTE;
        snprintf(f.detail, sizeof f.detail, "the server let it go meanwhile");
    }
    tool_progress_add(c->progress, 1);
    enum tsdb_status status = tool_check(err);
    return status == TSDB_OK ? c->fn(c->arg, &f, err) : status;
}

/* Damage, or a reason to stop? */
static enum tsdb_status outcome(struct check *c, enum check_part part, const char *path,
                                enum tsdb_status status, struct tsdb_error *err)
{
    struct tsdb_error why = *err;
    if (status == TSDB_OK) {
        return report(c, part, CHECK_OK, path, err, "%s", "");
    }
    if (status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED || status == TSDB_NOT_FOUND ||
        status == TSDB_IO) {
        return report(c, part, CHECK_DAMAGED, path, err, "%s", why.msg);
    }
    return status;
}

/* ---- VERSION ---- */
static enum tsdb_status check_version(struct check *c, struct tsdb_error *err)
{
    uint8_t *data = NULL, seed[TSDB_HASH_SEED_BYTES] = {0};
    size_t len = 0;
    enum tsdb_status status = tsdb_file_read_all(c->fs, DATADIR_VERSION, DATADIR_VERSION_MAX,
                                                 TSDB_MEM_OTHER, &data, &len, err);
    if (status == TSDB_LIMIT) {
        status = tsdb_error_set(err, TSDB_CORRUPT, DATADIR_VERSION ": too large");
    } else if (status == TSDB_OK) {
        status = datadir_version_parse(data, len, seed, err);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    tsdb_hash_key_init(&c->key, seed);
    c->mark = datadir_mark(seed);
    c->any_mark = status != TSDB_OK;
    return outcome(c, CHECK_VERSION, DATADIR_VERSION, status, err);
}

/* ---- checkpoints ---- */
static enum tsdb_status check_checkpoints(struct check *c, struct tsdb_error *err)
{
    for (uint64_t below = UINT64_MAX, number = 0;; below = number) {
        enum tsdb_status status = checkpoint_newest(c->fs, below, &number, err);
        if (status != TSDB_OK) {
            return status == TSDB_NOT_FOUND ? TSDB_OK : status;
        }
        char path[64];
        struct checkpoint_reader *r = NULL;
        tsdb_numbered_name(path, sizeof path, DATADIR_CHECKPOINT "/", number);
        status = checkpoint_open(c->fs, number, &r, err);
        if (status == TSDB_OK) {
            status = checkpoint_verify(r, err);
        }
        if (status == TSDB_OK && c->newest == 0) {
            c->newest = number;
            c->series_log = checkpoint_info(r)->series_log;
            c->wal_from = checkpoint_info(r)->wal_segment;
        }
        checkpoint_close(r);
        status = outcome(c, CHECK_CHECKPOINT, path, status, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
}

/* ---- series.log ---- */
static enum tsdb_status series_records(void *arg, const struct series_log_window *window,
                                       struct tsdb_error *err)
{
    (void)arg;
    static struct tsdb_label items[TSDB_LABELS_MAX];
    const struct series_log_record *records = window->records;
    enum tsdb_status status = tool_check(err);
    for (uint32_t i = 0; i < window->count && status == TSDB_OK; i++) {
        uint32_t n = 0;
        if (records[i].labels.len > 0) {
            status = tsdb_labels_decode(records[i].labels.data, records[i].labels.len, items,
                                        TSDB_LABELS_MAX, &n, err);
        }
        if (status != TSDB_OK) {
            return tsdb_error_prefix(err, status, "series %u of partition %u", records[i].local,
                                     records[i].partition);
        }
    }
    return status;
}

/* Loading cuts a torn tail: over an overlay, so that it does not. */
static enum tsdb_status check_series_log(struct check *c, struct tsdb_error *err)
{
    struct tsdb_fs overlay = {0};
    struct tsdb_file_info info;
    enum tsdb_status status = c->fs->ops->stat(c->fs->ctx, DATADIR_SERIES_LOG, &info, err);
    if (status == TSDB_NOT_FOUND && c->series_log.bytes == 0) {
        return TSDB_OK;
    }
    status = overlay_create(c->fs, &overlay, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct series_log log;
    struct series_log_found found = {0};
    struct series_log_sink sink = {.apply = series_records};
    series_log_init(&log, &overlay, tsdb_random_system);
    status = series_log_choose(&overlay, &c->series_log, false, 0, err);
    status = status != TSDB_OK ? status
                               : series_log_load(&log, &c->series_log, 1, 0, &sink, &found, err);
    if (status == TSDB_OK && found.damaged_ranges > 0) {
        status = tsdb_error_set(err, TSDB_CORRUPT,
                                DATADIR_SERIES_LOG " at byte %" PRIu64 ": %" PRIu64
                                                   " damaged stretches, %" PRIu64 " bytes",
                                found.damaged_first, found.damaged_ranges, found.damaged_bytes);
    }
    if (status == TSDB_OK && c->series_log.bytes > 0) {
        status = series_log_fits(&log, &c->series_log, err);
        status = status == TSDB_NOT_FOUND ? TSDB_CORRUPT : status;
    }
    series_log_deinit(&log);
    overlay_destroy(&overlay);
    if (status == TSDB_OK && found.cut_bytes > 0) {
        return report(c, CHECK_SERIES_LOG, CHECK_NOTE, DATADIR_SERIES_LOG, err,
                      "%" PRIu64 " bytes at the end are no whole record: an append that was "
                      "interrupted, or damage of labels that no checkpoint relies on",
                      found.cut_bytes);
    }
    return outcome(c, CHECK_SERIES_LOG, DATADIR_SERIES_LOG, status, err);
}

/* ---- metadata ---- */
static enum tsdb_status metadata_seen(void *arg, const struct tsdb_metadata *m)
{
    (void)arg;
    (void)m;
    return TSDB_OK;
}

/* Of what is damaged the next start writes the rest anew, and senders tell what is missing: a note. */
static enum tsdb_status check_metadata(struct check *c, struct tsdb_error *err)
{
    struct tsdb_error why = {0};
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status = tsdb_file_read_all(c->fs, METADATA_FILE_NAME, METADATA_FILE_BYTES_MAX,
                                                 TSDB_MEM_OTHER, &data, &len, &why);
    if (status == TSDB_NOT_FOUND) {
        return TSDB_OK;
    }
    if (status == TSDB_OK) {
        status = metadata_file_parse(data, len, metadata_seen, NULL, &why);
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
    return status == TSDB_OK
               ? report(c, CHECK_METADATA, CHECK_OK, METADATA_FILE_NAME, err, "%s", "")
               : report(c, CHECK_METADATA, CHECK_NOTE, METADATA_FILE_NAME, err, "%s", why.msg);
}

/* ---- head files ---- */
struct head_refs {
    struct check *c;
    struct head_files *files;
    uint64_t file;   /* that findings are gathered of; chunks come partition by partition */
    uint64_t chunks; /* whole */
    uint64_t lost, lost_samples;
    struct tsdb_error first;
};

static enum tsdb_status no_run(void *arg, const struct checkpoint_run *run, struct tsdb_error *err)
{
    (void)arg;
    (void)run;
    return tool_check(err);
}

static enum tsdb_status no_exemplar(void *arg, uint32_t local, const struct tsdb_exemplar *x,
                                    struct tsdb_error *err)
{
    (void)arg;
    (void)local;
    (void)x;
    (void)err;
    return TSDB_OK;
}

static enum tsdb_status no_last(void *arg, uint32_t local, int64_t t_ms, struct tsdb_error *err)
{
    (void)arg;
    (void)local;
    (void)t_ms;
    return tool_check(err);
}

/* How many samples the file has of what the checkpoint refers to. */
static enum tsdb_status chunk_count(struct head_refs *h, const struct head_file *f,
                                    const struct checkpoint_chunk *k, uint32_t *out,
                                    struct tsdb_error *why)
{
    enum tsdb_status status = TSDB_OK;
    uint64_t left = k->mask != 0 ? k->mask : 1;
    *out = 0;
    for (; status == TSDB_OK && left != 0; left &= left - 1) {
        struct chunk_samples samples;
        const struct head_place place = {k->offset, k->len, k->mask != 0, k->partition,
                                         k->local + (uint32_t)__builtin_ctzll(left)};
        status = head_file_read_once(f, &place, &h->c->arena, &samples, why);
        *out += status == TSDB_OK ? samples.count : 0;
        tsdb_arena_reset(&h->c->arena);
    }
    return status;
}

/* Only the chunks of the file that is looked at. */
static enum tsdb_status head_chunk(void *arg, const struct checkpoint_chunk *k,
                                   struct tsdb_error *err)
{
    struct head_refs *h = arg;
    struct tsdb_error why;
    uint32_t count = 0;
    tsdb_error_clear(&why);
    if (k->file != h->file) {
        return tool_check(err);
    }
    struct head_file *f = head_files_find(h->files, k->file);
    enum tsdb_status status =
        !f ? tsdb_error_set(&why, TSDB_CORRUPT, "missing or without a valid header")
        : f->identity != k->identity
            ? tsdb_error_set(&why, TSDB_CORRUPT, "the checkpoint speaks of another file")
            : chunk_count(h, f, k, &count, &why);
    /* A bundle may have series that came after the checkpoint was begun. */
    if (status == TSDB_OK && (k->mask == 0 ? count != k->count : count > k->count)) {
        status = tsdb_error_set(&why, TSDB_CORRUPT,
                                "chunk at byte %" PRIu64 ": %u samples, "
                                "the checkpoint says %u",
                                k->offset, count, k->count);
    }
    if (status == TSDB_NOMEM) {
        *err = why;
        return status;
    }
    if (status != TSDB_OK) {
        h->first = h->lost == 0 ? why : h->first;
        h->lost++;
        h->lost_samples += k->count;
    } else {
        h->chunks++;
    }
    return TSDB_OK;
}

/* Which files the checkpoint speaks of: the least above `above`. */
struct head_next {
    uint64_t above, least;
};
static enum tsdb_status next_chunk(void *arg, const struct checkpoint_chunk *k,
                                   struct tsdb_error *err)
{
    struct head_next *n = arg;
    (void)err;
    if (k->file > n->above && k->file < n->least) {
        n->least = k->file;
    }
    return TSDB_OK;
}

static enum tsdb_status load_all(const struct checkpoint_reader *r,
                                 const struct checkpoint_sink *sink, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t p = 0; p < TSDB_PARTITIONS && status == TSDB_OK; p++) {
        status = checkpoint_load(r, p, sink, err);
    }
    return status;
}

static enum tsdb_status head_one(struct head_refs *h, const struct checkpoint_reader *r,
                                 uint64_t file, struct tsdb_error *err)
{
    const struct checkpoint_sink sink = {
        .arg = h, .run = no_run, .chunk = head_chunk, .last = no_last, .exemplar = no_exemplar};
    char path[64];
    h->file = file;
    h->chunks = h->lost = h->lost_samples = 0;
    tsdb_numbered_name(path, sizeof path, HEAD_FILES_DIR "/", file);
    enum tsdb_status status = load_all(r, &sink, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (h->lost == 0) {
        return report(h->c, CHECK_HEAD_FILE, CHECK_OK, path, err, "%s", "");
    }
    return report(h->c, CHECK_HEAD_FILE, CHECK_DAMAGED, path, err,
                  "%" PRIu64 " of %" PRIu64 " chunks, %" PRIu64 " samples; the first: %s", h->lost,
                  h->lost + h->chunks, h->lost_samples, h->first.msg);
}

static enum tsdb_status head_all(struct head_refs *h, const struct checkpoint_reader *r,
                                 struct tsdb_error *err)
{
    for (struct head_next n = {0, 0};; n.above = n.least) {
        const struct checkpoint_sink sink = {.arg = &n,
                                             .run = no_run,
                                             .chunk = next_chunk,
                                             .last = no_last,
                                             .exemplar = no_exemplar};
        n.least = UINT64_MAX;
        enum tsdb_status status = load_all(r, &sink, err);
        if (status != TSDB_OK || n.least == UINT64_MAX) {
            return status;
        }
        status = head_one(h, r, n.least, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
}

static enum tsdb_status check_head(struct check *c, struct tsdb_error *err)
{
    struct checkpoint_reader *r = NULL;
    struct tsdb_epoch *epoch = NULL;
    struct head_refs h = {.c = c};
    uint32_t damaged = 0;
    if (c->newest == 0) {
        return TSDB_OK;
    }
    enum tsdb_status status = checkpoint_open(c->fs, c->newest, &r, err);
    if (status == TSDB_OK &&
        (tsdb_epoch_create(1, &epoch) != TSDB_OK ||
         head_files_create(c->fs, c->cache, epoch, c->mark, 0, &h.files) != TSDB_OK)) {
        status = tsdb_error_nomem(err, "the files of the head");
    }
    if (status == TSDB_OK) {
        status = head_files_load(h.files, 1, &damaged, err);
        status = status == TSDB_NOT_FOUND ? TSDB_OK : status;
    }
    if (status == TSDB_OK) {
        status = head_all(&h, r, err);
    }
    head_files_destroy(h.files);
    tsdb_epoch_destroy(epoch);
    checkpoint_close(r);
    if (status == TSDB_CORRUPT || status == TSDB_NOT_FOUND) { /* pages verified, content did not */
        char path[64];
        tsdb_numbered_name(path, sizeof path, DATADIR_CHECKPOINT "/", c->newest);
        return outcome(c, CHECK_CHECKPOINT, path, status, err);
    }
    return status;
}

/* ---- the log ---- */
static enum tsdb_status wal_damage(struct check *c, const struct wal_replay *r,
                                   struct tsdb_error *err)
{
    const struct wal_damage *items = NULL;
    uint32_t count = wal_replay_damage(r, &items);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        char path[64];
        tsdb_numbered_name(path, sizeof path, DATADIR_WAL "/", items[i].segment);
        if (items[i].from == 0 && items[i].to == 0) {
            status = report(c, CHECK_WAL, CHECK_DAMAGED, path, err, "missing");
        } else {
            status =
                report(c, CHECK_WAL, items[i].torn_tail ? CHECK_NOTE : CHECK_DAMAGED, path, err,
                       "bytes %" PRIu64 " to %" PRIu64 ": %s", items[i].from, items[i].to,
                       items[i].torn_tail ? "an interrupted write; nothing acknowledged is lost"
                                          : "unreadable");
        }
    }
    return status;
}

static enum tsdb_status check_wal(struct check *c, struct tsdb_error *err)
{
    struct wal_replay_options o = {.fs = c->fs,
                                   .dir = DATADIR_WAL,
                                   .segment_from = c->wal_from,
                                   .mark = c->mark,
                                   .any_mark = c->any_mark};
    struct wal_replay *r = NULL;
    enum tsdb_status status = wal_replay_open(&o, &r, err);
    while (status == TSDB_OK) {
        struct wal_segment_view v;
        uint32_t before = wal_replay_damage(r, &(const struct wal_damage *){NULL});
        status = wal_replay_segment(r, &v, err);
        if (status == TSDB_OK &&
            wal_replay_damage(r, &(const struct wal_damage *){NULL}) == before) {
            char path[64];
            tsdb_numbered_name(path, sizeof path, DATADIR_WAL "/", v.segment);
            status = report(c, CHECK_WAL, CHECK_OK, path, err, "%s", "");
        }
    }
    if (status == TSDB_NOT_FOUND && r) {
        status = wal_damage(c, r, err);
    } else if (status == TSDB_NOT_FOUND) {
        status = TSDB_OK; /* no wal/ yet */
    }
    wal_replay_close(r);
    return status;
}

/* ---- blocks ---- */
static enum tsdb_status check_blocks(struct check *c, struct tsdb_error *err)
{
    struct block_name *names = NULL;
    uint32_t count = 0;
    struct tsdb_arena list;
    tsdb_arena_init(&list, TSDB_MEM_OTHER, 65536, NULL);
    enum tsdb_status status = tool_blocks_list(c->d, &list, &names, &count, err);
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct block *b = NULL;
        struct tombstones *hidden = NULL;
        char path[64];
        snprintf(path, sizeof path, BLOCKS_DIR "/%s", names[i].ulid);
        status = block_open(c->fs, BLOCKS_DIR, names[i].ulid, c->cache, &b, err);
        if (status == TSDB_OK) {
            status = block_verify(b, err);
        }
        if (status == TSDB_OK) {
            status = tombstones_load(c->fs, BLOCKS_DIR, names[i].ulid,
                                     (uint32_t)block_meta(b)->series, &hidden, err);
        }
        tombstones_free(hidden);
        block_close(b);
        status = outcome(c, CHECK_BLOCK, path, status, err);
    }
    tsdb_arena_deinit(&list);
    return status;
}

enum tsdb_status check_run(const struct tool_dir *d, struct tool_progress *progress, check_fn fn,
                           void *arg, struct tsdb_error *err)
{
    static enum tsdb_status (*const steps[])(struct check *, struct tsdb_error *) = {
        check_version, check_checkpoints, check_series_log, check_metadata,
        check_head,    check_wal,         check_blocks,
    };
    struct check c = {.d = d, .fs = &d->fs, .progress = progress, .fn = fn, .arg = arg};
    tsdb_arena_init(&c.arena, TSDB_MEM_OTHER, 65536, NULL);
    enum tsdb_status status = cache_l2_create(CACHE_BYTES, &c.cache, err);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(steps) && status == TSDB_OK; i++) {
        tsdb_error_clear(err);
        status = steps[i](&c, err);
    }
    cache_l2_destroy(c.cache);
    tsdb_arena_deinit(&c.arena);
    return status;
}
