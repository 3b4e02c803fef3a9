#include "index/postings/select.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY 16u /* values or series between two looks at the clock */
/* Asking a series for its label costs about as much as asking the matcher about this many values:
 * in memory that is cache lines, on disk a group of label lists and a symbol. */
#define CANDIDATE_COST 4u

enum step_kind {
    STEP_ONE = 0,
    STEP_LOOKUP,
    STEP_SCAN,
};
struct step {
    enum step_kind kind;
    bool keep;  /* keep what is in the postings, or remove it */
    bool found; /* STEP_ONE: there is such a value */
    uint64_t cost;
    struct index_select_name name;
    struct index_select_value value; /* STEP_ONE */
    const struct index_matcher *matcher;
};
struct selection {
    const struct index_select_ops *ops;
    void *ctx;
    uint32_t series_count;
    const struct tsdb_request *request;
    struct tsdb_arena *arena;
    struct tsdb_error *err;
    bool all; /* no step has narrowed yet; else ids[count] */
    uint32_t *ids;
    uint32_t count;
};

static enum tsdb_status over_limit(const struct selection *sel)
{
    return tsdb_error_set(sel->err, tsdb_arena_status(sel->arena),
                          "select of %u series: over the memory limit", sel->series_count);
}

/* Room for ids[count] becomes the selection's. */
static enum tsdb_status ids_make(struct selection *sel, size_t count)
{
    TSDB_ASSERT(sel->all);
    sel->ids = TSDB_ARENA_ARRAY(sel->arena, uint32_t, TSDB_MAX(count, (size_t)1));
    if (!sel->ids) {
        return over_limit(sel);
    }
    sel->all = false;
    sel->count = (uint32_t)count;
    return TSDB_OK;
}

static enum tsdb_status check(const struct selection *sel, uint32_t turn)
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

static enum tsdb_status step_plan_one(struct selection *sel, struct tsdb_slice value,
                                      struct step *out)
{
    enum tsdb_status status =
        sel->ops->value_find(sel->ctx, &out->name, value, &out->value, sel->err);
    out->found = status == TSDB_OK;
    out->cost = out->found ? out->value.series : 0;
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* *out_needed false: the matcher holds for every series. */
static enum tsdb_status step_plan(struct selection *sel, const struct index_matcher *m,
                                  struct step *out, bool *out_needed)
{
    const struct tsdb_matcher *source = index_matcher_source(m);
    const struct tsdb_slice *values = NULL;
    uint32_t value_count = 0;
    bool empty = index_matcher_matches_empty(m);
    *out = (struct step){.matcher = m, .keep = !empty};
    *out_needed = !index_matcher_matches_all(m);
    if (!*out_needed) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        sel->ops->name_find(sel->ctx, source->name, source->name_len, &out->name, sel->err);
    if (status == TSDB_NOT_FOUND) {
        *out_needed = !empty; /* no series has the label: STEP_ONE without a value keeps nothing */
        return TSDB_OK;
    }
    if (status != TSDB_OK) {
        return status;
    }
    bool positive = source->op == TSDB_MATCH_EQ || source->op == TSDB_MATCH_RE;
    /* The set names the wanted postings only if the matcher wants (or excludes) exactly the set. */
    bool exact = index_matcher_set(m, &values, &value_count) && positive == out->keep;
    if (!exact || value_count > out->name.value_count) {
        out->kind = STEP_SCAN;
        out->cost = out->name.value_count;
    } else if (value_count == 1) {
        return step_plan_one(sel, values[0], out);
    } else {
        out->kind = STEP_LOOKUP;
        out->cost = value_count;
    }
    return TSDB_OK;
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
static enum tsdb_status spell_out(struct selection *sel)
{
    if (!sel->all) {
        return TSDB_OK;
    }
    enum tsdb_status status = ids_make(sel, sel->series_count);
    for (uint32_t i = 0; status == TSDB_OK && i < sel->series_count; i++) {
        sel->ids[i] = i;
    }
    return status;
}

static enum tsdb_status run_one(struct selection *sel, const struct step *step)
{
    if (!step->found) {
        sel->all = sel->all && !step->keep;
        sel->count = step->keep ? 0 : sel->count;
        return TSDB_OK;
    }
    if (sel->all && step->keep) {
        enum tsdb_status status = ids_make(sel, step->value.series);
        return status == TSDB_OK
                   ? sel->ops->postings_all(sel->ctx, &step->value, sel->ids, sel->err)
                   : status;
    }
    enum tsdb_status status = spell_out(sel);
    return status == TSDB_OK ? sel->ops->postings_filter(sel->ctx, &step->value, step->keep,
                                                         sel->ids, &sel->count, sel->err)
                             : status;
}

static enum tsdb_status bits_apply(struct selection *sel, const uint64_t *bits, bool keep)
{
    if (!sel->all) {
        sel->count = index_bits_filter(bits, keep, sel->ids, sel->count);
        return TSDB_OK;
    }
    size_t set = 0;
    for (size_t w = 0; w < index_bits_words(sel->series_count); w++) {
        set += (size_t)__builtin_popcountll(bits[w]);
    }
    TSDB_ASSERT(set <= sel->series_count);
    enum tsdb_status status = ids_make(sel, keep ? set : sel->series_count - set);
    if (status == TSDB_OK) {
        sel->count = index_bits_extract(bits, sel->series_count, keep, sel->ids);
    }
    return status;
}

static enum tsdb_status mark_lookup(struct selection *sel, const struct step *step, uint64_t *bits)
{
    const struct tsdb_slice *values;
    uint32_t value_count;
    bool has_set = index_matcher_set(step->matcher, &values, &value_count);
    TSDB_ASSERT(has_set);
    for (uint32_t i = 0; i < value_count; i++) {
        struct index_select_value v;
        enum tsdb_status status = check(sel, i);
        if (status == TSDB_OK) {
            status = sel->ops->value_find(sel->ctx, &step->name, values[i], &v, sel->err);
        }
        if (status == TSDB_NOT_FOUND) {
            continue;
        }
        if (status == TSDB_OK) {
            status = sel->ops->postings_mark(sel->ctx, &v, bits, sel->err);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static bool matches(const struct step *step, struct tsdb_slice value)
{
    return index_matcher_matches(step->matcher, (const char *)value.data, value.len);
}

static enum tsdb_status mark_scan(struct selection *sel, const struct step *step, uint64_t *bits)
{
    uint64_t cursor = 0;
    for (uint32_t turn = 0;; turn++) {
        struct index_select_value v;
        struct tsdb_slice string;
        enum tsdb_status status = check(sel, turn);
        if (status == TSDB_OK) {
            status = sel->ops->value_next(sel->ctx, &step->name, &cursor, &v, &string, sel->err);
            if (status == TSDB_NOT_FOUND) {
                return TSDB_OK;
            }
        }
        if (status == TSDB_OK && matches(step, string) == step->keep) {
            status = sel->ops->postings_mark(sel->ctx, &v, bits, sel->err);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
}

static enum tsdb_status run_marked(struct selection *sel, const struct step *step)
{
    size_t words = TSDB_MAX(index_bits_words(sel->series_count), (size_t)1);
    uint64_t *bits = TSDB_ARENA_ARRAY(sel->arena, uint64_t, words);
    if (!bits) {
        return over_limit(sel);
    }
    memset(bits, 0, words * sizeof *bits);
    enum tsdb_status status =
        step->kind == STEP_LOOKUP ? mark_lookup(sel, step, bits) : mark_scan(sel, step, bits);
    return status == TSDB_OK ? bits_apply(sel, bits, step->keep) : status;
}

/* Few series are left: ask the matcher about their values only, remembering the last answer. */
static enum tsdb_status run_candidates(struct selection *sel, const struct step *step)
{
    uint32_t n = 0;
    uint32_t known = INDEX_SELECT_NO_VALUE;
    bool answer = false;
    for (uint32_t i = 0; i < sel->count; i++) {
        uint32_t value = INDEX_SELECT_NO_VALUE;
        enum tsdb_status status = check(sel, i);
        if (status == TSDB_OK) {
            status = sel->ops->series_value(sel->ctx, &step->name, sel->ids, sel->count, i, &value,
                                            sel->err);
        }
        if (status == TSDB_OK && value != INDEX_SELECT_NO_VALUE && value != known) {
            struct tsdb_slice string;
            status = sel->ops->value_string(sel->ctx, value, &string, sel->err);
            answer = status == TSDB_OK && matches(step, string);
            known = value;
        }
        if (status != TSDB_OK) {
            return status;
        }
        if (value != INDEX_SELECT_NO_VALUE ? answer : index_matcher_matches_empty(step->matcher)) {
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

enum tsdb_status index_select(const struct index_select_source *source,
                              const struct index_matcher *const *matchers, uint32_t matcher_count,
                              const struct tsdb_request *request, struct tsdb_arena *arena,
                              uint32_t **out_ids, uint32_t *out_count, struct tsdb_error *err)
{
    struct selection sel = {.ops = source->ops,
                            .ctx = source->ctx,
                            .series_count = source->series_count,
                            .request = request,
                            .arena = arena,
                            .err = err,
                            .all = true};
    struct step *steps = TSDB_ARENA_ARRAY(arena, struct step, (size_t)matcher_count + 1);
    if (!steps) {
        return over_limit(&sel);
    }
    enum tsdb_status status = check(&sel, 0);
    uint32_t step_count = 0;
    for (uint32_t i = 0; i < matcher_count && status == TSDB_OK; i++) {
        bool needed = false;
        status = step_plan(&sel, matchers[i], &steps[step_count], &needed);
        step_count += needed;
    }
    qsort(steps, step_count, sizeof *steps, step_order);
    for (uint32_t i = 0; i < step_count && status == TSDB_OK && (sel.all || sel.count > 0); i++) {
        status = run_step(&sel, &steps[i]);
    }
    if (status == TSDB_OK) {
        status = spell_out(&sel);
    }
    if (status == TSDB_OK) {
        TSDB_ASSERT(sel.count <= sel.series_count);
        *out_ids = sel.ids;
        *out_count = sel.count;
    }
    return status;
}
