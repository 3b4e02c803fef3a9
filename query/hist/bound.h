/* Bounds of native histogram buckets: the one place that knows them.
 *
 * Those of exponential buckets are the doubles of Prometheus's table, scaled by a power of two. They
 * are not the correctly rounded powers: up to three quarters of them differ in the last digit.
 * Source: Prometheus model/histogram/generic.go. Threads: pure.
 */
#ifndef QUERY_HIST_BOUND_H
#define QUERY_HIST_BOUND_H

#include <stdint.h>

/* The upper bound of bucket `index` on the positive side, schema -4..8. The last bucket of ordinary
 * numbers ends at DBL_MAX, since the next one holds infinities only. */
double hist_bound(int32_t schema, int64_t index);
/* The same of custom buckets: -Inf below the first bound, +Inf behind the last. */
double hist_custom_bound(const double *custom_values, uint32_t custom_count, int64_t index);

#endif
