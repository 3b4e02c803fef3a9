/* Which range queries may be put together from steps that were computed at different times. */
#ifndef QUERY_CACHE_STEPWISE_H
#define QUERY_CACHE_STEPWISE_H

#include "query/query.h"

/* Is the answer at each step its own: the same whatever other steps are asked for, errors included? Then the
 * step at t depends on samples in [t + reach->min_ms, t + reach->max_ms] alone. False also where that
 * is not known: @, duration expressions, experimental functions and features, functions over ranges of
 * several metrics (two series that become equal are an error even if they share no step), ... */
bool query_stepwise(const struct query_expr *expr, const struct query_options *options,
                    const struct query_params *params, struct tsdb_time_range *reach);

#endif
