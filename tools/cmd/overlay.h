/* A file table that reads from another and keeps every change in memory: what the engine writes while
 * it opens a directory (lock, torn tails cut off, refs, a new log segment) never reaches the disk.
 *
 *   engine ─ write, rename, unlink ─▶ overlay: nodes by path, pages of 64 KiB
 *          ─ read ────────────────▶ overlay, else the table below
 *
 * Invariants:
 *  1. Of the table below only open (for reading), close, pread, stat, list and space are called.
 *  2. A path that was written, made, moved or removed here has a node, and the node alone says what is
 *     there; a path without one is as it is below. A directory that is moved gets a node for everything
 *     in it.
 *  3. Memory grows with the pages that are written: preallocated and cut bytes cost nothing.
 *  4. A lock is always granted: it guards nothing, for nobody else sees what is written.
 *
 * A handle that was opened before its file was removed or moved stays good. Threads: one at a time,
 * reads of open handles included.
 */
#ifndef TOOLS_CMD_OVERLAY_H
#define TOOLS_CMD_OVERLAY_H

#include "base/file.h"

/* below: outlives the overlay. NOMEM. */
enum tsdb_status overlay_create(const struct tsdb_fs *below, struct tsdb_fs *out,
                                struct tsdb_error *err) TSDB_WUR;
/* No handle may be open. A zeroed one is fine. */
void overlay_destroy(struct tsdb_fs *fs);

#endif
