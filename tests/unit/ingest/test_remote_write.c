#include "tests/support/test.h"

#include "ingest/remote_write.h"
#include "model/sample.h"
#include "tests/fuzz/remote_write/compare.h"
#include "tests/support/guard.h"
#include "tests/support/ingest/encode.h"
#include "tests/unit/ingest/generate.h"

#include <stdio.h>

/* ---- against protobuf-c ---- */

struct tally {
    int rounds;
    int accepted; /* by protobuf-c: a test of rejected messages alone would say little */
};

static void compare_round(struct tsdb_buf *b, uint64_t seed, struct tally *t)
{
    const char *fault = compare_v1(b->data, b->len);
    if (fault != NULL) {
        fail_msg("seed %llu: %s", (unsigned long long)seed, fault);
    }
    Rw1__WriteRequest *o = rw1__write_request__unpack(NULL, b->len, b->data);
    t->rounds++;
    t->accepted += o != NULL;
    if (o != NULL) {
        rw1__write_request__free_unpacked(o, NULL);
    }
}

static void walk__random_messages__agrees_with_protobuf_c(void **state)
{
    (void)state;
    struct tally whole = {0};
    struct tally broken = {0};
    for (uint64_t seed = 0; seed < 6000; seed++) {
        struct generator g = {.plain = seed % 3 == 0, .faulty = seed % 3 == 2};
        tsdb_prng_init(&g.r, seed);
        struct tsdb_buf b;
        tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
        put_message(&g, &b, &rw1__write_request__descriptor);
        compare_round(&b, seed, &whole);
        mutate(&g, &b);
        compare_round(&b, seed, &broken);
        tsdb_buf_deinit(&b);
    }
    assert_true(whole.accepted > whole.rounds * 3 / 4);
    assert_true(broken.accepted > broken.rounds / 10);
    assert_true(broken.accepted < broken.rounds * 9 / 10);
}

/* ---- a body made by hand ---- */

static const struct tsdb_span spans[] = {{0, 2}, {1, 2}};
static const int64_t deltas[] = {1, 1, -1, 0};

/* One series of everything, and one with a single sample. */
static void put_example(struct tsdb_buf *b)
{
    struct tsdb_label labels[] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "x")};
    struct tsdb_label trace[] = {tsdb_label_make("trace_id", "abc")};
    struct encode_sample samples[] = {{.t_ms = 1700000000000, .bits = TSDB_STALE_NAN_BITS},
                                      {.t_ms = 0, .bits = 0},
                                      {.t_ms = -1, .bits = UINT64_C(1) << 63}};
    struct tsdb_exemplar exemplar = {
        .labels = {trace, 1}, .bits = tsdb_double_bits(0.5), .t_ms = 1700000000001};
    struct encode_histogram histogram = {.t_ms = 1700000000002,
                                         .histogram = {.schema = 1,
                                                       .count_int = 7,
                                                       .zero_count_int = 2,
                                                       .sum = 1.5,
                                                       .positive_span_count = 2,
                                                       .positive_spans = spans,
                                                       .positive_bucket_count = 4,
                                                       .positive_deltas = deltas}};
    struct encode_series all = {.labels = {labels, 2},
                                .samples = samples,
                                .sample_count = 3,
                                .exemplars = &exemplar,
                                .exemplar_count = 1,
                                .histograms = &histogram,
                                .histogram_count = 1};
    struct encode_series one = {.labels = {labels, 2}, .samples = samples, .sample_count = 1};
    struct tsdb_metadata metadata = {.metric = {(const uint8_t *)"up", 2},
                                     .help = {(const uint8_t *)"Is it?", 6},
                                     .type = TSDB_METRIC_GAUGE};
    encode_v1_series(&all, b);
    encode_v1_metadata(&metadata, b);
    encode_v1_series(&one, b);
    assert_false(b->failed);
}

static void walk__encoded_body__every_part_in_order(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    put_example(&b);
    struct remote_write_walker w;
    struct remote_write_series s;
    remote_write_init(&w, b.data, b.len);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_SERIES);
    assert_int_equal(s.label_count, 2);
    assert_int_equal(s.sample_count, 3);
    assert_int_equal(s.exemplar_count, 1);
    assert_int_equal(s.histogram_count, 1);
    assert_true(s.labels_contiguous);
    const char raw[] = "\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x03job\x12\x01x";
    assert_int_equal(s.labels.len, sizeof raw - 1);
    assert_memory_equal(s.labels.data, raw, sizeof raw - 1);
    struct remote_write_cursor c = remote_write_samples(&w, &s);
    int64_t t = 7;
    int64_t start = 7;
    uint64_t bits = 7;
    assert_true(remote_write_next_sample(&c, &t, &start, &bits));
    assert_true(t == 1700000000000 && bits == TSDB_STALE_NAN_BITS);
    assert_true(remote_write_next_sample(&c, &t, &start, &bits));
    assert_true(t == 0 && bits == 0);
    assert_true(remote_write_next_sample(&c, &t, &start, &bits));
    assert_true(t == -1 && bits == UINT64_C(1) << 63);
    assert_false(remote_write_next_sample(&c, &t, &start, &bits));
    assert_false(c.failed);
    struct tsdb_slice message;
    c = remote_write_exemplars(&w, &s);
    assert_true(remote_write_next_message(&c, &message));
    struct tsdb_label items[2];
    struct tsdb_exemplar e;
    assert_ok(remote_write_read_exemplar(&w, message, items, 2, &e, NULL));
    assert_int_equal(e.labels.count, 1);
    assert_int_equal(e.t_ms, 1700000000001);
    assert_memory_equal(items[0].value, "abc", 3);
    assert_int_equal(remote_write_read_exemplar(&w, message, items, 0, &e, NULL), TSDB_LIMIT);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_METADATA);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_SERIES);
    assert_int_equal(s.sample_count, 1);
    assert_int_equal(s.exemplar_count + s.histogram_count, 0);
    uint32_t count = 0;
    assert_int_equal(remote_write_read_labels(&w, &s, items, 1, &count, NULL), TSDB_LIMIT);
    assert_ok(remote_write_read_labels(&w, &s, items, 2, &count, NULL));
    assert_int_equal(count, 2);
    assert_memory_equal(items[1].name, "job", 3);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_END);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_END);
    tsdb_buf_deinit(&b);
}

static void walk__every_truncation_between_guard_pages__inside(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    put_example(&b);
    walk_every_truncation(&b, compare_v1);
    tsdb_buf_deinit(&b);
}

/* ---- cases ---- */

static struct remote_write_walker first_walker;

static enum remote_write_item first_item(const char *bytes, size_t len,
                                         struct remote_write_series *s)
{
    assert_null(compare_v1((const uint8_t *)bytes, len));
    struct remote_write_walker w;
    remote_write_init(&w, (const uint8_t *)bytes, len);
    enum remote_write_item item = remote_write_next(&w, s);
    first_walker = w;
    if (item == REMOTE_WRITE_MALFORMED) {
        struct tsdb_error err = {0};
        assert_int_equal(remote_write_fault(&w, w.pos, w.fault, &err), TSDB_CORRUPT);
        assert_non_null(strstr(err.msg, "remote write: malformed"));
        assert_true(err.pos <= len);
    }
    return item;
}
#define FIRST(bytes, s) first_item(bytes, sizeof(bytes) - 1, s)

static void walk__nothing_and_unknown_fields__end(void **state)
{
    (void)state;
    struct remote_write_series s;
    assert_int_equal(FIRST("", &s), REMOTE_WRITE_END);
    struct remote_write_walker w;
    remote_write_init(&w, NULL, 0);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_END);
    /* A 2.0 body is fields 4 and 5: empty here. */
    assert_int_equal(FIRST("\x22\x00\x2a\x00", &s), REMOTE_WRITE_END);
    assert_int_equal(FIRST("\x10\x01\x25"
                           "1234"
                           "\x29"
                           "12345678",
                           &s),
                     REMOTE_WRITE_END);
}

static void walk__absurd_lengths_and_groups__malformed(void **state)
{
    (void)state;
    struct remote_write_series s;
    assert_int_equal(FIRST("\x0a", &s), REMOTE_WRITE_MALFORMED);
    assert_int_equal(FIRST("\x0a\x01", &s), REMOTE_WRITE_MALFORMED);
    assert_int_equal(FIRST("\x0a\x80", &s), REMOTE_WRITE_MALFORMED);
    assert_int_equal(FIRST("\x0a\xff\xff\xff\xff\x0f", &s), REMOTE_WRITE_MALFORMED);
    assert_int_equal(FIRST("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &s),
                     REMOTE_WRITE_MALFORMED);
    assert_int_equal(FIRST("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &s),
                     REMOTE_WRITE_MALFORMED);
    assert_int_equal(FIRST("\x0a\x02\x0a\x01", &s), REMOTE_WRITE_MALFORMED); /* label too long */
    assert_int_equal(FIRST("\x0a\x02\x12\x09", &s), REMOTE_WRITE_MALFORMED); /* sample too long */
    assert_int_equal(FIRST("\x0a\x02\x08\x01", &s), REMOTE_WRITE_MALFORMED); /* label a varint */
    assert_int_equal(FIRST("\x08\x01", &s), REMOTE_WRITE_MALFORMED);         /* series a varint */
    assert_int_equal(FIRST("\x18\x01", &s), REMOTE_WRITE_MALFORMED);         /* metadata a varint */
    assert_int_equal(FIRST("\x0b\x0c", &s), REMOTE_WRITE_MALFORMED);         /* group */
    assert_int_equal(FIRST("\x53\x54", &s), REMOTE_WRITE_MALFORMED);         /* unknown group */
    assert_int_equal(FIRST("\x0e", &s), REMOTE_WRITE_MALFORMED);             /* type 6 */
    assert_int_equal(FIRST("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", &s), REMOTE_WRITE_MALFORMED);
}

/* Labels between other fields: found all the same, but no key for an alias. */
static void walk__labels_apart__read_and_not_contiguous(void **state)
{
    (void)state;
    struct remote_write_series s;
    const char apart[] = "\x0a\x12"
                         "\x0a\x05\x0a\x01"
                         "b\x12\x00"
                         "\x12\x02\x10\x09"
                         "\x0a\x05\x0a\x01"
                         "a\x12\x00";
    assert_int_equal(FIRST(apart, &s), REMOTE_WRITE_SERIES);
    assert_false(s.labels_contiguous);
    assert_int_equal(s.label_count, 2);
    assert_int_equal(s.sample_count, 1);
    const char unknown_between[] = "\x0a\x10"
                                   "\x0a\x05\x0a\x01"
                                   "b\x12\x00"
                                   "\x78\x05"
                                   "\x0a\x05\x0a\x01"
                                   "a\x12\x00";
    assert_int_equal(FIRST(unknown_between, &s), REMOTE_WRITE_SERIES);
    assert_false(s.labels_contiguous);
    const char behind[] = "\x0a\x12"
                          "\x12\x02\x10\x09"
                          "\x0a\x05\x0a\x01"
                          "b\x12\x00"
                          "\x0a\x05\x0a\x01"
                          "a\x12\x00";
    assert_int_equal(FIRST(behind, &s), REMOTE_WRITE_SERIES);
    assert_true(s.labels_contiguous);
    assert_int_equal(s.labels.len, 14);
    struct remote_write_cursor c = remote_write_samples(&first_walker, &s);
    int64_t t = 0;
    int64_t start = 0;
    uint64_t bits = 0;
    assert_true(remote_write_next_sample(&c, &t, &start, &bits));
    assert_int_equal(t, 9);
    assert_false(remote_write_next_sample(&c, &t, &start, &bits));
    assert_false(c.failed);
    assert_int_equal(FIRST("\x0a\x04\x12\x02\x10\x09", &s), REMOTE_WRITE_SERIES);
    assert_false(s.labels_contiguous); /* none */
}

/* The timestamp is read without a loop: every width, each at the very end of the body, and values
 * in any order. */
static void next_sample__timestamps_of_every_width__exact(void **state)
{
    (void)state;
    struct test_guard g;
    test_guard_init(&g, 64);
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int neighbour = -1; neighbour <= 1; neighbour++) {
            int64_t want = (int64_t)((UINT64_C(1) << shift) + (uint64_t)neighbour);
            uint8_t body[40] = {0x0a, 0, 0x12, 0, 0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x10};
            uint8_t *end = tsdb_put_uvarint(body + 14, (uint64_t)want);
            body[1] = (uint8_t)(end - body - 2);
            body[3] = (uint8_t)(end - body - 4);
            size_t len = (size_t)(end - body);
            uint8_t *p = test_guard_at_end(&g, body, len);
            assert_null(compare_v1(p, len));
            struct remote_write_walker w;
            struct remote_write_series s;
            remote_write_init(&w, p, len);
            assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_SERIES);
            struct remote_write_cursor c = remote_write_samples(&w, &s);
            int64_t t = 0;
            int64_t start = 0;
            uint64_t bits = 0;
            assert_true(remote_write_next_sample(&c, &t, &start, &bits));
            assert_true(t == want);
            assert_true(bits == UINT64_C(0x0807060504030201));
        }
    }
    test_guard_deinit(&g);
}

static void next_sample__malformed__fails_and_stays_failed(void **state)
{
    (void)state;
    const char *bad[] = {
        "\x0a\x05\x12\x03\x09\x01\x02",         /* value cut */
        "\x0a\x04\x12\x02\x10\x80",             /* timestamp cut */
        "\x0a\x04\x12\x02\x08\x01",             /* value a varint */
        "\x0a\x07\x12\x05\x15\x01\x01\x01\x01", /* timestamp fixed32 */
        "\x0a\x0d\x12\x0b\x09\x01\x01\x01\x01\x01\x01\x01\x01\x10\x80",
        "\x0a\x0e\x12\x0c\x09\x01\x01\x01\x01\x01\x01\x01\x01\x10\x80\x80",
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        size_t len = 2 + (size_t)bad[i][1];
        assert_null(compare_v1((const uint8_t *)bad[i], len));
        struct remote_write_walker w;
        struct remote_write_series s;
        remote_write_init(&w, (const uint8_t *)bad[i], len);
        assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_SERIES);
        struct remote_write_cursor c = remote_write_samples(&w, &s);
        int64_t t = 0;
        int64_t start = 0;
        uint64_t bits = 0;
        assert_false(remote_write_next_sample(&c, &t, &start, &bits));
        assert_true(c.failed);
        assert_false(remote_write_next_sample(&c, &t, &start, &bits));
        assert_int_equal(remote_write_fault(&w, c.pos, "sample", NULL), TSDB_CORRUPT);
    }
}

static void next_sample__varint_shorter_than_its_room__last_of_repeats_wins(void **state)
{
    (void)state;
    /* value, timestamp 5, timestamp 6: the fast path must see that the varint ends early. */
    const char twice[] = "\x0a\x0f\x12\x0d\x09\x01\x01\x01\x01\x01\x01\x01\x01\x10\x05\x10\x06";
    struct remote_write_series s;
    assert_int_equal(FIRST(twice, &s), REMOTE_WRITE_SERIES);
    struct remote_write_cursor c = remote_write_samples(&first_walker, &s);
    int64_t t = 0;
    int64_t start = 0;
    uint64_t bits = 0;
    assert_true(remote_write_next_sample(&c, &t, &start, &bits));
    assert_int_equal(t, 6);
}

static void read_labels__malformed_label__corrupt(void **state)
{
    (void)state;
    const char *bad[] = {"\x0a\x04\x0a\x02\x0a\x05", "\x0a\x04\x0a\x02\x08\x05",
                         "\x0a\x03\x0a\x01\x0a", "\x0a\x06\x0a\x04\x0a\x01x\x12"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        size_t len = 2 + (size_t)bad[i][1];
        assert_null(compare_v1((const uint8_t *)bad[i], len));
        struct remote_write_walker w;
        struct remote_write_series s;
        remote_write_init(&w, (const uint8_t *)bad[i], len);
        assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_SERIES);
        struct tsdb_label items[4];
        uint32_t count = 77;
        struct tsdb_error err = {0};
        assert_int_equal(remote_write_read_labels(&w, &s, items, 4, &count, &err), TSDB_CORRUPT);
        assert_int_equal(count, 77);
        assert_int_equal(err.pos, 4);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(walk__random_messages__agrees_with_protobuf_c),
    cmocka_unit_test(walk__encoded_body__every_part_in_order),
    cmocka_unit_test(walk__every_truncation_between_guard_pages__inside),
    cmocka_unit_test(walk__nothing_and_unknown_fields__end),
    cmocka_unit_test(walk__absurd_lengths_and_groups__malformed),
    cmocka_unit_test(walk__labels_apart__read_and_not_contiguous),
    cmocka_unit_test(next_sample__timestamps_of_every_width__exact),
    cmocka_unit_test(next_sample__malformed__fails_and_stays_failed),
    cmocka_unit_test(next_sample__varint_shorter_than_its_room__last_of_repeats_wins),
    cmocka_unit_test(read_labels__malformed_label__corrupt),
};
TEST_MAIN(tests)
