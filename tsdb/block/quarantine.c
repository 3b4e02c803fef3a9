#include "tsdb/block/quarantine.h"

#include "base/format.h"
#include "tsdb/block/blocks.h"
#include "tsdb/block/ulid.h"

#include <stdio.h>
#include <string.h>

#define PATH_BYTES 1024 /* no table of files takes a longer one */

/* "<prefix><ms>", then a '-' or the end; or the ms stands last. */
static const struct kind {
    const char *prefix;
    bool stamp_last;
    const char *why;
} kinds[] = {
    {"tombstones-", true, "tombstones of a block, damaged"},
    {"head-", false, "head file that no checkpoint refers to, or with damaged chunks"},
    {"checkpoint-", false, "checkpoint, damaged or of another series.log"},
    {"wal-", false, "log of a checkpoint that is missing, or with damage"},
    {"series.log-", false, "part of series.log that no checkpoint vouches for"},
    {"repair-", false, "set aside by tidalite repair"},
};

void quarantine_name_read(struct quarantine_item *item)
{
    item->why = NULL;
    item->moved_ms = INT64_MIN;
    if (ulid_valid(item->name)) {
        item->why = "block, damaged when it was opened";
        return;
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(kinds); i++) {
        size_t len = strlen(kinds[i].prefix);
        uint64_t ms = 0;
        if (strncmp(item->name, kinds[i].prefix, len) != 0) {
            continue;
        }
        const char *at = kinds[i].stamp_last ? strrchr(item->name, '-') + 1 : item->name + len;
        if (tsdb_parse_u64(at, strcspn(at, "-"), &ms) && ms <= INT64_MAX) {
            item->why = kinds[i].why;
            item->moved_ms = (int64_t)ms;
        }
        return;
    }
}

struct walk {
    const struct tsdb_fs *fs;
    quarantine_fn fn;
    void *arg;
    struct tsdb_error *err;
    char path[PATH_BYTES]; /* of what is listed */
    size_t depth;
    struct quarantine_item item;
};

static enum tsdb_status list(struct walk *w, tsdb_fs_list_fn fn)
{
    enum tsdb_status status = w->fs->ops->list(w->fs->ctx, w->path, fn, w, w->err);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

static enum tsdb_status add_file(struct walk *w)
{
    struct tsdb_file_info info;
    enum tsdb_status status = w->fs->ops->stat(w->fs->ctx, w->path, &info, w->err);
    if (status == TSDB_OK) {
        w->item.files++;
        w->item.bytes += info.size_bytes;
    }
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* What lies deeper than any tree of ours is not counted. */
static enum tsdb_status add_entry(void *arg, const char *name, bool is_dir)
{
    struct walk *w = arg;
    size_t len = strlen(w->path);
    size_t room = sizeof w->path - len;
    int n = snprintf(w->path + len, room, "/%s", name);
    enum tsdb_status status = TSDB_OK;
    if (n > 0 && (size_t)n < room && w->depth < TSDB_FILE_TREE_DEPTH) {
        w->depth++;
        status = is_dir ? list(w, add_entry) : add_file(w);
        w->depth--;
    }
    w->path[len] = 0;
    return status;
}

static enum tsdb_status on_item(void *arg, const char *name, bool is_dir)
{
    struct walk *w = arg;
    w->item = (struct quarantine_item){.files = 0};
    if (strlen(name) > QUARANTINE_NAME_BYTES_MAX) {
        return TSDB_OK; /* longer than a name on Linux can be */
    }
    memcpy(w->item.name, name, strlen(name) + 1);
    quarantine_name_read(&w->item);
    enum tsdb_status status = add_entry(w, name, is_dir);
    return status == TSDB_OK ? w->fn(w->arg, &w->item, w->err) : status;
}

enum tsdb_status quarantine_walk(const struct tsdb_fs *fs, quarantine_fn fn, void *arg,
                                 struct tsdb_error *err)
{
    struct walk w = {.fs = fs, .fn = fn, .arg = arg, .err = err, .path = BLOCKS_DIR_QUARANTINE};
    return list(&w, on_item);
}

struct sum {
    uint64_t files, bytes;
};

static enum tsdb_status add_item(void *arg, const struct quarantine_item *item,
                                 struct tsdb_error *err)
{
    struct sum *s = arg;
    (void)err;
    s->files += item->files;
    s->bytes += item->bytes;
    return TSDB_OK;
}

enum tsdb_status quarantine_measure(const struct tsdb_fs *fs, uint64_t *out_files,
                                    uint64_t *out_bytes, struct tsdb_error *err)
{
    struct sum s = {0};
    enum tsdb_status status = quarantine_walk(fs, add_item, &s, err);
    if (status == TSDB_OK) {
        *out_files = s.files;
        *out_bytes = s.bytes;
    }
    return status;
}
