/* A Prometheus block as a whole: <dir>/<ULID>/ with meta.json, index, chunks/, tombstones.
 *
 * Writing goes to <ULID>.tmp-for-creation, which a Prometheus removes when it starts; finishing
 * syncs and renames. Reading walks over all series in order. Both stream: index.h says what
 * stays in memory. Threads: one at a time for each.
 */
#ifndef TOOLS_PROM_BLOCK_H
#define TOOLS_PROM_BLOCK_H

#include "model/sample.h"
#include "tools/prom/index.h"
#include "tools/prom/meta.h"

/* ---- writing ---- */
struct prom_block_writer;
/* dir exists, "" is the table's root; ulid is a valid one that dir has no block of. */
enum tsdb_status prom_block_writer_create(const struct tsdb_fs *fs, const char *dir,
                                          const char *ulid, struct prom_block_writer **out,
                                          struct tsdb_error *err) TSDB_WUR;
/* Before finishing: removes what was written. NULL is fine. */
void prom_block_writer_destroy(struct prom_block_writer *w);
/* First pass: the labels of every series that will come. */
enum tsdb_status prom_block_writer_symbols(struct prom_block_writer *w,
                                           const struct tsdb_labels *labels,
                                           struct tsdb_error *err) TSDB_WUR;
/* Second pass: a series begins, in rising label order; its samples follow, in time order and in as
 * many pieces as one likes. One without samples leaves no trace. labels is copied. */
enum tsdb_status prom_block_writer_series(struct prom_block_writer *w,
                                          const struct tsdb_labels *labels,
                                          struct tsdb_error *err) TSDB_WUR;
enum tsdb_status prom_block_writer_samples(struct prom_block_writer *w,
                                           const struct tsdb_columns *columns,
                                           struct tsdb_error *err) TSDB_WUR;
/* Make the block durable under its name. [t_min, t_max): its range, into which all samples must
 * fall. NOT_FOUND: there was no sample; then there is no block either. */
enum tsdb_status prom_block_writer_finish(struct prom_block_writer *w, int64_t t_min, int64_t t_max,
                                          struct prom_meta *out, struct tsdb_error *err) TSDB_WUR;

/* ---- reading ---- */
struct prom_block;
/* path: the block's own folder. */
enum tsdb_status prom_block_open(const struct tsdb_fs *fs, const char *path,
                                 struct prom_block **out, struct tsdb_error *err) TSDB_WUR;
void prom_block_close(struct prom_block *b); /* NULL is fine */
const struct prom_meta *prom_block_meta(const struct prom_block *b);
/* As prom_index_next. */
enum tsdb_status prom_block_next(struct prom_block *b, struct tsdb_arena *arena,
                                 struct prom_series *out, struct tsdb_error *err) TSDB_WUR;
/* The samples of chunk i of a series without the deleted ones (0 samples are possible). */
enum tsdb_status prom_block_read(struct prom_block *b, const struct prom_series *series, uint32_t i,
                                 struct tsdb_arena *arena, struct tsdb_columns *out,
                                 struct tsdb_error *err) TSDB_WUR;

#endif
