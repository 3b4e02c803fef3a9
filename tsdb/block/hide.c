#include "tsdb/block/hide.h"

#include "base/assert.h"

#include <string.h>

#define CATEGORY    TSDB_MEM_OTHER
#define ARENA_BYTES 65536u
#define CHECK_EVERY 256u /* series between two looks at the cancel flag */

struct change {
    struct live_block *block;
    struct tombstones *made; /* ours until they are published */
    struct hide_result hidden;
};
struct run {
    struct blocks *blocks;
    const struct hide_request *request;
    struct change *changes;
    size_t change_cap;
    uint32_t change_count;
    uint32_t of_view;         /* so many of them are of the current view */
    struct tsdb_arena ids;    /* of the block at hand */
    struct tsdb_arena chunks; /* of the series at hand */
};

static enum tsdb_status no_memory(struct tsdb_error *err)
{
    return tsdb_error_nomem(err, "a delete");
}

/* ---- 1. counting ---- */

/* Samples of the chunk that the delete hides and `old` does not. */
static enum tsdb_status count_decoded(struct run *r, const struct change *c,
                                      const struct block_chunk *chunk,
                                      const struct tombstone_cuts *old, uint64_t *out,
                                      struct tsdb_error *err)
{
    struct chunk_samples samples;
    const struct tsdb_time_range *range = &r->request->range;
    enum tsdb_status status = block_chunk_read(c->block->block, chunk, &r->chunks, &samples, err);
    for (uint32_t i = 0; status == TSDB_OK && i < samples.count; i++) {
        int64_t t = samples.t_ms[i];
        *out += range->min_ms <= t && t <= range->max_ms && !tombstone_cuts_cover(old, t, t);
    }
    return status;
}

static enum tsdb_status count_series(struct run *r, struct change *c, uint32_t id,
                                     uint64_t *out_samples, struct tsdb_error *err)
{
    const struct tsdb_time_range *range = &r->request->range;
    struct tombstone_cuts old = tombstones_find(c->made, id);
    struct block_chunk *chunks = NULL;
    uint32_t n = 0;
    uint64_t samples = 0;
    tsdb_arena_reset(&r->chunks);
    enum tsdb_status status =
        block_chunks(c->block->block, id, *range, &r->chunks, &chunks, &n, err);
    n = status == TSDB_OK ? block_chunks_visible(&old, chunks, n) : 0;
    for (uint32_t i = 0; status == TSDB_OK && i < n; i++) {
        const struct chunk_summary *s = &chunks[i].summary;
        bool whole = range->min_ms <= s->min_ms && s->max_ms <= range->max_ms;
        if (whole && !tombstone_cuts_touch(&old, s->min_ms, s->max_ms)) {
            samples += s->count;
        } else {
            status = count_decoded(r, c, &chunks[i], &old, &samples, err);
        }
        c->hidden.bytes += whole ? chunks[i].len : 0;
    }
    c->hidden.series += samples > 0;
    c->hidden.samples += samples;
    *out_samples = samples;
    return status;
}

/* Of the ids those with samples to hide, moved to the front. */
static enum tsdb_status count_all(struct run *r, struct change *c, uint32_t *ids, uint32_t *count,
                                  struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint32_t n = 0;
    for (uint32_t i = 0; status == TSDB_OK && i < *count; i++) {
        uint64_t samples = 0;
        const _Atomic(uint32_t) *cancel = r->request->cancel;
        if (i % CHECK_EVERY == 0 && cancel &&
            atomic_load_explicit(cancel, memory_order_relaxed) != 0) {
            return tsdb_error_set(err, TSDB_CANCELLED, "delete: cancelled");
        }
        status = count_series(r, c, ids[i], &samples, err);
        if (samples > 0) {
            ids[n++] = ids[i];
        }
    }
    *count = n;
    return status;
}

static enum tsdb_status select_and_add(struct run *r, struct change *c,
                                       const struct hide_selector *s, struct tsdb_error *err)
{
    uint32_t *ids = NULL;
    uint32_t count = 0;
    tsdb_arena_reset(&r->ids);
    enum tsdb_status status =
        block_select(c->block->block, s->matchers, s->count, NULL, &r->ids, &ids, &count, err);
    if (status == TSDB_OK) {
        status = count_all(r, c, ids, &count, err);
    }
    if (status != TSDB_OK || count == 0) {
        return status;
    }
    struct tombstones *more = NULL;
    status = tombstones_add(c->made, ids, count, r->request->range, &more, err);
    if (status == TSDB_OK) {
        tombstones_free(c->made);
        c->made = more;
    }
    return status;
}

/* Tombstones for one block; none if it has nothing of it. */
static enum tsdb_status change_make(struct run *r, struct live_block *block, struct tsdb_error *err)
{
    struct change *c = &r->changes[r->change_count];
    const struct tombstones *old = live_block_tombstones(block, UINT64_MAX);
    *c = (struct change){.block = block};
    enum tsdb_status status = TSDB_OK;
    if (old) { /* a copy of our own to build upon */
        status = tombstones_add(old, NULL, 0, r->request->range, &c->made, err);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < r->request->count; i++) {
        status = select_and_add(r, c, &r->request->any[i], err);
    }
    if (status != TSDB_OK || c->hidden.samples == 0) {
        tombstones_free(c->made);
        return status == TSDB_OK
                   ? TSDB_OK
                   : tsdb_error_prefix(err, status, "block %s", block_meta(block->block)->ulid);
    }
    c->hidden.blocks = 1;
    c->made->samples += c->hidden.samples;
    c->made->bytes += c->hidden.bytes;
    r->change_count++;
    return TSDB_OK;
}

static bool is_wanted(const struct run *r, struct live_block *b)
{
    const struct hide_request *q = r->request;
    return blocks_overlaps(b, q->range) && (!q->wanted || q->wanted(q->arg, b));
}

/* Tombstones for each block of the view, and for those that readers of older views hold: a start would
 * read them again if the process died before their files are gone. */
static enum tsdb_status changes_make(struct run *r, const struct view *v, struct tsdb_error *err)
{
    const uint32_t doomed = view_doomed(&r->blocks->views, NULL, 0);
    const size_t old_bytes = (doomed + (size_t)1) * sizeof(struct live_block *);
    size_t cap = (size_t)v->block_count + doomed + 1;
    r->changes = tsdb_mem_alloc_zero(CATEGORY, cap * sizeof *r->changes);
    r->change_cap = r->changes ? cap : 0;
    struct live_block **old = tsdb_mem_alloc(CATEGORY, old_bytes);
    enum tsdb_status status = r->changes && old ? TSDB_OK : no_memory(err);
    for (uint32_t i = 0; status == TSDB_OK && i < v->block_count; i++) {
        if (is_wanted(r, v->blocks[i])) {
            status = change_make(r, v->blocks[i], err);
        }
    }
    r->of_view = r->change_count;
    /* Nobody collects meanwhile, so there are no more of them than before. */
    uint32_t n = status == TSDB_OK ? view_doomed(&r->blocks->views, old, doomed) : 0;
    TSDB_ASSERT(n <= doomed);
    for (uint32_t i = 0; status == TSDB_OK && i < n; i++) {
        if (is_wanted(r, old[i])) {
            status = change_make(r, old[i], err);
        }
    }
    tsdb_mem_free(CATEGORY, old, old_bytes);
    return status;
}

/* ---- 2. and 3. ---- */

/* What could not be written is forgotten, with all behind it. */
static enum tsdb_status changes_store(struct run *r, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < r->change_count; i++) {
        const struct block_meta *m = block_meta(r->changes[i].block->block);
        enum tsdb_status status = tombstones_store(r->blocks->fs, BLOCKS_DIR, m->ulid,
                                                   (uint32_t)m->series, r->changes[i].made, err);
        if (status != TSDB_OK) {
            for (uint32_t k = i; k < r->change_count; k++) {
                tombstones_free(r->changes[k].made);
            }
            r->change_count = i;
            return tsdb_error_prefix(err, status, "block %s", m->ulid);
        }
    }
    return TSDB_OK;
}

static void changes_show(void *arg, uint64_t view_number)
{
    struct run *r = arg;
    for (uint32_t i = 0; i < r->change_count; i++) {
        r->changes[i].made->from_view = view_number;
        live_block_hide(r->changes[i].block, r->changes[i].made);
        r->changes[i].made = NULL;
    }
}

static enum tsdb_status changes_publish(struct run *r, struct tsdb_error *err)
{
    uint32_t n = 0;
    struct live_block **gone = tsdb_mem_alloc(CATEGORY, r->change_count * sizeof(void *));
    if (!gone) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < TSDB_MIN(r->of_view, r->change_count); i++) {
        struct change *c = &r->changes[i];
        if (c->made->samples >= block_meta(c->block->block)->samples) {
            gone[n++] = c->block;
        }
    }
    enum tsdb_status status = blocks_publish(r->blocks, NULL, 0, gone, n, changes_show, r, err);
    tsdb_mem_free(CATEGORY, gone, r->change_count * sizeof(void *));
    return status;
}

static enum tsdb_status run_steps(struct run *r, const struct view *v, struct hide_result *out,
                                  struct tsdb_error *err)
{
    enum tsdb_status status = blocks_leftovers_remove(r->blocks, err);
    status = status == TSDB_OK ? changes_make(r, v, err) : status;
    if (status != TSDB_OK || r->change_count == 0) {
        return status;
    }
    status = changes_store(r, err);
    for (uint32_t i = 0; i < TSDB_MIN(r->of_view, r->change_count); i++) {
        const struct hide_result *h = &r->changes[i].hidden;
        out->blocks += h->blocks;
        out->series += h->series;
        out->samples += h->samples;
        out->bytes += h->bytes;
    }
    if (r->change_count > 0) {
        struct tsdb_error other = {0};
        enum tsdb_status shown = changes_publish(r, status == TSDB_OK ? err : &other);
        status = status == TSDB_OK ? shown : status;
    }
    return status;
}

enum tsdb_status blocks_hide(struct blocks *b, const struct hide_request *r,
                             struct hide_result *out, struct tsdb_error *err)
{
    struct run run = {.blocks = b, .request = r};
    *out = (struct hide_result){0};
    if (r->range.max_ms < r->range.min_ms) {
        return TSDB_OK;
    }
    tsdb_arena_init(&run.ids, CATEGORY, ARENA_BYTES, NULL);
    tsdb_arena_init(&run.chunks, CATEGORY, ARENA_BYTES, NULL);
    struct view *v = view_acquire(&b->views);
    enum tsdb_status status = run_steps(&run, v, out, err);
    for (uint32_t i = 0; i < run.change_count; i++) {
        tombstones_free(run.changes[i].made);
    }
    tsdb_mem_free(CATEGORY, run.changes, run.change_cap * sizeof *run.changes);
    view_release(&b->views, v);
    tsdb_arena_deinit(&run.chunks);
    tsdb_arena_deinit(&run.ids);
    return status;
}
