/* What rates of floats (func_rate.c) and of histograms (func_rate_histogram.c) share. */
#ifndef QUERY_EVAL_RATE_H
#define QUERY_EVAL_RATE_H

#include "query/eval/window.h"

/* Of the range's argument; NULL: a subquery. */
static inline const struct query_expr *rate_selector(const struct range_call *c)
{
    return c->arg->kind == EXPR_MATRIX ? c->arg->u.matrix.selector : NULL;
}

/* ---- rate.c ---- */

/* How many of t[count], which rises, are at or before bound. */
uint32_t rate_first_after(const int64_t *t, uint32_t count, int64_t bound);
/* Was the counter reset between samples i - 1 and i, by their start timestamps? start may be NULL. */
bool rate_started_anew(const int64_t *start, const int64_t *t, uint32_t i);
/* Note the first sample that starts within the one before it. start may be NULL. */
void rate_note_overlap(struct range_call *c, const int64_t *start, const int64_t *t,
                       uint32_t count);
/* Anchored, smoothed: the samples between which the range lies. False: nothing to tell. */
bool rate_span(const struct range_call *c, const int64_t *t, uint32_t count, uint32_t *first,
               uint32_t *last);

/* What extrapolation goes by; .first and .rise are the caller's. */
struct kernel_rate_ends rate_ends_of(const struct range_call *c, const int64_t *t,
                                     const int64_t *start, uint32_t count, struct kernel_rate kind);

/* ---- func_rate_histogram.c: as the functions over ranges that they are part of ---- */

bool rate_histograms(struct range_call *c, const struct points *w, struct kernel_rate kind,
                     struct point *out);
bool rate_histograms_extended(struct range_call *c, const struct points *w, struct kernel_rate kind,
                              bool smoothed, struct point *out);
/* irate, idelta: of the last two. */
bool rate_histograms_last(struct range_call *c, const struct points *w, bool rate,
                          struct point *out);
/* Is histogram i a reset, or a change, after histogram i - 1? False: c->status says why not. */
bool rate_histogram_counts(struct range_call *c, const struct points *w, uint32_t i, bool resets,
                           bool *out);

#endif
