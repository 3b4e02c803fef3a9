/* Metadata of a metric: type, help, unit. Names as the HTTP API prints them. */
#ifndef MODEL_METADATA_H
#define MODEL_METADATA_H

#include "base/bytes.h"

/* Values are the wire numbers of remote write (1.0 MetricMetadata.MetricType and 2.0
 * Metadata.MetricType agree). */
enum tsdb_metric_type {
    TSDB_METRIC_UNKNOWN = 0,
    TSDB_METRIC_COUNTER = 1,
    TSDB_METRIC_GAUGE = 2,
    TSDB_METRIC_HISTOGRAM = 3,
    TSDB_METRIC_GAUGEHISTOGRAM = 4,
    TSDB_METRIC_SUMMARY = 5,
    TSDB_METRIC_INFO = 6,
    TSDB_METRIC_STATESET = 7,
    TSDB_METRIC_TYPE_COUNT
};
const char *tsdb_metric_type_name(enum tsdb_metric_type type); /* "unknown", "counter", ... */

struct tsdb_metadata {
    struct tsdb_slice metric; /* metric family name; borrowed */
    struct tsdb_slice help;
    struct tsdb_slice unit;
    enum tsdb_metric_type type;
    int64_t first_seen_ms; /* Unix ms when the metric was first told of; 0 on the way in */
};

#endif
