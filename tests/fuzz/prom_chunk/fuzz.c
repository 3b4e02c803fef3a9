/* Bytes as one of Prometheus's chunks. Invariants checked: the decoder reads nothing outside; what it
 * accepts and the writer may take (rising times, histograms that validate) comes back from the
 * writer's chunks sample by sample; a chunk never holds more than asked. Input: u8 encoding, u8
 * samples of a written chunk, the rest. */
#include "compress/prom_chunk.h"
#include "tests/support/histogram_same.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

struct back {
    struct tsdb_arena arena;
    const struct tsdb_columns *want;
    uint32_t at, samples_max;
};

static enum tsdb_status compare(void *ctx, const struct prom_chunk *chunk, struct tsdb_error *err)
{
    struct back *b = ctx;
    const struct tsdb_columns *w = b->want;
    struct tsdb_columns c;
    tsdb_arena_reset(&b->arena);
    must(prom_chunk_decode(chunk->encoding, chunk->data, chunk->len, &b->arena, &c, err) ==
         TSDB_OK);
    must(c.count == chunk->samples && c.count >= 1 && c.count <= b->samples_max);
    must(c.t_ms[0] == chunk->t_min && c.t_ms[c.count - 1] == chunk->t_max);
    for (uint32_t i = 0; i < c.count; i++, b->at++) {
        must(b->at < w->count && c.t_ms[i] == w->t_ms[b->at]);
        must(w->kind ? test_histogram_same(&c.histograms[c.bits[i]], &w->histograms[w->bits[b->at]])
                     : c.bits[i] == w->bits[b->at]);
    }
    return TSDB_OK;
}

static bool may_be_written(const struct tsdb_columns *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (i > 0 && c->t_ms[i] <= c->t_ms[i - 1]) {
            return false;
        }
        if (c->kind && tsdb_histogram_validate(&c->histograms[c->bits[i]], NULL) != TSDB_OK) {
            return false;
        }
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_arena arena;
    struct tsdb_columns c;
    struct tsdb_error err = {0};
    if (len < 2 || len > 65536) {
        return 0;
    }
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    if (prom_chunk_decode(data[0], data + 2, len - 2, &arena, &c, &err) != TSDB_OK) {
        must(err.msg[0] != '\0');
    } else if (may_be_written(&c)) {
        struct back b = {.want = &c, .samples_max = 1u + data[1]};
        struct prom_chunk_sink sink = {compare, &b};
        struct prom_chunk_writer *w;
        tsdb_arena_init(&b.arena, TSDB_MEM_OTHER, 4096, NULL);
        must(prom_chunk_writer_create(b.samples_max, 512, sink, &w) == TSDB_OK);
        must(prom_chunk_writer_columns(w, &c, &err) == TSDB_OK);
        must(prom_chunk_writer_finish(w, &err) == TSDB_OK && b.at == c.count);
        prom_chunk_writer_destroy(w);
        tsdb_arena_deinit(&b.arena);
    }
    tsdb_arena_deinit(&arena);
    return 0;
}
