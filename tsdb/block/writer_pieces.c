/* Columns of one series as chunks of a block: what a flush and a compaction write. */
#include "tsdb/block/block.h"

/* A chunk of histograms is cut here: each sample may be large, and readers decode whole chunks. */
#define PIECES_HISTOGRAMS_A_CHUNK 512u

/* End of the stretch of one kind from `begin`, at most as long as a chunk may be. */
static uint32_t stretch_end(const struct piece_columns *c, uint32_t begin)
{
    uint8_t kind = c->kind ? c->kind[begin] : (uint8_t)TSDB_SAMPLE_FLOAT;
    uint32_t most = kind == TSDB_SAMPLE_FLOAT ? CHUNK_SAMPLES_MAX : PIECES_HISTOGRAMS_A_CHUNK;
    uint32_t end = begin + 1;
    while (end < c->count && end - begin < most && (!c->kind || c->kind[end] == kind)) {
        end++;
    }
    return end;
}

static bool any_start(const struct piece_columns *c, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; c->start_ms && i < end; i++) {
        if (c->start_ms[i] != 0) {
            return true;
        }
    }
    return false;
}

enum tsdb_status block_writer_pieces(struct block_writer *w, const struct piece_columns *c,
                                     struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t begin = 0; begin < c->count && status == TSDB_OK;) {
        uint32_t end = stretch_end(c, begin);
        struct chunk_samples s = {
            .kind = c->kind ? (enum tsdb_sample_kind)c->kind[begin] : TSDB_SAMPLE_FLOAT,
            .count = end - begin,
            .t_ms = c->t_ms + begin,
            .value = c->value + begin,
            .start_ms = any_start(c, begin, end) ? c->start_ms + begin : NULL,
        };
        status = block_writer_chunk(w, &s, NULL, 0, err);
        begin = end;
    }
    return status;
}
