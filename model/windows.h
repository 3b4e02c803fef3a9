/* Which samples of a range a reader looks at, when it does not look at all: those in windows
 * (t - width_ms, t] at t = first_ms, first_ms + step_ms, and so on. What lies between need not be read. */
#ifndef MODEL_WINDOWS_H
#define MODEL_WINDOWS_H

#include <stdbool.h>
#include <stdint.h>

struct tsdb_time_windows {
    int64_t first_ms;
    int64_t step_ms;  /* > 0 */
    int64_t width_ms; /* > 0 */
};

/* Has one of the windows a time in [min_ms, max_ms]? */
static inline bool tsdb_time_windows_meet(const struct tsdb_time_windows *w, int64_t min_ms,
                                          int64_t max_ms)
{
    /* Differences in unsigned arithmetic: times may lie 2^63 apart and more. */
    uint64_t width = (uint64_t)w->width_ms;
    if (min_ms <= w->first_ms) {
        return max_ms >= w->first_ms || (uint64_t)w->first_ms - (uint64_t)max_ms < width;
    }
    /* So far it is to the end of the first window that does not end before min_ms. */
    uint64_t over = ((uint64_t)min_ms - (uint64_t)w->first_ms) % (uint64_t)w->step_ms;
    uint64_t ahead = over == 0 ? 0 : (uint64_t)w->step_ms - over;
    return ahead < width || ahead - width < (uint64_t)max_ms - (uint64_t)min_ms;
}

/* What became of the chunks of a series that was read. */
struct tsdb_chunk_counts {
    uint64_t read;    /* decoded */
    uint64_t cached;  /* found decoded */
    uint64_t skipped; /* not read: between the windows, or their headers said enough */
};

#endif
