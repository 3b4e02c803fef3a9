/* Postings: the rising local series ids of one (label name, value), and operations on such lists.
 *
 * Most values that are unique to a target lead to one or two series per partition, so that a list
 * costs 8 bytes until it has more than 4 ids, or ids far apart:
 *
 *   0           no ids
 *   bit 0 = 1   inline: bits 1-2 hold count - 1, bits 3-28 the first id, then 11 bits for each
 *               further id, its distance from the one before
 *   a pointer   struct index_postings_block
 *
 * A block's ids are written before its count (release), and a longer block is published by one
 * store of the word; the old one is retired. So a reader that loaded the word once has a prefix of
 * the list.
 *
 * Threads: reserve and append: the writer. View: any reader under an epoch guard. Set operations:
 * pure.
 */
#ifndef INDEX_POSTINGS_POSTINGS_H
#define INDEX_POSTINGS_POSTINGS_H

#include "index/postings/pages.h"

#define INDEX_POSTINGS_INLINE_MAX 4

struct index_postings {
    _Atomic(uint64_t) word;
};
struct index_postings_view {
    const uint32_t *ids;
    uint32_t count;
};

/* Make sure that appending `id` cannot fail. Returns OK or NOMEM (the list is then as before). */
enum tsdb_status index_postings_reserve(struct index_postings *p, struct index_owner *owner,
                                        uint32_t id) TSDB_WUR;
/* Append `id`, larger than all before, after a reserve for it. */
void index_postings_append(struct index_postings *p, uint32_t id);
/* Ask the caches for what reserve will read. */
void index_postings_prefetch(const struct index_postings *p);
/* Free the block, if there is one. No reader may exist. */
void index_postings_deinit(struct index_postings *p, struct index_owner *owner);

/* The ids below `bound`. Inline ids are unpacked into scratch[INDEX_POSTINGS_INLINE_MAX], to which
 * the view then points. */
struct index_postings_view index_postings_get(const struct index_postings *p, uint32_t bound,
                                              uint32_t *scratch);
/* Has the list an id below `bound`? */
bool index_postings_any(const struct index_postings *p, uint32_t bound);

/* ---- rising arrays of ids ---- */
/* The first position >= from with ids[position] >= id, or count: by galloping, so that steps of a
 * merge cost the logarithm of the distance. */
uint32_t index_ids_seek(const uint32_t *ids, uint32_t count, uint32_t from, uint32_t id);
/* Ids that are in both / in a but not in b; return how many. out has room for min(a, b) / for a;
 * out may be a's ids. */
uint32_t index_ids_intersect(struct index_postings_view a, struct index_postings_view b,
                             uint32_t *out);
uint32_t index_ids_subtract(struct index_postings_view a, struct index_postings_view b,
                            uint32_t *out);

/* ---- a bit per id: the union of many lists ---- */
static inline size_t index_bits_words(uint32_t id_count)
{
    return ((size_t)id_count + 63) / 64;
}
static inline bool index_bits_test(const uint64_t *bits, uint32_t id)
{
    return bits[id >> 6] >> (id & 63) & 1;
}
/* All ids must be below the id count that `bits` was sized for. */
void index_bits_add(uint64_t *bits, struct index_postings_view v);
/* The ids below id_count whose bit is `value`, rising; out has room for all of them. */
uint32_t index_bits_extract(const uint64_t *bits, uint32_t id_count, bool value, uint32_t *out);
/* Keep the ids whose bit is `value`, in place; returns how many stay. */
uint32_t index_bits_filter(const uint64_t *bits, bool value, uint32_t *ids, uint32_t count);

#endif
