/* Samples of any age in any order, through everything that becomes of them, beside a plain map. */
#include "tests/unit/tsdb/blocks_rig.h"

#define SERIES 6u
#define TIMES  3000u
#define STEP   (RANGE / 7)
#define FROM   (HX_WALL_MS / RANGE * RANGE - (int64_t)TIMES * STEP)

struct story {
    struct hx *h;
    struct tsdb_prng prng;
    uint64_t value[SERIES][TIMES]; /* 0: none; the first that was written */
    bool found[SERIES][TIMES];
    uint32_t stored;
    uint64_t flushes, compactions; /* of lives before */
};

static uint32_t below(struct story *s, uint32_t n)
{
    return (uint32_t)tsdb_prng_below(&s->prng, n);
}

/* Some around one time, some anywhere; some were there, with this value or another. */
static void write_some(struct story *s)
{
    struct hx_sample samples[HX_SAMPLES_MAX];
    uint32_t n = 1 + below(s, 120);
    uint32_t around = below(s, TIMES);
    uint32_t near = 1 + below(s, TIMES);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t series = below(s, SERIES);
        uint32_t at = (around + below(s, near)) % TIMES;
        uint64_t bits = 1 + below(s, 3);
        samples[i] = hx_float(series, FROM + at * STEP, 0);
        samples[i].bits = bits;
        s->stored += s->value[series][at] == 0;
        s->value[series][at] = s->value[series][at] ? s->value[series][at] : bits;
    }
    enum tsdb_status status = hx_put(s->h, samples, n, TSDB_DURABILITY_BUFFERED, NULL);
    assert_true(status == TSDB_OK || status == TSDB_OUT_OF_ORDER); /* a conflict in memory */
}

static void check_one(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                      enum tsdb_sample_kind kind, uint64_t bits,
                      const struct tsdb_histogram *histogram)
{
    struct story *s = arg;
    (void)start_ms;
    (void)kind;
    (void)histogram;
    int64_t at = (t_ms - FROM) / STEP;
    assert_true(series < SERIES && at >= 0 && at < (int64_t)TIMES);
    assert_false(s->found[series][at]);
    s->found[series][at] = true;
    assert_int_equal(bits, s->value[series][at]);
}

static void check_all(struct story *s)
{
    struct tsdb_error err = {0};
    uint32_t found = 0;
    memset(s->found, 0, sizeof s->found);
    assert_ok_err(hx_visit(s->h, check_one, s, &err), &err);
    for (uint32_t i = 0; i < SERIES; i++) {
        for (uint32_t k = 0; k < TIMES; k++) {
            found += s->found[i][k];
        }
    }
    assert_int_equal(found, s->stored);
}

static void next_life(struct story *s, bool clean)
{
    s->flushes += atomic_load(&s->h->db->life->flushes);
    s->compactions += atomic_load(&s->h->db->life->compactions);
    if (clean) {
        assert_ok(hx_close(s->h, NULL));
    } else {
        hx_die(s->h, false);
    }
    rig_open(s->h);
}

static void anything(struct story *s)
{
    struct hx *h = s->h;
    switch (below(s, 16)) {
    case 0:
        (void)tsdb_flush_step(h->db, h->clock.mono_ns);
        break;
    case 1:
        (void)tsdb_compact_step(h->db, h->clock.mono_ns);
        break;
    case 2:
        (void)tsdb_seal_step(h->db, h->clock.mono_ns);
        hx_settle(h);
        break;
    case 3:
        tsdb_clock_sim_advance(&h->clock, below(s, RANGE / 4));
        break;
    case 4:
        if (below(s, 4) == 0) {
            next_life(s, below(s, 2) == 0);
        }
        break;
    case 5:
        if (below(s, 3) == 0) {
            assert_ok(tsdb_checkpoint(h->db, NULL));
        }
        break;
    case 6:
        if (below(s, 4) == 0) {
            flush(h);
        }
        break;
    default:
        write_some(s);
    }
}

static void late__any_order_any_age__agrees_with_a_map(void **state)
{
    enum {
        SEEDS = 4,
        STEPS = 400
    };
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct story *s = test_calloc(1, sizeof *s);
        assert_ok(hx_close(*state, NULL));
        hx_deinit(*state);
        s->h = *state;
        hx_init(s->h, seed);
        s->h->options.block_range_ms = RANGE;
        s->h->options.overdue_chunks = 200;
        if (seed % 2 == 0) {
            s->h->options.head_chunk_samples = TSDB_HEAD_CHUNK_SAMPLES_MAX;
        }
        s->h->options.head_file_bytes_max = 1u << 12;
        rig_open(s->h);
        tsdb_prng_init(&s->prng, seed);
        for (uint32_t i = 0; i < STEPS; i++) {
            anything(s);
            if (i % 20 == 0) {
                check_all(s);
            }
        }
        next_life(s, true);
        check_all(s);
        flush(s->h);
        while (tsdb_compact_step(s->h->db, s->h->clock.mono_ns) > 0) {
        }
        check_all(s);
        next_life(s, true);
        check_all(s);
        assert_true(s->stored > 5000);
        assert_true(s->flushes > 10 && s->compactions > 0);
        test_free(s);
    }
}

static const struct CMUnitTest tests[] = {
    RIG_CASE(late__any_order_any_age__agrees_with_a_map),
};

TEST_MAIN(tests)
