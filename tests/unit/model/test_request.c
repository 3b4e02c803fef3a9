/* The request context, and the names that go to people: durability, metric types, matchers. */
#include "tests/support/test.h"

#include "base/compiler.h"
#include "model/matcher.h"
#include "model/metadata.h"
#include "model/request.h"

static void request_check__deadline_and_cancel__timeout_and_cancelled(void **state)
{
    (void)state;
    struct tsdb_clock_sim sim = {.wall_ms = 1000, .mono_ns = 5};
    struct tsdb_clock clock = tsdb_clock_sim_table(&sim);
    struct tsdb_request r;
    tsdb_request_init(&r, &clock, TSDB_SCOPE_READ | TSDB_SCOPE_WRITE);
    assert_int_equal(r.scopes, TSDB_SCOPE_READ | TSDB_SCOPE_WRITE);
    assert_int_equal(r.durability, TSDB_DURABILITY_MEMORY);
    assert_ok(tsdb_account_charge(&r.account, UINT32_MAX));
    tsdb_account_release(&r.account, UINT32_MAX);
    tsdb_clock_sim_advance(&sim, 1000000);
    assert_ok(tsdb_request_check(&r)); /* no deadline */
    r.deadline_ns = sim.mono_ns + 1000000;
    assert_ok(tsdb_request_check(&r));
    tsdb_clock_sim_advance(&sim, 1);
    assert_int_equal(tsdb_request_check(&r), TSDB_TIMEOUT);
    tsdb_request_cancel(&r);
    assert_int_equal(tsdb_request_check(&r), TSDB_CANCELLED);
}

static void durability__names__parse_back_and_nothing_else(void **state)
{
    (void)state;
    const char *names[] = {"memory", "buffered", "strict"};
    for (unsigned i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        enum tsdb_durability d = (enum tsdb_durability)i;
        assert_string_equal(tsdb_durability_name(d), names[i]);
        enum tsdb_durability got = TSDB_DURABILITY_MEMORY;
        assert_true(tsdb_durability_parse(names[i], strlen(names[i]), &got));
        assert_int_equal(got, d);
    }
    const char *bad[] = {"", "Strict", "stric", "strictt", "fsync"};
    for (unsigned i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        enum tsdb_durability got = TSDB_DURABILITY_BUFFERED;
        assert_false(tsdb_durability_parse(bad[i], strlen(bad[i]), &got));
        assert_int_equal(got, TSDB_DURABILITY_BUFFERED);
    }
}

static void metric_type_name__every_type_and_strays__as_the_api_prints(void **state)
{
    (void)state;
    const char *names[] = {"unknown",        "counter", "gauge", "histogram",
                           "gaugehistogram", "summary", "info",  "stateset"};
    assert_int_equal(TSDB_ARRAY_LEN(names), TSDB_METRIC_TYPE_COUNT);
    for (unsigned i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        assert_string_equal(tsdb_metric_type_name((enum tsdb_metric_type)i), names[i]);
    }
    assert_string_equal(tsdb_metric_type_name(TSDB_METRIC_TYPE_COUNT), "unknown");
}

static void match_op_text__every_operator__as_in_promql(void **state)
{
    (void)state;
    assert_string_equal(tsdb_match_op_text(TSDB_MATCH_EQ), "=");
    assert_string_equal(tsdb_match_op_text(TSDB_MATCH_NE), "!=");
    assert_string_equal(tsdb_match_op_text(TSDB_MATCH_RE), "=~");
    assert_string_equal(tsdb_match_op_text(TSDB_MATCH_NRE), "!~");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(request_check__deadline_and_cancel__timeout_and_cancelled),
    cmocka_unit_test(durability__names__parse_back_and_nothing_else),
    cmocka_unit_test(metric_type_name__every_type_and_strays__as_the_api_prints),
    cmocka_unit_test(match_op_text__every_operator__as_in_promql),
};
TEST_MAIN(tests)
