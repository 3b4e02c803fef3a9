/* Making ExportMetricsServiceRequests of OTLP out of series, for the generators of the benchmarks. */
#ifndef TESTS_SUPPORT_INGEST_ENCODE_OTLP_H
#define TESTS_SUPPORT_INGEST_ENCODE_OTLP_H

#include "tests/support/ingest/encode.h"

/* Append series with floats as gauges: every `each` in a row are of one resource, whose service.name and
 * service.instance.id are the labels job and instance of the first; the other labels are attributes.
 * Out of memory shows in the buffer. */
void encode_otlp_gauges(const struct encode_series *series, uint32_t count, uint32_t each,
                        struct tsdb_buf *out);

#endif
