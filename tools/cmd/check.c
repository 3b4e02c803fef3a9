/* check: every file of a directory, and what is wrong with it. */
#include "tools/cmd/check.h"
#include "tools/cmd/commands.h"

static const struct tool_column columns[] = {
    {"part", TOOL_CELL_TEXT},
    {"file", TOOL_CELL_TEXT},
    {"state", TOOL_CELL_TEXT},
    {"detail", TOOL_CELL_TEXT},
};

struct check_all {
    struct tool *t;
    struct tool_table table;
    uint32_t count[3]; /* by state */
};

static enum tsdb_status found(void *arg, const struct check_finding *f, struct tsdb_error *err)
{
    (void)err;
    struct check_all *a = arg;
    tool_table_str(&a->table, check_part_name(f->part));
    tool_table_str(&a->table, f->path);
    tool_table_str(&a->table, check_state_name(f->state));
    tool_table_str(&a->table, f->detail);
    a->count[f->state]++;
    return TSDB_OK;
}

enum tsdb_status tool_check_dir(struct tool *t, struct tsdb_error *err)
{
    struct check_all a = {.t = t};
    struct tool_dir d = {0};
    struct tool_progress progress;
    tool_table_init(&a.table, columns, TSDB_ARRAY_LEN(columns));
    enum tsdb_status status = tool_dir_read(t->args[0], &d, err);
    if (status == TSDB_OK) {
        tool_progress_begin(&progress, t, "files", 0);
        status = check_run(&d, &progress, found, &a, err);
        tool_progress_end(&progress);
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&a.table, t, err);
    }
    if (status == TSDB_OK) {
        t->damaged = a.count[CHECK_DAMAGED] > 0;
        if (!t->options.json) {
            tool_say("%s: %u whole, %u with a note, %u damaged", d.path, a.count[CHECK_OK],
                     a.count[CHECK_NOTE], a.count[CHECK_DAMAGED]);
        }
    }
    tool_table_deinit(&a.table);
    tool_dir_close(&d);
    return status;
}
