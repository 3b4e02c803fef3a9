#include "tests/support/test.h"

#include "tools/prom/meta.h"

#include <stdio.h>

static struct prom_meta some(void)
{
    return (struct prom_meta){.ulid = "01M8CNJHPZ6X8F1H89W25XRQTM",
                              .t_min = -7200000,
                              .t_max = 1700008185002,
                              .samples = 7260,
                              .float_samples = 7000,
                              .histogram_samples = 260,
                              .series = 120,
                              .chunks = 123,
                              .level = 1};
}

static void assert_parses(const char *text, enum tsdb_status want)
{
    struct prom_meta m;
    struct tsdb_error err = {0};
    assert_int_equal(prom_meta_parse((const uint8_t *)text, strlen(text), &m, &err), want);
    assert_true(want == TSDB_OK || err.msg[0] != '\0');
}

static void prom_meta_parse__printed__same(void **state)
{
    (void)state;
    struct tsdb_buf text;
    struct prom_meta m = some(), back;
    tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
    prom_meta_print(&m, &text);
    assert_ok(prom_meta_parse(text.data, text.len, &back, NULL));
    assert_string_equal(back.ulid, m.ulid);
    assert_int_equal(back.t_min, m.t_min);
    assert_int_equal(back.t_max, m.t_max);
    assert_int_equal(back.samples, m.samples);
    assert_int_equal(back.float_samples, m.float_samples);
    assert_int_equal(back.histogram_samples, m.histogram_samples);
    assert_int_equal(back.series, m.series);
    assert_int_equal(back.chunks, m.chunks);
    assert_int_equal(back.tombstones, 0);
    assert_int_equal(back.level, m.level);
    for (size_t cut = 0; cut + 2 < text.len;
         cut++) { /* the last two are a brace and a line's end */
        struct tsdb_error err;
        assert_int_equal(prom_meta_parse(text.data, cut, &back, &err), TSDB_CORRUPT);
        assert_true(err.pos <= cut);
    }
    tsdb_buf_deinit(&text);
}

/* As Prometheus 3.5 and a Thanos sidecar write it. */
static void prom_meta_parse__of_others__known_members(void **state)
{
    (void)state;
    static const char text[] =
        "{\"thanos\": {\"labels\": {\"a\": \"\\\"}]\"}, \"files\": [{\"rel_path\": \"index\", "
        "\"n\": 1.5e+3}, []],"
        " \"x\": null, \"y\": true},\n\t\"ulid\": \"01M8CNJHPZ6X8F1H89W25XRQTM\", \"minTime\": 5,"
        "\"maxTime\": 6, \"stats\": {\"numSamples\": 3, \"numOther\": {}}, \"version\": 1,"
        "\"compaction\": {\"sources\": [\"01M8CNJHPZ6X8F1H89W25XRQTM\"], \"level\": 2, \"hints\": "
        "[]}}";
    struct prom_meta m;
    struct tsdb_error err;
    assert_ok_err(prom_meta_parse((const uint8_t *)text, sizeof text - 1, &m, &err), &err);
    assert_int_equal(m.t_min, 5);
    assert_int_equal(m.samples, 3);
    assert_int_equal(m.series, 0);
    assert_int_equal(m.level, 2);
}

#define HEAD                                                                                       \
    "{\"version\": 1, \"ulid\": \"01M8CNJHPZ6X8F1H89W25XRQTM\", \"minTime\": 5, \"maxTime\": "

static void prom_meta_parse__damaged__corrupt_or_unsupported(void **state)
{
    (void)state;
    assert_parses(HEAD "6}", TSDB_OK);
    assert_parses(HEAD "4}", TSDB_CORRUPT);
    assert_parses(HEAD "\"6\"}", TSDB_CORRUPT);
    assert_parses(HEAD "6.5}", TSDB_CORRUPT);
    assert_parses(HEAD "6}}", TSDB_CORRUPT);
    assert_parses(HEAD "6, \"stats\": {\"numSeries\": -1}}", TSDB_CORRUPT);
    assert_parses(HEAD "6, \"x\": [1, 2}}", TSDB_CORRUPT);
    assert_parses("{\"version\": 2, \"ulid\": 7}", TSDB_UNSUPPORTED);
    assert_parses("{}", TSDB_UNSUPPORTED);
    assert_parses("{\"version\": 1, \"ulid\": \"../../etc/passwd/aaaaaaaaa\"}", TSDB_CORRUPT);
    assert_parses("", TSDB_CORRUPT);
    assert_parses("[]", TSDB_CORRUPT);
}

static void prom_meta_parse__deep__corrupt(void **state)
{
    (void)state;
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof text, "%s6, \"x\": ", HEAD);
    memset(text + n, '[', sizeof text - n - 1);
    text[sizeof text - 1] = '\0';
    assert_parses(text, TSDB_CORRUPT);
}

static void prom_ulid_valid__names__only_ulids(void **state)
{
    (void)state;
    assert_true(prom_ulid_valid("01M8CNJHPZ6X8F1H89W25XRQTM", 26));
    assert_false(prom_ulid_valid("01M8CNJHPZ6X8F1H89W25XRQT", 25));
    assert_false(prom_ulid_valid("81M8CNJHPZ6X8F1H89W25XRQTM", 26));
    assert_false(prom_ulid_valid("01M8CNJHPZ6X8F1H89W25XRQTU", 26));
    assert_false(prom_ulid_valid("01m8CNJHPZ6X8F1H89W25XRQTM", 26));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(prom_meta_parse__printed__same),
    cmocka_unit_test(prom_meta_parse__of_others__known_members),
    cmocka_unit_test(prom_meta_parse__damaged__corrupt_or_unsupported),
    cmocka_unit_test(prom_meta_parse__deep__corrupt),
    cmocka_unit_test(prom_ulid_valid__names__only_ulids),
};
TEST_MAIN(tests)
