/* The JSON form of OTLP, turned into its protobuf form: field by field along protobuf-c's descriptors,
 * so that what follows knows one form only.
 *
 * As the OTLP specification has it: names in lowerCamelCase (or as in the .proto file), 64-bit integers
 * as strings or numbers, enumerations as numbers or names, traceId and spanId in hexadecimal, other bytes in
 * base64, unknown fields passed over, null is absent. Threads: pure. */
#ifndef INGEST_OTLP_JSON_H
#define INGEST_OTLP_JSON_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

/* text[len], untrusted: an ExportMetricsServiceRequest. The result is in the arena.
 * Returns OK; INVALID with err->pos (a byte of the text): no JSON, another type than the field has,
 * nested too deep; NOMEM, LIMIT. Cost: two passes. */
enum tsdb_status otlp_json_to_protobuf(const uint8_t *text, size_t len, struct tsdb_arena *arena,
                                       struct tsdb_slice *out, struct tsdb_error *err) TSDB_WUR;

#endif
