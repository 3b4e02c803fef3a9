/* Remote write 2.0: walking a decoded io.prometheus.write.v2.Request in place.
 *
 *   Request    { 4 repeated string symbols, 5 repeated TimeSeries }
 *   TimeSeries { 1 repeated uint32 labels_refs, 2 repeated Sample, 3 repeated Histogram,
 *                4 repeated Exemplar, 5 Metadata }
 *   Sample     { 1 double value, 2 int64 timestamp, 3 int64 start_timestamp }
 *   Exemplar   { 1 repeated uint32 labels_refs, 2 double value, 3 int64 timestamp }
 *   Metadata   { 1 type, 3 help_ref, 4 unit_ref }
 *
 * Labels are pairs of references into the symbols. Symbols may stand behind the series on the wire,
 * so that a first pass over the top level collects them, the only thing that takes memory. A 1.0
 * body decodes as empty: its fields 1 to 3 are unknown here.
 *
 * Raw reference bytes mean nothing outside their request: the key of the alias table has to be made
 * from the strings. Samples, histograms and exemplars come from the cursors of
 * ingest/remote_write.h, with `at` as their walker. Invariants: as there. Threads: pure.
 */
#ifndef INGEST_REMOTE_WRITE_V2_H
#define INGEST_REMOTE_WRITE_V2_H

#include "base/arena.h"
#include "ingest/remote_write.h"
#include "model/metadata.h"

/* 8 MiB of table. Prometheus sends some thousands of symbols in a request. */
#define REMOTE_WRITE_V2_SYMBOLS_MAX (1u << 20)

struct remote_write_symbol {
    uint32_t offset; /* in the body */
    uint32_t len;
};

struct remote_write_v2_walker {
    struct remote_write_walker at; /* begin, pos, end, fault */
    const struct remote_write_symbol *symbols;
    uint32_t symbol_count;
};

/* First pass: checks the framing of the top level and collects the symbols into the arena.
 * Returns OK; CORRUPT (malformed); INVALID (symbols[0] is not empty); LIMIT (too many symbols,
 * arena); NOMEM. */
enum tsdb_status remote_write_v2_open(struct remote_write_v2_walker *w, const uint8_t *body,
                                      size_t len, struct tsdb_arena *arena,
                                      struct tsdb_error *err) TSDB_WUR;
/* REMOTE_WRITE_SERIES, _END or _MALFORMED. */
enum remote_write_item remote_write_v2_next(struct remote_write_v2_walker *w,
                                            struct remote_write_series *out);

/* Labels in the sender's order, resolved, into items[cap].
 * Returns OK; INVALID (odd number of references, or one outside the symbols) and LIMIT (more than
 * cap): this series is to be refused; CORRUPT: the request is. */
enum tsdb_status remote_write_v2_read_labels(const struct remote_write_v2_walker *w,
                                             const struct remote_write_series *s,
                                             struct tsdb_label *items, uint32_t cap,
                                             uint32_t *out_count, struct tsdb_error *err) TSDB_WUR;
/* Take an Exemplar message apart. Statuses as read_labels. */
enum tsdb_status remote_write_v2_read_exemplar(const struct remote_write_v2_walker *w,
                                               struct tsdb_slice message, struct tsdb_label *items,
                                               uint32_t cap, struct tsdb_exemplar *out,
                                               struct tsdb_error *err) TSDB_WUR;
/* The series' metadata; out->metric is left empty, it is the series' __name__. Without the field:
 * all empty, UNKNOWN. Returns OK; INVALID (reference outside the symbols); CORRUPT. */
enum tsdb_status remote_write_v2_read_metadata(const struct remote_write_v2_walker *w,
                                               const struct remote_write_series *s,
                                               struct tsdb_metadata *out,
                                               struct tsdb_error *err) TSDB_WUR;

#endif
