/* Native histograms, exponential and with custom buckets, integer and float: one nouns file, and
 * the flat raw form in which they travel through batches, WAL and raw chunks.
 *
 * Semantics: Prometheus model/histogram. Buckets are described by spans: the first span's offset is
 * the absolute index of its first bucket, later offsets are the gap after the previous span. Schema
 * -4..8 exponential; -53 custom bounds (positive side only). Schemas 9..52 are reduced to 8 on the
 * way in.
 *
 * Raw form, version 1 (little-endian, see docs/format/histogram.md):
 *   u8 version 1 | u8 flags (bit 0 float, bits 1-2 reset hint)
 *   varint schema | f64 zero_threshold | f64 sum
 *   count, zero_count             uvarint each (integer) or f64 each (float)
 *   positive spans                uvarint count; per span varint offset, uvarint length
 *   negative spans                the same
 *   positive buckets              per bucket varint delta to the previous one (integer) or f64
 *                                 count (float)
 *   negative buckets              the same
 *   custom values                 uvarint count, f64 each
 *
 * Bucket counts are implied by the spans. f64 are IEEE bits: a stale marker in `sum` survives.
 */
#ifndef MODEL_HISTOGRAM_H
#define MODEL_HISTOGRAM_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define TSDB_HISTOGRAM_SCHEMA_CUSTOM (-53)
#define TSDB_HISTOGRAM_SCHEMA_MIN    (-4)
#define TSDB_HISTOGRAM_SCHEMA_MAX    8

enum tsdb_reset_hint {
    TSDB_RESET_UNKNOWN = 0,
    TSDB_RESET_YES = 1,
    TSDB_RESET_NO = 2,
    TSDB_RESET_GAUGE = 3
};

struct tsdb_span {
    int32_t offset;
    uint32_t length;
};

/* Arrays are borrowed from whoever made the struct (an arena, usually). */
struct tsdb_histogram {
    bool is_float;
    enum tsdb_reset_hint reset_hint;
    int32_t schema;
    double zero_threshold;
    double sum;
    uint64_t count_int; /* integer histograms */
    uint64_t zero_count_int;
    double count_float; /* float histograms */
    double zero_count_float;
    uint32_t positive_span_count, negative_span_count;
    uint32_t positive_bucket_count, negative_bucket_count;
    uint32_t custom_count;
    const struct tsdb_span *positive_spans, *negative_spans;
    const int64_t *positive_deltas, *negative_deltas; /* integer: from the previous bucket */
    const double *positive_counts, *negative_counts;  /* float: absolute */
    const double *custom_values;
};

/* Is `sum` the stale marker? Such a sample has no buckets and ends the series. */
bool tsdb_histogram_is_stale(const struct tsdb_histogram *h);

/* Check as Prometheus does on append (Histogram.Validate, FloatHistogram.Validate), and that the zero
 * threshold is finite and not negative: spans, bucket
 * counts, no negative buckets, count against buckets (integer: sum of buckets must equal count, or
 * be <= count when sum is NaN; float: not compared), custom values finite, strictly rising, count
 * of buckets within them. A stale one is always valid. INVALID with Prometheus's text. */
enum tsdb_status tsdb_histogram_validate(const struct tsdb_histogram *h,
                                         struct tsdb_error *err) TSDB_WUR;
/* Bring schema 9..52 down to 8 by merging buckets; arrays come from the arena. NOMEM, LIMIT. Others
 * are left alone. Call before validating; when spans and buckets disagree only the schema changes,
 * so that validation names that fault. */
enum tsdb_status tsdb_histogram_reduce(struct tsdb_histogram *h, struct tsdb_arena *arena) TSDB_WUR;

/* A copy of it and its arrays in arena memory. NULL: no room. */
const struct tsdb_histogram *tsdb_histogram_dup(const struct tsdb_histogram *h,
                                                struct tsdb_arena *arena);

/* Raw form. encoded_bytes is an upper bound, good for reserving; encode returns the exact length,
 * which is at most TSDB_HISTOGRAM_BYTES_MAX for what validates. Encode validated histograms only:
 * spans and buckets must agree. A stale one is written without spans, buckets and custom values,
 * which nobody has checked. */
size_t tsdb_histogram_encoded_bytes_max(const struct tsdb_histogram *h);
size_t tsdb_histogram_encode(const struct tsdb_histogram *h, uint8_t *out);
/* Decode untrusted raw bytes; arrays from the arena. CORRUPT, UNSUPPORTED (version), NOMEM, LIMIT.
 * The whole of src must be consumed. Guarantees that spans and buckets agree, not that the
 * histogram validates. */
enum tsdb_status tsdb_histogram_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                                       struct tsdb_histogram *out, struct tsdb_error *err) TSDB_WUR;

#endif
