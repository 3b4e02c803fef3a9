/* HTTP; this room alone knows libmicrohttpd.
 *
 * N single-thread epoll daemons (the maintainer: no more than cores), fed by an accept thread of
 * our own (backlog 1024, TCP_NODELAY) that gives each connection to the least loaded daemon. Beyond
 * the limit it takes none: new ones wait in the backlog, and the one that was idle for longest
 * goes, or one that sends too slowly. A
 * handler runs in the daemon's thread and must not block: it answers at once, or suspends the
 * connection and somebody calls http_reply later from any thread. Refused bodies up to
 * body_bytes_max are read into a sink and answered on the living connection; larger ones are
 * answered and closed.
 *
 * Life of an exchange:
 *
 *   on_headers          method, path and headers are known; may answer early
 *   on_body*            pieces of the body
 *   (http_hold, http_wake -> on_wake)*   no more of the body is read meanwhile
 *   on_complete         the body is whole
 *   (http_wake ->
 *      on_wake)*        back in the daemon's thread
 *   http_reply          once, at any time from on_headers on
 *   on_end              always, last
 *
 * Threads: the callbacks of one exchange come from one daemon thread, on_end too. http_reply and
 * http_wake: any thread.
 */
#ifndef SERVER_HTTP_HTTP_H
#define SERVER_HTTP_HTTP_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_REPLY_HEADERS_MAX  18
#define HTTP_REPLY_HEADER_BYTES 2048       /* all added headers of one answer, with their NULs */
#define HTTP_PIECE_BYTES        (1u << 20) /* of an answer that comes in pieces, about */

struct http_server;
struct http_tls;      /* tls.h */
struct http_exchange; /* one request and its answer */
struct http_reply;

enum http_method {
    HTTP_GET = 0,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

struct http_handlers {
    /* Path, query and headers are known. May call http_reply (early answer; the body then goes to
     * the sink). */
    void (*on_headers)(void *arg, struct http_exchange *x);
    void (*on_body)(void *arg, struct http_exchange *x, const void *data, size_t len);
    /* The whole body has come. Must call http_reply now or later. */
    void (*on_complete)(void *arg, struct http_exchange *x);
    /* After http_wake, in the daemon's thread. Must call http_reply now or later, or see to it that
     * http_wake is called again. */
    void (*on_wake)(void *arg, struct http_exchange *x);
    /* All of the last piece of an answer with `more` is on its way. Must call http_more now or later. */
    void (*on_more)(void *arg, struct http_exchange *x);
    /* The exchange is over (answered, or the client is gone); free what http_user points to. Always
     * called, last; also when on_headers never was (http.c refused the request by itself). */
    void (*on_end)(void *arg, struct http_exchange *x);
    /* May be NULL: the server refuses the request by itself (it is stopping, the body is too large,
     * its length is ambiguous). May add headers to the answer, whose strings live until the call
     * returns or longer, and turn 413 into 400; nothing else. Method, path and headers are known. */
    void (*on_refuse)(void *arg, struct http_exchange *x, struct http_reply *reply);
    /* May be NULL: before any answer, to add headers of its own by http_add_header, which copies. In
     * the thread that answers. */
    void (*on_answer)(void *arg, struct http_exchange *x);
    /* May be NULL: in http_start, when the port is known and before any other callback. */
    void (*on_listen)(void *arg, uint16_t port);
    void *arg;
};
struct http_options {
    const char *listen_address; /* host:port; port 0 = any free one */
    uint32_t threads;
    uint32_t connections_max;
    int64_t read_timeout_ms;   /* of silence */
    int64_t header_timeout_ms; /* from accept to the end of the headers; 0: as read_timeout_ms */
    int64_t body_timeout_ms;   /* from there to the end of the body; 0: as read_timeout_ms */
    int64_t write_timeout_ms;  /* to take HTTP_PIECE_BYTES of an answer; 0: as read_timeout_ms */
    uint64_t body_bytes_max;   /* hard bound of any body */
    struct http_tls *tls;      /* outlives the server; NULL: plain */
};
/* *out is set before the first connection is accepted, for handlers that look there. INVALID
 * (listen address), IO, NOMEM. */
enum tsdb_status http_start(const struct http_options *o, const struct http_handlers *h,
                            struct http_server **out, struct tsdb_error *err) TSDB_WUR;
uint16_t http_port(const struct http_server *s);
/* Stop accepting and answer 503 to what still comes, let open exchanges finish (at most
 * timeout_ms), then set the flags of all watched exchanges, wait for those that were handed to
 * on_complete (at most timeout_ms again), and stop the daemons. NULL is fine.
 *
 * False: some were not answered even then. They are named in the log, and everything stays alive
 * for their owners: s is not freed, nor may anything be that an answer touches. The caller ends the
 * process without them, or calls again. */
bool http_stop(struct http_server *s, int64_t timeout_ms) TSDB_WUR;

enum http_method http_method(const struct http_exchange *x);
const char *http_method_text(const struct http_exchange *x);
const char *http_path(const struct http_exchange *x);  /* as sent, percent-encoded, without query */
const char *http_query(const struct http_exchange *x); /* after '?', raw; "" if none */
/* Case-insensitive; NULL if absent. Only valid in callbacks. */
const char *http_header(const struct http_exchange *x, const char *name);
/* The client's address without its port, into out[cap]; "unknown" where there is none. In callbacks. */
void http_peer(const struct http_exchange *x, char *out, size_t cap);
int64_t http_content_length(const struct http_exchange *x); /* -1: unknown (chunked) */
void http_user_set(struct http_exchange *x, void *user);
void *http_user(struct http_exchange *x);
/* From on_headers: the body may be of any length, and body_timeout_ms is from one http_wake to the next
 * http_hold. Whoever takes it bounds what is held of it. */
void http_body_stream(struct http_exchange *x);
/* From on_body or on_wake of such a body: no more of it is read until http_wake was called and on_wake has
 * come. False: the server has no time left for it; answer. */
bool http_hold(struct http_exchange *x) TSDB_WUR;
/* Have on_wake called in the daemon's thread. After on_complete was called, or http_hold, and before
 * http_reply; not again before on_wake came. The cheap way to take a hand-over from an engine thread. */
void http_wake(struct http_exchange *x);
/* Set *flag to 1 when the client goes away while the exchange is suspended (libmicrohttpd does not
 * see that itself: a watcher thread epolls for EPOLLRDHUP). Until on_end. */
void http_watch(struct http_exchange *x, _Atomic(uint32_t) *flag);

struct http_reply {
    unsigned status;
    const char *content_type; /* NULL: none */
    struct tsdb_buf *body;    /* moved: the exchange owns and frees it; NULL: empty */
    struct {
        const char *name, *value; /* copied; all of them: at most HTTP_REPLY_HEADER_BYTES */
    } headers[HTTP_REPLY_HEADERS_MAX];
    uint32_t header_count;
    bool close; /* close the connection afterwards */
    bool more;  /* the body is the first piece only: on_more asks for the next */
};
void http_reply(struct http_exchange *x, const struct http_reply *reply);
/* After on_more and before http_more, from any thread: the memory of the piece that was sent, to be used again or
 * freed. */
void http_take_sent(struct http_exchange *x, struct tsdb_buf *out);
/* The next piece of an answer, moved, after on_more, from any thread; the exchange may be gone when it returns. One piece is
 * held at most: who reads slowly holds that, and up to its deadline. BROKEN: the connection is cut, so that nobody takes a part for the whole. */
enum http_rest {
    HTTP_REST_MORE, /* on_more comes again */
    HTTP_REST_END,  /* this is the last */
    HTTP_REST_BROKEN
};
void http_more(struct http_exchange *x, struct tsdb_buf *piece, enum http_rest rest);
/* In on_answer only; what has no room is left out. */
void http_add_header(struct http_exchange *x, const char *name, const char *value);

struct http_stats {
    uint64_t connections, connections_refused, connections_late, requests, bytes_in, bytes_out;
    uint32_t connections_open;
};
void http_stats_read(const struct http_server *s, struct http_stats *out);

#endif
