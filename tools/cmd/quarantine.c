/* quarantine ls, clean: what lies in quarantine/, and away with it. */
#include "tsdb/block/quarantine.h"
#include "base/clock.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tsdb/block/blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The last one is of clean alone. */
static const struct tool_column columns[] = {
    {"name", TOOL_CELL_TEXT},   {"moved", TOOL_CELL_TIME}, {"files", TOOL_CELL_COUNT},
    {"bytes", TOOL_CELL_BYTES}, {"why", TOOL_CELL_TEXT},   {"action", TOOL_CELL_TEXT},
};

struct items {
    struct tool_dir dir;
    struct tsdb_arena arena;
    struct quarantine_item *list;
    uint32_t count, cap;
    struct tool_table table;
};

static enum tsdb_status keep(void *arg, const struct quarantine_item *item, struct tsdb_error *err)
{
    struct items *all = arg;
    if (all->count == all->cap) {
        uint32_t cap = all->cap ? 2 * all->cap : 16;
        struct quarantine_item *more = TSDB_ARENA_ARRAY(&all->arena, struct quarantine_item, cap);
        if (!more) {
            return tsdb_error_nomem(err, "the list of quarantine/");
        }
        if (all->count > 0) {
            memcpy(more, all->list, all->count * sizeof *more);
        }
        all->list = more;
        all->cap = cap;
    }
    all->list[all->count++] = *item;
    return tool_check(err);
}

/* A rename changes the inode, so its change time is that of the move, if nobody touched it since. */
static void find_moved(const struct items *all, struct quarantine_item *item)
{
    char path[4096];
    struct stat st;
    int n =
        snprintf(path, sizeof path, "%s/" BLOCKS_DIR_QUARANTINE "/%s", all->dir.path, item->name);
    if (item->moved_ms == INT64_MIN && n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0) {
        item->moved_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000;
    }
}

static int by_name(const void *a, const void *b)
{
    const struct quarantine_item *x = a;
    const struct quarantine_item *y = b;
    return strcmp(x->name, y->name);
}

static enum tsdb_status items_read(struct items *all, struct tsdb_error *err)
{
    enum tsdb_status status = quarantine_walk(&all->dir.fs, keep, all, err);
    for (uint32_t i = 0; status == TSDB_OK && i < all->count; i++) {
        find_moved(all, &all->list[i]);
    }
    if (status == TSDB_OK && all->count > 1) {
        qsort(all->list, all->count, sizeof *all->list, by_name);
    }
    return status;
}

static void items_init(struct items *all, uint32_t column_count)
{
    *all = (struct items){.count = 0};
    tsdb_arena_init(&all->arena, TSDB_MEM_OTHER, 65536, NULL);
    tool_table_init(&all->table, columns, column_count);
}

static void items_deinit(struct items *all)
{
    tool_table_deinit(&all->table);
    tsdb_arena_deinit(&all->arena);
    tool_dir_close(&all->dir);
}

static void put_row(struct items *all, const struct quarantine_item *item)
{
    tool_table_str(&all->table, item->name);
    tool_table_number(&all->table, item->moved_ms);
    tool_table_number(&all->table, (int64_t)item->files);
    tool_table_number(&all->table, (int64_t)item->bytes);
    tool_table_str(&all->table, item->why ? item->why : "not moved here by tidalite");
}

enum tsdb_status tool_quarantine_ls(struct tool *t, struct tsdb_error *err)
{
    struct items all;
    items_init(&all, TSDB_ARRAY_LEN(columns) - 1);
    enum tsdb_status status = tool_dir_read(t->args[0], &all.dir, err);
    if (status == TSDB_OK) {
        status = items_read(&all, err);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < all.count; i++) {
        put_row(&all, &all.list[i]);
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&all.table, t, err);
    }
    items_deinit(&all);
    return status;
}

/* What is not ours is not ours to remove. */
static bool is_to_go(const struct tool *t, const struct quarantine_item *item)
{
    int64_t now_ms = tsdb_clock_wall_ms(&tsdb_clock_real);
    return item->why &&
           (!(t->given & TOOL_BIT(older_than)) || item->moved_ms < now_ms - t->options.older_than);
}

static enum tsdb_status clean_one(struct items *all, const struct tool *t,
                                  const struct quarantine_item *item, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = &all->dir.fs;
    char path[sizeof BLOCKS_DIR_QUARANTINE + 1 + QUARANTINE_NAME_BYTES_MAX];
    snprintf(path, sizeof path, BLOCKS_DIR_QUARANTINE "/%s", item->name);
    bool go = is_to_go(t, item);
    enum tsdb_status status = tool_check(err);
    if (status == TSDB_OK && go && !t->options.dry_run) {
        status = tsdb_file_tree_remove(fs, path, err);
    }
    if (status == TSDB_OK) {
        put_row(all, item);
        tool_table_str(&all->table, go ? "removed" : "kept");
    }
    return status;
}

enum tsdb_status tool_quarantine_clean(struct tool *t, struct tsdb_error *err)
{
    struct items all;
    items_init(&all, TSDB_ARRAY_LEN(columns));
    enum tsdb_status status = tool_dir_edit(t->args[0], &all.dir, err);
    if (status == TSDB_OK) {
        status = items_read(&all, err);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < all.count; i++) {
        status = clean_one(&all, t, &all.list[i], err);
    }
    if (status == TSDB_OK && all.count > 0 && !t->options.dry_run) {
        status = all.dir.fs.ops->sync_dir(all.dir.fs.ctx, BLOCKS_DIR_QUARANTINE, err);
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&all.table, t, err);
    }
    items_deinit(&all);
    return status;
}
