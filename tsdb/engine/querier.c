/* A querier's life, and one series: its labels, its samples from blocks and head. */
#include "tsdb/engine/querier_private.h"

#include "base/assert.h"

#include <string.h>

#define QUERIER_ARENA_BYTES 4096u
#define SCRATCH_ARENA_BYTES 16384u
#define CHECK_EVERY         128u /* series between two looks at the clock */
#define WALK_FAR            8u   /* series that are fetched ahead, in two steps */
#define WALK_NEAR           4u

struct tsdb_account *querier_account(struct tsdb_request *r)
{
    return r ? &r->account : NULL;
}

enum tsdb_status querier_exhausted(const struct tsdb_arena *arena, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_arena_status(arena);
    return tsdb_error_set(err, status, "%s",
                          status == TSDB_LIMIT ? "over the memory limit of the query"
                                               : "no memory for the query");
}

enum tsdb_status querier_check(const struct tsdb_querier *q, uint32_t turn, struct tsdb_error *err)
{
    if (!q->request || turn % CHECK_EVERY != 0) {
        return TSDB_OK;
    }
    enum tsdb_status status = tsdb_request_check(q->request);
    return status == TSDB_OK
               ? TSDB_OK
               : tsdb_error_set(err, status, "query stopped: %s", tsdb_status_name(status));
}

/* ---- life ---- */

enum tsdb_status tsdb_querier_open(struct tsdb *db, struct tsdb_request *request,
                                   struct tsdb_time_range range, struct tsdb_querier **out,
                                   struct tsdb_error *err)
{
    /* Acquire: partner is recovery's release; the series that it made are there. */
    switch ((enum tsdb_state)atomic_load_explicit(&db->state, memory_order_acquire)) {
    case TSDB_STATE_READY:
    case TSDB_STATE_RETRYING:
    case TSDB_STATE_OUT_OF_SPACE:
    case TSDB_STATE_READ_ONLY:
        break;
    case TSDB_STATE_RECOVERING:
        return tsdb_error_set(err, TSDB_BUSY, "recovering, try again later");
    case TSDB_STATE_FAILED:
        return tsdb_error_set(err, TSDB_BUSY, "recovery failed");
    case TSDB_STATE_CLOSING:
    case TSDB_STATE_COUNT:
        return tsdb_error_set(err, TSDB_BUSY, "shutting down");
    }
    struct tsdb_querier *q = tsdb_mem_alloc(TSDB_MEM_QUERY, sizeof *q);
    if (!q) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory for a querier");
    }
    q->db = db;
    q->request = request;
    q->range = range;
    q->regexes = (struct index_regexes){request, NULL};
    q->view = view_acquire(&db->blocks.views);
    memset(q->indexes, 0, sizeof q->indexes);
    q->walk = (struct querier_walk){0};
    join_init(&q->join);
    tsdb_arena_init(&q->arena, TSDB_MEM_QUERY, QUERIER_ARENA_BYTES, querier_account(request));
    *out = q;
    return TSDB_OK;
}

void tsdb_querier_close(struct tsdb_querier *q)
{
    if (!q) {
        return;
    }
    view_release(&q->db->blocks.views, q->view);
    index_regexes_deinit(&q->regexes);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        index_mem_unpin(q->indexes[i].index);
    }
    tsdb_arena_deinit(&q->arena);
    tsdb_mem_free(TSDB_MEM_QUERY, q, sizeof *q);
}

/* ---- one series ---- */

struct head_partition *querier_head(const struct tsdb_querier *q, tsdb_series_ref ref)
{
    return q->db->heads[tsdb_series_partition(ref)];
}

const struct querier_index *querier_index(struct tsdb_querier *q, uint32_t partition)
{
    struct querier_index *x = &q->indexes[partition];
    if (!x->index) {
        x->index = head_index_pin(q->db->heads[partition]);
        x->bound = index_mem_ids_end(x->index);
    }
    return x;
}

enum tsdb_status querier_labels(struct tsdb_querier *q, tsdb_series_ref ref,
                                struct tsdb_arena *arena, struct tsdb_labels *out,
                                struct tsdb_error *err)
{
    const struct stray *stray = join_stray(&q->join, ref);
    struct tsdb_label items[TSDB_LABELS_MAX];
    struct tsdb_labels found = {items, 0};
    if (stray) {
        found = stray->labels;
    } else {
        const struct querier_index *x = querier_index(q, tsdb_series_partition(ref));
        found.count = index_mem_labels(x->index, tsdb_series_local(ref), items, TSDB_LABELS_MAX);
    }
    struct tsdb_label *copy = TSDB_ARENA_ARRAY(arena, struct tsdb_label, TSDB_MAX(found.count, 1u));
    if (!copy) {
        return querier_exhausted(arena, err);
    }
    memcpy(copy, found.items, found.count * sizeof copy[0]);
    *out = (struct tsdb_labels){copy, found.count};
    return TSDB_OK;
}

/* ---- the walk ---- */

/* The next one, or the first again: one is behind it. False: this is no walk over the set. */
static bool walk_step(struct querier_walk *w, tsdb_series_ref ref)
{
    uint32_t next = w->at < w->count && w->refs[w->at] == ref ? w->at : 0;
    if (next >= w->count || w->refs[next] != ref) {
        return false;
    }
    w->at = next + 1;
    return true;
}

/* The series so far ahead, if it is one of the head. */
static bool walk_ahead(const struct querier_walk *w, uint32_t by, tsdb_series_ref *out)
{
    if (by >= w->count - w->at) {
        return false;
    }
    *out = w->refs[w->at + by];
    return tsdb_series_local(*out) < TSDB_SERIES_IDS_MAX;
}

static void walk_labels(struct tsdb_querier *q, tsdb_series_ref ref)
{
    struct querier_walk *w = &q->walk;
    tsdb_series_ref next;
    if (!walk_step(w, ref)) {
        return;
    }
    if (walk_ahead(w, WALK_FAR, &next)) {
        index_mem_prefetch(querier_index(q, tsdb_series_partition(next))->index,
                           tsdb_series_local(next));
    }
    if (walk_ahead(w, WALK_NEAR, &next)) {
        index_mem_prefetch_labels(querier_index(q, tsdb_series_partition(next))->index,
                                  tsdb_series_local(next));
    }
}

enum tsdb_status tsdb_series_labels(struct tsdb_querier *q, tsdb_series_ref ref,
                                    struct tsdb_arena *arena, struct tsdb_labels *out,
                                    struct tsdb_error *err)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(q->db->epoch, &guard);
    walk_labels(q, ref);
    enum tsdb_status status = querier_labels(q, ref, arena, out, err);
    tsdb_epoch_exit(q->db->epoch, &guard);
    return status;
}

static enum tsdb_status pieces_of_head(struct tsdb_querier *q, tsdb_series_ref ref,
                                       struct chunk_want *want, struct piece_list *l,
                                       struct tsdb_error *err)
{
    struct piece *pieces = NULL;
    uint32_t n = 0;
    enum tsdb_status status = head_collect(querier_head(q, ref), tsdb_series_local(ref), want,
                                           q->view->number, l->arena, &pieces, &n, err);
    for (uint32_t i = 0; status == TSDB_OK && i < n; i++) {
        status = piece_list_add(l, &pieces[i], NULL);
        if (status != TSDB_OK) {
            status = querier_exhausted(l->arena, err);
        }
    }
    return status;
}

/* Pieces of the view's blocks, then of the head: in the order in which they were written. */
static enum tsdb_status pieces_gather(struct tsdb_querier *q, tsdb_series_ref ref,
                                      struct chunk_want *want, struct piece_list *l,
                                      struct tsdb_error *err)
{
    for (const struct join_pair *p = join_first(&q->join, ref); p; p = join_next(&q->join, p)) {
        enum tsdb_status status =
            blocks_read(&q->db->blocks, q->view, q->view->blocks[p->block], p->id, want, l, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return join_stray(&q->join, ref) ? TSDB_OK : pieces_of_head(q, ref, want, l, err);
}

/* Pieces live in an arena of their own: what stays with the caller is the merged columns. */
static enum tsdb_status series_read_blocks(struct tsdb_querier *q, tsdb_series_ref ref,
                                           struct chunk_want *want, struct tsdb_arena *arena,
                                           struct tsdb_columns *out, struct tsdb_error *err)
{
    struct tsdb_arena scratch;
    struct piece_list l;
    struct piece_columns c;
    tsdb_arena_init(&scratch, TSDB_MEM_QUERY, SCRATCH_ARENA_BYTES, querier_account(q->request));
    piece_list_init(&l, &scratch);
    enum tsdb_status status = pieces_gather(q, ref, want, &l, err);
    if (status == TSDB_OK) {
        status = pieces_merge(l.items, l.count, want->range, arena, &c, err);
    }
    if (status == TSDB_OK) {
        status = pieces_decode(&c, arena, out, err);
    }
    piece_list_release(&l, &q->db->blocks);
    tsdb_arena_deinit(&scratch);
    return status;
}

enum tsdb_status tsdb_series_read_windows(struct tsdb_querier *q, tsdb_series_ref ref,
                                          struct tsdb_time_range range,
                                          const struct tsdb_time_windows *windows,
                                          struct tsdb_arena *arena, struct tsdb_columns *out,
                                          struct tsdb_chunk_counts *counts, struct tsdb_error *err)
{
    struct chunk_want want = {.range = range, .windows = windows};
    TSDB_ASSERT(q->range.min_ms <= range.min_ms);
    TSDB_ASSERT(range.max_ms <= q->range.max_ms);
    enum tsdb_status status = join_first(&q->join, ref)
                                  ? series_read_blocks(q, ref, &want, arena, out, err)
                                  : head_read_wanted(querier_head(q, ref), tsdb_series_local(ref),
                                                     &want, q->view->number, arena, out, err);
    counts->read += want.counts.read;
    counts->cached += want.counts.cached;
    counts->skipped += want.counts.skipped;
    return status;
}

enum tsdb_status tsdb_series_read(struct tsdb_querier *q, tsdb_series_ref ref,
                                  struct tsdb_time_range range, struct tsdb_arena *arena,
                                  struct tsdb_columns *out, struct tsdb_error *err)
{
    struct tsdb_chunk_counts counts = {0};
    return tsdb_series_read_windows(q, ref, range, NULL, arena, out, &counts, err);
}
