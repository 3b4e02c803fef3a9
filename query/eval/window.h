/* What the functions over a window of a range vector share. */
#ifndef QUERY_EVAL_WINDOW_H
#define QUERY_EVAL_WINDOW_H

#include "query/eval/func.h"
#include "query/eval/histogram.h"

/* Floats and histograms in one window? Says so in a note. */
bool range_mixed(struct range_call *c, const struct points *w);
/* Histogram i of the window for arithmetic. Neighbours take turns in two arenas: valid until that of
 * i + 2 is looked at. False: c->status says why. */
bool range_view(struct range_call *c, const struct points *w, uint32_t i, struct hist *out);

#endif
