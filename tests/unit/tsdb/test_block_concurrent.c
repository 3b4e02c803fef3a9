/* One reader of a block serves any number of threads: with a cache far too small for it, every
 * thread reads what was written. Workers record, main asserts. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/block/block.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define SERIES  2000u
#define SAMPLES 60u
#define THREADS 4u
#define ROUNDS  1500u

struct shared {
    struct block *block;
};
struct worker {
    pthread_t thread;
    const struct shared *shared;
    uint64_t seed;
    uint32_t wrong;
};

/* Series i: {a="<i>", b="<i % 10>"}; sample k at k * 1000 + i % 7, value i + k. */
static uint64_t value_of(uint32_t i, uint32_t k)
{
    return tsdb_double_bits((double)i + k * 0.25);
}

static void block_fill(struct block_writer *w)
{
    struct tsdb_error err = {0};
    for (uint32_t i = 0; i < SERIES; i++) {
        char a[16];
        char b[16];
        int64_t t_ms[SAMPLES];
        uint64_t value[SAMPLES];
        (void)snprintf(a, sizeof a, "%06u", i);
        (void)snprintf(b, sizeof b, "%u", i % 10);
        struct tsdb_label items[2] = {tsdb_label_make("a", a), tsdb_label_make("b", b)};
        struct tsdb_labels labels = {items, 2};
        for (uint32_t k = 0; k < SAMPLES; k++) {
            t_ms[k] = (int64_t)k * 1000 + i % 7 + k % 3 * k;
            value[k] = value_of(i, k);
        }
        struct chunk_samples s = {TSDB_SAMPLE_FLOAT, SAMPLES, t_ms, value, NULL};
        assert_ok_err(block_writer_series(w, &labels, &err), &err);
        assert_ok_err(block_writer_chunk(w, &s, NULL, 0, &err), &err);
    }
}

static bool series_is_right(const struct block *b, uint32_t id, struct tsdb_arena *arena)
{
    struct tsdb_labels labels;
    struct block_chunk *chunks;
    struct chunk_samples s;
    uint32_t count = 0;
    char a[16];
    (void)snprintf(a, sizeof a, "%06u", id);
    if (block_labels(b, id, arena, &labels, NULL) != TSDB_OK || labels.count != 2 ||
        strcmp(labels.items[0].value, a) != 0 ||
        block_chunks(b, id, TSDB_TIME_ALL, arena, &chunks, &count, NULL) != TSDB_OK || count != 1 ||
        block_chunk_read(b, &chunks[0], arena, &s, NULL) != TSDB_OK || s.count != SAMPLES) {
        return false;
    }
    for (uint32_t k = 0; k < SAMPLES; k++) {
        if (s.value[k] != value_of(id, k)) {
            return false;
        }
    }
    return true;
}

static bool selection_is_right(const struct block *b, uint32_t digit, struct tsdb_arena *arena)
{
    char text[2] = {(char)('0' + digit), 0};
    const struct tsdb_matcher source = {TSDB_MATCH_EQ, "b", text, 1, 1};
    struct index_matcher *m;
    uint32_t *ids;
    uint32_t count = 0;
    if (index_matcher_compile(&source, &m, NULL) != TSDB_OK) {
        return false;
    }
    bool ok = block_select(b, (const struct index_matcher *const *)&m, 1, NULL, arena, &ids, &count,
                           NULL) == TSDB_OK &&
              count == SERIES / 10;
    for (uint32_t i = 0; ok && i < count; i++) {
        ok = ids[i] == i * 10 + digit;
    }
    index_matcher_destroy(m);
    return ok;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct tsdb_arena arena;
    struct tsdb_prng prng;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 65536, NULL);
    tsdb_prng_init(&prng, w->seed);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t id = (uint32_t)tsdb_prng_below(&prng, SERIES);
        w->wrong += !series_is_right(w->shared->block, id, &arena);
        if (round % 64 == 0) {
            w->wrong += !selection_is_right(w->shared->block, id % 10, &arena);
        }
        tsdb_arena_reset(&arena);
    }
    tsdb_arena_deinit(&arena);
    return NULL;
}

static void block_read__many_threads_small_cache__all_right(void **state)
{
    (void)state;
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct cache_l2 *cache;
    struct block_writer *w;
    struct block_meta meta;
    struct shared shared;
    struct worker workers[THREADS];
    struct tsdb_error err = {0};
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    assert_ok(cache_l2_create(2 * CACHE_L2_FRAME_BYTES, &cache, &err));
    const struct block_writer_options o = {.fs = &fs, .dir = "blocks", .wall_ms = 1, .level = 1};
    assert_ok_err(block_writer_open(&o, &w, &err), &err);
    block_fill(w);
    assert_ok_err(block_writer_finish(w, 0, INT64_MAX, &meta, &err), &err);
    assert_ok_err(block_open(&fs, "blocks", meta.ulid, cache, &shared.block, &err), &err);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = &shared, .seed = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].wrong, 0);
    }
    block_close(shared.block);
    cache_l2_destroy(cache);
    tsdb_fs_sim_destroy(sim);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(block_read__many_threads_small_cache__all_right),
};
TEST_MAIN(tests)
