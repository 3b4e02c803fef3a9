#include "tsdb/block/bloom.h"

#include "base/bytes.h"
#include "model/version.h"

#define MAGIC            "TDLBLOOM"
#define MAGIC_BYTES      8
#define HEADER_BYTES     64u /* as much as a block */
#define AT_VERSION       8
#define AT_BLOCKS        12
#define SERIES_PER_BLOCK 50u
#define PROBES           7u

static uint32_t block_of(uint64_t hash, uint32_t block_count)
{
    return (uint32_t)((hash >> 32) * block_count >> 32);
}

/* The bits of a hash in its block: 9 bits of the product each. The high half of the hash chose the
 * block, so the bits come from a product that the low half dominates. */
static void probes_of(uint64_t hash, uint16_t out[PROBES])
{
    uint64_t h = (hash << 32 | hash >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = 0; i < PROBES; i++) {
        out[i] = (uint16_t)(h >> (64 - 9 * (i + 1)) & 511);
    }
}

static enum tsdb_status words_write(const uint8_t *bits, uint32_t blocks, struct paged_sink sink,
                                    struct tsdb_error *err)
{
    uint8_t header[HEADER_BYTES] = MAGIC;
    struct paged_writer w;
    tsdb_store_le32(header + AT_VERSION, TSDB_FORMAT_BLOCK);
    tsdb_store_le32(header + AT_BLOCKS, blocks);
    if (paged_writer_init(&w, sink) != TSDB_OK) {
        return tsdb_error_set(err, TSDB_NOMEM, "bloom filter: out of memory");
    }
    enum tsdb_status status = paged_put(&w, header, sizeof header, err);
    if (status == TSDB_OK) {
        status = paged_put(&w, bits, (size_t)blocks * BLOOM_BLOCK_BYTES, err);
    }
    status = status == TSDB_OK ? paged_finish(&w, err) : status;
    paged_writer_deinit(&w);
    return status;
}

enum tsdb_status bloom_write(const uint64_t *hashes, uint64_t count, struct paged_sink sink,
                             struct tsdb_error *err)
{
    uint64_t blocks = count / SERIES_PER_BLOCK + 1;
    if (blocks > UINT32_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "bloom filter: too many series");
    }
    size_t bytes = (size_t)blocks * BLOOM_BLOCK_BYTES;
    uint8_t *bits = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, bytes);
    if (!bits) {
        return tsdb_error_set(err, TSDB_NOMEM, "bloom filter: no memory for %zu bytes", bytes);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t probes[PROBES];
        uint8_t *block = bits + (size_t)block_of(hashes[i], (uint32_t)blocks) * BLOOM_BLOCK_BYTES;
        probes_of(hashes[i], probes);
        for (uint32_t k = 0; k < PROBES; k++) {
            block[probes[k] >> 3] = (uint8_t)(block[probes[k] >> 3] | 1u << (probes[k] & 7));
        }
    }
    enum tsdb_status status = words_write(bits, (uint32_t)blocks, sink, err);
    tsdb_mem_free(TSDB_MEM_OTHER, bits, bytes);
    return status;
}

enum tsdb_status bloom_version_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len < HEADER_BYTES || memcmp(data, MAGIC, MAGIC_BYTES) != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, "bloom filter: does not begin as one");
    }
    uint32_t version = tsdb_load_le32(data + AT_VERSION);
    if (version != TSDB_FORMAT_BLOCK) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              "bloom filter: format version %u; this version knows %d", version,
                              TSDB_FORMAT_BLOCK);
    }
    return TSDB_OK;
}

enum tsdb_status bloom_open(struct paged_source source, struct bloom *out, struct tsdb_error *err)
{
    uint8_t header[HEADER_BYTES];
    uint64_t bytes = 0;
    enum tsdb_status status = paged_read(&source, 0, header, sizeof header, err);
    if (status == TSDB_OK) {
        status = bloom_version_check(header, sizeof header, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t blocks = tsdb_load_le32(header + AT_BLOCKS);
    if (!paged_logical_bytes(source.file_bytes, &bytes) || blocks == 0 ||
        bytes != HEADER_BYTES + (uint64_t)blocks * BLOOM_BLOCK_BYTES) {
        return tsdb_error_set(err, TSDB_CORRUPT, "bloom filter: %u blocks do not fill the file",
                              blocks);
    }
    *out = (struct bloom){source, blocks};
    return TSDB_OK;
}

bool bloom_may_have(const struct bloom *b, uint64_t hash)
{
    uint8_t block[BLOOM_BLOCK_BYTES];
    uint16_t probes[PROBES];
    uint64_t at = HEADER_BYTES + (uint64_t)block_of(hash, b->block_count) * BLOOM_BLOCK_BYTES;
    if (paged_read(&b->source, at, block, sizeof block, NULL) != TSDB_OK) {
        return true;
    }
    probes_of(hash, probes);
    for (uint32_t k = 0; k < PROBES; k++) {
        if (!(block[probes[k] >> 3] >> (probes[k] & 7) & 1)) {
            return false;
        }
    }
    return true;
}
