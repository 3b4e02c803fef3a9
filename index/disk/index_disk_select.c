/* Matchers to series in the index file, as index_select.c does it in memory: a matcher that does
 * not match the empty value keeps the series in the postings of the values that it matches; one
 * that does match it removes those in the postings of the values that it does not match. Single
 * postings go first, then sets of values, then scans over all values of a name; as soon as few
 * series are left, their own labels are asked instead. */
#include "index/disk/index_disk_private.h"

#include "base/assert.h"
#include "index/match/matcher_private.h"
#include "index/postings/postings.h"

#include <stdlib.h>

#define CHECK_EVERY 128u /* values or series between two looks at the clock */
/* Asking a series for its label costs about as much as asking the matcher about this many values:
 * a group of label lists is decoded, and then a symbol. */
#define CANDIDATE_COST 4u

enum step_kind {
    STEP_ONE = 0, /* the postings of one value, or nothing */
    STEP_LOOKUP,  /* keep or remove the postings of a small set of values */
    STEP_SCAN,    /* ask the matcher about every value of the name */
};
struct step {
    enum step_kind kind;
    bool keep;  /* keep what is in the postings, or remove it */
    bool found; /* STEP_ONE: there is such a value */
    uint64_t cost;
    uint32_t rank;
    struct disk_name name;
    struct disk_value value; /* STEP_ONE */
    const struct index_matcher *matcher;
};
struct selection {
    const struct index_disk *ix;
    const struct tsdb_request *request;
    struct tsdb_arena *arena;
    struct tsdb_error *err;
    struct disk_symbols symbols;
    bool all; /* no step has narrowed yet; else ids[count] */
    uint32_t *ids;
    uint32_t count;
};

static void *selection_array(struct selection *sel, size_t count, size_t bytes_each,
                             enum tsdb_status *out_status)
{
    void *p =
        tsdb_arena_alloc_array(sel->arena, TSDB_MAX(count, (size_t)1), bytes_each, bytes_each);
    if (!p) {
        *out_status =
            tsdb_error_set(sel->err, sel->arena->failure,
                           "select of %u series: over the memory limit", sel->ix->series_count);
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

static enum tsdb_status value_lookup(struct selection *sel, const struct disk_name *name,
                                     const struct tsdb_slice *s, struct disk_value *out)
{
    uint32_t symbol = 0;
    enum tsdb_status status =
        disk_symbols_find(&sel->symbols, (const char *)s->data, s->len, &symbol, sel->err);
    return status == TSDB_OK ? disk_value_find(sel->ix, name, symbol, out, sel->err) : status;
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
    *out_needed = true;
    enum tsdb_status status = disk_name_find(&sel->symbols, source->name, source->name_len,
                                             &out->rank, &out->name, sel->err);
    if (status == TSDB_NOT_FOUND) {
        *out_needed = !empty; /* no series has the label: STEP_ONE without a value keeps nothing */
        return TSDB_OK;
    }
    if (status != TSDB_OK || index_matcher_matches_all(m)) {
        *out_needed = false;
        return status;
    }
    bool positive = source->op == TSDB_MATCH_EQ || source->op == TSDB_MATCH_RE;
    /* The set names the wanted postings only if the matcher wants (or excludes) exactly the set. */
    bool exact = index_matcher_operand_set(m, &values, &value_count) && positive == out->keep;
    if (!exact || value_count > out->name.value_count) {
        out->kind = STEP_SCAN;
        out->cost = out->name.value_count;
    } else if (value_count == 1) {
        status = value_lookup(sel, &out->name, &values[0], &out->value);
        out->found = status == TSDB_OK;
        out->cost = out->found ? out->value.series : 0;
        status = status == TSDB_NOT_FOUND ? TSDB_OK : status;
    } else {
        out->kind = STEP_LOOKUP;
        out->cost = value_count;
    }
    return status;
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
    if (!sel->all) {
        return TSDB_OK;
    }
    enum tsdb_status status = TSDB_OK;
    uint32_t n = sel->ix->series_count;
    sel->ids = selection_array(sel, n, sizeof *sel->ids, &status);
    if (!sel->ids) {
        return status;
    }
    for (uint32_t i = 0; i < n; i++) {
        sel->ids[i] = i;
    }
    sel->count = n;
    sel->all = false;
    return TSDB_OK;
}

static enum tsdb_status run_one(struct selection *sel, const struct step *step)
{
    struct disk_postings p;
    if (!step->found) {
        sel->all = sel->all && !step->keep;
        sel->count = step->keep ? 0 : sel->count;
        return TSDB_OK;
    }
    disk_postings_init(&p, sel->ix, &step->value);
    enum tsdb_status status = TSDB_OK;
    if (sel->all && step->keep) {
        sel->ids = selection_array(sel, step->value.series, sizeof *sel->ids, &status);
        if (!sel->ids) {
            return status;
        }
        sel->count = step->value.series;
        sel->all = false;
        return disk_postings_all(&p, sel->ids, sel->err);
    }
    status = selection_spell_out(sel);
    return status == TSDB_OK ? disk_postings_filter(&p, step->keep, sel->ids, &sel->count, sel->err)
                             : status;
}

static enum tsdb_status bits_apply(struct selection *sel, const uint64_t *bits, bool keep)
{
    if (!sel->all) {
        sel->count = index_bits_filter(bits, keep, sel->ids, sel->count);
        return TSDB_OK;
    }
    uint32_t n = sel->ix->series_count;
    size_t set = 0;
    for (size_t w = 0; w < index_bits_words(n); w++) {
        set += (size_t)__builtin_popcountll(bits[w]);
    }
    enum tsdb_status status = TSDB_OK;
    sel->ids = selection_array(sel, keep ? set : n - set, sizeof *sel->ids, &status);
    if (!sel->ids) {
        return status;
    }
    sel->count = index_bits_extract(bits, n, keep, sel->ids);
    sel->all = false;
    return TSDB_OK;
}

static enum tsdb_status value_mark(struct selection *sel, const struct disk_value *value,
                                   uint64_t *bits)
{
    struct disk_postings p;
    disk_postings_init(&p, sel->ix, value);
    for (uint32_t b = 0; b < disk_postings_blocks(&p); b++) {
        enum tsdb_status status = disk_postings_load(&p, b, sel->err);
        if (status != TSDB_OK) {
            return status;
        }
        index_bits_add(bits, (struct index_postings_view){p.ids, p.count});
    }
    return TSDB_OK;
}

static enum tsdb_status mark_lookup(struct selection *sel, const struct step *step, uint64_t *bits)
{
    const struct tsdb_slice *values;
    uint32_t value_count;
    bool has_set = index_matcher_operand_set(step->matcher, &values, &value_count);
    TSDB_ASSERT(has_set);
    for (uint32_t i = 0; i < value_count; i++) {
        struct disk_value v;
        enum tsdb_status status = selection_check(sel, i);
        status = status == TSDB_OK ? value_lookup(sel, &step->name, &values[i], &v) : status;
        if (status == TSDB_NOT_FOUND) {
            continue;
        }
        status = status == TSDB_OK ? value_mark(sel, &v, bits) : status;
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status mark_scan(struct selection *sel, const struct step *step, uint64_t *bits)
{
    struct disk_symbols *c = &sel->symbols;
    for (uint32_t i = 0; i < step->name.value_count; i++) {
        struct disk_value v;
        enum tsdb_status status = selection_check(sel, i);
        status = status == TSDB_OK ? disk_value_at(sel->ix, &step->name, i, &v, sel->err) : status;
        status = status == TSDB_OK ? disk_symbols_at(c, v.symbol, sel->err) : status;
        if (status == TSDB_OK && index_matcher_matches(step->matcher, (const char *)c->string.data,
                                                       c->len) == step->keep) {
            status = value_mark(sel, &v, bits);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status run_marked(struct selection *sel, const struct step *step)
{
    size_t words = index_bits_words(sel->ix->series_count);
    enum tsdb_status status = TSDB_OK;
    uint64_t *bits = selection_array(sel, words, sizeof *bits, &status);
    if (!bits) {
        return status;
    }
    memset(bits, 0, words * sizeof *bits);
    status = step->kind == STEP_LOOKUP ? mark_lookup(sel, step, bits) : mark_scan(sel, step, bits);
    return status == TSDB_OK ? bits_apply(sel, bits, step->keep) : status;
}

/* The symbol of the series' value of this name, or UINT32_MAX. */
static uint32_t series_value(const struct disk_labels *l, uint32_t rank)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->name[i] == rank) {
            return l->value[i];
        }
    }
    return UINT32_MAX;
}

/* Few series are left: ask the matcher about their values only, remembering the last answer. */
static enum tsdb_status candidates_ask(struct selection *sel, const struct step *step,
                                       struct disk_series *series)
{
    struct disk_symbols *c = &sel->symbols;
    uint32_t n = 0;
    uint32_t known = UINT32_MAX;
    bool answer = false;
    for (uint32_t i = 0; i < sel->count; i++) {
        enum tsdb_status status = selection_check(sel, i);
        status = status == TSDB_OK ? disk_series_at(series, sel->ids[i], sel->err) : status;
        if (status != TSDB_OK) {
            return status;
        }
        uint32_t symbol = series_value(&series->labels, step->rank);
        if (symbol != UINT32_MAX && symbol != known) {
            status = disk_symbols_at(c, symbol, sel->err);
            if (status != TSDB_OK) {
                return status;
            }
            answer = index_matcher_matches(step->matcher, (const char *)c->string.data, c->len);
            known = symbol;
        }
        if (symbol != UINT32_MAX ? answer : index_matcher_matches_empty(step->matcher)) {
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
    if (sel->all || (uint64_t)sel->count * CANDIDATE_COST >= step->cost) {
        return run_marked(sel, step);
    }
    struct disk_series series;
    disk_series_init(&series, sel->ix);
    enum tsdb_status status = candidates_ask(sel, step, &series);
    disk_series_deinit(&series);
    return status;
}

static enum tsdb_status select_run(struct selection *sel,
                                   const struct index_matcher *const *matchers,
                                   uint32_t matcher_count)
{
    struct step *steps = tsdb_arena_alloc_array(sel->arena, (size_t)matcher_count + 1,
                                                sizeof *steps, _Alignof(struct step));
    enum tsdb_status status = selection_check(sel, 0);
    if (!steps) {
        return tsdb_error_set(sel->err, sel->arena->failure,
                              "select with %u matchers: over the memory limit", matcher_count);
    }
    uint32_t step_count = 0;
    for (uint32_t i = 0; i < matcher_count && status == TSDB_OK; i++) {
        bool needed = false;
        status = step_plan(sel, matchers[i], &steps[step_count], &needed);
        step_count += needed;
    }
    qsort(steps, step_count, sizeof *steps, step_order);
    for (uint32_t i = 0; i < step_count && status == TSDB_OK && (sel->all || sel->count > 0); i++) {
        status = run_step(sel, &steps[i]);
    }
    return status == TSDB_OK ? selection_spell_out(sel) : status;
}

enum tsdb_status index_disk_select(const struct index_disk *ix,
                                   const struct index_matcher *const *matchers,
                                   uint32_t matcher_count, const struct tsdb_request *request,
                                   struct tsdb_arena *arena, uint32_t **out_ids,
                                   uint32_t *out_count, struct tsdb_error *err)
{
    struct selection sel = {.ix = ix, .request = request, .arena = arena, .err = err, .all = true};
    disk_symbols_init(&sel.symbols, ix);
    enum tsdb_status status = select_run(&sel, matchers, matcher_count);
    disk_symbols_deinit(&sel.symbols);
    if (status == TSDB_OK) {
        *out_ids = sel.ids;
        *out_count = sel.count;
    }
    return status;
}
