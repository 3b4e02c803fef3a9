/* The values of a histogram chunk, packed: histograms that follow each other have the same layout
 * (schema, spans, bounds) and counts that grow as counters do, so the layout stands once and every
 * number of it is a column over time.
 *
 *   stretches of samples with one layout, each:
 *     uvarint samples | uvarint bytes, head of the raw form: flags .. zero threshold |
 *     uvarint bytes, spans | uvarint bytes, custom bounds |
 *     columns: sum, count, zero count, each positive bucket, each negative bucket,
 *     each a uvarint length and a column of compress/value_codec.h (floats) or compress/time_codec.h
 *     (integers; of buckets the counts, not the differences to the bucket before)
 *
 * On the data path: tsdb/chunk/chunk.c. Byte by byte: docs/format/chunk.md.
 *
 *  1. unpack(pack(raw forms)) = the raw forms, byte for byte: what would not come back is not
 *     packed.
 *  2. Unpacking takes memory within HISTOGRAMS_*_MAX, whatever the bytes say.
 *
 * Threads: pure.
 */
#ifndef TSDB_CHUNK_HISTOGRAMS_H
#define TSDB_CHUNK_HISTOGRAMS_H

#include "base/arena.h"
#include "base/bytes.h"
#include "tsdb/chunk/chunk.h"

/* Numbers and bytes of raw forms of a packed chunk. A column of equal numbers takes a few bytes
 * however long it is, so the length of the source does not bound what comes out of it. 512 samples,
 * as many as a block's chunk has, with a thousand buckets each. */
#define HISTOGRAMS_CELLS_MAX (1u << 19)
#define HISTOGRAMS_BYTES_MAX (8u << 20)

/* Room behind `limit` bytes that packing n samples needs. */
size_t histograms_pack_room(uint32_t n);
/* Pack the raw forms that value[n] point to into out (limit + histograms_pack_room(count) bytes). Returns the length; 0 if it is
 * not below limit, or if they are no raw forms that would come back. */
size_t histograms_pack(const uint64_t *value, uint32_t n, size_t limit, uint8_t *out);
/* Unpack untrusted bytes to out[n], pointers to raw forms in the arena. CORRUPT (err->pos: byte in
 * src), NOMEM, LIMIT. */
enum tsdb_status histograms_unpack(struct tsdb_slice src, uint32_t n, struct tsdb_arena *arena,
                                   uint64_t *out, struct tsdb_error *err) TSDB_WUR;

#endif
