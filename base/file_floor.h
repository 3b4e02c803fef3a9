/* A file table that leaves room: what is written through it fails, before it takes the last of the disk
 * from those who write through the table below.
 *
 *   log ───────────────────────────────▶ below        may fill the disk
 *   flush, merges, checkpoints ──▶ floor ──▶ below    ENOSPC when less than `floor_bytes` would be left
 *
 * Files are those of the table below: a handle of one may be used with the other. Threads: as the
 * table below; tsdb_fs_floor_set from any. */
#ifndef BASE_FILE_FLOOR_H
#define BASE_FILE_FLOOR_H

#include "base/file.h"

struct tsdb_fs_floor;
/* below is copied, and what it refers to outlives this. NOMEM. */
enum tsdb_status tsdb_fs_floor_create(const struct tsdb_fs *below, uint64_t floor_bytes,
                                      struct tsdb_fs_floor **out, struct tsdb_fs *out_fs) TSDB_WUR;
void tsdb_fs_floor_destroy(struct tsdb_fs_floor *f); /* NULL is fine */
/* 0: everything may be written. The room is measured now and then, so up to TSDB_FS_FLOOR_SLACK bytes may
 * still be written after it is gone. */
#define TSDB_FS_FLOOR_SLACK (1u << 20)
void tsdb_fs_floor_set(struct tsdb_fs_floor *f, uint64_t floor_bytes);
/* The error of a write that would leave less: is_no_space. */
enum tsdb_status tsdb_fs_floor_error(struct tsdb_error *err, const char *what, uint64_t free_bytes,
                                     uint64_t floor_bytes);

#endif
