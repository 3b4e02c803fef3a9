/* The buckets of a histogram one by one.
 *
 * Empty buckets are visited too, except an empty zero bucket. Counts cost nothing; bounds are
 * computed when asked for. The histogram is borrowed and must not change meanwhile. Threads: pure.
 */
#ifndef QUERY_HIST_WALK_H
#define QUERY_HIST_WALK_H

#include "query/hist/hist.h"

enum hist_order {
    HIST_ASCENDING,  /* negative from the far end, zero, positive */
    HIST_DESCENDING, /* the other way round */
    HIST_POSITIVE,   /* one side only, from zero outwards */
    HIST_NEGATIVE,
    HIST_POSITIVE_INWARDS, /* one side only, from the far end to zero */
    HIST_NEGATIVE_INWARDS
};

enum hist_part {
    HIST_PART_FIRST, /* the side that is walked inwards */
    HIST_PART_ZERO,
    HIST_PART_LAST, /* the side that is walked outwards */
    HIST_PART_END
};

struct hist_walk {
    const struct hist *h;
    enum hist_order order;
    enum hist_part part;
    const struct hist_side *side;
    double count;    /* of the bucket that is now visited */
    int64_t index;   /* its index */
    uint32_t bucket; /* its place in the side's counts */
    uint32_t span, left, visited;
    int64_t next_index;
};

struct hist_bucket {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
};

void hist_walk_init(struct hist_walk *w, const struct hist *h, enum hist_order order);
/* Go to the next bucket, the first one at first; false behind the last. */
bool hist_walk_next(struct hist_walk *w);
/* The bucket now visited. In the two orders over both sides, a bucket that the zero bucket overlaps
 * is cut off at the zero threshold. */
struct hist_bucket hist_walk_bucket(const struct hist_walk *w);
/* The share of a bucket's width that lies below v, v within its finite bounds: of its width as it is,
 * or on a logarithmic scale. */
double hist_fraction_below(const struct hist_bucket *b, double v, bool linear);

#endif
