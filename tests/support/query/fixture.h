/* Series in arrays as a source of the evaluator, written as in Prometheus's test scripts, and
 * results as text.
 *
 *   struct query_fixture f;
 *   query_fixture_init(&f);
 *   query_fixture_load(&f, 60000, "up{job=\"a\"} 1 2 _ stale 5+1x3");      samples at 0, 1 min, ...
 *   query_fixture_load(&f, 60000, "h {{schema:0 count:3 sum:4 buckets:[1 2]}}");  see hist_text.h
 *   query_fixture_text(&f, "up", 0, 0, 0, text, sizeof text);               "up{job=\"a\"} 1@0"
 */
#ifndef TESTS_SUPPORT_QUERY_FIXTURE_H
#define TESTS_SUPPORT_QUERY_FIXTURE_H

#include "base/assert.h"
#include "base/format.h"
#include "index/match/regex.h"
#include "query/eval/exec.h"

#include "tests/support/query/hist_text.h"

#include <stdio.h>
#include <stdlib.h>

#define QF_SERIES_MAX     256
#define QF_SAMPLES_MAX    4096
#define QF_HISTOGRAMS_MAX 256

struct qf_series {
    struct tsdb_labels labels;
    uint32_t count;
    int64_t t_ms[QF_SAMPLES_MAX];
    uint64_t bits[QF_SAMPLES_MAX]; /* of histograms: index */
    uint8_t kind[QF_SAMPLES_MAX];
    struct tsdb_histogram *histograms; /* room for QF_HISTOGRAMS_MAX, if not NULL */
    uint32_t histogram_count;
};

struct query_fixture {
    struct tsdb_arena arena; /* of the series */
    struct tsdb_arena result;
    struct qf_series *series[QF_SERIES_MAX];
    uint32_t count;
    struct query_options options;
    struct tsdb_request request;
    uint32_t refs[QF_SERIES_MAX];
    uint32_t refs_used;
    bool open;
    struct tsdb_time_range range; /* of open: reads must stay within */
    uint32_t reads;
    enum tsdb_status fail_read; /* what the next read answers, if not OK */
    uint32_t fail_after;        /* ... after so many */
    bool scattered;             /* series lie in another order than that of the set */
};

/* ---- the source ---- */

static inline enum tsdb_status qf_open(void *ctx, struct tsdb_time_range range,
                                       struct tsdb_error *err)
{
    struct query_fixture *f = ctx;
    (void)err;
    TSDB_ASSERT(!f->open);
    TSDB_ASSERT(range.min_ms <= range.max_ms);
    f->open = true;
    f->range = range;
    f->refs_used = 0;
    return TSDB_OK;
}

static inline enum tsdb_status qf_matches(const struct tsdb_matcher *m,
                                          const struct tsdb_labels *labels, bool *out)
{
    const struct tsdb_label *l = tsdb_labels_find(labels, m->name, m->name_len);
    const char *value = l ? l->value : "";
    uint32_t len = l ? l->value_len : 0;
    bool negative = m->op == TSDB_MATCH_NE || m->op == TSDB_MATCH_NRE;
    bool hit;
    if (m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_NE) {
        hit = len == m->value_len && memcmp(value, m->value, len) == 0;
    } else {
        struct index_regex *re = NULL;
        enum tsdb_status status = index_regex_compile(m->value, m->value_len, &re, NULL);
        if (status != TSDB_OK) {
            return status;
        }
        hit = index_regex_match(re, value, len);
        index_regex_destroy(re);
    }
    *out = hit != negative;
    return TSDB_OK;
}

static inline enum tsdb_status qf_select(void *ctx, const struct tsdb_matcher *matchers,
                                         uint32_t matcher_count, struct query_series_set *out,
                                         struct tsdb_error *err)
{
    struct query_fixture *f = ctx;
    (void)err;
    TSDB_ASSERT(f->open);
    uint32_t *refs = TSDB_ARENA_ARRAY(&f->result, uint32_t, f->count + 1);
    uint32_t n = 0;
    if (!refs) {
        return tsdb_arena_status(&f->result);
    }
    for (uint32_t i = 0; i < f->count; i++) {
        bool all = true;
        for (uint32_t k = 0; k < matcher_count && all; k++) {
            enum tsdb_status status = qf_matches(&matchers[k], &f->series[i]->labels, &all);
            if (status != TSDB_OK) {
                return status;
            }
        }
        if (all) {
            refs[n++] = i;
        }
    }
    *out = (struct query_series_set){refs, n};
    return TSDB_OK;
}

static inline enum tsdb_status qf_labels(void *ctx, uint32_t ref, struct tsdb_arena *arena,
                                         struct tsdb_labels *out, struct tsdb_error *err)
{
    struct query_fixture *f = ctx;
    (void)arena;
    (void)err;
    TSDB_ASSERT(ref < f->count);
    *out = f->series[ref]->labels;
    return TSDB_OK;
}

/* Copies into the caller's arena, exactly as many samples as there are: what is used after its
 * time, or beyond its end, is seen by a sanitizer. */
static inline enum tsdb_status qf_read(void *ctx, const struct query_read *r,
                                       struct tsdb_arena *arena, struct tsdb_columns *out,
                                       struct tsdb_error *err)
{
    struct query_fixture *f = ctx;
    const struct qf_series *s = f->series[r->ref];
    const struct tsdb_time_range range = r->range;
    TSDB_ASSERT(range.min_ms >= f->range.min_ms && range.max_ms <= f->range.max_ms);
    if (f->fail_read != TSDB_OK && f->reads++ >= f->fail_after) {
        return tsdb_error_set(err, f->fail_read, "the disk is gone");
    }
    uint32_t lo = 0;
    while (lo < s->count && s->t_ms[lo] < range.min_ms) {
        lo++;
    }
    uint32_t n = 0;
    while (lo + n < s->count && s->t_ms[lo + n] <= range.max_ms) {
        n++;
    }
    int64_t *t = TSDB_ARENA_ARRAY(arena, int64_t, n + 1);
    uint64_t *bits = TSDB_ARENA_ARRAY(arena, uint64_t, n + 1);
    uint8_t *kind = TSDB_ARENA_ARRAY(arena, uint8_t, n + 1);
    struct tsdb_histogram *h =
        TSDB_ARENA_ARRAY(arena, struct tsdb_histogram, s->histogram_count + 1);
    if (!t || !bits || !kind || !h) {
        return tsdb_arena_status(arena);
    }
    memcpy(t, s->t_ms + lo, n * sizeof *t);
    memcpy(bits, s->bits + lo, n * sizeof *bits);
    memcpy(kind, s->kind + lo, n);
    if (s->histogram_count > 0) {
        memcpy(h, s->histograms, s->histogram_count * sizeof *h);
    }
    *out = (struct tsdb_columns){.count = n,
                                 .t_ms = t,
                                 .bits = bits,
                                 .kind = kind,
                                 .histograms = h,
                                 .histogram_count = s->histogram_count};
    return TSDB_OK;
}

static inline bool qf_places(void *ctx, const uint32_t *refs, uint32_t count, uint64_t *out)
{
    const struct query_fixture *f = ctx;
    for (uint32_t i = 0; i < count && f->scattered; i++) {
        TSDB_ASSERT(refs[i] < f->count);
        out[i] = refs[i] % 7 == 0 ? UINT64_MAX : (refs[i] * UINT64_C(0x9e3779b97f4a7c15)) >> 20;
    }
    return f->scattered;
}

static inline void qf_close(void *ctx)
{
    struct query_fixture *f = ctx;
    f->open = false;
}

/* ---- loading ---- */

static inline void query_fixture_init(struct query_fixture *f)
{
    memset(f, 0, sizeof *f);
    tsdb_arena_init(&f->arena, TSDB_MEM_OTHER, 65536, NULL);
    f->options = (struct query_options){.lookback_ms = 300000,
                                        .samples_max = 1000000,
                                        .default_step_ms = 60000,
                                        .experimental_functions = true,
                                        .extended_range_selectors = true,
                                        .fill_modifiers = true};
    tsdb_request_init(&f->request, &tsdb_clock_real, TSDB_SCOPE_READ);
    tsdb_arena_init(&f->result, TSDB_MEM_QUERY, 4096, &f->request.account);
}

static inline void query_fixture_deinit(struct query_fixture *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        free(f->series[i]);
    }
    tsdb_arena_deinit(&f->arena);
    tsdb_arena_deinit(&f->result);
}

static inline int qf_label_compare(const void *a, const void *b)
{
    const struct tsdb_label *x = a;
    const struct tsdb_label *y = b;
    return tsdb_str_compare(x->name, x->name_len, y->name, y->name_len);
}

static inline struct qf_series *query_fixture_add(struct query_fixture *f, const char *metric,
                                                  size_t len)
{
    struct tsdb_selector sel = {0};
    struct tsdb_error err = {0};
    bool non_empty;
    TSDB_ASSERT(f->count < QF_SERIES_MAX);
    struct qf_series *s = calloc(1, sizeof *s);
    TSDB_ASSERT(s != NULL);
    if (!(len == 2 && memcmp(metric, "{}", 2) == 0)) {
        TSDB_ASSERT(query_parse_selector(metric, len, &f->arena, &sel, &non_empty, &err) ==
                    TSDB_OK);
    }
    struct tsdb_label *items = TSDB_ARENA_ARRAY(&f->arena, struct tsdb_label, sel.count + 1);
    for (uint32_t i = 0; i < sel.count; i++) {
        const struct tsdb_matcher *m = &sel.matchers[i];
        items[i] = (struct tsdb_label){m->name, m->value, m->name_len, m->value_len};
    }
    qsort(items, sel.count, sizeof *items, qf_label_compare);
    s->labels = (struct tsdb_labels){items, sel.count};
    f->series[f->count++] = s;
    return s;
}

static inline void query_fixture_put(struct qf_series *s, int64_t t_ms, uint64_t bits)
{
    TSDB_ASSERT(s->count < QF_SAMPLES_MAX);
    TSDB_ASSERT(s->count == 0 || s->t_ms[s->count - 1] < t_ms);
    s->t_ms[s->count] = t_ms;
    s->bits[s->count++] = bits;
}

/* h borrows from the arena of the fixture. */
static inline void query_fixture_put_histogram(struct query_fixture *f, struct qf_series *s,
                                               int64_t t_ms, const struct hist *h)
{
    if (!s->histograms) {
        s->histograms = TSDB_ARENA_ARRAY(&f->arena, struct tsdb_histogram, QF_HISTOGRAMS_MAX);
    }
    TSDB_ASSERT(s->histograms && s->histogram_count < QF_HISTOGRAMS_MAX);
    query_fixture_put(s, t_ms, s->histogram_count);
    s->kind[s->count - 1] = TSDB_SAMPLE_HISTOGRAM_FLOAT;
    hist_model(h, &s->histograms[s->histogram_count++]);
}

/* {{...}} at *p, which is moved behind it. */
static inline struct hist qf_histogram(struct query_fixture *f, const char **p)
{
    const char *end = strstr(*p, "}}");
    TSDB_ASSERT(end != NULL);
    const char *text = tsdb_arena_strndup(&f->arena, *p + 2, (size_t)(end - *p) - 2);
    TSDB_ASSERT(text != NULL);
    *p = end + 2;
    return hist_text_parse(text, &f->arena);
}

/* "<metric> <items>": a number or a histogram in double braces, _ (nothing), stale, a+bxN, a-bxN,
 * axN (N more of them). Samples are step_ms apart from 0 on. */
static inline void query_fixture_load(struct query_fixture *f, int64_t step_ms, const char *line)
{
    const char *brace = strchr(line, '}');
    const char *p = strchr(line, ' ');
    TSDB_ASSERT(p != NULL);
    if (line[strcspn(line, " {")] == '{') {
        p = brace + 1;
    }
    struct qf_series *s = query_fixture_add(f, line, (size_t)(p - line));
    for (int64_t t = 0; *p;) {
        p += strspn(p, " ");
        if (*p == '_') {
            p++;
            t += step_ms;
        } else if (strncmp(p, "stale", 5) == 0) {
            query_fixture_put(s, t, TSDB_STALE_NAN_BITS);
            p += 5;
            t += step_ms;
        } else if (*p == '{') {
            const struct hist h = qf_histogram(f, &p);
            long more = 0;
            if (*p == 'x') {
                char *end;
                more = strtol(p + 1, &end, 10);
                p = end;
            }
            for (long i = 0; i <= more; i++, t += step_ms) {
                query_fixture_put_histogram(f, s, t, &h);
            }
        } else if (*p) {
            char *end;
            double v = strtod(p, &end);
            TSDB_ASSERT(end > p);
            double add = *end == '+' || *end == '-' ? strtod(end, &end) : 0;
            long more = *end == 'x' ? strtol(end + 1, &end, 10) : 0;
            for (long i = 0; i <= more; i++, t += step_ms) {
                query_fixture_put(s, t, tsdb_double_bits(v + (double)i * add));
            }
            p = end;
        }
    }
}

/* ---- asking ---- */

static inline enum tsdb_status query_fixture_eval(struct query_fixture *f, const char *query,
                                                  const struct query_params *params,
                                                  struct query_result *out, struct tsdb_error *err)
{
    static const struct query_source_ops ops = {.open = qf_open,
                                                .select = qf_select,
                                                .labels = qf_labels,
                                                .read = qf_read,
                                                .places = qf_places,
                                                .close = qf_close,
                                                .concurrent = true};
    const struct query_source source = {&ops, f};
    struct query_expr *e;
    tsdb_arena_reset(&f->result);
    enum tsdb_status status = query_parse(query, strlen(query), &f->options, &f->result, &e, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = query_eval_source(&source, &f->options, &f->request, e, params, &f->result, out, err);
    TSDB_ASSERT(!f->open);
    return status;
}

static inline void qf_put_point(struct tsdb_buf *b, const struct query_point *p)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    if (p->histogram) {
        tsdb_buf_printf(b, "h%g",
                        p->histogram->is_float ? p->histogram->count_float
                                               : (double)p->histogram->count_int);
    } else {
        tsdb_buf_put(b, text, tsdb_format_float_go_g(text, p->value));
    }
    tsdb_buf_put_u8(b, '@');
    tsdb_buf_put(b, text, tsdb_format_timestamp_ms(text, p->t_ms));
}

static inline void query_fixture_print(const struct query_result *r, struct tsdb_buf *b)
{
    if (r->type == QUERY_TYPE_SCALAR) {
        qf_put_point(b, &r->scalar);
    } else if (r->type == QUERY_TYPE_STRING) {
        tsdb_buf_put(b, r->string, r->string_len);
    }
    for (uint32_t i = 0; i < r->series_count; i++) {
        tsdb_buf_put_str(b, i > 0 ? "; " : "");
        tsdb_labels_print(&r->series[i].labels, b);
        for (uint32_t k = 0; k < r->series[i].point_count; k++) {
            tsdb_buf_put_u8(b, ' ');
            qf_put_point(b, &r->series[i].points[k]);
        }
    }
    for (uint32_t i = 0; i < r->note_count; i++) {
        tsdb_buf_printf(b, " # %s", r->notes[i].text);
    }
}

/* The result as text: `up{a="b"} 1@0 2@60; ... # notes`, or `status: error`. Times in milliseconds;
 * step 0: at start. */
static inline void query_fixture_text(struct query_fixture *f, const char *query, int64_t start_ms,
                                      int64_t end_ms, int64_t step_ms, struct tsdb_buf *out)
{
    const struct query_params params = {.start_ms = start_ms, .end_ms = end_ms, .step_ms = step_ms};
    struct query_result r = {0};
    struct tsdb_error err = {0};
    enum tsdb_status status = query_fixture_eval(f, query, &params, &r, &err);
    tsdb_buf_clear(out);
    if (status != TSDB_OK) {
        tsdb_buf_printf(out, "%s: %s", tsdb_status_name(status), tsdb_error_text(&err));
    } else {
        query_fixture_print(&r, out);
    }
    tsdb_buf_put_u8(out, 0);
    TSDB_ASSERT(!out->failed);
}

#endif
