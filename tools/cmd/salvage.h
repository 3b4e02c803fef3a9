/* What can be read of a damaged block, as a new block.
 *
 * Series by series and chunk by chunk: what verifies is written, what does not is counted; a damaged page
 * costs what lies in it. The damaged block is not touched. Without a meta.json, or where a file was cut or
 * the directory of its pages is damaged, nothing can be read.
 * Threads: one.
 */
#ifndef TOOLS_CMD_SALVAGE_H
#define TOOLS_CMD_SALVAGE_H

#include "tools/cmd/out.h"
#include "tsdb/block/block.h"

struct salvage {
    struct block_meta meta; /* of the damaged block, as far as it can be read; else zeroes */
    bool opened;            /* else nothing could be read */
    char ulid[BLOCK_ULID_CHARS + 1]; /* of the new one; "": nothing was left to keep */
    uint64_t kept_samples;
    uint64_t lost_series; /* whose labels are not readable */
    uint64_t lost_chunks, lost_samples;
    int64_t lost_min_ms, lost_max_ms; /* of those chunks; min > max: not known */
    char first_lost[256];             /* a series that lost some; "": not known */
};
/* CORRUPT is no answer of this: see *out. IO, NOMEM,
 * CANCELLED. */
enum tsdb_status salvage_block(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                               struct tool_progress *progress, struct salvage *out,
                               struct tsdb_error *err) TSDB_WUR;

#endif
