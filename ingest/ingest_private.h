/* Shared by the files of the pipeline:
 *   ingest.c      pool, budget, life
 *   answer.c      what became of a request, as the answer
 *   decode_v1.c   bodies of remote write 1.0, into the batch builder
 *   decode_v2.c   bodies of remote write 2.0
 *   decode_otlp.c bodies of OTLP
 *   import.c      the text of imports, from stretches of the body to lines
 *   decode_text.c imports of text, a piece at a time
 *   build.c       what all do with the parts of a series
 *   build_plain.c series whose parts stand in memory, not in a body
 */
#ifndef INGEST_INGEST_PRIVATE_H
#define INGEST_INGEST_PRIVATE_H

#include "base/mutex.h"
#include "ingest/import.h"
#include "ingest/ingest.h"
#include "ingest/otlp/otlp.h"
#include "ingest/remote_write.h"
#include "ingest/text/text.h"
#include "ingest/unpack.h"
#include "tsdb/batch_build.h"

/* Series framed, hashed and prefetched ahead of being looked up: enough to hide a cache miss per
 * series, and small enough to stay in the first-level cache. */
#define INGEST_GROUP 64

/* The raw bytes of different senders' formats must not meet in the alias table: each format has its
 * salt. */
#define INGEST_SALT_REMOTE_WRITE_1 UINT64_C(0)
#define INGEST_SALT_REMOTE_WRITE_2 UINT64_C(0x9e3779b97f4a7c15)
#define INGEST_SALT_TEXT           UINT64_C(0x165667b19e3779f9)
#define INGEST_SALT_CANONICAL      UINT64_C(0xc2b2ae3d27d4eb4f)

/* An exemplar with time, value and a label has more bytes on the wire than this, and takes some two
 * hundred in memory: of empty ones no more are taken than the body could hold real ones. */
#define INGEST_EXEMPLAR_BYTES_MIN 16u

/* The first refusal in the text of an answer. */
#define INGEST_FIRST_BYTES 1200u

/* Senders that have an account of their own; beyond, some share one. */
#define INGEST_SENDERS 256u

struct ingest {
    /* immutable */
    struct ingest_options options;
    struct tsdb *db;
    const struct tsdb_hash_key *key;
    const uint8_t *owner_of;
    /* guarded by lock */
    struct tsdb_mutex lock; /* rank INGEST_POOL */
    struct ingest_request *pool TSDB_GUARDED;
    struct otlp_options otlp TSDB_GUARDED;
    uint32_t pool_count TSDB_GUARDED;
    uint32_t pool_low TSDB_GUARDED; /* the least of pool_count since ingest_trim */
    uint64_t pool_bytes TSDB_GUARDED;
    /* atomic */
    struct tsdb_account account;                 /* of all requests, idle ones too */
    struct tsdb_account senders[INGEST_SENDERS]; /* within it: half of it each */
    _Atomic(uint64_t) requests, requests_failed, body_bytes, decoded_bytes, busy;
    _Atomic(uint64_t) samples, histograms, exemplars, rejected, metadata, hits, misses;
    _Atomic(uint64_t) rejected_labels, rejected_histograms, rejected_unsupported, rejected_syntax;
};

/* A buffer that a pooled request keeps. */
struct ingest_buffer {
    uint8_t *data;
    size_t len, cap;
};

struct ingest_request {
    struct ingest *in;
    struct tsdb_request context;
    struct tsdb_account account; /* of this request: arenas and buffers */
    struct tsdb_arena arena;     /* what the write borrows until it is done */
    struct tsdb_arena scratch;   /* one message at a time: histogram, metadata */
    struct ingest_buffer body, decoded;
    bool plain;       /* the body was not packed */
    bool use_aliases; /* false when a stale reference made us go again */
    bool added;       /* samples came from ingest_add: there is no body */
    bool submitted;   /* the write went to the engine: its results count */
    enum ingest_protocol protocol;
    enum ingest_encoding encoding;
    /* what decoding builds */
    struct tsdb_batch_build build;
    uint32_t hits, misses, metadata_count;
    uint32_t points;         /* OTLP: data points seen */
    uint32_t exemplars_left; /* how many more are taken */
    /* An import, over its pieces; none of it is reset between them. */
    struct ingest_text {
        struct text_parser parser, piece; /* now, and where the piece began */
        struct tsdb_metadata family;      /* HELP, TYPE, UNIT that were read */
        int64_t now_ms;                   /* of lines without a time */
        struct ingest_stream *stream;     /* unpacks; NULL: the body is plain */
        size_t taken;                     /* bytes of the body that were unpacked */
        size_t lines;                     /* bytes of `decoded` that the parser has */
        bool begun;
        bool more; /* the stream has more to give without input */
        bool last; /* no more body comes */
    } text;
    struct ingest_answer import_sum; /* of the pieces before */
    char import_first[INGEST_FIRST_BYTES];
    /* what decoding refused */
    uint32_t rejected[TSDB_REJECT_COUNT];
    struct tsdb_error first_error;
    enum tsdb_reject first_reason;
    bool first_named;       /* first_series is set */
    char first_series[200]; /* the one of first_error, as Prometheus prints a metric; cut */
    /* the outcome */
    enum tsdb_status status;
    struct tsdb_error error;
    struct tsdb_write write;
    ingest_done_fn done;
    void *done_arg;
    struct ingest_request *next; /* pool */
    /* scratch of the decoders */
    struct remote_write_series group[INGEST_GROUP];
    struct tsdb_hash128 group_hash[INGEST_GROUP];
    struct tsdb_slice group_name[INGEST_GROUP]; /* 2.0: the metric */
    struct tsdb_label labels[TSDB_LABELS_MAX];  /* of one series */
};

/* ---- ingest.c ---- */
static inline bool ingest_is_import(const struct ingest_request *r)
{
    return r->protocol == INGEST_TEXT || r->protocol == INGEST_OPENMETRICS;
}
/* Capacity for `need` bytes; contents up to len are kept. NOMEM, LIMIT. */
enum tsdb_status ingest_buffer_reserve(struct ingest_request *r, struct ingest_buffer *b,
                                       size_t need) TSDB_WUR;
/* Decode and submit anew; `done` comes again. */
void ingest_resubmit(struct ingest_request *r, bool use_aliases);

/* ---- build.c: everything lives in the request's arena; NOMEM or LIMIT when it is exhausted ---- */
void ingest_build_reset(struct ingest_request *r);
/* A copy of labels in the arena; the strings stay borrowed. */
enum tsdb_status ingest_build_keep(struct ingest_request *r, const struct tsdb_label *items,
                                   uint32_t count, struct tsdb_label **out) TSDB_WUR;
/* The target of a series whose labels stand in memory, sorted by name: known to the alias table by their
 * bytes, or new. Strings are borrowed for the call. INVALID as ingest_build_new. */
enum tsdb_status ingest_build_target(struct ingest_request *r, const struct tsdb_labels *labels,
                                     struct tsdb_build_target *out,
                                     struct tsdb_error *err) TSDB_WUR;
/* One float; start_ms 0: none. */
enum tsdb_status ingest_build_float(struct ingest_request *r,
                                    const struct tsdb_build_target *target, int64_t t_ms,
                                    int64_t start_ms, uint64_t bits) TSDB_WUR;
/* One histogram: reduced, validated, kept. One that is not valid is counted as refused. Uses
 * r->scratch without resetting it. */
enum tsdb_status ingest_build_histogram(struct ingest_request *r,
                                        const struct tsdb_build_target *target,
                                        struct tsdb_histogram *h, int64_t t_ms, int64_t start_ms,
                                        struct tsdb_error *err) TSDB_WUR;
/* One exemplar, copied; what is not valid is left out. */
enum tsdb_status ingest_build_exemplar(struct ingest_request *r,
                                       const struct tsdb_build_target *target,
                                       const struct tsdb_exemplar *x,
                                       struct tsdb_error *err) TSDB_WUR;
/* The target of a series that the alias table does not know. Its labels are in r->labels[count], as
 * received; only those that are valid cost memory. alias: {0, 0}: none.
 * INVALID when the labels are refused: the caller counts the series' samples with
 * ingest_build_reject. */
enum tsdb_status ingest_build_new(struct ingest_request *r, uint32_t count,
                                  struct tsdb_hash128 alias, struct tsdb_build_target *out,
                                  struct tsdb_error *err) TSDB_WUR;
/* Floats and histograms of a framed series. A histogram that is not valid is counted as refused;
 * CORRUPT refuses the request. */
enum tsdb_status ingest_build_samples(struct ingest_request *r, const struct remote_write_walker *w,
                                      const struct remote_write_series *s,
                                      const struct tsdb_build_target *target,
                                      struct tsdb_error *err) TSDB_WUR;
/* Its exemplars. `read` takes one apart, with read_arg (the walker of its version). One that is not valid
 * is left out and not counted as written, and never fails a request; CORRUPT does. */
typedef enum tsdb_status (*ingest_exemplar_fn)(const void *read_arg, struct tsdb_slice message,
                                               struct tsdb_label *items, uint32_t cap,
                                               struct tsdb_exemplar *out, struct tsdb_error *err);
enum tsdb_status ingest_build_exemplars(struct ingest_request *r,
                                        const struct remote_write_walker *w,
                                        const struct remote_write_series *s,
                                        const struct tsdb_build_target *target,
                                        ingest_exemplar_fn read, const void *read_arg,
                                        struct tsdb_error *err) TSDB_WUR;
/* Put metadata into the table of the db; advice, so that what is not valid (status INVALID) or
 * finds no room is passed over. Other statuses come back. */
enum tsdb_status ingest_build_metadata(struct ingest_request *r, enum tsdb_status status,
                                       const struct tsdb_metadata *m,
                                       struct tsdb_error *err) TSDB_WUR;
/* `samples` samples are refused for good; the first text is kept for the answer. Clears *why. */
void ingest_build_reject(struct ingest_request *r, enum tsdb_reject reason, uint32_t samples,
                         struct tsdb_error *why);
/* Is the first refusal still without the name of its series? Then its decoder brings the labels. */
static inline bool ingest_build_unnamed(const struct ingest_request *r)
{
    return r->first_error.status != TSDB_OK && !r->first_named;
}
/* labels: as received, any number and length, checked by nobody. */
void ingest_build_name(struct ingest_request *r, const struct tsdb_label *items, uint32_t count);
/* "m{job=\"a\"}" into out[cap], cut with "..." where it is too long. */
void ingest_series_text(const struct tsdb_label *items, uint32_t count, char *out, size_t cap);

/* A text for refusals of a metric without labels: its name. */
void ingest_build_name_metric(struct ingest_request *r, struct tsdb_slice metric);

/* ---- decoders of whole bodies: CORRUPT or INVALID refuse the body, nothing is stored ---- */
enum tsdb_status ingest_decode_v1(struct ingest_request *r, const uint8_t *data, size_t len,
                                  struct tsdb_error *err) TSDB_WUR;
enum tsdb_status ingest_decode_v2(struct ingest_request *r, const uint8_t *data, size_t len,
                                  struct tsdb_error *err) TSDB_WUR;
/* The next piece of r->text.parser. Statuses other than OK end the import. */
enum tsdb_status ingest_decode_text(struct ingest_request *r, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status ingest_decode_otlp(struct ingest_request *r, const uint8_t *data, size_t len,
                                    struct tsdb_error *err) TSDB_WUR;

#endif
