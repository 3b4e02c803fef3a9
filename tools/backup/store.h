/* Where backups lie: a directory, or a bucket of S3. Names -> bytes, whole or not there.
 *
 * Names are made of [A-Za-z0-9._-] between single slashes, as those of a manifest. What a store answers is
 * untrusted: it is bounded and compared with size and checksum.
 *
 * Threads: one.
 */
#ifndef TOOLS_BACKUP_STORE_H
#define TOOLS_BACKUP_STORE_H

#include "base/bytes.h"
#include "base/file.h"
#include "tools/cmd/out.h"

#define STORE_NAME_MAX 512

/* A file with the bytes and the checksum that it has to have. */
struct store_file {
    const struct tsdb_fs *fs;
    const char *path;
    uint64_t bytes;
    uint32_t crc; /* CRC-32C */
    struct tool_progress *progress;
};
typedef enum tsdb_status (*store_name_fn)(void *arg, const char *name, struct tsdb_error *err);

struct store {
    const struct store_ops *ops;
};
struct store_ops {
    void (*close)(struct store *s);
    /* Is there something of this name and size? */
    enum tsdb_status (*has)(struct store *s, const char *name, uint64_t bytes, bool *out,
                            struct tsdb_error *err);
    /* CORRUPT: the file is not what it has to be; then nothing of it has got the name. */
    enum tsdb_status (*put)(struct store *s, const char *name, const struct store_file *from,
                            struct tsdb_error *err);
    enum tsdb_status (*put_bytes)(struct store *s, const char *name, const struct tsdb_buf *data,
                                  struct tsdb_error *err);
    /* Writes and syncs to->path, which is created or replaced. CORRUPT: not those bytes; NOT_FOUND. */
    enum tsdb_status (*get)(struct store *s, const char *name, const struct store_file *to,
                            struct tsdb_error *err);
    /* At most out->len_max. LIMIT, NOT_FOUND. */
    enum tsdb_status (*get_bytes)(struct store *s, const char *name, struct tsdb_buf *out,
                                  struct tsdb_error *err);
    /* What stands behind `folder`/, without it, in any order. What fn says ends it. */
    enum tsdb_status (*list)(struct store *s, const char *folder, store_name_fn fn, void *arg,
                             struct tsdb_error *err);
};

/* "s3://bucket/prefix" or a directory; `create` makes the directory. Close it with ops->close. */
enum tsdb_status store_open(const struct tool *t, const char *where, bool create,
                            struct store **out, struct tsdb_error *err) TSDB_WUR;
void store_close(struct store *s); /* NULL is fine */

/* ---- shared by the kinds ---- */
enum tsdb_status store_dir_open(const char *path, bool create, struct store **out,
                                struct tsdb_error *err) TSDB_WUR;
enum tsdb_status store_s3_open(const struct tool *t, const char *url, struct store **out,
                               struct tsdb_error *err) TSDB_WUR;
/* The file as `path` of another table, synced: sizes and checksum compared on the way. CORRUPT; then there
 * may be a part of it. */
enum tsdb_status store_copy(const struct store_file *from, const struct tsdb_fs *fs,
                            const char *path, struct tsdb_error *err) TSDB_WUR;
/* Size and checksum of a file, with progress and until interrupted. */
enum tsdb_status store_sum(const struct tsdb_fs *fs, const char *path,
                           struct tool_progress *progress, uint64_t *out_bytes, uint32_t *out_crc,
                           struct tsdb_error *err) TSDB_WUR;
/* Make the folders that `path` lies in, durably. */
enum tsdb_status store_make_folders(const struct tsdb_fs *fs, const char *path,
                                    struct tsdb_error *err) TSDB_WUR;
/* "a/b/c" lies in "a/b", "c" in "". */
void store_folder_of(const char *path, char out[STORE_NAME_MAX]);

#endif
