/* Every PromQL function: one table row each, with what the parser checks and what the evaluator
 * calls. Threads: the table is constant. */
#ifndef QUERY_LANG_FUNCTIONS_H
#define QUERY_LANG_FUNCTIONS_H

#include "query/query.h"

#define QUERY_FUNCTION_ARGS 5

struct exec;
struct grid;
struct op;
struct point;
struct query_expr;
struct range_call;
struct window;

/* Float to float, point by point. args: the values of the scalar arguments at this step, in order.
 */
typedef double (*query_map_fn)(double v, const double *args);
/* One window of a range vector to one point. Returns false if it has no result there (or
 * call->status says why not). */
typedef bool (*query_range_fn)(struct range_call *call, const struct window *w, struct point *out);
/* A function with an operator of its own. */
typedef enum tsdb_status (*query_build_fn)(struct exec *x, const struct query_expr *e,
                                           const struct grid *grid, struct op **out);

struct query_function {
    const char *name;
    enum query_type args[QUERY_FUNCTION_ARGS];
    uint8_t arg_count;
    int8_t variadic; /* the last argument: 0 exactly once, n > 0 from 0 to n times, -1 any number of
                        times */
    enum query_type returns;
    bool experimental;
    bool time_dependent; /* gives other values at other evaluation times even if its arguments do
                            not */
    /* At most one; none: not supported yet. */
    query_map_fn map;
    query_range_fn range;
    query_build_fn build;
};

/* NULL: unknown. */
const struct query_function *query_function_find(const char *name, size_t len);
/* All rows, sorted by name. */
const struct query_function *query_functions(uint32_t *out_count);

#endif
