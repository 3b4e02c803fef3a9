/* Making remote write requests: for tests and for the generators of the benchmarks. The mirror of
 * the decoders.
 *
 *   encode_v1_series(&raw, &series); ...        one request is the concatenation of its parts
 *   encode_v2_request(series, n, &raw);         the symbols are collected over all series
 *   encode_snappy(&raw, &body);
 *
 * Fields are written as Go's generated code does: in order of their numbers, zero scalars left out,
 * numbers packed. Out of memory shows in the buffer (`failed`), as everywhere with struct tsdb_buf.
 * Threads: pure.
 */
#ifndef TESTS_SUPPORT_INGEST_ENCODE_H
#define TESTS_SUPPORT_INGEST_ENCODE_H

#include "model/exemplar.h"
#include "model/histogram.h"
#include "model/labels.h"
#include "model/metadata.h"

struct encode_sample {
    int64_t t_ms;
    uint64_t bits;
    int64_t start_ms; /* 2.0 only; 0 = none */
};
struct encode_histogram {
    int64_t t_ms;
    int64_t start_ms; /* 2.0 only; 0 = none */
    struct tsdb_histogram histogram;
};
/* All borrowed. Labels are written in the order given. */
struct encode_series {
    struct tsdb_labels labels;
    const struct encode_sample *samples;
    uint32_t sample_count;
    const struct encode_histogram *histograms;
    uint32_t histogram_count;
    const struct tsdb_exemplar *exemplars;
    uint32_t exemplar_count;
    const struct tsdb_metadata *metadata; /* 2.0 only; may be NULL; its metric is not used */
    int64_t created_ms;                   /* 2.0 only; 0 = none */
};

/* Append to a WriteRequest of remote write 1.0. */
void encode_v1_series(const struct encode_series *series, struct tsdb_buf *out);
void encode_v1_metadata(const struct tsdb_metadata *metadata, struct tsdb_buf *out);
/* Append a whole Request of remote write 2.0, symbols first. NOMEM. */
enum tsdb_status encode_v2_request(const struct encode_series *series, uint32_t series_count,
                                   struct tsdb_buf *out) TSDB_WUR;
/* Append raw as one Snappy block. NOMEM when either buffer has failed. */
enum tsdb_status encode_snappy(const struct tsdb_buf *raw, struct tsdb_buf *out) TSDB_WUR;

#endif
