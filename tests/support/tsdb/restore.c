#include "tests/support/tsdb/restore.h"

#include "base/assert.h"
#include "tsdb/recovery/manifest.h"

#define NAMES_MAX 256u
#define PATH_MAX_ 700u

struct names {
    char name[NAMES_MAX][256];
    bool is_dir[NAMES_MAX];
    uint32_t count;
};

static enum tsdb_status take_name(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
    TSDB_ASSERT(n->count < NAMES_MAX && strlen(name) < sizeof n->name[0]);
    snprintf(n->name[n->count], sizeof n->name[0], "%s", name);
    n->is_dir[n->count++] = is_dir;
    return TSDB_OK;
}

/* On the heap: free it. */
static struct names *names_of(const struct tsdb_fs *fs, const char *dir)
{
    struct names *n = calloc(1, sizeof *n);
    TSDB_ASSERT(n);
    enum tsdb_status status = fs->ops->list(fs->ctx, dir, take_name, n, NULL);
    TSDB_ASSERT(status == TSDB_OK || status == TSDB_NOT_FOUND);
    return n;
}

uint32_t restore_count(struct hx *h)
{
    struct names *n = names_of(&h->options.fs, "snapshots");
    uint32_t count = n->count;
    free(n);
    return count;
}

static uint32_t count_files(const struct tsdb_fs *fs, const char *dir)
{
    struct names *n = names_of(fs, dir);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        char path[PATH_MAX_];
        snprintf(path, sizeof path, "%s/%s", dir, n->name[i]);
        count += n->is_dir[i] ? count_files(fs, path) : 1;
    }
    free(n);
    return count;
}

uint32_t restore_verify(struct hx *h, const char *name)
{
    const struct tsdb_fs *fs = &h->options.fs;
    struct manifest m = {0};
    struct tsdb_error err = {0};
    uint8_t *data = NULL;
    size_t len = 0;
    char path[PATH_MAX_];
    snprintf(path, sizeof path, "snapshots/%s/" MANIFEST_NAME, name);
    enum tsdb_status status =
        tsdb_file_read_all(fs, path, MANIFEST_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, &err);
    TSDB_ASSERT(status == TSDB_OK);
    status = manifest_parse(data, len, &m, &err);
    TSDB_ASSERT(status == TSDB_OK);
    for (uint32_t i = 0; i < m.count; i++) {
        uint64_t bytes = 0;
        uint32_t crc = 0;
        snprintf(path, sizeof path, "snapshots/%s/%s", name, m.files[i].path);
        status = tsdb_file_checksum(fs, path, NULL, &bytes, &crc, &err);
        TSDB_ASSERT(status == TSDB_OK && bytes == m.files[i].bytes && crc == m.files[i].crc);
    }
    snprintf(path, sizeof path, "snapshots/%s", name);
    TSDB_ASSERT(count_files(fs, path) == m.count + 1);
    uint32_t count = m.count;
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    manifest_deinit(&m);
    return count;
}

void restore_clear(struct hx *h, const char *keep)
{
    struct names *n = names_of(&h->options.fs, "");
    for (uint32_t i = 0; i < n->count; i++) {
        if (!keep || strcmp(n->name[i], keep) != 0) {
            TSDB_ASSERT(tsdb_file_tree_remove(&h->options.fs, n->name[i], NULL) == TSDB_OK);
        }
    }
    free(n);
}

void restore_set_aside(struct hx *h, const char *to)
{
    const struct tsdb_fs *fs = &h->options.fs;
    struct names *n = names_of(fs, "");
    TSDB_ASSERT(fs->ops->mkdir(fs->ctx, to, NULL) == TSDB_OK);
    for (uint32_t i = 0; i < n->count; i++) {
        char path[PATH_MAX_];
        snprintf(path, sizeof path, "%s/%s", to, n->name[i]);
        TSDB_ASSERT(fs->ops->rename(fs->ctx, n->name[i], path, NULL) == TSDB_OK);
    }
    free(n);
}

void restore_take_from(struct hx *h, const char *dir, const char *name)
{
    const struct tsdb_fs *fs = &h->options.fs;
    char from[300];
    snprintf(from, sizeof from, "%.128s%s%.128s", dir, dir[0] ? "/" : "", name);
    struct names *n = names_of(fs, from);
    TSDB_ASSERT(n->count > 0);
    for (uint32_t i = 0; i < n->count; i++) {
        char path[PATH_MAX_];
        snprintf(path, sizeof path, "%s/%s", from, n->name[i]);
        TSDB_ASSERT(fs->ops->rename(fs->ctx, path, n->name[i], NULL) == TSDB_OK);
    }
    free(n);
    for (uint32_t i = 0; i < HX_SERIES_MAX; i++) {
        h->refs[i] = TSDB_SERIES_NEW;
    }
}

void restore_take(struct hx *h, const char *name)
{
    restore_clear(h, "snapshots");
    TSDB_ASSERT(h->options.fs.ops->rename(h->options.fs.ctx, "snapshots", "old", NULL) == TSDB_OK);
    restore_take_from(h, "old", name);
    TSDB_ASSERT(tsdb_file_tree_remove(&h->options.fs, "old", NULL) == TSDB_OK);
}
