/* Answers that come in pieces: one is held at a time, and while the next one is made, in another thread, the
 * connection is suspended. */
#include "server/http/http_private.h"

#include "base/assert.h"

#include <string.h>

#define READ_BYTES 32768u /* that libmicrohttpd takes at once where it does not cut chunks */

/* The next piece: asked for, once. False: it is not there yet, or never will be. */
static bool next_piece(struct http_exchange *x)
{
    struct http_server *s = x->server;
    if (!x->asked) {
        if (!http_count_unanswered(s)) {
            x->rest = HTTP_REST_BROKEN;
            return false;
        }
        x->asked = true;
        /* Relaxed: on_more hands the exchange over, by a lock or what else it has. */
        atomic_store_explicit(&x->state, HTTP_STATE_RUNNING, memory_order_relaxed);
        http_connection_phase(s, x->connection, HTTP_PHASE_WORK);
        s->handlers.on_more(s->handlers.arg, x);
    }
    if (!http_replied(x)) {
        http_suspend(x);
        return false;
    }
    x->asked = false;
    x->sent = 0;
    http_connection_sends(s, x->connection, x->body.len);
    return true;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *out, size_t cap)
{
    struct http_exchange *x = cls;
    (void)pos;
    while (x->asked || x->sent == x->body.len) {
        if (!x->asked && x->rest == HTTP_REST_END) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (!next_piece(x)) {
            return x->asked ? 0 : MHD_CONTENT_READER_END_WITH_ERROR;
        }
        if (x->rest == HTTP_REST_BROKEN) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
    }
    size_t n = TSDB_MIN(cap, x->body.len - x->sent);
    memcpy(out, x->body.data + x->sent, n);
    x->sent += n;
    atomic_fetch_add_explicit(&x->server->bytes_out, n, memory_order_relaxed);
    return (ssize_t)n;
}

struct MHD_Response *http_stream_response(struct http_exchange *x)
{
    TSDB_ASSERT(x->server->handlers.on_more && x->has_body);
    x->rest = HTTP_REST_MORE;
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READ_BYTES, read_stream, x, NULL);
}

void http_take_sent(struct http_exchange *x, struct tsdb_buf *out)
{
    TSDB_ASSERT(x->asked && !out->data);
    *out = x->body;
    x->body.data = NULL;
    x->body.len = x->body.cap = 0;
}

void http_more(struct http_exchange *x, struct tsdb_buf *piece, enum http_rest rest)
{
    struct http_server *s = x->server;
    TSDB_ASSERT(!x->body.data);
    x->body = *piece;
    piece->data = NULL;
    piece->len = piece->cap = 0;
    x->rest = rest;
    http_publish(x, HTTP_STATE_REPLIED);
    atomic_fetch_sub(&s->unanswered, 1); /* the last touch, as in http_reply */
}
