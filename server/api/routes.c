#include "server/api/routes.h"

#include "base/assert.h"
#include "base/latency.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BIT(method)        (1u << (method))
#define GET_ONLY           BIT(HTTP_GET)
#define GET_POST           (BIT(HTTP_GET) | BIT(HTTP_POST))
#define POST_PUT           (BIT(HTTP_POST) | BIT(HTTP_PUT))
#define CALL_ARENA_BYTES   (16u << 10)
#define TEXT_PLAIN         "text/plain; charset=utf-8"
#define API_PREFIX         "/api/v1/"
#define CANCELLED_IN_QUEUE "query was canceled in query queue"
#define TIMEOUT_IN_QUEUE   "query timed out in query queue"

static const struct route route_table[] = {
    {BIT(HTTP_POST), "/api/v1/write", NULL, ROUTE_WRITE},
    {GET_POST, "/api/v1/query", api_query, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/query_range", api_query_range, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/query_exemplars", api_query_exemplars, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/format_query", api_format_query, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/series", api_series, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/labels", api_labels, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/label/*/values", api_label_values, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/metadata", api_metadata, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/rules", api_rules, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/alerts", api_alerts, ROUTE_API},
    {GET_ONLY, "/api/v1/targets", api_targets, ROUTE_API},
    {GET_ONLY, "/api/v1/scrape_pools", api_scrape_pools, ROUTE_API},
    {GET_ONLY, "/api/v1/alertmanagers", api_alertmanagers, ROUTE_API},
    {GET_ONLY, "/api/v1/notifications", api_notifications, ROUTE_API | ROUTE_ALWAYS},
    {GET_ONLY, "/api/v1/features", api_features, ROUTE_API},
    {GET_ONLY, "/api/v1/status/tsdb", api_status_tsdb, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/status/buildinfo", api_status_buildinfo, ROUTE_API},
    {GET_ONLY, "/api/v1/status/flags", api_status_flags, ROUTE_API},
    {GET_ONLY, "/api/v1/status/config", api_status_config, ROUTE_API},
    {GET_ONLY, "/api/v1/status/runtimeinfo", api_status_runtimeinfo, ROUTE_API},
    {GET_ONLY, "/api/v1/status/walreplay", api_status_walreplay, ROUTE_API | ROUTE_ALWAYS},
    {GET_ONLY, "/-/healthy", page_healthy, ROUTE_ALWAYS},
    {GET_ONLY, "/-/ready", page_ready, ROUTE_ALWAYS},
    {POST_PUT, "/-/reload", page_reload, ROUTE_ALWAYS | ROUTE_WORKER},
    {POST_PUT, "/-/quit", page_quit, ROUTE_ALWAYS},
    {GET_ONLY, "/metrics", page_metrics, ROUTE_ALWAYS},
    {GET_ONLY, "/", page_root, ROUTE_ALWAYS},
};

/* ---- answers ---- */

static void answer_begin(struct call *c, unsigned status, const char *content_type)
{
    tsdb_buf_clear(&c->out);
    c->status = status;
    c->content_type = content_type;
}

void call_text(struct call *c, unsigned status, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    answer_begin(c, status, TEXT_PLAIN);
    tsdb_buf_put_str(&c->out, text);
}

void call_ok(struct call *c, const char *content_type)
{
    answer_begin(c, 200, content_type);
}

void call_error(struct call *c, enum envelope_error type, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    answer_begin(c, envelope_error_status(type), "application/json");
    envelope_error(&c->out, type, text);
}

void call_fail(struct call *c, enum tsdb_status status, const struct tsdb_error *err)
{
    const char *fallback = status == TSDB_CANCELLED ? "query was canceled in expression evaluation"
                           : status == TSDB_TIMEOUT ? "query timed out in expression evaluation"
                           : status == TSDB_NOMEM   ? "out of memory"
                                                    : tsdb_status_name(status);
    call_error(c, envelope_error_of(status), "%s", err && err->msg[0] ? err->msg : fallback);
    if (status == TSDB_BUSY) {
        c->status = 503;
        c->retry_after = "1";
    }
}

void call_success(struct call *c)
{
    answer_begin(c, 200, "application/json");
    envelope_success_begin(&c->out);
}

/* Everything that is not a write: memory and deadline. */
static void arm(struct call *c)
{
    struct server *s = c->server;
    tsdb_request_init(&c->request, &s->clock, TSDB_SCOPE_READ);
    tsdb_account_init(&c->request.account, s->options.query_bytes_max, &s->queries);
    c->request.deadline_ns = c->begin_ns + s->options.query_timeout_ms * 1000000;
    tsdb_arena_init(&c->arena, TSDB_MEM_QUERY, CALL_ARENA_BYTES, &c->request.account);
    tsdb_buf_init(&c->form, TSDB_MEM_SERVER, PARAMS_FORM_BYTES_MAX);
    tsdb_buf_init(&c->out, TSDB_MEM_QUERY, s->options.query_bytes_max);
    c->status = 200;
    c->armed = true;
}

static void disarm(struct call *c)
{
    if (c->armed) {
        tsdb_arena_deinit(&c->arena);
        tsdb_buf_deinit(&c->form);
        tsdb_buf_deinit(&c->out);
        tsdb_account_release(&c->request.account, c->charged_bytes);
        c->armed = false;
    }
}

static void add_header(struct http_reply *r, const char *name, const char *value)
{
    TSDB_ASSERT(r->header_count < HTTP_REPLY_HEADERS_MAX);
    r->headers[r->header_count].name = name;
    r->headers[r->header_count].value = value;
    r->header_count++;
}

static void add_cors(struct call *c, struct http_reply *r)
{
    add_header(r, "Vary", "Accept-Encoding, Origin");
    if (c->origin[0] == '\0') {
        return;
    }
    const char *allowed = envelope_allow_origin(c->server->options.cors_origin, c->origin);
    if (allowed) {
        add_header(r, "Access-Control-Allow-Headers",
                   "Accept, Authorization, Content-Type, Origin");
        add_header(r, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        add_header(r, "Access-Control-Allow-Origin", allowed);
        add_header(r, "Access-Control-Expose-Headers", "Date");
    }
}

/* The answer did not fit into memory: say so instead. */
static void answer_too_large(struct call *c)
{
    tsdb_buf_deinit(&c->out);
    tsdb_buf_init(&c->out, TSDB_MEM_QUERY, 0);
    if (c->route && (c->route->flags & ROUTE_API)) {
        call_error(c, ENVELOPE_EXECUTION,
                   "the answer needs more memory than a query may use (--query.max-memory)");
    } else {
        call_text(c, 500, "out of memory\n");
    }
}

void call_send(struct call *c)
{
    if (!c->out.failed && tsdb_account_charge(&c->request.account, c->out.cap) == TSDB_OK) {
        c->charged_bytes = c->out.cap;
    } else {
        answer_too_large(c);
    }
    struct http_reply r = {.status = c->status, .content_type = c->content_type, .body = &c->out};
    struct tsdb_buf packed;
    tsdb_buf_init(&packed, TSDB_MEM_QUERY, 0);
    if (c->gzip && c->out.len >= ENVELOPE_GZIP_BYTES_MIN &&
        envelope_gzip(&c->out, &c->arena, &packed)) {
        tsdb_buf_deinit(&c->out);
        r.body = &packed;
        add_header(&r, "Content-Encoding", "gzip");
    } else {
        tsdb_buf_deinit(&packed);
    }
    if (c->route && (c->route->flags & ROUTE_API)) {
        add_cors(c, &r);
    }
    if (c->retry_after) {
        add_header(&r, "Retry-After", c->retry_after);
    }
    if (c->allow) {
        add_header(&r, "Allow", c->allow);
    }
    if (c->stopping_header) {
        add_header(&r, "X-Prometheus-Stopping",
                   atomic_load(&c->server->stopping) ? "true" : "false");
    }
    /* Big arenas go back here, in the worker, not in the daemon's thread. */
    tsdb_arena_deinit(&c->arena);
    tsdb_buf_deinit(&c->form);
    if (c->route && (c->route->flags & ROUTE_WORKER)) {
        tsdb_perf_end(TSDB_LAYER_HTTP_QUERY, c->perf_begin);
    }
    http_reply(c->x, &r);
}

/* ---- routing ---- */

/* Does a path match a pattern with at most one "*" segment? */
static bool path_matches(const char *pattern, const char *path, struct tsdb_slice *out_segment)
{
    const char *star = strchr(pattern, '*');
    if (!star) {
        return strcmp(pattern, path) == 0;
    }
    size_t prefix = (size_t)(star - pattern);
    if (strncmp(pattern, path, prefix) != 0) {
        return false;
    }
    size_t len = strcspn(path + prefix, "/");
    if (len == 0 || strcmp(path + prefix + len, star + 1) != 0) {
        return false;
    }
    *out_segment = (struct tsdb_slice){(const uint8_t *)path + prefix, len};
    return true;
}

static const struct route *find_route(const char *path, struct tsdb_slice *out_segment)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(route_table); i++) {
        if (path_matches(route_table[i].path, path, out_segment)) {
            return &route_table[i];
        }
    }
    return NULL;
}

static const char *allow_text(const struct route *r)
{
    if (r->methods == GET_ONLY) {
        return r->flags & ROUTE_API ? "GET, HEAD, OPTIONS" : "GET, HEAD";
    }
    if (r->methods == GET_POST) {
        return "GET, HEAD, POST, OPTIONS";
    }
    return r->methods == POST_PUT ? "POST, PUT" : "POST, OPTIONS";
}

bool server_ready(struct server *s, bool *out_stopping)
{
    enum tsdb_state state = tsdb_state(s->db, NULL);
    *out_stopping = atomic_load(&s->stopping) || state == TSDB_STATE_CLOSING;
    return !*out_stopping && (state == TSDB_STATE_READY || state == TSDB_STATE_READ_ONLY);
}

static bool is_form(const char *content_type)
{
    static const char form[] = "application/x-www-form-urlencoded";
    size_t len = sizeof form - 1;
    return content_type && strncasecmp(content_type, form, len) == 0 &&
           strchr("; \t", content_type[len]);
}

/* What the handler will want to know of the headers. */
static void keep_headers(struct call *c)
{
    c->gzip = envelope_accepts_gzip(http_header(c->x, "Accept-Encoding"));
    const char *origin = http_header(c->x, "Origin");
    if (origin && strlen(origin) < sizeof c->origin) {
        memcpy(c->origin, origin, strlen(origin) + 1);
    }
    c->form_wanted = http_method(c->x) == HTTP_POST && is_form(http_header(c->x, "Content-Type"));
}

/* Answers that need no handler; true when one was made. */
static bool refuse(struct call *c, const struct route *route, const char *path)
{
    struct server *s = c->server;
    enum http_method method = http_method(c->x);
    bool api = strncmp(path, API_PREFIX, sizeof API_PREFIX - 1) == 0;
    if (method == HTTP_OPTIONS && api) {
        static const struct route preflight = {0, "", NULL, ROUTE_API};
        c->route = &preflight;
        c->status = 204;
        return true;
    }
    if (!route) {
        call_text(c, 404, "404 page not found\n");
        return true;
    }
    unsigned methods = route->methods | (route->methods & GET_ONLY ? BIT(HTTP_HEAD) : 0);
    if (!(methods & BIT(method))) {
        call_text(c, 405, "Method Not Allowed\n");
        c->allow = allow_text(route);
        return true;
    }
    bool stopping = false;
    if (!(route->flags & (ROUTE_ALWAYS | ROUTE_WRITE)) && !server_ready(s, &stopping)) {
        call_text(c, 503, "Service Unavailable\n");
        c->stopping_header = true;
        c->retry_after = "1";
        return true;
    }
    if (c->form_wanted && http_content_length(c->x) > (int64_t)PARAMS_FORM_BYTES_MAX) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "error parsing form values: request body is larger than %u bytes",
                   PARAMS_FORM_BYTES_MAX);
        return true;
    }
    return false;
}

static bool is_write(const struct http_exchange *x, const struct route *route)
{
    return route && (route->flags & ROUTE_WRITE) && http_method(x) == HTTP_POST;
}

/* http.c answers by itself, without a call. */
static void on_refuse(void *arg, struct http_exchange *x, struct http_reply *reply)
{
    (void)arg;
    struct tsdb_slice segment;
    if (is_write(x, find_route(http_path(x), &segment))) {
        api_write_counts_zero(reply);
    }
}

static void on_headers(void *arg, struct http_exchange *x)
{
    struct call *c = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *c);
    if (!c) {
        struct http_reply r = {.status = 503};
        on_refuse(arg, x, &r);
        http_reply(x, &r);
        return;
    }
    c->server = arg;
    c->x = x;
    c->perf_begin = tsdb_perf_now();
    http_user_set(x, c);
    const char *path = http_path(x);
    c->route = find_route(path, &c->segment);
    if (is_write(x, c->route)) {
        api_write_headers(c);
        return;
    }
    c->begin_ns = tsdb_clock_mono_ns(&c->server->clock);
    arm(c);
    keep_headers(c);
    if (refuse(c, c->route, path)) {
        call_send(c);
    }
}

static void on_body(void *arg, struct http_exchange *x, const void *data, size_t len)
{
    (void)arg;
    struct call *c = http_user(x);
    if (c->route->flags & ROUTE_WRITE) {
        api_write_body(c, data, len);
        return;
    }
    if (c->form_wanted) {
        tsdb_buf_put(&c->form, data, len);
        if (c->form.failed) {
            call_error(c, ENVELOPE_BAD_DATA,
                       "error parsing form values: request body is larger than %u bytes",
                       PARAMS_FORM_BYTES_MAX);
            call_send(c);
        }
    }
}

static void run_call(struct call *c)
{
    struct tsdb_error err = {0};
    struct tsdb_slice body = {c->form.data, c->form.len};
    const char *query = http_query(c->x);
    struct tsdb_slice url = {(const uint8_t *)query, strlen(query)};
    enum tsdb_status status = params_parse(&c->params, &c->arena, body, url, &err);
    if (status == TSDB_NOMEM) {
        call_fail(c, status, &err);
    } else if (status != TSDB_OK) {
        call_error(c, ENVELOPE_BAD_DATA, "error parsing form values: %s", err.msg);
    } else {
        c->route->run(c);
    }
    call_send(c);
}

static void worker_run(struct work *w)
{
    struct call *c = (struct call *)(void *)((char *)w - offsetof(struct call, work));
    enum tsdb_status status = tsdb_request_check(&c->request);
    if (status != TSDB_OK) {
        call_error(c, envelope_error_of(status),
                   status == TSDB_TIMEOUT ? TIMEOUT_IN_QUEUE : CANCELLED_IN_QUEUE);
        call_send(c);
        return;
    }
    run_call(c);
}

static void on_complete(void *arg, struct http_exchange *x)
{
    (void)arg;
    struct call *c = http_user(x);
    if (c->route->flags & ROUTE_WRITE) {
        api_write_complete(c);
        return;
    }
    if (!(c->route->flags & ROUTE_WORKER)) {
        run_call(c);
        return;
    }
    c->work.run = worker_run;
    http_watch(x, &c->request.cancelled);
    if (!workers_submit(c->server->workers, &c->work)) {
        call_error(c, ENVELOPE_UNAVAILABLE, "too many queries are waiting, try again later");
        c->status = 503;
        c->retry_after = "1";
        call_send(c);
    }
}

static void on_wake(void *arg, struct http_exchange *x)
{
    (void)arg;
    api_write_wake(http_user(x));
}

static void on_end(void *arg, struct http_exchange *x)
{
    (void)arg;
    struct call *c = http_user(x);
    if (!c) {
        return;
    }
    ingest_end(c->ingest);
    disarm(c);
    tsdb_mem_free(TSDB_MEM_SERVER, c, sizeof *c);
}

const struct http_handlers server_handlers_template = {.on_headers = on_headers,
                                                       .on_body = on_body,
                                                       .on_complete = on_complete,
                                                       .on_wake = on_wake,
                                                       .on_refuse = on_refuse,
                                                       .on_end = on_end};
