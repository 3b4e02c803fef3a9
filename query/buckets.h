/* The buckets of a native histogram one by one, with their bounds, from the lowest to the highest.
 * Source: Prometheus model/histogram, AllBucketIterator. Threads: pure; the histogram is borrowed. */
#ifndef QUERY_BUCKETS_H
#define QUERY_BUCKETS_H

#include "model/histogram.h"

struct bucket_walk {
    const struct tsdb_histogram *h;
    int stage;     /* 0 negative, 1 zero, 2 positive */
    int64_t index; /* absolute index of the bucket that comes next */
    uint32_t span, in_span, bucket;
    int64_t running; /* integer histograms: count of the bucket */
};
struct bucket_view {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
};

void bucket_walk_init(struct bucket_walk *w, const struct tsdb_histogram *h);
/* False at the end. Empty buckets are given too. */
bool bucket_walk_next(struct bucket_walk *w, struct bucket_view *out);
/* The upper bound of bucket `index` on the positive side. */
double bucket_bound(const struct tsdb_histogram *h, int64_t index);

#endif
