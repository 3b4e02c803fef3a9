/* The route table, and a call: one request on its way from its headers to its answer.
 *
 *   on_headers: find the route, check method and readiness, begin
 *   on_body:    form bytes, or a write's body straight into ingest/
 *   on_complete: run the handler here (ROUTE_INLINE), or queue it for a query worker
 *   handler:    fills call->out, status, headers; call_send answers
 *
 * Threads: a call belongs to the daemon's thread until on_complete handed it over, then to the
 * worker (or to ingest/, whose done callback only wakes) until http_reply, then to the daemon
 * again. Request headers are readable in the daemon's thread only; what a handler needs is kept
 * here.
 */
#ifndef SERVER_API_ROUTES_H
#define SERVER_API_ROUTES_H

#include "ingest/ingest.h"
#include "server/api/envelope.h"
#include "server/api/params.h"
#include "server/api/workers.h"
#include "server/http/http.h"
#include "server/server.h"

struct call;

enum route_flags {
    ROUTE_API = 1,    /* JSON envelope, CORS, compression, OPTIONS */
    ROUTE_WORKER = 2, /* runs on a query worker: it may take its time */
    ROUTE_ALWAYS = 4, /* also while storage is not ready */
    ROUTE_WRITE = 8,  /* the body goes to ingest/ (api_write.c) */
};
struct route {
    unsigned methods; /* bits 1u << enum http_method; GET brings HEAD */
    const char *path; /* exact; "*" stands for one segment, given as call->segment */
    void (*run)(struct call *c);
    unsigned flags; /* enum route_flags */
};

struct call {
    struct server *server;
    struct http_exchange *x;
    const struct route *route;
    struct work work;
    int64_t begin_ns; /* monotonic, at the headers */
    uint64_t perf_begin;
    bool armed;                /* request, arena, form and out are initialised */
    bool form_wanted;          /* the body is a form */
    bool gzip;                 /* the client takes gzip */
    char origin[160];          /* Origin header; "" = none (or too long to be one) */
    struct tsdb_slice segment; /* what "*" matched, still percent-encoded */
    struct tsdb_request request;
    struct tsdb_arena arena; /* charged to request.account */
    struct tsdb_buf form;
    struct params params;
    struct query_options query_options; /* as they were when it was parsed: reload changes them */
    /* the answer */
    struct tsdb_buf out;
    uint64_t charged_bytes; /* of `out`, to request.account, until the answer was sent */
    unsigned status;
    const char *content_type;
    const char *retry_after;
    const char *allow;
    bool stopping_header; /* X-Prometheus-Stopping */
    /* writes */
    struct ingest_request *ingest;
    enum ingest_protocol protocol;
    enum ingest_encoding encoding;
};

/* ---- answers; each replaces whatever is in call->out ---- */
/* Plain text. */
void call_text(struct call *c, unsigned status, const char *format, ...) TSDB_PRINTF(3, 4);
/* A 200 without a body yet: the caller writes to c->out. */
void call_ok(struct call *c, const char *content_type);
/* An error envelope. */
void call_error(struct call *c, enum envelope_error type, const char *format, ...)
    TSDB_PRINTF(3, 4);
/* The error envelope of a failure of the engine. */
void call_fail(struct call *c, enum tsdb_status st, const struct tsdb_error *err);
/* Begin a 200 with a JSON envelope; the caller writes the data to c->out and then calls
 * envelope_success_end. */
void call_success(struct call *c);
/* Send what the handler made. The call may be gone when this returns. */
void call_send(struct call *c);

/* ---- handlers, by file ---- */
/* api_query.c */
void api_query(struct call *c);
void api_query_range(struct call *c);
void api_format_query(struct call *c);
void api_query_exemplars(struct call *c);
/* api_series.c */
void api_series(struct call *c);
void api_labels(struct call *c);
void api_label_values(struct call *c);
/* api_metadata.c */
void api_metadata(struct call *c);
void api_status_tsdb(struct call *c);
/* api_discovery.c */
void api_rules(struct call *c);
void api_alerts(struct call *c);
void api_targets(struct call *c);
void api_scrape_pools(struct call *c);
void api_alertmanagers(struct call *c);
void api_notifications(struct call *c);
/* api_features.c */
void api_features(struct call *c);
/* api_status.c */
void api_status_buildinfo(struct call *c);
void api_status_flags(struct call *c);
void api_status_config(struct call *c);
void api_status_runtimeinfo(struct call *c);
void api_status_walreplay(struct call *c);
void page_healthy(struct call *c);
void page_ready(struct call *c);
void page_reload(struct call *c);
void page_quit(struct call *c);
void page_metrics(struct call *c);
void page_root(struct call *c);
/* api_write.c: the four steps of a write, each in the daemon's thread. They answer by themselves.
 */
void api_write_headers(struct call *c);
void api_write_body(struct call *c, const void *data, size_t len);
void api_write_complete(struct call *c);
void api_write_wake(struct call *c);
/* The three counts, all 0, for an answer to a write that never came to ingest/. */
void api_write_counts_zero(struct http_reply *r);

/* Is storage ready for reads? *out_stopping: the server is on its way down. */
bool server_ready(struct server *s, bool *out_stopping);

#endif
