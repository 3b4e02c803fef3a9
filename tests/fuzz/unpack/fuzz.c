/* zstd and gzip bodies. Invariants checked: no sink is asked for more than the limit and a byte, what
 * is made stays within the limit, a refusal has a text, and whatever libzstd made of a body in one step
 * is what it makes of it again. In steps of few bytes, too: every step that does not fail moves, and what
 * both ways take is the same. */
#include "ingest/unpack.h"

#include "base/alloc.h"
#include "base/compiler.h"

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

/* What steps make of a body that was made at once, `made` bytes; the first of them if it is not whole. */
static void check_steps(bool gzip, const uint8_t *data, size_t len, const uint8_t *once,
                        size_t made)
{
    static uint8_t out[DECODED_BYTES_MAX + 64];
    struct ingest_stream *s = NULL;
    size_t total = 0;
    enum tsdb_status status = TSDB_OK;
    must(ingest_stream_create(gzip ? INGEST_STREAM_GZIP : INGEST_STREAM_ZSTD, &s, NULL) == TSDB_OK);
    for (size_t at = 0, n = 0, room = 0; status == TSDB_OK && total < DECODED_BYTES_MAX;) {
        n = TSDB_MIN(len - at, (size_t)(1 + at % 61));
        size_t cap = room = 1 + total % 63;
        status = ingest_stream_step(s, data + at, &n, out + total, &cap, NULL);
        must(status == TSDB_OK || status == TSDB_INVALID);
        if (status != TSDB_OK || (n == 0 && cap == 0)) {
            break;
        }
        must(cap <= room);
        at += n;
        total += cap;
    }
    if (made != SIZE_MAX && status == TSDB_OK && total < DECODED_BYTES_MAX) {
        must(total == made && ingest_stream_is_whole(s));
        must(made == 0 || memcmp(out, once, made) == 0);
    }
    ingest_stream_destroy(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    for (int gzip = 0; gzip < 2; gzip++) {
        struct ingest_sink once;
        struct ingest_sink again;
        size_t made = decode(gzip, data, len, &once);
        must(decode(gzip, data, len, &again) == made);
        must(made == SIZE_MAX || made == 0 || memcmp(once.data, again.data, made) == 0);
        check_steps(gzip, data, len, once.data, made);
        tsdb_mem_free(TSDB_MEM_OTHER, once.data, once.cap);
        tsdb_mem_free(TSDB_MEM_OTHER, again.data, again.cap);
    }
    return 0;
}
