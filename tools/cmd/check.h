/* Going over all that a directory holds: every checksum, every invariant that can be told offline.
 *
 * In this order: VERSION, checkpoints (every page), series.log, head files (every chunk that the newest
 * checkpoint refers to), the log, blocks (every section and chunk), refs. What a crash may leave behind
 * (a torn tail, an unfinished *.tmp) is noted and is no damage. Reads only.
 */
#ifndef TOOLS_CMD_CHECK_H
#define TOOLS_CMD_CHECK_H

#include "tools/cmd/open.h"
#include "tools/cmd/out.h"

enum check_part {
    CHECK_VERSION = 0,
    CHECK_CHECKPOINT,
    CHECK_SERIES_LOG,
    CHECK_METADATA,
    CHECK_HEAD_FILE,
    CHECK_WAL,
    CHECK_BLOCK,
};
enum check_state {
    CHECK_OK = 0,
    CHECK_NOTE,    /* what a crash may leave, and the next start mends */
    CHECK_DAMAGED, /* samples or labels may be lost */
};
struct check_finding {
    enum check_part part;
    enum check_state state;
    char path[128];    /* below the directory */
    char detail[1024]; /* "" of what is whole */
};
typedef enum tsdb_status (*check_fn)(void *arg, const struct check_finding *f,
                                     struct tsdb_error *err);
/* Hand over a finding for every file (a block counts as one). What fn says ends it. IO, NOMEM,
 * CANCELLED. */
enum tsdb_status check_run(const struct tool_dir *d, struct tool_progress *progress, check_fn fn,
                           void *arg, struct tsdb_error *err) TSDB_WUR;

const char *check_part_name(enum check_part part);
const char *check_state_name(enum check_state state);

#endif
