/* Inside of the in-memory index: for index_mem*.c, index_pairs.c, label_sets.c and tests.
 *
 *   names ── name_slots: hash of the string -> name
 *     │ newest
 *     ▼
 *   pairs ── next ──► pair ──► ...        pair_slots: hash of (name, value) -> pair
 *     │ postings: rising rows             a pair is one (label name, value)
 *     ▼
 *   rows (dense): set, hash ──► set       what differs from the set of an earlier series
 *                                         series_slots: hash of the labels -> row + 1
 *
 * A set is its pairs, in order of the names, as 32-bit words:
 *
 *   whole    count | pair ...
 *   narrow   1 << 30 | base,  own (16 bits) | left out << 16,  pair ...
 *   wide     2 << 30 | base,  own,  left out,  pair ...
 *   other    3 << 30 | base,  place << 27 | pair            the base's pairs but for one
 *
 * `base` is the handle of a whole set. Of its pairs those in `left out` (bits by their places) are not in
 * this set; the pairs that stand here are at the places of this set that `own` has. So a set is read
 * in two steps, whichever row it is, and a series of a target costs the words for its metric's labels:
 * mostly two, for its name.
 *
 * Lists of names and of a name's pairs are linked, newest first, so that readers walk them without a
 * lock and without an array to replace.
 */
#ifndef INDEX_MEM_INDEX_MEM_PRIVATE_H
#define INDEX_MEM_INDEX_MEM_PRIVATE_H

#include "base/limits.h"
#include "index/mem/index_mem.h"
#include "index/mem/symbols.h"
#include "index/postings/postings.h"

#define INDEX_LAST_LABELS     32 /* of the last series, against which the next one is compared */
#define INDEX_SET_HANDLE_BITS 30
#define INDEX_SET_BASED       32 /* a set of more pairs, or on a base of more, is whole */

struct index_name {
    uint32_t symbol;
    uint32_t next;                 /* the name made before this one */
    _Atomic(uint32_t) newest;      /* pair */
    _Atomic(uint32_t) value_count; /* pairs; readers use it as an estimate */
};
struct index_pair {
    struct index_postings postings; /* `of`: the name */
    uint32_t value;                 /* symbol */
    uint32_t next;                  /* the pair of the same name made before this one */
};
/* A label of the series that was added last. */
struct index_last {
    uint32_t pair, name; /* handles */
    const struct index_symbol *name_symbol, *value_symbol;
};

struct index_row {
    uint32_t set;  /* handle; INDEX_NONE: no labels */
    uint32_t hash; /* of the labels, the low half: the top bits chose the partition */
};

struct index_mem {
    struct index_owner owner;
    struct index_symbols symbols;
    struct index_pages names;
    struct index_pages pairs;
    struct index_pages sets;
    struct index_pages blocks; /* of postings */
    struct index_pages rows;   /* dense: struct index_row */
    struct index_slots name_slots;
    struct index_slots pair_slots;
    struct index_slots series_slots;
    _Atomic(uint32_t) names_newest;
    _Atomic(uint32_t) series_count; /* stored with release, last of all steps of an add */
    _Atomic(uint64_t) pair_count;
    /* Rows to ids. Immutable once the index is published. */
    uint32_t *kept; /* [kept_count] the ids of the first rows; those after are row + shift */
    uint32_t kept_count, kept_cap;
    uint32_t shift;
    _Atomic(uint32_t) pins;
    struct index_mem *next_retired; /* the owner's, as is what follows */
    uint64_t retired_at;
    bool unseen; /* no guard can be open that saw it published */
    /* The writer's. The next series mostly has the names of the last one, and most of its pairs. */
    uint32_t base; /* set; INDEX_NONE: none yet */
    uint32_t last_count;
    struct index_last last[INDEX_LAST_LABELS];
};

static inline struct index_name *index_name_at(const struct index_mem *ix, uint32_t handle)
{
    return index_pages_at(&ix->names, handle);
}
static inline struct index_pair *index_pair_at(const struct index_mem *ix, uint32_t handle)
{
    return index_pages_at(&ix->pairs, handle);
}
static inline struct index_row *index_row_at(const struct index_mem *ix, uint32_t row)
{
    return index_pages_at(&ix->rows, row);
}
static inline uint32_t index_pair_name(const struct index_pair *p)
{
    return p->postings.of;
}
static inline uint32_t index_row_local(const struct index_mem *ix, uint32_t row)
{
    return row < ix->kept_count ? ix->kept[row] : row + ix->shift;
}
/* The first row whose id is `local` or more; index_mem_series_count if there is none. */
uint32_t index_row_seek(const struct index_mem *ix, uint32_t local);

/* ---- index_pairs.c ---- */

/* The name's / pair's handle, or INDEX_NONE. Any thread under a guard. */
uint32_t index_name_find(const struct index_mem *ix, const char *name, uint32_t len);
uint32_t index_pair_find(const struct index_mem *ix, uint32_t name, const char *value, size_t len);
/* The pairs of all labels, found or made; *out_differ: how many are not the last series'. NOMEM, LIMIT. */
enum tsdb_status index_pairs_intern(struct index_mem *ix, const struct tsdb_labels *labels,
                                    uint32_t *pairs, uint32_t *out_differ) TSDB_WUR;
/* A series with these pairs was added. */
void index_pairs_remember(struct index_mem *ix, const uint32_t *pairs, uint32_t count);

/* ---- label_sets.c ---- */

/* Store a set, of which `differ` pairs are not in the last one. It is the newest piece of `sets`.
 * *out_base: the base of the next. NOMEM, LIMIT. */
enum tsdb_status index_set_add(struct index_mem *ix, const uint32_t *pairs, uint32_t count,
                               uint32_t differ, uint32_t *out_set, uint32_t *out_base) TSDB_WUR;
/* The pairs of a set, the first `cap` of them. Returns how many it has. */
uint32_t index_set_read(const struct index_mem *ix, uint32_t set, uint32_t *pairs, uint32_t cap);
/* Ask the caches for what index_set_read reads: the set, and some calls later its base. */
void index_set_prefetch(const struct index_mem *ix, uint32_t set);
void index_set_prefetch_base(const struct index_mem *ix, uint32_t set);

#endif
