/* Shared by the files of the pipeline: ingest.c (pool, budget, life), build.c (entries and
 * batches), decode_v1.c, decode_v2.c. */
#ifndef INGEST_INGEST_PRIVATE_H
#define INGEST_INGEST_PRIVATE_H

#include "base/mutex.h"
#include "ingest/ingest.h"
#include "ingest/remote_write.h"

/* Series framed, hashed and prefetched ahead of being looked up: enough to hide a cache miss per
 * series, and small enough to stay in the first-level cache. */
#define INGEST_GROUP 64

/* The raw bytes of different senders' formats must not meet in the alias table: each format has its
 * salt. */
#define INGEST_SALT_REMOTE_WRITE_1 UINT64_C(0)
#define INGEST_SALT_REMOTE_WRITE_2 UINT64_C(0x9e3779b97f4a7c15)
#define INGEST_SALT_CANONICAL      UINT64_C(0xc2b2ae3d27d4eb4f)

/* Labels of one exemplar that are looked at; 128 characters in all are taken, so that more cannot
 * be valid in practice. */
#define INGEST_EXEMPLAR_LABELS_MAX 32

struct ingest {
    /* immutable */
    struct ingest_options options;
    struct tsdb *db;
    const struct tsdb_hash_key *key;
    /* guarded by lock */
    struct tsdb_mutex lock; /* rank INGEST_POOL */
    struct ingest_request *pool TSDB_GUARDED;
    uint32_t pool_count TSDB_GUARDED;
    /* atomic */
    _Atomic(uint64_t) inflight_bytes;
    _Atomic(uint64_t) requests, requests_failed, body_bytes, decoded_bytes, busy;
    _Atomic(uint64_t) samples, histograms, exemplars, rejected, metadata, hits, misses;
};

/* A buffer that a pooled request keeps. */
struct ingest_buffer {
    uint8_t *data;
    size_t len, cap;
};

/* Where the samples of one series go: a known ref, or an index into new_series. */
struct ingest_target {
    tsdb_series_ref series;
    uint32_t generation;
    uint32_t aux;
    uint8_t partition;
};

struct ingest_request {
    struct ingest *in;
    struct tsdb_request context;
    struct tsdb_arena arena;
    struct ingest_buffer body, decoded;
    uint64_t charged_bytes; /* of the budget */
    bool use_aliases;       /* false when a stale reference made us go again */
    bool added;             /* samples came from ingest_add: there is no body */
    bool submitted;         /* the write went to the engine: its results count */
    enum ingest_protocol protocol;
    enum ingest_encoding encoding;
    /* what decoding builds */
    struct tsdb_entry *entries;
    int64_t *starts; /* parallel to entries, NULL until a sample has one */
    uint32_t entry_count, entry_cap;
    struct tsdb_new_series *new_series;
    uint32_t new_count, new_cap;
    struct tsdb_write_exemplar *exemplars;
    uint32_t exemplar_count, exemplar_cap;
    uint32_t per_partition[TSDB_PARTITIONS]; /* entries */
    uint32_t hits, misses, metadata_count;
    /* what decoding refused */
    uint32_t rejected;
    struct tsdb_error first_error;
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
};

/* ---- build.c: everything lives in the request's arena; NOMEM or LIMIT when that is exhausted ----
 */
void ingest_build_reset(struct ingest_request *r);
/* The target of a series that the alias table does not know: labels come as received and are put in
 * order here. items[count]  arena memory of the caller's, reordered in place alias         {0,0}:
 * none INVALID when the labels are refused: the caller counts the series' samples with
 * ingest_build_reject. */
enum tsdb_status ingest_build_new(struct ingest_request *r, struct tsdb_label *items,
                                  uint32_t count, struct tsdb_hash128 alias,
                                  struct ingest_target *out, struct tsdb_error *err) TSDB_WUR;
static inline struct ingest_target ingest_target_known(struct tsdb_alias_hit hit)
{
    return (struct ingest_target){hit.ref, hit.generation, 0,
                                  (uint8_t)tsdb_series_partition(hit.ref)};
}
/* Room for `extra` more entries. */
enum tsdb_status ingest_build_grow(struct ingest_request *r, uint32_t extra) TSDB_WUR;
static inline enum tsdb_status ingest_build_reserve(struct ingest_request *r, uint32_t extra)
{
    return TSDB_LIKELY(extra <= r->entry_cap - r->entry_count) ? TSDB_OK
                                                               : ingest_build_grow(r, extra);
}
/* Add one sample; room was reserved. */
static inline void ingest_build_add(struct ingest_request *r, const struct ingest_target *target,
                                    enum tsdb_sample_kind kind, int64_t t_ms, uint64_t value)
{
    struct tsdb_entry *e = &r->entries[r->entry_count++];
    e->t_ms = t_ms;
    e->value = value;
    e->series = target->series;
    e->generation = target->generation;
    e->aux = target->aux;
    e->partition = target->partition;
    e->kind = (uint8_t)kind;
    e->flags = 0;
    e->reserved = 0;
    r->per_partition[target->partition]++;
}
/* Give the entry added last a start timestamp. */
enum tsdb_status ingest_build_start(struct ingest_request *r, int64_t start_ms) TSDB_WUR;
/* Take a Histogram message apart, reduce, validate, bring to raw form and add it. One that is not
 * valid is counted as refused and is OK; CORRUPT refuses the request. */
enum tsdb_status ingest_build_histogram_wire(struct ingest_request *r,
                                             const struct ingest_target *target,
                                             struct tsdb_slice message, bool has_start,
                                             struct tsdb_error *err) TSDB_WUR;
enum tsdb_status ingest_build_exemplar(struct ingest_request *r, const struct ingest_target *target,
                                       const struct tsdb_exemplar *x) TSDB_WUR;
/* `samples` samples are refused for good; the first text is kept for the answer. */
void ingest_build_reject(struct ingest_request *r, uint32_t samples, const struct tsdb_error *why);
/* Sort by partition, cut into batches, reserve WAL bytes. r->write is then ready to submit. */
enum tsdb_status ingest_build_finish(struct ingest_request *r) TSDB_WUR;

/* ---- decoders of whole bodies: CORRUPT or INVALID refuse the body as a whole, nothing is stored
 * ---- */
enum tsdb_status ingest_decode_v1(struct ingest_request *r, const uint8_t *data, size_t len,
                                  struct tsdb_error *err) TSDB_WUR;
enum tsdb_status ingest_decode_v2(struct ingest_request *r, const uint8_t *data, size_t len,
                                  struct tsdb_error *err) TSDB_WUR;

#endif
