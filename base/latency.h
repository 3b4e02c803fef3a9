/* Where the nanoseconds go: one latency histogram per layer, process-wide.
 *
 * TSDB_PERF=0 (make PERF=0) compiles the timing out; the functions stay. Log-linear buckets, 4 per
 * power of two, relaxed atomics on per-CPU-ish shards (thread slot modulo 8), so a record costs a
 * few ns.
 *
 * Threads: any.
 */
#ifndef BASE_LATENCY_H
#define BASE_LATENCY_H

#include <stdint.h>
#include <time.h>

#if !defined(TSDB_PERF)
#define TSDB_PERF 1
#endif

enum tsdb_layer {
    TSDB_LAYER_DECODE = 0, /* snappy and protobuf, per request */
    TSDB_LAYER_LOOKUP,     /* alias look-ups, per request */
    TSDB_LAYER_RING_WAIT,  /* published to drained, per batch */
    TSDB_LAYER_LOCK_WAIT,
    TSDB_LAYER_APPEND, /* owner applies a batch */
    TSDB_LAYER_WAL_WRITE,
    TSDB_LAYER_WAL_FSYNC,
    TSDB_LAYER_SEAL,
    TSDB_LAYER_PERSIST,
    TSDB_LAYER_CHECKPOINT,
    TSDB_LAYER_SELECT,
    TSDB_LAYER_CHUNK_DECODE,
    TSDB_LAYER_PARSE,
    TSDB_LAYER_EVAL,
    TSDB_LAYER_ENCODE,
    TSDB_LAYER_HTTP_WRITE, /* whole write request */
    TSDB_LAYER_HTTP_QUERY, /* whole query request */
    TSDB_LAYER_COUNT
};
const char *tsdb_layer_name(enum tsdb_layer layer); /* "decode", ... */

#define TSDB_LATENCY_BUCKETS 160 /* 4 per power of two from 1 ns to 2^40 ns */
struct tsdb_latency_snapshot {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t buckets[TSDB_LATENCY_BUCKETS];
};
void tsdb_latency_record(enum tsdb_layer layer, uint64_t ns);
void tsdb_latency_read(enum tsdb_layer layer, struct tsdb_latency_snapshot *out);
/* The bucket's inclusive upper bound; UINT64_MAX for the last. */
uint64_t tsdb_latency_bucket_upper_ns(uint32_t bucket);
/* The q-quantile's bucket upper bound; 0 when empty. */
uint64_t tsdb_latency_quantile_ns(const struct tsdb_latency_snapshot *s, double q);

#if TSDB_PERF
static inline uint64_t tsdb_perf_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
static inline void tsdb_perf_end(enum tsdb_layer layer, uint64_t begin)
{
    tsdb_latency_record(layer, tsdb_perf_now() - begin);
}
#else
static inline uint64_t tsdb_perf_now(void)
{
    return 0;
}
static inline void tsdb_perf_end(enum tsdb_layer layer, uint64_t begin)
{
    (void)layer;
    (void)begin;
}
#endif

#endif
