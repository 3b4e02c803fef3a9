/* What readers see of an in-memory index beside select: labels of a series, names, values, sizes;
 * and the check of the whole. */
#include "base/assert.h"
#include "index/mem/index_mem_private.h"

uint32_t index_mem_series_count(const struct index_mem *ix)
{
    return atomic_load_explicit(&ix->series_count, memory_order_acquire);
}

uint32_t index_mem_ids_end(const struct index_mem *ix)
{
    return index_mem_series_count(ix) + ix->shift;
}

uint32_t index_mem_ids_left(const struct index_mem *ix)
{
    return ix->shift;
}

uint32_t index_row_seek(const struct index_mem *ix, uint32_t local)
{
    uint32_t count = index_mem_series_count(ix);
    if (ix->kept_count == 0 || local > ix->kept[ix->kept_count - 1]) {
        uint32_t row = local > ix->shift ? local - ix->shift : 0;
        return TSDB_MIN(TSDB_MAX(row, ix->kept_count), count);
    }
    /* So many ids at most are left out before any row: that row is no further in front. */
    uint32_t left_out = ix->kept[ix->kept_count - 1] - (ix->kept_count - 1);
    return index_ids_seek(ix->kept, ix->kept_count, local > left_out ? local - left_out : 0, local);
}

/* UINT32_MAX: not there. */
static uint32_t row_of(const struct index_mem *ix, uint32_t local)
{
    uint32_t row = index_row_seek(ix, local);
    return row < index_mem_series_count(ix) && index_row_local(ix, row) == local ? row : UINT32_MAX;
}

bool index_mem_has(const struct index_mem *ix, uint32_t local)
{
    return row_of(ix, local) != UINT32_MAX;
}

uint32_t index_mem_next(const struct index_mem *ix, uint32_t local)
{
    uint32_t row = index_row_seek(ix, local);
    return row < index_mem_series_count(ix) ? index_row_local(ix, row) : UINT32_MAX;
}

static struct tsdb_label label_view(const struct index_mem *ix, const struct index_pair *p)
{
    const struct index_symbol *name =
        index_symbols_at(&ix->symbols, index_name_at(ix, index_pair_name(p))->symbol);
    const struct index_symbol *value = index_symbols_at(&ix->symbols, p->value);
    return (struct tsdb_label){name->bytes, value->bytes, name->len, value->len};
}

uint32_t index_mem_labels(const struct index_mem *ix, uint32_t local, struct tsdb_label *items,
                          uint32_t cap)
{
    uint32_t row = row_of(ix, local);
    if (row == UINT32_MAX) {
        return 0;
    }
    uint32_t pairs[TSDB_LABELS_MAX];
    cap = TSDB_MIN(cap, TSDB_LABELS_MAX);
    uint32_t n = TSDB_MIN(index_set_read(ix, index_row_at(ix, row)->set, pairs, cap), cap);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = label_view(ix, index_pair_at(ix, pairs[i]));
    }
    return n;
}

void index_mem_prefetch(const struct index_mem *ix, uint32_t local)
{
    index_set_prefetch(ix, index_row_at(ix, row_of(ix, local))->set);
}

void index_mem_prefetch_labels(const struct index_mem *ix, uint32_t local)
{
    index_set_prefetch_base(ix, index_row_at(ix, row_of(ix, local))->set);
}

uint32_t index_mem_hash(const struct index_mem *ix, uint32_t local)
{
    uint32_t row = row_of(ix, local);
    TSDB_ASSERT(row != UINT32_MAX);
    return index_row_at(ix, row)->hash;
}

/* ---- names and values ---- */

static bool text_counts(const struct index_wanted *wanted, const struct index_symbol *s)
{
    return !wanted || !wanted->text || wanted->text(wanted->text_arg, s->bytes, s->len);
}

/* Does one series of a run count? Asked from the newest on. */
static bool run_counts(const struct index_mem *ix, struct index_run run,
                       const struct index_wanted *wanted)
{
    for (uint32_t i = run.count; i-- > 0;) {
        if (wanted->series(wanted->series_arg, index_row_local(ix, run.first + i))) {
            return true;
        }
    }
    return false;
}

/* Mostly one of the newest series counts, if any does: those of the newest block come first. */
static bool pair_is_used(const struct index_mem *ix, const struct index_pair *p, uint32_t bound,
                         const struct index_wanted *wanted)
{
    struct index_runs runs;
    struct index_run run;
    if (!wanted || !wanted->series) {
        return index_postings_any(&p->postings, &ix->blocks, bound);
    }
    index_runs_begin_newest(&runs, &p->postings, &ix->blocks, bound);
    uint32_t asked = bound;
    while (index_runs_next(&runs, &run)) {
        asked = TSDB_MIN(asked, run.first);
        if (run_counts(ix, run, wanted)) {
            return true;
        }
    }
    index_runs_begin(&runs, &p->postings, &ix->blocks, asked);
    while (index_runs_next(&runs, &run)) {
        if (run_counts(ix, run, wanted)) {
            return true;
        }
    }
    return false;
}

static bool name_is_used(const struct index_mem *ix, const struct index_name *n, uint32_t bound,
                         const struct index_wanted *wanted)
{
    uint32_t pair = atomic_load_explicit(&n->newest, memory_order_acquire);
    while (pair != INDEX_NONE) {
        const struct index_pair *p = index_pair_at(ix, pair);
        if (pair_is_used(ix, p, bound, wanted)) {
            return true;
        }
        pair = p->next;
    }
    return false;
}

void index_mem_names(const struct index_mem *ix, const struct index_wanted *wanted,
                     index_string_fn fn, void *arg)
{
    uint32_t bound = index_mem_series_count(ix);
    uint32_t name = atomic_load_explicit(&ix->names_newest, memory_order_acquire);
    while (name != INDEX_NONE) {
        const struct index_name *n = index_name_at(ix, name);
        const struct index_symbol *s = index_symbols_at(&ix->symbols, n->symbol);
        if (text_counts(wanted, s) && name_is_used(ix, n, bound, wanted) &&
            !fn(arg, s->bytes, s->len)) {
            return;
        }
        name = n->next;
    }
}

void index_mem_values(const struct index_mem *ix, const char *name, uint32_t name_len,
                      const struct index_wanted *wanted, index_string_fn fn, void *arg)
{
    uint32_t bound = index_mem_series_count(ix);
    uint32_t handle = index_name_find(ix, name, name_len);
    if (handle == INDEX_NONE) {
        return;
    }
    uint32_t pair = atomic_load_explicit(&index_name_at(ix, handle)->newest, memory_order_acquire);
    while (pair != INDEX_NONE) {
        const struct index_pair *p = index_pair_at(ix, pair);
        const struct index_symbol *s = index_symbols_at(&ix->symbols, p->value);
        if (text_counts(wanted, s) && pair_is_used(ix, p, bound, wanted) &&
            !fn(arg, s->bytes, s->len)) {
            return;
        }
        pair = p->next;
    }
}

uint32_t index_mem_pair_series(const struct index_mem *ix, const char *name, uint32_t name_len,
                               const char *value, uint32_t value_len)
{
    uint32_t bound = index_mem_series_count(ix);
    uint32_t handle = index_name_find(ix, name, name_len);
    uint32_t pair =
        handle == INDEX_NONE ? INDEX_NONE : index_pair_find(ix, handle, value, value_len);
    return pair == INDEX_NONE
               ? 0
               : index_postings_count(&index_pair_at(ix, pair)->postings, &ix->blocks, bound);
}

void index_mem_pairs(const struct index_mem *ix, index_pair_fn fn, void *arg)
{
    uint32_t bound = index_mem_series_count(ix);
    uint32_t name = atomic_load_explicit(&ix->names_newest, memory_order_acquire);
    while (name != INDEX_NONE) {
        const struct index_name *n = index_name_at(ix, name);
        uint32_t pair = atomic_load_explicit(&n->newest, memory_order_acquire);
        while (pair != INDEX_NONE) {
            const struct index_pair *p = index_pair_at(ix, pair);
            struct tsdb_label l = label_view(ix, p);
            uint32_t count = index_postings_count(&p->postings, &ix->blocks, bound);
            if (count > 0 && !fn(arg, l.name, l.name_len, l.value, l.value_len, count)) {
                return;
            }
            pair = p->next;
        }
        name = n->next;
    }
}

/* ---- sizes ---- */

void index_mem_stats(const struct index_mem *ix, struct index_mem_stats *out)
{
    out->series = index_mem_series_count(ix);
    out->symbols = index_counter_get(&ix->symbols.count);
    out->label_pairs = index_counter_get(&ix->pair_count);
    out->symbol_bytes = index_counter_get(&ix->symbols.pages.bytes);
    out->postings_bytes = index_counter_get(&ix->names.bytes) +
                          index_counter_get(&ix->pairs.bytes) +
                          index_counter_get(&ix->blocks.bytes);
    out->labels_bytes = index_counter_get(&ix->sets.bytes) + index_counter_get(&ix->rows.bytes);
    out->table_bytes = index_counter_get(&ix->symbols.slots.bytes) +
                       index_counter_get(&ix->name_slots.bytes) +
                       index_counter_get(&ix->pair_slots.bytes) +
                       index_counter_get(&ix->series_slots.bytes) + ix->kept_cap * sizeof *ix->kept;
}

/* ---- check ---- */

static enum tsdb_status series_validate(const struct index_mem *ix, uint32_t row, uint32_t bound,
                                        struct tsdb_error *err)
{
    uint32_t local = index_row_local(ix, row);
    struct tsdb_label items[TSDB_LABELS_MAX];
    uint32_t pairs[TSDB_LABELS_MAX];
    struct tsdb_labels labels = {items, index_mem_labels(ix, local, items, TSDB_LABELS_MAX)};
    (void)index_set_read(ix, index_row_at(ix, row)->set, pairs, TSDB_LABELS_MAX);
    for (uint32_t i = 0; i < labels.count; i++) {
        const struct tsdb_label *l = &items[i];
        if (l->name_len == 0 || l->value_len == 0) {
            return tsdb_error_set(err, TSDB_CORRUPT, "index: series %u label %u is empty", local,
                                  i);
        }
        if (i > 0 && tsdb_str_compare(l[-1].name, l[-1].name_len, l->name, l->name_len) >= 0) {
            return tsdb_error_set(err, TSDB_CORRUPT, "index: series %u label %u is out of order",
                                  local, i);
        }
        uint32_t in_list = row;
        if (index_postings_filter(&index_pair_at(ix, pairs[i])->postings, &ix->blocks, bound, true,
                                  &in_list, 1) != 1) {
            return tsdb_error_set(err, TSDB_CORRUPT,
                                  "index: series %u is not in the postings of label %u", local, i);
        }
    }
    uint32_t found = index_mem_find(ix, &labels, index_mem_hash(ix, local));
    if (found != local) {
        return tsdb_error_set(err, TSDB_CORRUPT, "index: series %u is found as %u", local, found);
    }
    return TSDB_OK;
}

struct pairs_check {
    const struct index_mem *ix;
    uint64_t ids;
    struct tsdb_error *err;
    enum tsdb_status status;
};

static void pair_validate(struct pairs_check *check, uint32_t handle)
{
    const struct index_pair *p = index_pair_at(check->ix, handle);
    uint32_t bound = index_mem_series_count(check->ix);
    struct index_runs runs;
    struct index_run run;
    uint32_t end = 0;
    uint32_t n = 0;
    index_runs_begin(&runs, &p->postings, &check->ix->blocks, UINT32_MAX);
    while (index_runs_next(&runs, &run)) {
        if (run.first < end || run.count > bound || run.first > bound - run.count) {
            check->status = tsdb_error_set(check->err, TSDB_CORRUPT,
                                           "index: pair %u, postings from %u on are %u series from "
                                           "%u on",
                                           handle, n, run.count, run.first);
            return;
        }
        end = run.first + run.count;
        n += run.count;
    }
    if (n != index_postings_count(&p->postings, &check->ix->blocks, UINT32_MAX)) {
        check->status =
            tsdb_error_set(check->err, TSDB_CORRUPT,
                           "index: pair %u has %u postings and counts others", handle, n);
    }
    check->ids += n;
}

enum tsdb_status index_mem_validate(const struct index_mem *ix, struct tsdb_error *err)
{
    uint32_t bound = index_mem_series_count(ix);
    uint64_t labels = 0;
    for (uint32_t row = 0; row < bound; row++) {
        enum tsdb_status status = series_validate(ix, row, bound, err);
        if (status != TSDB_OK) {
            return status;
        }
        labels += index_set_read(ix, index_row_at(ix, row)->set, NULL, 0);
    }
    struct pairs_check check = {.ix = ix, .err = err};
    uint32_t name = atomic_load_explicit(&ix->names_newest, memory_order_acquire);
    for (; name != INDEX_NONE; name = index_name_at(ix, name)->next) {
        uint32_t pair =
            atomic_load_explicit(&index_name_at(ix, name)->newest, memory_order_acquire);
        for (; pair != INDEX_NONE && check.status == TSDB_OK;
             pair = index_pair_at(ix, pair)->next) {
            pair_validate(&check, pair);
        }
    }
    if (check.status == TSDB_OK && check.ids != labels) {
        return tsdb_error_set(err, TSDB_CORRUPT, "index: %llu postings for %llu labels",
                              (unsigned long long)check.ids, (unsigned long long)labels);
    }
    return check.status;
}
