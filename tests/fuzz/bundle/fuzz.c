/* Bundles of streams: whatever their bytes, nothing is read out of bounds, times of what decodes rise and
 * end where the head says. Half of the inputs are records as they are; from the others, records with
 * right checksums around tokens of any kind are made, which checksums would else hide. */
#include "base/bytes.h"
#include "compress/sample_stream.h"
#include "tsdb/chunk/bundle.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static const struct bundle_place place = {9, 7, 4096, 128, 3};

/* Every stream of a record, from an allocation of exactly its bytes. */
static void read_all(const uint8_t *record, size_t len)
{
    struct bundle_head head;
    uint8_t *copy = malloc(len + 1);
    must(copy != NULL);
    memcpy(copy, record, len);
    bool opened = len <= UINT32_MAX &&
                  bundle_head_open(copy, len, (uint32_t)len, &place, false, &head, NULL) == TSDB_OK;
    for (uint32_t bit = 0; opened && bit < BUNDLE_SERIES; bit++) {
        int64_t t_ms[TSDB_HEAD_CHUNK_SAMPLES_MAX];
        uint64_t value[TSDB_HEAD_CHUNK_SAMPLES_MAX];
        struct bundle_stream s;
        enum tsdb_status status = bundle_head_find(&head, bit, &s, NULL);
        must((status == TSDB_NOT_FOUND) == !(head.mask >> bit & 1));
        if (status != TSDB_OK) {
            continue;
        }
        must(s.at + s.bytes <= len && s.count > 0);
        status = bundle_stream_decode(&place, &s, copy + s.at, t_ms, value, NULL);
        for (uint32_t i = 1; status == TSDB_OK && i < s.count; i++) {
            must(t_ms[i - 1] < t_ms[i]);
        }
        must(status != TSDB_OK || (t_ms[0] == s.first_ms && t_ms[s.count - 1] == s.last_ms));
    }
    free(copy);
}

/* All streams of a record at once are what each is alone. */
static void read_together(const uint8_t *record, size_t len)
{
    static int64_t t_ms[2][BUNDLE_SERIES][TSDB_HEAD_CHUNK_SAMPLES_MAX];
    static uint64_t value[2][BUNDLE_SERIES][TSDB_HEAD_CHUNK_SAMPLES_MAX];
    struct sample_stream streams[BUNDLE_SERIES];
    struct bundle_head head;
    uint32_t n = 0;
    if (len > UINT32_MAX ||
        bundle_head_open(record, len, (uint32_t)len, &place, false, &head, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t bit = 0; bit < BUNDLE_SERIES; bit++) {
        struct bundle_stream s;
        if (bundle_head_find(&head, bit, &s, NULL) == TSDB_OK) {
            t_ms[0][n][0] = t_ms[1][n][0] = s.first_ms;
            value[0][n][0] = value[1][n][0] = s.first_bits;
            streams[n] = (struct sample_stream){record + s.at, s.bytes,     s.count,
                                                t_ms[0][n],    value[0][n], false};
            n++;
        }
    }
    sample_streams_decode(streams, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct sample_stream *s = &streams[i];
        must(s->ok == sample_stream_decode(s->src, s->len, s->count, t_ms[1][i], value[1][i]));
        must(!s->ok || (memcmp(s->t_ms, t_ms[1][i], s->count * sizeof(int64_t)) == 0 &&
                        memcmp(s->value, value[1][i], s->count * sizeof(uint64_t)) == 0));
    }
}

/* Of each stream: count, bytes, how far it reaches; then the tokens. */
static uint32_t streams_make(struct tsdb_reader *r, struct bundle_stream out[BUNDLE_SERIES])
{
    uint32_t n = 0;
    while (n < BUNDLE_SERIES && tsdb_reader_left(r) > 4) {
        struct bundle_stream *s = &out[n++];
        s->count = 1 + tsdb_reader_u8(r) * 2u % TSDB_HEAD_CHUNK_SAMPLES_MAX;
        size_t bytes = tsdb_reader_u8(r);
        s->first_ms = INT64_C(1700000000000) + tsdb_reader_u8(r);
        s->last_ms = s->first_ms + (int64_t)(tsdb_reader_uvarint(r) & UINT32_MAX);
        s->first_bits = bytes;
        bytes = TSDB_MIN(bytes, tsdb_reader_left(r));
        struct tsdb_slice tokens = tsdb_reader_bytes(r, bytes);
        s->bytes = r->failed ? 0 : (uint32_t)tokens.len;
        s->tokens = r->failed ? (const uint8_t *)"" : tokens.data;
    }
    return n;
}

static void made(const uint8_t *data, size_t len)
{
    struct bundle_stream streams[BUNDLE_SERIES] = {0};
    struct tsdb_reader r;
    tsdb_reader_init(&r, data, len);
    uint32_t n = streams_make(&r, streams);
    if (n == 0) {
        return;
    }
    uint64_t mask =
        n == BUNDLE_SERIES ? UINT64_MAX : ((UINT64_C(1) << n) - 1) << (BUNDLE_SERIES - n);
    size_t bytes = bundle_encoded_bytes(streams, n);
    uint8_t *record = malloc(bytes);
    must(record != NULL);
    must(bundle_encode(&place, mask, streams, record) == bytes);
    struct bundle_head head;
    must(bundle_head_open(record, bytes, (uint32_t)bytes, &place, false, &head, NULL) == TSDB_OK);
    must(head.mask == mask);
    read_all(record, bytes);
    read_together(record, bytes);
    free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    if (data[0] & 1) {
        made(data + 1, len - 1);
    } else {
        read_all(data + 1, len - 1);
    }
    return 0;
}
