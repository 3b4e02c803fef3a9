/* What queriers share: the querier, and selectors compiled to local ids.
 *
 *   querier.c        open and close; a series' labels and samples, blocks and head merged
 *   select.c         selectors to series: sets of refs, lists of label sets
 *   living.c         which series have samples in a range, for lists of labels
 *   label_strings.c  distinct names and values
 *   exemplars.c      exemplars of matching series
 *
 * Epoch guards are taken inside each call and for one partition at a time, because an open guard
 * holds back all reclamation. Strings of labels borrow from the index, which never frees them;
 * everything else is copied into arenas. Threads: a querier belongs to one request.
 */
#ifndef TSDB_ENGINE_QUERIER_PRIVATE_H
#define TSDB_ENGINE_QUERIER_PRIVATE_H

#include "index/match/regex.h"
#include "tsdb/engine/tsdb_private.h"

struct tsdb_querier {
    struct tsdb *db;
    struct tsdb_request *request;
    struct tsdb_time_range range;
    struct tsdb_arena arena; /* refs of the sets */
    struct view *view;       /* pinned */
    struct index_regexes regexes;
};

struct tsdb_account *querier_account(struct tsdb_request *r); /* NULL without a request */
/* Why the arena had no room: NOMEM or LIMIT. */
enum tsdb_status querier_exhausted(const struct tsdb_arena *arena, struct tsdb_error *err);
/* Every so many turns: was the request cancelled, is its time up? CANCELLED, TIMEOUT. */
enum tsdb_status querier_check(const struct tsdb_querier *q, uint32_t turn,
                               struct tsdb_error *err) TSDB_WUR;
struct head_partition *querier_head(const struct tsdb_querier *q, tsdb_series_ref ref);
/* Labels, the array in `arena`. Under a guard. */
enum tsdb_status querier_labels(const struct tsdb_querier *q, tsdb_series_ref ref,
                                struct tsdb_arena *arena, struct tsdb_labels *out,
                                struct tsdb_error *err) TSDB_WUR;

/* ---- selectors, compiled (select.c) ---- */

struct index_matcher;
struct conjunction {
    const struct index_matcher **matchers;
    struct index_matcher **owned; /* the same, to be destroyed */
    uint32_t count;
};
/* Of lists of labels: which series have samples in the querier's range. */
struct living {
    struct tsdb_querier *q;
    struct tsdb_arena scratch; /* of one look-up */
    uint32_t partition;        /* that is being looked at */
    uint32_t turns;
    bool everything;         /* the range is all time: each series counts */
    bool in_blocks;          /* blocks overlap the range */
    enum tsdb_status status; /* of the first look-up that failed; then none counts */
    struct tsdb_error err;
};
void living_init(struct living *l, struct tsdb_querier *q);
void living_deinit(struct living *l);
/* Does series `local` of l->partition count? Under a guard. */
bool living_has(void *l, uint32_t local);

struct selection {
    struct tsdb_querier *q;
    struct tsdb_arena scratch; /* matchers, local ids */
    struct conjunction *any;   /* series match one of these; none: all series */
    uint32_t count;
};

/* Local ids of one partition, rising, in scratch memory. */
struct locals {
    uint32_t *ids;
    uint32_t count;
};

/* After a failure nothing is left to release. INVALID, NOMEM, LIMIT. */
enum tsdb_status selection_init(struct selection *sel, struct tsdb_querier *q,
                                const struct tsdb_selector *selectors, uint32_t count,
                                struct tsdb_error *err) TSDB_WUR;
void selection_deinit(struct selection *sel);
/* The partition's series that the selection wants: under a guard, or with one of its own. */
enum tsdb_status selection_locals(struct selection *sel, struct head_partition *p,
                                  struct locals *out, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status selection_partition(struct selection *sel, uint32_t partition, struct locals *out,
                                     struct tsdb_error *err) TSDB_WUR;
/* Of these series the living. Under a guard. */
enum tsdb_status locals_living(struct locals *locals, struct living *l, uint32_t partition,
                               struct tsdb_error *err) TSDB_WUR;

#endif
