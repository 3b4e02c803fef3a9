/* The content encodings beside snappy's block: zstd and gzip, of write requests and imports.
 *
 * Neither says reliably how much it holds, so that output is made into memory that grows with what was
 * really made, and is bounded: by the caller's limit, and by the sink, which charges what it gives.
 * zstd: a frame that declares its size is made in one step, into memory of that size, once it is
 * plausible (a block has 4 bytes at least and yields 128 KiB at most); other frames are streamed through
 * a window of INGEST_ZSTD_WINDOW_BYTES_MAX at most, what RFC 8878 asks of every decoder. Frames and
 * members may follow one another. Threads: pure.
 */
#ifndef INGEST_UNPACK_H
#define INGEST_UNPACK_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INGEST_ZSTD_WINDOW_LOG_MAX   23u
#define INGEST_ZSTD_WINDOW_BYTES_MAX (1u << INGEST_ZSTD_WINDOW_LOG_MAX)

/* Where decoded bytes go. */
struct ingest_sink {
    uint8_t *data;
    size_t len, cap;
    /* Room for `cap` bytes, data[len] kept: sets data and cap. OK, or what stops the decoding. */
    enum tsdb_status (*grow)(struct ingest_sink *s, size_t cap);
    void *arg;
};

/* Does a body begin as zstd's frames do? No snappy block can. */
bool ingest_is_zstd(const void *src, size_t len);
bool ingest_is_gzip(const void *src, size_t len); /* likewise */
/* What zstd's decoder may hold beside the output: 0 when the first frame declares its size. Then a later
 * one without is refused. */
size_t ingest_zstd_window_bytes(const void *src, size_t len);
/* Decode all of src[len] and append it to the sink.
 * Returns OK; INVALID: damaged, cut, trailing bytes, a window over the maximum; LIMIT: more than
 * bytes_max; NOMEM; and what grow returns. */
enum tsdb_status ingest_zstd_decode(const void *src, size_t len, size_t bytes_max,
                                    struct ingest_sink *sink, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status ingest_gzip_decode(const void *src, size_t len, size_t bytes_max,
                                    struct ingest_sink *sink, struct tsdb_error *err) TSDB_WUR;

/* The same a stretch at a time, for bodies of any length. */
enum ingest_stream_kind {
    INGEST_STREAM_GZIP,
    INGEST_STREAM_ZSTD
};
/* What a stream holds at most beside what the caller gives: windows and tables. */
#define INGEST_STREAM_BYTES_MAX (INGEST_ZSTD_WINDOW_BYTES_MAX + (1u << 20))
struct ingest_stream;
enum tsdb_status ingest_stream_create(enum ingest_stream_kind kind, struct ingest_stream **out,
                                      struct tsdb_error *err) TSDB_WUR;
void ingest_stream_destroy(struct ingest_stream *s); /* NULL is fine */
/* Decodes from src[*len] into out[*cap]; *len and *cap become what was read and made. Where the room is
 * filled there may be more to come without input. OK, INVALID (damaged, a window over the maximum),
 * NOMEM. */
enum tsdb_status ingest_stream_step(struct ingest_stream *s, const void *src, size_t *len,
                                    void *out, size_t *cap, struct tsdb_error *err) TSDB_WUR;
/* Between members or frames, where a body may end. */
bool ingest_stream_is_whole(const struct ingest_stream *s);

#endif
