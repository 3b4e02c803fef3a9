/* A plain HTTP/1.1 client over a blocking socket, for tests: sends exactly the bytes it is given,
 * reads one answer at a time. Every read has a long timeout, so that a hang fails instead of
 * hanging. */
#ifndef TESTS_SUPPORT_SERVER_HTTP_CLIENT_H
#define TESTS_SUPPORT_SERVER_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_client {
    int fd;
    char *data; /* bytes received and not consumed */
    size_t len, cap;
};
struct http_answer {
    int status; /* 0: the connection ended or broke before a whole answer came */
    char *head; /* status line and headers, NUL-terminated */
    char *body; /* NUL-terminated */
    size_t body_len;
};

/* -1 on failure; c->fd is then -1. */
int http_client_open(struct http_client *c, uint16_t port);
void http_client_close(struct http_client *c);
/* False when the peer closed. */
bool http_client_send(struct http_client *c, const void *data, size_t len);
bool http_client_send_text(struct http_client *c, const char *text);
/* head_only: the answer to HEAD, which has a length but no body. Skips "100 Continue". Free with
 * http_answer_free. */
void http_client_read(struct http_client *c, bool head_only, struct http_answer *out);
/* True if the peer closes the connection (reads until then). */
bool http_client_closed(struct http_client *c);
void http_answer_free(struct http_answer *a);
/* The value of a header, copied to out; false if absent. */
bool http_answer_header(const struct http_answer *a, const char *name, char *out, size_t cap);

/* Send one request and read its answer. headers: lines that end in \r\n, or NULL. */
void http_client_call(struct http_client *c, const char *method, const char *path,
                      const char *headers, const void *body, size_t body_len,
                      struct http_answer *out);
/* The same on a connection of its own. */
void http_client_once(uint16_t port, const char *method, const char *path, const char *headers,
                      const void *body, size_t body_len, struct http_answer *out);

#endif
