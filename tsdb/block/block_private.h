/* What writing and reading blocks share: names, records of the chunks file, meta.json. */
#ifndef TSDB_BLOCK_BLOCK_PRIVATE_H
#define TSDB_BLOCK_BLOCK_PRIVATE_H

#include "base/file.h"
#include "tsdb/block/block.h"

#define BLOCK_META_NAME   "meta.json"
#define BLOCK_INDEX_NAME  "index"
#define BLOCK_CHUNKS_NAME "chunks"
#define BLOCK_TMP_SUFFIX  ".tmp"
#define BLOCK_PATH_BYTES  512 /* of a path in a block, NUL included */

/* chunks: records, back to back in packed pages (base/paged_file.h). A record is
 *   u8 BLOCK_RECORD_WHOLE  | a chunk
 *   u8 BLOCK_RECORD_SHARED | uvarint distance | uvarint bytes | a chunk without its times
 * whose times are a column that begins `distance` bytes before the record and has so many bytes: it
 * is part of an earlier record. Where a record is, and how long, stands in the index. */
#define BLOCK_RECORD_WHOLE     0u
#define BLOCK_RECORD_SHARED    1u
#define BLOCK_RECORD_HEAD_MAX  (1u + 2u * TSDB_VARINT64_BYTES_MAX)
#define BLOCK_RECORD_BYTES_MAX 0x7fffffffu

struct block_file_sizes {
    uint64_t index, chunks;
};

/* What index and chunks of a block are written with: those of another one do not open. */
uint32_t block_mark(const char *ulid);

/* "<dir>/<ulid><suffix>" and, if name is not NULL, "/<name>". INVALID when that is too long. */
enum tsdb_status block_path(char out[BLOCK_PATH_BYTES], const char *dir, const char *ulid,
                            const char *suffix, const char *name, struct tsdb_error *err) TSDB_WUR;

/* meta.json: text with a CRC as its last key. meta->bytes is not part of it. */
void block_meta_print(const struct block_meta *meta, const struct block_file_sizes *sizes,
                      struct tsdb_buf *out);
/* CORRUPT (err->pos = byte), UNSUPPORTED for another version. */
enum tsdb_status block_meta_parse(const uint8_t *src, size_t len, struct block_meta *out,
                                  struct block_file_sizes *out_sizes,
                                  struct tsdb_error *err) TSDB_WUR;
#define BLOCK_META_BYTES_MAX 65536u

#endif
