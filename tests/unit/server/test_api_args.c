#include "tests/support/test.h"

#include "server/api/args.h"

static struct tsdb_slice text(const char *s)
{
    return (struct tsdb_slice){(const uint8_t *)s, strlen(s)};
}

static void api_time_parse__known_answers(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        int64_t want_ms;
    } cases[] = {
        {"0", 0},
        {"1.5", 1500},
        {"-1.5", -1500},
        {"1784144612.388", 1784144612388},
        {"1784144612.3881", 1784144612388},
        {"1784144612.3889", 1784144612389},
        {"1.7e9", 1700000000000},
        {"1700000000000", 1700000000000000}, /* Grafana sends milliseconds once */
        {"0.0004", 0},
        {"2015-07-01T20:10:51.781Z", 1435781451781},
        {"2015-07-01T20:10:51.781+01:00", 1435777851781},
        {"2015-07-01T20:10:51Z", 1435781451000},
        {"1e300", API_TIME_MAX_MS},
        {"-1e300", API_TIME_MIN_MS},
        {"+Inf", API_TIME_MAX_MS},
        {"-Inf", API_TIME_MIN_MS},
        {"nan", API_TIME_MIN_MS},
        {"1_000", 1000000},
        {"0x1p4", 16000},
        {"2015-07-01T20:10:51,5Z", 1435781451500},
        {"-292273086-05-16T16:47:06Z", API_TIME_MIN_MS},
        {"292277025-08-18T07:12:54.999999999Z", API_TIME_MAX_MS},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        int64_t ms = 42;
        assert_true(api_time_parse(text(cases[i].input), &ms));
        assert_int_equal(ms, cases[i].want_ms);
    }
}

static void api_time_parse__nonsense__is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "now",
                                      "1h",
                                      "12:00",
                                      "2015-07-01",
                                      "+NaN",
                                      "0x10",
                                      "1__0",
                                      " 1",
                                      "1 ",
                                      "1_",
                                      "+292277025-08-18T07:12:54.999999999Z",
                                      "2015-07-01T20:10:51"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        int64_t ms = 42;
        assert_false(api_time_parse(text(bad[i]), &ms));
        assert_int_equal(ms, 42);
    }
}

static void api_duration_parse__known_answers(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        int rc;
        int64_t want_ms;
    } cases[] = {
        {"15", 1, 15000},
        {"0.5", 1, 500},
        {"1h30m", 1, 5400000},
        {"1y", 1, 31536000000},
        {"0", 1, 0},
        {"-3", 1, -3000},
        {"15s", 1, 15000},
        {"250ms", 1, 250},
        {"1e9", 1, 1000000000000},
        {"1e10", -1, 7},
        {"1e300", -1, 7},
        {"Inf", -1, 7},
        {"", 0, 7},
        {"m", 0, 7},
        {"1_0", 1, 10000},
        {"0x1p4", 1, 16000},
        {"0x10", 0, 7},
        {"0.0004", 1, 0},
        {"1.5s", 0, 7},
        {"+1s", 0, 7},
        {"-1s", 0, 7},
        {"0s", 1, 0},
        {"00s", 1, 0},
        {"1M", 0, 7},
        {"1us", 0, 7},
        {"1h1h", 0, 7},
        {"293y", 0, 7},
        /* Go's int64 of nanoseconds: the last that fits, what wraps around, too much */
        {"9223372036", 1, 9223372036000},
        {"9223372036.854775807", 1, -9223372036854},
        {"NaN", 1, -9223372036854},
        {"9223372037", -1, 7},
        {"1m1h", 0, 7},
        {"1h ", 0, 7},
        {"15x", 0, 7},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        int64_t ms = 7;
        assert_int_equal(api_duration_parse(text(cases[i].input), &ms), cases[i].rc);
        assert_int_equal(ms, cases[i].want_ms);
    }
}

static void api_quote__controls_and_long_texts__stay_printable(void **state)
{
    (void)state;
    char out[256];
    api_quote(text("a\"b\\c\n\t\x01"), out, sizeof out);
    assert_string_equal(out, "\"a\\\"b\\\\c\\n\\t\\x01\"");
    api_quote((struct tsdb_slice){NULL, 0}, out, sizeof out);
    assert_string_equal(out, "\"\"");
    char many[1000];
    memset(many, 1, sizeof many);
    api_quote((struct tsdb_slice){(const uint8_t *)many, sizeof many}, out, sizeof out);
    assert_true(strlen(out) < sizeof out);
    assert_string_equal(out + strlen(out) - 4, "...\"");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(api_time_parse__known_answers),
    cmocka_unit_test(api_time_parse__nonsense__is_refused),
    cmocka_unit_test(api_duration_parse__known_answers),
    cmocka_unit_test(api_quote__controls_and_long_texts__stay_printable),
};

TEST_MAIN(tests)
