/* block ls, inspect, verify, dump */
#include "tools/cmd/commands.h"
#include "tools/cmd/emit.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tools/cmd/walk.h"
#include "tsdb/block/blocks.h"
#include "tsdb/block/ulid.h"

/* What every command on blocks has: a directory and its blocks, or the one that is named. */
struct blocks_of {
    struct tool *t;
    struct tool_dir dir;
    struct cache_l2 *cache;
    struct tsdb_arena arena;
    struct block_name *names;
    uint32_t count;
};

static enum tsdb_status pick(struct blocks_of *o, const char *ulid, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < o->count; i++) {
        if (strcmp(o->names[i].ulid, ulid) == 0) {
            o->names += i;
            o->count = 1;
            return TSDB_OK;
        }
    }
    return tsdb_error_set(err, TSDB_NOT_FOUND, "%s has no block %s", o->dir.path, ulid);
}

static enum tsdb_status blocks_begin(struct blocks_of *o, struct tool *t, struct tsdb_error *err)
{
    *o = (struct blocks_of){.t = t};
    tsdb_arena_init(&o->arena, TSDB_MEM_OTHER, 65536, NULL);
    enum tsdb_status status = tool_dir_read(t->args[0], &o->dir, err);
    if (status == TSDB_OK) {
        status = cache_l2_create(16u << 20, &o->cache, err);
    }
    if (status == TSDB_OK) {
        status = tool_blocks_list(&o->dir, &o->arena, &o->names, &o->count, err);
    }
    if (status == TSDB_OK && t->arg_count > 1) {
        status = pick(o, t->args[1], err);
    }
    return status;
}

static void blocks_end(struct blocks_of *o)
{
    cache_l2_destroy(o->cache);
    tool_dir_close(&o->dir);
    tsdb_arena_deinit(&o->arena);
}

static enum tsdb_status open_one(struct blocks_of *o, uint32_t i, struct block **out,
                                 struct tsdb_error *err)
{
    enum tsdb_status status = tool_check(err);
    return status == TSDB_OK
               ? block_open(&o->dir.fs, BLOCKS_DIR, o->names[i].ulid, o->cache, out, err)
               : status;
}

/* Is this a finding about one block, rather than a reason to stop? */
static bool is_finding(enum tsdb_status status)
{
    return status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED || status == TSDB_NOT_FOUND ||
           status == TSDB_IO;
}

/* A block that a live server has merged or dropped since it was listed. */
static bool is_gone(const struct blocks_of *o, enum tsdb_status status)
{
    return o->dir.live && status == TSDB_NOT_FOUND;
}

/* ---- ls ---- */
static const struct tool_column ls_columns[] = {
    {"ulid", TOOL_CELL_TEXT},        {"from", TOOL_CELL_TIME},    {"to", TOOL_CELL_TIME},
    {"level", TOOL_CELL_COUNT},      {"series", TOOL_CELL_COUNT}, {"samples", TOOL_CELL_COUNT},
    {"histograms", TOOL_CELL_COUNT}, {"chunks", TOOL_CELL_COUNT}, {"bytes", TOOL_CELL_BYTES},
    {"state", TOOL_CELL_TEXT},
};

static void ls_row(struct tool_table *table, const char *ulid, const struct block_meta *m,
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

enum tsdb_status tool_block_ls(struct tool *t, struct tsdb_error *err)
{
    struct blocks_of o;
    struct tool_table table;
    tool_table_init(&table, ls_columns, TSDB_ARRAY_LEN(ls_columns));
    enum tsdb_status status = blocks_begin(&o, t, err);
    for (uint32_t i = 0; status == TSDB_OK && i < o.count; i++) {
        struct block *b = NULL;
        status = open_one(&o, i, &b, err);
        if (status == TSDB_OK) {
            ls_row(&table, o.names[i].ulid, block_meta(b), "ok");
            block_close(b);
        } else if (is_gone(&o, status)) {
            status = TSDB_OK;
        } else if (is_finding(status)) { /* one that does not open is a row as well */
            struct block_meta none = {.min_ms = INT64_MIN, .max_ms = INT64_MAX};
            ls_row(&table, o.names[i].ulid, &none, err->msg);
            t->damaged = true;
            status = TSDB_OK;
        }
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&table, t, err);
    }
    tool_table_deinit(&table);
    blocks_end(&o);
    return status;
}

/* ---- inspect ---- */
struct block_figures {
    uint64_t kind_chunks[3], kind_bytes[3], stale;
    uint64_t chunks, chunk_bytes, samples_most, samples_least;
    uint64_t series_chunks_most;
};

static enum tsdb_status measure(const struct block *b, struct block_figures *f,
                                struct tsdb_error *err)
{
    struct tsdb_arena arena, one;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    tsdb_arena_init(&one, TSDB_MEM_OTHER, 65536, NULL);
    uint32_t *ids = NULL, count = 0;
    enum tsdb_status status = block_select(b, NULL, 0, NULL, &arena, &ids, &count, err);
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct block_chunk *chunks = NULL;
        uint32_t n = 0;
        status = block_chunks(b, ids[i], TSDB_TIME_ALL, &one, &chunks, &n, err);
        for (uint32_t k = 0; k < n && status == TSDB_OK; k++) {
            const struct block_chunk *c = &chunks[k];
            f->kind_chunks[c->kind]++;
            f->kind_bytes[c->kind] += c->len;
            f->stale += c->summary.stale;
            f->chunk_bytes += c->len;
            f->samples_most = TSDB_MAX(f->samples_most, c->summary.count);
            f->samples_least =
                f->chunks > 0 ? TSDB_MIN(f->samples_least, c->summary.count) : c->summary.count;
            f->chunks++;
        }
        f->series_chunks_most = TSDB_MAX(f->series_chunks_most, n);
        tsdb_arena_reset(&one);
        if (status == TSDB_OK) {
            status = tool_check(err);
        }
    }
    tsdb_arena_deinit(&one);
    tsdb_arena_deinit(&arena);
    return status;
}

static const struct tool_column inspect_columns[] = {
    {"ulid", TOOL_CELL_TEXT},
    {"created", TOOL_CELL_TIME},
    {"from", TOOL_CELL_TIME},
    {"to", TOOL_CELL_TIME},
    {"level", TOOL_CELL_COUNT},
    {"sequence", TOOL_CELL_COUNT},
    {"series", TOOL_CELL_COUNT},
    {"samples", TOOL_CELL_COUNT},
    {"stale_markers", TOOL_CELL_COUNT},
    {"chunks", TOOL_CELL_COUNT},
    {"chunks_by_kind", TOOL_CELL_TEXT},
    {"chunk_bytes", TOOL_CELL_BYTES},
    {"samples_per_chunk", TOOL_CELL_TEXT},
    {"most_chunks_of_a_series", TOOL_CELL_COUNT},
    {"bytes", TOOL_CELL_BYTES},
    {"bytes_per_sample", TOOL_CELL_TEXT},
};

static void inspect_put(struct tool_table *table, const struct block_meta *m,
                        const struct block_figures *f)
{
    char text[128];
    tool_table_str(table, m->ulid);
    tool_table_number(table, (int64_t)ulid_time_ms(m->ulid));
    tool_table_number(table, m->min_ms);
    tool_table_number(table, m->max_ms);
    tool_table_number(table, m->level);
    tool_table_number(table, (int64_t)m->sequence);
    tool_table_number(table, (int64_t)m->series);
    tool_table_number(table, (int64_t)m->samples);
    tool_table_number(table, (int64_t)f->stale);
    tool_table_number(table, (int64_t)f->chunks);
    snprintf(text, sizeof text, "%llu float, %llu histogram, %llu float histogram",
             (unsigned long long)f->kind_chunks[0], (unsigned long long)f->kind_chunks[1],
             (unsigned long long)f->kind_chunks[2]);
    tool_table_str(table, text);
    tool_table_number(table, (int64_t)f->chunk_bytes);
    snprintf(text, sizeof text, "%llu to %llu", (unsigned long long)f->samples_least,
             (unsigned long long)f->samples_most);
    tool_table_str(table, text);
    tool_table_number(table, (int64_t)f->series_chunks_most);
    tool_table_number(table, (int64_t)m->bytes);
    snprintf(text, sizeof text, "%.3f", (double)m->bytes / (double)TSDB_MAX(m->samples, 1));
    tool_table_str(table, text);
}

enum tsdb_status tool_block_inspect(struct tool *t, struct tsdb_error *err)
{
    struct blocks_of o;
    struct tool_table table;
    struct block *b = NULL;
    struct block_figures f = {.chunks = 0};
    tool_table_init(&table, inspect_columns, TSDB_ARRAY_LEN(inspect_columns));
    enum tsdb_status status = blocks_begin(&o, t, err);
    if (status == TSDB_OK) {
        status = open_one(&o, 0, &b, err);
    }
    if (status == TSDB_OK) {
        status = measure(b, &f, err);
    }
    if (status == TSDB_OK) {
        inspect_put(&table, block_meta(b), &f);
        status = tool_table_print_record(&table, t, err);
    }
    block_close(b);
    tool_table_deinit(&table);
    blocks_end(&o);
    return status;
}

/* ---- verify ---- */
static const struct tool_column verify_columns[] = {
    {"ulid", TOOL_CELL_TEXT},
    {"state", TOOL_CELL_TEXT},
    {"detail", TOOL_CELL_TEXT},
};

enum tsdb_status tool_block_verify(struct tool *t, struct tsdb_error *err)
{
    struct blocks_of o;
    struct tool_table table;
    tool_table_init(&table, verify_columns, TSDB_ARRAY_LEN(verify_columns));
    enum tsdb_status status = blocks_begin(&o, t, err);
    for (uint32_t i = 0; status == TSDB_OK && i < o.count; i++) {
        struct block *b = NULL;
        status = open_one(&o, i, &b, err);
        if (status == TSDB_OK) {
            status = block_verify(b, err);
            block_close(b);
        }
        if (is_gone(&o, status)) {
            status = TSDB_OK;
        } else if (status == TSDB_OK || is_finding(status)) {
            tool_table_str(&table, o.names[i].ulid);
            tool_table_str(&table, status == TSDB_OK ? "ok" : "damaged");
            tool_table_str(&table, status == TSDB_OK ? "" : err->msg);
            t->damaged = t->damaged || status != TSDB_OK;
            status = TSDB_OK;
        }
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&table, t, err);
    }
    tool_table_deinit(&table);
    blocks_end(&o);
    return status;
}

/* ---- dump ---- */
static enum tsdb_status emit(void *arg, const struct tsdb_labels *labels,
                             const struct tsdb_columns *columns, struct tsdb_error *err)
{
    return tool_emit_series(arg, labels, columns, err);
}

/* Everything: the blocks and the head, as one. */
static enum tsdb_status dump_all(struct blocks_of *o, const struct tsdb_selector *selector,
                                 struct tsdb_time_range range, struct tool_emit *e,
                                 struct tool_progress *p, struct tsdb_error *err)
{
    struct tool_walk w = {0};
    enum tsdb_status status = tool_db_open(&o->dir, err);
    if (status == TSDB_OK) {
        status = tool_walk_init(&w, o->dir.db, selector, range, err);
    }
    if (status == TSDB_OK) {
        status = tool_walk_all(&w, range, emit, e, p, err);
    }
    tool_walk_deinit(&w);
    return status;
}

static enum tsdb_status dump_one(struct blocks_of *o, const struct tsdb_selector *selector,
                                 struct tsdb_time_range range, struct tool_emit *e,
                                 struct tool_progress *p, struct tsdb_error *err)
{
    struct block *b = NULL;
    struct tombstones *hidden = NULL;
    enum tsdb_status status = open_one(o, 0, &b, err);
    if (status == TSDB_OK) {
        const struct block_meta *m = block_meta(b);
        status =
            tombstones_load(&o->dir.fs, BLOCKS_DIR, m->ulid, (uint32_t)m->series, &hidden, err);
    }
    if (status == TSDB_OK) {
        status = tool_walk_block(b, hidden, selector, range, emit, e, p, err);
    }
    tombstones_free(hidden);
    block_close(b);
    return status;
}

enum tsdb_status tool_block_dump(struct tool *t, struct tsdb_error *err)
{
    struct blocks_of o;
    struct tool_emit e = {0};
    struct tsdb_selector selector;
    struct tool_progress progress;
    struct tsdb_time_range range = {t->options.start, t->options.end};
    enum tsdb_status status = blocks_begin(&o, t, err);
    if (status == TSDB_OK) {
        status = tool_selector(t, &o.arena, &selector, err);
    }
    if (status == TSDB_OK) {
        status = tool_emit_begin(&e, t, err);
    }
    if (status == TSDB_OK && range.min_ms <= range.max_ms) {
        tool_progress_begin(&progress, t, "samples", 0);
        status = t->arg_count > 1 ? dump_one(&o, &selector, range, &e, &progress, err)
                                  : dump_all(&o, &selector, range, &e, &progress, err);
        tool_progress_end(&progress);
    }
    if (status == TSDB_OK) {
        status = tool_emit_end(&e, err);
    }
    tool_emit_deinit(&e);
    blocks_end(&o);
    return status;
}
