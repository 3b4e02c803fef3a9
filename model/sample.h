/* Samples: one value of one series at one time.
 *
 * Time is int64 milliseconds of Unix time, negative allowed. A float travels as its IEEE-754 bits
 * so that every NaN payload survives. start_ms is the start (created) timestamp, 0 = unknown.
 */
#ifndef MODEL_SAMPLE_H
#define MODEL_SAMPLE_H

#include "model/histogram.h"

#include <stdbool.h>
#include <stdint.h>

enum tsdb_sample_kind {
    TSDB_SAMPLE_FLOAT = 0,
    TSDB_SAMPLE_HISTOGRAM_INT = 1,
    TSDB_SAMPLE_HISTOGRAM_FLOAT = 2,
};

#define TSDB_STALE_NAN_BITS  UINT64_C(0x7ff0000000000002)
#define TSDB_NORMAL_NAN_BITS UINT64_C(0x7ff8000000000001)

static inline bool tsdb_is_stale_bits(uint64_t bits)
{
    return bits == TSDB_STALE_NAN_BITS;
}

/* Samples of one series, in columns, times strictly increasing. What select hands to the query
 * engine. */
struct tsdb_columns {
    uint32_t count;
    const int64_t *t_ms;
    const uint64_t *bits;    /* IEEE bits where float, index into histograms[] otherwise */
    const uint8_t *kind;     /* enum tsdb_sample_kind; NULL: all floats */
    const int64_t *start_ms; /* NULL: none has one */
    const struct tsdb_histogram *histograms;
    uint32_t histogram_count;
};

#endif
