/* Random series and random expressions over them, for tests that compare answers. All from a seed. */
#ifndef TESTS_MODEL_QUERY_GEN_H
#define TESTS_MODEL_QUERY_GEN_H

#include "base/random.h"
#include "tests/model/query_naive.h"

#include <stdarg.h>

struct gen {
    struct tsdb_prng prng;
    char text[2048];
    size_t len;
};

static inline uint64_t below(struct gen *g, uint64_t n)
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

static inline void TSDB_PRINTF(2, 3) put(struct gen *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g->len += (size_t)vsnprintf(g->text + g->len, sizeof g->text - g->len, format, args);
    va_end(args);
    TSDB_ASSERT(g->len < sizeof g->text);
}

/* ---- series ---- */

static inline void random_series(struct gen *g, struct query_fixture *f, const char *name, int x,
                                 int y)
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
static inline void random_histograms(struct gen *g, struct query_fixture *f, const char *name,
                                     int x, int y)
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

static inline void random_data(struct gen *g, struct query_fixture *f)
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

static inline void gen_vector(struct gen *g, int depth);

static inline void gen_scalar(struct gen *g, int depth)
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

static inline void gen_shift(struct gen *g)
{
    if (below(g, 5) == 0) {
        put(g, " offset %s%ds", PICK(g, "", "-"), (int)below(g, 200) + 1);
    }
    if (below(g, 8) == 0) {
        put(g, " @ %s", PICK(g, "500", "700.5", "start()", "end()"));
    }
}

static inline void gen_selector(struct gen *g)
{
    put(g, "%s%s", PICK(g, "a", "b", "c_total"),
        PICK(g, "", "", "{x=\"1\"}", "{x!=\"2\"}", "{y=~\"1|3\"}", "{y!~\"2\"}", "{x=~\"[12]\"}"));
}

static inline void gen_range_call(struct gen *g, int depth)
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

static inline void gen_matching(struct gen *g, bool set)
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

static inline void gen_binary(struct gen *g, int depth)
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

static inline void gen_call(struct gen *g, int depth)
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

static inline void gen_hist(struct gen *g, int depth);

static inline void gen_hist_range(struct gen *g, int depth)
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
static inline void gen_hist_rate(struct gen *g)
{
    put(g, "%s(%s[%ds]", PICK(g, "rate", "increase"), PICK(g, "h", "k", "k{y!=\"1\"}"),
        (int)below(g, 300) + 15);
    gen_shift(g);
    put(g, ")");
}

/* A vector of histograms, now and then with floats among them. Scalars are no 0, NaN or Inf: a
 * bucket that is not there would stay so. */
static inline void gen_hist(struct gen *g, int depth)
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
static inline void gen_hist_number(struct gen *g, int depth)
{
    put(g, "%s(",
        PICK(g, "histogram_count", "histogram_sum", "histogram_avg", "count", "group", "min by (x)",
             "max"));
    gen_hist(g, depth - 1);
    put(g, ")");
}

static inline void gen_vector(struct gen *g, int depth)
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

#endif
