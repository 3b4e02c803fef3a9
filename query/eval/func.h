/* Functions that are computed value by value: what the evaluator gives them, and their names out of
 * functions.def. Threads: they keep nothing between calls. */
#ifndef QUERY_EVAL_FUNC_H
#define QUERY_EVAL_FUNC_H

#include "query/eval/op.h"

struct range_call {
    struct exec *x;
    const struct query_expr *call;
    const struct query_expr *arg; /* the range vector */
    const struct op_series *series;
    int64_t t_ms;             /* of the step */
    int64_t begin_ms, end_ms; /* of the window: (begin, end] */
    int64_t range_ms;
    const double *args;          /* scalar arguments at this step, in order */
    struct tsdb_arena *scratch;  /* of a window: reset by who uses it */
    struct tsdb_arena *turns[2]; /* see range_view */
    struct tsdb_arena *results;  /* histograms that are results, kept until the next series */
    enum tsdb_status status;     /* set together with x->err to give up */
};

/* Float to float. args: the values of the scalar arguments at this step, in order. */
typedef double func_map_fn(double v, const double *args);
/* One window that is not empty to one point, in *out, which is zero before. False: no result there,
 * or call->status says why not. A histogram in *out must live until the next series is read: it is
 * one of the window, or lies in an arena. */
typedef bool func_range_fn(struct range_call *call, const struct points *w, struct point *out);

#define MAP(f)   func_map_fn f;
#define RANGE(f) func_range_fn f;
#define BUILD(f)
#define NOT_YET
#define FUNCTION(name, implementation, ...) implementation
#include "query/lang/functions.def"
#undef MAP
#undef RANGE
#undef BUILD
#undef NOT_YET
#undef FUNCTION

#endif
