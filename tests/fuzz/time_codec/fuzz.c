/* Bytes as a time column: the decoder reads nothing outside, what it accepts encodes and decodes to
 * the same times, and a value read alone is the one decoded. The same bytes taken as times come
 * back as they were. Input: u16 number of values - 1, the rest. */
#include "base/bytes.h"
#include "compress/time_codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int64_t times[COLUMN_COUNT_MAX], back[COLUMN_COUNT_MAX];

static void must(int ok)
{
    if (!ok) {
        abort();
    }
}

static void round_trip(uint32_t n)
{
    size_t max = time_codec_bytes_max(n);
    uint8_t *bytes = malloc(max);
    if (!bytes) {
        return;
    }
    size_t got = time_codec_encode(times, n, bytes);
    must(got <= max && time_codec_decode_any(bytes, got, n, back, NULL) == TSDB_OK);
    must(memcmp(times, back, 8 * (size_t)n) == 0);
    free(bytes);
}

static void read_alone(const uint8_t *data, size_t len, uint32_t n)
{
    int64_t t;
    for (uint32_t i = 0; i < n; i += 1 + n / 16) {
        enum tsdb_status status = time_codec_at(data, len, n, i, &t, NULL);
        must(status == TSDB_UNSUPPORTED || (status == TSDB_OK && t == times[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2) {
        return 0;
    }
    uint32_t n = tsdb_load_le16(data) % COLUMN_COUNT_MAX + 1;
    data += 2;
    len -= 2;
    if (time_codec_decode_any(data, len, n, times, NULL) == TSDB_OK) {
        read_alone(data, len, n);
        round_trip(n);
        must(time_codec_decode(data, len, n, times, NULL) != TSDB_OK || n == 1 ||
             times[n - 1] > times[0]);
    } else {
        int64_t t;
        must(time_codec_at(data, len, n, n - 1, &t, NULL) != TSDB_OK);
    }
    n = (uint32_t)TSDB_MIN(len / 8, COLUMN_COUNT_MAX);
    if (n > 0) {
        memcpy(times, data, 8 * (size_t)n);
        round_trip(n);
    }
    return 0;
}
