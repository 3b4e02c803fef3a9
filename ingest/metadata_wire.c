#include "ingest/metadata_wire.h"

#include "ingest/arena_allocator.h"
#include "ingest/proto/remote_write_v1.pb-c.h"

static struct tsdb_slice slice_of(ProtobufCBinaryData b)
{
    return (struct tsdb_slice){b.data, b.len};
}

enum tsdb_status metadata_wire_decode(struct tsdb_slice message, struct tsdb_arena *arena,
                                      struct tsdb_metadata *out, struct tsdb_error *err)
{
    if (message.len > METADATA_WIRE_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "metadata of %zu bytes, at most %u", message.len,
                              METADATA_WIRE_BYTES_MAX);
    }
    struct arena_allocator a = {arena, false};
    ProtobufCAllocator allocator = {arena_allocator_alloc, arena_allocator_free, &a};
    Rw1__MetricMetadata *m = rw1__metric_metadata__unpack(&allocator, message.len, message.data);
    if (!m && a.failed) {
        return tsdb_error_set(err, arena->failure, "metadata: no memory");
    }
    if (!m) {
        return tsdb_error_set(err, TSDB_CORRUPT, "remote write: malformed metadata");
    }
    struct tsdb_metadata md = {.metric = slice_of(m->metric_family_name),
                               .help = slice_of(m->help),
                               .unit = slice_of(m->unit)};
    unsigned type = (unsigned)m->type;
    md.type = type < TSDB_METRIC_TYPE_COUNT ? (enum tsdb_metric_type)type : TSDB_METRIC_UNKNOWN;
    if (md.metric.len == 0) {
        return tsdb_error_set(err, TSDB_INVALID, "metadata without a metric name");
    }
    if (!tsdb_utf8_valid(md.metric.data, md.metric.len) ||
        !tsdb_utf8_valid(md.help.data, md.help.len) ||
        !tsdb_utf8_valid(md.unit.data, md.unit.len)) {
        return tsdb_error_set(err, TSDB_INVALID, "metadata is not valid UTF-8");
    }
    *out = md;
    return TSDB_OK;
}
