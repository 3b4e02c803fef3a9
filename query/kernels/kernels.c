#include "query/kernels/kernels.h"

#include "query/kernels/kernels_private.h"

#include <math.h>
#include <string.h>

const struct query_kernels *query_kernels_of(enum tsdb_cpu_level level)
{
    switch (level) {
    case TSDB_CPU_SCALAR:
        return &query_kernels_scalar;
    case TSDB_CPU_AVX2:
        return query_kernels_avx2.sum && tsdb_cpu_level() >= TSDB_CPU_AVX2 ? &query_kernels_avx2
                                                                           : NULL;
    case TSDB_CPU_AVX512:
        return NULL;
    }
    return NULL;
}

const struct query_kernels *query_kernels_get(void)
{
    const struct query_kernels *avx2 = query_kernels_of(TSDB_CPU_AVX2);
    return avx2 ? avx2 : &query_kernels_scalar;
}

void kernel_cells_start(const struct kernel_cells *cells, size_t n, bool extreme)
{
    for (size_t i = 0; i < n; i++) {
        cells->a[i] = extreme ? (double)NAN : -0.0;
    }
    memset(cells->b, 0, n * sizeof *cells->b);
    memset(cells->count, 0, n * sizeof *cells->count);
    memset(cells->seen, 0, n);
}

/* ---- windows ---- */

void kernel_count(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    (void)run;
    for (uint32_t i = 0; i < w->count; i++) {
        out[i] = (double)(w->hi[i] - w->lo[i]);
    }
}

void kernel_last(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    for (uint32_t i = 0; i < w->count; i++) {
        out[i] = w->hi[i] > w->lo[i] ? run->v[w->hi[i] - 1] : 0;
    }
}

void kernel_first(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    for (uint32_t i = 0; i < w->count; i++) {
        out[i] = w->hi[i] > w->lo[i] ? run->v[w->lo[i]] : 0;
    }
}

double kernel_rate_factor(const struct kernel_rate_ends *e, int64_t begin_ms, int64_t end_ms,
                          struct kernel_rate rate, int64_t range_ms)
{
    double to_start = (double)(e->first_ms - begin_ms) / 1000;
    double to_end = (double)(end_ms - e->last_ms) / 1000;
    double sampled = (double)(e->last_ms - e->first_ms) / 1000;
    double average = e->count > 1 ? sampled / (double)(e->count - 1) : 0;
    double threshold = average * 1.1;
    if (e->from_start) {
        to_start = 0;
        sampled = (double)(e->last_ms - e->start_ms) / 1000;
    } else {
        if (to_start >= threshold) {
            to_start = average / 2;
        }
        if (rate.counter && e->rise > 0 && e->first >= 0) {
            double to_zero = sampled * (e->first / e->rise);
            if (to_zero < to_start) {
                to_start = to_zero;
            }
        }
    }
    if (to_end >= threshold) {
        to_end = average / 2;
    }
    double factor = sampled != 0 ? (sampled + to_start + to_end) / sampled : 1;
    return rate.per_second ? factor / ((double)range_ms / 1000) : factor;
}
