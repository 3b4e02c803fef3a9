/* export prometheus: a data directory as Prometheus blocks.
 *
 *   engine over an overlay ─ series in label order ─ window by window ─▶ prom_block_writer ─▶ OUT/<ULID>/
 *
 * Everything that the directory holds is in it, log and head included. Four passes over the samples: two
 * find which windows there are, two write each window (symbols, then series). Memory: the labels of all
 * series, and the samples of one series in one window. A window that OUT has a block of already is left as
 * it is, so that an export that was interrupted goes on. */
#include "tools/cmd/commands.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tools/export/cut.h"

#include <inttypes.h>

#define WINDOWS_MAX (UINT64_C(1) << 24) /* bits of a bitmap: 2 MiB; 3800 years of two hours */
#define META_PATH   64

struct export
{
    struct tool *t;
    struct tool_dir dir;
    struct tsdb_fs out;
    struct tsdb_arena arena;
    struct tool_walk walk;
    struct cut_span *spans; /* parallel to walk.items */
    uint8_t *used;          /* likewise: has samples in the window being written */
    int64_t range_ms;
    int64_t first_ms; /* begin of window 0 */
    uint64_t windows;
    uint8_t *present; /* a bit per window */
    uint8_t *there;   /* likewise: OUT has it */
    struct tool_table table;
    struct tool_progress progress;
    uint64_t starts_dropped, samples, blocks, kept;
};

static bool bit_get(const uint8_t *bits, uint64_t i)
{
    return (bits[i / 8] >> (i % 8)) & 1;
}

static void bit_set(uint8_t *bits, uint64_t i)
{
    bits[i / 8] = (uint8_t)(bits[i / 8] | (1u << (i % 8)));
}

/* ---- which windows there are ---- */
static enum tsdb_status each_series(struct export *x,
                                    void (*fn)(struct export *, uint32_t, int64_t),
                                    struct tsdb_error *err)
{
    struct tsdb_time_range range = {x->t->options.start, x->t->options.end};
    for (uint32_t i = 0; i < x->walk.count; i++) {
        struct tsdb_columns c = {0};
        enum tsdb_status status = tool_walk_read(&x->walk, i, range, &c, err);
        if (status != TSDB_OK) {
            return status;
        }
        for (uint32_t k = 0; k < c.count; k++) {
            fn(x, i, c.t_ms[k]);
        }
        tool_progress_add(&x->progress, c.count);
    }
    return TSDB_OK;
}

static void take_span(struct export *x, uint32_t i, int64_t t_ms)
{
    x->spans[i].min_ms = TSDB_MIN(x->spans[i].min_ms, t_ms);
    x->spans[i].max_ms = TSDB_MAX(x->spans[i].max_ms, t_ms);
    bit_set(x->present, ((uint64_t)t_ms - (uint64_t)x->first_ms) / (uint64_t)x->range_ms);
}

struct bounds {
    struct export *x;
    struct cut_span all;
};

/* The bounds of all, from the times of each series alone: a bitmap needs them. */
static enum tsdb_status find_bounds(void *arg, const struct tsdb_labels *labels,
                                    const struct tsdb_columns *c, struct tsdb_error *err)
{
    (void)labels;
    (void)err;
    struct bounds *b = arg;
    b->all.min_ms = TSDB_MIN(b->all.min_ms, c->t_ms[0]);
    b->all.max_ms = TSDB_MAX(b->all.max_ms, c->t_ms[c->count - 1]);
    return TSDB_OK;
}

static enum tsdb_status find_windows(struct export *x, struct tsdb_error *err)
{
    struct bounds b = {x, {INT64_MAX, INT64_MIN}};
    struct tsdb_time_range range = {x->t->options.start, x->t->options.end};
    enum tsdb_status status = tool_walk_all(&x->walk, range, find_bounds, &b, &x->progress, err);
    if (status != TSDB_OK || b.all.min_ms > b.all.max_ms) {
        return status;
    }
    if (b.all.min_ms < INT64_MIN + x->range_ms || b.all.max_ms > INT64_MAX - x->range_ms) {
        return tsdb_error_set(err, TSDB_LIMIT,
                              "times at the end of what 64 bits hold have no window");
    }
    x->first_ms = cut_window_of(b.all.min_ms, x->range_ms);
    x->windows = ((uint64_t)b.all.max_ms - (uint64_t)x->first_ms) / (uint64_t)x->range_ms + 1;
    if (x->windows > WINDOWS_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT,
                              "%" PRIu64 " windows, at most %" PRIu64 ": take a "
                              "longer --block-range",
                              x->windows, WINDOWS_MAX);
    }
    size_t bytes = (size_t)(x->windows / 8 + 1);
    x->present = TSDB_ARENA_ARRAY(&x->arena, uint8_t, bytes);
    x->there = TSDB_ARENA_ARRAY(&x->arena, uint8_t, bytes);
    x->spans = TSDB_ARENA_ARRAY(&x->arena, struct cut_span, x->walk.count);
    x->used = TSDB_ARENA_ARRAY(&x->arena, uint8_t, x->walk.count);
    if (!x->present || !x->there || !x->spans || !x->used) {
        return tsdb_error_nomem(err, "the list of windows");
    }
    memset(x->present, 0, bytes);
    memset(x->there, 0, bytes);
    for (uint32_t i = 0; i < x->walk.count; i++) {
        x->spans[i] = (struct cut_span){INT64_MAX, INT64_MIN};
    }
    return each_series(x, take_span, err);
}

/* ---- what OUT has ---- */
static enum tsdb_status look_at(void *arg, const char *name, bool is_dir)
{
    struct export *x = arg;
    if (!is_dir || !prom_ulid_valid(name, strlen(name))) {
        return TSDB_OK;
    }
    char path[META_PATH];
    uint8_t *data = NULL;
    size_t len = 0;
    struct prom_meta meta;
    snprintf(path, sizeof path, "%s/meta.json", name);
    if (tsdb_file_read_all(&x->out, path, PROM_META_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, NULL) ==
            TSDB_OK &&
        prom_meta_parse(data, len, &meta, NULL) == TSDB_OK && meta.t_min >= x->first_ms &&
        cut_window_of(meta.t_min, x->range_ms) == meta.t_min &&
        meta.t_max == meta.t_min + x->range_ms) {
        uint64_t w = ((uint64_t)meta.t_min - (uint64_t)x->first_ms) / (uint64_t)x->range_ms;
        if (w < x->windows) {
            bit_set(x->there, w);
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    return TSDB_OK;
}

/* ---- a window ---- */
static void put_row(struct export *x, const struct prom_meta *m)
{
    tool_table_str(&x->table, m->ulid);
    tool_table_number(&x->table, m->t_min);
    tool_table_number(&x->table, m->t_max);
    tool_table_number(&x->table, (int64_t)m->series);
    tool_table_number(&x->table, (int64_t)m->samples);
    tool_table_number(&x->table, (int64_t)m->chunks);
    x->samples += m->samples;
    x->blocks++;
}

static enum tsdb_status write_window(struct export *x, int64_t begin_ms, struct tsdb_error *err)
{
    struct prom_meta meta;
    struct cut c = {&x->walk, &x->out, x->spans, x->used, &x->progress};
    struct tsdb_time_range take = {x->t->options.start, x->t->options.end};
    enum tsdb_status status =
        cut_window(&c, begin_ms, begin_ms + x->range_ms, take, &meta, &x->starts_dropped, err);
    if (status == TSDB_OK) {
        put_row(x, &meta);
    }
    return status;
}

/* Blocks in a data directory of ours would be taken for nothing by the one and deleted by nobody. */
static enum tsdb_status open_out(struct export *x, struct tsdb_error *err)
{
    struct tsdb_file_info info;
    const char *path = x->t->args[1];
    enum tsdb_status status = tsdb_fs_real_create(path, &x->out, err);
    if (status == TSDB_OK &&
        x->out.ops->stat(x->out.ctx, DATADIR_VERSION, &info, NULL) == TSDB_OK) {
        status = tsdb_error_set(err, TSDB_INVALID,
                                "%s: a tidalite data directory, expected a new one "
                                "or one of a Prometheus",
                                path);
    }
    return status;
}

static enum tsdb_status write_all(struct export *x, struct tsdb_error *err)
{
    enum tsdb_status status = x->out.ops->mkdir(x->out.ctx, "wal", err); /* promtool wants one */
    if (status == TSDB_OK && x->windows > 0) {
        status = x->out.ops->list(x->out.ctx, "", look_at, x, err);
    }
    for (uint64_t i = 0; i < x->windows && status == TSDB_OK; i++) {
        if (!bit_get(x->present, i)) {
            continue;
        }
        if (bit_get(x->there, i)) {
            x->kept++;
        } else {
            status = write_window(x, x->first_ms + (int64_t)i * x->range_ms, err);
        }
    }
    return status == TSDB_OK ? x->out.ops->sync_dir(x->out.ctx, "", err) : status;
}

static const struct tool_column columns[] = {
    {"ulid", TOOL_CELL_TEXT},    {"from", TOOL_CELL_TIME},     {"to", TOOL_CELL_TIME},
    {"series", TOOL_CELL_COUNT}, {"samples", TOOL_CELL_COUNT}, {"chunks", TOOL_CELL_COUNT},
};

static void tell(const struct export *x)
{
    if (x->kept > 0) {
        tool_say("%" PRIu64 " windows were in %s already and are left as they are", x->kept,
                 x->t->args[1]);
    }
    if (x->starts_dropped > 0) {
        tool_say("left out: the start timestamps of %" PRIu64
                 " samples, for which chunks that every "
                 "Prometheus reads have no room",
                 x->starts_dropped);
    }
    tool_say("%" PRIu64 " samples in %" PRIu64 " blocks", x->samples, x->blocks);
}

enum tsdb_status tool_export_prometheus(struct tool *t, struct tsdb_error *err)
{
    struct export x = {.t = t, .range_ms = t->options.block_range};
    struct tsdb_selector selector;
    struct tsdb_time_range range = {t->options.start, t->options.end};
    tsdb_arena_init(&x.arena, TSDB_MEM_OTHER, 65536, NULL);
    tool_table_init(&x.table, columns, TSDB_ARRAY_LEN(columns));
    tool_progress_begin(&x.progress, t, "samples", 0);
    enum tsdb_status status = tool_dir_read(t->args[0], &x.dir, err);
    if (status == TSDB_OK) {
        status = tool_selector(t, &x.arena, &selector, err);
    }
    if (status == TSDB_OK) {
        status = tool_db_open(&x.dir, err);
    }
    if (status == TSDB_OK) {
        status = open_out(&x, err);
    }
    if (status == TSDB_OK && range.min_ms <= range.max_ms) {
        status = tool_walk_init(&x.walk, x.dir.db, &selector, range, err);
    }
    if (status == TSDB_OK) {
        status = find_windows(&x, err);
    }
    if (status == TSDB_OK) {
        status = write_all(&x, err);
    }
    tool_progress_end(&x.progress);
    if (status == TSDB_OK) {
        status = tool_table_print(&x.table, t, err);
        tell(&x);
    }
    tool_walk_deinit(&x.walk);
    if (x.out.ops) {
        tsdb_fs_real_destroy(&x.out);
    }
    tool_table_deinit(&x.table);
    tsdb_arena_deinit(&x.arena);
    tool_dir_close(&x.dir);
    return status;
}
