/* The MetricMetadata message of remote write 1.0. Cold (a sender repeats its metadata once a
 * minute), so that protobuf-c decodes it, with the caller's arena as its allocator.
 * Threads: pure, with an arena of the caller.
 */
#ifndef INGEST_METADATA_WIRE_H
#define INGEST_METADATA_WIRE_H

#include "base/arena.h"
#include "model/metadata.h"

/* Bounds what protobuf-c spends on unknown fields. Help texts have some hundred bytes. */
#define METADATA_WIRE_BYTES_MAX 65536u

/* Decode one message of untrusted bytes. Strings are copied into the arena. A type that is not
 * known becomes UNKNOWN.
 * Returns OK; CORRUPT (not such a message: the request is malformed);
 * INVALID (too long, empty name, or not UTF-8: this metadata is to be passed over); NOMEM, LIMIT
 * from the arena. */
enum tsdb_status metadata_wire_decode(struct tsdb_slice message, struct tsdb_arena *arena,
                                      struct tsdb_metadata *out, struct tsdb_error *err) TSDB_WUR;

#endif
