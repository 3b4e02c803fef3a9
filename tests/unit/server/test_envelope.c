#include "tests/support/test.h"

#include "server/api/envelope.h"

#include <zlib.h>

static void assert_buf(struct tsdb_buf *b, const char *want)
{
    assert_false(b->failed);
    tsdb_buf_put_u8(b, 0);
    assert_string_equal((const char *)b->data, want);
    tsdb_buf_deinit(b);
}

static void envelope_error__every_type__has_its_status(void **state)
{
    (void)state;
    static const struct {
        enum envelope_error type;
        unsigned status;
        const char *name;
    } cases[] = {
        {ENVELOPE_BAD_DATA, 400, "bad_data"},
        {ENVELOPE_EXECUTION, 422, "execution"},
        {ENVELOPE_CANCELED, 499, "canceled"},
        {ENVELOPE_TIMEOUT, 503, "timeout"},
        {ENVELOPE_INTERNAL, 500, "internal"},
        {ENVELOPE_NOT_FOUND, 404, "not_found"},
        {ENVELOPE_NOT_ACCEPTABLE, 406, "not_acceptable"},
        {ENVELOPE_UNAVAILABLE, 500, "unavailable"},
    };
    assert_int_equal(TSDB_ARRAY_LEN(cases), ENVELOPE_ERROR_COUNT);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        assert_int_equal(envelope_error_status(cases[i].type), cases[i].status);
        assert_string_equal(envelope_error_name(cases[i].type), cases[i].name);
    }
}

static void envelope_error_of__every_status__is_mapped(void **state)
{
    (void)state;
    static const enum envelope_error want[TSDB_STATUS_COUNT] = {
        [TSDB_OK] = ENVELOPE_INTERNAL,
        [TSDB_NOMEM] = ENVELOPE_INTERNAL,
        [TSDB_IO] = ENVELOPE_INTERNAL,
        [TSDB_CORRUPT] = ENVELOPE_INTERNAL,
        [TSDB_INVALID] = ENVELOPE_EXECUTION,
        [TSDB_NOT_FOUND] = ENVELOPE_NOT_FOUND,
        [TSDB_LIMIT] = ENVELOPE_EXECUTION,
        [TSDB_CANCELLED] = ENVELOPE_CANCELED,
        [TSDB_TIMEOUT] = ENVELOPE_TIMEOUT,
        [TSDB_UNSUPPORTED] = ENVELOPE_EXECUTION,
        [TSDB_OUT_OF_ORDER] = ENVELOPE_EXECUTION,
        [TSDB_BUSY] = ENVELOPE_UNAVAILABLE,
        [TSDB_READ_ONLY] = ENVELOPE_UNAVAILABLE,
    };
    for (int st = 0; st < TSDB_STATUS_COUNT; st++) {
        assert_int_equal(envelope_error_of((enum tsdb_status)st), want[st]);
    }
}

static void envelope_error__text_with_quotes__is_escaped(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    envelope_error(&b, ENVELOPE_BAD_DATA, "invalid parameter \"query\": 1:1\n");
    assert_buf(&b, "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":"
                   "\"invalid parameter \\\"query\\\": 1:1\\n\"}");
}

static void envelope_success__no_notes__has_no_empty_keys(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    envelope_success_begin(&b);
    tsdb_buf_put_str(&b, "[]");
    envelope_success_end(&b, NULL, 0);
    assert_buf(&b, "{\"status\":\"success\",\"data\":[]}");
}

static void envelope_success__notes__are_sorted_by_kind(void **state)
{
    (void)state;
    static const struct query_note notes[] = {{"PromQL info: a \"b\" (1:1)", true},
                                              {"PromQL warning: c (1:2)", false},
                                              {"PromQL warning: d (1:3)", false}};
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    envelope_success_begin(&b);
    tsdb_buf_put_str(&b, "1");
    envelope_success_end(&b, notes, 3);
    assert_buf(&b, "{\"status\":\"success\",\"data\":1,\"warnings\":[\"PromQL warning: c (1:2)\","
                   "\"PromQL warning: d (1:3)\"],\"infos\":[\"PromQL info: a \\\"b\\\" (1:1)\"]}");
}

static void envelope_success__more_than_ten__says_how_many_more(void **state)
{
    (void)state;
    struct query_note notes[23];
    for (int i = 0; i < 23; i++) {
        notes[i] = (struct query_note){i < 10 ? "w" : "i", i >= 10};
    }
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    envelope_success_end(&b, notes, 23);
    assert_buf(&b, ",\"warnings\":[\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\"],"
                   "\"infos\":[\"i\",\"i\",\"i\",\"i\",\"i\",\"i\",\"i\",\"i\",\"i\",\"i\","
                   "\"3 more info annotations omitted\"]}");
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    envelope_success_end(&b,
                         (struct query_note[11]){{"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false},
                                                 {"w", false}},
                         11);
    assert_buf(&b, ",\"warnings\":[\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\",\"w\","
                   "\"1 more warning annotations omitted\"]}");
}

static void envelope_packing_of__headers_of_clients(void **state)
{
    (void)state;
    static const char *const yes[] = {"gzip",
                                      "gzip, deflate, br",
                                      "deflate, gzip;q=1.0, *;q=0.5",
                                      "br,gzip",
                                      "GZIP",
                                      "  gzip  ",
                                      "gzip;q=0.1",
                                      "identity, gzip"};
    static const char *const no[] = {"",         "identity",      "x-gzip",       "gzipped", "br",
                                     "gzip;q=0", "gzip; q=0.000", "deflate;gzip", "*",       ",,,",
                                     ";"};
    assert_int_equal(envelope_packing_of(NULL), ENVELOPE_PLAIN);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(yes); i++) {
        assert_int_equal(envelope_packing_of(yes[i]), ENVELOPE_GZIP);
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(no); i++) {
        assert_int_not_equal(envelope_packing_of(no[i]), ENVELOPE_GZIP);
    }
    assert_int_equal(envelope_packing_of("deflate"), ENVELOPE_DEFLATE);
    assert_int_equal(envelope_packing_of("br, Deflate;q=0.5"), ENVELOPE_DEFLATE);
    assert_int_equal(envelope_packing_of("gzip;q=0, deflate"), ENVELOPE_DEFLATE);
    assert_int_equal(envelope_packing_of("deflate;q=0"), ENVELOPE_PLAIN);
    assert_int_equal(envelope_packing_of("identity"), ENVELOPE_PLAIN);
}

static void read_back(const struct tsdb_buf *in, enum envelope_packing packing, int window_bits)
{
    struct tsdb_arena arena;
    struct tsdb_buf out;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    assert_true(envelope_pack(in, packing, &arena, &out));
    assert_true(out.len < in->len);
    uint8_t *back = tsdb_mem_alloc(TSDB_MEM_OTHER, in->len + 1);
    z_stream z = {.next_in = out.data, .avail_in = (unsigned)out.len};
    assert_int_equal(inflateInit2(&z, window_bits), Z_OK);
    z.next_out = back;
    z.avail_out = (unsigned)in->len + 1;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, in->len);
    assert_memory_equal(back, in->data, in->len);
    inflateEnd(&z);
    tsdb_mem_free(TSDB_MEM_OTHER, back, in->len + 1);
    tsdb_buf_deinit(&out);
    tsdb_arena_deinit(&arena);
}

static void envelope_pack__long_answer__reads_back(void **state)
{
    (void)state;
    struct tsdb_buf in;
    tsdb_buf_init(&in, TSDB_MEM_OTHER, 0);
    for (unsigned i = 0; i < 200000; i++) {
        tsdb_buf_printf(&in, "[%u,\"%u\"],", i, i * i * 2654435761u);
    }
    read_back(&in, ENVELOPE_GZIP, 15 + 16); /* each takes its own header only */
    read_back(&in, ENVELOPE_DEFLATE, 15);
    assert_string_equal(envelope_packing_name(ENVELOPE_GZIP), "gzip");
    assert_string_equal(envelope_packing_name(ENVELOPE_DEFLATE), "deflate");
    tsdb_buf_deinit(&in);
}

static void envelope_pack__nothing_gained_or_no_memory__is_declined(void **state)
{
    (void)state;
    struct tsdb_account account;
    struct tsdb_arena arena;
    struct tsdb_buf in;
    struct tsdb_buf out;
    tsdb_buf_init(&in, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_str(&in, "x");
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_false(envelope_pack(&in, ENVELOPE_GZIP, &arena, &out));
    tsdb_arena_deinit(&arena);
    for (int i = 0; i < 5000; i++) {
        tsdb_buf_put_str(&in, "xxxxxxxx");
    }
    tsdb_buf_clear(&out);
    tsdb_account_init(&account, 10000, NULL);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, &account);
    assert_false(envelope_pack(&in, ENVELOPE_GZIP, &arena, &out));
    tsdb_arena_deinit(&arena);
    tsdb_buf_deinit(&out);
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 100); /* the compressed answer does not fit */
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_false(envelope_pack(&in, ENVELOPE_GZIP, &arena, &out));
    tsdb_arena_deinit(&arena);
    tsdb_buf_deinit(&in);
    tsdb_buf_deinit(&out);
}

static void envelope_allow_origin__pattern__decides(void **state)
{
    (void)state;
    assert_string_equal(envelope_allow_origin(".*", "http://a"), "*");
    assert_string_equal(envelope_allow_origin("https?://(a|b)\\.example", "https://b.example"),
                        "https://b.example");
    assert_null(envelope_allow_origin("https?://(a|b)\\.example", "https://c.example"));
    assert_null(envelope_allow_origin("https?://a", "https://a.evil"));
    assert_null(envelope_allow_origin("(", "("));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(envelope_error__every_type__has_its_status),
    cmocka_unit_test(envelope_error_of__every_status__is_mapped),
    cmocka_unit_test(envelope_error__text_with_quotes__is_escaped),
    cmocka_unit_test(envelope_success__no_notes__has_no_empty_keys),
    cmocka_unit_test(envelope_success__notes__are_sorted_by_kind),
    cmocka_unit_test(envelope_success__more_than_ten__says_how_many_more),
    cmocka_unit_test(envelope_packing_of__headers_of_clients),
    cmocka_unit_test(envelope_pack__long_answer__reads_back),
    cmocka_unit_test(envelope_pack__nothing_gained_or_no_memory__is_declined),
    cmocka_unit_test(envelope_allow_origin__pattern__decides),
};

TEST_MAIN(tests)
