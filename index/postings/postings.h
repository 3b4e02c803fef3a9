/* Postings: the rising local series ids of one (label name, value), and operations on such lists.
 *
 * Series of a target come together, so that their ids are runs. A list is the run that grows, in the
 * list itself, and those before it in a chain of blocks, which most lists do not have:
 *
 *   open = first id (26 bits) | length << 26            0: no ids
 *   first ──► block ──► block ──► tail                   blocks of 24 to 256 bytes
 *
 *   block = next | first id | end | used | bytes | runs  handles of index_pages
 *   run   = one to four 16-bit words; gap: the ids left out before it
 *             gap << 1                                        one id
 *             gap << 2 | 1,  length                           gap below 2^14, length below 2^16
 *             gap << 2 & 0xffff | 3,  gap >> 14,  length (2 words)
 *           of a block's first run the gap is 0.
 *
 * Numbers of 7 bits a byte were half as long where gaps are small, and took three times as long to read where
 * gaps of one and two bytes are mixed.
 *
 * A run is written into its block, then `used` says so, then the next run becomes the open one. A
 * reader loads the open run first: all runs before it are in blocks then, and what it finds there
 * from that run on has come since.
 *
 * Threads: reserve and append: the writer. What reads: any thread under an epoch guard, and the
 * writer; it sees every id below a bound that was published after they were appended. Set operations:
 * pure.
 */
#ifndef INDEX_POSTINGS_POSTINGS_H
#define INDEX_POSTINGS_POSTINGS_H

#include "index/postings/pages.h"

struct index_postings {
    _Atomic(uint64_t) open;
    _Atomic(uint32_t) total; /* ids, stored behind `open` */
    _Atomic(uint32_t) first; /* block; 0: none */
    _Atomic(uint32_t) tail;
    uint32_t of; /* the caller's, in what would be padding */
};
struct index_postings_view {
    const uint32_t *ids;
    uint32_t count;
};
struct index_postings_block;

/* Make sure that appending `id` cannot fail. Returns OK; NOMEM, LIMIT (the list is then as before).
 * blocks: where all blocks of the list are; they end with it. */
enum tsdb_status index_postings_reserve(struct index_postings *p, struct index_pages *blocks,
                                        uint32_t id) TSDB_WUR;
/* Append `id`, larger than all before, after a reserve for it. */
void index_postings_append(struct index_postings *p, const struct index_pages *blocks, uint32_t id);

/* Ask the caches for where the next run goes. */
void index_postings_prefetch(const struct index_postings *p, const struct index_pages *blocks);

/* How many ids are below `bound`; are there any? */
uint32_t index_postings_count(const struct index_postings *p, const struct index_pages *blocks,
                              uint32_t bound);
bool index_postings_any(const struct index_postings *p, const struct index_pages *blocks,
                        uint32_t bound);
/* The ids below `bound` into ids[index_postings_count]. Returns how many. */
uint32_t index_postings_copy(const struct index_postings *p, const struct index_pages *blocks,
                             uint32_t bound, uint32_t *ids);
/* Set their bits; bits has room for ids below `bound`. */
void index_postings_mark(const struct index_postings *p, const struct index_pages *blocks,
                         uint32_t bound, uint64_t *bits);
/* Of rising ids[count], all below `bound`, keep those that are in the list, or those that are not, in
 * place. Returns how many stay. */
uint32_t index_postings_filter(const struct index_postings *p, const struct index_pages *blocks,
                               uint32_t bound, bool keep, uint32_t *ids, uint32_t count);

/* ---- runs of a list, rising ---- */
struct index_runs {
    const struct index_pages *blocks;
    const struct index_postings_block *block; /* NULL: only the open run is left */
    const uint16_t *pos, *used;
    uint64_t open; /* 0: nothing is left */
    uint32_t end;  /* last id of the run before */
    uint32_t bound;
};
struct index_run {
    uint32_t first, count;
};
/* Of the ids below `bound`. */
void index_runs_begin(struct index_runs *r, const struct index_postings *p,
                      const struct index_pages *blocks, uint32_t bound);
/* The same, but of runs in blocks only those of the newest block. */
void index_runs_begin_newest(struct index_runs *r, const struct index_postings *p,
                             const struct index_pages *blocks, uint32_t bound);
/* False: no more. */
bool index_runs_next(struct index_runs *r, struct index_run *out);
/* Leave out blocks of which all ids are below `id`: the next run may still be one that is. */
void index_runs_skip(struct index_runs *r, uint32_t id);

/* ---- rising arrays of ids ---- */
/* The first position >= from with ids[position] >= id, or count: by galloping, so that steps of a
 * merge cost the logarithm of the distance. */
uint32_t index_ids_seek(const uint32_t *ids, uint32_t count, uint32_t from, uint32_t id);
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
