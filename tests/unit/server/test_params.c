#include "tests/support/test.h"

#include "base/random.h"
#include "server/api/multipart.h"
#include "server/api/params.h"
#include "tests/support/guard.h"

#include <stdlib.h>

static struct tsdb_slice text(const char *s)
{
    return (struct tsdb_slice){(const uint8_t *)s, strlen(s)};
}

static void assert_slice(struct tsdb_slice s, const char *want)
{
    assert_int_equal(s.len, strlen(want));
    if (s.len > 0) {
        assert_memory_equal(s.data, want, s.len);
    }
}

static void arena_setup(struct tsdb_arena *a)
{
    tsdb_arena_init(a, TSDB_MEM_SERVER, 4096, NULL);
}

static void params_parse__plain_pairs__are_found(void **state)
{
    (void)state;
    struct tsdb_arena a;
    struct params p;
    arena_setup(&a);
    assert_ok(
        params_parse(&p, &a, text(""), "", text("query=up&time=1.5&empty=&flag&=x&a=b=c"), NULL));
    assert_int_equal(p.count, 6);
    assert_slice(params_get(&p, "query"), "up");
    assert_slice(params_get(&p, "time"), "1.5");
    assert_slice(params_get(&p, "empty"), "");
    assert_slice(params_get(&p, "flag"), "");
    assert_slice(params_get(&p, "a"), "b=c");
    assert_slice(params_get(&p, ""), "x");
    assert_slice(params_get(&p, "quer"), "");
    assert_slice(params_get(&p, "queryy"), "");
    tsdb_arena_deinit(&a);
}

static void params_parse__escapes_and_plus__are_decoded(void **state)
{
    (void)state;
    struct tsdb_arena a;
    struct params p;
    arena_setup(&a);
    assert_ok(params_parse(&p, &a, text("match%5B%5D=%7Ba%3D%22b+c%22%7D&n=%00%ff&&&plus=%2B"), "",
                           text(""), NULL));
    assert_int_equal(p.count, 3);
    assert_slice(params_get(&p, "match[]"), "{a=\"b c\"}");
    struct tsdb_slice n = params_get(&p, "n");
    assert_int_equal(n.len, 2);
    assert_memory_equal(n.data, "\0\xff", 2);
    assert_slice(params_get(&p, "plus"), "+");
    tsdb_arena_deinit(&a);
}

static void params_parse__body_and_query__body_comes_first(void **state)
{
    (void)state;
    struct tsdb_arena a;
    struct params p;
    struct tsdb_slice v;
    uint32_t pos = 0;
    arena_setup(&a);
    assert_ok(params_parse(&p, &a, text("m=1&m=2&time=7"), "", text("m=3&time=8&only=url"), NULL));
    assert_slice(params_get(&p, "time"), "7");
    assert_slice(params_get(&p, "only"), "url");
    for (int i = 1; i <= 3; i++) {
        char want[2] = {(char)('0' + i), 0};
        assert_true(params_next(&p, "m", &pos, &v));
        assert_slice(v, want);
    }
    assert_false(params_next(&p, "m", &pos, &v));
    assert_false(params_next(&p, "m", &pos, &v));
    tsdb_arena_deinit(&a);
}

static void params_parse__bad_escape__is_invalid_and_names_it(void **state)
{
    (void)state;
    static const struct {
        const char *input, *message;
    } cases[] = {
        {"a=%zz", "invalid URL escape \"%zz\""}, {"a=1&b=%", "invalid URL escape \"%\""},
        {"%1", "invalid URL escape \"%1\""},     {"a=%4", "invalid URL escape \"%4\""},
        {"%%%=a", "invalid URL escape \"%%%\""}, {"a=x%4gyyyy", "invalid URL escape \"%4g\""},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct tsdb_arena a;
        struct params p = {NULL, 99};
        struct tsdb_error err = {0};
        arena_setup(&a);
        assert_int_equal(params_parse(&p, &a, text(cases[i].input), "", text(""), &err),
                         TSDB_INVALID);
        assert_string_equal(err.msg, cases[i].message);
        assert_int_equal(params_parse(&p, &a, text(""), "", text(cases[i].input), &err),
                         TSDB_INVALID);
        assert_int_equal(p.count, 99);
        tsdb_arena_deinit(&a);
    }
}

static void params_parse__too_much__is_a_limit(void **state)
{
    (void)state;
    struct tsdb_arena a;
    struct params p;
    struct tsdb_error err = {0};
    arena_setup(&a);
    size_t len = 2 * (size_t)PARAMS_MAX - 1; /* "a&a&...&a" has PARAMS_MAX pairs */
    char *many = malloc(len + 3);
    assert_non_null(many);
    for (size_t i = 0; i < len + 2; i++) {
        many[i] = i % 2 ? '&' : 'a';
    }
    many[len] = '\0';
    assert_ok(params_parse(&p, &a, text(many), "", text(""), &err));
    assert_int_equal(p.count, PARAMS_MAX);
    assert_int_equal(params_parse(&p, &a, text(many), "", text("b"), &err), TSDB_LIMIT);
    struct tsdb_slice large = {(const uint8_t *)many, PARAMS_FORM_BYTES_MAX + 1};
    assert_int_equal(params_parse(&p, &a, large, "", text(""), &err),
                     TSDB_LIMIT); /* not even read */
    free(many);
    tsdb_arena_deinit(&a);
}

static void params_parse__memory_runs_out__says_why(void **state)
{
    (void)state;
    struct tsdb_account account;
    struct tsdb_arena a;
    struct params p;
    tsdb_account_init(&account, 1000, NULL);
    tsdb_arena_init(&a, TSDB_MEM_SERVER, 4096, &account);
    assert_int_equal(params_parse(&p, &a, text("a=b"), "", text(""), NULL), TSDB_LIMIT);
    tsdb_arena_deinit(&a);
    for (uint64_t n = 1; n < 10; n++) {
        tsdb_arena_init(&a, TSDB_MEM_SERVER, 64, NULL);
        tsdb_alloc_fail_nth(n, 0);
        enum tsdb_status status = params_parse(&p, &a, text("a=b&c=d&e=f"), "", text("g=h"), NULL);
        uint64_t seen = tsdb_alloc_fail_count();
        tsdb_alloc_ops_set(NULL);
        tsdb_arena_deinit(&a);
        if (seen < n) {
            assert_ok(status);
            return;
        }
        assert_int_equal(status, TSDB_NOMEM);
    }
    fail_msg("parsing four pairs takes too many allocations");
}

/* Whatever comes: no byte beyond the end is read, and decoding never grows the input. */
static void params_parse__random_bytes__stay_within_bounds(void **state)
{
    (void)state;
    static const char alphabet[] = "ab=&%+4fF\0\xff;";
    struct tsdb_prng r;
    tsdb_prng_init(&r, 20260713);
    struct test_guard g;
    test_guard_init(&g, 64);
    for (int round = 0; round < 3000; round++) {
        uint8_t bytes[40];
        size_t len = (size_t)tsdb_prng_below(&r, sizeof bytes + 1);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)alphabet[tsdb_prng_below(&r, sizeof alphabet - 1)];
        }
        const uint8_t *at = test_guard_at_end(&g, bytes, len);
        struct tsdb_arena a;
        struct params p = {NULL, 0};
        arena_setup(&a);
        struct tsdb_slice s = {at, len};
        enum tsdb_status status = params_parse(&p, &a, s, "", text("x=y"), NULL);
        assert_true(status == TSDB_OK || status == TSDB_INVALID);
        size_t total = 0;
        for (uint32_t i = 0; i < p.count; i++) {
            total += p.items[i].name.len + p.items[i].value.len;
        }
        assert_true(total <= len + 2);
        struct tsdb_slice out;
        status = params_decode_segment(s, &a, &out, NULL);
        assert_true(status == TSDB_OK || status == TSDB_INVALID);
        assert_ok(params_unescape_name(s, &a, &out, NULL));
        tsdb_arena_deinit(&a);
    }
    test_guard_deinit(&g);
}

static void params_decode_segment__plus__stays(void **state)
{
    (void)state;
    struct tsdb_arena a;
    struct tsdb_slice out;
    arena_setup(&a);
    assert_ok(params_decode_segment(text("a+b%20c%2Fd"), &a, &out, NULL));
    assert_slice(out, "a+b c/d");
    assert_int_equal(params_decode_segment(text("a%2"), &a, &out, NULL), TSDB_INVALID);
    tsdb_arena_deinit(&a);
}

static void params_unescape_name__known_answers(void **state)
{
    (void)state;
    static const struct {
        const char *input, *want;
    } cases[] = {
        {"http_requests_total", "http_requests_total"},
        {"U__http_2e_requests", "http.requests"},
        {"U__a__b", "a_b"},
        {"U___", "U___"}, /* one underscore at the end is no escape */
        {"U__", ""},
        {"U__a_", "U__a_"},
        {"U__a_zz_b", "U__a_zz_b"},
        {"U__a_2e", "U__a_2e"},
        {"U__a_2E_b", "a.b"},
        {"U__k_fc_che", "k\xc3\xbc"
                        "che"},
        {"U___20ac_", "\xe2\x82\xac"},
        {"U___1f600_x", "\xf0\x9f\x98\x80x"},
        {"U___10ffff_", "\xf4\x8f\xbf\xbf"},
        {"U___110000_", "U___110000_"},
        {"U___d800_", "U___d800_"},
        {"U___1234567_", "U___1234567_"},
        {"u__a", "u__a"},
        {"", ""},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct tsdb_arena a;
        struct tsdb_slice out;
        arena_setup(&a);
        assert_ok(params_unescape_name(text(cases[i].input), &a, &out, NULL));
        assert_slice(out, cases[i].want);
        tsdb_arena_deinit(&a);
    }
}

static void params_parse__multipart__texts_but_no_files(void **state)
{
    (void)state;
    struct tsdb_arena a;
    struct params p;
    struct tsdb_error err;
    char boundary[MULTIPART_BOUNDARY_MAX + 1];
    assert_true(multipart_boundary("multipart/form-data; charset=x; boundary=\"a b\"", boundary));
    assert_string_equal(boundary, "a b");
    assert_true(multipart_boundary("Multipart/Form-Data;boundary=B", boundary));
    assert_false(multipart_boundary("multipart/form-data", boundary));
    assert_false(multipart_boundary("multipart/form-data; boundary=", boundary));
    assert_false(multipart_boundary("multipart/mixed; boundary=B", boundary));
    assert_false(multipart_boundary(NULL, boundary));
    static const char good[] =
        "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"query\"\r\n"
        "\r\nup\r\n+ --B\r\n--B\r\nContent-Type: text/plain\r\n"
        "content-disposition: form-data; name=\"a\\\"b\"\r\n\r\n\r\n--B\n"
        "Content-Disposition: form-data; name=f; filename=x\n\nfile\n--B--";
    tsdb_arena_init(&a, TSDB_MEM_QUERY, 4096, NULL);
    assert_ok_err(params_parse(&p, &a, text(good), "B", text("query=second"), &err), &err);
    assert_int_equal(p.count, 3);
    assert_int_equal(params_get(&p, "query").len, 9);
    assert_memory_equal(params_get(&p, "query").data, "up\r\n+ --B", 9);
    assert_int_equal(p.items[1].name.len, 3);
    assert_int_equal(p.items[1].value.len, 0);
    for (size_t len = 0; len + 1 < sizeof good - 1;
         len++) { /* cut anywhere: refused, never read on */
        char *cut = malloc(len + 1);
        assert_non_null(cut);
        memcpy(cut, good, len);
        struct tsdb_slice s = {(const uint8_t *)cut, len};
        enum tsdb_status status = params_parse(&p, &a, s, "B", text(""), &err);
        assert_int_equal(status, TSDB_INVALID);
        free(cut);
    }
    tsdb_arena_deinit(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(params_parse__multipart__texts_but_no_files),
    cmocka_unit_test(params_parse__plain_pairs__are_found),
    cmocka_unit_test(params_parse__escapes_and_plus__are_decoded),
    cmocka_unit_test(params_parse__body_and_query__body_comes_first),
    cmocka_unit_test(params_parse__bad_escape__is_invalid_and_names_it),
    cmocka_unit_test(params_parse__too_much__is_a_limit),
    cmocka_unit_test(params_parse__memory_runs_out__says_why),
    cmocka_unit_test(params_parse__random_bytes__stay_within_bounds),
    cmocka_unit_test(params_decode_segment__plus__stays),
    cmocka_unit_test(params_unescape_name__known_answers),
};

TEST_MAIN(tests)
