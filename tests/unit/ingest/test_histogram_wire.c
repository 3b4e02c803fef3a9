#include "tests/support/test.h"

#include "base/limits.h"
#include "ingest/histogram_wire.h"
#include "ingest/remote_write.h"
#include "model/sample.h"
#include "tests/support/ingest/encode.h"

/* Differential and truncation tests stand in test_remote_write*.c, which walk into histograms. */

struct fixture {
    struct tsdb_arena arena;
    struct tsdb_histogram h;
    int64_t t_ms;
    int64_t start_ms;
    struct tsdb_error err;
};

static enum tsdb_status decode(struct fixture *f, const void *bytes, size_t len, bool has_start)
{
    memset(f, 0, sizeof *f);
    tsdb_arena_init(&f->arena, TSDB_MEM_OTHER, 4096, NULL);
    f->h.schema = 12345;
    enum tsdb_status status =
        histogram_wire_decode((struct tsdb_slice){bytes, len}, has_start, &f->arena, &f->h,
                              &f->t_ms, &f->start_ms, &f->err);
    assert_int_equal(f->err.status, status);
    assert_true(status == TSDB_OK || f->h.schema == 12345);
    return status;
}

static void expect(const char *bytes, size_t len, bool has_start, enum tsdb_status want)
{
    struct fixture f;
    assert_int_equal(decode(&f, bytes, len, has_start), want);
    tsdb_arena_deinit(&f.arena);
}
#define EXPECT(bytes, want) expect(bytes, sizeof(bytes) - 1, true, want)

static void decode__empty_message__an_empty_integer_histogram(void **state)
{
    (void)state;
    struct fixture f;
    assert_ok(decode(&f, "", 0, false));
    assert_false(f.h.is_float);
    assert_int_equal(f.h.schema, 0);
    assert_ok(tsdb_histogram_validate(&f.h, NULL));
    tsdb_arena_deinit(&f.arena);
}

static const struct tsdb_span spans[] = {{-3, 2}, {1, 1}};
static const int64_t deltas[] = {INT64_MAX, -5, INT64_MIN};
static const double counts[] = {1.5, 0, 1e300};
static const double bounds[] = {-1, 2.5};

static void expect_round_trip(const struct encode_histogram *e)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    struct encode_series series = {.histograms = e, .histogram_count = 1};
    encode_v1_series(&series, &b);
    struct remote_write_walker w;
    struct remote_write_series s;
    remote_write_init(&w, b.data, b.len);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_SERIES);
    struct remote_write_cursor c = remote_write_histograms(&w, &s);
    struct tsdb_slice message;
    assert_true(remote_write_next_message(&c, &message));
    struct fixture f;
    assert_ok(decode(&f, message.data, message.len, false));
    const struct tsdb_histogram *h = &e->histogram;
    assert_int_equal(f.t_ms, e->t_ms);
    assert_int_equal(f.h.is_float, h->is_float);
    assert_int_equal(f.h.reset_hint, h->reset_hint);
    assert_int_equal(f.h.schema, h->schema);
    assert_double_bits_equal(f.h.sum, h->sum);
    assert_double_bits_equal(f.h.zero_threshold, h->zero_threshold);
    assert_int_equal(f.h.count_int, h->count_int);
    assert_int_equal(f.h.zero_count_int, h->zero_count_int);
    assert_double_bits_equal(f.h.count_float, h->count_float);
    assert_double_bits_equal(f.h.zero_count_float, h->zero_count_float);
    assert_int_equal(f.h.positive_span_count, 2);
    assert_memory_equal(f.h.positive_spans, spans, sizeof spans);
    assert_memory_equal(f.h.negative_spans, spans, sizeof spans);
    assert_int_equal(f.h.positive_bucket_count, 3);
    assert_int_equal(f.h.negative_bucket_count, 3);
    if (h->is_float) {
        assert_memory_equal(f.h.positive_counts, counts, sizeof counts);
        assert_memory_equal(f.h.negative_counts, counts, sizeof counts);
    } else {
        assert_memory_equal(f.h.positive_deltas, deltas, sizeof deltas);
        assert_memory_equal(f.h.negative_deltas, deltas, sizeof deltas);
    }
    assert_int_equal(f.h.custom_count, 2);
    assert_memory_equal(f.h.custom_values, bounds, sizeof bounds);
    tsdb_arena_deinit(&f.arena);
    tsdb_buf_deinit(&b);
}

static void decode__encoded_histograms__the_same_to_the_bit(void **state)
{
    (void)state;
    struct encode_histogram e = {.t_ms = -7,
                                 .histogram = {.reset_hint = TSDB_RESET_NO,
                                               .schema = TSDB_HISTOGRAM_SCHEMA_CUSTOM,
                                               .sum = tsdb_bits_double(TSDB_STALE_NAN_BITS),
                                               .zero_threshold = 1e-128,
                                               .count_int = UINT64_MAX,
                                               .zero_count_int = 1,
                                               .positive_span_count = 2,
                                               .negative_span_count = 2,
                                               .positive_spans = spans,
                                               .negative_spans = spans,
                                               .positive_bucket_count = 3,
                                               .negative_bucket_count = 3,
                                               .positive_deltas = deltas,
                                               .negative_deltas = deltas,
                                               .custom_count = 2,
                                               .custom_values = bounds}};
    expect_round_trip(&e);
    struct tsdb_histogram *h = &e.histogram;
    h->is_float = true;
    h->reset_hint = TSDB_RESET_GAUGE;
    h->count_int = h->zero_count_int = 0;
    h->count_float = 0; /* the member of the oneof still says that it is a float */
    h->zero_count_float = tsdb_bits_double(TSDB_NORMAL_NAN_BITS);
    h->positive_deltas = h->negative_deltas = NULL;
    h->positive_counts = h->negative_counts = counts;
    expect_round_trip(&e);
}

static void decode__both_members_of_the_oneof__the_last_one_counts(void **state)
{
    (void)state;
    struct fixture f;
    const char int_last[] = "\x11\x00\x00\x00\x00\x00\x00\xf0\x3f\x08\x05";
    assert_ok(decode(&f, int_last, sizeof int_last - 1, false));
    assert_false(f.h.is_float);
    assert_int_equal(f.h.count_int, 5);
    assert_double_bits_equal(f.h.count_float, 0.0);
    tsdb_arena_deinit(&f.arena);
    const char float_last[] = "\x08\x05\x30\x02\x11\x00\x00\x00\x00\x00\x00\xf0\x3f";
    assert_ok(decode(&f, float_last, sizeof float_last - 1, false));
    assert_true(f.h.is_float);
    assert_int_equal(f.h.count_int, 0);
    assert_int_equal(f.h.zero_count_int, 0);
    assert_double_bits_equal(f.h.count_float, 1.0);
    tsdb_arena_deinit(&f.arena);
}

static void decode__packed_and_single_mixed__in_order(void **state)
{
    (void)state;
    struct fixture f;
    const char mixed[] = "\x48\x02\x4a\x02\x04\x06\x48\x03"; /* deltas 1, [2, 3], -2 */
    assert_ok(decode(&f, mixed, sizeof mixed - 1, false));
    const int64_t want[] = {1, 2, 3, -2};
    assert_int_equal(f.h.negative_bucket_count, 4);
    assert_memory_equal(f.h.negative_deltas, want, sizeof want);
    tsdb_arena_deinit(&f.arena);
}

static void decode__arrays_of_the_other_kind__checked_and_left_out(void **state)
{
    (void)state;
    struct fixture f;
    const char other[] = "\x08\x00\x52\x08\x00\x00\x00\x00\x00\x00\xf0\x3f\x4a\x01\x04";
    assert_ok(decode(&f, other, sizeof other - 1, false));
    assert_int_equal(f.h.negative_bucket_count, 1);
    assert_int_equal(f.h.negative_deltas[0], 2);
    assert_null(f.h.negative_counts);
    tsdb_arena_deinit(&f.arena);
    EXPECT("\x08\x00\x52\x07\x00\x00\x00\x00\x00\x00\xf0", TSDB_CORRUPT);
    EXPECT("\x11\x00\x00\x00\x00\x00\x00\x00\x00\x4a\x01\x80", TSDB_CORRUPT);
}

static void decode__start_timestamp__only_where_the_version_has_it(void **state)
{
    (void)state;
    const char start[] = "\x88\x01\x09";
    struct fixture f;
    assert_ok(decode(&f, start, sizeof start - 1, true));
    assert_int_equal(f.start_ms, 9);
    tsdb_arena_deinit(&f.arena);
    assert_ok(decode(&f, start, sizeof start - 1, false));
    assert_int_equal(f.start_ms, 0);
    tsdb_arena_deinit(&f.arena);
    const char wrong[] = "\x8a\x01\x00"; /* length-delimited: an unknown field of 1.0 */
    expect(wrong, sizeof wrong - 1, true, TSDB_CORRUPT);
    expect(wrong, sizeof wrong - 1, false, TSDB_OK);
}

static void decode__malformed__corrupt(void **state)
{
    (void)state;
    EXPECT("\x09\x01", TSDB_CORRUPT);         /* count_int fixed64 */
    EXPECT("\x18\x01", TSDB_CORRUPT);         /* sum a varint */
    EXPECT("\x42\x02\x0a\x00", TSDB_CORRUPT); /* span offset a string */
    EXPECT("\x42\x05\x08", TSDB_CORRUPT);     /* span too long */
    EXPECT("\x40\x05", TSDB_CORRUPT);         /* span a varint */
    EXPECT("\x4a\xff\xff\xff\xff\x07", TSDB_CORRUPT);
    EXPECT("\x82\x01\x09 12345678", TSDB_CORRUPT); /* 9 bytes of doubles */
    EXPECT("\x4a\x0b\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", TSDB_CORRUPT);
    EXPECT("\x0b", TSDB_CORRUPT);
    EXPECT("\x70\x04", TSDB_INVALID); /* reset hint 4 */
}

static void decode__too_many_elements__invalid_before_memory(void **state)
{
    (void)state;
    size_t n = TSDB_HISTOGRAM_BUCKETS_MAX;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_u8(&b, 0x4a);
    tsdb_buf_put_uvarint(&b, n);
    uint8_t *zeroes = tsdb_buf_reserve(&b, n);
    memset(zeroes, 0, n);
    b.len += n;
    struct fixture f;
    assert_ok(decode(&f, b.data, b.len, false));
    assert_int_equal(f.h.negative_bucket_count, n);
    tsdb_arena_deinit(&f.arena);
    tsdb_buf_put(&b, "\x42\x00", 2); /* one span more */
    tsdb_alloc_fail_nth(1, 1);
    assert_int_equal(decode(&f, b.data, b.len, false), TSDB_INVALID);
    tsdb_alloc_ops_set(NULL);
    tsdb_arena_deinit(&f.arena);
    tsdb_buf_deinit(&b);
}

static void decode__each_allocation_fails__nomem(void **state)
{
    (void)state;
    /* Five arrays, each larger than what an arena of 256 bytes has left. */
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    for (int i = 0; i < 40; i++) {
        tsdb_buf_put(&b, "\x42\x00\x48\x02\x5a\x00\x60\x02", 8);
        tsdb_buf_put(&b, "\x81\x01", 2);
        tsdb_buf_put_le64(&b, 1);
    }
    int failures = 0;
    for (uint64_t nth = 1; nth < 12; nth++) {
        struct fixture f;
        memset(&f, 0, sizeof f);
        tsdb_arena_init(&f.arena, TSDB_MEM_OTHER, 256, NULL);
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status =
            histogram_wire_decode((struct tsdb_slice){b.data, b.len}, false, &f.arena, &f.h,
                                  &f.t_ms, &f.start_ms, &f.err);
        uint64_t seen = tsdb_alloc_fail_count();
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, seen >= nth ? TSDB_NOMEM : TSDB_OK);
        failures += status == TSDB_NOMEM;
        tsdb_arena_deinit(&f.arena);
    }
    assert_true(failures >= 3);
    tsdb_buf_deinit(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(decode__empty_message__an_empty_integer_histogram),
    cmocka_unit_test(decode__encoded_histograms__the_same_to_the_bit),
    cmocka_unit_test(decode__both_members_of_the_oneof__the_last_one_counts),
    cmocka_unit_test(decode__packed_and_single_mixed__in_order),
    cmocka_unit_test(decode__arrays_of_the_other_kind__checked_and_left_out),
    cmocka_unit_test(decode__start_timestamp__only_where_the_version_has_it),
    cmocka_unit_test(decode__malformed__corrupt),
    cmocka_unit_test(decode__too_many_elements__invalid_before_memory),
    cmocka_unit_test(decode__each_allocation_fails__nomem),
};
TEST_MAIN(tests)
