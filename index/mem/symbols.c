#include "index/mem/symbols.h"

#include "base/assert.h"
#include "base/random.h"

#include <assert.h>

static_assert(sizeof(struct index_symbol) == 8, "a symbol's header is one unit");

enum tsdb_status index_symbols_init(struct index_symbols *sy, struct index_owner *owner)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    memset(sy, 0, sizeof *sy);
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&sy->key, seed);
    index_pages_init(&sy->pages, owner, (uint64_t)INDEX_HANDLE_MAX + 1, false);
    return index_slots_init(&sy->slots, owner);
}

void index_symbols_deinit(struct index_symbols *sy)
{
    index_slots_deinit(&sy->slots);
    index_pages_deinit(&sy->pages);
}

uint32_t index_symbols_find(const struct index_symbols *sy, const char *s, size_t len,
                            uint32_t hash)
{
    struct index_slots_cursor c;
    uint32_t handle;
    index_slots_find(&sy->slots, hash, &c);
    while ((handle = index_slots_next(&c)) != INDEX_NONE) {
        const struct index_symbol *sym = index_symbols_at(sy, handle);
        if (sym->hash == hash && sym->len == len && memcmp(sym->bytes, s, len) == 0) {
            return handle;
        }
    }
    return INDEX_NONE;
}

static enum tsdb_status symbols_grow(struct index_symbols *sy)
{
    struct index_slots_table *table = index_slots_grow_begin(&sy->slots);
    if (!table) {
        return TSDB_NOMEM;
    }
    index_pages_walk_begin(&sy->pages);
    for (uint32_t r = 0; r < sy->pages.region_count; r++) {
        const struct index_region *region = &sy->pages.regions[r];
        /* The very first unit is never given out. */
        for (uint32_t unit = r == 0 ? 1 : 0; unit < region->used;) {
            uint32_t handle = region->first + unit;
            const struct index_symbol *sym = index_symbols_at(sy, handle);
            index_slots_table_put(table, sym->hash, handle);
            unit += (uint32_t)((sizeof *sym + sym->len + 7) >> INDEX_UNIT_SHIFT);
        }
    }
    index_slots_grow_end(&sy->slots, table);
    return TSDB_OK;
}

enum tsdb_status index_symbols_intern(struct index_symbols *sy, const char *s, size_t len,
                                      uint32_t hash, uint32_t *out_symbol)
{
    uint32_t handle = index_symbols_find(sy, s, len, hash);
    if (handle != INDEX_NONE) {
        *out_symbol = handle;
        return TSDB_OK;
    }
    enum tsdb_status status = index_slots_full(&sy->slots) ? symbols_grow(sy) : TSDB_OK;
    if (status != TSDB_OK) {
        return status;
    }
    void *piece;
    status = index_pages_alloc(&sy->pages, sizeof(struct index_symbol) + len, &piece, &handle);
    if (status != TSDB_OK) {
        return status;
    }
    struct index_symbol *sym = piece;
    sym->hash = hash;
    sym->len = (uint32_t)len;
    memcpy(sym->bytes, s, len);
    index_slots_put(&sy->slots, hash, handle);
    index_counter_add(&sy->count, 1);
    *out_symbol = handle;
    return TSDB_OK;
}
