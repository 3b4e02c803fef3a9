/* A call: one request on its way from its headers to its answer.
 *
 *   on_headers     find the route, check method, gate and readiness, begin
 *   on_body        form bytes, or a write's body straight into ingest/
 *   on_complete    run the handler here, or queue it for a query worker (ROUTE_WORKER)
 *   handler        fills call->out, status, headers; call_send answers
 *   on_more        of an answer in pieces (call_stream) one was sent: a sender makes the next
 *
 * Threads: a call belongs to the daemon's thread until on_complete handed it over, then to the
 * worker (or to ingest/, whose done callback only wakes) until http_reply, then to the daemon
 * again. Request headers are readable in the daemon's thread only; what a handler needs is kept
 * here.
 */
#ifndef SERVER_API_CALL_H
#define SERVER_API_CALL_H

#include "ingest/ingest.h"
#include "server/api/envelope.h"
#include "server/api/multipart.h"
#include "server/api/params.h"
#include "server/http/http.h"
#include "server/parts/server.h"
#include "server/parts/workers.h"

struct call;

/* Append to call->out what comes next of an answer, until that holds CALL_PIECE_BYTES or all of it is there. In a
 * worker. Failures after the first piece cut the connection. */
typedef enum tsdb_status call_more_fn(struct call *c, bool *out_done, struct tsdb_error *err);
#define CALL_PIECE_BYTES (HTTP_PIECE_BYTES - (64u << 10)) /* with what is over it fits into a MiB */

enum route_flags {
    ROUTE_API = 1,        /* JSON envelope, CORS, compression, OPTIONS */
    ROUTE_WORKER = 2,     /* runs on a query worker: it may take its time */
    ROUTE_ALWAYS = 4,     /* also while storage is not ready */
    ROUTE_WRITE = 8,      /* the body goes to ingest/ (write.c) */
    ROUTE_LIFECYCLE = 16, /* 403 without --web.enable-lifecycle */
    ROUTE_CHANGES = 32,   /* changes something: 403 for pages from elsewhere, no CORS */
    ROUTE_OTLP = 64,      /* of a write: OTLP comes, and its answer goes back */
    ROUTE_IMPORT = 128,   /* of a write: lines of text come */
    ROUTE_ADMIN = 256,    /* an error without --web.enable-admin-api */
    ROUTE_OPEN = 512,     /* for everybody, without credentials */
    ROUTE_READER = 1024,  /* with ROUTE_WORKER: one of the threads of remote read */
    ROUTE_BODY = 2048,    /* the body is kept as it is, in call->form; it is no form */
    ROUTE_KEPT =
        4096, /* with ROUTE_WORKER: its answer may be kept, and then the daemon's thread gives it */
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
    char client[DOOR_CLIENT_BYTES]; /* who the door took it for */
    bool query_counted;             /* among the client's queries */
    int64_t begin_ns;               /* monotonic, at the headers */
    uint64_t perf_begin;
    bool armed;                                /* request, arena, form and out are initialised */
    bool form_wanted;                          /* the body is a form */
    char boundary[MULTIPART_BOUNDARY_MAX + 1]; /* of a multipart form; "": urlencoded */
    enum envelope_packing packing;             /* that the client takes */
    bool utf8_names;                           /* its Accept says escaping=allow-utf-8 */
    char origin[160];          /* Origin header; "" = none (or too long to be one) */
    struct tsdb_slice segment; /* what "*" matched, still percent-encoded */
    struct tsdb_request request;
    struct tsdb_arena arena; /* charged to request.account */
    struct tsdb_buf form;
    struct params params;
    bool parsed; /* they are there */
    bool shaped; /* estimate.h: they were when it was queued */
    uint64_t shape;
    struct budget_share share;
    bool shared;      /* it is one that runs */
    bool out_of_room; /* it failed because all queries together hold what they may */
    bool in_part;     /* the rest of it was kept: what it took is not what the whole takes */
    /* kept.h */
    struct tsdb_slice kept_key;          /* len 0: the answer is not to be kept */
    struct tsdb_label_stamp *kept_stamp; /* NULL: likewise; before storage was asked */
    struct tsdb_time_range kept_range;
    struct query_options query_options; /* as they were when it was parsed: reload changes them */
    /* the answer */
    struct tsdb_buf out;
    uint64_t
        charged_bytes; /* of `out` and `packed`, to request.account, until the answer was sent */
    /* an answer in pieces; call_stream */
    call_more_fn *more; /* NULL: it is whole */
    void (*close)(struct call *c);
    void *rest;
    struct tsdb_buf packed;
    struct envelope_packer packer;
    unsigned status;
    const char *content_type;
    const char *content_encoding; /* the body has one of its own: it is not packed again */
    const char *retry_after;
    const char *page_policy;   /* of a page: what a browser may do with it */
    const char *cache_control; /* NULL: no such header; likewise etag */
    const char *etag;
    const char *location; /* of a redirection */
    char allow[48];       /* "": no such header */
    bool stopping_header; /* X-Prometheus-Stopping */
    /* writes */
    struct ingest_request *ingest;
    enum ingest_protocol protocol;
    enum ingest_encoding encoding;
    bool whole;        /* on_complete has come */
    int64_t told_ns;   /* of an import: when the log last had something of it, or its beginning */
    bool stats_wanted; /* of an import: what was read, and how fast, in the answer */
};

/* ---- answers; each replaces whatever is in call->out ---- */
/* Plain text. */
void call_text(struct call *c, unsigned status, const char *format, ...) TSDB_PRINTF(3, 4);
/* A 200 without a body yet: the caller writes to c->out. */
void call_ok(struct call *c, const char *content_type);
/* An error envelope; plain text outside of the API. */
void call_error(struct call *c, enum envelope_error type, const char *format, ...)
    TSDB_PRINTF(3, 4);
/* The error envelope of a failure of the engine. */
void call_fail(struct call *c, enum tsdb_status st, const struct tsdb_error *err);
/* What the client sent could not be parsed: bad data, behind `prefix`, unless it was for want of memory. */
void call_malformed(struct call *c, enum tsdb_status st, const char *prefix,
                    const struct tsdb_error *err);
#define CALL_BUSY_TEXT                                                                             \
    "queries and answers in work hold all the memory that they may (--query.total-memory), "       \
    "try again later"
/* Was this refused something because all together hold what they may? It may then run again, see run_in_budget. */
bool call_out_of_room(struct call *c);
/* All queries together hold as much memory as they may: 503, come again. */
void call_busy(struct call *c);
/* Begin a 200 with a JSON envelope; the caller writes the data to c->out and then calls
 * envelope_success_end. */
void call_success(struct call *c);
/* The rest of the answer, whose beginning is in c->out, comes from more(c), which finds its state in `rest`. close(c), NULL
 * if there is nothing to do, is called once, when all of it was made or nobody wants it any more. Workers
 * only. */
void call_stream(struct call *c, call_more_fn *more, void (*close)(struct call *c), void *rest);
/* In a sender, after on_more. The call may be gone when this returns. */
void call_go_on(struct call *c);
/* Send what the handler made. The call may be gone when this returns. */
void call_send(struct call *c);

/* ---- life; routes.c only ---- */
/* Everything that is not a write: memory, deadline, an empty answer. begin_ns is set. */
void call_arm(struct call *c);
/* What the handler took goes back, its answer too, and the parameters are to be parsed again. */
void call_rearm(struct call *c);
void call_disarm(struct call *c);

#endif
