/* Finished windows of a database, one by one, as Prometheus blocks in a folder from which Thanos's sidecar ships them.
 *
 *   db ─ window over, and `delay_ms` past ─▶ cut.h ─▶ DIR/<ULID>/   by a rename, when all of it is durable
 *   DIR/thanos.shipper.json: what was uploaded ─▶ those go; so do those older than the retention
 *
 * Invariants:
 *  1. A window is published once: DIR/published says up to where (docs/format/published.md), and a block of the window that is
 *     there already counts. So no two blocks overlap, which Thanos's compactor would stop at.
 *  2. Blocks lie within one aligned window, are of level 1, and hold what a query finds at that moment: deletions are done.
 *  3. A block goes only after `published` tells that its window is done.
 * Samples that come later than the delay are in no published block. Threads: one.
 */
#ifndef TOOLS_EXPORT_PUBLISH_H
#define TOOLS_EXPORT_PUBLISH_H

#include "base/file_floor.h"
#include "tsdb/tsdb.h"

struct publisher {
    struct tsdb *db;
    uint64_t keep_free_bytes; /* of DIR's disk: no write leaves less */
    struct tsdb_fs real, fs;  /* of DIR; and what is written through, with that in mind */
    struct tsdb_fs_floor *floor;
    struct tsdb_file *lock;
    int64_t range_ms, delay_ms;
    int64_t retention_ms;            /* 0: for ever */
    const _Atomic(uint32_t) *cancel; /* not 0: stop; may be NULL */
    int64_t until_ms;                /* all windows before are done; INT64_MIN: none yet */
    int64_t saved_ms;                /* what DIR says of that */
};
struct publish_result {
    char ulid[27]; /* "": nothing was published */
    int64_t min_ms, max_ms;
    uint64_t samples, series, removed;
    bool more; /* there is another window to be done: call again */
};
/* dir is made. What a death left unfinished there is removed. BUSY: another process has it; CORRUPT: what it says it has
 * published is not readable; IO, NOMEM. */
enum tsdb_status publisher_open(struct publisher *p, const char *dir,
                                struct tsdb_error *err) TSDB_WUR;
void publisher_close(struct publisher *p); /* a zeroed one is fine */
/* The next window, if it is due; what may go, goes. BUSY while storage is not ready; what cut.h says. After a failure the same
 * window is next. */
enum tsdb_status publish_step(struct publisher *p, int64_t now_ms, struct publish_result *out,
                              struct tsdb_error *err) TSDB_WUR;

#endif
