/* wal/POSITION: up to where the log was synced, told by another file than the log's own, so that a
 * last segment that is missing or cut is noticed at the next start.
 *
 *   slot 0 at byte 0 | slot 1 at byte 512      64 bytes each, written in turn; the rest zero
 *
 * It is written after the sync that it speaks of, so it may lag (it is synced at a segment's turn
 * only) and never leads. Nothing but that notice hangs on it: where it cannot be written or read the
 * log goes on. */
#include "base/assert.h"
#include "base/log.h"
#include "base/numbered.h"
#include "wal/wal_private.h"

#include <stdio.h>

#define SLOT_BYTES 64u
#define SLOT_EVERY 512u /* a torn write tears one */
#define EVERY_NS   (INT64_C(1000) * 1000 * 1000)
enum {
    AT_MAGIC = 0,     /* u64 */
    AT_VERSION = 8,   /* u32 */
    AT_ZERO = 12,     /* u32 */
    AT_SEQUENCE = 16, /* u64: the higher one counts */
    AT_SEGMENT = 24,  /* u64 */
    AT_OFFSET = 32,   /* u64: one past the last synced byte in it */
    AT_WALL_MS = 40,  /* i64: Unix ms of writing */
    AT_REST = 48,     /* zero */
    AT_CRC = 60,      /* u32 crc32c of the 60 bytes before */
};
static_assert(AT_CRC + 4 == SLOT_BYTES, "a slot");

static void path_of(char *out, const char *dir)
{
    int n = snprintf(out, WAL_PATH_MAX, "%s/" WAL_POSITION_NAME, dir);
    TSDB_ASSERT(n > 0 && (size_t)n < WAL_PATH_MAX);
}

static void slot_put(const struct wal_position *p, uint8_t *out)
{
    memset(out, 0, SLOT_BYTES);
    tsdb_store_le64(out + AT_MAGIC, WAL_POSITION_MAGIC);
    tsdb_store_le32(out + AT_VERSION, TSDB_FORMAT_WAL_POSITION);
    tsdb_store_le64(out + AT_SEQUENCE, p->sequence);
    tsdb_store_le64(out + AT_SEGMENT, p->segment);
    tsdb_store_le64(out + AT_OFFSET, p->offset);
    tsdb_store_le64(out + AT_WALL_MS, (uint64_t)p->wall_ms);
    tsdb_store_le32(out + AT_CRC, tsdb_crc32c(0, out, AT_CRC));
}

/* OK; CORRUPT: no slot; UNSUPPORTED. */
static enum tsdb_status slot_get(const uint8_t *data, struct wal_position *out,
                                 struct tsdb_error *err)
{
    if (tsdb_load_le64(data + AT_MAGIC) != WAL_POSITION_MAGIC ||
        tsdb_load_le32(data + AT_CRC) != tsdb_crc32c(0, data, AT_CRC)) {
        return TSDB_CORRUPT;
    }
    uint32_t version = tsdb_load_le32(data + AT_VERSION);
    if (version != TSDB_FORMAT_WAL_POSITION) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              "wal/" WAL_POSITION_NAME ": format version %u, this program reads %u",
                              version, (unsigned)TSDB_FORMAT_WAL_POSITION);
    }
    *out = (struct wal_position){
        .sequence = tsdb_load_le64(data + AT_SEQUENCE),
        .segment = tsdb_load_le64(data + AT_SEGMENT),
        .offset = tsdb_load_le64(data + AT_OFFSET),
        .wall_ms = (int64_t)tsdb_load_le64(data + AT_WALL_MS),
    };
    return TSDB_OK;
}

enum tsdb_status wal_position_read(const struct tsdb_fs *fs, const char *dir,
                                   struct wal_position *out, struct tsdb_error *err)
{
    char path[WAL_PATH_MAX];
    uint8_t data[SLOT_EVERY + SLOT_BYTES] = {0};
    struct tsdb_file *f = NULL;
    size_t got = 0;
    path_of(path, dir);
    memset(out, 0, sizeof *out);
    enum tsdb_status status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status == TSDB_NOT_FOUND ? TSDB_OK : status;
    }
    status = fs->ops->pread(fs->ctx, f, data, sizeof data, 0, &got, err);
    fs->ops->close(fs->ctx, f);
    for (size_t at = 0; status == TSDB_OK && at < sizeof data; at += SLOT_EVERY) {
        struct wal_position p;
        status = slot_get(data + at, &p, err);
        if (status == TSDB_OK && p.sequence > out->sequence) {
            *out = p;
        }
        status = status == TSDB_CORRUPT ? TSDB_OK : status;
    }
    return status;
}

/* ---- versions ---- */

struct look {
    const struct tsdb_fs *fs;
    const char *dir;
    struct tsdb_error *err;
};

/* Not readable or damaged: looked at later. */
static enum tsdb_status segment_found(void *arg, const char *name, bool is_dir)
{
    const struct look *l = arg;
    uint8_t header[WAL_SEGMENT_HEADER_BYTES];
    struct wal_segment_header parsed;
    struct tsdb_error why;
    struct tsdb_file *f = NULL;
    char path[WAL_PATH_MAX];
    uint64_t segment;
    size_t got = 0;
    if (is_dir || !tsdb_numbered_parse(name, &segment)) {
        return TSDB_OK;
    }
    wal_segment_path(path, l->dir, segment);
    if (l->fs->ops->open(l->fs->ctx, path, TSDB_OPEN_READ, &f, NULL) != TSDB_OK) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        l->fs->ops->pread(l->fs->ctx, f, header, sizeof header, 0, &got, NULL);
    l->fs->ops->close(l->fs->ctx, f);
    if (status != TSDB_OK || got < sizeof header ||
        wal_segment_header_get(header, segment, &parsed, &why) != TSDB_UNSUPPORTED) {
        return TSDB_OK;
    }
    return tsdb_error_set(l->err, TSDB_UNSUPPORTED, "%s", why.msg);
}

int64_t wal_last_ms(const struct tsdb_fs *fs, const char *dir)
{
    struct wal_position p = {0};
    return wal_position_read(fs, dir, &p, NULL) == TSDB_OK ? p.wall_ms : 0;
}

enum tsdb_status wal_versions_check(const struct tsdb_fs *fs, const char *dir,
                                    struct tsdb_error *err)
{
    struct wal_position p;
    struct tsdb_error why;
    struct look l = {fs, dir, err};
    if (strlen(dir) + 32 > WAL_PATH_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "wal: the directory's name is too long");
    }
    if (wal_position_read(fs, dir, &p, &why) == TSDB_UNSUPPORTED) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "%s", why.msg);
    }
    enum tsdb_status status = fs->ops->list(fs->ctx, dir, segment_found, &l, err);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* ---- writing; threads: the syncer ---- */

static void failed(struct wal *w, const struct tsdb_error *err)
{
    w->o.fs->ops->close(w->o.fs->ctx, w->position_file);
    w->position_file = NULL; /* again with the next segment */
    tsdb_log(TSDB_LOG_WARN, "wal", "the position of the log is not kept for now",
             TSDB_S("err", err->msg));
}

static enum tsdb_status file_open(struct wal *w, struct tsdb_error *err)
{
    char path[WAL_PATH_MAX];
    path_of(path, w->dir);
    enum tsdb_status status =
        w->o.fs->ops->open(w->o.fs->ctx, path, TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE,
                           &w->position_file, err);
    if (status == TSDB_OK && w->position.sequence <= 1) {
        tsdb_mutex_lock(&w->lock);
        w->dir_dirty = true; /* perhaps it is new: the next sync makes its name durable */
        tsdb_mutex_unlock(&w->lock);
    }
    return status;
}

void wal_position_start(struct wal *w)
{
    struct tsdb_error err;
    if (wal_position_read(w->o.fs, w->dir, &w->position, &err) != TSDB_OK) {
        tsdb_log(TSDB_LOG_WARN, "wal", "the position of the log is not readable",
                 TSDB_S("err", err.msg));
    }
    w->position_ns = WAL_NO_TIME;
    w->position_synced = w->position;
}

static bool due(const struct wal *w, int64_t now_ns, bool last)
{
    const struct wal_position *new = &w->position_synced, *old = &w->position;
    if (new->segment == old->segment &&new->offset == old->offset) {
        return false;
    }
    return last || new->segment != old->segment || w->position_ns == WAL_NO_TIME ||
           now_ns - w->position_ns >= EVERY_NS;
}

/* A clock that has jumped ahead must not be all that the next start knows. */
static int64_t position_ms(const struct wal *w)
{
    int64_t wall_ms = tsdb_clock_wall_ms(&w->o.clock);
    int64_t believed_ms =
        w->o.believed_ms ? atomic_load_explicit(w->o.believed_ms, memory_order_relaxed) : 0;
    return believed_ms > 0 ? TSDB_MIN(wall_ms, believed_ms) : wall_ms;
}

void wal_position_step(struct wal *w, int64_t now_ns, bool last)
{
    uint8_t slot[SLOT_BYTES];
    struct tsdb_error err;
    if (!due(w, now_ns, last)) {
        return;
    }
    bool turn = w->position_synced.segment != w->position.segment;
    struct wal_position p = {w->position.sequence + 1, w->position_synced.segment,
                             w->position_synced.offset, position_ms(w)};
    w->position = p;
    w->position_ns = now_ns;
    if (!w->position_file && (!turn || file_open(w, &err) != TSDB_OK)) {
        return; /* again with the next segment */
    }
    slot_put(&p, slot);
    uint64_t at = p.sequence % 2 * SLOT_EVERY;
    enum tsdb_status status =
        w->o.fs->ops->pwrite(w->o.fs->ctx, w->position_file, slot, sizeof slot, at, &err);
    if (status == TSDB_OK && (turn || last)) {
        status = w->o.fs->ops->sync(w->o.fs->ctx, w->position_file, &err);
    }
    if (status != TSDB_OK) {
        failed(w, &err);
    }
}

void wal_position_stop(struct wal *w)
{
    w->o.fs->ops->close(w->o.fs->ctx, w->position_file);
    w->position_file = NULL;
}
