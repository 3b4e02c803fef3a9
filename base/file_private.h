/* What the file tables share: the checks that make both refuse the same input. */
#ifndef BASE_FILE_PRIVATE_H
#define BASE_FILE_PRIVATE_H

#include "base/file.h"

#define TSDB_FILE_PATH_BYTES_MAX 1023 /* the whole path */
#define TSDB_FILE_NAME_BYTES_MAX 255  /* one component: NAME_MAX of every Linux file system */

/* INVALID unless path is relative, '/'-separated, without empty, "." or ".." components and within
 * the bounds above. "" is the root, and allowed only if root_allowed. */
enum tsdb_status tsdb_file_path_check(const char *path, bool root_allowed,
                                      struct tsdb_error *err) TSDB_WUR;
/* The path as above, not the root. INVALID unless the flags are known, ask for reading or writing,
 * and TRUNCATE comes with WRITE, EXCL with CREATE. */
enum tsdb_status tsdb_file_open_check(const char *path, unsigned flags,
                                      struct tsdb_error *err) TSDB_WUR;
/* Both paths as above, neither of them the root. */
enum tsdb_status tsdb_file_rename_check(const char *from, const char *to,
                                        struct tsdb_error *err) TSDB_WUR;
/* INVALID if [offset, offset + len) does not fit a signed 64-bit file offset. */
enum tsdb_status tsdb_file_range_check(const char *path, uint64_t offset, uint64_t len,
                                       struct tsdb_error *err) TSDB_WUR;
/* `<verb> <path>: <strerror>`. EEXIST, EISDIR, ENOTDIR, ENAMETOOLONG and EINVAL are the caller's
 * fault (INVALID), the rest as tsdb_error_set_errno. */
enum tsdb_status tsdb_file_fail(struct tsdb_error *err, int sys_errno, const char *verb,
                                const char *path);

#endif
