#include "server/door/door.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "model/request.h"
#include "server/config/web_config.h"
#include "server/config/yaml.h"
#include "server/door/tokens.h"
#include "server/door/users.h"
#include "server/http/tls.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define ALL_SCOPES   (TSDB_SCOPE_READ | TSDB_SCOPE_WRITE | TSDB_SCOPE_ADMIN)
#define HOSTS_BYTES  1024
#define FILES_MAX    5
#define SECRET_BYTES (USERS_NAME_MAX + USERS_SECRET_MAX + 2)

/* What tells a file from the one before: replaced, rewritten, gone. */
struct file_mark {
    uint64_t dev, ino, bytes;
    int64_t mtime_s, mtime_ns, ctime_s, ctime_ns;
};

/* What one reading of the files gave. Immutable; guarded by the door's lock as a whole. */
struct rules {
    struct web_config *web; /* NULL: none */
    struct tokens *tokens;
};

struct door {
    char web_config_file[WEB_PATH_BYTES], token_file[WEB_PATH_BYTES];
    char external_url[WEB_PATH_BYTES];
    char hosts[HOSTS_BYTES]; /* with commas */
    bool checks_hosts;
    struct http_tls *tls;
    struct users users;
    struct limits limits;
    struct file_mark marks[FILES_MAX]; /* door_refresh */
    struct tsdb_mutex lock;            /* rank SERVER_EXCHANGES, held shortly */
    struct rules rules TSDB_GUARDED;
    _Atomic(uint64_t) unauthorized, wrong_host, limited, busy;
};

/* ---- files ---- */

static struct file_mark mark_of(const char *path)
{
    struct stat st;
    if (path[0] == '\0' || stat(path, &st) != 0) {
        return (struct file_mark){0};
    }
    return (struct file_mark){(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size,
                              st.st_mtim.tv_sec,   st.st_mtim.tv_nsec,  st.st_ctim.tv_sec,
                              st.st_ctim.tv_nsec};
}

static void marks_take(const struct door *d, const struct web_config *web,
                       struct file_mark out[FILES_MAX])
{
    bool tls = web && web->has_tls;
    out[0] = mark_of(d->web_config_file);
    out[1] = mark_of(d->token_file);
    out[2] = mark_of(tls ? web->tls.cert_file : "");
    out[3] = mark_of(tls ? web->tls.key_file : "");
    out[4] = mark_of(tls ? web->tls.client_ca_file : "");
}

static void rules_free(struct rules *r)
{
    web_config_destroy(r->web);
    tokens_destroy(r->tokens);
    *r = (struct rules){NULL, NULL};
}

static enum tsdb_status tokens_load(const char *path, struct tokens **out, struct tsdb_error *err)
{
    char *text = NULL;
    size_t len = 0;
    enum tsdb_status status = yaml_read_text("web.token.file", path, &text, &len, err);
    if (status == TSDB_OK) {
        status = tokens_parse(path, text, len, out, err);
        yaml_text_free(text);
    }
    return status;
}

static enum tsdb_status rules_read(const struct door *d, struct rules *out, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    *out = (struct rules){NULL, NULL};
    if (d->web_config_file[0]) {
        status = web_config_load(d->web_config_file, &out->web, err);
    }
    if (status == TSDB_OK && d->token_file[0]) {
        status = tokens_load(d->token_file, &out->tokens, err);
    }
    if (status != TSDB_OK) {
        rules_free(out);
    }
    return status;
}

static enum tsdb_status tls_read(struct door *d, const struct web_tls *t, struct tsdb_error *err)
{
    const char *suites[WEB_SUITES_MAX];
    const char *sans[WEB_SANS_MAX];
    for (uint32_t i = 0; i < t->suite_count; i++) {
        suites[i] = t->suites[i];
    }
    for (uint32_t i = 0; i < t->san_count; i++) {
        sans[i] = t->sans[i];
    }
    struct http_tls_options o = {.cert_file = t->cert_file,
                                 .key_file = t->key_file,
                                 .client_ca_file = t->client_ca_file,
                                 .client_auth = (enum http_client_auth)t->client_auth,
                                 .min_version = t->min_version,
                                 .max_version = t->max_version,
                                 .suites = suites,
                                 .suite_count = t->suite_count,
                                 .sans = sans,
                                 .san_count = t->san_count};
    enum tsdb_status status =
        d->tls ? http_tls_set(d->tls, &o, err) : http_tls_create(&o, &d->tls, err);
    return status == TSDB_OK
               ? status
               : tsdb_error_prefix(err, status, "--web.config.file %s", d->web_config_file);
}

/* TLS cannot come or go while connections are open. */
static enum tsdb_status rules_apply(struct door *d, struct rules *fresh, bool first,
                                    struct tsdb_error *err)
{
    bool tls = fresh->web && fresh->web->has_tls;
    if (!first && tls != (d->tls != NULL)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "--web.config.file %s: TLS is turned on and off by a restart only",
                              d->web_config_file);
    }
    enum tsdb_status status = tls ? tls_read(d, &fresh->web->tls, err) : TSDB_OK;
    if (status == TSDB_OK) {
        tsdb_mutex_lock(&d->lock);
        struct rules old = d->rules;
        d->rules = *fresh;
        tsdb_mutex_unlock(&d->lock);
        *fresh = old;
    }
    return status;
}

static enum tsdb_status read_all(struct door *d, bool first, struct tsdb_error *err)
{
    struct rules fresh;
    struct file_mark marks[FILES_MAX];
    enum tsdb_status status = rules_read(d, &fresh, err);
    if (status == TSDB_OK) {
        marks_take(d, fresh.web, marks); /* a change from here on is seen the next time */
        status = rules_apply(d, &fresh, first, err);
        rules_free(&fresh);
    }
    if (status == TSDB_OK) {
        memcpy(d->marks, marks, sizeof marks);
    }
    return status;
}

void door_refresh(struct door *d) TSDB_NO_TSA /* rules.web: this thread alone replaces it */
{
    struct file_mark now[FILES_MAX];
    marks_take(d, d->rules.web, now);
    if (memcmp(now, d->marks, sizeof now) == 0) {
        return;
    }
    struct tsdb_error err = {0};
    if (read_all(d, false, &err) == TSDB_OK) {
        tsdb_log(TSDB_LOG_INFO, "door", "certificates, users and tokens read again",
                 TSDB_S("file", d->web_config_file), TSDB_S("tokens", d->token_file));
        return;
    }
    memcpy(d->marks, now, sizeof now); /* said once for each change */
    tsdb_log(TSDB_LOG_ERROR, "door", "not read again, the old rules stay", TSDB_S("err", err.msg));
}

/* ---- hosts ---- */

bool door_url_split(const char *url, struct tsdb_slice *out_host, const char **out_path)
{
    size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
                    : strncasecmp(url, "https://", 8) == 0 ? 8
                                                           : 0;
    size_t len = strcspn(url + scheme, "/?#");
    if (scheme == 0 || len == 0 || strpbrk(url, "?#") || memchr(url + scheme, '@', len)) {
        return false;
    }
    *out_host = (struct tsdb_slice){(const uint8_t *)url + scheme, len};
    *out_path = url + scheme + len;
    return true;
}

/* "name:port" without its port. */
static struct tsdb_slice without_port(struct tsdb_slice host)
{
    const uint8_t *colon =
        host.len > 0 && host.data[0] != '[' ? memchr(host.data, ':', host.len) : NULL;
    const uint8_t *bracket =
        host.len > 0 && host.data[0] == '[' ? memchr(host.data, ']', host.len) : NULL;
    size_t len = bracket ? (size_t)(bracket - host.data) + 1
                 : colon ? (size_t)(colon - host.data)
                         : host.len;
    return (struct tsdb_slice){host.data, len};
}

static bool is_address(const char *host)
{
    struct in6_addr any;
    size_t len = strlen(host);
    char inside[INET6_ADDRSTRLEN];
    if (host[0] != '[') {
        return inet_pton(AF_INET, host, &any) == 1;
    }
    if (host[len - 1] != ']' || len - 2 >= sizeof inside) {
        return false;
    }
    memcpy(inside, host + 1, len - 2);
    inside[len - 2] = '\0';
    return inet_pton(AF_INET6, inside, &any) == 1;
}

/* localhost and what is below it, and names without a dot: nobody from outside has one of them. */
static bool is_local_name(const char *host)
{
    static const char below[] = ".localhost";
    size_t len = strlen(host);
    size_t n = sizeof below - 1;
    return !strchr(host, '.') || (len > n && strcasecmp(host + len - n, below) == 0);
}

static bool is_listed(const char *list, const char *host)
{
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        if ((n == strlen(host) && strncasecmp(at, host, n) == 0) || (n == 1 && *at == '*')) {
            return true;
        }
        at += n + (at[n] == ',');
    }
    return false;
}

static bool host_is_ours(const struct door *d, const char *header)
{
    char host[256];
    if (!d->checks_hosts || !header) { /* no browser leaves it out */
        return true;
    }
    struct tsdb_slice h =
        without_port((struct tsdb_slice){(const uint8_t *)header, strlen(header)});
    if (h.len == 0 || h.len >= sizeof host) {
        return false;
    }
    memcpy(host, h.data, h.len);
    host[h.len] = '\0';
    return is_address(host) || is_local_name(host) || is_listed(d->hosts, host);
}

bool door_origin_is_ours(const struct door *d, const char *origin)
{
    struct tsdb_slice host;
    const char *path = NULL;
    if (!origin || !d->external_url[0] || !door_url_split(d->external_url, &host, &path)) {
        return false;
    }
    size_t len = (size_t)(path - d->external_url);
    return strlen(origin) == len && strncasecmp(origin, d->external_url, len) == 0;
}

static void hosts_init(struct door *d, const struct door_options *o)
{
    struct tsdb_slice host = {NULL, 0};
    const char *path = NULL;
    const char *a = o->listen_address;
    bool loopback = strncmp(a, "127.", 4) == 0 || strncmp(a, "[::1]", 5) == 0 ||
                    strncasecmp(a, "localhost:", 10) == 0;
    if (o->external_url[0] && door_url_split(o->external_url, &host, &path)) {
        host = without_port(host);
    }
    int n = snprintf(d->hosts, sizeof d->hosts, "%s%s%.*s", o->allowed_hosts,
                     o->allowed_hosts[0] ? "," : "", (int)host.len, (const char *)host.data);
    TSDB_ASSERT(n < (int)sizeof d->hosts); /* flags are shorter */
    d->checks_hosts = loopback || o->allowed_hosts[0];
}

/* ---- life ---- */

enum tsdb_status door_create(const struct door_options *o, struct door **out,
                             struct tsdb_error *err)
{
    struct door *d = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *d);
    if (!d) {
        return tsdb_error_nomem(err, "the door");
    }
    snprintf(d->web_config_file, sizeof d->web_config_file, "%s", o->web_config_file);
    snprintf(d->token_file, sizeof d->token_file, "%s", o->token_file);
    snprintf(d->external_url, sizeof d->external_url, "%s", o->external_url);
    tsdb_mutex_init(&d->lock, TSDB_RANK_SERVER_EXCHANGES, "door");
    users_init(&d->users, o->clock);
    limits_init(&d->limits, &o->limits, o->clock);
    hosts_init(d, o);
    enum tsdb_status status = read_all(d, true, err);
    if (status != TSDB_OK) {
        door_destroy(d);
        return status;
    }
    *out = d;
    return TSDB_OK;
}

void door_destroy(struct door *d) TSDB_NO_TSA
{
    if (!d) {
        return;
    }
    rules_free(&d->rules);
    http_tls_destroy(d->tls);
    limits_deinit(&d->limits);
    users_deinit(&d->users);
    tsdb_mutex_deinit(&d->lock);
    tsdb_mem_free(TSDB_MEM_SERVER, d, sizeof *d);
}

struct http_tls *door_tls(const struct door *d)
{
    return d->tls;
}

struct limits *door_limits(struct door *d)
{
    return &d->limits;
}

/* ---- credentials ---- */

enum {
    WANTS_USERS = 1,
    WANTS_TOKENS = 2
};

/* What the rules say of a name: which credentials there are, and the name's hash ("": nobody's). */
static unsigned look_up_user(struct door *d, const char *name, char hash[64])
{
    unsigned wants = 0;
    hash[0] = '\0';
    tsdb_mutex_lock(&d->lock);
    const struct web_config *web = d->rules.web;
    wants |= web && web->user_count > 0 ? WANTS_USERS : 0;
    wants |= d->rules.tokens ? WANTS_TOKENS : 0;
    for (uint32_t i = 0; web && name && i < web->user_count; i++) {
        if (strcmp(web->users[i].name, name) == 0) {
            memcpy(hash, web->users[i].hash, 64);
        }
    }
    tsdb_mutex_unlock(&d->lock);
    return wants;
}

/* Behind the scheme of an Authorization header, or NULL if it is another one. */
static const char *after_scheme(const char *header, const char *scheme)
{
    size_t n = strlen(scheme);
    if (!header || strncasecmp(header, scheme, n) != 0 || header[n] != ' ') {
        return NULL;
    }
    return header + n + strspn(header + n, " ");
}

/* "name:password" of a Basic header. False: it is none. */
static bool decode_basic(const char *text, char out[SECRET_BYTES], const char **out_password)
{
    gnutls_datum_t in = {(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)};
    gnutls_datum_t plain = {NULL, 0};
    if (in.size == 0 || in.size > SECRET_BYTES * 4 / 3 || gnutls_base64_decode2(&in, &plain) != 0) {
        return false;
    }
    bool ok = plain.size < SECRET_BYTES && memchr(plain.data, 0, plain.size) == NULL;
    if (ok) {
        memcpy(out, plain.data, plain.size);
        out[plain.size] = '\0';
    }
    gnutls_free(plain.data);
    char *colon = ok ? strchr(out, ':') : NULL;
    if (!colon) {
        return false;
    }
    *colon = '\0';
    *out_password = colon + 1;
    return strlen(out) <= USERS_NAME_MAX && strlen(colon + 1) <= USERS_SECRET_MAX;
}

static unsigned scopes_of_token(struct door *d, const char *secret, struct door_verdict *v)
{
    unsigned scopes = 0;
    tsdb_mutex_lock(&d->lock);
    const struct token *t =
        d->rules.tokens ? tokens_find(d->rules.tokens, secret, strlen(secret)) : NULL;
    if (t) {
        scopes = t->scopes;
        snprintf(v->client, sizeof v->client, "token:%s", t->name);
    }
    tsdb_mutex_unlock(&d->lock);
    return scopes;
}

static unsigned scopes_of_user(struct door *d, const char *basic, struct door_verdict *v)
{
    char text[SECRET_BYTES];
    char hash[64];
    const char *password = NULL;
    if (!decode_basic(basic, text, &password)) {
        return 0;
    }
    /* Browsers ask for a name and a password: a token may be the password, whatever the name. */
    unsigned scopes = scopes_of_token(d, password, v);
    if (scopes != 0 || !(look_up_user(d, text, hash) & WANTS_USERS)) {
        return scopes;
    }
    enum users_verdict verdict = users_check(&d->users, text, password, hash[0] ? hash : NULL);
    if (verdict == USERS_BUSY) {
        atomic_fetch_add_explicit(&d->busy, 1, memory_order_relaxed);
        v->status = 503;
        v->text = "too many passwords are being checked, try again later\n";
        v->retry_after_s = 1;
        return 0;
    }
    if (verdict == USERS_RIGHT) {
        snprintf(v->client, sizeof v->client, "user:%s", text);
    }
    return verdict == USERS_RIGHT ? ALL_SCOPES : 0;
}

/* Sets v->status if the request may not come in. */
static void check_credentials(struct door *d, const struct http_exchange *x, unsigned need,
                              struct door_verdict *v)
{
    char none[64];
    unsigned wants = look_up_user(d, NULL, none);
    if (wants == 0) {
        return;
    }
    const char *header = http_header(x, "Authorization");
    const char *basic = after_scheme(header, "Basic");
    const char *bearer = after_scheme(header, "Bearer");
    unsigned scopes = basic    ? scopes_of_user(d, basic, v)
                      : bearer ? scopes_of_token(d, bearer, v)
                               : 0;
    if (v->status != 0 || (scopes & need)) {
        return;
    }
    bool known = scopes != 0;
    atomic_fetch_add_explicit(&d->unauthorized, 1, memory_order_relaxed);
    v->status = known ? 403 : 401;
    v->text = !known                     ? "Unauthorized\n"
              : need == TSDB_SCOPE_WRITE ? "Forbidden: this needs a token with the scope write\n"
              : need == TSDB_SCOPE_ADMIN ? "Forbidden: this needs a token with the scope admin\n"
                                         : "Forbidden: this needs a token with the scope read\n";
    v->challenge = known ? NULL : "Basic realm=\"tidalite\", charset=\"UTF-8\"";
}

void door_admit(struct door *d, const struct http_exchange *x, unsigned need,
                struct door_verdict *v)
{
    *v = (struct door_verdict){.status = 0};
    http_peer(x, v->client, sizeof v->client);
    if (need == 0) {
        return;
    }
    if (!host_is_ours(d, http_header(x, "Host"))) {
        atomic_fetch_add_explicit(&d->wrong_host, 1, memory_order_relaxed);
        v->status = 403;
        v->text = "this server does not go by that Host: see --web.allowed-hosts\n";
        return;
    }
    check_credentials(d, x, need, v);
    if (v->status != 0) {
        return;
    }
    int64_t bytes = http_content_length(x);
    if (!limits_take(&d->limits, v->client, bytes > 0 ? (uint64_t)bytes : 0, &v->retry_after_s)) {
        atomic_fetch_add_explicit(&d->limited, 1, memory_order_relaxed);
        v->status = 429;
        v->text = "this client is over its limit: see --web.client.max-...\n";
    }
}

/* ---- answers, figures ---- */

static const struct {
    const char *name, *value;
} always[] = {{"X-Content-Type-Options", "nosniff"}, {"X-Frame-Options", "DENY"}};

void door_answer_headers(struct door *d, struct http_exchange *x,
                         void (*add)(struct http_exchange *x, const char *name, const char *value))
{
    bool said[TSDB_ARRAY_LEN(always)] = {false};
    tsdb_mutex_lock(&d->lock);
    const struct web_config *web = d->rules.web;
    for (uint32_t i = 0; web && i < web->header_count; i++) {
        add(x, web->headers[i].name, web->headers[i].value);
        for (size_t k = 0; k < TSDB_ARRAY_LEN(always); k++) {
            said[k] = said[k] || strcmp(always[k].name, web->headers[i].name) == 0;
        }
    }
    tsdb_mutex_unlock(&d->lock);
    for (size_t k = 0; k < TSDB_ARRAY_LEN(always); k++) {
        if (!said[k]) {
            add(x, always[k].name, always[k].value);
        }
    }
}

void door_stats_read(struct door *d, struct door_stats *out)
{
    out->unauthorized = atomic_load_explicit(&d->unauthorized, memory_order_relaxed);
    out->wrong_host = atomic_load_explicit(&d->wrong_host, memory_order_relaxed);
    out->limited = atomic_load_explicit(&d->limited, memory_order_relaxed);
    out->busy = atomic_load_explicit(&d->busy, memory_order_relaxed);
    out->comparisons = users_comparisons(&d->users);
}
