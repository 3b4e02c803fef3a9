/* The series of a database or of one block, in label order, with their samples.
 *
 * Memory: the labels of all matching series (a database), the samples of one. Threads: one.
 */
#ifndef TOOLS_CMD_WALK_H
#define TOOLS_CMD_WALK_H

#include "tools/cmd/out.h"
#include "tsdb/block/block.h"
#include "tsdb/block/tombstones.h"
#include "tsdb/tsdb.h"

/* A series with at least one sample; all is valid during the call. */
typedef enum tsdb_status (*tool_series_fn)(void *arg, const struct tsdb_labels *labels,
                                           const struct tsdb_columns *columns,
                                           struct tsdb_error *err);

/* Matching series of a database, sorted, to be read as often as one likes. */
struct tool_walk {
    struct tsdb *db;
    struct tsdb_querier *querier;
    struct tsdb_arena arena;  /* of the list */
    struct tsdb_arena series; /* of one series */
    struct tool_walk_series {
        struct tsdb_labels labels;
        tsdb_series_ref ref;
    } * items;
    uint32_t count;
    const _Atomic(uint32_t) *cancel; /* set after init; not 0: CANCELLED; may be NULL */
};
/* Deinit also after a failure. */
enum tsdb_status tool_walk_init(struct tool_walk *w, struct tsdb *db,
                                const struct tsdb_selector *selector, struct tsdb_time_range range,
                                struct tsdb_error *err) TSDB_WUR;
void tool_walk_deinit(struct tool_walk *w); /* a zeroed one is fine */
/* The samples of item i in the range, which lies within that of init; valid until the next read. */
enum tsdb_status tool_walk_read(struct tool_walk *w, uint32_t i, struct tsdb_time_range range,
                                struct tsdb_columns *out, struct tsdb_error *err) TSDB_WUR;
/* Hand every series that has samples in the range to fn. progress (may be NULL) counts samples.
 * CANCELLED when interrupted. */
enum tsdb_status tool_walk_all(struct tool_walk *w, struct tsdb_time_range range, tool_series_fn fn,
                               void *arg, struct tool_progress *progress,
                               struct tsdb_error *err) TSDB_WUR;

/* The same for one block, without what its tombstones (may be NULL) hide. */
enum tsdb_status tool_walk_block(const struct block *b, const struct tombstones *tombstones,
                                 const struct tsdb_selector *selector, struct tsdb_time_range range,
                                 tool_series_fn fn, void *arg, struct tool_progress *progress,
                                 struct tsdb_error *err) TSDB_WUR;

#endif
