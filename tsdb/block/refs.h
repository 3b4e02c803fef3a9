/* From series refs of this data directory to series ids of a block.
 *
 * A block knows its series by labels, so that it can be carried elsewhere; here a series is known
 * by its ref, which is stable for the life of the directory. refs/<ULID> holds the pairs, sorted by
 * ref, beside the block and not in it: it is derived, tagged with the directory's identity, and
 * made again by labels when it is missing, foreign or damaged. What a ref means stands elsewhere, at
 * a place that the basis names: a file whose basis is not there any more, or not yet, is of another
 * moment of the directory and made again, too.
 *
 *   page: u16 runs | u16 pairs | u8 bits of an id | runs: u32 first ref, u16 its pair's number |
 *         ids, packed | u32 crc32c
 *
 * A run is refs that follow each other, as those of a partition do: they need no bytes. Page 0 has
 * a header of 72 bytes in front: u32 magic | u32 version | u8 identity[16] | u64 pair count |
 * u8 basis[40]. Every page has 65536 bytes but the last, which ends with what is in it;
 * little-endian. The CRC covers the page before it, continued from the page's number. Byte by byte:
 * docs/format/refs.md.
 *
 * In memory: the first ref of each page. Cost of a look-up: a page of the L2 cache and a binary
 * search of its runs. Threads: immutable after open, any.
 */
#ifndef TSDB_BLOCK_REFS_H
#define TSDB_BLOCK_REFS_H

#include "model/batch.h"
#include "tsdb/chunk/cache_l2.h"

#define BLOCK_REFS_DIR            "refs"
#define BLOCK_REFS_IDENTITY_BYTES 16

struct block_ref_pair {
    uint32_t ref, id;
};
struct block_refs;
/* Where refs get their meaning from, as whoever gives it says (blocks.h). All zero: nowhere. */
struct block_refs_basis {
    uint8_t bytes[40];
};

/* Write and sync refs/<ulid> (directory made and synced). pairs sorted by ref, refs unique. */
enum tsdb_status block_refs_write(const struct tsdb_fs *fs, const char *ulid,
                                  const uint8_t identity[BLOCK_REFS_IDENTITY_BYTES],
                                  const struct block_refs_basis *basis,
                                  const struct block_ref_pair *pairs, uint32_t count,
                                  struct tsdb_error *err) TSDB_WUR;
/* NOT_FOUND: missing, or of another directory. CORRUPT, IO, NOMEM. */
enum tsdb_status block_refs_open(const struct tsdb_fs *fs, const char *ulid,
                                 const uint8_t identity[BLOCK_REFS_IDENTITY_BYTES],
                                 struct cache_l2 *cache, struct block_refs **out,
                                 struct tsdb_error *err) TSDB_WUR;
/* Page 0 as it was read: OK; UNSUPPORTED for another format version; CORRUPT. */
enum tsdb_status block_refs_version_check(const uint8_t *page, size_t len,
                                          struct tsdb_error *err) TSDB_WUR;
void block_refs_close(struct block_refs *r); /* NULL is fine */
/* NOT_FOUND without touching err: the block has no samples of the series. */
enum tsdb_status block_refs_find(const struct block_refs *r, tsdb_series_ref ref, uint32_t *out_id,
                                 struct tsdb_error *err) TSDB_WUR;
/* All pairs, rising by ref, into out[block_refs_count]; past the cache. */
enum tsdb_status block_refs_read(const struct block_refs *r, struct block_ref_pair *out,
                                 struct tsdb_error *err) TSDB_WUR;
uint32_t block_refs_count(const struct block_refs *r);
const struct block_refs_basis *block_refs_basis(const struct block_refs *r);
/* Remove the file of a deleted block. */
enum tsdb_status block_refs_remove(const struct tsdb_fs *fs, const char *ulid,
                                   struct tsdb_error *err) TSDB_WUR;

#endif
