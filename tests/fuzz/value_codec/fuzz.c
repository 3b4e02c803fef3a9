/* Bytes as a value column: the decoder reads nothing outside, and what it accepts encodes and
 * decodes to the same bits. The same bytes taken as values come back from encode and decode as they
 * were, with any hint. Input: u16 number of values - 1, u8 hint, the rest. */
#include "base/bytes.h"
#include "compress/value_codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint64_t values[COLUMN_COUNT_MAX], back[COLUMN_COUNT_MAX];

static void round_trip(uint32_t n, uint8_t digits_known)
{
    struct value_hint hint = {.digits_known = digits_known};
    size_t max = value_codec_bytes_max(n);
    uint8_t *bytes = malloc(max);
    if (!bytes) {
        return;
    }
    size_t got = value_codec_encode(values, n, &hint, bytes);
    if (got > max || value_codec_decode(bytes, got, n, back, NULL) != TSDB_OK ||
        memcmp(values, back, 8 * (size_t)n) != 0) {
        abort();
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3) {
        return 0;
    }
    uint32_t n = tsdb_load_le16(data) % COLUMN_COUNT_MAX + 1;
    uint8_t digits_known = data[2];
    data += 3;
    len -= 3;
    if (value_codec_decode(data, len, n, values, NULL) == TSDB_OK) {
        round_trip(n, digits_known);
    }
    n = (uint32_t)TSDB_MIN(len / 8, COLUMN_COUNT_MAX);
    if (n > 0) {
        memcpy(values, data, 8 * (size_t)n);
        round_trip(n, digits_known);
    }
    return 0;
}
