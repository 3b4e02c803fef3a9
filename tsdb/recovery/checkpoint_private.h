/* What writer and reader of checkpoints share: section layouts (docs/format/checkpoint.md). */
#ifndef TSDB_RECOVERY_CHECKPOINT_PRIVATE_H
#define TSDB_RECOVERY_CHECKPOINT_PRIVATE_H

#include "base/bytes.h"
#include "base/crc32c.h"
#include "tsdb/recovery/checkpoint.h"
#include "tsdb/recovery/damage.h"

#define CHECKPOINT_MAGIC        "TDLCHKPT"
#define CHECKPOINT_FOOTER_MAGIC "TDLCKEND"
/* Every version has its number, and the CRC over it, where this one has them. */
#define CHECKPOINT_HEADER_CRC_AT 60 /* of the bytes before */
#define CHECKPOINT_MARK_AT       64
#define CHECKPOINT_MARK_CRC_AT   124         /* of the bytes from CHECKPOINT_MARK_AT on */
#define CHECKPOINT_PAGE_MAGIC    0x47415054u /* "TPAG" */
#define CHECKPOINT_PATH_MAX      64

enum checkpoint_page_kind {
    CHECKPOINT_PAGE_SAMPLES = 1,
    CHECKPOINT_PAGE_EXEMPLARS = 2,
    CHECKPOINT_PAGE_NAMES = 3
};
#define CHECKPOINT_RUN_KIND_MASK  3u
#define CHECKPOINT_RUN_HAS_STARTS 4u
#define CHECKPOINT_RUN_IN_FILE    8u  /* a reference instead of columns */
#define CHECKPOINT_RUN_LATE       16u /* of a reference */
#define CHECKPOINT_RUN_BUNDLE                                                                      \
    32u /* a reference for several series; without IN_FILE their last times */

/* CRC of a section at `offset`: bytes that belong elsewhere, or to another checkpoint, do not
 * verify. */
static inline uint32_t checkpoint_crc(uint64_t number, uint64_t offset, const uint8_t *a,
                                      size_t a_len, const uint8_t *b, size_t b_len)
{
    uint8_t seed[16];
    tsdb_store_le64(seed, number);
    tsdb_store_le64(seed + 8, offset);
    uint32_t crc = tsdb_crc32c(0, seed, sizeof seed);
    crc = tsdb_crc32c(crc, a, a_len);
    return tsdb_crc32c(crc, b, b_len);
}

struct checkpoint_reader {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    char path[CHECKPOINT_PATH_MAX];
    uint64_t bytes;
    struct checkpoint_info info;
    struct extent {
        uint64_t offset, bytes;
    } pages[TSDB_PARTITIONS];
};
enum tsdb_status checkpoint_corrupt(const struct checkpoint_reader *r, uint64_t offset,
                                    struct tsdb_error *err, const char *what);
/* CORRUPT where the file ends too early. */
enum tsdb_status checkpoint_read_exact(const struct checkpoint_reader *r, void *out, size_t len,
                                       uint64_t offset, struct tsdb_error *err) TSDB_WUR;

/* ---- the pages of a partition, one after the other ---- */
struct checkpoint_page {
    enum checkpoint_page_kind kind;
    uint32_t items;
    uint64_t offset;
    const uint8_t *payload;
    size_t len;
};
struct checkpoint_cursor { /* r set, the rest zero */
    const struct checkpoint_reader *r;
    uint32_t partition;
    uint64_t offset, end;
    uint8_t *data; /* of one page; grows */
    size_t cap;
};
void checkpoint_cursor_deinit(struct checkpoint_cursor *c);
void checkpoint_cursor_seek(struct checkpoint_cursor *c, uint32_t partition);
/* The next page, CRC-checked; c->offset is behind it. NOT_FOUND at the end; CORRUPT, IO: c->offset is
 * where it was. */
enum tsdb_status checkpoint_cursor_next(struct checkpoint_cursor *c, struct checkpoint_page *out,
                                        struct tsdb_error *err) TSDB_WUR;
/* There is no page at c->offset: go to where the next whole one begins, or to the end. */
enum tsdb_status checkpoint_cursor_resync(struct checkpoint_cursor *c,
                                          struct tsdb_error *err) TSDB_WUR;

/* The first bytes of a checkpoint: OK; UNSUPPORTED for another format version; CORRUPT. */
enum tsdb_status checkpoint_version_check(const uint8_t *data, size_t len,
                                          struct tsdb_error *err) TSDB_WUR;
/* "checkpoint/00000012"; out has CHECKPOINT_PATH_MAX bytes. */
void checkpoint_path(uint64_t number, char *out);

#endif
