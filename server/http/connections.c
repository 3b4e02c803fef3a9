/* Deadlines of connections. libmicrohttpd's own timeout starts again with every byte, so that a
 * client that drips one a second holds its place for ever; these do not:
 *
 *   accepted ----- headers whole ----- body whole ----- answered ----- headers whole ...
 *   | header_timeout |  body_timeout  |     none       | idle + header_timeout |
 *
 * The accept thread looks at them twice a second, and shuts down the socket of whoever is late:
 * then the daemon sees the end, and everything takes its usual way. So it does with whoever ended
 * in the middle of a request: where the end came together with the last bytes, libmicrohttpd 0.9.75
 * does not look again (a short read counts as all there is, and epoll tells of an edge once), and
 * what the request holds would stay until its deadline. */
#include "server/http/http_private.h"

#include "base/assert.h"
#include "base/clock.h"

#include <sys/socket.h>

#define NO_DEADLINE INT64_MAX

static int64_t now_ns(void)
{
    return tsdb_clock_mono_ns(&tsdb_clock_real);
}

static struct http_connection *connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void expect(struct http_connection *c, int64_t timeout_ns, int64_t idle_since_ns)
{
    /* Relaxed: whoever looks late shuts down late. */
    atomic_store_explicit(&c->idle_since_ns, idle_since_ns, memory_order_relaxed);
    atomic_store_explicit(&c->deadline_ns,
                          timeout_ns == NO_DEADLINE ? NO_DEADLINE : now_ns() + timeout_ns,
                          memory_order_relaxed);
}

void http_connection_open(struct http_server *s, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_connection *c = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *c);
    *context = c;
    if (!c || !info) {
        return; /* without a deadline of its own, as without memory for it */
    }
    c->fd = info->connect_fd;
    c->tls = s->tls ? http_tls_begin(s->tls, connection) : NULL;
    expect(c, s->header_timeout_ns, 0);
    tsdb_mutex_lock(&s->connections_lock);
    c->next = s->connection_list;
    if (c->next) {
        c->next->prev = c;
    }
    s->connection_list = c;
    c->listed = true;
    tsdb_mutex_unlock(&s->connections_lock);
}

void http_connection_close(struct http_server *s, void **context)
{
    struct http_connection *c = *context;
    *context = NULL;
    if (!c) {
        return;
    }
    tsdb_mutex_lock(&s->connections_lock);
    if (c->next) {
        c->next->prev = c->prev;
    }
    if (c->prev) {
        c->prev->next = c->next;
    } else if (c->listed) {
        TSDB_ASSERT(s->connection_list == c);
        s->connection_list = c->next;
    }
    tsdb_mutex_unlock(&s->connections_lock);
    http_tls_end(c->tls); /* its session was closed before */
    tsdb_mem_free(TSDB_MEM_SERVER, c, sizeof *c);
}

void http_connection_phase(struct http_server *s, struct MHD_Connection *connection,
                           enum http_phase phase)
{
    struct http_connection *c = connection_of(connection);
    if (!c) {
        return;
    }
    switch (phase) {
    case HTTP_PHASE_BODY:
        expect(c, s->body_timeout_ns, 0);
        return;
    case HTTP_PHASE_WORK:
        expect(c, NO_DEADLINE, 0);
        return;
    case HTTP_PHASE_IDLE:
        expect(c, s->idle_timeout_ns + s->header_timeout_ns, now_ns());
        return;
    }
}

/* All bytes are taken, and no more come. */
static bool has_ended(int fd)
{
    char byte;
    return recv(fd, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void http_connections_check(struct http_server *s)
{
    int64_t now = now_ns();
    tsdb_mutex_lock(&s->connections_lock);
    for (struct http_connection *c = s->connection_list; c; c = c->next) {
        int64_t deadline = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);
        if (deadline == NO_DEADLINE) {
            continue; /* the daemon or a worker is at work for it; watch.c has those that wait */
        }
        if (deadline > now && has_ended(c->fd)) {
            (void)shutdown(c->fd, SHUT_RD); /* an edge; what was whole is still answered */
        } else if (deadline <= now) {
            (void)shutdown(c->fd, SHUT_RDWR);
            atomic_store_explicit(&c->deadline_ns, NO_DEADLINE, memory_order_relaxed);
            atomic_fetch_add_explicit(&s->connections_late, 1, memory_order_relaxed);
        }
    }
    tsdb_mutex_unlock(&s->connections_lock);
}

bool http_connections_make_room(struct http_server *s)
{
    struct http_connection *oldest = NULL;
    int64_t oldest_ns = INT64_MAX;
    tsdb_mutex_lock(&s->connections_lock);
    for (struct http_connection *c = s->connection_list; c; c = c->next) {
        int64_t since = atomic_load_explicit(&c->idle_since_ns, memory_order_relaxed);
        if (since > 0 && since < oldest_ns) {
            oldest = c;
            oldest_ns = since;
        }
    }
    if (oldest) {
        (void)shutdown(oldest->fd, SHUT_RDWR);
        atomic_store_explicit(&oldest->idle_since_ns, 0, memory_order_relaxed);
    }
    tsdb_mutex_unlock(&s->connections_lock);
    return oldest != NULL;
}
