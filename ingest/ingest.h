/* The way in: from a request body to acknowledged samples.
 *
 *   ingest_begin -> body bytes arrive (ingest_body) -> ingest_submit: decode, look up, batch, hand to
 *   owners -> `done` -> ingest_answer -> ingest_end
 *
 * A request object comes from a pool and keeps its buffers, so that the steady state allocates
 * nothing; those that were not needed for a while are freed (ingest_trim). Memory is charged when it is held and for what is held: bodies as they arrive, decoded
 * bodies, arenas, what the pool keeps. All requests together are bounded by inflight_bytes_max, and all of
 * one sender by half of that, so that who sends too much, or too slowly, leaves room for the others: beyond
 * them BUSY; one alone by half of it, too: beyond it LIMIT. What a client announces is checked
 * against body_bytes_max and holds nothing.
 *
 * What an answer means (remote write 1.0 and 2.0 alike): good samples of a request are stored even
 * if others are refused (partial commit, INVALID with a text); BUSY and READ_ONLY mean that nothing
 * was stored... unless the log failed after owners had applied (the sender repeats, and repeats are
 * no-ops).
 * Threads: an object belongs to one thread at a time; `done` runs on an engine thread and must only
 * wake the owner of the request. Decoding takes time in proportion to the body: who must not be held
 * up (a thread with other connections to serve) asks ingest_is_large and ingest_goes_again, and has
 * somebody else call submit and answer then.
 */
#ifndef INGEST_INGEST_H
#define INGEST_INGEST_H

#include "ingest/otlp/otlp.h"
#include "model/request.h"
#include "tsdb/tsdb.h"

struct ingest;
struct ingest_request;

struct ingest_options {
    uint64_t body_bytes_max;     /* compressed; TSDB_WRITE_BODY_BYTES_MAX */
    uint64_t decoded_bytes_max;  /* TSDB_WRITE_DECODED_BYTES_MAX */
    uint64_t inflight_bytes_max; /* memory of all requests; of one: half of it */
    uint64_t large_bytes;        /* ingest_is_large: decoded to more; TSDB_WRITE_LARGE_BYTES */
    uint32_t pool_max;           /* idle request objects kept, with an eighth of that at most */
    /* Of a series: no more than the limits of the format (base/limits.h), the default. */
    uint32_t labels_max, label_name_bytes_max, label_value_bytes_max;
    struct tsdb_clock clock;
};
void ingest_options_default(struct ingest_options *o);
enum tsdb_status ingest_create(const struct ingest_options *options, struct tsdb *db,
                               struct ingest **out, struct tsdb_error *err) TSDB_WUR;
void ingest_destroy(struct ingest *in); /* no request may be open; NULL is fine */
/* Free those requests in the pool that were not needed since the last call. To be called every few
 * seconds: what a burst took is given back when it is over. Threads: any. */
void ingest_trim(struct ingest *in);

/* How OTLP is translated from now on; copied. Threads: any. */
void ingest_otlp_options_set(struct ingest *in, const struct otlp_options *options);

enum ingest_protocol {
    INGEST_REMOTE_WRITE_1 = 1,
    INGEST_REMOTE_WRITE_2 = 2,
    INGEST_OTLP, /* ExportMetricsServiceRequest, as protobuf or JSON */
    INGEST_OTLP_JSON,
    INGEST_TEXT, /* an import: Prometheus's text format, in pieces */
    INGEST_OPENMETRICS
};
enum ingest_encoding {
    INGEST_ENCODING_SNAPPY = 0, /* or zstd: senders label one as the other */
    INGEST_ENCODING_ZSTD,       /* likewise */
    INGEST_ENCODING_GZIP,
    INGEST_ENCODING_NONE /* no Content-Encoding: as its first bytes say, else plain protobuf */
};

typedef void (*ingest_done_fn)(void *arg);

/* body_bytes_hint: Content-Length, or 0 when unknown. BUSY (not ready), READ_ONLY, LIMIT (body too
 * large), NOMEM. */
enum tsdb_status ingest_begin(struct ingest *in, uint64_t body_bytes_hint,
                              struct ingest_request **out, struct tsdb_error *err) TSDB_WUR;
/* Whose it is: what it holds counts for the sender (its address, say; few senders share a place by chance).
 * Right after ingest_begin; without it only the bound of all counts. */
void ingest_sender_set(struct ingest_request *r, const char *sender);
/* To set durability, client, scopes before submit. */
struct tsdb_request *ingest_context(struct ingest_request *r);
/* Add bytes of the body. LIMIT, BUSY, NOMEM; the request must then be ended. */
enum tsdb_status ingest_body(struct ingest_request *r, const void *data, size_t len,
                             struct tsdb_error *err) TSDB_WUR;
/* The whole body is there: is decoding it more than a few milliseconds' work? */
bool ingest_is_large(const struct ingest_request *r);
/* Decode and hand over. Never fails as such: the outcome is in ingest_answer after `done`, which is
 * called exactly once, maybe before this returns. */
void ingest_submit(struct ingest_request *r, enum ingest_protocol protocol,
                   enum ingest_encoding encoding, ingest_done_fn done, void *arg);

/* Imports come in stretches, of which one is held: when ingest_is_stretch says that enough of the body is
 * there it is submitted, and no more is added until ingest_rests says that it is stored. The end of the body
 * goes by ingest_submit. */
bool ingest_is_stretch(const struct ingest_request *r);
void ingest_submit_stretch(struct ingest_request *r, enum ingest_protocol protocol,
                           enum ingest_encoding encoding, ingest_done_fn done, void *arg);
/* After `done`: is the stretch all stored, and more of the body to come? Then ingest_answer returns false
 * and does nothing further; `done` does not come again. */
bool ingest_rests(struct ingest_request *r);

/* What is stored of the import so far. While it rests. */
void ingest_import_so_far(const struct ingest_request *r, uint64_t *out_lines,
                          uint64_t *out_samples);

/* Instead of a body: samples from inside the process (self-scrape). labels in any order, copied.
 * Then ingest_submit_added. */
enum tsdb_status ingest_add(struct ingest_request *r, const struct tsdb_labels *labels,
                            int64_t t_ms, uint64_t bits, struct tsdb_error *err) TSDB_WUR;
void ingest_submit_added(struct ingest_request *r, ingest_done_fn done, void *arg);

struct ingest_answer {
    /* OK: 204. INVALID: 400, the rest was stored. LIMIT: too large, 400. BUSY, READ_ONLY, NOMEM:
     * 503, nothing was stored. */
    enum tsdb_status status;
    uint32_t samples_written, histograms_written, exemplars_written;
    uint32_t rejected; /* samples, histograms refused for good */
    uint32_t points;   /* OTLP: data points that came */
    uint64_t lines;    /* of an import */
    /* Of the first one refused; NONE: the request as a whole. */
    enum tsdb_reject reason;
    char text[1536]; /* for the body of an error answer: one line, Prometheus's phrases */
};
/* After `done`. Not OK with a stale reference inside: resubmits by itself once (then returns false
 * and `done` comes again). An import returns false after each piece but the last. */
bool ingest_answer(struct ingest_request *r, struct ingest_answer *out);
/* After `done`: will ingest_answer decode once more and return false? */
bool ingest_goes_again(struct ingest_request *r);
void ingest_end(struct ingest_request *r); /* back to the pool; NULL is fine */

struct ingest_stats {
    uint64_t requests, requests_failed, body_bytes, decoded_bytes, busy;
    uint64_t inflight_bytes; /* held by requests now */
    uint64_t peak_bytes;     /* held by requests and pool at the most so far */
    uint64_t pool_bytes;     /* held by idle ones */
    uint64_t samples, histograms, exemplars, rejected, metadata;
    /* Of those: refused while decoding. */
    uint64_t rejected_labels, rejected_histograms, rejected_unsupported, rejected_syntax;
    uint64_t series_hits, series_misses;
};
void ingest_stats_read(struct ingest *in, struct ingest_stats *out);

#endif
