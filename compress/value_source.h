/* The values that a codec sees: those of a column, without stale markers, and without repetitions
 * if run lengths are kept. Given out in blocks, so that nothing has to be copied whole. */
#ifndef COMPRESS_VALUE_SOURCE_H
#define COMPRESS_VALUE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One pass over the column. */
struct value_stats {
    uint32_t stale;      /* markers */
    uint32_t stale_runs; /* and in how many runs */
    uint32_t changes; /* other values that differ from the other value before, the first included */
    uint64_t all;     /* OR of the other values */
};
void value_stats_make(const uint64_t *bits, uint32_t n, struct value_stats *out);

struct value_source {
    const uint64_t *bits;
    uint32_t n, pos;
    bool skip_stale, skip_repeats;
    bool started; /* `last` is valid */
    uint64_t last;
};
/* The next `want` values: a pointer into the column, or buf[want] filled. *got < want only at the
 * end. */
const uint64_t *value_source_next(struct value_source *s, uint32_t want, uint64_t *buf,
                                  uint32_t *got);

#endif
