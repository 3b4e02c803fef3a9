/* A write: what one request brings, cut into one batch per owner.
 *
 *   ingest thread    struct tsdb_write, out of the request's arena
 *        │ submit    batches[0]    batches[1]  ...    each a range of entries[] and exemplars[]
 *   owners              validate, append, encode WAL bytes into what the ingest thread reserved
 *   WAL                 write, sync as the durability says
 *        ▼           tsdb_batch_complete; the last one calls `done`, once
 *
 * All memory belongs to the request's arena and stays until then.
 *
 * Invariants:
 *  1. entries[] is sorted by partition (stable: order within a series is the sender's); a batch is
 *     a contiguous range of it, and a run of one partition is contiguous within the batch.
 *  2. An entry with series == TSDB_SERIES_NEW has its labels in new_series[aux]. Several entries
 *     may share one.
 *  3. Nothing of a write that is refused as a whole (BUSY, READ_ONLY) has been applied.
 *
 * Threads: written by the ingest thread before submit; each batch by its owner, then by the WAL
 * threads, one after the other (hand-over through rings); results read by whoever `done` tells.
 */
#ifndef MODEL_BATCH_H
#define MODEL_BATCH_H

#include "base/hash.h"
#include "base/limits.h"
#include "model/exemplar.h"
#include "model/labels.h"
#include "model/request.h"
#include "model/sample.h"

#include <stdatomic.h>

typedef uint32_t tsdb_series_ref;  /* partition << TSDB_PARTITION_SHIFT | local id */
#define TSDB_SERIES_NEW UINT32_MAX /* never a valid ref: local ids stop short of it */

static inline uint32_t tsdb_series_partition(tsdb_series_ref ref)
{
    return ref >> TSDB_PARTITION_SHIFT;
}
static inline uint32_t tsdb_series_local(tsdb_series_ref ref)
{
    return ref & (TSDB_SERIES_LOCAL_MAX - 1);
}
static inline tsdb_series_ref tsdb_series_make(uint32_t partition, uint32_t local)
{
    return partition << TSDB_PARTITION_SHIFT | local;
}

/* One sample. 32 bytes. */
struct tsdb_entry {
    int64_t t_ms;
    uint64_t value;         /* float: IEEE bits; histogram: pointer to struct tsdb_raw_histogram */
    tsdb_series_ref series; /* or TSDB_SERIES_NEW */
    uint32_t generation;    /* of the ref, from the alias table; checked by the owner */
    uint32_t aux;           /* index into new_series[] when series is TSDB_SERIES_NEW */
    uint8_t partition;
    uint8_t kind;  /* enum tsdb_sample_kind */
    uint8_t flags; /* TSDB_ENTRY_* */
    uint8_t reserved;
};
#define TSDB_ENTRY_HAS_START 1u /* starts[index of the entry] holds the start timestamp */
static_assert(sizeof(struct tsdb_entry) == 32, "two entries a cache line");

struct tsdb_raw_histogram {
    uint32_t len;
    const uint8_t *data; /* raw form, model/histogram.h; validated */
};

/* A series that the alias table did not know. The owner finds it by its labels or creates it. */
struct tsdb_new_series {
    struct tsdb_labels labels; /* canonical, borrowed from the request */
    uint64_t hash;             /* tsdb_labels_hash */
    struct tsdb_hash128 alias; /* of the raw bytes, to be entered as an alias; {0,0} = none */
    tsdb_series_ref ref;       /* out: set by the owner, TSDB_SERIES_NEW if refused */
    uint32_t generation;       /* out */
    uint8_t partition;         /* tsdb_labels_partition */
};

struct tsdb_write_exemplar {
    struct tsdb_exemplar exemplar;
    tsdb_series_ref series; /* or TSDB_SERIES_NEW with aux */
    uint32_t aux;
    uint8_t partition;
};

enum tsdb_reject {
    TSDB_REJECT_NONE = 0,
    TSDB_REJECT_DUPLICATE, /* same series and time, other value: "duplicate sample for timestamp" */
    TSDB_REJECT_TOO_OLD,   /* older than retention: "out of bounds" */
    TSDB_REJECT_TOO_NEW,   /* later than now + 10 min: "out of bounds" */
    TSDB_REJECT_SERIES_LIMIT,
    TSDB_REJECT_LABELS, /* refused while decoding */
    TSDB_REJECT_HISTOGRAM,
    TSDB_REJECT_EXEMPLAR,
    TSDB_REJECT_UNSUPPORTED, /* while decoding: what cannot be stored, such as delta temporality */
    TSDB_REJECT_SYNTAX,      /* likewise: a line of an import that is no sample */
    TSDB_REJECT_COUNT
};
const char *tsdb_reject_text(enum tsdb_reject reason);
/* "too_old": of metrics and logs. NONE: "request". */
const char *tsdb_reject_name(enum tsdb_reject reason);

/* What became of the entries; one per batch, summed at the end. */
struct tsdb_write_result {
    uint32_t samples_written; /* floats, exact duplicates included */
    uint32_t histograms_written;
    uint32_t exemplars_written;
    uint32_t rejected[TSDB_REJECT_COUNT];
    uint32_t stale_refs; /* entries whose generation did not match: submit again without aliases */
    uint32_t first_rejected; /* index into entries[]; means something if first_reason is not NONE */
    enum tsdb_reject first_reason;
};

struct tsdb_write;

/* The part of a write for one owner. */
struct tsdb_batch {
    struct tsdb_write *write;
    uint32_t owner;
    uint32_t entry_begin, entry_end;       /* range in write->entries */
    uint32_t exemplar_begin, exemplar_end; /* range in write->exemplars */
    uint8_t *wal_bytes;                    /* reserved by the ingest thread, filled by the owner */
    uint32_t wal_cap;
    uint32_t wal_len;
    uint32_t wal_samples;            /* samples in wal_bytes: counts against the flush window */
    enum tsdb_durability durability; /* what the answer waits for */
    struct tsdb_write_result result;
    uint64_t published_ns;   /* for the ring-wait histogram */
    struct tsdb_batch *next; /* queue link for whoever holds the batch */
};

struct tsdb_write {
    struct tsdb_request *request; /* NULL: nobody limits it */
    struct tsdb_entry *entries;
    const int64_t *starts; /* parallel to entries, or NULL */
    uint32_t entry_count;
    struct tsdb_new_series *new_series;
    uint32_t new_series_count;
    struct tsdb_write_exemplar *exemplars; /* sorted by partition */
    uint32_t exemplar_count;
    struct tsdb_batch batches[TSDB_OWNERS_MAX];
    uint32_t batch_count;
    _Atomic(uint32_t) pending; /* batches not done */
    _Atomic(uint32_t) status;  /* enum tsdb_status of the log: OK, or the first failure */
    /* Called exactly once, from any engine thread; must not block. */
    void (*done)(struct tsdb_write *w);
    void *done_arg;
};

/* One batch is done; the last one calls w->done. status: of the log. */
void tsdb_batch_complete(struct tsdb_batch *b, enum tsdb_status status);
/* Sum of the batches' results; first_rejected is the smallest entry index. */
void tsdb_write_result_sum(const struct tsdb_write *w, struct tsdb_write_result *out);

#endif
