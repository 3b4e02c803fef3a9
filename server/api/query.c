/* /api/v1/query, /query_range, /query_exemplars, /format_query, /parse_query. */
#include "base/assert.h"
#include "base/format.h"
#include "base/latency.h"
#include "base/log.h"
#include "query/cache/cache.h"
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"

#include <inttypes.h>
#include <string.h>

#define SLOW_TEXT_BYTES 1024 /* of a query, in the log */

#define POINTS_MAX 11000 /* steps of a range query, as Prometheus: 11001 points are allowed */

/* A result on its way to the client. */
struct answer {
    struct query_result result;
    struct query_params params;
    int64_t queue_ns;
    struct query_json json;
};

static enum tsdb_status put_notes(struct call *c, const struct query_result *r)
{
    static const char text[] = "results truncated due to limit";
    if (!r->truncated) {
        envelope_success_end(&c->out, r->notes, r->note_count);
        return TSDB_OK;
    }
    struct query_note *notes = TSDB_ARENA_ARRAY(&c->arena, struct query_note, r->note_count + 1);
    if (!notes) {
        return tsdb_arena_status(&c->arena);
    }
    notes[0] = (struct query_note){.text = text, .is_info = false};
    for (uint32_t i = 0; i < r->note_count; i++) {
        notes[i + 1] = r->notes[i];
    }
    envelope_success_end(&c->out, notes, r->note_count + 1);
    return TSDB_OK;
}

static void put_seconds(struct tsdb_buf *out, const char *key, int64_t ns)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    tsdb_format_float_json(text, (double)ns / 1e9);
    tsdb_buf_printf(out, "\"%s\":%s", key, text);
}

/* [[time,samples],...] */
static void put_per_step(struct tsdb_buf *out, const char *key, const uint64_t *by_step,
                         uint32_t count, const struct query_params *p)
{
    tsdb_buf_printf(out, "\"%s\":[", key);
    for (uint32_t i = 0; i < count; i++) {
        tsdb_buf_put_str(out, i > 0 ? ",[" : "[");
        json_timestamp(out, p->start_ms + (int64_t)i * p->step_ms);
        tsdb_buf_printf(out, ",%" PRIu64 "]", by_step[i]);
    }
    tsdb_buf_put_str(out, "],");
}

/* Something more into the data object that was put last: `"key":`, whose value and `}` follow. */
static void reopen_data(struct tsdb_buf *out, const char *key)
{
    TSDB_ASSERT(out->len > 0 && out->data[out->len - 1] == '}');
    out->len--;
    tsdb_buf_printf(out, ",\"%s\":", key);
}

/* `stats` of the data object, behind the result. */
static void put_stats(struct call *c, const struct query_stats *s, int64_t queue_ns,
                      const struct query_params *p)
{
    struct tsdb_buf *out = &c->out;
    if (out->failed) {
        return;
    }
    reopen_data(out, "stats");
    tsdb_buf_put_str(out, "{\"timings\":{");
    put_seconds(out, "evalTotalTime", s->prepare_ns + s->eval_ns);
    tsdb_buf_put_u8(out, ',');
    put_seconds(out, "resultSortTime", 0);
    tsdb_buf_put_u8(out, ',');
    put_seconds(out, "queryPreparationTime", s->prepare_ns);
    tsdb_buf_put_u8(out, ',');
    put_seconds(out, "innerEvalTime", s->eval_ns);
    tsdb_buf_put_u8(out, ',');
    put_seconds(out, "execQueueTime", queue_ns);
    tsdb_buf_put_u8(out, ',');
    put_seconds(out, "execTotalTime", queue_ns + s->total_ns);
    tsdb_buf_put_str(out, "},\"samples\":{");
    if (s->step_queryable) {
        put_per_step(out, "totalQueryableSamplesPerStep", s->step_queryable, s->step_count, p);
        put_per_step(out, "samplesReadPerStep", s->step_read, s->step_count, p);
    }
    if (s->steps_cached > 0) {
        tsdb_buf_printf(out, "\"cachedSteps\":%" PRIu32 ",", s->steps_cached);
    }
    tsdb_buf_printf(out,
                    "\"totalQueryableSamples\":%" PRIu64 ",\"samplesRead\":%" PRIu64
                    ",\"peakSamples\":%" PRIu64 "}}}",
                    s->samples_queryable, s->samples_read, s->samples_peak);
}

/* What reload changes is read under its lock, once per query. Workers only: a daemon's thread waits
 * for no lock of other people's. */
static void keep_query_options(struct call *c)
{
    struct server *s = c->server;
    tsdb_mutex_lock(&s->config_lock);
    c->query_options = s->query_options;
    tsdb_mutex_unlock(&s->config_lock);
}

static struct query_expr *parse_query(struct call *c, const char *wrap)
{
    keep_query_options(c);
    struct tsdb_slice text = params_get(&c->params, "query");
    struct query_expr *expr = NULL;
    struct tsdb_error err = {0};
    uint64_t begin = tsdb_perf_now();
    enum tsdb_status status =
        query_parse((const char *)text.data, text.len, &c->query_options, &c->arena, &expr, &err);
    tsdb_perf_end(TSDB_LAYER_PARSE, begin);
    if (status != TSDB_OK) {
        call_malformed(c, status, wrap, &err);
    }
    return status == TSDB_OK ? expr : NULL;
}

/* --query.log-slower-than: one line of what took so long, whatever became of it. */
static void log_if_slow(struct call *c, const struct active_query *q,
                        const struct query_stats *stats, enum tsdb_status status)
{
    struct server *s = c->server;
    int64_t took_ns = tsdb_clock_mono_ns(&s->clock) - c->begin_ns;
    if (s->options.query_slow_ms == 0 || took_ns / 1000000 < s->options.query_slow_ms) {
        return;
    }
    char text[SLOW_TEXT_BYTES];
    size_t len = TSDB_MIN(q->text.len, sizeof text - 1);
    if (len > 0) {
        memcpy(text, q->text.data, len);
    }
    text[len] = '\0';
    tsdb_log(TSDB_LOG_WARN, "query", "slow query", TSDB_S("query", text),
             TSDB_U("query_bytes", q->text.len), TSDB_I("start_ms", q->start_ms),
             TSDB_I("end_ms", q->end_ms), TSDB_I("step_ms", q->step_ms),
             TSDB_F("duration_s", (double)took_ns / 1e9), TSDB_U("samples", stats->samples_loaded),
             TSDB_S("status", tsdb_status_name(status)));
}

/* nocache=1: everything is computed. */
static struct query_cache *cache_of(const struct call *c)
{
    struct tsdb_slice v = params_get(&c->params, "nocache");
    bool without = false;
    if (v.len > 0 && !api_bool_parse(v, &without)) {
        without = true; /* VictoriaMetrics: whatever does not say no */
    }
    return without ? NULL : c->server->query_cache;
}

/* Evaluate, for everybody to see. */
static enum tsdb_status evaluate_listed(struct call *c, const struct query_expr *expr,
                                        const struct query_params *params, struct query_result *out,
                                        struct tsdb_error *err)
{
    struct server *s = c->server;
    struct active_query q = {.text = params_get(&c->params, "query"),
                             .start_ms = params->start_ms,
                             .end_ms = params->end_ms,
                             .step_ms = params->step_ms,
                             .begin_ms = tsdb_clock_wall_ms(&s->clock),
                             .begin_ns = c->begin_ns,
                             .cancelled = &c->request.cancelled};
    api_note_asked(c, expr);
    active_join(&s->active, &q);
    enum tsdb_status status = tsdb_request_check(&c->request);
    if (status == TSDB_OK) {
        uint64_t begin = tsdb_perf_now();
        status = query_cache_eval(cache_of(c), s->db, &c->query_options, &c->request, expr, params,
                                  &c->arena, out, err);
        tsdb_perf_end(TSDB_LAYER_EVAL, begin);
    }
    active_leave(&s->active, &q);
    log_if_slow(c, &q, &out->stats, status);
    return status;
}

/* What follows the result. */
static enum tsdb_status put_end(struct call *c, const struct answer *a)
{
    if (params_get(&c->params, "stats").len > 0) {
        put_stats(c, &a->result.stats, a->queue_ns, &a->params);
    }
    if (a->result.plan && !c->out.failed) {
        reopen_data(&c->out, "explain");
        query_plan_json(a->result.plan, &c->out);
        if (a->result.stats.steps_cached > 0) {
            tsdb_buf_printf(&c->out, ",\"cachedSteps\":%" PRIu32, a->result.stats.steps_cached);
        }
        tsdb_buf_put_u8(&c->out, '}');
    }
    return put_notes(c, &a->result);
}

static enum tsdb_status put_more(struct call *c, bool *out_done, struct tsdb_error *err)
{
    (void)err;
    struct answer *a = c->rest;
    uint64_t begin = tsdb_perf_now();
    enum tsdb_status status = query_json_put(&a->json, CALL_PIECE_BYTES, &c->out, out_done);
    tsdb_perf_end(TSDB_LAYER_ENCODE, begin);
    return status == TSDB_OK && *out_done ? put_end(c, a) : status;
}

static void close_answer(struct call *c)
{
    struct answer *a = c->rest;
    query_json_end(&a->json);
}

static void evaluate(struct call *c, const struct query_expr *expr,
                     const struct query_params *params)
{
    struct server *s = c->server;
    struct answer *a = TSDB_ARENA_NEW(&c->arena, struct answer);
    struct tsdb_error err = {0};
    if (!a) {
        call_fail(c, tsdb_arena_status(&c->arena), NULL);
        return;
    }
    *a = (struct answer){.params = *params};
    a->queue_ns = tsdb_clock_mono_ns(&s->clock) - c->begin_ns;
    enum tsdb_status status = evaluate_listed(c, expr, params, &a->result, &err);
    c->in_part = a->result.stats.steps_cached > 0;
    /* A duration expression: Prometheus works them out before it evaluates. */
    if (status == TSDB_INVALID && err.pos > 0) {
        call_error(c, ENVELOPE_BAD_DATA, "invalid parameter \"query\": %s", tsdb_error_text(&err));
    } else if (status != TSDB_OK) {
        call_fail(c, status, &err);
    } else {
        call_success(c);
        query_json_begin(&a->json, &a->result, &c->request, c->query_options.crew);
        call_stream(c, put_more, close_answer, a);
    }
}

/* timeout, limit and lookback_delta: what instant and range queries share. */
static bool common_args(struct call *c, struct query_params *p)
{
    int64_t timeout_ms = c->server->options.query_timeout_ms;
    if (!api_arg_limit(c, &p->limit) || !api_arg_duration(c, "timeout", false, &timeout_ms)) {
        return false;
    }
    timeout_ms = TSDB_MIN(timeout_ms, c->server->options.query_timeout_ms);
    c->request.deadline_ns = c->begin_ns + TSDB_MAX(timeout_ms, 0) * 1000000;
    struct tsdb_slice v = params_get(&c->params, "lookback_delta");
    int rc = v.len == 0 ? 1 : api_duration_parse(v, &p->lookback_ms);
    if (rc <= 0) {
        char quoted[256];
        api_quote(v, quoted, sizeof quoted);
        call_error(c, ENVELOPE_BAD_DATA,
                   "error parsing lookback delta duration: cannot parse %s to a valid duration%s",
                   quoted, rc < 0 ? ". It overflows int64" : "");
        return false;
    }
    v = params_get(&c->params, "stats");
    p->per_step_stats =
        c->server->options.feature_per_step_stats && v.len == 3 && memcmp(v.data, "all", 3) == 0;
    p->lookback_ms = TSDB_MAX(p->lookback_ms, 0); /* 0 or less: the engine's */
    p->explain = params_get(&c->params, "explain").len > 0;
    return true;
}

void api_query(struct call *c)
{
    struct query_params p = {.start_ms = tsdb_clock_wall_ms(&c->server->clock)};
    if (!api_arg_time(c, "time", false, &p.start_ms) || !common_args(c, &p)) {
        return;
    }
    p.end_ms = p.start_ms;
    const struct query_expr *expr = parse_query(c, "invalid parameter \"query\": ");
    if (expr) {
        evaluate(c, expr, &p);
    }
}

/* start, end and step; the checks come in Prometheus's order. */
static bool range_args(struct call *c, struct query_params *p)
{
    if (!api_arg_time(c, "start", true, &p->start_ms) ||
        !api_arg_time(c, "end", true, &p->end_ms)) {
        return false;
    }
    if (p->end_ms < p->start_ms) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"end\": end timestamp must not be before start time");
        return false;
    }
    if (!api_arg_duration(c, "step", true, &p->step_ms)) {
        return false;
    }
    if (p->step_ms <= 0) { /* also what is less than a millisecond: the engine counts in those */
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"step\": zero or negative query resolution step widths are "
                   "not accepted. Try a positive integer");
        return false;
    }
    uint64_t span_ms = (uint64_t)p->end_ms - (uint64_t)p->start_ms;
    if (span_ms / (uint64_t)p->step_ms > POINTS_MAX) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing "
                   "the query resolution (?step=XX)");
        return false;
    }
    return true;
}

void api_query_range(struct call *c)
{
    struct query_params p = {0};
    if (!range_args(c, &p) || !common_args(c, &p)) {
        return;
    }
    const struct query_expr *expr = parse_query(c, "invalid parameter \"query\": ");
    if (!expr) {
        return;
    }
    enum query_type type = query_expr_type(expr);
    if (type != QUERY_TYPE_SCALAR && type != QUERY_TYPE_VECTOR) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"query\": invalid expression type \"%s\" for range query, "
                   "must be Scalar or instant Vector",
                   query_type_words(type));
        return;
    }
    evaluate(c, expr, &p);
}

void api_format_query(struct call *c)
{
    const struct query_expr *expr = parse_query(c, "invalid parameter \"query\": ");
    if (!expr) {
        return;
    }
    struct tsdb_buf text;
    tsdb_buf_init(&text, TSDB_MEM_QUERY, c->server->options.query_bytes_max);
    query_expr_pretty(expr, &text);
    if (text.failed) {
        call_fail(c, TSDB_NOMEM, NULL);
    } else {
        call_success(c);
        json_string(&c->out, (const char *)text.data, text.len);
        envelope_success_end(&c->out, NULL, 0);
    }
    tsdb_buf_deinit(&text);
}

void api_parse_query(struct call *c)
{
    const struct query_expr *expr = parse_query(c, "invalid parameter \"query\": ");
    if (expr) {
        call_success(c);
        query_expr_json(expr, &c->out);
        envelope_success_end(&c->out, NULL, 0);
    }
}

static void put_exemplars(struct tsdb_buf *out, const struct tsdb_exemplar_series *s)
{
    tsdb_buf_put_str(out, "{\"seriesLabels\":");
    json_labels(out, &s->labels);
    tsdb_buf_put_str(out, ",\"exemplars\":[");
    for (uint32_t i = 0; i < s->count; i++) {
        tsdb_buf_put_str(out, i ? ",{\"labels\":" : "{\"labels\":");
        json_labels(out, &s->items[i].labels);
        tsdb_buf_put_str(out, ",\"value\":");
        json_float(out, tsdb_bits_double(s->items[i].bits));
        tsdb_buf_put_str(out, ",\"timestamp\":");
        json_timestamp(out, s->items[i].t_ms);
        tsdb_buf_put_u8(out, '}');
    }
    tsdb_buf_put_str(out, "]}");
}

static void select_exemplars(struct call *c, const struct tsdb_selector *selectors,
                             uint32_t selector_count, struct tsdb_time_range range)
{
    struct tsdb_querier *q = NULL;
    struct tsdb_exemplar_series *list = NULL;
    uint32_t count = 0;
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_querier_open(c->server->db, &c->request, range, &q, &err);
    if (status == TSDB_OK) {
        status =
            tsdb_exemplars(q, selectors, selector_count, range, &c->arena, &list, &count, &err);
    }
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    } else {
        call_success(c);
        tsdb_buf_put_u8(&c->out, '[');
        for (uint32_t i = 0; i < count; i++) {
            if (i > 0) {
                tsdb_buf_put_u8(&c->out, ',');
            }
            put_exemplars(&c->out, &list[i]);
        }
        tsdb_buf_put_u8(&c->out, ']');
        envelope_success_end(&c->out, NULL, 0);
    }
    tsdb_querier_close(q);
}

void api_query_exemplars(struct call *c)
{
    struct tsdb_time_range range;
    if (!api_arg_range(c, &range)) {
        return;
    }
    if (range.max_ms < range.min_ms) {
        call_error(c, ENVELOPE_BAD_DATA, "end timestamp must not be before start timestamp");
        return;
    }
    const struct query_expr *expr = parse_query(c, "");
    if (!expr) {
        return;
    }
    struct tsdb_selector *selectors = NULL;
    uint32_t count = 0;
    enum tsdb_status status = query_expr_selectors(expr, &c->arena, &selectors, &count);
    if (status != TSDB_OK) {
        call_fail(c, status, NULL);
    } else if (count == 0) {
        c->status = 204;
        c->content_type = NULL;
    } else {
        select_exemplars(c, selectors, count, range);
    }
}
