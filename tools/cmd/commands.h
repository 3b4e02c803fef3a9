/* The functions behind commands.def. Each gets its arguments and options checked against the tables.
 * Status to exit code: CORRUPT is DAMAGED, INVALID is USAGE, BUSY is BUSY, CANCELLED is INTERRUPTED, the
 * rest FAILED. */
#ifndef TOOLS_CMD_COMMANDS_H
#define TOOLS_CMD_COMMANDS_H

#include "tools/cmd/tool.h"

#define TOOL_COMMAND(name, function, arguments, least, most, options, what)                        \
    enum tsdb_status function(struct tool *t, struct tsdb_error *err) TSDB_WUR;
#include "tools/cmd/commands.def"

#endif
