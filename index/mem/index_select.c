/* Matchers to series. A matcher that does not match the empty value asks for series in the postings
 * of the values that it matches; one that does match it (a series without the label counts as "")
 * takes away those in the postings of the values that it does not match. So every matcher works on
 * values that exist, and "all series" appears only when no matcher narrows. Cheap matchers go
 * first; as soon as few series are left, their own labels are asked instead of all values of a
 * name. */
#include "base/assert.h"
#include "index/match/matcher_private.h"
#include "index/mem/index_mem_private.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY 128u /* values or series between two looks at the clock */
/* Asking a series for its label reads about as many cache lines as this many values of a name. */
#define CANDIDATE_COST  4u
#define CANDIDATE_BATCH 16u

enum step_kind {
    STEP_ONE = 0, /* the postings of one value */
    STEP_LOOKUP,  /* keep or remove the postings of a small set of values */
    STEP_SCAN,    /* ask the matcher about every value of the name */
};
struct step {
    enum step_kind kind;
    bool keep; /* keep what is in the postings, or remove it */
    uint64_t cost;
    uint32_t name; /* INDEX_NONE: no series has the label */
    uint32_t pair; /* STEP_ONE; INDEX_NONE: no series has the value */
    const struct index_matcher *matcher;
};
struct selection {
    const struct index_mem *ix;
    const struct tsdb_request *request;
    struct tsdb_arena *arena;
    struct tsdb_error *err;
    uint32_t bound; /* series with ids below: the prefix that this selection sees */
    bool all;       /* no step has narrowed yet; else ids[count] */
    uint32_t *ids;
    uint32_t count;
};

static void *selection_array(struct selection *sel, size_t count, size_t bytes_each,
                             enum tsdb_status *out_status)
{
    void *p =
        tsdb_arena_alloc_array(sel->arena, TSDB_MAX(count, (size_t)1), bytes_each, bytes_each);
    if (!p) {
        *out_status = tsdb_error_set(sel->err, sel->arena->failure,
                                     "select of %u series: over the memory limit", sel->bound);
    }
    return p;
}

static enum tsdb_status selection_check(const struct selection *sel, uint32_t turn)
{
    if (!sel->request || turn % CHECK_EVERY != 0) {
        return TSDB_OK;
    }
    enum tsdb_status status = tsdb_request_check(sel->request);
    return status == TSDB_OK
               ? TSDB_OK
               : tsdb_error_set(sel->err, status, "select stopped: %s", tsdb_status_name(status));
}

/* ---- planning ---- */

static uint64_t pair_cost(const struct selection *sel, uint32_t pair)
{
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    return pair == INDEX_NONE
               ? 0
               : index_postings_get(&index_pair_at(sel->ix, pair)->postings, sel->bound, scratch)
                     .count;
}

/* False if the matcher holds for every series. */
static bool step_plan(const struct selection *sel, const struct index_matcher *m, struct step *out)
{
    const struct tsdb_matcher *source = index_matcher_source(m);
    const struct tsdb_slice *values = NULL;
    uint32_t value_count = 0;
    bool empty = index_matcher_matches_empty(m);
    memset(out, 0, sizeof *out);
    out->matcher = m;
    out->keep = !empty;
    out->name = index_name_find(sel->ix, source->name, source->name_len);
    if (index_matcher_matches_all(m) || (out->name == INDEX_NONE && empty)) {
        return false;
    }
    if (out->name == INDEX_NONE) {
        return true; /* STEP_ONE without a pair: nothing is kept */
    }
    uint32_t all_values =
        atomic_load_explicit(&index_name_at(sel->ix, out->name)->value_count, memory_order_relaxed);
    bool positive = source->op == TSDB_MATCH_EQ || source->op == TSDB_MATCH_RE;
    /* The set names the wanted postings only if the matcher wants (or excludes) exactly the set. */
    bool exact = index_matcher_operand_set(m, &values, &value_count) && positive == out->keep;
    if (!exact || value_count > all_values) {
        out->kind = STEP_SCAN;
        out->cost = all_values;
    } else if (value_count == 1) {
        out->kind = STEP_ONE;
        out->pair =
            index_pair_find(sel->ix, out->name, (const char *)values[0].data, values[0].len);
        out->cost = pair_cost(sel, out->pair);
    } else {
        out->kind = STEP_LOOKUP;
        out->cost = value_count;
    }
    return true;
}

/* Single postings that keep, the shortest first; then sets; then scans. Removing comes after
 * keeping of the same kind. */
static int step_order(const void *a, const void *b)
{
    const struct step *x = a;
    const struct step *y = b;
    int kind_x = (int)x->kind * 2 + !x->keep;
    int kind_y = (int)y->kind * 2 + !y->keep;
    return kind_x != kind_y ? kind_x - kind_y : (x->cost > y->cost) - (x->cost < y->cost);
}

/* ---- one step ---- */

/* From "all series" to an array of them. */
static enum tsdb_status selection_spell_out(struct selection *sel)
{
    enum tsdb_status status = TSDB_OK;
    if (!sel->all) {
        return TSDB_OK;
    }
    sel->ids = selection_array(sel, sel->bound, sizeof *sel->ids, &status);
    if (!sel->ids) {
        return status;
    }
    for (uint32_t i = 0; i < sel->bound; i++) {
        sel->ids[i] = i;
    }
    sel->count = sel->bound;
    sel->all = false;
    return TSDB_OK;
}

static enum tsdb_status run_one(struct selection *sel, const struct step *step)
{
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    enum tsdb_status status = TSDB_OK;
    struct index_postings_view v = {scratch, 0};
    if (step->pair != INDEX_NONE) {
        v = index_postings_get(&index_pair_at(sel->ix, step->pair)->postings, sel->bound, scratch);
    }
    if (sel->all && step->keep) {
        sel->ids = selection_array(sel, v.count, sizeof *sel->ids, &status);
        if (!sel->ids) {
            return status;
        }
        memcpy(sel->ids, v.ids, v.count * sizeof *v.ids);
        sel->count = v.count;
        sel->all = false;
        return TSDB_OK;
    }
    status = selection_spell_out(sel);
    if (status != TSDB_OK) {
        return status;
    }
    struct index_postings_view own = {sel->ids, sel->count};
    sel->count =
        step->keep ? index_ids_intersect(own, v, sel->ids) : index_ids_subtract(own, v, sel->ids);
    return TSDB_OK;
}

static enum tsdb_status bits_apply(struct selection *sel, const uint64_t *bits, bool keep)
{
    enum tsdb_status status = TSDB_OK;
    if (!sel->all) {
        sel->count = index_bits_filter(bits, keep, sel->ids, sel->count);
        return TSDB_OK;
    }
    size_t set = 0;
    for (size_t w = 0; w < index_bits_words(sel->bound); w++) {
        set += (size_t)__builtin_popcountll(bits[w]);
    }
    sel->ids = selection_array(sel, keep ? set : sel->bound - set, sizeof *sel->ids, &status);
    if (!sel->ids) {
        return status;
    }
    sel->count = index_bits_extract(bits, sel->bound, keep, sel->ids);
    sel->all = false;
    return TSDB_OK;
}

static void pair_mark(const struct selection *sel, const struct index_pair *p, uint64_t *bits)
{
    uint32_t scratch[INDEX_POSTINGS_INLINE_MAX];
    index_bits_add(bits, index_postings_get(&p->postings, sel->bound, scratch));
}

static enum tsdb_status mark_lookup(struct selection *sel, const struct step *step, uint64_t *bits)
{
    const struct tsdb_slice *values;
    uint32_t value_count;
    bool has_set = index_matcher_operand_set(step->matcher, &values, &value_count);
    TSDB_ASSERT(has_set);
    for (uint32_t i = 0; i < value_count; i++) {
        enum tsdb_status status = selection_check(sel, i);
        if (status != TSDB_OK) {
            return status;
        }
        uint32_t pair =
            index_pair_find(sel->ix, step->name, (const char *)values[i].data, values[i].len);
        if (pair != INDEX_NONE) {
            pair_mark(sel, index_pair_at(sel->ix, pair), bits);
        }
    }
    return TSDB_OK;
}

static enum tsdb_status mark_scan(struct selection *sel, const struct step *step, uint64_t *bits)
{
    uint32_t turn = 0;
    uint32_t pair =
        atomic_load_explicit(&index_name_at(sel->ix, step->name)->newest, memory_order_acquire);
    while (pair != INDEX_NONE) {
        enum tsdb_status status = selection_check(sel, turn++);
        if (status != TSDB_OK) {
            return status;
        }
        const struct index_pair *p = index_pair_at(sel->ix, pair);
        const struct index_symbol *value = index_symbols_at(&sel->ix->symbols, p->value);
        if (index_matcher_matches(step->matcher, value->bytes, value->len) == step->keep) {
            pair_mark(sel, p, bits);
        }
        pair = p->next;
    }
    return TSDB_OK;
}

static enum tsdb_status run_marked(struct selection *sel, const struct step *step)
{
    enum tsdb_status status = TSDB_OK;
    size_t words = index_bits_words(sel->bound);
    uint64_t *bits = selection_array(sel, words, sizeof *bits, &status);
    if (!bits) {
        return status;
    }
    memset(bits, 0, words * sizeof *bits);
    status = step->kind == STEP_LOOKUP ? mark_lookup(sel, step, bits) : mark_scan(sel, step, bits);
    return status == TSDB_OK ? bits_apply(sel, bits, step->keep) : status;
}

/* The pair of this name among a series' labels, or INDEX_NONE. *place is where the last series had
 * it: mostly the next one has it there too, and then one pair is read instead of all up to it. */
static uint32_t series_pair(const struct index_mem *ix, uint32_t local, uint32_t name,
                            uint32_t *place)
{
    const struct index_series *s = index_series_at(ix, local);
    const uint32_t *pairs = s->label_count > 0 ? index_series_pairs(ix, s) : NULL;
    if (*place < s->label_count && index_pair_at(ix, pairs[*place])->name == name) {
        return pairs[*place];
    }
    for (uint32_t i = 0; i < s->label_count; i++) {
        if (index_pair_at(ix, pairs[i])->name == name) {
            *place = i;
            return pairs[i];
        }
    }
    return INDEX_NONE;
}

/* A candidate's value is four cache misses away, one behind the other. Fetch those of a batch side
 * by side. */
static void candidates_prefetch(const struct selection *sel, uint32_t from, uint32_t place)
{
    const struct index_mem *ix = sel->ix;
    const uint32_t *ids = sel->ids + from;
    uint32_t n = TSDB_MIN(sel->count - from, CANDIDATE_BATCH);
    for (uint32_t i = 0; i < n; i++) {
        __builtin_prefetch(index_series_at(ix, ids[i]));
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct index_series *s = index_series_at(ix, ids[i]);
        if (place < s->label_count) {
            __builtin_prefetch(index_series_pairs(ix, s) + place);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct index_series *s = index_series_at(ix, ids[i]);
        if (place < s->label_count) {
            __builtin_prefetch(index_pair_at(ix, index_series_pairs(ix, s)[place]));
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct index_series *s = index_series_at(ix, ids[i]);
        if (place < s->label_count) {
            const struct index_pair *p = index_pair_at(ix, index_series_pairs(ix, s)[place]);
            __builtin_prefetch(index_symbols_at(&ix->symbols, p->value));
        }
    }
}

/* Few series are left: ask the matcher about their values only, remembering the last answer. */
static enum tsdb_status run_candidates(struct selection *sel, const struct step *step)
{
    uint32_t n = 0;
    uint32_t place = 0;
    uint32_t known = INDEX_NONE;
    bool answer = false;
    for (uint32_t i = 0; i < sel->count; i++) {
        enum tsdb_status status = selection_check(sel, i);
        if (status != TSDB_OK) {
            return status;
        }
        if (i % CANDIDATE_BATCH == 0) {
            candidates_prefetch(sel, i, place);
        }
        uint32_t pair = series_pair(sel->ix, sel->ids[i], step->name, &place);
        if (pair != INDEX_NONE && pair != known) {
            const struct index_pair *p = index_pair_at(sel->ix, pair);
            const struct index_symbol *v = index_symbols_at(&sel->ix->symbols, p->value);
            answer = index_matcher_matches(step->matcher, v->bytes, v->len);
            known = pair;
        }
        if (pair != INDEX_NONE ? answer : index_matcher_matches_empty(step->matcher)) {
            sel->ids[n++] = sel->ids[i];
        }
    }
    sel->count = n;
    return TSDB_OK;
}

static enum tsdb_status run_step(struct selection *sel, const struct step *step)
{
    if (step->kind == STEP_ONE) {
        return run_one(sel, step);
    }
    if (!sel->all && (uint64_t)sel->count * CANDIDATE_COST < step->cost) {
        return run_candidates(sel, step);
    }
    return run_marked(sel, step);
}

enum tsdb_status index_mem_select(const struct index_mem *ix,
                                  const struct index_matcher *const *matchers,
                                  uint32_t matcher_count, const struct tsdb_request *request,
                                  struct tsdb_arena *arena, uint32_t **out_locals,
                                  uint32_t *out_count, struct tsdb_error *err)
{
    struct selection sel = {.ix = ix, .request = request, .arena = arena, .err = err, .all = true};
    enum tsdb_status status = selection_check(&sel, 0);
    sel.bound = index_mem_series_count(ix); /* before all else: see invariant 2 in index_mem.h */
    if (status != TSDB_OK) {
        return status;
    }
    struct step *steps = tsdb_arena_alloc_array(arena, (size_t)matcher_count + 1, sizeof *steps,
                                                _Alignof(struct step));
    if (!steps) {
        return tsdb_error_set(err, arena->failure, "select with %u matchers: over the memory limit",
                              matcher_count);
    }
    uint32_t step_count = 0;
    for (uint32_t i = 0; i < matcher_count; i++) {
        step_count += step_plan(&sel, matchers[i], &steps[step_count]);
    }
    qsort(steps, step_count, sizeof *steps, step_order);
    for (uint32_t i = 0; i < step_count && (sel.all || sel.count > 0); i++) {
        status = run_step(&sel, &steps[i]);
        if (status != TSDB_OK) {
            return status;
        }
    }
    status = selection_spell_out(&sel);
    if (status != TSDB_OK) {
        return status;
    }
    *out_locals = sel.ids;
    *out_count = sel.count;
    return TSDB_OK;
}
