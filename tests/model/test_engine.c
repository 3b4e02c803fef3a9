/* The whole engine beside a plain map of series and times: writes of floats and histograms, late ones,
 * series that come and go, flushes, merges, deletes, retention, checkpoints, snapshots, clocks that are
 * wrong for a while, stops, kills, power cuts and machines that halt in the middle of any of these; after
 * each step every query shows what the map has.
 *
 * TSDB_SEED and the like: tests/support/seeds.h. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/seeds.h"
#include "tests/support/tsdb/grid.h"
#include "tests/support/tsdb/restore.h"

#define STEPS     100u
#define FIRST     24u /* cells that are over when it begins */
#define QUERIES   3u  /* with matchers and ranges, after each step */
#define RETENTION (40 * GRID_STEP)
#define DAY       INT64_C(86400000)

struct engine {
    struct hx h;
    struct grid g, before; /* as it is; and before what is under way */
    struct tsdb_prng p;
    bool ahead;      /* the clock is, by 20 days */
    uint32_t halts;  /* of all seeds */
    uint64_t counts; /* samples that queries have shown */
    char wrong[400]; /* the first; empty: nothing */
};

#define engine_fail(e, ...)                                                                        \
    do {                                                                                           \
        if (!(e)->wrong[0]) {                                                                      \
            snprintf((e)->wrong, sizeof(e)->wrong, __VA_ARGS__);                                   \
        }                                                                                          \
    } while (0)

static uint32_t below(struct engine *e, uint32_t n)
{
    return (uint32_t)tsdb_prng_below(&e->p, n);
}

/* ---- looking ---- */

/* What the retention may have taken by now. */
static void age(struct engine *e)
{
    int64_t keep_ms = e->h.options.retention_ms;
    int64_t now_ms = e->h.clock.wall_ms - (e->ahead ? 20 * DAY : 0);
    e->g.oldest_ms = keep_ms > 0 ? now_ms - keep_ms : INT64_MIN;
}

static bool chosen(uint32_t name, uint32_t modulus, uint32_t rest, uint32_t series)
{
    return (name == GRID_ANY || series % 7 == name) && series % modulus == rest;
}

/* i=~"a|b|..." of the series with i % modulus == rest, and a name or any. */
static uint32_t matchers_make(uint32_t name, uint32_t modulus, uint32_t rest, char texts[2][256],
                              struct tsdb_matcher out[2])
{
    size_t used = 0;
    for (uint32_t i = rest; i < GRID_SERIES; i += modulus) {
        used += (size_t)snprintf(texts[0] + used, 256 - used, "%s%u", used > 0 ? "|" : "", i);
    }
    snprintf(texts[1], 256, "m%u", name);
    out[0] = (struct tsdb_matcher){TSDB_MATCH_RE, "i", texts[0], 1, (uint32_t)used};
    out[1] =
        (struct tsdb_matcher){TSDB_MATCH_EQ, "__name__", texts[1], 8, (uint32_t)strlen(texts[1])};
    return name == GRID_ANY ? 1 : 2;
}

/* One series of a query: every cell of the range as the map has it. */
static void query_series(struct engine *e, struct tsdb_querier *q, tsdb_series_ref ref,
                         struct tsdb_time_range range, bool seen[GRID_SERIES])
{
    struct tsdb_arena arena;
    struct tsdb_labels labels;
    struct tsdb_columns c;
    uint64_t is[GRID_TIMES] = {0};
    struct tsdb_error err = {0};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    assert_ok(tsdb_series_labels(q, ref, &arena, &labels, &err));
    uint32_t series = hx_series_of(&labels);
    assert_true(series < GRID_SERIES && !seen[series]);
    seen[series] = true;
    assert_ok_err(tsdb_series_read(q, ref, range, &arena, &c, &err), &err);
    e->counts += c.count;
    for (uint32_t i = 0; i < c.count; i++) {
        enum tsdb_sample_kind kind = c.kind ? (enum tsdb_sample_kind)c.kind[i] : TSDB_SAMPLE_FLOAT;
        int64_t t = (c.t_ms[i] - e->g.first_ms) / GRID_STEP;
        assert_true(t >= 0 && t < GRID_TIMES && is[t] == 0);
        is[t] = grid_value(kind, c.bits[i],
                           kind == TSDB_SAMPLE_FLOAT ? NULL : &c.histograms[c.bits[i]]);
    }
    for (uint32_t t = 0; t < GRID_TIMES; t++) {
        int64_t t_ms = grid_time(&e->g, t);
        bool in = range.min_ms <= t_ms && t_ms <= range.max_ms;
        const char *wrong = in ? grid_check(&e->g, series, t_ms, is[t]) : NULL;
        if (wrong || (!in && is[t] != 0)) {
            engine_fail(e, "query: %s", wrong ? wrong : "a sample outside of the range");
        }
    }
    tsdb_arena_deinit(&arena);
}

static bool has_any(const struct grid *g, uint32_t series, struct tsdb_time_range range)
{
    bool any = false;
    for (uint32_t t = 0; t < GRID_TIMES; t++) {
        int64_t t_ms = grid_time(g, t);
        any = any || (g->bits[series][t] != 0 && t_ms >= g->oldest_ms && range.min_ms <= t_ms &&
                      t_ms <= range.max_ms);
    }
    return any;
}

/* A selection and a list of label values, of some series and some time. */
static void query(struct engine *e)
{
    char texts[2][256];
    struct tsdb_matcher m[2];
    uint32_t name = below(e, 3) == 0 ? below(e, 7) : GRID_ANY;
    uint32_t modulus = 1 + below(e, 3);
    uint32_t rest = below(e, modulus);
    uint32_t n = matchers_make(name, modulus, rest, texts, m);
    int64_t from = grid_time(&e->g, below(e, GRID_TIMES));
    struct tsdb_time_range range = {from, from + below(e, 60) * GRID_STEP / 2};
    bool seen[GRID_SERIES] = {false};
    struct tsdb_querier *q = NULL;
    struct tsdb_series_set set;
    struct tsdb_arena arena;
    struct tsdb_slice *values;
    uint32_t count = 0;
    bool truncated = false;
    struct tsdb_error err = {0};
    struct tsdb_selector selector = {m, n};
    assert_ok_err(tsdb_querier_open(e->h.db, NULL, range, &q, &err), &err);
    assert_ok_err(tsdb_select(q, m, n, &set, &err), &err);
    for (uint32_t i = 0; i < set.count; i++) {
        query_series(e, q, set.refs[i], range, seen);
    }
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    assert_ok_err(
        tsdb_label_values(q, "i", 1, &selector, 1, 0, &arena, &values, &count, &truncated, &err),
        &err);
    for (uint32_t s = 0; s < GRID_SERIES; s++) {
        bool listed = false;
        char text[16];
        int len = snprintf(text, sizeof text, "%u", s);
        for (uint32_t i = 0; i < count; i++) {
            listed = listed || (values[i].len == (size_t)len &&
                                memcmp(values[i].data, text, values[i].len) == 0);
        }
        bool wanted = chosen(name, modulus, rest, s);
        if (has_any(&e->g, s, range) && wanted && (!seen[s] || !listed)) {
            engine_fail(e, "query: series %u is not %s", s, seen[s] ? "listed" : "selected");
        }
        if (!wanted && (seen[s] || listed)) {
            engine_fail(e, "query: series %u does not match", s);
        }
    }
    tsdb_arena_deinit(&arena);
    tsdb_querier_close(q);
}

static void look(struct engine *e)
{
    age(e);
    const char *wrong = grid_compare(&e->g);
    if (wrong) {
        engine_fail(e, "%s", wrong);
    }
    for (uint32_t i = 0; i < QUERIES && !e->wrong[0]; i++) {
        query(e);
    }
}

/* ---- one after the other ---- */

static void step_put(struct engine *e)
{
    /* Series come and go: those of the time, and a late one at times. */
    uint32_t t = (uint32_t)((e->h.clock.wall_ms - e->g.first_ms) / GRID_STEP);
    uint32_t late = below(e, 4) == 0 ? t : 4;
    e->g.window.t_count = TSDB_MIN(late, GRID_TIMES - 1) + 1;
    e->g.window.t = TSDB_MIN(t, GRID_TIMES - 1) - (e->g.window.t_count - 1);
    e->g.window.series = t / 12 * 5 % GRID_SERIES;
    e->g.window.series_count = below(e, 5) == 0 ? GRID_SERIES : 9;
    (void)grid_put(&e->g, &e->p, 1 + below(e, 80));
}

static void step_delete(struct engine *e)
{
    struct grid_delete d = grid_random_delete(&e->g, &e->p);
    struct tsdb_error err = {0};
    (void)grid_delete(&e->g, &d, NULL, &err);
}

static void step_background(struct engine *e)
{
    struct tsdb *db = e->h.db;
    int64_t now_ns = e->h.clock.mono_ns;
    struct tsdb_work_done done;
    switch (below(e, 9)) {
    case 0:
        (void)!tsdb_flush(db, NULL);
        break;
    case 1:
    case 2:
        tsdb_seal_step(db, now_ns);
        while (tsdb_flush_step(db, now_ns) > 0) {
        }
        break;
    case 3:
        (void)!tsdb_compact(db, &done, NULL);
        break;
    case 4:
        tsdb_compact_step(db, now_ns);
        break;
    case 5:
        (void)!tsdb_clean_tombstones(db, &done, NULL);
        break;
    case 6:
        (void)!tsdb_checkpoint(db, NULL);
        break;
    case 7:
        tsdb_retention_step(db, now_ns);
        break;
    default:
        tsdb_checkpoint_step(db, now_ns);
        break;
    }
}

static void reopen(struct engine *e)
{
    struct tsdb_error err = {0};
    struct tsdb_stats st;
    if (hx_open(&e->h, &err) != TSDB_OK) {
        engine_fail(e, "it does not open: %.300s", err.msg);
        return;
    }
    tsdb_stats_read(e->h.db, &st);
    if (st.blocks_quarantined + st.tombstones_damaged + st.head_files_damaged +
            st.replay_lost_chunks >
        0) {
        engine_fail(e, "something counts as damaged");
    }
}

static void step_end(struct engine *e)
{
    struct tsdb_error err = {0};
    if (below(e, 2) == 0) {
        assert_ok_err(hx_close(&e->h, &err), &err);
    } else {
        hx_die(&e->h, below(e, 2) == 0);
    }
    reopen(e);
}

static void step_snapshot(struct engine *e)
{
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    struct tsdb_error err = {0};
    assert_ok_err(tsdb_snapshot(e->h.db, false, name, &err), &err);
    hx_die(&e->h, false);
    restore_take(&e->h, name);
    reopen(e);
}

/* For a while; nobody writes meanwhile, for it would be of another time. */
static void step_clock(struct engine *e)
{
    e->h.clock.wall_ms += 20 * DAY;
    e->ahead = true;
    for (uint32_t i = below(e, 5); i > 0 && !e->wrong[0]; i--) {
        step_background(e);
        if (below(e, 3) == 0) {
            step_end(e);
        }
    }
    e->h.clock.wall_ms -= 20 * DAY;
    e->ahead = false;
}

static void step_work(struct engine *e)
{
    uint32_t dice = below(e, 20);
    if (dice < 9) {
        step_put(e);
    } else if (dice < 11) {
        step_delete(e);
    } else {
        step_background(e);
    }
}

/* The machine stops at some file operation; what was under way is there or not, cell by cell. */
static void step_halt(struct engine *e)
{
    tsdb_fs_sim_fault(e->h.sim, TSDB_FAULT_HALT, 1 + below(e, 60), 1);
    e->before = e->g;
    step_work(e);
    e->halts++;
    hx_die(&e->h, below(e, 2) == 0);
    reopen(e);
    if (!e->wrong[0]) {
        age(e);
        struct grid after = e->g;
        e->before.oldest_ms = e->g.oldest_ms;
        e->before.next = e->g.next;
        e->g = e->before;
        const char *wrong = grid_settle(&e->g, &after);
        if (wrong) {
            engine_fail(e, "%s", wrong);
        }
    }
}

static void step(struct engine *e)
{
    uint32_t dice = below(e, 40);
    if (dice < 3) {
        step_end(e);
    } else if (dice < 6) {
        step_halt(e);
    } else if (dice < 7) {
        step_snapshot(e);
    } else if (dice < 8) {
        step_clock(e);
    } else {
        step_work(e);
    }
    tsdb_clock_sim_advance(&e->h.clock, below(e, 1500));
}

/* ---- runs ---- */

static void configure(struct engine *e, uint64_t seed)
{
    struct tsdb_options *o = &e->h.options;
    hx_init(&e->h, seed);
    tsdb_prng_init(&e->p, seed ^ 0xe9);
    o->block_range_ms = 4000 + 1000 * (int64_t)below(e, 12);
    o->old_range_max_ms = below(e, 2) == 0 ? 0 : 1;
    o->wal_segment_bytes = 1u << (13 + below(e, 3));
    o->wal_epoch_bytes = 1u << (10 + below(e, 3));
    o->head_file_bytes_max = 1u << (9 + below(e, 5));
    o->checkpoint_wal_bytes = 1u << (11 + below(e, 5));
    o->cache_l1_bytes = 1u << (12 + below(e, 6));
    o->series_idle_ms = below(e, 3) * 4000;
    o->head_chunk_samples = below(e, 2) == 0 ? 120 : 3 + below(e, 20);
    o->overdue_chunks = below(e, 2) == 0 ? 0 : 16;
    o->retention_ms = below(e, 2) == 0 ? 0 : RETENTION;
    e->h.clock.wall_ms = HX_WALL_MS + FIRST * GRID_STEP;
    grid_init(&e->g, &e->h, HX_WALL_MS);
    e->g.histograms = below(e, 4);
    e->wrong[0] = 0;
}

static void run(struct engine *e, uint64_t seed)
{
    uint32_t i = 0;
    configure(e, seed);
    reopen(e);
    for (; i < STEPS && !e->wrong[0]; i++) {
        step(e);
        if (!e->wrong[0] &&
            below(e, 3) > 0) { /* so that a step comes before anybody has read, too */
            look(e);
        }
    }
    if (!e->wrong[0]) {
        look(e);
    }
    hx_deinit(&e->h);
    if (e->wrong[0]) {
        fail_msg("TSDB_SEED=%llu, step %u: %s", (unsigned long long)seed, i, e->wrong);
    }
}

static void engine__random_lives_beside_a_map__same_samples(void **state)
{
    struct engine *e = *state;
    struct seeds seeds = seeds_of(40, 5);
    tsdb_log_configure(seeds.one ? TSDB_LOG_DEBUG : TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    for (uint64_t i = 0; i < seeds.count; i++) {
        run(e, seeds.first + i);
    }
    assert_true(e->counts > 1000 * seeds.count && (seeds.one || e->halts > seeds.count));
}

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct engine));
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(engine__random_lives_beside_a_map__same_samples, setup,
                                    teardown),
};

TEST_MAIN(tests)
