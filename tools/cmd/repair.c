/* repair: make a damaged directory one that a server starts on, keeping all that is whole.
 *
 *   check ─▶ damaged parts ─▶ blocks: what is readable into a new block (salvage.h), the old one aside
 *                          ─▶ VERSION, series.log: aside, and with them what means nothing without them
 *                          ─▶ checkpoint: aside; head files, log: a copy aside, then the engine recovers
 *                             what it can, into blocks
 *
 * Nothing is deleted: what is damaged lies in quarantine/repair-<ms>/ afterwards. An interrupted repair is
 * begun again: what was salvaged twice is read once, for samples are merged by time. */
#include "tools/cmd/check.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/salvage.h"
#include "tsdb/block/blocks.h"
#include "tsdb/block/ulid.h"
#include "tsdb/head/files.h"

#include <inttypes.h>

#define COPY_BYTES (1u << 20)

struct repair {
    struct tool *t;
    struct tool_dir dir;
    char aside[64]; /* quarantine/repair-<ms> */
    bool aside_made;
    struct tsdb_arena arena;
    struct check_finding *findings; /* damaged ones */
    uint32_t count, cap;
    bool damaged[CHECK_BLOCK + 1]; /* by part */
    struct tool_table table;
    struct tool_progress progress;
};

static const struct tool_column columns[] = {
    {"file", TOOL_CELL_TEXT},          {"action", TOOL_CELL_TEXT},
    {"kept_samples", TOOL_CELL_COUNT}, {"lost_samples", TOOL_CELL_COUNT},
    {"lost_from", TOOL_CELL_TIME},     {"lost_to", TOOL_CELL_TIME},
    {"detail", TOOL_CELL_TEXT},
};

static void put_row(struct repair *r, const char *file, const char *action, uint64_t kept,
                    uint64_t lost, int64_t from_ms, int64_t to_ms, const char *detail)
{
    tool_table_str(&r->table, file);
    tool_table_str(&r->table, action);
    tool_table_number(&r->table, (int64_t)kept);
    tool_table_number(&r->table, (int64_t)lost);
    tool_table_number(&r->table, from_ms);
    tool_table_number(&r->table, to_ms);
    tool_table_str(&r->table, detail);
}

static void put_plain(struct repair *r, const char *file, const char *action, const char *detail)
{
    put_row(r, file, action, 0, 0, INT64_MIN, INT64_MAX, detail);
}

/* ---- what is damaged ---- */
static enum tsdb_status note(void *arg, const struct check_finding *f, struct tsdb_error *err)
{
    struct repair *r = arg;
    if (f->state != CHECK_DAMAGED) {
        return TSDB_OK;
    }
    if (r->count == r->cap) {
        uint32_t cap = r->cap ? 2 * r->cap : 16;
        struct check_finding *more = TSDB_ARENA_ARRAY(&r->arena, struct check_finding, cap);
        if (!more) {
            return tsdb_error_nomem(err, "the list of what is damaged");
        }
        if (r->count > 0) {
            memcpy(more, r->findings, r->count * sizeof *more);
        }
        r->findings = more;
        r->cap = cap;
    }
    r->findings[r->count++] = *f;
    r->damaged[f->part] = true;
    return TSDB_OK;
}

/* ---- moving aside ---- */
static enum tsdb_status make_aside(struct repair *r, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = &r->dir.fs;
    if (r->aside_made) {
        return TSDB_OK;
    }
    enum tsdb_status status = fs->ops->mkdir(fs->ctx, BLOCKS_DIR_QUARANTINE, err);
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, "", err);
    }
    if (status == TSDB_OK) {
        status = fs->ops->mkdir(fs->ctx, r->aside, err);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, BLOCKS_DIR_QUARANTINE, err);
    }
    r->aside_made = status == TSDB_OK;
    return status;
}

/* "wal/00000003" lies as "wal-00000003". */
static void aside_path(const struct repair *r, const char *path, char *out, size_t cap)
{
    int n = snprintf(out, cap, "%s/", r->aside);
    size_t at = n > 0 ? (size_t)n : 0;
    for (; *path && at + 1 < cap; path++) {
        out[at++] = *path == '/' ? '-' : *path;
    }
    out[at] = 0;
}

static enum tsdb_status sync_parent(const struct tsdb_fs *fs, const char *path,
                                    struct tsdb_error *err)
{
    char parent[128];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 0, path);
    return fs->ops->sync_dir(fs->ctx, parent, err);
}

static enum tsdb_status move_aside(struct repair *r, const char *path, const char *detail,
                                   struct tsdb_error *err)
{
    const struct tsdb_fs *fs = &r->dir.fs;
    struct tsdb_file_info info;
    char to[192];
    enum tsdb_status status = fs->ops->stat(fs->ctx, path, &info, err);
    if (status == TSDB_NOT_FOUND) {
        return TSDB_OK;
    }
    aside_path(r, path, to, sizeof to);
    put_plain(r, path, "moved aside", detail);
    if (status != TSDB_OK || r->t->options.dry_run) {
        return status;
    }
    status = make_aside(r, err);
    if (status == TSDB_OK) {
        status = fs->ops->rename(fs->ctx, path, to, err);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, r->aside, err);
    }
    return status == TSDB_OK ? sync_parent(fs, path, err) : status;
}

static enum tsdb_status copy_bytes(const struct tsdb_fs *fs, struct tsdb_file *from,
                                   struct tsdb_file *to, struct tsdb_error *err)
{
    uint8_t *data = tsdb_mem_alloc(TSDB_MEM_OTHER, COPY_BYTES);
    enum tsdb_status status = data ? TSDB_OK : tsdb_error_nomem(err, "a copy");
    size_t len = COPY_BYTES;
    for (uint64_t at = 0; status == TSDB_OK && len == COPY_BYTES; at += len) {
        status = fs->ops->pread(fs->ctx, from, data, COPY_BYTES, at, &len, err);
        if (status == TSDB_OK && len > 0) {
            status = fs->ops->pwrite(fs->ctx, to, data, len, at, err);
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, COPY_BYTES);
    return status == TSDB_OK ? fs->ops->sync(fs->ctx, to, err) : status;
}

/* The engine lets go of the file when it has recovered the rest of it. */
static enum tsdb_status copy_aside(struct repair *r, const char *path, const char *detail,
                                   struct tsdb_error *err)
{
    const struct tsdb_fs *fs = &r->dir.fs;
    struct tsdb_file_info info;
    struct tsdb_file *from = NULL, *to = NULL;
    char target[192];
    put_plain(r, path, "copied aside", detail);
    enum tsdb_status status = fs->ops->stat(fs->ctx, path, &info, err);
    if (status == TSDB_NOT_FOUND || r->t->options.dry_run) {
        return TSDB_OK; /* a missing one is a finding as well */
    }
    aside_path(r, path, target, sizeof target);
    if (status == TSDB_OK) {
        status = make_aside(r, err);
    }
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &from, err);
    }
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, target,
                               TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &to, err);
    }
    if (status == TSDB_OK) {
        status = copy_bytes(fs, from, to, err);
    }
    fs->ops->close(fs->ctx, to);
    fs->ops->close(fs->ctx, from);
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, r->aside, err) : status;
}

/* ---- the parts ---- */
static const char *detail_of(const struct repair *r, enum check_part part)
{
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->findings[i].part == part) {
            return r->findings[i].detail;
        }
    }
    return "";
}

/* The head as a whole: without the labels of its series, or the secret that says where they belong, its
 * samples are nobody's. */
static enum tsdb_status head_aside(struct repair *r, struct tsdb_error *err)
{
    static const char *const parts[] = {DATADIR_CHECKPOINT, HEAD_FILES_DIR, DATADIR_WAL};
    enum tsdb_status status =
        move_aside(r, DATADIR_SERIES_LOG, detail_of(r, CHECK_SERIES_LOG), err);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(parts) && status == TSDB_OK; i++) {
        status = move_aside(r, parts[i], "means nothing without series.log and VERSION", err);
    }
    return status;
}

static enum tsdb_status repair_block(struct repair *r, const char *path, const char *detail,
                                     struct tsdb_error *err)
{
    struct salvage s;
    const char *ulid = path + strlen(BLOCKS_DIR "/");
    char text[768];
    if (r->t->options.dry_run) {
        put_plain(r, path, "would be salvaged", detail);
        return TSDB_OK;
    }
    enum tsdb_status status = salvage_block(&r->dir.fs, BLOCKS_DIR, ulid, &r->progress, &s, err);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "%s", path);
    }
    if (!s.opened) {
        snprintf(text, sizeof text, "all of it is lost to queries: %.400s", detail);
    } else {
        snprintf(text, sizeof text, "%s%s%s%" PRIu64 " series and %" PRIu64 " chunks lost%s%s",
                 s.ulid[0] ? "the rest is block " : "nothing is left", s.ulid, "; ", s.lost_series,
                 s.lost_chunks, s.first_lost[0] ? ", the first of " : "", s.first_lost);
    }
    bool known = s.lost_min_ms <= s.lost_max_ms;
    status = make_aside(r, err);
    if (status == TSDB_OK) {
        char to[192];
        aside_path(r, path, to, sizeof to);
        status = r->dir.fs.ops->rename(r->dir.fs.ctx, path, to, err);
    }
    if (status == TSDB_OK) {
        status = r->dir.fs.ops->sync_dir(r->dir.fs.ctx, r->aside, err);
    }
    if (status == TSDB_OK) {
        status = r->dir.fs.ops->sync_dir(r->dir.fs.ctx, BLOCKS_DIR, err);
    }
    uint64_t lost = s.opened ? s.meta.samples - TSDB_MIN(s.meta.samples, s.kept_samples) : 0;
    put_row(r, path, s.ulid[0] ? "salvaged" : "moved aside", s.kept_samples, lost,
            known ? s.lost_min_ms : INT64_MIN, known ? s.lost_max_ms : INT64_MAX, text);
    return status;
}

/* With a new secret every block needs a new filter of its series: all are written anew. */
static enum tsdb_status repair_all_blocks(struct repair *r, struct tsdb_error *err)
{
    struct block_name *names = NULL;
    uint32_t count = 0;
    enum tsdb_status status =
        block_dir_list(&r->dir.fs, BLOCKS_DIR, &r->arena, &names, &count, err);
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        char path[64];
        snprintf(path, sizeof path, BLOCKS_DIR "/%s", names[i].ulid);
        status = repair_block(r, path, "a new VERSION has another secret", err);
    }
    return status;
}

static enum tsdb_status repair_files(struct repair *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    bool head_gone = r->damaged[CHECK_VERSION] || r->damaged[CHECK_SERIES_LOG];
    if (head_gone) {
        status = head_aside(r, err);
    }
    for (uint32_t i = 0; i < r->count && status == TSDB_OK; i++) {
        const struct check_finding *f = &r->findings[i];
        if (f->part == CHECK_BLOCK && !r->damaged[CHECK_VERSION]) {
            status = repair_block(r, f->path, f->detail, err);
        } else if (f->part == CHECK_CHECKPOINT && !head_gone) {
            status = move_aside(r, f->path, f->detail, err);
        } else if ((f->part == CHECK_HEAD_FILE || f->part == CHECK_WAL) && !head_gone) {
            status = copy_aside(r, f->path, f->detail, err);
        }
    }
    return status;
}

/* VERSION goes last: until then a second run finds the same damage and begins again. */
static enum tsdb_status repair_version(struct repair *r, struct tsdb_error *err)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    char text[DATADIR_VERSION_MAX];
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    enum tsdb_status status = repair_all_blocks(r, err);
    if (status == TSDB_OK) {
        status = move_aside(r, DATADIR_VERSION, detail_of(r, CHECK_VERSION), err);
    }
    size_t len = datadir_version_print(seed, text);
    return status == TSDB_OK && !r->t->options.dry_run
               ? tsdb_file_replace(&r->dir.fs, DATADIR_VERSION, text, len, err)
               : status;
}

/* Let the engine recover what is readable of log and head, and put it into blocks. */
static enum tsdb_status recover_head(struct repair *r, struct tsdb_error *err)
{
    struct tsdb_options o;
    struct tsdb *db = NULL;
    struct tsdb_stats s;
    char text[256];
    tsdb_options_default(&o);
    o.fs = r->dir.fs;
    o.manual_steps = true;
    o.owner_count = 1;
    enum tsdb_status status = tsdb_open(&o, &db, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (r->damaged[CHECK_HEAD_FILE]) {
        status = tsdb_flush(db, err);
    }
    if (status == TSDB_OK) {
        status = tsdb_checkpoint(db, err);
    }
    tsdb_stats_read(db, &s);
    if (status == TSDB_OK) {
        status = tsdb_close(db, err);
    } else {
        (void)tsdb_close(db, NULL);
    }
    snprintf(text, sizeof text,
             "recovered; %" PRIu64 " frames of the log and %" PRIu64 " chunks of head files lost",
             s.replay_lost_frames, s.flush_chunks_lost);
    put_plain(r, "head", "recovered", text);
    return status;
}

static enum tsdb_status repair_run(struct repair *r, struct tsdb_error *err)
{
    enum tsdb_status status = repair_files(r, err);
    if (status == TSDB_OK && r->damaged[CHECK_VERSION]) {
        status = repair_version(r, err);
    }
    bool head =
        r->damaged[CHECK_HEAD_FILE] || r->damaged[CHECK_WAL] || r->damaged[CHECK_CHECKPOINT];
    if (status == TSDB_OK && !r->t->options.dry_run && head && !r->damaged[CHECK_VERSION] &&
        !r->damaged[CHECK_SERIES_LOG]) {
        r->dir.fs.ops->close(r->dir.fs.ctx, r->dir.lock); /* the engine takes it itself */
        r->dir.lock = NULL;
        status = recover_head(r, err);
    }
    return status;
}

/* ---- the command ---- */
static enum tsdb_status repair_begin(struct repair *r, struct tool *t, struct tsdb_error *err)
{
    struct tsdb_file_info info;
    *r = (struct repair){.t = t, .dir = {.path = t->args[0]}};
    tsdb_arena_init(&r->arena, TSDB_MEM_OTHER, 65536, NULL);
    tool_table_init(&r->table, columns, TSDB_ARRAY_LEN(columns));
    tool_progress_begin(&r->progress, t, "samples", 0);
    snprintf(r->aside, sizeof r->aside, BLOCKS_DIR_QUARANTINE "/repair-%" PRId64,
             tsdb_clock_wall_ms(&tsdb_clock_real));
    enum tsdb_status status = tool_must_be_dir(t->args[0], err);
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(t->args[0], &r->dir.fs, err);
    }
    /* VERSION may be what is lost; but what never was ours is left alone. */
    if (status == TSDB_OK &&
        r->dir.fs.ops->stat(r->dir.fs.ctx, DATADIR_LOCK, &info, NULL) != TSDB_OK &&
        r->dir.fs.ops->stat(r->dir.fs.ctx, DATADIR_VERSION, &info, NULL) != TSDB_OK) {
        status = tsdb_error_set(err, TSDB_NOT_FOUND,
                                "%s: not a tidalite data directory (it has "
                                "neither " DATADIR_LOCK " nor " DATADIR_VERSION ")",
                                t->args[0]);
    }
    if (status == TSDB_OK) {
        status = r->dir.fs.ops->lock(r->dir.fs.ctx, DATADIR_LOCK, &r->dir.lock, err);
    }
    return status == TSDB_BUSY
               ? tsdb_error_set(err, TSDB_BUSY, "%s: a server has it; stop it first", t->args[0])
               : status;
}

/* What is left after all: a repair that did not help says so. */
static enum tsdb_status check_again(struct repair *r, struct tsdb_error *err)
{
    r->count = 0;
    enum tsdb_status status = check_run(&r->dir, &r->progress, note, r, err);
    if (status == TSDB_OK && r->count > 0) {
        r->t->damaged = true;
        tool_say("%s: still damaged: %s: %s", r->dir.path, r->findings[0].path,
                 r->findings[0].detail);
    }
    return status;
}

static enum tsdb_status repair_end(struct repair *r, enum tsdb_status status, bool whole,
                                   struct tsdb_error *err)
{
    struct tool *t = r->t;
    tool_progress_end(&r->progress);
    if (status == TSDB_OK) {
        status = tool_table_print(&r->table, t, err);
        if (whole) {
            tool_say("%s: nothing is damaged", r->dir.path);
        } else if (t->options.dry_run) {
            t->damaged = true;
            tool_say("%s: nothing was done (--dry-run)", r->dir.path);
        } else if (r->aside_made) {
            tool_say("%s/%s has what was damaged", r->dir.path, r->aside);
        }
    }
    tool_dir_close(&r->dir);
    tool_table_deinit(&r->table);
    tsdb_arena_deinit(&r->arena);
    return status;
}

enum tsdb_status tool_repair(struct tool *t, struct tsdb_error *err)
{
    struct repair r;
    enum tsdb_status status = repair_begin(&r, t, err);
    if (status == TSDB_OK) {
        status = check_run(&r.dir, &r.progress, note, &r, err);
    }
    bool whole = r.count == 0;
    if (status == TSDB_OK && !whole) {
        status = repair_run(&r, err);
    }
    if (status == TSDB_OK && !whole && !t->options.dry_run) {
        status = check_again(&r, err);
    }
    return repair_end(&r, status, whole, err);
}

/* ---- one block ---- */
static enum tsdb_status verify_block(struct repair *r, const char *ulid, struct tsdb_error *err)
{
    struct block *b = NULL;
    struct cache_l2 *cache = NULL;
    enum tsdb_status status = cache_l2_create(0, &cache, err);
    if (status == TSDB_OK) {
        status = block_open(&r->dir.fs, BLOCKS_DIR, ulid, cache, &b, err);
    }
    if (status == TSDB_OK) {
        status = block_verify(b, err);
    }
    block_close(b);
    cache_l2_destroy(cache);
    return status;
}

enum tsdb_status tool_block_repair(struct tool *t, struct tsdb_error *err)
{
    struct repair r;
    struct tsdb_file_info info;
    struct tsdb_error why = {0};
    char path[128];
    snprintf(path, sizeof path, BLOCKS_DIR "/%.64s", t->args[1]);
    enum tsdb_status status = repair_begin(&r, t, err);
    if (status == TSDB_OK && (!ulid_valid(t->args[1]) ||
                              r.dir.fs.ops->stat(r.dir.fs.ctx, path, &info, NULL) != TSDB_OK)) {
        status = tsdb_error_set(err, TSDB_NOT_FOUND, "%s has no block %s", t->args[0], t->args[1]);
    }
    bool whole = false;
    if (status == TSDB_OK) {
        enum tsdb_status found = verify_block(&r, t->args[1], &why);
        whole = found == TSDB_OK;
        if (found == TSDB_NOMEM) {
            *err = why;
            status = found;
        }
    }
    if (status == TSDB_OK && !whole) {
        status = repair_block(&r, path, why.msg, err);
    }
    return repair_end(&r, status, whole, err);
}
