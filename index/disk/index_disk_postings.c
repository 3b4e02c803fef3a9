/* Postings lists of the index file.
 *
 *   skip[blocks]: u32 first id, u32 end of the block      blocks: u8 width | 127 differences - 1
 *
 * A block holds 128 ids, the last one fewer; the first stands in the skip entry, the others as bit
 * packed differences. Dense lists cost one byte for 128 ids. */
#include "index/disk/index_disk_private.h"

#include "base/assert.h"
#include "compress/bitpack.h"
#include "index/postings/postings.h"

void disk_postings_put(struct tsdb_buf *out, const uint32_t *ids, uint32_t count)
{
    uint32_t blocks = count / DISK_POSTINGS_BLOCK + (count % DISK_POSTINGS_BLOCK != 0);
    size_t skip = out->len;
    size_t begin = skip + (size_t)blocks * DISK_SKIP_BYTES;
    TSDB_ASSERT(count >= 2);
    if (tsdb_buf_reserve(out, (size_t)blocks * (DISK_SKIP_BYTES + DISK_BLOCK_BYTES_MAX)) == NULL) {
        return;
    }
    out->len = begin;
    for (uint32_t b = 0; b < blocks; b++) {
        uint64_t deltas[DISK_POSTINGS_BLOCK];
        const uint32_t *id = ids + (size_t)b * DISK_POSTINGS_BLOCK;
        uint32_t n = TSDB_MIN(count - b * DISK_POSTINGS_BLOCK, DISK_POSTINGS_BLOCK);
        uint64_t all = 0;
        for (uint32_t i = 1; i < n; i++) {
            deltas[i - 1] = id[i] - id[i - 1] - 1;
            all |= deltas[i - 1];
        }
        uint32_t width = bitpack_width(all);
        out->data[out->len++] = (uint8_t)width;
        bitpack_pack(deltas, n - 1, width, out->data + out->len);
        out->len += bitpack_bytes(n - 1, width);
        uint8_t *entry = out->data + skip + (size_t)b * DISK_SKIP_BYTES;
        tsdb_store_le32(entry, id[0]);
        tsdb_store_le32(entry + 4, (uint32_t)(out->len - begin));
    }
}

void disk_postings_init(struct disk_postings *p, const struct index_disk *ix,
                        const struct disk_value *value)
{
    p->ix = ix;
    p->value = *value;
    p->block = UINT32_MAX;
    p->count = 0;
}

static enum tsdb_status postings_corrupt(const struct disk_postings *p, const char *what,
                                         struct tsdb_error *err)
{
    return disk_corrupt(p->ix, DISK_POSTINGS, p->value.where, what, err);
}

/* First id of a block, and where the block lies behind the skip entries. */
static enum tsdb_status skip_read(const struct disk_postings *p, uint32_t block,
                                  uint32_t *out_first, uint32_t *out_from, uint32_t *out_to,
                                  struct tsdb_error *err)
{
    uint8_t raw[2 * DISK_SKIP_BYTES] = {0};
    uint32_t before = block > 0;
    enum tsdb_status status = disk_section_read(
        p->ix, DISK_POSTINGS, p->value.where + (uint64_t)(block - before) * DISK_SKIP_BYTES,
        raw + (before ? 0 : DISK_SKIP_BYTES), (before + 1) * (size_t)DISK_SKIP_BYTES, err);
    if (status == TSDB_OK) {
        *out_from = tsdb_load_le32(raw + 4);
        *out_first = tsdb_load_le32(raw + 8);
        *out_to = tsdb_load_le32(raw + 12);
    }
    return status;
}

static enum tsdb_status block_decode(struct disk_postings *p, const uint8_t *bytes, uint32_t len,
                                     uint32_t first, uint32_t n, struct tsdb_error *err)
{
    uint64_t deltas[DISK_POSTINGS_BLOCK];
    uint32_t width = bytes[0];
    if (width > 28 || len != 1 + bitpack_bytes(n - 1, width)) {
        return postings_corrupt(p, "a block of postings has the wrong size", err);
    }
    bitpack_unpack(bytes + 1, len - 1, n - 1, width, 1, deltas);
    uint64_t id = first; /* at most 2^32 + 127 * 2^28: no overflow */
    p->ids[0] = first;
    for (uint32_t i = 1; i < n; i++) {
        id += deltas[i - 1];
        p->ids[i] = (uint32_t)id;
    }
    if (id >= p->ix->series_count) {
        return postings_corrupt(p, "a posting is beyond the last series", err);
    }
    return TSDB_OK;
}

enum tsdb_status disk_postings_load(struct disk_postings *p, uint32_t block, struct tsdb_error *err)
{
    uint8_t bytes[DISK_BLOCK_BYTES_MAX];
    uint32_t first = 0;
    uint32_t from = 0;
    uint32_t to = 0;
    if (p->block == block) {
        return TSDB_OK;
    }
    p->block = UINT32_MAX;
    if (p->value.series == 1) {
        p->ids[0] = (uint32_t)p->value.where; /* disk_value_at checked it */
        p->count = 1;
        p->block = block;
        return TSDB_OK;
    }
    enum tsdb_status status = skip_read(p, block, &first, &from, &to, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (to <= from || to - from > sizeof bytes) {
        return postings_corrupt(p, "a block of postings has an impossible size", err);
    }
    uint64_t blocks_at = p->value.where + (uint64_t)disk_postings_blocks(p) * DISK_SKIP_BYTES;
    status = disk_section_read(p->ix, DISK_POSTINGS, blocks_at + from, bytes, to - from, err);
    p->count = TSDB_MIN(p->value.series - block * DISK_POSTINGS_BLOCK, DISK_POSTINGS_BLOCK);
    if (status == TSDB_OK) {
        status = block_decode(p, bytes, to - from, first, p->count, err);
    }
    p->block = status == TSDB_OK ? block : UINT32_MAX;
    return status;
}

enum tsdb_status disk_postings_all(struct disk_postings *p, uint32_t *out, struct tsdb_error *err)
{
    uint32_t blocks = disk_postings_blocks(p);
    uint32_t n = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        enum tsdb_status status = disk_postings_load(p, b, err);
        if (status != TSDB_OK) {
            return status;
        }
        if (n > 0 && p->ids[0] <= out[n - 1]) {
            return postings_corrupt(p, "postings do not rise", err);
        }
        memcpy(out + n, p->ids, p->count * sizeof *out);
        n += p->count;
    }
    return TSDB_OK;
}

/* The last block in [from, blocks) that begins at or below id; `from` if there is none. Galloping:
 * mostly the next one or the one after it. */
static enum tsdb_status block_seek(struct disk_postings *p, uint32_t from, uint32_t id,
                                   uint32_t *out, struct tsdb_error *err)
{
    uint32_t blocks = disk_postings_blocks(p);
    uint32_t low = from; /* the answer is >= low, and < high */
    uint32_t high = blocks;
    uint32_t step = 1;
    bool galloping = true;
    while (high - low > 1) {
        uint32_t probe = galloping ? TSDB_MIN(step, high - low - 1) + low : low + (high - low) / 2;
        uint32_t first = 0;
        uint32_t unused = 0;
        enum tsdb_status status = skip_read(p, probe, &first, &unused, &unused, err);
        if (status != TSDB_OK) {
            return status;
        }
        if (first <= id) {
            low = probe;
            step *= 2;
        } else {
            high = probe;
            galloping = false;
        }
    }
    *out = low;
    return TSDB_OK;
}

static enum tsdb_status block_find(struct disk_postings *p, uint32_t id, struct tsdb_error *err)
{
    uint32_t block = p->block == UINT32_MAX ? 0 : p->block;
    bool here = p->block != UINT32_MAX && (id <= p->ids[p->count - 1]);
    enum tsdb_status status = TSDB_OK;
    if (!here && p->value.series > 1) {
        status = block_seek(p, block, id, &block, err);
    }
    return status == TSDB_OK ? disk_postings_load(p, block, err) : status;
}

enum tsdb_status disk_postings_filter(struct disk_postings *p, bool keep, uint32_t *ids,
                                      uint32_t *count, struct tsdb_error *err)
{
    uint32_t n = 0;
    uint32_t at = 0;
    uint32_t block = UINT32_MAX;
    for (uint32_t i = 0; i < *count; i++) {
        uint32_t id = ids[i];
        enum tsdb_status status = block_find(p, id, err);
        if (status != TSDB_OK) {
            return status;
        }
        at = block == p->block ? at : 0;
        block = p->block;
        at = index_ids_seek(p->ids, p->count, at, id);
        ids[n] = id;
        n += (at < p->count && p->ids[at] == id) == keep;
    }
    *count = n;
    return TSDB_OK;
}
