/* Format version 1 of chunks, held to files: what is encoded today, what docs/format/chunk.md shows
 * and what is decoded today must all be the bytes in tests/golden/chunk/v1/. Run from the
 * repository's root. */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "tsdb/chunk/chunk.h"

#define BYTES_MAX 1024

/* The examples of the format page. */
static const int64_t float_t[] = {1700000000000, 1700000015000, 1700000030000, 1700000045000};
static const int64_t float_start[] = {1699999999000, 1699999999000, 1699999999000, 1699999999000};
static const uint64_t float_value[] = {
    UINT64_C(0x4059000000000000), /* 100 */
    UINT64_C(0x4059400000000000), /* 101 */
    UINT64_C(0x405a400000000000), /* 105 */
    TSDB_STALE_NAN_BITS,
};
static const uint8_t raw_first[] = {0x01, 0x00, 0x02, 0, 0, 0,    0,    0,    0,    0, 0, 0,
                                    0,    0,    0,    0, 0, 0x08, 0x40, 0x03, 0x03, 0, 0, 0};
static const uint8_t raw_second[] = {0x01, 0x00, 0x02, 0, 0, 0,    0,    0,    0,    0, 0, 0,
                                     0,    0,    0,    0, 0, 0x10, 0x40, 0x04, 0x04, 0, 0, 0};
static const struct tsdb_raw_histogram raws[] = {{sizeof raw_first, raw_first},
                                                 {sizeof raw_second, raw_second}};
/* No raw forms that are known, so they stay as they are. */
static const struct tsdb_raw_histogram others[] = {{2, (const uint8_t[]){0x02, 0xff}},
                                                   {1, (const uint8_t[]){0x07}}};

enum example {
    FLOATS = 0,
    PACKED,
    PLAIN,
    EXAMPLES
};
static const char *const paths[EXAMPLES] = {"chunk/v1/float", "chunk/v1/histogram",
                                            "chunk/v1/histogram_plain"};

static struct chunk_samples example(enum example which)
{
    static uint64_t value[2];
    const struct tsdb_raw_histogram *raw = which == PACKED ? raws : others;
    value[0] = (uint64_t)(uintptr_t)&raw[0];
    value[1] = (uint64_t)(uintptr_t)&raw[1];
    if (which == FLOATS) {
        return (struct chunk_samples){TSDB_SAMPLE_FLOAT, 4, float_t, float_value, float_start};
    }
    return (struct chunk_samples){TSDB_SAMPLE_HISTOGRAM_INT, 2, float_t, value, NULL};
}

static void chunk_format_1__encoded_today__golden_bytes(void **state)
{
    (void)state;
    for (int k = 0; k < EXAMPLES; k++) {
        uint8_t encoded[BYTES_MAX];
        struct chunk_samples s = example((enum example)k);
        assert_true(chunk_encoded_bytes_max(&s) <= sizeof encoded);
        size_t len = chunk_encode(&s, NULL, encoded);
        golden_check(paths[k], encoded, len);
    }
}

static void chunk_format_1__page__golden_bytes(void **state)
{
    (void)state;
    for (unsigned k = 0; k < EXAMPLES; k++) {
        golden_check_page(paths[k], "docs/format/chunk.md", "```hexdump", k);
    }
}

static void raws_check(const struct chunk_samples *want, const struct chunk_samples *got)
{
    for (uint32_t i = 0; i < want->count; i++) {
        const struct tsdb_raw_histogram *a = (const void *)(uintptr_t)want->value[i];
        const struct tsdb_raw_histogram *b = (const void *)(uintptr_t)got->value[i];
        assert_int_equal(a->len, b->len);
        assert_memory_equal(a->data, b->data, a->len);
    }
}

static void chunk_format_1__golden_files__still_decoded(void **state)
{
    (void)state;
    for (int k = 0; k < EXAMPLES; k++) {
        uint8_t golden[BYTES_MAX];
        struct chunk_samples want = example((enum example)k), got;
        struct tsdb_arena arena;
        struct tsdb_error err;
        size_t len = golden_read(paths[k], golden, sizeof golden);
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
        assert_ok_err(chunk_decode(golden, len, &arena, &got, &err), &err);
        assert_int_equal(got.kind, want.kind);
        assert_int_equal(got.count, want.count);
        assert_memory_equal(got.t_ms, want.t_ms, want.count * sizeof *want.t_ms);
        assert_int_equal(got.start_ms != NULL, k == FLOATS);
        if (k == FLOATS) {
            assert_memory_equal(got.value, want.value, want.count * sizeof *want.value);
            assert_memory_equal(got.start_ms, want.start_ms, want.count * sizeof *want.start_ms);
        } else {
            raws_check(&want, &got);
        }
        tsdb_arena_deinit(&arena);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(chunk_format_1__encoded_today__golden_bytes),
    cmocka_unit_test(chunk_format_1__page__golden_bytes),
    cmocka_unit_test(chunk_format_1__golden_files__still_decoded),
};

TEST_MAIN(tests)
