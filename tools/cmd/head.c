/* head inspect: what is not in blocks yet. */
#include "tools/cmd/commands.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tsdb/recovery/checkpoint.h"

static const struct tool_column columns[] = {
    {"series", TOOL_CELL_COUNT},
    {"chunks", TOOL_CELL_COUNT},
    {"from", TOOL_CELL_TIME},
    {"to", TOOL_CELL_TIME},
    {"checkpoint", TOOL_CELL_COUNT},
    {"checkpoint_time", TOOL_CELL_TIME},
    {"checkpoint_bytes", TOOL_CELL_BYTES},
    {"log_from_segment", TOOL_CELL_COUNT},
    {"replayed_frames", TOOL_CELL_COUNT},
    {"replayed_samples", TOOL_CELL_COUNT},
    {"lost_frames", TOOL_CELL_COUNT},
    {"damaged_stretches", TOOL_CELL_COUNT},
    {"head_files", TOOL_CELL_COUNT},
    {"head_file_bytes", TOOL_CELL_BYTES},
    {"label_pairs", TOOL_CELL_COUNT},
};

/* The newest checkpoint that opens. */
static enum tsdb_status newest(const struct tool_dir *d, struct checkpoint_reader **out,
                               struct tsdb_error *err)
{
    uint64_t below = UINT64_MAX, number = 0;
    *out = NULL;
    for (;;) {
        enum tsdb_status status = checkpoint_newest(&d->fs, below, &number, err);
        if (status == TSDB_NOT_FOUND) {
            return TSDB_OK;
        }
        if (status == TSDB_OK) {
            status = checkpoint_open(&d->fs, number, out, err);
        }
        if (status != TSDB_CORRUPT && status != TSDB_NOT_FOUND) {
            return status;
        }
        below = number;
    }
}

enum tsdb_status tool_head_inspect(struct tool *t, struct tsdb_error *err)
{
    struct tool_dir d = {0};
    struct tool_table table;
    struct checkpoint_reader *checkpoint = NULL;
    tool_table_init(&table, columns, TSDB_ARRAY_LEN(columns));
    enum tsdb_status status = tool_dir_read(t->args[0], &d, err);
    if (status == TSDB_OK) {
        status = newest(&d, &checkpoint, err);
    }
    if (status == TSDB_OK) {
        status = tool_db_open(&d, err);
    }
    if (status == TSDB_OK) {
        struct tsdb_stats s;
        tsdb_stats_read(d.db, &s);
        const struct checkpoint_info *info = checkpoint ? checkpoint_info(checkpoint) : NULL;
        const int64_t cells[] = {
            (int64_t)s.series,
            (int64_t)s.chunks,
            s.min_time_ms <= s.max_time_ms ? s.min_time_ms : INT64_MIN,
            s.min_time_ms <= s.max_time_ms ? s.max_time_ms : INT64_MAX,
            info ? (int64_t)info->number : 0,
            info ? info->created_ms : INT64_MIN,
            checkpoint ? (int64_t)checkpoint_bytes(checkpoint) : 0,
            info ? (int64_t)info->wal_segment : 0,
            (int64_t)s.replay_frames,
            (int64_t)s.replay_samples,
            (int64_t)s.replay_lost_frames,
            (int64_t)s.replay_damage,
            (int64_t)s.head_files,
            (int64_t)s.head_file_bytes,
            (int64_t)s.label_pairs,
        };
        static_assert(TSDB_ARRAY_LEN(cells) == TSDB_ARRAY_LEN(columns), "a cell a column");
        for (size_t i = 0; i < TSDB_ARRAY_LEN(cells); i++) {
            tool_table_number(&table, cells[i]);
        }
        t->damaged = s.replay_damage > 0 || s.replay_lost_frames > 0;
        status = tool_table_print_record(&table, t, err);
    }
    checkpoint_close(checkpoint);
    tool_table_deinit(&table);
    tool_dir_close(&d);
    return status;
}
