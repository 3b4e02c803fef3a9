/* The `data` of an answer of the HTTP API as a table or CSV. Both a server's answers and those that are
 * made here go through it, so that they look the same. Untrusted. Threads: one.
 *
 *   {"resultType":"vector","result":[{"metric":{},"value":[t,"v"]}]}    series, time, value
 *   [{"__name__":"up"}, ...]                                             series
 *   ["a", "b"]                                                           name
 */
#ifndef TOOLS_CMD_RENDER_H
#define TOOLS_CMD_RENDER_H

#include "tools/cmd/tool.h"

/* format: TABLE, JSON or CSV; PLOT (plot.h) where `plots`. heading: of a list of strings. CORRUPT: not of
 * that shape. */
enum tsdb_status tool_render(const struct tool *t, struct tsdb_slice data, const char *heading,
                             bool plots, struct tsdb_error *err) TSDB_WUR;

#endif
