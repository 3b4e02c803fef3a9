/* Every fixed limit of the product, with unit and reason, and how limits constrain each other.
 * Limits that are flags have their default here. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <assert.h>

#define TSDB_PARTITIONS       64 /* fixed for the life of a data directory (VERSION) */
#define TSDB_PARTITION_SHIFT  26 /* a series ref is partition << 26 | local id */
#define TSDB_SERIES_LOCAL_MAX (1u << TSDB_PARTITION_SHIFT)
/* Ids of a partition's head stop short of it; above, a querier numbers series that only blocks have. */
#define TSDB_SERIES_IDS_MAX         (TSDB_SERIES_LOCAL_MAX / 2)
#define TSDB_OWNERS_MAX             64         /* a partition each */
#define TSDB_LABELS_MAX             1024       /* of one series; a flag may allow fewer */
#define TSDB_LABEL_NAME_BYTES_MAX   65536      /* likewise */
#define TSDB_LABEL_VALUE_BYTES_MAX  (1u << 20) /* likewise */
#define TSDB_LABELS_BYTES_MAX       (1u << 21) /* canonical bytes of one series' labels */
#define TSDB_CHUNK_SAMPLES          120 /* head chunk in plain columns is sealed at this many samples */
#define TSDB_HEAD_CHUNK_SAMPLES_MAX 480 /* one of plain floats, coded as it grows: 2 h of 15 s */
/* Open chunks of plain floats of 64 series are sealed together when their blocks have so many bytes, or
 * more where few series share what all may have. */
#define TSDB_HEAD_BUNDLE_BYTES (6u << 10)
#define TSDB_HEAD_OPEN_BYTES   (32u << 20)
/* Of one sample: positive, negative and custom together. */
#define TSDB_HISTOGRAM_BUCKETS_MAX    65536
#define TSDB_HISTOGRAM_BYTES_MAX      (1u << 20)
#define TSDB_EXEMPLAR_LABEL_CHARS_MAX 128          /* OpenMetrics */
#define TSDB_WRITE_BODY_BYTES_MAX     (64u << 20)  /* default of --web.max-body-size, compressed */
#define TSDB_WRITE_DECODED_BYTES_MAX  (256u << 20) /* decompressed */
/* Decoding more than this in one piece is not for a thread that serves other connections: some 2000
 * samples, what a sender puts into a request, are a sixth of it. */
#define TSDB_WRITE_LARGE_BYTES  (4u << 20)
#define TSDB_FUTURE_MS_MAX      (10 * 60 * 1000) /* later than now + this: out of bounds */
#define TSDB_RING_SLOTS         1024             /* batches waiting per owner */
#define TSDB_WAL_SEGMENT_BYTES  (64u << 20)
#define TSDB_WAL_EPOCH_BYTES    (8u << 20)
#define TSDB_QUERY_BYTES_MAX    (10u << 20) /* text of a query; of a form, as in Go */
#define TSDB_QUERY_MATCHERS_MAX (1u << 17)  /* of one selector */
/* What is recursive in a query: levels of brackets, and of the tree, which a chain a + b + c ...
 * makes as high as it is long. Measured: at most 1.2 KB of stack a level (nested label_replace).
 * Sanitizers take several times as much, and run on stacks of 8 MiB. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TSDB_QUERY_REDUCED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TSDB_QUERY_REDUCED 1
#endif
#endif
#if defined(TSDB_QUERY_REDUCED)
#define TSDB_QUERY_DEPTH_MAX 250
#define TSDB_QUERY_TREE_MAX  1024
#else
#define TSDB_QUERY_DEPTH_MAX 12000
#define TSDB_QUERY_TREE_MAX  24000
#endif
#define TSDB_QUERY_STACK_BYTES (48u << 20) /* of a thread that evaluates; touched where needed */

static_assert((unsigned long long)TSDB_PARTITIONS << TSDB_PARTITION_SHIFT == 1ull << 32,
              "a series ref fills 32 bits");
static_assert(TSDB_QUERY_TREE_MAX * 2048ull <= TSDB_QUERY_STACK_BYTES,
              "the stack of a query holds the highest tree");
static_assert(TSDB_WAL_SEGMENT_BYTES % TSDB_WAL_EPOCH_BYTES == 0,
              "epochs do not straddle segments needlessly");

#endif
