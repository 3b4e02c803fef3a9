/* Format version 1 of chunks, held to files: what is encoded today, what docs/format/chunk.md shows
 * and what is decoded today must all be the bytes in tests/golden/chunk/v1/. Run from the
 * repository's root. */
#include "tests/support/test.h"

#include "tsdb/chunk/chunk.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_PATH "docs/format/chunk.md"
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

static size_t file_read(const char *path, void *out, size_t cap)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("%s: not found; run from the repository's root", path);
        return 0;
    }
    size_t len = fread(out, 1, cap, f);
    fclose(f);
    return len;
}

static size_t golden_read(bool is_float, uint8_t *out)
{
    return file_read(is_float ? "tests/golden/chunk/v1/float" : "tests/golden/chunk/v1/histogram",
                     out, BYTES_MAX);
}

/* Compare, and print what there is as the page shows it. */
static void assert_bytes(const char *what, const uint8_t *got, size_t got_len, const uint8_t *want,
                         size_t want_len)
{
    if (got_len == want_len && memcmp(got, want, want_len) == 0) {
        return;
    }
    for (size_t at = 0; at < got_len; at += 16) {
        fprintf(stderr, "%04zx ", at);
        for (size_t i = at; i < at + 16 && i < got_len; i++) {
            fprintf(stderr, " %02x", got[i]);
        }
        fprintf(stderr, "\n");
    }
    fail_msg("%s: %zu bytes as above differ from the golden file's %zu", what, got_len, want_len);
}

static void chunk_format_1__encoded_today__golden_bytes(void **state)
{
    (void)state;
    for (int is_float = 0; is_float < 2; is_float++) {
        uint8_t encoded[BYTES_MAX], golden[BYTES_MAX];
        struct chunk_samples s = example(is_float);
        assert_true(chunk_encoded_bytes_max(&s) <= sizeof encoded);
        size_t len = chunk_encode(&s, NULL, encoded);
        assert_bytes("encoded today", encoded, len, golden, golden_read(is_float, golden));
    }
}

/* The n-th block of the page that begins with ```hexdump: "offset  byte byte ...". */
static size_t page_bytes(int n, uint8_t *out)
{
    static char page[65536];
    page[file_read(PAGE_PATH, page, sizeof page - 1)] = 0;
    char *block = page;
    for (int i = 0; i <= n; i++) {
        block = strstr(block + 1, "```hexdump\n");
        assert_non_null(block);
    }
    char *end = strstr(block + 3, "```\n");
    assert_non_null(end);
    *end = 0;
    size_t len = 0;
    char *save, *line = strtok_r(block, "\n", &save);
    while ((line = strtok_r(NULL, "\n", &save)) != NULL) {
        assert_int_equal(strtoul(line, &line, 16), len);
        char *after;
        for (unsigned long byte = strtoul(line, &after, 16); after != line;
             byte = strtoul(line, &after, 16)) {
            assert_true(byte < 256 && len < BYTES_MAX);
            out[len++] = (uint8_t)byte;
            line = after;
        }
    }
    return len;
}

static void chunk_format_1__page__golden_bytes(void **state)
{
    (void)state;
    for (int is_float = 0; is_float < 2; is_float++) {
        uint8_t page[BYTES_MAX], golden[BYTES_MAX];
        size_t len = page_bytes(!is_float, page);
        assert_bytes(PAGE_PATH, page, len, golden, golden_read(is_float, golden));
    }
}

static void chunk_format_1__golden_files__still_decoded(void **state)
{
    (void)state;
    for (int is_float = 0; is_float < 2; is_float++) {
        uint8_t golden[BYTES_MAX];
        struct chunk_samples want = example(is_float), got;
        struct tsdb_arena arena;
        struct tsdb_error err;
        size_t len = golden_read(is_float, golden);
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
