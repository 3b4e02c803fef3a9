/* quarantine/: what was damaged or did not fit, for a person to look at. Nothing reads it but this.
 *
 * Whoever moves something there tells in its name what it is and when; the names are those of
 * docs/format/data-directory.md. A block keeps its ULID, which does not say when it was moved.
 *
 * Threads: pure, over any table of files. */
#ifndef TSDB_BLOCK_QUARANTINE_H
#define TSDB_BLOCK_QUARANTINE_H

#include "base/file.h"

#define QUARANTINE_NAME_BYTES_MAX 255

struct quarantine_item {
    char name[QUARANTINE_NAME_BYTES_MAX + 1]; /* in quarantine/ */
    const char *why;                          /* static; NULL: not one of our names */
    int64_t moved_ms;                         /* Unix ms; INT64_MIN: the name does not tell */
    uint64_t files, bytes;                    /* of a directory: all below it */
};
/* Fill why and moved_ms of item->name. Untrusted: any name is fine. */
void quarantine_name_read(struct quarantine_item *item);

/* Every item, in any order. fn must not change quarantine/; its error ends the walk. None where there is no
 * such directory. What somebody removes meanwhile is left out. */
typedef enum tsdb_status (*quarantine_fn)(void *arg, const struct quarantine_item *item,
                                          struct tsdb_error *err);
enum tsdb_status quarantine_walk(const struct tsdb_fs *fs, quarantine_fn fn, void *arg,
                                 struct tsdb_error *err) TSDB_WUR;
/* The sum over all items. */
enum tsdb_status quarantine_measure(const struct tsdb_fs *fs, uint64_t *out_files,
                                    uint64_t *out_bytes, struct tsdb_error *err) TSDB_WUR;

#endif
