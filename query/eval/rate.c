/* The ground of rates, for floats and histograms alike: what the ends of a window say. */
#include "query/eval/rate.h"

uint32_t rate_first_after(const int64_t *t, uint32_t count, int64_t bound)
{
    uint32_t lo = 0;
    uint32_t hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t[mid] > bound) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

/* ---- start timestamps ---- */

bool rate_started_anew(const int64_t *start, const int64_t *t, uint32_t i)
{
    if (!start || start[i] == 0 || start[i] >= t[i] || start[i] < t[i - 1]) {
        return false; /* unknown, or it reaches further back than the sample before */
    }
    if (start[i] > t[i - 1]) {
        return true;
    }
    /* It starts where the sample before lies: a delta, if that one's own start is known. */
    return start[i - 1] <= t[i - 1] && start[i - 1] != 0 && start[i - 1] != t[i - 1];
}

void rate_note_overlap(struct range_call *c, const int64_t *start, const int64_t *t, uint32_t count)
{
    for (uint32_t i = 1; start && i < count; i++) {
        if (start[i] != 0 && start[i] < t[i - 1] && start[i] != start[i - 1]) {
            exec_note_counted(c->x, c->arg->start,
                              "sample has start time that overlaps with previous sample timestamp "
                              "for metric",
                              &c->series->labels);
            return;
        }
    }
}

/* ---- anchored and smoothed ---- */

bool rate_span(const struct range_call *c, const int64_t *t, uint32_t count, uint32_t *first,
               uint32_t *last)
{
    bool smoothed = rate_selector(c)->u.vector.smoothed;
    *last = count - 1;
    uint32_t after = rate_first_after(t, *last, c->begin_ms);
    *first = after > 0 ? after - 1 : 0;
    if (smoothed) {
        *last = rate_first_after(t, *last, c->end_ms - 1);
    }
    return t[*last] > c->begin_ms && !(smoothed && t[*first] > c->end_ms);
}

/* ---- extrapolation ---- */

struct kernel_rate_ends rate_ends_of(const struct range_call *c, const int64_t *t,
                                     const int64_t *start, uint32_t count, struct kernel_rate kind)
{
    struct kernel_rate_ends e = {.first_ms = t[0], .last_ms = t[count - 1], .count = count};
    e.start_ms = start ? start[0] : 0;
    e.from_start =
        kind.counter && e.start_ms != 0 && e.start_ms > c->begin_ms && e.start_ms < e.first_ms;
    return e;
}
