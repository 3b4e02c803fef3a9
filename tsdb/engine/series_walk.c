/* Lists of label sets: sorted, as long as they are held; longer ones come one by one, in the order of a set. */
#include "base/assert.h"
#include "tsdb/engine/querier_private.h"

#include <stdlib.h>

struct tsdb_series_walk {
    struct tsdb_querier *q;
    struct living living;
    uint32_t limit; /* UINT32_MAX: none */
    bool truncated;
    /* one by one */
    struct tsdb_series_set set;
    uint32_t at; /* of the set, to come */
    uint32_t given;
    /* sorted; NULL: not so */
    struct tsdb_labels *items;
    uint32_t count;
};

static enum tsdb_status select_all(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                   uint32_t selector_count, struct tsdb_series_set *out,
                                   struct tsdb_error *err)
{
    struct selection sel;
    enum tsdb_status status = selection_init(&sel, q, selectors, selector_count, err);
    if (status == TSDB_OK) {
        status = selection_series(&sel, out, err);
        selection_deinit(&sel);
    }
    return status;
}

/* The next series of the set that has samples. */
static enum tsdb_status next_living(struct tsdb_series_walk *w, struct tsdb_arena *arena,
                                    struct tsdb_labels *out, bool *out_found,
                                    struct tsdb_error *err)
{
    struct living *l = &w->living;
    *out_found = false;
    while (w->at < w->set.count) {
        TSDB_ASSERT(w->set.refs);
        tsdb_series_ref ref = w->set.refs[w->at];
        tsdb_series_read_ahead(w->q, w->set.refs + w->at, w->set.count - w->at);
        enum tsdb_status status = querier_check(w->q, w->at++, err);
        if (status != TSDB_OK) {
            return status;
        }
        if (living_has(l, ref)) {
            *out_found = true;
            return tsdb_series_labels(w->q, ref, arena, out, err);
        }
        if (l->status != TSDB_OK) {
            return tsdb_error_set(err, l->status, "%s", l->err.msg);
        }
    }
    return TSDB_OK;
}

static int labels_order(const void *a, const void *b)
{
    return tsdb_labels_compare(a, b);
}

/* With a limit the search ends one series beyond it: some of the series, sorted. */
static enum tsdb_status collect_sorted(struct tsdb_series_walk *w, struct tsdb_arena *arena,
                                       struct tsdb_error *err)
{
    uint32_t stop_at = w->limit < UINT32_MAX ? w->limit + 1 : UINT32_MAX;
    uint32_t room = TSDB_MAX(TSDB_MIN(w->set.count, stop_at), 1u);
    struct tsdb_labels *items = TSDB_ARENA_ARRAY(arena, struct tsdb_labels, room);
    bool found = items != NULL;
    enum tsdb_status status = items ? TSDB_OK : querier_exhausted(arena, err);
    while (status == TSDB_OK && found && w->count < stop_at) {
        TSDB_ASSERT(w->count <= room);
        struct tsdb_labels labels;
        status = next_living(w, arena, &labels, &found, err);
        if (status == TSDB_OK && found) {
            items[w->count++] = labels;
        }
    }
    if (status == TSDB_OK && w->count > 1) {
        qsort(items, w->count, sizeof items[0], labels_order);
    }
    w->truncated = w->count > w->limit;
    w->count = TSDB_MIN(w->count, w->limit);
    w->items = items;
    return status;
}

/* After a failure, too, walk_end. */
static enum tsdb_status walk_begin(struct tsdb_series_walk *w, struct tsdb_querier *q,
                                   const struct tsdb_selector *selectors, uint32_t selector_count,
                                   uint32_t limit, uint32_t sorted_max, struct tsdb_arena *arena,
                                   struct tsdb_error *err)
{
    *w = (struct tsdb_series_walk){.q = q, .limit = limit > 0 ? limit : UINT32_MAX};
    living_init(&w->living, q);
    enum tsdb_status status = select_all(q, selectors, selector_count, &w->set, err);
    if (status == TSDB_OK && TSDB_MIN(w->set.count, w->limit) <= sorted_max) {
        status = collect_sorted(w, arena, err);
    }
    return status;
}

enum tsdb_status tsdb_series_walk_open(struct tsdb_querier *q,
                                       const struct tsdb_selector *selectors,
                                       uint32_t selector_count, uint32_t limit, uint32_t sorted_max,
                                       struct tsdb_arena *arena, struct tsdb_series_walk **out,
                                       struct tsdb_error *err)
{
    struct tsdb_series_walk *w = TSDB_ARENA_NEW(arena, struct tsdb_series_walk);
    if (!w) {
        return querier_exhausted(arena, err);
    }
    enum tsdb_status status =
        walk_begin(w, q, selectors, selector_count, limit, sorted_max, arena, err);
    if (status != TSDB_OK) {
        tsdb_series_walk_close(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

enum tsdb_status tsdb_series_walk_next(struct tsdb_series_walk *w, struct tsdb_arena *scratch,
                                       struct tsdb_labels *out, bool *out_found,
                                       struct tsdb_error *err)
{
    if (w->items) {
        *out_found = w->given < w->count;
        if (*out_found) {
            *out = w->items[w->given++];
        }
        return TSDB_OK;
    }
    enum tsdb_status status = next_living(w, scratch, out, out_found, err);
    if (status == TSDB_OK && *out_found && w->given++ == w->limit) {
        w->truncated = true;
        *out_found = false;
        w->at = w->set.count;
    }
    return status;
}

bool tsdb_series_walk_truncated(const struct tsdb_series_walk *w)
{
    return w->truncated;
}

void tsdb_series_walk_close(struct tsdb_series_walk *w)
{
    if (w) {
        living_deinit(&w->living);
    }
}

enum tsdb_status tsdb_series_list(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                  uint32_t selector_count, uint32_t limit, struct tsdb_arena *arena,
                                  struct tsdb_labels **out, uint32_t *out_count,
                                  bool *out_truncated, struct tsdb_error *err)
{
    struct tsdb_series_walk w;
    enum tsdb_status status =
        walk_begin(&w, q, selectors, selector_count, limit, UINT32_MAX, arena, err);
    if (status == TSDB_OK) {
        *out = w.items;
        *out_count = w.count;
        *out_truncated = w.truncated;
    }
    tsdb_series_walk_close(&w);
    return status;
}
