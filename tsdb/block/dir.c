/* The directory of blocks: names, leftovers, removal. */
#include "tsdb/block/block_private.h"

#include "base/crc32c.h"
#include "tsdb/block/ulid.h"

#include <stdio.h>
#include <stdlib.h>

static_assert(ULID_CHARS == BLOCK_ULID_CHARS, "names of blocks are ULIDs");

enum tsdb_status block_path(char out[BLOCK_PATH_BYTES], const char *dir, const char *ulid,
                            const char *suffix, const char *name, struct tsdb_error *err)
{
    int n = snprintf(out, BLOCK_PATH_BYTES, "%s/%s%s%s%s", dir, ulid, suffix, name ? "/" : "",
                     name ? name : "");
    if (n < 0 || n >= BLOCK_PATH_BYTES) {
        return tsdb_error_set(err, TSDB_INVALID, "block %s: the path is too long", ulid);
    }
    return TSDB_OK;
}

uint32_t block_mark(const char *ulid)
{
    return tsdb_crc32c(0, ulid, BLOCK_ULID_CHARS);
}

/* ---- one name at a time: files do not vanish while they are listed ---- */

struct name_search {
    bool (*wanted)(const char *name, bool is_dir);
    char name[256];
    bool found;
};

static enum tsdb_status name_seen(void *arg, const char *name, bool is_dir)
{
    struct name_search *s = arg;
    if (!s->found && s->wanted(name, is_dir) && strlen(name) < sizeof s->name) {
        memcpy(s->name, name, strlen(name) + 1);
        s->found = true;
    }
    return TSDB_OK;
}

static bool wanted_tmp(const char *name, bool is_dir)
{
    size_t len = strlen(name);
    size_t suffix = strlen(BLOCK_TMP_SUFFIX);
    return is_dir && len > suffix && strcmp(name + len - suffix, BLOCK_TMP_SUFFIX) == 0;
}

enum tsdb_status block_dir_clean(const struct tsdb_fs *fs, const char *dir, uint32_t *out_removed,
                                 struct tsdb_error *err)
{
    uint32_t removed = 0;
    for (;;) {
        char path[BLOCK_PATH_BYTES];
        struct name_search s = {.wanted = wanted_tmp};
        enum tsdb_status status = fs->ops->list(fs->ctx, dir, name_seen, &s, err);
        if (status == TSDB_NOT_FOUND || (status == TSDB_OK && !s.found)) {
            *out_removed = removed;
            return TSDB_OK;
        }
        status = status == TSDB_OK ? block_path(path, dir, s.name, "", NULL, err) : status;
        status = status == TSDB_OK ? tsdb_file_tree_remove(fs, path, err) : status;
        if (status != TSDB_OK) {
            return status;
        }
        removed++;
    }
}

/* ---- list ---- */

struct name_list {
    struct tsdb_buf names; /* struct block_name each */
};

static enum tsdb_status name_listed(void *arg, const char *name, bool is_dir)
{
    struct name_list *l = arg;
    struct block_name n;
    if (is_dir && ulid_valid(name)) {
        memcpy(n.ulid, name, sizeof n.ulid);
        tsdb_buf_put(&l->names, &n, sizeof n);
    }
    return l->names.failed ? TSDB_NOMEM : TSDB_OK;
}

static int name_order(const void *a, const void *b)
{
    const struct block_name *x = a;
    const struct block_name *y = b;
    return strcmp(x->ulid, y->ulid);
}

enum tsdb_status block_dir_list(const struct tsdb_fs *fs, const char *dir, struct tsdb_arena *arena,
                                struct block_name **out, uint32_t *out_count,
                                struct tsdb_error *err)
{
    struct name_list l;
    tsdb_buf_init(&l.names, TSDB_MEM_OTHER, 0);
    enum tsdb_status status = fs->ops->list(fs->ctx, dir, name_listed, &l, err);
    status = status == TSDB_NOT_FOUND ? TSDB_OK : status;
    size_t count = l.names.len / sizeof(struct block_name);
    struct block_name *names = NULL;
    if (status == TSDB_OK) {
        names = TSDB_ARENA_ARRAY(arena, struct block_name, count + 1);
        status =
            !names ? tsdb_error_set(err, arena->failure, "%s: no memory to list it", dir) : TSDB_OK;
    }
    if (status == TSDB_OK) {
        if (count > 0) {
            memcpy(names, l.names.data, count * sizeof *names);
        }
        qsort(names, count, sizeof *names, name_order);
        *out = names;
        *out_count = (uint32_t)count;
    }
    tsdb_buf_deinit(&l.names);
    return status;
}

enum tsdb_status block_remove(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                              struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    char tmp[BLOCK_PATH_BYTES];
    enum tsdb_status status = block_path(path, dir, ulid, "", NULL, err);
    status = status == TSDB_OK ? block_path(tmp, dir, ulid, BLOCK_TMP_SUFFIX, NULL, err) : status;
    status = status == TSDB_OK ? fs->ops->rename(fs->ctx, path, tmp, err) : status;
    status = status == TSDB_NOT_FOUND ? TSDB_OK : status; /* an earlier call came so far */
    status = status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, dir, err) : status;
    return status == TSDB_OK ? tsdb_file_tree_remove(fs, tmp, err) : status;
}
