/* The listening socket and the thread that hands connections to the least loaded daemon. */
#include "server/http/http_private.h"

#include "base/format.h"
#include "base/log.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK_MS         500 /* how often deadlines are looked at */
#define FULL_MS          10  /* how often room is looked for */
#define PATIENCE         100 /* looks, until another idle connection goes */
#define DESCRIPTORS_KEPT 64u /* for segments, head files, blocks that are being made */

/* Split "host:port", "[v6]:port" or ":port" into two strings. */
static bool split_address(const char *address, char *host, size_t host_cap, char *port,
                          size_t port_cap)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon[1] == '\0' || strlen(colon + 1) >= port_cap) {
        return false;
    }
    size_t len = (size_t)(colon - address);
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len >= host_cap) {
        return false;
    }
    memcpy(host, address, len);
    host[len] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    /* getaddrinfo takes 99999 for 34463. */
    uint64_t n = 0;
    return tsdb_parse_u64(port, strlen(port), &n) && n <= UINT16_MAX;
}

static int bind_one(const struct addrinfo *ai)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, HTTP_LISTEN_BACKLOG) == 0) {
        return fd;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof ss;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0) {
        return 0;
    }
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (ss.ss_family == AF_INET6) {
        memcpy(&v6, &ss, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    memcpy(&v4, &ss, sizeof v4);
    return ntohs(v4.sin_port);
}

enum tsdb_status http_listen(const char *address, int *out_fd, uint16_t *out_port,
                             struct tsdb_error *err)
{
    char host[256];
    char port[32];
    if (!split_address(address, host, sizeof host, port, sizeof port)) {
        return tsdb_error_set(err, TSDB_INVALID, "listen address \"%s\": expected host:port",
                              address);
    }
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (rc != 0) {
        return tsdb_error_set(err, TSDB_INVALID, "listen address \"%s\": %s", address,
                              gai_strerror(rc));
    }
    int fd = -1;
    int last = 0;
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = bind_one(ai);
        last = errno;
    }
    freeaddrinfo(list);
    if (fd < 0) {
        return tsdb_error_set_errno(err, last, "listen on %s", address);
    }
    *out_fd = fd;
    *out_port = bound_port(fd);
    return TSDB_OK;
}

static struct http_daemon *least_loaded(struct http_server *s)
{
    struct http_daemon *best = &s->daemons[0];
    for (uint32_t i = 1; i < s->daemon_count; i++) {
        /* Relaxed: a hint for placement only. */
        if (atomic_load_explicit(&s->daemons[i].connections, memory_order_relaxed) <
            atomic_load_explicit(&best->connections, memory_order_relaxed)) {
            best = &s->daemons[i];
        }
    }
    return best;
}

static void hand_over(struct http_server *s, int fd, const struct sockaddr *addr, socklen_t len)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct http_daemon *d = least_loaded(s);
    /* Counted here, not when the daemon notices, so that a burst spreads. */
    atomic_fetch_add(&d->connections, 1);
    atomic_fetch_add(&s->connections_open, 1);
    atomic_fetch_add(&s->connections, 1);
    if (MHD_add_connection(d->mhd, fd, addr, len) != MHD_YES) {
        /* libmicrohttpd has closed the socket; no closing notice will come for it. */
        atomic_fetch_sub(&d->connections, 1);
        atomic_fetch_sub(&s->connections_open, 1);
        atomic_fetch_add(&s->connections_refused, 1);
    }
}

/* base/file.h keeps a quarter of the descriptors from those who read files. The log and whoever
 * makes a file get DESCRIPTORS_KEPT of it, or a quarter where that is less. */
uint32_t http_connections_fit(uint32_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 > UINT32_MAX) {
        return wanted;
    }
    uint32_t quarter = (uint32_t)(limit.rlim_cur / 4);
    uint32_t fit = TSDB_MAX(quarter - TSDB_MIN(DESCRIPTORS_KEPT, quarter / 4), 1u);
    if (fit >= wanted) {
        return wanted;
    }
    tsdb_log(TSDB_LOG_WARN, "http", "fewer connections than asked for: descriptors are short",
             TSDB_U("connections", fit), TSDB_U("asked", wanted), TSDB_U("limit", limit.rlim_cur));
    return fit;
}

static bool has_room(const struct http_server *s)
{
    return atomic_load(&s->connections_open) < s->connections_max;
}

static bool somebody_waits(const struct http_server *s)
{
    struct pollfd fd = {.fd = s->listen_fd, .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void *accept_main(void *arg)
{
    struct http_server *s = arg;
    uint32_t full_rounds = 0;
    for (;;) {
        /* Without room the listener is left alone: who comes waits in the backlog. */
        bool room = has_room(s);
        struct pollfd fds[2] = {{.fd = room ? s->listen_fd : -1, .events = POLLIN},
                                {.fd = s->stop_fd, .events = POLLIN}};
        if (poll(fds, 2, room ? CHECK_MS : FULL_MS) < 0 && errno != EINTR) {
            tsdb_log(TSDB_LOG_ERROR, "http", "accept thread cannot wait", TSDB_I("errno", errno));
            return NULL;
        }
        if (fds[1].revents) {
            return NULL;
        }
        http_connections_check(s);
        /* Who is shut down takes a moment to go: not another one at each look. */
        full_rounds = room ? 0 : full_rounds + 1;
        if (full_rounds % PATIENCE == 1 && !somebody_waits(s)) {
            full_rounds = 0;
        } else if (full_rounds % PATIENCE == 1) {
            (void)http_connections_make_room(s);
        }
        for (int i = 0; i < 64 && has_room(s); i++) {
            struct sockaddr_storage addr;
            socklen_t len = sizeof addr;
            int fd =
                accept4(s->listen_fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd < 0) {
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                    /* Out of descriptors or memory: leave the backlog alone for a moment instead of
                     * spinning on it. */
                    (void)poll(&fds[1], 1, 50);
                }
                break;
            }
            hand_over(s, fd, (const struct sockaddr *)&addr, len);
        }
    }
}

enum tsdb_status http_accept_start(struct http_server *s, struct tsdb_error *err)
{
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (s->stop_fd < 0) {
        return tsdb_error_set_errno(err, errno, "eventfd");
    }
    enum tsdb_status status =
        tsdb_thread_start(&s->accept_thread, "http-accept", accept_main, s, err);
    s->accept_running = status == TSDB_OK;
    return status;
}

void http_accept_stop(struct http_server *s)
{
    if (s->accept_running) {
        uint64_t one = 1;
        ssize_t n = write(s->stop_fd, &one, sizeof one);
        (void)n; /* an eventfd write of 1 cannot fail short of an overflow, which also wakes */
        pthread_join(s->accept_thread, NULL);
        s->accept_running = false;
    }
    if (s->stop_fd >= 0) {
        close(s->stop_fd);
        s->stop_fd = -1;
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        s->listen_fd = -1;
    }
}
