/* Who may come in, and as whom: credentials, scopes, hosts, limits of clients; TLS and the headers of
 * answers that the same file sets. SECURITY.md says against whom.
 *
 * Files are looked at about once a second (door_refresh) and read again when they have changed; what
 * cannot be used is said in the log, and the old rules stay.
 *
 * Threads: any, but create and destroy. */
#ifndef SERVER_DOOR_DOOR_H
#define SERVER_DOOR_DOOR_H

#include "base/clock.h"
#include "base/status.h"
#include "server/door/limits.h"
#include "server/http/http.h"

#define DOOR_CLIENT_BYTES 160

struct door;
struct door_options {
    const char *web_config_file, *token_file; /* "": none */
    const char *listen_address;
    const char *external_url;  /* "" or one that door_url_split takes */
    const char *allowed_hosts; /* with commas; "": see door_admit */
    struct limits_options limits;
    struct tsdb_clock clock;
};
/* Reads the files. INVALID names file and line; IO, NOMEM. Strings are copied. */
enum tsdb_status door_create(const struct door_options *o, struct door **out,
                             struct tsdb_error *err) TSDB_WUR;
void door_destroy(struct door *d); /* after http_stop; NULL is fine */
/* Reads what has changed. Whoever calls it does so from one thread. */
void door_refresh(struct door *d);
struct http_tls *door_tls(const struct door *d); /* NULL: plain */

struct door_verdict {
    unsigned status;                /* 0: come in; else the status of the answer */
    const char *text;               /* of the answer, static */
    const char *challenge;          /* WWW-Authenticate; NULL: none */
    uint32_t retry_after_s;         /* 0: none */
    char client[DOOR_CLIENT_BYTES]; /* for limits and the log: token, user or address */
};
/* In a daemon's thread, with the request's headers. need: enum tsdb_scope bit that the request
 * wants; 0: nothing, for those whom everybody may ask.
 *
 * Hosts: without allowed_hosts a listener on loopback takes addresses, localhost, names without a dot and
 * the host of external_url, any other takes all; with it, these and those that it names ("*": all). */
void door_admit(struct door *d, const struct http_exchange *x, unsigned need,
                struct door_verdict *out);
/* Does a browser say that the page comes from where external_url is? */
bool door_origin_is_ours(const struct door *d, const char *origin);
struct limits *door_limits(struct door *d);
/* Headers that every answer gets; add copies. */
void door_answer_headers(struct door *d, struct http_exchange *x,
                         void (*add)(struct http_exchange *x, const char *name, const char *value));
struct door_stats {
    uint64_t unauthorized; /* 401, 403 */
    uint64_t wrong_host, limited;
    uint64_t busy, comparisons; /* of passwords */
};
void door_stats_read(struct door *d, struct door_stats *out);

/* "http(s)://host[:port][/path]": where the host begins and its length, and the path ("" if none).
 * False: no such URL. */
bool door_url_split(const char *url, struct tsdb_slice *out_host, const char **out_path);

#endif
