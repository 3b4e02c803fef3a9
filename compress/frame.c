#include "compress/frame.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "compress/bitpack.h"
#include "compress/kernels.h"

#define WIDTH_HAS_EXCEPTIONS 0x80u
/* More of them than this, and the frame is not one with outliers. */
#define EXCEPTIONS_MAX (FRAME_VALUES / 4)
/* Values looked at to guess where most of a frame lies. */
#define SAMPLE 16u

static uint32_t uvarint_bytes(uint64_t v)
{
    return v == 0 ? 1 : (bitpack_width(v) + 6) / 7;
}

/* The best width for a given base. Four counters per width, because incrementing one and the same
 * in a row waits for memory. */
static void plan_width(const uint64_t *x, size_t n, uint64_t base, struct frame_plan *out)
{
    uint16_t count[4][BITPACK_WIDTH_MAX + 1] = {{0}};
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t d = x[i] - base;
        all |= d;
        count[i & 3][bitpack_width(d)]++;
    }
    uint32_t top = bitpack_width(all);
    uint32_t best = top, best_exceptions = 0, exceptions = 0;
    size_t best_bytes = bitpack_bytes(n, top);
    for (uint32_t w = top; w-- > 0;) { /* what needs w + 1 bits or more becomes an exception */
        exceptions +=
            (uint32_t)(count[0][w + 1] + count[1][w + 1] + count[2][w + 1] + count[3][w + 1]);
        if (exceptions > EXCEPTIONS_MAX || exceptions > n / 2) {
            break;
        }
        size_t bytes = bitpack_bytes(n, w) + 1 + exceptions;
        for (uint32_t b = top; b > w && bytes < best_bytes; b--) {
            uint32_t c = (uint32_t)(count[0][b] + count[1][b] + count[2][b] + count[3][b]);
            bytes += (size_t)c * ((b - w + 6) / 7);
        }
        if (bytes < best_bytes) {
            best = w;
            best_bytes = bytes;
            best_exceptions = exceptions;
        }
    }
    out->base = base;
    out->width = best;
    out->exceptions = best_exceptions;
    out->bytes = (uint32_t)best_bytes;
}

/* Where most values begin, judged by a sorted sample: a bound below which outliers lie. Returns the
 * smallest value not below the bound; lo if nothing speaks against it. */
static int64_t base_without_outliers(const uint64_t *x, size_t n, int64_t lo, int64_t hi)
{
    int64_t s[SAMPLE];
    for (size_t i = 0; i < SAMPLE; i++) {
        int64_t v = (int64_t)x[i * n / SAMPLE];
        size_t at = i;
        for (; at > 0 && s[at - 1] > v; at--) {
            s[at] = s[at - 1];
        }
        s[at] = v;
    }
    uint64_t inner = (uint64_t)s[SAMPLE - 3] - (uint64_t)s[2];
    uint64_t reach = inner > UINT64_MAX / 8 ? UINT64_MAX : 4 * inner + 4;
    if ((uint64_t)s[2] - (uint64_t)lo <= reach || (uint64_t)hi - (uint64_t)lo <= 2 * reach) {
        return lo;
    }
    int64_t bound = (int64_t)((uint64_t)s[2] - reach), base = s[2];
    for (size_t i = 0; i < n; i++) {
        int64_t v = (int64_t)x[i];
        base = v >= bound && v < base ? v : base;
    }
    return base;
}

void frame_plan(const uint64_t *x, size_t n, uint64_t base_prev, struct frame_plan *out)
{
    TSDB_ASSERT(n >= 1 && n <= FRAME_VALUES);
    int64_t lo, hi;
    kernels_get()->min_max((const int64_t *)x, n, &lo, &hi);
    plan_width(x, n, (uint64_t)lo, out);
    out->bytes += 1 + uvarint_bytes(tsdb_zigzag((int64_t)((uint64_t)lo - base_prev)));
    if (n >= SAMPLE && out->width > 2) {
        int64_t base = base_without_outliers(x, n, lo, hi);
        struct frame_plan other;
        if (base != lo) {
            plan_width(x, n, (uint64_t)base, &other);
            other.bytes += 1 + uvarint_bytes(tsdb_zigzag((int64_t)((uint64_t)base - base_prev)));
            *out = other.bytes < out->bytes ? other : *out;
        }
    }
}

uint8_t *frame_encode(const uint64_t *x, size_t n, uint64_t base_prev,
                      const struct frame_plan *plan, uint8_t *out)
{
    uint64_t packed[FRAME_VALUES];
    uint8_t *begin = out;
    TSDB_ASSERT(n >= 1 && n <= FRAME_VALUES);
    out = tsdb_put_varint(out, (int64_t)(plan->base - base_prev));
    *out++ = (uint8_t)(plan->width | (plan->exceptions > 0 ? WIDTH_HAS_EXCEPTIONS : 0));
    for (size_t i = 0; i < n; i++) {
        packed[i] = x[i] - plan->base;
    }
    if (plan->exceptions > 0) {
        uint8_t *positions = out + 1;
        uint32_t count = 0;
        *out = (uint8_t)plan->exceptions;
        out += 1 + plan->exceptions;
        for (size_t i = 0; i < n; i++) {
            if (bitpack_width(packed[i]) > plan->width) {
                TSDB_ASSERT(count < plan->exceptions);
                positions[count++] = (uint8_t)i;
                out = tsdb_put_uvarint(out, packed[i] >> plan->width);
            }
        }
        TSDB_ASSERT(count == plan->exceptions);
    }
    bitpack_pack(packed, n, plan->width, out);
    out += bitpack_bytes(n, plan->width);
    TSDB_ASSERT((size_t)(out - begin) == plan->bytes);
    return out;
}

/* Positions and high bits of the exceptions, checked; their slots are patched when the packed bits
 * are there. Returns the byte after, NULL if damaged. */
static const uint8_t *exceptions_read(const uint8_t *p, const uint8_t *end, size_t n,
                                      const uint8_t **positions, uint32_t *count, uint64_t *high)
{
    if (p >= end || *p == 0 || *p > EXCEPTIONS_MAX || *p >= end - p) {
        return NULL;
    }
    *count = *p++;
    *positions = p;
    p += *count;
    for (uint32_t i = 0; i < *count; i++) {
        p = (*positions)[i] < n ? tsdb_get_uvarint(p, end, &high[i]) : NULL;
        if (!p) {
            return NULL;
        }
    }
    return p;
}

const uint8_t *frame_decode(const uint8_t *p, const uint8_t *end, size_t n, uint64_t *base,
                            uint64_t *out)
{
    uint64_t high[EXCEPTIONS_MAX];
    const uint8_t *positions = NULL;
    uint32_t count = 0;
    int64_t base_delta;
    TSDB_ASSERT(n <= FRAME_VALUES);
    p = tsdb_get_varint(p, end, &base_delta);
    if (!p || p >= end) {
        return NULL;
    }
    uint32_t width = *p & ~WIDTH_HAS_EXCEPTIONS;
    if (*p++ & WIDTH_HAS_EXCEPTIONS) {
        p = width < BITPACK_WIDTH_MAX ? exceptions_read(p, end, n, &positions, &count, high) : NULL;
    }
    if (!p || width > BITPACK_WIDTH_MAX || (size_t)(end - p) < bitpack_bytes(n, width)) {
        return NULL;
    }
    *base += (uint64_t)base_delta;
    kernels_get()->unpack(p, (size_t)(end - p), n, width, *base, out);
    for (uint32_t i = 0; i < count; i++) {
        out[positions[i]] += high[i] << width;
    }
    return p + bitpack_bytes(n, width);
}
