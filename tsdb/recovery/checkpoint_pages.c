/* Pages of checkpoints: found, checked, and found again behind damage. */
#include "base/assert.h"
#include "tsdb/recovery/checkpoint_private.h"

#include <string.h>

#define RESYNC_BYTES     (64u << 10) /* read at once while looking for a page */
#define RESYNC_STEP      4096u       /* what the disk does not give is passed over in such steps */
#define RESYNC_TRIES_MAX 1024u       /* in a partition: whoever's labels look like pages, it ends */

enum tsdb_status checkpoint_corrupt(const struct checkpoint_reader *r, uint64_t offset,
                                    struct tsdb_error *err, const char *what)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, offset, "%s at byte %llu: %s", r->path,
                             (unsigned long long)offset, what);
}

enum tsdb_status checkpoint_read_exact(const struct checkpoint_reader *r, void *out, size_t len,
                                       uint64_t offset, struct tsdb_error *err)
{
    size_t got = 0;
    enum tsdb_status status = r->fs->ops->pread(r->fs->ctx, r->file, out, len, offset, &got, err);
    if (status == TSDB_OK && got != len) {
        return checkpoint_corrupt(r, offset + got, err, "the file ends too early");
    }
    return status;
}

/* ---- one after the other ---- */
void checkpoint_cursor_deinit(struct checkpoint_cursor *c)
{
    tsdb_mem_free(TSDB_MEM_OTHER, c->data, c->cap);
}

static enum tsdb_status reserve(struct checkpoint_cursor *c, size_t len, struct tsdb_error *err)
{
    if (len <= c->cap) {
        return TSDB_OK;
    }
    checkpoint_cursor_deinit(c);
    c->data = tsdb_mem_alloc(TSDB_MEM_OTHER, len);
    c->cap = c->data ? len : 0;
    return c->data ? TSDB_OK
                   : tsdb_error_set(err, TSDB_NOMEM, "%s: no memory for a page", c->r->path);
}

void checkpoint_cursor_seek(struct checkpoint_cursor *c, uint32_t partition)
{
    c->partition = partition;
    c->offset = c->r->pages[partition].offset;
    c->end = c->offset + c->r->pages[partition].bytes;
}

static bool kind_known(uint8_t kind)
{
    return kind >= CHECKPOINT_PAGE_SAMPLES && kind <= CHECKPOINT_PAGE_NAMES;
}

enum tsdb_status checkpoint_cursor_next(struct checkpoint_cursor *c, struct checkpoint_page *out,
                                        struct tsdb_error *err)
{
    uint8_t h[CHECKPOINT_PAGE_HEADER_BYTES];
    if (c->offset == c->end) {
        return TSDB_NOT_FOUND;
    }
    if (c->end - c->offset < sizeof h) {
        return checkpoint_corrupt(c->r, c->offset, err, "page header is cut off");
    }
    enum tsdb_status status = checkpoint_read_exact(c->r, h, sizeof h, c->offset, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t len = tsdb_load_le32(h + 8);
    if (tsdb_load_le32(h) != CHECKPOINT_PAGE_MAGIC || len > CHECKPOINT_PAGE_BYTES_MAX ||
        len > c->end - c->offset - sizeof h) {
        return checkpoint_corrupt(c->r, c->offset, err, "not a page header");
    }
    status = reserve(c, len, err);
    if (status == TSDB_OK) {
        status = checkpoint_read_exact(c->r, c->data, len, c->offset + sizeof h, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t crc = checkpoint_crc(c->r->info.number, c->offset, h, 20, c->data, len);
    if (crc != tsdb_load_le32(h + 20)) {
        return checkpoint_corrupt(c->r, c->offset, err, "crc of the page does not match");
    }
    if (!kind_known(h[4]) || h[5] != c->partition) {
        return checkpoint_corrupt(c->r, c->offset, err,
                                  "page of an unknown kind or another partition");
    }
    *out = (struct checkpoint_page){(enum checkpoint_page_kind)h[4], tsdb_load_le32(h + 12),
                                    c->offset, c->data, len};
    c->offset += sizeof h + len;
    return TSDB_OK;
}

enum tsdb_status checkpoint_verify_partition(const struct checkpoint_reader *r, uint32_t partition,
                                             struct tsdb_error *err)
{
    TSDB_ASSERT(partition < TSDB_PARTITIONS);
    struct checkpoint_cursor c = {.r = r};
    struct checkpoint_page page = {0};
    enum tsdb_status status = TSDB_OK;
    checkpoint_cursor_seek(&c, partition);
    while (status == TSDB_OK) {
        status = checkpoint_cursor_next(&c, &page, err);
    }
    checkpoint_cursor_deinit(&c);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

enum tsdb_status checkpoint_verify(const struct checkpoint_reader *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < TSDB_PARTITIONS; i++) {
        status = checkpoint_verify_partition(r, i, err);
    }
    return status;
}

/* ---- behind damage ---- */
/* The first byte in [data, data + len) where a page's magic may begin; len: none. */
static size_t find_magic(const uint8_t *data, size_t len)
{
    static const uint8_t magic[] = {CHECKPOINT_PAGE_MAGIC & 0xff, CHECKPOINT_PAGE_MAGIC >> 8 & 0xff,
                                    CHECKPOINT_PAGE_MAGIC >> 16 & 0xff,
                                    CHECKPOINT_PAGE_MAGIC >> 24};
    const uint8_t *found = len >= sizeof magic ? memmem(data, len, magic, sizeof magic) : NULL;
    return found ? (size_t)(found - data) : len;
}

/* Look for a magic from c->offset on. *out_found false: c->offset has gone on to where to look next. */
static enum tsdb_status look(struct checkpoint_cursor *c, uint8_t *data, bool *out_found,
                             struct tsdb_error *err)
{
    const struct checkpoint_reader *r = c->r;
    struct tsdb_error why;
    size_t want = (size_t)TSDB_MIN(c->end - c->offset, (uint64_t)RESYNC_BYTES), got = 0;
    *out_found = false;
    enum tsdb_status status =
        r->fs->ops->pread(r->fs->ctx, r->file, data, want, c->offset, &got, &why);
    if (recovery_is_damage(status, &why)) {
        c->offset += TSDB_MIN(c->end - c->offset, (uint64_t)RESYNC_STEP);
        return TSDB_OK;
    }
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "%s", why.msg);
    }
    size_t at = find_magic(data, got);
    *out_found = at < got;
    if (got < want) { /* the file is shorter than its directory says */
        c->offset = *out_found ? c->offset + at : c->end;
    } else if (*out_found || c->offset + want == c->end) {
        c->offset += at;
    } else {
        c->offset += want - 3; /* a magic may lie across */
    }
    return TSDB_OK;
}

enum tsdb_status checkpoint_cursor_resync(struct checkpoint_cursor *c, struct tsdb_error *err)
{
    uint8_t *data = tsdb_mem_alloc(TSDB_MEM_OTHER, RESYNC_BYTES);
    if (!data) {
        return tsdb_error_set(err, TSDB_NOMEM, "%s: no memory to look for pages", c->r->path);
    }
    enum tsdb_status status = TSDB_OK;
    bool found = false;
    c->offset++; /* there is none here */
    for (uint32_t tries = 0; status == TSDB_OK && !found && c->offset < c->end;) {
        status = look(c, data, &found, err);
        if (status != TSDB_OK || !found) {
            continue;
        }
        struct checkpoint_page page;
        struct tsdb_error why;
        uint64_t at = c->offset;
        enum tsdb_status there = checkpoint_cursor_next(c, &page, &why);
        found = there == TSDB_OK;
        c->offset = found ? at : at + 1;
        if (!found && (there == TSDB_NOMEM || ++tries == RESYNC_TRIES_MAX)) {
            c->offset = c->end;
            status = there == TSDB_NOMEM ? tsdb_error_set(err, there, "%s", why.msg) : TSDB_OK;
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, RESYNC_BYTES);
    return status;
}
