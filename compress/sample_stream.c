#include "compress/sample_stream.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/compiler.h"

#include <string.h>

enum {
    CONTROL_OFF_PACE = VALUE_PACK_MODE_COUNT,
    CONTROL_NEW_PACE,
    CONTROL_OFF_SAME,
    CONTROL_RUN, /* + log2 of the length */
    RUN_BITS_MAX = 7,
    NEAR_MS = 8,
    NEARS = 2 * NEAR_MS, /* -8 .. -1, 1 .. 8 */
    CONTROL_NEAR_SAME = CONTROL_RUN + RUN_BITS_MAX + 1,
    CONTROL_NEAR_PACE = CONTROL_NEAR_SAME + NEARS,
    CONTROL_STEP_0 = CONTROL_NEAR_PACE + NEARS - 1, /* + zigzag of the step, which is not 0 */
    STEP_MAX = UINT8_MAX - CONTROL_STEP_0,
};
static_assert(CONTROL_NEAR_SAME == 69 && CONTROL_STEP_0 == 100, "as the header says");
static_assert(SAMPLE_STREAM_RUN_MAX < (8u << RUN_BITS_MAX), "seven longest runs and the rest");

static uint8_t *put_run(uint8_t *p, uint32_t run)
{
    TSDB_ASSERT(run <= SAMPLE_STREAM_RUN_MAX);
    for (; run >= 1u << RUN_BITS_MAX; run -= 1u << RUN_BITS_MAX) {
        *p++ = CONTROL_RUN + RUN_BITS_MAX;
    }
    for (uint32_t bit = 0; run > 0; bit++, run >>= 1) {
        if (run & 1) {
            *p++ = (uint8_t)(CONTROL_RUN + bit);
        }
    }
    return p;
}

/* Two samples in a row off the pace by the same time tell that the pace is another one; else it
 * stays, so that samples that come a little early or late take one byte. */
static bool stays_off(const struct sample_stream_end *end, int64_t off)
{
    return end->pace_ms != 0 && INT8_MIN <= off && off <= INT8_MAX && off != end->off_ms;
}

/* A sample off the pace, which stays; `same`: with the value before. */
static uint8_t *put_off(uint8_t *p, int8_t off, bool same)
{
    if (-NEAR_MS <= off && off <= NEAR_MS) {
        int32_t near = off < 0 ? off + NEAR_MS : off + NEAR_MS - 1;
        *p++ = (uint8_t)((same ? CONTROL_NEAR_SAME : CONTROL_NEAR_PACE) + near);
        return p;
    }
    *p++ = same ? CONTROL_OFF_SAME : CONTROL_OFF_PACE;
    *p++ = (uint8_t)off;
    return p;
}

static inline uint8_t *put_value(uint8_t *p, struct value_packed v)
{
    if (v.mode == VALUE_PACK_INT_DELTA && v.packed <= STEP_MAX) {
        *p++ = (uint8_t)(CONTROL_STEP_0 + v.packed);
        return p;
    }
    *p++ = (uint8_t)v.mode;
    tsdb_store_le64(p, v.packed); /* eight bytes whatever the width: there is room for the widest */
    return p + v.bytes;
}

uint32_t sample_stream_put(struct sample_stream_end *end, uint32_t ahead_ms, uint64_t value,
                           struct value_packed packed, uint8_t *out)
{
    int64_t off = (int64_t)ahead_ms - end->pace_ms;
    uint8_t *p = put_run(out, end->run);
    TSDB_ASSERT(ahead_ms > 0);
    if (end->run > 0 || off == 0) {
        end->off_ms = 0;
    }
    end->run = 0;
    end->value = value;
    bool same = false;
    if (off == 0) {
        TSDB_ASSERT(packed.mode != VALUE_PACK_SAME);
    } else if (stays_off(end, off)) {
        same = packed.mode == VALUE_PACK_SAME;
        p = put_off(p, (int8_t)off, same);
        end->off_ms = (int8_t)off;
    } else {
        *p++ = CONTROL_NEW_PACE;
        p = tsdb_put_uvarint(p, ahead_ms);
        end->pace_ms = ahead_ms;
        end->off_ms = 0;
    }
    p = same ? p : put_value(p, packed);
    TSDB_ASSERT((size_t)(p - out) <= SAMPLE_STREAM_BYTES_MAX);
    return (uint32_t)(p - out);
}

/* ---- reading ---- */

struct decoder {
    const uint8_t *p, *end;
    uint64_t pace_ms;
    uint64_t t_ms; /* of the last sample, in arithmetic that wraps */
    uint64_t value;
    struct value_whole whole; /* of the value */
};

/* `n` little-endian bytes. */
static inline uint64_t load_bytes(const uint8_t *p, const uint8_t *end, uint32_t n)
{
    if (TSDB_LIKELY(end - p >= 8)) {
        return tsdb_load_le64(p); /* value_unpack masks what is too much */
    }
    uint64_t x = 0;
    for (uint32_t i = 0; i < n; i++) {
        x |= (uint64_t)p[i] << (8 * i);
    }
    return x;
}

/* To an integer below 2^53 another one; from one to the next only the sum has to be waited for. False: the value
 * is none, which bytes from outside may say. */
static TSDB_ALWAYS_INLINE bool add_whole(struct decoder *d, uint64_t zigzag)
{
    if (TSDB_UNLIKELY(d->whole.scale != VALUE_SCALE_ONE)) {
        double value = tsdb_bits_double(d->value);
        if (TSDB_UNLIKELY(!(-0x1p53 < value && value < 0x1p53))) {
            return false;
        }
        d->whole = (struct value_whole){(int64_t)value, VALUE_SCALE_ONE};
    }
    d->whole.whole = (int64_t)((uint64_t)d->whole.whole + (uint64_t)tsdb_unzigzag(zigzag));
    d->value = tsdb_double_bits((double)d->whole.whole);
    return true;
}

/* The value of a token whose last control this is. The forms that most samples have are read here,
 * as value_unpack would. */
static TSDB_ALWAYS_INLINE bool get_value(struct decoder *d, uint8_t control)
{
    if (TSDB_LIKELY(control > CONTROL_STEP_0)) {
        return add_whole(d, (uint64_t)control - CONTROL_STEP_0);
    }
    uint32_t bytes = control < VALUE_PACK_MODE_COUNT ? value_pack_bytes(control) : UINT32_MAX;
    if (TSDB_UNLIKELY(bytes > (size_t)(d->end - d->p))) {
        return false;
    }
    uint64_t packed = load_bytes(d->p, d->end, bytes);
    d->p += bytes;
    if (control >= VALUE_PACK_XOR && control < VALUE_PACK_XOR_F32) {
        d->value ^= packed & ((UINT64_C(1) << (8 * bytes)) - 1);
        d->whole.scale = VALUE_SCALE_UNKNOWN;
    } else if (control >= VALUE_PACK_INT_DELTA && control < VALUE_PACK_INT_RAW) {
        return add_whole(d, packed & ((UINT64_C(1) << (8 * bytes)) - 1));
    } else {
        struct value_whole w = d->whole; /* what has its address taken lies in memory */
        d->value = value_unpack_next(control, packed, d->value, &w);
        d->whole = w;
    }
    return true;
}

/* A token off the pace. */
static TSDB_ALWAYS_INLINE bool get_off_pace(struct decoder *d, uint8_t control)
{
    uint64_t ahead = d->pace_ms;
    if (control == CONTROL_NEW_PACE) {
        d->p = tsdb_get_uvarint(d->p, d->end, &ahead);
        if (!d->p) {
            return false;
        }
        d->pace_ms = ahead;
    } else if (d->p < d->end) {
        ahead += (uint64_t)(int64_t)(int8_t)*d->p++;
    } else {
        return false;
    }
    d->t_ms += ahead;
    return control == CONTROL_OFF_SAME || (d->p < d->end && get_value(d, *d->p++));
}

/* A token a little off the pace. */
static TSDB_ALWAYS_INLINE bool get_near_pace(struct decoder *d, uint8_t control)
{
    bool same = control < CONTROL_NEAR_PACE;
    int32_t off = control - (same ? CONTROL_NEAR_SAME : CONTROL_NEAR_PACE) - NEAR_MS;
    d->t_ms += d->pace_ms + (uint64_t)(int64_t)(off < 0 ? off : off + 1);
    return same || (d->p < d->end && get_value(d, *d->p++));
}

static TSDB_ALWAYS_INLINE uint32_t fill_run(struct decoder *d, uint32_t from, uint32_t n,
                                            int64_t *t_ms, uint64_t *value)
{
    for (uint32_t i = from; i < from + n; i++) {
        d->t_ms += d->pace_ms;
        t_ms[i] = (int64_t)d->t_ms;
        value[i] = d->value;
    }
    return from + n;
}

bool sample_stream_decode(const uint8_t *src, uint32_t len, uint32_t count, int64_t *t_ms,
                          uint64_t *value)
{
    TSDB_ASSERT(count > 0);
    struct decoder d = {.p = src, .end = src + len, .t_ms = (uint64_t)t_ms[0], .value = value[0]};
    uint32_t i = 1;
    while (d.p < d.end && i < count) {
        uint8_t control = *d.p++;
        if (control >= CONTROL_RUN && control < CONTROL_NEAR_SAME) {
            uint32_t run = 1u << (control - CONTROL_RUN);
            if (run > count - i) {
                return false;
            }
            i = fill_run(&d, i, run, t_ms, value);
            continue;
        }
        bool ok = true;
        if (control >= CONTROL_NEAR_SAME && control <= CONTROL_STEP_0) {
            ok = get_near_pace(&d, control);
        } else if (control >= CONTROL_OFF_PACE && control < CONTROL_RUN) {
            ok = get_off_pace(&d, control);
        } else {
            d.t_ms += d.pace_ms;
            ok = get_value(&d, control);
        }
        if (TSDB_UNLIKELY(!ok)) {
            return false;
        }
        t_ms[i] = (int64_t)d.t_ms;
        value[i++] = d.value;
    }
    if (d.p < d.end) {
        return false;
    }
    fill_run(&d, i, count - i, t_ms, value);
    return true;
}
