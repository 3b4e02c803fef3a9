/* A random life of a database, asked as dashboards ask, with the cache of queries and without: every bit of
 * every answer is the same. */
#include "tests/support/test.h"

#include "base/log.h"
#include "query/cache/cache.h"
#include "query/crew.h"
#include "tests/support/tsdb/harness.h"
#include "tsdb/engine/tsdb_private.h"

#include <string.h>

#define SEEDS     10 /* TSDB_SEEDS and TSDB_SEED_FROM in the environment: others */
#define TURNS     140
#define SERIES    63 /* of 7 metrics: m5 has histograms, m6 both kinds */
#define PANELS    6
#define CREWS     4
#define RAW_MAX   512
#define RETENTION INT64_C(150000)

static const char *const texts[] = {
    "m0",
    "sum(m0)",
    "sum by (i) (rate(m0[1m]))",
    "sum(rate(m1[45s]))",
    "avg(m2)",
    "avg_over_time(m2[1m])",
    "sum(m2)",
    "stddev_over_time(m2[30s])",
    "max(m2) - min(m2)",
    "stddev(m3) + count(m3)",
    "quantile(0.9, m3)",
    "topk(2, m3)",
    "count_values(\"v\", m3)",
    "m0 / on(i) m0",
    "sum(m0) / on() sum(m1)",
    "m1 > on(i) group_left() m1 * 0.5",
    "m0 or m1",
    "m2 unless on(i) (m2 > 3)",
    "increase(m1[2m])",
    "last_over_time(m3[30s])",
    "sum(m0 offset 30s)",
    "rate(m0[30s] offset 1m)",
    "sum(rate({__name__=~\"m[01]\"}[1m]))",
    "max_over_time({__name__=~\"m[23]\"}[20s])",
    "sum(m1 offset -40s)",
    "max_over_time(m3[1m:10s])",
    "sum(sum_over_time(rate(m0[20s])[1m:7s]))",
    "max_over_time(avg(m2)[30s:5s])",
    "sum(max_over_time(rate(m1[20s])[1m:5s]) > 0)",
    "absent(m4)",
    "absent_over_time(m4[15s])",
    "timestamp(m2)",
    "m5",
    "sum(m5)",
    "sum(rate(m5[1m]))",
    "histogram_quantile(0.5, sum(rate(m5[1m])))",
    "sum(m6)",
    "avg(m6)",
    "rate(m6[1m])",
    "count_over_time(m6[40s])",
    "scalar(m0{i=\"7\"})",
    "scalar(sum(m1)) * time()",
    "label_replace(m3, \"x\", \"$1\", \"i\", \"(.)\")",
    "-m2",
    "clamp_max(m2, 2)",
    "deriv(m3[1m])",
    "predict_linear(m0[1m], 60)",
    "changes(m3[1m]) + resets(m1[1m])",
    "quantile_over_time(0.3, m2[1m])",
    "sort_desc(m3)",
    "bottomk by (i) (1, m2)",
    /* answered by an evaluation alone */
    "sum(m0 @ end())",
    "histogram_count(m5)",
    "sum(m0 @ 1700000100)",
};

struct panel {
    const char *text;
    int64_t step_ms, span_ms;
};

struct life {
    struct hx h;
    struct tsdb_prng p;
    uint64_t seed;
    struct query_cache *cache;
    struct query_cache_stats past; /* of caches before */
    struct query_crew *crews[CREWS];
    struct panel panels[PANELS];
    double counters[SERIES];
    bool gone[SERIES];
};

static uint64_t below(struct life *l, uint64_t n)
{
    return tsdb_prng_below(&l->p, n);
}

/* ---- writes ---- */

static double random_value(struct life *l, uint32_t series)
{
    static const uint64_t odd[] = {UINT64_C(0x8000000000000000),
                                   UINT64_C(0x7ff8000000000001),
                                   UINT64_C(0xfff8000000000007),
                                   UINT64_C(0x7ff0000000000000),
                                   UINT64_C(0x7fe8000000000000),
                                   UINT64_C(0x7fefffffffffffff),
                                   0};
    switch (series % 7) {
    case 0:
    case 1:
        l->counters[series] = below(l, 30) == 0 ? 0 : l->counters[series] + (double)below(l, 9) / 3;
        return l->counters[series];
    case 2:
        return below(l, 12) == 0 ? tsdb_bits_double(odd[below(l, TSDB_ARRAY_LEN(odd))])
                                 : (double)below(l, 1000) / 7 - 50;
    default:
        return (double)below(l, 5);
    }
}

static uint32_t random_histogram(struct life *l, uint8_t *raw)
{
    static const struct tsdb_span spans[] = {{0, 3}};
    uint64_t n = below(l, 50);
    const int64_t deltas[] = {(int64_t)n, 1, 2};
    const double counts[] = {(double)n + 0.25, 1, 2.5};
    struct tsdb_histogram h = {.schema = (int32_t)below(l, 2),
                               .sum = (double)n * 1.5,
                               .count_int = 3 * n + 4,
                               .positive_span_count = 1,
                               .positive_bucket_count = 3,
                               .positive_spans = spans,
                               .positive_deltas = deltas};
    if (below(l, 4) == 0) {
        h.is_float = true;
        h.count_int = 0;
        h.count_float = (double)n + 3.75;
        h.positive_deltas = NULL;
        h.positive_counts = counts;
    }
    assert_true(tsdb_histogram_encoded_bytes_max(&h) <= RAW_MAX);
    uint32_t len = (uint32_t)tsdb_histogram_encode(&h, raw + 1);
    raw[0] = h.is_float;
    return len;
}

static struct hx_sample random_sample(struct life *l, uint32_t series, int64_t t_ms, uint8_t *raw)
{
    struct hx_sample s = hx_float(series, t_ms, random_value(l, series));
    if (series % 7 == 5 || (series % 7 == 6 && below(l, 2) == 0)) {
        s.raw_len = random_histogram(l, raw);
        s.raw = raw + 1;
        s.kind = raw[0] ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT;
    }
    return s;
}

/* Samples of one moment, of most series; a few go, with a stale marker, or come back. */
static void put_moment(struct life *l, int64_t t_ms)
{
    static uint8_t raws[SERIES][RAW_MAX + 1];
    struct hx_sample samples[SERIES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < SERIES; i++) {
        if (l->gone[i] || below(l, 40) == 0) {
            l->gone[i] = l->gone[i] && below(l, 10) != 0;
            continue;
        }
        samples[n] = random_sample(l, i, t_ms, raws[i]);
        if (below(l, 40) == 0) {
            samples[n] = (struct hx_sample){.series = i, .t_ms = t_ms, .bits = TSDB_STALE_NAN_BITS};
            l->gone[i] = true;
        }
        n++;
    }
    assert_ok(hx_put(&l->h, samples, n, TSDB_DURABILITY_BUFFERED, NULL));
}

/* A few samples of long ago. */
static void put_late(struct life *l)
{
    uint8_t raws[4][RAW_MAX + 1];
    struct hx_sample samples[4];
    int64_t from_ms = 1 + (int64_t)below(l, 140000);
    for (uint32_t i = 0; i < 4; i++) {
        int64_t t_ms = l->h.clock.wall_ms - from_ms - (int64_t)below(l, 10000);
        samples[i] = random_sample(l, i * 16 + (uint32_t)below(l, 15), t_ms, raws[i]);
    }
    assert_ok(hx_put(&l->h, samples, 4, TSDB_DURABILITY_BUFFERED, NULL));
}

/* ---- the rest of a life ---- */

static void cache_end(struct life *l)
{
    struct query_cache_stats s;
    query_cache_stats(l->cache, &s);
    l->past.hits += s.hits;
    l->past.partial += s.partial;
    l->past.misses += s.misses;
    l->past.voided += s.voided;
    l->past.evicted += s.evicted;
    l->past.bypassed += s.bypassed;
    l->past.steps_kept += s.steps_kept;
    assert_true(s.bytes <= s.bytes_max);
    query_cache_destroy(l->cache);
    l->cache = NULL;
}

static void cache_begin(struct life *l)
{
    const struct query_cache_options o = {.bytes_max = 200000 + below(l, 4) * 200000,
                                          .samples_min = 1};
    assert_ok(query_cache_create(&o, &l->cache, NULL));
}

/* So late is what the lives write late, too. */
static void late_is_soon(struct life *l)
{
    for (uint32_t i = 0; i < l->h.db->owner_count; i++) {
        l->h.db->owners[i].late_ms = 40000;
    }
}

static void reopen(struct life *l, bool clean)
{
    struct tsdb_error err = {0};
    cache_end(l);
    if (clean) {
        assert_ok_err(hx_close(&l->h, &err), &err);
    } else {
        hx_die(&l->h, false);
    }
    assert_ok_err(hx_open(&l->h, &err), &err);
    late_is_soon(l);
    cache_begin(l);
}

static void delete_some(struct life *l)
{
    struct tsdb_error err = {0};
    struct tsdb_delete_info info;
    char name[4];
    char series[8];
    int64_t now_ms = l->h.clock.wall_ms;
    int64_t from_ms = now_ms - (int64_t)below(l, 200000);
    int64_t to_ms = TSDB_MIN(from_ms + (int64_t)below(l, 100000), now_ms);
    snprintf(name, sizeof name, "m%u", (unsigned)below(l, 7));
    snprintf(series, sizeof series, "%u", (unsigned)below(l, SERIES));
    bool by_name = below(l, 2) == 0;
    const char *value = by_name ? name : series;
    const struct tsdb_matcher m = {.op = TSDB_MATCH_EQ,
                                   .name = by_name ? "__name__" : "i",
                                   .name_len = by_name ? 8 : 1,
                                   .value = value,
                                   .value_len = (uint32_t)strlen(value)};
    const struct tsdb_selector s = {&m, 1};
    assert_ok_err(
        tsdb_delete_series(l->h.db, &s, 1, (struct tsdb_time_range){from_ms, to_ms}, &info, &err),
        &err);
}

static void turn(struct life *l)
{
    struct hx *h = &l->h;
    struct tsdb_error err = {0};
    struct tsdb_work_done done;
    switch (below(l, 36)) {
    case 0:
    case 11:
        delete_some(l);
        break;
    case 1:
        assert_ok_err(tsdb_flush(h->db, &err), &err);
        break;
    case 2:
        assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
        break;
    case 3:
        assert_ok_err(below(l, 2) ? tsdb_compact(h->db, &done, &err)
                                  : tsdb_clean_tombstones(h->db, &done, &err),
                      &err);
        break;
    case 4:
        if (below(l, 3) == 0) {
            reopen(l, below(l, 2) == 0);
        }
        break;
    case 5:
    case 12:
        tsdb_retention_step(h->db, h->clock.mono_ns);
        break;
    case 6:
    case 7:
        tsdb_flush_step(h->db, h->clock.mono_ns);
        tsdb_compact_step(h->db, h->clock.mono_ns);
        break;
    case 8:
    case 9:
    case 13:
    case 14:
        put_late(l);
        break;
    case 10:
        break; /* nothing happens: the same is asked again */
    default:
        tsdb_clock_sim_advance(&h->clock, 5000);
        put_moment(l, h->clock.wall_ms - (int64_t)below(l, 1500));
        break;
    }
}

/* ---- answers ---- */

static bool same_bits(double a, double b)
{
    return tsdb_double_bits(a) == tsdb_double_bits(b);
}

static bool same_histogram(const struct tsdb_histogram *a, const struct tsdb_histogram *b)
{
    uint8_t ra[1024];
    uint8_t rb[1024];
    if (!a || !b) {
        return a == b;
    }
    assert_true(tsdb_histogram_encoded_bytes_max(a) <= sizeof ra);
    assert_true(tsdb_histogram_encoded_bytes_max(b) <= sizeof rb);
    size_t na = tsdb_histogram_encode(a, ra);
    size_t nb = tsdb_histogram_encode(b, rb);
    return na == nb && memcmp(ra, rb, na) == 0;
}

static const char *series_differ(const struct query_series *a, const struct query_series *b)
{
    if (tsdb_labels_compare(&a->labels, &b->labels) != 0) {
        return "labels";
    }
    if (a->point_count != b->point_count) {
        return "count of points";
    }
    for (uint32_t i = 0; i < a->point_count; i++) {
        const struct query_point *p = &a->points[i];
        const struct query_point *q = &b->points[i];
        if (p->t_ms != q->t_ms) {
            return "times";
        }
        if (!same_bits(p->value, q->value)) {
            return "values";
        }
        if (!same_histogram(p->histogram, q->histogram)) {
            return "histograms";
        }
    }
    return NULL;
}

static bool has_note(const struct query_result *r, const struct query_note *n)
{
    for (uint32_t i = 0; i < r->note_count; i++) {
        if (r->notes[i].is_info == n->is_info && strcmp(r->notes[i].text, n->text) == 0) {
            return true;
        }
    }
    return false;
}

static const char *results_differ(const struct query_result *a, const struct query_result *b)
{
    if (a->type != b->type || a->truncated != b->truncated) {
        return "kind";
    }
    if (a->series_count != b->series_count) {
        return "count of series";
    }
    for (uint32_t i = 0; i < a->series_count; i++) {
        const char *wrong = series_differ(&a->series[i], &b->series[i]);
        if (wrong) {
            return wrong;
        }
    }
    if (a->note_count != b->note_count) {
        return "count of notes";
    }
    for (uint32_t i = 0; i < a->note_count; i++) { /* in any order */
        if (!has_note(b, &a->notes[i])) {
            return "notes";
        }
    }
    return NULL;
}

static const struct query_options *options_of(struct query_options *o, struct query_crew *crew)
{
    *o = (struct query_options){.lookback_ms = 30000,
                                .samples_max = 10000000,
                                .default_step_ms = 15000,
                                .crew_work_min = 1,
                                .crew = crew};
    return o;
}

static void ask(struct life *l, const char *text, const struct query_params *params)
{
    struct tsdb_arena arena;
    struct query_options plain;
    struct query_options crewed;
    struct query_expr *e = NULL;
    struct query_result want = {0};
    struct query_result have = {0};
    struct tsdb_error want_err = {0};
    struct tsdb_error have_err = {0};
    struct tsdb_request a = {.clock = &l->h.options.clock};
    struct tsdb_request b = {.clock = &l->h.options.clock};
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 1u << 16, NULL);
    options_of(&plain, NULL);
    options_of(&crewed, l->crews[below(l, CREWS)]);
    assert_ok_err(query_parse(text, strlen(text), &plain, &arena, &e, &want_err), &want_err);
    enum tsdb_status want_status =
        query_eval(l->h.db, &plain, &a, e, params, &arena, &want, &want_err);
    enum tsdb_status have_status =
        query_cache_eval(l->cache, l->h.db, &crewed, &b, e, params, &arena, &have, &have_err);
    const char *wrong = want_status != have_status ? "status" : NULL;
    if (!wrong && want_status == TSDB_OK) {
        wrong = results_differ(&want, &have);
    } else if (!wrong && strcmp(tsdb_error_text(&want_err), tsdb_error_text(&have_err)) != 0) {
        wrong = "error";
    }
    tsdb_arena_deinit(&arena);
    if (wrong) {
        fail_msg("seed %u: %s, %d steps of %d ms, %u of them kept: %s", (unsigned)l->seed, text,
                 (int)((params->end_ms - params->start_ms) / params->step_ms) + 1,
                 (int)params->step_ms, (unsigned)have.stats.steps_cached, wrong);
    }
}

static void ask_panel(struct life *l, const struct panel *panel)
{
    int64_t now_ms = l->h.clock.wall_ms;
    struct query_params p = {.step_ms = panel->step_ms};
    p.end_ms = now_ms - now_ms % panel->step_ms;
    p.start_ms = p.end_ms - panel->span_ms;
    switch (below(l, 24)) { /* somebody looks at something else */
    case 0:
        p.start_ms += panel->span_ms / 2;
        break;
    case 1:
        p.start_ms -= panel->span_ms / 2;
        break;
    case 2:
        p.end_ms += 3 * panel->step_ms;
        break;
    case 3:
        p.end_ms -= panel->span_ms / 3;
        break;
    case 4:
        p.start_ms += 1234; /* another grid */
        break;
    case 5:
        p.limit = 2;
        break;
    case 6:
        p.explain = true;
        break;
    case 7:
        p.lookback_ms = 10000;
        break;
    default:
        break;
    }
    ask(l, panel->text, &p);
}

/* ---- lives ---- */

static void life_begin(struct life *l, uint64_t seed)
{
    static const uint32_t threads[CREWS] = {1, 2, 4, 7};
    struct tsdb_error err = {0};
    memset(l, 0, sizeof *l);
    l->seed = seed;
    tsdb_prng_init(&l->p, seed);
    hx_init(&l->h, seed);
    l->h.options.block_range_ms = 60000 + 30000 * (int64_t)(seed % 4);
    l->h.options.head_file_bytes_max = 20000;
    l->h.options.head_chunk_samples = 20;
    l->h.options.cache_l1_bytes = 1u << 16;
    l->h.options.retention_ms = RETENTION;
    l->h.options.series_idle_ms = 30000;
    assert_ok_err(hx_open(&l->h, &err), &err);
    late_is_soon(l);
    for (uint32_t i = 0; i < CREWS; i++) {
        assert_ok_err(query_crew_create(threads[i], &l->crews[i], &err), &err);
    }
    cache_begin(l);
}

static void life_end(struct life *l)
{
    for (uint32_t i = 0; i < CREWS; i++) {
        query_crew_destroy(l->crews[i]);
    }
    hx_deinit(&l->h);
}

static void random_panel(struct life *l, struct panel *p)
{
    static const int64_t steps[] = {5000, 10000, 15000, 4000};
    *p = (struct panel){.text = texts[below(l, TSDB_ARRAY_LEN(texts))],
                        .step_ms = steps[below(l, TSDB_ARRAY_LEN(steps))],
                        .span_ms = 60000 + (int64_t)below(l, 8) * 60000};
}

static void one_life(struct life *l, uint64_t seed)
{
    life_begin(l, seed);
    for (uint32_t i = 0; i < PANELS; i++) {
        random_panel(l, &l->panels[i]);
    }
    for (uint32_t i = 0; i < TURNS; i++) {
        turn(l);
        for (uint32_t k = 0; k < PANELS; k++) {
            ask_panel(l, &l->panels[k]);
        }
        if (below(l, 30) == 0) {
            random_panel(l, &l->panels[below(l, PANELS)]);
        }
    }
    cache_end(l);
    life_end(l);
}

static void query_cache_eval__random_lives__the_same_bits(void **state)
{
    (void)state;
    static struct life l;
    struct query_cache_stats all = {0};
    const char *seeds = getenv("TSDB_SEEDS");
    const char *from = getenv("TSDB_SEED_FROM");
    uint64_t count = seeds ? strtoull(seeds, NULL, 10) : SEEDS;
    uint64_t first = from ? strtoull(from, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        one_life(&l, seed);
        all.hits += l.past.hits;
        all.partial += l.past.partial;
        all.voided += l.past.voided;
        all.evicted += l.past.evicted;
        all.bypassed += l.past.bypassed;
        all.steps_kept += l.past.steps_kept;
    }
    /* All of it has been met. */
    assert_true(all.hits > 10 * count);
    assert_true(all.partial > 100 * count);
    assert_true(all.voided > 2 * count);
    assert_true(all.evicted > 2 * count);
    assert_true(all.bypassed > 5 * count);
    assert_true(all.steps_kept > 5000 * count);
}

/* ---- without memory ---- */

static const char scarce[] = "sum by (i) (rate(m5[1m])) or m2";

/* An answer, part of it kept, while the nth allocation fails. False: fewer were made. */
static bool ask_without(struct life *l, const struct query_params *params, uint64_t nth)
{
    struct tsdb_arena arena;
    struct query_options o;
    struct query_expr *e = NULL;
    struct query_result want = {0};
    struct query_result have = {0};
    struct tsdb_error err = {0};
    struct tsdb_request request = {.clock = &l->h.options.clock};
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 1u << 16, NULL);
    options_of(&o, NULL);
    assert_ok(query_parse(scarce, strlen(scarce), &o, &arena, &e, NULL));
    assert_ok(query_eval(l->h.db, &o, &request, e, params, &arena, &want, &err));
    tsdb_alloc_fail_nth(nth, 0);
    enum tsdb_status status =
        query_cache_eval(l->cache, l->h.db, &o, &request, e, params, &arena, &have, &err);
    bool failed = tsdb_alloc_fail_count() >= nth;
    tsdb_alloc_ops_set(NULL);
    assert_true(status == TSDB_OK || (failed && status == TSDB_NOMEM));
    if (status == TSDB_OK) {
        assert_null(results_differ(&want, &have));
    }
    tsdb_arena_deinit(&arena);
    return failed;
}

static void query_cache_eval__allocations_fail__no_memory_or_the_same(void **state)
{
    (void)state;
    static struct life l;
    uint64_t nth = 0;
    bool failed = true;
    life_begin(&l, 77);
    while (failed) {
        tsdb_clock_sim_advance(&l.h.clock, 5000);
        put_moment(&l, l.h.clock.wall_ms);
        int64_t end_ms = l.h.clock.wall_ms - l.h.clock.wall_ms % 5000;
        struct query_params p = {.start_ms = end_ms - 100000, .end_ms = end_ms, .step_ms = 5000};
        ask(&l, scarce, &p);
        p.end_ms += 10000;
        failed = ask_without(&l, &p, ++nth);
    }
    assert_true(nth > 20);
    cache_end(&l);
    assert_true(l.past.partial >= nth - 1);
    life_end(&l);
}

static int quiet(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(query_cache_eval__random_lives__the_same_bits, quiet),
    cmocka_unit_test_setup(query_cache_eval__allocations_fail__no_memory_or_the_same, quiet),
};

TEST_MAIN(tests)
