/* Which metrics, labels and pairs are many: what /api/v1/status/tsdb asks for.
 *
 * A pair of one name and value stands in up to 64 partitions, so counting needs a table of all
 * pairs. That table is kept small by walking the partitions several times, each time for the pairs
 * of one share of the hashes. Epoch guards are held for one partition at a time; the indexes are
 * pinned, so that strings stay, and what is answered is copied. */
#include "base/assert.h"
#include "tsdb/engine/tsdb_private.h"

#include <string.h>

#define PAIRS_PER_PASS     (1u << 19) /* about; 48 bytes each in a table that is half full */
#define TABLE_CAP_FIRST    1024u
#define ARENA_BYTES        65536u
#define CHECK_EVERY        4096u /* pairs between two looks at the clock */
#define BYTES_PER_SERIES   8u    /* of a pair: 4 in the labels, 4 in the postings */
#define HASH_MIX           UINT64_C(0x9e3779b97f4a7c15)
#define METRIC_NAME        "__name__"
#define METRIC_NAME_LENGTH 8u

/* Of the table of pairs, or of that of names (value NULL). Free: name NULL. */
struct entry {
    uint64_t hash;
    const char *name, *value;
    uint32_t name_len, value_len;
    uint64_t count; /* series of a pair, values of a name */
    uint64_t bytes;
};
struct table {
    struct tsdb_arena *arena;
    struct entry *slots; /* open addressing */
    uint32_t cap, count;
};
/* The greatest ones so far: a heap with the least of them on top. */
struct top {
    struct tsdb_cardinality_item *items;
    uint32_t count, limit;
};
struct walk {
    struct tsdb *db;
    struct index_mem *indexes[TSDB_PARTITIONS]; /* pinned */
    struct tsdb_request *request;
    struct tsdb_arena pass_arena, name_arena;
    struct table pairs, names;
    struct top metrics, values, memory, series;
    uint64_t label_pairs;
    uint32_t passes, pass;
    /* of the last pair that was seen */
    const char *name;
    uint64_t name_hash;
    uint64_t turn;
    enum tsdb_status status;
};

/* ---- tables ---- */

static bool same(const struct entry *a, const struct entry *b)
{
    return a->hash == b->hash && a->name_len == b->name_len && a->value_len == b->value_len &&
           memcmp(a->name, b->name, a->name_len) == 0 &&
           (!a->value || !b->value || memcmp(a->value, b->value, a->value_len) == 0);
}

static struct entry *table_slot(const struct table *t, const struct entry *e)
{
    /* The upper half: the lower bits of all pairs of one pass are alike. */
    for (uint32_t at = (uint32_t)(e->hash >> 32) & (t->cap - 1);; at = (at + 1) & (t->cap - 1)) {
        if (!t->slots[at].name || same(&t->slots[at], e)) {
            return &t->slots[at];
        }
    }
}

static enum tsdb_status table_grow(struct table *t)
{
    struct table old = *t;
    t->cap = old.cap ? old.cap * 2 : TABLE_CAP_FIRST;
    t->slots = TSDB_ARENA_ARRAY(t->arena, struct entry, t->cap);
    if (!t->slots) {
        *t = old;
        return tsdb_arena_status(t->arena);
    }
    memset(t->slots, 0, t->cap * sizeof t->slots[0]);
    for (uint32_t i = 0; i < old.cap; i++) {
        if (old.slots[i].name) {
            *table_slot(t, &old.slots[i]) = old.slots[i];
        }
    }
    return TSDB_OK;
}

/* Add to the entry of the same name and value. */
static enum tsdb_status table_add(struct table *t, const struct entry *e)
{
    if (t->count >= t->cap / 2) {
        enum tsdb_status status = table_grow(t);
        if (status != TSDB_OK) {
            return status;
        }
    }
    struct entry *slot = table_slot(t, e);
    if (slot->name) {
        slot->count += e->count;
        slot->bytes += e->bytes;
    } else {
        *slot = *e;
        t->count++;
    }
    return TSDB_OK;
}

/* ---- the greatest ---- */

static int slice_compare(struct tsdb_slice a, struct tsdb_slice b)
{
    size_t n = TSDB_MIN(a.len, b.len);
    int order = a.data && b.data ? memcmp(a.data, b.data, n) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Greater counts first, then by name and value: the answer does not depend on the walk. */
static bool before(const struct tsdb_cardinality_item *a, const struct tsdb_cardinality_item *b)
{
    if (a->count != b->count) {
        return a->count > b->count;
    }
    int order = slice_compare(a->name, b->name);
    return order != 0 ? order < 0 : slice_compare(a->value, b->value) < 0;
}

static void top_sink(struct tsdb_cardinality_item *items, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t last = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            last = before(&items[last], &items[child]) ? child : last;
        }
        if (last == at) {
            return;
        }
        struct tsdb_cardinality_item moved = items[at];
        items[at] = items[last];
        items[last] = moved;
        at = last;
    }
}

static void top_add(struct top *t, const struct tsdb_cardinality_item *item)
{
    if (t->count == t->limit) {
        if (before(item, &t->items[0])) {
            t->items[0] = *item;
            top_sink(t->items, t->count, 0);
        }
        return;
    }
    uint32_t at = t->count++;
    while (at > 0 && before(&t->items[(at - 1) / 2], item)) {
        t->items[at] = t->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    t->items[at] = *item;
}

static struct tsdb_cardinality_list top_finish(struct top *t)
{
    for (uint32_t n = t->count; n > 1; n--) {
        struct tsdb_cardinality_item last = t->items[0];
        t->items[0] = t->items[n - 1];
        t->items[n - 1] = last;
        top_sink(t->items, n - 1, 0);
    }
    return (struct tsdb_cardinality_list){t->items, t->count};
}

static struct tsdb_slice slice(const char *s, uint32_t len)
{
    return (struct tsdb_slice){(const uint8_t *)s, len};
}

/* ---- the walk ---- */

static bool on_pair(void *arg, const char *name, uint32_t name_len, const char *value,
                    uint32_t value_len, uint64_t series)
{
    struct walk *w = arg;
    if (w->turn++ % CHECK_EVERY == 0 && w->request) {
        w->status = tsdb_request_check(w->request);
        if (w->status != TSDB_OK) {
            return false;
        }
    }
    if (name != w->name) { /* the values of a name come one after the other */
        w->name = name;
        w->name_hash = tsdb_hash64(&w->db->hash_key, name, name_len);
    }
    uint64_t hash = tsdb_hash64(&w->db->hash_key, value, value_len) + w->name_hash * HASH_MIX;
    if (hash % w->passes != w->pass) {
        return true;
    }
    struct entry e = {
        hash, name, value, name_len, value_len, series, value_len + series * BYTES_PER_SERIES};
    w->status = table_add(&w->pairs, &e);
    return w->status == TSDB_OK;
}

/* The pairs of this pass are complete: rank them, and count them for their names. */
static enum tsdb_status pass_finish(struct walk *w)
{
    for (uint32_t i = 0; i < w->pairs.cap; i++) {
        const struct entry *p = &w->pairs.slots[i];
        if (!p->name) {
            continue;
        }
        w->label_pairs++;
        struct tsdb_cardinality_item item = {slice(p->name, p->name_len),
                                             slice(p->value, p->value_len), p->count};
        top_add(&w->series, &item);
        if (p->name_len == METRIC_NAME_LENGTH &&
            memcmp(p->name, METRIC_NAME, METRIC_NAME_LENGTH) == 0) {
            item = (struct tsdb_cardinality_item){item.value, {NULL, 0}, p->count};
            top_add(&w->metrics, &item);
        }
        struct entry name = {.hash = tsdb_hash64(&w->db->hash_key, p->name, p->name_len),
                             .name = p->name,
                             .name_len = p->name_len,
                             .count = 1,
                             .bytes = p->bytes};
        enum tsdb_status status = table_add(&w->names, &name);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status pass_run(struct walk *w)
{
    tsdb_arena_reset(&w->pass_arena);
    w->pairs = (struct table){.arena = &w->pass_arena};
    for (uint32_t p = 0; p < TSDB_PARTITIONS && w->status == TSDB_OK; p++) {
        struct tsdb_epoch_guard guard;
        w->name = NULL;
        tsdb_epoch_enter(w->db->epoch, &guard);
        index_mem_pairs(w->indexes[p], on_pair, w);
        tsdb_epoch_exit(w->db->epoch, &guard);
    }
    return w->status == TSDB_OK ? pass_finish(w) : w->status;
}

static void names_finish(struct walk *w)
{
    for (uint32_t i = 0; i < w->names.cap; i++) {
        const struct entry *n = &w->names.slots[i];
        if (n->name) {
            struct tsdb_cardinality_item item = {slice(n->name, n->name_len), {NULL, 0}, n->count};
            top_add(&w->values, &item);
            item.count = n->bytes;
            top_add(&w->memory, &item);
        }
    }
}

/* Pairs of all partitions, those that stand in several counted several times. */
static uint64_t pairs_total(const struct walk *w)
{
    uint64_t total = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        struct index_mem_stats s;
        index_mem_stats(w->indexes[p], &s);
        total += s.label_pairs;
    }
    return total;
}

static bool slice_own(struct tsdb_slice *s, struct tsdb_arena *arena)
{
    const char *copy = tsdb_arena_strndup(arena, (const char *)s->data, s->len);
    *s = slice(copy, (uint32_t)s->len);
    return copy != NULL;
}

/* The answer outlives the indexes. */
static enum tsdb_status answer_own(struct walk *w, struct tsdb_arena *arena)
{
    struct top *const tops[] = {&w->metrics, &w->values, &w->memory, &w->series};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(tops); i++) {
        for (uint32_t k = 0; k < tops[i]->count; k++) {
            struct tsdb_cardinality_item *item = &tops[i]->items[k];
            if (!slice_own(&item->name, arena) ||
                (item->value.data && !slice_own(&item->value, arena))) {
                return tsdb_arena_status(arena);
            }
        }
    }
    return TSDB_OK;
}

static bool top_init(struct top *t, uint32_t limit, struct tsdb_arena *arena)
{
    *t = (struct top){TSDB_ARENA_ARRAY(arena, struct tsdb_cardinality_item, limit), 0, limit};
    return t->items != NULL;
}

enum tsdb_status tsdb_cardinality_read(struct tsdb *db, struct tsdb_request *request,
                                       uint32_t limit, struct tsdb_arena *arena,
                                       struct tsdb_cardinality *out, struct tsdb_error *err)
{
    TSDB_ASSERT(limit > 0);
    /* Acquire: partner is recovery's release; the series that it made are there. */
    uint32_t state = atomic_load_explicit(&db->state, memory_order_acquire);
    if (state != TSDB_STATE_READY && state != TSDB_STATE_READ_ONLY) {
        return tsdb_error_set(err, TSDB_BUSY, "storage is not ready");
    }
    struct walk w = {.db = db, .request = request};
    struct tsdb_account *account = request ? &request->account : NULL;
    tsdb_arena_init(&w.pass_arena, TSDB_MEM_QUERY, ARENA_BYTES, account);
    tsdb_arena_init(&w.name_arena, TSDB_MEM_QUERY, ARENA_BYTES, account);
    w.names.arena = &w.name_arena;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        w.indexes[p] = head_index_pin(db->heads[p]);
    }
    if (!top_init(&w.metrics, limit, arena) || !top_init(&w.values, limit, arena) ||
        !top_init(&w.memory, limit, arena) || !top_init(&w.series, limit, arena)) {
        w.status = arena->failure;
    }
    w.passes = (uint32_t)TSDB_MIN(pairs_total(&w) / PAIRS_PER_PASS + 1, UINT32_MAX);
    for (; w.pass < w.passes && w.status == TSDB_OK; w.pass++) {
        w.status = pass_run(&w);
    }
    if (w.status == TSDB_OK) {
        names_finish(&w);
        *out =
            (struct tsdb_cardinality){w.label_pairs, top_finish(&w.metrics), top_finish(&w.values),
                                      top_finish(&w.memory), top_finish(&w.series)};
        w.status = answer_own(&w, arena);
    }
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        index_mem_unpin(w.indexes[p]);
    }
    if (w.status != TSDB_OK) {
        (void)tsdb_error_set(err, w.status, "cardinality: %s", tsdb_status_name(w.status));
    }
    tsdb_arena_deinit(&w.pass_arena);
    tsdb_arena_deinit(&w.name_arena);
    return w.status;
}
