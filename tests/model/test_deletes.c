/* Random writes, deletes and everything that moves samples about, beside a plain map: what was deleted
 * is gone at once and for good, what was written later shows, and nothing else changes. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/grid.h"
#include "tests/support/tsdb/restore.h"

#define SEEDS 20
#define TURNS 60

static void begin(struct hx *h, uint64_t seed)
{
    hx_init(h, seed);
    h->options.block_range_ms = 8000 + 1000 * (int64_t)(seed % 5);
    h->options.wal_segment_bytes = 1u << 14;
    h->options.wal_epoch_bytes = 1u << 12;
    h->options.head_bundle_bytes = 300;
    h->options.head_file_bytes_max = 4000;
    h->options.cache_l1_bytes = 1u << 16;
    assert_ok(hx_open(h, NULL));
}

static void reopen(struct hx *h, bool clean)
{
    struct tsdb_error err = {0};
    if (clean) {
        assert_ok_err(hx_close(h, &err), &err);
    } else {
        hx_die(h, true);
    }
    assert_ok_err(hx_open(h, &err), &err);
}

static void turn(struct grid *g, struct tsdb_prng *p)
{
    struct hx *h = g->h;
    struct tsdb_error err = {0};
    struct tsdb_work_done done;
    struct grid_delete d;
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    switch (tsdb_prng_below(p, 14)) {
    case 0:
    case 1:
    case 2:
        d = grid_random_delete(g, p);
        assert_ok_err(grid_delete(g, &d, NULL, &err), &err);
        break;
    case 3:
        assert_ok_err(tsdb_flush(h->db, &err), &err);
        break;
    case 4:
        assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
        break;
    case 5:
        assert_ok_err(tsdb_clean_tombstones(h->db, &done, &err), &err);
        break;
    case 6:
        assert_ok_err(tsdb_compact(h->db, &done, &err), &err);
        break;
    case 7:
        tsdb_compact_step(h->db, h->clock.mono_ns);
        break;
    case 8:
    case 9:
        reopen(h, tsdb_prng_below(p, 2) == 0);
        break;
    case 10: /* a snapshot holds the deletes, too */
        assert_ok_err(tsdb_snapshot(h->db, false, name, &err), &err);
        hx_die(h, false);
        restore_verify(h, name);
        restore_take(h, name);
        assert_ok_err(hx_open(h, &err), &err);
        break;
    default:
        assert_ok(grid_put(g, p, 120));
        tsdb_clock_sim_advance(&h->clock, 500);
        break;
    }
}

static void deletes__beside_a_plain_map__same_samples(void **state)
{
    (void)state;
    static struct hx h;
    static struct grid g;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct tsdb_prng p;
        tsdb_prng_init(&p, seed);
        begin(&h, seed);
        grid_init(&g, &h, HX_WALL_MS - GRID_TIMES * GRID_STEP);
        for (uint32_t i = 0; i < TURNS; i++) {
            turn(&g, &p);
            if (tsdb_prng_below(&p, 3) == 0) {
                continue; /* so that a merge comes before anybody has read, too */
            }
            const char *wrong = grid_compare(&g);
            if (wrong) {
                fail_msg("seed %u, turn %u: %s", (unsigned)seed, i, wrong);
            }
        }
        hx_deinit(&h);
    }
}

static int quiet(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(deletes__beside_a_plain_map__same_samples, quiet),
};

TEST_MAIN(tests)
