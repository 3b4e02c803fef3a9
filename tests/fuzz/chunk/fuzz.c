/* Chunks: never out of bounds, never more memory than the samples need; what decodes encodes to
 * something that decodes to the same samples. */
#include "tsdb/chunk/chunk.h"
#include "tsdb/chunk/histograms.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define PACKED 16u /* flag in the second byte of a chunk */

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static const struct tsdb_raw_histogram *raw(const struct chunk_samples *s, uint32_t i)
{
    return (const struct tsdb_raw_histogram *)(uintptr_t)s->value[i];
}

static void must_be_same(const struct chunk_samples *a, const struct chunk_samples *b)
{
    must(a->kind == b->kind && a->count == b->count);
    must((!a->start_ms) == (!b->start_ms));
    for (uint32_t i = 0; i < a->count; i++) {
        must(a->t_ms[i] == b->t_ms[i]);
        must(!a->start_ms || a->start_ms[i] == b->start_ms[i]);
        if (a->kind == TSDB_SAMPLE_FLOAT) {
            must(a->value[i] == b->value[i]);
        } else {
            must(raw(a, i)->len == raw(b, i)->len);
            must(memcmp(raw(a, i)->data, raw(b, i)->data, raw(a, i)->len) == 0);
        }
    }
}

static void check(const struct chunk_samples *s, struct tsdb_arena *arena)
{
    struct chunk_hint hint = {{0}};
    struct chunk_samples again;
    struct chunk_summary summary;
    for (uint32_t i = 1; i < s->count; i++) {
        must(s->t_ms[i] > s->t_ms[i - 1]);
    }
    for (int round = 0; round < 2; round++) { /* without a hint, and with that of the first */
        size_t max = chunk_encoded_bytes_max(s);
        uint8_t *bytes = malloc(max);
        must(bytes != NULL);
        size_t len = chunk_encode(s, &hint, bytes);
        must(len <= max);
        must(chunk_decode(bytes, len, arena, &again, NULL) == TSDB_OK);
        must_be_same(s, &again);
        struct tsdb_slice times;
        uint8_t *rest = malloc(len);
        size_t rest_len;
        must(rest != NULL);
        must(chunk_detach_times(bytes, len, rest, &rest_len, &times, NULL) == TSDB_OK);
        must(rest_len < len);
        must(chunk_decode_detached(rest, rest_len, times, arena, &again, NULL) == TSDB_OK);
        must_be_same(s, &again);
        free(rest);
        free(bytes);
    }
    chunk_summarize(s, &summary);
    must(summary.count == s->count && summary.min_ms == s->t_ms[0]);
    must(!(summary.min > summary.max));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_account account;
    struct tsdb_arena arena;
    struct chunk_samples s;
    struct chunk_info info;
    struct tsdb_error err = {0};
    tsdb_account_init(&account, 0, NULL);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, &account);
    enum tsdb_status status = chunk_decode(data, len, &arena, &s, &err);
    uint64_t most = 4096 + 32 * (uint64_t)CHUNK_SAMPLES_MAX + 4 * len;
    if (len > 1 && (data[1] & PACKED)) {
        most += 2 * (HISTOGRAMS_BYTES_MAX + HISTOGRAMS_CELLS_MAX * sizeof(uint64_t));
    }
    must(atomic_load(&account.peak_bytes) <= most);
    if (status == TSDB_OK) {
        must(chunk_peek(data, len, &info, &err) == TSDB_OK);
        must(info.count == s.count && info.kind == s.kind);
        must(info.has_starts == (s.start_ms != NULL));
        check(&s, &arena);
    } else {
        must(status == TSDB_CORRUPT && err.msg[0] != '\0' && err.pos <= len);
    }
    /* The same bytes as a chunk, its times elsewhere, and their length. */
    if (len > 1 && data[len - 1] < len - 1) {
        struct tsdb_slice times = {data + (len - 1 - data[len - 1]), data[len - 1]};
        size_t chunk_len = len - 1 - times.len;
        if (chunk_decode_detached(data, chunk_len, times, &arena, &s, &err) == TSDB_OK) {
            check(&s, &arena);
        }
    }
    tsdb_arena_deinit(&arena);
    return 0;
}
