/* Is every file of the blocks of a version that this one knows? Asked before anything is moved,
 * removed or written, file by file: damage of one is no answer for the others, and looked at later. */
#include "base/crc32c.h"
#include "base/paged_file.h"
#include "index/disk/index_disk.h"
#include "model/version.h"
#include "tsdb/block/block_private.h"
#include "tsdb/block/blocks.h"
#include "tsdb/block/ulid.h"

/* From the file's beginning, whole if it is shorter than a page. */
typedef enum tsdb_status (*check_fn)(const uint8_t *data, size_t len, struct tsdb_error *err);

static enum tsdb_status meta_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    struct block_meta meta;
    struct block_file_sizes sizes;
    return block_meta_parse(data, len, &meta, &sizes, err);
}

struct look {
    const struct tsdb_fs *fs;
    uint8_t *page; /* PAGED_PAGE_BYTES */
    struct tsdb_error *err;
};

/* OK unless the file is certainly of another version; a file that cannot be read is no news. */
static enum tsdb_status file_check(const struct look *l, const char *path, check_fn check)
{
    struct tsdb_file *f = NULL;
    struct tsdb_error why;
    size_t len = 0;
    if (l->fs->ops->open(l->fs->ctx, path, TSDB_OPEN_READ, &f, NULL) != TSDB_OK) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        l->fs->ops->pread(l->fs->ctx, f, l->page, PAGED_PAGE_BYTES, 0, &len, NULL);
    l->fs->ops->close(l->fs->ctx, f);
    if (status != TSDB_OK || check(l->page, len, &why) != TSDB_UNSUPPORTED) {
        return TSDB_OK;
    }
    return tsdb_error_set(l->err, TSDB_UNSUPPORTED, "%s: %s", path, why.msg);
}

/* The pages say their version at the end, an index its own at the beginning of what they hold. */
static enum tsdb_status pages_check(const struct look *l, struct tsdb_file *f, uint64_t file_bytes,
                                    uint32_t mark, bool is_index, struct tsdb_error *err)
{
    struct paged_directory d = {0};
    uint32_t len = 0;
    enum tsdb_status status = paged_open(l->fs, f, file_bytes, mark, &d, err);
    if (status == TSDB_OK && is_index) {
        status = paged_load(&d, 0, l->page, &len, err);
        status = status == TSDB_OK ? index_disk_version_check(l->page, len, err) : status;
    }
    paged_close(&d);
    return status;
}

static enum tsdb_status paged_file_check(const struct look *l, const char *path, uint32_t mark,
                                         bool is_index)
{
    struct tsdb_file_info info;
    struct tsdb_file *f = NULL;
    struct tsdb_error why;
    if (l->fs->ops->stat(l->fs->ctx, path, &info, NULL) != TSDB_OK ||
        l->fs->ops->open(l->fs->ctx, path, TSDB_OPEN_READ, &f, NULL) != TSDB_OK) {
        return TSDB_OK;
    }
    enum tsdb_status status = pages_check(l, f, info.size_bytes, mark, is_index, &why);
    l->fs->ops->close(l->fs->ctx, f);
    return status == TSDB_UNSUPPORTED
               ? tsdb_error_set(l->err, TSDB_UNSUPPORTED, "%s: %s", path, why.msg)
               : TSDB_OK;
}

static enum tsdb_status block_found(void *arg, const char *name, bool is_dir)
{
    const struct look *l = arg;
    char path[BLOCK_PATH_BYTES];
    enum tsdb_status status = TSDB_OK;
    if (!is_dir || !ulid_valid(name)) {
        return TSDB_OK; /* no block */
    }
    if (block_path(path, BLOCKS_DIR, name, "", BLOCK_META_NAME, NULL) == TSDB_OK) {
        status = file_check(l, path, meta_check);
    }
    if (status == TSDB_OK &&
        block_path(path, BLOCKS_DIR, name, "", TOMBSTONES_NAME, NULL) == TSDB_OK) {
        status = tombstones_version_look(l->fs, path, l->err);
    }
    static const char *const paged[] = {BLOCK_CHUNKS_NAME, BLOCK_INDEX_NAME};
    for (size_t i = 0; status == TSDB_OK && i < TSDB_ARRAY_LEN(paged); i++) {
        if (block_path(path, BLOCKS_DIR, name, "", paged[i], NULL) == TSDB_OK) {
            status = paged_file_check(l, path, block_mark(name), i == 1);
        }
    }
    return status;
}

enum tsdb_status blocks_versions_check(const struct tsdb_fs *fs, struct tsdb_error *err)
{
    struct look l = {fs, tsdb_mem_alloc(TSDB_MEM_OTHER, PAGED_PAGE_BYTES), err};
    if (!l.page) {
        return tsdb_error_nomem(err, "a page of a block");
    }
    enum tsdb_status status = fs->ops->list(fs->ctx, BLOCKS_DIR, block_found, &l, err);
    tsdb_mem_free(TSDB_MEM_OTHER, l.page, PAGED_PAGE_BYTES);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}
