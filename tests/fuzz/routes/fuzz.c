/* Any requests, without sockets: handlers, routes and everything below them over a database on a
 * simulated disk. An input is up to 8 requests, as text:
 *
 *   METHOD /path?query
 *   Name: value
 *
 *   body, until a line that is "%%"
 *
 * This file stands in for server/http (what is tested there is how bytes become requests) and for
 * the query workers (a query runs where it is submitted).
 *
 * Invariants checked: every request is answered exactly once and ends; the status is one that the
 * server means; names and values of answered headers are printable; JSON is JSON, compressed or
 * not; all memory of queries and writes is given back; a page from elsewhere changes nothing. */
#include "base/assert.h"
#include "server/api/origin.h"
#include "server/api/routes.h"
#include "server/parts/server.h"
#include "server/parts/workers.h"
#include "tests/support/tsdb/harness.h"

#include <stdlib.h>
#include <strings.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define REQUESTS_MAX 8
#define HEADERS_MAX  24
#define TEXT_MAX     4096
#define BODY_MAX     (64u << 10)
#define ROUNDS_MAX   1000
#define JSON_DEPTH   5000
#define INFLATED_MAX (16u << 20)

static void check_text(const char *s);

/* ---- what stands in for server/http ---- */

struct http_exchange {
    enum http_method method;
    char line[TEXT_MAX]; /* method, path and query, cut into strings */
    const char *method_text, *path, *query;
    char text[TEXT_MAX];
    struct {
        const char *name, *value;
    } headers[HEADERS_MAX];
    uint32_t header_count;
    const uint8_t *body;
    size_t body_len;
    void *user;
    bool woken;
    bool streams, held; /* a body of any length, of which no more is read just now */
    uint32_t replies;
    unsigned status;
    /* An answer in pieces: the last one, all of them so far, and whether the next is to be asked for. */
    struct tsdb_buf piece, whole;
    enum http_rest rest;
    bool asks, asked;
    bool json, packed;
};

static const struct http_handlers *const handlers = &server_handlers_template;
static struct server server;
static struct hx h;

enum http_method http_method(const struct http_exchange *x)
{
    return x->method;
}

const char *http_method_text(const struct http_exchange *x)
{
    return x->method_text;
}

const char *http_path(const struct http_exchange *x)
{
    return x->path;
}

const char *http_query(const struct http_exchange *x)
{
    return x->query;
}

const char *http_header(const struct http_exchange *x, const char *name)
{
    for (uint32_t i = 0; i < x->header_count; i++) {
        if (strcasecmp(x->headers[i].name, name) == 0) {
            return x->headers[i].value;
        }
    }
    return NULL;
}

int64_t http_content_length(const struct http_exchange *x)
{
    return http_header(x, "Transfer-Encoding") ? -1 : (int64_t)x->body_len;
}

void http_user_set(struct http_exchange *x, void *user)
{
    x->user = user;
}

void *http_user(struct http_exchange *x)
{
    return x->user;
}

void http_peer(const struct http_exchange *x, char *out, size_t cap)
{
    (void)x;
    snprintf(out, cap, "127.0.0.1");
}

void http_wake(struct http_exchange *x)
{
    TSDB_ASSERT(!x->woken && x->replies == 0);
    x->woken = true;
}

void http_body_stream(struct http_exchange *x)
{
    x->streams = true;
}

bool http_hold(struct http_exchange *x)
{
    TSDB_ASSERT(x->streams && !x->held && x->replies == 0);
    x->held = true;
    return true;
}

void http_watch(struct http_exchange *x, _Atomic(uint32_t) *flag)
{
    (void)x;
    (void)flag;
}

enum tsdb_status http_start(const struct http_options *o, const struct http_handlers *hs,
                            struct http_server **out, struct tsdb_error *err)
{
    (void)o;
    (void)hs;
    (void)out;
    return tsdb_error_set(err, TSDB_UNSUPPORTED, "no sockets here");
}

void http_add_header(struct http_exchange *x, const char *name, const char *value)
{
    (void)x;
    check_text(name);
    check_text(value);
}

uint16_t http_port(const struct http_server *s)
{
    (void)s;
    return 9494;
}

bool http_stop(struct http_server *s, int64_t timeout_ms)
{
    (void)s;
    (void)timeout_ms;
    return true;
}

void http_stats_read(const struct http_server *s, struct http_stats *out)
{
    (void)s;
    *out = (struct http_stats){0};
}

/* ---- what stands in for the workers ---- */

bool workers_submit(struct workers *w, struct work *item)
{
    (void)w;
    item->run(item);
    return true;
}

void workers_stats_read(struct workers *w, struct workers_stats *out)
{
    (void)w;
    *out = (struct workers_stats){0};
}

enum tsdb_status workers_create(const struct workers_options *options, struct workers **out,
                                struct tsdb_error *err)
{
    (void)options;
    (void)out;
    return tsdb_error_set(err, TSDB_UNSUPPORTED, "no threads here");
}

void workers_destroy(struct workers *w)
{
    (void)w;
}

/* ---- JSON, as far as its shape goes ---- */

struct json {
    const uint8_t *p, *end;
    uint32_t depth;
};

static void json_value(struct json *j);

static uint8_t json_take(struct json *j)
{
    TSDB_ASSERT(j->p < j->end);
    return *j->p++;
}

static void json_blank(struct json *j)
{
    while (j->p < j->end && strchr(" \t\r\n", *j->p)) {
        j->p++;
    }
}

static void json_string(struct json *j)
{
    TSDB_ASSERT(json_take(j) == '"');
    for (uint8_t c = json_take(j); c != '"'; c = json_take(j)) {
        TSDB_ASSERT(c >= 0x20);
        if (c == '\\') {
            c = json_take(j);
            TSDB_ASSERT(c != 0 && strchr("\"\\/bfnrtu", c));
        }
    }
}

static void json_items(struct json *j, bool object)
{
    uint8_t close = object ? '}' : ']';
    json_blank(j);
    if (j->p < j->end && *j->p == close) {
        j->p++;
        return;
    }
    for (uint8_t c = ','; c != close; c = json_take(j)) {
        TSDB_ASSERT(c == ',');
        if (object) {
            json_blank(j);
            json_string(j);
            json_blank(j);
            TSDB_ASSERT(json_take(j) == ':');
        }
        json_value(j);
        json_blank(j);
    }
}

static void json_value(struct json *j)
{
    TSDB_ASSERT(++j->depth < JSON_DEPTH);
    json_blank(j);
    TSDB_ASSERT(j->p < j->end);
    uint8_t c = *j->p;
    if (c == '{' || c == '[') {
        j->p++;
        json_items(j, c == '{');
    } else if (c == '"') {
        json_string(j);
    } else {
        const uint8_t *begin = j->p;
        while (j->p < j->end && *j->p != 0 && strchr("+-.0123456789eEtrufalsn", *j->p)) {
            j->p++;
        }
        TSDB_ASSERT(j->p > begin);
    }
    j->depth--;
}

static void check_json(const uint8_t *data, size_t len)
{
    struct json j = {data, data + len, 0};
    json_value(&j);
    json_blank(&j);
    TSDB_ASSERT(j.p == j.end);
}

static void check_json_packed(const uint8_t *data, size_t len)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len};
    size_t cap = INFLATED_MAX;
    uint8_t *out = malloc(cap);
    TSDB_ASSERT(out && inflateInit2(&z, 15 + 32) == Z_OK); /* gzip or zlib, by its head */
    z.next_out = out;
    z.avail_out = (uInt)cap;
    TSDB_ASSERT(inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_in == 0);
    check_json(out, cap - z.avail_out);
    inflateEnd(&z);
    free(out);
}

/* ---- answers ---- */

static void check_text(const char *s)
{
    for (; *s; s++) {
        TSDB_ASSERT((uint8_t)*s >= 0x20 && *s != 0x7f);
    }
}

static void check_whole(const struct http_exchange *x)
{
    if (x->whole.len > 0 && x->json) {
        (x->packed ? check_json_packed : check_json)(x->whole.data, x->whole.len);
    }
}

static void check_reply(struct http_exchange *x, const struct http_reply *r)
{
    static const unsigned known[] = {200, 204, 302, 304, 400, 401, 403, 404, 405,
                                     406, 413, 415, 422, 429, 499, 500, 503, 504};
    bool found = false;
    bool packed = false;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(known); i++) {
        found = found || known[i] == r->status;
    }
    TSDB_ASSERT(found);
    TSDB_ASSERT(r->status != 500); /* nothing fails below in this test */
    TSDB_ASSERT(r->header_count <= HTTP_REPLY_HEADERS_MAX);
    size_t bytes = 0;
    for (uint32_t i = 0; i < r->header_count; i++) {
        check_text(r->headers[i].name);
        check_text(r->headers[i].value);
        bytes += strlen(r->headers[i].name) + strlen(r->headers[i].value) + 2;
        packed = packed || strcasecmp(r->headers[i].name, "Content-Encoding") == 0;
    }
    TSDB_ASSERT(bytes <= HTTP_REPLY_HEADER_BYTES);
    size_t len = r->body ? r->body->len : 0;
    TSDB_ASSERT(len == 0 || r->content_type);
    TSDB_ASSERT(r->status != 204 || len == 0);
    TSDB_ASSERT(!r->more || r->body);
    x->json = r->content_type && strncmp(r->content_type, "application/json", 16) == 0;
    x->packed = packed;
}

/* What is moved into an exchange. */
static void take_piece(struct http_exchange *x, struct tsdb_buf *piece, enum http_rest rest)
{
    TSDB_ASSERT(!x->piece.data);
    tsdb_buf_put(&x->whole, piece->data, piece->len);
    x->piece = *piece;
    piece->data = NULL;
    piece->len = piece->cap = 0;
    x->rest = rest;
    x->asks = rest == HTTP_REST_MORE;
    x->asked = false;
    if (rest == HTTP_REST_END) {
        check_whole(x);
    }
}

void http_reply(struct http_exchange *x, const struct http_reply *reply)
{
    TSDB_ASSERT(x->replies == 0);
    x->replies++;
    x->status = reply->status;
    handlers->on_answer(&server, x);
    check_reply(x, reply);
    if (reply->body) {
        take_piece(x, reply->body, reply->more ? HTTP_REST_MORE : HTTP_REST_END);
    }
}

void http_take_sent(struct http_exchange *x, struct tsdb_buf *out)
{
    TSDB_ASSERT(x->asked && !out->data);
    *out = x->piece;
    x->piece.data = NULL;
    x->piece.len = x->piece.cap = 0;
}

void http_more(struct http_exchange *x, struct tsdb_buf *piece, enum http_rest rest)
{
    TSDB_ASSERT(x->asked);
    take_piece(x, piece, rest);
}

/* ---- requests ---- */

static enum http_method method_of(const char *text)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        if (strcmp(names[i], text) == 0) {
            return (enum http_method)i;
        }
    }
    return HTTP_OTHER;
}

/* A line without its end, at most cap - 1 bytes of it, as a string; control bytes go, as
 * server/http refuses them. Returns what is behind it. */
static const uint8_t *take_line(const uint8_t *p, const uint8_t *end, char *out, size_t cap)
{
    const uint8_t *nl = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    const uint8_t *stop = nl ? nl : end;
    size_t n = 0;
    for (; p < stop; p++) {
        if (*p >= 0x20 && *p != 0x7f && n + 1 < cap) {
            out[n++] = (char)*p;
        }
    }
    out[n] = '\0';
    return nl ? nl + 1 : end;
}

static const uint8_t *take_body(const uint8_t *p, const uint8_t *end, struct http_exchange *x)
{
    const uint8_t *stop = end;
    const uint8_t *next = end;
    for (const uint8_t *q = p; q + 4 <= end; q++) {
        if (memcmp(q, "\n%%\n", 4) == 0) {
            stop = q;
            next = q + 4;
            break;
        }
    }
    x->body = p;
    x->body_len = TSDB_MIN((size_t)(stop - p), (size_t)BODY_MAX);
    return next;
}

static const uint8_t *take_request(const uint8_t *p, const uint8_t *end, struct http_exchange *x)
{
    p = take_line(p, end, x->line, sizeof x->line);
    char *path = strchr(x->line, ' ');
    x->method_text = x->line;
    x->path = "/";
    x->query = "";
    if (path) {
        *path++ = '\0';
        x->path = path;
        char *query = strchr(path, '?');
        if (query) {
            *query++ = '\0';
            x->query = query;
        }
    }
    x->method = method_of(x->line);
    size_t used = 0;
    while (p < end && *p != '\n' && x->header_count < HEADERS_MAX && used + 2 < sizeof x->text) {
        char *line = x->text + used;
        p = take_line(p, end, line, sizeof x->text - used);
        used += strlen(line) + 1;
        char *colon = strchr(line, ':');
        if (colon) {
            *colon++ = '\0';
            x->headers[x->header_count].name = line;
            x->headers[x->header_count++].value = colon + strspn(colon, " \t");
        }
    }
    return take_body(p < end && *p == '\n' ? p + 1 : p, end, x);
}

static uint64_t written(void)
{
    struct tsdb_stats s;
    tsdb_stats_read(server.db, &s);
    return s.samples_appended + s.histograms_appended + s.exemplars_appended;
}

/* Until it was answered, or more of a held body may come. */
static void wait_for_it(struct http_exchange *x, bool whole)
{
    for (int round = 0; x->replies == 0 && (whole || x->held); round++) {
        TSDB_ASSERT(round < ROUNDS_MAX); /* a request without an answer */
        hx_settle(&h);
        if (x->woken) {
            x->woken = false;
            x->held = false;
            handlers->on_wake(&server, x);
        }
    }
}

static void play(struct http_exchange *x)
{
    uint64_t before = written();
    handlers->on_headers(&server, x);
    size_t half = x->body_len / 2;
    if (x->replies == 0 && half > 0) {
        handlers->on_body(&server, x, x->body, half);
        wait_for_it(x, false);
    }
    if (x->replies == 0 && x->body_len > half) {
        handlers->on_body(&server, x, x->body + half, x->body_len - half);
        wait_for_it(x, false);
    }
    if (x->replies == 0) {
        handlers->on_complete(&server, x);
        wait_for_it(x, true);
    }
    while (x->asks) {
        x->asks = false;
        x->asked = true;
        handlers->on_more(&server, x);
    }
    TSDB_ASSERT(x->rest != HTTP_REST_BROKEN); /* nothing fails below in this test */
    handlers->on_end(&server, x);
    tsdb_buf_deinit(&x->piece);
    tsdb_buf_deinit(&x->whole);
    TSDB_ASSERT(x->replies == 1);
    TSDB_ASSERT(atomic_load(&server.budget.total.used_bytes) == 0);
    struct ingest_stats stats;
    ingest_stats_read(server.ingest, &stats);
    TSDB_ASSERT(stats.inflight_bytes == 0);
    bool foreign = origin_is_foreign(http_header(x, "Origin"), http_header(x, "Sec-Fetch-Site"),
                                     http_header(x, "Host"));
    TSDB_ASSERT(!foreign || written() == before);
}

/* ---- the server ---- */

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return HX_WALL_MS;
}

static int64_t mono_ns(void *ctx)
{
    (void)ctx;
    return tsdb_clock_mono_ns(&tsdb_clock_real);
}

static void put_data(void)
{
    struct hx_sample samples[60];
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(samples); i++) {
        samples[i] = hx_float(i % 12, HX_WALL_MS - 60000 + 15000 * (int64_t)(i / 12), i * 1.5);
    }
    TSDB_ASSERT(hx_put(&h, samples, TSDB_ARRAY_LEN(samples), TSDB_DURABILITY_BUFFERED, NULL) ==
                TSDB_OK);
}

static void server_begin(void) TSDB_NO_TSA
{
    struct tsdb_error err = {0};
    struct ingest_options io;
    memset(&server, 0, sizeof server);
    server_options_default(&server.options);
    server.options.lifecycle = true;
    server.options.feature_search_api = true;
    server.clock = (struct tsdb_clock){wall_ms, mono_ns, NULL};
    server.start_ms = HX_WALL_MS;
    tsdb_mutex_init(&server.config_lock, TSDB_RANK_SERVER_CONFIG, "config");
    budget_init(&server.budget, 256u << 20);
    server.query_options = (struct query_options){.lookback_ms = 300000,
                                                  .samples_max = 1000000,
                                                  .default_step_ms = 60000,
                                                  .experimental_functions = true,
                                                  .extended_range_selectors = true,
                                                  .fill_modifiers = true};
    active_init(&server.active);
    asked_init(&server.asked, 3); /* soon full */
    costs_init(&server.costs);
    hx_init(&h, 7);
    h.options.exemplars_max = 100;
    TSDB_ASSERT(hx_open(&h, &err) == TSDB_OK);
    server.db = h.db;
    server.fs = h.options.fs;
    ingest_options_default(&io);
    io.clock = server.clock;
    io.body_bytes_max = BODY_MAX;
    io.decoded_bytes_max = 4u << 20;
    io.inflight_bytes_max = 64u << 20;
    io.large_bytes = 8u << 10; /* some go to the decoders */
    TSDB_ASSERT(ingest_create(&io, server.db, &server.ingest, &err) == TSDB_OK);
    struct door_options door = {.web_config_file = "",
                                .token_file = "",
                                .listen_address = "127.0.0.1:0",
                                .external_url = "",
                                .allowed_hosts = "*",
                                .clock = server.clock};
    TSDB_ASSERT(door_create(&door, &server.door, &err) == TSDB_OK);
    put_data();
}

static void server_end(void) TSDB_NO_TSA
{
    ingest_destroy(server.ingest);
    door_destroy(server.door);
    active_deinit(&server.active);
    asked_deinit(&server.asked);
    tsdb_mutex_deinit(&server.config_lock);
    hx_deinit(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static bool begun;
    static uint64_t fresh; /* what put_data wrote */
    static struct http_exchange x;
    if (!begun) {

        tsdb_log_configure(TSDB_LOG_ERROR, TSDB_LOG_LOGFMT);
        server_begin();
        (void)atexit(server_end);
        fresh = written();
        begun = true;
    }
    const uint8_t *end = data + len;
    for (int i = 0; data < end && i < REQUESTS_MAX; i++) {
        memset(&x, 0, sizeof x);
        data = take_request(data, end, &x);
        play(&x);
    }
    if (written() != fresh || atomic_load(&server.stopping)) {
        server_end();
        server_begin();
    }
    return 0;
}
