/* absent, absent_over_time: one series where another has nothing. */
#include "query/eval/operators.h"

#include "base/assert.h"
#include "query/eval/matrix.h"

/* The labels that an absent series surely would have: those of the selector's equality matchers. A
 * label that is matched twice is left out. */
static enum tsdb_status absent_labels(struct exec *x, const struct query_expr *arg,
                                      struct tsdb_labels *out)
{
    const struct query_expr *v = query_expr_unwrap(arg);
    if (v->kind == EXPR_MATRIX) {
        v = v->u.matrix.selector;
    }
    *out = QUERY_LABELS_EMPTY;
    if (v->kind != EXPR_VECTOR) {
        return TSDB_OK;
    }
    for (uint32_t i = 0; i < v->u.vector.matcher_count; i++) {
        const struct tsdb_matcher *m = &v->u.vector.matchers[i];
        if (m->name_len == sizeof TSDB_METRIC_NAME - 1 &&
            memcmp(m->name, TSDB_METRIC_NAME, m->name_len) == 0) {
            continue;
        }
        bool seen = false; /* an equality matcher for the same name came before */
        for (uint32_t j = 0; j < i; j++) {
            const struct tsdb_matcher *o = &v->u.vector.matchers[j];
            seen |= o->op == TSDB_MATCH_EQ && o->name_len == m->name_len &&
                    memcmp(o->name, m->name, m->name_len) == 0;
        }
        struct query_str value = {m->value, m->op == TSDB_MATCH_EQ && !seen ? m->value_len : 0};
        if (!labels_set(x->arena, out, (struct query_str){m->name, m->name_len}, value, out)) {
            return exec_nomem(x);
        }
    }
    return TSDB_OK;
}

struct op_absent {
    struct op op;
    struct op *child;      /* absent */
    struct matrix *matrix; /* absent_over_time */
    bool inside;           /* of a subquery */
    struct column scratch;
};

/* Where the instant vector has something. */
static enum tsdb_status strike_samples(struct op_absent *a, struct column *out)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t k = 0; k < a->child->series_count && status == TSDB_OK; k++) {
        status = op_next(a->child, &a->scratch);
        for (uint32_t i = 0; i < a->op.grid.count && status == TSDB_OK; i++) {
            out->kind[i] = a->scratch.kind[i] != POINT_NONE ? (uint8_t)POINT_NONE : out->kind[i];
        }
    }
    return status;
}

/* First and last of the samples in a window; both only grow. */
struct span {
    uint32_t lo, hi, fresh; /* fresh: so many of them were in no window before */
};

static void slide(struct span *s, const int64_t *t, uint32_t count, int64_t begin, int64_t end)
{
    uint32_t seen = s->hi;
    while (s->lo < count && t[s->lo] <= begin) {
        s->lo++;
    }
    s->hi = TSDB_MAX(s->hi, s->lo);
    while (s->hi < count && t[s->hi] <= end) {
        s->hi++;
    }
    s->fresh = s->hi - TSDB_MAX(s->lo, seen);
}

/* Where a window of the range vector holds something. */
static enum tsdb_status strike_windows(struct op_absent *a, struct column *out)
{
    const struct matrix *m = a->matrix;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t k = 0; k < m->series_count && status == TSDB_OK; k++) {
        struct points p;
        status = matrix_next(a->matrix, &p);
        struct span f = {0};
        struct span h = {0};
        for (uint32_t i = 0; i < a->op.grid.count && status == TSDB_OK; i++) {
            int64_t end = matrix_window_end(m, i);
            slide(&f, p.t, p.count, end - m->range_ms, end);
            slide(&h, p.ht, p.h_count, end - m->range_ms, end);
            const struct points w = {
                .count = f.hi - f.lo, .h = p.h ? p.h + h.lo : NULL, .h_count = h.hi - h.lo};
            if (w.count + w.h_count > 0) {
                out->kind[i] = POINT_NONE;
                tally_window(&a->op.x->tally, &a->op.grid, i, a->inside, m->body == NULL, &w,
                             f.fresh, h.fresh);
            }
        }
    }
    return status;
}

static enum tsdb_status absent_next(struct op *op, struct column *out)
{
    struct op_absent *a = (struct op_absent *)op;
    for (uint32_t i = 0; i < op->grid.count; i++) {
        out->kind[i] = POINT_FLOAT;
        out->v[i] = 1;
    }
    return a->child ? strike_samples(a, out) : strike_windows(a, out);
}

static enum tsdb_status absent_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op_absent **out)
{
    struct op_absent *a = (struct op_absent *)op_new(x, sizeof *a, e, grid, absent_next);
    if (!a) {
        return exec_nomem(x);
    }
    *out = a;
    a->inside = x->tally.in_subquery > 0;
    enum tsdb_status status = op_series_single(&a->op);
    if (status == TSDB_OK) {
        status = absent_labels(x, e->u.call.args[0], &a->op.series->labels);
    }
    return status == TSDB_OK ? column_init(x, &a->scratch, grid->count) : status;
}

enum tsdb_status op_absent_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out)
{
    struct op_absent *a = NULL;
    enum tsdb_status status = absent_build(x, e, grid, &a);
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(a != NULL);
    *out = &a->op;
    return exec_build(x, e->u.call.args[0], grid, &a->child);
}

enum tsdb_status op_absent_over_time_build(struct exec *x, const struct query_expr *e,
                                           const struct grid *grid, struct op **out)
{
    struct op_absent *a = NULL;
    enum tsdb_status status = absent_build(x, e, grid, &a);
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(a != NULL);
    *out = &a->op;
    status = matrix_build(x, e->u.call.args[0], grid, &a->matrix);
    return status == TSDB_OK ? matrix_check_extension(a->matrix, e->u.call.function) : status;
}
