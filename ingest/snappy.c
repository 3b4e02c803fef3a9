#include "ingest/snappy.h"

#include <snappy-c.h>

/* A copy with a two-byte offset is the densest element: 3 bytes for 64. */
#define EXPANSION_BYTES_OUT 64
#define EXPANSION_BYTES_IN  3

enum tsdb_status ingest_snappy_decoded_bytes(const void *src, size_t len, size_t bytes_max,
                                             size_t *out, struct tsdb_error *err)
{
    size_t declared = 0;
    if (len == 0 || snappy_uncompressed_length(src, len, &declared) != SNAPPY_OK) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "snappy: body of %zu bytes does not begin with a length", len);
    }
    if (declared > bytes_max) {
        return tsdb_error_set(err, TSDB_LIMIT,
                              "snappy: body of %zu bytes declares %zu decoded bytes, at most %zu",
                              len, declared, bytes_max);
    }
    if (declared / EXPANSION_BYTES_OUT > len / EXPANSION_BYTES_IN) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "snappy: body of %zu bytes cannot hold the %zu bytes it declares",
                              len, declared);
    }
    *out = declared;
    return TSDB_OK;
}

enum tsdb_status ingest_snappy_decode(const void *src, size_t len, void *dst, size_t dst_len,
                                      struct tsdb_error *err)
{
    char none;
    size_t decoded = dst_len;
    snappy_status s = snappy_uncompress(src, len, dst_len > 0 ? dst : &none, &decoded);
    if (s != SNAPPY_OK || decoded != dst_len) {
        return tsdb_error_set(err, TSDB_INVALID, "snappy: body of %zu bytes is damaged", len);
    }
    return TSDB_OK;
}

enum tsdb_status ingest_snappy_encode(const void *src, size_t len, struct tsdb_buf *out,
                                      struct tsdb_error *err)
{
    size_t bytes = snappy_max_compressed_length(len);
    uint8_t *dst = tsdb_buf_reserve(out, bytes);
    if (!dst) {
        return tsdb_error_nomem(err, "a Snappy block");
    }
    snappy_status s = snappy_compress(len > 0 ? src : "", len, (char *)dst, &bytes);
    if (s != SNAPPY_OK) {
        return tsdb_error_set(err, TSDB_INVALID, "snappy: %zu bytes cannot be encoded", len);
    }
    out->len += bytes;
    return TSDB_OK;
}
