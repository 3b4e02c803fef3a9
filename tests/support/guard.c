#include "tests/support/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HOLE_BYTES 4096u

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

void test_guard_init(struct test_guard *g, size_t bytes)
{
    g->bytes = (bytes + HOLE_BYTES) / HOLE_BYTES * HOLE_BYTES;
    void *map = mmap(NULL, g->bytes + 2 * (size_t)HOLE_BYTES, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(map != MAP_FAILED, "mmap");
    g->map = map;
    must(mprotect(g->map + HOLE_BYTES, g->bytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
}

void test_guard_deinit(struct test_guard *g)
{
    munmap(g->map, g->bytes + 2 * (size_t)HOLE_BYTES);
    g->map = NULL;
}

static uint8_t *place(struct test_guard *g, size_t offset, const void *data, size_t len)
{
    must(len <= g->bytes, "test_guard: too long");
    uint8_t *p = g->map + HOLE_BYTES + offset;
    if (len > 0) {
        memcpy(p, data, len);
    }
    return p;
}

uint8_t *test_guard_at_end(struct test_guard *g, const void *data, size_t len)
{
    return place(g, g->bytes - len, data, len);
}

uint8_t *test_guard_at_begin(struct test_guard *g, const void *data, size_t len)
{
    return place(g, 0, data, len);
}
