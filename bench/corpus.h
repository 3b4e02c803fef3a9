/* The file of request bodies that gen writes and loader reads.
 *
 *   "TDLBENC1" | requests_per_scrape u32 | scrapes u32 | series u64 | samples u64
 *   then scrapes * requests_per_scrape times:  body_len u32 | samples u32 | body
 *
 * Little-endian. Request j of every scrape holds the same targets, so that a loader which gives
 * request j always to the same connection keeps the samples of a series in time order.
 */
#ifndef BENCH_CORPUS_H
#define BENCH_CORPUS_H

#define CORPUS_MAGIC         "TDLBENC1"
#define CORPUS_HEADER_BYTES  32u
#define CORPUS_REQUEST_BYTES 8u

#endif
