#include "base/arena.h"

#include "base/assert.h"

#include <string.h>

/* Chunks double up to this: large enough that a big query takes few chunks, small enough that the
 * unused end of the last one does not matter beside the memory limit of a query. */
#define CHUNK_BYTES_MAX ((size_t)1 << 20)
#define CHUNK_BYTES_MIN ((size_t)256)

/* The data follows the header at offset 64, so a fresh chunk fits any permitted alignment without
 * slack. */
struct tsdb_arena_chunk {
    struct tsdb_arena_chunk *next;
    size_t bytes; /* header included */
    bool is_first;
    uint8_t pad[64 - sizeof(void *) - sizeof(size_t) - sizeof(bool)];
};
_Static_assert(sizeof(struct tsdb_arena_chunk) == 64, "data of a chunk starts at a cache line");

static uint8_t *chunk_data(struct tsdb_arena_chunk *c)
{
    return (uint8_t *)c + sizeof *c;
}

void tsdb_arena_init(struct tsdb_arena *a, enum tsdb_mem_category category, size_t first_bytes,
                     struct tsdb_account *account)
{
    TSDB_ASSERT(first_bytes <= PTRDIFF_MAX / 2);
    *a = (struct tsdb_arena){
        .first_bytes = first_bytes < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : first_bytes,
        .category = category,
        .account = account,
        .failure = TSDB_OK,
    };
}

static struct tsdb_arena_chunk *chunk_create(struct tsdb_arena *a, size_t bytes)
{
    a->failure = tsdb_account_charge(a->account, bytes);
    if (a->failure != TSDB_OK) {
        return NULL;
    }
    struct tsdb_arena_chunk *c = tsdb_mem_alloc_aligned(a->category, sizeof *c, bytes);
    if (!c) {
        tsdb_account_release(a->account, bytes);
        a->failure = TSDB_NOMEM;
        return NULL;
    }
    c->bytes = bytes;
    c->next = NULL;
    c->is_first = false;
    a->total_bytes += bytes;
    return c;
}

static void chunk_destroy(struct tsdb_arena *a, struct tsdb_arena_chunk *c)
{
    size_t bytes = c->bytes;
    TSDB_ASSERT(a->total_bytes >= bytes);
    a->total_bytes -= bytes;
    tsdb_account_release(a->account, bytes);
    tsdb_mem_free(a->category, c, bytes);
}

void tsdb_arena_deinit(struct tsdb_arena *a)
{
    while (a->chunks) {
        struct tsdb_arena_chunk *next = a->chunks->next;
        chunk_destroy(a, a->chunks);
        a->chunks = next;
    }
    a->pos = NULL;
    a->end = NULL;
}

void tsdb_arena_reset(struct tsdb_arena *a)
{
    struct tsdb_arena_chunk *keep = NULL;
    while (a->chunks) {
        struct tsdb_arena_chunk *c = a->chunks;
        a->chunks = c->next;
        if (c->is_first) {
            TSDB_ASSERT(!keep);
            keep = c;
        } else {
            chunk_destroy(a, c);
        }
    }
    a->chunks = keep;
    a->failure = TSDB_OK;
    a->pos = NULL;
    a->end = NULL;
    if (keep) {
        keep->next = NULL;
        a->pos = chunk_data(keep);
        a->end = (uint8_t *)keep + keep->bytes;
#if defined(TSDB_DEBUG)
        /* Whoever kept a pointer over a reset shall read rubbish at once. */
        memset(a->pos, 0xa5, (size_t)(a->end - a->pos));
#endif
    }
}

/* A request larger than a chunk gets one of its own, behind the current one, whose free end stays
 * in use. */
static void *alloc_dedicated(struct tsdb_arena *a, size_t bytes)
{
    struct tsdb_arena_chunk *c = chunk_create(a, bytes + sizeof *c);
    if (!c) {
        return NULL;
    }
    if (a->chunks) {
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        a->chunks = c;
    }
    return chunk_data(c);
}

void *tsdb_arena_alloc_slow(struct tsdb_arena *a, size_t bytes, size_t align)
{
    TSDB_ASSERT(align > 0);
    TSDB_ASSERT(align <= 64);
    TSDB_ASSERT((align & (align - 1)) == 0);
    if (bytes > PTRDIFF_MAX / 2) {
        a->failure = TSDB_NOMEM;
        return NULL;
    }
    bool has_current = a->pos;
    size_t room = a->first_bytes;
    if (has_current) {
        room = TSDB_MIN(TSDB_MAX(a->total_bytes, a->first_bytes), CHUNK_BYTES_MAX);
    }
    if (bytes > room) {
        return alloc_dedicated(a, bytes);
    }
    struct tsdb_arena_chunk *c = chunk_create(a, room + sizeof *c);
    if (!c) {
        return NULL;
    }
    c->is_first = !has_current;
    c->next = a->chunks;
    a->chunks = c;
    a->pos = chunk_data(c) + bytes;
    a->end = (uint8_t *)c + c->bytes;
    return chunk_data(c);
}

void *tsdb_arena_alloc_array(struct tsdb_arena *a, size_t count, size_t bytes_each, size_t align)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, bytes_each, &bytes)) {
        a->failure = TSDB_NOMEM;
        return NULL;
    }
    return tsdb_arena_alloc(a, bytes, align);
}

char *tsdb_arena_strndup(struct tsdb_arena *a, const char *s, size_t len)
{
    char *copy = len < SIZE_MAX ? tsdb_arena_alloc(a, len + 1, 1) : NULL;
    if (copy) {
        if (len > 0) {
            memcpy(copy, s, len);
        }
        copy[len] = '\0';
    }
    return copy;
}
