/* The index of a Prometheus block, version 2.
 *
 *   u32 0xBAAAD700 | u8 2 | symbols | series | postings | postings offsets | table of contents
 *
 *   symbols   u32 length | u32 count | count x (uvarint length, bytes) | u32 CRC     sorted, unique
 *   series    each at a multiple of 16, by which its id counts:
 *             uvarint length | uvarint labels, per label 2 symbols | uvarint chunks, per chunk its
 *             times and reference, after the first as differences | u32 CRC          in label order
 *   postings  each at a multiple of 4: u32 length | u32 count | count x u32 id | u32 CRC
 *             of all series, then of each label pair, in order
 *   offsets   u32 length | u32 count | count x (uvarint 2, name, value, uvarint offset) | u32 CRC
 *   contents  6 x u64 offset | u32 CRC
 *
 * Both directions stream: in memory are the symbols, four bytes per series and, while writing,
 * twelve per label pair and a bounded piece of the postings. Threads: one at a time for each.
 */
#ifndef TOOLS_PROM_INDEX_H
#define TOOLS_PROM_INDEX_H

#include "base/arena.h"
#include "base/file.h"
#include "model/labels.h"

/* Where a chunk is: closed range of times, reference into the chunk files. */
struct prom_chunk_place {
    int64_t t_min, t_max;
    uint64_t ref;
};

/* ---- writing ---- */
struct prom_index_writer;
enum tsdb_status prom_index_writer_create(const struct tsdb_fs *fs, const char *path,
                                          struct prom_index_writer **out,
                                          struct tsdb_error *err) TSDB_WUR;
void prom_index_writer_destroy(struct prom_index_writer *w); /* NULL is fine; no sync */
/* First pass: the labels of every series that will come, in any order, as often as they occur. */
enum tsdb_status prom_index_writer_symbols(struct prom_index_writer *w,
                                           const struct tsdb_labels *labels,
                                           struct tsdb_error *err) TSDB_WUR;
/* Second pass: series in rising label order, labels canonical, 1 or more chunks in time order that
 * do not overlap. INVALID: order, overlap, or a string of which no first pass told; LIMIT: the file
 * would exceed what the format can hold (4 GiB of symbols, 64 GiB). */
enum tsdb_status prom_index_writer_series(struct prom_index_writer *w,
                                          const struct tsdb_labels *labels,
                                          const struct prom_chunk_place *chunks, uint32_t count,
                                          struct tsdb_error *err) TSDB_WUR;
/* Postings and contents; syncs the file. */
enum tsdb_status prom_index_writer_finish(struct prom_index_writer *w,
                                          struct tsdb_error *err) TSDB_WUR;

/* ---- reading ---- */
struct prom_index;
struct prom_series {
    uint32_t id;
    struct tsdb_labels labels; /* text borrowed from the index, neither checked nor sorted */
    const struct prom_chunk_place *chunks;
    uint32_t chunk_count;
};
/* Reads and checks contents, symbols and the list of all series. Versions 2 and 3 (which has the
 * same layout); CORRUPT, UNSUPPORTED. */
enum tsdb_status prom_index_open(const struct tsdb_fs *fs, const char *path,
                                 struct prom_index **out, struct tsdb_error *err) TSDB_WUR;
void prom_index_close(struct prom_index *x); /* NULL is fine */
uint32_t prom_index_series_count(const struct prom_index *x);
/* The next series in id order, which is label order where a Prometheus wrote the block; arrays from
 * the arena. NOT_FOUND after the last one (err untouched). */
enum tsdb_status prom_index_next(struct prom_index *x, struct tsdb_arena *arena,
                                 struct prom_series *out, struct tsdb_error *err) TSDB_WUR;
void prom_index_rewind(struct prom_index *x);

#endif
