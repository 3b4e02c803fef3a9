/* The snappy path: whatever comes in, the declared length is bounded before memory is asked for,
 * and what decodes is a body that its encoder could have made. */
#include "ingest/snappy.h"
#include "tests/support/ingest/encode.h"

#include <stdlib.h>

#define DECODED_BYTES_MAX (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t bytes = 0;
    struct tsdb_error err = {0};
    if (ingest_snappy_decoded_bytes(data, len, DECODED_BYTES_MAX, &bytes, &err) != TSDB_OK) {
        must(err.msg[0] != '\0');
        return 0;
    }
    must(bytes <= DECODED_BYTES_MAX);
    must(bytes / 64 <= len / 3);
    struct tsdb_buf decoded;
    struct tsdb_buf encoded;
    tsdb_buf_init(&decoded, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&encoded, TSDB_MEM_OTHER, 0);
    uint8_t *to = bytes > 0 ? tsdb_buf_reserve(&decoded, bytes) : NULL;
    if (ingest_snappy_decode(data, len, to, bytes, &err) == TSDB_OK) {
        decoded.len = bytes;
        must(encode_snappy(&decoded, &encoded) == TSDB_OK);
        size_t again = 0;
        must(ingest_snappy_decoded_bytes(encoded.data, encoded.len, DECODED_BYTES_MAX, &again,
                                         &err) == TSDB_OK);
        must(again == bytes);
        uint8_t *copy = tsdb_mem_alloc(TSDB_MEM_OTHER, bytes + 1);
        must(ingest_snappy_decode(encoded.data, encoded.len, copy, bytes, &err) == TSDB_OK);
        must(bytes == 0 || memcmp(copy, decoded.data, bytes) == 0);
        tsdb_mem_free(TSDB_MEM_OTHER, copy, bytes + 1);
    }
    tsdb_buf_deinit(&decoded);
    tsdb_buf_deinit(&encoded);
    return 0;
}
