/* Is every file that recovery reads of a version that this one knows? Asked before anything is moved,
 * removed or written; damage is looked at later. */
#include "base/numbered.h"
#include "tsdb/head/files.h"
#include "tsdb/recovery/checkpoint_private.h"
#include "tsdb/recovery/datadir.h"
#include "tsdb/recovery/metadata_file.h"
#include "tsdb/recovery/recovery.h"
#include "wal/wal.h"

#include <stdio.h>

#define HEAD_BYTES 128u /* the largest header */
static_assert(HEAD_BYTES >= CHECKPOINT_HEADER_BYTES && HEAD_BYTES >= HEAD_FILE_HEADER_BYTES &&
                  HEAD_BYTES >= SERIES_LOG_HEADER_BYTES && HEAD_BYTES >= METADATA_FILE_HEADER_BYTES,
              "every header fits");

typedef enum tsdb_status (*check_fn)(const uint8_t *data, size_t len, struct tsdb_error *err);

struct look {
    const struct tsdb_fs *fs;
    const char *dir;
    check_fn check;
    struct tsdb_error *err;
};

static enum tsdb_status file_check(const struct look *l, const char *path)
{
    uint8_t head[HEAD_BYTES];
    struct tsdb_file *f = NULL;
    struct tsdb_error why;
    size_t len = 0;
    if (l->fs->ops->open(l->fs->ctx, path, TSDB_OPEN_READ, &f, NULL) != TSDB_OK) {
        return TSDB_OK;
    }
    enum tsdb_status status = l->fs->ops->pread(l->fs->ctx, f, head, sizeof head, 0, &len, NULL);
    l->fs->ops->close(l->fs->ctx, f);
    if (status != TSDB_OK || l->check(head, len, &why) != TSDB_UNSUPPORTED) {
        return TSDB_OK;
    }
    return tsdb_error_set(l->err, TSDB_UNSUPPORTED, "%s: %s", path, why.msg);
}

static enum tsdb_status found(void *arg, const char *name, bool is_dir)
{
    const struct look *l = arg;
    char path[64];
    uint64_t number;
    if (is_dir || !tsdb_numbered_parse(name, &number)) {
        return TSDB_OK;
    }
    int n = snprintf(path, sizeof path, "%s/%s", l->dir, name);
    return n > 0 && (size_t)n < sizeof path ? file_check(l, path) : TSDB_OK;
}

enum tsdb_status recovery_versions_check(const struct tsdb_fs *fs, struct tsdb_error *err)
{
    const struct look all[] = {{fs, DATADIR_CHECKPOINT, checkpoint_version_check, err},
                               {fs, HEAD_FILES_DIR, head_file_version_check, err}};
    const struct look series_log = {fs, "", series_log_header_check, err};
    const struct look metadata = {fs, "", metadata_file_version_check, err};
    enum tsdb_status status = file_check(&series_log, DATADIR_SERIES_LOG);
    status = status == TSDB_OK ? file_check(&series_log, DATADIR_SERIES_NEXT) : status;
    status = status == TSDB_OK ? file_check(&metadata, METADATA_FILE_NAME) : status;
    for (size_t i = 0; status == TSDB_OK && i < TSDB_ARRAY_LEN(all); i++) {
        struct look l = all[i];
        status = fs->ops->list(fs->ctx, l.dir, found, &l, err);
        status = status == TSDB_NOT_FOUND ? TSDB_OK : status;
    }
    return status == TSDB_OK ? wal_versions_check(fs, DATADIR_WAL, err) : status;
}
