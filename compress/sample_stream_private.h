/* What writer and reader of sample streams share: the controls (sample_stream.h). */
#ifndef COMPRESS_SAMPLE_STREAM_PRIVATE_H
#define COMPRESS_SAMPLE_STREAM_PRIVATE_H

#include "compress/sample_stream.h"

#include <assert.h>

enum {
    CONTROL_OFF_PACE = VALUE_PACK_MODE_COUNT,
    CONTROL_NEW_PACE,
    CONTROL_OFF_SAME,
    CONTROL_RUN, /* + log2 of the length */
    RUN_BITS_MAX = 7,
    NEAR_MS = 8,
    NEARS = 2 * NEAR_MS, /* -8 .. -1, 1 .. 8 */
    NEAR_OFFS = 4, /* as often in a row off by the same of those, and the pace is another one */
    CONTROL_NEAR_SAME = CONTROL_RUN + RUN_BITS_MAX + 1,
    CONTROL_NEAR_PACE = CONTROL_NEAR_SAME + NEARS,
    CONTROL_STEP_0 = CONTROL_NEAR_PACE + NEARS - 1, /* + zigzag of the step, which is not 0 */
    STEP_MAX = UINT8_MAX - CONTROL_STEP_0,
};
static_assert(CONTROL_NEAR_SAME == 69 && CONTROL_STEP_0 == 100, "as the header says");
static_assert(SAMPLE_STREAM_RUN_MAX < (8u << RUN_BITS_MAX), "seven longest runs and the rest");

#endif
