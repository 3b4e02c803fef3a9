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
#define KINDS   7u

/* What is of one moment together: a copy goes folder by folder, and tombstones are replaced by themselves. */
static const struct kind {
    const char *begin, *end; /* of the path */
    bool ends;               /* first and last moment alone: nothing else depends on it */
} kinds[KINDS] = {
    {"series.log", "", false}, {"checkpoint/", "", false},       {"head/", "", false},
    {"wal/", "", false},       {"blocks/", "/tombstones", true}, {"blocks/", "", false},
    {"metadata", "", true}};

struct mixer {
    struct scene s; /* first: what scene_teardown gets */
    struct tree *moments[MOMENTS];
    struct hx mixed;
    uint32_t opened, refused, found_all, found;
};

/* ---- laying out a mixture ---- */

/* KINDS: of none that is mixed. */
static uint32_t kind_of(const char *path)
{
    uint32_t i = 0;
    for (size_t len = strlen(path); i < KINDS; i++) {
        size_t end = strlen(kinds[i].end);
        if (strncmp(path, kinds[i].begin, strlen(kinds[i].begin)) == 0 && len >= end &&
            strcmp(path + len - end, kinds[i].end) == 0) {
            break;
        }
    }
    return i;
}

static void mix(struct mixer *x, const uint32_t choice[KINDS], struct hx *out)
{
    hx_init(out, 99);
    out->options.block_range_ms = RANGE;
    out->options.retention_ms = 0;
    out->clock = x->s.h.clock;
    const struct tree_file *version = tree_find(x->moments[0], "VERSION", "");
    tree_put(&out->options.fs, version->path, version->data, version->len);
    for (uint32_t i = 0; i < MOMENTS; i++) {
        const struct tree *m = x->moments[i];
        for (uint32_t k = 0; k < m->count; k++) {
            const struct tree_file *f = &m->files[k];
            uint32_t kind = kind_of(f->path);
            if (kind < KINDS && choice[kind] == i) {
                tree_put(&out->options.fs, f->path, f->data, f->len);
            }
        }
    }
}

/* ---- what is there ---- */

static void check_one(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                      enum tsdb_sample_kind kind, uint64_t bits,
                      const struct tsdb_histogram *histogram)
{
    struct mixer *x = arg;
    (void)start_ms, (void)histogram;
    x->found++;
    if (kind != TSDB_SAMPLE_FLOAT || bits != tsdb_double_bits(hx_value_of(series, t_ms))) {
        mx_fail(&x->s.m, "series %u at %lld has the sample of another: %.17g", (unsigned)series,
                (long long)t_ms, tsdb_bits_double(bits));
    }
}

static void put_at(struct hx *h, uint32_t first, uint32_t count, int64_t t_ms)
{
    struct hx_sample s[2 * SERIES];
    assert_true(count <= TSDB_ARRAY_LEN(s));
    for (uint32_t i = 0; i < count; i++) {
        s[i] = hx_float(first + i, t_ms, hx_value_of(first + i, t_ms));
    }
    assert_ok(hx_put(h, s, count, TSDB_DURABILITY_STRICT, NULL));
}

static void put_series(struct hx *h, uint32_t first, uint32_t count)
{
    put_at(h, first, count, h->clock.wall_ms);
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
    assert_true(hx_delete(h, first + 1) > 0);
    tsdb_clock_sim_advance(&h->clock, RANGE);
    put_series(h, first, SERIES);
    assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
    tsdb_clock_sim_advance(&h->clock, RANGE);
    put_series(h, first + SERIES, SERIES);
    hx_seal_all(h);
    struct tsdb_metadata m = {.metric = {(const uint8_t *)"m1", 2}, .type = TSDB_METRIC_GAUGE};
    m.type = moment == 0 ? TSDB_METRIC_COUNTER : TSDB_METRIC_GAUGE;
    assert_ok(tsdb_metadata_put(h->db, &m));
    tsdb_clock_sim_advance(&h->clock, RANGE);
    tsdb_metadata_step(h->db, h->clock.mono_ns);
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

/* All moments, or the first and the last. */
static uint32_t choices(uint32_t kind, bool restart)
{
    return restart || kinds[kind].ends ? 2 : MOMENTS;
}

static void run(struct mixer *x, bool restart)
{
    struct hx *h = &x->s.h;
    uint32_t choice[KINDS], all = 0;
    scene_begin(&x->s, 5);
    h->options.block_range_ms = RANGE;
    assert_ok(hx_open(h, NULL));
    for (uint32_t i = 0; i < MOMENTS; i++) {
        live(x, i, restart);
        x->moments[i] = tree_read(&h->options.fs);
    }
    all = hx_count(h);
    uint32_t combinations = 1;
    for (uint32_t i = 0; i < KINDS; i++) {
        combinations *= choices(i, restart);
    }
    for (uint32_t c = 0; c < combinations && !x->s.m.failure[0]; c++) {
        char text[160] = "";
        uint32_t rest = c;
        for (uint32_t i = 0; i < KINDS; i++) {
            uint32_t some = choices(i, restart);
            choice[i] = rest % some * ((MOMENTS - 1) / (some - 1));
            rest /= some;
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s%s %u", kinds[i].begin,
                     kinds[i].end, choice[i]);
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

/* ---- twins ---- */

/* A copy of the directory that goes on by itself: its new series have the ids that those of the other have,
 * in files of the same numbers, in chunks of the same places. Bundles, and single chunks of late samples. */
static struct tree *twin_live(const struct tree *begin, struct tsdb_clock_sim clock, uint32_t seed,
                              uint32_t first, uint32_t *out_count)
{
    struct hx h;
    hx_init(&h, seed);
    h.options.block_range_ms = RANGE;
    h.clock = clock;
    tree_lay(&h.options.fs, begin);
    assert_ok(hx_open(&h, NULL));
    for (uint32_t i = 0; i < 3; i++) {
        tsdb_clock_sim_advance(&h.clock, 5000);
        put_series(&h, first, SERIES);
    }
    put_at(&h, first, SERIES, h.clock.wall_ms - 7000);
    hx_seal_all(&h);
    assert_ok(tsdb_checkpoint(h.db, NULL));
    *out_count = hx_count(&h);
    assert_ok(hx_close(&h, NULL));
    struct tree *t = tree_read(&h.options.fs);
    hx_deinit(&h);
    return t;
}

static void tsdb_open__head_files_of_a_twin__own_labels_or_not_at_all(void **state)
{
    struct mixer *x = *state;
    struct hx *h = &x->s.h;
    uint32_t count[2];
    scene_begin(&x->s, 5);
    h->options.block_range_ms = RANGE;
    assert_ok(hx_open(h, NULL));
    put_series(h, 0, SERIES);
    hx_seal_all(h);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    hx_die(h, false);
    struct tree *begin = tree_read(&h->options.fs);
    x->moments[2] = begin; /* nothing is taken of it */
    for (uint32_t i = 0; i < 2; i++) {
        x->moments[i] = twin_live(begin, h->clock, 100 + i, (1 + 2 * i) * SERIES, &count[i]);
    }
    assert_int_equal(count[0], 5 * SERIES);
    for (uint32_t head = 0; head < 2; head++) {
        const uint32_t choice[KINDS] = {0, 0, head, 0, 0, 0, 0};
        mix(x, choice, &x->mixed);
        assert_ok(hx_open(&x->mixed, NULL));
        x->found = 0;
        assert_ok(hx_visit(&x->mixed, check_one, x, NULL));
        assert_int_equal(x->found, head == 0 ? count[0] : SERIES); /* of the file that both have */
        struct tsdb_stats st;
        tsdb_stats_read(x->mixed.db, &st);
        assert_int_equal(st.replay_lost_chunks > 0, head);
        hx_deinit(&x->mixed);
    }
    tree_free(begin);
    tree_free(x->moments[0]);
    tree_free(x->moments[1]);
    assert_ok(hx_open(h, NULL));
    scene_end_checked(&x->s, "twins");
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
    cmocka_unit_test_setup_teardown(tsdb_open__head_files_of_a_twin__own_labels_or_not_at_all,
                                    setup, scene_teardown),
};

TEST_MAIN(tests)
