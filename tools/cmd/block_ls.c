/* block ls */
#include "tools/cmd/commands.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tsdb/block/blocks.h"

static const struct tool_column columns[] = {
    {"ulid", TOOL_CELL_TEXT},        {"from", TOOL_CELL_TIME},    {"to", TOOL_CELL_TIME},
    {"level", TOOL_CELL_COUNT},      {"series", TOOL_CELL_COUNT}, {"samples", TOOL_CELL_COUNT},
    {"histograms", TOOL_CELL_COUNT}, {"chunks", TOOL_CELL_COUNT}, {"bytes", TOOL_CELL_BYTES},
    {"state", TOOL_CELL_TEXT},
};

static void put_row(struct tool_table *table, const char *ulid, const struct block_meta *m,
                    const char *state)
{
    tool_table_str(table, ulid);
    tool_table_number(table, m->min_ms);
    tool_table_number(table, m->max_ms);
    tool_table_number(table, m->level);
    tool_table_number(table, (int64_t)m->series);
    tool_table_number(table, (int64_t)m->samples);
    tool_table_number(table, (int64_t)m->histogram_samples);
    tool_table_number(table, (int64_t)m->chunks);
    tool_table_number(table, (int64_t)m->bytes);
    tool_table_str(table, state);
}

static enum tsdb_status list(struct tool *t, const struct tool_dir *d, struct cache_l2 *cache,
                             struct tsdb_arena *arena, struct tool_table *table,
                             struct tsdb_error *err)
{
    struct block_name *names = NULL;
    uint32_t count = 0;
    enum tsdb_status status = block_dir_list(&d->fs, BLOCKS_DIR, arena, &names, &count, err);
    for (uint32_t i = 0; status == TSDB_OK && i < count; i++) {
        struct block *b = NULL;
        status = block_open(&d->fs, BLOCKS_DIR, names[i].ulid, cache, &b, err);
        if (status == TSDB_OK) {
            put_row(table, names[i].ulid, block_meta(b), "ok");
            block_close(b);
        } else if (status != TSDB_NOMEM) { /* one that does not open is a row as well */
            struct block_meta none = {.min_ms = INT64_MIN, .max_ms = INT64_MAX};
            put_row(table, names[i].ulid, &none, err->msg);
            t->damaged = true;
            status = TSDB_OK;
        }
    }
    return status;
}

enum tsdb_status tool_block_ls(struct tool *t, struct tsdb_error *err)
{
    struct tool_dir d = {0};
    struct cache_l2 *cache = NULL;
    struct tsdb_arena arena;
    struct tool_table table;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    tool_table_init(&table, columns, TSDB_ARRAY_LEN(columns));
    enum tsdb_status status = tool_dir_read(t->args[0], &d, err);
    if (status == TSDB_OK) {
        status = cache_l2_create(0, &cache, err);
    }
    if (status == TSDB_OK) {
        status = list(t, &d, cache, &arena, &table, err);
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&table, t, err);
    }
    cache_l2_destroy(cache);
    tool_dir_close(&d);
    tool_table_deinit(&table);
    tsdb_arena_deinit(&arena);
    return status;
}
