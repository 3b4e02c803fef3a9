#include "tools/cmd/walk.h"

#include "index/match/matcher.h"
#include "tsdb/chunk/pieces.h"

#include <stdatomic.h>
#include <stdlib.h>

#define ARENA_BYTES (1u << 20)

/* ---- a database ---- */
static int by_labels(const void *a, const void *b)
{
    const struct tool_walk_series *x = a, *y = b;
    return tsdb_labels_compare(&x->labels, &y->labels);
}

static enum tsdb_status list(struct tool_walk *w, const struct tsdb_selector *selector,
                             struct tsdb_error *err)
{
    struct tsdb_series_set set = {0};
    enum tsdb_status status =
        tsdb_select(w->querier, selector->matchers, selector->count, &set, err);
    if (status != TSDB_OK || set.count == 0) {
        return status;
    }
    w->items = TSDB_ARENA_ARRAY(&w->arena, struct tool_walk_series, set.count);
    if (!w->items) {
        return tsdb_error_nomem(err, "the list of series");
    }
    for (uint32_t i = 0; i < set.count && status == TSDB_OK; i++) {
        w->items[i].ref = set.refs[i];
        status = tsdb_series_labels(w->querier, set.refs[i], &w->arena, &w->items[i].labels, err);
    }
    if (status == TSDB_OK) {
        w->count = set.count;
        qsort(w->items, w->count, sizeof *w->items, by_labels);
    }
    return status;
}

enum tsdb_status tool_walk_init(struct tool_walk *w, struct tsdb *db,
                                const struct tsdb_selector *selector, struct tsdb_time_range range,
                                struct tsdb_error *err)
{
    *w = (struct tool_walk){.db = db};
    tsdb_arena_init(&w->arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    tsdb_arena_init(&w->series, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    enum tsdb_status status = tsdb_querier_open(db, NULL, range, &w->querier, err);
    return status == TSDB_OK ? list(w, selector, err) : status;
}

void tool_walk_deinit(struct tool_walk *w)
{
    if (w->db) {
        tsdb_querier_close(w->querier);
        tsdb_arena_deinit(&w->series);
        tsdb_arena_deinit(&w->arena);
    }
    *w = (struct tool_walk){0};
}

enum tsdb_status tool_walk_read(struct tool_walk *w, uint32_t i, struct tsdb_time_range range,
                                struct tsdb_columns *out, struct tsdb_error *err)
{
    tsdb_arena_reset(&w->series);
    enum tsdb_status status = tool_check(err);
    if (w->cancel && atomic_load_explicit(w->cancel, memory_order_relaxed) != 0) {
        status = tsdb_error_set(err, TSDB_CANCELLED, "cancelled");
    }
    return status == TSDB_OK
               ? tsdb_series_read(w->querier, w->items[i].ref, range, &w->series, out, err)
               : status;
}

enum tsdb_status tool_walk_all(struct tool_walk *w, struct tsdb_time_range range, tool_series_fn fn,
                               void *arg, struct tool_progress *progress, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < w->count && status == TSDB_OK; i++) {
        struct tsdb_columns c = {0};
        status = tool_walk_read(w, i, range, &c, err);
        if (status == TSDB_OK && c.count > 0) {
            status = fn(arg, &w->items[i].labels, &c, err);
        }
        if (progress) {
            tool_progress_add(progress, c.count);
        }
    }
    return status;
}

/* ---- a block ---- */
struct block_walk {
    const struct block *block;
    const struct tombstones *tombstones; /* NULL: none */
    struct tsdb_time_range range;
    tool_series_fn fn;
    void *arg;
    struct tool_progress *progress;
    struct tsdb_arena arena; /* of one series */
};

static enum tsdb_status block_series(struct block_walk *w, uint32_t id, struct tsdb_error *err)
{
    struct tsdb_labels labels;
    struct block_chunk *chunks = NULL;
    uint32_t count = 0;
    enum tsdb_status status = block_labels(w->block, id, &w->arena, &labels, err);
    if (status == TSDB_OK) {
        status = block_chunks(w->block, id, w->range, &w->arena, &chunks, &count, err);
    }
    if (status != TSDB_OK || count == 0) {
        return status;
    }
    struct piece *pieces = TSDB_ARENA_ARRAY(&w->arena, struct piece, count);
    if (!pieces) {
        return tsdb_error_nomem(err, "the chunks of a series");
    }
    struct tombstone_cuts cuts = tombstones_find(w->tombstones, id);
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct chunk_samples samples;
        status = block_chunk_read(w->block, &chunks[i], &w->arena, &samples, err);
        if (status == TSDB_OK && tombstone_cuts_apply(&cuts, &w->arena, &samples) != TSDB_OK) {
            status = tsdb_error_nomem(err, "the chunks of a series");
        }
        if (status == TSDB_OK && samples.count > 0) {
            pieces[n++] = piece_of_chunk(&samples);
        }
    }
    struct piece_columns merged = {0};
    struct tsdb_columns columns = {0};
    if (status == TSDB_OK) {
        status = pieces_merge(pieces, n, w->range, &w->arena, &merged, err);
    }
    if (status == TSDB_OK) {
        status = pieces_decode(&merged, &w->arena, &columns, err);
    }
    if (status == TSDB_OK && columns.count > 0) {
        status = w->fn(w->arg, &labels, &columns, err);
    }
    if (w->progress) {
        tool_progress_add(w->progress, columns.count);
    }
    return status;
}

static enum tsdb_status block_all(struct block_walk *w, const uint32_t *ids, uint32_t count,
                                  struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        status = tool_check(err);
        if (status == TSDB_OK) {
            status = block_series(w, ids[i], err);
        }
        tsdb_arena_reset(&w->arena);
    }
    return status;
}

static void matchers_destroy(struct index_matcher **items, uint32_t count)
{
    for (uint32_t i = 0; items && i < count; i++) {
        index_matcher_destroy(items[i]);
    }
}

enum tsdb_status tool_walk_block(const struct block *b, const struct tombstones *tombstones,
                                 const struct tsdb_selector *selector, struct tsdb_time_range range,
                                 tool_series_fn fn, void *arg, struct tool_progress *progress,
                                 struct tsdb_error *err)
{
    struct block_walk w = {b, tombstones, range, fn, arg, progress, {0}};
    struct tsdb_arena list;
    tsdb_arena_init(&w.arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    tsdb_arena_init(&list, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    enum tsdb_status status = TSDB_OK;
    uint32_t *ids = NULL, count = 0, compiled = 0;
    struct index_matcher **matchers =
        TSDB_ARENA_ARRAY(&list, struct index_matcher *, selector->count);
    if (!matchers) {
        status = tsdb_error_nomem(err, "matchers");
    }
    while (status == TSDB_OK && compiled < selector->count) {
        status = index_matcher_compile(&selector->matchers[compiled], &matchers[compiled], err);
        compiled += status == TSDB_OK;
    }
    if (status == TSDB_OK) {
        status = block_select(b, (const struct index_matcher *const *)matchers, compiled, NULL,
                              &list, &ids, &count, err);
    }
    if (status == TSDB_OK) {
        status = block_all(&w, ids, count, err);
    }
    matchers_destroy(matchers, compiled);
    tsdb_arena_deinit(&list);
    tsdb_arena_deinit(&w.arena);
    return status;
}
