/* A run of samples of one series and one kind, as it lies in memory: a tail or chunk of the head,
 * or a chunk that was decoded from a file. Borrowed, immutable up to count. */
#ifndef TSDB_CHUNK_PIECE_H
#define TSDB_CHUNK_PIECE_H

#include "tsdb/chunk/chunk.h"

struct piece {
    enum tsdb_sample_kind kind;
    bool sorted; /* false: an out-of-order buffer */
    uint32_t count;
    const int64_t *t_ms;
    const uint64_t *value;   /* float bits, or pointer to struct tsdb_raw_histogram */
    const int64_t *start_ms; /* NULL: none */
};

static inline struct piece piece_of_chunk(const struct chunk_samples *s)
{
    return (struct piece){
        .kind = s->kind,
        .sorted = true,
        .count = s->count,
        .t_ms = s->t_ms,
        .value = s->value,
        .start_ms = s->start_ms,
    };
}

#endif
