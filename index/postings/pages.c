#include "index/postings/pages.h"

#include "base/assert.h"

#include <string.h>

#define PAGE_BYTES     ((size_t)1 << INDEX_PAGE_SHIFT)
#define UNITS_PER_PAGE (1u << (INDEX_PAGE_SHIFT - INDEX_UNIT_SHIFT))
/* Of the growth step; a larger piece still gets its region. */
#define REGION_BYTES_MAX ((size_t)1 << 20)

void index_pages_init(struct index_pages *p, struct index_owner *owner, uint64_t units_max,
                      bool dense)
{
    TSDB_ASSERT(units_max <= (uint64_t)UINT32_MAX + 1);
    memset(p, 0, sizeof *p);
    p->owner = owner;
    p->units_max = units_max;
    p->dense = dense;
}

void index_pages_deinit(struct index_pages *p)
{
    for (uint32_t i = 0; i < p->region_count; i++) {
        tsdb_mem_free(TSDB_MEM_INDEX, p->regions[i].base, p->regions[i].pages * PAGE_BYTES);
    }
    tsdb_mem_free(TSDB_MEM_INDEX, p->regions, p->region_cap * sizeof *p->regions);
    uint8_t **dir = atomic_load_explicit(&p->dir, memory_order_relaxed);
    tsdb_mem_free(TSDB_MEM_INDEX, dir, p->dir_cap * sizeof *dir);
    memset(p, 0, sizeof *p);
}

/* Publish a longer copy of the directory; readers of the old one hold a guard, so it is retired,
 * not freed. */
static enum tsdb_status dir_reserve(struct index_pages *p, uint32_t page_count)
{
    if (page_count <= p->dir_cap) {
        return TSDB_OK;
    }
    uint32_t cap = TSDB_MAX(TSDB_MAX(page_count, p->dir_cap * 2), 4u);
    uint8_t **old = atomic_load_explicit(&p->dir, memory_order_relaxed);
    uint8_t **dir = tsdb_mem_alloc(TSDB_MEM_INDEX, cap * sizeof *dir);
    if (!dir) {
        return TSDB_NOMEM;
    }
    if (p->page_count > 0) {
        memcpy(dir, old, p->page_count * sizeof *dir);
    }
    atomic_store_explicit(&p->dir, dir, memory_order_release);
    tsdb_epoch_retire(p->owner->epoch, p->owner->limbo, TSDB_MEM_INDEX, old,
                      p->dir_cap * sizeof *dir);
    index_counter_add(&p->bytes, (cap - p->dir_cap) * sizeof *dir);
    p->dir_cap = cap;
    return TSDB_OK;
}

static enum tsdb_status regions_reserve(struct index_pages *p)
{
    if (p->region_count < p->region_cap) {
        return TSDB_OK;
    }
    uint32_t cap = p->region_cap ? p->region_cap * 2 : 2;
    struct index_region *regions = tsdb_mem_realloc(
        TSDB_MEM_INDEX, p->regions, p->region_cap * sizeof *regions, cap * sizeof *regions);
    if (!regions) {
        return TSDB_NOMEM;
    }
    p->regions = regions;
    p->region_cap = cap;
    return TSDB_OK;
}

static enum tsdb_status region_add(struct index_pages *p, size_t bytes_min)
{
    size_t step = ((size_t)p->page_count << INDEX_PAGE_SHIFT) / 8;
    size_t wanted = TSDB_MAX(TSDB_MIN(step, REGION_BYTES_MAX), bytes_min);
    uint64_t pages_min = (bytes_min + PAGE_BYTES - 1) >> INDEX_PAGE_SHIFT;
    uint64_t pages_left = p->units_max / UNITS_PER_PAGE - p->page_count;
    if (pages_min > pages_left) {
        return TSDB_LIMIT;
    }
    uint32_t pages = (uint32_t)TSDB_MIN((wanted + PAGE_BYTES - 1) >> INDEX_PAGE_SHIFT, pages_left);
    size_t bytes = (size_t)pages << INDEX_PAGE_SHIFT;
    if (dir_reserve(p, p->page_count + pages) != TSDB_OK || regions_reserve(p) != TSDB_OK) {
        return TSDB_NOMEM;
    }
    uint8_t *base = tsdb_mem_alloc(TSDB_MEM_INDEX, bytes);
    if (!base) {
        return TSDB_NOMEM;
    }
    index_pages_walk_begin(p); /* closes the region that is left */
    uint8_t **dir = atomic_load_explicit(&p->dir, memory_order_relaxed);
    for (uint32_t i = 0; i < pages; i++) {
        dir[p->page_count + i] = base + ((size_t)i << INDEX_PAGE_SHIFT);
    }
    uint32_t first = p->page_count * UNITS_PER_PAGE;
    p->regions[p->region_count++] =
        (struct index_region){.base = base, .first = first, .pages = pages};
    p->page_count += pages;
    p->next = first;
    p->limit = first + pages * UNITS_PER_PAGE;
    index_counter_add(&p->bytes, bytes);
    return TSDB_OK;
}

enum tsdb_status index_pages_alloc(struct index_pages *p, size_t bytes, void **out_piece,
                                   uint32_t *out_handle)
{
    TSDB_ASSERT(bytes > 0 && bytes < ((size_t)1 << 30));
    uint32_t units = (uint32_t)((bytes + (1u << INDEX_UNIT_SHIFT) - 1) >> INDEX_UNIT_SHIFT);
    bool burn = p->page_count == 0 && !p->dense; /* handle 0 means "none" */
    if (p->limit - p->next < units) {
        enum tsdb_status status = region_add(p, (size_t)(units + burn) << INDEX_UNIT_SHIFT);
        if (status != TSDB_OK) {
            return status;
        }
        p->next += burn;
    }
    uint32_t handle = p->next;
    p->next += units;
    *out_piece = index_pages_at(p, handle);
    *out_handle = handle;
    return TSDB_OK;
}

void index_pages_trim(struct index_pages *p, uint32_t handle)
{
    TSDB_ASSERT(handle <= p->next);
    TSDB_ASSERT(p->region_count > 0 && handle >= p->regions[p->region_count - 1].first);
    p->next = handle;
}

void index_pages_walk_begin(struct index_pages *p)
{
    if (p->region_count > 0) {
        struct index_region *newest = &p->regions[p->region_count - 1];
        newest->used = p->next - newest->first;
    }
}
