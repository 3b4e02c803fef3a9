#include "base/assert.h"
#include "base/log.h"
#include "base/numbered.h"
#include "wal/wal_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t zeroes[256u << 10];

static void name_path(char *out, const char *dir, const char *prefix, uint64_t segment)
{
    char before[WAL_PATH_MAX];
    int n = snprintf(before, sizeof before, "%s/%s", dir, prefix);
    TSDB_ASSERT(n > 0 && (size_t)n < sizeof before);
    tsdb_numbered_name(out, WAL_PATH_MAX, before, segment);
}

void wal_segment_path(char *out, const char *dir, uint64_t segment)
{
    name_path(out, dir, "", segment);
}

void wal_segment_header_put(uint8_t *out, uint32_t mark, uint64_t segment, uint64_t prev_segment,
                            uint64_t prev_end)
{
    tsdb_store_le64(out + WAL_SEGMENT_AT_MAGIC, WAL_SEGMENT_MAGIC);
    tsdb_store_le32(out + WAL_SEGMENT_AT_VERSION, TSDB_FORMAT_WAL);
    tsdb_store_le32(out + WAL_SEGMENT_AT_BYTES, WAL_SEGMENT_HEADER_BYTES);
    tsdb_store_le64(out + WAL_SEGMENT_AT_SEGMENT, segment);
    tsdb_store_le64(out + WAL_SEGMENT_AT_PREV_SEGMENT, prev_segment);
    tsdb_store_le64(out + WAL_SEGMENT_AT_PREV_END, prev_end);
    tsdb_store_le32(out + WAL_SEGMENT_AT_MARK, mark);
    tsdb_store_le32(out + WAL_SEGMENT_AT_CRC, tsdb_crc32c(0, out, WAL_SEGMENT_AT_CRC));
}

enum tsdb_status wal_segment_header_get(const uint8_t *header, uint64_t segment,
                                        struct wal_segment_header *out, struct tsdb_error *err)
{
    uint32_t crc = tsdb_crc32c(0, header, WAL_SEGMENT_AT_CRC);
    uint32_t stored = tsdb_load_le32(header + WAL_SEGMENT_AT_CRC);
    uint32_t version = tsdb_load_le32(header + WAL_SEGMENT_AT_VERSION);
    if (tsdb_load_le64(header + WAL_SEGMENT_AT_MAGIC) != WAL_SEGMENT_MAGIC || crc != stored) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0,
                                 "wal %08llu at byte 0: header crc %08x, expected %08x",
                                 (unsigned long long)segment, stored, crc);
    }
    if (version != TSDB_FORMAT_WAL ||
        tsdb_load_le32(header + WAL_SEGMENT_AT_BYTES) != WAL_SEGMENT_HEADER_BYTES) {
        return tsdb_error_set_at(err, TSDB_UNSUPPORTED, 0,
                                 "wal %08llu: format version %u, this program reads %u",
                                 (unsigned long long)segment, version, (unsigned)TSDB_FORMAT_WAL);
    }
    uint64_t number = tsdb_load_le64(header + WAL_SEGMENT_AT_SEGMENT);
    if (number != segment) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, 0, "wal %08llu: header says segment %08llu",
                                 (unsigned long long)segment, (unsigned long long)number);
    }
    out->mark = tsdb_load_le32(header + WAL_SEGMENT_AT_MARK);
    out->prev_segment = tsdb_load_le64(header + WAL_SEGMENT_AT_PREV_SEGMENT);
    out->prev_end = tsdb_load_le64(header + WAL_SEGMENT_AT_PREV_END);
    return TSDB_OK;
}

/* ---- creating ---- */

static bool spare_take(struct wal *w, uint64_t *out)
{
    bool found = false;
    tsdb_mutex_lock(&w->lock);
    if (w->spare_count > 0) {
        *out = w->spares[--w->spare_count];
        found = true;
    }
    tsdb_mutex_unlock(&w->lock);
    return found;
}

/* Give a spare the segment's name. False if there is none or it would not have it; then a new file
 * is made. */
static bool spare_rename(struct wal *w, const char *path)
{
    char from[WAL_PATH_MAX];
    uint64_t spare;
    struct tsdb_error err;
    if (!spare_take(w, &spare)) {
        return false;
    }
    name_path(from, w->dir, WAL_SPARE_PREFIX, spare);
    if (w->o.fs->ops->rename(w->o.fs->ctx, from, path, &err) == TSDB_OK) {
        return true;
    }
    tsdb_log(TSDB_LOG_WARN, "wal", "spare segment not usable", TSDB_S("err", err.msg));
    return false;
}

enum tsdb_status wal_segment_create(struct wal *w, uint64_t segment, uint64_t capacity,
                                    bool may_recycle, struct wal_file **out, struct tsdb_error *err)
{
    char path[WAL_PATH_MAX];
    wal_segment_path(path, w->dir, segment);
    struct wal_file *f = tsdb_mem_alloc_zero(TSDB_MEM_WAL, sizeof *f);
    if (!f) {
        return tsdb_error_nomem(err, "a log segment");
    }
    bool recycled = may_recycle && capacity == w->o.segment_bytes && spare_rename(w, path);
    unsigned flags = TSDB_OPEN_READ | TSDB_OPEN_WRITE;
    if (!recycled) {
        flags |= TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE;
    }
    enum tsdb_status status = w->o.fs->ops->open(w->o.fs->ctx, path, flags, &f->handle, err);
    if (status != TSDB_OK) {
        tsdb_mem_free(TSDB_MEM_WAL, f, sizeof *f);
        return status;
    }
    struct tsdb_file_info info = {0};
    if (recycled && w->o.fs->ops->stat(w->o.fs->ctx, path, &info, NULL) != TSDB_OK) {
        info.size_bytes = 0; /* its bytes are written again, as if they were not there */
    }
    f->segment = segment;
    f->capacity = capacity;
    f->alloc_end = TSDB_MIN(info.size_bytes, capacity);
    *out = f;
    return TSDB_OK;
}

void wal_segment_destroy(struct wal *w, struct wal_file *f)
{
    if (f) {
        w->o.fs->ops->close(w->o.fs->ctx, f->handle);
        tsdb_mem_free(TSDB_MEM_WAL, f, sizeof *f);
    }
}

void wal_segment_discard(struct wal *w, struct wal_file *f)
{
    char path[WAL_PATH_MAX];
    wal_segment_path(path, w->dir, f->segment);
    wal_segment_destroy(w, f);
    /* Best effort: the next attempt truncates it, and replay takes it for what a crash left. */
    (void)!w->o.fs->ops->unlink(w->o.fs->ctx, path, NULL);
}

/* ---- the list of what is on disk ---- */

static enum tsdb_status live_add_locked(struct wal *w, struct wal_live live) TSDB_REQUIRES(w->lock)
{
    if (w->live_count == w->live_cap) {
        uint32_t cap = w->live_cap ? 2 * w->live_cap : 16;
        struct wal_live *grown = tsdb_mem_realloc(TSDB_MEM_WAL, w->live,
                                                  w->live_cap * sizeof *grown, cap * sizeof *grown);
        if (!grown) {
            return TSDB_NOMEM;
        }
        w->live = grown;
        w->live_cap = cap;
    }
    w->live[w->live_count++] = live;
    return TSDB_OK;
}

/* Open segments are the newest: found from the end. */
static struct wal_live *live_find_locked(struct wal *w, uint64_t segment) TSDB_REQUIRES(w->lock)
{
    for (uint32_t i = w->live_count; i > 0; i--) {
        if (w->live[i - 1].segment == segment) {
            return &w->live[i - 1];
        }
    }
    return NULL;
}

void wal_segment_extend_locked(struct wal *w, struct wal_file *f, uint64_t alloc_end)
{
    struct wal_live *live = live_find_locked(w, f->segment);
    f->alloc_end = alloc_end;
    if (live) {
        live->bytes = alloc_end;
    }
}

enum tsdb_status wal_segment_add_locked(struct wal *w, struct wal_file *f)
{
    TSDB_ASSERT(!w->files_tail || f->segment > w->files_tail->segment);
    enum tsdb_status status = live_add_locked(w, (struct wal_live){f->segment, f->alloc_end, true});
    if (status != TSDB_OK) {
        return status;
    }
    if (w->files_tail) {
        w->files_tail->next = f;
    } else {
        w->files = f;
    }
    w->files_tail = f;
    w->dir_dirty = true;
    w->stats.segment = f->segment;
    w->stats.segments_created++;
    return TSDB_OK;
}

void wal_segment_poison_all_locked(struct wal *w)
{
    for (struct wal_file *f = w->files; f; f = f->next) {
        if (f->dead) {
            continue;
        }
        f->dead = true;
        w->stats.segments_poisoned++;
        struct wal_live *live = live_find_locked(w, f->segment);
        if (live) {
            live->clean = false;
        }
    }
}

static int live_compare(const void *a, const void *b)
{
    const struct wal_live *x = a, *y = b;
    return (x->segment > y->segment) - (x->segment < y->segment);
}

static enum tsdb_status list_entry(void *arg, const char *name, bool is_dir) TSDB_NO_TSA
{
    struct wal *w = arg;
    uint64_t segment;
    if (is_dir) {
        return TSDB_OK;
    }
    if (tsdb_numbered_parse(name, &segment)) {
        return live_add_locked(w, (struct wal_live){segment, 0, false});
    }
    if (strncmp(name, WAL_SPARE_PREFIX, strlen(WAL_SPARE_PREFIX)) == 0 &&
        w->spare_count < WAL_SPARES_MAX &&
        tsdb_numbered_parse(name + strlen(WAL_SPARE_PREFIX), &segment)) {
        w->spares[w->spare_count++] = segment;
    }
    return TSDB_OK;
}

/* Spares of an earlier process go. A power cut may have taken back the rename that made such a file
 * segment N of this log: its frames carry N, and N is about to be used again. Within one process
 * numbers only rise, so its own spares never verify. */
static void spares_remove(struct wal *w) TSDB_NO_TSA
{
    const struct tsdb_fs *fs = w->o.fs;
    for (uint32_t i = 0; i < w->spare_count; i++) {
        char path[WAL_PATH_MAX];
        name_path(path, w->dir, WAL_SPARE_PREFIX, w->spares[i]);
        if (fs->ops->unlink(fs->ctx, path, NULL) != TSDB_OK) {
            tsdb_log(TSDB_LOG_WARN, "wal", "spare segment not removed", TSDB_S("path", path));
        }
    }
    w->spare_count = 0;
}

enum tsdb_status wal_segment_list(struct wal *w, struct tsdb_error *err) TSDB_NO_TSA
{
    const struct tsdb_fs *fs = w->o.fs;
    enum tsdb_status status = fs->ops->list(fs->ctx, w->dir, list_entry, w, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (w->live_count > 0) {
        qsort(w->live, w->live_count, sizeof *w->live, live_compare);
    }
    for (uint32_t i = 0; i < w->live_count; i++) {
        char path[WAL_PATH_MAX];
        struct tsdb_file_info info;
        wal_segment_path(path, w->dir, w->live[i].segment);
        status = fs->ops->stat(fs->ctx, path, &info, err);
        if (status != TSDB_OK) {
            return status;
        }
        w->live[i].bytes = info.size_bytes;
    }
    spares_remove(w);
    return TSDB_OK;
}

/* ---- growing ---- */

bool wal_segment_grow_due_locked(const struct wal *w)
{
    const struct wal_file *f = w->files_tail;
    if (!f || f->dead || w->growing || w->rewrite_due || f->alloc_end >= f->capacity ||
        w->written_lpos >= w->grow_until_lpos) {
        return false;
    }
    uint64_t written = WAL_SEGMENT_HEADER_BYTES + (w->written_lpos - f->lpos_begin);
    return f->alloc_end < written + WAL_GROW_AHEAD;
}

enum tsdb_status wal_zeroes_write(struct wal *w, struct tsdb_file *f, uint64_t from, uint64_t to,
                                  struct tsdb_error *err)
{
    while (from < to) {
        size_t n = (size_t)TSDB_MIN(to - from, (uint64_t)sizeof zeroes);
        enum tsdb_status status = w->o.fs->ops->pwrite(w->o.fs->ctx, f, zeroes, n, from, err);
        if (status != TSDB_OK) {
            return status;
        }
        from += n;
    }
    return TSDB_OK;
}

/* Zeroes are for speed alone: they do not take what the log itself may need. */
static bool room_for(const struct wal *w, uint64_t bytes)
{
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    return w->o.fs->ops->space(w->o.fs->ctx, &free_bytes, &total_bytes, NULL) == TSDB_OK &&
           free_bytes / 2 >= bytes;
}

void wal_segment_grow(struct wal *w)
{
    struct tsdb_error err;
    tsdb_mutex_lock(&w->lock);
    if (!wal_segment_grow_due_locked(w)) {
        tsdb_mutex_unlock(&w->lock);
        return;
    }
    struct wal_file *f = w->files_tail;
    uint64_t from = f->alloc_end, to = TSDB_MIN(f->capacity, from + WAL_GROW_BYTES);
    w->growing = true;
    tsdb_mutex_unlock(&w->lock);

    bool room = room_for(w, to - from);
    enum tsdb_status status = room ? wal_zeroes_write(w, f->handle, from, to, &err) : TSDB_OK;

    tsdb_mutex_lock(&w->lock);
    w->growing = false;
    if (!room) {
        w->grow_until_lpos = w->written_lpos; /* the next batch that waits asks again */
    } else if (status == TSDB_OK) {
        wal_segment_extend_locked(w, f, to);
    } else if (!f->dead) {
        w->stats.write_failures++;
        wal_failure_note_locked(w, &err);
    }
    tsdb_cond_broadcast(&w->write_cond);
    tsdb_mutex_unlock(&w->lock);
}

/* ---- truncating ---- */

/* Take the oldest segment off the list if it may go: below `segment`, and not open any more. */
static bool live_take_locked(struct wal *w, uint64_t segment, struct wal_live *out)
    TSDB_REQUIRES(w->lock)
{
    if (w->live_count == 0 || w->live[0].segment >= segment) {
        return false;
    }
    for (const struct wal_file *f = w->files; f; f = f->next) {
        if (f->segment == w->live[0].segment) {
            return false;
        }
    }
    *out = w->live[0];
    memmove(&w->live[0], &w->live[1], (--w->live_count) * sizeof w->live[0]);
    return true;
}

/* It could not be removed. Should there be no memory for the list, the next open finds it. */
static void live_put_back(struct wal *w, struct wal_live live)
{
    tsdb_mutex_lock(&w->lock);
    if (live_add_locked(w, live) == TSDB_OK) {
        memmove(&w->live[1], &w->live[0], (w->live_count - 1) * sizeof w->live[0]);
        w->live[0] = live;
    }
    tsdb_mutex_unlock(&w->lock);
}

/* Move one to the quarantine, durably there first: a power cut in between leaves two, not none. */
static enum tsdb_status live_set_aside(struct wal *w, const char *path, uint64_t segment,
                                       struct tsdb_error *err)
{
    const struct tsdb_fs *fs = w->o.fs;
    char to[WAL_PATH_MAX];
    int n = snprintf(to, sizeof to, "%s/wal-%" PRIu64 "-%08" PRIu64, w->o.quarantine,
                     w->o.quarantine_stamp, segment);
    TSDB_ASSERT(n > 0 && (size_t)n < sizeof to);
    enum tsdb_status status = fs->ops->mkdir(fs->ctx, w->o.quarantine, err);
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, "", err);
    }
    if (status == TSDB_OK) {
        status = fs->ops->rename(fs->ctx, path, to, err);
    }
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, w->o.quarantine, err) : status;
}

/* Remove one, or make it a spare. */
static enum tsdb_status live_remove(struct wal *w, const struct wal_live *live, bool recycle,
                                    struct tsdb_error *err)
{
    const struct tsdb_fs *fs = w->o.fs;
    char path[WAL_PATH_MAX], spare[WAL_PATH_MAX];
    wal_segment_path(path, w->dir, live->segment);
    if (w->o.quarantine && live->segment < w->o.segment_first) {
        return live_set_aside(w, path, live->segment, err);
    }
    if (!recycle) {
        return fs->ops->unlink(fs->ctx, path, err);
    }
    name_path(spare, w->dir, WAL_SPARE_PREFIX, live->segment);
    return fs->ops->rename(fs->ctx, path, spare, err);
}

enum tsdb_status wal_truncate_before(struct wal *w, uint64_t segment, struct tsdb_error *err)
{
    uint64_t spares[WAL_SPARES_MAX];
    uint32_t spare_count = 0;
    bool removed = false;
    enum tsdb_status status = TSDB_OK;
    for (;;) {
        struct wal_live live;
        tsdb_mutex_lock(&w->lock);
        bool found = live_take_locked(w, segment, &live);
        bool recycle = found && live.clean && live.bytes > w->o.segment_bytes / 2 &&
                       w->spare_count + spare_count < WAL_SPARES_MAX;
        tsdb_mutex_unlock(&w->lock);
        if (!found) {
            break;
        }
        status = live_remove(w, &live, recycle, err);
        if (status != TSDB_OK && status != TSDB_NOT_FOUND) {
            live_put_back(w, live);
            return status;
        }
        if (status == TSDB_OK && recycle) {
            spares[spare_count++] = live.segment;
        }
        removed = true;
    }
    if (!removed) {
        return TSDB_OK;
    }
    /* A spare takes its next name only after this one is durable, so that a crash never shows a
     * file under a name that it had two names ago. */
    status = w->o.fs->ops->sync_dir(w->o.fs->ctx, w->dir, err);
    tsdb_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < spare_count && status == TSDB_OK; i++) {
        w->spares[w->spare_count++] = spares[i];
    }
    tsdb_mutex_unlock(&w->lock);
    return status;
}
