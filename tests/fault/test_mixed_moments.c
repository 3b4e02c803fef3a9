/* A copy of a data directory that was made while it served: some of its files are of one moment,
 * some of another. Every combination either opens and shows each sample under its own labels or not
 * at all, or says why it does not open. */
#include "tests/support/test.h"

#include "tests/support/tsdb/scene.h"
#include "tests/support/tsdb/tree.h"
#include "tsdb/engine/db_private.h"

#define MOMENTS 3u
#define SERIES  24u /* new ones at every moment */
#define RANGE   INT64_C(60000)
#define DIRS    5u

/* What is of one moment together: a copy goes folder by folder. */
static const char *const dirs[DIRS] = {"series.log", "checkpoint", "head", "wal", "blocks"};

struct mixer {
    struct scene s; /* first: what scene_teardown gets */
    struct tree *moments[MOMENTS];
    struct hx mixed;
    uint32_t opened, refused, found_all, found;
};

/* ---- laying out a mixture ---- */

static void mix(struct mixer *x, const uint32_t choice[DIRS], struct hx *out)
{
    hx_init(out, 99);
    out->options.block_range_ms = RANGE;
    out->options.retention_ms = 0;
    out->clock = x->s.h.clock;
    const struct tree_file *version = tree_find(x->moments[0], "VERSION", "");
    tree_put(&out->options.fs, version->path, version->data, version->len);
    for (uint32_t i = 0; i < DIRS; i++) {
        const struct tree *m = x->moments[choice[i]];
        size_t len = strlen(dirs[i]);
        for (uint32_t k = 0; k < m->count; k++) {
            const struct tree_file *f = &m->files[k];
            if (strncmp(f->path, dirs[i], len) == 0 && (f->path[len] == '/' || f->path[len] == 0)) {
                tree_put(&out->options.fs, f->path, f->data, f->len);
            }
        }
    }
}

/* ---- what is there ---- */

/* The value says which series and time it belongs to. */
static double value_of(uint32_t series, int64_t t_ms)
{
    return (double)series * 1e6 + (double)(t_ms - HX_WALL_MS) / 1000;
}

static void check_one(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                      enum tsdb_sample_kind kind, uint64_t bits,
                      const struct tsdb_histogram *histogram)
{
    struct mixer *x = arg;
    (void)start_ms, (void)histogram;
    x->found++;
    if (kind != TSDB_SAMPLE_FLOAT || bits != tsdb_double_bits(value_of(series, t_ms))) {
        mx_fail(&x->s.m, "series %u at %lld has the sample of another: %.17g", (unsigned)series,
                (long long)t_ms, tsdb_bits_double(bits));
    }
}

static void put_series(struct hx *h, uint32_t first, uint32_t count)
{
    struct hx_sample s[2 * SERIES];
    assert_true(count <= TSDB_ARRAY_LEN(s));
    for (uint32_t i = 0; i < count; i++) {
        s[i] = hx_float(first + i, h->clock.wall_ms, value_of(first + i, h->clock.wall_ms));
    }
    assert_ok(hx_put(h, s, count, TSDB_DURABILITY_STRICT, NULL));
}

/* Old and new series; the new ones go through checkpoint and block, and after that the log. */
static void live(struct mixer *x, uint32_t moment, bool restart)
{
    struct hx *h = &x->s.h;
    struct tsdb_error err;
    uint32_t first = moment * 2 * SERIES;
    put_series(h, first, SERIES);
    tsdb_clock_sim_advance(&h->clock, RANGE);
    put_series(h, 0, SERIES);
    assert_ok_err(tsdb_flush(h->db, &err), &err);
    tsdb_clock_sim_advance(&h->clock, RANGE);
    put_series(h, first, SERIES);
    assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
    tsdb_clock_sim_advance(&h->clock, RANGE);
    put_series(h, first + SERIES, SERIES);
    hx_seal_all(h);
    if (restart) {
        hx_die(h, false);
        assert_ok_err(hx_open(h, &err), &err);
    }
}

static void open_mixture(struct mixer *x, struct hx *h, uint32_t all)
{
    struct tsdb_error err = {0};
    x->found = 0;
    for (int again = 0; again < 2; again++) {
        if (hx_open(h, &err) != TSDB_OK) {
            x->refused++;
            assert_true(err.msg[0] != 0);
            return;
        }
        x->opened++;
        assert_ok_err(hx_visit(h, check_one, x, &err), &err);
        if (again == 0) {
            x->found_all += x->found == all;
            /* Life goes on: new series take the next ids, and nothing gets mixed up with them. */
            put_series(h, 7 * SERIES, 2 * SERIES);
            assert_ok_err(hx_visit(h, check_one, x, &err), &err);
            assert_ok_err(tsdb_flush(h->db, &err), &err);
            assert_ok_err(hx_visit(h, check_one, x, &err), &err);
        }
        assert_ok_err(hx_close(h, &err), &err);
    }
}

static void run(struct mixer *x, bool restart)
{
    struct hx *h = &x->s.h;
    uint32_t choice[DIRS], all = 0;
    scene_begin(&x->s, 5);
    h->options.block_range_ms = RANGE;
    assert_ok(hx_open(h, NULL));
    for (uint32_t i = 0; i < MOMENTS; i++) {
        live(x, i, restart);
        x->moments[i] = tree_read(&h->options.fs);
    }
    all = hx_count(h);
    uint32_t combinations = 1;
    uint32_t step = restart ? 2 : 1; /* the first and the last moment, or all */
    uint32_t some = (MOMENTS - 1) / step + 1;
    for (uint32_t i = 0; i < DIRS; i++) {
        combinations *= some;
    }
    for (uint32_t c = 0; c < combinations && !x->s.m.failure[0]; c++) {
        char text[64] = "";
        uint32_t rest = c;
        for (uint32_t i = 0; i < DIRS; i++, rest /= some) {
            choice[i] = rest % some * step;
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s %u", dirs[i], choice[i]);
        }
        mix(x, choice, &x->mixed);
        open_mixture(x, &x->mixed, all);
        hx_deinit(&x->mixed);
        if (x->s.m.failure[0]) {
            print_message("mixture of%s\n", text);
        }
    }
    for (uint32_t i = 0; i < MOMENTS; i++) {
        tree_free(x->moments[i]);
    }
    assert_true(x->found_all >= 1); /* that of the last moment */
    assert_true(x->opened > x->refused);
    scene_end_checked(&x->s, "mixed moments");
}

static void tsdb_open__files_of_several_moments__own_labels_or_not_at_all(void **state)
{
    run(*state, false);
}

static void tsdb_open__files_of_several_lives__own_labels_or_not_at_all(void **state)
{
    run(*state, true);
}

static int setup(void **state)
{
    return scene_setup_of(state, sizeof(struct mixer));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(tsdb_open__files_of_several_moments__own_labels_or_not_at_all,
                                    setup, scene_teardown),
    cmocka_unit_test_setup_teardown(tsdb_open__files_of_several_lives__own_labels_or_not_at_all,
                                    setup, scene_teardown),
};

TEST_MAIN(tests)
