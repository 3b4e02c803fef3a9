#include "query/eval/tally.h"

#include "query/eval/op.h"

/* Prometheus's figures: a sample is 16 bytes, a histogram its struct with what hangs on it. */
#define SAMPLE_BYTES    16u
#define TIME_BYTES      8u
#define HISTOGRAM_BYTES 168u
#define ITEM_BYTES      8u /* a span, a bucket, a bound */

uint64_t tally_histogram(const struct tsdb_histogram *h)
{
    uint64_t items = (uint64_t)h->positive_span_count + h->negative_span_count +
                     h->positive_bucket_count + h->negative_bucket_count + h->custom_count;
    return (HISTOGRAM_BYTES + items * ITEM_BYTES + TIME_BYTES) / SAMPLE_BYTES;
}

/* The step of the query at or after a time within a subquery. */
static uint32_t step_of(const struct tally *t, int64_t time_ms)
{
    if (time_ms <= t->start_ms || t->steps <= 1) {
        return 0;
    }
    uint64_t behind = (uint64_t)time_ms - (uint64_t)t->start_ms;
    uint64_t step = (behind + (uint64_t)t->step_ms - 1) / (uint64_t)t->step_ms;
    return (uint32_t)TSDB_MIN(step, (uint64_t)t->steps - 1);
}

void tally_add(struct tally *t, const struct grid *grid, uint32_t i, bool inside,
               uint64_t queryable, uint64_t read)
{
    bool once = !inside && grid->count == 1 && t->steps > 1;
    t->queryable += inside ? 0 : once ? queryable * t->steps : queryable;
    t->read += read;
    if (!t->step_queryable) {
        return;
    }
    t->step_read[inside ? step_of(t, grid_time(grid, i)) : once ? 0 : i] += read;
    for (uint32_t k = 0; once && k < t->steps; k++) {
        t->step_queryable[k] += queryable;
    }
    if (!inside && !once) {
        t->step_queryable[i] += queryable;
    }
}

static uint64_t histograms(const struct tsdb_histogram *const *h, uint32_t count)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += tally_histogram(h[i]);
    }
    return n;
}

void tally_window(struct tally *t, const struct grid *grid, uint32_t i, bool inside, bool stored,
                  const struct points *w, uint32_t fresh, uint32_t h_fresh)
{
    TSDB_ASSERT(fresh <= w->count && h_fresh <= w->h_count);
    uint64_t all = w->count + histograms(w->h, w->h_count);
    uint64_t read = fresh;
    if (h_fresh > 0) { /* without any there is no array, and nothing to point into */
        read += histograms(w->h + (w->h_count - h_fresh), h_fresh);
    }
    tally_add(t, grid, i, inside, all, stored ? read : 0);
}
