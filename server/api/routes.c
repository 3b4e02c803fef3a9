#include "server/api/routes.h"

#include "base/assert.h"
#include "base/latency.h"
#include "server/api/estimate.h"
#include "server/api/handlers.h"
#include "server/api/kept.h"
#include "server/api/origin.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BIT(method)        (1u << (method))
#define GET_ONLY           BIT(HTTP_GET)
#define GET_POST           (BIT(HTTP_GET) | BIT(HTTP_POST))
#define POST_DELETE        (BIT(HTTP_POST) | BIT(HTTP_DELETE))
#define POST_PUT           (BIT(HTTP_POST) | BIT(HTTP_PUT))
#define WRITE              (ROUTE_WRITE | ROUTE_CHANGES)
#define LIFECYCLE          (ROUTE_ALWAYS | ROUTE_LIFECYCLE | ROUTE_CHANGES)
#define ADMIN              (ROUTE_API | ROUTE_WORKER | ROUTE_CHANGES | ROUTE_ADMIN)
#define ADMIN_PATH         "/api/v1/admin/tsdb/"
#define API_PREFIX         "/api/v1/"
#define ACTIVE_PATH        "/api/v1/status/active_queries"
#define FOREIGN_TEXT       "pages from elsewhere may not change anything here\n"
#define CLASSIFY_BYTES_MAX 65536u /* of a form */
#define CANCELLED_IN_QUEUE "query was canceled in query queue"
#define TIMEOUT_IN_QUEUE   "query timed out in query queue"

static const struct route route_table[] = {
    {BIT(HTTP_POST), "/api/v1/write", NULL, WRITE},
    {BIT(HTTP_POST), "/api/v1/push", NULL, WRITE},    /* Mimir, Cortex */
    {BIT(HTTP_POST), "/api/v1/receive", NULL, WRITE}, /* Thanos */
    {BIT(HTTP_POST), "/api/v1/read", api_read, ROUTE_BODY | ROUTE_WORKER | ROUTE_READER},
    {BIT(HTTP_POST), "/api/v1/otlp/v1/metrics", NULL, WRITE | ROUTE_OTLP},
    {BIT(HTTP_POST), "/api/v1/import/prometheus", NULL, WRITE | ROUTE_IMPORT},
    {GET_POST, "/api/v1/query", api_query, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/query_range", api_query_range, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/query_exemplars", api_query_exemplars, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/format_query", api_format_query, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/parse_query", api_parse_query, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/series", api_series, ROUTE_API | ROUTE_WORKER | ROUTE_KEPT},
    {GET_POST, "/api/v1/labels", api_labels, ROUTE_API | ROUTE_WORKER | ROUTE_KEPT},
    {GET_ONLY, "/api/v1/label/*/values", api_label_values, ROUTE_API | ROUTE_WORKER | ROUTE_KEPT},
    {GET_POST, "/api/v1/search/metric_names", api_search_metric_names, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/search/label_names", api_search_label_names, ROUTE_API | ROUTE_WORKER},
    {GET_POST, "/api/v1/search/label_values", api_search_label_values, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/metadata", api_metadata, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/rules", api_rules, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/alerts", api_alerts, ROUTE_API},
    {GET_ONLY, "/api/v1/targets", api_targets, ROUTE_API},
    {GET_ONLY, "/api/v1/targets/metadata", api_targets_metadata, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/scrape_pools", api_scrape_pools, ROUTE_API},
    {GET_ONLY, "/api/v1/alertmanagers", api_alertmanagers, ROUTE_API},
    {GET_ONLY, "/api/v1/notifications", api_notifications, ROUTE_API | ROUTE_ALWAYS},
    {GET_ONLY, "/api/v1/features", api_features, ROUTE_API},
    {GET_ONLY, "/api/v1/status/tsdb", api_status_tsdb, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/status/tsdb/blocks", api_status_blocks, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/status/self_metrics", api_self_metrics, ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, ACTIVE_PATH, api_active_queries, ROUTE_API},
    {POST_DELETE, ACTIVE_PATH, api_cancel_query, ROUTE_API | ROUTE_CHANGES},
    {POST_DELETE, ACTIVE_PATH "/*", api_cancel_query, ROUTE_API | ROUTE_CHANGES},
    {GET_ONLY, "/api/v1/status/metric_names_stats", api_metric_names_stats,
     ROUTE_API | ROUTE_WORKER},
    {GET_ONLY, "/api/v1/status/buildinfo", api_status_buildinfo, ROUTE_API},
    {GET_ONLY, "/api/v1/status/flags", api_status_flags, ROUTE_API},
    {GET_ONLY, "/api/v1/status/config", api_status_config, ROUTE_API},
    {GET_ONLY, "/api/v1/status/runtimeinfo", api_status_runtimeinfo, ROUTE_API},
    {GET_ONLY, "/api/v1/status/walreplay", api_status_walreplay, ROUTE_API | ROUTE_ALWAYS},
    {POST_PUT, ADMIN_PATH "snapshot", api_admin_snapshot, ADMIN},
    {POST_PUT, ADMIN_PATH "delete_series", api_admin_delete_series, ADMIN},
    {POST_PUT, ADMIN_PATH "clean_tombstones", api_admin_clean_tombstones, ADMIN},
    {POST_PUT, ADMIN_PATH "flush", api_admin_flush, ADMIN},
    {POST_PUT, ADMIN_PATH "compact", api_admin_compact, ADMIN},
    {GET_ONLY, ADMIN_PATH "deletes", api_admin_deletes, ROUTE_API | ROUTE_WORKER | ROUTE_ADMIN},
    {GET_ONLY, "/-/healthy", page_healthy, ROUTE_ALWAYS | ROUTE_OPEN},
    {GET_ONLY, "/-/ready", page_ready, ROUTE_ALWAYS | ROUTE_OPEN},
    {POST_PUT, "/-/reload", page_reload, LIFECYCLE | ROUTE_WORKER},
    {POST_PUT, "/-/quit", page_quit, LIFECYCLE},
    {GET_ONLY, "/metrics", page_metrics, ROUTE_ALWAYS},
    {GET_ONLY, "/federate", page_federate, ROUTE_WORKER},
    {GET_ONLY, "/version", page_version, ROUTE_ALWAYS},
    {GET_ONLY, "/", page_root, ROUTE_ALWAYS},
    {GET_ONLY, "/graph", page_root,
     ROUTE_ALWAYS}, /* where links of Prometheus 2 and of alerts go */
    {GET_ONLY, "/query", page_root, ROUTE_ALWAYS}, /* of Prometheus 3 */
    {GET_ONLY, "/ui/*", page_file, ROUTE_ALWAYS},
};

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

/* A write may have a slash behind its path: senders that are answered 404 repeat for ever. */
static bool is_write_with_slash(const struct route *r, const char *path)
{
    size_t len = strlen(r->path);
    return (r->flags & ROUTE_WRITE) && strncmp(r->path, path, len) == 0 &&
           strcmp(path + len, "/") == 0;
}

/* GET brings HEAD. */
static unsigned methods_of(const struct route *r)
{
    return r->methods | (r->methods & BIT(HTTP_GET) ? BIT(HTTP_HEAD) : 0);
}

/* The row with that path and method; if no row takes the method, one with the path. */
static const struct route *find_route(const char *path, enum http_method method,
                                      struct tsdb_slice *out_segment)
{
    const struct route *found = NULL;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(route_table); i++) {
        const struct route *r = &route_table[i];
        if (path_matches(r->path, path, out_segment) || is_write_with_slash(r, path)) {
            if (methods_of(r) & BIT(method)) {
                return r;
            }
            found = found ? found : r;
        }
    }
    return found;
}

/* Ways in of other systems that do not exist here: a user who comes to one reads what to use. A path
 * that ends in a slash stands for all below it. */
#define USE_REMOTE_WRITE "use Prometheus remote write at /api/v1/write"
static const struct {
    const char *path, *text;
} foreign_paths[] = {
    {"/write", "there is no InfluxDB line protocol here: " USE_REMOTE_WRITE
               ", for example by Telegraf's outputs.http with data_format = "
               "\"prometheusremotewrite\""},
    {"/api/v2/write", "there is no InfluxDB line protocol here: " USE_REMOTE_WRITE},
    {"/influx/", "there is no InfluxDB line protocol here: " USE_REMOTE_WRITE},
    {"/api/v1/influx/", "there is no InfluxDB line protocol here: " USE_REMOTE_WRITE},
    {"/api/v1/import", "there is no JSON line import here: " USE_REMOTE_WRITE},
    {"/api/v1/import/", "this import of VictoriaMetrics is not here: " USE_REMOTE_WRITE},
    {"/api/v1/export", "there is no export here: use /api/v1/query with a range selector"},
    {"/api/v1/export/", "there is no export here: use /api/v1/query with a range selector"},
    {"/insert/", "paths of a VictoriaMetrics cluster are not here: " USE_REMOTE_WRITE},
    {"/select/", "paths of a VictoriaMetrics cluster are not here: use /api/v1/query"},
    {"/api/put", "there is no OpenTSDB protocol here: " USE_REMOTE_WRITE},
    {"/datadog/", "there is no DataDog protocol here: " USE_REMOTE_WRITE},
    {"/graphite/", "there is no Graphite here: " USE_REMOTE_WRITE " and PromQL at /api/v1/query"},
    {"/render", "there is no Graphite here: ask PromQL at /api/v1/query_range"},
    {"/metrics/find", "there is no Graphite here: ask /api/v1/label/__name__/values"},
    {"/tags/", "there is no Graphite here: ask /api/v1/labels"},
    {"/v1/traces", "there are no traces here, metrics only"},
    {"/v1/logs", "there are no logs here, metrics only"},
    {"/v1/metrics", "OTLP is at /api/v1/otlp/v1/metrics: give exporters the endpoint /api/v1/otlp"},
    {"/opentelemetry/", "OTLP is at /api/v1/otlp/v1/metrics"},
    {"/api/v1/otlp/", "OTLP takes metrics only, at /api/v1/otlp/v1/metrics"},
    {"/otlp/", "OTLP is at /api/v1/otlp/v1/metrics"},
};

static const char *foreign_text(const char *path)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(foreign_paths); i++) {
        const char *p = foreign_paths[i].path;
        size_t len = strlen(p);
        if (p[len - 1] == '/' ? strncmp(p, path, len) == 0 : strcmp(p, path) == 0) {
            return foreign_paths[i].text;
        }
    }
    return NULL;
}

/* Is the path one of the API, where OPTIONS answers a browser's preflight? */
static bool is_api_path(const char *path)
{
    return strncmp(path, API_PREFIX, sizeof API_PREFIX - 1) == 0;
}

/* What all rows with this one's path take. */
static unsigned methods_of_path(const struct route *route)
{
    unsigned methods = 0;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(route_table); i++) {
        if (strcmp(route_table[i].path, route->path) == 0) {
            methods |= methods_of(&route_table[i]);
        }
    }
    return methods;
}

static void put_allow(const struct route *r, char *out, size_t cap)
{
    static const struct {
        enum http_method method;
        const char *name;
    } names[] = {{HTTP_GET, "GET"}, {HTTP_HEAD, "HEAD"},     {HTTP_POST, "POST"},
                 {HTTP_PUT, "PUT"}, {HTTP_DELETE, "DELETE"}, {HTTP_OPTIONS, "OPTIONS"}};
    unsigned methods = methods_of_path(r) | BIT(HTTP_OPTIONS);
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        if (methods & BIT(names[i].method)) {
            used +=
                (size_t)snprintf(out + used, cap - used, "%s%s", used ? ", " : "", names[i].name);
        }
    }
    TSDB_ASSERT(used < cap);
}

bool server_ready(struct server *s, bool *out_stopping)
{
    enum tsdb_state state = tsdb_state(s->db, NULL);
    *out_stopping = atomic_load(&s->stopping) || state == TSDB_STATE_CLOSING;
    return !*out_stopping && (state == TSDB_STATE_READY || state == TSDB_STATE_RETRYING ||
                              state == TSDB_STATE_OUT_OF_SPACE || state == TSDB_STATE_READ_ONLY);
}

static bool is_form(struct call *c, const char *content_type)
{
    static const char form[] = "application/x-www-form-urlencoded";
    size_t len = sizeof form - 1;
    if (multipart_boundary(content_type, c->boundary)) {
        return true;
    }
    c->boundary[0] = '\0'; /* one that is too long was begun */
    return content_type && strncasecmp(content_type, form, len) == 0 &&
           strchr("; \t", content_type[len]);
}

/* What the handler will want to know of the headers. */
static void keep_headers(struct call *c)
{
    c->packing = envelope_packing_of(http_header(c->x, "Accept-Encoding"));
    const char *accept = http_header(c->x, "Accept");
    c->utf8_names = accept && strstr(accept, "escaping=allow-utf-8");
    const char *origin = http_header(c->x, "Origin");
    if (origin && strlen(origin) < sizeof c->origin) {
        memcpy(c->origin, origin, strlen(origin) + 1);
    }
    c->form_wanted =
        http_method(c->x) == HTTP_POST && ((c->route && (c->route->flags & ROUTE_BODY)) ||
                                           is_form(c, http_header(c->x, "Content-Type")));
}

static bool is_foreign(const struct server *s, const struct http_exchange *x)
{
    return !door_origin_is_ours(s->door, http_header(x, "Origin")) &&
           origin_is_foreign(http_header(x, "Origin"), http_header(x, "Sec-Fetch-Site"),
                             http_header(x, "Host"));
}

/* Without an envelope, and before anything was begun for it. */
static void refuse_plainly(const struct call *c, unsigned status, const char *text,
                           const char *challenge, const char *retry_after)
{
    struct http_reply r = {.status = status, .content_type = "text/plain; charset=utf-8"};
    struct tsdb_buf body;
    tsdb_buf_init(&body, TSDB_MEM_SERVER, 0);
    tsdb_buf_put_str(&body, text);
    r.body = &body;
    if (c->route && (c->route->flags & ROUTE_WRITE)) {
        api_write_counts_zero(&r);
    }
    if (challenge) {
        r.headers[r.header_count].name = "WWW-Authenticate";
        r.headers[r.header_count++].value = challenge;
    }
    if (retry_after) {
        r.headers[r.header_count].name = "Retry-After";
        r.headers[r.header_count++].value = retry_after;
    }
    http_reply(c->x, &r);
}

/* What a client must be allowed to do; 0: nothing. */
static unsigned scope_of(const struct route *route, enum http_method method)
{
    if (route && (route->flags & ROUTE_OPEN) && (method == HTTP_GET || method == HTTP_HEAD)) {
        return 0;
    }
    if (route && (route->flags & ROUTE_WRITE)) {
        return TSDB_SCOPE_WRITE;
    }
    return route && (route->flags & ROUTE_CHANGES) ? TSDB_SCOPE_ADMIN : TSDB_SCOPE_READ;
}

/* False: it was turned away at the door. */
static bool admitted(struct call *c)
{
    struct door_verdict v;
    char retry_after[16];
    door_admit(c->server->door, c->x, scope_of(c->route, http_method(c->x)), &v);
    memcpy(c->client, v.client, sizeof c->client);
    if (v.status == 0) {
        return true;
    }
    snprintf(retry_after, sizeof retry_after, "%u", v.retry_after_s);
    refuse_plainly(c, v.status, v.text, v.challenge, v.retry_after_s ? retry_after : NULL);
    return false;
}

/* The path below --web.route-prefix, or NULL. */
static const char *path_inside(const struct server *s, const char *path)
{
    size_t len = strlen(s->prefix);
    if (strncmp(path, s->prefix, len) != 0 || (path[len] != '/' && path[len] != '\0')) {
        return NULL;
    }
    return path[len] ? path + len : "/";
}

static void refuse_body(struct call *c)
{
    bool form = !(c->route->flags & ROUTE_BODY);
    call_error(c, ENVELOPE_BAD_DATA, "%srequest body is larger than %u bytes",
               form ? "error parsing form values: " : "", PARAMS_FORM_BYTES_MAX);
}

/* Answers that need no handler; true when one was made. */
static bool refuse(struct call *c, const struct route *route, const char *path)
{
    struct server *s = c->server;
    enum http_method method = http_method(c->x);
    if (method == HTTP_OPTIONS && (route || is_api_path(path))) {
        static const struct route preflight = {0, "", NULL, ROUTE_API};
        static const struct route closed = {0, "", NULL, 0};
        bool open = route ? (route->flags & (ROUTE_API | ROUTE_CHANGES)) == ROUTE_API : true;
        if (route) {
            put_allow(route, c->allow, sizeof c->allow);
        }
        c->route = open ? &preflight : &closed;
        c->status = 204;
        return true;
    }
    if (!route) {
        const char *text = foreign_text(path);
        call_text(c, 404, "404 page not found%s%s\n", text ? ": " : "", text ? text : "");
        return true;
    }
    if (!(methods_of(route) & BIT(method))) {
        call_text(c, 405, "Method Not Allowed\n");
        put_allow(route, c->allow, sizeof c->allow);
        return true;
    }
    if ((route->flags & ROUTE_CHANGES) && is_foreign(s, c->x)) {
        call_text(c, 403, FOREIGN_TEXT);
        return true;
    }
    if ((route->flags & ROUTE_LIFECYCLE) && !s->options.lifecycle) {
        call_text(c, 403, "Lifecycle API is not enabled.\n");
        return true;
    }
    if ((route->flags & ROUTE_ADMIN) && !s->options.admin_api) {
        call_error(c, ENVELOPE_UNAVAILABLE, "admin APIs disabled");
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
        refuse_body(c);
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
    struct tsdb_slice segment;
    const char *path = path_inside(arg, http_path(x));
    if (path && is_write(x, find_route(path, http_method(x), &segment))) {
        api_write_counts_zero(reply);
        reply->status = reply->status == 413 ? api_write_status_of(TSDB_LIMIT) : reply->status;
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
    const char *path = path_inside(c->server, http_path(x));
    c->route = path ? find_route(path, http_method(x), &c->segment) : NULL;
    if (!admitted(c)) {
        return;
    }
    if (is_write(x, c->route)) {
        if (is_foreign(c->server, x)) {
            refuse_plainly(c, 403, FOREIGN_TEXT, NULL, NULL);
        } else {
            api_write_headers(c);
        }
        return;
    }
    c->begin_ns = tsdb_clock_mono_ns(&c->server->clock);
    call_arm(c);
    keep_headers(c);
    if (!path && strcmp(http_path(x), "/") == 0) {
        page_to_prefix(c);
        call_send(c);
    } else if (refuse(c, c->route, path ? path : "")) {
        call_send(c);
    }
}

static void on_body(void *arg, struct http_exchange *x, const void *data, size_t len)
{
    (void)arg;
    struct call *c = http_user(x);
    if (http_content_length(x) < 0) { /* else the door has counted what was announced */
        limits_charge_bytes(door_limits(c->server->door), c->client, len);
    }
    if (c->route->flags & ROUTE_WRITE) {
        api_write_body(c, data, len);
        return;
    }
    if (c->form_wanted) {
        tsdb_buf_put(&c->form, data, len);
        if (c->form.failed) {
            refuse_body(c);
            call_send(c);
        }
    }
}

/* False: the answer says why. */
static bool parse_call(struct call *c)
{
    struct tsdb_error err = {0};
    bool form = !(c->route->flags & ROUTE_BODY);
    struct tsdb_slice body = {c->form.data, form ? c->form.len : 0};
    const char *query = http_query(c->x);
    struct tsdb_slice url = {(const uint8_t *)query, strlen(query)};
    enum tsdb_status status = params_parse(&c->params, &c->arena, body, c->boundary, url, &err);
    if (status != TSDB_OK) {
        call_malformed(c, status, "error parsing form values: ", &err);
    }
    c->parsed = status == TSDB_OK;
    return c->parsed;
}

static void run_call(struct call *c)
{
    if (c->parsed || parse_call(c)) {
        c->route->run(c);
    }
}

/* How often a query that met the limit of all begins anew, each time with a larger share, for which it waits. */
#define RUNS_MAX 4

static bool runs_again(const struct call *c, int runs)
{
    return c->out_of_room && c->shaped && !(c->route->flags & ROUTE_CHANGES) && runs < RUNS_MAX;
}

/* OK: there is an answer, of whatever kind. */
static enum tsdb_status run_in_budget(struct call *c)
{
    for (int runs = 1;; runs++) {
        enum tsdb_status status = tsdb_request_check(&c->request);
        if (status == TSDB_OK) {
            status = estimate_begin(c);
        }
        if (status != TSDB_OK) {
            return status;
        }
        int64_t begin_ns = tsdb_clock_thread_cpu_ns();
        run_call(c);
        estimate_end(c, tsdb_clock_thread_cpu_ns() - begin_ns);
        if (!runs_again(c, runs)) {
            return TSDB_OK;
        }
        call_rearm(c);
        c->work.kind = TSDB_MAX(c->work.kind, WORK_UNKNOWN); /* not as cheap as it was */
    }
}

static void worker_run(struct work *w)
{
    struct call *c = (struct call *)(void *)((char *)w - offsetof(struct call, work));
    enum tsdb_status status = run_in_budget(c);
    if (status == TSDB_BUSY) {
        call_busy(c);
    } else if (status != TSDB_OK) {
        call_error(c, envelope_error_of(status), "%s",
                   status == TSDB_TIMEOUT ? TIMEOUT_IN_QUEUE : CANCELLED_IN_QUEUE);
    }
    call_send(c);
}

/* Is it known what a call that is to be queued costs? Long forms are parsed by the worker: here
 * everybody waits. False: it was answered, they are malformed. */
static bool classify(struct call *c)
{
    c->work.kind = WORK_UNKNOWN;
    if ((c->route->flags & ROUTE_BODY) || c->form.len > CLASSIFY_BYTES_MAX) {
        return true;
    }
    if (!parse_call(c)) {
        call_send(c);
        return false;
    }
    c->work.kind = estimate_kind(c);
    return true;
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
        call_send(c);
        return;
    }
    c->query_counted = limits_query_begin(door_limits(c->server->door), c->client);
    if (!c->query_counted) {
        call_error(
            c, ENVELOPE_UNAVAILABLE,
            "this client has as many queries as it may have (--web.client.max-concurrent-queries)");
        c->status = 429;
        c->retry_after = "1";
        call_send(c);
        return;
    }
    if (!classify(c)) {
        return;
    }
    if ((c->route->flags & ROUTE_KEPT) && api_kept_find(c)) {
        call_send(c);
        return;
    }
    c->work.run = worker_run;
    http_watch(x, &c->request.cancelled);
    struct server *s = c->server;
    bool reads = (c->route->flags & ROUTE_READER) && s->readers;
    if (!workers_submit(reads ? s->readers : s->workers, &c->work)) {
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

/* A piece was sent: the next one is made in a sender. */
static void sender_run(struct work *w)
{
    call_go_on((struct call *)(void *)((char *)w - offsetof(struct call, work)));
}

static void on_more(void *arg, struct http_exchange *x)
{
    struct server *s = arg;
    struct call *c = http_user(x);
    c->work.run = sender_run;
    bool taken = workers_submit(s->senders, &c->work);
    TSDB_ASSERT(taken); /* there is room for one of every connection */
}

static void on_answer(void *arg, struct http_exchange *x)
{
    struct server *s = arg;
    door_answer_headers(s->door, x, http_add_header);
}

static void on_end(void *arg, struct http_exchange *x)
{
    (void)arg;
    struct call *c = http_user(x);
    if (!c) {
        return;
    }
    if (c->query_counted) {
        limits_query_end(door_limits(c->server->door), c->client);
    }
    if (c->ingest) {
        api_write_cut(c);
    }
    call_disarm(c);
    tsdb_mem_free(TSDB_MEM_SERVER, c, sizeof *c);
}

const struct http_handlers server_handlers_template = {.on_headers = on_headers,
                                                       .on_body = on_body,
                                                       .on_complete = on_complete,
                                                       .on_wake = on_wake,
                                                       .on_refuse = on_refuse,
                                                       .on_more = on_more,
                                                       .on_answer = on_answer,
                                                       .on_end = on_end};
