/* Selectors to series: local ids of each partition, sets of refs, lists of label sets. */
#include "base/assert.h"
#include "base/latency.h"
#include "index/match/matcher.h"
#include "tsdb/engine/querier_private.h"

#include <stdlib.h>
#include <string.h>

#define SCRATCH_ARENA_BYTES 16384u

/* ---- selectors, compiled ---- */

void selection_deinit(struct selection *sel)
{
    for (uint32_t i = 0; i < sel->count; i++) {
        for (uint32_t k = 0; k < sel->any[i].count; k++) {
            index_matcher_destroy(sel->any[i].owned[k]);
        }
    }
    sel->count = 0;
    tsdb_arena_deinit(&sel->scratch);
}

static enum tsdb_status conjunction_compile(struct conjunction *c, struct tsdb_querier *q,
                                            const struct tsdb_selector *s, struct tsdb_arena *arena,
                                            struct tsdb_error *err)
{
    c->count = 0;
    uint32_t room = TSDB_MAX(s->count, 1u);
    c->matchers = TSDB_ARENA_ARRAY(arena, const struct index_matcher *, room);
    c->owned = TSDB_ARENA_ARRAY(arena, struct index_matcher *, room);
    if (!c->matchers || !c->owned) {
        return querier_exhausted(arena, err);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        enum tsdb_status status =
            index_matcher_compile_in(&s->matchers[i], &q->regexes, &c->owned[i], err);
        if (status != TSDB_OK) {
            return status;
        }
        c->matchers[i] = c->owned[i];
        c->count++;
    }
    return TSDB_OK;
}

enum tsdb_status selection_init(struct selection *sel, struct tsdb_querier *q,
                                const struct tsdb_selector *selectors, uint32_t count,
                                struct tsdb_error *err)
{
    sel->q = q;
    sel->count = 0;
    sel->any = NULL;
    tsdb_arena_init(&sel->scratch, TSDB_MEM_QUERY, SCRATCH_ARENA_BYTES,
                    querier_account(q->request));
    enum tsdb_status status = TSDB_OK;
    if (count > 0) {
        sel->any = TSDB_ARENA_ARRAY(&sel->scratch, struct conjunction, count);
        status = sel->any ? TSDB_OK : querier_exhausted(&sel->scratch, err);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < count; i++) {
        sel->any[i].count = 0;
        sel->count = i + 1;
        status = conjunction_compile(&sel->any[i], q, &selectors[i], &sel->scratch, err);
    }
    if (status != TSDB_OK) {
        selection_deinit(sel);
    }
    return status;
}

static enum tsdb_status locals_union(struct selection *sel, const struct locals *a,
                                     const struct locals *b, struct locals *out,
                                     struct tsdb_error *err)
{
    uint32_t *ids = TSDB_ARENA_ARRAY(&sel->scratch, uint32_t, (size_t)a->count + b->count + 1);
    if (!ids) {
        return querier_exhausted(&sel->scratch, err);
    }
    uint32_t n = 0;
    uint32_t i = 0;
    uint32_t k = 0;
    while (i < a->count || k < b->count) {
        bool from_a = k == b->count || (i < a->count && a->ids[i] <= b->ids[k]);
        bool both = from_a && k < b->count && a->ids[i] == b->ids[k];
        ids[n++] = from_a ? a->ids[i++] : b->ids[k++];
        k += both;
    }
    *out = (struct locals){ids, n};
    return TSDB_OK;
}

/* Series whose labels recovery has lost stand in the index under a label of ours. */
static void holes_remove(const struct head_partition *p, struct locals *l)
{
    if (!head_has_holes(p)) {
        return;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        if (!head_series_is_hole(p, l->ids[i])) {
            l->ids[n++] = l->ids[i];
        }
    }
    l->count = n;
}

enum tsdb_status selection_locals(struct selection *sel, struct head_partition *p,
                                  struct locals *out, struct tsdb_error *err)
{
    struct locals all = {NULL, 0};
    enum tsdb_status status = TSDB_OK;
    uint32_t turns = TSDB_MAX(sel->count, 1u);
    for (uint32_t i = 0; status == TSDB_OK && i < turns; i++) {
        struct conjunction none = {NULL, NULL, 0};
        const struct conjunction *c = sel->count > 0 ? &sel->any[i] : &none;
        struct locals some = {NULL, 0};
        status = index_mem_select(head_index(p), c->matchers, c->count, sel->q->request,
                                  &sel->scratch, &some.ids, &some.count, err);
        if (status == TSDB_OK && i == 0) {
            all = some;
        } else if (status == TSDB_OK && some.count > 0) {
            status = locals_union(sel, &all, &some, &all, err);
        }
    }
    if (status == TSDB_OK) {
        holes_remove(p, &all);
        *out = all;
    }
    return status;
}

enum tsdb_status selection_partition(struct selection *sel, uint32_t partition, struct locals *out,
                                     struct tsdb_error *err)
{
    struct tsdb *db = sel->q->db;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(db->epoch, &guard);
    enum tsdb_status status = selection_locals(sel, db->heads[partition], out, err);
    tsdb_epoch_exit(db->epoch, &guard);
    return status;
}

/* ---- select ---- */

static enum tsdb_status select_refs(struct selection *sel, struct tsdb_series_set *out,
                                    struct tsdb_error *err)
{
    struct locals parts[TSDB_PARTITIONS];
    uint64_t total = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        enum tsdb_status status = selection_partition(sel, p, &parts[p], err);
        if (status != TSDB_OK) {
            return status;
        }
        total += parts[p].count;
    }
    TSDB_ASSERT(total <= UINT32_MAX);
    tsdb_series_ref *refs = NULL;
    if (total > 0) {
        refs = TSDB_ARENA_ARRAY(&sel->q->arena, tsdb_series_ref, total);
        if (!refs) {
            return querier_exhausted(&sel->q->arena, err);
        }
    }
    uint32_t n = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        for (uint32_t i = 0; i < parts[p].count; i++) {
            refs[n++] = tsdb_series_make(p, parts[p].ids[i]);
        }
    }
    *out = (struct tsdb_series_set){sel->q, refs, n};
    return TSDB_OK;
}

enum tsdb_status tsdb_select(struct tsdb_querier *q, const struct tsdb_matcher *matchers,
                             uint32_t matcher_count, struct tsdb_series_set *out,
                             struct tsdb_error *err)
{
    if (matcher_count == 0) {
        return tsdb_error_set(err, TSDB_INVALID, "select needs at least one matcher");
    }
    uint64_t begin = tsdb_perf_now();
    struct tsdb_selector selector = {matchers, matcher_count};
    struct selection sel;
    enum tsdb_status status = selection_init(&sel, q, &selector, 1, err);
    if (status == TSDB_OK) {
        status = select_refs(&sel, out, err);
        selection_deinit(&sel);
    }
    tsdb_perf_end(TSDB_LAYER_SELECT, begin);
    return status;
}

/* ---- label sets ---- */

/* Label sets of matching series, in a growing array of scratch memory. */
struct label_sets {
    struct tsdb_labels *items;
    uint32_t count, cap;
};

static enum tsdb_status label_sets_reserve(struct label_sets *s, uint32_t extra,
                                           struct tsdb_arena *scratch, struct tsdb_error *err)
{
    if (s->count + extra <= s->cap) {
        return TSDB_OK;
    }
    uint32_t cap = TSDB_MAX(s->cap * 2, s->count + extra);
    struct tsdb_labels *items = TSDB_ARENA_ARRAY(scratch, struct tsdb_labels, cap);
    if (!items) {
        return querier_exhausted(scratch, err);
    }
    if (s->items) {
        memcpy(items, s->items, s->count * sizeof items[0]);
    }
    s->items = items;
    s->cap = cap;
    return TSDB_OK;
}

static enum tsdb_status label_sets_collect(struct label_sets *s, struct selection *sel,
                                           struct living *living, uint32_t stop_at,
                                           struct tsdb_arena *arena, struct tsdb_error *err)
{
    struct tsdb_querier *q = sel->q;
    for (uint32_t p = 0; p < TSDB_PARTITIONS && s->count < stop_at; p++) {
        struct locals l;
        enum tsdb_status status = selection_partition(sel, p, &l, err);
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(q->db->epoch, &guard);
        if (status == TSDB_OK) {
            status = locals_living(&l, living, p, err);
        }
        if (status == TSDB_OK) {
            l.count = TSDB_MIN(l.count, stop_at - s->count);
            status = label_sets_reserve(s, l.count, &sel->scratch, err);
        }
        for (uint32_t i = 0; status == TSDB_OK && i < l.count; i++) {
            TSDB_ASSERT(s->items);
            status =
                querier_labels(q, tsdb_series_make(p, l.ids[i]), arena, &s->items[s->count++], err);
            if (status == TSDB_OK) {
                status = querier_check(q, i, err);
            }
        }
        tsdb_epoch_exit(q->db->epoch, &guard);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static int labels_order(const void *a, const void *b)
{
    return tsdb_labels_compare(a, b);
}

enum tsdb_status tsdb_series_list(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                  uint32_t selector_count, uint32_t limit, struct tsdb_arena *arena,
                                  struct tsdb_labels **out, uint32_t *out_count,
                                  bool *out_truncated, struct tsdb_error *err)
{
    struct selection sel;
    enum tsdb_status status = selection_init(&sel, q, selectors, selector_count, err);
    if (status != TSDB_OK) {
        return status;
    }
    /* With a limit the search ends one series beyond it: some of the series, sorted. */
    uint32_t stop_at = limit > 0 && limit < UINT32_MAX ? limit + 1 : UINT32_MAX;
    struct label_sets sets = {NULL, 0, 0};
    struct tsdb_labels *copy = NULL;
    bool cut = false;
    struct living living;
    living_init(&living, q);
    status = label_sets_collect(&sets, &sel, &living, stop_at, arena, err);
    living_deinit(&living);
    if (status == TSDB_OK) {
        cut = limit > 0 && sets.count > limit;
        if (sets.count > 1) {
            qsort(sets.items, sets.count, sizeof sets.items[0], labels_order);
        }
        sets.count = cut ? limit : sets.count;
        copy = TSDB_ARENA_ARRAY(arena, struct tsdb_labels, TSDB_MAX(sets.count, 1u));
        status = copy ? TSDB_OK : querier_exhausted(arena, err);
    }
    if (status == TSDB_OK) {
        if (sets.count > 0) {
            memcpy(copy, sets.items, sets.count * sizeof copy[0]);
        }
        *out = copy;
        *out_count = sets.count;
        *out_truncated = cut;
    }
    selection_deinit(&sel);
    return status;
}
