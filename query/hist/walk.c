#include "query/hist/walk.h"

#include "query/hist/bound.h"
#include "query/hist/go_math.h"

#include <math.h>

static bool is_two_sided(const struct hist_walk *w)
{
    return w->order == HIST_ASCENDING || w->order == HIST_DESCENDING;
}

static void start_inwards(struct hist_walk *w, const struct hist_side *s)
{
    w->part = HIST_PART_FIRST;
    w->side = s;
    w->span = s->span_count;
    w->bucket = s->bucket_count;
    w->left = 0;
    w->next_index = 0;
    for (uint32_t i = 0; i < s->span_count; i++) {
        w->next_index += (int64_t)s->spans[i].offset + s->spans[i].length;
    }
}

static void start_outwards(struct hist_walk *w, const struct hist_side *s)
{
    w->part = HIST_PART_LAST;
    w->side = s;
    w->span = w->left = w->visited = 0;
    w->next_index = 0;
}

void hist_walk_init(struct hist_walk *w, const struct hist *h, enum hist_order order)
{
    *w = (struct hist_walk){.h = h, .order = order};
    switch (order) {
    case HIST_ASCENDING:
    case HIST_NEGATIVE_INWARDS:
        start_inwards(w, &h->negative);
        break;
    case HIST_DESCENDING:
    case HIST_POSITIVE_INWARDS:
        start_inwards(w, &h->positive);
        break;
    case HIST_POSITIVE:
        start_outwards(w, &h->positive);
        break;
    case HIST_NEGATIVE:
        start_outwards(w, &h->negative);
        break;
    }
}

/* Spans are left in reverse: behind each, the gap before the one after it is skipped. */
static bool next_inwards(struct hist_walk *w)
{
    const struct hist_side *s = w->side;
    while (w->left == 0) {
        if (w->span == 0) {
            return false;
        }
        if (w->span < s->span_count) {
            w->next_index -= s->spans[w->span].offset;
        }
        w->left = s->spans[--w->span].length;
    }
    w->left--;
    w->index = --w->next_index;
    w->count = s->counts[--w->bucket];
    return true;
}

static bool next_outwards(struct hist_walk *w)
{
    const struct hist_side *s = w->side;
    while (w->left == 0) {
        if (w->span == s->span_count) {
            return false;
        }
        w->next_index += s->spans[w->span].offset;
        w->left = s->spans[w->span++].length;
    }
    w->left--;
    w->index = w->next_index++;
    w->bucket = w->visited++;
    w->count = s->counts[w->bucket];
    return true;
}

bool hist_walk_next(struct hist_walk *w)
{
    if (w->part == HIST_PART_FIRST) {
        if (next_inwards(w)) {
            return true;
        }
        w->part = is_two_sided(w) ? HIST_PART_ZERO : HIST_PART_END;
        if (is_two_sided(w) && w->h->zero_count > 0) {
            w->count = w->h->zero_count;
            return true;
        }
    }
    if (w->part == HIST_PART_ZERO) {
        start_outwards(w, w->order == HIST_ASCENDING ? &w->h->positive : &w->h->negative);
    }
    if (w->part == HIST_PART_LAST && next_outwards(w)) {
        return true;
    }
    w->part = HIST_PART_END;
    return false;
}

static double bound_of(const struct hist *h, int64_t index)
{
    return hist_is_custom(h) ? hist_custom_bound(h->custom_values, h->custom_count, index)
                             : hist_bound(h->schema, index);
}

struct hist_bucket hist_walk_bucket(const struct hist_walk *w)
{
    const struct hist *h = w->h;
    double threshold = h->zero_threshold;
    if (w->part == HIST_PART_ZERO) {
        return (struct hist_bucket){-threshold, threshold, w->count, true, true};
    }
    struct hist_bucket b = {.count = w->count};
    b.upper = bound_of(h, w->index);
    b.lower = bound_of(h, w->index - 1);
    if (w->side == &h->negative) {
        double upper = b.upper;
        b.upper = -b.lower;
        b.lower = -upper;
    }
    b.lower_inclusive = hist_is_custom(h) ? w->index == 0 : b.lower < 0;
    b.upper_inclusive = hist_is_custom(h) || b.upper > 0;
    if (is_two_sided(w) && b.lower > 0 && b.lower < threshold) {
        b.lower = threshold;
    } else if (is_two_sided(w) && b.upper < 0 && b.upper > -threshold) {
        b.upper = -threshold;
    }
    return b;
}

double hist_fraction_below(const struct hist_bucket *b, double v, bool linear)
{
    if (linear) {
        return (v - b->lower) / (b->upper - b->lower);
    }
    double lower = go_log2(fabs(b->lower));
    double upper = go_log2(fabs(b->upper));
    double at = go_log2(fabs(v));
    if (v > 0) {
        return (at - lower) / (upper - lower);
    }
    return 1 - ((at - upper) / (lower - upper));
}
