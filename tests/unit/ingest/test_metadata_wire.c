#include "tests/support/test.h"

#include "ingest/metadata_wire.h"
#include "ingest/remote_write.h"
#include "tests/support/ingest/encode.h"

static enum tsdb_status decode(const void *bytes, size_t len, struct tsdb_arena *arena,
                               struct tsdb_metadata *out)
{
    struct tsdb_error err = {0};
    enum tsdb_status status =
        metadata_wire_decode((struct tsdb_slice){bytes, len}, arena, out, &err);
    assert_int_equal(err.status, status);
    return status;
}

static void expect(const char *bytes, size_t len, enum tsdb_status want)
{
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    struct tsdb_metadata m;
    assert_int_equal(decode(bytes, len, &arena, &m), want);
    tsdb_arena_deinit(&arena);
}
#define EXPECT(bytes, want) expect(bytes, sizeof(bytes) - 1, want)

static void decode__encoded_metadata__the_same(void **state)
{
    (void)state;
    struct tsdb_metadata in = {.metric = {(const uint8_t *)"http_requests_total", 19},
                               .help = {(const uint8_t *)"Requests \xc3\xa9.", 12},
                               .unit = {(const uint8_t *)"requests", 8},
                               .type = TSDB_METRIC_COUNTER};
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    encode_v1_metadata(&in, &b);
    struct remote_write_walker w;
    struct remote_write_series s;
    remote_write_init(&w, b.data, b.len);
    assert_int_equal(remote_write_next(&w, &s), REMOTE_WRITE_METADATA);
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    struct tsdb_metadata out;
    assert_ok(decode(s.message.data, s.message.len, &arena, &out));
    memset(b.data, 0, b.len); /* the strings are copies */
    assert_int_equal(out.type, TSDB_METRIC_COUNTER);
    assert_int_equal(out.metric.len, 19);
    assert_memory_equal(out.metric.data, in.metric.data, 19);
    assert_int_equal(out.help.len, 12);
    assert_memory_equal(out.help.data, in.help.data, 12);
    assert_int_equal(out.unit.len, 8);
    tsdb_arena_deinit(&arena);
    tsdb_buf_deinit(&b);
}

static void decode__strays__refused_or_unknown(void **state)
{
    (void)state;
    EXPECT("\x12\x01x", TSDB_OK);
    EXPECT("", TSDB_INVALID);             /* no name */
    EXPECT("\x12\x01\xff", TSDB_INVALID); /* UTF-8 */
    EXPECT("\x12\x01x\x22\x01\xff", TSDB_INVALID);
    EXPECT("\x12\x05x", TSDB_CORRUPT);
    EXPECT("\x10\x05", TSDB_CORRUPT);      /* the name a varint */
    EXPECT("\x12\x01x\x0b", TSDB_CORRUPT); /* group */
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    struct tsdb_metadata m;
    assert_ok(decode("\x08\x63\x12\x01x", 5, &arena, &m));
    assert_int_equal(m.type, TSDB_METRIC_UNKNOWN);
    tsdb_arena_deinit(&arena);
}

static void decode__too_long__invalid_without_memory(void **state)
{
    (void)state;
    uint8_t *bytes = test_calloc(1, METADATA_WIRE_BYTES_MAX + 1);
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    struct tsdb_metadata m;
    tsdb_alloc_fail_nth(1, 1);
    assert_int_equal(decode(bytes, METADATA_WIRE_BYTES_MAX + 1, &arena, &m), TSDB_INVALID);
    assert_int_equal(tsdb_alloc_fail_count(), 0);
    tsdb_alloc_ops_set(NULL);
    tsdb_arena_deinit(&arena);
    test_free(bytes);
}

static void decode__each_allocation_fails__nomem(void **state)
{
    (void)state;
    uint8_t bytes[600] = {0x12, 0xf4, 0x03}; /* a name of 500 bytes */
    memset(bytes + 3, 'x', 500);
    memcpy(bytes + 503, "\x22\x40", 2);
    memset(bytes + 505, 'y', 64);
    int failures = 0;
    for (uint64_t nth = 1; nth < 8; nth++) {
        struct tsdb_arena arena;
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 256, NULL);
        struct tsdb_metadata m;
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = decode(bytes, 569, &arena, &m);
        uint64_t seen = tsdb_alloc_fail_count();
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, seen >= nth ? TSDB_NOMEM : TSDB_OK);
        failures += status == TSDB_NOMEM;
        tsdb_arena_deinit(&arena);
    }
    assert_true(failures >= 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(decode__encoded_metadata__the_same),
    cmocka_unit_test(decode__strays__refused_or_unknown),
    cmocka_unit_test(decode__too_long__invalid_without_memory),
    cmocka_unit_test(decode__each_allocation_fails__nomem),
};
TEST_MAIN(tests)
