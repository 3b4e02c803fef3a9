/* Memory with a hole on both sides: a parser that reads one byte too far, or too early, dies at
 * once. */
#ifndef TESTS_SUPPORT_GUARD_H
#define TESTS_SUPPORT_GUARD_H

#include <stddef.h>
#include <stdint.h>

struct test_guard {
    uint8_t *map; /* hole, `bytes` of memory, hole */
    size_t bytes;
};

/* Room for at least `bytes`; aborts when the system has none. */
void test_guard_init(struct test_guard *g, size_t bytes);
void test_guard_deinit(struct test_guard *g);
/* A copy of data[len] that ends where the hole begins. */
uint8_t *test_guard_at_end(struct test_guard *g, const void *data, size_t len);
/* A copy of data[len] that begins where the hole ends. */
uint8_t *test_guard_at_begin(struct test_guard *g, const void *data, size_t len);

#endif
