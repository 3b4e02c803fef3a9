/* What a Prometheus has not put into blocks yet, into a data directory: its log and its head chunks.
 *
 *   wal/ once: labels, deletions
 *   wal/, wbl/: samples ─ batches ─▶ the engine, its log and blocks
 *   chunks_head/ after them, where the log is damaged: a whole one has all that they hold
 *
 * The same samples are taken that a Prometheus would have after a start: of wal/ those that rise in time for their series and are
 * not before the end of its blocks, all of wbl/, none that was deleted. Memory: labels
 * of the series and a batch. An import that was interrupted is begun again: the same sample twice is once. Threads: one.
 */
#ifndef TOOLS_CMD_IMPORT_HEAD_H
#define TOOLS_CMD_IMPORT_HEAD_H

#include "tools/cmd/out.h"
#include "tools/prom/wal.h"

struct import_head {
    uint64_t series, samples;
    uint64_t bytes;         /* that were read */
    uint64_t refused;       /* histograms that are not valid */
    uint64_t conflicts;     /* samples whose time has another value already */
    uint64_t unknown;       /* samples of series whose labels were not found */
    int64_t min_ms, max_ms; /* of the samples; min > max: none */
    uint64_t damaged;       /* places where something was left out */
    char damage[256];       /* the first of them */
};
/* Is there anything to read? */
bool import_head_any(const struct tsdb_fs *src);
/* from_ms: the end of the blocks that came from this head; INT64_MIN: none. dir: nobody has it open. UNSUPPORTED, IO, NOMEM,
 * BUSY, CANCELLED. */
enum tsdb_status import_head(const struct tsdb_fs *src, int64_t from_ms, const char *dir,
                             struct tool_progress *progress, struct import_head *out,
                             struct tsdb_error *err) TSDB_WUR;

#endif
