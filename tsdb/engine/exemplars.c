/* Exemplars of matching series: from the partitions' rings, grouped by series. */
#include "tsdb/engine/querier_private.h"

#include <stdlib.h>
#include <string.h>

#define FOUND_CAP_FIRST 64u

struct found_exemplar {
    struct tsdb_exemplar exemplar; /* labels in the result's arena */
    uint32_t local;
    uint32_t order; /* in the ring: oldest first */
};
struct exemplar_query {
    struct tsdb_time_range range;
    struct locals locals;
    struct tsdb_arena *arena, *scratch;
    struct found_exemplar *items;
    uint32_t count, cap;
    struct tsdb_arena *failed; /* the arena that had no room */
};

static bool locals_has(const struct locals *l, uint32_t local)
{
    uint32_t low = 0;
    uint32_t high = l->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (l->ids[mid] < local) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < l->count && l->ids[low] == local;
}

static struct found_exemplar *exemplar_slot(struct exemplar_query *eq)
{
    if (eq->count == eq->cap) {
        uint32_t cap = eq->cap ? eq->cap * 2 : FOUND_CAP_FIRST;
        struct found_exemplar *items = TSDB_ARENA_ARRAY(eq->scratch, struct found_exemplar, cap);
        if (!items) {
            return NULL;
        }
        if (eq->count > 0) {
            memcpy(items, eq->items, eq->count * sizeof items[0]);
        }
        eq->items = items;
        eq->cap = cap;
    }
    return &eq->items[eq->count];
}

static bool exemplar_visit(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    struct exemplar_query *eq = arg;
    if (x->t_ms < eq->range.min_ms || x->t_ms > eq->range.max_ms ||
        !locals_has(&eq->locals, local)) {
        return true;
    }
    struct found_exemplar *f = exemplar_slot(eq);
    if (!f) {
        eq->failed = eq->scratch;
        return false;
    }
    f->exemplar = *x;
    f->local = local;
    f->order = eq->count;
    /* Strings too: the ring's memory is overwritten. */
    if (tsdb_labels_dup(&x->labels, eq->arena, &f->exemplar.labels) != TSDB_OK) {
        eq->failed = eq->arena;
        return false;
    }
    eq->count++;
    return true;
}

static int exemplar_order(const void *a, const void *b)
{
    const struct found_exemplar *x = a;
    const struct found_exemplar *y = b;
    if (x->local != y->local) {
        return x->local < y->local ? -1 : 1;
    }
    return x->order < y->order ? -1 : 1;
}

/* Group what was found in a partition by series, and append it to the result. */
static enum tsdb_status exemplars_group(struct tsdb_querier *q, uint32_t partition,
                                        const struct exemplar_query *eq,
                                        struct tsdb_exemplar_series *series, uint32_t *count,
                                        struct tsdb_error *err)
{
    qsort(eq->items, eq->count, sizeof eq->items[0], exemplar_order);
    struct tsdb_exemplar *copy = TSDB_ARENA_ARRAY(eq->arena, struct tsdb_exemplar, eq->count);
    if (!copy) {
        return querier_exhausted(eq->arena, err);
    }
    for (uint32_t i = 0; i < eq->count; i++) {
        copy[i] = eq->items[i].exemplar;
        if (i > 0 && eq->items[i].local == eq->items[i - 1].local) {
            series[*count - 1].count++;
            continue;
        }
        struct tsdb_exemplar_series *s = &series[*count];
        enum tsdb_status status = querier_labels(q, tsdb_series_make(partition, eq->items[i].local),
                                                 eq->arena, &s->labels, err);
        if (status != TSDB_OK) {
            return status;
        }
        s->items = &copy[i];
        s->count = 1;
        (*count)++;
    }
    return TSDB_OK;
}

/* One partition: its exemplars, grouped, appended to *series (scratch memory, grown). */
static enum tsdb_status exemplars_partition(struct selection *sel, uint32_t partition,
                                            struct exemplar_query *eq,
                                            struct tsdb_exemplar_series **series, uint32_t *count,
                                            struct tsdb_error *err)
{
    struct head_partition *p = sel->q->db->heads[partition];
    enum tsdb_status status = selection_locals(sel, partition, &eq->locals, err);
    if (status != TSDB_OK || eq->locals.count == 0) {
        return status;
    }
    eq->count = 0;
    head_exemplars(p, exemplar_visit, eq);
    if (eq->failed) {
        return querier_exhausted(eq->failed, err);
    }
    if (eq->count == 0) {
        return TSDB_OK;
    }
    struct tsdb_exemplar_series *grown =
        TSDB_ARENA_ARRAY(eq->arena, struct tsdb_exemplar_series, (size_t)*count + eq->count);
    if (!grown) {
        return querier_exhausted(eq->arena, err);
    }
    if (*count > 0) {
        memcpy(grown, *series, *count * sizeof grown[0]);
    }
    *series = grown;
    return exemplars_group(sel->q, partition, eq, grown, count, err);
}

enum tsdb_status tsdb_exemplars(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                uint32_t selector_count, struct tsdb_time_range range,
                                struct tsdb_arena *arena, struct tsdb_exemplar_series **out,
                                uint32_t *out_count, struct tsdb_error *err)
{
    struct selection sel;
    enum tsdb_status status = selection_init(&sel, q, selectors, selector_count, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct exemplar_query eq = {.range = range, .arena = arena, .scratch = &sel.scratch};
    struct tsdb_exemplar_series *series = NULL;
    uint32_t count = 0;
    for (uint32_t p = 0; status == TSDB_OK && p < TSDB_PARTITIONS; p++) {
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(q->db->epoch, &guard);
        status = exemplars_partition(&sel, p, &eq, &series, &count, err);
        tsdb_epoch_exit(q->db->epoch, &guard);
        if (status == TSDB_OK) {
            status = querier_check(q, 0, err);
        }
    }
    selection_deinit(&sel);
    if (status == TSDB_OK) {
        *out = series;
        *out_count = count;
    }
    return status;
}
