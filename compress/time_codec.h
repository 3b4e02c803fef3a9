/* Timestamps to a column of bytes and back.
 *
 * On the data path: tsdb/chunk/chunk.c puts one such column into each chunk; all series of a scrape
 * have the same times, hence the same bytes, which the block writer stores once.
 *
 * A column is u8 codec, parameters, payload; the encoder takes the smallest:
 *   REGULAR  first and step, no payload
 *   GRID     t[i] = first + i * step + shift(i) + residual; residuals bit-packed at one width, so
 *            that any t[i] is found alone; the shift changes where scrapes were missed (a short
 *            list)
 *   DELTA    frames (compress/frame.h) of differences
 *   DELTA2   frames of differences of differences
 *   RAW      8 bytes each: when nothing else is shorter
 * Byte by byte: docs/format/columns.md. Arithmetic wraps at 64 bits, so any int64 values survive;
 * the decoder can insist on rising times.
 *
 *  1. decode(encode(t)) = t for every t.
 *  2. encode's bytes depend on t only, not on the processor.
 *  3. The decoder reads nothing outside src[len], for any bytes.
 *
 * Threads: pure. No allocation.
 */
#ifndef COMPRESS_TIME_CODEC_H
#define COMPRESS_TIME_CODEC_H

#include "base/status.h"
#include "compress/column.h"

#include <stddef.h>
#include <stdint.h>

/* The codec, first byte of a column. Never renumber: they are on disk. */
enum time_codec {
    TIME_CODEC_REGULAR = 0,
    TIME_CODEC_GRID = 1,
    TIME_CODEC_DELTA = 2,
    TIME_CODEC_DELTA2 = 3,
    TIME_CODEC_RAW = 4,
    TIME_CODEC_COUNT
};
/* "regular", "grid", ...; NULL if unknown. */
const char *time_codec_name(uint8_t codec);

/* Room that encoding n values needs. */
size_t time_codec_bytes_max(uint32_t n);
/* Encode t[0..n), 1 <= n <= COLUMN_COUNT_MAX, into out (room for time_codec_bytes_max(n)). Rising
 * times become small; others are kept as well. Returns the length. Cost: about 5 ns per value. */
size_t time_codec_encode(const int64_t *t, uint32_t n, uint8_t *out);

/* Decode a column of exactly n values, 1 <= n <= COLUMN_COUNT_MAX.
 *   src[len]   the column, all of it, untrusted
 *   out[n]     strictly rising
 * Returns OK; CORRUPT (err->pos: where in src; out then holds anything). */
enum tsdb_status time_codec_decode(const uint8_t *src, size_t len, uint32_t n, int64_t *out,
                                   struct tsdb_error *err) TSDB_WUR;
/* The same for any values: start timestamps, which need not rise. */
enum tsdb_status time_codec_decode_any(const uint8_t *src, size_t len, uint32_t n, int64_t *out,
                                       struct tsdb_error *err) TSDB_WUR;
/* Value i of n alone, without order check. REGULAR, GRID and RAW only, else UNSUPPORTED; CORRUPT.
 * Cost: the list of shifts, usually empty. */
enum tsdb_status time_codec_at(const uint8_t *src, size_t len, uint32_t n, uint32_t i, int64_t *out,
                               struct tsdb_error *err) TSDB_WUR;

#endif
