/* Compensated summation. Pure. */
#ifndef QUERY_HIST_KAHAN_H
#define QUERY_HIST_KAHAN_H

#include <math.h>

/* Kahan-Neumaier summation: *sum plus the compensation *c. */
static inline void num_kahan(double add, double *sum, double *c)
{
    double t = *sum + add;
    if (isinf(t)) {
        *c = 0;
    } else if (fabs(*sum) >= fabs(add)) {
        *c += (*sum - t) + add;
    } else {
        *c += (add - t) + *sum;
    }
    *sum = t;
}

#endif
