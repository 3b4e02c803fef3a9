/* The functions that the table in functions.c names. */
#ifndef QUERY_EVAL_FUNC_PRIVATE_H
#define QUERY_EVAL_FUNC_PRIVATE_H

#include "query/eval/exec_private.h"

/* "quantile value should be between 0 and 1, got 2", if q is not. */
void func_note_quantile(struct exec *x, double q, uint32_t pos);

#define RANGE_FN(name)                                                                             \
    bool func_##name(struct range_call *c, const struct window *w, struct point *out);
RANGE_FN(rate)
RANGE_FN(increase)
RANGE_FN(delta)
RANGE_FN(irate)
RANGE_FN(idelta)
RANGE_FN(resets)
RANGE_FN(changes)
RANGE_FN(deriv)
RANGE_FN(predict_linear)
RANGE_FN(double_exponential_smoothing)
RANGE_FN(sum_over_time)
RANGE_FN(avg_over_time)
RANGE_FN(count_over_time)
RANGE_FN(present_over_time)
RANGE_FN(last_over_time)
RANGE_FN(first_over_time)
RANGE_FN(ts_of_first_over_time)
RANGE_FN(ts_of_last_over_time)
RANGE_FN(max_over_time)
RANGE_FN(min_over_time)
RANGE_FN(ts_of_max_over_time)
RANGE_FN(ts_of_min_over_time)
RANGE_FN(quantile_over_time)
RANGE_FN(mad_over_time)
RANGE_FN(stdvar_over_time)
RANGE_FN(stddev_over_time)
#undef RANGE_FN

#endif
