#include "tests/support/server/http_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define READ_TIMEOUT_S 20

int http_client_open(struct http_client *c, uint16_t port)
{
    *c = (struct http_client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = READ_TIMEOUT_S};
    int on = 1;
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
        http_client_close(c);
        return -1;
    }
    return 0;
}

void http_client_close(struct http_client *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    free(c->data);
    *c = (struct http_client){.fd = -1};
}

bool http_client_send(struct http_client *c, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

bool http_client_send_text(struct http_client *c, const char *text)
{
    return http_client_send(c, text, strlen(text));
}

/* Receive some more; false at the end, on an error and after the timeout. */
static bool receive(struct http_client *c)
{
    if (c->cap - c->len < 65536) {
        size_t cap = c->cap * 2 + 65536;
        char *p = realloc(c->data, cap);
        if (!p) {
            return false;
        }
        c->data = p;
        c->cap = cap;
    }
    ssize_t n = recv(c->fd, c->data + c->len, c->cap - c->len, 0);
    if (n <= 0) {
        return false;
    }
    c->len += (size_t)n;
    return true;
}

static void consume(struct http_client *c, size_t n)
{
    memmove(c->data, c->data + n, c->len - n);
    c->len -= n;
}

static char *copy_text(const char *s, size_t len)
{
    char *p = malloc(len + 1);
    if (p) {
        memcpy(p, s, len);
        p[len] = '\0';
    }
    return p;
}

/* Length of the head that c->data begins with, blank line included; 0: the connection ended. */
static size_t read_head(struct http_client *c)
{
    for (;;) {
        const char *end = c->len ? memmem(c->data, c->len, "\r\n\r\n", 4) : NULL;
        if (end) {
            return (size_t)(end - c->data) + 4;
        }
        if (!receive(c)) {
            return 0;
        }
    }
}

/* The body of chunks that begins at `head`, put together in its place. Its length in the input, SIZE_MAX where it
 * ends before its end; *out_len: its own. */
static size_t read_chunks(struct http_client *c, size_t head, size_t *out_len)
{
    size_t at = head;
    *out_len = 0;
    for (;;) {
        const char *line_end;
        while (!(line_end = memmem(c->data + at, c->len - at, "\r\n", 2))) {
            if (!receive(c)) {
                return SIZE_MAX;
            }
        }
        size_t bytes = (size_t)strtoull(c->data + at, NULL, 16);
        at = (size_t)(line_end - c->data) + 2;
        while (c->len - at < bytes + 2) {
            if (!receive(c)) {
                return SIZE_MAX;
            }
        }
        memmove(c->data + head + *out_len, c->data + at, bytes);
        *out_len += bytes;
        at += bytes + 2;
        if (bytes == 0) {
            return at - head;
        }
    }
}

void http_client_read(struct http_client *c, bool head_only, struct http_answer *out)
{
    *out = (struct http_answer){0};
    size_t head = read_head(c);
    while (head > 0 && strncmp(c->data, "HTTP/1.1 100", 12) == 0) {
        consume(c, head);
        head = read_head(c);
    }
    if (head == 0) {
        return;
    }
    out->head = copy_text(c->data, head);
    char length[32];
    if (!head_only && http_answer_header(out, "Transfer-Encoding", length, sizeof length)) {
        size_t len = 0;
        size_t used = read_chunks(c, head, &len);
        if (used != SIZE_MAX) {
            out->body = copy_text(c->data + head, len);
            out->body_len = len;
            out->status = atoi(out->head + 9);
            consume(c, head + used);
        }
        return;
    }
    bool has_length = http_answer_header(out, "Content-Length", length, sizeof length);
    size_t body = has_length && !head_only ? (size_t)strtoull(length, NULL, 10) : 0;
    while (c->len < head + body) {
        if (!receive(c)) {
            return;
        }
    }
    out->body = copy_text(c->data + head, body);
    out->body_len = body;
    out->status = atoi(out->head + 9);
    consume(c, head + body);
}

bool http_client_closed(struct http_client *c)
{
    for (;;) {
        char bytes[4096];
        ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
        if (n <= 0) {
            /* A reset is an end, too; a timeout is not. */
            return n == 0 || (errno != EAGAIN);
        }
    }
}

void http_answer_free(struct http_answer *a)
{
    free(a->head);
    free(a->body);
    *a = (struct http_answer){0};
}

bool http_answer_header(const struct http_answer *a, const char *name, char *out, size_t cap)
{
    size_t name_len = strlen(name);
    const char *line = a->head;
    while (line && *line) {
        const char *end = strstr(line, "\r\n");
        size_t len = end ? (size_t)(end - line) : strlen(line);
        if (len > name_len && strncasecmp(line, name, name_len) == 0 && line[name_len] == ':') {
            const char *value = line + name_len + 1;
            value += strspn(value, " ");
            snprintf(out, cap, "%.*s", (int)(line + len - value), value);
            return true;
        }
        line = end ? end + 2 : NULL;
    }
    return false;
}

void http_client_call(struct http_client *c, const char *method, const char *path,
                      const char *headers, const void *body, size_t body_len,
                      struct http_answer *out)
{
    size_t cap = strlen(method) + strlen(path) + (headers ? strlen(headers) : 0) + 256;
    char *head = malloc(cap);
    *out = (struct http_answer){0};
    if (!head) {
        return;
    }
    int n = snprintf(head, cap, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, path,
                     headers ? headers : "");
    if (body_len > 0 || strcmp(method, "POST") == 0) {
        n += snprintf(head + n, cap - (size_t)n, "Content-Length: %zu\r\n", body_len);
    }
    n += snprintf(head + n, cap - (size_t)n, "\r\n");
    bool ok = http_client_send(c, head, (size_t)n);
    free(head);
    if (ok && body_len > 0) {
        (void)http_client_send(c, body, body_len); /* a refusal may come before the end */
    }
    http_client_read(c, strcmp(method, "HEAD") == 0, out);
}

void http_client_once(uint16_t port, const char *method, const char *path, const char *headers,
                      const void *body, size_t body_len, struct http_answer *out)
{
    struct http_client c;
    *out = (struct http_answer){0};
    if (http_client_open(&c, port) == 0) {
        http_client_call(&c, method, path, headers, body, body_len, out);
        http_client_close(&c);
    }
}
