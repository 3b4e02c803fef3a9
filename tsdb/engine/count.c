/* How many series have a sample just now, by the values of a label: told from ids, the newest samples of open
 * chunks and the headers of chunks in blocks, in the order in which they lie. No set is put in order, no label
 * of a series is put together, and nothing is looked up twice.
 *
 * What it says is what tsdb_select and tsdb_series_newest would: the same rules, series by series. The few series
 * of which only the samples tell are read; where they are many, who asks is told to ask one by one. */
#include "base/assert.h"
#include "base/latency.h"
#include "index/match/matcher.h"
#include "tsdb/engine/querier_private.h"
#include "tsdb/engine/strings.h"

#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES     16384u
#define GROUPS_FIRST      16u
#define VALUES_REMEMBERED 1024u /* a power of two */
#define HOT_AHEAD         24u   /* series, as read_ahead.c */
#define NEWEST_AHEAD      12u
#define BLOCK_AHEAD       8u
/* Reading one takes as long as counting some dozens. */
#define UNSURE_MIN  64u
#define UNSURE_PART 16u
#define PROBES      16u /* series of heads, and of each block, that say whether it is worth trying */

/* The newest sample of a series, as far as it is known. */
struct counted {
    int64_t t_ms;
    uint32_t group;
    bool any, stale, unsure;
    bool of_block;
    bool seen; /* of strays */
};
/* The first of its series, in the order of a set. */
struct group {
    uint32_t key;
    uint32_t partition;
    uint32_t number; /* of the value */
    uint64_t series;
};
struct counting {
    struct tsdb_querier *q;
    struct selection sel;
    struct tsdb_time_range range;
    struct tsdb_slice by; /* a label name; len 0: one group */
    struct locals heads[TSDB_PARTITIONS];
    struct counted *of_heads[TSDB_PARTITIONS]; /* parallel */
    struct locals *blocks;                     /* of the view; none of those that are not touched */
    struct counted *strays;                    /* by their number */
    uint32_t stray_count, stray_cap;
    struct strings values; /* numbered as groups */
    struct group *groups;
    uint32_t group_cap;
    /* Groups of values of one head's index: what is not here is looked up. */
    struct {
        uint32_t value, group;
    } known[VALUES_REMEMBERED];
    uint64_t total, unsure, read;
    bool given_up;
};

static enum tsdb_status exhausted(struct counting *c, struct tsdb_error *err)
{
    return querier_exhausted(&c->sel.scratch, err);
}

/* ---- groups ---- */

/* The group of a value, of which a series with this place is found. */
static enum tsdb_status group_put(struct counting *c, struct tsdb_slice value, uint32_t partition,
                                  uint32_t key, uint32_t *out, struct tsdb_error *err)
{
    uint32_t before = c->values.count;
    if (!strings_put(&c->values, (const char *)value.data, (uint32_t)value.len, out)) {
        return exhausted(c, err);
    }
    if (before == c->group_cap && *out == before) {
        uint32_t cap = c->group_cap ? c->group_cap * 2 : GROUPS_FIRST;
        struct group *grown = TSDB_ARENA_ARRAY(&c->sel.scratch, struct group, cap);
        if (!grown) {
            return exhausted(c, err);
        }
        if (before > 0) {
            memcpy(grown, c->groups, before * sizeof *grown);
        }
        c->groups = grown;
        c->group_cap = cap;
    }
    if (*out == before) {
        c->groups[before] = (struct group){key, partition, before, 0};
    }
    return TSDB_OK;
}

static void group_place(struct counting *c, uint32_t number, uint32_t partition, uint32_t key)
{
    struct group *g = &c->groups[number];
    if (partition < g->partition || (partition == g->partition && key < g->key)) {
        g->partition = partition;
        g->key = key;
    }
}

static enum tsdb_status group_of_value(struct counting *c, const struct index_mem *index,
                                       uint32_t value, uint32_t partition, uint32_t key,
                                       uint32_t *out, struct tsdb_error *err)
{
    uint32_t at = value & (VALUES_REMEMBERED - 1);
    if (value == INDEX_MEM_NO_VALUE || c->known[at].value != value) {
        struct tsdb_slice string = {(const uint8_t *)"", 0};
        if (value != INDEX_MEM_NO_VALUE) {
            string = index_mem_value_string(index, value);
        }
        enum tsdb_status status = group_put(c, string, partition, key, out, err);
        if (status != TSDB_OK) {
            return status;
        }
        c->known[at].value = value;
        c->known[at].group = *out;
    }
    *out = c->known[at].group;
    group_place(c, *out, partition, key);
    return TSDB_OK;
}

/* ---- heads ---- */

/* Under a guard. */
static enum tsdb_status head_group(struct counting *c, uint32_t p, struct tsdb_error *err)
{
    const struct locals *l = &c->heads[p];
    const struct index_mem *index = c->q->indexes[p].index;
    uint32_t *values = TSDB_ARENA_ARRAY(&c->sel.scratch, uint32_t, l->count);
    enum tsdb_status status = values ? TSDB_OK : exhausted(c, err);
    if (status != TSDB_OK) {
        return status;
    }
    index_mem_values_of(index, (const char *)c->by.data, (uint32_t)c->by.len, l->ids, l->count,
                        values);
    for (uint32_t i = 0; i < VALUES_REMEMBERED; i++) {
        c->known[i].value = INDEX_MEM_NO_VALUE;
    }
    for (uint32_t i = 0; i < l->count && status == TSDB_OK; i++) {
        uint32_t key = place_key(index_mem_hash(index, l->ids[i]));
        status = group_of_value(c, index, values[i], p, key, &c->of_heads[p][i].group, err);
    }
    return status;
}

static void now_unsure(struct counting *c, struct counted *s)
{
    s->unsure = true;
    c->unsure++;
    c->given_up = c->unsure > c->total / UNSURE_PART + UNSURE_MIN;
}

/* Under a guard. */
static enum tsdb_status head_look(struct counting *c, uint32_t p, struct tsdb_error *err)
{
    const struct locals *l = &c->heads[p];
    const struct head_partition *head = c->q->db->heads[p];
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < l->count && status == TSDB_OK && !c->given_up; i++) {
        struct counted *s = &c->of_heads[p][i];
        if (l->count - i > HOT_AHEAD) {
            head_read_ahead_hot(head, l->ids[i + HOT_AHEAD]);
        }
        if (l->count - i > NEWEST_AHEAD) {
            head_read_ahead_newest(head, l->ids[i + NEWEST_AHEAD]);
        }
        const struct newest n = newest_in_head(head, l->ids[i], c->range, c->q->view->number);
        s->t_ms = n.t_ms;
        s->any = n.any;
        s->stale = tsdb_is_stale_bits(n.bits);
        if (n.unsure) {
            now_unsure(c, s);
        }
        status = querier_check(c->q, i, err);
    }
    return status;
}

static enum tsdb_status head_count(struct counting *c, uint32_t p, struct tsdb_error *err)
{
    struct tsdb_epoch_guard guard;
    uint32_t n = c->heads[p].count;
    if (n == 0) {
        return TSDB_OK;
    }
    c->of_heads[p] = TSDB_ARENA_ARRAY(&c->sel.scratch, struct counted, n);
    if (!c->of_heads[p]) {
        return exhausted(c, err);
    }
    memset(c->of_heads[p], 0, n * sizeof *c->of_heads[p]);
    tsdb_epoch_enter(c->q->db->epoch, &guard);
    enum tsdb_status status = c->by.len > 0 ? head_group(c, p, err) : TSDB_OK;
    status = status == TSDB_OK ? head_look(c, p, err) : status;
    tsdb_epoch_exit(c->q->db->epoch, &guard);
    return status;
}

/* ---- blocks ---- */

/* Numbers are the querier's: an earlier selection may have made the first ones. */
static enum tsdb_status strays_reach(struct counting *c, uint32_t number, struct tsdb_error *err)
{
    if (number >= c->stray_cap) {
        uint32_t cap = TSDB_MAX(TSDB_MAX(c->stray_cap * 2, GROUPS_FIRST), number + 1);
        struct counted *grown = TSDB_ARENA_ARRAY(&c->sel.scratch, struct counted, cap);
        if (!grown) {
            return exhausted(c, err);
        }
        memset(grown, 0, cap * sizeof *grown);
        if (c->stray_count > 0) {
            memcpy(grown, c->strays, c->stray_count * sizeof *grown);
        }
        c->strays = grown;
        c->stray_cap = cap;
    }
    c->stray_count = TSDB_MAX(c->stray_count, number + 1);
    return TSDB_OK;
}

static enum tsdb_status stray_group(struct counting *c, const struct stray *s, uint32_t *out,
                                    struct tsdb_error *err)
{
    struct tsdb_slice value = {(const uint8_t *)"", 0};
    const struct tsdb_label *l =
        tsdb_labels_find(&s->labels, (const char *)c->by.data, (uint32_t)c->by.len);
    if (l) {
        value = (struct tsdb_slice){(const uint8_t *)l->value, l->value_len};
    }
    uint32_t key = place_key(s->hash);
    enum tsdb_status status = group_put(c, value, s->partition, key, out, err);
    if (status == TSDB_OK) {
        group_place(c, *out, s->partition, key);
    }
    return status;
}

static enum tsdb_status stray_see(struct counting *c, tsdb_series_ref ref, struct tsdb_error *err)
{
    uint32_t number = join_stray_number(ref);
    enum tsdb_status status = strays_reach(c, number, err);
    if (status != TSDB_OK || c->strays[number].seen) {
        return status;
    }
    c->strays[number].seen = true;
    c->total++;
    return c->by.len > 0
               ? stray_group(c, join_stray(&c->q->join, ref), &c->strays[number].group, err)
               : TSDB_OK;
}

/* The place of an id that is there. Mostly ids have no gaps. */
static uint32_t locals_at(const struct locals *l, uint32_t local)
{
    TSDB_ASSERT(l->count > 0 && l->ids[0] <= local);
    uint32_t at = local - l->ids[0];
    if (at < l->count && l->ids[at] == local) {
        return at;
    }
    uint32_t low = 0; /* ids[low] <= local < ids[high] */
    uint32_t high = TSDB_MIN(l->count, at);
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        *(l->ids[mid] <= local ? &low : &high) = mid;
    }
    TSDB_ASSERT(l->ids[low] == local);
    return low;
}

/* What is known of a series that head or blocks were seen to have: where the labels of a block's match, so
 * do the head's. */
static struct counted *counted_of(const struct counting *c, tsdb_series_ref ref)
{
    uint32_t number = join_stray_number(ref);
    if (number != UINT32_MAX) {
        return &c->strays[number];
    }
    uint32_t p = tsdb_series_partition(ref);
    return &c->of_heads[p][locals_at(&c->heads[p], tsdb_series_local(ref))];
}

/* Of two samples at one time the first written counts: a block's before the head's, and of blocks the
 * first one's. */
static void take_last(struct counted *s, const struct block_chunk *last)
{
    int64_t t_ms = last->summary.max_ms;
    if (!s->any || t_ms > s->t_ms || (t_ms == s->t_ms && !s->of_block)) {
        s->t_ms = t_ms;
        s->stale = tsdb_is_stale_bits(last->summary.last_bits);
        s->any = true;
        s->of_block = true;
    }
}

/* Where a walk over the series of a block is. */
struct block_walk {
    const struct live_block *block;
    struct index_disk_cursor *labels;
    struct index_disk_newest *newest;
    struct tsdb_arena scratch;
};

static enum tsdb_status block_look(struct counting *c, struct block_walk *w, uint32_t id,
                                   struct counted *s, struct tsdb_error *err)
{
    enum blocks_newest found = BLOCKS_NEWEST_NONE;
    struct block_chunk last;
    const struct tsdb_time_range rest = {s->any ? s->t_ms : c->range.min_ms, c->range.max_ms};
    if (s->unsure) {
        return TSDB_OK;
    }
    tsdb_arena_reset(&w->scratch);
    enum tsdb_status status = blocks_newest_next(c->q->view, w->block, &w->newest, id, rest,
                                                 &w->scratch, &found, &last, err);
    if (status == TSDB_OK && found == BLOCKS_NEWEST_UNSURE) {
        now_unsure(c, s);
    } else if (status == TSDB_OK && found == BLOCKS_NEWEST_LAST) {
        take_last(s, &last);
    }
    return status;
}

/* Ask the caches for what is known of a series: those that follow each other in a block lie anywhere in a head. A guess,
 * which is wrong where ids have gaps. */
static void counted_prefetch(const struct counting *c, const struct live_block *block, uint32_t id)
{
    tsdb_series_ref ref = block_refs_at(block->refs, id);
    if (ref != TSDB_SERIES_NEW) {
        uint32_t p = tsdb_series_partition(ref);
        const struct locals *l = &c->heads[p];
        uint32_t at = l->count > 0 ? tsdb_series_local(ref) - l->ids[0] : 0;
        if (at < l->count) {
            __builtin_prefetch(&l->ids[at]);
            __builtin_prefetch(&c->of_heads[p][at], 1);
        }
    }
}

/* Each series of a block that is wanted, in the order in which they lie there. */
typedef enum tsdb_status series_fn(struct counting *c, struct block_walk *w, uint32_t block,
                                   uint32_t id, tsdb_series_ref ref, struct tsdb_error *err);

static enum tsdb_status block_walk(struct counting *c, uint32_t block, series_fn *fn,
                                   struct tsdb_error *err)
{
    const struct locals *ids = &c->blocks[block];
    struct block_walk w = {.block = c->q->view->blocks[block]};
    enum tsdb_status status = TSDB_OK;
    tsdb_arena_init(&w.scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, querier_account(c->q->request));
    for (uint32_t i = 0; i < ids->count && status == TSDB_OK && !c->given_up; i++) {
        tsdb_series_ref ref = TSDB_SERIES_NEW;
        if (ids->count - i > BLOCK_AHEAD) {
            counted_prefetch(c, w.block, ids->ids[i + BLOCK_AHEAD]);
        }
        status = join_resolve(c->q, w.block, &w.labels, ids->ids[i], &ref, err);
        status = status == TSDB_OK ? fn(c, &w, block, ids->ids[i], ref, err) : status;
        status = status == TSDB_OK ? querier_check(c->q, i, err) : status;
    }
    block_labels_end(&w.labels);
    block_newest_end(&w.newest);
    tsdb_arena_deinit(&w.scratch);
    return status == TSDB_OK
               ? status
               : tsdb_error_prefix(err, status, "block %s", block_meta(w.block->block)->ulid);
}

static enum tsdb_status count_in_block(struct counting *c, struct block_walk *w, uint32_t block,
                                       uint32_t id, tsdb_series_ref ref, struct tsdb_error *err)
{
    bool stray = join_stray_number(ref) != UINT32_MAX;
    enum tsdb_status status = stray ? stray_see(c, ref, err) : TSDB_OK;
    (void)block;
    return status == TSDB_OK ? block_look(c, w, id, counted_of(c, ref), err) : status;
}

/* ---- what only samples tell ---- */

static enum tsdb_status pair_in_block(struct counting *c, struct block_walk *w, uint32_t block,
                                      uint32_t id, tsdb_series_ref ref, struct tsdb_error *err)
{
    (void)w;
    return counted_of(c, ref)->unsure ? join_pair_add(c->q, ref, block, id, err) : TSDB_OK;
}

static enum tsdb_status read_one(struct counting *c, tsdb_series_ref ref, struct counted *s,
                                 struct tsdb_arena *scratch, struct tsdb_error *err)
{
    struct tsdb_columns columns;
    struct tsdb_chunk_counts unused = {0};
    if (!s->unsure) {
        return TSDB_OK;
    }
    tsdb_arena_reset(scratch);
    enum tsdb_status status =
        tsdb_series_read_windows(c->q, ref, c->range, NULL, scratch, &columns, &unused, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t n = columns.count;
    c->read += n;
    c->given_up = columns.kind != NULL; /* histograms have a size that counts, too */
    s->any = n > 0;
    s->stale = n > 0 && tsdb_is_stale_bits(columns.bits[n - 1]);
    return querier_check(c->q, 0, err);
}

static enum tsdb_status read_unsure(struct counting *c, struct tsdb_error *err)
{
    struct tsdb_arena scratch;
    enum tsdb_status status = TSDB_OK;
    if (c->unsure == 0) {
        return TSDB_OK;
    }
    c->q->join.turn++;
    for (uint32_t i = c->q->view->block_count; i-- > 0 && status == TSDB_OK;) {
        status = block_walk(c, i, pair_in_block, err);
    }
    tsdb_arena_init(&scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, querier_account(c->q->request));
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        const struct locals *l = &c->heads[p];
        for (uint32_t i = 0; i < l->count && status == TSDB_OK && !c->given_up; i++) {
            status = read_one(c, tsdb_series_make(p, l->ids[i]), &c->of_heads[p][i], &scratch, err);
        }
    }
    for (uint32_t i = 0; i < c->stray_count && status == TSDB_OK && !c->given_up; i++) {
        status = read_one(c, join_stray_ref(i), &c->strays[i], &scratch, err);
    }
    tsdb_arena_deinit(&scratch);
    return status;
}

/* ---- is it worth it? ---- */

/* Some series of the heads: are their newest samples known? A query of an hour ago must read all. */
static void probe_heads(struct counting *c, uint32_t *looked, uint32_t *unsure)
{
    struct tsdb_querier *q = c->q;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p += TSDB_PARTITIONS / PROBES) {
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(q->db->epoch, &guard);
        const struct querier_index *x = querier_index(q, p);
        uint32_t local = index_mem_next(x->index, x->bound / 2);
        if (local < x->bound) {
            ++*looked;
            *unsure += newest_in_head(q->db->heads[p], local, c->range, q->view->number).unsure;
        }
        tsdb_epoch_exit(q->db->epoch, &guard);
    }
}

static enum tsdb_status probe_block(struct counting *c, const struct live_block *l,
                                    uint32_t *looked, uint32_t *unsure, struct tsdb_error *err)
{
    uint64_t series = block_meta(l->block)->series;
    enum tsdb_status status = TSDB_OK;
    struct tsdb_arena scratch;
    tsdb_arena_init(&scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, querier_account(c->q->request));
    for (uint32_t k = 0; k < TSDB_MIN(series, PROBES) && status == TSDB_OK; k++) {
        enum blocks_newest found = BLOCKS_NEWEST_NONE;
        struct block_chunk last;
        status = blocks_newest(c->q->view, l, (uint32_t)(series * k / PROBES), c->range, &scratch,
                               &found, &last, err);
        ++*looked;
        *unsure += found == BLOCKS_NEWEST_UNSURE;
    }
    tsdb_arena_deinit(&scratch);
    return status;
}

static enum tsdb_status probe(struct counting *c, struct tsdb_error *err)
{
    const struct view *v = c->q->view;
    enum tsdb_status status = TSDB_OK;
    uint32_t looked = 0;
    uint32_t unsure = 0;
    probe_heads(c, &looked, &unsure);
    for (uint32_t i = 0; i < v->block_count && status == TSDB_OK; i++) {
        if (blocks_overlaps(v->blocks[i], c->range)) {
            status = probe_block(c, v->blocks[i], &looked, &unsure, err);
        }
    }
    c->given_up = unsure > looked / 2;
    return status;
}

/* ---- all of it ---- */

static enum tsdb_status gather(struct counting *c, struct tsdb_error *err)
{
    const struct view *v = c->q->view;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t p = 0; p < TSDB_PARTITIONS && status == TSDB_OK; p++) {
        status = selection_locals(&c->sel, p, &c->heads[p], err);
        c->total += status == TSDB_OK ? c->heads[p].count : 0;
    }
    c->blocks = TSDB_ARENA_ARRAY(&c->sel.scratch, struct locals, v->block_count + 1u);
    if (!c->blocks) {
        return status == TSDB_OK ? exhausted(c, err) : status;
    }
    for (uint32_t i = 0; i < v->block_count; i++) {
        c->blocks[i] = (struct locals){NULL, 0};
        if (status == TSDB_OK && blocks_overlaps(v->blocks[i], c->q->range)) {
            status = selection_ids(&c->sel, v->blocks[i]->block, &c->blocks[i], err);
        }
    }
    return status;
}

static enum tsdb_status look(struct counting *c, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t p = 0; p < TSDB_PARTITIONS && status == TSDB_OK && !c->given_up; p++) {
        status = head_count(c, p, err);
    }
    for (uint32_t i = 0; i < c->q->view->block_count && status == TSDB_OK && !c->given_up; i++) {
        status = block_walk(c, i, count_in_block, err);
    }
    if (status == TSDB_OK && !c->given_up) {
        status = read_unsure(c, err);
    }
    return status;
}

static void add_up(struct counting *c, const struct counted *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].any) {
            c->groups[items[i].group].series += !items[i].stale;
            c->read += !items[i].unsure; /* else it was counted when it was read */
        }
    }
}

static int group_order(const void *a, const void *b)
{
    const struct group *x = a;
    const struct group *y = b;
    if (x->partition != y->partition) {
        return x->partition < y->partition ? -1 : 1;
    }
    return (x->key > y->key) - (x->key < y->key);
}

/* Two groups whose first series have one hash: which comes first their labels would tell. */
static bool in_doubt(const struct group *groups, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        if (group_order(&groups[i - 1], &groups[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum tsdb_status give(struct counting *c, struct tsdb_arena *arena,
                             struct tsdb_series_count *out, struct tsdb_error *err)
{
    uint32_t unused;
    if (c->by.len == 0 && c->total > 0) {
        enum tsdb_status status =
            group_put(c, (struct tsdb_slice){(const uint8_t *)"", 0}, 0, 0, &unused, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        add_up(c, c->of_heads[p], c->heads[p].count);
    }
    add_up(c, c->strays, c->stray_count);
    uint32_t count = c->values.count;
    struct tsdb_count_group *groups =
        TSDB_ARENA_ARRAY(arena, struct tsdb_count_group, TSDB_MAX(count, 1u));
    if (!groups) {
        return querier_exhausted(arena, err);
    }
    if (count > 1) {
        qsort(c->groups, count, sizeof *c->groups, group_order);
    }
    for (uint32_t i = 0; i < count; i++) {
        groups[i].value = c->values.items[c->groups[i].number];
        groups[i].series = c->groups[i].series;
    }
    *out = (struct tsdb_series_count){!in_doubt(c->groups, count), groups, count, c->read};
    return TSDB_OK;
}

static enum tsdb_status count_all(struct counting *c, const struct tsdb_selector *selector,
                                  struct tsdb_arena *arena, struct tsdb_series_count *out,
                                  struct tsdb_error *err)
{
    *out = (struct tsdb_series_count){0};
    enum tsdb_status status = probe(c, err);
    if (status != TSDB_OK || c->given_up) {
        return status;
    }
    status = selection_init(&c->sel, c->q, selector, 1, err);
    if (status != TSDB_OK) {
        return status;
    }
    c->values = (struct strings){.key = &c->q->db->hash_key, .arena = &c->sel.scratch};
    status = gather(c, err);
    status = status == TSDB_OK ? look(c, err) : status;
    if (status == TSDB_OK && !c->given_up) {
        status = give(c, arena, out, err);
    }
    selection_deinit(&c->sel);
    return status;
}

enum tsdb_status tsdb_series_count(struct tsdb_querier *q, const struct tsdb_matcher *matchers,
                                   uint32_t matcher_count, struct tsdb_time_range range,
                                   struct tsdb_slice by, struct tsdb_arena *arena,
                                   struct tsdb_series_count *out, struct tsdb_error *err)
{
    TSDB_ASSERT(matcher_count > 0);
    TSDB_ASSERT(q->range.min_ms <= range.min_ms && range.max_ms <= q->range.max_ms);
    uint64_t begin = tsdb_perf_now();
    const struct tsdb_selector selector = {matchers, matcher_count};
    struct counting *c = TSDB_ARENA_NEW(&q->arena, struct counting);
    if (!c) {
        return querier_exhausted(&q->arena, err);
    }
    *c = (struct counting){.q = q, .range = range, .by = by};
    enum tsdb_status status = count_all(c, &selector, arena, out, err);
    tsdb_perf_end(TSDB_LAYER_SELECT, begin);
    return status;
}
