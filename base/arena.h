/* A bump allocator freed whole: what a request or a query allocates from.
 *
 * Chunks grow geometrically up to a cap; reset keeps the first chunk so that a pooled request
 * allocates nothing in steady state. Optionally charged to an account.
 *
 * Threads: owned by one at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/alloc.h"

#include <stdbool.h>

struct tsdb_arena_chunk;
struct tsdb_arena {
    struct tsdb_arena_chunk *chunks; /* newest first */
    uint8_t *pos;
    uint8_t *end;
    size_t total_bytes;
    size_t first_bytes;
    enum tsdb_mem_category category;
    struct tsdb_account *account; /* may be NULL */
    enum tsdb_status failure;     /* of the last NULL: TSDB_NOMEM or TSDB_LIMIT; or TSDB_OK */
};

/* first_bytes: size of the chunk that reset keeps; allocated on first use. Cannot fail. */
void tsdb_arena_init(struct tsdb_arena *a, enum tsdb_mem_category category, size_t first_bytes,
                     struct tsdb_account *account);
void tsdb_arena_deinit(struct tsdb_arena *a);
void tsdb_arena_reset(struct tsdb_arena *a);
/* Aligned to `align` (power of two <= 64). NULL on exhaustion; a->failure then says why. */
void *tsdb_arena_alloc_slow(struct tsdb_arena *a, size_t bytes, size_t align);
static inline void *tsdb_arena_alloc(struct tsdb_arena *a, size_t bytes, size_t align)
{
    uintptr_t p = ((uintptr_t)a->pos + (align - 1)) & ~(uintptr_t)(align - 1);
    if (TSDB_LIKELY(a->pos && p <= (uintptr_t)a->end && bytes <= (uintptr_t)a->end - p)) {
        a->pos = (uint8_t *)p + bytes;
        return (void *)p;
    }
    return tsdb_arena_alloc_slow(a, bytes, align);
}
/* count * bytes_each with the multiplication checked. */
void *tsdb_arena_alloc_array(struct tsdb_arena *a, size_t count, size_t bytes_each, size_t align);
/* Of what it took, without what is left of the newest chunk. */
static inline size_t tsdb_arena_used(const struct tsdb_arena *a)
{
    return a->total_bytes - (size_t)(a->end - a->pos);
}
/* Why an allocation just returned NULL. */
static inline enum tsdb_status tsdb_arena_status(const struct tsdb_arena *a)
{
    return a->failure != TSDB_OK ? a->failure : TSDB_NOMEM;
}
/* NUL-terminated copy. */
char *tsdb_arena_strndup(struct tsdb_arena *a, const char *s, size_t len);
#define TSDB_ARENA_NEW(a, type) ((type *)tsdb_arena_alloc((a), sizeof(type), _Alignof(type)))
#define TSDB_ARENA_ARRAY(a, type, count)                                                           \
    ((type *)tsdb_arena_alloc_array((a), (count), sizeof(type), _Alignof(type)))

#endif
