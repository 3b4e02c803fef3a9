/* A blocked bloom filter over series hashes: which blocks need not be asked for a series.
 *
 * Blocks of 512 bits, one per 50 series (10 bits each), 7 bits set in the one block that a hash
 * chooses: a look-up touches 64 bytes. About 1 % of the answers are wrong, always to the "maybe"
 * side (measured: tests/unit/tsdb/test_block.c). Hashes are tsdb_labels_hash, keyed with the data
 * directory's secret: a filter means nothing elsewhere.
 *
 * File: pages of base/paged_file.h; docs/format/block.md.
 * Threads: pure; a filter is immutable after open.
 */
#ifndef TSDB_BLOCK_BLOOM_H
#define TSDB_BLOCK_BLOOM_H

#include "base/paged_file.h"

#define BLOOM_BLOCK_BYTES 64u

/* Write a filter of these hashes. NOMEM, what the sink says. */
enum tsdb_status bloom_write(const uint64_t *hashes, uint64_t count, struct paged_sink sink,
                             struct tsdb_error *err) TSDB_WUR;

struct bloom {
    struct paged_source source;
    uint32_t block_count;
};
/* The first bytes of a filter: OK; UNSUPPORTED for another format version; CORRUPT. */
enum tsdb_status bloom_version_check(const uint8_t *data, size_t len,
                                     struct tsdb_error *err) TSDB_WUR;
/* Reads the header. CORRUPT, UNSUPPORTED, what the source says. */
enum tsdb_status bloom_open(struct paged_source source, struct bloom *out,
                            struct tsdb_error *err) TSDB_WUR;
/* False is certain; a filter that cannot be read says true. */
bool bloom_may_have(const struct bloom *b, uint64_t hash);

#endif
