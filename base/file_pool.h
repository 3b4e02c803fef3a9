/* A table of files for reading that keeps so many of them open at most: what has not been read for
 * longest is closed, and opened again when it is read. For files that do not change under their name
 * (blocks).
 *
 * It opens for reading alone (else INVALID), reads, closes, stats and lists; other operations it has
 * none. Open opens at once, so that what cannot be opened is found then. A file that is not there any
 * more when it is read is IO, not NOT_FOUND: its name was there before. Files that are being read stay
 * open: the bound is exceeded by as many readers as find all of them in use.
 *
 * Threads: as the table beneath; one lock (rank FILE_POOL), never over I/O. */
#ifndef BASE_FILE_POOL_H
#define BASE_FILE_POOL_H

#include "base/file.h"

struct tsdb_file_pool;
/* `fs` outlives the pool; files_max > 0. *out_fs is valid until destroy. */
enum tsdb_status tsdb_file_pool_create(const struct tsdb_fs *fs, uint32_t files_max,
                                       struct tsdb_file_pool **out,
                                       struct tsdb_fs *out_fs) TSDB_WUR;
void tsdb_file_pool_destroy(struct tsdb_file_pool *pool); /* all files are closed; NULL is fine */
struct tsdb_file_pool_stats {
    uint32_t known, open; /* files; of them open just now */
    uint64_t opened;      /* so often in all */
};
void tsdb_file_pool_stats(struct tsdb_file_pool *pool, struct tsdb_file_pool_stats *out);

#endif
