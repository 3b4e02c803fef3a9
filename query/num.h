/* Arithmetic as Go and Prometheus do it. Pure. */
#ifndef QUERY_NUM_H
#define QUERY_NUM_H

#include "query/hist/kahan.h"

#include <math.h>

/* Go's math.Min and math.Max: NaN wins, but the right infinity wins over NaN; -0 < +0. */
static inline double num_min(double a, double b)
{
    if ((isinf(a) && a < 0) || (isinf(b) && b < 0)) {
        return (double)-INFINITY;
    }
    if (isnan(a) || isnan(b)) {
        return (double)NAN;
    }
    if (a == 0 && b == 0) {
        return signbit(a) ? a : b;
    }
    return a < b ? a : b;
}
static inline double num_max(double a, double b)
{
    return -num_min(-a, -b);
}

/* A mean that switches to the incremental form when the plain sum would overflow.
 * Start with {first value, 0, 1, 0}. */
struct num_mean {
    double sum; /* or the mean itself, once incremental */
    double c;
    double count;
    int incremental;
};
static inline void num_mean_add(struct num_mean *m, double v)
{
    m->count++;
    if (!m->incremental) {
        double sum = m->sum;
        double c = m->c;
        num_kahan(v, &sum, &c);
        if (!isinf(sum)) {
            m->sum = sum;
            m->c = c;
            return;
        }
        m->incremental = 1;
        m->sum /= m->count - 1;
        m->c /= m->count - 1;
    }
    double q = (m->count - 1) / m->count;
    m->sum *= q;
    m->c *= q;
    num_kahan(v / m->count, &m->sum, &m->c);
}
static inline double num_mean_value(const struct num_mean *m)
{
    return m->incremental ? m->sum + m->c : m->sum / m->count + m->c / m->count;
}

/* Quantile q of values[count], which are sorted here (NaN first). NaN for none. */
double num_quantile(double q, double *values, unsigned count);

#endif
