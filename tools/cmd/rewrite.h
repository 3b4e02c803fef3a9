/* Blocks written anew from others: several as one, or the part of a time range.
 *
 *   block, block, ... ─ series in label order, chunks merged by time ─▶ block_writer ─▶ blocks/<ULID>/
 *
 * What tombstones hide is left out, and the new block has none. Samples are the same bit for bit; of two with the same series and time that of the lower sequence is kept,
 * which is the one that queries show. The sources are not touched. Memory: the labels of a series of each
 * source and the samples of one series in the range. Threads: one.
 */
#ifndef TOOLS_CMD_REWRITE_H
#define TOOLS_CMD_REWRITE_H

#include "tools/cmd/out.h"
#include "tsdb/block/block.h"

#define REWRITE_SOURCES_MAX 64u

struct rewrite {
    const struct tsdb_fs *fs;
    struct block **sources; /* by sequence, lowest first */
    uint32_t count;         /* 1 .. REWRITE_SOURCES_MAX */
    int64_t min_ms, max_ms; /* [min, max): what is taken, and the new block's range */
    uint32_t level;
    struct tool_progress *progress;
};
/* NOT_FOUND: there is no sample in the range, and no block then. *out_next_ms: the first sample after the
 * range; INT64_MAX: there is none. CORRUPT, IO, NOMEM, CANCELLED: nothing was written. */
enum tsdb_status rewrite_run(const struct rewrite *r, struct block_meta *out, int64_t *out_next_ms,
                             struct tsdb_error *err) TSDB_WUR;

#endif
