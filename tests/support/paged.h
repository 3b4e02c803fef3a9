/* A packed file (base/paged_file.h) that lies in memory. */
#ifndef TESTS_SUPPORT_PAGED_H
#define TESTS_SUPPORT_PAGED_H

#include "base/paged_file.h"

/* A paged_sink's write into a struct tsdb_buf. */
enum tsdb_status paged_memory_write(void *ctx, const void *data, size_t len,
                                    struct tsdb_error *err);
struct paged_memory {
    struct tsdb_fs_ops ops; /* pread only */
    struct tsdb_fs fs;
    const struct tsdb_buf *bytes;
    struct paged_directory pages;
};
/* Open what was written to bytes, which stay the caller's; m does not move until it is closed. */
enum tsdb_status paged_memory_open(struct paged_memory *m, const struct tsdb_buf *bytes,
                                   struct tsdb_error *err) TSDB_WUR;
/* All logical bytes, behind what is in out. */
enum tsdb_status paged_memory_unpack(const struct paged_memory *m, struct tsdb_buf *out,
                                     struct tsdb_error *err) TSDB_WUR;
void paged_memory_close(struct paged_memory *m);

/* Add to the version of a file of pages: it stands in the trailer, in front of the CRC of directory and
 * trailer, which goes on from a mark. What the mark adds to the CRC is the same before and after. */
void paged_version_add(uint8_t *data, size_t len, int by);

#endif
