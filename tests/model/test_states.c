/* Where the samples lie, what the caches hold, which kernels compute and how many threads: the answer is the
 * same to the last bit. Random expressions over one set of series, written with gaps, resets, stale
 * markers, payloads of NaN, native histograms and samples that come late, asked while all of it
 * is in open chunks, in head files, in blocks and between them, and after a restart. */
#include "tests/support/test.h"

#include "query/crew.h"
#include "query/kernels/kernels.h"
#include "tests/model/query_gen.h"
#include "tests/support/tsdb/harness.h"

#define DATA_SETS   3
#define EXPRESSIONS 150
#define COUNT_EVERY 8                /* of them */
#define NOW_MS      INT64_C(1800000) /* samples end before; expressions name times of that kind */
#define RAW_MAX     512

struct asked {
    char text[2048];
    struct query_params params;
    char *answer; /* in the first state */
};
struct rig {
    struct hx h;
    struct query_fixture series; /* what is written */
    struct query_crew *crews[4]; /* 1, 2, 4 and 7 threads */
    struct asked asked[EXPRESSIONS];
    struct tsdb_buf text;
    uint64_t seed;
    uint64_t points;
};

/* ---- data ---- */

/* Values that the generator has not, in a way that any evaluation must keep. */
static void spice(struct gen *g, struct query_fixture *f)
{
    static const uint64_t odd[] = {UINT64_C(0x7ff8000000000abc), UINT64_C(0xfff800000000beef),
                                   UINT64_C(0x8000000000000000), UINT64_C(0x7ff0000000000000),
                                   UINT64_C(0x4340000000000001), UINT64_C(0x3fb999999999999a),
                                   TSDB_STALE_NAN_BITS};
    for (uint32_t i = 0; i < f->count; i++) {
        struct qf_series *s = f->series[i];
        bool some = below(g, 3) == 0;
        for (uint32_t k = 0; some && k < s->count; k++) {
            if (s->kind[k] == TSDB_SAMPLE_FLOAT && below(g, 25) == 0) {
                s->bits[k] = odd[below(g, TSDB_ARRAY_LEN(odd))];
            }
        }
    }
}

static void done(struct tsdb_write *w)
{
    *(bool *)w->done_arg = true;
}

/* Samples of one series with number % every == turn, of [from, to). */
static void write_some(struct rig *r, const struct qf_series *s, uint32_t from, uint32_t to,
                       uint32_t every, uint32_t turn)
{
    static uint8_t bytes[QF_HISTOGRAMS_MAX][RAW_MAX];
    static struct tsdb_raw_histogram raws[QF_HISTOGRAMS_MAX];
    struct tsdb *db = r->h.db;
    struct tsdb_arena arena;
    struct tsdb_batch_build b;
    struct tsdb_build_target target;
    struct tsdb_write w = {0};
    bool is_done = false;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 16, NULL);
    tsdb_build_init(&b, &arena, tsdb_hash_key(db), tsdb_owner_map(db));
    assert_ok(tsdb_build_reserve(&b, to - from + 1));
    assert_ok(tsdb_build_new(&b, s->labels, (struct tsdb_hash128){0, 0}, &target));
    for (uint32_t i = from; i < to; i++) {
        uint64_t value = s->bits[i];
        if (i % every != turn) {
            continue;
        }
        if (s->kind[i] != TSDB_SAMPLE_FLOAT) {
            const struct tsdb_histogram *h = &s->histograms[s->bits[i]];
            struct tsdb_raw_histogram *raw = &raws[s->bits[i]];
            uint8_t *to_bytes = bytes[s->bits[i]];
            assert_true(tsdb_histogram_encoded_bytes_max(h) <= RAW_MAX);
            *raw =
                (struct tsdb_raw_histogram){(uint32_t)tsdb_histogram_encode(h, to_bytes), to_bytes};
            value = (uint64_t)(uintptr_t)raw;
        }
        tsdb_build_add(&b, &target, (enum tsdb_sample_kind)s->kind[i], s->t_ms[i], value);
    }
    assert_ok(tsdb_build_finish(&b, tsdb_durability(db), &w));
    w.done = done;
    w.done_arg = &is_done;
    assert_ok(tsdb_write_submit(db, &w, NULL));
    hx_settle(&r->h);
    assert_true(is_done);
    assert_int_equal(atomic_load(&w.status), TSDB_OK);
    tsdb_arena_deinit(&arena);
}

/* A part of all series; every third of them with every fifth sample late. */
static void write_part(struct rig *r, uint32_t part, uint32_t parts)
{
    for (uint32_t i = 0; i < r->series.count; i++) {
        const struct qf_series *s = r->series.series[i];
        uint32_t from = s->count * part / parts;
        uint32_t to = s->count * (part + 1) / parts;
        bool late = i % 3 == 0;
        for (uint32_t turn = 0; turn < (late ? 5 : 1); turn++) {
            write_some(r, s, from, to, late ? 5 : 1, late ? 4 - turn : 0);
        }
    }
}

/* ---- asking ---- */

/* What there was to load and to hold differs, as does whether series without samples in the range are found;
 * whatever else is told does not. */
static void answer(struct rig *r, const struct asked *a)
{
    struct query_result result = {0};
    struct tsdb_error err = {0};
    struct query_expr *e;
    struct query_fixture *f = &r->series;
    tsdb_buf_clear(&r->text);
    tsdb_arena_reset(&f->result);
    enum tsdb_status status =
        query_parse(a->text, strlen(a->text), &f->options, &f->result, &e, &err);
    if (status == TSDB_OK) {
        status =
            query_eval(r->h.db, &f->options, &f->request, e, &a->params, &f->result, &result, &err);
    }
    if (status == TSDB_OK) {
        assert_int_equal(query_result_json(&result, NULL, &r->text), TSDB_OK);
        tsdb_buf_printf(&r->text, " queryable %llu read %llu",
                        (unsigned long long)result.stats.samples_queryable,
                        (unsigned long long)result.stats.samples_read);
        for (uint32_t i = 0; i < result.note_count; i++) {
            tsdb_buf_printf(&r->text, "\n%s", result.notes[i].text);
        }
    } else {
        tsdb_buf_printf(&r->text, "%s: %s", tsdb_status_name(status), tsdb_error_text(&err));
    }
    for (uint32_t i = 0; i < result.series_count; i++) {
        r->points += result.series[i].point_count;
    }
    tsdb_buf_put_u8(&r->text, 0);
    assert_false(r->text.failed);
}

static void ask_all(struct rig *r, const char *state)
{
    for (uint32_t i = 0; i < EXPRESSIONS; i++) {
        struct asked *a = &r->asked[i];
        for (uint32_t way = 0; way < 2 * TSDB_ARRAY_LEN(r->crews); way++) {
            r->series.options.kernels = way % 2 == 0 ? &query_kernels_scalar : NULL;
            r->series.options.crew = r->crews[way / 2];
            a->params.explain = way == 3; /* then nothing is counted from ids */
            answer(r, a);
            if (!a->answer) {
                a->answer = strdup((const char *)r->text.data);
                assert_non_null(a->answer);
            } else if (strcmp(a->answer, (const char *)r->text.data) != 0) {
                fail_msg("seed %llu, %s, way %u: %s\nhas %s\nat first %s",
                         (unsigned long long)r->seed, state, way, a->text,
                         (const char *)r->text.data, a->answer);
            }
        }
    }
}

/* Counted from ids in some states, series by series in others. */
static void draw_count(struct gen *g)
{
    static const char *const selectors[] = {"{__name__=~\".+\"}", "{x!=\"1\",__name__!=\"\"}",
                                            "{y=~\".*[02]\"} offset 30s"};
    static const char *const by[] = {"", "by (__name__)", "by (x)", "by (y)", "by (x, y)"};
    (void)snprintf(g->text, sizeof g->text, "%s %s (%s)", below(g, 3) == 0 ? "group" : "count",
                   by[below(g, TSDB_ARRAY_LEN(by))],
                   selectors[below(g, TSDB_ARRAY_LEN(selectors))]);
}

static void draw_expressions(struct rig *r, struct gen *g)
{
    for (uint32_t i = 0; i < EXPRESSIONS; i++) {
        struct asked *a = &r->asked[i];
        tsdb_prng_init(&g->prng, r->seed * 100000 + i);
        g->len = 0;
        bool counts = i % COUNT_EVERY == 0;
        if (counts) {
            draw_count(g);
        } else if (below(g, 4) == 0) {
            gen_hist(g, 2);
        } else {
            gen_vector(g, 2);
        }
        memcpy(a->text, g->text, sizeof a->text);
        int64_t start = 100000 + (int64_t)below(g, 1500) * 1000;
        int64_t step = counts || below(g, 3) == 0 ? 0 : ((int64_t)below(g, 30) + 1) * 10000;
        a->params = (struct query_params){
            .start_ms = start, .end_ms = start + step * (int64_t)below(g, 20), .step_ms = step};
    }
}

/* ---- states ---- */

static void reopen(struct rig *r, bool clean, uint64_t cache_bytes)
{
    struct tsdb_error err = {0};
    if (clean) {
        assert_ok_err(hx_close(&r->h, &err), &err);
    } else {
        hx_die(&r->h, false);
    }
    r->h.options.cache_l1_bytes = cache_bytes;
    r->h.options.cache_l2_bytes = cache_bytes;
    assert_ok_err(hx_open(&r->h, &err), &err);
}

static void seal(struct rig *r)
{
    for (size_t work = 1; work > 0;) {
        work = tsdb_seal_step(r->h.db, r->h.clock.mono_ns);
        hx_settle(&r->h);
    }
}

static void states(struct rig *r)
{
    struct tsdb_error err = {0};
    struct tsdb_work_done work;
    write_part(r, 0, 2);
    write_part(r, 1, 2);
    ask_all(r, "open chunks");
    seal(r);
    ask_all(r, "head files");
    reopen(r, false, 1u << 20);
    ask_all(r, "after a kill");
    assert_ok_err(tsdb_flush(r->h.db, &err), &err);
    ask_all(r, "blocks");
    reopen(r, true, 1u << 16);
    ask_all(r, "blocks, hardly a cache");
    assert_ok_err(tsdb_compact(r->h.db, &work, &err), &err);
    ask_all(r, "blocks, merged");
}

/* The second half lies in the head, the first in blocks. */
static void state_between(struct rig *r)
{
    struct tsdb_error err = {0};
    write_part(r, 0, 2);
    assert_ok_err(tsdb_flush(r->h.db, &err), &err);
    write_part(r, 1, 2);
    ask_all(r, "blocks and head");
}

static void rig_open(struct rig *r, uint64_t seed)
{
    struct tsdb_error err = {0};
    hx_init(&r->h, seed);
    r->h.clock.wall_ms = NOW_MS;
    r->h.options.block_range_ms = 300000 + 50000 * (int64_t)(seed % 3);
    r->h.options.head_chunk_samples = 40 + 30 * (uint32_t)(seed % 3);
    assert_ok_err(hx_open(&r->h, &err), &err);
}

static void query_eval__wherever_samples_lie__same_bits(void **state)
{
    (void)state;
    struct rig *r = calloc(1, sizeof *r);
    struct gen *g = calloc(1, sizeof *g);
    assert_true(r && g);
    assert_ok(query_crew_create(2, &r->crews[1], NULL));
    assert_ok(query_crew_create(4, &r->crews[2], NULL));
    assert_ok(query_crew_create(7, &r->crews[3], NULL));
    tsdb_buf_init(&r->text, TSDB_MEM_OTHER, 0);
    for (r->seed = 1; r->seed <= DATA_SETS; r->seed++) {
        query_fixture_init(&r->series);
        r->series.options.crew_work_min = 1;
        /* Of a shorter one steps are further apart: chunks between them are not read. */
        r->series.options.lookback_ms = r->seed % 2 == 0 ? 300000 : 45000;
        tsdb_prng_init(&g->prng, r->seed * 7919);
        random_data(g, &r->series);
        spice(g, &r->series);
        draw_expressions(r, g);
        rig_open(r, r->seed);
        states(r);
        hx_deinit(&r->h);
        rig_open(r, r->seed);
        state_between(r);
        hx_deinit(&r->h);
        for (uint32_t i = 0; i < EXPRESSIONS; i++) {
            free(r->asked[i].answer);
            r->asked[i].answer = NULL;
        }
        query_fixture_deinit(&r->series);
    }
    assert_true(r->points > DATA_SETS * EXPRESSIONS * 100u); /* most have something to say */
    for (size_t i = 0; i < TSDB_ARRAY_LEN(r->crews); i++) {
        query_crew_destroy(r->crews[i]);
    }
    tsdb_buf_deinit(&r->text);
    free(g);
    free(r);
}

/* What a query did to chunks, whose answer is in r->text. */
static struct tsdb_chunk_counts chunks_of(struct rig *r, const char *text, int64_t start_ms,
                                          int64_t step_ms, uint32_t steps)
{
    struct query_fixture *f = &r->series;
    struct query_result result = {0};
    struct query_expr *e;
    const struct query_params params = {.start_ms = start_ms,
                                        .end_ms = start_ms + step_ms * (steps - 1),
                                        .step_ms = step_ms,
                                        .explain = true};
    tsdb_arena_reset(&f->result);
    assert_ok(query_parse(text, strlen(text), &f->options, &f->result, &e, NULL));
    assert_ok(query_eval(r->h.db, &f->options, &f->request, e, &params, &f->result, &result, NULL));
    assert_non_null(result.plan);
    return result.plan->chunks;
}

/* 600 samples 10 s apart in chunks of 40, which end up in blocks of 300 s. */
static void query_eval__far_steps__chunks_between_are_skipped(void **state)
{
    (void)state;
    struct rig *r = calloc(1, sizeof *r);
    assert_true(r);
    query_fixture_init(&r->series);
    query_fixture_load(&r->series, 10000, "the_first 1"); /* of it samples would come late */
    query_fixture_load(&r->series, 10000, "a 1+1x599");
    hx_init(&r->h, 1);
    r->h.clock.wall_ms = 6100000;
    r->h.options.block_range_ms = 300000;
    r->h.options.old_range_max_ms = 1;
    r->h.options.head_chunk_samples = 40;
    assert_ok(hx_open(&r->h, NULL));
    write_part(r, 0, 1);
    for (uint32_t i = 0; i < 2; i++) {
        /* 30 samples of a window are a chunk, so that a step's minute lies in one, or in two. */
        struct tsdb_chunk_counts all = chunks_of(r, "a", 100000, 10000, 580);
        assert_int_equal(all.read + all.cached, 20);
        assert_int_equal(all.skipped, 0);
        r->series.options.lookback_ms = 60000;
        struct tsdb_chunk_counts far = chunks_of(r, "a", 100000, 1500000, 4);
        assert_int_equal(far.read + far.cached, 4);
        assert_int_equal(far.skipped, 12); /* none is in the range behind the last step */
        far = chunks_of(r, "sum_over_time(a[70s] offset 40s)", 1240000, 1600000, 2);
        assert_int_equal(far.read + far.cached, 3); /* 1130 s to 1200 s touches two, none else */
        far = chunks_of(r, "count(a)", 5990000, 0, 1);
        assert_int_equal(far.read + far.cached, 0);
        assert_int_equal(far.skipped, 1);
        r->series.options.lookback_ms = 300000;
        assert_ok(tsdb_flush(r->h.db, NULL));
    }
    hx_deinit(&r->h);
    query_fixture_deinit(&r->series);
    free(r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(query_eval__far_steps__chunks_between_are_skipped),
    cmocka_unit_test(query_eval__wherever_samples_lie__same_bits),
};
TEST_MAIN(tests)
