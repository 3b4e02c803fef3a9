#include "tsdb/chunk/bundle.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "compress/kernels.h"
#include "compress/sample_stream.h"

#include <string.h>

#define VERSION     1u
#define HEAD_BYTES  32u
#define ENTRY_BYTES 24u
#define CRC_AT      12u
static_assert(BUNDLE_HEAD_BYTES_MAX == HEAD_BYTES + BUNDLE_SERIES * ENTRY_BYTES, "as drawn");

static uint32_t streams_of(uint64_t mask)
{
    return (uint32_t)__builtin_popcountll(mask);
}

static size_t head_bytes(uint64_t mask)
{
    return HEAD_BYTES + streams_of(mask) * (size_t)ENTRY_BYTES;
}

/* Seeded by directory, file and offset: bytes that belong elsewhere do not verify. */
static uint32_t place_crc(const struct bundle_place *place, uint64_t offset)
{
    uint8_t seed[16];
    tsdb_store_le64(seed, place->file);
    tsdb_store_le64(seed + 8, offset);
    return tsdb_crc32c(place->mark, seed, sizeof seed);
}

static uint32_t head_crc(const struct bundle_place *place, const uint8_t *head, size_t len)
{
    uint32_t crc = tsdb_crc32c(place_crc(place, place->offset), head, CRC_AT);
    return tsdb_crc32c(crc, head + CRC_AT + 4, len - CRC_AT - 4);
}

static uint32_t tokens_crc(const struct bundle_place *place, size_t at, const uint8_t *tokens,
                           size_t len)
{
    return tsdb_crc32c(place_crc(place, place->offset + at), tokens, len);
}

/* ---- writing ---- */

size_t bundle_encoded_bytes(const struct bundle_stream *streams, uint32_t n)
{
    size_t bytes = HEAD_BYTES + n * (size_t)ENTRY_BYTES;
    for (uint32_t i = 0; i < n; i++) {
        bytes += streams[i].bytes;
    }
    return bytes;
}

static void entry_put(uint8_t *e, const struct bundle_stream *s, int64_t min_ms, uint32_t crc)
{
    uint64_t first = (uint64_t)s->first_ms - (uint64_t)min_ms;
    uint64_t span = (uint64_t)s->last_ms - (uint64_t)s->first_ms;
    TSDB_ASSERT(first <= UINT32_MAX && span <= UINT32_MAX);
    TSDB_ASSERT(s->count > 0 && s->count <= TSDB_HEAD_CHUNK_SAMPLES_MAX);
    TSDB_ASSERT(s->bytes <= BUNDLE_TOKENS_MAX);
    tsdb_store_le32(e, (uint32_t)first);
    tsdb_store_le32(e + 4, (uint32_t)span);
    tsdb_store_le16(e + 8, (uint16_t)s->count);
    tsdb_store_le16(e + 10, (uint16_t)s->bytes);
    tsdb_store_le32(e + 12, crc);
    tsdb_store_le64(e + 16, s->first_bits);
}

size_t bundle_encode(const struct bundle_place *place, uint64_t mask,
                     const struct bundle_stream *streams, uint8_t *out)
{
    uint32_t n = streams_of(mask);
    size_t at = head_bytes(mask);
    int64_t min_ms = INT64_MAX;
    TSDB_ASSERT(n > 0 && place->local % BUNDLE_SERIES == 0);
    for (uint32_t i = 0; i < n; i++) {
        min_ms = TSDB_MIN(min_ms, streams[i].first_ms);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct bundle_stream *s = &streams[i];
        memcpy(out + at, s->tokens, s->bytes);
        entry_put(out + HEAD_BYTES + i * (size_t)ENTRY_BYTES, s, min_ms,
                  tokens_crc(place, at, out + at, s->bytes));
        at += s->bytes;
    }
    tsdb_store_le32(out, (uint32_t)at);
    out[4] = VERSION;
    out[5] = place->partition;
    tsdb_store_le16(out + 6, 0);
    tsdb_store_le32(out + 8, place->local);
    tsdb_store_le64(out + 16, mask);
    tsdb_store_le64(out + 24, (uint64_t)min_ms);
    tsdb_store_le32(out + CRC_AT, head_crc(place, out, head_bytes(mask)));
    return at;
}

/* ---- reading ---- */

enum tsdb_status bundle_head_open(const uint8_t *src, size_t have, uint32_t len,
                                  const struct bundle_place *place, bool known,
                                  struct bundle_head *out, struct tsdb_error *err)
{
    if (have < HEAD_BYTES || tsdb_load_le32(src) != len || have > len) {
        return tsdb_error_set(err, TSDB_CORRUPT, "a bundle of %u bytes, expected %u",
                              have >= HEAD_BYTES ? tsdb_load_le32(src) : 0, len);
    }
    uint64_t mask = tsdb_load_le64(src + 16);
    if (mask == 0 || head_bytes(mask) > have) {
        return tsdb_error_set(err, TSDB_CORRUPT, "a bundle of %u series in %u bytes",
                              streams_of(mask), len);
    }
    uint32_t crc = known ? tsdb_load_le32(src + CRC_AT) : head_crc(place, src, head_bytes(mask));
    if (tsdb_load_le32(src + CRC_AT) != crc || src[4] != VERSION || tsdb_load_le16(src + 6) != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "head of a bundle: version %u crc %08x, expected %u %08x", src[4],
                              tsdb_load_le32(src + CRC_AT), VERSION, crc);
    }
    if (src[5] != place->partition || tsdb_load_le32(src + 8) != place->local) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "a bundle of partition %u from series %u, expected %u, %u", src[5],
                              tsdb_load_le32(src + 8), place->partition, place->local);
    }
    *out = (struct bundle_head){src, len, mask, (int64_t)tsdb_load_le64(src + 24)};
    return TSDB_OK;
}

enum tsdb_status bundle_head_find(const struct bundle_head *h, uint32_t bit,
                                  struct bundle_stream *out, struct tsdb_error *err)
{
    TSDB_ASSERT(bit < BUNDLE_SERIES);
    if (!(h->mask >> bit & 1)) {
        return tsdb_error_set(err, TSDB_NOT_FOUND, "the bundle has no series %u", bit);
    }
    uint32_t rank = streams_of(h->mask & ((UINT64_C(1) << bit) - 1));
    const uint8_t *e = h->src + HEAD_BYTES;
    size_t at = head_bytes(h->mask);
    for (uint32_t i = 0; i < rank; i++, e += ENTRY_BYTES) {
        at += tsdb_load_le16(e + 10);
    }
    uint32_t count = tsdb_load_le16(e + 8);
    uint32_t bytes = tsdb_load_le16(e + 10);
    uint64_t last = (uint64_t)tsdb_load_le32(e) + tsdb_load_le32(e + 4);
    if (count == 0 || count > TSDB_HEAD_CHUNK_SAMPLES_MAX || at + bytes > h->len ||
        last > (uint64_t)INT64_MAX - (uint64_t)h->min_ms) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "stream %u of a bundle: %u samples in %u bytes at %zu of %u", bit,
                              count, bytes, at, h->len);
    }
    *out = (struct bundle_stream){
        .first_ms = (int64_t)((uint64_t)h->min_ms + tsdb_load_le32(e)),
        .last_ms = (int64_t)((uint64_t)h->min_ms + last),
        .first_bits = tsdb_load_le64(e + 16),
        .count = count,
        .bytes = bytes,
        .at = at,
        .crc = tsdb_load_le32(e + 12),
    };
    return TSDB_OK;
}

enum tsdb_status bundle_tokens_check(const struct bundle_place *place,
                                     const struct bundle_stream *s, const uint8_t *tokens,
                                     struct tsdb_error *err)
{
    uint32_t crc = tokens_crc(place, s->at, tokens, s->bytes);
    return crc == s->crc ? TSDB_OK
                         : tsdb_error_set(err, TSDB_CORRUPT,
                                          "stream at byte %zu of a bundle: crc %08x, expected %08x",
                                          s->at, s->crc, crc);
}

enum tsdb_status bundle_samples_check(const struct bundle_stream *s, bool decoded,
                                      const int64_t *t_ms, struct tsdb_error *err)
{
    bool ok = decoded && t_ms[s->count - 1] == s->last_ms &&
              (s->count == 1 || kernels_get()->rising(t_ms + 1, s->count - 1, t_ms[0]));
    return ok ? TSDB_OK
              : tsdb_error_set(err, TSDB_CORRUPT, "stream at byte %zu of a bundle is malformed",
                               s->at);
}

enum tsdb_status bundle_stream_decode(const struct bundle_place *place,
                                      const struct bundle_stream *s, const uint8_t *tokens,
                                      int64_t *t_ms, uint64_t *value, struct tsdb_error *err)
{
    enum tsdb_status status = bundle_tokens_check(place, s, tokens, err);
    if (status != TSDB_OK) {
        return status;
    }
    t_ms[0] = s->first_ms;
    value[0] = s->first_bits;
    bool decoded = sample_stream_decode(tokens, s->bytes, s->count, t_ms, value);
    return bundle_samples_check(s, decoded, t_ms, err);
}
