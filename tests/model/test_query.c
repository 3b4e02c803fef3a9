/* Random expressions over random series, beside the naive evaluator. The seed of a failing case is
 * printed with the expression. */
#include "tests/support/test.h"

#include "base/random.h"
#include "query/crew.h"
#include "query/kernels/kernels.h"
#include "tests/model/query_naive.h"

#include <stdarg.h>

/* TSDB_QUERY_DATA_SETS in the environment asks for more of them: 250 are 100,000 expressions. */
#define DATA_SETS   8
#define EXPRESSIONS 400

struct gen {
    struct tsdb_prng prng;
    char text[2048];
    size_t len;
};

static uint64_t below(struct gen *g, uint64_t n)
{
    return tsdb_prng_below(&g->prng, n);
}

static const char *pick(struct gen *g, const char *const *items, size_t count)
{
    return items[below(g, count)];
}
#define PICK(g, ...)                                                                               \
    pick(g, (const char *const[]){__VA_ARGS__},                                                    \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void TSDB_PRINTF(2, 3) put(struct gen *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g->len += (size_t)vsnprintf(g->text + g->len, sizeof g->text - g->len, format, args);
    va_end(args);
    TSDB_ASSERT(g->len < sizeof g->text);
}

/* ---- series ---- */

static void random_series(struct gen *g, struct query_fixture *f, const char *name, int x, int y)
{
    char metric[64];
    snprintf(metric, sizeof metric, "%s{x=\"%d\",y=\"%d\"}", name, x, y);
    struct qf_series *s = query_fixture_add(f, metric, strlen(metric));
    bool counter = strcmp(name, "c_total") == 0;
    bool regular = below(g, 2) == 0; /* and so that samples lie on the bounds of windows */
    int64_t t = regular ? (int64_t)below(g, 60) * 1000 : (int64_t)below(g, 60000);
    double v = (double)below(g, 50);
    for (int i = 0; i < 150; i++) {
        t += 10000 + (regular ? 0 : (int64_t)below(g, 400) - 200);
        if (!regular && below(g, 40) == 0) {
            query_fixture_put(s, t, TSDB_STALE_NAN_BITS);
            t += (int64_t)below(g, 400000);
            continue;
        }
        if (!regular && below(g, 60) == 0) {
            t += (int64_t)below(g, 120000);
        }
        v = counter ? (below(g, 25) == 0 ? 0 : v + (double)below(g, 10))
                    : (double)below(g, 40) / 2 - 5;
        query_fixture_put(s, t, tsdb_double_bits(v));
    }
}

/* Counts that rise, with resets, of a histogram. */
static void random_histograms(struct gen *g, struct query_fixture *f, const char *name, int x,
                              int y)
{
    char metric[64];
    snprintf(metric, sizeof metric, "%s{x=\"%d\",y=\"%d\"}", name, x, y);
    struct qf_series *s = query_fixture_add(f, metric, strlen(metric));
    int64_t t = (int64_t)below(g, 60000);
    double part[2 * NAIVE_SIDE + 1] = {0};
    double sum = 0;
    for (int i = 0; i < 150; i++) {
        t += 10000 + (int64_t)below(g, 400) - 200;
        if (below(g, 40) == 0) {
            query_fixture_put(s, t, TSDB_STALE_NAN_BITS);
            t += (int64_t)below(g, 400000);
            continue;
        }
        if (below(g, 25) == 0) {
            memset(part, 0, sizeof part);
            sum = 0;
        }
        double count = 0;
        for (size_t k = 0; k < TSDB_ARRAY_LEN(part); k++) {
            part[k] += below(g, 3) == 0 ? (double)below(g, 6) : 0;
            count += part[k];
        }
        sum += (double)below(g, 100) / 4;
        double *counts = TSDB_ARENA_ARRAY(&f->arena, double, TSDB_ARRAY_LEN(part));
        struct tsdb_span *span = TSDB_ARENA_NEW(&f->arena, struct tsdb_span);
        assert_true(counts && span);
        memcpy(counts, part, sizeof part);
        *span = (struct tsdb_span){NAIVE_INDEX_MIN, NAIVE_SIDE};
        struct hist h = {.count = count,
                         .sum = sum,
                         .zero_count = part[2 * NAIVE_SIDE],
                         .zero_threshold = 0.001};
        h.positive = (struct hist_side){
            .spans = span, .counts = counts, .span_count = 1, .bucket_count = NAIVE_SIDE};
        h.negative = h.positive;
        h.negative.counts = counts + NAIVE_SIDE;
        query_fixture_put_histogram(f, s, t, &h);
    }
}

static void random_data(struct gen *g, struct query_fixture *f)
{
    for (int i = 0; i < 8; i++) {
        if (below(g, 5) > 0) {
            random_histograms(g, f, i < 4 ? "h" : "k", i % 2 + 1, i / 2 % 2 + 1);
        }
    }
    static const char *const names[] = {"a", "b", "c_total"};
    for (int i = 0; i < 3; i++) {
        for (int x = 1; x <= 3; x++) {
            for (int y = 1; y <= 2; y++) {
                if (below(g, 5) > 0) {
                    random_series(g, f, names[i], x, y);
                }
            }
        }
    }
}

/* ---- expressions ---- */

static void gen_vector(struct gen *g, int depth);

static void gen_scalar(struct gen *g, int depth)
{
    switch (below(g, depth > 0 ? 5 : 2)) {
    case 0:
    case 1:
        put(g, "%d.37", (int)below(g, 20));
        break;
    case 2:
        put(g, "time()");
        break;
    case 3:
        put(g, "scalar(");
        gen_vector(g, depth - 1);
        put(g, ")");
        break;
    default:
        put(g, "(");
        gen_scalar(g, depth - 1);
        put(g, " %s ", PICK(g, "+", "-", "*"));
        gen_scalar(g, depth - 1);
        put(g, ")");
        break;
    }
}

static void gen_shift(struct gen *g)
{
    if (below(g, 5) == 0) {
        put(g, " offset %s%ds", PICK(g, "", "-"), (int)below(g, 200) + 1);
    }
    if (below(g, 8) == 0) {
        put(g, " @ %s", PICK(g, "500", "700.5", "start()", "end()"));
    }
}

static void gen_selector(struct gen *g)
{
    put(g, "%s%s", PICK(g, "a", "b", "c_total"),
        PICK(g, "", "", "{x=\"1\"}", "{x!=\"2\"}", "{y=~\"1|3\"}", "{y!~\"2\"}", "{x=~\"[12]\"}"));
}

static void gen_range_call(struct gen *g, int depth)
{
    put(g, "%s(",
        PICK(g, "rate", "increase", "delta", "sum_over_time", "avg_over_time", "min_over_time",
             "max_over_time", "count_over_time", "last_over_time", "changes", "resets",
             "stdvar_over_time"));
    if (depth > 0 && below(g, 3) == 0) {
        put(g, "(");
        gen_vector(g, depth - 1);
        put(g, ")[%dm:%s]", (int)below(g, 5) + 1, PICK(g, "", "30s", "17s"));
    } else {
        gen_selector(g);
        put(g, "[%ds]", (int)below(g, 300) + 15);
    }
    gen_shift(g);
    put(g, ")");
}

static void gen_matching(struct gen *g, bool set)
{
    bool on = below(g, 2) == 0;
    if (below(g, 3) == 0) {
        return;
    }
    put(g, "%s (%s) ", on ? "on" : "ignoring", PICK(g, "x", "y", "x, y", "", "z"));
    if (!set && below(g, 2) == 0) {
        put(g, "%s (%s) ", PICK(g, "group_left", "group_right"), PICK(g, "", "y", "z"));
    }
}

static void gen_binary(struct gen *g, int depth)
{
    put(g, "(");
    uint64_t form = below(g, 4);
    if (form == 0) {
        gen_vector(g, depth - 1);
        put(g, " %s ", PICK(g, "and", "or", "unless"));
        gen_matching(g, true);
        gen_vector(g, depth - 1);
    } else if (form == 1) {
        gen_vector(g, depth - 1);
        put(g, " %s ", PICK(g, "+", "-", "*", "/"));
        gen_matching(g, false);
        gen_vector(g, depth - 1);
    } else if (form == 2) {
        gen_vector(g, depth - 1);
        put(g, " %s ", PICK(g, "+", "*", "%", ">", "<", "> bool", "< bool", "!="));
        gen_scalar(g, depth - 1);
    } else {
        gen_scalar(g, depth - 1);
        put(g, " %s ", PICK(g, "-", "/", ">", "<", "< bool"));
        gen_vector(g, depth - 1);
    }
    put(g, ")");
}

static void gen_call(struct gen *g, int depth)
{
    switch (below(g, 7)) {
    case 0:
        put(g, "label_replace(");
        gen_vector(g, depth - 1);
        put(g, ", \"z\", \"$1\", \"x\", \"(.*)\")");
        break;
    case 1:
        put(g, "clamp_min(");
        gen_vector(g, depth - 1);
        put(g, ", ");
        gen_scalar(g, depth - 1);
        put(g, ")");
        break;
    case 2:
        put(g, "vector(");
        gen_scalar(g, depth - 1);
        put(g, ")");
        break;
    case 3:
        put(g, "timestamp(");
        gen_selector(g);
        gen_shift(g);
        put(g, ")");
        break;
    case 4:
        put(g, "absent(-");
        gen_vector(g, depth - 1);
        put(g, ")");
        break;
    default:
        put(g, "%s(", PICK(g, "abs", "ceil", "sgn", "-"));
        gen_vector(g, depth - 1);
        put(g, ")");
        break;
    }
}

static void gen_hist(struct gen *g, int depth);

static void gen_hist_range(struct gen *g, int depth)
{
    bool subquery = depth > 0 && below(g, 4) == 0;
    put(g, "%s(", PICK(g, "sum_over_time", "avg_over_time", "last_over_time", "delta"));
    if (subquery) {
        put(g, "(");
        gen_hist(g, depth - 1);
        put(g, ")[%dm:%s]", (int)below(g, 4) + 1, PICK(g, "30s", "17s"));
    } else {
        put(g, "%s[%ds]", PICK(g, "h", "k", "h{x=\"1\"}"), (int)below(g, 300) + 15);
    }
    gen_shift(g);
    put(g, ")");
}

/* Of counters alone: what a reset is where counts are negative is a matter of which buckets are
 * there, which the naive one does not know. */
static void gen_hist_rate(struct gen *g)
{
    put(g, "%s(%s[%ds]", PICK(g, "rate", "increase"), PICK(g, "h", "k", "k{y!=\"1\"}"),
        (int)below(g, 300) + 15);
    gen_shift(g);
    put(g, ")");
}

/* A vector of histograms, now and then with floats among them. Scalars are no 0, NaN or Inf: a
 * bucket that is not there would stay so. */
static void gen_hist(struct gen *g, int depth)
{
    uint64_t form;
    switch (depth > 0 ? below(g, 10) : 0) {
    case 0:
        put(g, "%s", PICK(g, "h", "k", "h{y!=\"2\"}", "{__name__=~\"h|k\"}"));
        gen_shift(g);
        break;
    case 1:
    case 2:
        put(g, "%s%s (", PICK(g, "sum", "avg"), PICK(g, "", " by (x)", " without (x)"));
        gen_hist(g, depth - 1);
        put(g, ")");
        break;
    case 3:
        gen_hist_range(g, depth - 1);
        break;
    case 4:
        gen_hist_rate(g);
        break;
    case 5:
        put(g, "(");
        gen_hist(g, depth - 1);
        put(g, " %s ", PICK(g, "+", "-", "and", "or", "unless"));
        if (below(g, 2) == 0) {
            put(g, "%s ", PICK(g, "on (x, y)", "ignoring (z)"));
        }
        gen_hist(g, depth - 1);
        put(g, ")");
        break;
    case 6:
        put(g, "(");
        gen_hist(g, depth - 1);
        put(g, " %s)", PICK(g, "* 2.5", "/ 4", "* -1.5", "% 3", "> 1", "+ 1"));
        break;
    case 7:
        put(g, "(h %s ignoring (z) k)", PICK(g, "==", "!=", "!= bool", "> bool", "*", "/"));
        break;
    case 8:
        put(g, "(");
        gen_hist(g, depth - 1);
        put(g, " or %s)", PICK(g, "a", "b", "(a * 1)"));
        break;
    default:
        form = below(g, 3);
        put(g, "%s", form == 0 ? "-" : form == 1 ? "abs(" : "label_replace(");
        gen_hist(g, depth - 1);
        put(g, "%s", form == 0 ? "" : form == 1 ? ")" : ", \"z\", \"$1\", \"x\", \"(.*)\")");
        break;
    }
}

/* Floats out of histograms. */
static void gen_hist_number(struct gen *g, int depth)
{
    put(g, "%s(",
        PICK(g, "histogram_count", "histogram_sum", "histogram_avg", "count", "group", "min by (x)",
             "max"));
    gen_hist(g, depth - 1);
    put(g, ")");
}

static void gen_vector(struct gen *g, int depth)
{
    switch (depth > 0 ? below(g, 10) : 0) {
    case 9:
        gen_hist_number(g, depth);
        break;
    case 0:
    case 1:
        gen_selector(g);
        gen_shift(g);
        break;
    case 2:
    case 3:
        put(g, "%s", PICK(g, "sum", "avg", "min", "max", "count", "group"));
        put(g, "%s (",
            PICK(g, "", " by (x)", " by (y, z)", " without (x)", " without ()",
                 " by (x, __name__)"));
        gen_vector(g, depth - 1);
        put(g, ")");
        break;
    case 4:
    case 5:
        gen_range_call(g, depth - 1);
        break;
    case 6:
        gen_call(g, depth);
        break;
    default:
        gen_binary(g, depth);
        break;
    }
}

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
        answer(f, query, params, &got);
        if (strcmp((const char *)want.data, (const char *)got.data) != 0) {
            fail_msg("seed %llu: %s: %u threads: %s\nscalar, alone: %s", (unsigned long long)seed,
                     query, query_crew_threads(ways->crews[i]), (const char *)got.data,
                     (const char *)want.data);
        }
    }
    f->options.crew = NULL;
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
