/* The record of a bundle: the open streams of up to 64 neighbouring series of a partition, sealed
 * together, as they lie in a head file. What stays in memory is one reference for all of them.
 *
 *   head      what it is, which series it has, and for each: first and last time, count, first value
 *   streams   their tokens (compress/sample_stream.h), back to back
 *
 * Head and streams have checksums of their own, seeded with file and offset: who wants one series reads
 * the head and that stream. Exact bytes: docs/format/head-chunks.md.
 *
 * Threads: pure.
 */
#ifndef TSDB_CHUNK_BUNDLE_H
#define TSDB_CHUNK_BUNDLE_H

#include "base/limits.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUNDLE_SHIFT          6u
#define BUNDLE_SERIES         (1u << BUNDLE_SHIFT)
#define BUNDLE_HEAD_BYTES_MIN (32u + 24u)
#define BUNDLE_HEAD_BYTES_MAX (32u + BUNDLE_SERIES * 24u)
#define BUNDLE_TOKENS_MAX     UINT16_MAX /* bytes of a stream */

/* Where a record is, and whose it is. */
struct bundle_place {
    uint32_t mark; /* of the data directory */
    uint64_t file; /* its number */
    uint64_t offset;
    uint32_t local; /* of the series whose bit is the lowest; a multiple of BUNDLE_SERIES */
    uint8_t partition;
};
struct bundle_stream {
    int64_t first_ms, last_ms; /* less than 2^32 ms behind the first time of the record */
    uint64_t first_bits;
    uint32_t count;        /* 1..TSDB_HEAD_CHUNK_SAMPLES_MAX */
    uint32_t bytes;        /* of tokens, at most BUNDLE_TOKENS_MAX */
    const uint8_t *tokens; /* of one that was found: not set */
    size_t at;             /* found: where in the record the tokens are */
    uint32_t crc;          /* found: of the tokens */
};

/* Bytes of the record of n streams. */
size_t bundle_encoded_bytes(const struct bundle_stream *streams, uint32_t n);
/* Encode into out; one stream for each bit of mask, from the lowest on. Returns the bytes. */
size_t bundle_encode(const struct bundle_place *place, uint64_t mask,
                     const struct bundle_stream *streams, uint8_t *out);

/* The head of a record of `len` bytes, of which src has the first `have`: all, or at least
 * BUNDLE_HEAD_BYTES_MAX. Borrows src. known: these very bytes were opened before at this place, so that the
 * checksum need not be worked out again. CORRUPT, also if it is of another place or of other series. */
struct bundle_head {
    const uint8_t *src;
    uint32_t len;
    uint64_t mask;
    int64_t min_ms;
};
enum tsdb_status bundle_head_open(const uint8_t *src, size_t have, uint32_t len,
                                  const struct bundle_place *place, bool known,
                                  struct bundle_head *out, struct tsdb_error *err) TSDB_WUR;
/* The stream of a bit. NOT_FOUND; CORRUPT if it does not lie in the record. */
enum tsdb_status bundle_head_find(const struct bundle_head *h, uint32_t bit,
                                  struct bundle_stream *out, struct tsdb_error *err) TSDB_WUR;
/* The samples of a stream that was found: tokens[s->bytes] stood at s->at of the record. t_ms and
 * value have room for s->count. CORRUPT. */
enum tsdb_status bundle_stream_decode(const struct bundle_place *place,
                                      const struct bundle_stream *s, const uint8_t *tokens,
                                      int64_t *t_ms, uint64_t *value,
                                      struct tsdb_error *err) TSDB_WUR;
/* The same in two steps, for who decodes several at once (sample_streams_decode, which wants the first time and value
 * set): the checksum of the tokens, and whether what was decoded is what the head says. CORRUPT. */
enum tsdb_status bundle_tokens_check(const struct bundle_place *place,
                                     const struct bundle_stream *s, const uint8_t *tokens,
                                     struct tsdb_error *err) TSDB_WUR;
enum tsdb_status bundle_samples_check(const struct bundle_stream *s, bool decoded,
                                      const int64_t *t_ms, struct tsdb_error *err) TSDB_WUR;

#endif
