/* What tests of the language and of JSON work with: an arena for trees, a buffer for text. Every
 * test gets its own. */
#ifndef TESTS_UNIT_QUERY_RIG_H
#define TESTS_UNIT_QUERY_RIG_H

#include "tests/support/test.h"

#include "base/arena.h"
#include "base/bytes.h"

#include <stdlib.h>

struct rig {
    struct tsdb_arena arena;
    struct tsdb_buf out;
};

static inline int rig_setup(void **state)
{
    struct rig *r = malloc(sizeof *r);
    assert_non_null(r);
    tsdb_arena_init(&r->arena, TSDB_MEM_QUERY, 4096, NULL);
    tsdb_buf_init(&r->out, TSDB_MEM_QUERY, 0);
    *state = r;
    return 0;
}

static inline int rig_teardown(void **state)
{
    struct rig *r = *state;
    tsdb_buf_deinit(&r->out);
    tsdb_arena_deinit(&r->arena);
    free(r);
    return 0;
}
#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

/* What was put into r->out since the last time; valid until the next put. */
static inline const char *rig_text(struct rig *r)
{
    tsdb_buf_put_u8(&r->out, 0);
    assert_false(r->out.failed);
    tsdb_buf_clear(&r->out);
    return (const char *)r->out.data;
}

#endif
