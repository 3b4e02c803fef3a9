/* protobuf-c's allocator over an arena: what it unpacks is freed with the arena, whole. */
#ifndef INGEST_ARENA_ALLOCATOR_H
#define INGEST_ARENA_ALLOCATOR_H

#include "base/arena.h"

struct arena_allocator {
    struct tsdb_arena *arena;
    bool failed;
};

static inline void *arena_allocator_alloc(void *ctx, size_t bytes)
{
    struct arena_allocator *a = ctx;
    /* Nothing is asked for after a failure, so that arena->failure keeps saying why. */
    void *p = a->failed ? NULL : tsdb_arena_alloc(a->arena, bytes > 0 ? bytes : 1, 16);
    a->failed |= !p;
    return p;
}

static inline void arena_allocator_free(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

#endif
