/* The JSON reader: values as they stand, malformed bytes refused, nesting bounded. */
#include "tests/support/test.h"

#include "tools/cmd/jread.h"

#include <stdio.h>

static const char *text_of(const struct tsdb_buf *b)
{
    static char text[256];
    snprintf(text, sizeof text, "%.*s", (int)b->len, b->len > 0 ? (const char *)b->data : "");
    return text;
}

static void jread__object_of_everything__keys_and_values(void **state)
{
    (void)state;
    static const char src[] =
        " {\"a\" : [1, -2.5e+3, true,false , null,{}, []],\"b\\u00e9\\n\":\"x\\\\"
        "\\\"\\ud83c\\udf0a\\ud800\", \"c\":{\"d\":{\"e\":[[]]}}} ";
    struct jread r;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    jread_init(&r, src, sizeof src - 1);
    assert_true(jread_enter(&r, '{'));
    assert_true(jread_more(&r));
    jread_key(&r, &b);
    assert_string_equal(text_of(&b), "a");
    assert_true(jread_enter(&r, '['));
    static const char *const items[] = {"1", "-2.5e+3", "true", "false", "null", "{}", "[]"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(items); i++) {
        assert_true(jread_more(&r));
        struct tsdb_slice raw = jread_raw(&r);
        assert_int_equal(raw.len, strlen(items[i]));
        assert_memory_equal(raw.data, items[i], raw.len);
    }
    assert_false(jread_more(&r));
    assert_true(jread_more(&r));
    jread_key(&r, &b);
    assert_string_equal(text_of(&b), "b\xc3\xa9\n");
    jread_string(&r, &b);
    assert_string_equal(text_of(&b), "x\\\"\xf0\x9f\x8c\x8a\xef\xbf\xbd");
    assert_true(jread_more(&r));
    jread_key(&r, &b);
    struct tsdb_slice raw = jread_raw(&r);
    assert_int_equal(raw.len, strlen("{\"d\":{\"e\":[[]]}}"));
    assert_false(jread_more(&r));
    assert_true(jread_end(&r));
    tsdb_buf_deinit(&b);
}

static bool accepts(const char *src)
{
    struct jread r;
    jread_init(&r, src, strlen(src));
    (void)jread_raw(&r);
    return jread_end(&r);
}

static void jread_raw__malformed__refused(void **state)
{
    (void)state;
    static const char *const good[] = {"1",     "\"\"", "{}", "[]", "[1,2]", "{\"a\":1,\"b\":[2]}",
                                       " null "};
    static const char *const bad[] = {
        "",    "{",     "[",     "[1",   "[1,",    "[1,]",       "{\"a\"}",     "{\"a\":}",
        "{,}", "[1 2]", "]",     "}",    "{]",     "[}",         "\"",          "\"\\",
        "nul", "[1]2",  "{1:2}", "[,1]", "\"\n\"", "{\"a\":1,}", "{\"a\":1 2}", "@",
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(good); i++) {
        assert_true(accepts(good[i]));
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        if (accepts(bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void jread_string__bad_escape__failed(void **state)
{
    (void)state;
    static const char *const bad[] = {"\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud83c\\u12\"",
                                      "\"abc"};
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        struct jread r;
        jread_init(&r, bad[i], strlen(bad[i]));
        jread_string(&r, &b);
        assert_true(r.failed);
        assert_false(jread_end(&r));
    }
    tsdb_buf_deinit(&b);
}

static void jread__nesting__bounded(void **state)
{
    (void)state;
    char src[2 * JREAD_DEPTH_MAX + 3] = "";
    memset(src, '[', JREAD_DEPTH_MAX);
    memset(src + JREAD_DEPTH_MAX, ']', JREAD_DEPTH_MAX);
    assert_true(accepts(src));
    memset(src, '[', JREAD_DEPTH_MAX + 1);
    memset(src + JREAD_DEPTH_MAX + 1, ']', JREAD_DEPTH_MAX + 1);
    assert_false(accepts(src));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(jread__object_of_everything__keys_and_values),
    cmocka_unit_test(jread_raw__malformed__refused),
    cmocka_unit_test(jread_string__bad_escape__failed),
    cmocka_unit_test(jread__nesting__bounded),
};
TEST_MAIN(tests)
