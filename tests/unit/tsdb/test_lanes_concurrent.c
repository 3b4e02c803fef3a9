/* Windows of items of partitions: each partition's in order and by one at a time, nothing twice, nothing left out. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "base/mutex.h"
#include "base/random.h"
#include "tsdb/recovery/recovery_private.h"

#define ROUNDS 400u

struct rig {
    struct recovery_lanes *lanes;
    uint32_t window_count;
    uint64_t given[RECOVERY_LANE_WINDOWS_MAX]; /* partitions of what is in the window */
    uint32_t round[RECOVERY_LANE_WINDOWS_MAX]; /* which one that is */
    struct { /* plain: that one at a time has it is the lanes' promise */
        uint32_t applied, expected, last_round, wrong;
    } partitions[TSDB_PARTITIONS];
};

static void apply(void *arg, uint32_t window, uint32_t partition)
{
    struct rig *r = arg;
    r->partitions[partition].wrong += (r->given[window] >> partition & 1) == 0 ||
                                      r->round[window] < r->partitions[partition].last_round;
    r->partitions[partition].last_round = r->round[window] + 1;
    r->partitions[partition].applied++;
}

static void *helper(void *arg)
{
    struct rig *r = arg;
    recovery_lanes_work(r->lanes);
    return NULL;
}

static void give(struct rig *r, uint32_t round, uint64_t partitions)
{
    uint32_t window = round % r->window_count;
    recovery_lanes_wait(r->lanes, window);
    r->given[window] = partitions;
    r->round[window] = round;
    for (uint64_t left = partitions; left != 0; left &= left - 1) {
        r->partitions[__builtin_ctzll(left)].expected++;
    }
    recovery_lanes_put(r->lanes, window, partitions);
}

/* Few partitions a window, neighbours mostly, as in a file that has one after the other; or all. */
static uint64_t some_partitions(struct tsdb_prng *prng)
{
    uint64_t kind = tsdb_prng_below(prng, 4);
    uint64_t two = UINT64_C(3) << tsdb_prng_below(prng, TSDB_PARTITIONS - 1);
    return kind == 0 ? UINT64_MAX : kind == 1 ? tsdb_prng_next(prng) : two;
}

static void run(uint32_t window_count, uint32_t helper_count)
{
    struct rig *r = test_calloc(1, sizeof *r);
    struct tsdb_prng prng;
    pthread_t helpers[4];
    tsdb_prng_init(&prng, window_count * 8 + helper_count);
    r->window_count = window_count;
    assert_ok(recovery_lanes_create(window_count, apply, r, &r->lanes, NULL));
    for (uint32_t i = 0; i < helper_count; i++) {
        assert_ok(tsdb_thread_start(&helpers[i], "lanes", helper, r, NULL));
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        give(r, round, some_partitions(&prng));
    }
    for (uint32_t i = 0; i < window_count; i++) {
        recovery_lanes_wait(r->lanes, i);
    }
    recovery_lanes_close(r->lanes);
    for (uint32_t i = 0; i < helper_count; i++) {
        pthread_join(helpers[i], NULL);
    }
    recovery_lanes_destroy(r->lanes);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        assert_int_equal(r->partitions[i].wrong, 0);
        assert_int_equal(r->partitions[i].applied, r->partitions[i].expected);
        assert_true(r->partitions[i].expected > ROUNDS / 8);
    }
    test_free(r);
}

static void recovery_lanes_put__alone__the_giver_applies_all_in_order(void **state)
{
    (void)state;
    run(1, 0);
    run(4, 0);
}

static void recovery_lanes_put__helpers__each_partition_in_order_by_one(void **state)
{
    (void)state;
    run(1, 3);
    run(4, 3);
    run(RECOVERY_LANE_WINDOWS_MAX, 4);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(recovery_lanes_put__alone__the_giver_applies_all_in_order),
    cmocka_unit_test(recovery_lanes_put__helpers__each_partition_in_order_by_one),
};

TEST_MAIN(tests)
