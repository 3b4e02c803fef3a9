#include "tools/cmd/rewrite.h"

#include "base/random.h"
#include "tsdb/block/blocks.h"

#define LABELS_BYTES 4096u
#define SERIES_BYTES (1u << 20)

struct cursor {
    const struct block *block;
    struct tombstones *hidden; /* NULL: nothing is */
    uint32_t id, count;        /* the series at hand, how many there are */
    struct tsdb_labels labels;
    struct tsdb_arena arena; /* of the labels */
};
struct work {
    const struct rewrite *r;
    struct cursor cursors[REWRITE_SOURCES_MAX];
    struct tsdb_arena arena; /* of the series at hand */
    struct block_writer *to;
    struct tsdb_time_range range; /* closed */
    int64_t next_ms;
};
struct pieces {
    struct piece *items;
    uint32_t count;
};

static enum tsdb_status cursor_load(struct cursor *c, struct tsdb_error *err)
{
    tsdb_arena_reset(&c->arena);
    return c->id < c->count ? block_labels(c->block, c->id, &c->arena, &c->labels, err) : TSDB_OK;
}

/* The least labels that any cursor stands at; NULL: all are at their end. */
static const struct cursor *least(const struct work *w)
{
    const struct cursor *best = NULL;
    for (uint32_t i = 0; i < w->r->count; i++) {
        const struct cursor *c = &w->cursors[i];
        if (c->id < c->count && (!best || tsdb_labels_compare(&c->labels, &best->labels) < 0)) {
            best = c;
        }
    }
    return best;
}

/* The first sample after the range, of a chunk that reaches into it. */
static void note_next(struct work *w, const struct chunk_samples *s)
{
    for (uint32_t i = s->count; i > 0 && s->t_ms[i - 1] > w->range.max_ms; i--) {
        w->next_ms = TSDB_MIN(w->next_ms, s->t_ms[i - 1]);
    }
}

static enum tsdb_status add_chunks(struct work *w, const struct cursor *c, struct pieces *p,
                                   struct tsdb_error *err)
{
    struct block_chunk *chunks = NULL;
    uint32_t n = 0;
    enum tsdb_status status =
        block_chunks(c->block, c->id, TSDB_TIME_ALL, &w->arena, &chunks, &n, err);
    struct piece *more =
        status == TSDB_OK ? TSDB_ARENA_ARRAY(&w->arena, struct piece, p->count + n + 1u) : NULL;
    if (status == TSDB_OK && !more) {
        return tsdb_error_nomem(err, "the chunks of a series");
    }
    if (more && p->count > 0) {
        memcpy(more, p->items, p->count * sizeof *more);
    }
    p->items = more;
    struct tombstone_cuts cuts = tombstones_find(c->hidden, c->id);
    for (uint32_t i = 0; i < n && status == TSDB_OK; i++) {
        struct chunk_samples samples;
        if (chunks[i].summary.min_ms > w->range.max_ms) {
            w->next_ms = TSDB_MIN(w->next_ms, chunks[i].summary.min_ms);
            break; /* so are those that follow */
        }
        if (chunks[i].summary.max_ms < w->range.min_ms) {
            continue;
        }
        status = block_chunk_read(c->block, &chunks[i], &w->arena, &samples, err);
        if (status == TSDB_OK && tombstone_cuts_apply(&cuts, &w->arena, &samples) != TSDB_OK) {
            status = tsdb_error_nomem(err, "the chunks of a series");
        }
        if (status == TSDB_OK && samples.count > 0) {
            p->items[p->count++] = piece_of_chunk(&samples);
            note_next(w, &samples);
        }
    }
    return status == TSDB_OK
               ? status
               : tsdb_error_prefix(err, status, "block %s", block_meta(c->block)->ulid);
}

static enum tsdb_status write_series(struct work *w, const struct tsdb_labels *labels,
                                     const struct pieces *p, struct tsdb_error *err)
{
    struct piece_columns c = {0};
    enum tsdb_status status = pieces_merge(p->items, p->count, w->range, &w->arena, &c, err);
    if (status != TSDB_OK || c.count == 0) {
        return status;
    }
    tool_progress_add(w->r->progress, c.count);
    status = block_writer_series(w->to, labels, err);
    return status == TSDB_OK ? block_writer_pieces(w->to, &c, err) : status;
}

/* One series, of every source that has it. */
static enum tsdb_status merge_series(struct work *w, const struct cursor *first,
                                     struct tsdb_error *err)
{
    struct pieces p = {0};
    bool at[REWRITE_SOURCES_MAX] = {false};
    enum tsdb_status status = tool_check(err);
    tsdb_arena_reset(&w->arena);
    for (uint32_t i = 0; status == TSDB_OK && i < w->r->count; i++) {
        const struct cursor *c = &w->cursors[i];
        at[i] = c->id < c->count && tsdb_labels_compare(&c->labels, &first->labels) == 0;
        if (at[i]) {
            status = add_chunks(w, c, &p, err);
        }
    }
    if (status == TSDB_OK && p.count > 0) {
        status = write_series(w, &first->labels, &p, err);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < w->r->count; i++) {
        if (at[i]) {
            w->cursors[i].id++;
            status = cursor_load(&w->cursors[i], err);
        }
    }
    return status;
}

static enum tsdb_status merge_all(struct work *w, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < w->r->count; i++) {
        struct cursor *c = &w->cursors[i];
        c->block = w->r->sources[i];
        c->count = (uint32_t)block_meta(c->block)->series;
        tsdb_arena_init(&c->arena, TSDB_MEM_OTHER, LABELS_BYTES, NULL);
        if (status == TSDB_OK) {
            status = tombstones_load(w->r->fs, BLOCKS_DIR, block_meta(c->block)->ulid, c->count,
                                     &c->hidden, err);
        }
        status = status == TSDB_OK ? cursor_load(c, err) : status;
    }
    /* A cursor that failed to load has no labels to compare: look no further then. */
    while (status == TSDB_OK) {
        const struct cursor *c = least(w);
        if (!c) {
            break;
        }
        status = merge_series(w, c, err);
    }
    for (uint32_t i = 0; i < w->r->count; i++) {
        tombstones_free(w->cursors[i].hidden);
        tsdb_arena_deinit(&w->cursors[i].arena);
    }
    return status;
}

static enum tsdb_status run(struct work *w, struct block_meta *out, struct tsdb_error *err)
{
    const struct rewrite *r = w->r;
    struct block_writer_options o = {
        .fs = r->fs,
        .dir = BLOCKS_DIR,
        .wall_ms = (uint64_t)tsdb_clock_wall_ms(&tsdb_clock_real),
        .level = r->level,
        .sequence = block_meta(r->sources[0])->sequence,
    };
    tsdb_random_fill(&tsdb_random_system, o.random, sizeof o.random);
    enum tsdb_status status = block_writer_open(&o, &w->to, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_init(&w->arena, TSDB_MEM_OTHER, SERIES_BYTES, NULL);
    status = merge_all(w, err);
    tsdb_arena_deinit(&w->arena);
    if (status != TSDB_OK) {
        block_writer_abort(w->to);
        return status;
    }
    return block_writer_finish(w->to, r->min_ms, r->max_ms, out, err);
}

enum tsdb_status rewrite_run(const struct rewrite *r, struct block_meta *out, int64_t *out_next_ms,
                             struct tsdb_error *err)
{
    struct work *w = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "a merge");
    }
    w->r = r;
    w->next_ms = INT64_MAX;
    w->range =
        (struct tsdb_time_range){r->min_ms, r->max_ms == INT64_MAX ? INT64_MAX : r->max_ms - 1};
    enum tsdb_status status = run(w, out, err);
    if (status == TSDB_OK || status == TSDB_NOT_FOUND) {
        *out_next_ms = w->next_ms;
    }
    tsdb_mem_free(TSDB_MEM_OTHER, w, sizeof *w);
    return status;
}
