/* Tombstones: the reader never reads out of bounds nor allocates for counts that the bytes cannot hold;
 * what it takes is in normal form, answers every question, and is printed and read back as the same. The
 * last four bytes are made the CRC that fits. */
#include "base/crc32c.h"
#include "tsdb/block/tombstones.h"

#include <stdlib.h>
#include <string.h>

#define ULID   "01HF7YAT000000000000000001"
#define SERIES 10u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void ask(const struct tombstones *t)
{
    int64_t times[] = {INT64_MIN, -1, 0, 1000, 5000, INT64_MAX};
    uint64_t values[6] = {0};
    struct piece whole = {.sorted = true, .count = 6, .t_ms = times, .value = values};
    for (uint32_t id = 0; id < SERIES; id++) {
        struct tombstone_cuts cuts = tombstones_find(t, id);
        struct piece part;
        uint32_t visible = 0;
        uint32_t expected = 0;
        for (uint32_t pos = 0; tombstone_cuts_next(&cuts, &whole, &pos, &part);) {
            visible += part.count;
        }
        for (uint32_t i = 0; i < 6; i++) {
            expected += !tombstone_cuts_cover(&cuts, times[i], times[i]);
        }
        must(visible == expected);
    }
    must(tombstones_series(t) <= SERIES);
}

static void decode(const uint8_t *data, size_t len)
{
    struct tombstones *t = NULL;
    struct tombstones *again = NULL;
    struct tsdb_buf buf;
    if (tombstones_decode(data, len, ULID, SERIES, &t, NULL) != TSDB_OK) {
        return;
    }
    ask(t);
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    tombstones_encode(t, ULID, SERIES, &buf);
    must(tombstones_decode(buf.data, buf.len, ULID, SERIES, &again, NULL) == TSDB_OK);
    must(again->runs.len == t->runs.len && again->intervals.len == t->intervals.len);
    must(t->runs.len == 0 || memcmp(again->runs.data, t->runs.data, t->runs.len) == 0);
    tsdb_buf_deinit(&buf);
    tombstones_free(t);
    tombstones_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    decode(data, len);
    if (len > 4) {
        uint8_t *copy = malloc(len);
        must(copy != NULL);
        memcpy(copy, data, len);
        tsdb_store_le32(copy + len - 4, tsdb_crc32c(0, copy, len - 4));
        decode(copy, len);
        free(copy);
    }
    return 0;
}
