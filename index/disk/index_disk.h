/* The inverted index of a block, on disk: written once, read through a cache, never changed.
 *
 *   label name -> value -> ordered postings (series ids, rising)
 *   series id -> labels, chunk headers
 *
 * Series ids are 0, 1, 2, ... in label order (tsdb_labels_compare). Exact bytes:
 * docs/format/index.md.
 *
 * Invariants:
 *  1. Opening reads the header and the table of contents, nothing else.
 *  2. Nothing that is read is trusted: counts and offsets are bounded by what is there before they
 *     are used, although the pages have CRCs.
 *  3. The writer holds labels and postings in memory, bounded by the number of series and labels;
 *     chunk headers go out group by group.
 *  4. The file depends on what was written only, to the last byte.
 *
 * On the data path: tsdb/block/writer.c -> writer; tsdb/block/reader.c -> reader, whose source is
 * the L2 cache.
 *
 * Threads: a writer belongs to one; a reader is immutable after open and serves any number.
 */
#ifndef INDEX_DISK_INDEX_DISK_H
#define INDEX_DISK_INDEX_DISK_H

#include "base/arena.h"
#include "base/paged_file.h"
#include "index/match/matcher.h"
#include "model/labels.h"
#include "model/request.h"
#include "model/sample.h"

#define INDEX_DISK_SERIES_MAX (1u << 28)

/* What is known of a chunk without reading it. Values mean something for floats only; for
 * histograms first and last are 0, min and max NaN. */
struct index_disk_chunk {
    int64_t min_ms, max_ms;
    uint64_t first_bits, last_bits;
    double min, max; /* NaN, both: there is none */
    uint64_t offset; /* in the chunks file */
    uint32_t len;
    uint32_t count, resets, stale;
    enum tsdb_sample_kind kind;
    bool all_int;
};

/* ---- writing ---- */
struct index_disk_writer;
/* NOMEM, what the sink says. */
enum tsdb_status index_disk_writer_create(struct paged_sink sink, struct index_disk_writer **out,
                                          struct tsdb_error *err) TSDB_WUR;
void index_disk_writer_destroy(struct index_disk_writer *w); /* NULL is fine */
/* The next series; labels canonical, above those of the last one (INVALID if not), copied. LIMIT,
 * NOMEM. After any failure the writer is good for destroy only. */
enum tsdb_status index_disk_writer_series(struct index_disk_writer *w,
                                          const struct tsdb_labels *labels,
                                          struct tsdb_error *err) TSDB_WUR;
/* A chunk of the series added last: later than the one before, count > 0 (INVALID if not). */
enum tsdb_status index_disk_writer_chunk(struct index_disk_writer *w,
                                         const struct index_disk_chunk *c,
                                         struct tsdb_error *err) TSDB_WUR;
/* Write all that is left. The last call but destroy. */
enum tsdb_status index_disk_writer_finish(struct index_disk_writer *w,
                                          struct tsdb_error *err) TSDB_WUR;

/* ---- reading ---- */
/* Every function below: CORRUPT (err->pos = logical offset), what the source says, and NOMEM. */
struct index_disk;
/* The first bytes of an index: OK; UNSUPPORTED for another format version; CORRUPT. */
enum tsdb_status index_disk_version_check(const uint8_t *data, size_t len,
                                          struct tsdb_error *err) TSDB_WUR;
/* The source's context outlives the index. UNSUPPORTED for another version of the format. */
enum tsdb_status index_disk_open(struct paged_source source, struct index_disk **out,
                                 struct tsdb_error *err) TSDB_WUR;
void index_disk_close(struct index_disk *ix); /* NULL is fine */
uint32_t index_disk_series_count(const struct index_disk *ix);

/* Ids of the series that match all matchers, rising, into arena memory. No matcher: all series.
 * Cost: a binary search for every value that is asked for by name, else the distinct values of the
 * named labels; and the postings. LIMIT (arena), CANCELLED, TIMEOUT by `request` (may be NULL). */
enum tsdb_status index_disk_select(const struct index_disk *ix,
                                   const struct index_matcher *const *matchers,
                                   uint32_t matcher_count, const struct tsdb_request *request,
                                   struct tsdb_arena *arena, uint32_t **out_ids,
                                   uint32_t *out_count, struct tsdb_error *err) TSDB_WUR;
/* Labels of series id < series_count; array and strings from the arena. */
enum tsdb_status index_disk_labels(const struct index_disk *ix, uint32_t id,
                                   struct tsdb_arena *arena, struct tsdb_labels *out,
                                   struct tsdb_error *err) TSDB_WUR;
/* The same of many, one after the other: what a series shares with the one before is not read again, and going
 * up is cheap. The labels are valid until the next call. One thread. */
struct index_disk_cursor;
enum tsdb_status index_disk_cursor_create(const struct index_disk *ix,
                                          struct index_disk_cursor **out,
                                          struct tsdb_error *err) TSDB_WUR;
void index_disk_cursor_destroy(struct index_disk_cursor *c); /* NULL is fine */
enum tsdb_status index_disk_cursor_labels(struct index_disk_cursor *c, uint32_t id,
                                          struct tsdb_labels *out, struct tsdb_error *err) TSDB_WUR;
/* The series with these canonical labels, or NOT_FOUND. */
enum tsdb_status index_disk_find(const struct index_disk *ix, const struct tsdb_labels *labels,
                                 uint32_t *out_id, struct tsdb_error *err) TSDB_WUR;
/* Chunks of a series that overlap the range, in time order, into arena memory. */
enum tsdb_status index_disk_chunks(const struct index_disk *ix, uint32_t id,
                                   struct tsdb_time_range range, struct tsdb_arena *arena,
                                   struct index_disk_chunk **out, uint32_t *out_count,
                                   struct tsdb_error *err) TSDB_WUR;
/* Of many series, going up: the last chunk that overlaps the range; *out_any: there is one. What the
 * series before had read is not read again. One thread. */
struct index_disk_newest;
enum tsdb_status index_disk_newest_create(const struct index_disk *ix,
                                          struct index_disk_newest **out,
                                          struct tsdb_error *err) TSDB_WUR;
void index_disk_newest_destroy(struct index_disk_newest *c); /* NULL is fine */
enum tsdb_status index_disk_newest_at(struct index_disk_newest *c, uint32_t id,
                                      struct tsdb_time_range range, bool *out_any,
                                      struct index_disk_chunk *out,
                                      struct tsdb_error *err) TSDB_WUR;
/* Every distinct name / value of a name, sorted bytewise. Stops when fn is false. Strings are valid
 * during the call of fn. An unknown name has no values. */
typedef bool (*index_disk_string_fn)(void *arg, const char *s, uint32_t len);
enum tsdb_status index_disk_names(const struct index_disk *ix, index_disk_string_fn fn, void *arg,
                                  struct tsdb_error *err) TSDB_WUR;
enum tsdb_status index_disk_values(const struct index_disk *ix, const char *name, uint32_t name_len,
                                   index_disk_string_fn fn, void *arg,
                                   struct tsdb_error *err) TSDB_WUR;

struct index_disk_stats {
    uint64_t series, symbols, names, label_pairs, labels, chunks;
    uint64_t chunk_bytes, label_bytes, symbol_bytes, postings_bytes, value_bytes; /* sections */
};
void index_disk_stats(const struct index_disk *ix, struct index_disk_stats *out);
/* Read and check everything: order, uniqueness, that postings and labels say the same. */
enum tsdb_status index_disk_verify(const struct index_disk *ix, struct tsdb_error *err) TSDB_WUR;

#endif
