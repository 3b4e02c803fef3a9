#include "compress/sample_stream_private.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/compiler.h"

#include <string.h>

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

/* Samples in a row off the pace by the same time tell that the pace is another one; else it stays, so that samples
 * that come a little early or late take one byte. Two may have met by chance where jitter knows few
 * milliseconds, as it does where a byte says them. */
static bool stays_off(const struct sample_stream_end *end, int64_t off)
{
    bool near = -NEAR_MS <= off && off <= NEAR_MS;
    return end->pace_ms != 0 && INT8_MIN <= off && off <= INT8_MAX &&
           (off != end->off_ms || end->offs < (near ? NEAR_OFFS : 1));
}

static void off_note(struct sample_stream_end *end, int8_t off)
{
    end->offs = off != end->off_ms ? 1 : (uint8_t)(end->offs + (end->offs < UINT8_MAX));
    end->off_ms = off;
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
        off_note(end, 0);
    }
    end->run = 0;
    end->value = value;
    bool same = false;
    if (off == 0) {
        TSDB_ASSERT(packed.mode != VALUE_PACK_SAME);
    } else if (stays_off(end, off)) {
        same = packed.mode == VALUE_PACK_SAME;
        p = put_off(p, (int8_t)off, same);
        off_note(end, (int8_t)off);
    } else {
        *p++ = CONTROL_NEW_PACE;
        p = tsdb_put_uvarint(p, ahead_ms);
        end->pace_ms = ahead_ms;
        off_note(end, 0);
    }
    p = same ? p : put_value(p, packed);
    TSDB_ASSERT((size_t)(p - out) <= SAMPLE_STREAM_BYTES_MAX);
    return (uint32_t)(p - out);
}
