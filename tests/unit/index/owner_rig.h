/* What a list of the index needs to grow: an owner, its epoch and its limbo. Everything is given back
 * in the end, which is checked. */
#ifndef TESTS_UNIT_INDEX_OWNER_RIG_H
#define TESTS_UNIT_INDEX_OWNER_RIG_H

#include "tests/support/test.h"

#include "base/epoch.h"
#include "index/postings/postings.h"

#include <stdlib.h>

struct owner_rig {
    struct tsdb_epoch *epoch;
    struct tsdb_epoch_limbo limbo;
    struct index_owner owner;
    uint64_t used;
};

static inline int owner_rig_setup(void **state)
{
    struct owner_rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->used = tsdb_mem_used(TSDB_MEM_INDEX);
    assert_ok(tsdb_epoch_create(2, &r->epoch));
    tsdb_epoch_limbo_init(&r->limbo);
    r->owner.epoch = r->epoch;
    r->owner.limbo = &r->limbo;
    *state = r;
    return 0;
}

static inline int owner_rig_teardown(void **state)
{
    struct owner_rig *r = *state;
    tsdb_epoch_limbo_deinit(&r->limbo);
    tsdb_epoch_destroy(r->epoch);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX), r->used);
    free(r);
    return 0;
}

#define OWNER_TEST(name) cmocka_unit_test_setup_teardown(name, owner_rig_setup, owner_rig_teardown)

#endif
