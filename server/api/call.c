/* Answers, and the life of a call. */
#include "server/api/call.h"

#include "base/assert.h"
#include "base/latency.h"
#include "base/log.h"
#include "server/parts/kept_lists.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CALL_ARENA_BYTES (16u << 10)
/* An answer in pieces is sent within so many times --query.timeout. */
#define SEND_TIMEOUTS INT64_C(10)
#define TEXT_PLAIN    "text/plain; charset=utf-8"

static void answer_begin(struct call *c, unsigned status, const char *content_type)
{
    tsdb_buf_clear(&c->out);
    c->status = status;
    c->content_type = content_type;
}

void call_text(struct call *c, unsigned status, const char *format, ...)
{
    struct tsdb_buf text; /* first, because an argument may lie in c->out */
    va_list args;
    tsdb_buf_init(&text, TSDB_MEM_QUERY, 0);
    va_start(args, format);
    tsdb_buf_vprintf(&text, format, args);
    va_end(args);
    answer_begin(c, status, TEXT_PLAIN);
    if (text.failed) {
        c->out.failed = true;
    } else {
        tsdb_buf_put(&c->out, text.data, text.len);
    }
    tsdb_buf_deinit(&text);
}

void call_ok(struct call *c, const char *content_type)
{
    answer_begin(c, 200, content_type);
}

void call_error(struct call *c, enum envelope_error type, const char *format, ...)
{
    struct tsdb_buf text;
    va_list args;
    tsdb_buf_init(&text, TSDB_MEM_QUERY, 0);
    va_start(args, format);
    tsdb_buf_vprintf(&text, format, args);
    va_end(args);
    tsdb_buf_put_u8(&text, 0);
    const char *whole = text.failed ? "out of memory" : (const char *)text.data;
    bool enveloped = !c->route || (c->route->flags & ROUTE_API);
    answer_begin(c, envelope_error_status(type), enveloped ? "application/json" : TEXT_PLAIN);
    if (enveloped) {
        envelope_error(&c->out, type, whole);
    } else {
        tsdb_buf_put_str(&c->out, whole);
        tsdb_buf_put_u8(&c->out, '\n');
    }
    tsdb_buf_deinit(&text);
}

void call_busy(struct call *c)
{
    call_error(c, ENVELOPE_UNAVAILABLE, "%s", CALL_BUSY_TEXT);
    c->status = 503;
    c->retry_after = "1";
}

bool call_out_of_room(struct call *c)
{
    c->out_of_room = atomic_load(&c->request.account.refusals_above) > 0;
    return c->out_of_room;
}

/* Which limit of memory was it? False: none. */
static bool fail_for_memory(struct call *c)
{
    const struct tsdb_account *a = &c->request.account;
    if (call_out_of_room(c)) {
        call_busy(c);
    } else if (atomic_load(&a->refusals) > 0) {
        call_error(c, ENVELOPE_EXECUTION, "query needs more memory than it may use (%s)",
                   a->limit_bytes < c->server->options.query_bytes_max
                       ? "seven eighths of --query.total-memory"
                       : "--query.max-memory");
    } else {
        return false;
    }
    return true;
}

void call_fail(struct call *c, enum tsdb_status status, const struct tsdb_error *err)
{
    if (status == TSDB_LIMIT && fail_for_memory(c)) {
        return;
    }
    const char *fallback = status == TSDB_CANCELLED ? "query was canceled in expression evaluation"
                           : status == TSDB_TIMEOUT ? "query timed out in expression evaluation"
                           : status == TSDB_NOMEM   ? "out of memory"
                                                    : tsdb_status_name(status);
    call_error(c, envelope_error_of(status), "%s",
               err && err->msg[0] ? tsdb_error_text(err) : fallback);
    if (status == TSDB_BUSY) {
        c->status = 503;
        c->retry_after = "1";
    }
}

void call_malformed(struct call *c, enum tsdb_status status, const char *prefix,
                    const struct tsdb_error *err)
{
    if (status == TSDB_LIMIT && fail_for_memory(c)) { /* else it is a limit of the parser */
        return;
    }
    if (status == TSDB_INVALID || status == TSDB_LIMIT) {
        call_error(c, ENVELOPE_BAD_DATA, "%s%s", prefix, tsdb_error_text(err));
    } else {
        call_fail(c, status, err);
    }
}

void call_success(struct call *c)
{
    answer_begin(c, 200, "application/json");
    envelope_success_begin(&c->out);
}

void call_arm(struct call *c)
{
    struct server *s = c->server;
    tsdb_request_init(&c->request, &s->clock, TSDB_SCOPE_READ);
    uint64_t most = s->options.query_bytes_max;
    if (s->budget.costly.limit_bytes > 0) {
        most = TSDB_MIN(most, s->budget.costly.limit_bytes);
    }
    tsdb_account_init(&c->request.account, most, &s->budget.total);
    c->request.regex_size_max = s->options.query_regex_size_max;
    c->request.deadline_ns = c->begin_ns + s->options.query_timeout_ms * 1000000;
    tsdb_arena_init(&c->arena, TSDB_MEM_QUERY, CALL_ARENA_BYTES, &c->request.account);
    tsdb_buf_init(&c->form, TSDB_MEM_SERVER, PARAMS_FORM_BYTES_MAX);
    tsdb_buf_init(&c->out, TSDB_MEM_QUERY, s->options.query_bytes_max);
    tsdb_buf_init(&c->packed, TSDB_MEM_QUERY, 0);
    c->status = 200;
    c->armed = true;
}

void call_rearm(struct call *c)
{
    TSDB_ASSERT(!c->more && c->charged_bytes == 0);
    tsdb_arena_deinit(&c->arena);
    tsdb_buf_clear(&c->out);
    c->params = (struct params){0};
    c->parsed = false;
    c->kept_key = (struct tsdb_slice){NULL, 0};
    c->kept_stamp = NULL;
    c->out_of_room = false;
    c->in_part = false;
    c->retry_after = NULL;
    c->request.regex_size = 0;
    atomic_store(&c->request.account.refusals, 0);
    atomic_store(&c->request.account.refusals_above, 0);
    budget_freed(&c->server->budget);
}

/* Nothing more is made of the answer: what that took goes back, in the worker where it can. */
static void end_making(struct call *c)
{
    if (c->close) {
        c->close(c);
        c->close = NULL;
    }
    envelope_packer_end(&c->packer);
    tsdb_arena_deinit(&c->arena);
    tsdb_buf_deinit(&c->form);
}

void call_disarm(struct call *c)
{
    if (c->armed) {
        end_making(c);
        tsdb_buf_deinit(&c->out);
        tsdb_buf_deinit(&c->packed);
        tsdb_account_release(&c->request.account, c->charged_bytes);
        budget_freed(&c->server->budget);
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
    if (c->origin[0] == '\0' || c->server->options.cors_origin[0] == '\0') {
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

static void add_page_headers(struct call *c, struct http_reply *r)
{
    if (c->page_policy) {
        add_header(r, "Content-Security-Policy", c->page_policy);
        add_header(r, "Referrer-Policy", "no-referrer");
    }
    if (c->cache_control) {
        add_header(r, "Cache-Control", c->cache_control);
    }
    if (c->location) {
        add_header(r, "Location", c->location);
    }
    if (c->etag) {
        add_header(r, "ETag", c->etag);
        add_header(r, "Vary", "Accept-Encoding");
    }
}

/* The answer did not fit into memory: say so instead. */
static void answer_too_large(struct call *c)
{
    c->content_encoding = NULL;
    tsdb_buf_deinit(&c->out);
    tsdb_buf_init(&c->out, TSDB_MEM_QUERY, 0);
    if (fail_for_memory(c)) {
        return;
    }
    if (c->route && (c->route->flags & ROUTE_API)) {
        call_error(c, ENVELOPE_EXECUTION,
                   "the answer needs more memory than a query may use (--query.max-memory)");
    } else {
        call_text(c, 500, "out of memory\n");
    }
}

void call_stream(struct call *c, call_more_fn *more, void (*close)(struct call *c), void *rest)
{
    TSDB_ASSERT(!c->more && (c->route->flags & ROUTE_WORKER));
    c->more = more;
    c->close = close;
    c->rest = rest;
}

/* What the buffers of the answer hold, while it is on its way too. */
static enum tsdb_status charge_buffers(struct call *c)
{
    uint64_t held = c->out.cap + c->packed.cap;
    enum tsdb_status status = TSDB_OK;
    if (c->out.failed || c->packed.failed) {
        return TSDB_LIMIT;
    }
    if (held > c->charged_bytes) {
        status = tsdb_account_charge(&c->request.account, held - c->charged_bytes);
    } else {
        tsdb_account_release(&c->request.account, c->charged_bytes - held);
    }
    c->charged_bytes = status == TSDB_OK ? held : c->charged_bytes;
    return status;
}

/* The next piece into c->out. */
static enum tsdb_status make_piece(struct call *c, bool *out_done, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_request_check(&c->request);
    if (status == TSDB_OK) {
        status = c->more(c, out_done, err);
    }
    return status == TSDB_OK ? charge_buffers(c) : status;
}

/* All of a piece that is ready to be sent, in the returned buffer; NULL: no memory. */
static struct tsdb_buf *pack_piece(struct call *c, bool last)
{
    if (!c->packer.z) {
        return &c->out;
    }
    tsdb_buf_clear(&c->packed);
    bool ok = envelope_packer_put(&c->packer, &c->out, last, &c->packed);
    return ok && charge_buffers(c) == TSDB_OK ? &c->packed : NULL;
}

/* The first piece of an answer that has more. False: it is whole, or failed and c->out says so. */
static bool begin_stream(struct call *c)
{
    bool done = false;
    struct tsdb_error err = {0};
    enum tsdb_status status = make_piece(c, &done, &err);
    if (status == TSDB_OK && done) {
        return false;
    }
    if (status == TSDB_OK && c->packing != ENVELOPE_PLAIN &&
        !envelope_packer_begin(&c->packer, c->packing, &c->arena)) {
        status = tsdb_arena_status(&c->arena);
    }
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
        return false;
    }
    /* From now on the reader has its own time, too: --web.write-timeout. What the answer is made from, an old view of
     * storage may be, is not held for ever all the same. */
    c->request.deadline_ns =
        c->begin_ns + SEND_TIMEOUTS * c->server->options.query_timeout_ms * 1000000;
    return true;
}

static void add_answer_headers(struct call *c, struct http_reply *r)
{
    if (c->route && (c->route->flags & ROUTE_API)) {
        add_cors(c, r);
    }
    add_page_headers(c, r);
    if (c->retry_after) {
        add_header(r, "Retry-After", c->retry_after);
    }
    if (c->allow[0]) {
        add_header(r, "Allow", c->allow);
    }
    if (c->stopping_header) {
        add_header(r, "X-Prometheus-Stopping",
                   atomic_load(&c->server->stopping) ? "true" : "false");
    }
}

/* The body of an answer that is whole: c->out, or packed. */
static struct tsdb_buf *whole_body(struct call *c, struct http_reply *r)
{
    if (charge_buffers(c) != TSDB_OK) {
        answer_too_large(c);
    }
    if (c->content_encoding) {
        add_header(r, "Content-Encoding", c->content_encoding);
        return &c->out;
    }
    if (c->packing != ENVELOPE_PLAIN && c->out.len >= ENVELOPE_PACK_BYTES_MIN &&
        envelope_pack(&c->out, c->packing, &c->arena, &c->packed)) {
        tsdb_buf_deinit(&c->out);
        if (charge_buffers(c) == TSDB_OK) {
            add_header(r, "Content-Encoding", envelope_packing_name(c->packing));
            return &c->packed;
        }
        answer_too_large(c);
    }
    tsdb_buf_deinit(&c->packed);
    return &c->out;
}

/* An answer that is whole, as it is sent. */
static void keep(struct call *c, const struct tsdb_buf *body)
{
    const struct kept_list list = {
        .key = c->kept_key,
        .body = {body->data, body->len},
        .stamp = c->kept_stamp,
        .range = c->kept_range,
        .encoding = body == &c->packed ? envelope_packing_name(c->packing) : NULL};
    kept_lists_put(c->server->kept_lists, &list);
}

void call_send(struct call *c)
{
    bool more = c->more && begin_stream(c);
    struct http_reply r = {.status = c->status, .content_type = c->content_type, .more = more};
    r.body = more ? pack_piece(c, false) : whole_body(c, &r);
    if (!r.body) { /* nothing was sent yet */
        more = r.more = false;
        call_fail(c, TSDB_LIMIT, NULL);
        r.status = c->status;
        r.body = &c->out;
    } else if (c->packer.z) {
        add_header(&r, "Content-Encoding", envelope_packing_name(c->packing));
    }
    if (c->kept_stamp && !more && c->status == 200) {
        keep(c, r.body);
    }
    add_answer_headers(c, &r);
    if (c->route && (c->route->flags & ROUTE_WORKER)) {
        tsdb_perf_end(TSDB_LAYER_HTTP_QUERY, c->perf_begin);
    }
    if (!more) { /* big arenas go back here, in the worker, not in the daemon's thread */
        end_making(c);
    }
    http_reply(c->x, &r);
}

/* The client sees a cut connection only. */
static void log_broken(const struct call *c, enum tsdb_status status, const struct tsdb_error *err)
{
    if (status != TSDB_CANCELLED) {
        tsdb_log(TSDB_LOG_WARN, "http", "answer cut off in the middle",
                 TSDB_S("path", c->route->path), TSDB_S("status", tsdb_status_name(status)),
                 TSDB_S("err", err->msg));
    }
}

void call_go_on(struct call *c)
{
    bool done = false;
    struct tsdb_error err = {0};
    http_take_sent(c->x, c->packer.z ? &c->packed : &c->out);
    tsdb_buf_clear(&c->out);
    enum tsdb_status status = make_piece(c, &done, &err);
    struct tsdb_buf *piece = status == TSDB_OK ? pack_piece(c, done) : NULL;
    enum http_rest rest = !piece ? HTTP_REST_BROKEN : done ? HTTP_REST_END : HTTP_REST_MORE;
    if (rest != HTTP_REST_MORE) {
        end_making(c);
    }
    if (!piece) {
        log_broken(c, status == TSDB_OK ? TSDB_LIMIT : status, &err);
        tsdb_buf_clear(&c->out);
        piece = &c->out;
    }
    http_more(c->x, piece, rest);
}
