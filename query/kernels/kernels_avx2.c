/* The kernels for AVX2: the same bits as kernels_scalar.c, faster. Compiled with -mavx2; run only
 * where tsdb_cpu_level() allows.
 *
 * Four windows, or four steps, at a time. Where the order of operands would show (a NaN met another
 * one, a sum became infinite) the lanes in question are done again by the specification. */
#include "query/kernels/kernels_private.h"

#include "query/num.h"

#if defined(__AVX2__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define LANES 4u

static inline __m256i load_bits(const void *p)
{
    return _mm256_loadu_si256((const __m256i_u *)p);
}
static inline __m256d absolute(__m256d v)
{
    return _mm256_andnot_pd(_mm256_set1_pd(-0.0), v);
}
/* All bits set in the lanes that are infinite or NaN. */
static inline __m256d not_finite(__m256d v)
{
    return _mm256_cmp_pd(absolute(v), _mm256_set1_pd((double)INFINITY), _CMP_NLT_UQ);
}
/* All bits set in the lanes of which kind[4] says that there is a float. */
static inline __m256d float_lanes(const uint8_t *kind)
{
    int32_t four;
    memcpy(&four, kind, sizeof four);
    __m256i wide = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(wide, _mm256_set1_epi64x(POINT_FLOAT)));
}

static bool has_bits(const uint64_t *x, uint32_t n, uint64_t bits)
{
    const __m256i wanted = _mm256_set1_epi64x((long long)bits);
    __m256i any = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        any = _mm256_or_si256(any, _mm256_cmpeq_epi64(load_bits(x + i), wanted));
    }
    return !_mm256_testz_si256(any, any) ||
           (i < n && query_kernels_scalar.has_bits(x + i, n - i, bits));
}

/* ---- bounds of windows ---- */

/* Is t[i] = t[0] + i * dt for all of them? */
static bool is_regular(const int64_t *t, uint32_t n, int64_t dt)
{
    const __m256i move = _mm256_set1_epi64x(dt * LANES);
    __m256i want =
        _mm256_add_epi64(_mm256_set1_epi64x(t[0]), _mm256_set_epi64x(3 * dt, 2 * dt, dt, 0));
    __m256i differs = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        differs = _mm256_or_si256(differs, _mm256_xor_si256(want, load_bits(t + i)));
        want = _mm256_add_epi64(want, move);
    }
    bool same = _mm256_testz_si256(differs, differs);
    for (; i < n; i++) {
        same &= t[i] == t[0] + (int64_t)i * dt;
    }
    return same;
}

/* How many of the times t0, t0 + dt, ... are at or before bound; negative: it lies so many before
 * t0. */
static int64_t place_of(int64_t t0, int64_t dt, int64_t bound)
{
    int64_t behind = bound - t0;
    return behind >= 0 ? behind / dt + 1 : -((-behind - 1) / dt);
}

/* out[i] = first + i * move, not below 0, not above n; returns how often it is below 0, and in
 * *out_within the number of those not above n. */
static uint32_t fill_bounds(int64_t first, uint32_t move, uint32_t n, uint32_t count, uint32_t *out,
                            uint32_t *out_within)
{
    uint64_t early = first >= 0 ? 0 : ((uint64_t)-first + move - 1) / move;
    uint32_t below = early < count ? (uint32_t)early : count;
    int64_t left = (int64_t)n - first; /* steps of `move` until n */
    uint64_t within = left < 0 ? 0 : (uint64_t)left / move + 1;
    *out_within = within < count ? (uint32_t)within : count;
    memset(out, 0, below * sizeof *out);
    uint32_t i = below;
    uint32_t at = (uint32_t)(first + (int64_t)i * move);
    __m128i four =
        _mm_add_epi32(_mm_set1_epi32((int)at),
                      _mm_mullo_epi32(_mm_set1_epi32((int)move), _mm_set_epi32(3, 2, 1, 0)));
    const __m128i step = _mm_set1_epi32((int)(move * LANES));
    for (; i + LANES <= *out_within; i += LANES) {
        _mm_storeu_si128((__m128i_u *)(out + i), four);
        four = _mm_add_epi32(four, step);
    }
    for (; i < *out_within; i++) {
        out[i] = (uint32_t)(first + (int64_t)i * move);
    }
    for (; i < count; i++) {
        out[i] = n;
    }
    return below;
}

/* Beyond these the arithmetic of this file might overflow; nobody has such series. */
#define TIME_MAX ((int64_t)1 << 56)

static bool in_reach(const int64_t *t, uint32_t n, const struct kernel_windows *w)
{
    int64_t last = w->end_ms + (int64_t)(w->count - 1) * w->step_ms;
    return n < UINT32_C(1) << 30 && w->count < UINT32_C(1) << 30 && t[0] > -TIME_MAX &&
           t[n - 1] < TIME_MAX && w->end_ms - w->range_ms > -TIME_MAX && last < TIME_MAX;
}

/* The times at four places that lie `move` apart. */
static inline __m256i times_apart(const int64_t *t, uint32_t move)
{
    return move == 1 ? load_bits(t)
                     : _mm256_set_epi64x(t[3 * (size_t)move], t[2 * (size_t)move], t[move], t[0]);
}

/* Four bounds at a time, of which each lies among the times: are at, at + move, .. the places of the first
 * times behind bound, bound + step, ..? */
static inline bool are_places(const int64_t *t, uint32_t n, int64_t at, uint32_t move,
                              int64_t bound, __m256i steps)
{
    if (at < 1 || at + (int64_t)(LANES - 1) * move >= n) {
        return false;
    }
    const __m256i four = _mm256_add_epi64(_mm256_set1_epi64x(bound), steps);
    __m256i behind = _mm256_cmpgt_epi64(times_apart(t + at, move), four);
    __m256i early = _mm256_cmpgt_epi64(times_apart(t + at - 1, move), four);
    return _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_andnot_si256(early, behind))) == 15;
}

static inline void store_places(uint32_t *out, uint32_t at, uint32_t move)
{
    _mm_storeu_si128((__m128i_u *)out, _mm_add_epi32(_mm_set1_epi32((int)at),
                                                     _mm_mullo_epi32(_mm_set1_epi32((int)move),
                                                                     _mm_set_epi32(3, 2, 1, 0))));
}

/* Scrapes that come a little early or late: bounds are where the pace says, unless a look at the times
 * says otherwise; then one is sought. */
static void paced_bounds(const int64_t *t, uint32_t n, uint32_t move, struct kernel_windows *w,
                         uint32_t *lo, uint32_t *hi)
{
    const __m256i steps = _mm256_set_epi64x(3 * w->step_ms, 2 * w->step_ms, w->step_ms, 0);
    uint32_t l = 0;
    uint32_t h = 0;
    for (uint32_t i = 0; i < w->count;) {
        int64_t end = w->end_ms + (int64_t)i * w->step_ms;
        int64_t begin = end - w->range_ms;
        if (i > 0 && i + LANES <= w->count &&
            are_places(t, n, (int64_t)l + move, move, begin, steps) &&
            are_places(t, n, (int64_t)h + move, move, end, steps)) {
            store_places(lo + i, l + move, move);
            store_places(hi + i, h + move, move);
            l += LANES * move;
            h += LANES * move;
            i += LANES;
            continue;
        }
        kernel_window_seek(t, n, begin, end, &l, &h);
        lo[i] = l;
        hi[i++] = h;
    }
    w->lo = lo;
    w->hi = hi;
    w->even_first = w->even_end = 0;
}

static void bounds(const int64_t *t, uint32_t n, struct kernel_windows *w, uint32_t *lo,
                   uint32_t *hi)
{
    int64_t dt = n > 1 ? t[1] - t[0] : 0;
    if (dt <= 0 || w->count < LANES || w->step_ms == 0 || !in_reach(t, n, w)) {
        query_kernels_scalar.bounds(t, n, w, lo, hi);
        return;
    }
    if (w->step_ms % dt != 0 || w->step_ms / dt > n || !is_regular(t, n, dt)) {
        int64_t pace = (t[n - 1] - t[0]) / (n - 1); /* 1 at least: they rise */
        int64_t steps = (w->step_ms + pace / 2) / pace;
        paced_bounds(t, n, (uint32_t)(steps < n ? steps : n), w, lo, hi);
        return;
    }
    uint32_t move = (uint32_t)(w->step_ms / dt);
    int64_t first_lo = place_of(t[0], dt, w->end_ms - w->range_ms);
    int64_t first_hi = place_of(t[0], dt, w->end_ms);
    uint32_t lo_within;
    uint32_t hi_within;
    uint32_t lo_below = fill_bounds(first_lo, move, n, w->count, lo, &lo_within);
    (void)fill_bounds(first_hi, move, n, w->count, hi, &hi_within);
    w->lo = lo;
    w->hi = hi;
    w->even_move = move;
    w->even_first = lo_below;
    w->even_end = hi_within > lo_below ? hi_within : lo_below;
}

static struct kernel_counts kinds(const struct kernel_windows *w, uint32_t least, uint32_t seen,
                                  uint8_t *kind)
{
    __m256i samples = _mm256_setzero_si256();
    __m256i fresh = _mm256_setzero_si256();
    const __m128i below = _mm_set1_epi32((int)least - 1);
    const __m128i low_bytes =
        _mm_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 12, 8, 4, 0);
    struct kernel_windows rest = {0};
    uint32_t i = 0;
    if (w->count > LANES && w->hi[w->count - 1] <= INT32_MAX) {
        rest = kernel_slice(w, 0, 1);
        struct kernel_counts c = query_kernels_scalar.kinds(&rest, least, seen, kind);
        samples = _mm256_set_epi64x(0, 0, 0, (long long)c.samples);
        fresh = _mm256_set_epi64x(0, 0, 0, (long long)c.fresh);
        for (i = 1; i + LANES <= w->count; i += LANES) {
            __m128i lo = _mm_loadu_si128((const __m128i_u *)(w->lo + i));
            __m128i hi = _mm_loadu_si128((const __m128i_u *)(w->hi + i));
            __m128i before = _mm_loadu_si128((const __m128i_u *)(w->hi + i - 1));
            __m128i n = _mm_sub_epi32(hi, lo);
            __m128i is_new = _mm_sub_epi32(hi, _mm_max_epi32(lo, before));
            __m128i has = _mm_abs_epi32(_mm_cmpgt_epi32(n, below)); /* 1: POINT_FLOAT */
            int32_t four = _mm_cvtsi128_si32(_mm_shuffle_epi8(has, low_bytes));
            memcpy(kind + i, &four, sizeof four);
            samples = _mm256_add_epi64(samples, _mm256_cvtepu32_epi64(n));
            fresh = _mm256_add_epi64(fresh, _mm256_cvtepu32_epi64(is_new));
        }
        seen = w->hi[i - 1];
    }
    uint64_t sums[2][LANES];
    _mm256_storeu_si256((__m256i_u *)sums[0], samples);
    _mm256_storeu_si256((__m256i_u *)sums[1], fresh);
    rest = kernel_slice(w, i, w->count - i);
    struct kernel_counts c = query_kernels_scalar.kinds(&rest, least, seen, kind + i);
    for (uint32_t k = 0; k < LANES; k++) {
        c.samples += sums[0][k];
        c.fresh += sums[1][k];
    }
    return c;
}

/* ---- rates ---- */

/* The places i of (lo, hi) where v[i] < v[i - 1], into out; returns how many. */
static uint32_t find_resets(const double *v, uint32_t lo, uint32_t hi, uint32_t *out)
{
    uint32_t n = 0;
    uint32_t i = lo + 1;
    for (; i + LANES <= hi; i += LANES) {
        int mask = _mm256_movemask_pd(
            _mm256_cmp_pd(_mm256_loadu_pd(v + i), _mm256_loadu_pd(v + i - 1), _CMP_LT_OQ));
        for (; mask != 0; mask &= mask - 1) {
            out[n++] = i + (uint32_t)__builtin_ctz((unsigned)mask);
        }
    }
    for (; i < hi; i++) {
        if (v[i] < v[i - 1]) {
            out[n++] = i;
        }
    }
    return n;
}

/* Division by a constant, which takes as long as eight multiplications, by three of those. For y = 1 / by rounded and q = x * y
 * rounded, q + y * (x - q * by) with two fused operations is x / by rounded, if q is less than one unit in the last place
 * off (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990); it is, if
 * y is off by less than a quarter of 2^-52. Nothing overflows or underflows: x are times, and factors of 1 and more. */
struct divisor {
    __m256d by, inverse;
    bool known; /* that it holds */
};

static inline struct divisor divisor_of(double by)
{
    double inverse = 1 / by;
    double off = __builtin_fma(-inverse, by, 1);
    return (struct divisor){_mm256_set1_pd(by), _mm256_set1_pd(inverse),
                            -0x1p-54 < off && off < 0x1p-54};
}

static inline __m256d divided(__m256d x, const struct divisor *d)
{
    if (!d->known) {
        return _mm256_div_pd(x, d->by);
    }
    __m256d q = _mm256_mul_pd(x, d->inverse);
    return _mm256_fmadd_pd(_mm256_fnmadd_pd(q, d->by, x), d->inverse, q);
}

struct rates {
    const struct kernel_run *run;
    const struct kernel_windows *w;
    struct kernel_rate kind;
    const uint32_t *resets;
    uint32_t reset_count, reset_at;   /* the first that may lie in this window or a later one */
    struct divisor thousand, seconds; /* of the range */
};

/* The rises of the windows i..i+3, whose first and last values these are. */
static __m256d rises(struct rates *r, uint32_t i, __m256d first, __m256d last)
{
    const struct kernel_windows *w = r->w;
    __m256d rise = _mm256_sub_pd(last, first);
    while (r->reset_at < r->reset_count && r->resets[r->reset_at] <= w->lo[i]) {
        r->reset_at++;
    }
    if (r->reset_at < r->reset_count && r->resets[r->reset_at] < w->hi[i + LANES - 1]) {
        double lanes[LANES];
        _mm256_storeu_pd(lanes, rise);
        for (uint32_t k = 0; k < LANES; k++) {
            for (uint32_t at = r->reset_at; at < r->reset_count; at++) {
                uint32_t reset = r->resets[at];
                if (reset > w->lo[i + k] && reset < w->hi[i + k]) {
                    lanes[k] += r->run->v[reset - 1];
                }
            }
        }
        rise = _mm256_loadu_pd(lanes);
    }
    return _mm256_add_pd(rise, _mm256_setzero_pd());
}

/* The values at four places that lie `move` apart. */
static inline __m256d load_apart(const double *v, uint32_t move)
{
    return move == 1 ? _mm256_loadu_pd(v)
                     : _mm256_set_pd(v[3 * (size_t)move], v[2 * (size_t)move], v[move], v[0]);
}

/* Is it certain that none of four counters is extrapolated to less than nothing? first / rise * sampled >
 * to_start, with room for what rounding may do to either side; tiny values, of which rounding makes more, are
 * not looked at so. Nor is one extrapolated so that does not rise or is negative. */
static inline bool reach_beyond(__m256d first, __m256d rise, __m256d sampled, __m256d to_start)
{
    const __m256d tiny = _mm256_set1_pd(1e-290);
    const __m256d zero = _mm256_setzero_pd();
    __m256d limit = _mm256_mul_pd(to_start, _mm256_set1_pd(1 + 0x1p-40));
    __m256d beyond =
        _mm256_cmp_pd(_mm256_mul_pd(first, sampled), _mm256_mul_pd(rise, limit), _CMP_GT_OQ);
    beyond = _mm256_and_pd(beyond, _mm256_and_pd(_mm256_cmp_pd(first, tiny, _CMP_GT_OQ),
                                                 _mm256_cmp_pd(rise, tiny, _CMP_GT_OQ)));
    beyond = _mm256_or_pd(beyond, _mm256_cmp_pd(rise, zero, _CMP_NGT_UQ));
    beyond = _mm256_or_pd(beyond, _mm256_cmp_pd(first, zero, _CMP_NGE_UQ));
    return _mm256_movemask_pd(beyond) == 15;
}

/* Where no window is extrapolated to less than nothing, all even ones have the same factor. */
static uint32_t even_rates(struct rates *r, double *out)
{
    const struct kernel_windows *w = r->w;
    uint32_t i = w->even_first;
    uint32_t lo = w->lo[i];
    uint32_t hi = w->hi[i];
    int64_t end = w->end_ms + (int64_t)i * w->step_ms;
    int64_t begin = end - w->range_ms;
    struct kernel_rate_ends e = {
        .first_ms = r->run->t[lo], .last_ms = r->run->t[hi - 1], .count = hi - lo, .first = -1};
    const double factor = kernel_rate_factor(&e, begin, end, r->kind, w->range_ms);
    const __m256d factors = _mm256_set1_pd(factor);
    const __m256d sampled = _mm256_set1_pd((double)(e.last_ms - e.first_ms));
    const __m256d to_start = _mm256_set1_pd((double)(e.first_ms - begin));
    for (; i + LANES <= w->even_end; i += LANES) {
        __m256d first = load_apart(r->run->v + w->lo[i], w->even_move);
        __m256d last = load_apart(r->run->v + w->hi[i] - 1, w->even_move);
        __m256d rise = rises(r, i, first, last);
        __m256d given = _mm256_mul_pd(rise, factors);
        if (r->kind.counter && !reach_beyond(first, rise, sampled, to_start)) {
            double lanes[3][LANES];
            _mm256_storeu_pd(lanes[0], given);
            _mm256_storeu_pd(lanes[1], rise);
            _mm256_storeu_pd(lanes[2], first);
            for (uint32_t k = 0; k < LANES; k++) {
                e.rise = lanes[1][k];
                e.first = lanes[2][k];
                lanes[0][k] = e.rise * kernel_rate_factor(&e, begin, end, r->kind, w->range_ms);
            }
            given = _mm256_loadu_pd(lanes[0]);
        }
        _mm256_storeu_pd(out + i, given);
    }
    return i;
}

/* Differences of times become exact doubles below 2^51. */
static inline __m256d double_of_ms(__m256i ms)
{
    const __m256d magic = _mm256_set1_pd(0x1.8p52);
    return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_add_epi64(ms, _mm256_castpd_si256(magic))),
                         magic);
}

/* Are these n, n + 1, n + 2, n + 3? */
static inline bool one_apart(const uint32_t *at)
{
    __m128i ramp = _mm_add_epi32(_mm_set1_epi32((int)at[0]), _mm_set_epi32(3, 2, 1, 0));
    __m128i same = _mm_cmpeq_epi32(ramp, _mm_loadu_si128((const __m128i_u *)at));
    return _mm_movemask_epi8(same) == 0xffff;
}

/* The windows i..i+3, whatever they look like, as kernel_rate_factor has it. */
static __m256d any_rates(struct rates *r, uint32_t i)
{
    const struct kernel_windows *w = r->w;
    const double *v = r->run->v;
    const int64_t *t = r->run->t;
    const uint32_t *lo = w->lo + i;
    const uint32_t *hi = w->hi + i;
    int64_t end_ms = w->end_ms + (int64_t)i * w->step_ms;
    const __m256i ends =
        _mm256_add_epi64(_mm256_set1_epi64x(end_ms),
                         _mm256_set_epi64x(3 * w->step_ms, 2 * w->step_ms, w->step_ms, 0));
    const __m256i begins = _mm256_sub_epi64(ends, _mm256_set1_epi64x(w->range_ms));
    __m256i first_ms;
    __m256i last_ms;
    __m256d first;
    __m256d last;
    __m256d gaps;
    if (one_apart(lo) && one_apart(hi)) { /* nearly all, where there is a step for each sample */
        first_ms = load_bits(t + lo[0]);
        last_ms = load_bits(t + hi[0] - 1);
        first = _mm256_loadu_pd(v + lo[0]);
        last = _mm256_loadu_pd(v + hi[0] - 1);
        gaps = _mm256_set1_pd((double)(hi[0] - lo[0] - 1));
    } else {
        first_ms = _mm256_set_epi64x(t[lo[3]], t[lo[2]], t[lo[1]], t[lo[0]]);
        last_ms = _mm256_set_epi64x(t[hi[3] - 1], t[hi[2] - 1], t[hi[1] - 1], t[hi[0] - 1]);
        first = _mm256_set_pd(v[lo[3]], v[lo[2]], v[lo[1]], v[lo[0]]);
        last = _mm256_set_pd(v[hi[3] - 1], v[hi[2] - 1], v[hi[1] - 1], v[hi[0] - 1]);
        gaps = _mm256_set_pd((double)(hi[3] - lo[3] - 1), (double)(hi[2] - lo[2] - 1),
                             (double)(hi[1] - lo[1] - 1), (double)(hi[0] - lo[0] - 1));
    }
    __m256d rise = rises(r, i, first, last);
    __m256d to_start = divided(double_of_ms(_mm256_sub_epi64(first_ms, begins)), &r->thousand);
    __m256d to_end = divided(double_of_ms(_mm256_sub_epi64(ends, last_ms)), &r->thousand);
    __m256d sampled = divided(double_of_ms(_mm256_sub_epi64(last_ms, first_ms)), &r->thousand);
    __m256d average = _mm256_div_pd(sampled, gaps);
    __m256d threshold = _mm256_mul_pd(average, _mm256_set1_pd(1.1));
    __m256d half = _mm256_mul_pd(average, _mm256_set1_pd(0.5));
    to_start = _mm256_blendv_pd(to_start, half, _mm256_cmp_pd(to_start, threshold, _CMP_GE_OQ));
    to_end = _mm256_blendv_pd(to_end, half, _mm256_cmp_pd(to_end, threshold, _CMP_GE_OQ));
    if (r->kind.counter && !reach_beyond(first, rise, sampled, to_start)) {
        const __m256d zero = _mm256_setzero_pd();
        __m256d to_zero = _mm256_mul_pd(sampled, _mm256_div_pd(first, rise));
        __m256d clamps = _mm256_and_pd(_mm256_cmp_pd(rise, zero, _CMP_GT_OQ),
                                       _mm256_cmp_pd(first, zero, _CMP_GE_OQ));
        clamps = _mm256_and_pd(clamps, _mm256_cmp_pd(to_zero, to_start, _CMP_LT_OQ));
        to_start = _mm256_blendv_pd(to_start, to_zero, clamps);
    }
    __m256d factor =
        _mm256_div_pd(_mm256_add_pd(_mm256_add_pd(sampled, to_start), to_end), sampled);
    if (r->kind.per_second) {
        factor = divided(factor, &r->seconds);
    }
    return _mm256_mul_pd(rise, factor);
}

static void rate(const struct kernel_run *run, const struct kernel_windows *w,
                 struct kernel_rate kind, double *out)
{
    if (w->count < LANES || w->hi[w->count - 1] - w->lo[0] < 2 ||
        !in_reach(run->t, run->count, w) || w->range_ms >= (int64_t)1 << 50) {
        query_kernels_scalar.rate(run, w, kind, out);
        return;
    }
    uint32_t *resets = (uint32_t *)(void *)run->scratch;
    struct rates r = {.run = run,
                      .w = w,
                      .kind = kind,
                      .resets = resets,
                      .thousand = divisor_of(1000),
                      .seconds = divisor_of((double)w->range_ms / 1000)};
    r.reset_count = kind.counter ? find_resets(run->v, w->lo[0], w->hi[w->count - 1], resets) : 0;
    bool even =
        w->even_end >= w->even_first + LANES && w->hi[w->even_first] - w->lo[w->even_first] >= 2;
    for (uint32_t i = 0; i < w->count;) {
        if (even && i == w->even_first) {
            i = even_rates(&r, out);
            continue;
        }
        /* Not into the even ones, and no window without a second sample: those go one by one. */
        uint32_t end = even && i < w->even_first ? w->even_first : w->count;
        bool whole = i + LANES <= end;
        for (uint32_t k = 0; k < LANES && whole; k++) {
            whole = w->hi[i + k] - w->lo[i + k] >= 2;
        }
        if (whole) {
            _mm256_storeu_pd(out + i, any_rates(&r, i));
            i += LANES;
        } else {
            const struct kernel_windows one = kernel_slice(w, i, 1);
            query_kernels_scalar.rate(run, &one, kind, out + i);
            i++;
        }
    }
}

/* ---- sums ---- */

/* The largest absolute value of v[n] if all are integers; else infinite. */
static double whole_max(const double *v, uint32_t n)
{
    __m256d most = _mm256_setzero_pd();
    __m256d whole = _mm256_castsi256_pd(_mm256_set1_epi64x(-1));
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256d x = _mm256_loadu_pd(v + i);
        __m256d rounded = _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        whole = _mm256_and_pd(whole, _mm256_cmp_pd(x, rounded, _CMP_EQ_OQ));
        most = _mm256_max_pd(most, absolute(x));
    }
    double lanes[LANES];
    _mm256_storeu_pd(lanes, most);
    double result = 0;
    for (uint32_t k = 0; k < LANES; k++) {
        result = lanes[k] > result ? lanes[k] : result;
    }
    bool all = _mm256_movemask_pd(whole) == 15;
    for (; i < n; i++) {
        all &= v[i] == rint(v[i]);
        result = fabs(v[i]) > result ? fabs(v[i]) : result;
    }
    return all ? result : (double)INFINITY;
}

/* Sums of integers that stay below 2^53 are exact, in any order: prefix[i] is that of the i values
 * before. False: they are not known to. */
static bool exact_prefixes(const struct kernel_run *run, uint32_t from, uint32_t end)
{
    double most = whole_max(run->v + from, end - from);
    if (!(most * (double)(end - from) < 0x1p53)) {
        return false;
    }
    double *prefix = run->scratch;
    prefix[0] = 0;
    for (uint32_t i = from; i < end; i++) {
        prefix[i - from + 1] = prefix[i - from] + run->v[i];
    }
    return true;
}

/* Compensated sums of four windows. They begin at 0: a mean that begins at its first value differs
 * from that in the sign of a zero, which the last addition takes away. */
struct sums {
    __m256d sum, c;
};

/* num_kahan, as long as nothing is infinite. */
static inline struct sums sums_add(struct sums s, __m256d v)
{
    __m256d t = _mm256_add_pd(s.sum, v);
    __m256d larger = _mm256_cmp_pd(absolute(s.sum), absolute(v), _CMP_GE_OQ);
    __m256d big = _mm256_blendv_pd(v, s.sum, larger);
    __m256d small = _mm256_blendv_pd(s.sum, v, larger);
    return (struct sums){t, _mm256_add_pd(s.c, _mm256_add_pd(_mm256_sub_pd(big, t), small))};
}

/* Bits of the lanes that are not what num_kahan would have: something infinite, or NaN, was met. */
static inline int sums_odd(const struct sums *s)
{
    return _mm256_movemask_pd(_mm256_or_pd(not_finite(s->sum), not_finite(s->c)));
}

/* The first n samples of four windows. */
static struct sums sum_four(const double *v, const uint32_t *lo, uint32_t n)
{
    const double *p[LANES] = {v + lo[0], v + lo[1], v + lo[2], v + lo[3]};
    struct sums s = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    if (lo[1] == lo[0] + 1 && lo[2] == lo[0] + 2 && lo[3] == lo[0] + 3) {
        for (uint32_t k = 0; k < n; k++) {
            s = sums_add(s, _mm256_loadu_pd(p[0] + k));
        }
    } else {
        for (uint32_t k = 0; k < n; k++) {
            s = sums_add(s, _mm256_set_pd(p[3][k], p[2][k], p[1][k], p[0][k]));
        }
    }
    return s;
}

static inline double finish(double sum, double c, uint32_t n, bool mean)
{
    return mean ? sum / n + c / n : sum + c;
}

/* The windows i..i+3 side by side up to the length of the shortest, then the rest of each. */
static void sum_windows(const struct kernel_run *run, const struct kernel_windows *w, uint32_t i,
                        bool mean, kernel_window_fn *specified, double *out)
{
    const uint32_t *lo = w->lo + i;
    const uint32_t *hi = w->hi + i;
    uint32_t shared = UINT32_MAX;
    for (uint32_t k = 0; k < LANES; k++) {
        shared = hi[k] - lo[k] < shared ? hi[k] - lo[k] : shared;
    }
    struct sums s = sum_four(run->v, lo, shared);
    int odd = sums_odd(&s);
    double sum[LANES];
    double c[LANES];
    _mm256_storeu_pd(sum, s.sum);
    _mm256_storeu_pd(c, s.c);
    for (uint32_t k = 0; k < LANES; k++) {
        for (uint32_t at = lo[k] + shared; at < hi[k]; at++) {
            num_kahan(run->v[at], &sum[k], &c[k]);
        }
        if ((odd >> k & 1) || !isfinite(sum[k])) {
            const struct kernel_windows one = kernel_slice(w, i + k, 1);
            specified(run, &one, out + i + k);
        } else {
            out[i + k] = finish(sum[k], c[k], hi[k] - lo[k], mean);
        }
    }
}

static void sums(const struct kernel_run *run, const struct kernel_windows *w, bool mean,
                 kernel_window_fn *specified, double *out)
{
    if (w->count < LANES) {
        specified(run, w, out);
        return;
    }
    uint32_t from = w->lo[0];
    uint32_t i = 0;
    if (exact_prefixes(run, from, w->hi[w->count - 1])) {
        for (; i < w->count; i++) {
            double sum = run->scratch[w->hi[i] - from] - run->scratch[w->lo[i] - from];
            out[i] = finish(sum, 0, w->hi[i] - w->lo[i], mean);
        }
        return;
    }
    for (; i + LANES <= w->count; i += LANES) {
        sum_windows(run, w, i, mean, specified, out);
    }
    const struct kernel_windows rest = kernel_slice(w, i, w->count - i);
    specified(run, &rest, out + i);
}

static void sum(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    sums(run, w, false, query_kernels_scalar.sum, out);
}

static void avg(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    sums(run, w, true, query_kernels_scalar.avg, out);
}

/* ---- extreme values ---- */

/* Is there a NaN, or a zero with a sign? Those have an order of their own. */
static bool has_oddities(const double *v, uint32_t n)
{
    const __m256i minus_zero = _mm256_set1_epi64x(INT64_MIN);
    __m256i odd = _mm256_setzero_si256();
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256d x = _mm256_loadu_pd(v + i);
        odd = _mm256_or_si256(odd, _mm256_castpd_si256(_mm256_cmp_pd(x, x, _CMP_UNORD_Q)));
        odd = _mm256_or_si256(odd, _mm256_cmpeq_epi64(_mm256_castpd_si256(x), minus_zero));
    }
    bool any = !_mm256_testz_si256(odd, odd);
    for (; i < n; i++) {
        any |= isnan(v[i]) || (v[i] == 0 && signbit(v[i]));
    }
    return any;
}

static inline double extreme_of(double a, double b, bool max)
{
    return max ? (a > b ? a : b) : (a < b ? a : b);
}

/* best[i] becomes the extreme value of i and i + apart. */
static void extremes_fold(double *best, uint32_t n, uint32_t apart, bool max)
{
    uint32_t i = 0;
    for (; i + apart + LANES <= n; i += LANES) {
        __m256d a = _mm256_loadu_pd(best + i);
        __m256d b = _mm256_loadu_pd(best + i + apart);
        _mm256_storeu_pd(best + i, max ? _mm256_max_pd(a, b) : _mm256_min_pd(a, b));
    }
    for (; i + apart < n; i++) {
        best[i] = extreme_of(best[i], best[i + apart], max);
    }
}

static inline uint32_t power_below(uint32_t n)
{
    return UINT32_C(1) << (31 - (uint32_t)__builtin_clz(n));
}

/* The best of every 2^k samples in a row, by doubling: a window is two of them that overlap. */
static void extremes(const struct kernel_run *run, const struct kernel_windows *w, bool max,
                     kernel_window_fn *specified, double *out)
{
    uint32_t from = w->count > 0 ? w->lo[0] : 0;
    uint32_t n = w->count > 0 ? w->hi[w->count - 1] - from : 0;
    uint32_t middle = w->count / 2;
    uint32_t length = w->count > 0 ? w->hi[middle] - w->lo[middle] : 0;
    if (w->count < LANES || length < 2 || has_oddities(run->v + from, n)) {
        specified(run, w, out);
        return;
    }
    double *best = run->scratch;
    uint32_t wide = power_below(length);
    memcpy(best, run->v + from, n * sizeof *best);
    for (uint32_t apart = 1; apart < wide; apart *= 2) {
        extremes_fold(best, n, apart, max);
    }
    for (uint32_t i = 0; i < w->count; i++) {
        uint32_t size = w->hi[i] - w->lo[i];
        if (size >= wide && size <= 2 * wide) {
            out[i] = extreme_of(best[w->lo[i] - from], best[w->hi[i] - wide - from], max);
        } else {
            const struct kernel_windows one = kernel_slice(w, i, 1);
            specified(run, &one, out + i);
        }
    }
}

static void min(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    extremes(run, w, false, query_kernels_scalar.min, out);
}

static void max(const struct kernel_run *run, const struct kernel_windows *w, double *out)
{
    extremes(run, w, true, query_kernels_scalar.max, out);
}

/* ---- columns ---- */

/* seen[4] of the lanes that have a float. */
static inline void see_floats(uint8_t *seen, const uint8_t *kind)
{
    int32_t have;
    int32_t four;
    memcpy(&have, seen, sizeof have);
    memcpy(&four, kind, sizeof four);
    __m128i is_float = _mm_cmpeq_epi8(_mm_cvtsi32_si128(four), _mm_set1_epi8(POINT_FLOAT));
    have |= _mm_cvtsi128_si32(_mm_and_si128(is_float, _mm_set1_epi8(CELL_FLOAT)));
    memcpy(seen, &have, sizeof have);
}

static inline struct kernel_cells cells_from(const struct kernel_cells *c, uint32_t i)
{
    return (struct kernel_cells){c->a + i, c->b + i, c->count + i, c->seen + i};
}

/* Four steps into sums; what is not a float adds -0, which changes nothing. False: not possible. */
static inline bool fold_sums(const struct kernel_cells *cells, const double *v, __m256d floats,
                             uint32_t i)
{
    struct sums s = {_mm256_loadu_pd(cells->a + i), _mm256_loadu_pd(cells->b + i)};
    s = sums_add(s, _mm256_blendv_pd(_mm256_set1_pd(-0.0), _mm256_loadu_pd(v + i), floats));
    if (sums_odd(&s) != 0) {
        return false;
    }
    _mm256_storeu_pd(cells->a + i, s.sum);
    _mm256_storeu_pd(cells->b + i, s.c);
    return true;
}

static void fold_sum(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        if (fold_sums(cells, v, float_lanes(kind + i), i)) {
            see_floats(cells->seen + i, kind + i);
        } else {
            const struct kernel_cells four = cells_from(cells, i);
            query_kernels_scalar.fold_sum(&four, v + i, kind + i, LANES);
        }
    }
    const struct kernel_cells rest = cells_from(cells, i);
    query_kernels_scalar.fold_sum(&rest, v + i, kind + i, n - i);
}

static inline bool any_incremental(const uint8_t *seen)
{
    uint32_t four;
    memcpy(&four, seen, sizeof four);
    return (four & CELL_INCREMENTAL * UINT32_C(0x01010101)) != 0;
}

static void fold_avg(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    const __m256d one = _mm256_set1_pd(1);
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256d floats = float_lanes(kind + i);
        if (!any_incremental(cells->seen + i) && fold_sums(cells, v, floats, i)) {
            __m256d count = _mm256_loadu_pd(cells->count + i);
            count = _mm256_add_pd(count, _mm256_and_pd(floats, one));
            _mm256_storeu_pd(cells->count + i, count);
            see_floats(cells->seen + i, kind + i);
        } else {
            const struct kernel_cells four = cells_from(cells, i);
            query_kernels_scalar.fold_avg(&four, v + i, kind + i, LANES);
        }
    }
    const struct kernel_cells rest = cells_from(cells, i);
    query_kernels_scalar.fold_avg(&rest, v + i, kind + i, n - i);
}

static inline void fold_extreme(const struct kernel_cells *cells, const double *v,
                                const uint8_t *kind, uint32_t i, bool max)
{
    __m256d a = _mm256_loadu_pd(cells->a + i);
    __m256d x = _mm256_loadu_pd(v + i);
    __m256d takes = max ? _mm256_cmp_pd(a, x, _CMP_LT_OQ) : _mm256_cmp_pd(a, x, _CMP_GT_OQ);
    takes = _mm256_or_pd(takes, _mm256_cmp_pd(a, a, _CMP_UNORD_Q));
    takes = _mm256_and_pd(takes, float_lanes(kind + i));
    _mm256_storeu_pd(cells->a + i, _mm256_blendv_pd(a, x, takes));
    see_floats(cells->seen + i, kind + i);
}

static void fold_min(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        fold_extreme(cells, v, kind, i, false);
    }
    const struct kernel_cells rest = cells_from(cells, i);
    query_kernels_scalar.fold_min(&rest, v + i, kind + i, n - i);
}

static void fold_max(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                     uint32_t n)
{
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        fold_extreme(cells, v, kind, i, true);
    }
    const struct kernel_cells rest = cells_from(cells, i);
    query_kernels_scalar.fold_max(&rest, v + i, kind + i, n - i);
}

static void fold_count(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                       uint32_t n)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256d one = _mm256_set1_pd(1);
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        int32_t four;
        int32_t seen;
        memcpy(&four, kind + i, sizeof four);
        memcpy(&seen, cells->seen + i, sizeof seen);
        __m128i kinds4 = _mm_cvtsi32_si128(four);
        __m256d none = _mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_cvtepu8_epi64(kinds4), zero));
        _mm256_storeu_pd(cells->count + i, _mm256_add_pd(_mm256_loadu_pd(cells->count + i),
                                                         _mm256_andnot_pd(none, one)));
        seen |= _mm_cvtsi128_si32(_mm_min_epu8(kinds4, _mm_set1_epi8(CELL_FLOAT)));
        memcpy(cells->seen + i, &seen, sizeof seen);
    }
    const struct kernel_cells rest = cells_from(cells, i);
    query_kernels_scalar.fold_count(&rest, v + i, kind + i, n - i);
}

static void fold_variance(const struct kernel_cells *cells, const double *v, const uint8_t *kind,
                          uint32_t n)
{
    query_kernels_scalar.fold_variance(cells, v, kind, n);
}

const struct query_kernels query_kernels_avx2 = {
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

#else

const struct query_kernels query_kernels_avx2 = {0};

#endif
