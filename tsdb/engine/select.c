/* Selectors to series: ids of each partition's head, joined with what blocks have, in an order that
 * follows from labels alone. */
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

enum tsdb_status locals_union(struct tsdb_arena *arena, const struct locals *a,
                              const struct locals *b, struct locals *out, struct tsdb_error *err)
{
    uint32_t *ids = TSDB_ARENA_ARRAY(arena, uint32_t, (size_t)a->count + b->count + 1);
    if (!ids) {
        return querier_exhausted(arena, err);
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

/* Of rising ids, those below the bound. */
static void locals_cut(struct locals *l, uint32_t bound)
{
    while (l->count > 0 && l->ids[l->count - 1] >= bound) {
        l->count--;
    }
}

static enum tsdb_status locals_of_index(struct selection *sel, const struct index_mem *index,
                                        struct locals *out, struct tsdb_error *err)
{
    struct locals all = {NULL, 0};
    enum tsdb_status status = TSDB_OK;
    uint32_t turns = TSDB_MAX(sel->count, 1u);
    for (uint32_t i = 0; status == TSDB_OK && i < turns; i++) {
        struct conjunction none = {NULL, NULL, 0};
        const struct conjunction *c = sel->count > 0 ? &sel->any[i] : &none;
        struct locals some = {NULL, 0};
        status = index_mem_select(index, c->matchers, c->count, sel->q->request, &sel->scratch,
                                  &some.ids, &some.count, err);
        if (status == TSDB_OK && i == 0) {
            all = some;
        } else if (status == TSDB_OK && some.count > 0) {
            status = locals_union(&sel->scratch, &all, &some, &all, err);
        }
    }
    *out = all;
    return status;
}

enum tsdb_status selection_locals(struct selection *sel, uint32_t partition, struct locals *out,
                                  struct tsdb_error *err)
{
    struct tsdb *db = sel->q->db;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(db->epoch, &guard);
    const struct querier_index *x = querier_index(sel->q, partition);
    enum tsdb_status status = locals_of_index(sel, x->index, out, err);
    if (status == TSDB_OK) {
        locals_cut(out, x->bound);
    }
    tsdb_epoch_exit(db->epoch, &guard);
    return status;
}

/* ---- their order ---- */

/* A series of a partition. */
struct place {
    uint32_t key;
    tsdb_series_ref ref;
};

/* By labels, where two hashes are the same. */
static enum tsdb_status place_before(struct selection *sel, const struct place *a,
                                     const struct place *b, bool *out, struct tsdb_error *err)
{
    struct tsdb_labels x;
    struct tsdb_labels y;
    *out = a->key < b->key;
    if (a->key != b->key) {
        return TSDB_OK;
    }
    enum tsdb_status status = querier_labels(sel->q, a->ref, &sel->scratch, &x, err);
    if (status == TSDB_OK) {
        status = querier_labels(sel->q, b->ref, &sel->scratch, &y, err);
    }
    if (status == TSDB_OK) {
        *out = tsdb_labels_compare(&x, &y) < 0;
    }
    return status;
}

static enum tsdb_status places_settle(struct selection *sel, struct place *items, uint32_t count,
                                      struct tsdb_error *err)
{
    for (uint32_t i = 1; i < count; i++) {
        struct place moved = items[i];
        uint32_t at = i;
        for (bool before = true; at > 0; at--) {
            enum tsdb_status status = place_before(sel, &moved, &items[at - 1], &before, err);
            if (status != TSDB_OK) {
                return status;
            }
            if (!before) {
                break;
            }
            items[at] = items[at - 1];
        }
        items[at] = moved;
    }
    return TSDB_OK;
}

/* Keys are hashes: thrown into as many buckets as there are, by their top bits, they are in order but
 * for neighbours. `to` and `ends` have room for as many. */
static void places_scatter(const struct place *from, uint32_t count, uint32_t bits,
                           struct place *to, uint32_t *ends)
{
    uint32_t begin = 0;
    memset(ends, 0, ((size_t)1 << bits) * sizeof *ends);
    for (uint32_t i = 0; i < count; i++) {
        ends[from[i].key >> (32 - bits)]++;
    }
    for (uint32_t b = 0; b < 1u << bits; b++) {
        uint32_t n = ends[b];
        ends[b] = begin;
        begin += n;
    }
    for (uint32_t i = 0; i < count; i++) {
        to[ends[from[i].key >> (32 - bits)]++] = from[i];
    }
}

/* The largest power of two that is not above n, as an exponent. */
static uint32_t log2_floor(uint32_t n)
{
    return 31u - (uint32_t)__builtin_clz(n);
}

/* The places of a partition, those of the head already there, in order. */
static enum tsdb_status places_order(struct selection *sel, struct place *items, uint32_t count,
                                     struct tsdb_error *err)
{
    if (count > 1) {
        uint32_t bits = TSDB_MAX(log2_floor(count), 1u);
        struct place *to = TSDB_ARENA_ARRAY(&sel->scratch, struct place, count);
        uint32_t *ends = TSDB_ARENA_ARRAY(&sel->scratch, uint32_t, (size_t)1 << bits);
        if (!to || !ends) {
            return querier_exhausted(&sel->scratch, err);
        }
        places_scatter(items, count, bits, to, ends);
        memcpy(items, to, count * sizeof *items);
    }
    return places_settle(sel, items, count, err);
}

/* ---- select ---- */

/* A selection's series, partition by partition, before they are in order. */
struct found {
    struct locals heads[TSDB_PARTITIONS];
    struct locals strays;
    uint32_t counts[TSDB_PARTITIONS];
    uint64_t total;
};

static enum tsdb_status found_gather(struct selection *sel, struct found *f, struct tsdb_error *err)
{
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        enum tsdb_status status = selection_locals(sel, p, &f->heads[p], err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    enum tsdb_status status = join_select(sel, &f->strays, err);
    if (status != TSDB_OK) {
        return status;
    }
    f->total = f->strays.count;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        f->counts[p] = f->heads[p].count;
        f->total += f->counts[p];
    }
    const struct join *j = &sel->q->join;
    for (uint32_t i = 0; i < f->strays.count; i++) {
        f->counts[join_stray(j, join_stray_ref(f->strays.ids[i]))->partition]++;
    }
    return f->total <= UINT32_MAX
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_LIMIT, "a selection holds at most %u series", UINT32_MAX);
}

/* Each to its partition's stretch of `items`. */
static void found_place(struct selection *sel, const struct found *f, struct place *items)
{
    const struct join *j = &sel->q->join;
    uint32_t at[TSDB_PARTITIONS];
    uint32_t begin = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        const struct index_mem *index = sel->q->indexes[p].index;
        at[p] = begin;
        begin += f->counts[p];
        for (uint32_t i = 0; i < f->heads[p].count; i++) {
            uint32_t local = f->heads[p].ids[i];
            items[at[p]++] =
                (struct place){place_key(index_mem_hash(index, local)), tsdb_series_make(p, local)};
        }
    }
    for (uint32_t i = 0; i < f->strays.count; i++) {
        tsdb_series_ref ref = join_stray_ref(f->strays.ids[i]);
        const struct stray *s = join_stray(j, ref);
        items[at[s->partition]++] = (struct place){place_key(s->hash), ref};
    }
}

static enum tsdb_status found_order(struct selection *sel, const struct found *f,
                                    tsdb_series_ref *refs, struct tsdb_error *err)
{
    struct place *items = TSDB_ARENA_ARRAY(&sel->scratch, struct place, f->total);
    if (!items) {
        return querier_exhausted(&sel->scratch, err);
    }
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(sel->q->db->epoch, &guard);
    found_place(sel, f, items);
    enum tsdb_status status = TSDB_OK;
    uint32_t begin = 0;
    for (uint32_t p = 0; status == TSDB_OK && p < TSDB_PARTITIONS; p++) {
        status = places_order(sel, items + begin, f->counts[p], err);
        begin += f->counts[p];
    }
    tsdb_epoch_exit(sel->q->db->epoch, &guard);
    for (uint32_t i = 0; i < f->total; i++) {
        refs[i] = items[i].ref;
    }
    return status;
}

enum tsdb_status selection_series(struct selection *sel, struct tsdb_series_set *out,
                                  struct tsdb_error *err)
{
    tsdb_series_ref *refs = NULL;
    struct found *f = TSDB_ARENA_ARRAY(&sel->scratch, struct found, 1);
    if (!f) {
        return querier_exhausted(&sel->scratch, err);
    }
    enum tsdb_status status = found_gather(sel, f, err);
    if (status == TSDB_OK && f->total > 0) {
        refs = TSDB_ARENA_ARRAY(&sel->q->arena, tsdb_series_ref, f->total);
        status = refs ? found_order(sel, f, refs, err) : querier_exhausted(&sel->q->arena, err);
    }
    if (status == TSDB_OK) {
        *out = (struct tsdb_series_set){sel->q, refs, (uint32_t)f->total};
        sel->q->walk = (struct querier_walk){.refs = refs, .count = out->count};
    }
    return status;
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
        status = selection_series(&sel, out, err);
        selection_deinit(&sel);
    }
    tsdb_perf_end(TSDB_LAYER_SELECT, begin);
    return status;
}
