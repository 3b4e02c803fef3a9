/* Samples on stdout, series by series, in one of three shapes:
 *
 *   openmetrics   name{a="b"} 1.5 1700000000.5       floats; ends with # EOF
 *   csv           series,time_ms,value               a heading; histograms as JSON in the value
 *   jsonl         {"metric":{...},"samples":[[time_ms,"1.5"],...]}   at most TOOL_EMIT_SAMPLES a line
 *
 * With `bits` values are hexadecimal: the 64 bits of a float, the raw form of a histogram
 * (docs/format/histogram.md). OpenMetrics has no native histograms and one NaN: what is left out is
 * counted, and told at the end. Threads: one.
 */
#ifndef TOOLS_CMD_EMIT_H
#define TOOLS_CMD_EMIT_H

#include "model/labels.h"
#include "model/sample.h"
#include "tools/cmd/tool.h"

#define TOOL_EMIT_SAMPLES 1000u

struct tool_emit {
    enum tool_format format;
    bool bits;
    struct tsdb_buf buf;
    uint64_t series, samples, histograms_left_out, nans_changed;
};
/* INVALID: a format that is none of the three; TABLE is taken as JSONL. */
enum tsdb_status tool_emit_begin(struct tool_emit *e, const struct tool *t,
                                 struct tsdb_error *err) TSDB_WUR;
enum tsdb_status tool_emit_series(struct tool_emit *e, const struct tsdb_labels *labels,
                                  const struct tsdb_columns *columns,
                                  struct tsdb_error *err) TSDB_WUR;
enum tsdb_status tool_emit_end(struct tool_emit *e, struct tsdb_error *err) TSDB_WUR;
void tool_emit_deinit(struct tool_emit *e);

#endif
