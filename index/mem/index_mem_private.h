/* Inside of the in-memory index: for index_mem*.c and tests.
 *
 *   names ── name_slots: hash of the string -> name
 *     │ newest
 *     ▼
 *   pairs ── next ──► pair ──► ...        pair_slots: hash of (name, value) -> pair
 *     │ postings: rising series ids       a pair is one (label name, value)
 *     ▼
 *   series (dense, by row) ── labels ──► list of pairs, in order of the names
 *                                         series_slots: hash of the labels -> row + 1
 *
 * A label of a series costs 4 bytes, its pair. Lists of names and of a name's pairs are linked,
 * newest first, so that readers walk them without a lock and without an array to replace.
 */
#ifndef INDEX_MEM_INDEX_MEM_PRIVATE_H
#define INDEX_MEM_INDEX_MEM_PRIVATE_H

#include "base/limits.h"
#include "index/mem/index_mem.h"
#include "index/mem/symbols.h"
#include "index/postings/postings.h"

#define INDEX_NAME_HINTS 32

struct index_name {
    uint32_t symbol;
    uint32_t next;                 /* the name made before this one */
    _Atomic(uint32_t) newest;      /* pair */
    _Atomic(uint32_t) value_count; /* pairs; readers use it as an estimate */
};
struct index_pair {
    struct index_postings postings;
    uint32_t name;
    uint32_t value; /* symbol */
    uint32_t next;  /* the pair of the same name made before this one */
    uint32_t hash;
};
struct index_series {
    uint64_t hash;
    uint32_t labels; /* handle of label_count pairs */
    uint32_t label_count;
};

struct index_mem {
    struct index_owner owner;
    struct index_symbols symbols;
    struct index_pages names;
    struct index_pages pairs;
    struct index_pages labels;
    struct index_pages series;
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
    /* The writer's: the name at each position of the last series' labels. The next series mostly
     * has the same. */
    uint32_t name_hints[INDEX_NAME_HINTS];
};

static inline struct index_name *index_name_at(const struct index_mem *ix, uint32_t handle)
{
    return index_pages_at(&ix->names, handle);
}
static inline struct index_pair *index_pair_at(const struct index_mem *ix, uint32_t handle)
{
    return index_pages_at(&ix->pairs, handle);
}
static inline struct index_series *index_series_at(const struct index_mem *ix, uint32_t row)
{
    return index_pages_at(&ix->series,
                          row * (uint32_t)(sizeof(struct index_series) >> INDEX_UNIT_SHIFT));
}
static inline uint32_t index_row_local(const struct index_mem *ix, uint32_t row)
{
    return row < ix->kept_count ? ix->kept[row] : row + ix->shift;
}
/* The first row whose id is `local` or more; index_mem_series_count if there is none. */
uint32_t index_row_seek(const struct index_mem *ix, uint32_t local);
static inline const uint32_t *index_series_pairs(const struct index_mem *ix,
                                                 const struct index_series *s)
{
    return index_pages_at(&ix->labels, s->labels);
}

/* The name's / pair's handle, or INDEX_NONE. Any thread under a guard. */
uint32_t index_name_find(const struct index_mem *ix, const char *name, uint32_t len);
uint32_t index_pair_find(const struct index_mem *ix, uint32_t name, const char *value, size_t len);

#endif
