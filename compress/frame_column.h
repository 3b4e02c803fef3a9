/* A run of integers as frames of their differences of order 0, 1 or 2: the part that time_codec and
 * value_codec share.
 *
 *   `order` varints (first value; first difference) | frames of FRAME_VALUES, the last one shorter
 *
 * Written in two rounds over the same integers: plan (gives the exact size), then encode with the
 * plan kept. Read block by block, so that the caller converts a block while it is in the L1 cache.
 *
 * Threads: pure. No allocation.
 */
#ifndef COMPRESS_FRAME_COLUMN_H
#define COMPRESS_FRAME_COLUMN_H

#include "compress/column.h"
#include "compress/frame.h"

#include <stdbool.h>

#define FRAME_ORDER_MAX  2u
#define FRAME_COLUMN_MAX (COLUMN_COUNT_MAX / FRAME_VALUES)

struct frame_column {
    uint32_t order;
    uint32_t count;                 /* frames planned */
    uint32_t at;                    /* frames encoded */
    bool linear;                    /* all residuals are one and the same */
    uint64_t seed[FRAME_ORDER_MAX]; /* the first `order` values */
    uint64_t prev, prev_delta;
    size_t bytes; /* exact size of all so far */
    struct frame_plan plan[FRAME_COLUMN_MAX];
};

/* seeds[0..order): the first values. The blocks given to plan and to encode hold what follows. */
void frame_column_init(struct frame_column *c, uint32_t order, const uint64_t *seeds);
/* Take the next block, FRAME_VALUES of them or the rest. x is replaced by its differences. */
void frame_column_plan(struct frame_column *c, uint64_t *x, size_t n);
/* Write the seeds and start over; returns the byte after. */
uint8_t *frame_column_begin(struct frame_column *c, uint8_t *out);
/* Write the next block, the same as given to plan. x is replaced by its differences. */
uint8_t *frame_column_encode(struct frame_column *c, uint64_t *x, size_t n, uint8_t *out);

struct frame_column_reader {
    const uint8_t *p, *end;
    uint32_t order;
    uint32_t left; /* values after the seeds */
    uint64_t base, prev, prev_delta;
};
/* Read the seeds of a column of n values into out[0..min(order, n)). Returns their number, -1 if
 * damaged. */
int frame_column_open(struct frame_column_reader *r, const uint8_t *p, const uint8_t *end,
                      uint32_t order, uint32_t n, uint64_t *out);
/* Read the next block to out (room for min(left, FRAME_VALUES)). Returns the number of values, 0 at
 * the end (then r->p is the byte after), -1 if damaged (then r->p is where the frame begins). */
int frame_column_next(struct frame_column_reader *r, uint64_t *out);

#endif
