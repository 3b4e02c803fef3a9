/* Version 1 of blocks, held to files: what is written today, what docs/format/index.md and block.md
 * show, and what is read today must all be the bytes in tests/golden/block/v1/. Run from the
 * repository's root. */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "base/file.h"
#include "tsdb/block/block_private.h"

#include <stdio.h>
#include <stdlib.h>

#define ULID     "01HF7YAT000000000000000001"
#define DIR      "blocks/" ULID
#define SAMPLES  12u
#define FIRST_MS INT64_C(1699999200000)

#define GOLDEN(name) "block/v1/" name

static const struct {
    const char *golden, *path; /* in the block */
    const char *page, *fence;
    unsigned nth; /* block of the page */
} files[] = {
    {GOLDEN("index"), DIR "/index", "docs/format/index.md", "```hexdump", 0},
    {GOLDEN("chunks"), DIR "/chunks", "docs/format/block.md", "```hexdump", 0},
    {GOLDEN("meta.json"), DIR "/meta.json", "docs/format/block.md", "```json", 0},
};

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

static void example_write(const struct tsdb_fs *fs, const struct example *x)
{
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
    assert_ok_err(block_writer_open(&o, &w, &err), &err);
    assert_ok_err(block_writer_series(w, &labels, &err), &err);
    chunk_add(w, x->t_ms[1], x->value[2]);
    chunk_add(w, x->t_ms[2], x->value[3]);
    items[0] = tsdb_label_make("__name__", "up");
    assert_ok_err(block_writer_series(w, &labels, &err), &err);
    chunk_add(w, x->t_ms[0], x->value[0]);
    items[1] = tsdb_label_make("instance", "b");
    assert_ok_err(block_writer_series(w, &labels, &err), &err);
    chunk_add(w, x->t_ms[0], x->value[1]);
    assert_ok_err(block_writer_finish(w, FIRST_MS, FIRST_MS + 7200000, &meta, &err), &err);
    assert_string_equal(meta.ulid, ULID);
}

struct rig {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct cache_l2 *cache;
    struct tsdb_arena arena;
    struct example x;
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    example_fill(&r->x);
    assert_ok(tsdb_fs_sim_create(1, &r->sim, &r->fs));
    assert_ok(cache_l2_create(1u << 20, &r->cache, NULL));
    tsdb_arena_init(&r->arena, TSDB_MEM_QUERY, 4096, NULL);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    tsdb_arena_deinit(&r->arena);
    cache_l2_destroy(r->cache);
    tsdb_fs_sim_destroy(r->sim);
    free(r);
    return 0;
}

static void block_format_1__written_today__golden_bytes(void **state)
{
    struct rig *r = *state;
    example_write(&r->fs, &r->x);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        uint8_t *data = NULL;
        size_t len = 0;
        assert_ok(tsdb_file_read_all(&r->fs, files[i].path, GOLDEN_BYTES_MAX, TSDB_MEM_OTHER, &data,
                                     &len, NULL));
        golden_check(files[i].golden, data, len);
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
}

static void block_format_1__pages__golden_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        golden_check_page(files[i].golden, files[i].page, files[i].fence, files[i].nth);
    }
}

/* Every chunk of the block, in order. */
static void chunks_check(struct rig *r, const struct block *b)
{
    static const struct {
        uint32_t id, times, values;
    } chunks[] = {{0, 1, 2}, {0, 2, 3}, {1, 0, 0}, {2, 0, 1}};
    struct tsdb_error err = {0};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(chunks); i++) {
        struct block_chunk *list;
        uint32_t count;
        struct chunk_samples s;
        assert_ok(block_chunks(b, chunks[i].id, TSDB_TIME_ALL, &r->arena, &list, &count, &err));
        assert_int_equal(count, chunks[i].id == 0 ? 2 : 1);
        assert_ok_err(block_chunk_read(b, &list[i == 1], &r->arena, &s, &err), &err);
        assert_int_equal(s.count, SAMPLES);
        assert_memory_equal(s.t_ms, r->x.t_ms[chunks[i].times], sizeof r->x.t_ms[0]);
        assert_memory_equal(s.value, r->x.value[chunks[i].values], sizeof r->x.value[0]);
    }
}

static void block_format_1__golden_files__still_read(void **state)
{
    struct rig *r = *state;
    struct block *b;
    struct tsdb_labels labels;
    struct tsdb_error err = {0};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        golden_copy_in(files[i].golden, &r->fs, files[i].path);
    }
    assert_ok_err(block_open(&r->fs, "blocks", ULID, r->cache, &b, &err), &err);
    assert_ok_err(block_verify(b, &err), &err);
    assert_true(block_meta(b)->series == 3 && block_meta(b)->samples == 4 * SAMPLES);
    chunks_check(r, b);
    assert_ok(block_labels(b, 2, &r->arena, &labels, &err));
    assert_int_equal(labels.count, 3);
    assert_memory_equal(labels.items[0].value, "up", 2);
    assert_memory_equal(labels.items[1].value, "b", 1);
    block_close(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    TEST(block_format_1__written_today__golden_bytes),
    cmocka_unit_test(block_format_1__pages__golden_bytes),
    TEST(block_format_1__golden_files__still_read),
};
TEST_MAIN(tests)
