/* The Histogram message of remote write 1.0 and 2.0, into struct tsdb_histogram.
 *
 *    1 uint64 count_int   | 2 double count_float            8 negative spans     11 positive spans
 *    3 double sum           4 sint32 schema                 9 sint64 deltas      12 sint64 deltas
 *    5 double zero_threshold                               10 double counts      13 double counts
 *    6 uint64 zero_count_int | 7 double zero_count_float   16 double custom values
 *   14 reset_hint          15 int64 timestamp              17 int64 start_timestamp (2.0 only)
 *   BucketSpan { 1 sint32 offset, 2 uint32 length }
 *
 * As Prometheus: a float histogram is one whose count came as count_float; of the arrays only those
 * of its kind count. Repeated numbers come packed or not. What is decoded is neither reduced nor
 * validated: tsdb_histogram_reduce and tsdb_histogram_validate (model) are the next steps.
 * Threads: pure, with an arena of the caller.
 */
#ifndef INGEST_HISTOGRAM_WIRE_H
#define INGEST_HISTOGRAM_WIRE_H

#include "base/arena.h"
#include "model/histogram.h"

/* Decode message[len] untrusted bytes; arrays come from the arena, counted before they are asked
 * for.
 *   has_start     read field 17 (remote write 2.0); else *out_start_ms is 0
 * Returns OK; CORRUPT if it is not protobuf or a known field has a wrong type: the request is
 * malformed, err->pos is the offset in the message; INVALID with more than
 * TSDB_HISTOGRAM_BUCKETS_MAX spans, buckets and bounds or an unknown reset hint: this sample is to
 * be refused; NOMEM, LIMIT from the arena. */
enum tsdb_status histogram_wire_decode(struct tsdb_slice message, bool has_start,
                                       struct tsdb_arena *arena, struct tsdb_histogram *out,
                                       int64_t *out_t_ms, int64_t *out_start_ms,
                                       struct tsdb_error *err) TSDB_WUR;

#endif
