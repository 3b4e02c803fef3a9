#include "query/hist/hist_private.h"

#include "query/hist/walk.h"

#include <math.h>

struct trim {
    double at;
    bool upper; /* keep what is below `at` */
    bool custom;
    double count, sum; /* of what is kept */
    bool changed;
};

struct kept {
    double count;
    double middle; /* stands for each of its observations */
};

/* The middle of what is kept of a bucket; infinite ends are no help. */
static double middle(double lower, double upper, bool positive, bool linear)
{
    if (isinf(lower)) {
        if (isinf(upper)) {
            return 0;
        }
        return upper > 0 ? upper / 2 : upper;
    }
    if (isinf(upper)) {
        return lower;
    }
    if (linear) {
        return (lower + upper) / 2;
    }
    double v = sqrt(fabs(lower * upper));
    return positive ? v : -v;
}

static double zero_if_infinite(double v)
{
    return isinf(v) ? 0 : v;
}

/* The first custom bucket has no lower end. If it reaches above zero it is taken to begin there,
 * else nothing is known of the values in it. */
static struct kept keep_of_lowest(const struct trim *t, const struct hist_bucket *b)
{
    double at = t->at;
    bool finite = !isinf(b->upper);
    if (t->upper) {
        if (at >= b->upper) {
            return (struct kept){b->count, 0};
        }
        if (at > 0 && b->upper > 0 && finite) {
            return (struct kept){b->count * at / b->upper, at / 2};
        }
        if (b->upper <= 0) {
            return (struct kept){b->count, at};
        }
        return (struct kept){0, zero_if_infinite(b->upper)};
    }
    if (at <= b->lower) {
        return (struct kept){b->count, 0};
    }
    if (at >= 0 && b->upper > at && finite) {
        return (struct kept){b->count * (1 - at / b->upper), (at + b->upper) / 2};
    }
    return (struct kept){0, zero_if_infinite(b->upper)};
}

/* A bucket without upper end: all or nothing. */
static struct kept keep_of_highest(const struct trim *t, const struct hist_bucket *b)
{
    if (!t->upper && t->at >= b->lower) {
        return (struct kept){b->count, t->at};
    }
    return (struct kept){0, zero_if_infinite(b->lower)};
}

/* Of a bucket that `at` lies in. */
static struct kept keep_part(const struct trim *t, const struct hist_bucket *b, bool positive)
{
    if (isinf(b->lower) && b->lower < 0) {
        return keep_of_lowest(t, b);
    }
    if (isinf(b->upper) && b->upper > 0) {
        return keep_of_highest(t, b);
    }
    double below = t->at <= b->lower   ? 0
                   : t->at >= b->upper ? b->count
                                       : b->count * hist_fraction_below(b, t->at, t->custom);
    if (t->upper) {
        return (struct kept){below, middle(b->lower, t->at, positive, t->custom)};
    }
    return (struct kept){b->count - below, middle(t->at, b->upper, positive, t->custom)};
}

static struct kept keep(const struct trim *t, const struct hist_bucket *b, bool positive)
{
    if (t->upper ? b->upper <= t->at : b->lower >= t->at) {
        return (struct kept){b->count, middle(b->lower, b->upper, positive, t->custom)};
    }
    if (t->upper ? b->lower < t->at : b->upper > t->at) {
        return keep_part(t, b, positive);
    }
    return (struct kept){0, 0};
}

/* Returns whether there was anything on that side. */
static bool trim_side(struct trim *t, struct hist *h, bool positive)
{
    struct hist_side *s = positive ? &h->positive : &h->negative;
    bool any = false;
    struct hist_walk w;
    hist_walk_init(&w, h, positive ? HIST_POSITIVE : HIST_NEGATIVE);
    while (hist_walk_next(&w)) {
        if (w.count == 0) {
            continue;
        }
        any = true;
        struct hist_bucket b = hist_walk_bucket(&w);
        struct kept k = keep(t, &b, positive);
        t->count += k.count;
        t->sum += k.middle * k.count;
        t->changed = t->changed || k.count != b.count;
        s->own_counts[w.bucket] = k.count;
    }
    return any;
}

static struct kept keep_of_zero(const struct trim *t, const struct hist *h, bool positive,
                                bool negative)
{
    double lower = positive && !negative ? 0 : -h->zero_threshold;
    double upper = negative && !positive ? 0 : h->zero_threshold;
    if (t->at <= lower || t->at >= upper) {
        bool all = t->upper ? !(t->at <= lower) : t->at <= lower;
        return all ? (struct kept){h->zero_count, (lower + upper) / 2} : (struct kept){0, 0};
    }
    double fraction = (t->upper ? t->at - lower : upper - t->at) / (upper - lower);
    return (struct kept){h->zero_count * fraction, (t->upper ? lower + t->at : t->at + upper) / 2};
}

enum tsdb_status hist_trim(struct hist *h, double at, bool upper, struct tsdb_arena *arena)
{
    enum tsdb_status status = hist_own(h, arena);
    if (status != TSDB_OK) {
        return status;
    }
    struct trim t = {.at = at, .upper = upper, .custom = hist_is_custom(h)};
    bool positive = trim_side(&t, h, true);
    bool negative = trim_side(&t, h, false);
    if (h->zero_count > 0) {
        struct kept k = keep_of_zero(&t, h, positive, negative);
        t.changed = t.changed || k.count != h->zero_count;
        h->zero_count = k.count;
        t.sum += k.middle * k.count;
        t.count += k.count;
    }
    if (!t.changed) {
        return TSDB_OK;
    }
    h->count = t.count;
    h->sum = t.sum;
    return hist_compact(h, arena);
}
