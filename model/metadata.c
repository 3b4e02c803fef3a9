#include "model/metadata.h"

#include "base/compiler.h"

#include <assert.h>

const char *tsdb_metric_type_name(enum tsdb_metric_type type)
{
    static const char *const names[] = {
        [TSDB_METRIC_UNKNOWN] = "unknown",
        [TSDB_METRIC_COUNTER] = "counter",
        [TSDB_METRIC_GAUGE] = "gauge",
        [TSDB_METRIC_HISTOGRAM] = "histogram",
        [TSDB_METRIC_GAUGEHISTOGRAM] = "gaugehistogram",
        [TSDB_METRIC_SUMMARY] = "summary",
        [TSDB_METRIC_INFO] = "info",
        [TSDB_METRIC_STATESET] = "stateset",
    };
    static_assert(TSDB_ARRAY_LEN(names) == TSDB_METRIC_TYPE_COUNT, "a name for each type");
    unsigned i = (unsigned)type;
    return names[i < TSDB_METRIC_TYPE_COUNT ? i : TSDB_METRIC_UNKNOWN];
}
