/* The specification: what a window function and an aggregation give, value by value. */
#include "query/kernels/kernels_private.h"

#include "query/num.h"

static bool has_bits(const uint64_t *x, uint32_t n, uint64_t bits)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        any |= x[i] == bits;
    }
    return any;
}

/* ---- windows ---- */

static void bounds(const int64_t *t, uint32_t n, struct kernel_windows *w, uint32_t *lo,
                   uint32_t *hi)
{
    uint32_t l = 0;
    uint32_t h = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        int64_t end = w->end_ms + (int64_t)i * w->step_ms;
        int64_t begin = end - w->range_ms;
        kernel_window_seek(t, n, begin, end, &l, &h);
        lo[i] = l;
        hi[i] = h;
    }
    w->lo = lo;
    w->hi = hi;
    w->even_first = w->even_end = 0;
}

static struct kernel_counts kinds(const struct kernel_windows *w, uint32_t least, uint32_t seen,
                                  uint8_t *kind)
{
    struct kernel_counts c = {0};
    for (uint32_t i = 0; i < w->count; i++) {
        uint32_t n = w->hi[i] - w->lo[i];
        uint32_t from = w->lo[i] > seen ? w->lo[i] : seen;
        kind[i] = n >= least ? POINT_FLOAT : POINT_NONE;
        c.samples += n;
        c.fresh += w->hi[i] - from;
        seen = w->hi[i];
    }
    return c;
}

/* A counter's resets are made up for. */
static double rise(const double *v, uint32_t lo, uint32_t hi, bool resets)
{
    double result = v[hi - 1] - v[lo];
    for (uint32_t i = lo + 1; resets && i < hi; i++) {
        if (v[i] < v[i - 1]) {
            result += v[i - 1];
        }
    }
    return result;
}

/* One look at the series spares a look at every sample of every window. */
static bool falls(const double *v, uint32_t lo, uint32_t hi)
{
    bool any = false;
    for (uint32_t i = lo + 1; i < hi; i++) {
        any |= v[i] < v[i - 1];
    }
    return any;
}

static void rate(const struct kernel_run *run, const struct kernel_windows *w,
                 struct kernel_rate kind, double *out)
{
    const bool resets =
        kind.counter && w->count > 0 && falls(run->v, w->lo[0], w->hi[w->count - 1]);
    for (uint32_t i = 0; i < w->count; i++) {
        uint32_t lo = w->lo[i];
        uint32_t hi = w->hi[i];
        if (hi - lo < 2) {
            continue;
        }
        int64_t end = w->end_ms + (int64_t)i * w->step_ms;
        struct kernel_rate_ends e = {.first_ms = run->t[lo],
                                     .last_ms = run->t[hi - 1],
                                     .count = hi - lo,
                                     .first = run->v[lo]};
        e.rise = rise(run->v, lo, hi, resets) + 0.0; /* the value at a known start */
        out[i] = e.rise * kernel_rate_factor(&e, end - w->range_ms, end, kind, w->range_ms);
    }
}

static void sum(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    for (uint32_t i = 0; i < w->count; i++) {
        double s = 0;
        double c = 0;
        for (uint32_t k = w->lo[i]; k < w->hi[i]; k++) {
            num_kahan(run->v[k], &s, &c);
        }
        out[i] = isinf(s) ? s : s + c;
    }
}

static void avg(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->lo[i] == w->hi[i]) {
            continue;
        }
        struct num_mean m = {run->v[w->lo[i]], 0, 1, 0};
        for (uint32_t k = w->lo[i] + 1; k < w->hi[i]; k++) {
            num_mean_add(&m, run->v[k]);
        }
        out[i] = num_mean_value(&m);
    }
}

/* Of equal ones the first: 0 and -0 are equal. */
static void extreme(const struct kernel_run *run, const struct kernel_windows *w, bool max,
                    double *out)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->lo[i] == w->hi[i]) {
            continue;
        }
        double best = run->v[w->lo[i]];
        for (uint32_t k = w->lo[i] + 1; k < w->hi[i]; k++) {
            double v = run->v[k];
            if (isnan(best) || (max ? v > best : v < best)) {
                best = v;
            }
        }
        out[i] = best;
    }
}

static void min(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    extreme(run, w, false, out);
}

static void max(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    extreme(run, w, true, out);
}

/* ---- columns ---- */

static void fold_sum(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (kind[i] == POINT_FLOAT) {
            num_kahan(v[i], &cells->a[i], &cells->b[i]);
            cells->seen[i] |= CELL_FLOAT;
        }
    }
}

static void fold_avg(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (kind[i] != POINT_FLOAT) {
            continue;
        }
        struct num_mean m = {v[i], 0, 1, 0};
        if (cells->seen[i] & CELL_FLOAT) {
            m = (struct num_mean){cells->a[i], cells->b[i], cells->count[i],
                                  cells->seen[i] & CELL_INCREMENTAL};
            num_mean_add(&m, v[i]);
        }
        cells->a[i] = m.sum;
        cells->b[i] = m.c;
        cells->count[i] = m.count;
        cells->seen[i] |= CELL_FLOAT | (m.incremental ? CELL_INCREMENTAL : 0);
    }
}

static void fold_extreme(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                         uint32_t n, bool max)
{
    for (uint32_t i = 0; i < n; i++) {
        double a = cells->a[i];
        if (kind[i] == POINT_FLOAT) {
            cells->a[i] = isnan(a) || (max ? a < v[i] : a > v[i]) ? v[i] : a;
            cells->seen[i] |= CELL_FLOAT;
        }
    }
}

static void fold_min(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    fold_extreme(cells, v, kind, n, false);
}

static void fold_max(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    fold_extreme(cells, v, kind, n, true);
}

static void fold_count(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                       uint32_t n)
{
    (void)v;
    for (uint32_t i = 0; i < n; i++) {
        cells->count[i] += kind[i] != POINT_NONE;
        cells->seen[i] |= kind[i] != POINT_NONE ? CELL_FLOAT : 0;
    }
}

static void fold_variance(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                          uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (kind[i] != POINT_FLOAT) {
            continue;
        }
        cells->count[i]++;
        if (!(cells->seen[i] & CELL_FLOAT)) {
            cells->seen[i] |= CELL_FLOAT;
            cells->a[i] = v[i];
            cells->b[i] = isnan(v[i]) || isinf(v[i]) ? (double)NAN : 0;
            continue;
        }
        double delta = v[i] - cells->a[i];
        cells->a[i] += delta / cells->count[i];
        cells->b[i] += delta * (v[i] - cells->a[i]);
    }
}

const struct query_kernels query_kernels_scalar = {
    .has_bits = has_bits,
    .bounds = bounds,
    .kinds = kinds,
    .rate = rate,
    .sum = sum,
    .avg = avg,
    .min = min,
    .max = max,
    .fold_sum = fold_sum,
    .fold_avg = fold_avg,
    .fold_min = fold_min,
    .fold_max = fold_max,
    .fold_count = fold_count,
    .fold_variance = fold_variance,
};
