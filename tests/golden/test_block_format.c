/* Version 1 of blocks, held to files: what is written today, what docs/format/index.md and block.md
 * show, and what is read today must all be the bytes in tests/golden/block/v1/. Run from the
 * repository's root. */
#include "tests/support/test.h"

#include "base/file.h"
#include "tsdb/block/block_private.h"

#include <stdio.h>
#include <stdlib.h>

#define GOLDEN_DIR "tests/golden/block/v1/"
#define ULID       "01HF7YAT000000000000000001"
#define DIR        "blocks/" ULID
#define BYTES_MAX  8192
#define SAMPLES    12u
#define FIRST_MS   INT64_C(1699999200000)

static const struct {
    const char *name;
    const char *page;
    int block; /* which hexdump of the page; -1: the json block */
} files[] = {{"index", "docs/format/index.md", 0},
             {"chunks", "docs/format/block.md", 0},
             {"bloom", "docs/format/block.md", 1},
             {"meta.json", "docs/format/block.md", -1}};

/* up{instance="a",job="node"}, the same of "b" at the same times, and a counter with two chunks. */
struct example {
    int64_t t_ms[3][SAMPLES];
    uint64_t value[4][SAMPLES];
};

static void example_fill(struct example *x)
{
    static const int jitter[SAMPLES] = {3, 0, 7, 1, 12, 5, 0, 9, 2, 4, 11, 6};
    for (uint32_t i = 0; i < SAMPLES; i++) {
        x->t_ms[0][i] = FIRST_MS + 15000 * i + jitter[i];
        x->t_ms[1][i] = FIRST_MS + 15000 * i;
        x->t_ms[2][i] = FIRST_MS + 15000 * (SAMPLES + i);
        x->value[0][i] = tsdb_double_bits(1);
        x->value[1][i] = i == 11 ? TSDB_STALE_NAN_BITS : tsdb_double_bits(i == 5 ? 0 : 1);
        x->value[2][i] = tsdb_double_bits(100.0 + 10 * i);
        x->value[3][i] = tsdb_double_bits(220.5 + 10 * i);
    }
}

static void chunk_add(struct block_writer *w, const int64_t *t_ms, const uint64_t *value)
{
    struct tsdb_error err = {0};
    struct chunk_samples s = {TSDB_SAMPLE_FLOAT, SAMPLES, t_ms, value, NULL};
    assert_ok_err(block_writer_chunk(w, &s, NULL, 0, &err), &err);
}

static void example_write(const struct tsdb_fs *fs)
{
    struct example x;
    struct block_writer *w;
    struct block_meta meta;
    struct tsdb_error err = {0};
    struct tsdb_label items[3] = {tsdb_label_make("__name__", "http_requests_total"),
                                  tsdb_label_make("instance", "a"), tsdb_label_make("job", "node")};
    struct tsdb_labels labels = {items, 3};
    const struct block_writer_options o = {.fs = fs,
                                           .dir = "blocks",
                                           .wall_ms = 1700000000000,
                                           .random = {0, 1},
                                           .level = 1,
                                           .sequence = 7};
    example_fill(&x);
    assert_ok_err(block_writer_open(&o, &w, &err), &err);
    assert_ok_err(block_writer_series(w, &labels, UINT64_C(0x0123456789abcdef), &err), &err);
    chunk_add(w, x.t_ms[1], x.value[2]);
    chunk_add(w, x.t_ms[2], x.value[3]);
    items[0] = tsdb_label_make("__name__", "up");
    assert_ok_err(block_writer_series(w, &labels, UINT64_C(0x8877665544332211), &err), &err);
    chunk_add(w, x.t_ms[0], x.value[0]);
    items[1] = tsdb_label_make("instance", "b");
    assert_ok_err(block_writer_series(w, &labels, UINT64_C(0xfedcba9876543210), &err), &err);
    chunk_add(w, x.t_ms[0], x.value[1]);
    assert_ok_err(block_writer_finish(w, FIRST_MS, FIRST_MS + 7200000, &meta, &err), &err);
    assert_string_equal(meta.ulid, ULID);
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

static size_t golden_read(uint32_t file, uint8_t *out)
{
    char path[128];
    (void)snprintf(path, sizeof path, GOLDEN_DIR "%s", files[file].name);
    return file_read(path, out, BYTES_MAX);
}

static void block_format_1__written_today__golden_bytes(void **state)
{
    (void)state;
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    static uint8_t golden[BYTES_MAX];
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    example_write(&fs);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        char path[128];
        uint8_t *data = NULL;
        size_t len = 0;
        (void)snprintf(path, sizeof path, DIR "/%s", files[i].name);
        assert_ok(tsdb_file_read_all(&fs, path, BYTES_MAX, TSDB_MEM_OTHER, &data, &len, NULL));
        assert_bytes(files[i].name, data, len, golden, golden_read(i, golden));
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
    tsdb_fs_sim_destroy(sim);
}

/* "offset  byte byte ...  | words" per line. */
static size_t hexdump_bytes(char *block, uint8_t *out)
{
    char *save = NULL;
    char *line = strtok_r(block, "\n", &save);
    size_t n = 0;
    while ((line = strtok_r(NULL, "\n", &save)) != NULL) {
        unsigned long offset = strtoul(line, &line, 16);
        assert_int_equal(offset, n);
        while (*line != '|' && *line != 0) {
            char *after;
            unsigned long byte = strtoul(line, &after, 16);
            if (after == line) {
                break;
            }
            assert_true(byte < 256 && n < BYTES_MAX);
            out[n++] = (uint8_t)byte;
            line = after + strspn(after, " ");
        }
    }
    return n;
}

static size_t page_bytes(uint32_t file, uint8_t *out)
{
    static char page[65536];
    const char *fence = files[file].block < 0 ? "```json\n" : "```hexdump\n";
    page[file_read(files[file].page, page, sizeof page - 1)] = 0;
    char *block = page;
    for (int i = 0; i <= TSDB_MAX(files[file].block, 0); i++) {
        block = strstr(block + (i > 0), fence);
        assert_non_null(block);
    }
    char *end = strstr(block + 3, "```\n");
    assert_non_null(end);
    *end = 0;
    if (files[file].block >= 0) {
        return hexdump_bytes(block, out);
    }
    size_t len = (size_t)(end - block) - strlen(fence);
    memcpy(out, block + strlen(fence), len);
    return len;
}

static void block_format_1__pages__golden_bytes(void **state)
{
    (void)state;
    static uint8_t page[BYTES_MAX];
    static uint8_t golden[BYTES_MAX];
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        size_t golden_len = golden_read(i, golden);
        size_t page_len = page_bytes(i, page);
        assert_bytes(files[i].page, page, page_len, golden, golden_len);
    }
}

static void golden_copy(const struct tsdb_fs *fs)
{
    static uint8_t golden[BYTES_MAX];
    assert_ok(fs->ops->mkdir(fs->ctx, "blocks", NULL));
    assert_ok(fs->ops->mkdir(fs->ctx, DIR, NULL));
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        char path[128];
        struct tsdb_file *f;
        size_t len = golden_read(i, golden);
        (void)snprintf(path, sizeof path, DIR "/%s", files[i].name);
        assert_ok(fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, NULL));
        assert_ok(fs->ops->pwrite(fs->ctx, f, golden, len, 0, NULL));
        fs->ops->close(fs->ctx, f);
    }
}

static void block_format_1__golden_files__still_read(void **state)
{
    (void)state;
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct cache_l2 *cache;
    struct block *b;
    struct tsdb_arena arena;
    struct tsdb_error err = {0};
    struct example x;
    static const struct {
        uint32_t id, times, values;
    } chunks[] = {{0, 1, 2}, {0, 2, 3}, {1, 0, 0}, {2, 0, 1}};
    example_fill(&x);
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    assert_ok(cache_l2_create(1u << 20, &cache, &err));
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    golden_copy(&fs);
    assert_ok_err(block_open(&fs, "blocks", ULID, cache, &b, &err), &err);
    assert_ok_err(block_verify(b, &err), &err);
    assert_true(block_meta(b)->series == 3 && block_meta(b)->samples == 4 * SAMPLES);
    assert_true(block_may_have(b, UINT64_C(0xfedcba9876543210)));
    assert_false(block_may_have(b, UINT64_C(0xfedcba9876543211)));
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(chunks); i++) {
        struct block_chunk *list;
        uint32_t count;
        struct chunk_samples s;
        assert_ok(block_chunks(b, chunks[i].id, TSDB_TIME_ALL, &arena, &list, &count, &err));
        assert_int_equal(count, chunks[i].id == 0 ? 2 : 1);
        assert_ok_err(block_chunk_read(b, &list[i == 1], &arena, &s, &err), &err);
        assert_int_equal(s.count, SAMPLES);
        assert_memory_equal(s.t_ms, x.t_ms[chunks[i].times], sizeof x.t_ms[0]);
        assert_memory_equal(s.value, x.value[chunks[i].values], sizeof x.value[0]);
    }
    struct tsdb_labels labels;
    assert_ok(block_labels(b, 2, &arena, &labels, &err));
    assert_int_equal(labels.count, 3);
    assert_memory_equal(labels.items[0].value, "up", 2);
    assert_memory_equal(labels.items[1].value, "b", 1);
    block_close(b);
    tsdb_arena_deinit(&arena);
    cache_l2_destroy(cache);
    tsdb_fs_sim_destroy(sim);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(block_format_1__written_today__golden_bytes),
    cmocka_unit_test(block_format_1__pages__golden_bytes),
    cmocka_unit_test(block_format_1__golden_files__still_read),
};
TEST_MAIN(tests)
