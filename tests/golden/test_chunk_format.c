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
static uint64_t raw_value[2];

static struct chunk_samples example(bool is_float)
{
    raw_value[0] = (uint64_t)(uintptr_t)&raws[0];
    raw_value[1] = (uint64_t)(uintptr_t)&raws[1];
    if (is_float) {
        return (struct chunk_samples){TSDB_SAMPLE_FLOAT, 4, float_t, float_value, float_start};
    }
    return (struct chunk_samples){TSDB_SAMPLE_HISTOGRAM_INT, 2, float_t, raw_value, NULL};
}

static const char *golden_path(bool is_float)
{
    return is_float ? "chunk/v1/float" : "chunk/v1/histogram";
}

static void chunk_format_1__encoded_today__golden_bytes(void **state)
{
    (void)state;
    for (int is_float = 0; is_float < 2; is_float++) {
        uint8_t encoded[BYTES_MAX];
        struct chunk_samples s = example(is_float);
        assert_true(chunk_encoded_bytes_max(&s) <= sizeof encoded);
        size_t len = chunk_encode(&s, NULL, encoded);
        golden_check(golden_path(is_float), encoded, len);
    }
}

static void chunk_format_1__page__golden_bytes(void **state)
{
    (void)state;
    golden_check_page(golden_path(true), "docs/format/chunk.md", "```hexdump", 0);
    golden_check_page(golden_path(false), "docs/format/chunk.md", "```hexdump", 1);
}

static void chunk_format_1__golden_files__still_decoded(void **state)
{
    (void)state;
    for (int is_float = 0; is_float < 2; is_float++) {
        uint8_t golden[BYTES_MAX];
        struct chunk_samples want = example(is_float), got;
        struct tsdb_arena arena;
        struct tsdb_error err;
        size_t len = golden_read(golden_path(is_float), golden, sizeof golden);
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
        assert_ok_err(chunk_decode(golden, len, &arena, &got, &err), &err);
        assert_int_equal(got.kind, want.kind);
        assert_int_equal(got.count, want.count);
        assert_memory_equal(got.t_ms, want.t_ms, want.count * sizeof *want.t_ms);
        assert_int_equal(got.start_ms != NULL, is_float);
        if (is_float) {
            assert_memory_equal(got.value, want.value, want.count * sizeof *want.value);
            assert_memory_equal(got.start_ms, want.start_ms, want.count * sizeof *want.start_ms);
        } else {
            for (uint32_t i = 0; i < want.count; i++) {
                const struct tsdb_raw_histogram *raw = (const void *)(uintptr_t)got.value[i];
                struct tsdb_histogram h;
                assert_int_equal(raw->len, raws[i].len);
                assert_memory_equal(raw->data, raws[i].data, raw->len);
                assert_ok_err(tsdb_histogram_decode(raw->data, raw->len, &arena, &h, &err), &err);
                assert_int_equal(h.count_int, 3 + i);
            }
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
