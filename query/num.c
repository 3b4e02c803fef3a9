#include "query/num.h"

#include <stdlib.h>

static int compare_nan_first(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    if (isnan(x) || isnan(y)) {
        return isnan(x) ? (isnan(y) ? 0 : -1) : 1;
    }
    return (x > y) - (x < y);
}

double num_quantile(double q, double *values, unsigned count)
{
    if (count == 0 || isnan(q)) {
        return (double)NAN;
    }
    if (q < 0 || q > 1) {
        return q < 0 ? (double)-INFINITY : (double)INFINITY;
    }
    qsort(values, count, sizeof *values, compare_nan_first);
    double n = count;
    double rank = q * (n - 1);
    double low = num_max(0, floor(rank));
    double high = num_min(n - 1, low + 1);
    double weight = rank - floor(rank);
    return values[(unsigned)low] * (1 - weight) + values[(unsigned)high] * weight;
}
