/* The chunk container: samples of one series and one kind, in columns, as bytes. The same bytes
 * stand in head chunk files and in blocks.
 *
 *   u8 version | u8 flags | uvarint count | uvarint length of each column | columns
 *   columns: times (compress/time_codec.h) | values | starts, if any (time_codec, any order)
 *
 * Values are a column of compress/value_codec.h; histograms are packed (tsdb/chunk/histograms.h), or
 * for each a uvarint length and its raw form. Exact bytes: docs/format/chunk.md. No CRC inside: whoever stores chunks checks them page by
 * page or chunk by chunk.
 *
 * Invariants:
 *  1. What decodes has 1..CHUNK_SAMPLES_MAX samples of one kind with strictly rising times.
 *  2. decode(encode(s)) = s to the last bit.
 *  3. Decoding allocates at most what the count (bounded) and the length of the source justify, and
 *     of packed histograms HISTOGRAMS_*_MAX, whatever the bytes say.
 *
 * Threads: pure.
 */
#ifndef TSDB_CHUNK_CHUNK_H
#define TSDB_CHUNK_CHUNK_H

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
    bool times_detached;
};
/* Look at the head of a chunk only. CORRUPT. */
enum tsdb_status chunk_peek(const uint8_t *src, size_t len, struct chunk_info *out,
                            struct tsdb_error *err) TSDB_WUR;
/* Decode untrusted bytes; arrays (and raw histograms) from the arena, src is not needed any more.
 * A raw histogram is bounded, not looked into: tsdb_histogram_decode may still call it CORRUPT.
 * CORRUPT (err->pos: byte in src), NOMEM, LIMIT. */
enum tsdb_status chunk_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                              struct chunk_samples *out, struct tsdb_error *err) TSDB_WUR;

/* All series of a scrape have the same times, hence the same encoded time column: a file may keep
 * it once. Cut an encoded chunk in two:
 *   out        the chunk without its times, less than len bytes; *out_len of them
 *   out_times  the time column, borrowed from src
 * CORRUPT, also when the chunk has no times any more. */
enum tsdb_status chunk_detach_times(const uint8_t *src, size_t len, uint8_t *out, size_t *out_len,
                                    struct tsdb_slice *out_times, struct tsdb_error *err) TSDB_WUR;
/* chunk_decode of the two, both untrusted. (chunk_decode calls a chunk without its times CORRUPT,
 * this calls one that has them so.) */
enum tsdb_status chunk_decode_detached(const uint8_t *src, size_t len, struct tsdb_slice times,
                                       struct tsdb_arena *arena, struct chunk_samples *out,
                                       struct tsdb_error *err) TSDB_WUR;

/* What can be said of a float chunk without decoding it; kept beside the index. Of histograms only
 * min_ms, max_ms and count are said; the rest is 0, min and max NaN. */
struct chunk_summary {
    int64_t min_ms, max_ms;
    uint64_t first_bits, last_bits; /* stale or not */
    double min, max;                /* of the non-stale, non-NaN values; NaN if there is none */
    uint32_t count;                 /* stale ones included */
    uint32_t resets; /* falls from one value to the next, stale ones left out, as resets() counts */
    uint32_t stale;
    bool all_int; /* every value but the stale ones is an integer below 2^53 in magnitude */
};
/* One pass. */
void chunk_summarize(const struct chunk_samples *s, struct chunk_summary *out);

#endif
