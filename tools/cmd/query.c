/* query instant, range, series, labels, values: on a directory, or on a server's HTTP API. Both ways end
 * in the `data` of an answer, which is printed by tool_render. */
#include "query/query.h"

#include "base/format.h"
#include "base/limits.h"
#include "base/mutex.h"
#include "query/json.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/http_call.h"
#include "tools/cmd/jread.h"
#include "tools/cmd/open.h"
#include "tools/cmd/render.h"
#include "tools/cmd/walk.h"
#include "tsdb/block/blocks.h"

#include <inttypes.h>

#define SAMPLES_MAX   UINT64_C(50000000)
#define POINTS_MAX    11000
#define RANGE_DEFAULT INT64_C(3600000)
#define NEWEST_LOOK   INT64_C(7200000) /* as long as a block that comes from the head */
#define STEP_DEFAULT  INT64_C(60000)

struct query_tool {
    struct tool *t;
    bool remote;
    struct tool_dir dir;
    struct tsdb_arena arena;
    struct tsdb_buf data; /* of the answer */
    struct tsdb_buf body; /* of a server: data lies in it */
    struct tsdb_slice answer;
    int64_t now_ms; /* of a directory: its newest sample, if that is older */
};

/* ---- where to ask ---- */
static enum tsdb_status newest_block(struct query_tool *q, int64_t *newest_ms,
                                     struct tsdb_error *err)
{
    struct block_name *names = NULL;
    uint32_t count = 0;
    struct cache_l2 *cache = NULL;
    enum tsdb_status status = tool_blocks_list(&q->dir, &q->arena, &names, &count, err);
    if (status == TSDB_OK) {
        status = cache_l2_create(0, &cache, err);
    }
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct block *b = NULL;
        if (block_open(&q->dir.fs, BLOCKS_DIR, names[i].ulid, cache, &b, NULL) == TSDB_OK) {
            *newest_ms = TSDB_MAX(*newest_ms, block_meta(b)->max_ms - 1);
            block_close(b);
        }
    }
    cache_l2_destroy(cache);
    return status;
}

static enum tsdb_status last_time(void *arg, const struct tsdb_labels *labels,
                                  const struct tsdb_columns *columns, struct tsdb_error *err)
{
    (void)labels;
    (void)err;
    int64_t *newest_ms = arg;
    *newest_ms = TSDB_MAX(*newest_ms, columns->t_ms[columns->count - 1]);
    return TSDB_OK;
}

/* A directory's "now": its newest sample, if that lies in the past. Blocks say where they end; only what
 * is newer than a little before that is looked at. */
static enum tsdb_status find_now(struct query_tool *q, struct tsdb_error *err)
{
    static const struct tsdb_matcher every = {TSDB_MATCH_EQ, "", "", 0, 0};
    const struct tsdb_selector all = {&every, 1};
    struct tool_walk w = {0};
    int64_t newest_ms = INT64_MIN;
    enum tsdb_status status = newest_block(q, &newest_ms, err);
    struct tsdb_time_range range = {
        newest_ms < INT64_MIN + NEWEST_LOOK ? INT64_MIN : newest_ms - NEWEST_LOOK, INT64_MAX};
    int64_t sample_ms = INT64_MIN;
    if (status == TSDB_OK) {
        status = tool_walk_init(&w, q->dir.db, &all, range, err);
    }
    if (status == TSDB_OK) {
        status = tool_walk_all(&w, range, last_time, &sample_ms, NULL, err);
    }
    tool_walk_deinit(&w);
    newest_ms = sample_ms != INT64_MIN ? sample_ms : newest_ms;
    if (status == TSDB_OK && newest_ms != INT64_MIN) {
        q->now_ms = TSDB_MIN(q->now_ms, newest_ms);
    }
    return status;
}

static enum tsdb_status query_begin(struct query_tool *q, struct tool *t, struct tsdb_error *err)
{
    *q = (struct query_tool){.t = t, .remote = http_is_url(t->args[0])};
    tsdb_arena_init(&q->arena, TSDB_MEM_QUERY, 1u << 20, NULL);
    tsdb_buf_init(&q->data, TSDB_MEM_QUERY, 0);
    tsdb_buf_init(&q->body, TSDB_MEM_QUERY, 0);
    q->now_ms = tsdb_clock_wall_ms(&tsdb_clock_real);
    if (q->remote) {
        return TSDB_OK;
    }
    enum tsdb_status status = tool_dir_read(t->args[0], &q->dir, err);
    return status == TSDB_OK ? tool_db_open(&q->dir, err) : status;
}

static void query_end(struct query_tool *q)
{
    tool_dir_close(&q->dir);
    tsdb_buf_deinit(&q->body);
    tsdb_buf_deinit(&q->data);
    tsdb_arena_deinit(&q->arena);
}

static enum tsdb_status show(struct query_tool *q, const char *heading, bool plots,
                             struct tsdb_error *err)
{
    if (!q->remote) {
        if (q->data.failed) {
            return tsdb_error_nomem(err, "an answer");
        }
        q->answer = (struct tsdb_slice){q->data.data, q->data.len};
    }
    return tool_render(q->t, q->answer, heading, plots, err);
}

/* ---- a server ---- */
static void put_param(struct tsdb_buf *path, const char *name, const char *value)
{
    tsdb_buf_printf(path, "%c%s=", memchr(path->data, '?', path->len) ? '&' : '?', name);
    http_escape(path, value, strlen(value));
}

static void put_time(struct tsdb_buf *path, const char *name, int64_t ms)
{
    char text[32];
    tsdb_format_timestamp_ms(text, ms);
    put_param(path, name, text);
}

/* {"status":"success","data":...,"warnings":[...],"infos":[...]} */
static enum tsdb_status take_envelope(struct query_tool *q, unsigned code, struct tsdb_error *err)
{
    struct jread r;
    struct tsdb_buf key, text, error;
    bool success = false;
    tsdb_buf_init(&key, TSDB_MEM_QUERY, 0);
    tsdb_buf_init(&text, TSDB_MEM_QUERY, 0);
    tsdb_buf_init(&error, TSDB_MEM_QUERY, 0);
    jread_init(&r, q->body.data, q->body.len);
    if (jread_enter(&r, '{')) {
        while (jread_more(&r)) {
            jread_key(&r, &key);
            tsdb_buf_put_u8(&key, 0);
            const char *name = key.data ? (const char *)key.data : "";
            if (strcmp(name, "status") == 0) {
                jread_string(&r, &text);
                success = text.len == 7 && memcmp(text.data, "success", 7) == 0;
            } else if (strcmp(name, "error") == 0) {
                jread_string(&r, &error);
            } else if (strcmp(name, "data") == 0) {
                q->answer = jread_raw(&r);
            } else if ((strcmp(name, "warnings") == 0 || strcmp(name, "infos") == 0) &&
                       jread_peek(&r) == '[' && jread_enter(&r, '[')) {
                while (jread_more(&r)) {
                    jread_string(&r, &text);
                    tool_say("%.*s", (int)text.len, (const char *)text.data);
                }
            } else {
                (void)jread_raw(&r);
            }
        }
    }
    enum tsdb_status status = TSDB_OK;
    if (!jread_end(&r)) {
        status = tsdb_error_set(err, TSDB_UNSUPPORTED,
                                "HTTP %u, not an answer of the Prometheus API", code);
    } else if (!success || !q->answer.data) {
        status = tsdb_error_set(err, code == 400 ? TSDB_INVALID : TSDB_UNSUPPORTED, "%.*s",
                                (int)error.len, error.len > 0 ? (const char *)error.data : "");
    }
    tsdb_buf_deinit(&error);
    tsdb_buf_deinit(&text);
    tsdb_buf_deinit(&key);
    return status;
}

static enum tsdb_status ask(struct query_tool *q, struct tsdb_buf *path, struct tsdb_error *err)
{
    unsigned code = 0;
    tsdb_buf_put_u8(path, 0);
    enum tsdb_status status =
        path->failed
            ? tsdb_error_nomem(err, "a request")
            : http_call(q->t->args[0], "GET", (const char *)path->data, &code, &q->body, err);
    return status == TSDB_OK ? take_envelope(q, code, err) : status;
}

/* ---- expressions ---- */
static enum tsdb_status times(const struct query_tool *q, bool range, struct query_params *out,
                              struct tsdb_error *err)
{
    const struct tool_options *o = &q->t->options;
    uint32_t given = q->t->given;
    *out = (struct query_params){.lookback_ms = o->lookback, .limit = 0};
    if (o->limit > UINT32_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "--limit: at most %" PRIu32, UINT32_MAX);
    }
    out->limit = (uint32_t)o->limit;
    if (!range) {
        out->start_ms = out->end_ms = given & TOOL_BIT(time) ? o->time : q->now_ms;
        return TSDB_OK;
    }
    out->end_ms = given & TOOL_BIT(end) ? o->end : q->now_ms;
    out->start_ms = given & TOOL_BIT(start) ? o->start : out->end_ms - RANGE_DEFAULT;
    out->step_ms = o->step;
    if (out->end_ms < out->start_ms) {
        return tsdb_error_set(err, TSDB_INVALID, "--end lies before --start");
    }
    uint64_t span = (uint64_t)out->end_ms - (uint64_t)out->start_ms;
    return span / (uint64_t)out->step_ms <= POINTS_MAX
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_INVALID, "more than %d points: take a larger --step",
                                POINTS_MAX);
}

static enum tsdb_status evaluate(struct query_tool *q, const char *text,
                                 const struct query_params *params, struct tsdb_error *err)
{
    const struct query_options options = {
        .lookback_ms = params->lookback_ms,
        .samples_max = SAMPLES_MAX,
        .default_step_ms = STEP_DEFAULT,
        .experimental_functions = true,
    };
    struct query_expr *expr = NULL;
    struct query_result result;
    struct tsdb_request request;
    tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
    enum tsdb_status status = query_parse(text, strlen(text), &options, &q->arena, &expr, err);
    if (status == TSDB_OK && params->step_ms > 0 && query_expr_type(expr) != QUERY_TYPE_VECTOR &&
        query_expr_type(expr) != QUERY_TYPE_SCALAR) {
        status = tsdb_error_set(err, TSDB_INVALID,
                                "invalid expression type \"%s\" for range query, must be Scalar or "
                                "instant Vector",
                                query_type_words(query_expr_type(expr)));
    }
    if (status == TSDB_OK) {
        status = query_eval(q->dir.db, &options, &request, expr, params, &q->arena, &result, err);
    }
    if (status == TSDB_OK) {
        status = query_result_json(&result, &request, &q->data);
        for (uint32_t i = 0; i < result.note_count; i++) {
            tool_say("%s", result.notes[i].text);
        }
    }
    return status;
}

static enum tsdb_status run_expression(struct tool *t, bool range, struct tsdb_error *err)
{
    struct query_tool q;
    struct query_params params;
    enum tsdb_status status = query_begin(&q, t, err);
    if (status == TSDB_OK && !q.remote && !(t->given & (range ? TOOL_BIT(end) : TOOL_BIT(time)))) {
        status = find_now(&q, err);
    }
    if (status == TSDB_OK) {
        status = times(&q, range, &params, err);
    }
    if (status == TSDB_OK && q.remote) {
        struct tsdb_buf path;
        char step[32], lookback[32];
        tsdb_buf_init(&path, TSDB_MEM_QUERY, 0);
        tsdb_buf_put_str(&path, range ? "/api/v1/query_range" : "/api/v1/query");
        put_param(&path, "query", t->args[1]);
        put_time(&path, range ? "start" : "time", params.start_ms);
        if (range) {
            put_time(&path, "end", params.end_ms);
            tsdb_format_timestamp_ms(step, params.step_ms);
            put_param(&path, "step", step);
        }
        if (t->given & TOOL_BIT(lookback)) {
            tsdb_format_timestamp_ms(lookback, params.lookback_ms);
            put_param(&path, "lookback_delta", lookback);
        }
        if (params.limit > 0) {
            tsdb_format_u64(step, params.limit);
            put_param(&path, "limit", step);
        }
        status = ask(&q, &path, err);
        tsdb_buf_deinit(&path);
    } else if (status == TSDB_OK) {
        status = evaluate(&q, t->args[1], &params, err);
    }
    if (status == TSDB_OK) {
        status = show(&q, NULL, range, err);
    }
    query_end(&q);
    return status;
}

/* Trees may be deep: on a thread with the stack for it, as the server's workers have. */
struct deep {
    struct tool *t;
    bool range;
    enum tsdb_status status;
    struct tsdb_error *err;
};

static void *deep_main(void *arg)
{
    struct deep *d = arg;
    d->status = run_expression(d->t, d->range, d->err);
    return NULL;
}

static enum tsdb_status run_deep(struct tool *t, bool range, struct tsdb_error *err)
{
    struct deep d = {t, range, TSDB_OK, err};
    pthread_t thread;
    enum tsdb_status status =
        tsdb_thread_start_with(&thread, "query", TSDB_QUERY_STACK_BYTES, deep_main, &d, err);
    if (status != TSDB_OK) {
        return status;
    }
    pthread_join(thread, NULL);
    return d.status;
}

enum tsdb_status tool_query_instant(struct tool *t, struct tsdb_error *err)
{
    return run_deep(t, false, err);
}

enum tsdb_status tool_query_range(struct tool *t, struct tsdb_error *err)
{
    return run_deep(t, true, err);
}

/* ---- lists ---- */
enum list_kind {
    LIST_SERIES,
    LIST_LABELS,
    LIST_VALUES
};

static void put_strings(struct tsdb_buf *out, const struct tsdb_slice *items, uint32_t count)
{
    tsdb_buf_put_u8(out, '[');
    for (uint32_t i = 0; i < count; i++) {
        tsdb_buf_put_str(out, i > 0 ? "," : "");
        json_string(out, (const char *)items[i].data, items[i].len);
    }
    tsdb_buf_put_u8(out, ']');
}

static void put_series(struct tsdb_buf *out, const struct tsdb_labels *items, uint32_t count)
{
    tsdb_buf_put_u8(out, '[');
    for (uint32_t i = 0; i < count; i++) {
        tsdb_buf_put_str(out, i > 0 ? "," : "");
        json_labels(out, &items[i]);
    }
    tsdb_buf_put_u8(out, ']');
}

static enum tsdb_status list_here(struct query_tool *q, enum list_kind kind, struct tsdb_error *err)
{
    const struct tool *t = q->t;
    struct tsdb_selector selector;
    struct tsdb_querier *querier = NULL;
    struct tsdb_slice *strings = NULL;
    struct tsdb_labels *series = NULL;
    uint32_t count = 0, limit = (uint32_t)TSDB_MIN(t->options.limit, UINT32_MAX);
    bool truncated = false;
    uint32_t selectors = kind == LIST_SERIES || t->options.match ? 1 : 0;
    struct tsdb_time_range range = {t->options.start, t->options.end};
    enum tsdb_status status = tool_selector(t, &q->arena, &selector, err);
    if (status == TSDB_OK) {
        status = tsdb_querier_open(q->dir.db, NULL, range, &querier, err);
    }
    if (status == TSDB_OK && kind == LIST_SERIES) {
        status = tsdb_series_list(querier, &selector, selectors, limit, &q->arena, &series, &count,
                                  &truncated, err);
        put_series(&q->data, series, status == TSDB_OK ? count : 0);
    } else if (status == TSDB_OK) {
        status =
            kind == LIST_LABELS
                ? tsdb_label_names(querier, &selector, selectors, limit, &q->arena, &strings,
                                   &count, &truncated, err)
                : tsdb_label_values(querier, t->args[1], (uint32_t)strlen(t->args[1]), &selector,
                                    selectors, limit, &q->arena, &strings, &count, &truncated, err);
        put_strings(&q->data, strings, status == TSDB_OK ? count : 0);
    }
    tsdb_querier_close(querier);
    if (status == TSDB_OK && truncated) {
        tool_say("there is more: --limit cut the list");
    }
    return status;
}

static enum tsdb_status list_there(struct query_tool *q, enum list_kind kind,
                                   struct tsdb_error *err)
{
    const struct tool *t = q->t;
    struct tsdb_buf path;
    tsdb_buf_init(&path, TSDB_MEM_QUERY, 0);
    if (kind == LIST_SERIES) {
        tsdb_buf_put_str(&path, "/api/v1/series");
        put_param(&path, "match[]", t->options.match ? t->options.match : "{__name__!=\"\"}");
    } else if (kind == LIST_LABELS) {
        tsdb_buf_put_str(&path, "/api/v1/labels");
    } else {
        tsdb_buf_put_str(&path, "/api/v1/label/");
        http_escape(&path, t->args[1], strlen(t->args[1]));
        tsdb_buf_put_str(&path, "/values");
    }
    if (kind != LIST_SERIES && t->options.match) {
        put_param(&path, "match[]", t->options.match);
    }
    if (t->given & TOOL_BIT(start)) {
        put_time(&path, "start", t->options.start);
    }
    if (t->given & TOOL_BIT(end)) {
        put_time(&path, "end", t->options.end);
    }
    if (t->options.limit > 0) {
        char text[32];
        tsdb_format_u64(text, t->options.limit);
        put_param(&path, "limit", text);
    }
    enum tsdb_status status = ask(q, &path, err);
    tsdb_buf_deinit(&path);
    return status;
}

static enum tsdb_status run_list(struct tool *t, enum list_kind kind, const char *heading,
                                 struct tsdb_error *err)
{
    struct query_tool q;
    enum tsdb_status status = query_begin(&q, t, err);
    if (status == TSDB_OK) {
        status = q.remote ? list_there(&q, kind, err) : list_here(&q, kind, err);
    }
    if (status == TSDB_OK) {
        status = show(&q, heading, false, err);
    }
    query_end(&q);
    return status;
}

enum tsdb_status tool_query_series(struct tool *t, struct tsdb_error *err)
{
    return run_list(t, LIST_SERIES, NULL, err);
}

enum tsdb_status tool_query_labels(struct tool *t, struct tsdb_error *err)
{
    return run_list(t, LIST_LABELS, "label", err);
}

enum tsdb_status tool_query_values(struct tool *t, struct tsdb_error *err)
{
    return run_list(t, LIST_VALUES, "value", err);
}
