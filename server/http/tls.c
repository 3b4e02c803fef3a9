#include "server/http/tls.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/bytes.h"
#include "server/http/http_private.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>

#define SUITES_MAX     32
#define SUITE_BYTES    64
#define SANS_MAX       32
#define SAN_BYTES      256
#define PRIORITY_BYTES 1024

/* Immutable but for refs, which the lock of its http_tls guards. */
struct http_tls_state {
    struct http_tls *owner;
    uint32_t refs; /* connections, and the owner while it is the newest */
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
    enum http_client_auth client_auth;
    uint32_t suite_count, san_count;
    char suites[SUITES_MAX][SUITE_BYTES];
    char sans[SANS_MAX][SAN_BYTES];
};
struct http_tls {
    struct tsdb_mutex lock; /* rank SERVER_EXCHANGES */
    struct http_tls_state *newest TSDB_GUARDED;
};

static void state_free(struct http_tls_state *s)
{
    if (s->credentials) {
        gnutls_certificate_free_credentials(s->credentials);
    }
    if (s->priority) {
        gnutls_priority_deinit(s->priority);
    }
    tsdb_mem_free(TSDB_MEM_SERVER, s, sizeof *s);
}

/* ---- reading ---- */

/* IANA's names are parts in a row; GnuTLS is told of parts. What it then agrees on is looked at again
 * (suite_is_wanted), because parts combine to more than was asked for. */
static const struct {
    const char *part, *priority;
} suite_parts[] = {
    {"TLS_ECDHE_RSA_", "ECDHE-RSA"},
    {"TLS_ECDHE_ECDSA_", "ECDHE-ECDSA"},
    {"TLS_RSA_", "RSA"},
    {"_AES_128_GCM_", "AES-128-GCM:+AEAD"},
    {"_AES_256_GCM_", "AES-256-GCM:+AEAD"},
    {"_CHACHA20_POLY1305", "CHACHA20-POLY1305:+AEAD"},
    {"_AES_128_CBC_SHA", "AES-128-CBC:+SHA1:+SHA256"},
    {"_AES_256_CBC_SHA", "AES-256-CBC:+SHA1"},
    {"_3DES_EDE_CBC_SHA", "3DES-CBC:+SHA1"},
};

static enum tsdb_status add_suite(struct tsdb_buf *b, const char *suite, struct tsdb_error *err)
{
    uint32_t found = 0;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(suite_parts); i++) {
        if (strstr(suite, suite_parts[i].part)) {
            tsdb_buf_printf(b, ":+%s", suite_parts[i].priority);
            found++;
        }
    }
    return found == 2
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_INVALID, "cipher_suites: unknown suite \"%.60s\"", suite);
}

static enum tsdb_status set_priority(struct http_tls_state *s, const struct http_tls_options *o,
                                     struct tsdb_error *err)
{
    static const char *const versions[] = {"VERS-TLS1.0", "VERS-TLS1.1", "VERS-TLS1.2",
                                           "VERS-TLS1.3"};
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_SERVER, PRIORITY_BYTES * 4);
    enum tsdb_status status = TSDB_OK;
    uint32_t max = o->max_version ? o->max_version : 13;
    if (o->suite_count > 0) {
        tsdb_buf_put_str(&b, "NORMAL:-KX-ALL:-CIPHER-ALL:-MAC-ALL");
        for (uint32_t i = 0; status == TSDB_OK && i < o->suite_count; i++) {
            status = add_suite(&b, o->suites[i], err);
        }
        if (max >= 13) { /* its suites are no matter of choice */
            tsdb_buf_put_str(&b, ":+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD");
        }
    } else {
        tsdb_buf_put_str(&b, "NORMAL");
    }
    tsdb_buf_put_str(&b, ":-VERS-ALL");
    for (uint32_t v = 10; v <= 13; v++) {
        if (v >= o->min_version && v <= max) {
            tsdb_buf_printf(&b, ":+%s", versions[v - 10]);
        }
    }
    tsdb_buf_put_u8(&b, 0);
    const char *at = NULL;
    int rc = b.failed || status != TSDB_OK
                 ? GNUTLS_E_MEMORY_ERROR
                 : gnutls_priority_init(&s->priority, (const char *)b.data, &at);
    if (status == TSDB_OK && rc != 0) {
        status =
            tsdb_error_set(err, TSDB_INVALID, "TLS versions and suites: %s", gnutls_strerror(rc));
    }
    tsdb_buf_deinit(&b);
    return status;
}

static enum tsdb_status read_files(struct http_tls_state *s, const struct http_tls_options *o,
                                   struct tsdb_error *err)
{
    int rc = gnutls_certificate_allocate_credentials(&s->credentials);
    if (rc != 0) {
        return tsdb_error_nomem(err, "TLS");
    }
    rc = gnutls_certificate_set_x509_key_file(s->credentials, o->cert_file, o->key_file,
                                              GNUTLS_X509_FMT_PEM);
    if (rc < 0) {
        return tsdb_error_set(err, TSDB_INVALID, "cert_file %s with key_file %s: %s", o->cert_file,
                              o->key_file, gnutls_strerror(rc));
    }
    if (o->client_ca_file[0]) {
        rc = gnutls_certificate_set_x509_trust_file(s->credentials, o->client_ca_file,
                                                    GNUTLS_X509_FMT_PEM);
        if (rc <= 0) {
            return tsdb_error_set(err, TSDB_INVALID, "client_ca_file %s: %s", o->client_ca_file,
                                  rc == 0 ? "no certificate in it" : gnutls_strerror(rc));
        }
    }
    return TSDB_OK;
}

static void copy_names(struct http_tls_state *s, const struct http_tls_options *o)
{
    s->suite_count = TSDB_MIN(o->suite_count, SUITES_MAX);
    for (uint32_t i = 0; i < s->suite_count; i++) {
        snprintf(s->suites[i], SUITE_BYTES, "%s", o->suites[i]);
    }
    s->san_count = TSDB_MIN(o->san_count, SANS_MAX);
    for (uint32_t i = 0; i < s->san_count; i++) {
        snprintf(s->sans[i], SAN_BYTES, "%s", o->sans[i]);
    }
}

static enum tsdb_status state_create(struct http_tls *t, const struct http_tls_options *o,
                                     struct http_tls_state **out, struct tsdb_error *err)
{
    struct http_tls_state *s = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *s);
    if (!s) {
        return tsdb_error_nomem(err, "TLS");
    }
    s->owner = t;
    s->refs = 1;
    s->client_auth = o->client_auth;
    copy_names(s, o);
    enum tsdb_status status = read_files(s, o, err);
    if (status == TSDB_OK) {
        status = set_priority(s, o, err);
    }
    if (status != TSDB_OK) {
        state_free(s);
        return status;
    }
    *out = s;
    return TSDB_OK;
}

enum tsdb_status http_tls_set(struct http_tls *t, const struct http_tls_options *o,
                              struct tsdb_error *err)
{
    struct http_tls_state *fresh = NULL;
    enum tsdb_status status = state_create(t, o, &fresh, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_mutex_lock(&t->lock);
    struct http_tls_state *old = t->newest;
    t->newest = fresh;
    tsdb_mutex_unlock(&t->lock);
    http_tls_end(old);
    return TSDB_OK;
}

enum tsdb_status http_tls_create(const struct http_tls_options *o, struct http_tls **out,
                                 struct tsdb_error *err)
{
    struct http_tls *t = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *t);
    if (!t) {
        return tsdb_error_nomem(err, "TLS");
    }
    tsdb_mutex_init(&t->lock, TSDB_RANK_SERVER_EXCHANGES, "http-tls");
    enum tsdb_status status = http_tls_set(t, o, err);
    if (status != TSDB_OK) {
        http_tls_destroy(t);
        return status;
    }
    *out = t;
    return TSDB_OK;
}

void http_tls_destroy(struct http_tls *t) TSDB_NO_TSA
{
    if (t) {
        http_tls_end(t->newest);
        tsdb_mutex_deinit(&t->lock);
        tsdb_mem_free(TSDB_MEM_SERVER, t, sizeof *t);
    }
}

/* ---- connections ---- */

/* IANA: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; GnuTLS: ECDHE_RSA_AES_128_GCM_SHA256. */
static bool is_suite(const char *iana, const char *gnutls)
{
    static const char begin[] = "TLS_";
    static const char with[] = "WITH_";
    iana += strncmp(iana, begin, sizeof begin - 1) == 0 ? sizeof begin - 1 : 0;
    const char *at = strstr(iana, with);
    size_t head = at ? (size_t)(at - iana) : 0;
    return at && strncmp(iana, gnutls, head) == 0 &&
           strcmp(at + sizeof with - 1, gnutls + head) == 0;
}

static bool suite_is_wanted(const struct http_tls_state *s, gnutls_session_t session)
{
    const char *name = gnutls_cipher_suite_get_name(
        gnutls_kx_get(session), gnutls_cipher_get(session), gnutls_mac_get(session));
    bool found = s->suite_count == 0 || gnutls_protocol_get_version(session) == GNUTLS_TLS1_3;
    for (uint32_t i = 0; !found && name && i < s->suite_count; i++) {
        found = is_suite(s->suites[i], name);
    }
    return found;
}

/* The client's comes first: before a byte of ours goes out under the suite. */
static int after_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                          const gnutls_datum_t *message)
{
    (void)type;
    (void)when;
    (void)incoming;
    (void)message;
    const struct http_tls_state *s = gnutls_session_get_ptr(session);
    return suite_is_wanted(s, session) ? 0 : GNUTLS_E_NO_CIPHER_SUITES;
}

/* One of the names that the configuration lists, as the certificate has it. */
static bool has_wanted_san(const struct http_tls_state *s, gnutls_session_t session)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t leaf = NULL;
    if (!chain || count == 0 || gnutls_x509_crt_init(&leaf) != 0) {
        return false;
    }
    bool found = false;
    if (gnutls_x509_crt_import(leaf, &chain[0], GNUTLS_X509_FMT_DER) == 0) {
        for (unsigned seq = 0; !found; seq++) {
            char name[SAN_BYTES];
            size_t len = sizeof name - 1;
            int kind = gnutls_x509_crt_get_subject_alt_name(leaf, seq, name, &len, NULL);
            if (kind == GNUTLS_E_SHORT_MEMORY_BUFFER) {
                continue; /* longer than any that is wanted */
            }
            if (kind < 0) {
                break;
            }
            name[TSDB_MIN(len, sizeof name - 1)] = '\0';
            for (uint32_t i = 0; !found && kind != GNUTLS_SAN_IPADDRESS && i < s->san_count; i++) {
                found = strlen(s->sans[i]) == len && memcmp(s->sans[i], name, len) == 0;
            }
        }
    }
    gnutls_x509_crt_deinit(leaf);
    return found;
}

/* In the handshake, when the client's certificate is there, or its absence is known. 0: go on. */
static int verify_client(gnutls_session_t session)
{
    const struct http_tls_state *s = gnutls_session_get_ptr(session);
    unsigned count = 0;
    bool given = gnutls_certificate_get_peers(session, &count) && count > 0;
    if (!given || s->client_auth < HTTP_CLIENT_VERIFY_IF_GIVEN) {
        bool must = s->client_auth == HTTP_CLIENT_REQUIRE_ANY ||
                    s->client_auth == HTTP_CLIENT_REQUIRE_VERIFIED;
        return given || !must ? 0 : GNUTLS_E_NO_CERTIFICATE_FOUND;
    }
    unsigned faults = 0;
    unsigned char client_purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = client_purpose};
    int rc = gnutls_certificate_verify_peers(session, &purpose, 1, &faults);
    bool ok = rc == 0 && faults == 0 && (s->san_count == 0 || has_wanted_san(s, session));
    return ok ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

struct http_tls_state *http_tls_begin(struct http_tls *t, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!info || !info->tls_session) {
        return NULL;
    }
    gnutls_session_t session = info->tls_session;
    tsdb_mutex_lock(&t->lock);
    struct http_tls_state *s = t->newest;
    s->refs++;
    tsdb_mutex_unlock(&t->lock);
    gnutls_session_set_ptr(session, s);
    gnutls_credentials_clear(session);
    (void)gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, s->credentials);
    (void)gnutls_priority_set(session, s->priority);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST,
                                       after_finished);
    if (s->client_auth != HTTP_CLIENT_NONE) {
        bool must = s->client_auth == HTTP_CLIENT_REQUIRE_ANY ||
                    s->client_auth == HTTP_CLIENT_REQUIRE_VERIFIED;
        gnutls_certificate_server_set_request(session,
                                              must ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST);
        gnutls_session_set_verify_function(session, verify_client);
    }
    return s;
}

void http_tls_end(struct http_tls_state *s)
{
    if (!s) {
        return;
    }
    tsdb_mutex_lock(&s->owner->lock);
    TSDB_ASSERT(s->refs > 0);
    bool last = --s->refs == 0;
    tsdb_mutex_unlock(&s->owner->lock);
    if (last) {
        state_free(s);
    }
}

/* Never called: each session has credentials of its own. libmicrohttpd wants a certificate or
 * somebody who would give one. */
int http_tls_no_certificate(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
                            const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                            gnutls_pcert_st **out, unsigned *out_count, gnutls_privkey_t *out_key)
{
    (void)session;
    (void)names;
    (void)name_count;
    (void)algorithms;
    (void)algorithm_count;
    (void)out;
    (void)out_count;
    (void)out_key;
    return -1;
}

ssize_t http_tls_send(struct MHD_Connection *connection, const void *data, size_t len)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info && info->tls_session ? gnutls_record_send(info->tls_session, data, len) : -1;
}
