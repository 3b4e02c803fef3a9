/* --web.config.file: TLS, users and headers of answers, in the format that Prometheus's exporter
 * toolkit documents. Immutable after load. */
#ifndef SERVER_CONFIG_WEB_CONFIG_H
#define SERVER_CONFIG_WEB_CONFIG_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEB_USERS_MAX     256
#define WEB_PATH_BYTES    1024
#define WEB_SUITES_MAX    32
#define WEB_SANS_MAX      32
#define WEB_HEADERS_BYTES 1024 /* all configured headers of an answer together */

/* In the order of what they ask for. */
enum web_client_auth {
    WEB_CLIENT_NONE = 0,
    WEB_CLIENT_REQUEST,         /* asked for, not looked at */
    WEB_CLIENT_REQUIRE_ANY,     /* must be there, not verified */
    WEB_CLIENT_VERIFY_IF_GIVEN, /* verified by client_ca_file if there is one */
    WEB_CLIENT_REQUIRE_VERIFIED
};
struct web_tls {
    char cert_file[WEB_PATH_BYTES], key_file[WEB_PATH_BYTES], client_ca_file[WEB_PATH_BYTES];
    enum web_client_auth client_auth;
    uint32_t min_version, max_version; /* 10..13 for TLS 1.0..1.3; max 0: the newest there is */
    uint32_t suite_count, san_count;
    char suites[WEB_SUITES_MAX]
               [64]; /* of TLS 1.2 and before, by IANA's names; none: all that are sane */
    char sans[WEB_SANS_MAX][256]; /* a client certificate must have one of them; none: any */
};
struct web_user {
    char name[128];
    char hash[64]; /* bcrypt: $2y$10$... */
};
struct web_header {
    const char *name; /* static */
    char value[WEB_HEADERS_BYTES];
};
enum {
    WEB_HEADER_KINDS = 5
};
struct web_config {
    bool has_tls;
    struct web_tls tls;
    uint32_t user_count, header_count;
    struct web_user users[WEB_USERS_MAX];
    struct web_header headers[WEB_HEADER_KINDS];
};

/* text[len] untrusted. Paths are taken as relative to the folder of `name`. INVALID with file and
 * line; NOMEM. The caller frees with web_config_destroy. */
enum tsdb_status web_config_parse(const char *name, const char *text, size_t len,
                                  struct web_config **out, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status web_config_load(const char *path, struct web_config **out,
                                 struct tsdb_error *err) TSDB_WUR;
void web_config_destroy(struct web_config *c); /* NULL is fine */

#endif
