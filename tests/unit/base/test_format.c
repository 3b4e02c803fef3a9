#include "tests/support/test.h"

#include "base/format.h"
#include "base/random.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

static double parse(const char *s)
{
    double v = -12345;
    if (!tsdb_parse_float(s, strlen(s), &v)) {
        fail_msg("does not parse: %s", s);
    }
    return v;
}

/* ---- floats to text: expectations are what Go's strconv.FormatFloat(v, fmt, -1, 64) prints ----
 */

struct float_case {
    double v;
    const char *json;
    const char *g;
    const char *e;
};
static const struct float_case float_cases[] = {
    {0, "0", "0", "0e+00"},
    {-0.0, "-0", "-0", "-0e+00"},
    {1, "1", "1", "1e+00"},
    {-1, "-1", "-1", "-1e+00"},
    {10, "10", "10", "1e+01"},
    {0.1, "0.1", "0.1", "1e-01"},
    {1.5, "1.5", "1.5", "1.5e+00"},
    {-2.75, "-2.75", "-2.75", "-2.75e+00"},
    {0.3, "0.3", "0.3", "3e-01"},
    {0.1 + 0.2, "0.30000000000000004", "0.30000000000000004", "3.0000000000000004e-01"},
    {1.0 / 3, "0.3333333333333333", "0.3333333333333333", "3.333333333333333e-01"},
    {2.0 / 3, "0.6666666666666666", "0.6666666666666666", "6.666666666666666e-01"},
    {100000, "100000", "100000", "1e+05"},
    {999999, "999999", "999999", "9.99999e+05"},
    {123456.7, "123456.7", "123456.7", "1.234567e+05"},
    {1000000, "1000000", "1e+06", "1e+06"},
    {1234567, "1234567", "1.234567e+06", "1.234567e+06"},
    {123456789, "123456789", "1.23456789e+08", "1.23456789e+08"},
    {1700000000.123, "1700000000.123", "1.700000000123e+09", "1.700000000123e+09"},
    {9007199254740991, "9007199254740991", "9.007199254740991e+15", "9.007199254740991e+15"},
    {9007199254740992, "9007199254740992", "9.007199254740992e+15", "9.007199254740992e+15"},
    {9007199254740994, "9007199254740994", "9.007199254740994e+15", "9.007199254740994e+15"},
    {18446744073709551615.0, "18446744073709552000", "1.8446744073709552e+19",
     "1.8446744073709552e+19"},
    {1e20, "100000000000000000000", "1e+20", "1e+20"},
    {123456789012345680000.0, "123456789012345680000", "1.2345678901234568e+20",
     "1.2345678901234568e+20"},
    {999999999999999900000.0, "999999999999999900000", "9.999999999999999e+20",
     "9.999999999999999e+20"},
    {1e21, "1e+21", "1e+21", "1e+21"},
    {1.5e22, "1.5e+22", "1.5e+22", "1.5e+22"},
    {1e23, "1e+23", "1e+23", "1e+23"},
    {0.001, "0.001", "0.001", "1e-03"},
    {0.0001, "0.0001", "0.0001", "1e-04"},
    {0.00012345, "0.00012345", "0.00012345", "1.2345e-04"},
    {0.00001, "0.00001", "1e-05", "1e-05"},
    {0.000001, "0.000001", "1e-06", "1e-06"},
    {0.0000012, "0.0000012", "1.2e-06", "1.2e-06"},
    {9.999999999999997e-07, "9.999999999999997e-07", "9.999999999999997e-07",
     "9.999999999999997e-07"},
    {1e-7, "1e-07", "1e-07", "1e-07"},
    {-1e-7, "-1e-07", "-1e-07", "-1e-07"},
    {1e-10, "1e-10", "1e-10", "1e-10"},
    {1e100, "1e+100", "1e+100", "1e+100"},
    {1e-100, "1e-100", "1e-100", "1e-100"},
    {DBL_MAX, "1.7976931348623157e+308", "1.7976931348623157e+308", "1.7976931348623157e+308"},
    {-DBL_MAX, "-1.7976931348623157e+308", "-1.7976931348623157e+308", "-1.7976931348623157e+308"},
    {DBL_MIN, "2.2250738585072014e-308", "2.2250738585072014e-308", "2.2250738585072014e-308"},
    {0x0.fffffffffffffp-1022, "2.225073858507201e-308", "2.225073858507201e-308",
     "2.225073858507201e-308"},
    {5e-324, "5e-324", "5e-324", "5e-324"},
    {1e-323, "1e-323", "1e-323", "1e-323"},
    {0x1p-44, "5.684341886080802e-14", "5.684341886080802e-14", "5.684341886080802e-14"},
    {DBL_EPSILON, "2.220446049250313e-16", "2.220446049250313e-16", "2.220446049250313e-16"},
    {5.0e-20, "5e-20", "5e-20", "5e-20"},
    {2.0000000000000004, "2.0000000000000004", "2.0000000000000004", "2.0000000000000004e+00"},
    {__builtin_inf(), "+Inf", "+Inf", "+Inf"},
    {-__builtin_inf(), "-Inf", "-Inf", "-Inf"},
    {__builtin_nan(""), "NaN", "NaN", "NaN"},
    {-__builtin_nan(""), "NaN", "NaN", "NaN"},
};

static void format_float__go_cases__same_text(void **state)
{
    (void)state;
    char out[TSDB_FORMAT_FLOAT_MAX];
    for (size_t i = 0; i < TSDB_ARRAY_LEN(float_cases); i++) {
        const struct float_case *c = &float_cases[i];
        assert_int_equal(tsdb_format_float_json(out, c->v), strlen(c->json));
        assert_string_equal(out, c->json);
        assert_int_equal(tsdb_format_float_go_g(out, c->v), strlen(c->g));
        assert_string_equal(out, c->g);
        assert_int_equal(tsdb_format_float_go_e(out, c->v), strlen(c->e));
        assert_string_equal(out, c->e);
    }
}

static void format_float_fixed__extremes__all_digits_fit(void **state)
{
    (void)state;
    char out[TSDB_FORMAT_FLOAT_MAX];
    assert_int_equal(tsdb_format_float_fixed(out, 1e21), 22);
    assert_string_equal(out, "1000000000000000000000");
    assert_int_equal(tsdb_format_float_fixed(out, -DBL_MAX), 310);
    assert_memory_equal(out, "-17976931348623157000", 21);
    assert_int_equal(tsdb_format_float_fixed(out, 1e-7), 9);
    assert_string_equal(out, "0.0000001");
    /* The longest: 0., 323 zeroes less one for the first digit, 17 digits. */
    size_t longest = 0;
    for (uint64_t bits = 1; bits < 1ull << 54; bits = bits * 3 + 1) {
        size_t len = tsdb_format_float_fixed(out, -tsdb_bits_double(bits));
        longest = len > longest ? len : longest;
        assert_int_equal(strlen(out), len);
        assert_double_bits_equal(strtod(out, NULL), -tsdb_bits_double(bits));
    }
    assert_true(longest > 320 && longest < TSDB_FORMAT_FLOAT_MAX);
}

static void format_float__few_decimals__as_they_were_written(void **state)
{
    (void)state;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 11);
    for (int round = 0; round < 200000; round++) {
        char want[64];
        char out[TSDB_FORMAT_JSON_MAX];
        int places = (int)tsdb_prng_below(&prng, 6);
        uint64_t below = 1;
        for (uint64_t n = tsdb_prng_below(&prng, 16); n > 0; n--) {
            below *= 10;
        }
        double v =
            (double)tsdb_prng_below(&prng, below) / (double[]){1, 10, 100, 1e3, 1e4, 1e5}[places];
        if (v != 0 && v < 1e-3) {
            continue;
        }
        int len = snprintf(want, sizeof want, "-%.*f", places, v);
        while (places > 0 && (want[len - 1] == '0' || want[len - 1] == '.')) {
            places = want[len - 1] == '.' ? 0 : places;
            want[--len] = '\0';
        }
        assert_int_equal(tsdb_format_float_json(out, -v), len);
        assert_string_equal(out, want);
    }
}

/* Reads back to the same bits, and no decimal of one digit less does: neither of the two that
 * enclose v. */
static void check_shortest(double v)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    (void)tsdb_format_float_go_e(text, v);
    if (strtod(text, NULL) != v) {
        fail_msg("%a printed as %s", v, text);
    }
    assert_double_bits_equal(parse(text), v);
    int digits = 0;
    for (const char *p = text; *p != 'e'; p++) {
        digits += *p >= '0' && *p <= '9';
    }
    if (digits == 1) {
        return;
    }
    char shorter[64];
    (void)snprintf(shorter, sizeof shorter, "%.*e", digits - 2, v); /* the nearer of the two */
    assert_true(strtod(shorter, NULL) != v);
    /* The other: the last digit one up and one down; one of these is it. */
    char *exponent = strchr(shorter, 'e');
    char *last = exponent - 1;
    char saved = *last;
    if (saved < '9') {
        (*last)++;
        assert_true(strtod(shorter, NULL) != v);
        *last = saved;
    }
    if (saved > '0') {
        (*last)--;
        assert_true(strtod(shorter, NULL) != v);
    }
}

static void format_float__every_binade__shortest_and_exact(void **state)
{
    (void)state;
    static const uint64_t fractions[] = {0, 1, 2, 1ull << 51, (1ull << 52) - 1};
    for (uint64_t biased = 0; biased < 0x7ff; biased++) {
        for (size_t f = 0; f < TSDB_ARRAY_LEN(fractions); f++) {
            uint64_t bits = biased << 52 | fractions[f];
            if (bits != 0) {
                check_shortest(tsdb_bits_double(bits));
            }
        }
    }
    for (uint64_t bits = 1; bits < 500; bits++) { /* the smallest subnormals */
        check_shortest(tsdb_bits_double(bits));
    }
}

static void format_float__random_bits__shortest_and_exact(void **state)
{
    (void)state;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 11);
    for (int i = 0; i < 100000; i++) {
        double v = tsdb_bits_double(tsdb_prng_next(&prng) >> 1);
        if (v > 0 && v <= DBL_MAX) {
            check_shortest(v);
        }
        /* What exporters send: few digits. */
        double scale = 1;
        for (uint64_t k = tsdb_prng_below(&prng, 10); k > 0; k--) {
            scale *= 10;
        }
        check_shortest((double)(1 + tsdb_prng_below(&prng, 1000000000)) / scale);
    }
}

static void format_integers__edges__round_trip(void **state)
{
    (void)state;
    char out[TSDB_FORMAT_FLOAT_MAX];
    assert_int_equal(tsdb_format_u64(out, UINT64_MAX), 20);
    assert_string_equal(out, "18446744073709551615");
    assert_int_equal(tsdb_format_i64(out, INT64_MIN), 20);
    assert_string_equal(out, "-9223372036854775808");
    assert_int_equal(tsdb_format_i64(out, 0), 1);
    assert_string_equal(out, "0");
    for (uint64_t v = 1, step = 0; step < 20; step++, v *= 10) {
        for (uint64_t d = 0; d < 3; d++) {
            uint64_t back = 0;
            char want[32];
            size_t len = tsdb_format_u64(out, v + d - 1);
            (void)snprintf(want, sizeof want, "%llu", (unsigned long long)(v + d - 1));
            assert_string_equal(out, want);
            assert_true(tsdb_parse_u64(out, len, &back));
            assert_int_equal(back, v + d - 1);
        }
    }
}

/* ---- text to numbers ---- */

static void parse_integers__bad_and_overflow__false(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    static const char *const bad[] = {"", "-", "+", "1 ", " 1", "1a", "0x1", "1.0", "--1", "\xff"};
    for (size_t k = 0; k < TSDB_ARRAY_LEN(bad); k++) {
        assert_false(tsdb_parse_u64(bad[k], strlen(bad[k]), &u));
        assert_false(tsdb_parse_i64(bad[k], strlen(bad[k]), &i));
    }
    assert_false(tsdb_parse_u64(NULL, 0, &u));
    assert_false(tsdb_parse_i64(NULL, 0, &i));
    assert_false(tsdb_parse_u64("-1", 2, &u));
    assert_false(tsdb_parse_u64("18446744073709551616", 20, &u));
    assert_false(tsdb_parse_u64("99999999999999999999", 20, &u));
    assert_false(tsdb_parse_i64("9223372036854775808", 19, &i));
    assert_false(tsdb_parse_i64("-9223372036854775809", 20, &i));
    assert_int_equal(u, 7);
    assert_int_equal(i, 7);
    assert_true(tsdb_parse_i64("-9223372036854775808", 20, &i));
    assert_int_equal(i, INT64_MIN);
    assert_true(tsdb_parse_i64("+9223372036854775807", 20, &i));
    assert_int_equal(i, INT64_MAX);
    assert_true(tsdb_parse_u64("0018446744073709551615", 22, &u));
    assert_int_equal(u, UINT64_MAX);
}

static void parse_float__valid__nearest_double(void **state)
{
    (void)state;
    assert_double_bits_equal(parse("0"), 0.0);
    assert_double_bits_equal(parse("-0"), -0.0);
    assert_double_bits_equal(parse("-0e-999999999999"), -0.0);
    assert_double_bits_equal(parse("0e99999999999999999999"), 0.0);
    assert_double_bits_equal(parse("1."), 1.0);
    assert_double_bits_equal(parse(".5"), 0.5);
    assert_double_bits_equal(parse("+1E+3"), 1000.0);
    assert_double_bits_equal(parse("1784144612.388"), 1784144612.388);
    assert_double_bits_equal(parse("0000000000000000000000000000000001.50"), 1.5);
    assert_double_bits_equal(parse("9007199254740993"), 9007199254740992.0);
    assert_double_bits_equal(parse("9007199254740993.00000000000000000001"), 9007199254740994.0);
    assert_double_bits_equal(parse("1e23"), 1e23);
    assert_double_bits_equal(parse("8.41e21"), 8.41e21);
    assert_double_bits_equal(parse("1e-400"), 0.0);
    assert_double_bits_equal(parse("1.7976931348623157e308"), DBL_MAX);
    assert_double_bits_equal(parse("1.7976931348623158e308"), DBL_MAX);
    assert_double_bits_equal(parse("5e-324"), 5e-324);
    assert_double_bits_equal(parse("2.4703282292062328e-324"), 5e-324);
    assert_double_bits_equal(parse("0x1p-2"), 0.25);
    assert_double_bits_equal(parse("-0X1.8P+1"), -3.0);
    assert_double_bits_equal(parse("0x1Fp0"), 31.0);
    assert_double_bits_equal(parse("1_000"), 1000.0);
    assert_double_bits_equal(parse("1_0.2_5e1_0"), 10.25e10);
    assert_double_bits_equal(parse("0x_1_0p0"), 16.0);
    assert_double_bits_equal(parse("-0x1.8p+0_1"), -3.0);
    assert_double_bits_equal(parse("0x.8p1"), 1.0);
    assert_double_bits_equal(parse("0x1fffffffffffff8p0"), 0x1fffffffffffff8p0);
    assert_double_bits_equal(parse("0x1p-1074"), 5e-324);
    assert_double_bits_equal(parse("Inf"), __builtin_inf());
    assert_double_bits_equal(parse("+infinity"), __builtin_inf());
    assert_double_bits_equal(parse("-INF"), -__builtin_inf());
    assert_int_equal(tsdb_double_bits(parse("nAn")), 0x7ff8000000000001);
}

static void parse_float__malformed__false_and_untouched(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       "+",     "-",         ".",      "+.",     "e5",     "1e",     "1e+",
        "1e-",    "1e5.5", "1.2.3",     "1 ",     " 1",     "1__000", "0x",     "0x.",
        "0xg",    "0x1p",  "0x1e+",     "1p5",    "1f",     "1.0f",   "+nan",   "-NaN",
        "nan(1)", "in",    "infi",      "_1",     "1_",     "1_.5",   "1._5",   "1_e5",
        "1e_5",   "1e5_",  "0_x1p1",    "0x1_p1", "0x1p_1", "0x_p1",  "0x1F",   "0x1.8",
        "-_1",    "0b1",   "0o7",       "++1",    "--1",    "1e400",  "-1e309", "0x1p1024",
        "1,5",    "\xff",  "1\xc2\xa0",
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        double v = 42;
        if (tsdb_parse_float(bad[i], strlen(bad[i]), &v)) {
            fail_msg("accepted: \"%s\"", bad[i]);
        }
        assert_double_bits_equal(v, 42.0);
    }
    double v = 42;
    assert_false(tsdb_parse_float(NULL, 0, &v));
    assert_false(tsdb_parse_float("1\0002", 3, &v));
}

/* 2^53 + 1 is half-way between two doubles; only a digit thousands of places on decides. Exact
 * bounds by malloc. */
static void parse_float__thousands_of_digits__last_one_counts(void **state)
{
    (void)state;
    size_t len = 5000;
    char *s = malloc(len);
    assert_non_null(s);
    double v;
    memset(s, '0', len);
    memcpy(s, "9007199254740993.", 17);
    assert_true(tsdb_parse_float(s, len, &v));
    assert_double_bits_equal(v, 9007199254740992.0);
    s[len - 1] = '1';
    assert_true(tsdb_parse_float(s, len, &v));
    assert_double_bits_equal(v, 9007199254740994.0);
    memset(s, '0', len); /* 0.000...01 */
    s[1] = '.';
    s[len - 1] = '1';
    assert_true(tsdb_parse_float(s, len, &v));
    assert_double_bits_equal(v, 0.0);
    memset(s, '9', len); /* 10^5000 - 1: infinite, unless the exponent brings it back */
    assert_false(tsdb_parse_float(s, len, &v));
    memcpy(s + len - 6, "e-4993", 6);
    assert_true(tsdb_parse_float(s, len, &v));
    assert_double_bits_equal(v, 10.0);
    free(s);
}

/* ---- time ---- */

static void format_timestamp__signs_and_fractions__three_digits(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *want;
    } cases[] = {
        {0, "0"},
        {1000, "1"},
        {1500, "1.500"},
        {1050, "1.050"},
        {1, "0.001"},
        {-1, "-0.001"},
        {-1500, "-1.500"},
        {-2000, "-2"},
        {1600096945479, "1600096945.479"},
        {INT64_MAX, "9223372036854775.807"},
        {INT64_MIN, "-9223372036854775.808"},
    };
    char out[TSDB_FORMAT_FLOAT_MAX];
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        assert_int_equal(tsdb_format_timestamp_ms(out, cases[i].ms), strlen(cases[i].want));
        assert_string_equal(out, cases[i].want);
    }
}

static void format_rfc3339__known_instants__go_text(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *want;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1600096945479, "2020-09-14T15:22:25.479Z"},
        {1600096945470, "2020-09-14T15:22:25.47Z"},
        {1600096945400, "2020-09-14T15:22:25.4Z"},
        {951782400000, "2000-02-29T00:00:00Z"},
        {4107542400000, "2100-03-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-62167219200000, "0000-01-01T00:00:00Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "10000-01-01T00:00:00Z"},
        {-62135596800000, "0001-01-01T00:00:00Z"},
        {-62198755200000, "-0001-01-01T00:00:00Z"},
        {INT64_MAX, "292278994-08-17T07:12:55.807Z"},
        {INT64_MIN, "-292275055-05-16T16:47:04.192Z"},
    };
    char out[TSDB_FORMAT_FLOAT_MAX];
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        assert_int_equal(tsdb_format_rfc3339_ms(out, cases[i].ms), strlen(cases[i].want));
        assert_string_equal(out, cases[i].want);
    }
}

static void parse_rfc3339__every_day_of_800_years__round_trips(void **state)
{
    (void)state;
    char out[TSDB_FORMAT_FLOAT_MAX];
    for (int64_t day = -150000; day < 150000; day++) {
        int64_t ms = day * 86400000 + (day & 0xffffff);
        int64_t back = 0;
        size_t len = tsdb_format_rfc3339_ms(out, ms);
        assert_true(tsdb_parse_rfc3339_ms(out, len, &back));
        assert_int_equal(back, ms);
    }
}

static void parse_rfc3339__offsets_and_fractions__utc_ms(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        int64_t want;
    } cases[] = {
        {"2020-09-14T15:22:25.479Z", 1600096945479},
        {"2020-09-14T17:22:25.479+02:00", 1600096945479},
        {"2020-09-14T11:52:25.479-03:30", 1600096945479},
        {"2020-09-14T15:22:25.479999999Z", 1600096945479},
        {"2020-09-14T15:22:25.4Z", 1600096945400},
        {"2020-09-14T15:22:25.4791234567890123456789Z", 1600096945479},
        {"1969-12-31T23:59:59.999Z", -1},
        {"0000-01-01T00:00:00Z", -62167219200000},
        /* as Go's time.Parse takes them, not RFC 3339 */
        {"2020-09-14T15:22:25,479Z", 1600096945479},
        {"2020-09-14T5:22:25Z", 1600060945000},
        {"2020-09-14T15:22:25-00:00", 1600096945000},
        {"2020-09-14T15:22:25+00:60", 1600093345000},
        {"2020-09-14T15:22:25+24:00", 1600010545000},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2024-02-29T23:59:59.9999Z", 1709251199999},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        int64_t ms = 0;
        if (!tsdb_parse_rfc3339_ms(cases[i].s, strlen(cases[i].s), &ms)) {
            fail_msg("refused: %s", cases[i].s);
        }
        assert_int_equal(ms, cases[i].want);
    }
}

static void parse_rfc3339__malformed__false(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "2020-09-14",
        "2020-09-14T15:22:25",
        "2020-09-14 15:22:25Z",
        "2020-09-14t15:22:25Z",
        "2020-9-14T15:22:25Z",
        "2020-00-14T15:22:25Z",
        "2020-13-14T15:22:25Z",
        "2020-09-00T15:22:25Z",
        "2020-09-31T15:22:25Z",
        "2021-02-29T15:22:25Z",
        "1900-02-29T15:22:25Z",
        "2020-09-14T24:00:00Z",
        "2020-09-14T15:60:00Z",
        "2020-09-14T15:22:60Z",
        "2020-09-14T15:22:25.Z",
        "2020-09-14T15:22:25.5",
        "2020-09-14T15:22:25+0200",
        "2020-09-14T15:22:25+02",
        "2020-09-14T15:22:25+25:00",
        "2020-09-14T15:22:25+02:61",
        "2020-09-14T15:22:25,Z",
        "2020-09-14T:22:25Z",
        "2020-09-14T5:2:25Z",
        "2020-09-14T15:22:25-00:00:00",
        "2100-02-29T15:22:25Z",
        "10000-09-14T15:22:25Z",
        "2020-09-14T15:22:25Zx",
        "+020-09-14T15:22:25Z",
    };
    int64_t ms = 5;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        if (tsdb_parse_rfc3339_ms(bad[i], strlen(bad[i]), &ms)) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    /* Every prefix of a good one, with exact bounds. */
    static const char good[] = "2020-09-14T15:22:25.479+02:00";
    for (size_t len = 0; len < sizeof good - 1; len++) {
        char *s = malloc(len + (len == 0));
        assert_non_null(s);
        memcpy(s, good, len);
        assert_false(tsdb_parse_rfc3339_ms(s, len, &ms));
        free(s);
    }
    assert_int_equal(ms, 5);
}

/* ---- durations ---- */

static void parse_duration__valid__milliseconds(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        int64_t want;
        const char *back;
    } cases[] = {
        {"0", 0, "0s"},
        {"0s", 0, "0s"},
        {"0ms", 0, "0s"},
        {"5m", 300000, "5m"},
        {"5ms", 5, "5ms"},
        {"1h30m", 5400000, "1h30m"},
        {"90m", 5400000, "1h30m"},
        {"1d", 86400000, "1d"},
        {"7d", 604800000, "1w"},
        {"90d", 7776000000, "90d"},
        {"365d", 31536000000, "1y"},
        {"1y1w1d1h1m1s1ms", 32230861001, "373d1h1m1s1ms"},
        {"2w", 1209600000, "2w"},
        {"0001s", 1000, "1s"},
        {"1500ms", 1500, "1s500ms"},
        {"292y", 9208512000000, "292y"},
    };
    char out[TSDB_FORMAT_FLOAT_MAX];
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        int64_t ms = -1;
        if (!tsdb_parse_duration_ms(cases[i].s, strlen(cases[i].s), &ms)) {
            fail_msg("refused: %s", cases[i].s);
        }
        assert_int_equal(ms, cases[i].want);
        assert_int_equal(tsdb_format_duration_ms(out, ms), strlen(cases[i].back));
        assert_string_equal(out, cases[i].back);
    }
    (void)tsdb_format_duration_ms(out, -5400000);
    assert_string_equal(out, "-1h30m");
}

static void parse_duration__malformed_or_too_long__false(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "1",
        "00",
        "s",
        "-1s",
        "1s1m",
        "1m1m",
        "1ms1s",
        "1.5h",
        "1 h",
        "1h ",
        "1H",
        "1sec",
        "1us",
        "1mm",
        "m5",
        "5m5",
        "293y",
        "9223372036855s",
        "99999999999999999999s",
        "292y100w",
        "1\xc2\xb5s",
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        int64_t ms = 5;
        if (tsdb_parse_duration_ms(bad[i], strlen(bad[i]), &ms)) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_int_equal(ms, 5);
    }
}

static void parse__random_bytes__never_reads_outside(void **state)
{
    (void)state;
    static const char alphabet[] = "0123456789.eExXpP+-infaNTZ:msywdh_ \xff";
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 12);
    for (int i = 0; i < 200000; i++) {
        size_t len = tsdb_prng_below(&prng, 13);
        char *s = malloc(len + (len == 0)); /* exact bounds for the address sanitizer */
        assert_non_null(s);
        for (size_t k = 0; k < len; k++) {
            s[k] = alphabet[tsdb_prng_below(&prng, sizeof alphabet - 1)];
        }
        double v;
        int64_t ms;
        char text[16] = {0};
        for (size_t k = 0, n = 0; k < len; k++) {
            if (s[k] != '_') {
                text[n++] = s[k];
            }
        }
        if (tsdb_parse_float(s, len, &v) && v == v) {
            /* the C library, which knows no underscores, agrees on all of it */
            assert_double_bits_equal(v, strtod(text, NULL));
        }
        (void)tsdb_parse_duration_ms(s, len, &ms);
        (void)tsdb_parse_rfc3339_ms(s, len, &ms);
        (void)tsdb_parse_i64(s, len, &ms);
        free(s);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(format_float__go_cases__same_text),
    cmocka_unit_test(format_float_fixed__extremes__all_digits_fit),
    cmocka_unit_test(format_float__few_decimals__as_they_were_written),
    cmocka_unit_test(format_float__every_binade__shortest_and_exact),
    cmocka_unit_test(format_float__random_bits__shortest_and_exact),
    cmocka_unit_test(format_integers__edges__round_trip),
    cmocka_unit_test(parse_integers__bad_and_overflow__false),
    cmocka_unit_test(parse_float__valid__nearest_double),
    cmocka_unit_test(parse_float__malformed__false_and_untouched),
    cmocka_unit_test(parse_float__thousands_of_digits__last_one_counts),
    cmocka_unit_test(format_timestamp__signs_and_fractions__three_digits),
    cmocka_unit_test(format_rfc3339__known_instants__go_text),
    cmocka_unit_test(parse_rfc3339__every_day_of_800_years__round_trips),
    cmocka_unit_test(parse_rfc3339__offsets_and_fractions__utc_ms),
    cmocka_unit_test(parse_rfc3339__malformed__false),
    cmocka_unit_test(parse_duration__valid__milliseconds),
    cmocka_unit_test(parse_duration__malformed_or_too_long__false),
    cmocka_unit_test(parse__random_bytes__never_reads_outside),
};
TEST_MAIN(tests)
