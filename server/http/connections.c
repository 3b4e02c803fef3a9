/* Deadlines of connections. libmicrohttpd's own timeout starts again with every byte, so that a
 * client that drips one a second holds its place for ever; these do not:
 *
 *   accepted ----- headers whole ----- body whole ----- answered ------ taken ----- headers whole ...
 *   | header_timeout |  body_timeout  |     none       | write_timeout | idle + header_timeout |
 *
 * (write_timeout: for each HTTP_PIECE_BYTES of the answer.)
 *
 * Where all places are taken and somebody waits, an idle one goes, else one that has been sending for a tenth
 * of its time: who sends slowly holds its place as long as nobody else wants it.
 *
 * The accept thread looks at them twice a second, and shuts down the socket of whoever is late:
 * then the daemon sees the end, and everything takes its usual way. So it does with whoever ended
 * in the middle of a request: where the end came together with the last bytes, libmicrohttpd 0.9.75
 * does not look again (a short read counts as all there is, and epoll tells of an edge once), and
 * what the request holds would stay until its deadline. */
#include "server/http/http_private.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"

#include <netinet/in.h>
#include <string.h>
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

/* Slow, where others wait for its place: a tenth of the time that it has at the most. */
#define SLOW_OF_TIMEOUT 10

static void expect(struct http_connection *c, int64_t timeout_ns, int64_t idle_since_ns)
{
    bool sends = timeout_ns != NO_DEADLINE && idle_since_ns == 0;
    atomic_store_explicit(&c->taking, 0, memory_order_relaxed);
    atomic_store_explicit(&c->sending_since_ns, sends ? now_ns() : 0, memory_order_relaxed);
    /* Relaxed: whoever looks late shuts down late. */
    atomic_store_explicit(&c->idle_since_ns, idle_since_ns, memory_order_relaxed);
    atomic_store_explicit(&c->deadline_ns,
                          timeout_ns == NO_DEADLINE ? NO_DEADLINE : now_ns() + timeout_ns,
                          memory_order_relaxed);
}

static uint32_t peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, info->client_addr, sizeof v4);
        return (uint32_t)(tsdb_hash64_plain(&v4.sin_addr, sizeof v4.sin_addr) % HTTP_PEERS);
    }
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, info->client_addr, sizeof v6);
        return (uint32_t)(tsdb_hash64_plain(&v6.sin6_addr, sizeof v6.sin6_addr) % HTTP_PEERS);
    }
    return 0;
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
    c->peer = peer_of(connection);
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

void http_connection_sends(struct http_server *s, struct MHD_Connection *connection, size_t bytes)
{
    struct http_connection *c = connection_of(connection);
    if (c) {
        expect(c, s->write_timeout_ns * (int64_t)(1 + bytes / HTTP_PIECE_BYTES), 0);
        atomic_store_explicit(&c->taking, 1, memory_order_relaxed);
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
        bool taking = atomic_load_explicit(&c->taking, memory_order_relaxed) != 0;
        if (deadline > now) {
            if (!taking && has_ended(c->fd)) {
                (void)shutdown(c->fd, SHUT_RD); /* an edge; what was whole is still answered */
            }
        } else {
            atomic_fetch_add_explicit(&s->connections_late, 1,
                                      memory_order_relaxed); /* seen by who sees the end */
            (void)shutdown(c->fd, SHUT_RDWR);
            atomic_store_explicit(&c->deadline_ns, NO_DEADLINE, memory_order_relaxed);
        }
    }
    tsdb_mutex_unlock(&s->connections_lock);
}

/* The one that has been idle for longest; NULL: none is. */
static struct http_connection *idlest(struct http_server *s) TSDB_REQUIRES(s->connections_lock)
{
    struct http_connection *oldest = NULL;
    int64_t oldest_ns = INT64_MAX;
    for (struct http_connection *c = s->connection_list; c; c = c->next) {
        int64_t since = atomic_load_explicit(&c->idle_since_ns, memory_order_relaxed);
        if (since > 0 && since < oldest_ns) {
            oldest = c;
            oldest_ns = since;
        }
    }
    return oldest;
}

/* Of the slow ones the slowest, of the address that has the most connections; NULL: none is slow. */
static struct http_connection *slowest(struct http_server *s) TSDB_REQUIRES(s->connections_lock)
{
    uint32_t counts[HTTP_PEERS] = {0};
    struct http_connection *found = NULL;
    int64_t now = now_ns();
    int64_t found_ns = 0;
    for (struct http_connection *c = s->connection_list; c; c = c->next) {
        counts[c->peer]++;
    }
    for (struct http_connection *c = s->connection_list; c; c = c->next) {
        int64_t since = atomic_load_explicit(&c->sending_since_ns, memory_order_relaxed);
        int64_t deadline = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);
        if (since == 0 || now - since < (deadline - since) / SLOW_OF_TIMEOUT) {
            continue; /* between the two loads its turn may have come: then it is far from slow */
        }
        if (!found || counts[c->peer] > counts[found->peer] ||
            (counts[c->peer] == counts[found->peer] && since < found_ns)) {
            found = c;
            found_ns = since;
        }
    }
    return found;
}

bool http_connections_make_room(struct http_server *s)
{
    tsdb_mutex_lock(&s->connections_lock);
    struct http_connection *c = idlest(s);
    if (!c) {
        c = slowest(s);
        atomic_fetch_add_explicit(&s->connections_late, c != NULL, memory_order_relaxed);
    }
    if (c) {
        (void)shutdown(c->fd, SHUT_RDWR);
        atomic_store_explicit(&c->idle_since_ns, 0, memory_order_relaxed);
        atomic_store_explicit(&c->sending_since_ns, 0, memory_order_relaxed);
    }
    tsdb_mutex_unlock(&s->connections_lock);
    return c != NULL;
}
