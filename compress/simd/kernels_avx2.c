/* The kernels for AVX2 and BMI2: the same bytes and bits as kernels_scalar.c, faster. Compiled with
 * -mavx2 -mbmi2; run only where tsdb_cpu_level() allows. */
#include "compress/kernels_private.h"

#if defined(__AVX2__)

#include <immintrin.h>

static inline __m256i load4(const uint64_t *p)
{
    return _mm256_loadu_si256((const __m256i_u *)p);
}
static inline void store4(uint64_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i_u *)p, v);
}
static inline __m256i set4(uint64_t v)
{
    return _mm256_set1_epi64x((long long)v);
}
static inline __m128i load_bytes16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i_u *)p);
}

/* ---- packing ---- */
struct packer {
    uint8_t *out;
    uint64_t acc;
    uint32_t fill;
};

/* v has no bits above w, 1 <= w <= 64. */
static inline void packer_put(struct packer *p, uint64_t v, uint32_t w)
{
    p->acc |= v << p->fill;
    p->fill += w;
    if (p->fill >= 64) {
        tsdb_store_le64(p->out, p->acc);
        p->out += 8;
        p->fill -= 64;
        p->acc = p->fill == 0 ? 0 : v >> (w - p->fill);
    }
}

/* Four values of at most 16 bits are one word, of at most 32 bits two. */
static void avx2_pack(const uint64_t *in, size_t n, uint32_t w, uint8_t *out)
{
    struct packer p = {out, 0, 0};
    uint64_t mask = bitpack_mask(w);
    size_t i = 0;
    if (w == 0) {
        return;
    }
    if (w <= 32) {
        const __m256i shift = _mm256_set_epi64x(w, 0, w, 0);
        for (; i + 4 <= n; i += 4) {
            __m256i v = _mm256_and_si256(load4(in + i), set4(mask));
            v = _mm256_sllv_epi64(v, shift);
            v = _mm256_or_si256(v, _mm256_unpackhi_epi64(v, v));
            uint64_t lo = (uint64_t)_mm256_extract_epi64(v, 0);
            uint64_t hi = (uint64_t)_mm256_extract_epi64(v, 2);
            if (w <= 16) {
                packer_put(&p, lo | hi << (2 * w), 4 * w);
            } else {
                packer_put(&p, lo, 2 * w);
                packer_put(&p, hi, 2 * w);
            }
        }
    }
    for (; i < n; i++) {
        packer_put(&p, in[i] & mask, w);
    }
    for (; p.fill > 0; p.fill = p.fill > 8 ? p.fill - 8 : 0) {
        *p.out++ = (uint8_t)p.acc;
        p.acc >>= 8;
    }
}

/* Four values begin at bits b, b + w, b + 2w, b + 3w (b = 0 or 4w). Each 128-bit lane takes two of
 * them: 16 bytes from the first one's byte on, a shuffle that puts the 8 bytes of each value into
 * its half, a shift by the bits before it. Good to 57 bits a value. */
struct unpack_lanes {
    size_t at_lo, at_hi; /* first byte of each lane's 16 */
    __m256i shuffle, shift;
};

static inline struct unpack_lanes unpack_lanes_make(uint32_t first, uint32_t w)
{
    uint64_t from[4], bit[4];
    for (uint32_t k = 0; k < 4; k++) {
        uint64_t pair = (first + (k & 2)) * w;
        bit[k] = (first + k) * w;
        from[k] = (bit[k] / 8 - pair / 8) * UINT64_C(0x0101010101010101);
    }
    __m256i at = _mm256_set_epi64x((long long)from[3], (long long)from[2], (long long)from[1],
                                   (long long)from[0]);
    return (struct unpack_lanes){
        .at_lo = first * w / 8,
        .at_hi = (first + 2) * w / 8,
        .shuffle = _mm256_add_epi8(at, set4(UINT64_C(0x0706050403020100))),
        .shift = _mm256_set_epi64x((long long)(bit[3] & 7), (long long)(bit[2] & 7),
                                   (long long)(bit[1] & 7), (long long)(bit[0] & 7)),
    };
}

static inline __m256i unpack_lanes(const struct unpack_lanes *u, const uint8_t *src)
{
    __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(load_bytes16(src + u->at_lo)),
                                        load_bytes16(src + u->at_hi), 1);
    return _mm256_srlv_epi64(_mm256_shuffle_epi8(v, u->shuffle), u->shift);
}

static void avx2_unpack(const uint8_t *src, size_t len, size_t n, uint32_t w, uint64_t add,
                        uint64_t *out)
{
    size_t i = 0;
    if (w >= 1 && w <= 57 && n >= 8) {
        const struct unpack_lanes a = unpack_lanes_make(0, w), b = unpack_lanes_make(4, w);
        const __m256i mask = set4(bitpack_mask(w)), base = set4(add);
        const uint8_t *p = src;
        for (; i + 8 <= n && b.at_hi + 16 <= len - (size_t)(p - src); i += 8, p += w) {
            __m256i lo = _mm256_and_si256(unpack_lanes(&a, p), mask);
            __m256i hi = _mm256_and_si256(unpack_lanes(&b, p), mask);
            store4(out + i, _mm256_add_epi64(lo, base));
            store4(out + i + 4, _mm256_add_epi64(hi, base));
        }
    }
    if (w <= 57) {
        uint64_t mask = bitpack_mask(w);
        for (; i < n && i * w / 8 + 8 <= len; i++) {
            out[i] = ((tsdb_load_le64(src + i * w / 8) >> (i * w & 7)) & mask) + add;
        }
    }
    for (; i < n; i++) {
        out[i] = kernels_unpack_one(src, len, i, w) + add;
    }
}

/* ---- sums ---- */
/* From the end, because out may be in. */
static void avx2_delta(const uint64_t *in, size_t n, uint64_t prev, uint64_t *out)
{
    size_t i = n;
    for (; i >= 5; i -= 4) {
        store4(out + i - 4, _mm256_sub_epi64(load4(in + i - 4), load4(in + i - 5)));
    }
    for (; i >= 1; i--) {
        out[i - 1] = in[i - 1] - (i >= 2 ? in[i - 2] : prev);
    }
}

/* The sums of each four do not depend on each other; only `carry` does, by one addition. */
static void avx2_prefix_sum(uint64_t *x, size_t n, uint64_t prev)
{
    __m256i carry = set4(prev);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256i v = load4(x + i);
        v = _mm256_add_epi64(v, _mm256_slli_si256(v, 8));
        __m256i low = _mm256_permute4x64_epi64(v, 0x55); /* the sum of the lower two */
        v = _mm256_add_epi64(v, _mm256_blend_epi32(_mm256_setzero_si256(), low, 0xf0));
        store4(x + i, _mm256_add_epi64(v, carry));
        carry = _mm256_add_epi64(carry, _mm256_permute4x64_epi64(v, 0xff));
    }
    prev = (uint64_t)_mm256_extract_epi64(carry, 0);
    for (; i < n; i++) {
        prev += x[i];
        x[i] = prev;
    }
}

static void avx2_ramp_add(uint64_t *x, size_t n, uint64_t start, uint64_t step)
{
    const uint64_t first[4] = {start, start + step, start + 2 * step, start + 3 * step};
    __m256i at = load4(first);
    const __m256i step4 = set4(4 * step);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        store4(x + i, _mm256_add_epi64(load4(x + i), at));
        at = _mm256_add_epi64(at, step4);
    }
    for (; i < n; i++) {
        x[i] += start + i * step;
    }
}

static void avx2_min_max(const int64_t *x, size_t n, int64_t *out_min, int64_t *out_max)
{
    int64_t lo = x[0], hi = x[0], lane[4];
    __m256i lo4 = _mm256_set1_epi64x(x[0]), hi4 = lo4;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256i v = _mm256_loadu_si256((const __m256i_u *)(x + i));
        lo4 = _mm256_blendv_epi8(lo4, v, _mm256_cmpgt_epi64(lo4, v));
        hi4 = _mm256_blendv_epi8(hi4, v, _mm256_cmpgt_epi64(v, hi4));
    }
    for (; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    _mm256_storeu_si256((__m256i_u *)lane, lo4);
    for (size_t k = 0; k < 4; k++) {
        lo = lane[k] < lo ? lane[k] : lo;
    }
    _mm256_storeu_si256((__m256i_u *)lane, hi4);
    for (size_t k = 0; k < 4; k++) {
        hi = lane[k] > hi ? lane[k] : hi;
    }
    *out_min = lo;
    *out_max = hi;
}

static int avx2_rising(const int64_t *x, size_t n, int64_t prev)
{
    __m256i good = _mm256_set1_epi64x(-1);
    int bad = 0;
    size_t i = 0;
    if (n > 0) {
        bad = x[0] <= prev;
        i = 1;
    }
    for (; i + 4 <= n; i += 4) {
        __m256i now = _mm256_loadu_si256((const __m256i_u *)(x + i));
        __m256i before = _mm256_loadu_si256((const __m256i_u *)(x + i - 1));
        good = _mm256_and_si256(good, _mm256_cmpgt_epi64(now, before));
    }
    for (; i < n; i++) {
        bad |= x[i] <= x[i - 1];
    }
    return !bad && _mm256_movemask_epi8(good) == -1;
}

/* ---- floats ---- */
/* Lanes below 2^51 whose integer gives the same bits; if all four are such, their integers. The
 * rest, large integers included, is left to the specification. */
static size_t avx2_ints_of_doubles(const uint64_t *bits, size_t n, uint32_t digits, int64_t *out)
{
    const __m256d power = _mm256_set1_pd(kernels_power_of_ten[digits]);
    const __m256d magic = _mm256_set1_pd(KERNELS_ROUND), limit = _mm256_set1_pd(0x1p51);
    const __m256d sign = _mm256_set1_pd(-0.0);
    size_t i = 0, without = 0;
    for (; i + 4 <= n; i += 4) {
        __m256d x = _mm256_castsi256_pd(load4(bits + i));
        __m256d scaled = _mm256_mul_pd(x, power);
        __m256d shifted = _mm256_add_pd(scaled, magic);
        __m256d rounded = _mm256_sub_pd(shifted, magic);
        __m256d small = _mm256_cmp_pd(_mm256_andnot_pd(sign, scaled), limit, _CMP_LT_OQ);
        /* -0 becomes +0 by magic and back, so its bits differ, as they must. */
        __m256d back = digits == 0 ? rounded : _mm256_div_pd(rounded, power);
        __m256i same = _mm256_cmpeq_epi64(_mm256_castpd_si256(back), _mm256_castpd_si256(x));
        same = _mm256_and_si256(same, _mm256_castpd_si256(small));
        if (TSDB_LIKELY(_mm256_movemask_epi8(same) == -1)) {
            __m256i whole =
                _mm256_sub_epi64(_mm256_castpd_si256(shifted), _mm256_castpd_si256(magic));
            _mm256_storeu_si256((__m256i_u *)(out + i), whole);
            continue;
        }
        for (size_t k = i; k < i + 4; k++) {
            out[k] = kernels_int_of_double(bits[k], digits);
            without += out[k] == KERNELS_NO_INT;
        }
    }
    for (; i < n; i++) {
        out[i] = kernels_int_of_double(bits[i], digits);
        without += out[i] == KERNELS_NO_INT;
    }
    return without;
}

/* Any int64, rounded once, as the scalar conversion: the upper 48 bits go into the mantissa of
 * 3 * 2^67, the lower 16 bits with the next 32 into that of 2^52, and the last addition rounds. */
static inline __m256d double_of_int4(__m256i v)
{
    __m256i hi = _mm256_srai_epi32(v, 16);
    hi = _mm256_blend_epi16(hi, _mm256_setzero_si256(), 0x33);
    hi = _mm256_add_epi64(hi, _mm256_castpd_si256(_mm256_set1_pd(0x1.8p68)));
    __m256i lo = _mm256_blend_epi16(v, _mm256_castpd_si256(_mm256_set1_pd(0x1p52)), 0x88);
    __m256d f = _mm256_sub_pd(_mm256_castsi256_pd(hi), _mm256_set1_pd(0x1.8p68 + 0x1p52));
    return _mm256_add_pd(f, _mm256_castsi256_pd(lo));
}

static void avx2_doubles_of_ints(uint64_t *x, size_t n, uint32_t digits, double factor)
{
    double divisor = kernels_power_of_ten[digits];
    const __m256d factor4 = _mm256_set1_pd(factor), divisor4 = _mm256_set1_pd(divisor);
    size_t i = 0;
    if (digits == 0) { /* dividing by 1 changes nothing, and costs */
        for (; i + 4 <= n; i += 4) {
            __m256d d = _mm256_mul_pd(double_of_int4(load4(x + i)), factor4);
            store4(x + i, _mm256_castpd_si256(d));
        }
    } else {
        for (; i + 4 <= n; i += 4) {
            __m256d d = _mm256_mul_pd(double_of_int4(load4(x + i)), factor4);
            store4(x + i, _mm256_castpd_si256(_mm256_div_pd(d, divisor4)));
        }
    }
    for (; i < n; i++) {
        x[i] = tsdb_double_bits((double)(int64_t)x[i] * factor / divisor);
    }
}

const struct kernels kernels_avx2 = {
    .pack = avx2_pack,
    .unpack = avx2_unpack,
    .delta = avx2_delta,
    .prefix_sum = avx2_prefix_sum,
    .ramp_add = avx2_ramp_add,
    .min_max = avx2_min_max,
    .rising = avx2_rising,
    .ints_of_doubles = avx2_ints_of_doubles,
    .doubles_of_ints = avx2_doubles_of_ints,
};

#else

const struct kernels kernels_avx2 = {0};

#endif
