/* Prometheus's chunks, to and from bytes: what a remote read streams and what its blocks hold.
 *
 *   1 XOR               floats: u16 count, times and values as bits      xor_codec.h
 *   2 histogram         integer histograms of one layout
 *   3 floathistogram    float histograms of one layout
 *   4 XOR2              floats with start times         \
 *   5 histogramST       2 with start times               } read, never written: Prometheus before
 *   6 floathistogramST  3 with start times              /  3.14 and Thanos do not know them
 *
 * A histogram chunk: u16 count, u8 flags (the two upper bits are the counter reset header), then
 * bits: the layout (zero threshold, schema, spans, custom bounds) once, then per sample time,
 * count, zero count, sum and one field per bucket of the layout.
 *
 * Source: Prometheus tsdb/docs/format/chunks.md and tsdb/chunkenc. Threads: decoding is pure; a
 * writer belongs to one thread.
 */
#ifndef COMPRESS_PROM_CHUNK_H
#define COMPRESS_PROM_CHUNK_H

#include "base/arena.h"
#include "model/sample.h"

enum prom_chunk_encoding {
    PROM_CHUNK_XOR = 1,
    PROM_CHUNK_HISTOGRAM = 2,
    PROM_CHUNK_FLOAT_HISTOGRAM = 3,
    PROM_CHUNK_XOR2 = 4,
    PROM_CHUNK_HISTOGRAM_ST = 5,
    PROM_CHUNK_FLOAT_HISTOGRAM_ST = 6,
};
#define PROM_CHUNK_SAMPLES_MAX 65535u /* of any chunk */

/* Prometheus's name of an encoding, "XOR"; NULL for a number that has none. */
const char *prom_chunk_encoding_name(unsigned encoding);

/* Read a chunk's data (without the length, the encoding and the CRC that a segment puts around it).
 *   src[len]   untrusted; what follows the last sample is ignored, as Prometheus does
 *   out        arrays from the arena; 0 samples are possible. Times are not checked for order, and
 *              histograms have spans that agree with their buckets but are not validated; spans and
 *              custom bounds are shared between them. Schemas 9 to 52 come reduced to 8. The reset
 *              hint is what Prometheus derives: gauge of a gauge chunk, unknown of the first
 *              sample, no reset of the others. A stale one is nothing but its sum.
 * Returns OK; CORRUPT (err->pos = byte in src); UNSUPPORTED (another encoding, a schema below -4);
 * LIMIT (more buckets than TSDB_HISTOGRAM_BUCKETS_MAX, or the arena's); NOMEM. On failure the arena
 * keeps what was taken from it. Memory: at most some 600 bytes for a byte of src. */
enum tsdb_status prom_chunk_decode(unsigned encoding, const uint8_t *src, size_t len,
                                   struct tsdb_arena *arena, struct tsdb_columns *out,
                                   struct tsdb_error *err) TSDB_WUR;

/* ---- writing ----
 * Samples of one series go in, chunks come out. A chunk ends
 *   - at samples_max samples;
 *   - of histograms, at bytes_max bytes once it has PROM_CHUNK_HISTOGRAMS_MIN samples;
 *   - when the kind changes: float, integer histogram, float histogram, counter or gauge;
 *   - when schema, zero threshold or custom bounds change; before a sample after a stale one;
 *   - at a counter reset: the hint says so, or count, zero count or a bucket is less than before.
 * Buckets that the open chunk's layout does not have widen it: its samples are encoded again, as
 * Prometheus does. The counter reset header of a chunk is gauge; reset when a reset began it; no
 * reset when it goes on with counters that did not fall; else unknown. */
#define PROM_CHUNK_SAMPLES_DEFAULT 120u
#define PROM_CHUNK_BYTES_DEFAULT   1024u /* Prometheus's target for histogram chunks */
#define PROM_CHUNK_HISTOGRAMS_MIN  10u

struct prom_chunk {
    enum prom_chunk_encoding encoding;
    uint32_t samples;
    int64_t t_min, t_max;
    const uint8_t *data; /* borrowed, valid during the call */
    size_t len;
};
struct prom_chunk_sink {
    enum tsdb_status (*write)(void *ctx, const struct prom_chunk *chunk, struct tsdb_error *err);
    void *ctx;
};

struct prom_chunk_writer;
/* samples_max is 1 to PROM_CHUNK_SAMPLES_MAX. Memory: one chunk, and its layout. NOMEM. */
enum tsdb_status prom_chunk_writer_create(uint32_t samples_max, size_t bytes_max,
                                          struct prom_chunk_sink sink,
                                          struct prom_chunk_writer **out) TSDB_WUR;
void prom_chunk_writer_destroy(struct prom_chunk_writer *w); /* NULL is fine; writes nothing */

/* Add the next sample of the series. h is stale or validates. OUT_OF_ORDER when t_ms is not later
 * than the one before; NOMEM; what the sink says. After a failure the writer is only good for
 * destroying. */
enum tsdb_status prom_chunk_writer_float(struct prom_chunk_writer *w, int64_t t_ms, uint64_t bits,
                                         struct tsdb_error *err) TSDB_WUR;
enum tsdb_status prom_chunk_writer_histogram(struct prom_chunk_writer *w, int64_t t_ms,
                                             const struct tsdb_histogram *h,
                                             struct tsdb_error *err) TSDB_WUR;
/* Several at once. Start times are dropped: encodings 1 to 3 have no room for them. */
enum tsdb_status prom_chunk_writer_columns(struct prom_chunk_writer *w,
                                           const struct tsdb_columns *columns,
                                           struct tsdb_error *err) TSDB_WUR;
/* End the series: hand over the open chunk, if any. The next sample begins another series. */
enum tsdb_status prom_chunk_writer_finish(struct prom_chunk_writer *w,
                                          struct tsdb_error *err) TSDB_WUR;

#endif
