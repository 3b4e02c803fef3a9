/* Where the evaluator gets its series from: storage in production (source_tsdb.c), arrays in tests.
 * One source serves one evaluation. Threads: as the evaluation, one; but see `concurrent`. */
#ifndef QUERY_EVAL_SOURCE_H
#define QUERY_EVAL_SOURCE_H

#include "base/arena.h"
#include "model/labels.h"
#include "model/matcher.h"
#include "model/sample.h"
#include "model/windows.h"

struct query_series_set {
    const uint32_t *refs; /* in the order in which aggregations accumulate */
    uint32_t count;
};

/* What is read of a series. */
struct query_read {
    uint32_t ref;
    struct tsdb_time_range range;
    const struct tsdb_time_windows *windows; /* what of the range is looked at; NULL: all of it */
    struct tsdb_chunk_counts *counts;        /* added to */
};

struct tsdb_series_count;
struct query_source_ops {
    /* Called once, before the others, with a range that covers every read. */
    enum tsdb_status (*open)(void *ctx, struct tsdb_time_range range, struct tsdb_error *err);
    enum tsdb_status (*select)(void *ctx, const struct tsdb_matcher *matchers,
                               uint32_t matcher_count, struct query_series_set *out,
                               struct tsdb_error *err);
    /* Canonical; strings live as long as the source. */
    enum tsdb_status (*labels)(void *ctx, uint32_t ref, struct tsdb_arena *arena,
                               struct tsdb_labels *out, struct tsdb_error *err);
    /* Samples with range.min_ms <= t <= range.max_ms, strictly rising, stale markers included; those
     * outside of the windows, or not. */
    enum tsdb_status (*read)(void *ctx, const struct query_read *r, struct tsdb_arena *arena,
                             struct tsdb_columns *out, struct tsdb_error *err);
    /* The same of the newest sample alone, or all of the range: whatever is cheaper. NULL: read. */
    enum tsdb_status (*newest)(void *ctx, const struct query_read *r, struct tsdb_arena *arena,
                               struct tsdb_columns *out, struct tsdb_error *err);
    /* How many series that match have a newest sample in the range that is no stale marker, by the values of a
     * label (len 0: all together); *out as storage tells it. NULL: select and ask each. */
    enum tsdb_status (*count)(void *ctx, const struct tsdb_matcher *matchers,
                              uint32_t matcher_count, struct tsdb_time_range range,
                              struct tsdb_slice by, struct tsdb_arena *arena,
                              struct tsdb_series_count *out, struct tsdb_error *err);
    /* refs[0] is read next, or its newest sample, the others follow. NULL: nothing is gained by
     * knowing. */
    void (*read_ahead)(void *ctx, const uint32_t *refs, uint32_t count, bool newest);
    /* Where the series of a set lie: those with near places are read with less work one after the other. Of all
     * series of a set, or of none: false. NULL: likewise. */
    bool (*places)(void *ctx, const uint32_t *refs, uint32_t count, uint64_t *out);
    void (*close)(void *ctx); /* also without open */
    bool concurrent;          /* several threads may read at once */
};
struct query_source {
    const struct query_source_ops *ops;
    void *ctx;
};

struct tsdb;
struct tsdb_request;
struct tsdb_querier;

/* The storage engine as a source; the querier is opened on `open` only, so that expressions without
 * selectors need no storage. */
struct query_source_tsdb {
    struct tsdb *db;
    struct tsdb_request *request;
    struct tsdb_querier *querier;
};
struct query_source query_source_tsdb(struct query_source_tsdb *s, struct tsdb *db,
                                      struct tsdb_request *request);

#endif
