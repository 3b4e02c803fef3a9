/* Arithmetic of classic histograms: series whose label "le" is the upper bound of a bucket, whose
 * counts are cumulative. As Prometheus's promql/quantile.go computes it. Threads: pure. */
#ifndef QUERY_EVAL_CLASSIC_H
#define QUERY_EVAL_CLASSIC_H

#include <stdbool.h>
#include <stdint.h>

struct classic_bucket {
    double upper;
    double count;
};

/* What was done to counts that fell from one bucket to the next. */
struct classic_correction {
    bool forced;
    double min_bucket, max_bucket, max_diff;
};

/* Quantile q of b[n], which is put in order; *c: whether counts had to be corrected. NaN where there
 * is none. */
double classic_quantile(double q, struct classic_bucket *b, uint32_t n,
                        struct classic_correction *c);
/* The share of observations between lower and upper. b[n] is put in order. */
double classic_fraction(double lower, double upper, struct classic_bucket *b, uint32_t n);

#endif
