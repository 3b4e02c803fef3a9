/* Which range queries may be put together from steps that were computed at different times. */
#ifndef QUERY_CACHE_STEPWISE_H
#define QUERY_CACHE_STEPWISE_H

#include "query/query.h"

struct stepwise {
    struct tsdb_time_range reach; /* of samples that a step reads, relative to it */
    /* Two of the series that a function over ranges has may become equal, which is an error also if they share no
     * step. The evaluator says when they do (query_result.entangled), but only of the series that it has
     * selected: it must select those of all steps. */
    bool selects_all;
};
/* Is the answer at each step its own: the same whatever other steps are asked for, errors included? False also
 * where that is not known: @, duration expressions, experimental functions and features, subqueries
 * of several metrics below a function, ... */
bool query_stepwise(const struct query_expr *expr, const struct query_options *options,
                    const struct query_params *params, struct stepwise *out);

#endif
