/* The wire of remote read: a ReadRequest from bytes, and the two kinds of answer to bytes.
 *
 *   request    Snappy over protobuf; walked in place
 *   SAMPLES    one Snappy block over a ReadResponse
 *   STREAMED_XOR_CHUNKS   frames, one after the other:
 *
 *       uvarint length | CRC-32C of the message, big-endian | ChunkedReadResponse of `length` bytes
 *
 *     A message holds chunks of one series; a series goes on in the next when its bytes are full.
 *
 * Field numbers: Prometheus prompb/remote.proto and types.proto. Threads: pure.
 */
#ifndef SERVER_REMOTE_READ_WIRE_H
#define SERVER_REMOTE_READ_WIRE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "model/labels.h"
#include "model/matcher.h"
#include "model/sample.h"

/* As Prometheus: what it reads of a body at most. */
#define READ_REQUEST_BYTES_MAX (32u << 20)

struct read_query {
    struct tsdb_time_range range;  /* of the hints where there are some, as Prometheus selects */
    struct tsdb_matcher *matchers; /* borrow from the message */
    uint32_t matcher_count;
    bool names_only; /* hints.func is "series": labels are wanted, no samples */
};
struct read_request {
    struct read_query *queries;
    uint32_t query_count;
    bool streamed; /* the first accepted response type that there is, is STREAMED_XOR_CHUNKS */
};

/* message[len] untrusted, without Snappy; strings borrow from it, arrays come from the arena.
 * INVALID for malformed bytes, an unknown type of matcher, and when none of the accepted response
 * types is known; NOMEM, LIMIT of the arena. */
enum tsdb_status read_request_decode(const uint8_t *message, size_t len, struct tsdb_arena *arena,
                                     struct read_request *out, struct tsdb_error *err) TSDB_WUR;

/* The labels of a series with those of `external` that it does not have; both sorted. Array from
 * the arena; NOMEM, LIMIT. */
enum tsdb_status read_labels_merge(const struct tsdb_labels *own,
                                   const struct tsdb_labels *external, struct tsdb_arena *arena,
                                   struct tsdb_labels *out) TSDB_WUR;

/* ---- SAMPLES ----
 *   for each query:  begin = read_result_begin(out);  read_result_series(out, ...)*;
 *                    read_result_end(out, begin)
 * Memory shows in out->failed. */
size_t read_result_begin(const struct tsdb_buf *out);
void read_result_series(struct tsdb_buf *out, const struct tsdb_labels *labels,
                        const struct tsdb_columns *columns);
void read_result_end(struct tsdb_buf *out, size_t begin);

/* ---- STREAMED_XOR_CHUNKS ---- */
struct read_stream {
    struct tsdb_buf *out;
    size_t frame_bytes_max;
    int64_t query_index;
    /* of the series */
    struct tsdb_buf
        message; /* its labels as they stand in every frame, then the open frame's chunks */
    size_t labels_bytes;
    int64_t frame_bytes_left;
};
/* Frames go to `out`, which is the caller's. */
void read_stream_init(struct read_stream *s, struct tsdb_buf *out, size_t frame_bytes_max);
void read_stream_deinit(struct read_stream *s);
/* All samples of one series, in frames. A series without samples writes nothing. NOMEM; LIMIT when
 * out is full; OUT_OF_ORDER for times that do not rise. */
enum tsdb_status read_stream_series(struct read_stream *s, int64_t query_index,
                                    const struct tsdb_labels *labels,
                                    const struct tsdb_columns *columns,
                                    struct tsdb_error *err) TSDB_WUR;

#endif
