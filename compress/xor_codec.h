/* Gorilla: floats (and timestamps) as a stream of bits, each value XORed with the one before.
 *
 * Two uses: the payload of VALUE_CODEC_XOR (values only), and the body of Prometheus's XOR chunk
 * (encoding 1: count, times, values), byte for byte, for export and import. Bits are filled from
 * the most significant bit of each byte; the last byte is padded with zeroes. Small for short noisy
 * chunks, slow to read (each value waits for the one before), so never used for long columns.
 *
 *   value 0: 64 raw bits.  Then d = bits ^ bits before:
 *     d = 0                                   '0'
 *     d within the leading and trailing zeroes of the last window   '10', the window's bits
 *     else                                    '11', leading zeroes (5 bits, at most 31),
 *                                             significant bits (6 bits, 64 as 0), these bits
 * Source: Pelkonen et al. 2015, 4.1, as in Prometheus's tsdb/chunkenc/xor.go.
 *
 * Threads: pure.
 */
#ifndef COMPRESS_XOR_CODEC_H
#define COMPRESS_XOR_CODEC_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Upper bounds: a value takes 77 bits at most, a time 68. */
#define XOR_VALUES_BYTES_MAX(n) (8 + 10 * (size_t)(n))
#define XOR_CHUNK_BYTES_MAX(n)  (32 + 19 * (size_t)(n))
#define XOR_CHUNK_SAMPLES_MAX   65535u

/* Exact size of values[0..n), n >= 1. */
size_t xor_values_bytes(const uint64_t *values, size_t n);
/* Write them to out (room for xor_values_bytes); returns the length. */
size_t xor_values_encode(const uint64_t *values, size_t n, uint8_t *out);
/* Read exactly n >= 1 values, which fill src[len] to its last byte. CORRUPT. */
enum tsdb_status xor_values_decode(const uint8_t *src, size_t len, size_t n, uint64_t *out,
                                   struct tsdb_error *err) TSDB_WUR;

/* A chunk body as Prometheus writes it: u16 count, big-endian, and the stream. n is 1 to
 * XOR_CHUNK_SAMPLES_MAX, t rises; out has room for XOR_CHUNK_BYTES_MAX(n). Returns the length. */
size_t xor_chunk_encode(const int64_t *t, const uint64_t *values, size_t n, uint8_t *out);
/* Read one, untrusted; n = 0 is possible. What follows the stream is ignored, as Prometheus does.
 * Times are not checked for order. Returns OK; LIMIT if it holds more than cap; CORRUPT. */
enum tsdb_status xor_chunk_decode(const uint8_t *src, size_t len, size_t cap, int64_t *out_t,
                                  uint64_t *out_values, size_t *out_n,
                                  struct tsdb_error *err) TSDB_WUR;

#endif
