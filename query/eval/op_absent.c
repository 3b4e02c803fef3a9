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

/* Where a window of the range vector holds something. */
static enum tsdb_status strike_windows(struct op_absent *a, struct column *out)
{
    const struct matrix *m = a->matrix;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t k = 0; k < m->series_count && status == TSDB_OK; k++) {
        struct points p;
        status = matrix_next(a->matrix, &p);
        uint32_t f = 0;
        uint32_t h = 0;
        for (uint32_t i = 0; i < a->op.grid.count && status == TSDB_OK; i++) {
            int64_t end = matrix_window_end(m, i);
            while (f < p.count && p.t[f] <= end - m->range_ms) {
                f++;
            }
            while (h < p.h_count && p.ht[h] <= end - m->range_ms) {
                h++;
            }
            if ((f < p.count && p.t[f] <= end) || (h < p.h_count && p.ht[h] <= end)) {
                out->kind[i] = POINT_NONE;
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
