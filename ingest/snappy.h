/* Snappy's block format, the content encoding of remote write, through libsnappy.
 *
 * A block begins with its decoded length. That is checked before anybody allocates: against the
 * caller's limit, and against what so many bytes can expand to at most (a copy element has 3 bytes
 * and yields 64 at most), so that a tiny body cannot ask for a gigabyte.
 * Threads: pure.
 */
#ifndef INGEST_SNAPPY_H
#define INGEST_SNAPPY_H

#include "base/bytes.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* The decoded length that src[len] declares.
 * Returns OK with 0..bytes_max in *out; INVALID if the header is malformed or the length
 * implausible; LIMIT above bytes_max. */
enum tsdb_status ingest_snappy_decoded_bytes(const void *src, size_t len, size_t bytes_max,
                                             size_t *out, struct tsdb_error *err) TSDB_WUR;
/* Decode into dst, whose size must be what ingest_snappy_decoded_bytes said of the same bytes. dst
 * may be NULL for 0. Returns OK; INVALID if the block is damaged, dst is then garbage. */
enum tsdb_status ingest_snappy_decode(const void *src, size_t len, void *dst, size_t dst_len,
                                      struct tsdb_error *err) TSDB_WUR;
/* Append src[len] as one block. NOMEM when it does not fit into out. */
enum tsdb_status ingest_snappy_encode(const void *src, size_t len, struct tsdb_buf *out,
                                      struct tsdb_error *err) TSDB_WUR;

#endif
