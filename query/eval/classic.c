/* Quantiles and fractions of classic buckets. See classic.h. */
#include "query/eval/classic.h"

#include "query/num.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* Buckets that differ by less, relatively, are taken for equal: what is left is rounding. */
#define SMALL_DELTA_TOLERANCE 1e-12

static int compare_buckets(const void *a, const void *b)
{
    double x = ((const struct classic_bucket *)a)->upper;
    double y = ((const struct classic_bucket *)b)->upper;
    return (x > y) - (x < y);
}

static uint32_t coalesce(struct classic_bucket *b, uint32_t n)
{
    uint32_t last = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (b[i].upper == b[last].upper) {
            b[last].count += b[i].count;
        } else {
            b[++last] = b[i];
        }
    }
    return last + 1;
}

/* Prometheus's util/almost. */
static bool almost_equal(double a, double b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b);
    }
    if (a == b) {
        return true;
    }
    double sum = fabs(a) + fabs(b);
    double diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < DBL_MIN) {
        return diff < SMALL_DELTA_TOLERANCE * DBL_MIN;
    }
    return diff / num_min(sum, DBL_MAX) < SMALL_DELTA_TOLERANCE;
}

static void make_monotonic(struct classic_bucket *b, uint32_t n, struct classic_correction *c)
{
    *c = (struct classic_correction){false, (double)INFINITY, (double)-INFINITY, 0};
    double previous = b[0].count;
    for (uint32_t i = 1; i < n; i++) {
        double count = b[i].count;
        if (count == previous) {
            continue;
        }
        if (almost_equal(previous, count)) {
            b[i].count = previous;
        } else if (count < previous) {
            b[i].count = previous;
            c->forced = true;
            c->min_bucket = num_min(c->min_bucket, b[i].upper);
            c->max_bucket = num_max(c->max_bucket, b[i].upper);
            c->max_diff = num_max(c->max_diff, previous - count);
        } else {
            previous = count;
        }
    }
}

double classic_quantile(double q, struct classic_bucket *b, uint32_t n,
                        struct classic_correction *c)
{
    c->forced = false;
    if (isnan(q)) {
        return (double)NAN;
    }
    if (q < 0 || q > 1) {
        return q < 0 ? (double)-INFINITY : (double)INFINITY;
    }
    qsort(b, n, sizeof *b, compare_buckets);
    if (!(isinf(b[n - 1].upper) && b[n - 1].upper > 0)) {
        return (double)NAN;
    }
    n = coalesce(b, n);
    make_monotonic(b, n, c);
    if (n < 2 || b[n - 1].count == 0) {
        return (double)NAN;
    }
    double rank = q * b[n - 1].count;
    uint32_t i = 0;
    while (i < n - 1 && !(b[i].count >= rank)) {
        i++;
    }
    if (i == n - 1) {
        return b[n - 2].upper;
    }
    if (i == 0 && b[0].upper <= 0) {
        return b[0].upper;
    }
    double start = 0;
    double end = b[i].upper;
    double count = b[i].count;
    if (i > 0) {
        start = b[i - 1].upper;
        count -= b[i - 1].count;
        rank -= b[i - 1].count;
    }
    return start + (end - start) * (rank / count);
}

/* The count of observations below v; v lies in (lower, upper). */
static double rank_of(double v, double lower, double upper, double rank, double count)
{
    return isinf(lower) ? count : rank + (count - rank) * (v - lower) / (upper - lower);
}

/* The share of observations in (lower, upper]. */
double classic_fraction(double lower, double upper, struct classic_bucket *b, uint32_t n)
{
    qsort(b, n, sizeof *b, compare_buckets);
    if (!(isinf(b[n - 1].upper) && b[n - 1].upper > 0)) {
        return (double)NAN;
    }
    n = coalesce(b, n);
    double count = b[n - 1].count;
    if (count == 0 || isnan(lower) || isnan(upper)) {
        return (double)NAN;
    }
    if (lower >= upper) {
        return 0;
    }
    const double bounds[2] = {lower, upper};
    double ranks[2] = {count, count};
    for (int k = 0; k < 2; k++) {
        double rank = 0;
        double from = b[0].upper <= 0 ? (double)-INFINITY : 0;
        for (uint32_t i = 0; i < n; i++) {
            if (from >= bounds[k]) {
                ranks[k] = rank;
                break;
            }
            if (b[i].upper > bounds[k]) {
                ranks[k] = rank_of(bounds[k], from, b[i].upper, rank, b[i].count);
                break;
            }
            rank = b[i].count;
            from = b[i].upper;
        }
        ranks[k] = ranks[k] > count ? count : ranks[k];
    }
    return (ranks[1] - ranks[0]) / count;
}
