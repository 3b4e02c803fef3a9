#include "query/hist/hist_private.h"

#include "query/hist/bound.h"

#include <math.h>

/* Has any bucket fewer observations than before? */
static bool any_fell(const struct hist_side *now, const struct hist_side *before,
                     const struct hist *h, unsigned shift)
{
    struct hist_coarse n;
    struct hist_coarse b;
    hist_coarse_init(&n, now, 0, false);
    hist_coarse_init(&b, before, shift, false);
    if (!hist_is_custom(h) && h->zero_threshold != 0) {
        hist_coarse_skip(&n, h->schema, h->zero_threshold);
        hist_coarse_skip(&b, h->schema, h->zero_threshold);
    }
    for (; b.valid; hist_coarse_next(&b)) {
        while (n.valid && n.index < b.index) {
            hist_coarse_next(&n);
        }
        bool has = n.valid && n.index == b.index;
        if (has ? n.count < b.count : b.count != 0) {
            return true;
        }
    }
    return false;
}

/* The observations up to `bound` that have not been counted yet. */
static double count_up_to(struct hist_cursor *c, const struct hist *h, double bound)
{
    double count = 0;
    while (hist_cursor_valid(c) &&
           hist_custom_bound(h->custom_values, h->custom_count, c->index) <= bound) {
        count += c->counts[c->bucket];
        hist_cursor_next(c);
    }
    return count;
}

/* The same where custom bounds differ: between bounds that both have. */
static bool any_reconciled_fell(const struct hist *h, const struct hist *before)
{
    struct hist_cursor n;
    struct hist_cursor b;
    hist_cursor_init(&n, &h->positive);
    hist_cursor_init(&b, &before->positive);
    uint32_t i = 0;
    uint32_t k = 0;
    while (i <= h->custom_count && k <= before->custom_count) {
        double x = hist_custom_bound(h->custom_values, h->custom_count, i);
        double y = hist_custom_bound(before->custom_values, before->custom_count, k);
        if (x == y && count_up_to(&n, h, x) < count_up_to(&b, before, x)) {
            return true;
        }
        i += x <= y;
        k += !(x < y);
    }
    return false;
}

bool hist_detect_reset(const struct hist *h, const struct hist *before)
{
    if (h->reset_hint == TSDB_RESET_YES || h->reset_hint == TSDB_RESET_NO) {
        return h->reset_hint == TSDB_RESET_YES;
    }
    if (h->count < before->count) {
        return true;
    }
    if (hist_is_custom(h) && hist_is_custom(before) && !hist_same_bounds(h, before)) {
        return any_reconciled_fell(h, before);
    }
    /* A finer schema, another kind of buckets or a narrower zero bucket comes with a restart only. */
    if (hist_is_custom(h) != hist_is_custom(before) || h->schema > before->schema ||
        h->zero_threshold < before->zero_threshold) {
        return true;
    }
    if (hist_is_custom(h)) {
        return any_fell(&h->positive, &before->positive, h, 0);
    }
    double threshold = h->zero_threshold;
    double residue = 0;
    double zero_count = hist_zero_count_within(before, &threshold, &residue);
    if (threshold != h->zero_threshold || h->zero_count < zero_count) {
        return true; /* a wider zero bucket cuts no populated bucket unless there was a reset */
    }
    unsigned shift = (unsigned)(before->schema - h->schema);
    return any_fell(&h->positive, &before->positive, h, shift) ||
           any_fell(&h->negative, &before->negative, h, shift);
}
