/* PromQL the slow way: one expression at one time, straight from the definitions, everything in
 * arrays. What the evaluator is compared with. Covers what tests/model/test_query.c generates;
 * anything else fails an assertion. */
#ifndef TESTS_MODEL_QUERY_NAIVE_H
#define TESTS_MODEL_QUERY_NAIVE_H

#include "tests/support/query/fixture.h"

#include "query/eval/labels.h"
#include "query/lang/functions.h"

#include <math.h>

#define NAIVE_MAX 512

/* A histogram of schema 0 as numbers that most operators treat alike: count, sum, the zero bucket,
 * buckets -3..3 of both sides. */
#define NAIVE_PARTS     17
#define NAIVE_PART_ZERO 2
#define NAIVE_SIDE      7
#define NAIVE_INDEX_MIN (-3)
struct naive_hist {
    double part[NAIVE_PARTS];
};

struct naive_sample {
    struct tsdb_labels labels;
    double v;
    const struct naive_hist *h; /* NULL: a float */
};
struct naive_vector {
    bool error; /* the query must be refused */
    uint32_t count;
    struct naive_sample items[NAIVE_MAX];
};
struct naive {
    struct query_fixture *f;
    struct tsdb_arena arena;
    int64_t start_ms, end_ms;
};

static inline void naive_put(struct naive_vector *v, struct tsdb_labels labels, double value)
{
    TSDB_ASSERT(v->count < NAIVE_MAX);
    v->items[v->count++] = (struct naive_sample){labels, value, NULL};
}

static inline void naive_put_sample(struct naive_vector *v, struct tsdb_labels labels,
                                    const struct naive_sample *s)
{
    naive_put(v, labels, s->v);
    v->items[v->count - 1].h = s->h;
}

static inline void naive_side(const struct tsdb_span *spans, uint32_t span_count,
                              const double *counts, double *out)
{
    int32_t index = 0;
    for (uint32_t i = 0; i < span_count; i++) {
        index += spans[i].offset;
        for (uint32_t k = 0; k < spans[i].length; k++, index++) {
            if (*counts != 0) {
                TSDB_ASSERT(index >= NAIVE_INDEX_MIN && index < NAIVE_INDEX_MIN + NAIVE_SIDE);
                out[index - NAIVE_INDEX_MIN] = *counts;
            }
            counts++;
        }
    }
}

static inline struct naive_hist naive_hist_of(const struct tsdb_histogram *m)
{
    TSDB_ASSERT(m->is_float && m->schema == 0);
    struct naive_hist h = {{m->count_float, m->sum, m->zero_count_float}};
    naive_side(m->positive_spans, m->positive_span_count, m->positive_counts,
               h.part + NAIVE_PART_ZERO + 1);
    naive_side(m->negative_spans, m->negative_span_count, m->negative_counts,
               h.part + NAIVE_PART_ZERO + 1 + NAIVE_SIDE);
    return h;
}

/* *h = *h * factor + (other ? *other * times : 0), in new memory. */
static inline const struct naive_hist *naive_linear(struct naive *n, const struct naive_hist *h,
                                                    double factor, const struct naive_hist *other,
                                                    double times)
{
    struct naive_hist *out = TSDB_ARENA_NEW(&n->arena, struct naive_hist);
    TSDB_ASSERT(out != NULL);
    for (int i = 0; i < NAIVE_PARTS; i++) {
        out->part[i] = h->part[i] * factor + (other ? other->part[i] * times : 0);
    }
    return out;
}

/* Did a count fall? */
static inline bool naive_reset(const struct naive_hist *before, const struct naive_hist *h)
{
    bool reset = false;
    for (int i = 0; i < NAIVE_PARTS; i++) {
        reset |= i != 1 && h->part[i] < before->part[i];
    }
    return reset;
}

static inline bool naive_hist_equal(const struct naive_hist *a, const struct naive_hist *b)
{
    bool equal = true;
    for (int i = 0; i < NAIVE_PARTS; i++) {
        equal &= a->part[i] == b->part[i];
    }
    return equal;
}

static inline struct naive_vector *naive_new(struct naive *n)
{
    struct naive_vector *v = TSDB_ARENA_NEW(&n->arena, struct naive_vector);
    TSDB_ASSERT(v != NULL);
    v->error = false;
    v->count = 0;
    return v;
}

static inline struct tsdb_labels naive_unnamed(struct naive *n, struct tsdb_labels l)
{
    TSDB_ASSERT(labels_without_metadata(&n->arena, &l, &l));
    return l;
}

/* Two samples with equal labels in one vector are an error. */
static inline struct naive_vector *naive_distinct(struct naive_vector *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            v->error |= tsdb_labels_equal(&v->items[i].labels, &v->items[j].labels);
        }
    }
    return v;
}

static inline struct naive_vector *naive_eval(struct naive *n, const struct query_expr *e,
                                              int64_t t);

static inline double naive_scalar(struct naive *n, const struct query_expr *e, int64_t t,
                                  bool *error)
{
    struct naive_vector *v = naive_eval(n, e, t);
    *error |= v->error;
    return v->count == 1 ? v->items[0].v : (double)NAN;
}

static inline int64_t naive_time(const struct naive *n, const struct query_shift *s, int64_t t)
{
    TSDB_ASSERT(!s->offset_expr);
    int64_t at = s->at == QUERY_AT_TIME    ? s->at_ms
                 : s->at == QUERY_AT_START ? n->start_ms
                 : s->at == QUERY_AT_END   ? n->end_ms
                                           : t;
    return at - s->offset_ms;
}

static inline bool naive_matches(const struct query_expr *v, const struct tsdb_labels *labels)
{
    bool all = true;
    for (uint32_t i = 0; i < v->u.vector.matcher_count && all; i++) {
        TSDB_ASSERT(qf_matches(&v->u.vector.matchers[i], labels, &all) == TSDB_OK);
    }
    return all;
}

static inline const struct naive_hist *naive_stored(struct naive *n, const struct qf_series *s,
                                                    uint32_t i)
{
    struct naive_hist *h = TSDB_ARENA_NEW(&n->arena, struct naive_hist);
    TSDB_ASSERT(h && s->kind[i]);
    *h = naive_hist_of(&s->histograms[s->bits[i]]);
    return h;
}

static inline struct naive_vector *naive_select(struct naive *n, const struct query_expr *e,
                                                int64_t t, bool timestamp)
{
    struct naive_vector *out = naive_new(n);
    int64_t ref = naive_time(n, &e->u.vector.shift, t);
    for (uint32_t i = 0; i < n->f->count; i++) {
        const struct qf_series *s = n->f->series[i];
        int64_t best = -1;
        for (uint32_t k = 0; k < s->count; k++) {
            if (s->t_ms[k] <= ref && s->t_ms[k] > ref - n->f->options.lookback_ms) {
                best = k;
            }
        }
        if (best >= 0 && s->kind[best] && naive_matches(e, &s->labels)) {
            struct naive_sample h = {.h = naive_stored(n, s, (uint32_t)best)};
            TSDB_ASSERT(!timestamp);
            naive_put_sample(out, s->labels, &h);
        } else if (best >= 0 && naive_matches(e, &s->labels) &&
                   !tsdb_is_stale_bits(s->bits[best])) {
            double v = timestamp ? (double)s->t_ms[best] / 1000 : tsdb_bits_double(s->bits[best]);
            naive_put(out, timestamp ? naive_unnamed(n, s->labels) : s->labels, v);
        }
    }
    return naive_distinct(out);
}

/* ---- ranges ---- */

struct naive_range {
    struct tsdb_labels labels;
    uint32_t count;
    int64_t t[QF_SAMPLES_MAX];
    double v[QF_SAMPLES_MAX];
    const struct naive_hist *h[QF_SAMPLES_MAX]; /* NULL: a float */
};

static inline bool naive_range_fn(const char *fn, const struct naive_range *r, int64_t begin,
                                  int64_t end, double *out)
{
    uint32_t n = r->count;
    if (n == 0) {
        return false;
    }
    double sum = 0, min = r->v[0], max = r->v[0], changes = 0, resets = 0,
           rise = r->v[n - 1] - r->v[0];
    for (uint32_t i = 0; i < n; i++) {
        sum += r->v[i];
        min = r->v[i] < min || isnan(min) ? r->v[i] : min;
        max = r->v[i] > max || isnan(max) ? r->v[i] : max;
        changes += i > 0 && r->v[i] != r->v[i - 1];
        resets += i > 0 && r->v[i] < r->v[i - 1];
    }
    double mean = sum / n;
    double var = 0;
    for (uint32_t i = 0; i < n; i++) {
        var += (r->v[i] - mean) * (r->v[i] - mean) / n;
    }
    *out = strcmp(fn, "sum_over_time") == 0      ? sum
           : strcmp(fn, "avg_over_time") == 0    ? mean
           : strcmp(fn, "min_over_time") == 0    ? min
           : strcmp(fn, "max_over_time") == 0    ? max
           : strcmp(fn, "count_over_time") == 0  ? n
           : strcmp(fn, "last_over_time") == 0   ? r->v[n - 1]
           : strcmp(fn, "changes") == 0          ? changes
           : strcmp(fn, "resets") == 0           ? resets
           : strcmp(fn, "stdvar_over_time") == 0 ? var
                                                 : -12345;
    if (*out != -12345) {
        return true;
    }
    if (n < 2) {
        return false;
    }
    bool counter = strcmp(fn, "delta") != 0;
    TSDB_ASSERT(!counter || strcmp(fn, "rate") == 0 || strcmp(fn, "increase") == 0);
    for (uint32_t i = 1; i < n && counter; i++) {
        rise += r->v[i] < r->v[i - 1] ? r->v[i - 1] : 0;
    }
    double span = (double)(r->t[n - 1] - r->t[0]) / 1000;
    double gap = span / (n - 1);
    double before = (double)(r->t[0] - begin) / 1000;
    double after = (double)(end - r->t[n - 1]) / 1000;
    before = before >= gap * 1.1 ? gap / 2 : before;
    after = after >= gap * 1.1 ? gap / 2 : after;
    if (counter && rise > 0 && r->v[0] >= 0 && span * (r->v[0] / rise) < before) {
        before = span * (r->v[0] / rise);
    }
    *out = rise * ((span + before + after) / span);
    if (strcmp(fn, "rate") == 0) {
        *out /= (double)(end - begin) / 1000;
    }
    return true;
}

/* The same where there are histograms; with floats among them most give nothing. */
static inline bool naive_range_hist(struct naive *n, const char *fn, const struct naive_range *r,
                                    uint32_t histograms, int64_t begin, int64_t end,
                                    struct naive_sample *out)
{
    static struct naive_range counts; /* the counts alone say how a rate is extrapolated */
    uint32_t last = r->count - 1;
    bool mixed = histograms < r->count;
    if (strcmp(fn, "count_over_time") == 0) {
        out->v = r->count;
        return true;
    }
    if (strcmp(fn, "last_over_time") == 0) {
        out->v = r->v[last];
        out->h = r->h[last];
        return true;
    }
    if (mixed) {
        return false;
    }
    const struct naive_hist *acc = r->h[0];
    bool sum = strcmp(fn, "sum_over_time") == 0;
    if (sum || strcmp(fn, "avg_over_time") == 0) {
        for (uint32_t i = 1; i < r->count; i++) {
            acc = naive_linear(n, acc, 1, r->h[i], 1);
        }
        out->h = naive_linear(n, acc, sum ? 1 : 1.0 / r->count, NULL, 0);
        return true;
    }
    bool counter = strcmp(fn, "delta") != 0;
    if (r->count < 2) {
        return false;
    }
    acc = naive_linear(n, r->h[last], 1, r->h[0], -1);
    for (uint32_t i = 1; i < r->count && counter; i++) {
        if (naive_reset(r->h[i - 1], r->h[i])) {
            acc = naive_linear(n, acc, 1, r->h[i - 1], 1);
        }
    }
    /* A float counter from the first count to the whole rise, over the same times. */
    double factor;
    counts.count = r->count;
    for (uint32_t i = 0; i < r->count; i++) {
        counts.t[i] = r->t[i];
        counts.v[i] = i < last ? r->h[0]->part[0] : r->h[0]->part[0] + acc->part[0];
    }
    bool falls = counts.v[last] < counts.v[0];
    if (falls || acc->part[0] == 0) { /* no extrapolation to zero */
        for (uint32_t i = 0; i < r->count; i++) {
            counts.v[i] = i < last ? 0 : 1;
        }
        TSDB_ASSERT(naive_range_fn("delta", &counts, begin, end, &factor));
        factor /= strcmp(fn, "rate") == 0 ? (double)(end - begin) / 1000 : 1;
    } else {
        TSDB_ASSERT(naive_range_fn(fn, &counts, begin, end, &factor));
        factor /= acc->part[0];
    }
    out->h = naive_linear(n, acc, factor, NULL, 0);
    return true;
}

/* Every series of a range vector with its samples in (begin, end]. */
static inline uint32_t naive_ranges(struct naive *n, const struct query_expr *e, int64_t begin,
                                    int64_t end, struct naive_range **out, bool *error)
{
    struct naive_range *r = TSDB_ARENA_ARRAY(&n->arena, struct naive_range, 32);
    uint32_t count = 0;
    TSDB_ASSERT(r != NULL);
    *out = r;
    if (e->kind == EXPR_MATRIX) {
        for (uint32_t i = 0; i < n->f->count; i++) {
            const struct qf_series *s = n->f->series[i];
            if (!naive_matches(e->u.matrix.selector, &s->labels)) {
                continue;
            }
            TSDB_ASSERT(count < 32);
            r[count].labels = s->labels;
            r[count].count = 0;
            for (uint32_t k = 0; k < s->count; k++) {
                if (s->t_ms[k] > begin && s->t_ms[k] <= end &&
                    (s->kind[k] || !tsdb_is_stale_bits(s->bits[k]))) {
                    uint32_t at = r[count].count++;
                    r[count].t[at] = s->t_ms[k];
                    r[count].h[at] = s->kind[k] ? naive_stored(n, s, k) : NULL;
                    r[count].v[at] = s->kind[k] ? 0 : tsdb_bits_double(s->bits[k]);
                }
            }
            count++;
        }
        return count;
    }
    int64_t step = e->u.subquery.step_ms ? e->u.subquery.step_ms : n->f->options.default_step_ms;
    for (int64_t t = (begin / step - 2) * step; t <= end; t += step) {
        if (t <= begin) {
            continue;
        }
        struct naive_vector *v = naive_eval(n, e->u.subquery.body, t);
        *error |= v->error;
        for (uint32_t i = 0; i < v->count; i++) {
            uint32_t k = 0;
            while (k < count && !tsdb_labels_equal(&r[k].labels, &v->items[i].labels)) {
                k++;
            }
            if (k == count) {
                TSDB_ASSERT(count < 32);
                r[count].labels = v->items[i].labels;
                r[count++].count = 0;
            }
            r[k].t[r[k].count] = t;
            r[k].h[r[k].count] = v->items[i].h;
            r[k].v[r[k].count++] = v->items[i].v;
        }
    }
    return count;
}

static inline struct naive_vector *naive_over_range(struct naive *n, const struct query_expr *e,
                                                    int64_t t)
{
    const struct query_expr *a = query_expr_unwrap(e->u.call.args[0]);
    const char *fn = e->u.call.function->name;
    struct naive_vector *out = naive_new(n);
    struct naive_range *r;
    bool matrix = a->kind == EXPR_MATRIX;
    int64_t end =
        naive_time(n, matrix ? &a->u.matrix.selector->u.vector.shift : &a->u.subquery.shift, t);
    int64_t begin = end - (matrix ? a->u.matrix.range_ms : a->u.subquery.range_ms);
    uint32_t count = naive_ranges(n, a, begin, end, &r, &out->error);
    for (uint32_t i = 0; i < count; i++) {
        struct naive_sample v = {.v = 0};
        uint32_t histograms = 0;
        for (uint32_t k = 0; k < r[i].count; k++) {
            histograms += r[i].h[k] != NULL;
        }
        if (histograms > 0 ? naive_range_hist(n, fn, &r[i], histograms, begin, end, &v)
                           : naive_range_fn(fn, &r[i], begin, end, &v.v)) {
            naive_put_sample(out,
                             strcmp(fn, "last_over_time") == 0 ? r[i].labels
                                                               : naive_unnamed(n, r[i].labels),
                             &v);
        }
    }
    return naive_distinct(out);
}

/* ---- operators ---- */

static inline double naive_arith(enum token_type op, double l, double r, bool *keep)
{
    *keep = true;
    switch ((int)op) {
    case TOKEN_ADD:
        return l + r;
    case TOKEN_SUB:
        return l - r;
    case TOKEN_MUL:
        return l * r;
    case TOKEN_DIV:
        return l / r;
    case TOKEN_MOD:
        return fmod(l, r);
    case TOKEN_GTR:
        *keep = l > r;
        return l;
    case TOKEN_LSS:
        *keep = l < r;
        return l;
    default:
        TSDB_ASSERT(op == TOKEN_NEQ);
        *keep = l != r;
        return l;
    }
}

/* One side at least is a histogram. False: there is no such operation. */
static inline bool naive_hist_arith(struct naive *n, enum token_type op,
                                    const struct naive_sample *l, const struct naive_sample *r,
                                    struct naive_sample *out, bool *keep)
{
    *keep = true;
    if (l->h && r->h && (op == TOKEN_ADD || op == TOKEN_SUB)) {
        out->h = naive_linear(n, l->h, 1, r->h, op == TOKEN_ADD ? 1 : -1);
        return true;
    }
    if (op == TOKEN_MUL && !(l->h && r->h)) {
        out->h = naive_linear(n, l->h ? l->h : r->h, l->h ? r->v : l->v, NULL, 0);
        return true;
    }
    if (op == TOKEN_DIV && l->h && !r->h) {
        out->h = naive_linear(n, l->h, 1 / r->v, NULL, 0);
        return true;
    }
    if (l->h && r->h && (op == TOKEN_EQLC || op == TOKEN_NEQ)) {
        *keep = naive_hist_equal(l->h, r->h) == (op == TOKEN_EQLC);
        out->h = l->h;
        return true;
    }
    return false;
}

static inline bool naive_same(struct naive *n, const struct query_matching *m,
                              const struct tsdb_labels *a, const struct tsdb_labels *b)
{
    struct tsdb_labels x;
    struct tsdb_labels y;
    TSDB_ASSERT(m->on ? labels_keep(&n->arena, a, m->labels, &x)
                      : labels_drop(&n->arena, a, m->labels, true, &x));
    TSDB_ASSERT(m->on ? labels_keep(&n->arena, b, m->labels, &y)
                      : labels_drop(&n->arena, b, m->labels, true, &y));
    return tsdb_labels_equal(&x, &y);
}

static inline struct naive_vector *naive_set(struct naive *n, const struct query_expr *e,
                                             const struct naive_vector *l,
                                             const struct naive_vector *r)
{
    struct naive_vector *out = naive_new(n);
    enum token_type op = e->u.binary.op;
    const struct query_matching *m = &e->u.binary.matching;
    for (uint32_t i = 0; i < l->count; i++) {
        bool there = false;
        for (uint32_t j = 0; j < r->count; j++) {
            there |= naive_same(n, m, &l->items[i].labels, &r->items[j].labels);
        }
        if (op == TOKEN_LOR || there == (op == TOKEN_LAND)) {
            naive_put_sample(out, l->items[i].labels, &l->items[i]);
        }
    }
    for (uint32_t j = 0; op == TOKEN_LOR && j < r->count; j++) {
        bool there = false;
        for (uint32_t i = 0; i < l->count; i++) {
            there |= naive_same(n, m, &l->items[i].labels, &r->items[j].labels);
        }
        if (!there) {
            naive_put_sample(out, r->items[j].labels, &r->items[j]);
        }
    }
    return naive_distinct(out);
}

static inline bool naive_is_arith(enum token_type op)
{
    return op >= TOKEN_ADD && op <= TOKEN_ATAN2;
}

static inline struct naive_vector *naive_join(struct naive *n, const struct query_expr *e,
                                              const struct naive_vector *l,
                                              const struct naive_vector *r)
{
    struct naive_vector *out = naive_new(n);
    struct naive_vector *all = naive_new(n); /* also what a comparison filters: for duplicates */
    const struct query_matching *m = &e->u.binary.matching;
    bool swapped = m->card == CARD_ONE_TO_MANY;
    bool matched[NAIVE_MAX] = {false}; /* by types that go together: others do not count */
    const struct naive_vector *many = swapped ? r : l;
    const struct naive_vector *one = swapped ? l : r;
    for (uint32_t i = 0; i < one->count && many->count > 0; i++) {
        for (uint32_t j = 0; j < i; j++) {
            out->error |= naive_same(n, m, &one->items[i].labels, &one->items[j].labels);
        }
    }
    for (uint32_t i = 0; i < many->count; i++) {
        for (uint32_t j = 0; j < one->count; j++) {
            if (!naive_same(n, m, &many->items[i].labels, &one->items[j].labels)) {
                continue;
            }
            bool keep;
            double a = many->items[i].v;
            double b = one->items[j].v;
            struct naive_sample result = {.v = 0};
            const struct naive_sample *left = swapped ? &one->items[j] : &many->items[i];
            const struct naive_sample *right = swapped ? &many->items[i] : &one->items[j];
            bool fits = true;
            if (left->h || right->h) {
                fits = naive_hist_arith(n, e->u.binary.op, left, right, &result, &keep);
            } else {
                result.v = naive_arith(e->u.binary.op, swapped ? b : a, swapped ? a : b, &keep);
            }
            struct tsdb_labels labels = many->items[i].labels;
            if (naive_is_arith(e->u.binary.op) || e->u.binary.returns_bool) {
                labels = naive_unnamed(n, labels);
            }
            if (m->card == CARD_ONE_TO_ONE) {
                TSDB_ASSERT(m->on ? labels_keep(&n->arena, &labels, m->labels, &labels)
                                  : labels_drop(&n->arena, &labels, m->labels, false, &labels));
                for (uint32_t k = 0; k < i && fits; k++) {
                    out->error |= matched[k] &&
                                  naive_same(n, m, &many->items[i].labels, &many->items[k].labels);
                }
                matched[i] = fits;
            }
            for (uint32_t k = 0; k < m->include.count; k++) {
                struct query_str name = m->include.items[k];
                TSDB_ASSERT(labels_set(&n->arena, &labels, name,
                                       labels_value(&one->items[j].labels, name.data, name.len),
                                       &labels));
            }
            if (!fits) {
                continue;
            }
            naive_put(all, labels, 0);
            if (e->u.binary.returns_bool) {
                naive_put(out, labels, keep ? 1 : 0);
            } else if (keep) {
                naive_put_sample(out, labels, &result);
            }
        }
    }
    out->error |= naive_distinct(all)->error && m->card != CARD_ONE_TO_ONE;
    return naive_distinct(out);
}

static inline struct naive_vector *naive_binary(struct naive *n, const struct query_expr *e,
                                                int64_t t)
{
    struct naive_vector *l = naive_eval(n, e->u.binary.left, t);
    struct naive_vector *r = naive_eval(n, e->u.binary.right, t);
    struct naive_vector *out;
    if (e->u.binary.has_matching) {
        out =
            token_is_set_operator(e->u.binary.op) ? naive_set(n, e, l, r) : naive_join(n, e, l, r);
        out->error |= l->error || r->error;
        return out;
    }
    out = naive_new(n);
    bool scalar_left = e->u.binary.left->type == QUERY_TYPE_SCALAR;
    bool scalars = scalar_left && e->u.binary.right->type == QUERY_TYPE_SCALAR;
    const struct naive_vector *vec = scalar_left && !scalars ? r : l;
    for (uint32_t i = 0; i < vec->count; i++) {
        bool keep;
        double a = scalar_left ? l->items[0].v : vec->items[i].v;
        double b = scalar_left && !scalars ? vec->items[i].v : r->items[0].v;
        if (vec->items[i].h) {
            const struct naive_sample number = {.v = scalar_left ? a : b};
            struct naive_sample result = {.v = 0};
            const struct naive_sample *h = &vec->items[i];
            if (naive_hist_arith(n, e->u.binary.op, scalar_left ? &number : h,
                                 scalar_left ? h : &number, &result, &keep)) {
                naive_put_sample(out, naive_unnamed(n, h->labels), &result);
            }
            continue;
        }
        double v = naive_arith(e->u.binary.op, a, b, &keep);
        struct tsdb_labels labels = vec->items[i].labels;
        if (naive_is_arith(e->u.binary.op) || e->u.binary.returns_bool) {
            labels = naive_unnamed(n, labels);
        }
        if (e->u.binary.returns_bool) {
            naive_put(out, labels, keep ? 1 : 0);
        } else if (keep) {
            naive_put(out, labels, naive_is_arith(e->u.binary.op) ? v : vec->items[i].v);
        }
    }
    out->error = l->error || r->error;
    return naive_distinct(out);
}

/* ---- aggregation ---- */

static inline struct naive_vector *naive_aggregate(struct naive *n, const struct query_expr *e,
                                                   int64_t t)
{
    struct naive_vector *in = naive_eval(n, e->u.aggregate.body, t);
    struct naive_vector *out = naive_new(n);
    double count[NAIVE_MAX];
    bool mixed[NAIVE_MAX] = {false};
    enum token_type op = e->u.aggregate.op;
    out->error = in->error;
    for (uint32_t i = 0; i < in->count; i++) {
        struct tsdb_labels l;
        double v = in->items[i].v;
        TSDB_ASSERT(
            e->u.aggregate.without
                ? labels_drop(&n->arena, &in->items[i].labels, e->u.aggregate.grouping, true, &l)
                : labels_keep(&n->arena, &in->items[i].labels, e->u.aggregate.grouping, &l));
        uint32_t g = 0;
        while (g < out->count && !tsdb_labels_equal(&out->items[g].labels, &l)) {
            g++;
        }
        bool extreme = op == TOKEN_MIN || op == TOKEN_MAX;
        if (extreme && in->items[i].h) {
            continue;
        }
        if (g == out->count) {
            naive_put_sample(out, l, &in->items[i]);
            count[g] = 1;
            continue;
        }
        double *acc = &out->items[g].v;
        const struct naive_hist **acc_h = &out->items[g].h;
        count[g]++;
        if (in->items[i].h || *acc_h) {
            bool both = in->items[i].h && *acc_h;
            mixed[g] |= !both;
            *acc_h = both ? naive_linear(n, *acc_h, 1, in->items[i].h, 1) : *acc_h;
            continue;
        }
        if (op == TOKEN_MIN) {
            *acc = v < *acc || isnan(*acc) ? v : *acc;
        } else if (op == TOKEN_MAX) {
            *acc = v > *acc || isnan(*acc) ? v : *acc;
        } else {
            *acc += v;
        }
    }
    struct naive_vector *all = out;
    out = naive_new(n);
    out->error = all->error;
    for (uint32_t g = 0; g < all->count; g++) {
        struct naive_sample *s = &all->items[g];
        bool counts = op == TOKEN_COUNT || op == TOKEN_GROUP;
        if (mixed[g] && !counts) {
            continue;
        }
        if (s->h && op == TOKEN_AVG) {
            s->h = naive_linear(n, s->h, 1 / count[g], NULL, 0);
        }
        s->h = counts ? NULL : s->h;
        double *acc = &s->v;
        *acc = op == TOKEN_COUNT   ? count[g]
               : op == TOKEN_GROUP ? 1
               : op == TOKEN_AVG   ? *acc / count[g]
                                   : *acc;
        naive_put_sample(out, s->labels, s);
    }
    return out;
}

/* ---- calls ---- */

/* The right infinity wins over NaN, as in Go. */
static inline double naive_max(double a, double b)
{
    if (a == (double)INFINITY || b == (double)INFINITY) {
        return (double)INFINITY;
    }
    return isnan(a) || isnan(b) ? (double)NAN : a > b ? a : b;
}

static inline struct naive_vector *naive_call(struct naive *n, const struct query_expr *e,
                                              int64_t t)
{
    const char *fn = e->u.call.function->name;
    struct naive_vector *out = naive_new(n);
    if (e->u.call.function->args[0] == QUERY_TYPE_MATRIX) {
        return naive_over_range(n, e, t);
    }
    if (strcmp(fn, "time") == 0) {
        naive_put(out, QUERY_LABELS_EMPTY, (double)t / 1000);
        return out;
    }
    const struct query_expr *a = query_expr_unwrap(e->u.call.args[0]);
    if (strcmp(fn, "timestamp") == 0 && a->kind == EXPR_VECTOR) {
        return naive_select(n, a, t, true);
    }
    struct naive_vector *in = naive_eval(n, a, t);
    out->error = in->error;
    if (strcmp(fn, "scalar") == 0) {
        naive_put(out, QUERY_LABELS_EMPTY, in->count == 1 ? in->items[0].v : (double)NAN);
        return out;
    }
    if (strcmp(fn, "absent") == 0) {
        TSDB_ASSERT(a->kind != EXPR_VECTOR);
        if (in->count == 0) {
            naive_put(out, QUERY_LABELS_EMPTY, 1);
        }
        return out;
    }
    double arg = e->u.call.arg_count > 1 && e->u.call.args[1]->type == QUERY_TYPE_SCALAR
                     ? naive_scalar(n, e->u.call.args[1], t, &out->error)
                     : 0;
    for (uint32_t i = 0; i < in->count; i++) {
        double v = in->items[i].v;
        struct tsdb_labels l = in->items[i].labels;
        const struct naive_hist *h = in->items[i].h;
        if (strncmp(fn, "histogram_", 10) == 0) {
            if (h) {
                naive_put(out, naive_unnamed(n, l),
                          strcmp(fn, "histogram_count") == 0 ? h->part[0]
                          : strcmp(fn, "histogram_sum") == 0 ? h->part[1]
                                                             : h->part[1] / h->part[0]);
            }
            continue;
        }
        if (strcmp(fn, "vector") == 0 || strcmp(fn, "sort") == 0) {
            naive_put(out, l, v);
            continue;
        }
        if (strcmp(fn, "label_replace") == 0) { /* always: "z", "$1", "x", "(.*)" */
            TSDB_ASSERT(labels_set(&n->arena, &l, (struct query_str){"z", 1},
                                   labels_value(&l, "x", 1), &l));
            naive_put_sample(out, l, &in->items[i]);
            continue;
        }
        if (h) {
            continue; /* functions of floats */
        }
        v = strcmp(fn, "abs") == 0         ? fabs(v)
            : strcmp(fn, "ceil") == 0      ? ceil(v)
            : strcmp(fn, "sgn") == 0       ? (isnan(v) ? v : (v > 0) - (v < 0))
            : strcmp(fn, "clamp_min") == 0 ? naive_max(v, arg)
                                           : (double)t / 1000; /* timestamp */
        TSDB_ASSERT(strcmp(fn, "abs") == 0 || strcmp(fn, "ceil") == 0 || strcmp(fn, "sgn") == 0 ||
                    strcmp(fn, "clamp_min") == 0 || strcmp(fn, "timestamp") == 0);
        naive_put(out, naive_unnamed(n, l), v);
    }
    return naive_distinct(out);
}

static inline struct naive_vector *naive_eval(struct naive *n, const struct query_expr *e,
                                              int64_t t)
{
    e = query_expr_unwrap(e);
    struct naive_vector *out;
    switch ((int)e->kind) {
    case EXPR_NUMBER:
        out = naive_new(n);
        naive_put(out, QUERY_LABELS_EMPTY, e->u.number.value);
        return out;
    case EXPR_VECTOR:
        return naive_select(n, e, t, false);
    case EXPR_UNARY:
        TSDB_ASSERT(e->u.unary.op == TOKEN_SUB);
        out = naive_eval(n, e->u.unary.body, t);
        for (uint32_t i = 0; i < out->count; i++) {
            out->items[i].v = -out->items[i].v;
            if (out->items[i].h) {
                out->items[i].h = naive_linear(n, out->items[i].h, -1, NULL, 0);
            }
            out->items[i].labels = naive_unnamed(n, out->items[i].labels);
        }
        return naive_distinct(out);
    case EXPR_BINARY:
        return naive_binary(n, e, t);
    case EXPR_AGGREGATE:
        return naive_aggregate(n, e, t);
    default:
        TSDB_ASSERT(e->kind == EXPR_CALL);
        return naive_call(n, e, t);
    }
}

#endif
