/* Remote write 1.0: walking a decoded prometheus.WriteRequest in place; and what both versions share.
 *
 *   WriteRequest { 1 repeated TimeSeries, 3 repeated MetricMetadata }
 *   TimeSeries   { 1 repeated Label, 2 repeated Sample, 3 repeated Exemplar, 4 repeated Histogram }
 *   Label        { 1 name, 2 value }
 *   Sample       { 1 double value, 2 int64 timestamp }
 *   Exemplar     { 1 repeated Label, 2 double value, 3 int64 timestamp }
 *
 * Place: between snappy and the alias table. The walker frames a series (labels, samples, ... are
 * skipped over by their length), the caller looks its label bytes up, and only on a miss reads
 * labels; samples come from a cursor.
 *
 *   remote_write_init(&w, body, len);
 *   while ((item = remote_write_next(&w, &series)) > REMOTE_WRITE_END) {
 *       if (item == REMOTE_WRITE_METADATA) { metadata_wire_decode(series.message ...); continue; }
 *       hash of series.labels ...
 *       struct remote_write_cursor c = remote_write_samples(&w, &series);
 *       while (remote_write_next_sample(&c, &t_ms, &start_ms, &bits)) { ... }
 *       if (c.failed) -> remote_write_fault(&w, c.pos, "sample", err)
 *       c = remote_write_histograms(&w, &series);
 *       while (remote_write_next_message(&c, &message)) { histogram_wire_decode(message ...) }
 *   }
 *   if (item == REMOTE_WRITE_MALFORMED) -> remote_write_fault(&w, w.pos, w.fault, err)
 *
 * Invariants:
 *  1. Nothing is copied and nothing is allocated; everything borrows from the body.
 *  2. No byte outside the body is read, whatever it holds.
 *  3. Every item frames all fields of its message: a cursor can only meet a malformed field of its
 *     own kind.
 *  4. Protobuf's merge rules: bodies may be concatenated, fields come in any order, the last of a
 *     repeated scalar wins, unknown fields are skipped by wire type. A known field with a wrong wire
 *     type and groups are refused, as Go and protobuf-c do (tests/fuzz/remote_write compares).
 * Threads: pure. Cost: measured by tests/unit/ingest and bench; 1 pass over tags and lengths, 1 over
 * samples.
 */
#ifndef INGEST_REMOTE_WRITE_H
#define INGEST_REMOTE_WRITE_H

#include "ingest/wire.h"
#include "model/exemplar.h"
#include "model/labels.h"

/* Larger bodies are refused: positions and string lengths are then below 2^31. */
#define REMOTE_WRITE_BYTES_MAX INT32_MAX

struct remote_write_walker {
    const uint8_t *begin;
    const uint8_t *pos; /* the next item; after MALFORMED where the fault is */
    const uint8_t *end;
    const char *fault; /* what is malformed, for the message */
    bool v2;           /* the body is a Request of 2.0 (remote_write_v2.h) */
};

enum remote_write_item {
    REMOTE_WRITE_MALFORMED = -1,
    REMOTE_WRITE_END = 0,
    REMOTE_WRITE_SERIES,
    REMOTE_WRITE_METADATA,
};

/* A framed TimeSeries of either version. */
struct remote_write_series {
    struct tsdb_slice message; /* the TimeSeries, or MetricMetadata */
    const uint8_t *samples;    /* the first sample field, or the end of the message */
    uint32_t sample_count;
    uint32_t exemplar_count;
    uint32_t histogram_count;
    /* 1.0 only */
    uint32_t label_count;
    struct tsdb_slice labels; /* from the first label field's tag to the end of the last one */
    /* True: `labels` holds all label fields and nothing else, so that equal bytes are the same
     * series: the key of the alias table. False (other fields between, or no labels): read the
     * labels. */
    bool labels_contiguous;
    /* 2.0 only */
    uint32_t ref_fields; /* fields of labels_refs: 1 when packed */
    uint32_t metadata_count;
    /* created_timestamp of older senders: the start of every sample that says none; 0 = none. */
    int64_t start_ms;
};

/* A place in a message, on the way to its fields of one number. false from a _next_ function means
 * the end, or `failed` with pos at the malformed field. */
struct remote_write_cursor {
    const uint8_t *pos;
    const uint8_t *end;
    uint32_t field;
    bool has_start; /* samples of 2.0 have a third field */
    bool failed;
};

void remote_write_init(struct remote_write_walker *w, const uint8_t *body, size_t len);
/* The out-of-line rest of the functions below. */
enum remote_write_item remote_write_next_slow(struct remote_write_walker *w,
                                              struct remote_write_series *out);
enum remote_write_item remote_write_frame_rest(struct remote_write_walker *w, const uint8_t *pos,
                                               struct remote_write_series *out);
bool remote_write_next_sample_slow(struct remote_write_cursor *c, int64_t *out_t_ms,
                                   int64_t *out_start_ms, uint64_t *out_bits);

/* The next item, with its fields framed and counted. For METADATA only out->message is set. */
static inline enum remote_write_item remote_write_next(struct remote_write_walker *w,
                                                       struct remote_write_series *out)
{
    const uint8_t *p = w->pos;
    size_t len = 0;
    if (TSDB_UNLIKELY(p >= w->end || p[0] != WIRE_TAG(1, WIRE_LEN))) {
        return remote_write_next_slow(w, out);
    }
    p = wire_len(p + 1, w->end, &len);
    if (TSDB_UNLIKELY(!p)) {
        return remote_write_next_slow(w, out);
    }
    const uint8_t *end = p + len;
    out->message = (struct tsdb_slice){p, len};
    out->exemplar_count = 0;
    out->histogram_count = 0;
    const uint8_t *begin = p;
    uint32_t labels = 0;
    uint32_t samples = 0;
    const uint8_t *q = NULL;
    while (p < end && p[0] == WIRE_TAG(1, WIRE_LEN) && (q = wire_len(p + 1, end, &len)) != NULL) {
        p = q + len;
        labels++;
    }
    out->labels = (struct tsdb_slice){begin, (size_t)(p - begin)};
    out->samples = p;
    while (p < end && p[0] == WIRE_TAG(2, WIRE_LEN) && (q = wire_len(p + 1, end, &len)) != NULL) {
        p = q + len;
        samples++;
    }
    out->label_count = labels;
    out->sample_count = samples;
    out->labels_contiguous = labels > 0;
    if (TSDB_UNLIKELY(p != end)) {
        return remote_write_frame_rest(w, p, out);
    }
    w->pos = end;
    return REMOTE_WRITE_SERIES;
}

#define REMOTE_WRITE_SAMPLE_FIELD 2u

static inline struct remote_write_cursor remote_write_samples(const struct remote_write_walker *w,
                                                              const struct remote_write_series *s)
{
    return (struct remote_write_cursor){.pos = s->samples,
                                        .end = s->message.data + s->message.len,
                                        .field = REMOTE_WRITE_SAMPLE_FIELD,
                                        .has_start = w->v2};
}

/* A sample as everybody writes it, value and a timestamp of 1 to 8 bytes; false and nothing done if
 * it is not so. */
static inline bool remote_write_sample_plain(struct remote_write_cursor *c, int64_t *out_t_ms,
                                             uint64_t *out_bits)
{
    const uint8_t *p = c->pos;
    if (TSDB_UNLIKELY(c->end - p < 13 || p[0] != WIRE_TAG(REMOTE_WRITE_SAMPLE_FIELD, WIRE_LEN))) {
        return false;
    }
    /* tag, length, tag, 8 bytes of value, tag, varint */
    const uint8_t *stop = p + 2 + p[1];
    unsigned n = p[1] - 10u; /* bytes of the timestamp */
    uint64_t t = 0;
    if (TSDB_UNLIKELY(n - 1u >= 8 || p[1] > c->end - p - 2 || p[2] != WIRE_TAG(1, WIRE_FIXED64) ||
                      p[11] != WIRE_TAG(2, WIRE_VARINT) || !wire_varint_exact(stop, n, &t))) {
        return false;
    }
    *out_t_ms = (int64_t)t;
    *out_bits = tsdb_load_le64(p + 3);
    c->pos = stop;
    return true;
}

/* *out_start_ms is 0 when the sender does not say it, as always in 1.0. */
static inline bool remote_write_next_sample(struct remote_write_cursor *c, int64_t *out_t_ms,
                                            int64_t *out_start_ms, uint64_t *out_bits)
{
    if (TSDB_LIKELY(remote_write_sample_plain(c, out_t_ms, out_bits))) {
        *out_start_ms = 0;
        return true;
    }
    return remote_write_next_sample_slow(c, out_t_ms, out_start_ms, out_bits);
}

/* Cursors over the rarer fields, and the bytes of the next message of a cursor. */
struct remote_write_cursor remote_write_exemplars(const struct remote_write_walker *w,
                                                  const struct remote_write_series *s);
struct remote_write_cursor remote_write_histograms(const struct remote_write_walker *w,
                                                   const struct remote_write_series *s);
bool remote_write_next_message(struct remote_write_cursor *c, struct tsdb_slice *out);

/* Labels in the sender's order, into items[cap]; *out_count of them (s->label_count when cap
 * suffices).
 * Returns OK; LIMIT if there are more than cap (this series is to be refused); CORRUPT if malformed
 * (the request is). */
enum tsdb_status remote_write_read_labels(const struct remote_write_walker *w,
                                          const struct remote_write_series *s,
                                          struct tsdb_label *items, uint32_t cap,
                                          uint32_t *out_count, struct tsdb_error *err) TSDB_WUR;

/* Take an Exemplar message apart; labels go to items[cap], in the sender's order, unchecked.
 * OK, LIMIT, CORRUPT as remote_write_read_labels. */
enum tsdb_status remote_write_read_exemplar(const struct remote_write_walker *w,
                                            struct tsdb_slice message, struct tsdb_label *items,
                                            uint32_t cap, struct tsdb_exemplar *out,
                                            struct tsdb_error *err) TSDB_WUR;

/* CORRUPT, with err naming `what` and its place in the body. */
enum tsdb_status remote_write_fault(const struct remote_write_walker *w, const uint8_t *pos,
                                    const char *what, struct tsdb_error *err);

#endif
