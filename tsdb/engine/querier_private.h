/* What queriers share: the querier, and selectors compiled to local ids.
 *
 *   querier.c        open and close; a series' labels and samples, blocks and head merged
 *   newest.c         its newest sample
 *   read_ahead.c     the memory of the series that are read next
 *   select.c         selectors to series: sets of refs
 *   series_walk.c    lists of label sets
 *   join.c           the series of blocks, and which of the head's they are
 *   living.c         which series have samples in a range, for lists of labels
 *   label_strings.c  distinct names and values
 *   count.c          how many series have a sample, by groups
 *   exemplars.c      exemplars of matching series
 *
 * Epoch guards are taken inside each call and for one partition at a time, because an open guard
 * holds back all reclamation. Strings of labels borrow from indexes of the head, which the querier
 * pins; everything else is copied into arenas. Threads: a querier belongs to one request.
 */
#ifndef TSDB_ENGINE_QUERIER_PRIVATE_H
#define TSDB_ENGINE_QUERIER_PRIVATE_H

#include "index/match/regex.h"
#include "tsdb/engine/tsdb_private.h"

/* What the querier sees of a partition's head index: series below `bound`, always the same ones, also
 * when they leave meanwhile; then blocks of its view have their samples. */
struct querier_index {
    struct index_mem *index; /* pinned; NULL: not asked yet */
    uint32_t bound;
};

/* ---- series in blocks (join.c) ----
 *
 *   row  a series that blocks have: the head's ref, or a stray's
 *   pair its place in one of the view's blocks; a row's pairs are linked in the order of the blocks
 *   stray  a series that the head does not have (any more): labels from a block. Its ref has a number
 *          of this querier in place of an id: tsdb_series_local is TSDB_SERIES_IDS_MAX or more.
 *
 * All in the querier's arena. A row has all its pairs once the selection that made it is over. */
#define JOIN_END UINT32_MAX
struct join_pair {
    uint32_t next;  /* or JOIN_END */
    uint32_t block; /* of the view */
    uint32_t id;
};
struct join_row {
    tsdb_series_ref ref;
    uint32_t turn; /* of the selection that made it */
    uint32_t first;
};
struct stray {
    struct tsdb_labels labels;
    uint64_t hash;
    uint32_t partition;
    uint32_t turn; /* of the last selection that had it */
};
struct join_array {
    void *items;
    uint32_t count, cap;
};
struct join {
    struct join_array rows, pairs, strays;
    struct join_array row_slots,
        stray_slots; /* uint32_t: number + 1, 0 = free; cap a power of two */
    uint32_t turn;
    double turn_bytes; /* of pages of blocks, about what a selection has of them */
    double bytes;      /* of the largest one */
};

/* How far the newest set has been walked by who asks for labels: the next ones are fetched ahead, for in
 * their order they lie anywhere. (Of samples: read_ahead.c.) */
struct querier_walk {
    const tsdb_series_ref *refs;
    uint32_t count;
    uint32_t at; /* to come */
};

struct tsdb_querier {
    struct tsdb *db;
    struct tsdb_request *request;
    struct tsdb_time_range range;
    struct tsdb_arena arena; /* refs of the sets */
    struct view *view;       /* pinned */
    struct index_regexes regexes;
    struct querier_index indexes[TSDB_PARTITIONS];
    struct join join;
    struct querier_walk walk;
};

struct tsdb_account *querier_account(struct tsdb_request *r); /* NULL without a request */
/* Why the arena had no room: NOMEM or LIMIT. */
enum tsdb_status querier_exhausted(const struct tsdb_arena *arena, struct tsdb_error *err);
/* Every so many turns: was the request cancelled, is its time up? CANCELLED, TIMEOUT. */
enum tsdb_status querier_check(const struct tsdb_querier *q, uint32_t turn,
                               struct tsdb_error *err) TSDB_WUR;
struct head_partition *querier_head(const struct tsdb_querier *q, tsdb_series_ref ref);
/* The partition's index; the first call decides which series the querier sees. */
const struct querier_index *querier_index(struct tsdb_querier *q, uint32_t partition);
/* Labels, the array in `arena`. */
enum tsdb_status querier_labels(struct tsdb_querier *q, tsdb_series_ref ref,
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
    enum tsdb_status status; /* of the first look-up that failed; then none counts */
    struct tsdb_error err;
};
void living_init(struct living *l, struct tsdb_querier *q);
void living_deinit(struct living *l);
/* One more look: does the request go on? */
bool living_turn(struct living *l);
/* Does the head have samples of series `local` of l->partition? */
bool living_in_head(void *l, uint32_t local);
/* Does a series of a selection have samples, in the head or in blocks? */
bool living_has(struct living *l, tsdb_series_ref ref);

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
/* The series of the partition's head that the selection wants. */
enum tsdb_status selection_locals(struct selection *sel, uint32_t partition, struct locals *out,
                                  struct tsdb_error *err) TSDB_WUR;
/* The series of a block that it wants. */
enum tsdb_status selection_ids(struct selection *sel, const struct block *b, struct locals *out,
                               struct tsdb_error *err) TSDB_WUR;
enum tsdb_status locals_union(struct tsdb_arena *arena, const struct locals *a,
                              const struct locals *b, struct locals *out,
                              struct tsdb_error *err) TSDB_WUR;
/* The place of a series among those of its partition: the half of its hash that the index knows. */
static inline uint32_t place_key(uint64_t hash)
{
    return (uint32_t)hash;
}
/* All series that it wants, head and blocks, in the order of tsdb_series_set. */
enum tsdb_status selection_series(struct selection *sel, struct tsdb_series_set *out,
                                  struct tsdb_error *err) TSDB_WUR;

/* ---- newest.c: what is known of the newest sample in a range ---- */
struct newest {
    int64_t t_ms;
    uint64_t bits;
    bool any;
    bool unsure; /* only the samples themselves tell */
};
/* By the head alone, under a guard. */
struct newest newest_in_head(const struct head_partition *head, uint32_t local,
                             struct tsdb_time_range range, uint64_t view);

/* ---- join.c ---- */
void join_init(struct join *j); /* all memory is the querier's */
/* Find the selection's series in the blocks of the querier's range. `strays`: numbers of those that the
 * head does not have, each once; scratch memory of the selection. */
enum tsdb_status join_select(struct selection *sel, struct locals *strays,
                             struct tsdb_error *err) TSDB_WUR;
/* NULL: the ref is the head's. */
const struct stray *join_stray(const struct join *j, tsdb_series_ref ref);
tsdb_series_ref join_stray_ref(uint32_t number);
uint32_t join_stray_number(tsdb_series_ref ref); /* UINT32_MAX: the ref is the head's */
/* Which of the head's series, or which stray, series `id` of a block is. *cursor as block_labels_next has it. */
enum tsdb_status join_resolve(struct tsdb_querier *q, const struct live_block *l,
                              struct index_disk_cursor **cursor, uint32_t id, tsdb_series_ref *out,
                              struct tsdb_error *err) TSDB_WUR;
/* A pair of a selection, j->turn. Blocks come last first, so that a series' pairs end up in their order. */
enum tsdb_status join_pair_add(struct tsdb_querier *q, tsdb_series_ref ref, uint32_t block,
                               uint32_t id, struct tsdb_error *err) TSDB_WUR;
/* The first of the series' pairs; NULL: no block has it. */
const struct join_pair *join_first(const struct join *j, tsdb_series_ref ref);
const struct join_pair *join_next(const struct join *j, const struct join_pair *pair);

#endif
