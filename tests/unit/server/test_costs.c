#include "tests/support/test.h"

#include "server/parts/costs.h"

#define MS INT64_C(1000000)

static struct costs costs;

static int setup(void **state)
{
    (void)state;
    costs_init(&costs);
    return 0;
}

static void costs_kind__nothing_noted__goes_by_the_guess(void **state)
{
    (void)state;
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_UNKNOWN);
    assert_int_equal(costs_kind(&costs, 0, COSTS_HEAVY_NS - 1), WORK_UNKNOWN);
    assert_int_equal(costs_kind(&costs, 7, COSTS_HEAVY_NS), WORK_HEAVY);
}

static void costs_note__what_it_took__counts_more_than_the_guess(void **state)
{
    (void)state;
    costs_note(&costs, 7, 2 * MS);
    assert_int_equal(costs_kind(&costs, 7, INT64_MAX), WORK_CHEAP);
    costs_note(&costs, 7, COSTS_HEAVY_NS);
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_HEAVY);
    costs_note(&costs, 8, 0);
    costs_note(&costs, 9, -1);
    assert_int_equal(costs_kind(&costs, 8, INT64_MAX), WORK_CHEAP);
    assert_int_equal(costs_kind(&costs, 9, INT64_MAX), WORK_CHEAP);
}

static void costs_note__cheap_for_once__is_forgotten_by_halves(void **state)
{
    (void)state;
    costs_note(&costs, 7, 110 * MS);
    costs_note(&costs, 7, 0); /* cancelled, say */
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_HEAVY);
    costs_note(&costs, 7, 0);
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_CHEAP);
    costs_note(&costs, 7, INT64_MAX); /* more than a slot holds: no longer than some turns either */
    uint32_t turns = 0;
    for (; costs_kind(&costs, 7, 0) == WORK_HEAVY && turns < 100; turns++) {
        costs_note(&costs, 7, 0);
    }
    assert_in_range(turns, 2, 10);
}

/* A dashboard's panel, most of which is kept: the day when nothing is, it is as heavy as it was. */
static void costs_note_part__cheap__says_nothing_of_the_whole(void **state)
{
    (void)state;
    costs_note_part(&costs, 7, MS);
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_UNKNOWN);
    costs_note_part(&costs, 7, COSTS_HEAVY_NS);
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_HEAVY);
    for (uint32_t i = 0; i < 100; i++) {
        costs_note_part(&costs, 7, MS);
    }
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_HEAVY);
    costs_note(&costs, 8, MS);
    costs_note_part(&costs, 8, 900 * MS);
    assert_int_equal(costs_kind(&costs, 8, 0), WORK_HEAVY);
}

static void costs_note_bytes__what_it_held__rounded_up_and_apart_from_time(void **state)
{
    (void)state;
    assert_int_equal(costs_bytes(&costs, 7), 0);
    costs_note_bytes(&costs, 7, 100 * COSTS_BYTES_UNIT - 1);
    assert_int_equal(costs_bytes(&costs, 7), 100 * COSTS_BYTES_UNIT);
    assert_int_equal(costs_kind(&costs, 7, 0), WORK_UNKNOWN);
    costs_note_bytes(&costs, 8, 0);
    assert_int_equal(costs_bytes(&costs, 8), COSTS_BYTES_UNIT);
    costs_note_bytes(&costs, 9, UINT64_MAX);
    assert_in_range(costs_bytes(&costs, 9), UINT64_C(8) << 30 >> 1, UINT64_C(8) << 30);
}

static void costs_note__same_slot__the_other_is_unknown_again(void **state)
{
    (void)state;
    const uint64_t a = UINT64_C(5) << 40 | 9;
    const uint64_t b = UINT64_C(6) << 40 | 9;
    costs_note(&costs, a, 900 * MS);
    assert_int_equal(costs_kind(&costs, b, 0), WORK_UNKNOWN);
    costs_note(&costs, b, MS);
    assert_int_equal(costs_kind(&costs, b, 0), WORK_CHEAP);
    assert_int_equal(costs_kind(&costs, a, 0), WORK_UNKNOWN);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(costs_kind__nothing_noted__goes_by_the_guess, setup),
    cmocka_unit_test_setup(costs_note__what_it_took__counts_more_than_the_guess, setup),
    cmocka_unit_test_setup(costs_note__cheap_for_once__is_forgotten_by_halves, setup),
    cmocka_unit_test_setup(costs_note_part__cheap__says_nothing_of_the_whole, setup),
    cmocka_unit_test_setup(costs_note_bytes__what_it_held__rounded_up_and_apart_from_time, setup),
    cmocka_unit_test_setup(costs_note__same_slot__the_other_is_unknown_again, setup),
};

TEST_MAIN(tests)
