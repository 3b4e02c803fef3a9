#include "query/hist/walk.h"

#include "query/hist/go_math.h"
#include "query/hist/kahan.h"

#include <math.h>

double hist_avg(const struct hist *h)
{
    return h->sum / h->count;
}

/* The value that stands for all observations of a bucket. */
static double middle(const struct hist *h, const struct hist_bucket *b)
{
    if (hist_is_custom(h)) {
        return (b->upper + b->lower) / 2.0;
    }
    if (b->lower <= 0 && b->upper >= 0) {
        return 0;
    }
    double v = sqrt(b->upper * b->lower);
    return b->upper < 0 ? -v : v;
}

double hist_stdvar(const struct hist *h)
{
    double mean = hist_avg(h);
    double variance = 0;
    double residue = 0;
    struct hist_walk w;
    for (hist_walk_init(&w, h, HIST_ASCENDING); hist_walk_next(&w);) {
        if (w.count != 0) {
            struct hist_bucket b = hist_walk_bucket(&w);
            double delta = middle(h, &b) - mean;
            num_kahan(b.count * delta * delta, &variance, &residue);
        }
    }
    variance += residue;
    return variance / h->count;
}

double hist_stddev(const struct hist *h)
{
    return sqrt(hist_stdvar(h));
}

/* ---- quantile ---- */

/* Where a quantile lies: the observations up to and with its bucket, and how many of them it wants,
 * counted from the end that the walk began at. */
struct place {
    struct hist_walk w;
    struct hist_bucket bucket;
    double count, rank;
    bool ascending;
};

static void find_place(double q, const struct hist *h, struct place *p)
{
    p->ascending = isnan(h->sum) || q < 0.5;
    p->rank = (p->ascending ? q : 1 - q) * h->count;
    p->count = 0;
    struct hist_walk at;
    bool any = false;
    hist_walk_init(&p->w, h, p->ascending ? HIST_ASCENDING : HIST_DESCENDING);
    while (hist_walk_next(&p->w)) {
        at = p->w;
        any = true;
        p->count += at.count;
        if (at.count != 0 && p->count >= p->rank) {
            break;
        }
    }
    p->bucket = any ? hist_walk_bucket(&at) : (struct hist_bucket){0};
}

/* If it is the zero bucket and there are buckets on one side only, it is half as wide. */
static void narrow_zero(const struct hist *h, struct hist_bucket *b)
{
    bool negative = h->negative.bucket_count > 0;
    bool positive = h->positive.bucket_count > 0;
    if (positive && !negative) {
        b->lower = 0;
    } else if (negative && !positive) {
        b->upper = 0;
    }
}

/* Are there observations in no bucket, which means that they are NaN? Goes to the end of the walk,
 * and leaves the last bucket in p, with which Prometheus goes on too. */
static bool has_nan(struct place *p, const struct hist *h)
{
    struct hist_walk at;
    bool any = false;
    while (hist_walk_next(&p->w)) {
        at = p->w;
        any = true;
        p->count += at.count;
    }
    if (any) {
        p->bucket = hist_walk_bucket(&at);
    }
    return p->count < h->count;
}

static double interpolate(const struct hist *h, const struct hist_bucket *b, double fraction)
{
    if (hist_is_custom(h) || (b->lower <= 0 && b->upper >= 0)) {
        return b->lower + (b->upper - b->lower) * fraction;
    }
    double lower = go_log2(fabs(b->lower));
    double upper = go_log2(fabs(b->upper));
    if (b->lower > 0) {
        return go_exp2(lower + (upper - lower) * fraction);
    }
    return -go_exp2(upper + (lower - upper) * (1 - fraction));
}

double hist_quantile(double q, const struct hist *h, enum hist_nan_note *note)
{
    *note = HIST_NAN_NONE;
    if (q < 0 || q > 1) {
        return q < 0 ? (double)-INFINITY : (double)INFINITY;
    }
    if (h->count == 0 || isnan(q)) {
        return (double)NAN;
    }
    struct place p;
    find_place(q, h, &p);
    struct hist_bucket *b = &p.bucket;
    if (hist_is_custom(h) && isinf(b->lower) && b->lower < 0) {
        if (b->upper <= 0) {
            return b->upper;
        }
        b->lower = 0;
    } else if (hist_is_custom(h) && isinf(b->upper) && b->upper > 0) {
        return b->lower;
    } else if (!hist_is_custom(h) && b->lower < 0 && b->upper > 0) {
        narrow_zero(h, b);
    }
    /* Rounding may have made the sum of the buckets larger than the count. */
    p.count = p.count > h->count ? h->count : p.count;
    if (p.count < p.rank) {
        *note = isnan(h->sum) ? HIST_NAN_RESULT : HIST_NAN_NONE;
        return isnan(h->sum) ? (double)NAN : b->upper;
    }
    double rank = p.ascending ? p.rank - (p.count - b->count) : p.count - p.rank;
    if (isnan(h->sum) && has_nan(&p, h)) {
        *note = HIST_NAN_SKEWED;
    }
    return interpolate(h, b, rank / b->count);
}

/* ---- fraction ---- */

/* The number of observations below v, if v lies in bucket b or at its lower end; `rank` are those in
 * the buckets before it. */
static bool rank_in_bucket(const struct hist *h, const struct hist_bucket *b, bool is_zero,
                           double v, double rank, double *out)
{
    if (b->lower >= v) {
        *out = rank;
        return true;
    }
    if (!(b->lower < v && b->upper > v)) {
        return false;
    }
    bool linear = hist_is_custom(h) || is_zero;
    if (linear && isinf(b->lower)) { /* nothing to interpolate over */
        *out = b->count;
    } else {
        *out = rank + b->count * hist_fraction_below(b, v, linear);
    }
    return true;
}

double hist_fraction(double lower, double upper, const struct hist *h, bool *nan_excluded)
{
    *nan_excluded = false;
    if (h->count == 0 || isnan(lower) || isnan(upper)) {
        return (double)NAN;
    }
    if (lower >= upper) {
        return 0;
    }
    double count = 0;
    double rank = 0;
    double ranks[2] = {0, 0};
    bool set[2] = {false, false};
    struct hist_walk w;
    hist_walk_init(&w, h, HIST_ASCENDING);
    while (!(set[0] && set[1]) && hist_walk_next(&w)) {
        struct hist_bucket b = hist_walk_bucket(&w);
        count += b.count;
        bool is_zero = b.lower <= 0 && b.upper >= 0;
        if (is_zero) {
            narrow_zero(h, &b);
        }
        set[0] = set[0] || rank_in_bucket(h, &b, is_zero, lower, rank, &ranks[0]);
        set[1] = set[1] || rank_in_bucket(h, &b, is_zero, upper, rank, &ranks[1]);
        rank += b.count;
    }
    if (isnan(h->sum)) {
        while (hist_walk_next(&w)) {
            count += w.count;
        }
        *nan_excluded = count < h->count;
    } else {
        count = h->count;
    }
    for (int i = 0; i < 2; i++) {
        ranks[i] = !set[i] || ranks[i] > count ? count : ranks[i];
    }
    return (ranks[1] - ranks[0]) / h->count;
}
