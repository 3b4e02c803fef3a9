/* HTTP, and the only file pair that knows libmicrohttpd (http.c).
 *
 * N single-thread epoll daemons (the maintainer: no more than cores), fed by an accept thread of
 * our own (backlog 1024, TCP_NODELAY) that gives each connection to the least loaded daemon. A
 * handler runs in the daemon's thread and must not block: it answers at once, or suspends the
 * connection and somebody calls http_reply later from any thread. Refused bodies up to
 * body_bytes_max are read into a sink and answered on the living connection; larger ones are
 * answered and closed.
 *
 * Life of an exchange: on_headers (method, path, headers known; may answer early) -> on_body* ->
 * on_complete -> ... http_reply once -> on_end. Threads: the callbacks of one exchange come from
 * one daemon thread, on_end too. http_reply: any thread, once.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct http_server;
struct http_exchange; /* one request and its answer */

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
    /* The exchange is over (answered, or the client is gone); free what http_user points to. Always
     * called, last. */
    void (*on_end)(void *arg, struct http_exchange *x);
    void *arg;
};
struct http_options {
    const char *listen_address; /* host:port; port 0 = any free one */
    uint32_t threads;
    uint32_t connections_max;
    int64_t read_timeout_ms;
    uint64_t body_bytes_max; /* hard bound of any body */
};
enum tsdb_status http_start(const struct http_options *o, const struct http_handlers *h,
                            struct http_server **out, struct tsdb_error *err) TSDB_WUR;
uint16_t http_port(const struct http_server *s);
/* Stop accepting, let open exchanges finish (at most timeout_ms), stop the daemons. NULL is fine.
 */
void http_stop(struct http_server *s, int64_t timeout_ms);

enum http_method http_method(const struct http_exchange *x);
const char *http_method_text(const struct http_exchange *x);
const char *http_path(const struct http_exchange *x);  /* as sent, percent-encoded, without query */
const char *http_query(const struct http_exchange *x); /* after '?', raw; "" if none */
const char *
http_header(const struct http_exchange *x,
            const char *name); /* case-insensitive; NULL if absent. Only valid in callbacks */
int64_t http_content_length(const struct http_exchange *x); /* -1: unknown (chunked) */
void http_user_set(struct http_exchange *x, void *user);
void *http_user(struct http_exchange *x);
/* Set *flag to 1 when the client goes away while the exchange is suspended (libmicrohttpd does not
 * see that itself: a watcher thread epolls for EPOLLRDHUP). Until on_end. */
void http_watch(struct http_exchange *x, _Atomic(uint32_t) *flag);

struct http_reply {
    unsigned status;
    const char *content_type; /* NULL: none */
    struct tsdb_buf *body;    /* moved: the exchange owns and frees it; NULL: empty */
    struct {
        const char *name, *value; /* copied */
    } headers[12];
    uint32_t header_count;
    bool close; /* close the connection afterwards */
};
void http_reply(struct http_exchange *x, const struct http_reply *reply);

struct http_stats {
    uint64_t connections, connections_refused, requests, bytes_in, bytes_out;
    uint32_t connections_open;
};
void http_stats_read(const struct http_server *s, struct http_stats *out);

#endif
