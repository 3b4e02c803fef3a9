/* Queriers: matchers to series, series to samples, and the label end points.
 *
 * Epoch guards are taken inside each call and for one partition at a time, because an open guard
 * holds back all reclamation. Strings of labels borrow from the index, which never frees them;
 * everything else is copied into arenas. */
#include "base/assert.h"
#include "base/latency.h"
#include "index/match/matcher.h"
#include "tsdb/engine/tsdb_private.h"

#include <stdlib.h>
#include <string.h>

#define QUERIER_ARENA_BYTES 4096u
#define SCRATCH_ARENA_BYTES 16384u
#define CHECK_EVERY         128u /* series between two looks at the clock */
#define STRINGS_CAP_FIRST   64u

struct tsdb_querier {
    struct tsdb *db;
    struct tsdb_request *request;
    struct tsdb_time_range range;
    struct tsdb_arena arena; /* refs of the sets */
    struct view *view;       /* pinned */
};

static struct tsdb_account *account_of(struct tsdb_request *r)
{
    return r ? &r->account : NULL;
}

static enum tsdb_status exhausted(const struct tsdb_arena *arena, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_arena_status(arena);
    return tsdb_error_set(err, status, "%s",
                          status == TSDB_LIMIT ? "over the memory limit of the query"
                                               : "no memory for the query");
}

/* Every CHECK_EVERY-th turn: was the request cancelled, is its time up? */
static enum tsdb_status check(const struct tsdb_querier *q, uint32_t turn, struct tsdb_error *err)
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
    case TSDB_STATE_READ_ONLY:
        break;
    case TSDB_STATE_RECOVERING:
        return tsdb_error_set(err, TSDB_BUSY, "recovering, try again later");
    case TSDB_STATE_FAILED:
        return tsdb_error_set(err, TSDB_BUSY, "recovery failed");
    case TSDB_STATE_CLOSING:
        return tsdb_error_set(err, TSDB_BUSY, "shutting down");
    }
    struct tsdb_querier *q = tsdb_mem_alloc(TSDB_MEM_QUERY, sizeof *q);
    if (!q) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory for a querier");
    }
    q->db = db;
    q->request = request;
    q->range = range;
    q->view = view_acquire(&db->blocks.views);
    tsdb_arena_init(&q->arena, TSDB_MEM_QUERY, QUERIER_ARENA_BYTES, account_of(request));
    *out = q;
    return TSDB_OK;
}

void tsdb_querier_close(struct tsdb_querier *q)
{
    if (!q) {
        return;
    }
    view_release(&q->db->blocks.views, q->view);
    tsdb_arena_deinit(&q->arena);
    tsdb_mem_free(TSDB_MEM_QUERY, q, sizeof *q);
}

/* ---- selectors, compiled ---- */

struct conjunction {
    const struct index_matcher **matchers;
    struct index_matcher **owned; /* the same, to be destroyed */
    uint32_t count;
};
struct selection {
    struct tsdb_querier *q;
    struct tsdb_arena scratch; /* matchers, local ids */
    struct conjunction *any;   /* series match one of these; none: all series */
    uint32_t count;
};

static void selection_deinit(struct selection *sel)
{
    for (uint32_t i = 0; i < sel->count; i++) {
        for (uint32_t k = 0; k < sel->any[i].count; k++) {
            index_matcher_destroy(sel->any[i].owned[k]);
        }
    }
    sel->count = 0;
    tsdb_arena_deinit(&sel->scratch);
}

static enum tsdb_status conjunction_compile(struct conjunction *c, const struct tsdb_selector *s,
                                            struct tsdb_arena *arena, struct tsdb_error *err)
{
    c->count = 0;
    uint32_t room = TSDB_MAX(s->count, 1u);
    c->matchers = TSDB_ARENA_ARRAY(arena, const struct index_matcher *, room);
    c->owned = TSDB_ARENA_ARRAY(arena, struct index_matcher *, room);
    if (!c->matchers || !c->owned) {
        return exhausted(arena, err);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        enum tsdb_status status = index_matcher_compile(&s->matchers[i], &c->owned[i], err);
        if (status != TSDB_OK) {
            return status;
        }
        c->matchers[i] = c->owned[i];
        c->count++;
    }
    return TSDB_OK;
}

/* After a failure nothing is left to release. */
static enum tsdb_status selection_init(struct selection *sel, struct tsdb_querier *q,
                                       const struct tsdb_selector *selectors, uint32_t count,
                                       struct tsdb_error *err)
{
    sel->q = q;
    sel->count = 0;
    sel->any = NULL;
    tsdb_arena_init(&sel->scratch, TSDB_MEM_QUERY, SCRATCH_ARENA_BYTES, account_of(q->request));
    enum tsdb_status status = TSDB_OK;
    if (count > 0) {
        sel->any = TSDB_ARENA_ARRAY(&sel->scratch, struct conjunction, count);
        status = sel->any ? TSDB_OK : exhausted(&sel->scratch, err);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < count; i++) {
        sel->any[i].count = 0;
        sel->count = i + 1;
        status = conjunction_compile(&sel->any[i], &selectors[i], &sel->scratch, err);
    }
    if (status != TSDB_OK) {
        selection_deinit(sel);
    }
    return status;
}

/* Local ids of one partition, rising, in scratch memory. */
struct locals {
    uint32_t *ids;
    uint32_t count;
};

static enum tsdb_status locals_union(struct selection *sel, const struct locals *a,
                                     const struct locals *b, struct locals *out,
                                     struct tsdb_error *err)
{
    uint32_t *ids = TSDB_ARENA_ARRAY(&sel->scratch, uint32_t, (size_t)a->count + b->count + 1);
    if (!ids) {
        return exhausted(&sel->scratch, err);
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

/* The partition's series that the selection wants. Under a guard. */
static enum tsdb_status selection_locals(struct selection *sel, struct head_partition *p,
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

static enum tsdb_status selection_partition(struct selection *sel, uint32_t partition,
                                            struct locals *out, struct tsdb_error *err)
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
            return exhausted(&sel->q->arena, err);
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

/* ---- one series ---- */

static struct head_partition *head_of(const struct tsdb_querier *q, tsdb_series_ref ref)
{
    return q->db->heads[tsdb_series_partition(ref)];
}

/* Labels, the array in `arena`. Under a guard. */
static enum tsdb_status labels_copy(const struct tsdb_querier *q, tsdb_series_ref ref,
                                    struct tsdb_arena *arena, struct tsdb_labels *out,
                                    struct tsdb_error *err)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    uint32_t n = index_mem_labels(head_index(head_of(q, ref)), tsdb_series_local(ref), items,
                                  TSDB_LABELS_MAX);
    struct tsdb_label *copy = TSDB_ARENA_ARRAY(arena, struct tsdb_label, TSDB_MAX(n, 1u));
    if (!copy) {
        return exhausted(arena, err);
    }
    memcpy(copy, items, n * sizeof items[0]);
    *out = (struct tsdb_labels){copy, n};
    return TSDB_OK;
}

enum tsdb_status tsdb_series_labels(struct tsdb_querier *q, tsdb_series_ref ref,
                                    struct tsdb_arena *arena, struct tsdb_labels *out,
                                    struct tsdb_error *err)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(q->db->epoch, &guard);
    enum tsdb_status status = labels_copy(q, ref, arena, out, err);
    tsdb_epoch_exit(q->db->epoch, &guard);
    return status;
}

/* Pieces of the view's blocks, then of the head: in the order in which they were written. */
static enum tsdb_status pieces_gather(struct tsdb_querier *q, tsdb_series_ref ref,
                                      struct tsdb_time_range range, struct piece_list *l,
                                      struct tsdb_error *err)
{
    enum tsdb_status status = blocks_read(&q->db->blocks, q->view, ref, range, l, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct piece *pieces = NULL;
    uint32_t n = 0;
    status = head_collect(head_of(q, ref), tsdb_series_local(ref), range, q->view->number, l->arena,
                          &pieces, &n, err);
    for (uint32_t i = 0; status == TSDB_OK && i < n; i++) {
        status = piece_list_add(l, &pieces[i], NULL);
        if (status != TSDB_OK) {
            status = exhausted(l->arena, err);
        }
    }
    return status;
}

/* Pieces live in an arena of their own: what stays with the caller is the merged columns. */
static enum tsdb_status series_read_blocks(struct tsdb_querier *q, tsdb_series_ref ref,
                                           struct tsdb_time_range range, struct tsdb_arena *arena,
                                           struct tsdb_columns *out, struct tsdb_error *err)
{
    struct tsdb_arena scratch;
    struct piece_list l;
    struct piece_columns c;
    tsdb_arena_init(&scratch, TSDB_MEM_QUERY, SCRATCH_ARENA_BYTES, account_of(q->request));
    piece_list_init(&l, &scratch);
    enum tsdb_status status = pieces_gather(q, ref, range, &l, err);
    if (status == TSDB_OK) {
        status = pieces_merge(l.items, l.count, range, arena, &c, err);
    }
    if (status == TSDB_OK) {
        status = pieces_decode(&c, arena, out, err);
    }
    piece_list_release(&l, &q->db->blocks);
    tsdb_arena_deinit(&scratch);
    return status;
}

enum tsdb_status tsdb_series_read(struct tsdb_querier *q, tsdb_series_ref ref,
                                  struct tsdb_time_range range, struct tsdb_arena *arena,
                                  struct tsdb_columns *out, struct tsdb_error *err)
{
    TSDB_ASSERT(q->range.min_ms <= range.min_ms);
    TSDB_ASSERT(range.max_ms <= q->range.max_ms);
    if (blocks_overlap(q->view, range)) {
        return series_read_blocks(q, ref, range, arena, out, err);
    }
    return head_read(head_of(q, ref), tsdb_series_local(ref), range, q->view->number, arena, out,
                     err);
}

/* ---- distinct strings ---- */

struct strings {
    const struct tsdb_hash_key *key; /* senders choose the strings */
    struct tsdb_arena *arena;
    struct tsdb_slice *items; /* [cap / 2] */
    uint32_t *table;          /* [cap]: index + 1, 0 = free */
    uint32_t cap, count;
    uint32_t stop_at; /* 0: never */
    bool failed;
};

static void strings_init(struct strings *s, const struct tsdb_querier *q, struct tsdb_arena *arena)
{
    *s = (struct strings){.key = &q->db->hash_key, .arena = arena};
}

static uint32_t *strings_slot(const struct strings *s, const char *str, uint32_t len)
{
    uint32_t at = (uint32_t)tsdb_hash64(s->key, str, len) & (s->cap - 1);
    for (;; at = (at + 1) & (s->cap - 1)) {
        uint32_t i = s->table[at];
        if (i == 0) {
            return &s->table[at];
        }
        const struct tsdb_slice *have = &s->items[i - 1];
        if (have->len == len && (len == 0 || memcmp(have->data, str, len) == 0)) {
            return &s->table[at];
        }
    }
}

static bool strings_grow(struct strings *s)
{
    uint32_t cap = s->cap ? s->cap * 2 : STRINGS_CAP_FIRST;
    struct tsdb_slice *items = TSDB_ARENA_ARRAY(s->arena, struct tsdb_slice, cap / 2);
    uint32_t *table = TSDB_ARENA_ARRAY(s->arena, uint32_t, cap);
    if (!items || !table) {
        return false;
    }
    memset(table, 0, cap * sizeof table[0]);
    if (s->count > 0) {
        memcpy(items, s->items, s->count * sizeof items[0]);
    }
    s->items = items;
    s->table = table;
    s->cap = cap;
    for (uint32_t i = 0; i < s->count; i++) {
        *strings_slot(s, (const char *)items[i].data, (uint32_t)items[i].len) = i + 1;
    }
    return true;
}

/* False: stop, enough or no memory. */
static bool strings_add(struct strings *s, const char *str, uint32_t len)
{
    if (s->count == s->cap / 2 && !strings_grow(s)) {
        s->failed = true;
        return false;
    }
    uint32_t *slot = strings_slot(s, str, len);
    if (*slot == 0) {
        s->items[s->count] = (struct tsdb_slice){(const uint8_t *)str, len};
        *slot = ++s->count;
    }
    return s->stop_at == 0 || s->count < s->stop_at;
}

static int slice_order(const void *a, const void *b)
{
    const struct tsdb_slice *x = a;
    const struct tsdb_slice *y = b;
    return tsdb_str_compare((const char *)x->data, x->len, (const char *)y->data, y->len);
}

/* Sorted, cut at the limit, in the caller's arena. */
static enum tsdb_status strings_result(struct strings *s, uint32_t limit, struct tsdb_arena *arena,
                                       struct tsdb_slice **out, uint32_t *out_count,
                                       bool *out_truncated, struct tsdb_error *err)
{
    if (s->failed) {
        return exhausted(s->arena, err);
    }
    if (s->count > 1) {
        qsort(s->items, s->count, sizeof s->items[0], slice_order);
    }
    bool cut = limit > 0 && s->count > limit;
    uint32_t n = cut ? limit : s->count;
    struct tsdb_slice *copy = TSDB_ARENA_ARRAY(arena, struct tsdb_slice, TSDB_MAX(n, 1u));
    if (!copy) {
        return exhausted(arena, err);
    }
    if (n > 0) {
        memcpy(copy, s->items, n * sizeof copy[0]);
    }
    *out = copy;
    *out_count = n;
    *out_truncated = cut;
    return TSDB_OK;
}

/* ---- label names and values ---- */

/* What to collect: names (name NULL), or the values of a name. */
struct label_query {
    struct tsdb_querier *q;
    const char *name;
    uint32_t name_len;
    struct strings strings;
};

static bool add_string(void *arg, const char *s, uint32_t len)
{
    return strings_add(arg, s, len);
}

static bool add_name(void *arg, const char *s, uint32_t len)
{
    return head_name_is_hole(s, len) || strings_add(arg, s, len);
}

/* Without selectors: ask the index for its strings; no series is looked at. */
static enum tsdb_status collect_all(struct label_query *lq, struct tsdb_error *err)
{
    struct tsdb *db = lq->q->db;
    if (lq->name && head_name_is_hole(lq->name, lq->name_len)) {
        return TSDB_OK;
    }
    for (uint32_t p = 0; p < TSDB_PARTITIONS && !lq->strings.failed; p++) {
        enum tsdb_status status = check(lq->q, 0, err);
        if (status != TSDB_OK) {
            return status;
        }
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(db->epoch, &guard);
        const struct index_mem *ix = head_index(db->heads[p]);
        if (lq->name) {
            index_mem_values(ix, lq->name, lq->name_len, add_string, &lq->strings);
        } else {
            index_mem_names(ix, add_name, &lq->strings);
        }
        tsdb_epoch_exit(db->epoch, &guard);
    }
    return TSDB_OK;
}

/* False: stop. */
static bool collect_series(struct label_query *lq, struct head_partition *p, uint32_t local)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    struct tsdb_labels labels = {items,
                                 index_mem_labels(head_index(p), local, items, TSDB_LABELS_MAX)};
    if (lq->name) {
        const struct tsdb_label *l = tsdb_labels_find(&labels, lq->name, lq->name_len);
        return !l || strings_add(&lq->strings, l->value, l->value_len);
    }
    for (uint32_t i = 0; i < labels.count; i++) {
        if (!strings_add(&lq->strings, items[i].name, items[i].name_len)) {
            return false;
        }
    }
    return true;
}

/* With selectors: through the labels of the series that match. */
static enum tsdb_status collect_matching(struct label_query *lq, struct selection *sel,
                                         struct tsdb_error *err)
{
    struct tsdb *db = lq->q->db;
    bool go_on = true;
    for (uint32_t p = 0; go_on && p < TSDB_PARTITIONS; p++) {
        struct locals l;
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(db->epoch, &guard);
        enum tsdb_status status = selection_locals(sel, db->heads[p], &l, err);
        for (uint32_t i = 0; status == TSDB_OK && go_on && i < l.count; i++) {
            go_on = collect_series(lq, db->heads[p], l.ids[i]);
            status = check(lq->q, i, err);
        }
        tsdb_epoch_exit(db->epoch, &guard);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

/* With selectors and a limit the search ends as soon as there is one string too many: the answer is
 * then some of the strings, sorted. Without selectors it is the first ones. */
static enum tsdb_status label_strings(struct label_query *lq, const struct tsdb_selector *selectors,
                                      uint32_t selector_count, uint32_t limit,
                                      struct tsdb_arena *arena, struct tsdb_slice **out,
                                      uint32_t *out_count, bool *out_truncated,
                                      struct tsdb_error *err)
{
    struct selection sel;
    enum tsdb_status status = selection_init(&sel, lq->q, selectors, selector_count, err);
    if (status != TSDB_OK) {
        return status;
    }
    strings_init(&lq->strings, lq->q, &sel.scratch);
    if (selector_count == 0) {
        status = collect_all(lq, err);
    } else {
        lq->strings.stop_at = limit > 0 && limit < UINT32_MAX ? limit + 1 : 0;
        status = collect_matching(lq, &sel, err);
    }
    if (status == TSDB_OK) {
        status = strings_result(&lq->strings, limit, arena, out, out_count, out_truncated, err);
    }
    selection_deinit(&sel);
    return status;
}

enum tsdb_status tsdb_label_names(struct tsdb_querier *q, const struct tsdb_selector *selectors,
                                  uint32_t selector_count, uint32_t limit, struct tsdb_arena *arena,
                                  struct tsdb_slice **out, uint32_t *out_count, bool *out_truncated,
                                  struct tsdb_error *err)
{
    struct label_query lq = {.q = q};
    return label_strings(&lq, selectors, selector_count, limit, arena, out, out_count,
                         out_truncated, err);
}

enum tsdb_status tsdb_label_values(struct tsdb_querier *q, const char *name, uint32_t name_len,
                                   const struct tsdb_selector *selectors, uint32_t selector_count,
                                   uint32_t limit, struct tsdb_arena *arena,
                                   struct tsdb_slice **out, uint32_t *out_count,
                                   bool *out_truncated, struct tsdb_error *err)
{
    TSDB_ASSERT(name);
    struct label_query lq = {.q = q, .name = name, .name_len = name_len};
    return label_strings(&lq, selectors, selector_count, limit, arena, out, out_count,
                         out_truncated, err);
}

/* ---- series ---- */

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
        return exhausted(scratch, err);
    }
    if (s->items) {
        memcpy(items, s->items, s->count * sizeof items[0]);
    }
    s->items = items;
    s->cap = cap;
    return TSDB_OK;
}

static enum tsdb_status label_sets_collect(struct label_sets *s, struct selection *sel,
                                           uint32_t stop_at, struct tsdb_arena *arena,
                                           struct tsdb_error *err)
{
    struct tsdb_querier *q = sel->q;
    for (uint32_t p = 0; p < TSDB_PARTITIONS && s->count < stop_at; p++) {
        struct locals l;
        enum tsdb_status status = selection_partition(sel, p, &l, err);
        if (status == TSDB_OK) {
            l.count = TSDB_MIN(l.count, stop_at - s->count);
            status = label_sets_reserve(s, l.count, &sel->scratch, err);
        }
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(q->db->epoch, &guard);
        for (uint32_t i = 0; status == TSDB_OK && i < l.count; i++) {
            TSDB_ASSERT(s->items);
            status =
                labels_copy(q, tsdb_series_make(p, l.ids[i]), arena, &s->items[s->count++], err);
            if (status == TSDB_OK) {
                status = check(q, i, err);
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
    status = label_sets_collect(&sets, &sel, stop_at, arena, err);
    if (status == TSDB_OK) {
        cut = limit > 0 && sets.count > limit;
        if (sets.count > 1) {
            qsort(sets.items, sets.count, sizeof sets.items[0], labels_order);
        }
        sets.count = cut ? limit : sets.count;
        copy = TSDB_ARENA_ARRAY(arena, struct tsdb_labels, TSDB_MAX(sets.count, 1u));
        status = copy ? TSDB_OK : exhausted(arena, err);
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

/* ---- exemplars ---- */

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
        uint32_t cap = eq->cap ? eq->cap * 2 : 64;
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

/* Copies strings too: the ring's memory is overwritten. */
static bool exemplar_labels_copy(const struct tsdb_labels *from, struct tsdb_arena *arena,
                                 struct tsdb_labels *out)
{
    struct tsdb_label *items =
        TSDB_ARENA_ARRAY(arena, struct tsdb_label, TSDB_MAX(from->count, 1u));
    for (uint32_t i = 0; items && i < from->count; i++) {
        items[i] = from->items[i];
        items[i].name = tsdb_arena_strndup(arena, from->items[i].name, from->items[i].name_len);
        items[i].value = tsdb_arena_strndup(arena, from->items[i].value, from->items[i].value_len);
        if (!items[i].name || !items[i].value) {
            return false;
        }
    }
    *out = (struct tsdb_labels){items, from->count};
    return items != NULL;
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
    if (!exemplar_labels_copy(&x->labels, eq->arena, &f->exemplar.labels)) {
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
static enum tsdb_status exemplars_group(const struct tsdb_querier *q, uint32_t partition,
                                        const struct exemplar_query *eq,
                                        struct tsdb_exemplar_series *series, uint32_t *count,
                                        struct tsdb_error *err)
{
    qsort(eq->items, eq->count, sizeof eq->items[0], exemplar_order);
    struct tsdb_exemplar *copy = TSDB_ARENA_ARRAY(eq->arena, struct tsdb_exemplar, eq->count);
    if (!copy) {
        return exhausted(eq->arena, err);
    }
    for (uint32_t i = 0; i < eq->count; i++) {
        copy[i] = eq->items[i].exemplar;
        if (i > 0 && eq->items[i].local == eq->items[i - 1].local) {
            series[*count - 1].count++;
            continue;
        }
        struct tsdb_exemplar_series *s = &series[*count];
        enum tsdb_status status = labels_copy(q, tsdb_series_make(partition, eq->items[i].local),
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
    enum tsdb_status status = selection_locals(sel, p, &eq->locals, err);
    if (status != TSDB_OK || eq->locals.count == 0) {
        return status;
    }
    eq->count = 0;
    head_exemplars(p, exemplar_visit, eq);
    if (eq->failed) {
        return exhausted(eq->failed, err);
    }
    if (eq->count == 0) {
        return TSDB_OK;
    }
    struct tsdb_exemplar_series *grown =
        TSDB_ARENA_ARRAY(eq->arena, struct tsdb_exemplar_series, (size_t)*count + eq->count);
    if (!grown) {
        return exhausted(eq->arena, err);
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
            status = check(q, 0, err);
        }
    }
    selection_deinit(&sel);
    if (status == TSDB_OK) {
        *out = series;
        *out_count = count;
    }
    return status;
}
