/* The loops of the evaluator over floats, one table of functions per instruction set.
 *
 * kernels_scalar.c is the specification: every other table gives the same bits for any input
 * (tests/unit/query/test_kernels.c), NaN with their payloads, zeroes with their signs. The table is
 * chosen by tsdb_cpu_level(), which TSDB_KERNELS pins, as in compress/kernels.h.
 *
 * Two kinds of loops. Over windows: the floats of one series and a window of them per step give one
 * value per step. Over columns: the values of one series are folded into the cells of its group.
 *
 * Threads: pure. No allocation. No function touches memory outside of its arguments. */
#ifndef QUERY_KERNELS_KERNELS_H
#define QUERY_KERNELS_KERNELS_H

#include "base/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a column has at a step. */
enum point_kind {
    POINT_NONE = 0,
    POINT_FLOAT,
    POINT_HISTOGRAM
};

/* The windows of consecutive steps over the times of one series: that of step i ends at
 * end_ms + i * step_ms and holds the samples [lo[i], hi[i]), whose times lie in (end - range_ms,
 * end]. Neither bound ever falls. */
struct kernel_windows {
    const uint32_t *lo, *hi;
    uint32_t count;
    int64_t end_ms, step_ms, range_ms;
    /* The windows [even_first, even_end) are alike: as many samples at the same distances from
     * their ends, even_move samples further on at each step. None where nobody looked. */
    uint32_t even_first, even_end, even_move;
};

/* What windows hold together. */
struct kernel_counts {
    uint64_t samples; /* of all windows; a sample counts in each */
    uint64_t fresh;   /* each once */
};

struct kernel_run {
    const int64_t *t; /* strictly rising */
    const double *v;
    uint32_t count;
    /* Room for count + 1 values, of the kernels. */
    double *scratch;
};

struct kernel_rate {
    bool counter;    /* rate, increase: resets are made up for; else delta */
    bool per_second; /* rate */
};

/* One value per window into out[w->count]; of windows with fewer samples than the function needs
 * (one, rates two) whatever it likes. */
typedef void kernel_window_fn(const struct kernel_run *run, const struct kernel_windows *w,
                              double *out);

/* What the groups of an aggregation have seen, one cell per step. KERNEL_CELLS_START says how they
 * begin. */
struct kernel_cells {
    double *a;     /* sum; mean; extreme value */
    double *b;     /* compensation; sum of squares */
    double *count; /* avg, count, variance */
    uint8_t *seen; /* CELL_* */
};
enum {
    CELL_FLOAT = 1,
    CELL_HISTOGRAM = 2, /* of who adds those */
    CELL_INCREMENTAL = 4
};
/* Fold the floats among v[n] into n cells. */
typedef void kernel_fold_fn(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                            uint32_t n);

struct query_kernels {
    /* Is one of x[n] these bits? */
    bool (*has_bits)(const uint64_t *x, uint32_t n, uint64_t bits);
    /* The bounds of the windows of t[n], into lo and hi of w->count each, which w gets; end_ms,
     * step_ms >= 0, range_ms and count are given, and no end or begin overflows. */
    void (*bounds)(const int64_t *t, uint32_t n, struct kernel_windows *w, uint32_t *lo,
                   uint32_t *hi);
    /* kind[i] = POINT_FLOAT where window i has at least `least` samples, else POINT_NONE. seen: the
     * samples before it were in windows before. */
    struct kernel_counts (*kinds)(const struct kernel_windows *w, uint32_t least, uint32_t seen,
                                  uint8_t *kind);
    /* Functions over ranges. */
    void (*rate)(const struct kernel_run *run, const struct kernel_windows *w,
                 struct kernel_rate rate, double *out);
    kernel_window_fn *sum, *avg, *min, *max;
    /* Aggregations. count counts histograms, too. */
    kernel_fold_fn *fold_sum, *fold_avg, *fold_min, *fold_max, *fold_count, *fold_variance;
};

extern const struct query_kernels query_kernels_scalar;
/* The table of a level, or NULL if this build or this processor has none of its own. */
const struct query_kernels *query_kernels_of(enum tsdb_cpu_level level);
/* The table in use. */
const struct query_kernels *query_kernels_get(void);

/* Cells as every fold wants them to begin: sums at -0, which changes no value that is added to it,
 * extreme values at NaN, which any value replaces. */
void kernel_cells_start(const struct kernel_cells *cells, size_t n, bool extreme);

/* ---- over windows, the same for every instruction set ---- */

/* The number of samples; the last one; the first one. */
kernel_window_fn kernel_count, kernel_last, kernel_first;

/* Where extrapolation of a rate goes by. */
struct kernel_rate_ends {
    int64_t first_ms, last_ms;
    int64_t start_ms;
    uint32_t count;
    bool from_start;    /* the counter is known to have been zero at start_ms, within the range */
    double first, rise; /* the value, of a histogram the count */
};
/* What the rise in the window (begin_ms, end_ms] is multiplied with: extrapolated to the ends of
 * the range, all the way if samples are as dense as if the series went on there, else by half the
 * average distance of samples, and never below zero for a counter. */
double kernel_rate_factor(const struct kernel_rate_ends *e, int64_t begin_ms, int64_t end_ms,
                          struct kernel_rate rate, int64_t range_ms);

#endif
