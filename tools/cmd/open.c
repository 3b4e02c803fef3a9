#include "tools/cmd/open.h"

#include "query/query.h"
#include "tools/cmd/overlay.h"
#include "tsdb/block/blocks.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define LIVE_TRIES        40u
#define WAL_OVERLAY_BYTES (UINT64_C(1) << 20) /* nothing is written to it */

/* ---- the directory ---- */
enum tsdb_status tool_must_be_dir(const char *path, struct tsdb_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return tsdb_error_set_errno(err, errno, "%s", path);
    }
    return S_ISDIR(st.st_mode) ? TSDB_OK
                               : tsdb_error_set(err, TSDB_NOT_FOUND, "%s: not a directory", path);
}

/* LOCK is never created here: a directory that has none was never used by a server. */
static void take_lock(struct tool_dir *d)
{
    struct tsdb_file_info info;
    struct tsdb_error err;
    tsdb_error_clear(&err);
    if (d->fs.ops->stat(d->fs.ctx, DATADIR_LOCK, &info, NULL) != TSDB_OK) {
        return;
    }
    enum tsdb_status status = d->fs.ops->lock(d->fs.ctx, DATADIR_LOCK, &d->lock, &err);
    d->live = status == TSDB_BUSY;
    if (d->live) {
        tool_say("%s: in use by a server; this is a read-only look at what is on the disk now",
                 d->path);
    } else if (status != TSDB_OK) {
        tool_say("%s: reading without a lock (%s)", d->path, err.msg);
    }
}

static enum tsdb_status must_be_ours(const struct tsdb_fs *fs, const char *path,
                                     struct tsdb_error *err)
{
    struct tsdb_file_info info;
    enum tsdb_status status = fs->ops->stat(fs->ctx, DATADIR_VERSION, &info, err);
    return status == TSDB_NOT_FOUND
               ? tsdb_error_set(err, TSDB_NOT_FOUND,
                                "%s: not a tidalite data directory (it has no " DATADIR_VERSION ")",
                                path)
               : status;
}

enum tsdb_status tool_dir_read(const char *path, struct tool_dir *out, struct tsdb_error *err)
{
    struct tool_dir d = {.path = path};
    enum tsdb_status status = tool_must_be_dir(path, err);
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(path, &d.fs, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    status = must_be_ours(&d.fs, path, err);
    if (status != TSDB_OK) {
        tool_dir_close(&d);
        return status;
    }
    take_lock(&d);
    *out = d;
    return TSDB_OK;
}

enum tsdb_status tool_dir_write(const char *path, struct tool_dir *out, struct tsdb_error *err)
{
    *out = (struct tool_dir){.path = path};
    enum tsdb_status status = tsdb_fs_real_create(path, &out->fs, err);
    if (status == TSDB_OK) {
        status = datadir_open(&out->fs, &tsdb_random_system, &out->data, err);
    }
    if (status != TSDB_OK) {
        tool_dir_close(out);
        return tsdb_error_prefix(err, status, "%s", path);
    }
    return TSDB_OK;
}

enum tsdb_status tool_dir_edit(const char *path, struct tool_dir *out, struct tsdb_error *err)
{
    struct tsdb_fs fs;
    *out = (struct tool_dir){.path = path};
    enum tsdb_status status = tool_must_be_dir(path, err);
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(path, &fs, err);
    }
    if (status == TSDB_OK) {
        status = must_be_ours(&fs, path, err);
        tsdb_fs_real_destroy(&fs);
    }
    return status == TSDB_OK ? tool_dir_write(path, out, err) : status;
}

static void close_db(struct tool_dir *d)
{
    tsdb_abandon(d->db);
    d->db = NULL;
    overlay_destroy(&d->overlay);
}

void tool_dir_close(struct tool_dir *d)
{
    close_db(d);
    datadir_close(&d->data);
    if (d->fs.ops) {
        d->fs.ops->close(d->fs.ctx, d->lock);
        tsdb_fs_real_destroy(&d->fs);
    }
    *d = (struct tool_dir){0};
}

/* ---- the engine ---- */
static enum tsdb_status count_name(void *arg, const char *name, bool is_dir)
{
    (void)is_dir;
    uint64_t *sum = arg;
    uint64_t h = UINT64_C(1469598103934665603);
    for (; *name; name++) {
        h = (h ^ (uint8_t)*name) * UINT64_C(1099511628211);
    }
    *sum += h;
    return TSDB_OK;
}

/* Tells whether blocks came or went; 0 where there are none. */
static uint64_t blocks_print(const struct tool_dir *d)
{
    uint64_t sum = 0;
    (void)d->fs.ops->list(d->fs.ctx, BLOCKS_DIR, count_name, &sum, NULL);
    return sum;
}

static enum tsdb_status open_once(struct tool_dir *d, struct tsdb_error *err)
{
    enum tsdb_status status = overlay_create(&d->fs, &d->overlay, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_options o;
    tsdb_options_default(&o);
    o.fs = d->overlay;
    o.manual_steps = true;
    o.owner_count = 1;
    o.wal_segment_bytes = WAL_OVERLAY_BYTES;
    o.wal_epoch_bytes = WAL_OVERLAY_BYTES;
    status = tsdb_open(&o, &d->db, err);
    if (status != TSDB_OK) {
        d->db = NULL;
        overlay_destroy(&d->overlay);
    }
    return status;
}

/* A failure that may come of a live server's work: files that were there when the directory was listed and
 * are not when they are opened, a segment of the log that was begun after the log had been read. */
static bool moved_away(const struct tool_dir *d, enum tsdb_status status)
{
    return d->live && status != TSDB_OK && status != TSDB_NOMEM && status != TSDB_CANCELLED &&
           status != TSDB_UNSUPPORTED;
}

/* The log went on from another place than the checkpoint: a newer one has let go of its segments. */
static bool has_hole(const struct tool_dir *d)
{
    struct tsdb_stats s;
    tsdb_stats_read(d->db, &s);
    return s.replay_damage > 0 || s.replay_lost_frames > 0;
}

enum tsdb_status tool_db_open(struct tool_dir *d, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < (d->live ? LIVE_TRIES : 1u); i++) {
        uint64_t before = blocks_print(d);
        status = open_once(d, err);
        bool last = i + 1 == LIVE_TRIES; /* a hole that stays is damage, which is logged */
        if (status == TSDB_OK && d->live && (blocks_print(d) != before || (has_hole(d) && !last))) {
            close_db(d); /* what moved in between may be missing from what was read */
            status = tsdb_error_set(err, TSDB_BUSY, "the server moved blocks while they were read");
        } else if (!moved_away(d, status)) {
            break;
        }
    }
    if (d->live && (status == TSDB_NOT_FOUND || status == TSDB_INVALID)) {
        struct tsdb_error why = *err;
        status = tsdb_error_set(err, TSDB_BUSY, "the server moves files while they are read: %s",
                                why.msg);
    }
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "%s", d->path);
}

enum tsdb_status tool_blocks_list(const struct tool_dir *d, struct tsdb_arena *arena,
                                  struct block_name **out, uint32_t *out_count,
                                  struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < (d->live ? LIVE_TRIES : 1u); i++) {
        status = block_dir_list(&d->fs, BLOCKS_DIR, arena, out, out_count, err);
        if (!moved_away(d, status)) {
            break;
        }
    }
    return status;
}

enum tsdb_status tool_selector(const struct tool *t, struct tsdb_arena *arena,
                               struct tsdb_selector *out, struct tsdb_error *err)
{
    /* Every series has some label: the name that no series has is empty for all. */
    static const struct tsdb_matcher all = {TSDB_MATCH_EQ, "", "", 0, 0};
    if (!t->options.match) {
        *out = (struct tsdb_selector){&all, 1};
        return TSDB_OK;
    }
    bool refuses_empty = false;
    enum tsdb_status status = query_parse_selector(t->options.match, strlen(t->options.match),
                                                   arena, out, &refuses_empty, err);
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "--match");
}
