/* The chunk container: samples of one series and one kind, in columns, as bytes. The same bytes
 * stand in head chunk files and in blocks.
 *
 *   u8 version | u8 flags (kind, has start timestamps, time column elsewhere) | uvarint count |
 * uvarint length of each column | columns times (compress/time_codec.h) | values
 * (compress/value_codec.h; histograms: uvarint length and raw form each) | starts (time_codec of
 *   differences, or raw)
 * Exact bytes: docs/format/chunk.md. No CRC inside: whoever stores chunks checks them page by page
 * or chunk by chunk. Threads: pure.
 */
#ifndef TSDB_CHUNK_H
#define TSDB_CHUNK_H

#include "base/arena.h"
#include "model/batch.h"
#include "model/sample.h"

#define CHUNK_SAMPLES_MAX 8192

/* What a chunk is made of, as it lies in memory: times strictly rising. */
struct chunk_samples {
    enum tsdb_sample_kind kind;
    uint32_t count; /* 1..CHUNK_SAMPLES_MAX */
    const int64_t *t_ms;
    const uint64_t *value;   /* float bits, or pointer to struct tsdb_raw_histogram */
    const int64_t *start_ms; /* NULL: none */
};
/* Kept per series by whoever encodes its chunks one after the other: what the value codec chose
 * last. All zero to begin with. */
struct chunk_hint {
    uint8_t bytes[8];
};

/* Upper bound of the encoded size. */
size_t chunk_encoded_bytes_max(const struct chunk_samples *s);
/* Encode into out (chunk_encoded_bytes_max bytes). Never fails; returns the length. hint may be
 * NULL. */
size_t chunk_encode(const struct chunk_samples *s, struct chunk_hint *hint, uint8_t *out);

struct chunk_info {
    enum tsdb_sample_kind kind;
    uint32_t count;
    bool has_starts;
};
/* Look at the head of a chunk only. CORRUPT. */
enum tsdb_status chunk_peek(const uint8_t *src, size_t len, struct chunk_info *out,
                            struct tsdb_error *err) TSDB_WUR;
/* Decode untrusted bytes; arrays (and raw histograms) from the arena. CORRUPT, NOMEM, LIMIT. */
enum tsdb_status chunk_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                              struct chunk_samples *out, struct tsdb_error *err) TSDB_WUR;

/* What can be said of a float chunk without decoding it; kept beside the index. */
struct chunk_summary {
    int64_t min_ms, max_ms;
    uint64_t first_bits, last_bits;
    double min, max; /* of the non-stale, non-NaN values; NaN if there is none */
    uint32_t count, resets, stale;
    bool all_int; /* every value an integer below 2^53 in magnitude */
};
void chunk_summarize(const struct chunk_samples *s, struct chunk_summary *out);

#endif
