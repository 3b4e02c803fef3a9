#include "tests/support/tsdb/tree.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (64u << 20)

struct walk {
    const struct tsdb_fs *fs;
    struct tree *tree;
    char dir[TREE_PATH_BYTES]; /* "": the root */
};

static void join(char out[TREE_PATH_BYTES], const char *dir, const char *name)
{
    int n = snprintf(out, TREE_PATH_BYTES, "%s%s%s", dir, dir[0] ? "/" : "", name);
    TSDB_ASSERT(n > 0 && n < (int)TREE_PATH_BYTES);
}

static enum tsdb_status found(void *arg, const char *name, bool is_dir)
{
    struct walk *w = arg;
    if (is_dir) {
        struct walk below = {.fs = w->fs, .tree = w->tree};
        join(below.dir, w->dir, name);
        return w->fs->ops->list(w->fs->ctx, below.dir, found, &below, NULL);
    }
    TSDB_ASSERT(w->tree->count < TREE_FILES_MAX);
    join(w->tree->files[w->tree->count++].path, w->dir, name);
    return TSDB_OK;
}

static void read_one(const struct tsdb_fs *fs, struct tree_file *f)
{
    uint8_t *data = NULL;
    enum tsdb_status status =
        tsdb_file_read_all(fs, f->path, FILE_BYTES_MAX, TSDB_MEM_OTHER, &data, &f->len, NULL);
    TSDB_ASSERT(status == TSDB_OK);
    if (f->len > 0) {
        f->data = malloc(f->len);
        TSDB_ASSERT(f->data);
        memcpy(f->data, data, f->len);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, f->len);
}

struct tree *tree_read(const struct tsdb_fs *fs)
{
    struct tree *t = calloc(1, sizeof *t);
    TSDB_ASSERT(t);
    struct walk w = {.fs = fs, .tree = t};
    enum tsdb_status status = fs->ops->list(fs->ctx, "", found, &w, NULL);
    TSDB_ASSERT(status == TSDB_OK);
    for (uint32_t i = 0; i < t->count; i++) {
        read_one(fs, &t->files[i]);
    }
    return t;
}

void tree_free(struct tree *t)
{
    for (uint32_t i = 0; t && i < t->count; i++) {
        free(t->files[i].data);
    }
    free(t);
}

const struct tree_file *tree_find(const struct tree *t, const char *begin, const char *end)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const char *path = t->files[i].path;
        size_t len = strlen(path);
        if (strncmp(path, begin, strlen(begin)) == 0 && len >= strlen(end) &&
            strcmp(path + len - strlen(end), end) == 0) {
            return &t->files[i];
        }
    }
    return NULL;
}

void tree_put(const struct tsdb_fs *fs, const char *path, const void *data, size_t len)
{
    char dir[TREE_PATH_BYTES];
    struct tsdb_file *f = NULL;
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
        TSDB_ASSERT(fs->ops->mkdir(fs->ctx, dir, NULL) == TSDB_OK);
    }
    const unsigned flags = TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE;
    TSDB_ASSERT(fs->ops->open(fs->ctx, path, flags, &f, NULL) == TSDB_OK);
    if (len > 0) {
        TSDB_ASSERT(fs->ops->pwrite(fs->ctx, f, data, len, 0, NULL) == TSDB_OK);
    }
    fs->ops->close(fs->ctx, f);
}

void tree_lay(const struct tsdb_fs *fs, const struct tree *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        tree_put(fs, t->files[i].path, t->files[i].data, t->files[i].len);
    }
}

const char *tree_lacks(const struct tree *b, const struct tree *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const struct tree_file *x = &a->files[i];
        const struct tree_file *y = NULL;
        for (uint32_t k = 0; k < b->count && !y; k++) {
            y = strcmp(b->files[k].path, x->path) == 0 ? &b->files[k] : NULL;
        }
        if (!y || y->len != x->len || (x->len > 0 && memcmp(y->data, x->data, x->len) != 0)) {
            return x->path;
        }
    }
    return NULL;
}
