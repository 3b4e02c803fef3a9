/* Random expressions over random series, beside the naive evaluator. The seed of a failing case is
 * printed with the expression. */
#include "tests/support/test.h"

#include "query/crew.h"
#include "query/kernels/kernels.h"
#include "tests/model/query_gen.h"

/* TSDB_QUERY_DATA_SETS in the environment asks for more of them: 250 are 100,000 expressions. */
#define DATA_SETS   8
#define EXPRESSIONS 400

/* ---- comparing ---- */

static bool close_to(double a, double b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b);
    }
    return a == b || fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b)) || fabs(a - b) < 1e-9;
}

static const struct query_point *point_at(const struct query_result *r,
                                          const struct tsdb_labels *labels, int64_t t)
{
    for (uint32_t i = 0; i < r->series_count; i++) {
        if (!tsdb_labels_equal(&r->series[i].labels, labels)) {
            continue;
        }
        for (uint32_t k = 0; k < r->series[i].point_count; k++) {
            if (r->series[i].points[k].t_ms == t) {
                return &r->series[i].points[k];
            }
        }
    }
    return NULL;
}

struct outcome {
    uint32_t compared, refused, lenient, histograms, jumps;
};

/* Where the last bit decides: the two evaluators add in different orders, so now and then one sees a
 * reset, a step or a value beyond a bound that the other does not. Rare, and counted. */
static bool may_jump(const char *query)
{
    static const char *const forms[] = {"rate((", "increase((", "resets((", "changes((", "ceil(",
                                        "sgn(",   " > ",        " < ",      " != ",      " % "};
    bool any = false;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(forms); i++) {
        any |= strstr(query, forms[i]) != NULL;
    }
    return any;
}

static void compare_histogram(const struct query_point *p, const struct naive_hist *want,
                              uint64_t seed, const char *query, int64_t t)
{
    if (!p || !p->histogram) {
        fail_msg("seed %llu: %s at %lld: no histogram, naive count %.17g", (unsigned long long)seed,
                 query, (long long)t, want->part[0]);
        return;
    }
    const struct naive_hist got = naive_hist_of(p->histogram);
    for (int i = 0; i < NAIVE_PARTS; i++) {
        if (!close_to(got.part[i], want->part[i])) {
            fail_msg("seed %llu: %s at %lld: part %d: %.17g, naive %.17g", (unsigned long long)seed,
                     query, (long long)t, i, got.part[i], want->part[i]);
        }
    }
}

/* A sum or difference of which one side says that it is a reset, the other that it is none: there is
 * no result. Only under histogram_count and the like are there such, and the naive one knows no
 * hints. */
static bool says_conflict(const struct query_result *r)
{
    bool any = false;
    for (uint32_t i = 0; i < r->note_count; i++) {
        any |= strstr(r->notes[i].text, "conflicting counter resets during histogram addition") ||
               strstr(r->notes[i].text, "conflicting counter resets during histogram subtraction");
    }
    return any;
}

static void compare(struct query_fixture *f, const char *query, const struct query_params *params,
                    uint64_t seed, struct outcome *o)
{
    struct naive n = {.f = f, .start_ms = params->start_ms, .end_ms = params->end_ms};
    struct query_result r = {0};
    struct tsdb_error err = {0};
    struct query_expr *e;
    enum tsdb_status status = query_fixture_eval(f, query, params, &r, &err);
    tsdb_arena_init(&n.arena, TSDB_MEM_OTHER, 1 << 20, NULL);
    if (query_parse(query, strlen(query), &f->options, &n.arena, &e, NULL) != TSDB_OK) {
        assert_int_equal(status, TSDB_INVALID);
        if (!strstr(err.msg, "must not occur in ON and GROUP")) { /* all else parses */
            fail_msg("seed %llu: %s: %s", (unsigned long long)seed, query, err.msg);
        }
        tsdb_arena_deinit(&n.arena);
        return;
    }
    if (says_conflict(&r)) {
        o->lenient++;
        tsdb_arena_deinit(&n.arena);
        return;
    }
    bool refuse = false;
    uint64_t points = 0;
    for (int64_t t = params->start_ms; t <= params->end_ms;
         t += params->step_ms ? params->step_ms : 1) {
        struct naive_vector *v = naive_eval(&n, e, t);
        refuse |= v->error;
        points += v->count;
        for (uint32_t i = 0; i < v->count && !refuse && status == TSDB_OK; i++) {
            const struct query_point *p = point_at(&r, &v->items[i].labels, t);
            if (v->items[i].h) {
                compare_histogram(p, v->items[i].h, seed, query, t);
                o->histograms++;
                continue;
            }
            if (!p || p->histogram || !close_to(p->value, v->items[i].v)) {
                if (may_jump(query)) {
                    o->jumps++;
                    tsdb_arena_deinit(&n.arena);
                    return;
                }
                fail_msg("seed %llu: %s at %lld: %.17g, naive %.17g", (unsigned long long)seed,
                         query, (long long)t, p ? p->value : (double)NAN, v->items[i].v);
            }
        }
    }
    /* Over a range, equal labels of two series of a range function are an error even if they share
     * no step: the naive one, which sees single steps, cannot know. */
    bool only_over_range = status == TSDB_INVALID && strstr(err.msg, "same labelset") &&
                           (params->step_ms || strchr(query, ':'));
    if (refuse || status != TSDB_OK) {
        if (refuse != (status == TSDB_INVALID) && !only_over_range) {
            fail_msg("seed %llu: %s: %s %s, naive %s", (unsigned long long)seed, query,
                     tsdb_status_name(status), err.msg, refuse ? "refuses" : "does not refuse");
        }
        o->refused += refuse;
        o->lenient += only_over_range && !refuse;
    } else {
        uint64_t got = 0;
        for (uint32_t i = 0; i < r.series_count; i++) {
            got += r.series[i].point_count;
        }
        if (got != points && may_jump(query)) {
            o->jumps++;
        } else if (got != points) {
            fail_msg("seed %llu: %s: %llu points, naive %llu", (unsigned long long)seed, query,
                     (unsigned long long)got, (unsigned long long)points);
        }
        o->compared += points > 0;
    }
    tsdb_arena_deinit(&n.arena);
}

/* Besides the kernels: threads. */
struct ways {
    struct query_crew *crews[4];
};

static void ways_init(struct ways *w)
{
    *w = (struct ways){{NULL}};
    assert_ok(query_crew_create(2, &w->crews[1], NULL));
    assert_ok(query_crew_create(4, &w->crews[2], NULL));
    assert_ok(query_crew_create(7, &w->crews[3], NULL));
}

static void ways_deinit(struct ways *w)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(w->crews); i++) {
        query_crew_destroy(w->crews[i]);
    }
}

/* The answer, what went wrong included, and what is told of it. */
static void answer(struct query_fixture *f, const char *query, const struct query_params *params,
                   struct tsdb_buf *out)
{
    struct query_result r = {0};
    struct tsdb_error err = {0};
    enum tsdb_status status = query_fixture_eval(f, query, params, &r, &err);
    tsdb_buf_clear(out);
    if (status != TSDB_OK) {
        tsdb_buf_printf(out, "%s: %s", tsdb_status_name(status), tsdb_error_text(&err));
    } else {
        assert_int_equal(query_result_json(&r, NULL, out), TSDB_OK);
        tsdb_buf_printf(out, " loaded %llu peak %llu queryable %llu read %llu",
                        (unsigned long long)r.stats.samples_loaded,
                        (unsigned long long)r.stats.samples_peak,
                        (unsigned long long)r.stats.samples_queryable,
                        (unsigned long long)r.stats.samples_read);
        for (uint32_t i = 0; i < r.note_count; i++) {
            tsdb_buf_printf(out, "\n%s", r.notes[i].text);
        }
    }
    tsdb_buf_put_u8(out, 0);
    assert_false(out->failed);
}

/* The same question answered in every way that there is: the same bytes. */
static void compare_ways(const struct ways *ways, struct query_fixture *f, const char *query,
                         const struct query_params *params, uint64_t seed)
{
    struct tsdb_buf want;
    struct tsdb_buf got;
    tsdb_buf_init(&want, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&got, TSDB_MEM_OTHER, 0);
    const uint64_t samples_max = f->options.samples_max;
    f->options.samples_max = seed % 4 == 0 ? 1 + seed % 997 : samples_max; /* some are too much */
    f->options.kernels = &query_kernels_scalar;
    answer(f, query, params, &want);
    f->options.kernels = NULL;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(ways->crews); i++) {
        f->options.crew = ways->crews[i];
        f->scattered = (seed + i) % 2 == 0; /* two windows, some of a few series */
        f->options.crew_windows_bytes = (seed + i) % 3 == 0 ? 0 : 1 + seed % 16384;
        answer(f, query, params, &got);
        if (strcmp((const char *)want.data, (const char *)got.data) != 0) {
            fail_msg("seed %llu: %s: %u threads: %s\nscalar, alone: %s", (unsigned long long)seed,
                     query, query_crew_threads(ways->crews[i]), (const char *)got.data,
                     (const char *)want.data);
        }
    }
    f->options.crew = NULL;
    f->scattered = false;
    f->options.samples_max = samples_max;
    tsdb_buf_deinit(&want);
    tsdb_buf_deinit(&got);
}

static void query_eval__random_expressions__as_the_naive_evaluator(void **state)
{
    (void)state;
    struct outcome o = {0};
    struct ways ways;
    ways_init(&ways);
    const char *asked = getenv("TSDB_QUERY_DATA_SETS");
    const uint64_t data_sets = asked ? strtoull(asked, NULL, 10) : DATA_SETS;
    for (uint64_t data = 1; data <= data_sets; data++) {
        struct gen *g = calloc(1, sizeof *g);
        struct query_fixture *f = malloc(sizeof *f);
        assert_true(g && f);
        query_fixture_init(f);
        f->options.crew_work_min = 1;
        tsdb_prng_init(&g->prng, data * 1000003);
        random_data(g, f);
        for (uint64_t i = 0; i < EXPRESSIONS; i++) {
            uint64_t seed = data * 1000000 + i;
            tsdb_prng_init(&g->prng, seed);
            g->len = 0;
            if (below(g, 3) == 0) {
                gen_hist(g, 3);
            } else {
                gen_vector(g, 3);
            }
            int64_t start = 100000 + (int64_t)below(g, 1500) * 1000;
            struct query_params params = {.start_ms = start, .end_ms = start};
            compare(f, g->text, &params, seed, &o);
            params.step_ms = below(g, 2) == 0 ? ((int64_t)below(g, 9) + 1) * 10000
                                              : (int64_t)below(g, 90000) + 1000;
            params.end_ms = start + params.step_ms * (int64_t)below(g, 12);
            compare(f, g->text, &params, seed, &o);
            compare_ways(&ways, f, g->text, &params, seed);
        }
        query_fixture_deinit(f);
        free(f);
        free(g);
    }
    ways_deinit(&ways);
    /* The generator must not degenerate to queries without results or that are all refused. */
    assert_true(o.compared > data_sets * EXPRESSIONS * 2 / 3);
    assert_true(o.refused > data_sets * EXPRESSIONS / 50);
    assert_true(o.jumps <= 1 + data_sets * EXPRESSIONS / 2500);
    assert_true(o.histograms > data_sets * EXPRESSIONS);
    assert_true(o.lenient < data_sets * EXPRESSIONS / 20);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(query_eval__random_expressions__as_the_naive_evaluator),
};
TEST_MAIN(tests)
