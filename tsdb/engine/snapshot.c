/* Snapshots: a consistent data directory of hard links, made while serving.
 *
 *   1. under the locks of block work and of checkpoints, so that neither blocks nor head files change:
 *      a checkpoint, which then holds every write that was answered, and so the log is not needed
 *   2. snapshots/<name>.tmp/: VERSION, the checkpoint, the blocks of the view and their refs linked,
 *      head files that take no more linked; series.log and the head file that may grow copied as far
 *      as they are durable, because whoever opens the snapshot appends to its own
 *   3. without the locks: the checksums, MANIFEST, everything synced, renamed to snapshots/<name>
 */
#include "base/format.h"
#include "base/log.h"
#include "base/numbered.h"
#include "tsdb/engine/db_private.h"
#include "tsdb/recovery/manifest.h"
#include "tsdb/recovery/metadata_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LINKED UINT64_MAX /* instead of the bytes to copy */

struct snapshot {
    struct tsdb *db;
    const struct tsdb_fs *fs;
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    char dir[64]; /* where it is made */
    struct manifest manifest;
    uint32_t file_cap;
    uint64_t bytes; /* of all files */
};

/* "<snapshot>/<path>" */
static void path_in(const struct snapshot *s, const char *path, char out[2 * MANIFEST_PATH_MAX])
{
    (void)snprintf(out, 2 * MANIFEST_PATH_MAX, "%s/%s", s->dir, path);
}

static enum tsdb_status make_dir(struct snapshot *s, const char *path, struct tsdb_error *err)
{
    char to[2 * MANIFEST_PATH_MAX];
    path_in(s, path, to);
    return s->fs->ops->mkdir(s->fs->ctx, to, err);
}

static enum tsdb_status sync_dir(struct snapshot *s, const char *path, struct tsdb_error *err)
{
    char at[2 * MANIFEST_PATH_MAX];
    path_in(s, path, at);
    return s->fs->ops->sync_dir(s->fs->ctx, at, err);
}

static enum tsdb_status note_file(struct snapshot *s, const char *path, struct tsdb_error *err)
{
    struct manifest *m = &s->manifest;
    if (m->count == s->file_cap) {
        uint32_t cap = s->file_cap ? s->file_cap * 2 : 64;
        void *files = tsdb_mem_realloc(TSDB_MEM_OTHER, m->files, s->file_cap * sizeof m->files[0],
                                       cap * sizeof m->files[0]);
        if (!files) {
            return tsdb_error_nomem(err, "the files of a snapshot");
        }
        m->files = files;
        s->file_cap = cap;
    }
    struct manifest_file *f = &m->files[m->count++];
    *f = (struct manifest_file){.bytes = 0};
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    return TSDB_OK;
}

/* The file of the data directory, under the same name: linked, or so many bytes of it. */
static enum tsdb_status take_file(struct snapshot *s, const char *path, uint64_t bytes,
                                  struct tsdb_error *err)
{
    char to[2 * MANIFEST_PATH_MAX];
    path_in(s, path, to);
    enum tsdb_status status = bytes == LINKED ? s->fs->ops->link(s->fs->ctx, path, to, err)
                                              : tsdb_file_copy(s->fs, path, to, bytes, err);
    return status == TSDB_OK ? note_file(s, path, err) : status;
}

struct listing {
    struct snapshot *s;
    const char *dir;
    struct tsdb_error *err;
};

/* The same for what may be missing: what is derived, and what is there only once there was need. */
static enum tsdb_status take_if_there(struct snapshot *s, const char *path, struct tsdb_error *err)
{
    enum tsdb_status status = take_file(s, path, LINKED, err);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* ---- blocks ---- */

static enum tsdb_status take_of_block(void *arg, const char *name, bool is_dir)
{
    const struct listing *l = arg;
    char path[MANIFEST_PATH_MAX + 1];
    int n = snprintf(path, sizeof path, "%s/%s", l->dir, name);
    size_t len = strlen(name);
    const size_t tmp = sizeof DATADIR_TMP_SUFFIX - 1;
    bool leftover = len > tmp && strcmp(name + len - tmp, DATADIR_TMP_SUFFIX) == 0;
    bool ours = !is_dir && !leftover && n > 0 && (size_t)n < sizeof path;
    return ours ? take_file(l->s, path, LINKED, l->err) : TSDB_OK;
}

static enum tsdb_status take_block(struct snapshot *s, const char *ulid, struct tsdb_error *err)
{
    char path[64];
    (void)snprintf(path, sizeof path, BLOCKS_DIR "/%s", ulid);
    struct listing l = {s, path, err};
    enum tsdb_status status = make_dir(s, path, err);
    if (status == TSDB_OK) {
        status = s->fs->ops->list(s->fs->ctx, path, take_of_block, &l, err);
    }
    return status == TSDB_OK ? sync_dir(s, path, err) : status;
}

static enum tsdb_status take_blocks(struct snapshot *s, struct tsdb_error *err)
{
    struct view *v = view_acquire(&s->db->blocks.views);
    enum tsdb_status status = make_dir(s, BLOCKS_DIR, err);
    for (uint32_t i = 0; status == TSDB_OK && i < v->block_count; i++) {
        const char *ulid = block_meta(v->blocks[i]->block)->ulid;
        status = take_block(s, ulid, err);
    }
    view_release(&s->db->blocks.views, v);
    return status == TSDB_OK ? sync_dir(s, BLOCKS_DIR, err) : status;
}

/* ---- the head ---- */

/* A file that is not open holds nothing that the checkpoint refers to. The newest may still grow. */
static enum tsdb_status take_head_file(void *arg, const char *name, bool is_dir)
{
    const struct listing *l = arg;
    struct snapshot *s = l->s;
    uint64_t next = s->db->life->last.head_file_next;
    uint64_t number = 0;
    char path[64];
    if (is_dir || !tsdb_numbered_parse(name, &number) || number >= next) {
        return TSDB_OK;
    }
    const struct head_file *f = head_files_find_live(s->db->head_files, number);
    if (!f) {
        return TSDB_OK;
    }
    /* Acquire: partner is the append; so many bytes are durable. */
    uint64_t bytes = atomic_load_explicit(&f->bytes, memory_order_acquire);
    tsdb_numbered_name(path, sizeof path, HEAD_FILES_DIR "/", number);
    return take_file(s, path, number + 1 == next ? bytes : LINKED, l->err);
}

static enum tsdb_status take_head(struct snapshot *s, struct tsdb_error *err)
{
    const struct db_life *life = s->db->life;
    struct listing l = {s, HEAD_FILES_DIR, err};
    char path[64];
    tsdb_numbered_name(path, sizeof path, DATADIR_CHECKPOINT "/", life->last.number);
    enum tsdb_status status = make_dir(s, DATADIR_CHECKPOINT, err);
    if (status == TSDB_OK) {
        status = take_file(s, path, LINKED, err);
    }
    if (status == TSDB_OK) {
        status = sync_dir(s, DATADIR_CHECKPOINT, err);
    }
    if (status == TSDB_OK) {
        status = series_log_settle(&s->db->life->series_log, err);
    }
    if (status == TSDB_OK) {
        status = take_if_there(s, METADATA_FILE_NAME, err);
    }
    if (status == TSDB_OK && life->series_log.bytes_durable > 0) {
        status = take_file(s, DATADIR_SERIES_LOG, life->series_log.bytes_durable, err);
    }
    if (status == TSDB_OK) {
        status = make_dir(s, HEAD_FILES_DIR, err);
    }
    if (status == TSDB_OK) {
        status = s->fs->ops->list(s->fs->ctx, HEAD_FILES_DIR, take_head_file, &l, err);
    }
    return status == TSDB_OK ? sync_dir(s, HEAD_FILES_DIR, err) : status;
}

/* ---- the whole ---- */

/* Prometheus's names: the second and 16 hex digits. */
static void name_it(struct snapshot *s)
{
    struct tsdb_random *random = &s->db->options.random;
    char text[64];
    size_t n = 0;
    s->manifest.created_ms = tsdb_clock_wall_ms(&s->db->options.clock);
    (void)tsdb_format_rfc3339_ms(text, s->manifest.created_ms);
    /* 2026-11-27T02:25:13.123Z -> 20261127T022513Z */
    for (const char *c = text; *c && *c != '.' && *c != 'Z' && n < 16; c++) {
        if (*c != '-' && *c != ':') {
            text[n++] = *c;
        }
    }
    (void)snprintf(s->name, sizeof s->name, "%.*sZ-%016" PRIx64, (int)n, text,
                   random->next(random->ctx));
    (void)snprintf(s->dir, sizeof s->dir, DATADIR_SNAPSHOTS "/%s" DATADIR_TMP_SUFFIX, s->name);
}

/* 1 and 2. Caller holds block_work and admin. */
static enum tsdb_status take_all(struct snapshot *s, struct tsdb_error *err)
{
    struct tsdb *db = s->db;
    enum tsdb_status status = TSDB_OK;
    name_it(s);
    uint64_t head_bytes = 0; /* what is no link */
    if (s->manifest.head) {
        head_bytes = atomic_load_explicit(&db->life->checkpoint_last_bytes, memory_order_relaxed);
    }
    status = db_room_check(db, "snapshot", DB_ROOM_GROWS, head_bytes, err);
    if (status == TSDB_OK && s->manifest.head) {
        status = db_checkpoint_write(db, db->options.manual_steps, err);
    }
    if (status == TSDB_OK) {
        status = s->fs->ops->mkdir(s->fs->ctx, DATADIR_SNAPSHOTS, err);
    }
    if (status == TSDB_OK) {
        status = s->fs->ops->mkdir(s->fs->ctx, s->dir, err);
    }
    if (status == TSDB_OK) {
        status = take_file(s, DATADIR_VERSION, LINKED, err);
    }
    if (status == TSDB_OK) {
        status = take_blocks(s, err);
    }
    return status == TSDB_OK && s->manifest.head ? take_head(s, err) : status;
}

static enum tsdb_status write_manifest(struct snapshot *s, struct tsdb_error *err)
{
    struct tsdb_buf buf;
    char path[2 * MANIFEST_PATH_MAX];
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < s->manifest.count; i++) {
        struct manifest_file *f = &s->manifest.files[i];
        path_in(s, f->path, path);
        status =
            tsdb_file_checksum(s->fs, path, &s->db->life->stop_background, &f->bytes, &f->crc, err);
        s->bytes += f->bytes;
    }
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, MANIFEST_BYTES_MAX);
    manifest_print(&s->manifest, &buf);
    path_in(s, MANIFEST_NAME, path);
    status = buf.failed ? tsdb_error_nomem(err, "the manifest of a snapshot")
                        : tsdb_file_replace(s->fs, path, buf.data, buf.len, err);
    tsdb_buf_deinit(&buf);
    return status;
}

/* 3. The manifest's sync of its directory is that of the snapshot. */
static enum tsdb_status finish(struct snapshot *s, struct tsdb_error *err)
{
    char final[sizeof s->dir];
    (void)snprintf(final, sizeof final, DATADIR_SNAPSHOTS "/%s", s->name);
    enum tsdb_status status = write_manifest(s, err);
    if (status == TSDB_OK) {
        status = s->fs->ops->rename(s->fs->ctx, s->dir, final, err);
    }
    if (status == TSDB_OK) {
        memcpy(s->dir, final, sizeof final);
        status = s->fs->ops->sync_dir(s->fs->ctx, DATADIR_SNAPSHOTS, err);
    }
    return status == TSDB_OK ? s->fs->ops->sync_dir(s->fs->ctx, "", err) : status;
}

static enum tsdb_status snapshot_run(struct snapshot *s, struct tsdb_error *err)
{
    struct db_life *life = s->db->life;
    tsdb_mutex_lock(&life->block_work);
    tsdb_mutex_lock(&life->admin);
    enum tsdb_status status = take_all(s, err);
    tsdb_mutex_unlock(&life->admin);
    tsdb_mutex_unlock(&life->block_work);
    if (status == TSDB_OK) {
        status = finish(s, err);
    }
    if (status != TSDB_OK) {
        (void)!tsdb_file_tree_remove(s->fs, s->dir, NULL); /* else at the next open */
    }
    return status;
}

enum tsdb_status tsdb_snapshot(struct tsdb *db, bool skip_head,
                               char out_name[TSDB_SNAPSHOT_NAME_BYTES], struct tsdb_error *err)
{
    struct snapshot s = {.db = db, .fs = &db->life->room.fs, .manifest.head = !skip_head};
    int64_t begin_ns = tsdb_clock_mono_ns(&db->options.clock);
    if (!db_ready(db)) {
        return tsdb_error_set(err, TSDB_BUSY, "snapshot: the database is not ready");
    }
    enum tsdb_status status = snapshot_run(&s, err);
    if (status == TSDB_OK) {
        memcpy(out_name, s.name, sizeof s.name);
        tsdb_log(
            TSDB_LOG_INFO, "tsdb", "snapshot made", TSDB_S("name", s.name),
            TSDB_U("files", s.manifest.count), TSDB_U("bytes", s.bytes),
            TSDB_I("duration_ms", (tsdb_clock_mono_ns(&db->options.clock) - begin_ns) / 1000000));
    }
    tsdb_mem_free(TSDB_MEM_OTHER, s.manifest.files, s.file_cap * sizeof s.manifest.files[0]);
    return status;
}
