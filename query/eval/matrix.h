/* Range vectors: a selector with a range, or a subquery. One series at a time, all of its samples
 * that some window may hold; the windows are cut by who uses it. */
#ifndef QUERY_EVAL_MATRIX_H
#define QUERY_EVAL_MATRIX_H

#include "query/eval/select.h"

struct matrix {
    struct exec *x;
    const struct query_expr *expr;
    struct query_plan *plan; /* with explain */
    struct op_series *series;
    uint32_t series_count;
    uint32_t pos;
    struct grid grid; /* of the consumer */
    int64_t range_ms;
    int64_t offset_ms;
    bool fixed; /* @: the same window at every step */
    int64_t fixed_end_ms;
    /* How much further the points reach than the windows (anchored, smoothed). */
    int64_t before_ms, after_ms;
    /* selector */
    struct query_series_set set;
    struct tsdb_arena *scratch;
    select_read_fn *read;
    /* subquery */
    struct op *body;
    struct column column;
    int64_t *t;
    double *v;
    const struct tsdb_histogram **h;
    int64_t *ht;
};

enum tsdb_status matrix_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              struct matrix **out) TSDB_WUR;
/* A second one for evaluation x, whose series are read in any order by setting pos; of a selector, not
 * of a subquery. Memory from m->x. */
enum tsdb_status matrix_clone(const struct matrix *m, struct exec *x, struct matrix **out) TSDB_WUR;
/* The samples of the next series, valid until the one after it is read. */
enum tsdb_status matrix_next(struct matrix *m, struct points *out) TSDB_WUR;
/* Replace the points of an anchored or smoothed range by what it has as a result. */
enum tsdb_status matrix_extend(struct matrix *m, struct points *p) TSDB_WUR;
/* Right end of the window at step i; the left end is range_ms before and does not belong to it. */
int64_t matrix_window_end(const struct matrix *m, uint32_t i);
/* INVALID if the range is anchored or smoothed and function f does not take that. */
enum tsdb_status matrix_check_extension(const struct matrix *m,
                                        const struct query_function *f) TSDB_WUR;

#endif
