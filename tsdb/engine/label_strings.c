/* Label names and values: distinct, sorted, cut at a limit. */
#include "base/assert.h"
#include "tsdb/engine/querier_private.h"
#include "tsdb/engine/strings.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_MIN          64u        /* a cut pays from here on */
#define FIRST_MAX          (1u << 28) /* limits from here on are as none */
#define LABELS_ARENA_BYTES 4096u      /* of one series */

/* Sorted, cut at the limit, in the caller's arena. */
static enum tsdb_status strings_result(struct strings *s, uint32_t limit, struct tsdb_arena *arena,
                                       struct tsdb_slice **out, uint32_t *out_count,
                                       bool *out_truncated, struct tsdb_error *err)
{
    if (s->failed) {
        return querier_exhausted(s->arena, err);
    }
    if (s->count > 1) {
        qsort(s->items, s->count, sizeof s->items[0], strings_order);
    }
    bool cut = limit > 0 && s->count > limit;
    uint32_t n = cut ? limit : s->count;
    struct tsdb_slice *copy = TSDB_ARENA_ARRAY(arena, struct tsdb_slice, TSDB_MAX(n, 1u));
    if (!copy) {
        return querier_exhausted(arena, err);
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
    struct living living;
};

/* A string that is gone after the call; they come sorted. */
static bool add_borrowed(void *arg, const char *s, uint32_t len)
{
    struct strings *strings = arg;
    if (!strings_want(strings, s, len)) {
        return false;
    }
    if (strings_has(strings, s, len)) {
        return true;
    }
    char *copy = tsdb_arena_strndup(strings->keep, s, len);
    strings->failed = strings->failed || !copy;
    return copy && strings_add(strings, copy, len);
}

static bool add_string(void *arg, const char *s, uint32_t len)
{
    return strings_add(arg, s, len);
}

static bool want_string(void *arg, const char *s, uint32_t len)
{
    struct label_query *lq = arg;
    /* Of what is in the answer already no series need be asked. */
    return living_turn(&lq->living) && strings_want(&lq->strings, s, len) &&
           !strings_has(&lq->strings, s, len);
}

/* Without selectors: ask the indexes for their strings; of series only the head's are looked at, and
 * only those of strings that may be in the answer. */
static enum tsdb_status collect_head(struct label_query *lq, uint32_t partition,
                                     struct tsdb_error *err)
{
    struct tsdb *db = lq->q->db;
    const struct index_wanted wanted = {.text = want_string,
                                        .text_arg = lq,
                                        .series = lq->living.everything ? NULL : living_in_head,
                                        .series_arg = &lq->living};
    lq->living.partition = partition;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(db->epoch, &guard);
    const struct index_mem *ix = querier_index(lq->q, partition)->index;
    if (lq->name) {
        index_mem_values(ix, lq->name, lq->name_len, &wanted, add_string, &lq->strings);
    } else {
        index_mem_names(ix, &wanted, add_string, &lq->strings);
    }
    tsdb_epoch_exit(db->epoch, &guard);
    if (lq->living.status != TSDB_OK) {
        *err = lq->living.err;
        return lq->living.status;
    }
    return TSDB_OK;
}

/* All that a block has: who asks for a part of its range gets a superset. */
static enum tsdb_status collect_block(struct label_query *lq, const struct live_block *l,
                                      struct tsdb_error *err)
{
    enum tsdb_status status =
        lq->name ? block_values(l->block, lq->name, lq->name_len, add_borrowed, &lq->strings, err)
                 : block_names(l->block, add_borrowed, &lq->strings, err);
    return status == TSDB_OK
               ? status
               : tsdb_error_prefix(err, status, "block %s", block_meta(l->block)->ulid);
}

/* Blocks before heads: theirs come sorted, so that with a limit little of them is read, and most
 * strings of heads are then known to be none of the first. */
static enum tsdb_status collect_all(struct label_query *lq, struct tsdb_error *err)
{
    const struct view *v = lq->q->view;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < v->block_count && !lq->strings.failed; i++) {
        if (blocks_overlaps(v->blocks[i], lq->q->range)) {
            status = querier_check(lq->q, 0, err);
            status = status == TSDB_OK ? collect_block(lq, v->blocks[i], err) : status;
        }
    }
    for (uint32_t p = 0; status == TSDB_OK && p < TSDB_PARTITIONS && !lq->strings.failed; p++) {
        status = querier_check(lq->q, 0, err);
        status = status == TSDB_OK ? collect_head(lq, p, err) : status;
    }
    return status;
}

/* False: stop. */
static bool collect_labels(struct label_query *lq, const struct tsdb_labels *labels)
{
    if (lq->name) {
        const struct tsdb_label *l = tsdb_labels_find(labels, lq->name, lq->name_len);
        return !l || strings_add(&lq->strings, l->value, l->value_len);
    }
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        if (!strings_add(&lq->strings, l->name, l->name_len)) {
            return false;
        }
    }
    return true;
}

/* With selectors: through the labels of the series that match. */
static enum tsdb_status collect_matching(struct label_query *lq, struct selection *sel,
                                         struct tsdb_error *err)
{
    struct tsdb_series_set set;
    struct tsdb_arena labels_arena;
    bool go_on = true;
    enum tsdb_status status = selection_series(sel, &set, err);
    tsdb_arena_init(&labels_arena, TSDB_MEM_QUERY, LABELS_ARENA_BYTES,
                    querier_account(lq->q->request));
    for (uint32_t i = 0; status == TSDB_OK && go_on && i < set.count; i++) {
        struct tsdb_labels labels;
        tsdb_series_read_ahead(lq->q, set.refs + i, set.count - i);
        if (living_has(&lq->living, set.refs[i])) {
            tsdb_arena_reset(&labels_arena);
            status = tsdb_series_labels(lq->q, set.refs[i], &labels_arena, &labels, err);
            go_on = status == TSDB_OK && collect_labels(lq, &labels);
        } else if (lq->living.status != TSDB_OK) {
            *err = lq->living.err;
            status = lq->living.status;
        }
        status = status == TSDB_OK ? querier_check(lq->q, i, err) : status;
    }
    tsdb_arena_deinit(&labels_arena);
    return status;
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
    lq->strings =
        (struct strings){.key = &lq->q->db->hash_key, .arena = &sel.scratch, .keep = arena};
    living_init(&lq->living, lq->q);
    if (selector_count == 0) {
        lq->strings.first = limit < FIRST_MAX && limit > 0 ? TSDB_MAX(limit + 1, FIRST_MIN) : 0;
        status = collect_all(lq, err);
    } else {
        lq->strings.stop_at = limit > 0 && limit < UINT32_MAX ? limit + 1 : 0;
        status = collect_matching(lq, &sel, err);
    }
    if (status == TSDB_OK) {
        status = strings_result(&lq->strings, limit, arena, out, out_count, out_truncated, err);
    }
    living_deinit(&lq->living);
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
