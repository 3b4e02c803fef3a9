/* Daemons and exchanges. See http.h for the life of an exchange, http_private.h for the hand-over
 * between threads. */
#include "server/http/http_private.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TOO_LARGE_TEXT "request body is larger than the limit\n"

static enum http_method method_from_text(const char *s)
{
    static const struct {
        const char *text;
        enum http_method method;
    } table[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
                 {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(table); i++) {
        if (strcmp(s, table[i].text) == 0) {
            return table[i].method;
        }
    }
    return HTTP_OTHER;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986, 2.3: encoded or not, these are the same. */
static bool is_unreserved(int c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* One way to write a path: no authority ("http://host/path", as proxies ask), unreserved characters
 * not encoded, single slashes. Never longer than before. */
static void normalise_path(char *path)
{
    const char *from = path;
    if (strncasecmp(from, "http://", 7) == 0 || strncasecmp(from, "https://", 8) == 0) {
        from = strstr(from, "://") + 3;
        from += strcspn(from, "/");
        if (*from == '\0') {
            from = "/";
        }
    }
    char *to = path;
    for (; *from; from++) {
        int hi = from[0] == '%' ? hex_digit(from[1]) : -1;
        int lo = hi >= 0 ? hex_digit(from[2]) : -1;
        int c = lo >= 0 ? hi << 4 | lo : -1;
        if (is_unreserved(c)) {
            *to++ = (char)c;
            from += 2;
        } else if (*from != '/' || to == path || to[-1] != '/') {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static void split_target(struct http_exchange *x)
{
    char *mark = strchr(x->uri, '?');
    if (mark) {
        *mark = '\0';
        x->query = mark + 1;
    } else {
        x->query = x->uri + x->uri_bytes - 1;
    }
    normalise_path(x->uri);
}

/* First sight of a request: only the request line is known. Its return value becomes *con_cls. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct http_server *s = cls;
    size_t len = strlen(uri);
    struct http_exchange *x = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *x);
    char *copy = tsdb_mem_alloc(TSDB_MEM_SERVER, len + 2);
    if (!x || !copy) {
        tsdb_mem_free(TSDB_MEM_SERVER, x, sizeof *x);
        tsdb_mem_free(TSDB_MEM_SERVER, copy, len + 2);
        return NULL;
    }
    memcpy(copy, uri, len + 1);
    copy[len + 1] = '\0';
    x->server = s;
    x->connection = connection;
    x->uri = copy;
    x->uri_bytes = len + 2;
    x->target_at = (uintptr_t)uri;
    x->target_len = len;
    x->watch_slot = -1;
    split_target(x);
    atomic_fetch_add(&s->exchanges_open, 1);
    atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
    return x;
}

static enum MHD_Result queue_reply(struct http_exchange *x)
{
    size_t len = x->has_body ? x->body.len : 0;
    /* The exchange outlives the answer (on_end comes after it was sent), so the response may borrow
     * the body. */
    struct MHD_Response *r =
        x->more ? http_stream_response(x)
                : MHD_create_response_from_buffer(len, len ? (void *)x->body.data : NULL,
                                                  MHD_RESPMEM_PERSISTENT);
    if (!r) {
        return MHD_NO;
    }
    if (x->content_type) {
        MHD_add_response_header(r, "Content-Type", x->content_type_text);
    }
    for (uint32_t i = 0; i < x->header_count; i++) {
        MHD_add_response_header(r, x->header_bytes + x->header_name[i],
                                x->header_bytes + x->header_value[i]);
    }
    if (x->close || atomic_load_explicit(&x->server->draining, memory_order_relaxed)) {
        MHD_add_response_header(r, "Connection", "close");
    }
    if (!x->more) { /* else counted as it goes */
        atomic_fetch_add_explicit(&x->server->bytes_out, len, memory_order_relaxed);
    }
    http_connection_sends(x->server, x->connection, len);
    enum MHD_Result ok = MHD_queue_response(x->connection, x->status, r);
    MHD_destroy_response(r);
    x->queued = true;
    return ok;
}

bool http_replied(struct http_exchange *x)
{
    /* Acquire: pairs with the exchange in http_reply, which publishes the answer's fields. */
    return atomic_load_explicit(&x->state, memory_order_acquire) == HTTP_STATE_REPLIED;
}

static void refuse(struct http_exchange *x, unsigned status, const char *text)
{
    const struct http_handlers *h = &x->server->handlers;
    struct tsdb_buf body;
    tsdb_buf_init(&body, TSDB_MEM_SERVER, 0);
    tsdb_buf_put_str(&body, text);
    struct http_reply reply = {.status = status,
                               .content_type = "text/plain; charset=utf-8",
                               .body = &body,
                               .close = true};
    if (h->on_refuse) {
        h->on_refuse(h->arg, x, &reply);
    }
    http_reply(x, &reply);
}

/* Past libmicrohttpd. */
static void send_beside(const struct http_exchange *x, const void *data, size_t len, bool more)
{
    if (x->server->tls) {
        (void)http_tls_send(x->connection, data, len);
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info) {
        (void)!send(info->connect_fd, data, len,
                    MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));
    }
}

/* libmicrohttpd cannot queue an answer in the middle of an upload, so it is written to the socket
 * directly: nothing else is under way on this connection, and it is closed afterwards. Best effort. */
static void answer_upload(const struct http_exchange *x, const struct http_reply *reply,
                          const char *text, size_t text_len)
{
    char answer[HTTP_REPLY_HEADER_BYTES + 512];
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 %u %s\r\n"
                       "Content-Type: text/plain; charset=utf-8\r\n"
                       "Content-Length: %zu\r\nConnection: close\r\n",
                       reply->status, MHD_get_reason_phrase_for(reply->status), text_len);
    for (uint32_t i = 0; i < reply->header_count; i++) {
        len += snprintf(answer + len, sizeof answer - (size_t)len, "%s: %s\r\n",
                        reply->headers[i].name, reply->headers[i].value);
        TSDB_ASSERT((size_t)len < sizeof answer);
    }
    len += snprintf(answer + len, sizeof answer - (size_t)len, "\r\n");
    TSDB_ASSERT((size_t)len < sizeof answer);
    send_beside(x, answer, (size_t)len, text_len > 0);
    send_beside(x, text, text_len, false);
}

/* A chunked body grew over the bound. */
static void refuse_upload(struct http_exchange *x)
{
    const struct http_handlers *h = &x->server->handlers;
    struct http_reply reply = {.status = MHD_HTTP_CONTENT_TOO_LARGE};
    if (h->on_refuse) {
        h->on_refuse(h->arg, x, &reply);
    }
    answer_upload(x, &reply, TOO_LARGE_TEXT, sizeof TOO_LARGE_TEXT - 1);
}

/* A body without a bound goes on long after it was answered. */
static void cut_upload(const struct http_exchange *x)
{
    struct http_reply reply = {.status = x->status, .header_count = x->header_count};
    for (uint32_t i = 0; i < x->header_count; i++) {
        reply.headers[i].name = x->header_bytes + x->header_name[i];
        reply.headers[i].value = x->header_bytes + x->header_value[i];
    }
    answer_upload(x, &reply, (const char *)x->body.data, x->has_body ? x->body.len : 0);
}

/* The headers are there. Returns MHD_YES to go on reading. */
static enum MHD_Result handle_headers(struct http_exchange *x, const char *method,
                                      const char *version)
{
    struct http_server *s = x->server;
    x->headers_done = true;
    x->method = method_from_text(method);
    snprintf(x->method_text, sizeof x->method_text, "%s", method);
    const char *wrong = http_head_check(x, method, version);
    if (wrong) {
        refuse(x, MHD_HTTP_BAD_REQUEST, wrong);
        return queue_reply(x);
    }
    if (x->content_length != 0) {
        http_connection_phase(s, x->connection, HTTP_PHASE_BODY);
    }
    if (atomic_load(&s->draining)) {
        refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "server is shutting down\n");
        return queue_reply(x);
    }
    s->handlers.on_headers(s->handlers.arg, x);
    bool too_large =
        !x->streamed && x->content_length > 0 && (uint64_t)x->content_length > s->body_bytes_max;
    if (too_large && !http_replied(x)) {
        refuse(x, MHD_HTTP_CONTENT_TOO_LARGE, TOO_LARGE_TEXT);
    }
    if (!http_replied(x)) {
        return MHD_YES;
    }
    const char *expect = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Expect");
    bool waits = expect && strcasecmp(expect, "100-continue") == 0;
    if (too_large || waits) {
        /* Not worth reading; or whether the client goes on to send the body is its choice, and we
         * do not guess where the next request starts. */
        x->close = true;
        return queue_reply(x);
    }
    x->sink = x->content_length != 0;
    return MHD_YES; /* without a body the next call comes at once, and queues */
}

static struct http_daemon *daemon_of(struct http_server *s, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_DAEMON);
    for (uint32_t i = 0; info && i < s->daemon_count; i++) {
        if (s->daemons[i].mhd == info->daemon) {
            return &s->daemons[i];
        }
    }
    return NULL;
}

static void list_add(struct http_exchange *x)
{
    struct http_daemon *d = daemon_of(x->server, x->connection);
    TSDB_ASSERT(d && !x->daemon);
    tsdb_mutex_lock(&d->lock);
    x->daemon = d;
    x->next = d->handed;
    if (x->next) {
        x->next->prev = x;
    }
    d->handed = x;
    tsdb_mutex_unlock(&d->lock);
}

static void list_remove(struct http_exchange *x)
{
    struct http_daemon *d = x->daemon;
    if (!d) {
        return;
    }
    tsdb_mutex_lock(&d->lock);
    if (x->next) {
        x->next->prev = x->prev;
    }
    if (x->prev) {
        x->prev->next = x->next;
    } else {
        TSDB_ASSERT(d->handed == x);
        d->handed = x->next;
    }
    x->daemon = NULL;
    tsdb_mutex_unlock(&d->lock);
}

/* First count, then look: http_stop first halts, then
 * waits for the count, so that one of us sees the other (both are seq_cst). */
bool http_count_unanswered(struct http_server *s)
{
    atomic_fetch_add(&s->unanswered, 1);
    if (atomic_load(&s->halted)) {
        atomic_fetch_sub(&s->unanswered, 1);
        return false;
    }
    return true;
}

/* The request is whole: hand it over once. False when the server has no time left for it. */
static bool complete_once(struct http_exchange *x)
{
    struct http_server *s = x->server;
    if (x->completed || http_replied(x)) {
        return true;
    }
    if (!http_count_unanswered(s)) {
        return false;
    }
    x->completed = true;
    list_add(x);
    http_connection_phase(s, x->connection, HTTP_PHASE_WORK);
    s->handlers.on_complete(s->handlers.arg, x);
    return true;
}

/* Suspend first, then say so: whoever
 * replies from now on resumes. If the answer came in between, resume ourselves: then we are called
 * again. */
void http_suspend(struct http_exchange *x)
{
    MHD_suspend_connection(x->connection);
    uint32_t running = HTTP_STATE_RUNNING;
    if (!atomic_compare_exchange_strong(&x->state, &running, HTTP_STATE_SUSPENDED)) {
        MHD_resume_connection(x->connection);
    }
}

static void wake(struct http_exchange *x)
{
    atomic_store(&x->state, HTTP_STATE_RUNNING);
    x->server->handlers.on_wake(x->server->handlers.arg, x);
}

static bool is_suspended(const struct http_exchange *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_SUSPENDED);
    return info && info->suspended == MHD_YES;
}

/* Held: no more of the body is looked at until whoever holds it wakes or answers. False: go on.
 *
 * libmicrohttpd may call once more after the connection was suspended, with what of the body it has read. Then nothing
 * is done, even if a wake shows already: its resume is yet to come. Were the wake taken now, and the next piece
 * held, that resume would end the suspension of the next piece, and the wake of that one would resume nobody. */
static bool stands_still(struct http_exchange *x)
{
    while (x->held) {
        if (is_suspended(x)) {
            return true;
        }
        /* Acquire: pairs with the exchange in publish. */
        uint32_t state = atomic_load_explicit(&x->state, memory_order_acquire);
        if (state == HTTP_STATE_RUNNING) {
            http_suspend(x);
        }
        if (state <= HTTP_STATE_SUSPENDED) {
            return true;
        }
        x->held = false; /* and counted no more: publish came before */
        http_connection_phase(x->server, x->connection, HTTP_PHASE_BODY);
        if (state == HTTP_STATE_WOKEN) {
            wake(x);
        }
    }
    return false;
}

static enum MHD_Result handle_body(struct http_exchange *x, const char *data, size_t *len)
{
    struct http_server *s = x->server;
    if (stands_still(x)) {
        return MHD_YES;
    }
    if (!x->sink && http_replied(x)) {
        x->sink = true;
        x->body_bytes = 0; /* what is thrown away is bounded in any case */
    }
    size_t n = *len;
    *len = 0;
    x->body_bytes += n;
    atomic_fetch_add_explicit(&s->bytes_in, n, memory_order_relaxed);
    if (x->body_bytes > s->body_bytes_max && (x->sink || !x->streamed)) {
        if (x->streamed) {
            cut_upload(x);
        } else {
            refuse_upload(x);
        }
        return MHD_NO;
    }
    if (!x->sink) {
        s->handlers.on_body(s->handlers.arg, x, data, n);
    }
    (void)stands_still(x);
    return MHD_YES;
}

static enum MHD_Result handle_complete(struct http_exchange *x)
{
    if (stands_still(x)) {
        return MHD_YES;
    }
    if (!complete_once(x)) {
        return MHD_NO;
    }
    for (;;) {
        /* Acquire: pairs with the exchange in publish. */
        uint32_t state = atomic_load_explicit(&x->state, memory_order_acquire);
        if (state == HTTP_STATE_REPLIED) {
            return queue_reply(x);
        }
        if (state == HTTP_STATE_WOKEN) {
            wake(x);
            continue;
        }
        http_suspend(x);
        return MHD_YES;
    }
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload_data,
                                 size_t *upload_len, void **con_cls)
{
    (void)cls;
    (void)connection;
    (void)url;
    struct http_exchange *x = *con_cls;
    if (!x) {
        return MHD_NO; /* out of memory at the first sight */
    }
    if (!x->headers_done) {
        return handle_headers(x, method, version);
    }
    if (*upload_len > 0) {
        return handle_body(x, upload_data, upload_len);
    }
    return x->queued ? MHD_YES : handle_complete(x);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode why)
{
    (void)why;
    struct http_server *s = cls;
    struct http_exchange *x = *con_cls;
    if (!x) {
        return;
    }
    *con_cls = NULL;
    http_watcher_remove(s->watcher, x->watch_slot);
    list_remove(x);
    s->handlers.on_end(s->handlers.arg, x);
    /* Woken, and the client was gone before on_wake came: nobody will answer any more. */
    if (x->completed && !http_replied(x)) {
        atomic_fetch_sub(&s->unanswered, 1);
    }
    if (x->has_body) {
        tsdb_buf_deinit(&x->body);
    }
    tsdb_mem_free(TSDB_MEM_SERVER, x->uri, x->uri_bytes);
    tsdb_mem_free(TSDB_MEM_SERVER, x, sizeof *x);
    http_connection_phase(s, connection, HTTP_PHASE_IDLE);
    atomic_fetch_sub(&s->exchanges_open, 1);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    if (code != MHD_CONNECTION_NOTIFY_CLOSED) {
        http_connection_open(s, connection, socket_context);
        return;
    }
    http_connection_close(s, socket_context); /* before the socket is closed, and its number used */
    atomic_fetch_sub(&s->connections_open, 1);
    struct http_daemon *d = daemon_of(s, connection);
    if (d) {
        atomic_fetch_sub(&d->connections, 1);
    }
}

/* Paths are routed as sent; routes decode the segments that they want. */
static size_t keep_escaped(void *cls, struct MHD_Connection *connection, char *s)
{
    (void)cls;
    (void)connection;
    return strlen(s);
}

static enum tsdb_status daemon_start(struct http_server *s, const struct http_options *o,
                                     struct http_daemon *d, struct tsdb_error *err)
{
    unsigned timeout_s = (unsigned)TSDB_MAX(o->read_timeout_ms / 1000, 1);
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC | (s->tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)http_tls_no_certificate},
        {MHD_OPTION_END, 0, NULL}};
    /* The accept thread enforces the limit over all daemons; a closing connection is counted here a
     * little longer than there. */
    d->mhd = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_CONNECTION_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)s->connections_max + 64, MHD_OPTION_CONNECTION_TIMEOUT, timeout_s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        s, MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, NULL,
        MHD_OPTION_ARRAY, s->tls ? tls : &tls[1], MHD_OPTION_END);
    return d->mhd ? TSDB_OK
                  : tsdb_error_set(err, TSDB_IO, "libmicrohttpd could not start a daemon");
}

enum tsdb_status http_start(const struct http_options *o, const struct http_handlers *h,
                            struct http_server **out, struct tsdb_error *err)
{
    TSDB_ASSERT(o->threads >= 1);
    struct http_server *s = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *s);
    if (!s) {
        return tsdb_error_nomem(err, "the HTTP server");
    }
    s->handlers = *h;
    s->tls = o->tls;
    s->knows_layout = http_head_knows(MHD_get_version());
    s->connections_max = http_connections_fit(o->connections_max);
    s->body_bytes_max = o->body_bytes_max;
    s->idle_timeout_ns = o->read_timeout_ms * 1000000;
    s->header_timeout_ns =
        o->header_timeout_ms ? o->header_timeout_ms * 1000000 : s->idle_timeout_ns;
    s->body_timeout_ns = o->body_timeout_ms ? o->body_timeout_ms * 1000000 : s->idle_timeout_ns;
    s->write_timeout_ns = o->write_timeout_ms ? o->write_timeout_ms * 1000000 : s->idle_timeout_ns;
    tsdb_mutex_init(&s->connections_lock, TSDB_RANK_SERVER_EXCHANGES, "http-connections");
    s->listen_fd = -1;
    s->stop_fd = -1;
    for (uint32_t i = 0; i < HTTP_DAEMONS_MAX; i++) {
        tsdb_mutex_init(&s->daemons[i].lock, TSDB_RANK_SERVER_EXCHANGES, "http-exchanges");
    }
    enum tsdb_status status = http_listen(o->listen_address, &s->listen_fd, &s->port, err);
    if (status == TSDB_OK && h->on_listen) {
        h->on_listen(h->arg, s->port);
    }
    if (status == TSDB_OK) {
        status = http_watcher_create(o->connections_max + 1, &s->watcher, err);
    }
    uint32_t threads = TSDB_MIN(o->threads, HTTP_DAEMONS_MAX);
    for (uint32_t i = 0; status == TSDB_OK && i < threads; i++) {
        status = daemon_start(s, o, &s->daemons[i], err);
        s->daemon_count += status == TSDB_OK;
    }
    struct http_server *before = *out;
    *out = s; /* handlers may look there as soon as the first connection is accepted */
    if (status == TSDB_OK) {
        status = http_accept_start(s, err);
    }
    if (status != TSDB_OK) {
        *out = before;
        bool stopped = http_stop(s, 0); /* nobody was served yet */
        TSDB_ASSERT(stopped);
    }
    return status;
}

uint16_t http_port(const struct http_server *s)
{
    return s->port;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Wait until a count is 0. False when the time was up first. */
static bool wait_for_none(_Atomic(uint32_t) *count, int64_t timeout_ms)
{
    int64_t until_ns = tsdb_clock_mono_ns(&tsdb_clock_real) + timeout_ms * 1000000;
    while (atomic_load(count) > 0) {
        if (tsdb_clock_mono_ns(&tsdb_clock_real) >= until_ns) {
            return false;
        }
        nap();
    }
    return true;
}

static void name_unanswered(struct http_server *s)
{
    uint32_t named = 0;
    for (uint32_t i = 0; i < s->daemon_count; i++) {
        struct http_daemon *d = &s->daemons[i];
        tsdb_mutex_lock(&d->lock);
        for (struct http_exchange *x = d->handed; x && named < HTTP_NAMED_MAX; x = x->next) {
            if (!http_replied(x)) {
                named++;
                tsdb_log(TSDB_LOG_ERROR, "http", "not answered, left behind",
                         TSDB_S("method", x->method_text), TSDB_S("path", x->uri));
            }
        }
        tsdb_mutex_unlock(&d->lock);
    }
    tsdb_log(TSDB_LOG_ERROR, "http", "gave up waiting for requests",
             TSDB_I("requests", atomic_load(&s->unanswered)));
}

static void server_free(struct http_server *s)
{
    http_watcher_destroy(s->watcher);
    for (uint32_t i = 0; i < HTTP_DAEMONS_MAX; i++) {
        tsdb_mutex_deinit(&s->daemons[i].lock);
    }
    tsdb_mutex_deinit(&s->connections_lock);
    tsdb_mem_free(TSDB_MEM_SERVER, s, sizeof *s);
}

bool http_stop(struct http_server *s, int64_t timeout_ms)
{
    if (!s) {
        return true;
    }
    http_accept_stop(s);
    atomic_store(&s->draining, 1);
    (void)wait_for_none(&s->exchanges_open, timeout_ms);
    /* A suspended connection must not be cut while somebody still holds its exchange
     * (libmicrohttpd would panic): their flags tell them to hurry, and who does not is left behind
     * together with the daemons. */
    atomic_store(&s->halted, 1);
    if (atomic_load(&s->unanswered) > 0) {
        http_watcher_fire_all(s->watcher);
    }
    if (!wait_for_none(&s->unanswered, timeout_ms)) {
        name_unanswered(s);
        return false;
    }
    for (uint32_t i = 0; i < s->daemon_count; i++) {
        MHD_stop_daemon(s->daemons[i].mhd);
    }
    server_free(s);
    return true;
}

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
    return x->uri;
}

const char *http_query(const struct http_exchange *x)
{
    return x->query;
}

const char *http_header(const struct http_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

int64_t http_content_length(const struct http_exchange *x)
{
    return x->content_length;
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
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    socklen_t len = info && info->client_addr && info->client_addr->sa_family == AF_INET6
                        ? (socklen_t)sizeof(struct sockaddr_in6)
                        : (socklen_t)sizeof(struct sockaddr_in);
    if (!info || !info->client_addr ||
        getnameinfo(info->client_addr, len, out, (socklen_t)cap, NULL, 0, NI_NUMERICHOST) != 0) {
        snprintf(out, cap, "unknown");
    }
}

void http_watch(struct http_exchange *x, _Atomic(uint32_t) *flag)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info && x->watch_slot < 0) {
        x->watch_slot = http_watcher_add(x->server->watcher, info->connect_fd, flag);
    }
}

void http_add_header(struct http_exchange *x, const char *name, const char *value)
{
    size_t name_bytes = strlen(name) + 1;
    size_t value_bytes = strlen(value) + 1;
    uint32_t i = x->header_count;
    if (i == HTTP_REPLY_HEADERS_MAX ||
        name_bytes + value_bytes > sizeof x->header_bytes - x->header_used) {
        return;
    }
    x->header_name[i] = x->header_used;
    x->header_value[i] = (uint16_t)(x->header_used + name_bytes);
    memcpy(x->header_bytes + x->header_name[i], name, name_bytes);
    memcpy(x->header_bytes + x->header_value[i], value, value_bytes);
    x->header_used = (uint16_t)(x->header_used + name_bytes + value_bytes);
    x->header_count = i + 1;
}

static void copy_headers(struct http_exchange *x, const struct http_reply *reply)
{
    const struct http_handlers *h = &x->server->handlers;
    for (uint32_t i = 0; i < reply->header_count; i++) {
        http_add_header(x, reply->headers[i].name, reply->headers[i].value);
    }
    TSDB_ASSERT(x->header_count == reply->header_count);
    if (h->on_answer) {
        h->on_answer(h->arg, x);
    }
}

void http_publish(struct http_exchange *x, enum http_state state)
{
    struct MHD_Connection *connection = x->connection;
    uint32_t before = atomic_exchange(&x->state, (uint32_t)state);
    TSDB_ASSERT(before == HTTP_STATE_RUNNING || before == HTTP_STATE_SUSPENDED);
    if (before == HTTP_STATE_SUSPENDED) {
        MHD_resume_connection(connection);
    }
}

void http_wake(struct http_exchange *x)
{
    struct http_server *s = x->server;
    bool counted = x->held;
    http_publish(x, HTTP_STATE_WOKEN);
    if (counted) {
        atomic_fetch_sub(&s->unanswered, 1); /* as in http_reply */
    }
}

void http_body_stream(struct http_exchange *x)
{
    x->streamed = true;
}

bool http_hold(struct http_exchange *x)
{
    TSDB_ASSERT(x->streamed && !x->held && !x->completed);
    x->held = http_count_unanswered(x->server);
    if (x->held) {
        http_connection_phase(x->server, x->connection, HTTP_PHASE_WORK);
    }
    return x->held;
}

void http_reply(struct http_exchange *x, const struct http_reply *reply)
{
    struct http_server *s = x->server;
    bool counted = x->completed || x->held;
    x->status = reply->status;
    x->close = reply->close;
    x->more = reply->more;
    /* After the head of an answer in pieces libmicrohttpd 0.9.75 sends a last chunk also to HEAD. */
    x->close |= x->more && x->method == HTTP_HEAD;
    if (reply->content_type) {
        snprintf(x->content_type_text, sizeof x->content_type_text, "%s", reply->content_type);
        x->content_type = x->content_type_text;
    }
    copy_headers(x, reply);
    if (reply->body) {
        x->body = *reply->body;
        x->has_body = true;
        reply->body->data = NULL;
        reply->body->len = reply->body->cap = 0;
    }
    http_publish(x, HTTP_STATE_REPLIED);
    if (counted) {
        atomic_fetch_sub(&s->unanswered, 1); /* the last touch: http_stop may go on now */
    }
}

void http_stats_read(const struct http_server *s, struct http_stats *out)
{
    out->connections = atomic_load_explicit(&s->connections, memory_order_relaxed);
    out->connections_late = atomic_load_explicit(&s->connections_late, memory_order_relaxed);
    out->connections_refused = atomic_load_explicit(&s->connections_refused, memory_order_relaxed);
    out->requests = atomic_load_explicit(&s->requests, memory_order_relaxed);
    out->bytes_in = atomic_load_explicit(&s->bytes_in, memory_order_relaxed);
    out->bytes_out = atomic_load_explicit(&s->bytes_out, memory_order_relaxed);
    out->connections_open = atomic_load_explicit(&s->connections_open, memory_order_relaxed);
}
