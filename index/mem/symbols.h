/* Symbols: every label name and value of a partition, stored once.
 *
 * A symbol is a 32-bit handle; its bytes never move and are never freed before the index, so that
 * views of labels borrow them. The hash is keyed with random bytes of this process, because senders
 * choose the strings.
 *
 * Threads: one writer; find and at by any reader under an epoch guard (at: with a handle it read
 * from the index).
 */
#ifndef INDEX_MEM_SYMBOLS_H
#define INDEX_MEM_SYMBOLS_H

#include "base/hash.h"
#include "index/mem/slots.h"

#include <string.h>

struct index_symbol {
    uint32_t hash;
    uint32_t len;
    char bytes[]; /* not NUL-terminated */
};
struct index_symbols {
    struct index_pages pages;
    struct index_slots slots;
    struct tsdb_hash_key key; /* immutable after init */
    _Atomic(uint64_t) count;  /* only the writer stores */
};

/* Returns OK or NOMEM; after a failure deinit is still allowed. */
enum tsdb_status index_symbols_init(struct index_symbols *sy, struct index_owner *owner) TSDB_WUR;
void index_symbols_deinit(struct index_symbols *sy);
/* The handle, or INDEX_NONE. hash = index_symbols_hash of the string. */
uint32_t index_symbols_find(const struct index_symbols *sy, const char *s, size_t len,
                            uint32_t hash);
/* Find or add. Returns OK; NOMEM; LIMIT when a partition's symbols fill their 1 GiB. */
enum tsdb_status index_symbols_intern(struct index_symbols *sy, const char *s, size_t len,
                                      uint32_t hash, uint32_t *out_symbol) TSDB_WUR;

static inline uint32_t index_symbols_hash(const struct index_symbols *sy, const char *s, size_t len)
{
    return (uint32_t)tsdb_hash64(&sy->key, s, len);
}
static inline const struct index_symbol *index_symbols_at(const struct index_symbols *sy,
                                                          uint32_t symbol)
{
    return index_pages_at(&sy->pages, symbol);
}
static inline bool index_symbols_equal(const struct index_symbols *sy, uint32_t symbol,
                                       const char *s, size_t len)
{
    const struct index_symbol *sym = index_symbols_at(sy, symbol);
    return sym->len == len && memcmp(sym->bytes, s, len) == 0;
}

#endif
