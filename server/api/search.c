/* /api/v1/search/metric_names, label_names, label_values: names that fit what was typed, as lines of
 * JSON. Behind --enable-feature=search-api, as in Prometheus. */
#include "base/format.h"
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/fuzzy.h"
#include "server/api/handlers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TERMS_MAX      32u
#define LIMIT_DEFAULT  100
#define HOUR_MS        INT64_C(3600000)
#define CHECK_EVERY    64u
#define SCORE_CONTAINS 0.9 /* somewhere in the middle */
#define SCRATCH_BYTES  (64u << 10)

enum search_order {
    SEARCH_ALPHA = 0,
    SEARCH_ALPHA_DOWN,
    SEARCH_SCORE
};
struct search {
    struct tsdb_time_range range;
    struct tsdb_selector *selectors;
    uint32_t selector_count;
    struct fuzzy_text terms[TERMS_MAX];
    uint32_t term_count;
    double threshold;
    bool jaro, fold, with_score, with_metadata;
    enum search_order order;
    uint32_t limit, batch;
};
struct found {
    struct tsdb_slice text;
    double score;
};

/* ---- arguments ---- */

static bool text_is(struct tsdb_slice v, const char *text)
{
    return v.len == strlen(text) && memcmp(v.data, text, v.len) == 0;
}

static bool bad_value(struct call *c, const char *name, struct tsdb_slice v, const char *want)
{
    char quoted[256];
    api_quote(v, quoted, sizeof quoted);
    call_error(c, ENVELOPE_BAD_DATA, "invalid %s %s: must be %s", name, quoted, want);
    return false;
}

/* A whole number of min to max; absent: *out keeps its default. */
static bool arg_number(struct call *c, const char *name, int64_t min, int64_t max, const char *want,
                       int64_t *out)
{
    struct tsdb_slice v = params_get(&c->params, name);
    int64_t n = *out;
    if (!api_arg_int(c, name, &n) || n < min || n > max) {
        return bad_value(c, name, v, want);
    }
    *out = n;
    return true;
}

static bool arg_bool(struct call *c, const char *name, bool *out)
{
    struct tsdb_slice v = params_get(&c->params, name);
    return v.len == 0 || api_bool_parse(v, out) || bad_value(c, name, v, "boolean");
}

static bool arg_terms(struct call *c, struct search *s)
{
    uint32_t pos = 0;
    struct tsdb_slice v;
    while (params_next(&c->params, "search[]", &pos, &v)) {
        if (s->term_count == TERMS_MAX) {
            call_error(c, ENVELOPE_BAD_DATA, "too many search[] parameters: at most %u", TERMS_MAX);
            return false;
        }
        if (v.len > FUZZY_RUNES_MAX) {
            call_error(c, ENVELOPE_BAD_DATA, "search[] of %zu bytes is too long: at most %u", v.len,
                       FUZZY_RUNES_MAX);
            return false;
        }
        enum tsdb_status status =
            fuzzy_text_make(v, s->fold, &c->arena, &s->terms[s->term_count++]);
        if (status != TSDB_OK) {
            call_fail(c, status, NULL);
            return false;
        }
    }
    return true;
}

static bool arg_fuzziness(struct call *c, struct search *s)
{
    int64_t threshold = 0;
    struct tsdb_slice algorithm = params_get(&c->params, "fuzz_alg");
    if (!arg_number(c, "fuzz_threshold", 0, 100, "0-100", &threshold)) {
        return false;
    }
    s->threshold = (double)threshold / 100;
    s->jaro = text_is(algorithm, "jarowinkler");
    if (algorithm.len > 0 && !s->jaro && !text_is(algorithm, "subsequence")) {
        char quoted[256];
        api_quote(algorithm, quoted, sizeof quoted);
        call_error(c, ENVELOPE_BAD_DATA,
                   "unsupported fuzz_alg %s: must be one of [subsequence jarowinkler]", quoted);
        return false;
    }
    bool case_sensitive = true;
    bool ok = arg_bool(c, "case_sensitive", &case_sensitive) &&
              arg_bool(c, "include_score", &s->with_score);
    s->fold = !case_sensitive;
    return ok;
}

static bool arg_order(struct call *c, struct search *s)
{
    struct tsdb_slice by = params_get(&c->params, "sort_by");
    struct tsdb_slice dir = params_get(&c->params, "sort_dir");
    bool score = text_is(by, "score");
    if (dir.len > 0 && (by.len == 0 || score)) {
        call_error(c, ENVELOPE_BAD_DATA,
                   score ? "sort_dir is not supported for sort_by=score"
                         : "sort_dir is only valid when sort_by is set");
        return false;
    }
    if (dir.len > 0 && !text_is(dir, "asc") && !text_is(dir, "dsc")) {
        return bad_value(c, "sort_dir", dir, "\"asc\" or \"dsc\"");
    }
    if (score && s->term_count == 0) {
        call_error(c, ENVELOPE_BAD_DATA, "sort_by=score requires search[] to be set");
        return false;
    }
    if (by.len > 0 && !score && !text_is(by, "alpha")) {
        return bad_value(c, "sort_by", by, "\"alpha\" or \"score\"");
    }
    s->order = score ? SEARCH_SCORE : text_is(dir, "dsc") ? SEARCH_ALPHA_DOWN : SEARCH_ALPHA;
    return true;
}

static bool arg_amounts(struct call *c, struct search *s)
{
    int64_t most = (int64_t)c->server->options.search_limit_max;
    int64_t limit = 0;
    int64_t batch = 0;
    if (!arg_number(c, "limit", 0, INT64_MAX, "non-negative integer", &limit) ||
        !arg_number(c, "batch_size", 0, INT64_MAX, "non-negative integer", &batch)) {
        return false;
    }
    if (most > 0 && limit > most) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "limit %" PRId64 " exceeds the maximum of %" PRId64 " (--web.search.max-limit)",
                   limit, most);
        return false;
    }
    if (limit == 0) {
        limit = most > 0 ? TSDB_MIN(most, (int64_t)LIMIT_DEFAULT) : LIMIT_DEFAULT;
    }
    s->limit = (uint32_t)TSDB_MIN(limit, (int64_t)UINT32_MAX);
    s->batch = batch > 0 ? (uint32_t)TSDB_MIN(batch, (int64_t)UINT32_MAX) : LIMIT_DEFAULT;
    return true;
}

static bool search_args(struct call *c, struct search *s)
{
    if (!c->server->options.feature_search_api) {
        call_error(c, ENVELOPE_UNAVAILABLE, "search API disabled");
        return false;
    }
    int64_t now_ms = tsdb_clock_wall_ms(&c->server->clock);
    s->range = (struct tsdb_time_range){now_ms - HOUR_MS, now_ms};
    if (!api_arg_time(c, "start", false, &s->range.min_ms) ||
        !api_arg_time(c, "end", false, &s->range.max_ms) ||
        !api_arg_matchers(c, false, &s->selectors, &s->selector_count)) {
        return false;
    }
    s->range.max_ms = TSDB_MAX(s->range.max_ms, s->range.min_ms);
    return arg_fuzziness(c, s) && arg_terms(c, s) && arg_order(c, s) && arg_amounts(c, s);
}

/* ---- searching ---- */

static double score_of(const struct search *s, const struct fuzzy_text *term,
                       const struct fuzzy_text *text, uint8_t *scratch)
{
    if (fuzzy_is_prefix(term, text)) {
        return 1;
    }
    double score = 0;
    if (!s->jaro) {
        score = fuzzy_subsequence(term, text);
    } else if (fuzzy_contains(term, text)) {
        return SCORE_CONTAINS;
    } else if (s->threshold > 0) { /* 0: as it stands in the name, or not at all */
        score = fuzzy_jaro_winkler(term, text, scratch);
    }
    return score >= s->threshold ? score : 0;
}

/* The best of all terms; 0: none fits. */
static enum tsdb_status best_score(const struct search *s, struct tsdb_slice name,
                                   struct tsdb_arena *scratch, double *out)
{
    struct fuzzy_text text;
    tsdb_arena_reset(scratch);
    *out = s->term_count == 0 ? 1 : 0;
    enum tsdb_status status = fuzzy_text_make(name, s->fold, scratch, &text);
    uint8_t *marks = tsdb_arena_alloc(scratch, 2 * (size_t)FUZZY_RUNES_MAX, 1);
    if (status != TSDB_OK || !marks) {
        return tsdb_arena_status(scratch);
    }
    for (uint32_t i = 0; i < s->term_count; i++) {
        *out = TSDB_MAX(*out, score_of(s, &s->terms[i], &text, marks));
    }
    return TSDB_OK;
}

static int by_text(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    return tsdb_str_compare((const char *)x->text.data, x->text.len, (const char *)y->text.data,
                            y->text.len);
}

static int by_text_down(const void *a, const void *b)
{
    return by_text(b, a);
}

static int by_score(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    int order = (x->score < y->score) - (x->score > y->score);
    return order != 0 ? order : by_text(a, b);
}

/* Those of `names` that fit, in order. */
static enum tsdb_status filter(struct call *c, const struct search *s,
                               const struct tsdb_slice *names, uint32_t count, struct found **out,
                               uint32_t *out_count)
{
    struct tsdb_arena scratch;
    struct found *list = TSDB_ARENA_ARRAY(&c->arena, struct found, TSDB_MAX(count, 1u));
    enum tsdb_status status = list ? TSDB_OK : tsdb_arena_status(&c->arena);
    uint32_t n = 0;
    tsdb_arena_init(&scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, &c->request.account);
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        double score = 0;
        status = i % CHECK_EVERY == 0 ? tsdb_request_check(&c->request) : TSDB_OK;
        if (status == TSDB_OK) {
            status = best_score(s, names[i], &scratch, &score);
        }
        if (status == TSDB_OK && score > 0) {
            list[n++] = (struct found){names[i], score};
        }
    }
    tsdb_arena_deinit(&scratch);
    if (status == TSDB_OK && n > 1) {
        qsort(list, n, sizeof *list,
              s->order == SEARCH_SCORE        ? by_score
              : s->order == SEARCH_ALPHA_DOWN ? by_text_down
                                              : by_text);
    }
    *out = list;
    *out_count = n;
    return status;
}

/* ---- the answer ---- */

static void put_optional(struct tsdb_buf *out, const char *key, struct tsdb_slice v)
{
    if (v.len > 0) {
        tsdb_buf_printf(out, ",\"%s\":", key);
        json_string(out, (const char *)v.data, v.len);
    }
}

/* Under the table's lock: the buffer takes it as it is. */
static bool on_metadata(void *arg, const struct tsdb_metadata *m)
{
    const char *type = tsdb_metric_type_name(m->type);
    put_optional(arg, "type", (struct tsdb_slice){(const uint8_t *)type, strlen(type)});
    put_optional(arg, "help", m->help);
    put_optional(arg, "unit", m->unit);
    return false; /* one is enough */
}

static void put_found(struct call *c, const struct search *s, const struct found *f)
{
    struct tsdb_buf *out = &c->out;
    tsdb_buf_put_str(out, "{\"name\":");
    json_string(out, (const char *)f->text.data, f->text.len);
    if (s->with_score) {
        char score[TSDB_FORMAT_FLOAT_MAX];
        tsdb_format_float_json(score, f->score);
        tsdb_buf_printf(out, ",\"score\":%s", score);
    }
    if (s->with_metadata) {
        const char *name = tsdb_arena_strndup(&c->arena, (const char *)f->text.data, f->text.len);
        out->failed |= !name;
        if (name) {
            tsdb_metadata_visit(c->server->db, name, on_metadata, out);
        }
    }
    tsdb_buf_put_u8(out, '}');
}

static void put_lines(struct call *c, const struct search *s, const struct found *list,
                      uint32_t count)
{
    uint32_t shown = TSDB_MIN(count, s->limit);
    uint32_t i = 0;
    call_ok(c, "application/x-ndjson; charset=utf-8");
    do {
        uint32_t end = shown - i > s->batch ? i + s->batch : shown;
        tsdb_buf_put_str(&c->out, "{\"results\":[");
        for (uint32_t first = i; i < end; i++) {
            envelope_comma(&c->out, i - first);
            put_found(c, s, &list[i]);
        }
        tsdb_buf_put_str(&c->out, "]}\n");
    } while (i < shown);
    tsdb_buf_printf(&c->out, "{\"status\":\"success\",\"has_more\":%s}\n",
                    count > shown ? "true" : "false");
}

/* label NULL: the names of labels. */
static void search(struct call *c, const struct search *s, const char *label, uint32_t label_len)
{
    struct tsdb_querier *q = NULL;
    struct tsdb_slice *names = NULL;
    struct found *list = NULL;
    uint32_t count = 0;
    bool truncated = false;
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_querier_open(c->server->db, &c->request, s->range, &q, &err);
    if (status == TSDB_OK && label) {
        status = tsdb_label_values(q, label, label_len, s->selectors, s->selector_count, 0,
                                   &c->arena, &names, &count, &truncated, &err);
    } else if (status == TSDB_OK) {
        status = tsdb_label_names(q, s->selectors, s->selector_count, 0, &c->arena, &names, &count,
                                  &truncated, &err);
    }
    if (status == TSDB_OK) {
        status = filter(c, s, names, count, &list, &count);
    }
    if (status == TSDB_OK) {
        put_lines(c, s, list, count);
    } else {
        call_fail(c, status, &err);
    }
    tsdb_querier_close(q);
}

void api_search_metric_names(struct call *c)
{
    struct search s = {0};
    if (search_args(c, &s) && arg_bool(c, "include_metadata", &s.with_metadata)) {
        search(c, &s, TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1);
    }
}

void api_search_label_names(struct call *c)
{
    struct search s = {0};
    if (search_args(c, &s)) {
        search(c, &s, NULL, 0);
    }
}

void api_search_label_values(struct call *c)
{
    struct search s = {0};
    struct tsdb_slice label = params_get(&c->params, "label");
    if (!search_args(c, &s)) {
        return;
    }
    if (label.len == 0) {
        call_error(c, ENVELOPE_BAD_DATA, "missing required parameter \"label\"");
        return;
    }
    search(c, &s, (const char *)label.data, (uint32_t)label.len);
}
