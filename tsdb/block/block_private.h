/* What writing and reading blocks share: names, the head of the chunks file, meta.json. */
#ifndef TSDB_BLOCK_BLOCK_PRIVATE_H
#define TSDB_BLOCK_BLOCK_PRIVATE_H

#include "base/file.h"
#include "tsdb/block/block.h"

#define BLOCK_META_NAME   "meta.json"
#define BLOCK_INDEX_NAME  "index"
#define BLOCK_CHUNKS_NAME "chunks"
#define BLOCK_BLOOM_NAME  "bloom"
#define BLOCK_TMP_SUFFIX  ".tmp"
#define BLOCK_PATH_BYTES  512 /* of a path in a block, NUL included */

/* chunks: header, then records: u32 length | flag, payload, u32 CRC. The CRC-32C is taken over the
 * record's offset (u64), the length and the payload. With the flag the payload is a uvarint
 * distance back to the record that has the times, and a chunk without times. */
#define BLOCK_CHUNKS_MAGIC        "TDLCHNKS"
#define BLOCK_CHUNKS_HEADER_BYTES 16u
#define BLOCK_RECORD_EXTRA_BYTES  8u /* length and CRC */
#define BLOCK_RECORD_SHARED       0x80000000u
#define BLOCK_RECORD_BYTES_MAX    0x7fffffffu

struct block_file_sizes {
    uint64_t index, chunks, bloom;
};

/* "<dir>/<ulid><suffix>" and, if name is not NULL, "/<name>". INVALID when that is too long. */
enum tsdb_status block_path(char out[BLOCK_PATH_BYTES], const char *dir, const char *ulid,
                            const char *suffix, const char *name, struct tsdb_error *err) TSDB_WUR;
uint32_t block_record_crc(uint64_t offset, const uint8_t *length, const uint8_t *payload,
                          size_t len);

/* The first bytes of the chunks file: OK; UNSUPPORTED for another format version; CORRUPT. */
enum tsdb_status block_chunks_version_check(const uint8_t *data, size_t len,
                                            struct tsdb_error *err) TSDB_WUR;

/* meta.json: text with a CRC as its last key. meta->bytes is not part of it. */
void block_meta_print(const struct block_meta *meta, const struct block_file_sizes *sizes,
                      struct tsdb_buf *out);
/* CORRUPT (err->pos = byte), UNSUPPORTED for another version. */
enum tsdb_status block_meta_parse(const uint8_t *src, size_t len, struct block_meta *out,
                                  struct block_file_sizes *out_sizes,
                                  struct tsdb_error *err) TSDB_WUR;
#define BLOCK_META_BYTES_MAX 65536u

/* Delete a directory and the files in it. NOT_FOUND is fine. */
enum tsdb_status block_tree_remove(const struct tsdb_fs *fs, const char *path,
                                   struct tsdb_error *err) TSDB_WUR;

#endif
