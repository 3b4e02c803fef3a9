/* Do two histograms say the same? Spans may be cut differently, and empty buckets may be left out. */
#ifndef TESTS_SUPPORT_HISTOGRAM_SAME_H
#define TESTS_SUPPORT_HISTOGRAM_SAME_H

#include "base/bytes.h"
#include "model/histogram.h"

struct test_buckets {
    const struct tsdb_span *spans;
    uint32_t span_count, span, done;
    int64_t index;
    const int64_t *deltas;
    const double *counts;
    uint64_t count; /* an integer, or the bits of a double */
};

/* The next bucket that is not empty. */
static inline bool test_buckets_next(struct test_buckets *b, int64_t *out_index)
{
    while (b->span < b->span_count) {
        const struct tsdb_span *s = &b->spans[b->span];
        if (b->done == 0) {
            b->index += s->offset;
        }
        while (b->done < s->length) {
            *out_index = b->index++;
            b->done++;
            b->count =
                b->counts ? tsdb_double_bits(*b->counts++) : b->count + (uint64_t)*b->deltas++;
            if (b->count != 0) {
                return true;
            }
        }
        b->span++;
        b->done = 0;
    }
    return false;
}

static inline bool test_buckets_same(struct test_buckets a, struct test_buckets b)
{
    for (;;) {
        int64_t at = 0, bt = 0;
        bool more = test_buckets_next(&a, &at);
        if (more != test_buckets_next(&b, &bt)) {
            return false;
        }
        if (!more) {
            return true;
        }
        if (at != bt || a.count != b.count) {
            return false;
        }
    }
}

static inline struct test_buckets test_buckets_of(const struct tsdb_histogram *h, bool positive)
{
    return positive ? (struct test_buckets){.spans = h->positive_spans,
                                            .span_count = h->positive_span_count,
                                            .deltas = h->positive_deltas,
                                            .counts = h->positive_counts}
                    : (struct test_buckets){.spans = h->negative_spans,
                                            .span_count = h->negative_span_count,
                                            .deltas = h->negative_deltas,
                                            .counts = h->negative_counts};
}

static inline bool test_histogram_same(const struct tsdb_histogram *a,
                                       const struct tsdb_histogram *b)
{
    if (a->is_float != b->is_float || tsdb_double_bits(a->sum) != tsdb_double_bits(b->sum)) {
        return false;
    }
    if (tsdb_histogram_is_stale(a)) {
        return true;
    }
    bool same = a->schema == b->schema && a->custom_count == b->custom_count &&
                tsdb_double_bits(a->zero_threshold) == tsdb_double_bits(b->zero_threshold) &&
                a->count_int == b->count_int && a->zero_count_int == b->zero_count_int &&
                tsdb_double_bits(a->count_float) == tsdb_double_bits(b->count_float) &&
                tsdb_double_bits(a->zero_count_float) == tsdb_double_bits(b->zero_count_float);
    for (uint32_t i = 0; same && i < a->custom_count; i++) {
        same = tsdb_double_bits(a->custom_values[i]) == tsdb_double_bits(b->custom_values[i]);
    }
    return same && test_buckets_same(test_buckets_of(a, true), test_buckets_of(b, true)) &&
           test_buckets_same(test_buckets_of(a, false), test_buckets_of(b, false));
}

#endif
