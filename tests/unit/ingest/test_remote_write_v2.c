#include "tests/support/test.h"

#include "ingest/remote_write_v2.h"
#include "model/sample.h"
#include "tests/fuzz/remote_write/compare.h"
#include "tests/support/guard.h"
#include "tests/support/ingest/encode.h"
#include "tests/unit/ingest/generate.h"

#include <stdio.h>

/* ---- against protobuf-c ---- */

static int accepted_by_oracle(const struct tsdb_buf *b)
{
    Rw2__Request *o = rw2__request__unpack(NULL, b->len, b->data);
    if (o != NULL) {
        rw2__request__free_unpacked(o, NULL);
    }
    return o != NULL;
}

static void compare_round(const struct tsdb_buf *b, uint64_t seed)
{
    const char *fault = compare_v2(b->data, b->len);
    if (fault != NULL) {
        fail_msg("seed %llu: %s", (unsigned long long)seed, fault);
    }
}

static void walk__random_messages__agrees_with_protobuf_c(void **state)
{
    (void)state;
    int whole = 0;
    int broken = 0;
    const int rounds = 6000;
    for (int seed = 0; seed < rounds; seed++) {
        struct generator g = {.plain = seed % 3 == 0, .faulty = seed % 3 == 2};
        tsdb_prng_init(&g.r, (uint64_t)seed);
        struct tsdb_buf b;
        tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
        if (below(&g, 20) != 0) {
            tsdb_buf_put(&b, "\x22\x00", 2); /* the first symbol */
        }
        put_message(&g, &b, &rw2__request__descriptor);
        compare_round(&b, (uint64_t)seed);
        whole += accepted_by_oracle(&b);
        mutate(&g, &b);
        compare_round(&b, (uint64_t)seed);
        broken += accepted_by_oracle(&b);
        tsdb_buf_deinit(&b);
    }
    assert_true(whole > rounds * 3 / 4);
    assert_true(broken > rounds / 10);
    assert_true(broken < rounds * 9 / 10);
}

/* ---- bodies made by hand ---- */

static const struct tsdb_span spans[] = {{0, 2}};
static const double counts[] = {1, 2};

static void put_example(struct tsdb_buf *b)
{
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "x")};
    struct tsdb_label trace[] = {tsdb_label_make("trace_id", "x")};
    struct encode_sample samples[] = {
        {.t_ms = 1700000000000, .bits = TSDB_STALE_NAN_BITS},
        {.t_ms = 1700000000001, .bits = TSDB_NORMAL_NAN_BITS, .start_ms = 1690000000000}};
    struct tsdb_exemplar exemplar = {.labels = {trace, 1}, .bits = 5, .t_ms = 4};
    struct encode_histogram histogram = {.t_ms = 1700000000002,
                                         .start_ms = 1690000000000,
                                         .histogram = {.is_float = true,
                                                       .schema = -4,
                                                       .count_float = 3,
                                                       .positive_span_count = 1,
                                                       .positive_spans = spans,
                                                       .positive_bucket_count = 2,
                                                       .positive_counts = counts}};
    struct tsdb_metadata metadata = {
        .help = {(const uint8_t *)"Is it?", 6}, .unit = {NULL, 0}, .type = TSDB_METRIC_GAUGE};
    struct encode_series series[] = {
        {.labels = {labels, 2},
         .samples = samples,
         .sample_count = 2,
         .exemplars = &exemplar,
         .exemplar_count = 1,
         .histograms = &histogram,
         .histogram_count = 1,
         .metadata = &metadata},
        {.labels = {labels, 1}, .samples = samples, .sample_count = 1}};
    assert_ok(encode_v2_request(series, 2, b));
}

struct fixture {
    struct tsdb_buf body;
    struct tsdb_arena arena;
    struct remote_write_v2_walker w;
    struct remote_write_series s;
};

static void fixture_deinit(struct fixture *f)
{
    tsdb_buf_deinit(&f->body);
    tsdb_arena_deinit(&f->arena);
}

/* Open the bytes and take the first series. */
static void fixture_open(struct fixture *f, const void *bytes, size_t len)
{
    memset(f, 0, sizeof *f);
    tsdb_buf_init(&f->body, TSDB_MEM_OTHER, 0);
    tsdb_arena_init(&f->arena, TSDB_MEM_OTHER, 4096, NULL);
    tsdb_buf_put(&f->body, bytes, len);
    assert_null(compare_v2(f->body.data, f->body.len));
    struct tsdb_error err;
    assert_ok_err(remote_write_v2_open(&f->w, f->body.data, f->body.len, &f->arena, &err), &err);
    assert_int_equal(remote_write_v2_next(&f->w, &f->s), REMOTE_WRITE_SERIES);
}
#define OPEN(f, bytes) fixture_open(f, bytes, sizeof(bytes) - 1)

static void walk__encoded_body__every_part_in_order(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    put_example(&b);
    struct fixture f;
    fixture_open(&f, b.data, b.len);
    tsdb_buf_deinit(&b);
    assert_int_equal(f.w.symbol_count, 7); /* "", __name__, up, job, x, trace_id, Is it? */
    struct tsdb_label items[2];
    uint32_t count = 0;
    assert_ok(remote_write_v2_read_labels(&f.w, &f.s, items, 2, &count, NULL));
    assert_int_equal(count, 2);
    assert_memory_equal(items[1].name, "job", 3);
    assert_int_equal(remote_write_v2_read_labels(&f.w, &f.s, items, 1, &count, NULL), TSDB_LIMIT);
    struct remote_write_cursor c = remote_write_samples(&f.w.at, &f.s);
    int64_t t = 0;
    int64_t start = 0;
    uint64_t bits = 0;
    assert_true(remote_write_next_sample(&c, &t, &start, &bits));
    assert_true(t == 1700000000000 && start == 0 && bits == TSDB_STALE_NAN_BITS);
    assert_true(remote_write_next_sample(&c, &t, &start, &bits));
    assert_true(t == 1700000000001 && start == 1690000000000 && bits == TSDB_NORMAL_NAN_BITS);
    assert_false(remote_write_next_sample(&c, &t, &start, &bits));
    assert_false(c.failed);
    struct tsdb_metadata m;
    assert_ok(remote_write_v2_read_metadata(&f.w, &f.s, &m, NULL));
    assert_int_equal(m.type, TSDB_METRIC_GAUGE);
    assert_int_equal(m.help.len, 6);
    assert_int_equal(m.unit.len, 0);
    struct tsdb_slice message;
    c = remote_write_histograms(&f.w.at, &f.s);
    assert_true(remote_write_next_message(&c, &message));
    struct tsdb_histogram h;
    assert_ok(histogram_wire_decode(message, true, &f.arena, &h, &t, &start, NULL));
    assert_true(t == 1700000000002 && start == 1690000000000 && h.is_float);
    assert_int_equal(remote_write_v2_next(&f.w, &f.s), REMOTE_WRITE_SERIES);
    assert_ok(remote_write_v2_read_metadata(&f.w, &f.s, &m, NULL));
    assert_int_equal(m.type, TSDB_METRIC_UNKNOWN);
    assert_int_equal(remote_write_v2_next(&f.w, &f.s), REMOTE_WRITE_END);
    fixture_deinit(&f);
}

static void walk__every_truncation_between_guard_pages__inside(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    put_example(&b);
    walk_every_truncation(&b, compare_v2);
    tsdb_buf_deinit(&b);
}

static void open__symbols_behind_and_between_series__found(void **state)
{
    (void)state;
    struct fixture f;
    OPEN(&f, "\x22\x00"
             "\x2a\x04\x0a\x02\x01\x02" /* refs 1 2 */
             "\x22\x01"
             "n"
             "\x2a\x04\x0a\x02\x01\x02"
             "\x22\x01"
             "v");
    struct tsdb_label items[1];
    uint32_t count = 0;
    assert_ok(remote_write_v2_read_labels(&f.w, &f.s, items, 1, &count, NULL));
    assert_int_equal(count, 1);
    assert_memory_equal(items[0].name, "n", 1);
    assert_memory_equal(items[0].value, "v", 1);
    fixture_deinit(&f);
}

static void read_labels__references_not_packed__the_same(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_label items[2];
    uint32_t count = 0;
    /* 1, a sample, [2, 2, 1], an unknown field */
    OPEN(&f, "\x22\x00\x22\x01"
             "n"
             "\x22\x01"
             "v"
             "\x2a\x0d\x08\x01\x12\x02\x10\x05\x0a\x03\x02\x02\x01\x78\x00");
    assert_int_equal(f.s.ref_fields, 2);
    assert_ok(remote_write_v2_read_labels(&f.w, &f.s, items, 2, &count, NULL));
    assert_int_equal(count, 2);
    assert_memory_equal(items[1].name, "v", 1);
    assert_memory_equal(items[1].value, "n", 1);
    fixture_deinit(&f);
}

static void read_labels__bad_references__invalid_for_that_series(void **state)
{
    (void)state;
    const char *bad[] = {"\x0a\x01\x01", "\x0a\x02\x01\x02", "\x0a\x06\x01\xff\xff\xff\xff\x0f"};
    const char *texts[] = {"odd number of label references: 1", "symbol reference 2 is outside",
                           "symbol reference 4294967295 is outside"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        uint8_t body[64] = {0x22, 0, 0x22, 1, 'n', 0x2a};
        size_t len = 2 + (size_t)bad[i][1];
        body[6] = (uint8_t)len;
        memcpy(body + 7, bad[i], len);
        memcpy(body + 7 + len, "\x2a\x04\x0a\x02\x01\x01", 6); /* the next series is fine */
        struct fixture f;
        fixture_open(&f, body, 7 + len + 6);
        struct tsdb_label items[4];
        uint32_t count = 77;
        struct tsdb_error err = {0};
        assert_int_equal(remote_write_v2_read_labels(&f.w, &f.s, items, 4, &count, &err),
                         TSDB_INVALID);
        assert_non_null(strstr(err.msg, texts[i]));
        assert_int_equal(count, 77);
        assert_int_equal(remote_write_v2_next(&f.w, &f.s), REMOTE_WRITE_SERIES);
        assert_ok(remote_write_v2_read_labels(&f.w, &f.s, items, 4, &count, &err));
        fixture_deinit(&f);
    }
}

static void read_labels__reference_cut_or_too_long__corrupt(void **state)
{
    (void)state;
    const char *bad[] = {"\x0a\x01\x80", "\x0a\x0b\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        uint8_t body[64] = {0x22, 0, 0x2a};
        size_t len = 2 + (size_t)bad[i][1];
        body[3] = (uint8_t)len;
        memcpy(body + 4, bad[i], len);
        struct fixture f;
        fixture_open(&f, body, 4 + len);
        struct tsdb_label items[4];
        uint32_t count = 0;
        assert_int_equal(remote_write_v2_read_labels(&f.w, &f.s, items, 4, &count, NULL),
                         TSDB_CORRUPT);
        fixture_deinit(&f);
    }
}

static enum tsdb_status open_only(const void *bytes, size_t len, struct tsdb_account *account)
{
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, account);
    struct remote_write_v2_walker w;
    struct tsdb_error err = {0};
    enum tsdb_status status = remote_write_v2_open(&w, bytes, len, &arena, &err);
    assert_int_equal(err.status, status);
    tsdb_arena_deinit(&arena);
    return status;
}
#define OPEN_ONLY(bytes) open_only(bytes, sizeof(bytes) - 1, NULL)

static void open__malformed_top_level__corrupt(void **state)
{
    (void)state;
    assert_ok(OPEN_ONLY(""));
    assert_ok(OPEN_ONLY("\x0a\x03xyz\x1a\x00")); /* a 1.0 body: empty here */
    assert_int_equal(OPEN_ONLY("\x22\x05"), TSDB_CORRUPT);
    assert_int_equal(OPEN_ONLY("\x20\x05"), TSDB_CORRUPT); /* symbol a varint */
    assert_int_equal(OPEN_ONLY("\x28\x05"), TSDB_CORRUPT); /* series a varint */
    assert_int_equal(OPEN_ONLY("\x22\x00\x2b"), TSDB_CORRUPT);
    assert_int_equal(OPEN_ONLY("\x22\x01x"), TSDB_INVALID); /* the first symbol is not empty */
}

static void open__too_many_symbols__limit_and_no_memory_asked(void **state)
{
    (void)state;
    size_t len = 2 * ((size_t)REMOTE_WRITE_V2_SYMBOLS_MAX + 1);
    uint8_t *body = test_malloc(len);
    for (size_t i = 0; i < len; i += 2) {
        body[i] = 0x22;
        body[i + 1] = 0;
    }
    tsdb_alloc_fail_nth(1, 1);
    assert_int_equal(open_only(body, len, NULL), TSDB_LIMIT);
    assert_int_equal(tsdb_alloc_fail_count(), 0);
    assert_int_equal(open_only(body, len - 2, NULL), TSDB_NOMEM);
    tsdb_alloc_ops_set(NULL);
    assert_ok(open_only(body, len - 2, NULL));
    struct tsdb_account account;
    tsdb_account_init(&account, 1 << 20, NULL);
    assert_int_equal(open_only(body, len - 2, &account), TSDB_LIMIT);
    test_free(body);
}

static void next__malformed_series__stays_at_the_fault(void **state)
{
    (void)state;
    const char *bad[] = {"\x2a\x02\x12\x09", "\x2a\x02\x10\x01", "\x2a\x01\x0b", "\x2a\x02\x28\x01",
                         "\x2a\x05\x0d\x01\x01\x01\x01"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        size_t len = 2 + (size_t)bad[i][1];
        assert_null(compare_v2((const uint8_t *)bad[i], len));
        struct tsdb_arena arena;
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
        struct remote_write_v2_walker w;
        struct remote_write_series s;
        assert_ok(remote_write_v2_open(&w, (const uint8_t *)bad[i], len, &arena, NULL));
        assert_int_equal(remote_write_v2_next(&w, &s), REMOTE_WRITE_MALFORMED);
        struct tsdb_error err = {0};
        assert_int_equal(remote_write_fault(&w.at, w.at.pos, w.at.fault, &err), TSDB_CORRUPT);
        assert_int_equal(err.pos, 2);
        tsdb_arena_deinit(&arena);
    }
}

static void read_metadata__strays__unknown_type_and_invalid_references(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_metadata m;
    OPEN(&f, "\x22\x00\x22\x01h\x2a\x06\x2a\x04\x08\x63\x18\x01");
    assert_ok(remote_write_v2_read_metadata(&f.w, &f.s, &m, NULL));
    assert_int_equal(m.type, TSDB_METRIC_UNKNOWN);
    assert_int_equal(m.help.len, 1);
    fixture_deinit(&f);
    OPEN(&f, "\x22\x00\x2a\x06\x2a\x04\x08\x01\x20\x01");
    assert_int_equal(remote_write_v2_read_metadata(&f.w, &f.s, &m, NULL), TSDB_INVALID);
    fixture_deinit(&f);
    OPEN(&f, "\x22\x00\x2a\x04\x2a\x02\x0a\x00");
    assert_int_equal(remote_write_v2_read_metadata(&f.w, &f.s, &m, NULL), TSDB_CORRUPT);
    fixture_deinit(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(walk__random_messages__agrees_with_protobuf_c),
    cmocka_unit_test(walk__encoded_body__every_part_in_order),
    cmocka_unit_test(walk__every_truncation_between_guard_pages__inside),
    cmocka_unit_test(open__symbols_behind_and_between_series__found),
    cmocka_unit_test(read_labels__references_not_packed__the_same),
    cmocka_unit_test(read_labels__bad_references__invalid_for_that_series),
    cmocka_unit_test(read_labels__reference_cut_or_too_long__corrupt),
    cmocka_unit_test(open__malformed_top_level__corrupt),
    cmocka_unit_test(open__too_many_symbols__limit_and_no_memory_asked),
    cmocka_unit_test(next__malformed_series__stays_at_the_fault),
    cmocka_unit_test(read_metadata__strays__unknown_type_and_invalid_references),
};
TEST_MAIN(tests)
