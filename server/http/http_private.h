/* Shared by http.c (daemons, exchanges), head.c (what a request looks like), accept.c (the listener)
 * and watch.c (clients that go away). */
#ifndef SERVER_HTTP_HTTP_PRIVATE_H
#define SERVER_HTTP_HTTP_PRIVATE_H

#include "base/limits.h"
#include "base/mutex.h"
#include "server/http/http.h"
#include "server/http/tls.h"

#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define HTTP_DAEMONS_MAX      32
#define HTTP_CONNECTION_BYTES (96u << 10) /* headers and the read buffer of one connection */
#define HTTP_LISTEN_BACKLOG   1024
#define HTTP_NAMED_MAX        10 /* exchanges that the log names at a stop that gave up */

/* What an exchange is doing. The hand-over between the daemon's thread and the thread that replies
 * or wakes is one atomic exchange:
 *
 *             on_complete came back
 *               without an answer            http_reply
 *   RUNNING ------------------------> SUSPENDED ------> REPLIED     the connection is resumed
 *    ^   | |                                 |
 *    |   | |                                 | http_wake
 *    |   | |          http_wake              v
 *    |   | +------------------------------> WOKEN                   the connection is resumed if
 *    |   |                                   |                      it was suspended, else the
 *    |   +------- http_reply --> REPLIED     |                      daemon's thread sees it
 *    |                                       |                      by itself
 *    +---- daemon's thread, then on_wake ----+
 *
 * An answer in pieces goes round: REPLIED, sent, RUNNING with on_more, and http_more is as http_reply. So the exchange is
 * either with the daemon, which sends, or with whoever makes the next piece, never with both.
 */
enum http_state {
    HTTP_STATE_RUNNING = 0,
    HTTP_STATE_SUSPENDED,
    HTTP_STATE_WOKEN,
    HTTP_STATE_REPLIED
};

struct http_exchange {
    /* owned by the daemon thread */
    struct http_server *server;
    struct MHD_Connection *connection;
    enum http_method method;
    char method_text[16];
    char *uri; /* path NUL query NUL */
    size_t uri_bytes;
    uintptr_t
        target_at; /* where the target stood in libmicrohttpd's buffer, and its length there */
    size_t target_len;
    const char *query;
    int64_t content_length;
    uint64_t body_bytes;
    void *user;
    bool headers_done;
    bool completed; /* on_complete was called: counted in server->unanswered until http_reply */
    bool sink;      /* answered early: the rest of the body is read and thrown away */
    bool streamed;  /* the body has no bound */
    bool held;      /* http_hold: counted in server->unanswered until http_wake or http_reply */
    bool queued;
    bool asked;                 /* on_more was called, its answer not looked at */
    size_t sent;                /* of the piece */
    int32_t watch_slot;         /* -1: none */
    struct http_daemon *daemon; /* whose list it is in, from on_complete to on_end */
    struct http_exchange *prev, *next;
    /* written by the replier before state becomes REPLIED (release), read by the daemon thread
     * after it saw that (acquire) */
    _Atomic(uint32_t) state;
    unsigned status;
    const char *content_type;
    struct tsdb_buf body;
    bool has_body;
    bool close;
    bool more; /* the answer comes in pieces; body is the one that is being sent */
    enum http_rest rest;
    uint32_t header_count;
    uint16_t header_used; /* of header_bytes */
    uint16_t header_name[HTTP_REPLY_HEADERS_MAX];
    uint16_t header_value[HTTP_REPLY_HEADERS_MAX];
    char content_type_text[96];
    char header_bytes[HTTP_REPLY_HEADER_BYTES];
};

struct http_daemon {
    struct MHD_Daemon *mhd;
    _Atomic(uint32_t) connections;
    /* Exchanges that were handed to on_complete and have not ended. The daemon's thread alone
     * changes the list, so the lock is free but while a stop that gave up reads it. */
    struct tsdb_mutex lock; /* rank SERVER_EXCHANGES */
    struct http_exchange *handed TSDB_GUARDED;
};

struct http_watcher;

/* Addresses are told apart by a hash: of how many connections one has, it may look like a few more. */
#define HTTP_PEERS 256u

/* A connection and what is expected of it next; connections.c. */
struct http_tls_state;
struct http_connection {
    struct http_tls_state *tls; /* NULL: plain */
    int fd;                     /* open until http_connection_close came back */
    bool listed;
    struct http_connection *prev, *next; /* guarded by connections_lock */
    _Atomic(int64_t) deadline_ns;        /* monotonic */
    _Atomic(int64_t) idle_since_ns;      /* 0: not between two requests */
    _Atomic(int64_t)
        sending_since_ns;     /* its request, or body, or taking ours; 0: it is not its turn */
    _Atomic(uint32_t) taking; /* an answer: that no more bytes come of it says nothing */
    uint32_t peer;            /* of its address: a number below HTTP_PEERS */
};

struct http_server {
    struct http_handlers handlers; /* immutable after start */
    uint32_t connections_max;
    bool knows_layout; /* of libmicrohttpd's buffer: head.c */
    uint64_t body_bytes_max;
    int64_t header_timeout_ns, body_timeout_ns, write_timeout_ns, idle_timeout_ns;
    struct http_daemon daemons[HTTP_DAEMONS_MAX];
    uint32_t daemon_count;
    struct http_tls *tls; /* the caller's; NULL: plain */
    int listen_fd;
    int stop_fd; /* eventfd: wakes the accept thread */
    uint16_t port;
    pthread_t accept_thread;
    bool accept_running;
    struct http_watcher *watcher;
    _Atomic(uint32_t) exchanges_open;
    _Atomic(uint32_t) unanswered; /* on_complete was called, http_reply has not come back */
    _Atomic(uint32_t) draining;   /* http_stop began: new requests get 503 */
    _Atomic(uint32_t) halted;     /* time is up: on_complete is not called any more */
    _Atomic(uint32_t) connections_open;
    struct tsdb_mutex connections_lock; /* rank SERVER_EXCHANGES: the list, not its fields */
    struct http_connection *connection_list TSDB_GUARDED;
    _Atomic(uint64_t) connections_late;
    _Atomic(uint64_t) connections, connections_refused, requests, bytes_in, bytes_out;
};

/* head.c: the text of what is wrong with the head of a request; NULL: nothing. Sets content_length.
 * Where the next request begins must not be a matter of opinion. */
const char *http_head_check(struct http_exchange *x, const char *method, const char *version);
/* Is this the libmicrohttpd whose buffer it knows? Else it looks at names and values alone. */
bool http_head_knows(const char *library_version);

/* http.c: the hand-over. */
/* Publish a state to the daemon's thread. From then on the exchange may be gone, unless it was
 * suspended, and then only until it is resumed. */
void http_publish(struct http_exchange *x, enum http_state state);
bool http_replied(struct http_exchange *x);
/* Daemon: nothing to do until somebody replies or wakes. */
void http_suspend(struct http_exchange *x);
/* Somebody else holds the exchange from now on, until unanswered is counted down. False: the server has no time left. */
bool http_count_unanswered(struct http_server *s);

/* stream.c: an answer that comes in pieces, for libmicrohttpd; NULL: no memory. */
struct MHD_Response *http_stream_response(struct http_exchange *x);

/* accept.c */
/* As many connections as asked for, or as the descriptors of the process allow. */
uint32_t http_connections_fit(uint32_t wanted);
enum tsdb_status http_listen(const char *address, int *out_fd, uint16_t *out_port,
                             struct tsdb_error *err) TSDB_WUR;
enum tsdb_status http_accept_start(struct http_server *s, struct tsdb_error *err) TSDB_WUR;
void http_accept_stop(struct http_server *s);

/* connections.c. Callers: the daemon of the connection; check and make_room: the accept thread. */
enum http_phase {
    HTTP_PHASE_BODY, /* the headers are there, a body is to come */
    HTTP_PHASE_WORK, /* it is our turn */
    HTTP_PHASE_IDLE  /* answered; the next request may come */
};
void http_connection_open(struct http_server *s, struct MHD_Connection *connection, void **context);
void http_connection_close(struct http_server *s, void **context);
void http_connection_phase(struct http_server *s, struct MHD_Connection *connection,
                           enum http_phase phase);
/* It is to take so many bytes now. */
void http_connection_sends(struct http_server *s, struct MHD_Connection *connection, size_t bytes);
/* Shut down those that are late. */
void http_connections_check(struct http_server *s);
/* Shut down the one that has been idle for longest; where none is, one that has been sending for so long
 * that it counts as slow, of whoever has the most connections. False: there is none. */
bool http_connections_make_room(struct http_server *s);

/* tls.c. A new connection, before its handshake: gets the newest state, which is to be given back when
 * it has ended. NULL: it is not one of TLS. */
struct http_tls_state *http_tls_begin(struct http_tls *t, struct MHD_Connection *connection);
void http_tls_end(struct http_tls_state *s); /* NULL is fine */
/* In the daemon's thread, beside libmicrohttpd; what fits is sent. */
ssize_t http_tls_send(struct MHD_Connection *connection, const void *data, size_t len);
/* What libmicrohttpd is told to ask for certificates. */
int http_tls_no_certificate(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
                            const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                            gnutls_pcert_st **out, unsigned *out_count, gnutls_privkey_t *out_key);

/* watch.c. One thread; slots guarded by its lock (rank SERVER_WATCH). */
enum tsdb_status http_watcher_create(uint32_t slots, struct http_watcher **out,
                                     struct tsdb_error *err) TSDB_WUR;
void http_watcher_destroy(struct http_watcher *w);
/* -1 when no slot is free: the exchange is then not watched, its deadline still holds. */
int32_t http_watcher_add(struct http_watcher *w, int fd, _Atomic(uint32_t) *flag);
/* Set the flags of all who are watched. */
void http_watcher_fire_all(struct http_watcher *w);
/* After return the flag is not written any more. slot -1 is fine. */
void http_watcher_remove(struct http_watcher *w, int32_t slot);

#endif
