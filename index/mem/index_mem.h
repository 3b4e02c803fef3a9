/* The inverted index of one partition, in memory.
 *
 *   label name -> value -> ordered postings (local series ids, rising)
 *   local series id -> labels
 *
 * One writer (the partition's owner), any number of readers without locks: everything is
 * append-only and published by a release store of a count or pointer; a replaced array goes to the
 * owner's limbo list (base/epoch.h). Readers hold an epoch guard for the whole of their call
 * sequence, because results borrow.
 *
 * Nothing is ever taken out of an index. To leave series behind, the owner makes another one of those
 * that stay (index_mem_add_at), under the ids that they have, publishes it in place of the old one,
 * and retires that: who pinned it goes on with it, and it is freed after the last pin.
 *
 * Inside, series have rows 0, 1, 2, ... in the order of creation, of which postings are made; without
 * a series left behind a row is the local id.
 *
 * Invariants:
 *  1. Local ids rise in the order of creation, so that every postings list is sorted by being appended
 *     to.
 *  2. A series is in the postings of exactly its labels, and in "all", before
 *     index_mem_series_count shows it. Readers bound every list by the series count that they
 *     loaded first, so that one read sees one prefix of the series.
 *  3. Symbols (names and values) are interned once per partition. A series costs what differs from
 *     those that came before it: some words for its label set (label_sets.c), and bytes in postings
 *     where it ends a run (README.md has figures).
 *
 * Threads: index_mem_add: the owner. All other functions: any thread under an epoch guard.
 */
#ifndef INDEX_MEM_INDEX_MEM_H
#define INDEX_MEM_INDEX_MEM_H

#include "base/arena.h"
#include "base/epoch.h"
#include "index/match/matcher.h"
#include "model/batch.h"
#include "model/labels.h"

struct index_mem;

/* limbo: the owner's; used for every array that is replaced. */
enum tsdb_status index_mem_create(struct tsdb_epoch *epoch, struct tsdb_epoch_limbo *limbo,
                                  struct index_mem **out) TSDB_WUR;
void index_mem_destroy(struct index_mem *ix);

/* ---- the owner ---- */
/* Find by labels; hash = tsdb_labels_hash of them. UINT32_MAX if unknown. */
uint32_t index_mem_find(const struct index_mem *ix, const struct tsdb_labels *labels,
                        uint64_t hash);
/* Ask the caches for what that reads first. */
void index_mem_find_prefetch(const struct index_mem *ix, uint64_t hash);
/* Add a series that is not there yet (asserted in debug). labels canonical. All or nothing.
 * Returns OK with its local id; NOMEM; LIMIT at TSDB_SERIES_IDS_MAX - 1 ids. */
enum tsdb_status index_mem_add(struct index_mem *ix, const struct tsdb_labels *labels,
                               uint64_t hash, uint32_t *out_local, struct tsdb_error *err) TSDB_WUR;
/* The same under an id of the caller's, index_mem_ids_end or more; ids in between are nobody's. No
 * reader may exist. */
enum tsdb_status index_mem_add_at(struct index_mem *ix, const struct tsdb_labels *labels,
                                  uint64_t hash, uint32_t local, struct tsdb_error *err) TSDB_WUR;
/* Ids below `end` are given out, or nobody's. No reader may exist. NOMEM. */
enum tsdb_status index_mem_ids_skip(struct index_mem *ix, uint32_t end) TSDB_WUR;
/* Put an index that is not published any more on the list; free those of the list that no guard can
 * see and nobody has pinned. */
void index_mem_retire(struct index_mem *ix, struct index_mem **list);
void index_mem_reap(struct index_mem **list);
void index_mem_retired_destroy(struct index_mem **list); /* no reader may exist */

/* ---- pins: any thread ---- */
/* Keeps the index, and the strings that were borrowed from it, until unpin: to be called under a guard
 * that saw it published. Who reads it needs a guard all the same, because it may still grow. */
void index_mem_pin(struct index_mem *ix);
void index_mem_unpin(struct index_mem *ix); /* NULL is fine */

/* ---- readers, under a guard or a pin ---- */
uint32_t index_mem_series_count(const struct index_mem *ix);
/* The id that the next series gets. */
uint32_t index_mem_ids_end(const struct index_mem *ix);
/* Ids that were given out, or skipped, and are of no series here. Only rises from one index of a partition to the
 * next. */
uint32_t index_mem_ids_left(const struct index_mem *ix);
bool index_mem_has(const struct index_mem *ix, uint32_t local);
/* The first series whose id is `local` or more; UINT32_MAX: none. */
uint32_t index_mem_next(const struct index_mem *ix, uint32_t local);

/* ---- readers, under a guard ---- */
/* Labels of a series: the first `cap` of them into items (TSDB_LABELS_MAX is always enough);
 * strings borrow from the index. Returns how many were written; 0 of a series that is not there. */
uint32_t index_mem_labels(const struct index_mem *ix, uint32_t local, struct tsdb_label *items,
                          uint32_t cap);
/* Ask the caches for what index_mem_labels will read of a series that is there: where its labels stand,
 * and some calls later what stands there. */
void index_mem_prefetch(const struct index_mem *ix, uint32_t local);
void index_mem_prefetch_labels(const struct index_mem *ix, uint32_t local);
/* The low half of the hash of the labels; it is there. What is known here of the hash that was given. */
uint32_t index_mem_hash(const struct index_mem *ix, uint32_t local);

/* Local ids of the series that match all matchers, rising, into arena memory. No matcher: all
 * series. Cost: distinct values of the named labels, and the postings. NOMEM, LIMIT (arena),
 * CANCELLED/TIMEOUT by `request` (may be NULL). */
enum tsdb_status index_mem_select(const struct index_mem *ix,
                                  const struct index_matcher *const *matchers,
                                  uint32_t matcher_count, const struct tsdb_request *request,
                                  struct tsdb_arena *arena, uint32_t **out_locals,
                                  uint32_t *out_count, struct tsdb_error *err) TSDB_WUR;

/* Of series that are there, rising, the value of a label each: numbers that are the same where the value is, or
 * INDEX_MEM_NO_VALUE, and the string of one. */
#define INDEX_MEM_NO_VALUE UINT32_MAX
void index_mem_values_of(const struct index_mem *ix, const char *name, uint32_t name_len,
                         const uint32_t *locals, uint32_t count, uint32_t *out_values);
struct tsdb_slice index_mem_value_string(const struct index_mem *ix, uint32_t value);

/* Visit every distinct label name / every distinct value of a name that at least one series has.
 * Stops when fn is false. */
typedef bool (*index_string_fn)(void *arg, const char *s, uint32_t len);
/* Which strings, and which series, count; either may be NULL, for all. A string's series are asked
 * only if the string counts, from the newest on, until one does. */
struct index_wanted {
    index_string_fn text;
    void *text_arg;
    bool (*series)(void *arg, uint32_t local);
    void *series_arg;
};
/* wanted NULL: all count. */
void index_mem_names(const struct index_mem *ix, const struct index_wanted *wanted,
                     index_string_fn fn, void *arg);
void index_mem_values(const struct index_mem *ix, const char *name, uint32_t name_len,
                      const struct index_wanted *wanted, index_string_fn fn, void *arg);
/* Series that have the pair; also the owner, without a guard. Cost: two look-ups. */
uint32_t index_mem_pair_series(const struct index_mem *ix, const char *name, uint32_t name_len,
                               const char *value, uint32_t value_len);
/* As above with the number of series, for cardinality statistics. */
typedef bool (*index_pair_fn)(void *arg, const char *name, uint32_t name_len, const char *value,
                              uint32_t value_len, uint64_t series);
void index_mem_pairs(const struct index_mem *ix, index_pair_fn fn, void *arg);

struct index_mem_stats {
    uint64_t series, symbols, label_pairs;
    uint64_t symbol_bytes, postings_bytes, labels_bytes, table_bytes;
};
void index_mem_stats(const struct index_mem *ix, struct index_mem_stats *out);
/* Whole-structure check: postings sorted, ids within range, labels canonical, find() finds each.
 * For tests. Owner thread. */
enum tsdb_status index_mem_validate(const struct index_mem *ix, struct tsdb_error *err) TSDB_WUR;

#endif
