/* A bucket of S3 as a store: an object per name, through libcurl, signed by its SigV4.
 *
 * Credentials are those of the environment that every tool for S3 reads: AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION. The body of an upload is not signed (it would have to be read
 * twice); its checksum stands in the name and is compared when it is read back. An object appears whole or not at all. */
#include "base/clock.h"
#include "base/crc32c.h"
#include "tools/backup/s3_list.h"
#include "tools/backup/store.h"
#include "tools/cmd/http_call.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES            4u
#define PAUSE_MS         500 /* before the second try; doubled each time */
#define URL_MAX          2048
#define ANSWER_BYTES_MAX (4u << 20)          /* of a list of 1000 names, or an error */
#define OBJECT_BYTES_MAX (UINT64_C(5) << 30) /* what S3 takes in one PUT */
#define STALL_SECONDS    120L
#define CONNECT_SECONDS  30L
#define PAGES_MAX        10000u

struct s3_store {
    struct store base;
    CURL *curl;
    char origin[URL_MAX]; /* scheme://host[:port]/bucket */
    char prefix[STORE_NAME_MAX];
    char sigv4[128];
    char *user; /* "key:secret" */
    const char *token;
};

/* One request: where its body comes from and where the answer goes. */
struct call {
    const struct store_file *file; /* NULL: bytes */
    struct tsdb_file *handle;
    const struct tsdb_buf *send;
    struct tsdb_buf *answer; /* NULL: into file */
    uint64_t at;
    uint32_t crc;
    enum tsdb_status status; /* of what happened in a callback */
    struct tsdb_error *err;
};

/* ---- callbacks of libcurl ---- */
static size_t take_answer(char *data, size_t size, size_t count, void *arg)
{
    struct call *c = arg;
    size_t len = size * count;
    if (c->answer) {
        tsdb_buf_put(c->answer, data, len);
        if (c->answer->failed) {
            c->status = tsdb_error_set(c->err, TSDB_LIMIT, "the answer is too long");
        }
    } else if (len > c->file->bytes - c->at) {
        c->status = tsdb_error_set(c->err, TSDB_CORRUPT, "it is longer than %" PRIu64 " bytes",
                                   c->file->bytes);
    } else {
        c->status = c->file->fs->ops->pwrite(c->file->fs->ctx, c->handle, data, len, c->at, c->err);
        c->crc = tsdb_crc32c(c->crc, data, len);
        c->at += len;
        tool_progress_add(c->file->progress, len);
    }
    return c->status == TSDB_OK ? len : 0;
}

static size_t give_body(char *data, size_t size, size_t count, void *arg)
{
    struct call *c = arg;
    size_t len = size * count;
    if (!c->file) {
        len = TSDB_MIN(len, c->send->len - (size_t)c->at);
        memcpy(data, c->send->data + c->at, len);
    } else {
        len = (size_t)TSDB_MIN((uint64_t)len, c->file->bytes - c->at);
        size_t got = 0;
        c->status =
            c->file->fs->ops->pread(c->file->fs->ctx, c->handle, data, len, c->at, &got, c->err);
        c->crc = tsdb_crc32c(c->crc, data, got);
        bool whole = c->at + got < c->file->bytes || c->crc == c->file->crc;
        if (c->status == TSDB_OK && (got < len || !whole)) {
            c->status = tsdb_error_set(c->err, TSDB_CORRUPT, "%s: not the bytes of its checksum",
                                       c->file->path);
        }
        tool_progress_add(c->file->progress, got);
    }
    c->at += len;
    return c->status == TSDB_OK ? len : CURL_READFUNC_ABORT;
}

static int stop_if_interrupted(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)arg, (void)a, (void)b, (void)c, (void)d;
    return tool_interrupted() ? 1 : 0;
}

/* ---- a request ---- */
/* All of them are signed, and all are sent: no header is turned off here, for libcurl signs that too. */
static struct curl_slist *headers_of(const struct s3_store *s, bool upload)
{
    char line[4096];
    struct curl_slist *list = curl_slist_append(NULL, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
    struct curl_slist *more = list;
    if (more && s->token) {
        snprintf(line, sizeof line, "x-amz-security-token: %s", s->token);
        more = curl_slist_append(list, line);
    }
    if (more && upload) {
        more = curl_slist_append(list, "Content-Type: application/octet-stream");
    }
    if (!more) {
        curl_slist_free_all(list);
    }
    return more ? list : NULL;
}

static void prepare(struct s3_store *s, struct call *c, const char *url, struct curl_slist *headers,
                    const char *method)
{
    CURL *h = s->curl;
    curl_easy_reset(h);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_AWS_SIGV4, s->sigv4);
    curl_easy_setopt(h, CURLOPT_USERPWD, s->user);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, stop_if_interrupted);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    } else if (strcmp(method, "PUT") == 0) {
        uint64_t bytes = c->file ? c->file->bytes : c->send->len;
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)bytes);
        curl_easy_setopt(h, CURLOPT_READFUNCTION, give_body);
        curl_easy_setopt(h, CURLOPT_READDATA, c);
    }
}

/* An upload ends before its answer, and a download that failed wrote an error's text: neither counts twice. */
static enum tsdb_status perform(struct s3_store *s, struct call *c, const char *url,
                                const char *method, long *out_code, bool *out_again)
{
    struct curl_slist *headers = headers_of(s, strcmp(method, "PUT") == 0);
    if (!headers) {
        return tsdb_error_nomem(c->err, "a request");
    }
    prepare(s, c, url, headers, method);
    CURLcode rc = curl_easy_perform(s->curl);
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, out_code);
    curl_slist_free_all(headers);
    if (c->status != TSDB_OK && *out_code < 300) {
        return c->status;
    }
    if (rc == CURLE_ABORTED_BY_CALLBACK || tool_interrupted()) {
        return tsdb_error_set(c->err, TSDB_CANCELLED, "interrupted");
    }
    *out_again = *out_code == 0 || *out_code == 429 || *out_code >= 500 ||
                 (*out_code < 300 && rc != CURLE_OK);
    if (rc != CURLE_OK && *out_code < 300) {
        return tsdb_error_set(c->err, TSDB_IO, "%s", curl_easy_strerror(rc));
    }
    return TSDB_OK;
}

/* What S3 says of an error, without its markup. */
static void error_text(const struct tsdb_buf *answer, char *out, size_t cap)
{
    const char *begin =
        answer && answer->len > 0 ? memmem(answer->data, answer->len, "<Message>", 9) : NULL;
    const char *end = begin ? memmem(begin, answer->len - (size_t)(begin - (char *)answer->data),
                                     "</Message>", 10)
                            : NULL;
    snprintf(out, cap, "%.*s", end ? (int)TSDB_MIN(end - begin - 9, 200) : 0,
             begin ? begin + 9 : "");
}

/* Until it is answered with something final. *begin is what each try starts with. */
static enum tsdb_status ask(struct s3_store *s, const struct call *begin, const char *url,
                            const char *method, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (unsigned i = 0; i < TRIES; i++) {
        struct call c = *begin;
        long code = 0;
        bool again = false;
        char text[256];
        c.err = err;
        if (c.answer) {
            tsdb_buf_clear(c.answer);
        }
        status = perform(s, &c, url, method, &code, &again);
        if (status == TSDB_OK && code >= 200 && code < 300) {
            bool read = c.file && strcmp(method, "GET") == 0;
            bool same = !read || (c.at == c.file->bytes && c.crc == c.file->crc);
            return same ? TSDB_OK
                        : tsdb_error_set(err, TSDB_CORRUPT,
                                         "%s: crc %08x of %" PRIu64
                                         " bytes, expected %08x of %" PRIu64,
                                         url, c.crc, c.at, c.file->crc, c.file->bytes);
        }
        if (status == TSDB_OK) {
            error_text(c.answer, text, sizeof text);
            status =
                tsdb_error_set(err, code == 404 ? TSDB_NOT_FOUND : TSDB_IO, "%s %s: status %ld%s%s",
                               method, url, code, text[0] ? ": " : "", text);
        } else if (status == TSDB_IO && again) {
            status = tsdb_error_prefix(err, status, "%s %s", method, url);
        }
        if (!again || i + 1 == TRIES) {
            break;
        }
        struct timespec pause = {.tv_nsec = (PAUSE_MS << i) % 1000 * 1000000,
                                 .tv_sec = (PAUSE_MS << i) / 1000};
        (void)nanosleep(&pause, NULL); /* a signal ends it, and the next try sees that */
    }
    return status;
}

static enum tsdb_status url_of(const struct s3_store *s, const char *name, char out[URL_MAX],
                               struct tsdb_error *err)
{
    int n = snprintf(out, URL_MAX, "%s/%s%s", s->origin, s->prefix, name);
    return n < URL_MAX ? TSDB_OK : tsdb_error_set(err, TSDB_INVALID, "the name is too long");
}

/* ---- the store ---- */
static void s3_close(struct store *base)
{
    struct s3_store *s = (struct s3_store *)base;
    curl_easy_cleanup(s->curl);
    free(s->user);
    tsdb_mem_free(TSDB_MEM_OTHER, s, sizeof *s);
    curl_global_cleanup();
}

static enum tsdb_status s3_has(struct store *base, const char *name, uint64_t bytes, bool *out,
                               struct tsdb_error *err)
{
    struct s3_store *s = (struct s3_store *)base;
    char url[URL_MAX];
    struct tsdb_buf answer;
    curl_off_t length = -1;
    tsdb_buf_init(&answer, TSDB_MEM_OTHER, ANSWER_BYTES_MAX);
    struct call c = {.answer = &answer};
    enum tsdb_status status = url_of(s, name, url, err);
    if (status == TSDB_OK) {
        status = ask(s, &c, url, "HEAD", err);
    }
    if (status == TSDB_OK) {
        curl_easy_getinfo(s->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    }
    tsdb_buf_deinit(&answer);
    if (status == TSDB_OK || status == TSDB_NOT_FOUND) {
        *out = status == TSDB_OK && length >= 0 && (uint64_t)length == bytes;
        return TSDB_OK;
    }
    return status;
}

static enum tsdb_status send_object(struct s3_store *s, const char *name, struct call *c,
                                    struct tsdb_error *err)
{
    char url[URL_MAX];
    struct tsdb_buf answer;
    tsdb_buf_init(&answer, TSDB_MEM_OTHER, ANSWER_BYTES_MAX);
    c->answer = &answer;
    enum tsdb_status status = url_of(s, name, url, err);
    if (status == TSDB_OK) {
        status = ask(s, c, url, "PUT", err);
    }
    c->answer = NULL;
    tsdb_buf_deinit(&answer);
    return status;
}

static enum tsdb_status s3_put(struct store *base, const char *name, const struct store_file *from,
                               struct tsdb_error *err)
{
    struct call c = {.file = from};
    if (from->bytes > OBJECT_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT,
                              "%s has %" PRIu64 " bytes, an object of S3 at most %" PRIu64
                              "; `tidalite block split` makes smaller blocks",
                              from->path, from->bytes, OBJECT_BYTES_MAX);
    }
    enum tsdb_status status =
        from->fs->ops->open(from->fs->ctx, from->path, TSDB_OPEN_READ, &c.handle, err);
    if (status == TSDB_OK) {
        status = send_object((struct s3_store *)base, name, &c, err);
    }
    from->fs->ops->close(from->fs->ctx, c.handle);
    return status;
}

static enum tsdb_status s3_put_bytes(struct store *base, const char *name,
                                     const struct tsdb_buf *data, struct tsdb_error *err)
{
    struct call c = {.send = data};
    return send_object((struct s3_store *)base, name, &c, err);
}

static enum tsdb_status s3_get(struct store *base, const char *name, const struct store_file *to,
                               struct tsdb_error *err)
{
    char url[URL_MAX];
    struct call c = {.file = to};
    struct s3_store *s = (struct s3_store *)base;
    enum tsdb_status status = url_of(s, name, url, err);
    if (status == TSDB_OK) {
        status = to->fs->ops->open(to->fs->ctx, to->path,
                                   TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE,
                                   &c.handle, err);
    }
    if (status == TSDB_OK) {
        status = ask(s, &c, url, "GET", err);
    }
    if (status == TSDB_OK) {
        status = to->fs->ops->sync(to->fs->ctx, c.handle, err);
    }
    to->fs->ops->close(to->fs->ctx, c.handle);
    return status;
}

static enum tsdb_status s3_get_bytes(struct store *base, const char *name, struct tsdb_buf *out,
                                     struct tsdb_error *err)
{
    char url[URL_MAX];
    struct call c = {.answer = out};
    struct s3_store *s = (struct s3_store *)base;
    enum tsdb_status status = url_of(s, name, url, err);
    return status == TSDB_OK ? ask(s, &c, url, "GET", err) : status;
}

struct keys {
    char skip[2 * STORE_NAME_MAX]; /* what a key begins with */
    store_name_fn fn;
    void *arg;
};

static enum tsdb_status take_key(void *arg, struct tsdb_slice key, struct tsdb_error *err)
{
    struct keys *k = arg;
    char name[STORE_NAME_MAX];
    size_t skip = strlen(k->skip);
    if (key.len <= skip || key.len - skip >= sizeof name || memcmp(key.data, k->skip, skip) != 0 ||
        memchr(key.data + skip, '/', key.len - skip)) {
        return TSDB_OK;
    }
    snprintf(name, sizeof name, "%.*s", (int)(key.len - skip), key.data + skip);
    return k->fn(k->arg, name, err);
}

/* Parameters in the order of their names and escaped as SigV4 wants them: what is signed is what is sent. */
static void list_url(const struct s3_store *s, const struct keys *k, const struct tsdb_buf *token,
                     struct tsdb_buf *out)
{
    tsdb_buf_clear(out);
    tsdb_buf_printf(out, "%s/?", s->origin);
    if (token->len > 0) {
        tsdb_buf_put_str(out, "continuation-token=");
        http_escape(out, (const char *)token->data, token->len);
        tsdb_buf_put_str(out, "&");
    }
    tsdb_buf_put_str(out, "list-type=2&prefix=");
    http_escape(out, k->skip, strlen(k->skip));
    tsdb_buf_put_u8(out, 0);
}

static enum tsdb_status s3_list(struct store *base, const char *folder, store_name_fn fn, void *arg,
                                struct tsdb_error *err)
{
    struct s3_store *s = (struct s3_store *)base;
    struct keys k = {.fn = fn, .arg = arg};
    struct tsdb_buf answer, token, url;
    struct call c = {.answer = &answer};
    enum tsdb_status status = TSDB_OK;
    tsdb_buf_init(&answer, TSDB_MEM_OTHER, ANSWER_BYTES_MAX);
    tsdb_buf_init(&token, TSDB_MEM_OTHER, ANSWER_BYTES_MAX);
    tsdb_buf_init(&url, TSDB_MEM_OTHER, 16u << 20);
    snprintf(k.skip, sizeof k.skip, "%s%s/", s->prefix, folder);
    for (unsigned page = 0; status == TSDB_OK; page++) {
        struct tsdb_slice next = {NULL, 0};
        list_url(s, &k, &token, &url);
        if (url.failed || page == PAGES_MAX) {
            status = tsdb_error_set(err, TSDB_LIMIT, "the list of names is too long");
            break;
        }
        status = ask(s, &c, (const char *)url.data, "GET", err);
        if (status == TSDB_OK) {
            status = s3_list_parse(answer.data, answer.len, take_key, &k, &next, err);
        }
        if (status != TSDB_OK || next.len == 0) {
            break;
        }
        tsdb_buf_clear(&token);
        tsdb_buf_put(&token, next.data, next.len);
    }
    tsdb_buf_deinit(&url);
    tsdb_buf_deinit(&token);
    tsdb_buf_deinit(&answer);
    return status;
}

static const struct store_ops s3_ops = {
    s3_close, s3_has, s3_put, s3_put_bytes, s3_get, s3_get_bytes, s3_list,
};

/* ---- opening ---- */
static bool plain(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool ok = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
                  (s[i] >= '0' && s[i] <= '9') || strchr("._-/", s[i]);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static const char *region_of(const struct tool *t)
{
    const char *region = getenv("AWS_REGION");
    return t->options.s3_region ? t->options.s3_region : region && region[0] ? region : "us-east-1";
}

/* "s3://bucket/prefix/" in parts. */
static enum tsdb_status take_url(struct s3_store *s, const struct tool *t, const char *url,
                                 struct tsdb_error *err)
{
    const char *bucket = url + strlen("s3://"), *region = region_of(t);
    size_t bucket_len = strcspn(bucket, "/"), len = strlen(bucket);
    const char *prefix = bucket + bucket_len + (bucket[bucket_len] == '/');
    size_t prefix_len = strlen(prefix);
    while (prefix_len > 0 && prefix[prefix_len - 1] == '/') {
        prefix_len--;
    }
    if (bucket_len == 0 || !plain(bucket, len) || strstr(prefix, "//") || prefix[0] == '/' ||
        prefix_len + 2 > sizeof s->prefix || !plain(region, strlen(region))) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "%s: expected s3://bucket/prefix of letters, digits and ._-/", url);
    }
    char standard[128];
    snprintf(standard, sizeof standard, "https://s3.%.64s.amazonaws.com", region);
    const char *endpoint = t->options.s3_endpoint ? t->options.s3_endpoint : standard;
    size_t end = strlen(endpoint);
    while (end > 0 && endpoint[end - 1] == '/') {
        end--;
    }
    if (!http_is_url(endpoint)) {
        return tsdb_error_set(err, TSDB_INVALID, "%s: expected http:// or https://", endpoint);
    }
    snprintf(s->origin, sizeof s->origin, "%.*s/%.*s", (int)TSDB_MIN(end, 512u), endpoint,
             (int)TSDB_MIN(bucket_len, 255u), bucket);
    snprintf(s->prefix, sizeof s->prefix, "%.*s%s", (int)prefix_len, prefix,
             prefix_len > 0 ? "/" : "");
    snprintf(s->sigv4, sizeof s->sigv4, "aws:amz:%.64s:s3", region);
    return TSDB_OK;
}

static enum tsdb_status take_credentials(struct s3_store *s, struct tsdb_error *err)
{
    const char *key = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
    if (!key || !key[0] || !secret || !secret[0]) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be set");
    }
    s->token = getenv("AWS_SESSION_TOKEN");
    s->token = s->token && s->token[0] ? s->token : NULL;
    if (asprintf(&s->user, "%s:%s", key, secret) < 0) {
        s->user = NULL;
        return tsdb_error_nomem(err, "credentials");
    }
    return TSDB_OK;
}

enum tsdb_status store_s3_open(const struct tool *t, const char *url, struct store **out,
                               struct tsdb_error *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return tsdb_error_set(err, TSDB_IO, "libcurl does not start");
    }
    struct s3_store *s = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *s);
    enum tsdb_status status = s ? TSDB_OK : tsdb_error_nomem(err, "a store");
    if (status == TSDB_OK) {
        s->base.ops = &s3_ops;
        s->curl = curl_easy_init();
        status = s->curl ? take_url(s, t, url, err) : tsdb_error_nomem(err, "a connection");
    }
    if (status == TSDB_OK) {
        status = take_credentials(s, err);
    }
    if (status == TSDB_OK) {
        *out = &s->base;
    } else if (s) {
        s3_close(&s->base);
    } else {
        curl_global_cleanup();
    }
    return status;
}
