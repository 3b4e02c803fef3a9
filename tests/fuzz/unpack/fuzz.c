/* zstd and gzip bodies. Invariants checked: no sink is asked for more than the limit and a byte, what
 * is made stays within the limit, a refusal has a text, and whatever libzstd made of a body in one step
 * is what it makes of it again. */
#include "ingest/unpack.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#define DECODED_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static enum tsdb_status grow(struct ingest_sink *s, size_t cap)
{
    must(cap <= DECODED_BYTES_MAX + 1 && cap > s->cap);
    s->data = tsdb_mem_realloc(TSDB_MEM_OTHER, s->data, s->cap, cap);
    must(s->data != NULL);
    s->cap = cap;
    return TSDB_OK;
}

static size_t decode(bool gzip, const uint8_t *data, size_t len, struct ingest_sink *sink)
{
    struct tsdb_error err = {0};
    *sink = (struct ingest_sink){.grow = grow};
    enum tsdb_status status = gzip ? ingest_gzip_decode(data, len, DECODED_BYTES_MAX, sink, &err)
                                   : ingest_zstd_decode(data, len, DECODED_BYTES_MAX, sink, &err);
    must(status == TSDB_OK || err.msg[0] != '\0');
    must(status == TSDB_OK || status == TSDB_INVALID || status == TSDB_LIMIT);
    must(status != TSDB_OK || sink->len <= DECODED_BYTES_MAX);
    return status == TSDB_OK ? sink->len : SIZE_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    for (int gzip = 0; gzip < 2; gzip++) {
        struct ingest_sink once;
        struct ingest_sink again;
        size_t made = decode(gzip, data, len, &once);
        must(decode(gzip, data, len, &again) == made);
        must(made == SIZE_MAX || made == 0 || memcmp(once.data, again.data, made) == 0);
        tsdb_mem_free(TSDB_MEM_OTHER, once.data, once.cap);
        tsdb_mem_free(TSDB_MEM_OTHER, again.data, again.cap);
    }
    return 0;
}
