/* One line of the OpenMetrics or Prometheus text format.
 *
 *   name{label="value",...} value [time] [# exemplar]
 *   {"quoted name",label="value"} value [time]         names that are not plain
 *   # anything                                         TYPE, HELP, UNIT, EOF, comments
 *
 * Untrusted. Only floats: lines of classic histograms and summaries are series of their own, as Prometheus
 * takes them. Source: the OpenMetrics specification; Prometheus model/textparse. Threads: pure.
 */
#ifndef TOOLS_CMD_OPENMETRICS_H
#define TOOLS_CMD_OPENMETRICS_H

#include "base/arena.h"
#include "base/limits.h"
#include "model/labels.h"

enum openmetrics_kind {
    OPENMETRICS_SAMPLE,
    OPENMETRICS_COMMENT, /* and empty lines */
    OPENMETRICS_EOF,
};
struct openmetrics_line {
    enum openmetrics_kind kind;
    struct tsdb_slice series;  /* the bytes in front of the value: equal bytes are one series */
    struct tsdb_label *labels; /* in the caller's order, __name__ among them, not checked further */
    uint32_t label_count;
    double value;
    bool has_time, has_exemplar;
    int64_t t_ms;
};
/* Parse a line, without its line end. milliseconds: times are whole milliseconds (Prometheus's text
 * format), else seconds. Strings borrow from the line or lie in the arena. INVALID: err->pos is the byte;
 * LIMIT: more than TSDB_LABELS_MAX labels; NOMEM. */
enum tsdb_status openmetrics_parse(const char *line, size_t len, bool milliseconds,
                                   struct tsdb_arena *arena, struct openmetrics_line *out,
                                   struct tsdb_error *err) TSDB_WUR;

#endif
