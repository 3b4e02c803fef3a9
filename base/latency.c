#include "base/latency.h"

#include "base/assert.h"
#include "base/compiler.h"

#include <stdatomic.h>
#include <stddef.h>

#define SHARDS 8

static const char *const layer_names[TSDB_LAYER_COUNT] = {
    [TSDB_LAYER_DECODE] = "decode",         [TSDB_LAYER_LOOKUP] = "lookup",
    [TSDB_LAYER_RING_WAIT] = "ring_wait",   [TSDB_LAYER_LOCK_WAIT] = "lock_wait",
    [TSDB_LAYER_APPEND] = "append",         [TSDB_LAYER_WAL_WRITE] = "wal_write",
    [TSDB_LAYER_WAL_FSYNC] = "wal_fsync",   [TSDB_LAYER_SEAL] = "seal",
    [TSDB_LAYER_PERSIST] = "persist",       [TSDB_LAYER_CHECKPOINT] = "checkpoint",
    [TSDB_LAYER_SELECT] = "select",         [TSDB_LAYER_CHUNK_DECODE] = "chunk_decode",
    [TSDB_LAYER_PARSE] = "parse",           [TSDB_LAYER_EVAL] = "eval",
    [TSDB_LAYER_ENCODE] = "encode",         [TSDB_LAYER_HTTP_WRITE] = "http_write",
    [TSDB_LAYER_HTTP_QUERY] = "http_query",
};

/* All counters are relaxed: a reader may see a record's bucket before its sum, never a torn number.
 */
struct histogram {
    _Alignas(TSDB_CACHELINE) _Atomic(uint64_t) count;
    _Atomic(uint64_t) sum_ns;
    _Atomic(uint64_t) buckets[TSDB_LATENCY_BUCKETS];
};
static struct histogram histograms[SHARDS][TSDB_LAYER_COUNT];

const char *tsdb_layer_name(enum tsdb_layer layer)
{
    TSDB_ASSERT((unsigned)layer < TSDB_LAYER_COUNT);
    return layer_names[layer];
}

static unsigned shard_of_thread(void)
{
    static _Atomic(unsigned) threads;
    static _Thread_local unsigned slot_plus_1;
    if (slot_plus_1 == 0) {
        slot_plus_1 = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % SHARDS + 1;
    }
    return slot_plus_1 - 1;
}

/* Bucket 4e + s holds [2^e (4+s)/4, 2^e (5+s)/4); 0 ns counts as 1 ns; the last bucket takes all
 * that is longer. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns == 0) {
        return 0;
    }
    uint32_t e = 63 - (uint32_t)__builtin_clzll(ns);
    if (e >= TSDB_LATENCY_BUCKETS / 4) {
        return TSDB_LATENCY_BUCKETS - 1;
    }
    uint32_t s = (uint32_t)((ns << 2) >> e) & 3;
    return 4 * e + s;
}

uint64_t tsdb_latency_bucket_upper_ns(uint32_t bucket)
{
    TSDB_ASSERT(bucket < TSDB_LATENCY_BUCKETS);
    if (bucket == TSDB_LATENCY_BUCKETS - 1) {
        return UINT64_MAX;
    }
    uint64_t quarters = (uint64_t)(5 + bucket % 4) << (bucket / 4);
    return (quarters + 3) / 4 - 1;
}

void tsdb_latency_record(enum tsdb_layer layer, uint64_t ns)
{
    TSDB_ASSERT((unsigned)layer < TSDB_LAYER_COUNT);
    struct histogram *h = &histograms[shard_of_thread()][layer];
    atomic_fetch_add_explicit(&h->buckets[bucket_of(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
}

void tsdb_latency_read(enum tsdb_layer layer, struct tsdb_latency_snapshot *out)
{
    TSDB_ASSERT((unsigned)layer < TSDB_LAYER_COUNT);
    *out = (struct tsdb_latency_snapshot){.count = 0};
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        struct histogram *h = &histograms[shard][layer];
        out->sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
        for (uint32_t b = 0; b < TSDB_LATENCY_BUCKETS; b++) {
            out->buckets[b] += atomic_load_explicit(&h->buckets[b], memory_order_relaxed);
        }
    }
    /* Counted from the buckets, so that a snapshot agrees with itself while others record. */
    for (uint32_t b = 0; b < TSDB_LATENCY_BUCKETS; b++) {
        out->count += out->buckets[b];
    }
}

uint64_t tsdb_latency_quantile_ns(const struct tsdb_latency_snapshot *s, double q)
{
    TSDB_ASSERT(q >= 0 && q <= 1);
    if (s->count == 0) {
        return 0;
    }
    double rank = q * (double)s->count;
    uint64_t seen = 0;
    uint32_t last = 0;
    for (uint32_t b = 0; b < TSDB_LATENCY_BUCKETS; b++) {
        if (s->buckets[b] == 0) {
            continue;
        }
        seen += s->buckets[b];
        last = b;
        if ((double)seen >= rank) {
            break;
        }
    }
    return tsdb_latency_bucket_upper_ns(last);
}
