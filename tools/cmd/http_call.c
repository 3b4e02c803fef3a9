#include "tools/cmd/http_call.h"

#include "base/format.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define HOST_MAX        256
#define HEAD_BYTES_MAX  65536u
#define READ_BYTES      65536u
#define TIMEOUT_SECONDS 300 /* without a byte */
#define SCHEME          "http://"

struct url {
    char host[HOST_MAX], port[8];
    const char *prefix;
    size_t prefix_len;
};

bool http_is_url(const char *s)
{
    return strncmp(s, SCHEME, strlen(SCHEME)) == 0 || strncmp(s, "https://", 8) == 0;
}

static enum tsdb_status url_parse(const char *s, struct url *out, struct tsdb_error *err)
{
    if (strncmp(s, SCHEME, strlen(SCHEME)) != 0) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "%s: only http:// is spoken here", s);
    }
    const char *host = s + strlen(SCHEME);
    size_t len = strcspn(host, "/?#");
    const char *end = host + len, *colon = memchr(host, ':', len);
    const char *bracket = host[0] == '[' ? memchr(host, ']', len) : NULL;
    if (bracket) {
        colon = bracket + 1 < end && bracket[1] == ':' ? bracket + 1 : NULL;
    }
    size_t host_len = (size_t)((colon ? colon : end) - host);
    uint64_t port = 80;
    size_t port_len = colon ? (size_t)(end - colon - 1) : 0;
    if (host_len == 0 || host_len >= HOST_MAX || memchr(host, '@', len) || end[0] == '?' ||
        end[0] == '#' ||
        (colon && (!tsdb_parse_u64(colon + 1, port_len, &port) || port == 0 || port > 65535))) {
        return tsdb_error_set(err, TSDB_INVALID, "%s: expected http://host[:port][/prefix]", s);
    }
    size_t skip = bracket ? 1 : 0;
    snprintf(out->host, sizeof out->host, "%.*s", (int)(host_len - 2 * skip), host + skip);
    snprintf(out->port, sizeof out->port, "%u", (unsigned)port);
    out->prefix = end;
    out->prefix_len = strlen(end);
    while (out->prefix_len > 0 && end[out->prefix_len - 1] == '/') {
        out->prefix_len--;
    }
    return TSDB_OK;
}

static enum tsdb_status dial(const struct url *u, int *out, struct tsdb_error *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(u->host, u->port, &hints, &list);
    if (rc != 0) {
        return tsdb_error_set(err, TSDB_IO, "%s: %s", u->host, gai_strerror(rc));
    }
    int fd = -1, sys_errno = ENOENT;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            sys_errno = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) {
        return tsdb_error_set_errno(err, sys_errno, "connect to %s:%s", u->host, u->port);
    }
    struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    *out = fd;
    return TSDB_OK;
}

static enum tsdb_status send_all(int fd, const struct tsdb_buf *b, struct tsdb_error *err)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = send(fd, b->data + done, b->len - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return tsdb_error_set_errno(err, errno, "send a request");
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return TSDB_OK;
}

/* All bytes until the server closes. */
static enum tsdb_status receive(int fd, struct tsdb_buf *in, struct tsdb_error *err)
{
    for (;;) {
        uint8_t *room = tsdb_buf_reserve(in, READ_BYTES);
        if (!room) {
            return tsdb_error_set(err, TSDB_LIMIT,
                                  "the answer does not fit into memory (%llu bytes)",
                                  (unsigned long long)in->len);
        }
        ssize_t n = recv(fd, room, READ_BYTES, 0);
        if (n == 0) {
            return TSDB_OK;
        }
        if (n < 0 && errno != EINTR) {
            return tsdb_error_set_errno(err, errno, "read the answer");
        }
        in->len += n > 0 ? (size_t)n : 0;
    }
}

/* The value of a header, or NULL. head is NUL-terminated, lines end with CRLF. */
static const char *header(const char *head, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = strstr(head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, len) == 0 && p[len] == ':') {
            return p + len + 1 + strspn(p + len + 1, " \t");
        }
    }
    return NULL;
}

static enum tsdb_status take_apart(struct tsdb_buf *in, unsigned *out_code, struct tsdb_error *err)
{
    static const char bad[] = "the answer is not one of HTTP, or it ended early";
    size_t max = TSDB_MIN(in->len, HEAD_BYTES_MAX);
    uint8_t *end = in->len > 0 ? memmem(in->data, max, "\r\n\r\n", 4) : NULL;
    if (!end || in->len < 12 || memcmp(in->data, "HTTP/1.", 7) != 0) {
        return tsdb_error_set(err, TSDB_IO, "%s", bad);
    }
    end[2] = 0; /* the last header keeps its CRLF */
    uint64_t code = 0, length = 0;
    const char *head = (const char *)in->data, *text = header(head, "Content-Length");
    size_t begin = (size_t)(end - in->data) + 4, body = in->len - begin;
    bool ok = tsdb_parse_u64(head + 9, 3, &code) && !header(head, "Transfer-Encoding") &&
              (!text || (tsdb_parse_u64(text, strcspn(text, " \t\r"), &length) && length == body));
    if (!ok) {
        return tsdb_error_set(err, TSDB_IO, "%s", bad);
    }
    memmove(in->data, in->data + begin, body);
    in->len = body;
    *out_code = (unsigned)code;
    return TSDB_OK;
}

/* HTTP/1.0: the answer ends where the connection does, never in chunks. */
enum tsdb_status http_call(const char *url, const char *method, const char *path,
                           unsigned *out_code, struct tsdb_buf *body, struct tsdb_error *err)
{
    struct url u;
    int fd = -1;
    enum tsdb_status status = url_parse(url, &u, err);
    if (status == TSDB_OK) {
        status = dial(&u, &fd, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_buf request;
    tsdb_buf_init(&request, TSDB_MEM_OTHER, 0);
    tsdb_buf_printf(&request,
                    "%s %.*s%s HTTP/1.0\r\nHost: %s\r\nAccept: application/json\r\n"
                    "User-Agent: tidalite\r\nConnection: close\r\n%s\r\n",
                    method, (int)u.prefix_len, u.prefix, path, u.host,
                    strcmp(method, "POST") == 0 ? "Content-Length: 0\r\n" : "");
    tsdb_buf_clear(body);
    body->len_max = HTTP_CALL_BYTES_MAX;
    status = request.failed ? tsdb_error_nomem(err, "a request") : send_all(fd, &request, err);
    if (status == TSDB_OK) {
        status = receive(fd, body, err);
    }
    if (status == TSDB_OK) {
        status = take_apart(body, out_code, err);
    }
    tsdb_buf_deinit(&request);
    close(fd);
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "%s", url);
}

void http_escape(struct tsdb_buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)s[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (plain) {
            tsdb_buf_put_u8(out, c);
        } else {
            tsdb_buf_printf(out, "%%%02X", c);
        }
    }
}
