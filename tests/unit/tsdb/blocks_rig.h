/* A database with blocks, for test_flush.c and test_compact.c: a harness with short windows, series
 * put by the hundred, and a hash of all that is read. */
#ifndef TESTS_UNIT_TSDB_BLOCKS_RIG_H
#define TESTS_UNIT_TSDB_BLOCKS_RIG_H

#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/harness.h"
#include "tsdb/engine/db_private.h"

#define RANGE INT64_C(60000)

static inline void rig_open(struct hx *h)
{
    struct tsdb_error err = {0};
    assert_ok_err(hx_open(h, &err), &err);
}

/* A directory of its own for a story of this seed; with every second one heads keep series that fall silent. */
static inline void rig_story_begin(struct hx *h, uint64_t seed)
{
    assert_ok(hx_close(h, NULL));
    hx_deinit(h);
    hx_init(h, seed);
    h->options.block_range_ms = RANGE;
    h->options.old_range_max_ms = 1;
    h->options.series_idle_ms = seed % 2 == 0 ? 0 : 100 * RANGE;
    rig_open(h);
}

static inline int rig_setup(void **state)
{
    struct hx *h = test_calloc(1, sizeof *h);
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    hx_init(h, 11);
    h->options.block_range_ms = RANGE;
    h->options.old_range_max_ms = 1; /* all windows are as long */
    h->options.cache_l1_bytes = 1u << 20;
    rig_open(h);
    *state = h;
    return 0;
}

static inline int rig_teardown(void **state)
{
    struct hx *h = *state;
    tsdb_alloc_ops_set(NULL);
    hx_deinit(h);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD), 0);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_QUERY), 0);
    test_free(h);
    return 0;
}
#define RIG_CASE(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

static inline void put_many(struct hx *h, uint32_t series, int64_t from_ms, int64_t step_ms,
                            uint32_t n)
{
    static struct hx_sample s[HX_SAMPLES_MAX];
    assert_true(n <= HX_SAMPLES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        int64_t t = from_ms + i * step_ms;
        s[i] = hx_float(series, t, (double)t / 7 + series);
    }
    assert_ok(hx_put(h, s, n, TSDB_DURABILITY_BUFFERED, NULL));
}

static inline void flush(struct hx *h)
{
    struct tsdb_error err = {0};
    assert_ok_err(tsdb_flush(h->db, &err), &err);
}

static inline void rig_note_sample(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                                   enum tsdb_sample_kind kind, uint64_t bits,
                                   const struct tsdb_histogram *histogram)
{
    uint64_t *hash = arg;
    uint64_t v = kind == TSDB_SAMPLE_FLOAT ? bits : tsdb_double_bits(histogram->sum);
    uint64_t row[5] = {series, (uint64_t)t_ms, (uint64_t)start_ms, (uint64_t)kind, v};
    *hash = *hash * 31 + tsdb_hash64_plain(row, sizeof row);
}

/* Of every sample of every series, as a query sees it. */
static inline uint64_t hash_all(struct hx *h)
{
    struct tsdb_error err = {0};
    uint64_t hash = 0;
    assert_ok_err(hx_visit(h, rig_note_sample, &hash, &err), &err);
    return hash;
}

static inline uint64_t blocks(struct hx *h)
{
    return atomic_load(&h->db->blocks.count);
}

#endif
