/* One line a minute for each reason and sender. */
#include "tests/support/test.h"

#include "server/parts/refusals.h"

static void refusals_log__same_reason_and_sender__once_a_minute(void **state)
{
    (void)state;
    static struct refusals r;
    int64_t t = 5;
    assert_true(refusals_log(&r, t, "10.0.0.1", "labels", 1, "why"));
    for (int i = 0; i < 100; i++) {
        assert_false(refusals_log(&r, t + i, "10.0.0.1", "labels", 1, "why"));
    }
    assert_false(refusals_log(&r, t + REFUSALS_INTERVAL_NS - 1, "10.0.0.1", "labels", 1, "why"));
    assert_true(refusals_log(&r, t + REFUSALS_INTERVAL_NS, "10.0.0.1", "labels", 1, "why"));
    assert_false(refusals_log(&r, t + REFUSALS_INTERVAL_NS, "10.0.0.1", "labels", 1, "why"));
}

static void refusals_log__others__have_their_own_line(void **state)
{
    (void)state;
    static struct refusals r;
    assert_true(refusals_log(&r, 0, "10.0.0.1", "labels", 1, "why"));
    assert_true(refusals_log(&r, 0, "10.0.0.1", "histogram", 1, "why"));
    assert_true(refusals_log(&r, 0, "10.0.0.2", "labels", 1, "why"));
    assert_false(refusals_log(&r, 1, "10.0.0.2", "labels", 1, "why"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(refusals_log__same_reason_and_sender__once_a_minute),
    cmocka_unit_test(refusals_log__others__have_their_own_line),
};
TEST_MAIN(tests)
