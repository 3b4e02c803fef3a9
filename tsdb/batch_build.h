/* The one builder of writes: samples in any order of series become a struct tsdb_write whose entries
 * are sorted by partition and cut into one batch per owner (model/batch.h). Ingest, the embedding API
 * and the tests build through it.
 *
 *   tsdb_build_init(&b, arena, key, owner_of);
 *   target = known to the alias table ? tsdb_build_known(hit) : tsdb_build_new(&b, labels, ...);
 *   tsdb_build_reserve(&b, n);  n times tsdb_build_add(&b, &target, ...)   maybe tsdb_build_start
 *   tsdb_build_exemplar(&b, &target, &exemplar);
 *   tsdb_build_finish(&b, durability, &write);  write.done = ...;  tsdb_write_submit
 *
 * All memory is the arena's, the write borrows it until `done`. Every function that asks for memory
 * returns NOMEM or LIMIT when the arena has none (tsdb_arena_status); the builder is then good for
 * tsdb_build_init only. Threads: one at a time.
 */
#ifndef TSDB_BATCH_BUILD_H
#define TSDB_BATCH_BUILD_H

#include "base/arena.h"
#include "model/batch.h"
#include "tsdb/tsdb.h"

/* Where the samples of one series go: a known ref, or an index into new_series. */
struct tsdb_build_target {
    tsdb_series_ref series;
    uint32_t generation;
    uint32_t aux;
    uint8_t partition;
};

struct tsdb_batch_build {
    struct tsdb_arena *arena;
    const struct tsdb_hash_key *key; /* tsdb_hash_key */
    const uint8_t *owner_of;         /* [TSDB_PARTITIONS], tsdb_owner_map */
    struct tsdb_entry *entries;
    int64_t *starts; /* parallel to entries, NULL until a sample has one */
    struct tsdb_new_series *new_series;
    struct tsdb_write_exemplar *exemplars;
    uint32_t entry_count, entry_cap;
    uint32_t new_count, new_cap;
    uint32_t exemplar_count, exemplar_cap;
    uint32_t entries_of[TSDB_PARTITIONS]; /* how many of each partition */
};

/* Empty; forgets what was built. arena, key and owner_of outlive what is built. */
void tsdb_build_init(struct tsdb_batch_build *b, struct tsdb_arena *arena,
                     const struct tsdb_hash_key *key, const uint8_t *owner_of);

static inline struct tsdb_build_target tsdb_build_known(struct tsdb_alias_hit hit)
{
    return (struct tsdb_build_target){hit.ref, hit.generation, 0,
                                      (uint8_t)tsdb_series_partition(hit.ref)};
}
/* A series that the alias table does not know. labels: canonical, borrowed until `done`.
 * alias: of the raw bytes, to be entered; {0, 0} = none. NOMEM, LIMIT. */
enum tsdb_status tsdb_build_new(struct tsdb_batch_build *b, struct tsdb_labels labels,
                                struct tsdb_hash128 alias, struct tsdb_build_target *out) TSDB_WUR;

/* Room for `extra` more entries. NOMEM, LIMIT. */
enum tsdb_status tsdb_build_grow(struct tsdb_batch_build *b, uint32_t extra) TSDB_WUR;
static inline enum tsdb_status tsdb_build_reserve(struct tsdb_batch_build *b, uint32_t extra)
{
    return TSDB_LIKELY(extra <= b->entry_cap - b->entry_count) ? TSDB_OK
                                                               : tsdb_build_grow(b, extra);
}
/* Add one sample; room was reserved. value: as in struct tsdb_entry. */
static inline void tsdb_build_add(struct tsdb_batch_build *b,
                                  const struct tsdb_build_target *target,
                                  enum tsdb_sample_kind kind, int64_t t_ms, uint64_t value)
{
    struct tsdb_entry *e = &b->entries[b->entry_count++];
    e->t_ms = t_ms;
    e->value = value;
    e->series = target->series;
    e->generation = target->generation;
    e->aux = target->aux;
    e->partition = target->partition;
    e->kind = (uint8_t)kind;
    e->flags = 0;
    e->reserved = 0;
    b->entries_of[target->partition]++;
}
/* Give the entry added last a start timestamp. NOMEM, LIMIT. */
enum tsdb_status tsdb_build_start(struct tsdb_batch_build *b, int64_t start_ms) TSDB_WUR;
/* x->labels is borrowed until `done`. NOMEM, LIMIT. */
enum tsdb_status tsdb_build_exemplar(struct tsdb_batch_build *b,
                                     const struct tsdb_build_target *target,
                                     const struct tsdb_exemplar *x) TSDB_WUR;

/* Sort by partition (stable: the order within a series is the caller's), cut into batches, reserve
 * log bytes where durability asks for a log. Fills the fields of *w that say what is written; those
 * that say who waits (request, done, done_arg) are the caller's. Once per build. NOMEM, LIMIT (also:
 * a batch that needs 4 GiB of log). */
enum tsdb_status tsdb_build_finish(struct tsdb_batch_build *b, enum tsdb_durability durability,
                                   struct tsdb_write *w) TSDB_WUR;

#endif
