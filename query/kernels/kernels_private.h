/* What the tables share. */
#ifndef QUERY_KERNELS_KERNELS_PRIVATE_H
#define QUERY_KERNELS_KERNELS_PRIVATE_H

#include "query/kernels/kernels.h"

/* All NULL where the compiler was not asked for AVX2. */
extern const struct query_kernels query_kernels_avx2;

/* The windows [first, first + count) of w. */
static inline struct kernel_windows kernel_slice(const struct kernel_windows *w, uint32_t first,
                                                 uint32_t count)
{
    return (struct kernel_windows){.lo = w->lo + first,
                                   .hi = w->hi + first,
                                   .count = count,
                                   .end_ms = w->end_ms + (int64_t)first * w->step_ms,
                                   .step_ms = w->step_ms,
                                   .range_ms = w->range_ms};
}

/* The samples [*lo, *hi) of (begin, end], sought on from those of a window before. */
static inline void kernel_window_seek(const int64_t *t, uint32_t n, int64_t begin, int64_t end,
                                      uint32_t *lo, uint32_t *hi)
{
    uint32_t l = *lo;
    while (l < n && t[l] <= begin) {
        l++;
    }
    uint32_t h = *hi > l ? *hi : l;
    while (h < n && t[h] <= end) {
        h++;
    }
    *lo = l;
    *hi = h;
}

#endif
