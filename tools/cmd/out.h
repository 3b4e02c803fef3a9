/* Tables and records on stdout: aligned columns with units for people, JSON for programs.
 *
 *   tool_table_init(&t, columns, TSDB_ARRAY_LEN(columns));
 *   tool_table_text(&t, ...); tool_table_u64(&t, ...); ...    a cell per column, row by row
 *   tool_table_print(&t, tool, err);
 *
 * Rows are held in memory: for what is listed per file, block or segment, not per sample. Running out of
 * memory is found by print. Threads: one.
 */
#ifndef TOOLS_CMD_OUT_H
#define TOOLS_CMD_OUT_H

#include "tools/cmd/tool.h"

enum tool_cell_kind {
    TOOL_CELL_TEXT,
    TOOL_CELL_COUNT,
    TOOL_CELL_BYTES, /* for people in KiB, MiB, ...; a number in JSON */
    TOOL_CELL_TIME,  /* Unix ms; for people RFC 3339, a number in JSON */
};
struct tool_column {
    const char *name; /* of the JSON member, lower case; capitals in the heading */
    enum tool_cell_kind kind;
};
#define TOOL_COLUMNS_MAX 16

struct tool_table {
    const struct tool_column *columns; /* outlive the table */
    uint32_t column_count;
    struct tsdb_buf cells; /* u32 length | bytes, row by row */
    uint32_t cell_count;
};
void tool_table_init(struct tool_table *t, const struct tool_column *columns, uint32_t count);
void tool_table_deinit(struct tool_table *t);
void tool_table_text(struct tool_table *t, const char *s, size_t len);
void tool_table_str(struct tool_table *t, const char *s);
void tool_table_number(struct tool_table *t, int64_t v); /* COUNT, BYTES, TIME */
/* Print it, as a list: JSON is an array of objects. */
enum tsdb_status tool_table_print(struct tool_table *t, const struct tool *tool,
                                  struct tsdb_error *err) TSDB_WUR;
/* Print its only row, a member a line: JSON is an object. */
enum tsdb_status tool_table_print_record(struct tool_table *t, const struct tool *tool,
                                         struct tsdb_error *err) TSDB_WUR;

/* "12.3 MiB"; out has 32 bytes. */
void tool_bytes_format(uint64_t bytes, char *out);

/* ---- progress of long work, on stderr ---- */
struct tool_progress {
    const char *what; /* "samples" */
    uint64_t total;   /* 0: not known */
    uint64_t done;
    int64_t begin_ns, shown_ns;
    bool on;
};
void tool_progress_begin(struct tool_progress *p, const struct tool *tool, const char *what,
                         uint64_t total);
/* Shows a line now and then, with rate and, where the total is known, the time left. */
void tool_progress_add(struct tool_progress *p, uint64_t n);
void tool_progress_end(struct tool_progress *p);

#endif
