/* POST /api/v1/write, and what else stores: headers decide, the body goes straight into ingest/,
 * engine threads only wake.
 *
 *   headers     ingest_begin
 *   body*       ingest_body
 *   complete    ingest_submit ... engine thread: done -> http_wake
 *   wake        back in the daemon's thread: ingest_answer -> http_reply
 *
 * Large bodies are submitted (and once more, where a series had gone) by a decoder's thread: the
 * daemon goes on with its other connections. Nothing here waits, and nothing is allocated per
 * request but the call itself (ingest/ pools its requests). */
#include "base/assert.h"
#include "base/format.h"
#include "base/latency.h"
#include "server/api/handlers.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

static void add_header(struct http_reply *r, const char *name, const char *value)
{
    r->headers[r->header_count].name = name;
    r->headers[r->header_count].value = value;
    r->header_count++;
}

unsigned api_write_status_of(enum tsdb_status status)
{
    switch (status) {
    case TSDB_OK:
        return 204;
    case TSDB_UNSUPPORTED:
        return 415;
    case TSDB_BUSY:
    case TSDB_READ_ONLY:
    case TSDB_NOMEM:
    case TSDB_CANCELLED:
    case TSDB_TIMEOUT:
        return 503;  /* nothing was stored: the sender repeats */
    case TSDB_LIMIT: /* not 413: vmagent and Fluent Bit repeat that for ever, and drop 400 */
    case TSDB_INVALID:
    case TSDB_CORRUPT:
    case TSDB_OUT_OF_ORDER:
    case TSDB_NOT_FOUND:
        return 400;
    case TSDB_IO:
    case TSDB_STATUS_COUNT:
        break;
    }
    return 500;
}

/* Seconds until a repeat may do better. A log that failed needs a person. */
static const char *retry_after(enum tsdb_status status)
{
    return status == TSDB_READ_ONLY ? "30" : "1";
}

static void add_counts(struct http_reply *r, const char *samples, const char *histograms,
                       const char *exemplars)
{
    add_header(r, "X-Prometheus-Remote-Write-Samples-Written", samples);
    add_header(r, "X-Prometheus-Remote-Write-Histograms-Written", histograms);
    add_header(r, "X-Prometheus-Remote-Write-Exemplars-Written", exemplars);
}

void api_write_counts_zero(struct http_reply *r)
{
    add_counts(r, "0", "0", "0");
}

/* Refused for good: nobody looks into a sender's log. */
static void log_refusal(struct call *c, const struct ingest_answer *a)
{
    refusals_log(&c->server->refusals, tsdb_clock_mono_ns(&c->server->clock), c->client,
                 tsdb_reject_name(a->reason), a->rejected, a->text);
}

/* An import has stored something before it is refused or cut off. */
static uint64_t stored_so_far(const struct call *c)
{
    uint64_t lines = 0;
    uint64_t samples = 0;
    if (c->ingest) {
        ingest_import_so_far(c->ingest, &lines, &samples);
    }
    return samples;
}

static void charge(struct call *c, uint64_t written)
{
    struct limits *limits = door_limits(c->server->door);
    if (c->ingest) {
        limits_charge_series(
            limits, c->client,
            atomic_load_explicit(&ingest_context(c->ingest)->series_created, memory_order_relaxed));
    }
    limits_charge(limits, c->client, written);
}

void api_write_cut(struct call *c)
{
    charge(c, stored_so_far(c));
    ingest_end(c->ingest);
    c->ingest = NULL;
}

/* Every answer carries the three counts: senders of 2.0 take a 2xx without them for a failure. */
static void reply(struct call *c, const struct ingest_answer *a)
{
    if (api_write_status_of(a->status) / 100 == 4) {
        log_refusal(c, a);
    }
    charge(c, (uint64_t)a->samples_written + a->histograms_written);
    if (c->route->flags & ROUTE_OTLP) {
        api_otlp_reply(c, a);
        return;
    }
    if (c->stats_wanted) {
        api_import_reply(c, a);
        return;
    }
    char samples[24];
    char histograms[24];
    char exemplars[24];
    tsdb_format_u64(samples, a->samples_written);
    tsdb_format_u64(histograms, a->histograms_written);
    tsdb_format_u64(exemplars, a->exemplars_written);
    struct http_reply r = {.status = api_write_status_of(a->status)};
    add_counts(&r, samples, histograms, exemplars);
    struct tsdb_buf body;
    tsdb_buf_init(&body, TSDB_MEM_SERVER, 0);
    if (a->status != TSDB_OK) {
        tsdb_buf_put_str(&body, a->text);
        tsdb_buf_put_u8(&body, '\n');
        r.content_type = "text/plain; charset=utf-8";
        r.body = &body;
    }
    if (r.status == 503) {
        add_header(&r, "Retry-After", retry_after(a->status));
    }
    ingest_end(c->ingest);
    c->ingest = NULL;
    tsdb_perf_end(TSDB_LAYER_HTTP_WRITE, c->perf_begin);
    http_reply(c->x, &r);
}

static void refuse(struct call *c, enum tsdb_status status, const char *text)
{
    struct ingest_answer a = {.status = status, .samples_written = (uint32_t)stored_so_far(c)};
    size_t len = TSDB_MIN(strlen(text), sizeof a.text - 1);
    memcpy(a.text, text, len);
    reply(c, &a);
}

/* A token of a header value: blanks around are cut off. */
static struct tsdb_slice trim(const char *s, size_t len)
{
    while (len > 0 && (s[0] == ' ' || s[0] == '\t')) {
        s++;
        len--;
    }
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t')) {
        len--;
    }
    return (struct tsdb_slice){(const uint8_t *)s, len};
}

static bool equals(struct tsdb_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static bool equals_nocase(struct tsdb_slice s, const char *text)
{
    return s.len == strlen(text) && strncasecmp((const char *)s.data, text, s.len) == 0;
}

/* Which message a Content-Type announces; absent is 1.0. Message names are case-sensitive. */
static bool parse_content_type(const char *s, enum ingest_protocol *out)
{
    *out = INGEST_REMOTE_WRITE_1;
    if (!s || s[0] == '\0') {
        return true;
    }
    size_t len = strcspn(s, ";");
    if (!equals_nocase(trim(s, len), "application/x-protobuf")) {
        return false;
    }
    for (s += len; *s == ';'; s += len) {
        s++;
        len = strcspn(s, ";");
        size_t eq = strcspn(s, "=;");
        if (eq >= len || !equals_nocase(trim(s, eq), "proto")) {
            continue; /* another parameter: none of our business */
        }
        struct tsdb_slice name = trim(s + eq + 1, len - eq - 1);
        if (equals(name, "io.prometheus.write.v2.Request")) {
            *out = INGEST_REMOTE_WRITE_2;
        } else if (equals(name, "prometheus.WriteRequest")) {
            *out = INGEST_REMOTE_WRITE_1;
        } else {
            return false;
        }
    }
    return true;
}

bool api_write_encoding(const char *header, bool gzip, enum ingest_encoding *out)
{
    static const struct {
        const char *name;
        enum ingest_encoding encoding;
    } names[] = {{"", INGEST_ENCODING_NONE},
                 {"identity", INGEST_ENCODING_NONE},
                 {"snappy", INGEST_ENCODING_SNAPPY},
                 {"zstd", INGEST_ENCODING_ZSTD},
                 {"gzip", INGEST_ENCODING_GZIP}};
    struct tsdb_slice v = trim(header ? header : "", header ? strlen(header) : 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        if (equals_nocase(v, names[i].name)) {
            *out = names[i].encoding;
            return *out != INGEST_ENCODING_GZIP || gzip;
        }
    }
    return false;
}

static bool is_import(const struct call *c)
{
    return (c->route->flags & ROUTE_IMPORT) != 0;
}

/* Which message comes, and how it is packed. False: the text says what is expected. */
static bool negotiate(struct call *c, const char **out_text)
{
    bool gzip = c->server->options.accept_gzip;
    if (c->route->flags & ROUTE_OTLP) {
        return api_otlp_negotiate(c, out_text);
    }
    if (is_import(c)) {
        return api_import_negotiate(c, out_text);
    }
    if (!parse_content_type(http_header(c->x, "Content-Type"), &c->protocol)) {
        *out_text = "unsupported Content-Type: expected application/x-protobuf with proto absent, "
                    "prometheus.WriteRequest or io.prometheus.write.v2.Request";
        return false;
    }
    *out_text = gzip ? "unsupported Content-Encoding: expected snappy, zstd, gzip or none"
                     : "unsupported Content-Encoding: expected snappy, zstd or none; gzip needs "
                       "--web.accept-gzip-writes";
    return api_write_encoding(http_header(c->x, "Content-Encoding"), gzip, &c->encoding);
}

void api_write_headers(struct call *c)
{
    struct http_exchange *x = c->x;
    const char *text = NULL;
    if (!negotiate(c, &text)) {
        refuse(c, TSDB_UNSUPPORTED, text);
        return;
    }
    enum tsdb_durability durability = TSDB_DURABILITY_MEMORY;
    const char *wanted = http_header(x, "X-Tidalite-Durability");
    if (wanted && !tsdb_durability_parse(wanted, strlen(wanted), &durability)) {
        refuse(c, TSDB_INVALID, "X-Tidalite-Durability: expected memory, buffered or strict");
        return;
    }
    int64_t length = is_import(c) ? 0 : http_content_length(x);
    struct tsdb_error err = {0};
    enum tsdb_status status =
        ingest_begin(c->server->ingest, length > 0 ? (uint64_t)length : 0, &c->ingest, &err);
    if (status != TSDB_OK) {
        refuse(c, status, err.msg);
        return;
    }
    char sender[64];
    http_peer(x, sender, sizeof sender);
    ingest_sender_set(c->ingest, sender);
    struct tsdb_request *context = ingest_context(c->ingest);
    if (wanted) {
        context->durability = durability;
    }
    context->series_max = limits_series_left(door_limits(c->server->door), c->client);
    context->series_limited = context->series_max != UINT64_MAX;
}

/* On an engine thread, or in ingest_submit: only wake. */
static void write_done(void *arg)
{
    http_wake(arg);
}

static struct call *call_of(struct work *w)
{
    return (struct call *)(void *)((char *)w - offsetof(struct call, work));
}

/* The decoder's thread; the call may be gone when these return. */
static void submit_large(struct work *w)
{
    struct call *c = call_of(w);
    ingest_submit(c->ingest, c->protocol, c->encoding, write_done, c->x);
}

static void again_large(struct work *w)
{
    struct ingest_answer a;
    bool answered = ingest_answer(call_of(w)->ingest, &a);
    TSDB_ASSERT(!answered); /* ingest_goes_again said so */
}

/* Before the body is whole no more of it is read meanwhile. */
static void to_decoder(struct call *c, void (*run)(struct work *w))
{
    c->work.run = run;
    if (!c->whole && !http_hold(c->x)) {
        refuse(c, TSDB_BUSY, "server is shutting down, try again later");
    } else if (!workers_submit(c->server->decoders, &c->work)) {
        refuse(c, TSDB_BUSY, "too many large write requests wait to be decoded, try again later");
    }
}

/* An import of any length: what is there is stored before more of it is read. */
static void submit_stretch(struct work *w)
{
    struct call *c = call_of(w);
    ingest_submit_stretch(c->ingest, c->protocol, c->encoding, write_done, c->x);
}

void api_write_body(struct call *c, const void *data, size_t len)
{
    struct tsdb_error err = {0};
    enum tsdb_status status = ingest_body(c->ingest, data, len, &err);
    if (status != TSDB_OK) {
        refuse(c, status, err.msg);
    } else if (is_import(c) && ingest_is_stretch(c->ingest)) {
        to_decoder(c, submit_stretch);
    }
}

/* Packed or not, an import is nothing for the daemon's thread. */
static bool is_large(const struct call *c)
{
    return is_import(c) || ingest_is_large(c->ingest);
}

void api_write_complete(struct call *c)
{
    c->whole = true;
    if (is_large(c)) {
        to_decoder(c, submit_large);
    } else {
        ingest_submit(c->ingest, c->protocol, c->encoding, write_done, c->x);
    }
}

void api_write_wake(struct call *c)
{
    struct ingest_answer a;
    if (is_import(c) && ingest_rests(c->ingest)) {
        api_import_progress(c);
    }
    if (is_large(c) && ingest_goes_again(c->ingest)) {
        to_decoder(c, again_large);
    } else if (ingest_answer(c->ingest, &a)) {
        reply(c, &a);
    }
}
