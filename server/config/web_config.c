#include "server/config/web_config.h"

#include "base/alloc.h"
#include "server/config/yaml.h"

#include <stdio.h>
#include <string.h>

static struct web_config *config_of(struct yaml_walk *w)
{
    return w->out;
}

/* A word of a list; -1: none of them. */
static int word_index(const char *const *words, size_t count, const char *text)
{
    for (size_t i = 0; text && i < count; i++) {
        if (strcmp(words[i], text) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- tls_server_config ---- */

static enum tsdb_status take_path(const struct yaml_walk *w, const yaml_node_t *node,
                                  const char *key, char out[WEB_PATH_BYTES])
{
    char text[WEB_PATH_BYTES];
    enum tsdb_status status = yaml_take_text(w, node, key, text, sizeof text);
    if (status != TSDB_OK) {
        return status;
    }
    const char *slash = strrchr(w->name, '/');
    int folder = text[0] == '/' || text[0] == '\0' || !slash ? 0 : (int)(slash + 1 - w->name);
    int n = snprintf(out, WEB_PATH_BYTES, "%.*s%s", folder, w->name, text);
    return n < WEB_PATH_BYTES ? TSDB_OK : yaml_complain(w, node, "too long a text for", key);
}

static const char *const client_auths[] = {"NoClientCert", "RequestClientCert",
                                           "RequireAnyClientCert", "VerifyClientCertIfGiven",
                                           "RequireAndVerifyClientCert"};
static const char *const versions[] = {"TLS10", "TLS11", "TLS12", "TLS13"};

static enum tsdb_status take_version(const struct yaml_walk *w, const yaml_node_t *node,
                                     const char *key, uint32_t *out)
{
    int i = word_index(versions, TSDB_ARRAY_LEN(versions), yaml_text(node));
    if (i < 0) {
        return yaml_complain(w, node, "expected TLS10, TLS11, TLS12 or TLS13 for", key);
    }
    *out = 10 + (uint32_t)i;
    return TSDB_OK;
}

static enum tsdb_status on_suite(struct yaml_walk *w, const char *key, const yaml_node_t *item)
{
    struct web_tls *t = &config_of(w)->tls;
    if (t->suite_count == WEB_SUITES_MAX) {
        return yaml_complain(w, item, "too many items in", key);
    }
    return yaml_take_text(w, item, key, t->suites[t->suite_count++], sizeof t->suites[0]);
}

static enum tsdb_status on_san(struct yaml_walk *w, const char *key, const yaml_node_t *item)
{
    struct web_tls *t = &config_of(w)->tls;
    if (t->san_count == WEB_SANS_MAX) {
        return yaml_complain(w, item, "too many items in", key);
    }
    return yaml_take_text(w, item, key, t->sans[t->san_count++], sizeof t->sans[0]);
}

/* What GnuTLS has its own good order of. */
static enum tsdb_status skip_item(struct yaml_walk *w, const char *key, const yaml_node_t *item)
{
    return yaml_text(item) ? TSDB_OK : yaml_complain(w, item, "expected a text for", key);
}

static enum tsdb_status on_tls(struct yaml_walk *w, const char *key, const yaml_node_t *key_node,
                               const yaml_node_t *value)
{
    struct web_tls *t = &config_of(w)->tls;
    bool ignored = false;
    if (strcmp(key, "cert_file") == 0) {
        return take_path(w, value, key, t->cert_file);
    }
    if (strcmp(key, "key_file") == 0) {
        return take_path(w, value, key, t->key_file);
    }
    if (strcmp(key, "client_ca_file") == 0) {
        return take_path(w, value, key, t->client_ca_file);
    }
    if (strcmp(key, "client_auth_type") == 0) {
        const char *text = yaml_text(value);
        if (text && strcmp(text, "RequireClientCert") == 0) {
            text = "RequireAnyClientCert"; /* an older name */
        }
        int i = word_index(client_auths, TSDB_ARRAY_LEN(client_auths),
                           text && *text ? text : client_auths[0]);
        t->client_auth = i > 0 ? (enum web_client_auth)i : WEB_CLIENT_NONE;
        return i >= 0 ? TSDB_OK : yaml_complain(w, value, "unknown client_auth_type", text);
    }
    if (strcmp(key, "min_version") == 0) {
        return take_version(w, value, key, &t->min_version);
    }
    if (strcmp(key, "max_version") == 0) {
        return take_version(w, value, key, &t->max_version);
    }
    if (strcmp(key, "cipher_suites") == 0) {
        return yaml_each_item(w, value, key, on_suite);
    }
    if (strcmp(key, "client_allowed_sans") == 0) {
        return yaml_each_item(w, value, key, on_san);
    }
    if (strcmp(key, "curve_preferences") == 0) {
        return yaml_each_item(w, value, key, skip_item);
    }
    if (strcmp(key, "prefer_server_cipher_suites") == 0) {
        return yaml_take_bool(w, value, key, &ignored);
    }
    return yaml_complain(w, key_node, "unknown key in tls_server_config:", key);
}

static enum tsdb_status parse_tls(struct yaml_walk *w, const yaml_node_t *key_node,
                                  const yaml_node_t *value)
{
    struct web_tls *t = &config_of(w)->tls;
    t->min_version = 12;
    enum tsdb_status status = yaml_each_key(w, value, "tls_server_config", on_tls);
    if (status != TSDB_OK) {
        return status;
    }
    config_of(w)->has_tls = t->cert_file[0] || t->key_file[0];
    const char *missing = !config_of(w)->has_tls ? NULL
                          : !t->cert_file[0]     ? "cert_file"
                          : !t->key_file[0]      ? "key_file"
                                                 : NULL;
    if (missing) {
        return yaml_complain(w, key_node, "tls_server_config misses", missing);
    }
    if (t->client_auth >= WEB_CLIENT_VERIFY_IF_GIVEN && !t->client_ca_file[0]) {
        return yaml_complain(w, key_node, "this client_auth_type needs", "client_ca_file");
    }
    if (t->client_ca_file[0] && t->client_auth == WEB_CLIENT_NONE) {
        return yaml_complain(w, key_node, "client_ca_file needs a", "client_auth_type");
    }
    if (t->max_version && t->max_version < t->min_version) {
        return yaml_complain(w, key_node, "max_version is below", "min_version");
    }
    return TSDB_OK;
}

/* ---- http_server_config ---- */

static const char *const header_names[WEB_HEADER_KINDS] = {
    "Content-Security-Policy", "Strict-Transport-Security", "X-Content-Type-Options",
    "X-Frame-Options", "X-XSS-Protection"};

static bool is_printable(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum tsdb_status on_header(struct yaml_walk *w, const char *key, const yaml_node_t *key_node,
                                  const yaml_node_t *value)
{
    struct web_config *c = config_of(w);
    int i = word_index(header_names, WEB_HEADER_KINDS, key);
    if (i < 0) {
        return yaml_complain(w, key_node, "this header cannot be set:", key);
    }
    struct web_header *h = &c->headers[c->header_count];
    enum tsdb_status status = yaml_take_text(w, value, key, h->value, sizeof h->value);
    if (status != TSDB_OK || h->value[0] == '\0') {
        return status;
    }
    size_t bytes = 0;
    for (uint32_t k = 0; k < c->header_count; k++) {
        bytes += strlen(c->headers[k].value);
    }
    if (!is_printable(h->value) || bytes + strlen(h->value) > WEB_HEADERS_BYTES) {
        return yaml_complain(w, value, "control characters, or too much, in the headers at", key);
    }
    h->name = header_names[i];
    c->header_count++;
    return TSDB_OK;
}

static enum tsdb_status on_http(struct yaml_walk *w, const char *key, const yaml_node_t *key_node,
                                const yaml_node_t *value)
{
    bool http2 = false;
    if (strcmp(key, "http2") == 0) { /* it is not spoken here, in any case */
        return yaml_take_bool(w, value, key, &http2);
    }
    if (strcmp(key, "headers") == 0) {
        return yaml_each_key(w, value, key, on_header);
    }
    return yaml_complain(w, key_node, "unknown key in http_server_config:", key);
}

/* ---- basic_auth_users ---- */

/* $2a$, $2b$ or $2y$, the cost in two digits, 53 characters of salt and sum. */
static bool is_bcrypt(const char *s)
{
    return strncmp(s, "$2", 2) == 0 && strchr("aby", s[2]) && s[2] && s[3] == '$' && s[4] >= '0' &&
           s[4] <= '3' && s[5] >= '0' && s[5] <= '9' && s[6] == '$' && strlen(s) == 60 &&
           strspn(s + 7, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == 53;
}

static enum tsdb_status on_user(struct yaml_walk *w, const char *key, const yaml_node_t *key_node,
                                const yaml_node_t *value)
{
    struct web_config *c = config_of(w);
    if (c->user_count == WEB_USERS_MAX) {
        return yaml_complain(w, key_node, "too many users:", key);
    }
    struct web_user *u = &c->users[c->user_count];
    if (key[0] == '\0' || strchr(key, ':') || strlen(key) >= sizeof u->name) {
        return yaml_complain(w, key_node, "not a name for a user:", key);
    }
    const char *hash = yaml_text(value);
    if (!hash || !is_bcrypt(hash)) {
        return yaml_complain(
            w, value, "expected a bcrypt hash, as `htpasswd -nBC 10 \"\"` prints it, for the user",
            key);
    }
    memcpy(u->name, key, strlen(key) + 1);
    memcpy(u->hash, hash, strlen(hash) + 1);
    c->user_count++;
    return TSDB_OK;
}

static enum tsdb_status on_section(struct yaml_walk *w, const char *key,
                                   const yaml_node_t *key_node, const yaml_node_t *value)
{
    if (strcmp(key, "tls_server_config") == 0) {
        return parse_tls(w, key_node, value);
    }
    if (strcmp(key, "http_server_config") == 0) {
        return yaml_each_key(w, value, key, on_http);
    }
    if (strcmp(key, "basic_auth_users") == 0) {
        return yaml_each_key(w, value, key, on_user);
    }
    return yaml_complain(w, key_node, "unknown key", key);
}

enum tsdb_status web_config_parse(const char *name, const char *text, size_t len,
                                  struct web_config **out, struct tsdb_error *err)
{
    struct web_config *c = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *c);
    if (!c) {
        return tsdb_error_nomem(err, "the web configuration");
    }
    enum tsdb_status status = yaml_parse(name, text, len, on_section, c, err);
    if (status != TSDB_OK) {
        web_config_destroy(c);
        return status;
    }
    *out = c;
    return TSDB_OK;
}

enum tsdb_status web_config_load(const char *path, struct web_config **out, struct tsdb_error *err)
{
    char *text = NULL;
    size_t len = 0;
    enum tsdb_status status = yaml_read_text("web.config.file", path, &text, &len, err);
    if (status == TSDB_OK) {
        status = web_config_parse(path, text, len, out, err);
        yaml_text_free(text);
    }
    return status;
}

void web_config_destroy(struct web_config *c)
{
    tsdb_mem_free(TSDB_MEM_SERVER, c, sizeof *c);
}
