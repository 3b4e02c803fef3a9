/* block compact, merge, split, delete: the blocks of a stopped directory as other blocks.
 *
 * What is new is published by a rename before what it stands for goes, so that at every moment the directory
 * holds every sample: a death in between leaves both, which a query shows once, and the next merge settles. */
#include "tools/cmd/commands.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tools/cmd/rewrite.h"
#include "tsdb/block/blocks.h"

#include <inttypes.h>
#include <stdlib.h>

#define CACHE_BYTES (16u << 20)
#define PARTS_MAX   4096u /* blocks that one is split into */

struct edit {
    struct tool *t;
    struct tool_dir dir;
    struct cache_l2 *cache;
    struct tsdb_arena arena;
    struct block_name *names;
    struct block **blocks; /* parallel to names */
    uint32_t count;
    struct block **picked; /* those that are named, by sequence */
    uint32_t picked_count;
    struct tool_table table;
    struct tool_progress progress;
};

static const struct tool_column columns[] = {
    {"ulid", TOOL_CELL_TEXT},   {"from", TOOL_CELL_TIME},    {"to", TOOL_CELL_TIME},
    {"level", TOOL_CELL_COUNT}, {"series", TOOL_CELL_COUNT}, {"samples", TOOL_CELL_COUNT},
    {"bytes", TOOL_CELL_BYTES}, {"action", TOOL_CELL_TEXT},
};

static void put_row(struct edit *e, const struct block_meta *m, const char *action)
{
    tool_table_str(&e->table, m->ulid);
    tool_table_number(&e->table, m->min_ms);
    tool_table_number(&e->table, m->max_ms);
    tool_table_number(&e->table, m->level);
    tool_table_number(&e->table, (int64_t)m->series);
    tool_table_number(&e->table, (int64_t)m->samples);
    tool_table_number(&e->table, (int64_t)m->bytes);
    tool_table_str(&e->table, action);
}

static bool overlap(const struct block_meta *a, const struct block_meta *b)
{
    return a->min_ms < b->max_ms && b->min_ms < a->max_ms;
}

static int by_sequence(const void *a, const void *b)
{
    const struct block_meta *x = block_meta(*(struct block *const *)a);
    const struct block_meta *y = block_meta(*(struct block *const *)b);
    return x->sequence != y->sequence ? (x->sequence > y->sequence ? 1 : -1)
                                      : strcmp(x->ulid, y->ulid);
}

/* ---- the directory ---- */
static void edit_init(struct edit *e, struct tool *t)
{
    *e = (struct edit){.t = t};
    tsdb_arena_init(&e->arena, TSDB_MEM_OTHER, 65536, NULL);
    tool_table_init(&e->table, columns, TSDB_ARRAY_LEN(columns));
    tool_progress_begin(&e->progress, t, "samples", 0);
}

/* Every block opens, or nothing is done: which of them stands before which has to be known of all. */
static enum tsdb_status open_blocks(struct edit *e, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = &e->dir.fs;
    uint32_t removed = 0;
    enum tsdb_status status = block_dir_clean(fs, BLOCKS_DIR, &removed, err);
    if (status == TSDB_OK) {
        status = block_dir_list(fs, BLOCKS_DIR, &e->arena, &e->names, &e->count, err);
    }
    if (status == TSDB_OK) {
        status = cache_l2_create(CACHE_BYTES, &e->cache, err);
    }
    e->blocks = TSDB_ARENA_ARRAY(&e->arena, struct block *, e->count + 1u);
    e->picked = TSDB_ARENA_ARRAY(&e->arena, struct block *, e->count + 1u);
    if (!e->blocks || !e->picked) {
        e->count = 0;
        return tsdb_error_nomem(err, "the list of blocks");
    }
    memset(e->blocks, 0, (e->count + 1u) * sizeof(struct block *));
    for (uint32_t i = 0; i < e->count && status == TSDB_OK; i++) {
        status = block_open(fs, BLOCKS_DIR, e->names[i].ulid, e->cache, &e->blocks[i], err);
    }
    return status;
}

static enum tsdb_status pick(struct edit *e, const char *ulid, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < e->picked_count; i++) {
        if (strcmp(block_meta(e->picked[i])->ulid, ulid) == 0) {
            return tsdb_error_set(err, TSDB_INVALID, "%s is named twice", ulid);
        }
    }
    for (uint32_t i = 0; i < e->count; i++) {
        if (strcmp(e->names[i].ulid, ulid) == 0) {
            e->picked[e->picked_count++] = e->blocks[i];
            return TSDB_OK;
        }
    }
    return tsdb_error_set(err, TSDB_NOT_FOUND, "%s has no block %s", e->dir.path, ulid);
}

static enum tsdb_status edit_begin(struct edit *e, struct tool *t, struct tsdb_error *err)
{
    edit_init(e, t);
    enum tsdb_status status = tool_dir_edit(t->args[0], &e->dir, err);
    if (status == TSDB_OK) {
        status = open_blocks(e, err);
    }
    for (int i = 1; i < t->arg_count && status == TSDB_OK; i++) {
        status = pick(e, t->args[i], err);
    }
    if (status == TSDB_OK) {
        qsort(e->picked, e->picked_count, sizeof(struct block *), by_sequence);
    }
    for (uint32_t i = 0; i < e->picked_count && status == TSDB_OK; i++) {
        e->progress.total += block_meta(e->picked[i])->samples;
    }
    return status;
}

static enum tsdb_status edit_end(struct edit *e, enum tsdb_status status, struct tsdb_error *err)
{
    tool_progress_end(&e->progress);
    for (uint32_t i = 0; i < e->count && e->blocks; i++) {
        block_close(e->blocks[i]);
    }
    cache_l2_destroy(e->cache);
    tool_dir_close(&e->dir);
    if (status == TSDB_OK) {
        status = tool_table_print(&e->table, e->t, err);
        if (e->t->options.dry_run) {
            tool_say("nothing was done (--dry-run)");
        }
    }
    tool_table_deinit(&e->table);
    tsdb_arena_deinit(&e->arena);
    return status;
}

static enum tsdb_status remove_picked(struct edit *e, const char *action, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < e->picked_count && status == TSDB_OK; i++) {
        const struct block_meta *m = block_meta(e->picked[i]);
        put_row(e, m, action);
        if (!e->t->options.dry_run) {
            status = block_remove(&e->dir.fs, BLOCKS_DIR, m->ulid, err);
        }
    }
    return status;
}

/* ---- merge ---- */
/* "The first written wins" has to mean the same afterwards: nobody that overlaps one of them may stand between
 * the first and the last. */
static enum tsdb_status check_neighbours(const struct edit *e, struct tsdb_error *err)
{
    uint64_t first = block_meta(e->picked[0])->sequence;
    for (uint32_t i = 0; i < e->count; i++) {
        const struct block_meta *m = block_meta(e->blocks[i]);
        bool picked = false, passed = false;
        for (uint32_t k = 0; k < e->picked_count; k++) {
            const struct block_meta *p = block_meta(e->picked[k]);
            picked = picked || e->picked[k] == e->blocks[i];
            passed = passed || (first < m->sequence && m->sequence < p->sequence && overlap(p, m));
        }
        if (passed && !picked) {
            return tsdb_error_set(err, TSDB_INVALID,
                                  "block %s overlaps them and was written in between; name it too",
                                  m->ulid);
        }
    }
    return TSDB_OK;
}

static enum tsdb_status merge(struct edit *e, struct tsdb_error *err)
{
    struct rewrite r = {
        .fs = &e->dir.fs,
        .sources = e->picked,
        .count = e->picked_count,
        .min_ms = INT64_MAX,
        .max_ms = INT64_MIN,
        .progress = &e->progress,
    };
    struct block_meta made = {0};
    int64_t next_ms = 0;
    for (uint32_t i = 0; i < e->picked_count; i++) {
        const struct block_meta *m = block_meta(e->picked[i]);
        r.min_ms = TSDB_MIN(r.min_ms, m->min_ms);
        r.max_ms = TSDB_MAX(r.max_ms, m->max_ms);
        r.level = TSDB_MAX(r.level, m->level + 1);
    }
    enum tsdb_status status = check_neighbours(e, err);
    if (status == TSDB_OK && !e->t->options.dry_run) {
        status = rewrite_run(&r, &made, &next_ms, err);
        put_row(e, &made, "new");
    }
    return status == TSDB_OK ? remove_picked(e, "merged", err) : status;
}

enum tsdb_status tool_block_merge(struct tool *t, struct tsdb_error *err)
{
    struct edit e;
    enum tsdb_status status = edit_begin(&e, t, err);
    if (status == TSDB_OK) {
        status = merge(&e, err);
    }
    return edit_end(&e, status, err);
}

/* ---- split ---- */
struct parts {
    struct block_meta items[PARTS_MAX];
    uint32_t count;
};

static int64_t window_of(int64_t t_ms, int64_t range_ms)
{
    int64_t r = t_ms % range_ms;
    r = r < 0 ? r + range_ms : r;
    return t_ms < INT64_MIN + r ? INT64_MIN : t_ms - r;
}

static enum tsdb_status write_parts(struct edit *e, struct parts *parts, struct tsdb_error *err)
{
    const struct block_meta *m = block_meta(e->picked[0]);
    int64_t range_ms = e->t->options.block_range, next_ms = m->min_ms;
    enum tsdb_status status = TSDB_OK;
    while (next_ms < INT64_MAX && status == TSDB_OK) {
        int64_t begin_ms = window_of(next_ms, range_ms);
        int64_t end_ms = begin_ms > INT64_MAX - range_ms ? INT64_MAX : begin_ms + range_ms;
        struct rewrite r = {
            .fs = &e->dir.fs,
            .sources = e->picked,
            .count = 1,
            .min_ms = TSDB_MAX(begin_ms, m->min_ms),
            .max_ms = TSDB_MIN(end_ms, m->max_ms),
            .level = m->level,
            .progress = &e->progress,
        };
        if (parts->count == PARTS_MAX) {
            return tsdb_error_set(err, TSDB_LIMIT,
                                  "more than %u windows: take a longer --block-range", PARTS_MAX);
        }
        status = rewrite_run(&r, &parts->items[parts->count], &next_ms, err);
        if (status == TSDB_OK) {
            put_row(e, &parts->items[parts->count++], "new");
        } else if (status == TSDB_NOT_FOUND) {
            status = TSDB_OK; /* a window that its chunks reach over, without a sample */
        }
    }
    return status;
}

static enum tsdb_status split(struct edit *e, struct tsdb_error *err)
{
    const struct block_meta *m = block_meta(e->picked[0]);
    int64_t range_ms = e->t->options.block_range;
    if (m->max_ms - 1 <= INT64_MAX - range_ms &&
        window_of(m->min_ms, range_ms) == window_of(m->max_ms - 1, range_ms)) {
        tool_say("%s lies in one window already", m->ulid);
        return TSDB_OK;
    }
    if (e->t->options.dry_run) {
        return remove_picked(e, "split", err);
    }
    struct parts *parts = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *parts);
    if (!parts) {
        return tsdb_error_nomem(err, "the list of parts");
    }
    enum tsdb_status status = write_parts(e, parts, err);
    for (uint32_t i = 0; i < parts->count && status != TSDB_OK; i++) {
        if (block_remove(&e->dir.fs, BLOCKS_DIR, parts->items[i].ulid, NULL) != TSDB_OK) {
            tool_say("block %s, a part of %s, is left beside it", parts->items[i].ulid, m->ulid);
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, parts, sizeof *parts);
    return status == TSDB_OK ? remove_picked(e, "split", err) : status;
}

enum tsdb_status tool_block_split(struct tool *t, struct tsdb_error *err)
{
    struct edit e;
    enum tsdb_status status = edit_begin(&e, t, err);
    if (status == TSDB_OK) {
        status = split(&e, err);
    }
    return edit_end(&e, status, err);
}

/* ---- delete ---- */
enum tsdb_status tool_block_delete(struct tool *t, struct tsdb_error *err)
{
    struct edit e;
    enum tsdb_status status = edit_begin(&e, t, err);
    if (status == TSDB_OK) {
        status = remove_picked(&e, "deleted", err);
    }
    return edit_end(&e, status, err);
}

/* ---- compact ---- */
/* The engine's own plans, one merge a step, until it has none. */
static enum tsdb_status compact_all(struct edit *e, struct tsdb_error *err)
{
    struct tsdb_options o;
    struct tsdb_stats s;
    struct tsdb *db = NULL;
    tsdb_options_default(&o);
    o.fs = e->dir.fs;
    o.manual_steps = true;
    o.owner_count = 1;
    o.retention_ms = 0;
    o.block_range_ms = e->t->options.block_range;
    enum tsdb_status status = tsdb_open(&o, &db, err);
    if (status != TSDB_OK) {
        return status;
    }
    while (status == TSDB_OK && tsdb_compact_step(db, tsdb_clock_mono_ns(&tsdb_clock_real)) > 0) {
        tool_progress_add(&e->progress, 1);
        status = tool_check(err);
    }
    tsdb_stats_read(db, &s);
    if (status == TSDB_OK && s.compaction_failures > 0) {
        status = tsdb_error_set(err, TSDB_IO, "%" PRIu64 " merges failed", s.compaction_failures);
    }
    enum tsdb_status closed = tsdb_close(db, status == TSDB_OK ? err : NULL);
    return status == TSDB_OK ? closed : status;
}

static bool was_there(const struct block_name *names, uint32_t count, const char *ulid)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(names[i].ulid, ulid) == 0) {
            return true;
        }
    }
    return false;
}

enum tsdb_status tool_block_compact(struct tool *t, struct tsdb_error *err)
{
    struct edit e, after;
    edit_init(&e, t);
    edit_init(&after, t);
    tool_progress_begin(&e.progress, t, "merges", 0);
    enum tsdb_status status = tool_dir_edit(t->args[0], &e.dir, err);
    if (status == TSDB_OK) {
        status = block_dir_list(&e.dir.fs, BLOCKS_DIR, &e.arena, &e.names, &e.count, err);
    }
    datadir_close(&e.dir.data); /* the engine takes the lock itself */
    e.dir.data = (struct datadir){0};
    if (status == TSDB_OK) {
        status = compact_all(&e, err);
    }
    if (status == TSDB_OK) {
        status = edit_begin(&after, t, err);
    }
    for (uint32_t i = 0; i < after.count && status == TSDB_OK; i++) {
        bool old = was_there(e.names, e.count, after.names[i].ulid);
        put_row(&after, block_meta(after.blocks[i]), old ? "kept" : "new");
    }
    status = edit_end(&after, status, err);
    e.count = 0; /* names alone, nothing open */
    tool_progress_end(&e.progress);
    tool_dir_close(&e.dir);
    tool_table_deinit(&e.table);
    tsdb_arena_deinit(&e.arena);
    return status;
}
