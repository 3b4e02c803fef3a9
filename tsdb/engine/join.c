/* The series of blocks: each block is asked through its own index, and joined with the head by labels.
 *
 * What a block's series is in the head is found out once and noted with the block (tsdb/block/refs.h);
 * a series that the head does not have is a stray, numbered by the querier. The index of the head that
 * the querier looks into is the same for its whole life (querier_index), so a series does not become
 * another one on the way. */
#include "base/assert.h"
#include "model/placement.h"
#include "tsdb/engine/querier_private.h"

#include <string.h>

#define CAP_FIRST 64u
#define HASH_MIX  UINT32_C(2654435761)

/* ---- arrays ---- */

static enum tsdb_status exhausted(struct tsdb_querier *q, struct tsdb_error *err)
{
    return querier_exhausted(&q->arena, err);
}

/* Room for one more item of so many bytes. */
static void *array_push(struct tsdb_querier *q, struct join_array *a, size_t bytes)
{
    if (a->count == a->cap) {
        uint32_t cap = a->cap ? a->cap * 2 : CAP_FIRST;
        uint8_t *items = a->cap < UINT32_MAX / 2
                             ? tsdb_arena_alloc(&q->arena, cap * bytes, sizeof(uint64_t))
                             : NULL;
        if (!items) {
            return NULL;
        }
        if (a->count > 0) {
            memcpy(items, a->items, a->count * bytes);
        }
        a->items = items;
        a->cap = cap;
    }
    return (uint8_t *)a->items + bytes * a->count++;
}

static struct join_row *row_at(const struct join *j, uint32_t i)
{
    return (struct join_row *)j->rows.items + i;
}
static struct stray *stray_at(const struct join *j, uint32_t i)
{
    return (struct stray *)j->strays.items + i;
}

/* ---- tables ---- */

/* The hash of item i of the table's array. */
typedef uint32_t (*slot_hash_fn)(const struct join *j, uint32_t i);

static uint32_t ref_hash(tsdb_series_ref ref)
{
    uint32_t h = ref * HASH_MIX;
    return h ^ h >> 15;
}
static uint32_t row_hash(const struct join *j, uint32_t i)
{
    return ref_hash(row_at(j, i)->ref);
}
static uint32_t stray_hash(const struct join *j, uint32_t i)
{
    return (uint32_t)stray_at(j, i)->hash;
}

static void slots_put(struct join_array *slots, uint32_t hash, uint32_t i)
{
    uint32_t *items = slots->items;
    uint32_t at = hash & (slots->cap - 1);
    while (items[at] != 0) {
        at = (at + 1) & (slots->cap - 1);
    }
    items[at] = i + 1;
    slots->count++;
}

/* Half full at most after one more. */
static bool slots_ensure(struct tsdb_querier *q, struct join_array *slots, slot_hash_fn hash)
{
    if (slots->count < slots->cap / 2) {
        return true;
    }
    struct join_array grown = {.cap = slots->cap ? slots->cap * 2 : CAP_FIRST};
    uint32_t *items = grown.cap ? TSDB_ARENA_ARRAY(&q->arena, uint32_t, grown.cap) : NULL;
    if (!items) {
        return false;
    }
    memset(items, 0, grown.cap * sizeof *items);
    grown.items = items;
    for (uint32_t i = 0; i < slots->count; i++) {
        slots_put(&grown, hash(&q->join, i), i);
    }
    *slots = grown;
    return true;
}

static struct join_row *row_find(const struct join *j, tsdb_series_ref ref)
{
    const uint32_t *slots = j->row_slots.items;
    uint32_t mask = j->row_slots.cap - 1;
    for (uint32_t at = ref_hash(ref); slots && slots[at & mask] != 0; at++) {
        struct join_row *row = row_at(j, slots[at & mask] - 1);
        if (row->ref == ref) {
            return row;
        }
    }
    return NULL;
}

static struct join_row *row_ensure(struct tsdb_querier *q, tsdb_series_ref ref)
{
    struct join *j = &q->join;
    struct join_row *row = row_find(j, ref);
    if (row) {
        return row;
    }
    row = slots_ensure(q, &j->row_slots, row_hash) ? array_push(q, &j->rows, sizeof *row) : NULL;
    if (row) {
        *row = (struct join_row){ref, j->turn, JOIN_END};
        slots_put(&j->row_slots, ref_hash(ref), j->rows.count - 1);
    }
    return row;
}

/* ---- strays ---- */

tsdb_series_ref join_stray_ref(uint32_t number)
{
    TSDB_ASSERT(number < TSDB_SERIES_IDS_MAX * (uint64_t)TSDB_PARTITIONS);
    return tsdb_series_make(number / TSDB_SERIES_IDS_MAX,
                            TSDB_SERIES_IDS_MAX | (number & (TSDB_SERIES_IDS_MAX - 1)));
}

uint32_t join_stray_number(tsdb_series_ref ref)
{
    uint32_t local = tsdb_series_local(ref);
    return local < TSDB_SERIES_IDS_MAX
               ? UINT32_MAX
               : tsdb_series_partition(ref) * TSDB_SERIES_IDS_MAX + (local - TSDB_SERIES_IDS_MAX);
}

const struct stray *join_stray(const struct join *j, tsdb_series_ref ref)
{
    uint32_t number = join_stray_number(ref);
    if (number == UINT32_MAX) {
        return NULL;
    }
    TSDB_ASSERT(number < j->strays.count);
    return stray_at(j, number);
}

/* The number of the stray with these labels, found or made; UINT32_MAX: no memory. */
static uint32_t stray_ensure(struct tsdb_querier *q, const struct tsdb_labels *labels,
                             uint64_t hash, uint32_t partition)
{
    struct join *j = &q->join;
    if (!slots_ensure(q, &j->stray_slots, stray_hash)) {
        return UINT32_MAX;
    }
    const uint32_t *slots = j->stray_slots.items;
    uint32_t mask = j->stray_slots.cap - 1;
    for (uint32_t at = (uint32_t)hash; slots[at & mask] != 0; at++) {
        uint32_t i = slots[at & mask] - 1;
        if (stray_at(j, i)->hash == hash &&
            tsdb_labels_compare(&stray_at(j, i)->labels, labels) == 0) {
            return i;
        }
    }
    struct stray made = {.hash = hash, .partition = partition};
    struct stray *s = tsdb_labels_dup(labels, &q->arena, &made.labels) == TSDB_OK
                          ? array_push(q, &j->strays, sizeof *s)
                          : NULL;
    if (!s) {
        return UINT32_MAX;
    }
    *s = made;
    slots_put(&j->stray_slots, (uint32_t)hash, j->strays.count - 1);
    return j->strays.count - 1;
}

/* ---- one series of a block ---- */

/* What is known of it, if that is a series that the querier sees. */
static tsdb_series_ref known_ref(struct tsdb_querier *q, const struct live_block *l, uint32_t id)
{
    tsdb_series_ref ref = block_refs_at(l->refs, id);
    if (ref == TSDB_SERIES_NEW) {
        return ref;
    }
    const struct querier_index *x = querier_index(q, tsdb_series_partition(ref));
    uint32_t local = tsdb_series_local(ref);
    return local < x->bound && index_mem_has(x->index, local) ? ref : TSDB_SERIES_NEW;
}

enum tsdb_status join_resolve(struct tsdb_querier *q, const struct live_block *l,
                              struct index_disk_cursor **cursor, uint32_t id, tsdb_series_ref *out,
                              struct tsdb_error *err)
{
    const struct tsdb_hash_key *key = &q->db->hash_key;
    struct tsdb_labels labels;
    *out = known_ref(q, l, id);
    if (*out != TSDB_SERIES_NEW) {
        return TSDB_OK;
    }
    enum tsdb_status status = block_labels_next(l->block, cursor, id, &labels, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t hash = tsdb_labels_hash(key, &labels);
    uint32_t partition = tsdb_labels_partition(key, &labels, hash);
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(q->db->epoch, &guard);
    const struct querier_index *x = querier_index(q, partition);
    uint32_t local = index_mem_find(x->index, &labels, hash);
    tsdb_epoch_exit(q->db->epoch, &guard);
    if (local < x->bound) {
        *out = tsdb_series_make(partition, local);
        block_refs_note(l->refs, id, *out);
        return TSDB_OK;
    }
    uint32_t number = stray_ensure(q, &labels, hash, partition);
    if (number == UINT32_MAX) {
        return exhausted(q, err);
    }
    *out = join_stray_ref(number);
    return TSDB_OK;
}

enum tsdb_status join_pair_add(struct tsdb_querier *q, tsdb_series_ref ref, uint32_t block,
                               uint32_t id, struct tsdb_error *err)
{
    struct join *j = &q->join;
    struct join_row *row = row_ensure(q, ref);
    if (!row) {
        return exhausted(q, err);
    }
    if (row->turn != j->turn) {
        return TSDB_OK; /* an earlier selection had it, with all its pairs */
    }
    struct join_pair *pair = array_push(q, &j->pairs, sizeof *pair);
    if (!pair) {
        return exhausted(q, err);
    }
    *pair = (struct join_pair){row->first, block, id};
    row->first = j->pairs.count - 1;
    return TSDB_OK;
}

/* ---- a selection ---- */

enum tsdb_status selection_ids(struct selection *sel, const struct block *b, struct locals *out,
                               struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    *out = (struct locals){NULL, 0};
    for (uint32_t i = 0; status == TSDB_OK && i < TSDB_MAX(sel->count, 1u); i++) {
        const struct conjunction none = {NULL, NULL, 0};
        const struct conjunction *c = sel->count > 0 ? &sel->any[i] : &none;
        struct locals some = {NULL, 0};
        status = block_select(b, c->matchers, c->count, sel->q->request, &sel->scratch, &some.ids,
                              &some.count, err);
        if (status == TSDB_OK && out->count > 0 && some.count > 0) {
            status = locals_union(&sel->scratch, out, &some, out, err);
        } else if (status == TSDB_OK && some.count > 0) {
            *out = some;
        }
    }
    return status;
}

/* The strays of the selection: as many as there are at most. */
static enum tsdb_status stray_note(struct selection *sel, tsdb_series_ref ref,
                                   struct join_array *picked, struct tsdb_error *err)
{
    struct join *j = &sel->q->join;
    uint32_t number = join_stray_number(ref);
    if (number == UINT32_MAX) {
        return TSDB_OK;
    }
    if (stray_at(j, number)->turn == j->turn) {
        return TSDB_OK;
    }
    uint32_t *slot = array_push(sel->q, picked, sizeof *slot);
    if (!slot) {
        return exhausted(sel->q, err);
    }
    stray_at(j, number)->turn = j->turn;
    *slot = number;
    return TSDB_OK;
}

static enum tsdb_status block_join(struct selection *sel, uint32_t block, struct join_array *picked,
                                   struct tsdb_error *err)
{
    struct tsdb_querier *q = sel->q;
    const struct live_block *l = q->view->blocks[block];
    struct index_disk_cursor *cursor = NULL;
    struct locals ids;
    enum tsdb_status status = selection_ids(sel, l->block, &ids, err);
    if (status == TSDB_OK && ids.count > 0) {
        q->join.turn_bytes +=
            (double)block_pages_bytes(l->block) * ids.count / (double)block_meta(l->block)->series;
    }
    for (uint32_t i = 0; status == TSDB_OK && i < ids.count; i++) {
        tsdb_series_ref ref = TSDB_SERIES_NEW;
        status = join_resolve(q, l, &cursor, ids.ids[i], &ref, err);
        if (status == TSDB_OK) {
            status = join_pair_add(q, ref, block, ids.ids[i], err);
        }
        if (status == TSDB_OK) {
            status = stray_note(sel, ref, picked, err);
        }
        if (status == TSDB_OK) {
            status = querier_check(q, i, err);
        }
    }
    block_labels_end(&cursor);
    return status == TSDB_OK
               ? status
               : tsdb_error_prefix(err, status, "block %s", block_meta(l->block)->ulid);
}

enum tsdb_status join_select(struct selection *sel, struct locals *strays, struct tsdb_error *err)
{
    struct tsdb_querier *q = sel->q;
    struct join_array picked = {0};
    enum tsdb_status status = TSDB_OK;
    q->join.turn++;
    q->join.turn_bytes = 0;
    for (uint32_t i = q->view->block_count; status == TSDB_OK && i-- > 0;) {
        if (blocks_overlaps(q->view->blocks[i], q->range)) {
            status = block_join(sel, i, &picked, err);
        }
    }
    q->join.bytes = TSDB_MAX(q->join.bytes, q->join.turn_bytes);
    *strays = (struct locals){picked.items, picked.count};
    return status;
}

/* ---- what was found ---- */

void join_init(struct join *j)
{
    *j = (struct join){0};
}

static const struct join_pair *pair_at(const struct join *j, uint32_t i)
{
    return i != JOIN_END ? (const struct join_pair *)j->pairs.items + i : NULL;
}

const struct join_pair *join_first(const struct join *j, tsdb_series_ref ref)
{
    const struct join_row *row = row_find(j, ref);
    return row ? pair_at(j, row->first) : NULL;
}

const struct join_pair *join_next(const struct join *j, const struct join_pair *pair)
{
    return pair_at(j, pair->next);
}
