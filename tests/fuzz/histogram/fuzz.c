/* The raw form of histograms: never out of bounds, and what decodes encodes to something that
 * decodes to the same. */
#include "model/histogram.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_arena arena;
    struct tsdb_histogram h;
    struct tsdb_error err = {0};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    if (tsdb_histogram_decode(data, len, &arena, &h, &err) == TSDB_OK) {
        size_t max = tsdb_histogram_encoded_bytes_max(&h);
        uint8_t *first = tsdb_arena_alloc(&arena, max, 1);
        uint8_t *second = tsdb_arena_alloc(&arena, max, 1);
        must(first != NULL && second != NULL);
        size_t first_len = tsdb_histogram_encode(&h, first);
        must(first_len <= max);
        struct tsdb_histogram again;
        must(tsdb_histogram_decode(first, first_len, &arena, &again, &err) == TSDB_OK);
        must(tsdb_histogram_validate(&h, NULL) == tsdb_histogram_validate(&again, NULL));
        must(tsdb_histogram_encode(&again, second) == first_len);
        must(memcmp(first, second, first_len) == 0);
    } else {
        must(err.msg[0] != '\0');
    }
    tsdb_arena_deinit(&arena);
    return 0;
}
