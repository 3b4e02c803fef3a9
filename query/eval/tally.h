/* How many samples a query worked on, as Prometheus counts them for `stats`:
 *
 *   queryable   at each step what the selectors and windows of that step hold; a sample counts as
 *               often as it is used. The inside of a subquery does not count, its windows do.
 *   read        what a step needed of storage that no step before it had: a window that moves on
 *               counts only what is new. The inside of a subquery counts at the step before which
 *               it lies.
 *
 * A histogram counts as many samples as fit into its memory. What is the same at every step is
 * worked out once, and counts as queryable at each, as read at the first.
 */
#ifndef QUERY_EVAL_TALLY_H
#define QUERY_EVAL_TALLY_H

#include "model/histogram.h"

struct grid;
struct points;
struct tally {
    uint64_t queryable, read;
    /* By step of the query; NULL: nobody asks. */
    uint64_t *step_queryable;
    uint64_t *step_read;
    int64_t start_ms, step_ms;
    uint32_t steps;
    uint32_t in_subquery; /* while operators are built: in how many are we? */
};

/* How many samples a histogram counts as. */
uint64_t tally_histogram(const struct tsdb_histogram *h);
/* At step i of an operator's grid; inside: of a subquery. */
void tally_add(struct tally *t, const struct grid *grid, uint32_t i, bool inside,
               uint64_t queryable, uint64_t read);
/* A window w at step i, of which the last `fresh` floats and `h_fresh` histograms were in none before
 * it. stored: it is cut from storage, not from a subquery, which has counted what it read. */
void tally_window(struct tally *t, const struct grid *grid, uint32_t i, bool inside, bool stored,
                  const struct points *w, uint32_t fresh, uint32_t h_fresh);

#endif
