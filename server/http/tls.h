/* TLS of the listener, by GnuTLS: certificate, client certificates, versions, suites.
 *
 * A state is what one reading of the files gave; new connections take the newest, old ones keep
 * theirs until they end. So certificates are replaced without anybody being cut off, and a file that
 * cannot be used changes nothing.
 *
 * Threads: any. */
#ifndef SERVER_HTTP_TLS_H
#define SERVER_HTTP_TLS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum http_client_auth {
    HTTP_CLIENT_NONE = 0,
    HTTP_CLIENT_REQUEST,         /* asked for, not looked at */
    HTTP_CLIENT_REQUIRE_ANY,     /* must be there, not verified */
    HTTP_CLIENT_VERIFY_IF_GIVEN, /* verified by client_ca_file if there is one */
    HTTP_CLIENT_REQUIRE_VERIFIED
};
/* Everything is borrowed during the call. */
struct http_tls_options {
    const char *cert_file, *key_file; /* PEM; the chain, leaf first */
    const char *client_ca_file;       /* "": none */
    enum http_client_auth client_auth;
    uint32_t min_version, max_version; /* 10..13 for TLS 1.0..1.3; max 0: the newest there is */
    /* Of TLS 1.2 and before, by IANA's names (TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256); none: all that
     * GnuTLS finds sane. Those of 1.3 are always on. */
    const char *const *suites;
    uint32_t suite_count;
    const char *const *sans; /* a verified client certificate must have one; none: any */
    uint32_t san_count;
};

struct http_tls;
/* INVALID names the file or the suite; NOMEM. */
enum tsdb_status http_tls_create(const struct http_tls_options *o, struct http_tls **out,
                                 struct tsdb_error *err) TSDB_WUR;
/* For connections from now on; after an error the old state stays. */
enum tsdb_status http_tls_set(struct http_tls *t, const struct http_tls_options *o,
                              struct tsdb_error *err) TSDB_WUR;
void http_tls_destroy(struct http_tls *t); /* after the last connection; NULL is fine */

#endif
